"""Interpreter of the ``qflow`` level: beats of exact integers, and their cycles.

A beat is a row of integers, a batch of frames an array ``(frames, elements)``. Cycles are
those of the schedule in the IR; in a graph with FIFOs they count from the firings of processes,
which depend on the stimulus.
"""

from collections.abc import Collection, Mapping

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import Integers
from fastml.dialects.qflow import channel_of
from fastml.dialects.qflow_cycles import Cycles, check_cycles, cycles_of
from fastml.dialects.qflow_network import giving_phases, latency_of, network_of
from fastml.dialects.qflow_processes import processes_of
from fastml.dialects.token_flow import Times
from fastml.dialects.token_flow import simulate as simulate_tokens
from fastml.runtime.qflow_evaluation import Evaluation, check_beats
from fastml.runtime.qflow_stages import matrix_product, run_adder_graph, run_stage
from fastml.runtime.trace import Signal, Stimulus, Trace
from fastml.runtime.weights import Memory, refuse_loads, segments_of

__all__ = [
    "evaluate",
    "graph_of",
    "loaded_memories",
    "matrix_product",
    "run_adder_graph",
    "run_stage",
    "simulate",
]


def graph_of(module: ModuleOp) -> qflow.GraphOp:
    """Return the module's one graph."""
    graphs = [op for op in module.ops if isinstance(op, qflow.GraphOp)]
    if len(graphs) != 1:
        raise FastmlError(f"needs exactly one qflow.graph, got {len(graphs)}", module)
    return graphs[0]


def evaluate(
    module: ModuleOp, beats: dict[str, Integers], taps: Collection[str] = ()
) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """Run beats by edge name through the graph; return outputs and taps by edge name.

    Beats have shape ``(frames * beats, elements)``, by the beats a frame of each channel.
    Raises :class:`FastmlError` where a beat is missing, has the wrong size or holds a value
    outside its channel's range, or where a tap is no edge of the graph.
    """
    return _evaluate(graph_of(module), beats, taps, {})


def _evaluate(
    graph: qflow.GraphOp,
    beats: Mapping[str, Integers],
    taps: Collection[str],
    loaded: Mapping[str, Integers],
) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """Evaluate with weights that were loaded, by the edge of their stage."""
    edges = _edges(graph)
    unknown = [name for name in taps if name not in edges]
    if unknown:
        raise FastmlError(f"no edge '{unknown[0]}' in the graph", graph, code="FML-USAGE")
    _check_inputs(graph, beats)
    wanted = [*graph.outputs.values(), *(edges[name] for name in taps)]
    values = Evaluation(graph, loaded, wanted).run(beats)
    outputs = {name: values[value] for name, value in graph.outputs.items()}
    return outputs, {name: values[edges[name]] for name in taps}


def simulate(module: ModuleOp, stimulus: Stimulus, taps: Collection[str] = ()) -> Trace:
    """Run a stimulus; cycles are predicted from the schedule in the IR.

    Raises :class:`FastmlError` (``FML-NO-SCHEDULE``) where the graph has no schedule,
    ``FML-SCHEDULE`` where its parts contradict each other, and ``FML-DEADLOCK`` where its
    FIFOs are too shallow.
    """
    graph = graph_of(module)
    if graph.ii is None or graph.latency is None:
        raise FastmlError("the graph has no schedule", graph, code="FML-NO-SCHEDULE")
    check_cycles(graph)
    outputs, tapped = _evaluate_loaded(graph, stimulus, taps)
    if graph.is_streaming:
        times = simulate_tokens(network_of(graph), stimulus.waits, stimulus.ready, graph)
        return Trace(
            {name: Signal(beats, times.taken[name][:, None]) for name, beats in outputs.items()},
            {name: Signal(beats, _tapped(graph, times, name)) for name, beats in tapped.items()},
            times.accepted,
            times.fifos,
        )
    offered = stimulus.offer_cycles(graph.ii.data)[:, None]
    edges = _edges(graph)
    signals = {
        name: Signal(values, offered + graph.latency.data) for name, values in outputs.items()
    }
    seen = {
        name: Signal(values, offered + cycles_of(edges[name])) for name, values in tapped.items()
    }
    return Trace(signals, seen)


def loaded_memories(graph: qflow.GraphOp) -> list[Memory]:
    """Return the weights that can be loaded."""
    return [
        Memory(stage.edge.data, *stage.loadable.bounds, stage.matrix.integers, stage.words)
        for stage in graph.stages
        if isinstance(stage, qflow.DenseOp) and stage.loadable is not None
    ]


def _evaluate_loaded(
    graph: qflow.GraphOp, stimulus: Stimulus, taps: Collection[str]
) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """Evaluate frames between loads of weights, one segment after the other."""
    assert graph.ii is not None
    assert graph.latency is not None
    if graph.is_streaming:
        refuse_loads(stimulus, "a network of processes")
        return _evaluate(graph, stimulus.beats, taps, {})
    memories = loaded_memories(graph)
    segments = segments_of(stimulus, memories, graph.ii.data, graph.latency.data)
    if len(segments) == 1:
        return _evaluate(graph, stimulus.beats, taps, segments[0].loads)
    loaded, parts = dict[str, Integers](), list[tuple[dict[str, Integers], ...]]()
    for segment in segments:
        loaded |= segment.loads
        rows = slice(segment.first, segment.stop)
        beats = {name: values[rows] for name, values in stimulus.beats.items()}
        parts.append(_evaluate(graph, beats, taps, loaded))
    outputs, tapped = (
        {name: np.concatenate([part[name] for part in side]) for name in side[0]}
        for side in zip(*parts, strict=True)
    )
    return outputs, tapped


def _tapped(graph: qflow.GraphOp, times: Times, edge: str) -> Cycles:
    """Return the cycle of each element of an edge of a streaming graph."""
    value = _edges(graph)[edge]
    if edge in graph.inputs:
        return times.accepted[edge][:, None] + cycles_of(value)
    process = next(
        process
        for process in processes_of(graph.body.block).processes
        if any(op.result is value for op in process.ops)
    )
    fired = times.fired[process.name].reshape(-1, process.phases)[:, giving_phases(process)]
    own = latency_of(value) if isinstance(value.owner, qflow.BeatsOp) else cycles_of(value)
    return fired.reshape(-1, 1) + np.broadcast_to(own, len(channel_of(value)))


def _edges(graph: qflow.GraphOp) -> dict[str, SSAValue]:
    kinds = (qflow.StageOp, qflow.BeatsOp)
    made = {op.edge.data: op.result for op in graph.body.block.ops if isinstance(op, kinds)}
    return dict(graph.inputs) | made


def _check_inputs(graph: qflow.GraphOp, beats: Mapping[str, Integers]) -> None:
    for name, value in graph.inputs.items():
        if name not in beats:
            raise FastmlError(f"no beats for input '{name}'", graph, code="FML-STIMULUS")
        check_beats(graph, name, beats[name], value)
    _check_frames(graph, beats)


def _check_frames(graph: qflow.GraphOp, beats: Mapping[str, Integers]) -> None:
    """Check that all inputs have beats for the same number of whole frames."""
    sizes = {name: channel_of(value).beats.data for name, value in graph.inputs.items()}
    counts = {name: divmod(len(beats[name]), size) for name, size in sizes.items()}
    for name, (_, rest) in counts.items():
        if rest:
            message = f"'{name}' has {len(beats[name])} beats, but a frame has {sizes[name]}"
            raise FastmlError(message, graph, code="FML-STIMULUS")
    if len(set(counts.values())) > 1:
        frames = ", ".join(f"'{name}' {count}" for name, (count, _) in counts.items())
        raise FastmlError(f"inputs differ in frames: {frames}", graph, code="FML-STIMULUS")
