"""Print arithmetic on indices, which are plain integers and not negative."""

from collections.abc import Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import (
    AffineBinaryOpExpr,
    AffineBinaryOpKind,
    AffineConstantExpr,
    AffineConstraintExpr,
    AffineDimExpr,
    AffineExpr,
    AffineMap,
    AffineSymExpr,
)

from fastml.compiler.emit.hls.scope import Scope
from fastml.compiler.emit.hls.values import constant_of
from fastml.compiler.support.diagnostics import FastmlError

_SIGNS = {
    AffineBinaryOpKind.Add: "+",
    AffineBinaryOpKind.Mul: "*",
    AffineBinaryOpKind.Mod: "%",
    AffineBinaryOpKind.FloorDiv: "/",
}
_ARITHMETIC: dict[type[Operation], str] = {
    arith.AddiOp: "+",
    arith.SubiOp: "-",
    arith.MuliOp: "*",
}
_MIRRORED = {">=": "<=", "<=": ">=", "==": "=="}
_COMPARE = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")


class Indices:
    """Prints the indices of a function."""

    def __init__(self, scope: Scope):
        self.scope = scope

    def affine(self, expr: AffineExpr, map_: AffineMap, operands: Sequence[SSAValue]) -> str:
        """Return an affine expression."""
        match expr:
            case AffineConstantExpr(value=constant):
                return str(constant)
            case AffineDimExpr(position=position):
                return self.index(operands[position])
            case AffineSymExpr(position=position):
                return self.index(operands[map_.num_dims + position])
            case AffineBinaryOpExpr(kind=kind, lhs=lhs, rhs=rhs):
                a, b = self.affine(lhs, map_, operands), self.affine(rhs, map_, operands)
            case _:
                raise FastmlError(f"unknown affine expression {expr}", self.scope.function)
        if kind == AffineBinaryOpKind.CeilDiv:
            return f"(({a} + {b} - 1) / {b})"
        if kind == AffineBinaryOpKind.Add and isinstance(rhs, AffineConstantExpr):
            if rhs.value < 0:
                return f"({a} - {-rhs.value})"
        return f"({a} {_SIGNS[kind]} {b})"

    def constraint(
        self, constraint: AffineConstraintExpr, map_: AffineMap, operands: Sequence[SSAValue]
    ) -> str:
        """Return a condition: what is not constant on the left, and no sum with a constant."""
        left, sign = constraint.lhs, constraint.kind.value
        match constraint.rhs, left:
            case (
                AffineConstantExpr(value=right),
                AffineBinaryOpExpr(
                    kind=AffineBinaryOpKind.Add, lhs=inner, rhs=AffineConstantExpr(value=more)
                ),
            ):
                left, limit = inner, right - more
            case AffineConstantExpr(value=right), _:
                limit = right
            case _:
                right_text = self.affine(constraint.rhs, map_, operands)
                return f"{self.affine(left, map_, operands)} {sign} {right_text}"
        match left:
            case AffineBinaryOpExpr(
                kind=AffineBinaryOpKind.Mul, lhs=inner, rhs=AffineConstantExpr(value=-1)
            ):
                left, limit, sign = inner, -limit, _MIRRORED[sign]
            case _:
                pass
        return f"{self.affine(left, map_, operands)} {sign} {limit}"

    def index(self, value: SSAValue) -> str:
        """Return an index."""
        owner = value.owner
        if isinstance(owner, arith.ConstantOp):
            return str(constant_of(owner))
        return self.scope.indices[value]

    def operation(self, op: Operation) -> None:
        """Print an operation of ``arith`` on indices."""
        (result,) = op.results
        indices = self.scope.indices
        match op:
            case arith.ConstantOp():
                return
            case arith.IndexCastOp() if isinstance(result.type, IndexType):
                indices[result] = f"{self.scope.as_number(op.input)}.to_int()"
            case arith.IndexCastOp():
                self.scope.define(result, self.index(op.input))
            case arith.CmpiOp():
                left, right = (self.index(v) for v in op.operands)
                sign = _COMPARE[op.predicate.value.data]
                self.scope.define(result, f"({left} {sign} {right})")
            case arith.SelectOp():
                yes, no = self.index(op.lhs), self.index(op.rhs)
                indices[result] = f"({self.scope.condition(op.cond)} ? {yes} : {no})"
            case arith.AddiOp() | arith.SubiOp() | arith.MuliOp():
                left, right = (self.index(v) for v in op.operands)
                indices[result] = f"({left} {_ARITHMETIC[type(op)]} {right})"
            case _:
                raise FastmlError("has no meaning on an index in C++", op)
