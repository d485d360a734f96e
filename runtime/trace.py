"""Stimuli and traces: what goes into a design, and what comes out in which cycle.

One pair of plain records serves every level, Verilator and emulated C++ (so that any two
can be compared). Time is counted in clock cycles; cycle 0 is the edge at which the first
input beat is accepted. Values are integers as the hardware holds them (a bipolar element is
its bit), in arrays of shape ``(beats, elements)``: ``int64`` where 63 bits are enough,
``object`` (Python integers) otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[Any]
"""Exact integers: ``int64`` where they fit, Python integers where they do not."""


@dataclass(frozen=True)
class Stimulus:
    """Input beats of every port, and the idle cycles before each frame.

    ``beats[port]`` has shape ``(frames * beats_per_frame, elements)``. ``gaps[f]`` is the
    number of cycles beyond the initiation interval that pass before frame ``f`` is offered;
    ``gaps[0]`` delays the first frame after reset and moves no cycle count, which starts at
    the first accepted beat.
    """

    beats: Mapping[str, Integers]
    gaps: NDArray[np.int64]
    restart: bool = False
    """Whether a reset with other beats in flight comes before; it must leave no trace."""

    @property
    def frames(self) -> int:
        """Number of frames offered."""
        return len(self.gaps)

    def offer_cycles(self, initiation_interval: int) -> NDArray[np.int64]:
        """Cycle in which each frame is offered, the first one in cycle 0."""
        distance = self.gaps + initiation_interval
        distance[:1] = 0
        return np.cumsum(distance)


@dataclass(frozen=True)
class Signal:
    """What was seen on one port or one tapped edge: integers and their cycles.

    ``cycles`` has the shape of ``values`` where elements of one beat may appear in different
    cycles (a tap inside a parallel design), else ``(beats, 1)``.
    """

    values: Integers
    cycles: NDArray[np.int64]


@dataclass(frozen=True)
class Trace:
    """Output beats, and every tapped edge, of one simulation."""

    outputs: Mapping[str, Signal]
    taps: Mapping[str, Signal] = field(default_factory=dict[str, Signal])

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Cycle of each output beat, over all ports: the later one where they differ."""
        last = [signal.cycles.max(axis=1) for signal in self.outputs.values()]
        return np.max(np.stack(last), axis=0)


def back_to_back(beats: Mapping[str, Integers], frames: int) -> Stimulus:
    """Offer every frame as early as the initiation interval allows."""
    return Stimulus(beats, np.zeros(frames, np.int64))


def pack(values: Integers, widths: Sequence[int]) -> list[int]:
    """Pack each row little-endian, element 0 in the low bits, each at its own width."""
    words = [0] * len(values)
    offset = 0
    for column, width in enumerate(widths):
        mask = (1 << width) - 1
        for row, value in enumerate(values[:, column].tolist()):
            words[row] |= (int(value) & mask) << offset
        offset += width
    return words


def unpack(words: Sequence[int], widths: Sequence[int], signed: Sequence[bool]) -> Integers:
    """Invert :func:`pack`; ``signed`` says which elements are two's complement."""
    columns: list[list[int]] = []
    offset = 0
    for width, is_signed in zip(widths, signed, strict=True):
        mask, sign = (1 << width) - 1, (1 << width) >> 1 if is_signed else 0
        columns.append([(((w >> offset) & mask) ^ sign) - sign for w in words])
        offset += width
    exact = np.array(columns, dtype=object).T.reshape(len(words), len(columns))
    return narrow(exact)


def narrow(values: Integers) -> Integers:
    """Store as ``int64`` where every value fits."""
    if values.dtype != object or not values.size:
        return values.astype(np.int64)
    low, high = min(values.flat), max(values.flat)
    return values.astype(np.int64) if -(2**63) <= low and high < 2**63 else values


@dataclass(frozen=True)
class PortLayout:
    """The elements of a port, packed little-endian, element 0 in the low bits."""

    name: str
    widths: tuple[int, ...]
    signed: tuple[bool, ...]


@dataclass(frozen=True)
class TapLayout:
    """The elements of a tapped edge on a wire, and when each is there."""

    name: str
    """The edge, as traces call it."""
    wire: str
    """The wire in the hardware that carries it."""
    widths: tuple[int, ...]
    signed: tuple[bool, ...]
    offsets: tuple[int, ...]
    """Cycles from the input beat of a frame to each element."""
