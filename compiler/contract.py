"""Hold what was built against the limits that the build options set."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastml.compiler.support.diagnostics import FastmlError

if TYPE_CHECKING:
    from fastml.compiler.options import BuildOptions
    from fastml.dialects.qflow import GraphOp


def check_time(graph: "GraphOp", options: "BuildOptions") -> None:
    """Raise ``FML-TARGET`` where a scheduled graph takes more cycles than allowed."""
    ii, latency = graph.ii, graph.latency
    if options.latency_cycles is not None and latency is not None:
        _demand(
            graph,
            "latency-cycles",
            f"the latency is {latency.data} cycles of {options.clock_ns} ns",
            latency.data <= options.latency_cycles,
            options.latency_cycles,
            "use a longer clock period: the chain of adders binds"
            if ii is not None and ii.data == 1
            else "use a smaller reuse factor: folded layers take as many cycles",
        )
    if options.ii is not None and ii is not None:
        _demand(
            graph,
            "ii",
            f"a frame takes {ii.data} cycles",
            ii.data <= options.ii,
            options.ii,
            "give fewer beats a frame, or deeper FIFOs",
        )


def check_area(graph: "GraphOp", area: Mapping[str, Any] | None, options: "BuildOptions") -> None:
    """Raise ``FML-TARGET`` where the hardware, as estimated, is larger than allowed."""
    if area is None:
        return
    limits = {"dsp": options.max_dsp, "bram": options.max_bram, "lut": options.max_lut}
    for kind, most in limits.items():
        if most is not None:
            _demand(
                graph,
                f"max-{kind}",
                f"the hardware has {area[kind]} {kind.upper()} ({area['provenance']})",
                area[kind] <= most,
                most,
                "give a smaller limit than what may be used: costs are estimated "
                "before the hardware is there",
            )


def _demand(graph: "GraphOp", option: str, found: str, kept: bool, most: int, hint: str) -> None:
    if not kept:
        raise FastmlError(
            f"{found}, above the {most} of '{option}'", graph, code="FML-TARGET", hint=hint
        )
