"""The datapath of one iteration of a folded layer: read, multiply, add up."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import (
    AffineMapAttr,
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
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineExpr, AffineMap
from xdsl.utils.hints import isa

from fastml.dialects.array import Integers
from fastml.dialects.loadable import Loadable
from fastml.lowering.folding_pipeline import Pipeline
from fastml.lowering.folding_terms import Terms
from fastml.lowering.scalars import Scalar, ScalarBuilder, constant, storage_width

WORD = 64
"""Widest word of a constant memory."""
Place = Sequence[tuple[SSAValue, int]]
"""Loop counters, and how far each moves an index."""


class Body:
    """One block of a loop nest."""

    def __init__(self, arguments: Sequence[Attribute], location: LocationAttr):
        self.block = Block(arg_types=arguments)
        self.location = location
        self.builder = ScalarBuilder(self.block, location)

    def narrowed(self, value: SSAValue, low: int, high: int, cycle: int) -> Scalar:
        """Return what is there in ``cycle``, at the width of its range."""
        self.builder.entered(value, cycle)
        if low == high:
            return constant(low)
        return self.builder.narrowed(Scalar(value, low, high, cycle), cycle)

    def append(self, op: Operation) -> SSAValue:
        """Add an operation that has no cycle."""
        op.location = self.location
        self.block.add_op(op)
        return op.results[0]

    def end(self, op: Operation) -> None:
        """Add an operation without a result."""
        op.location = self.location
        self.block.add_op(op)

    def load(
        self, memory: SSAValue, place: Place, offset: int = 0, row: int | None = None
    ) -> SSAValue:
        """Load from an affine place, of a row where there are several, in cycle 0."""
        indices = [index for index, _ in place]
        op = affine.LoadOp(memory, indices, affine_place(place, offset, row))
        value = self.append(op)
        self.builder.entered(value, 0)
        return value

    def index(self, value: int) -> SSAValue:
        """Return a constant index."""
        return self.append(arith.ConstantOp(IntegerAttr(value, IndexType())))

    def as_index(self, word: SSAValue) -> SSAValue:
        """Return a number as an index."""
        return self.append(arith.IndexCastOp(word, IndexType()))


def affine_place(place: Place, offset: int, row: int | None = None) -> AffineMapAttr:
    """Return the map to ``offset`` plus all counters times their steps, after the row."""
    expr: AffineExpr = AffineConstantExpr(offset)
    for number, (_, step) in enumerate(place):
        expr = expr + AffineDimExpr(number) * step
    rows = () if row is None else (AffineConstantExpr(row),)
    return AffineMapAttr(AffineMap(len(place), 0, (*rows, expr)))


class Table:
    """Rows of constants, one for each key, all as long; a row of one value needs no memory.

    With ``loaded``, rows are what the memory holds until others of that range are loaded.
    """

    def __init__(
        self,
        name: str,
        rows: Mapping[Any, Sequence[int]],
        spare: int = 0,
        loaded: tuple[int, int] | None = None,
    ):
        fixed = loaded is None
        self.constants = {
            key: row[0] for key, row in rows.items() if fixed and min(row) == max(row)
        }
        kept = {key: row for key, row in rows.items() if key not in self.constants}
        self.bounds = {key: loaded or (min(row), max(row)) for key, row in kept.items()}
        words = [word for row in kept.values() for word in row]
        self.numbers = {key: number for number, key in enumerate(kept)}
        self.op: memref.GlobalOp | None = None
        self.memory: SSAValue | None = None
        if words:
            element = IntegerType(storage_width(*(loaded or (min(words), max(words)))) + spare)
            assert element.width.data <= WORD, "the widths were checked"
            shape = [len(kept), len(words) // len(kept)]
            contents = DenseIntElementsAttr.from_list(TensorType(element, shape), words)
            self.op = memref.GlobalOp.get(
                StringAttr(name),
                MemRefType(element, shape),
                contents,
                constant=UnitAttr() if fixed else None,
            )

    def open(self, body: Body, name: str) -> None:
        """Get the memory in the block of the function."""
        if self.op is not None:
            self.memory = body.append(memref.GetGlobalOp(self.op.sym_name.data, self.op.type))
            self.memory.name_hint = name

    def read(self, body: Body, key: Any, place: Place) -> Scalar:
        """Return the word of a row at a place."""
        if key in self.constants:
            return constant(self.constants[key])
        assert self.memory is not None
        low, high = self.bounds[key]
        word = body.load(self.memory, place, row=self.numbers[key])
        return Scalar(word, low, high, 0)


class Datapath:
    """Appends the terms of a group and their sum to the body of a loop."""

    def __init__(self, terms: Terms, pipeline: Pipeline, depth: int, name: str):
        self.terms, self.pipeline, self.depth = terms, pipeline, depth
        rows = dict[tuple[int, int], Sequence[int]]()
        for group, chosen in enumerate(terms.live):
            for term in chosen:
                rows[group, term] = self._words(group, term)
        loaded = terms.layer.weights if terms.layer.loadable is not None else None
        self.weights = Table(f"{name}_weights", rows, loaded=loaded)

    def loadable(self, edge: str, port: str) -> Loadable:
        """Return which weights of a loadable layer go into which words, by a port."""
        terms, layer = self.terms, self.terms.layer
        assert layer.loadable is not None
        assert terms.places is not None
        lanes = [(g, t) for g, chosen in enumerate(terms.live) for t in chosen]
        order = np.stack([terms.places[: self.depth, g, t] for g, t in lanes], axis=1)
        return Loadable(edge, port, *layer.loadable, order, layer.matrix)

    def _words(self, group: int, term: int) -> list[int]:
        weights = self.terms.weight[: self.depth, group, term]
        if not self.terms.complement:
            return weights.tolist()
        options = shifts_of(weights)
        bits = (len(options) - 1).bit_length()
        both = bool(weights.min() < 0 <= weights.max())
        return [
            options.index(shift_of(weight)) | int(both and weight < 0) << bits
            for weight in map(int, weights.tolist())
        ]

    def tree(self, body: Body, group: int, inputs: Sequence[Scalar], place: Place) -> Scalar | None:
        """Return the sum of the terms of a group; ``inputs`` has one value for each."""
        levels = self.terms.levels(group)
        values = [
            self.term(body, group, term, x, place)
            for term, x in zip(self.terms.live[group], inputs, strict=True)
        ]
        for cycle, (lows, highs) in zip(self.pipeline.levels, levels[1:], strict=False):
            sums = [
                body.builder.sum(
                    left,
                    right,
                    left_shift=0,
                    right_shift=0,
                    operation=0,
                    low=int(low),
                    high=int(high),
                    start=cycle,
                )
                for left, right, low, high in zip(
                    values[0::2], values[1::2], lows, highs, strict=False
                )
            ]
            values = [*sums, *values[len(values) // 2 * 2 :]]
        return values[0] if values else None

    def term(self, body: Body, group: int, term: int, x: Scalar, place: Place) -> Scalar:
        """Return a term: ``x`` times its weight."""
        terms, start, builder = self.terms, self.pipeline.product, body.builder
        low = int(terms.low[:, group, term].min())
        high = int(terms.high[:, group, term].max())
        if low == high:
            return constant(low)
        width = storage_width(low, high)
        bits = builder.resized(x, width, start)
        word = self.weights.read(body, (group, term), place)
        if terms.complement:
            product = self._shifted(body, bits, terms.weight[:, group, term], word)
        else:
            factor = builder.resized(word, width, start)
            product = builder.add(arith.MuliOp(bits, factor), start)
        return Scalar(product, low, high, start)

    def _shifted(self, body: Body, x: SSAValue, weights: Integers, word: Scalar) -> SSAValue:
        """Choose among shifts of ``x``; complement what is to be subtracted."""
        builder, start = body.builder, self.pipeline.product
        options = shifts_of(weights)
        bits = (len(options) - 1).bit_length()
        width = _width(x)
        shifts = [
            builder.literal(0, width) if shift is None else builder.shifted(x, shift, width, start)
            for shift in options
        ]
        product = shifts[0]
        if len(options) > 1:
            code = builder.resized(word, bits, start)
            for number, shift in enumerate(shifts[1:], 1):
                here = code
                if bits > 1:
                    compare = arith.CmpiOp(code, builder.literal(number, bits), "eq")
                    here = builder.add(compare, start)
                product = builder.select(here, shift, product, start)
        if weights.min() >= 0:
            return product
        mask = builder.literal(-1, width)
        if weights.max() >= 0:
            sign = builder.resized(builder.floor_shift(word, bits, start), 1, start)
            mask = builder.resized(Scalar(sign, -1, 0, start), width, start)
        return builder.add(arith.XOrIOp(product, mask), start)


def shift_of(weight: int) -> int | None:
    """Return the exponent of a power of two of either sign; ``None`` for 0."""
    return abs(weight).bit_length() - 1 if weight else None


def shifts_of(weights: Integers) -> list[int | None]:
    """Return the shifts that weights ask for, ``None`` for 0 first."""
    found = {shift_of(int(weight)) for weight in set(weights.tolist())}
    return sorted(found, key=lambda shift: -1 if shift is None else shift)


def _width(value: SSAValue) -> int:
    value_type = value.type
    assert isa(value_type, IntegerType)
    return value_type.width.data
