"""Stimuli and traces: what goes into a design, and what comes out in which cycle.

One pair of plain records serves every level, Verilator and emulated C++ (so that any two
can be compared). Time is counted in clock cycles; cycle 0 is the edge at which the first
input beat is accepted. Values are integers as the hardware holds them (a bipolar element is
its bit), in arrays of shape ``(beats, elements)``: ``int64`` where 63 bits are enough,
``object`` (Python integers) otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.token_flow import FifoRecord

Integers: TypeAlias = NDArray[Any]
"""Exact integers: ``int64`` where they fit, Python integers where they do not."""


@dataclass(frozen=True)
class Stimulus:
    """Input beats of every port, when each is offered, and when outputs are taken.

    ``beats[port]`` has shape ``(frames * beats_per_frame, elements)``. ``gaps[f]`` is the
    number of idle cycles before frame ``f``, at every port; ``gaps[0]`` delays the first frame
    after reset and moves no cycle count.

    Protocol ``pulse``: a frame is one beat of every port, all in the same cycle; ``gaps[f]``
    are cycles beyond the initiation interval. Cycle 0 is that of the first frame.

    Protocol ``rv`` (valid/ready): each port has a source of its own, which knows nothing of
    the initiation interval. Beat ``n`` is presented from cycle ``accept(n - 1) + 1 +
    waits(n)`` on, until the cycle ``accept(n)`` in which the port is ready; the first beat is
    presented from cycle ``waits(0)`` on. :attr:`waits` are ``idle``, and ``gaps`` before the
    first beat of a frame. Cycle 0 is the first in which a beat is presented, which is the
    first in which one is accepted, since an empty design is ready. The sink of output ``y``
    is ready in cycle ``t`` if ``ready[y][t]``, and in every cycle beyond the array's end.
    """

    beats: Mapping[str, Integers]
    gaps: NDArray[np.int64]
    restart: bool = False
    """Whether a reset with other beats in flight comes before; it must leave no trace."""
    idle: Mapping[str, NDArray[np.int64]] = field(default_factory=dict[str, NDArray[np.int64]])
    """Idle cycles before each beat of an ``rv`` input, none where it is not named."""
    ready: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict[str, NDArray[np.bool_]])
    """Whether an ``rv`` output is taken in each cycle, always where it is not named."""
    loads: Mapping[int, Mapping[str, Integers]] = field(
        default_factory=dict[int, Mapping[str, Integers]]
    )
    """Weights that are loaded just before a frame: matrices of shape (inputs, outputs), by the
    edge that their stage makes. Before frame 0, whatever is not named gets the model's own."""

    @property
    def frames(self) -> int:
        """Number of frames offered."""
        return len(self.gaps)

    @property
    def stalled(self) -> bool:
        """Whether anything but the design itself makes a beat wait."""
        later = (self.gaps[1:], *self.idle.values())
        return any(waits.any() for waits in later) or not all(r.all() for r in self.ready.values())

    @property
    def waits(self) -> dict[str, NDArray[np.int64]]:
        """Idle cycles before each beat of each ``rv`` input, from the cycle that could be next.

        Those before the first beats are reduced by as much as makes the least of them 0.
        """
        if unknown := self.idle.keys() - self.beats.keys():
            raise _odd(f"'{min(unknown)}' is no input that has beats")
        found = dict[str, NDArray[np.int64]]()
        for port, beats in self.beats.items():
            count = len(beats)
            idle = self.idle.get(port, np.zeros(count, np.int64))
            if idle.shape != (count,) or (idle < 0).any():
                raise _odd(f"'idle' of '{port}' must be {count} numbers of cycles, one a beat")
            if count and (not self.frames or count % self.frames):
                raise _odd(f"'{port}' has {count} beats for {self.frames} frames")
            found[port] = idle.astype(np.int64)
            if count:
                found[port][:: count // self.frames] += self.gaps
        first = min((int(waits[0]) for waits in found.values() if len(waits)), default=0)
        for waits in found.values():
            waits[:1] -= first
        return found

    def offer_cycles(self, initiation_interval: int) -> NDArray[np.int64]:
        """Cycle in which each frame is offered under ``pulse``, the first one in cycle 0."""
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
    """Output beats, every tapped edge, and when inputs were taken, of one simulation."""

    outputs: Mapping[str, Signal]
    taps: Mapping[str, Signal] = field(default_factory=dict[str, Signal])
    accepted: Mapping[str, NDArray[np.int64]] = field(default_factory=dict[str, NDArray[np.int64]])
    """Cycle in which each beat of an ``rv`` input was accepted, of shape ``(beats,)``."""
    fifos: Mapping[str, FifoRecord] = field(default_factory=dict[str, FifoRecord])
    """When beats came into each FIFO and left it, where a level predicts that (``qflow``)."""

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Cycle of each output beat, over all ports: the later one where they differ.

        Where ports differ in beats, a frame falls into as many parts as all of them can be cut
        into, and the beats of a part are taken together.
        """
        last = [signal.cycles.max(axis=1) for signal in self.outputs.values()]
        beats = math.gcd(*map(len, last)) if all(map(len, last)) else 0
        together = [cycles.reshape(beats, -1) if beats else cycles[:0, None] for cycles in last]
        return np.concatenate(together, axis=1).max(axis=1, initial=0)


def _odd(message: str) -> FastmlError:
    return FastmlError(message, in_file("stimulus"), code="FML-STIMULUS")


def as_frames(values: Integers, frames: int, elements: int | None = None) -> Integers:
    """Put the beats of each frame into one row; cut them to ``elements``, if given."""
    rows = values.reshape(frames, -1) if frames else values.reshape(0, values.shape[1])
    return rows if elements is None else rows[:, :elements]


def as_beats_of(values: Integers, beats: int, elements: int) -> Integers:
    """Split rows of frames into beats of ``elements``; zeros fill the last one up."""
    missing = beats * elements - values.shape[1]
    assert missing >= 0
    filled = np.pad(values, ((0, 0), (0, missing))) if missing else values
    return filled.reshape(len(values) * beats, elements)


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
    protocol: str = "pulse"
    """``pulse`` (valid alone) or ``rv`` (valid and ready)."""
    beats: int = 1
    """Beats a frame; more than one under ``rv`` only."""


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
    """Cycles to each element from the frame's input beat, or from ``fire``."""
    fire: str | None = None
    """In a dataflow, the wire that is set in the cycle from which those of a beat count: when
    the process that gives the edge fires. None: when the port of the wire's name accepts."""
