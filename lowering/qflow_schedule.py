"""Schedule a design: which clock cycle every adder and element is in.

Registers are placed for the whole design by arrival times: an operation goes into the
cycle of its latest operand if it still fits before the clock edge, else into the next. A
layer is no register boundary. Values that wait for a later one are delayed by registers
where they are used, so that joins of unequal latency are balanced by construction.

A folded stage starts when all its inputs are there, and gives its whole beat when the
latency of its plan has passed. Frames come every so many cycles as the stage that is folded
most needs.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import IntAttr, ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import ArrayAttr, Integers
from fastml.dialects.qflow import FoldedAttr, channel_of
from fastml.dialects.qflow_extrema import joined_ranges
from fastml.lowering.adder_graphs import from_attribute
from fastml.lowering.cmvm.graph import Graph
from fastml.lowering.delay import TARGETS, DelayModel
from fastml.lowering.folding import Layer
from fastml.lowering.folding_schedule import schedule_plan

_EPSILON = 1e-9
"""Times that differ by less are equal, in ns."""


class Arrival(NamedTuple):
    """When values are ready: the cycle, and the ns since that cycle's clock edge."""

    cycle: NDArray[np.int64]
    time: NDArray[np.float64]


@dataclass(frozen=True)
class QflowSchedule(ModulePass):
    """Place registers for a clock period; set start cycles, latency and II."""

    name = "qflow-schedule"

    clock_ns: int | float = 5.0
    """Clock period in ns; 0 for a combinational design of latency 0."""

    target: str = "generic"
    """Delay model: a name in ``lowering/delay.py``."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Schedule every graph."""
        if self.target not in TARGETS:
            raise FastmlError(
                f"unknown target '{self.target}'",
                op,
                code="FML-TARGET",
                hint=f"one of {', '.join(TARGETS)}",
            )
        delay = TARGETS[self.target] if self.clock_ns > 0 else TARGETS["none"]
        clock = self.clock_ns if self.clock_ns > 0 else 1.0
        for graph in op.walk():
            if isinstance(graph, qflow.GraphOp):
                graph.require_fifos()
                Scheduler(delay, delay.slack(clock)).schedule(graph)


@dataclass
class Scheduler:
    """Assigns cycles in the order of the stages, as early as possible."""

    delay: DelayModel
    slack: float
    """Time that logic may take between two registers, in ns."""
    longest: float = 0.0
    """Time of the longest single operation, in ns, and the stage that has it."""
    binding: qflow.StageOp | None = None

    def schedule(self, graph: qflow.GraphOp) -> None:
        """Set ``cycles`` of every stage, and the graph's latency and II."""
        arrivals = dict[SSAValue, Arrival]()
        for argument in (*graph.body.block.args, *(fifo.result for fifo in graph.fifos)):
            count = len(channel_of(argument))
            arrivals[argument] = Arrival(np.zeros(count, np.int64), np.zeros(count))
        for stage in graph.stages:
            if isinstance(stage.architecture, FoldedAttr):
                arrival = self.folded(stage, stage.architecture, arrivals)
            else:
                arrival = _settled(stage, self.stage(stage, arrivals))
            arrivals[stage.result] = arrival
            stage.cycles = ArrayAttr.get(arrival.cycle)
        self._check_clock()
        if graph.is_streaming:
            return  # FIFOs have a say in latency and II
        outputs = graph.outputs.values()
        last = max((int(arrivals[v].cycle.max(initial=0)) for v in outputs), default=0)
        graph.latency = IntAttr(last)
        folded = [s.architecture for s in graph.stages if isinstance(s.architecture, FoldedAttr)]
        graph.ii = IntAttr(max((architecture.reuse.data for architecture in folded), default=1))

    def _check_clock(self) -> None:
        """Raise ``FML-TARGET``, naming what binds, if an operation is longer than a period."""
        if self.binding is None or self.longest <= self.slack + _EPSILON:
            return
        least = math.ceil((self.longest + self.delay.overhead) * 100 - _EPSILON) / 100
        raise FastmlError(
            f"edge '{self.binding.edge.data}' has an operation of {self.longest:.3f} ns, but a "
            f"clock period leaves {self.slack:.3f} ns",
            self.binding,
            code="FML-TARGET",
            hint=f"use a clock period of at least {least:.2f} ns",
        )

    def stage(self, stage: qflow.StageOp, arrivals: dict[SSAValue, Arrival]) -> Arrival:
        """Schedule one stage."""
        sources = [arrivals[source] for source in stage.sources]
        if isinstance(stage, qflow.DenseOp):
            return self.dense(stage, sources[0])
        if isinstance(stage, qflow.CombineOp):
            return self.combine(stage, sources)
        if isinstance(stage, qflow.RearrangeOp):
            joined = _joined(sources)
            index = np.asarray(stage.index.array, np.int64)
            fixed = np.zeros(len(stage.constants))
            cycle = np.concatenate([joined.cycle, fixed.astype(np.int64)])
            return Arrival(cycle[index], np.concatenate([joined.time, fixed])[index])
        if isinstance(stage, qflow.MaximumOp):
            return self.extremum(stage, _joined(sources))
        latest = sources[0]
        for source in sources[1:]:
            latest = latest_of(latest, source)
        return self._after(latest, self.unit_delay(stage), stage)

    def folded(
        self, stage: qflow.StageOp, plan: FoldedAttr, arrivals: dict[SSAValue, Arrival]
    ) -> Arrival:
        """Schedule a folded stage: it starts when all its inputs are there."""
        if not isinstance(stage, qflow.DenseOp):
            raise FastmlError(
                f"edge '{stage.edge.data}' is not a dense stage, which alone can be folded",
                stage,
                code="FML-OPTION",
            )
        if not plan.planned:
            raise FastmlError(
                f"edge '{stage.edge.data}' is folded, but has no plan",
                stage,
                code="FML-NO-SCHEDULE",
                hint="'qflow-fold' makes one",
            )
        stage.architecture, longest = schedule_plan(Layer.of(stage), plan, self.delay, self.slack)
        self._note(longest, stage)
        start = int(arrivals[stage.input].cycle.max(initial=0))
        count = len(stage.channel)
        ready = np.full(count, start + stage.architecture.latency.data)
        return Arrival(ready, np.zeros(count))

    def _note(self, longest: float, stage: qflow.StageOp) -> None:
        """Remember the longest operation of all."""
        if longest > self.longest:
            self.longest, self.binding = longest, stage

    def _after(self, ready: Arrival, delay: NDArray[np.float64], stage: qflow.StageOp) -> Arrival:
        """Add an operation: in the same cycle if it fits, else in the next."""
        self._note(float(delay.max(initial=0.0)), stage)
        fits = ready.time + delay <= self.slack + _EPSILON
        cycle = np.where(fits, ready.cycle, ready.cycle + 1)
        return Arrival(cycle, np.where(fits, ready.time + delay, delay))

    def unit_delay(self, stage: qflow.StageOp) -> NDArray[np.float64]:
        """Return the delay of each element of an elementwise stage, in ns."""
        source = channel_of(stage.sources[0])
        widths = np.array(source.elements.widths, np.int64)
        if isinstance(stage, qflow.RescaleOp):
            first = (stage.offset.integers != 0) & (stage.whole_steps == 0)
            offset = np.where(first, self.delay.adder(widths + 1), 0.0)
            kept = np.maximum(widths - np.asarray(stage.shift.array, np.int64) + 1, 1)
            rounds = stage.rounding.data is not qflow.Rounding.FLOOR
            rounding = self.delay.comparator(stage.shift.integers) if rounds else 0.0
            logic = offset + rounding + self.delay.round_clamp(kept)
            return np.where(stage.wired, 0.0, logic)
        if isinstance(stage, qflow.ThresholdOp):
            levels = np.full(len(widths), stage.thresholds.array.shape[1] + 1)
            return self.delay.comparator(widths) + self.delay.mux(levels)
        if isinstance(stage, qflow.LookupOp):
            return self.delay.lookup(widths)
        if isinstance(stage, qflow.WrapOp):
            return np.zeros(len(widths))
        assert isinstance(stage, qflow.MultiplyOp)
        other = np.array(channel_of(stage.right).elements.widths, np.int64)
        rows = np.ceil(np.log2(np.maximum(np.minimum(widths, other), 2)))
        return rows * self.delay.adder(widths + other)

    def dense(self, stage: qflow.DenseOp, source: Arrival) -> Arrival:
        """Schedule the adder graph: in the same cycles at every position, as one part will do."""
        assert stage.graph is not None, "unsolved"
        rows = stage.matrix.array.shape[0]
        graph = from_attribute(stage.graph, rows)
        ready = latest_row(Arrival(source.cycle.reshape(-1, rows), source.time.reshape(-1, rows)))
        outputs, cycles = self.graph(graph, ready, *stage.row_ranges, stage)
        stage.node_cycles = ArrayAttr.get(cycles)
        count = stage.positions
        return Arrival(np.tile(outputs.cycle, count), np.tile(outputs.time, count))

    def combine(self, stage: qflow.CombineOp, sources: list[Arrival]) -> Arrival:
        """Schedule the adder graph of all elements together."""
        assert stage.graph is not None, "unsolved"
        channels = [channel_of(x) for x in stage.inputs]
        ready = _joined(sources)
        graph = from_attribute(stage.graph, len(ready.cycle))
        lows = np.concatenate([c.lows for c in channels])
        highs = np.concatenate([c.highs for c in channels])
        outputs, cycles = self.graph(graph, ready, lows, highs, stage)
        stage.node_cycles = ArrayAttr.get(cycles)
        return outputs

    def extremum(self, stage: qflow.MaximumOp, source: Arrival) -> Arrival:
        """Schedule the comparators of every element, round by round."""
        trees = stage.trees
        lows, highs = (ends[trees.entries] for ends in joined_ranges(stage.inputs))
        cycle, time = source.cycle[trees.entries], source.time[trees.entries]
        nodes = np.zeros(trees.nodes, np.int64)
        for now in trees.rounds():
            first, second = (now.rows, 2 * now.places), (now.rows, 2 * now.places + 1)
            operands = latest_of(
                Arrival(cycle[first], time[first]), Arrival(cycle[second], time[second])
            )
            low, high = (
                np.minimum(lows[first], lows[second]),
                np.maximum(highs[first], highs[second]),
            )
            delay = self.delay.comparator(_widths(low, high)) + self.delay.mux(2)
            settled = (lows[first] >= highs[second]) | (lows[second] >= highs[first])
            won = self._after(operands, np.where(settled, 0.0, delay), stage)
            nodes[now.nodes] = won.cycle
            ends = (
                stage.of_two(lows[first], lows[second]),
                stage.of_two(highs[first], highs[second]),
            )
            winners = won.cycle, won.time, *ends
            for values, new in zip((cycle, time, lows, highs), winners, strict=True):
                values[now.byes, now.bye_places] = values[now.byes, 2 * now.bye_places]
                values[now.rows, now.places] = new
        stage.node_cycles = ArrayAttr.get(nodes)
        return Arrival(cycle[:, 0], time[:, 0])

    def graph(
        self,
        graph: Graph,
        ready: Arrival,
        lows: NDArray[np.int64],
        highs: NDArray[np.int64],
        stage: qflow.StageOp,
    ) -> tuple[Arrival, NDArray[np.int64]]:
        """Schedule one adder graph; return its outputs' arrival and its nodes' cycles."""
        grid = graph.grid(lows, highs)
        delay = self.delay.adder(graph.full_adders(grid))
        # one more row stands for the operand that an addition of a constant does not have
        cycle = np.zeros(graph.n_values + 1, np.int64)
        time = np.zeros(graph.n_values + 1)
        cycle[: graph.n_in], time[: graph.n_in] = ready
        for level in _levels(graph):
            operands = latest_of(
                Arrival(cycle[graph.left[level]], time[graph.left[level]]),
                Arrival(cycle[graph.right[level]], time[graph.right[level]]),
            )
            own = self._after(operands, delay[level], stage)
            cycle[graph.n_in + level], time[graph.n_in + level] = own
        outputs = Arrival(cycle[graph.out_id], time[graph.out_id])
        return outputs, cycle[graph.n_in : graph.n_values]


def _levels(graph: Graph) -> list[NDArray[np.int64]]:
    """Return the nodes by their depth, so that each level is one array operation."""
    depth = graph.depth[graph.n_in :]
    order = np.argsort(depth, kind="stable")
    starts = np.searchsorted(depth[order], np.arange(1, int(depth.max(initial=0)) + 2))
    return [order[a:b] for a, b in pairwise(starts)]


def latest_of(left: Arrival, right: Arrival) -> Arrival:
    """Return the later of two arrivals; the earlier one waits in a register."""
    cycle = np.maximum(left.cycle, right.cycle)
    time = np.maximum(
        np.where(left.cycle == cycle, left.time, 0.0),
        np.where(right.cycle == cycle, right.time, 0.0),
    )
    return Arrival(cycle, time)


def latest_row(rows: Arrival) -> Arrival:
    """Return the latest arrival in each column."""
    cycle = rows.cycle.max(axis=0)
    return Arrival(cycle, np.where(rows.cycle == cycle, rows.time, 0.0).max(axis=0))


def _widths(lows: Integers, highs: Integers) -> NDArray[np.float64]:
    """Return the bits that ranges take."""
    magnitude = np.maximum(np.maximum(highs, -1 - lows), 0).astype(np.float64)
    return np.frexp(magnitude)[1] + (lows < 0)


def _settled(stage: qflow.StageOp, arrival: Arrival) -> Arrival:
    """Let elements that never change be ready from the start."""
    constant = stage.channel.lows == stage.channel.highs
    return Arrival(np.where(constant, 0, arrival.cycle), np.where(constant, 0.0, arrival.time))


def _joined(parts: list[Arrival]) -> Arrival:
    return Arrival(
        np.concatenate([part.cycle for part in parts]),
        np.concatenate([part.time for part in parts]),
    )
