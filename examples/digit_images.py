"""Make a third example: a convolutional network that reads handwritten digits as images.

Two convolutions of 3 x 3 with max pooling behind each, and a dense layer: 28 x 28 pixels of
8 bits, weights of 5 bits, activations of 4, all scales powers of two, in the axes that
PyTorch has (sample, channel, row, column). It is there to be streamed, a pixel a cycle.
Trained here in NumPy on MNIST::

    python examples/digit_images.py MNIST.npz       writes examples/digit_images.onnx

MNIST.npz holds ``train_image``, ``train_label``, ``test_image``, ``test_label`` (uint8).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Real = NDArray[np.float32]

SIDE, FIRST, SECOND, CLASSES = 28, 4, 8, 10
WEIGHT_BITS, BITS = 5, 4
PIXEL_SCALE = 2.0**-8
ACTIVATION_SCALE = 2.0**-2
BIAS_SCALE = 2.0**-8
LOGIT_SCALE = 2.0**-4
EPOCHS = 4


def weight_scale(weights: Real) -> float:
    """Return the smallest power of two at which the weights fit."""
    largest = (1 << (WEIGHT_BITS - 1)) - 1
    return float(2.0 ** np.ceil(np.log2(np.abs(weights).max() / largest)))


def on_grid(values: Real, scale: float, low: int, high: int) -> Real:
    """Round to the multiples of ``scale``, ties to even, and saturate."""
    return (np.clip(np.rint(values / scale), low, high) * scale).astype(np.float32)


def quantised(weights: Real) -> Real:
    """Return the weights as the network has them."""
    largest = (1 << (WEIGHT_BITS - 1)) - 1
    return on_grid(weights, weight_scale(weights), -largest, largest)


def bias_on_grid(bias: Real) -> Real:
    """Return a bias as the network has it."""
    return on_grid(bias, BIAS_SCALE, -(1 << 11), (1 << 11) - 1)


def windows(x: Real) -> Real:
    """Return the 3 x 3 windows of images ``(n, row, column, channel)``, zeros around them."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    view = sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.ascontiguousarray(view.transpose(0, 1, 2, 4, 5, 3)).reshape(*x.shape[:3], -1)


def scatter(gradient: Real, channels: int) -> Real:
    """Add gradients of windows up to those of the pixels in them."""
    n, rows, columns, _ = gradient.shape
    parts = gradient.reshape(n, rows, columns, 3, 3, channels)
    total = np.zeros((n, rows + 2, columns + 2, channels), np.float32)
    for row in range(3):
        for column in range(3):
            total[:, row : row + rows, column : column + columns] += parts[:, :, :, row, column]
    return total[:, 1:-1, 1:-1]


def blocks(x: Real) -> Real:
    """Return the pixels of each 2 x 2 block along a last axis of 4."""
    n, rows, columns, channels = x.shape
    split = x.reshape(n, rows // 2, 2, columns // 2, 2, channels)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(n, rows // 2, columns // 2, channels, 4)


def unpooled(x: Real, before: Real, gradient: Real) -> Real:
    """Send gradients of 2 x 2 maxima ``x`` back to the pixels that were the largest."""
    spread = np.repeat(np.repeat(gradient, 2, axis=1), 2, axis=2)
    largest = np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)
    return np.asarray(spread * (before == largest), np.float32)


def activation(x: Real) -> Real:
    """Rectify, and quantise."""
    return on_grid(np.maximum(x, 0), ACTIVATION_SCALE, 0, (1 << BITS) - 1)


class Network:
    """The network's parameters, and what training needs of a forward pass."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        dense = SIDE * SIDE // 16 * SECOND
        shapes = [(9, FIRST), (FIRST,), (9 * FIRST, SECOND), (SECOND,), (dense, CLASSES)]
        self.parameters = [
            (rng.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(np.float32)
            for shape in (*shapes, (CLASSES,))
        ]
        for bias in self.parameters[1::2]:
            bias[:] = 0

    def forward(self, x: Real) -> Real:
        """Return the logits of images ``(n, 28, 28, 1)``."""
        w0, b0, w1, b1, w2, b2 = self.parameters
        self.seen = [windows(x)]
        self.sums = [self.seen[0] @ quantised(w0) + bias_on_grid(b0)]
        self.made = [activation(self.sums[0])]
        self.pooled = [blocks(self.made[0]).max(axis=-1)]
        self.seen.append(windows(self.pooled[0]))
        self.sums.append(self.seen[1] @ quantised(w1) + bias_on_grid(b1))
        self.made.append(activation(self.sums[1]))
        self.pooled.append(blocks(self.made[1]).max(axis=-1))
        # the exporter flattens channel by channel
        self.flat = self.pooled[1].transpose(0, 3, 1, 2).reshape(len(x), -1)
        return np.asarray(self.flat @ quantised(w2) + bias_on_grid(b2), np.float32)

    def gradients(self, error: Real) -> list[Real]:
        """Return those of the parameters; they pass straight through every rounding."""
        _, _, w1, _, w2, _ = self.parameters
        found = [self.flat.T @ error, error.sum(axis=0)]
        side = SIDE // 4
        back = (error @ w2.T).reshape(-1, SECOND, side, side).transpose(0, 2, 3, 1)
        for layer in (1, 0):
            back = unpooled(self.pooled[layer], self.made[layer], back)
            top = ACTIVATION_SCALE * ((1 << BITS) - 1)
            back = back * ((self.sums[layer] > 0) & (self.sums[layer] < top))
            seen = self.seen[layer]
            rows = back.reshape(-1, back.shape[-1])
            found = [seen.reshape(-1, seen.shape[-1]).T @ rows, rows.sum(axis=0), *found]
            if layer:
                back = scatter(np.asarray(back @ w1.T, np.float32), FIRST)
        return [np.asarray(gradient, np.float32) for gradient in found]


def train(x: Real, label: NDArray[np.uint8]) -> Network:
    """Train with Adam."""
    network, rng = Network(), np.random.default_rng(2)
    mean = [np.zeros_like(p) for p in network.parameters]
    square = [np.zeros_like(p) for p in network.parameters]
    step = 0
    for epoch in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(x)), len(x) // 100):
            step += 1
            logits = network.forward(x[rows])
            chance = np.exp(logits - logits.max(axis=1, keepdims=True))
            chance /= chance.sum(axis=1, keepdims=True)
            chance[np.arange(len(rows)), label[rows]] -= 1
            rate = 0.005 * 0.5**epoch
            for k, gradient in enumerate(network.gradients(chance / len(rows))):
                mean[k] = 0.9 * mean[k] + 0.1 * gradient
                square[k] = 0.999 * square[k] + 0.001 * gradient**2
                unbiased = mean[k] / (1 - 0.9**step), square[k] / (1 - 0.999**step)
                change = rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
                network.parameters[k] = (network.parameters[k] - change).astype(np.float32)
    return network


def to_onnx(parameters: list[Real]) -> onnx.ModelProto:
    """Return the network as a QONNX model."""
    nodes, constants = list[onnx.NodeProto](), list[onnx.TensorProto]()

    def constant(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def quant(name: str, source: str, scale: float, bits: int, signed: int, narrow: int) -> str:
        inputs = [
            source,
            constant(f"{name}_scale", scale),
            constant(f"{name}_zero", 0.0),
            constant(f"{name}_bits", bits),
        ]
        attributes: dict[str, Any] = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
        domain = "qonnx.custom_op.general"
        nodes.append(
            helper.make_node("Quant", inputs, [name], name=name, domain=domain, **attributes)
        )
        return name

    def layer(name: str, operator: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def weights(name: str, values: Real, kernel: Real) -> str:
        stored = constant(f"{name}_kernel", kernel)
        return quant(f"{name}_weights", stored, weight_scale(values), WEIGHT_BITS, 1, 1)

    def conv(name: str, source: str, values: Real, bias: Real) -> str:
        inner = len(values) // 9
        kernel = quantised(values).reshape(3, 3, inner, -1).transpose(3, 2, 0, 1)
        y = layer(
            f"{name}_conv",
            "Conv",
            source,
            weights(name, values, kernel),
            quant(f"{name}_offset", constant(f"{name}_b", bias), BIAS_SCALE, 12, 1, 0),
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
        )
        y = quant(name, layer(f"{name}_relu", "Relu", y), ACTIVATION_SCALE, BITS, 0, 0)
        return layer(f"{name}_pool", "MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])

    w0, b0, w1, b1, w2, b2 = parameters
    y = quant("pixels", "image", PIXEL_SCALE, 8, 0, 0)
    y = conv("second", conv("first", y, w0, b0), w1, b1)
    y = layer("sums", "MatMul", layer("flat", "Flatten", y), weights("dense", w2, quantised(w2)))
    y = layer("biased", "Add", y, quant("offset", constant("b", b2), BIAS_SCALE, 12, 1, 0))
    quant("logits", y, LOGIT_SCALE, 12, 1, 0)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(nodes, "digit_images", [image], [logits], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="fastml")


def main() -> None:
    """Train, and write the model."""
    with np.load(sys.argv[1]) as data:
        images = [np.asarray(data[f"{part}_image"]) for part in ("train", "test")]
        labels = [np.asarray(data[f"{part}_label"]) for part in ("train", "test")]
    x, test = (np.asarray(part[..., None] * PIXEL_SCALE, np.float32) for part in images)
    network = train(x, labels[0])
    right = [
        network.forward(part).argmax(axis=1) == label
        for part, label in zip(np.split(test, 10), np.split(labels[1], 10), strict=True)
    ]
    print(f"{np.mean(right):.2%} of {len(test)} digits are read right")
    model = to_onnx(network.parameters)
    Path(__file__).with_suffix(".onnx").write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
