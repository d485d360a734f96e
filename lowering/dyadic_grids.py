"""Grids of real edges that are proved by counting bits, where integers are too many to try each.

Sums, products and clamps by constants of numbers that are integers times a power of two are
such numbers again, and fp32 holds each exactly as long as no integer exceeds 2**24. So the
bias of a convolution and the activation after it give integers again, of a step and a range
that are followed from operator to operator, element by element where constants differ. Where
they are few enough to be tried each, that is done instead: it knows all operators.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import Float32Type
from xdsl.ir import SSAValue

from fastml.dialects.fastml import (
    AddOp,
    DivOp,
    ElementwiseOp,
    MaxOp,
    MinOp,
    MulOp,
    PReluOp,
    RearrangeOp,
    ReluOp,
    SubOp,
    constant_of,
    element_type,
    shape_of,
)
from fastml.dialects.grid import QuantisedType

LARGEST = 1 << 24
"""The greatest integer up to which fp32 holds all of them."""
MOST_ELEMENTS = 1 << 16
"""Elements whose steps may differ."""

Integers: TypeAlias = NDArray[np.int64]
Bounds: TypeAlias = Callable[[SSAValue], tuple[int, int]]
"""Gives the raw integers that a quantised edge can hold."""


_Ends: TypeAlias = NDArray[np.object_]


@dataclass(frozen=True)
class Dyadic:
    """Numbers ``low..high`` times ``2**exponent``, for each element; arrays that broadcast."""

    exponent: Integers
    low: Integers
    high: Integers

    def ends(self, exponent: Integers) -> tuple[_Ends, _Ends]:
        """Return the ends in units of a finer step, as integers of any size."""
        factor = np.asarray(1 << (self.exponent - exponent).astype(object), object)
        return np.asarray(self.low * factor, object), np.asarray(self.high * factor, object)


def _bounded(exponent: Integers, low: object, high: object) -> Dyadic | None:
    """Return integers on a step; None where fp32 may round one of them."""
    lows, highs = np.asarray(low, object), np.asarray(high, object)
    if max(abs(int(np.min(lows))), abs(int(np.max(highs)))) > LARGEST:
        return None
    if np.any(np.abs(exponent) > 100):  # far from what is subnormal, or infinite
        return None
    return Dyadic(exponent, lows.astype(np.int64), highs.astype(np.int64))


def _of_constant(values: NDArray[np.float32]) -> Dyadic | None:
    """Return constants as integers without factors of two."""
    if values.size > MOST_ELEMENTS or not np.all(np.isfinite(values)):
        return None
    mantissas, exponents = np.frexp(values.astype(np.float64))
    integers = np.ldexp(mantissas, 24).astype(np.int64)
    lowest = np.where(integers == 0, 1, integers & -integers)
    zeros = np.frexp(lowest.astype(np.float64))[1].astype(np.int64) - 1
    integers >>= zeros
    exponent = np.where(integers == 0, 0, exponents.astype(np.int64) - 24 + zeros)
    return _bounded(exponent, integers, integers)


def _of_edge(value: SSAValue, low: int, high: int) -> Dyadic | None:
    """Return a quantised edge whose raw integers are ``low..high``."""
    element = element_type(value)
    assert isinstance(element, QuantisedType)
    steps = element.step
    if max(steps.size, element.shift.size) > MOST_ELEMENTS:
        return None
    powers = [_power(step) for step in steps.ravel()]
    if any(power is None for power in powers):
        return None
    exponent = np.array(powers, np.int64).reshape(steps.shape)
    ends = [element.integer(np.array(raw, object)).astype(object) for raw in (low, high)]
    return _bounded(exponent, *ends)


def _power(step: Fraction) -> int | None:
    """Return the exponent of a power of two."""
    top, bottom = step.numerator, step.denominator
    if top & (top - 1) or bottom & (bottom - 1):
        return None
    return top.bit_length() - bottom.bit_length()


def dyadic_grid(value: SSAValue, bounds: Bounds) -> Dyadic | None:
    """Return the grid of a real edge; None where there is none, or it cannot be proved."""
    if not isinstance(element_type(value), Float32Type):
        return _of_edge(value, *bounds(value))
    constant = constant_of(value)
    if constant is not None:
        return _of_constant(constant.real)
    owner = value.owner
    if isinstance(owner, RearrangeOp) and len(owner.inputs) == 1:
        return _moved(owner, dyadic_grid(owner.inputs[0], bounds))
    if not isinstance(owner, ElementwiseOp):
        return None
    if sum(constant_of(operand) is None for operand in owner.inputs) != 1:
        return None
    operands = [dyadic_grid(operand, bounds) for operand in owner.inputs]
    known = [operand for operand in operands if operand is not None]
    return _applied(owner, known) if len(known) == len(operands) else None


def _moved(op: RearrangeOp, operand: Dyadic | None) -> Dyadic | None:
    """Return the grid of elements in another order or shape."""
    if operand is None:
        return None
    parts = (operand.exponent, operand.low, operand.high)
    if all(part.size == 1 for part in parts):
        return Dyadic(*(part.reshape(()) for part in parts))
    source, shape = shape_of(op.inputs[0]), shape_of(op.result)
    if max(np.prod(source), np.prod(shape)) > MOST_ELEMENTS:
        return None
    index = op.index_map
    return Dyadic(*(np.broadcast_to(p, source).ravel()[index].reshape(shape) for p in parts))


def _applied(op: ElementwiseOp, operands: Sequence[Dyadic]) -> Dyadic | None:
    """Return the grid of an fp32 operator's results; None where one may be rounded."""
    if isinstance(op, ReluOp):
        (x,) = operands
        return Dyadic(x.exponent, np.maximum(x.low, 0), np.maximum(x.high, 0))
    if len(operands) != 2:
        return None
    a, b = operands
    match op:
        case MulOp():
            return _product(a, b)
        case DivOp() if constant_of(op.inputs[1]) is not None and np.all(np.abs(b.low) == 1):
            return _product(a, Dyadic(-b.exponent, b.low, b.high))
        case PReluOp() if constant_of(op.inputs[1]) is not None:
            return _leaky(a, b)
        case AddOp() | SubOp() | MaxOp() | MinOp():
            return _joined(op, a, b)
        case _:
            return None


def _joined(op: AddOp | SubOp | MaxOp | MinOp, a: Dyadic, b: Dyadic) -> Dyadic | None:
    exponent = np.minimum(a.exponent, b.exponent)
    if max(np.max(a.exponent - exponent), np.max(b.exponent - exponent)) > 64:
        return None
    (low, high), (least, most) = a.ends(exponent), b.ends(exponent)
    match op:
        case AddOp():
            return _bounded(exponent, low + least, high + most)
        case SubOp():
            return _bounded(exponent, low - most, high - least)
        case MaxOp():
            return _bounded(exponent, np.maximum(low, least), np.maximum(high, most))
        case MinOp():
            return _bounded(exponent, np.minimum(low, least), np.minimum(high, most))


def _product(a: Dyadic, b: Dyadic) -> Dyadic | None:
    corners = [x.astype(object) * y for x in (a.low, a.high) for y in (b.low, b.high)]
    low, high = corners[0], corners[0]
    for corner in corners[1:]:
        low, high = np.minimum(low, corner), np.maximum(high, corner)
    return _bounded(a.exponent + b.exponent, low, high)


def _leaky(x: Dyadic, slope: Dyadic) -> Dyadic | None:
    """Multiply what is below zero by a slope."""
    positive = Dyadic(x.exponent, np.maximum(x.low, 0), np.maximum(x.high, 0))
    negative = _product(Dyadic(x.exponent, np.minimum(x.low, 0), np.minimum(x.high, 0)), slope)
    if negative is None:
        return None
    exponent = np.minimum(positive.exponent, negative.exponent)
    if np.max(positive.exponent - exponent) > 64 or np.max(negative.exponent - exponent) > 64:
        return None
    (low, high), (least, most) = positive.ends(exponent), negative.ends(exponent)
    return _bounded(exponent, np.minimum(low, least), np.maximum(high, most))
