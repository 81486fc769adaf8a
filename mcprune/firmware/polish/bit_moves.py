"""Bits of inputs and activations: one bit less, or more, where the loss agrees to the price of a digit elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from mcprune.firmware.fixed_point import FixedFormat, quantize
from mcprune.firmware.network import FixedLayer, FixedNetwork
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.arrays import fill_forms, signal_table
from mcprune.firmware.polish.engine.chain import SCREENED, Chain

End = Literal["low", "high"]


class BitMove(NamedTuple):
    """A bit of a signal: the layer that reads it, its place there, at which end, and whether it goes (-1) or comes (1)."""

    layer: int
    place: int
    end: End
    step: int


def bit_moves(network: FixedNetwork) -> list[BitMove]:
    """Return every bit that can go or come."""
    moves = []
    for layer, form in enumerate(network.formats):
        for place in range(len(form)):
            bits, fraction = int(form.bits[place]), int(form.fraction[place])
            if bits == 0:
                continue
            if bits > 1 + form.signed[place]:
                moves += [BitMove(layer, place, end, -1) for end in ("low", "high")]
            if bits < 16:
                moves.append(BitMove(layer, place, "high", 1))
                if fraction < form.common:
                    moves.append(BitMove(layer, place, "low", 1))
    return moves


def changed_format(form: FixedFormat, move: BitMove) -> FixedFormat:
    """Return the formats of a layer's inputs after a move."""
    bits, fraction = form.bits.copy(), form.fraction.copy()
    bits[move.place] += move.step
    if move.end == "low":
        fraction[move.place] += move.step
    return replace(form, bits=bits, fraction=fraction)


def bit_round(chain: Chain, price: float, rng: np.random.Generator, share: float = 1.0) -> int:
    """Try the moves of bits in random order; return how many were made. The cost may rise above the budget.

    Parameters
    ----------
    chain : Chain
        Changed in place, its network too.
    price : float
        Mean loss for each unit of the budget.
    rng : numpy.random.Generator
    share : float
        Part of the moves that is tried.
    """
    moves = bit_moves(chain.network)
    count = 0
    for number in rng.permutation(len(moves))[: max(1, round(share * len(moves)))]:
        move = moves[number]
        form = changed_format(chain.network.formats[move.layer], move)
        # A bit that went may have changed what is possible since.
        if (
            0 < form.bits[move.place] <= 16
            and form.fraction[move.place] <= form.common
            and _try(chain, move, form, price)
        ):
            count += 1
    return count


def _try(chain: Chain, move: BitMove, form: FixedFormat, price: float) -> bool:
    """Make one move if it pays."""
    state, network = chain.arrays, chain.network
    net, rows, count = state.net, state.rows, len(chain.data.targets)
    signal = int(net.layers[move.layer, kernels.SIGNAL_AT]) + move.place
    old_signal, old_costs, unit = net.signals[signal].copy(), net.costs.copy(), -1
    if move.layer == 0:
        column = network.origin.columns[move.place]
        one = form.select(np.array([move.place]))
        rows.override[:] = quantize(chain.data.features[:, column : column + 1], one)[:, 0]
    else:
        source = network.layers[move.layer - 1]
        unit = int(net.layers[move.layer - 1, kernels.UNIT_AT]) + move.place
        old_form = net.forms[unit].copy()
        fill_forms(
            net.forms[unit : unit + 1],
            form.select(np.array([move.place])),
            network.accumulator_fraction(move.layer - 1),
            is_rectified=source.relu,
        )
        kernels.activate(rows.accumulators[unit], count, net.forms[unit], rows.override)
    net.signals[signal] = signal_table(form.select(np.array([move.place])))[0]
    changes = _compensation(chain, move, form)
    kernels.apply(net, changes, len(changes), 1)
    change, is_possible = kernels.set_reader_costs(net, move.layer, move.place, chain.mode)
    cost, sums, seen = chain.cost + change, np.zeros(2), min(SCREENED, count)
    kernels.evaluate(*state, changes, len(changes), 0, seen, signal, False, sums)
    is_taken = is_possible and not kernels.is_rejected(sums, seen, -price * change, 1.0)
    if is_taken:
        kernels.evaluate(*state, changes, len(changes), seen, count, signal, False, sums)
    if is_taken and sums[0] / count <= -price * change and (change != 0 or sums[0] < 0):
        gain = sums[0]
        kernels.evaluate(*state, changes, len(changes), 0, count, signal, True, np.zeros(2))
        chain.totals[:] = (chain.totals[0] + gain, cost)
        chain.network = _with_format(network, move.layer, form)
        return True
    kernels.apply(net, changes, len(changes), -1)
    net.signals[signal], net.costs[:] = old_signal, old_costs
    if unit >= 0:
        net.forms[unit] = old_form
    return False


def _compensation(chain: Chain, move: BitMove, form: FixedFormat) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return changes of biases that make up for the mean of what cutting off one more low bit takes away, or one less."""
    reader = chain.network.layers[move.layer]
    if form.rounding == "nearest" or move.end == "high":
        return np.zeros((0, 4), np.int64)
    net = chain.arrays.net
    at = int(net.layers[move.layer, kernels.WEIGHT_AT])
    column = net.weights[at : at + reader.weight.size].reshape(reader.weight.shape)[:, move.place].astype(np.int64)
    step = 1 << int(form.shift[move.place])  # of the signal now; its mean moves by a half of the finer of the two steps
    delta = (-move.step * column * (step >> 1 if move.step < 0 else step)) >> 1
    units = np.flatnonzero(delta)
    return np.stack([np.full(len(units), move.layer), units, np.full(len(units), -1), delta[units]], axis=1)


def _with_format(network: FixedNetwork, layer: int, form: FixedFormat) -> FixedNetwork:
    """Return the network with other formats of what a layer reads."""
    if layer == 0:
        return network.but(inputs=form)
    layers: list[FixedLayer] = list(network.layers)
    layers[layer - 1] = replace(layers[layer - 1], activation=form)
    return network.but(layers=tuple(layers))
