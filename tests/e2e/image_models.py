"""Networks of images and waveforms that the tests make themselves, and their referee.

Weights come from seeded generators, scales of activations from a few samples that each node
is executed on. Every node is executed by onnxruntime, every quantiser by the QONNX package,
which is what the QONNX executor does, but for any number of images at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from qonnx_builder import Array, checked

DOMAIN = "qonnx.custom_op.general"
IMAGE = "uint8*0.00390625"
WAVE = "fixed<8,2>"


@dataclass(frozen=True)
class ImageModel:
    """A model file's content, its input, and the activation quantisers in graph order."""

    model: onnx.ModelProto
    input: str
    input_type: str
    shape: tuple[int, ...]
    """Of the input, batch excluded."""
    quantisers: tuple[str, ...]

    @property
    def input_types(self) -> dict[str, str]:
        """The type of the input, by its name."""
        return {self.input: self.input_type}

    @property
    def output(self) -> str:
        """Name of the output."""
        return self.model.graph.output[0].name

    def sample(self, frames: int, seed: int = 0) -> Array:
        """Return float32 images: smooth ones, noise, and corners of the range."""
        return sample(self.input_type, self.shape, frames, seed)

    def referee(self, images: Array, ours: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Execute the model; return every tensor by name.

        With ``ours``, a quantiser's readers get our tensor instead of the executor's, so that
        each node is judged by what we fed to it.
        """
        values = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}
        constants = set(values)
        values[self.input] = np.asarray(images, np.float32)
        found = dict(values)
        for node in self.model.graph.node:
            (name,) = node.output
            found[name] = execute(node, [values[n] for n in node.input], self.model)
            constants |= {name} if constants.issuperset(node.input) else set[str]()
            given = None if ours is None or name in constants else ours.get(name)
            values[name] = found[name] if given is None else np.asarray(given, np.float32)
        return found

    def differences(self, images: Array, ours: Mapping[str, Array]) -> dict[str, tuple[int, float]]:
        """Count, quantiser by quantiser, where we differ from the executor, and by how much.

        Returns the number of elements and the largest difference in steps, for the edges in
        ``ours``. Sums of float32 products of scales that are not powers of two are rounded by
        the executor, so that a number on the edge between two steps may go either way.
        """
        found = self.referee(images, ours)
        steps = {
            n.output[0]: numpy_helper.to_array(t)
            for n in self.model.graph.node
            if n.op_type == "Quant"
            for t in self.model.graph.initializer
            if t.name == n.input[1]
        }
        table: dict[str, tuple[int, float]] = {}
        for name in self.quantisers:
            if name in ours:
                gap = np.abs(np.asarray(ours[name], np.float64) - found[name]) / steps[name]
                table[name] = int(np.sum(gap > 0.01)), float(gap.max())
        return table


def sample(kind: str, shape: tuple[int, ...], frames: int, seed: int) -> Array:
    """Return float32 samples on the grid of an input type."""
    rng = np.random.default_rng(seed)
    axes = tuple(range(2, 1 + len(shape)))
    values = rng.standard_normal((frames, *shape))
    for axis in axes:  # neighbours are alike
        values += 2 * np.roll(values, 1, axis) + np.roll(values, 2, axis)
    values /= np.abs(values).max(axis=(1, *axes), keepdims=True)
    noise = rng.uniform(-1, 1, (frames, *shape))
    corners = rng.choice([-1.0, 1.0], (frames, *shape))
    which = (np.arange(frames) % 4).reshape(-1, *(1,) * len(shape))
    values = np.where(which == 2, noise, np.where(which == 3, corners, values))
    if kind == WAVE:
        return (np.clip(np.rint(values * 128), -128, 127) / 64).astype(np.float32)
    assert kind == IMAGE
    return (np.clip(np.rint((values + 1) * 128), 0, 255) / 256).astype(np.float32)


# -- execution -----------------------------------------------------------------------------


def execute(node: onnx.NodeProto, inputs: Sequence[Array], model: onnx.ModelProto) -> Array:
    """Execute one node outside: quantisers by the QONNX package, all else by onnxruntime."""
    if node.op_type == "Quant":
        quant = outside("qonnx.custom_op.general.quant").quant
        at = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        mode = at.get("rounding_mode", b"ROUND").decode()
        return np.asarray(
            quant(*inputs, at.get("signed", 1), at.get("narrow", 0), mode), np.float32
        )
    session = _session(node.SerializeToString(), _opset(model), tuple(a.ndim for a in inputs))
    (result,) = session.run(None, dict(zip(node.input, inputs, strict=True)))
    return np.asarray(result)


def outside(name: str) -> Any:
    """Import an outside executor, or skip the test."""
    import pytest

    return pytest.importorskip(name)


def _opset(model: onnx.ModelProto) -> int:
    return next(o.version for o in model.opset_import if not o.domain)


@cache
def _session(node: bytes, opset: int, ranks: tuple[int, ...]) -> Any:
    ort = outside("onnxruntime")
    proto = onnx.NodeProto.FromString(node)
    kinds = {"roi": TensorProto.FLOAT}
    infos = [
        helper.make_tensor_value_info(
            name, kinds.get(name, TensorProto.FLOAT), [f"{name}_{k}" for k in range(rank)]
        )
        for name, rank in zip(proto.input, ranks, strict=True)
    ]
    results = [helper.make_tensor_value_info(proto.output[0], TensorProto.FLOAT, None)]
    graph = helper.make_graph([proto], "node", infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


# -- building ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tensor:
    """A tensor while a model is built: its name, and its values on the samples."""

    name: str
    values: Array

    @property
    def channels(self) -> int:
        """Length of the channel axis."""
        return int(self.values.shape[1])


@dataclass
class ImageBuilder:
    """A network under construction, with axes as ONNX has them (channels first)."""

    bits: int
    power_of_two: bool
    """Whether scales are powers of two."""
    seed: int
    opset: int = 13
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    quantisers: list[str] = field(default_factory=list[str])
    input_name: str = "image"

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        opsets = [helper.make_opsetid("", self.opset)]
        self._model = helper.make_model(
            helper.make_graph([], "", [], []), opset_imports=opsets, ir_version=8
        )

    def input(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        """Return the input, with a few samples."""
        self.kind, self.shape = kind, shape
        return Tensor(self.input_name, sample(kind, shape, 8, self.seed))

    def constant(self, stem: str, value: Array) -> Tensor:
        """Add an initializer."""
        name = f"{stem}_{len(self.constants)}"
        self.constants[name] = value
        return Tensor(name, value)

    def node(self, op: str, *inputs: Tensor, domain: str = "", **attributes: Any) -> Tensor:
        """Add a node and execute it on the samples."""
        name = f"/{op}_{len(self.nodes)}_output_0"
        node = helper.make_node(
            op, [i.name for i in inputs], [name], name=name[:-9], domain=domain, **attributes
        )
        self.nodes.append(node)
        return Tensor(name, execute(node, [i.values for i in inputs], self._model))

    def scale(self, largest: float, steps: int) -> Array:
        """Return the scale at which `steps` steps reach the largest number."""
        scale = max(largest, 2.0**-20) / steps
        return np.array(2.0 ** np.ceil(np.log2(scale)) if self.power_of_two else scale, np.float32)

    def quant(
        self, x: Tensor, signed: bool, narrow: bool = False, scale: Array | None = None
    ) -> Tensor:
        """Quantise activations, on a given scale or so that most samples fit."""
        if scale is None:
            most = float(np.quantile(np.abs(x.values), 0.999))
            scale = self.scale(most, 2 ** (self.bits - signed) - 1)
        result = self._quant(x, scale, signed, narrow)
        self.quantisers.append(result.name)
        return result

    def _quant(self, x: Tensor, scale: Array, signed: bool, narrow: bool) -> Tensor:
        return self.node(
            "Quant",
            x,
            self.constant("scale", scale),
            self.constant("zero_point", np.zeros((), np.float32)),
            self.constant("bit_width", np.array(self.bits, np.float32)),
            domain=DOMAIN,
            signed=int(signed),
            narrow=int(narrow),
            rounding_mode="ROUND",
        )

    def weights(self, shape: tuple[int, ...], inputs: int) -> Tensor:
        """Add quantised weights, normal as after training, of a deviation for `inputs` inputs."""
        reals = (self.rng.standard_normal(shape) * np.sqrt(2 / inputs)).astype(np.float32)
        most = 1.0 if self.power_of_two else float(np.abs(reals).max())
        scale = self.scale(most, 2 ** (self.bits - 1) - 1)
        return self._quant(self.constant("weight", reals), scale, True, True)

    def bias(self, channels: int) -> Tensor:
        """Add quantised biases."""
        reals = (self.rng.standard_normal(channels) * 0.1).astype(np.float32)
        return self._quant(
            self.constant("bias", reals), self.scale(1, 2 ** (self.bits - 1)), True, False
        )

    def conv(
        self, x: Tensor, channels: int, kernel: int, bias: bool = True, **attributes: Any
    ) -> Tensor:
        """Add a convolution with a kernel of equal sides."""
        axes = x.values.ndim - 2
        group = int(attributes.get("group", 1))
        shape = (channels, x.channels // group, *(kernel,) * axes)
        for name in ("pads", "strides"):
            if name in attributes:
                attributes[name] = [attributes[name]] * axes * (1 + (name == "pads"))
        weights = self.weights(shape, int(np.prod(shape[1:])))
        operands = [x, weights, *([self.bias(channels)] if bias else [])]
        return self.node("Conv", *operands, kernel_shape=[kernel] * axes, **attributes)

    def dense(self, x: Tensor, columns: int) -> Tensor:
        """Add a dense layer as PyTorch exports it."""
        weights = self.weights((columns, x.channels), x.channels)
        return self.node("Gemm", x, weights, self.bias(columns), transB=1)

    def norm(self, x: Tensor) -> Tensor:
        """Add a batch normalisation that has seen the samples."""
        axes = (0, *range(2, x.values.ndim))
        n = x.channels
        parameters = (
            self.rng.uniform(0.8, 1.2, n),
            self.rng.normal(0, 0.2, n),
            x.values.mean(axes) + self.rng.normal(0, 0.01, n),
            x.values.var(axes) * self.rng.uniform(0.9, 1.1, n) + 1e-3,
        )
        operands = [self.constant("norm", p.astype(np.float32)) for p in parameters]
        return self.node("BatchNormalization", x, *operands, epsilon=1e-5)

    def relu(self, x: Tensor) -> Tensor:
        """Rectify and quantise."""
        return self.quant(self.node("Relu", x), False)

    def pool(self, x: Tensor, size: int = 2) -> Tensor:
        """Take the maximum of every square."""
        axes = x.values.ndim - 2
        return self.node("MaxPool", x, kernel_shape=[size] * axes, strides=[size] * axes)

    def finish(self, output: Tensor) -> ImageModel:
        """Return the model, with a batch of one as exporters have it."""
        info = helper.make_tensor_value_info
        inputs = [info(self.input_name, TensorProto.FLOAT, [1, *self.shape])]
        results = [info(output.name, TensorProto.FLOAT, [1, *output.values.shape[1:]])]
        constants = [numpy_helper.from_array(a, name) for name, a in self.constants.items()]
        graph = helper.make_graph(self.nodes, "images", inputs, results, constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="e2e")
        return ImageModel(
            checked(model), self.input_name, self.kind, self.shape, tuple(self.quantisers)
        )


# -- the networks --------------------------------------------------------------------------


@cache
def tiny() -> ImageModel:
    """Build a network for quick tests: 8x8x2, one convolution, one pool, one dense layer."""
    b = ImageBuilder(4, True, 1)
    x = b.quant(b.input(IMAGE, (2, 8, 8)), False)
    x = b.pool(b.relu(b.conv(x, 4, 3)))
    return b.finish(b.dense(b.node("Flatten", x), 3))


@cache
def separable() -> ImageModel:
    """Build a depthwise convolution with padding and stride, and a pointwise one; 8x8x4."""
    b = ImageBuilder(5, True, 2)
    x = b.quant(b.input(IMAGE, (4, 8, 8)), False)
    x = b.quant(b.conv(x, 8, 3, bias=False, group=4, pads=1, strides=2), True)
    x = b.relu(b.conv(x, 6, 1))
    return b.finish(b.node("GlobalMaxPool", x))


@cache
def svhn() -> ImageModel:
    """Build the network that street view house numbers are known from; 32x32x3, 6 bits."""
    b = ImageBuilder(6, True, 3)
    x = b.quant(b.input(IMAGE, (3, 32, 32)), False)
    for channels in (16, 16, 24):
        x = b.pool(b.relu(b.conv(x, channels, 3)))
    x = b.node("Flatten", x)
    for columns in (42, 64):
        x = b.relu(b.dense(x, columns))
    return b.finish(b.dense(x, 10))


@cache
def resnet8() -> ImageModel:
    """Build a residual network of eight layers, as Brevitas exports them; 32x32x3, 8 bits.

    Both sides of a sum share the scale of one quantiser.
    """
    b = ImageBuilder(8, False, 4)
    x = b.quant(b.input(IMAGE, (3, 32, 32)), True)
    x = b.relu(b.norm(b.conv(x, 16, 3, bias=False, pads=1)))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = b.relu(b.norm(b.conv(x, channels, 3, bias=False, pads=1, strides=stride)))
        y = b.norm(b.conv(y, channels, 3, bias=False, pads=1))
        side = x if stride == 1 else b.conv(x, channels, 1, bias=False, strides=stride)
        both = np.concatenate([y.values.ravel(), side.values.ravel()])
        shared = b.scale(float(np.quantile(np.abs(both), 0.999)), 127)
        x = b.relu(b.node("Add", b.quant(y, True, scale=shared), b.quant(side, True, scale=shared)))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.finish(b.dense(b.quant(x, False), 10))


@cache
def unet() -> ImageModel:
    """Build two levels down and up again, with skips; 3x24x16, 5 bits."""
    b = ImageBuilder(5, True, 5)
    x = b.quant(b.input(IMAGE, (3, 24, 16)), False)
    first = b.relu(b.conv(x, 6, 3, pads=1))
    second = b.relu(b.conv(b.pool(first), 8, 3, pads=1))
    x = b.relu(b.conv(b.pool(second), 10, 3, pads=1))
    none, sizes = np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)
    x = b.node(
        "Resize",
        x,
        b.constant("roi", none),
        b.constant("sizes", sizes),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    x = b.relu(b.conv(b.node("Concat", x, second, axis=1), 8, 3, pads=1))
    weights = b.weights((8, 6, 2, 2), 8)
    x = b.node("ConvTranspose", x, weights, b.bias(6), kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Concat", b.quant(x, True), b.quant(first, True), axis=1)
    x = b.relu(b.conv(x, 6, 3, pads=1))
    return b.finish(b.conv(x, 2, 1))


@cache
def waveform() -> ImageModel:
    """Build a network of 50 samples in one dimension, with a stride and two pools; 6 bits."""
    b = ImageBuilder(6, True, 6, input_name="wave")
    x = b.quant(b.input(WAVE, (1, 50)), True)
    x = b.pool(b.relu(b.conv(x, 8, 5)))
    x = b.relu(b.conv(x, 8, 3, strides=2, pads=1))
    x = b.relu(b.conv(x, 6, 3, pads=1))
    x = b.node("AveragePool", x, kernel_shape=[2], strides=[2])
    return b.finish(b.dense(b.node("Flatten", b.quant(x, False)), 3))


MODELS = (tiny, separable, svhn, resnet8, unet, waveform)
