"""Waves of an execution, as a level sees it: measured on every wire, or predicted on edges.

What is measured comes from a second simulation with the inputs of the first one, which the
protocol decided upon; it looks at every wire, a stretch of cycles at a time. A number is x
where it differs between two runs whose registers and memories begin with complementary bits.
What is predicted is shown in the cycles for which the schedule says it; all else is x.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from xdsl.dialects import hw, seq
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.runtime.bits import NARROW, Packer, Words, field, word_count
from fastml.runtime.clocked_levels import ClockedLevel, HardwareLevel, RtlLevel
from fastml.runtime.host import Host
from fastml.runtime.hw import CHUNK, HwSimulator, Undefined
from fastml.runtime.hw_netlist import Names
from fastml.runtime.hw_sources import VALID
from fastml.runtime.streams import StreamDrive
from fastml.runtime.trace import Stimulus, Trace
from fastml.runtime.vcd import Path as Signal
from fastml.runtime.vcd import WaveWriter
from fastml.runtime.verilator import VerilatedDesign

_WORDS = 1 << 22
"""Words of signals that are held at once."""
Driven = Mapping[str, Words]
"""The bits of every input in each cycle, from the beginning of the first reset."""


class _Observed:
    """A design that tells what its inputs carried; it runs as the one inside."""

    settle: int | None = None

    def __init__(self, design: HwSimulator | VerilatedDesign, observe: Callable[[Driven], None]):
        self._design = design
        self._observe = observe
        self.inputs = design.inputs
        self.watched = design.watched
        self.settle = design.settle

    def run(
        self, inputs: Mapping[str, Words], cycles: int, undefined: Undefined = Undefined.ZEROS
    ) -> dict[str, Words]:
        if undefined is Undefined.PATTERN:
            self._observe({name: words[:cycles] for name, words in inputs.items()})
        return self._design.run(inputs, cycles, undefined)

    def stream(
        self, plan: StreamDrive, undefined: Undefined = Undefined.PATTERN
    ) -> dict[str, Words]:
        words = self._design.stream(plan, undefined)
        if undefined is Undefined.PATTERN:
            self._observe(driven_by(plan, words))
        return words


def driven_by(plan: StreamDrive, words: Mapping[str, Words]) -> Driven:
    """Return what sources and sinks drove, from what a run of :class:`StreamDrive` shows."""
    cycles = len(next(iter(words.values())))
    driven = {name: words[name] for name in plan.widths if name in words}
    driven = plan.open_loop(0, cycles) | driven
    for port, source in plan.sources.items():
        if port not in driven or not len(source.beats):
            continue
        presented = words[port + VALID][:, 0] != 0
        presented[: plan.origin] = False
        taken = presented & (words[f"{port}_ready"][:, 0] != 0)
        number = np.cumsum(taken) - taken
        data = driven[port].copy()
        data[presented] = source.beats[number[presented]]
        driven[port] = data
    return driven


class RecordedLevel(ClockedLevel):
    """A clocked level that also writes the waves of its next simulation to a file."""

    def __init__(self, level: HardwareLevel | RtlLevel, write: Callable[[Driven], None]):
        self.name = level.name
        self.host: Host | None = level.host
        self.pinout = level.pinout
        self._level = level
        self._write = write
        self._driven: Driven | None = None

    def build(self, watch: Mapping[str, int]) -> _Observed:
        """Make the design ready to run."""
        return _Observed(self._level.build(watch), self._observe)

    build_streamed = build

    def _observe(self, driven: Driven) -> None:
        self._driven = driven

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Simulate, then once more to look at every wire."""
        trace = super().simulate(stimulus, taps)
        assert self._driven is not None
        self._write(self._driven)
        return trace


def recorded_hardware(level: HardwareLevel, names: Names, path: Path) -> RecordedLevel:
    """Let a simulation of ``hw`` write its waves; ``names`` are those of the RTL."""

    def write(driven: Driven) -> None:
        with open_waves(path) as file:
            write_hardware(file, level.module, level.pinout.top, names, driven)

    return RecordedLevel(level, write)


def recorded_rtl(level: RtlLevel, path: Path) -> RecordedLevel:
    """Let Verilator write the waves of a simulation."""

    def write(driven: Driven) -> None:
        from fastml.runtime.verilator_waves import trace_waves

        with open_waves(path) as file:
            trace_waves(level.files, level.pinout, driven, file)

    return RecordedLevel(level, write)


def open_waves(path: Path) -> IO[str]:
    """Open a file to write waves to."""
    try:
        return path.open("w", encoding="ascii", newline="\n")
    except OSError as error:
        reason = error.strerror or str(error)
        raise FastmlError(
            f"cannot be written: {reason}", in_file(str(path)), code="FML-FILE"
        ) from error


def write_hardware(file: IO[str], module: ModuleOp, top: str, names: Names, driven: Driven) -> None:
    """Simulate ``top`` with the given inputs, and write what every named wire carries."""
    simulator = HwSimulator(module, top, names=names)
    groups = simulator.aliases()
    shown = [group[0] for group in groups]
    widths = [simulator.watched[name] for name in shown]
    layouts = [simulator.parts(name) for name in shown]
    with WaveWriter(file) as waves:
        waves.clock(clocks(module, top))
        for group, width in zip(groups, widths, strict=True):
            waves.declare([(top, *name.split(".")) for name in sorted(set(group))], width)
        cycles = len(next(iter(driven.values())))
        length = max(1, min(CHUNK, _WORDS // max(1, sum(map(word_count, widths)))))
        runs = [
            simulator.stretches(driven, cycles, choice, length)
            for choice in (Undefined.PATTERN, Undefined.INVERSE)
        ]
        settle = cycles if simulator.settle is None else simulator.settle
        for start in range(0, cycles, length):
            seen = next(runs[0])
            other = next(runs[1]) if start < settle else None
            waves.write(
                [seen[name] for name in shown],
                [
                    None if other is None else undefined(seen[name], other[name], parts)
                    for name, parts in zip(shown, layouts, strict=True)
                ],
                min(length, cycles - start),
            )


def undefined(words: Words, other: Words, parts: Sequence[tuple[int, int]]) -> Words:
    """Return the bits of all parts that differ anywhere; ``other`` is from another run."""
    differs = words ^ other
    rows = np.flatnonzero(differs.any(axis=1))
    if len(rows):
        width = max(offset + count for offset, count in parts)
        packer = Packer(len(rows), width)
        for offset, count in parts:
            odd = field(differs[rows], offset, count) != 0
            ones = (1 << count) - 1
            kind = np.int64 if count <= NARROW else object
            packer.put(odd.astype(kind) * ones, offset, count)
        differs[rows] = packer.words()
    return differs


def clocks(module: ModuleOp, top: str) -> list[Signal]:
    """Return the names of the clock in every instance under ``top``."""
    modules = {op.sym_name.data: op for op in module.ops if isinstance(op, hw.HWModuleOp)}
    found: list[Signal] = []

    def visit(op: hw.HWModuleOp, path: Signal) -> None:
        for port in op.module_type.ports:
            if port.type == seq.clock:
                found.append((*path, port.port_name.data))
        for inner in op.body.block.ops:
            if isinstance(inner, hw.InstanceOp):
                child = modules[inner.module_name.root_reference.data]
                visit(child, (*path, inner.instance_name.data))

    visit(modules[top], (top,))
    return found
