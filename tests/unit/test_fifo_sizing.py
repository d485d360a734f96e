"""Depths of FIFOs: enough for full speed, and not one slot more."""

import math
import sys
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from token_networks import unet

from fastml.dialects.token_flow import (
    DeadlockError,
    Fifo,
    Network,
    Process,
    Read,
    Sink,
    Source,
    simulate,
)
from fastml.lowering import fifo_sizing
from fastml.lowering.fifo_sizing import Sizer, Sizing, SteadyState

Array = NDArray[Any]


def network(processes: list[Process], sources: list[Source], sinks: list[str]) -> Network:
    names = {r.fifo for p in processes for r in p.reads} | set(sinks)
    ends = tuple(Sink(f"out_{name}", name) for name in sinks)
    return Network(
        tuple(Fifo(name) for name in sorted(names)), tuple(processes), tuple(sources), ends
    )


def size(net: Network, given: dict[str, int] | None = None) -> Sizing:
    return Sizer(net, given or {}).run([fifo.name for fifo in net.fifos])


def measured(
    net: Network, depths: Mapping[str, int | None], frames: int = 120
) -> tuple[int, Fraction]:
    """Return latency and interval of frames, by running them until they repeat."""
    waits = {s.name: np.zeros(frames * s.beats, np.int64) for s in net.sources}
    times = simulate(net.with_depths(depths), waits)
    ends = np.stack([taken.reshape(frames, -1).max(axis=1) for taken in times.taken.values()])
    distances = np.diff(ends)
    for period in range(1, frames // 6):
        last = distances[:, -frames // 2 :]
        if np.array_equal(last[:, period:], last[:, :-period]):
            slowest = distances[:, -period:].sum(axis=1).max()
            return int(ends[:, 0].max()), Fraction(int(slowest), period)
    raise AssertionError("no steady state")


def what_stops(net: Network, depths: Mapping[str, int | None]) -> set[str]:
    waits = {s.name: np.zeros(s.beats, np.int64) for s in net.sources}
    try:
        simulate(net.with_depths(depths), waits)
    except DeadlockError as error:
        return {shortage.fifo for shortage in error.shortages}
    return set()


def check_minimal(net: Network, found: Sizing) -> None:
    """Run the network at the depths found, and with one less, FIFO after FIFO."""
    assert measured(net, found.depths) == (found.latency, found.ii)
    assert measured(net, dict.fromkeys(found.depths)) == (found.latency, found.ii)
    for name, depth in found.depths.items():
        if depth == 1:
            continue
        less = found.depths | {name: depth - 1}
        stopped = what_stops(net, less)
        if stopped:
            assert stopped == {name}
            continue
        latency, ii = measured(net, less)
        assert latency > found.latency or ii > found.ii, name


def test_a_line_of_processes():
    processes = [
        Process.cluster("a", 1, ["x"], {"h": 3}),
        Process.cluster("b", 4, ["h"], {"g": 9}),
        Process.cluster("c", 1, ["g"], {"y": 0}),
    ]
    net = network(processes, [Source("in", ("x",))], ["y"])
    found = size(net)
    assert (found.ii, found.latency) == (4, 0 + 1 + 3 + 1 + 9 + 1 + 0 + 1)
    # a slot is taken for latency + 2 cycles, of which a new frame comes every 4
    assert found.depths == {"x": 1, "h": 2, "g": 3, "y": 1}
    check_minimal(net, found)


def test_full_speed_needs_two_slots():
    net = network([Process.cluster("a", 1, ["x"], {"y": 5})], [Source("in", ("x",))], ["y"])
    found = size(net)
    assert (found.ii, found.latency, found.depths) == (1, 7, {"x": 2, "y": 7})
    check_minimal(net, found)


def test_a_skip_around_a_slow_branch():
    processes = [
        Process.cluster("copy", 1, ["x"], {"near": 0, "skip": 0}),
        Process.cluster("a", 5, ["near"], {"h": 17}),
        Process.cluster("b", 3, ["h"], {"g": 4}),
        Process.cluster("join", 1, ["g", "skip"], {"y": 1}),
    ]
    net = network(processes, [Source("in", ("x",))], ["y"])
    found = size(net)
    assert found.ii == 5
    # taken 1 + 17 + 1 + 4 + 1 cycles after it was reserved, and free a cycle later
    assert found.depths["skip"] == 25 // 5
    check_minimal(net, found)


def test_a_skip_around_a_gathered_frame_must_hold_it():
    processes = [
        Process.cluster("copy", 1, ["x"], {"near": 0, "skip": 0}),
        Process.deserialise("gather", "near", ["w"], 17),
        Process.serialise("send", "w", ["s"], 17),
        Process.cluster("join", 1, ["s", "skip"], {"y": 0}),
    ]
    net = network(processes, [Source("in", ("x",), 17)], ["y"])
    found = size(net)
    assert found.ii == 17
    assert found.depths["skip"] > 17
    check_minimal(net, found)
    with pytest.raises(DeadlockError, match="FIFO 'skip' needs depth 17, has 16"):
        Sizer(net, {"skip": 16}).slower()


def test_a_given_depth_that_costs_throughput():
    net = network([Process.cluster("a", 1, ["x"], {"y": 5})], [Source("in", ("x",))], ["y"])
    sizer = Sizer(net, {"y": 3})
    slower = sizer.slower()
    assert slower is not None
    assert (slower.fifo, slower.has, slower.needs, slower.ii) == ("y", 3, 7, 3)
    sizer.accept_given()
    found = sizer.run(["x", "y"])
    assert (found.ii, found.depths) == (3, {"x": 1, "y": 3})


def test_a_given_depth_that_is_enough():
    net = network([Process.cluster("a", 1, ["x"], {"y": 5})], [Source("in", ("x",))], ["y"])
    sizer = Sizer(net, {"y": 30})
    assert sizer.slower() is None
    assert sizer.run(["x", "y"]).depths == {"x": 2, "y": 30}


class Grower:
    """Draws a network whose rates fit; every channel is read."""

    def __init__(self, draw: st.DrawFn):
        self.draw = draw
        self.processes = list[Process]()
        self.open = list[tuple[str, int]]()
        self.count = 0

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def fifo(self, beats: int) -> str:
        self.count += 1
        self.open.append((f"f{self.count}", beats))
        return f"f{self.count}"

    def take(self, beats: int | None = None) -> tuple[str, int] | None:
        fitting = [o for o in self.open if beats in (None, o[1])]
        if not fitting:
            return None
        chosen = fitting[self.integer(0, len(fitting) - 1)]
        self.open.remove(chosen)
        return chosen

    def process(self) -> None:
        name = f"p{len(self.processes)}"
        first = self.take()
        assert first is not None
        fifo, beats = first
        if self.integer(0, 3) == 0:
            if beats == 1:
                out = self.fifo(4)
                self.processes.append(Process.serialise(name, fifo, [out], 4))
            else:
                out = self.fifo(1)
                self.processes.append(Process.deserialise(name, fifo, [out], beats))
            return
        reads = [fifo]
        for _ in range(self.integer(0, 2)):
            other = self.take(beats)
            if other is not None:
                reads.append(other[0])
        writes = {self.fifo(beats): self.integer(0, 9) for _ in range(self.integer(1, 2))}
        self.processes.append(Process.cluster(name, self.integer(1, 6), reads, writes))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    grower = Grower(draw)
    beats = draw(st.sampled_from([1, 1, 4]))
    sources = [Source("s0", (grower.fifo(beats),), beats)]
    if draw(st.booleans()):
        sources.append(Source("s1", (grower.fifo(1), grower.fifo(1)), 1))
    for _ in range(grower.integer(1, 9)):
        grower.process()
    return network(grower.processes, sources, [name for name, _ in grower.open])


@settings(max_examples=60, deadline=None)
@given(networks())
def test_random_networks(net: Network):
    found = size(net)
    assert found.ii == SteadyState(net).bound
    check_minimal(net, found)


@settings(max_examples=100, deadline=None)
@given(networks(), st.data())
def test_the_interval_of_any_depths(net: Network, data: st.DataObject):
    """The least whole II is what a long run comes down to, rounded up."""
    depths = {fifo.name: data.draw(st.integers(1, 6)) for fifo in net.fifos}
    sizer = Sizer(net, depths)
    try:
        latency, ii = measured(net, depths, 300)
    except DeadlockError:
        with pytest.raises(DeadlockError):
            sizer.slower()
        return
    assert sizer.best_ii() == math.ceil(ii)
    slower = sizer.slower()
    assert (slower is None) == (latency == sizer.latency and ii == sizer.ii)
    sizer.accept_given()
    assert (sizer.ii, sizer.latency) == (math.ceil(ii), latency)


def check_steady(net: Network, depths: dict[str, int], intervals: Iterable[int]) -> int:
    """Repeat solutions frame after frame; return how many there are."""
    state, solved = SteadyState(net), 0
    for ii in intervals:
        schedule = state.solve(ii, depths)
        if schedule is None:
            continue
        solved += 1
        fired = {
            actor.name: np.concatenate([cycles + frame * ii for frame in range(12)])
            for actor, cycles in zip(state.actors, schedule, strict=True)
        }
        for actor in state.actors:
            assert np.all(np.diff(fired[actor.name]) >= actor.interval)
        for fifo, depth in depths.items():
            reserved, pushed, popped, needed = moves(net, fifo, fired)
            assert np.all(needed > pushed[: len(needed)])
            assert np.all(reserved[depth:] > popped[: len(reserved) - depth])
    return solved


def test_frames_do_not_run_into_each_other():
    """The slow process gets three beats early and the last one late: the next frame waits."""
    processes = [
        Process.cluster("late", 1, ["b"], {"c": 9}),
        Process.serialise("send", "c", ["d"], 4),
        Process.cluster("join", 1, ["d", "held"], {"y": 0}),
        Process.cluster("slow", 3, ["near"], {"z": 0}),
    ]
    sources = [Source("s", ("held", "near"), 4), Source("t", ("b",))]
    net = network(processes, sources, ["y", "z"])
    depths = {fifo.name: 9 for fifo in net.fifos} | {"held": 3}
    assert check_steady(net, depths, range(12, 20)) > 4


@settings(max_examples=60, deadline=None)
@given(networks(), st.data())
def test_a_steady_state_can_be(net: Network, data: st.DataObject):
    """Repeated frame after frame, a solution keeps every rule of the network."""
    depths = {fifo.name: data.draw(st.integers(1, 9)) for fifo in net.fifos}
    bound = SteadyState(net).bound
    check_steady(net, depths, (bound, bound + 3, 3 * bound + 20))


def moves(net: Network, fifo: str, fired: dict[str, Array]) -> list[Array]:
    """Return when each token of a FIFO is reserved, pushed and popped, and first needed."""
    found = dict[str, Array]()
    for source in net.sources:
        if fifo in source.fifos:
            found["reserved"] = found["pushed"] = fired[source.name]
    for sink in net.sinks:
        if fifo == sink.fifo:
            found["popped"] = found["needed"] = fired[sink.name]
    for process in net.processes:
        times = fired[process.name].reshape(-1, process.phases)
        for write in process.writes:
            if write.fifo == fifo:
                found["reserved"] = times[:, np.array(write.produces)].reshape(-1)
                found["pushed"] = found["reserved"] + write.latency
        for read in process.reads:
            if read.fifo == fifo:
                consumed = np.tile(read.consumes, len(times))
                found["popped"] = np.repeat(times.reshape(-1), consumed)
                found["needed"] = first_looks(times.reshape(-1), read, len(times))
    return [found[what] for what in ("reserved", "pushed", "popped", "needed")]


def first_looks(times: Array, read: Read, rounds: int) -> Array:
    """Return when each token of a FIFO is looked at for the first time."""
    found, gone = dict[int, int](), 0
    needs, consumes = np.tile(read.needs, rounds), np.tile(read.consumes, rounds)
    for time, need, consumed in zip(*map(np.ndarray.tolist, (times, needs, consumes)), strict=True):
        for token in range(gone, gone + need):
            found.setdefault(token, time)
        gone += consumed
    return np.array([found[token] for token in range(gone)])


# --- frames of many firings ---------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(networks())
def test_runs_decide_as_inequalities_do(net: Network):
    """II and latency are the same; depths are enough, and not many more than the least."""
    order = [fifo.name for fifo in net.fifos]
    found, exact = (Sizer(net, {}, exact=exact).run(order) for exact in (False, True))
    assert (found.ii, found.latency) == (exact.ii, exact.latency)
    assert measured(net, found.depths) == (found.latency, found.ii)
    assert sum(found.depths.values()) <= 1.5 * sum(exact.depths.values()) + 4


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(networks(), st.data())
def test_runs_find_the_interval_of_any_depths(net: Network, data: st.DataObject):
    depths = {fifo.name: data.draw(st.integers(1, 6)) for fifo in net.fifos}
    exact, runs = (Sizer(net, depths, exact=exact) for exact in (True, False))
    try:
        ii = exact.best_ii()
    except DeadlockError:
        with pytest.raises(DeadlockError):
            runs.best_ii()
        return
    assert runs.best_ii() == ii


def test_a_skip_around_two_levels():
    """A U of 8x8, 4x4 and 2x2: all depths least, those of skips by the schedule."""
    net = unet(8, 2, 1)
    found = Sizer(net, {}, exact=False).run([fifo.name for fifo in net.fifos])
    assert found == Sizer(net, {}, exact=True).run([fifo.name for fifo in net.fifos])
    assert found.minimal
    check_minimal(net, found)
    # a step more than the image has pixels, for the pad at the right of its last row
    assert found.ii == 8 * 8 + 1
    # two rows and a pixel, and a pixel that comes as one leaves
    assert found.depths["f0"] == 2 * 8 + 2
    # the long skip waits for most of a frame to go down and up again, the short one for less
    skips = {read.fifo for p in net.processes if len(p.reads) == 2 for read in p.reads[1:]}
    assert {name: found.depths[name] for name in skips} == {"f3": 104, "f8": 16}


def test_the_search_ends(monkeypatch: pytest.MonkeyPatch):
    """Without effort, depths are those of the schedule: enough, and said not to be the least."""
    net = unet(16, 1, 1)
    order = [fifo.name for fifo in net.fifos]
    best = Sizer(net, {}, exact=False).run(order)
    monkeypatch.setattr(fifo_sizing, "EFFORT", 0)
    found = Sizer(net, {}, exact=False).run(order)
    assert not found.minimal
    assert (found.ii, found.latency) == (best.ii, best.latency)
    assert measured(net, found.depths, 12) == (best.latency, best.ii)
    assert sum(found.depths.values()) >= sum(best.depths.values())
