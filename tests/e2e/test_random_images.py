"""Random networks on images: values against plain words, and all levels against each other."""

from collections import Counter

import numpy as np
import pytest
from image_stream_graphs import ImageStreamGraph
from numpy.typing import NDArray
from test_random_streams import assert_same, levels_of
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import PassPipeline

from fastml.compiler.pipelines import new_context
from fastml.dialects import qflow
from fastml.dialects.qflow import channel_of
from fastml.lowering import PASSES
from fastml.runtime import qflow_evaluation
from fastml.runtime.levels import open_level
from fastml.runtime.qflow import evaluate

CONTEXT = new_context()
CHOSEN = "qflow-fold,qflow-solve,qflow-schedule{clock-ns=4},qflow-size-fifos"
FRAMES = 3
QUICK = range(20)
FEATURES = (
    "window",
    "repeated",
    "shuffled columns",
    "reorder",
    "reduce",
    "serialise beats",
    "gather beats",
    "fork",
    "join",
    "folded beats",
    "parallel",
)

Array = NDArray[np.generic]


def build(seed: int) -> tuple[ImageStreamGraph, ModuleOp]:
    """Return a graph of 2 to 9 operations, and its module with depths chosen."""
    graph = ImageStreamGraph(seed, 2 + seed % 8)
    module = ModuleOp([graph.graph])
    PassPipeline.parse_spec(PASSES, CHOSEN).apply(CONTEXT, module)
    return graph, module


def expected(op: qflow.BeatsOp, frame: Array) -> list[list[int]]:
    """Return the tokens that an operation makes of one frame, place by place."""
    tokens = frame.tolist()
    match op:
        case qflow.WindowOp():
            fill, width = op.fill.array.tolist(), op.width
            return [
                [
                    element
                    for y in row
                    for x in column
                    for element in (tokens[y * width + x] if min(x, y) >= 0 else fill)
                ]
                for row in op.rows.array.tolist()
                for column in op.cols.array.tolist()
            ]
        case qflow.ReorderOp():
            fill = op.fill.array.tolist()
            return [tokens[k] if k >= 0 else fill for k in op.index.array.tolist()]
        case qflow.ReduceOp():
            made = {"sum": sum, "max": max, "min": min}[op.kind.data]
            groups = [tokens[k : k + op.count.data] for k in range(0, len(tokens), op.count.data)]
            return [[made(values) for values in zip(*group, strict=True)] for group in groups]
        case qflow.SerialiseOp():
            lanes = len(channel_of(op.result))
            padded = [token + [0] * (op.count * lanes - len(token)) for token in tokens]
            return [t[k : k + lanes] for t in padded for k in range(0, op.count * lanes, lanes)]
        case _:
            assert isinstance(op, qflow.DeserialiseOp)
            groups = [tokens[k : k + op.count] for k in range(0, len(tokens), op.count)]
            return [sum(group, list[int]())[: len(channel_of(op.result))] for group in groups]


def test_the_graphs_hold_what_is_to_be_tested() -> None:
    found = Counter(
        feature for seed in QUICK for feature in ImageStreamGraph(seed, 2 + seed % 8).features
    )
    assert [feature for feature in FEATURES if found[feature] < 2] == []


@pytest.mark.parametrize("seed", QUICK)
def test_values_of_every_process(seed: int) -> None:
    graph, module = build(seed)
    level = open_level("qflow", module)
    kinds = (qflow.BeatsOp, qflow.StageOp)
    made = {op.result: op.edge.data for op in graph.block.ops if isinstance(op, kinds)}
    made |= {value: name for name, value in graph.graph.inputs.items()}
    taps = sorted(made.values())
    changes = [op for op in graph.block.ops if isinstance(op, qflow.BeatsOp)]
    for stalls in (False, True):
        trace = level.simulate(graph.stimulus(FRAMES, stalls=stalls), taps)
        for op in changes:
            fifo = op.input.owner
            assert isinstance(fifo, qflow.FifoOp)
            before = trace.taps[made[fifo.input]].values
            before = before.reshape(FRAMES, -1, len(channel_of(op.input)))
            after = trace.taps[op.edge.data]
            wanted = [token for frame in before for token in expected(op, frame)]
            assert np.array_equal(after.values, wanted), op.edge.data
            assert after.cycles.shape[0] == len(wanted)
            assert np.all(np.diff(after.cycles[:, 0]) > 0)


@pytest.mark.parametrize("seed", range(30, 42))
def test_values_do_not_depend_on_the_parts_they_come_in(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, module = build(seed)
    beats = graph.beats(FRAMES)
    kinds = (qflow.BeatsOp, qflow.StageOp)
    edges = [op.edge.data for op in graph.block.ops if isinstance(op, kinds)]
    whole, tapped = evaluate(module, beats, edges)
    for places in (1, 13, 60):
        monkeypatch.setattr(qflow_evaluation, "PLACES", places)
        for taps in (edges, edges[::3], list[str]()):
            outputs, found = evaluate(module, beats, taps)
            assert all(np.array_equal(outputs[name], whole[name]) for name in whole)
            assert all(np.array_equal(found[name], tapped[name]) for name in taps)
    none = {name: rows[:0] for name, rows in beats.items()}
    outputs, found = evaluate(module, none, edges)
    assert {len(rows) for rows in (*outputs.values(), *found.values())} == {0}


@pytest.mark.parametrize("seed", range(20, 30))
def test_all_levels_agree_on_every_edge(seed: int) -> None:
    graph, module = build(seed)
    stimulus = graph.stimulus(FRAMES, stalls=True)
    kinds = (qflow.BeatsOp, qflow.StageOp)
    taps = [op.edge.data for op in graph.block.ops if isinstance(op, kinds)]
    levels = levels_of(module, rtl=False)
    wanted = levels.pop("qflow").simulate(stimulus, taps)
    for name, level in levels.items():
        found = level.simulate(stimulus, taps)
        assert_same(wanted, found, f"seed {seed}, {name}")
        for edge, signal in wanted.taps.items():
            assert np.array_equal(signal.values, found.taps[edge].values), f"{name}: {edge}"
            cycles = np.broadcast_to(found.taps[edge].cycles, signal.cycles.shape)
            assert np.array_equal(signal.cycles, cycles), f"{name}: {edge}"
