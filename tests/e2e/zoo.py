"""The four published networks that the tests and benchmarks are held against."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import fastml
from fastml import Design

QUANTISERS = ("Quant", "IntQuant", "BipolarQuant")


@dataclass(frozen=True)
class Network:
    """A model file, its input's type, and which of its edges a referee has recorded."""

    file: str
    input_type: tuple[str, str]
    logits: str | None = None
    """Edge of the last quantised or real numbers before a softmax, if the file keeps them."""

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self.file.removesuffix(".onnx")

    def compile(self, models: Path, **options: Any) -> Design:
        """Compile the model in the folder of models."""
        return fastml.compile(models / self.file, input_type=dict([self.input_type]), **options)

    def quantisers(self, models: Path) -> list[str]:
        """Return the edges of the activation quantisers, in graph order."""
        graph = onnx.ModelProto.FromString((models / self.file).read_bytes()).graph
        known = {tensor.name for tensor in graph.initializer}
        found: list[str] = []
        for node in graph.node:
            if all(name in known for name in node.input):
                known |= set(node.output)
            elif node.op_type in QUANTISERS:
                found.append(node.output[0])
        return found

    def recorded(self, models: Path) -> dict[str, NDArray[Any]]:
        """Return what the referee recorded."""
        return _recorded(models / f"{self.name}.npz")


@cache
def _recorded(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as arrays:
        return {name: np.asarray(arrays[name]) for name in arrays.files}


JET_TAGGER = Network("jet_tagger.onnx", ("global_in", "fixed<16,6>"), "Add_3_out0")
TFC_2W2A = Network("TFC_2W2A.onnx", ("0", "uint8/255"))
TFC_1W1A = Network("TFC_1W1A.onnx", ("0", "uint8/255"))
UNSW = Network("unsw_nb15_mlp_w2a2.onnx", ("onnx::Add_0", "bipolar"))
NETWORKS = (JET_TAGGER, TFC_2W2A, TFC_1W1A, UNSW)


def hold_against_record(
    design: Design, network: Network, models: Path, level: str, frames: int = 256, ii: int = 1
) -> None:
    """Compare all that the referee recorded, and the cycles with the prediction."""
    recorded = network.recorded(models)
    assert len(recorded["output"]) == 256
    edges = network.quantisers(models)
    recorded_edges = [f"quantiser_{k}" for k in range(len(edges))]
    assert set(recorded_edges) == {name for name in recorded if name.startswith("quantiser_")}
    recorded = {name: values[:frames] for name, values in recorded.items()}
    taps = [*edges, *([network.logits] if network.logits else [])]
    run = design.simulate(recorded["input"].astype(np.float32), level, taps=taps)
    for edge, name in zip(edges, recorded_edges, strict=True):
        tapped = run.tap[edge].reshape(recorded[name].shape)
        np.testing.assert_array_equal(tapped, recorded[name], f"{level}, {name} = {edge}")
    if network.logits:
        logits = run.tap[network.logits]
        assert logits.dtype == np.float32
        np.testing.assert_array_equal(logits, recorded["logits"])
        np.testing.assert_allclose(run.outputs, recorded["output"], rtol=1e-6, atol=0)
    else:
        assert run.outputs.dtype == np.float32
        np.testing.assert_array_equal(run.outputs, recorded["output"])
    assert design.ii == ii
    assert design.latency is not None
    np.testing.assert_array_equal(run.cycles, design.latency + ii * np.arange(frames))
