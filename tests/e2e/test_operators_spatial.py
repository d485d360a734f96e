"""Published networks on whole images at `fastml`, and pools that no quantiser precedes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from operator_graphs import QONNX, Array, execute
from xdsl.context import Context

import fastml
from fastml.compiler.reader import check, read_onnx
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate

TYPES = {"global_in": "uint8*0.00390625"}
MODELS = ("branched_ch_last", "separable_conv_ch_last")


@pytest.mark.parametrize("name", MODELS)
def test_whole_images(name: str, shared: Path):
    """Straight from the exporter's file, which does not even import the domain it uses."""
    path = shared / "models" / f"{name}.onnx"
    module = read_onnx(path, TYPES)
    InferGrids().apply(Context(), module)
    module.verify()
    recorded = np.load(path.with_suffix(".npz"))
    image = recorded["input"].astype(np.float32) * recorded["input_scale"]
    (output,) = evaluate(module, {"global_in": image}).outputs.values()
    np.testing.assert_array_equal(output.real, recorded["output"])


@pytest.mark.parametrize("name", MODELS)
def test_every_node_is_accounted_for(name: str, shared: Path):
    statuses = check(shared / "models" / f"{name}.onnx", TYPES)
    assert all(status.supported and status.how for status in statuses)


AVERAGES: dict[str, dict[str, Any]] = {
    "AveragePool": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "GlobalAveragePool": {},
    "ReduceMean": {"axes": [2, 3], "keepdims": 0},
    "MaxPool": {"kernel_shape": [2, 2], "strides": [2, 2]},
}


@pytest.mark.parametrize(("io", "level"), [("parallel", "qflow"), ("stream", "hw")])
@pytest.mark.parametrize("op", AVERAGES)
def test_pools_of_wide_accumulators(
    op: str, io: str, level: str, tmp_path: Path, require_tool: Callable[[str], str]
):
    """A bias and an activation in fp32, nobody quantises, then a pool: exact down to hardware."""
    require_tool("onnxruntime")
    rng = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "w": (rng.integers(-127, 128, (2, 2, 3, 3)) / 64).astype(np.float32),
        "b": (rng.integers(-500, 500, 2) / 4096).astype(np.float32),
        **{"s": np.array(0.25, "f4"), "z": np.array(0, "f4"), "n": np.array(5, "f4")},
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node(op, ["r"], ["p"], **AVERAGES[op]),
        helper.make_node("Quant", [*"pszn"], ["y"], domain=QONNX, signed=0, narrow=0),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, name) for name, a in constants.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    path = tmp_path / "graph.onnx"
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    design = fastml.compile(path, input_type={"x": "int8*0.015625"}, io=io)
    tensors = {**constants, "x": (rng.integers(-128, 128, (9, 2, 4, 4)) / 64).astype(np.float32)}
    for node in nodes[:3]:
        tensors[node.output[0]] = execute(node, tensors, 13)[0]
    expected = np.clip(np.rint(tensors["p"] * 4), 0, 31) / 4
    assert len(np.unique(expected)) > 5
    for chosen in ("fastml", level):
        outputs = design.simulate({"x": tensors["x"]}, chosen).outputs
        np.testing.assert_array_equal(outputs, expected, chosen)
