"""The answer: a graph of shifted additions, held in arrays.

A *value* is an unbounded integer. Values ``0 .. n_in - 1`` are the inputs, value ``n_in
+ k`` is that of node ``k``, and a node refers to smaller values only. With ``L`` the
value ``left[k]``, ``R`` the value ``right[k]`` or, where that is -1, ``constant[k]``,
and ``s = shift[k]``, node ``k`` is

====  ===================  ====================
op    ``s >= 0``           ``s < 0``
====  ===================  ====================
ADD   ``L + (R << s)``     ``(L << -s) + R``
SUB   ``L - (R << s)``     ``(L << -s) - R``
RSUB  ``(R << s) - L``     ``R - (L << -s)``
====  ===================  ====================

so that nothing is ever shifted to the right. Output ``j`` is the value ``out_id[j] <<
out_shift[j]`` or, where ``out_id[j]`` is -1, ``out_constant[j]``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml.lowering.cmvm.integers import (
    SAFE,
    Integers,
    exact,
    magnitude,
    narrowed,
    shifted,
    trailing_zeros,
    widths,
)
from fastml.lowering.delay import DelayModel

ADD, SUB, RSUB = 0, 1, 2
SHIFT_LIMIT = 4096
"""No shift of a well-formed graph reaches this many bits."""

_BLOCK = 128
"""Inputs whose coefficients are in memory at a time."""
_BATCH = 4096
"""Samples that are evaluated at a time."""


@dataclass(frozen=True, eq=False)
class Grid:
    """For each value: its exact least and greatest value and its zero low bits."""

    low: Integers
    high: Integers
    zeros: NDArray[np.int64]
    """Every number the value takes is a multiple of ``2**zeros``; 63 for constant 0."""

    @property
    def width(self) -> NDArray[np.int64]:
        """Bits that hold the value, two's complement where it can be negative."""
        return widths(self.low, self.high)

    @property
    def signed(self) -> NDArray[np.bool_]:
        """Whether the value can be negative."""
        return np.asarray(self.low < 0, np.bool_)


@dataclass(frozen=True)
class Cost:
    """What a graph takes: its adders, and the full adders they are made of."""

    adders: int
    """Nodes, additions of a constant included."""
    constant_adders: int
    """Nodes that add a constant or negate."""
    bits: int
    """Full adders, as :meth:`Graph.full_adders` counts them."""
    depth: int
    """Nodes on the longest path."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Shifted additions in topological order; see the module for what they mean."""

    n_in: int
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    shift: NDArray[np.int32]
    op: NDArray[np.int8]
    constant: Integers
    """Constant operand of each node, 0 where the node has none."""
    out_id: NDArray[np.int32]
    out_shift: NDArray[np.int32]
    """Left shift of each output, 0 where the output is constant."""
    out_constant: Integers
    """Value of each constant output, 0 where the output is not constant."""

    @property
    def n_nodes(self) -> int:
        """Number of adders."""
        return len(self.left)

    @property
    def n_values(self) -> int:
        """Number of inputs and nodes."""
        return self.n_in + self.n_nodes

    def check(self) -> None:
        """Assert that the arrays describe a graph."""
        n = self.n_nodes
        ids = np.arange(self.n_in, self.n_values)
        for array in (self.right, self.shift, self.op, self.constant):
            assert array.shape == (n,), "node arrays of different lengths"
        for array in (self.out_shift, self.out_constant):
            assert array.shape == self.out_id.shape, "output arrays differ in length"
        constant = self.right == -1
        assert np.all((self.left >= 0) & (self.left < ids)), "left is not an earlier id"
        assert np.all((self.right >= -1) & (self.right < ids)), "right is not earlier"
        assert np.all((self.op >= ADD) & (self.op <= RSUB)), "unknown op"
        assert np.all(np.abs(self.shift.astype(np.int64)) < SHIFT_LIMIT), "shift"
        assert not np.any(self.constant[~constant]), "unused constant"
        constant = self.out_id == -1
        assert np.all((self.out_id >= -1) & (self.out_id < self.n_values)), "out_id"
        assert np.all((self.out_shift >= 0) & (self.out_shift < SHIFT_LIMIT)), "out_shift"
        assert not np.any(self.out_shift[constant]), "shifted constant output"
        assert not np.any(self.out_constant[~constant]), "unused output constant"

    @cached_property
    def depth(self) -> NDArray[np.int32]:
        """Nodes on the longest path to each value, 0 for inputs."""
        depth = [0] * (self.n_values + 1)
        lefts: list[int] = self.left.tolist()
        rights: list[int] = self.right.tolist()
        for node, (left, right) in enumerate(zip(lefts, rights, strict=True)):
            depth[self.n_in + node] = 1 + max(depth[left], depth[right])
        return np.array(depth[:-1], np.int32)

    @cached_property
    def _levels(self) -> list[NDArray[np.int64]]:
        """Nodes that can be computed together, level by level."""
        depth = self.depth[self.n_in :]
        order = np.argsort(depth, kind="stable")
        deepest = int(depth.max(initial=0))
        return np.split(order, np.searchsorted(depth[order], range(2, deepest + 1)))

    def _propagate(self, values: Integers, constants: bool) -> None:
        """Fill the rows of the nodes of ``values``, those of the inputs being given.

        A linear map of each node's operands; the constants enter if ``constants``. The
        last row of ``values`` stands for the operand that a node does not have.
        """
        for level in self._levels:
            shift = self.shift[level][:, None]
            op = self.op[level][:, None]
            right = values[self.right[level]]
            if constants:
                right = right + self.constant[level][:, None]
            left = shifted(values[self.left[level]], np.maximum(-shift, 0))
            right = shifted(right, np.maximum(shift, 0))
            left = np.where(op == RSUB, -left, left)
            right = np.where(op == SUB, -right, right)
            values[self.n_in + level] = left + right

    def bound(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound the magnitude of every value, given that of the inputs.

        The bound holds for each partial sum of the linear forms too.
        """
        bound = np.zeros(self.n_values + 1)
        bound[: self.n_in] = np.maximum(inputs, 1.0)
        constant = magnitude(self.constant)
        for level in self._levels:
            shift = self.shift[level]
            with np.errstate(over="ignore"):
                left = np.ldexp(bound[self.left[level]], np.maximum(-shift, 0))
                right = bound[self.right[level]] + constant[level]
                right = np.ldexp(right, np.maximum(shift, 0))
            bound[self.n_in + level] = (left + right) * (1 + 2.0**-50)
        return bound[:-1]

    def _fits(self, inputs: NDArray[np.float64]) -> bool:
        bound = self.bound(inputs)
        with np.errstate(over="ignore"):
            out = np.ldexp(np.append(bound, 0.0)[self.out_id], self.out_shift)
        peak = max(bound.max(initial=0), out.max(initial=0))
        return bool(peak < SAFE) and self.out_constant.dtype != object

    def evaluate(self, x: ArrayLike) -> Integers:
        """Compute the outputs of a batch ``(batch, n_in)``, exactly, in any range."""
        batch = exact(x)
        assert batch.shape[1:] == (self.n_in,)
        fits = self._fits(magnitude(batch).max(axis=0, initial=0))
        dtype = np.int64 if fits else object
        result = np.zeros((len(batch), len(self.out_id)), dtype)
        for start in range(0, len(batch), _BATCH):
            rows = batch[start : start + _BATCH]
            values = np.zeros((self.n_values + 1, len(rows)), dtype)
            values[: self.n_in] = rows.T
            self._propagate(values, constants=True)
            result[start : start + _BATCH] = self._outputs(values).T
        return result

    def _outputs(self, values: Integers, constants: bool = True) -> Integers:
        outputs = shifted(values[self.out_id], self.out_shift[:, None])
        return outputs + self.out_constant[:, None] if constants else outputs

    def offsets(self) -> Integers:
        """Return every value for an input of zeros, exactly."""
        fits = self._fits(np.zeros(self.n_in))
        values = np.zeros((self.n_values + 1, 1), np.int64 if fits else object)
        self._propagate(values, constants=True)
        return values[:-1, 0]

    def coefficients(self) -> Iterator[tuple[slice, Integers]]:
        """Yield blocks of inputs and every value's coefficients of these inputs.

        Value ``v`` is ``offsets()[v] + sum_i coefficient[v, i] * x_i``, exactly.
        """
        dtype = np.int64 if self._fits(np.ones(self.n_in)) else object
        for start in range(0, self.n_in, _BLOCK):
            block = slice(start, min(start + _BLOCK, self.n_in))
            count = block.stop - block.start
            values = np.zeros((self.n_values + 1, count), dtype)
            values[block] = np.eye(count, dtype=dtype)
            self._propagate(values, constants=False)
            yield block, values[:-1]

    def linear_outputs(self) -> tuple[Integers, Integers]:
        """Return the matrix ``(n_in, n_out)`` and bias that the graph computes."""
        blocks = [
            self._outputs(np.append(c, np.zeros_like(c[:1]), axis=0), False).T
            for _, c in self.coefficients()
        ]
        if not blocks:
            blocks = [np.zeros((0, len(self.out_id)), np.int64)]
        offsets = np.append(self.offsets(), [0])[:, None]
        return np.concatenate(blocks), self._outputs(offsets)[:, 0]

    def grid(self, low: ArrayLike, high: ArrayLike, step: ArrayLike = 1) -> Grid:
        """Return the exact range and zero low bits of every value.

        Input ``i`` takes ``low[i], low[i] + step[i], ..., high[i]``, whatever the other
        inputs are. A value is a linear form of the inputs, so that the bounds that
        follow from its coefficients are reached.
        """
        lows, highs, steps = (exact(v, self.n_in) for v in (low, high, step))
        peak = np.maximum(magnitude(lows), magnitude(highs)) + magnitude(steps)
        fits = self._fits(peak)
        dtype = np.int64 if fits else object
        offsets = self.offsets().astype(dtype)
        least, most, base = offsets, offsets.copy(), offsets.copy()
        free = np.zeros_like(offsets)
        for block, coefficients in self.coefficients():
            at_low = coefficients.astype(dtype, copy=False) * lows[block]
            at_high = coefficients.astype(dtype, copy=False) * highs[block]
            least = least + np.minimum(at_low, at_high).sum(axis=1)
            most = most + np.maximum(at_low, at_high).sum(axis=1)
            base = base + at_low.sum(axis=1)
            moving = np.where(lows[block] == highs[block], 0, steps[block])
            free |= np.bitwise_or.reduce(coefficients.astype(dtype, copy=False) * moving, axis=1)
        zeros = trailing_zeros(free | base)
        return Grid(narrowed(least), narrowed(most), zeros)

    def full_adders(self, grid: Grid) -> NDArray[np.int64]:
        """Count the full adders of each node, given the grid of every value.

        Free are: bits below the lowest one of the operand that has more low zeros
        (except below a subtrahend, whose negation ripples), bits above the range of the
        sum, the carry out of two unsigned operands, and a sum that only puts its
        operands side by side.
        """
        constant = self.right == -1
        low, high = np.minimum(self.constant, 0), np.maximum(self.constant, 0)
        left, right = self.left, self.right
        left_up, right_up = np.maximum(-self.shift, 0), np.maximum(self.shift, 0)
        width, signed = grid.width, grid.signed
        left_width = width[left] + left_up
        right_width = np.where(constant, widths(low, high), width[right]) + right_up
        left_zeros = grid.zeros[left] + left_up
        right_zeros = (
            np.where(constant, trailing_zeros(self.constant), grid.zeros[right]) + right_up
        )
        right_signed = np.where(constant, low < 0, signed[right])
        result = width[self.n_in :]
        adds = self.op == ADD
        start = np.where(
            adds,
            np.maximum(left_zeros, right_zeros),
            np.where(self.op == SUB, right_zeros, left_zeros),
        )
        unsigned = adds & ~signed[left] & ~right_signed
        lower_width = np.where(left_zeros < right_zeros, left_width, right_width)
        lower_signed = np.where(left_zeros < right_zeros, signed[left], right_signed)
        beside = adds & ~lower_signed & (lower_width <= start)
        carry = unsigned & (result > np.maximum(left_width, right_width))
        return np.where(beside, 0, np.maximum(result - start - carry, 0))

    def cost(self, grid: Grid) -> Cost:
        """Sum up what the graph takes, given the grid of every value."""
        return Cost(
            adders=self.n_nodes,
            constant_adders=int(np.count_nonzero(self.right == -1)),
            bits=int(self.full_adders(grid).sum()),
            depth=int(self.depth.max(initial=0)),
        )

    def arrivals(
        self, inputs: NDArray[np.float64], delay: DelayModel, grid: Grid
    ) -> NDArray[np.float64]:
        """Return when each value is stable, in ns, given when the inputs are."""
        times = np.append(np.zeros(self.n_values), -np.inf)
        times[: self.n_in] = inputs
        delays = delay.adder(self.full_adders(grid))
        for level in self._levels:
            operands = np.maximum(times[self.left[level]], times[self.right[level]])
            times[self.n_in + level] = operands + delays[level]
        return times[:-1]
