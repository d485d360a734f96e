"""Lower scheduled qflow graphs to affine functions over memrefs: one function a stage.

A channel becomes a memref, a beat its elements; a parallel stage becomes straight-line
arithmetic whose operations carry the cycles that the schedule gave them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects import func, memref
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.dialects.builtin import (
    DictionaryAttr,
    IntegerAttr,
    ModuleOp,
    StringAttr,
    UnitAttr,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from fastml.compiler.support.names import Namer
from fastml.dialects import qflow
from fastml.dialects.directives import START
from fastml.dialects.qflow import FoldedAttr, channel_of
from fastml.dialects.qflow_cycles import check_cycles, start_of
from fastml.lowering.dataflow_to_affine import DataflowLowering
from fastml.lowering.dense_loops import build_dense_loop
from fastml.lowering.folding import Layer
from fastml.lowering.stage_functions import StageFunction, memref_of


@dataclass(frozen=True)
class QflowToAffine(ModulePass):
    """Lower every graph to functions; parallel stages straight-line, folded ones loops."""

    name = "qflow-to-affine"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Replace each graph by its functions."""
        for graph in [g for g in op.ops if isinstance(g, qflow.GraphOp)]:
            lowering = GraphLowering(graph)
            streams = DataflowLowering(graph, lowering) if graph.is_streaming else None
            functions = (streams or lowering).build()
            for function in functions:
                op.body.block.insert_op_before(function, graph)
            graph.detach()
            graph.erase()


@dataclass
class GraphLowering:
    """The lowering of one graph: its channels as memrefs of the top function."""

    graph: qflow.GraphOp
    namer: Namer = field(default_factory=lambda: Namer(("clk", "rst")))
    memories: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    ports: dict[SSAValue, str] = field(default_factory=dict[SSAValue, str])
    held: set[SSAValue] = field(default_factory=set[SSAValue])
    """Channels some of whose elements a folded stage holds until its next frame."""
    functions: list[Operation] = field(default_factory=list[Operation])

    def build(self) -> list[Operation]:
        """Return the top function and those of the stages."""
        top_name = self.namer.unique(self.graph.sym_name.data)
        self._name_channels()
        check_cycles(self.graph)
        inputs, outputs = self.graph.inputs, self.graph.outputs
        arguments = [(v, n, "in") for n, v in inputs.items()]
        arguments += [(v, n, "out") for n, v in outputs.items()]
        types = [memref_of(channel_of(v).elements) for v, _, _ in arguments]
        block = Block(arg_types=types)
        top = func.FuncOp(top_name, (types, []), Region(block))
        top.location = self.graph.location
        top.arg_attrs = ListAttr(
            [
                DictionaryAttr(
                    self._describe(v, name, port) | {"fastml.direction": StringAttr(way)}
                )
                for (v, name, way), port in zip(arguments, self._top_ports(arguments), strict=True)
            ]
        )
        top.attributes["fastml.top"] = UnitAttr()
        for (value, _, _), argument in zip(arguments, block.args, strict=True):
            if value not in self.memories:
                self.memories[value] = argument
        for stage in self.graph.stages:
            self.call(stage, block)
        self._copy_shared_outputs(block, arguments)
        done = func.ReturnOp()
        done.location = self.graph.location
        block.add_op(done)
        self._annotate(top)
        return [top, *self.functions]

    def _name_channels(self) -> None:
        for name, value in self.graph.inputs.items():
            self.ports[value] = self._port(name)
        for stage in self.graph.stages:
            self.ports[stage.result] = self._port(stage.edge.data)

    def _port(self, name: str) -> str:
        """Return a name for a port, whose valid bit can be called after it."""
        port = self.namer.unique(name)
        while not self.namer.take(f"{port}_valid"):
            port = self.namer.unique(name)
        return port

    def _top_ports(self, arguments: Sequence[tuple[SSAValue, str, str]]) -> list[str]:
        """Return a name for each port: a channel that is several of them gets more than one."""
        ports = list[str]()
        for value, name, _ in arguments:
            own = self.ports[value]
            ports.append(self._port(name) if own in ports else own)
        return ports

    def _annotate(self, top: func.FuncOp) -> None:
        for name, value in (("fastml.ii", self.graph.ii), ("fastml.latency", self.graph.latency)):
            if value is not None:
                top.attributes[name] = IntegerAttr(value.data, i64)

    def _describe(self, value: SSAValue, edge: str, port: str) -> dict[str, Attribute]:
        return {
            "fastml.name": StringAttr(edge),
            "fastml.port": StringAttr(port),
            "fastml.elements": StringAttr(str(channel_of(value).elements)),
        }

    def _copy_shared_outputs(
        self, block: Block, arguments: Sequence[tuple[SSAValue, str, str]]
    ) -> None:
        """Copy where one channel is several outputs, or an input is an output."""
        for (value, _, way), argument in zip(arguments, block.args, strict=True):
            source = self.memories[value]
            if way == "in" or source is argument:
                continue
            function = StageFunction.of([value], value, self.graph.location)
            function.copy()
            name = self.namer.unique(f"copy_{self.ports[value]}")
            self._emit(name, function, [source], argument, block)

    def call(self, stage: qflow.StageOp, block: Block) -> None:
        """Make the function of one stage, and call it."""
        if stage.result not in self.memories:
            buffer = memref.AllocOp.get(
                memref_of(stage.channel.elements).element_type, None, [len(stage.channel)]
            )
            buffer.location = stage.location
            buffer.attributes |= self._describe(
                stage.result, stage.edge.data, self.ports[stage.result]
            )
            block.add_op(buffer)
            self.memories[stage.result] = buffer.memref
        name = self.namer.unique(f"{stage.name.partition('.')[2]}_{self.ports[stage.result]}")
        sources = [self.memories[source] for source in stage.sources]
        if isinstance(stage.architecture, FoldedAttr):
            assert isinstance(stage, qflow.DenseOp)
            self._loop(name, stage, sources, block)
            self.held.add(stage.result)
            return
        held = any(source in self.held for source in stage.sources)
        if held:
            self.held.add(stage.result)
        function = StageFunction.of(stage.sources, stage.result, stage.location)
        kernel = None
        if isinstance(stage, qflow.DenseOp) and stage.positions > 1 and not held:
            kernel = self.namer.unique(f"{name}_kernel")
        function.lower(stage, kernel)
        self.functions += function.kernels
        self._emit(name, function, sources, self.memories[stage.result], block)

    def _emit(
        self,
        name: str,
        function: StageFunction,
        sources: list[SSAValue],
        target: SSAValue,
        block: Block,
    ) -> None:
        self.functions.append(function.finish(name))
        call = func.CallOp(name, [*sources, target], [])
        call.location = function.location
        block.add_op(call)

    def _loop(self, name: str, stage: qflow.DenseOp, sources: list[SSAValue], block: Block) -> None:
        architecture = stage.architecture
        assert isinstance(architecture, FoldedAttr)
        load = None
        if stage.loadable is not None:
            load = stage.edge.data, self._port(f"{self.ports[stage.result]}_weights")
        self.functions += build_dense_loop(
            Layer.of(stage),
            architecture,
            channel_of(stage.input).elements,
            stage.channel.elements,
            name,
            stage.location,
            load,
        )
        call = func.CallOp(name, [*sources, self.memories[stage.result]], [])
        call.attributes[START] = IntegerAttr(start_of(stage), i64)
        call.location = stage.location
        block.add_op(call)
