"""Rounding and overflow of fixed-point types, as integers: the one place that defines them.

The modes are those of ``ap_fixed`` and ``ac_fixed``. A conversion drops low bits with
rounding, then fits what is left into the width.
"""

from enum import StrEnum, auto

import numpy as np

from fastml.dialects.array import Array, integer_array
from fastml.dialects.elements import range_of


class Quantisation(StrEnum):
    """What becomes of the bits that are dropped."""

    RND = auto()
    """To nearest, ties up."""
    RND_ZERO = auto()
    """To nearest, ties towards zero."""
    RND_MIN_INF = auto()
    """To nearest, ties down."""
    RND_INF = auto()
    """To nearest, ties away from zero."""
    RND_CONV = auto()
    """To nearest, ties to even."""
    TRN = auto()
    """Down."""
    TRN_ZERO = auto()
    """Towards zero."""


class Overflow(StrEnum):
    """What becomes of a number that the width has no room for."""

    SAT = auto()
    """The nearest number that fits."""
    SAT_ZERO = auto()
    """Zero."""
    SAT_SYM = auto()
    """The nearest number that fits, in a range that is symmetric about zero."""
    WRAP = auto()
    """Its low bits."""


def _kind(values: Array, bits: int) -> type[np.int64] | type[np.object_]:
    """Return where to compute on values and a number of ``bits`` bits without overflow."""
    if values.dtype == object or bits > 60 or not values.size:
        return np.object_
    largest = max(-int(values.min()), int(values.max()))
    return np.int64 if largest.bit_length() + bits < 62 else np.object_


def drop_bits(raw: Array, count: int, mode: Quantisation) -> Array:
    """Return ``raw / 2**count``, rounded."""
    kind = _kind(raw, abs(count))
    exact: Array = raw.astype(kind)
    if count <= 0:
        return integer_array(exact << -count)
    half = 1 << (count - 1)
    negative: Array = (exact < 0).astype(kind)
    match mode:
        case Quantisation.TRN:
            added: Array | int = 0
        case Quantisation.TRN_ZERO:
            added = negative * ((1 << count) - 1)
        case Quantisation.RND:
            added = half
        case Quantisation.RND_MIN_INF:
            added = half - 1
        case Quantisation.RND_INF:
            added = half - negative
        case Quantisation.RND_ZERO:
            added = half - 1 + negative
        case Quantisation.RND_CONV:
            added = half - 1 + ((exact >> count) & 1)
    return integer_array((exact + added) >> count)


def fit(values: Array, width: int, signed: bool, mode: Overflow) -> Array:
    """Return ``values`` as numbers of the given width and signedness."""
    low, high = range_of(width, signed)
    exact: Array = values.astype(_kind(values, width))
    if mode is Overflow.WRAP:
        return integer_array(((exact - low) & ((1 << width) - 1)) + low)
    if mode is Overflow.SAT_SYM and signed and width > 1:  # one bit has no other number than -1
        low = -high
    if mode is Overflow.SAT_ZERO:
        return integer_array(np.where((exact < low) | (exact > high), 0, exact))
    return integer_array(np.clip(exact, low, high))


def requantise(
    raw: Array, drop: int, width: int, signed: bool, rounding: Quantisation, overflow: Overflow
) -> Array:
    """Convert fixed-point numbers: drop ``drop`` low bits (append, if negative), then fit."""
    return fit(drop_bits(raw, drop, rounding), width, signed, overflow)
