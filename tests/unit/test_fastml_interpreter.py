"""The interpreter of networks: exact at every width, whatever carries the integers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import IntAttr, ModuleOp
from xdsl.parser import Parser

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.boundary import boundary_of
from fastml.dialects.fastml import Fastml, MatMulOp, NetworkOp
from fastml.runtime import network_plan
from fastml.runtime.fastml import evaluate, evaluate_raw, simulate
from fastml.runtime.trace import Stimulus, back_to_back

Array = NDArray[Any]


def parse(text: str) -> NetworkOp:
    context = Context()
    context.load_dialect(Fastml)
    module = Parser(context, text).parse_module()
    module.verify()
    (network,) = module.ops
    assert isinstance(network, NetworkOp)
    return network


def dense(width: int, weight_width: int, out_width: int, rows: int = 3) -> NetworkOp:
    """A product with the largest weights of both signs."""
    top = (1 << (weight_width - 1)) - 1
    weights = " ".join(str(w) for w in [top, -top] * rows)
    kind = "i64" if weight_width < 64 else "int"
    x, w = f"!fastml.fixed<s{width}, 0>", f"!fastml.fixed<s{weight_width}, 0>"
    y = f"!fastml.fixed<s{out_width}, 0>"
    return parse(f"""
fastml.network @dense ["x"] -> ["y"] {{
^bb0(%x: tensor<1x{rows}x{x}>):
  %w = fastml.constant <"{kind} {rows}x2 : {weights}"> : tensor<{rows}x2x{w}>
  %y = fastml.matmul "y"(%x, %w) : tensor<1x{rows}x{x}>, tensor<{rows}x2x{w}> -> tensor<1x2x{y}>
  fastml.output %y : tensor<1x2x{y}>
}}""")


@pytest.mark.parametrize("width", [8, 12, 20, 26, 31, 40, 63, 90])
@pytest.mark.parametrize("weight_width", [8, 20, 40, 80])
def test_products_are_exact_at_every_width(width: int, weight_width: int):
    network = dense(width, weight_width, width + weight_width + 1)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    rows = [[low] * 3, [high] * 3, [low, high, low], [low + 1, high - 1, 3], [1, 2, 3]]
    raw = np.array(rows, np.int64 if width < 64 else object)
    top = (1 << (weight_width - 1)) - 1
    expected = np.array([[sum(row) * top, -sum(row) * top] for row in rows], object)
    got = evaluate_raw(network, {"x": raw})["y"]
    assert got.tolist() == expected.tolist()


def test_real_outputs_round_once_to_float32():
    network = dense(31, 31, 63)
    raw = np.array([[(1 << 30) - 1, 1, 0], [12345, -1, 1]])
    x = raw.astype(np.float32)
    outputs = evaluate(network, {"x": x}, quantize_input=True).outputs
    exact = outputs["y"].raw
    assert exact is not None
    expected = [[float(np.float32(int(v))) for v in row] for row in exact.tolist()]
    np.testing.assert_array_equal(outputs["y"].real, np.array(expected, np.float32))


X = '1x2x!fastml.scaled<u4, #fastml.array<"f32 2 : 0.1 0.7">, #fastml.array<"i64 2 : 3 -1">>'
S = '1x2x!fastml.bipolar<#fastml.array<"f32 scalar : 0.5">>'
Q = '4x!fastml.scaled<u8, #fastml.array<"f32 scalar : 0.3">, #fastml.array<"i64 scalar : 100">>'
NETWORK = f"""
fastml.network @mixed ["x", "s", "r"] -> ["q", "o", "t"] {{
^bb0(%x: tensor<{X}>, %s: tensor<{S}>, %r: tensor<1x2xf32>):
  %c = fastml.constant <"f32 2x2 : 1.5 -2.0 0.3 4.0"> : tensor<2x2xf32>
  %b = fastml.constant <"i64 2 : 1 -3"> : tensor<2x!fastml.fixed<s4, 2>>
  %a = fastml.add "a"(%x, %c) : (tensor<{X}>, tensor<2x2xf32>) -> tensor<2x2xf32>
  %m = fastml.mul "m"(%a, %b)
    : (tensor<2x2xf32>, tensor<2x!fastml.fixed<s4, 2>>) -> tensor<2x2xf32>
  %t = fastml.rearrange "t"(%m) by <"i64 4 : 3 1 2 0"> : (tensor<2x2xf32>) -> tensor<4xf32>
  %q = fastml.quantise "q"(%t) half_even 2 to 200 : tensor<4xf32> -> tensor<{Q}>
  %p = fastml.product "p"(%s, %s)
    : tensor<{S}>, tensor<{S}> -> tensor<1x2x!fastml.fixed<s2, 2>>
  %d = fastml.sum "d"(%p, %s) [1, -1]
    : (tensor<1x2x!fastml.fixed<s2, 2>>, tensor<{S}>) -> tensor<1x2x!fastml.fixed<s4, 2>>
  %o = fastml.mul "o"(%d, %r)
    : (tensor<1x2x!fastml.fixed<s4, 2>>, tensor<1x2xf32>) -> tensor<1x2xf32>
  fastml.output %q, %o, %t : tensor<{Q}>, tensor<1x2xf32>, tensor<4xf32>
}}
"""


def test_every_kind_of_operation_against_numbers_worked_out_here():
    network = parse(NETWORK)
    single = np.float32
    raw = np.random.default_rng(0).integers(0, 16, (50, 2))
    scales, zeros = np.array([0.1, 0.7], single), np.array([3, -1])
    x = (raw - zeros).astype(single) * scales
    signs = np.where(np.random.default_rng(1).random((50, 2)) < 0.5, single(-0.5), single(0.5))
    r = np.random.default_rng(2).normal(size=(50, 2)).astype(single)
    outputs, taps = evaluate(network, {"x": x, "s": signs, "r": r}, ["p", "d", "x"])
    constant = np.array([[1.5, -2.0], [0.3, 4.0]], single)
    m = (x[:, None] + constant) * np.array([0.25, -0.75], single)
    t = m.reshape(50, 4)[:, [3, 1, 2, 0]]
    np.testing.assert_array_equal(outputs["t"].real, t)
    assert outputs["t"].raw is None
    q = np.rint(np.clip(t / single(0.3) + single(100), 2, 200)).astype(int)
    np.testing.assert_array_equal(outputs["q"].raw, q)
    np.testing.assert_array_equal(outputs["q"].real, (q - 100).astype(single) * single(0.3))
    np.testing.assert_array_equal(taps["p"].real, signs * signs)
    np.testing.assert_array_equal(taps["d"].real, signs * signs - signs)
    np.testing.assert_array_equal(outputs["o"].real, (signs * signs - signs) * r)
    np.testing.assert_array_equal(taps["x"].raw, raw)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch):
    network = dense(8, 8, 17)
    raw = np.random.default_rng(0).integers(-128, 128, (1000, 3))
    whole = evaluate_raw(network, {"x": raw})["y"]
    for chunk in (1, 7, 30, 3000):
        monkeypatch.setattr(network_plan, "CHUNK", chunk)
        np.testing.assert_array_equal(evaluate_raw(network, {"x": raw})["y"], whole)
    assert evaluate_raw(network, {"x": raw[:0]})["y"].shape == (0, 2)


def test_a_changed_network_is_read_again():
    network = dense(8, 8, 17)
    raw = np.array([[1, 2, 3]])
    before = evaluate_raw(network, {"x": raw})["y"]
    other = dense(8, 5, 17)
    (product,) = (op for op in network.body.block.ops if isinstance(op, MatMulOp))
    (source,) = (op for op in other.body.block.ops if isinstance(op, MatMulOp))
    weights = source.right.owner
    weights.detach()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    network.body.block.insert_op_before(weights, product)  # pyright: ignore[reportArgumentType]
    product.operands[1] = source.right
    assert before.tolist() == [[6 * 127, -6 * 127]]
    assert evaluate_raw(network, {"x": raw})["y"].tolist() == [[6 * 15, -6 * 15]]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_carriers_agree_with_python_integers(data: st.DataObject):
    """Sums and products of mixed widths, against unbounded integers."""
    widths = [data.draw(st.integers(1, 70)) for _ in range(2)]
    fractions = [data.draw(st.integers(-3, 3)) for _ in range(2)]
    a, b = (f"!fastml.fixed<s{w}, {f}>" for w, f in zip(widths, fractions, strict=True))
    fraction = max(fractions)
    grown = max(w + fraction - f for w, f in zip(widths, fractions, strict=True)) + 1
    total = f"!fastml.fixed<s{grown}, {fraction}>"
    product = f"!fastml.fixed<s{sum(widths)}, {sum(fractions)}>"
    network = parse(f"""
fastml.network @two ["a", "b"] -> ["s", "p"] {{
^bb0(%a: tensor<1x3x{a}>, %b: tensor<1x1x{b}>):
  %s = fastml.sum "s"(%a, %b) [-1, 1] : (tensor<1x3x{a}>, tensor<1x1x{b}>) -> tensor<1x3x{total}>
  %p = fastml.product "p"(%a, %b) : tensor<1x3x{a}>, tensor<1x1x{b}> -> tensor<1x3x{product}>
  fastml.output %s, %p : tensor<1x3x{total}>, tensor<1x3x{product}>
}}""")

    def draw(width: int, count: int) -> list[int]:
        bound = 1 << (width - 1)
        return data.draw(st.lists(st.integers(-bound, bound - 1), min_size=count, max_size=count))

    left, right = draw(widths[0], 3), draw(widths[1], 1)
    inputs = {"a": np.array([left], object), "b": np.array([right], object)}
    got = evaluate_raw(network, inputs)
    shifts = [fraction - f for f in fractions]
    sums = [(right[0] << shifts[1]) - (value << shifts[0]) for value in left]
    assert got["s"].tolist() == [sums]
    assert got["p"].tolist() == [[value * right[0] for value in left]]


def test_operands_that_nobody_proved_to_be_integers():
    network = parse("""
fastml.network @real ["x"] -> ["y"] {
^bb0(%x: tensor<1x2xf32>):
  %w = fastml.constant <"i64 2x1 : 1 1"> : tensor<2x1x!fastml.fixed<s2, 0>>
  %y = fastml.matmul "y"(%x, %w)
    : tensor<1x2xf32>, tensor<2x1x!fastml.fixed<s2, 0>> -> tensor<1x1xf32>
  fastml.output %y : tensor<1x1xf32>
}""")
    with pytest.raises(FastmlError, match=r"FML-UNQUANTISED.*infer-grids"):
        evaluate(network, {"x": np.zeros((1, 2), np.float32)})


# -- inputs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (np.array([[0, 0, 0], [0, 0.5, 0]], np.float32), r"element \[1\]\[1\], 0\.5, is not on"),
        (np.array([[0, 0, 128]], np.float32), r"element \[0\]\[2\], 128\.0, is not on the grid"),
        (np.array([[0, 0, np.nan]], np.float32), "is not finite"),
        (np.array([[0, 0]], np.float32), r"has shape \(1, 2\), not \(frames, 3\)"),
        (np.array([["a", "b", "c"]]), "holds elements of type"),
        (np.array([[0, 0, 0.1]], np.float64), "is not a float32 number; fix: .*to float32"),
        (np.array([[0, 0, 1e300]], np.float64), "is not a float32 number"),
        (np.array([[0, 0, 2**64 - 1]], np.uint64), "is not a float32 number"),
        (np.array([[0, 0, 2**63 - 1]], np.int64), "is not a float32 number"),
        (np.array([[0, 0, 2**63]], np.uint64), "is not on the grid"),
        (np.array([[0, 0, -(2**63)]], np.int64), "is not on the grid"),
    ],
)
def test_inputs_that_do_not_fit(x: Array, why: str):
    with pytest.raises(FastmlError, match=rf"FML-INPUT.*input 'x': .*{why}"):
        evaluate(dense(8, 8, 17), {"x": x})


def test_inputs_by_name():
    network = dense(8, 8, 17)
    with pytest.raises(FastmlError, match="'x': is missing"):
        evaluate(network, {})
    with pytest.raises(FastmlError, match=r"'z': is not an input.*they are x"):
        evaluate(network, {"z": np.zeros((1, 3))})
    with pytest.raises(FastmlError, match=r"FML-USAGE.*no edge is called 'z'"):
        evaluate(network, {"x": np.zeros((1, 3))}, ["z"])


def test_quantize_input_rounds_and_saturates():
    x = np.array([[0.5, 1.5, 1000.0], [np.inf, -np.inf, -1000]], np.float32)
    for width in (8, 70):
        tap = evaluate(dense(width, 8, width + 9), {"x": x}, ["x"], quantize_input=True).taps["x"]
        assert tap.raw is not None
        low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
        far = int(np.finfo(np.float32).max)
        expected = [[0, 2, min(1000, high)], [min(far, high), max(-far, low), max(-1000, low)]]
        assert tap.raw.tolist() == expected
    with pytest.raises(FastmlError, match="is not finite"):
        evaluate(dense(8, 8, 17), {"x": x * np.float32(np.nan)}, quantize_input=True)


# -- time ----------------------------------------------------------------------------------


def test_cycles_come_from_the_schedule():
    network = dense(8, 8, 17)
    raw = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    with pytest.raises(FastmlError, match="FML-NO-SCHEDULE"):
        simulate(network, back_to_back({"x": raw}, 3))
    network.latency, network.ii = IntAttr(4), IntAttr(2)
    trace = simulate(ModuleOp([network.clone()]), Stimulus({"x": raw}, np.array([5, 0, 3])), ["x"])
    assert trace.cycles.tolist() == [4, 6, 11]
    assert trace.outputs["y"].values.tolist() == [[762, -762], [1905, -1905], [3048, -3048]]
    assert trace.taps["x"].values.tolist() == raw.tolist()


def test_beats_enter_and_leave_at_the_edges_of_the_hardware():
    network = parse("""
fastml.network @host ["x"] -> ["z"] latency 1 ii 1 {
^bb0(%x: tensor<1x2xf32>):
  %c = fastml.constant <"f32 scalar : 0.3"> : tensor<f32>
  %a = fastml.mul "a"(%x, %c) : (tensor<1x2xf32>, tensor<f32>) -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%a) half_even -8 to 7
    : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 0>>
  %r = fastml.relu "r"(%q) : (tensor<1x2x!fastml.fixed<s4, 0>>) -> tensor<1x2xf32>
  %h = fastml.quantise "h"(%r) half_even 0 to 7
    : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<u3, 0>>
  %y = fastml.mul "y"(%h, %c) : (tensor<1x2x!fastml.fixed<u3, 0>>, tensor<f32>) -> tensor<1x2xf32>
  %z = fastml.softmax "z"(%y) over [-1] : tensor<1x2xf32> -> tensor<1x2xf32>
  fastml.output %z : tensor<1x2xf32>
}""")
    boundary = boundary_of(network)
    edges = network.edges
    assert boundary.inputs == (edges["q"],)
    assert boundary.outputs == (edges["h"],)
    assert [op.name for op in boundary.prologue] == ["fastml.mul", "fastml.quantise"]
    assert [op.name for op in boundary.epilogue] == ["fastml.mul", "fastml.softmax"]
    trace = simulate(network, back_to_back({"q": np.array([[-3, 5]])}, 1))
    assert trace.outputs["h"].values.tolist() == [[0, 5]]
    with pytest.raises(FastmlError, match=r"FML-STIMULUS.*'q'"):
        simulate(network, back_to_back({}, 1))


def test_an_epilogue_may_read_what_the_prologue_computed():
    network = parse("""
fastml.network @both ["x"] -> ["z"] {
^bb0(%x: tensor<1x2xf32>):
  %c = fastml.constant <"f32 scalar : 0.3"> : tensor<f32>
  %a = fastml.mul "a"(%x, %c) : (tensor<1x2xf32>, tensor<f32>) -> tensor<1x2xf32>
  %q = fastml.quantise "q"(%a) half_even -8 to 7
    : tensor<1x2xf32> -> tensor<1x2x!fastml.fixed<s4, 0>>
  %z = fastml.add "z"(%q, %a)
    : (tensor<1x2x!fastml.fixed<s4, 0>>, tensor<1x2xf32>) -> tensor<1x2xf32>
  fastml.output %z : tensor<1x2xf32>
}""")
    boundary = boundary_of(network)
    assert [op.name for op in boundary.prologue] == ["fastml.mul", "fastml.quantise"]
    assert [op.name for op in boundary.epilogue] == ["fastml.add"]
    assert boundary.outputs == (network.edges["q"],)
