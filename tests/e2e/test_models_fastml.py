"""Published networks, read and evaluated as tensors, against recorded numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.reader import check, read_onnx
from fastml.dialects.fastml import QuantiseOp
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate, network_of


@dataclass(frozen=True)
class Model:
    name: str
    types: Mapping[str, str]
    quantisers: int
    logits: str | None = None

    def read(self, models: Path) -> ModuleOp:
        module = read_onnx(models / f"{self.name}.onnx", self.types)
        InferGrids().apply(Context(), module)
        module.verify()
        return module


MODELS = [
    Model("jet_tagger", {"global_in": "fixed<16,6>"}, 3, "Add_3_out0"),
    Model("TFC_2W2A", {"0": "uint8/255"}, 4),
    Model("TFC_1W1A", {"0": "uint8/255"}, 4),
    Model("unsw_nb15_mlp_w2a2", {"onnx::Add_0": "bipolar"}, 4),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_every_node_is_accounted_for(model: Model, shared: Path):
    statuses = check(shared / "models" / f"{model.name}.onnx", model.types)
    assert all(status.supported and status.how for status in statuses)
    assert [status.index for status in statuses] == list(range(len(statuses)))


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_recorded_numbers(model: Model, shared: Path):
    module = model.read(shared / "models")
    recorded = np.load(shared / "models" / f"{model.name}.npz")
    network = network_of(module)
    edges = [op.edge_name for op in network.body.block.ops if isinstance(op, QuantiseOp)]
    assert len(edges) == model.quantisers
    taps = [*edges, *([model.logits] if model.logits else [])]
    (name,) = network.inputs
    outputs, seen = evaluate(module, {name: recorded["input"]}, taps)
    (output,) = outputs.values()
    for k, edge in enumerate(edges):
        expected = recorded[f"quantiser_{k}"]
        np.testing.assert_array_equal(seen[edge].real.reshape(expected.shape), expected)
        assert seen[edge].raw is not None
    if model.logits:
        np.testing.assert_array_equal(seen[model.logits].real, recorded["logits"])
        np.testing.assert_allclose(output.real, recorded["output"], rtol=1e-6, atol=0)
    else:
        np.testing.assert_array_equal(output.real, recorded["output"])


def test_an_annotated_input_needs_no_type(shared: Path):
    """The UNSW model says itself that its input is bipolar."""
    model = MODELS[3]
    path = shared / "models" / f"{model.name}.onnx"
    assert str(read_onnx(path)) == str(read_onnx(path, model.types))


@pytest.mark.parametrize(("model", "percent"), [(MODELS[1], 96.60), (MODELS[2], 92.96)])
def test_accuracy_on_mnist(model: Model, percent: float, shared: Path):
    module = model.read(shared / "models")
    data = np.load(shared / "data" / "mnist.npz")
    images = data["test_image"].astype(np.float32)[:, None] / np.float32(255)
    (scores,) = evaluate(module, {"0": images}).outputs.values()
    right = scores.real.argmax(axis=1) == data["test_label"]
    assert len(right) == 10_000
    assert round(100 * float(right.mean()), 2) == percent
