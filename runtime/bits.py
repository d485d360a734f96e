"""Bit vectors along time: the common currency of the simulator, Verilator and testbenches.

:data:`Words` holds one bit vector a cycle as little-endian 32-bit words, whatever its width.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml.runtime.trace import Integers, narrow

Words: TypeAlias = NDArray[np.uint32]
"""Shape ``(cycles, ceil(width / 32))``; bits beyond the width are zero."""

WORD = 32
NARROW = 63
"""Widest bit vector whose unsigned value fits ``int64``."""


def word_count(width: int) -> int:
    """Words that ``width`` bits take."""
    return -(-width // WORD)


class Packer:
    """Puts integers into bit vectors, field by field."""

    def __init__(self, cycles: int, width: int):
        self._words = np.zeros((word_count(width), cycles), np.uint64)

    def put(self, values: Integers | int, offset: int, width: int) -> None:
        """Store ``values`` (one a cycle, or the same in each) modulo ``2**width``."""
        index, shift = divmod(offset, WORD)
        if isinstance(values, int) or values.dtype == object or width > NARROW:
            exact = values if isinstance(values, int) else values.astype(object)
            rest = (exact & ((1 << width) - 1)) << shift
            for word in range(index, index + word_count(width + shift)):
                part = rest & 0xFFFFFFFF
                if not isinstance(part, int):
                    part = part.astype(np.uint64)
                self._words[word] |= np.uint64(part) if isinstance(part, int) else part
                rest = rest >> WORD
            return
        field = values.astype(np.uint64) & np.uint64((1 << width) - 1)
        self._words[index] |= (field << np.uint64(shift)) & np.uint64(0xFFFFFFFF)
        for word in range(index + 1, index + word_count(width + shift)):
            right = np.uint64(WORD * (word - index) - shift)
            self._words[word] |= (field >> right) & np.uint64(0xFFFFFFFF)

    def words(self) -> Words:
        """Return what was packed."""
        return np.ascontiguousarray(self._words.T.astype(np.uint32))


def field(words: Words, offset: int, width: int, *, signed: bool = False) -> Integers:
    """Read one field of every bit vector."""
    index, shift = divmod(offset, WORD)
    if width > NARROW:
        value = np.zeros(len(words), object)
        for word in reversed(range(index, index + word_count(width + shift))):
            value = (value << WORD) | words[:, word].astype(object)
        value = (value >> shift) & ((1 << width) - 1)
        return _signed(value, width) if signed else value
    value = words[:, index].astype(np.uint64) >> np.uint64(shift)
    for word in range(index + 1, index + word_count(width + shift)):
        left = np.uint64(WORD * (word - index) - shift)
        value |= words[:, word].astype(np.uint64) << left
    narrow_value = (value & np.uint64((1 << width) - 1)).astype(np.int64)
    return _signed(narrow_value, width) if signed else narrow_value


def _signed(values: Integers, width: int) -> Integers:
    sign = (1 << width) >> 1
    return (values ^ sign) - sign


def pack_rows(values: Integers, widths: Sequence[int]) -> Words:
    """Pack each row little-endian, element 0 in the low bits, each at its own width."""
    packer = Packer(len(values), sum(widths))
    offset = 0
    for column, width in enumerate(widths):
        if width:
            packer.put(values[:, column], offset, width)
        offset += width
    return packer.words()


def unpack_rows(words: Words, widths: Sequence[int], signed: Sequence[bool]) -> Integers:
    """Invert :func:`pack_rows`; ``signed`` says which elements are two's complement."""
    offsets = np.cumsum([0, *widths])[:-1].tolist()
    wide = any(width > NARROW for width in widths)
    rows = np.zeros((len(words), len(widths)), object if wide else np.int64)
    for column, (offset, width) in enumerate(zip(offsets, widths, strict=True)):
        if width:
            rows[:, column] = field(words, offset, width, signed=signed[column])
    return narrow(rows) if wide else rows


def from_integers(values: Sequence[int] | Integers, width: int) -> Words:
    """Turn one integer a cycle into bit vectors of ``width`` bits."""
    if not isinstance(values, np.ndarray):
        fits = width <= NARROW and all(-(2**63) <= int(v) < 2**63 for v in values)
        values = np.array([int(v) for v in values], np.int64 if fits else object)
    packer = Packer(len(values), width)
    packer.put(values, 0, width)
    return packer.words()


def to_integers(words: Words, width: int) -> Integers:
    """Turn bit vectors into unsigned integers."""
    return field(words, 0, width)
