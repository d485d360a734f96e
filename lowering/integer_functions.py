"""Integer functions of one integer: derived from fp32 on the whole grid, and proved.

A quantiser after a chain (:mod:`fastml.lowering.chains`) is a function from the integers of
an accumulator to a few integers. It is tabulated by its *thresholds*, the least input that
reaches each output level, found by bisection of the fp32 function itself: every fp32
operation of a chain is monotone, rounding included, so the thresholds say everything and
bisection over the grid is a proof. Where a chain is not monotone the grid is enumerated.

A form that is cheaper than comparing with every threshold (:mod:`fastml.lowering.scalings`)
is accepted only if its own thresholds are exactly these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Integers, integer_array

Function: TypeAlias = Callable[[Integers], Integers]
"""From raw integers ``(probes, n)`` to raw integers ``(probes, n)``."""

MAX_LEVELS = 1 << 17
"""Most output levels of one element that are tabulated."""
MAX_THRESHOLDS = 1 << 26
"""Most thresholds of all elements together."""
MAX_ENUMERATED = 1 << 16
"""Largest grid of one element that is enumerated."""
_PROBES = 1 << 20
"""Probes of the fp32 function at a time."""


@dataclass(frozen=True)
class Levels:
    """A monotone function of each of ``n`` elements, by thresholds.

    Element ``i`` is ``base[i] + direction[i] * #{k: x >= thresholds[i, k]}``; rows are sorted
    and padded by ``highs[i] + 1``, which is never reached. ``counts`` is the row lengths.
    """

    thresholds: Integers
    base: Integers
    direction: NDArray[np.int64]
    counts: NDArray[np.int64]
    lows: Integers
    highs: Integers

    @property
    def ends(self) -> tuple[Integers, Integers]:
        """Least and greatest value of each element."""
        last = self.base + self.direction * self.counts
        return np.minimum(self.base, last), np.maximum(self.base, last)

    def evaluate(self, x: Integers) -> Integers:
        """Return the function of ``x``, of shape ``(probes, n)``."""
        reached = np.zeros(x.shape, np.int64)
        for element, row in enumerate(self.thresholds):
            reached[:, element] = np.searchsorted(row, x[:, element], "right")
        return self.base + self.direction * reached


class NotMonotone(Exception):
    """The function turns round on a grid too large to enumerate."""


def roomy(lows: Integers, highs: Integers) -> tuple[Integers, Integers]:
    """Return bounds as Python integers where sums of two of them may pass 63 bits."""
    ends = [int(v) for bound in (lows, highs) for v in (bound.min(initial=0), bound.max(initial=0))]
    if max(map(abs, ends)) >= 1 << 61:
        return lows.astype(object), highs.astype(object)
    return lows.astype(np.int64), highs.astype(np.int64)


def levels_of(
    function: Function, lows: Integers, highs: Integers, direction: NDArray[np.int8]
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
    lows, highs = roomy(lows, highs)
    first, last = function(np.stack([lows, highs]))
    rise = direction.astype(np.int64)
    climb = (last.astype(object) - first.astype(object)) * rise
    assert climb.size == 0 or climb.min() >= 0, "the function is not monotone as declared"
    width = int(climb.max(initial=0))
    if width >= MAX_LEVELS or width * len(lows) > MAX_THRESHOLDS:
        raise OverflowError(f"{width + 1} levels")
    counts = climb.astype(np.int64)
    thresholds: Integers = np.empty((width, len(lows)), lows.dtype)
    block = max(_PROBES // max(len(lows), 1), 1)
    for start in range(0, width, block):
        level = np.arange(start, min(start + block, width))[:, None] + 1
        reached = _bisect(function, lows, highs, first + rise * np.minimum(level, counts), rise)
        thresholds[start : start + block] = np.where(level <= counts, reached, highs + 1)
    return Levels(integer_array(thresholds.T), integer_array(first), rise, counts, lows, highs)


def _bisect(
    function: Function, lows: Integers, highs: Integers, target: Integers, rise: Integers
) -> Integers:
    """Return the least inputs that reach each target, given that the greatest ones do."""
    below: Integers = np.broadcast_to(lows, target.shape)  # where it is not reached
    reached: Integers = np.broadcast_to(highs, target.shape)
    for _ in range(int((highs - lows).max(initial=0)).bit_length()):
        middle = below + (reached - below) // 2
        at_least = np.asarray((function(middle) - target) * rise >= 0, np.bool_)
        reached = np.where(at_least, middle, reached)
        below = np.where(at_least, below, middle)
    return reached


def enumerate_function(function: Function, lows: Integers, highs: Integers) -> Integers | None:
    """Return all values, ``(n, entries)``, or ``None`` where the grid is too large."""
    lows, highs = roomy(lows, highs)
    span = int((highs - lows).max(initial=0))
    if span >= MAX_ENUMERATED or span * len(lows) > MAX_THRESHOLDS:
        return None
    parts = list[Integers]()
    block = max(_PROBES // max(len(lows), 1), 1)
    for start in range(0, span + 1, block):
        step = np.arange(start, min(start + block, span + 1))[:, None]
        parts.append(function(np.minimum(lows + step, highs)))
    return integer_array(np.concatenate(parts).T)


def _direction_by_enumeration(
    function: Function, lows: Integers, highs: Integers
) -> NDArray[np.int8] | None:
    table = enumerate_function(function, lows, highs)
    if table is None:
        raise NotMonotone
    before, after = table[:, :-1], table[:, 1:]
    rises: NDArray[np.bool_] = np.all(after >= before, axis=1)
    falls: NDArray[np.bool_] = np.all(after <= before, axis=1)
    if not np.all(rises | falls):
        return None
    return np.where(rises, 1, -1).astype(np.int8)
