"""Lower streaming qflow graphs to dataflow designs: a function for each process.

A FIFO becomes an array of the top function, a process a call of its function. Stages that
fire together become calls in that function, as in a static design; where a frame has several
beats, they are the body of a loop over them, on arrays that hold one beat. A change of the
number of beats is a loop of its own.
"""

from collections.abc import Sequence
from typing import Protocol

from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    AffineMapAttr,
    AffineSetAttr,
    ArrayAttr,
    DictionaryAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    LocationAttr,
    MemRefType,
    StringAttr,
    UnitAttr,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.ir.affine import (
    AffineConstantExpr,
    AffineConstraintExpr,
    AffineConstraintKind,
    AffineDimExpr,
    AffineExpr,
    AffineMap,
    AffineSet,
)
from xdsl.utils.hints import isa

from fastml.compiler.support.names import Namer
from fastml.dialects import directives, qflow
from fastml.dialects.channel import ChannelType, channel_of
from fastml.dialects.elements import Elements
from fastml.dialects.line_access import access_attributes
from fastml.dialects.qflow_cycles import check_cycles
from fastml.dialects.qflow_network import latency_of
from fastml.dialects.qflow_processes import QflowProcess, processes_of
from fastml.dialects.qflow_streams import BeatsOp, FifoOp, RegroupOp, SerialiseOp
from fastml.dialects.qflow_windows import AccessOp, ReduceOp
from fastml.lowering.token_functions import TokenFunction


class StageCalls(Protocol):
    """What lowers the stages of a graph to functions, and calls them."""

    namer: Namer
    memories: dict[SSAValue, SSAValue]
    """The array of each channel."""
    ports: dict[SSAValue, str]
    functions: list[Operation]

    def call(self, stage: qflow.StageOp, block: Block) -> None:
        """Make the function of a stage and append its call, and its array if it has none."""
        ...


def array_of(channel: ChannelType) -> MemRefType[IntegerType]:
    """Return the array that holds a frame of a channel."""
    width = IntegerType(max(channel.elements.container[0], 1))
    beats = channel.beats.data
    return MemRefType(width, (beats, len(channel)) if beats > 1 else (len(channel),))


class DataflowLowering:
    """The lowering of one streaming graph."""

    def __init__(self, graph: qflow.GraphOp, stages: StageCalls):
        self.graph = graph
        self.stages = stages
        self.namer = stages.namer
        self.arrays: dict[FifoOp, SSAValue] = {}
        """Of each FIFO, in the top function."""
        self.processes: list[Operation] = []

    def build(self) -> list[Operation]:
        """Return the top function, those of the processes, and those of the stages."""
        graph = self.graph
        check_cycles(graph)
        name = self.namer.unique(graph.sym_name.data)
        ports = [(v, n, "in", self._fifo_behind(v)) for n, v in graph.inputs.items()]
        for edge, value in graph.outputs.items():
            assert isinstance(value.owner, FifoOp)
            ports.append((value, edge, "out", value.owner))
        block = Block(arg_types=[array_of(channel_of(value)) for value, *_ in ports])
        described = list[Attribute]()
        for (value, edge, way, fifo), argument in zip(ports, block.args, strict=True):
            port = self._port(edge)
            facts = _describe(channel_of(value), port, edge)
            facts[directives.DIRECTION] = StringAttr(way)
            if fifo is not None:
                facts[directives.STREAM] = IntegerAttr(fifo.depth.data, i64)
                self.arrays[fifo] = argument
            self.stages.ports.setdefault(value, port)
            described.append(DictionaryAttr(facts))
        for op in graph.body.block.ops:
            if not isinstance(op, FifoOp | qflow.YieldOp):
                self.stages.ports[op.results[0]] = self._port(_edge(op))
        for fifo in graph.fifos:
            if fifo not in self.arrays:
                self._array(fifo, block)
        for process in processes_of(graph.body.block).processes:
            self._process(process, block)
        _add(block, func.ReturnOp(), graph.location)
        types = [argument.type for argument in block.args]
        top = func.FuncOp(name, (types, []), Region(block))
        top.location = graph.location
        top.arg_attrs = ArrayAttr(
            [facts for facts in described if isinstance(facts, DictionaryAttr)]
        )
        top.attributes |= {directives.TOP: UnitAttr(), directives.DATAFLOW: UnitAttr()}
        for key, number in ((directives.II, graph.ii), (directives.LATENCY, graph.latency)):
            if number is not None:
                top.attributes[key] = IntegerAttr(number.data, i64)
        return [top, *self.processes, *self.stages.functions]

    def _fifo_behind(self, value: SSAValue) -> FifoOp | None:
        users = [use.operation for use in value.uses]
        return next((op for op in users if isinstance(op, FifoOp)), None)

    def _port(self, name: str) -> str:
        """Return a name for an edge, after which valid and ready can be called."""
        port = self.namer.unique(name)
        while not all(self.namer.take(f"{port}_{end}") for end in ("valid", "ready")):
            port = self.namer.unique(name)
        return port

    def _array(self, fifo: FifoOp, block: Block) -> None:
        channel = channel_of(fifo.result)
        kind = array_of(channel)
        array = memref.AllocOp.get(kind.element_type, None, kind.get_shape())
        facts = _describe(channel, self.namer.unique(fifo.edge.data), fifo.edge.data)
        array.attributes |= facts
        array.attributes[directives.STREAM] = IntegerAttr(fifo.depth.data, i64)
        _add(block, array, fifo.location)
        self.arrays[fifo] = array.memref

    def _constants(self, name: str) -> str:
        """Return a stem for the constants of a function, whose names nothing else has."""
        ends = ("rows", "cols", "index", "fill")
        while not all(self.namer.take(f"{name}_{end}") for end in ends):
            name = self.namer.unique(name)
        return name

    def _process(self, process: QflowProcess, block: Block) -> None:
        """Make the function of a process, and call it."""
        body = ProcessFunction(process, self.stages)
        change = process.changes_beats
        if change is None:
            body.cluster()
            stem = f"{self.stages.ports[process.ops[-1].result]}_process"
        else:
            kind = change.name.partition(".")[2]
            stem = f"{kind}_{self.stages.ports[change.result]}"
        name = self.namer.unique(stem)
        if change is not None:
            self.processes += body.change(change, self._constants(name))
        self.processes.append(body.finish(name))
        operands = [self.arrays[fifo] for fifo in (*process.reads, *process.writes)]
        _add(block, func.CallOp(name, operands, []), body.location)


class ProcessFunction:
    """Builds the function of one process: FIFOs that it reads, then FIFOs that it writes."""

    def __init__(self, process: QflowProcess, stages: StageCalls):
        self.process, self.stages = process, stages
        self.location: LocationAttr = process.ops[-1].location
        self.fifos = (*process.reads, *process.writes)
        self.block = Block(arg_types=[array_of(channel_of(f.result)) for f in self.fifos])
        self.arguments = dict(zip(self.fifos, self.block.args, strict=True))
        self.interval = process.interval

    def cluster(self) -> None:
        """Append the stages: in place, or in a loop over the beats."""
        if self.process.beats == 1:
            self._stages(self.block, None)
            return
        body = Block(arg_types=[IndexType()])
        self._stages(body, body.args[0])
        self._loop(body, self.process.beats)

    def _stages(self, block: Block, beat: SSAValue | None) -> None:
        """Append the calls of all stages to ``block``, for one ``beat`` of several."""
        memories = self.stages.memories
        for fifo in self.process.reads:
            memories[fifo.result] = self.arguments[fifo]
            if beat is not None:
                array = memories[fifo.result] = self._local(fifo.result, block)
                self._copy(block, self.arguments[fifo], array, (beat, None))
        written = dict[SSAValue, list[FifoOp]]()
        for fifo in self.process.writes:
            written.setdefault(fifo.input, []).append(fifo)
        for value, fifos in written.items():
            alone = len(fifos) == 1 and value.uses.get_length() == 1
            if alone and beat is None:
                memories[value] = self.arguments[fifos[0]]
        for stage in self.process.stages:
            self.stages.call(stage, block)
        for value, fifos in written.items():
            for fifo in fifos:
                if memories[value] is not self.arguments[fifo]:
                    self._copy(block, memories[value], self.arguments[fifo], (None, beat))

    def _local(self, value: SSAValue, block: Block) -> SSAValue:
        """Append an array for one beat."""
        channel = channel_of(value)
        width = IntegerType(max(channel.elements.container[0], 1))
        array = memref.AllocOp.get(width, None, [len(channel)])
        array.attributes[directives.ELEMENTS] = StringAttr(str(channel.elements))
        _add(block, array, self.location)
        return array.memref

    def _copy(
        self,
        block: Block,
        source: SSAValue,
        target: SSAValue,
        beats: tuple[SSAValue | None, SSAValue | None],
    ) -> None:
        """Copy a beat, element by element."""
        assert isa(source.type, MemRefType)
        for element in range(source.type.get_shape()[-1]):
            place = AffineConstantExpr(element)
            value = self._load(block, source, beats[0], place)
            self._store(block, value, target, beats[1], place)

    def change(self, op: BeatsOp, stem: str) -> list[Operation]:
        """Append what is no stage; return its constants, named after ``stem``."""
        (source,) = (self.arguments[fifo] for fifo in self.process.reads)
        targets = [self.arguments[fifo] for fifo in self.process.writes]
        function = TokenFunction(self.block, self.location, source, targets, stem)
        match op:
            case AccessOp():
                function.access(op)
            case ReduceOp():
                loop = function.reduce(op)
                if loop is not None:
                    loop.attributes[directives.PIPELINE] = IntegerAttr(self.interval, i64)
            case _:
                assert isinstance(op, RegroupOp)
                self._regroup(op, source, targets)
        return function.constants

    def _regroup(self, op: RegroupOp, source: SSAValue, targets: Sequence[SSAValue]) -> None:
        """Append the loop that sends beats in parts, or gathers them; a single one is copied."""
        if channel_of(op.parts).beats.data == 1:
            for lane in range(len(channel_of(op.result))):
                place = AffineConstantExpr(lane)
                value = self._resized(self.block, self._load(self.block, source, None, place), op)
                for target in targets:
                    self._store(self.block, value, target, None, place)
            return
        body = Block(arg_types=[IndexType()])
        (phase,) = body.args
        elements, lanes = len(channel_of(op.whole)), len(channel_of(op.parts))
        beats, wholes = op.count, channel_of(op.whole).beats.data
        part = AffineDimExpr(0) if wholes == 1 else AffineDimExpr(0) % beats
        whole = [] if wholes == 1 else [AffineDimExpr(0) // beats]
        for lane in range(lanes):
            # Parts from this one on are beyond the last element.
            end = min(-(-(elements - lane) // lanes), beats)
            here = part * lanes + lane
            if isinstance(op, SerialiseOp):
                value = self._sent(body, source, (part, whole, here), (end, beats, elements), op)
                for target in targets:
                    self._store(body, value, target, phase, AffineConstantExpr(lane))
            elif end > 0:
                inner = body if end == beats else self._if_before(body, part, end)
                value = self._load(inner, source, phase, AffineConstantExpr(lane))
                value = self._resized(inner, value, op)
                for target in targets:
                    self._store(inner, value, target, None, here, phase, whole)
                if inner is not body:
                    _add(inner, affine.YieldOp.get(), self.location)
        self._loop(body, beats * wholes)

    def _sent(
        self,
        body: Block,
        source: SSAValue,
        places: tuple[AffineExpr, Sequence[AffineExpr], AffineExpr],
        sizes: tuple[int, int, int],
        op: RegroupOp,
    ) -> SSAValue:
        """Return what a lane of a serialised beat holds: an element, or zero beyond the last."""
        end, beats, elements = sizes
        part, whole, here = places
        phase, width = body.args[0], _width(channel_of(op.parts).elements)
        zero = arith.ConstantOp(IntegerAttr(0, IntegerType(width)))
        if end <= 0:
            _add(body, zero, self.location)
            return zero.result
        if end < beats:
            here = here % elements  # any element will do
        value = self._resized(body, self._load(body, source, None, here, phase, whole), op)
        if end == beats:
            return value
        _add(body, zero, self.location)
        limit = arith.ConstantOp(IntegerAttr(end, IndexType()))
        _add(body, limit, self.location)
        number = phase
        if whole:
            number = affine.ApplyOp([phase], AffineMapAttr(AffineMap(1, 0, (part,))))
            _add(body, number, self.location)
        inside = arith.CmpiOp(number, limit.result, "ult")
        _add(body, inside, self.location)
        chosen = arith.SelectOp(inside.result, value, zero.result)
        _add(body, chosen, self.location)
        return chosen.result

    def _if_before(self, body: Block, part: AffineExpr, end: int) -> Block:
        """Append a condition that holds in the parts before ``end``; return its body."""
        inner = Block()
        left = AffineConstantExpr(end - 1) - part
        constraint = AffineConstraintExpr(AffineConstraintKind.ge, left, AffineConstantExpr(0))
        op = affine.IfOp.create(
            operands=[body.args[0]],
            properties={"condition": AffineSetAttr(AffineSet(1, 0, (constraint,)))},
            regions=[Region(inner), Region()],
        )
        _add(body, op, self.location)
        return inner

    def _resized(self, block: Block, value: SSAValue, op: RegroupOp) -> SSAValue:
        """Bring an element into the container of the result, which holds it."""
        own, sign = channel_of(op.input).elements.container
        width = _width(channel_of(op.result).elements)
        target, own = IntegerType(width), max(own, 1)
        if width == own:
            return value
        made: Operation
        if width < own:
            made = arith.TruncIOp(value, target)
        else:
            made = (arith.ExtSIOp if sign else arith.ExtUIOp)(value, target)
        _add(block, made, self.location)
        return made.results[0]

    def _load(
        self,
        block: Block,
        array: SSAValue,
        beat: SSAValue | None,
        place: AffineExpr,
        phase: SSAValue | None = None,
        whole: Sequence[AffineExpr] = (),
    ) -> SSAValue:
        """Append a read of an element, of a beat of several or at a place of the phase's."""
        indices, places = _indices(beat, place, phase, whole)
        op = affine.LoadOp(array, indices, places)
        _add(block, op, self.location)
        return op.result

    def _store(
        self,
        block: Block,
        value: SSAValue,
        array: SSAValue,
        beat: SSAValue | None,
        place: AffineExpr,
        phase: SSAValue | None = None,
        whole: Sequence[AffineExpr] = (),
    ) -> None:
        """Append a write to an element."""
        indices, places = _indices(beat, place, phase, whole)
        _add(block, affine.StoreOp(value, array, indices, places), self.location)

    def _loop(self, body: Block, beats: int) -> None:
        _add(body, affine.YieldOp.get(), self.location)
        loop = affine.ForOp.from_region([], [], [], [], 0, beats, Region(body))
        loop.attributes[directives.PIPELINE] = IntegerAttr(self.interval, i64)
        _add(self.block, loop, self.location)

    def finish(self, name: str) -> func.FuncOp:
        """Close the function."""
        _add(self.block, func.ReturnOp(), self.location)
        types = [argument.type for argument in self.block.args]
        function = func.FuncOp(name, (types, []), Region(self.block), visibility="private")
        function.location = self.location
        names = Namer(("clk", "rst", "fire", "phase", "rest"))
        for op in self.process.ops:
            names.take(self.stages.ports[op.result])
        change = self.process.changes_beats
        latencies = {fifo: latency_of(fifo.input) for fifo in self.process.writes}
        latency = max(latencies.values(), default=0)
        described, given = list[DictionaryAttr](), set[SSAValue]()
        for fifo in self.fifos:
            channel, writes = channel_of(fifo.result), fifo in latencies
            edge = fifo.input if writes else fifo.result
            direct = writes and self.stages.memories.get(edge) is self.arguments[fifo]
            direct |= writes and change is not None and edge not in given
            wanted = self.stages.ports[fifo.input]
            port = wanted if direct else names.unique(wanted)
            facts = _describe(channel, port, _edge(fifo.input.owner) if direct else None)
            facts[directives.DIRECTION] = StringAttr("out" if writes else "in")
            if writes and latencies[fifo] < latency:
                facts[directives.LATENCY] = IntegerAttr(latencies[fifo], i64)
            given.add(edge)
            described.append(DictionaryAttr(facts))
        function.arg_attrs = ArrayAttr(described)
        if isinstance(change, AccessOp):
            function.attributes |= access_attributes(change)
        function.attributes |= {
            directives.PROCESS: UnitAttr(),
            directives.II: IntegerAttr(self.interval * self.process.beats, i64),
            directives.LATENCY: IntegerAttr(latency, i64),
        }
        return function


def _indices(
    beat: SSAValue | None,
    place: AffineExpr,
    phase: SSAValue | None,
    whole: Sequence[AffineExpr] = (),
) -> tuple[Sequence[SSAValue], AffineMapAttr]:
    """Return operands and map of an access.

    It is ``[beat, place]``, or ``[place(phase)]``, after the ``whole`` beat of the phase if
    there are several.
    """
    if beat is not None:
        return [beat], AffineMapAttr(AffineMap(1, 0, (AffineDimExpr(0), place)))
    if phase is not None:
        return [phase], AffineMapAttr(AffineMap(1, 0, (*whole, place)))
    return [], AffineMapAttr(AffineMap(0, 0, (place,)))


def _width(elements: Elements) -> int:
    return max(elements.container[0], 1)


def _edge(op: Operation | Block) -> str:
    assert isinstance(op, qflow.StageOp | BeatsOp)
    return op.edge.data


def _describe(channel: ChannelType, port: str, name: str | None) -> dict[str, Attribute]:
    facts: dict[str, Attribute] = {
        directives.PORT: StringAttr(port),
        directives.ELEMENTS: StringAttr(str(channel.elements)),
    }
    return facts if name is None else {directives.NAME: StringAttr(name), **facts}


def _add(block: Block, op: Operation, location: LocationAttr) -> None:
    op.location = location
    block.add_op(op)
