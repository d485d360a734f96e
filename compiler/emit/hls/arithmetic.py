"""Print the integer operations of ``arith``."""

from collections.abc import Callable, Mapping

from xdsl.dialects import affine, arith, memref
from xdsl.ir import Operation

from fastml.compiler.emit.hls.flavours import Types
from fastml.compiler.emit.hls.memories import Memories
from fastml.compiler.emit.hls.scope import Scope
from fastml.compiler.emit.hls.values import (
    Expr,
    as_signed,
    as_unsigned,
    cast,
    constant_of,
    is_condition,
    prefers_signed,
    width_of,
)
from fastml.compiler.support.diagnostics import FastmlError

MODULAR: Mapping[type[Operation], str] = {
    arith.AddiOp: "+",
    arith.SubiOp: "-",
    arith.MuliOp: "*",
    arith.AndIOp: "&",
    arith.OrIOp: "|",
    arith.XOrIOp: "^",
}
"""Operations whose low bits depend on the low bits of the operands alone."""
COMPARE = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")
_EXTREMES: Mapping[type[Operation], tuple[str, Callable[[Types, Expr, int], Expr]]] = {
    arith.MinSIOp: ("<", as_signed),
    arith.MaxSIOp: (">", as_signed),
    arith.MinUIOp: ("<", as_unsigned),
    arith.MaxUIOp: (">", as_unsigned),
}


class Arithmetic:
    """Prints the integer operations of a function."""

    def __init__(self, scope: Scope, memories: Memories):
        self.scope = scope
        self.types = scope.types
        self.memories = memories

    def operation(self, op: Operation) -> bool:
        """Print an operation; False if it is none of integers."""
        scope = self.scope
        match op:
            case arith.ConstantOp():
                pass  # printed where it is used
            case arith.ExtSIOp():
                scope.exprs[op.result] = as_signed(self.types, *scope.known(op.input))
            case arith.ExtUIOp():
                scope.exprs[op.result] = as_unsigned(self.types, *scope.known(op.input))
            case arith.TruncIOp():
                self._truncate(op)
            case arith.CmpiOp():
                self._compare(op)
            case arith.SelectOp():
                self._select(op)
            case arith.ShLIOp() | arith.ShRSIOp() | arith.ShRUIOp():
                self._shift(op)
            case _ if type(op) in MODULAR:
                self._modular(op, MODULAR[type(op)])
            case _ if type(op) in _EXTREMES:
                self._extreme(op)
            case _:
                return False
        return True

    def _truncate(self, op: arith.TruncIOp) -> None:
        expr, width = self.scope.value(op.input), width_of(op.result)
        owner = op.input.owner
        if isinstance(owner, affine.LoadOp | memref.LoadOp) and "[" in expr.text:
            if not self.memories.is_final(owner.operands[0]):
                self.scope.define(op.result, expr.text)  # read where the IR reads it
                return
        if expr.width <= width:
            self.scope.exprs[op.result] = expr
            return
        self.scope.inline(op.result, cast(self.types, expr, width, prefers_signed(op.result)))

    def _modular(self, op: Operation, sign: str) -> None:
        (result,) = op.results
        left, right = (self.scope.modulo(operand, width_of(result)) for operand in op.operands)
        self.scope.define(result, f"{left.operand} {sign} {right.operand}")

    def _compare(self, op: arith.CmpiOp) -> None:
        scope, predicate = self.scope, op.predicate.value.data
        width = width_of(op.lhs)
        reading = as_signed if predicate < 6 else as_unsigned
        if predicate < 2 and not scope.value(op.lhs).signed:
            reading = as_unsigned
        left, right = (scope.number(v, reading, width) for v in op.operands)
        if isinstance(op.lhs.owner, arith.ConstantOp):  # two literals, or one on the left
            left = reading(self.types, scope.value(op.lhs), width).operand
        text = f"{left} {COMPARE[predicate]} {right}"
        if is_condition(op.result):
            if op.result.uses.get_length():
                name = scope.fresh()
                scope.line(f"const bool {name} = {text};")
                scope.exprs[op.result] = Expr(name, 1, False)
        else:
            scope.define(op.result, text)

    def _select(self, op: arith.SelectOp) -> None:
        scope = self.scope
        width, signed = width_of(op.result), prefers_signed(op.result)
        owners = [arm.owner for arm in (op.lhs, op.rhs)]
        numbers = [constant_of(o) for o in owners if isinstance(o, arith.ConstantOp)]
        arms = [scope.exact(arm, width, signed) for arm in (op.lhs, op.rhs)]
        if len(numbers) < 2:  # C++ wants both arms in one type
            arms = [scope.typed(arm, width, signed) for arm in (op.lhs, op.rhs)]
        scope.define(op.result, f"{scope.condition(op.cond)} ? {arms[0]} : {arms[1]}")

    def _extreme(self, op: Operation) -> None:
        sign, reading = _EXTREMES[type(op)]
        (result,) = op.results
        width = width_of(result)
        left, right = (reading(self.types, *self.scope.known(v)) for v in op.operands)
        signed = reading is as_signed
        arms = [cast(self.types, expr, width, signed).text for expr in (left, right)]
        text = f"{left.operand} {sign} {right.operand} ? {arms[0]} : {arms[1]}"
        self.scope.define(result, text)

    def _shift(self, op: Operation) -> None:
        value, amount = op.operands
        (result,) = op.results
        scope, width = self.scope, width_of(result)
        if isinstance(amount.owner, arith.ConstantOp):
            by = constant_of(amount.owner) & ((1 << width) - 1)
            if by >= width:
                raise FastmlError(f"shifts i{width} by {by} bits", op)
            text = str(by)
        else:
            by = width  # whatever it is, no operand is narrower than the type
            text = as_unsigned(self.types, *scope.known(amount)).operand
        if isinstance(op, arith.ShLIOp):
            base, sign = scope.value(value), "<<"
            base = cast(self.types, base, width, base.signed)
        else:
            signed, sign = isinstance(op, arith.ShRSIOp), ">>"
            reading = as_signed if signed else as_unsigned
            base = reading(self.types, *scope.known(value))
            if by >= base.width:
                base = cast(self.types, base, width, signed)
        scope.inline(result, Expr(f"{base.operand} {sign} {text}", base.width, base.signed, False))
