"""Trees of comparators, and what the stages of extrema and of filled wiring compute."""

import numpy as np
import pytest

from fastml.dialects.array import Integers
from fastml.dialects.channel import ChannelType
from fastml.dialects.qflow import Extremum, GraphOp, MaximumOp, RearrangeOp, channel_of
from fastml.dialects.qflow_extrema import Trees
from fastml.runtime.qflow import run_stage

ROWS = np.array([[0, 0, 0, 0, 0], [4, 1, 1, 4, 4], [0, 1, 2, 3, 4], [3, 2, 1, 2, 3]])


def _play(index: Integers, x: Integers) -> Integers:
    """Let the trees of ``index`` decide, node by node."""
    trees = Trees.of(index)
    left, played = x[:, trees.entries], list[int]()
    for now in trees.rounds():
        winners = np.maximum(
            left[:, now.rows, 2 * now.places], left[:, now.rows, 2 * now.places + 1]
        )
        byes = left[:, now.byes, 2 * now.bye_places]
        left[:, now.rows, now.places] = winners
        left[:, now.byes, now.bye_places] = byes
        played += now.nodes.tolist()
    assert sorted(played) == list(range(trees.nodes))
    return left[:, :, 0]


def test_a_tree_meets_every_distinct_element_once() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-50, 50, (64, 5))
    assert Trees.of(ROWS).nodes == 0 + 1 + 4 + 2
    assert np.array_equal(_play(ROWS, x), x[:, ROWS].max(axis=2))


@pytest.mark.parametrize("width", [1, 2, 3, 7, 9, 16])
def test_trees_of_any_width_are_balanced(width: int) -> None:
    rng = np.random.default_rng(width)
    index = rng.integers(0, 20, (30, width))
    x = rng.integers(-50, 50, (16, 20))
    assert np.array_equal(_play(index, x), x[:, index].max(axis=2))
    most = int(Trees.of(index).counts.max())
    assert len(list(Trees.of(index).rounds())) == (most - 1).bit_length()


def _graph(*ranges: tuple[int, int]) -> GraphOp:
    lows, highs = np.array(ranges, object).T
    return GraphOp("g", {"x": ChannelType.of((len(ranges),), lows, highs)}, ["y"])


@pytest.mark.parametrize("kind", list(Extremum))
def test_extrema_are_those_of_numpy_with_exact_ranges(kind: Extremum) -> None:
    graph = _graph((-3, 9), (2, 5), (-8, -4))
    (x,) = graph.body.block.args
    index = np.array([[0, 1, 1], [2, 2, 0]])
    stage = MaximumOp("y", [x], index, (2,), kind)
    stage.verify()
    beats = np.array([[-3, 2, -8], [9, 5, -4], [3, 4, -5]])
    found = run_stage(stage, [beats])
    best = beats[:, index].max(axis=2) if kind is Extremum.MAX else beats[:, index].min(axis=2)
    assert np.array_equal(found, best)
    ranges = list(zip(stage.channel.lows, stage.channel.highs, strict=True))
    assert ranges == ([(2, 9), (-3, 9)] if kind is Extremum.MAX else [(-3, 5), (-8, -4)])


def test_extrema_beyond_64_bits() -> None:
    graph = _graph((-(1 << 70), 1 << 70), (0, 5))
    stage = MaximumOp("y", list(graph.body.block.args), np.array([[0, 1]]), (1,))
    beats = np.array([[1 << 69, 3], [-(1 << 69), 3]], object)
    assert run_stage(stage, [beats]).tolist() == [[1 << 69], [3]]


def test_filled_wiring_puts_constants_where_the_index_says() -> None:
    graph = _graph((-3, 9), (2, 5))
    (x,) = graph.body.block.args
    stage = RearrangeOp("y", [x], np.array([3, 0, 2, 1]), (2, 2), np.array([7, 1 << 70], object))
    stage.verify()
    found = run_stage(stage, [np.array([[1, 2], [3, 4]])])
    assert found.tolist() == [[1 << 70, 1, 7, 2], [1 << 70, 3, 7, 4]]
    assert channel_of(stage.result).lows.tolist() == [1 << 70, -3, 7, 2]
