"""Matrix products of any rank as blocks of rows times constant matrices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Integers
from fastml.dialects.fastml import MatMulOp, shape_of


@dataclass(frozen=True)
class MatMulLayout:
    """Where the elements of a matrix product come from and go to.

    ``gather[b * rows + k]`` is the element of the varying operand that is row ``k`` of block
    ``b``; result element ``e`` is element ``scatter[e]`` of the blocks' results, end to end.
    The blocks that share a constant matrix follow each other, equally many for each matrix.
    """

    gather: NDArray[np.int64]
    scatter: NDArray[np.int64]
    blocks: int
    rows: int
    left_varies: bool
    batch: tuple[int, ...]
    """Leading axes over which the constant differs; empty where one matrix does for all."""

    @classmethod
    def of(cls, op: MatMulOp, left_varies: bool) -> "MatMulLayout":
        """Lay out a product by NumPy's rules for ranks 1, 2 and more."""
        varying, weight = (op.left, op.right) if left_varies else (op.right, op.left)
        shape, weight_shape = shape_of(varying), shape_of(weight)
        places = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
        if not left_varies and len(shape) > 1:
            places = np.moveaxis(places, -2, -1)
        if len(shape) == 1:
            places = places[None, :]
        batch = np.broadcast_shapes(places.shape[:-2], weight_shape[:-2])
        places = np.broadcast_to(places, (*batch, *places.shape[-2:]))
        rows = places.shape[-1]
        columns: int = 1 if len(weight_shape) == 1 else weight_shape[-1 if left_varies else -2]
        blocks = int(places.size) // rows
        made: Integers = np.arange(int(blocks * columns)).reshape(*places.shape[:-1], columns)
        if not left_varies and len(shape) > 1 and len(weight_shape) > 1:
            made = np.moveaxis(made, -1, -2)
        one = int(np.prod(weight_shape[:-2], dtype=np.int64)) == 1
        return cls(
            np.asarray(places.reshape(-1), np.int64),
            np.asarray(made.reshape(-1), np.int64),
            blocks,
            rows,
            left_varies,
            () if one else batch,
        )

    @property
    def scatters(self) -> bool:
        """Whether the blocks' results are in another order than the result's elements."""
        return not np.array_equal(self.scatter, np.arange(len(self.scatter)))

    def matrices(self, weights: Integers) -> list[Integers]:
        """Return the (rows, columns) matrices, one for all blocks where there is no batch."""
        if weights.ndim == 1:
            return [weights[:, None]]
        if not self.left_varies:
            weights = np.moveaxis(weights, -1, -2)
        if not self.batch:
            return [weights.reshape(weights.shape[-2:])]
        spread = np.broadcast_to(weights, (*self.batch, *weights.shape[-2:]))
        return list(spread.reshape(-1, *weights.shape[-2:]))
