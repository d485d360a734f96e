"""Element types of quantised tensors: integers, and the real numbers they stand for.

A quantised tensor holds *raw* integers, as the hardware does. Every type gives two views:
``integer(raw)`` and ``step``, with real value = integer * step exactly, which linear
operators use; and ``decode(raw)``, the float32 number that the model's own arithmetic sees.
Scales and zero points are arrays that broadcast against the tensor's shape, so "per channel"
needs no axis.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import IntAttr
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import irdl_attr_definition, param_def
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from fastml.dialects.array import Array, ArrayAttr, integer_array
from fastml.dialects.elements import range_of

MAX_WIDTH = 4096
"""Widest element that a type may have."""


def to_float32(integers: Array) -> NDArray[np.float32]:
    """Round integers of any size to the nearest float32, ties to even."""
    if integers.dtype != object:
        return integers.astype(np.float32)
    flat = [_nearest_float32(int(value)) for value in integers.ravel()]
    return np.array(flat, np.float32).reshape(integers.shape)


def _nearest_float32(value: int) -> float:
    excess = abs(value).bit_length() - 24
    if excess <= 0:
        return float(value)
    quotient, rest = divmod(abs(value), 1 << excess)
    half = 1 << (excess - 1)
    quotient += rest > half or (rest == half and quotient % 2 == 1)
    magnitude = quotient << excess
    return float(-magnitude if value < 0 else magnitude)


class QuantisedType(ParametrizedAttribute, TypeAttribute, ABC):
    """An element type whose values are integers with an exact real meaning."""

    @property
    @abstractmethod
    def storage(self) -> tuple[int, bool]:
        """Width and signedness of the raw integer."""

    @property
    def raw_range(self) -> tuple[int, int]:
        """Inclusive range of the raw integer that the storage allows."""
        return range_of(*self.storage)

    @property
    @abstractmethod
    def step(self) -> NDArray[np.object_]:
        """Exact step of the integers, as ``Fraction``, broadcasting against the shape."""

    @property
    def weight(self) -> int:
        """Coefficient ``a`` of ``integer = a * raw + b``."""
        return 1

    @property
    def shift(self) -> Array:
        """Summand ``b`` of ``integer = a * raw + b``, broadcasting against the shape."""
        return np.zeros((), np.int64)

    def integer(self, raw: Array) -> Array:
        """Return the integers that linear operators compute on."""
        low, high = self.raw_range
        shift = self.shift
        if raw.dtype == np.int64 and max(-low, high) < 1 << 60 and shift.dtype == np.int64:
            if not shift.size or np.abs(shift).max() < 1 << 60:
                return raw * self.weight + shift
        return integer_array(raw.astype(object) * self.weight + self.shift.astype(object))

    @abstractmethod
    def decode(self, raw: Array) -> NDArray[np.float32]:
        """Return the float32 numbers that the model's arithmetic sees."""

    def encode(self, real: NDArray[np.float32]) -> tuple[Array, NDArray[np.bool_]]:
        """Return the nearest raw integers (saturated), and where they are exact.

        Exact means that ``decode`` gives the number back, to the bit.
        """
        exact = _to_fractions(real) / self.step
        nearest = np.vectorize(round, otypes=[object])(exact)
        raw = (nearest - self.shift.astype(object)) // self.weight
        low, high = self.raw_range
        raw = integer_array(np.clip(raw, low, high))
        return raw, np.asarray(self.decode(raw) == real)

    def _encode_by(
        self, real: NDArray[np.float32], scale: NDArray[np.float64], factor: int = 1
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Encode numbers of at most 23-bit integers in float64, which finds the nearest."""
        low, high = self.raw_range
        scaled = np.rint(real.astype(np.float64) * factor / scale) - np.asarray(
            self.shift, np.float64
        )
        raw = np.clip(scaled, low, high).astype(np.int64)
        return raw, np.asarray(self.decode(raw) == real)

    def to_shape(self, shape: Sequence[int]) -> "QuantisedType":
        """Return the type with every parameter spread over ``shape`` (without batch)."""
        return self

    def reindex(self, source_shape: Sequence[int], index: NDArray[np.int64]) -> "QuantisedType":
        """Return the type of ``tensor.ravel()[index]``, with parameters moved along."""
        return self


def _to_fractions(real: NDArray[np.float32]) -> NDArray[np.object_]:
    flat = np.array([Fraction(float(value)) for value in real.ravel()], object)
    return flat.reshape(real.shape)


def _moved(parameter: Array, source_shape: Sequence[int], index: NDArray[np.int64]) -> Array:
    """Move a parameter with the elements; axes along which it is the same keep size 1."""
    if parameter.size == 1 or not index.size:
        return parameter.ravel()[:1].reshape(())
    spread = np.broadcast_to(parameter, source_shape).ravel()[index]
    for axis in range(spread.ndim):
        first = np.take(spread, [0], axis)
        if np.all(spread == first):
            spread = first
    return spread.reshape(()) if spread.size == 1 else spread


def _parse_storage(parser: AttrParser) -> tuple[int, int]:
    """Parse ``s8`` or ``u8`` as (signed, width)."""
    start = parser.pos
    word = parser.parse_identifier("a width such as 's8' or 'u8'")
    if word[:1] not in ("s", "u") or not word[1:].isdecimal():
        parser.raise_error("expected a width such as 's8' or 'u8'", start, parser.pos)
    return int(word[0] == "s"), int(word[1:])


def _verify_storage(signed: int, width: int) -> None:
    if signed not in (0, 1):
        raise VerifyException(f"signedness must be 0 or 1, got {signed}")
    if not 0 <= width <= MAX_WIDTH:
        raise VerifyException(f"width must be in 0..{MAX_WIDTH}, got {width}")


@irdl_attr_definition
class FixedType(QuantisedType):
    """``!fastml.fixed<s8, 4>``: value = raw * 2**-4; the fraction may be any integer."""

    name = "fastml.fixed"

    signed: IntAttr = param_def(converter=IntAttr.get)
    width: IntAttr = param_def(converter=IntAttr.get)
    fraction: IntAttr = param_def(converter=IntAttr.get)

    @property
    def storage(self) -> tuple[int, bool]:
        """Width and signedness of the raw integer."""
        return self.width.data, bool(self.signed.data)

    @property
    def step(self) -> NDArray[np.object_]:
        """Exact step of the integers."""
        return np.array(Fraction(2) ** -self.fraction.data, object)

    def decode(self, raw: Array) -> NDArray[np.float32]:
        """Scale by the power of two."""
        return np.ldexp(to_float32(raw), -self.fraction.data)

    def encode(self, real: NDArray[np.float32]) -> tuple[Array, NDArray[np.bool_]]:
        """Round half to even and saturate, in arrays."""
        if self.width.data > 62 or abs(self.fraction.data) > 512:
            return super().encode(real)
        scaled = np.ldexp(real.astype(np.float64), self.fraction.data)
        low, high = self.raw_range
        raw = np.clip(np.rint(scaled), low, high)
        return raw.astype(np.int64), np.asarray(raw == scaled)

    def verify(self) -> None:
        """Reject impossible widths and fractions outside the range of float32."""
        _verify_storage(self.signed.data, self.width.data)
        if abs(self.fraction.data) > MAX_WIDTH:
            raise VerifyException(f"fraction must be within ±{MAX_WIDTH}")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse ``<s8, 4>``."""
        with parser.in_angle_brackets():
            signed, width = _parse_storage(parser)
            parser.parse_punctuation(",")
            fraction = parser.parse_integer(allow_boolean=False)
        return IntAttr(signed), IntAttr(width), IntAttr(fraction)

    def print_parameters(self, printer: Printer) -> None:
        """Print ``<s8, 4>``."""
        sign = "s" if self.signed.data else "u"
        with printer.in_angle_brackets():
            printer.print_string(f"{sign}{self.width.data}, {self.fraction.data}")


@irdl_attr_definition
class ScaledType(QuantisedType):
    """``!fastml.scaled<s8, scale, zero point>``: value = (raw - zero point) * scale."""

    name = "fastml.scaled"

    signed: IntAttr = param_def(converter=IntAttr.get)
    width: IntAttr = param_def(converter=IntAttr.get)
    scale: ArrayAttr
    zero_point: ArrayAttr

    @property
    def storage(self) -> tuple[int, bool]:
        """Width and signedness of the raw integer."""
        return self.width.data, bool(self.signed.data)

    @property
    def step(self) -> NDArray[np.object_]:
        """Exact value of the fp32 scale."""
        return _to_fractions(np.asarray(self.scale.array, np.float32))

    @property
    def shift(self) -> Array:
        """Minus the zero point."""
        return integer_array(-self.zero_point.array)

    def decode(self, raw: Array) -> NDArray[np.float32]:
        """Follow QONNX: subtract the zero point, multiply by the scale in fp32."""
        return to_float32(integer_array(raw - self.zero_point.array)) * np.asarray(
            self.scale.array, np.float32
        )

    def encode(self, real: NDArray[np.float32]) -> tuple[Array, NDArray[np.bool_]]:
        """Divide by the scale, in arrays."""
        if self.width.data > 22 or np.any(np.abs(self.zero_point.array) >= 1 << 22):
            return super().encode(real)
        return self._encode_by(real, self.scale.array.astype(np.float64))

    def to_shape(self, shape: Sequence[int]) -> QuantisedType:
        """Spread scale and zero point over ``shape``."""
        return ScaledType(
            self.signed,
            self.width,
            ArrayAttr.get(np.broadcast_to(self.scale.array, shape)),
            ArrayAttr.get(np.broadcast_to(self.zero_point.array, shape)),
        )

    def reindex(self, source_shape: Sequence[int], index: NDArray[np.int64]) -> QuantisedType:
        """Move scale and zero point with the elements; keep scalars scalar."""

        return ScaledType(
            self.signed,
            self.width,
            ArrayAttr.get(_moved(self.scale.array, source_shape, index)),
            ArrayAttr.get(_moved(self.zero_point.array, source_shape, index)),
        )

    def verify(self) -> None:
        """Reject impossible widths and scales that are not finite and positive."""
        _verify_storage(self.signed.data, self.width.data)
        scale = self.scale.array
        if scale.dtype != np.float32 or not np.all(np.isfinite(scale) & (scale > 0)):
            raise VerifyException("scale must be float32, finite and positive")
        if self.zero_point.array.dtype == np.float32:
            raise VerifyException("zero point must be an integer")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse ``<s8, #fastml.array<...>, #fastml.array<...>>``."""
        with parser.in_angle_brackets():
            signed, width = _parse_storage(parser)
            parser.parse_punctuation(",")
            scale = parser.parse_attribute()
            parser.parse_punctuation(",")
            zero_point = parser.parse_attribute()
        return IntAttr(signed), IntAttr(width), scale, zero_point

    def print_parameters(self, printer: Printer) -> None:
        """Print ``<s8, scale, zero point>``."""
        with printer.in_angle_brackets():
            printer.print_string(f"{'s' if self.signed.data else 'u'}{self.width.data}, ")
            printer.print_attribute(self.scale)
            printer.print_string(", ")
            printer.print_attribute(self.zero_point)


@irdl_attr_definition
class RatioType(QuantisedType):
    """``!fastml.ratio<u8, 255>``: value = float32(raw) / float32(255), a pixel."""

    name = "fastml.ratio"

    signed: IntAttr = param_def(converter=IntAttr.get)
    width: IntAttr = param_def(converter=IntAttr.get)
    divisor: IntAttr = param_def(converter=IntAttr.get)

    @property
    def storage(self) -> tuple[int, bool]:
        """Width and signedness of the raw integer."""
        return self.width.data, bool(self.signed.data)

    @property
    def step(self) -> NDArray[np.object_]:
        """Exact reciprocal of the divisor."""
        return np.array(Fraction(1, self.divisor.data), object)

    def decode(self, raw: Array) -> NDArray[np.float32]:
        """Divide in fp32."""
        return to_float32(raw) / np.float32(self.divisor.data)

    def encode(self, real: NDArray[np.float32]) -> tuple[Array, NDArray[np.bool_]]:
        """Multiply by the divisor, in arrays."""
        if self.width.data > 22:
            return super().encode(real)
        return self._encode_by(real, np.ones((), np.float64), self.divisor.data)

    def verify(self) -> None:
        """Reject impossible widths and divisors that float32 does not hold."""
        _verify_storage(self.signed.data, self.width.data)
        if not 0 < self.divisor.data < 1 << 24:
            raise VerifyException(f"divisor must be in 1..2**24-1, got {self.divisor.data}")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse ``<u8, 255>``."""
        with parser.in_angle_brackets():
            signed, width = _parse_storage(parser)
            parser.parse_punctuation(",")
            divisor = parser.parse_integer(allow_boolean=False, allow_negative=False)
        return IntAttr(signed), IntAttr(width), IntAttr(divisor)

    def print_parameters(self, printer: Printer) -> None:
        """Print ``<u8, 255>``."""
        sign = "s" if self.signed.data else "u"
        with printer.in_angle_brackets():
            printer.print_string(f"{sign}{self.width.data}, {self.divisor.data}")


@irdl_attr_definition
class BipolarType(QuantisedType):
    """``!fastml.bipolar<scale>``: one raw bit, 0 stands for -scale and 1 for +scale."""

    name = "fastml.bipolar"

    scale: ArrayAttr

    @property
    def storage(self) -> tuple[int, bool]:
        """One unsigned bit."""
        return 1, False

    @property
    def step(self) -> NDArray[np.object_]:
        """Exact value of the fp32 scale."""
        return _to_fractions(np.asarray(self.scale.array, np.float32))

    @property
    def weight(self) -> int:
        """The two integers, -1 and 1, are 2 apart."""
        return 2

    @property
    def shift(self) -> Array:
        """Bit 0 is the integer -1."""
        return np.array(-1, np.int64)

    def decode(self, raw: Array) -> NDArray[np.float32]:
        """Return plus or minus the scale."""
        sign = np.where(raw.astype(bool), np.float32(1), np.float32(-1))
        return sign * np.asarray(self.scale.array, np.float32)

    def encode(self, real: NDArray[np.float32]) -> tuple[Array, NDArray[np.bool_]]:
        """Take the sign; zero counts as positive."""
        raw = (real >= 0).astype(np.int64)
        return raw, np.asarray(self.decode(raw) == real)

    def to_shape(self, shape: Sequence[int]) -> QuantisedType:
        """Spread the scale over ``shape``."""
        return BipolarType(ArrayAttr.get(np.broadcast_to(self.scale.array, shape)))

    def reindex(self, source_shape: Sequence[int], index: NDArray[np.int64]) -> QuantisedType:
        """Move the scale with the elements; keep a scalar scalar."""
        return BipolarType(ArrayAttr.get(_moved(self.scale.array, source_shape, index)))

    def verify(self) -> None:
        """Reject scales that are not finite and positive."""
        scale = self.scale.array
        if scale.dtype != np.float32 or not np.all(np.isfinite(scale) & (scale > 0)):
            raise VerifyException("scale must be float32, finite and positive")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse ``<#fastml.array<...>>``."""
        with parser.in_angle_brackets():
            return (parser.parse_attribute(),)

    def print_parameters(self, printer: Printer) -> None:
        """Print the scale."""
        with printer.in_angle_brackets():
            printer.print_attribute(self.scale)
