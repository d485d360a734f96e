"""Append what a process on the tokens of an image does: windows, other orders, reductions.

Windows and reorderings copy tokens, one after the other, by loops over the result: which
token is copied is computed where the tables lie on lines, and read from constants where not.
A reduction is a loop over its firings that hands on what it has so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import (
    AffineMapAttr,
    AffineSetAttr,
    DenseIntElementsAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    LocationAttr,
    MemRefType,
    StringAttr,
    TensorType,
    UnitAttr,
)
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.ir.affine import (
    AffineConstantExpr,
    AffineConstraintExpr,
    AffineConstraintKind,
    AffineDimExpr,
    AffineExpr,
    AffineMap,
    AffineSet,
)
from xdsl.utils.hints import isa

from fastml.dialects.array import ConstantArray, Integers
from fastml.dialects.channel import ChannelType, channel_of
from fastml.dialects.elements import width_of
from fastml.dialects.qflow_windows import (
    AccessOp,
    Columns,
    ReduceKind,
    ReduceOp,
    ReorderOp,
    WindowOp,
    columns_of,
)

INDEX = IndexType()


@dataclass
class TokenFunction:
    """The body of a process on tokens: from one array to several that are all the same."""

    block: Block
    location: LocationAttr
    source: SSAValue
    targets: Sequence[SSAValue]
    name: str
    """Stem of the constants."""
    constants: list[Operation] = field(default_factory=list[Operation])
    """Constants of the module."""

    def access(self, op: AccessOp) -> None:
        """Append the loops of a window or a reordering."""
        copies = _Copies(self, op)
        if isinstance(op, WindowOp):
            copies.window(op)
        else:
            assert isinstance(op, ReorderOp)
            copies.reorder(op)

    def reduce(self, op: ReduceOp) -> affine.ForOp | None:
        """Append the loop of a reduction over its firings; return it, if there are several."""
        return _Reduction(self, op).build()

    def add(self, block: Block, op: Operation) -> SSAValue:
        """Append an operation."""
        op.location = self.location
        block.add_op(op)
        return op.results[0] if op.results else self.source

    def number(self, block: Block, value: int) -> SSAValue:
        """Append an index constant."""
        return self.add(block, arith.ConstantOp(IntegerAttr(value, INDEX)))

    def apply(self, block: Block, expression: AffineExpr, dims: Sequence[SSAValue]) -> SSAValue:
        """Append index arithmetic."""
        found = AffineMapAttr(AffineMap(len(dims), 0, (expression,)))
        return self.add(block, affine.ApplyOp(dims, found))

    def loop(self, block: Block, count: int) -> tuple[Block, SSAValue]:
        """Append a loop from 0 on; return its body and counter."""
        body = Block(arg_types=[INDEX])
        self.add(block, affine.ForOp.from_region([], [], [], [], 0, count, Region(body)))
        return body, body.args[0]

    def end(self, *blocks: Block) -> None:
        """End the bodies of loops."""
        for block in blocks:
            self.add(block, affine.YieldOp.get())

    def load(
        self, block: Block, array: SSAValue, dims: Sequence[SSAValue], *places: AffineExpr
    ) -> SSAValue:
        """Append a read at places that depend on counters."""
        found = AffineMapAttr(AffineMap(len(dims), 0, places))
        return self.add(block, affine.LoadOp(array, dims, found))

    def store(
        self, block: Block, value: SSAValue, dims: Sequence[SSAValue], *places: AffineExpr
    ) -> None:
        """Append a write to each target, at ``[beat, element]``."""
        for target in self.targets:
            assert isa(target.type, MemRefType)
            kept = places[-target.type.get_num_dims() :]
            found = AffineMapAttr(AffineMap(len(dims), 0, tuple(kept)))
            self.add(block, affine.StoreOp(value, target, dims, found))

    def table(self, what: str, values: Integers, width: int) -> SSAValue:
        """Append a constant array; return it."""
        element, shape = IntegerType(width), values.shape
        words = DenseIntElementsAttr.from_list(
            TensorType(element, shape), values.reshape(-1).tolist()
        )
        name = f"{self.name}_{what}"
        kind = MemRefType(element, shape)
        made = memref.GlobalOp.get(StringAttr(name), kind, words, constant=UnitAttr())
        made.location = self.location
        self.constants.append(made)
        return self.add(self.block, memref.GetGlobalOp(name, kind))

    def resized(
        self, block: Block, value: SSAValue, channel: ChannelType, result: ChannelType
    ) -> SSAValue:
        """Bring an element into the container of the result, which holds it."""
        own, sign = channel.elements.container
        width = max(result.elements.container[0], 1)
        own = max(own, 1)
        if width == own:
            return value
        if width < own:
            return self.add(block, arith.TruncIOp(value, IntegerType(width)))
        kind = arith.ExtSIOp if sign else arith.ExtUIOp
        return self.add(block, kind(value, IntegerType(width)))


@dataclass(frozen=True)
class _Position:
    """A row, a column or a token: its index, and whether there is one; ``None``: always."""

    index: SSAValue
    inside: SSAValue | None


class _Copies:
    """Loops that copy tokens."""

    def __init__(self, function: TokenFunction, op: AccessOp):
        self.function, self.block = function, function.block
        self.input, self.result = channel_of(op.input), channel_of(op.result)
        self.elements = len(self.input)
        self.zero = function.number(self.block, 0)
        self.values = op.fill.integers
        self.fill: SSAValue | None = None
        """The constant where no token is read: one for all elements, or an array."""

    def window(self, op: WindowOp) -> None:
        """Append loops over rows, columns, and the window."""
        function, (high, wide) = self.function, op.kernel
        rows = self.table("rows", op.rows.data, op.height)
        cols = self.table("cols", op.cols.data, op.width)
        if np.any(op.rows.integers < 0) or np.any(op.cols.integers < 0):
            self.constant()
        width = function.number(self.block, op.width)
        limits = [function.number(self.block, limit) for limit in (op.height, op.width)]
        outputs = len(op.cols.integers)
        body_y, y = function.loop(self.block, len(op.rows.integers))
        body_ky, ky = function.loop(body_y, high)
        row = self.position(body_ky, rows, op.rows.data, (y, ky), limits[0])
        body_x, x = function.loop(body_ky, outputs)
        body, kx = function.loop(body_x, wide)
        column = self.position(body, cols, op.cols.data, (x, kx), limits[1])
        start = function.add(body, arith.MuliOp(row.index, width))
        token = function.add(body, arith.AddiOp(start, column.index))
        inside = row.inside if column.inside is None else column.inside
        if row.inside is not None and column.inside is not None:
            inside = function.add(body, arith.AndIOp(row.inside, column.inside))
        beat = AffineDimExpr(0) * outputs + AffineDimExpr(1)
        tap = AffineDimExpr(2) * wide + AffineDimExpr(3)
        self.copy(body, _Position(token, inside), (y, x, ky, kx), beat, tap)
        function.end(body, body_x, body_ky, body_y)

    def reorder(self, op: ReorderOp) -> None:
        """Append a loop over tokens."""
        function, index = self.function, op.index.data
        table = function.table("index", index.array, _width(self.input.beats.data))
        if np.any(index.array < 0):
            self.constant()
        limit = function.number(self.block, self.input.beats.data)
        body, token = function.loop(self.block, len(index.array))
        position = self.position(body, table, index, (token,), limit)
        self.copy(body, position, (token,), AffineDimExpr(0), AffineConstantExpr(0))
        function.end(body)

    def constant(self) -> None:
        """Append the constant of where no token is read."""
        width = max(self.result.elements.container[0], 1)
        if np.all(self.values == self.values[0]):
            number = IntegerAttr(int(self.values[0]), IntegerType(width))
            self.fill = self.function.add(self.block, arith.ConstantOp(number))
        else:
            self.fill = self.function.table("fill", self.values, width)

    def table(self, what: str, places: ConstantArray, limit: int) -> SSAValue | Columns:
        """Return the line that places lie on, or else their table."""
        line = columns_of(places, limit)
        if line is not None:
            return line
        return self.function.table(what, places.array, _width(limit))

    def position(
        self,
        block: Block,
        table: SSAValue | Columns,
        places: ConstantArray,
        dims: Sequence[SSAValue],
        limit: SSAValue,
    ) -> _Position:
        """Append what a place is."""
        function = self.function
        if isinstance(table, Columns):
            line = AffineDimExpr(0) * table.stride + AffineDimExpr(1) * table.dilation
            index = function.apply(block, line - table.pad, dims)
        else:
            indices = [AffineDimExpr(number) for number in range(len(dims))]
            word = function.load(block, table, dims, *indices)
            index = function.add(block, arith.IndexCastOp(word, INDEX))
        if np.all(places.array >= 0):
            return _Position(index, None)
        # What is negative is large as an unsigned number.
        return _Position(index, function.add(block, arith.CmpiOp(index, limit, "ult")))

    def copy(
        self,
        block: Block,
        position: _Position,
        dims: Sequence[SSAValue],
        beat: AffineExpr,
        tap: AffineExpr,
    ) -> None:
        """Append the copy of a token, element by element."""
        function, index, inside = self.function, position.index, position.inside
        if inside is not None:
            index = function.add(block, arith.SelectOp(inside, index, self.zero))
        body, n = function.loop(block, self.elements)
        one = self.input.beats.data == 1
        load = memref.LoadOp.get(function.source, [n] if one else [index, n])
        value = function.resized(body, function.add(body, load), self.input, self.result)
        if inside is not None:
            assert self.fill is not None
            fill = self.fill
            if isinstance(fill.type, MemRefType):
                fill = function.load(body, fill, (n,), AffineDimExpr(0))
            value = function.add(body, arith.SelectOp(inside, value, fill))
        element = tap * self.elements + AffineDimExpr(len(dims))
        function.store(body, value, (*dims, n), beat, element)
        function.end(body)


class _Reduction:
    """A loop over tokens that hands on what it has of each element."""

    def __init__(self, function: TokenFunction, op: ReduceOp):
        self.function = function
        self.input, self.result = channel_of(op.input), channel_of(op.result)
        self.kind, self.count = ReduceKind(op.kind.data), op.count.data
        self.type = IntegerType(max(self.result.elements.container[0], 1))

    def build(self) -> affine.ForOp | None:
        """Append the loop, or, for a single token, its copy."""
        function, elements = self.function, len(self.input)
        if self.input.beats.data == 1:
            for n in range(elements):
                value = function.load(function.block, function.source, (), AffineConstantExpr(n))
                value = function.resized(function.block, value, self.input, self.result)
                function.store(function.block, value, (), AffineConstantExpr(n))
            return None
        zero = function.add(function.block, arith.ConstantOp(IntegerAttr(0, self.type)))
        carried = elements if self.count > 1 else 0
        body = Block(arg_types=[INDEX, *[self.type] * carried])
        token, *before = body.args
        first: SSAValue | None = None
        if carried:
            start = function.number(body, 0)
            phase = function.apply(body, AffineDimExpr(0) % self.count, (token,))
            first = function.add(body, arith.CmpiOp(phase, start, "eq"))
        values = list[SSAValue]()
        for n in range(elements):
            place = AffineDimExpr(0), AffineConstantExpr(n)
            value = function.load(body, function.source, (token,), *place)
            value = function.resized(body, value, self.input, self.result)
            if first is not None:
                value = self.join(body, first, before[n], value, zero)
            values.append(value)
        inner = body if first is None else self.last(body, token)
        group = AffineDimExpr(0) // self.count if self.count > 1 else AffineDimExpr(0)
        for n, value in enumerate(values):
            function.store(inner, value, (token,), group, AffineConstantExpr(n))
        if inner is not body:
            function.end(inner)
        function.add(body, affine.YieldOp.get(*values[:carried]))
        inits = [zero] * carried
        kinds = [self.type] * carried
        loop = affine.ForOp.from_region(
            [], [], inits, kinds, 0, self.input.beats.data, Region(body)
        )
        function.add(function.block, loop)
        return loop

    def join(
        self, body: Block, first: SSAValue, before: SSAValue, value: SSAValue, zero: SSAValue
    ) -> SSAValue:
        """Append what there is with one token more."""
        function, signed = self.function, self.result.elements.container[1]
        if self.kind is ReduceKind.SUM:
            before = function.add(body, arith.SelectOp(first, zero, before))
            return function.add(body, arith.AddiOp(before, value))
        kinds = {
            (ReduceKind.MAX, True): arith.MaxSIOp,
            (ReduceKind.MAX, False): arith.MaxUIOp,
            (ReduceKind.MIN, True): arith.MinSIOp,
            (ReduceKind.MIN, False): arith.MinUIOp,
        }
        found = function.add(body, kinds[self.kind, signed](before, value))
        return function.add(body, arith.SelectOp(first, value, found))

    def last(self, body: Block, token: SSAValue) -> Block:
        """Append a condition that holds in the last token of a group; return its body."""
        inner = Block()
        left = AffineDimExpr(0) % self.count - (self.count - 1)
        constraint = AffineConstraintExpr(AffineConstraintKind.eq, left, AffineConstantExpr(0))
        op = affine.IfOp.create(
            operands=[token],
            properties={"condition": AffineSetAttr(AffineSet(1, 0, (constraint,)))},
            regions=[Region(inner), Region()],
        )
        self.function.add(body, op)
        return inner


def _width(count: int) -> int:
    """Return the bits of a place among ``count``, or -1."""
    return width_of(-1, count - 1)[0]
