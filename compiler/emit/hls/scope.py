"""What the printers of one function share: its lines, and what C++ calls its values."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import IntegerType, MemRefType
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.utils.hints import isa

from fastml.compiler.emit.hls.flavours import Flavour
from fastml.compiler.emit.hls.values import (
    Expr,
    as_signed,
    as_unsigned,
    cast,
    constant_of,
    is_condition,
    literal,
    plain,
    prefers_signed,
    width_of,
)
from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.support.names import Namer
from fastml.dialects import directives
from fastml.dialects.elements import Elements

MAX_INLINE = 160
"""Longest text that stands inside of another expression."""


@dataclass(frozen=True)
class Array:
    """A C++ array: its name, element type and shape."""

    name: str
    width: int
    signed: bool
    shape: tuple[int, ...]
    rom: bool = False
    beats: int = 1
    """Where it holds one of several beats of the IR's memory, how many those are."""


@dataclass
class Symbols:
    """What the functions of a module are called, and its constant memories."""

    functions: Mapping[str, str]
    roms: Mapping[str, tuple[str, memref.GlobalOp]]
    looped: frozenset[str]
    """Functions with loops, or that call one."""


def array_type(type_: Attribute, attributes: Mapping[str, Attribute]) -> tuple[int, bool]:
    """Return width and sign of the elements of a memref, as its layout says."""
    assert isa(type_, MemRefType)
    element = type_.element_type
    if not isa(element, IntegerType) or not type_.has_static_shape():
        raise ValueError(f"'{type_}' is not a static memref of integers")
    text = directives.text(attributes, directives.ELEMENTS)
    signed = True if text is None else Elements.parse(text).container[1]
    return element.width.data, signed


class Scope:
    """The text of one function, as far as it is printed."""

    def __init__(self, function: func.FuncOp, flavour: Flavour, symbols: Symbols, taken: Namer):
        self.function = function
        self.flavour = flavour
        self.types = flavour.types
        self.symbols = symbols
        self.namer = taken
        self.lines: list[str] = []
        self.depth = 1
        self.exprs = dict[SSAValue, Expr]()
        self.arrays = dict[SSAValue, Array]()
        self.indices = dict[SSAValue, str]()
        self.count = 0
        self.counters = list[str]()
        """Names of the counters of loops, the outermost first; loops side by side share one."""
        self.loops = 0

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append(f"{'  ' * self.depth}{text}" if text[0] != "#" else text)

    @contextmanager
    def braces(self, head: str) -> Generator[None]:
        """Print what is appended inside as a block."""
        self.line(head + " {")
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    @contextmanager
    def counter(self) -> Generator[str]:
        """Name the counter of a loop inside of those that are being printed."""
        depth = self.loops
        if depth == len(self.counters):
            self.counters.append(self.namer.unique("ijklmn"[depth] if depth < 6 else f"i{depth}"))
        self.loops += 1
        yield self.counters[depth]
        self.loops -= 1

    def fresh(self) -> str:
        """Return a name for a value."""
        while True:
            self.count += 1
            if self.namer.claim(name := f"v{self.count}"):
                return name

    # --- types -------------------------------------------------------------------------

    def memref_type(
        self, type_: Attribute, attributes: Mapping[str, Attribute]
    ) -> tuple[int, bool]:
        """Return width and sign of the elements of a memref; ``FML-IR`` if it has none."""
        if not isa(type_, MemRefType):
            raise FastmlError(f"takes a '{type_}', which is no memref", self.function)
        try:
            width, signed = array_type(type_, attributes)
        except ValueError as error:
            raise FastmlError(str(error), self.function) from error
        if width > self.flavour.max_width:
            raise self.too_wide(width, self.function)
        return width, signed

    def too_wide(self, width: int, op: Operation) -> FastmlError:
        """Return the error of an integer that the tool does not take."""
        return FastmlError(
            f"needs integers of {width} bits, but {self.flavour.tool} takes "
            f"{self.flavour.max_width} at most",
            op,
            code="FML-WIDTH",
        )

    # --- values ------------------------------------------------------------------------

    def value(self, value: SSAValue) -> Expr:
        """Return the expression of a value; a constant in its narrowest type."""
        owner = value.owner
        if isinstance(owner, arith.ConstantOp):
            number = constant_of(owner)
            signed = number < 0
            width = max(number.bit_length() if not signed else (-number - 1).bit_length() + 1, 1)
            return Expr(literal(self.types, number, width, signed), width, signed)
        return self.exprs[value]

    def known(self, value: SSAValue) -> tuple[Expr, int]:
        """Return the expression and the bits of a value."""
        return self.value(value), width_of(value)

    def modulo(self, value: SSAValue, width: int) -> Expr:
        """Return an expression of at most ``width`` bits that equals the value modulo those."""
        expr = self.value(value)
        return cast(self.types, expr, width, expr.signed) if expr.width > width else expr

    def number(self, value: SSAValue, reading: Callable[..., Expr], width: int) -> str:
        """Return a number to compare with: a plain literal where there is one."""
        owner = value.owner
        if isinstance(owner, arith.ConstantOp):
            number = constant_of(owner)
            if reading is as_unsigned:
                number &= (1 << width) - 1
            text = plain(number)
            if text is not None:
                return text
        return reading(self.types, self.value(value), width).operand

    def exact(self, value: SSAValue, width: int, signed: bool) -> str:
        """Return a value of ``width`` bits for a variable of the given type."""
        if isinstance(value.owner, arith.ConstantOp):
            number = constant_of(value.owner)
            number = number if signed else number & ((1 << width) - 1)
            return plain(number) or literal(self.types, number, width, signed)
        return self.value(value).text

    def typed(self, value: SSAValue, width: int, signed: bool) -> str:
        """Return a value in the given type."""
        if isinstance(value.owner, arith.ConstantOp):
            number = constant_of(value.owner)
            number = number if signed else number & ((1 << width) - 1)
            return literal(self.types, number, width, signed)
        return cast(self.types, self.value(value), width, signed).text

    def condition(self, value: SSAValue) -> str:
        """Return a bit as a condition."""
        if isinstance(value.owner, arith.CmpiOp) and is_condition(value):
            return self.value(value).text
        if isinstance(value.owner, arith.ConstantOp):
            return "true" if constant_of(value.owner) else "false"
        return f"{self.value(value).operand} != 0"

    def declare(self, text: str, width: int, signed: bool) -> Expr:
        """Declare a constant variable, which wraps ``text`` to its width."""
        name = self.fresh()
        self.line(f"const {self.types.integer(width, signed)} {name} = {text};")
        return Expr(name, width, signed)

    def define(self, result: SSAValue, text: str) -> None:
        """Give ``result`` a variable."""
        self.exprs[result] = self.declare(text, width_of(result), prefers_signed(result))

    def inline(self, result: SSAValue, expr: Expr) -> None:
        """Let an expression stand for a value that is used once, else name it."""
        if result.has_one_use() and len(expr.text) <= MAX_INLINE:
            self.exprs[result] = expr
        else:
            self.define(result, expr.text)

    def as_number(self, value: SSAValue) -> str:
        """Return the two's complement reading of a value, as an operand."""
        return as_signed(self.types, *self.known(value)).operand
