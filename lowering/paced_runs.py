"""Whether a network keeps an interval of frames, by running it: for frames of many firings.

Frame ``k`` is offered ``k * ii`` cycles after frame 0, and no earlier. Such a run only ever
falls behind that pace, so that it comes to repeat itself exactly where the interval can be
kept; and once every firing comes ``ii`` cycles after the same one of the frame before, for as
many frames as a full FIFO reaches back, it does so for ever. A network that runs freely is
never later.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fastml.dialects.token_flow import Fifo, Network, Process, Run, Source, Times

MANY = 1 << 13
"""Firings a frame from which on the many runs are worth compiled code."""
FRAMES = (3, 6)
"""Frames after which a run is looked at, and given up, unless FIFOs reach back further."""
MOST_FRAMES = 40


class PacedRuns:
    """Runs of one network at different depths."""

    def __init__(self, network: Network):
        self.network = _gated(network)
        beats = {source.name: source.beats for source in network.sources}
        self.tokens, firings = network.capacities(beats)
        counts = [source.beats for source in network.sources]
        counts += [firings[process.name] * process.interval for process in network.processes]
        counts += [self.tokens[sink.fifo] for sink in network.sinks]
        self.bound = max(counts, default=1)
        """The interval of frames that FIFOs of any depth allow: that of the slowest actor."""
        ends = sum(beats.values()) + sum(self.tokens[sink.fifo] for sink in network.sinks)
        self.firings = sum(firings.values()) + ends
        self.effort = 0
        """Firings that all runs have computed so far."""
        self._runs = dict[tuple[int, int], Run]()

    def latency(self, depths: Mapping[str, int | None]) -> int | None:
        """Return the cycle of the last beat of the first frame; ``None`` if it does not come."""
        times = self._run(depths, 1, 0)
        return None if times is None else _last(times, 1)

    def keeps(self, depths: Mapping[str, int | None], ii: int, latency: int) -> bool:
        """Return whether frames come every ``ii`` cycles, the first with this latency.

        Where that is not seen within a few frames, the answer is no.
        """
        if self.latency(depths) != latency:
            return False
        return self.repeats(depths, ii) is not None

    def interval(self, depths: Mapping[str, int | None], ii: int) -> int:
        """Return what the last interval of some frames is that are offered every ``ii`` cycles."""
        frames = FRAMES[-1]
        times = self._run(depths, frames, ii)
        assert times is not None, "the first frame comes to its end, so that all do"
        ends = (taken.reshape(frames, -1)[-2:] for taken in times.taken.values() if len(taken))
        return max((int(last.max() - before.max()) for before, last in ends), default=ii)

    def repeats(self, depths: Mapping[str, int | None], ii: int) -> dict[str, int] | None:
        """Return the depths that a run needs which repeats every ``ii`` cycles, if it does."""
        frames = FRAMES[0]
        while True:
            times = self._run(depths, frames, ii)
            if times is None:
                return None
            needs = {name: max(times.fifos[name].needs, 1) for name in self.tokens}
            spans = (-(-needs[name] // count) for name, count in self.tokens.items())
            reach = max(spans, default=1)
            if reach < frames and _repeats(times, frames, ii, reach):
                return needs
            enough = reach < frames and frames >= FRAMES[-1]
            if enough or frames == MOST_FRAMES:
                return None
            frames = min(max(2 * frames, reach + 2), MOST_FRAMES)

    def _run(self, depths: Mapping[str, int | None], frames: int, ii: int) -> Times | None:
        self.effort += frames * self.firings
        run = self._runs.get((frames, ii))
        if run is None:
            waits = {s.name: _pace(s.beats, frames, ii) for s in self.network.sources}
            many = self.firings >= MANY or None
            run = self._runs[frames, ii] = Run(self.network, waits, {}, fast=many)
        run.restart(depths)
        run.settle()
        return None if run.stuck() else run.times()


def _gated(network: Network) -> Network:
    """Put a FIFO without bounds behind each source, so that nothing holds its beats up.

    All that follows comes a cycle later.
    """
    fifos, gates, sources = list(network.fifos), list[Process](), list[Source]()
    for source in network.sources:
        pace = Fifo(f"{source.name}'")
        fifos.append(pace)
        sources.append(replace(source, fifos=(pace.name,)))
        gates.append(Process.cluster(pace.name, 1, [pace.name], dict.fromkeys(source.fifos, 0)))
    processes = (*gates, *network.processes)
    return Network(tuple(fifos), processes, tuple(sources), network.sinks)


def _pace(beats: int, frames: int, ii: int) -> np.ndarray:
    waits = np.zeros((frames, beats), np.int64)
    waits[1:, 0] = ii - beats
    return waits.reshape(-1)


def _last(times: Times, frames: int) -> int:
    ends = [int(taken[len(taken) // frames - 1]) for taken in times.taken.values() if len(taken)]
    return max(ends, default=1) - 1  # the gate takes a cycle


def _repeats(times: Times, frames: int, ii: int, reach: int) -> bool:
    """Return whether the last frames come ``ii`` cycles apart, firing by firing."""
    for fired in (*times.fired.values(), *times.taken.values()):
        last = fired.reshape(frames, -1)[frames - 1 - reach :]
        if np.any(np.diff(last, axis=0) != ii):
            return False
    return True
