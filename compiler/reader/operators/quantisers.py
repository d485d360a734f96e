"""QONNX quantisers: real numbers onto a grid."""

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation

from fastml.compiler.reader.input_types import scaled
from fastml.compiler.reader.node import Node
from fastml.compiler.reader.onnx_file import Plain
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects import reference
from fastml.dialects.array import ArrayAttr, integer_array
from fastml.dialects.fastml import ConstantOp, DivOp, QuantiseOp, Rounding
from fastml.dialects.grid import BipolarType, QuantisedType

MAX_BITS = 24
"""Widest quantiser: float32 holds its integers exactly."""
ROUNDINGS = {"ROUND": Rounding.HALF_EVEN} | {mode.name: mode for mode in Rounding}
"""QONNX names of the rounding modes."""


@operator(
    "Quant",
    "IntQuant",
    since=(1,),
    attributes=("signed", "narrow", "rounding_mode"),
    qonnx=True,
)
def quant(node: Node) -> Value:
    """Uniform quantiser: any scale, zero point, rounding; 1..24 bits."""
    signed, narrow = node.flag("signed"), node.flag("narrow")
    mode = node.text("rounding_mode").upper()
    if mode not in ROUNDINGS:
        known = ", ".join(ROUNDINGS)
        message = f"attribute 'rounding_mode={mode}' is none of {known}"
        raise node.error("FML-IMP-ATTR", message)
    data = node.take(0)
    (scale, zero_point), bits = _parameters(node, data)
    if bits == 1 and signed:  # QONNX makes it the sign, whatever `narrow` says
        if zero_point.any():
            raise node.error("FML-IMP-QUANT", "a signed 1-bit quantiser has a zero point")
        return _bipolar(node, data, scale, divide=True)
    high = (1 << (bits - signed)) - 1 - (narrow and not signed)
    low = -(1 << (bits - 1)) + narrow if signed else 0
    to = scaled(signed, bits, scale, zero_point)
    return quantise_value(node, data, to, ROUNDINGS[mode], low, high, (scale, zero_point))


@operator("BipolarQuant", since=(1,), qonnx=True)
def bipolar_quant(node: Node) -> Value:
    """Sign (of zero: +1) times a scale."""
    data = node.take(0)
    scale = real_scale(node, node.take_constant(1))
    ((scale,), data) = _fit(node, data, [scale])
    return _bipolar(node, data, scale, divide=False)


def _parameters(node: Node, data: Value) -> tuple[list[Plain], int]:
    scale = real_scale(node, node.take_constant(1))
    zero_point = np.asarray(node.take_constant(2).array)
    bits = np.asarray(node.take_constant(3).array).ravel()
    if zero_point.dtype.kind not in "fiu" or not np.all(np.isfinite(zero_point)):
        raise node.error("FML-IMP-QUANT", "the zero point is not a number")
    if np.any(zero_point != np.rint(zero_point)) or np.any(np.abs(zero_point) >= 1 << MAX_BITS):
        message = f"the zero point must be an integer below 2**{MAX_BITS}"
        raise node.error("FML-IMP-QUANT", message)
    if bits.dtype.kind not in "fiu" or not bits.size or not np.all(bits == bits[0]):
        raise node.error("FML-IMP-QUANT", "the bit width must be one number for all channels")
    if not 1 <= bits[0] <= MAX_BITS or bits[0] != np.rint(bits[0]):
        message = f"a bit width of {bits[0]:g} is not implemented: it must be one of 1..{MAX_BITS}"
        raise node.error("FML-IMP-QUANT", message)
    integers = integer_array(np.rint(zero_point).astype(np.int64))
    parameters, _ = _fit(node, data, [scale, integers])
    return parameters, int(bits[0])


def real_scale(node: Node, scale: Constant) -> NDArray[np.float32]:
    """Refuse a scale that is not float32, finite and positive."""
    array = scale.array
    if array.dtype != np.float32:
        raise node.error("FML-IMP-QUANT", f"the scale is {array.dtype}; it must be float32")
    if not array.size or not np.all(np.isfinite(array) & (array > 0)):
        worst = array[~(np.isfinite(array) & (array > 0))][:1]
        message = f"the scale must be finite and positive, got {worst}"
        raise node.error("FML-IMP-QUANT", message)
    return array


def _fit(node: Node, data: Value, parameters: list[Plain]) -> tuple[list[Plain], Value]:
    """Bring parameters to batch 1."""
    values, _ = node.broadcast([data, *(Constant(p) for p in parameters)])
    arrays = [value.array for value in values[1:] if isinstance(value, Constant)]
    return arrays, data


def _bipolar(node: Node, data: Value, scale: Plain, divide: bool) -> Value:
    scale = np.asarray(scale, np.float32)
    uniform = scale.ravel()[:1].reshape(()) if np.all(scale == scale.ravel()[0]) else scale
    to = BipolarType(ArrayAttr.get(uniform))
    if isinstance(data, Varying) and divide and np.any(scale > 1):
        # x / scale may underflow to zero, whose sign counts as positive
        divisor = ConstantOp(scale)
        name = node.fresh(f"{node.edge}/divided")
        quotient = DivOp(name, [data.value, divisor.result])
        data = Varying(node.emit([divisor, quotient]), data.batch)
    elif divide and isinstance(data, Constant):
        reals = node.reals_of(data, "X")
        data = Constant(reference.evaluate("fastml.div", [reals, scale], {}))
    return quantise_value(node, data, to, Rounding.HALF_EVEN, 0, 1, (scale,))


def quantise_value(
    node: Node,
    data: Value,
    to: QuantisedType,
    rounding: Rounding,
    low: int,
    high: int,
    parameters: tuple[Plain, ...],
) -> Value:
    """Put a tensor on the grid ``to``; ``parameters`` are its scale and zero point."""
    shape = node.check_size(np.broadcast_shapes(data.shape, *(p.shape for p in parameters)))
    if isinstance(data, Varying):
        operation: Operation = QuantiseOp(node.edge, data.value, to, rounding, low, high)
        return Varying(node.emit([operation]), data.batch)
    reals = node.reals_of(data, "X")
    if not np.all(np.isfinite(reals)):
        raise node.error("FML-IMP-QUANT", "a constant that is quantised is not finite")
    if isinstance(to, BipolarType):
        raw = (reals >= 0).astype(np.int64)
    else:
        scale, zero_point = (np.asarray(p, np.float32) for p in parameters)
        raw = reference.quantise(reals, scale, zero_point, low, high, str(rounding))
    raw = integer_array(np.broadcast_to(raw, shape).astype(np.int64))
    return Constant.quantised(raw, to)
