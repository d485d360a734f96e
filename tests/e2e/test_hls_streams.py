"""HLS C++ of folded and streaming designs: compiled, held against the other levels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastml
from fastml.compiler.support.diagnostics import FastmlError

PULSES = Path(__file__).parents[2] / "examples" / "pulses.onnx"
EDGES = {"converter", "hidden_sum", "hidden", "output_sum"}
STREAM = {"io": "stream", "reuse": 8, "input_beats": 4, "output_beats": 3}


@pytest.fixture(autouse=True)
def tools(require_tool: Callable[[str], str]) -> None:
    require_tool("g++")
    require_tool("ap_types")


def test_folded_layers_are_loops_with_lanes_of_constants() -> None:
    design = fastml.compile(PULSES, reuse=8, hls="oneapi")
    found = design.verify(vectors=50, levels=("fastml", "affine", "csim"))
    assert found.counts.edges >= EDGES
    assert found.counts.cycles
    text = "".join(design.csim.design.files.values())
    assert "[[intel::initiation_interval(1)]]" in text
    assert "dense_hidden_sum_weights[48][8]" in text


@pytest.mark.parametrize("flavour", ["vitis", "oneapi", "catapult"])
def test_streams_carry_the_same_values(flavour: str) -> None:
    """Folded processes between streams, fed and read in several beats a frame."""
    design = fastml.compile(PULSES, hls=flavour, **STREAM)
    found = design.verify(vectors=40, levels=("affine", "csim"))
    assert found.counts.edges >= EDGES
    assert found.untimed == ("affine",)
    assert found.notes[-1] == "csim: values alone, since C++ has no time of streams"
    assert design.csim.design.streams == (flavour != "oneapi")
    if flavour == "oneapi":
        rows = np.random.default_rng(0).uniform(0, 255, (20, 16)).round().astype(np.float32)
        assert np.array_equal(design.build_csim()(rows), design.predict(rows))


@pytest.mark.parametrize(
    ("options", "place"),
    [({"hls_interface": "axilite"}, "--hls-interface"), ({"hls_ports": "fixed"}, "--hls-ports")],
)
def test_what_streams_have_not_is_refused_before_anything_is_written(
    options: dict[str, str], place: str, tmp_path: Path
) -> None:
    design = fastml.compile(PULSES, hls="vitis", **STREAM, **options)
    with pytest.raises(FastmlError, match=rf"FML-OPTION\] {place}: "):
        design.write(tmp_path / "build", "hls")
    assert not (tmp_path / "build").exists()
