"""The question: a constant matrix, and what is known of its inputs and outputs.

A *value* is an unbounded integer. Input ``i`` takes the values ``low[i]``, ``low[i] +
step[i]``, ..., ``high[i]``, independently of the other inputs, and output ``j`` is
``(x @ matrix + bias)[j]``, exactly. A solver answers with a :class:`Graph`.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml.lowering.cmvm.graph import Graph, Grid
from fastml.lowering.cmvm.integers import Integers, exact, narrowed
from fastml.lowering.delay import TARGETS, DelayModel

WEIGHT_BITS = 62
"""Entries of the matrix lie strictly between plus and minus ``2**WEIGHT_BITS``."""


@dataclass(frozen=True)
class CostModel:
    """What a solver minimises: ``adder`` per node plus ``bit`` per full adder.

    A node costs something beside its full adders: carry chains begin at fixed places.
    """

    adder: float = 1.0
    bit: float = 1.0
    delay: DelayModel = field(default_factory=lambda: TARGETS["generic"])


@dataclass(frozen=True, eq=False)
class Problem:
    """One constant matrix with the ranges and times around it.

    Build it with :meth:`of`. ``demanded``, ``quantiser`` and ``deadline`` say how much
    freedom an answer has; it is sound to ignore them, because they only ever permit an
    answer that differs where nobody looks, or one that is later.
    """

    matrix: Integers
    """Weights, ``(n_in, n_out)``."""
    low: Integers
    """Least value of each input, ``(n_in,)``."""
    high: Integers
    """Greatest value of each input, ``(n_in,)``."""
    step: Integers
    """Distance of neighbouring values of each input, at least 1, ``(n_in,)``."""
    arrival: NDArray[np.float64]
    """When each input is stable, in ns after the stage's start, ``(n_in,)``."""
    bias: Integers
    """Constant added to each output, ``(n_out,)``."""
    demanded: Integers
    """Mask of the bits of each output that anybody reads, -1 for all, ``(n_out,)``."""
    quantiser: tuple[Any, ...]
    """What consumes each output, or None; ``n_out`` of them."""
    deadline: NDArray[np.float64]
    """When each output is wanted, in ns, infinite for no wish, ``(n_out,)``."""
    cost: CostModel
    budget: int
    """Effort in units of work, never in time: equal problems have equal answers."""
    seed: int
    """Fixes the choices of a randomised solver."""

    @staticmethod
    def of(
        matrix: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        *,
        step: ArrayLike = 1,
        arrival: ArrayLike = 0.0,
        bias: ArrayLike = 0,
        demanded: ArrayLike = -1,
        quantiser: tuple[Any, ...] = (),
        deadline: ArrayLike = np.inf,
        cost: CostModel | None = None,
        budget: int = 1,
        seed: int = 0,
    ) -> "Problem":
        """Build a problem; everything but the matrix broadcasts over its elements.

        Raise ValueError for weights of more than 62 bits and for empty ranges.
        """
        weights = exact(matrix)
        n_in, n_out = weights.shape

        def times(values: ArrayLike, count: int) -> NDArray[np.float64]:
            return np.broadcast_to(np.asarray(values, np.float64), (count,)).copy()

        return Problem(
            weights,
            exact(low, n_in),
            exact(high, n_in),
            exact(step, n_in),
            times(arrival, n_in),
            exact(bias, n_out),
            exact(demanded, n_out),
            quantiser or (None,) * n_out,
            times(deadline, n_out),
            cost or CostModel(),
            budget,
            seed,
        )

    def __post_init__(self) -> None:
        n_in, n_out = self.matrix.shape
        for name in ("low", "high", "step", "arrival"):
            assert getattr(self, name).shape == (n_in,), name
        for name in ("bias", "demanded", "deadline"):
            assert getattr(self, name).shape == (n_out,), name
        assert len(self.quantiser) == n_out
        limit = 1 << WEIGHT_BITS
        if np.any(self.matrix >= limit) or np.any(self.matrix <= -limit):
            raise ValueError(f"a weight has more than {WEIGHT_BITS} bits")
        if np.any(self.step < 1) or np.any((self.high - self.low) % self.step):
            raise ValueError("an input's high is not low plus a multiple of its step")
        if np.any(self.low > self.high):
            raise ValueError("an input has an empty range")

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Which inputs take one value only, ``(n_in,)``."""
        return np.asarray(self.low == self.high, np.bool_)

    def fold(self, matrix: Integers, bias: Integers) -> tuple[Integers, Integers]:
        """Move the fixed inputs of a linear map from its matrix to its bias."""
        fixed = self.fixed
        moved = matrix[fixed].astype(object) * self.low[fixed, None]
        total = bias.astype(object) + moved.sum(axis=0)
        return np.where(fixed[:, None], 0, matrix), narrowed(total)

    def grid(self, graph: Graph) -> Grid:
        """Return the exact range and zero low bits of every value of ``graph``."""
        return graph.grid(self.low, self.high, self.step)

    def arrivals(self, graph: Graph) -> NDArray[np.float64]:
        """Return when each value of ``graph`` is stable, in ns."""
        return graph.arrivals(self.arrival, self.cost.delay, self.grid(graph))

    def prove(self, graph: Graph) -> None:
        """Assert that ``graph`` computes ``x @ matrix + bias`` for every input.

        Every node is a linear form of the inputs; the forms are computed in full and
        compared. Of inputs that take one value only, the product counts.
        """
        graph.check()
        assert graph.n_in == len(self.matrix), "wrong number of inputs"
        assert graph.out_id.shape == self.bias.shape, "wrong number of outputs"
        found = self.fold(*graph.linear_outputs())
        for got, wanted in zip(found, self.fold(self.matrix, self.bias), strict=True):
            assert np.array_equal(got, wanted), "the graph does not equal the matrix"


class Solver(Protocol):
    """What fills the seam: a total, deterministic function of the problem."""

    def __call__(self, problem: Problem, /) -> Graph:
        """Return a graph that computes ``x @ matrix + bias``."""
        ...
