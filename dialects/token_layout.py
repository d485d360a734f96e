"""Networks as flat arrays, for the recurrence of :mod:`~fastml.dialects.token_kernel`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.token_kernel import Layout
from fastml.dialects.token_network import Cycles, Network

_Flags = NDArray[np.bool_]


@dataclass
class _Flat:
    """Patterns end to end; one that occurs several times is kept once."""

    parts: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]])
    places: dict[tuple[int, ...], int] = field(default_factory=dict[tuple[int, ...], int])
    size: int = 0

    def add(self, *patterns: NDArray[Any]) -> int:
        """Return where patterns of one length are that belong together."""
        key = tuple(map(id, patterns))
        if key not in self.places:
            self.places[key] = self.size
            self.parts.append(np.array(patterns, np.int64))
            self.size += len(patterns[0])
        return self.places[key]

    def rows(self, count: int) -> list[NDArray[Any]]:
        """Return ``count`` patterns that belong together, each end to end."""
        none = np.zeros((count, 0), np.int64)
        joined = np.concatenate([none, *self.parts], axis=1)
        return [joined[row] for row in range(count)]


@dataclass(frozen=True)
class _Port:
    actor: int
    fifo: int
    pattern: int


@dataclass
class _Ports:
    """What reads, or what writes, in the order of the actors."""

    ports: list[_Port] = field(default_factory=list[_Port])
    flat: _Flat = field(default_factory=_Flat)

    def starts(self, actors: int) -> Cycles:
        """Return where the ports of each actor begin, and the end."""
        return np.searchsorted([port.actor for port in self.ports], np.arange(actors + 1))

    def owners(self) -> list[int]:
        """Return the actor of each FIFO."""
        of = {port.fifo: port.actor for port in self.ports}
        return [of[fifo] for fifo in range(len(of))]


def layout_of(
    network: Network,
    waits: Mapping[str, Cycles],
    ready: Mapping[str, _Flags],
    tokens: Mapping[str, int],
    limits: Sequence[int],
) -> Layout:
    """Return the network as arrays; actors are sources, processes, sinks, in this order.

    ``limits`` are the most firings of each.
    """
    number = {fifo.name: at for at, fifo in enumerate(network.fifos)}
    actors = (*network.sources, *network.processes, *network.sinks)
    inner, last = len(network.sources), len(actors) - len(network.sinks)
    reads, writes = _ports(network, number, inner, last)
    waiting, takes = _Flat(), _Flat()
    waits_at = [waiting.add(waits[source.name]) for source in network.sources]
    flags = [ready.get(sink.name) for sink in network.sinks]
    following = [None if f is None else _next_ready(f) for f in flags]
    ready_at = [-1 if cycles is None else takes.add(cycles) for cycles in following]
    latency = {write.fifo: write.latency for p in network.processes for write in p.writes}
    ones = (1,) * len(network.sinks)
    needs, consumes = reads.flat.rows(2)
    return Layout(
        intervals=[1] * inner + [p.interval for p in network.processes] + [*ones],
        phases=[1] * inner + [p.phases for p in network.processes] + [*ones],
        limits=limits,
        fired_at=_starts(limits),
        waits_at=waits_at + [-1] * (len(actors) - inner),
        ready_at=[-1] * last + ready_at,
        ready_until=[0] * last + [0 if f is None else len(f) for f in flags],
        waits=waiting.rows(1)[0],
        ready=takes.rows(1)[0],
        reads_at=reads.starts(len(actors)),
        read_fifo=[port.fifo for port in reads.ports],
        read_pattern=[port.pattern for port in reads.ports],
        needs=needs,
        consumes=consumes,
        writes_at=writes.starts(len(actors)),
        write_fifo=[port.fifo for port in writes.ports],
        write_pattern=[port.pattern for port in writes.ports],
        produces=writes.flat.rows(1)[0],
        fifo_at=_starts([tokens[fifo.name] for fifo in network.fifos]),
        latency=[latency.get(fifo.name, 0) for fifo in network.fifos],
        writer=writes.owners(),
        reader=reads.owners(),
    )


def _ports(
    network: Network, number: Mapping[str, int], inner: int, last: int
) -> tuple[_Ports, _Ports]:
    reads, writes, one = _Ports(), _Ports(), np.ones(1, np.int64)
    for actor, source in enumerate(network.sources):
        every = writes.flat.add(one)
        writes.ports += [_Port(actor, number[name], every) for name in source.fifos]
    for actor, process in enumerate(network.processes, inner):
        for read in process.reads:
            place = reads.flat.add(read.needs, read.consumes)
            reads.ports.append(_Port(actor, number[read.fifo], place))
        for write in process.writes:
            place = writes.flat.add(write.produces)
            writes.ports.append(_Port(actor, number[write.fifo], place))
    for actor, sink in enumerate(network.sinks, last):
        reads.ports.append(_Port(actor, number[sink.fifo], reads.flat.add(one, one)))
    return reads, writes


def _next_ready(flags: _Flags) -> Cycles:
    """Return the first cycle from each on in which a sink is ready."""
    never = len(flags)
    cycles = np.where(flags, np.arange(never), never)
    return np.minimum.accumulate(cycles[::-1])[::-1]


def _starts(sizes: Iterable[int]) -> Sequence[int]:
    return [0, *np.cumsum(list(sizes), dtype=np.int64).tolist()][:-1]
