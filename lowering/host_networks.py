"""The host's share of a network: before the first integer edge, and after the last."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute, Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml


def prologue_network(network: fastml.NetworkOp, entries: Sequence[SSAValue]) -> fastml.NetworkOp:
    """Return the network from the model's inputs to the edges where integers enter."""
    names = {value: name for name, value in network.edges.items()}
    prologue = fastml.NetworkOp(
        "prologue",
        {name: _tensor(value.type) for name, value in network.inputs.items()},
        [names[value] for value in entries],
    )
    mapping = dict[SSAValue, SSAValue](
        zip(network.body.block.args, prologue.body.block.args, strict=True)
    )
    _clone(network, prologue, mapping, _cone(entries))
    prologue.body.block.add_op(fastml.OutputOp([mapping[value] for value in entries]))
    return prologue


def view_network(network: fastml.NetworkOp, edges: Mapping[str, SSAValue]) -> fastml.NetworkOp:
    """Return the network from the hardware's edges to all others and to the outputs.

    Raises ``FML-UNQUANTISED`` where an output needs an edge before the first integer.
    """
    view = fastml.NetworkOp(
        "view",
        {name: _tensor(value.type) for name, value in edges.items()},
        [name.data for name in network.output_names],
    )
    mapping = dict[SSAValue, SSAValue](zip(edges.values(), view.body.block.args, strict=True))
    reachable = set(edges.values())
    wanted = set[SSAValue]()
    for op in network.body.block.ops:
        if isinstance(op, fastml.LayerOp) and op.result not in reachable:
            varying = [x for x in op.operands if fastml.constant_of(x) is None]
            if varying and all(x in reachable for x in varying):
                reachable.add(op.result)
                wanted |= {op.result, *op.operands}
    for name, value in network.outputs.items():
        if value not in reachable:
            raise FastmlError(
                f"output '{name}' needs an edge that never was an integer",
                value.owner if isinstance(value.owner, Operation) else network,
                code="FML-UNQUANTISED",
                hint="quantise it, or give the input a type with --input-type",
            )
    _clone(network, view, mapping, wanted)
    outputs = network.outputs.values()
    view.body.block.add_op(fastml.OutputOp([mapping[value] for value in outputs]))
    return view


def _tensor(type_: Attribute) -> TensorType[Attribute]:
    assert isinstance(type_, TensorType)
    return cast(TensorType[Attribute], type_)


def _cone(values: Iterable[SSAValue]) -> set[SSAValue]:
    """Return everything that ``values`` are computed from."""
    found, pending = set[SSAValue](), list(values)
    while pending:
        value = pending.pop()
        if value not in found:
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
