"""Compare what levels say of one stimulus: every integer, every cycle, every edge.

A comparison that compares nothing is a failure too: no vectors, an edge that a level does
not show, an output that is short or long. What is compared is counted, and so are the bits
that the vectors moved.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Array
from fastml.dialects.elements import width_of
from fastml.runtime.trace import Integers, Signal, Trace, as_frames


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
    untimed: Container[str] = (),
) -> Counts:
    """Compare all traces, edge by edge; raise :class:`Divergence` at the first difference.

    ``edges`` are the taps that every level must show, sources before what is computed from
    them, so that the first one that differs is where the fault lies. ``optional`` excuses a
    level from edges that do not exist at it. A tap whose cycles have no columns has no time
    at its level, and only its values count; of the levels ``untimed`` nothing else is looked
    at. Beats of a frame are put together; a level that has one beat where another has several
    knows nothing of what fills up the last one, which then does not count. The cycles in
    which input beats were accepted count at all levels that have them.
    """
    if frames < 1:
        raise Divergence("nothing was compared: there are no vectors", levels=("", ""))
    if len(traces) < 2:
        raise Divergence("nothing was compared: needs two levels", levels=("", ""))
    excused = {level: set(names) for level, names in (optional or {}).items()}
    comparison = _Comparison(stimulus, frames, untimed)
    for edge in edges:
        comparison.compare(
            f"edge '{edge}'",
            edge,
            {n: t.taps.get(edge) for n, t in traces.items() if edge not in excused.get(n, ())},
        )
    for edge in dict.fromkeys(edge for trace in traces.values() for edge in trace.outputs):
        signals = {name: trace.outputs.get(edge) for name, trace in traces.items()}
        comparison.compare(f"output '{edge}'", edge, signals, timed=True)
    comparison.compare_acceptance(
        {name: trace.accepted for name, trace in traces.items() if trace.accepted}
    )
    if not comparison.counts.values:
        raise Divergence("nothing was compared: no edge has a value", levels=("", ""))
    return comparison.counts


@dataclass
class _Comparison:
    """One stimulus under comparison, signal by signal."""

    stimulus: str
    frames: int
    untimed: Container[str] = ()
    counts: Counts = field(default_factory=Counts)

    def fail(
        self,
        levels: tuple[str, str],
        edge: str,
        what: str,
        where: tuple[int, int] | None = None,
    ) -> Divergence:
        frame, element = (None, None) if where is None else where
        return Divergence(
            f"{' and '.join(dict.fromkeys(levels))}: {what} ({self.stimulus} stimulus)",
            levels=levels,
            edge=edge,
            frame=frame,
            element=element,
        )

    def compare(
        self,
        name: str,
        edge: str,
        signals: Mapping[str, Signal | None],
        *,
        timed: bool = False,
    ) -> None:
        """Compare the values of all levels with the first's, and cycles where there are any.

        With ``timed``, a level must have cycles.
        """
        found = dict[str, Signal]()
        for level, signal in signals.items():
            if signal is None:
                raise self.fail((level, level), edge, f"{name} is not shown")
            count = len(signal.values)
            if count % self.frames or not count or len(signal.cycles) != count:
                raise self.fail(
                    (level, level), edge, f"{name} has {count} beats for {self.frames} frames"
                )
            if timed and not signal.cycles.shape[1] and level not in self.untimed:
                raise self.fail((level, level), edge, f"{name} has no cycles")
            found[level] = signal
        self._compare_with_first(name, edge, self._values(found), "")
        cycles = {
            n: s.cycles for n, s in found.items() if s.cycles.shape[1] and n not in self.untimed
        }
        width = max((c.shape[1] for c in cycles.values()), default=0)
        spread = {
            n: as_frames(np.broadcast_to(c, (len(c), width)), self.frames)
            for n, c in cycles.items()
        }
        self._compare_with_first(name, edge, spread, "the cycle of ")

    def _values(self, signals: Mapping[str, Signal]) -> dict[str, Integers]:
        """Put the beats of each frame together; cut them where some level has only one."""
        beats = {len(signal.values) for signal in signals.values()}
        whole = [s.values.shape[1] for s in signals.values() if len(s.values) == self.frames]
        cut = min(whole) if len(beats) > 1 and whole else None
        return {n: as_frames(s.values, self.frames, cut) for n, s in signals.items()}

    def compare_acceptance(self, found: Mapping[str, Mapping[str, NDArray[np.int64]]]) -> None:
        """Compare the cycles in which the beats of each input were accepted."""
        for port in dict.fromkeys(port for accepted in found.values() for port in accepted):
            rows = dict[str, Integers]()
            for level, accepted in found.items():
                cycles = accepted.get(port, np.zeros(0, np.int64))
                if not len(cycles) or len(cycles) % self.frames:
                    raise self.fail(
                        (level, level),
                        port,
                        f"input '{port}' took {len(cycles)} beats for {self.frames} frames",
                    )
                rows[level] = as_frames(cycles[:, None], self.frames)
            self._compare_with_first(f"input '{port}'", port, rows, "the cycle of ")

    def _compare_with_first(
        self, name: str, edge: str, arrays: Mapping[str, Integers], what: str
    ) -> None:
        if len(arrays) < 2:
            return
        (first, reference), *others = arrays.items()
        for level, array in others:
            pair = first, level
            if array.shape != reference.shape:
                sizes = f"{reference.shape[1]} and {array.shape[1]} elements"
                raise self.fail(pair, edge, f"{what}{name}: {sizes}")
            differs = np.asarray(reference != array)
            if differs.any():
                frame, element = (int(i) for i in np.argwhere(differs)[0])
                a, b = reference[frame, element], array[frame, element]
                raise self.fail(
                    pair,
                    edge,
                    f"{what}{name}, element {element}, frame {frame}, is {a} and {b}",
                    (frame, element),
                )
            if what:
                self.counts.cycles += array.size
            else:
                self.counts.values += array.size
        self.counts.edges.add(edge)


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
