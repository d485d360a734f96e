"""When the beats of a frame come, before there are processes: what a slow stage delays.

Every operation is taken to fire as soon as its operands are there, once a cycle, and to give
its beat at once. What is left is how the rows of an image bunch its beats: a window waits for
rows, a pool takes two of them and gives one. A stage that takes several cycles for a beat
falls behind where beats come close together, and is late by that with the last of them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation, SSAValue

from fastml.dialects import qflow
from fastml.dialects.channel import channel_of
from fastml.dialects.qflow_streams import BeatsOp, FifoOp
from fastml.dialects.qflow_windows import AccessOp, steps_of

Cycles = NDArray[np.int64]


def nodes_of(graph: qflow.GraphOp) -> Sequence[qflow.StageOp | BeatsOp]:
    """Return what takes beats and gives others, in order."""
    return [op for op in graph.body.block.ops if isinstance(op, qflow.StageOp | BeatsOp)]


def operands_of(op: qflow.StageOp | BeatsOp) -> Sequence[SSAValue]:
    """Return the channels that an operation takes beats from, before any FIFO."""
    found = [op.input] if isinstance(op, BeatsOp) else op.sources
    owners = [value.owner for value in found]
    return [
        owner.input if isinstance(owner, FifoOp) else value
        for owner, value in zip(owners, found, strict=True)
    ]


def firings_of(op: qflow.StageOp | BeatsOp) -> int:
    """Return how often an operation fires in a frame."""
    if isinstance(op, AccessOp):
        return len(steps_of(op))
    beats = channel_of(op.results[0]).beats.data
    return max(beats, channel_of(op.input).beats.data) if isinstance(op, BeatsOp) else beats


def beat_times(graph: qflow.GraphOp, frame: int) -> Mapping[SSAValue, Cycles]:
    """Return the cycle of each beat of every channel.

    The inputs' beats come evenly, within ``frame`` cycles if a beat a cycle is as fast.
    """
    times = dict[SSAValue, Cycles]()
    for value in graph.body.block.args:
        beats = channel_of(value).beats.data
        times[value] = np.arange(beats) * max(1, frame // beats)
    for op in nodes_of(graph):
        sources = [times[value] for value in operands_of(op)]
        times[op.results[0]] = _given(op, sources)
    return times


def lateness(times: Cycles, interval: int) -> int:
    """Return how many cycles after its last beat comes a stage takes it.

    It takes a beat every ``interval`` cycles at most.
    """
    rest = np.arange(len(times))[::-1] * interval
    return int((times + rest).max() - times[-1])


def _given(op: Operation, sources: Sequence[Cycles]) -> Cycles:
    """Return when an operation gives its beats, by when those of its operands come."""
    match op:
        case AccessOp():
            steps = steps_of(op)
            before = np.cumsum(steps.consumes) - steps.consumes
            newest = np.where(steps.needs > 0, before + steps.needs - 1, 0)
            known = np.where(steps.needs > 0, sources[0][newest], 0)
            return _fired(known)[steps.produces]
        case BeatsOp():
            beats, source = channel_of(op.result).beats.data, sources[0]
            if beats >= len(source):
                return _fired(np.repeat(source, beats // len(source)))
            return _fired(source)[len(source) // beats - 1 :: len(source) // beats]
        case _:
            return _fired(np.maximum.reduce(list(sources)))


def _fired(ready: Cycles) -> Cycles:
    """Return the cycles of firings, one a cycle at most and in order."""
    order = np.arange(len(ready))
    return np.maximum.accumulate(ready - order) + order
