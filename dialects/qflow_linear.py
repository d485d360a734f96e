"""Linear stages of the ``qflow`` dialect: constant matrix, elementwise join, product."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, opt_prop_def, prop_def, var_operand_def

from fastml.dialects.adder_graph import AdderGraphAttr
from fastml.dialects.array import ArrayAttr, Integers, integer_array
from fastml.dialects.channel import ChannelType, channel_of, stage_channel
from fastml.dialects.loadable import LoadableAttr
from fastml.dialects.qflow_folded import FoldedAttr, Order, Products
from fastml.dialects.qflow_stage import (
    ParallelAttr,
    StageOp,
    properties_of,
    require,
    require_integers,
    verify_cycles,
)

_Ranges: TypeAlias = Callable[[Integers, Integers, Integers, Integers], tuple[Integers, Integers]]


def linear_ranges(
    matrix: Integers, bias: Integers, lows: Integers, highs: Integers
) -> tuple[Integers, Integers]:
    """Return the exact ranges of ``x @ matrix + bias`` over ``lows <= x <= highs``."""
    exact = matrix.astype(object) if _needs_object(matrix, lows, highs) else matrix
    positive, negative = np.maximum(exact, 0), np.minimum(exact, 0)
    kind = exact.dtype
    lows, highs = lows.astype(kind), highs.astype(kind)
    wide = bias.astype(object)
    low = (lows @ positive + highs @ negative).astype(object) + wide
    high = (highs @ positive + lows @ negative).astype(object) + wide
    return integer_array(low), integer_array(high)


def loadable_ranges(loadable: LoadableAttr) -> _Ranges:
    """Return the like of :func:`linear_ranges` for every matrix of a range."""

    def ranges(
        matrix: Integers, bias: Integers, lows: Integers, highs: Integers
    ) -> tuple[Integers, Integers]:
        low, high = loaded_ranges(loadable.bounds, lows, highs)
        wide = bias.astype(object)
        return integer_array(low.sum() + wide), integer_array(high.sum() + wide)

    return ranges


def loaded_ranges(
    weights: tuple[int, int], lows: Integers, highs: Integers
) -> tuple[Integers, Integers]:
    """Return the ranges of products of any weight with values, as Python integers."""
    ends = np.stack(
        [weight * bound.astype(object) for weight in weights for bound in (lows, highs)]
    )
    return ends.min(axis=0), ends.max(axis=0)


def _needs_object(matrix: Integers, lows: Integers, highs: Integers) -> bool:
    if object in (matrix.dtype, lows.dtype, highs.dtype):
        return True
    weight = max(-int(matrix.min(initial=0)), int(matrix.max(initial=0)))
    value = max(-int(lows.min(initial=0)), int(highs.max(initial=0)))
    return weight * value * max(len(lows), 1) >= 1 << 62


def verify_graph(
    graph: AdderGraphAttr | None,
    cycles: ArrayAttr | None,
    inputs: int,
    outputs: int,
) -> None:
    """Check the adder graph of a stage, and the cycles of its adders."""
    if graph is None:
        require(cycles is None, "node cycles need an adder graph")
        return
    graph.verify_inputs(inputs)
    found = len(graph.out_id.array)
    require(found == outputs, f"the adder graph has {found} outputs, not {outputs}")
    if cycles is not None:
        message = f"node cycles must be one for each of {graph.nodes} adders"
        verify_cycles(cycles, graph.nodes, message)


@irdl_op_definition
class DenseOp(StageOp):
    """Constant matrix: ``y = x @ matrix + bias`` for each of ``positions`` blocks of x.

    With ``loadable``, another matrix of that range may be loaded; ``matrix`` is the model's.
    One adder graph does for all positions, and so do ``node_cycles``: the cycles of its adders.
    """

    name = "qflow.dense"

    input = operand_def(ChannelType)
    matrix = prop_def(ArrayAttr)
    bias = prop_def(ArrayAttr)
    loadable = opt_prop_def(LoadableAttr)
    graph = opt_prop_def(AdderGraphAttr)
    node_cycles = opt_prop_def(ArrayAttr)

    assembly_format = "$edge `(` $input `)` attr-dict `:` type($input) `->` type($result)"

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        matrix: Integers,
        bias: Integers,
        shape: Sequence[int],
        loadable: LoadableAttr | None = None,
    ):
        parameters: dict[str, Attribute] = {
            "matrix": ArrayAttr.get(matrix),
            "bias": ArrayAttr.get(bias),
        }
        if loadable is not None:
            parameters["loadable"] = loadable
        lows, highs = self._block_ranges(channel_of(input), matrix, bias, loadable)
        super().__init__(
            operands=[input],
            properties=properties_of(edge, parameters),
            result_types=[stage_channel([input], shape, lows, highs)],
        )

    @staticmethod
    def _block_ranges(
        source: ChannelType, matrix: Integers, bias: Integers, loadable: LoadableAttr | None
    ) -> tuple[Integers, Integers]:
        rows = matrix.shape[0]
        ranges = linear_ranges if loadable is None else loadable_ranges(loadable)
        blocks = [
            ranges(matrix, bias, source.lows[at : at + rows], source.highs[at : at + rows])
            for at in range(0, len(source), rows)
        ]
        lows, highs = zip(*blocks, strict=True)
        return integer_array(np.concatenate(lows)), integer_array(np.concatenate(highs))

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channel."""
        return [self.input]

    @property
    def positions(self) -> int:
        """How many blocks of the operand the matrix is applied to."""
        return len(channel_of(self.input)) // self.matrix.array.shape[0]

    @property
    def row_ranges(self) -> tuple[Integers, Integers]:
        """The range of each row of the matrix: the union over all positions."""
        source, rows = channel_of(self.input), self.matrix.array.shape[0]
        lows, highs = source.lows.reshape(-1, rows), source.highs.reshape(-1, rows)
        return integer_array(lows.min(axis=0)), integer_array(highs.max(axis=0))

    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return sums of products at the worst ends of the operand's ranges."""
        matrix, bias = self.matrix.integers, self.bias.integers
        return self._block_ranges(channel_of(self.input), matrix, bias, self.loadable)

    @property
    def words(self) -> int:
        """Words that hold the weights of a planned folded stage: cycles that loading takes."""
        plan = self.architecture
        assert isinstance(plan, FoldedAttr)
        assert plan.planned
        rows, columns = self.matrix.array.shape
        slots = -(-int(rows) // plan.lanes.data)
        if Order(plan.order.data) is Order.IN_STEP:
            return slots * -(-int(columns) // plan.groups.data)
        return -(-self.positions * int(columns) * slots // plan.groups.data)

    def verify_parameters(self) -> None:
        """Check matrix, bias, adder graph and node cycles."""
        matrix = self.matrix.array
        require(matrix.ndim == 2 and matrix.dtype != np.float32, "needs an integer matrix")
        rows, columns = matrix.shape
        require(rows > 0, "the matrix needs a row")
        require_integers(self.bias, (columns,), "bias")
        count = len(channel_of(self.input))
        require(
            count > 0 and count % rows == 0,
            f"{count} elements are not blocks of {rows} matrix rows",
        )
        verify_graph(self.graph, self.node_cycles, rows, columns)
        if self.loadable is not None:
            self._verify_loadable(self.loadable)

    def _verify_loadable(self, loadable: LoadableAttr) -> None:
        low, high = loadable.bounds
        matrix, plan = self.matrix.integers, self.architecture
        inside = np.all((matrix >= low) & (matrix <= high))
        require(inside, f"a weight is not within the loadable {low}..{high}")
        require(self.graph is None, "loadable weights have no adder graph")
        require(not isinstance(plan, ParallelAttr), "loadable weights need a folded stage")
        if isinstance(plan, FoldedAttr) and plan.planned:
            multiplies = Products(plan.products.data) is Products.MULTIPLIER
            placed = Order(plan.order.data) is not Order.NON_ZERO
            require(
                multiplies and placed,
                "loadable weights need multipliers, and a place for every product",
            )


@irdl_op_definition
class CombineOp(StageOp):
    """Elementwise linear join: ``y[i] = sum_k coefficients[k, i] * x_k[i] + bias[i]``."""

    name = "qflow.combine"

    inputs = var_operand_def(ChannelType)
    coefficients = prop_def(ArrayAttr)
    bias = prop_def(ArrayAttr)
    graph = opt_prop_def(AdderGraphAttr)
    node_cycles = opt_prop_def(ArrayAttr)

    assembly_format = "$edge `(` $inputs `)` attr-dict `:` functional-type($inputs, $result)"

    def __init__(
        self,
        edge: str,
        inputs: Sequence[SSAValue],
        coefficients: Integers,
        bias: Integers,
        shape: Sequence[int],
    ):
        parameters = {"coefficients": ArrayAttr.get(coefficients), "bias": ArrayAttr.get(bias)}
        lows, highs = self._join([channel_of(x) for x in inputs], coefficients, bias)
        super().__init__(
            operands=[inputs],
            properties=properties_of(edge, parameters),
            result_types=[stage_channel(inputs, shape, lows, highs)],
        )

    @staticmethod
    def _join(
        channels: Sequence[ChannelType], coefficients: Integers, bias: Integers
    ) -> tuple[Integers, Integers]:
        low: Integers = bias.astype(object)
        high: Integers = bias.astype(object)
        for channel, row in zip(channels, coefficients.astype(object), strict=True):
            ends = np.stack([row * channel.lows.astype(object), row * channel.highs.astype(object)])
            low, high = low + ends.min(axis=0), high + ends.max(axis=0)
        return integer_array(low), integer_array(high)

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channels."""
        return list(self.inputs)

    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return sums of products at the worst ends of the operands' ranges."""
        channels = [channel_of(x) for x in self.inputs]
        return self._join(channels, self.coefficients.integers, self.bias.integers)

    def verify_parameters(self) -> None:
        """Check coefficients and bias against the operands."""
        require(len(self.inputs) >= 1, "needs an operand")
        count = len(channel_of(self.inputs[0]))
        require(all(len(channel_of(x)) == count for x in self.inputs), "operands differ in size")
        require_integers(self.coefficients, (len(self.inputs), count), "coefficients")
        require_integers(self.bias, (count,), "bias")
        verify_graph(self.graph, self.node_cycles, len(self.inputs) * count, count)


@irdl_op_definition
class MultiplyOp(StageOp):
    """Elementwise product of two channels: ``y[i] = left[i] * right[i]``."""

    name = "qflow.multiply"

    left = operand_def(ChannelType)
    right = operand_def(ChannelType)

    assembly_format = (
        "$edge `(` $left `,` $right `)` attr-dict"
        " `:` type($left) `,` type($right) `->` type($result)"
    )

    def __init__(self, edge: str, left: SSAValue, right: SSAValue, shape: Sequence[int]):
        lows, highs = self._corners(left, right)
        super().__init__(
            operands=[left, right],
            properties=properties_of(edge, {}),
            result_types=[stage_channel([left, right], shape, lows, highs)],
        )

    @staticmethod
    def _corners(left: SSAValue, right: SSAValue) -> tuple[Integers, Integers]:
        a, b = channel_of(left), channel_of(right)
        ends = [
            x.astype(object) * y.astype(object)
            for x in (a.lows, a.highs)
            for y in (b.lows, b.highs)
        ]
        if left is right:  # a square: its least is 0 where the range spans 0
            squares = np.stack([ends[0], ends[3]])
            spans = (a.lows <= 0) & (a.highs >= 0)
            low = np.where(spans, 0, squares.min(axis=0))
            return integer_array(low), integer_array(squares.max(axis=0))
        corners = np.stack(ends)
        return integer_array(corners.min(axis=0)), integer_array(corners.max(axis=0))

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The two operand channels."""
        return [self.left, self.right]

    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return the extremes among the corners."""
        return self._corners(self.left, self.right)

    def verify_parameters(self) -> None:
        """Check that the operands agree in size."""
        sizes = len(channel_of(self.left)), len(channel_of(self.right))
        require(sizes[0] == sizes[1], "operands differ in size")
