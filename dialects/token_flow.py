"""Networks of processes joined by FIFOs: what they are made of, and when each moves.

A *token* is one beat. A process is a cyclo-static actor: its phases repeat, each looks at some
of the oldest tokens of every FIFO that it reads, consumes some of those, produces at most one
into every FIFO that it writes, and it fires as early as it can. A firing in cycle ``t`` needs

- as many visible tokens in each FIFO as the phase looks at (pushed before ``t``),
- a free slot in each FIFO that the phase produces into (the token ``depth`` places before
  was popped before ``t``), which it reserves,
- ``interval`` cycles since the process's last firing.

What it consumes is popped in ``t``, what it produces is pushed in ``t + latency``. Every
condition only ever waits for something, so the times are a recurrence of maxima and sums
over the firings; nothing here steps a clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import LocationAttr, UnknownLoc
from xdsl.ir import Operation

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.token_kernel import COMPILED, State, compiled, prepared, settle
from fastml.dialects.token_layout import layout_of
from fastml.dialects.token_network import (
    Cycles,
    Fifo,
    Network,
    Process,
    Read,
    Sink,
    Source,
    Write,
)

__all__ = [
    "Cycles",
    "DeadlockError",
    "Fifo",
    "FifoRecord",
    "Network",
    "Process",
    "Read",
    "Run",
    "Shortage",
    "Sink",
    "Source",
    "Times",
    "Write",
    "simulate",
]


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
    run = Run(network, waits, ready or {})
    run.settle()
    if not run.stuck():
        return run.times()
    cycle = run.last_cycle()
    depths = {fifo.name: fifo.depth for fifo in network.fifos if fifo.depth is not None}
    raise DeadlockError(cycle, _shortages(run, network, waits, depths, place), place)


def _shortages(
    run: "Run",
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
        name = run.culprit()
        if name is None:
            message = "the beats of the inputs do not make whole frames"
            raise FastmlError(message, at, code="FML-STIMULUS")
        found[name] = run.deepen(name)
        run.settle()
    if len(found) > 1:  # one may have grown where another would have done
        for name in reversed(found):
            low, high = depths[name], found[name]
            while low < high:
                middle = (low + high) // 2
                if _ends(network.with_depths(found | {name: middle}), waits):
                    high = middle
                else:
                    low = middle + 1
            found[name] = high
    return [Shortage(f, needs, depths[f]) for f, needs in found.items() if needs > depths[f]]


def _ends(network: Network, waits: Mapping[str, Cycles]) -> bool:
    run = Run(network, waits, {})
    run.settle()
    return not run.stuck()


class Run:
    """One simulation: the firings that are known, and the actors that may fire next.

    Actors are numbers: sources, processes, then sinks. ``fast`` tells whether the recurrence
    is compiled; by default, where that is worth it.
    """

    def __init__(
        self,
        network: Network,
        waits: Mapping[str, Cycles],
        ready: Mapping[str, NDArray[np.bool_]],
        *,
        fast: bool | None = None,
    ):
        self.network = network
        self.numbers = {fifo.name: number for number, fifo in enumerate(network.fifos)}
        beats = {source.name: len(waits[source.name]) for source in network.sources}
        self.beats = [*beats.values()]
        tokens, firings = network.capacities(beats)
        self.tokens = [tokens[fifo.name] for fifo in network.fifos]
        limits = [*self.beats, *(firings[process.name] for process in network.processes)]
        limits += [tokens[sink.fifo] for sink in network.sinks]
        net = layout_of(network, waits, ready, tokens, limits)
        many = sum(limits) >= COMPILED if fast is None else fast
        self.settler = compiled() if many else settle
        depths = [-1 if fifo.depth is None else fifo.depth for fifo in network.fifos]
        actors, slots = len(net.intervals), sum(self.tokens)
        state = State(
            depth=depths,
            dirty=[1] * actors,
            counts=[0] * actors,
            come=[0] * len(depths),
            gone=[0] * len(depths),
            fired=np.zeros(sum(limits), np.int64),
            reserved=np.zeros(slots, np.int64),
            popped=np.zeros(slots, np.int64),
        )
        self.net, self.state = prepared(net, state, arrays=self.settler is not settle)

    def restart(self, depths: Mapping[str, int | None]) -> None:
        """Begin again with other depths of the FIFOs named."""
        self.network = self.network.with_depths(depths)
        state = self.state
        state.depth[:] = [-1 if fifo.depth is None else fifo.depth for fifo in self.network.fifos]
        state.dirty[:] = [1] * len(state.dirty)
        for numbers in (state.counts, state.come, state.gone):
            numbers[:] = [0] * len(numbers)

    def settle(self) -> None:
        """Fire until nothing can."""
        self.settler(self.net, self.state)

    def deepen(self, name: str) -> int:
        """Give a full FIFO what its reader waits for, or one slot more; return its depth."""
        net, state, fifo = self.net, self.state, self.numbers[name]
        reader = net.reader[fifo]
        phase = state.counts[reader] % net.phases[reader]
        looks = [
            net.needs[net.read_pattern[read] + phase]
            for read in range(net.reads_at[reader], net.reads_at[reader + 1])
            if net.read_fifo[read] == fifo
        ]
        state.depth[fifo] = max(state.depth[fifo] + 1, *looks)
        state.dirty[net.writer[fifo]] = 1
        return int(state.depth[fifo])

    def stuck(self) -> bool:
        """Return whether something remains to be done, with nothing that can."""
        net, state = self.net, self.state
        actors = range(len(state.counts))
        unfinished = any(c > g for c, g in zip(state.come, state.gone, strict=True))
        unfinished |= any(state.counts[actor] % net.phases[actor] for actor in actors)
        return unfinished or any(not self._starved(actor) for actor in actors)

    def _starving(self, actor: int) -> list[int]:
        """Return the FIFOs whose tokens the next firing lacks."""
        net, state = self.net, self.state
        phase = state.counts[actor] % net.phases[actor]
        return [
            net.read_fifo[read]
            for read in range(net.reads_at[actor], net.reads_at[actor + 1])
            for fifo in [net.read_fifo[read]]
            if state.come[fifo] - state.gone[fifo] < net.needs[net.read_pattern[read] + phase]
        ]

    def _full(self, actor: int) -> list[int]:
        """Return the FIFOs whose slots the next firing lacks."""
        net, state = self.net, self.state
        phase = state.counts[actor] % net.phases[actor]
        return [
            net.write_fifo[write]
            for write in range(net.writes_at[actor], net.writes_at[actor + 1])
            for fifo in [net.write_fifo[write]]
            if net.produces[net.write_pattern[write] + phase]
            and 0 <= state.depth[fifo] <= state.come[fifo] - state.gone[fifo]
        ]

    def _starved(self, actor: int) -> bool:
        """Return whether the next firing waits for a token (a source: has no more beats)."""
        if actor < len(self.beats):
            return bool(self.state.counts[actor] >= self.beats[actor])
        return bool(self._starving(actor))

    def culprit(self) -> str | None:
        """Return a full FIFO without which the run cannot go on; none if input is missing.

        Actors wait for each other in a circle: for a slot, which the reader frees, or for a
        token, which the writer makes. Of the full FIFOs in it, take one whose reader starves.
        """
        net = self.net
        actors = range(len(net.intervals))
        blocked = (actor for actor in actors if not self._starved(actor) and self._full(actor))
        at = next(blocked, None)
        path = dict[int, int]()
        while at is not None and at not in path:
            starving, full = self._starving(at), self._full(at)
            if not starving and (self._starved(at) or not full):
                return None
            path[at] = starving[0] if starving else full[0]
            at = net.writer[path[at]] if starving else net.reader[path[at]]
        circle = list(path)[list(path).index(at) :] if at is not None else []
        fifos = (path[actor] for actor in circle if net.writer[path[actor]] == actor)
        starved = (fifo for fifo in fifos if self._starved(net.reader[fifo]))
        return next((self.network.fifos[fifo].name for fifo in starved), None)

    def last_cycle(self) -> int:
        """Return the last cycle in which anything moved."""
        times = self.times()
        moves = (*times.fired.values(), *times.accepted.values(), *times.taken.values())
        moves = (*moves, *(record.pushed for record in times.fifos.values()))
        return max((int(cycles[-1]) for cycles in moves if len(cycles)), default=0)

    def times(self) -> Times:
        """Return the times so far."""
        net, state, network = self.net, self.state, self.network
        starts, fired = net.fired_at, np.asarray(state.fired, np.int64)
        fires = [fired[at : at + n] for at, n in zip(starts, state.counts, strict=True)]
        names = [a.name for a in (*network.sources, *network.processes, *network.sinks)]
        inner, last = len(network.sources), len(names) - len(network.sinks)

        def part(start: int, stop: int) -> dict[str, Cycles]:
            return dict(zip(names[start:stop], fires[start:stop], strict=True))

        records = dict[str, FifoRecord]()
        reserved = np.asarray(state.reserved, np.int64)
        popped = np.asarray(state.popped, np.int64)
        for number, fifo in enumerate(network.fifos):
            at = net.fifo_at[number]
            came = reserved[at : at + state.come[number]]
            left = popped[at : at + state.gone[number]]
            pushed = came + net.latency[number]
            records[fifo.name] = FifoRecord(fifo.name, fifo.depth, came, pushed, left)
        return Times(part(inner, last), part(0, inner), part(last, len(names)), records)
