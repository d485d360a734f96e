"""The QONNX executor as outside judge, with the error that its float32 sums may have.

The executor adds up dequantised products in float32, in an order that it does not define,
so where scales are not powers of two its accumulators are not a function of the integers.
The judge therefore keeps, beside each of the executor's own tensors, an interval that holds
every result which float32 sums of that many terms may have. Intervals arise at linear
operators only; every other node is executed by the executor itself at both ends. A value of
ours that differs from the executor's is *admitted* if it lies in the interval and *wrong*
otherwise; an interval of one point (sums that float32 computes exactly) admits nothing.
After each quantiser the executor goes on from our values, so that one admitted difference
hides nothing downstream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array: TypeAlias = NDArray[Any]
UNIT = 2.0**-24
"""Relative error of one float32 rounding."""
LINEAR = ("MatMul", "Gemm")
JOINS = ("Add", "Sub", "Mul")
QUANTISERS = ("Quant", "IntQuant", "BipolarQuant")


@dataclass
class Verdict:
    """What the judge counted."""

    compared: int = 0
    admitted: int = 0
    """Quantiser outputs that differ where the exact value is too close to a threshold."""
    real_compared: int = 0
    real_rounded: int = 0
    """Real outputs that differ within the error of the executor's own sums."""
    wrong: list[str] = field(default_factory=list[str])

    def add(self, other: "Verdict") -> None:
        """Take in the counts of another verdict."""
        self.compared += other.compared
        self.admitted += other.admitted
        self.real_compared += other.real_compared
        self.real_rounded += other.real_rounded
        self.wrong += other.wrong


@dataclass(frozen=True)
class _Interval:
    """What a tensor may be: the executor's own value, and the ends; exact in float64."""

    value: Array
    low: Array
    high: Array
    exact: Array
    """Centre: the rational value as far as float64 holds it (quantised: to the bit)."""

    @property
    def is_point(self) -> bool:
        return self.low is self.high or bool(np.all(self.low == self.high))


def _point(value: Array, exact: Array | None = None) -> _Interval:
    wide = value.astype(np.float64) if exact is None else exact
    return _Interval(value, value, value, wide)


def _float_ends(center: Array, radius: Array) -> tuple[Array, Array]:
    """Round an interval outwards to float32."""
    slack = radius * (1 + 1e-6)
    low, high = (center - slack).astype(np.float32), (center + slack).astype(np.float32)
    infinity = np.float32(np.inf)
    return np.nextafter(low, -infinity), np.nextafter(high, infinity)


def _grid(values: Array) -> float:
    """Return the largest power of two that divides all the values."""
    mantissa, exponent = np.frexp(values[values != 0].astype(np.float64))
    if not mantissa.size:
        return 1.0
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    low = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return float(2.0 ** int((exponent - 53 + low).min()))


class Judge:
    """One graph, made ready for the executor at a batch of `frames`."""

    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], frames: int):
        ready = onnx.ModelProto()
        ready.CopyFrom(model)
        for node in ready.graph.node:
            if node.domain == "finn.custom_op.general":  # an old name of the same operators
                node.domain = "qonnx.custom_op.general"
        for info in (*ready.graph.input, *ready.graph.output):
            info.type.tensor_type.shape.dim[0].dim_value = frames
        known = {info.name for info in (*ready.graph.input, *ready.graph.output)}
        for name, shape in shapes.items():
            if name not in known:
                info = helper.make_tensor_value_info(name, TensorProto.FLOAT, [frames, *shape])
                ready.graph.value_info.append(info)
        self.frames = frames
        self.outputs = [info.name for info in ready.graph.output]
        self.opsets = {entry.domain: entry.version for entry in ready.opset_import}
        self.graph = ready.graph
        self._infer_constants()

    # -- executing one node ------------------------------------------------------------

    def _execute(self, node: onnx.NodeProto, inputs: Mapping[str, Array]) -> Array:
        """Let the executor run a node on given inputs."""
        (name,) = node.output
        context = dict(inputs)
        context[name] = np.zeros(self._shape(name), np.float32)
        # imported here, so that what needs no executor does without it
        execute = import_module("qonnx.core.onnx_exec").execute_node
        execute(node, context, self.graph, self.opsets.get(node.domain, 13))
        return np.asarray(context[name])

    def _shape(self, name: str) -> list[int]:
        infos = (*self.graph.value_info, *self.graph.output)
        info = next(i for i in infos if i.name == name)
        return [d.dim_value for d in info.type.tensor_type.shape.dim]

    def _infer_constants(self) -> None:
        """Execute what depends on no input (weights, shapes), once."""
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        infos = {t.name: t for t in self.graph.initializer}
        kinds = {name: t.data_type for name, t in infos.items()}
        for name, array in self.constants.items():
            self._declare(name, kinds[name], array.shape)
        for node in self.graph.node:
            if node.op_type == "Shape":
                (name,) = node.output
                source = next(
                    i
                    for i in (*self.graph.input, *self.graph.value_info)
                    if i.name == node.input[0]
                )
                sizes = [d.dim_value for d in source.type.tensor_type.shape.dim]
                self.constants[name] = np.array(sizes, np.int64)
                self._declare(name, TensorProto.INT64, (len(sizes),))
            elif all(name in self.constants for name in node.input):
                self._fold(node)

    def _fold(self, node: onnx.NodeProto) -> None:
        (name,) = node.output
        inputs = {n: self.constants[n] for n in node.input}
        first = inputs[node.input[0]]
        kind = helper.np_dtype_to_tensor_dtype(first.dtype)
        shape: tuple[int, ...] = first.shape
        if node.op_type == "Transpose":
            shape = shape[::-1]
        elif node.op_type == "Gather":
            shape = inputs[node.input[1]].shape
        elif node.op_type == "Unsqueeze":
            shape = (1,)
        elif node.op_type == "Concat":
            shape = (sum(a.shape[0] for a in inputs.values()),)
        self._declare(name, kind, shape)
        self.constants[name] = self._execute(node, inputs)

    def _declare(self, name: str, kind: int, shape: tuple[int, ...]) -> None:
        self.graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))

    # -- judging -----------------------------------------------------------------------

    def judge(
        self,
        inputs: Mapping[str, Array],
        quantisers: Mapping[str, Array],
        outputs: Mapping[str, Array],
    ) -> Verdict:
        """Compare our quantiser outputs and model outputs with the executor's.

        All are float32 by edge name, of the model's own shapes.
        """
        verdict = Verdict()
        self.tensors = {name: _point(np.asarray(array)) for name, array in self.constants.items()}
        self.varying = set(inputs)
        self.tensors |= {name: _point(np.asarray(a, np.float32)) for name, a in inputs.items()}
        for node in self.graph.node:
            (name,) = node.output
            if name in self.constants:
                continue
            self.varying.add(name)
            if node.op_type in QUANTISERS:
                ours = np.asarray(quantisers[name], np.float32)
                self.tensors[name] = self._quantiser(node, ours, verdict)
            elif node.op_type in LINEAR:
                self.tensors[name] = self._linear(node)
            elif node.op_type in JOINS and all(i in self.varying for i in node.input):
                self.tensors[name] = self._join(node)
            else:
                self.tensors[name] = self._elementwise(node)
        for name in self.outputs:
            self._output(name, np.asarray(outputs[name], np.float32), verdict)
        return verdict

    def _run(self, node: onnx.NodeProto) -> Array:
        return self._execute(node, {n: self.tensors[n].value for n in node.input})

    def _quantiser(self, node: onnx.NodeProto, ours: Array, verdict: Verdict) -> _Interval:
        found = self._elementwise(node)
        assert ours.shape == found.value.shape, (node.output[0], ours.shape, found.value.shape)
        differs = ours != found.value
        outside = ~((found.low <= ours) & (ours <= found.high))
        verdict.compared += ours.size
        verdict.admitted += int(np.sum(differs & ~outside))
        self._report(node.output[0], ours, found, outside, verdict)
        return _point(ours, self._exact_quantised(node, ours))

    def _exact_quantised(self, node: onnx.NodeProto, ours: Array) -> Array:
        """Return the integers behind our values times the scale, exactly."""
        scale = self.constants[node.input[1]].astype(np.float64)
        return np.rint(ours / scale) * scale

    def _report(
        self, name: str, ours: Array, found: _Interval, outside: Array, verdict: Verdict
    ) -> None:
        if np.any(outside):
            where = tuple(int(i) for i in np.argwhere(outside)[0])
            verdict.wrong.append(
                f"'{name}' {list(where)}: ours {ours[where]!r}, the executor's "
                f"{found.value[where]!r} in {found.low[where]!r}..{found.high[where]!r}; "
                f"{int(outside.sum())} of {ours.size} are wrong"
            )

    def _output(self, name: str, ours: Array, verdict: Verdict) -> None:
        found = self.tensors[name]
        assert ours.shape == found.value.shape, (name, ours.shape, found.value.shape)
        outside = ~((found.low <= ours) & (ours <= found.high))
        verdict.real_compared += ours.size
        verdict.real_rounded += int(np.sum((ours != found.value) & ~outside))
        self._report(name, ours, found, outside, verdict)

    def _elementwise(self, node: onnx.NodeProto) -> _Interval:
        """Execute a node that is monotone in its varying operands, at both ends."""
        value = self._run(node)
        sources = [n for n in node.input if n in self.varying]
        if all(self.tensors[n].is_point for n in sources):
            exact = None
            if node.op_type not in QUANTISERS and len(node.input) == len(sources):
                exact = self._moved(node, value)
            return _point(value, exact)
        ends = [
            self._execute(node, {n: getattr(self.tensors[n], end) for n in node.input})
            for end in ("low", "high")
        ]
        low, high = np.minimum(*ends), np.maximum(*ends)
        # -0.0 and rounding inside the executor aside, its own value is one of them.
        return _Interval(value, np.minimum(low, value), np.maximum(high, value), (low + high) / 2.0)

    def _moved(self, node: onnx.NodeProto, value: Array) -> Array | None:
        """Return the exact values behind an operator that only moves elements."""
        exact = [self.tensors[n].exact for n in node.input]
        if node.op_type == "Concat":
            (axis,) = (a.i for a in node.attribute)
            return np.concatenate(exact, axis)
        if node.op_type == "Transpose":
            (order,) = (list(a.ints) for a in node.attribute)
            return exact[0].transpose(order)
        if node.op_type in ("Flatten", "Identity", "Dropout"):
            return exact[0].reshape(value.shape)
        return None

    def _join(self, node: onnx.NodeProto) -> _Interval:
        """Bound a sum, difference or product of two varying tensors."""
        value = self._run(node)
        a, b = (self.tensors[n] for n in node.input)
        if a.is_point and b.is_point and self._adds_exactly(node.op_type, a, b):
            return _point(value)
        error = 4 * UNIT  # operands, scales and the result are rounded
        if node.op_type == "Mul":
            products = [x * y for x in _ends(a) for y in _ends(b)]
            low, high = np.minimum.reduce(products), np.maximum.reduce(products)
            size = np.maximum(np.abs(low), np.abs(high))
        else:
            sign = 1.0 if node.op_type == "Add" else -1.0
            sums = [x + sign * y for x in _ends(a) for y in _ends(b)]
            low, high = np.minimum.reduce(sums), np.maximum.reduce(sums)
            size = np.abs(a.exact) + np.abs(b.exact)
        center, radius = (low + high) / 2, (high - low) / 2 + error * size
        ends = _float_ends(center, radius)
        return _Interval(value, np.minimum(ends[0], value), np.maximum(ends[1], value), center)

    @staticmethod
    def _adds_exactly(op: str, a: _Interval, b: _Interval) -> bool:
        if not (np.array_equal(a.value, a.exact) and np.array_equal(b.value, b.exact)):
            return False
        units = np.abs(a.value).max() / _grid(a.value), np.abs(b.value).max() / _grid(b.value)
        if op == "Mul":
            return bool(units[0] * units[1] <= 1 << 24)
        unit = min(_grid(a.value), _grid(b.value))
        return bool((np.abs(a.value).max() + np.abs(b.value).max()) / unit <= 1 << 24)

    def _linear(self, node: onnx.NodeProto) -> _Interval:
        """Bound a matrix product, with the factors and the addend of Gemm."""
        value = self._run(node)
        x, w = (self.tensors[n] for n in node.input[:2])
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        # the name of the input decides: weights are constants
        first, second = (self._matrix(n, attributes, k) for k, n in enumerate(node.input[:2]))
        alpha = abs(float(cast(float, attributes.get("alpha", 1.0))))
        product = np.abs(first) @ np.abs(second)
        terms = first.shape[-1]
        center = float(cast(float, attributes.get("alpha", 1.0))) * (first @ second)
        size, spread = alpha * product, alpha * self._spread(node, attributes)
        if len(node.input) > 2:
            beta = float(cast(float, attributes.get("beta", 1.0)))
            addend = self.tensors[node.input[2]].value.astype(np.float64)
            center, size, terms = center + beta * addend, size + abs(beta * addend), terms + 3
        elif (
            alpha == 1
            and x.is_point
            and w.is_point
            and np.array_equal(x.value, x.exact)
            and np.array_equal(w.value, w.exact)
            and bool(np.all(product <= (1 << 24) * _grid(x.value) * _grid(w.value)))
        ):
            return _point(value)
        count = terms + 2 + (alpha != 1)
        gamma = count * UNIT / (1 - count * UNIT)
        low, high = _float_ends(center, gamma * size + spread * (1 + gamma))
        inside = (low <= value) & (value <= high)
        assert np.all(inside), f"the executor's own {node.output[0]} is outside its error bound"
        return _Interval(value, low, high, center)

    def _matrix(self, name: str, attributes: Mapping[str, object], position: int) -> Array:
        exact = self._exact_of(name)
        turned = attributes.get(("transA", "transB")[position], 0)
        return exact.T if turned else exact

    def _exact_of(self, name: str) -> Array:
        """Return the exact values of a tensor; of weights, through their quantiser."""
        if name in self.varying:
            return self.tensors[name].exact
        made = {node.output[0]: node for node in self.graph.node}
        node = made.get(name)
        if node is not None and node.op_type in QUANTISERS:
            return self._exact_quantised(node, self.constants[name])
        if node is not None and node.op_type == "Transpose":
            return self._exact_of(node.input[0]).T
        return self.constants[name].astype(np.float64)

    def _spread(self, node: onnx.NodeProto, attributes: Mapping[str, object]) -> Array | float:
        """Return how far the operands' own intervals move the product."""
        x = self.tensors[node.input[0]]
        if x.is_point:
            return 0.0
        radius = (x.high.astype(np.float64) - x.low) / 2
        second = self._matrix(node.input[1], attributes, 1)
        return radius @ np.abs(second)


def _ends(interval: _Interval) -> tuple[Array, Array]:
    if interval.is_point:
        return interval.exact, interval.exact
    return interval.low.astype(np.float64), interval.high.astype(np.float64)
