"""Find the II and latency of a network of processes, and the depths of its FIFOs."""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import IntAttr, ModuleOp, UnitAttr
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.qflow import channel_of
from fastml.dialects.qflow_network import network_of
from fastml.dialects.token_flow import DeadlockError
from fastml.lowering.fifo_sizing import Sizer


@dataclass(frozen=True)
class QflowSizeFifos(ModulePass):
    """Give every FIFO the least depth that costs neither throughput nor latency.

    One slot less anywhere would, unless a frame has so many beats that the search is cut short:
    then the graph is marked; depths are enough, but some may have slots to spare. Sets the
    depths, and the graph's II and latency: those of FIFOs without bounds, unless given depths
    are allowed to be slower.
    """

    name = "qflow-size-fifos"

    depths: tuple[str, ...] = ()
    """Depths of single FIFOs: ``"name=4"``."""

    allow_slower: bool = False
    """Whether given depths may cost throughput or latency; they may never stop the design."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Visit every graph that has streams."""
        graphs = [graph for graph in op.walk() if isinstance(graph, qflow.GraphOp)]
        streaming = [graph for graph in graphs if graph.is_streaming]
        if self.depths and not streaming:
            raise FastmlError("no graph has FIFOs to give depths to", op, code="FML-USAGE")
        for graph in streaming:
            self._size(graph)

    def _size(self, graph: qflow.GraphOp) -> None:
        fifos = {fifo.edge.data: fifo for fifo in graph.fifos}
        given = self._given(graph, list(fifos))
        sizer = Sizer(network_of(graph), given)
        try:
            slower = sizer.slower()
        except DeadlockError as error:
            short = fifos[error.shortages[0].fifo]
            raise DeadlockError(error.cycle, error.shortages, short) from None
        if slower is not None and not self.allow_slower:
            raise FastmlError(
                f"FIFO '{slower.fifo}' costs time: II {slower.ii} instead of {sizer.ii}, latency "
                f"{slower.latency} instead of {sizer.latency}: needs depth {slower.needs}, has "
                f"{slower.has}",
                fifos[slower.fifo],
                code="FML-TARGET",
            )
        if slower is not None:
            sizer.accept_given()
        # a slot of a wide FIFO costs most, so that those get their say first
        widest = sorted(
            fifos, key=lambda name: -sum(channel_of(fifos[name].result).elements.widths)
        )
        found = sizer.run(widest)
        for name, depth in found.depths.items():
            fifos[name].depth = IntAttr(depth)
        graph.ii, graph.latency = IntAttr(found.ii), IntAttr(found.latency)
        graph.spare_slots = None if found.minimal else UnitAttr()

    def _given(self, graph: qflow.GraphOp, names: list[str]) -> dict[str, int]:
        given = dict[str, int]()
        for text in self.depths:
            name, _, depth = text.rpartition("=")
            if name not in names:
                raise FastmlError(
                    f"no FIFO '{name}' in the graph",
                    graph,
                    code="FML-USAGE",
                    hint=f"one of {', '.join(names)}",
                )
            if not depth.isdecimal() or int(depth) < 1:
                message = f"the depth of FIFO '{name}' must be a number >= 1, got '{depth}'"
                raise FastmlError(message, graph, code="FML-USAGE")
            given[name] = int(depth)
        return given
