"""From stimuli to traces by way of a clocked design: one protocol layer for every simulator.

Protocol `pulse`: all inputs of a frame arrive in one cycle, each port ``x`` with ``x_valid``
high; every output ``y`` is taken in the cycle in which ``y_valid`` is high. Elements are
packed little-endian, each at its own width; a port without bits has no data wire.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.loadable import Loadable
from fastml.runtime.bits import WORD, Words, field, pack_rows, unpack_rows, word_count
from fastml.runtime.hw import Undefined
from fastml.runtime.hw_sources import VALID
from fastml.runtime.trace import Integers, PortLayout, Signal, Stimulus, TapLayout, Trace
from fastml.runtime.weights import Segment, segments_of

RESET = "rst"
RESET_CYCLES = 4
"""Cycles of reset before the first frame may be offered."""


class ClockedDesign(Protocol):
    """What can be clocked: a simulated `hw` module, or RTL in Verilator."""

    @property
    def inputs(self) -> Mapping[str, int]:
        """Width of each input port but the clock."""
        ...

    @property
    def watched(self) -> Mapping[str, int]:
        """Width of each output port and watched wire."""
        ...

    @property
    def settle(self) -> int | None:
        """Cycles after which no output depends on an undefined state; None: unknown."""
        ...

    def run(
        self, inputs: Mapping[str, Words], cycles: int, undefined: Undefined = ...
    ) -> dict[str, Words]:
        """Return the bits of every output and watched wire in each cycle."""
        ...


@dataclass(frozen=True)
class Drive:
    """A stimulus as the bits of every input in every cycle."""

    words: Mapping[str, Words]
    cycles: int
    ready: int
    """Cycles before the first frame may be offered; the last of them is one of reset."""
    offers: NDArray[np.int64]
    """Cycle, from the beginning of the first reset, in which each frame is offered."""

    @property
    def origin(self) -> int:
        """The cycle that a trace counts as 0."""
        return int(self.offers[0]) if len(self.offers) else self.ready


def drive(
    widths: Mapping[str, int],
    inputs: Iterable[PortLayout],
    stimulus: Stimulus,
    initiation_interval: int,
    drain: int,
    memories: Sequence[Loadable] = (),
) -> Drive:
    """Turn a stimulus into bits; ``drain`` cycles follow the last frame's.

    Data ports carry noise while they are not valid, so that a design which looks at them
    then gives itself away. Where the stimulus restarts the design, beats of noise are offered
    for ``drain`` cycles, and in the one cycle of reset that is to drop them. The words of
    weights take the cycles just before the frame before which they are loaded.
    """
    if stimulus.idle or stimulus.ready:
        raise FastmlError(
            "ports of protocol 'pulse' take no 'idle' and no 'ready'",
            in_file("stimulus"),
            code="FML-STIMULUS",
            hint="a design cannot be stalled unless it is built with '--io stream'",
        )
    frames = stimulus.frames
    ready = RESET_CYCLES + (drain + 1 if stimulus.restart else 0)
    offers = stimulus.offer_cycles(initiation_interval) + ready
    offers = offers + (stimulus.gaps[0] if frames else 0)
    offers = offers + max((memory.words for memory in memories), default=0)
    cycles = (int(offers[-1]) if frames else ready) + drain + 1
    noise = np.random.default_rng(0)
    reset = np.zeros((cycles, 1), np.uint32)
    reset[:RESET_CYCLES] = 1
    reset[ready - 1] = 1
    words: dict[str, Words] = {RESET: reset} if RESET in widths else {}
    for port in inputs:
        valid = np.zeros((cycles, 1), np.uint32)
        valid[offers] = 1
        valid[ready - 1 : RESET_CYCLES - 1 : -initiation_interval] = 1
        words[port.name + VALID] = valid
        if (width := sum(port.widths)) == 0:
            continue
        data = noise.integers(0, 1 << WORD, (cycles, word_count(width)), np.uint32)
        if spare := -width % WORD:
            data[:, -1] >>= np.uint32(spare)
        beats = stimulus.beats[port.name]
        if beats.shape != (frames, len(port.widths)):
            raise FastmlError(
                f"input '{port.name}' has {beats.shape}, not {(frames, len(port.widths))}",
                in_file("stimulus"),
                code="FML-STIMULUS",
            )
        data[offers] = pack_rows(beats, port.widths)
        words[port.name] = data
    segments = segments_of(stimulus, memories, initiation_interval, 0)
    words |= _weights(memories, segments, ready, cycles, offers, restart=stimulus.restart)
    if words.keys() != widths.keys():
        odd = ", ".join(sorted(words.keys() ^ widths.keys()))
        raise FastmlError(
            f"the design's ports are not those of its interface: {odd}",
            in_file("stimulus"),
            code="FML-STIMULUS",
        )
    return Drive(words, cycles, ready, offers)


def _weights(
    memories: Sequence[Loadable],
    segments: Sequence[Segment],
    ready: int,
    cycles: int,
    offers: NDArray[np.int64],
    *,
    restart: bool,
) -> dict[str, Words]:
    """Return the bits of the ports of weights, with noise while there is no word.

    Where the stimulus restarts the design, a load is broken off by the reset.
    """
    ports, noise = dict[str, Words](), np.random.default_rng(1)
    for memory in memories:
        width = memory.elements.total_width
        valid = np.zeros((cycles, 1), np.uint32)
        valid[RESET_CYCLES : min(RESET_CYCLES + memory.words // 2 + 1, ready)] = restart
        data = noise.integers(0, 1 << WORD, (cycles, word_count(width)), np.uint32)
        if spare := -width % WORD:
            data[:, -1] >>= np.uint32(spare)
        ports |= {memory.port + VALID: valid, memory.port: data}
    for segment in segments:
        for memory in memories:
            if segment.first < len(offers) and memory.edge in segment.loads:
                stop = int(offers[segment.first])
                rows = slice(stop - memory.words, stop)
                words = memory.words_of(segment.loads[memory.edge])
                ports[memory.port][rows] = pack_rows(words, memory.elements.widths)
                ports[memory.port + VALID][rows] = 1
    return ports


def simulate_frames(
    design: ClockedDesign,
    inputs: Sequence[PortLayout],
    outputs: Sequence[PortLayout],
    stimulus: Stimulus,
    *,
    initiation_interval: int = 1,
    drain: int,
    taps: Sequence[TapLayout] = (),
    memories: Sequence[Loadable] = (),
) -> Trace:
    """Offer the frames to a design after reset, and record what it answers and when.

    The run ends ``drain`` cycles after the last frame was offered: more than the latency
    that is expected, so that late and superfluous beats are seen. Raises
    :class:`FastmlError` if a valid output or a tap depends on an undefined state.
    """
    plan = drive(design.inputs, inputs, stimulus, initiation_interval, drain, memories)
    seen = design.run(plan.words, plan.cycles, Undefined.PATTERN)
    trace = _read(seen, plan, outputs, taps)
    _check_defined(design, seen, plan, outputs, taps)
    return trace


def _read(
    seen: Mapping[str, Words],
    plan: Drive,
    outputs: Iterable[PortLayout],
    taps: Iterable[TapLayout],
) -> Trace:
    answers: dict[str, Signal] = {}
    for port in outputs:
        answers[port.name] = signal_of(seen, port, _beats(seen, port, plan), plan.origin)
    edges: dict[str, Signal] = {}
    for tap in taps:
        cycles = _tap_cycles(tap, plan)
        edges[tap.name] = Signal(tap_values(seen, tap, cycles), cycles - plan.origin)
    return Trace(answers, edges)


def signal_of(
    seen: Mapping[str, Words], port: PortLayout, beats: NDArray[np.int64], origin: int
) -> Signal:
    """Return what was on a port in the cycles ``beats``; a trace counts from ``origin``."""
    if sum(port.widths):
        values = unpack_rows(seen[port.name][beats], port.widths, port.signed)
    else:
        values = np.zeros((len(beats), len(port.widths)), np.int64)
    return Signal(values, (beats - origin)[:, np.newaxis])


def _beats(seen: Mapping[str, Words], port: PortLayout, plan: Drive) -> NDArray[np.int64]:
    """Cycles after the reset in which an output is valid."""
    valid = seen[port.name + VALID][:, 0]
    return np.flatnonzero(valid[plan.ready :]).astype(np.int64) + plan.ready


def _tap_cycles(tap: TapLayout, plan: Drive) -> NDArray[np.int64]:
    cycles = plan.offers[:, np.newaxis] + np.array(tap.offsets, np.int64)
    if cycles.size and cycles.max() >= plan.cycles:
        raise FastmlError(
            f"tap '{tap.name}' is seen after the simulation has ended",
            in_file("stimulus"),
            code="FML-STIMULUS",
        )
    return cycles


def tap_values(seen: Mapping[str, Words], tap: TapLayout, cycles: NDArray[np.int64]) -> Integers:
    """Return the elements of a tap, each in its own cycle of ``cycles`` (frames, elements)."""
    columns: list[Integers] = []
    offset = 0
    for element, (width, is_signed) in enumerate(zip(tap.widths, tap.signed, strict=True)):
        if width:
            words = seen[tap.wire][cycles[:, element]]
            columns.append(field(words, offset, width, signed=is_signed))
        else:
            columns.append(np.zeros(len(cycles), np.int64))
        offset += width
    if not columns:
        return np.zeros(cycles.shape, np.int64)
    return np.stack(columns, axis=1)


def _check_defined(
    design: ClockedDesign,
    seen: Mapping[str, Words],
    plan: Drive,
    outputs: Iterable[PortLayout],
    taps: Iterable[TapLayout],
) -> None:
    """Run with the complement of all undefined bits: what is read may not differ."""
    cycles = plan.cycles if design.settle is None else min(design.settle, plan.cycles)
    if cycles <= plan.ready:
        return  # it has forgotten the undefined state when the reset ends
    other = design.run({n: w[:cycles] for n, w in plan.words.items()}, cycles, Undefined.INVERSE)
    for port in outputs:
        valid = port.name + VALID
        differs = (seen[valid][:cycles] != other[valid]).any(axis=1)
        differs[: plan.ready] = False
        beats = _beats(seen, port, plan)
        beats = beats[beats < cycles]
        if sum(port.widths):
            data = seen[port.name][beats] != other[port.name][beats]
            differs[beats] |= data.any(axis=1)
        _refuse(f"output '{port.name}'", differs, plan)
    for tap in taps:
        late = _tap_cycles(tap, plan)
        whole = late[(late < cycles).all(axis=1)]
        if not sum(tap.widths):
            continue
        odd = tap_values(seen, tap, whole) != tap_values(other, tap, whole)
        differs = np.zeros(cycles, np.bool_)
        differs[whole[odd]] = True
        _refuse(f"tap '{tap.name}'", differs, plan)


def _refuse(what: str, differs: NDArray[np.bool_], plan: Drive) -> None:
    if differs.any():
        cycle = int(np.flatnonzero(differs)[0]) - plan.origin
        raise FastmlError(
            f"{what} depends on a register or memory without a value in cycle {cycle}",
            in_file("simulation"),
            code="FML-IR",
        )
