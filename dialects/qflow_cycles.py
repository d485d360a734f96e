"""Cycles of a scheduled qflow graph: when elements are ready, and whether that can be.

Cycles are counted from the one in which the frame's input beat is accepted. A schedule is
legal where nothing starts before its operands are ready; how much fits into one clock period
is not its business.
"""

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.adder_graph import AdderGraphAttr
from fastml.dialects.channel import channel_of
from fastml.dialects.qflow import CombineOp, DenseOp, GraphOp, RearrangeOp, StageOp

Cycles = NDArray[np.int64]


def cycles_of(value: SSAValue) -> Cycles:
    """Return the cycle of each element of a channel; ``FML-NO-SCHEDULE`` where there is none."""
    owner = value.owner
    if not isinstance(owner, StageOp):
        return np.zeros(len(channel_of(value)), np.int64)
    if owner.cycles is None:
        raise FastmlError("the stage has no schedule", owner, code="FML-NO-SCHEDULE")
    return np.asarray(owner.cycles.integers, np.int64)


def check_cycles(graph: GraphOp) -> None:
    """Raise ``FML-SCHEDULE`` naming what is ready too early; constants always are ready."""
    for stage in graph.stages:
        ready = [cycles_of(source) for source in stage.sources]
        constant = np.asarray(stage.channel.lows == stage.channel.highs, np.bool_)
        own = np.where(constant, np.iinfo(np.int64).max, cycles_of(stage.result))
        if isinstance(stage, DenseOp | CombineOp) and stage.graph is not None:
            _check_adders(stage, stage.graph, np.concatenate(ready), own)
        elif isinstance(stage, DenseOp | CombineOp):
            # without adders, an element needs every operand
            _require(stage, np.all(own >= np.max(np.concatenate(ready), initial=0)))
        elif isinstance(stage, RearrangeOp):
            _require(stage, np.all(own >= np.concatenate(ready)[stage.index.integers]))
        else:
            _require(stage, all(np.all(own >= cycles) for cycles in ready))
    _check_latency(graph)


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


def _require(stage: StageOp, legal: object) -> None:
    if not legal:
        raise FastmlError(
            f"edge '{stage.edge.data}' is ready before its operands", stage, code="FML-SCHEDULE"
        )


def _check_adders(
    stage: DenseOp | CombineOp, graph: AdderGraphAttr, ready: Cycles, own: Cycles
) -> None:
    """Check that adders start after their operands, and elements after their adders."""
    if stage.node_cycles is None:
        raise FastmlError("the adders have no schedule", stage, code="FML-NO-SCHEDULE")
    positions = stage.positions if isinstance(stage, DenseOp) else 1
    nodes = stage.node_cycles.integers.reshape(positions, graph.nodes)
    never = np.zeros((positions, 1), np.int64)  # of the operand that an adder does not have
    cycles = np.concatenate([ready.reshape(positions, -1), nodes, never], axis=1)
    before = np.maximum(cycles[:, graph.left.integers], cycles[:, graph.right.integers])
    made = cycles[:, graph.out_id.integers].reshape(-1)
    _require(stage, np.all(nodes >= before) and np.all(own >= made))
