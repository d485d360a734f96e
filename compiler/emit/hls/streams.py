"""Print a network of processes: streams, and functions that take and give beats.

A process of the IR is a function of C++ whose arguments are streams. It holds one beat of each
in an array of its own, so that its body is printed like any other: it takes a beat in the first
phase that needs it, and gives one in the last. A flavour without streams passes arrays of beats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import affine, func, memref
from xdsl.ir import Block, Operation, SSAValue
from xdsl.ir.affine import AffineDimExpr, AffineExpr, AffineMap, AffineSymExpr

from fastml.compiler.emit.hls.cpp import FunctionPrinter
from fastml.compiler.emit.hls.flavours import Flavour, Streams
from fastml.compiler.emit.hls.scope import Array, Symbols
from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.support.names import Namer
from fastml.dialects import directives
from fastml.dialects.affine_processes import Beats, Dataflow, Process
from fastml.dialects.elements import Elements


@dataclass(frozen=True, eq=False)
class Tap:
    """An edge that can be seen: the memory that holds it, and its beats a frame."""

    edge: str
    elements: Elements
    memory: SSAValue
    beats: int = 1


def tap_of(op: memref.AllocOp, beats: int = 1) -> Tap | None:
    """Return what is seen in a memory, if it has a name."""
    name = directives.text(op.attributes, directives.NAME)
    if name is None:
        return None
    layout = directives.layout(op.attributes)
    if layout is None:
        raise FastmlError("a named memory has no layout", op)
    return Tap(name, layout, op.memref, beats)


def network_taps(flow: Dataflow, streams: bool) -> list[Tap]:
    """Return the edges inside of processes, and those that they give.

    Of a process that is called several times nothing is seen. Where there are no streams,
    what a process gives is seen in the array between two processes.
    """
    found = dict[str, Tap]()
    names = [process.function.sym_name.data for process in flow.processes]
    for process in flow.processes:
        if names.count(process.function.sym_name.data) > 1:
            continue
        inside = [op for op in _body(process).ops if isinstance(op, memref.AllocOp)]
        taps = [tap_of(op, process.phases) for op in inside]
        for operand, argument in zip(process.call.operands, process.arguments, strict=True):
            name = directives.text(argument.attributes, directives.NAME)
            if name is None or not argument.output:
                continue
            if streams or isinstance(operand.owner, Operation):
                memory = argument.value if streams else operand
                taps.append(Tap(name, argument.elements, memory, argument.beats))
        for tap in taps:
            if tap is not None:
                found.setdefault(tap.edge, tap)
    return list(found.values())


def _body(process: Process) -> Block:
    return process.function.body.block if process.loop is None else process.loop.body.block


class NetworkPrinter(FunctionPrinter):
    """Prints the top function: streams and calls."""

    def __init__(
        self,
        flow: Dataflow,
        flavour: Flavour,
        symbols: Symbols,
        taken: Namer,
        taps: Mapping[SSAValue, int],
    ):
        super().__init__(flow.top, flavour, symbols, taken)
        self.flow = flow
        self.streams = flavour.streams
        self.taps = taps
        self.fifos = dict[str, int]()
        """Depth of each FIFO between processes, by its name in C++."""

    def body(self) -> list[str]:
        """Return the statements of the function."""
        if self.streams is not None:
            for argument in self.flow.arguments:
                if argument.value not in self.flow.streams:
                    name = self.array(argument.value).name
                    self.scope.line(f"fastml::skip({name}, {argument.beats});")
        return super().body()

    def operation(self, op: Operation) -> None:
        """Print a FIFO, or a call of a process."""
        if isinstance(op, memref.AllocOp) and self.streams is not None:
            self._stream(op, self.streams)
            return
        super().operation(op)
        if isinstance(op, func.CallOp):
            for operand in op.operands:
                if operand in self.taps and self._gives(op, operand):
                    self._tap(operand)

    def _gives(self, op: func.CallOp, operand: SSAValue) -> bool:
        writer = self.flow.streams[operand].writer
        return writer is not None and writer[0].call is op

    def _tap(self, memory: SSAValue) -> None:
        number, beats = self.taps[memory], self.flow.streams[memory].array.beats
        name = self.array(memory).name
        if beats == 1:
            self.scope.line(f"FASTML_TAP({number}, {name});")
            return
        with self.scope.braces(f"for (int k = 0; k < {beats}; ++k)"):
            self.scope.line(f"FASTML_TAP({number}, {name}[k]);")

    def _stream(self, op: memref.AllocOp, streams: Streams) -> None:
        scope = self.scope
        stream = self.flow.streams[op.memref]
        width, signed = scope.memref_type(op.memref.type, op.attributes)
        wanted = directives.text(op.attributes, directives.PORT) or "stream"
        name, size = scope.namer.unique(wanted), len(stream.array.elements)
        scope.arrays[op.memref] = Array(name, width, signed, (size,), beats=stream.array.beats)
        self.fifos[name] = stream.depth
        kind = streams.of(scope.types.integer(width, signed), size)
        scope.line(streams.declare.format(kind=kind, name=name))
        for text in (scope.flavour.pragmas.stream, streams.pack):
            if text:
                scope.line(text.format(name=name, depth=stream.depth))


class ProcessPrinter(FunctionPrinter):
    """Prints a process."""

    def __init__(
        self,
        process: Process,
        flavour: Flavour,
        symbols: Symbols,
        taken: Namer,
        taps: Mapping[SSAValue, int],
    ):
        super().__init__(process.function, flavour, symbols, taken)
        self.process = process
        self.streams = flavour.streams
        self.taps = taps
        self.ends = dict[Beats, str]()
        """Name of the stream of each argument."""

    def parameters(self, names: Sequence[str]) -> str:
        """Declare the arguments."""
        if self.streams is None:
            return super().parameters(names)
        given = list[str]()
        for argument, name in zip(self.process.arguments, names, strict=True):
            width, signed = self.scope.memref_type(argument.value.type, argument.attributes)
            size = len(argument.elements)
            array = Array(name, width, signed, (size,), beats=argument.beats)
            self.scope.arrays[argument.value] = array
            if argument.beats > 1:
                self._check_accesses(argument)
            self.ends[argument] = self.scope.namer.unique(f"{name}_stream")
            kind = self.streams.of(self.scope.types.integer(width, signed), size)
            given.append(f"{kind} &{self.ends[argument]}")
        return ", ".join(given)

    def body(self) -> list[str]:
        """Return the statements of the function."""
        if self.streams is not None:
            for argument in self.process.arguments:
                array = self.array(argument.value)
                kind = self.scope.types.integer(array.width, array.signed)
                before, inside = self.memories.pragmas(array.name, argument.attributes)
                declared = f"{kind} {array.name}[{len(argument.elements)}];"
                for text in (*before, declared, *inside):
                    self.scope.line(text)
        if self.process.loop is None:
            self._take(None)
        lines = super().body()
        if self.process.loop is None:
            self._give(None)
        return lines

    def enter(self, loop: affine.ForOp, index: str) -> None:
        """Print what comes first in a phase."""
        if loop is self.process.loop:
            self._take(index)

    def leave(self, loop: affine.ForOp, index: str) -> None:
        """Print what comes last in a phase."""
        if loop is self.process.loop:
            self._give(index)

    def _take(self, phase: str | None) -> None:
        for argument in self.process.inputs:
            self._move(argument, phase, "fastml::take({stream}, {array});", 0)

    def _give(self, phase: str | None) -> None:
        for op in _body(self.process).ops:
            if isinstance(op, memref.AllocOp) and op.memref in self.taps:
                name = self.array(op.memref).name
                self.scope.line(f"FASTML_TAP({self.taps[op.memref]}, {name});")
        for argument in self.process.outputs:
            texts = ["fastml::give({array}, {stream});"]
            if argument.value in self.taps:
                texts.insert(0, f"FASTML_TAP({self.taps[argument.value]}, {{array}});")
            per_beat = self.process.phases // argument.beats
            self._move(argument, phase, " ".join(texts), per_beat - 1)

    def _move(self, argument: Beats, phase: str | None, text: str, when: int) -> None:
        """Print the transfer of a beat, in phase ``when`` of those that the beat takes."""
        if self.streams is None:
            return
        text = text.format(stream=self.ends[argument], array=self.array(argument.value).name)
        per_beat = self.process.phases // argument.beats
        if per_beat > 1:
            with self.scope.braces(f"if ({phase} % {per_beat} == {when})"):
                self.scope.line(text)
        else:
            self.scope.line(text)

    def _check_accesses(self, argument: Beats) -> None:
        """Refuse what is not an access to the beat of the phase: no other one is at hand."""
        loop, phases = self.process.loop, self.process.phases
        assert loop is not None
        wanted = [phase * argument.beats // phases for phase in range(phases)]
        for use in argument.value.uses:
            op = use.operation
            match op:
                case affine.LoadOp() | affine.StoreOp():
                    map_, indices = op.map.data, tuple(op.indices)
                case memref.LoadOp() | memref.StoreOp():
                    map_, indices = AffineMap.identity(len(op.indices)), tuple(op.indices)
                case _:
                    raise FastmlError("passes on several beats, of which a stream has one", op)
            beat, dims = map_.results[0], map_.num_dims
            used = {e.position for e in beat.dfs() if isinstance(e, AffineDimExpr)}
            used |= {dims + e.position for e in beat.dfs() if isinstance(e, AffineSymExpr)}
            known = all(indices[k] is loop.body.block.args[0] for k in used)
            if not known or [_at(beat, map_, phase) for phase in range(phases)] != wanted:
                raise FastmlError("accesses another beat than that of the phase", op)


def _at(expr: AffineExpr, map_: AffineMap, phase: int) -> int:
    """Return the value of an expression of the phase alone."""
    return expr.eval([phase] * map_.num_dims, [phase] * map_.num_symbols)


def stream_header(flavour: Flavour) -> list[str]:
    """Return the lines of the header of what programs with streams have in common."""
    streams = flavour.streams
    assert streams is not None
    pragmas = flavour.pragmas
    loop = ["  for (int i = 0; i < N; ++i) {"]
    loop = [*loop, pragmas.unroll_all] if pragmas.inside else [f"  {pragmas.unroll_all}", *loop]
    stream = streams.of("T", "N")
    pack = [streams.pack.format(name="next")] if streams.pack else []
    inline = [streams.inline] if streams.inline else []
    return [
        "// Beats of streams, to and from arrays.",
        f"#include <{streams.header}>",
        "",
        "namespace fastml {",
        "",
        "// What a stream has at once.",
        "template <class T, int N>",
        "struct beat {",
        "  T element[N];",
        "};",
        "",
        "template <class T, class U, int N>",
        f"void take({stream} &from, U (&to)[N]) {{",
        *inline,
        "  const beat<T, N> next = from.read();",
        *pack,
        *loop,
        "    to[i] = next.element[i];",
        "  }",
        "}",
        "",
        "template <class T, class U, int N>",
        f"void give(const U (&from)[N], {stream} &to) {{",
        *inline,
        "  beat<T, N> next;",
        *pack,
        *loop,
        "    next.element[i] = from[i];",
        "  }",
        "  to.write(next);",
        "}",
        "",
        "// For inputs that nothing is computed from.",
        "template <class T, int N>",
        f"void skip({stream} &from, int beats) {{",
        "  for (int k = 0; k < beats; ++k) from.read();",
        "}",
        "",
        "}  // namespace fastml",
    ]
