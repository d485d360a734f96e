"""Lay the products of a dense stage out over cycles, groups and lanes.

In each cycle a group multiplies up to ``lanes`` inputs of one output and adds the products
to its accumulator. See :mod:`fastml.dialects.qflow_folded` for the orders; which layout is
chosen, :mod:`fastml.lowering.folding_cost` says.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastml.dialects import qflow
from fastml.dialects.array import Integers
from fastml.dialects.channel import channel_of
from fastml.dialects.qflow_folded import FoldedAttr, Order

Indices = NDArray[np.int64]


def ceil_div(a: int, b: int) -> int:
    """Return ``a / b``, rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Shape:
    """Size of a plan. The stage is ``positions`` times a matrix of ``rows x columns``."""

    order: Order
    groups: int
    lanes: int
    slots: int
    """Slots of an output, the most that one has."""
    trips: int
    """Cycles in which a product enters."""
    per_group: int
    """Outputs of a group at each position; orders other than ``in_step`` have none."""
    depth: int
    """Words of weights for each lane."""


def slot_counts(matrix: Integers, lanes: int, order: Order) -> Indices:
    """Return the slots of each output."""
    rows, columns = matrix.shape
    counts = np.full(columns, rows)
    if order is Order.NON_ZERO:
        counts = np.maximum(np.count_nonzero(matrix, axis=0), 1)
    return -(-counts // lanes)


def shape_of(
    matrix: Integers, positions: int, reuse: int, lanes: int, order: Order
) -> Shape | None:
    """Return the plan of a reuse factor with the fewest groups; ``None`` if there is none."""
    counts = slot_counts(matrix, lanes, order)
    slots, total = int(counts.max()), int(counts.sum()) * positions
    if order is not Order.IN_STEP:
        groups = ceil_div(total, reuse)
        trips = ceil_div(total, groups)
        return Shape(order, groups, lanes, slots, trips, 0, trips)
    most = reuse // (slots * positions)
    if most < 1:
        return None
    columns = matrix.shape[1]
    groups = ceil_div(columns, most)
    per_group = ceil_div(columns, groups)
    trips = slots * per_group * positions
    return Shape(order, groups, lanes, slots, trips, per_group, slots * per_group)


@dataclass(frozen=True)
class Run:
    """Neighbouring slots of one group that work on one output."""

    group: int
    start: int
    stop: int
    output: int
    whole: bool
    """The output has no other run."""


@dataclass(frozen=True)
class Slots:
    """What every lane does in every cycle; arrays go by cycle, group and lane."""

    shape: Shape
    index: Indices
    """Input element that a lane takes."""
    weight: Integers
    """What it multiplies it by; 0 where it idles."""
    output: Indices
    """Output element that a group works on, by cycle and group."""
    first: NDArray[np.bool_]
    """The accumulator restarts."""

    @cached_property
    def runs(self) -> list[Run]:
        """The runs of all groups, group by group, in order of time."""
        runs = list[Run]()
        pieces = np.bincount(self.output[self.first], minlength=int(self.output.max()) + 1)
        for group in range(self.shape.groups):
            starts = np.flatnonzero(self.first[:, group]).tolist()
            for start, stop in zip(starts, [*starts[1:], self.shape.trips], strict=True):
                output = int(self.output[start, group])
                runs.append(Run(group, start, stop, output, bool(pieces[output] == 1)))
        return runs

    @cached_property
    def split(self) -> dict[int, list[Run]]:
        """Runs of the outputs that have more than one; none in step."""
        found = dict[int, list[Run]]()
        if self.shape.order is not Order.IN_STEP:
            for run in self.runs:
                if not run.whole:
                    found.setdefault(run.output, []).append(run)
        return found


def slots_of(matrix: Integers, positions: int, shape: Shape) -> Slots:
    """Return the layout of a plan."""
    if shape.order is Order.IN_STEP:
        return _in_step(matrix, positions, shape)
    return _end_to_end(matrix, positions, shape)


def _chunks(count: int, lanes: int, slots: int) -> tuple[Indices, NDArray[np.bool_]]:
    """Share ``count`` inputs among lanes: which one in each slot, and whether it counts.

    A lane takes neighbouring ones. The last lane starts early enough to have one in every
    slot; those that another lane takes too do not count.
    """
    start = np.arange(lanes) * slots
    base = np.maximum(np.minimum(start, count - slots), 0)
    index = base[None, :] + np.arange(slots)[:, None]
    counts = (index >= start) & (index < count)
    return np.minimum(index, count - 1), counts


def _in_step(matrix: Integers, positions: int, shape: Shape) -> Slots:
    rows, columns = matrix.shape
    index, counts = _chunks(rows, shape.lanes, shape.slots)
    # the last group has as many outputs as the others: it makes some for a second time
    base = np.minimum(np.arange(shape.groups) * shape.per_group, columns - shape.per_group)
    outputs = base[None, :] + np.arange(shape.per_group)[:, None]
    size = (positions, shape.per_group, shape.slots, shape.groups, shape.lanes)
    taken = matrix[index[None, :, None, :], outputs[:, None, :, None]]
    weight = np.broadcast_to(np.where(counts[None, :, None, :], taken, 0), size)
    position = np.arange(positions)[:, None, None, None, None]
    place = np.broadcast_to(position * rows + index[None, None, :, None, :], size)
    output = position[..., 0] * columns + outputs[None, :, None, :]
    first = np.arange(shape.slots)[None, None, :, None] == 0
    size = size[:-1]
    flat = (shape.trips, shape.groups)
    return Slots(
        shape,
        place.reshape(*flat, shape.lanes),
        weight.reshape(*flat, shape.lanes),
        np.broadcast_to(output, size).reshape(flat),
        np.broadcast_to(first, size).reshape(flat),
    )


def _rows_of(column: Integers, order: Order) -> Indices:
    """Return the inputs that an output has a place for: at least one."""
    if order is Order.NON_ZERO:
        return np.flatnonzero(column) if np.any(column) else np.zeros(1, np.int64)
    return np.arange(len(column))


def _end_to_end(matrix: Integers, positions: int, shape: Shape) -> Slots:
    rows, columns = matrix.shape
    parts = list[tuple[Indices, Integers, int]]()
    for column in range(columns):
        chosen = _rows_of(matrix[:, column], shape.order)
        count = ceil_div(len(chosen), shape.lanes)
        index, counts = _chunks(len(chosen), shape.lanes, count)
        parts.append((chosen[index], np.where(counts, matrix[chosen[index], column], 0), column))
    index = np.concatenate([i + p * rows for p in range(positions) for i, _, _ in parts])
    weight = np.concatenate([w for _ in range(positions) for _, w, _ in parts])
    numbers = [np.full(len(i), p * columns + c) for p in range(positions) for i, _, c in parts]
    output = np.concatenate(numbers)
    idle = shape.groups * shape.trips - len(index)
    index = np.concatenate([index, np.repeat(index[-1:], idle, axis=0)])
    weight = np.concatenate([weight, np.zeros((idle, shape.lanes), weight.dtype)])
    output = np.concatenate([output, np.repeat(output[-1:], idle)])
    first = np.diff(output, prepend=-1) != 0
    size = (shape.groups, shape.trips)
    first = first.reshape(size)
    first[:, 0] = True
    return Slots(
        shape,
        index.reshape(*size, shape.lanes).transpose(1, 0, 2),
        weight.reshape(*size, shape.lanes).transpose(1, 0, 2),
        output.reshape(size).T,
        first.T,
    )


@dataclass(frozen=True)
class Layer:
    """A constant matrix on each block of a beat, and the ranges of the beat's elements."""

    matrix: Integers
    bias: Integers
    positions: int
    lows: Integers
    highs: Integers
    loadable: tuple[int, int] | None = None
    """Range of the weights, where others than those of the matrix may be loaded."""

    @classmethod
    def of(cls, stage: qflow.DenseOp) -> "Layer":
        """Return the layer that a stage is."""
        source = channel_of(stage.input)
        matrix, bias = stage.matrix.integers, stage.bias.integers
        loadable = None if stage.loadable is None else stage.loadable.bounds
        return cls(matrix, bias, stage.positions, source.lows, source.highs, loadable)

    @property
    def weights(self) -> tuple[int, int]:
        """Least and greatest weight that there may be."""
        if self.loadable is None:
            return int(self.matrix.min()), int(self.matrix.max())
        return min(self.loadable[0], 0), max(self.loadable[1], 0)

    @property
    def products(self) -> int:
        """Number of products."""
        return self.matrix.size * self.positions


def planned_slots(layer: Layer, plan: FoldedAttr) -> Slots:
    """Return the layout that an architecture says."""
    assert plan.planned
    reuse, lanes, order = plan.reuse.data, plan.lanes.data, Order(plan.order.data)
    shape = shape_of(layer.matrix, layer.positions, reuse, lanes, order)
    if shape is None or shape.groups != plan.groups.data:
        raise ValueError("the plan does not fit the matrix")
    return slots_of(layer.matrix, layer.positions, shape)


def places_of(layer: Layer, shape: Shape) -> Indices:
    """Return the place in the matrix of each lane's weight, by cycle, group and lane.

    It is row-major, -1 where a lane idles. The plan must have a place for every product.
    """
    assert shape.order is not Order.NON_ZERO
    numbers = np.arange(1, layer.matrix.size + 1).reshape(layer.matrix.shape)
    return slots_of(numbers, layer.positions, shape).weight - 1
