"""Arithmetic forms of a threshold function: shift and round, or multiply, shift and round.

``clamp(round((factor * x + offset) / 2**shift), low, high)`` is cheaper than a comparison for
each output level. Given the thresholds of a function, each one bounds the offset of a form
from both sides, for a given factor and shift; where the bounds leave room the form *is* the
function. Nothing is approximated: a form that misses one threshold is no form.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Integers, integer_array
from fastml.lowering.integer_functions import Levels

MAX_SHIFT = 40
"""Largest shift tried."""
_SAFE_BITS = 58
"""Products and shifted levels of fewer bits cannot overflow, with their offsets added."""
_SAMPLE = 32
"""Thresholds of an element that are tried before all of them."""
_COLUMNS = 1024
"""Thresholds of an element from which the slope of a line is found."""
_SECTIONS = 60
_BIG = np.int64(1) << 60

_Slope: TypeAlias = NDArray[np.float64]
"""Levels per step of the input, for each element."""


@dataclass(frozen=True)
class Scaling:
    """``clamp(round((factor * x + offset) / 2**shift), low, high)`` for each element.

    ``half_even`` rounds to nearest, ties to even; otherwise the fraction is dropped (floor).
    """

    factor: Integers
    offset: Integers
    shift: NDArray[np.int64]
    half_even: bool
    low: Integers
    high: Integers


@dataclass(frozen=True)
class _Rising:
    """Thresholds of rising functions: ``value(x) >= level[k]`` iff ``x >= at[k]``."""

    at: NDArray[np.int64]
    level: NDArray[np.int64]
    used: NDArray[np.bool_]

    def rows(self, chosen: NDArray[np.int64]) -> "_Rising":
        """Return some of the elements."""
        return _Rising(self.at[chosen], self.level[chosen], self.used[chosen])

    def sample(self, columns: int) -> "_Rising":
        """Return some thresholds of each element, the first and the last among them."""
        if self.at.shape[1] <= columns:
            return self
        last = np.maximum(self.used.sum(axis=1) - 1, 0)[:, None]
        chosen = last * np.arange(columns) // (columns - 1)
        return _Rising(
            np.take_along_axis(self.at, chosen, 1),
            np.take_along_axis(self.level, chosen, 1),
            np.take_along_axis(self.used, chosen, 1),
        )


@dataclass
class _Fit:
    """A form for each element for which one has been found."""

    factor: NDArray[np.int64]
    offset: NDArray[np.int64]
    shift: NDArray[np.int64]
    found: NDArray[np.bool_]

    @staticmethod
    def none(count: int) -> "_Fit":
        """Return the fit of ``count`` elements before anything is found."""
        one, zero = np.ones(count, np.int64), np.zeros(count, np.int64)
        return _Fit(one, zero, zero.copy(), np.zeros(count, np.bool_))

    @property
    def all(self) -> bool:
        """Whether every element has a form."""
        return bool(np.all(self.found))


def fit_scaling(levels: Levels) -> Scaling | None:
    """Find a scaling with exactly these thresholds for every element, the cheapest first.

    Shift alone with floor, shift alone with ties to even, then multiply and shift. All
    elements share the rounding. ``None`` where some element has no such form.
    """
    if object in (levels.thresholds.dtype, levels.base.dtype):
        return None
    rising = mirrored(levels)
    for half_even in (False, True):
        fit = _fit_shift(rising, half_even)
        if fit.all:
            return _scaling(levels, fit, half_even)
    slopes = slopes_of(rising)
    floor = _fit_multiply(rising, slopes, False)
    if floor.all:
        return _scaling(levels, floor, False)
    even = _fit_multiply(rising, slopes, True)
    if not np.all(floor.found | even.found):
        return None
    return _scaling(levels, _mixed(floor, even), True)


def _scaling(levels: Levels, fit: _Fit, half_even: bool) -> Scaling:
    low, high = levels.ends
    return Scaling(fit.factor * levels.direction, fit.offset, fit.shift, half_even, low, high)


def _mixed(floor: _Fit, even: _Fit) -> _Fit:
    """Return forms that round ties to even: where there is none, the floor written as one.

    ``floor(z / 2**s)`` is ``(2*z + 1 - 2**s) / 2**(s+1)`` to nearest, which never ties.
    """
    shifted = floor.shift > 0
    factor = np.where(shifted, 2 * floor.factor, floor.factor)
    offset = np.where(shifted, 2 * floor.offset + 1 - (1 << floor.shift), floor.offset)
    shift = np.where(shifted, floor.shift + 1, 0)
    return _Fit(
        np.where(even.found, even.factor, factor),
        np.where(even.found, even.offset, offset),
        np.where(even.found, even.shift, shift),
        floor.found | even.found,
    )


def mirrored(levels: Levels) -> _Rising:
    """Express falling functions as rising ones of ``-x``."""
    step = np.arange(1, int(levels.thresholds.shape[1]) + 1)
    used = step <= levels.counts[:, None]
    thresholds = np.where(used, levels.thresholds, 0).astype(np.int64)
    rising = levels.direction[:, None] > 0
    # f falls to base-k at x >= t_k, so as a function of -x it rises from base-k to base-k+1
    # at -x >= 1 - t_k.
    at = np.where(rising, thresholds, 1 - thresholds)
    base = levels.base.astype(np.int64)[:, None]
    level = np.where(used, np.where(rising, base + step, base - step + 1), 0)
    return _Rising(at, level, used)


def _bits(values: Integers) -> int:
    """Return the bits of the largest magnitude."""
    return max(abs(int(values.min(initial=0))), abs(int(values.max(initial=0)))).bit_length()


def _offsets(
    rising: _Rising, factor: NDArray[np.int64], shift: NDArray[np.int64], half_even: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the least and the greatest offset with which a form has the thresholds.

    A level is reached where ``factor * x + offset`` comes to its ``bound``: half a step below
    where it rounds to nearest, one more where ties go to the even level below.
    """
    bound = rising.level << shift[:, None]
    if half_even:
        half = ((1 << shift) >> 1)[:, None]
        bound = bound - half + np.where(half > 0, rising.level & 1, 0)
    product = factor[:, None] * rising.at
    reach = np.where(rising.used, bound - product, -_BIG)
    miss = np.where(rising.used, bound - 1 - product + factor[:, None], _BIG)
    return reach.max(axis=1, initial=-_BIG), miss.min(axis=1, initial=_BIG)


def _try(
    fit: _Fit, rising: _Rising, factor: NDArray[np.int64], shift: int, half_even: bool
) -> None:
    """Note the elements that have no form yet and that this factor and shift fit."""
    open_ = np.flatnonzero(~fit.found)
    low = high = np.zeros(len(open_), np.int64)
    few = rising.sample(_SAMPLE)
    for part in (rising,) if few is rising else (few, rising):
        chosen = part.rows(open_)
        shifts = np.full(len(open_), shift, np.int64)
        low, high = _offsets(chosen, factor[open_], shifts, half_even)
        fits = low <= high
        open_, low, high = open_[fits], low[fits], high[fits]
    fit.found[open_] = True
    fit.factor[open_] = factor[open_]
    fit.shift[open_] = shift
    fit.offset[open_] = simplest(low, high)


def simplest(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the integer with the most trailing zeros in each interval ``low..high``."""
    best = low.copy()
    for bits in range(62):
        rounded = -((-low) >> bits) << bits
        best = np.where((rounded <= high) & (rounded >= low), rounded, best)
    return best


def _fit_shift(rising: _Rising, half_even: bool) -> _Fit:
    """Fit without a factor: one shift for each element."""
    fit = _Fit.none(len(rising.at))
    ones = np.ones(len(rising.at), np.int64)
    if _bits(rising.at) >= _SAFE_BITS:
        return fit
    for shift in range(min(MAX_SHIFT, _SAFE_BITS - _bits(rising.level))):
        if fit.all:
            break
        _try(fit, rising, ones, shift, half_even)
    return fit


def _fit_multiply(rising: _Rising, slopes: tuple[_Slope, ...], half_even: bool) -> _Fit:
    """Fit multiply and shift, smallest shift first, each element by itself."""
    fit = _Fit.none(len(rising.at))
    least, best, most = slopes
    width = _bits(rising.at)
    for shift in range(min(MAX_SHIFT, _SAFE_BITS - _bits(rising.level))):
        if fit.all:
            break
        unit = 2.0**shift
        for candidate in (np.rint(best * unit), np.ceil(least * unit), np.floor(most * unit)):
            factor = np.clip(candidate, 1, 2.0**31).astype(np.int64)
            if width + _bits(factor) < _SAFE_BITS:
                _try(fit, rising, factor, shift, half_even)
    return fit


def slopes_of(rising: _Rising) -> tuple[_Slope, _Slope, _Slope]:
    """Return the least, the safest and the greatest slope of a line with the thresholds.

    A line ``y = slope * x + c`` has them if it is at or above every ``(at, level)`` and below
    every ``(at - 1, level)``. The room that is left for ``c`` is concave in the slope, so
    its summit and the ends of where it is positive are found by sections. In floating point:
    whoever uses a slope checks it exactly.
    """
    part = rising.sample(_COLUMNS)
    if not part.at.shape[1]:
        one = np.ones(len(part.at))
        return one, one, one
    last = np.maximum(part.used.sum(axis=1) - 1, 0)[:, None]
    run = np.abs(np.take_along_axis(part.at, last, 1) - part.at[:, :1])[:, 0]
    climb = np.abs(np.take_along_axis(part.level, last, 1) - part.level[:, :1])[:, 0]
    low, high = climb / (run + 1), (climb + 1) / np.maximum(run - 1, 0.5)
    at, level = part.at.astype(np.float64), part.level.astype(np.float64)

    def room(slope: _Slope) -> _Slope:
        line = level - slope[:, None] * at
        above = np.where(part.used, line, -np.inf).max(axis=1)
        below = np.where(part.used, line + slope[:, None], np.inf).min(axis=1)
        return below - above

    left, right = low, high
    for _ in range(_SECTIONS):
        a, b = left + (right - left) / 3, right - (right - left) / 3
        rises = room(a) < room(b)
        left, right = np.where(rises, a, left), np.where(rises, right, b)
    best = (left + right) / 2
    slack = 1e-9 * np.maximum(best, 1e-3)  # a line that is just possible touches both sides
    ends = list[_Slope]()
    for end in (low, high):
        inside, outside = best, end
        for _ in range(_SECTIONS):
            middle = (inside + outside) / 2
            good = room(middle) >= -slack
            inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
        ends.append(inside)
    return ends[0], best, ends[1]


def scale(scaling: Scaling, x: Integers) -> Integers:
    """Evaluate a scaling on raw integers ``(probes, n)``, exactly."""
    factor, offset, shift = scaling.factor, scaling.offset, scaling.shift
    wide = object in (x.dtype, factor.dtype, offset.dtype)
    if wide or _bits(x) + _bits(factor) > 60 or _bits(offset) > 60 or _bits(1 << shift) > 60:
        x, factor, offset, shift = (a.astype(object) for a in (x, factor, offset, shift))
    total = x * factor + offset
    if scaling.half_even:
        half = (np.ones_like(shift) << shift) >> 1
        odd = (total >> shift) & 1
        total = total + np.where(shift > 0, half - 1 + odd, 0)
    return integer_array(np.clip(total >> shift, scaling.low, scaling.high))


def prove(scaling: Scaling, levels: Levels) -> None:
    """Check that a scaling is the function of ``levels`` on its whole grid.

    Both are monotone steps, so it is enough that they agree at the ends of the grid and on
    both sides of every threshold.
    """
    at = np.minimum(levels.thresholds, levels.highs[:, None])
    before = np.maximum(at - 1, levels.lows[:, None])
    ends = (levels.lows[:, None], levels.highs[:, None])
    probes = np.concatenate([at, before, *ends], axis=1).T
    same = np.array_equal(scale(scaling, probes), levels.evaluate(probes))
    assert same, "a scaling misses a threshold"
