"""Where a network's hardware begins and ends: what a host computes in fp32 around it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xdsl.dialects.builtin import Float32Type
from xdsl.ir import Operation, SSAValue

from fastml.dialects.fastml import (
    ConstantOp,
    ExactCastOp,
    NetworkOp,
    OutputOp,
    QuantiseOp,
    element_type,
)


@dataclass(frozen=True)
class Boundary:
    """Edges through which integers enter and leave, and the host's operations around them.

    ``inputs`` are those on which an output depends among the quantised inputs of the network
    and the results of the quantisers that end the ``prologue``; ``outputs`` are the last
    quantised edges before the ``epilogue``.
    An operation may be in the epilogue and yet be part of the hardware, too, if its result
    both leaves the network and goes on to a quantiser.
    """

    inputs: tuple[SSAValue, ...]
    outputs: tuple[SSAValue, ...]
    prologue: tuple[Operation, ...]
    epilogue: tuple[Operation, ...]


def _is_real(value: SSAValue) -> bool:
    return isinstance(element_type(value), Float32Type)


def _varying(op: Operation) -> Iterator[SSAValue]:
    return (value for value in op.operands if not isinstance(value.owner, ConstantOp))


def _cone(values: Iterable[SSAValue], stop: frozenset[SSAValue]) -> set[SSAValue]:
    """Return what ``values`` are computed from, as far back as ``stop``."""
    cone = set[SSAValue]()
    pending = list(values)
    while pending:
        value = pending.pop()
        if value not in cone:
            cone.add(value)
            if value not in stop and isinstance(value.owner, Operation):
                pending += value.owner.operands
    return cone


def boundary_of(network: NetworkOp) -> Boundary:
    """Find the boundary; exact operators must have types (pass ``infer-grids``)."""
    on_host: set[SSAValue] = {value for value in network.body.block.args if _is_real(value)}
    inputs: list[SSAValue] = [value for value in network.body.block.args if not _is_real(value)]
    prologue: list[Operation] = []
    for op in network.body.block.ops:
        if isinstance(op, ConstantOp | OutputOp) or not all(v in on_host for v in _varying(op)):
            continue
        prologue.append(op)
        (result,) = op.results
        if isinstance(op, QuantiseOp | ExactCastOp):
            inputs.append(result)
        else:
            on_host.add(result)
    needed: set[Operation] = set()
    outputs: dict[SSAValue, None] = {}
    pending = list(reversed(network.outputs.values()))
    while pending:
        value = pending.pop()
        if not _is_real(value):
            outputs[value] = None
        elif value not in on_host and isinstance(value.owner, Operation):
            if value.owner not in needed:
                needed.add(value.owner)
                pending += reversed(list(_varying(value.owner)))
    live = _cone(outputs, frozenset(inputs))
    inputs = [value for value in inputs if value in live]
    epilogue = tuple(op for op in network.body.block.ops if op in needed)
    return Boundary(tuple(inputs), tuple(outputs), tuple(prologue), epilogue)
