"""Matrices that fall apart into blocks, as kernels of depthwise convolutions do."""

import numpy as np
import pytest

from fastml.lowering.cmvm import solve
from fastml.lowering.cmvm.blocks import blocks_of, gathered
from fastml.lowering.cmvm.greedy import solve as solve_greedily
from fastml.lowering.cmvm.integers import Integers
from fastml.lowering.cmvm.problem import Problem


def apart(rng: np.random.Generator, count: int, rows: int, columns: int) -> Integers:
    """Return a matrix of full blocks whose rows and columns are mixed."""
    matrix = np.zeros((count * rows, count * columns), np.int64)
    for k in range(count):
        weights = rng.integers(1, 60, (rows, columns)) * rng.choice([-1, 1], (rows, columns))
        matrix[k * rows : (k + 1) * rows, k * columns : (k + 1) * columns] = weights
    mixed = matrix[rng.permutation(count * rows)]
    return mixed[:, rng.permutation(count * columns)]


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 5, 3), (7, 9, 1), (4, 6, 5), (30, 1, 1)]
)
def test_blocks_are_found_and_whole(count: int, rows: int, columns: int):
    matrix = apart(np.random.default_rng(count), count, rows, columns)
    matrix = np.vstack([matrix, np.zeros((2, matrix.shape[1]), np.int64)])
    blocks = blocks_of(matrix)
    assert len(blocks) == count
    rest = matrix.copy()
    for block in blocks:
        assert (len(block.rows), len(block.columns)) == (rows, columns)
        rest[np.ix_(block.rows, block.columns)] = 0
    assert not rest.any()
    several = gathered(blocks, 2 * rows)
    assert [len(block.rows) for block in several] == [2 * rows] * (count // 2) + [rows] * (
        count % 2
    )


def test_a_chain_of_weights_is_one_block():
    """Rows and columns that are joined only through many others."""
    matrix = np.eye(40, dtype=np.int64) + np.eye(40, k=1, dtype=np.int64)
    assert len(blocks_of(matrix[::-1])) == 1
    matrix[20, 20] = 0
    assert len(blocks_of(matrix)) == 2
    assert blocks_of(np.zeros((3, 4), np.int64)) == []


@pytest.mark.parametrize("budget", [0, 1])
def test_answers_are_proved_and_no_larger_than_of_the_blocks_alone(budget: int):
    rng = np.random.default_rng(3)
    matrix = apart(rng, 6, 40, 2)
    matrix[:, 3] = 0
    matrix[7] = 0
    bias = rng.integers(-9, 9, len(matrix.T))
    low = rng.integers(-20, 1, len(matrix))
    high = np.where(rng.random(len(matrix)) < 0.1, low, low + 30)
    problem = Problem.of(matrix, low, high, bias=bias, budget=budget)
    graph = solve(problem)
    assert graph.out_id[3] == -1
    assert graph.out_constant[3] == bias[3]
    x = rng.integers(low, high, (50, len(matrix)), endpoint=True)
    np.testing.assert_array_equal(graph.evaluate(x), x @ matrix + bias)
    adders = 0
    for block in blocks_of(matrix):
        alone = Problem.of(
            matrix[np.ix_(block.rows, block.columns)],
            low[block.rows],
            high[block.rows],
            bias=bias[block.columns],
            budget=budget,
        )
        adders += solve_greedily(alone).n_nodes
    assert graph.n_nodes <= 1.05 * adders
