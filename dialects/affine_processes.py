"""The processes of a dataflow at the affine level, and the FIFOs between them.

The top function of a dataflow calls processes (functions marked ``fastml.process``) on arrays
marked ``fastml.stream``, each of which is a FIFO with one writer and one reader. What a process
does to its FIFOs follows from the shapes of its arguments:

- A process without an argument of several beats takes one beat of every input and gives one
  to every output, each time that it fires.
- One with a table of accesses (:mod:`fastml.dialects.line_access`) fires once for each of its
  steps, which look at any tokens of its one input, and let go of those that no later one wants.
- Else it is one loop over ``n`` phases, one firing each. An argument of ``b`` beats a frame,
  ``b`` a divisor of ``n``, is at its beat ``k * b // n`` in phase ``k``: an input is needed
  in all phases of a beat and popped in the last of them, in which an output is given.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from xdsl.dialects import affine, memref
from xdsl.dialects.builtin import IntegerAttr, MemRefType, ModuleOp, StringAttr, SymbolRefAttr
from xdsl.dialects.func import CallOp, FuncOp, ReturnOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives, token_flow
from fastml.dialects.elements import Elements
from fastml.dialects.line_access import LineAccess, access_of


def _refuse(message: str, at: Operation) -> FastmlError:
    return FastmlError(message, at, code="FML-SCHEDULE")


@dataclass(frozen=True, eq=False)
class Beats:
    """An argument of a process, or an array between processes: what a beat of it is."""

    value: SSAValue
    attributes: Mapping[str, Attribute]
    elements: Elements
    beats: int
    """Beats a frame."""
    output: bool = False
    latency: int = 0
    """Cycles from the firing to the push, of an output of a process."""

    @property
    def name(self) -> str:
        """Name for messages."""
        keys = (directives.NAME, directives.PORT)
        texts = (directives.text(self.attributes, key) for key in keys)
        return next((text for text in texts if text), self.value.name_hint or "?")

    @property
    def port(self) -> str:
        """Identifier of its wires."""
        return directives.text(self.attributes, directives.PORT) or self.value.name_hint or "x"


@dataclass(frozen=True, eq=False)
class Process:
    """A call of a process."""

    name: str
    call: CallOp
    function: FuncOp
    loop: affine.ForOp | None
    """The loop over its phases."""
    phases: int
    """Firings a frame; 1 without a loop."""
    interval: int
    """Least distance of two firings."""
    arguments: tuple[Beats, ...]
    access: LineAccess | None = None
    """Of one that reads tokens of its input at random; its phases are the steps."""

    @property
    def inputs(self) -> list[Beats]:
        """Arguments that it takes beats from."""
        return [argument for argument in self.arguments if not argument.output]

    @property
    def outputs(self) -> list[Beats]:
        """Arguments that it gives beats to."""
        return [argument for argument in self.arguments if argument.output]

    def last(self, argument: Beats) -> tuple[bool, ...]:
        """Phases in which a beat of ``argument`` ends: it is popped, or given."""
        if self.access is not None:
            assert argument.output, "a step may pop several tokens"
            return tuple(self.access.steps.produces.tolist())
        per_beat = self.phases // argument.beats
        return tuple(phase % per_beat == per_beat - 1 for phase in range(self.phases))


@dataclass(eq=False)
class Stream:
    """A FIFO: its array, and what is at its ends."""

    name: str
    array: Beats
    depth: int
    writer: tuple[Process, Beats] | None = None
    """``None``: an input of the design."""
    reader: tuple[Process, Beats] | None = None
    """``None``: an output of the design."""


@dataclass(eq=False)
class Dataflow:
    """A network of processes."""

    top: FuncOp
    arguments: tuple[Beats, ...]
    processes: list[Process] = field(default_factory=list[Process])
    streams: dict[SSAValue, Stream] = field(default_factory=dict[SSAValue, Stream])
    """By array, in the order of the program: inputs, outputs, what is between."""

    def network(self) -> token_flow.Network:
        """Return what decides about times."""
        processes = [self._process(process) for process in self.processes]
        sources, sinks = list[token_flow.Source](), list[token_flow.Sink]()
        for argument in self.arguments:
            stream = self.streams.get(argument.value)
            if argument.output:
                assert stream is not None
                sinks.append(token_flow.Sink(argument.port, stream.name))
            else:
                fifos = () if stream is None else (stream.name,)
                sources.append(token_flow.Source(argument.port, fifos, argument.beats))
        fifos = [token_flow.Fifo(s.name, s.depth) for s in self.streams.values()]
        return token_flow.Network(tuple(fifos), tuple(processes), tuple(sources), tuple(sinks))

    def _process(self, process: Process) -> token_flow.Process:
        reads, writes = list[token_flow.Read](), list[token_flow.Write]()
        for operand, argument in zip(process.call.operands, process.arguments, strict=True):
            fifo = self.streams[operand].name
            if argument.output:
                produces = np.array(process.last(argument))
                writes.append(token_flow.Write(fifo, produces, argument.latency))
            elif process.access is not None:
                steps = process.access.steps
                reads.append(token_flow.Read(fifo, steps.needs, steps.consumes))
            else:
                consumes = np.array(process.last(argument), np.int64)
                reads.append(token_flow.Read(fifo, np.ones_like(consumes), consumes))
        return token_flow.Process(
            process.name, process.interval, tuple(reads), tuple(writes), process.phases
        )


def dataflow_of(module: ModuleOp, top: FuncOp) -> Dataflow:
    """Read the network of ``top``; raise :class:`FastmlError` where it is none."""
    functions = {op.sym_name.data: op for op in module.ops if isinstance(op, FuncOp)}
    flow = Dataflow(top, tuple(_arguments(top)))
    names = dict[str, int]()
    for argument in flow.arguments:
        if argument.output or argument.value.uses.get_length():
            _add(flow, argument, top)
    for op in top.body.block.ops:
        match op:
            case memref.AllocOp():
                _add(flow, _beats(op.memref, op.attributes, op), op)
            case CallOp():
                function = _callee(op, functions)
                count = names[function.sym_name.data] = names.get(function.sym_name.data, 0) + 1
                process = _process(op, function, count)
                _join(flow, process)
                flow.processes.append(process)
            case ReturnOp():
                pass
            case _:
                raise _refuse("a dataflow is nothing but arrays and calls of processes", op)
    _check_ends(flow)
    return flow


def _add(flow: Dataflow, array: Beats, at: Operation) -> None:
    depth = directives.integer(array.attributes, directives.STREAM)
    if depth is None:
        raise _refuse(f"'{array.name}' needs a depth, '{directives.STREAM}'", at)
    taken = {stream.name for stream in flow.streams.values()}
    name = f"{array.name}.fifo" if array in flow.arguments else array.name
    while name in taken:
        name += "'"
    flow.streams[array.value] = Stream(name, array, depth)


def _beats(value: SSAValue, attributes: Mapping[str, Attribute], at: Operation) -> Beats:
    layout = directives.layout(attributes)
    if layout is None or not isa(value.type, MemRefType):
        raise _refuse(f"a memref of a dataflow needs '{directives.ELEMENTS}'", at)
    shape = value.type.get_shape()
    return Beats(value, attributes, layout, shape[0] if len(shape) > 1 else 1)


def _arguments(function: FuncOp) -> Iterator[Beats]:
    """Yield the arguments of the top function or of a process."""
    whole = directives.integer(function.attributes, directives.LATENCY) or 0
    described = directives.argument_attributes(function)
    for value, attributes in zip(function.body.block.args, described, strict=True):
        found = _beats(value, attributes, function)
        way = directives.text(attributes, directives.DIRECTION)
        if way is None:
            raise _refuse(f"argument {value.index} needs '{directives.DIRECTION}'", function)
        own = directives.integer(attributes, directives.LATENCY)
        if own is not None and (way == "in" or own > whole):
            raise _refuse(
                f"'{directives.LATENCY}' of '{found.name}' is {own}: only outputs have one, "
                f"of at most that of the function, {whole}",
                function,
            )
        latency = 0 if way == "in" else whole if own is None else own
        yield Beats(value, attributes, found.elements, found.beats, way == "out", latency)


def _callee(op: CallOp, functions: Mapping[str, FuncOp]) -> FuncOp:
    match op.callee:
        case SymbolRefAttr(root_reference=StringAttr(data=name)) if name in functions:
            if directives.PROCESS in functions[name].attributes:
                return functions[name]
            raise _refuse(f"'{name}' is called by a dataflow, but no '{directives.PROCESS}'", op)
        case _:
            raise _refuse(f"calls unknown function {op.callee}", op)


def _process(call: CallOp, function: FuncOp, count: int) -> Process:
    """Read a process; ``count`` tells calls of one function apart."""
    ii = directives.integer(function.attributes, directives.II)
    latency = directives.integer(function.attributes, directives.LATENCY)
    if ii is None or latency is None:
        raise _refuse(f"a process needs '{directives.II}' and '{directives.LATENCY}'", function)
    arguments = tuple(_arguments(function))
    name = function.sym_name.data if count == 1 else f"{function.sym_name.data}_{count}"
    access = _access(function, arguments)
    if access is not None:
        phases = len(access.steps)
        if ii != phases:
            raise _refuse(f"{phases} steps take as many cycles, not {ii}", function)
        return Process(name, call, function, None, phases, 1, arguments, access)
    if all(argument.beats == 1 for argument in arguments):
        return Process(name, call, function, None, 1, ii, arguments)
    loops = [op for op in function.body.block.ops if isinstance(op, affine.ForOp)]
    if len(loops) != 1:
        raise _refuse("a process with several beats a frame is one loop over them", function)
    (loop,) = loops
    interval = directives.integer(loop.attributes, directives.PIPELINE)
    if interval is None or directives.START in loop.attributes:
        raise _refuse(
            f"a loop over phases has '{directives.PIPELINE}', and no '{directives.START}'", loop
        )
    phases = _trips(loop)
    for argument in arguments:
        if phases % argument.beats:
            raise _refuse(
                f"{phases} phases, but '{argument.name}' has {argument.beats} beats", loop
            )
    if ii != phases * interval:
        raise _refuse(f"{phases} phases take {phases * interval} cycles, not {ii}", function)
    return Process(name, call, function, loop, phases, interval, arguments)


def _access(function: FuncOp, arguments: tuple[Beats, ...]) -> LineAccess | None:
    """Return the tables of a process that has some, and check its shapes against them."""
    if not {directives.WINDOW, directives.REORDER} & function.attributes.keys():
        return None
    inputs = [argument for argument in arguments if not argument.output]
    outputs = [argument for argument in arguments if argument.output]
    if len(inputs) != 1 or not outputs:
        raise _refuse("a process that reads at random has one input, and outputs", function)
    access = access_of(function, inputs[0].elements, inputs[0].beats)
    assert access is not None
    size = len(access.elements) * prod(access.kernel)
    for output in outputs:
        if output.elements != outputs[0].elements:
            raise _refuse("outputs of a process that reads at random are all the same", function)
        if (output.beats, len(output.elements), output.latency) != (access.results, size, 1):
            raise _refuse(
                f"'{output.name}' must be {access.results} beats of {size} elements, "
                "a cycle after their firing",
                function,
            )
    return access


def _trips(loop: affine.ForOp) -> int:
    """Return the trip count of a loop that counts from 0, one by one."""
    match loop.lowerBoundMap.data.results, loop.upperBoundMap.data.results, loop.step:
        case (
            (AffineConstantExpr(value=0),),
            (AffineConstantExpr(value=stop),),
            IntegerAttr(value=step),
        ) if step.data == 1 and stop >= 1:
            return stop
        case _:
            raise _refuse("a loop over phases counts from 0, one by one", loop)


def _join(flow: Dataflow, process: Process) -> None:
    """Put a process at the ends of its FIFOs."""
    for operand, argument in zip(process.call.operands, process.arguments, strict=True):
        stream = flow.streams.get(operand)
        if stream is None:
            raise _refuse("a process takes arrays of the dataflow", process.call)
        array = stream.array
        if (array.elements, array.beats) != (argument.elements, argument.beats):
            raise _refuse(
                f"'{array.name}' is {array.beats} beats of '{array.elements}', but the "
                f"process takes {argument.beats} of '{argument.elements}'",
                process.call,
            )
        inside = array in flow.arguments
        if argument.output:
            if stream.writer is not None or (inside and not array.output):
                raise _refuse(f"'{array.name}' has two writers", process.call)
            stream.writer = process, argument
        elif stream.reader is not None or array.output:
            raise _refuse(f"'{array.name}' has two readers", process.call)
        elif stream.writer is None and not inside:
            raise _refuse(f"'{array.name}' is read before it is written", process.call)
        else:
            stream.reader = process, argument


def _check_ends(flow: Dataflow) -> None:
    for stream in flow.streams.values():
        array = stream.array
        inside = array in flow.arguments
        if stream.writer is None and not (inside and not array.output):
            raise _refuse(f"nothing writes '{array.name}'", flow.top)
        if stream.reader is None and not (inside and array.output):
            raise _refuse(f"nothing reads '{array.name}'", flow.top)
