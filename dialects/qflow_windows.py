"""Images as streams of the ``qflow`` dialect: windows, reorderings, and reductions of tokens.

An image is a frame of many beats, a *token* each: the elements of one pixel, in raster order.
A window or a reordering has random access to the FIFO in front of it, which is its line buffer:
a token stays until no later step looks at it. :func:`steps_of` says which step looks how far,
lets go of how much, and gives a token; values, time and hardware all follow it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import auto
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import IntAttr, StringAttr
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, prop_def
from xdsl.utils.str_enum import StrEnum

from fastml.dialects.array import ArrayAttr, ConstantArray, Integers, integer_array
from fastml.dialects.channel import ChannelType, channel_of
from fastml.dialects.qflow_stage import require, require_integers
from fastml.dialects.qflow_streams import BeatsOp

Table = NDArray[np.int64]

FILL = -1
"""In a table of positions, the place of a constant."""


@dataclass(frozen=True, eq=False)
class Steps:
    """The firings of one frame of a process with random access to its FIFO."""

    needs: Table
    """How many of the oldest tokens, not consumed yet, must have come."""
    consumes: Table
    """How many of them leave."""
    produces: NDArray[np.bool_]
    """Whether a token is given."""

    def __len__(self) -> int:
        return len(self.needs)


@dataclass(frozen=True)
class Columns:
    """Columns of a window as a line: output ``x`` sees ``x * stride + k * dilation - pad``."""

    stride: int
    dilation: int
    pad: int

    def table(self, outputs: int, kernel: int, width: int) -> Table:
        """Return the column of each output and tap, ``FILL`` outside the image."""
        x, k = np.arange(outputs)[:, None], np.arange(kernel)[None, :]
        columns = x * self.stride + k * self.dilation - self.pad
        return np.where((columns >= 0) & (columns < width), columns, FILL)


class AccessOp(BeatsOp, ABC):
    """A process that reads tokens of the FIFO in front of it at random."""

    fill = prop_def(ArrayAttr)
    """What each element is where no token is read."""

    @abstractmethod
    def tokens(self, start: int, stop: int) -> Table:
        """Return the input token of each place of result tokens ``start`` to ``stop``.

        Shape ``(stop - start, places)``; ``FILL`` where there is none.
        """

    def gather(
        self, frames: Integers, start: int, stop: int, kind: np.dtype[Any] | None = None
    ) -> Integers:
        """Return result tokens ``start`` to ``stop`` of every frame, ``(frames, n, elements)``.

        ``frames`` has shape ``(frames, beats, elements)``. The result is of the type ``kind``,
        else of that of ``frames``, which must hold ``fill`` too.
        """
        tokens = self.tokens(start, stop)
        kind = frames.dtype if kind is None else kind
        found = frames[:, np.maximum(tokens, 0)].astype(kind, copy=False)
        found[:, tokens == FILL] = self.fill.integers.astype(kind)
        return found.reshape(len(frames), stop - start, len(channel_of(self.result)))

    def convert(self, values: Integers) -> Integers:
        """Gather all tokens of every frame."""
        channel, result = channel_of(self.input), channel_of(self.result)
        if self.fill.integers.dtype == object:
            values = values.astype(object)
        frames = values.reshape(-1, channel.beats.data, len(channel))
        return self.gather(frames, 0, result.beats.data).reshape(-1, len(result))

    def verify_fill(self) -> None:
        """Check that there is a constant for each element."""
        require_integers(self.fill, (len(channel_of(self.input)),), "fill")


@irdl_op_definition
class WindowOp(AccessOp):
    """The tokens under a window that slides over an image, for each of its positions.

    The input has ``H * W`` tokens of N elements, ``size = [H, W]``; the result ``Ho * Wo`` of
    ``Kh * Kw * N``. Element ``(ky, kx, n)`` of token ``(y, x)`` is element ``n`` of the input
    token ``(rows[y, ky], cols[x, kx])``, or ``fill[n]`` where either is -1.

    Rows descend: ``rows[y]`` rises with ``ky``, and no column of ``rows`` falls. Where the
    window is wider than 1, columns lie on a line (:class:`Columns`); else they are any.
    """

    name = "qflow.window"

    size = prop_def(ArrayAttr)
    rows = prop_def(ArrayAttr)
    cols = prop_def(ArrayAttr)

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        size: tuple[int, int],
        rows: Table,
        cols: Table,
        fill: Integers | None = None,
    ):
        source = channel_of(input)
        constant = np.zeros(len(source), np.int64) if fill is None else fill
        parameters = {"size": np.array(size), "rows": rows, "cols": cols, "fill": constant}
        self._build(
            edge,
            input,
            _window_channel(source, rows, cols, integer_array(constant)),
            {name: ArrayAttr.get(array) for name, array in parameters.items()},
        )

    @property
    def height(self) -> int:
        """Rows of the input."""
        return int(self.size.integers[0])

    @property
    def width(self) -> int:
        """Columns of the input."""
        return int(self.size.integers[1])

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        return self.rows.array.shape[1], self.cols.array.shape[1]

    @property
    def columns(self) -> Columns:
        """The line of the columns; the window must be wider than 1."""
        found = columns_of(self.cols.data, self.width)
        assert found is not None
        return found

    def tokens(self, start: int, stop: int) -> Table:
        """Return the input token of each tap."""
        y, x = np.divmod(np.arange(start, stop), len(self.cols.array))
        rows, cols = self.rows.integers[y][:, :, None], self.cols.integers[x][:, None, :]
        found = np.where((rows >= 0) & (cols >= 0), rows * self.width + cols, FILL)
        return found.reshape(stop - start, -1)

    def verify_change(self) -> None:
        """Check the tables, sizes and ranges."""
        source = channel_of(self.input)
        require_integers(self.size, (2,), "size")
        height, width = self.height, self.width
        fits = height * width == source.beats.data and height > 0
        require(fits, f"an image of {height}x{width} is no frame of {source.beats.data} beats")
        self.verify_fill()
        rows = _table(self.rows, height, "rows")
        cols = _table(self.cols, width, "cols")
        require(_rises(rows), "rows must rise along a window and not fall from one to the next")
        if cols.shape[1] > 1:
            line = columns_of(self.cols.data, width)
            require(line is not None, "cols of a window wider than 1 must lie on a line")
        expected = _window_channel(source, rows, cols, self.fill.integers)
        actual = channel_of(self.result)
        same = (actual.dimensions, actual.beats) == (expected.dimensions, expected.beats)
        require(
            same, f"the result has {expected.beats.data} beats of {expected.dimensions[0]} elements"
        )
        self.verify_ranges(expected)


def _window_channel(source: ChannelType, rows: Table, cols: Table, fill: Integers) -> ChannelType:
    """Return the channel of windows: ranges over all positions."""
    inside = np.logical_and.outer(rows.max(axis=0) >= 0, cols.max(axis=0) >= 0)
    outside = np.logical_or.outer(rows.min(axis=0) < 0, cols.min(axis=0) < 0)
    lows, highs = _with_fill(source, fill, inside.reshape(-1, 1), outside.reshape(-1, 1))
    beats = len(rows) * len(cols)
    return ChannelType.of((lows.size,), lows.reshape(-1), highs.reshape(-1), beats=beats)


def _with_fill(
    source: ChannelType, fill: Integers, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> tuple[Integers, Integers]:
    """Return ranges of places ``(places, elements)`` that are tokens, constants or both."""
    constant = fill.astype(object)
    lows, highs = source.lows.astype(object), source.highs.astype(object)
    low = np.where(inside, np.where(outside, np.minimum(lows, constant), lows), constant)
    high = np.where(inside, np.where(outside, np.maximum(highs, constant), highs), constant)
    return integer_array(low), integer_array(high)


def _table(parameter: ArrayAttr, limit: int, what: str) -> Table:
    array = parameter.array
    fits = array.ndim == 2 and array.dtype == np.int64 and array.size > 0
    require(fits, f"{what} must be integers: outputs x taps")
    inside = np.all((array >= FILL) & (array < limit))
    require(inside, f"{what} must be within 0..{limit - 1}, or -1")
    require(np.any(array >= 0), f"{what} name no token at all")
    return array


def _rises(rows: Table) -> bool:
    """Return whether valid rows rise along a window, and do not fall from one to the next."""
    valid = rows >= 0
    newest = np.maximum.accumulate(rows, axis=1)
    inner = np.all((rows[:, 1:] > newest[:, :-1]) | ~valid[:, 1:])
    before = np.maximum.accumulate(rows, axis=0)
    return bool(inner and np.all((rows[1:] >= before[:-1]) | ~valid[1:]))


@lru_cache(maxsize=256)
def columns_of(cols: ConstantArray, width: int) -> Columns | None:
    """Return the line that columns lie on: strides and dilations as small as can be.

    ``None`` where there is none. A table of which little lies inside the image is that of
    several lines, which are all the same to the image.
    """
    table = cols.array
    outputs, kernel = table.shape
    places = np.argwhere(table >= 0)
    if not len(places):
        return None
    x, k = places[0].tolist()
    column = int(table[x, k])
    dilations = _slopes(table, width + outputs * width)
    for stride in _slopes(table.T, width + kernel * width):
        for dilation in dilations:
            line = Columns(stride, dilation, x * stride + k * dilation - column)
            if np.array_equal(line.table(outputs, kernel, width), table):
                return line
    return None


def _slopes(table: Table, limit: int) -> Sequence[int]:
    """Return how much neighbours in a row may differ: one number if two of a row are inside."""
    if table.shape[1] == 1:
        return [1]
    valid = table >= 0
    (several,) = np.nonzero(valid.sum(axis=1) > 1)
    if not len(several):
        return range(1, limit + 1)
    row = int(several[0])
    first, second = np.flatnonzero(valid[row])[:2].tolist()
    slope, rest = divmod(int(table[row, second] - table[row, first]), second - first)
    return [slope] if slope >= 1 and not rest else []


@irdl_op_definition
class ReorderOp(AccessOp):
    """Tokens in another order: result token ``j`` is input token ``index[j]``.

    Where that is -1 it is the constant token ``fill``. Tokens may be repeated or dropped.
    """

    name = "qflow.reorder"

    index = prop_def(ArrayAttr)

    def __init__(self, edge: str, input: SSAValue, index: Table, fill: Integers | None = None):
        source = channel_of(input)
        constant = np.zeros(len(source), np.int64) if fill is None else fill
        self._build(
            edge,
            input,
            _reordered_channel(source, index, integer_array(constant)),
            {"index": ArrayAttr.get(index), "fill": ArrayAttr.get(constant)},
        )

    def tokens(self, start: int, stop: int) -> Table:
        """Return the input token of each result token."""
        return self.index.integers[start:stop, None]

    def verify_change(self) -> None:
        """Check the index, sizes and ranges."""
        source = channel_of(self.input)
        self.verify_fill()
        index = self.index.array
        fits = index.ndim == 1 and index.dtype == np.int64 and index.size > 0
        require(fits, "index must be integers, one for each token of the result")
        beats = source.beats.data
        inside = np.all((index >= FILL) & (index < beats))
        require(inside, f"index must be within 0..{beats - 1}, or -1")
        require(np.any(index >= 0), "index names no token at all")
        expected = _reordered_channel(source, index, self.fill.integers)
        actual = channel_of(self.result)
        same = (actual.dimensions, actual.beats) == (expected.dimensions, expected.beats)
        require(same, f"the result has {len(index)} beats like those of the operand")
        self.verify_ranges(expected)


def _reordered_channel(source: ChannelType, index: Table, fill: Integers) -> ChannelType:
    inside, outside = np.any(index >= 0, keepdims=True), np.any(index < 0, keepdims=True)
    lows, highs = _with_fill(source, fill, inside, outside)
    return ChannelType.of(source.dimensions, lows, highs, beats=len(index))


class ReduceKind(StrEnum):
    """How tokens become one, element by element."""

    SUM = auto()
    MAX = auto()
    MIN = auto()


@irdl_op_definition
class ReduceOp(BeatsOp):
    """Each ``count`` tokens, one after the other, become one: sum, maximum or minimum."""

    name = "qflow.reduce"

    kind = prop_def(StringAttr)
    count = prop_def(IntAttr)

    def __init__(self, edge: str, input: SSAValue, kind: ReduceKind | str, count: int):
        self._build(
            edge,
            input,
            _reduced_channel(channel_of(input), ReduceKind(kind), count),
            {"kind": StringAttr(str(kind)), "count": IntAttr(count)},
        )

    def convert(self, values: Integers) -> Integers:
        """Reduce each group of tokens."""
        groups = values.reshape(-1, self.count.data, values.shape[1])
        match ReduceKind(self.kind.data):
            case ReduceKind.SUM:
                channel = channel_of(self.result)
                wide = object in (channel.lows.dtype, channel.highs.dtype)
                return groups.sum(axis=1, dtype=object if wide else np.int64)
            case ReduceKind.MAX:
                return groups.max(axis=1)
            case ReduceKind.MIN:
                return groups.min(axis=1)

    def verify_change(self) -> None:
        """Check kind, sizes and ranges."""
        known = self.kind.data in [str(kind) for kind in ReduceKind]
        require(known, f"unknown kind '{self.kind.data}'")
        source, count = channel_of(self.input), self.count.data
        beats = source.beats.data
        fits = count >= 1 and beats % count == 0
        require(fits, f"{beats} beats cannot be reduced {count} at a time")
        expected = _reduced_channel(source, ReduceKind(self.kind.data), count)
        actual = channel_of(self.result)
        same = (actual.dimensions, actual.beats) == (expected.dimensions, expected.beats)
        require(same, f"the result has {expected.beats.data} beats like those of the operand")
        self.verify_ranges(expected)


def _reduced_channel(source: ChannelType, kind: ReduceKind, count: int) -> ChannelType:
    times = count if kind is ReduceKind.SUM else 1
    bounds = (bound.astype(object) * times for bound in (source.lows, source.highs))
    lows, highs = map(integer_array, bounds)
    return ChannelType.of(source.dimensions, lows, highs, beats=source.beats.data // count)


@dataclass(frozen=True)
class WindowShape:
    """The steps of a window in rows: ``rows`` times ``row_steps``, then ``tail`` more.

    Step ``s`` of a row looks at one column of the image, in all rows of the window: column
    ``s`` where the window is wider than 1 (none from ``width`` on), else that of output ``s``.
    Output ``x`` is given ``emit + x * stride`` steps after the row's first, which may be in
    the steps of a later row. Its tap ``k`` is then the column that was seen
    ``taps[k]`` steps before.
    """

    rows: int
    row_steps: int
    tail: int
    emit: int
    stride: int
    taps: tuple[int, ...]

    @property
    def total(self) -> int:
        """Steps of a frame."""
        return self.rows * self.row_steps + self.tail


def window_shape(op: WindowOp) -> WindowShape:
    """Return how the steps of a window are arranged."""
    rows, outputs, kernel = len(op.rows.array), len(op.cols.array), op.kernel[1]
    if kernel == 1:
        return WindowShape(rows, outputs, 0, 0, 1, (0,))
    line = op.columns
    span = (outputs - 1) * line.stride
    reach = (kernel - 1) * line.dilation
    emit = max(reach - line.pad, 0)
    late = emit - (reach - line.pad)
    row_steps = max(op.width, span + 1)
    tail = max(emit + span + 1 - row_steps, 0)
    taps = tuple(late + reach - k * line.dilation for k in range(kernel))
    return WindowShape(rows, row_steps, tail, emit, line.stride, taps)


def window_steps(op: WindowOp) -> Steps:
    """Return what each step of a window needs, consumes and produces: the definition."""
    return _window_steps(window_shape(op), op.rows.data, op.cols.data, op.height, op.width)


@lru_cache(maxsize=32)
def _window_steps(
    shape: WindowShape, rows_of: ConstantArray, cols_of: ConstantArray, height: int, width: int
) -> Steps:
    rows, cols = rows_of.array, cols_of.array
    columns = np.full(shape.row_steps, FILL)
    if cols.shape[1] == 1:
        columns[:] = cols[:, 0]
    else:
        columns[:width] = np.arange(width)
    newest = rows.max(axis=1)
    oldest = np.where(rows < 0, height, rows).min(axis=1)
    looks = (newest >= 0)[:, None] & (columns >= 0)[None, :]

    def tokens(of_row: Table) -> Table:
        every = of_row[:, None] * width + columns[None, :]
        return np.append(every, np.zeros(shape.tail, np.int64))

    produces = np.zeros(shape.total, np.bool_)
    starts = np.arange(shape.rows)[:, None] * shape.row_steps + shape.emit
    produces[starts + np.arange(len(cols)) * shape.stride] = True
    looks = np.append(looks, np.zeros(shape.tail, np.bool_))
    return _steps(tokens(oldest), tokens(newest), looks, produces, height * width)


def reorder_steps(op: ReorderOp) -> Steps:
    """Return what each step of a reordering needs, consumes and produces."""
    index = op.index.integers
    every = np.ones(len(index), np.bool_)
    return _steps(index, index, index >= 0, every, channel_of(op.input).beats.data)


def _steps(
    oldest: Table, newest: Table, looks: NDArray[np.bool_], produces: NDArray[np.bool_], total: int
) -> Steps:
    """Return steps that look at tokens from ``oldest`` to ``newest`` of ``total``, if at any.

    A token leaves as soon as no later step looks at it and some step has seen it come; what
    nobody looks at leaves with the next one that is, or with the last step. The first step waits
    for the first token, so that nothing is given for a frame that does not come.
    """
    seen = np.where(looks, newest + 1, 0)
    later = np.append(np.where(looks, oldest, total)[1:], total)
    free = np.minimum.accumulate(later[::-1])[::-1]
    gone = np.minimum(free, np.maximum.accumulate(seen))
    gone[-1] = total
    before = np.concatenate([[0], gone[:-1]])
    needs = np.maximum(np.maximum(seen, gone) - before, 0)
    needs[0] = max(needs[0], 1)
    return Steps(needs, gone - before, produces)


def steps_of(op: AccessOp) -> Steps:
    """Return the steps of a process that reads its FIFO at random."""
    if isinstance(op, WindowOp):
        return window_steps(op)
    assert isinstance(op, ReorderOp)
    return reorder_steps(op)
