"""The unit move: a unit or an input is dropped, and what it cost is spent on digits elsewhere.

Right after the drop the loss is higher, so no single decision can accept it. Two copies of the chain, one without the unit, therefore
make the same number of proposals within the same budget; the one of the lower loss goes on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mcprune.firmware.costs import costs
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.polish import digit_kernels as kernels
from mcprune.firmware.polish.arrays import network_of
from mcprune.firmware.polish.chain import Chain, Walk
from mcprune.firmware.polish.objective_walk import Decisions
from mcprune.types import IntArray


class Drop(NamedTuple):
    """A signal that may become a constant: the layer that reads it, its place there, the constant, and the network without it."""

    layer: int
    place: int
    constant: int
    score: float  # loss for each unit of the budget that is freed, before anything is repaired
    network: FixedNetwork


def without_signal(network: FixedNetwork, layer: int, place: int, constant: int) -> FixedNetwork:
    """Return the network in which a layer reads a constant, in integers of the common step, in place of one of its inputs."""
    layers = list(network.layers)
    reader = layers[layer]
    weight, column = reader.weight.copy(), reader.weight[:, place]
    weight[:, place] = 0
    layers[layer] = replace(reader, weight=weight, bias=reader.bias + constant * column)
    return remove_dead(network.but(layers=tuple(layers)))


def possible_drops(chain: Chain, rows: int = 1024) -> list[Drop]:
    """Return the inputs and units that can be dropped, the one that costs least loss for what it frees first.

    A layer keeps one signal at least.
    """
    network = network_of(chain.arrays, chain.network)
    before, drops = costs(network).of(chain.unit), []
    state, nothing, seen = (
        chain.arrays,
        np.zeros((kernels.MOST_CHANGES, 4), np.int64),
        min(rows, len(chain.data.targets)),
    )
    for layer, width in enumerate(network.widths[:-1]):
        for place in range(width) if width > 1 else ():
            signal = int(state.net.layers[layer, kernels.SIGNAL_AT]) + place
            constant = round(float(state.rows.signals[signal].mean()))
            state.rows.override[:] = constant
            sums = np.zeros(2)
            kernels.evaluate(*state, nothing, 0, 0, seen, signal, False, sums)
            smaller = without_signal(network, layer, place, constant)
            freed = before - costs(smaller).of(chain.unit)
            if freed > 0:
                drops.append(Drop(layer, place, constant, sums[0] / seen / freed, smaller))
    return sorted(drops, key=lambda drop: drop.score)


def chosen_drops(drops: list[Drop], number: int, rng: np.random.Generator) -> list[Drop]:
    """Return the first drop and others drawn from those behind it, the earlier the likelier."""
    if len(drops) <= number:
        return drops
    ranks: IntArray = np.arange(1, len(drops))
    chosen = rng.choice(ranks, size=number - 1, replace=False, p=1 / ranks / (1 / ranks).sum())
    return [drops[0], *(drops[rank] for rank in sorted(chosen))]


def walk_with_drops(
    chain: Chain, walk: Walk, decisions: Decisions, number: int, rng: np.random.Generator
) -> tuple[Chain, int, bool]:
    """Make a block of proposals with and without some of the units; return the best chain, all evaluations, and whether it dropped one.

    Parameters
    ----------
    chain : Chain
        Changed in place: it is the copy that keeps all units.
    walk : Walk
    decisions : Decisions
    number : int
        Of units that are tried.
    rng : numpy.random.Generator
    """
    trials = [
        Chain(drop.network, chain.data, chain.unit, int(rng.integers(1 << 63)))
        for drop in chosen_drops(possible_drops(chain), number, rng)
    ]
    best, evaluated = chain, decisions.advance(chain, walk)
    least = decisions.value(chain)
    for trial in trials:
        trial.mixture = chain.mixture
        evaluated += decisions.advance(trial, walk)
        value = decisions.value(trial)
        if trial.cost <= max(walk.budget_to, chain.cost) and value < least:
            best, least = trial, value
    if best is not chain:
        best.statistics += chain.statistics
    return best, evaluated, best is not chain
