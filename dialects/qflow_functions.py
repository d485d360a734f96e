"""Stages of the ``qflow`` dialect that map each element by itself: rescale, compare, look up."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import auto
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, SpacedOpaqueSyntaxAttribute, SSAValue
from xdsl.irdl import irdl_attr_definition, irdl_op_definition, operand_def, prop_def
from xdsl.utils.str_enum import StrEnum

from fastml.dialects.adder_graph import MAX_SHIFT
from fastml.dialects.array import ArrayAttr, Integers, integer_array
from fastml.dialects.channel import ChannelType, channel_of, stage_channel
from fastml.dialects.qflow_stage import StageOp, properties_of, require, require_integers

_FEW = 8
"""Up to so many thresholds, comparing with each beats searching."""


class Rounding(StrEnum):
    """What :class:`RescaleOp` does with the bits it drops."""

    FLOOR = auto()
    HALF_UP = auto()
    HALF_EVEN = auto()


@irdl_attr_definition
class RoundingAttr(EnumAttribute[Rounding], SpacedOpaqueSyntaxAttribute):
    """A rounding mode (ties towards +infinity, or to even)."""

    name = "qflow.rounding"


class ElementStageOp(StageOp, ABC):
    """A stage that maps each element of its one operand by itself; monotone or a table."""

    input = operand_def(ChannelType)

    assembly_format = "$edge `(` $input `)` attr-dict `:` type($input) `->` type($result)"

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channel."""
        return [self.input]

    @abstractmethod
    def evaluate(self, x: Integers) -> Integers:
        """Map beats of shape ``(frames, elements)``."""

    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return the images of the ends of the operand's ranges (monotone stages)."""
        source = channel_of(self.input)
        ends = np.stack([source.lows, source.highs])
        images = self.evaluate(ends)
        return integer_array(images.min(axis=0)), integer_array(images.max(axis=0))


def rescale(x: Integers, offset: Integers, shift: Integers, rounding: Rounding) -> Integers:
    """Return ``round((x + offset) / 2**shift)``, exactly.

    In ``int64`` where nothing can overflow, else in Python integers.
    """
    ends = [int(v) for a in (x, offset) for v in (a.min(initial=0), a.max(initial=0))]
    wide = object in (x.dtype, offset.dtype) or max(map(abs, ends)) >= 1 << 60
    if wide or np.any(shift > 60):
        x, offset, shift = x.astype(object), offset.astype(object), shift.astype(object)
    moved = x + offset
    if rounding is Rounding.FLOOR:
        return moved >> shift
    one = np.ones_like(shift)
    half = np.where(shift > 0, one << np.maximum(shift - 1, 0), 0)
    if rounding is Rounding.HALF_EVEN:
        odd = (moved >> shift) & 1
        half = np.where(shift > 0, half - 1 + odd, 0)
    return (moved + half) >> shift


@irdl_op_definition
class RescaleOp(ElementStageOp):
    """``y[i] = clamp(round((x[i] + offset[i]) / 2**shift[i]), low[i], high[i])``."""

    name = "qflow.rescale"

    offset = prop_def(ArrayAttr)
    shift = prop_def(ArrayAttr)
    rounding = prop_def(RoundingAttr)
    low = prop_def(ArrayAttr)
    high = prop_def(ArrayAttr)

    assembly_format = "$edge `(` $input `)` $rounding attr-dict `:` type($input) `->` type($result)"

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        offset: Integers,
        shift: Integers,
        rounding: Rounding,
        low: Integers,
        high: Integers,
        shape: Sequence[int],
    ):
        source = channel_of(input)
        parameters: dict[str, Attribute] = {
            "offset": ArrayAttr.get(offset),
            "shift": ArrayAttr.get(shift),
            "rounding": RoundingAttr(rounding),
            "low": ArrayAttr.get(low),
            "high": ArrayAttr.get(high),
        }
        ends = np.stack([source.lows, source.highs])
        images = np.clip(rescale(ends, offset, shift, rounding), low, high)
        super().__init__(
            operands=[input],
            properties=properties_of(edge, parameters),
            result_types=[stage_channel([input], shape, images[0], images[1])],
        )

    def evaluate(self, x: Integers) -> Integers:
        """Add, shift with rounding, clamp."""
        rounded = rescale(x, self.offset.integers, self.shift.integers, self.rounding.data)
        return integer_array(np.clip(rounded, self.low.integers, self.high.integers))

    @property
    def whole_steps(self) -> Integers:
        """Steps of the result that the offset comes to, 0 where it must be added to the input.

        Whole steps may be added after rounding; but an odd one changes the parity of the
        result, which decides ties.
        """
        even = self.rounding.data is Rounding.HALF_EVEN
        offset, shift = self.offset.integers.astype(object), self.shift.integers.astype(object)
        steps = offset >> shift
        keeps = (steps << shift == offset) & ((steps % 2 == 0) | (shift == 0) | (not even))
        return np.where(keeps, steps, 0)

    @property
    def wired(self) -> NDArray[np.bool_]:
        """Which elements pass unchanged, as wires."""
        source = channel_of(self.input)
        same = (self.offset.integers == 0) & (self.shift.integers == 0)
        inside = (source.lows >= self.low.integers) & (source.highs <= self.high.integers)
        return np.asarray(same & inside, np.bool_)

    def verify_parameters(self) -> None:
        """Check that there is one of each parameter for each element."""
        one_each = (len(channel_of(self.input)),)
        require_integers(self.offset, one_each, "offset")
        shift = require_integers(self.shift, one_each, "shift")
        low = require_integers(self.low, one_each, "low")
        high = require_integers(self.high, one_each, "high")
        require(np.all((shift >= 0) & (shift <= MAX_SHIFT)), f"a shift must be in 0..{MAX_SHIFT}")
        require(np.all(low <= high), "a clamp is empty: its low is above its high")


def round_one(value: int, shift: int, rounding: Rounding) -> int:
    """Return ``round(value / 2**shift)``, exactly."""
    if shift == 0 or rounding is Rounding.FLOOR:
        return value >> shift
    half = 1 << (shift - 1)
    if rounding is Rounding.HALF_EVEN:
        half += ((value >> shift) & 1) - 1
    return (value + half) >> shift


@irdl_op_definition
class ThresholdOp(ElementStageOp):
    """``y[i] = base[i] + direction[i] * #{k: x[i] >= thresholds[i, k]}``, rows sorted.

    Rows shorter than others are padded by one past the largest value of the element, which
    never fires.
    """

    name = "qflow.threshold"

    thresholds = prop_def(ArrayAttr)
    base = prop_def(ArrayAttr)
    direction = prop_def(ArrayAttr)

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        thresholds: Integers,
        base: Integers,
        direction: Integers,
        shape: Sequence[int],
    ):
        source = channel_of(input)
        parameters = {
            "thresholds": ArrayAttr.get(thresholds),
            "base": ArrayAttr.get(base),
            "direction": ArrayAttr.get(direction),
        }
        ends = np.stack([source.lows, source.highs])
        images = count_thresholds(ends, thresholds, base, direction)
        super().__init__(
            operands=[input],
            properties=properties_of(edge, parameters),
            result_types=[stage_channel([input], shape, images.min(axis=0), images.max(axis=0))],
        )

    def evaluate(self, x: Integers) -> Integers:
        """Count the thresholds that each element reaches."""
        return count_thresholds(
            x, self.thresholds.integers, self.base.integers, self.direction.integers
        )

    def verify_parameters(self) -> None:
        """Check shapes, order and direction."""
        count = len(channel_of(self.input))
        rows = self.thresholds.array
        require(
            rows.ndim == 2 and len(rows) == count and rows.dtype != np.float32,
            f"thresholds must be {count} rows of integers",
        )
        require_integers(self.base, (count,), "base")
        direction = require_integers(self.direction, (count,), "direction")
        require(np.all(np.isin(direction, (-1, 1))), "a direction is 1 or -1")
        thresholds = self.thresholds.integers
        require(np.all(thresholds[:, 1:] >= thresholds[:, :-1]), "thresholds must be sorted")


def count_thresholds(
    x: Integers, thresholds: Integers, base: Integers, direction: Integers
) -> Integers:
    """Return ``base + direction * #{k: x >= thresholds[k]}`` for beats ``(frames, n)``."""
    count = np.zeros(x.shape, np.int64)
    if thresholds.shape[1] <= _FEW:
        for column in range(thresholds.shape[1]):
            count += (x >= thresholds[:, column]).astype(np.int64)
    else:
        for element in range(len(thresholds)):
            count[:, element] = np.searchsorted(thresholds[element], x[:, element], "right")
    if base.dtype == object or np.any(np.abs(base >> 1) >= 1 << 60):
        return integer_array(base.astype(object) + direction * count)
    return base + direction * count


@irdl_op_definition
class WrapOp(ElementStageOp):
    """``y[i]`` is the number that the low ``width[i]`` bits of ``x[i]`` are, as wires.

    They are two's complement where ``signed[i]`` is 1, and unsigned where it is 0.
    """

    name = "qflow.wrap"

    width = prop_def(ArrayAttr)
    signed = prop_def(ArrayAttr)

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        width: NDArray[np.int64],
        signed: NDArray[np.int64],
        shape: Sequence[int],
    ):
        parameters = {"width": ArrayAttr.get(width), "signed": ArrayAttr.get(signed)}
        source = channel_of(input)
        lows, highs = _wrapped_ranges(source, width, signed)
        super().__init__(
            operands=[input],
            properties=properties_of(edge, parameters),
            result_types=[stage_channel([input], shape, lows, highs)],
        )

    def evaluate(self, x: Integers) -> Integers:
        """Drop the bits above."""
        return wrap(x, self.width.integers, self.signed.integers)

    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return the operand's range where it stays together, else that of the bits."""
        return _wrapped_ranges(channel_of(self.input), self.width.integers, self.signed.integers)

    def verify_parameters(self) -> None:
        """Check widths and signs."""
        one_each = (len(channel_of(self.input)),)
        width = require_integers(self.width, one_each, "width")
        signed = require_integers(self.signed, one_each, "signed")
        require(np.all((width >= 1) & (width <= MAX_SHIFT)), f"a width is in 1..{MAX_SHIFT}")
        require(np.all(np.isin(signed, (0, 1))), "signed is 0 or 1")


def wrap(x: Integers, width: Integers, signed: Integers) -> Integers:
    """Return the low bits of each element, as numbers."""
    kind = np.int64 if x.dtype != object and np.all(width <= 60) else object
    one = np.ones(width.shape, kind)
    size = one << width.astype(kind)
    low = -(size >> 1) * signed.astype(kind)
    exact = x.astype(kind)
    if kind is np.int64 and np.any(np.abs(exact >> 1) >= 1 << 60):
        return wrap(x.astype(object), width, signed)
    return integer_array(((exact - low) & (size - 1)) + low)


def _wrapped_ranges(
    source: ChannelType, width: Integers, signed: Integers
) -> tuple[Integers, Integers]:
    size = np.ones(width.shape, object) << width.astype(object)
    low = -(size >> 1) * signed.astype(object)
    turns = [(bound.astype(object) - low) // size for bound in (source.lows, source.highs)]
    together = (turns[0] == turns[1]).astype(bool)
    lows = np.where(together, source.lows.astype(object) - turns[0] * size, low)
    highs = np.where(together, source.highs.astype(object) - turns[0] * size, low + size - 1)
    return integer_array(lows), integer_array(highs)


@irdl_op_definition
class LookupOp(ElementStageOp):
    """``y[i] = table[i, x[i] - low]``, where ``low`` is the least value of the element."""

    name = "qflow.lookup"

    table = prop_def(ArrayAttr)

    MAX_ENTRIES: ClassVar[int] = 1 << 16

    def __init__(self, edge: str, input: SSAValue, table: Integers, shape: Sequence[int]):
        source = channel_of(input)
        lows, highs = _table_ranges(source, table)
        super().__init__(
            operands=[input],
            properties=properties_of(edge, {"table": ArrayAttr.get(table)}),
            result_types=[stage_channel([input], shape, lows, highs)],
        )

    def evaluate(self, x: Integers) -> Integers:
        """Look each element up in its row."""
        source = channel_of(self.input)
        index = (x - source.lows).astype(np.int64)
        return self.table.integers[np.arange(len(source)), index]

    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return the extremes of the reachable entries."""
        return _table_ranges(channel_of(self.input), self.table.integers)

    def verify_parameters(self) -> None:
        """Check that every value of every element has an entry."""
        source, table = channel_of(self.input), self.table.array
        require(
            table.ndim == 2 and len(table) == len(source) and table.dtype != np.float32,
            f"table must be {len(source)} rows of integers",
        )
        entries = int((source.highs.astype(object) - source.lows + 1).max(initial=0))
        require(entries <= table.shape[1], f"rows need {entries} entries")
        require(table.shape[1] <= self.MAX_ENTRIES, f"a row has over {self.MAX_ENTRIES} entries")


def _table_ranges(source: ChannelType, table: Integers) -> tuple[Integers, Integers]:
    span = np.minimum(source.highs.astype(object) - source.lows, LookupOp.MAX_ENTRIES)
    last = span.astype(np.int64)
    entry = np.minimum(np.arange(int(table.shape[1])), last[:, None])
    reachable = np.take_along_axis(table, entry, axis=1)
    low, high = reachable.min(axis=1), reachable.max(axis=1)
    return integer_array(low), integer_array(high)
