"""Waves that the schedule predicts: ports, and the wires of edges, in the cycles it gives.

The level knows edges and cycles; the pinout knows which wires carry them, and where in the
wire each element lies. A bit that nothing is said of in a cycle is x.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.names import legalise
from fastml.dialects.token_flow import FifoRecord
from fastml.runtime.bits import Packer, Words, pack_rows, word_count
from fastml.runtime.clocked import RESET, RESET_CYCLES, drive
from fastml.runtime.clocked_levels import SLACK, Pinout, Port
from fastml.runtime.hw import CHUNK
from fastml.runtime.hw_sources import READY, VALID
from fastml.runtime.levels import PULSE, Level
from fastml.runtime.trace import Integers, Signal, Stimulus, Trace
from fastml.runtime.vcd import WaveWriter
from fastml.runtime.waves import open_waves

CLOCK = "clk"


@dataclass
class Wire:
    """What is known of one wire: rows of bits, and the cycles in which they are there."""

    width: int
    parts: list[tuple[NDArray[np.int64], Words, Words]] = field(
        default_factory=list[tuple[NDArray[np.int64], Words, Words]]
    )
    """Cycles, bits in each of them, and one row that says which bits are known."""

    def add(self, cycles: NDArray[np.int64], bits: Words, known: Words) -> None:
        """Say what the wire carries in some cycles, in ascending order."""
        self.parts.append((cycles, bits, known))

    def say(self, cycles: NDArray[np.int64], bits: Words) -> None:
        """Say all bits of the wire in some cycles."""
        self.add(cycles, bits, _ones(self.width))

    def show(self, start: int, count: int) -> tuple[Words, Words]:
        """Return the bits of some cycles, and which of them are unknown."""
        value = np.zeros((count, word_count(self.width)), np.uint32)
        unknown = np.repeat(_ones(self.width), count, axis=0)
        for cycles, bits, known in self.parts:
            first, last = np.searchsorted(cycles, [start, start + count])
            rows = cycles[first:last] - start
            value[rows] = value[rows] & ~known | bits[first:last]
            unknown[rows] &= ~known
        return value, unknown


def _ones(width: int) -> Words:
    packer = Packer(1, width)
    packer.put((1 << width) - 1, 0, width)
    return packer.words()


class PredictedLevel(Level):
    """A level that predicts, and writes the waves of its simulation to a file."""

    def __init__(self, level: Level, pinout: Pinout, path: Path):
        self.name = level.name
        self.host = level.host
        self._level = level
        self._pinout = pinout
        self._path = path

    @property
    def time(self) -> tuple[int, int] | None:
        """What the level says."""
        return self._level.time

    @property
    def input_edges(self) -> list[str]:
        """The edges at which beats enter."""
        return self._level.input_edges

    @property
    def protocol(self) -> str:
        """The protocol of the ports."""
        return self._level.protocol

    @property
    def beat_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Beats a frame and elements a beat of the input edges."""
        return self._level.beat_shapes

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Simulate with every edge that has a wire tapped; write the waves."""
        wanted = list(dict.fromkeys([*taps, *self._pinout.taps]))
        trace = self._level.simulate(stimulus, wanted)
        with open_waves(self._path) as file:
            write_predicted(file, self._pinout, *predict(self._pinout, stimulus, trace))
        return replace(trace, taps={name: trace.taps[name] for name in taps})


def predict(pinout: Pinout, stimulus: Stimulus, trace: Trace) -> tuple[dict[str, Wire], int]:
    """Return what is known of each wire of the top module, and how many cycles there are.

    Stimulus and trace go by edge. Cycles count from the beginning of the reset.
    """
    wires = {RESET: Wire(1)}
    if pinout.protocol == PULSE:
        ports = {port.edge: port.port for port in pinout.inputs}
        beats = {ports[edge]: values for edge, values in stimulus.beats.items()}
        layouts = [port.layout for port in pinout.inputs]
        given = replace(stimulus, beats=beats)
        plan = drive(pinout.input_widths, layouts, given, pinout.ii, pinout.drain, pinout.weights)
        origin, cycles = plan.origin, plan.cycles
        for name, words in plan.words.items():
            wires.setdefault(name, Wire(pinout.input_widths[name])).say(np.arange(cycles), words)
    else:
        origin = RESET_CYCLES + (int(stimulus.gaps[0]) if stimulus.frames else 0)
        found = [s.cycles for s in (*trace.outputs.values(), *trace.taps.values())]
        found += list(trace.accepted.values())
        cycles = origin + max((int(c.max(initial=0)) for c in found), default=0) + SLACK
        reset = (np.arange(cycles) < RESET_CYCLES).astype(np.uint32)
        wires[RESET].say(np.arange(cycles), reset[:, None])
        for port in pinout.inputs:
            when = trace.accepted[port.edge] + origin
            _transfer(wires, port, when, stimulus.beats[port.edge])
    for port in pinout.outputs:
        answer = trace.outputs[port.edge]
        when = answer.cycles.max(axis=1, initial=0) + origin
        if pinout.protocol == PULSE:
            later = np.arange(RESET_CYCLES, cycles)
            valid = np.isin(later, when).astype(np.uint32)[:, None]
            wires[port.port + VALID] = Wire(1)
            wires[port.port + VALID].say(later, valid)
        _transfer(wires, port, when, answer.values)
    for name, tap in pinout.taps.items():
        if width := sum(tap.widths):
            wire = wires.setdefault(tap.wire, Wire(width))
            _say_elements(wire, tap.widths, trace.taps[name], origin)
    for record in trace.fifos.values():
        _say_levels(wires, record, origin, cycles)
    return wires, cycles


def _transfer(wires: dict[str, Wire], port: Port, when: NDArray[np.int64], beats: Integers) -> None:
    """Say that beats pass a port in some cycles."""
    signals = [VALID, READY] if port.protocol != PULSE else [VALID]
    for name in [port.port + suffix for suffix in signals]:
        wires.setdefault(name, Wire(1)).say(when, np.ones((len(when), 1), np.uint32))
    if width := port.elements.total_width:
        bits = pack_rows(beats, port.elements.widths)
        wires.setdefault(port.port, Wire(width)).say(when, bits)


def _say_levels(wires: dict[str, Wire], fifo: FifoRecord, origin: int, cycles: int) -> None:
    """Say how many beats a FIFO holds, and how many slots of it are taken."""
    later = np.arange(RESET_CYCLES, cycles)
    levels = {"count": fifo.held_at(later - origin), "used": fifo.used_at(later - origin)}
    for name, level in levels.items():
        most = int(level.max(initial=0)) if fifo.depth is None else fifo.depth
        wire = wires[f"{legalise(fifo.name)}.{name}"] = Wire(max(most.bit_length(), 1))
        wire.say(later, level.astype(np.uint32)[:, None])


def _say_elements(wire: Wire, widths: Sequence[int], signal: Signal, origin: int) -> None:
    """Say every element of an edge, each in its own cycle."""
    cycles = np.broadcast_to(signal.cycles, signal.values.shape)
    columns, group_of = np.unique(cycles, axis=1, return_inverse=True)
    offsets = np.cumsum([0, *widths])
    for group in range(columns.shape[1]):
        bits, known = (Packer(count, wire.width) for count in (len(cycles), 1))
        for element in np.flatnonzero(group_of.reshape(-1) == group).tolist():
            if width := widths[element]:
                bits.put(signal.values[:, element], int(offsets[element]), width)
                known.put((1 << width) - 1, int(offsets[element]), width)
        wire.add(columns[:, group] + origin, bits.words(), known.words())


def write_predicted(file: IO[str], pinout: Pinout, wires: Mapping[str, Wire], cycles: int) -> None:
    """Write the waves of :func:`predict`."""
    with WaveWriter(file) as waves:
        waves.clock([(pinout.top, CLOCK)])
        for name, wire in wires.items():
            waves.declare([(pinout.top, *name.split("."))], wire.width)
        for start in range(0, cycles, CHUNK):
            count = min(CHUNK, cycles - start)
            shown = [wire.show(start, count) for wire in wires.values()]
            waves.write([value for value, _ in shown], [odd for _, odd in shown], count)
