"""Append loops over memories to a block: loops, conditions, accesses, copies of tokens.

Places and conditions are affine expressions of the counters of the loops around, the
outermost first.
"""

from collections.abc import Sequence

from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    AffineMapAttr,
    AffineSetAttr,
    DenseArrayBase,
    IndexType,
    IntegerAttr,
    IntegerType,
    LocationAttr,
    MemRefType,
    NoneAttr,
    StridedLayoutAttr,
    UnitAttr,
    i64,
)
from xdsl.dialects.memref import SubviewOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.ir.affine import (
    AffineConstantExpr,
    AffineConstraintExpr,
    AffineDimExpr,
    AffineExpr,
    AffineMap,
    AffineSet,
)
from xdsl.utils.hints import isa

from fastml.dialects import directives


class LoopWriter:
    """Appends to a block, inside of the loops whose counters are ``indices``."""

    def __init__(self, block: Block, location: LocationAttr, indices: Sequence[SSAValue] = ()):
        self.block, self.location = block, location
        self.indices = tuple(indices)

    def add(self, op: Operation) -> Operation:
        """Append an operation."""
        op.location = self.location
        self.block.add_op(op)
        return op

    # --- control -----------------------------------------------------------------------

    def loop(
        self, count: int, *, pipeline: int | None = None, unroll: bool = False
    ) -> "LoopWriter":
        """Append a loop of ``count`` iterations; return the writer of its body."""
        body = Block(arg_types=[IndexType()])
        op = affine.ForOp.from_region([], [], [], [], 0, count, Region(body))
        if pipeline is not None:
            op.attributes[directives.PIPELINE] = IntegerAttr(pipeline, i64)
        if unroll:
            op.attributes[directives.UNROLL] = UnitAttr()
        self.add(op)
        return LoopWriter(body, self.location, (*self.indices, body.args[0]))

    def branch(self, condition: Sequence[AffineConstraintExpr]) -> "LoopWriter":
        """Append a condition on the counters; return the writer of what it guards.

        What is always so needs none.
        """
        return self.branches(condition, otherwise=False)[0] if condition else self

    def branches(
        self, condition: Sequence[AffineConstraintExpr], *, otherwise: bool = True
    ) -> "tuple[LoopWriter, LoopWriter]":
        """Append a condition; return the writers of both sides."""
        blocks = Block(), Block()
        op = affine.IfOp.create(
            operands=self.indices,
            properties={
                "condition": AffineSetAttr(AffineSet(len(self.indices), 0, tuple(condition)))
            },
            regions=[Region(blocks[0]), Region(blocks[1]) if otherwise else Region()],
        )
        self.add(op)
        yes, no = (LoopWriter(block, self.location, self.indices) for block in blocks)
        return yes, no

    def nest(self, *counts: int) -> "tuple[LoopWriter, tuple[AffineExpr, ...]]":
        """Append unrolled loops, one inside of the other; return the innermost, and counters.

        What happens once needs no loop, and its counter is 0.
        """
        writer, places = self, list[AffineExpr]()
        for count in counts:
            if count > 1:
                places.append(AffineDimExpr(len(writer.indices)))
                writer = writer.loop(count, unroll=True)
            else:
                places.append(AffineConstantExpr(0))
        return writer, tuple(places)

    def close(self) -> None:
        """End the bodies of all loops and branches."""
        for op in list(self.block.walk()):
            if isinstance(op, affine.ForOp | affine.IfOp):
                for region in op.regions:
                    for block in region.blocks:
                        end = affine.YieldOp.get()
                        end.location = op.location
                        block.add_op(end)

    # --- memories ----------------------------------------------------------------------

    def memory(self, width: int, shape: Sequence[int], facts: dict[str, Attribute]) -> SSAValue:
        """Append a memory."""
        op = memref.AllocOp.get(IntegerType(width), None, list(shape))
        op.attributes |= facts
        self.add(op)
        return op.memref

    def load(self, memory: SSAValue, *places: AffineExpr) -> SSAValue:
        """Append a read at affine places."""
        op = affine.LoadOp(memory, self.indices, self.map(*places))
        self.add(op)
        return op.result

    def store(self, value: SSAValue, memory: SSAValue, *places: AffineExpr) -> None:
        """Append a write at affine places."""
        self.add(affine.StoreOp(value, memory, self.indices, self.map(*places)))

    def load_at(self, memory: SSAValue, *places: SSAValue) -> SSAValue:
        """Append a read at computed places."""
        op = memref.LoadOp.get(memory, list(places))
        self.add(op)
        return op.res

    def map(self, *places: AffineExpr) -> AffineMapAttr:
        """Return a map of the counters."""
        return AffineMapAttr(AffineMap(len(self.indices), 0, places))

    def index(self, place: AffineExpr) -> SSAValue:
        """Append the computation of a place, unless it is a counter."""
        if isinstance(place, AffineDimExpr):
            return self.indices[place.position]
        op = affine.ApplyOp(self.indices, self.map(place))
        self.add(op)
        return op.result

    def token(self, memory: SSAValue, place: AffineExpr) -> SSAValue:
        """Return a view of one row of a memory, or the memory where it has but one."""
        assert isa(memory.type, MemRefType)
        shape = memory.type.get_shape()
        if len(shape) == 1:
            return memory
        layout = StridedLayoutAttr([1], NoneAttr())
        view = SubviewOp(
            memory,
            [self.index(place)],
            [],
            [],
            DenseArrayBase.from_list(i64, [DYNAMIC_INDEX, 0]),
            DenseArrayBase.from_list(i64, [1, shape[1]]),
            DenseArrayBase.from_list(i64, [1, 1]),
            MemRefType(memory.type.element_type, [shape[1]], layout),
        )
        self.add(view)
        return view.result

    def copy(self, source: SSAValue, target: SSAValue) -> None:
        """Append a copy of all elements."""
        self.add(memref.CopyOp(source, target))

    # --- integers ----------------------------------------------------------------------

    def constant(self, number: int, width: int) -> SSAValue:
        """Append an integer."""
        op = arith.ConstantOp(IntegerAttr(number, IntegerType(width)))
        self.add(op)
        return op.result

    def resize(self, value: SSAValue, width: int, signed: bool) -> SSAValue:
        """Bring a value, read as ``signed``, to ``width`` bits that hold it."""
        assert isa(value.type, IntegerType)
        own = value.type.width.data
        if own == width:
            return value
        target = IntegerType(width)
        op = (
            arith.TruncIOp(value, target)
            if own > width
            else (arith.ExtSIOp if signed else arith.ExtUIOp)(value, target)
        )
        self.add(op)
        return op.results[0]
