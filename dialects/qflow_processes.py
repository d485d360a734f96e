"""The processes of a ``qflow`` graph: what runs by one static schedule, and its FIFOs.

Stages are in one process if a ``pulse`` channel joins them, or if they read the same FIFO.
Each process takes one beat out of every FIFO that it reads and gives one to every FIFO that
it writes, but for those that change the number of beats.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias, cast

from xdsl.ir import Block, BlockArgument, Operation, SSAValue
from xdsl.utils.disjoint_set import DisjointSet

from fastml.dialects.channel import channel_of
from fastml.dialects.qflow_stage import FoldedAttr, StageOp, require
from fastml.dialects.qflow_streams import BeatsOp, FifoOp, RegroupOp
from fastml.dialects.qflow_windows import AccessOp, ReduceOp, steps_of

ProcessOp: TypeAlias = StageOp | BeatsOp


@dataclass(frozen=True)
class QflowProcess:
    """Operations that fire together."""

    ops: tuple[ProcessOp, ...]
    """In the order of the graph."""
    reads: tuple[FifoOp, ...]
    """FIFOs that it takes beats from, in the order of their first use."""
    writes: tuple[FifoOp, ...]
    """FIFOs that it gives beats to, in the order of the graph."""

    @property
    def name(self) -> str:
        """The edge of its last operation."""
        return self.ops[-1].edge.data

    @property
    def stages(self) -> list[StageOp]:
        """Its stages; none where it changes the number of beats."""
        return [op for op in self.ops if isinstance(op, StageOp)]

    @property
    def changes_beats(self) -> BeatsOp | None:
        """The operation that changes beats or their order, if it is no cluster of stages."""
        (op, *_) = self.ops
        return op if isinstance(op, BeatsOp) else None

    @property
    def phases(self) -> int:
        """Firings until it begins again: 1 for stages, a whole frame for a window."""
        match self.changes_beats:
            case RegroupOp(count=count):
                return count
            case ReduceOp(count=count):
                return count.data
            case AccessOp() as op:
                return len(steps_of(op))
            case _:
                return 1

    @property
    def beats(self) -> int:
        """Firings a frame."""
        match self.changes_beats:
            case RegroupOp(parts=parts):
                return channel_of(parts).beats.data
            case ReduceOp(input=source):
                return channel_of(source).beats.data
            case AccessOp() as op:
                return len(steps_of(op))
            case _:
                return channel_of(self.ops[0].result).beats.data

    @property
    def interval(self) -> int:
        """Least distance of two firings: the largest reuse factor of its folded stages."""
        kinds = [stage.architecture for stage in self.stages]
        return max([1, *(kind.reuse.data for kind in kinds if isinstance(kind, FoldedAttr))])


@dataclass(frozen=True)
class ProcessGraph:
    """The processes of a graph, each after those that feed it."""

    processes: tuple[QflowProcess, ...]
    fifos: tuple[FifoOp, ...]
    """In the order of the graph."""

    @cached_property
    def of(self) -> dict[Operation, QflowProcess]:
        """The process of each operation that is in one."""
        return {op: process for process in self.processes for op in process.ops}

    def writer(self, fifo: FifoOp) -> QflowProcess | None:
        """Return who writes a FIFO; ``None`` for an input of the graph."""
        owner = fifo.input.owner
        return self.of[owner] if isinstance(owner, Operation) else None

    def reader(self, fifo: FifoOp) -> QflowProcess | None:
        """Return who reads a FIFO; ``None`` for an output of the graph."""
        for use in fifo.result.uses:
            if use.operation in self.of:
                return self.of[use.operation]
        return None


def sources_of(op: ProcessOp) -> Sequence[SSAValue]:
    """Return the channels that an operation of a process takes beats from."""
    return op.sources if isinstance(op, StageOp) else [op.input]


def is_streaming(block: Block) -> bool:
    """Return whether a graph has FIFOs: a network of processes, not one static design.

    One that changes beats needs them to be executed: ``qflow-stream`` adds them.
    """
    inputs = any(channel_of(argument).is_stream for argument in block.args)
    return inputs or any(isinstance(op, FifoOp) for op in block.ops)


def processes_of(block: Block) -> ProcessGraph:
    """Return the processes of a streaming graph; raise ``VerifyException`` on a cycle."""
    ops: list[ProcessOp] = [op for op in block.ops if isinstance(op, StageOp | BeatsOp)]
    order = {op: number for number, op in enumerate(ops)}
    sets = DisjointSet(ops)
    readers = dict[SSAValue, StageOp]()
    for op in ops:
        if not isinstance(op, StageOp):
            continue
        for source in op.sources:
            owner = source.owner
            sets.union(op, owner if isinstance(owner, StageOp) else readers.setdefault(source, op))
    members = dict[ProcessOp, list[ProcessOp]]()
    for op in ops:
        members.setdefault(sets.find(op), []).append(op)
    fifos = tuple(op for op in block.ops if isinstance(op, FifoOp))
    groups = [_process(group, fifos) for group in members.values()]
    return ProcessGraph(tuple(_in_order(groups, order)), fifos)


def _process(ops: list[ProcessOp], fifos: tuple[FifoOp, ...]) -> QflowProcess:
    sources = dict.fromkeys(source for op in ops for source in sources_of(op))
    reads = [source.owner for source in sources]
    mine = set[Operation](ops)
    return QflowProcess(
        tuple(ops),
        tuple(owner for owner in reads if isinstance(owner, FifoOp)),
        tuple(fifo for fifo in fifos if fifo.input.owner in mine),
    )


def _in_order(groups: list[QflowProcess], order: dict[ProcessOp, int]) -> Iterable[QflowProcess]:
    """Yield processes after those that feed them, else by their first operation."""
    of = {op: number for number, group in enumerate(groups) for op in group.ops}
    sorter = TopologicalSorter[int]()
    for number, group in enumerate(groups):
        owners = {fifo.input.owner for fifo in group.reads}
        sorter.add(number, *(feed for op, feed in of.items() if op in owners))
    try:
        sorter.prepare()
    except CycleError as error:
        numbers = sorted(set(cast(list[int], error.args[1])))
        circle = ", ".join(f"'{groups[number].name}'" for number in numbers)
        require(False, f"processes wait for each other in a circle: {circle}")
    while sorter.is_active():
        for number in sorted(sorter.get_ready(), key=lambda n: order[groups[n].ops[0]]):
            yield groups[number]
            sorter.done(number)


def verify_streams(block: Block) -> None:
    """Check who writes and reads each FIFO of a graph, and that nothing bypasses them.

    Raises ``VerifyException``.
    """
    terminator = block.last_op
    assert terminator is not None
    if not is_streaming(block):
        return
    for argument in block.args:
        require(channel_of(argument).is_stream, "with FIFOs, each input is of protocol 'rv'")
        uses = [use.operation for use in argument.uses]
        fits = len(uses) <= 1 and all(isinstance(op, FifoOp) for op in uses)
        require(fits, f"input {argument.index} must be read by one FIFO")
    for value in terminator.operands:
        fits = isinstance(value.owner, FifoOp)
        require(fits, "with FIFOs, each output is the result of a FIFO")
    for op in block.ops:
        if isinstance(op, FifoOp | BeatsOp):
            owner = op.input.owner
            if isinstance(op, BeatsOp):
                fits = isinstance(owner, FifoOp)
                require(fits, f"'{op.edge.data}' must be fed by a FIFO")
                fits = all(isinstance(use.operation, FifoOp) for use in op.result.uses)
                require(fits, f"'{op.edge.data}' must feed FIFOs only")
            else:
                fits = isinstance(op.input, BlockArgument) or not isinstance(owner, FifoOp)
                require(fits, f"FIFO '{op.edge.data}' is fed by a FIFO")
    graph = processes_of(block)
    for fifo in graph.fifos:
        readers = [use.operation for use in fifo.result.uses]
        count = len({graph.of[op].name for op in readers if op in graph.of})
        count += readers.count(terminator)
        require(count == 1, f"FIFO '{fifo.edge.data}' must have one reader, has {count}")
