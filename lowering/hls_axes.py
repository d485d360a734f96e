"""Loops along an axis of an image: what each step reads, and which output it completes.

A window slides along rows, and in each row along columns. One axis of it is a table of
positions: for each output, of each tap, -1 outside of the image. A plan walks through
positions once, so that each is read when it comes, and says with affine conditions on the
step what is to be done. Tables that fit neither plan have none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.ir.affine import (
    AffineConstantExpr,
    AffineConstraintExpr,
    AffineConstraintKind,
    AffineDimExpr,
    AffineExpr,
)

from fastml.dialects.array import ConstantArray
from fastml.dialects.qflow_windows import FILL, Table, columns_of

Condition: TypeAlias = tuple[AffineConstraintExpr, ...]
"""All of these hold; the ones before hold where the later ones are evaluated."""

Bits: TypeAlias = NDArray[np.bool_]


def at_least(expr: AffineExpr, low: int) -> AffineConstraintExpr:
    """Return ``expr >= low``."""
    return AffineConstraintExpr(AffineConstraintKind.ge, expr - low, AffineConstantExpr(0))


def at_most(expr: AffineExpr, high: int) -> AffineConstraintExpr:
    """Return ``expr <= high``."""
    left = AffineConstantExpr(high) - expr
    return AffineConstraintExpr(AffineConstraintKind.ge, left, AffineConstantExpr(0))


def equals(expr: AffineExpr, number: int) -> AffineConstraintExpr:
    """Return ``expr == number``."""
    return AffineConstraintExpr(AffineConstraintKind.eq, expr - number, AffineConstantExpr(0))


def between(expr: AffineExpr, low: int, high: int, possible: tuple[int, int]) -> Condition:
    """Return ``low <= expr <= high``, without what is so of all ``possible`` values."""
    found = list[AffineConstraintExpr]()
    if possible[0] < low:
        found.append(at_least(expr, low))
    if possible[1] > high:
        found.append(at_most(expr, high))
    return tuple(found)


@dataclass(frozen=True)
class Slide:
    """An axis whose taps lie on a line: a step for each position, pads among them.

    Step ``s`` is at position ``s + first``. Tap ``k`` sees what came ``ages[k]`` steps before.
    Output ``x`` is complete at position ``ready + x * stride``.
    """

    size: int
    first: int
    steps: int
    ready: int
    stride: int
    outputs: int
    ages: tuple[int, ...]

    @classmethod
    def of(cls, table: Table, size: int) -> "Slide | None":
        """Return the plan for a table ``(outputs, taps)`` of positions up to ``size``."""
        outputs, taps = table.shape
        line = columns_of(ConstantArray(np.asarray(table, np.int64)), size)
        if line is None:
            return None
        reach = (taps - 1) * line.dilation
        ready = reach - line.pad
        first = min(0, ready)
        last = max(size - 1, ready + (outputs - 1) * line.stride)
        ages = tuple(reach - k * line.dilation for k in range(taps))
        return cls(size, first, last - first + 1, ready, line.stride, outputs, ages)

    @property
    def possible(self) -> tuple[int, int]:
        """First and last position."""
        return self.first, self.first + self.steps - 1

    def position(self, step: AffineExpr) -> AffineExpr:
        """Return the position of a step."""
        return step + self.first if self.first else step

    def inside(self, step: AffineExpr, age: int = 0) -> Condition:
        """Return when the position of ``age`` steps before is one of the image."""
        return between(self.position(step), age, self.size - 1 + age, self.possible)

    def outside_ever(self, age: int) -> bool:
        """Whether a tap of some output is outside of the image."""
        low = self.ready - age
        return low < 0 or low + (self.outputs - 1) * self.stride >= self.size

    def completes(self, step: AffineExpr) -> Condition:
        """Return when an output is complete."""
        here, last = self.position(step), self.ready + (self.outputs - 1) * self.stride
        found = between(here, self.ready, last, self.possible)
        if self.stride > 1 and self.outputs > 1:
            found += (equals((here - self.ready) % self.stride, 0),)
        elif self.stride > 1:
            found = (equals(here, self.ready),)
        return found

    def output(self, step: AffineExpr) -> AffineExpr:
        """Return which output it is."""
        found = self.position(step) - self.ready
        return found // self.stride if self.stride > 1 else found


@dataclass(frozen=True)
class Repeat:
    """An axis of one tap, whose positions are repeated or mixed with constants.

    A step goes on to the next position, or stays; it gives an output, or not yet.
    """

    size: int
    steps: int
    moves: "Pattern"
    """Steps that go on to the next position."""
    gives: "Pattern"
    """Steps that give an output."""
    real: "tuple[int, int] | None"
    """First and last of those whose output is no constant; ``None``: those that move."""

    @classmethod
    def of(cls, table: Table, size: int) -> "Repeat | None":
        """Return the plan for a table ``(outputs, 1)`` of positions up to ``size``."""
        if table.shape[1] != 1:
            return None
        walked = _walk(table[:, 0].tolist(), size)
        if walked is None:
            return None
        moved, given, real = (np.array(column) for column in zip(*walked, strict=True))
        moves, gives = Pattern.of(moved), Pattern.of(given)
        inner = None if np.array_equal(moved & given, real) else _interval(real)
        if moves is None or gives is None:
            return None
        if inner is not None and not _is_interval(real, given):
            return None
        return cls(size, len(moved), moves, gives, inner)

    @property
    def possible(self) -> tuple[int, int]:
        """First and last step."""
        return 0, self.steps - 1

    def goes_on(self, step: AffineExpr) -> Condition:
        """Return when a step goes on."""
        return self.moves.condition(step, self.possible)

    def always_goes_on(self) -> bool:
        """Whether all steps do, so that no position is met again."""
        return not self.moves.condition(AffineDimExpr(0), self.possible)

    def completes(self, step: AffineExpr) -> Condition:
        """Return when an output is given."""
        return self.gives.condition(step, self.possible)

    def output(self, step: AffineExpr) -> AffineExpr:
        """Return which output it is."""
        return self.gives.place(step)

    def is_real(self, step: AffineExpr) -> Condition:
        """Return when an output that is given is no constant."""
        if self.real is None:
            return self.goes_on(step)
        return between(step, *self.real, self.gives.full)


def _walk(positions: Sequence[int], size: int) -> list[tuple[bool, bool, bool]] | None:
    """Return of each step if it moves, gives an output, and if that is no constant."""
    steps, here = list[tuple[bool, bool, bool]](), -1
    for position in positions:
        if position == FILL:
            steps.append((False, True, False))
        elif position < here:
            return None
        elif position == here:
            steps.append((False, True, True))
        else:
            steps += [(True, False, False)] * (position - here - 1)
            steps.append((True, True, True))
            here = position
    return steps + [(True, False, False)] * (size - 1 - here)


def _interval(bits: Bits) -> tuple[int, int]:
    (places,) = np.nonzero(bits)
    return int(places[0]), int(places[-1])


def _is_interval(bits: Bits, among: Bits) -> bool:
    """Return whether no step ``among`` is missing between the first and the last."""
    low, high = _interval(bits)
    return bool((bits | ~among)[low : high + 1].all())


@dataclass(frozen=True)
class Pattern:
    """Steps ``s`` of an interval with ``(rise * s + offset) mod run < rise``.

    In them, ``(rise * s + offset) floordiv run`` counts up from 0.
    """

    full: tuple[int, int]
    rise: int
    run: int
    offset: int

    @classmethod
    def of(cls, bits: Bits) -> "Pattern | None":
        """Find the pattern of some steps, if there is one."""
        low, high = _interval(bits)
        steps = np.arange(low, high + 1)
        counts = np.cumsum(bits[low : high + 1]) - 1
        for run in range(1, len(steps) + 1):
            about = run * int(counts[-1]) // max(high - low, 1)
            for rise in range(max(about - 1, 1), min(about + 2, run) + 1):
                least = int((counts * run - rise * steps).max())
                most = int((counts * run + run - 1 - rise * steps).min())
                # The first step counts, so that the sum is less than the rise there.
                most = min(most, rise - 1 - rise * low)
                if least <= most:
                    return cls((low, high), rise, run, least)
        return None

    def place(self, step: AffineExpr) -> AffineExpr:
        """Return what the steps count."""
        if self.run == self.rise:
            return step - self.full[0]
        return (step * self.rise + self.offset) // self.run

    def condition(self, step: AffineExpr, possible: tuple[int, int]) -> Condition:
        """Return when a step belongs to the pattern."""
        found = between(step, *self.full, possible)
        if self.run == self.rise:
            return found
        rest = (step * self.rise + self.offset) % self.run
        if self.rise == 1:
            return (*found, equals(rest, 0))
        return (*found, at_most(rest, self.rise - 1))
