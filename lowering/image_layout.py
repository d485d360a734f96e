"""Decide which axes of each edge are passed beat by beat: streams of pixels.

Convolutions and pools say which axes of what they read and make are *positions*. From there
they spread: through elementwise operators along equal axes, through index maps along the axes
that an axis follows. An edge that no position reaches is one beat.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from xdsl.ir import SSAValue

from fastml.dialects import fastml, fastml_spatial
from fastml.dialects.fastml import constant_of, shape_of
from fastml.dialects.layout import Layout

Positions = tuple[int, ...]


def layouts_of(
    ops: Sequence[fastml.LayerOp], edges: Iterable[SSAValue], pixels: int = 1
) -> dict[SSAValue, Layout]:
    """Return the layout of each of ``edges``, which ``ops``, in order, connect.

    ``pixels`` adjacent positions of the last axis share a beat, or as many of them as divide
    it.
    """
    found = _Spread(ops).run()
    layouts = dict[SSAValue, Layout]()
    for edge in edges:
        shape, positions = shape_of(edge), found.get(edge, ())
        together = gcd(pixels, shape[positions[-1]]) if positions else 1
        layouts[edge] = Layout(shape, positions, max(together, 1))
    return layouts


def has_windows(ops: Iterable[fastml.LayerOp]) -> bool:
    """Return whether an operator slides windows over positions."""
    return any(isinstance(op, fastml_spatial.WindowOp) for op in ops)


@dataclass(frozen=True)
class AxisMap:
    """Which axes of a result the coordinate along each axis of one operand follows."""

    source: tuple[int, ...]
    result: tuple[int, ...]
    follows: tuple[frozenset[int], ...]
    """For each axis of the operand, axes of the result."""

    @classmethod
    def of(cls, op: fastml.RearrangeOp, number: int) -> "AxisMap":
        """Analyse the index map of an operand of ``op``."""
        source, result = shape_of(op.inputs[number]), shape_of(op.result)
        sizes = [int(np.prod(shape_of(x), dtype=np.int64)) for x in op.inputs]
        index = op.index_map.reshape(result) - sum(sizes[:number])
        inside = (index >= 0) & (index < sizes[number])
        coordinates = np.unravel_index(np.where(inside, index, 0), source) if source else ()
        follows = list[frozenset[int]]()
        for coordinate in coordinates:
            least = np.where(inside, coordinate, sizes[number])
            most = np.where(inside, coordinate, -1)
            axes = [
                axis
                for axis in range(len(result))
                if result[axis] > 1 and np.any(least.min(axis) < most.max(axis))
            ]
            follows.append(frozenset(axes))
        return cls(source, result, tuple(follows))

    def forward(self, positions: Positions) -> Positions | None:
        """Return the positions of the result, given those of the operand; None for one beat."""
        found = set[int]()
        for axis in positions:
            follows = self.follows[axis]
            if not follows and self._alike:
                found.add(axis)
            elif len(follows) == 1:
                found |= follows
            elif self._alike and axis in follows:
                found.add(axis)
            elif follows:
                return None
        others = [a for a in range(len(self.source)) if a not in positions]
        taken = any(self.follows[a] and self.follows[a] <= found for a in others)
        if taken and not (self._alike and found == set(positions)):
            return None
        return tuple(sorted(found))

    def backward(self, positions: Positions) -> Positions | None:
        """Return the positions of the operand, given those of the result; None for one beat."""
        found = set[int]()
        for axis in positions:
            from_ = [a for a, follows in enumerate(self.follows) if axis in follows]
            if self._alike and (axis in from_ or not from_):
                found.add(axis)
            elif len(from_) == 1 and self.follows[from_[0]] <= set(positions):
                found.add(from_[0])
            elif from_:
                return None
        return tuple(sorted(found))

    @property
    def _alike(self) -> bool:
        """Whether axes can be told apart by their numbers."""
        return len(self.source) == len(self.result)


class _Spread:
    """Spreads positions until nothing is new; what was found first stays."""

    def __init__(self, ops: Sequence[fastml.LayerOp]):
        self.ops = ops
        self.found = dict[SSAValue, Positions]()
        self._maps = dict[tuple[fastml.RearrangeOp, int], AxisMap]()

    def run(self) -> dict[SSAValue, Positions]:
        """Return the positions of every edge that has some."""
        for op in self.ops:
            if isinstance(op, fastml_spatial.WindowOp):
                self._note(op.data, op.spatial_axes)
                self._note(op.result, op.spatial_axes)
        before = -1
        while before != len(self.found):
            before = len(self.found)
            for op in self.ops:
                self._forward(op)
            for op in reversed(self.ops):
                self._backward(op)
        return self.found

    def _note(self, value: SSAValue, positions: Positions | None) -> None:
        if constant_of(value) is None and positions:
            self.found.setdefault(value, positions)

    def _forward(self, op: fastml.LayerOp) -> None:
        for number, operand in enumerate(op.operands):
            positions = self.found.get(operand)
            if positions is None or op.result in self.found:
                continue
            match op:
                case fastml.RearrangeOp():
                    self._note(op.result, self._map(op, number).forward(positions))
                case fastml.MatMulOp():
                    self._note(op.result, _through_matmul(op, positions, operand))
                case fastml_spatial.WindowOp():
                    pass
                case _:
                    missing = len(shape_of(op.result)) - len(shape_of(operand))
                    self._note(op.result, tuple(axis + missing for axis in positions))

    def _backward(self, op: fastml.LayerOp) -> None:
        positions = self.found.get(op.result)
        if positions is None:
            return
        for number, operand in enumerate(op.operands):
            match op:
                case fastml.RearrangeOp():
                    if operand not in self.found:
                        self._note(operand, self._map(op, number).backward(positions))
                case fastml.MatMulOp():
                    if _through_matmul(op, positions, operand) == positions:
                        self._note(operand, positions)
                case fastml_spatial.WindowOp():
                    pass
                case _:
                    missing = len(shape_of(op.result)) - len(shape_of(operand))
                    self._note(operand, tuple(a - missing for a in positions if a >= missing))

    def _map(self, op: fastml.RearrangeOp, number: int) -> AxisMap:
        key = op, number
        if key not in self._maps:
            self._maps[key] = AxisMap.of(op, number)
        return self._maps[key]


def _through_matmul(
    op: fastml.MatMulOp, positions: Positions, operand: SSAValue
) -> Positions | None:
    """Return positions that a product of each row with one matrix keeps; None for others."""
    constant = constant_of(op.right)
    if operand is not op.left or constant is None or len(shape_of(op.right)) != 2:
        return None
    last = len(shape_of(op.left)) - 1
    return positions if last not in positions else None
