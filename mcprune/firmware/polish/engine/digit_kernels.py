"""The chain over signed digits, compiled: integer state of every row, changes of digits propagated through it, decisions in stages.

Layout: signals (what each layer reads) and accumulators are stored as columns, (values, rows), so that every loop runs over rows. A
change of a weight alters one accumulator of every row; where the rounded activation stays the same in a tile of rows, nothing behind
it is touched. All of it is exact in integers; only the cross-entropy of the logits is in floats, with an exponential and a logarithm
of basic operations alone, so that every machine gets the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.chain.jit import kernel
from mcprune.types import AnyArray, Float32Array, FloatArray, Int32Array, IntArray, UInt8Array

TILE = 512  # rows that are propagated together
MOST_REACH = 1 << 30  # of accumulators and signals: int32 holds them and a sum of two
# Columns of a unit's format. The accumulator becomes ((x + HALF) >> DOWN) << LIFT, then wraps or saturates, then << UP.
RELU, HALF, DOWN, LIFT, LOW, SPAN, HIGH, SATURATES, UP, BIAS_LOW, BIAS_HIGH = range(11)
FORM = 11
BITS, REACH, SHIFT, SIGNED = range(4)  # columns of a signal
LAYER, UNIT, INPUT, DELTA = range(4)  # columns of a change; INPUT -1 is the bias
WEIGHT_AT, UNIT_AT, SIGNAL_AT, POWERS = range(
    4
)  # columns of a layer: where its weights, units and inputs begin; powers of its digits
MOST_CHANGES = 4
DIGITS, DIGIT_BITS, EBOPS, ADDERS, LUTS = range(5)  # unit of the budget
# Moves, and columns of their statistics.
EXCHANGE, NEIGHBOUR, WITHIN, BIAS, SWAP, REMOVE, FORCED, MOVES = range(8)
EVALUATED, ACCEPTED, GAIN, PROPOSED, SECOND, FULL, SPENT, SEEN, COUNTERS = range(9)
GUIDED = 0.7  # part of the additions that is drawn by a guide, where there is one
ONE, HALF_FLOAT = np.float32(1.0), np.float32(0.5)


class Net(NamedTuple):
    """The integers of a network, and what its moves need to know of them."""

    widths: IntArray  # (L + 1,)
    layers: IntArray  # (L, 4): see WEIGHT_AT
    weights: Int32Array  # of all layers, each (outputs, inputs)
    biases: Int32Array  # of all units
    forms: IntArray  # (units, FORM)
    signals: IntArray  # (signals, 4): see BITS
    costs: IntArray  # of each unit
    options: FloatArray  # logit scale


class Rows(NamedTuple):
    """State of every row."""

    signals: Int32Array  # (signals, rows)
    accumulators: Int32Array  # (units, rows)
    losses: Float32Array
    targets: Int32Array
    weights: Float32Array  # mean 1
    override: Int32Array  # values of one signal in place of its own


class Guide(NamedTuple):
    """Additions of powers of two that were tried alone, to be drawn by how they did. Without any, all are as likely."""

    weights: IntArray  # places among all weights
    deltas: IntArray
    sums: FloatArray  # of their probabilities


class Scratch(NamedTuple):
    """Room for one tile."""

    accumulators: Int32Array  # (units, TILE)
    deltas: Int32Array  # (signals, TILE)
    values: Int32Array  # (TILE,)
    floats: Float32Array  # (4, TILE)
    bits: Int32Array  # (TILE,)
    powers: Float32Array  # the same memory as bits
    touched: UInt8Array  # (units,)
    dirty: UInt8Array  # (signals,)
    sums: FloatArray  # (2, TILE)


@kernel
def count_digits(value: int) -> int:
    """Nonzero canonical signed digits of an integer."""
    size = abs(value)
    rest = size ^ (3 * size)
    count = 0
    while rest:
        rest &= rest - 1
        count += 1
    return count


@kernel
def nth_digit(value: int, number: int) -> int:
    """Return a signed digit of an integer, the lowest being number 0, as a signed power of two."""
    size = abs(value)
    triple = 3 * size
    rest = (size ^ triple) >> 1
    for _ in range(number):
        rest &= rest - 1
    power = rest & -rest
    sign = 1 if value > 0 else -1
    return sign * power if (triple >> 1) & power else -sign * power


@kernel
def length(value: int) -> int:
    """Bits of an integer that is not negative."""
    count = 0
    while value:
        value >>= 1
        count += 1
    return count


@kernel
def random(state: AnyArray) -> float:
    """Next number of splitmix64, uniform in [0, 1)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def below(state: AnyArray, count: int) -> int:
    """Return a random integer from 0 to count - 1."""
    return int(random(state) * count)


@kernel
def top_bit(low: int, high: int) -> int:
    """Bits of the integers from `low` to `high`, a sign included where `low` is negative."""
    return length(max(high, -low - 1)) + (1 if low < 0 else 0)


@kernel
def unit_luts(net: Net, layer: int, unit: int) -> int:
    """Look-up tables of a unit whose sum shares nothing, as `tables.unit_luts` counts them."""
    inputs = net.widths[layer]
    at, signal = net.layers[layer, WEIGHT_AT] + unit * inputs, net.layers[layer, SIGNAL_AT]
    place = net.layers[layer, UNIT_AT] + unit
    count = 0
    for j in range(inputs):
        if net.signals[signal + j, BITS]:
            count += count_digits(int(net.weights[at + j]))
    if count == 0:
        return 0
    # Terms: least and largest value, lowest bit, top, sign; a sign of 0 marks one that is added already.
    terms = np.empty((2 * count, 5), np.int64)
    size = 0
    for j in range(inputs):
        w, bits = int(net.weights[at + j]), net.signals[signal + j, BITS]
        for number in range(count_digits(w) if bits else 0):
            digit = nth_digit(w, number)
            start = net.signals[signal + j, SHIFT] + length(abs(digit)) - 1
            is_signed = net.signals[signal + j, SIGNED]
            low = -(np.int64(1) << (bits - 1)) if is_signed else np.int64(0)
            high = (np.int64(1) << (bits - is_signed)) - 1
            terms[size, 0], terms[size, 1], terms[size, 2] = low << start, high << start, start
            terms[size, 3], terms[size, 4] = top_bit(low << start, high << start), 1 if digit > 0 else -1
            size += 1
    tables, begin = 0, 0
    for _ in range(count - 1):
        first, second = -1, -1
        while terms[begin, 4] == 0:
            begin += 1
        for k in range(begin, size):
            if terms[k, 4] != 0:
                is_second = second < 0 or (terms[k, 3], terms[k, 2]) < (terms[second, 3], terms[second, 2])
                if first < 0 or (terms[k, 3], terms[k, 2]) < (terms[first, 3], terms[first, 2]):
                    first, second = k, first
                elif is_second:
                    second = k
        one, other = terms[first], terms[second]
        start, upper = max(one[2], other[2]), max(one[3], other[3])
        is_apart = min(one[3], other[3]) <= start
        new = terms[size]
        new[2] = min(one[2], other[2])
        if one[4] == other[4]:
            tables += 0 if is_apart else upper - start
            new[0], new[1], new[4] = one[0] + other[0], one[1] + other[1], one[4]
        else:
            tables += 0 if is_apart else max(upper - new[2] - 1, 1)
            plus, minus = (one, other) if one[4] > 0 else (other, one)
            new[0], new[1], new[4] = plus[0] - minus[1], plus[1] - minus[0], 1
        new[3] = top_bit(new[0], new[1])
        one[4], other[4] = 0, 0
        size += 1
    low, high = (
        (terms[size - 1, 0], terms[size - 1, 1])
        if terms[size - 1, 4] > 0
        else (-terms[size - 1, 1], -terms[size - 1, 0])
    )
    bias, start = int(net.biases[place]), terms[size - 1, 2]
    if bias:
        start = min(start, length(abs(bias) & -abs(bias)) - 1)
    if net.forms[place, RELU] and low + bias < 0 and high + bias > 0:
        tables += (length(high + bias) - start + 1) // 2
    return tables


@kernel
def unit_cost(net: Net, layer: int, unit: int, mode: int) -> tuple[int, int]:
    """Cost of a unit in the unit of the budget, and the largest magnitude that its accumulator can reach."""
    inputs = net.widths[layer]
    at, signal = net.layers[layer, WEIGHT_AT] + unit * inputs, net.layers[layer, SIGNAL_AT]
    bias = abs(int(net.biases[net.layers[layer, UNIT_AT] + unit]))
    cost, digits, reach, lows = 0, 0, bias, bias & -bias
    for j in range(inputs):
        w = abs(int(net.weights[at + j]))
        if w:
            count = count_digits(w)
            bits = net.signals[signal + j, BITS]
            digits += count
            reach += w * net.signals[signal + j, REACH]
            if mode == DIGIT_BITS:
                cost += count * bits
                if bits:
                    lows |= (w & -w) << net.signals[signal + j, SHIFT]
            elif mode == EBOPS:
                cost += (length(w) - length(w & -w) + 1) * bits
    if mode == DIGITS:
        cost = digits
    elif mode == ADDERS:
        cost = max(digits - 1, 0)
    elif mode == LUTS:
        cost = unit_luts(net, layer, unit)
    elif mode == DIGIT_BITS and bias and digits:
        cost += length(reach) - length(lows & -lows) + 1
    return cost, reach


@kernel
def is_too_wide(net: Net, layer: int, unit: int, reach: int) -> bool:
    """Whether an accumulator that can reach so far might leave 32 bits."""
    form = net.forms[net.layers[layer, UNIT_AT] + unit]
    return bool(reach + form[HALF] >= MOST_REACH)


@kernel
def activate(values: Int32Array, count: int, form: IntArray, out: Int32Array) -> None:
    """Round accumulators to a unit's format, as `fixed_point.requantize` does."""
    half, down, lift, up = form[HALF], form[DOWN], form[LIFT], form[UP]
    low, span, high = form[LOW], form[SPAN], form[HIGH]
    if form[SATURATES] or max(down, lift, up) > 30:
        cut = np.int64(0) if form[RELU] else -np.int64(MOST_REACH)
        for t in range(count):
            x = ((max(int(values[t]), cut) + half) >> down) << lift
            out[t] = (min(max(x, low), high) if form[SATURATES] else ((x - low) & span) + low) << up
        return
    # The same modulo 2^32. The casts and masks tell the compiler that 32 bits are enough, so that it takes twice as many rows at once.
    least = np.int32(0) if form[RELU] else np.int32(-MOST_REACH)
    for t in range(count):
        x = np.int32(np.int32(max(values[t], least) + half) >> (down & 31))
        out[t] = ((((x << (lift & 31)) - low) & span) + low) << (up & 31)


@kernel
def row_losses(net: Net, rows: Rows, scratch: Scratch, start: int, count: int, out: Float32Array) -> None:
    """Cross-entropies of a tile of rows, from the tile's logits where they are touched and the rows' own where not.

    Differences of two logits fit into 32 bits (MOST_REACH); the casts keep the loops at this width.
    """
    last = len(net.widths) - 2
    first, classes = net.layers[last, UNIT_AT], net.widths[last + 1]
    scale = np.float32(net.options[0])
    top, total, reduced = scratch.floats[1], scratch.floats[2], scratch.floats[3]
    largest, own, bits, powers = scratch.values, scratch.bits, scratch.bits, scratch.powers
    targets = rows.targets[start : start + count]
    for c in range(classes):
        unit = first + c
        is_touched = scratch.touched[unit] != 0
        z = scratch.accumulators[unit] if is_touched else rows.accumulators[unit, start : start + count]
        if c == 0:
            for t in range(count):
                largest[t] = z[t]
                own[t] = z[t]
        else:
            for t in range(count):
                largest[t] = max(largest[t], z[t])
                own[t] = z[t] if targets[t] == c else own[t]
    for t in range(count):
        top[t] = np.float32(np.int32(largest[t] - own[t])) * scale
        total[t] = np.float32(0.0)
    for c in range(classes):
        unit = first + c
        is_touched = scratch.touched[unit] != 0
        z = scratch.accumulators[unit] if is_touched else rows.accumulators[unit, start : start + count]
        for t in range(count):
            x = max(np.float32(np.int32(z[t] - largest[t])) * scale, np.float32(-86.0))
            n = np.int32(x * np.float32(1.44269504) - HALF_FLOAT)  # towards 0: of a negative number, rounded up
            reduced[t] = (x - np.float32(n) * np.float32(0.693359375)) - np.float32(n) * np.float32(-2.12194440e-4)
            bits[t] = (n + np.int32(127)) << np.int32(23)
        for t in range(count):
            r = reduced[t]
            p = np.float32(1.9875691500e-4)
            p = p * r + np.float32(1.3981999507e-3)
            p = p * r + np.float32(8.3334519073e-3)
            p = p * r + np.float32(4.1665795894e-2)
            p = p * r + np.float32(1.6666665459e-1)
            p = p * r + np.float32(5.0000001201e-1)
            total[t] += ((p * r) * r + r + ONE) * powers[t]
    # ln of the sum, which is at least 1: the exponent out of its bits, a polynomial of the mantissa.
    for t in range(count):
        powers[t] = total[t]
    for t in range(count):
        whole = bits[t]
        # A mantissa above the root of 2 goes with the next exponent: 0x004AFB20 is what lifts it there.
        n = np.int32(np.int32(whole + np.int32(0x004AFB20)) >> np.int32(23)) - np.int32(127)
        bits[t] = whole - (n << np.int32(23))
        largest[t] = n
    for t in range(count):
        f = powers[t] - ONE
        exponent = np.float32(largest[t])
        p = np.float32(7.0376836292e-2)
        p = p * f + np.float32(-1.1514610310e-1)
        p = p * f + np.float32(1.1676998740e-1)
        p = p * f + np.float32(-1.2420140846e-1)
        p = p * f + np.float32(1.4249322787e-1)
        p = p * f + np.float32(-1.6668057665e-1)
        p = p * f + np.float32(2.0000714765e-1)
        p = p * f + np.float32(-2.4999993993e-1)
        p = p * f + np.float32(3.3333331174e-1)
        square = f * f
        y = (p * f) * square + exponent * np.float32(-2.12194440e-4) - HALF_FLOAT * square
        out[t] = (f + y) + exponent * np.float32(0.693359375) + top[t]


@kernel
def propagate(
    net: Net, rows: Rows, scratch: Scratch, changes: IntArray, count: int, start: int, size: int, override: int
) -> bool:
    """Compute the new accumulators and the changes of the signals of one tile; return whether a logit is touched.

    The weights of `net` are those after the changes; `override` is a signal whose values are replaced, or -1.
    """
    depth = len(net.widths) - 1
    lowest = depth
    for k in range(count):
        lowest = min(lowest, changes[k, LAYER])
    if override >= 0:
        source = 0
        while source + 1 < depth and net.layers[source + 1, SIGNAL_AT] <= override:
            source += 1
        lowest = min(lowest, source)
    scratch.touched[:] = 0
    scratch.dirty[:] = 0
    if override >= 0:
        delta, old = scratch.deltas[override], rows.signals[override, start : start + size]
        values = rows.override[start : start + size]
        differs = 0
        for t in range(size):
            delta[t] = values[t] - old[t]
            differs |= delta[t]
        scratch.dirty[override] = differs != 0
    is_changed = False
    for layer in range(lowest, depth):
        inputs, outputs = net.widths[layer], net.widths[layer + 1]
        signal, first, at = net.layers[layer, SIGNAL_AT], net.layers[layer, UNIT_AT], net.layers[layer, WEIGHT_AT]
        n_dirty = 0
        for j in range(inputs):
            n_dirty += scratch.dirty[signal + j]
        for u in range(outputs):
            unit = first + u
            new = scratch.accumulators[unit]
            is_touched = False
            if n_dirty:
                for j in range(inputs):
                    w = net.weights[at + u * inputs + j]
                    if w != 0 and scratch.dirty[signal + j]:
                        delta = scratch.deltas[signal + j]
                        if is_touched:
                            for t in range(size):
                                new[t] += w * delta[t]
                        else:
                            is_touched = True
                            old = rows.accumulators[unit, start : start + size]
                            for t in range(size):
                                new[t] = old[t] + w * delta[t]
            for k in range(count):
                if changes[k, LAYER] == layer and changes[k, UNIT] == u:
                    j, d = changes[k, INPUT], changes[k, DELTA]
                    if not is_touched:
                        is_touched = True
                        old = rows.accumulators[unit, start : start + size]
                        for t in range(size):
                            new[t] = old[t]
                    if j < 0:
                        for t in range(size):
                            new[t] += d
                    else:
                        x = rows.signals[signal + j, start : start + size]
                        for t in range(size):
                            new[t] += d * x[t]
            if is_touched:
                scratch.touched[unit] = 1
                if layer == depth - 1:
                    is_changed = True
                else:
                    target = net.layers[layer + 1, SIGNAL_AT] + u
                    if target != override:
                        delta, old = scratch.deltas[target], rows.signals[target, start : start + size]
                        activate(new, size, net.forms[unit], delta)
                        differs = 0
                        for t in range(size):
                            delta[t] -= old[t]
                            differs |= delta[t]
                        scratch.dirty[target] = differs != 0
    return is_changed


@kernel
def sum_halves(values: FloatArray, count: int) -> float:
    """Return the sum of some numbers, which are used up: their upper half is added to the lower until one is left."""
    while count > 1:
        half = (count + 1) // 2
        lower, upper = values[:half], values[half:count]
        for t in range(count - half):
            lower[t] += upper[t]
        count = half
    return float(values[0])


@kernel
def evaluate(
    net: Net,
    rows: Rows,
    scratch: Scratch,
    changes: IntArray,
    count: int,
    first: int,
    last: int,
    override: int,
    is_kept: bool,
    out: FloatArray,
) -> int:
    """Add to `out` the sum of the weighted loss changes of some rows and of their squares; return the tiles without a change.

    Parameters
    ----------
    changes, count, override
        See `propagate`.
    first, last : int
        The rows.
    is_kept : bool
        Write the new state.
    """
    skipped = 0
    for start in range(first, last, TILE):
        size = min(TILE, last - start)
        is_changed = propagate(net, rows, scratch, changes, count, start, size, override)
        if is_changed:
            new = scratch.floats[0]
            row_losses(net, rows, scratch, start, size, new)
            old, weights, sums = rows.losses[start : start + size], rows.weights[start : start + size], scratch.sums
            for t in range(size):
                d = float(weights[t] * (new[t] - old[t]))
                sums[0, t] = d
                sums[1, t] = d * d
            for k in range(2):
                out[k] += sum_halves(sums[k], size)
            if is_kept:
                rows.losses[start : start + size] = new[:size]
        else:
            skipped += 1
        if is_kept:
            for unit in range(len(scratch.touched)):
                if scratch.touched[unit]:
                    rows.accumulators[unit, start : start + size] = scratch.accumulators[unit, :size]
            for signal in range(len(scratch.dirty)):
                if scratch.dirty[signal]:
                    values, delta = rows.signals[signal, start : start + size], scratch.deltas[signal]
                    for t in range(size):
                        values[t] += delta[t]
    return skipped


@kernel
def refresh(net: Net, rows: Rows, scratch: Scratch, mode: int) -> float:
    """Compute the state of every row from the inputs, and the costs of the units; return the weighted sum of the losses."""
    depth = len(net.widths) - 1
    count = rows.signals.shape[1]
    total = 0.0
    for start in range(0, count, TILE):
        size = min(TILE, count - start)
        for layer in range(depth):
            inputs, outputs = net.widths[layer], net.widths[layer + 1]
            signal, first, at = net.layers[layer, SIGNAL_AT], net.layers[layer, UNIT_AT], net.layers[layer, WEIGHT_AT]
            for u in range(outputs):
                new = rows.accumulators[first + u, start : start + size]
                for t in range(size):
                    new[t] = net.biases[first + u]
                for j in range(inputs):
                    w = net.weights[at + u * inputs + j]
                    if w != 0:
                        x = rows.signals[signal + j, start : start + size]
                        for t in range(size):
                            new[t] += w * x[t]
                if layer < depth - 1:
                    target = net.layers[layer + 1, SIGNAL_AT] + u
                    activate(new, size, net.forms[first + u], rows.signals[target, start : start + size])
        scratch.touched[:] = 0
        row_losses(net, rows, scratch, start, size, rows.losses[start : start + size])
        for t in range(start, start + size):
            total += float(rows.weights[t] * rows.losses[t])
    set_costs(net, mode)
    return total


@kernel
def set_costs(net: Net, mode: int) -> int:
    """Compute the costs of all units; return their sum, or -1 if an accumulator might leave 32 bits."""
    total, is_possible = 0, True
    for layer in range(len(net.widths) - 1):
        for u in range(net.widths[layer + 1]):
            cost, reach = unit_cost(net, layer, u, mode)
            is_possible = is_possible and not is_too_wide(net, layer, u, reach)
            net.costs[net.layers[layer, UNIT_AT] + u] = cost
            total += cost
    return total if is_possible else -1


@kernel
def set_reader_costs(net: Net, layer: int, place: int, mode: int) -> tuple[int, bool]:
    """Compute the costs of the units that read a signal; return their change, and whether no accumulator might leave 32 bits."""
    inputs, total, is_possible = net.widths[layer], 0, True
    for u in range(net.widths[layer + 1]):
        if net.weights[net.layers[layer, WEIGHT_AT] + u * inputs + place] != 0:
            cost, reach = unit_cost(net, layer, u, mode)
            is_possible = is_possible and not is_too_wide(net, layer, u, reach)
            at = net.layers[layer, UNIT_AT] + u
            total += cost - net.costs[at]
            net.costs[at] = cost
    return total, is_possible


@kernel
def apply(net: Net, changes: IntArray, count: int, sign: int) -> None:
    """Add the changes to the weights and biases, or take them back."""
    for k in range(count):
        layer, unit, j = changes[k, LAYER], changes[k, UNIT], changes[k, INPUT]
        if j < 0:
            net.biases[net.layers[layer, UNIT_AT] + unit] += sign * changes[k, DELTA]
        else:
            net.weights[net.layers[layer, WEIGHT_AT] + unit * net.widths[layer] + j] += sign * changes[k, DELTA]


@kernel
def cost_change(net: Net, changes: IntArray, count: int, mode: int, is_kept: bool) -> tuple[int, bool]:
    """Change of the cost by changes that are applied, and whether they are possible: no accumulator may leave 32 bits."""
    total = 0
    for k in range(count):
        layer, unit = changes[k, LAYER], changes[k, UNIT]
        is_first = True
        for other in range(k):
            if changes[other, LAYER] == layer and changes[other, UNIT] == unit:
                is_first = False
        if is_first:
            cost, reach = unit_cost(net, layer, unit, mode)
            if is_too_wide(net, layer, unit, reach):
                return 0, False
            at = net.layers[layer, UNIT_AT] + unit
            total += cost - net.costs[at]
            if is_kept:
                net.costs[at] = cost
    return total, True


@kernel
def put(net: Net, changes: IntArray, place: int, flat: int, delta: int) -> None:
    """Write the change of a weight by its place among all weights."""
    layer = 0
    while layer + 1 < len(net.layers) and net.layers[layer + 1, WEIGHT_AT] <= flat:
        layer += 1
    rest = flat - net.layers[layer, WEIGHT_AT]
    changes[place, LAYER] = layer
    changes[place, UNIT] = rest // net.widths[layer]
    changes[place, INPUT] = rest % net.widths[layer]
    changes[place, DELTA] = delta


@kernel
def powers_at(net: Net, flat: int) -> int:
    """Powers of two that a digit of a weight may have."""
    layer = 0
    while layer + 1 < len(net.layers) and net.layers[layer + 1, WEIGHT_AT] <= flat:
        layer += 1
    return int(net.layers[layer, POWERS])


@kernel
def live_weight(net: Net, state: AnyArray) -> int:
    """Draw a weight that is not 0, the more likely the more digits it has; -1 if there is none."""
    for _ in range(64 * len(net.weights)):
        flat = below(state, len(net.weights))
        w = int(net.weights[flat])
        if w and random(state) * 5.0 < count_digits(w):
            return flat
    return -1


@kernel
def random_power(net: Net, flat: int, state: AnyArray) -> int:
    """Draw a signed power of two that a weight's digit may be."""
    power = 1 << below(state, powers_at(net, flat))
    return power if random(state) < 0.5 else -power


@kernel
def random_addition(net: Net, state: AnyArray) -> tuple[int, int]:
    """Draw a weight and a signed power of two to add to it; the weight is -1 if there is none."""
    flat = below(state, len(net.weights)) if random(state) < 0.5 else live_weight(net, state)
    return (flat, random_power(net, flat, state)) if flat >= 0 else (-1, 0)


@kernel
def addition(net: Net, guide: Guide, state: AnyArray) -> tuple[int, int]:
    """Draw a weight and a signed power of two to add to it, mostly by the guide."""
    if len(guide.sums) and random(state) < GUIDED:
        place = min(int(np.searchsorted(guide.sums, random(state))), len(guide.sums) - 1)
        return int(guide.weights[place]), int(guide.deltas[place])
    return random_addition(net, state)


@kernel
def removal(net: Net, state: AnyArray, changes: IntArray) -> int:
    """Draw a digit that goes and return 1; 0 if there is none."""
    flat = live_weight(net, state)
    if flat < 0:
        return 0
    w = int(net.weights[flat])
    put(net, changes, 0, flat, -nth_digit(w, below(state, count_digits(w))))
    return 1


@kernel
def propose(net: Net, guide: Guide, move: int, has_room: bool, state: AnyArray, changes: IntArray) -> int:
    """Draw the changes of a move and return their number; 0 if the draw is none."""
    if move == BIAS:
        unit = below(state, len(net.biases))
        layer = 0
        while layer + 1 < len(net.layers) and net.layers[layer + 1, UNIT_AT] <= unit:
            layer += 1
        form = net.forms[unit]
        bias = int(net.biases[unit])
        size = 1 << (form[BIAS_LOW] + below(state, form[BIAS_HIGH] - form[BIAS_LOW] + 1))
        kind = random(state)
        if kind < 0.1 and bias:
            size = abs(bias) & -abs(bias)  # its lowest bit: the accumulator may become narrower
        delta = size if random(state) < 0.5 else -size
        if kind > 0.97:
            delta = -bias
        changes[0, LAYER], changes[0, UNIT] = layer, unit - net.layers[layer, UNIT_AT]
        changes[0, INPUT], changes[0, DELTA] = -1, delta
        return 1 if delta else 0
    if move == REMOVE:
        return removal(net, state, changes)
    flat = live_weight(net, state)
    if flat < 0:
        return 0
    w = int(net.weights[flat])
    digit = nth_digit(w, below(state, count_digits(w)))
    if move == WITHIN:
        delta = random_power(net, flat, state) - digit
        put(net, changes, 0, flat, delta)
        return 1 if delta else 0
    if move == NEIGHBOUR:
        if len(guide.sums) and random(state) < GUIDED:
            flat, delta = addition(net, guide, state)
        else:
            delta = random_power(net, flat, state)
        put(net, changes, 0, flat, delta)
        return 1
    if move == SWAP:
        other = below(state, len(net.weights)) if random(state) < 0.5 else live_weight(net, state)
        put(net, changes, 0, flat, 0)
        put(net, changes, 1, other, 0)
        is_near = changes[0, UNIT] == changes[1, UNIT] or changes[0, INPUT] == changes[1, INPUT]
        delta = int(net.weights[other]) - w
        changes[0, DELTA], changes[1, DELTA] = delta, -delta
        return 2 if delta and is_near and changes[0, LAYER] == changes[1, LAYER] else 0
    other, delta = addition(net, guide, state)
    if other < 0:
        return 0
    if has_room and random(state) < 0.5:
        put(net, changes, 0, other, delta)
        return 1
    put(net, changes, 0, flat, -digit)
    put(net, changes, 1, other, delta)
    return 0 if flat == other else 2


@kernel
def is_in_range(net: Net, changes: IntArray, count: int) -> bool:
    """Whether the changed weights, which are applied, keep to the powers of their layers."""
    for k in range(count):
        layer, j = changes[k, LAYER], changes[k, INPUT]
        if j >= 0:
            w = net.weights[net.layers[layer, WEIGHT_AT] + changes[k, UNIT] * net.widths[layer] + j]
            if abs(np.int64(w)) > 1 << net.layers[layer, POWERS]:
                return False
            if w != 0 and net.signals[net.layers[layer, SIGNAL_AT] + j, BITS] == 0:
                return False
    return True


@kernel
def force(
    net: Net,
    rows: Rows,
    scratch: Scratch,
    mode: int,
    candidates: int,
    screened: int,
    state: AnyArray,
    changes: IntArray,
    best: IntArray,
    sums: FloatArray,
) -> int:
    """Find the digit of several that costs the least loss for the budget that it frees, on a part of the rows.

    It is written to `changes`, and its loss for each unit of the budget to `sums[0]`, summed over the rows of this part. Returned is
    the number of evaluations, 0 if no digit frees anything.
    """
    start = below(state, max(rows.signals.shape[1] - screened, 0) // 64 + 1) * 64
    last = min(start + screened, rows.signals.shape[1])
    least, done = np.inf, 0
    for _ in range(4 * candidates):
        if removal(net, state, changes) == 0:
            break
        apply(net, changes, 1, 1)
        change, is_possible = cost_change(net, changes, 1, mode, False)
        if is_possible and change < 0:
            sums[:] = 0.0
            evaluate(net, rows, scratch, changes, 1, start, last, -1, False, sums)
            score = sums[0] if sums[0] < 0 else sums[0] / -change
            done += 1
            if score < least:
                least = score
                best[0] = changes[0]
        apply(net, changes, 1, -1)
        if done == candidates:
            break
    changes[0] = best[0]
    sums[0] = least
    return done


@kernel
def _try_addition(
    net: Net,
    rows: Rows,
    scratch: Scratch,
    mode: int,
    room: float,
    start: int,
    last: int,
    state: AnyArray,
    changes: IntArray,
    sums: FloatArray,
) -> tuple[int, int, int, bool]:
    """Draw an addition of a power of two; return its weight, the power, its cost, and whether it fits the room and the ranges.

    Where it does, `sums[0]` is its change of the loss, summed over the rows from `start` to `last`. The net stays as it is.
    """
    flat, delta = random_addition(net, state)
    if flat < 0:
        return flat, delta, 0, False
    put(net, changes, 0, flat, delta)
    apply(net, changes, 1, 1)
    change, is_possible = cost_change(net, changes, 1, mode, False)
    fits = is_possible and change <= room and is_in_range(net, changes, 1)
    if fits:
        sums[:] = 0.0
        evaluate(net, rows, scratch, changes, 1, start, last, -1, False, sums)
    apply(net, changes, 1, -1)
    return flat, delta, change, fits


@kernel
def grow(
    net: Net,
    rows: Rows,
    scratch: Scratch,
    mode: int,
    candidates: int,
    screened: int,
    room: float,
    state: AnyArray,
    changes: IntArray,
    best: IntArray,
    sums: FloatArray,
) -> int:
    """Find the power of two, of several, that lowers the loss most for what it takes of the budget, on a part of the rows.

    It takes at most `room`. It is written to `changes`, and its change of the loss for each unit of the budget to `sums[0]`, summed over
    the rows of this part. Returned is the number of evaluations.
    """
    start = below(state, max(rows.signals.shape[1] - screened, 0) // 64 + 1) * 64
    last = min(start + screened, rows.signals.shape[1])
    least, done = np.inf, 0
    for _ in range(4 * candidates):
        _, _, change, is_possible = _try_addition(net, rows, scratch, mode, room, start, last, state, changes, sums)
        if is_possible:
            score = sums[0] / max(change, 1)
            done += 1
            if score < least:
                least = score
                best[0] = changes[0]
        if done == candidates:
            break
    changes[0] = best[0]
    sums[0] = least
    return done


@kernel
def probe(
    net: Net,
    rows: Rows,
    scratch: Scratch,
    mode: int,
    seen: int,
    price: float,
    state: AnyArray,
    changes: IntArray,
    weights: IntArray,
    deltas: IntArray,
    scores: FloatArray,
) -> int:
    """Try as many additions as there is room for, each alone on some rows, and return how many were possible.

    Written are the weights and powers of two, and their scores: the change of the mean loss and `price` for each unit of the budget.
    """
    count = rows.signals.shape[1]
    start = min(below(state, max(count - seen, 0) // 64 + 1) * 64, count - seen)
    done, sums = 0, np.zeros(2)
    for _ in range(len(weights)):
        flat, delta, change, is_possible = _try_addition(
            net, rows, scratch, mode, np.inf, start, start + seen, state, changes, sums
        )
        if is_possible:
            weights[done], deltas[done] = flat, delta
            scores[done] = sums[0] / seen + price * change
            done += 1
    return done


@kernel
def draw(
    net: Net,
    guide: Guide,
    mode: int,
    budget: float,
    cost: float,
    mixture: FloatArray,
    state: AnyArray,
    changes: IntArray,
    out: IntArray,
) -> int:
    """Draw a candidate within the budget; return the number of its changes, or 0 where the draw is none. The net stays as it is.

    Written to `out` are the move and the change of the cost.
    """
    u, move = random(state), 0
    while move < FORCED - 1 and u >= mixture[move]:
        u -= mixture[move]
        move += 1
    out[0], out[1] = move, 0
    number = propose(net, guide, move, cost < budget, state, changes)
    if number == 0:
        return 0
    apply(net, changes, number, 1)
    change, is_possible = cost_change(net, changes, number, mode, False)
    is_possible = is_possible and cost + change <= budget and is_in_range(net, changes, number)
    apply(net, changes, number, -1)
    out[1] = change
    return number if is_possible else 0


@kernel
def new_logits(
    net: Net, rows: Rows, scratch: Scratch, changes: IntArray, count: int, override: int, out: Float32Array
) -> bool:
    """Write the scaled logits (rows, classes) under some changes, which are applied; return whether any logit changes."""
    last = len(net.widths) - 2
    first, classes = net.layers[last, UNIT_AT], net.widths[last + 1]
    is_changed = False
    for start in range(0, rows.signals.shape[1], TILE):
        size = min(TILE, rows.signals.shape[1] - start)
        propagate(net, rows, scratch, changes, count, start, size, override)
        for c in range(classes):
            old = rows.accumulators[first + c, start : start + size]
            new = scratch.accumulators[first + c] if scratch.touched[first + c] else old
            for t in range(size):
                is_changed = is_changed or new[t] != old[t]
                out[start + t, c] = np.float32(float(new[t]) * net.options[0])
    return is_changed


@kernel
def is_rejected(sums: FloatArray, seen: int, threshold: float, errors: float) -> bool:
    """Whether a part of the rows speaks against a candidate, by so many standard errors."""
    return bool(sums[0] / seen - threshold > errors * np.sqrt(sums[1]) / seen)


@kernel
def walk(
    net: Net,
    rows: Rows,
    scratch: Scratch,
    guide: Guide,
    proposals: int,
    mode: int,
    budgets: FloatArray,
    temperature: float,
    stages: IntArray,
    errors: FloatArray,
    mixture: FloatArray,
    state: AnyArray,
    statistics: FloatArray,
    totals: FloatArray,
) -> int:
    """Make proposals and decide them; return the number of evaluated candidates.

    Parameters
    ----------
    net, rows : Net, Rows
        Changed in place.
    guide : Guide
    proposals : int
    mode : int
        Unit of the budget.
    budgets : ndarray, shape (2,)
        At the beginning, and from half of the proposals on; between them it falls evenly. A network above it loses digits first.
    temperature : float
        Of the mean loss; at 0 a candidate is taken if the loss does not rise.
    stages : ndarray, shape (5,)
        Rows that are seen by the end of each stage but the last, which has all; then rows and candidates of a forced removal.
    errors : ndarray, shape (3,)
        Standard errors of the loss change by which each of these stages rejects. What is taken is decided on all rows.
    mixture : ndarray, shape (FORCED,)
        Probability of each move.
    state : ndarray of uint64, shape (1,)
        Of the random numbers.
    statistics : ndarray, shape (MOVES, COUNTERS)
    totals : ndarray, shape (2,)
        Sum of the losses, cost; changed in place.
    """
    count = rows.signals.shape[1]
    changes, best = np.zeros((MOST_CHANGES, 4), np.int64), np.zeros((MOST_CHANGES, 4), np.int64)
    sums, drawn = np.zeros(2), np.zeros(2, np.int64)
    evaluated, done, parts = 0, 0, len(errors)
    part = min(stages[parts - 1], count)
    screened, candidates = min(stages[parts], count), stages[parts + 1]
    while done < proposals:
        budget = budgets[0] + (budgets[1] - budgets[0]) * min(1.0, 2.0 * done / proposals)
        if totals[1] > budget:
            tried = force(net, rows, scratch, mode, candidates, screened, state, changes, best, sums)
            if tried == 0:
                break
            evaluated += tried
            apply(net, changes, 1, 1)
            change, _ = cost_change(net, changes, 1, mode, True)
            sums[:] = 0.0
            evaluate(net, rows, scratch, changes, 1, 0, count, -1, True, sums)
            totals[0] += sums[0]
            totals[1] += change
            statistics[FORCED, EVALUATED] += tried
            statistics[FORCED, ACCEPTED] += 1
            statistics[FORCED, GAIN] += sums[0] / count
            continue
        done += 1
        number = draw(net, guide, mode, budget, totals[1], mixture, state, changes, drawn)
        move, change = drawn[0], drawn[1]
        statistics[move, PROPOSED] += 1
        if number == 0:
            continue
        apply(net, changes, number, 1)
        evaluated += 1
        statistics[move, EVALUATED] += 1
        threshold = -temperature * np.log(1.0 - random(state)) if temperature > 0 else 0.0
        start = min(below(state, (count - part) // 64 + 1) * 64, count - part)
        sums[:] = 0.0
        seen, is_taken = 0, True
        for stage in range(parts):
            until = min(stages[stage], count)
            if is_taken and until > seen:
                statistics[move, SECOND] += stage == 1
                evaluate(net, rows, scratch, changes, number, start + seen, start + until, -1, False, sums)
                seen = until
                is_taken = not is_rejected(sums, seen, threshold, errors[stage])
        if is_taken and count > part:
            statistics[move, FULL] += 1
            evaluate(net, rows, scratch, changes, number, 0, start, -1, False, sums)
            evaluate(net, rows, scratch, changes, number, start + part, count, -1, False, sums)
            seen = count
        statistics[move, SEEN] += seen
        if is_taken:
            # Of candidates that change no row, the cheaper are taken, the dearer are not, and of the equal every second.
            is_still = sums[0] == 0.0 and sums[1] == 0.0 and change >= 0
            is_taken = sums[0] <= threshold * count and not (is_still and (change > 0 or random(state) < 0.5))
        if not is_taken:
            apply(net, changes, number, -1)
            continue
        cost_change(net, changes, number, mode, True)
        gain = sums[0]
        sums[:] = 0.0
        evaluate(net, rows, scratch, changes, number, 0, count, -1, True, sums)
        totals[0] += gain
        totals[1] += change
        statistics[move, ACCEPTED] += 1
        statistics[move, GAIN] += gain / count
        statistics[move, SPENT] += change
        statistics[move, SEEN] += count
    return evaluated
