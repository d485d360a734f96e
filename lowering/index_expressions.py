"""Index expressions of loop nests, as linear functions of the iteration counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.dialects import affine, arith
from xdsl.dialects.builtin import IntegerAttr, MemRefType
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

from fastml.compiler.support.diagnostics import FastmlError


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
    """``constant + sum(factors[loop] * iteration count of loop)``."""

    constant: int
    factors: Mapping[Loop, int] = field(default_factory=dict[Loop, int])

    def __add__(self, other: "Linear") -> "Linear":
        factors = dict(self.factors)
        for loop, factor in other.factors.items():
            factors[loop] = factors.get(loop, 0) + factor
        kept = {loop: factor for loop, factor in factors.items() if factor}
        return Linear(self.constant + other.constant, kept)

    def scaled(self, by: int) -> "Linear":
        """Multiply by a constant."""
        factors = {loop: factor * by for loop, factor in self.factors.items() if by}
        return Linear(self.constant * by, factors)

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value over all iterations."""
        low = high = self.constant
        for loop, factor in self.factors.items():
            reach = factor * (loop.trips - 1)
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low, high


class IndexExpressions:
    """The linear function behind every value of type ``index``."""

    def __init__(self) -> None:
        self._of: dict[SSAValue, Linear] = {}

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
            case arith.AddiOp(lhs=lhs, rhs=rhs):
                return self.of(lhs, user) + self.of(rhs, user)
            case arith.SubiOp(lhs=lhs, rhs=rhs):
                return self.of(lhs, user) + self.of(rhs, user).scaled(-1)
            case arith.MuliOp(lhs=lhs, rhs=rhs) as op:
                return _product(self.of(lhs, user), self.of(rhs, user), op)
            case _:
                raise FastmlError(
                    "an index that depends on data, or on anything but loop counters "
                    "and constants, is not supported",
                    user,
                )

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
                        return left + right
                    if kind is AffineBinaryOpKind.Mul:
                        return _product(left, right, op)
                    if not left.factors and not right.factors:
                        return Linear(_divide(kind, left.constant, right.constant, op))
                    raise FastmlError(f"'{kind.get_token()}' of loop counters is not supported", op)
                case _:
                    raise FastmlError(f"index '{expression}' is not supported", op)

        return [visit(result) for result in affine_map.results]

    def address(self, op: Operation) -> Linear:
        """Return the row-major position that a load or store accesses."""
        match op:
            case (
                affine.LoadOp(memref=memref, indices=indices)
                | affine.StoreOp(memref=memref, indices=indices)
            ):
                position = self.evaluate(op.map.data, indices, op)
            case _:
                memref, indices = access_operands(op)
                position = [self.of(index, op) for index in indices]
        memref_type = memref.type
        assert isinstance(memref_type, MemRefType)
        shape = memref_type.get_shape()
        total = Linear(0)
        for size, index in zip(shape, position, strict=True):
            low, high = index.bounds
            if low < 0 or high >= size:
                raise FastmlError(f"index runs from {low} to {high}, outside of {memref_type}", op)
            total = total.scaled(size) + index
        return total


def access_operands(op: Operation) -> tuple[SSAValue, Sequence[SSAValue]]:
    """Return the memref and the indices of a ``memref`` (or ``affine``) load or store."""
    skipped = 1 if op.name.endswith("store") else 0
    return op.operands[skipped], op.operands[skipped + 1 :]


def _product(left: Linear, right: Linear, op: Operation) -> Linear:
    if left.factors and right.factors:
        raise FastmlError("a product of loop counters is not an affine index", op)
    return right.scaled(left.constant) if right.factors else left.scaled(right.constant)


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
