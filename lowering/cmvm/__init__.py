"""Constant matrix-vector multiplication as graphs of shifted additions."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastml.lowering.cmvm.graph import Graph
    from fastml.lowering.cmvm.problem import Problem, Solver

SOLVERS = {"greedy": "fastml.lowering.cmvm.greedy:solve"}
"""Solver name to what is loaded when it is first used."""


def solve(problem: "Problem", solver: str = "greedy") -> "Graph":
    """Solve a problem by the solver of that name, and prove the answer.

    The answer depends on nothing but the arguments. An answer that does not equal the
    matrix is a defect of the solver: an AssertionError.
    """
    chosen: Solver = resolve_name(SOLVERS[solver])
    graph = chosen(problem)
    problem.prove(graph)
    return graph
