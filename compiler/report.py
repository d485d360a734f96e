"""What a design costs and when it answers: as data, for ``report.json`` and the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastml.compiler.area import Area, estimate_area
from fastml.compiler.flow_report import describe_flow
from fastml.dialects.qflow import AdderGraphAttr, CombineOp, DenseOp, GraphOp, StageOp, channel_of
from fastml.dialects.qflow_cycles import cycles_of
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
        **describe_flow(graph),
    }


def hardware_area(design: "Design") -> Area:
    """Estimate the area of a design's hardware."""
    hardware = design.level("hw")
    assert isinstance(hardware, HardwareLevel)
    return estimate_area(hardware.module, hardware.pinout.top)


def describe_layers(graph: GraphOp) -> list[dict[str, Any]]:
    """Describe each stage: kind, adders, depth, widths, and its cycles in the schedule."""
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
        "start_cycle": _first_cycle(stage) if scheduled else None,
        "end_cycle": int(cycles_of(stage.result).max(initial=0)) if scheduled else None,
    }


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
