# pyright: basic, reportMissingTypeStubs=false
"""QONNX Trunc in both versions, and numbers that fill places of a tensor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from xdsl.context import Context

from fastml.compiler.reader import read_onnx
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.fastml import NetworkOp
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate

QONNX = "qonnx.custom_op.general"
F = np.float32
MODES = ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
Write = Callable[..., Path]


def truncation(
    path: Path, version: int, numbers: dict[str, float], shape: tuple[int, ...], **attributes: Any
) -> Path:
    """Write a model of one Trunc; an operator set of its own says which version it is."""
    node = helper.make_node("Trunc", ["x", *numbers], ["y"], domain=QONNX, **attributes)
    infos = [helper.make_tensor_value_info(n, 1, s) for n, s in (("x", [1, *shape]), ("y", None))]
    constants = [numpy_helper.from_array(np.array(v, F), name) for name, v in numbers.items()]
    graph = helper.make_graph([node], "truncation", infos[:1], infos[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, version)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def numbers_of(version: int, scale: float, zero: float, shift: int) -> dict[str, float]:
    """Return the inputs behind the data, by name."""
    first = {"scale": scale, "zero": zero, "in": 8.0}
    coarse = {"coarse": float(F(scale) * 2**shift)} if version == 2 else {}
    return {**first, **coarse, "out": 8.0 - shift}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_truncation_gives_the_numbers_of_qonnx(
    version: int, mode: str, tmp_path: Path, require_tool: Callable[[str], str]
):
    require_tool("qonnx")
    from qonnx.custom_op.general.trunc import trunc_v1, trunc_v2

    for scale, zero, shift in ((0.25, 0, 2), (0.125, 8, 3), (1.0, 0, 0), (0.375, 4, 1)):
        numbers = numbers_of(version, scale, zero, shift)
        attributes: dict[str, Any] = {"rounding_mode": mode}
        attributes |= {"signed": 1, "narrow": 1} if version == 2 else {}
        path = truncation(tmp_path / "t.onnx", version, numbers, (256,), **attributes)
        x = (np.arange(-128, 128).astype(F) * F(scale))[None]
        got = evaluate(read_onnx(path, {"x": f"int8*{scale}"}), {"x": x}).outputs["y"].real
        given = [F(value) for value in numbers.values()]
        if version == 1:
            s, z, wide, narrow = given
            expected = trunc_v1(x, s, z, wide, narrow, mode)
        else:
            s, z, wide, coarse, narrow = given
            expected = trunc_v2(x, s, z, wide, 1, 1, coarse, narrow, mode)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("version", "numbers", "types", "code"),
    [
        (1, numbers_of(1, 0.25, 0.5, 2), "int8*0.25", "FML-IMP-QUANT"),
        (2, numbers_of(2, 0.25, 3, 2), "int8*0.25", "FML-IMP-QUANT"),
        (1, numbers_of(1, 0.25, 0, 2), None, "FML-UNQUANTISED"),
        (1, numbers_of(1, 0.1, 0, 0), "int20*0.1", "FML-IMP-QUANT"),
        (1, {**numbers_of(1, 0.25, 0, 2), "out": 0.0}, "int8*0.25", "FML-IMP-QUANT"),
        (1, {**numbers_of(1, 0.25, 0, 2), "scale": -1.0}, "int8*0.25", "FML-IMP-QUANT"),
    ],
)
def test_truncation_that_is_not_exact_is_refused(
    version: int, numbers: dict[str, float], types: str | None, code: str, tmp_path: Path
):
    path = truncation(tmp_path / "t.onnx", version, numbers, (4,))
    with pytest.raises(FastmlError, match=code):
        read_onnx(path, {"x": types} if types else {})


FILLS = [
    ("int4*0.25", 0.5, "fixed<s4, 2>"),
    ("int4*0.25", 0.125, "fixed<s5, 3>"),
    ("uint4*0.25", -1.0, "fixed<s5, 2>"),
    ("bipolar", 0.0, "fixed<s2, 0>"),
    ("bipolar", -1.0, "bipolar"),
    ("uint8/255", 1.0, "ratio"),
]


@pytest.mark.parametrize(("types", "fill", "grid"), FILLS)
def test_padding_is_a_number_on_the_grid(
    types: str, fill: float, grid: str, write: Write, onnxruntime_run: Any
):
    constants = {"p": np.array([0, 1, 0, 2]), "v": F(fill)}
    path = write([helper.make_node("Pad", ["x", "p", "v"], ["y"])], {"x": (1, 4)}, ["y"], constants)
    module = read_onnx(path, {"x": types})
    InferGrids().apply(Context(), module)
    module.verify()
    assert grid in str(module)
    step = {"bipolar": 1.0, "uint8/255": 1.0}.get(types, 0.25)
    x = np.array([[1, 0, 1, 1]], F) * F(step)
    x = x * 2 - 1 if types == "bipolar" else x
    (expected,) = onnxruntime_run(path, {"x": x})
    np.testing.assert_array_equal(evaluate(module, {"x": x}).outputs["y"].real, expected)


def test_padding_off_every_grid_is_refused(write: Write):
    constants = {"p": np.array([0, 1, 0, 2]), "v": F(0.3)}
    path = write([helper.make_node("Pad", ["x", "p", "v"], ["y"])], {"x": (1, 4)}, ["y"], constants)
    with pytest.raises(FastmlError, match="FML-GRID"):
        read_onnx(path, {"x": "uint8/255"})


@pytest.mark.parametrize(("axis", "grid"), [(1, "scaled"), (2, "fixed<s5, 3>")])
def test_branches_of_several_scales_join(axis: int, grid: str, write: Write, onnxruntime_run: Any):
    """Channels keep a scale each; positions share the greatest common step."""
    node = helper.make_node("Concat", ["x", "z"], ["y"], axis=axis)
    path = write([node], {"x": (1, 2, 3, 3), "z": (1, 2, 3, 3)}, ["y"], {})
    types = {"x": "int4*0.25", "z": "int5*0.125"}
    module = read_onnx(path, types)
    module.verify()
    (network,) = module.ops
    assert isinstance(network, NetworkOp)
    joined = next(value for name, value in network.edges.items() if name == "y")
    assert grid in str(joined.type)
    given = {n: np.arange(-8, 10).reshape(1, 2, 3, 3).clip(-8, 7) for n in types}
    inputs = {"x": given["x"].astype(F) / 4, "z": given["z"].astype(F) / 8}
    (expected,) = onnxruntime_run(path, inputs)
    np.testing.assert_array_equal(evaluate(module, inputs).outputs["y"].real, expected)
