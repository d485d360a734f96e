"""Streaming qflow graphs: made from static ones, with the same values, and run by tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import IntAttr, ModuleOp
from xdsl.ir import SSAValue

from fastml.compiler.flow_report import describe_flow
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import ArrayAttr, integer_array
from fastml.dialects.qflow import ChannelType, Rounding, channel_of
from fastml.dialects.qflow_network import network_of
from fastml.dialects.qflow_processes import processes_of
from fastml.dialects.qflow_streams import join_beats, split_beats
from fastml.dialects.token_flow import DeadlockError
from fastml.lowering import fifo_sizing
from fastml.lowering.qflow_schedule import QflowSchedule
from fastml.lowering.qflow_size_fifos import QflowSizeFifos
from fastml.lowering.qflow_solve import QflowSolve
from fastml.lowering.qflow_stream import Clusters, QflowStream
from fastml.runtime.qflow import evaluate, graph_of, simulate
from fastml.runtime.trace import Stimulus, back_to_back

Array = NDArray[Any]


def channel(count: int, low: int = -8, high: int = 7) -> ChannelType:
    bounds = (integer_array(np.full(count, bound, object)) for bound in (low, high))
    return ChannelType.of((count,), *bounds)


def finish(graph: qflow.GraphOp, outputs: list[SSAValue]) -> ModuleOp:
    graph.body.block.add_op(qflow.YieldOp(outputs))
    module = ModuleOp([graph])
    module.verify()
    return module


def residual() -> ModuleOp:
    """A branch of two matrices, and an edge around it."""
    rng = np.random.default_rng(3)
    graph = qflow.GraphOp("residual", {"x": channel(5)}, ["y", "h"])
    (x,) = graph.body.block.args
    first = qflow.DenseOp("h", x, rng.integers(-9, 10, (5, 5)), np.arange(5), (5,))
    second = qflow.DenseOp("g", first.result, rng.integers(-9, 10, (5, 5)), np.arange(5), (5,))
    one = np.ones(5, np.int64)
    join = qflow.CombineOp("y", [second.result, x], np.stack([one, 3 * one]), 0 * one, (5,))
    graph.body.block.add_ops([first, second, join])
    return finish(graph, [join.result, first.result])


def stream(
    module: ModuleOp,
    clock: float = 2.1,
    depths: tuple[str, ...] = (),
    slower: bool = False,
    **options: Any,
) -> ModuleOp:
    streamed = module.clone()
    QflowSolve().apply(Context(), streamed)
    QflowStream(**options).apply(Context(), streamed)
    streamed.verify()
    QflowSchedule(clock_ns=clock).apply(Context(), streamed)
    QflowSizeFifos(depths=depths, allow_slower=slower).apply(Context(), streamed)
    streamed.verify()
    return streamed


def fifo_depths(module: ModuleOp) -> dict[str, int]:
    return {fifo.edge.data: fifo.depth.data for fifo in graph_of(module).fifos}


# --- random graphs --------------------------------------------------------------------


@dataclass
class Growing:
    """Draws a graph, stage after stage, of channels of four elements."""

    draw: st.DrawFn
    graph: qflow.GraphOp

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.draw(st.integers(0, 999)))
        self.values: list[SSAValue] = list(self.graph.body.block.args)

    def pick(self) -> SSAValue:
        recent = self.values[-4:]
        return recent[self.draw(st.integers(0, len(recent) - 1))]

    def stage(self, number: int) -> None:
        edge, source, one = f"e{number}", self.pick(), np.ones(4, np.int64)
        kind = self.draw(st.sampled_from(["dense", "combine", "rescale", "rearrange", "multiply"]))
        if int(np.abs(channel_of(source).highs).max()) > 1 << 10:
            kind = "rescale"
        match kind:
            case "dense":
                weights = self.rng.integers(-5, 6, (4, 4))
                made: qflow.StageOp = qflow.DenseOp(edge, source, weights, one, (4,))
            case "combine":
                factors = np.stack([one, -2 * one])
                made = qflow.CombineOp(edge, [source, self.pick()], factors, one, (4,))
            case "multiply":
                made = qflow.MultiplyOp(edge, source, source, (4,))
            case "rearrange":
                index = self.rng.integers(0, 8, 4)
                made = qflow.RearrangeOp(edge, [source, self.pick()], index, (4,))
            case _:
                low, high = -9 * one, 9 * one
                rounding = Rounding.HALF_UP
                made = qflow.RescaleOp(edge, source, one, 3 * one, rounding, low, high, (4,))
        self.graph.body.block.add_op(made)
        self.values.append(made.result)


class Drawn:
    """A graph, whose text is too long to be printed by hypothesis."""

    def __init__(self, module: ModuleOp):
        self.module = module


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    inputs = {f"x{k}": channel(4, -4, 3 + k) for k in range(draw(st.integers(1, 2)))}
    names = [f"y{k}" for k in range(draw(st.integers(1, 3)))]
    growing = Growing(draw, qflow.GraphOp("random", inputs, names))
    for number in range(draw(st.integers(1, 9))):
        growing.stage(number)
    outputs = [growing.values[-1], *(growing.pick() for _ in names[1:])]
    return Drawn(finish(growing.graph, outputs))


@settings(max_examples=40, deadline=None)
@given(graphs(), st.data())
def test_streams_have_the_values_of_the_static_graph(drawn: Drawn, data: st.DataObject):
    module, frames = drawn.module, 6
    beats_in, beats_out = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    cluster: str = data.draw(st.sampled_from(["connected", "stage"]))
    streamed = stream(module, 5, cluster=cluster, input_beats=beats_in, output_beats=beats_out)
    rng = np.random.default_rng(1)
    beats = {name: rng.integers(-4, 4, (frames, 4)) for name in graph_of(module).inputs}
    split = {name: split_beats(values, beats_in) for name, values in beats.items()}
    idle = {name: rng.integers(0, 3, len(values)) for name, values in split.items()}
    ready = {name: rng.integers(0, 2, 50).astype(bool) for name in graph_of(module).outputs}
    stimulus = Stimulus(split, rng.integers(0, 4, frames), idle=idle, ready=ready)
    edges = [stage.edge.data for stage in graph_of(module).stages]
    expected, inner = evaluate(module, beats, edges)
    trace = simulate(streamed, stimulus, edges)
    for name, values in expected.items():
        assert np.array_equal(join_beats(trace.outputs[name].values, beats_out, 4), values)
        cycles = trace.outputs[name].cycles[:, 0]
        assert np.all(np.diff(cycles) > 0)
        within = cycles[cycles < 50]
        assert np.all(ready[name][within])
    for edge in edges:
        assert np.array_equal(trace.taps[edge].values, inner[edge])
    for name, record in trace.fifos.items():
        assert record.most_used <= fifo_depths(streamed)[name]


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_clusters_become_processes(drawn: Drawn):
    module = drawn.module
    graph = graph_of(module)
    clusters = Clusters(graph)
    clusters.join_neighbours()
    streamed = stream(module, 5)
    found = processes_of(graph_of(streamed).body.block)
    sets = {frozenset(s.edge.data for s in process.stages) for process in found.processes}
    wanted = [set[str]() for _ in graph.stages]
    for stage, number in clusters.of.items():
        wanted[number].add(stage.edge.data)
    copies = {frozenset([f"{name}:copy"]) for name in graph.inputs}
    assert sets - copies == {frozenset(w) for w in wanted if w}


# --- one graph, followed by hand ----------------------------------------------------------


def test_a_network_by_hand():
    module = stream(residual(), clock=0, cluster="stage")
    graph = graph_of(module)
    assert graph.ii is not None
    assert graph.latency is not None
    # every process costs a cycle, as does the output's FIFO: x:copy, h, g, y
    assert (graph.ii.data, graph.latency.data) == (1, 5)
    assert fifo_depths(module) == {
        "x.fifo": 2,
        "x.fifo.h": 2,
        "x.fifo.y": 4,
        "h.fifo.g": 2,
        "h.fifo.h": 2,
        "g.fifo": 2,
        "y.fifo": 2,
    }
    beats = {"x": np.arange(15).reshape(3, 5) % 8}
    ready = {"y": np.array([False] * 7 + [True])}
    stimulus = Stimulus(beats, np.array([4, 0, 5]), ready=ready)
    trace = simulate(module, stimulus, ["x", "x:copy", "h", "g", "y"])
    assert trace.accepted["x"].tolist() == [0, 1, 7]
    fired = {edge: signal.cycles[:, 0].tolist() for edge, signal in trace.taps.items()}
    assert fired == {
        "x": [0, 1, 7],
        "x:copy": [1, 2, 8],
        "h": [2, 3, 9],
        "g": [3, 4, 10],
        "y": [4, 5, 11],
    }
    assert trace.outputs["y"].cycles[:, 0].tolist() == [7, 8, 12]
    assert trace.outputs["h"].cycles[:, 0].tolist() == [3, 4, 10]
    assert trace.fifos["y.fifo"].most_held == 2
    assert trace.fifos["x.fifo.y"].used_at(np.arange(6)).tolist() == [0, 0, 1, 2, 2, 1]


def test_elements_of_a_tap_have_their_own_cycles():
    module = stream(residual(), clock=1.2, cluster="connected")
    trace = simulate(module, back_to_back({"x": np.zeros((4, 5), np.int64)}, 4), ["h", "y"])
    stages = {stage.edge.data: stage for stage in graph_of(module).stages}
    for edge, signal in trace.taps.items():
        own = stages[edge].cycles
        assert own is not None
        assert np.array_equal(signal.cycles, np.arange(1, 5)[:, None] + own.array)
    outputs = trace.outputs["y"].cycles[:, 0]
    assert np.array_equal(outputs, trace.taps["y"].cycles.max(axis=1) + 1)


def test_a_static_graph_and_its_stream_agree_on_a_single_process():
    """One process between two FIFOs is the static design, two cycles later."""
    module = residual()
    static = module.clone()
    QflowSolve().apply(Context(), static)
    QflowSchedule(clock_ns=1.2).apply(Context(), static)
    streamed = stream(module, clock=1.2)
    latencies = [graph_of(m).latency for m in (static, streamed)]
    assert latencies[0] is not None
    assert latencies[1] is not None
    assert len(processes_of(graph_of(streamed).body.block).processes) == 1
    assert latencies[1].data == latencies[0].data + 2


# --- depths -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.fifo", "x.fifo.h", "x.fifo.y", "g.fifo", "y.fifo"])
def test_one_slot_less_costs_time(name: str):
    module = stream(residual(), clock=0, cluster="stage")
    stimulus = back_to_back({"x": np.zeros((60, 5), np.int64)}, 60)
    fast = simulate(module, stimulus).outputs["y"].cycles[-1, 0]
    for fifo in graph_of(module).fifos:
        if fifo.edge.data == name:
            fifo.depth = IntAttr(fifo.depth.data - 1)
    assert simulate(module, stimulus).outputs["y"].cycles[-1, 0] > fast + 10


def deep_skip(depth: int | None = None) -> ModuleOp:
    """The beats of a frame go around a branch that gathers them and sends them again."""
    ends = np.array([0]), np.array([3])
    text_type = ChannelType.of((1,), *ends, beats=17, protocol=qflow.Protocol.RV)
    graph = qflow.GraphOp("deep", {"x": text_type}, ["y"])
    (x,) = graph.body.block.args
    port = qflow.FifoOp("x.fifo", x, 2)
    index = np.zeros(1, np.int64)
    copy = qflow.RearrangeOp("copy", [port.result], index, (1,))
    near, far = qflow.FifoOp("near", copy.result, 2), qflow.FifoOp("skip", copy.result, depth or 2)
    whole = channel(17, 0, 3)
    gather = qflow.DeserialiseOp("gather", near.result, (17,), whole.lows, whole.highs)
    gathered = qflow.FifoOp("gathered", gather.result, 2)
    send = qflow.SerialiseOp("send", gathered.result, 17)
    sent = qflow.FifoOp("sent", send.result, 2)
    join = qflow.MultiplyOp("join", sent.result, far.result, (1,))
    end = qflow.FifoOp("y.fifo", join.result, 2)
    ops = [port, copy, near, far, gather, gathered, send, sent, join, end]
    graph.body.block.add_ops(ops)
    module = finish(graph, [end.result])
    QflowSchedule(clock_ns=0).apply(Context(), module)
    return module


def test_a_planted_deadlock_is_found():
    module = deep_skip(16)
    graph_of(module).ii = graph_of(module).latency = IntAttr(1)
    with pytest.raises(DeadlockError, match="FIFO 'skip' needs depth 17, has 16") as error:
        simulate(module, back_to_back({"x": np.zeros((34, 1), np.int64)}, 2))
    assert error.value.code == "FML-DEADLOCK"
    # the copy fires in cycles 1 to 16; two more beats are accepted, the last in cycle 17
    assert error.value.cycle == 17


def test_beats_through_a_network():
    module = deep_skip()
    QflowSizeFifos().apply(Context(), module)
    graph = graph_of(module)
    assert graph.ii is not None
    assert graph.ii.data == 17
    values = np.arange(68).reshape(68, 1) % 4
    trace = simulate(module, back_to_back({"x": values}, 4), ["gather", "send", "join"])
    assert np.array_equal(trace.outputs["y"].values, values**2)
    assert np.array_equal(trace.taps["gather"].values, values.reshape(4, 17))
    assert trace.taps["gather"].cycles.shape == (4, 17)
    assert np.all(trace.taps["gather"].cycles[0] == 2 + 16)
    assert trace.taps["send"].cycles[:3, 0].tolist() == [19, 20, 21]
    assert trace.outputs["y"].cycles[0, 0] == 21
    assert fifo_depths(module)["skip"] > 17


def test_a_search_that_was_cut_short_is_marked(monkeypatch: pytest.MonkeyPatch):
    module, least = deep_skip(), deep_skip()
    QflowSizeFifos().apply(Context(), least)
    assert graph_of(least).spare_slots is None
    assert "spare_slots" not in describe_flow(graph_of(least))
    monkeypatch.setattr(fifo_sizing, "MANY", 0)
    monkeypatch.setattr(fifo_sizing, "EFFORT", 0)
    QflowSizeFifos().apply(Context(), module)
    graph = graph_of(module)
    assert graph.spare_slots is not None
    assert (graph.ii, graph.latency) == (graph_of(least).ii, graph_of(least).latency)
    assert describe_flow(graph)["spare_slots"] is True
    shallow = fifo_depths(least)
    assert all(depth >= shallow[name] for name, depth in fifo_depths(module).items())
    # found again without a limit, it is marked no more
    monkeypatch.undo()
    QflowSizeFifos().apply(Context(), module)
    assert graph.spare_slots is None
    assert fifo_depths(module) == shallow


def test_given_depths():
    module = stream(residual(), clock=0, cluster="stage", depths=("g.fifo=9",))
    assert fifo_depths(module)["g.fifo"] == 9
    message = (
        "FIFO 'x.fifo.y' costs time: II 2 instead of 1, latency 5 instead of 5: needs depth 4, "
        "has 2"
    )
    with pytest.raises(FastmlError, match=message) as error:
        stream(residual(), clock=0, cluster="stage", depths=("x.fifo.y=2",))
    assert error.value.code == "FML-TARGET"
    slow = stream(residual(), clock=0, cluster="stage", depths=("x.fifo.y=2",), slower=True)
    graph = graph_of(slow)
    assert graph.ii is not None
    assert graph.ii.data == 2
    assert fifo_depths(slow)["x.fifo.y"] == 2


def test_a_given_depth_that_stops_the_design():
    with pytest.raises(DeadlockError, match="'skip' needs depth 17, has 3"):
        QflowSizeFifos(depths=("skip=3",)).apply(Context(), deep_skip())
    with pytest.raises(DeadlockError):
        QflowSizeFifos(depths=("skip=16",), allow_slower=True).apply(Context(), deep_skip())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": ("a=b=2",)}, "no FIFO 'a=b' in the graph; fix: one of x.fifo, h.fifo, y.fifo"),
        ({"depths": ("x.fifo=two",)}, "depth of FIFO 'x.fifo' must be a number >= 1, got 'two'"),
        ({"depths": ("x.fifo=0",)}, "depth of FIFO 'x.fifo' must be a number >= 1, got '0'"),
        ({"cluster": "any"}, "unknown cluster 'any'; fix: one of connected, stage"),
        ({"output_beats": 0}, "'y' has 5 elements, which cannot make 0 beats"),
        ({"input_beats": 6}, "'x' has 5 elements, which cannot make 6 beats"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str):
    with pytest.raises(FastmlError, match=message) as error:
        stream(residual(), **options)
    assert error.value.code == "FML-USAGE"


def test_streams_of_streams():
    with pytest.raises(FastmlError, match="the graph has streams already"):
        QflowStream().apply(Context(), stream(residual()))


# --- what does not fit --------------------------------------------------------------------


def test_frames_that_do_not_fit():
    module = deep_skip(20)
    with pytest.raises(FastmlError, match="'x' has 20 beats, but a frame has 17"):
        evaluate(module, {"x": np.zeros((20, 1), np.int64)})


def test_inputs_with_unequal_frames():
    graph = qflow.GraphOp("two", {"a": channel(2), "b": channel(2)}, ["y"])
    a, b = graph.body.block.args
    product = qflow.MultiplyOp("y", a, b, (2,))
    graph.body.block.add_op(product)
    module = stream(finish(graph, [product.result]))
    beats = {"a": np.zeros((3, 2), np.int64), "b": np.zeros((2, 2), np.int64)}
    with pytest.raises(FastmlError, match="inputs differ in frames"):
        evaluate(module, beats)


def test_a_promise_about_lanes_is_checked():
    graph = qflow.GraphOp(
        "narrow", {"x": ChannelType.of((2,), np.array([0, -4]), np.array([9, 3]))}, ["y"]
    )
    (x,) = graph.body.block.args
    module = stream(finish(graph, [x]), input_beats=2)
    values = np.array([[9], [3], [3], [9]])
    with pytest.raises(FastmlError, match=r"beat 1 of 'x:frame', element 1, is 9: outside -4..3"):
        evaluate(module, {"x": values})


def test_an_input_that_nobody_reads():
    graph = qflow.GraphOp("unread", {"a": channel(2), "b": channel(2)}, ["y"])
    module = stream(finish(graph, [graph.body.block.args[0]]))
    assert fifo_depths(module) == {"a.fifo": 2, "a.fifo#2": 2}
    ready = {"y": np.zeros(9, bool)}
    beats = {"a": np.zeros((6, 2), np.int64), "b": np.zeros((6, 2), np.int64)}
    trace = simulate(module, Stimulus(beats, np.zeros(6, np.int64), ready=ready), ["b"])
    assert trace.accepted["a"].tolist() == [0, 1, 2, 3, 11, 12]
    assert trace.accepted["b"].tolist() == [0, 1, 2, 3, 4, 5]


def test_without_cycles_there_is_no_network():
    module = deep_skip()
    for stage in graph_of(module).stages:
        stage.cycles = None
    with pytest.raises(FastmlError, match="no schedule") as error:
        network_of(graph_of(module))
    assert error.value.code == "FML-NO-SCHEDULE"
    with pytest.raises(FastmlError, match="the graph has no schedule"):
        simulate(module, back_to_back({"x": np.zeros((17, 1), np.int64)}, 1))


def test_late_elements_make_a_late_push():
    module = deep_skip(30)
    for stage in graph_of(module).stages:
        if stage.edge.data == "copy":
            stage.cycles = ArrayAttr.get(np.array([5]))
    (copy,) = [p for p in network_of(graph_of(module)).processes if p.name == "copy"]
    assert {write.latency for write in copy.writes} == {5}
