"""Windows, reorderings and reductions of tokens, against pixel by pixel bookkeeping."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.dialects import test

from fastml.dialects.array import ArrayAttr, integer_array
from fastml.dialects.channel import ChannelType, Protocol, channel_of
from fastml.dialects.qflow_windows import (
    AccessOp,
    Columns,
    ReduceKind,
    ReduceOp,
    ReorderOp,
    Steps,
    WindowOp,
    columns_of,
    steps_of,
    window_shape,
    window_steps,
)

Array = NDArray[Any]


def image(beats: int, elements: int = 1) -> test.TestOp:
    low, high = np.arange(elements) - elements, np.arange(elements) + 9
    kind = ChannelType.of((elements,), low, high, beats=beats, protocol=Protocol.RV)
    return test.TestOp(result_types=[kind])


def line(count: int, kernel: int, size: int, stride: int, dilation: int, pad: int) -> Array:
    return Columns(stride, dilation, pad).table(count, kernel, size)


def outputs(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    return (size + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1


@st.composite
def axes(draw: st.DrawFn, largest: int) -> tuple[int, Array]:
    """The size of one axis, and its table: kernels, strides, dilations, pads of any size."""
    size = draw(st.integers(1, largest))
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    dilation = draw(st.integers(1, 3))
    pads = draw(st.integers(-1, 6)), draw(st.integers(-1, 6))
    count = outputs(size, kernel, stride, dilation, pads)
    table = line(max(count, 1), kernel, size, stride, dilation, pads[0])
    return (size, table) if np.any(table >= 0) else (size, line(size, 1, size, 1, 1, 0))


@st.composite
def row_tables(draw: st.DrawFn) -> tuple[int, Array]:
    """Rows: on a line, or repeated and stuffed as by an up-sampling."""
    size, table = draw(axes(6))
    if draw(st.booleans()):
        return size, table
    rows = np.repeat(np.arange(size), draw(st.integers(1, 3)))
    gaps = np.array(draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    gaps[draw(st.integers(0, len(rows) - 1))] = False
    return size, np.where(gaps, -1, rows)[:, None]


@st.composite
def column_tables(draw: st.DrawFn) -> tuple[int, Array]:
    """Columns: on a line, or, of a window one wide, any at all."""
    size, table = draw(axes(7))
    if draw(st.booleans()):
        return size, table
    some = draw(st.lists(st.integers(-1, size - 1), min_size=1, max_size=9))
    some[0] = max(some[0], 0)
    return size, np.array(some)[:, None]


class Window:
    """A window whose tables hypothesis need not print in full."""

    def __init__(self, rows: tuple[int, Array], cols: tuple[int, Array], elements: int):
        (height, self.rows), (width, self.cols) = rows, cols
        self.size = height, width
        self.source = image(height * width, elements)
        fill = np.arange(elements) * 3 - 4
        self.op = WindowOp("w", self.source.res[0], self.size, self.rows, self.cols, fill)
        self.op.verify()

    def __repr__(self) -> str:
        return f"{self.size} {self.rows.tolist()} {self.cols.tolist()}"


windows = st.builds(Window, row_tables(), column_tables(), st.integers(1, 2))


def random_frames(op: AccessOp | ReduceOp, frames: int) -> Array:
    channel = channel_of(op.input)
    rng = np.random.default_rng(0)
    count = frames * channel.beats.data
    return rng.integers(channel.lows, channel.highs + 1, (count, len(channel)))


def looked_at(op: WindowOp) -> list[list[int]]:
    """Return the tokens that each step looks at, by the words of the definition."""
    shape, looks = window_shape(op), list[list[int]]()
    height, width = op.height, op.width
    for row in op.rows.array.tolist():
        for step in range(shape.row_steps):
            column = step if step < width else -1
            if op.kernel[1] == 1:
                column = int(op.cols.array[step, 0])
            looks.append([y * width + column for y in row if y >= 0 and column >= 0])
    assert height * width == channel_of(op.input).beats.data
    return looks + [list[int]() for _ in range(shape.tail)]


def check_steps(steps: Steps, looks: list[list[int]], total: int) -> None:
    """Every token has come when it is looked at, leaves as soon as it may, and none is left."""
    gone, seen = 0, 0
    assert len(steps) == len(looks)
    assert np.all(steps.consumes <= steps.needs)
    moves = zip(steps.needs.tolist(), steps.consumes.tolist(), strict=True)
    for step, (needs, consumes) in enumerate(moves):
        come = gone + needs
        assert all(gone <= token < come for token in looks[step])
        newest = max(looks[step], default=-1) + 1
        last = step == len(looks) - 1
        later = {token for look in looks[step + 1 :] for token in look}
        seen = max(seen, newest)
        free = min([*later, total])
        gone += consumes
        assert gone == (total if last else min(free, seen))
        wanted = max(newest, gone, gone - consumes) - (gone - consumes)
        assert needs == (wanted if step else max(wanted, 1))
    assert gone == total


@settings(max_examples=250, deadline=None)
@given(windows)
def test_steps_of_windows(window: Window):
    op = window.op
    steps, shape = window_steps(op), window_shape(op)
    assert len(steps) == shape.total
    check_steps(steps, looked_at(op), op.height * op.width)
    frames = random_frames(op, 2)
    made = shifted(op, frames[: op.height * op.width], steps)
    assert np.array_equal(made, op.convert(frames)[: len(made)])
    assert len(made) * 2 == len(op.convert(frames))


def shifted(op: WindowOp, frame: Array, steps: Steps) -> Array:
    """Run a window as hardware does: columns of rows go through a register, taps leave it."""
    shape, fill = window_shape(op), op.fill.array
    seen, results = list[tuple[int, int]](), list[Array]()
    order = iter([(y, x) for y in range(len(op.rows.array)) for x in range(len(op.cols.array))])
    for step, produces in enumerate(steps.produces.tolist()):
        row, column = divmod(step, shape.row_steps)
        if op.kernel[1] == 1 and row < len(op.rows.array):
            column = int(op.cols.array[column, 0])
        seen.append((row, column))
        if not produces:
            continue
        y, x = next(order)
        assert step == y * shape.row_steps + shape.emit + x * shape.stride
        taps = list[Array]()
        for source in op.rows.array[y].tolist():
            for k, place in enumerate(op.cols.array[x].tolist()):
                if source < 0 or place < 0:
                    taps.append(fill)
                    continue
                assert seen[step - shape.taps[k]] == (y, place)
                taps.append(frame[source * op.width + place])
        results.append(np.concatenate(taps))
    assert next(order, None) is None
    return np.array(results)


@settings(max_examples=150, deadline=None)
@given(windows)
def test_ranges_of_windows_are_those_of_all_positions(window: Window):
    op = window.op
    source, result = channel_of(op.input), channel_of(op.result)
    for bound, found, worst in (
        (source.lows, result.lows, np.min),
        (source.highs, result.highs, np.max),
    ):
        ends = op.convert(np.tile(bound, (source.beats.data, 1)))
        assert np.array_equal(worst(ends, axis=0), found)
        assert ends.shape == (result.beats.data, len(result))


@settings(max_examples=100, deadline=None)
@given(axes(9))
def test_columns_are_found_again(axis: tuple[int, Array]):
    size, table = axis
    found = columns_of(ArrayAttr.get(table).data, size)
    assert found is not None
    count, kernel = (int(length) for length in table.shape)
    assert np.array_equal(found.table(count, kernel, size), table)


@pytest.mark.parametrize(
    "table",
    [[[0, 2], [1, 2]], [[0, 1], [1, 3]], [[1, 0]], [[0, 1], [0, 1]], [[0, -1], [1, 2]], [[0, 0]]],
)
def test_columns_off_a_line(table: list[list[int]]):
    assert columns_of(ArrayAttr.get(np.array(table)).data, 4) is None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-1, 8), min_size=1, max_size=15), st.integers(0, 8))
def test_reorderings(index: list[int], first: int):
    index[0] = first
    source = image(9, 2)
    op = ReorderOp("r", source.res[0], np.array(index), np.array([4, -9]))
    op.verify()
    check_steps(steps_of(op), [[k] if k >= 0 else [] for k in index], 9)
    assert np.all(steps_of(op).produces)
    frames = random_frames(op, 2).reshape(2, 9, 2)
    expected = [frame[k] if k >= 0 else [4, -9] for frame in frames for k in index]
    assert np.array_equal(op.convert(frames.reshape(18, 2)), expected)
    lows = channel_of(op.result).lows
    assert np.array_equal(lows, [-2, -9 if -1 in index else -1])


@pytest.mark.parametrize("kind", list(ReduceKind))
@pytest.mark.parametrize("count", [1, 3, 12])
def test_reductions(kind: ReduceKind, count: int):
    source = image(12, 3)
    op = ReduceOp("r", source.res[0], kind, count)
    op.verify()
    frames = random_frames(op, 2)
    groups = frames.reshape(-1, count, 3)
    expected = {"sum": groups.sum(axis=1), "max": groups.max(axis=1), "min": groups.min(axis=1)}
    assert np.array_equal(op.convert(frames), expected[str(kind)])
    result = channel_of(op.result)
    times = count if kind is ReduceKind.SUM else 1
    assert (result.lows[0], result.highs[2]) == (-3 * times, 11 * times)
    assert result.beats.data == 12 // count


def test_sums_wider_than_64_bits():
    high = 1 << 62
    bound = integer_array(np.array([high], object))
    kind = ChannelType.of((1,), -bound, bound, beats=8, protocol=Protocol.RV)
    op = ReduceOp("r", test.TestOp(result_types=[kind]).res[0], "sum", 8)
    op.verify()
    assert op.convert(np.full((8, 1), high)).tolist() == [[8 * high]]


def test_a_convolution_by_hand():
    """3x3, a pad of 1 around: two rows and a pixel are there at once."""
    table = line(8, 3, 8, 1, 1, 1)
    source = image(64)
    op = WindowOp("w", source.res[0], (8, 8), table, table)
    steps = window_steps(op)
    # row by row as many steps as pixels, and one for the pad at the right of the last row
    assert len(steps) == 65
    assert np.flatnonzero(steps.produces)[:3].tolist() == [1, 2, 3]
    # the first output looks at pixel (1, 1), and nothing leaves before the second row of them
    assert steps.needs[:9].tolist() == [9, 10, 11, 12, 13, 14, 15, 16, 17]
    assert steps.consumes[:9].tolist() == [0] * 8 + [1]
    assert steps.needs[8:56].tolist() == [17] * 48
    # below the image there is nothing to wait for: the last row leaves at once
    assert steps.needs[56:].tolist() == [9] * 8 + [0]
    assert steps.consumes[56:].tolist() == [1] * 7 + [9, 0]
