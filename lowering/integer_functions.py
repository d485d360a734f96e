"""Integer functions of one integer: derived from fp32 on the whole grid, and proved.

A quantiser after a chain (:mod:`fastml.lowering.chains`) is a function from the integers of
an accumulator to a few integers. It is tabulated by its *thresholds*, the least input that
reaches each output level, found by bisection of the fp32 function itself: every fp32
operation of a chain is monotone, rounding included, so the thresholds say everything and
bisection over the grid is a proof. Where a chain is not monotone the grid is enumerated.

A form that is cheaper than comparing with every threshold (shift and round, or multiply and
shift) is accepted only if its own thresholds are exactly these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Array, integer_array

Function: TypeAlias = Callable[[Array], Array]
"""From raw integers ``(probes, n)`` to raw integers ``(probes, n)``."""

MAX_LEVELS = 1 << 17
"""Most output levels of one element that are tabulated."""
MAX_ENUMERATED = 1 << 16
"""Largest grid of one element that is enumerated."""
MAX_SHIFT = 40
"""Largest shift tried for multiply-and-shift."""


@dataclass(frozen=True)
class Levels:
    """A monotone function of each of ``n`` elements, by thresholds.

    Element ``i`` is ``base[i] + direction[i] * #{k: x >= thresholds[i, k]}``; rows are sorted
    and padded by ``highs[i] + 1``, which is never reached. ``counts`` is the row lengths.
    """

    thresholds: Array
    base: Array
    direction: NDArray[np.int64]
    counts: NDArray[np.int64]
    lows: Array
    highs: Array


class NotMonotone(Exception):
    """The function turns round on a grid too large to enumerate."""


def levels_of(
    function: Function, lows: Array, highs: Array, direction: NDArray[np.int8]
) -> Levels | None:
    """Tabulate ``function`` over ``lows..highs``; ``None`` if it is not monotone.

    ``direction`` is what is known of each element (0: nothing). Raises :class:`NotMonotone`
    where nothing is known and the grid is too large, ``OverflowError`` where there are more
    than :data:`MAX_LEVELS` levels.
    """
    if np.any(direction == 0):
        known = _direction_by_enumeration(function, lows, highs)
        if known is None:
            return None
        direction = known
    first, last = function(np.stack([lows, highs]))
    rise = direction.astype(np.int64)
    counts = (integer_array(last) - integer_array(first)) * rise
    assert counts.size == 0 or counts.min() >= 0, "the function is not monotone as declared"
    width = int(counts.max(initial=0))
    if width > MAX_LEVELS:
        raise OverflowError(f"{width + 1} levels")
    level = np.arange(1, width + 1)[:, None]
    target = first + rise * np.minimum(level, counts)
    wide = object if object in (lows.dtype, highs.dtype) else np.int64
    below = np.broadcast_to(lows, target.shape).astype(wide)  # function(below) < target
    reached = np.broadcast_to(highs, target.shape).astype(wide)
    span = int((highs - lows).max(initial=0))
    for _ in range(span.bit_length()):
        middle = below + (reached - below) // 2
        at_least = (function(middle) - target) * rise >= 0
        reached = np.where(at_least, middle, reached)
        below = np.where(at_least, below, middle)
    thresholds = np.where(level <= counts, reached, highs + 1)
    return Levels(integer_array(thresholds.T), integer_array(first), rise, counts, lows, highs)


def enumerate_function(function: Function, lows: Array, highs: Array) -> Array | None:
    """Return all values, ``(n, entries)``, or ``None`` where the grid is too large."""
    span = int((highs - lows).max(initial=0))
    if span >= MAX_ENUMERATED:
        return None
    grid = np.minimum(lows + np.arange(span + 1)[:, None], highs)
    return integer_array(function(integer_array(grid)).T)


def _direction_by_enumeration(
    function: Function, lows: Array, highs: Array
) -> NDArray[np.int8] | None:
    table = enumerate_function(function, lows, highs)
    if table is None:
        raise NotMonotone
    change = np.diff(table, axis=1)
    rises, falls = (change >= 0).all(axis=1), (change <= 0).all(axis=1)
    if not np.all(rises | falls):
        return None
    return np.where(rises, 1, -1).astype(np.int8)


@dataclass(frozen=True)
class Scaling:
    """``clamp(round((factor * x + offset) / 2**shift), low, high)`` for each element.

    ``half_even`` rounds to nearest, ties to even; otherwise the fraction is dropped (floor).
    """

    factor: Array
    offset: Array
    shift: NDArray[np.int64]
    half_even: bool
    low: Array
    high: Array


def fit_scaling(levels: Levels) -> Scaling | None:
    """Find a scaling with exactly these thresholds for every element, the cheapest first.

    Shift alone with floor, shift alone with ties to even, then multiply and shift. All
    elements share the rounding. ``None`` where some element has no such form.
    """
    if object in (levels.thresholds.dtype, levels.base.dtype):
        return None
    mirrored = _mirror(levels)
    low = np.minimum(levels.base, levels.base + levels.direction * levels.counts)
    high = np.maximum(levels.base, levels.base + levels.direction * levels.counts)
    for half_even in (False, True):
        found = _fit_shift(mirrored, half_even)
        if found is not None:
            offset, shift = found
            return Scaling(levels.direction, offset, shift, half_even, low, high)
    factor, offset, shift, fits = _fit_multiply(mirrored)
    if not np.all(fits):
        return None
    return Scaling(factor * levels.direction, offset, shift, False, low, high)


@dataclass(frozen=True)
class _Rising:
    """Thresholds of rising functions: ``value(x) >= level[k]`` iff ``x >= at[k]``."""

    at: NDArray[np.int64]
    level: NDArray[np.int64]
    used: NDArray[np.bool_]


def _mirror(levels: Levels) -> _Rising:
    """Express falling functions as rising ones of ``-x``."""
    count = levels.thresholds.shape[1]
    step = np.arange(1, count + 1)
    used = step <= levels.counts[:, None]
    thresholds = np.asarray(levels.thresholds, np.int64)
    rising = levels.direction[:, None] > 0
    # f falls to base-k at x >= t_k, so as a function of -x it rises from base-k to base-k+1
    # at -x >= 1 - t_k.
    at = np.where(rising, thresholds, 1 - thresholds)
    base = np.asarray(levels.base, np.int64)[:, None]
    level = np.where(rising, base + step, base - step + 1)
    return _Rising(at, level, used)


def _offset_interval(
    rising: _Rising, factor: NDArray[np.int64], shift: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets for which floor((factor*x + offset) / 2**shift) has the thresholds."""
    big = np.int64(1) << 60
    scaled = rising.level << shift[:, None]
    reach = np.where(rising.used, scaled - factor[:, None] * rising.at, -big)
    miss = np.where(rising.used, scaled - 1 - factor[:, None] * (rising.at - 1), big)
    return reach.max(axis=1, initial=-big), miss.min(axis=1, initial=big)


def _simplest(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the integer with the most trailing zeros in each interval ``low..high``."""
    best = low.copy()
    for bits in range(62):
        rounded = -((-low) >> bits) << bits
        best = np.where((rounded <= high) & (rounded >= low), rounded, best)
    return best


def _safe(rising: _Rising, shift: int) -> bool:
    largest = max(np.abs(rising.at).max(initial=0), np.abs(rising.level).max(initial=0))
    return int(largest).bit_length() + shift < 58


def _fit_shift(
    rising: _Rising, half_even: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Fit without a factor: one shift for each element; ``None`` unless all fit."""
    count = len(rising.at)
    chosen = np.zeros(count, np.int64)
    offsets = np.zeros(count, np.int64)
    open_ = np.ones(count, np.bool_)
    for bits in range(0, MAX_SHIFT):
        if not np.any(open_) or not _safe(rising, bits):
            break
        shift = np.full(count, bits, np.int64)
        if half_even:
            # ties go to the even level: an odd level is reached one step later
            half = (1 << bits) >> 1
            exact = (rising.level << bits) - half + (rising.level & 1) * (bits > 0) - rising.at
            first = exact[:, :1] if exact.shape[1] else np.zeros((count, 1), np.int64)
            fits = np.all((exact == first) | ~rising.used, axis=1)
            offset = first[:, 0]
        else:
            low, high = _offset_interval(rising, np.ones(count, np.int64), shift)
            fits, offset = low <= high, _simplest(low, np.maximum(low, high))
        now = open_ & fits
        offsets, chosen = np.where(now, offset, offsets), np.where(now, shift, chosen)
        open_ &= ~now
    if np.any(open_):
        return None
    return offsets, chosen


def _fit_multiply(
    rising: _Rising,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Fit multiply and shift, smallest factor first, each element by itself."""
    count = len(rising.at)
    factor, offset = np.ones(count, np.int64), np.zeros(count, np.int64)
    chosen, fits = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    slope = _slope(rising)
    for bits in range(0, MAX_SHIFT):
        if np.all(fits):
            break
        for candidate in (np.floor(slope * 2.0**bits), np.ceil(slope * 2.0**bits)):
            value = np.clip(candidate, 1, 2.0**31).astype(np.int64)
            largest = int(np.abs(rising.at).max(initial=0)).bit_length()
            if largest + int(value.max(initial=1)).bit_length() > 58 or not _safe(rising, bits):
                continue
            low, high = _offset_interval(rising, value, np.full(count, bits, np.int64))
            now = ~fits & (low <= high)
            factor, chosen = np.where(now, value, factor), np.where(now, bits, chosen)
            offset = np.where(now, _simplest(low, np.maximum(low, high)), offset)
            fits |= now
    return factor, offset, chosen, fits


def _slope(rising: _Rising) -> NDArray[np.float64]:
    """Levels per input step, between the first and the last threshold."""
    counts = rising.used.sum(axis=1)
    if not rising.at.shape[1]:
        return np.ones(len(rising.at))
    rows = np.arange(len(rising.at))
    last = np.maximum(counts - 1, 0)
    run = np.abs(rising.at[rows, last] - rising.at[:, 0])
    climb = np.abs(rising.level[rows, last] - rising.level[:, 0])
    return np.where(run > 0, climb / np.maximum(run, 1), 1.0)


def scale(scaling: Scaling, x: Array) -> Array:
    """Evaluate a scaling on raw integers ``(probes, n)``, exactly."""
    wide = x.astype(object) * scaling.factor.astype(object) + scaling.offset.astype(object)
    shift = scaling.shift.astype(object)
    if scaling.half_even:
        half = np.array([(1 << s) >> 1 for s in scaling.shift.tolist()], object)
        odd = np.where(scaling.shift > 0, (wide >> shift) & 1, 0)
        wide = wide + np.where(scaling.shift > 0, half - 1 + odd, 0)
    return integer_array(np.clip(wide >> shift, scaling.low, scaling.high))


def prove(scaling: Scaling, levels: Levels) -> None:
    """Check that a scaling is the function of ``levels`` on its whole grid.

    Both are monotone steps, so it is enough that they agree at the ends of the grid and on
    both sides of every threshold.
    """
    at = np.minimum(levels.thresholds, levels.highs[:, None])
    before = np.maximum(at - 1, levels.lows[:, None])
    probes = np.concatenate([at, before, levels.lows[:, None], levels.highs[:, None]], axis=1)
    reached = (probes[:, :, None] >= levels.thresholds[:, None, :]).sum(axis=2)
    expected = levels.base[:, None] + levels.direction[:, None] * reached
    assert np.array_equal(scale(scaling, probes.T), expected.T), "a scaling misses a threshold"
