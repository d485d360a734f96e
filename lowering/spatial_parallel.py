"""Lower operators on images and sequences where a frame is one beat of all elements.

A window is wiring: what it sees beyond an edge is a constant. A convolution is one constant
matrix that is applied at every position, so that one adder graph serves all of them; pools
and reductions are trees of comparators or of adders.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, qflow
from fastml.dialects.array import Integers, integer_array
from fastml.dialects.fastml import constant_of, shape_of
from fastml.dialects.fastml_spatial import (
    ConvOp,
    ExtremumOp,
    MaxPoolOp,
    ReduceOp,
    Reduction,
)
from fastml.dialects.grid import QuantisedType
from fastml.dialects.inference_spatial import extremum_factors
from fastml.dialects.loadable import LoadableAttr
from fastml.dialects.qflow import Extremum
from fastml.lowering.stage_builder import StageBuilder, grid_of

MAX_WIRES = 1 << 18
"""Most elements of the windows of one operator, all positions together."""

KINDS = {Reduction.MAX: Extremum.MAX, Reduction.MIN: Extremum.MIN}


def check_size(network: fastml.NetworkOp) -> None:
    """Refuse images that are too large for one beat, before any of it is built."""
    for op in network.body.block.ops:
        if isinstance(op, ConvOp | MaxPoolOp):
            shape, count = shape_of(op.result), 1
            for axis in op.spatial_axes:
                count *= shape[axis]
            wires = count * int(np.prod(op.kernel_shape)) * shape_of(op.input)[op.channel_axis]
            if wires > MAX_WIRES:
                raise FastmlError(
                    f"'{op.edge_name}' has {count} windows of {wires // count} elements each: "
                    f"more than {MAX_WIRES} wires in one beat",
                    op,
                    code="FML-TARGET",
                    hint="stream the image: --io stream",
                )


def window_elements(op: ConvOp | MaxPoolOp) -> NDArray[np.int64]:
    """Return the element of the operand that each window sees: ``[window, place, channel]``.

    Windows and places in them are numbered row by row; -1 is beyond an edge.
    """
    shape, rank = shape_of(op.input), len(op.kernel_shape)
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    place = np.zeros((1,) * (2 * rank), np.int64)
    inside = np.ones((1,) * (2 * rank), np.bool_)
    for number, (axis, window) in enumerate(zip(op.spatial_axes, op.windows, strict=True)):
        own = [1] * (2 * rank)
        own[number], own[rank + number] = window.table.shape
        table = window.table.reshape(own)
        place, inside = place + table * strides[axis], inside & (table >= 0)
    places = int(np.prod(op.kernel_shape))
    channels = np.arange(shape[op.channel_axis]) * strides[op.channel_axis]
    seen = np.where(inside, place, -1).reshape(-1, places, 1)
    return np.where(seen < 0, -1, seen + channels)


def kernel_matrix(op: ConvOp) -> Integers:
    """Return the weights' integers as ``[place and channel, output channel]``.

    Groups are blocks of the matrix; what is outside of them is 0.
    """
    weights = op.matrices
    outputs, inner = weights.shape[:2]
    groups = op.group.data
    rows = np.moveaxis(weights.reshape(groups, outputs // groups, inner, -1), 1, -1)
    places = rows.shape[2]
    whole = np.zeros((places, groups, inner, groups, outputs // groups), rows.dtype)
    for group in range(groups):
        whole[:, group, :, group, :] = np.moveaxis(rows[group], 0, 1)
    return integer_array(whole.reshape(places * groups * inner, outputs))


@dataclass(frozen=True)
class ChannelGrid:
    """How raw integers of channels are numbers: ``weight * raw + shift``."""

    weight: int
    shift: Integers
    """One for each channel."""

    @classmethod
    def of(cls, value: SSAValue, axis: int) -> "ChannelGrid | None":
        """Describe an edge; ``None`` if zero points differ within a channel."""
        grid = grid_of(value)
        shift = np.broadcast_to(grid.shift, shape_of(value))
        rows = np.moveaxis(shift, axis, -1).reshape(-1, shape_of(value)[axis])
        return None if np.any(rows != rows[:1]) else cls(grid.weight, integer_array(rows[0]))

    @classmethod
    def plain(cls, channels: int) -> "ChannelGrid":
        """Describe integers that are numbers."""
        return cls(1, np.zeros(channels, np.int64))

    @property
    def zero(self) -> Integers | None:
        """The raw integer of the number 0 of each channel; ``None`` if one has none."""
        zero, rest = np.divmod(-self.shift, self.weight)
        return None if np.any(rest) else zero


@dataclass(frozen=True)
class SpatialLowering:
    """Appends the stages of an operator; ``channels`` are those of the edges so far."""

    builder: StageBuilder
    channels: Mapping[SSAValue, SSAValue]
    integer: Callable[[SSAValue, fastml.LayerOp], SSAValue]
    """Returns the channel of an edge's integers."""
    loadable: Callable[[QuantisedType], LoadableAttr] | None = None
    """Returns which weights of a type can be loaded, where weights can."""

    def lower(self, op: fastml.LayerOp) -> SSAValue:
        """Lower one operator."""
        match op:
            case ConvOp():
                return self._convolution(op)
            case MaxPoolOp():
                return self._pool(op)
            case ReduceOp():
                return self._reduction(op)
            case _:
                assert isinstance(op, ExtremumOp)
                return self._extremum(op)

    # --- convolution -------------------------------------------------------------------

    def _convolution(self, op: ConvOp) -> SSAValue:
        elements = window_elements(op)
        source, grid = self._source(op, bool(np.any(elements < 0)))
        loadable = self.loadable(grid_of(op.weights)) if self.loadable is not None else None
        matrix = kernel_matrix(op)
        positions, places, channels = elements.shape
        outputs = matrix.shape[1]
        index, fill = _filled(elements, grid, len(qflow.channel_of(source)))
        shift = np.tile(grid.shift, places)
        parts = list[SSAValue]()
        blocks = list(_blocks(op, places * channels, outputs, split=loadable is not None))
        alone = len(blocks) == 1 and (op.channels_last is not None or 1 in (outputs, positions))
        for number, (rows, columns) in enumerate(blocks):
            name = f"{op.edge_name}:{number}" if len(blocks) > 1 else f"{op.edge_name}:positions"
            edge = op.edge_name if alone else self.builder.fresh(name)
            wired = index.reshape(positions, -1)[:, rows].reshape(-1)
            operand = self._wire(source, wired, fill, f"{edge}:operand", op)
            wide = matrix[rows][:, columns].astype(object)
            bias = integer_array(shift[rows].astype(object) @ wide)
            weights = integer_array(wide * grid.weight)
            size = positions * len(columns)
            shape = shape_of(op.result) if alone else (size,)
            stage = qflow.DenseOp(edge, operand, weights, bias, shape, loadable)
            parts.append(self.builder.stage(stage, op))
        return parts[0] if alone else self._scatter(op, parts, positions)

    def _source(self, op: ConvOp, padded: bool) -> tuple[SSAValue, ChannelGrid]:
        """Return the operand's channel, and what its raw integers are."""
        grid = ChannelGrid.of(op.input, op.channel_axis)
        channels = shape_of(op.input)[op.channel_axis]
        if grid is not None:
            plain = grid.weight == 1 and not np.any(grid.shift)
            fills = not padded or grid.zero is not None
            if fills and (plain or self.loadable is None):
                return self.channels[op.input], grid
        return self.integer(op.input, op), ChannelGrid.plain(channels)

    def _wire(
        self,
        source: SSAValue,
        index: NDArray[np.int64],
        fill: Integers,
        name: str,
        op: fastml.LayerOp,
    ) -> SSAValue:
        if not len(fill):
            return self.builder.select(source, index, name, op)
        stage = qflow.RearrangeOp(self.builder.fresh(name), [source], index, (len(index),), fill)
        return self.builder.stage(stage, op)

    def _scatter(self, op: ConvOp, parts: list[SSAValue], positions: int) -> SSAValue:
        """Wire the results of all positions to where the result has them."""
        tables, start = list[NDArray[np.int64]](), 0
        for part in parts:
            size = len(qflow.channel_of(part))
            tables.append(start + np.arange(size).reshape(positions, -1))
            start += size
        index = np.concatenate(tables, axis=1)
        index = index if op.channels_last is not None else index.T
        wires = qflow.RearrangeOp(op.edge_name, parts, index.reshape(-1), shape_of(op.result))
        return self.builder.stage(wires, op)

    # --- extrema and sums ----------------------------------------------------------------

    def _pool(self, op: MaxPoolOp) -> SSAValue:
        elements = window_elements(op)
        first = np.argmax(elements >= 0, axis=1)[:, None, :]
        seen = np.where(elements < 0, np.take_along_axis(elements, first, axis=1), elements)
        order = (0, 2, 1) if op.channels_last is not None else (2, 0, 1)
        index = np.transpose(seen, order).reshape(-1, elements.shape[1])
        stage = qflow.MaximumOp(op.edge_name, [self.channels[op.input]], index, shape_of(op.result))
        return self.builder.stage(stage, op)

    def _reduction(self, op: ReduceOp) -> SSAValue:
        shape, kind = shape_of(op.input), op.kind.data
        axes = [axis.data for axis in op.axes]
        elements = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
        moved = np.moveaxis(elements, axes, range(-len(axes), 0))
        index = moved.reshape(-1, int(np.prod([shape[axis] for axis in axes])))
        source = self.channels[op.input]
        if kind is not Reduction.SUM:
            made = qflow.MaximumOp(op.edge_name, [source], index, shape_of(op.result), KINDS[kind])
            return self.builder.stage(made, op)
        grid = grid_of(op.input)
        shift = np.broadcast_to(grid.shift, shape).reshape(-1).astype(object)
        total, weight = shift[index].sum(axis=1), grid.weight
        if np.any(total != total[:1]):
            source, total, weight = self.integer(op.input, op), np.zeros(1, object), 1
        operand = self.builder.select(source, index.reshape(-1), f"{op.edge_name}:operand", op)
        ones = integer_array(np.full((index.shape[1], 1), weight, object))
        bias = integer_array(total[:1])
        stage = qflow.DenseOp(op.edge_name, operand, ones, bias, shape_of(op.result))
        return self.builder.stage(stage, op)

    def _extremum(self, op: ExtremumOp) -> SSAValue:
        shape = shape_of(op.result)
        count = int(np.prod(shape, dtype=np.int64))
        sources, fixed = list[SSAValue](), list[Integers]()
        for operand, factor in zip(op.inputs, extremum_factors(op), strict=True):
            places = np.arange(int(np.prod(shape_of(operand)))).reshape(shape_of(operand))
            index = np.broadcast_to(places, shape).reshape(-1)
            steps = np.broadcast_to(factor, shape).reshape(-1).astype(object)
            grid, constant = grid_of(operand), constant_of(operand)
            if constant is not None:
                fixed.append(steps * grid.integer(constant.value.array).reshape(-1)[index])
                continue
            source = self.builder.select(
                self.channels[operand], index, f"{op.edge_name}:operand", op
            )
            shift = np.broadcast_to(grid.shift, shape).reshape(-1) * steps
            if np.any(steps * grid.weight != 1) or np.any(shift):
                edge = self.builder.fresh(f"{op.edge_name}:integer")
                source = self.builder.scale(edge, source, steps * grid.weight, shift, (count,), op)
            sources.append(source)
        kind = KINDS[op.kind.data]
        if fixed and len(sources) == 1:
            return self._bound(op, sources[0], fixed, kind)
        for values in fixed:
            after = len(qflow.channel_of(sources[0]))
            wires = qflow.RearrangeOp(
                self.builder.fresh(f"{op.edge_name}:constant"),
                sources[:1],
                after + np.arange(count),
                (count,),
                integer_array(values),
            )
            sources.append(self.builder.stage(wires, op))
        index = np.arange(len(sources) * count).reshape(len(sources), count).T
        return self.builder.stage(qflow.MaximumOp(op.edge_name, sources, index, shape, kind), op)

    def _bound(
        self, op: ExtremumOp, source: SSAValue, fixed: Sequence[Integers], kind: Extremum
    ) -> SSAValue:
        """Clamp one tensor by constants."""
        channel, bound = qflow.channel_of(source), np.stack(fixed)
        low, high = (ends.astype(object) for ends in (channel.lows, channel.highs))
        if kind is Extremum.MAX:
            low = bound.max(axis=0)
            high = np.maximum(low, high)
        else:
            high = bound.min(axis=0)
            low = np.minimum(low, high)
        none = np.zeros(len(channel), np.int64)
        ends = integer_array(low), integer_array(high)
        stage = qflow.RescaleOp(
            op.edge_name, source, none, none, qflow.Rounding.FLOOR, *ends, shape_of(op.result)
        )
        return self.builder.stage(stage, op)


def _filled(
    elements: NDArray[np.int64], grid: ChannelGrid, count: int
) -> tuple[NDArray[np.int64], Integers]:
    """Return the index of every element of the windows, and the constants beyond an edge."""
    if not np.any(elements < 0):
        return elements, np.zeros(0, np.int64)
    assert grid.zero is not None
    fill, which = np.unique(grid.zero, return_inverse=True)
    return np.where(elements < 0, count + which.reshape(-1), elements), fill


def _blocks(
    op: ConvOp, rows: int, columns: int, *, split: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows and columns of the matrix of each stage: of all groups, or of each."""
    groups = op.group.data if split else 1
    owner = np.arange(rows) % (shape_of(op.input)[op.channel_axis])
    inner = shape_of(op.input)[op.channel_axis] // groups
    for group in range(groups):
        mine = np.flatnonzero(owner // inner == group)
        yield mine, np.arange(columns // groups) + group * (columns // groups)
