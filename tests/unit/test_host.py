from dataclasses import replace

import numpy as np
import pytest
from xdsl.dialects.builtin import TensorType, f32

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.array import ArrayAttr
from fastml.dialects.fastml import (
    AddOp,
    BatchNormOp,
    ConstantOp,
    MatMulOp,
    MulOp,
    NetworkOp,
    OutputOp,
    QuantiseOp,
)
from fastml.dialects.grid import BipolarType, FixedType, ScaledType
from fastml.dialects.interface import Interface
from fastml.runtime.host import Host, slice_network

U4 = FixedType(0, 4, 2)
"""0, 1/4 .. 15/4"""


def real(values: object) -> ConstantOp:
    return ConstantOp(np.asarray(values, np.float32))


def make_interface() -> Interface:
    """Return a design that takes fixed ``a`` as it is, and real ``b`` halved and quantised.

    Seen from outside: ``sum`` (an accumulator), ``scaled`` and ``out`` are computed from it.
    """
    prologue = NetworkOp(
        "prologue", {"a": TensorType(U4, [1, 2]), "b": TensorType(f32, [1, 3])}, ["a", "q"]
    )
    a, b = prologue.body.block.args
    half = real(0.5)
    halved = MulOp("half", [b, half.result])
    quantised = QuantiseOp("q", halved.result, ScaledType(1, 3, *_parameters(0.3, 1)))
    prologue.body.block.add_ops([half, halved, quantised, OutputOp([a, quantised.result])])

    inputs = {
        "a": TensorType(U4, [1, 2]),
        "q": TensorType(ScaledType(1, 3, *_parameters(0.3, 1)), [1, 3]),
        "sum": TensorType(FixedType(1, 9, 3), [1, 4]),
        "sign": TensorType(BipolarType(ArrayAttr.get(np.float32(1))), [1, 4]),
    }
    view = NetworkOp("view", inputs, ["out", "sign"])
    total, sign = view.body.block.args[2:]
    parameters = [real(v) for v in ([1, 2, 3, 4], [0.1] * 4, [0] * 4, [1] * 4)]
    normal = BatchNormOp(
        "scaled", [total, *(p.result for p in parameters)], {"epsilon": _epsilon()}
    )
    one = real(1)
    out = AddOp("out", [normal.result, one.result])
    view.body.block.add_ops([*parameters, normal, one, out, OutputOp([out.result, sign])])
    prologue.verify()
    view.verify()
    return Interface(prologue, view)


def _parameters(scale: float, zero_point: int) -> tuple[ArrayAttr, ArrayAttr]:
    return ArrayAttr.get(np.float32(scale)), ArrayAttr.get(np.int64(zero_point))


def _epsilon():
    from xdsl.dialects.builtin import FloatAttr

    return FloatAttr(1e-5, f32)


A = np.array([[0.25, 3.75], [0, 1]], np.float32)
B = np.array([[0.6, 3.0, -9.0], [0, -0.61, 1e6]], np.float32)


@pytest.fixture
def host() -> Host:
    return Host(make_interface())


def test_encode_gives_integers_of_every_input_edge(host: Host):
    beats = host.encode({"a": A, "b": B})
    assert list(beats) == host.input_edges == ["a", "q"]
    np.testing.assert_array_equal(beats["a"], [[1, 15], [0, 4]])
    # round(b / 2 / 0.3 + 1), clamped to -4..3
    np.testing.assert_array_equal(beats["q"], [[2, 3, -4], [1, 0, 3]])
    assert beats["q"].dtype == np.int64


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"a": np.array([[0.3, 0]], np.float32)}, r"element \[0\]\[0\], 0.3.*grid"),
        ({"a": np.array([[0, 4]], np.float32)}, r"element \[0\]\[1\], 4.0.*range"),
        ({"a": np.array([[0, np.nan]], np.float32)}, r"element \[0\]\[1\], nan"),
        ({"a": np.array([[0.1, 0]])}, r"element \[0\]\[0\], 0.1"),
        ({"a": np.zeros((1, 3), np.float32)}, r"shape \(1, 3\), not \(frames, 2\)"),
        ({"a": np.zeros((1, 2), np.complex64)}, "complex64"),
        ({"other": np.zeros((1, 2), np.float32)}, "'other'"),
    ],
)
def test_encode_refuses_what_does_not_fit(host: Host, wrong: dict[str, np.ndarray], message: str):
    given = {"a": A[:1], "b": B[:1]} | wrong
    with pytest.raises(FastmlError, match=message) as caught:
        host.encode(given)
    assert caught.value.code == "FML-INPUT"


def test_encode_needs_every_input_in_equal_number(host: Host):
    with pytest.raises(FastmlError, match=r"'b'.*missing"):
        host.encode({"a": A})
    with pytest.raises(FastmlError, match="FML-INPUT"):
        host.encode({"a": A, "b": B[:1]})


def test_quantise_input_rounds_to_even_and_saturates(host: Host):
    given = {"a": np.array([[0.375, 100.0]], np.float32), "b": B[:1]}
    beats = host.encode(given, quantise_input=True)
    np.testing.assert_array_equal(beats["a"], [[2, 15]])


def test_decode_computes_the_outputs_in_float32(host: Host):
    assert host.output_names == ["out", "sign"]
    assert host.output_edges == ["sum", "sign"]
    total = np.array([[8, -8, 4, 0]])
    outputs = host.decode({"sum": total, "sign": np.array([[0, 1, 1, 0]])})
    scale = np.float32(1) / np.sqrt(np.float32(1) + np.float32(1e-5))
    x = (total / 8).astype(np.float32)
    expected = x * (scale * np.array([1, 2, 3, 4], np.float32)) + np.float32(0.1) + np.float32(1)
    np.testing.assert_array_equal(outputs["out"], expected.astype(np.float32))
    np.testing.assert_array_equal(outputs["sign"], [[-1, 1, 1, -1]])
    assert outputs["out"].dtype == np.float32


def test_taps_before_in_and_after_the_hardware(host: Host):
    names = ["b", "half", "q", "sum", "scaled", "a"]
    assert set(names) <= set(host.edges)
    needed = host.needed_edges(names)
    assert needed == ["a", "q", "sum"]
    beats = {"a": np.array([[1, 15]]), "q": np.array([[2, 3, -4]]), "sum": np.array([[8, 0, 0, 0]])}
    inputs = {"a": A[:1], "b": B[:1]}
    taps = host.decode_taps(beats, names, inputs)
    np.testing.assert_array_equal(taps["b"], B[:1])
    np.testing.assert_array_equal(taps["half"], B[:1] / np.float32(2))
    np.testing.assert_array_equal(taps["q"], np.float32(0.3) * np.array([[1, 2, -5]], np.float32))
    np.testing.assert_array_equal(taps["sum"], [[1, 0, 0, 0]])
    raw = host.raw_taps(beats, names, inputs)
    np.testing.assert_array_equal(raw["q"], beats["q"])
    assert raw["scaled"].dtype == np.float32


def test_an_unknown_tap_is_named_with_similar_ones(host: Host):
    with pytest.raises(FastmlError, match=r"'scald'.*similar are 'scaled'"):
        host.raw_taps({}, ["scald"], {})


def test_slice_starts_and_ends_where_it_is_told():
    view = make_interface().view
    part = slice_network(view, ["out"], ["scaled"])
    part.verify()
    assert list(part.inputs) == ["scaled"]
    assert [op.name for op in part.body.block.ops if isinstance(op, AddOp | BatchNormOp)] == [
        "fastml.add"
    ]


def test_matrices_stay_out_of_slices_that_do_not_need_them():
    network = NetworkOp("n", {"x": TensorType(U4, [1, 2])}, ["y"])
    weights = ConstantOp(np.array([[1, -1], [0, 1]]), FixedType(1, 2, 0))
    (x,) = network.body.block.args
    product = MatMulOp("y", x, weights.result, FixedType(1, 8, 2))
    network.body.block.add_ops([weights, product, OutputOp([product.result])])
    part = slice_network(network, ["x"])
    assert not any(isinstance(op, ConstantOp) for op in part.body.block.ops)
    with pytest.raises(FastmlError, match="no edge has this name"):
        slice_network(network, ["z"])


def test_interface_survives_as_text(host: Host):
    interface = replace(host.interface)
    from xdsl.dialects.builtin import ModuleOp

    module = ModuleOp([])
    interface.attach(module)
    again = Host(Interface.of(module))
    assert again.encode({"a": A, "b": B}).keys() == host.encode({"a": A, "b": B}).keys()
