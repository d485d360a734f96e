"""What a design costs and when it answers: as data, for ``report.json`` and the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastml.compiler.area import Area, estimate_area
from fastml.compiler.flow_report import describe_flow
from fastml.compiler.support.diagnostics import shorten, warning_text
from fastml.dialects.qflow import (
    AdderGraphAttr,
    CombineOp,
    DenseOp,
    FoldedAttr,
    GraphOp,
    StageOp,
    channel_of,
)
from fastml.dialects.qflow_cycles import cycles_of
from fastml.lowering.contracts import LUT_PER_BRAM
from fastml.lowering.folding import Layer
from fastml.lowering.folding_cost import DSP_WEIGHT, adder_graph_luts, planned_cost
from fastml.runtime.clocked_levels import HardwareLevel

if TYPE_CHECKING:
    from fastml.compiler.design import Design


def build_report(design: "Design", *, area: bool = True) -> dict[str, Any]:
    """Return the report of a design; without ``area`` nothing below ``qflow`` is made."""
    graph = design.graph
    latency = None if graph.latency is None else graph.latency.data
    figures: Mapping[str, object] | None = None
    if area:
        figures = hardware_area(design).figures
    return {
        "name": design.name,
        "latency_cycles": latency,
        "latency_first": latency,  # a parallel design gives one beat a frame
        "ii": None if graph.ii is None else graph.ii.data,
        "clock_ns": design.options.clock_ns,
        "area": figures,
        "layers": describe_layers(graph),
        "warnings": cost_warnings(graph),
        **describe_flow(graph),
    }


def hardware_area(design: "Design") -> Area:
    """Estimate the area of a design's hardware."""
    hardware = design.level("hw")
    assert isinstance(hardware, HardwareLevel)
    return estimate_area(hardware.module, hardware.pinout.top)


def describe_layers(graph: GraphOp) -> list[dict[str, Any]]:
    """Describe each stage: kind, architecture, adders, widths, and its cycles.

    Dense stages have their number of ``products``, those with a weight of 0 apart, their
    ``reuse`` factor, and ``multipliers``: the lanes of a folded stage, 0 of a parallel one.
    """
    return [_layer(stage) for stage in graph.stages]


def _layer(stage: StageOp) -> dict[str, Any]:
    adders, depth = 0, 0
    if isinstance(stage, DenseOp | CombineOp) and stage.graph is not None:
        positions = stage.positions if isinstance(stage, DenseOp) else 1
        inputs = sum(len(channel_of(source)) for source in stage.sources) // positions
        adders, depth = stage.graph.nodes * positions, adder_depth(stage.graph, inputs)
    scheduled = stage.cycles is not None
    return {
        "name": stage.edge.data,
        "kind": stage.name.removeprefix("qflow."),
        "elements": len(stage.channel),
        "widths": str(stage.channel.elements),
        "adders": adders,
        "depth": depth,
        **(_folding(stage) if isinstance(stage, DenseOp) else {}),
        "start_cycle": _first_cycle(stage) if scheduled else None,
        "end_cycle": int(cycles_of(stage.result).max(initial=0)) if scheduled else None,
    }


def _folding(stage: DenseOp) -> dict[str, Any]:
    matrix, plan = stage.matrix.integers, stage.architecture
    folded = isinstance(plan, FoldedAttr)
    return {
        "architecture": plan.summary if folded else "parallel",
        "reuse": plan.reuse.data if folded else 1,
        "multipliers": plan.groups.data * plan.lanes.data if folded else 0,
        "products": matrix.size * stage.positions,
        "zero_products": (matrix.size - int(np.count_nonzero(matrix))) * stage.positions,
    }


def cost_warnings(graph: GraphOp) -> list[dict[str, str]]:
    """Warn of every folded layer that is estimated to cost more than its adder graph would.

    Where a contract chose the folding, the limits are the reason.
    """
    found = list[dict[str, str]]()
    if graph.gap is not None:
        return found
    for stage in graph.stages:
        if not isinstance(stage, DenseOp):
            continue
        plan = stage.architecture
        if not isinstance(plan, FoldedAttr) or not plan.planned:
            continue
        cost, graph_luts = planned_cost(Layer.of(stage), plan), adder_graph_luts(stage)
        if cost.weight <= graph_luts:
            continue
        parts = [f"{round(cost.lut)} LUT"]
        scarce = ((cost.dsp, "DSP", DSP_WEIGHT), (cost.bram, "BRAM", LUT_PER_BRAM))
        parts += [f"{n} {kind} (each worth {w:.0f} LUT)" for n, kind, w in scarce if n]
        text = warning_text(
            f"edge '{shorten(stage.edge.data)}' folded by {plan.reuse.data} takes about "
            f"{', '.join(parts)}, more than the {round(graph_luts)} LUT of its adder graph, "
            "which takes a beat every cycle",
            stage,
            code="FML-COST",
            hint="fold it more, or give it a reuse factor of 1",
        )
        found.append({"code": "FML-COST", "layer": stage.edge.data, "text": text})
    return found


def _first_cycle(stage: StageOp) -> int:
    """Return the cycle of the first element that comes in, constants apart."""
    cycles = [
        cycles_of(source)[np.array(channel_of(source).elements.widths) > 0]
        for source in stage.sources
    ]
    return min((int(found.min()) for found in cycles if len(found)), default=0)


def adder_depth(graph: AdderGraphAttr, inputs: int) -> int:
    """Return the number of adders on the longest path of a graph."""
    depth = [0] * inputs
    lefts: list[int] = graph.left.array.tolist()
    rights: list[int] = graph.right.array.tolist()
    for left, right in zip(lefts, rights, strict=True):
        depth.append(1 + max(depth[left], depth[right] if right >= 0 else 0))
    used: list[int] = graph.out_id.array.tolist()
    return max((depth[value] for value in used if value >= 0), default=0)
