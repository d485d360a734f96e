"""Matrices that fall apart: rows and columns that no weight joins are problems of their own.

Kernels of depthwise and grouped convolutions are such matrices. Nothing can be shared
between their blocks, and looking for it takes time that grows with the square of the inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from fastml.lowering.cmvm.graph import Graph
from fastml.lowering.cmvm.integers import Integers
from fastml.lowering.cmvm.problem import Problem

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Inputs and outputs that weights other than zero join, in order."""

    rows: Ids
    columns: Ids

    def problem(self, whole: Problem, matrix: Integers, bias: Integers) -> Problem:
        """Return the block's own problem, given the matrix and bias of the whole one."""
        return replace(
            whole,
            matrix=matrix[np.ix_(self.rows, self.columns)],
            low=whole.low[self.rows],
            high=whole.high[self.rows],
            step=whole.step[self.rows],
            arrival=whole.arrival[self.rows],
            bias=bias[self.columns],
            demanded=whole.demanded[self.columns],
            quantiser=tuple(whole.quantiser[column] for column in self.columns.tolist()),
            deadline=whole.deadline[self.columns],
        )


def blocks_of(matrix: Integers) -> list[Block]:
    """Return the blocks of a matrix by their first column; zero rows and columns are in none."""
    present = matrix != 0
    rows, columns = np.nonzero(present)
    # the least column that a row or column is known to be joined with, until nothing changes
    count: int = matrix.shape[1]
    label: Ids = np.arange(count)
    while True:
        of_row = np.full(len(matrix), count)
        np.minimum.at(of_row, rows, label[columns])
        joined = label.copy()
        np.minimum.at(joined, columns, of_row[rows])
        if np.array_equal(joined, label):
            break
        label = joined
    of_row = np.where(present.any(axis=1), of_row, -1)
    label = np.where(present.any(axis=0), label, -1)
    return [
        Block(np.flatnonzero(of_row == first), np.flatnonzero(label == first))
        for first in np.unique(label[label >= 0]).tolist()
    ]


def gathered(blocks: Sequence[Block], rows: int) -> list[Block]:
    """Put neighbouring blocks together up to a number of inputs, so that there are fewer."""
    groups, size = list[list[Block]](), rows
    for block in blocks:
        size += len(block.rows)
        if size > rows:
            groups.append([])
            size = len(block.rows)
        groups[-1].append(block)
    return [
        Block(
            np.sort(np.concatenate([block.rows for block in group])),
            np.sort(np.concatenate([block.columns for block in group])),
        )
        for group in groups
    ]


def joined(
    problem: Problem, bias: Integers, blocks: Sequence[Block], graphs: Sequence[Graph]
) -> Graph:
    """Return the graph of a whole problem from those of its blocks."""
    count, outputs = problem.matrix.shape
    starts = accumulate((graph.n_nodes for graph in graphs), initial=count)
    ids, shifts = np.full(outputs, -1, np.int32), np.zeros(outputs, np.int32)
    literals = bias.copy()
    left, right = list[NDArray[np.int32]](), list[NDArray[np.int32]]()
    for block, graph, start in zip(blocks, graphs, starts, strict=False):
        # inputs go by their row, nodes follow those of the blocks before; -1 stays
        moved = np.concatenate([block.rows, start + np.arange(graph.n_nodes), [-1]])
        left.append(moved[graph.left].astype(np.int32))
        right.append(moved[graph.right].astype(np.int32))
        ids[block.columns] = moved[graph.out_id]
        shifts[block.columns] = graph.out_shift
        literals[block.columns] = graph.out_constant
    return Graph(
        count,
        np.concatenate(left),
        np.concatenate(right),
        np.concatenate([graph.shift for graph in graphs]),
        np.concatenate([graph.op for graph in graphs]),
        np.concatenate([graph.constant for graph in graphs]),
        ids,
        shifts,
        literals,
    )
