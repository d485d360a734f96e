"""Choose architectures and solve every constant matrix as an adder graph."""

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import Integers
from fastml.dialects.qflow import ParallelAttr, channel_of
from fastml.lowering.adder_graphs import to_attribute
from fastml.lowering.cmvm import solve
from fastml.lowering.cmvm.graph import Graph
from fastml.lowering.cmvm.problem import WEIGHT_BITS, Problem

MAX_PRODUCTS = 1 << 20
"""Most products of a matrix at several positions, side by side."""


@dataclass(frozen=True)
class QflowSolve(ModulePass):
    """Make every stage without an architecture parallel; solve the parallel matrices.

    Each solution is proved equal to its matrix before it is stored.
    """

    name = "qflow-solve"

    budget: int = 1
    """How much search each matrix is worth; 0 is the least. More is slower, never larger."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Visit every stage."""
        for stage in op.walk():
            if not isinstance(stage, qflow.StageOp):
                continue
            if stage.architecture is None:
                stage.architecture = ParallelAttr()
            if not isinstance(stage.architecture, ParallelAttr):
                continue
            if isinstance(stage, qflow.DenseOp):
                _check_size(stage)
                _check_weights(stage, stage.matrix.integers)
                stage.graph = to_attribute(solve_dense(stage, self.budget))
            elif isinstance(stage, qflow.CombineOp):
                _check_weights(stage, stage.coefficients.integers)
                stage.graph = to_attribute(solve_combine(stage, self.budget))


def _check_size(stage: qflow.DenseOp) -> None:
    """Refuse a kernel at so many positions that nobody would build it."""
    products = stage.positions * int(np.count_nonzero(stage.matrix.integers))
    if stage.positions > 1 and products > MAX_PRODUCTS:
        raise FastmlError(
            f"edge '{stage.edge.data}' has {products} products at {stage.positions} positions, "
            f"more than {MAX_PRODUCTS} side by side",
            stage,
            code="FML-TARGET",
            hint="stream the image: --io stream; or fold the layer: --reuse",
        )


def _check_weights(stage: qflow.StageOp, weights: Integers) -> None:
    """Refuse weights that the solver does not take."""
    if np.any(weights >= 1 << WEIGHT_BITS) or np.any(weights <= -(1 << WEIGHT_BITS)):
        raise FastmlError(
            f"edge '{stage.edge.data}' multiplies by a constant of more than {WEIGHT_BITS} bits",
            stage,
            code="FML-WIDTH",
            hint="use scales that are nearer to each other",
        )


def solve_dense(stage: qflow.DenseOp, budget: int = 1) -> Graph:
    """Solve a dense stage for the union of the ranges over its positions."""
    matrix, (low, high) = stage.matrix.integers, stage.row_ranges
    return solve(Problem.of(matrix, low, high, bias=stage.bias.integers, budget=budget))


def solve_combine(stage: qflow.CombineOp, budget: int = 1) -> Graph:
    """Solve an elementwise stage: one small problem for each kind of element, repeated."""
    channels = [channel_of(x) for x in stage.inputs]
    lows = np.stack([c.lows for c in channels])
    highs = np.stack([c.highs for c in channels])
    coefficients, bias = stage.coefficients.integers, stage.bias.integers
    solved = dict[tuple[int, ...], Graph]()
    parts = list[Graph]()
    for element in range(len(bias)):
        column = coefficients[:, element].tolist()
        key = (*column, int(bias[element]), *lows[:, element], *highs[:, element])
        if key not in solved:
            problem = Problem.of(
                coefficients[:, element : element + 1],
                lows[:, element],
                highs[:, element],
                bias=bias[element : element + 1],
                budget=budget,
            )
            solved[key] = solve(problem)
        parts.append(solved[key])
    return _side_by_side(parts, len(channels))


def _side_by_side(parts: list[Graph], operands: int) -> Graph:
    """Join one graph for each element; operand ``k`` of element ``i`` is input ``k * n + i``."""
    count = len(parts)
    start = operands * count
    offsets = start + np.cumsum([0] + [part.n_nodes for part in parts[:-1]])

    def moved(ids: Integers, element: int) -> Integers:
        inputs = ids * count + element
        nodes = ids - operands + offsets[element]
        return np.where(ids < 0, -1, np.where(ids < operands, inputs, nodes)).astype(np.int32)

    def joined(name: str) -> Integers:
        return np.concatenate([getattr(part, name) for part in parts])

    def joined_ids(name: str) -> Integers:
        return np.concatenate([moved(getattr(p, name), i) for i, p in enumerate(parts)])

    return Graph(
        start,
        joined_ids("left"),
        joined_ids("right"),
        joined("shift"),
        joined("op"),
        joined("constant"),
        joined_ids("out_id"),
        joined("out_shift"),
        joined("out_constant"),
    )
