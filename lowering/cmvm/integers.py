"""Arrays of unbounded integers: int64 where every entry fits, else Python's own."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[Any]
"""An array of dtype int64, or of dtype object with Python integers."""

SAFE = 2.0**61
"""Magnitude below which int64 sums of two terms cannot overflow, rounding included."""

_POWERS = np.left_shift(np.int64(1), np.arange(63, dtype=np.int64))


def exact(values: ArrayLike, length: int | None = None) -> Integers:
    """Return ``values`` as exact integers, broadcast to ``length`` where it is given.

    Raise ValueError where an entry is not an integer.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iu" and array.dtype != np.dtype(np.uint64):
        array = array.astype(np.int64)
    else:
        wide = np.asarray(values, object)
        if not all(type(v) is int or isinstance(v, np.integer) for v in wide.flat):
            raise ValueError("an entry is not an integer")
        whole = np.frompyfunc(int, 1, 1)(wide)
        array = narrowed(np.asarray(whole, object))
    if length is not None:
        array = np.broadcast_to(array, (length,)).copy()
    return array


def narrowed(array: Integers) -> Integers:
    """Return ``array`` as int64 if every entry lies within 63 bits and a sign."""
    if array.dtype == np.int64:
        return array
    if all(-(2**63) <= v < 2**63 for v in array.flat):
        return array.astype(np.int64)
    return array


def magnitude(array: Integers) -> NDArray[np.float64]:
    """Return an upper bound of the absolute values, in floating point."""
    return np.abs(array.astype(np.float64)) * (1 + 2.0**-50)


def shifted(array: Integers, count: NDArray[Any]) -> Integers:
    """Return ``array << count``; ``count`` broadcasts and is not negative."""
    if array.dtype == object:
        return np.asarray(np.left_shift(array, count.astype(object)), object)
    return np.left_shift(array, count.astype(np.int64))


def bit_length(array: Integers) -> NDArray[np.int64]:
    """Return the bit length of each entry; entries are not negative."""
    if array.dtype == object:
        return np.asarray(np.frompyfunc(int.bit_length, 1, 1)(array), np.int64)
    return np.searchsorted(_POWERS, array, side="right").astype(np.int64)


def trailing_zeros(array: Integers) -> NDArray[np.int64]:
    """Return how many low bits of each entry are zero; an entry of 0 counts as 63."""
    if array.dtype == object:
        lowest = np.asarray(np.frompyfunc(lambda v: v & -v, 1, 1)(array), object)
        return np.where(array == 0, 63, bit_length(lowest) - 1)
    return np.where(array == 0, 63, np.bitwise_count((array & -array) - 1))


def widths(low: Integers, high: Integers) -> NDArray[np.int64]:
    """Return how many bits hold ``low`` to ``high``: two's complement if low < 0."""
    signed = low < 0
    negative = bit_length(np.where(signed, -low - 1, 0)) + 1
    positive = bit_length(np.where(high > 0, high, 0))
    return np.where(signed, np.maximum(negative, positive + 1), positive)
