"""Compare what levels say of one stimulus: every integer, every cycle, every edge.

A comparison that compares nothing is a failure too: no vectors, an edge that a level does
not show, an output that is short or long. What is compared is counted, and so are the bits
that the vectors moved.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Array
from fastml.dialects.elements import width_of
from fastml.runtime.trace import Integers, Signal, Trace


class Divergence(Exception):
    """Two levels disagree; the message names level pair, edge, element, frame and both."""

    def __init__(
        self,
        message: str,
        *,
        levels: tuple[str, str],
        edge: str | None = None,
        frame: int | None = None,
        element: int | None = None,
    ):
        super().__init__(message)
        self.levels = levels
        self.edge = edge
        self.frame = frame
        self.element = element


@dataclass
class Counts:
    """What was compared."""

    values: int = 0
    cycles: int = 0
    edges: set[str] = field(default_factory=set[str])

    def add(self, other: "Counts") -> None:
        """Take in the counts of another comparison."""
        self.values += other.values
        self.cycles += other.cycles
        self.edges |= other.edges


def compare(
    traces: Mapping[str, Trace],
    edges: Sequence[str],
    *,
    frames: int,
    stimulus: str,
    optional: Mapping[str, Iterable[str]] | None = None,
) -> Counts:
    """Compare every trace with the first; raise :class:`Divergence` at the first difference.

    ``edges`` are the taps that every level must show, sources before what is computed from
    them, so that the first one that differs is where the fault lies. ``optional`` excuses a
    level from edges that do not exist at it. A signal whose cycles have no columns has no
    time at its level, and only its values count.
    """
    if frames < 1:
        raise Divergence("nothing was compared: there are no vectors", levels=("", ""))
    if len(traces) < 2:
        raise Divergence("nothing was compared: needs two levels", levels=("", ""))
    counts = Counts()
    (first, reference), *others = traces.items()
    excused = {level: set(names) for level, names in (optional or {}).items()}
    for level, trace in others:
        pair = _Pair((first, level), stimulus, frames, counts)
        for edge in edges:
            if edge in excused.get(first, ()) or edge in excused.get(level, ()):
                continue
            pair.compare(edge, reference.taps.get(edge), trace.taps.get(edge))
        for port in dict.fromkeys([*reference.outputs, *trace.outputs]):
            pair.compare(port, reference.outputs.get(port), trace.outputs.get(port), "output")
    return counts


@dataclass
class _Pair:
    """Two levels under comparison."""

    levels: tuple[str, str]
    stimulus: str
    frames: int
    counts: Counts

    def fail(
        self, edge: str, what: str, frame: int | None = None, element: int | None = None
    ) -> Divergence:
        a, b = self.levels
        return Divergence(
            f"{a} and {b} disagree on {what} ({self.stimulus} stimulus)",
            levels=self.levels,
            edge=edge,
            frame=frame,
            element=element,
        )

    def compare(self, edge: str, a: Signal | None, b: Signal | None, kind: str = "edge") -> None:
        """Compare one signal of both levels."""
        for level, signal in zip(self.levels, (a, b), strict=True):
            if signal is None:
                raise self.fail(edge, f"{kind} '{edge}': {level} does not show it")
            if len(signal.values) != self.frames:
                raise self.fail(
                    edge,
                    f"{kind} '{edge}': {level} gives {len(signal.values)} beats "
                    f"for {self.frames} frames",
                )
        assert a is not None
        assert b is not None
        if a.values.shape != b.values.shape:
            raise self.fail(
                edge, f"{kind} '{edge}': beats of {a.values.shape[1]} and {b.values.shape[1]}"
            )
        self._compare_values(edge, a.values, b.values, kind)
        self._compare_cycles(edge, a, b, kind)

    def _compare_values(self, edge: str, a: Integers, b: Integers, kind: str) -> None:
        differs = a != b
        if np.any(differs):
            frame, element = (int(i) for i in np.argwhere(differs)[0])
            raise self.fail(
                edge,
                f"{kind} '{edge}', element {element}, frame {frame}: "
                f"{a[frame, element]} and {b[frame, element]}",
                frame,
                element,
            )
        self.counts.values += a.size
        self.counts.edges.add(edge)

    def _compare_cycles(self, edge: str, a: Signal, b: Signal, kind: str) -> None:
        if 0 in (a.cycles.shape[1], b.cycles.shape[1]) and a.values.shape[1]:
            if kind == "output":
                raise self.fail(edge, f"output '{edge}': a level has no cycles for it")
            return
        shape = (self.frames, max(a.cycles.shape[1], b.cycles.shape[1]))
        early, late = np.broadcast_to(a.cycles, shape), np.broadcast_to(b.cycles, shape)
        differs = early != late
        if np.any(differs):
            frame, element = (int(i) for i in np.argwhere(differs)[0])
            where = f", element {element}" if shape[1] > 1 else ""
            raise self.fail(
                edge,
                f"the cycle of {kind} '{edge}'{where}, frame {frame}: "
                f"{early[frame, element]} and {late[frame, element]}",
                frame,
                element,
            )
        self.counts.cycles += differs.size


@dataclass
class Toggles:
    """Which bits of which edges took both values, over all frames seen so far."""

    lows: Mapping[str, Array]
    """Least value of every element of an edge, from which bits are known to be constant."""
    highs: Mapping[str, Array]
    _ones: dict[str, NDArray[np.object_]] = field(default_factory=dict[str, NDArray[np.object_]])
    _zeros: dict[str, NDArray[np.object_]] = field(default_factory=dict[str, NDArray[np.object_]])

    def add(self, signals: Mapping[str, Signal]) -> None:
        """Take in the values of one trace."""
        for edge in self.lows:
            values = signals[edge].values
            if not len(values):
                continue
            ones = np.bitwise_or.reduce(values, axis=0).astype(object)
            zeros = np.bitwise_or.reduce(~values, axis=0).astype(object)
            self._ones[edge] = self._ones.get(edge, 0 * ones) | ones
            self._zeros[edge] = self._zeros.get(edge, 0 * zeros) | zeros

    def count(self) -> "Coverage":
        """Count the bits that can change, those that did, and name those that did not."""
        possible = moved = edges = 0
        still = list[str]()
        for edge, lows in self.lows.items():
            can = [
                varying_bits(int(low), int(high))
                for low, high in zip(lows, self.highs[edge], strict=True)
            ]
            did = [0] * len(can)
            if edge in self._ones:
                did = (self._ones[edge] & self._zeros[edge]).tolist()
            possible += sum(bits.bit_count() for bits in can)
            moved += sum((c & d).bit_count() for c, d in zip(can, did, strict=True))
            edges += 1
            for element, (c, d) in enumerate(zip(can, did, strict=True)):
                missed = c & ~d
                still += [
                    f"{edge}[{element}] bit {bit}"
                    for bit in range(missed.bit_length())
                    if missed >> bit & 1
                ]
        return Coverage(edges, possible, moved, tuple(still))


@dataclass(frozen=True)
class Coverage:
    """How much of the design the vectors moved."""

    edges: int
    bits: int
    """Bits that are not constant over the range of their element."""
    toggled: int
    never: tuple[str, ...]
    """Bits that could change, but never did."""


def varying_bits(low: int, high: int) -> int:
    """Return the mask of the bits that differ between some two numbers of ``low..high``.

    In two's complement, of the narrowest width that holds both ends.
    """
    if low < 0 <= high:
        return (1 << width_of(low, high)[0]) - 1
    return (1 << (low ^ high).bit_length()) - 1
