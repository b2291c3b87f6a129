"""A numba type for many floats at once: what a kernel over environments computes with.

numba vectorises a loop only where it can prove that no arrays overlap, which it cannot for the many small arrays of a simulation. This
type says it instead: arithmetic, comparison and selection act on `LANES` float32 values, and LLVM maps them to whatever registers the
machine has. Inside compiled functions only:

    a = load(array, i)              # array[i] of a C-contiguous float32 array [..., LANES]
    store(array, i, a * 2.0 + 1.0)
    select(a > 0.0, a, b), minimum(a, b), maximum(a, b), square_root(a), gather(table, i, stride, column), any_lane(a > 0.0)
"""

from __future__ import annotations

import operator
from typing import Any

import numba.extending
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.datamodel.registry import register_default
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.np.arrayobj import make_array

__all__ = [
    "LANES",
    "any_lane",
    "as_float",
    "gather",
    "load",
    "maximum",
    "minimum",
    "select",
    "splat",
    "square_root",
    "store",
    "truncate",
]

LANES = 32
"""Environments per operation: two of the widest registers there are, so that one half computes while the other waits."""

intrinsic: Any = numba.extending.intrinsic

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


class LanesType(types.Type):
    """`LANES` values: "float32", "int32" or "bool"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(name=f"Lanes({kind})")


lanes_f32, lanes_i32, lanes_bool = LanesType("float32"), LanesType("int32"), LanesType("bool")


@register_default(LanesType)
class _LanesModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: LanesType) -> None:
        backend = {"float32": _FLOATS, "int32": _INTS, "bool": _BITS}[fe_type.kind]
        super().__init__(dmm, fe_type, backend)


def _spread(builder: Any, value: Any, vector_type: Any = _FLOATS) -> Any:
    undefined = ir.Constant(vector_type, ir.Undefined)
    vector = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(vector, undefined, ir.Constant(_INTS, [0] * LANES))


def _as_lanes(context: Any, builder: Any, value: Any, kind: Any) -> Any:
    if isinstance(kind, LanesType):
        return value
    return _spread(builder, context.cast(builder, value, kind, types.float32))


def _is_mixed(args: tuple[Any, ...]) -> bool:
    return (
        len(args) == 2
        and any(a == lanes_f32 for a in args)
        and all(a == lanes_f32 or isinstance(a, types.Float | types.Integer) for a in args)
    )


def _define(function: Any, result: LanesType, emit: Any) -> None:
    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:  # noqa: ARG002
            return signature(result, *args) if _is_mixed(args) else None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_as_lanes(context, builder, value, kind) for value, kind in zip(args, sig.args, strict=True))
        return emit(builder, a, b)

    for left, right in ((LanesType, LanesType), (LanesType, types.Number), (types.Number, LanesType)):
        lower_builtin(function, left, right)(lower)


_FAST = ("fast",)
for _function in (operator.add, operator.iadd):
    _define(_function, lanes_f32, lambda builder, a, b: builder.fadd(a, b, flags=_FAST))
for _function in (operator.sub, operator.isub):
    _define(_function, lanes_f32, lambda builder, a, b: builder.fsub(a, b, flags=_FAST))
for _function in (operator.mul, operator.imul):
    _define(_function, lanes_f32, lambda builder, a, b: builder.fmul(a, b, flags=_FAST))
_define(operator.truediv, lanes_f32, lambda builder, a, b: builder.fdiv(a, b, flags=_FAST))
_define(operator.gt, lanes_bool, lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_define(operator.lt, lanes_bool, lambda builder, a, b: builder.fcmp_ordered("<", a, b))


def minimum(a: Any, b: Any) -> Any:  # noqa: ARG001
    """The smaller in each lane."""
    raise RuntimeError("minimum is for compiled functions")


def maximum(a: Any, b: Any) -> Any:  # noqa: ARG001
    """The larger in each lane."""
    raise RuntimeError("maximum is for compiled functions")


_define(minimum, lanes_f32, lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
_define(maximum, lanes_f32, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = make_array(kind)(context, builder, array).data
    first = builder.mul(index, ir.Constant(index.type, LANES))
    return builder.bitcast(builder.gep(data, [first]), _FLOATS.as_pointer())


def _check_array(array: Any) -> None:
    if not (isinstance(array, types.Array) and array.dtype == types.float32 and array.layout == "C"):
        raise TypeError(f"lanes live in C-contiguous float32 arrays, not in {array}")


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Lanes number `index` of a C-contiguous array [..., LANES], counted along all other axes."""
    _check_array(array)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, sig.args[0], *args), align=4)

    return lanes_f32(array, types.intp), emit


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:  # noqa: ARG001
    """Write lanes number `index` of a C-contiguous array [..., LANES]."""
    _check_array(array)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, sig.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes_f32), emit


@intrinsic
def splat(typingctx: Any, value: Any) -> Any:  # noqa: ARG001
    """The same number in every lane."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _as_lanes(context, builder, args[0], sig.args[0])

    return lanes_f32(value), emit


@intrinsic
def select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:  # noqa: ARG001
    """`a` in the lanes where the condition holds, else `b`."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_as_lanes(context, builder, v, k) for v, k in zip(args[1:], sig.args[1:], strict=True))
        return builder.select(args[0], a, b)

    return lanes_f32(lanes_bool, a, b), emit


@intrinsic
def any_lane(typingctx: Any, condition: Any) -> Any:  # noqa: ARG001
    """Whether the condition holds in any lane."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ARG001
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(lanes_bool), emit


@intrinsic
def square_root(typingctx: Any, value: Any) -> Any:  # noqa: ARG001
    """The square root of each lane."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ARG001
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOATS, [_FLOATS]), f"llvm.sqrt.v{LANES}f32"
        )
        return builder.call(function, args, fastmath=_FAST)

    return lanes_f32(lanes_f32), emit


@intrinsic
def truncate(typingctx: Any, value: Any) -> Any:  # noqa: ARG001
    """The whole part of each lane, for `gather`."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.fptosi(args[0], _INTS)

    return lanes_i32(lanes_f32), emit


@intrinsic
def as_float(typingctx: Any, value: Any) -> Any:  # noqa: ARG001
    """Whole numbers as floats."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.sitofp(args[0], _FLOATS)

    return lanes_f32(lanes_i32), emit


@intrinsic
def gather(typingctx: Any, table: Any, index: Any, stride: Any, column: Any) -> Any:  # noqa: ARG001
    """`table.flat[index * stride + column]` in each lane; an index past the table, or of a NaN, reads its last row.

    A kernel has no other guard against reading outside: whatever a lane holds, the process survives and the NaN shows.
    """
    _check_array(table)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide, pointers = ir.VectorType(ir.IntType(64), LANES), ir.VectorType(ir.FloatType().as_pointer(), LANES)
        array = make_array(sig.args[0])(context, builder, args[0])
        room = builder.sub(builder.sub(array.nitems, args[3]), ir.Constant(ir.IntType(64), 1))
        last = _spread(builder, builder.trunc(builder.udiv(room, args[2]), ir.IntType(32)), _INTS)
        row = builder.select(builder.icmp_unsigned("<", args[1], last), args[1], last)
        first = builder.ptrtoint(builder.gep(array.data, [args[3]]), ir.IntType(64))
        size = _spread(builder, builder.mul(args[2], ir.Constant(args[2].type, 4)), wide)
        offset = builder.mul(builder.zext(row, wide), size)
        addresses = builder.inttoptr(builder.add(offset, _spread(builder, first, wide)), pointers)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_FLOATS, [pointers, ir.IntType(32), _BITS, _FLOATS]),
            f"llvm.masked.gather.v{LANES}f32.v{LANES}p0",
        )
        everywhere = ir.Constant(_BITS, [1] * LANES)
        return builder.call(
            function, [addresses, ir.Constant(ir.IntType(32), 4), everywhere, ir.Constant(_FLOATS, ir.Undefined)]
        )

    return lanes_f32(table, lanes_i32, types.intp, types.intp), emit
