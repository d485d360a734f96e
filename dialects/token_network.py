"""Networks of processes joined by FIFOs: what they are made of.

A *token* is one beat. A process is a cyclo-static actor: its phases repeat, each looks at some
of the oldest tokens of every FIFO that it reads, consumes some of those, and produces at most
one into every FIFO that it writes. :mod:`~fastml.dialects.token_flow` says when.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Cycles = NDArray[np.int64]


@dataclass(frozen=True)
class Fifo:
    """A FIFO with one writer and one reader."""

    name: str
    depth: int | None = None
    """Slots for tokens; ``None`` for as many as it takes."""


class _Pattern:
    """What compares by the contents of its arrays."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return all(np.array_equal(mine, others) for mine, others in pairs)

    __hash__ = None  # pyright: ignore[reportAssignmentType]


@dataclass(frozen=True, eq=False)
class Read(_Pattern):
    """How a process reads a FIFO, phase by phase; whatever makes an array will do."""

    fifo: str
    needs: Cycles
    """How many of the oldest tokens each phase looks at."""
    consumes: Cycles
    """How many of those it pops."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", np.asarray(self.needs, np.int64))
        object.__setattr__(self, "consumes", np.asarray(self.consumes, np.int64))
        assert np.all(self.consumes <= self.needs), "a phase pops what it has not seen"

    @property
    def tokens(self) -> int:
        """Tokens popped in all phases together."""
        return int(self.consumes.sum())


@dataclass(frozen=True, eq=False)
class Write(_Pattern):
    """How a process writes a FIFO, phase by phase; whatever makes an array will do."""

    fifo: str
    produces: NDArray[np.bool_]
    latency: int
    """Cycles from the firing to the push."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "produces", np.asarray(self.produces, np.bool_))

    @property
    def tokens(self) -> int:
        """Tokens produced in all phases together."""
        return int(self.produces.sum())


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
        one = np.ones(1, np.int64)
        return cls(
            name,
            interval,
            tuple(Read(fifo, one, one) for fifo in reads),
            tuple(Write(fifo, one > 0, latency) for fifo, latency in writes.items()),
        )

    @classmethod
    def serialise(cls, name: str, read: str, writes: Sequence[str], beats: int) -> "Process":
        """One token in, popped with the last of the ``beats`` that it is sent in."""
        every = np.ones(beats, np.int64)
        reads = (Read(read, every, _last(beats)),)
        return cls(name, 1, reads, tuple(Write(w, every > 0, 0) for w in writes), beats)

    @classmethod
    def deserialise(cls, name: str, read: str, writes: Sequence[str], beats: int) -> "Process":
        """``beats`` tokens in, the token that they make out with the last of them."""
        every = np.ones(beats, np.int64)
        reads, last = (Read(read, every, every),), _last(beats) > 0
        return cls(name, 1, reads, tuple(Write(w, last, 0) for w in writes), beats)


def _last(phases: int) -> Cycles:
    return np.asarray(np.arange(phases) == phases - 1, np.int64)


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

    def capacities(self, beats: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
        """Return tokens of each FIFO and firings of each process, for beats of the sources.

        At most so many, where the beats make no whole frames.
        """
        firings = dict[str, int]()
        tokens = {fifo: beats[source.name] for source in self.sources for fifo in source.fifos}
        waiting = list(self.processes)
        while waiting:
            ready = [p for p in waiting if all(read.fifo in tokens for read in p.reads)]
            assert ready, "processes wait for each other in a circle"
            for process in ready:
                assert process.reads, f"process '{process.name}' waits for nothing"
                rounds = max(-(-tokens[read.fifo] // read.tokens) for read in process.reads)
                firings[process.name] = rounds * process.phases
                for write in process.writes:
                    tokens[write.fifo] = rounds * write.tokens
            waiting = [p for p in waiting if p.name not in firings]
        return tokens, firings
