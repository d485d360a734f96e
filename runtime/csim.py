"""Run HLS C++ as plain C++: compiled by g++ against the real integer headers.

A few lines of C beside the printed files give them an interface of 64-bit words, through
which NumPy arrays go in and out: an element of more than 64 bits takes several words, the
low one first. What C++ gives is values; cycles are what the schedule predicts.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.elements import Elements
from fastml.runtime.host import Host, unknown_edge
from fastml.runtime.levels import PULSE, Level
from fastml.runtime.trace import Integers, Signal, Stimulus, Trace, narrow
from fastml.runtime.verilator import cache_folder
from fastml.runtime.weights import refuse_loads

LIMB = 64
STACK_BYTES = 1 << 29
"""Stack for a network of processes: address space, of which it takes what it touches."""
CODE = Path(__file__).with_name("csim_sources")
"""Folder of the C++ that is compiled beside a design."""
STANDIN = CODE / "standin"
"""Folder of headers that take the place of a tool's own where those are missing."""
FAST_BUILD = ("-O0", "-fno-exceptions")
"""What builds soonest; the headers are slow to optimise."""
_MAIN_HEADER = {"ap_types": "ap_int.h", "ac_types": "ac_int.h"}
_WHEELS = {
    "ap_types": (
        ("da4ml", "codegen/hls/source/ap_types/include"),
        ("alkaid", "codegen/hls/source/ap_types/include"),
        ("hls4ml", "templates/vivado/ap_types"),
    ),
    "ac_types": (
        ("da4ml", "codegen/hls/source/ac_types/include"),
        ("alkaid", "codegen/hls/source/ac_types/include"),
        ("hls4ml", "templates/catapult/ac_types/include"),
    ),
}
"""Where installed packages keep the headers."""


@dataclass(frozen=True)
class CppPort:
    """A port of the top function: an array of numbers."""

    edge: str
    name: str
    type_name: str
    is_output: bool
    elements: Elements
    fraction: int | None = None
    """Bits after the point where the type is a fixed-point one, else ``None``."""
    cycles: tuple[int, ...] | None = None
    """When each element of an output is there, if not in the cycle that its beat leaves in."""
    beats: int = 1
    """Beats a frame."""
    depth: int = 0
    """Beats of the FIFO at the port, if there is one."""

    @property
    def container(self) -> tuple[int, bool]:
        """Width and sign of an element of the array."""
        width, signed = self.elements.container
        return max(width, 1), signed


@dataclass(frozen=True)
class CppTap:
    """An edge between the stages: its layout, and when each element is there."""

    elements: Elements
    cycles: tuple[int, ...]
    """Empty in a network of processes, of whose times C++ knows nothing."""
    beats: int = 1


@dataclass(frozen=True)
class CppDesign:
    """C++ files, with what must be known to compile and to call them."""

    flavour: str
    library: str
    """``ap_types`` or ``ac_types``."""
    standard: str
    flags: tuple[str, ...]
    files: Mapping[str, str]
    top: str
    ports: tuple[CppPort, ...]
    taps: Mapping[str, CppTap]
    """By edge, in the order of their numbers."""
    ii: int
    latency: int
    protocol: str = PULSE
    streams: bool = False
    """Whether the ports are streams of beats, instead of arrays."""
    fifos: Mapping[str, int] = field(default_factory=dict[str, int])
    """Depth of each stream between processes."""

    @property
    def inputs(self) -> list[CppPort]:
        """Ports that take numbers."""
        return [port for port in self.ports if not port.is_output]

    @property
    def outputs(self) -> list[CppPort]:
        """Ports that give numbers."""
        return [port for port in self.ports if port.is_output]


@dataclass(frozen=True)
class BuildCost:
    """What compiling a design took."""

    cpu_seconds: float
    """Of all compilers together."""
    peak_bytes: int
    """Of the largest compiler."""
    files: int

    def __str__(self) -> str:
        return (
            f"g++ took {self.cpu_seconds:.1f} s of CPU for {self.files} files, "
            f"{self.peak_bytes / 1e6:.0f} MB for the largest"
        )


def find_headers(library: str, given: Path | None = None) -> Path:
    """Return the folder of the headers of ``library``; ``FML-TOOL`` says how to get them."""
    header = _MAIN_HEADER[library]
    if given is not None:
        for below in (".", "include", library, f"{library}/include"):
            if (given / below / header).is_file():
                return (given / below).resolve()
        raise FastmlError(
            f"does not hold '{header}'",
            in_file(str(given)),
            code="FML-TOOL",
            hint=f"name the folder of {library}",
        )
    for package, below in _WHEELS[library]:
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec is not None else ():
            if (Path(root) / below / header).is_file():
                return Path(root) / below
    raise FastmlError(
        f"the C++ headers of {library} ('{header}') are not installed",
        in_file("csim"),
        code="FML-TOOL",
        hint="pip install 'fastmlc[hls]', or give their folder with --ap-types DIR",
    )


def limbs_of(values: Integers, width: int) -> NDArray[np.int64]:
    """Return integers as words of 64 bits, the low one first: (..., elements * limbs)."""
    limbs = -(-width // LIMB)
    if limbs == 1 and values.dtype != object:
        return np.ascontiguousarray(values, np.int64)
    exact = values.astype(object)
    mask, half = (1 << LIMB) - 1, 1 << (LIMB - 1)
    parts = [(((exact >> (LIMB * k)) & mask) ^ half) - half for k in range(limbs)]
    return np.ascontiguousarray(np.stack(parts, -1).astype(np.int64).reshape(len(values), -1))


def integers_of(words: NDArray[np.int64], width: int, signed: bool) -> Integers:
    """Invert :func:`limbs_of`, for a type of the given width and sign."""
    limbs = -(-width // LIMB)
    if limbs == 1 and (signed or width < LIMB):
        return words
    parts = words.reshape(len(words), -1, limbs).astype(object)
    mask = (1 << LIMB) - 1
    value = parts[:, :, -1] if signed else parts[:, :, -1] & mask
    for k in range(limbs - 2, -1, -1):
        value = (value << LIMB) | (parts[:, :, k] & mask)
    return narrow(value)


@cache
def _compiler() -> tuple[str, str]:
    """Return the C++ compiler and its version."""
    found = os.environ.get("CXX") or "g++"
    path = shutil.which(found)
    if path is None:
        raise FastmlError(
            f"'{found}' is not installed",
            in_file("csim"),
            code="FML-TOOL",
            hint="install g++, or name a C++ compiler in $CXX",
        )
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return path, asked.stdout


def _harness(design: CppDesign) -> str:
    """Print the calls of the top function, frame by frame."""
    lines = [
        f'#include "{design.top}.h"',
        "",
        "int64_t *const *fastml_taps;",
        "int64_t *fastml_seen;",
        "",
        'extern "C" void fastml_run(',
        "    int64_t frames, int64_t *const *ports, int64_t *const *taps, int64_t *seen) {",
        "  fastml_taps = taps;",
        "  fastml_seen = seen;",
    ]
    lines += [f"  {declare_port(design, k)}" for k in range(len(design.ports))]
    lines.append("  for (int64_t frame = 0; frame < frames; ++frame) {")
    lines += _transfers(design, outputs=False)
    lines.append(f"    {design.top}({', '.join(f'port{k}' for k in range(len(design.ports)))});")
    lines += _transfers(design, outputs=True)
    return "\n".join([*lines, "  }", "}", ""])


def declare_port(design: CppDesign, number: int) -> str:
    """Declare what the top function takes, as ``port0`` and so on; beats are ``port0_beats``."""
    port, name = design.ports[number], f"port{number}"
    size = f"[{len(port.elements)}]"
    if not design.streams:
        beats = f"[{port.beats}]" if port.beats > 1 else ""
        return f"static {port.type_name} {name}{beats}{size};"
    beat = f"fastml::beat<{port.type_name}, {len(port.elements)}>"
    stream = "hls::stream" if design.library == "ap_types" else "ac_channel"
    return f"static {stream}<{beat} > {name}; static {beat} {name}_beat;"


def _transfers(design: CppDesign, *, outputs: bool) -> list[str]:
    call = "fastml_get_beat" if outputs else "fastml_put_beat"
    lines = list[str]()
    for k, port in enumerate(design.ports):
        if port.is_output != outputs:
            continue
        beat = f"port{k}" if port.beats == 1 else f"port{k}[b]"
        beat = f"port{k}_beat.element" if design.streams else beat
        text = f"{call}({beat}, ports[{k}], frame * {port.beats} + b);"
        if design.streams and outputs:
            text = f"port{k}_beat = port{k}.read(); {text}"
        elif design.streams:
            text = f"{text} port{k}.write(port{k}_beat);"
        lines.append(f"    for (int b = 0; b < {port.beats}; ++b) {{ {text} }}")
    return lines


def build_library(design: CppDesign, headers: Path, flags: Sequence[str] = FAST_BUILD) -> Path:
    """Compile a design into a shared library, or find it in the cache."""
    compiler, version = _compiler()
    support = {
        "fastml_taps.h": (CODE / f"{design.library}.h").read_text() + (CODE / "taps.h").read_text(),
        "fastml_run.cpp": _harness(design),
    }
    options = [
        f"-std={design.standard}",
        *flags,
        *design.flags,
        "-fPIC",
        "-Wall",
        "-Wextra",
        '-DFASTML_TAP_HEADER="fastml_taps.h"',
        "-isystem",
        str(headers),
        "-idirafter",
        str(STANDIN),
    ]
    key = blake2b(digest_size=16)
    files = {**design.files, **support}
    standins = [path.read_text() for path in sorted(STANDIN.iterdir()) if design.streams]
    stamp = str((headers / _MAIN_HEADER[design.library]).stat().st_mtime_ns)
    for text in (compiler, version, stamp, *options, *standins):
        key.update(text.encode() + b"\0")
    for name, text in files.items():
        key.update(name.encode() + b"\0" + text.encode() + b"\0")
    folder = cache_folder() / "csim"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{key.hexdigest()}.so"
    if not library.exists() or not library.with_suffix(".json").exists():
        with tempfile.TemporaryDirectory(dir=folder) as name:
            work = Path(name)
            for file, text in files.items():
                (work / file).write_text(text)
            cost = _compile(compiler, options, [n for n in files if n.endswith(".cpp")], work)
            (work / "cost.json").write_text(json.dumps(asdict(cost)))
            os.replace(work / "cost.json", library.with_suffix(".json"))
            os.replace(work / "design.so", library)
    return library


def _compile(
    compiler: str, options: Sequence[str], sources: Sequence[str], work: Path
) -> BuildCost:
    targets = [f"{source}.o" for source in sources]
    commands = [
        [compiler, *options, "-c", source, "-o", target]
        for source, target in zip(sources, targets, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        used = list(pool.map(_command, commands, [work] * len(commands)))
    used.append(_command([compiler, "-shared", *options, *targets, "-o", "design.so"], work))
    return BuildCost(sum(cpu for cpu, _ in used), max(peak for _, peak in used), len(sources))


_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts resident memory."""
_MEASURED = f"""
import os, resource, sys
status = os.spawnvp(os.P_WAIT, sys.argv[2], sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    file.write(f"{{used.ru_utime + used.ru_stime}} {{used.ru_maxrss * {_RSS_UNIT}}}")
sys.exit(status != 0)
"""
"""Runs a command and says what it used. It is a process of its own, since the memory of a
child counts what its parent had when it was forked, which for a compiler of networks is much.
"""


def _command(command: Sequence[str], folder: Path) -> tuple[float, int]:
    """Run a command; return its seconds of CPU and its most bytes."""
    with tempfile.NamedTemporaryFile("r", dir=folder) as used:
        measured = [sys.executable, "-I", "-S", "-c", _MEASURED, used.name, *command]
        done = subprocess.run(measured, cwd=folder, capture_output=True, text=True, check=False)
        if not done.returncode:
            cpu, peak = used.read().split()
            return float(cpu), int(peak)
    said = done.stderr.splitlines()
    lines = [line for line in said if "error" in line]
    reason = (lines or said or ["it gave no reason"])[0]
    raise FastmlError(f"{command[0]} failed: {reason}", in_file("csim"), code="FML-TOOL")


class CompiledDesign:
    """A design in a shared library, called on arrays of integers."""

    def __init__(self, design: CppDesign, library: Path):
        self.design = design
        self.library = library
        self._run: Any = ctypes.CDLL(str(library)).fastml_run
        self._run.restype = None
        self._run.argtypes = [ctypes.c_int64, *[ctypes.c_void_p] * 3]

    @property
    def cost(self) -> BuildCost:
        """What compiling took, when it was done."""
        return BuildCost(**json.loads(self.library.with_suffix(".json").read_text()))

    def __call__(
        self, beats: Mapping[str, Integers], taps: Sequence[str] = ()
    ) -> tuple[dict[str, Integers], dict[str, Integers]]:
        """Return outputs and tapped edges, by edge, of the frames of ``beats``."""
        design = self.design
        first = next((port for port in design.ports if not port.is_output), None)
        frames = 1 if first is None else len(beats[first.edge]) // first.beats
        words = list[NDArray[np.int64]]()
        for port in design.ports:
            width = port.container[0]
            if port.is_output:
                limbs = len(port.elements) * -(-width // LIMB)
                words.append(np.zeros((frames * port.beats, limbs), np.int64))
            else:
                words.append(limbs_of(beats[port.edge], width))
        tapped = dict[str, NDArray[np.int64]]()
        for edge in taps:
            if edge in design.taps:
                elements, rows = design.taps[edge].elements, frames * design.taps[edge].beats
                limbs = -(-max(elements.container[0], 1) // LIMB)
                tapped[edge] = np.zeros((rows, len(elements) * limbs), np.int64)
        seen = np.zeros(max(len(design.taps), 1), np.int64)
        taken = _pointers([tapped.get(edge) for edge in design.taps])
        self._call(frames, _pointers(words), taken, seen.ctypes.data)
        outputs = {
            port.edge: integers_of(array, *port.container)
            for port, array in zip(design.ports, words, strict=True)
            if port.is_output
        }
        found = dict[str, Integers]()
        for edge in taps:
            if edge in tapped:
                width, signed = design.taps[edge].elements.container
                found[edge] = integers_of(tapped[edge], max(width, 1), signed)
            else:
                found[edge] = outputs[edge] if edge in outputs else beats[edge]
        return outputs, found

    def _call(self, *arguments: Any) -> None:
        """Call the library; what keeps frames of images needs a large stack."""
        if self.design.protocol == PULSE:
            self._run(*arguments)
            return
        caller = threading.Thread(target=self._run, args=arguments)
        usual = threading.stack_size(STACK_BYTES)
        try:
            caller.start()
        finally:
            threading.stack_size(usual)
        caller.join()


def _pointers(arrays: Sequence[NDArray[np.int64] | None]) -> Any:
    addresses = [None if array is None else array.ctypes.data for array in arrays]
    return (ctypes.c_void_p * max(len(addresses), 1))(*addresses)


@dataclass
class CsimLevel(Level):
    """The printed C++, compiled and called; its cycles are those of the schedule."""

    design: CppDesign
    host: Host | None
    headers: Path | None = None
    """Where the integer headers are, if not in an installed package."""
    flags: Sequence[str] = FAST_BUILD
    _built: CompiledDesign | None = field(default=None, repr=False)
    name = "csim"

    @property
    def time(self) -> tuple[int, int] | None:
        """What the schedule says."""
        return self.design.ii, self.design.latency

    @property
    def notes(self) -> list[str]:
        """What compiling took."""
        said = [] if self._built is None else [f"csim: {self._built.cost}"]
        if self.design.protocol != PULSE:
            said.append("csim: values alone, since C++ has no time of streams")
        return said

    @property
    def input_edges(self) -> list[str]:
        """The edges of the input ports."""
        return [port.edge for port in self.design.inputs]

    @property
    def protocol(self) -> str:
        """What the ports stand for in hardware; C++ has no stalls."""
        return self.design.protocol

    @property
    def beat_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Beats a frame and elements a beat of the input edges."""
        return {port.edge: (port.beats, len(port.elements)) for port in self.design.inputs}

    @property
    def edges(self) -> Collection[str]:
        """The ports, and the arrays between functions."""
        return {port.edge for port in self.design.ports} | self.design.taps.keys()

    def build(self) -> CompiledDesign:
        """Compile, once."""
        if self._built is None:
            headers = find_headers(self.design.library, self.headers)
            library = build_library(self.design, headers, self.flags)
            self._built = CompiledDesign(self.design, library)
        return self._built

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Call the top function on every frame."""
        refuse_loads(stimulus, "level 'csim'")
        design = self.design
        ports = {port.edge: port.elements for port in design.ports}
        for name in taps:
            if name not in ports and name not in design.taps:
                raise unknown_edge(name, {**ports, **design.taps})
        for name in stimulus.beats:
            if name not in self.input_edges:
                raise FastmlError("is no input of the design", in_file(name), code="FML-STIMULUS")
        outputs, tapped = self.build()(stimulus.beats, taps)
        if design.protocol != PULSE:
            return _untimed(design, stimulus.frames, outputs, tapped)
        offers = stimulus.offer_cycles(design.ii)[:, np.newaxis]
        early = {port.edge: port.cycles for port in design.outputs}
        early |= {edge: None for edge in self.input_edges}
        inputs = set(self.input_edges)
        signals = dict[str, Signal]()
        for name, values in tapped.items():
            late = design.taps[name].cycles if name in design.taps else early[name]
            if late is None:
                late = (0 if name in inputs else design.latency,) * values.shape[1]
            signals[name] = Signal(values, offers + np.array(late, np.int64))
        return Trace(
            {edge: Signal(values, offers + design.latency) for edge, values in outputs.items()},
            signals,
        )


def _untimed(
    design: CppDesign,
    frames: int,
    outputs: Mapping[str, Integers],
    tapped: Mapping[str, Integers],
) -> Trace:
    """Return the values of a network, with the time that it states: C++ has none of its own."""
    states = np.arange(frames, dtype=np.int64) * design.ii + design.latency
    return Trace(
        {
            edge: Signal(values, np.repeat(states, len(values) // frames)[:, np.newaxis])
            for edge, values in outputs.items()
        },
        {
            edge: Signal(values, np.zeros((len(values), 0), np.int64))
            for edge, values in tapped.items()
        },
    )
