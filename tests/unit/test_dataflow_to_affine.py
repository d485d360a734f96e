"""Streaming graphs down to hardware: every level says the same, of every edge."""

from collections.abc import Callable

import numpy as np
import pytest
from xdsl.dialects import memref
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.parser import Parser
from xdsl.passes import PassPipeline

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.dialects import directives, qflow
from fastml.dialects.array import integer_array
from fastml.dialects.qflow import ChannelType, FoldedAttr, Protocol
from fastml.lowering import PASSES
from fastml.runtime import mlir
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel, pinout_of
from fastml.runtime.levels import open_level
from fastml.runtime.trace import Signal, Stimulus, Trace
from fastml.runtime.verilator import lint

SCHEDULE = "qflow-fold,qflow-solve,qflow-schedule,qflow-size-fifos"


def apply(module: ModuleOp, passes: str) -> ModuleOp:
    """Run passes on a copy, and take it through its text."""
    context, copy = new_context(), module.clone()
    PassPipeline.parse_spec(PASSES, passes).apply(context, copy)
    copy.verify()
    return Parser(context, str(copy)).parse_module()


class Graph:
    """A streaming graph with one input, built op by op; every channel ends in a FIFO."""

    def __init__(self, elements: int, beats: int):
        plain = ChannelType.of(
            (elements,),
            integer_array(np.arange(elements) % 2 * -8),
            integer_array(np.full(elements, 7)),
            beats=beats,
        )
        self.op = qflow.GraphOp("flow", {"x": plain.with_protocol(Protocol.RV)}, [])
        self.block: Block = self.op.body.block
        self.fifos = 0

    def add(self, op: Operation) -> SSAValue:
        self.block.add_op(op)
        return op.results[0]

    def fifo(self, value: SSAValue) -> SSAValue:
        self.fifos += 1
        return self.add(qflow.FifoOp(f"fifo {self.fifos}", value, 2))

    def dense(self, edge: str, value: SSAValue, matrix: list[list[int]], reuse: int) -> SSAValue:
        columns = len(matrix[0])
        stage = qflow.DenseOp(edge, value, np.array(matrix), np.arange(columns) - 1, (columns,))
        if reuse > 1:
            stage.architecture = FoldedAttr(reuse)
        return self.add(stage)

    def module(self, *outputs: SSAValue) -> ModuleOp:
        self.block.add_op(qflow.YieldOp([self.fifo(value) for value in outputs]))
        names = [StringAttr(f"out {n}") for n in range(len(outputs))]
        self.op.output_names = type(self.op.output_names)(names)
        return apply(ModuleOp([self.op]), SCHEDULE)


def folded_on_beats() -> ModuleOp:
    """Beats of a frame through a parallel and a folded stage that fire together."""
    graph = Graph(3, 4)
    (x,) = graph.block.args
    a = graph.dense("a", graph.fifo(x), [[1, -2], [3, 5], [0, 7]], 1)
    b = graph.dense("b", a, [[2, 1, -1], [-3, 4, 9]], 3)
    return graph.module(b)


def fork_inside() -> ModuleOp:
    """An edge that is read in its process, by another, and by two outputs."""
    graph = Graph(4, 1)
    (x,) = graph.block.args
    a = graph.dense("a", graph.fifo(x), [[1, -2], [3, 5], [0, 7], [2, 2]], 1)
    b = graph.dense("b", a, [[2, 1], [-3, 4]], 2)
    c = graph.add(qflow.MultiplyOp("c", graph.fifo(a), graph.fifo(b), (2,)))
    return graph.module(a, b, c, a)


def padded_beats() -> ModuleOp:
    """Elements that do not fill the beats: whole beats of padding, and a fork of the beats."""
    graph = Graph(5, 1)
    (x,) = graph.block.args
    sent = graph.add(qflow.SerialiseOp("sent", graph.fifo(x), 4))
    twice = graph.dense("twice", graph.fifo(sent), [[2, 1], [0, 1]], 1)
    channel = qflow.channel_of(twice)
    lows, highs = (np.tile(bound, 4)[:5] for bound in (channel.lows, channel.highs))
    again = graph.fifo(twice)
    whole = graph.add(
        qflow.DeserialiseOp("whole", again, (5,), integer_array(lows), integer_array(highs))
    )
    return graph.module(whole, sent, twice)


def image() -> ModuleOp:
    """Tokens of an image: windows, some of them in another order, and sums; parts of beats."""
    graph = Graph(3, 12)
    (x,) = graph.block.args
    rows, cols = np.array([[-1, 0], [0, 1], [1, 2]]), np.array([[0, 1], [2, 3]])
    windows = graph.add(
        qflow.WindowOp("windows", graph.fifo(x), (3, 4), rows, cols, np.array([-9, 2, 5]))
    )
    index = np.array([5, -1, 0, 3])
    order = graph.add(qflow.ReorderOp("order", graph.fifo(windows), index))
    sums = graph.add(qflow.ReduceOp("sums", graph.fifo(order), "sum", 2))
    parts = graph.add(qflow.SerialiseOp("parts", graph.fifo(windows), 5))
    return graph.module(windows, sums, parts)


GRAPHS = {f.__name__: f for f in (folded_on_beats, fork_inside, padded_beats, image)}


def stimulus_of(module: ModuleOp, frames: int, seed: int) -> Stimulus:
    (graph,) = (op for op in module.ops if isinstance(op, qflow.GraphOp))
    rng = np.random.default_rng(seed)
    channel = qflow.channel_of(graph.inputs["x"])
    shape = frames * channel.beats.data, len(channel)
    beats = rng.integers(channel.lows, channel.highs, shape, endpoint=True)
    idle = rng.integers(0, 5, len(beats)) * (rng.random(len(beats)) < 0.3)
    ready = {name: rng.random(90) < 0.6 for name in graph.outputs}
    return Stimulus({"x": beats}, np.zeros(frames, np.int64), idle={"x": idle}, ready=ready)


def same(ours: Trace, theirs: Trace) -> None:
    for before, after in ((ours.outputs, theirs.outputs), (ours.taps, theirs.taps)):
        assert before.keys() == after.keys()
        for name, signal in before.items():
            equal(signal, after[name], name)
    np.testing.assert_array_equal(ours.accepted["x"], theirs.accepted["x"])


def equal(ours: Signal, theirs: Signal, name: str) -> None:
    np.testing.assert_array_equal(ours.values, theirs.values, name)
    first, second = np.broadcast_arrays(ours.cycles, theirs.cycles)
    np.testing.assert_array_equal(first, second, name)


@pytest.mark.parametrize("name", GRAPHS)
def test_levels_agree(name: str):
    """Graph, program and hardware: values and cycles of outputs and of all stages."""
    graph = GRAPHS[name]()
    program = apply(graph, "qflow-to-affine,check-schedule")
    hardware = open_level("hw", apply(program, "affine-to-hw"))
    assert isinstance(hardware, HardwareLevel)
    levels = [open_level("qflow", graph), open_level("affine", program)]
    edges = list(hardware.pinout.taps)
    stages = {
        op.edge.data
        for op in graph.walk()
        if isinstance(op, qflow.StageOp | qflow.SerialiseOp | qflow.DeserialiseOp)
    }
    assert stages <= set(edges)
    for seed in range(3):
        stimulus = stimulus_of(graph, 7, seed)
        measured = hardware.simulate(stimulus, edges)
        for level in levels:
            assert (level.protocol, level.time) == ("rv", hardware.time)
            assert level.beat_shapes == hardware.beat_shapes
            same(level.simulate(stimulus, edges), measured)


@pytest.mark.parametrize("name", GRAPHS)
def test_upstream_takes_the_text(name: str, require_tool: Callable[[str], str]):
    require_tool("mlir-opt")
    program = apply(GRAPHS[name](), "qflow-to-affine")
    # xDSL cannot read the custom form of `memref.global`.
    generic = any(isinstance(op, memref.GlobalOp) for op in program.ops)
    text = mlir.roundtrip(str(program), generic=generic)
    again = Parser(new_context(), text).parse_module()
    apply(again, "check-schedule")
    kept = [op for op in again.walk() if isinstance(op, FuncOp)]
    assert sum(directives.PROCESS in op.attributes for op in kept) >= 1


def test_printed_design(require_tool: Callable[[str], str]):
    """What is printed is clean, and does the same in Verilator."""
    require_tool("verilator")
    graph = padded_beats()
    hardware = apply(graph, "qflow-to-affine,affine-to-hw")
    pinout, files = pinout_of(hardware), emit_systemverilog(hardware)
    assert not lint(files, pinout.top)
    stimulus = stimulus_of(graph, 20, 4)
    edges = list(pinout.taps)
    measured = RtlLevel(files, pinout, None).simulate(stimulus, edges)
    same(open_level("qflow", graph).simulate(stimulus, edges), measured)
