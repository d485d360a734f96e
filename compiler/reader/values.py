"""What a tensor name stands for while a graph is read."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.compiler.reader.onnx_file import Plain
from fastml.dialects.array import Array
from fastml.dialects.fastml import shape_of
from fastml.dialects.grid import QuantisedType

SYMBOLIC_SAMPLES = 7919
"""Batch that stands for a symbolic one: a prime, so that no other size is taken for it."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor known now; weights that a quantiser made also carry their raw integers.

    ``of_batch`` marks the elements that were computed from the number of samples in a batch:
    they may say where an axis of a shape is, and are data for nothing.
    """

    array: Plain
    raw: Array | None = None
    element: QuantisedType | None = None
    of_batch: NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, as the model has it."""
        return self.array.shape

    def moved(self, move: Callable[[Plain], Plain]) -> "Constant":
        """Apply a function that only moves elements."""
        return Constant(move(self.array)).marked(
            None if self.of_batch is None else move(self.of_batch)
        )

    def marked(self, of_batch: Plain | None) -> "Constant":
        """Mark the elements that were computed from the number of samples."""
        if of_batch is None or not of_batch.any():
            return Constant(self.array)
        assert of_batch.shape == self.array.shape
        return Constant(self.array, of_batch=of_batch)

    @classmethod
    def quantised(cls, raw: Array, element: QuantisedType) -> "Constant":
        """Wrap raw integers; arithmetic sees the float32 numbers that they stand for."""
        real = np.broadcast_to(element.decode(raw), raw.shape)
        return cls(np.asarray(real, np.float32), raw, element)


@dataclass(frozen=True)
class Batch:
    """Where the samples of a batch are: axis ``axis`` counted from the last.

    ``outer`` is how many of that axis's elements (of one sample) vary slower than the sample:
    1 unless a reshape has merged axes into the batch.
    """

    axis: int
    outer: int = 1


@dataclass(frozen=True, eq=False)
class Varying:
    """A tensor that depends on the inputs, at batch 1.

    ``batch`` is None where the model itself has batch 1.
    """

    value: SSAValue
    batch: Batch | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape at batch 1."""
        return shape_of(self.value)

    def full_shape(self, samples: int) -> tuple[int, ...]:
        """Return the shape as the model has it, at a batch of ``samples``."""
        shape = list(self.shape)
        if self.batch is not None:
            shape[self.batch.axis] *= samples
        return tuple(shape)


@dataclass(frozen=True)
class Unread:
    """A tensor whose node could not be read; ``source`` is that node's place."""

    source: str


Value = Constant | Varying
