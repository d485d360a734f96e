"""What each operator of a network computes, in fp32: the one place that defines it.

Interpreters, host programs and the derivation of integer functions all evaluate these
definitions, so none of them can disagree. Every operand is a float32 array (any leading
batch axes; the operands broadcast against each other), and every intermediate result is
rounded to float32, as ONNX Runtime and the QONNX executor round it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Real: TypeAlias = NDArray[np.float32]
Attributes: TypeAlias = Mapping[str, object]
Function: TypeAlias = Callable[[Sequence[Real], Attributes], Real]
Direction: TypeAlias = Callable[[Sequence[Real | None]], NDArray[np.int8]]


@dataclass(frozen=True)
class Elementwise:
    """An operator that maps elements to elements.

    ``direction(operands)`` is told the constant operands (the varying one is ``None``) and
    gives, per element, +1 where the result never falls as the varying operand rises, and -1
    where it never rises. Rounding to fp32 is monotone, so a monotone real function stays so.
    """

    function: Function
    direction: Direction


ELEMENTWISE: dict[str, Elementwise] = {}
"""Operator name, such as ``fastml.add``, to its definition."""
WHOLE_TENSOR: dict[str, Function] = {}
"""Operators that look across elements; they run on the host (softmax)."""


def evaluate(name: str, operands: Sequence[Real], attributes: Attributes) -> Real:
    """Evaluate the operator ``name``; raise ``KeyError`` if nothing defines it."""
    if name in ELEMENTWISE:
        function = ELEMENTWISE[name].function
    else:
        function = WHOLE_TENSOR[name]
    with np.errstate(all="ignore"):
        return np.asarray(function(operands, attributes), np.float32)


def rising(operands: Sequence[Real | None]) -> NDArray[np.int8]:
    """Return +1: the result rises with the varying operand, whatever the others."""
    return np.ones((), np.int8)


def _sign(constant: Real) -> NDArray[np.int8]:
    return np.where(constant < 0, -1, 1).astype(np.int8)


def _subtract_direction(operands: Sequence[Real | None]) -> NDArray[np.int8]:
    return np.array(1 if operands[0] is None else -1, np.int8)


def _multiply_direction(operands: Sequence[Real | None]) -> NDArray[np.int8]:
    left, right = operands
    constant = left if right is None else right
    assert constant is not None
    return _sign(constant)


def _divide_direction(operands: Sequence[Real | None]) -> NDArray[np.int8]:
    divisor = operands[1]
    if divisor is None:  # c / x has a pole: no single direction
        return np.zeros((), np.int8)
    return _sign(divisor)


def _batch_norm(operands: Sequence[Real], attributes: Attributes) -> Real:
    """Follow ONNX Runtime: fold to one multiply and one add, each rounded."""
    x, gamma, beta, mean, variance = operands
    epsilon = attributes["epsilon"]
    assert isinstance(epsilon, float)
    inverse = np.float32(1) / np.sqrt(variance + np.float32(epsilon))
    scale = inverse * gamma
    return np.asarray(x * scale + (beta - mean * scale), np.float32)


def _batch_norm_direction(operands: Sequence[Real | None]) -> NDArray[np.int8]:
    assert operands[1] is not None
    return _sign(operands[1])


def _power(operands: Sequence[Real], attributes: Attributes) -> Real:
    """Multiply out squares and cubes, as ONNX Runtime does; round anything else correctly.

    The power of C libraries, which ONNX Runtime takes then, misses the nearest float32 once
    in some thousand times, and not the same times on every machine.
    """
    base, exponent = operands
    wide = np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(np.float32)
    if exponent.size != 1:
        return wide
    match float(exponent.item()):
        case 2.0:
            return base * np.broadcast_to(base, wide.shape)
        case 3.0:
            return base * base * np.broadcast_to(base, wide.shape)
        case _:
            return wide


def _power_direction(operands: Sequence[Real | None]) -> NDArray[np.int8]:
    return np.zeros((), np.int8)


def _prelu(operands: Sequence[Real], attributes: Attributes) -> Real:
    """Multiply what is below zero by a slope."""
    x, slope = operands
    if np.all((slope > 0) & (slope <= 1)):  # the same, in one pass less
        return np.maximum(x, x * slope)
    return np.where(x < 0, x * slope, x)


def _prelu_direction(operands: Sequence[Real | None]) -> NDArray[np.int8]:
    slope = operands[1]
    if slope is None:
        return np.zeros((), np.int8)
    return np.where(slope < 0, 0, 1).astype(np.int8)  # a negative slope turns at zero


def _softmax(operands: Sequence[Real], attributes: Attributes) -> Real:
    """Normalise over the trailing axes from ``axis`` (negative, batch excluded)."""
    (x,) = operands
    axes = cast(tuple[int, ...], attributes["axes"])
    shifted = np.exp(x - x.max(axis=axes, keepdims=True))
    return shifted / shifted.sum(axis=axes, keepdims=True, dtype=np.float32)


_ARITHMETIC: dict[str, Elementwise] = {
    "fastml.add": Elementwise(lambda o, _: o[0] + o[1], rising),
    "fastml.sub": Elementwise(lambda o, _: o[0] - o[1], _subtract_direction),
    "fastml.mul": Elementwise(lambda o, _: o[0] * o[1], _multiply_direction),
    "fastml.div": Elementwise(lambda o, _: o[0] / o[1], _divide_direction),
    "fastml.pow": Elementwise(_power, _power_direction),
    "fastml.max": Elementwise(lambda o, _: np.maximum(o[0], o[1]), rising),
    "fastml.min": Elementwise(lambda o, _: np.minimum(o[0], o[1]), rising),
    "fastml.relu": Elementwise(lambda o, _: np.maximum(o[0], np.float32(0)), rising),
    "fastml.prelu": Elementwise(_prelu, _prelu_direction),
    "fastml.round": Elementwise(lambda o, _: np.rint(o[0]), rising),
    "fastml.batch_norm": Elementwise(_batch_norm, _batch_norm_direction),
}
ELEMENTWISE.update(_ARITHMETIC)
WHOLE_TENSOR["fastml.softmax"] = _softmax


ROUNDINGS: dict[str, Callable[[Real], Real]] = {
    "half_even": np.rint,
    "ceil": np.ceil,
    "floor": np.floor,
    "up": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "down": np.trunc,
    "half_up": lambda x: np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)),
    "half_down": lambda x: np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)),
}
"""QONNX rounding modes; half_up and half_down round ties away from and towards zero."""


def quantise(x: Real, scale: Real, zero_point: Real, low: int, high: int, rounding: str) -> Real:
    """Return the integers, as float32, of QONNX ``Quant``: divide, shift, clamp, round."""
    with np.errstate(all="ignore"):  # beyond the range of float32 is beyond every clamp
        shifted = x / scale
        if np.any(zero_point):
            shifted = shifted + zero_point
        clamped = np.clip(shifted, np.float32(low), np.float32(high))
        return ROUNDINGS[rounding](clamped)
