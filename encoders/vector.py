"""Vector primitives for compiled kernels: short products and sums on rows of float32 arrays.

LLVM does not vectorise reductions over runs as short as a head (8 .. 32 values) whose length it does not know: its
vector loop handles 32 or 64 values a turn and leaves the rest to scalars. These take 8 lanes a turn, which more than
halves the time of the attention kernels. Offsets count values from the start of a C-contiguous array.
"""

from __future__ import annotations

import math
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError

__all__ = ["add_scaled", "dot", "fast_exp", "sigmoid", "signed_log", "tanh"]

# mypy would hold callers to the signature of the code generator.
intrinsic: Any = numba.extending.intrinsic

LANES = 8
FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
FUSED = ("contract",)


def _require_rows(name: str, *arrays: Any) -> None:
    """Offsets are meaningless in other layouts, and other numbers would be read as float32."""
    for array in arrays:
        if array.dtype != types.float32 or array.layout != "C":
            raise TypingError(f"{name} takes C-contiguous float32 arrays, got {array}")


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _load(builder: Any, pointer: Any, index: Any) -> Any:
    loaded = builder.load(builder.bitcast(builder.gep(pointer, [index]), VECTOR.as_pointer()))
    loaded.align = 4
    return loaded


def _horizontal_sum(builder: Any, vector: Any) -> Any:
    width = LANES
    index = ir.IntType(32)
    while width > 1:
        width //= 2
        lower, upper = (
            builder.shuffle_vector(
                vector, ir.Constant(vector.type, ir.Undefined), ir.Constant(ir.VectorType(index, width), lanes)
            )
            for lanes in (list(range(width)), list(range(width, 2 * width)))
        )
        vector = builder.fadd(lower, upper)
    return builder.extract_element(vector, ir.Constant(index, 0))


@intrinsic
def dot(typing_context: Any, a: Any, i: Any, b: Any, j: Any, n: Any) -> Any:  # noqa: ARG001
    """sum of a.flat[i + l] * b.flat[j + l] over l < n."""
    _require_rows("dot", a, b)
    signature = types.float32(a, types.intp, b, types.intp, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left = _pointer(context, builder, signature.args[0], args[0], args[1])
        right = _pointer(context, builder, signature.args[2], args[2], args[3])
        n = args[4]
        size = n.type
        whole = builder.and_(n, ir.Constant(size, -LANES))
        lanes = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * LANES))
        with cgutils.for_range_slice(builder, ir.Constant(size, 0), whole, ir.Constant(size, LANES), size) as (
            index,
            _,
        ):
            product = builder.fmul(_load(builder, left, index), _load(builder, right, index), flags=FUSED)
            builder.store(builder.fadd(builder.load(lanes), product, flags=FUSED), lanes)
        total = cgutils.alloca_once_value(builder, _horizontal_sum(builder, builder.load(lanes)))
        with cgutils.for_range_slice(builder, whole, n, ir.Constant(size, 1), size) as (index, _):
            x, y = (builder.load(builder.gep(pointer, [index])) for pointer in (left, right))
            product = builder.fmul(x, y, flags=FUSED)
            builder.store(builder.fadd(builder.load(total), product, flags=FUSED), total)
        return builder.load(total)

    return signature, codegen


@intrinsic
def add_scaled(typing_context: Any, scale: Any, a: Any, i: Any, out: Any, j: Any, n: Any) -> Any:  # noqa: ARG001
    """out.flat[j + l] += scale * a.flat[i + l] for l < n."""
    _require_rows("add_scaled", a, out)
    signature = types.void(types.float32, a, types.intp, out, types.intp, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = _pointer(context, builder, signature.args[1], args[1], args[2])
        target = _pointer(context, builder, signature.args[3], args[3], args[4])
        scale, n = args[0], args[5]
        size = n.type
        whole = builder.and_(n, ir.Constant(size, -LANES))
        first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scale, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        scales = builder.shuffle_vector(first, ir.Constant(VECTOR, ir.Undefined), zeros)
        with cgutils.for_range_slice(builder, ir.Constant(size, 0), whole, ir.Constant(size, LANES), size) as (
            index,
            _,
        ):
            product = builder.fmul(scales, _load(builder, source, index), flags=FUSED)
            total = builder.fadd(_load(builder, target, index), product, flags=FUSED)
            stored = builder.store(total, builder.bitcast(builder.gep(target, [index]), VECTOR.as_pointer()))
            stored.align = 4
        with cgutils.for_range_slice(builder, whole, n, ir.Constant(size, 1), size) as (index, _):
            place = builder.gep(target, [index])
            product = builder.fmul(scale, builder.load(builder.gep(source, [index])), flags=FUSED)
            builder.store(builder.fadd(builder.load(place), product, flags=FUSED), place)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], FLOAT)

    return types.float32(types.int32), codegen


@intrinsic
def _bits_of(typing_context: Any, x: Any) -> Any:  # noqa: ARG001
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _double_of_bits(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH = np.float32(0.693359375)
LN2_LOW = np.float32(-2.12194440e-4)
ONE, TWO, HALF = np.float32(1.0), np.float32(2.0), np.float32(0.5)
HIGHEST, LOWEST = np.float32(88.0), np.float32(-87.0)
P0, P1, P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P3, P4, P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


@njit(cache=True, nogil=True, inline="always")
def fast_exp(x):  # type: ignore[no-untyped-def]
    """exp(x) in float32 to 2 units in the last place, without a call, so that loops over it vectorise.

    Clamped to [-87, 88]. Source: Cephes `expf` (Moshier).
    """
    x = min(max(x, LOWEST), HIGHEST)
    # Adding 127.5 keeps the argument of the truncation positive, which makes it a rounding to nearest.
    n = np.int32(x * LOG2_E + np.float32(127.5)) - np.int32(127)
    whole = np.float32(n)
    r = x - whole * LN2_HIGH - whole * LN2_LOW
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    return (p * r * r + r + ONE) * _float_of_bits(np.int32((n + np.int32(127)) << np.int32(23)))


@njit(cache=True, nogil=True, inline="always")
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Logistic function in float32."""
    return ONE / (ONE + fast_exp(-x))


@njit(cache=True, nogil=True, inline="always")
def tanh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent in float32 (absolute error below 2e-7)."""
    return ONE - TWO / (ONE + fast_exp(TWO * x))


SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
LN2_UPPER, LN2_LOWER = 6.93147180369123816490e-01, 1.90821492927058770002e-10
L1, L2, L3, L4 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01
L5, L6, L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01


@njit(cache=True, nogil=True, inline="always")
def signed_log(x):  # type: ignore[no-untyped-def]
    """sign(x) log(1 + |x|) in float64 to 2 units in the last place, without a call, so that loops over it vectorise.

    NaN where x is not finite. Source: FreeBSD msun `e_log.c`, `s_log1p.c` (Sun Microsystems).
    """
    size = abs(x)
    u = 1.0 + size
    bits = _bits_of(u)
    # u = 2^n m with m in [sqrt(1/2), sqrt(2)).
    n = (bits - SQRT_HALF_BITS) >> 52
    f = _double_of_bits(bits - (n << 52)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = z * (L1 + z * (L2 + z * (L3 + z * (L4 + z * (L5 + z * (L6 + z * L7))))))
    half = 0.5 * f * f
    whole = np.float64(n)
    # What 1 + |x| lost to rounding, which is all of a small x.
    lost = (size - (u - 1.0)) / u
    log = whole * LN2_UPPER - ((half - (s * (half + r) + (whole * LN2_LOWER + lost))) - f)
    return math.copysign(log, x)
