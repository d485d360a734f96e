"""The types that a user may give a network's input, as text.

``fixed<W,I> ufixed<W,I> intW uintW intW*SCALE uintW*SCALE uintW/N bipolar``
"""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import ArrayAttr, Integers
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, RatioType, ScaledType

GRAMMAR = "fixed<W,I> ufixed<W,I> intW uintW intW*SCALE uintW*SCALE uintW/N bipolar"
MAX_INPUT_BITS = 1024
"""Widest input; widths beyond it are slips of the pen."""

_FIXED = re.compile(r"(u?)fixed<\s*(\d{1,5})\s*,\s*(-?\d{1,5})\s*>", re.ASCII)
_INTEGER = re.compile(r"(u?)int(\d{1,5})", re.ASCII)
_SCALED = re.compile(r"(u?)int(\d{1,5})\*([0-9.eE+-]+)", re.ASCII)
_RATIO = re.compile(r"uint(\d{1,5})/(\d{1,9})", re.ASCII)


def parse_input_type(text: str) -> QuantisedType:
    """Return the element type that ``text`` names; raise ``ValueError`` with the reason."""
    text = text.strip()
    if text == "bipolar":
        return BipolarType(ArrayAttr.get(np.ones((), np.float32)))
    if match := _FIXED.fullmatch(text):
        width = _width(match[2])
        return FixedType(int(not match[1]), width, width - int(match[3]))
    if match := _INTEGER.fullmatch(text):
        return FixedType(int(not match[1]), _width(match[2]), 0)
    if match := _SCALED.fullmatch(text):
        scale = _scale(match[3])
        return scaled(not match[1], _width(match[2]), scale, np.zeros((), np.int64))
    if match := _RATIO.fullmatch(text):
        width, divisor = _width(match[1]), int(match[2])
        if not 0 < divisor < 1 << 24:
            raise ValueError(f"the divisor must be in 1..2**24-1, got {divisor}")
        if divisor & (divisor - 1) == 0:
            return FixedType(0, width, divisor.bit_length() - 1)
        return RatioType(0, width, divisor)
    raise ValueError(f"'{text}' is none of {GRAMMAR}")


def scaled(
    signed: bool, width: int, scale: NDArray[np.float32], zero_point: Integers
) -> FixedType | ScaledType:
    """Return a scaled type, as fixed point where one power of two is the only scale."""
    scale = np.asarray(scale, np.float32)
    if np.all(scale == scale.ravel()[0]):
        scale = scale.ravel()[0].reshape(())
    if np.all(zero_point == zero_point.ravel()[0]):
        zero_point = zero_point.ravel()[0].reshape(())
    if scale.ndim == 0 and zero_point.ndim == 0 and zero_point == 0:
        mantissa, exponent = np.frexp(scale)
        if mantissa == 0.5:
            return FixedType(int(signed), width, 1 - int(exponent))
    return ScaledType(int(signed), width, ArrayAttr.get(scale), ArrayAttr.get(zero_point))


def split_input_type(text: str) -> tuple[str, str]:
    """Split ``NAME=TYPE`` at the last '='; raise ``ValueError`` if there is none."""
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise ValueError(f"'{text}' is not NAME=TYPE")
    return name, kind


def annotated_type(datatypes: Iterable[str]) -> QuantisedType | None:
    """Return the type that QONNX annotations of a tensor state; None if they state none.

    Raises ``ValueError`` on an annotation that is not understood.
    """
    found: QuantisedType | None = None
    for name in datatypes:
        if match := re.fullmatch(r"FIXED<(\d{1,5}),(-?\d{1,5})>", name):
            found = parse_input_type(f"fixed<{match[1]},{match[2]}>")
        elif match := re.fullmatch(r"(U?INT)(\d{1,5})", name):
            found = parse_input_type(name.lower())
        elif name in ("BIPOLAR", "BINARY", "TERNARY"):
            plain = {"BIPOLAR": "bipolar", "BINARY": "uint1", "TERNARY": "int2"}
            found = parse_input_type(plain[name])
        elif name != "FLOAT32":
            raise ValueError(f"'{name}' is not a datatype that is understood")
    return found


def _width(text: str) -> int:
    if not 0 < int(text) <= MAX_INPUT_BITS:
        raise ValueError(f"the width must be in 1..{MAX_INPUT_BITS}, got {text}")
    return int(text)


def _scale(text: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        scale = np.float32(float(text))
    if not np.isfinite(scale) or scale <= 0:
        raise ValueError(f"the scale must be a positive float32, got {text}")
    return np.asarray(scale)
