"""Levels ready to be executed: one interface, edges by the names that the model gives them.

A level executes the IR (or the SystemVerilog) that it holds and nothing else. What each
interpreter calls its ports stays behind this file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pkgutil import resolve_name
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.exceptions import ParseError, VerifyException

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.array import Array
from fastml.dialects.fastml import NetworkOp, element_type
from fastml.dialects.grid import QuantisedType
from fastml.dialects.interface import Interface
from fastml.runtime.fastml import evaluate_raw, network_of
from fastml.runtime.host import (
    Host,
    Reals,
    decode_edge,
    slice_network,
)
from fastml.runtime.trace import Integers, Signal, Stimulus, Trace
from fastml.runtime.weights import refuse_loads

PULSE = "pulse"
RV = "rv"


class Level(ABC):
    """Something that can be executed."""

    name: str
    host: Host | None
    """The host's share, if what is executed carries it."""

    @property
    @abstractmethod
    def time(self) -> tuple[int, int] | None:
        """II and latency, in cycles, as what is executed states them; None without a schedule."""

    @property
    @abstractmethod
    def input_edges(self) -> list[str]:
        """Names of the edges at which beats enter, in order."""

    @property
    def protocol(self) -> str:
        """The protocol of the ports: ``pulse``, or ``rv`` (valid/ready)."""
        return PULSE

    @property
    def beat_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Beats a frame and elements a beat of the input edges, where a frame may have several."""
        return {}

    @property
    def notes(self) -> list[str]:
        """What a user may like to know of the execution, a line each."""
        return []

    @property
    def edges(self) -> Collection[str] | None:
        """The edges that can be tapped, where the level says it itself."""
        return None

    @abstractmethod
    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Execute a stimulus; beats, outputs and taps go by edge name."""


class ModuleLevel(Level, ABC):
    """A level whose IR is executed."""

    def __init__(self, module: ModuleOp):
        self.module = module
        self.host = host_of(module)


def host_of(module: ModuleOp) -> Host | None:
    """Return the host's share that ``module`` carries; ``FML-IR`` if it is malformed."""
    if not any(key == "fastml.interface" for key in module.attributes):
        return None
    try:
        return Host(Interface.of(module))
    except (VerifyException, ParseError) as error:
        reason = error.msg if isinstance(error, ParseError) else str(error)
        raise FastmlError(f"malformed interface: {reason.splitlines()[0]}", module) from error


class NetworkLevel(ModuleLevel):
    """The ``fastml`` level: tensors, and the time that the schedule wrote back.

    A network knows of no hardware; to be fed beats it needs the ``interface`` that lowering
    gave the design, which says at which of its edges they enter.
    """

    name = "fastml"

    def __init__(self, module: ModuleOp, interface: Interface | None = None):
        super().__init__(module)
        self.network = network_of(module)
        self.interface = interface

    @property
    def time(self) -> tuple[int, int] | None:
        """What the schedule wrote back."""
        ii, latency = self.network.ii, self.network.latency
        return None if ii is None or latency is None else (ii.data, latency.data)

    @property
    def input_edges(self) -> list[str]:
        """The edges that the host's prologue computes."""
        return [] if self.interface is None else Host(self.interface).input_edges

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Execute from the edges at which beats enter; real edges go onto the hardware's grid."""
        assert self.interface is not None
        if self.time is None:
            raise FastmlError("has no schedule", self.network, code="FML-NO-SCHEDULE")
        refuse_loads(stimulus, "level 'fastml'")
        ii, latency = self.time
        host = Host(self.interface)
        names = list(dict.fromkeys([*host.output_edges, *taps]))
        part = slice_network(self.network, names, host.input_edges)
        raw: dict[str, Array] = {
            name: host.from_beats(name, stimulus.beats[name]) for name in part.inputs
        }
        found = evaluate_raw(part, raw)
        beats = {name: self._integers(host, part, name, found[name]) for name in names}
        offers = stimulus.offer_cycles(ii)[:, None]
        timeless = np.zeros((stimulus.frames, 0), np.int64)
        return Trace(
            {name: Signal(beats[name], offers + latency) for name in host.output_edges},
            {name: Signal(beats[name], timeless) for name in taps},
        )

    def outputs(self, beats: Mapping[str, Integers]) -> Reals:
        """Return the model's outputs, as float32, for beats at the edges where they enter."""
        assert self.interface is not None
        outputs = self.network.outputs
        names = {value: name for name, value in self.network.edges.items()}
        edges = {output: names[value] for output, value in outputs.items()}
        host = Host(self.interface)
        wanted = list(dict.fromkeys(edges.values()))
        part = slice_network(self.network, wanted, host.input_edges)
        raw: dict[str, Array] = {name: host.from_beats(name, beats[name]) for name in part.inputs}
        found = evaluate_raw(part, raw)
        return {
            output: decode_edge(part.outputs[edge], found[edge]) for output, edge in edges.items()
        }

    def _integers(self, host: Host, part: NetworkOp, name: str, held: Array) -> Integers:
        value = part.outputs[name]
        if isinstance(element_type(value), QuantisedType):
            return host.to_beats(name, held)
        grid = element_type(host.hardware_edges[name])
        assert isinstance(grid, QuantisedType)
        raw, exact = grid.encode(np.asarray(held, np.float32))
        if not np.all(exact):
            raise FastmlError(f"edge '{name}' leaves the hardware's grid", self.network)
        return host.to_beats(name, raw)


class DataflowLevel(ModuleLevel):
    """The ``qflow`` level: beats on channels, cycles predicted by the schedule."""

    name = "qflow"

    @property
    def time(self) -> tuple[int, int] | None:
        """What the graph's schedule says."""
        from fastml.runtime.qflow import graph_of

        graph = graph_of(self.module)
        ii, latency = graph.ii, graph.latency
        return None if ii is None or latency is None else (ii.data, latency.data)

    @property
    def input_edges(self) -> list[str]:
        """The graph's inputs."""
        from fastml.runtime.qflow import graph_of

        return list(graph_of(self.module).inputs)

    @property
    def protocol(self) -> str:
        """The protocol of the graph's inputs."""
        from fastml.dialects.qflow import channel_of
        from fastml.runtime.qflow import graph_of

        streams = [channel_of(value).is_stream for value in graph_of(self.module).inputs.values()]
        return RV if any(streams) else PULSE

    @property
    def beat_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Beats a frame and elements a beat of the graph's inputs."""
        from fastml.dialects.qflow import channel_of
        from fastml.runtime.qflow import graph_of

        channels = {n: channel_of(value) for n, value in graph_of(self.module).inputs.items()}
        return {name: (c.beats.data, len(c)) for name, c in channels.items()}

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Run beats through the graph."""
        from fastml.runtime import qflow

        for name in (*stimulus.idle, *stimulus.ready):
            if self.protocol != RV:
                raise FastmlError(
                    "cannot be stalled: its protocol is 'pulse'",
                    in_file(name),
                    code="FML-STIMULUS",
                )
        for name in stimulus.ready:
            if name not in qflow.graph_of(self.module).outputs:
                raise FastmlError("is no output of the design", in_file(name), code="FML-STIMULUS")
        return qflow.simulate(self.module, stimulus, taps)


class LoopLevel(ModuleLevel):
    """The ``affine`` level: memrefs of integers, cycles predicted by start attributes."""

    name = "affine"

    @cached_property
    def _program(self) -> Any:
        from fastml.runtime.affine import program_of

        return program_of(self.module)

    @property
    def protocol(self) -> str:
        """What the top function is: a static design, or a network of processes."""
        return RV if self._program.is_stream else PULSE

    @property
    def beat_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Beats a frame and elements a beat of the input edges."""
        return {port.name: (port.beats, len(port.elements)) for port in self._program.inputs}

    @property
    def time(self) -> tuple[int, int] | None:
        """What the top function's schedule says."""
        return self._program.initiation_interval, self._program.latency

    @property
    def input_edges(self) -> list[str]:
        """The edges of the top function's arguments."""
        return [port.name for port in self._program.inputs]

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Execute the top function."""
        sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
        for port in self._program.ports:
            sides[port.is_output][port.name] = port.port
        return by_edge(*sides, stimulus, taps, self._program.simulate)


def by_edge(
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    stimulus: Stimulus,
    taps: Sequence[str],
    simulate: Callable[[Stimulus, Sequence[str]], Trace],
) -> Trace:
    """Call a simulation whose beats and outputs go by port.

    ``inputs`` and ``outputs`` are ports by edge name; an edge may be both.
    """
    edges = {port: edge for edge, port in outputs.items()}
    given = replace(
        stimulus,
        beats=_by_port(inputs, stimulus.beats, "input"),
        idle=_by_port(inputs, stimulus.idle, "input"),
        ready=_by_port(outputs, stimulus.ready, "output"),
    )
    trace = simulate(given, taps)
    entries = {port: edge for edge, port in inputs.items()}
    return replace(
        trace,
        outputs={edges[port]: signal for port, signal in trace.outputs.items()},
        accepted={entries[port]: cycles for port, cycles in trace.accepted.items()},
    )


def _by_port(
    ports: Mapping[str, str], given: Mapping[str, NDArray[Any]], kind: str
) -> dict[str, NDArray[Any]]:
    for name in given:
        if name not in ports:
            raise FastmlError(f"is no {kind} of the design", in_file(name), code="FML-STIMULUS")
    return {ports[name]: values for name, values in given.items()}


LEVELS: dict[str, str] = {
    "fastml": "fastml.runtime.levels:NetworkLevel",
    "qflow": "fastml.runtime.levels:DataflowLevel",
    "affine": "fastml.runtime.levels:LoopLevel",
    "hw": "fastml.runtime.clocked_levels:HardwareLevel",
}
"""Level name to the class that executes a module of it; loaded when first used."""


def open_level(name: str, module: ModuleOp) -> Level:
    """Return ``module``, which is at level ``name``, ready to be executed."""
    level: Callable[[ModuleOp], Level] = resolve_name(LEVELS[name])
    return level(module)
