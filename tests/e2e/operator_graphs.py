"""Random graphs of one or two operators, and a judge that executes them node by node.

A graph is: input -> [Quant] -> operator [-> Quant] [-> operator] -> Quant. Every choice comes
from one seed. An operator is registered by `random_operator`: a function that draws its
attributes, adds nodes to a `Draft`, and returns the new edge. Shapes and the values that
scales are chosen by come from the referee, so an operator states neither.

The referee executes each node on *our* values of its inputs (ONNX Runtime; the QONNX executor
for its own operators), so a difference is found where it arises and hides nothing after it.
Ours must equal the referee's to the bit, but where float32 cannot hold a linear operator's sum
(scales that are no powers of two): there ours must lie within the error that float32 sums of
that many terms may have, and is counted as admitted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array: TypeAlias = NDArray[Any]
QONNX = "qonnx.custom_op.general"
CHANNELS_LAST = "qonnx.custom_op.channels_last"
UNIT = 2.0**-24
"""Relative error of one float32 rounding."""
FAMILIES = ("spatial_operators", "moving_operators", "real_operators")
"""Modules beside this one that register operators; those that exist."""
OPSETS = (11, 13, 17, 18, 19, 21, 22)
ROUNDINGS = ("ROUND", "ROUND", "ROUND", "FLOOR", "CEIL", "HALF_UP", "UP", "DOWN", "HALF_DOWN")
SAMPLES = 6


@dataclass(frozen=True)
class Edge:
    """A tensor while a graph is drawn: shape (batch excluded) and values of a few samples."""

    name: str
    sketch: Array
    quantised: bool
    channels_last: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.sketch.shape[1:]

    @property
    def channel_axis(self) -> int:
        """The axis of the channels, the batch counted."""
        return self.sketch.ndim - 1 if self.channels_last else 1


@dataclass
class Draft:
    """A graph that is being drawn."""

    rng: np.random.Generator
    opset: int
    batch: int | None
    """Size of the batch axis, `None` for a symbolic one."""
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    values: dict[str, Array] = field(default_factory=dict[str, Array])
    """What each node gave, on the samples."""
    features: set[str] = field(default_factory=set[str])
    input_types: dict[str, str] = field(default_factory=dict[str, str])
    samples: dict[str, Array] = field(default_factory=dict[str, Array])

    # -- choices -----------------------------------------------------------------------

    def integer(self, low: int, high: int) -> int:
        """Draw an integer, both bounds included."""
        if low > high:
            raise Unfit("nothing to choose from")
        return int(self.rng.integers(low, high, endpoint=True))

    def integers(self, count: int, low: int, high: int) -> list[int]:
        """Draw several integers."""
        return [self.integer(low, high) for _ in range(count)]

    def chance(self, probability: float) -> bool:
        """Draw whether something is so."""
        return bool(self.rng.random() < probability)

    def choose(self, options: Sequence[Any]) -> Any:
        """Draw one of several options."""
        return options[self.integer(0, len(options) - 1)]

    # -- tensors and nodes -------------------------------------------------------------

    def constant(self, value: Array | Sequence[int] | Sequence[float], stem: str = "p") -> str:
        """Return the name of a new initializer."""
        name = f"{stem}{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[Edge | str],
        domain: str = "",
        *,
        quantised: bool = False,
        channels_last: bool = False,
        **attributes: Any,
    ) -> Edge:
        """Add a node; return the edge of its (first) output, as the referee computes it."""
        name = f"{op.lower()}{len(self.nodes)}"
        names = [edge.name if isinstance(edge, Edge) else edge for edge in inputs]
        proto = helper.make_node(op, names, [name], name=f"n_{name}", domain=domain, **attributes)
        known = {**self.samples, **self.constants, **self.values}
        sketch = execute(proto, known, self.opset)[0]
        if not sketch.size:
            raise Unfit("nothing is left")
        self.nodes.append(proto)
        self.values[name] = sketch
        self.features.add(op)
        return Edge(name, sketch, quantised, channels_last)

    # -- quantisers --------------------------------------------------------------------

    def scale(self, about: float) -> np.float32:
        """Draw a scale near `about`: mostly a power of two."""
        power = 2.0 ** int(np.rint(np.log2(max(about, 2.0**-10))))
        kind = self.integer(0, 9)
        if kind < 7:
            return np.float32(power)
        if kind < 9:
            return np.float32(power * self.choose([3, 5, 7]) / 4)
        return np.float32(power * self.rng.uniform(0.7, 1.4))

    def quant(self, x: Edge, *, plain: bool = False) -> Edge:
        """Quantise an edge: mostly one power of two for all of it."""
        if not plain and self.chance(0.06):
            about = np.array(self.scale(float(np.abs(x.sketch).mean())))
            return self.node(
                "BipolarQuant",
                [x, self.constant(about, "s")],
                QONNX,
                quantised=True,
                channels_last=x.channels_last,
            )
        bits, signed = self.integer(2, 8), self.chance(0.8) or bool(np.min(x.sketch) < 0)
        spread = float(np.abs(x.sketch).max()) / 2 ** (bits - signed)
        scale: Array = np.array(self.scale(spread * self.rng.uniform(0.4, 1.1)))
        zero_point: Array = np.zeros((), np.float32)
        if not plain and self.chance(0.15) and x.sketch.ndim > 1:
            axes = [1] * x.sketch.ndim
            axes[x.channel_axis] = x.sketch.shape[x.channel_axis]
            powers = self.rng.integers(-1, 2, axes).astype(np.float32)
            scale = np.asarray(scale * np.float32(2) ** powers, np.float32)
            self.features.add("scale per channel")
        if not plain and self.chance(0.12):
            zero_point = np.array(self.integer(-3, 3), np.float32)
            self.features.add("zero point")
        inputs = [
            x,
            self.constant(scale, "s"),
            self.constant(zero_point, "z"),
            self.constant(np.array(bits, np.float32), "b"),
        ]
        return self.node(
            "Quant",
            inputs,
            QONNX,
            quantised=True,
            channels_last=x.channels_last,
            signed=int(signed),
            narrow=int(self.chance(0.2)),
            rounding_mode=self.choose(ROUNDINGS),
        )

    def as_quantised(self, x: Edge) -> Edge:
        """Return an edge of integers: a linear operator needs one."""
        return x if x.quantised else self.quant(x)

    def weights(self, shape: Sequence[int], channel_axis: int) -> str:
        """Add quantised weights, a scale for all or for each channel; or plain small integers."""
        kind = self.integer(0, 9)
        integers = self.rng.integers(-7, 8, shape).astype(np.float32)
        if kind < 2:
            return self.constant(integers, "w")
        axes = [1] * len(shape)
        if kind < 5:
            axes[channel_axis] = shape[channel_axis]
        scale = np.array([self.scale(0.125) for _ in range(max(axes))], np.float32)
        scale = scale.reshape(axes) if kind < 5 else scale.reshape(())
        zero_point = np.array(self.integer(-2, 2) if kind == 9 else 0, np.float32)
        source = self.constant(np.asarray(integers * scale * np.float32(0.9), np.float32), "w")
        if kind == 8:
            return self.node("BipolarQuant", [source, self.constant(scale, "s")], QONNX).name
        inputs = [
            source,
            self.constant(scale, "s"),
            self.constant(zero_point, "z"),
            self.constant(np.array(self.integer(2, 5), np.float32), "b"),
        ]
        narrow = int(self.chance(0.5))
        return self.node(
            "Quant", inputs, QONNX, signed=1, narrow=narrow, rounding_mode="ROUND"
        ).name


Draw: TypeAlias = Callable[[Draft, Edge], Edge]
OPERATORS: dict[str, Draw] = {}
"""Every operator that graphs are drawn from, by name."""


def random_operator(name: str) -> Callable[[Draw], Draw]:
    """Register a function that draws an operator; it may change the draft's opset's choices."""

    def register(draw: Draw) -> Draw:
        assert name not in OPERATORS, name
        OPERATORS[name] = draw
        return draw

    return register


@cache
def operators() -> Mapping[str, Draw]:
    """Return the registry, with every family imported."""
    for family in FAMILIES:
        if (Path(__file__).parent / f"{family}.py").is_file():
            import_module(family)
    return OPERATORS


class Unfit(Exception):
    """An operator does not fit the edge it was given (a rank, a size)."""


# -- graphs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class OperatorGraph:
    """A model, the types of its inputs, and samples of them."""

    seed: int
    model: onnx.ModelProto
    input_types: Mapping[str, str]
    samples: Mapping[str, Array]
    operators: tuple[str, ...]
    features: frozenset[str]

    def write(self, folder: Path) -> Path:
        """Write the model file."""
        path = folder / f"graph_{self.seed}.onnx"
        path.write_bytes(self.model.SerializeToString())
        return path


def operator_graph(seed: int, names: Sequence[str] | None = None) -> OperatorGraph:
    """Draw the graph of a seed, of any operators or of some; nothing else decides."""
    for attempt in range(50):
        rng = np.random.default_rng([seed, attempt])
        try:
            return _draw(seed, rng, sorted(names or operators()))
        except Unfit:
            continue
    raise AssertionError(f"seed {seed}: no operator fits")


INPUT_TYPES = ("int4*0.25", "uint6*0.5", "uint8*0.00390625", "int8*0.0625", "int3*0.75", "bipolar")


def _draw(seed: int, rng: np.random.Generator, names: Sequence[str]) -> OperatorGraph:
    draft = Draft(rng, int(rng.choice(OPSETS)), [1, None, None][int(rng.integers(3))])
    kind = draft.choose(INPUT_TYPES)
    rank = draft.choose([1, 2, 2])
    last = draft.chance(0.25)
    channels, sizes = draft.integer(1, 4), draft.integers(rank, 3, 9)
    shape = (*sizes, channels) if last else (channels, *sizes)
    values = _values(kind, (SAMPLES, *shape), rng)
    edge = Edge("x", values, True, last)
    draft.input_types["x"] = kind
    draft.samples["x"] = values
    if draft.chance(0.2):
        edge = draft.quant(edge)
    used: list[str] = []
    for position in range(1 + draft.chance(0.5)):
        used.append(draft.choose(names))
        if position and draft.chance(0.3):
            edge = draft.quant(edge)
        if edge.sketch.ndim < 2:
            raise Unfit("no axis is left")
        edge = operators()[used[-1]](draft, edge)
    if draft.chance(0.92) or "Quant" not in draft.features:  # else the host computes it all
        edge = draft.quant(edge, plain=draft.chance(0.5))
    return OperatorGraph(
        seed,
        _model(draft, edge),
        draft.input_types,
        draft.samples,
        tuple(used),
        frozenset(draft.features),
    )


def _values(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return float32 numbers on the grid of an input type, corners among them."""
    if kind == "bipolar":
        return np.where(rng.random(shape) < 0.5, -1, 1).astype(np.float32)
    digits, _, step = kind.partition("*")
    bits = int(digits.removeprefix("u").removeprefix("int"))
    low, high = (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    integers = rng.integers(low, high, shape, endpoint=True)
    corners = np.where(rng.random(shape) < 0.5, low, high)
    frames = (shape[0],) + (1,) * (len(shape) - 1)
    integers = np.where(rng.random(frames) < 0.25, corners, integers)
    return np.asarray(integers.astype(np.float32) * np.float32(step), np.float32)


def _model(draft: Draft, output: Edge) -> onnx.ModelProto:
    batch = "N" if draft.batch is None else draft.batch
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *values.shape[1:]])
        for name, values in draft.samples.items()
    ]
    outputs = [helper.make_tensor_value_info(output.name, TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(a, name) for name, a in draft.constants.items()]
    graph = helper.make_graph(draft.nodes, "operators", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", draft.opset), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="e2e")


# -- the referee ---------------------------------------------------------------------------


def execute(node: onnx.NodeProto, tensors: Mapping[str, Array], opset: int) -> list[Array]:
    """Let the referee run one node; `Unfit` where it refuses."""
    given = {name: np.ascontiguousarray(tensors[name]) for name in node.input if name}
    if node.domain == QONNX:
        return [_quantised(node, [given[name] for name in node.input])]
    if node.domain == CHANNELS_LAST:
        return [_channels_last(node, given, opset)]
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in given.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "node", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found: list[Any] = session.run(None, given)
    except Exception as error:  # its exceptions have no common base of their own
        raise Unfit(str(error)) from error
    return [np.asarray(array) for array in found]


def _quantised(node: onnx.NodeProto, inputs: Sequence[Array]) -> Array:
    if node.op_type == "BipolarQuant":
        scale = inputs[1]
        return np.where(inputs[0] >= 0, scale, -scale).astype(np.float32)
    quant: Any = import_module("qonnx.custom_op.general.quant").quant
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    rounding = attributes["rounding_mode"].decode()
    found = quant(*inputs, attributes["signed"], attributes["narrow"], rounding)
    return np.asarray(found, np.float32)


def _channels_last(node: onnx.NodeProto, given: Mapping[str, Array], opset: int) -> Array:
    """Execute as the QONNX executor does: channels first, transposed there and back."""
    moved = {
        name: np.moveaxis(array, -1, 1) if position < 2 else array
        for position, (name, array) in enumerate(given.items())
    }
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    plain.domain = ""
    return np.moveaxis(execute(plain, moved, opset)[0], 1, -1)


# -- the judge -----------------------------------------------------------------------------


@dataclass
class Verdict:
    """What the judge counted."""

    compared: int = 0
    admitted: int = 0
    wrong: list[str] = field(default_factory=list[str])


JOINS = ("Add", "Sub", "Mul", "Sum", "Max", "Min")
"""Operators that are exact on integers where no operand is a constant."""
TERMS: dict[str, Callable[[onnx.NodeProto, Array, Mapping[str, Array]], int]] = {}
"""Operators whose float32 sums may round: how many terms one result has."""


def sums_terms(
    *names: str,
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register how many terms a linear operator's sums have, from node, result, tensors."""

    def register(count: Callable[..., int]) -> Callable[..., int]:
        TERMS.update(dict.fromkeys(names, count))
        return count

    return register


def judge(graph: OperatorGraph, ours: Mapping[str, Array]) -> Verdict:
    """Compare every edge of ours (by name, all frames) with the referee's, node by node."""
    verdict = Verdict()
    opset = next(entry.version for entry in graph.model.opset_import if not entry.domain)
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.model.graph.initializer}
    tensors |= dict(graph.samples)
    varying = set(graph.samples)
    for node in graph.model.graph.node:
        expected = execute(node, tensors, opset)
        if not varying & set(node.input):
            tensors |= dict(zip(node.output, expected, strict=True))
            continue
        for name, wanted in zip(node.output, expected, strict=True):
            varying.add(name)
            got = np.asarray(ours[name], np.float32).reshape(wanted.shape)
            tensors[name] = got
            different = got != wanted
            verdict.compared += got.size
            if not different.any():
                continue
            joins = node.op_type in JOINS and varying.issuperset(node.input)
            slack = _of_join(node, tensors) if joins else _slack(node, tensors, wanted, opset)
            beyond = np.abs(got.astype(np.float64) - wanted) > slack
            verdict.admitted += int(different.sum())
            if beyond.any():
                where = tuple(int(i) for i in np.argwhere(beyond)[0])
                verdict.wrong.append(f"{name}{list(where)}: {got[where]}, not {wanted[where]}")
    return verdict


def _of_join(node: onnx.NodeProto, tensors: Mapping[str, Array]) -> Array:
    """Return how far a join of quantised tensors, each rounded to float32, may be off."""
    operands = [np.abs(tensors[name].astype(np.float64)) for name in node.input]
    join = np.multiply if node.op_type == "Mul" else np.add
    largest = operands[0]
    for operand in operands[1:]:
        largest = np.asarray(join(largest, operand))
    return largest * 2 * len(operands) * UNIT


def _slack(
    node: onnx.NodeProto, tensors: Mapping[str, Array], wanted: Array, opset: int
) -> Array | float:
    """Return how far float32 sums of a linear operator may be from the exact ones."""
    if node.op_type not in TERMS:
        return 0.0
    positive = {
        name: np.abs(tensors[name]) if _is_real(tensors[name]) else tensors[name]
        for name in node.input
        if name
    }
    largest = execute(node, positive, opset)[0].astype(np.float64)
    terms = TERMS[node.op_type](node, wanted, tensors)
    step = np.prod([_step(tensors[name]) for name in node.input[:2] if _is_real(tensors[name])])
    if len(node.input) > 2:
        step = min(step, _step(tensors[node.input[2]]))
    if largest.max(initial=0) * terms <= step * 2**24:  # every sum is exact, in any order
        return 0.0
    return largest * (terms + 2) * UNIT * 1.001


def _is_real(array: Array) -> bool:
    return array.dtype == np.float32


def _step(values: Array) -> float:
    """Return the greatest power of two that divides all the values."""
    mantissas, exponents = np.frexp(values[values != 0].astype(np.float64))
    if not mantissas.size:
        return 1.0
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return float(2.0 ** int((exponents - 53 + lowest).min()))
