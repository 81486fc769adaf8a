"""Compiled evaluation of moves of single weights on a multilayer perceptron, candidate by candidate.

A change d of weight (o, i) of a layer changes pre-activation o by d times signal i, on the rows where that product is not 0;
above, it is a change of one signal. Rows on which no signal changes keep their loss. Units that no changed signal reaches
through a nonzero weight keep their outputs. Arrays lie by unit, (units, rows), so that loops run over adjacent rows; rows are
padded to a multiple of 16. For layer l, `pre` holds the outputs before the activation (the logits last), `signals` the outputs
after it, and `net` the weights (in, out) times their gates. The matrices of all layers lie one after the other in these
vectors and `shapes` holds their offsets, so one machine code serves any number of layers.
"""

from __future__ import annotations

from typing import TypeAlias

import numba
import numpy as np

from mcprune.chain.jit import contracted_inline, contracted_kernel, contracted_parallel_kernel
from mcprune.evaluators.compiled.mlp_kernels import RELU, activation
from mcprune.evaluators.compiled.simd import matrix_at
from mcprune.evaluators.compiled.simd_rows import entropies
from mcprune.types import Float32Array, FloatArray, Int32Array, IntArray, UInt8Array

# Columns of `shapes` (layers, 4): offset of the weights, their rows and columns, offset of the outputs in `pre`.
WEIGHTS, INPUTS, OUTPUTS, PRE = range(4)
BLOCK = 256  # rows that go through the layers together
SHARE = 16  # candidates that share their scratch memory

# Working memory of one candidate; `_scratch` allocates it.
Scratch: TypeAlias = tuple[
    Float32Array, UInt8Array, Int32Array, IntArray, Float32Array, Float32Array, IntArray, IntArray, Float32Array, Float32Array,
    Int32Array, Float32Array, Float32Array, UInt8Array,
]  # fmt: skip


@contracted_inline
def _rows_of(flat: Float32Array, shapes: IntArray, layer: int, padded: int) -> Float32Array:
    """Return the matrix (units, rows) of a layer, in `pre` or in `signals`."""
    return matrix_at(flat, shapes[layer, PRE], shapes[layer, OUTPUTS], padded)


@contracted_kernel
def _add(row: Float32Array, change: np.float32, out: Float32Array) -> None:
    for b in range(out.size):
        out[b] += change * row[b]


@contracted_kernel
def _scale(row: Float32Array, change: np.float32, out: Float32Array) -> None:
    for b in range(out.size):
        out[b] = change * row[b]


@contracted_kernel
def _relu_steps(sums: Float32Array, signal: Float32Array, step: Float32Array) -> None:
    for b in range(step.size):
        step[b] = max(sums[b] + step[b], np.float32(0.0)) - signal[b]


@contracted_kernel
def _any_steps(sums: Float32Array, signal: Float32Array, step: Float32Array, code: int) -> None:
    for b in range(step.size):
        step[b] = activation(sums[b] + step[b], code) - signal[b]


@contracted_kernel
def _mark(values: Float32Array, active: UInt8Array) -> None:
    for b in range(active.size):
        active[b] |= values[b] != np.float32(0.0)


@contracted_kernel
def _active_rows(active: UInt8Array, total: int, rows: Int32Array) -> int:
    """Write the rows that change in increasing order, then zeros up to a multiple of 16; return how many change."""
    count = 0
    groups = active.view(np.uint64)
    for g in range(groups.size):
        if groups[g] != 0:
            for b in range(8 * g, 8 * g + 8):
                rows[count] = b
                count += active[b] if b < total else 0
    rows[count : count + 16] = 0
    return count


@contracted_kernel
def _gather(row: Float32Array, rows: Int32Array, first: int, part: int, out: Float32Array) -> None:
    for q in range(part):
        out[q] = row[rows[first + q]]


@contracted_kernel
def _gather_add(
    row: Float32Array, change: np.float32, rows: Int32Array, first: int, part: int, out: Float32Array
) -> None:
    for q in range(part):
        out[q] += change * row[rows[first + q]]


@contracted_kernel
def _axpy(values: Float32Array, change: np.float32, part: int, out: Float32Array) -> None:
    for q in range(part):
        out[q] += change * values[q]


@contracted_kernel
def _rise(
    sums: Float32Array, signal: Float32Array, rows: Int32Array, first: int, part: int, code: int, out: Float32Array
) -> bool:
    """Write the changes of a unit's signal on a block of rows; return whether any is not 0."""
    is_changed = False
    for q in range(part):
        value = activation(sums[q], code) - signal[rows[first + q]]
        out[q] = value
        is_changed |= value != np.float32(0.0)
    return is_changed


@contracted_kernel
def _place(values: Float32Array, part: int, classes: int, c: int, logits: Float32Array) -> None:
    """Store the logits of class c in groups of 16 rows, each next to the same rows of the next class."""
    for g in range(0, part, 16):
        start = g * classes + 16 * c
        for q in range(16):
            logits[start + q] = values[g + q]


@contracted_kernel
def _walk(
    inputs: Float32Array, signals: Float32Array, pre: Float32Array, base: Float32Array, shares: FloatArray, labels: Int32Array,
    net: Float32Array, shapes: IntArray, level: IntArray, outs: IntArray, ins: IntArray, code: int, total: int,
    size: int, sites: IntArray, steps_of: Float32Array, settling: bool, scratch: Scratch,
) -> float:  # fmt: skip
    """Return the sum over the rows of the change of loss of one candidate; when settling, all arrays become the candidate's."""
    steps, active, rows, units, now, then, now_units, then_units, sums, logits, targets, before, mine, moved = scratch
    top, padded = shapes.shape[0] - 1, base.size
    logit_rows = _rows_of(pre, shapes, top, padded)
    classes = logit_rows.shape[0]
    lowest = top
    for m in range(size):
        lowest = min(lowest, level[sites[m]])
    entering = inputs if lowest == 0 else _rows_of(signals, shapes, lowest - 1, padded)
    entries = 0
    for m in range(size):
        site = sites[m]
        if level[site] == lowest:
            place = 0
            while place < entries and units[place] != outs[site]:
                place += 1
            if place == entries:
                units[entries] = outs[site]
                entries += 1
                _scale(entering[ins[site]], steps_of[m], steps[place])
            else:
                _add(entering[ins[site]], steps_of[m], steps[place])
    active[:] = 0
    for p in range(entries):
        if lowest < top:
            sums_of = _rows_of(pre, shapes, lowest, padded)[units[p]]
            signal_of = _rows_of(signals, shapes, lowest, padded)[units[p]]
            if settling:
                step = steps[p].copy()
            if code == RELU:
                _relu_steps(sums_of, signal_of, steps[p])
            else:
                _any_steps(sums_of, signal_of, steps[p], code)
            if settling:  # also where the signal does not change
                for b in range(step.size):
                    sums_of[b] += step[b]
                    signal_of[b] += steps[p, b]
        _mark(steps[p], active)
    for m in range(size):
        if level[sites[m]] > lowest:
            _mark(_rows_of(signals, shapes, level[sites[m]] - 1, padded)[ins[sites[m]]], active)
    count = _active_rows(active, total, rows)
    change = 0.0
    for first in range(0, count, BLOCK):
        real = min(BLOCK, count - first)
        part = (real + 15) // 16 * 16
        many = entries
        for p in range(entries):
            _gather(steps[p], rows, first, part, now[p])
            now_units[p] = units[p]
        if lowest == top:
            for c in range(classes):
                _gather(logit_rows[c], rows, first, part, sums)
                for p in range(entries):
                    if units[p] == c:
                        _axpy(now[p], np.float32(1.0), part, sums)
                if settling:
                    for q in range(real):
                        logit_rows[c, rows[first + q]] = sums[q]
                _place(sums, part, classes, c, logits)
        for layer in range(lowest + 1, top + 1):
            matrix = matrix_at(net, shapes[layer, WEIGHTS], shapes[layer, INPUTS], shapes[layer, OUTPUTS])
            outputs, below = _rows_of(pre, shapes, layer, padded), _rows_of(signals, shapes, layer - 1, padded)
            reached = 0
            for u in range(matrix.shape[1]):
                touched = layer == top
                if touched:
                    _gather(outputs[u], rows, first, part, sums)
                for p in range(many):
                    weight = matrix[now_units[p], u]
                    if weight != np.float32(0.0):
                        if not touched:
                            _gather(outputs[u], rows, first, part, sums)
                            touched = True
                        _axpy(now[p], weight, part, sums)
                for m in range(size):
                    site = sites[m]
                    if level[site] == layer and outs[site] == u:
                        if not touched:
                            _gather(outputs[u], rows, first, part, sums)
                            touched = True
                        # W h becomes (W + d) (h + e): W e was added above, d h and d e are added here.
                        _gather_add(below[ins[site]], steps_of[m], rows, first, part, sums)
                        # When settling, the signals of the layers below are updated already: they hold h + e.
                        if not settling:
                            for p in range(many):
                                if now_units[p] == ins[site]:
                                    _axpy(now[p], steps_of[m], part, sums)
                if not touched:
                    continue
                if settling:
                    for q in range(real):
                        outputs[u, rows[first + q]] = sums[q]
                if layer == top:
                    _place(sums, part, classes, u, logits)
                else:
                    above = _rows_of(signals, shapes, layer, padded)
                    if _rise(sums, above[u], rows, first, part, code, then[reached]):
                        then_units[reached] = u
                        if settling:
                            for q in range(real):
                                above[u, rows[first + q]] += then[reached, q]
                        reached += 1
            now, then, now_units, then_units = then, now, then_units, now_units
            many = reached
        for q in range(part):
            b = rows[first + q]
            targets[q], before[q] = labels[b], base[b]
        for q in range(0, part, 16):
            entropies(logits[q * classes :], classes, targets, q, moved, before, mine)
        for q in range(real):
            step_of_row = np.float64(mine[q]) - np.float64(before[q])
            change += step_of_row if shares.size == 0 else step_of_row * shares[rows[first + q]]
            if settling:
                base[rows[first + q]] = mine[q]
    return change


@contracted_kernel
def _scratch(shapes: IntArray, padded: int, most: int) -> Scratch:
    """Allocate the working memory of a candidate."""
    widest, classes = most, shapes[shapes.shape[0] - 1, OUTPUTS]
    for layer in range(shapes.shape[0]):
        widest = max(widest, shapes[layer, OUTPUTS])
    return (
        np.empty((most, padded), np.float32), np.zeros(padded, np.uint8), np.empty(padded + 16, np.int32),
        np.empty(most, np.int64), np.empty((widest, BLOCK), np.float32), np.empty((widest, BLOCK), np.float32),
        np.empty(widest, np.int64), np.empty(widest, np.int64), np.empty(BLOCK, np.float32),
        np.empty(BLOCK * classes, np.float32), np.empty(BLOCK, np.int32), np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.float32), np.ones(BLOCK, np.uint8),
    )  # fmt: skip


@contracted_kernel
def _changes(
    inputs: Float32Array, signals: Float32Array, pre: Float32Array, base: Float32Array, shares: FloatArray, labels: Int32Array,
    net: Float32Array, shapes: IntArray, level: IntArray, outs: IntArray, ins: IntArray, code: int, total: int,
    size: Int32Array, sites: IntArray, steps_of: Float32Array, settling: bool, first: int, last: int, out: FloatArray,
) -> None:  # fmt: skip
    """Write the changes of the candidates first, first + 1, ... last - 1 into `out`."""
    scratch = _scratch(shapes, base.size, sites.shape[1])
    for k in range(first, last):
        if size[k] > 0:
            out[k] = _walk(
                inputs, signals, pre, base, shares, labels, net, shapes, level, outs, ins, code, total, size[k], sites[k], steps_of[k],
                settling, scratch,
            )  # fmt: skip


@contracted_kernel
def evaluate(
    inputs: Float32Array, signals: Float32Array, pre: Float32Array, base: Float32Array, shares: FloatArray, labels: Int32Array,
    net: Float32Array, shapes: IntArray, level: IntArray, outs: IntArray, ins: IntArray, code: int, total: int,
    size: Int32Array, sites: IntArray, steps_of: Float32Array, settling: bool,
) -> FloatArray:  # fmt: skip
    """Return the sum over the rows of each candidate's change of loss, (K,), on one thread; NaN where it changes no site.

    Parameters
    ----------
    inputs : (N, B padded)
    signals, pre, net : vectors with the matrices of all layers
    shapes : (layers, 4), offsets and sides of these matrices
    base, labels : (B padded,), loss and class of each row
    shares : (B padded,), weights of the rows, of mean 1 over B; empty where all rows count alike
    level, outs, ins : (S,), layer, output and input of every site
    total : B
    size, sites, steps_of : (K,), (K, M), (K, M), the moves: how many sites change, which, and the changes of their weights
    settling : make the moves in place; `net` stays as it is
    """
    out = np.full(size.shape[0], np.nan)
    _changes(
        inputs, signals, pre, base, shares, labels, net, shapes, level, outs, ins, code, total, size, sites, steps_of, settling, 0,
        size.shape[0], out,
    )  # fmt: skip
    return out


@contracted_parallel_kernel
def evaluate_parallel(
    inputs: Float32Array, signals: Float32Array, pre: Float32Array, base: Float32Array, shares: FloatArray, labels: Int32Array,
    net: Float32Array, shapes: IntArray, level: IntArray, outs: IntArray, ins: IntArray, code: int, total: int,
    size: Int32Array, sites: IntArray, steps_of: Float32Array,
) -> FloatArray:  # fmt: skip
    """Do what `evaluate` does without settling, on numba's threads."""
    count = size.shape[0]
    out = np.full(count, np.nan)
    for share in numba.prange((count + SHARE - 1) // SHARE):
        _changes(
            inputs, signals, pre, base, shares, labels, net, shapes, level, outs, ins, code, total, size, sites, steps_of, False,
            share * SHARE, min((share + 1) * SHARE, count), out,
        )  # fmt: skip
    return out
