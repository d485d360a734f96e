"""The interpreter of the qflow level: values, cycles, and what it must complain about."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import IntAttr, ModuleOp
from xdsl.utils.exceptions import VerifyException

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import ArrayAttr, integer_array
from fastml.dialects.qflow import AdderGraphAttr, ChannelType, Rounding
from fastml.lowering.qflow_schedule import QflowSchedule
from fastml.lowering.qflow_solve import QflowSolve
from fastml.runtime.qflow import evaluate, matrix_product, run_adder_graph, simulate
from fastml.runtime.trace import Stimulus, back_to_back

Array = NDArray[Any]


def channel(count: int, low: int, high: int) -> ChannelType:
    bounds = (integer_array(np.full(count, bound, object)) for bound in (low, high))
    return ChannelType.of((count,), *bounds)


def two_layers(clock: float = 2.1) -> ModuleOp:
    """A fork, a join of branches of unequal latency, two inputs and two outputs."""
    rng = np.random.default_rng(3)
    inputs = {"a": channel(4, -128, 127), "b": channel(3, 0, 15)}
    graph = qflow.GraphOp("two", inputs, ["h", "s"])
    a, b = graph.body.block.args
    dense = qflow.DenseOp("d", a, rng.integers(-30, 31, (4, 3)), rng.integers(-9, 9, 3), (3,))
    one = np.ones(3, np.int64)
    narrow = qflow.RescaleOp(
        "h", dense.result, 8 * one, 5 * one, Rounding.HALF_EVEN, -64 * one, 63 * one, (3,)
    )
    join = qflow.CombineOp("s", [narrow.result, b], np.stack([3 * one, -one]), one, (3,))
    graph.body.block.add_ops([dense, narrow, join, qflow.YieldOp([narrow.result, join.result])])
    module = ModuleOp([graph])
    QflowSolve().apply(Context(), module)
    QflowSchedule(clock_ns=clock).apply(Context(), module)
    module.verify()
    return module


def graph_in(module: ModuleOp) -> qflow.GraphOp:
    (graph,) = [op for op in module.ops if isinstance(op, qflow.GraphOp)]
    return graph


def beats(frames: int) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {"a": rng.integers(-128, 128, (frames, 4)), "b": rng.integers(0, 16, (frames, 3))}


def stage(module: ModuleOp, edge: str) -> Any:
    return next(s for s in graph_in(module).stages if s.edge.data == edge)


def test_values_without_a_schedule():
    module = two_layers()
    for op in graph_in(module).stages:
        op.cycles = None
    given_beats = beats(5)
    outputs, taps = evaluate(module, given_beats, ["d", "a"])
    dense = stage(module, "d")
    expected = given_beats["a"] @ dense.matrix.array + dense.bias.array
    assert np.array_equal(taps["d"], expected)
    assert np.array_equal(taps["a"], given_beats["a"])
    half = np.array([[round((v + 8) / 32) for v in row] for row in expected.tolist()])
    assert np.array_equal(outputs["h"], np.clip(half, -64, 63))
    assert np.array_equal(outputs["s"], 3 * outputs["h"] - given_beats["b"] + 1)


def test_cycles_count_from_each_frame():
    module = two_layers()
    graph = graph_in(module)
    assert graph.latency is not None
    assert graph.latency.data > 1
    trace = simulate(module, Stimulus(beats(4), np.array([7, 0, 3, 0])), ["d", "a", "h"])
    offered = np.array([[0], [1], [5], [6]])
    for signal in trace.outputs.values():
        assert np.array_equal(signal.cycles, offered + graph.latency.data)
    assert np.array_equal(trace.taps["a"].cycles, offered + np.zeros(4, int))
    assert np.array_equal(trace.taps["d"].cycles, offered + stage(module, "d").cycles.array)
    assert np.array_equal(trace.cycles, offered[:, 0] + graph.latency.data)


def spoilt(port: str, place: tuple[int, int], value: int) -> dict[str, Array]:
    stimulus = beats(2)
    stimulus[port][place] = value
    return stimulus


@pytest.mark.parametrize(
    ("stimulus", "message"),
    [
        ({"a": beats(2)["a"]}, "no beats for input 'b'"),
        (beats(2) | {"a": np.zeros((2, 3), int)}, r"shape \(2, 3\), not \(frames, 4\)"),
        (spoilt("b", (1, 2), 16), "beat 1 of 'b', element 2, is 16"),
        (spoilt("a", (0, 1), -129), "is -129: outside -128..127"),
    ],
)
def test_beats_that_do_not_fit(stimulus: dict[str, Array], message: str):
    with pytest.raises(FastmlError, match=message) as error:
        evaluate(two_layers(), stimulus)
    assert error.value.code == "FML-STIMULUS"


def test_an_unknown_tap():
    with pytest.raises(FastmlError, match="no edge 'x'"):
        evaluate(two_layers(), beats(1), ["x"])


# --- corrupt programs -----------------------------------------------------------------

NODE_FIELDS = ["left", "right", "shift", "operation", "constant", "out_id", "out_shift"]


@pytest.mark.parametrize("name", NODE_FIELDS)
@pytest.mark.parametrize("edge", ["d", "s"])
def test_a_corrupt_adder_graph_is_found(name: str, edge: str):
    """Every entry of every array, moved by one: complaint, or provably the same function."""
    module = two_layers()
    dense = stage(module, edge)
    whole = {n: getattr(dense.graph, n).array for n in (*NODE_FIELDS, "out_constant")}
    for entry in range(len(whole[name])):
        changed = whole[name].copy()
        changed[entry] = (changed[entry] + 1) % 3 if name == "operation" else changed[entry] + 1
        try:
            parts = {n: ArrayAttr.get(changed if n == name else a) for n, a in whole.items()}
            dense.graph = AdderGraphAttr(*parts.values())
            module.verify()
            evaluate(module, beats(1))
        except (FastmlError, VerifyException):
            continue
        unused = name == "constant" and whole["right"][entry] >= 0
        out = name == "out_shift" and whole["out_id"][entry] < 0
        assert unused or out, f"{name}[{entry}] changed nothing"


@pytest.mark.parametrize("edge", ["d", "s"])
def test_a_graph_of_another_matrix_is_found(edge: str):
    module = two_layers()
    changed: Any = stage(module, edge)
    name = "matrix" if edge == "d" else "coefficients"
    array = getattr(changed, name).array.copy()
    array[1, 0] += 1
    setattr(changed, name, ArrayAttr.get(array))
    lows, highs = changed.exact_ranges()
    result: Any = changed.result
    shape = changed.channel.dimensions
    kind: Any = changed.__class__
    fresh: Any = kind.create(
        operands=changed.operands,
        result_types=[ChannelType.of(shape, lows, highs)],
        properties=changed.properties,
    )
    result.owner.parent.insert_op_before(fresh, result.owner)
    result.replace_all_uses_with(fresh.results[0])
    result.owner.detach()
    with pytest.raises(FastmlError, match="the adder graph does not equal"):
        evaluate(module, beats(1))


@pytest.mark.parametrize("edge", ["d", "h", "s"])
@pytest.mark.parametrize("name", ["cycles", "node_cycles"])
def test_an_early_cycle_is_found(edge: str, name: str):
    module = two_layers(2.1)
    changed = stage(module, edge)
    if name not in changed.properties:
        return
    array = changed.properties[name].array
    for entry in np.flatnonzero(array > 0).tolist():
        early = array.copy()
        early[entry] -= 1
        changed.properties[name] = ArrayAttr.get(early)
        try:
            simulate(module, back_to_back(beats(2), 2))
        except FastmlError as error:
            if error.code != "FML-SCHEDULE":
                raise
            continue
        # legal all the same: the operation would have been ready a cycle before
        assert name == "node_cycles" or edge == "h"


def test_a_latency_before_the_last_output_is_found():
    module = two_layers()
    graph = graph_in(module)
    assert graph.latency is not None
    graph.latency = IntAttr(graph.latency.data - 1)
    with pytest.raises(FastmlError, match=r"FML-SCHEDULE.*before the last output"):
        simulate(module, back_to_back(beats(2), 2))


@pytest.mark.parametrize("name", ["latency", "ii"])
def test_no_schedule_no_cycles(name: str):
    module = two_layers()
    setattr(graph_in(module), name, None)
    with pytest.raises(FastmlError, match="FML-NO-SCHEDULE"):
        simulate(module, back_to_back(beats(2), 2))


# --- arithmetic of any width ----------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 100), st.integers(1, 60), st.integers(0, 1 << 30))
def test_matrix_product_is_exact(bits: int, weight: int, seed: int):
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...], width: int) -> Array:
        digits = rng.integers(0, 1 << 30, (*shape, 4)).astype(object)
        whole = digits[..., 0] + (digits[..., 1] << 30) + (digits[..., 2] << 60)
        return integer_array((whole >> (90 - min(width, 90))) - (1 << width >> 1))

    x, matrix, bias = draw((3, 5), bits), draw((5, 2), weight), draw((2,), 62)
    expected = x.astype(object) @ matrix.astype(object) + bias.astype(object)
    assert np.array_equal(matrix_product(x, matrix, bias).astype(object), expected)


def test_adder_graph_by_hand():
    """The three operations, shifts of either sign, a constant operand, constant outputs."""
    row = ArrayAttr.get
    graph = AdderGraphAttr(
        row([0, 2, 3]), row([1, 0, -1]), row([2, -1, 3]), row([0, 1, 2]), row([0, 0, 5]),
        row([4, -1, 2]), row([1, 0, 0]), row([0, 77, 0]),
    )  # fmt: skip
    a, b = 11, -6
    first = a + (b << 2)
    second = (first << 1) - a
    third = (5 << 3) - second
    assert run_adder_graph(graph, np.array([[a, b]])).tolist() == [[third << 1, 77, first]]
    wide = np.array([[a << 70, b << 70]], object)
    first, second = first << 70, second << 70
    assert run_adder_graph(graph, wide).tolist() == [[((5 << 3) - second) << 1, 77, first]]
