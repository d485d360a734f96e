"""Adder graphs equal their matrices, by proof and by evaluation."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastml.lowering.cmvm import solve
from fastml.lowering.cmvm.csd import compact, csd
from fastml.lowering.cmvm.differences import differences
from fastml.lowering.cmvm.graph import Graph
from fastml.lowering.cmvm.greedy import EXTRA_DEPTH
from fastml.lowering.cmvm.problem import CostModel, Problem

ARRAYS = tuple(f for f in Graph.__dataclass_fields__ if f != "n_in")


def same(a: Graph, b: Graph) -> bool:
    return all(
        (x := getattr(a, f)).dtype == (y := getattr(b, f)).dtype and x.tolist() == y.tolist()
        for f in ARRAYS
    )


def samples(problem: Problem, count: int, seed: int = 0) -> NDArray[Any]:
    """Draw inputs on the grid, the corners that reach each bound among them."""
    rng = np.random.default_rng(seed)
    low, high, step = (a.astype(object) for a in (problem.low, problem.high, problem.step))
    steps = (high - low) // step
    share = rng.integers(0, 1 << 30, (count, len(low))).astype(object)
    inner = low + (steps * share >> 30) * step
    corners = [np.where(column > 0, high, low) for column in problem.matrix.T]
    return np.array([low, high, *corners, *inner], object)


def check(problem: Problem) -> Graph:
    graph = solve(problem)  # proves
    x = samples(problem, 20)
    wanted = x @ problem.matrix.astype(object) + problem.bias.astype(object)
    assert graph.evaluate(x).tolist() == wanted.tolist()
    return graph


def random_problem(rng: np.random.Generator) -> Problem:
    n_in, n_out = (int(n) for n in rng.integers(1, 12, 2))
    bits = int(rng.choice([1, 2, 3, 5, 8, 12]))
    matrix: NDArray[np.int64] = rng.integers(-(2**bits) + 1, 2**bits, (n_in, n_out))
    matrix[rng.random((n_in, n_out)) < rng.choice([0, 0.3, 0.8])] = 0
    matrix <<= rng.integers(0, 3, n_out)
    matrix <<= rng.integers(0, 3, n_in)[:, None]
    for _ in range(int(rng.integers(0, 3))):  # equal, negated and shifted columns
        source, target = rng.integers(0, n_out, 2)
        matrix[:, target] = matrix[:, source] * rng.choice([1, -1, 2, -4])
    low: NDArray[np.int64] = rng.integers(-200, 100, n_in)
    step = rng.choice([1, 2, 4, 3], n_in)
    high = low + step * rng.integers(0, 100, n_in)
    bias = rng.integers(-1000, 1000, n_out) * (rng.random(n_out) < 0.5)
    arrival = rng.random(n_in) * rng.choice([0.0, 3.0])
    return Problem.of(matrix, low, high, step=step, bias=bias, arrival=arrival)


def test_nodes_mean_what_their_definition_says() -> None:
    """Each operation, with a shift of either sign, of two values and with a constant."""
    cases: list[tuple[int, int, Callable[[int, int], int]]] = [
        (0, 2, lambda a, b: a + 4 * b),
        (1, 2, lambda a, b: a - 4 * b),
        (2, 2, lambda a, b: 4 * b - a),
        (0, -3, lambda a, b: 8 * a + b),
        (1, -3, lambda a, b: 8 * a - b),
        (2, -3, lambda a, b: b - 8 * a),
    ]
    count = len(cases)
    graph = Graph(
        2,
        left=np.zeros(2 * count, np.int32),
        right=np.repeat(np.array([1, -1], np.int32), count),
        shift=np.array([shift for _, shift, _ in cases] * 2, np.int32),
        op=np.array([op for op, _, _ in cases] * 2, np.int8),
        constant=np.repeat(np.array([0, -5]), count),
        out_id=np.arange(2, 2 + 2 * count, dtype=np.int32),
        out_shift=np.ones(2 * count, np.int32),
        out_constant=np.zeros(2 * count, np.int64),
    )
    graph.check()
    wanted = [2 * f(7, b) for b in (3, -5) for _, _, f in cases]
    assert graph.evaluate([[7, 3]]).tolist() == [wanted]
    assert graph.evaluate([[2**80 + 7, 3]]).tolist()[0][0] == 2 * (2**80 + 7 + 12)
    matrix, bias = graph.linear_outputs()
    assert ([7, 3] @ matrix + bias).tolist() == wanted


def test_many_rows_and_columns() -> None:
    matrix = np.random.default_rng(0).integers(-1, 2, (300, 70))
    matrix[np.random.default_rng(1).random(matrix.shape) < 0.8] = 0
    graph = check(Problem.of(matrix, -1, 1, budget=0))
    assert graph.n_nodes < np.count_nonzero(matrix) - 70


@pytest.mark.parametrize("seed", range(60))
def test_random_matrices(seed: int) -> None:
    check(random_problem(np.random.default_rng(seed)))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda n_out: st.lists(
            st.lists(
                st.integers(-(2**62) + 1, 2**62 - 1) | st.integers(-9, 9),
                min_size=n_out,
                max_size=n_out,
            ),
            min_size=1,
            max_size=4,
        )
    ),
    st.integers(0, 2**70),
)
def test_wide_results_are_exact(matrix: list[list[int]], high: int) -> None:
    bias = [-(3**50) * (j % 2) for j in range(len(matrix[0]))]
    problem = Problem.of(matrix, -(high // 3), high, bias=bias, budget=0)
    graph = check(problem)
    assert problem.grid(graph).low.tolist()[: len(matrix)] == [-(high // 3)] * len(matrix)


def test_shapes_without_anything_to_add() -> None:
    for matrix in ([[0]], [[1]], [[8]], [[0, 0], [0, 0]], [[4, 1], [0, 0]]):
        graph = check(Problem.of(matrix, -5, 9))
        assert graph.n_nodes == 0
    graph = check(Problem.of(np.zeros((3, 2), np.int64), 0, 1, bias=[7, -(2**80)]))
    assert graph.out_id.tolist() == [-1, -1]
    assert graph.out_constant.tolist() == [7, -(2**80)]
    graph = check(Problem.of(np.zeros((0, 2), np.int64), [], [], bias=[7, 0]))
    assert graph.out_constant.tolist() == [7, 0]
    graph = check(Problem.of(np.zeros((2, 0), np.int64), 0, 1))
    assert graph.out_id.shape == (0,)


def test_an_all_negative_column_needs_one_constant() -> None:
    graph = check(Problem.of([[-1], [-1], [-1], [-1]], 0, 9))
    assert graph.n_nodes == 4
    graph = check(Problem.of([[-1], [-1], [-1], [-1]], 0, 9, bias=5))
    assert graph.n_nodes == 4
    assert np.count_nonzero(graph.right == -1) == 1


def test_equal_shifted_and_negated_columns_are_computed_once() -> None:
    column = np.array([3, -5, 7, 11, 1, 0])
    alone = check(Problem.of(column[:, None], -8, 7)).n_nodes
    matrix = np.stack([column, column, column * 4, -column, column * -8], axis=1)
    assert check(Problem.of(matrix, -8, 7)).n_nodes == alone + 1
    biased = Problem.of(matrix, -8, 7, bias=[0, 1, 0, 5, 5])
    assert check(biased).n_nodes == alone + 3


def test_fixed_inputs_become_constants() -> None:
    matrix = np.array([[5, 3], [9, 0], [1, 1]])
    problem = Problem.of(matrix, [0, 4, -2], [7, 4, 1], bias=[1, 0])
    graph = check(problem)
    assert 1 not in graph.left
    assert 1 not in graph.right
    alone = check(Problem.of(matrix[[0]], 0, 0))
    assert alone.out_constant.tolist() == [0, 0]


def test_ranges_and_zero_bits_are_exact() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        matrix = rng.integers(-6, 7, (3, 3))
        low, step = rng.integers(-6, 4, 3), rng.choice([1, 2, 3, 4], 3)
        high = low + step * rng.integers(0, 5, 3)
        problem = Problem.of(matrix, low, high, step=step, bias=rng.integers(-9, 9, 3))
        graph = solve(problem)
        axes = [range(*bounds) for bounds in zip(low, high + 1, step, strict=True)]
        x = np.array(list(itertools.product(*axes)))
        # Every value becomes an output, so that evaluation shows it.
        probe = replace(
            graph,
            out_id=np.arange(graph.n_values, dtype=np.int32),
            out_shift=np.zeros(graph.n_values, np.int32),
            out_constant=np.zeros(graph.n_values, np.int64),
        )
        seen, grid = probe.evaluate(x), problem.grid(graph)
        assert grid.low.tolist() == seen.min(axis=0).tolist()
        assert grid.high.tolist() == seen.max(axis=0).tolist()
        for column, zeros in zip(seen.T, grid.zeros, strict=True):
            assert not np.any(column & ((1 << int(zeros)) - 1))
        for column, width, signed in zip(seen.T, grid.width, grid.signed, strict=True):
            least = -(1 << int(width) - 1) if signed else 0
            most = (1 << int(width) - int(signed)) - 1
            assert least <= column.min()
            assert column.max() <= most
            assert signed == (column.min() < 0)


def test_every_mutation_is_caught_or_harmless() -> None:
    rng = np.random.default_rng(3)
    problem = Problem.of(rng.integers(-15, 16, (6, 5)), -8, 7, bias=[0, 3, 0, -40, 1])
    graph = solve(problem)
    x = samples(problem, 200)
    wanted = graph.evaluate(x)
    caught = 0
    for name in ARRAYS:
        for index in range(len(getattr(graph, name))):
            for change in (1, -1, 3, -7, 100, 10**6):
                arrays = {f: getattr(graph, f).copy() for f in ARRAYS}
                arrays[name] = arrays[name].astype(np.int64)
                arrays[name][index] += change
                mutant = Graph(graph.n_in, **arrays)
                try:
                    problem.prove(mutant)
                except AssertionError:
                    caught += 1
                else:
                    assert mutant.evaluate(x).tolist() == wanted.tolist()
    assert caught > 5 * graph.n_nodes


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_another_length_are_caught(name: str) -> None:
    problem = Problem.of([[3, 5], [7, -9]], -8, 7)
    graph = solve(problem)
    arrays = {f: getattr(graph, f) for f in ARRAYS}
    arrays[name] = arrays[name][:-1]
    with pytest.raises(AssertionError):
        problem.prove(Graph(graph.n_in, **arrays))


def test_the_answer_is_the_same_every_time() -> None:
    for seed in range(5):
        make = [random_problem(np.random.default_rng(seed)) for _ in range(2)]
        assert same(solve(make[0]), solve(make[1]))


def test_seed_and_budget_change_cost_only() -> None:
    matrix = np.random.default_rng(1).integers(-31, 32, (12, 12))
    costs: list[int] = []
    model = CostModel(0, 1)
    for budget, seed in ((0, 0), (1, 0), (1, 1), (2, 0)):
        problem = Problem.of(matrix, 0, 63, budget=budget, seed=seed, cost=model)
        graph = check(problem)
        costs.append(graph.cost(problem.grid(graph)).bits)
    assert costs[3] <= costs[1] <= costs[0]


def test_depth_is_within_the_flattest_trees_and_the_extra() -> None:
    rng = np.random.default_rng(2)
    # Prefix sums share best in one long chain.
    prefixes = np.tril(np.ones((24, 24), np.int64))
    for matrix in (prefixes, rng.integers(-127, 128, (16, 8)), rng.integers(0, 2, (40, 10))):
        digits = np.count_nonzero(csd(matrix), axis=(0, 1)).max()
        graph = solve(Problem.of(matrix, -8, 7))
        assert graph.depth.max() <= int(digits - 1).bit_length() + EXTRA_DEPTH


def test_late_inputs_are_added_last() -> None:
    matrix = np.ones((9, 1), np.int64)
    late = Problem.of(matrix, 0, 63, arrival=[5.0] + [0] * 8)
    graph = check(late)
    final = int(graph.out_id[0]) - 9
    assert 0 in (graph.left[final], graph.right[final])
    assert 5.0 < late.arrivals(graph).max() < 6.0
    unaware = solve(Problem.of(matrix, 0, 63))
    assert late.arrivals(unaware).max() > 6.0


def test_cost_counts_full_adders() -> None:
    def bits(matrix: list[list[int]], low: Any, high: Any) -> int:
        problem = Problem.of(matrix, low, high)
        graph = solve(problem)
        assert graph.n_nodes == 1
        return graph.cost(problem.grid(graph)).bits

    assert bits([[1], [1]], 0, 15) == 4  # the carry out is free
    assert bits([[1], [1]], -8, 7) == 5  # the sign of the sum is not
    assert bits([[1], [4]], -8, 7) == 5  # two low bits pass through
    assert bits([[1], [16]], 0, 15) == 0  # side by side
    assert bits([[-4], [1]], 0, 15) == 5  # below a subtrahend's bits they pass
    assert bits([[4], [-1]], 0, 15) == 7  # a subtrahend's own low bits ripple


def test_cost_model_weighs_adders_and_bits() -> None:
    matrix = np.random.default_rng(8).integers(-31, 32, (16, 16))

    def cost(model: CostModel) -> tuple[int, int]:
        problem = Problem.of(matrix, -128, 127, cost=model)
        graph = solve(problem)
        found = graph.cost(problem.grid(graph))
        return found.adders, found.bits

    fewest, narrowest = cost(CostModel(1, 0)), cost(CostModel(0, 1))
    assert fewest[0] <= narrowest[0]
    assert narrowest[1] <= fewest[1]


def test_impossible_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 62 bits"):
        Problem.of([[2**62]], 0, 1)
    with pytest.raises(ValueError, match="more than 62 bits"):
        Problem.of([[-(2**63)]], 0, 1)
    with pytest.raises(ValueError, match="empty range"):
        Problem.of([[1]], 1, 0)
    with pytest.raises(ValueError, match="multiple of its step"):
        Problem.of([[1]], 0, 3, step=2)
    with pytest.raises(ValueError, match="not an integer"):
        Problem.of([[2.0]], 0, 1)


def test_signed_digits_are_canonical() -> None:
    weights = np.arange(-300, 301)
    digits = csd(weights)
    places = 1 << np.arange(len(digits))
    assert (places @ digits.astype(np.int64)).tolist() == weights.tolist()
    assert not np.any(digits[1:] & digits[:-1])
    close = compact(weights)
    assert (places @ close.astype(np.int64)).tolist() == weights.tolist()
    assert (np.count_nonzero(close, 0) == np.count_nonzero(digits, 0)).all()
    assert close[:, 303].tolist()[:3] == [1, 1, 0]
    edge = np.array([2**62 - 1, -(2**62) + 1])
    total = sum(int(p) << k for k, p in enumerate(csd(edge)[:, 0].astype(object)))
    assert total == edge[0]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_differences_multiply_back(depth: int) -> None:
    matrix = np.random.default_rng(depth).integers(-9, 10, (7, 11))
    edges, paths = differences(matrix, depth)
    assert (edges @ paths == matrix).all()
    assert np.count_nonzero(paths, axis=0).max() <= depth
