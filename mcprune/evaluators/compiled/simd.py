"""Loops over explicit vectors of 16 floats as numba intrinsics, because numba's own loops keep no sums in registers.

LLVM compiles <16 x float> for the machine at hand: one AVX-512 register, two of AVX2, four of NEON. Sums run in a fixed order,
so the bits depend neither on the other candidates nor on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from llvmlite import ir
from numba.core import cgutils
from numba.core import types as _numba_types
from numba.core.base import BaseContext as TargetContext
from numba.core.types.abstract import Type
from numba.core.types.npytypes import Array
from numba.core.typing import BaseContext as TypingContext
from numba.core.typing.templates import Signature
from numba.extending import intrinsic as _untyped_intrinsic
from numba.np.arrayobj import populate_array

from mcprune.types import Float32Array, Int32Array

LANES = 16
types: Any = _numba_types  # its stubs are incomplete
# What an intrinsic returns: the types of its arguments, and the function that writes the LLVM code of a call.
Lowering: TypeAlias = tuple[Signature, Callable[[TargetContext, ir.IRBuilder, Signature, list[ir.Value]], ir.Value]]
_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _INDICES, _MASK = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES), ir.VectorType(ir.IntType(1), LANES)


def _intrinsic(function: Callable[..., Lowering]) -> Callable[..., Any]:
    kernel: Callable[..., Any] = _untyped_intrinsic(function)
    return kernel


def _data(context: TargetContext, builder: ir.IRBuilder, kind: Type, value: ir.Value) -> ir.Value:
    """Return the pointer to an array's first element."""
    return context.make_array(kind)(context, builder, value).data


def _at(builder: ir.IRBuilder, pointer: ir.Value, offset: ir.Value) -> ir.Value:
    return builder.gep(pointer, [offset], inbounds=True)


def _load(builder: ir.IRBuilder, pointer: ir.Value, kind: ir.Type) -> ir.Value:
    out = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    out.align = 4
    return out


def _store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 4


def _splat(builder: ir.IRBuilder, value: ir.Value, kind: ir.Type) -> ir.Value:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


def _constant(value: float) -> ir.Value:
    return ir.Constant(_VECTOR, [value] * LANES)


def _fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    name = f"llvm.fma.v{LANES}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)
    return builder.call(function, [a, b, c])


def _tile(vectors: int, chains: int) -> Callable[..., None]:
    """Return the intrinsic for `vectors` x 16 columns; `chains` independent sums hide the latency of a product."""

    @_intrinsic
    def tile(
        typing: TypingContext, values: Type, first: Type, index: Type, count: Type, weights: Type, column: Type,
        start: Type, start_row: Type, out: Type, out_row: Type,
    ) -> Lowering:  # fmt: skip
        """Set out[out_row, column:] = start[start_row, column:] + sum over k < count of values[first + k] weights[index[k], column:]."""
        arguments = (values, first, index, count, weights, column, start, start_row, out, out_row)
        signature = types.void(*(types.intp if isinstance(a, types.Integer) else a for a in arguments))

        def codegen(context: TargetContext, builder: ir.IRBuilder, sig: Signature, args: list[ir.Value]) -> ir.Value:
            v, offset, ix, many, w, col, s, s_row, o, o_row = args
            v = _at(builder, _data(context, builder, sig.args[0], v), offset)
            ix = _data(context, builder, sig.args[2], ix)
            w_array, s_array, o_array = (
                context.make_array(k)(context, builder, a)
                for k, a in ((sig.args[4], w), (sig.args[6], s), (sig.args[8], o))
            )
            width = builder.extract_value(w_array.shape, 1)

            def row(array: ir.Value, number: ir.Value) -> ir.Value:
                stride = builder.extract_value(array.shape, 1)
                return _at(builder, array.data, builder.add(builder.mul(number, stride), col))

            sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(vectors)] for _ in range(chains)]
            begin = row(s_array, s_row)
            for chain in range(chains):
                for t in range(vectors):
                    zero = ir.Constant(_VECTOR, None)
                    value = (
                        _load(builder, _at(builder, begin, ir.Constant(_I64, LANES * t)), _VECTOR)
                        if chain == 0
                        else zero
                    )
                    builder.store(value, sums[chain][t])

            def add(k: ir.Value, chain: int) -> None:
                factor = _splat(builder, builder.load(_at(builder, v, k)), _VECTOR)
                place = builder.sext(builder.load(_at(builder, ix, k)), _I64)
                base = _at(builder, w_array.data, builder.add(builder.mul(place, width), col))
                for t in range(vectors):
                    weight = _load(builder, _at(builder, base, ir.Constant(_I64, LANES * t)), _VECTOR)
                    builder.store(_fma(builder, factor, weight, builder.load(sums[chain][t])), sums[chain][t])

            whole = builder.sdiv(many, ir.Constant(_I64, chains))
            with cgutils.for_range(builder, whole, intp=_I64) as loop:
                k = builder.mul(loop.index, ir.Constant(_I64, chains))
                for chain in range(chains):
                    add(builder.add(k, ir.Constant(_I64, chain)), chain)
            if chains > 1:
                done = builder.mul(whole, ir.Constant(_I64, chains))
                with cgutils.for_range(builder, builder.sub(many, done), intp=_I64) as loop:
                    add(builder.add(done, loop.index), 0)
            end = row(o_array, o_row)
            for t in range(vectors):
                total = builder.load(sums[0][t])
                for chain in range(1, chains):
                    total = builder.fadd(total, builder.load(sums[chain][t]))
                _store(builder, total, _at(builder, end, ir.Constant(_I64, LANES * t)))
            return context.get_dummy_value()

        return signature, codegen

    return tile


def _matrix_at(typing: TypingContext, flat: Array, start: Type, rows: Type, columns: Type) -> Lowering:
    """Return a view of `rows` x `columns` numbers of a contiguous vector, from offset `start` on.

    The view does not keep the vector alive: use it for arguments of a kernel only, which outlive the call.
    """
    out = types.Array(flat.dtype, 2, "C")
    signature = out(flat, types.intp, types.intp, types.intp)

    def codegen(context: TargetContext, builder: ir.IRBuilder, sig: Signature, args: list[ir.Value]) -> ir.Value:
        vector, first, height, width = args
        size = _I64(context.get_abi_sizeof(context.get_data_type(out.dtype)))
        view = context.make_array(out)(context, builder)
        populate_array(
            view, _at(builder, _data(context, builder, sig.args[0], vector), first), (height, width),
            (builder.mul(width, size), size), size, None,
        )  # fmt: skip
        return view._getvalue()

    return signature, codegen


matrix_at: Callable[[Float32Array, int, int, int], Float32Array] = _intrinsic(_matrix_at)


# Eight sums in flight are enough at two fused products a cycle and a latency of four.
tile_128, tile_64, tile_32, tile_16 = _tile(8, 1), _tile(4, 2), _tile(2, 4), _tile(1, 8)


def _pack_relu(
    typing: TypingContext, pre: Type, row: Type, gates: Type, gate_row: Type, width: Type, values: Type, index: Type
) -> Lowering:
    """Write the positive entries of gates[gate_row] * pre[row] and their columns to the start of `values` and `index`.

    Returns how many there are. `width` is a multiple of 16, and the buffers are 16 longer than that.
    """
    arguments = (pre, row, gates, gate_row, width, values, index)
    signature = types.intp(*(types.intp if isinstance(a, types.Integer) else a for a in arguments))

    def codegen(context: TargetContext, builder: ir.IRBuilder, sig: Signature, args: list[ir.Value]) -> ir.Value:
        z, z_row, g, g_row, many, v, ix = args
        rows = []
        for kind, array, number in ((sig.args[0], z, z_row), (sig.args[2], g, g_row)):
            matrix = context.make_array(kind)(context, builder, array)
            rows.append(_at(builder, matrix.data, builder.mul(number, builder.extract_value(matrix.shape, 1))))
        v, ix = _data(context, builder, sig.args[5], v), _data(context, builder, sig.args[6], ix)
        total = cgutils.alloca_once_value(builder, ir.Constant(_I64, 0))
        module = builder.module
        squeeze = {
            kind: cgutils.get_or_insert_function(
                module, ir.FunctionType(kind, [kind, _MASK, kind]), f"llvm.experimental.vector.compress.v{LANES}{name}"
            )
            for kind, name in ((_VECTOR, "f32"), (_INDICES, "i32"))
        }
        count = cgutils.get_or_insert_function(
            module, ir.FunctionType(ir.IntType(16), [ir.IntType(16)]), "llvm.ctpop.i16"
        )
        steps = builder.sdiv(many, ir.Constant(_I64, LANES))
        with cgutils.for_range(builder, steps, intp=_I64) as loop:
            place = builder.mul(loop.index, ir.Constant(_I64, LANES))
            signal = builder.fmul(
                _load(builder, _at(builder, rows[0], place), _VECTOR),
                _load(builder, _at(builder, rows[1], place), _VECTOR),
            )
            # Unordered: a NaN passes, so that it reaches the loss and the candidate is rejected.
            mask = builder.fcmp_unordered(">", signal, ir.Constant(_VECTOR, None))
            places = builder.add(
                _splat(builder, builder.trunc(place, _I32), _INDICES), ir.Constant(_INDICES, list(range(LANES)))
            )
            end = builder.load(total)
            for vector, kind, target in ((signal, _VECTOR, v), (places, _INDICES, ix)):
                packed = builder.call(squeeze[kind], [vector, mask, ir.Constant(kind, ir.Undefined)])
                _store(builder, packed, _at(builder, target, end))
            bits = builder.call(count, [builder.bitcast(mask, ir.IntType(16))])
            builder.store(builder.add(end, builder.zext(bits, _I64)), total)
        return builder.load(total)

    return signature, codegen


pack_relu: Callable[[Float32Array, int, Float32Array, int, int, Float32Array, Int32Array], int] = _intrinsic(_pack_relu)


def exponential(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Return exp(x) of a vector for x <= 0; below -87 it is exp(-87), and NaN stays NaN.

    exp(x) = 2**k exp(r) with r = x - k ln 2 in [-ln2/2, ln2/2]; the degree-6 Taylor polynomial of exp(r) errs by
    r**7/5040 < 1.3e-7 relative.
    """
    function = ir.FunctionType(_VECTOR, [_VECTOR])
    floor = cgutils.get_or_insert_function(builder.module, function, f"llvm.floor.v{LANES}f32")
    # Unordered: a NaN stays one, so that the candidate is rejected.
    x = builder.select(builder.fcmp_unordered(">", x, _constant(-87.0)), x, _constant(-87.0))
    k = builder.call(floor, [_fma(builder, x, _constant(1.4426950408889634), _constant(0.5))])
    # ln 2 in two parts: k times the first is exact.
    r = _fma(builder, k, _constant(2.12194440e-4), _fma(builder, k, _constant(-0.693359375), x))
    p = _constant(1.0 / 720.0)
    for factor in (1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0):
        p = _fma(builder, p, r, _constant(factor))
    bias = ir.Constant(_INDICES, [127] * LANES)
    shift = ir.Constant(_INDICES, [23] * LANES)
    power = builder.shl(builder.add(builder.fptosi(k, _INDICES), bias), shift)
    return builder.fmul(p, builder.bitcast(power, _VECTOR))


def _exponentials(is_stored: bool, typing: TypingContext, block: Type, row: Type, width: Type) -> Lowering:
    """Return (top, sum of exp(block[row, :width] - top)), where top is the largest entry; `width` is a multiple of 16.

    Entries 87 or more below the top count as 87 below: 2**-126 of the top's. With `is_stored` the exponentials replace the entries.
    """
    signature = types.UniTuple(types.float32, 2)(block, types.intp, types.intp)

    def codegen(context: TargetContext, builder: ir.IRBuilder, sig: Signature, args: list[ir.Value]) -> ir.Value:
        array, number, many = args
        matrix = context.make_array(sig.args[0])(context, builder, array)
        start = _at(builder, matrix.data, builder.mul(number, builder.extract_value(matrix.shape, 1)))
        steps = builder.sdiv(many, ir.Constant(_I64, LANES))

        def reduce(name: str, *values: ir.Value) -> ir.Value:
            kind = ir.FunctionType(_F32, [value.type for value in values])
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.{name}.v{LANES}f32")
            return builder.call(function, values, fastmath=("reassoc",))

        largest = cgutils.alloca_once_value(builder, _constant(-3e38))
        with cgutils.for_range(builder, steps, intp=_I64) as loop:
            x = _load(builder, _at(builder, start, builder.mul(loop.index, ir.Constant(_I64, LANES))), _VECTOR)
            old = builder.load(largest)
            builder.store(builder.select(builder.fcmp_ordered(">", x, old), x, old), largest)
        top = reduce("fmax", builder.load(largest))
        tops = _splat(builder, top, _VECTOR)
        sums = cgutils.alloca_once_value(builder, _constant(0.0))
        with cgutils.for_range(builder, steps, intp=_I64) as loop:
            place = _at(builder, start, builder.mul(loop.index, ir.Constant(_I64, LANES)))
            term = exponential(builder, builder.fsub(_load(builder, place, _VECTOR), tops))
            if is_stored:
                _store(builder, term, place)
            builder.store(builder.fadd(builder.load(sums), term), sums)
        total = reduce("fadd", ir.Constant(_F32, 0.0), builder.load(sums))
        return context.make_tuple(builder, sig.return_type, [top, total])

    return signature, codegen


def _sum_exp(typing: TypingContext, block: Type, row: Type, width: Type) -> Lowering:
    """See `_exponentials`; the entries stay."""
    return _exponentials(False, typing, block, row, width)


def _store_exp(typing: TypingContext, block: Type, row: Type, width: Type) -> Lowering:
    """See `_exponentials`; the exponentials replace the entries."""
    return _exponentials(True, typing, block, row, width)


sum_exp: Callable[[Float32Array, int, int], tuple[float, float]] = _intrinsic(_sum_exp)
exponentials: Callable[[Float32Array, int, int], tuple[float, float]] = _intrinsic(_store_exp)
