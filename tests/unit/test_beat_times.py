"""When beats come before there are processes, and what a contract makes of it."""

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.array import integer_array
from fastml.dialects.channel import channel_of
from fastml.dialects.qflow import (
    ChannelType,
    DenseOp,
    FoldedAttr,
    GraphOp,
    ParallelAttr,
    RearrangeOp,
    YieldOp,
)
from fastml.dialects.qflow_windows import Columns, ReduceOp, WindowOp
from fastml.lowering.beat_times import beat_times, firings_of, lateness, nodes_of
from fastml.lowering.qflow_choose import QflowChoose

SIDE = 8


def window(edge: str, source: SSAValue, side: int, kernel: int, stride: int) -> WindowOp:
    """Return a square window without padding."""
    outputs = (side - kernel) // stride + 1
    table = Columns(stride, 1, 0).table(outputs, kernel, side)
    return WindowOp(edge, source, (side, side), table, table)


def network() -> GraphOp:
    """Build 8x8 pixels, a convolution, a pool by two, a convolution, a sum of all, a layer."""
    rng = np.random.default_rng(0)
    channel = ChannelType.of((2,), integer_array([0, 0]), integer_array([15, 15]), beats=SIDE**2)
    graph = GraphOp("images", {"x": channel}, [])

    def dense(edge: str, source: SSAValue, columns: int) -> DenseOp:
        rows = len(channel_of(source))
        matrix = rng.integers(-7, 8, (rows, columns))
        return DenseOp(edge, source, matrix, np.zeros(columns, np.int64), (columns,))

    def add(op: Operation) -> SSAValue:
        graph.body.block.add_op(op)
        return op.results[0]

    value: SSAValue = add(window("w0", graph.body.block.args[0], SIDE, 3, 1))
    value = add(dense("conv0", value, 3))  # 6x6
    value = add(window("w1", value, 6, 2, 2))
    value = add(RearrangeOp("pool", [value], np.arange(3), (3,)))  # 3x3
    value = add(window("w2", value, 3, 2, 1))
    value = add(dense("conv1", value, 4))  # 2x2
    value = add(ReduceOp("total", value, "sum", 4))
    value = add(dense("last", value, 5))
    graph.body.block.add_op(YieldOp([value]))
    graph.output_names = type(graph.output_names)([StringAttr("last")])
    return graph


def chosen(ii: int, latency: int | None = None) -> dict[str, int]:
    """Return the reuse factor of each layer; 1 where it is parallel."""
    module = ModuleOp([network()])
    QflowChoose(ii=ii, latency=latency).apply(Context(), module)
    (graph,) = module.ops
    assert isinstance(graph, GraphOp)
    found = dict[str, int]()
    for stage in graph.stages:
        if isinstance(stage, DenseOp):
            plan = stage.architecture
            assert isinstance(plan, ParallelAttr | FoldedAttr)
            found[stage.edge.data] = plan.reuse.data if isinstance(plan, FoldedAttr) else 1
    return found


def test_beats_follow_the_rows_of_an_image():
    graph = network()
    found = beat_times(graph, 0)
    times = {op.edge.data: found[op.results[0]] for op in nodes_of(graph)}
    # the window is complete with the third pixel of the third row
    assert times["conv0"].tolist() == [8 * (y + 2) + x + 2 for y in range(6) for x in range(6)]
    assert times["pool"].tolist() == [8 * (y + 3) + x + 3 for y in (0, 2, 4) for x in (0, 2, 4)]
    assert times["conv1"].tolist() == [8 * 5 + 5, 8 * 5 + 7, 8 * 7 + 5, 8 * 7 + 7]
    assert times["last"].tolist() == [8 * 7 + 7]
    assert {op.edge.data: firings_of(op) for op in nodes_of(graph)} == {
        "w0": 48, "conv0": 36, "w1": 18, "pool": 9, "w2": 6, "conv1": 4, "total": 4, "last": 1,
    }  # fmt: skip


def test_slow_stages_are_late_where_beats_bunch():
    even, bunched = np.arange(5) * 10, np.array([0, 10, 20, 38, 40])
    assert [lateness(even, n) for n in (1, 10, 11, 20)] == [0, 0, 4, 40]
    assert [lateness(bunched, n) for n in (1, 2, 10)] == [0, 0, 8]


@pytest.mark.parametrize("ii", [64, 200, 1000])
def test_an_interval_is_shared_by_the_beats_of_a_frame(ii: int):
    found = chosen(ii=ii)
    assert found["conv0"] <= ii // 36
    assert found["conv1"] <= ii // 4
    assert found["last"] <= ii
    assert max(found["conv0"] * 36, found["conv1"] * 4, found["last"]) > ii // 3


def test_what_a_frame_of_many_beats_takes_at_least_is_named():
    with pytest.raises(FastmlError, match=r"at least 64 cycles between two frames, 64 .* 'x'"):
        chosen(ii=63)


def test_latency_counts_the_beats_and_what_is_late_with_them():
    loose, tight = chosen(ii=600), chosen(ii=600, latency=90)
    assert sum(tight.values()) < sum(loose.values())
    with pytest.raises(FastmlError, match=r"at least .* cycles of latency"):
        chosen(ii=600, latency=63)
