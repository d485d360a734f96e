"""Published networks on whole images at `fastml`: every element equals the recorded one."""

from pathlib import Path

import numpy as np
import pytest
from xdsl.context import Context

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
