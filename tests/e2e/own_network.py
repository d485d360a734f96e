"""A network of the tests' own: two inputs, two outputs, a fork, a join of unequal branches."""

from dataclasses import dataclass

import numpy as np
import onnx
from qonnx_builder import Array, Builder, Edge, InputSpec, checked

CLASSES = "classes"
DECISION = "decision"


@dataclass(frozen=True)
class OwnNetwork:
    """The model, and its edges of interest."""

    model: onnx.ModelProto
    inputs: tuple[InputSpec, ...]
    quantisers: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    deep: str
    """End of the branch that is deep."""
    shallow: str
    """End of the branch that joins it early."""

    @property
    def input_types(self) -> dict[str, str]:
        """Types of the inputs."""
        return {i.name: str(i.type) for i in self.inputs}

    def sample(self, frames: int, seed: int) -> dict[str, Array]:
        """Return random inputs, by name."""
        rng = np.random.default_rng(seed)
        return {i.name: i.sample(frames, rng) for i in self.inputs}


def own_network() -> OwnNetwork:
    """Build it::

    tracks ─ dense ─ quantise ─┬─ dense ─ quantise ─ dense ─ quantise ─ + ─ dense ─ classes
                               └────────────────────────────────────────┤
    energy ─────────────────────────────────────────── dense ─ quantise ┴─ - ─ sign ─ decision
    """
    b = Builder(np.random.default_rng(11), 13, "qonnx.custom_op.general", None, "path")
    tracks, energy = b.input("fixed<6,3>", (8,)), b.input("uint5", (6,))
    trunk = _activate(b, _dense(b, tracks, 6, 3), 4, 0.25)
    deep = _activate(b, _dense(b, _activate(b, _dense(b, trunk, 10, 5), 4, 0.5), 6, 5), 5, 0.5)
    joined = _combine(b, "Add", deep, trunk)
    side = _activate(b, _dense(b, energy, 6, 3), 5, 0.5)
    logits = _dense(b, joined, 3, 4)
    offset = b.constant(np.array([0.3, -1.7, 0.05], np.float32))
    classes = b.node("Add", [logits.name, offset], (3,))
    margin = _combine(b, "Sub", joined, side)
    sign = b.bipolar(margin, np.array(1, np.float32))
    for name, wanted in ((classes, CLASSES), (sign.name, DECISION)):
        _rename(b, name, wanted)
    outputs = [Edge(CLASSES, (3,), logits.sketch, None), Edge(DECISION, (6,), sign.sketch, None)]
    model = checked(b.model(outputs))
    return OwnNetwork(
        model, tuple(b.inputs), tuple(b.quantisers), dict(b.shapes), deep.name, trunk.name
    )


def small_network() -> OwnNetwork:
    """Build the same in small: its inputs have 12 bits, so that a test can try them all."""
    b = Builder(np.random.default_rng(0), 13, "qonnx.custom_op.general", None, "plain")
    tracks, energy = b.input("int3", (3,)), b.input("uint3", (1,))
    weights = np.array([[1, -2, 3], [2, 1, -1], [-1, 3, 2]]), np.array([[3, -1], [-2, 3], [1, 2]])
    trunk = _activate(b, _dense(b, tracks, 3, 3, weights[0]), 2, 0.5)
    middle = _activate(b, _dense(b, trunk, 2, 3, weights[1]), 2, 0.25)
    deep = _activate(b, _dense(b, middle, 3, 3, np.array([[3, 1, -1], [-1, 2, 3]])), 2, 0.125)
    joined = _combine(b, "Add", deep, trunk)
    side = _activate(b, _dense(b, energy, 3, 3, np.array([[1, 2, 3]])), 3, 0.25)
    logits = _dense(b, joined, 2, 3, np.array([[3, -1], [1, 2], [-2, 3]]))
    classes = b.node("Add", [logits.name, b.constant(np.array([0.3, -1.7], np.float32))], (2,))
    sign = b.bipolar(_combine(b, "Sub", joined, side), np.array(1, np.float32))
    for name, wanted in ((classes, CLASSES), (sign.name, DECISION)):
        _rename(b, name, wanted)
    outputs = [Edge(CLASSES, (2,), logits.sketch, None), Edge(DECISION, (3,), sign.sketch, None)]
    model = checked(b.model(outputs))
    return OwnNetwork(
        model, tuple(b.inputs), tuple(b.quantisers), dict(b.shapes), deep.name, trunk.name
    )


def all_inputs() -> dict[str, Array]:
    """Return every input that the small network has, once."""
    number = np.arange(1 << 12)
    tracks = np.stack([(number >> (3 * k) & 7) - 4 for k in range(3)], 1)
    return {"in.0": tracks.astype(np.float32), "in.1": (number >> 9)[:, None].astype(np.float32)}


def _dense(b: Builder, x: Edge, out: int, bits: int, weights: Array | None = None) -> Edge:
    """Multiply by weights on a power of two, and name the product."""
    spread = 2 ** (bits - 2) / 8
    if weights is None:
        reals = (b.rng.standard_normal((x.shape[0], out)) * spread).astype(np.float32)
    else:
        reals = (weights / 8).astype(np.float32)
    scale, zero = np.array(0.125, np.float32), np.zeros((), np.float32)
    names = [b.constant(a) for a in (reals, scale, zero, np.array(bits, np.float32))]
    name = b.node("Quant", names, reals.shape, b.domain, signed=1, narrow=1)
    del b.shapes[name]
    high = 2 ** (bits - 1) - 1
    values = np.clip(np.rint(reals / 0.125), -high, high) * 0.125
    product = b.node("MatMul", [x.name, name], (out,))
    return Edge(product, (out,), x.sketch @ values, None)


def _activate(b: Builder, x: Edge, bits: int, scale: float) -> Edge:
    relu = Edge(b.node("Relu", [x.name], x.shape), x.shape, np.maximum(x.sketch, 0), None)
    grid, zero = np.array(scale, np.float32), np.zeros((), np.float32)
    return b.quant(relu, bits, grid, zero, False, False, "ROUND")


def _combine(b: Builder, op: str, x: Edge, y: Edge) -> Edge:
    name = b.node(op, [x.name, y.name], x.shape)
    value = x.sketch + y.sketch if op == "Add" else x.sketch - y.sketch
    return Edge(name, x.shape, value, None)


def _rename(b: Builder, old: str, new: str) -> None:
    for node in b.nodes:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
    b.shapes[new] = b.shapes.pop(old)
    b.quantisers = [new if name == old else name for name in b.quantisers]
