"""Print the affine level as C++: walk, format, decide nothing.

A function of the IR is a function of C++, a memref an array, a loop a loop, a directive a
pragma. Types are exactly as wide as the IR's; see ``values.py`` for how they are read.
"""

from collections.abc import Sequence

from xdsl.dialects import affine, func
from xdsl.dialects.builtin import IndexType, IntegerType, MemRefType, UnitAttr
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.ir.affine import AffineMap
from xdsl.utils.hints import isa

from fastml.compiler.emit.hls.arithmetic import Arithmetic
from fastml.compiler.emit.hls.flavours import Flavour
from fastml.compiler.emit.hls.indices import Indices
from fastml.compiler.emit.hls.memories import Memories
from fastml.compiler.emit.hls.scope import Array, Scope, Symbols
from fastml.compiler.emit.hls.values import Expr, prefers_signed, width_of
from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.support.names import Namer
from fastml.dialects import directives


class FunctionPrinter:
    """Prints one function."""

    def __init__(self, function: func.FuncOp, flavour: Flavour, symbols: Symbols, taken: Namer):
        self.function = function
        self.scope = Scope(function, flavour, symbols, taken)
        self.indices = Indices(self.scope)
        self.memories = Memories(self.scope, self.indices)
        self.arithmetic = Arithmetic(self.scope, self.memories)

    def array(self, memory: SSAValue) -> Array:
        """Return the array of a memory."""
        return self.scope.arrays[memory]

    # --- frame -------------------------------------------------------------------------

    def parameters(self, names: Sequence[str]) -> str:
        """Declare the arguments."""
        given = list[str]()
        attributes = directives.argument_attributes(self.function)
        for argument, described, name in zip(self.function.args, attributes, names, strict=True):
            width, signed = self.scope.memref_type(argument.type, described)
            assert isa(argument.type, MemRefType)
            shape = argument.type.get_shape()
            self.scope.arrays[argument] = Array(name, width, signed, shape)
            const = "" if directives.text(described, directives.DIRECTION) == "out" else "const "
            dims = "".join(f"[{size}]" for size in shape)
            given.append(f"{const}{self.scope.types.integer(width, signed)} {name}{dims}")
        return ", ".join(given)

    def body(self) -> list[str]:
        """Return the statements of the function."""
        if len(self.function.body.blocks) != 1:
            raise FastmlError("a function must be one block", self.function)
        self.block(self.function.body.block)
        return self.scope.lines

    # --- operations --------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Print the operations of a block, its end apart."""
        for op in block.ops:
            if isinstance(op, affine.YieldOp | func.ReturnOp):
                continue
            self.operation(op)

    def operation(self, op: Operation) -> None:
        """Print one operation."""
        scope = self.scope
        for result in op.results:
            if isa(result.type, IntegerType) and width_of(result) > scope.flavour.max_width:
                raise scope.too_wide(width_of(result), op)
        if op.results and any(isinstance(v.type, IndexType) for v in (*op.results, *op.operands)):
            if op.name.startswith("arith."):
                self.indices.operation(op)
                return
        if self.arithmetic.operation(op) or self.memories.operation(op):
            return
        match op:
            case func.CallOp():
                self._call(op)
            case affine.ForOp():
                self._loop(op)
            case affine.IfOp():
                self._branch(op)
            case affine.ApplyOp():
                text = self.indices.affine(op.map.data.results[0], op.map.data, op.mapOperands)
                scope.indices[op.result] = text
            case _:
                raise FastmlError("cannot be printed as C++", op)

    # --- control -----------------------------------------------------------------------

    def _call(self, op: func.CallOp) -> None:
        if op.results:
            raise FastmlError("returns values; functions leave them in memories", op)
        given = ", ".join(self.scope.arrays[operand].name for operand in op.operands)
        self.scope.line(f"{self.scope.symbols.functions[op.callee.string_value()]}({given});")
        for operand in op.operands:
            self.memories.wrote(operand)

    def _loop(self, op: affine.ForOp) -> None:
        with self.scope.counter() as name:
            self._loop_over(op, name)

    def _loop_over(self, op: affine.ForOp, name: str) -> None:
        index, *carried = op.body.block.args
        self.scope.indices[index] = name
        for argument, init, result in zip(carried, op.inits, op.results, strict=True):
            width, signed = width_of(argument), prefers_signed(argument)
            variable = self.scope.fresh()
            text = self.scope.exact(init, width, signed)
            self.scope.line(f"{self.scope.types.integer(width, signed)} {variable} = {text};")
            self.scope.exprs[argument] = self.scope.exprs[result] = Expr(variable, width, signed)
        low = self._bound(op.lowerBoundMap.data, op.lowerBoundOperands, op)
        high = self._bound(op.upperBoundMap.data, op.upperBoundOperands, op)
        before, inside = self._pragmas(op)
        for text in before:
            self.scope.line(text)
        step = op.step.value.data
        with self.scope.braces(f"for (int {name} = {low}; {name} < {high}; {name} += {step})"):
            for text in inside:
                self.scope.line(text)
            self.enter(op, name)
            self.block(op.body.block)
            self.leave(op, name)
            self._assign([self.scope.exprs[argument] for argument in carried], op.body.block)

    def enter(self, loop: affine.ForOp, index: str) -> None:
        """Print what comes first in a loop, beside its own operations."""

    def leave(self, loop: affine.ForOp, index: str) -> None:
        """Print what comes last in a loop, before values are handed on."""

    def _assign(self, variables: Sequence[Expr], block: Block) -> None:
        """Hand on what a block yields; all at once where one may depend on another."""
        end = block.last_op
        yielded = () if end is None else end.operands
        texts = list[str]()
        for variable, value in zip(variables, yielded, strict=True):
            text = self.scope.exact(value, variable.width, variable.signed)
            if len(variables) > 1:
                text = self.scope.declare(text, variable.width, variable.signed).text
            texts.append(text)
        for variable, text in zip(variables, texts, strict=True):
            self.scope.line(f"{variable.text} = {text};")

    def _pragmas(self, op: affine.ForOp) -> tuple[list[str], list[str]]:
        """Return the pragmas of a loop; one around loops is paced by those inside of it."""
        pragmas, found = self.scope.flavour.pragmas, list[str]()
        interval = directives.integer(op.attributes, directives.PIPELINE)
        nested = any(_iterates(inner) or self._loops(inner) for inner in op.body.walk())
        if interval is not None and not nested:
            found.append(pragmas.pipeline.format(ii=interval))
        if isinstance(op.attributes.get(directives.UNROLL), UnitAttr):
            found.append(pragmas.unroll_all)
        elif (factor := directives.integer(op.attributes, directives.UNROLL)) is not None:
            found.append(pragmas.unroll.format(factor=factor))
        found = [text for text in found if text]
        return ([], found) if pragmas.inside else (found, [])

    def _loops(self, op: Operation) -> bool:
        """Whether ``op`` calls a function with loops, which a pipeline around would unroll."""
        looped = self.scope.symbols.looped
        return isinstance(op, func.CallOp) and op.callee.string_value() in looped

    def _bound(self, map_: AffineMap, operands: Sequence[SSAValue], op: Operation) -> str:
        if len(map_.results) != 1:
            raise FastmlError("has several bounds, which C++ is not printed for", op)
        return self.indices.affine(map_.results[0], map_, operands)

    def _branch(self, op: affine.IfOp) -> None:
        variables = list[Expr]()
        for result in op.results:
            width, signed = width_of(result), prefers_signed(result)
            name = self.scope.fresh()
            self.scope.line(f"{self.scope.types.integer(width, signed)} {name};")
            self.scope.exprs[result] = Expr(name, width, signed)
            variables.append(self.scope.exprs[result])
        set_ = op.condition.data
        map_ = AffineMap(set_.num_dims, set_.num_symbols, ())
        tests = [self.indices.constraint(one, map_, op.args) for one in set_.constraints]
        regions: list[tuple[str, Region]] = [(f"if ({' && '.join(tests)})", op.then_region)]
        if op.else_region.blocks:
            regions.append(("else", op.else_region))
        for head, region in regions:
            with self.scope.braces(head):
                self.block(region.block)
                self._assign(variables, region.block)


def _iterates(op: Operation) -> bool:
    """Whether ``op`` is a loop that takes time, instead of copies of its body."""
    return isinstance(op, affine.ForOp) and not isinstance(
        op.attributes.get(directives.UNROLL), UnitAttr
    )
