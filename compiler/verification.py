"""Verify a design: every level against the first, on vectors that are chosen to hurt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.host_comparison import (
    compare_epilogues,
    compare_prologues,
    hosts_of,
    random_inputs,
)
from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.qflow import GraphOp, RearrangeOp, StageOp, channel_of
from fastml.runtime.host import Host
from fastml.runtime.levels import RV, Level, NetworkLevel
from fastml.runtime.qflow import graph_of
from fastml.runtime.trace import Integers, Stimulus, Trace, as_beats_of, as_frames
from fastml.runtime.vectors import hurting_vectors, random_gaps, random_idle, random_ready
from fastml.runtime.verify import Counts, Coverage, Divergence, Toggles, compare

if TYPE_CHECKING:
    from fastml.compiler.design import Design


BACK_TO_BACK = "back-to-back"
STIMULI = (BACK_TO_BACK, "random gaps after a reset in flight")
STREAM_STIMULI = (
    BACK_TO_BACK,
    "idle inputs",
    "stalled outputs",
    "both after a reset in flight",
)
"""What ports of protocol ``rv`` are put to."""
SPELL = 512
"""Most cycles for which an output is stalled without a break."""
STATING = ("fastml", "csim")
"""Levels that know of streams their II and latency, and of no other cycle."""
PREDICTING = ("fastml", "affine", "csim")
"""Levels that know of time what their schedule says: nothing of gaps and stalls under ``rv``."""


@dataclass(frozen=True)
class Verification:
    """What a verification without a divergence has compared."""

    levels: tuple[str, ...]
    frames: int
    counts: Counts
    coverage: Coverage
    stimuli: tuple[str, ...] = STIMULI
    untimed: tuple[str, ...] = ()
    """Levels that say nothing of time where inputs idle or outputs stall."""
    notes: tuple[str, ...] = ()
    """What the levels say of their execution."""


def verify_design(
    design: "Design",
    levels: Sequence[str],
    inputs: Mapping[str, NDArray[Any]] | None,
    vectors: int,
    seed: int,
) -> Verification:
    """Compare each of ``levels`` with the next; raise :class:`Divergence`."""
    chosen = tuple(dict.fromkeys(levels))
    if len(chosen) < 2:
        raise FastmlError(
            "comparing needs two levels",
            in_file("--levels"),
            code="FML-USAGE",
            hint=f"choose from {', '.join(design.levels)}",
        )
    opened = {name: design.level(name) for name in chosen}
    module = design.module("qflow")
    graph = graph_of(module)
    host = design.level("qflow").host
    if host is None:
        raise FastmlError("carries no host's share", graph)
    beats = _beats(host, graph, inputs, vectors, seed)
    streams = design.level("qflow").protocol == RV
    timeless = [n for n in chosen if streams and n in PREDICTING and n != "csim"]
    stimuli = stimuli_of(graph, beats, seed)
    frames = next(iter(stimuli.values())).frames
    edges = [name for name in _edges_of(graph)]
    excused = dict[str, set[str]]()
    network = opened.get("fastml")
    if isinstance(network, NetworkLevel):
        network.interface = host.interface
        known = network.network.edges
        excused["fastml"] = {name for name in edges if name not in known}
    wires = {stage.edge.data for stage in graph.stages if isinstance(stage, RearrangeOp)}
    for name, level in opened.items():
        if level.edges is not None:  # it may read through wires
            excused[name] = wires.difference(level.edges)
    counts = Counts()
    toggles = _toggles(graph)
    hosts = hosts_of(opened, host)
    compare_prologues(hosts, random_inputs(host, seed) if inputs is None else inputs)
    for kind, stimulus in stimuli.items():
        traces = dict[str, Trace]()
        for name, level in opened.items():
            taps = [edge for edge in edges if edge not in excused.get(name, ())]
            traces[name] = level.simulate(stimulus, taps)
        untimed = PREDICTING if kind != BACK_TO_BACK else STATING
        untimed = untimed if streams else ()
        counts.add(
            compare(traces, edges, frames=frames, stimulus=kind, optional=excused, untimed=untimed)
        )
        compare_epilogues(opened, hosts, beats, traces)
        if kind == BACK_TO_BACK and streams:
            _compare_first_frame(opened, traces)
        if kind == BACK_TO_BACK:
            first = next(trace for name, trace in traces.items() if name != "fastml")
            toggles.add(first.taps)
    _compare_times(opened)  # last, since a difference in what they do says more
    notes = tuple(note for level in opened.values() for note in level.notes)
    return Verification(
        chosen, frames, counts, toggles.count(), tuple(stimuli), tuple(timeless), notes
    )


def _compare_first_frame(opened: Mapping[str, Level], traces: Mapping[str, Trace]) -> None:
    """Compare the latency that a network states with that of the first frame.

    Later frames of a stream may come earlier than one II after the other, as long as FIFOs
    fill: a network knows nothing of that.
    """
    time = opened["fastml"].time if "fastml" in opened else None
    for name, trace in traces.items():
        if time is None or name == "fastml":
            continue
        frames = traces["fastml"].outputs
        last = max(
            int(as_frames(signal.cycles[:, -1:], len(frames[edge].values))[0, -1])
            for edge, signal in trace.outputs.items()
        )
        if last != time[1]:
            raise Divergence(
                f"fastml and {name}: the latency of the first frame is {time[1]} and {last}",
                levels=("fastml", name),
            )


def stimuli_of(graph: GraphOp, beats: Mapping[str, Integers], seed: int) -> dict[str, Stimulus]:
    """Return the stimuli that a design is put to, by what they are."""
    channels = [channel_of(value) for value in graph.inputs.values()]
    frames = len(next(iter(beats.values()))) // channels[0].beats.data
    plain = Stimulus(beats, np.zeros(frames, np.int64))
    gaps = random_gaps(frames, seed)
    if not any(channel.is_stream for channel in channels):
        return dict(zip(STIMULI, (plain, Stimulus(beats, gaps, True)), strict=True))
    idle = {
        name: random_idle(len(rows), seed + number)
        for number, (name, rows) in enumerate(beats.items(), 1)
    }
    ii, latency = (0 if time is None else time.data for time in (graph.ii, graph.latency))
    cycles = latency + 2 * frames * ii
    ready = {
        name: random_ready(cycles, seed + number, min(4 * (latency + ii), SPELL))
        for number, name in enumerate(graph.outputs, 1)
    }
    given = (
        plain,
        Stimulus(beats, gaps, idle=idle),
        Stimulus(beats, plain.gaps, ready=ready),
        Stimulus(beats, gaps, True, idle, ready),
    )
    return dict(zip(STREAM_STIMULI, given, strict=True))


def _compare_times(opened: Mapping[str, Level]) -> None:
    """Compare what the levels state of II and latency, whatever they do."""
    for (first, one), (second, other) in pairwise(opened.items()):
        if one.time != other.time:
            raise Divergence(
                f"{first} and {second} state different times: {_time(one)} and {_time(other)}",
                levels=(first, second),
            )


def _time(level: Level) -> str:
    return "none" if level.time is None else "ii {} latency {}".format(*level.time)


def _edges_of(graph: GraphOp) -> dict[str, StageOp | None]:
    stages: dict[str, StageOp | None] = {stage.edge.data: stage for stage in graph.stages}
    return {**dict.fromkeys(graph.inputs), **stages}


def _beats(
    host: Host,
    graph: GraphOp,
    inputs: Mapping[str, NDArray[Any]] | None,
    vectors: int,
    seed: int,
) -> dict[str, Integers]:
    if inputs is not None:
        channels = {name: channel_of(value) for name, value in graph.inputs.items()}
        return {
            name: as_beats_of(rows, channels[name].beats.data, len(channels[name]))
            for name, rows in host.encode(inputs).items()
        }
    if vectors < 1:
        raise Divergence("nothing was compared: there are no vectors", levels=("", ""))
    return hurting_vectors(graph, vectors, seed)


def _toggles(graph: GraphOp) -> Toggles:
    channels = {name: channel_of(value) for name, value in graph.inputs.items()}
    channels |= {stage.edge.data: stage.channel for stage in graph.stages}
    return Toggles(
        {name: channel.lows for name, channel in channels.items()},
        {name: channel.highs for name, channel in channels.items()},
    )
