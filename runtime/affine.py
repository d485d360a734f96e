"""Interpreter of the affine level: the values, and the cycles that the schedule predicts.

It executes the IR that it is given and nothing else. A value is an array over the batch
of frames; a wrong width wraps, as it would in hardware. Frames share no memory: every one
starts with nothing written, and reading what was never written is an error.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import func
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute, Operation

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.elements import Elements, ranges_of
from fastml.dialects.loadable import Loadable
from fastml.runtime.affine_code import Library, Run
from fastml.runtime.affine_time import check_latency, illegal, schedule_of
from fastml.runtime.arith import WORD, hold, unsigned
from fastml.runtime.memory import Memory, check_memref, elements_attribute
from fastml.runtime.trace import Integers, Signal, Stimulus, Trace, narrow
from fastml.runtime.weights import segments_of

LIVE_VALUES = 1 << 24
"""Values held at a time, which bounds the memory that a long stimulus takes."""


@dataclass(frozen=True)
class Port:
    """A memref argument of the top function."""

    port: str
    name: str
    is_output: bool
    elements: Elements
    """Of one beat."""
    beats: int = 1
    """Beats a frame."""


@dataclass(frozen=True)
class Values:
    """Integers of every output, by port, and of every tapped edge, by name."""

    outputs: Mapping[str, Integers]
    taps: Mapping[str, Integers]


def simulate(module: ModuleOp, stimulus: Stimulus, taps: Collection[str] = ()) -> Trace:
    """Execute the top function of ``module`` on every frame of ``stimulus``.

    Beats and outputs go by ``fastml.port``, taps by the ``fastml.name`` of an edge (or by
    its port). Raise :class:`FastmlError` where the module has no schedule, or one that
    contradicts itself.
    """
    return program_of(module).simulate(stimulus, taps)


def evaluate(module: ModuleOp, beats: Mapping[str, Integers], taps: Collection[str] = ()) -> Values:
    """Execute for values alone; no schedule is needed, and none is looked at."""
    return program_of(module, timed=False).evaluate(beats, taps)


def program_of(module: ModuleOp, *, timed: bool = True) -> "Program":
    """Return ``module`` ready to run: a static design, or a dataflow."""
    if directives.DATAFLOW not in top_function(module).attributes:
        return Program(module, timed=timed)
    from fastml.runtime.affine_dataflow import DataflowProgram

    return DataflowProgram(module, timed=timed)


@dataclass
class _Seen:
    """Integers of each batch."""

    outputs: dict[str, list[Integers]]
    taps: dict[str, list[Integers]]
    cycles: dict[str, NDArray[np.int64]] = field(default_factory=dict[str, NDArray[np.int64]])
    """Cycle of each element of each tapped edge, since its frame was offered."""
    interval: int = 1


class Program:
    """A module made ready to run many times."""

    is_stream = False
    """Whether its ports are of protocol ``rv``."""

    def __init__(self, module: ModuleOp, *, timed: bool = True):
        self.library = Library(module, timed)
        self.top = top_function(module)
        self.ports = ports_of(self.top)
        self.code = self.library.function(self.top.sym_name.data, self.top)

    @property
    def inputs(self) -> Sequence[Port]:
        """Ports that take beats."""
        return [port for port in self.ports if not port.is_output]

    @property
    def outputs(self) -> Sequence[Port]:
        """Ports that give beats."""
        return [port for port in self.ports if port.is_output]

    @cached_property
    def initiation_interval(self) -> int:
        """Cycles between two frames, as the schedule says."""
        return schedule_of(self.top, directives.II)

    @cached_property
    def latency(self) -> int:
        """Cycle of a frame's outputs, as the schedule says."""
        return schedule_of(self.top, directives.LATENCY)

    @property
    def loadables(self) -> Sequence[Loadable]:
        """What ports load."""
        return list(self.library.loadables.values())

    def evaluate(self, beats: Mapping[str, Integers], taps: Collection[str] = ()) -> Values:
        """Execute on every frame of ``beats``, for values alone, with the model's weights."""
        self.library.load({loadable.edge: loadable.contents for loadable in self.loadables})
        seen = self._execute(beats, taps)
        return Values(joined(seen.outputs), joined(seen.taps))

    def simulate(self, stimulus: Stimulus, taps: Collection[str] = ()) -> Trace:
        """Execute on every frame of ``stimulus``; predict cycles from the schedule."""
        assert self.library.timed, "this program was compiled for values alone"
        offers = stimulus.offer_cycles(self.initiation_interval)[:, np.newaxis]
        if self._frames(stimulus.beats) != stimulus.frames:
            raise _misfit(f"the beats are not those of {stimulus.frames} frames", self.top)
        seen = self._execute_segments(stimulus, taps)
        if seen.interval > self.initiation_interval:
            raise illegal(
                f"'fastml.ii' is {self.initiation_interval}, but a function needs {seen.interval}",
                self.top,
            )
        outputs, edges = joined(seen.outputs), joined(seen.taps)
        return Trace(
            {port: Signal(v, offers + self.latency) for port, v in outputs.items()},
            {name: Signal(v, offers + seen.cycles[name]) for name, v in edges.items()},
        )

    def _execute_segments(self, stimulus: Stimulus, taps: Collection[str]) -> _Seen:
        """Execute frames between loads of weights, one segment after the other."""
        whole = _Seen({p.port: [] for p in self.outputs}, {name: [] for name in taps})
        segments = segments_of(stimulus, self.loadables, self.initiation_interval, self.latency)
        for segment in segments:
            self.library.load(segment.loads)
            rows = slice(segment.first, segment.stop)
            beats = {port: values[rows] for port, values in stimulus.beats.items()}
            seen = self._execute(beats, taps)
            for name, parts in seen.outputs.items():
                whole.outputs[name] += parts
            for name, parts in seen.taps.items():
                whole.taps[name] += parts
            whole.cycles |= seen.cycles
            whole.interval = max(whole.interval, seen.interval)
        return whole

    def _frames(self, beats: Mapping[str, Integers]) -> int:
        return check_beats(self.ports, beats, self.top)

    def _execute(self, beats: Mapping[str, Integers], taps: Collection[str]) -> _Seen:
        """Execute batch by batch, so that memory stays bounded."""
        frames = self._frames(beats)
        seen = _Seen({p.port: [] for p in self.outputs}, {name: [] for name in taps})
        chunk = max(64, LIVE_VALUES // len(self.code.template))
        for first in range(0, max(frames, 1), chunk):
            part = {p.port: beats[p.port][first : first + chunk] for p in self.inputs}
            ports, run = self._run(part)
            seen.interval = max(seen.interval, run.interval)
            count = min(chunk, frames - first)
            for name, parts in seen.outputs.items():
                parts.append(self.read(ports[name], name, count))
            for name, parts in seen.taps.items():
                memory = self._edge(ports, run, name)
                parts.append(self.read(memory, name, count))
                seen.cycles[name] = np.array(memory.cycles, np.int64)
        return seen

    def _run(self, beats: Mapping[str, Integers]) -> tuple[dict[str, Memory], Run]:
        """Execute one batch; return the memories of the ports and of the edges."""
        run, ports = Run(), dict[str, Memory]()
        for port, argument in zip(self.ports, self.top.args, strict=True):
            memory = Memory.blank(check_memref(argument.type, self.top), port.elements)
            if not port.is_output:
                columns = np.ascontiguousarray(beats[port.port].T)
                memory.values = [hold(column, memory.width) for column in columns]
            ports[port.port] = memory
            if not (port.is_output and port.name in run.edges):  # there, it is a copy
                run.edges.setdefault(port.name, []).append(memory)
        arguments = list(ports.values())
        self.code.call(run, arguments, [0] * len(arguments), 0)
        if self.library.timed:
            for port in self.outputs:
                check_latency(self.top, ports[port.port].cycles, self.latency)
        return ports, run

    def _edge(self, ports: Mapping[str, Memory], run: Run, name: str) -> Memory:
        """Return the one memory that holds the edge ``name``."""
        found = run.edges.get(name, [])
        if not found and name in ports:
            return ports[name]
        if len(found) != 1:
            known = ", ".join(f"'{edge}'" for edge in run.edges)
            problem = "is held by several memories" if found else "does not exist"
            raise FastmlError(
                f"edge '{name}' {problem}",
                self.top,
                code="FML-USAGE",
                hint=f"edges are {known}",
            )
        return found[0]

    def read(self, memory: Memory, name: str, frames: int) -> Integers:
        """Return the elements of an edge, each in its own type."""
        if memory.elements is None:
            raise FastmlError(f"edge '{name}' has no 'fastml.elements'", self.top)
        layout = zip(memory.elements.widths, memory.elements.signed, strict=True)
        wide = max(memory.elements.widths, default=0) >= WORD
        beats = np.empty((frames, len(memory.values)), object if wide else np.int64)
        for k, (value, (width, signed)) in enumerate(zip(memory.values, layout, strict=True)):
            if value is None:
                place = f"element {k} of '{name}'"
                raise FastmlError(f"{place} is never written", self.top)
            beats[:, k] = value if signed else unsigned(value, width)
        return narrow(beats)


def joined(batches: Mapping[str, list[Integers]]) -> dict[str, Integers]:
    """Put the batches of each edge together."""
    whole: dict[str, Integers] = {}
    for name, parts in batches.items():
        exact = [part.astype(object) for part in parts]
        whole[name] = parts[0] if len(parts) == 1 else narrow(np.concatenate(exact))
    return whole


def check_beats(ports: Sequence[Port], beats: Mapping[str, Integers], top: Operation) -> int:
    """Return the number of frames, once ``beats`` are known to fit the inputs."""
    inputs = [port for port in ports if not port.is_output]
    if unknown := set(beats) - {port.port for port in inputs}:
        raise _misfit(f"there is no input port '{min(unknown)}'", top)
    frames: set[int] = set()
    for port in inputs:
        if port.port not in beats:
            raise _misfit(f"there are no beats of input port '{port.port}'", top)
        values = beats[port.port]
        if values.ndim != 2 or values.shape[1] != len(port.elements):
            raise _misfit(
                f"beats of '{port.port}' have shape {values.shape}, "
                f"not (frames, {len(port.elements)})",
                top,
            )
        if values.dtype.name not in ("int64", "object"):
            raise _misfit(f"beats of '{port.port}' are {values.dtype}, not integers", top)
        _check_range(port, values, top)
        count, rest = divmod(len(values), port.beats)
        if rest:
            raise _misfit(f"'{port.port}' has {port.beats} beats a frame, got {len(values)}", top)
        frames.add(count)
    if len(frames) > 1:
        raise _misfit("the ports have different numbers of beats", top)
    return frames.pop() if frames else 1


def _misfit(message: str, top: Operation) -> FastmlError:
    return FastmlError(message, top, code="FML-STIMULUS")


def _check_range(port: Port, values: Integers, top: Operation) -> None:
    """Refuse the first beat that holds what its element cannot."""
    lows, highs = (np.array(x, dtype=object) for x in ranges_of(port.elements))
    outside = (values < narrow(lows)) | (values > narrow(highs))
    if outside.any():
        frame, element = np.argwhere(outside)[0].tolist()
        raise FastmlError(
            f"'{port.port}' frame {frame} element {element}: {values[frame, element]} "
            f"is not in {lows[element]}..{highs[element]}",
            top,
            code="FML-INPUT",
        )


def top_function(module: ModuleOp) -> func.FuncOp:
    """Return the function that is the design."""
    tops = [
        op for op in module.ops if isinstance(op, func.FuncOp) and "fastml.top" in op.attributes
    ]
    if len(tops) != 1:
        raise FastmlError(f"needs one 'fastml.top' function, has {len(tops)}", module)
    return tops[0]


def ports_of(top: func.FuncOp) -> list[Port]:
    """Return what the attributes of the arguments say."""
    dictionaries = top.arg_attrs.data if top.arg_attrs else ()
    ports: list[Port] = []
    for i, argument in enumerate(top.args):
        described = dictionaries[i] if i < len(dictionaries) else DictionaryAttr({})
        type_ = check_memref(argument.type, top)
        texts = {
            key: _text(described.data.get(f"fastml.{key}"), key, i, top)
            for key in ("port", "name", "direction")
        }
        if texts["direction"] not in ("in", "out"):
            raise FastmlError(f"argument {i}: direction is 'in' or 'out'", top)
        layout = described.data.get("fastml.elements")
        elements = elements_attribute(layout, type_, top)
        is_output = texts["direction"] == "out"
        beats = type_.get_shape()[0] if len(type_.get_shape()) > 1 else 1
        ports.append(Port(texts["port"], texts["name"], is_output, elements, beats))
    if len({port.port for port in ports}) < len(ports):
        raise FastmlError("two arguments have the same 'fastml.port'", top)
    return ports


def _text(attribute: Attribute | None, key: str, i: int, top: func.FuncOp) -> str:
    if not isinstance(attribute, StringAttr):
        raise FastmlError(f"argument {i} needs 'fastml.{key}', a string", top)
    return attribute.data
