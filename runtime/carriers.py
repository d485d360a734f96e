"""Carriers: the machine types in which the interpreter of ``fastml`` computes on integers.

Integers travel in the cheapest machine type in which they are exact: float32 below 2**24 and
float64 below 2**53, so that BLAS multiplies them, else Python integers. Arrays have the frames
in front of the network's own shape.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.dialects.fastml import constant_of, element_type, shape_of
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, RatioType, ScaledType

Number: TypeAlias = NDArray[Any]
Environment: TypeAlias = dict[SSAValue, Number]
Step: TypeAlias = Callable[[Environment], None]


def carrier_of(largest: int) -> np.dtype[Any]:
    """Return the cheapest type in which integers up to ``largest`` are exact."""
    if largest < 1 << 24:
        return np.dtype(np.float32)
    if largest < 1 << 53:
        return np.dtype(np.float64)
    return np.dtype(object)


def largest_of(element: QuantisedType) -> int:
    """Return the largest magnitude of a raw value, its integer, and steps between."""
    low, high = element.raw_range
    shift = element.shift
    offset = max((abs(int(s)) for s in (shift.min(), shift.max())), default=0)
    return element.weight * max(-low, high) + offset


def quantised_type(value: SSAValue) -> QuantisedType:
    """Return the type of an edge that is known to be quantised."""
    element = element_type(value)
    assert isinstance(element, QuantisedType)
    return element


def is_quantised(value: SSAValue) -> bool:
    """Return whether an edge holds integers."""
    return isinstance(element_type(value), QuantisedType)


def to_carrier(array: Number, dtype: np.dtype[Any]) -> Number:
    """Convert exact integers between carriers."""
    if array.dtype == dtype:
        return array
    if dtype.kind == "O" and array.dtype.kind == "f":
        return array.astype(np.int64).astype(object)
    return array.astype(dtype)


def integers_of(element: QuantisedType) -> Callable[[Number], Number]:
    """Return the function from raw values, in their carrier, to integers in the same."""
    shift = to_carrier(element.shift, carrier_of(largest_of(element)))
    weight = element.weight
    if weight == 1 and not element.shift.any():
        return lambda raw: raw
    return lambda raw: raw * weight + shift


def decoder(element: QuantisedType) -> Callable[[Number], NDArray[np.float32]]:
    """Return ``element.decode`` for raw values in their carrier.

    A float carries the sign of a zero, which an integer does not have: adding zero drops it.
    """
    if carrier_of(largest_of(element)).kind == "O":
        return lambda raw: np.asarray(element.decode(raw), np.float32)
    integers = integers_of(element)
    single = np.float32
    match element:
        case FixedType(fraction=fraction) if abs(fraction.data) <= 120:
            factor = single(2.0**-fraction.data)
            return lambda raw: _unsigned_zero(raw.astype(single, copy=False) * factor)
        case ScaledType(scale=scale) | BipolarType(scale=scale):
            scales = np.asarray(scale.array, single)
            return lambda raw: _unsigned_zero(integers(raw).astype(single, copy=False) * scales)
        case RatioType(divisor=divisor):
            by = single(divisor.data)
            return lambda raw: _unsigned_zero(raw.astype(single, copy=False) / by)
        case _:
            return lambda raw: np.asarray(element.decode(to_carrier(raw, np.dtype(object))), single)


def _unsigned_zero(fresh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make each -0 of an array that nobody else holds a +0."""
    fresh += np.float32(0)
    return fresh


def integer_reader(
    value: SSAValue, dtype: np.dtype[Any], rank: int
) -> Callable[[Environment], Number]:
    """Return a function that gives the integers of an operand, aligned to ``rank``."""
    element = quantised_type(value)
    constant = constant_of(value)
    if constant is not None:
        fixed = to_carrier(element.integer(constant.value.array), dtype)
        return lambda _: fixed
    integers = integers_of(element)
    missing = (1,) * (rank - len(shape_of(value)))

    def read(environment: Environment) -> Number:
        found = to_carrier(integers(environment[value]), dtype)
        return found.reshape(len(found), *missing, *found.shape[1:])

    return read
