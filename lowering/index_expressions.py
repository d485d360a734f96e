"""Index expressions of loop nests, as linear functions of the iteration counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import IntegerAttr, IntegerType, MemRefType
from xdsl.ir import Operation, SSAValue
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
from fastml.lowering.constants import constant_words


@dataclass(eq=False)
class Loop:
    """One ``affine.for`` with constant bounds, and when its iterations start.

    Iteration ``k`` (from 0) starts ``start + k * interval`` cycles after the iteration of
    the enclosing loop, or after the frame, in which the loop is executed.
    """

    op: affine.ForOp
    parent: "Loop | None"
    lower: int
    step: int
    trips: int
    interval: int
    start: int

    @property
    def span(self) -> int:
        """Cycles from the first iteration to the end of the last interval."""
        return self.trips * self.interval

    @property
    def chain(self) -> "tuple[Loop, ...]":
        """Return the loops around the body, outermost first."""
        return (*(self.parent.chain if self.parent is not None else ()), self)


@dataclass(frozen=True)
class Linear:
    """``constant + sum(factors[loop] * iteration count of loop)``, or ``constant + table``."""

    constant: int
    factors: Mapping[Loop, int] = field(default_factory=dict[Loop, int])
    table: "Table | None" = None

    @property
    def varies(self) -> bool:
        """Whether it is not the same in every iteration."""
        return bool(self.factors) or self.table is not None

    def __add__(self, other: "Linear") -> "Linear":
        if self.table is not None or other.table is not None:
            table, by = (self, other) if self.table is not None else (other, self)
            assert not by.varies, "the sum was checked"
            return replace(table, constant=table.constant + by.constant)
        factors = dict(self.factors)
        for loop, factor in other.factors.items():
            factors[loop] = factors.get(loop, 0) + factor
        kept = {loop: factor for loop, factor in factors.items() if factor}
        return Linear(self.constant + other.constant, kept)

    def scaled(self, by: int) -> "Linear":
        """Multiply by a constant."""
        if self.table is not None:
            words = tuple(word * by for word in self.table.words)
            return Linear(self.constant * by, table=replace(self.table, words=words))
        factors = {loop: factor * by for loop, factor in self.factors.items() if by}
        return Linear(self.constant * by, factors)

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value over all iterations."""
        low = high = self.constant
        if self.table is not None:
            words = self.table.words
            return low + min(words), high + max(words)
        for loop, factor in self.factors.items():
            reach = factor * (loop.trips - 1)
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low, high


@dataclass(frozen=True)
class Table:
    """An index that a constant memory gives: ``words[at]``.

    Only the part of the memory that ``at`` reaches is here, so that ``at`` starts at 0.
    """

    words: tuple[int, ...]
    at: Linear
    word: SSAValue
    """What was loaded."""


def reachable(words: Sequence[int], at: Linear) -> tuple[Sequence[int], Linear]:
    """Return the part of some words that an index reaches, and the index from there on."""
    low, high = at.bounds
    return words[low : high + 1], replace(at, constant=at.constant - low)


class IndexExpressions:
    """The linear function behind every value of type ``index``."""

    def __init__(self) -> None:
        self._of: dict[SSAValue, Linear] = {}
        self._words: dict[str, Sequence[int]] = {}

    def enter(self, loop: Loop) -> None:
        """Record the induction variable of ``loop``."""
        variable = loop.op.body.block.args[0]
        self._of[variable] = Linear(loop.lower, {loop: loop.step})

    def of(self, value: SSAValue, user: Operation) -> Linear:
        """Return the function behind ``value``, which ``user`` needs."""
        found = self._of.get(value)
        if found is None:
            found = self._of[value] = self._derive(value, user)
        return found

    def _derive(self, value: SSAValue, user: Operation) -> Linear:
        match value.owner:
            case arith.ConstantOp(value=IntegerAttr(value=number)):
                return Linear(number.data)
            case affine.ApplyOp() as op:
                (result,) = self.evaluate(op.map.data, op.mapOperands, op)
                return result
            case arith.AddiOp(lhs=lhs, rhs=rhs) as op:
                return _sum(self.of(lhs, user), self.of(rhs, user), op)
            case arith.SubiOp(lhs=lhs, rhs=rhs) as op:
                return _sum(self.of(lhs, user), self.of(rhs, user).scaled(-1), op)
            case arith.MuliOp(lhs=lhs, rhs=rhs) as op:
                return _product(self.of(lhs, user), self.of(rhs, user), op)
            case arith.IndexCastOp(input=word) if is_constant_load(word):
                return self._table(word)
            case _:
                raise FastmlError(
                    "an index that depends on data, or on anything but loop counters, "
                    "constants and constant memories, is not supported",
                    user,
                )

    def _table(self, word: SSAValue) -> Linear:
        """Return the index that a constant memory gives."""
        op = word.owner
        assert isinstance(op, affine.LoadOp | memref.LoadOp)
        source = op.memref.owner
        assert isinstance(source, memref.GetGlobalOp)
        word_type = word.type
        assert isa(word_type, IntegerType)
        width = word_type.width.data
        half = 1 << (width - 1)  # a cast to an index reads two's complement
        words, at = reachable(self.words(source), self.address(op))
        words = [((number + half) & (2 * half - 1)) - half for number in words]
        if at.table is not None:
            raise FastmlError("an index from a memory whose index is from one is too much", op)
        if not at.varies:
            return Linear(words[0])
        return Linear(0, table=Table(tuple(words), at, word))

    def words(self, op: memref.GetGlobalOp) -> Sequence[int]:
        """Return the contents of a constant memory."""
        name = op.name_.string_value()
        if name not in self._words:
            self._words[name] = constant_words(op)
        return self._words[name]

    def evaluate(
        self, affine_map: AffineMap, operands: Sequence[SSAValue], op: Operation
    ) -> list[Linear]:
        """Return the results of an affine map."""
        dims = affine_map.num_dims

        def visit(expression: AffineExpr) -> Linear:
            match expression:
                case AffineConstantExpr(value=number):
                    return Linear(number)
                case AffineDimExpr(position=position):
                    return self.of(operands[position], op)
                case AffineSymExpr(position=position):
                    return self.of(operands[dims + position], op)
                case AffineBinaryOpExpr(kind=kind, lhs=lhs, rhs=rhs):
                    left, right = visit(lhs), visit(rhs)
                    if kind is AffineBinaryOpKind.Add:
                        return _sum(left, right, op)
                    if kind is AffineBinaryOpKind.Mul:
                        return _product(left, right, op)
                    if not left.varies and not right.varies:
                        return Linear(_divide(kind, left.constant, right.constant, op))
                    raise FastmlError(f"'{kind.get_token()}' of loop counters is not supported", op)
                case _:
                    raise FastmlError(f"index '{expression}' is not supported", op)

        return [visit(result) for result in affine_map.results]

    def address(self, op: Operation) -> Linear:
        """Return the row-major position that a load or store accesses."""
        match op:
            case (
                affine.LoadOp(memref=source, indices=indices)
                | affine.StoreOp(memref=source, indices=indices)
            ):
                position = self.evaluate(op.map.data, indices, op)
            case _:
                source, indices = access_operands(op)
                position = [self.of(index, op) for index in indices]
        memref_type = source.type
        assert isinstance(memref_type, MemRefType)
        shape = memref_type.get_shape()
        total = Linear(0)
        for size, index in zip(shape, position, strict=True):
            low, high = index.bounds
            if low < 0 or high >= size:
                raise FastmlError(f"index runs from {low} to {high}, outside of {memref_type}", op)
            total = _sum(total.scaled(size), index, op)
        return total


def access_operands(op: Operation) -> tuple[SSAValue, Sequence[SSAValue]]:
    """Return the memref and the indices of a ``memref`` (or ``affine``) load or store."""
    skipped = 1 if op.name.endswith("store") else 0
    return op.operands[skipped], op.operands[skipped + 1 :]


def is_constant_load(value: SSAValue) -> bool:
    """Whether a value is read from a constant memory."""
    op = value.owner
    return isinstance(op, affine.LoadOp | memref.LoadOp) and isinstance(
        op.memref.owner, memref.GetGlobalOp
    )


def _sum(left: Linear, right: Linear, op: Operation) -> Linear:
    if (left.table is not None and right.varies) or (right.table is not None and left.varies):
        raise FastmlError("an index from a memory plus another one is not supported", op)
    return left + right


def _product(left: Linear, right: Linear, op: Operation) -> Linear:
    if left.varies and right.varies:
        raise FastmlError("a product of loop counters is not an affine index", op)
    return right.scaled(left.constant) if right.varies else left.scaled(right.constant)


def _divide(kind: AffineBinaryOpKind, left: int, right: int, op: Operation) -> int:
    if right <= 0:
        raise FastmlError(f"'{kind.get_token()}' by {right} in an index", op)
    match kind:
        case AffineBinaryOpKind.Mod:
            return left % right
        case AffineBinaryOpKind.FloorDiv:
            return left // right
        case _:
            return -(-left // right)
