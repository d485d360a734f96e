"""HLS C++ of a design: printed, executed, written into its project and read back."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from fastml.compiler import hls_reports
from fastml.compiler.emit.hls.build import build_program, design_of, fixed_ports
from fastml.compiler.emit.hls.flavours import CLOCK_NS, flavour_of
from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects import directives
from fastml.dialects.elements import Elements
from fastml.lowering.schedule_facts import has_loops
from fastml.runtime.csim import CppDesign, CppPort, CppTap, CsimLevel
from fastml.runtime.levels import PULSE, host_of

if TYPE_CHECKING:
    from fastml.compiler.design import Design
    from fastml.compiler.options import BuildOptions

FOLDER = hls_reports.FOLDER
STATUS = hls_reports.EMITTED


def headers_of(options: "BuildOptions") -> Path | None:
    """Return the folder of the integer headers, if the user names one."""
    return None if options.ap_types is None else Path(options.ap_types)


def emit_hls(design: "Design", name: str | None = None) -> CppDesign:
    """Print the C++ of a design, in the flavour ``name`` or that which its options ask for."""
    options = design.options
    flavour = flavour_of(name or options.hls)
    if options.hls_interface not in flavour.interfaces:
        raise FastmlError(
            f"{flavour.tool} has no interface '{options.hls_interface}' here",
            in_file("--hls-interface"),
            code="FML-OPTION",
            hint=f"choose from {', '.join(flavour.interfaces)}",
        )
    _check_uncertainty(options.hls_uncertainty, options.clock_ns or CLOCK_NS)
    module = design.module("affine")
    _check_order(module, options.hls_interface)
    fractions = fixed_ports(host_of(module)) if options.hls_ports == "fixed" else {}
    program = build_program(module, flavour, options.hls_interface, fractions)
    return design_of(program, module)


def _check_order(module: ModuleOp, interface: str) -> None:
    """Refuse a stream at a port that folded layers read again and again."""
    functions = [op for op in module.ops if isinstance(op, FuncOp)]
    if interface == "axis" and any(has_loops(function) for function in functions):
        if not any(directives.DATAFLOW in function.attributes for function in functions):
            raise FastmlError(
                "folded layers read their inputs more than once, which a stream does not allow",
                in_file("--hls-interface"),
                code="FML-OPTION",
                hint="give --io stream too, or another interface",
            )


def _check_uncertainty(text: str, period: float) -> None:
    """Refuse a clock uncertainty that leaves nothing of the period."""
    number = float(text.removesuffix("%"))
    if (number * period / 100 if text.endswith("%") else number) >= period:
        raise FastmlError(
            f"'{text}' leaves nothing of a clock period of {period:g} ns",
            in_file("--hls-uncertainty"),
            code="FML-OPTION",
            hint="give a smaller share such as 12.5%, or ns such as 0.6",
        )


def open_csim(design: "Design", flavour: str | None = None) -> CsimLevel:
    """Return the C++ of a design, ready to be executed."""
    printed = emit_hls(design, flavour)
    design.runner.lap("(emit HLS C++)")
    return CsimLevel(printed, host_of(design.module("affine")), headers_of(design.options))


# --- manifest --------------------------------------------------------------------------


def describe_hls(printed: CppDesign) -> dict[str, Any]:
    """Return what the manifest says of the C++."""
    return {
        "flavour": printed.flavour,
        "status": STATUS,
        "top": printed.top,
        "library": printed.library,
        "standard": printed.standard,
        "flags": list(printed.flags),
        "files": list(printed.files),
        "ii": printed.ii,
        "latency_cycles": printed.latency,
        "ports": [
            {
                "name": port.edge,
                "port": port.name,
                "type": port.type_name,
                "direction": "out" if port.is_output else "in",
                "elements": str(port.elements),
                "fraction_bits": port.fraction,
                "cycles": None if port.cycles is None else list(port.cycles),
                "beats": port.beats,
                "depth": port.depth,
            }
            for port in printed.ports
        ],
        "taps": {
            edge: {"elements": str(tap.elements), "cycles": list(tap.cycles), "beats": tap.beats}
            for edge, tap in printed.taps.items()
        },
        "protocol": printed.protocol,
        "streams": printed.streams,
        "fifos": dict(printed.fifos),
    }


def described_design(entry: dict[str, Any], files: dict[str, str]) -> CppDesign:
    """Invert :func:`describe_hls`; ``KeyError``, ``TypeError`` or ``ValueError`` if malformed."""
    flavour = flavour_of(str(entry["flavour"]))
    ports = tuple(map(_described_port, entry["ports"]))
    taps = dict[str, CppTap]()
    protocol = str(entry["protocol"])
    for edge, tap in entry["taps"].items():
        cycles = tuple(int(cycle) for cycle in tap["cycles"])
        elements = Elements.parse(str(tap["elements"]))
        if len(cycles) != len(elements) and protocol == PULSE:
            raise ValueError(f"tap '{edge}' needs one cycle for each element")
        taps[edge] = CppTap(elements, cycles, _beats(tap))
    return CppDesign(
        flavour.name,
        flavour.types.library,
        flavour.standard,
        flavour.compiler_flags,
        files,
        str(entry["top"]),
        ports,
        taps,
        int(entry["ii"]),
        int(entry["latency_cycles"]),
        protocol,
        bool(entry["streams"]),
        {str(name): int(depth) for name, depth in entry["fifos"].items()},
    )


def _described_port(port: dict[str, Any]) -> CppPort:
    elements = Elements.parse(str(port["elements"]))
    cycles = None if port["cycles"] is None else tuple(map(int, port["cycles"]))
    if cycles is not None and len(cycles) != len(elements):
        raise ValueError(f"port '{port['name']}' needs one cycle for each element")
    return CppPort(
        str(port["name"]),
        str(port["port"]),
        str(port["type"]),
        port["direction"] == "out",
        elements,
        None if port["fraction_bits"] is None else int(port["fraction_bits"]),
        cycles,
        _beats(port),
        int(port["depth"]),
    )


def _beats(entry: dict[str, Any]) -> int:
    beats = int(entry["beats"])
    if beats < 1:
        raise ValueError(f"no frame has {beats} beats")
    return beats


def read_hls(folder: Path, options: "BuildOptions") -> CsimLevel:
    """Return the C++ of a project; the manifest says how to call it."""
    from fastml.compiler.manifest import host_from
    from fastml.compiler.modules import read_text
    from fastml.compiler.project import MANIFEST, MAX_JSON_BYTES, read_json

    path = folder / MANIFEST
    manifest = read_json(path)
    try:
        entry = manifest["hls"]
        files = dict[str, str]()
        for name in map(str, entry["files"]):
            if Path(name).name != name:
                raise ValueError(f"'{name}' is outside {FOLDER}/")
            files[name] = read_text(folder / FOLDER / name, MAX_JSON_BYTES)
        printed = described_design(entry, files)
        host = host_from(manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise FastmlError(f"malformed: {error!r}", in_file(str(path)), code="FML-FILE") from error
    return CsimLevel(printed, host, headers_of(options))
