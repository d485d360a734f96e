"""Read a model file as a network, or tell node by node why it cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from xdsl.context import Context
from xdsl.dialects.builtin import FileLineColLoc, ModuleOp, NameLoc
from xdsl.ir import Operation

from fastml.compiler.reader.graph import GraphReader, InputTypes, NodeRecord, batch_of
from fastml.compiler.reader.node import OnlyBatchOfOne
from fastml.compiler.reader.onnx_file import Model, load
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.boundary import boundary_of
from fastml.dialects.fastml import ConstantOp, NetworkOp

_NOTHING: InputTypes = {}


@dataclass(frozen=True)
class NodeStatus:
    """What becomes of one node: ``how`` if it is supported, ``reason`` if it is not."""

    index: int
    name: str
    op: str
    domain: str
    supported: bool
    how: str
    reason: str


def read_onnx(path: str | PathLike[str], input_types: InputTypes = _NOTHING) -> ModuleOp:
    """Read a QONNX file as a module of one ``fastml.network``.

    ``input_types`` gives inputs their types, as text (:data:`GRAMMAR`) or as element types.
    Raises ``FastmlError`` on anything that is not implemented exactly.
    """
    module = _read(load(Path(path)), input_types, collect=False)[0]
    module.verify()
    return module


def check(path: str | PathLike[str], input_types: InputTypes = _NOTHING) -> list[NodeStatus]:
    """Account for every node of a file; errors of the file as a whole are raised."""
    from fastml.lowering.infer_grids import InferGrids

    module, records = _read(load(Path(path)), input_types, collect=True)
    found: FastmlError | None = None
    if not any(record.error or record.blocked_by for record in records):
        try:
            InferGrids().apply(Context(), module)
        except FastmlError as error:
            found = error
            index = _index(error)
            if index is None:
                raise
            records[index].error = found
    how = _descriptions(module, complete=found is None)
    return [_status(index, record, how) for index, record in enumerate(records)]


def _read(model: Model, types: InputTypes, collect: bool) -> tuple[ModuleOp, list[NodeRecord]]:
    reader = GraphReader(model, batch_of(model), types, collect)
    try:
        module = reader.read()
        errors = (record.error for record in reader.records if record.error is not None)
        of_shapes = (e for e in errors if e.code in ("FML-IMP-SHAPE", "FML-IMP-BATCH"))
        if not isinstance(next(of_shapes, None), OnlyBatchOfOne):
            return module, reader.records
    except OnlyBatchOfOne:
        pass  # then nothing about the model is defined at another batch
    reader = GraphReader(model, 1, types, collect)
    return reader.read(), reader.records


def _index(at: FastmlError | Operation) -> int | None:
    """Return the index of the node that a location points to."""
    match at.location:
        case NameLoc(location=FileLineColLoc(line=line, column=column)) if not column.data:
            return line.data
        case _:
            return None


def _descriptions(module: ModuleOp, complete: bool) -> Mapping[int, str]:
    """Return, by index of the source node, the operations that it became."""
    (network,) = module.ops
    assert isinstance(network, NetworkOp)
    sides: dict[Operation, str] = {}
    if complete and network.body.block.last_op is not None:
        boundary = boundary_of(network) if network.output_names.data else None
        if boundary is not None:
            sides = {op: "host prologue: " for op in boundary.prologue}
            sides |= {op: "host epilogue: " for op in boundary.epilogue}
    found: dict[int, list[str]] = {}
    for op in network.body.block.ops:
        index = _index(op)
        if index is not None and not isinstance(op, ConstantOp):
            found.setdefault(index, []).append(sides.get(op, "") + op.name)
    return {index: ", ".join(names) for index, names in found.items()}


def _status(index: int, record: NodeRecord, how: Mapping[int, str]) -> NodeStatus:
    reason = ""
    if record.error is not None:
        reason = f"[{record.error.code}] {record.error.reason}"
        if record.error.hint:
            reason += f"; fix: {record.error.hint}"
    elif record.blocked_by:
        reason = f"needs a node that is not supported ({record.blocked_by})"
    text = "constant, folded" if record.folded else how.get(index, "no operation")
    source = record.source
    return NodeStatus(
        index,
        source.name,
        source.operator,
        record.domain,
        not reason,
        "" if reason else text,
        reason,
    )
