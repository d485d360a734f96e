"""A streaming ``qflow`` graph as a network of processes: what decides when it moves."""

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.dialects.channel import channel_of
from fastml.dialects.qflow import GraphOp, StageOp
from fastml.dialects.qflow_cycles import cycles_of
from fastml.dialects.qflow_processes import QflowProcess, processes_of
from fastml.dialects.qflow_streams import DeserialiseOp, FifoOp, SerialiseOp
from fastml.dialects.qflow_windows import AccessOp, ReduceOp, steps_of
from fastml.dialects.token_flow import Fifo, Network, Process, Read, Sink, Source, Write

ACCESS_LATENCY = 1
"""Cycles in which a process reads the memory of the FIFO in front of it."""


def network_of(graph: GraphOp) -> Network:
    """Return the network of a streaming graph, at the depths and cycles in the IR.

    FIFOs are called by their edges, processes by the edge of their last operation, sources
    and sinks by the graph's inputs and outputs. Raises ``FML-NO-SCHEDULE`` where a stage has
    no cycles.
    """
    sources = [
        Source(name, tuple(_fifos_behind(value)), channel_of(value).beats.data)
        for name, value in graph.inputs.items()
    ]
    sinks = list[Sink]()
    for name, value in graph.outputs.items():
        assert isinstance(value.owner, FifoOp)
        sinks.append(Sink(name, value.owner.edge.data))
    return Network(
        tuple(Fifo(fifo.edge.data, fifo.depth.data) for fifo in graph.fifos),
        tuple(token_process(process) for process in processes_of(graph.body.block).processes),
        tuple(sources),
        tuple(sinks),
    )


def _fifos_behind(value: SSAValue) -> list[str]:
    users = [use.operation for use in value.uses]
    return [op.edge.data for op in users if isinstance(op, FifoOp)]


def latency_of(value: SSAValue) -> int:
    """Return the cycles from the firing of a process until a channel of it is pushed."""
    match value.owner:
        case StageOp():
            return int(cycles_of(value).max(initial=0))
        case AccessOp():
            return ACCESS_LATENCY
        case _:
            return 0


def giving_phases(process: QflowProcess) -> NDArray[np.bool_]:
    """Return the phases in which a process makes a beat of its result."""
    match process.changes_beats:
        case DeserialiseOp() | ReduceOp():
            return np.arange(process.phases) == process.phases - 1
        case AccessOp() as op:
            return steps_of(op).produces
        case _:
            return np.ones(process.phases, np.bool_)


def token_process(process: QflowProcess) -> Process:
    """Return what a process consumes and produces when."""
    reads = [fifo.edge.data for fifo in process.reads]
    writes = [fifo.edge.data for fifo in process.writes]
    match process.changes_beats:
        case SerialiseOp():
            return Process.serialise(process.name, reads[0], writes, process.phases)
        case DeserialiseOp() | ReduceOp():
            return Process.deserialise(process.name, reads[0], writes, process.phases)
        case AccessOp() as op:
            steps = steps_of(op)
            read = Read(reads[0], steps.needs, steps.consumes)
            gives = (Write(fifo, steps.produces, ACCESS_LATENCY) for fifo in writes)
            return Process(process.name, 1, (read,), tuple(gives), len(steps))
        case op:
            assert op is None
            latencies = {fifo.edge.data: latency_of(fifo.input) for fifo in process.writes}
            return Process.cluster(process.name, process.interval, reads, latencies)
