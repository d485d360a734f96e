"""Folded layers whose weights are loaded: every plan, at every level, whatever is loaded."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import IntAttr, ModuleOp
from xdsl.dialects.memref import GlobalOp

from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import ArrayAttr, Integers
from fastml.dialects.loadable import LOAD, Loadable, LoadableAttr, loadables_of
from fastml.dialects.qflow_folded import FoldedAttr, Order
from fastml.lowering.affine_to_hw import AffineToHw
from fastml.lowering.check_schedule import CheckSchedule
from fastml.lowering.folding import Layer, shape_of
from fastml.lowering.folding_cost import choose_plan, lanes_of
from fastml.lowering.folding_pipeline import Pipeline
from fastml.lowering.folding_terms import terms_of
from fastml.lowering.qflow_fold import QflowFold
from fastml.lowering.qflow_to_affine import QflowToAffine
from fastml.runtime.affine import evaluate
from fastml.runtime.clocked_levels import HardwareLevel
from fastml.runtime.levels import DataflowLevel, Level, LoopLevel
from fastml.runtime.trace import Stimulus

FRAMES = 6
RANGES = ((-8, 7), (0, 3), (-1, 1), (-1, 0), (1, 4), (-6, -2))


def random_layer(rng: np.random.Generator, bounds: tuple[int, int]) -> Layer:
    rows, columns = (int(size) for size in rng.integers(1, 8, 2))
    positions = int(rng.choice([1, 1, 2]))
    lows: Integers = rng.integers(-9, 5, rows * positions)
    highs: Integers = lows + rng.integers(0, 20, rows * positions)
    matrix = rng.integers(*bounds, (rows, columns), endpoint=True)
    return Layer(matrix, rng.integers(-40, 40, columns), positions, lows, highs, bounds)


def graph_module(layer: Layer) -> tuple[ModuleOp, qflow.DenseOp]:
    """Return a graph of one stage that is not planned."""
    assert layer.loadable is not None
    channel = qflow.ChannelType.of((len(layer.lows),), layer.lows, layer.highs)
    graph = qflow.GraphOp("layer", {"x": channel}, ["y"])
    shape = (layer.positions * layer.matrix.shape[1],)
    loadable = LoadableAttr(*layer.loadable)
    x = graph.body.block.args[0]
    stage = qflow.DenseOp("y", x, layer.matrix, layer.bias, shape, loadable)
    graph.body.block.add_ops([stage, qflow.YieldOp([stage.result])])
    return ModuleOp([graph]), stage


def levels_of(layer: Layer, plan: FoldedAttr) -> list[Level]:
    """Return a stage with the shortest pipeline at every level."""
    module, stage = graph_module(layer)
    pipeline = Pipeline.of(plan, terms_of(layer, plan))
    stage.architecture = plan.with_pipeline(pipeline.cycles, pipeline.latency)
    stage.cycles = ArrayAttr.get(np.full(len(stage.channel), pipeline.latency))
    graph = stage.parent_op()
    assert isinstance(graph, qflow.GraphOp)
    graph.ii, graph.latency = IntAttr(plan.reuse.data), IntAttr(pipeline.latency)
    module.verify()
    affine, context = module.clone(), new_context()
    for step in (QflowToAffine(), CheckSchedule()):
        step.apply(context, affine)
        affine.verify()
    hardware = affine.clone()
    AffineToHw().apply(context, hardware)
    hardware.verify()
    return [DataflowLevel(module), LoopLevel(affine), HardwareLevel(hardware)]


def simple(reuse: int = 6) -> tuple[Layer, list[Level]]:
    rng = np.random.default_rng(4)
    layer = Layer(
        rng.integers(-8, 8, (5, 4)),
        rng.integers(-9, 9, 4),
        1,
        np.full(5, -4),
        np.full(5, 3),
        (-8, 7),
    )
    return layer, levels_of(layer, choose_plan(layer, reuse)[0])


def words_of(level: Level) -> int:
    """Return the words of the one port of weights that hardware has."""
    assert isinstance(level, HardwareLevel)
    (memory,) = level.pinout.weights
    return memory.words


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    order=st.sampled_from([Order.IN_STEP, Order.END_TO_END]),
    bounds=st.sampled_from(RANGES),
    data=st.data(),
)
def test_outputs_follow_what_is_loaded(
    seed: int, order: Order, bounds: tuple[int, int], data: st.DataObject
):
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, bounds)
    reuse = data.draw(st.integers(1, layer.products + 3))
    lanes = data.draw(st.sampled_from(lanes_of(len(layer.matrix))))
    shape = shape_of(layer.matrix, layer.positions, reuse, lanes, order)
    if shape is None:
        return
    levels = levels_of(layer, FoldedAttr(reuse, shape.groups, lanes, order))
    others = [
        rng.integers(*bounds, layer.matrix.shape, endpoint=True),
        np.full(layer.matrix.shape, bounds[int(rng.integers(2))]),
    ]
    x = rng.integers(layer.lows, layer.highs, (FRAMES, len(layer.lows)), endpoint=True)
    x[0], x[1], x[4], x[5] = layer.lows, layer.highs, layer.lows, layer.highs
    matrices = [layer.matrix, *[others[0]] * 3, *[others[1]] * 2]
    expected = np.concatenate(
        [
            (row.reshape(layer.positions, -1) @ matrix + layer.bias).reshape(1, -1)
            for row, matrix in zip(x, matrices, strict=True)
        ]
    )
    assert levels[0].time is not None
    ii, latency = levels[0].time
    gaps = np.zeros(FRAMES, np.int64)
    gaps[[1, 4]] = max(latency + shape.depth + 1 - ii, 0)
    loads = {1: {"y": others[0]}, 4: {"y": others[1]}}
    stimulus = Stimulus({"x": x}, gaps, bool(seed % 2), loads=loads)
    cycles = np.concatenate([[0], np.cumsum(gaps[1:] + ii)]) + latency
    for level in levels:
        trace = level.simulate(stimulus, [])
        np.testing.assert_array_equal(trace.outputs["y"].values, expected)
        np.testing.assert_array_equal(trace.cycles, cycles)


def test_without_a_load_the_weights_are_the_models():
    layer, levels = simple()
    x = np.random.default_rng(0).integers(-4, 4, (FRAMES, 5))
    plain = Stimulus({"x": x}, np.zeros(FRAMES, np.int64))
    other = Stimulus({"x": x}, plain.gaps, loads={0: {"y": -layer.matrix - 1}})
    for level in levels:
        for stimulus, matrix in ((other, -layer.matrix - 1), (plain, layer.matrix)):
            trace = level.simulate(stimulus, [])
            np.testing.assert_array_equal(trace.outputs["y"].values, x @ matrix + layer.bias)
    assert isinstance(levels[1], LoopLevel)
    levels[1].simulate(other, [])
    values = evaluate(levels[1].module, {"x": x})
    np.testing.assert_array_equal(values.outputs["y"], x @ layer.matrix + layer.bias)


def test_every_weight_counts():
    layer, levels = simple()
    rng = np.random.default_rng(1)
    x = rng.integers(1, 4, (2, 5))
    for _ in range(4):
        row, column = (int(rng.integers(size)) for size in (5, 4))
        changed = layer.matrix.copy()
        changed[row, column] = -8 if changed[row, column] > -8 else 7
        stimulus = Stimulus({"x": x}, np.zeros(2, np.int64), loads={0: {"y": changed}})
        for level in levels:
            answer = level.simulate(stimulus, []).outputs["y"].values
            differs = answer != x @ layer.matrix + layer.bias
            assert differs[:, column].all()
            assert not np.delete(differs, column, axis=1).any()


def test_a_word_in_another_place_changes_the_outputs():
    """The order of words is that of the ports: hardware that is told another one differs."""
    layer, levels = simple()
    hardware = levels[2]
    assert isinstance(hardware, HardwareLevel)
    (memory,) = hardware.pinout.weights
    turned = Loadable("y", memory.port, -8, 7, np.roll(memory.order, 1, axis=0), memory.contents)
    object.__setattr__(hardware.pinout, "weights", (turned,))
    x = np.random.default_rng(0).integers(1, 4, (3, 5))
    trace = hardware.simulate(Stimulus({"x": x}, np.zeros(3, np.int64)), [])
    assert (trace.outputs["y"].values != x @ layer.matrix + layer.bias).any()


@pytest.mark.parametrize("missing", [0, 1])
def test_a_load_needs_an_idle_design(missing: int):
    layer, levels = simple()
    assert levels[0].time is not None
    ii, latency = levels[0].time
    gap = latency + words_of(levels[2]) + 1 - ii - missing
    x = np.zeros((2, 5), np.int64)
    stimulus = Stimulus({"x": x}, np.array([0, gap]), loads={1: {"y": layer.matrix}})
    for level in levels:
        if missing:
            with pytest.raises(FastmlError, match="while frame 0 is in flight"):
                level.simulate(stimulus, [])
        else:
            level.simulate(stimulus, [])


@pytest.mark.parametrize(
    ("loads", "message"),
    [
        ({0: {"z": np.zeros((5, 4), int)}}, "weights of 'z' cannot be loaded"),
        ({0: {"y": np.zeros((4, 5), int)}}, "must be 5 x 4 integers"),
        ({0: {"y": np.zeros((5, 4))}}, "must be 5 x 4 integers"),
        ({0: {"y": np.full((5, 4), 8)}}, r"weight \[0, 0\] of 'y' is 8: outside -8..7"),
        ({2: {"y": np.zeros((5, 4), int)}}, "before frame 2 of 2"),
    ],
)
def test_weights_that_do_not_fit_are_refused(loads: dict[int, dict[str, Integers]], message: str):
    _, levels = simple()
    stimulus = Stimulus({"x": np.zeros((2, 5), np.int64)}, np.array([0, 99]), loads=loads)
    for level in levels:
        with pytest.raises(FastmlError, match=message) as caught:
            level.simulate(stimulus, [])
        assert caught.value.code == "FML-STIMULUS"


@pytest.mark.parametrize(
    ("reuse", "multipliers", "message"),
    [(1, "auto", "it is not folded"), (4, "logic", "only multipliers can do that")],
)
def test_what_cannot_be_folded_is_refused(reuse: int, multipliers: str, message: str):
    layer, _ = simple()
    module, _ = graph_module(layer)
    with pytest.raises(FastmlError, match=message) as caught:
        QflowFold(reuse=reuse, multipliers=multipliers).apply(new_context(), module)
    assert caught.value.code == "FML-OPTION"


def tampered(change: Callable[[GlobalOp], None]) -> ModuleOp:
    _, levels = simple()
    assert isinstance(levels[1], LoopLevel)
    module = levels[1].module.clone()
    (memory,) = [op for op in module.ops if isinstance(op, GlobalOp) and LOAD in op.attributes]
    change(memory)
    return module


def test_what_a_memory_holds_must_be_its_weights():
    assert len(loadables_of(tampered(lambda op: None))) == 1

    def other_weights(op: GlobalOp) -> None:
        found = Loadable.of(op.attributes[LOAD])
        changed = found.contents.copy()
        changed[2, 3] = 7 if changed[2, 3] < 7 else 6
        other = Loadable(found.edge, found.port, found.low, found.high, found.order, changed)
        op.attributes[LOAD] = other.attribute()

    with pytest.raises(FastmlError, match="not those of its weights"):
        LoopLevel(tampered(other_weights)).simulate(
            Stimulus({"x": np.zeros((1, 5), np.int64)}, np.zeros(1, np.int64)), []
        )


def test_a_table_is_read_back_or_refused():
    _, levels = simple()
    assert isinstance(levels[2], HardwareLevel)
    (memory,) = levels[2].pinout.weights
    table = memory.table()
    again = Loadable.of_table(table)
    np.testing.assert_array_equal(again.order, memory.order)
    np.testing.assert_array_equal(again.contents, memory.contents)
    for key, value in (("words", 0), ("high", -9), ("order", [99] * memory.order.size)):
        with pytest.raises(ValueError, match=r"words|within|matrix"):
            Loadable.of_table({**table, key: value})
