"""Compiled evaluation of sparse moves on a multilayer perceptron, in parallel over candidates.

All numbers are float32. Widths are padded to multiples of 16, so that the inner loops have no remainder; the padding of the
logits is a large negative number, whose exponential is 0. `pre` holds the outputs of each layer before the gates, the logits
last. Most layers lie by row of the batch, (B, out). The last hidden layer and the logits lie by unit, because moves that enter
there go through 16 rows at once (`_through_part`): part after part of `PART` rows, each (out, PART), the last one narrower, with B
padded to a multiple of 16. All candidates go through a part before any goes through the next one, so that its outputs stay in the
processor's cache; rows that lie a power of two apart would also displace each other there.

A move changes the signals of a few sites of one level: level 0 is the inputs, level l the units of hidden layer l. The
pre-activations of the next layer change by one row of the weights for each changed site, and only the layers above are
computed again. A row of the batch on which none of these signals changes keeps its loss.

The matrices of all layers lie one after the other in two vectors, `net` (weights and biases) and `pre`; `shapes` holds their
offsets. So one machine code serves any number of layers: with one array for each layer, each depth would be a type of its own.
"""

from __future__ import annotations

import numba
import numpy as np

from mcprune.chain.jit import contracted_inline, contracted_kernel, contracted_parallel_kernel
from mcprune.evaluators.compiled.simd import matrix_at, pack_relu, sum_exp, tile_16, tile_32, tile_64, tile_128
from mcprune.evaluators.compiled.simd_rows import (
    MOST_CLASSES,
    entropies,
    lift_1,
    lift_2,
    lift_any,
    panel_1,
    panel_2,
    panel_4,
    panel_6,
    panel_10,
    panel_12,
    pick_1,
    pick_2,
    pick_any,
)
from mcprune.types import Float32Array, FloatArray, Int32Array, IntArray, UInt8Array

RELU, TANH, SIGMOID, SOFTPLUS = 0, 1, 2, 3
# Losses of rows: cross-entropy of classes, and those of numbers.
CROSS_ENTROPY, SQUARED, ABSOLUTE, HUBER, QUANTILE, POISSON, BINARY = 0, 1, 2, 3, 4, 5, 6
LossRule = tuple[int, np.float32]  # code of a loss, and its number
# Columns of `shapes` (layers, 7): offsets of the weights, the bias and the outputs in their vectors, and their sides.
WEIGHTS, INPUTS, OUTPUTS, BIAS, PRE, PRE_ROWS, PRE_COLUMNS = range(7)
BLOCK = 16  # rows that go through the layers together
PART = 512  # rows of a part of the layers that lie by unit; of 512 units they take 1 MiB
# What a candidate's rows so far add up to: eight interleaved sums of the losses, sums of the changes and their squares, looks made;
# and what the losses of the rows that may still change add up to now.
TALLY, DRIFT, SPREAD, LOOK, REST = 12, 8, 9, 10, 11
PICKING = 1.5  # cost of gathering 16 scattered rows, in groups of 16 adjacent rows


@contracted_inline
def activation(value: np.float32, code: int) -> np.float32:
    """Return the activation of one number."""
    one = np.float32(1.0)
    if code == RELU:
        return max(value, np.float32(0.0))
    if code == TANH:
        return np.float32(np.tanh(value))
    if code == SIGMOID:
        return np.float32(one / (one + np.exp(-value)))
    return np.float32(max(value, np.float32(0.0)) + np.log(one + np.exp(-abs(value))))


@contracted_inline
def number_loss(value: np.float32, goal: np.float32, rule: LossRule) -> np.float32:
    """Return the loss of one output against a number: that of `mcprune.objectives.losses`, by its code."""
    kind, number = rule
    zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)
    away = np.float32(value - goal)
    if kind == SQUARED:
        return np.float32(away * away)
    if kind == ABSOLUTE:
        return np.float32(abs(away))
    if kind == HUBER:
        near = min(np.float32(abs(away)), number)
        return np.float32(near * (np.float32(abs(away)) - half * near))
    if kind == QUANTILE:
        return np.float32(max(-number * away, (one - number) * away))
    if kind == POISSON:
        own = np.float32(goal * np.log(goal)) if goal > zero else zero
        return np.float32(np.exp(value) - goal * value + own - goal)
    return np.float32(max(value, zero) - goal * value + np.log(one + np.exp(-np.float32(abs(value)))))


@contracted_inline
def weights_of(net: Float32Array, shapes: IntArray, layer: int) -> Float32Array:
    """Return the weights (in, out) of a layer, or what there is of each, such as a derivative."""
    return matrix_at(net, shapes[layer, WEIGHTS], shapes[layer, INPUTS], shapes[layer, OUTPUTS])


@contracted_inline
def bias_of(net: Float32Array, shapes: IntArray, layer: int) -> Float32Array:
    """Return the bias (1, out) of a layer, or what there is of each number."""
    return matrix_at(net, shapes[layer, BIAS], 1, shapes[layer, OUTPUTS])


@contracted_inline
def _outputs(pre: Float32Array, shapes: IntArray, layer: int) -> Float32Array:
    """Return the outputs of a layer before the gates, (B, out), of a layer that lies by row."""
    return matrix_at(pre, shapes[layer, PRE], shapes[layer, PRE_ROWS], shapes[layer, PRE_COLUMNS])


@contracted_inline
def _part_of(pre: Float32Array, shapes: IntArray, layer: int, start: int) -> Float32Array:
    """Return the part from row `start` on of the outputs of a layer that lies by unit, (out, PART) or less."""
    units, columns = shapes[layer, PRE_ROWS], shapes[layer, PRE_COLUMNS]
    return matrix_at(pre, shapes[layer, PRE] + start * units, units, min(PART, columns - start))


@contracted_inline
def affine(
    values: Float32Array, first: int, index: Int32Array, count: int, weights: Float32Array, start: Float32Array,
    start_row: int, out: Float32Array, row: int,
) -> None:  # fmt: skip
    """Set out[row] to start[start_row] + the sum over k of values[first + k] weights[index[k]]."""
    column, width = 0, weights.shape[1]
    while column + 128 <= width:
        tile_128(values, first, index, count, weights, column, start, start_row, out, row)
        column += 128
    while column + 64 <= width:
        tile_64(values, first, index, count, weights, column, start, start_row, out, row)
        column += 64
    while column + 32 <= width:
        tile_32(values, first, index, count, weights, column, start, start_row, out, row)
        column += 32
    while column + 16 <= width:
        tile_16(values, first, index, count, weights, column, start, start_row, out, row)
        column += 16


@contracted_kernel
def _next_layer(
    sums: Float32Array, count: int, gates: Float32Array, gate_row: int, weights: Float32Array, bias: Float32Array,
    code: int, values: Float32Array, index: Int32Array, out: Float32Array,
) -> None:  # fmt: skip
    """Compute the pre-activations of the next layer (count, out) from those of one layer (count, in), for a block of rows.

    Zero signals are skipped: after a ReLU at least half of them are usually zero.
    """
    width = weights.shape[0]
    for q in range(count):
        if code == RELU:
            nonzero = pack_relu(sums, q, gates, gate_row, width, values, index)
        else:
            nonzero = width
            for r in range(width):
                values[r] = activation(gates[gate_row, r] * sums[q, r], code)
                index[r] = r
        affine(values, 0, index, nonzero, weights, bias, 0, out, q)


@contracted_inline
def _step(
    unit: int, gate: np.float32, lowest: int, features: Float32Array, pitch: int, below: Float32Array,
    first_gates: Float32Array, gates: Float32Array, code: int, steps: Float32Array, place: int, active: UInt8Array,
) -> None:  # fmt: skip
    """Write the change of one site's signal on every row into steps[:, place]; mark the rows where it is not 0 as active."""
    if lowest == 0:
        change = gate - first_gates[unit]
        column = features[unit * pitch : unit * pitch + steps.shape[0]]
        for b in range(steps.shape[0]):
            value = change * column[b]
            steps[b, place] = value
            active[b] |= value != np.float32(0.0)
    else:
        old = gates[lowest - 1, unit]
        for b in range(steps.shape[0]):
            value = activation(gate * below[b, unit], code) - activation(old * below[b, unit], code)
            steps[b, place] = value
            active[b] |= value != np.float32(0.0)


@contracted_kernel
def _entry(
    below: Float32Array, steps: Float32Array, rows: IntArray, first: int, count: int, entries: int,
    entry_row: Int32Array, entry: Float32Array, out: Float32Array,
) -> None:  # fmt: skip
    """Compute the first pre-activations that change, for a block of rows: the old ones plus a few rows of the weights."""
    flat = steps.reshape(steps.size)
    for q in range(count):
        b = rows[first + q]
        affine(flat, b * steps.shape[1], entry_row, entries, entry, below, b, out, q)


@contracted_kernel
def _store(block: Float32Array, rows: IntArray, first: int, count: int, pre: Float32Array) -> None:
    """Store a block of pre-activations by row."""
    for q in range(count):
        b = rows[first + q]
        for r in range(pre.shape[1]):
            pre[b, r] = block[q, r]


@contracted_kernel
def _store_by_unit(
    block: Float32Array, rows: IntArray, first: int, count: int, pre: Float32Array, shapes: IntArray, layer: int
) -> None:
    """Store a block of outputs (row, unit) of a layer that lies by unit."""
    for q in range(count):
        b = rows[first + q]
        start = b // PART * PART
        out = _part_of(pre, shapes, layer, start)
        for r in range(out.shape[0]):
            out[r, b - start] = block[q, r]


@contracted_kernel
def mean_loss(values: Float32Array, count: int) -> float:
    """Return the mean of the first `count` losses in one fixed order, so that a move that changes no row changes no bit of the mean."""
    a = b = c = d = e = f = g = h = 0.0
    whole = count - count % 8
    for q in range(0, whole, 8):  # eight independent sums: a single one waits for each addition
        a += values[q]
        b += values[q + 1]
        c += values[q + 2]
        d += values[q + 3]
        e += values[q + 4]
        f += values[q + 5]
        g += values[q + 6]
        h += values[q + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for q in range(whole, count):
        total += values[q]
    return float(total / count)


@contracted_kernel
def weighted_mean(values: Float32Array, shares: FloatArray, count: int) -> float:
    """Return what `mean_loss` returns of losses times shares; their mean is 1."""
    a = b = c = d = e = f = g = h = 0.0
    whole = count - count % 8
    for q in range(0, whole, 8):
        a += values[q] * shares[q]
        b += values[q + 1] * shares[q + 1]
        c += values[q + 2] * shares[q + 2]
        d += values[q + 3] * shares[q + 3]
        e += values[q + 4] * shares[q + 4]
        f += values[q + 5] * shares[q + 5]
        g += values[q + 6] * shares[q + 6]
        h += values[q + 7] * shares[q + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for q in range(whole, count):
        total += values[q] * shares[q]
    return float(total / count)


@contracted_kernel
def row_mean(values: Float32Array, shares: FloatArray, count: int) -> float:
    """Return the mean of the first `count` losses, under shares where there are any."""
    return mean_loss(values, count) if shares.shape[0] == 0 else weighted_mean(values, shares, count)


@contracted_kernel
def is_hopeless(drift: float, spread: float, seen: int, total: int, room: float, quantile: float) -> bool:
    """Whether the mean change over all rows exceeds `room`, judged by the first `seen` rows of a batch in random order.

    Rows are drawn without replacement, so the mean of the first `seen` differs from the mean of all with variance
    s^2 (1/seen - 1/total), where s^2 is the variance of the rows' changes. A margin of `quantile` standard deviations keeps
    the probability of a wrong rejection small.
    """
    mean = drift / seen
    variance = max(spread / seen - mean * mean, 0.0)
    return bool(mean - quantile * np.sqrt(variance * (1.0 / seen - 1.0 / total)) > room)


@contracted_kernel
def _loss_that_may_change(
    features: Float32Array, pitch: int, total_rows: int, base: Float32Array, shares: FloatArray, level: IntArray,
    local: IntArray, size: int, sites: IntArray, now: float,
) -> float:  # fmt: skip
    """Return the sum of the losses of the rows that a move may change: where all its inputs are 0, a row keeps its loss."""
    for m in range(size):
        if level[sites[m]] > 0:
            return now * total_rows
    active = np.zeros(total_rows, np.uint8)
    for m in range(size):
        column = features[local[sites[m]] * pitch : local[sites[m]] * pitch + total_rows]
        for b in range(total_rows):
            active[b] |= column[b] != np.float32(0.0)
    total = 0.0
    for b in range(total_rows):
        loss = np.float64(base[b]) if active[b] else 0.0
        total += loss * shares[b] if shares.shape[0] > 0 else loss
    return total


@contracted_inline
def _aligned(size: int) -> Float32Array:
    """Return an uninitialised vector that starts at a cache line."""
    room = np.empty(size + 16, np.float32)
    start = (-room.ctypes.data % 64) // 4
    return room[start : start + size]


@contracted_inline
def _to_classes(
    signals: Float32Array, units: int, weights: Float32Array, bias: Float32Array, classes: int, logits: Float32Array
) -> None:
    """Apply the last layer to 16 rows: signals (units * 16,) to logits (classes * 16,)."""
    c = 0
    while MOST_CLASSES >= 12 and c + 12 <= classes:
        panel_12(signals, units, weights, bias, c, logits)
        c += 12
    while MOST_CLASSES >= 10 and c + 10 <= classes:
        panel_10(signals, units, weights, bias, c, logits)
        c += 10
    while c + 6 <= classes:
        panel_6(signals, units, weights, bias, c, logits)
        c += 6
    while c + 4 <= classes:
        panel_4(signals, units, weights, bias, c, logits)
        c += 4
    while c + 2 <= classes:
        panel_2(signals, units, weights, bias, c, logits)
        c += 2
    while c < classes:
        panel_1(signals, units, weights, bias, c, logits)
        c += 1


@contracted_kernel
def _simd_steps(
    features: Float32Array, pitch: int, z: Float32Array, first_gates: Float32Array, gates: Float32Array, unit: int,
    gate: np.float32, lowest: int, is_by_unit: bool, code: int, step: Float32Array, active: UInt8Array, rows: int,
) -> None:  # fmt: skip
    """Write the change of one site's signal on every row into `step`; mark the rows where it is not 0 as active."""
    if lowest == 0:
        change = gate - first_gates[unit]
        column = features[unit * pitch : unit * pitch + rows]
        for b in range(rows):
            step[b] = change * column[b]
    else:
        old = gates[lowest - 1, unit]
        for b in range(rows):
            value = z[unit, b] if is_by_unit else z[b, unit]
            step[b] = activation(gate * value, code) - activation(old * value, code)
    for b in range(rows):
        active[b] |= step[b] != np.float32(0.0)


@contracted_kernel
def _active_rows(active: UInt8Array, total_rows: int, must_be_all: bool) -> tuple[Int32Array, int]:
    """Return (rows, count): the rows that change if gathering them is faster, else all rows including the padding."""
    groups = active.view(np.uint64)
    count = touched = 0
    for g in range(0, groups.shape[0], 2):
        touched += 16 if groups[g] | groups[g + 1] else 0
    for b in range(total_rows):
        count += active[b]
    if must_be_all or touched <= PICKING * count:
        return np.arange(active.shape[0]).astype(np.int32), active.shape[0]
    rows = np.zeros((count + 15) // 16 * 16, np.int32)
    filled = 0
    for b in range(total_rows):
        if active[b]:
            rows[filled] = b
            filled += 1
    return rows, count


@contracted_inline
def _enter(
    below: Float32Array, rows: Int32Array, first: int, units: int, steps: Float32Array, entries: int,
    entry_row: Int32Array, entry: Float32Array, gates: Float32Array, gate_row: int, is_relu: bool, is_kept: bool,
    is_picked: bool, out: Float32Array,
) -> None:  # fmt: skip
    """Compute the signals of 16 rows where the move enters."""
    if is_picked:
        if entries == 1:
            pick_1(below, rows, first, units, steps, entries, entry_row, entry, gates, gate_row, is_relu, False, out)
        elif entries == 2:
            pick_2(below, rows, first, units, steps, entries, entry_row, entry, gates, gate_row, is_relu, False, out)
        else:
            pick_any(below, rows, first, units, steps, entries, entry_row, entry, gates, gate_row, is_relu, False, out)
    elif entries == 1:
        lift_1(below, rows, first, units, steps, entries, entry_row, entry, gates, gate_row, is_relu, is_kept, out)
    elif entries == 2:
        lift_2(below, rows, first, units, steps, entries, entry_row, entry, gates, gate_row, is_relu, is_kept, out)
    else:
        lift_any(below, rows, first, units, steps, entries, entry_row, entry, gates, gate_row, is_relu, is_kept, out)


@contracted_inline
def _add_up(values: Float32Array, shares: FloatArray, start: int, whole: int, tally: FloatArray) -> None:
    """Add the first `whole` losses of a part, a multiple of 8, to the sums that `mean_loss` and `weighted_mean` make."""
    for first in range(0, whole, 8):
        for q in range(8):
            value = np.float64(values[first + q])
            tally[q] += value * shares[start + first + q] if shares.shape[0] > 0 else value


@contracted_kernel
def _through_part(
    features: Float32Array, pitch: int, total_rows: int, labels: Int32Array, pre: Float32Array, net: Float32Array,
    shapes: IntArray, base: Float32Array, shares: FloatArray, goals: Float32Array, rule: LossRule,
    gates: Float32Array, first_gates: Float32Array, level: IntArray,
    local: IntArray, lowest: int, size: int, sites: IntArray, changed: Float32Array, code: int, settling: bool,
    limit: float, now: float, looks: IntArray, quantile: float, start: int, tally: FloatArray,
) -> tuple[float, int]:  # fmt: skip
    """Take a move that enters at the last hidden layer or at the logits through the part of the rows from `start` on.

    Returns what `_walk` returns once the candidate is decided, as after the last part, else (0, 0); `tally` (TALLY,) holds what its
    rows so far add up to. `gates` are those of the position before and after, also when settling.
    """
    top = shapes.shape[0] - 1
    padded = min(PART, base.shape[0] - start)
    total = min(PART, total_rows - start)
    into, logit_rows = _part_of(pre, shapes, lowest, start), _part_of(pre, shapes, top, start)
    entry, last, last_bias = weights_of(net, shapes, lowest), weights_of(net, shapes, top), bias_of(net, shapes, top)
    own_base, own_labels = base[start : start + padded], labels[start : start + padded]
    steps = _aligned(size * padded).reshape((np.int64(size), padded))
    steps[:, total:] = np.float32(0.0)
    active = np.zeros(padded, np.uint8)
    entry_row = np.empty(size, np.int32)
    before_gates = np.empty(size, np.float32)
    entries = 0
    for m in range(size):
        unit = local[sites[m]]
        if level[sites[m]] == lowest:
            if lowest == top and lowest > 0:
                below = _part_of(pre, shapes, lowest - 1, start)
            elif lowest > 0:
                below = _outputs(pre, shapes, lowest - 1)[start : start + total]
            else:
                below = into
            _simd_steps(
                features[start:], pitch, below, first_gates, gates, unit, changed[m], lowest, lowest == top, code,
                steps[entries], active, total,
            )  # fmt: skip
            entry_row[entries] = unit
            entries += 1
    if entries < size:  # gates of higher levels change every row
        active[:] = 1
    for m in range(size):
        unit, stage = local[sites[m]], level[sites[m]]
        if stage > 0:
            before_gates[m] = gates[stage - 1, unit]
            gates[stage - 1, unit] = changed[m]
    rows, count = _active_rows(active, total, settling)
    is_picked = count < padded
    targets, before, moved = own_labels, own_base, active
    if is_picked:
        for q in range(count):
            for m in range(entries):
                steps[m, q] = steps[m, rows[q]]  # rows increase, so no value is overwritten before it is read
        targets, before, moved = own_labels[rows], own_base[rows], np.ones(rows.size, np.uint8)
        steps[:, count : rows.size] = np.float32(0.0)
    classes = logit_rows.shape[0]
    logits = _aligned(16 * classes)
    # The gates of the stage after the logits are all 1, so they leave the logits unchanged.
    is_relu, units = lowest < top and code == RELU, into.shape[0]
    signals = logits if lowest == top else _aligned(16 * units)
    groups = active.view(np.uint64)
    mine = own_base if settling else np.empty(rows.size, np.float32)
    look = np.int64(tally[LOOK])
    drift, rest, room = tally[DRIFT], tally[REST], (limit - now) * total_rows
    is_bounded = looks.shape[0] == 0 and limit < np.inf
    inside = count if is_picked else total
    for first in range(0, count, 16):
        if is_picked or groups[first // 8] | groups[first // 8 + 1]:
            _enter(
                into, rows, first, units, steps, entries, entry_row, entry, gates, lowest, is_relu, settling, is_picked,
                signals,
            )  # fmt: skip
            if lowest < top:
                if not is_relu:
                    for r in range(16 * units):
                        signals[r] = activation(signals[r], code)
                _to_classes(signals, units, last, last_bias, classes, logits)
                if settling:
                    for c in range(classes):
                        for q in range(16):
                            logit_rows[c, first + q] = logits[16 * c + q]
            if rule[0] == CROSS_ENTROPY:
                entropies(logits, classes, targets, first, moved, before, mine)
            else:
                for q in range(first, first + 16):
                    at = start + (rows[q] if is_picked else q)
                    value = np.float32(0.0)
                    for c in range(classes):
                        value += number_loss(logits[16 * c + q - first], goals[c * base.shape[0] + at], rule)
                    mine[q] = value / np.float32(classes) if moved[q] else before[q]
        else:
            mine[first : first + 16] = own_base[first : first + 16]
        if is_bounded:
            for q in range(first, min(first + 16, inside)):
                if moved[q]:
                    share = shares[start + rows[q]] if shares.shape[0] > 0 else 1.0
                    drift += share * (np.float64(mine[q]) - before[q])
                    rest -= share * before[q]
            # No loss falls below 0, so the rows to come cannot make up for more than they lose now.
            done = start + (rows[first + 16] if first + 16 < inside else total)
            if done < total_rows and drift > room + max(rest, 0.0):
                _put_back(gates, level, local, size, sites, before_gates)
                return now + drift / total_rows, done
        elif look < looks.shape[0]:
            for q in range(first, min(first + 16, count)):
                change = np.float64(mine[q]) - before[q]
                if shares.shape[0] > 0:
                    change *= shares[start + rows[q]]
                tally[DRIFT] += change
                tally[SPREAD] += change * change
            seen = min(start + (rows[first + 16] if first + 16 < count else padded), total_rows)
            if seen >= looks[look] and seen < total_rows:
                if is_hopeless(tally[DRIFT], tally[SPREAD], seen, total_rows, limit - now, quantile):
                    _put_back(gates, level, local, size, sites, before_gates)
                    return now + tally[DRIFT] / seen, seen
                while look < looks.shape[0] and looks[look] <= seen:
                    look += 1
    tally[LOOK] = look
    if is_bounded:
        tally[DRIFT], tally[REST] = drift, rest
    _put_back(gates, level, local, size, sites, before_gates)
    if is_picked:
        part = own_base.copy()
        for q in range(count):
            part[rows[q]] = mine[q]
        mine = part
    whole = total - total % 8
    _add_up(mine, shares, start, whole, tally)
    if start + PART < total_rows:
        return 0.0, 0
    loss = ((tally[0] + tally[1]) + (tally[2] + tally[3])) + ((tally[4] + tally[5]) + (tally[6] + tally[7]))
    for q in range(whole, total):
        loss += np.float64(mine[q]) * shares[start + q] if shares.shape[0] > 0 else np.float64(mine[q])
    return loss / total_rows, total_rows


@contracted_inline
def _put_back(
    gates: Float32Array, level: IntArray, local: IntArray, size: int, sites: IntArray, before: Float32Array
) -> None:
    """Give the gates of a move's units the values that they had before it; of a site that changes twice the first one."""
    for m in range(size - 1, -1, -1):
        if level[sites[m]] > 0:
            gates[level[sites[m]] - 1, local[sites[m]]] = before[m]


@contracted_kernel
def _through_layers(
    features: Float32Array, pitch: int, total_rows: int, labels: Int32Array, pre: Float32Array, net: Float32Array,
    shapes: IntArray, base: Float32Array, shares: FloatArray, goals: Float32Array, rule: LossRule,
    gates: Float32Array, first_gates: Float32Array, level: IntArray,
    local: IntArray, lowest: int, size: int, sites: IntArray, changed: Float32Array, code: int, settling: bool,
    limit: float, now: float, looks: IntArray, quantile: float,
) -> tuple[float, int]:  # fmt: skip
    """Do what `_walk` does, for a move that enters below the last hidden layer."""
    layers = shapes.shape[0]
    into = _outputs(pre, shapes, lowest)
    below = _outputs(pre, shapes, max(lowest - 1, 0))
    entry = weights_of(net, shapes, lowest)
    steps = np.empty((total_rows, size), np.float32)
    active = np.zeros(total_rows, np.uint8)
    entry_row = np.empty(size, np.int32)
    entries = 0
    for m in range(size):
        if level[sites[m]] == lowest:
            _step(
                local[sites[m]], changed[m], lowest, features, pitch, below, first_gates, gates, code, steps, entries, active
            )  # fmt: skip
            entry_row[entries] = local[sites[m]]
            entries += 1
    # Sites of the lowest level change signals; sites of higher levels (a mixed move) change gates, on every row.
    is_every = entries < size
    rows = np.empty(total_rows, np.int64)
    count = 0
    for b in range(total_rows):
        if is_every or active[b]:
            rows[count] = b
            count += 1
    mine = base if settling else base.copy()
    for m in range(size):
        unit, stage = local[sites[m]], level[sites[m]]
        if stage > 0:
            gates[stage - 1, unit] = changed[m]
        elif settling:
            first_gates[unit] = changed[m]
    widest = 0
    for layer in range(layers):
        widest = max(widest, shapes[layer, OUTPUTS])
    block, other = np.empty((BLOCK, widest), np.float32), np.empty((BLOCK, widest), np.float32)
    spare = np.empty(widest + 16, np.float32)
    picked = np.empty(widest + 16, np.int32)
    look = 0
    drift = spread = 0.0
    is_bounded = looks.shape[0] == 0 and limit < np.inf
    room = (limit - now) * total_rows
    rest = 0.0
    if is_bounded:
        for q in range(count):
            rest += np.float64(base[rows[q]]) * shares[rows[q]] if shares.shape[0] > 0 else np.float64(base[rows[q]])
    # Blocks of 16 rows go through a layer together and share its fixed cost.
    for first in range(0, count, BLOCK):
        part = min(BLOCK, count - first)
        _entry(into, steps, rows, first, part, entries, entry_row, entry, block)
        for layer in range(lowest + 1, layers):
            if settling and layer == layers - 1:
                _store_by_unit(block, rows, first, part, pre, shapes, layer - 1)
            elif settling:
                _store(block, rows, first, part, _outputs(pre, shapes, layer - 1))
            _next_layer(
                block, part, gates, layer - 1, weights_of(net, shapes, layer), bias_of(net, shapes, layer), code, spare, picked,
                other,
            )  # fmt: skip
            block, other = other, block
        for q in range(part):
            b = rows[first + q]
            if rule[0] == CROSS_ENTROPY:
                top, total = sum_exp(block, q, shapes[layers - 1, OUTPUTS])
                value = np.log(total) + top - block[q, labels[b]]
            else:
                value = np.float32(0.0)
                outputs = shapes[layers - 1, PRE_ROWS]
                for c in range(outputs):
                    value += number_loss(block[q, c], goals[c * base.shape[0] + b], rule)
                value /= np.float32(outputs)
            change = np.float64(value) - base[b]
            if shares.shape[0] > 0:
                change *= shares[b]
            drift += change
            spread += change * change
            if is_bounded:
                rest -= np.float64(base[b]) * shares[b] if shares.shape[0] > 0 else np.float64(base[b])
            mine[b] = value
        if settling:
            _store_by_unit(block, rows, first, part, pre, shapes, layers - 1)
        # All rows before the next active one are known: the inactive ones among them do not change.
        seen = rows[first + part] if first + part < count else total_rows
        if is_bounded and seen < total_rows and drift > room + max(rest, 0.0):
            return now + drift / total_rows, seen
        if look < looks.shape[0] and seen >= looks[look] and seen < total_rows:
            if is_hopeless(drift, spread, seen, total_rows, limit - now, quantile):
                return now + drift / seen, seen
            while look < looks.shape[0] and looks[look] <= seen:
                look += 1
    return row_mean(mine, shares, total_rows), total_rows


@contracted_inline
def _lowest(level: IntArray, size: int, sites: IntArray, layers: int) -> int:
    """Return the lowest level of a move's sites."""
    lowest = layers
    for m in range(size):
        lowest = min(lowest, level[sites[m]])
    return lowest


@contracted_inline
def _set_gates(
    gates: Float32Array, first_gates: Float32Array, level: IntArray, local: IntArray, size: int, sites: IntArray,
    changed: Float32Array,
) -> None:  # fmt: skip
    """Set the gates of a move's sites to their new values."""
    for m in range(size):
        unit, stage = local[sites[m]], level[sites[m]]
        if stage > 0:
            gates[stage - 1, unit] = changed[m]
        else:
            first_gates[unit] = changed[m]


@contracted_kernel
def _settle(
    features: Float32Array, pitch: int, total_rows: int, labels: Int32Array, pre: Float32Array, net: Float32Array,
    shapes: IntArray, base: Float32Array, shares: FloatArray, goals: Float32Array, rule: LossRule,
    gates: Float32Array, first_gates: Float32Array, level: IntArray,
    local: IntArray, size: int, sites: IntArray, changed: Float32Array, code: int,
) -> float:  # fmt: skip
    """Make one move in place and return its mean loss: pre, base, gates and first_gates become those of the new position."""
    looks = np.empty(0, np.int64)
    lowest = _lowest(level, size, sites, shapes.shape[0])
    if lowest < shapes.shape[0] - 2:
        return _through_layers(
            features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, gates, first_gates, level, local, lowest,
            size, sites, changed, code, True, np.inf, 0.0, looks, 0.0,
        )[0]  # fmt: skip
    tally = np.zeros(TALLY)
    loss = 0.0
    for start in range(0, total_rows, PART):
        loss, _ = _through_part(
            features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, gates, first_gates, level, local, lowest,
            size, sites, changed, code, True, np.inf, 0.0, looks, 0.0, start, tally,
        )  # fmt: skip
    _set_gates(gates, first_gates, level, local, size, sites, changed)
    return loss


@contracted_kernel
def _evaluate_some(
    features: Float32Array, pitch: int, total_rows: int, labels: Int32Array, pre: Float32Array, net: Float32Array,
    shapes: IntArray, base: Float32Array, shares: FloatArray, goals: Float32Array, rule: LossRule,
    gates: Float32Array, first_gates: Float32Array, level: IntArray,
    local: IntArray, size: Int32Array, sites: IntArray, changed: Float32Array, code: int, limits: FloatArray,
    now: float, looks: IntArray, quantile: float, offset: int, stride: int, out: FloatArray, seen: IntArray,
) -> None:  # fmt: skip
    """Write the losses of every `stride`-th candidate from `offset` on, and the numbers of rows that they were computed from."""
    layers = shapes.shape[0]
    lowest = np.empty(size.shape[0], np.int64)
    own_gates = gates.copy()
    is_by_part = False
    for k in range(offset, size.shape[0], stride):
        lowest[k] = _lowest(level, size[k], sites[k], layers)
        if size[k] > 0 and lowest[k] < layers - 2:
            out[k], seen[k] = _through_layers(
                features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, gates.copy(), first_gates, level, local,
                lowest[k], size[k], sites[k], changed[k], code, False, limits[k], now, looks, quantile,
            )  # fmt: skip
        elif size[k] > 0:
            is_by_part = True
    if not is_by_part:
        return
    tally = np.zeros((size.shape[0], TALLY))
    if looks.shape[0] == 0:
        for k in range(offset, size.shape[0], stride):
            if size[k] > 0 and seen[k] == 0 and limits[k] < np.inf:
                tally[k, REST] = _loss_that_may_change(
                    features, pitch, total_rows, base, shares, level, local, size[k], sites[k], now
                )
    for start in range(0, total_rows, PART):
        for k in range(offset, size.shape[0], stride):
            if size[k] > 0 and seen[k] == 0:
                loss, rows = _through_part(
                    features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, own_gates, first_gates, level,
                    local, lowest[k], size[k], sites[k], changed[k], code, False, limits[k], now, looks, quantile, start,
                    tally[k],
                )  # fmt: skip
                if rows > 0:
                    out[k], seen[k] = loss, rows


@contracted_kernel
def evaluate(
    features: Float32Array, pitch: int, total_rows: int, labels: Int32Array, pre: Float32Array, net: Float32Array,
    shapes: IntArray, base: Float32Array, shares: FloatArray, goals: Float32Array, rule: LossRule,
    gates: Float32Array, first_gates: Float32Array, level: IntArray,
    local: IntArray, size: Int32Array, sites: IntArray, changed: Float32Array, code: int, settling: bool,
    limits: FloatArray, now: float, looks: IntArray, quantile: float,
) -> tuple[FloatArray, IntArray]:  # fmt: skip
    """Return the mean loss of each candidate, on one thread.

    Parameters
    ----------
    features : vector in which the rows of input i start at i * pitch
    total_rows : B
    labels : (B padded,)
    pre, net : vectors with the matrices of all layers: (B, out) or (out, B padded); (in, out) and (1, out)
    shapes : (layers, 7), offsets and sides of these matrices
    base : (B padded,), current loss of each row
    shares : (B padded,), weights of the rows, of mean 1 over B; empty where all rows count alike
    goals : (T * B padded,), numbers that are the targets, in place of `labels`; empty where these are classes
    rule : (code, number), the loss of a row: of Huber's the number is the distance, of a quantile its level
    gates : (layers, widest), gates of the units of each layer, 1 where a unit is no site
    first_gates : (N,), gates of the inputs
    level, local : (S,), level of every site, and its index within the level
    size, sites, changed : (K,), (K, M), (K, M), the moves: how many sites change, which, and their new gates
    settling : make the moves in place, one after the other: pre, base, gates and first_gates become those of the new position
    limits : (K,), loss below which a candidate is accepted; infinite where none is
    now : loss of the position
    looks : (L,), increasing row counts at which a candidate may be rejected by a test; if empty, a candidate is rejected where the
        rows so far decide: even at a loss of 0 on all rows to come it would be above its limit

    Returns
    -------
    losses : (K,), NaN where nothing changes
    seen : (K,), number of rows that each loss was computed from
    """
    out = np.full(size.shape[0], np.nan)
    seen = np.zeros(size.shape[0], np.int64)
    if not settling:
        _evaluate_some(
            features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, gates, first_gates, level, local, size, sites,
            changed, code, limits, now, looks, quantile, 0, 1, out, seen,
        )  # fmt: skip
        return out, seen
    for k in range(size.shape[0]):
        if size[k] > 0:
            out[k] = _settle(
                features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, gates, first_gates, level, local,
                size[k], sites[k], changed[k], code,
            )  # fmt: skip
            seen[k] = total_rows
    return out, seen


@contracted_parallel_kernel
def evaluate_parallel(
    features: Float32Array, pitch: int, total_rows: int, labels: Int32Array, pre: Float32Array, net: Float32Array,
    shapes: IntArray, base: Float32Array, shares: FloatArray, goals: Float32Array, rule: LossRule,
    gates: Float32Array, first_gates: Float32Array, level: IntArray,
    local: IntArray, size: Int32Array, sites: IntArray, changed: Float32Array, code: int, limits: FloatArray,
    now: float, looks: IntArray, quantile: float, threads: int,
) -> tuple[FloatArray, IntArray]:  # fmt: skip
    """Do what `evaluate` does without settling, on so many of numba's threads."""
    out = np.full(size.shape[0], np.nan)
    seen = np.zeros(size.shape[0], np.int64)
    offsets = np.arange(threads)  # the variable of the loop is an unsigned number, a type of its own
    for part in numba.prange(threads):
        _evaluate_some(
            features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, gates, first_gates, level, local, size, sites,
            changed, code, limits, now, looks, quantile, offsets[part], threads, out, seen,
        )  # fmt: skip
    return out, seen


@contracted_parallel_kernel
def settle_parallel(
    features: Float32Array, pitch: int, total_rows: int, labels: Int32Array, pre: Float32Array, net: Float32Array,
    shapes: IntArray, base: Float32Array, shares: FloatArray, goals: Float32Array, rule: LossRule,
    gates: Float32Array, first_gates: Float32Array, level: IntArray,
    local: IntArray, size: Int32Array, sites: IntArray, changed: Float32Array, code: int,
) -> None:  # fmt: skip
    """Make one move in place as `evaluate` does when settling, on numba's threads; `size` (1,), `sites` and `changed` (1, M)."""
    lowest = _lowest(level, size[0], sites[0], shapes.shape[0])
    if lowest < shapes.shape[0] - 2:
        _settle(
            features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, gates, first_gates, level, local, size[0],
            sites[0], changed[0], code,
        )  # fmt: skip
    else:
        starts = np.arange(0, total_rows, PART)
        looks = np.empty(0, np.int64)
        for part in numba.prange(starts.shape[0]):
            # No part needs what another one adds up, since the loss is not asked for.
            _through_part(
                features, pitch, total_rows, labels, pre, net, shapes, base, shares, goals, rule, gates.copy(), first_gates, level, local,
                lowest, size[0], sites[0], changed[0], code, True, np.inf, 0.0, looks, 0.0, starts[part], np.zeros(TALLY),
            )  # fmt: skip
        _set_gates(gates, first_gates, level, local, size[0], sites[0], changed[0])
