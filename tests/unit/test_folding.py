"""Plans of folded layers: every product once, in time; and the loops that they become."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import IntAttr, ModuleOp

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError, SourceNode
from fastml.dialects import qflow
from fastml.dialects.array import ArrayAttr, Integers
from fastml.dialects.qflow_folded import FoldedAttr, Order, Products, Storage
from fastml.lowering.affine_to_hw import AffineToHw
from fastml.lowering.check_schedule import CheckSchedule
from fastml.lowering.folding import Layer, Slots, ceil_div, shape_of, slots_of
from fastml.lowering.folding_cost import Estimator, choose_plan, lanes_of
from fastml.lowering.folding_pipeline import Pipeline
from fastml.lowering.folding_terms import digits_of, terms_of
from fastml.lowering.qflow_fold import QflowFold
from fastml.lowering.qflow_to_affine import QflowToAffine
from fastml.runtime import mlir
from fastml.runtime.clocked_levels import HardwareLevel
from fastml.runtime.levels import LoopLevel
from fastml.runtime.trace import Stimulus
from fastml.runtime.yosys import synthesise

FRAMES = 8


def matrix_of(rng: np.random.Generator, rows: int, columns: int) -> Integers:
    """Return a matrix: few values or many, dense or with whole rows and columns of zeros."""
    largest = int(rng.choice([1, 2, 9]))
    matrix = rng.integers(-largest, largest + 1, (rows, columns))
    if rng.integers(2):
        matrix[rng.random((rows, columns)) < rng.random()] = 0
    return matrix


def multiplied(slots: Slots, size: tuple[int, int]) -> Integers:
    """Return the matrix that the slots multiply by: a row for each input of a beat."""
    found = np.zeros(size, np.int64)
    for run in slots.runs:
        column = np.zeros(size[0], np.int64)
        part = slice(run.start, run.stop), run.group
        assert set(slots.output[part].tolist()) == {run.output}
        np.add.at(column, slots.index[part], slots.weight[part])
        if slots.shape.order is Order.IN_STEP:  # an output may be made twice, each time whole
            assert found[:, run.output].any() == 0 or np.array_equal(found[:, run.output], column)
            found[:, run.output] = column
        else:
            found[:, run.output] += column
    return found


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    positions=st.integers(1, 3),
    order=st.sampled_from(list(Order)),
    data=st.data(),
)
def test_every_product_is_made_once(
    rows: int, columns: int, positions: int, order: Order, data: st.DataObject
):
    matrix = matrix_of(np.random.default_rng(data.draw(st.integers(0, 999))), rows, columns)
    lanes = data.draw(st.sampled_from(lanes_of(rows)))
    reuse = data.draw(st.integers(1, matrix.size * positions + 3))
    shape = shape_of(matrix, positions, reuse, lanes, order)
    if shape is None:
        assert order is Order.IN_STEP
        assert ceil_div(rows, lanes) * positions > reuse
        return
    assert shape.trips <= reuse
    slots = slots_of(matrix, positions, shape)
    assert slots.index.shape == (shape.trips, shape.groups, shape.lanes)
    whole = np.kron(np.eye(positions, dtype=np.int64), matrix)
    np.testing.assert_array_equal(multiplied(slots, whole.shape), whole)
    if order is Order.END_TO_END and lanes == 1:
        assert shape.groups == ceil_div(matrix.size * positions, reuse)
    if order is Order.NON_ZERO and lanes == 1:
        products = np.maximum(np.count_nonzero(matrix, axis=0), 1).sum()
        assert shape.groups == ceil_div(int(products) * positions, reuse)


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=20))
def test_digits_are_signed_powers_of_two(weights: list[int]):
    digits = digits_of(np.array(weights))
    np.testing.assert_array_equal(digits.sum(axis=-1), weights)
    kept = np.abs(digits[digits != 0])
    assert not np.any(kept & (kept - 1))


# Loops


def module_of(layer: Layer, plan: FoldedAttr) -> ModuleOp:
    """Return a graph of one folded stage, with the shortest pipeline."""
    channel = qflow.ChannelType.of((len(layer.lows),), layer.lows, layer.highs)
    graph = qflow.GraphOp("layer", {"x": channel}, ["y"])
    shape = (layer.positions * layer.matrix.shape[1],)
    stage = qflow.DenseOp("y", graph.body.block.args[0], layer.matrix, layer.bias, shape)
    graph.body.block.add_ops([stage, qflow.YieldOp([stage.result])])
    pipeline = Pipeline.of(plan, terms_of(layer, plan))
    stage.architecture = plan.with_pipeline(pipeline.cycles, pipeline.latency)
    stage.cycles = ArrayAttr.get(np.full(len(stage.channel), pipeline.latency))
    graph.ii, graph.latency = IntAttr(plan.reuse.data), IntAttr(pipeline.latency)
    module = ModuleOp([graph])
    module.verify()
    return module


def random_layer(rng: np.random.Generator) -> Layer:
    rows, columns = (int(size) for size in rng.integers(1, 9, 2))
    positions = int(rng.choice([1, 1, 2]))
    matrix = matrix_of(rng, rows, columns)
    lows: Integers = rng.integers(-9, 5, rows * positions)
    highs: Integers = lows + rng.integers(0, 20, rows * positions)
    return Layer(matrix, rng.integers(-40, 40, columns), positions, lows, highs)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    order=st.sampled_from(list(Order)),
    products=st.sampled_from(list(Products)),
    storage=st.sampled_from(list(Storage)),
    data=st.data(),
)
def test_loops_are_exact_and_on_time(
    seed: int, order: Order, products: Products, storage: Storage, data: st.DataObject
):
    rng = np.random.default_rng(seed)
    layer = random_layer(rng)
    reuse = data.draw(st.integers(1, layer.products + 3))
    lanes = data.draw(st.sampled_from(lanes_of(len(layer.matrix))))
    shape = shape_of(layer.matrix, layer.positions, reuse, lanes, order)
    if shape is None:
        return
    check(layer, FoldedAttr(reuse, shape.groups, lanes, order, products, storage), rng)


def check(layer: Layer, plan: FoldedAttr, rng: np.random.Generator) -> ModuleOp:
    """Compare loops and hardware with NumPy; return the hardware."""
    affine, context = module_of(layer, plan), new_context()
    for step in (QflowToAffine(), CheckSchedule()):
        step.apply(context, affine)
        affine.verify()
    hardware = affine.clone()
    AffineToHw().apply(context, hardware)
    hardware.verify()
    x = rng.integers(layer.lows, layer.highs, (FRAMES, len(layer.lows)), endpoint=True)
    x[0], x[1] = layer.lows, layer.highs
    blocks = x.reshape(FRAMES, layer.positions, -1)
    expected = (blocks @ layer.matrix + layer.bias).reshape(FRAMES, -1)
    gaps = rng.integers(0, 4, FRAMES)
    gaps[:4] = 0
    offered = np.concatenate([[0], np.cumsum(gaps[1:] + plan.reuse.data)])
    for level in (LoopLevel(affine), HardwareLevel(hardware)):
        assert level.time is not None
        trace = level.simulate(Stimulus({"x": x}, gaps), [])
        np.testing.assert_array_equal(trace.outputs["y"].values, expected)
        np.testing.assert_array_equal(trace.cycles, offered + level.time[1])
        assert level.time[0] == plan.reuse.data
    return hardware


def test_multipliers_are_those_of_the_plan():
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 100, (6, 4)) * 2 + 1
    layer = Layer(matrix, np.zeros(4, np.int64), 1, np.zeros(6, np.int64), np.full(6, 255))
    for reuse in (2, 3, 5, 7, 24, 100):
        plan, cost = choose_plan(layer, reuse, Products.MULTIPLIER)
        hardware = check(layer, plan, rng)
        made = [op for op in hardware.walk() if op.name == "comb.mul"]
        assert len(made) == cost.multipliers == plan.groups.data * plan.lanes.data
        assert len(made) >= ceil_div(24, reuse)
    assert len(made) == 1


def test_shifts_and_additions_have_no_multiplier():
    rng = np.random.default_rng(1)
    layer = Layer(
        rng.integers(-2, 2, (6, 4)), np.arange(4), 1, np.zeros(6, np.int64), np.full(6, 3)
    )
    plan, cost = choose_plan(layer, 6)
    assert plan.products.data == Products.SHIFT_ADD
    assert cost.multipliers == cost.dsp == 0
    hardware = check(layer, plan, rng)
    assert not [op for op in hardware.walk() if op.name == "comb.mul"]


def test_upstream_mlir_reads_indices_from_memories(require_tool: Callable[[str], str]):
    require_tool("mlir-opt")
    require_tool("mlir-cpu-runner")
    rng = np.random.default_rng(6)
    matrix = rng.integers(-9, 10, (5, 4))
    layer = Layer(matrix, np.arange(4), 1, np.full(5, -8), np.full(5, 7))
    affine = module_of(layer, FoldedAttr(7, 3, 1, Order.END_TO_END, Products.SHIFT_ADD))
    QflowToAffine().apply(new_context(), affine)
    x = rng.integers(-8, 8, (FRAMES, 5))
    (y,) = mlir.run(affine, {"x": x}).values()
    np.testing.assert_array_equal(y, x @ matrix + np.arange(4))


def test_block_memory_is_read_in_long_words(require_tool: Callable[[str], str]):
    """All weights of a cycle are one word, which Yosys finds in block memory."""
    require_tool("yosys")
    rng = np.random.default_rng(4)
    matrix = rng.integers(-127, 128, (64, 32))
    layer = Layer(matrix, np.zeros(32, np.int64), 1, np.zeros(64, np.int64), np.ones(64, np.int64))
    plan, cost = choose_plan(layer, 512, Products.MULTIPLIER)
    assert plan.storage.data == Storage.BLOCK
    hardware = check(layer, plan, rng)
    assert synthesise(emit_systemverilog(hardware), "layer").bram == cost.bram > 0


# Plans that are chosen


def digits_layers() -> list[Layer]:
    """Return two layers of the size of 784-16-10, of 8-bit weights and activations."""
    rng = np.random.default_rng(2)
    layers = list[Layer]()
    for rows, columns in ((784, 16), (16, 10)):
        matrix = rng.integers(-127, 128, (rows, columns))
        bounds = np.zeros(rows, np.int64), np.full(rows, 255)
        layers.append(Layer(matrix, rng.integers(-999, 999, columns), 1, *bounds))
    return layers


@pytest.mark.parametrize("reuse", [14, 56, 784, 12544])
def test_as_few_multipliers_as_can_be(reuse: int):
    for layer in digits_layers():
        plan, cost = choose_plan(layer, reuse)
        assert cost.multipliers == cost.dsp == ceil_div(layer.products, reuse)
        assert plan.products.data == Products.MULTIPLIER


def test_more_reuse_never_costs_more():
    for layer in digits_layers():
        weights = [choose_plan(layer, reuse)[1].weight for reuse in (8, 16, 64, 256, 1024, 4096)]
        assert weights == sorted(weights, reverse=True)


def test_zero_weights_have_no_place_where_that_is_cheaper():
    rng = np.random.default_rng(3)
    matrix = np.where(rng.random((32, 8)) < 0.1, 77, 0)
    layer = Layer(matrix, np.zeros(8, np.int64), 1, np.zeros(32, np.int64), np.full(32, 255))
    plan, cost = choose_plan(layer, 32)
    assert plan.order.data == Order.NON_ZERO
    assert cost.multipliers < ceil_div(layer.products, 32)
    dense = shape_of(matrix, 1, 32, 1, Order.END_TO_END)
    assert dense is not None
    assert cost.weight < Estimator(layer).of(dense, Products.MULTIPLIER)[0].weight


# The pass


def folded(**options: object) -> list[str]:
    """Return the architectures that the pass chooses for two stages."""
    channel = qflow.ChannelType.of((4,), np.full(4, -8), np.full(4, 7))
    graph = qflow.GraphOp("two", {"x": channel}, ["b"])
    x = graph.body.block.args[0]
    matrix, bias = np.arange(16).reshape(4, 4) * 5, np.zeros(4, np.int64)
    first = qflow.DenseOp("a", x, matrix, bias, (4,))
    second = qflow.DenseOp("b", first.result, matrix, bias, (4,))
    first.location = SourceNode("a.onnx", "one", "MatMul", 13, 0).location
    graph.body.block.add_ops([first, second, qflow.YieldOp([second.result])])
    QflowFold(**options).apply(new_context(), ModuleOp([graph]))  # pyright: ignore[reportArgumentType]
    return [str(stage.architecture) for stage in graph.stages]


def test_reuse_factors_go_by_edge():
    first, second = folded(reuse=4, reuse_of=("b=16",))
    assert first.startswith("#qflow.folded<4,")
    assert second.startswith("#qflow.folded<16,")
    assert folded(reuse_of=("b=2",))[0] == "#qflow.parallel"
    assert folded(reuse=1) == ["#qflow.parallel"] * 2
    assert "shift_add" in folded(reuse=4, multipliers="logic")[0]


def reuse_factors(*given: str, reuse: int | None = None) -> list[int]:
    """Return the reuse factors of the two stages; parallel ones have 1."""
    found = [
        re.match(r"#qflow\.folded<(\d+),", text) for text in folded(reuse_of=given, reuse=reuse)
    ]
    return [1 if match is None else int(match[1]) for match in found]


def test_reuse_factors_go_by_node_and_for_all():
    assert reuse_factors("one=3") == [3, 1]
    assert reuse_factors("*=4") == [4, 4]
    assert reuse_factors("*=4", reuse=2) == [4, 4]
    # whatever is said of one layer goes before what is said of all, in any order
    assert reuse_factors("b=8", "*=4", "one=2") == [2, 8]
    assert reuse_factors("a=16", "one=2", "*=1") == [16, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reuse": 0}, "a reuse factor is 1 or more"),
        ({"reuse_of": ("c=2",)}, "edge or node 'c'; fix: there are 'a' of node 'one', 'b'$"),
        ({"reuse_of": ("a",)}, "'a' is not a name and a reuse factor"),
        ({"reuse_of": ("a=x",)}, "'a=x' is not a name and a reuse factor"),
        ({"multipliers": "some"}, "unknown multipliers 'some'; fix: one of auto, dsp, logic"),
    ],
)
def test_what_the_pass_refuses(options: dict[str, object], message: str):
    with pytest.raises(FastmlError, match=message):
        folded(**options)


def test_wide_constants_stay_parallel():
    channel = qflow.ChannelType.of((2,), np.full(2, -8), np.full(2, 7))
    graph = qflow.GraphOp("wide", {"x": channel}, ["y"])
    matrix = np.array([[1 << 62], [1]], object)
    stage = qflow.DenseOp("y", graph.body.block.args[0], matrix, np.zeros(1, np.int64), (1,))
    graph.body.block.add_ops([stage, qflow.YieldOp([stage.result])])
    with pytest.raises(FastmlError, match="edge 'y' has a weight of more than 62 bits"):
        QflowFold(reuse=2).apply(new_context(), ModuleOp([graph]))
