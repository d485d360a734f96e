# pyright: basic, reportMissingTypeStubs=false
"""Small ONNX models, made by the tests, and the referees that run them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
Arrays = Mapping[str, np.ndarray]


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str | None]],
    outputs: Sequence[str],
    constants: Arrays | None = None,
    *,
    opset: int = 13,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """Build a model; every tensor is float32 and outputs have no declared shape."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    domains = {node.domain for node in nodes} - {""}
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = ir_version
    return model


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a model made by ``make_model`` (same arguments) and return its path."""

    def write(*arguments: Any, name: str = "model.onnx", **keywords: Any) -> Path:
        path = tmp_path / name
        path.write_bytes(make_model(*arguments, **keywords).SerializeToString())
        return path

    return write


@pytest.fixture
def onnxruntime_run(require_tool: Callable[[str], str]) -> Callable[..., list[np.ndarray]]:
    """Run a model file with ONNX Runtime: ``run(path, {name: array})``."""
    require_tool("onnxruntime")
    import onnxruntime

    def run(path: Path, inputs: Arrays) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(y) for y in session.run(None, dict(inputs))]

    return run
