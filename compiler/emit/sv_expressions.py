"""SystemVerilog expressions of combinational operations, and how lines are broken.

All operands of an operation have its width, so that SystemVerilog's rule of the widest
operand never changes a value; what would be signed by context has a statement of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from xdsl.dialects import comb, hw
from xdsl.ir import Operation, SSAValue

from fastml.dialects import hw_extra

LINE = 100
"""Longest line, in characters."""
_LITERAL_BITS = 64


@dataclass(frozen=True, slots=True)
class Expression:
    """Text, and how it may be nested."""

    text: str
    primary: bool = True
    """Needs no parentheses."""
    depth: int = 0
    """Operators on the longest path."""
    named: bool = False
    """A name, of which bits can be selected."""

    def nested(self) -> str:
        """Return the text as an operand."""
        return self.text if self.primary else f"({self.text})"


def width_of(value: SSAValue) -> int:
    """Bits of a wire."""
    return hw_extra.bits(value.type)


def literal(value: int, width: int) -> str:
    """Print a constant; a long one in parts."""
    value &= (1 << width) - 1
    if width <= _LITERAL_BITS or value < 1 << 16:
        return f"{width}'d{value}" if value < 1 << 16 else f"{width}'h{value:X}"
    parts: list[str] = []
    for low in range(0, width, _LITERAL_BITS):
        size = min(_LITERAL_BITS, width - low)
        part = (value >> low) & ((1 << size) - 1)
        parts.append(f"{size}'h{part:X}")
    return "{" + ", ".join(reversed(parts)) + "}"


def signed_text(value: SSAValue, expression: Expression) -> str:
    """Print an operand as a signed number."""
    if not isinstance(value.owner, hw.ConstantOp) or (width := width_of(value)) > _LITERAL_BITS:
        return f"$signed({expression.text})"
    number = value.owner.value.value.data & ((1 << width) - 1)
    if number >> (width - 1):
        return f"-{width}'sd{(1 << width) - number}"
    return f"{width}'sd{number}"


def vector(width: int) -> str:
    """Print the range of a declaration, with a blank after it."""
    return f"[{width - 1}:0] " if width > 1 else ""


_INFIX: dict[type[Operation], str] = {
    comb.AddOp: "+",
    comb.MulOp: "*",
    comb.SubOp: "-",
    comb.AndOp: "&",
    comb.OrOp: "|",
    comb.XorOp: "^",
    comb.DivUOp: "/",
    comb.ModUOp: "%",
    comb.ShlOp: "<<",
    comb.ShrUOp: ">>",
}
_SIGNED_INFIX: dict[type[Operation], str] = {
    comb.DivSOp: "/",
    comb.ModSOp: "%",
    comb.ShrSOp: ">>>",
}
SIGNED_BY_CONTEXT = frozenset(_SIGNED_INFIX)
"""Operations that would become unsigned inside an unsigned expression."""
_COMPARISON = {
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
}


WIRING = frozenset([comb.ConcatOp, comb.ExtractOp, comb.ReplicateOp])
"""Operations that cost nothing."""


def express(op: Operation, operands: Sequence[Expression]) -> Expression:
    """Print one operation on operands that are printed already."""
    printer = _PRINTERS.get(type(op), _infix)
    text, primary = printer(op, operands)
    depth = max((e.depth for e in operands), default=0) + (type(op) not in WIRING)
    return Expression(text, primary, depth)


def _infix(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    if len(operands) == 1:
        return operands[0].text, operands[0].primary
    if isinstance(op, comb.ShlOp | comb.ShrUOp | comb.ShrSOp):
        return _shift(op, operands)
    if (sign := _SIGNED_INFIX.get(type(op))) is not None:
        left, right = operands
        texts = signed_text(op.operands[0], left), signed_text(op.operands[1], right)
        return f" {sign} ".join(texts), False
    return f" {_INFIX[type(op)]} ".join(e.nested() for e in operands), False


def _shift(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    value, amount = op.operands
    left, right = operands
    by = right.nested()
    if isinstance(amount.owner, hw.ConstantOp):  # tools want it to be an ordinary number
        width = width_of(value)
        number = amount.owner.value.value.data & ((1 << width) - 1)
        by = literal(min(number, width), width)
    if (sign := _SIGNED_INFIX.get(type(op))) is not None:
        return f"{signed_text(value, left)} {sign} {by}", False
    return f"{left.nested()} {_INFIX[type(op)]} {by}", False


def _xor(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    last = op.operands[-1].owner
    if (
        len(operands) == 2
        and isinstance(last, hw.ConstantOp)
        and last.value.value.data in (-1, (1 << width_of(last.result)) - 1)
    ):
        return f"~{operands[0].nested()}", True
    return _infix(op, operands)


def _icmp(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    name = comb.ICMP_COMPARISON_OPERATIONS[cast(comb.ICmpOp, op).predicate.value.data]
    left, right = operands
    if name in ("eq", "ne"):
        return f"{left.nested()} {_COMPARISON[name]} {right.nested()}", False
    sign = _COMPARISON[name[1:]]
    if name[0] == "s":
        texts = map(signed_text, op.operands, operands)
        return f" {sign} ".join(texts), False
    return f"{left.nested()} {sign} {right.nested()}", False


def _mux(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    condition, yes, no = (e.nested() for e in operands)
    return f"{condition} ? {yes} : {no}", False


def _concat(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    if len(operands) == 1:
        return operands[0].text, operands[0].primary
    return "{" + ", ".join(e.text for e in operands) + "}", True


def _replicate(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    times = width_of(op.results[0]) // width_of(op.operands[0])
    return f"{{{times}{{{operands[0].text}}}}}", True


def _extract(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    low, width = cast(comb.ExtractOp, op).low_bit.value.data, width_of(op.results[0])
    (source,) = operands
    assert source.named, "bits are selected from an expression"
    if width == width_of(op.operands[0]):
        return source.text, True
    high = f"{low + width - 1}:" if width > 1 else ""
    return f"{source.text}[{high}{low}]", True


def _parity(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    return f"^{operands[0].nested()}", False


def _alias(op: Operation, operands: Sequence[Expression]) -> tuple[str, bool]:
    return operands[0].text, operands[0].primary


_PRINTERS: dict[type[Operation], Callable[[Operation, Sequence[Expression]], tuple[str, bool]]] = {
    comb.XorOp: _xor,
    comb.ICmpOp: _icmp,
    comb.MuxOp: _mux,
    comb.ConcatOp: _concat,
    comb.ReplicateOp: _replicate,
    comb.ExtractOp: _extract,
    hw_extra.ParityOp: _parity,
    hw_extra.WireOp: _alias,
}
COMBINATIONAL = frozenset([*_INFIX, *_SIGNED_INFIX, *_PRINTERS])
"""Operations that are expressions."""


def wrap(line: str) -> list[str]:
    """Break a line at blanks; what follows is indented further."""
    if len(line) <= LINE:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    lines: list[str] = []
    current = ""
    for word in line.split(" "):
        if current.strip() and len(current) + 1 + len(word) > LINE:
            lines.append(current.rstrip())
            current = indent + word
        else:
            current = f"{current} {word}" if current or lines else word or " "
    return [*lines, current]
