"""Make a static design a network of processes: choose what fires together, insert FIFOs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import BlockArgument, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.qflow import FoldedAttr, ParallelAttr, Protocol, channel_of
from fastml.dialects.qflow_processes import ProcessOp, sources_of
from fastml.dialects.qflow_streams import lane_ranges, lanes_of
from fastml.lowering.stage_builder import StageBuilder

_Op = TypeVar("_Op", bound=Operation)

CLUSTERS = ("connected", "stage")
PROVISIONAL_DEPTH = 2
"""Depth of a FIFO until ``qflow-size-fifos`` computes it."""


@dataclass(frozen=True)
class QflowStream(ModulePass):
    """Put FIFOs at every port and between processes; each depth is provisional.

    A folded stage is a process, with the elementwise stages that follow it alone; parallel
    stages that are neighbours are one; what changes beats or their order is one by itself. A
    channel gets one FIFO for each process that reads it.
    """

    name = "qflow-stream"

    input_beats: int = 1
    """Beats that a frame of each input is received in, where it is not a stream of pixels."""

    output_beats: int = 1
    """Beats that a frame of each output is sent in, where it is not a stream of pixels."""

    cluster: str = "connected"
    """``connected``: neighbours fire together where they can; ``stage``: each by itself."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Visit every graph."""
        if self.cluster not in CLUSTERS:
            message = f"unknown cluster '{self.cluster}'"
            hint = f"one of {', '.join(CLUSTERS)}"
            raise FastmlError(message, op, code="FML-USAGE", hint=hint)
        for graph in op.walk():
            if isinstance(graph, qflow.GraphOp):
                if graph.is_streaming:
                    raise FastmlError("the graph has streams already", graph, code="FML-USAGE")
                _check_beats(graph, graph.inputs, self.input_beats)
                _check_beats(graph, graph.outputs, self.output_beats)
                clusters = Clusters(graph)
                if self.cluster == "connected":
                    clusters.join_neighbours()
                _Streamer(graph, clusters, self.output_beats).run(self.input_beats)


def _check_beats(graph: qflow.GraphOp, ports: Mapping[str, SSAValue], beats: int) -> None:
    for name, value in ports.items():
        own, elements = channel_of(value).beats.data, len(channel_of(value))
        if beats > 1 and own > 1:
            message = f"'{name}' has {own} beats a frame already, and cannot be sent in {beats}"
            hint = "beats are chosen for ports whose frames are one"
            raise FastmlError(message, graph, code="FML-USAGE", hint=hint)
        if beats < 1 or (beats > 1 and beats > elements):
            message = f"'{name}' has {elements} elements, which cannot make {beats} beats"
            raise FastmlError(message, graph, code="FML-USAGE")


class Clusters:
    """Sets of stages that fire together; none may wait for itself through another.

    What changes beats is alone in its set.
    """

    def __init__(self, graph: qflow.GraphOp):
        kinds = (qflow.StageOp, qflow.BeatsOp)
        self.ops: list[ProcessOp] = [op for op in graph.body.block.ops if isinstance(op, kinds)]
        self.of = {op: number for number, op in enumerate(self.ops)}
        self.alone = {self.of[op] for op in self.ops if isinstance(op, qflow.BeatsOp)}
        self.folded = {self.of[s] for s in graph.stages if isinstance(s.architecture, FoldedAttr)}
        self.feeds = {self.of[op]: self._feeds(op) for op in self.ops}

    def _feeds(self, op: ProcessOp) -> set[int]:
        owners = (source.owner for source in sources_of(op))
        kinds = (qflow.StageOp, qflow.BeatsOp)
        return {self.of[owner] for owner in owners if isinstance(owner, kinds)}

    def join_neighbours(self) -> None:
        """Join stages as far as that makes no circle, in the order of the graph."""
        for stage in self.ops:
            if isinstance(stage, qflow.BeatsOp) or isinstance(stage.architecture, FoldedAttr):
                continue
            every = self.feeds[self.of[stage]]
            feeds = sorted(every - self.alone)
            from_outside = any(isinstance(s, BlockArgument) for s in stage.sources)
            from_outside |= not every.isdisjoint(self.alone)
            if self.folded.isdisjoint(feeds):
                for feed in feeds:
                    self._join(self.of[stage], feed)
            elif len(feeds) == 1 and not from_outside:
                if not isinstance(stage, qflow.DenseOp):
                    self._join(self.of[stage], feeds[0])
            else:
                for feed in set(feeds) - self.folded:
                    self._join(self.of[stage], feed)

    def _join(self, later: int, earlier: int) -> None:
        """Join two clusters unless another lies between them."""
        if later == earlier or self._between(earlier, later) or self._between(later, earlier):
            return
        for stage, number in self.of.items():
            if number == later:
                self.of[stage] = earlier
        self.feeds[earlier] = (self.feeds[earlier] | self.feeds.pop(later)) - {earlier, later}
        for feeds in self.feeds.values():
            if later in feeds:
                feeds.remove(later)
                feeds.add(earlier)

    def _between(self, first: int, last: int) -> bool:
        """Return whether a path leads from one cluster to the other through a third."""
        seen, todo = set[int](), list(self.feeds[last] - {first})
        while todo:
            at = todo.pop()
            if at == first:
                return True
            if at not in seen:
                seen.add(at)
                todo += self.feeds[at]
        return False


@dataclass
class _Reader:
    """Who takes a channel out of a FIFO: the stages of one cluster, or an output."""

    name: str
    uses: list[tuple[Operation, int]] = field(default_factory=list[tuple[Operation, int]])


class _Streamer:
    """Inserts the FIFOs of one graph."""

    def __init__(self, graph: qflow.GraphOp, clusters: Clusters, output_beats: int):
        self.graph = graph
        self.clusters = clusters
        self.output_beats = output_beats
        taken = [name.data for name in (*graph.input_names, *graph.output_names)]
        self.builder = StageBuilder(graph, [*taken, *(op.edge.data for op in clusters.ops)])
        self.names = dict[int, str]()
        """Of each cluster, by its last operation."""
        for op in clusters.ops:
            self.names[clusters.of[op]] = op.edge.data

    def run(self, input_beats: int) -> None:
        """Visit every channel: inputs, then the results of stages and processes."""
        for name, value in self.graph.inputs.items():
            self._input(name, value, input_beats)
        for op in self.clusters.ops:
            point = InsertPoint.after(op)
            self._fifos(op.edge.data, op.result, self._readers(op.result), point)

    def _readers(self, value: SSAValue) -> list[_Reader]:
        """Return who reads a channel, but for the process that it is made in."""
        owner = value.owner
        kinds = (qflow.StageOp, qflow.BeatsOp)
        own = self.clusters.of.get(owner) if isinstance(owner, kinds) else None
        readers = dict[object, _Reader]()
        for op in self.graph.body.block.ops:
            for number, operand in enumerate(op.operands):
                if operand is not value:
                    continue
                if isinstance(op, kinds):
                    key = self.clusters.of[op]
                    name = self.names[key]
                else:
                    key, name = ("output", number), self.graph.output_names.data[number].data
                if key != own:
                    readers.setdefault(key, _Reader(name)).uses.append((op, number))
        return list(readers.values())

    def _input(self, name: str, value: SSAValue, beats: int) -> None:
        readers = self._readers(value)
        whole = channel_of(value)
        port = whole.with_protocol(Protocol.RV)
        if beats > 1:
            lanes = (lanes_of(len(whole), beats),)
            ranges = lane_ranges(whole, beats)
            port = qflow.ChannelType.of(lanes, *ranges, beats=beats, protocol=Protocol.RV)
        value = Rewriter.replace_value_with_new_type(value, port)
        if not readers:
            return
        point = InsertPoint.at_start(self.graph.body.block)
        if beats > 1:
            fifo = self._insert(self._fifo(f"{name}.fifo", value), point)
            edge = self.builder.fresh(f"{name}:frame")
            gather = qflow.DeserialiseOp(
                edge, fifo.result, whole.dimensions, whole.lows, whole.highs
            )
            made = self._insert(gather, InsertPoint.after(fifo))
            self._fifos(edge, made.result, readers, InsertPoint.after(made))
        elif len(readers) > 1 or self._is_output(readers[0], value):
            fifo = self._insert(self._fifo(f"{name}.fifo", value), point)
            edge = self.builder.fresh(f"{name}:copy")
            every = np.arange(len(whole))
            copy = qflow.RearrangeOp(edge, [fifo.result], every, whole.dimensions)
            copy.architecture = ParallelAttr()
            made = self._insert(copy, InsertPoint.after(fifo))
            self._fifos(name, made.result, readers, InsertPoint.after(made))
        else:
            self._fifos(name, value, readers, point)

    def _is_output(self, reader: _Reader, value: SSAValue) -> bool:
        """Return whether a port would lead to a port, with no process to write its array."""
        sent = channel_of(value).beats.data == 1 < self.output_beats
        return not sent and any(isinstance(op, qflow.YieldOp) for op, _ in reader.uses)

    def _fifos(
        self, edge: str, value: SSAValue, readers: Sequence[_Reader], point: InsertPoint
    ) -> None:
        """Insert one FIFO for each reader of a channel."""
        for reader, wanted in zip(readers, _fifo_names(edge, readers), strict=True):
            fifo = self._insert(self._fifo(wanted, value), point)
            point = InsertPoint.after(fifo)
            result = fifo.result
            several = channel_of(value).beats.data == 1 < self.output_beats
            for op, number in reader.uses:
                if isinstance(op, qflow.YieldOp) and several:
                    result, point = self._send(reader.name, result, point)
                op.operands[number] = result

    def _send(
        self, output: str, value: SSAValue, point: InsertPoint
    ) -> tuple[SSAValue, InsertPoint]:
        """Send an output in several beats, through a FIFO of its own."""
        edge = self.builder.fresh(f"{output}:beats")
        send = self._insert(qflow.SerialiseOp(edge, value, self.output_beats), point)
        fifo = self._fifo(f"{edge}.fifo", send.result)
        self._insert(fifo, InsertPoint.after(send))
        return fifo.result, InsertPoint.after(fifo)

    def _fifo(self, wanted: str, value: SSAValue) -> qflow.FifoOp:
        return qflow.FifoOp(self.builder.fresh(wanted), value, PROVISIONAL_DEPTH)

    def _insert(self, op: _Op, point: InsertPoint) -> _Op:
        op.location = self.graph.location
        Rewriter.insert_op(op, point)
        return op


def _fifo_names(edge: str, readers: Sequence[_Reader]) -> list[str]:
    """Name a channel's FIFOs after it, and after their readers where it has several."""
    if len(readers) == 1:
        return [f"{edge}.fifo"]
    return [f"{edge}.fifo.{reader.name}" for reader in readers]
