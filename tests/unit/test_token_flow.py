"""Times of networks of processes, against a simulator that steps clock by clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.token_flow import (
    DeadlockError,
    Fifo,
    FifoRecord,
    Network,
    Process,
    Read,
    Run,
    Sink,
    Source,
    Times,
    Write,
    simulate,
)

Array = NDArray[Any]


@dataclass
class Clocked:
    """The definition, step by step: registered counters, every actor looks at the old state."""

    network: Network
    waits: Mapping[str, Array]
    ready: Mapping[str, Array]
    cycle: int = 0
    last: int = 0
    fired: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    def __post_init__(self) -> None:
        names = [f.name for f in self.network.fifos]
        self.count, self.used = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        self.most_used, self.most_held = dict(self.count), dict(self.used)
        self.depth = {f.name: f.depth for f in self.network.fifos}
        self.landing = list[tuple[int, str]]()
        net = self.network
        self.fired = {a.name: [] for a in (*net.sources, *net.processes, *net.sinks)}

    def run(self) -> None:
        quiet = 0
        limit = 20 + max((int(w.max(initial=0)) for w in self.waits.values()), default=0)
        limit += max((p.interval for p in self.network.processes), default=0)
        limit += max((w.latency for p in self.network.processes for w in p.writes), default=0)
        limit += max((len(r) for r in self.ready.values()), default=0)
        while quiet < limit:
            quiet = 0 if self.step() else quiet + 1

    def has_slots(self, fifos: list[str]) -> bool:
        return all(d is None or self.used[f] < d for f in fifos for d in [self.depth[f]])

    def step(self) -> bool:
        now = self.cycle
        pops, reserves, pushes = list[str](), list[str](), list[tuple[int, str]]()
        for source in self.network.sources:
            done = self.fired[source.name]
            waits = self.waits[source.name]
            if len(done) == len(waits):
                continue
            earliest = (done[-1] + 1 if done else 0) + int(waits[len(done)])
            if now >= earliest and self.has_slots(list(source.fifos)):
                done.append(now)
                reserves += source.fifos
                pushes += [(now, f) for f in source.fifos]
        for process in self.network.processes:
            done = self.fired[process.name]
            k = len(done) % process.phases
            if done and now < done[-1] + process.interval:
                continue
            writes = [w for w in process.writes if w.produces[k]]
            if not all(self.count[r.fifo] >= r.needs[k] for r in process.reads):
                continue
            if self.has_slots([w.fifo for w in writes]):
                done.append(now)
                pops += [r.fifo for r in process.reads for _ in range(r.consumes[k])]
                reserves += [w.fifo for w in writes]
                pushes += [(now + w.latency, w.fifo) for w in writes]
        for sink in self.network.sinks:
            ready = self.ready.get(sink.name, np.ones(0, bool))
            if self.count[sink.fifo] > 0 and (now >= len(ready) or ready[now]):
                self.fired[sink.name].append(now)
                pops.append(sink.fifo)
        self.landing += pushes
        landed = [f for t, f in self.landing if t == now]
        for f in pops:
            self.used[f] -= 1
            self.count[f] -= 1
        for f in reserves:
            self.used[f] += 1
        for f in landed:
            self.count[f] += 1
        for f in self.used:
            self.most_used[f] = max(self.most_used[f], self.used[f])
            self.most_held[f] = max(self.most_held[f], self.count[f])
        moved = bool(pops or reserves or landed or pushes) or any(
            times and times[-1] == now for times in self.fired.values()
        )
        if moved:
            self.last = now
        self.cycle += 1
        return moved

    @property
    def finished(self) -> bool:
        offered = all(len(self.fired[n]) == len(w) for n, w in self.waits.items())
        whole = all(len(self.fired[p.name]) % p.phases == 0 for p in self.network.processes)
        return offered and whole and not any(self.count.values())


def check(network: Network, waits: Mapping[str, Array], ready: Mapping[str, Array]) -> bool:
    """Compare every time; return whether the network came to its end."""
    clocked = Clocked(network, waits, ready)
    clocked.run()
    try:
        times = simulate(network, waits, ready)
    except DeadlockError as deadlock:
        error = deadlock
    else:
        assert clocked.finished
        compare(times, clocked)
        return True
    assert not clocked.finished
    assert error.cycle == clocked.last
    repaired = {shortage.fifo: shortage.needs for shortage in error.shortages}
    simulate(network.with_depths(repaired), waits, ready)
    for shortage in error.shortages:
        assert shortage.has == clocked.depth[shortage.fifo]
        short = repaired | {shortage.fifo: shortage.needs - 1}
        with pytest.raises(DeadlockError):
            simulate(network.with_depths(short), waits, ready)
    return False


def compare(times: Times, clocked: Clocked) -> None:
    found = {**times.accepted, **times.fired, **times.taken}
    assert {name: cycles.tolist() for name, cycles in found.items()} == clocked.fired
    for name, record in times.fifos.items():
        assert record.most_used == clocked.most_used[name]
        assert record.most_held == clocked.most_held[name]
        every = np.arange(clocked.last + 2)
        assert record.used_at(every).max() == record.most_used
        assert record.held_at(every).max() == record.most_held


class Builder:
    """Grows a network from its sources; values are FIFO names with their beats a frame."""

    def __init__(self, draw: st.DrawFn):
        self.draw = draw
        self.fifos = list[Fifo]()
        self.processes = list[Process]()
        self.sources = list[Source]()
        self.open = list[tuple[str, int]]()

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def fifo(self, beats: int) -> str:
        name = f"f{len(self.fifos)}"
        depth = self.draw(st.one_of(st.none(), st.integers(1, 9)))
        self.fifos.append(Fifo(name, depth))
        self.open.append((name, beats))
        return name

    def take(self, beats: int | None = None) -> tuple[str, int] | None:
        fitting = [o for o in self.open if beats in (None, o[1])]
        if not fitting:
            return None
        chosen = fitting[self.integer(0, len(fitting) - 1)]
        self.open.remove(chosen)
        return chosen

    def source(self) -> None:
        beats = self.draw(st.sampled_from([1, 2, 3, 5]))
        fifos = tuple(self.fifo(beats) for _ in range(self.integer(1, 2)))
        self.sources.append(Source(f"s{len(self.sources)}", fifos, beats))

    def around(self, name: str, fifo: str, beats: int) -> None:
        """A branch that gathers a frame and sends it again, and one that goes around it."""
        chain = [self.fifo(beats), self.fifo(1), self.fifo(beats), self.fifo(beats)]
        del self.open[-4:]
        near, whole, again, far = chain
        self.processes += [
            Process.cluster(f"{name}_copy", 1, [fifo], {near: 0, far: self.integer(0, 2)}),
            Process.deserialise(f"{name}_gather", near, [whole], beats),
            Process.serialise(f"{name}_send", whole, [again], beats),
            Process.cluster(name, 1, [again, far], {self.fifo(beats): 1}),
        ]

    def access(self, name: str, fifo: str, beats: int) -> None:
        """Phases that look at several tokens and let go of some: a window over a frame."""
        phases = self.integer(1, 6)
        flags = st.lists(st.booleans(), min_size=phases, max_size=phases)
        leave = self.draw(st.lists(st.integers(0, phases - 1), min_size=beats, max_size=beats))
        consumes = np.bincount(leave, minlength=phases)
        left = beats - (np.cumsum(consumes) - consumes)
        ahead = [self.integer(int(c), int(n)) for c, n in zip(consumes, left, strict=True)]
        ahead[0] = max(ahead[0], 1)  # or it would begin a frame that does not come
        produces = np.array(self.draw(flags))
        produces[self.integer(0, phases - 1)] = True
        write = Write(self.fifo(int(produces.sum())), produces, self.integer(0, 2))
        read = Read(fifo, np.array(ahead), consumes)
        self.processes.append(Process(name, 1, (read,), (write,), phases))

    def process(self) -> None:
        name, first = f"p{len(self.processes)}", self.take()
        assert first is not None
        fifo, beats = first
        kind = self.draw(st.sampled_from(["cluster", "rate", "rate", "access"]))
        if kind == "access":
            self.access(name, fifo, beats)
            return
        if kind == "rate" and beats > 1 and self.draw(st.booleans()):
            self.around(name, fifo, beats)
            return
        if kind == "rate":
            factor = self.integer(2, 4)
            if beats == 1:
                writes = [self.fifo(factor) for _ in range(self.integer(1, 2))]
                self.processes.append(Process.serialise(name, fifo, writes, factor))
                return
            writes = [self.fifo(1) for _ in range(self.integer(1, 2))]
            self.processes.append(Process.deserialise(name, fifo, writes, beats))
            return
        reads = [fifo]
        for _ in range(self.integer(1, 3)):
            other = self.take(beats)
            if other is not None:
                reads.append(other[0])
        writes = {self.fifo(beats): self.integer(0, 6) for _ in range(self.integer(1, 2))}
        self.processes.append(Process.cluster(name, self.integer(1, 5), reads, writes))


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, dict[str, Array], dict[str, Array]]:
    builder = Builder(draw)
    for _ in range(builder.integer(1, 2)):
        builder.source()
    for _ in range(builder.integer(1, 8)):
        builder.process()
    sinks = tuple(Sink(f"y{k}", fifo) for k, (fifo, _) in enumerate(builder.open))
    network = Network(tuple(builder.fifos), tuple(builder.processes), tuple(builder.sources), sinks)
    frames = builder.integer(1, 6)
    idle = st.sampled_from([0, 0, 0, 1, 2, 7])
    waits = {
        s.name: np.array([draw(idle) for _ in range(frames * s.beats)], np.int64)
        for s in network.sources
    }
    pattern = st.lists(st.booleans(), max_size=40)
    ready = {s.name: np.array(draw(pattern), bool) for s in network.sinks if draw(st.booleans())}
    return network, waits, ready


@settings(max_examples=250, deadline=None)
@given(networks())
def test_equal_to_stepping_the_clock(
    case: tuple[Network, dict[str, Array], dict[str, Array]],
):
    check(*case)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_compiled_or_not_is_the_same(
    case: tuple[Network, dict[str, Array], dict[str, Array]],
):
    pytest.importorskip("numba", reason="needs numba")
    runs = [Run(*case, fast=fast) for fast in (False, True)]
    for run in runs:
        run.settle()
    plain, compiled = (run.times() for run in runs)
    assert runs[0].stuck() == runs[1].stuck()
    assert runs[0].culprit() == runs[1].culprit()
    for mine, other in zip(sides(plain), sides(compiled), strict=True):
        assert np.array_equal(mine, other)


def sides(times: Times) -> list[Array]:
    found = [*times.accepted.values(), *times.fired.values(), *times.taken.values()]
    for record in times.fifos.values():
        found += [record.reserved, record.pushed, record.popped]
    return found


def test_random_networks_end_and_deadlock():
    """Both outcomes are common among them, so that the test above means something."""
    ends = list[bool]()

    @settings(max_examples=90, deadline=None, derandomize=True, database=None)
    @given(networks())
    def collect(case: tuple[Network, dict[str, Array], dict[str, Array]]) -> None:
        ends.append(check(*case))

    collect()
    assert ends.count(False) > 3
    assert ends.count(True) > 5


def skip_around(beats: int, depth: int | None) -> Network:
    """A branch that gathers all beats of a frame, and one that goes around it."""
    return Network(
        (Fifo("a", 2), Fifo("skip", depth), Fifo("b", 2), Fifo("c", 2), Fifo("y", 2)),
        (
            Process.deserialise("gather", "a", ["b"], beats),
            Process.serialise("send", "b", ["c"], beats),
            Process.cluster("join", 1, ["c", "skip"], {"y": 0}),
        ),
        (Source("x", ("a", "skip"), beats),),
        (Sink("z", "y"),),
    )


@pytest.mark.parametrize("depth", [1, 3, 15, 16])
def test_a_deadlock_names_what_is_missing(depth: int):
    network, waits = skip_around(17, depth), {"x": np.zeros(34, np.int64)}
    message = f"nothing moves after cycle {depth}: FIFO 'skip' needs depth 17, has {depth}"
    with pytest.raises(DeadlockError, match=message) as error:
        simulate(network, waits)
    assert error.value.code == "FML-DEADLOCK"
    assert not check(network, waits, {})
    assert check(skip_around(17, 17), waits, {})


def test_two_shortages_are_both_named():
    network = Network(
        tuple(Fifo(name, 2) for name in ("a", "s", "t", "b", "c", "d", "y")),
        (
            Process.deserialise("gather", "a", ["b"], 5),
            Process.serialise("send", "b", ["c", "d"], 5),
            Process.cluster("join", 1, ["c", "s"], {"y": 0}),
            Process.cluster("other", 1, ["d", "t"], {}),
        ),
        (Source("x", ("a", "s", "t"), 5),),
        (Sink("z", "y"),),
    )
    with pytest.raises(DeadlockError) as error:
        simulate(network, {"x": np.zeros(10, np.int64)})
    assert {(s.fifo, s.needs, s.has) for s in error.value.shortages} == {("s", 5, 2), ("t", 5, 2)}


def test_a_frame_that_is_not_whole():
    network = skip_around(4, None)
    with pytest.raises(FastmlError, match="do not make whole frames") as error:
        simulate(network, {"x": np.zeros(7, np.int64)})
    assert error.value.code == "FML-STIMULUS"


def line(depth: int, interval: int = 1, latency: int = 0) -> Network:
    return Network(
        (Fifo("a", depth), Fifo("b", depth)),
        (Process.cluster("p", interval, ["a"], {"b": latency}),),
        (Source("x", ("a",)),),
        (Sink("y", "b"),),
    )


@pytest.mark.parametrize(("depth", "distance"), [(2, 1), (1, 2)])
def test_a_slot_is_free_a_cycle_after_its_token_left(depth: int, distance: int):
    times = simulate(line(depth), {"x": np.zeros(5, np.int64)})
    assert times.taken["y"].tolist() == [2 + distance * k for k in range(5)]


def test_a_pearl_is_pipelined():
    """An interval below the latency takes as many slots as tokens are on their way."""
    waits = {"x": np.zeros(50, np.int64)}
    times = simulate(line(9, 3, 20), waits)
    assert np.all(np.diff(times.taken["y"])[-9:] == 3)
    slow = simulate(line(7, 3, 20), waits)
    assert slow.taken["y"][-1] > times.taken["y"][-1]
    assert times.fifos["b"].needs == 8


def test_stalls_reach_the_source():
    ready = {"y": np.zeros(30, bool)}
    times = simulate(line(2), {"x": np.zeros(9, np.int64)}, ready)
    assert times.accepted["x"].tolist()[:4] == [0, 1, 2, 3]
    assert times.accepted["x"][4] > 30
    assert times.taken["y"].tolist() == list(range(30, 39))


def test_records_of_a_fifo():
    record = FifoRecord("f", 4, *(np.array(t) for t in ([0, 1, 2], [3, 4, 5], [4, 5, 9])))
    assert (record.needs, record.most_used, record.most_held) == (3, 3, 1)
    assert record.used_at(np.arange(11)).tolist() == [0, 1, 2, 3, 3, 2, 1, 1, 1, 1, 0]
    assert record.held_at(np.arange(11)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0]
