"""Keras networks of real numbers, given fixed-point types by a configuration of hls4ml's form.

The numbers that every level must give are worked out here a second time, in Fractions, from
the model file and the definition of ``ap_fixed``: no code of the compiler takes part.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from fastml.compiler.design import Design, from_model
from fastml.compiler.options import resolve

Array = NDArray[Any]
STEP = Fraction(1, 1 << 16)
"""Of ``fixed<24,8>``."""


@dataclass(frozen=True)
class Model:
    """A model file, its input, and the edge of its logits."""

    name: str
    input: str
    logits: str


MODELS = [
    Model("conv1d_small_keras", "input_1_0", "biased_tensor_name1"),
    Model("conv2d_small_keras", "conv2d_1_input_0", "biased_tensor_name"),
]


def fixed(value: Fraction) -> Fraction:
    """Convert to ``ap_fixed<24, 8>``: drop the bits below its step, and those above 2**7."""
    steps = floor(value / STEP)
    return ((steps + (1 << 23)) % (1 << 24) - (1 << 23)) * STEP


def exact(values: Array) -> Array:
    """Return float32 numbers as Fractions."""
    return np.array([Fraction(float(v)) for v in values.reshape(-1)], object).reshape(values.shape)


EACH = np.vectorize(fixed, otypes=[object])


def rectified(value: Fraction) -> Fraction:
    """Return the value, or 0 below it."""
    return max(value, Fraction(0))


RELU = np.vectorize(rectified, otypes=[object])


def convolve(x: Array, weights: Array, bias: Array, pads: list[int]) -> Array:
    """Convolve one sample with strides of 1, from the definition, a window at a time."""
    rank, kernel = len(pads) // 2, weights.shape[2:]
    sizes = [n + pads[i] + pads[rank + i] for i, n in enumerate(x.shape[2:])]
    padded: Array = np.full((*x.shape[:2], *sizes), Fraction(0), object)
    inside = [slice(pads[i], pads[i] + n) for i, n in enumerate(x.shape[2:])]
    padded[(slice(None), slice(None), *inside)] = x
    counts = [n - k + 1 for n, k in zip(padded.shape[2:], kernel, strict=True)]
    result = np.zeros((1, len(weights), *counts), object)
    for at in product(*map(range, counts)):
        window = tuple(slice(a, a + k) for a, k in zip(at, kernel, strict=True))
        seen: Array = padded[(0, slice(None), *window)].reshape(-1)
        result[(0, slice(None), *at)] = weights.reshape(len(weights), -1) @ seen + bias
    return result


def by_definition(path: Path, x: Array, wanted: str) -> Array:
    """Return the edge ``wanted`` for one sample: each weight and each layer ``fixed<24,8>``."""
    graph = onnx.ModelProto.FromString(path.read_bytes()).graph
    weights = {t.name: EACH(exact(numpy_helper.to_array(t))) for t in graph.initializer}
    (name,) = [i.name for i in graph.input if i.name not in weights]
    held: dict[str, Array] = {name: x, **weights}
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        held[node.output[0]] = _node(node.op_type, attributes, [held[n] for n in node.input])
        if node.output[0] == wanted:
            break
    return held[wanted]


def _node(kind: str, attributes: Mapping[str, Any], operands: list[Array]) -> Array:
    x = operands[0]
    match kind:
        case "Transpose":
            return x.transpose(attributes["perm"])
        case "Identity":
            return x
        case "Flatten":
            return x.reshape(1, -1)
        case "Relu":
            return EACH(RELU(x))
        case "Conv":
            assert attributes["strides"] == [1] * (x.ndim - 2)
            return EACH(convolve(x, operands[1], operands[2], list(attributes["pads"])))
        case _:
            assert kind == "Gemm"
            return EACH(x @ operands[1] + operands[2])


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> Model:
    return request.param


@pytest.fixture(scope="module")
def files(model: Model, shared: Path) -> tuple[Path, Mapping[str, Array]]:
    return shared / "models" / f"{model.name}.onnx", np.load(
        shared / "models" / f"{model.name}.npz"
    )


@pytest.fixture(scope="module")
def design(
    model: Model, files: tuple[Path, Mapping[str, Array]], tmp_path_factory: pytest.TempPathFactory
) -> Design:
    return configured(model, files[0], tmp_path_factory.mktemp("config"), "io_parallel")


def configured(model: Model, path: Path, folder: Path, io: str) -> Design:
    """Return the design that a configuration of hls4ml's form asks for."""
    precision = {"Precision": "ap_fixed<16,6>"}
    config = {
        "IOType": io,
        "Model": {"Precision": "ap_fixed<24,8>"},
        "LayerName": {model.input: precision},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return from_model(path, resolve({}, str(folder / "config.json")))


def test_logits_are_those_of_exact_fractions(
    model: Model, design: Design, files: tuple[Path, Mapping[str, Array]]
) -> None:
    path, data = files
    run = design.simulate(data["input"], level="fastml", taps=[model.logits])
    found = exact(np.asarray(run.tap[model.logits], np.float32))
    for sample in range(0, len(found), 16):
        x = exact(data["input"][sample : sample + 1])
        assert np.array_equal(by_definition(path, x, model.logits), found[sample : sample + 1])


def test_probabilities_are_near_those_of_real_weights(
    design: Design, files: tuple[Path, Mapping[str, Array]]
) -> None:
    _, data = files
    found = design.predict(data["input"])
    assert np.abs(found - data["output"]).max() < 1e-4
    assert np.array_equal(found.argmax(axis=1), data["output"].argmax(axis=1))


def test_all_levels_agree(
    design: Design,
    files: tuple[Path, Mapping[str, Array]],
    require_tool: Callable[[str], str],
) -> None:
    require_tool("verilator")
    require_tool("g++")
    found = design.verify(files[1]["input"], levels=[*design.levels, "csim"])
    assert found.frames == len(files[1]["input"])
    assert set(found.levels) == {"fastml", "qflow", "affine", "hw", "rtl", "csim"}
    assert design.ii == 1


def test_streams_of_pixels_agree(
    model: Model,
    files: tuple[Path, Mapping[str, Array]],
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    require_tool("verilator")
    design = configured(model, files[0], tmp_path, "io_stream")
    found = design.verify(files[1]["input"][:12], levels=design.levels)
    assert set(found.levels) == {"fastml", "qflow", "affine", "hw", "rtl"}


def test_one_kernel_a_convolution(design: Design) -> None:
    """The adder graph of a kernel is there once, however often it is placed."""
    names = [name for name in design.rtl.files if "kernel" in name]
    convolutions = [op for op in design.module("fastml").walk() if op.name == "fastml.conv"]
    assert len(names) == len(convolutions) > 0
