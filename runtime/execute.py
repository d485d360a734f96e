"""Execute one level on a model's real inputs: encode, simulate, decode, tap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.fastml import element_type
from fastml.dialects.grid import QuantisedType
from fastml.runtime.fastml import encode, evaluate_raw
from fastml.runtime.host import (
    Host,
    as_beats,
    decode_edge,
    slice_network,
    unknown_edge,
)
from fastml.runtime.levels import Level, NetworkLevel
from fastml.runtime.trace import Integers, Signal, Stimulus, Trace, as_beats_of, as_frames

Tensor: TypeAlias = NDArray[Any]
Tensors: TypeAlias = Mapping[str, Tensor]


LOADING = ("qflow", "affine", "hw", "rtl")
"""Levels that weights can be loaded at."""


@dataclass(frozen=True)
class Run:
    """What came out of one execution of a level."""

    level: str
    outputs: dict[str, Tensor]
    """The model's outputs by name: float32, of shape (frames, ...)."""
    tap: dict[str, Tensor]
    """Tapped edges by name: the numbers that the model's arithmetic sees."""
    raw: dict[str, Integers]
    """Integers that left the hardware, by edge name, of shape (frames, elements)."""
    raw_tap: dict[str, Tensor]
    """Tapped edges as they are held: integers, or float32 where nothing quantised them."""
    timing: Trace | None = field(default=None, repr=False)
    ii: int | None = None
    latency: int | None = None
    """Cycle of a frame's output beat, counted from its input beat."""

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Cycle of each output beat; ``FML-NO-SCHEDULE`` where nothing has scheduled it."""
        if self.timing is None:
            raise FastmlError(
                "it has values, but no cycles: nothing has scheduled it",
                in_file(f"level '{self.level}'"),
                code="FML-NO-SCHEDULE",
                hint="compile the model first, or run a lower level",
            )
        return self.timing.cycles


def edges_of(level: Level) -> list[str]:
    """Return the names of all edges that can be tapped at ``level``."""
    if isinstance(level, NetworkLevel):
        return list(level.network.edges)
    return [] if level.host is None else level.host.edges


def execute(
    level: Level,
    inputs: Tensors,
    *,
    gaps: NDArray[np.int64] | None = None,
    idle: Mapping[str, NDArray[np.int64]] | None = None,
    ready: Mapping[str, NDArray[np.bool_]] | None = None,
    loads: Mapping[int, Mapping[str, Integers]] | None = None,
    taps: Sequence[str] = (),
    quantise_input: bool = False,
) -> Run:
    """Execute ``level`` on real inputs by the model's names.

    ``gaps`` are the idle cycles before each frame, ``idle`` and ``ready`` those of single
    beats and outputs by edge name, ``loads`` the weights that are loaded before a frame
    (:class:`~fastml.runtime.trace.Stimulus`). Raises
    ``FastmlError`` where an input does not fit the model, a tap names no edge, or the level
    carries no host's share.
    """
    frames = len(next(iter(inputs.values()))) if inputs else 0
    if frames == 0:
        raise FastmlError("there are no frames", in_file("input"), code="FML-INPUT")
    gaps = np.zeros(frames, np.int64) if gaps is None else gaps
    if gaps.shape != (frames,) or np.any(gaps < 0):
        raise FastmlError(
            f"gaps must be {frames} numbers of cycles, one before each frame",
            in_file("stimulus"),
            code="FML-STIMULUS",
        )
    stimulus = Stimulus({}, gaps, idle=idle or {}, ready=ready or {}, loads=loads or {})
    if stimulus.loads and level.name not in LOADING:
        raise FastmlError(
            f"level '{level.name}' has the model's weights",
            in_file("stimulus"),
            code="FML-STIMULUS",
            hint=f"weights are loaded at {', '.join(LOADING)}",
        )
    if isinstance(level, NetworkLevel):
        return _execute_network(level, inputs, stimulus, taps, quantise_input)
    if level.host is None:
        raise FastmlError(
            "it carries no 'fastml.interface', so its integers stand for no real numbers",
            in_file(f"level '{level.name}'"),
            code="FML-USAGE",
            hint="use --raw, which takes and gives integers",
        )
    return _execute_hardware(level, level.host, inputs, stimulus, taps, quantise_input)


def _execute_network(
    level: NetworkLevel,
    inputs: Tensors,
    stimulus: Stimulus,
    taps: Sequence[str],
    quantise: bool,
) -> Run:
    network = level.network
    names = {value: name for name, value in network.edges.items()}
    outputs = {output: names[value] for output, value in network.outputs.items()}
    wanted = list(dict.fromkeys([*outputs.values(), *taps]))
    part = slice_network(network, wanted)
    raw = encode(network, inputs, quantize_input=quantise)
    held = evaluate_raw(part, {name: raw[name] for name in part.inputs})
    real = {name: decode_edge(part.outputs[name], held[name]) for name in wanted}
    integers = {
        output: as_beats(held[edge])
        for output, edge in outputs.items()
        if isinstance(element_type(part.outputs[edge]), QuantisedType)
    }
    timing = None
    ii, latency = level.time or (None, None)
    if ii is not None and latency is not None:
        cycles = stimulus.offer_cycles(ii)[:, None] + latency
        nothing = np.zeros((stimulus.frames, 0), np.int64)
        timing = Trace({output: Signal(nothing, cycles) for output in outputs})
    return Run(
        level.name,
        {output: real[edge] for output, edge in outputs.items()},
        {name: real[name] for name in taps},
        integers,
        {name: held[name] for name in taps},
        timing,
        ii,
        latency,
    )


def _execute_hardware(
    level: Level,
    host: Host,
    inputs: Tensors,
    stimulus: Stimulus,
    taps: Sequence[str],
    quantise: bool,
) -> Run:
    known = host.edges
    for name in taps:
        if name not in known:
            raise unknown_edge(name, known)
    beats = host.encode(inputs, quantise_input=quantise)
    for edge, shape in level.beat_shapes.items():
        beats[edge] = as_beats_of(beats[edge], *shape)
    trace = level.simulate(replace(stimulus, beats=beats), host.needed_edges(taps))
    seen = {name: s.values for name, s in (*trace.taps.items(), *trace.outputs.items())}
    ii, latency = level.time or (None, None)
    return Run(
        level.name,
        host.decode(seen),
        host.decode_taps(seen, taps, inputs),
        {n: as_frames(s.values, stimulus.frames) for n, s in trace.outputs.items()},
        host.raw_taps(seen, taps, inputs),
        trace,
        ii,
        latency,
    )


def execute_raw(level: Level, stimulus: Stimulus, taps: Sequence[str]) -> Run:
    """Execute a level that carries no host's share, on integers by the names of its edges.

    ``stimulus.beats`` holds frames; a level may take each as several beats.
    """
    shapes = level.beat_shapes
    beats = {
        name: as_beats_of(rows, *shapes[name]) if name in shapes else rows
        for name, rows in stimulus.beats.items()
    }
    trace = level.simulate(replace(stimulus, beats=beats), taps)
    frames = stimulus.frames
    tapped: dict[str, Tensor] = {n: as_frames(s.values, frames) for n, s in trace.taps.items()}
    ii, latency = level.time or (None, None)
    raw = {name: as_frames(signal.values, frames) for name, signal in trace.outputs.items()}
    return Run(level.name, {}, {}, raw, tapped, trace, ii, latency)
