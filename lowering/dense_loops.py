"""A folded dense layer as a loop nest: one slot of every group a cycle.

In step, the nest has a loop over the outputs of a group and one over the slots of an output::

    for o in outputs of a group:
        sum[g] = start[g][o]                      # for every group g
        for s in slots of an output:
            sum[g] += weights[g][l][o, s] * x[first(l) + s]   # for every lane l, unrolled
        y[first(g) + o] = sum[g]

End to end, one loop runs over all slots. Where an output begins, what a lane takes, and
where a sum goes are then constants in memories. An output whose slots several groups share
is the sum of what these have at the end.

The nest is one pipeline, which a slot enters in every cycle. :class:`Pipeline` says in which
cycle of an iteration its parts execute.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    LocationAttr,
    MemRefType,
    StringAttr,
    UnknownLoc,
    i64,
)
from xdsl.ir import Operation, Region, SSAValue

from fastml.dialects import directives
from fastml.dialects.elements import Elements
from fastml.dialects.loadable import LOAD
from fastml.dialects.qflow_folded import FoldedAttr, Order, Storage
from fastml.lowering.folding import Layer, Run
from fastml.lowering.folding_body import Body, Datapath, Place, Table, affine_place
from fastml.lowering.folding_pipeline import Pipeline
from fastml.lowering.folding_terms import Terms, terms_of
from fastml.lowering.scalars import Scalar, constant, storage_width


def build_dense_loop(
    layer: Layer,
    plan: FoldedAttr,
    inputs: Elements,
    outputs: Elements,
    name: str,
    location: LocationAttr | None = None,
    load: tuple[str, str] | None = None,
) -> list[Operation]:
    """Return the function of a folded layer as a scheduled loop nest, and its memories.

    ``load`` is the edge of a loadable layer, and the port that its weights come by.

    The function ``name`` takes one beat of ``inputs`` and gives one of ``outputs``, which
    must hold every sum. Its ``fastml.ii`` is the reuse factor, its ``fastml.latency`` counts
    from the call.
    """
    terms = terms_of(layer, plan)
    pipeline = Pipeline.of(plan, terms)
    place = UnknownLoc() if location is None else location
    in_step = terms.slots.shape.order is Order.IN_STEP
    nest = (_InStep if in_step else _EndToEnd)(terms, pipeline, (inputs, outputs), name, place)
    weights = nest.data.weights.op
    if weights is not None and Storage(plan.storage.data) is Storage.BLOCK:
        weights.attributes[directives.STORAGE] = StringAttr(Storage.BLOCK)
    if weights is not None and load is not None:
        weights.attributes[LOAD] = nest.data.loadable(*load).attribute()
    return nest.build(plan.reuse.data)


class _Nest(ABC):
    """Builds the function; the orders differ in loops and indices."""

    def __init__(
        self,
        terms: Terms,
        pipeline: Pipeline,
        beats: tuple[Elements, Elements],
        name: str,
        location: LocationAttr,
    ):
        self.terms, self.pipeline = terms, pipeline
        self.slots, self.shape = terms.slots, terms.slots.shape
        self.beats, self.name, self.location = beats, name, location
        self.top = Body([_memref(layout) for layout in beats], location)
        self.x, self.y = self.top.block.args
        self.x.name_hint, self.y.name_hint = "x", "y"
        self.data = Datapath(terms, pipeline, self.shape.depth, name)
        low, high = terms.running
        start = terms.start
        self.sums = [
            (
                int(min(low[:, g].min(), start[:, g].min())),
                int(max(high[:, g].max(), start[:, g].max())),
            )
            for g in range(self.shape.groups)
        ]
        """Range of the accumulator of each group."""
        self.tables = [self.data.weights]
        self.loaded = dict[Any, Scalar]()
        """What lanes take, by what it is: loaded once."""

    def build(self, reuse: int) -> list[Operation]:
        """Return the memories and the function."""
        self.data.weights.open(self.top, "weights")
        self.run()
        block = self.top.block
        self.top.end(func.ReturnOp())
        types = [argument.type for argument in block.args]
        function = func.FuncOp(self.name, (types, []), Region(block), visibility="private")
        ports = zip(("x", "y"), self.beats, ("in", "out"), strict=True)
        function.arg_attrs = ArrayAttr([_described(*port) for port in ports])
        function.attributes[directives.II] = IntegerAttr(reuse, i64)
        function.attributes[directives.LATENCY] = IntegerAttr(self.pipeline.latency, i64)
        made = [table.op for table in self.tables if table.op is not None]
        for op in (*made, function):
            op.location = self.location
        return [*made, function]

    def table(self, purpose: str, rows: Mapping[Any, Sequence[int]], *, spare: int = 0) -> Table:
        """Add a constant memory; ``spare`` bits on top are 0."""
        table = Table(f"{self.name}_{purpose}", rows, spare)
        table.open(self.top, purpose)
        self.tables.append(table)
        return table

    @abstractmethod
    def run(self) -> None:
        """Build what is in the function."""

    def range_of(self, group: int, term: int) -> tuple[int, int]:
        """Return the range of what a term takes."""
        index, layer = self.terms.index[:, group, term], self.terms.layer
        return int(layer.lows[index].min()), int(layer.highs[index].max())

    def type_of(self, group: int) -> IntegerType:
        """Return the type of an accumulator."""
        return IntegerType(storage_width(*self.sums[group]))

    def accumulate(self, body: Body, group: int, base: Scalar, added: Scalar | None) -> Scalar:
        """Return ``base`` and the sum of the terms, in the type of the accumulator."""
        low, high = self.sums[group]
        if low == high:
            return constant(low)
        if added is None:
            bits = body.builder.resized(base, storage_width(low, high))
            return Scalar(bits, low, high, base.cycle)
        return body.builder.sum(
            base,
            added,
            left_shift=0,
            right_shift=0,
            operation=0,
            low=low,
            high=high,
            start=self.pipeline.accumulate,
        )

    def loop(
        self, body: Body, trips: int, interval: int, inits: Sequence[SSAValue]
    ) -> affine.ForOp:
        """Close the body of a loop."""
        results = [init.type for init in inits]
        op = affine.ForOp.from_region([], [], inits, results, 0, trips, Region(body.block))
        op.attributes[directives.PIPELINE] = IntegerAttr(interval, i64)
        op.location = self.location
        return op

    def begin(self, op: affine.ForOp) -> None:
        """Start the outermost loop."""
        if self.pipeline.first:
            op.attributes[directives.START] = IntegerAttr(self.pipeline.first, i64)
        self.top.block.add_op(op)


class _InStep(_Nest):
    """All groups begin an output in the same cycle: loops of positions, outputs, slots."""

    def run(self) -> None:
        """Build the nest."""
        shape, layer = self.shape, self.terms.layer
        stride = shape.per_group * shape.slots
        starts = self.terms.start[: stride * layer.positions : shape.slots]
        period = starts[: shape.per_group]
        self.starts = self.table(
            "start", {group: period[:, group].tolist() for group in range(shape.groups)}
        )
        several = layer.positions > 1
        if not several:
            self.begin(self.outputs([], []))
            return
        body = Body([IndexType()], self.location)
        (p,) = body.block.args
        p.name_hint = "p"
        rows, columns = layer.matrix.shape
        body.block.add_op(self.outputs([(p, rows)], [(p, columns)]))
        body.end(affine.YieldOp.get())
        self.begin(self.loop(body, layer.positions, stride, []))

    def outputs(self, x: Place, y: Place) -> affine.ForOp:
        """Return the loop over the outputs of a group."""
        shape = self.shape
        body = Body([IndexType()], self.location)
        (o,) = body.block.args
        o.name_hint = "o"
        groups = range(shape.groups)
        bases = [self.starts.read(body, group, [(o, 1)]) for group in groups]
        if shape.slots == 1:
            sums = [self.slot(body, g, bases[g], x, [(o, 1)]) for g in groups]
        else:
            sums = self.slot_loop(body, bases, x, o)
        width, _ = self.beats[1].container
        for group, total in enumerate(sums):
            first = int(self.slots.output[0, group])
            stored = self.stored(body, total, max(width, 1))
            place = [*y, (o, 1)]
            indices = [index for index, _ in place]
            body.end(affine.StoreOp(stored, self.y, indices, affine_place(place, first)))
        body.end(affine.YieldOp.get())
        return self.loop(body, shape.per_group, shape.slots, [])

    def stored(self, body: Body, total: Scalar, width: int) -> SSAValue:
        """Return the bits of a sum that are stored when all sums are."""
        done = self.shape.slots - 1 + self.pipeline.accumulate
        bits = body.builder.resized(total, width)
        if total.value is not None and total.cycle == done:
            return bits
        return body.builder.add(arith.OrIOp(bits, body.builder.literal(0, width)), done)

    def slot_loop(
        self, outer: Body, bases: Sequence[Scalar], x: Place, o: SSAValue
    ) -> list[Scalar]:
        """Build the loop over the slots of an output; return the sums."""
        shape, sums = self.shape, self.sums
        live = self.terms.live
        varying = [g for g, (low, high) in enumerate(sums) if live[g] and low < high]
        types = [self.type_of(group) for group in varying]
        body = Body([IndexType(), *types], self.location)
        s, *carried = body.block.args
        s.name_hint = "s"
        inits, made = list[SSAValue](), list[SSAValue]()
        for group, partial, type_ in zip(varying, carried, types, strict=True):
            inits.append(outer.builder.resized(bases[group], type_.width.data))
            before = Scalar(partial, *sums[group], 0)
            place = [(o, shape.slots), (s, 1)]
            total = self.slot(body, group, before, [*x, (s, 1)], place)
            made.append(body.builder.resized(total, type_.width.data))
        body.end(affine.YieldOp.get(*made))
        op = self.loop(body, shape.slots, 1, inits)
        outer.block.add_op(op)
        done = shape.slots - 1 + self.pipeline.accumulate
        totals = [constant(sums[g][0]) if live[g] else base for g, base in enumerate(bases)]
        for group, result in zip(varying, op.results, strict=True):
            outer.builder.entered(result, done)
            totals[group] = Scalar(result, *sums[group], done)
        return totals

    def slot(self, body: Body, group: int, base: Scalar, x: Place, words: Place) -> Scalar:
        """Return ``base`` and the terms of one slot."""
        inputs = list[Scalar]()
        known = self.loaded
        for term in self.terms.live[group]:
            first = int(self.terms.index[0, group, term])
            if first not in known:
                value = body.load(self.x, x, first)
                known[first] = body.narrowed(value, *self.range_of(group, term), 0)
            inputs.append(known[first])
        added = self.data.tree(body, group, inputs, words)
        return self.accumulate(body, group, base, added)


class _EndToEnd(_Nest):
    """Output after output: one loop over all slots, what varies is read from memories."""

    def run(self) -> None:
        """Build the loop, then bring the sums together."""
        slots, groups = self.slots, range(self.shape.groups)
        terms = self.terms
        taken = {
            (group, term): tuple(terms.index[:, group, term].tolist())
            for group in groups
            for term in terms.live[group]
        }
        self.taken = taken
        self.select = self.table("select", {words: words for words in taken.values()}, spare=1)
        again = [group for group in groups if slots.first[:, group].sum() > 1]
        self.starts = self.table("start", {g: terms.start[:, g].tolist() for g in again})
        firsts = {group: slots.first[:, group].astype(int).tolist() for group in again}
        self.firsts = self.table("first", firsts)
        self.kept = {group: self.kept_runs(group) for group in groups}
        self.places = self.table("place", {g: self.place(g) for g in groups}, spare=1)
        self.heads = self.table(
            "head", {g: _flags(run.stop, self.shape.trips) for g, run in self.head_runs().items()}
        )
        self.memories = {g: self.memory(g) for g, runs in self.kept.items() if runs}
        self.finish(*self.slot_loop())

    def kept_runs(self, group: int) -> list[Run]:
        """Return the runs whose sums wait in a memory: all whole ones but the last."""
        runs = [run for run in self.slots.runs if run.group == group]
        return [run for run in runs[:-1] if run.whole] if self.varies(group) else []

    def varies(self, group: int) -> bool:
        """Whether the accumulator of a group is not constant."""
        low, high = self.sums[group]
        return low < high

    def place(self, group: int) -> list[int]:
        """Return where the sum goes in each cycle: most have a place that nobody reads."""
        runs = self.kept[group]
        places = [len(runs)] * self.shape.trips
        for number, run in enumerate(runs):
            places[run.stop - 1] = number
        return places

    def head_runs(self) -> dict[int, Run]:
        """Return the runs that end an output of the groups before, if others follow."""
        runs = [run for runs in self.slots.split.values() for run in runs]
        return {r.group: r for r in runs if r.stop < self.shape.trips and self.varies(r.group)}

    def layout(self, group: int) -> Elements:
        """Return what the memory of a group holds: sums, and what nobody reads."""
        layout = self.beats[1]
        outputs = [run.output for run in self.kept[group]]
        low, high = self.sums[group]
        widths = [layout.widths[output] for output in outputs]
        signs = [layout.signed[output] for output in outputs]
        width = storage_width(low, high)
        return Elements((*widths, width), (*signs, low < 0))

    def memory(self, group: int) -> SSAValue:
        """Allocate the memory of the sums of a group."""
        layout = self.layout(group)
        op = memref.AllocOp.get(_memref(layout).element_type, None, [len(layout)])
        op.attributes[directives.ELEMENTS] = StringAttr(str(layout))
        return self.top.append(op)

    def inputs(self, body: Body, group: int, place: Place) -> list[Scalar]:
        """Return what the terms of a group take; what several take is loaded once."""
        chosen = list[Scalar]()
        for term in self.terms.live[group]:
            words = self.taken[group, term]
            if words not in self.loaded:
                read = self.select.read(body, words, place)
                index = body.index(read.low) if read.value is None else body.as_index(read.value)
                op = _at(memref.LoadOp.get(self.x, [index]), self.pipeline.select)
                value = body.append(op)
                bounds = self.range_of(group, term)
                self.loaded[words] = body.narrowed(value, *bounds, self.pipeline.select)
            chosen.append(self.loaded[words])
        return chosen

    def slot_loop(self) -> tuple[dict[int, Scalar], dict[int, Scalar]]:
        """Build the loop; return the last sum of every group, and the sums of heads."""
        varying = [g for g in range(self.shape.groups) if self.varies(g)]
        heads = list(self.head_runs())
        types = [self.type_of(group) for group in (*varying, *heads)]
        body = Body([IndexType(), *types], self.location)
        c, *carried = body.block.args
        c.name_hint = "c"
        place = [(c, 1)]
        made, ends = list[SSAValue](), list[SSAValue]()
        sums = dict[int, Scalar]()
        for group, partial in zip(varying, carried, strict=False):
            inputs = self.inputs(body, group, place)
            added = self.data.tree(body, group, inputs, place)
            base = self.base(body, group, Scalar(partial, *self.sums[group], 0), place)
            sums[group] = self.accumulate(body, group, base, added)
            made.append(body.builder.resized(sums[group], self.type_of(group).width.data))
            self.keep(body, group, sums[group], place)
        for group, head in zip(heads, carried[len(varying) :], strict=True):
            flag = self.heads.read(body, group, place).value
            assert flag is not None
            ends.append(
                body.builder.select(
                    flag, made[varying.index(group)], head, self.pipeline.accumulate
                )
            )
        body.end(affine.YieldOp.get(*made, *ends))
        begins = [int(self.terms.start[0, group]) for group in varying] + [0] * len(heads)
        inits = [
            self.top.builder.literal(begin, type_.width.data)
            for begin, type_ in zip(begins, types, strict=True)
        ]
        op = self.loop(body, self.shape.trips, 1, inits)
        self.begin(op)
        results = list[Scalar]()
        for group, result in zip((*varying, *heads), op.results, strict=True):
            self.top.builder.entered(result, self.pipeline.end)
            results.append(Scalar(result, *self.sums[group], self.pipeline.end))
        last = {g: constant(low) for g, (low, _) in enumerate(self.sums)}
        last |= dict(zip(varying, results, strict=False))
        return last, dict(zip(heads, results[len(varying) :], strict=True))

    def base(self, body: Body, group: int, before: Scalar, place: Place) -> Scalar:
        """Return what is added to: the sum so far, or what an output starts with."""
        if self.slots.first[:, group].sum() == 1:
            return before  # it begins with the loop
        start, first = (table.read(body, group, place) for table in (self.starts, self.firsts))
        if first.value is None:
            return start
        width, at = self.type_of(group).width.data, self.pipeline.accumulate
        fresh = body.builder.resized(start, width, at)
        held = body.builder.resized(before, width, at)
        return Scalar(body.builder.select(first.value, fresh, held, at), *self.sums[group], at)

    def keep(self, body: Body, group: int, total: Scalar, place: Place) -> None:
        """Store the sum where its place is."""
        memory = self.memories.get(group)
        if memory is None:
            return
        read = self.places.read(body, group, place)
        index = body.index(read.low) if read.value is None else body.as_index(read.value)
        stored = body.builder.resized(total, max(self.layout(group).container[0], 1))
        body.end(_at(memref.StoreOp.get(stored, memory, [index]), self.pipeline.accumulate))

    def finish(self, last: dict[int, Scalar], heads: dict[int, Scalar]) -> None:
        """Store every output, all in one cycle."""
        low, high = self.terms.running
        top, finish = self.top, self.pipeline.finish
        pieces = dict[int, list[Scalar]]()
        for run in self.slots.runs:
            bounds = int(low[run.stop - 1, run.group]), int(high[run.stop - 1, run.group])
            if not self.varies(run.group) or run.stop == self.shape.trips:
                value = last[run.group]
            elif run.whole:
                index = top.index(self.kept[run.group].index(run))
                at = self.pipeline.end + 1
                read = top.append(_at(memref.LoadOp.get(self.memories[run.group], [index]), at))
                value = top.narrowed(read, *bounds, at)
            else:
                value = heads[run.group]
            found = constant(bounds[0]) if bounds[0] == bounds[1] else value
            pieces.setdefault(run.output, []).append(
                Scalar(found.value, *bounds, found.cycle) if found.value is not None else found
            )
        width, _ = self.beats[1].container
        for output, parts in sorted(pieces.items()):
            total = self.joined(parts)
            stored = top.builder.resized(total, max(width, 1))
            op = memref.StoreOp.get(stored, self.y, [top.index(output)])
            top.end(_at(op, finish))

    def joined(self, parts: list[Scalar]) -> Scalar:
        """Add up the parts of an output."""
        values = parts
        for cycle in self.pipeline.joins:
            at = self.pipeline.first + self.shape.trips - 1 + cycle
            sums = [
                self.top.builder.sum(
                    left,
                    right,
                    left_shift=0,
                    right_shift=0,
                    operation=0,
                    low=left.low + right.low,
                    high=left.high + right.high,
                    start=at,
                )
                for left, right in zip(values[0::2], values[1::2], strict=False)
            ]
            values = [*sums, *values[len(values) // 2 * 2 :]]
        return values[0]


def _flags(stop: int, trips: int) -> list[int]:
    return [int(cycle < stop) for cycle in range(trips)]


def _at(op: Operation, cycle: int) -> Operation:
    op.attributes[directives.START] = IntegerAttr(cycle, i64)
    return op


def _memref(layout: Elements) -> MemRefType[IntegerType]:
    return MemRefType(IntegerType(max(layout.container[0], 1)), [len(layout)])


def _described(port: str, layout: Elements, direction: str) -> DictionaryAttr:
    return DictionaryAttr(
        {
            directives.PORT: StringAttr(port),
            directives.ELEMENTS: StringAttr(str(layout)),
            directives.DIRECTION: StringAttr(direction),
        }
    )
