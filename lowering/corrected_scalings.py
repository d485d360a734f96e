"""Multiply and shift, corrected: scalings that miss a few thresholds, and what mends them.

Thresholds of an fp32 chain lie on a line but for the rounding of each operation, which moves
some of them by an integer where the accumulator is wide. No scaling has all of them then;
but the staircase of a function is the sum of its steps, so that a scaling with other steps is
mended by adding a step for each threshold that it misses, and taking away the wrong one::

    clamp(floor((factor * x + offset) / 2**shift + #{k: x >= add[k]} - #{k: x >= drop[k]}))

This is the function, exactly. Factors with fewer bits miss more thresholds, so each element
has the shift at which both together cost least.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Integers, integer_array
from fastml.dialects.elements import width_of
from fastml.lowering.cmvm.csd import compact
from fastml.lowering.integer_functions import Levels
from fastml.lowering.scalings import MAX_SHIFT, Scaling, mirrored, scale, simplest, slopes_of

MOST_LEVELS = 1 << 12
"""Levels of an element beyond which no line is looked for."""
_SAFE_BITS = 58
"""Products of fewer bits cannot overflow."""
MULTIPLY, COMPARE, FREE_BITS = 0.67, 0.7, 7.5
"""Look-up tables for each bit of an adder, of a comparator, and bits that a comparator saves:
fitted to synthesis for accumulators of 9 to 16 bits."""
CORRECT = 1.5
"""Look-up tables that count a correction."""


@dataclass(frozen=True)
class Corrected:
    """A scaling that rounds down, and the steps that it lacks and has too many."""

    scaling: Scaling
    add: Integers
    """For each element, sorted, padded by what is never reached."""
    drop: Integers
    cost: float
    """Estimated look-up tables."""

    @property
    def is_exact(self) -> bool:
        """Whether the scaling needs no correction."""
        return self.add.shape[1] == 0

    def evaluate(self, x: Integers) -> Integers:
        """Return the function of ``x``, of shape ``(probes, n)``."""
        form = self.scaling
        steps: Integers = np.zeros(x.shape, np.int64)
        for rows, sign in ((self.add, 1), (self.drop, -1)):
            for element, row in enumerate(rows):
                steps[:, element] += sign * np.searchsorted(row, x[:, element], "right")
        everything = np.full(len(form.low), 1 << 62)
        value = scale(
            Scaling(form.factor, form.offset, form.shift, False, -everything, everything), x
        )
        return np.clip(value + steps * np.sign(form.factor), form.low, form.high)


def compare_cost(levels: Levels) -> float:
    """Estimate the look-up tables of a comparator for each level."""
    return float((levels.counts * _comparator(levels)).sum())


def multiply_cost(levels: Levels, factor: Integers) -> float:
    """Estimate the look-up tables of a multiplication by constants."""
    return float(_multiplier(levels, np.abs(factor.astype(np.int64))).sum())


def _widths(levels: Levels) -> NDArray[np.float64]:
    ends = zip(levels.lows.tolist(), levels.highs.tolist(), strict=True)
    return np.array([width_of(low, high)[0] for low, high in ends], np.float64)


def _comparator(levels: Levels) -> NDArray[np.float64]:
    return COMPARE * np.maximum(_widths(levels) - FREE_BITS, 1)


def _multiplier(levels: Levels, factor: NDArray[np.int64]) -> NDArray[np.float64]:
    digits = np.count_nonzero(compact(factor[None]), axis=0)[0]
    bits = np.ceil(np.log2(factor.astype(np.float64) + 1))
    return np.maximum(digits - 1, 0) * MULTIPLY * (_widths(levels) + bits / 2)


def fit_corrected(levels: Levels) -> Corrected | None:
    """Find the cheapest corrected scaling of each element.

    ``None`` where integers would overflow, or elements have too many levels to try, or where
    steps that are wrong by much meet the ends of the range.
    """
    if object in (levels.thresholds.dtype, levels.base.dtype, levels.highs.dtype):
        return None
    if levels.thresholds.shape[1] > MOST_LEVELS:
        return None
    rising = mirrored(levels)
    _, slopes, _ = slopes_of(rising)
    count = len(rising.at)
    comparator = _comparator(levels)
    best = np.full(count, np.inf)
    factor, offset, shift = (np.zeros(count, np.int64) for _ in range(3))
    room = int(np.abs(rising.level).max(initial=0)).bit_length()
    width = int(np.abs(rising.at).max(initial=0)).bit_length()
    for bits in range(min(MAX_SHIFT, _SAFE_BITS - room)):
        factors = np.clip(np.rint(slopes * 2.0**bits), 1, 2.0**31).astype(np.int64)
        if width + int(factors.max(initial=1)).bit_length() >= _SAFE_BITS:
            break
        offsets, missed = _best_offsets(rising.at, rising.level << bits, rising.used, factors)
        cost = _multiplier(levels, factors) + missed * 2 * (comparator + CORRECT)
        better = cost < best
        best = np.where(better, cost, best)
        factor = np.where(better, factors, factor)
        offset = np.where(better, offsets, offset)
        shift = np.where(better, bits, shift)
    if not np.all(np.isfinite(best)):
        return None
    found = _corrected(levels, (factor, offset, shift), float(best.sum()))
    return found if is_proved(found, levels) else None


def _best_offsets(
    at: NDArray[np.int64],
    level: NDArray[np.int64],
    used: NDArray[np.bool_],
    factor: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offset with which a factor has most thresholds, and how many it misses.

    A threshold is where it should be for offsets from ``level - factor * at`` on, ``factor``
    of them.
    """
    least = level - factor[:, None] * at
    low, missed = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
    high = low.copy()
    for element, (row, which) in enumerate(zip(least, used, strict=True)):
        ends = np.sort(row[which])
        if len(ends):
            first = np.asarray(np.searchsorted(ends, ends - factor[element], "right"), np.int64)
            last = int((np.arange(len(ends)) - first).argmax())
            missed[element] = len(ends) - 1 - last + first[last]
            low[element], high[element] = ends[last], ends[first[last]] + factor[element] - 1
    return simplest(low, high), missed


def _corrected(
    levels: Levels,
    form: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    cost: float,
) -> Corrected:
    """Return the corrections of a form that is rising in ``x`` or ``-x``."""
    factor, offset, shift = form
    rising = mirrored(levels)
    reached = -((offset[:, None] - (rising.level << shift[:, None])) // factor[:, None])
    wrong = rising.used & (reached != rising.at)
    falls = levels.direction[:, None] < 0
    # of -x back to x: see `mirrored`
    has = np.where(falls, 1 - reached, reached)
    wanted = np.where(falls, 1 - rising.at, rising.at)
    low, high = levels.ends
    scaling = Scaling(factor * levels.direction, offset, shift, False, low, high)
    never = levels.highs[:, None] + 1
    most = int(wrong.sum(axis=1).max(initial=0))
    rows = [np.sort(np.where(wrong, steps, never), axis=1)[:, :most] for steps in (wanted, has)]
    # steps outside of what there is are no steps, or are always there
    add, drop = (np.clip(row, levels.lows[:, None], never) for row in rows)
    return Corrected(scaling, integer_array(add), integer_array(drop), cost)


def is_proved(corrected: Corrected, levels: Levels) -> bool:
    """Return whether a corrected scaling is the function of ``levels`` on its whole grid.

    From each step of the function or of a correction to the next, the function stays and the
    scaling does not turn round, so that it is enough to look at both ends of each stretch.
    """
    steps = np.concatenate([levels.thresholds, corrected.add, corrected.drop], axis=1)
    at = np.clip(steps, levels.lows[:, None], levels.highs[:, None])
    before = np.maximum(at - 1, levels.lows[:, None])
    ends = (levels.lows[:, None], levels.highs[:, None])
    probes = np.concatenate([at, before, *ends], axis=1).T
    return np.array_equal(corrected.evaluate(probes), levels.evaluate(probes))
