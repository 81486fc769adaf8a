"""Intrinsics that compute 16 rows of the batch in one vector, for the last layers of a network.

In a narrow layer, finding the zero signals costs more than multiplying them, and the softmax of one row does not fill a vector.
So signals lie by unit here, with adjacent rows in one vector, and all 16 rows of a group are computed. `simd` computes one row
at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import binding, ir
from numba.core import cgutils
from numba.core.base import BaseContext as TargetContext
from numba.core.types.abstract import Type
from numba.core.typing import BaseContext as TypingContext
from numba.core.typing.templates import Signature

from mcprune.evaluators.compiled.simd import (
    _I32,
    _I64,
    _INDICES,
    _VECTOR,
    LANES,
    Lowering,
    _at,
    _constant,
    _data,
    _fma,
    _intrinsic,
    _load,
    _splat,
    _store,
    exponential,
    types,
)

_I8 = ir.IntType(8)
_BYTES = ir.VectorType(_I8, LANES)
# Classes whose sums fit the registers together: a vector is one of 32 registers with AVX-512, else two of 16.
MOST_CLASSES = 12 if binding.get_host_cpu_features().get("avx512f") else 6


def _spread(builder: ir.IRBuilder, pointer: ir.Value, offset: ir.Value) -> ir.Value:
    """Return a vector with one number in all lanes."""
    return _splat(builder, builder.load(_at(builder, pointer, offset)), _VECTOR)


def _matrix(context: TargetContext, builder: ir.IRBuilder, kind: Type, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return (pointer, columns) of a contiguous matrix."""
    array = context.make_array(kind)(context, builder, value)
    return array.data, builder.extract_value(array.shape, 1)


def _gather(builder: ir.IRBuilder, row: ir.Value, places: ir.Value, first: ir.Value) -> ir.Value:
    """Return row[places[first]], row[places[first + 1]] ...; single loads are as fast as the gather instruction."""
    out = ir.Constant(_VECTOR, ir.Undefined)
    for lane in range(LANES):
        place = builder.load(_at(builder, places, builder.add(first, ir.Constant(_I64, lane))))
        value = builder.load(_at(builder, row, builder.sext(place, _I64)))
        out = builder.insert_element(out, value, ir.Constant(_I32, lane))
    return out


def _lift(fixed: int | None, is_picked: bool) -> Callable[..., None]:
    """Return the intrinsic for moves that change `fixed` signals (None: any number); `is_picked` for gathered rows."""

    @_intrinsic
    def lift(
        typing: TypingContext, pre: Type, rows: Type, column: Type, units: Type, steps: Type, entries: Type,
        index: Type, weights: Type, gates: Type, gate_row: Type, is_relu: Type, is_kept: Type, out: Type,
    ) -> Lowering:  # fmt: skip
        """Set out[h] = gates[gate_row, h] z for h < units, z = pre[h, column:] + sum over m of steps[m, column:] weights[index[m], h].

        pre (units, B) and steps (entries, B) lie by unit; `is_relu` sets negative signals to 0, `is_kept` writes z to pre.
        With gathered rows: pre[h, rows[column:]] instead of pre[h, column:], and z is not written.
        """
        arguments = (pre, rows, column, units, steps, entries, index, weights, gates, gate_row, is_relu, is_kept, out)
        signature = types.void(*(types.intp if isinstance(a, types.Integer) else a for a in arguments))

        def codegen(context: TargetContext, builder: ir.IRBuilder, sig: Signature, args: list[ir.Value]) -> ir.Value:
            p, rows, col, many, s, count, ix, w, g, g_row, relu, kept, o = args
            p, p_width = _matrix(context, builder, sig.args[0], p)
            s, s_width = _matrix(context, builder, sig.args[4], s)
            w, w_width = _matrix(context, builder, sig.args[7], w)
            g, g_width = _matrix(context, builder, sig.args[8], g)
            rows, ix, o = (_data(context, builder, sig.args[k], value) for k, value in ((1, rows), (6, ix), (12, o)))
            g = _at(builder, g, builder.mul(g_row, g_width))

            def change(m: ir.Value) -> tuple[ir.Value, ir.Value]:
                """Return (change of signal m on 16 rows, pointer to the weights that multiply it)."""
                place = builder.sext(builder.load(_at(builder, ix, m)), _I64)
                row = _at(builder, s, builder.add(builder.mul(m, s_width), col))
                return _load(builder, row, _VECTOR), _at(builder, w, builder.mul(place, w_width))

            known = [change(ir.Constant(_I64, m)) for m in range(fixed or 0)]
            # Unordered: a NaN passes, so that it reaches the loss.
            floor = builder.select(relu, _constant(0.0), _constant(float("-inf")))
            sums = cgutils.alloca_once(builder, _VECTOR)
            with cgutils.for_range(builder, many, intp=_I64) as loop:
                h = loop.index
                below = _at(builder, p, builder.mul(h, p_width))
                where = _at(builder, below, col)
                z = _gather(builder, below, rows, col) if is_picked else _load(builder, where, _VECTOR)
                for step, entry in known:
                    z = _fma(builder, step, _spread(builder, entry, h), z)
                if fixed is None:
                    builder.store(z, sums)
                    with cgutils.for_range(builder, count, intp=_I64) as inner:
                        step, entry = change(inner.index)
                        builder.store(_fma(builder, step, _spread(builder, entry, h), builder.load(sums)), sums)
                    z = builder.load(sums)
                if not is_picked:
                    with builder.if_then(kept):
                        _store(builder, z, where)
                z = builder.fmul(z, _spread(builder, g, h))
                z = builder.select(builder.fcmp_unordered(">", z, floor), z, floor)
                _store(builder, z, _at(builder, o, builder.mul(h, ir.Constant(_I64, LANES))))
            return context.get_dummy_value()

        return signature, codegen

    return lift


lift_1, lift_2, lift_any = (_lift(fixed, False) for fixed in (1, 2, None))
pick_1, pick_2, pick_any = (_lift(fixed, True) for fixed in (1, 2, None))


def _panel(classes: int) -> Callable[..., None]:
    """Return the intrinsic for `classes` sums at once."""

    @_intrinsic
    def panel(
        typing: TypingContext, signals: Type, units: Type, weights: Type, bias: Type, first: Type, out: Type
    ) -> Lowering:
        """Set out[c] = bias[0, c] + the sum over h < units of signals[h] weights[h, c], for c = first, first + 1 ...; 16 rows each."""
        arguments = (signals, units, weights, bias, first, out)
        signature = types.void(*(types.intp if isinstance(a, types.Integer) else a for a in arguments))

        def codegen(context: TargetContext, builder: ir.IRBuilder, sig: Signature, args: list[ir.Value]) -> ir.Value:
            v, many, w, b, begin, o = args
            v, o = _data(context, builder, sig.args[0], v), _data(context, builder, sig.args[5], o)
            w, width = _matrix(context, builder, sig.args[2], w)
            b, w = _at(builder, _data(context, builder, sig.args[3], b), begin), _at(builder, w, begin)
            places = [ir.Constant(_I64, c) for c in range(classes)]
            sums = [cgutils.alloca_once_value(builder, _spread(builder, b, c)) for c in places]
            with cgutils.for_range(builder, many, intp=_I64) as loop:
                signal = _load(builder, _at(builder, v, builder.mul(loop.index, ir.Constant(_I64, LANES))), _VECTOR)
                row = _at(builder, w, builder.mul(loop.index, width))
                for c, total in zip(places, sums, strict=True):
                    builder.store(_fma(builder, signal, _spread(builder, row, c), builder.load(total)), total)
            for c, total in zip(places, sums, strict=True):
                place = builder.mul(builder.add(begin, c), ir.Constant(_I64, LANES))
                _store(builder, builder.load(total), _at(builder, o, place))
            return context.get_dummy_value()

        return signature, codegen

    return panel


panel_12, panel_10, panel_6, panel_4, panel_2, panel_1 = (_panel(classes) for classes in (12, 10, 6, 4, 2, 1))


@_intrinsic
def entropies(
    typing: TypingContext, logits: Type, classes: Type, targets: Type, column: Type, active: Type, base: Type, out: Type
) -> Lowering:
    """Set out[column:] = log(sum over c < classes of exp(logits[c])) - logits[targets[column:]], base where not `active`; 16 rows.

    logits (classes * 16,); targets (B,) int32, active (B,) uint8, base and out (B,) float32, B a multiple of 16.
    """
    signature = types.void(logits, types.intp, targets, types.intp, active, base, out)

    def codegen(context: TargetContext, builder: ir.IRBuilder, sig: Signature, args: list[ir.Value]) -> ir.Value:
        z, many, t, col, a, b, o = args
        z = _data(context, builder, sig.args[0], z)
        t, a, b, o = (
            _at(builder, _data(context, builder, sig.args[k], value), col)
            for k, value in ((2, t), (4, a), (5, b), (6, o))
        )
        own_class = _load(builder, t, _INDICES)

        def logit(c: ir.Value) -> ir.Value:
            return _load(builder, _at(builder, z, builder.mul(c, ir.Constant(_I64, LANES))), _VECTOR)

        top = cgutils.alloca_once_value(builder, _constant(-3e38))
        own = cgutils.alloca_once_value(builder, _constant(0.0))
        with cgutils.for_range(builder, many, intp=_I64) as loop:
            x, old = logit(loop.index), builder.load(top)
            builder.store(builder.select(builder.fcmp_ordered(">", x, old), x, old), top)
            is_own = builder.icmp_signed("==", own_class, _splat(builder, builder.trunc(loop.index, _I32), _INDICES))
            builder.store(builder.select(is_own, x, builder.load(own)), own)
        tops = builder.load(top)
        total = cgutils.alloca_once_value(builder, _constant(0.0))
        with cgutils.for_range(builder, many, intp=_I64) as loop:
            term = exponential(builder, builder.fsub(logit(loop.index), tops))
            builder.store(builder.fadd(builder.load(total), term), total)
        sums = builder.load(total)
        value = builder.fadd(_logarithm(builder, sums), builder.fsub(tops, builder.load(own)))
        # `_logarithm` does not propagate a NaN among the sums; it must reach the loss.
        value = builder.fadd(value, builder.fsub(sums, sums))
        moved = builder.icmp_unsigned("!=", _load(builder, a, _BYTES), ir.Constant(_BYTES, [0] * LANES))
        _store(builder, builder.select(moved, value, _load(builder, b, _VECTOR)), o)
        return context.get_dummy_value()

    return signature, codegen


def _logarithm(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Return ln x of normal positive numbers: x = m 2**e with m in [sqrt(1/2), sqrt(2)), ln m by a polynomial (error < 1e-7).

    References
    ----------
    .. [1] S. L. Moshier, Cephes Mathematical Library, logf.
    """

    def whole(value: int) -> ir.Value:
        return ir.Constant(_INDICES, [value] * LANES)

    # Below sqrt(1/2) the mantissa is doubled: bits are counted from those of sqrt(1/2) on.
    bits = builder.sub(builder.bitcast(x, _INDICES), whole(0x3F3504F3))
    e = builder.sitofp(builder.ashr(bits, whole(23)), _VECTOR)
    mantissa = builder.add(builder.and_(bits, whole(0x007FFFFF)), whole(0x3F3504F3))
    m = builder.fsub(builder.bitcast(mantissa, _VECTOR), _constant(1.0))
    p = _constant(7.0376836292e-2)
    for factor in (
        -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1,
        -2.4999993993e-1, 3.3333331174e-1,
    ):  # fmt: skip
        p = _fma(builder, p, m, _constant(factor))
    square = builder.fmul(m, m)
    tail = builder.fmul(builder.fmul(p, square), m)
    tail = _fma(builder, e, _constant(-2.12194440e-4), tail)
    tail = _fma(builder, square, _constant(-0.5), tail)
    return _fma(builder, e, _constant(0.693359375), builder.fadd(m, tail))
