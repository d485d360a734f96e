"""A dense layer as a loop nest over memories, down to SystemVerilog: one product a cycle."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.dialects import qflow
from fastml.lowering.affine_to_hw import AffineToHw
from fastml.lowering.check_schedule import CheckSchedule
from fastml.lowering.qflow_schedule import QflowSchedule
from fastml.lowering.qflow_to_affine import QflowToAffine
from fastml.runtime import mlir
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel
from fastml.runtime.levels import Level, LoopLevel
from fastml.runtime.qflow import evaluate
from fastml.runtime.trace import Stimulus

Integers = NDArray[np.int64]
FRAMES = 12


@dataclass(frozen=True)
class Layer:
    """A dense layer of integers and the range of its input."""

    matrix: Integers
    bias: Integers
    low: int
    high: int

    @property
    def products(self) -> int:
        return self.matrix.size

    def sample(self, seed: int) -> Integers:
        """Return frames, the corners of the range among them."""
        rng = np.random.default_rng(seed)
        x = rng.integers(self.low, self.high, (FRAMES, len(self.matrix)), endpoint=True)
        x[0], x[1] = self.low, self.high
        x[2] = np.where(self.matrix[:, 0] < 0, self.low, self.high)
        return x


def random_layer(rows: int, columns: int, bits: int, signed: bool, seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-9, 9, (rows, columns), endpoint=True)
    low = -(1 << (bits - 1)) if signed else 0
    return Layer(matrix, rng.integers(-40, 40, columns), low, low + (1 << bits) - 1)


LAYERS = {
    "6 inputs, 4 outputs": random_layer(6, 4, 5, True, 0),
    "unsigned": random_layer(3, 5, 8, False, 1),
    "one product": random_layer(1, 1, 4, True, 2),
    "one output": random_layer(7, 1, 3, True, 3),
    "zero weights": Layer(np.zeros((2, 3), np.int64), np.array([0, -1, 5]), -3, 4),
}


def folded(layer: Layer) -> ModuleOp:
    """Return the graph of one stage whose multiplier serves every product."""
    low, high = (np.full(len(layer.matrix), bound) for bound in (layer.low, layer.high))
    channel = qflow.ChannelType.of((1, len(low)), low, high)
    graph = qflow.GraphOp("layer", {"x": channel}, ["y"])
    block = graph.body.block
    shape = (1, len(layer.bias))
    stage = qflow.DenseOp("y", block.args[0], layer.matrix, layer.bias, shape)
    stage.architecture = qflow.FoldedAttr(layer.products, groups=1, lanes=1)
    block.add_ops([stage, qflow.YieldOp([stage.result])])
    module = ModuleOp([graph])
    module.verify()
    QflowSchedule().apply(new_context(), module)
    return module


def lower(module: ModuleOp) -> tuple[ModuleOp, ModuleOp]:
    """Return the layer at the levels ``affine`` and ``hw``."""
    context = new_context()
    affine = module.clone()
    for step in (QflowToAffine(), CheckSchedule()):
        step.apply(context, affine)
        affine.verify()
    hardware = affine.clone()
    AffineToHw().apply(context, hardware)
    hardware.verify()
    return affine, hardware


@pytest.fixture(scope="module", params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Layer:
    return LAYERS[request.param]


def check(level: Level, layer: Layer, seed: int) -> None:
    """Compare values with NumPy and cycles with one product a cycle."""
    x = layer.sample(seed)
    assert level.time is not None
    ii, latency = level.time
    assert ii == layer.products
    assert layer.products < latency <= layer.products + 5
    for gaps in (np.zeros(FRAMES, np.int64), np.random.default_rng(seed).integers(0, 9, FRAMES)):
        trace = level.simulate(Stimulus({"x": x}, gaps, restart=bool(gaps.any())), [])
        np.testing.assert_array_equal(trace.outputs["y"].values, x @ layer.matrix + layer.bias)
        offered = np.concatenate([[0], np.cumsum(gaps[1:] + layer.products)])
        np.testing.assert_array_equal(trace.cycles, offered + latency)


def test_values_and_cycles(layer: Layer) -> None:
    module = folded(layer)
    x = layer.sample(0)
    outputs, _ = evaluate(module, {"x": x})
    np.testing.assert_array_equal(outputs["y"], x @ layer.matrix + layer.bias)
    affine, hardware = lower(module)
    check(LoopLevel(affine), layer, 1)
    check(HardwareLevel(hardware), layer, 2)


@pytest.mark.parametrize("name", ["6 inputs, 4 outputs", "one product"])
def test_rtl(name: str, require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    layer = LAYERS[name]
    _, hardware = lower(folded(layer))
    opened = HardwareLevel(hardware)
    files = emit_systemverilog(hardware)
    check(RtlLevel(files, opened.pinout, opened.host), layer, 3)


def test_it_is_a_loop(layer: Layer) -> None:
    """The affine level loops over memories, the hardware has one multiplier and a counter."""
    affine, hardware = lower(folded(layer))
    loops = [op.name for op in affine.walk() if op.name == "affine.for"]
    assert len(loops) == (2 if len(layer.matrix) > 1 else 1)
    if layer.products > 1:
        assert any(op.name == "memref.global" for op in affine.walk())
    registers = [op for op in hardware.walk() if op.name.startswith("seq.compreg")]
    assert registers
    if layer.products > 1 and np.any(layer.matrix):
        products = [op for op in hardware.walk() if op.name == "comb.mul"]
        assert len(products) == 1


def test_upstream_mlir_computes_the_same(layer: Layer, require_tool: Callable[[str], str]) -> None:
    require_tool("mlir-opt")
    require_tool("mlir-cpu-runner")
    affine, _ = lower(folded(layer))
    x = layer.sample(5)
    (y,) = mlir.run(affine, {"x": x}).values()
    np.testing.assert_array_equal(y, x @ layer.matrix + layer.bias)


def test_verilator_and_yosys_take_it(
    require_tool: Callable[[str], str],
) -> None:
    require_tool("verilator")
    from fastml.runtime.verilator import lint

    _, hardware = lower(folded(LAYERS["6 inputs, 4 outputs"]))
    files = emit_systemverilog(hardware)
    assert lint(files, HardwareLevel(hardware).pinout.top) == []
