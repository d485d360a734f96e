"""Make a second example: a network of 784-16-10 that reads handwritten digits.

It is too large to unroll for most uses, and there to be folded: 12,704 products, 8-bit
weights and activations, all scales powers of two. Trained here in NumPy on MNIST::

    python examples/digits.py MNIST.npz       writes examples/digits.onnx

MNIST.npz holds ``train_image``, ``train_label``, ``test_image``, ``test_label`` (uint8).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Real = NDArray[np.float32]

PIXELS, HIDDEN, CLASSES = 784, 16, 10
BITS = 8
PIXEL_SCALE = 2.0**-8
ACTIVATION_SCALE = 2.0**-5
BIAS_SCALE = 2.0**-12
EPOCHS = 16


def weight_scale(weights: Real) -> float:
    """Return the smallest power of two at which the weights fit."""
    largest = (1 << (BITS - 1)) - 1
    return float(2.0 ** np.ceil(np.log2(np.abs(weights).max() / largest)))


def on_grid(values: Real, scale: float, low: int, high: int) -> Real:
    """Round to the multiples of ``scale``, ties to even, and saturate."""
    return (np.clip(np.rint(values / scale), low, high) * scale).astype(np.float32)


def quantised(weights: Real) -> Real:
    """Return the weights as the network has them."""
    largest = (1 << (BITS - 1)) - 1
    return on_grid(weights, weight_scale(weights), -largest, largest)


def forward(x: Real, parameters: list[Real]) -> tuple[Real, Real, Real]:
    """Return the hidden layer before and after its quantiser, and the logits."""
    w0, b0, w1, b1 = parameters
    span = 1 << 15
    before = x @ quantised(w0) + on_grid(b0, BIAS_SCALE, -span, span - 1)
    after = on_grid(np.maximum(before, 0), ACTIVATION_SCALE, 0, (1 << BITS) - 1)
    return before, after, after @ quantised(w1) + on_grid(b1, BIAS_SCALE, -span, span - 1)


def train(x: Real, label: NDArray[np.uint8]) -> list[Real]:
    """Train with Adam; gradients pass straight through every rounding."""
    rng = np.random.default_rng(1)
    shapes = [(PIXELS, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    parameters = [(rng.standard_normal(s) / np.sqrt(s[0])).astype(np.float32) for s in shapes]
    mean = [np.zeros_like(p) for p in parameters]
    square = [np.zeros_like(p) for p in parameters]
    step = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        for rows in np.array_split(order, len(x) // 200):
            step += 1
            before, after, logits = forward(x[rows], parameters)
            chance = np.exp(logits - logits.max(axis=1, keepdims=True))
            chance /= chance.sum(axis=1, keepdims=True)
            chance[np.arange(len(rows)), label[rows]] -= 1
            error = chance / len(rows)
            open_ = (before > 0) & (before < ACTIVATION_SCALE * ((1 << BITS) - 1))
            back = (error @ parameters[2].T) * open_
            gradients = [x[rows].T @ back, back.sum(axis=0), after.T @ error, error.sum(axis=0)]
            rate = 0.01 * 0.75**epoch
            for k, gradient in enumerate(gradients):
                mean[k] = 0.9 * mean[k] + 0.1 * gradient
                square[k] = 0.999 * square[k] + 0.001 * gradient**2
                unbiased = mean[k] / (1 - 0.9**step), square[k] / (1 - 0.999**step)
                change = rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
                parameters[k] = (parameters[k] - change).astype(np.float32)
    return parameters


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

    def layer(name: str, operator: str, *inputs: str) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [name], name=name))
        return name

    def dense(name: str, source: str, weights: Real, bias: Real) -> str:
        kernel = constant(f"{name}_kernel", quantised(weights))
        kernel = quant(f"{name}_weights", kernel, weight_scale(weights), BITS, 1, 1)
        offset = quant(f"{name}_offset", constant(f"{name}_b", bias), BIAS_SCALE, 16, 1, 0)
        return layer(f"{name}_bias", "Add", layer(f"{name}_sum", "MatMul", source, kernel), offset)

    w0, b0, w1, b1 = parameters
    y = quant("pixels", "image", PIXEL_SCALE, 8, 0, 0)
    y = layer("hidden_relu", "Relu", dense("hidden", y, w0, b0))
    y = quant("hidden", y, ACTIVATION_SCALE, BITS, 0, 0)
    y = dense("output", y, w1, b1)
    quant("logits", y, ACTIVATION_SCALE, 12, 1, 0)
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, PIXELS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        constants,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="fastml")


def main() -> None:
    """Train, and write the model."""
    with np.load(sys.argv[1]) as data:
        images = [np.asarray(data[f"{part}_image"]) for part in ("train", "test")]
        labels = [np.asarray(data[f"{part}_label"]) for part in ("train", "test")]
    x, test = (part.reshape(-1, PIXELS).astype(np.float32) * PIXEL_SCALE for part in images)
    parameters = train(np.asarray(x, np.float32), labels[0])
    logits = forward(np.asarray(test, np.float32), parameters)[2]
    print(f"{np.mean(logits.argmax(axis=1) == labels[1]):.2%} of {len(test)} digits are read right")
    Path(__file__).with_suffix(".onnx").write_bytes(to_onnx(parameters).SerializeToString())


if __name__ == "__main__":
    main()
