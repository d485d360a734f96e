"""Networks of images as streams of pixels, at every level, against outside referees."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from spatial_networks import Images, fixed, places
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

import fastml
from fastml import Design
from fastml.compiler.project import read_json, read_project
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.fastml import NetworkOp, Reduction, shape_of

PUBLISHED = ("separable_conv_ch_last", "branched_ch_last")
PIXEL = "uint8*0.00390625"


# --- random networks -----------------------------------------------------------------------


def random_network(seed: int) -> NetworkOp:
    """Return convolutions, pools, skips, joins and changes of size, drawn at random."""
    rng = np.random.default_rng([5, seed])
    last = bool(rng.integers(2))
    height, width, channels = (int(n) for n in (*rng.integers(4, 9, 2), rng.integers(1, 4)))
    shape = [1, height, width, channels] if last else [1, channels, height, width]
    net = Images(seed, x=(fixed(4, 0, int(rng.integers(2))), shape))
    x, skip = net.inputs[0], None
    for _ in range(int(rng.integers(2, 5))):
        x = _layer(net, x, rng, last)
        if skip is not None and shape_of(skip) == shape_of(x):
            axis = 3 if last else 1
            both = np.concatenate([places(skip), places(skip, x)], axis)
            x = net.sum(skip, x) if rng.integers(2) else net.rearrange([skip, x], both)
            x = net.quantise(x, fixed(5, int(rng.integers(-2, 2))))
            skip = None
        else:
            skip = x if rng.integers(2) else skip
    if rng.integers(3) == 0:
        return net.finish(x)
    if rng.integers(2):
        x = net.reduce(x, list(Reduction)[rng.integers(3)], [-3, -2] if last else [-2, -1])
        x = net.quantise(x, fixed(6, -1))
    flat = net.rearrange([x], places(x).reshape(1, -1))
    return net.finish(net.matmul(flat, int(rng.integers(1, 4))))


def _layer(net: Images, x: SSAValue, rng: np.random.Generator, last: bool) -> SSAValue:
    sizes = shape_of(x)[1:3] if last else shape_of(x)[2:]
    channels = shape_of(x)[3 if last else 1]
    kind = fixed(4, int(rng.integers(-2, 1)), int(rng.integers(2)))
    choice = int(rng.integers(6))
    if choice == 0 and min(sizes) >= 4:
        return net.max_pool(x, (2, 2), last=last)
    if choice == 1 and max(sizes) <= 6:
        big = places(x).repeat(2, 1).repeat(2, 2) if last else places(x).repeat(2, 2).repeat(2, 3)
        return net.rearrange([x], big)
    kernel = [int(k) for k in rng.integers(1, 4, 2)]
    same = choice < 5
    pads = [(k - 1) // 2 for k in kernel] + [k // 2 for k in kernel]
    options: dict[str, Any] = {"pads": pads if same else [0, 1, 1, 0]}
    if not same:
        options["strides"] = [int(s) for s in rng.integers(1, 3, 2)]
    if choice == 2:
        options["group"] = channels
    made = channels * int(rng.integers(1, 3)) if choice == 2 else int(rng.integers(1, 5))
    return net.relu(net.conv(x, made, kernel, last=last, **options), kind, last=last)


def compiled(network: NetworkOp, folder: Path, **options: Any) -> Design:
    """Return the streaming design of a network."""
    path = folder / "net.mlir"
    path.write_text(str(ModuleOp([network.clone()])))
    return fastml.compile(path, io="stream", **options)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_at_every_level(seed: int, tmp_path: Path) -> None:
    pixels = 1 + seed % 3 // 2
    design = compiled(random_network(seed), tmp_path, pixels=pixels)
    found = design.verify(vectors=3, levels=["fastml", "qflow", "affine", "hw"])
    assert found.counts.values > 0


@pytest.mark.full
@pytest.mark.parametrize("block", range(12, 212, 10))
def test_many_random_networks(block: int, tmp_path: Path) -> None:
    for seed in range(block, block + 10):
        design = compiled(random_network(seed), tmp_path, pixels=1 + seed % 3)
        design.verify(vectors=3, levels=["fastml", "qflow", "affine", "hw"])


def test_verilator_runs_a_network_of_several_pixels(tmp_path: Path, require_tool: Any) -> None:
    require_tool("verilator")
    design = compiled(random_network(3), tmp_path, pixels=2)
    design.verify(vectors=3, levels=["fastml", "qflow", "rtl"])


def test_a_project_keeps_its_layouts(tmp_path: Path) -> None:
    net = Images(x=(fixed(4), [1, 3, 4, 6]))
    design = compiled(net.finish(net.conv(net.inputs[0], 2, (3, 3))), tmp_path)
    images = net.rng.integers(-8, 8, (2, 3, 4, 6)).astype(np.float32)
    design.write(tmp_path / "project")
    again = read_project(tmp_path / "project")
    expected = design.predict(images)
    for level in ("qflow", "affine", "hw"):
        assert np.array_equal(again.simulate(images, level).outputs, expected)
    manifest = read_json(tmp_path / "project" / "manifest.json")
    (port,) = manifest["inputs"]
    assert port["beats"] == 24
    assert port["layout"]["positions"] == [1, 2]
    assert port["layout"]["beats"] == [4, 6]
    assert port["layout"]["beat"] == [0]


def test_beats_of_an_image_are_its_pixels(tmp_path: Path) -> None:
    net = Images(x=(fixed(4), [1, 3, 4, 6]))
    design = compiled(net.finish(net.conv(net.inputs[0], 2, (3, 3))), tmp_path, input_beats=3)
    with pytest.raises(FastmlError, match="'x' has 24 beats a frame already"):
        design.module("qflow")


# --- published networks --------------------------------------------------------------------


def reshaped(name: str, shared: Path, folder: Path, size: int) -> Path:
    """Write a published network for images of another size."""
    model = onnx.ModelProto.FromString((shared / "models" / f"{name}.onnx").read_bytes())
    before = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4 and value.name not in constants:
            for axis in (1, 2):
                dims[axis].dim_value = dims[axis].dim_value * size // before
    path = folder / f"{name}_{size}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def referee(path: Path, images: np.ndarray) -> np.ndarray:
    """Return what the QONNX executor makes of images."""
    pytest.importorskip("qonnx")
    wrapper = import_module("qonnx.core.modelwrapper")
    shapes = import_module("qonnx.transformation.infer_shapes")
    execute = import_module("qonnx.core.onnx_exec").execute_onnx
    read = onnx.ModelProto.FromString(path.read_bytes())
    # the executor takes this version, 1 where it is missing, for that of ONNX's own pool
    read.opset_import.add(domain="qonnx.custom_op.channels_last", version=13)
    model = wrapper.ModelWrapper(read).transform(shapes.InferShapes())
    (given,), (made,) = model.graph.input, model.graph.output
    frames = [execute(model, {given.name: image[None]})[made.name] for image in images]
    return np.concatenate(frames)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_of_small_images(name: str, shared: Path, tmp_path: Path) -> None:
    path = reshaped(name, shared, tmp_path, 16)
    images = (np.random.default_rng(7).integers(0, 256, (2, 16, 16, 3)) / 256).astype(np.float32)
    design = fastml.compile(path, io="stream", input_type={"global_in": PIXEL})
    expected = design.predict(images)
    assert np.array_equal(expected, referee(path, images))
    run = design.simulate(images, "qflow")
    assert np.array_equal(run.outputs, expected)
    assert design.ii is not None
    assert 256 <= design.ii <= 256 + 4


@pytest.mark.full
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_in_hardware(name: str, shared: Path, tmp_path: Path) -> None:
    path = reshaped(name, shared, tmp_path, 32)
    images = (np.random.default_rng(7).integers(0, 256, (1, 32, 32, 3)) / 256).astype(np.float32)
    design = fastml.compile(path, io="stream", input_type={"global_in": PIXEL})
    expected = design.predict(images)
    assert np.array_equal(expected, referee(path, images))
    for level in ("qflow", "affine", "hw", "rtl", "csim"):
        run = design.simulate(images, level)
        assert np.array_equal(run.outputs, expected), level
