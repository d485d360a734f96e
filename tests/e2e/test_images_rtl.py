"""Networks of images under contracts: folded beat by beat, exact, in the cycles predicted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import image_models
import numpy as np
import pytest
from image_models import ImageModel
from qonnx_builder import write_model

import fastml
from fastml import Design
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.qflow import DenseOp, FoldedAttr


def compiled(model: ImageModel, folder: Path, **options: Any) -> Design:
    path = write_model(model.model, folder / "model.onnx")
    return fastml.compile(path, input_type=model.input_types, io="stream", **options)


def reuse_of(design: Design) -> dict[str, tuple[int, int]]:
    """Return firings a frame and reuse factor of each layer."""
    found = dict[str, tuple[int, int]]()
    for stage in design.graph.stages:
        if isinstance(stage, DenseOp):
            plan = stage.architecture
            reuse = plan.reuse.data if isinstance(plan, FoldedAttr) else 1
            found[stage.edge.data] = stage.channel.beats.data, reuse
    return found


def check(design: Design, model: ImageModel, level: str, images: int) -> None:
    """Compare quantised edges with the referee's, outputs and cycles with the prediction."""
    x = model.sample(images, seed=1)
    expected = design.simulate(x, "fastml", taps=model.quantisers)
    assert not any(n for n, _ in model.differences(x, expected.tap).values())
    run = design.simulate(x, level, taps=model.quantisers)
    np.testing.assert_array_equal(run.outputs, expected.outputs)
    for name in model.quantisers:
        np.testing.assert_array_equal(run.tap[name], expected.tap[name], name)
    assert design.ii is not None
    assert design.latency is not None
    beats = np.reshape(run.cycles, (images, -1))
    np.testing.assert_array_equal(beats[:, -1], design.latency + design.ii * np.arange(images))


@pytest.mark.parametrize("level", ["qflow", "affine", "hw"])
@pytest.mark.parametrize("options", [{"ii": 150}, {"reuse": 3}, {"ii": 400, "max_dsp": 4}])
def test_layers_folded_between_line_buffers(
    options: dict[str, int], level: str, tmp_path: Path
) -> None:
    model = image_models.tiny()
    design = compiled(model, tmp_path, **options)
    found = reuse_of(design)
    assert max(reuse for _, reuse in found.values()) > 1
    assert design.ii is not None
    assert design.ii == max(64, *(beats * reuse for beats, reuse in found.values()))
    assert design.ii <= options.get("ii", 36 * 3)
    check(design, model, level, 3)


@pytest.mark.parametrize("ii", [120, 1000])
def test_a_waveform_and_a_skip_under_an_interval(ii: int, tmp_path: Path) -> None:
    model = image_models.waveform()
    design = compiled(model, tmp_path, ii=ii)
    assert any(reuse > 1 for _, reuse in reuse_of(design).values())
    check(design, model, "hw", 2)


def test_street_view_numbers_keep_their_contract(tmp_path: Path) -> None:
    """A pixel a cycle; one image and little more from the first pixel to the answer."""
    model = image_models.svhn()
    plain = compiled(model, tmp_path)
    assert (plain.ii, {reuse for _, reuse in reuse_of(plain).values()}) == (1024, {1})
    assert plain.latency is not None
    assert plain.latency <= 1024
    design = compiled(model, tmp_path, ii=1100, latency_cycles=1200)
    assert design.ii is not None
    assert design.ii <= 1100
    assert design.latency is not None
    assert plain.latency < design.latency <= 1200
    check(design, model, "qflow", 2)


def test_fewer_cycles_than_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FastmlError, match=r"at least 1024 cycles between two frames.*'image'"):
        compiled(image_models.svhn(), tmp_path, ii=1023).module("qflow")


@pytest.mark.full
def test_a_residual_network_is_folded_evenly(tmp_path: Path) -> None:
    """Layers of 1,024, 256 and 64 beats a frame share an interval of 16,384 cycles."""
    model = image_models.resnet8()
    design = compiled(model, tmp_path, ii=16384)
    assert design.ii == 16384
    used = {beats: reuse for beats, reuse in reuse_of(design).values() if reuse > 1}
    assert used[256] == 64
    assert used[64] == 256
    x = model.sample(1, seed=2)
    expected = design.simulate(x, "fastml", taps=model.quantisers)
    # float32 sums of the executor: numbers on the edge between two steps may go either way
    assert all(n <= 8 and gap < 1.01 for n, gap in model.differences(x, expected.tap).values())
    run = design.simulate(x, "qflow", taps=model.quantisers)
    np.testing.assert_array_equal(run.outputs, expected.outputs)
    for name in model.quantisers:
        np.testing.assert_array_equal(run.tap[name], expected.tap[name], name)


@pytest.mark.full
@pytest.mark.parametrize(
    ("build", "options", "images"),
    [
        (image_models.tiny, {"ii": 150}, 4),
        (image_models.svhn, {}, 3),
        (image_models.svhn, {"ii": 1100, "latency_cycles": 1200}, 3),
        (image_models.unet, {"ii": 4096}, 2),
        (image_models.resnet8, {"ii": 16384}, 1),
    ],
)
def test_whole_images_in_verilator(
    build: Callable[[], ImageModel],
    options: dict[str, int],
    images: int,
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    require_tool("verilator")
    model = build()
    design = compiled(model, tmp_path, **options)
    x = model.sample(images, seed=1)
    run, expected = design.simulate(x, "rtl"), design.simulate(x, "fastml")
    np.testing.assert_array_equal(run.outputs, expected.outputs)
    assert design.ii is not None
    assert design.latency is not None
    beats = np.reshape(run.cycles, (images, -1))
    np.testing.assert_array_equal(beats[:, -1], design.latency + design.ii * np.arange(images))
