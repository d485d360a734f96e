"""C++ expressions of integer values: text, width and sign, and what they stand for.

An IR value of type ``iN`` is a C++ expression whose number equals the value modulo ``2**N``,
in a type of at most N bits. Both libraries compute sums, products and comparisons of any
widths and signs exactly, and wrap where a variable is narrower; so an extension is a change of
reading, not an operation, and a cast is printed only where the reading matters.
"""

from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType
from xdsl.ir import Operation, SSAValue
from xdsl.utils.hints import isa

from fastml.compiler.emit.hls.flavours import Types

_SIGNED = (2, 3, 4, 5)
_UNSIGNED = (6, 7, 8, 9)
"""Predicates of ``arith.cmpi`` that read their operands as signed and as unsigned."""
LIMB = 64


@dataclass(frozen=True)
class Expr:
    """A C++ expression of an integer type."""

    text: str
    width: int
    signed: bool
    atom: bool = True
    """It needs no parentheses."""

    @property
    def operand(self) -> str:
        """The text as an operand of any operator."""
        return self.text if self.atom else f"({self.text})"


def width_of(value: SSAValue) -> int:
    """Return the bits of an integer value."""
    assert isa(value.type, IntegerType)
    return value.type.width.data


def cast(types: Types, expr: Expr, width: int, signed: bool) -> Expr:
    """Return ``expr`` in another type, by its own sign, modulo the width."""
    if (expr.width, expr.signed) == (width, signed):
        return expr
    return Expr(f"{types.integer(width, signed)}({expr.text})", width, signed)


def as_signed(types: Types, expr: Expr, width: int) -> Expr:
    """Return an expression whose number is the two's complement reading of ``width`` bits."""
    if expr.signed or expr.width < width:
        return expr
    return cast(types, expr, width, True)


def as_unsigned(types: Types, expr: Expr, width: int) -> Expr:
    """Return an expression whose number is the unsigned reading of ``width`` bits."""
    return cast(types, expr, width, False) if expr.signed else expr


def constant_of(op: Operation) -> int:
    """Return the two's complement reading of a constant."""
    assert isinstance(op, arith.ConstantOp)
    assert isa(op.value, IntegerAttr)
    value = op.value.value.data
    if not isa(op.result.type, IntegerType):
        return value
    half = 1 << (op.result.type.width.data - 1)
    return ((value + half) & (2 * half - 1)) - half


def plain(value: int) -> str | None:
    """Return a literal of a builtin type, if there is one that has room."""
    if -(1 << 31) < value < 1 << 31:
        return str(value)
    if -(1 << 63) < value < 1 << 63:
        return f"{value}LL"
    if 0 <= value < 1 << 64:
        return f"{value}ULL"
    return None


def literal(types: Types, value: int, width: int, signed: bool) -> str:
    """Return a constant in the type of the given width and sign."""
    name = types.integer(width, signed)
    text = plain(value)
    if text is not None:
        return f"{name}({text})"
    limbs = list[int]()
    rest = value
    while not -(1 << 62) <= rest < 1 << 62:
        limbs.append(rest & ((1 << LIMB) - 1))
        rest >>= LIMB
    text = f"{name}({plain(rest)})"
    part = types.integer(LIMB, False)
    for limb in reversed(limbs):
        text = f"({text} << {LIMB} | {part}({plain(limb)}))"
    return text if value >> (width - signed) in (0, -1) else f"{name}{text}"


def prefers_signed(value: SSAValue) -> bool:
    """Return the reading that most uses of ``value`` want; it costs casts, never values."""
    votes = 0
    for use in value.uses:
        match use.operation:
            case arith.ExtSIOp() | arith.MinSIOp() | arith.MaxSIOp():
                votes += 1
            case arith.ExtUIOp() | arith.MinUIOp() | arith.MaxUIOp():
                votes -= 1
            case arith.ShRSIOp() if use.index == 0:
                votes += 1
            case arith.ShRUIOp() if use.index == 0:
                votes -= 1
            case arith.CmpiOp() as op:
                predicate = op.predicate.value.data
                votes += (predicate in _SIGNED) - (predicate in _UNSIGNED)
            case _:
                pass
    return votes > 0 or (votes == 0 and width_of(value) > 1)


def is_condition(value: SSAValue) -> bool:
    """Tell if a bit is used by choices alone."""
    return all(isinstance(use.operation, arith.SelectOp) and use.index == 0 for use in value.uses)
