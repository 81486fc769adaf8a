"""Steps of backprop and of AdamW for perceptrons with ReLU, one net after the other and in parallel over nets.

All numbers are float32. Outputs of each layer are padded to a multiple of 16, so that the inner loops have no remainder; the padding
has no gradient and stays 0. All parameters of a net lie in one vector, in the order of the evaluators: `shapes` has the first columns
of theirs. Sums run in a fixed order, so a net gets the same bits beside any others and on any number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from mcprune.chain.jit import contracted_inline, contracted_kernel, contracted_parallel_kernel
from mcprune.evaluators.compiled.mlp_kernels import (
    ABSOLUTE,
    CROSS_ENTROPY,
    HUBER,
    INPUTS,
    OUTPUTS,
    POISSON,
    QUANTILE,
    SQUARED,
    LossRule,
    affine,
    bias_of,
    number_loss,
    weights_of,
)
from mcprune.evaluators.compiled.simd import exponentials, matrix_at, pack_relu
from mcprune.types import Float32Array, FloatArray, Int32Array, IntArray, UInt64Array

BETA2, EPSILON = 0.999, 1e-8
_FAR_BELOW = np.float32(-1e30)  # logits of the padding, whose exponential is 0


@contracted_inline
def _slope(value: np.float32, goal: np.float32, rule: LossRule) -> np.float32:
    """Return the derivative of `number_loss` by the output."""
    kind, number = rule
    one = np.float32(1.0)
    away = np.float32(value - goal)
    if kind == SQUARED:
        return np.float32(away + away)
    if kind == ABSOLUTE:
        return np.float32(np.sign(away))
    if kind == HUBER:
        return np.float32(max(-number, min(number, away)))
    if kind == QUANTILE:
        return np.float32(one - number) if away > 0 else (-number if away < 0 else np.float32(0.5) - number)
    if kind == POISSON:
        return np.float32(np.exp(value) - goal)
    return np.float32(one / (one + np.exp(-value)) - goal)


@contracted_kernel
def _class_slopes(logits: Float32Array, row: int, classes: int, target: int, share: np.float32) -> np.float32:
    """Turn a row of logits into `share` times the derivatives of the cross-entropy by them; return the loss."""
    width = logits.shape[1]
    for c in range(classes, width):
        logits[row, c] = _FAR_BELOW
    of_target = logits[row, target]
    top, total = exponentials(logits, row, width)
    scale = np.float32(share / total)
    for c in range(classes):
        logits[row, c] *= scale
    logits[row, target] -= share
    for c in range(classes, width):
        logits[row, c] = np.float32(0.0)
    return np.float32(top + np.log(total) - of_target)


@contracted_kernel
def _number_slopes(
    outputs: Float32Array, row: int, count: int, goals: Float32Array, share: np.float32, rule: LossRule
) -> np.float32:
    """Turn a row of outputs into `share` times the derivatives of its mean loss by them; return the loss."""
    loss, part = np.float32(0.0), np.float32(share / np.float32(count))
    for c in range(count):
        value = outputs[row, c]
        loss += number_loss(value, goals[c], rule)
        outputs[row, c] = np.float32(part * _slope(value, goals[c], rule))
    return np.float32(loss / np.float32(count))


@contracted_kernel
def _update(
    net: Float32Array, means: Float32Array, squares: Float32Array, slopes: Float32Array, rate: float, beta: float,
    decay: float, step: int,
) -> None:  # fmt: skip
    """Make one step of AdamW, in place: that of torch."""
    size = np.float32(rate / (1.0 - beta**step))
    root = np.float32(1.0 / math.sqrt(1.0 - BETA2**step))
    keep, epsilon = np.float32(1.0 - rate * decay), np.float32(EPSILON)
    beta1, rest1 = np.float32(beta), np.float32(1.0 - beta)
    beta2, rest2 = np.float32(BETA2), np.float32(1.0 - BETA2)
    for p in range(net.size):
        slope = slopes[p]
        mean = np.float32(beta1 * means[p] + rest1 * slope)
        square = np.float32(beta2 * squares[p] + rest2 * slope * slope)
        means[p], squares[p] = mean, square
        net[p] = np.float32(keep * net[p] - size * mean / (np.sqrt(square) * root + epsilon))


@contracted_kernel
def _product(
    values: Float32Array, index: Int32Array, count: int, weights: Float32Array, start: Float32Array, out: Float32Array,
    row: int,
) -> None:  # fmt: skip
    """Set out[row] to start[0] + the sum over k < count of values[k] weights[index[k]]: one machine code for all callers."""
    affine(values, 0, index, count, weights, start, 0, out, row)


@contracted_kernel
def draw_scales(scale: Float32Array, seed: np.uint64, step: int, share: np.float32) -> None:
    """Fill what hidden units are multiplied with in a step: 0 for a share of them, else 1 / (1 - share).

    The numbers are hashed from seed and step (SplitMix64, https://doi.org/10.1145/2714064.2660195), 16 bits for each unit. The size of
    `scale` is a multiple of 16.
    """
    level, factor = np.uint64(round(share * 65536.0)), np.float32(1.0 / (1.0 - share))
    place = seed + (np.uint64(step) << np.uint64(32))
    for group in range(scale.size // 4):
        bits = place + np.uint64(group) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
        for part in range(4):
            own = (bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)
            scale[4 * group + part] = factor if own >= level else np.float32(0.0)


@contracted_kernel
def _forward(
    batch: Float32Array, used: Int32Array, scale: Float32Array, net: Float32Array, shapes: IntArray, pre: Float32Array,
    across: Float32Array, values: Float32Array, index: Int32Array, tall: int,
) -> None:  # fmt: skip
    """Fill the outputs of all layers before ReLU (tall, out), and what comes out of the hidden units by unit (out, tall)."""
    rows, width = batch.shape
    across[:] = np.float32(0.0)
    weights, bias, first = (
        weights_of(net, shapes, 0),
        bias_of(net, shapes, 0),
        matrix_at(pre, 0, tall, shapes[0, OUTPUTS]),
    )
    for q in range(rows):
        _product(batch[q], used, width, weights, bias, first, q)
    start = 0
    for layer in range(1, len(shapes)):
        size, out = shapes[layer, INPUTS], shapes[layer, OUTPUTS]
        weights, bias = weights_of(net, shapes, layer), bias_of(net, shapes, layer)
        below, kept = matrix_at(pre, tall * start, tall, size), matrix_at(scale, rows * start, rows, size)
        units, above = matrix_at(across, tall * start, size, tall), matrix_at(pre, tall * (start + size), tall, out)
        for q in range(rows):
            live = pack_relu(below, q, kept, q, size, values, index)
            for i in range(live):
                units[index[i], q] = values[i]
            _product(values, index, live, weights, bias, above, q)
        start += size


@contracted_kernel
def _backward(
    batch: Float32Array, used: Int32Array, scale: Float32Array, net: Float32Array, shapes: IntArray, pre: Float32Array,
    across: Float32Array, values: Float32Array, index: Int32Array, every: Int32Array, tall: int, slopes_of: Float32Array,
    inputs: Float32Array, back: Float32Array, grads: Float32Array, ones: Float32Array, zeros: Float32Array, outputs: int,
) -> None:  # fmt: skip
    """Fill the derivatives by all parameters from those by the outputs of the last layer, which are in `slopes_of`."""
    rows, width = batch.shape
    start = 0
    for layer in range(len(shapes) - 1):
        start += shapes[layer, OUTPUTS]
    real = outputs
    grads[:] = np.float32(0.0)
    for layer in range(len(shapes) - 1, -1, -1):
        size, out = shapes[layer, INPUTS], shapes[layer, OUTPUTS]
        slopes, grad = matrix_at(slopes_of, tall * start, tall, out), weights_of(grads, shapes, layer)
        nothing = matrix_at(zeros, 0, 1, out)
        _product(ones[0], every, rows, slopes, nothing, bias_of(grads, shapes, layer), 0)
        if layer == 0:
            for q in range(rows):
                for i in range(width):
                    inputs[i, q] = batch[q, i]
            for i in range(width):
                _product(inputs[i], every, rows, slopes, nothing, grad, used[i])
            break
        start -= size
        units, below = matrix_at(across, tall * start, size, tall), matrix_at(pre, tall * start, tall, size)
        for i in range(size):
            live = pack_relu(units, i, ones, 0, tall, values, index)
            _product(values, index, live, slopes, nothing, grad, i)
        weights, turned = weights_of(net, shapes, layer), matrix_at(back, 0, out, size)
        for i in range(size):
            for j in range(out):
                turned[j, i] = weights[i, j]
        kept, lower = matrix_at(scale, rows * start, rows, size), matrix_at(slopes_of, tall * start, tall, size)
        clear = matrix_at(zeros, 0, 1, size)
        for q in range(rows):
            _product(slopes[q], every, real, turned, clear, lower, q)
            for i in range(size):
                lower[q, i] = np.float32(lower[q, i] * kept[q, i]) if below[q, i] > 0 else np.float32(0.0)
        real = size


@contracted_kernel
def _train_net(
    k: int, x: Float32Array, columns: Int32Array, targets: IntArray, goals: Float32Array, shares: Float32Array,
    seeds: UInt64Array, dropout: np.float32, net: Float32Array, means: Float32Array, squares: Float32Array, shapes: IntArray,
    rule: LossRule, outputs: int, rates: FloatArray, betas: FloatArray, decay: float, done: int,
) -> np.float32:  # fmt: skip
    """Train net `k`; see `train_nets`. Returns the mean loss of the last step."""
    steps, rows, width = x.shape[1:]
    tall, units, widest = (rows + 15) // 16 * 16, 0, 0
    for layer in range(len(shapes)):
        units += shapes[layer, OUTPUTS]
        widest = max(widest, shapes[layer, OUTPUTS])
    last_width = shapes[len(shapes) - 1, OUTPUTS]
    pre, slopes_of = np.zeros(tall * units, np.float32), np.zeros(tall * units, np.float32)
    across = np.zeros(tall * (units - last_width), np.float32)
    inputs, back = np.zeros((width, tall), np.float32), np.zeros(widest * widest, np.float32)
    grads, scale = np.zeros(net.size, np.float32), np.ones(rows * (units - last_width), np.float32)
    longest = max(widest, width, tall) + 16
    values, index = np.zeros(longest, np.float32), np.zeros(longest, np.int32)
    every = np.arange(longest).astype(np.int32)
    ones, zeros = np.ones((1, longest), np.float32), np.zeros(longest, np.float32)
    last = matrix_at(pre, tall * (units - last_width), tall, last_width)
    slopes = matrix_at(slopes_of, tall * (units - last_width), tall, last_width)
    loss = np.float32(0.0)
    for s in range(steps):
        batch, used = x[k, s], columns[k % len(columns), s % columns.shape[1]]
        if dropout > 0:
            draw_scales(scale, seeds[k % len(seeds)], done + s, dropout)
        share = shares[k % len(shares), s % shares.shape[1]]
        _forward(batch, used, scale, net, shapes, pre, across, values, index, tall)
        for q in range(rows):
            for c in range(last_width):
                slopes[q, c] = last[q, c]
        loss = np.float32(0.0)
        for q in range(rows):
            own = np.float32(share[q % len(share)] / np.float32(rows))
            if rule[0] == CROSS_ENTROPY:
                loss += own * _class_slopes(slopes, q, outputs, targets[k % len(targets), s, q], own)
            else:
                loss += own * _number_slopes(slopes, q, outputs, goals[k % len(goals), s, q], own, rule)
        _backward(
            batch, used, scale, net, shapes, pre, across, values, index, every, tall, slopes_of, inputs, back, grads,
            ones, zeros, outputs,
        )  # fmt: skip
        _update(net, means, squares, grads, rates[s], betas[s], decay, done + s + 1)
    return loss


@contracted_parallel_kernel
def train_nets(
    x: Float32Array, columns: Int32Array, targets: IntArray, goals: Float32Array, shares: Float32Array,
    seeds: UInt64Array, dropout: np.float32, nets: Float32Array, means: Float32Array, squares: Float32Array, shapes: IntArray,
    rule: LossRule, outputs: int, rates: FloatArray, betas: FloatArray, decay: float, done: int, losses: Float32Array,
) -> None:  # fmt: skip
    """Make S steps of K nets in place, each on batches of its own.

    An axis of G nets is used in turn: net k takes entry k modulo G.

    Parameters
    ----------
    x : ndarray of float32, shape (K, S, B, n)
        The batches, of the columns that are used.
    columns : ndarray of int32, shape (G, S or 1, n)
        Which inputs of the nets these are.
    targets : ndarray of int64, shape (G, S, B)
        Classes; not read for losses of numbers.
    goals : ndarray of float32, shape (G, S, B, T)
        Not read for classes.
    shares : ndarray of float32, shape (G, S or 1, B or 1)
        Weights of the rows in the mean over the batch.
    seeds : ndarray of uint64, shape (G,)
        Of the dropped units; see `draw_scales`.
    dropout : float32
        Share of the hidden units that is dropped.
    nets, means, squares : ndarray of float32, shape (K, P)
        Parameters and the moments of their gradients.
    shapes : ndarray of int64, shape (layers, 4)
        Offset of the weights, their sides (in, out), offset of the bias.
    rule : (int, float32)
        Code and number of the loss.
    outputs : int
        Classes, or numbers of a row.
    rates, betas : ndarray of float64, shape (S,)
        Learning rate and beta 1 of each step.
    decay : float
        Weight decay.
    done : int
        Steps that the moments have seen.
    losses : ndarray of float32, shape (K,)
        Filled with the mean loss of each net's last step.
    """
    for k in numba.prange(len(nets)):
        losses[k] = _train_net(
            k, x, columns, targets, goals, shares, seeds, dropout, nets[k], means[k], squares[k], shapes, rule, outputs, rates,
            betas, decay, done,
        )  # fmt: skip
