"""A design as C++ files: the header, the top function, the functions of the stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.dialects import func, memref
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.emit.hls.cpp import FunctionPrinter
from fastml.compiler.emit.hls.flavours import Flavour
from fastml.compiler.emit.hls.roms import print_rom
from fastml.compiler.emit.hls.scope import Symbols
from fastml.compiler.emit.hls.streams import (
    NetworkPrinter,
    ProcessPrinter,
    Tap,
    network_taps,
    stream_header,
    tap_of,
)
from fastml.compiler.emit.hls.tokens import TokenPrinter, copies_tokens
from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.compiler.support.names import Namer
from fastml.dialects import directives
from fastml.dialects.affine_processes import Process, dataflow_of
from fastml.runtime.csim import CppPort

FILE_STATEMENTS = 8000
"""Statements after which a new file begins. Each file instantiates the templates of all widths
anew: a layer of 784 x 128 in files of 2000 statements takes g++ 198 s of CPU, of 8000 only
99 s (47 s with ac_int) and 390 MB for the largest. Such a file takes 7 s at ``-O0``, 26 s and
600 MB at ``-O1``, 35 s at ``-O2``."""


@dataclass(frozen=True)
class CppProgram:
    """What was printed."""

    flavour: Flavour
    top: str
    files: Mapping[str, str]
    ports: tuple[CppPort, ...]
    taps: tuple[Tap, ...]
    """Edges between the stages, in the order of their ``FASTML_TAP``."""
    network: bool = False
    """Whether it is a network of processes."""
    streams: bool = False
    """Whether the ports are streams of beats."""
    fifos: Mapping[str, int] = field(default_factory=dict[str, int])
    """Depth of each stream between processes."""

    @property
    def header(self) -> str:
        """Name of the header."""
        return f"{self.top}.h"

    @property
    def sources(self) -> list[str]:
        """Names of the files to compile."""
        return [name for name in self.files if name.endswith(".cpp")]


class ProgramPrinter:
    """Prints a module."""

    def __init__(
        self,
        module: ModuleOp,
        flavour: Flavour,
        interface: str = "wires",
        fractions: Mapping[str, int] | None = None,
    ):
        self.module = module
        self.flavour = flavour
        self.pragmas = flavour.pragmas
        self.interface = interface
        self.fractions = fractions or {}
        self.functions = {
            op.sym_name.data: op
            for op in module.ops
            if isinstance(op, func.FuncOp) and not op.is_declaration
        }
        tops = [f for f in self.functions.values() if directives.TOP in f.attributes]
        if len(tops) != 1:
            raise FastmlError(f"needs one '{directives.TOP}' function, has {len(tops)}", module)
        (self.top,) = tops
        processes = [f for f in self.functions.values() if directives.PROCESS in f.attributes]
        self.flow = dataflow_of(module, self.top) if processes else None
        self.streams = None if self.flow is None else flavour.streams
        self._check_streams()
        self.namer = Namer()
        self.namer.claim("fastml")  # the namespace
        name = self.namer.unique(self.top.sym_name.data)
        names = {self.top.sym_name.data: name}
        names |= {f: self.namer.unique(f) for f in self.functions if f not in names}
        globals_ = [op for op in module.ops if isinstance(op, memref.GlobalOp)]
        roms = {op.sym_name.data: (self.namer.unique(op.sym_name.data), op) for op in globals_}
        self.symbols = Symbols(names, roms, self._looped())
        self._check_aliases()
        self.name = name
        self.taps = self._find_taps()
        self.numbers = {tap.memory: number for number, tap in enumerate(self.taps)}
        self.ports = self._ports()
        self.taken = [*names.values(), *(rom for rom, _ in roms.values())]
        self.taken += [port.type_name for port in self.ports]

    def _looped(self) -> frozenset[str]:
        """Return the functions with loops, or that call one that has."""

        def looped(name: str, path: tuple[str, ...]) -> bool:
            function = self.functions.get(name)
            if function is None or name in path:
                what = "calls itself" if function else "is called, but has no body"
                raise FastmlError(f"'@{name}' {what}", function or self.module)
            for op in function.walk():
                if op.name == "affine.for":
                    return True
                if isinstance(op, func.CallOp) and looped(op.callee.string_value(), (*path, name)):
                    return True
            return False

        return frozenset(name for name in self.functions if looped(name, ()))

    def _check_aliases(self) -> None:
        """Refuse calls that write to a memory which they read under another name."""
        for function in self.functions.values():
            for op in function.walk():
                if not isinstance(op, func.CallOp) or len({*op.operands}) == len(op.operands):
                    continue
                described = directives.argument_attributes(self.functions[op.callee.string_value()])
                for operand, attributes in zip(op.operands, described, strict=True):
                    written = directives.text(attributes, directives.DIRECTION) != "in"
                    if written and list(op.operands).count(operand) > 1:
                        raise FastmlError("gives a memory that is written twice", op)

    def _ports(self) -> tuple[CppPort, ...]:
        ports = list[CppPort]()
        own = Namer(self.symbols.functions.values())
        described = directives.argument_attributes(self.top)
        for number, attributes in enumerate(described):
            layout = directives.layout(attributes)
            way = directives.text(attributes, directives.DIRECTION)
            if layout is None or way is None:
                raise FastmlError(f"argument {number} has no layout or direction", self.top)
            port = own.unique(directives.text(attributes, directives.PORT) or f"port{number}")
            edge = directives.text(attributes, directives.NAME) or port
            kind = self.namer.unique(f"{port}_t")
            fraction = self.fractions.get(edge)
            beats, depth = 1, 0
            if self.flow is not None:
                beats = self.flow.arguments[number].beats
                depth = directives.integer(attributes, directives.STREAM) or 0
            ports.append(
                CppPort(edge, port, kind, way == "out", layout, fraction, None, beats, depth)
            )
        return tuple(ports)

    def _check_streams(self) -> None:
        """Refuse what a network of processes cannot have: ports that are not streams of bits."""
        if self.flow is None:
            return
        if self.streams is not None and self.interface not in self.streams.interfaces:
            raise FastmlError(
                f"streams of {self.flavour.tool} have no interface '{self.interface}'",
                in_file("--hls-interface"),
                code="FML-OPTION",
                hint=f"choose from {', '.join(self.streams.interfaces)}",
            )
        if self.fractions:
            raise FastmlError(
                "streams carry integers only",
                in_file("--hls-ports"),
                code="FML-OPTION",
                hint="leave it at int, or build with --io parallel",
            )

    def _find_taps(self) -> list[Tap]:
        """Return the edges that are seen, in the order of their numbers."""
        if self.flow is not None:
            return network_taps(self.flow, self.streams is not None)
        named = [tap_of(op) for op in self.top.body.block.ops if isinstance(op, memref.AllocOp)]
        return [tap for tap in named if tap is not None]

    def _printer(self, function: func.FuncOp, namer: Namer) -> FunctionPrinter:
        given = self.flavour, self.symbols, namer
        if self.flow is not None and function is self.top:
            return NetworkPrinter(self.flow, *given, self.numbers)
        process = self._process(function)
        if process is not None:
            kind = TokenPrinter if copies_tokens(function) else ProcessPrinter
            return kind(process, *given, self.numbers)
        return FunctionPrinter(function, *given)

    def _process(self, function: func.FuncOp) -> Process | None:
        processes = () if self.flow is None else self.flow.processes
        return next((p for p in processes if p.function is function), None)

    # --- files -------------------------------------------------------------------------

    def files(self) -> CppProgram:
        """Print all files."""
        bodies = {name: self._function(f) for name, f in self.functions.items()}
        files = {f"{self.name}.h": self._header()}
        prototypes = [f"{bodies[n][0]};" for n, f in self.functions.items() if f is not self.top]
        functions = f"{self.name}_functions.h"
        files[functions] = _guarded(functions, [f'#include "{self.name}.h"', "", *prototypes])
        files[f"{self.name}.cpp"] = self._source([self.top], [self._top(bodies)])
        number, group, definitions = 1, list[func.FuncOp](), list[list[str]]()
        for name, function in self.functions.items():
            if function is self.top:
                continue
            lines = self._definition(name, bodies[name])
            if group and sum(map(len, definitions)) + len(lines) > FILE_STATEMENTS:
                files[f"{self.name}_{number}.cpp"] = self._source(group, definitions)
                number, group, definitions = number + 1, [], []
            group.append(function)
            definitions.append(lines)
        if group:
            files[f"{self.name}_{number}.cpp"] = self._source(group, definitions)
        printer = bodies[self.top.sym_name.data][2]
        fifos = printer.fifos if isinstance(printer, NetworkPrinter) else {}
        if self.streams is not None:
            streams = f"{self.name}_streams.h"
            files[streams] = _guarded(streams, stream_header(self.flavour))
        taps = tuple(self.taps)
        kind = self.flow is not None, self.streams is not None
        return CppProgram(self.flavour, self.name, files, self.ports, taps, *kind, fifos)

    def _source(
        self, functions: Sequence[func.FuncOp], definitions: Sequence[Sequence[str]]
    ) -> str:
        """Return a file: the memories that its functions read, and the functions."""
        read = dict[str, None]()
        for function in functions:
            for op in function.walk():
                if isinstance(op, memref.GetGlobalOp):
                    read[op.name_.string_value()] = None
        roms = [print_rom(*self._rom(name), self.pragmas) for name in read]
        text = "\n\n".join("\n".join(lines) for lines in (*roms, *definitions))
        return f'#include "{self.name}_functions.h"\n\n{text}\n'

    def _rom(self, name: str) -> tuple[str, memref.GlobalOp]:
        if name not in self.symbols.roms:
            raise FastmlError(f"there is no global '@{name}'", self.module)
        return self.symbols.roms[name]

    def _header(self) -> str:
        types = self.flavour.types
        lines = [*self.flavour.headers, "#include <stdint.h>", ""]
        if self.streams is not None:
            lines[-1:] = ["", f'#include "{self.name}_streams.h"', ""]
        for port in self.ports:
            width, signed = port.container
            kind = types.integer(width, signed)
            if port.fraction is not None:
                kind = types.fixed(width, signed, width - port.fraction)
            lines.append(f"typedef {kind} {port.type_name};  // {port.elements}"[:96])
        lines += [
            "",
            "// Called on every edge between the stages, for whoever wants to see them.",
            "#ifdef FASTML_TAP_HEADER",
            "#include FASTML_TAP_HEADER",
            "#else",
            "#define FASTML_TAP(number, array)",
            "#endif",
            "",
            f"{self._signature()};",
        ]
        return _guarded(f"{self.name}.h", lines)

    def _signature(self) -> str:
        given = list[str]()
        for port in self.ports:
            const = "" if port.is_output else "const "
            size = len(port.elements)
            beats = f"[{port.beats}]" if port.beats > 1 else ""
            if self.streams is not None:
                given.append(f"{self.streams.of(port.type_name, size)} &{port.name}")
            else:
                given.append(f"{const}{port.type_name} {port.name}{beats}[{size}]")
        return f"void {self.name}({', '.join(given)})"

    # --- functions ---------------------------------------------------------------------

    def _function(self, function: func.FuncOp) -> tuple[str, list[str], FunctionPrinter]:
        """Return signature, statements and printer of a function."""
        namer = Namer(self.taken)
        printer = self._printer(function, namer)
        is_top = function is self.top
        if is_top:
            names = [port.name for port in self.ports]
            for port in names:
                namer.claim(port)
            names = [
                namer.unique(f"{port.name}_bits") if port.fraction is not None else port.name
                for port in self.ports
            ]
        else:
            given = directives.argument_attributes(function)
            names = [
                namer.unique(directives.text(attributes, directives.PORT) or f"x{k}")
                for k, attributes in enumerate(given)
            ]
        arguments = printer.parameters(names)
        lines = printer.body()
        name = self.symbols.functions[function.sym_name.data]
        return f"void {name}({arguments})", lines, printer

    def _pipeline(self, function: func.FuncOp) -> str:
        """Return the directive of a function without loops: it takes a frame every II cycles."""
        if function.sym_name.data in self.symbols.looped:
            return ""
        if function is self.top and self.flow is not None:
            return ""
        interval = directives.integer(function.attributes, directives.II) or 1
        return self.pragmas.function_pipeline.format(ii=interval)

    def _definition(self, name: str, printed: tuple[str, list[str], FunctionPrinter]) -> list[str]:
        """Return the definition of the function of a stage."""
        signature, lines, printer = printed
        function = self.functions[name]
        inside = self.pragmas.inside
        if self.streams is not None and isinstance(printer, ProcessPrinter | TokenPrinter):
            head = self.pragmas.process
            return _assemble([head], signature, [self._pipeline(function)], lines, inside)
        pragmas = [self._pipeline(function), *self._array_pragmas(function, printer)]
        unread = [a for a in function.args if not a.uses.get_length()]
        for argument in unread:  # a name that nobody uses is a warning
            array = printer.array(argument).name
            signature = signature.replace(f" {array}[", f" /* {array} */[")
            pragmas = [text for text in pragmas if f"={array} " not in text]
        if directives.DATAFLOW in function.attributes:
            pragmas.append(self.pragmas.dataflow)
        return _assemble([self.pragmas.block], signature, pragmas, lines, inside)

    def _array_pragmas(self, function: func.FuncOp, printer: FunctionPrinter) -> list[str]:
        if not self.pragmas.inside:
            return []
        found = list[str]()
        described = directives.argument_attributes(function)
        for argument, attributes in zip(function.args, described, strict=True):
            found += printer.memories.pragmas(printer.array(argument).name, attributes)[1]
        return found

    def _top(self, bodies: Mapping[str, tuple[str, list[str], FunctionPrinter]]) -> list[str]:
        """Return the definition of the top function."""
        _, lines, printer = bodies[self.top.sym_name.data]
        port_pragma, function_pragma = self.flavour.interfaces[self.interface]
        if self.streams is not None:
            port_pragma = self.streams.interfaces[self.interface]
        pragmas = [function_pragma]
        pragmas += [port_pragma.format(name=port.name) for port in self.ports]
        pragmas.append(self._pipeline(self.top))
        if directives.DATAFLOW in self.top.attributes:
            pragmas.append(self.pragmas.dataflow)
        described = directives.argument_attributes(self.top)
        for port, attributes in zip(self.ports, described, strict=True):
            if self.streams is not None:
                pragmas.append(self.streams.pack.format(name=port.name))
            elif self.pragmas.inside:
                pragmas += printer.memories.pragmas(port.name, attributes)[1]
        enter, leave = list[str](), list[str]()
        for port, argument in zip(self.ports, self.top.args, strict=True):
            array = printer.array(argument)
            if port.fraction is not None:
                copied = self._copy(port, array.name)
                declared = f"  {self.flavour.types.integer(array.width, array.signed)} {array.name}"
                enter.append(f"{declared}[{len(port.elements)}];")
                (leave if port.is_output else enter).extend(copied)
        taps = [
            f"  FASTML_TAP({number}, {printer.array(tap.memory).name});"
            for number, tap in enumerate(self.taps if self.flow is None else ())
        ]
        lines = [*enter, *lines, *leave, *taps]
        return _assemble([self.pragmas.top], self._signature(), pragmas, lines, self.pragmas.inside)

    def _copy(self, port: CppPort, bits: str) -> list[str]:
        """Copy the bits of a fixed-point port, as they are."""
        width, _ = port.container
        i = Namer([port.name, bits]).unique("i")
        types, element = self.flavour.types, f"{port.name}[{i}]"
        if port.is_output:
            text = types.from_bits.format(x=element, bits=f"{bits}[{i}]", width=width)
        else:
            text = f"{bits}[{i}] = {types.to_bits.format(x=element, width=width)}"
        text = text.replace(".template ", ".")
        loop = f"  for (int {i} = 0; {i} < {len(port.elements)}; ++{i}) {{"
        unroll = self.pragmas.unroll_all
        if self.pragmas.inside:
            return [loop, unroll, f"    {text};", "  }"]
        return [f"  {unroll}", loop, f"    {text};", "  }"]


def _assemble(
    heads: Sequence[str],
    signature: str,
    pragmas: Sequence[str],
    lines: Sequence[str],
    inside: bool,
) -> list[str]:
    """Put a definition together; empty pragmas are left out."""
    given = [text for text in pragmas if text]
    heads = [text for text in heads if text]
    if inside:
        return [*heads, f"{signature} {{", *given, *lines, "}"]
    return [*heads, *given, f"{signature} {{", *lines, "}"]


def _guarded(name: str, lines: Sequence[str]) -> str:
    guard = f"FASTML_{name.upper().replace('.', '_')}"
    return "\n".join([f"#ifndef {guard}", f"#define {guard}", "", *lines, "", "#endif", ""])


def print_program(
    module: ModuleOp,
    flavour: Flavour,
    interface: str = "wires",
    fractions: Mapping[str, int] | None = None,
) -> CppProgram:
    """Print a module of the affine level.

    ``fractions`` gives the bits after the point of the edges whose ports become fixed-point
    numbers; the other ports hold integers.
    """
    return ProgramPrinter(module, flavour, interface, fractions).files()
