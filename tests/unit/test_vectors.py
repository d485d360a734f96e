import numpy as np
import pytest

from fastml.dialects.array import integer_array
from fastml.dialects.qflow import (
    ChannelType,
    DenseOp,
    GraphOp,
    RearrangeOp,
    ThresholdOp,
    YieldOp,
    channel_of,
)
from fastml.runtime.trace import Integers
from fastml.runtime.vectors import hurting_vectors, random_gaps, steps_of

INPUTS, HIDDEN = 6, 4


def channel(count: int, low: int, high: int) -> ChannelType:
    return ChannelType.of(
        (1, count),
        integer_array(np.full(count, low, object)),
        integer_array(np.full(count, high, object)),
    )


def build(low: int = -8, high: int = 7, *, thresholds_first: bool = False) -> GraphOp:
    """Return a graph: (thresholds,) wiring, a dense stage, thresholds."""
    graph = GraphOp("g", {"x": channel(INPUTS, low, high)}, ["y"])
    rng = np.random.default_rng(5)
    (value,) = graph.inputs.values()
    if thresholds_first:
        rows = np.tile(np.array([[-3, 2, 5]]), (INPUTS, 1))
        ones = np.ones(INPUTS, np.int64)
        first = ThresholdOp("t", value, rows, 0 * ones, ones, (1, INPUTS))
        graph.body.block.add_op(first)
        value = first.result
    turned = RearrangeOp("r", [value], np.arange(INPUTS)[::-1].copy(), (1, INPUTS))
    matrix = rng.integers(-3, 4, (INPUTS, HIDDEN))
    dense = DenseOp("d", turned.result, matrix, np.arange(HIDDEN) - 1, (1, HIDDEN))
    channel_out = channel_of(dense.result)
    middle = (channel_out.lows + channel_out.highs) // 2
    rows = np.stack([middle - 5, middle + 2], axis=1)
    ones = np.ones(HIDDEN, np.int64)
    last = ThresholdOp("y", dense.result, rows, 0 * ones, ones, (1, HIDDEN))
    graph.body.block.add_ops([turned, dense, last, YieldOp([last.result])])
    graph.verify()
    return graph


def accumulators(graph: GraphOp, x: Integers) -> tuple[DenseOp, Integers]:
    dense = next(s for s in graph.stages if isinstance(s, DenseOp))
    values = x
    for stage in graph.stages:
        if isinstance(stage, ThresholdOp) and stage.edge.data == "t":
            values = stage.evaluate(values)
    return dense, values[:, ::-1] @ dense.matrix.array + dense.bias.array


@pytest.mark.parametrize("thresholds_first", [False, True])
def test_every_accumulator_reaches_its_bounds(thresholds_first: bool):
    graph = build(thresholds_first=thresholds_first)
    x = hurting_vectors(graph, 200, seed=1)["x"]
    dense, sums = accumulators(graph, x)
    np.testing.assert_array_equal(sums.min(axis=0), channel_of(dense.result).lows)
    np.testing.assert_array_equal(sums.max(axis=0), channel_of(dense.result).highs)


def test_accumulators_come_beside_thresholds():
    graph = build(-128, 127)
    x = hurting_vectors(graph, 400, seed=2)["x"]
    _, sums = accumulators(graph, x)
    last = graph.stages[-1]
    assert isinstance(last, ThresholdOp)
    targets = [
        (element, threshold - below)
        for element, row in enumerate(last.thresholds.array.tolist())
        for threshold in row
        for below in (0, 1)
    ]
    reached = [target in sums[:, element] for element, target in targets]
    assert sum(reached) >= 0.9 * len(targets)


def test_inputs_come_beside_thresholds_on_them():
    x = hurting_vectors(build(-128, 127, thresholds_first=True), 200, seed=3)["x"]
    for threshold in (-3, 2, 5):
        assert threshold in x
        assert threshold - 1 in x


def test_corners_and_small_numbers_are_there():
    x = hurting_vectors(build(-1000, 1000), 400, seed=0)["x"]
    rows = {tuple(row) for row in x.tolist()}
    assert {(-1000,) * INPUTS, (1000,) * INPUTS, (0,) * INPUTS} <= rows
    small = np.abs(x).max(axis=1)
    assert np.count_nonzero((small > 0) & (small < 30)) > 20


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_the_count_is_exact_and_the_seed_decides(count: int):
    graph = build()
    first, same = (hurting_vectors(graph, count, seed=9)["x"] for _ in range(2))
    assert first.shape == (count, INPUTS)
    np.testing.assert_array_equal(first, same)
    channel = channel_of(next(iter(graph.inputs.values())))
    assert np.all((first >= channel.lows) & (first <= channel.highs))
    if count > 3:
        assert np.any(first != hurting_vectors(graph, count, seed=10)["x"])


def test_elements_beyond_64_bits_are_exact():
    graph = GraphOp("g", {"x": channel(2, -(1 << 80), (1 << 80) - 1)}, ["x"])
    graph.body.block.add_op(YieldOp(list(graph.inputs.values())))
    x = hurting_vectors(graph, 60, seed=0)["x"]
    assert x.dtype == object
    assert x.min() == -(1 << 80)
    assert x.max() == (1 << 80) - 1
    assert len({int(v) % 1024 for v in x.flat}) > 30


def test_steps_are_where_the_function_changes():
    graph = build()
    last = graph.stages[-1]
    assert isinstance(last, ThresholdOp)
    expected = {
        (element, threshold)
        for element, row in enumerate(last.thresholds.array.tolist())
        for threshold in row
    }
    found = steps_of(last, 100, np.random.default_rng(0))
    assert set(found) == expected


def test_gaps_are_random_and_often_none():
    gaps = random_gaps(1000, seed=4)
    assert gaps.min() == 0
    assert gaps.max() == 5
    assert 400 < np.count_nonzero(gaps == 0) < 700
    np.testing.assert_array_equal(gaps, random_gaps(1000, seed=4))


def test_accumulators_of_windows_reach_bounds_and_thresholds():
    """What a window sees beyond the edge is no input, and outputs may be wired elsewhere."""
    graph = GraphOp("g", {"x": channel(4, -8, 7)}, ["y"])
    (x,) = graph.body.block.args
    index, fill = np.array([4, 0, 1, 0, 1, 2, 1, 2, 3, 2, 3, 4]), np.array([-5])
    windows = RearrangeOp("w", [x], index, (12,), fill)
    matrix, bias = np.array([[3, 1], [-2, 4], [5, -1]]), np.array([7, 0])
    dense = DenseOp("d", windows.result, matrix, bias, (8,))
    order = np.arange(8).reshape(4, 2).T.reshape(-1)
    wires = RearrangeOp("r", [dense.result], order, (8,))
    thresholds = np.full((8, 1), 9)
    ones = np.ones(8, np.int64)
    count = ThresholdOp("y", wires.result, thresholds, 0 * ones, ones, (8,))
    graph.body.block.add_ops([windows, dense, wires, count, YieldOp([count.result])])
    beats = hurting_vectors(graph, 400, 1)["x"]
    padded = np.concatenate([beats, np.full((400, 1), -5)], axis=1)
    found = padded[:, index].reshape(-1, 3) @ matrix + bias
    found = found.reshape(400, 8)
    assert np.array_equal(found.min(axis=0), dense.channel.lows)
    assert np.array_equal(found.max(axis=0), dense.channel.highs)
    for column in range(8):
        assert {8, 9} <= set(found[:, column].tolist())
