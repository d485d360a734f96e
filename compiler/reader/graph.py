"""Walk a model's graph in topological order and build its network, node by node."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from pathlib import PurePath

import numpy as np
import onnx
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.dialects.builtin import ModuleOp, StringAttr, TensorType, f32
from xdsl.ir import Attribute, SSAValue

from fastml.compiler.reader.input_types import GRAMMAR, annotated_type, parse_input_type
from fastml.compiler.reader.node import Node
from fastml.compiler.reader.onnx_file import Model
from fastml.compiler.reader.registry import load_operators
from fastml.compiler.reader.schema import find_schema, latest_opset
from fastml.compiler.reader.values import (
    SYMBOLIC_SAMPLES,
    Batch,
    Constant,
    Unread,
    Value,
    Varying,
)
from fastml.compiler.support.diagnostics import FastmlError, SourceNode, in_file, shorten
from fastml.dialects.elements import MAX_ELEMENTS
from fastml.dialects.fastml import NetworkOp, OutputOp
from fastml.dialects.grid import QuantisedType

_NOTHING = np.zeros(0, np.float32)  # stands in where a node will not be built anyway

InputTypes = Mapping[str, QuantisedType | str]


@dataclass
class NodeRecord:
    """What became of one node."""

    source: SourceNode
    domain: str
    error: FastmlError | None = None
    folded: bool = False
    blocked_by: str | None = None


class GraphReader:
    """Reads one graph at a batch of ``samples`` (as the model sees it) into a network.

    With ``collect`` it goes on after an error in a node, which is kept in its record.
    """

    def __init__(self, model: Model, samples: int, types: InputTypes, collect: bool = False):
        self.model = model
        self.samples = samples
        self.types = types
        self.collect = collect
        self.records: list[NodeRecord] = []
        self.values: dict[str, Value | Unread] = {}
        self.initializers = self._initializers()
        self._names: set[str] = set()
        self._network: NetworkOp | None = None

    # -- the whole -------------------------------------------------------------------------

    def read(self) -> ModuleOp:
        """Build the module; its network lacks an end if errors were collected."""
        graph = self.model.graph
        if graph.sparse_initializer:
            raise self.model.error("FML-IMP-TYPE", "sparse initializers are not implemented")
        order = self._order()
        self._names = {name for node in graph.node for name in (*node.input, *node.output)}
        inputs = {info.name: self._input_type(info) for info in self._inputs()}
        self._check_types(list(inputs))
        self._names |= set(inputs)
        network = NetworkOp(PurePath(self.model.file).stem, inputs, [])
        network.location = in_file(self.model.file)
        self._network = network
        for name, value in network.inputs.items():
            batch = None if self.samples == 1 else Batch(-len(inputs[name].get_shape()))
            self.values[name] = Varying(value, batch)
        self.records = [
            NodeRecord(self.model.source(index, node), node.domain)
            for index, node in enumerate(graph.node)
        ]
        for index in order:
            self._read_node(graph.node[index], self.records[index])
        if all(record.error is None and not record.blocked_by for record in self.records):
            self._finish(network)
        return ModuleOp([network])

    def _finish(self, network: NetworkOp) -> None:
        declared = self.model.graph.output
        names = [info.name for info in declared]
        for name in names:
            if names.count(name) > 1:
                message = f"output '{shorten(name)}' is listed twice"
                raise self.model.error("FML-IMP-GRAPH", message)
        network.output_names = ListAttr([StringAttr(name) for name in names])
        end = OutputOp([self._output(info) for info in declared])
        end.location = network.location
        network.body.block.add_op(end)

    def _output(self, info: onnx.ValueInfoProto) -> SSAValue:
        name = info.name
        value = self.values.get(name)
        if value is None and name not in self.initializers:
            raise self.model.error("FML-IMP-GRAPH", f"output '{shorten(name)}' is not defined")
        if not isinstance(value, Varying):
            message = f"output '{shorten(name)}' depends on no input"
            raise self.model.error("FML-IMP-GRAPH", message)
        if value.batch is not None and value.batch.axis != -len(value.shape):
            message = f"the batch of output '{shorten(name)}' is not its axis 0"
            if value.batch.outer > 1 or value.shape[value.batch.axis] == 1:
                hint = "export the model with batch 1"
                raise self.model.error("FML-IMP-BATCH", message, hint)
        self._check_declaration(info, value)
        return value.value

    def _check_declaration(self, info: onnx.ValueInfoProto, value: Varying) -> None:
        """Refuse an output that is not what the model says it is."""
        declared = info.type.tensor_type
        name = shorten(info.name)
        if declared.elem_type not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.FLOAT):
            message = f"output '{name}' is float32, but is declared to be something else"
            raise self.model.error("FML-IMP-TYPE", message)
        if not declared.HasField("shape"):
            return
        shape = value.full_shape(self.samples)
        sizes = [dim.dim_value for dim in declared.shape.dim]
        batch = None if value.batch is None else len(shape) + value.batch.axis
        free = batch if self.samples == SYMBOLIC_SAMPLES else None
        fits = len(sizes) == len(shape) and all(
            said in (0, size) or axis == free
            for axis, (said, size) in enumerate(zip(sizes, shape, strict=True))
        )
        if not fits:
            shown = [str(said) if said else "?" for said in sizes]
            computed = ["N" if axis == free else str(size) for axis, size in enumerate(shape)]
            message = f"output '{name}' is declared [{', '.join(shown)}], but the nodes give"
            hint = "correct the declared shape, or leave it out"
            raise self.model.error("FML-IMP-SHAPE", f"{message} [{', '.join(computed)}]", hint)

    def fresh(self, wanted: str) -> str:
        """Return an edge name that no tensor has, and keep it."""
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name

    # -- nodes -----------------------------------------------------------------------------

    def _order(self) -> Sequence[int]:
        """Return the nodes' indices, each after what it reads; keep their order if legal."""
        nodes = self.model.graph.node
        makers: dict[str, int] = {}
        known = set(self.initializers) | {info.name for info in self._inputs()}
        for index, node in enumerate(nodes):
            for name in filter(None, node.output):
                if name in makers or name in known:
                    message = f"defines tensor '{shorten(name)}', which is defined already"
                    raise self._at(index, "FML-IMP-GRAPH", message)
                makers[name] = index
        waiting = [0] * len(nodes)
        readers: dict[int, list[int]] = {}
        for index, node in enumerate(nodes):
            for name in filter(None, node.input):
                if name in makers:
                    waiting[index] += 1
                    readers.setdefault(makers[name], []).append(index)
                elif name not in known:
                    message = f"reads tensor '{shorten(name)}', which nothing defines"
                    raise self._at(index, "FML-IMP-GRAPH", message)
        ready = [index for index, count in enumerate(waiting) if not count]
        heapify(ready)
        order: list[int] = []
        while ready:
            index = heappop(ready)
            order.append(index)
            for reader in readers.get(index, []):
                waiting[reader] -= 1
                if not waiting[reader]:
                    heappush(ready, reader)
        if len(order) < len(nodes):
            stuck = next(index for index, count in enumerate(waiting) if count)
            raise self._at(stuck, "FML-IMP-GRAPH", "is part of a cycle, or reads from one")
        return order

    def _at(self, index: int, code: str, message: str) -> FastmlError:
        source = self.model.source(index, self.model.graph.node[index])
        return FastmlError(message, source, code=code)

    def _read_node(self, proto: onnx.NodeProto, record: NodeRecord) -> None:
        inputs = [self._value(name) if name else None for name in proto.input]
        blocked = next((value for value in inputs if isinstance(value, Unread)), None)
        try:
            node = self._prepare(proto, record, inputs)
            if blocked is None:
                built = node.operator.build(node)
                values = [built] if isinstance(built, Constant | Varying) else list(built)
                node.finish(len(values), self._is_read)
                for value in values:
                    if isinstance(value, Varying) and 0 in value.shape:
                        message = f"the result of shape {list(value.shape)} has no elements"
                        raise node.error("FML-IMP-SHAPE", message)
                record.folded = all(isinstance(value, Constant) for value in values)
                self.values.update(zip(proto.output, values, strict=False))
                return
            record.blocked_by = blocked.source
        except FastmlError as error:
            if not self.collect:
                raise
            record.error = error
        source = record.blocked_by or str(record.source)
        self.values.update({name: Unread(source) for name in proto.output if name})

    def _prepare(
        self, proto: onnx.NodeProto, record: NodeRecord, inputs: Sequence[Value | Unread | None]
    ) -> Node:
        """Find schema and operator, and check what can be checked before building."""
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        source = record.source

        def error(code: str, message: str, hint: str | None = None) -> FastmlError:
            return FastmlError(message, source, code=code, hint=hint)

        if not proto.output or not proto.output[0]:
            raise error("FML-IMP-GRAPH", "has no output")
        operators = load_operators()
        operator = operators.get((domain, proto.op_type))
        if domain == "" and not 1 <= source.opset <= latest_opset(domain):
            message = f"operator set {source.opset} is unknown: at most {latest_opset(domain)} is"
            raise error("FML-IMP-OPSET", message, "export the model with an older opset")
        schema = find_schema(domain, proto.op_type, source.opset)
        if operator is None or (schema is None and domain == ""):
            where = f" of domain '{shorten(domain)}'" if domain else ""
            message = f"operator '{shorten(proto.op_type)}'{where} is not implemented"
            raise error("FML-IMP-OP", message, "`fastmlc ops` lists those that are")
        if (
            schema is None
            or source.opset > latest_opset(domain)
            or (schema.since not in operator.since)
        ):
            message = f"version {schema.since if schema else source.opset} is not implemented"
            versions = ", ".join(map(str, sorted(operator.since)))
            raise error("FML-IMP-OPSET", message, f"export it in one of the versions {versions}")
        assert self._network is not None
        return Node(
            proto,
            source,
            schema,
            operator,
            [Constant(_NOTHING) if isinstance(value, Unread) else value for value in inputs],
            self._network.body.block,
            self.samples,
            self.fresh,
            self.model.tensor,
        )

    def _is_read(self, name: str) -> bool:
        outputs = {info.name for info in self.model.graph.output}
        return name in outputs or any(name in node.input for node in self.model.graph.node)

    # -- tensors ---------------------------------------------------------------------------

    def _value(self, name: str) -> Value | Unread:
        if name not in self.values:
            self.values[name] = Constant(self.model.tensor(self.initializers[name]))
        return self.values[name]

    def _initializers(self) -> dict[str, onnx.TensorProto]:
        found: dict[str, onnx.TensorProto] = {}
        for proto in self.model.graph.initializer:
            if proto.name in found:
                message = f"tensor '{shorten(proto.name)}' is defined twice"
                raise self.model.error("FML-IMP-GRAPH", message)
            found[proto.name] = proto
        return found

    def _inputs(self) -> Iterator[onnx.ValueInfoProto]:
        """Yield the graph's inputs that are not constants (as old files list those too)."""
        return (i for i in self.model.graph.input if i.name not in self.initializers)

    def _input_type(self, info: onnx.ValueInfoProto) -> TensorType[Attribute]:
        name = shorten(info.name)
        tensor = info.type.tensor_type
        if not info.type.HasField("tensor_type") or tensor.elem_type != onnx.TensorProto.FLOAT:
            message = f"input '{name}' is not a tensor of float32, the only type implemented"
            raise self.model.error("FML-IMP-TYPE", message)
        if not tensor.HasField("shape") or not tensor.shape.dim:
            message = f"input '{name}' has no shape, or no axis for the batch"
            raise self.model.error("FML-IMP-SHAPE", message)
        shape = [1]
        for axis, size in enumerate(tensor.shape.dim):
            if axis and size.dim_value < 1:
                message = f"axis {axis} of input '{name}' has no fixed size"
                raise self.model.error("FML-IMP-SHAPE", message, "export it with a fixed size")
            if axis:
                shape.append(size.dim_value)
        count = 1
        for size in shape:
            count *= size
        if count > MAX_ELEMENTS:
            message = f"input '{name}' of shape {shape} has more than {MAX_ELEMENTS} elements"
            raise self.model.error("FML-IMP-SHAPE", message)
        return TensorType(self._element(info.name) or f32, shape)

    def _element(self, name: str) -> QuantisedType | None:
        """Return the type that the user or the model's annotation gives an input."""
        try:
            annotated = annotated_type(
                entry.value
                for note in self.model.graph.quantization_annotation
                if note.tensor_name == name
                for entry in note.quant_parameter_tensor_names
                if entry.key == "finn_datatype"
            )
            wanted = self.types.get(name)
            given = parse_input_type(wanted) if isinstance(wanted, str) else wanted
        except ValueError as error:
            message = f"input '{shorten(name)}': {error}"
            raise self.model.error("FML-INPUT-TYPE", message, f"TYPE is {GRAMMAR}") from None
        if given is not None and annotated is not None and given != annotated:
            message = f"input '{shorten(name)}' is given the type {given}, but the model says"
            raise self.model.error("FML-INPUT-TYPE", f"{message} {annotated}")
        return given or annotated

    def _check_types(self, inputs: Sequence[str]) -> None:
        unknown = [name for name in self.types if name not in inputs]
        if unknown:
            message = f"'{shorten(unknown[0])}' is not an input of the network"
            known = ", ".join(shorten(name) for name in inputs)
            raise self.model.error("FML-INPUT-TYPE", message, f"its inputs are {known}")
        if len(set(inputs)) != sum(1 for _ in self._inputs()):
            raise self.model.error("FML-IMP-GRAPH", "two inputs have the same name")
        if not inputs:
            raise self.model.error("FML-IMP-GRAPH", "the network has no input")


def batch_of(model: Model) -> int:
    """Return the batch that the inputs declare, ``SYMBOLIC_SAMPLES`` if it is symbolic."""
    constants = {proto.name for proto in model.graph.initializer}
    sizes: set[int] = set()
    for info in model.graph.input:
        sizes_of = info.type.tensor_type.shape.dim
        if info.name not in constants and len(sizes_of):
            sizes.add(sizes_of[0].dim_value)  # 0 where it is symbolic
    fixed = sizes - {0}
    if min(sizes, default=1) < 0 or len(fixed) > 1:
        raise model.error("FML-IMP-BATCH", "inputs have batches of several sizes")
    return fixed.pop() if fixed else SYMBOLIC_SAMPLES
