"""Networks of processes joined by FIFOs: what they are made of, and when each moves.

A *token* is one beat. A process is a cyclo-static actor: its phases repeat, each consumes at
most one token of every FIFO that it reads and produces at most one into every FIFO that it
writes, and it fires as early as it can. A firing in cycle ``t`` needs

- a visible token in each FIFO that the phase needs (pushed before ``t``),
- a free slot in each FIFO that the phase produces into (the token ``depth`` places before
  was popped before ``t``), which it reserves,
- ``interval`` cycles since the process's last firing.

What it consumes is popped in ``t``, what it produces is pushed in ``t + latency``. Every
condition only ever waits for something, so the times are a recurrence of maxima and sums
over the firings; nothing here steps a clock.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import LocationAttr, UnknownLoc
from xdsl.ir import Operation

from fastml.compiler.support.diagnostics import FastmlError

Cycles = NDArray[np.int64]


@dataclass(frozen=True)
class Fifo:
    """A FIFO with one writer and one reader."""

    name: str
    depth: int | None = None
    """Slots for tokens; ``None`` for as many as it takes."""


@dataclass(frozen=True)
class Read:
    """How a process reads a FIFO, phase by phase."""

    fifo: str
    needs: tuple[bool, ...]
    """Phases that look at the oldest token."""
    consumes: tuple[bool, ...]
    """Phases that pop it, each of which needs it."""


@dataclass(frozen=True)
class Write:
    """How a process writes a FIFO, phase by phase."""

    fifo: str
    produces: tuple[bool, ...]
    latency: int
    """Cycles from the firing to the push."""


@dataclass(frozen=True)
class Process:
    """A cyclo-static actor, whose firings are at least ``interval`` cycles apart."""

    name: str
    interval: int
    reads: tuple[Read, ...]
    writes: tuple[Write, ...]
    phases: int = 1

    @classmethod
    def cluster(
        cls, name: str, interval: int, reads: Sequence[str], writes: Mapping[str, int]
    ) -> "Process":
        """One token of every FIFO in, one into every FIFO, each after its own latency."""
        return cls(
            name,
            interval,
            tuple(Read(fifo, (True,), (True,)) for fifo in reads),
            tuple(Write(fifo, (True,), latency) for fifo, latency in writes.items()),
        )

    @classmethod
    def serialise(cls, name: str, read: str, writes: Sequence[str], beats: int) -> "Process":
        """One token in, popped with the last of the ``beats`` that it is sent in."""
        last = (False,) * (beats - 1) + (True,)
        every = (True,) * beats
        reads = (Read(read, every, last),)
        return cls(name, 1, reads, tuple(Write(w, every, 0) for w in writes), beats)

    @classmethod
    def deserialise(cls, name: str, read: str, writes: Sequence[str], beats: int) -> "Process":
        """``beats`` tokens in, the token that they make out with the last of them."""
        last = (False,) * (beats - 1) + (True,)
        every = (True,) * beats
        reads = (Read(read, every, every),)
        return cls(name, 1, reads, tuple(Write(w, last, 0) for w in writes), beats)


@dataclass(frozen=True)
class Source:
    """An input port: a beat is accepted when every FIFO behind it has a slot."""

    name: str
    fifos: tuple[str, ...]
    beats: int = 1
    """Beats a frame."""


@dataclass(frozen=True)
class Sink:
    """An output port: takes the oldest token of its FIFO in every cycle that it is ready."""

    name: str
    fifo: str


@dataclass(frozen=True)
class Network:
    """Processes, the FIFOs between them, and ports; each FIFO has one writer and one reader."""

    fifos: tuple[Fifo, ...]
    processes: tuple[Process, ...]
    sources: tuple[Source, ...]
    sinks: tuple[Sink, ...]

    def __post_init__(self) -> None:
        reads = [r.fifo for p in self.processes for r in p.reads] + [s.fifo for s in self.sinks]
        writes = [w.fifo for p in self.processes for w in p.writes]
        writes += chain.from_iterable(s.fifos for s in self.sources)
        names = sorted(fifo.name for fifo in self.fifos)
        assert names == sorted(reads), "each FIFO has one reader"
        assert names == sorted(writes), "each FIFO has one writer"
        assert not [name for name, count in Counter(names).items() if count > 1], names

    def with_depths(self, depths: Mapping[str, int | None]) -> "Network":
        """Return the network with other depths of the FIFOs named."""
        fifos = (replace(f, depth=depths.get(f.name, f.depth)) for f in self.fifos)
        return replace(self, fifos=tuple(fifos))


@dataclass(frozen=True)
class FifoRecord:
    """When each token of one FIFO reserved its slot, was pushed, and was popped."""

    name: str
    depth: int | None
    reserved: Cycles
    pushed: Cycles
    popped: Cycles

    @property
    def needs(self) -> int:
        """The smallest depth that gives the same times."""
        # a slot that is popped in a cycle is free from the next one on
        return self._most(self.reserved, "left")

    @property
    def most_used(self) -> int:
        """Most slots reserved at the beginning of a cycle, as a counter in hardware sees them."""
        return self._most(self.reserved, "right")

    @property
    def most_held(self) -> int:
        """Most tokens visible to the reader at the beginning of a cycle."""
        return self._most(self.pushed, "right")

    def _most(self, entered: Cycles, side: Literal["left", "right"]) -> int:
        left = np.searchsorted(self.popped, entered, side)
        return int((np.arange(1, len(entered) + 1) - left).max(initial=0))

    def used_at(self, cycles: Cycles) -> Cycles:
        """Return the reserved slots at the beginning of each cycle."""
        return self._at(self.reserved, cycles)

    def held_at(self, cycles: Cycles) -> Cycles:
        """Return the tokens visible to the reader at the beginning of each cycle."""
        return self._at(self.pushed, cycles)

    def _at(self, entered: Cycles, cycles: Cycles) -> Cycles:
        inside = np.searchsorted(entered, cycles, "left")
        return np.asarray(inside - np.searchsorted(self.popped, cycles, "left"), np.int64)


@dataclass(frozen=True)
class Times:
    """What happened in which cycle."""

    fired: Mapping[str, Cycles]
    """Every firing of each process."""
    accepted: Mapping[str, Cycles]
    """Every beat accepted by each source."""
    taken: Mapping[str, Cycles]
    """Every beat taken by each sink."""
    fifos: Mapping[str, FifoRecord]


@dataclass(frozen=True)
class Shortage:
    """A FIFO whose depth stops a network for good."""

    fifo: str
    needs: int
    has: int

    def __str__(self) -> str:
        return f"FIFO '{self.fifo}' needs depth {self.needs}, has {self.has}"


class DeadlockError(FastmlError):
    """``FML-DEADLOCK``: tokens remain, and nothing moves after ``cycle``."""

    def __init__(
        self, cycle: int, shortages: Sequence[Shortage], at: Operation | LocationAttr
    ) -> None:
        self.cycle = cycle
        self.shortages = tuple(shortages)
        """The FIFO that stops first, and what it needs; others that would stop after it."""
        first, *others = map(str, shortages)
        also = f" (then {'; '.join(others)})" if others else ""
        message = f"nothing moves after cycle {cycle}: {first}{also}"
        super().__init__(message, at, code="FML-DEADLOCK")


def simulate(
    network: Network,
    waits: Mapping[str, Cycles],
    ready: Mapping[str, NDArray[np.bool_]] | None = None,
    at: Operation | LocationAttr | None = None,
) -> Times:
    """Run ``len(waits[source])`` beats of every source to the end.

    Beat ``n`` is presented ``waits[source][n]`` cycles after it could be: after cycle 0 for
    the first, after the cycle that follows the acceptance of the one before for the others.
    Sink ``y`` takes nothing in the cycles ``t`` where ``ready[y][t]`` is false. Raises
    :class:`DeadlockError` naming the FIFO whose depth stops the network, and ``FML-STIMULUS``
    where the sources end amid a frame.
    """
    place = UnknownLoc() if at is None else at
    run = _Run(network, waits, ready or {})
    run.settle()
    if not run.stuck():
        return run.times()
    cycle = run.last_cycle()
    depths = {fifo.name: fifo.depth for fifo in network.fifos if fifo.depth is not None}
    raise DeadlockError(cycle, _shortages(run, network, waits, depths, place), place)


def _shortages(
    run: "_Run",
    network: Network,
    waits: Mapping[str, Cycles],
    depths: Mapping[str, int],
    at: Operation | LocationAttr,
) -> list[Shortage]:
    """Return what a stuck run lacks, the FIFO that stopped it first.

    Which firings can happen at all does not depend on their times: with one slot more the run
    goes on, and the slots that are added are what was missing.
    """
    found = dict[str, int]()
    while run.stuck():
        fifo = run.culprit()
        if fifo is None or fifo.depth is None:
            message = "the beats of the inputs do not make whole frames"
            raise FastmlError(message, at, code="FML-STIMULUS")
        fifo.depth += 1
        found[fifo.name] = fifo.depth
        run.wake(fifo.writer)
        run.settle()
    if len(found) > 1:  # one may have grown where another would have done
        for name in reversed(found):
            while found[name] > depths[name] and _ends(
                network.with_depths(found | {name: found[name] - 1}), waits
            ):
                found[name] -= 1
    return [Shortage(f, needs, depths[f]) for f, needs in found.items() if needs > depths[f]]


def _ends(network: Network, waits: Mapping[str, Cycles]) -> bool:
    run = _Run(network, waits, {})
    run.settle()
    return not run.stuck()


@dataclass
class _Fifo:
    name: str
    depth: int | None
    reserved: list[int] = field(default_factory=list[int])
    pushed: list[int] = field(default_factory=list[int])
    popped: list[int] = field(default_factory=list[int])
    writer: int = -1
    reader: int = -1

    @property
    def full(self) -> bool:
        return self.depth is not None and len(self.reserved) - len(self.popped) >= self.depth


@dataclass
class _Actor:
    """A process, a source or a sink, unrolled to what its firing touches."""

    name: str
    interval: int
    needs: list[list[_Fifo]]
    """FIFOs needed, by phase."""
    consumes: list[list[_Fifo]]
    produces: list[list[tuple[_Fifo, int]]]
    waits: list[int] | None = None
    """Cycles that a source lets pass before each beat."""
    takes: list[int] | None = None
    """The first cycle from each on in which a sink is ready."""
    fired: list[int] = field(default_factory=list[int])

    @property
    def starved(self) -> bool:
        """Whether the next firing waits for a token (a source: has no more beats)."""
        if self.waits is not None and len(self.fired) >= len(self.waits):
            return True
        return bool(self.starving)

    @property
    def starving(self) -> list[_Fifo]:
        """The FIFOs whose tokens the next firing lacks."""
        phase = len(self.fired) % len(self.needs)
        return [f for f in self.needs[phase] if len(f.pushed) == len(f.popped)]

    @property
    def full(self) -> list[_Fifo]:
        """The FIFOs whose slots the next firing lacks."""
        phase = len(self.fired) % len(self.needs)
        return [f for f, _ in self.produces[phase] if f.full]

    def fire(self) -> bool:
        """Fire as often as tokens and slots allow; return whether it did at all."""
        fired, before = self.fired, len(self.fired)
        phases, interval = len(self.needs), self.interval
        earliest = fired[-1] + interval if fired else 0
        while True:
            count = len(fired)
            phase = count % phases
            time = earliest
            if self.waits is not None:
                if count == len(self.waits):
                    break
                time += self.waits[count]
            blocked = False
            for fifo in self.needs[phase]:
                head = len(fifo.popped)
                if head == len(fifo.pushed):
                    blocked = True
                    break
                if fifo.pushed[head] >= time:
                    time = fifo.pushed[head] + 1
            if blocked:
                break
            for fifo, _ in self.produces[phase]:
                if fifo.depth is not None:
                    freed = len(fifo.reserved) - fifo.depth
                    if freed >= len(fifo.popped):
                        blocked = True
                        break
                    if freed >= 0 and fifo.popped[freed] >= time:
                        time = fifo.popped[freed] + 1
            if blocked:
                break
            if self.takes is not None and time < len(self.takes):
                time = self.takes[time]
            for fifo in self.consumes[phase]:
                fifo.popped.append(time)
            for fifo, latency in self.produces[phase]:
                fifo.reserved.append(time)
                fifo.pushed.append(time + latency)
            fired.append(time)
            earliest = time + interval
        return len(fired) > before


class _Run:
    """One simulation: the firings that are known, and the actors that may fire next."""

    def __init__(
        self,
        network: Network,
        waits: Mapping[str, Cycles],
        ready: Mapping[str, NDArray[np.bool_]],
    ):
        self.network = network
        self.fifos = {f.name: _Fifo(f.name, f.depth) for f in network.fifos}
        self.actors = [self._source(source, waits[source.name]) for source in network.sources]
        self.actors += [self._process(process) for process in network.processes]
        self.actors += [self._sink(sink, ready.get(sink.name)) for sink in network.sinks]
        self.neighbours = list[list[int]]()
        for number, actor in enumerate(self.actors):
            for fifo in chain.from_iterable(actor.needs):
                fifo.reader = number
            for fifo, _ in chain.from_iterable(actor.produces):
                fifo.writer = number
        for actor in self.actors:
            near = {fifo.writer for fifo in chain.from_iterable(actor.needs)}
            near |= {fifo.reader for fifo, _ in chain.from_iterable(actor.produces)}
            self.neighbours.append(sorted(near))
        self.queue = deque(range(len(self.actors)))
        self.waiting = set(self.queue)

    def _source(self, source: Source, waits: Cycles) -> _Actor:
        fifos = [(self.fifos[name], 0) for name in source.fifos]
        return _Actor(source.name, 1, [[]], [[]], [fifos], waits=waits.tolist())

    def _sink(self, sink: Sink, ready: NDArray[np.bool_] | None) -> _Actor:
        fifo = self.fifos[sink.fifo]
        takes = None
        if ready is not None:
            never = len(ready)
            cycles = np.where(ready, np.arange(never), never)
            takes = np.minimum.accumulate(cycles[::-1])[::-1].tolist()
        return _Actor(sink.name, 1, [[fifo]], [[fifo]], [[]], takes=takes)

    def _process(self, process: Process) -> _Actor:
        fifos, phases = self.fifos, range(process.phases)
        return _Actor(
            process.name,
            process.interval,
            [[fifos[r.fifo] for r in process.reads if r.needs[k]] for k in phases],
            [[fifos[r.fifo] for r in process.reads if r.consumes[k]] for k in phases],
            [[(fifos[w.fifo], w.latency) for w in process.writes if w.produces[k]] for k in phases],
        )

    def wake(self, number: int) -> None:
        """Look at an actor again."""
        if number not in self.waiting:
            self.waiting.add(number)
            self.queue.append(number)

    def settle(self) -> None:
        """Fire until nothing can."""
        while self.queue:
            number = self.queue.popleft()
            self.waiting.discard(number)
            if self.actors[number].fire():
                for near in self.neighbours[number]:
                    self.wake(near)

    def stuck(self) -> bool:
        """Return whether something remains to be done, with nothing that can."""
        unfinished = any(len(f.pushed) > len(f.popped) for f in self.fifos.values())
        unfinished |= any(len(a.fired) % len(a.needs) for a in self.actors)
        return unfinished or any(not a.starved for a in self.actors)

    def culprit(self) -> _Fifo | None:
        """Return a full FIFO without which the run cannot go on; none if input is missing.

        Actors wait for each other in a circle: for a slot, which the reader frees, or for a
        token, which the writer makes. Of the full FIFOs in it, take one whose reader starves.
        """
        blocked = (n for n, actor in enumerate(self.actors) if not actor.starved and actor.full)
        at = next(blocked, None)
        path = dict[int, _Fifo]()
        while at is not None and at not in path:
            actor = self.actors[at]
            starving, full = actor.starving, actor.full
            if not starving and (actor.starved or not full):
                return None
            path[at] = starving[0] if starving else full[0]
            at = path[at].writer if starving else path[at].reader
        circle = list(path)[list(path).index(at) :] if at is not None else []
        fifos = (path[n] for n in circle if path[n].writer == n)
        return next((fifo for fifo in fifos if self.actors[fifo.reader].starved), None)

    def last_cycle(self) -> int:
        """Return the last cycle in which anything moved."""
        ends = [actor.fired[-1] for actor in self.actors if actor.fired]
        ends += [fifo.pushed[-1] for fifo in self.fifos.values() if fifo.pushed]
        return max(ends, default=0)

    def times(self) -> Times:
        """Return the times as arrays."""
        fired = [np.array(actor.fired, np.int64) for actor in self.actors]
        inner, last = len(self.network.sources), len(self.actors) - len(self.network.sinks)
        names = [actor.name for actor in self.actors]

        def part(start: int, stop: int) -> dict[str, Cycles]:
            return dict(zip(names[start:stop], fired[start:stop], strict=True))

        records = {name: _record(fifo) for name, fifo in self.fifos.items()}
        return Times(part(inner, last), part(0, inner), part(last, len(names)), records)


def _record(fifo: _Fifo) -> FifoRecord:
    times = (np.array(t, np.int64) for t in (fifo.reserved, fifo.pushed, fifo.popped))
    return FifoRecord(fifo.name, fifo.depth, *times)
