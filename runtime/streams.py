"""Protocol `rv`: sources and sinks of valid/ready ports, and what a simulation of them shows.

An input port ``x`` has ``x_valid`` and ``x`` in, ``x_ready`` out; an output port ``y`` has
``y_ready`` in, ``y_valid`` and ``y`` out. A beat moves in the cycle in which both are set.
Sources answer to the design (:class:`~fastml.runtime.trace.Stimulus` says how), so that a
simulator runs them beside it: a :class:`StreamDrive` tells it all that it has to know.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.runtime.bits import WORD, Words, pack_rows, word_count
from fastml.runtime.clocked import RESET, RESET_CYCLES, signal_of, tap_values
from fastml.runtime.hw import Undefined
from fastml.runtime.hw_sources import READY, VALID, Source
from fastml.runtime.trace import PortLayout, Signal, Stimulus, TapLayout, Trace

NOISE = 257
"""Rows of noise on the data wires, repeated over and over."""
PATIENCE = 64
"""Cycles without any progress that are too many, beyond those that are to be expected."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class StreamDrive:
    """All that a simulator must know to drive a design of protocol ``rv``.

    Cycles are counted from the beginning of the first reset.
    """

    widths: Mapping[str, int]
    """Width of every input port but the clock."""
    sources: Mapping[str, Source]
    """What each input port is fed from ``origin`` on."""
    sinks: Mapping[str, Flags]
    """Whether each output port is ready, from ``origin`` on; always beyond the end."""
    expected: Mapping[str, int]
    """Beats that each output is to give."""
    noise: Mapping[str, Words]
    """``NOISE`` rows for every input wire."""
    ready: int
    """Cycles before the first beat may be presented; the last of them is one of reset."""
    origin: int
    """The cycle that a trace counts as 0."""
    drain: int
    """Cycles to run on after the last expected beat, for superfluous ones."""
    patience: int
    """Cycles without a beat in or out after which the design counts as stuck."""
    cycles: int | None = None
    """Cycles to run, whatever happens; None: until all has come, or nothing moves."""

    def open_loop(self, start: int, count: int) -> dict[str, Words]:
        """Return the bits of each input for some cycles, as if no beat were presented.

        Wires of data carry noise, and so do valid and ready before the reset: a design that
        looks at the wrong moment gives itself away.
        """
        cycle = np.arange(start, start + count)
        words: dict[str, Words] = {}
        for name in self.widths:
            if name == RESET:
                bits = (cycle < RESET_CYCLES) | (cycle == self.ready - 1)
                words[name] = bits.astype(np.uint32)[:, None]
                continue
            words[name] = self.noise[name][cycle % NOISE]
            port = name.removesuffix(VALID)
            if port in self.sources and port != name:
                words[name][cycle >= self.ready] = 0
            port = name.removesuffix(READY)
            if port in self.sinks and port != name:
                later = cycle >= self.origin
                words[name][later, 0] = self.sink(port, cycle[later] - self.origin)
        return words

    def sink(self, port: str, cycles: NDArray[np.int64]) -> Flags:
        """Return whether an output is taken in cycles that count from ``origin``."""
        ready = self.sinks[port]
        inside = cycles < len(ready)
        taken = np.ones(len(cycles), np.bool_)
        taken[inside] = ready[cycles[inside]]
        return taken


class StreamedDesign(Protocol):
    """What can be driven by sources and sinks."""

    @property
    def inputs(self) -> Mapping[str, int]:
        """Width of each input port but the clock."""
        ...

    def stream(self, plan: StreamDrive, undefined: Undefined = ...) -> dict[str, Words]:
        """Return the bits of every output, watched wire, and driven valid in each cycle.

        The run ends ``plan.drain`` cycles after the cycle in which the last of the
        ``plan.expected`` beats has come, or when no beat has moved for more than
        ``plan.patience`` cycles, unless ``plan.cycles`` says how long it is.
        """
        ...


@dataclass
class Progress:
    """How far a run has come; says when to stop it."""

    plan: StreamDrive
    end: int | None = None
    """Cycles that the run has, once that is known."""

    def __post_init__(self) -> None:
        self._missing = {port: count for port, count in self.plan.expected.items() if count}
        self._moved = self.plan.origin - 1
        if self.plan.cycles is not None:
            self.end = self.plan.cycles
        elif not self._missing:
            self.end = self.plan.origin + self.plan.drain

    def see(self, start: int, words: Mapping[str, Words]) -> None:
        """Take in the cycles from ``start`` on."""
        if self.end is not None:
            return
        plan = self.plan
        beats = {
            port: start + np.flatnonzero((words[port + VALID] & words[port + READY])[:, 0])
            for port in (*plan.sources, *plan.sinks)
        }
        beats = {port: cycles[cycles >= plan.origin] for port, cycles in beats.items()}
        last = self._moved
        for port, missing in list(self._missing.items()):
            found = beats[port]
            if len(found) < missing:
                self._missing[port] -= len(found)
            else:
                last = max(last, int(found[missing - 1]))
                del self._missing[port]
        moves = np.unique(np.concatenate([np.array([self._moved]), *beats.values()]))
        stop = start + len(next(iter(words.values())))
        if not self._missing:
            self.end = last + 1 + plan.drain
            moves = moves[moves <= last]
        quiet = np.diff(np.append(moves, last if self.end is not None else stop - 1))
        stuck = np.flatnonzero(quiet > plan.patience)
        if len(stuck):
            self.end = int(moves[stuck[0]]) + plan.patience + 2
        self._moved = int(moves[-1])


def stream_drive(
    widths: Mapping[str, int],
    inputs: Sequence[PortLayout],
    outputs: Sequence[PortLayout],
    stimulus: Stimulus,
    drain: int,
) -> StreamDrive:
    """Turn a stimulus of ``rv`` ports into sources and sinks.

    ``drain`` is more than the cycles in which an idle design answers. Where the stimulus
    restarts the design, noise runs through it for ``drain`` cycles, and the one cycle of reset
    after them is to drop it.
    """
    _check_ports(widths, inputs, outputs, stimulus)
    random = np.random.default_rng(0)
    noise: dict[str, Words] = {}
    for name, width in widths.items():
        noise[name] = random.integers(0, 1 << WORD, (NOISE, word_count(width)), np.uint32)
        if spare := -width % WORD:
            noise[name][:, -1] >>= np.uint32(spare)
    ready = RESET_CYCLES + (drain + 1 if stimulus.restart else 0)
    origin = ready + (int(stimulus.gaps[0]) if stimulus.frames else 0)
    waits = stimulus.waits
    sources = dict[str, Source]()
    for port in inputs:
        beats = stimulus.beats[port.name]
        if beats.shape != (stimulus.frames * port.beats, len(port.widths)):
            shape = (stimulus.frames * port.beats, len(port.widths))
            raise _odd(f"input '{port.name}' has {beats.shape}, not {shape}")
        sources[port.name] = Source(pack_rows(beats, port.widths), waits[port.name], origin)
    sinks = {port.name: np.asarray(stimulus.ready.get(port.name, ()), np.bool_) for port in outputs}
    runs = (len(list(run)) for s in sinks.values() for go, run in groupby(s.tolist()) if not go)
    longest = max(chain((int(w.max(initial=0)) for w in waits.values()), runs), default=0)
    expected = {port.name: stimulus.frames * port.beats for port in outputs}
    patience = longest + 2 * drain + PATIENCE
    return StreamDrive(widths, sources, sinks, expected, noise, ready, origin, drain, patience)


def _check_ports(
    widths: Mapping[str, int],
    inputs: Iterable[PortLayout],
    outputs: Iterable[PortLayout],
    stimulus: Stimulus,
) -> None:
    names = {name for name in widths if name == RESET}
    for port in inputs:
        names |= {port.name + VALID} | ({port.name} if sum(port.widths) else set())
    names |= {port.name + READY for port in outputs}
    if odd := names.symmetric_difference(widths):
        odd = ", ".join(sorted(odd))
        raise _odd(f"the design's ports are not those of its interface: {odd}")
    known = {port.name for port in inputs}
    for given, wanted in (
        (stimulus.beats, known),
        (stimulus.idle, known),
        (stimulus.ready, {port.name for port in outputs}),
    ):
        if unknown := given.keys() - wanted:
            raise _odd(f"'{min(unknown)}' is no port of that side of the design")
    if missing := known - stimulus.beats.keys():
        raise _odd(f"no beats for input '{min(missing)}'")


def simulate_streams(
    design: StreamedDesign,
    inputs: Sequence[PortLayout],
    outputs: Sequence[PortLayout],
    stimulus: Stimulus,
    *,
    drain: int,
    taps: Sequence[TapLayout] = (),
) -> Trace:
    """Feed a stimulus to a design after reset, and record what it takes and answers, and when.

    Raises :class:`FastmlError`: ``FML-DEADLOCK`` if it stops before all output beats have
    come; ``FML-IR`` if a valid output, its valid, an input's ready or a tap depends on an
    undefined state, or if an output takes back a beat that nobody has taken.
    """
    plan = stream_drive(design.inputs, inputs, outputs, stimulus, drain)
    seen = design.stream(plan, Undefined.PATTERN)
    trace = _read(seen, plan, outputs, taps)
    cycles = len(next(iter(seen.values())))
    other = design.stream(replace(plan, cycles=cycles), Undefined.INVERSE)
    _check_defined(seen, other, plan, outputs, taps)
    for port in outputs:
        _check_kept(seen, plan, port)
    _check_all_came(trace, plan)  # last, since the other defects explain it
    return trace


def _moves(seen: Mapping[str, Words], port: str, plan: StreamDrive) -> NDArray[np.int64]:
    """Cycles after the reset in which a beat moves through a port."""
    both = (seen[port + VALID] & seen[port + READY])[plan.ready :, 0]
    return np.flatnonzero(both).astype(np.int64) + plan.ready


def _read(
    seen: Mapping[str, Words],
    plan: StreamDrive,
    outputs: Iterable[PortLayout],
    taps: Iterable[TapLayout],
) -> Trace:
    answers: dict[str, Signal] = {}
    for port in outputs:
        beats = _moves(seen, port.name, plan)
        answers[port.name] = signal_of(seen, port, beats, plan.origin)
    edges: dict[str, Signal] = {}
    for tap in taps:
        cycles = _tap_cycles(seen, plan, tap)
        edges[tap.name] = Signal(tap_values(seen, tap, cycles), cycles - plan.origin)
    accepted = {port: _moves(seen, port, plan) - plan.origin for port in plan.sources}
    return Trace(answers, edges, accepted)


def _tap_cycles(seen: Mapping[str, Words], plan: StreamDrive, tap: TapLayout) -> NDArray[np.int64]:
    """Cycles of all elements, for each firing that the run has seen to its end."""
    if tap.fire is None:
        fired = _moves(seen, tap.wire, plan)
    else:
        fire = seen[tap.fire][plan.ready :, 0]
        fired = np.flatnonzero(fire).astype(np.int64) + plan.ready
    cycles = fired[:, np.newaxis] + np.array(tap.offsets, np.int64)
    end = len(next(iter(seen.values())))
    return cycles[(cycles < end).all(axis=1)]


def _check_all_came(trace: Trace, plan: StreamDrive) -> None:
    came = {port: len(trace.outputs[port].values) for port in plan.expected}
    if all(came[port] >= count for port, count in plan.expected.items()):
        return
    taken = [
        f"input '{port}' took {len(trace.accepted[port])} of {len(source.beats)} beats"
        for port, source in plan.sources.items()
    ]
    given = [f"output '{n}' gave {came[n]} of {count}" for n, count in plan.expected.items()]
    moves = [*trace.accepted.values(), *(s.cycles[:, 0] for s in trace.outputs.values())]
    last = max((int(cycles[-1]) for cycles in moves if len(cycles)), default=-1)
    raise FastmlError(
        f"no progress for {plan.patience} cycles after cycle {last}: {', '.join(taken + given)}",
        in_file("simulation"),
        code="FML-DEADLOCK",
    )


def _check_defined(
    seen: Mapping[str, Words],
    other: Mapping[str, Words],
    plan: StreamDrive,
    outputs: Iterable[PortLayout],
    taps: Iterable[TapLayout],
) -> None:
    """Compare with a run from the complement of all undefined bits."""
    ready = plan.ready

    def odd(name: str) -> Flags:
        return (seen[name][ready:] != other[name][ready:]).any(axis=1)

    for port in plan.sources:
        _refuse(f"'{port + READY}'", odd(port + READY), plan)
    for port in outputs:
        _refuse(f"'{port.name + VALID}'", odd(port.name + VALID), plan)
        if sum(port.widths):
            valid = seen[port.name + VALID][ready:, 0] != 0
            _refuse(f"output '{port.name}'", odd(port.name) & valid, plan)
    for tap in taps:
        if tap.fire is not None:
            _refuse(f"wire '{tap.fire}'", odd(tap.fire), plan)
        if sum(tap.widths):
            cycles = _tap_cycles(seen, plan, tap)
            differs = np.zeros(len(seen[tap.wire]) - ready, np.bool_)
            wrong = tap_values(seen, tap, cycles) != tap_values(other, tap, cycles)
            differs[cycles[wrong] - ready] = True
            _refuse(f"tap '{tap.name}'", differs, plan)


def _refuse(what: str, differs: Flags, plan: StreamDrive) -> None:
    if differs.any():
        cycle = int(np.flatnonzero(differs)[0]) + plan.ready - plan.origin
        raise FastmlError(
            f"{what} depends on a register or memory without a value in cycle {cycle}",
            in_file("simulation"),
            code="FML-IR",
        )


def _check_kept(seen: Mapping[str, Words], plan: StreamDrive, port: PortLayout) -> None:
    """See that a beat which was offered is offered, the same, until it is taken."""
    valid, ready = (seen[port.name + s][plan.ready :, 0] != 0 for s in (VALID, READY))
    differs = ~valid[1:]
    if sum(port.widths):
        data = seen[port.name][plan.ready :]
        differs |= (data[1:] != data[:-1]).any(axis=1)
    lost = valid[:-1] & ~ready[:-1] & differs
    if lost.any():
        cycle = int(np.flatnonzero(lost)[0]) + 1 + plan.ready - plan.origin
        raise FastmlError(
            f"output '{port.name}' takes a beat back in cycle {cycle}, before it was taken",
            in_file("simulation"),
            code="FML-IR",
        )


def _odd(message: str) -> FastmlError:
    return FastmlError(message, in_file("stimulus"), code="FML-STIMULUS")
