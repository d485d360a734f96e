"""Prepare affine functions for a tool that compiles C++: bounded functions, arrays, loops.

A straight-line function with too many operations becomes a function that calls several, each
of which leaves what the others need in one memory. Values and cycles stay what they were, so
that the result is a program of the affine level like any other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    AffineMapAttr,
    ArrayAttr,
    DictionaryAttr,
    IntegerType,
    MemRefType,
    ModuleOp,
    StringAttr,
    UnitAttr,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineMap
from xdsl.passes import ModulePass
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.support.names import Namer
from fastml.dialects import directives
from fastml.dialects.elements import Elements

_WIRING = (arith.ConstantOp, arith.ExtSIOp, arith.ExtUIOp, arith.TruncIOp, affine.LoadOp)
"""Operations that cost nothing, and are repeated where their result is needed."""


@dataclass(frozen=True)
class HlsTiling(ModulePass):
    """Split large straight-line functions, mark split arrays, check the limits of a tool."""

    name = "hls-tiling"

    operations: int = 500
    """Most operations of a function, wiring apart."""
    partition: int = 0
    """Most elements of an array that is split into registers; 0: any."""
    unroll: int = 0
    """Most iterations of a loop that is unrolled; 0: any."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Split, mark and check every function of ``op``.

        A part leaves at most as many results as it has operations, so that the memory
        between parts stays within what the tool splits into registers.
        """
        namer = Namer(_symbols(op))
        looped = {f.sym_name.data for f in _functions(op) if _has_loops(f)}
        most = min(self.operations, self.partition or self.operations)  # a part's results
        for function in _functions(op):
            if function.sym_name.data not in looped:
                _split(function, most, namer)
        walked = _Walked(_functions(op))
        for function in _functions(op):
            self._check_unrolled(function)
            self._mark(function, walked)

    def _check_unrolled(self, function: func.FuncOp) -> None:
        for op in function.walk():
            unroll = op.attributes.get(directives.UNROLL)
            if not isinstance(op, affine.ForOp) or unroll is None:
                continue
            copies = _trips(op)
            if not isinstance(unroll, UnitAttr):
                copies = directives.integer(op.attributes, directives.UNROLL)
            if self.unroll and copies is not None and copies > self.unroll:
                raise FastmlError(
                    f"is unrolled {copies} times, but the tool takes {self.unroll} at most",
                    op,
                    code="FML-TARGET",
                    hint="unroll by a factor, or let the compiler print adder graphs",
                )

    def _mark(self, function: func.FuncOp, walked: "_Walked") -> None:
        """Split the arrays whose elements are all accessed at once, and check what is split."""
        described = list[DictionaryAttr]()
        holds = directives.PROCESS in function.attributes  # a beat of each argument
        for argument, attributes in zip(
            function.args, directives.argument_attributes(function), strict=True
        ):
            attributes = dict(attributes)
            if directives.STREAM in attributes:
                described.append(DictionaryAttr(attributes))
                continue
            if holds or not walked(argument) or self._at_once(argument, walked):
                attributes.setdefault(directives.PARTITION, UnitAttr())
            self._check_partition(argument, attributes, function)
            described.append(DictionaryAttr(attributes))
        function.arg_attrs = ArrayAttr(described)
        for op in function.walk():
            if isinstance(op, memref.AllocOp):
                split = not walked(op.memref) or self._at_once(op.memref, walked)
                elsewhere = {directives.STREAM, directives.STORAGE} & op.attributes.keys()
                if split and not elsewhere:
                    op.attributes.setdefault(directives.PARTITION, UnitAttr())
                self._check_partition(op.memref, op.attributes, op)

    def _at_once(self, memory: SSAValue, walked: "_Walked") -> bool:
        """Whether to split an array that loops access, since more than one element is wanted."""
        assert isa(memory.type, MemRefType)
        fits = not self.partition or memory.type.element_count() <= self.partition
        return fits and walked.at_once(memory) > 1

    def _check_partition(
        self, value: SSAValue, attributes: Mapping[str, Attribute], op: Operation
    ) -> None:
        assert isa(value.type, MemRefType)
        partition = attributes.get(directives.PARTITION)
        if partition is None:
            return
        size = value.type.get_shape()[-1] if value.type.get_num_dims() else 1
        if directives.ELEMENTS not in attributes or not directives.is_dataflow(_function_of(op)):
            size = value.type.element_count()  # of a beat, where there are several
        if not isinstance(partition, UnitAttr):
            size = directives.integer(attributes, directives.PARTITION) or 0
        if self.partition and size > self.partition:
            name = next(
                filter(
                    None,
                    (directives.text(attributes, k) for k in (directives.NAME, directives.PORT)),
                ),
                "",
            )
            raise FastmlError(
                f"array '{name}' has {size} elements, but the tool splits {self.partition} into "
                "registers at most",
                op,
                code="FML-TARGET",
                hint="choose a flavour without that limit (oneapi, catapult), or emit sv",
            )


def _functions(module: ModuleOp) -> list[func.FuncOp]:
    return [op for op in module.ops if isinstance(op, func.FuncOp) and not op.is_declaration]


def _function_of(op: Operation) -> Operation:
    while not isinstance(op, func.FuncOp):
        above = op.parent_op()
        assert above is not None
        op = above
    return op


def _symbols(module: ModuleOp) -> Iterable[str]:
    for op in module.ops:
        name = op.properties.get("sym_name")
        if isinstance(name, StringAttr):
            yield name.data


def _has_loops(function: func.FuncOp) -> bool:
    return any(isinstance(op, affine.ForOp | affine.IfOp) for op in function.body.block.ops)


class _Walked:
    """Tells the memories that a loop accesses, here or in a function that is called."""

    def __init__(self, functions: Sequence[func.FuncOp]):
        self.functions = {function.sym_name.data: function for function in functions}
        self.looped = {name for name, f in self.functions.items() if _has_loops(f)}
        self.known = dict[SSAValue, bool]()
        self.counted = dict[SSAValue, int]()

    def __call__(self, memory: SSAValue) -> bool:
        """Return whether loops access ``memory``."""
        if memory not in self.known:
            self.known[memory] = False  # until found, so that recursion ends
            self.known[memory] = self._by_function(memory) or any(
                self._by_call(use.operation, use.index) for use in memory.uses
            )
        return self.known[memory]

    def at_once(self, memory: SSAValue) -> int:
        """Return how many elements of ``memory`` a block of code reads, or writes, at most."""
        if memory in self.counted:
            return self.counted[memory]
        self.counted[memory] = most = 0  # until found, so that recursion ends
        counts = Counter[tuple[Block | None, str]]()
        for use in memory.uses:
            op = use.operation
            if isinstance(op, func.CallOp):
                callee = self.functions.get(op.callee.string_value())
                most = max(most, 0 if callee is None else self.at_once(callee.args[use.index]))
            else:
                counts[op.parent_block(), op.name] += 1
        self.counted[memory] = max(most, *counts.values(), 0)
        return self.counted[memory]

    def _by_function(self, memory: SSAValue) -> bool:
        block = memory.owner if isinstance(memory.owner, Block) else memory.owner.parent_block()
        function = None if block is None else block.parent_op()
        while function is not None and not isinstance(function, func.FuncOp):
            function = function.parent_op()
        return function is not None and function.sym_name.data in self.looped

    def _by_call(self, op: Operation, position: int) -> bool:
        if not isinstance(op, func.CallOp):
            return False
        callee = self.functions.get(op.callee.string_value())
        return callee is not None and self(callee.args[position])


def _trips(loop: affine.ForOp) -> int | None:
    """Return the number of iterations where the bounds are constant."""
    bounds = list[int]()
    for map_ in (loop.lowerBoundMap.data, loop.upperBoundMap.data):
        if len(map_.results) != 1 or not isinstance(map_.results[0], AffineConstantExpr):
            return None
        bounds.append(map_.results[0].value)
    return max(0, -(-(bounds[1] - bounds[0]) // loop.step.value.data))


# --- splitting -------------------------------------------------------------------------


@dataclass
class _Part:
    """Operations of one part, in order, and the values that others need from it."""

    operations: list[Operation]
    results: list[SSAValue]


def _split(function: func.FuncOp, limit: int, namer: Namer) -> None:
    """Split ``function`` if it has more than ``limit`` operations of its own."""
    block = function.body.block
    known = (*_WIRING, affine.StoreOp, func.ReturnOp)
    own = [op for op in block.ops if not isinstance(op, known)]
    if len(own) <= limit or any(not op.name.startswith("arith.") for op in own):
        return
    stores = [op for op in block.ops if isinstance(op, affine.StoreOp)]
    _Splitter(function, namer).rebuild(stores, _parts(_by_store(stores), stores, limit))


def _by_store(stores: Sequence[affine.StoreOp]) -> list[Operation]:
    """Order the operations by the store that first needs them."""
    ordered, seen = list[Operation](), set[Operation]()
    for store in stores:
        stack: list[tuple[SSAValue, bool]] = [(store.value, False)]
        while stack:
            value, ready = stack.pop()
            op = value.owner
            if not isinstance(op, Operation):
                continue
            if ready:
                if op not in seen:
                    seen.add(op)
                    if not isinstance(op, _WIRING):
                        ordered.append(op)
            elif op not in seen:
                stack.append((value, True))
                stack += [(operand, False) for operand in reversed(op.operands)]
    return ordered


def _sources(value: SSAValue) -> Iterable[SSAValue]:
    """Yield the results that ``value`` is wired from."""
    op = value.owner
    if isinstance(op, arith.ExtSIOp | arith.ExtUIOp | arith.TruncIOp):
        yield from _sources(op.operands[0])
    elif isinstance(op, Operation) and not isinstance(op, _WIRING):
        yield value


def _parts(
    ordered: Sequence[Operation], stores: Sequence[affine.StoreOp], limit: int
) -> list[_Part]:
    count = -(-len(ordered) // limit)
    size = -(-len(ordered) // count)
    parts = [_Part(list(ordered[k : k + size]), []) for k in range(0, len(ordered), size)]
    home = {op: k for k, part in enumerate(parts) for op in part.operations}
    needed = dict[SSAValue, None]()
    for k, part in enumerate(parts):
        for op in part.operations:
            for operand in op.operands:
                needed |= dict.fromkeys(s for s in _sources(operand) if home[_operation(s)] != k)
    for store in stores:
        needed |= dict.fromkeys(_sources(store.value))
    for value in needed:
        parts[home[_operation(value)]].results.append(value)
    return parts


def _operation(value: SSAValue) -> Operation:
    assert isinstance(value.owner, Operation)
    return value.owner


def _layout(values: Sequence[SSAValue]) -> Elements:
    widths = tuple(_width(value) for value in values)
    return Elements(widths, (True,) * len(widths))


def _width(value: SSAValue) -> int:
    assert isa(value.type, IntegerType)
    return value.type.width.data


def _memref(layout: Elements) -> MemRefType[IntegerType]:
    return MemRefType(IntegerType(max(layout.container[0], 1)), (len(layout),))


def _at(element: int) -> AffineMapAttr:
    return AffineMapAttr(AffineMap(0, 0, (AffineConstantExpr(element),)))


class _Copier:
    """Appends copies of operations to a block; ``fetch`` brings what is not computed there."""

    def __init__(self, block: Block, fetch: Callable[["_Copier", SSAValue], SSAValue | None]):
        self.block = block
        self.fetch = fetch
        self.copies = dict[SSAValue, SSAValue]()

    def value(self, value: SSAValue) -> SSAValue:
        """Return the copy of ``value``, made with all that it is wired from."""
        if value not in self.copies:
            found = self.fetch(self, value)
            if found is None:
                found = self.operation(_operation(value)).results[0]
            self.copies[value] = found
        return self.copies[value]

    def operation(self, op: Operation) -> Operation:
        """Append a copy of ``op``."""
        for operand in op.operands:
            self.value(operand)
        made = op.clone(self.copies)
        made.location = op.location
        self.block.add_op(made)
        return made

    def add(self, op: Operation, like: Operation) -> Operation:
        """Append a new operation at the location of another."""
        op.location = like.location
        self.block.add_op(op)
        return op

    def load(self, memory: SSAValue, element: int, value: SSAValue) -> SSAValue:
        """Load what was kept of ``value``."""
        like = _operation(value)
        loaded = self.add(affine.LoadOp(memory, (), _at(element)), like).results[0]
        if _width(loaded) > _width(value):
            return self.add(arith.TruncIOp(loaded, IntegerType(_width(value))), like).results[0]
        return loaded

    def store(self, value: SSAValue, memory: SSAValue, element: int, width: int) -> None:
        """Store ``value`` for others."""
        like = _operation(value)
        if _width(value) < width:
            value = self.add(arith.ExtSIOp(value, IntegerType(width)), like).results[0]
        self.add(affine.StoreOp(value, memory, (), _at(element)), like)


class _Splitter:
    """Rebuilds one function as calls of its parts."""

    def __init__(self, function: func.FuncOp, namer: Namer):
        self.function = function
        self.namer = namer
        self.kept = dict[SSAValue, tuple[SSAValue, int]]()
        """Where the caller keeps the values of the parts."""
        self.layouts = dict[SSAValue, Elements]()
        described = directives.argument_attributes(function)
        self.described = dict[SSAValue, Mapping[str, Attribute]](
            zip(function.args, described, strict=True)
        )

    def rebuild(self, stores: Sequence[affine.StoreOp], parts: Sequence[_Part]) -> None:
        """Replace the body."""
        old = self.function.body.block
        new = Block(arg_types=[argument.type for argument in old.args])
        mine = dict[SSAValue, SSAValue](zip(old.args, new.args, strict=True))
        for number, part in enumerate(parts):
            self._call(part, f"{self.function.sym_name.data}_part{number}", new, mine)

        def fetch(copier: _Copier, value: SSAValue) -> SSAValue | None:
            if value in mine:
                return mine[value]
            return copier.load(*self.kept[value], value) if value in self.kept else None

        copier = _Copier(new, fetch)
        for store in stores:
            copier.operation(store)
        new.add_op(self._return())
        for op in reversed(list(old.ops)):
            op.detach()
            op.erase(safe_erase=False)
        region = self.function.body
        region.detach_block(old)
        region.add_block(new)

    def _return(self) -> func.ReturnOp:
        done = func.ReturnOp()
        done.location = self.function.location
        return done

    def _call(
        self, part: _Part, name: str, block: Block, mine: Mapping[SSAValue, SSAValue]
    ) -> None:
        """Make the function of a part, and append its call with the memory of its results."""
        name = self.namer.unique(name)
        layout = _layout(part.results)
        made, taken = self._function(name, part, layout)
        module = self.function.parent_op()
        assert isinstance(module, ModuleOp)
        module.body.block.insert_op_before(made, self.function)
        buffer = memref.AllocOp.get(_memref(layout).element_type, None, [len(layout)])
        buffer.attributes[directives.ELEMENTS] = StringAttr(str(layout))
        call = func.CallOp(name, [*(mine.get(m, m) for m in taken), buffer.memref], [])
        buffer.location = call.location = self.function.location
        block.add_ops([buffer, call])
        self.layouts[buffer.memref] = layout
        self.kept |= {value: (buffer.memref, k) for k, value in enumerate(part.results)}

    def _function(
        self, name: str, part: _Part, layout: Elements
    ) -> tuple[func.FuncOp, list[SSAValue]]:
        """Return the function of a part, and the memories of the caller that it reads."""
        block = Block()
        taken = dict[SSAValue, SSAValue]()

        def take(memory: SSAValue) -> SSAValue:
            if memory not in taken:
                taken[memory] = block.insert_arg(memory.type, len(block.args))
            return taken[memory]

        def fetch(copier: _Copier, value: SSAValue) -> SSAValue | None:
            if value in self.described:
                return take(value)
            if value not in self.kept:
                return None
            memory, element = self.kept[value]
            return copier.load(take(memory), element, value)

        copier = _Copier(block, fetch)
        for op in part.operations:
            made = copier.operation(op)
            copier.copies |= dict(zip(op.results, made.results, strict=True))
        result = block.insert_arg(_memref(layout), len(block.args))
        for element, value in enumerate(part.results):
            copier.store(copier.copies[value], result, element, layout.container[0])
        block.add_op(self._return())
        types = [argument.type for argument in block.args]
        function = func.FuncOp(name, (types, []), Region(block), visibility="private")
        function.location = self.function.location
        layouts = [*(self._layout_of(memory) for memory in taken), str(layout)]
        function.arg_attrs = ArrayAttr(
            [
                _described(f"x{k}" if k < len(taken) else "y", elements, k < len(taken))
                for k, elements in enumerate(layouts)
            ]
        )
        return function, list(taken)

    def _layout_of(self, memory: SSAValue) -> str:
        if memory in self.layouts:
            return str(self.layouts[memory])
        found = directives.text(self.described[memory], directives.ELEMENTS)
        if found is None:
            raise FastmlError("an argument has no layout", self.function)
        return found


def _described(port: str, layout: str, is_input: bool) -> DictionaryAttr:
    return DictionaryAttr(
        {
            directives.PORT: StringAttr(port),
            directives.ELEMENTS: StringAttr(layout),
            directives.DIRECTION: StringAttr("in" if is_input else "out"),
        }
    )
