"""Streams in the ``qflow`` dialect: FIFOs, and changes of the number of beats a frame.

A graph with FIFOs is a network of processes: stages joined by ``pulse`` channels are one
process, which runs by a static schedule from the cycle in which it takes a beat out of its
FIFOs. Changing the number of beats is a process of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from xdsl.dialects.builtin import IntAttr, StringAttr
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from fastml.dialects.array import Integers, integer_array
from fastml.dialects.assembly import Integer
from fastml.dialects.channel import ChannelType, Protocol, channel_of
from fastml.dialects.qflow_stage import require


@irdl_op_definition
class FifoOp(IRDLOperation):
    """A FIFO of ``depth`` beats: the beats of its operand, when its one reader takes them.

    A slot is in use from the cycle in which the beat's writer fired until it is popped.
    """

    name = "qflow.fifo"

    edge = prop_def(StringAttr)
    """Name of the FIFO, unlike that of any other edge."""
    input = operand_def(ChannelType)
    depth = prop_def(IntAttr)
    result = result_def(ChannelType)

    irdl_options = (ParsePropInAttrDict(),)
    traits = traits_def(Pure())
    custom_directives = (Integer,)
    assembly_format = (
        "$edge `(` $input `)` `depth` custom<Integer>($depth) attr-dict"
        " `:` type($input) `->` type($result)"
    )

    def __init__(self, edge: str, input: SSAValue, depth: int):
        super().__init__(
            operands=[input],
            properties={"edge": StringAttr(edge), "depth": IntAttr(depth)},
            result_types=[channel_of(input).with_protocol(Protocol.RV)],
        )

    def verify_(self) -> None:
        """Check depth and types."""
        require(self.depth.data >= 1, f"the depth must be >= 1, got {self.depth.data}")
        expected = channel_of(self.input).with_protocol(Protocol.RV)
        require(self.result.type == expected, f"the result must be {expected}")


class BeatsOp(IRDLOperation, ABC):
    """A process of its own that changes the number or the order of beats, between FIFOs."""

    edge = prop_def(StringAttr)
    input = operand_def(ChannelType)
    result = result_def(ChannelType)

    irdl_options = (ParsePropInAttrDict(),)
    traits = traits_def(Pure())
    assembly_format = "$edge `(` $input `)` attr-dict `:` type($input) `->` type($result)"

    def _build(
        self,
        edge: str,
        input: SSAValue,
        result: Attribute,
        parameters: Mapping[str, Attribute] | None = None,
    ) -> None:
        super().__init__(
            operands=[input],
            properties={"edge": StringAttr(edge), **(parameters or {})},
            result_types=[result],
        )

    @abstractmethod
    def convert(self, values: Integers) -> Integers:
        """Map beats of the operand, ``(frames * beats, elements)``, to those of the result."""

    def verify_(self) -> None:
        """Check the protocol, then all else."""
        require(not channel_of(self.result).is_stream, "only a FIFO gives a channel of 'rv'")
        self.verify_change()

    @abstractmethod
    def verify_change(self) -> None:
        """Check parameters, sizes and ranges."""

    def verify_ranges(self, expected: ChannelType) -> None:
        """Check that the result has the exact ranges of ``expected``."""
        actual = channel_of(self.result)
        lows, highs = expected.lows, expected.highs
        for element in np.flatnonzero((lows != actual.lows) | (highs != actual.highs))[:1].tolist():
            require(
                False,
                f"element {element} of the result ranges over {lows[element]}..{highs[element]}, "
                f"its type says {actual.lows[element]}..{actual.highs[element]}",
            )


class RegroupOp(BeatsOp, ABC):
    """A change between whole beats and their parts, which keeps the elements in order."""

    @property
    @abstractmethod
    def whole(self) -> SSAValue:
        """The channel of fewer beats."""

    @property
    @abstractmethod
    def parts(self) -> SSAValue:
        """The channel that has ``count`` beats for each of them."""

    @property
    def count(self) -> int:
        """Parts of a whole beat."""
        return channel_of(self.parts).beats.data // channel_of(self.whole).beats.data

    def verify_change(self) -> None:
        """Check sizes and ranges."""
        whole, parts = channel_of(self.whole), channel_of(self.parts)
        wholes, beats = whole.beats.data, parts.beats.data
        require(beats % wholes == 0, f"{beats} beats are no whole number for each of {wholes}")
        lanes = lanes_of(len(whole), self.count)
        require(
            len(parts) == lanes,
            f"{len(whole)} elements in {self.count} beats are {lanes} a beat",
        )
        self.verify_lanes(*lane_ranges(whole, self.count))

    @abstractmethod
    def verify_lanes(self, lows: Integers, highs: Integers) -> None:
        """Check the ranges against those that the lanes have given the whole beat's."""


@irdl_op_definition
class SerialiseOp(RegroupOp):
    """Each beat of N elements, sent in b beats of P = ceil(N / b).

    Beat ``k`` of them holds the elements from ``k * P`` on, and zeros beyond the last of them.
    """

    name = "qflow.serialise"

    def __init__(self, edge: str, input: SSAValue, beats: int):
        source = channel_of(input)
        shape = (lanes_of(len(source), beats),)
        total = beats * source.beats.data
        self._build(edge, input, ChannelType.of(shape, *lane_ranges(source, beats), beats=total))

    @property
    def whole(self) -> SSAValue:
        """The operand."""
        return self.input

    @property
    def parts(self) -> SSAValue:
        """The result."""
        return self.result

    def convert(self, values: Integers) -> Integers:
        """Split each beat."""
        return split_beats(values, self.count)

    def verify_lanes(self, lows: Integers, highs: Integers) -> None:
        """Check that each lane has exactly what it carries in some beat."""
        actual = channel_of(self.result)
        differs = np.flatnonzero((lows != actual.lows) | (highs != actual.highs))
        for lane in differs[:1].tolist():
            require(False, f"lane {lane} ranges over {lows[lane]}..{highs[lane]}")


@irdl_op_definition
class DeserialiseOp(RegroupOp):
    """b beats of P elements at a time, gathered into one of N; what lies beyond N is dropped.

    Elements may have narrower ranges than their lane: that is a promise of who writes the
    stream, which the interpreter checks.
    """

    name = "qflow.deserialise"

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        shape: Sequence[int],
        lows: Integers,
        highs: Integers,
        beats: int = 1,
    ):
        self._build(edge, input, ChannelType.of(shape, lows, highs, beats=beats))

    @property
    def whole(self) -> SSAValue:
        """The result."""
        return self.result

    @property
    def parts(self) -> SSAValue:
        """The operand."""
        return self.input

    def convert(self, values: Integers) -> Integers:
        """Join the parts of each beat."""
        return join_beats(values, self.count, len(channel_of(self.result)))

    def verify_lanes(self, lows: Integers, highs: Integers) -> None:
        """Check that no lane is too narrow for what it brings."""
        actual = channel_of(self.input)
        outside = np.flatnonzero((lows < actual.lows) | (highs > actual.highs))
        for lane in outside[:1].tolist():
            require(False, f"lane {lane} must range over {lows[lane]}..{highs[lane]}")


def lanes_of(elements: int, beats: int) -> int:
    """Return how many elements a beat holds if a whole of ``elements`` is sent in ``beats``."""
    return -(-elements // beats)


def lane_ranges(whole: ChannelType, beats: int) -> tuple[Integers, Integers]:
    """Return the range of each lane over the parts of a beat, 0 where a part is padded."""
    lows = split_beats(whole.lows[None], beats)
    highs = split_beats(whole.highs[None], beats)
    return integer_array(lows.min(axis=0)), integer_array(highs.max(axis=0))


def split_beats(frames: Integers, beats: int) -> Integers:
    """Split wholes ``(count, elements)`` into ``(count * beats, lanes)``, zeros at the end."""
    count, elements = frames.shape
    lanes = lanes_of(elements, beats)
    padded = np.zeros((count, beats * lanes), frames.dtype)
    padded[:, :elements] = frames
    return padded.reshape(count * beats, lanes)


def join_beats(values: Integers, beats: int, elements: int) -> Integers:
    """Invert :func:`split_beats`."""
    return values.reshape(-1, beats * int(values.shape[1]))[:, :elements]
