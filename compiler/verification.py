"""Verify a design: every level against the first, on vectors that are chosen to hurt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from fastml.dialects.qflow import GraphOp, StageOp, channel_of
from fastml.runtime.host import Host
from fastml.runtime.levels import Level, NetworkLevel
from fastml.runtime.qflow import graph_of
from fastml.runtime.trace import Integers, Stimulus, Trace
from fastml.runtime.vectors import hurting_vectors, random_gaps
from fastml.runtime.verify import Counts, Coverage, Divergence, Toggles, compare

if TYPE_CHECKING:
    from fastml.compiler.design import Design


STIMULI = ("back-to-back", "random gaps, after a reset with beats in flight")


@dataclass(frozen=True)
class Verification:
    """What a verification without a divergence has compared."""

    levels: tuple[str, ...]
    frames: int
    counts: Counts
    coverage: Coverage
    stimuli: tuple[str, ...] = field(
        default=("back-to-back", "random gaps after a reset in flight")
    )
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
    frames = len(next(iter(beats.values())))
    edges = [name for name in _edges_of(graph)]
    excused = dict[str, set[str]]()
    network = opened.get("fastml")
    if isinstance(network, NetworkLevel):
        network.interface = host.interface
        known = network.network.edges
        excused["fastml"] = {name for name in edges if name not in known}
    counts = Counts()
    toggles = _toggles(graph)
    stimuli = {
        STIMULI[0]: (np.zeros(frames, np.int64), False),
        STIMULI[1]: (random_gaps(frames, seed), True),
    }
    hosts = hosts_of(opened, host)
    compare_prologues(hosts, random_inputs(host, seed) if inputs is None else inputs)
    for kind, (gaps, restart) in stimuli.items():
        traces = dict[str, Trace]()
        for name, level in opened.items():
            taps = [edge for edge in edges if edge not in excused.get(name, ())]
            traces[name] = level.simulate(Stimulus(beats, gaps, restart), taps)
        counts.add(compare(traces, edges, frames=frames, stimulus=kind, optional=excused))
        compare_epilogues(opened, hosts, beats, traces)
        if not restart:
            first = next(trace for name, trace in traces.items() if name != "fastml")
            toggles.add(first.taps)
    _compare_times(opened)  # last, since a difference in what they do says more
    notes = tuple(note for level in opened.values() for note in level.notes)
    return Verification(chosen, frames, counts, toggles.count(), notes=notes)


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
        return host.encode(inputs)
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
