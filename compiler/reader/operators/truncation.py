"""QONNX ``Trunc``: whole steps of one scale, brought to a coarser one.

It divides by the scale, rounds to whole steps, divides those by a power of two and rounds again.
Here that is a chain of fp32 operators before a quantiser of the coarser scale, which multiplies
by the scale that the quantiser divides by. That the two cancel is checked on every number of
steps that can occur; where fp32 does not let them, the operator is refused.
"""

from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from fastml.compiler.reader.input_types import scaled
from fastml.compiler.reader.node import Node
from fastml.compiler.reader.onnx_file import Plain
from fastml.compiler.reader.operators.arithmetic import elementwise
from fastml.compiler.reader.operators.quantisers import (
    MAX_BITS,
    ROUNDINGS,
    quantise_value,
    real_scale,
)
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value
from fastml.dialects import reference
from fastml.dialects.elements import width_of
from fastml.dialects.fastml import (
    AddOp,
    DivOp,
    ElementwiseOp,
    MulOp,
    RearrangeOp,
    Rounding,
    RoundOp,
    SubOp,
    constant_of,
    element_type,
)
from fastml.dialects.grid import QuantisedType

MAX_STEPS = 1 << 22
"""Most numbers of steps that are looked at."""


@dataclass(frozen=True)
class _Truncation:
    """Numbers of a truncation: ``ratio`` steps of ``scale`` make one of ``coarse``."""

    scale: np.float32
    zero: np.float32
    ratio: np.float32
    coarse: np.float32
    coarse_zero: np.float32
    rounding: Rounding

    @property
    def back(self) -> list[tuple[type[ElementwiseOp], Constant]]:
        """Operators from numbers of coarse steps to real numbers."""
        less = [(SubOp, self.coarse_zero)] if self.coarse_zero else []
        return [(k, Constant(np.asarray(c))) for k, c in (*less, (MulOp, self.coarse))]


@operator("Trunc", since=(1, 2), attributes=("rounding_mode", "narrow", "signed"), qonnx=True)
def truncate(node: Node) -> Value:
    """Quantised numbers with fewer bits, by one scale, in either version."""
    mode = node.text("rounding_mode").upper()
    if mode not in ROUNDINGS:
        raise node.error("FML-IMP-ATTR", f"attribute 'rounding_mode={mode}' is not known")
    data = node.take(0)
    scale = _one(node, 1, real_scale(node, node.take_constant(1)))
    zero = _whole(node, 2)
    bits = _bits(node, 3)
    if node.schema.since == 1:
        given = _bits(node, 4)
        ratio = np.float32(2.0) ** np.float32(bits - given)
        how = _Truncation(scale, zero, ratio, scale, zero, ROUNDINGS[mode])
        low, high = _unclamped(node, data, how)
    else:
        coarse = _one(node, 4, real_scale(node, node.take_constant(4)))
        ratio = np.float32(np.exp2(np.rint(np.log2(np.float32(coarse / scale)))))
        how = _Truncation(scale, zero, ratio, coarse, np.float32(zero / ratio), ROUNDINGS[mode])
        signed, narrow, width = node.flag("signed"), node.flag("narrow"), _bits(node, 5)
        high = (1 << (width - signed)) - 1 - (narrow and not signed)
        low = -(1 << (width - 1)) + narrow if signed else 0
    if how.coarse_zero != np.rint(how.coarse_zero):
        raise node.error("FML-IMP-QUANT", "the zero point is no whole number of coarse steps")
    _check_steps(node, how, low, high)
    width, negative = width_of(low, high)
    zero_point = np.asarray(how.coarse_zero).astype(np.int64)
    to = scaled(negative, max(width, 1), np.asarray(how.coarse), zero_point)
    numbers = _numbers(node, data, how)
    parameters = (np.asarray(how.coarse), zero_point)
    return quantise_value(node, numbers, to, how.rounding, low, high, parameters)


def _numbers(node: Node, data: Value, how: _Truncation) -> Value:
    """Return the real numbers of the truncated steps, before the last rounding."""
    value = data
    steps: list[tuple[type[ElementwiseOp], Constant]] = [(DivOp, Constant(np.asarray(how.scale)))]
    if how.zero:
        steps.append((AddOp, Constant(np.asarray(how.zero))))
    for kind, constant in steps:
        value = elementwise(node, _edge(node, kind), kind, [value, constant])
    value = elementwise(node, _edge(node, RoundOp), RoundOp, [value])
    for kind, constant in [(DivOp, Constant(np.asarray(how.ratio))), *how.back]:
        value = elementwise(node, _edge(node, kind), kind, [value, constant])
    return value


def _edge(node: Node, kind: type[ElementwiseOp]) -> str:
    return node.fresh(f"{node.edge}/{kind.name.removeprefix('fastml.')}")


def _check_steps(node: Node, how: _Truncation, low: int, high: int) -> None:
    """Refuse a scale by which multiplying and dividing changes a number of steps."""
    ends = [np.floor(np.float64(low - 1) * how.ratio), np.ceil(np.float64(high + 1) * how.ratio)]
    first, last = (int(end) for end in ends)
    if last - first >= MAX_STEPS or max(-first, last) >= 1 << MAX_BITS:
        message = f"{last - first + 1} numbers of steps are more than are looked at"
        raise node.error("FML-IMP-QUANT", message)
    coarse = np.arange(first, last + 1).astype(np.float32) / how.ratio
    one, zero = np.ones((), np.float32), np.zeros((), np.float32)
    wanted = reference.quantise(coarse, one, zero, low, high, str(how.rounding))
    real = coarse
    for kind, constant in how.back:
        operands = [real, np.asarray(constant.array, np.float32)]
        real = reference.evaluate(kind.name, operands, {})
    scale, zero_point = np.asarray(how.coarse), np.asarray(how.coarse_zero)
    got = reference.quantise(real, scale, zero_point, low, high, str(how.rounding))
    if not np.array_equal(got, wanted):
        message = f"multiplying by the scale {how.coarse} and dividing by it is not exact in fp32"
        raise node.error("FML-IMP-QUANT", message, "use a power of two")


# -- bounds --------------------------------------------------------------------------------


def _unclamped(node: Node, data: Value, how: _Truncation) -> tuple[int, int]:
    """Return the least and greatest result: version 1 clamps nothing."""
    if isinstance(data, Constant):
        reals = node.reals_of(data, "X")
        bounds = (np.min(reals, initial=0), np.max(reals, initial=0))
    else:
        bounds = _bounds(data.value)
    if bounds is None:
        message = "the range of what it truncates is not known, and this version does not clamp"
        raise node.error("FML-UNQUANTISED", message, "quantise its input")
    steps = np.rint(np.asarray(bounds, np.float32) / how.scale + how.zero) / how.ratio
    ends = reference.ROUNDINGS[str(how.rounding)](np.asarray(steps, np.float32))
    low, high = (int(end) for end in ends)
    return low, high


def _bounds(value: SSAValue) -> tuple[np.float32, np.float32] | None:
    """Return bounds of a tensor's numbers, if it is a function of a quantised one."""
    element, owner = element_type(value), value.owner
    if isinstance(element, QuantisedType):
        ends = [element.decode(np.asarray(raw)) for raw in element.raw_range]
        return np.float32(np.min(ends)), np.float32(np.max(ends))
    if isinstance(owner, RearrangeOp):
        parts = [_bounds(operand) for operand in owner.inputs]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return min(low for low, _ in known), max(high for _, high in known)
    constant = constant_of(value)
    if constant is not None:
        return np.float32(np.min(constant.real)), np.float32(np.max(constant.real))
    if not isinstance(owner, ElementwiseOp):
        return None
    constants = [constant_of(operand) for operand in owner.inputs]
    reals = [None if c is None else c.real for c in constants]
    varying = [v for v, c in zip(owner.inputs, constants, strict=True) if c is None]
    if len(varying) != 1 or not np.all(reference.ELEMENTWISE[owner.name].direction(reals)):
        return None
    inner = _bounds(varying[0])
    if inner is None:
        return None
    results = [
        reference.evaluate(
            owner.name,
            [np.asarray(end) if real is None else real for real in reals],
            owner.reference_attributes,
        )
        for end in inner
    ]
    return np.float32(np.min(results)), np.float32(np.max(results))


# -- parameters ----------------------------------------------------------------------------


def _one(node: Node, position: int, array: Plain) -> np.float32:
    if array.size != 1:
        name = node.schema.inputs[position]
        raise node.error("FML-IMP-QUANT", f"'{name}' must be one number, got {array.size}")
    return np.float32(array.item())


def _whole(node: Node, position: int) -> np.float32:
    value = _one(node, position, node.take_constant(position).array)
    if not np.isfinite(value) or value != np.rint(value) or abs(value) >= 1 << MAX_BITS:
        name = node.schema.inputs[position]
        raise node.error("FML-IMP-QUANT", f"'{name}' must be a whole number, got {value}")
    return value


def _bits(node: Node, position: int) -> int:
    bits = _whole(node, position)
    if not 1 <= bits <= MAX_BITS:
        name = node.schema.inputs[position]
        raise node.error("FML-IMP-QUANT", f"'{name}' must be one of 1..{MAX_BITS}, got {bits:g}")
    return int(bits)
