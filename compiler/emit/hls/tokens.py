"""Print processes that take and give tokens where their loops say so.

Such a process copies rows of its arguments, which are the tokens of a frame, from and to
arrays of its own. A stream has its tokens in order: a copy takes the next one, or gives it.
That the rows are meant in this order is checked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from xdsl.dialects import affine, memref
from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineExpr
from xdsl.utils.hints import isa

from fastml.compiler.emit.hls.cpp import FunctionPrinter
from fastml.compiler.emit.hls.flavours import Flavour
from fastml.compiler.emit.hls.scope import Array, Symbols
from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.support.names import Namer
from fastml.dialects.affine_processes import Beats, Process


def copies_tokens(function: FuncOp) -> bool:
    """Whether the arguments of ``function`` are accessed by copies of rows alone."""
    uses = [use.operation for argument in function.args for use in argument.uses]
    return bool(uses) and all(isinstance(op, memref.SubviewOp | memref.CopyOp) for op in uses)


class TokenPrinter(FunctionPrinter):
    """Prints a process that copies tokens."""

    def __init__(
        self,
        process: Process,
        flavour: Flavour,
        symbols: Symbols,
        taken: Namer,
        taps: Mapping[SSAValue, int],
    ):
        super().__init__(process.function, flavour, symbols, taken)
        self.process = process
        self.streams = flavour.streams
        self.taps = taps
        self.ends = dict[SSAValue, Beats]()
        """Arguments that are streams."""
        self.rows = dict[SSAValue, tuple[SSAValue, str]]()
        """Of a view of a row, the memory and the text of it."""

    def parameters(self, names: Sequence[str]) -> str:
        """Declare the arguments."""
        if self.streams is None:
            return super().parameters(names)
        given = list[str]()
        for argument, name in zip(self.process.arguments, names, strict=True):
            width, signed = self.scope.memref_type(argument.value.type, argument.attributes)
            name, size = self.scope.namer.unique(f"{name}_stream"), len(argument.elements)
            self.scope.arrays[argument.value] = Array(name, width, signed, (size,))
            self.ends[argument.value] = argument
            kind = self.streams.of(self.scope.types.integer(width, signed), size)
            given.append(f"{kind} &{name}")
            self._check_order(argument)
        return ", ".join(given)

    def operation(self, op: Operation) -> None:
        """Print one operation."""
        match op:
            case memref.SubviewOp():
                self._view(op)
            case memref.CopyOp():
                self._copy(op)
            case _:
                super().operation(op)

    def leave(self, loop: affine.ForOp, index: str) -> None:
        """Print what is seen of the edges inside."""
        for op in loop.body.block.ops:
            if isinstance(op, memref.AllocOp) and op.memref in self.taps:
                name = self.array(op.memref).name
                self.scope.line(f"FASTML_TAP({self.taps[op.memref]}, {name});")

    def _view(self, op: memref.SubviewOp) -> None:
        """Remember a row of a memory."""
        place = _row_of(op)
        if op.source in self.ends:
            self.rows[op.result] = op.source, self.array(op.source).name
            return
        text = f"{self.array(op.source).name}[{self.indices.index(place)}]"
        self.rows[op.result] = op.source, text

    def _copy(self, op: memref.CopyOp) -> None:
        source, taken = self._memory(op.source)
        target, given = self._memory(op.destination)
        if source in self.ends and target in self.ends:
            raise FastmlError("copies from stream to stream, without an array between", op)
        if source in self.ends:
            self.scope.line(f"fastml::take({taken}, {given});")
        elif target in self.ends:
            if target in self.taps:
                self.scope.line(f"FASTML_TAP({self.taps[target]}, {taken});")
            self.scope.line(f"fastml::give({taken}, {given});")
        else:
            self._copy_elements(op, taken, given)

    def _memory(self, memory: SSAValue) -> tuple[SSAValue, str]:
        return self.rows.get(memory) or (memory, self.array(memory).name)

    def _copy_elements(self, op: memref.CopyOp, source: str, target: str) -> None:
        """Print a copy between two arrays."""
        assert isa(op.source.type, MemRefType)
        (size,) = op.source.type.get_shape()
        pragmas = self.scope.flavour.pragmas
        unroll = [pragmas.unroll_all] if pragmas.unroll_all else []
        for text in () if pragmas.inside else unroll:
            self.scope.line(text)
        with (
            self.scope.counter() as i,
            self.scope.braces(f"for (int {i} = 0; {i} < {size}; {i} += 1)"),
        ):
            for text in unroll if pragmas.inside else ():
                self.scope.line(text)
            self.scope.line(f"{target}[{i}] = {source}[{i}];")

    def _check_order(self, argument: Beats) -> None:
        """Refuse to take or give tokens of a stream in another order than theirs."""
        copies = list[tuple[memref.CopyOp, SSAValue | None]]()
        for use in argument.value.uses:
            view = use.operation
            if isinstance(view, memref.CopyOp):
                copies.append((view, None))
                continue
            assert isinstance(view, memref.SubviewOp)
            place = _row_of(view)
            users = [inner.operation for inner in view.result.uses]
            copies += [(op, place) for op in users if isinstance(op, memref.CopyOp)]
        if len(copies) != 1:
            raise FastmlError(
                f"copies tokens of '{argument.name}' in {len(copies)} places, of which a stream "
                "has the order of one",
                self.function,
            )
        ((copy, place),) = copies
        order = _order(copy, place)
        if len(order) != argument.beats or (order != np.arange(argument.beats)).any():
            raise FastmlError(
                f"tokens of '{argument.name}' are not copied in order, each of them once", copy
            )


def _row_of(op: memref.SubviewOp) -> SSAValue:
    """Return which row of a memory a view is; refuse other views."""
    assert isa(op.source.type, MemRefType)
    shape = op.source.type.get_shape()
    sizes = op.static_sizes.get_values(), op.static_strides.get_values()
    first = op.static_offsets.get_values()
    if sizes != ((1, *shape[1:]), (1, 1)) or first[1:] != (0,) or len(op.offsets) != 1:
        raise FastmlError("is no view of one row of a memory", op)
    return op.offsets[0]


def _order(op: Operation, place: SSAValue | None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the rows that ``op`` accesses in a run of its function, one after the other."""
    loops, branches = list[affine.ForOp](), list[tuple[affine.IfOp, bool]]()
    block = op.parent_block()
    while block is not None:
        above, region = block.parent_op(), block.parent_region()
        if isinstance(above, affine.ForOp):
            loops.insert(0, above)
        elif isinstance(above, affine.IfOp):
            branches.append((above, region is above.then_region))
        block = None if above is None else above.parent_block()
    counters = dict[SSAValue, Any]()
    grids = np.meshgrid(*(_counts(loop) for loop in loops), indexing="ij")
    for loop, grid in zip(loops, grids, strict=True):
        counters[loop.body.block.args[0]] = grid.reshape(-1)
    runs = int(np.prod([grid.shape for grid in grids[:1]])) if grids else 1
    wanted = np.ones(runs, np.bool_)
    for branch, holds in branches:
        wanted &= _holds(branch, counters, op) == holds
    if place is None:
        return np.arange(np.count_nonzero(wanted))
    rows = np.zeros(runs, np.int64) + _value(place, counters, op)
    return rows[wanted]


def _counts(loop: affine.ForOp) -> np.ndarray[Any, np.dtype[np.int64]]:
    match loop.lowerBoundMap.data.results, loop.upperBoundMap.data.results:
        case (AffineConstantExpr(value=low),), (AffineConstantExpr(value=high),):
            return np.arange(low, high, loop.step.value.data)
        case _:
            raise FastmlError("tokens are copied in a loop whose bounds are not constant", loop)


def _holds(op: affine.IfOp, counters: Mapping[SSAValue, Any], at: Operation) -> Any:
    condition, holds = op.condition.data, True
    dims = [_value(value, counters, at) for value in op.args]
    for constraint in condition.constraints:
        left, right = (
            _evaluate(side, dims, condition.num_dims) for side in (constraint.lhs, constraint.rhs)
        )
        found = {">=": left >= right, "<=": left <= right, "==": left == right}
        holds = holds & found[constraint.kind.value]
    return holds


def _value(value: SSAValue, counters: Mapping[SSAValue, Any], at: Operation) -> Any:
    """Return an index in all iterations at once."""
    if value in counters:
        return counters[value]
    if not isinstance(value.owner, affine.ApplyOp):
        raise FastmlError("tokens are copied where not only counters say so", at)
    map_ = value.owner.map.data
    dims = [_value(operand, counters, at) for operand in value.owner.mapOperands]
    return _evaluate(map_.results[0], dims, map_.num_dims)


def _evaluate(expr: AffineExpr, dims: Sequence[Any], count: int) -> Any:
    return expr.eval(list(dims[:count]), list(dims[count:]))
