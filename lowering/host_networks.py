"""The host's share of a network: before the first integer edge, and after the last."""

from collections.abc import Mapping, Sequence

from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute, SSAValue

from fastml.dialects import fastml
from fastml.dialects.fastml import shape_of
from fastml.dialects.grid import QuantisedType


def prologue_network(network: fastml.NetworkOp, entries: Sequence[SSAValue]) -> fastml.NetworkOp:
    """Return the network from the model's inputs to the edges where integers enter."""
    names = {value: name for name, value in network.edges.items()}
    needed = _cone(entries, stop=set())
    prologue = fastml.NetworkOp(
        "prologue",
        {name: _tensor(value.type) for name, value in network.inputs.items()},
        [names[value] for value in entries],
    )
    mapping = dict(zip(network.body.block.args, prologue.body.block.args, strict=True))
    _clone(network, prologue, mapping, needed)
    prologue.body.block.add_op(fastml.OutputOp([mapping[value] for value in entries]))
    return prologue


def view_network(
    network: fastml.NetworkOp,
    edges: Mapping[str, SSAValue],
    absorbed: Mapping[SSAValue, QuantisedType],
) -> fastml.NetworkOp:
    """Return the network from the hardware's edges to all others and to the outputs.

    ``absorbed`` gives the grids of real edges that the hardware computes as integers.
    """
    inputs = {
        name: TensorType(absorbed[value], shape_of(value))
        if value in absorbed
        else _tensor(value.type)
        for name, value in edges.items()
    }
    view = fastml.NetworkOp("view", inputs, [name.data for name in network.output_names])
    mapping = dict(zip(edges.values(), view.body.block.args, strict=True))
    reachable = set(edges.values())
    wanted = set[SSAValue]()
    for op in network.body.block.ops:
        if isinstance(op, fastml.LayerOp) and op.result not in reachable:
            varying = [x for x in op.operands if fastml.constant_of(x) is None]
            if varying and all(x in reachable for x in varying):
                reachable.add(op.result)
                wanted |= {op.result, *op.operands}
    outputs = network.outputs.values()
    _clone(network, view, mapping, wanted)
    view.body.block.add_op(fastml.OutputOp([mapping[value] for value in outputs]))
    return view


def _tensor(type_: Attribute) -> TensorType[Attribute]:
    assert isinstance(type_, TensorType)
    return type_


def _cone(values: Sequence[SSAValue], stop: set[SSAValue]) -> set[SSAValue]:
    found, pending = set[SSAValue](), list(values)
    while pending:
        value = pending.pop()
        if value in found or value in stop:
            continue
        found.add(value)
        if isinstance(value.owner, fastml.LayerOp):
            pending += value.owner.operands
    return found


def _clone(
    source: fastml.NetworkOp,
    target: fastml.NetworkOp,
    mapping: dict[SSAValue, SSAValue],
    wanted: set[SSAValue],
) -> None:
    for op in source.body.block.ops:
        if any(r in wanted for r in op.results) and not any(r in mapping for r in op.results):
            copy = op.clone(mapping)
            copy.location = op.location
            target.body.block.add_op(copy)
