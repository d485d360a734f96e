"""Thresholds and scalings against the fp32 definition on every point of the grid."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastml.dialects.array import Integers
from fastml.dialects.reference import ROUNDINGS, evaluate, quantise
from fastml.lowering.integer_functions import (
    Function,
    Levels,
    NotMonotone,
    enumerate_function,
    levels_of,
)
from fastml.lowering.quantisers import comparing_is_cheaper
from fastml.lowering.scalings import Scaling, fit_scaling, prove, scale

Real = NDArray[np.float32]
FLOAT = st.floats(-8, 8, width=32, allow_subnormal=False)
SCALE = st.floats(2**-9, 4, width=32)


def tabulate(levels: Levels, grid: Integers) -> Integers:
    """Evaluate by the definition of the record: compare with every threshold."""
    reached = (grid[:, :, None] >= levels.thresholds[None, :, :]).sum(axis=2)
    return levels.base + levels.direction * reached


def check(
    function: Function, lows: list[int], highs: list[int], direction: int | list[int]
) -> tuple[Levels, Scaling | None]:
    """Derive, prove, and compare with the function on every point."""
    low, high = np.array(lows), np.array(highs)
    known = np.broadcast_to(np.array(direction, np.int8), low.shape)
    levels = levels_of(function, low, high, known)
    assert levels is not None
    grid = np.minimum(low + np.arange(int((high - low).max()) + 1)[:, None], high)
    expected = function(grid)
    if grid.size * levels.thresholds.shape[1] < 1 << 24:
        assert np.array_equal(tabulate(levels, grid), expected)
    assert np.array_equal(levels.evaluate(grid), expected)
    scaling = fit_scaling(levels)
    if scaling is not None:
        prove(scaling, levels)
        part = slice(None, None, 1 + len(grid) // 5000)
        assert np.array_equal(by_definition(scaling, grid[part]), expected[part])
        assert np.array_equal(scale(scaling, grid), expected)
    return levels, scaling


def by_definition(scaling: Scaling, x: Integers) -> Integers:
    """Multiply, shift, round and clamp in Python integers, one element at a time."""

    def one(value: int, element: int) -> int:
        total = value * int(scaling.factor[element]) + int(scaling.offset[element])
        divisor = 1 << int(scaling.shift[element])
        result, rest = divmod(total, divisor)
        if scaling.half_even:
            result += 2 * rest > divisor or (2 * rest == divisor and result % 2 == 1)
        return min(max(result, int(scaling.low[element])), int(scaling.high[element]))

    flat = [[one(v, e) for e, v in enumerate(row)] for row in x.tolist()]
    return np.array(flat)


def quantiser(
    step: float | list[float],
    scale: float | list[float],
    zero_point: int = 0,
    low: int = -8,
    high: int = 7,
    rounding: str = "half_even",
    before: Callable[[Real], Real] = lambda x: x,
) -> Function:
    """Return ``Quant(before(fl32(x) * step))`` by the reference definitions."""

    def function(x: Integers) -> Integers:
        real = before(x.astype(np.float32) * np.array(step, np.float32))
        divisor, zero = np.array(scale, np.float32), np.array(zero_point, np.float32)
        return quantise(real, divisor, zero, low, high, rounding).astype(np.int64)

    return function


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(ROUNDINGS)),
    SCALE,
    SCALE,
    st.integers(-9, 9),
    st.sampled_from([(0, 1), (-1, 1), (0, 15), (-8, 7), (-7, 7), (0, 255), (-128, 127)]),
    st.integers(-2000, 0),
    st.integers(0, 2000),
)
def test_quantiser(
    rounding: str,
    step: float,
    scale: float,
    zero_point: int,
    clamp: tuple[int, int],
    low: int,
    high: int,
):
    function = quantiser(step, scale, zero_point, *clamp, rounding)
    levels, _ = check(function, [low], [high], 1)
    assert levels.counts.max() <= clamp[1] - clamp[0]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_chain_of_each_channel(data: st.DataObject):
    n = data.draw(st.integers(1, 4))

    def floats(strategy: st.SearchStrategy[float]) -> Real:
        return np.array(data.draw(st.lists(strategy, min_size=n, max_size=n)), np.float32)

    bias, gamma, beta, mean = (floats(FLOAT) for _ in range(4))
    variance, step, scale = floats(SCALE), floats(SCALE), floats(SCALE)
    relu = data.draw(st.booleans())
    rounding = data.draw(st.sampled_from(sorted(ROUNDINGS)))

    def before(x: Real) -> Real:
        x = evaluate("fastml.add", [x, bias], {})
        operands = [x, gamma, beta, mean, variance]
        x = evaluate("fastml.batch_norm", operands, {"epsilon": 1e-5})
        return evaluate("fastml.relu", [x], {}) if relu else x

    function = quantiser(step.tolist(), scale.tolist(), 0, -8, 7, rounding, before)
    lows = data.draw(st.lists(st.integers(-600, 0), min_size=n, max_size=n))
    highs = data.draw(st.lists(st.integers(0, 600), min_size=n, max_size=n))
    check(function, lows, highs, np.where(gamma < 0, -1, 1).tolist())


@pytest.mark.parametrize("shift", range(0, 7))
@pytest.mark.parametrize("bias", [0, 1, -3, 12])
@pytest.mark.parametrize("sign", [1, -1])
def test_ties_go_to_even_without_a_multiplier(shift: int, bias: int, sign: int):
    step = 2.0**-shift
    added = np.float32(bias * step)
    function = quantiser(step * sign, 1.0, 0, -16, 15, before=lambda x: x + added)
    _, scaling = check(function, [-700], [700], sign)
    assert scaling is not None
    assert set(np.abs(scaling.factor).tolist()) == {1}
    assert scaling.shift.tolist() == [shift]
    assert scaling.half_even == (shift > 0)


def test_floor_needs_no_rounding_bits():
    function = quantiser(2.0**-4, 1.0, 0, 0, 63, "floor")
    _, scaling = check(function, [-100] * 2, [2000] * 2, 1)
    assert scaling is not None
    assert not scaling.half_even
    assert scaling.shift.tolist() == [4, 4]
    assert scaling.offset.tolist() == [0, 0]


def test_ties_to_even_with_a_multiplier():
    """3/8 ties at 4, 12, ...: no floor form has both thresholds."""
    _, scaling = check(quantiser(0.375, 1.0, 0, -64, 63), [-160], [160], 1)
    assert scaling is not None
    assert scaling.half_even
    assert scaling.factor.tolist() == [3]


def test_elements_with_and_without_ties_share_a_rounding():
    function = quantiser([0.375, 0.2999, 0.25], 1.0, 0, -32, 31)
    _, scaling = check(function, [-100] * 3, [100] * 3, 1)
    assert scaling is not None
    assert scaling.half_even


@pytest.mark.parametrize("step", [1.0, 3.0, 5.5, 17.3])
def test_several_levels_in_one_step(step: float):
    levels, _ = check(quantiser(step, 1.0, 0, -100, 100), [-30], [30], 1)
    assert len(set(levels.thresholds[0].tolist())) < levels.thresholds.shape[1] or step == 1.0


def test_constant_and_single_point():
    levels, scaling = check(quantiser(0.0, 1.0), [-5, 3], [5, 3], 1)
    assert levels.counts.tolist() == [0, 0]
    assert scaling is not None


def test_ranges_of_different_lengths():
    check(quantiser([0.5, 0.25, 2.0], 1.0, 1, -8, 7), [-3, -100, 0], [90, 5, 1], 1)


@pytest.mark.parametrize("rounding", sorted(ROUNDINGS))
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_many_levels(rounding: str, bits: int):
    function = quantiser(0.37, 1.0, 0, -(1 << bits - 1), (1 << bits - 1) - 1, rounding)
    check(function, [-5000, -1000], [2000, 900], 1)


def test_sixteen_bits_are_a_clamp():
    function = quantiser(2.0**-6, 2.0**-6, 0, 0, (1 << 16) - 1, before=lambda x: np.maximum(x, 0))
    levels, scaling = check(function, [-(1 << 17)], [1 << 17], 1)
    assert levels.counts.tolist() == [(1 << 16) - 1]
    assert scaling is not None
    assert (scaling.factor.tolist(), scaling.shift.tolist()) == ([1], [0])


def test_too_many_levels_are_refused():
    function = quantiser(1.0, 1.0, 0, 0, 1 << 20)
    with pytest.raises(OverflowError, match="1048577 levels"):
        levels_of(function, np.array([0]), np.array([1 << 21]), np.ones(1, np.int8))


def test_square_is_enumerated():
    function = quantiser(0.25, 1.0, 0, 0, 255, before=lambda x: np.power(x, np.float32(2)))
    low, high = np.array([-60, 0]), np.array([60, 40])
    assert levels_of(function, low, high, np.zeros(2, np.int8)) is None
    table = enumerate_function(function, low, high)
    assert table is not None
    assert table.shape == (2, 121)
    assert table[0].tolist() == function(np.arange(-60, 61)[:, None])[:, 0].tolist()
    assert table[1, :41].tolist() == function(np.arange(41)[:, None])[:, 0].tolist()
    # on one side of the minimum the square is monotone, and that is found out
    check(function, [-60, 0], [0, 40], 0)


def test_unknown_direction_on_a_large_grid_is_refused():
    function = quantiser(0.25, 1.0, before=lambda x: np.power(x, np.float32(2)))
    with pytest.raises(NotMonotone):
        levels_of(function, np.array([0]), np.array([1 << 20]), np.zeros(1, np.int8))


# --- accumulators beyond 32 and 64 bits -------------------------------------------------


def nearest_float(value: int) -> np.float32:
    """Round a Python integer to float32 through its decimal digits."""
    return np.float32(str(value))


@pytest.mark.parametrize("bits", [31, 33, 45, 61, 62, 63, 64, 90, 120])
@pytest.mark.parametrize("sign", [1, -1])
def test_wide_accumulators(bits: int, sign: int):
    """Thresholds by an independent search on Python integers."""
    factor = np.float32(sign * 0.83 * 2.0 ** (4 - bits))

    def one(value: int) -> int:
        real = np.array(nearest_float(value) * factor)
        zero, unit = np.zeros((), np.float32), np.ones((), np.float32)
        return int(quantise(real, unit, zero, -8, 7, "half_even"))

    def function(x: Integers) -> Integers:
        return np.array([[one(int(v)) for v in row] for row in x])

    low, high = -(1 << bits), (1 << bits) - 1
    lows: Any = np.array([low], object) if bits > 63 else np.array([low])
    highs: Any = np.array([high], object) if bits > 62 else np.array([high])
    levels = levels_of(function, lows, highs, np.array([sign], np.int8))
    assert levels is not None
    thresholds = [int(v) for v in levels.thresholds[0]]
    assert len(thresholds) == 15
    for number, threshold in enumerate(thresholds):
        level = int(levels.base[0]) + sign * (number + 1)
        if low < threshold <= high:
            assert (one(threshold) - level) * sign >= 0
            assert (one(threshold - 1) - level) * sign < 0
    scaling = fit_scaling(levels)
    if scaling is not None:
        prove(scaling, levels)
        probes = [p for t in thresholds for p in (t - 1, t) if low <= p <= high]
        column = np.array(probes, object)[:, None]
        assert by_definition(scaling, column).tolist() == [[one(p)] for p in probes]


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 70), st.integers(1, 200), st.integers(-(1 << 70), 1 << 70))
def test_scale_is_exact_beyond_64_bits(bits: int, factor: int, x: int):
    scaling = Scaling(
        np.array([factor]), np.array([(1 << 59) + 3]), np.array([bits % 40]), True,
        np.array([-(1 << 62)]), np.array([1 << 62]),
    )  # fmt: skip
    column = np.array([[x >> (70 - bits)]], object)
    assert scale(scaling, column).tolist() == by_definition(scaling, column).tolist()


# --- what the proof must reject ---------------------------------------------------------


@pytest.mark.parametrize("field", ["factor", "offset", "shift", "low", "high", "half_even"])
def test_proof_rejects_a_corrupt_scaling(field: str):
    levels, scaling = check(quantiser(0.375, 1.0, 0, -64, 63), [-300], [300], 1)
    assert scaling is not None
    parts = dict(vars(scaling))
    parts[field] = not parts[field] if field == "half_even" else parts[field] + 1
    with pytest.raises(AssertionError, match="misses a threshold"):
        prove(Scaling(**parts), levels)


def test_proof_rejects_a_corrupt_threshold():
    levels, scaling = check(quantiser(0.2999, 1.0, 0, -8, 7), [-100], [100], 1)
    assert scaling is not None
    for number in range(levels.thresholds.shape[1]):
        thresholds = levels.thresholds.copy()
        thresholds[0, number] += 1
        corrupt = Levels(thresholds, *list(vars(levels).values())[1:])
        with pytest.raises(AssertionError, match="misses a threshold"):
            prove(scaling, corrupt)


@pytest.mark.parametrize(
    ("bits", "accumulator", "cheaper"),
    [
        *[(2, 9, True), (3, 16, True), (4, 9, True), (4, 16, True), (5, 9, True)],
        *[(6, 9, True), (6, 12, False), (6, 16, False)],
    ],
)
def test_the_cheaper_form_is_the_one_that_synthesis_found_cheaper(
    bits: int, accumulator: int, cheaper: bool
):
    rng = np.random.default_rng(0)
    steps = (rng.uniform(0.5, 1, 8) * 2.0 ** (bits - accumulator)).tolist()
    low, high = -(1 << accumulator - 1), (1 << accumulator - 1) - 1
    levels, scaling = check(quantiser(steps, 1.0, 0, 0, (1 << bits) - 1), [low] * 8, [high] * 8, 1)
    assert scaling is not None
    assert comparing_is_cheaper(levels, scaling) == cheaper


def test_a_shift_is_cheaper_than_comparing():
    levels, scaling = check(quantiser(2.0**-8, 1.0, 0, 0, 3), [0], [2000], 1)
    assert scaling is not None
    assert not comparing_is_cheaper(levels, scaling)
