"""Choose how every dense stage is built, all together, so that a contract is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, ModuleOp, f64
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.qflow import ParallelAttr, channel_of
from fastml.dialects.qflow_folded import Products
from fastml.dialects.qflow_streams import BeatsOp
from fastml.lowering.beat_times import beat_times, firings_of, lateness, nodes_of, operands_of
from fastml.lowering.contracts import Choice, Limits, Problem, Selection, choose, least
from fastml.lowering.delay import TARGETS
from fastml.lowering.folding import Layer, ceil_div
from fastml.lowering.folding_cost import Estimator, adder_graph_luts, digit_count
from fastml.lowering.qflow_fold import fold_stage, products_of
from fastml.lowering.stage_cost import stage_luts

PIPELINE = 6
"""Cycles of a folded stage beside its iterations."""
CHANGE = 2
"""Cycles of a process that changes beats, and of the FIFO behind it."""
STEP = 1.12
"""Ratio of neighbouring numbers of multipliers that are tried."""

_UNITS = {
    "ii": "cycles between two frames",
    "latency": "cycles of latency",
    "dsp": "hardware multipliers",
    "bram": "block memories",
    "lut": "look-up tables",
}


@dataclass(frozen=True)
class QflowChoose(ModulePass):
    """Fold dense stages as the limits demand: shortest interval first, then least area.

    Costs are estimates; latency and interval are known, and checked, after scheduling.
    """

    name = "qflow-choose"

    ii: int | None = None
    """Most cycles between two frames."""
    latency: int | None = None
    """Most cycles from a frame to its output."""
    max_dsp: int | None = None
    """Most hardware multipliers."""
    max_bram: int | None = None
    """Most block memories."""
    max_lut: int | None = None
    """Most look-up tables, as estimated."""
    multipliers: str = "auto"
    """``auto``: whatever costs less; ``dsp``: multipliers; ``logic``: shifts and additions."""
    clock_ns: int | float = 5.0
    """Clock period in ns, for the latency of parallel stages."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Choose for every graph."""
        products = products_of(self.multipliers, op)
        limits = Limits(self.ii, self.latency, self.max_dsp, self.max_bram, self.max_lut)
        for graph in op.walk():
            if isinstance(graph, qflow.GraphOp):
                _Chooser(graph, limits, products, self.clock_ns).run()


@dataclass
class _Chooser:
    graph: qflow.GraphOp
    limits: Limits
    products: Products | None
    clock_ns: float
    problem: Problem = field(default_factory=Problem)
    edges: list[str] = field(default_factory=list[str])
    """What each member of the problem makes."""
    reuses: dict[int, Sequence[int]] = field(default_factory=dict[int, Sequence[int]])
    """Reuse factor of each choice of a dense stage, by its number in the problem."""
    numbers: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])

    def run(self) -> None:
        """Solve, and give every dense stage its architecture."""
        nodes = nodes_of(self.graph)
        if not nodes:
            return
        given = [most for most in (self.limits.ii, self.limits.latency) if most is not None]
        self.times = beat_times(self.graph, min(given, default=0))
        for name, value in self.graph.inputs.items():
            self._add(name, value, [Choice(channel_of(value).beats.data)])
        for op in nodes:
            self._node(op)
        selection = choose(self.problem, self.limits)
        if selection is None:
            raise self._impossible()
        self._set(selection)

    def _set(self, selection: Selection) -> None:
        self.graph.gap = FloatAttr(selection.gap, f64)
        for stage in self.graph.stages:
            number = self.numbers[stage.result]
            if not isinstance(stage, qflow.DenseOp) or number not in self.reuses:
                continue
            reuse = self.reuses[number][selection.picks[number]]
            if reuse == 1:
                stage.architecture = ParallelAttr()
            else:
                fold_stage(stage, reuse, self.products)

    def _add(
        self, edge: str, value: SSAValue, choices: Sequence[Choice], before: Sequence[SSAValue] = ()
    ) -> int:
        """Add what makes a channel to the problem."""
        sources = [self.numbers[source] for source in before]
        number = self.problem.add(choices, sources, int(self.times[value][-1]))
        self.edges.append(edge)
        self.numbers[value] = number
        return number

    def _node(self, op: qflow.StageOp | BeatsOp) -> None:
        """Add an operation with all ways to build it."""
        edge, before = op.edge.data, operands_of(op)
        if isinstance(op, BeatsOp):
            choices = [Choice(firings_of(op), CHANGE)]
        elif isinstance(op, qflow.DenseOp) and len(op.channel):
            reuses, choices = self._dense(op)
            self.reuses[len(self.edges)] = reuses
        else:
            choices = [Choice(firings_of(op), lut=math.ceil(stage_luts(op)))]
        self._add(edge, op.results[0], choices, before)

    def _dense(self, stage: qflow.DenseOp) -> tuple[Sequence[int], Sequence[Choice]]:
        """Return the reuse factors that are tried, and what comes of them."""
        layer, beats = Layer.of(stage), firings_of(stage)
        estimator = Estimator(layer)
        times = self.times[stage.input]
        reuses, choices = list[int](), list[Choice]()
        unrolled = self.products is not Products.MULTIPLIER  # into adders alone
        if unrolled:
            reuses.append(1)
            choices.append(self._parallel(stage))
        present = int(np.count_nonzero(layer.matrix)) * layer.positions
        most = None if self.limits.ii is None else self.limits.ii // beats
        tried = {r for n in (layer.products, present) for r in candidates(n, most)}
        if not unrolled and not tried:
            tried = {2}  # the least that folds; a limit that excludes it is then named
        for reuse in sorted(tried):
            _, cost = estimator.cheapest(reuse, self.products)
            dsp = cost.dsp if unrolled else max(cost.dsp, cost.multipliers)
            latency = reuse + PIPELINE + math.ceil(math.log2(max(layer.matrix.shape[0], 2)) / 4)
            latency += lateness(times, reuse)
            reuses.append(reuse)
            choices.append(Choice(reuse * beats, latency, dsp, cost.bram, math.ceil(cost.lut)))
        return reuses, choices

    def _parallel(self, stage: qflow.DenseOp) -> Choice:
        """Estimate an adder graph from the digits of its weights."""
        digits = digit_count(stage.matrix.integers)
        depth = math.ceil(math.log2(max(digits.sum(axis=0).max(initial=1), 1) + 1))
        width = max(stage.channel.elements.widths, default=0)
        luts = adder_graph_luts(stage)
        beats = firings_of(stage)
        if self.clock_ns <= 0:
            return Choice(beats, lut=math.ceil(luts))
        model = TARGETS["generic"]
        slack = max(model.slack(self.clock_ns), 1e-3)
        latency = math.floor(depth * float(model.adder(width)) / slack)
        return Choice(beats, latency, lut=math.ceil(luts))

    def _impossible(self) -> FastmlError:
        """Say what binds: the least of each limited figure that the other limits allow."""
        given = self.limits.given()
        wanted = ", ".join(f"{_UNITS[what]} <= {most}" for what, most in given.items())
        reasons = list[str]()
        for what in given:
            lowest = least(self.problem, self.limits, what)
            if lowest is not None:
                others = " and ".join(f"{_UNITS[o]} <= {given[o]}" for o in given if o != what)
                reasons.append(
                    f"{'with ' + others if others else 'it'} takes at least {lowest} "
                    f"{_UNITS[what]}{self._heaviest(what)}"
                )
        reason = "; ".join(reasons) or "no two of the limits can be kept together"
        return FastmlError(
            f"the contract cannot be met: {wanted}: {reason}",
            self.graph,
            code="FML-TARGET",
            hint="relax one of the limits",
        )

    def _heaviest(self, what: str) -> str:
        """Name the stage that takes most of a figure by itself, within the interval."""
        most = self.limits.ii
        found = list[tuple[int, str]]()
        for edge, choices in zip(self.edges, self.problem.choices, strict=True):
            within = [c for c in choices if most is None or what == "ii" or c.ii <= most]
            if within:
                found.append((min(getattr(c, what) for c in within), edge))
        figure, edge = max(found, default=(0, ""))
        return f", {figure} of them for edge '{edge}'" if figure else ""


def candidates(products: int, most: int | None) -> list[int]:
    """Return reuse factors worth trying: one for each number of multipliers of a ladder."""
    limit = products if most is None else min(most, max(products, 2))
    counts, count = list[int](), 1.0
    while count < products:
        counts.append(round(count))
        count = max(count * STEP, count + 1)
    found = {ceil_div(products, count) for count in counts} | {limit}
    return sorted(reuse for reuse in found if 2 <= reuse <= limit)
