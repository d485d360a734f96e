"""Layout of the elements of a beat, as one short string that every level carries.

``"16 x s16"`` is sixteen signed 16-bit elements; ``"3 x u5, s7, u0"`` three unsigned 5-bit
ones, a signed one, and one of width 0 (the constant 0, which takes no wire). It is a plain
builtin string attribute, ``fastml.elements``, on function arguments, allocations and ports,
so that upstream tools parse our text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

_RUN = re.compile(r"(?:(\d+) x )?([su])(\d+)")
MAX_ELEMENTS = 1 << 24
"""Largest beat that is accepted, so that a hostile text cannot exhaust memory."""


@dataclass(frozen=True)
class Elements:
    """Width and signedness of each element of a beat, element 0 first."""

    widths: tuple[int, ...]
    signed: tuple[bool, ...]

    def __post_init__(self) -> None:
        assert len(self.widths) == len(self.signed)

    def __len__(self) -> int:
        return len(self.widths)

    def __str__(self) -> str:
        runs: list[str] = []
        pairs = zip(self.widths, self.signed, strict=True)
        for (width, signed), run in groupby(pairs):
            count = len(list(run))
            element = f"{'s' if signed else 'u'}{width}"
            runs.append(f"{count} x {element}" if count > 1 else element)
        return ", ".join(runs)

    @cached_property
    def total_width(self) -> int:
        """Bits of the packed beat."""
        return sum(self.widths)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Lowest bit of each element in the packed beat."""
        offsets, offset = list[int](), 0
        for width in self.widths:
            offsets.append(offset)
            offset += width
        return tuple(offsets)

    @cached_property
    def container(self) -> tuple[int, bool]:
        """Narrowest single integer type, as (width, signed), that holds every element."""
        signed = any(self.signed)
        widths = (
            width + (signed and not own and width > 0)
            for width, own in zip(self.widths, self.signed, strict=True)
        )
        return max(widths, default=0), signed

    @classmethod
    def of_ranges(cls, lows: Iterable[int], highs: Iterable[int]) -> "Elements":
        """Return the narrowest layout that holds the given inclusive ranges."""
        widths, signs = list[int](), list[bool]()
        for low, high in zip(lows, highs, strict=True):
            width, signed = width_of(int(low), int(high))
            widths.append(width)
            signs.append(signed)
        return cls(tuple(widths), tuple(signs))

    @classmethod
    def parse(cls, text: str) -> "Elements":
        """Parse what ``str`` prints; raise ``ValueError`` on anything else."""
        widths, signs = list[int](), list[bool]()
        for part in text.split(", ") if text else []:
            match = _RUN.fullmatch(part)
            if match is None:
                raise ValueError(f"'{part}' is not an element run such as '16 x s8'")
            count = int(match[1] or 1)
            if len(widths) + count > MAX_ELEMENTS:
                raise ValueError(f"more than {MAX_ELEMENTS} elements")
            widths += [int(match[3])] * count
            signs += [match[2] == "s"] * count
        return cls(tuple(widths), tuple(signs))


def width_of(low: int, high: int) -> tuple[int, bool]:
    """Return (width, signed) of the narrowest integer type that holds ``low..high``."""
    if low >= 0:
        return high.bit_length(), False
    return max((-low - 1).bit_length(), high.bit_length() if high > 0 else 0) + 1, True


def range_of(width: int, signed: bool) -> tuple[int, int]:
    """Return the inclusive range of an integer type; width 0 holds only 0."""
    if width == 0:
        return 0, 0
    if signed:
        return -(1 << (width - 1)), (1 << (width - 1)) - 1
    return 0, (1 << width) - 1


def ranges_of(elements: Elements) -> tuple[Sequence[int], Sequence[int]]:
    """Return the lows and highs that the widths of ``elements`` allow."""
    pairs = [
        range_of(width, signed)
        for width, signed in zip(elements.widths, elements.signed, strict=True)
    ]
    return [low for low, _ in pairs], [high for _, high in pairs]
