"""Build QONNX graphs node by node, as exporters write them, with a sketch of their values.

The builder keeps float64 values of every tensor on a few calibration samples, so that the
scales of quantisers can be chosen to use their range. The values decide nothing else: what
a graph computes is for the outside executor to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array: TypeAlias = NDArray[Any]
DOMAINS = ("finn.custom_op.general", "onnx.brevitas", "qonnx.custom_op.general")
ROUNDINGS = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


@dataclass(frozen=True)
class InputSpec:
    """An input: its type as text (`None`: real numbers for a leading quantiser) and shape."""

    name: str
    type: str | None
    shape: tuple[int, ...]

    def sample(self, frames: int, rng: np.random.Generator) -> Array:
        """Return float32 numbers on the grid of the type: corners, normals, uniform noise."""
        shape = (frames, *self.shape)
        if self.type is None:
            spread = np.float32(2.0) ** rng.integers(-3, 3, (frames,) + (1,) * len(self.shape))
            return np.asarray(rng.standard_normal(shape) * spread, np.float32)
        if self.type == "bipolar":
            return np.where(rng.random(shape) < 0.5, -1, 1).astype(np.float32)
        low, high = self._range()
        span = (high - low) * 2.0 ** rng.uniform(-4, 0, (frames,) + (1,) * len(self.shape))
        integers = np.rint(rng.standard_normal(shape) * span / 2 + (low if low == 0 else 0))
        integers = np.clip(np.abs(integers) if low == 0 else integers, low, high)
        uniform = rng.integers(low, high, shape, endpoint=True)
        corners = np.where(rng.random(shape) < 0.5, low, high)
        kind = rng.integers(0, 4, (frames,) + (1,) * len(self.shape))
        integers = np.where(kind == 0, corners, np.where(kind == 1, uniform, integers))
        return self._real(integers.astype(np.int64))

    def _range(self) -> tuple[int, int]:
        assert self.type is not None
        digits = self.type.split("<")[-1].split(",")[0].split("*")[0].split("/")[0]
        bits = int(digits.removeprefix("u").removeprefix("int"))
        if self.type.startswith("u"):
            return 0, (1 << bits) - 1
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def _real(self, integers: NDArray[np.int64]) -> Array:
        assert self.type is not None
        if "fixed" in self.type:
            width, whole = (int(t) for t in self.type.split("<")[1].rstrip(">").split(","))
            return np.ldexp(integers.astype(np.float32), whole - width)
        if "/" in self.type:
            return integers.astype(np.float32) / np.float32(int(self.type.split("/")[1]))
        scale = np.float32(float(self.type.split("*")[1])) if "*" in self.type else np.float32(1)
        return integers.astype(np.float32) * scale


@dataclass(frozen=True)
class Edge:
    """A tensor while a graph is built: its shape (batch excluded), values, and steps."""

    name: str
    shape: tuple[int, ...]
    sketch: Array
    steps: tuple[Fraction, ...] | None
    """Distinct steps of its grid; `None` for a tensor of real numbers."""

    @property
    def is_coarse(self) -> bool:
        """Whether its steps have a common divisor that costs few bits."""
        return self.steps is not None and all(
            step.numerator < 64 and step.denominator.bit_length() < 24 for step in self.steps
        )


@dataclass
class Builder:
    """A graph under construction, of one opset and one spelling of the QONNX domain."""

    rng: np.random.Generator
    opset: int
    domain: str
    batch: int | None
    """Size of the batch axis, `None` for a symbolic one."""
    style: str
    """How tensors are named: `plain`, `path` or `number`."""
    samples: int = 64
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    inputs: list[InputSpec] = field(default_factory=list[InputSpec])
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    quantisers: list[str] = field(default_factory=list[str])
    features: set[str] = field(default_factory=set[str])
    _count: int = 0

    # -- tensors -----------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        """Return a new tensor name in the graph's style."""
        self._count += 1
        if self.style == "number":
            return str(self._count + 20)
        if self.style == "path":
            return f"/layers.{self._count}/{stem}_output_0"
        return f"{stem}_{self._count}_out0"

    def constant(self, value: Array, stem: str = "param") -> str:
        """Return the name of a new initializer; 0-d arrays stay 0-d."""
        name = self.fresh(stem)
        self.constants[name] = np.asarray(value)
        return name

    def input(self, kind: str | None, shape: Sequence[int]) -> Edge:
        """Add an input of a type, as text, or of real numbers."""
        spec = InputSpec(f"in.{len(self.inputs)}", kind, tuple(shape))
        self.inputs.append(spec)
        sketch = spec.sample(self.samples, self.rng).astype(np.float64)
        self.features.add(f"input {kind.split('<')[0] if kind else 'real'}"[:12])
        steps = None
        if kind is not None and "/" not in kind:
            one = float(np.abs(spec.sample(256, self.rng)).max())
            if kind == "bipolar":
                step = Fraction(1)
            elif "fixed" in kind:
                width, whole = (int(t) for t in kind.split("<")[1].rstrip(">").split(","))
                step = Fraction(2) ** (whole - width)
            else:
                step = Fraction(float(np.float32(kind.split("*")[1]))) if "*" in kind else 1
            assert one >= 0
            steps = (Fraction(step),)
        elif kind is not None:
            steps = (Fraction(1, int(kind.split("/")[1])),)
        return Edge(spec.name, spec.shape, sketch, steps)

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node; return the name of its output."""
        name = self.fresh(op)
        self.nodes.append(
            helper.make_node(
                op, list(inputs), [name], name=f"{op}.{name}", domain=domain, **attributes
            )
        )
        self.shapes[name] = tuple(shape)
        self.features.add(op)
        return name

    # -- scales ------------------------------------------------------------------------

    def scale(self, about: float, kind: str) -> np.float32:
        """Return a scale near `about`: a power of two, a coarse or an arbitrary one."""
        about = max(about, 2.0**-12)
        power = 2.0 ** int(np.rint(np.log2(about)))
        if kind == "pow2":
            return np.float32(power)
        if kind == "coarse":
            mantissa = int(self.rng.choice([3, 5, 7, 9, 11, 13, 15]))
            return np.float32(mantissa * power / 8)
        return np.float32(about * self.rng.uniform(0.7, 1.4))

    # -- quantisers --------------------------------------------------------------------

    def quant(
        self,
        x: Edge,
        bits: int,
        scale: Array,
        zero_point: Array,
        signed: bool,
        narrow: bool,
        rounding: str,
    ) -> Edge:
        """Add an activation quantiser."""
        names = [
            x.name,
            self.constant(scale, "scale"),
            self.constant(zero_point, "zeropt"),
            self.constant(np.array(bits, np.float32), "bitwidth"),
        ]
        attributes: dict[str, Any] = {"signed": int(signed), "narrow": int(narrow)}
        if rounding != "ROUND" or self.rng.random() < 0.5:
            attributes["rounding_mode"] = rounding
        op = "IntQuant" if self.rng.random() < 0.2 else "Quant"
        name = self.node(op, names, x.shape, self.domain, **attributes)
        self.quantisers.append(name)
        self.features |= {f"rounding {rounding}", "signed" if signed else "unsigned"}
        self.features |= {f"{bits} bit"} | ({"narrow"} if narrow else set[str]())
        if np.any(zero_point):
            self.features.add("activation zero point")
        if scale.size > 1:
            self.features.add("activation scale per channel")
        values = sketch_quant(x.sketch, scale, zero_point, bits, signed, narrow)
        return Edge(name, x.shape, values, steps_of(scale))

    def bipolar(self, x: Edge, scale: Array) -> Edge:
        """Add a sign quantiser, in one of its two spellings."""
        if self.rng.random() < 0.5:
            name = self.node(
                "BipolarQuant", [x.name, self.constant(scale, "scale")], x.shape, self.domain
            )
            self.quantisers.append(name)
            values = np.where(x.sketch >= 0, 1, -1) * scale.astype(np.float64)
            return Edge(name, x.shape, values, steps_of(scale))
        return self.quant(x, 1, scale, np.zeros((), np.float32), True, True, "ROUND")

    def weights(
        self, shape: tuple[int, int], per_row: bool, coarse: bool
    ) -> tuple[str, Array, tuple[Fraction, ...]]:
        """Add quantised weights; return name, values and steps.

        A scale per channel runs along axis 0 if ``per_row``, else along axis 1.
        """
        rng = self.rng
        kind = str(rng.choice(["pow2", "coarse"] if coarse else ["pow2", "coarse", "any", "any"]))
        channels = (shape[0], 1) if per_row else (1, shape[1])
        per_channel = rng.random() < 0.45
        base = self.scale(2.0 ** rng.uniform(-6, -1), kind)
        scale: Array = np.array(base)
        if per_channel:
            each = [
                self.scale(float(base) * 2.0 ** rng.uniform(-1, 1), kind)
                for _ in range(max(channels))
            ]
            scale = np.array(each, np.float32).reshape(channels)
            if not per_row and rng.random() < 0.3:
                scale = scale.ravel()
            self.features.add("weight scale per channel")
        elif rng.random() < 0.5:
            scale = scale.reshape((1,) * int(rng.integers(1, 3)))
        self.features.add(f"weight scale {kind}")
        if rng.random() < 0.2:
            reals = rng.standard_normal(shape).astype(np.float32)
            source = self.constant(reals, "weight")
            name = self.node(
                "BipolarQuant", [source, self.constant(scale, "scale")], shape, self.domain
            )
            self.features.add("bipolar weights")
            values = np.where(reals >= 0, 1, -1) * scale.astype(np.float64)
            return name, np.broadcast_to(values, shape), steps_of(scale)
        bits = int(rng.choice([1, 2, 2, 3, 4, 5, 6, 8]))
        signed = bool(rng.random() < 0.85)
        narrow = bool(rng.random() < 0.5) and bits > 1
        zero_point: Array = np.zeros((), np.float32)
        if rng.random() < 0.2 and bits > 1:
            zero_point = np.array(rng.integers(-2, 3 if signed else 2**bits), np.float32)
            if per_channel and scale.ndim == 2 and rng.random() < 0.5:
                zero_point = rng.integers(-2, 3, channels).astype(np.float32)
            self.features.add("weight zero point")
        spread = 2.0 ** (bits - 1) * (0.7 if signed else 1.0)
        reals = (rng.standard_normal(shape) * spread * float(base)).astype(np.float32)
        if not signed and not np.any(zero_point):
            reals = np.abs(reals)
        source = self.constant(reals, "weight")
        names = [
            source,
            self.constant(scale, "scale"),
            self.constant(zero_point, "zeropt"),
            self.constant(np.array(bits, np.float32), "bitwidth"),
        ]
        rounding = str(rng.choice(ROUNDINGS))
        name = self.node(
            "Quant",
            names,
            shape,
            self.domain,
            signed=int(signed),
            narrow=int(narrow),
            rounding_mode=rounding,
        )
        self.features.add(f"weights {bits} bit")
        values = sketch_quant(reals, scale, zero_point, bits, signed, narrow)
        return name, np.broadcast_to(values, shape), steps_of(scale)

    # -- the file ----------------------------------------------------------------------

    def model(self, outputs: Sequence[Edge]) -> onnx.ModelProto:
        """Return the graph as a model file's content."""
        batch = "N" if self.batch is None else self.batch
        infos = [
            helper.make_tensor_value_info(i.name, TensorProto.FLOAT, [batch, *i.shape])
            for i in self.inputs
        ]
        results = [
            helper.make_tensor_value_info(o.name, TensorProto.FLOAT, [batch, *o.shape])
            for o in outputs
        ]
        constants = [numpy_helper.from_array(a, name) for name, a in self.constants.items()]
        graph = helper.make_graph(self.nodes, "random", infos, results, constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(self.domain, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="e2e")


def checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that ONNX's own checker accepts."""
    onnx.checker.check_model(model)  # pyright: ignore[reportUnknownMemberType]
    return model


def write_model(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model file."""
    path.write_bytes(model.SerializeToString())
    return path


def sketch_quant(
    x: Array, scale: Array, zero_point: Array, bits: int, signed: bool, narrow: bool
) -> Array:
    """Return roughly what a quantiser gives (always rounding to nearest), in float64."""
    wide, shift = np.asarray(scale, np.float64), np.asarray(zero_point, np.float64)
    if bits == 1 and signed:
        return np.where(x >= 0, 1, -1) * wide
    high = 2 ** (bits - signed) - 1 - (narrow and not signed)
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    return (np.clip(np.rint(x / wide + shift), low, high) - shift) * wide


def steps_of(scale: Array) -> tuple[Fraction, ...]:
    """Return the distinct values of a scale, exactly."""
    return tuple(sorted({Fraction(float(value)) for value in np.asarray(scale).ravel()}))
