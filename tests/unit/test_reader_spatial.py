# pyright: basic, reportMissingTypeStubs=false
"""Convolutions, pools and reductions: what is read, in which version, and what is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from xdsl.context import Context

from fastml.compiler.reader import read_onnx
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.fastml import ConvOp, MaxPoolOp, NetworkOp, element_type
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate

Write = Callable[..., Path]
Run = Callable[..., list[np.ndarray]]
F = np.float32
CHANNELS_LAST = "qonnx.custom_op.channels_last"
INT5 = {"x": "int5*0.25"}
RNG = np.random.default_rng(3)
WEIGHTS = RNG.integers(-4, 5, (4, 2, 3, 2)).astype(F)


def network_of(path: Path, types: Mapping[str, str] = INT5) -> NetworkOp:
    module = read_onnx(path, types)
    InferGrids().apply(Context(), module)
    module.verify()
    (network,) = module.ops
    assert isinstance(network, NetworkOp)
    return network


def same_as_referee(path: Path, run: Run, shape: tuple[int, ...]) -> None:
    x = (np.random.default_rng(0).integers(-16, 16, (3, *shape)) / 4).astype(F)
    ours = evaluate(network_of(path), {"x": x}).outputs
    (expected,) = run(path, {"x": x})
    np.testing.assert_array_equal(ours["y"].real.reshape(expected.shape), expected)


def one(
    write: Write,
    op: str,
    shape: tuple[int, ...],
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 13,
    domain: str = "",
    outputs: tuple[str, ...] = ("y",),
    batch: Any = "N",
    **attributes: Any,
) -> Path:
    """Write a model of one node on an input of a shape, batch excluded."""
    node = helper.make_node(
        op, ["x", *(constants or {})], list(outputs), name="node", domain=domain, **attributes
    )
    return write([node], {"x": [batch, *shape]}, [outputs[-1]], constants, opset=opset)


# -- what is read --------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [1, 10, 11, 21, 22])
@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution_needs_no_attribute(write: Write, onnxruntime_run: Run, opset: int, bias):
    constants = {"w": WEIGHTS} | ({"b": np.array([1.5, -2, 0, 7], F)} if bias else {})
    path = one(write, "Conv", (2, 5, 4), constants, opset=opset)
    same_as_referee(path, onnxruntime_run, (2, 5, 4))


def test_three_spatial_axes(write: Write, onnxruntime_run: Run):
    weights = RNG.integers(-4, 5, (2, 1, 2, 1, 2)).astype(F)
    attributes = {"group": 2, "pads": [1, 0, 0, 0, 1, 1], "strides": [1, 2, 1]}
    path = one(write, "Conv", (2, 3, 4, 3), {"w": weights}, **attributes)
    same_as_referee(path, onnxruntime_run, (2, 3, 4, 3))
    path = one(write, "MaxPool", (2, 3, 4, 3), kernel_shape=[2, 2, 1])
    same_as_referee(path, onnxruntime_run, (2, 3, 4, 3))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [5, 6, 7])
def test_same_pads(write: Write, onnxruntime_run: Run, auto_pad: str, stride: int, size: int):
    for kernel in (1, 2, 3):
        at: dict[str, Any] = {"auto_pad": auto_pad, "strides": [stride]}
        weights = RNG.integers(-4, 5, (1, 1, kernel)).astype(F)
        if (-(-size // stride) - 1) * stride + kernel - size >= -1:  # else runtimes differ
            path = one(write, "Conv", (1, size), {"w": weights}, **at)
            same_as_referee(path, onnxruntime_run, (1, size))
        for op in ("MaxPool", "AveragePool"):
            path = one(write, op, (1, size), kernel_shape=[kernel], **at)
            if kernel >= stride and (op == "MaxPool" or kernel < 3):  # thirds round
                same_as_referee(path, onnxruntime_run, (1, size))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_same_pads_that_leave_elements_over(write: Write, onnxruntime_run: Run, auto_pad: str):
    """One is the last; of more, some runtimes leave half out before the first window."""
    at: dict[str, Any] = {"auto_pad": auto_pad, "strides": [4]}
    weights = np.ones((1, 1, 1), F)
    path = one(write, "Conv", (1, 6), {"w": weights}, **at)
    same_as_referee(path, onnxruntime_run, (1, 6))
    for size in (3, 4, 8):
        for op in ("Conv", "MaxPool", "AveragePool"):
            constants = {"w": weights} if op == "Conv" else {}
            kernel: dict[str, Any] = {} if constants else {"kernel_shape": [1]}
            path = one(write, op, (1, size), constants, **at, **kernel)
            with pytest.raises(FastmlError, match="leaves elements over"):
                read_onnx(path, INT5)


def test_pads_of_bipolar_numbers_are_zero(write: Write, onnxruntime_run: Run):
    """Neither -1 nor +1: the integer 0, which bipolar storage cannot hold."""
    weights = np.where(RNG.random((3, 1, 3)) < 0.5, -1, 1).astype(F)
    path = one(write, "Conv", (1, 4), {"w": weights}, pads=[2, 1])
    x = np.where(RNG.random((9, 1, 4)) < 0.5, -1, 1).astype(F)
    got = evaluate(network_of(path, {"x": "bipolar"}), {"x": x}).outputs["y"].real
    np.testing.assert_array_equal(got, onnxruntime_run(path, {"x": x})[0])
    assert np.any(got % 2 == 1)
    assert np.any(got % 2 == 0)  # an odd number of pads


def quant(x: str, y: str, **attributes: Any) -> onnx.NodeProto:
    flags: dict[str, Any] = {"signed": 1, "narrow": 0, **attributes}
    domain = "qonnx.custom_op.general"
    return helper.make_node("Quant", [x, "s", "z", "bits"], [y], domain=domain, **flags)


def test_zero_points_and_scales_of_channels(write: Write, require_tool: Callable[[str], str]):
    """Weights with a zero point and a scale for each filter; pads are the number 0."""
    require_tool("qonnx")
    from qonnx.custom_op.general.quant import quant as quantise

    scale = np.array([0.5, 0.25, 2, 1], F).reshape(4, 1, 1, 1)
    constants = {"w": WEIGHTS, "s": scale, "z": F(2), "bits": F(4)}
    nodes = [quant("w", "q"), helper.make_node("Conv", ["x", "q"], ["y"], pads=[1, 1, 1, 1])]
    network = network_of(write(nodes, {"x": [1, 2, 5, 4]}, ["y"], constants))
    x = (RNG.integers(-16, 16, (4, 2, 5, 4)) / 4).astype(F)
    got = evaluate(network, {"x": x}).outputs["y"].real
    weights = quantise(WEIGHTS, scale, F(2), F(4), 1, 0, "ROUND").astype(np.float64)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), (2, 3))
    np.testing.assert_array_equal(got, np.einsum("fchwij,mcij->fmhw", windows, weights))


@pytest.mark.parametrize("version", [None, 1, 14])
def test_channels_last(write: Write, onnxruntime_run: Run, version: int | None):
    """Any version of the domain, or none, as exporters forget it."""
    at: dict[str, Any] = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]}
    weights = np.ascontiguousarray(np.moveaxis(WEIGHTS, 1, -1))
    path = one(write, "Conv", (5, 4, 2), {"w": weights}, domain=CHANNELS_LAST, **at)
    model = onnx.load(path)
    kept = [entry for entry in model.opset_import if not entry.domain]
    if version is not None:
        kept.append(helper.make_opsetid(CHANNELS_LAST, version))
    del model.opset_import[:]
    model.opset_import.extend(kept)
    path.write_bytes(model.SerializeToString())
    x = (RNG.integers(-16, 16, (3, 5, 4, 2)) / 4).astype(F)
    got = evaluate(network_of(path), {"x": x}).outputs["y"].real
    plain = one(write, "Conv", (2, 5, 4), {"w": WEIGHTS}, **at)
    (expected,) = onnxruntime_run(plain, {"x": np.ascontiguousarray(np.moveaxis(x, -1, 1))})
    np.testing.assert_array_equal(got, np.moveaxis(expected, 1, -1))


def test_a_pool_of_real_numbers_waits_for_its_quantiser(write: Write, onnxruntime_run: Run):
    """The maximum is taken of integers, and every name of the model stays."""
    nodes = [
        helper.make_node("Mul", ["x", "c"], ["scaled"]),
        helper.make_node("MaxPool", ["scaled"], ["pooled"], kernel_shape=[2]),
        helper.make_node("Relu", ["pooled"], ["active"]),
        quant("active", "y", signed=0),
    ]
    constants = {"c": F(0.3), "s": F(0.25), "z": F(0), "bits": F(3)}
    network = network_of(write(nodes, {"x": ["N", 2, 6]}, ["y"], constants))
    pools = [op for op in network.body.block.ops if isinstance(op, MaxPoolOp)]
    assert [op.edge_name for op in pools] == ["pooled", "y"]
    assert str(element_type(pools[1].input)) == "!fastml.fixed<u3, 2>"
    x = (RNG.integers(-16, 16, (30, 2, 6)) / 4).astype(F)
    names = ["scaled", "pooled", "active"]
    found = evaluate(network, {"x": x}, names)
    plain = write(nodes[:3], {"x": ["N", 2, 6]}, names, constants, name="plain.onnx")
    for name, expected in zip(names, onnxruntime_run(plain, {"x": x}), strict=True):
        np.testing.assert_array_equal(found.taps[name].real, expected)
    expected = np.clip(np.rint(found.taps["active"].real * 4), 0, 7) / 4
    np.testing.assert_array_equal(found.outputs["y"].real, expected)


# -- what depends on the version -----------------------------------------------------------


def test_a_window_that_starts_in_the_pads(write: Write, onnxruntime_run: Run):
    """It counts, or not, by the version; before 22 nobody agrees."""
    at: dict[str, Any] = {"kernel_shape": [2], "strides": [3], "pads": [0, 1], "ceil_mode": 1}
    for op in ("MaxPool", "AveragePool"):
        path = one(write, op, (1, 3), opset=22, **at)
        same_as_referee(path, onnxruntime_run, (1, 3))
        with pytest.raises(FastmlError, match=r"FML-IMP-ATTR.*'ceil_mode=1' adds a window that"):
            read_onnx(one(write, op, (1, 3), opset=21, **at), INT5)
        path = one(write, op, (1, 7), opset=21, kernel_shape=[2], strides=[3], ceil_mode=1)
        same_as_referee(path, onnxruntime_run, (1, 7))


def test_axes_of_reductions(write: Write, onnxruntime_run: Run):
    """An attribute, then an input; empty means all of them, or none."""
    same_as_referee(
        one(write, "ReduceSum", (2, 3), opset=11, axes=[-1, 1]), onnxruntime_run, (2, 3)
    )
    empty = {"a": np.zeros(0, np.int64)}
    path = one(write, "ReduceSum", (2, 3), empty, noop_with_empty_axes=1)
    same_as_referee(path, onnxruntime_run, (2, 3))
    path = one(write, "ReduceMax", (2, 3), {"a": np.array([2], np.int64)}, opset=18, keepdims=0)
    same_as_referee(path, onnxruntime_run, (2, 3))
    with pytest.raises(FastmlError, match=r"FML-IMP-BATCH.*samples are reduced to one"):
        read_onnx(one(write, "ReduceSum", (2, 3), empty), INT5)
    with pytest.raises(FastmlError, match=r"FML-IMP-ATTR.*counts from the last axis"):
        read_onnx(one(write, "ReduceSum", (2, 3), opset=10, axes=[-1]), INT5)


def test_indices_of_a_pool_may_be_named_but_not_read(write: Write):
    at: dict[str, Any] = {"kernel_shape": [2], "outputs": ("y", "indices")}
    with pytest.raises(FastmlError, match=r"FML-IMP-ATTR.*optional output 'Indices'"):
        read_onnx(one(write, "MaxPool", (1, 4), **at), INT5)
    pool = helper.make_node("MaxPool", ["x"], ["y", "unread"], kernel_shape=[2])
    assert network_of(write([pool], {"x": [1, 1, 4]}, ["y"]))


# -- what is refused -----------------------------------------------------------------------

KERNEL = {"w": WEIGHTS}
REFUSALS: dict[str, tuple[str, tuple[int, ...], Mapping[str, Any], dict[str, Any]]] = {
    "FML-IMP-SHAPE.*'X' of shape .N, 3. has no spatial axes": ("MaxPool", (3,), {}, {}),
    "FML-IMP-SHAPE.*weights of shape .4, 2, 3, 2. do not fit": ("Conv", (2, 5), KERNEL, {}),
    "FML-IMP-SHAPE.*1 groups of 2 channels": ("Conv", (3, 5, 5), KERNEL, {}),
    "FML-IMP-SHAPE.*is larger than 2 elements and 0 pads": ("Conv", (2, 2, 5), KERNEL, {}),
    "FML-IMP-ATTR.*'kernel_shape=.3, 3.' is not that": (
        *("Conv", (2, 5, 5), KERNEL),
        {"kernel_shape": [3, 3]},
    ),
    "FML-IMP-ATTR.*'group=0' is not positive": ("Conv", (2, 5, 5), KERNEL, {"group": 0}),
    "FML-IMP-ATTR.*'strides=.2.' does not have 2": ("Conv", (2, 5, 5), KERNEL, {"strides": [2]}),
    "FML-IMP-ATTR.*'dilations=.0, 1.' has numbers": (
        *("Conv", (2, 5, 5), KERNEL),
        {"dilations": [0, 1]},
    ),
    "FML-IMP-ATTR.*'pads=.0, 0, -1, 0.' has numbers": (
        *("Conv", (2, 5, 5), KERNEL),
        {"pads": [0, 0, -1, 0]},
    ),
    "FML-IMP-ATTR.*'auto_pad=SAME' is none of": ("Conv", (2, 5, 5), KERNEL, {"auto_pad": "SAME"}),
    "FML-IMP-ATTR.*'auto_pad=VALID' and 'pads' exclude": (
        *("Conv", (2, 5, 5), KERNEL),
        {"auto_pad": "VALID", "pads": [0, 0, 0, 0]},
    ),
    "FML-IMP-SHAPE.*'B' of shape .2. is not one": (
        *("Conv", (2, 5, 5)),
        {**KERNEL, "b": np.zeros(2, F)},
        {},
    ),
    "FML-UNQUANTISED.*the weights are not quantised": (
        *("Conv", (2, 5, 5)),
        {"w": WEIGHTS * F(0.1)},
        {},
    ),
    "FML-IMP-ATTR.*'kernel_shape=.2.' is not a size": (
        *("MaxPool", (2, 5, 5), {}),
        {"kernel_shape": [2]},
    ),
    "FML-IMP-ATTR.*a pad of 2 is not smaller": (
        *("AveragePool", (2, 5), {}),
        {"kernel_shape": [2], "pads": [2, 0]},
    ),
    "FML-IMP-ATTR.*'auto_pad=SAME_UPPER' and 'dilations'": (
        *("MaxPool", (2, 5), {}),
        {"kernel_shape": [2], "dilations": [2], "auto_pad": "SAME_UPPER"},
    ),
    "FML-IMP-ATTR.*ambiguous with 'auto_pad=VALID'": (
        *("MaxPool", (2, 6), {}),
        {"kernel_shape": [3], "strides": [2], "auto_pad": "VALID", "ceil_mode": 1},
    ),
    "FML-IMP-ATTR.*a window sees pads alone": (
        *("MaxPool", (2, 1), {}),
        {"kernel_shape": [2], "dilations": [2], "pads": [1, 1]},
    ),
    "FML-IMP-SHAPE.*2 groups do not divide 3": (
        *("ConvTranspose", (3, 5)),
        {"w": np.ones((3, 1, 2), F)},
        {"group": 2},
    ),
    "FML-IMP-ATTR.*'output_padding=.2.' is not less": (
        *("ConvTranspose", (3, 5)),
        {"w": np.ones((3, 1, 2), F)},
        {"output_padding": [2], "strides": [2]},
    ),
    "FML-IMP-ATTR.*larger than what the operand reaches": (
        *("ConvTranspose", (3, 5)),
        {"w": np.ones((3, 1, 2), F)},
        {"output_shape": [7]},
    ),
    "FML-IMP-SHAPE.*pads leave nothing": (
        *("ConvTranspose", (3, 5)),
        {"w": np.ones((3, 1, 2), F)},
        {"pads": [3, 3]},
    ),
    "FML-IMP-SHAPE.*more than 16777216 elements": (
        *("Conv", (2, 5, 5), KERNEL),
        {"pads": [10**6, 10**6, 10**6, 10**6]},
    ),
    "FML-IMP-ATTR.*'alpha=0.5' is not one": ("Conv", (2, 5, 5), KERNEL, {"alpha": 0.5}),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_refusals(write: Write, message: str):
    op, shape, constants, attributes = REFUSALS[message]
    if op.endswith("Pool"):
        attributes = {"kernel_shape": [1], **attributes}
    path = one(write, op, shape, constants, **attributes)
    with pytest.raises(FastmlError, match=message) as caught:
        read_onnx(path, INT5)
    assert "\n" not in str(caught.value)


def test_an_odd_crop_has_no_side_in_version_1(write: Write):
    weights = {"w": np.ones((3, 1, 2), F)}
    path = one(write, "ConvTranspose", (3, 5), weights, opset=10, output_shape=[5])
    with pytest.raises(FastmlError, match=r"FML-IMP-ATTR.*a side that version 1 does not tell"):
        read_onnx(path, INT5)


def test_samples_are_no_channels(write: Write):
    transpose = helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2])
    pool = helper.make_node("MaxPool", ["t"], ["y"], kernel_shape=[2])
    path = write([transpose, pool], {"x": ["N", 3, 4]}, ["y"])
    with pytest.raises(FastmlError, match=r"FML-IMP-BATCH.*samples are taken for channels"):
        read_onnx(path, INT5)
    path = write([transpose, pool], {"x": [1, 3, 4]}, ["y"])
    with pytest.raises(FastmlError, match=r"FML-IMP-SHAPE.*axis 0 of 'X' has 3 elements a sample"):
        read_onnx(path, INT5)


def test_weights_that_vary_and_constants_are_refused(write: Write):
    conv = helper.make_node("Conv", ["x", "x"], ["y"])
    with pytest.raises(FastmlError, match=r"FML-IMP-DYNAMIC.*'W'"):
        read_onnx(write([conv], {"x": [1, 1, 1]}, ["y"]), INT5)
    pool = helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[1])
    add = helper.make_node("Add", ["x", "p"], ["y"])
    constants = {"c": np.ones((1, 1, 2), F)}
    with pytest.raises(FastmlError, match=r"FML-IMP-TYPE.*'X' is a constant"):
        read_onnx(write([pool, add], {"x": [1, 1, 2]}, ["y"], constants), INT5)


def test_real_weights_of_a_real_operand_wait(write: Write):
    """A convolution of an edge that is proved to be integers later."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"], pads=[1, 1]),
    ]
    constants = {"w": np.array([[[0.5, -1, 2]]], F)}
    network = network_of(write(nodes, {"x": ["N", 1, 4]}, ["y"], constants))
    (conv,) = (op for op in network.body.block.ops if isinstance(op, ConvOp))
    assert str(element_type(conv.result)) == "!fastml.fixed<s8, 3>"
