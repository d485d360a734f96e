"""Column differences: write a matrix as the product of two that are cheaper together.

Columns that resemble each other are computed from one another. The columns and zero are
the vertices of a graph whose edge between two weighs as much as their difference, or
sum, has signed digits; along a spanning tree of it, every column is its parent's, or
the negative of that, plus a difference.
"""

import numpy as np
from numpy.typing import NDArray

from fastml.lowering.cmvm.csd import csd
from fastml.lowering.cmvm.integers import Integers


def differences(matrix: Integers, max_depth: int) -> tuple[Integers, Integers]:
    """Return ``(edges, paths)`` with ``edges @ paths == matrix``.

    Grows the tree from zero, cheapest edge first (Prim), over at most ``max_depth``
    edges from the root; ``max_depth`` 1 is the matrix itself, in another order.
    """
    n_in, n_out = matrix.shape
    columns = np.concatenate([np.zeros((n_in, 1), np.int64), matrix], axis=1)
    weights, signs = _distances(columns)
    best = weights[0].astype(np.float64)
    best[0] = np.inf
    parent = np.zeros(n_out + 1, np.int64)
    depth = np.zeros(n_out + 1, np.int64)
    edges = np.zeros((n_in, n_out), np.int64)
    paths = np.zeros((n_out, n_out + 1), np.int64)
    for edge in range(n_out):
        column = int(np.argmin(best))
        origin = int(parent[column])
        sign = int(signs[origin, column])
        best[column] = np.inf
        depth[column] = depth[origin] + 1
        edges[:, edge] = columns[:, column] - sign * columns[:, origin]
        paths[:, column] = sign * paths[:, origin]
        paths[edge, column] = 1
        if depth[column] < max_depth:
            closer = (weights[column] < best) & np.isfinite(best)
            best[closer] = weights[column, closer]
            parent[closer] = column
    return edges, paths[:, 1:]


def _distances(columns: Integers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return digits of the cheaper of difference and sum, and 1 or -1 for which."""
    count = columns.shape[1]
    weights = np.zeros((count, count), np.int64)
    signs = np.ones((count, count), np.int64)
    for i in range(count):
        one = columns[:, i : i + 1]
        apart = np.count_nonzero(csd(columns - one), axis=(0, 1))
        opposite = np.count_nonzero(csd(columns + one), axis=(0, 1))
        weights[i] = np.minimum(apart, opposite)
        signs[i] = np.where(apart <= opposite, 1, -1)
    return weights, signs
