"""HLS C++ of networks of images: line buffers, orders and joins, compiled and compared.

Every flavour on a random network of processes and a small model; more of both, and the larger
models, in the ``full`` set.
"""

from collections.abc import Callable
from pathlib import Path

import image_models
import numpy as np
import pytest
from image_models import ImageModel
from image_stream_graphs import ImageStreamGraph
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import PassPipeline

import fastml
from fastml.compiler.design import Design
from fastml.compiler.emit.hls.build import build_program, design_of
from fastml.compiler.emit.hls.flavours import FLAVOURS
from fastml.compiler.pipelines import new_context
from fastml.lowering import PASSES
from fastml.runtime.csim import CompiledDesign, build_library, find_headers
from fastml.runtime.levels import open_level
from fastml.runtime.trace import Stimulus

CONTEXT = new_context()
CHOSEN = "qflow-fold,qflow-solve,qflow-schedule{clock-ns=4},qflow-size-fifos"
FLAGS = ("-O0", "-fno-exceptions", "-Werror", "-Wno-unused-parameter")
FRAMES = 3
NAMES = ("vitis", "catapult", "oneapi")


@pytest.fixture(autouse=True)
def tools(require_tool: Callable[[str], str]) -> None:
    require_tool("g++")
    require_tool("ap_types")


def compare(seed: int, flavour: str) -> None:
    """Compare every edge of a random network with its ``qflow`` level."""
    graph = ImageStreamGraph(seed, 2 + seed % 8)
    module = ModuleOp([graph.graph])
    PassPipeline.parse_spec(PASSES, CHOSEN).apply(CONTEXT, module)
    level = open_level("qflow", module.clone())
    PassPipeline.parse_spec(PASSES, "qflow-to-affine").apply(CONTEXT, module)
    design = design_of(build_program(module, FLAVOURS[flavour]), module)
    compiled = CompiledDesign(design, build_library(design, find_headers(design.library), FLAGS))
    beats = graph.beats(FRAMES)
    edges = list(design.taps)
    wanted = level.simulate(Stimulus(beats, np.zeros(FRAMES, np.int64)), edges)
    outputs, taps = compiled(beats, edges)
    for name, signal in wanted.outputs.items():
        assert np.array_equal(outputs[name], signal.values), (seed, name)
    for name in edges:
        assert np.array_equal(taps[name], wanted.taps[name].values), (seed, name)


@pytest.mark.parametrize(("seed", "flavour"), [(22, "vitis"), (30, "catapult"), (14, "oneapi")])
def test_random_networks(seed: int, flavour: str) -> None:
    compare(seed, flavour)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(90))
def test_more_random_networks(seed: int) -> None:
    compare(seed, NAMES[seed % 3])


def streamed(model: ImageModel, folder: Path, flavour: str, **options: object) -> Design:
    path = folder / "model.onnx"
    path.write_bytes(model.model.SerializeToString())
    given = {"input_type": {model.input: model.input_type}, "io": "stream", "hls": flavour}
    return fastml.compile(path, **given, **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("flavour", NAMES)
def test_a_model_in_every_flavour(flavour: str, tmp_path: Path) -> None:
    design = streamed(image_models.tiny(), tmp_path, flavour)
    found = design.verify(vectors=6, levels=("fastml", "affine", "csim"))
    assert len(found.counts.edges) >= 7
    fifos = design.csim.design.fifos
    assert max(fifos.values(), default=0) <= 4  # lines are in the functions that need them


@pytest.mark.full
def test_skips_strides_and_resizes(tmp_path: Path) -> None:
    """Rows and columns that are repeated, stuffed, pooled; two long skips; no frame is kept."""
    design = streamed(image_models.unet(), tmp_path, "vitis")
    design.verify(vectors=2, levels=("fastml", "csim"))
    assert "frame[" not in "".join(design.csim.design.files.values())


@pytest.mark.full
@pytest.mark.parametrize("name", ["separable", "svhn", "waveform"])
def test_larger_models(name: str, tmp_path: Path) -> None:
    design = streamed(getattr(image_models, name)(), tmp_path, "vitis")
    design.verify(vectors=2, levels=("fastml", "csim"))
    cost = design.csim.build().cost
    assert cost.peak_bytes < 2e9
