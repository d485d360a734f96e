"""What the lanes of a folded stage add up: terms, their ranges, and those of all sums.

A multiplier makes one term: weight times input. Shifts and additions make one for each
signed digit of the weight; a negative one is the complement, ``-w * x - 1``, and the ones
that are missing are part of what the accumulator starts with.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastml.dialects.array import Integers, integer_array
from fastml.dialects.qflow_folded import FoldedAttr, Products
from fastml.dialects.qflow_linear import loaded_ranges
from fastml.lowering.cmvm.csd import compact
from fastml.lowering.folding import Indices, Layer, Slots, places_of, planned_slots

Bounds = tuple[Integers, Integers]


def digits_of(weights: Integers) -> Integers:
    """Return weights as sums of signed powers of two, along a new last axis."""
    planes = compact(weights).astype(np.int64)
    number = np.cumsum(planes != 0, axis=0)
    count = max(int(number[-1].max(initial=0)), 1)
    powers = planes << np.arange(len(planes)).reshape(-1, *[1] * weights.ndim)
    return np.stack(
        [np.where(number == k + 1, powers, 0).sum(axis=0) for k in range(count)], axis=-1
    )


@dataclass(frozen=True)
class Terms:
    """The terms of every lane; arrays go by cycle, group and term."""

    layer: Layer
    slots: Slots
    index: Indices
    weight: Integers
    complement: bool
    """Negative terms are complements."""
    low: Integers
    high: Integers
    bias: Integers
    """What the accumulator of each output starts with, by output element."""
    places: Indices | None = None
    """Place of each weight in the matrix, -1 where a lane idles: of weights that are loaded."""

    @cached_property
    def start(self) -> Integers:
        """What the accumulator starts with where it restarts, by cycle and group."""
        slots = self.slots
        start = np.where(slots.first, self.bias.astype(object)[slots.output], 0)
        for runs in slots.split.values():
            for run in runs[1:]:  # the first one has the bias
                start[run.start, run.group] = 0
        if self.complement:
            missing = (self.weight < 0).sum(axis=2)
            for run in slots.runs:
                start[run.start, run.group] += int(missing[run.start : run.stop, run.group].sum())
        return integer_array(start)

    @cached_property
    def live(self) -> list[list[int]]:
        """Terms of each group that are not always 0."""
        some = self.weight != 0 if self.places is None else self.places >= 0
        used = np.any(some, axis=0)
        return [np.flatnonzero(row).tolist() for row in used]

    @cached_property
    def totals(self) -> Bounds:
        """Range of what is added in each cycle, by cycle and group."""
        wide = self.low.astype(object), self.high.astype(object)
        low, high = (integer_array(bound.sum(axis=2)) for bound in wide)
        return low, high

    @cached_property
    def running(self) -> Bounds:
        """Range of the accumulator after each cycle, by cycle and group."""
        low, high = (bound.astype(object) for bound in self.totals)
        first, start = self.slots.first, self.start.astype(object)
        lows, highs = list[Integers](), list[Integers]()
        for cycle in range(len(low)):
            before = (lows[-1], highs[-1]) if lows else (start[0], start[0])
            base = [np.where(first[cycle], start[cycle], bound) for bound in before]
            lows.append(base[0] + low[cycle])
            highs.append(base[1] + high[cycle])
        return integer_array(np.stack(lows)), integer_array(np.stack(highs))

    def levels(self, group: int) -> list[Bounds]:
        """Return the ranges over time of each level of a group's adder tree, by node."""
        chosen = self.live[group]
        low = self.low[:, group, chosen].astype(object)
        high = self.high[:, group, chosen].astype(object)
        levels = list[Bounds]()
        while low.shape[1]:
            levels.append((low.min(axis=0), high.max(axis=0)))
            if low.shape[1] == 1:
                break
            low, high = (_pairs(bound) for bound in (low, high))
        return levels

    @property
    def depth(self) -> int:
        """Levels of adders of the largest tree."""
        return (max(1, *map(len, self.live)) - 1).bit_length()


def _pairs(bound: Integers) -> Integers:
    """Add neighbours along the last axis; an odd one stays alone."""
    paired = bound[:, : bound.shape[1] // 2 * 2]
    added = paired[:, 0::2] + paired[:, 1::2]
    return np.concatenate([added, bound[:, paired.shape[1] :]], axis=1)


def terms_of(layer: Layer, plan: FoldedAttr) -> Terms:
    """Return the terms of a folded layer."""
    slots = planned_slots(layer, plan)
    index, weight = slots.index, slots.weight
    complement = Products(plan.products.data) is Products.SHIFT_ADD
    if complement:
        digits = digits_of(weight)
        index = np.repeat(index, digits.shape[-1], axis=2)
        weight = digits.reshape(index.shape)
    bias = np.tile(layer.bias, layer.positions)
    lows, highs = (bound.astype(object)[index] for bound in (layer.lows, layer.highs))
    if layer.loadable is not None:
        assert not complement, "the verifier demands multipliers"
        places = places_of(layer, slots.shape)
        ends = loaded_ranges(layer.loadable, lows, highs)
        low, high = (integer_array(np.where(places < 0, 0, bound)) for bound in ends)
        return Terms(layer, slots, index, weight, complement, low, high, bias, places)
    wide = weight.astype(object)
    low = np.minimum(wide * lows, wide * highs)
    high = np.maximum(wide * lows, wide * highs)
    if complement:
        negative = (weight < 0).astype(np.int64)
        low, high = low - negative, high - negative
    bounds = integer_array(low), integer_array(high)
    return Terms(layer, slots, index, weight, complement, *bounds, bias)
