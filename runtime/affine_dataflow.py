"""Interpreter of dataflow designs at the affine level.

Values come from executing the processes one after the other on whole frames: who writes a
stream comes before who reads it, so that no FIFO is needed. Times come from the network alone
(:mod:`fastml.dialects.token_flow`), as its attributes describe it; the cycles of the edges
inside of a process are those that its schedule gives them, since its firing.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import IntegerType, MemRefType, ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives, token_flow
from fastml.dialects.affine_processes import Process, dataflow_of
from fastml.runtime.affine import (
    LIVE_VALUES,
    Port,
    Program,
    Values,
    check_beats,
    joined,
    ports_of,
    top_function,
)
from fastml.runtime.affine_beats import beat_function, joined_beats, split_beats
from fastml.runtime.affine_code import Code, Library, Run
from fastml.runtime.affine_copies import CopyProgram
from fastml.runtime.arith import hold
from fastml.runtime.memory import Memory, check_memref
from fastml.runtime.trace import Integers, Signal, Stimulus, Trace
from fastml.runtime.weights import refuse_loads

Cycles = NDArray[np.int64]


@dataclass(frozen=True)
class _Edge:
    """What holds an edge, and how its beats follow from firings."""

    process: Process | None
    """``None``: an input."""
    port: str
    beats: tuple[Memory, ...]
    """Of one frame."""
    phases: tuple[int, ...]
    """The phase that gives each of them."""
    cycles: Cycles
    """Cycle of each element since the firing of that phase."""
    joined: bool = False
    """Beats are frames of one array: all of them were executed at once."""


class DataflowProgram(Program):
    """A dataflow made ready to run many times."""

    is_stream = True

    def __init__(self, module: ModuleOp, *, timed: bool = True):
        self.library = Library(module, timed)
        self.top = top_function(module)
        self.ports = ports_of(self.top)
        self.flow = dataflow_of(module, self.top)
        self.beatwise = set[FuncOp]()
        """Functions of processes that are executed on single beats."""
        self.codes = {
            process.function: self._code(process)
            for process in self.flow.processes
            if process.access is None
        }
        self.copies = {
            process.function: CopyProgram(process)
            for process in self.flow.processes
            if process.access is not None
        }

    def _code(self, process: Process) -> Code:
        """Return the code of a process: on single beats, where it can be."""
        found = beat_function(process)
        if found is not None:
            self.beatwise.add(process.function)
            self.library.functions[found.sym_name.data] = found
        function = found or process.function
        return self.library.function(function.sym_name.data, process.call)

    @property
    def held(self) -> int:
        """Values that a frame takes, in all arrays and processes together."""
        arrays = (stream.array for stream in self.flow.streams.values())
        sizes = (array.beats * len(array.elements) for array in arrays)
        return sum(sizes) + sum(len(code.template) for code in self.codes.values()) + 1

    def evaluate(self, beats: Mapping[str, Integers], taps: Collection[str] = ()) -> Values:
        """Execute on every frame of ``beats``, for values alone."""
        outputs, edges, _ = self._follow(beats, taps)
        return Values(outputs, edges)

    def simulate(self, stimulus: Stimulus, taps: Collection[str] = ()) -> Trace:
        """Execute on every frame of ``stimulus``; predict cycles from the network."""
        assert self.library.timed, "this program was compiled for values alone"
        refuse_loads(stimulus, "a network of processes")
        outputs, edges, known = self._follow(stimulus.beats, taps)
        network = self.flow.network()
        times = token_flow.simulate(network, stimulus.waits, stimulus.ready, self.top)
        return Trace(
            {port: Signal(v, times.taken[port][:, np.newaxis]) for port, v in outputs.items()},
            {name: Signal(v, _cycles(known[name], times)) for name, v in edges.items()},
            times.accepted,
            times.fifos,
        )

    def _follow(
        self, beats: Mapping[str, Integers], taps: Collection[str]
    ) -> tuple[dict[str, Integers], dict[str, Integers], dict[str, _Edge]]:
        """Execute batch by batch; return outputs, edges, and what is known of the latter."""
        frames = check_beats(self.ports, beats, self.top)
        outputs: dict[str, list[Integers]] = {port.port: [] for port in self.outputs}
        tapped: dict[str, list[Integers]] = {name: [] for name in taps}
        chunk = max(LIVE_VALUES // self.held, 1)
        known = dict[str, _Edge]()
        for first in range(0, max(frames, 1), chunk):
            count = min(chunk, frames - first)
            part = {
                port.port: beats[port.port][first * port.beats : (first + count) * port.beats]
                for port in self.inputs
            }
            arrays, known = self._execute_part(part)
            for port, argument in zip(self.ports, self.top.args, strict=True):
                if port.is_output:
                    memories = _split(arrays[argument], port.beats)
                    outputs[port.port].append(self._beats(memories, port.port, count))
            for name, parts in tapped.items():
                if name not in known:
                    edges = ", ".join(f"'{edge}'" for edge in known)
                    raise FastmlError(
                        f"edge '{name}' does not exist",
                        self.top,
                        code="FML-USAGE",
                        hint=f"edges are {edges}",
                    )
                edge = known[name]
                if edge.joined:
                    (memory,) = edge.beats
                    parts.append(self.read(memory, name, count * len(edge.phases)))
                else:
                    parts.append(self._beats(edge.beats, name, count))
        return joined(outputs), joined(tapped), known

    def _beats(self, memories: tuple[Memory, ...], name: str, frames: int) -> Integers:
        """Return the beats of an edge, those of a frame after each other."""
        parts = [self.read(memory, name, frames) for memory in memories]
        return np.stack(parts, axis=1).reshape(-1, parts[0].shape[1])

    def _execute_part(
        self, beats: Mapping[str, Integers]
    ) -> tuple[dict[SSAValue, Memory], dict[str, _Edge]]:
        """Execute one batch; return the arrays of the top function, and all edges."""
        arrays, known = dict[SSAValue, Memory](), dict[str, _Edge]()
        for value, stream in self.flow.streams.items():
            kind = check_memref(value.type, self.top)
            arrays[value] = Memory.blank(kind, stream.array.elements)
        for port, argument in zip(self.ports, self.top.args, strict=True):
            if not port.is_output:
                kind = check_memref(argument.type, self.top)
                memory = arrays.setdefault(argument, Memory.blank(kind, port.elements))
                size = port.beats * len(port.elements)
                rows = beats[port.port].reshape(-1, size)
                columns = np.ascontiguousarray(rows.T)
                memory.values = [hold(column, memory.width) for column in columns]
                zeros = np.zeros((port.beats, len(port.elements)), np.int64)
                phases = tuple(range(port.beats))
                held = _split(memory, port.beats)
                known[port.name] = _Edge(None, port.port, held, phases, zeros)
        frames = {len(rows) // port.beats for port, rows in self._rows(beats)}
        for process in self.flow.processes:
            self._execute_process(process, arrays, known, max(frames, default=1))
        return arrays, known

    def _rows(self, beats: Mapping[str, Integers]) -> Iterable[tuple[Port, Integers]]:
        return ((port, beats[port.port]) for port in self.inputs)

    def _execute_process(
        self,
        process: Process,
        arrays: dict[SSAValue, Memory],
        known: dict[str, _Edge],
        frames: int,
    ) -> None:
        """Execute a process on all frames, from its first firing on."""
        run, arguments = Run(), list[Memory]()
        for operand in process.call.operands:
            memory = arrays[operand]
            size = len(memory.values)
            arguments.append(replace(memory, cycles=[0] * size, reads=[0] * size))
        copies = self.copies.get(process.function)
        beatwise = process.function in self.beatwise
        if copies is not None:
            values = (argument.value for argument in process.arguments)
            copies.execute(dict(zip(values, arguments, strict=True)))
        elif beatwise:
            self._execute_beats(process, arguments, run, frames)
        else:
            self.codes[process.function].call(run, arguments, [0] * len(arguments), 0)
        for name, memories in run.edges.items():
            phases = tuple(range(process.phases if beatwise else len(memories)))
            if beatwise:
                cycles = np.tile(np.array(memories[0].cycles, np.int64), (len(phases), 1))
            else:
                counted = [np.array(memory.cycles, np.int64) for memory in memories]
                starts = np.arange(len(phases)) * process.interval
                cycles = np.stack(counted) - starts[:, np.newaxis]
            edge = _Edge(process, "", tuple(memories), phases, cycles, beatwise)
            known.setdefault(name, edge)
        for argument, memory in zip(process.arguments, arguments, strict=True):
            name = directives.text(argument.attributes, directives.NAME)
            if name is not None and argument.output:
                ends = tuple(np.flatnonzero(process.last(argument)).tolist())
                beats = _split(memory, argument.beats)
                shape = argument.beats, len(argument.elements)
                cycles = np.full(shape, argument.latency, np.int64)
                if process.loop is None and copies is None:
                    cycles = np.array(memory.cycles, np.int64).reshape(shape)
                known.setdefault(name, _Edge(process, "", beats, ends, cycles))

    def _execute_beats(
        self, process: Process, arguments: list[Memory], run: Run, frames: int
    ) -> None:
        """Execute a process on the beats of all frames at once."""
        beats = process.phases
        pairs = list(zip(process.arguments, arguments, strict=True))
        joined = [
            Memory.blank(_single(memory), memory.elements)
            if argument.output
            else joined_beats(memory, beats, frames)
            for argument, memory in pairs
        ]
        self.codes[process.function].call(run, joined, [0] * len(joined), 0)
        for (argument, memory), one in zip(pairs, joined, strict=True):
            if argument.output:
                split_beats(one, memory, beats, frames)


def _single(memory: Memory) -> MemRefType[Attribute]:
    """Return the type of one beat of an array."""
    return MemRefType(IntegerType(memory.width), memory.shape[1:])


def _split(memory: Memory, beats: int) -> tuple[Memory, ...]:
    """Return the beats of an array as arrays of their own."""
    if beats == 1:
        return (memory,)
    size = len(memory.values) // beats
    parts = [slice(beat * size, (beat + 1) * size) for beat in range(beats)]
    return tuple(
        replace(
            memory,
            shape=(size,),
            values=memory.values[part],
            cycles=memory.cycles[part],
            reads=memory.reads[part],
        )
        for part in parts
    )


def _cycles(edge: _Edge, times: token_flow.Times) -> Cycles:
    """Return the cycle of each element of each beat of an edge."""
    elements = edge.cycles.shape[1]
    if edge.process is None:
        accepted = times.accepted[edge.port]
        return np.broadcast_to(accepted[:, np.newaxis], (len(accepted), elements))
    fired = times.fired[edge.process.name].reshape(-1, edge.process.phases)
    cycles = fired[:, list(edge.phases), np.newaxis] + edge.cycles
    return cycles.reshape(-1, elements)
