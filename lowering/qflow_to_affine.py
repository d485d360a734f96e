"""Lower scheduled qflow graphs to affine functions over memrefs: one function a stage.

A channel becomes a memref, a beat its elements; a parallel stage becomes straight-line
arithmetic whose operations carry the cycles that the schedule gave them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.context import Context
from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    AffineMapAttr,
    DictionaryAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    ModuleOp,
    StringAttr,
    UnitAttr,
    i64,
)
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineMap
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.support.names import Namer
from fastml.dialects import qflow
from fastml.dialects.array import Array
from fastml.dialects.elements import Elements
from fastml.dialects.qflow import FoldedAttr, channel_of
from fastml.lowering.adder_graphs import from_attribute
from fastml.lowering.cmvm.graph import Graph
from fastml.lowering.scalars import Scalar, ScalarBuilder, constant

MAX_TABLE = 1024
"""Largest table, in entries, that is made of choices."""


@dataclass(frozen=True)
class QflowToAffine(ModulePass):
    """Lower every graph to functions; parallel stages straight-line, folded ones loops."""

    name = "qflow-to-affine"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Replace each graph by its functions."""
        for graph in [g for g in op.ops if isinstance(g, qflow.GraphOp)]:
            functions = GraphLowering(graph).build()
            for function in functions:
                op.body.block.insert_op_before(function, graph)
            graph.detach()
            graph.erase()


def memref_of(elements: Elements) -> MemRefType[IntegerType]:
    """Return the memory that holds one beat: its elements in the narrowest common type."""
    return MemRefType(IntegerType(max(elements.container[0], 1)), (len(elements),))


@dataclass
class GraphLowering:
    """The lowering of one graph: its channels as memrefs of the top function."""

    graph: qflow.GraphOp
    namer: Namer = field(default_factory=Namer)
    memories: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    ports: dict[SSAValue, str] = field(default_factory=dict[SSAValue, str])
    functions: list[Operation] = field(default_factory=list[Operation])

    def build(self) -> list[Operation]:
        """Return the top function and those of the stages."""
        folded = [s for s in self.graph.stages if isinstance(s.architecture, FoldedAttr)]
        top_name = self.namer.unique(self.graph.sym_name.data)
        self._name_channels()
        if folded:
            self._check_folded(folded)
        inputs, outputs = self.graph.inputs, self.graph.outputs
        arguments = [(v, n, "in") for n, v in inputs.items()]
        arguments += [(v, n, "out") for n, v in outputs.items()]
        types = [memref_of(channel_of(v).elements) for v, _, _ in arguments]
        block = Block(arg_types=types)
        top = func.FuncOp(top_name, (types, []), Region(block))
        top.location = self.graph.location
        top.arg_attrs = ListAttr(
            [
                DictionaryAttr(
                    self._describe(v, name, port) | {"fastml.direction": StringAttr(way)}
                )
                for (v, name, way), port in zip(arguments, self._top_ports(arguments), strict=True)
            ]
        )
        top.attributes["fastml.top"] = UnitAttr()
        for (value, _, _), argument in zip(arguments, block.args, strict=True):
            if value not in self.memories:
                self.memories[value] = argument
        for stage in self.graph.stages:
            self._call(stage, block)
        self._copy_shared_outputs(block, arguments)
        done = func.ReturnOp()
        done.location = self.graph.location
        block.add_op(done)
        self._annotate(top, folded)
        return [top, *self.functions]

    def _name_channels(self) -> None:
        for name, value in self.graph.inputs.items():
            self.ports[value] = self.namer.unique(name)
        for stage in self.graph.stages:
            self.ports[stage.result] = self.namer.unique(stage.edge.data)

    def _top_ports(self, arguments: Sequence[tuple[SSAValue, str, str]]) -> list[str]:
        """Return a name for each port: a channel that is several of them gets more than one."""
        ports = list[str]()
        for value, name, _ in arguments:
            own = self.ports[value]
            ports.append(self.namer.unique(name) if own in ports else own)
        return ports

    def _check_folded(self, folded: list[qflow.StageOp]) -> None:
        stage = folded[0]
        if len(self.graph.stages) != 1 or not isinstance(stage, qflow.DenseOp):
            raise FastmlError(
                "a folded stage must be the only stage, and dense",
                stage,
                code="FML-OPTION",
                hint="leave the architecture parallel",
            )
        assert isinstance(stage.architecture, FoldedAttr)
        products = stage.matrix.array.size
        if stage.architecture.reuse.data != products or stage.positions != 1:
            raise FastmlError(
                f"the only reuse factor of a loop nest is its number of products, {products}",
                stage,
                code="FML-OPTION",
            )

    def _annotate(self, top: func.FuncOp, folded: list[qflow.StageOp]) -> None:
        if folded:
            (loop,) = [f for f in self.functions if isinstance(f, func.FuncOp)]
            for name in ("fastml.ii", "fastml.latency"):
                top.attributes[name] = loop.attributes[name]
            return
        for name, value in (("fastml.ii", self.graph.ii), ("fastml.latency", self.graph.latency)):
            if value is not None:
                top.attributes[name] = IntegerAttr(value.data, i64)

    def _describe(self, value: SSAValue, edge: str, port: str) -> dict[str, Attribute]:
        return {
            "fastml.name": StringAttr(edge),
            "fastml.port": StringAttr(port),
            "fastml.elements": StringAttr(str(channel_of(value).elements)),
        }

    def _copy_shared_outputs(
        self, block: Block, arguments: Sequence[tuple[SSAValue, str, str]]
    ) -> None:
        """Copy where one channel is several outputs, or an input is an output."""
        for (value, _, way), argument in zip(arguments, block.args, strict=True):
            source = self.memories[value]
            if way == "in" or source is argument:
                continue
            stage = StageFunction(f"copy_{self.ports[value]}", [value], value, value.owner)
            stage.location = self.graph.location
            stage.copy(self._cycles(value))
            self._emit(self.namer.unique(stage.name), stage, [source], argument, block)

    def _cycles(self, value: SSAValue) -> Array:
        if isinstance(value.owner, qflow.StageOp) and value.owner.cycles is not None:
            return value.owner.cycles.array
        return np.zeros(len(channel_of(value)), np.int64)

    def _call(self, stage: qflow.StageOp, block: Block) -> None:
        """Make the function of one stage, and call it."""
        if stage.result not in self.memories:
            buffer = memref.AllocOp.get(
                memref_of(stage.channel.elements).element_type, None, [len(stage.channel)]
            )
            buffer.location = stage.location
            buffer.attributes |= self._describe(
                stage.result, stage.edge.data, self.ports[stage.result]
            )
            block.add_op(buffer)
            self.memories[stage.result] = buffer.memref
        name = self.namer.unique(f"{stage.name.partition('.')[2]}_{self.ports[stage.result]}")
        sources = [self.memories[source] for source in stage.sources]
        if isinstance(stage.architecture, FoldedAttr):
            assert isinstance(stage, qflow.DenseOp)
            self._loop(name, stage, sources, block)
            return
        if stage.cycles is None:
            raise FastmlError("the stage has no schedule", stage, code="FML-NO-SCHEDULE")
        function = StageFunction(name, list(stage.sources), stage.result, stage)
        function.lower([self._cycles(source) for source in stage.sources])
        self._emit(name, function, sources, self.memories[stage.result], block)

    def _emit(
        self,
        name: str,
        stage: "StageFunction",
        sources: list[SSAValue],
        target: SSAValue,
        block: Block,
    ) -> None:
        self.functions.append(stage.finish(name))
        call = func.CallOp(name, [*sources, target], [])
        call.location = stage.location
        block.add_op(call)

    def _loop(self, name: str, stage: qflow.DenseOp, sources: list[SSAValue], block: Block) -> None:
        from fastml.lowering.dense_loops import build_dense_loop

        made = build_dense_loop(
            stage.matrix.array,
            stage.bias.array,
            channel_of(stage.input).elements,
            stage.channel.elements,
            name,
        )
        for op in made:
            op.location = stage.location
            self.functions.append(op)
        call = func.CallOp(name, [*sources, self.memories[stage.result]], [])
        call.location = stage.location
        block.add_op(call)


class StageFunction:
    """The straight-line function of one stage."""

    def __init__(self, name: str, sources: list[SSAValue], result: SSAValue, origin: object):
        self.name = name
        self.origin = origin
        self.channels = [channel_of(source) for source in sources]
        self.result = channel_of(result)
        types = [memref_of(c.elements) for c in (*self.channels, self.result)]
        self.block = Block(arg_types=types)
        if isinstance(origin, Operation):
            self.location = origin.location
        self.loaded = dict[tuple[int, int], Scalar]()
        self.cycles: list[Array] = []

    @property
    def builder(self) -> ScalarBuilder:
        """The builder of the body, made when first needed."""
        if not hasattr(self, "_builder"):
            self._builder = ScalarBuilder(self.block, self.location)
        return self._builder

    def load(self, operand: int, element: int) -> Scalar:
        """Return one operand element, loaded once, at its own width."""
        if (operand, element) not in self.loaded:
            channel = self.channels[operand]
            low, high = int(channel.lows[element]), int(channel.highs[element])
            cycle = int(self.cycles[operand][element])
            if low == high:
                self.loaded[operand, element] = constant(low)
            else:
                op = affine.LoadOp(self.block.args[operand], (), _at(element))
                op.location = self.location
                self.block.add_op(op)
                self.builder.entered(op.result, cycle)
                whole = Scalar(op.result, low, high, cycle)
                self.loaded[operand, element] = self.builder.narrowed(whole, cycle)
        return self.loaded[operand, element]

    def store(self, element: int, scalar: Scalar, cycle: int) -> None:
        """Store one result element, in its cycle."""
        width = max(self.result.elements.container[0], 1)
        bits = self.builder.resized(scalar, width)
        op = affine.StoreOp(bits, self.block.args[-1], (), _at(element))
        self.builder.add(op)
        assert scalar.value is None or scalar.cycle == cycle, "stored in another cycle"

    def copy(self, cycles: Array) -> None:
        """Copy the operand."""
        self.cycles = [cycles]
        for element in range(len(self.result)):
            self.store(element, self.load(0, element), int(cycles[element]))

    def lower(self, cycles: list[Array]) -> None:
        """Append the arithmetic of the stage; ``cycles`` is when operands are ready."""
        self.cycles = cycles
        stage = self.origin
        match stage:
            case qflow.DenseOp():
                self._dense(stage)
            case qflow.CombineOp():
                self._combine(stage)
            case qflow.RearrangeOp():
                self._rearrange(stage)
            case qflow.RescaleOp() | qflow.ThresholdOp() | qflow.LookupOp() | qflow.MultiplyOp():
                self._elementwise(stage)
            case _:
                raise AssertionError(f"no lowering of {stage}")

    def finish(self, name: str) -> func.FuncOp:
        """Close the function."""
        done = func.ReturnOp()
        done.location = self.location
        self.block.add_op(done)
        types = [argument.type for argument in self.block.args]
        function = func.FuncOp(name, (types, []), Region(self.block), visibility="private")
        function.location = self.location
        ways = ["in"] * len(self.channels) + ["out"]
        names = [f"x{k}" for k in range(len(self.channels))] + ["y"]
        if len(self.channels) == 1:
            names[0] = "x"
        function.arg_attrs = ListAttr(
            [
                DictionaryAttr(
                    {
                        "fastml.port": StringAttr(port),
                        "fastml.elements": StringAttr(str(channel.elements)),
                        "fastml.direction": StringAttr(way),
                    }
                )
                for port, channel, way in zip(
                    names, (*self.channels, self.result), ways, strict=True
                )
            ]
        )
        return function

    # --- stages ------------------------------------------------------------------------

    def _adders(
        self, graph: Graph, inputs: list[tuple[int, int]], cycles: Array, ready: Array
    ) -> list[Scalar]:
        """Append an adder graph over the given operand elements; return its outputs."""
        lows = np.array([self.channels[k].lows[e] for k, e in inputs])
        highs = np.array([self.channels[k].highs[e] for k, e in inputs])
        grid = graph.grid(lows, highs)
        low, high = grid.low.tolist(), grid.high.tolist()
        values: list[Scalar | None] = [None] * graph.n_values

        def value(number: int) -> Scalar:
            found = values[number]
            if found is None:
                values[number] = found = self.load(*inputs[number])
            return found

        nodes = zip(
            graph.left.tolist(),
            graph.right.tolist(),
            graph.shift.tolist(),
            graph.op.tolist(),
            graph.constant.tolist(),
            cycles.tolist(),
            strict=True,
        )
        for number, (left, right, shift, operation, literal, cycle) in enumerate(nodes, graph.n_in):
            values[number] = self.builder.sum(
                value(left),
                constant(literal) if right < 0 else value(right),
                left_shift=max(-shift, 0),
                right_shift=max(shift, 0),
                operation=operation,
                low=low[number],
                high=high[number],
                start=cycle,
            )
        outputs = list[Scalar]()
        for number, shift, literal in zip(
            graph.out_id.tolist(),
            graph.out_shift.tolist(),
            graph.out_constant.tolist(),
            strict=True,
        ):
            if number < 0:
                outputs.append(constant(literal))
            else:
                outputs.append(self.builder.shift_left(value(number), shift))
        return outputs

    def _dense(self, stage: qflow.DenseOp) -> None:
        assert stage.graph is not None
        assert stage.node_cycles is not None
        assert stage.cycles is not None
        rows, columns = stage.matrix.array.shape
        graph = from_attribute(stage.graph, rows)
        nodes = stage.node_cycles.array.reshape(stage.positions, -1)
        ready = stage.cycles.array.reshape(stage.positions, -1)
        for position in range(stage.positions):
            inputs = [(0, position * rows + row) for row in range(rows)]
            outputs = self._adders(graph, inputs, nodes[position], ready[position])
            for column, output in enumerate(outputs):
                self.store(position * columns + column, output, int(ready[position, column]))

    def _combine(self, stage: qflow.CombineOp) -> None:
        assert stage.graph is not None
        assert stage.node_cycles is not None
        assert stage.cycles is not None
        count = len(self.result)
        inputs = [(k, e) for k in range(len(self.channels)) for e in range(count)]
        graph = from_attribute(stage.graph, len(inputs))
        outputs = self._adders(graph, inputs, stage.node_cycles.array, stage.cycles.array)
        for element, output in enumerate(outputs):
            self.store(element, output, int(stage.cycles.array[element]))

    def _rearrange(self, stage: qflow.RearrangeOp) -> None:
        assert stage.cycles is not None
        places = [(k, e) for k, channel in enumerate(self.channels) for e in range(len(channel))]
        for element, source in enumerate(stage.index.array.tolist()):
            self.store(element, self.load(*places[source]), int(stage.cycles.array[element]))

    def _elementwise(self, stage: qflow.StageOp) -> None:
        assert stage.cycles is not None
        for element, cycle in enumerate(stage.cycles.array.tolist()):
            x = self.load(0, element)
            match stage:
                case qflow.RescaleOp():
                    y = self._rescale(stage, x, element, cycle)
                case qflow.ThresholdOp():
                    y = self._threshold(stage, x, element, cycle)
                case qflow.LookupOp():
                    y = self._lookup(stage, x, element, cycle)
                case _:
                    y = self._multiply(x, self.load(1, element), element, cycle)
            self.store(element, y, cycle)

    def _rescale(self, stage: qflow.RescaleOp, x: Scalar, element: int, start: int) -> Scalar:
        shift = int(stage.shift.array[element])
        moved = self.builder.offset(x, int(stage.offset.array[element]), start)
        floor = self.builder.floor_shift(moved, shift, start)
        rounded = floor
        if shift and stage.rounding.data is not qflow.Rounding.FLOOR and moved.value is not None:
            bit = self._round_up(moved, shift, stage.rounding.data, start)
            rounded = self.builder.sum(
                floor,
                Scalar(bit, 0, 1, start),
                left_shift=0,
                right_shift=0,
                operation=0,
                low=qflow.round_one(moved.low, shift, stage.rounding.data),
                high=qflow.round_one(moved.high, shift, stage.rounding.data),
                start=start,
            )
        elif shift and moved.value is None:
            exact = qflow.round_one(moved.low, shift, stage.rounding.data)
            rounded = constant(exact)
        low, high = int(stage.low.array[element]), int(stage.high.array[element])
        return self.builder.clamp(rounded, low, high, start)

    def _round_up(self, x: Scalar, shift: int, rounding: qflow.Rounding, start: int) -> SSAValue:
        """Return the bit that rounding to nearest adds to the floor: cheaper than an adder
        over the dropped bits (above half, or at half with the tie rule)."""
        builder = self.builder
        wide = builder.resized(x, max(x.width, shift + 1), start)
        whole = Scalar(wide, x.low, x.high, start)
        bit = IntegerType(1)

        def bit_at(position: int) -> SSAValue:
            width = whole.width
            moved = wide
            if position:
                moved = builder.add(arith.ShRUIOp(wide, builder.literal(position, width)), start)
            return builder.add(arith.TruncIOp(moved, bit), start)

        half = bit_at(shift - 1)
        if rounding is qflow.Rounding.HALF_UP:
            return half
        rest = bit_at(shift)
        if shift > 1:
            dropped = builder.add(arith.TruncIOp(wide, IntegerType(shift - 1)), start)
            sticky = builder.add(arith.CmpiOp(dropped, builder.literal(0, shift - 1), "ne"), start)
            rest = builder.add(arith.OrIOp(rest, sticky), start)
        return builder.add(arith.AndIOp(half, rest), start)

    def _threshold(self, stage: qflow.ThresholdOp, x: Scalar, element: int, start: int) -> Scalar:
        base, sign = int(stage.base.array[element]), int(stage.direction.array[element])
        counts = dict[int, int]()
        for threshold in stage.thresholds.array[element].tolist():
            if threshold <= x.low:
                base += sign
            elif threshold <= x.high:
                counts[threshold] = counts.get(threshold, 0) + 1
        bits, values = list[SSAValue](), [base]
        for threshold, count in counts.items():
            bits.append(self.builder.compare("ge", x, threshold, start))
            values.append(values[-1] + sign * count)
        return self.builder.choose(bits, values, start)

    def _lookup(self, stage: qflow.LookupOp, x: Scalar, element: int, start: int) -> Scalar:
        entries = x.high - x.low + 1
        if entries > MAX_TABLE:
            raise FastmlError(
                f"edge '{stage.edge.data}' needs a table of {entries} entries",
                stage,
                code="FML-RANGE",
                hint=f"quantise its input to {MAX_TABLE} values or fewer",
            )
        row = stage.table.array[element, :entries].tolist()
        bits, values = list[SSAValue](), [row[0]]
        for k in range(1, entries):
            if row[k] != values[-1]:
                bits.append(self.builder.compare("ge", x, x.low + k, start))
                values.append(row[k])
        return self.builder.choose(bits, values, start)

    def _multiply(self, x: Scalar, y: Scalar, element: int, start: int) -> Scalar:
        low, high = int(self.result.lows[element]), int(self.result.highs[element])
        if low == high:
            return constant(low)
        width = max(self.result.elements.widths[element], 1)
        a, b = (self.builder.resized(v, width, start) for v in (x, y))
        return Scalar(self.builder.add(arith.MuliOp(a, b), start), low, high, start)


def _at(element: int) -> AffineMapAttr:
    return AffineMapAttr(AffineMap(0, 0, (AffineConstantExpr(element),)))
