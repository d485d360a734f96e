"""The function of one parallel stage: straight-line arithmetic on the elements of beats."""

from collections.abc import Sequence

import numpy as np
from xdsl.dialects import affine, arith, func
from xdsl.dialects.builtin import (
    AffineMapAttr,
    DictionaryAttr,
    IntegerType,
    LocationAttr,
    MemRefType,
    StringAttr,
)
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.ir import Block, Region, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineMap

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import Integers, integer_array
from fastml.dialects.elements import Elements
from fastml.dialects.qflow import channel_of
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


class StageFunction:
    """Builds the function of one stage: operands in, result out, as memories of elements."""

    def __init__(self, sources: Sequence[SSAValue], result: SSAValue, location: LocationAttr):
        self.channels = [channel_of(source) for source in sources]
        self.result = channel_of(result)
        self.cycles = [cycles_of(source) for source in sources]
        self.stored = cycles_of(result).tolist()
        self.location = location
        types = [memref_of(c.elements) for c in (*self.channels, self.result)]
        self.block = Block(arg_types=types)
        self.builder = ScalarBuilder(self.block, location)
        self.loaded = dict[tuple[int, int], Scalar]()

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

    def store(self, element: int, scalar: Scalar) -> None:
        """Store one result element, in the cycle that the schedule gives it."""
        width = max(self.result.elements.container[0], 1)
        bits = self.builder.resized(scalar, width)
        op = affine.StoreOp(bits, self.block.args[-1], (), _at(element))
        self.builder.add(op, self.stored[element])

    def copy(self) -> None:
        """Copy the operand."""
        for element in range(len(self.result)):
            self.store(element, self.load(0, element))

    def lower(self, stage: qflow.StageOp) -> None:
        """Append the arithmetic of the stage."""
        match stage:
            case qflow.DenseOp():
                self._dense(stage)
            case qflow.CombineOp():
                self._combine(stage)
            case qflow.RearrangeOp():
                self._rearrange(stage)
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
        nodes = stage.node_cycles.integers.reshape(stage.positions, -1)
        for position in range(stage.positions):
            inputs = [(0, position * rows + row) for row in range(rows)]
            outputs = self._adders(graph, inputs, nodes[position])
            for column, output in enumerate(outputs):
                self.store(position * columns + column, output)

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
        for element, source in enumerate(index):
            self.store(element, self.load(*places[source]))

    def _elementwise(self, stage: qflow.StageOp) -> None:
        for element, cycle in enumerate(self.stored):
            low, high = int(self.result.lows[element]), int(self.result.highs[element])
            if low == high:
                self.store(element, constant(low))
                continue
            x = self.load(0, element)
            match stage:
                case qflow.RescaleOp():
                    y = self._rescale(stage, x, element, cycle)
                case qflow.ThresholdOp():
                    y = self._threshold(stage, x, element, cycle)
                case qflow.LookupOp():
                    y = self._lookup(stage, x, element, cycle)
                case qflow.MultiplyOp():
                    y = self._multiply(x, self.load(1, element), element, cycle)
                case _:
                    raise AssertionError(f"no lowering of {stage.name}")
            self.store(element, y)

    def _rescale(self, stage: qflow.RescaleOp, x: Scalar, element: int, start: int) -> Scalar:
        names = ("offset", "shift", "low", "high")
        offset, shift, low, high = (int(getattr(stage, n).integers[element]) for n in names)
        whole = int(stage.whole_steps[element])
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
