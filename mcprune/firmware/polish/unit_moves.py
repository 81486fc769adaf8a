"""The unit move: a unit or an input is dropped, and what it cost is spent on digits elsewhere.

Right after the drop the loss is higher, so no single decision can accept it. A copy without the unit therefore first gets the digits that
gain most for their cost, up to the budget. Then copies of the chain with and without the unit make the same number of proposals within the
same budget, and the one of the lowest loss goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.arrays import fast_cost, network_of
from mcprune.firmware.polish.engine.chain import Chain, Walk
from mcprune.firmware.polish.objective_walk import Decisions
from mcprune.firmware.polish.settings import TRIED


class Drop(NamedTuple):
    """A signal that may become a constant.

    Attributes
    ----------
    layer, place : int
        The layer that reads it, and its place there.
    constant : int
        Its mean, in integers of the common step.
    score : float
        Mean loss for each unit of the budget that is freed, before anything is repaired.
    freed : int
    """

    layer: int
    place: int
    constant: int
    score: float
    freed: int


def without_signals(network: FixedNetwork, drops: Sequence[Drop]) -> FixedNetwork:
    """Return the network in which constants stand for some of the signals, without what nothing reads any more."""
    layers = list(network.layers)
    for drop in drops:
        reader = layers[drop.layer]
        weight, column = reader.weight.copy(), reader.weight[:, drop.place]
        weight[:, drop.place] = 0
        layers[drop.layer] = replace(reader, weight=weight, bias=reader.bias + drop.constant * column)
    return remove_dead(network.but(layers=tuple(layers)))


def possible_drops(chain: Chain, rows: int = 1024) -> list[Drop]:
    """Return the inputs and units that can be dropped, the one that costs least loss for what it frees first.

    A layer keeps one signal at least.
    """
    network = network_of(chain.arrays, chain.network)
    before, drops = chain.cost, []
    state, nothing, seen = (
        chain.arrays,
        np.zeros((kernels.MOST_CHANGES, 4), np.int64),
        min(rows, len(chain.data.targets)),
    )
    for layer, width in enumerate(network.widths[:-1]):
        for place in range(width) if width > 1 else ():
            signal = int(state.net.layers[layer, kernels.SIGNAL_AT]) + place
            constant = round(float(state.rows.signals[signal].mean()))
            cost = fast_cost(without_signals(network, [Drop(layer, place, constant, 0.0, 0)]), chain.unit)
            freed = before - cost
            if cost >= 0 and freed > 0:
                state.rows.override[:] = constant
                sums = np.zeros(2)
                kernels.evaluate(*state, nothing, 0, 0, seen, signal, False, sums)
                drops.append(Drop(layer, place, constant, sums[0] / seen / freed, freed))
    return sorted(drops, key=lambda drop: drop.score)


def chosen_drops(
    drops: Sequence[Drop], number: int, fall: float, widths: Sequence[int], rng: np.random.Generator
) -> list[list[Drop]]:
    """Return what is tried: single drops that are drawn, the earlier the likelier; and the first several at once.

    Parameters
    ----------
    drops : sequence of Drop
    number : int
        Of single drops.
    fall : float
        What the budget falls by in the block. As many as free it are tried at once, if these are two or more.
    widths : sequence of int
        Of the network: a layer keeps one signal.
    rng : numpy.random.Generator
    """
    if not drops or number == 0:
        return []
    odds = 1.0 / np.arange(1, len(drops) + 1) ** 2
    places = rng.choice(len(drops), size=min(number, len(drops)), replace=False, p=odds / odds.sum())
    chosen = [[drops[place]] for place in sorted(places)]
    together: list[Drop] = []
    for drop in drops:
        if sum(one.freed for one in together) + drop.freed > fall:
            break
        if sum(one.layer == drop.layer for one in together) < widths[drop.layer] - 1:
            together.append(drop)
    return chosen + [together] * (len(together) > 1)


def walk_with_drops(
    chain: Chain, walk: Walk, decisions: Decisions, number: int, rng: np.random.Generator
) -> tuple[Chain, int, bool]:
    """Make a block of proposals with and without some of the units; return the best chain, all evaluations, and whether it dropped one.

    Parameters
    ----------
    chain : Chain
        Changed in place: it is the copy that keeps all units.
    walk : Walk
        The first 0.4 of the proposals compare the copies; the best makes the rest.
    decisions : Decisions
    number : int
        Of units that are tried.
    rng : numpy.random.Generator
    """
    network, fall = network_of(chain.arrays, chain.network), chain.cost - walk.budget_to
    trials = [
        Chain(without_signals(network, drops), chain.data, chain.unit, int(rng.integers(1 << 63)))
        for drops in chosen_drops(possible_drops(chain), number, fall, network.widths, rng)
    ]
    tried = max(round(TRIED * walk.proposals), 1)
    trial_walk = walk._replace(proposals=tried)
    best, evaluated = chain, decisions.advance(chain, trial_walk)
    least = decisions.value(chain)
    for trial in trials:
        trial.mixture = chain.mixture
        evaluated += trial.fill(walk.budget_to)
        evaluated += decisions.advance(trial, trial_walk)
        value = decisions.value(trial)
        if trial.cost <= max(walk.budget_to, chain.cost) and value < least:
            best, least = trial, value
    rest = walk._replace(proposals=walk.proposals - tried, budget_from=walk.budget_to)
    evaluated += decisions.advance(best, rest)
    if best is not chain:
        best.statistics += chain.statistics
    return best, evaluated, best is not chain
