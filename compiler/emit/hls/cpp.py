"""Print the affine level as C++: walk, format, decide nothing.

A function of the IR is a function of C++, a memref an array, a loop a loop, a directive a
pragma. Types are exactly as wide as the IR's; see ``values.py`` for how they are read.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    IndexType,
    IntegerType,
    MemRefType,
    UnitAttr,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
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

from fastml.compiler.emit.hls.flavours import Flavour, Types
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

_MODULAR: Mapping[type[Operation], str] = {
    arith.AddiOp: "+",
    arith.SubiOp: "-",
    arith.MuliOp: "*",
    arith.AndIOp: "&",
    arith.OrIOp: "|",
    arith.XOrIOp: "^",
}
_COMPARE = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")
_EXTREMES: Mapping[type[Operation], tuple[str, Callable[[Types, Expr, int], Expr]]] = {
    arith.MinSIOp: ("<", as_signed),
    arith.MaxSIOp: (">", as_signed),
    arith.MinUIOp: ("<", as_unsigned),
    arith.MaxUIOp: (">", as_unsigned),
}
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


def _writers(function: func.FuncOp) -> dict[SSAValue, int]:
    """Count the operations that may write to each memory; none of a function with loops.

    What nobody writes to any more can be read where it is needed.
    """
    counts = dict[SSAValue, int]()
    if len(function.body.blocks) != 1:
        return counts
    block = function.body.block
    if any(op.regions for op in block.ops):
        return counts
    counts = dict.fromkeys(block.args, 0)
    for op in block.ops:
        if isinstance(op, memref.AllocOp):
            counts[op.memref] = 0
        elif isinstance(op, affine.StoreOp | memref.StoreOp):
            counts[op.memref] = counts.get(op.memref, 0) + 1
        elif isinstance(op, func.CallOp):
            for operand in op.operands:
                counts[operand] = counts.get(operand, 0) + 1
    return counts


class FunctionPrinter:
    """Prints one function."""

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
        self.writers = _writers(function)

    # --- frame -------------------------------------------------------------------------

    def parameters(self, names: Sequence[str], types: Sequence[str | None]) -> str:
        """Declare the arguments; ``types`` overrides element types."""
        given = list[str]()
        attributes = directives.argument_attributes(self.function)
        for argument, described, name, own in zip(
            self.function.args, attributes, names, types, strict=True
        ):
            width, signed = self.memref_type(argument.type, described)
            assert isa(argument.type, MemRefType)
            shape = argument.type.get_shape()
            self.arrays[argument] = Array(name, width, signed, shape)
            const = "" if directives.text(described, directives.DIRECTION) == "out" else "const "
            dims = "".join(f"[{size}]" for size in shape)
            given.append(f"{const}{own or self.types.integer(width, signed)} {name}{dims}")
        return ", ".join(given)

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

    def body(self) -> list[str]:
        """Return the statements of the function."""
        if len(self.function.body.blocks) != 1:
            raise FastmlError("a function must be one block", self.function)
        self.block(self.function.body.block)
        return self.lines

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

    def fresh(self) -> str:
        """Return a name for a value."""
        while True:
            self.count += 1
            if self.namer.claim(name := f"v{self.count}"):
                return name

    # --- operations --------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Print the operations of a block, its end apart."""
        for op in block.ops:
            if isinstance(op, affine.YieldOp | func.ReturnOp):
                continue
            self.operation(op)

    def operation(self, op: Operation) -> None:
        """Print one operation."""
        for result in op.results:
            if isa(result.type, IntegerType) and width_of(result) > self.flavour.max_width:
                raise self.too_wide(width_of(result), op)
        if op.results and any(isinstance(v.type, IndexType) for v in (*op.results, *op.operands)):
            if op.name.startswith("arith."):
                self.index_operation(op)
                return
        match op:
            case arith.ConstantOp():
                pass  # printed where it is used
            case arith.ExtSIOp():
                self.exprs[op.result] = as_signed(self.types, *self.known(op.input))
            case arith.ExtUIOp():
                self.exprs[op.result] = as_unsigned(self.types, *self.known(op.input))
            case arith.TruncIOp():
                self._truncate(op)
            case arith.CmpiOp():
                self._compare(op)
            case arith.SelectOp():
                self._select(op)
            case arith.ShLIOp() | arith.ShRSIOp() | arith.ShRUIOp():
                self._shift(op)
            case _ if type(op) in _MODULAR:
                self._modular(op, _MODULAR[type(op)])
            case _ if type(op) in _EXTREMES:
                self._extreme(op)
            case _:
                self.structure(op)

    def structure(self, op: Operation) -> None:
        """Print an operation on memories, or with a body."""
        match op:
            case affine.LoadOp():
                at = self.element(op.memref, op.map.data, op.indices, op)
                self._load(op.result, op.memref, at)
            case memref.LoadOp():
                identity = AffineMap.identity(len(op.indices))
                at = self.element(op.memref, identity, op.indices, op)
                self._load(op.res, op.memref, at)
            case affine.StoreOp():
                self._store(op.value, self.element(op.memref, op.map.data, op.indices, op))
                self.wrote(op.memref)
            case memref.StoreOp():
                identity = AffineMap.identity(len(op.indices))
                self._store(op.value, self.element(op.memref, identity, op.indices, op))
                self.wrote(op.memref)
            case memref.AllocOp():
                self._alloc(op)
            case memref.GetGlobalOp():
                self._get_global(op)
            case memref.DeallocOp():
                pass
            case func.CallOp():
                self._call(op)
            case affine.ForOp():
                self._loop(op)
            case affine.IfOp():
                self._branch(op)
            case affine.ApplyOp():
                text = self.affine(op.map.data.results[0], op.map.data, op.mapOperands)
                self.indices[op.result] = text
            case _:
                raise FastmlError("cannot be printed as C++", op)

    # --- integers ----------------------------------------------------------------------

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

    def define(self, result: SSAValue, text: str) -> None:
        """Give ``result`` a variable, which wraps ``text`` to its width."""
        width, signed = width_of(result), prefers_signed(result)
        name = self.fresh()
        self.line(f"const {self.types.integer(width, signed)} {name} = {text};")
        self.exprs[result] = Expr(name, width, signed)

    def inline(self, result: SSAValue, expr: Expr) -> None:
        """Let an expression stand for a value that is used once, else name it."""
        if result.has_one_use() and len(expr.text) <= MAX_INLINE:
            self.exprs[result] = expr
        else:
            self.define(result, expr.text)

    def _truncate(self, op: arith.TruncIOp) -> None:
        expr, width = self.value(op.input), width_of(op.result)
        is_load = isinstance(op.input.owner, affine.LoadOp | memref.LoadOp)
        if is_load and "[" in expr.text and self.writers.get(op.input.owner.operands[0]) != 0:
            self.define(op.result, expr.text)  # a memory is read where the IR reads it
            return
        if expr.width <= width:
            self.exprs[op.result] = expr
            return
        self.inline(op.result, cast(self.types, expr, width, prefers_signed(op.result)))

    def _modular(self, op: Operation, sign: str) -> None:
        (result,) = op.results
        left, right = (self.modulo(operand, width_of(result)) for operand in op.operands)
        self.define(result, f"{left.operand} {sign} {right.operand}")

    def _compare(self, op: arith.CmpiOp) -> None:
        predicate = op.predicate.value.data
        width = width_of(op.lhs)
        reading = as_signed if predicate < 6 else as_unsigned
        if predicate < 2 and not self.value(op.lhs).signed:
            reading = as_unsigned
        left, right = (self.number(v, reading, width) for v in op.operands)
        if isinstance(op.lhs.owner, arith.ConstantOp):  # two literals, or one on the left
            left = reading(self.types, self.value(op.lhs), width).operand
        text = f"{left} {_COMPARE[predicate]} {right}"
        if is_condition(op.result):
            if op.result.uses.get_length():
                name = self.fresh()
                self.line(f"const bool {name} = {text};")
                self.exprs[op.result] = Expr(name, 1, False)
        else:
            self.define(op.result, text)

    def condition(self, value: SSAValue) -> str:
        """Return a bit as a condition."""
        if isinstance(value.owner, arith.CmpiOp) and is_condition(value):
            return self.value(value).text
        if isinstance(value.owner, arith.ConstantOp):
            return "true" if constant_of(value.owner) else "false"
        return f"{self.value(value).operand} != 0"

    def _select(self, op: arith.SelectOp) -> None:
        width, signed = width_of(op.result), prefers_signed(op.result)
        owners = [arm.owner for arm in (op.lhs, op.rhs)]
        numbers = [constant_of(o) for o in owners if isinstance(o, arith.ConstantOp)]
        arms = [self.exact(arm, width, signed) for arm in (op.lhs, op.rhs)]
        if len(numbers) < 2:  # C++ wants both arms in one type
            arms = [self.typed(arm, width, signed) for arm in (op.lhs, op.rhs)]
        self.define(op.result, f"{self.condition(op.cond)} ? {arms[0]} : {arms[1]}")

    def typed(self, value: SSAValue, width: int, signed: bool) -> str:
        """Return a value in the given type."""
        if isinstance(value.owner, arith.ConstantOp):
            number = constant_of(value.owner)
            number = number if signed else number & ((1 << width) - 1)
            return literal(self.types, number, width, signed)
        return cast(self.types, self.value(value), width, signed).text

    def _extreme(self, op: Operation) -> None:
        sign, reading = _EXTREMES[type(op)]
        (result,) = op.results
        width = width_of(result)
        left, right = (reading(self.types, *self.known(v)) for v in op.operands)
        signed = reading is as_signed
        arms = [cast(self.types, expr, width, signed).text for expr in (left, right)]
        self.define(result, f"{left.operand} {sign} {right.operand} ? {arms[0]} : {arms[1]}")

    def _shift(self, op: Operation) -> None:
        value, amount = op.operands
        (result,) = op.results
        width = width_of(result)
        if isinstance(amount.owner, arith.ConstantOp):
            by = constant_of(amount.owner) & ((1 << width) - 1)
            if by >= width:
                raise FastmlError(f"shifts i{width} by {by} bits", op)
            text = str(by)
        else:
            by = width  # whatever it is, no operand is narrower than the type
            text = as_unsigned(self.types, *self.known(amount)).operand
        if isinstance(op, arith.ShLIOp):
            base, sign = self.value(value), "<<"
            base = cast(self.types, base, width, base.signed)
        else:
            signed, sign = isinstance(op, arith.ShRSIOp), ">>"
            reading = as_signed if signed else as_unsigned
            base = reading(self.types, *self.known(value))
            if by >= base.width:
                base = cast(self.types, base, width, signed)
        self.inline(result, Expr(f"{base.operand} {sign} {text}", base.width, base.signed, False))

    # --- memories ----------------------------------------------------------------------

    def element(
        self, memory: SSAValue, map_: AffineMap, operands: Sequence[SSAValue], op: Operation
    ) -> tuple[Array, str]:
        """Return the array, and one of its elements."""
        array = self.arrays[memory]
        for expr, size in zip(map_.results, array.shape, strict=True):
            if isinstance(expr, AffineConstantExpr) and not 0 <= expr.value < size:
                raise FastmlError(f"index {expr.value} is out of range 0..{size - 1}", op)
        places = "".join(f"[{self.affine(expr, map_, operands)}]" for expr in map_.results)
        return array, f"{array.name}{places}"

    def _load(self, result: SSAValue, memory: SSAValue, at: tuple[Array, str]) -> None:
        array, text = at
        expr = Expr(text, array.width, array.signed)
        if self.writers.get(memory) == 0 and not array.rom:
            self.exprs[result] = expr  # nobody writes to it any more
            return
        after = result.owner.next_op if isinstance(result.owner, Operation) else None
        if isinstance(after, arith.TruncIOp) and result.has_one_use() and after.input is result:
            self.exprs[result] = expr
            return
        name = self.fresh()
        self.line(f"const {self.types.integer(array.width, array.signed)} {name} = {text};")
        self.exprs[result] = Expr(name, array.width, array.signed)

    def _store(self, value: SSAValue, at: tuple[Array, str]) -> None:
        array, text = at
        self.line(f"{text} = {self.exact(value, array.width, array.signed)};")

    def wrote(self, memory: SSAValue) -> None:
        """Note that an operation that writes to ``memory`` has been printed."""
        if memory in self.writers:
            self.writers[memory] -= 1

    def exact(self, value: SSAValue, width: int, signed: bool) -> str:
        """Return a value of ``width`` bits for a variable of the given type."""
        if isinstance(value.owner, arith.ConstantOp):
            number = constant_of(value.owner)
            number = number if signed else number & ((1 << width) - 1)
            return plain(number) or literal(self.types, number, width, signed)
        return self.value(value).text

    def _alloc(self, op: memref.AllocOp) -> None:
        width, signed = self.memref_type(op.memref.type, op.attributes)
        assert isa(op.memref.type, MemRefType)
        wanted = directives.text(op.attributes, directives.PORT) or "scratch"
        array = Array(self.namer.unique(wanted), width, signed, op.memref.type.get_shape())
        self.arrays[op.memref] = array
        before, inside = self.array_pragmas(array.name, op.attributes)
        for text in before:
            self.line(text)
        dims = "".join(f"[{size}]" for size in array.shape)
        self.line(f"{self.types.integer(width, signed)} {array.name}{dims};")
        for text in inside:
            self.line(text)

    def array_pragmas(
        self, name: str, attributes: Mapping[str, Attribute]
    ) -> tuple[list[str], list[str]]:
        """Return the pragmas of an array: those before its declaration, and those after."""
        pragmas, found = self.flavour.pragmas, list[str]()
        partition = attributes.get(directives.PARTITION)
        if isinstance(partition, UnitAttr):
            found.append(pragmas.partition_all.format(name=name))
        elif (factor := directives.integer(attributes, directives.PARTITION)) is not None:
            found.append(pragmas.partition.format(name=name, factor=factor))
        if (depth := directives.integer(attributes, directives.STREAM)) is not None:
            found.append(pragmas.stream.format(name=name, depth=depth))
        found = [text for text in found if text]
        return ([], found) if pragmas.inside else (found, [])

    def _get_global(self, op: memref.GetGlobalOp) -> None:
        name, definition = self.symbols.roms[op.name_.string_value()]
        type_ = definition.type
        assert isa(type_, MemRefType)
        assert isa(type_.element_type, IntegerType)
        width = type_.element_type.width.data
        self.arrays[op.memref] = Array(name, width, True, type_.get_shape(), rom=True)

    # --- control -----------------------------------------------------------------------

    def _call(self, op: func.CallOp) -> None:
        if op.results:
            raise FastmlError("returns values; functions leave them in memories", op)
        given = ", ".join(self.arrays[operand].name for operand in op.operands)
        self.line(f"{self.symbols.functions[op.callee.string_value()]}({given});")
        for operand in op.operands:
            self.wrote(operand)

    def _loop(self, op: affine.ForOp) -> None:
        index, *carried = op.body.block.args
        name = self.namer.unique("i")
        self.indices[index] = name
        for argument, init, result in zip(carried, op.inits, op.results, strict=True):
            width, signed = width_of(argument), prefers_signed(argument)
            variable = self.fresh()
            text = self.exact(init, width, signed)
            self.line(f"{self.types.integer(width, signed)} {variable} = {text};")
            self.exprs[argument] = self.exprs[result] = Expr(variable, width, signed)
        low = self._bound(op.lowerBoundMap.data, op.lowerBoundOperands, op)
        high = self._bound(op.upperBoundMap.data, op.upperBoundOperands, op)
        before, inside = self.loop_pragmas(op)
        for text in before:
            self.line(text)
        step = op.step.value.data
        with self.braces(f"for (int {name} = {low}; {name} < {high}; {name} += {step})"):
            for text in inside:
                self.line(text)
            self.block(op.body.block)
            self.assign([self.exprs[argument] for argument in carried], op.body.block)

    def assign(self, variables: Sequence[Expr], block: Block) -> None:
        """Hand on what a block yields; all at once where one may depend on another."""
        end = block.last_op
        yielded = () if end is None else end.operands
        texts = list[str]()
        for variable, value in zip(variables, yielded, strict=True):
            text = self.exact(value, variable.width, variable.signed)
            if len(variables) > 1:
                name = self.fresh()
                self.line(
                    f"const {self.types.integer(variable.width, variable.signed)} {name} = {text};"
                )
                text = name
            texts.append(text)
        for variable, text in zip(variables, texts, strict=True):
            self.line(f"{variable.text} = {text};")

    def loop_pragmas(self, op: affine.ForOp) -> tuple[list[str], list[str]]:
        """Return the pragmas of a loop; one around loops is paced by those inside of it."""
        pragmas, found = self.flavour.pragmas, list[str]()
        interval = directives.integer(op.attributes, directives.PIPELINE)
        nested = any(isinstance(inner, affine.ForOp) for inner in op.body.walk())
        if interval is not None and not nested:
            found.append(pragmas.pipeline.format(ii=interval))
        if isinstance(op.attributes.get(directives.UNROLL), UnitAttr):
            found.append(pragmas.unroll_all)
        elif (factor := directives.integer(op.attributes, directives.UNROLL)) is not None:
            found.append(pragmas.unroll.format(factor=factor))
        found = [text for text in found if text]
        return ([], found) if pragmas.inside else (found, [])

    def _bound(self, map_: AffineMap, operands: Sequence[SSAValue], op: Operation) -> str:
        if len(map_.results) != 1:
            raise FastmlError("has several bounds, which C++ is not printed for", op)
        return self.affine(map_.results[0], map_, operands)

    def _branch(self, op: affine.IfOp) -> None:
        variables = list[Expr]()
        for result in op.results:
            width, signed = width_of(result), prefers_signed(result)
            name = self.fresh()
            self.line(f"{self.types.integer(width, signed)} {name};")
            self.exprs[result] = Expr(name, width, signed)
            variables.append(self.exprs[result])
        set_ = op.condition.data
        map_ = AffineMap(set_.num_dims, set_.num_symbols, ())
        tests = list[str]()
        for constraint in set_.constraints:
            left, right = (
                self.affine(side, map_, op.args) for side in (constraint.lhs, constraint.rhs)
            )
            tests.append(f"{left} {constraint.kind.value} {right}")
        regions: list[tuple[str, Region]] = [(f"if ({' && '.join(tests)})", op.then_region)]
        if op.else_region.blocks:
            regions.append(("else", op.else_region))
        for head, region in regions:
            with self.braces(head):
                self.block(region.block)
                self.assign(variables, region.block)

    # --- indices -----------------------------------------------------------------------

    def affine(self, expr: AffineExpr, map_: AffineMap, operands: Sequence[SSAValue]) -> str:
        """Return an affine expression of indices, which are not negative."""
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
                raise FastmlError(f"unknown affine expression {expr}", self.function)
        if kind == AffineBinaryOpKind.CeilDiv:
            return f"(({a} + {b} - 1) / {b})"
        signs = {
            AffineBinaryOpKind.Add: "+",
            AffineBinaryOpKind.Mul: "*",
            AffineBinaryOpKind.Mod: "%",
            AffineBinaryOpKind.FloorDiv: "/",
        }
        return f"({a} {signs[kind]} {b})"

    def index(self, value: SSAValue) -> str:
        """Return an index."""
        owner = value.owner
        if isinstance(owner, arith.ConstantOp):
            return str(constant_of(owner))
        return self.indices[value]

    def index_operation(self, op: Operation) -> None:
        """Print arithmetic on indices, which are plain integers."""
        (result,) = op.results
        match op:
            case arith.ConstantOp():
                return
            case arith.IndexCastOp() if isinstance(result.type, IndexType):
                expr = as_signed(self.types, *self.known(op.input))
                self.indices[result] = f"{expr.operand}.to_int()"
            case arith.IndexCastOp():
                self.define(result, self.index(op.input))
            case arith.CmpiOp():
                predicate = op.predicate.value.data
                left, right = (self.index(v) for v in op.operands)
                self.define(result, f"({left} {_COMPARE[predicate]} {right})")
            case arith.SelectOp():
                yes, no = self.index(op.lhs), self.index(op.rhs)
                self.indices[result] = f"({self.condition(op.cond)} ? {yes} : {no})"
            case arith.AddiOp() | arith.SubiOp() | arith.MuliOp():
                left, right = (self.index(v) for v in op.operands)
                self.indices[result] = f"({left} {_MODULAR[type(op)]} {right})"
            case _:
                raise FastmlError("has no meaning on an index in C++", op)
