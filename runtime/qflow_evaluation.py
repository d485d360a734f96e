"""Values of a ``qflow`` graph, process by process, in as little memory as whole images need.

Stages that fire together are evaluated some beats at a time. What lies between processes is
kept in the narrowest integers that hold it, and only until its last reader has run; windows
are not kept at all, but gathered as their readers come to them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import Integers
from fastml.dialects.qflow import channel_of
from fastml.dialects.qflow_processes import processes_of
from fastml.runtime.qflow_stages import check_stage, compute_stage

PLACES = 1 << 21
"""Integers that the values of one stage may take at a time."""
_TYPES = tuple(np.dtype(f"{sign}int{bits}") for bits in (8, 16, 32) for sign in ("", "u"))
_INT64 = np.dtype(np.int64)
_OBJECT = np.dtype(object)


@dataclass(frozen=True)
class _Part:
    """Beats ``first`` to ``last`` of each of some frames; of several, all beats."""

    frames: slice
    first: int
    last: int
    beats: int

    @property
    def rows(self) -> slice:
        """The rows of these beats in an array of all."""
        start = self.frames.start * self.beats + self.first
        return slice(start, (self.frames.stop - 1) * self.beats + self.last)


class Evaluation:
    """The values of one graph; those ``wanted`` are kept."""

    def __init__(
        self, graph: qflow.GraphOp, loaded: Mapping[str, Integers], wanted: Collection[SSAValue]
    ):
        self.graph, self.loaded = graph, loaded
        self.wanted = {_made(value) for value in wanted}
        self.given = [*wanted]
        self.values = dict[SSAValue, Integers]()
        self.frames = 0
        self.readers = dict[SSAValue, int]()
        """How many processes have yet to read what is kept."""

    def run(self, beats: Mapping[str, Integers]) -> dict[SSAValue, Integers]:
        """Return the values wanted, for beats of the inputs."""
        graph = self.graph
        graph.require_fifos()
        for name, value in graph.inputs.items():
            self.values[value] = beats[name]
            self.frames = len(beats[name]) // channel_of(value).beats.data
        if graph.is_streaming:
            processes = [process.ops for process in processes_of(graph.body.block).processes]
        else:
            processes = [tuple(graph.stages)]
        for ops in processes:
            for source in self._sources(ops):
                self.readers[source] = self.readers.get(source, 0) + 1
        for ops in processes:
            (first, *_) = ops or (None,)
            if isinstance(first, qflow.BeatsOp):
                self._change(first)
            elif ops:
                self._stages([op for op in ops if isinstance(op, qflow.StageOp)])
            for source in self._sources(ops):
                self._release(source)
        return {value: _plain(self.values[_made(value)]) for value in self.given}

    # -- what is kept, and how long ----------------------------------------------------------

    def _sources(self, ops: Iterable[Operation]) -> list[SSAValue]:
        """Return the kept values that a process reads; those of a window that it looks through."""
        mine = {result for op in ops for result in op.results}
        outside = dict.fromkeys(_made(x) for op in ops for x in op.operands)
        found = dict.fromkeys(value for value in outside if value not in mine)
        lazy = {value: access for value in found for access in [self._lazy(value)] if access}
        return [_made(lazy[value].input) if value in lazy else value for value in found]

    def _lazy(self, value: SSAValue) -> qflow.AccessOp | None:
        """Return what gathers a value whenever it is read, if that is not kept."""
        op = value.owner
        if not isinstance(op, qflow.AccessOp) or value in self.wanted:
            return None
        fifos = [use.operation for use in value.uses]
        readers = [use.operation for fifo in fifos for use in fifo.results[0].uses]
        return op if all(isinstance(reader, qflow.StageOp) for reader in readers) else None

    def _release(self, source: SSAValue) -> None:
        self.readers[source] -= 1
        if not self.readers[source] and source not in self.wanted:
            self.values.pop(source, None)

    def _keep(self, value: SSAValue, rows: slice, found: Integers) -> None:
        """Store some beats of a value, in integers that hold all that it can be."""
        if value not in self.values:
            channel = channel_of(value)
            shape = (self.frames * channel.beats.data, len(channel))
            self.values[value] = np.empty(shape, _type_of(channel))
        kept = self.values[value]
        kept[rows] = found
        fits = kept.dtype == found.dtype or np.array_equal(kept[rows], found)
        assert fits, f"a value of {value} is outside its range"

    def _parts(self, beats: int, places: int) -> Iterator[_Part]:
        """Yield all beats of all frames, so many at a time that they fit."""
        rows = max(PLACES // max(places, 1), 1)
        if rows >= beats or not self.frames:
            step = max(rows // beats, 1)
            for frame in range(0, max(self.frames, 1), step):
                stop = min(frame + step, self.frames)
                yield _Part(slice(frame, stop), 0, beats, beats)
            return
        for frame in range(self.frames):
            for first in range(0, beats, rows):
                last = min(first + rows, beats)
                yield _Part(slice(frame, frame + 1), first, last, beats)

    # -- processes ---------------------------------------------------------------------------

    def _read(self, value: SSAValue, part: _Part) -> Integers:
        """Return some beats, as integers to calculate with."""
        access = self._lazy(value)
        if access is not None:
            return self._gather(access, part)
        return _plain(self.values[value][part.rows])

    def _gather(self, op: qflow.AccessOp, part: _Part) -> Integers:
        source, channel = self.values[_made(op.input)], channel_of(op.input)
        frames = source.reshape(self.frames, channel.beats.data, len(channel))[part.frames]
        wide = _OBJECT in (source.dtype, op.fill.integers.dtype)
        kind = _OBJECT if wide else _INT64
        found = op.gather(frames, part.first, part.last, kind)
        return found.reshape(-1, len(channel_of(op.result)))

    def _change(self, op: qflow.BeatsOp) -> None:
        """Evaluate a change of beats, unless its readers do."""
        if isinstance(op, qflow.AccessOp):
            if self._lazy(op.result) is None:
                channel = channel_of(op.result)
                for part in self._parts(channel.beats.data, len(channel)):
                    self._keep(op.result, part.rows, self._gather(op, part))
            return
        found = op.convert(self.values[_made(op.input)])
        check_beats(self.graph, op.edge.data, found, op.result)
        self._keep(op.result, slice(None), found)

    def _stages(self, stages: list[qflow.StageOp]) -> None:
        """Evaluate stages that fire together."""
        for stage in stages:
            check_stage(stage, self.loaded.get(stage.edge.data))
        beats = channel_of(stages[0].result).beats.data
        for part in self._parts(beats, max(map(_places, stages))):
            known = dict[SSAValue, Integers]()
            for stage in stages:
                for source in stage.sources:
                    if source not in known:
                        known[source] = self._read(_made(source), part)
                operands = [known[source] for source in stage.sources]
                matrix = self.loaded.get(stage.edge.data)
                known[stage.result] = compute_stage(stage, operands, matrix)
            for stage in stages:
                if stage.result in self.wanted or _leaves(stage.result):
                    self._keep(stage.result, part.rows, known[stage.result])


def _made(value: SSAValue) -> SSAValue:
    """Return the channel that is in a FIFO, or the value itself."""
    return value.owner.input if isinstance(value.owner, qflow.FifoOp) else value


def _leaves(value: SSAValue) -> bool:
    return any(isinstance(use.operation, qflow.FifoOp) for use in value.uses)


def _places(stage: qflow.StageOp) -> int:
    """Return how many integers the evaluation of one beat takes."""
    sizes = [len(channel_of(x)) for x in (*stage.sources, stage.result)]
    if isinstance(stage, qflow.DenseOp) and stage.graph is not None:
        sizes.append(stage.positions * stage.graph.nodes)
    return max(sizes)


def _type_of(channel: qflow.ChannelType) -> np.dtype[np.generic]:
    """Return the narrowest type that holds every element, so that images stay small."""
    low, high = min(channel.lows, default=0), max(channel.highs, default=0)
    if _OBJECT in (channel.lows.dtype, channel.highs.dtype):
        return _OBJECT
    fitting = (t for t in _TYPES if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return next(fitting, _INT64)


def _plain(values: Integers) -> Integers:
    return values if values.dtype == _OBJECT else values.astype(np.int64, copy=False)


def check_beats(graph: qflow.GraphOp, name: str, beats: Integers, value: SSAValue) -> None:
    """Raise ``FML-STIMULUS`` where beats have the wrong shape or leave their ranges."""
    channel = channel_of(value)
    if beats.ndim != 2 or beats.shape[1] != len(channel):
        raise FastmlError(
            f"beats of '{name}' have shape {beats.shape}, not (frames, {len(channel)})",
            graph,
            code="FML-STIMULUS",
        )
    outside = (beats < channel.lows) | (beats > channel.highs)
    if np.any(outside):
        frame, element = np.argwhere(outside)[0]
        raise FastmlError(
            f"beat {frame} of '{name}', element {element}, is {beats[frame, element]}: outside "
            f"{channel.lows[element]}..{channel.highs[element]}",
            graph,
            code="FML-STIMULUS",
        )
