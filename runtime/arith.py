"""Meaning of the scalar operations: one table from an operation to a function on arrays.

A value of type ``iN`` is held as the two's complement reading of its bits, an integer in
``-2**(N-1) .. 2**(N-1) - 1``, whatever sign an operation gives them: ``int64`` up to 64
bits, Python integers beyond. The axis of an array is the batch; an array of one element
stands for the whole batch. An ``index`` is 64 bits wide, and a plain ``int`` where it is
the same for the whole batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, IntegerAttr, IntegerType
from xdsl.ir import Attribute, Operation

from fastml.compiler.support.diagnostics import FastmlError

Array: TypeAlias = NDArray[Any]
"""Array, of either data type."""

Function: TypeAlias = Callable[..., Array]
"""From the operands of an operation to its result."""

_Unary: TypeAlias = Callable[[Array], Array]
_Binary: TypeAlias = Callable[[Array, Array], Array]

WORD = 64
"""Widest type whose values are held as ``int64``."""


@dataclass(frozen=True)
class Signature:
    """What an operation's function depends on: widths, and which comparison."""

    operand: int
    result: int
    predicate: int = 0


class Undefined(Exception):
    """The operands have no defined result."""


def width_of_type(type_: Attribute) -> int | None:
    """Return the bits of an integer or index type, or ``None`` for another type."""
    match type_:
        case IntegerType(width=width):
            return width.data
        case IndexType():
            return WORD
        case _:
            return None


@cache
def wrap(width: int) -> _Unary:
    """Return the function that reads the low ``width`` bits in two's complement."""
    if width > WORD:
        half, mask = 1 << (width - 1), (1 << width) - 1
        return lambda a: ((a + half) & mask) - half
    if width == WORD:
        return lambda a: a
    spare = np.int64(WORD - width)
    return lambda a: (a << spare) >> spare


def hold(values: Array, width: int) -> Array:
    """Reduce integers of any size to values of type ``i<width>``."""
    if width > WORD:
        return wrap(width)(values.astype(object))
    if values.dtype == object:
        word = ((values + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)
        values = word.astype(np.int64)
    return wrap(width)(values)


def constant(value: int, width: int) -> Array:
    """Return the value of a constant, for the whole batch."""
    return hold(np.array([value], dtype=object), width)


def unsigned(values: Array, width: int) -> Array:
    """Read values of type ``i<width>`` as unsigned integers."""
    if width >= WORD:
        values = values.astype(object)
    return values & ((1 << width) - 1)


def _modular(function: _Binary, signature: Signature) -> _Binary:
    reduce = wrap(signature.result)
    return lambda a, b: reduce(function(a, b))


def _plain(function: _Binary, signature: Signature) -> _Binary:
    return function


def _of_unsigned(function: _Binary, signature: Signature) -> _Binary:
    """Apply to operands whose sign bit is flipped: that orders them as unsigned."""
    bias = -(1 << (signature.operand - 1))
    return lambda a, b: function(a ^ bias, b ^ bias)


def _min_max_unsigned(function: _Binary, signature: Signature) -> _Binary:
    bias = -(1 << (signature.operand - 1))
    biased = _of_unsigned(function, signature)
    return lambda a, b: biased(a, b) ^ bias


def _shift(function: _Binary, signature: Signature) -> _Binary:
    """Shift by an unsigned amount; as many bits as the type has, or more, is undefined."""
    width = signature.operand
    reduce = wrap(width)

    def shift(a: Array, b: Array) -> Array:
        if ((b < 0) | (b >= width)).any():  # an amount with its top bit set reads < 0
            amount = max(unsigned(b, width).tolist())
            raise Undefined(f"shifts i{width} by {amount} bits")
        return reduce(function(a, b))

    return shift


def _logical_shift_right(a: Array, b: Array, *, width: int) -> Array:
    # The bits that an arithmetic shift copies from the sign are cleared.
    kept = width - b
    return np.where(b == 0, a, (a >> b) & ((1 << np.minimum(kept, width - 1)) - 1))


def _shift_right_unsigned(signature: Signature) -> _Binary:
    width = signature.operand
    return _shift(partial(_logical_shift_right, width=width), signature)


def _extend_signed(signature: Signature) -> _Unary:
    if signature.result > WORD >= signature.operand:
        return lambda a: a.astype(object)
    return lambda a: a


def _extend_unsigned(signature: Signature) -> _Unary:
    mask = (1 << signature.operand) - 1
    if signature.result > WORD:
        return lambda a: a.astype(object) & mask
    return lambda a: a & mask


def _truncate(signature: Signature) -> _Unary:
    if signature.operand > WORD:
        return lambda a: hold(a, signature.result)
    return wrap(signature.result)


def _select(signature: Signature) -> Function:
    def select(condition: Array, a: Array, b: Array) -> Array:
        return np.where(condition != 0, a, b)

    return select


def _index_cast(signature: Signature) -> _Unary:
    return lambda a: hold(np.atleast_1d(a), signature.result)


_SIGNED = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
_COMPARISONS = [(f, _plain) for f in _SIGNED] + [(f, _of_unsigned) for f in _SIGNED[2:]]


def _compare(signature: Signature) -> _Binary:
    function, reading = _COMPARISONS[signature.predicate]
    relation = reading(function, signature)
    return lambda a, b: -np.asarray(relation(a, b)).astype(np.int64)


SEMANTICS: Mapping[type[Operation], Callable[[Signature], Function]] = {
    arith.AddiOp: partial(_modular, np.add),
    arith.SubiOp: partial(_modular, np.subtract),
    arith.MuliOp: partial(_modular, np.multiply),
    arith.AndIOp: partial(_plain, np.bitwise_and),
    arith.OrIOp: partial(_plain, np.bitwise_or),
    arith.XOrIOp: partial(_plain, np.bitwise_xor),
    arith.MinSIOp: partial(_plain, np.minimum),
    arith.MaxSIOp: partial(_plain, np.maximum),
    arith.MinUIOp: partial(_min_max_unsigned, np.minimum),
    arith.MaxUIOp: partial(_min_max_unsigned, np.maximum),
    arith.ShLIOp: partial(_shift, np.left_shift),
    arith.ShRSIOp: partial(_shift, np.right_shift),
    arith.ShRUIOp: _shift_right_unsigned,
    arith.ExtSIOp: _extend_signed,
    arith.ExtUIOp: _extend_unsigned,
    arith.TruncIOp: _truncate,
    arith.CmpiOp: _compare,
    arith.SelectOp: _select,
    arith.IndexCastOp: _index_cast,
}
"""Operation to the function that computes its result, given its signature."""


@cache
def _build(operation: type[Operation], signature: Signature) -> Function:
    return SEMANTICS[operation](signature)


def function_of(op: Operation) -> Function:
    """Return the function that computes the one result of ``op`` from its operands."""
    operand = width_of_type(op.operands[-1].type)
    result = width_of_type(op.results[0].type)
    if operand is None or result is None or not operand or not result:
        raise FastmlError("works on integers of at least one bit here", op)
    flags = getattr(op, "overflow_flags", None)
    if flags is not None and flags.data:
        raise FastmlError("overflow flags are not supported", op)
    predicate = 0
    if isinstance(op, arith.CmpiOp):
        predicate = op.predicate.value.data
        if not 0 <= predicate < len(_COMPARISONS):
            raise FastmlError(f"unknown predicate {predicate}", op)
    function = _build(type(op), Signature(operand, result, predicate))
    if isinstance(op, arith.ShLIOp | arith.ShRSIOp | arith.ShRUIOp):
        function = _blame(op, function)
    if isinstance(op.operands[-1].type, IndexType):
        return _on_index(function, isinstance(op.results[0].type, IndexType))
    if isinstance(op.results[0].type, IndexType):
        return _to_index(function)
    return function


def _blame(op: Operation, function: Function) -> Function:
    """Name ``op`` where its operands have no defined result."""

    def apply(a: Array, b: Array) -> Array:
        try:
            return function(a, b)
        except Undefined as error:
            raise FastmlError(str(error), op) from error

    return apply


def _on_index(function: Function, to_index: bool) -> Function:
    """Let a function on arrays take indices, which may be plain integers."""

    def apply(*operands: Any) -> Any:
        result = function(*(np.atleast_1d(operand) for operand in operands))
        return _uniform(result) if to_index else result

    return apply


def _to_index(function: Function) -> Function:
    def apply(operand: Array) -> Any:
        return _uniform(function(operand))

    return apply


def _uniform(values: Array) -> Any:
    """Return a plain integer where one value stands for the whole batch."""
    return int(values[0]) if len(values) == 1 else values


def constant_of(op: arith.ConstantOp) -> Any:
    """Return the value of a constant: an array, or an ``int`` for an index."""
    width = width_of_type(op.result.type)
    if not isinstance(op.value, IntegerAttr) or not width:
        raise FastmlError("only integer constants are supported", op)
    value = op.value.value.data
    return value if isinstance(op.result.type, IndexType) else constant(value, width)
