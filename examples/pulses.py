"""Make the example: a small network that tells pulses of a detector apart.

A channel is read out as 16 samples of an 8-bit converter. The network says whether they hold
no pulse, one pulse, or two that pile up. It is trained here, in NumPy, with quantised weights
and activations, on waveforms that are made up from a formula, and written as QONNX::

    python examples/pulses.py        writes examples/pulses.onnx and examples/pulses.npz
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Real = NDArray[np.float32]

CLASSES = ("nothing", "one pulse", "pile-up")
SAMPLES, HIDDEN = 16, 24
INPUT_SCALE = 1 / 16  # volts a step of the converter
WEIGHT_BITS, ACTIVATION_BITS = 5, 5
ACTIVATION_SCALE = 0.3


def make_waveforms(count: int, seed: int) -> tuple[Real, NDArray[np.int64]]:
    """Return waveforms in volts, as the converter gives them, and their classes."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(CLASSES), count)
    time = np.arange(SAMPLES)[None, :]
    first = rng.uniform(0, 7, (count, 1))
    second = first + rng.uniform(1, 5, (count, 1))
    volts = 0.7 * rng.standard_normal((count, SAMPLES))
    for start, present in ((first, kind >= 1), (second, kind == 2)):
        after = np.maximum(time - start, 0)
        height = rng.uniform(2, 6, (count, 1))
        volts += present[:, None] * height * after / 2 * np.exp(1 - after / 2)
    steps = np.clip(np.rint(volts / INPUT_SCALE), 0, 255)
    return (steps * INPUT_SCALE).astype(np.float32), kind


def quantise_weights(weights: Real) -> tuple[NDArray[np.int64], Real]:
    """Return integers and one scale for each column."""
    largest = (1 << (WEIGHT_BITS - 1)) - 1
    scale = (np.abs(weights).max(axis=0, keepdims=True) / largest + 1e-8).astype(np.float32)
    return np.clip(np.rint(weights / scale), -largest, largest).astype(np.int64), scale


def quantise_activations(x: Real) -> Real:
    """Round to the grid of the hidden layer."""
    levels = np.clip(np.rint(x / ACTIVATION_SCALE), 0, (1 << ACTIVATION_BITS) - 1)
    return (levels * ACTIVATION_SCALE).astype(np.float32)


def forward(x: Real, parameters: list[Real]) -> tuple[Real, Real]:
    """Return the hidden layer before its quantiser, and the logits."""
    w0, b0, w1, b1 = parameters
    (k0, s0), (k1, s1) = quantise_weights(w0), quantise_weights(w1)
    hidden = x @ (k0 * s0) + b0
    return hidden, quantise_activations(np.maximum(hidden, 0)) @ (k1 * s1) + b1


def train(x: Real, kind: NDArray[np.int64], steps: int = 1500) -> list[Real]:
    """Train with Adam; gradients pass straight through every rounding."""
    rng = np.random.default_rng(1)
    shapes = [(SAMPLES, HIDDEN), (HIDDEN,), (HIDDEN, len(CLASSES)), (len(CLASSES),)]
    parameters = [(rng.standard_normal(s) / np.sqrt(s[0])).astype(np.float32) for s in shapes]
    mean = [np.zeros_like(p) for p in parameters]
    square = [np.zeros_like(p) for p in parameters]
    for step in range(1, steps + 1):
        rows = rng.integers(0, len(x), 256)
        hidden, logits = forward(x[rows], parameters)
        chance = np.exp(logits - logits.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        chance[np.arange(len(rows)), kind[rows]] -= 1
        error = chance / len(rows)
        top = ACTIVATION_SCALE * ((1 << ACTIVATION_BITS) - 1)
        back = (error @ parameters[2].T) * ((hidden > 0) & (hidden < top))
        active = quantise_activations(np.maximum(hidden, 0))
        gradients = [x[rows].T @ back, back.sum(axis=0), active.T @ error, error.sum(axis=0)]
        for k, gradient in enumerate(gradients):
            mean[k] = 0.9 * mean[k] + 0.1 * gradient
            square[k] = 0.999 * square[k] + 0.001 * gradient**2
            unbiased = mean[k] / (1 - 0.9**step), square[k] / (1 - 0.999**step)
            parameters[k] -= (0.01 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)).astype(np.float32)
    return parameters


def to_onnx(parameters: list[Real]) -> onnx.ModelProto:
    """Return the network as a QONNX model."""
    nodes, constants = list[onnx.NodeProto](), list[onnx.TensorProto]()

    def constant(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def quant(name: str, source: str, scale: object, bits: int, signed: int, narrow: int) -> str:
        inputs = [
            source,
            constant(f"{name}_scale", scale),
            constant(f"{name}_zero", 0.0),
            constant(f"{name}_bits", bits),
        ]
        attributes = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
        domain = "qonnx.custom_op.general"
        nodes.append(
            helper.make_node("Quant", inputs, [name], name=name, domain=domain, **attributes)
        )
        return name

    def layer(name: str, operator: str, *inputs: str) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [name], name=name))
        return name

    w0, b0, w1, b1 = parameters
    (k0, s0), (k1, s1) = quantise_weights(w0), quantise_weights(w1)
    x = quant("converter", "samples", INPUT_SCALE, 8, 0, 0)
    weights = quant("hidden_weights", constant("w0", k0 * s0), s0, WEIGHT_BITS, 1, 1)
    y = layer("hidden_sum", "MatMul", x, weights)
    y = layer("hidden_bias", "Add", y, constant("b0", b0))
    y = layer("hidden_relu", "Relu", y)
    y = quant("hidden", y, ACTIVATION_SCALE, ACTIVATION_BITS, 0, 0)
    weights = quant("output_weights", constant("w1", k1 * s1), s1, WEIGHT_BITS, 1, 1)
    y = layer("output_sum", "MatMul", y, weights)
    layer("logits", "Add", y, constant("b1", b1))
    graph = helper.make_graph(
        nodes,
        "pulses",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, [1, SAMPLES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(CLASSES)])],
        constants,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="fastml")


def main() -> None:
    """Train, write the model and 500 waveforms beside it."""
    parameters = train(*make_waveforms(20_000, seed=2))
    x, kind = make_waveforms(500, seed=3)
    right = np.mean(forward(x, parameters)[1].argmax(axis=1) == kind)
    print(f"{right:.1%} of {len(x)} waveforms are told right")
    here = Path(__file__).with_suffix("")
    onnx.save(to_onnx(parameters), here.with_suffix(".onnx"))
    np.savez_compressed(here.with_suffix(".npz"), input=x, label=kind)


if __name__ == "__main__":
    main()
