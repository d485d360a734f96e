"""Cycles of a scheduled qflow graph: when elements are ready, and whether that can be.

Cycles are counted from the one in which the frame's input beat is accepted. A schedule is
legal where nothing starts before its operands are ready; how much fits into one clock period
is not its business.
"""

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.channel import channel_of
from fastml.dialects.qflow import (
    CombineOp,
    DenseOp,
    FoldedAttr,
    GraphOp,
    MaximumOp,
    RearrangeOp,
    RescaleOp,
    StageOp,
    WrapOp,
)

Cycles = NDArray[np.int64]


def cycles_of(value: SSAValue) -> Cycles:
    """Return the cycle of each element of a channel; ``FML-NO-SCHEDULE`` where there is none."""
    owner = value.owner
    if not isinstance(owner, StageOp):
        return np.zeros(len(channel_of(value)), np.int64)
    if owner.cycles is None:
        raise FastmlError("the stage has no schedule", owner, code="FML-NO-SCHEDULE")
    return np.asarray(owner.cycles.integers, np.int64)


def start_of(stage: StageOp) -> int:
    """Return the cycle in which a folded stage starts: when all its inputs are there."""
    return max((int(cycles_of(source).max(initial=0)) for source in stage.sources), default=0)


def check_cycles(graph: GraphOp) -> None:
    """Raise ``FML-SCHEDULE`` naming an edge whose cycles cannot be; constants have none.

    Wires take no time, and an operation starts once its operands are ready. Raises
    ``FML-NO-SCHEDULE`` where a stage has no cycles.
    """
    for stage in graph.stages:
        if isinstance(stage.architecture, FoldedAttr):
            _check_folded(stage, stage.architecture)
            continue
        ready = [cycles_of(source) for source in stage.sources]
        own = cycles_of(stage.result)
        if isinstance(stage, DenseOp | CombineOp):
            made, wired = _adders(stage, np.concatenate(ready)), np.ones(len(own), np.bool_)
        elif isinstance(stage, RearrangeOp):
            fixed = np.zeros(len(stage.constants), np.int64)
            made = np.concatenate([*ready, fixed])[stage.index.integers]
            wired = np.ones(len(own), np.bool_)
        elif isinstance(stage, MaximumOp):
            made = _comparators(stage, np.concatenate(ready))
            wired = np.ones(len(own), np.bool_)
        else:
            made = np.max(np.stack(ready), axis=0)
            wired = np.full(len(own), isinstance(stage, WrapOp))
            wired = stage.wired if isinstance(stage, RescaleOp) else wired
        constant = np.asarray(stage.channel.lows == stage.channel.highs, np.bool_)
        if np.any((own < made) & ~constant):
            raise _illegal(stage, "is ready before its operands")
        if np.any((own > made) & wired & ~constant):
            raise _illegal(stage, "is ready later than it is made")
    _check_interval(graph)
    _check_latency(graph)


def _check_folded(stage: StageOp, architecture: FoldedAttr) -> None:
    """The whole beat of a folded stage is there when its latency has passed."""
    if not architecture.scheduled:
        raise FastmlError("the folded stage has no schedule", stage, code="FML-NO-SCHEDULE")
    ready = start_of(stage) + architecture.latency.data
    own = cycles_of(stage.result)
    if np.any(own < ready):
        raise _illegal(stage, "is ready before its folds are done")
    if np.any(own > ready):
        raise _illegal(stage, "is ready later than it is made")


def _check_interval(graph: GraphOp) -> None:
    """A folded stage takes a frame every ``reuse`` cycles, and not sooner."""
    for stage in graph.stages:
        if graph.ii is not None and isinstance(stage.architecture, FoldedAttr):
            reuse = stage.architecture.reuse.data
            if reuse > graph.ii.data:
                raise FastmlError(
                    f"frames come every {graph.ii.data} cycles, but edge '{stage.edge.data}' "
                    f"is folded {reuse} times",
                    stage,
                    code="FML-SCHEDULE",
                )


def _illegal(stage: StageOp, problem: str) -> FastmlError:
    return FastmlError(f"edge '{stage.edge.data}' {problem}", stage, code="FML-SCHEDULE")


def _check_latency(graph: GraphOp) -> None:
    if graph.latency is None:
        return
    latest = max((int(cycles_of(v).max(initial=0)) for v in graph.outputs.values()), default=0)
    if graph.latency.data < latest:
        raise FastmlError(
            f"latency {graph.latency.data} is before the last output, in cycle {latest}",
            graph,
            code="FML-SCHEDULE",
        )


def _adders(stage: DenseOp | CombineOp, ready: Cycles) -> Cycles:
    """Check that adders start after their operands; return when they make each element."""
    graph = stage.graph
    if graph is None or stage.node_cycles is None:
        raise FastmlError("the stage has no scheduled adders", stage, code="FML-NO-SCHEDULE")
    positions = stage.positions if isinstance(stage, DenseOp) else 1
    ready = ready.reshape(positions, -1).max(axis=0)  # all positions wait for the last of them
    nodes = stage.node_cycles.integers
    never = np.zeros(1, np.int64)  # of the operand that an adder does not have
    cycles = np.concatenate([ready, nodes, never])
    before = np.maximum(cycles[graph.left.integers], cycles[graph.right.integers])
    if np.any(nodes < before):
        raise _illegal(stage, "is ready before its operands")
    return np.tile(cycles[graph.out_id.integers], positions)


def _comparators(stage: MaximumOp, ready: Cycles) -> Cycles:
    """Check that comparators start after their operands; return when they make each element."""
    if stage.node_cycles is None:
        raise FastmlError("the stage has no scheduled adders", stage, code="FML-NO-SCHEDULE")
    trees, nodes = stage.trees, stage.node_cycles.integers
    cycles = ready[trees.entries]
    for now in trees.rounds():
        before = np.maximum(cycles[now.rows, 2 * now.places], cycles[now.rows, 2 * now.places + 1])
        if np.any(nodes[now.nodes] < before):
            raise _illegal(stage, "is ready before its operands")
        cycles[now.byes, now.bye_places] = cycles[now.byes, 2 * now.bye_places]
        cycles[now.rows, now.places] = nodes[now.nodes]
    return cycles[:, 0]
