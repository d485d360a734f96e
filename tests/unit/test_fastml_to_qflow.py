"""Networks lowered to integers, against what they compute, frame by frame."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import FloatAttr, f32
from xdsl.ir import SSAValue

sys.path.insert(0, str(Path(__file__).parent))

from exact_networks import BIPOLAR, Builder, check, lower, scaled, stages

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, inference, qflow
from fastml.dialects.fastml import Rounding
from fastml.dialects.grid import (
    FixedType,
    QuantisedType,
)

# --- linear operators -----------------------------------------------------------------

SHAPES = [
    ((1, 5), (5, 3), False),
    ((5,), (5, 3), False),
    ((1, 5), (5,), False),
    ((5,), (5,), False),
    ((1, 4, 5), (5, 3), False),
    ((1, 4, 5), (5,), False),
    ((1, 4, 5), (1, 5, 3), False),
    ((1, 2, 4, 5), (2, 5, 3), False),
    ((1, 4, 5), (2, 1, 5, 3), False),
    ((5,), (2, 5, 3), False),
    ((5, 1), (3, 5), True),
    ((5,), (3, 5), True),
    ((5,), (5,), True),
    ((1, 5, 4), (3, 5), True),
    ((1, 5, 4), (5,), True),
    ((1, 5, 4), (2, 3, 5), True),
    ((2, 1, 5, 4), (3, 3, 5), True),
]


@pytest.mark.parametrize(("shape", "weight", "constant_left"), SHAPES)
@pytest.mark.parametrize("kind", ["fixed", "zero_point", "bipolar"])
def test_matmul(shape: tuple[int, ...], weight: tuple[int, ...], constant_left: bool, kind: str):
    element: Any = {
        "fixed": FixedType(1, 5, 3),
        "zero_point": scaled("u4", 0.3, 6),
        "bipolar": BIPOLAR,
    }[kind]
    own = {"fixed": None, "zero_point": scaled("s4", 0.7, -3), "bipolar": BIPOLAR}[kind]
    net = Builder(["y"], x=(element, shape))
    w, x = net.weights(weight, element=own), net.edges["x"]
    y = net.matmul("y", w, x) if constant_left else net.matmul("y", x, w)
    check(net.done(y))


def test_scales_along_every_axis():
    """Per-channel weights, and an operand whose scale differs by row."""
    net = Builder(["z"], x=(scaled("s4", [[[0.5], [0.3], [0.7]]]), (1, 3, 4)))
    y = net.matmul("y", net.edges["x"], net.weights((4, 2), element=scaled("s4", [0.1, 0.9])))
    net.add(fastml.ReluOp("r", [y]))
    check(net.done(net.quantise("z", net.edges["r"], scaled("u3", [0.4, 2.0], 1))))


def test_zero_points_that_differ_by_position():
    net = Builder(["y"], x=(scaled("u4", 0.5, [[[3], [9], [0]]]), (1, 3, 4)))
    graph = check(net.done(net.matmul("y", net.edges["x"], net.weights((4, 2)))))
    assert stages(graph) == ["combine", "dense"]


def test_scales_along_the_contracted_axis_meet_on_a_finer_step():
    net = Builder(["y"], x=(scaled("s4", [0.5, 0.25, 2.0, 0.75]), (1, 4)))
    check(net.done(net.matmul("y", net.edges["x"], net.weights((4, 3)))))


def test_recast_from_bipolar_and_zero_point():
    net = Builder(["y"], x=(scaled("u4", 0.5, 3), (1, 4)))
    check(net.done(net.add(fastml.ExactCastOp("y", net.edges["x"], scaled("s12", 0.125, 11)))))


def test_weights_beyond_64_bits():
    net = Builder(["y"], x=(FixedType(1, 40, 0), (1, 3)))
    wide = np.array([[1 << 60], [-(1 << 60) + 7], [12345]], object)
    y = net.matmul("y", net.edges["x"], net.constant(wide, FixedType(1, 62, 0)))
    check(net.done(y))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (FixedType(1, 5, 3), FixedType(0, 4, -1)),
        (scaled("s4", 0.3, 2), scaled("u3", 0.2, 5)),
        (scaled("s4", 0.1), scaled("s4", np.float32(0.1) * np.float32(7))),
        (BIPOLAR, FixedType(1, 3, 2)),
    ],
)
@pytest.mark.parametrize("shape", [(1, 3), (3,), (1, 1), (1, 2, 3)])
def test_sum(left: QuantisedType, right: QuantisedType, shape: tuple[int, ...]):
    net = Builder(["s", "d"], a=(left, (1, 3)), b=(right, shape))
    a, b = net.edges["a"], net.edges["b"]
    check(net.done(net.sum("s", [a, b, a], [1, 1, 1]), net.sum("d", [a, b], [-1, 1])))


def test_sum_with_a_constant():
    net = Builder(["s"], a=(scaled("s4", 0.5, 2), (1, 3)))
    c = net.weights((3,), element=scaled("s4", 0.25, 1))
    check(net.done(net.sum("s", [net.edges["a"], c], [1, -1])))


@pytest.mark.parametrize("constant", [False, True])
def test_product(constant: bool):
    net = Builder(["p"], a=(scaled("s4", 0.5, 2), (1, 3)), b=(BIPOLAR, (1, 1)))
    b = net.weights((1, 1), element=scaled("s4", 0.25, 1)) if constant else net.edges["b"]
    p = net.all(inference.multiply("p", net.edges["a"], b))
    check(net.done(p))


def test_square_of_an_edge_has_an_exact_range():
    net = Builder(["p"], a=(scaled("u4", 0.5, 5), (1, 3)))
    graph = check(net.done(net.all(inference.multiply("p", net.edges["a"], net.edges["a"]))))
    assert stages(graph) == ["combine", "multiply"]
    assert str(qflow.channel_of(graph.outputs["p"]).ranges.data) == "3 x 0..100"


# --- index maps -----------------------------------------------------------------------


def rearrange(net: Builder, edge: str, inputs: Sequence[SSAValue], index: Any, shape: Any):
    return net.all(inference.rearrange(edge, inputs, index, shape, net.fresh))


def test_transpose_moves_scales_along():
    net = Builder(["z"], x=(scaled("s5", [[[0.5], [0.3], [0.7]]], [[[1], [2], [0]]]), (1, 3, 2)))
    index = np.arange(6).reshape(3, 2).T.reshape(-1)
    t = rearrange(net, "t", [net.edges["x"]], index, (1, 2, 3))
    r = net.add(fastml.ReluOp("r", [t]))
    check(net.done(net.quantise("z", r, FixedType(0, 3, 1))))


def test_slice_of_elements_with_scales_of_their_own():
    net = Builder(["t"], x=(scaled("s5", [[0.5, 0.3, 0.7, 0.1]]), (1, 4)))
    check(net.done(rearrange(net, "t", [net.edges["x"]], np.array([3, 1, 1]), (1, 3))))


def test_concatenation_of_grids():
    a, b = scaled("s4", 0.5, 2), FixedType(0, 3, 2)
    net = Builder(["y"], a=(a, (1, 2)), b=(b, (1, 3)), c=(BIPOLAR, (1, 2)))
    values = [net.edges[name] for name in "abc"]
    joined = rearrange(net, "j", values, None, (1, 7))
    check(net.done(net.matmul("y", joined, net.weights((7, 2)))))


def test_concatenation_with_a_constant():
    net = Builder(["j"], a=(FixedType(1, 4, 2), (1, 2)))
    c = net.constant([[3, -2]], FixedType(1, 4, 2))
    index = np.array([2, 1, 3, 0, 3])
    check(net.done(rearrange(net, "j", [net.edges["a"], c], index, (1, 5))))


def test_real_edges_are_joined_before_one_quantiser():
    net = Builder(["q"], a=(FixedType(1, 6, 3), (1, 2)), b=(scaled("s5", 0.3, 1), (1, 3)))
    bias = net.constant([0.2, -0.7])
    real_a = net.add(fastml.AddOp("ra", [net.edges["a"], bias]))
    real_b = net.add(fastml.MulOp("rb", [net.edges["b"], net.constant(-0.9)]))
    index = np.array([4, 0, 2, 1, 3, 0])
    joined = net.add(fastml.RearrangeOp("j", [real_a, real_b], index, f32, (1, 6)))
    check(net.done(net.quantise("q", joined, scaled("s4", [0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 1))))


def test_constant_elements_before_a_quantiser_are_refused():
    net = Builder(["q"], a=(FixedType(1, 6, 3), (1, 2)))
    real = net.add(fastml.ReluOp("r", [net.edges["a"]]))
    joined = net.add(fastml.RearrangeOp("j", [real, net.constant([[0.5]])], None, f32, (1, 3)))
    with pytest.raises(FastmlError, match=r"FML-UNQUANTISED.*constant elements"):
        lower(net.done(net.quantise("q", joined, FixedType(1, 4, 2))))


# --- quantisers -----------------------------------------------------------------------


@pytest.mark.parametrize("rounding", list(Rounding))
def test_dense_layer_with_everything(rounding: Rounding):
    net = Builder(["q"], x=(scaled("u4", 0.3, 5), (1, 6)))
    y = net.matmul(
        "y", net.edges["x"], net.weights((6, 4), element=scaled("s4", [0.1, 0.2, 0.3, 0.4]))
    )
    y = net.add(fastml.AddOp("b", [y, net.constant([0.5, -0.3, 0.0, 1.1])]))
    statistics = [
        net.constant(v)
        for v in ([1.5, -0.5, 0.0, -2.0], [0.1, 0.2, 0.3, 0.4], [0.5, 0, -1, 2], [1, 2, 0.5, 3])
    ]
    epsilon = {"epsilon": FloatAttr(1e-3, f32)}
    y = net.add(fastml.BatchNormOp("n", [y, *statistics], epsilon))
    r = net.add(fastml.ReluOp("r", [y]))
    q = net.quantise("q", r, scaled("u3", 0.37, 1), rounding, 0, 6)
    graph = check(net.done(q), frames=60)
    assert set(stages(graph)) <= {"dense", "threshold", "combine", "rescale"}


def test_per_channel_quantiser_of_a_broadcast_edge():
    net = Builder(["q"], x=(FixedType(1, 7, 3), (1, 1)))
    check(net.done(net.quantise("q", net.edges["x"], scaled("s4", [[0.3, 0.7, 1.1]]))), frames=80)


@pytest.mark.parametrize("low", [None, -7])
def test_requantisation_without_arithmetic_between(low: int | None):
    net = Builder(["q"], x=(FixedType(1, 9, 5), (1, 4)))
    q = net.quantise("q", net.edges["x"], FixedType(1, 4, 2), Rounding.HALF_EVEN, low)
    graph = check(net.done(q), frames=100)
    assert stages(graph) == ["rescale"]


def test_bipolar_quantiser():
    net = Builder(["q"], x=(FixedType(1, 6, 3), (1, 4)))
    b = net.add(fastml.SubOp("b", [net.constant([0.5, 0.0, -1.0, 99.0]), net.edges["x"]]))
    graph = check(net.done(net.quantise("q", b, BIPOLAR)))
    assert stages(graph) == ["threshold"]


def test_square_becomes_a_table():
    net = Builder(["q"], x=(FixedType(1, 5, 2), (1, 4)))
    p = net.add(fastml.PowOp("p", [net.edges["x"], net.constant(2.0)]))
    assert stages(check(net.done(net.quantise("q", p, FixedType(0, 4, 1))))) == ["lookup"]


def test_exact_cast_of_a_real_edge():
    net = Builder(["y"], x=(FixedType(1, 5, 2), (1, 4)))
    r = net.add(fastml.ReluOp("r", [net.edges["x"]]))
    c = net.add(fastml.ExactCastOp("c", r, FixedType(0, 4, 2)))
    check(net.done(net.matmul("y", c, net.weights((4, 2)))))


def test_exact_cast_that_is_not_exact():
    net = Builder(["c"], x=(FixedType(1, 5, 2), (1, 4)))
    r = net.add(fastml.MulOp("r", [net.edges["x"], net.constant(0.3)]))
    with pytest.raises(FastmlError, match=r"FML-GRID.*not on the grid"):
        lower(net.done(net.add(fastml.ExactCastOp("c", r, FixedType(1, 8, 2)))))


@pytest.mark.parametrize(
    ("operation", "value", "message"),
    [
        (fastml.AddOp, np.inf, "'fastml.add', which gives an infinity"),
        (fastml.MulOp, 3e38, "'fastml.mul', which gives an infinity"),
        (fastml.MulOp, np.inf, "'fastml.mul', which gives an infinity"),
        (fastml.DivOp, 0.0, "'fastml.div', which gives an infinity"),
        (fastml.AddOp, np.nan, "'fastml.add', which gives NaN"),
        (fastml.PowOp, 0.5, "'fastml.pow', which gives NaN"),
    ],
)
def test_functions_that_are_not_finite_are_refused(operation: Any, value: float, message: str):
    net = Builder(["q"], x=(FixedType(1, 9, 2), (1, 2)))
    y = net.add(operation("y", [net.edges["x"], net.constant(value)]))
    with pytest.raises(FastmlError, match=rf"FML-RANGE.*{message}"):
        lower(net.done(net.quantise("q", y, FixedType(1, 4, 0))))


def test_bounds_that_float32_does_not_have_are_refused():
    net = Builder(["q"], x=(FixedType(1, 40, 0), (1, 1)))
    with pytest.raises(FastmlError, match=r"FML-RANGE.*no float32 numbers"):
        lower(net.done(net.quantise("q", net.edges["x"], FixedType(1, 32, 0))))


# --- the shape of networks ------------------------------------------------------------


def test_forks_several_outputs_and_an_output_that_goes_on():
    net = Builder(["y", "q", "r"], x=(FixedType(1, 5, 2), (1, 4)))
    y = net.matmul("y", net.edges["x"], net.weights((4, 3)))
    q = net.quantise("q", y, scaled("s3", 0.7))
    r = net.add(fastml.ReluOp("r", [net.sum("s", [y, q], [1, -1])]))
    graph = check(net.done(y, q, r))
    assert list(graph.outputs) == ["y", "q", "s"]


def test_inputs_that_are_outputs_and_dead_ones():
    kind = FixedType(1, 5, 2)
    net = Builder(["b", "q"], a=(kind, (1, 2)), b=(kind, (1, 2)), dead=(kind, (1, 3)))
    net.quantise("dead_end", net.edges["dead"], FixedType(1, 3, 0))
    q = net.quantise("q", net.edges["a"], FixedType(1, 3, 0))
    graph = check(net.done(net.edges["b"], q))
    assert list(graph.inputs) == ["a", "b"]
    assert list(graph.outputs) == ["b", "q"]


def test_host_prologue_and_epilogue():
    net = Builder(["out"], x=(f32, (1, 4)), z=(FixedType(1, 4, 2), (1, 3)))
    s = net.add(fastml.DivOp("s", [net.edges["x"], net.constant([1.5, 0.3, 2.0, 0.7])]))
    q = net.quantise("q", s, scaled("s5", 0.21, 3))
    y = net.matmul("y", q, net.weights((4, 3)))
    t = net.sum("t", [y, net.edges["z"]], [1, 1])
    e = net.add(fastml.MulOp("e", [t, net.constant([0.1, 0.2, 0.3])]))
    graph = check(net.done(net.add(fastml.AddOp("out", [e, net.constant(0.7)]))))
    assert list(graph.inputs) == ["z", "q"]
    assert list(graph.outputs) == ["t"]


def test_names_of_the_model_that_look_like_ours():
    net = Builder(["y"], **{"y:operand": (FixedType(1, 4, 2), (1, 4, 3)), "y:0": (BIPOLAR, (1, 2))})
    y = net.matmul("y", net.weights((2, 2, 4)), net.edges["y:operand"])
    graph = check(net.done(y))
    names = [stage.edge.data for stage in graph.stages]
    assert len(set(names) | {"y:operand"}) == len(names) + 1


def test_an_output_before_the_first_integer_is_refused():
    net = Builder(["out", "q"], x=(f32, (1, 4)))
    q = net.quantise("q", net.edges["x"], FixedType(1, 4, 2))
    joined = net.add(fastml.AddOp("out", [net.edges["x"], q]))
    with pytest.raises(FastmlError, match=r"FML-UNQUANTISED.*'out' needs"):
        lower(net.done(joined, q))


def test_nothing_quantised_is_refused():
    net = Builder(["r"], x=(f32, (1, 4)))
    with pytest.raises(FastmlError, match="FML-UNQUANTISED"):
        lower(net.done(net.add(fastml.ReluOp("r", [net.edges["x"]]))))


def test_unquantised_operand_names_the_edge():
    net = Builder(["y"], x=(FixedType(1, 4, 2), (1, 4)))
    r = net.add(fastml.ReluOp("r", [net.edges["x"]]))
    y = net.add(fastml.MatMulOp("y", r, net.weights((4, 2)), f32))
    with pytest.raises(FastmlError, match=r"FML-UNQUANTISED.*'y'"):
        lower(net.done(net.quantise("q", y, FixedType(1, 4, 2))))
