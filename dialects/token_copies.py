"""What a function that only copies elements copies whence: its loops, run on index arrays.

The function of a process that reads tokens at random is loops around loads, choices among
them and constants, changes of width, and stores, all of whose indices are known without any
data. :func:`copies_of` runs such a body on whole ranges of the counters at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    MemRefType,
    ModuleOp,
)
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.ir.affine import (
    AffineBinaryOpExpr,
    AffineBinaryOpKind,
    AffineConstantExpr,
    AffineDimExpr,
    AffineExpr,
    AffineMap,
    AffineSymExpr,
)
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError

Numbers: TypeAlias = NDArray[Any]
"""Indices, or constants: a number for each run of the loops around, broadcast."""

CHUNK = 1 << 20
"""Elements that are followed at a time."""


@dataclass(frozen=True, eq=False)
class Copied:
    """Elements of an input, or constants, before some changes of width."""

    source: Numbers
    """Place in the input; -1 for a constant."""
    constant: Numbers
    """What it is otherwise, as two's complement."""
    casts: tuple[Operation, ...] = ()


@dataclass(frozen=True, eq=False)
class Stored:
    """Elements that one store puts into an output."""

    op: Operation
    target: SSAValue
    places: NDArray[np.int64]
    """Row-major, in the output."""
    source: NDArray[np.int64]
    """Row-major, in the input; -1 for a constant."""
    constant: Numbers
    casts: tuple[Operation, ...]


Value: TypeAlias = Numbers | Copied


def copies_of(function: func.FuncOp, source: SSAValue) -> Iterator[Stored]:
    """Yield what the stores of a function do, some runs of its outer loops at a time.

    ``source`` is the argument that it copies from; it may read no other. Raise
    :class:`FastmlError` at what is no copy, and where an index is outside.
    """
    module = function.parent_op()
    assert isinstance(module, ModuleOp)
    constants = {op.sym_name.data: op for op in module.ops if isinstance(op, memref.GlobalOp)}
    yield from _Walk(function, source, constants).run()


class _Walk:
    """Follows the operations of one function."""

    def __init__(
        self, function: func.FuncOp, source: SSAValue, constants: Mapping[str, memref.GlobalOp]
    ):
        self.function, self.source, self.constants = function, source, constants
        self.depth = _depth(function.body.block)
        self.values: dict[SSAValue, Value] = {}
        self.arrays: dict[SSAValue, Numbers] = {}
        self.arguments = set[SSAValue](function.body.block.args)
        self.counters: list[Numbers] = []
        """Of the loops around."""
        self.handlers: Mapping[type[Operation], Callable[[Any], Value]] = {
            arith.ConstantOp: self._constant,
            affine.ApplyOp: lambda op: self._map(op.map.data, op.mapOperands, op)[0],
            arith.IndexCastOp: lambda op: _wrap(self._number(op.input, op), op.result.type),
            arith.AddiOp: lambda op: self._arithmetic(np.add, op),
            arith.SubiOp: lambda op: self._arithmetic(np.subtract, op),
            arith.MuliOp: lambda op: self._arithmetic(np.multiply, op),
            arith.AndIOp: self._and,
            arith.CmpiOp: self._compare,
            arith.SelectOp: self._select,
            arith.ExtSIOp: self._cast,
            arith.ExtUIOp: self._cast,
            arith.TruncIOp: self._cast,
            affine.LoadOp: self._load,
            memref.LoadOp: self._load,
        }

    def run(self) -> Iterator[Stored]:
        """Follow the whole function."""
        yield from self._block(self.function.body.block, 0)

    def _block(self, block: Block, level: int) -> Iterator[Stored]:
        for op in block.ops:
            match op:
                case affine.ForOp():
                    yield from self._loop(op, level)
                case affine.StoreOp() | memref.StoreOp():
                    yield self._store(op)
                case memref.GetGlobalOp():
                    self.arrays[op.memref] = self._array(op)
                case affine.YieldOp() | func.ReturnOp():
                    pass
                case _ if type(op) in self.handlers:
                    self.values[op.results[0]] = self.handlers[type(op)](op)
                case _:
                    raise _refuse("has no place in a function that copies tokens", op)

    def _loop(self, op: affine.ForOp, level: int) -> Iterator[Stored]:
        """Follow a loop: all at once, unless that is too much."""
        match op.lowerBoundMap.data.results, op.upperBoundMap.data.results:
            case (AffineConstantExpr(value=start),), (AffineConstantExpr(value=stop),):
                counts = np.arange(start, stop, op.step.value.data)
            case _:
                raise _refuse("bounds of a loop that copies tokens are constants", op)
        if op.inits:
            raise _refuse("a loop that copies tokens hands nothing on", op)
        body = op.body.block
        inner = _runs(body)
        step = max(CHUNK // max(inner, 1), 1) if level == 0 else len(counts)
        shape = [1] * self.depth
        shape[level] = -1
        for first in range(0, len(counts), step):
            counter = counts[first : first + step].reshape(shape)
            self.values[body.args[0]] = counter
            self.counters.append(counter)
            yield from self._block(body, level + 1)
            self.counters.pop()

    def _array(self, op: memref.GetGlobalOp) -> Numbers:
        made = self.constants.get(op.name_.string_value())
        if made is None or made.constant is None:
            raise _refuse("is no constant", op)
        if not isinstance(made.initial_value, DenseIntOrFPElementsAttr):
            raise _refuse("has no dense value", op)
        words = np.array(list(made.initial_value.get_values()), object)
        size = prod(_shape(op.memref))
        words = np.broadcast_to(words, (size,))
        assert isa(op.memref.type, MemRefType)
        return np.array([_wrapped(word, op.memref.type.element_type) for word in words.tolist()])

    # Operations

    def _number(self, value: SSAValue, op: Operation) -> Numbers:
        found = self.values.get(value)
        if found is None or isinstance(found, Copied):
            raise _refuse("depends on data", op)
        return found

    def _constant(self, op: arith.ConstantOp) -> Value:
        match op.value:
            case IntegerAttr(value=number, type=kind):
                return np.array(_wrapped(number.data, kind))
            case _:
                raise _refuse("is no integer", op)

    def _map(self, found: AffineMap, dims: Any, op: Operation) -> list[Numbers]:
        operands = [self._number(dim, op) for dim in dims]
        return [_expression(e, operands, found.num_dims, op) for e in found.results]

    def _arithmetic(self, compute: Callable[..., Numbers], op: Operation) -> Value:
        a, b = (self._number(operand, op) for operand in op.operands)
        return _wrap(compute(a, b), op.results[0].type)

    def _and(self, op: arith.AndIOp) -> Value:
        return self._number(op.lhs, op) & self._number(op.rhs, op)

    def _compare(self, op: arith.CmpiOp) -> Value:
        a, b = self._number(op.lhs, op), self._number(op.rhs, op)
        names = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
        name = names[op.predicate.value.data]
        if name[0] == "u":
            a, b = (np.asarray(x, np.int64).view(np.uint64) for x in (a, b))
        compare: dict[str, Any] = {
            "eq": np.equal,
            "ne": np.not_equal,
            "lt": np.less,
            "le": np.less_equal,
            "gt": np.greater,
            "ge": np.greater_equal,
        }
        return compare[name[-2:]](a, b)

    def _select(self, op: arith.SelectOp) -> Value:
        condition = self._number(op.cond, op).astype(bool)
        a, b = self.values[op.lhs], self.values[op.rhs]
        if not isinstance(a, Copied) and not isinstance(b, Copied):
            return np.where(condition, a, b)
        a, b = (x if isinstance(x, Copied) else Copied(np.array(-1), x) for x in (a, b))
        # A change of width alters elements alone: constants are what they are by now.
        casts = {x.casts for x in (a, b) if x.source.max() >= 0}
        if len(casts) > 1:
            raise _refuse("chooses among elements of different widths", op)
        source = np.where(condition, a.source, b.source)
        constant = np.where(condition, a.constant, b.constant)
        return Copied(source, constant, next(iter(casts), ()))

    def _cast(self, op: Operation) -> Value:
        (operand,) = op.operands
        value = self.values[operand]
        kind = op.results[0].type
        if not isinstance(value, Copied):
            bits = _bits(operand.type)
            if isinstance(op, arith.ExtUIOp):
                value = value & ((1 << bits) - 1)
            elif isinstance(op, arith.ExtSIOp) and bits == 1:
                value = -value.astype(np.int64)  # a bit is kept as 0 or 1
            return _wrap(value, kind)
        if (value.source < 0).any():
            raise _refuse("changes the width of a choice", op)
        return Copied(value.source, value.constant, (*value.casts, op))

    def _load(self, op: Operation) -> Value:
        source = op.operands[0]
        flat = self._flat(op, source)
        if source in self.arrays:
            return self.arrays[source][flat]
        if source is not self.source:
            raise _refuse("reads what is not the input", op)
        return Copied(flat, np.array(0))

    def _store(self, op: affine.StoreOp | memref.StoreOp) -> Stored:
        if op.memref not in self.arguments:
            raise _refuse("stores to what is no output", op)
        value = self.values[op.value]
        if not isinstance(value, Copied):
            value = Copied(np.array(-1), value)
        places = self._flat(op, op.memref)
        where, source, constant, *_ = np.broadcast_arrays(
            places, value.source, value.constant, *self.counters
        )
        return Stored(
            op, op.memref, where.reshape(-1), source.reshape(-1), constant.reshape(-1), value.casts
        )

    def _flat(self, op: Operation, array: SSAValue) -> Numbers:
        """Return the row-major place that a load or a store accesses."""
        if isinstance(op, affine.LoadOp | affine.StoreOp):
            indices = self._map(op.map.data, op.indices, op)
        else:
            assert isinstance(op, memref.LoadOp | memref.StoreOp)
            indices = [self._number(index, op) for index in op.indices]
        flat: Numbers = np.array(0)
        for size, index in zip(_shape(array), indices, strict=True):
            low, high = int(index.min()), int(index.max())
            if low < 0 or high >= size:
                raise _refuse(f"index runs from {low} to {high}, outside of {array.type}", op)
            flat = flat * size + index
        return flat


def _refuse(message: str, at: Operation) -> FastmlError:
    return FastmlError(message, at, code="FML-SCHEDULE")


def _shape(array: SSAValue) -> tuple[int, ...]:
    assert isa(array.type, MemRefType)
    return array.type.get_shape()


def _bits(kind: Attribute) -> int:
    assert isa(kind, IntegerType)
    return kind.width.data


def _wrapped(word: int, kind: Attribute) -> int:
    """Return a number as two's complement of its type."""
    if isinstance(kind, IndexType):
        return word
    width = _bits(kind)
    half = (1 << width) >> 1
    return ((word & (2 * half - 1)) ^ half) - half if width > 1 else word & 1


def _wrap(numbers: Numbers, kind: Attribute) -> Numbers:
    """Return numbers as two's complement of their type."""
    if isinstance(kind, IndexType):
        return numbers
    words = [_wrapped(int(word), kind) for word in numbers.reshape(-1).tolist()]
    return np.array(words, object).reshape(numbers.shape)


def _depth(block: Block) -> int:
    inner = [_depth(op.body.block) for op in block.ops if isinstance(op, affine.ForOp)]
    return 1 + max(inner) if inner else 0


def _runs(block: Block) -> int:
    """Return how many elements one run of a block touches, at most."""
    total = 1
    for op in block.ops:
        if isinstance(op, affine.ForOp):
            match op.upperBoundMap.data.results:
                case (AffineConstantExpr(value=stop),):
                    total = max(total, max(stop, 1) * _runs(op.body.block))
                case _:
                    pass
    return total


def _expression(
    expression: AffineExpr, operands: list[Numbers], dims: int, op: Operation
) -> Numbers:
    match expression:
        case AffineConstantExpr(value=number):
            return np.array(number)
        case AffineDimExpr(position=position):
            return operands[position]
        case AffineSymExpr(position=position):
            return operands[dims + position]
        case AffineBinaryOpExpr(kind=kind, lhs=lhs, rhs=rhs):
            a, b = (_expression(e, operands, dims, op) for e in (lhs, rhs))
        case _:
            raise _refuse(f"index '{expression}' is not supported", op)
    match kind:
        case AffineBinaryOpKind.Add:
            return a + b
        case AffineBinaryOpKind.Mul:
            return a * b
        case _ if b.min() <= 0:
            raise _refuse(f"'{kind.get_token()}' by {b.min()} in an index", op)
        case AffineBinaryOpKind.Mod:
            return a % b
        case AffineBinaryOpKind.FloorDiv:
            return a // b
        case _:
            return -(-a // b)
