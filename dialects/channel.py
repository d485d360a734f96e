"""Channels of the ``qflow`` dialect: what one beat between two stages holds.

A beat is a row of integers. Each element has its own inclusive range, which is exact: the
narrowest width follows from it, and no type says more than can happen.
"""

from collections.abc import Sequence
from enum import auto
from itertools import groupby

import numpy as np
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.dialects.builtin import IntAttr, StringAttr
from xdsl.ir import Attribute, Data, ParametrizedAttribute, SSAValue, TypeAttribute
from xdsl.irdl import irdl_attr_definition, param_def
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from fastml.dialects.array import Integers, integer_array
from fastml.dialects.elements import MAX_ELEMENTS, Elements


class Protocol(StrEnum):
    """How a channel signals: ``pulse`` is valid only; ``rv`` adds ready."""

    PULSE = auto()
    RV = auto()


class Ranges:
    """Inclusive integer range of each element of a beat."""

    __slots__ = ("_elements", "_key", "highs", "lows")

    def __init__(self, lows: Integers, highs: Integers):
        self.lows = integer_array(lows).reshape(-1)
        self.highs = integer_array(highs).reshape(-1)
        self._key = (tuple(self.lows.tolist()), tuple(self.highs.tolist()))
        self._elements: Elements | None = None

    def __len__(self) -> int:
        return len(self.lows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        runs: list[str] = []
        for (low, high), run in groupby(zip(*self._key, strict=True)):
            count = len(list(run))
            runs.append(f"{count} x {low}..{high}" if count > 1 else f"{low}..{high}")
        return ", ".join(runs)

    __repr__ = __str__

    @classmethod
    def parse(cls, text: str) -> "Ranges":
        """Parse what ``str`` prints; raise ``ValueError`` on anything else."""
        lows, highs = list[int](), list[int]()
        for run in text.split(", ") if text else []:
            count_text, times, bounds = run.rpartition(" x ")
            count = int(count_text) if times else 1
            low, dots, high = bounds.partition("..")
            if not dots or count < 1 or len(lows) + count > MAX_ELEMENTS:
                raise ValueError(f"'{run}' is not a run of ranges such as '16 x -8..7'")
            lows += [int(low)] * count
            highs += [int(high)] * count
        return cls(np.array(lows, object), np.array(highs, object))

    @property
    def elements(self) -> Elements:
        """Narrowest layout that holds every element."""
        if self._elements is None:
            self._elements = Elements.of_ranges(*self._key)
        return self._elements


@irdl_attr_definition
class RangesAttr(Data[Ranges]):
    """``#qflow.ranges<"16 x -8..7">``."""

    name = "qflow.ranges"

    def print_parameter(self, printer: Printer) -> None:
        """Print the runs in one string."""
        with printer.in_angle_brackets():
            printer.print_string_literal(str(self.data))

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Ranges:
        """Parse the runs."""
        with parser.in_angle_brackets():
            return _parse_ranges(parser)


def _parse_ranges(parser: AttrParser) -> Ranges:
    start = parser.pos
    try:
        return Ranges.parse(parser.parse_str_literal())
    except ValueError as error:
        parser.raise_error(str(error), start, parser.pos)


@irdl_attr_definition
class ChannelType(ParametrizedAttribute, TypeAttribute):
    """``!qflow.channel<pulse, 1x16, "16 x -32768..32767">``: protocol, shape, ranges.

    A frame is one beat, or as many as a last parameter says; shape and ranges are those of
    one beat: ``!qflow.channel<rv, 4, "4 x 0..3", 196>``.
    """

    name = "qflow.channel"

    protocol: StringAttr = param_def(
        converter=lambda p: p if isinstance(p, StringAttr) else StringAttr(p)
    )
    shape: ListAttr[IntAttr]
    ranges: RangesAttr
    beats: IntAttr = param_def(converter=IntAttr.get)
    """Beats a frame."""

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        lows: Integers,
        highs: Integers,
        *,
        beats: int = 1,
        protocol: Protocol = Protocol.PULSE,
    ) -> "ChannelType":
        """Build a channel from the shape of a beat and its ranges."""
        return cls(
            StringAttr(protocol),
            ListAttr([IntAttr(int(size)) for size in shape]),
            RangesAttr(Ranges(lows, highs)),
            IntAttr(beats),
        )

    def with_protocol(self, protocol: Protocol) -> "ChannelType":
        """Return the type of the same beats under another protocol."""
        return ChannelType(StringAttr(protocol), self.shape, self.ranges, self.beats)

    @property
    def is_stream(self) -> bool:
        """Whether the protocol is ``rv``."""
        return Protocol(self.protocol.data) is Protocol.RV

    @property
    def lows(self) -> Integers:
        """Smallest value of each element, flat."""
        return self.ranges.data.lows

    @property
    def highs(self) -> Integers:
        """Largest value of each element, flat."""
        return self.ranges.data.highs

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Shape of a beat."""
        return tuple(size.data for size in self.shape)

    @property
    def elements(self) -> Elements:
        """Layout of a beat."""
        return self.ranges.data.elements

    def __len__(self) -> int:
        return len(self.ranges.data)

    def verify(self) -> None:
        """Check protocol, size and that no range is empty."""
        try:
            Protocol(self.protocol.data)
        except ValueError:
            raise VerifyException(f"unknown protocol '{self.protocol.data}'") from None
        if self.beats.data < 1:
            raise VerifyException(f"a frame has at least one beat, not {self.beats.data}")
        if int(np.prod(self.dimensions, dtype=object)) != len(self):
            raise VerifyException(f"{len(self)} ranges for a beat of shape {self.dimensions}")
        if len(self) and np.any(self.lows > self.highs):
            raise VerifyException("a range is empty: its low is above its high")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse ``<pulse, 1x16, "ranges", beats>``; a scalar beat has shape ``scalar``."""
        with parser.in_angle_brackets():
            protocol = parser.parse_identifier("a protocol")
            parser.parse_punctuation(",")
            dimensions = list[IntAttr]()
            if parser.parse_optional_keyword("scalar") is None:
                dimensions = [IntAttr(d) for d in parser.parse_dimension_list()]
            parser.parse_punctuation(",")
            ranges = _parse_ranges(parser)
            beats = 1
            if parser.parse_optional_punctuation(",") is not None:
                beats = parser.parse_integer(allow_boolean=False)
        return StringAttr(protocol), ListAttr(dimensions), RangesAttr(ranges), IntAttr(beats)

    def print_parameters(self, printer: Printer) -> None:
        """Print ``<pulse, 1x16, "ranges">``, and the beats where a frame has several."""
        shape = "x".join(str(d) for d in self.dimensions) or "scalar"
        with printer.in_angle_brackets():
            printer.print_string(f"{self.protocol.data}, {shape}, ")
            printer.print_string_literal(str(self.ranges.data))
            if self.beats.data != 1:
                printer.print_string(f", {self.beats.data}")


def channel_of(value: SSAValue) -> ChannelType:
    """Return the type of a channel."""
    assert isinstance(value.type, ChannelType)
    return value.type


def stage_channel(
    sources: Sequence[SSAValue], shape: Sequence[int], lows: Integers, highs: Integers
) -> ChannelType:
    """Return the type of a stage's result: as many beats a frame as its operands have."""
    beats = channel_of(sources[0]).beats.data if sources else 1
    return ChannelType.of(shape, lows, highs, beats=beats)
