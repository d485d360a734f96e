"""Placing registers for the whole design: legality, packing, and clocks that are too fast."""

from typing import Any

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import integer_array
from fastml.dialects.qflow import ChannelType, FoldedAttr, Rounding
from fastml.dialects.qflow_cycles import check_cycles, cycles_of
from fastml.lowering.delay import TARGETS
from fastml.lowering.qflow_schedule import Arrival, QflowSchedule, latest_of
from fastml.lowering.qflow_solve import QflowSolve

GENERIC = TARGETS["generic"]


def channel(count: int, low: int, high: int) -> ChannelType:
    lows, highs = (integer_array(np.full(count, bound, object)) for bound in (low, high))
    return ChannelType.of((count,), lows, highs)


def chain(*matrices: Any, width: int = 8) -> ModuleOp:
    """Dense layers one after the other, nothing between."""
    count = np.shape(matrices[0])[0]
    graph = qflow.GraphOp(
        "chain", {"x": channel(count, -(1 << width - 1), (1 << width - 1) - 1)}, ["y"]
    )
    value: Any = graph.body.block.args[0]
    for number, matrix in enumerate(matrices):
        weights = np.array(matrix)
        bias = np.zeros(weights.shape[1], np.int64)
        layer = qflow.DenseOp(f"l{number}", value, weights, bias, (weights.shape[1],))
        graph.body.block.add_op(layer)
        value = layer.result
    graph.body.block.add_op(qflow.YieldOp([value]))
    module = ModuleOp([graph])
    QflowSolve().apply(Context(), module)
    return module


def schedule(module: ModuleOp, clock: float, target: str = "generic") -> qflow.GraphOp:
    QflowSchedule(clock_ns=clock, target=target).apply(Context(), module)
    module.verify()
    (graph,) = [op for op in module.ops if isinstance(op, qflow.GraphOp)]
    check_cycles(graph)
    return graph


def latency(module: ModuleOp, clock: float, target: str = "generic") -> int:
    graph = schedule(module, clock, target)
    assert graph.latency is not None
    assert graph.ii is not None
    assert graph.ii.data == 1
    return graph.latency.data


THREE = [[3], [5]]


def test_no_clock_is_combinational():
    module = chain([[3, 7], [5, -9]], [[11], [-13]])
    assert latency(module, 0.0) == 0
    assert latency(module, 1.0, "none") == 0
    assert latency(module, 1e6) == 0


def test_a_layer_is_no_register_boundary():
    """Two layers of one adder each share a cycle where both fit, and only there."""
    module = chain([[1], [1]], [[3]])
    one = float(GENERIC.adder(9)) + GENERIC.overhead
    both = float(GENERIC.adder(9) + GENERIC.adder(11)) + GENERIC.overhead
    assert latency(module, both + 0.05) == 0
    assert latency(module, both - 0.05) == 1
    assert latency(module, one + 0.05) == 1


def test_time_adds_up_within_a_cycle():
    module = chain([[1], [1]], [[3]], [[5]])
    widths = (9, 11, 13)
    whole = float(sum(GENERIC.adder(width) for width in widths)) + GENERIC.overhead
    assert latency(module, whole + 0.08) == 0
    assert latency(module, whole - 0.08) == 1


def test_an_operand_of_an_earlier_cycle_is_there_from_the_edge():
    early = Arrival(np.array([0, 1, 2]), np.array([0.9, 0.3, 0.1]))
    late = Arrival(np.array([1, 1, 0]), np.array([0.2, 0.4, 0.8]))
    for latest in (latest_of(early, late), latest_of(late, early)):
        assert latest.cycle.tolist() == [1, 1, 2]
        assert latest.time.tolist() == [0.2, 0.4, 0.1]


def test_latency_falls_with_the_clock_period():
    rng = np.random.default_rng(0)
    module = chain(rng.integers(-60, 60, (12, 8)), rng.integers(-60, 60, (8, 4)))
    found = [latency(module, clock) for clock in (0.95, 1.2, 1.5, 2.5, 5.0, 10.0, 40.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 5
    assert found[-1] == 0


def test_every_output_is_ready_by_the_latency():
    module = chain([[1, 3, 91], [1, 5, -77]])
    graph = schedule(module, 1.0)
    (stage,) = graph.stages
    assert stage.cycles is not None
    assert graph.latency is not None
    cycles = stage.cycles.array.tolist()
    assert cycles[0] < max(cycles) == graph.latency.data


def test_the_earlier_branch_waits():
    one = np.ones(2, np.int64)
    graph = qflow.GraphOp("join", {"x": channel(2, -128, 127)}, ["y"])
    x = graph.body.block.args[0]
    slow = qflow.DenseOp("slow", x, np.array([[77, 91], [-53, 107]]), 0 * one, (2,))
    join = qflow.CombineOp("y", [slow.result, x], np.stack([one, one]), 0 * one, (2,))
    graph.body.block.add_ops([slow, join, qflow.YieldOp([join.result])])
    module = ModuleOp([graph])
    QflowSolve().apply(Context(), module)
    schedule(module, 1.0)
    assert slow.cycles is not None
    assert join.cycles is not None
    assert slow.cycles.integers.min() >= 1
    assert np.all(join.cycles.integers >= slow.cycles.integers)


@pytest.mark.parametrize("clock", [0.1, 0.3, 0.5])
def test_a_clock_that_is_too_fast_names_what_binds(clock: float):
    with pytest.raises(FastmlError, match=r"edge 'l0' has an operation of 0\.\d+ ns") as error:
        schedule(chain(THREE), clock)
    assert error.value.code == "FML-TARGET"
    assert error.value.hint is not None
    least = float(error.value.hint.rpartition("least ")[2].removesuffix(" ns"))
    schedule(chain(THREE), least + 0.005)


def test_an_unknown_target():
    with pytest.raises(FastmlError, match=r"FML-TARGET.*unknown target 'x'.*generic"):
        schedule(chain(THREE), 1.0, "x")


def test_wires_and_constants_take_no_time():
    graph = qflow.GraphOp("w", {"x": channel(3, -8, 7)}, ["y"])
    x = graph.body.block.args[0]
    one = np.ones(3, np.int64)
    zero = 0 * one
    turned = qflow.RearrangeOp("r", [x], np.array([2, 0, 1]), (3,))
    bounds = (np.array([-8, 3, -8]), np.array([7, 3, 0]))
    kept = qflow.RescaleOp("y", turned.result, zero, zero, Rounding.FLOOR, *bounds, (3,))
    graph.body.block.add_ops([turned, kept, qflow.YieldOp([kept.result])])
    module = ModuleOp([graph])
    QflowSolve().apply(Context(), module)
    # the clamp of element 2 fits into no cycle of its own here, the others need none
    schedule(module, 1.2)
    assert kept.cycles is not None
    assert kept.cycles.array.tolist()[:2] == [0, 0]
    assert kept.wired.tolist() == [True, False, False]


def test_folded_stages_start_when_their_inputs_are_there():
    ones = np.ones((3, 3), np.int64)
    module = chain(ones, ones, ones)
    (graph,) = [op for op in module.ops if isinstance(op, qflow.GraphOp)]
    stage = graph.stages[1]
    stage.architecture = FoldedAttr(3, groups=1, lanes=3)
    schedule(module, 5.0)
    before, here, after = (cycles_of(s.result) for s in graph.stages)
    assert isinstance(stage.architecture, FoldedAttr)
    latency = stage.architecture.latency.data
    assert set(here) == {int(before.max()) + latency}
    assert after.min() >= here.max()
    assert graph.ii is not None
    assert graph.latency is not None
    assert graph.ii.data == 3
    assert graph.latency.data >= latency


def test_folding_without_a_plan_is_refused():
    module = chain(THREE)
    (graph,) = [op for op in module.ops if isinstance(op, qflow.GraphOp)]
    graph.stages[0].architecture = FoldedAttr(2)
    with pytest.raises(FastmlError, match="is folded, but has no plan"):
        QflowSchedule().apply(Context(), module)
