"""Corners of streaming designs: what a network need not have, and where nothing is left to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

import fastml

LEVELS = ["fastml", "qflow", "affine", "hw"]


def written(folder: Path, nodes: list[NodeProto], shape: list[int], outputs: list[str]) -> Path:
    """Write a model of one input 'x' and no constants."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "corner", inputs, results)
    path = folder / "corner.onnx"
    opsets = [helper.make_opsetid("", 13)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    return path


HOST: dict[str, tuple[NodeProto, list[int]]] = {
    "softmax": (helper.make_node("Softmax", ["x"], ["y"], axis=-1), [6]),
    "leak of an image": (helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.37), [2, 3, 4]),
}


@pytest.mark.parametrize("options", [{}, {"input_beats": 2}, {"output_beats": 2}], ids=str)
@pytest.mark.parametrize("case", HOST)
def test_a_host_that_computes_everything(
    case: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Hardware passes its input on, and each level has somebody who writes what is sent."""
    node, shape = HOST[case]
    path = written(tmp_path, [node], shape, ["y"])
    design = fastml.compile(path, input_type={"x": "int4*0.25"}, io="stream", **options)
    design.verify(vectors=5, levels=LEVELS)
    frames = np.arange(-8, 8).repeat(3).reshape(-1, *shape).astype(np.float32) / 4
    np.testing.assert_array_equal(design.simulate(frames, "hw").outputs, design.predict(frames))


def test_cycles_of_outputs_of_several_sizes(tmp_path: Path) -> None:
    """Of 6 and 8 beats a frame: cut into 2 parts, each as late as its last beat anywhere."""
    pools = [
        helper.make_node("MaxPool", ["x"], [name], kernel_shape=kernel)
        for name, kernel in (("six", [2, 2]), ("eight", [2, 1]))
    ]
    path = written(tmp_path, pools, [1, 3, 4], ["six", "eight"])
    design = fastml.compile(path, input_type={"x": "int4"}, io="stream")
    frames = np.arange(-8, 8).repeat(3)[:36].reshape(3, 1, 3, 4).astype(np.float32)
    for level in LEVELS[1:]:
        found = design.simulate(frames, level)
        signals = [signal.cycles for signal in found.details.timing.outputs.values()]  # pyright: ignore[reportOptionalMemberAccess]
        parts = np.max([s.reshape(6, -1).max(axis=1) for s in signals], axis=0)
        assert found.cycles.tolist() == parts.tolist()
        assert [len(s) for s in signals] == [18, 24]
