"""How a tensor of one sample lies in the beats of its channel.

A tensor whose axes are all in a beat is one beat, row-major. An image is a stream: its
*positions* (rows and columns, or the one axis of a sequence) are passed in raster order, and a
beat is a *token*: all other elements of one position, or of ``pixels`` adjacent ones.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Array


@dataclass(frozen=True)
class Layout:
    """Which axes of a tensor are positions; the rest of it is in every beat."""

    shape: tuple[int, ...]
    """Of the tensor, its batch axis of 1 included."""
    positions: tuple[int, ...] = ()
    """Axes that are passed beat by beat, slowest first, in their order in the tensor."""
    pixels: int = 1
    """Adjacent places of the last position axis in one beat."""

    def __post_init__(self) -> None:
        if sorted(set(self.positions)) != list(self.positions):
            raise ValueError(f"positions {self.positions} are not in order")
        if any(not 0 <= axis < len(self.shape) for axis in self.positions):
            raise ValueError(f"positions {self.positions} are no axes of {self.shape}")
        if self.pixels < 1 or (self.pixels > 1 and not self.positions):
            raise ValueError(f"{self.pixels} pixels need a position axis")
        if self.positions and self.shape[self.positions[-1]] % self.pixels:
            raise ValueError(f"{self.pixels} pixels do not divide the last position axis")

    @property
    def size(self) -> int:
        """Elements of the tensor."""
        return prod(self.shape)

    @property
    def grid(self) -> tuple[int, ...]:
        """Beats along each position axis."""
        sizes = [self.shape[axis] for axis in self.positions]
        if sizes:
            sizes[-1] //= self.pixels
        return tuple(sizes)

    @property
    def beats(self) -> int:
        """Beats a frame."""
        return prod(self.grid)

    @property
    def elements(self) -> int:
        """Elements of a beat."""
        return prod(self.token)

    @property
    def token(self) -> tuple[int, ...]:
        """Shape of the part of the tensor that is one beat, of the tensor's own rank."""
        sizes = list(self.shape)
        for axis in self.positions:
            sizes[axis] = 1
        if self.positions:
            sizes[self.positions[-1]] = self.pixels
        return tuple(sizes)

    @cached_property
    def _split(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape with the last position axis split into beats and pixels; order of its axes."""
        if not self.positions:
            return self.shape, tuple(range(len(self.shape)))
        last = self.positions[-1]
        beats = self.grid[-1]
        shape = (*self.shape[:last], beats, self.pixels, *self.shape[last + 1 :])
        inner = [axis + (axis >= last) for axis in range(len(self.shape))]
        first = [*self.positions[:-1], last]
        rest = [axis for axis in inner if axis not in first]
        return shape, (*first, *rest)

    @property
    def is_row_major(self) -> bool:
        """Whether the beats of a frame, end to end, are the tensor as it is."""
        shape, order = self._split
        kept = [axis for axis in order if shape[axis] > 1]
        return kept == sorted(kept)

    def to_rows(self, values: Array) -> Array:
        """Return frames ``(frames, ...)`` as rows ``(frames, size)``, beat after beat."""
        if self.is_row_major:
            return values.reshape(len(values), self.size)
        shape, order = self._split
        whole = values.reshape(len(values), *shape)
        return whole.transpose(0, *(1 + axis for axis in order)).reshape(len(values), self.size)

    def from_rows(self, rows: Array) -> Array:
        """Invert :meth:`to_rows`; the tensors have the layout's shape."""
        if self.is_row_major:
            return rows.reshape(len(rows), *self.shape)
        shape, order = self._split
        apart = rows.reshape(len(rows), *(shape[axis] for axis in order))
        back = np.argsort(order)
        return apart.transpose(0, *(1 + back)).reshape(len(rows), *self.shape)

    @property
    def places(self) -> NDArray[np.int64]:
        """Place in the row-major tensor of each element of each beat: ``(beats, elements)``."""
        return self.to_rows(np.arange(self.size)[None]).reshape(self.beats, self.elements)

    def __str__(self) -> str:
        """Print axes and pixels, such as ``2,3`` or ``2,3*4``."""
        axes = ",".join(map(str, self.positions))
        return axes if self.pixels == 1 else f"{axes}*{self.pixels}"

    @classmethod
    def parse(cls, text: str, shape: tuple[int, ...]) -> "Layout":
        """Parse what ``str`` prints, for a tensor of ``shape``; ``ValueError`` on anything else."""
        axes, times, pixels = text.partition("*")
        numbers = tuple(int(axis) for axis in axes.split(",")) if axes else ()
        return cls(shape, numbers, int(pixels) if times else 1)
