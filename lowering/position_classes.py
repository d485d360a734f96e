"""Constants that differ between positions: which beats share what they hold.

The divisor of an average that does not count pads takes a few values: one inside, others along
the edges. Positions fall into *classes*, in each of which everything is constant.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Array
from fastml.dialects.layout import Layout

Classes = NDArray[np.int64]
"""The class of each beat of a frame; each number up to the greatest occurs."""

MOST_CLASSES = 16
"""Most classes for each of which a function is built."""


def constant_rows(array: Array, layout: Layout) -> tuple[Array, tuple[int, ...]]:
    """Return what each beat holds of a constant that broadcasts to a tensor, and its shape.

    ``layout`` is that of the tensor; rows have shape ``(beats, elements)``.
    """
    aligned = array.reshape((1,) * (len(layout.shape) - array.ndim) + array.shape)
    shape = [
        size if axis in layout.positions else aligned.shape[axis]
        for axis, size in enumerate(layout.shape)
    ]
    own = Layout(tuple(shape), layout.positions, layout.pixels)
    rows = own.to_rows(np.broadcast_to(aligned, shape)[None])
    return rows.reshape(own.beats, own.elements), own.token


def classes_of(tables: Sequence[Array]) -> Classes:
    """Return classes of beats with the same row in every table ``(beats, ...)``."""
    numbers = np.zeros(len(tables[0]), np.int64)
    for table in tables:
        _, own = np.unique(table.reshape(len(table), -1), axis=0, return_inverse=True)
        pairs = numbers * (int(own.max()) + 1) + own.reshape(-1)
        _, numbers = np.unique(pairs, return_inverse=True)
        numbers = np.asarray(numbers, np.int64).reshape(-1)
    return numbers
