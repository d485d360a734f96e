"""Chains: what lies between an integer edge and the next quantiser, element by element.

Between two integer edges a network computes fp32 functions of single elements: scales, bias,
batch normalisation, activation, with reshapes and concatenations among them. Tracing a real
edge back gives :class:`Piece` records: which integer element each element comes from, and
the fp32 operations on the way, their constants lined up with the elements. Index maps are
absorbed in the tracing, so a piece is evaluated on flat arrays.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, reference
from fastml.dialects.array import Array
from fastml.dialects.fastml import element_type, shape_of
from fastml.dialects.grid import QuantisedType


@dataclass(frozen=True)
class Step:
    """One fp32 operation; its varying operand is ``None``, constants match the elements."""

    name: str
    operands: tuple[NDArray[np.float32] | None, ...]
    attributes: reference.Attributes

    def take(self, slots: NDArray[np.int64]) -> "Step":
        """Return the step for a selection of its elements."""
        moved = tuple(None if c is None else c[slots] for c in self.operands)
        return Step(self.name, moved, self.attributes)


@dataclass(frozen=True)
class Piece:
    """Elements ``positions`` of a traced edge: functions of elements of one integer edge."""

    positions: NDArray[np.int64]
    source: SSAValue
    elements: NDArray[np.int64]
    steps: tuple[Step, ...] = ()

    def real(self, raw: Array) -> NDArray[np.float32]:
        """Evaluate on raw integers of shape ``(probes, elements)``, in the model's order.

        Raises ``FloatingPointError`` where a result is not finite: up to there every step is
        monotone between its ends, beyond that nothing is.
        """
        with np.errstate(all="ignore"):
            value = self._grid.decode(raw)
        _check_finite(value, "decoding its integers")
        for step in self.steps:
            operands = [value if c is None else c for c in step.operands]
            value = reference.evaluate(step.name, operands, step.attributes)
            _check_finite(value, step.name)
        return value

    @cached_property
    def _grid(self) -> QuantisedType:
        grid = element_type(self.source)
        assert isinstance(grid, QuantisedType)
        return grid.reindex(shape_of(self.source), self.elements)

    @property
    def direction(self) -> NDArray[np.int8]:
        """+1 where the function never falls, -1 where it never rises, 0 if not known."""
        total = np.ones(len(self.positions), np.int8)
        for step in self.steps:
            own = reference.ELEMENTWISE[step.name].direction(step.operands)
            total = total * np.broadcast_to(own, total.shape)
        return total.astype(np.int8)


def _check_finite(value: NDArray[np.float32], where: str) -> None:
    if np.any(np.isnan(value)):
        raise FloatingPointError(f"'{where}', which gives NaN")
    if not np.all(np.isfinite(value)):
        raise FloatingPointError(f"'{where}', which gives an infinity in fp32")


def _remap(pieces: list[Piece], size: int, index: NDArray[np.int64]) -> list[Piece]:
    """Return the pieces of ``value[index]`` given those of ``value`` (``size`` elements)."""
    owner, slot = np.full(size, -1), np.zeros(size, np.int64)
    for number, piece in enumerate(pieces):
        owner[piece.positions] = number
        slot[piece.positions] = np.arange(len(piece.positions))
    result = list[Piece]()
    for number, piece in enumerate(pieces):
        positions = np.flatnonzero(owner[index] == number)
        slots = slot[index[positions]]
        if len(positions):
            steps = tuple(step.take(slots) for step in piece.steps)
            result.append(Piece(positions, piece.source, piece.elements[slots], steps))
    return result


def _size(value: SSAValue) -> int:
    return int(np.prod(shape_of(value), dtype=np.int64))


def trace(value: SSAValue) -> list[Piece]:
    """Trace an edge back to the integer edges that it is a function of.

    Raises :class:`FastmlError` where elements mix (softmax), where two varying edges meet
    before a quantiser, or where the chain starts at an input that nobody quantised.
    """
    if fastml.constant_of(value) is not None:
        raise FastmlError(
            "constant elements meet varying ones before a quantiser",
            value.owner if isinstance(value.owner, Operation) else _op_of(value),
            code="FML-UNQUANTISED",
            hint="quantise them before they are joined",
        )
    if isinstance(element_type(value), QuantisedType):
        everything = np.arange(_size(value))
        return [Piece(everything, value, everything)]
    op = value.owner
    if isinstance(op, fastml.RearrangeOp):
        pieces, offset = list[Piece](), 0
        for operand in op.inputs:
            own = trace(operand)
            pieces += [Piece(p.positions + offset, p.source, p.elements, p.steps) for p in own]
            offset += _size(operand)
        return _remap(pieces, offset, op.index_map)
    if isinstance(op, fastml.ElementwiseOp):
        return _trace_elementwise(op)
    if isinstance(op, fastml.LayerOp):
        raise FastmlError(
            f"edge '{op.edge_name}' mixes elements in floating point and is quantised later",
            op,
            code="FML-UNQUANTISED",
            hint="end the network before it, or quantise its input",
        )
    raise FastmlError(
        "a network input that nobody quantised reaches hardware",
        value.owner.parent_op() or _op_of(value),
        code="FML-UNQUANTISED",
        hint="give it a type with --input-type",
    )


def _op_of(value: SSAValue) -> fastml.NetworkOp:
    for use in value.uses:
        parent = use.operation.parent_op()
        if isinstance(parent, fastml.NetworkOp):
            return parent
    raise AssertionError("an edge outside any network")


def _trace_elementwise(op: fastml.ElementwiseOp) -> list[Piece]:
    shape = shape_of(op.result)
    constants = [fastml.constant_of(operand) for operand in op.inputs]
    varying = [x for x, c in zip(op.inputs, constants, strict=True) if c is None]
    if len(varying) != 1:
        raise FastmlError(
            f"edge '{op.edge_name}' joins {len(varying)} varying edges in floating point",
            op,
            code="FML-UNQUANTISED",
            hint="quantise its operands, so that they can be joined exactly",
        )
    (operand,) = varying
    places = np.arange(_size(operand)).reshape(shape_of(operand))
    index = np.broadcast_to(places, shape).ravel()
    spread = [None if c is None else np.broadcast_to(c.real, shape).ravel() for c in constants]
    result = list[Piece]()
    for piece in _remap(trace(operand), _size(operand), index):
        own = tuple(None if c is None else c[piece.positions] for c in spread)
        step = Step(op.name, own, op.reference_attributes)
        result.append(Piece(piece.positions, piece.source, piece.elements, (*piece.steps, step)))
    return result


def broadcast(pieces: list[Piece], source: tuple[int, ...], target: tuple[int, ...]) -> list[Piece]:
    """Return the pieces of an edge of shape ``source`` broadcast to shape ``target``."""
    size = int(np.prod(source, dtype=np.int64))
    index = np.broadcast_to(np.arange(size).reshape(source), target).ravel()
    return _remap(pieces, size, index)
