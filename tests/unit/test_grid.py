"""Grids: what raw integers stand for, and types that follow from operands."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException

from fastml.dialects import inference
from fastml.dialects.array import ArrayAttr
from fastml.dialects.fastml import ConstantOp, ExactCastOp, MatMulOp, NetworkOp, SumOp
from fastml.dialects.grid import (
    BipolarType,
    FixedType,
    QuantisedType,
    RatioType,
    ScaledType,
    to_float32,
)

Array = NDArray[Any]


def scaled(width: int, scale: object, zero_point: object = 0, signed: bool = True) -> ScaledType:
    scales = np.asarray(scale, np.float32)
    return ScaledType(
        int(signed), width, ArrayAttr.get(scales), ArrayAttr.get(np.asarray(zero_point, np.int64))
    )


def bipolar(scale: object = 1.0) -> BipolarType:
    return BipolarType(ArrayAttr.get(np.asarray(scale, np.float32)))


GRIDS: list[QuantisedType] = [
    FixedType(1, 8, 4),
    FixedType(0, 8, 12),
    FixedType(1, 8, -3),
    FixedType(0, 0, 0),
    scaled(8, 0.1),
    scaled(8, 27.768454, 77, signed=False),
    scaled(8, [0.1, 0.3, 7.0], [1, 2, -3]),
    RatioType(0, 8, 255),
    bipolar(),
    bipolar([0.1, 0.5, 2.0]),
]


def all_raw(grid: QuantisedType) -> Array:
    """Every raw integer, in each of three channels."""
    low, high = grid.raw_range
    return np.repeat(np.arange(low, high + 1)[:, None], 3, axis=1)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_encode_inverts_decode(grid: QuantisedType):
    raw = all_raw(grid)
    again, exact = grid.encode(grid.decode(raw))
    np.testing.assert_array_equal(again, raw)
    assert exact.all()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_fast_encoder_is_the_exact_one(grid: QuantisedType):
    rng = np.random.default_rng(0)
    raw = all_raw(grid)
    near = grid.decode(raw) * (1 + rng.uniform(-0.4, 0.4, raw.shape)).astype(np.float32)
    fast, exact = grid.encode(near)
    if isinstance(grid, BipolarType):
        np.testing.assert_array_equal(fast, near >= 0)
    else:
        slow, _ = QuantisedType.encode(grid, near)
        np.testing.assert_array_equal(fast, slow)
    np.testing.assert_array_equal(exact, grid.decode(fast) == near)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_decode_is_the_exact_value_rounded_once_or_twice(grid: QuantisedType):
    raw = all_raw(grid)
    exact = grid.integer(raw) * np.broadcast_to(grid.step, raw.shape)
    decoded = grid.decode(raw)
    assert decoded.dtype == np.float32
    for value, real in zip(exact.ravel(), decoded.ravel(), strict=True):
        assert abs(Fraction(float(real)) - value) <= abs(value) * Fraction(1, 1 << 23)


def test_wide_integers_round_to_nearest_even():
    wide = np.array([(1 << 80) + (1 << 56), (1 << 80) + (3 << 56), -(1 << 80) - 1, 5], object)
    expected = np.array([2.0**80, 2.0**80 + 2.0**58, -(2.0**80), 5.0], np.float32)
    np.testing.assert_array_equal(to_float32(wide), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FixedType(2, 8, 0), "signedness"),
        (lambda: FixedType(1, 5000, 0), "width must be"),
        (lambda: FixedType(1, 8, 5000), "fraction must be"),
        (lambda: scaled(8, 0.0), "finite and positive"),
        (lambda: scaled(8, np.inf), "finite and positive"),
        (lambda: RatioType(0, 8, 0), "divisor"),
        (lambda: bipolar(-1.0), "finite and positive"),
    ],
)
def test_impossible_grids_cannot_be_built(build: Any, message: str):
    with pytest.raises(VerifyException, match=message):
        build()


# -- inference -----------------------------------------------------------------------------


def network(*types: tuple[QuantisedType, tuple[int, ...]]) -> NetworkOp:
    inputs: dict[str, TensorType[Attribute]] = {
        f"x{k}": TensorType(element, shape) for k, (element, shape) in enumerate(types)
    }
    return NetworkOp("n", inputs, [])


def extremes(operation: MatMulOp | SumOp) -> tuple[int, int]:
    element = operation.result.type
    assert isinstance(element, TensorType)
    grid = element.element_type
    assert isinstance(grid, QuantisedType)
    return grid.raw_range


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_matmul_widths_are_minimal(data: st.DataObject):
    rows, columns = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    grid = data.draw(st.sampled_from([FixedType(1, 4, 2), FixedType(0, 3, 0), bipolar()]))
    numbers = st.lists(st.integers(-9, 9), min_size=rows * columns, max_size=rows * columns)
    weights = np.array(data.draw(numbers)).reshape(rows, columns)
    left = next(iter(network((grid, (1, rows))).inputs.values()))
    constant = ConstantOp(weights, FixedType(1, 5, 1))
    (product,) = inference.matmul("y", left, constant.result, lambda name: name)
    assert isinstance(product, MatMulOp)
    low, high = (int(grid.integer(np.array(r))) for r in grid.raw_range)
    worst = np.where(weights > 0, weights * high, weights * low).sum(axis=0).max()
    least = np.where(weights > 0, weights * low, weights * high).sum(axis=0).min()
    bottom, top = extremes(product)
    assert bottom <= least
    assert worst <= top
    narrower = (bottom // 2, top // 2)  # one bit less would not do
    assert least < narrower[0] or worst > narrower[1] or top == 0


def test_rows_with_scales_of_their_own_meet_on_a_common_step():
    left = next(iter(network((FixedType(1, 4, 0), (1, 2))).inputs.values()))
    weights = ConstantOp(np.array([[1, 2], [3, -1]]), scaled(4, [[0.75], [1.25]]))
    made = inference.matmul("y", left, weights.result, lambda name: name)
    constant, product = made
    assert isinstance(constant, ConstantOp)
    assert isinstance(product, MatMulOp)
    np.testing.assert_array_equal(constant.value.array, [[3, 6], [15, -5]])  # on 1/4
    assert str(constant.result.type) == "tensor<2x2x!fastml.fixed<s5, 2>>"


def test_channels_with_scales_of_their_own_are_cast_before_a_product():
    left = next(iter(network((scaled(4, [0.75, 1.25]), (1, 2))).inputs.values()))
    weights = ConstantOp(np.array([[1], [3]]), FixedType(1, 3, 0))
    cast, product = inference.matmul("y", left, weights.result, lambda name: name)
    assert isinstance(cast, ExactCastOp)
    assert isinstance(product, MatMulOp)
    assert str(cast.result.type) == "tensor<1x2x!fastml.fixed<s7, 2>>"


def test_summands_have_whole_factors():
    values = network((FixedType(1, 4, 1), (1, 2)), (scaled(4, 0.75), (1, 2))).inputs.values()
    (total,) = inference.add("y", list(values), [1, -1])
    assert isinstance(total, SumOp)
    assert [int(f) for f in inference.sum_factors(total)] == [2, 3]
    assert str(total.result.type) == "tensor<1x2x!fastml.fixed<s7, 2>>"


def test_a_difference_reaches_below_zero():
    values = network((FixedType(0, 4, 0), (1, 2)), (FixedType(0, 3, 0), (1, 2))).inputs.values()
    (total,) = inference.add("y", list(values), [1, -1])
    assert str(total.results[0].type) == "tensor<1x2x!fastml.fixed<s5, 0>>"
    (total,) = inference.add("y", list(values), [-1, 1])
    assert str(total.results[0].type) == "tensor<1x2x!fastml.fixed<s5, 0>>"
    (total,) = inference.add("y", list(values), [1, 1])
    assert str(total.results[0].type) == "tensor<1x2x!fastml.fixed<u5, 0>>"


def test_scales_far_apart_are_refused():
    values = network((scaled(4, 1e-12), (1, 2)), (scaled(4, 1e12), (1, 2))).inputs.values()
    with pytest.raises(inference.GridError, match="more bits"):
        inference.add("y", list(values), [1, 1])


@given(st.lists(st.integers(-1000, 1000), min_size=1), st.integers(-20, 20), st.integers(1, 99))
def test_a_grid_is_found_exactly(integers: list[int], exponent: int, odd: int):
    values = np.ldexp(np.array(integers, np.float32) * odd, exponent).astype(np.float32)
    found = inference.grid_of(values)
    assert found is not None
    step, raw = found
    assert [int(r) * step for r in raw] == [Fraction(float(v)) for v in values]
    nonzero = [abs(int(r)) for r in raw if r]
    assert not nonzero or np.gcd.reduce(nonzero) == 1


def test_no_grid_for_what_is_infinite_or_too_wide():
    assert inference.grid_of(np.array([np.inf, 1], np.float32)) is None
    assert inference.grid_of(np.array([1e-30, 1], np.float32)) is None


@pytest.mark.parametrize(
    "value", [Fraction(1, 3), Fraction(1, 255), Fraction((1 << 25) + 1), Fraction(1, 3 << 140)]
)
def test_nearest_float32(value: Fraction):
    got = inference.nearest_float32(value)
    for other in (np.nextafter(got, np.float32(0)), np.nextafter(got, np.float32(np.inf))):
        assert abs(Fraction(float(got)) - value) <= abs(Fraction(float(other)) - value)
