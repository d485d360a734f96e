"""Networks to be lowered to integers, and what they compute: Fractions and float32."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.ir import Attribute, Operation, SSAValue

from fastml.dialects import fastml, inference, qflow
from fastml.dialects.array import ArrayAttr
from fastml.dialects.fastml import Rounding, element_type, shape_of
from fastml.dialects.grid import (
    BipolarType,
    FixedType,
    QuantisedType,
    RatioType,
    ScaledType,
)
from fastml.dialects.interface import Interface
from fastml.lowering.fastml_to_qflow import FastmlToQflow
from fastml.runtime.host import Host
from fastml.runtime.qflow import evaluate

Array = NDArray[Any]
BIPOLAR = BipolarType(ArrayAttr.get(np.array(1.0, np.float32)))


def scaled(storage: str, scale: Any, zero_point: Any = 0) -> ScaledType:
    signed, width = int(storage[0] == "s"), int(storage[1:])
    step = ArrayAttr.get(np.array(scale, np.float32))
    return ScaledType(signed, width, step, ArrayAttr.get(np.array(zero_point)))


# --- building networks ----------------------------------------------------------------


class Builder:
    """Builds a network; every method appends one layer and returns its edge."""

    def __init__(self, outputs: Sequence[str], **inputs: tuple[Attribute, tuple[int, ...]]):
        types = {name: TensorType(element, shape) for name, (element, shape) in inputs.items()}
        self.network = fastml.NetworkOp("net", types, outputs)
        self.edges: dict[str, SSAValue] = dict(self.network.inputs)

    def add(self, op: Operation) -> SSAValue:
        self.network.body.block.add_op(op)
        if isinstance(op, fastml.LayerOp):
            self.edges[op.edge_name] = op.result
        return op.results[0]

    def all(self, operations: Sequence[Operation]) -> SSAValue:
        return [self.add(op) for op in operations][-1]

    def fresh(self, name: str) -> str:
        return name if name not in self.edges else self.fresh(f"{name}'")

    def constant(self, values: Any, element: Any = f32) -> SSAValue:
        kind = np.float32 if element is f32 else None
        return self.add(fastml.ConstantOp(np.array(values, kind), element))

    def weights(self, shape: tuple[int, ...], seed: int = 0, element: Any = None) -> SSAValue:
        element = element or FixedType(1, 4, 2)
        low, high = element.raw_range
        rng = np.random.default_rng(seed)
        return self.constant(rng.integers(low, high, shape, endpoint=True), element)

    def matmul(self, edge: str, left: SSAValue, right: SSAValue) -> SSAValue:
        return self.all(inference.matmul(edge, left, right, self.fresh))

    def sum(self, edge: str, inputs: Sequence[SSAValue], signs: Sequence[int]) -> SSAValue:
        return self.all(inference.add(edge, inputs, signs))

    def quantise(self, edge: str, x: SSAValue, to: Any, *rest: Any) -> SSAValue:
        return self.add(fastml.QuantiseOp(edge, x, to, *rest))

    def done(self, *outputs: SSAValue) -> ModuleOp:
        self.network.body.block.add_op(fastml.OutputOp(outputs))
        module = ModuleOp([self.network])
        module.verify()
        return module


# --- the oracle -----------------------------------------------------------------------

HALF = Fraction(1, 2)


def outwards(function: Callable[[Fraction], int]) -> Callable[[Fraction], int]:
    """Apply a rounding of magnitudes to both signs."""
    return lambda v: function(v) if v >= 0 else -function(-v)


ROUND: dict[Rounding, Callable[[Fraction], int]] = {
    Rounding.HALF_EVEN: round,
    Rounding.CEIL: lambda v: -(-v // 1),
    Rounding.FLOOR: lambda v: v // 1,
    Rounding.UP: outwards(lambda v: -(-v // 1)),
    Rounding.DOWN: outwards(lambda v: v // 1),
    Rounding.HALF_UP: outwards(lambda v: (v + HALF) // 1),
    Rounding.HALF_DOWN: outwards(lambda v: max(-(-(v - HALF) // 1), 0)),
}


@overload
def each(function: Callable[[Any], Any], a: Any, /) -> Array: ...
@overload
def each(function: Callable[[Any, Any], Any], a: Any, b: Any, /) -> Array: ...
@overload
def each(function: Callable[[Any, Any, Any], Any], a: Any, b: Any, c: Any, /) -> Array: ...
@overload
def each(function: Callable[[Any, Any, Any, Any, Any], Any], /, *arrays: Any) -> Array: ...
def each(function: Callable[..., Any], /, *arrays: Any) -> Array:
    """Apply a function to each element of broadcast arrays."""
    return np.frompyfunc(function, len(arrays), 1)(*arrays)


def real_of(value: SSAValue, held: Array) -> Array:
    """Decode integers as the definitions of the types say."""
    match element_type(value):
        case FixedType(fraction=fraction):
            shift = fraction.data
            return each(lambda v: np.float32(float(Fraction(int(v)) / Fraction(2) ** shift)), held)
        case ScaledType(scale=scale, zero_point=zero):
            return each(
                lambda v, s, z: np.float32(int(v) - int(z)) * s, held, scale.array, zero.array
            )
        case RatioType(divisor=divisor):
            return each(lambda v: np.float32(v) / np.float32(divisor.data), held)
        case BipolarType(scale=scale):
            return each(lambda v, s: s if v else -s, held, scale.array)
        case _:
            return held  # fmt: skip


def integer_of(value: SSAValue, held: Array) -> Array:
    match element_type(value):
        case ScaledType(zero_point=zero):
            return held - zero.array.astype(object)
        case BipolarType():
            return 2 * held - 1
        case _:
            return held


def quantised(op: fastml.QuantiseOp, real: Array) -> Array:
    low, high, mode = op.low.data, op.high.data, ROUND[op.rounding.data]
    if isinstance(op.to, BipolarType):
        return each(lambda v: int(v >= 0), real)
    scale: Any = np.float32(1)
    zero: Any = 0
    if isinstance(op.to, FixedType):
        scale = np.float32(2.0**-op.to.fraction.data)
    elif isinstance(op.to, ScaledType):
        scale, zero = op.to.scale.array, op.to.zero_point.array

    def one(x: Any, s: Any, z: Any) -> int:
        shifted = np.float32(np.float32(np.float32(x) / np.float32(s)) + np.float32(z))
        return int(mode(Fraction(float(min(max(shifted, np.float32(low)), np.float32(high))))))

    return each(one, real, scale, zero)


def elementwise(op: fastml.ElementwiseOp, operands: list[Array]) -> Array:
    x, y = operands[0], operands[-1]
    match op:
        case fastml.AddOp():
            return each(lambda a, b: np.float32(a) + np.float32(b), x, y)
        case fastml.SubOp():
            return each(lambda a, b: np.float32(a) - np.float32(b), x, y)
        case fastml.MulOp():
            return each(lambda a, b: np.float32(a) * np.float32(b), x, y)
        case fastml.DivOp():
            return each(lambda a, b: np.float32(a) / np.float32(b), x, y)
        case fastml.PowOp():
            return each(lambda a, b: np.power(np.float32(a), np.float32(b)), x, y)
        case fastml.ReluOp():
            return each(lambda a: max(np.float32(a), np.float32(0)), x)
        case _:
            assert isinstance(op, fastml.BatchNormOp)
            epsilon = np.float32(op.epsilon.value.data)

            def normalise(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
                factor = np.float32(1) / np.sqrt(variance + epsilon) * gamma
                return np.float32(x) * factor + (beta - mean * factor)

            return each(normalise, *operands)


def run_frame(network: fastml.NetworkOp, inputs: dict[str, Array]) -> dict[str, Array]:
    """Evaluate one frame in Python numbers: integers of quantised edges, else float32."""
    held: dict[SSAValue, Array] = {network.inputs[n]: x for n, x in inputs.items()}
    for op in network.body.block.ops:
        if isinstance(op, fastml.ConstantOp):
            held[op.result] = op.value.array.astype(object)
        if not isinstance(op, fastml.LayerOp):
            continue
        operands = [held[x] for x in op.operands]
        integers = [integer_of(v, h) for v, h in zip(op.operands, operands, strict=True)]
        match op:
            case fastml.MatMulOp():
                found: Any = integers[0] @ integers[1]
            case fastml.SumOp():
                to = element_type(op.result)
                assert isinstance(to, QuantisedType)
                found = 0
                for v, x, sign in zip(op.inputs, integers, op.signs, strict=True):
                    own = element_type(v)
                    assert isinstance(own, QuantisedType)
                    found = found + each(lambda r: round(r), own.step / to.step) * x * sign.data
            case fastml.ProductOp():
                found = integers[0] * integers[1]
            case fastml.RearrangeOp():
                found = np.concatenate([x.reshape(-1) for x in operands])[op.index_map]
            case fastml.QuantiseOp():
                found = quantised(op, real_of(op.input, operands[0]))
            case fastml.ExactCastOp():
                found = cast(op, operands[0], integers[0])
            case _:
                assert isinstance(op, fastml.ElementwiseOp)
                reals = [real_of(v, h) for v, h in zip(op.inputs, operands, strict=True)]
                found = elementwise(op, reals)
        found, shape = np.array(found, object), shape_of(op.result)
        fits = found.size == int(np.prod(shape))
        held[op.result] = found.reshape(shape) if fits else np.broadcast_to(found, shape)
    return {name: held[value] for name, value in network.edges.items()}


def cast(op: fastml.ExactCastOp, held: Array, integers: Array) -> Array:
    to = element_type(op.result)
    assert isinstance(to, QuantisedType)
    own = element_type(op.input)
    if isinstance(own, QuantisedType):
        exact = integers * own.step / to.step
    else:
        exact = each(lambda v: Fraction(float(v)), held) / to.step
    raw = exact - to.shift
    assert all(r.denominator == 1 for r in raw.reshape(-1))
    return each(int, raw)


# --- comparing ------------------------------------------------------------------------


def lower(module: ModuleOp) -> ModuleOp:
    lowered = module.clone()
    FastmlToQflow().apply(Context(), lowered)
    lowered.verify()
    return lowered


def random_inputs(network: fastml.NetworkOp, frames: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for name, value in network.inputs.items():
        shape = (frames, *shape_of(value))
        element = element_type(value)
        if not isinstance(element, QuantisedType):
            inputs[name] = rng.normal(0, 3, shape).astype(np.float32)
            continue
        low, high = element.raw_range
        span = rng.integers(0, high - low, shape, endpoint=True)
        edge = rng.random(shape)
        inputs[name] = np.where(edge < 0.1, low, np.where(edge > 0.9, high, low + span))
    return inputs


def check(module: ModuleOp, frames: int = 24, seed: int = 0) -> qflow.GraphOp:
    """Lower, run, and compare every hardware edge and every output with the oracle."""
    (network,) = [op for op in module.ops if isinstance(op, fastml.NetworkOp)]
    inputs = random_inputs(network, frames, seed)
    with np.errstate(over="ignore"):
        expected = [
            run_frame(network, {n: x[k].astype(object) for n, x in inputs.items()})
            for k in range(frames)
        ]
    lowered = lower(module)
    (graph,) = [op for op in lowered.ops if isinstance(op, qflow.GraphOp)]
    interface = Interface.of(lowered)

    def rows(name: str) -> Array:
        return np.stack([frame[name].reshape(-1) for frame in expected])

    beats = {name: rows(name).astype(np.int64) for name in graph.inputs}
    names = list(interface.view.inputs)
    outputs, taps = evaluate(lowered, beats, names)
    for name in names:
        assert np.array_equal(taps[name], rows(name)), name
    for name, value in graph.outputs.items():
        channel = qflow.channel_of(value)
        assert np.array_equal(outputs[name], rows(name))
        assert np.all((outputs[name] >= channel.lows) & (outputs[name] <= channel.highs))
    real = Host(interface).decode(taps)
    edges = {value: name for name, value in network.edges.items()}
    for name, value in network.outputs.items():
        wanted = [real_of(value, frame[edges[value]]) for frame in expected]
        stacked = np.stack(wanted).astype(np.float32).reshape(real[name].shape)
        assert np.array_equal(real[name], stacked), name
    return graph


def stages(graph: qflow.GraphOp) -> list[str]:
    return [stage.name.removeprefix("qflow.") for stage in graph.stages]
