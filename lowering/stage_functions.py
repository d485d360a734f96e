"""The function of one parallel stage: straight-line arithmetic on the elements of beats."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    AffineMapAttr,
    DictionaryAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    LocationAttr,
    MemRefType,
    StringAttr,
    i64,
)
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.ir import Block, Region, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineMap

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import Integers, integer_array
from fastml.dialects.directives import ELEMENTS, START
from fastml.dialects.elements import Elements
from fastml.dialects.qflow import ChannelType, Extremum, channel_of, linear_ranges
from fastml.dialects.qflow_cycles import cycles_of
from fastml.lowering.adder_graphs import from_attribute
from fastml.lowering.cmvm.graph import Graph
from fastml.lowering.rescaling import rescale
from fastml.lowering.scalars import Scalar, ScalarBuilder, constant

MAX_TABLE = 1024
"""Largest table, in entries, that is made of choices."""


def memref_of(elements: Elements) -> MemRefType[IntegerType]:
    """Return the memory that holds one beat: its elements in the narrowest common type."""
    return MemRefType(IntegerType(max(elements.container[0], 1)), (len(elements),))


class Beat(NamedTuple):
    """What a memory of a function holds, and in which cycle each element is there."""

    channel: ChannelType
    cycles: Integers

    @classmethod
    def of(cls, value: SSAValue) -> "Beat":
        """Describe a channel of a graph."""
        return cls(channel_of(value), cycles_of(value))


class StageFunction:
    """Builds the function of one stage: operands in, result out, as memories of elements."""

    def __init__(self, operands: Sequence[Beat], result: Beat, location: LocationAttr):
        self.operands, self.answer = operands, result
        self.channels = [operand.channel for operand in operands]
        self.result = result.channel
        self.location = location
        self.indices = dict[int, SSAValue]()
        self.kernels = list[func.FuncOp]()
        """Functions that this one calls, made with it."""
        types = [memref_of(c.elements) for c in (*self.channels, self.result)]
        self.block = Block(arg_types=types)
        self.builder = ScalarBuilder(self.block, location)
        self.loaded = dict[tuple[int, int], Scalar]()

    @classmethod
    def of(
        cls, sources: Sequence[SSAValue], result: SSAValue, location: LocationAttr
    ) -> "StageFunction":
        """Start the function from channels to a channel of a graph."""
        return cls([Beat.of(source) for source in sources], Beat.of(result), location)

    def load(self, operand: int, element: int) -> Scalar:
        """Return one operand element, loaded once, at its own width."""
        if (operand, element) not in self.loaded:
            memory = self.block.args[operand]
            self.loaded[operand, element] = self._read(memory, self.operands[operand], element)
        return self.loaded[operand, element]

    def _read(self, memory: SSAValue, beat: Beat, element: int) -> Scalar:
        low, high = int(beat.channel.lows[element]), int(beat.channel.highs[element])
        if low == high:
            return constant(low)
        cycle = int(beat.cycles[element])
        op = affine.LoadOp(memory, (), _at(element))
        op.location = self.location
        self.block.add_op(op)
        self.builder.entered(op.result, cycle)
        return self.builder.narrowed(Scalar(op.result, low, high, cycle), cycle)

    def store(self, element: int, scalar: Scalar) -> None:
        """Store one result element, in the cycle that the schedule gives it."""
        self._write(self.block.args[-1], self.answer, element, scalar)

    def _write(self, memory: SSAValue, beat: Beat, element: int, scalar: Scalar) -> None:
        width = max(beat.channel.elements.container[0], 1)
        bits = self.builder.resized(scalar, width)
        self.builder.add(affine.StoreOp(bits, memory, (), _at(element)), int(beat.cycles[element]))

    def copy(self) -> None:
        """Copy the operand."""
        for element in range(len(self.result)):
            self.store(element, self.load(0, element))

    def lower(self, stage: qflow.StageOp, kernel: str | None = None) -> None:
        """Append the arithmetic of the stage.

        With a name for a ``kernel``, a matrix that is applied at several positions becomes a
        function of that name, which is called at each of them.
        """
        match stage:
            case qflow.DenseOp() if kernel is not None and stage.positions > 1:
                self._instances(stage, kernel)
            case qflow.DenseOp():
                self._dense(stage)
            case qflow.CombineOp():
                self._combine(stage)
            case qflow.RearrangeOp():
                self._rearrange(stage)
            case qflow.MaximumOp():
                self._maximum(stage)
            case _:
                self._elementwise(stage)

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
        self, graph: Graph, inputs: list[tuple[int, int]], cycles: Integers
    ) -> list[Scalar]:
        """Append an adder graph over the given operand elements; return its outputs."""
        lows = np.array([self.channels[k].lows[e] for k, e in inputs], object)
        highs = np.array([self.channels[k].highs[e] for k, e in inputs], object)
        grid = graph.grid(integer_array(lows), integer_array(highs))
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
        assert stage.node_cycles is not None, "the schedule was checked"
        rows, columns = stage.matrix.integers.shape
        graph = from_attribute(stage.graph, rows)
        for position in range(len(self.result) // columns):
            inputs = [(0, position * rows + row) for row in range(rows)]
            outputs = self._adders(graph, inputs, stage.node_cycles.integers)
            for column, output in enumerate(outputs):
                self.store(position * columns + column, output)

    def _instances(self, stage: qflow.DenseOp, name: str) -> None:
        """Make the function of one position, and call it at every one."""
        rows, columns = stage.matrix.array.shape
        lows, highs = stage.row_ranges
        latest = self.operands[0].cycles.reshape(-1, rows).max(axis=0)
        source = Beat(ChannelType.of((rows,), lows, highs), latest)
        ends = linear_ranges(stage.matrix.integers, stage.bias.integers, lows, highs)
        made = self.answer.cycles.reshape(-1, columns).max(axis=0)
        result = Beat(ChannelType.of((columns,), *ends), made)
        kernel = StageFunction([source], result, self.location)
        kernel.lower(stage)
        self.kernels.append(kernel.finish(name))
        for position in range(stage.positions):
            operand, answer = self._local(source.channel), self._local(result.channel)
            for row in range(rows):
                value = self.load(0, position * rows + row)
                self._place(operand, source, row, value)
            call = func.CallOp(name, [operand, answer], [])
            call.location = self.location
            self.block.add_op(call)
            for column in range(columns):
                element = position * columns + column
                low, high = int(self.result.lows[element]), int(self.result.highs[element])
                value = constant(low) if low == high else self._read(answer, result, column)
                self.store(element, value)

    def _place(self, memory: SSAValue, beat: Beat, element: int, scalar: Scalar) -> None:
        """Store an element of a local memory, in its own cycle even if it is there before."""
        cycle = int(beat.cycles[element])
        if scalar.value is not None and scalar.cycle == cycle:
            self._write(memory, beat, element, scalar)
            return
        width = max(beat.channel.elements.container[0], 1)
        if element not in self.indices:
            number = arith.ConstantOp.from_int_and_width(element, IndexType())
            self.builder.add(number)
            self.indices[element] = number.result
        bits = self.builder.resized(scalar, width)
        store = memref.StoreOp.get(bits, memory, [self.indices[element]])
        store.attributes[START] = IntegerAttr(cycle, i64)
        self.builder.add(store, cycle)

    def _local(self, channel: ChannelType) -> SSAValue:
        """Allocate a memory of the function."""
        elements = channel.elements
        op = memref.AllocOp.get(memref_of(elements).element_type, None, [len(elements)])
        op.attributes[ELEMENTS] = StringAttr(str(elements))
        op.location = self.location
        self.block.add_op(op)
        return op.memref

    def _combine(self, stage: qflow.CombineOp) -> None:
        assert stage.graph is not None
        assert stage.node_cycles is not None, "the schedule was checked"
        count = len(self.result)
        inputs = [(k, e) for k in range(len(self.channels)) for e in range(count)]
        graph = from_attribute(stage.graph, len(inputs))
        for element, output in enumerate(self._adders(graph, inputs, stage.node_cycles.integers)):
            self.store(element, output)

    def _rearrange(self, stage: qflow.RearrangeOp) -> None:
        places = [(k, e) for k, channel in enumerate(self.channels) for e in range(len(channel))]
        index: list[int] = stage.index.integers.tolist()
        constants: list[int] = stage.constants.tolist()
        for element, source in enumerate(index):
            filled = source >= len(places)
            value = constant(constants[source - len(places)]) if filled else None
            self.store(element, value or self.load(*places[source]))

    def _maximum(self, stage: qflow.MaximumOp) -> None:
        assert stage.node_cycles is not None, "the schedule was checked"
        places = [(k, e) for k, channel in enumerate(self.channels) for e in range(len(channel))]
        trees = stage.trees
        left: list[list[tuple[int, int] | Scalar]] = [
            [places[entry] for entry in row] for row in trees.entries.tolist()
        ]
        cycles: list[int] = stage.node_cycles.integers.tolist()
        largest = stage.kind.data is Extremum.MAX
        for now in trees.rounds():
            meetings: list[list[int]] = np.stack(now[:3], axis=1).tolist()
            for row, place, node in meetings:
                a, b = (self._contender(left[row][2 * place + side]) for side in (0, 1))
                left[row][place] = self.builder.extremum(a, b, cycles[node], largest=largest)
            for row, place in zip(now.byes.tolist(), now.bye_places.tolist(), strict=True):
                left[row][place] = left[row][2 * place]
        for element, row in enumerate(left):
            self.store(element, self._contender(row[0]))

    def _contender(self, x: tuple[int, int] | Scalar) -> Scalar:
        """Return an operand element, or what won before."""
        return x if isinstance(x, Scalar) else self.load(*x)

    def _elementwise(self, stage: qflow.StageOp) -> None:
        whole: list[int] = stage.whole_steps.tolist() if isinstance(stage, qflow.RescaleOp) else []
        for element, cycle in enumerate(self.answer.cycles.tolist()):
            low, high = int(self.result.lows[element]), int(self.result.highs[element])
            if low == high:
                self.store(element, constant(low))
                continue
            x = self.load(0, element)
            match stage:
                case qflow.RescaleOp():
                    y = self._rescale(stage, x, element, whole[element], cycle)
                case qflow.ThresholdOp():
                    y = self._threshold(stage, x, element, cycle)
                case qflow.LookupOp():
                    y = self._lookup(stage, x, element, cycle)
                case qflow.WrapOp():
                    bits = self.builder.resized(x, int(stage.width.integers[element]), cycle)
                    y = self.builder.narrowed(Scalar(bits, low, high, cycle), cycle)
                case qflow.MultiplyOp():
                    y = self._multiply(x, self.load(1, element), element, cycle)
                case _:
                    raise AssertionError(f"no lowering of {stage.name}")
            self.store(element, y)

    def _rescale(
        self, stage: qflow.RescaleOp, x: Scalar, element: int, whole: int, start: int
    ) -> Scalar:
        names = ("offset", "shift", "low", "high")
        offset, shift, low, high = (int(getattr(stage, n).integers[element]) for n in names)
        rounding = stage.rounding.data
        return rescale(self.builder, x, offset, whole, shift, rounding, low, high, start)

    def _threshold(self, stage: qflow.ThresholdOp, x: Scalar, element: int, start: int) -> Scalar:
        base, sign = int(stage.base.integers[element]), int(stage.direction.integers[element])
        counts = dict[int, int]()
        for threshold in stage.thresholds.integers[element].tolist():
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
        row = stage.table.integers[element, :entries].tolist()
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
