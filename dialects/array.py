"""Constant arrays of any width as attributes, whose bytes never pass through text twice.

MLIR's dense attributes hold at most 64-bit integers in xDSL, and cost a Python object per
element to read. An :class:`ArrayConstant` wraps a read-only NumPy array instead: ``f32``,
``i64``, or ``int`` (integers of any size). Small ones print as numbers; large ones as
compressed text, or, inside :func:`sidecar`, as a key into a binary file beside the IR.
"""

import base64
import hashlib
import math
import zlib
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from xdsl.ir import Data
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer

Array: TypeAlias = NDArray[Any]
"""``float32``, ``int64``, or ``object`` holding Python integers."""
Integers: TypeAlias = NDArray[Any]
"""``int64``, or ``object`` holding Python integers."""

_INLINE = 32
"""Arrays of more elements than this print compressed."""
MAX_BYTES = 1 << 30
"""Largest array that is read from text, so that a hostile file cannot exhaust memory."""

_sidecar: ContextVar[MutableMapping[str, NDArray[np.generic]] | None] = ContextVar(
    "sidecar", default=None
)


@contextmanager
def sidecar(blobs: MutableMapping[str, NDArray[np.generic]]) -> Generator[None]:
    """Print large arrays into ``blobs``, and read them from there, inside the context."""
    token = _sidecar.set(blobs)
    try:
        yield
    finally:
        _sidecar.reset(token)


def integer_array(values: ArrayLike) -> Integers:
    """Return ``values`` as ``int64`` where they fit, else as Python integers."""
    exact = np.asarray(values)
    if exact.dtype != object:
        if exact.dtype.kind == "u" and exact.size and int(exact.max()) >= 1 << 63:
            return exact.astype(object)
        return exact.astype(np.int64)
    if exact.size and not (-(1 << 63) <= exact.min() and exact.max() < 1 << 63):
        return exact
    return exact.astype(np.int64)


class ConstantArray:
    """A read-only array that compares and hashes by its contents."""

    __slots__ = ("_key", "array")

    def __init__(self, array: Array):
        assert array.dtype in (np.float32, np.int64, np.object_), array.dtype
        self.array = np.array(array, order="C")
        self.array.flags.writeable = False
        contents = (
            repr(self.array.tolist()).encode()
            if array.dtype == np.object_
            else self.array.tobytes()
        )
        digest = hashlib.sha256(f"{self.dtype} {self.array.shape} ".encode() + contents)
        self._key = digest.hexdigest()[:24]

    @property
    def dtype(self) -> str:
        """``f32``, ``i64`` or ``int``."""
        kinds = {"float32": "f32", "int64": "i64", "object": "int"}
        return kinds[self.array.dtype.name]

    @property
    def key(self) -> str:
        """Content hash, the array's name in a sidecar."""
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConstantArray) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"ConstantArray({self.dtype} {self.array.shape} {self._key})"


@irdl_attr_definition
class ArrayAttr(Data[ConstantArray]):
    """``#fastml.array<"i64 2x2 : 1 2 3 4">``: a constant array (see the module)."""

    name = "fastml.array"

    @classmethod  # any array will do, where the base class wants it wrapped already
    def get(cls, values: ArrayLike) -> "ArrayAttr":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Wrap floats as ``f32``, integers as ``i64`` or, where too large, ``int``."""
        array = np.asarray(values)
        if array.dtype.kind == "f":
            return cls(ConstantArray(array.astype(np.float32)))
        return cls(ConstantArray(integer_array(array)))

    @property
    def array(self) -> Array:
        """The array itself, read-only."""
        return self.data.array

    @property
    def integers(self) -> Integers:
        """The array, which must hold integers, read-only."""
        assert self.data.dtype != "f32", "the array holds real numbers"
        return self.data.array

    def print_parameter(self, printer: Printer) -> None:
        """Print type, shape and contents in one string."""
        with printer.in_angle_brackets():
            printer.print_string_literal(_encode(self.data))

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> ConstantArray:
        """Parse what :meth:`print_parameter` prints."""
        with parser.in_angle_brackets():
            start = parser.pos
            text = parser.parse_str_literal()
            try:
                return _decode(text)
            except (ValueError, KeyError, zlib.error) as error:
                message = f"malformed constant array: {error}"
                parser.raise_error(message, start, parser.pos)


def _encode(constant: ConstantArray) -> str:
    array = constant.array
    head = f"{constant.dtype} {'x'.join(map(str, array.shape)) or 'scalar'}"
    if array.size <= _INLINE:
        return f"{head} : {' '.join(str(v) for v in array.ravel())}".rstrip()
    blobs = _sidecar.get()
    if blobs is not None and array.dtype != np.object_:
        blobs[constant.key] = array
        return f"{head} @ {constant.key}"
    if array.dtype == np.object_:
        raw = " ".join(str(v) for v in array.ravel()).encode()
    else:
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return f"{head} z {base64.b64encode(zlib.compress(raw, 6)).decode()}"


def _decode(text: str) -> ConstantArray:
    dtype, shape_text, form, *rest = text.split(" ", 3)
    shape = () if shape_text == "scalar" else tuple(map(int, shape_text.split("x")))
    if min(shape, default=0) < 0 or 8 * math.prod(shape) > MAX_BYTES:
        raise ValueError(f"shape {shape_text} is out of bounds")
    body = rest[0] if rest else ""
    numpy_type = {"f32": np.dtype("<f4"), "i64": np.dtype("<i8")}.get(dtype)
    if numpy_type is None and dtype != "int":
        raise ValueError(f"unknown element type '{dtype}'")
    if form == ":":
        words = body.split()
        array = np.array([int(w) if dtype != "f32" else float(w) for w in words], object)
    elif form == "z":
        decoder = zlib.decompressobj()
        raw = decoder.decompress(base64.b64decode(body, validate=True), MAX_BYTES)
        if numpy_type is None:
            array = np.array([int(word) for word in raw.decode().split()], object)
        else:
            array = np.frombuffer(raw, numpy_type)
    elif form == "@":
        blobs = _sidecar.get()
        if blobs is None:
            raise ValueError(f"'{body}' is in a binary file; fastml-opt finds it beside the IR")
        if body not in blobs:
            raise ValueError(f"'{body}' is not in the binary file beside this one")
        array = np.asarray(blobs[body]).reshape(-1)
    else:
        raise ValueError(f"unknown form '{form}'")
    if array.size != math.prod(shape):
        raise ValueError(f"{array.size} elements for shape {shape_text}")
    final = np.dtype(object) if numpy_type is None else numpy_type.newbyteorder("=")
    return ConstantArray(array.astype(final).reshape(shape))
