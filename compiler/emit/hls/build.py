"""From a module of the affine level to C++ that can be compiled, simulated and written."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.emit.hls.flavours import Flavour
from fastml.compiler.emit.hls.program import CppProgram, print_program
from fastml.dialects import directives
from fastml.dialects.fastml import element_type
from fastml.dialects.grid import FixedType
from fastml.lowering.hls_line_buffers import HlsLineBuffers
from fastml.lowering.hls_tiling import HlsTiling
from fastml.lowering.hls_wiring import HlsWiring
from fastml.runtime.affine import program_of, top_function
from fastml.runtime.affine_time import schedule_of
from fastml.runtime.csim import CppDesign, CppTap
from fastml.runtime.host import Host
from fastml.runtime.levels import PULSE, RV
from fastml.runtime.trace import Stimulus

OPERATIONS = 500
"""Most operations of a function. One of 1500 additions of ap_int takes g++ 5 s at ``-O0`` and
12 s at ``-O1``, one of 3000 already 28 s and 1.2 GB; below 500 nothing is won (a layer of
784 x 128: 99 s at 500, 113 s at 250)."""


def build_program(
    module: ModuleOp,
    flavour: Flavour,
    interface: str = "wires",
    fractions: Mapping[str, int] | None = None,
) -> CppProgram:
    """Bound functions and arrays as the tool wants them, and print; ``module`` stays."""
    tiled = module.clone()
    HlsLineBuffers().apply(Context(), tiled)
    HlsWiring(flavour.partition_limit or 0).apply(Context(), tiled)
    limits = HlsTiling(OPERATIONS, flavour.partition_limit or 0, flavour.unroll_limit or 0)
    limits.apply(Context(), tiled)
    return print_program(tiled, flavour, interface, fractions)


def fixed_ports(host: Host | None) -> dict[str, int]:
    """Return the bits after the point of every edge that carries fixed-point numbers."""
    if host is None:
        return {}
    kinds = {name: element_type(value) for name, value in host.hardware_edges.items()}
    return {name: kind.fraction.data for name, kind in kinds.items() if isinstance(kind, FixedType)}


def design_of(program: CppProgram, module: ModuleOp) -> CppDesign:
    """Return what csim must know; cycles are what the schedule of ``module`` predicts.

    The schedule does not depend on data, so one frame of zeros tells when every element of
    every edge is there. Of a network of processes only its II and latency are known.
    """
    top, flavour = top_function(module), program.flavour
    leaving = {port.edge for port in program.ports if port.is_output}
    leaving -= {port.edge for port in program.ports if not port.is_output}
    cycles = dict[str, tuple[int, ...]]()
    if not program.network:
        scheduled = program_of(module)
        names = list(dict.fromkeys([*(tap.edge for tap in program.taps), *sorted(leaving)]))
        beats = {p.port: np.zeros((p.beats, len(p.elements)), np.int64) for p in scheduled.inputs}
        trace = scheduled.simulate(Stimulus(beats, np.zeros(1, np.int64)), names)
        cycles = {name: tuple(trace.taps[name].cycles[0].tolist()) for name in names}
    taps = {
        tap.edge: CppTap(tap.elements, cycles.get(tap.edge, ()), tap.beats) for tap in program.taps
    }
    ports = tuple(
        replace(port, cycles=cycles[port.edge]) if port.edge in leaving & cycles.keys() else port
        for port in program.ports
    )
    return CppDesign(
        flavour.name,
        flavour.types.library,
        flavour.standard,
        flavour.compiler_flags,
        program.files,
        program.top,
        ports,
        taps,
        schedule_of(top, directives.II),
        schedule_of(top, directives.LATENCY),
        RV if program.network else PULSE,
        program.streams,
        program.fifos,
    )
