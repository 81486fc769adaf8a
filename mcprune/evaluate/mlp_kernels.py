"""Compiled evaluation of sparse moves on a multilayer perceptron, thread by thread over candidates.

Everything is float32, and widths are padded to multiples of 16, so that the inner loops have no remainder. `pre` holds
each layer's outputs before the gates, one array a layer, the logits last. A move changes the signals of a few sites of
one level (level 0 the inputs, level l the units of hidden layer l): the next layer's pre-activation gets one row of the
weights for each changed site, and only what lies above is computed again. A row of the batch on which none of these
signals changes keeps its loss.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from mcprune.chain.jit import contracted_inline, contracted_kernel, contracted_parallel_kernel

RELU, TANH, SIGMOID, SOFTPLUS = 0, 1, 2, 3
BLOCK = 32  # rows whose logits are exponentiated together, so that the exponential runs in vector registers


@contracted_inline
def _activate(values: Any, count: int, code: int) -> None:
    """Apply the activation in place."""
    one = np.float32(1.0)
    if code == RELU:
        for q in range(count):
            values[q] = max(values[q], np.float32(0.0))
    elif code == TANH:
        for q in range(count):
            values[q] = np.float32(np.tanh(values[q]))
    elif code == SIGMOID:
        for q in range(count):
            values[q] = one / (one + np.exp(-values[q]))
    else:
        for q in range(count):
            values[q] = max(values[q], np.float32(0.0)) + np.log(one + np.exp(-abs(values[q])))


@contracted_inline
def _scalar(value: Any, code: int) -> Any:
    """Return the activation of one number."""
    one = np.float32(1.0)
    if code == RELU:
        return max(value, np.float32(0.0))
    if code == TANH:
        return np.float32(np.tanh(value))
    if code == SIGMOID:
        return one / (one + np.exp(-value))
    return max(value, np.float32(0.0)) + np.log(one + np.exp(-abs(value)))


@contracted_inline
def _affine(signal: Any, count: int, picked: Any, weights: Any, bias: Any, out: Any) -> None:
    """out = bias + signal @ weights, skipping zero signals (after a ReLU about half of them)."""
    width = weights.shape[1]
    found = 0
    for q in range(count):
        picked[found] = q
        found += signal[q] != np.float32(0.0)
    for r in range(width):
        out[r] = bias[r]
    q = 0
    # Four rows at a time: a sum is loaded and stored once for four products.
    while q + 4 <= found:
        p0, p1, p2, p3 = picked[q], picked[q + 1], picked[q + 2], picked[q + 3]
        a0, a1, a2, a3 = signal[p0], signal[p1], signal[p2], signal[p3]
        for r in range(width):
            out[r] += a0 * weights[p0, r] + a1 * weights[p1, r] + a2 * weights[p2, r] + a3 * weights[p3, r]
        q += 4
    while q < found:
        p0 = picked[q]
        a0 = signal[p0]
        for r in range(width):
            out[r] += a0 * weights[p0, r]
        q += 1


@contracted_inline
def _upward(
    pre: Any,
    b: int,
    first: int,
    gates: Any,
    weights: Any,
    bias: Any,
    code: int,
    signal: Any,
    sums: Any,
    picked: Any,
    keep_pre: bool,
) -> None:
    """From the pre-activations of layer `first` (in `sums`) to the logits (in `sums`)."""
    for layer in range(first, len(weights)):
        above = weights[layer]
        width = above.shape[0]
        if keep_pre:
            mine = pre[layer - 1]
            for q in range(width):
                mine[b, q] = sums[q]
        factor = gates[layer - 1]
        for q in range(width):
            signal[q] = factor[q] * sums[q]
        _activate(signal, width, code)
        _affine(signal, width, picked, above, bias[layer], sums)


@contracted_inline
def _cross_entropies(logits: Any, count: int, classes: int, wanted: Any, powers: Any, scales: Any, out: Any) -> None:
    """Cross-entropy of `count` rows; logits (classes, BLOCK). The exponential is 2**k times a polynomial on [-ln2/2, ln2/2].

    exp(x) = 2**k exp(r), r = x - k ln 2; the degree-6 Taylor polynomial of exp(r) errs by r**7/5040 < 1.3e-7 relative.
    """
    top = np.empty(BLOCK, np.float32)
    total = np.empty(BLOCK, np.float32)
    for q in range(BLOCK):
        top[q] = logits[0, q]
        total[q] = np.float32(0.0)
    for c in range(1, classes):
        for q in range(BLOCK):
            top[q] = max(top[q], logits[c, q])
    for c in range(classes):
        for q in range(BLOCK):
            x = max(logits[c, q] - top[q], np.float32(-87.0))
            k = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
            r = (x - k * np.float32(0.693359375)) + k * np.float32(2.12194440e-4)
            p = np.float32(1.0 / 720.0)
            p = p * r + np.float32(1.0 / 120.0)
            p = p * r + np.float32(1.0 / 24.0)
            p = p * r + np.float32(1.0 / 6.0)
            p = p * r + np.float32(0.5)
            p = p * r + np.float32(1.0)
            p = p * r + np.float32(1.0)
            powers[q] = (np.int32(k) + np.int32(127)) << np.int32(23)
            total[q] += p * scales[q]
    for q in range(count):
        out[q] = np.log(total[q]) + top[q] - logits[wanted[q], q]


@contracted_inline
def _step(
    unit: int, gate: Any, lowest: int, features: Any, pre: Any, first_gates: Any, gates: Any, code: int, steps: Any
) -> None:
    """Change of one site's signal on every row, into steps (B,)."""
    if lowest == 0:
        change = gate - first_gates[unit]
        for b in range(steps.shape[0]):
            steps[b] = change * features[unit, b]
    else:
        z = pre[lowest - 1]
        old = gates[lowest - 1, unit]
        for b in range(steps.shape[0]):
            steps[b] = _scalar(gate * z[b, unit], code) - _scalar(old * z[b, unit], code)


@contracted_inline
def _flush(
    logits: Any,
    waiting: int,
    classes: int,
    wanted: Any,
    places: Any,
    powers: Any,
    scales: Any,
    values: Any,
    base: Any,
    settling: bool,
) -> float:
    """Return the summed cross-entropy of the waiting rows; a settled move leaves them in `base`."""
    _cross_entropies(logits, waiting, classes, wanted, powers, scales, values)
    total = 0.0
    for q in range(waiting):
        total += values[q]
        if settling:
            base[places[q]] = values[q]
    return total


@contracted_kernel
def _walk(
    features: Any,
    targets: Any,
    pre: Any,
    base: Any,
    gates: Any,
    first_gates: Any,
    level: Any,
    local: Any,
    size: int,
    sites: Any,
    changed: Any,
    weights: Any,
    bias: Any,
    code: int,
    classes: int,
    settling: bool,
) -> float:
    """Mean loss of one candidate; `gates` become the candidate's, and when settling pre, base and first_gates too."""
    rows, layers = base.shape[0], len(weights)
    lowest = layers
    for m in range(size):
        lowest = min(lowest, level[sites[m]])
    steps = np.empty((size, rows), np.float32)
    entry_row = np.empty(size, np.int64)
    active = np.zeros(rows, np.uint8)
    found = 0
    for m in range(size):
        if level[sites[m]] == lowest:
            change = steps[found]
            _step(local[sites[m]], changed[m], lowest, features, pre, first_gates, gates, code, change)
            for b in range(rows):
                active[b] |= change[b] != np.float32(0.0)
            entry_row[found] = local[sites[m]]
            found += 1
    # Sites of the lowest level change signals; those above (a mixed move) change gates on the way up, on every row.
    above = found < size
    for m in range(size):
        unit, stage = local[sites[m]], level[sites[m]]
        if stage > 0:
            gates[stage - 1, unit] = changed[m]
        elif settling:
            first_gates[unit] = changed[m]
    entry = weights[lowest]
    width = entry.shape[1]
    below = pre[lowest]
    outputs = pre[layers - 1]
    widest = width
    for layer in range(layers):
        widest = max(widest, weights[layer].shape[1])
    signal = np.empty(widest, np.float32)
    sums = np.empty(widest, np.float32)
    picked = np.empty(widest + 1, np.int64)
    logits = np.zeros((classes, BLOCK), np.float32)
    powers = np.empty(BLOCK, np.int32)
    scales = powers.view(np.float32)
    wanted = np.empty(BLOCK, np.int64)
    places = np.empty(BLOCK, np.int64)
    values = np.empty(BLOCK, np.float32)
    waiting = 0
    total = 0.0
    for b in range(rows):
        if not (above or active[b]):
            total += base[b]
            continue
        for q in range(width):
            sums[q] = below[b, q]
        for f in range(found):
            step = steps[f, b]
            row = entry_row[f]
            for q in range(width):
                sums[q] += step * entry[row, q]
        _upward(pre, b, lowest + 1, gates, weights, bias, code, signal, sums, picked, settling)
        for c in range(classes):
            logits[c, waiting] = sums[c]
        if settling:
            for c in range(classes):
                outputs[b, c] = sums[c]
        wanted[waiting] = targets[b]
        places[waiting] = b
        waiting += 1
        if waiting == BLOCK:
            total += _flush(logits, waiting, classes, wanted, places, powers, scales, values, base, settling)
            waiting = 0
    if waiting:
        total += _flush(logits, waiting, classes, wanted, places, powers, scales, values, base, settling)
    return float(total / rows)


@contracted_parallel_kernel
def candidate_losses(
    features: Any,
    targets: Any,
    pre: Any,
    base: Any,
    gates: Any,
    first_gates: Any,
    level: Any,
    local: Any,
    size: Any,
    sites: Any,
    changed: Any,
    weights: Any,
    bias: Any,
    code: int,
    classes: int,
) -> Any:
    """Mean loss of each candidate.

    features (N, B) by input; targets (B,); base (B,) loss of each row now; pre, weights, bias: tuples with a (B, out),
    (in, out), (out,) array for each layer; gates (layers, widest) of the units of each layer, 1 where none is a site;
    first_gates (N,) of the inputs; level, local (S,) of every site; size (K,), sites (K, M), changed (K, M) new gates.
    Returns (K,) float64; NaN where nothing changes.
    """
    out = np.empty(size.shape[0])
    for k in numba.prange(size.shape[0]):
        if size[k] == 0:
            out[k] = np.nan
        else:
            out[k] = _walk(
                features,
                targets,
                pre,
                base,
                gates.copy(),
                first_gates,
                level,
                local,
                size[k],
                sites[k],
                changed[k],
                weights,
                bias,
                code,
                classes,
                False,
            )
    return out


@contracted_kernel
def settle(
    features: Any,
    targets: Any,
    pre: Any,
    base: Any,
    gates: Any,
    first_gates: Any,
    level: Any,
    local: Any,
    size: int,
    sites: Any,
    changed: Any,
    weights: Any,
    bias: Any,
    code: int,
    classes: int,
) -> float:
    """Make one sparse move in place: pre, base, gates and first_gates become those of the new position."""
    loss: float = _walk(
        features,
        targets,
        pre,
        base,
        gates,
        first_gates,
        level,
        local,
        size,
        sites,
        changed,
        weights,
        bias,
        code,
        classes,
        True,
    )
    return loss
