"""Steady state of a network of processes, and the smallest depths of its FIFOs.

In steady state frame ``k`` repeats frame 0 ``k * ii`` cycles later. Such a schedule exists
exactly if the inequalities between the firings of one frame have a solution: a token is
there before it is used, a slot is free before it is filled. Those are differences bounded
from below, so that a least solution comes from longest paths, and there is none exactly if
a circle of them asks for more than it is given. A self-timed run, in which every process
fires as early as it can, is never later than any schedule that is possible, so it reaches
the same rate.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.token_flow import (
    Cycles,
    Network,
    Times,
    simulate,
)
from fastml.lowering.paced_runs import MANY, PacedRuns

EFFORT = 500_000_000
"""Firings to run before the search for the least depths is cut short."""

Depths: TypeAlias = dict[str, int | None]
"""Depth of each FIFO; ``None`` for as many slots as it takes."""


@dataclass(frozen=True)
class _Actor:
    """A process, source or sink with all its firings of one frame."""

    name: str
    firings: int
    interval: int


@dataclass(frozen=True)
class _Place:
    """A FIFO between two actors, seen from the tokens of one frame."""

    name: str
    writer: int
    reader: int
    latency: int
    written: NDArray[np.int64]
    """Firing of the writer that makes each token."""
    popped: NDArray[np.int64]
    """Firing of the reader that pops each token."""
    needing: NDArray[np.int64]
    """Firings of the reader that need tokens, and the newest token that each needs."""
    needed: NDArray[np.int64]


@dataclass(frozen=True)
class _Arc:
    """``x[target] >= x[source] + weight``, for firings of two actors."""

    source: int
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    weight: NDArray[np.int64]


class SteadyState:
    """The firings of one frame, and what each waits for."""

    def __init__(self, network: Network):
        self.network = network
        self.actors = list[_Actor]()
        self.places = dict[str, _Place]()
        beats = {source.name: source.beats for source in network.sources}
        _, firings = network.capacities(beats)
        self._build(firings)
        starts = np.cumsum([0] + [actor.firings for actor in self.actors])
        self.offsets = [int(start) for start in starts]

    @property
    def bound(self) -> int:
        """The interval of frames that FIFOs of any depth allow: that of the slowest actor."""
        return max((actor.firings * actor.interval for actor in self.actors), default=1)

    def _build(self, firings: Mapping[str, int]) -> None:
        network = self.network
        latency = dict[str, int]()
        writers, readers = dict[str, tuple[int, Cycles]](), dict[str, tuple[int, Cycles]]()
        needs = dict[str, Cycles]()
        for source in network.sources:
            number = self._actor(_Actor(source.name, source.beats, 1))
            for fifo in source.fifos:
                writers[fifo] = number, np.arange(source.beats)
                latency[fifo] = 0
        for process in network.processes:
            number = self._actor(_Actor(process.name, firings[process.name], process.interval))
            repeats = firings[process.name] // process.phases
            for write in process.writes:
                writers[write.fifo] = number, np.flatnonzero(np.tile(write.produces, repeats))
                latency[write.fifo] = write.latency
            for read in process.reads:
                consumed = np.tile(read.consumes, repeats)
                readers[read.fifo] = number, np.repeat(np.arange(len(consumed)), consumed)
                needs[read.fifo] = np.tile(read.needs, repeats)
        for sink in network.sinks:
            count = len(writers[sink.fifo][1])
            every = np.arange(count)
            readers[sink.fifo] = self._actor(_Actor(sink.name, count, 1)), every
            needs[sink.fifo] = np.ones(count, np.int64)
        for name, (writer, written) in writers.items():
            reader, popped = readers[name]
            assert len(written) == len(popped), f"rates at '{name}' differ"
            (needing,) = np.nonzero(needs[name])
            # the newest token that a firing looks at, of those that are not popped before it
            needed = np.searchsorted(popped, needing) + needs[name][needing] - 1
            self.places[name] = _Place(
                name, writer, reader, latency[name], written, popped, needing, needed
            )

    def _actor(self, actor: _Actor) -> int:
        self.actors.append(actor)
        return len(self.actors) - 1

    def solve(self, ii: int, depths: Mapping[str, int | None]) -> list[Cycles] | None:
        """Return the least schedule of one frame that repeats every ``ii`` cycles, or none."""
        if ii < self.bound:
            return None
        return _Solver(self, ii, self._arcs(ii, depths)).run()

    def _arcs(self, ii: int, depths: Mapping[str, int | None]) -> list[list[_Arc]]:
        """Return what the firings of each actor wait for, but for those of its own."""
        arcs: list[list[_Arc]] = [[] for _ in self.actors]
        for name, place in self.places.items():
            wait = np.full(len(place.needing), place.latency + 1)
            arcs[place.reader].append(
                _Arc(place.writer, place.written[place.needed], place.needing, wait)
            )
            depth = depths[name]
            if depth is not None:
                count = len(place.written)
                frame, token = np.divmod(np.arange(count) - depth, count)
                arcs[place.writer].append(
                    _Arc(place.reader, place.popped[token], place.written, 1 + frame * ii)
                )
        return arcs

    def depths_of(self, ii: int, schedule: Sequence[Cycles]) -> dict[str, int]:
        """Return the least depths that a periodic schedule can do with."""
        found = dict[str, int]()
        for name, place in self.places.items():
            reserved = schedule[place.writer][place.written]
            popped = schedule[place.reader][place.popped]
            count = len(popped)
            # how many tokens were popped before each is reserved, frames before included
            frames: Cycles = (reserved - 1 - popped[0]) // ii
            before = frames * count
            before += np.searchsorted(popped, reserved - frames * ii, "left")
            found[name] = int((np.arange(count) - before + 1).max(initial=1))
        return found


@dataclass
class _Solver:
    """Longest paths by raising firings until all inequalities hold.

    ``parents`` names for each firing the one that it waits for; once they form a circle,
    there is no solution.
    """

    state: SteadyState
    ii: int
    arcs: list[list[_Arc]]
    schedule: list[Cycles] = field(init=False)
    parents: Cycles = field(init=False)

    def __post_init__(self) -> None:
        counts = [actor.firings for actor in self.state.actors]
        self.schedule = [np.zeros(count, np.int64) for count in counts]
        self.parents = np.full(sum(counts), -1, np.int64)

    def run(self) -> list[Cycles] | None:
        """Sweep forwards and backwards over the actors until nothing moves."""
        order = list(range(len(self.state.actors)))
        moved = {number: True for number in order}
        for number in order:
            self._space(number)
        while any(moved.values()):
            before, moved = moved, dict.fromkeys(order, False)
            for number in order:
                arcs = [a for a in self.arcs[number] if before[a.source] or moved[a.source]]
                if self._raise(number, arcs):
                    moved[number] = True
            if self._has_circle():
                return None
            order.reverse()
        return self.schedule

    def _raise(self, number: int, arcs: Iterable[_Arc]) -> bool:
        own = self.schedule[number]
        at = self.state.offsets[number]
        raised = False
        for arc in arcs:
            wanted = self.schedule[arc.source][arc.sources] + arc.weight
            later = np.flatnonzero(wanted > own[arc.targets])
            if len(later):
                raised = True
                own[arc.targets[later]] = wanted[later]
                origin = self.state.offsets[arc.source]
                self.parents[at + arc.targets[later]] = origin + arc.sources[later]
        if raised:
            self._space(number)
        return raised

    def _space(self, number: int) -> None:
        """Keep the firings of one actor apart, also from those of the frame before."""
        own, actor = self.schedule[number], self.state.actors[number]
        at, count = self.state.offsets[number], actor.firings
        if not count:
            return
        steps = np.arange(count) * actor.interval
        for _ in range(2):
            spaced = np.maximum.accumulate(own - steps) + steps
            later = np.flatnonzero(spaced > own)
            self.parents[at + later] = at + later - 1
            own[:] = spaced
            wrapped = own[-1] + actor.interval - self.ii
            if wrapped <= own[0]:
                return
            own[0] = wrapped
            self.parents[at] = at + count - 1
        own[:] = np.maximum.accumulate(own - steps) + steps

    def _has_circle(self) -> bool:
        root = len(self.parents)
        jump = np.append(np.where(self.parents < 0, root, self.parents), root)
        for _ in range(root.bit_length() + 1):
            jump = jump[jump]
        return bool(np.any(jump != root))


@dataclass(frozen=True)
class Sizing:
    """Steady state and depths of a network."""

    ii: int
    latency: int
    depths: dict[str, int]
    minimal: bool = True
    """Whether one slot less of any FIFO would cost something, as far as runs tell."""


@dataclass(frozen=True)
class Slower:
    """A given depth that costs time."""

    fifo: str
    has: int
    needs: int
    ii: int
    latency: int


class Sizer:
    """Finds depths that cost neither throughput nor latency, and are locally minimal.

    Where a frame has many firings, runs tell whether depths are enough (see
    :class:`~fastml.lowering.paced_runs.PacedRuns`), and after so much effort the search ends:
    then depths are enough, but some FIFO might do with less.
    """

    def __init__(self, network: Network, given: Mapping[str, int], *, exact: bool | None = None):
        free: Depths = {fifo.name: None for fifo in network.fifos}
        self.network = network.with_depths(free)
        self.runs = PacedRuns(self.network)
        small = self.runs.firings < MANY if exact is None else exact
        self.state = SteadyState(self.network) if small else None
        self.given = dict(given)
        self.start: Depths = free | dict(given)
        self.ii = self.runs.bound
        latency = self.runs.latency(free)
        assert latency is not None, "FIFOs without bounds stop nothing"
        self.latency = latency

    def first_frame(self, depths: Mapping[str, int | None]) -> Times:
        """Run one frame; raise :class:`DeadlockError` where it does not come to its end.

        It never waits for a later one.
        """
        waits = {s.name: np.zeros(s.beats, np.int64) for s in self.network.sources}
        return simulate(self.network.with_depths(depths), waits)

    def keeps(self, depths: Mapping[str, int | None]) -> bool:
        """Return whether II and latency are what they should be."""
        if self.state is None:
            return self.runs.keeps(depths, self.ii, self.latency)
        if self.runs.latency(depths) != self.latency:
            return False
        return self.state.solve(self.ii, depths) is not None

    def _repeats(self, ii: int) -> bool:
        if self.state is None:
            return self.runs.repeats(self.start, ii) is not None
        return self.state.solve(ii, self.start) is not None

    def slower(self) -> Slower | None:
        """Return the given depth that costs throughput or latency, if one does.

        Raises :class:`DeadlockError` where one stops the network.
        """
        latency = _latency(self.first_frame(self.start))
        if self.keeps(self.start):
            return None
        relaxed = dict(self.start)
        for name in self.given:
            relaxed[name] = None
            if self.keeps(relaxed):
                needs = self._least(relaxed, name, self._enough(relaxed)[name])
                return Slower(name, self.given[name], needs, self.best_ii(), latency)
        raise AssertionError("without given depths nothing is lost")

    def best_ii(self) -> int:
        """Return the least whole II of the given depths; raise :class:`DeadlockError`."""
        self.first_frame(self.start)
        low = high = self.runs.bound
        if self.state is None:  # a run tells what to expect, so that few others are needed
            high = max(high, self.runs.interval(self.start, high))
        step = 1
        while not self._repeats(high):
            low, high, step = high + 1, high + step, 2 * step
        if low < high and not self._repeats(high - 1):
            return high
        while low < high:
            middle = (low + high) // 2
            if self._repeats(middle):
                high = middle
            else:
                low = middle + 1
        return high

    def accept_given(self) -> None:
        """Take II and latency of the given depths for what they should be."""
        self.ii = self.best_ii()
        self.latency = _latency(self.first_frame(self.start))

    def run(self, order: Sequence[str]) -> Sizing:
        """Return depths, those first in ``order`` made smallest first."""
        enough = self._enough(self.start)
        depths: Depths = {n: enough[n] if d is None else d for n, d in self.start.items()}
        assert self.keeps(depths), "a schedule exists with these depths"
        minimal = True
        for name in order:
            if name in self.given:
                continue
            minimal = minimal and (self.state is not None or self.runs.effort < EFFORT)
            if minimal:
                depths[name] = self._least(depths, name, enough[name])
        found = {name: depth for name, depth in depths.items() if depth is not None}
        return Sizing(self.ii, self.latency, found, minimal)

    def _enough(self, depths: Mapping[str, int | None]) -> dict[str, int]:
        """Return depths that cost nothing beyond what ``depths`` does, where those are free."""
        if self.state is None:
            needs = self.runs.repeats(depths, self.ii)
            assert needs is not None
            return needs
        schedule = self.state.solve(self.ii, depths)
        assert schedule is not None
        steady = self.state.depths_of(self.ii, schedule)
        first = self.first_frame(depths).fifos
        return {name: max(steady[name], first[name].needs, 1) for name in steady}

    def _possible(self, name: str) -> int:
        """Return a depth that no FIFO can go below without costing something."""
        looks = [r.needs for p in self.network.processes for r in p.reads if r.fifo == name]
        writes = [w for p in self.network.processes for w in p.writes if w.fifo == name]
        # a token occupies its slot from the firing of its writer until the cycle after its pop
        occupied = 2 + max((write.latency for write in writes), default=0)
        rate = -(-self.runs.tokens[name] * occupied // self.ii)
        return max(1, rate, *(int(needs.max(initial=0)) for needs in looks))

    def _least(self, depths: Mapping[str, int | None], name: str, enough: int) -> int:
        """Return the least depth of one FIFO, the others as they are; more never costs."""
        low, high, step = min(self._possible(name), enough), enough, 1
        while low < high and self.keeps({**depths, name: max(high - step, low)}):
            high, step = max(high - step, low), 2 * step
        low = max(low, high - step + 1)
        while low < high:
            middle = (low + high) // 2
            if self.keeps({**depths, name: middle}):
                high = middle
            else:
                low = middle + 1
        return high


def _latency(times: Times) -> int:
    return max((int(taken.max(initial=0)) for taken in times.taken.values()), default=0)
