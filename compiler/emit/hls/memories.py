"""Print memories: arrays, their directives, and accesses to their elements."""

from collections.abc import Mapping, Sequence

from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import IntegerType, MemRefType, UnitAttr
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineMap
from xdsl.utils.hints import isa

from fastml.compiler.emit.hls.indices import Indices
from fastml.compiler.emit.hls.roms import rom_pragmas
from fastml.compiler.emit.hls.scope import Array, Scope
from fastml.compiler.emit.hls.values import Expr
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives


class Memories:
    """Prints the memories of a function."""

    def __init__(self, scope: Scope, indices: Indices):
        self.scope = scope
        self.indices = indices
        self.writers = _writers(scope.function)

    def operation(self, op: Operation) -> bool:
        """Print an operation; False if it is none on memories."""
        match op:
            case affine.LoadOp():
                at = self._element(op.memref, op.map.data, op.indices, op)
                self._load(op.result, op.memref, at)
            case memref.LoadOp():
                identity = AffineMap.identity(len(op.indices))
                at = self._element(op.memref, identity, op.indices, op)
                self._load(op.res, op.memref, at)
            case affine.StoreOp():
                at = self._element(op.memref, op.map.data, op.indices, op)
                self._store(op.value, op.memref, at)
            case memref.StoreOp():
                identity = AffineMap.identity(len(op.indices))
                at = self._element(op.memref, identity, op.indices, op)
                self._store(op.value, op.memref, at)
            case memref.AllocOp():
                self._alloc(op)
            case memref.GetGlobalOp():
                self._get_global(op)
            case memref.DeallocOp():
                pass
            case _:
                return False
        return True

    def is_final(self, memory: SSAValue) -> bool:
        """Tell if nobody writes to ``memory`` any more."""
        return self.writers.get(memory) == 0

    def wrote(self, memory: SSAValue) -> None:
        """Note that an operation that may write to ``memory`` has been printed."""
        if memory in self.writers:
            self.writers[memory] -= 1

    def pragmas(
        self, name: str, attributes: Mapping[str, Attribute], *, rows: bool = False
    ) -> tuple[list[str], list[str]]:
        """Return the pragmas of an array: those before its declaration, and those after.

        Where it is a memory of ``rows``, each of them is a word.
        """
        pragmas, found = self.scope.flavour.pragmas, list[str]()
        partition = attributes.get(directives.PARTITION)
        if isinstance(partition, UnitAttr):
            found.append(pragmas.partition_all.format(name=name))
        elif (factor := directives.integer(attributes, directives.PARTITION)) is not None:
            found.append(pragmas.partition.format(name=name, factor=factor))
        if (depth := directives.integer(attributes, directives.STREAM)) is not None:
            found.append(pragmas.stream.format(name=name, depth=depth))
        if (storage := directives.text(attributes, directives.STORAGE)) is not None:
            found += [pragmas.words.format(name=name)] if rows else []
            found.append(pragmas.ram.get(storage, "").format(name=name))
        found = [text for text in found if text]
        return ([], found) if pragmas.inside else (found, [])

    def _element(
        self, memory: SSAValue, map_: AffineMap, operands: Sequence[SSAValue], op: Operation
    ) -> tuple[Array, str]:
        """Return the array, and one of its elements."""
        array = self.scope.arrays[memory]
        results = map_.results[array.beats > 1 :]  # it holds the beat of the first index
        for expr, size in zip(results, array.shape, strict=True):
            if isinstance(expr, AffineConstantExpr) and not 0 <= expr.value < size:
                raise FastmlError(f"index {expr.value} is out of range 0..{size - 1}", op)
        places = "".join(f"[{self.indices.affine(e, map_, operands)}]" for e in results)
        return array, f"{array.name}{places}"

    def _load(self, result: SSAValue, memory: SSAValue, at: tuple[Array, str]) -> None:
        if not result.uses.get_length():
            return
        array, text = at
        expr = Expr(text, array.width, array.signed)
        after = result.owner.next_op if isinstance(result.owner, Operation) else None
        if self.is_final(memory) and not array.rom:
            self.scope.exprs[result] = expr  # the same wherever it is read
        elif isinstance(after, arith.TruncIOp) and result.has_one_use() and after.input is result:
            self.scope.exprs[result] = expr
        else:
            self.scope.exprs[result] = self.scope.declare(text, array.width, array.signed)

    def _store(self, value: SSAValue, memory: SSAValue, at: tuple[Array, str]) -> None:
        array, text = at
        self.scope.line(f"{text} = {self.scope.exact(value, array.width, array.signed)};")
        self.wrote(memory)

    def _alloc(self, op: memref.AllocOp) -> None:
        scope = self.scope
        width, signed = scope.memref_type(op.memref.type, op.attributes)
        assert isa(op.memref.type, MemRefType)
        wanted = directives.text(op.attributes, directives.PORT) or "scratch"
        array = Array(scope.namer.unique(wanted), width, signed, op.memref.type.get_shape())
        scope.arrays[op.memref] = array
        before, inside = self.pragmas(array.name, op.attributes, rows=len(array.shape) == 2)
        dims = "".join(f"[{size}]" for size in array.shape)
        declared = f"{scope.types.integer(width, signed)} {array.name}{dims};"
        for text in (*before, declared, *inside):
            scope.line(text)

    def _get_global(self, op: memref.GetGlobalOp) -> None:
        name, definition = self.scope.symbols.roms[op.name_.string_value()]
        type_ = definition.type
        assert isa(type_, MemRefType)
        assert isa(type_.element_type, IntegerType)
        width = type_.element_type.width.data
        self.scope.arrays[op.memref] = Array(name, width, True, type_.get_shape(), rom=True)
        for text in rom_pragmas(self.scope.flavour.pragmas, name, op, definition):
            self.scope.line(text)


def _writers(function: func.FuncOp) -> dict[SSAValue, int]:
    """Count the operations that may write to each memory; none of a function with loops."""
    counts = dict[SSAValue, int]()
    if len(function.body.blocks) != 1:
        return counts
    block = function.body.block
    if any(op.regions for op in block.ops):
        return counts
    for argument in block.args:
        counts[argument] = 0
    for op in block.ops:
        if isinstance(op, memref.AllocOp):
            counts[op.memref] = 0
        elif isinstance(op, affine.StoreOp | memref.StoreOp):
            counts[op.memref] = counts.get(op.memref, 0) + 1
        elif isinstance(op, func.CallOp):
            for operand in op.operands:
                counts[operand] = counts.get(operand, 0) + 1
    return counts
