"""Streaming graphs around one process on tokens, drawn at random, and how they are run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.dialects.builtin import IntAttr, ModuleOp, StringAttr
from xdsl.ir import Operation, SSAValue
from xdsl.passes import PassPipeline

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.dialects import qflow
from fastml.dialects.array import integer_array
from fastml.dialects.channel import ChannelType, Protocol, channel_of
from fastml.dialects.qflow_streams import DeserialiseOp, SerialiseOp
from fastml.dialects.qflow_windows import ReduceOp, ReorderOp, WindowOp
from fastml.lowering import PASSES
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel
from fastml.runtime.levels import Level, open_level
from fastml.runtime.trace import Signal, Stimulus, Trace

CONTEXT = new_context()
EDGE = "result"
Make = Callable[[SSAValue], Operation]
Table = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """An image, the process on it, and how much deeper its FIFO is than it need be."""

    size: tuple[int, int]
    elements: int
    low: int
    make: Make
    what: str
    deeper: int = 0
    forks: int = 1

    def __repr__(self) -> str:
        return f"{self.what} of {self.size}x{self.elements}, low {self.low}, +{self.deeper}"

    def module(self) -> ModuleOp:
        """Return the graph, with FIFOs as deep as they must be, or deeper."""
        beats = self.size[0] * self.size[1]
        ranges = (integer_array(np.full(self.elements, bound)) for bound in (self.low, 7))
        plain = ChannelType.of((self.elements,), *ranges, beats=beats)
        graph = qflow.GraphOp("flow", {"x": plain.with_protocol(Protocol.RV)}, [])
        block = graph.body.block

        def fifo(value: SSAValue, edge: str) -> SSAValue:
            op = qflow.FifoOp(edge, value, 2)
            block.add_op(op)
            return op.result

        made = self.make(fifo(block.args[0], "lines"))
        block.add_op(made)
        outputs = [fifo(made.results[0], f"out{n}") for n in range(self.forks)]
        block.add_op(qflow.YieldOp(outputs))
        names = [StringAttr(f"y{n}") for n in range(self.forks)]
        graph.output_names = type(graph.output_names)(names)
        module = ModuleOp([graph])
        module.verify()
        run(module, "qflow-fold,qflow-solve,qflow-schedule,qflow-size-fifos")
        for op in graph.body.block.ops:
            if isinstance(op, qflow.FifoOp) and op.edge.data == "lines":
                op.depth = IntAttr(op.depth.data + self.deeper)
        return module

    def stimulus(self, frames: int, seed: int, *, busy: bool, restart: bool = False) -> Stimulus:
        """Return random frames; ``busy`` inputs have gaps, and outputs stall."""
        rng = np.random.default_rng(seed)
        shape = frames * self.size[0] * self.size[1], self.elements
        beats = rng.integers(self.low, 7, shape, endpoint=True)
        idle = rng.integers(0, 6, len(beats)) * (rng.random(len(beats)) < 0.3)
        idle[:1] = 0
        return Stimulus(
            {"x": beats},
            np.zeros(frames, np.int64),
            restart=restart,
            idle={"x": idle} if busy else {},
            ready={f"y{n}": rng.random(250) < 0.7 for n in range(self.forks)} if busy else {},
        )


def run(module: ModuleOp, passes: str) -> None:
    """Run passes."""
    PassPipeline.parse_spec(PASSES, passes).apply(CONTEXT, module)


def lowered(module: ModuleOp) -> tuple[ModuleOp, ModuleOp]:
    """Return the affine and the hw module of a graph."""
    affine = module.clone()
    run(affine, "qflow-to-affine,check-schedule")
    hardware = affine.clone()
    run(hardware, "affine-to-hw")
    hardware.verify()
    return affine, hardware


def levels_of(module: ModuleOp, *, rtl: bool = False) -> dict[str, Level]:
    """Return all levels of a graph."""
    affine, hardware = lowered(module)
    found = {
        "qflow": open_level("qflow", module),
        "affine": open_level("affine", affine),
        "hw": open_level("hw", hardware),
    }
    if rtl:
        pinout = found["hw"]
        assert isinstance(pinout, HardwareLevel)
        found["rtl"] = RtlLevel(emit_systemverilog(hardware), pinout.pinout, None)
    return found


def assert_same(levels: dict[str, Level], stimulus: Stimulus) -> None:
    """Compare all levels with the first one: outputs, acceptance, and the edge."""
    traces = {name: level.simulate(stimulus, [EDGE]) for name, level in levels.items()}
    (first, expected), *others = traces.items()
    for name, trace in others:
        what = f"{name} against {first}"
        for port, signal in expected.outputs.items():
            _equal(signal, trace.outputs[port], f"{what}: {port}")
        _accepted(expected, trace, what)
        _equal(expected.taps[EDGE], trace.taps[EDGE], f"{what}: {EDGE}")


def _equal(signal: Signal, other: Signal, what: str) -> None:
    assert np.array_equal(signal.values, other.values), f"{what}: values"
    cycles = np.broadcast_to(other.cycles, signal.values.shape)
    assert np.array_equal(np.broadcast_to(signal.cycles, signal.values.shape), cycles), (
        f"{what}: cycles"
    )


def _accepted(expected: Trace, found: Trace, what: str) -> None:
    for port, cycles in expected.accepted.items():
        assert np.array_equal(cycles, found.accepted[port]), f"{what}: accepted"


# -- what is drawn -------------------------------------------------------------------------


def line(outputs: int, kernel: int, stride: int, dilation: int, pad: int, limit: int) -> Table:
    """Return the rows or columns of a window, -1 outside of the image."""
    places = np.arange(outputs)[:, None] * stride + np.arange(kernel) * dilation - pad
    return np.where((places >= 0) & (places < limit), places, -1)


@st.composite
def lines(draw: st.DrawFn, limit: int, kernels: int = 4) -> Table:
    """Draw strides, dilations and pads, some as wide as the window or wider; or crops."""
    kernel = draw(st.integers(1, kernels))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    reach = (kernel - 1) * dilation
    pad = draw(st.integers(-min(limit - 1, 2), reach + 2))
    most = (limit + reach + 2 + pad - reach - 1) // stride + 1
    outputs = draw(st.integers(1, max(most, 1)))
    found = line(outputs, kernel, stride, dilation, pad, limit)
    return found if (found >= 0).any() else line(limit, 1, 1, 1, 0, limit)


@st.composite
def sorted_rows(draw: st.DrawFn, limit: int) -> Table:
    """Draw rows of a window one row high: repeated, dropped, or none."""
    rows = sorted(draw(st.lists(st.integers(0, limit - 1), min_size=1, max_size=6)))
    mask = draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    found = np.where(mask, rows, -1)
    return np.array(found if (found >= 0).any() else rows)[:, None]


@st.composite
def any_columns(draw: st.DrawFn, limit: int) -> Table:
    """Draw columns of a window one column wide, in any order."""
    columns = draw(st.lists(st.integers(-1, limit - 1), min_size=1, max_size=8))
    return np.array(columns if max(columns) >= 0 else [0])[:, None]


def _fill(draw: st.DrawFn, elements: int) -> Table:
    fill = draw(st.lists(st.integers(-20, 20), min_size=elements, max_size=elements))
    return np.array(fill if draw(st.booleans()) else [0] * elements)


@st.composite
def windows(draw: st.DrawFn) -> Case:
    """Draw a window over an image or, as often, over a line of tokens."""
    flat = draw(st.booleans())
    size = 1 if flat else draw(st.integers(1, 6)), draw(st.integers(1, 9))
    elements, low = draw(st.integers(1, 3)), draw(st.sampled_from([-8, 0]))
    rows = draw(st.one_of(lines(size[0]), sorted_rows(size[0])))
    cols = draw(st.one_of(lines(size[1]), any_columns(size[1])))
    fill = _fill(draw, elements)

    def make(value: SSAValue) -> Operation:
        return WindowOp(EDGE, value, size, rows, cols, fill)

    what = f"window {rows.tolist()} {cols.tolist()} {fill.tolist()}"
    deeper = draw(st.sampled_from([0, 0, 1, 2, 5, 20]))
    return Case(size, elements, low, make, what, deeper, draw(st.integers(1, 2)))


@st.composite
def orders(draw: st.DrawFn) -> Case:
    """Draw a permutation, a selection, or a transposition of tokens."""
    size = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    elements, beats = draw(st.integers(1, 3)), size[0] * size[1]
    fill = _fill(draw, elements)
    index = draw(
        st.one_of(
            st.permutations(range(beats)),
            st.lists(st.integers(-1, beats - 1), min_size=1, max_size=20),
            st.just(np.arange(beats).reshape(size).T.reshape(-1).tolist()),
        )
    )
    index = np.array(index if max(index) >= 0 else [0])

    def make(value: SSAValue) -> Operation:
        return ReorderOp(EDGE, value, index, fill)

    deeper = draw(st.sampled_from([0, 0, 1, 7]))
    return Case(size, elements, -8, make, f"order {index.tolist()} {fill.tolist()}", deeper)


@st.composite
def changes(draw: st.DrawFn) -> Case:
    """Draw a reduction of tokens, or their sending in parts and gathering."""
    groups, count = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    elements, low = draw(st.integers(1, 5)), draw(st.sampled_from([-8, 0]))
    kind = draw(st.sampled_from(["sum", "max", "min", "serialise", "deserialise"]))
    parts = draw(st.integers(2, 6))

    def make(value: SSAValue) -> Operation:
        if kind == "serialise":
            return SerialiseOp(EDGE, value, min(parts, elements + 1))
        if kind != "deserialise":
            return ReduceOp(EDGE, value, kind, count)
        channel = channel_of(value)
        kept = elements * count - draws
        lows, highs = (np.tile(bound, count)[:kept] for bound in (channel.lows, channel.highs))
        return DeserialiseOp(EDGE, value, (kept,), lows, highs, groups)

    draws = draw(st.integers(0, (count > 1) * (elements - 1)))
    what = f"{kind} by {count if kind != 'serialise' else parts}"
    return Case((groups, count), elements, low, make, what)


def cases() -> Sequence[st.SearchStrategy[Case]]:
    """Return all that can be drawn."""
    return windows(), orders(), changes()
