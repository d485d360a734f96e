"""``manifest.json``: what a user, or a testbench, must know to connect a design.

Ports with the bit slice, signedness and order of every element; protocol, II and latency;
the fp32 operations that stay on the host; where each edge of the model can be watched.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xdsl.utils.exceptions import ParseError, VerifyException

from fastml.dialects.elements import Elements
from fastml.dialects.fastml import ConstantOp, LayerOp, NetworkOp, element_type, shape_of
from fastml.dialects.grid import FixedType, QuantisedType
from fastml.dialects.interface import Interface, parse_layouts, parse_network
from fastml.dialects.layout import Layout
from fastml.dialects.loadable import Loadable
from fastml.runtime.clocked import RESET
from fastml.runtime.clocked_levels import (
    AXI_CLOCK,
    AXI_RESET,
    AxisTop,
    Pinout,
    Port,
    check_pinout,
)
from fastml.runtime.host import Host
from fastml.runtime.hw_sources import READY, VALID
from fastml.runtime.levels import RV
from fastml.runtime.trace import TapLayout

if TYPE_CHECKING:
    from fastml.compiler.design import Design

FORMAT = 1
CLOCK = "clk"


def build_manifest(design: "Design", pinout: Pinout | None, files: Sequence[str]) -> dict[str, Any]:
    """Return the manifest; ``pinout`` is that of the hardware, if the build went so far."""
    interface = Interface.of(design.module("qflow"))
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": design.name,
        "protocol": design.level("qflow").protocol,
        "ii": design.ii,
        "latency_cycles": design.latency,
        "host": {
            "prologue": _program(interface.prologue),
            "view": _program(interface.view),
        },
    }
    if interface.layouts:
        layouts = interface.layouts.items()
        manifest["host"]["layouts"] = {name: str(layout) for name, layout in layouts}
    if pinout is not None:
        manifest |= {
            "top": pinout.top,
            "clock": {"port": CLOCK, "edge": "rising"},
            "reset": {"port": RESET, "active": "high", "synchronous": True},
            "inputs": [_port(port, interface) for port in pinout.inputs],
            "outputs": [_port(port, interface) for port in pinout.outputs],
            "taps": {
                name: {
                    "signal": tap.wire,
                    "elements": str(Elements(tap.widths, tap.signed)),
                    "cycles": list(tap.offsets),
                    **({} if tap.fire is None else {"fire": tap.fire}),
                }
                for name, tap in pinout.taps.items()
            },
            "files": list(files),
        }
        if pinout.weights:
            manifest["weights"] = [_weights(memory) for memory in pinout.weights]
        if (axis := pinout.axis) is not None:
            manifest["axi_stream"] = {
                "top": axis.top,
                "core": axis.core,
                "clock": {"port": AXI_CLOCK, "edge": "rising"},
                "reset": {"port": AXI_RESET, "active": "low", "synchronous": True},
                "inputs": [_axi_port(port) for port in axis.inputs],
                "outputs": [_axi_port(port) for port in axis.outputs],
            }
    return manifest


def _weights(memory: Loadable) -> dict[str, Any]:
    """Describe a port that loads weights, the order of its words, and the model's weights."""
    elements = memory.elements
    return {
        **memory.table(),
        "valid": memory.port + VALID,
        "width": elements.total_width,
        "elements": str(elements),
        "order_of_words": "word by word; in a word lane by lane, lane 0 in the low bits; "
        "each the row-major place in a matrix of inputs x outputs, -1 for a weight of 0",
        "when": "in order, word 0 first after a reset or the last word, a word in each cycle "
        "in which valid is high, while no frame is in flight",
    }


def _program(network: NetworkOp) -> dict[str, Any]:
    """Return a host network: its text, and a list of what it does for the eye."""
    names = {value: name for name, value in network.edges.items()}
    return {
        "inputs": list(network.inputs),
        "outputs": list(network.outputs),
        "operations": [
            {
                "operation": op.name.removeprefix("fastml."),
                "edge": op.edge_name,
                "inputs": [names.get(operand, "constant") for operand in op.operands],
            }
            for op in network.body.block.ops
            if isinstance(op, LayerOp) and not isinstance(op, ConstantOp)
        ],
        "text": str(network),
    }


def _axi_port(port: Port) -> dict[str, Any]:
    """Describe an AXI4-Stream; each element takes whole bytes."""
    elements = port.elements
    return {
        "name": port.edge,
        "port": port.port,
        "signals": {key: f"{port.port}_{key}" for key in ("tvalid", "tready", "tdata", "tlast")},
        "beats": port.beats,
        "tdata_width": elements.total_width,
        "elements": str(elements),
        "byte_offsets": [offset // 8 for offset in elements.offsets],
    }


def _port(port: Port, interface: Interface) -> dict[str, Any]:
    value = interface.view.inputs.get(port.edge)
    described: dict[str, Any] = {
        "name": port.edge,
        "port": port.port,
        "valid": port.port + VALID,
        **({"ready": port.port + READY, "beats": port.beats} if port.protocol == RV else {}),
        "width": port.elements.total_width,
        "elements": str(port.elements),
        "order": "row-major, element 0 in the low bits",
        "slices": [
            {"lsb": offset, "width": width, "signed": signed}
            for offset, width, signed in zip(
                port.elements.offsets, port.elements.widths, port.elements.signed, strict=True
            )
        ],
    }
    if value is not None:
        kind = element_type(value)
        described["shape"] = list(shape_of(value)[1:])
        described["type"] = str(kind)
        if isinstance(kind, FixedType):
            described["fraction_bits"] = kind.fraction.data
        assert isinstance(kind, QuantisedType)
    if (layout := interface.layouts.get(port.edge)) is not None:
        described["layout"] = _layout(layout)
    return described


def _layout(layout: Layout) -> dict[str, Any]:
    """Describe the beats of a stream of pixels; axes are counted as ``shape`` has them."""
    axes = range(1, len(layout.shape))
    return {
        "beats": list(layout.grid),
        "positions": [axis - 1 for axis in layout.positions],
        "pixels": layout.pixels,
        "beat": [axis - 1 for axis in axes if layout.token[axis] > 1],
        "order": "positions in raster order, a beat for each (or for each so many pixels of a "
        "row); in a beat the axes 'beat', row-major, element 0 in the low bits",
    }


def pinout_from(manifest: dict[str, Any]) -> Pinout:
    """Return what a testbench needs; ``KeyError``, ``TypeError`` or ``ValueError`` if malformed."""

    def ports(side: str) -> tuple[Port, ...]:
        return tuple(
            Port(
                str(p["name"]),
                str(p["port"]),
                Elements.parse(str(p["elements"])),
                str(manifest["protocol"]),
                int(p.get("beats", 1)),
            )
            for p in manifest[side]
        )

    taps = dict[str, TapLayout]()
    for name, tap in manifest["taps"].items():
        elements = Elements.parse(str(tap["elements"]))
        cycles = tuple(int(cycle) for cycle in tap["cycles"])
        if len(cycles) != len(elements) or min(cycles, default=0) < 0:
            raise ValueError(f"tap '{name}' needs one cycle for each element")
        fire = str(tap["fire"]) if "fire" in tap else None
        layout = TapLayout(name, str(tap["signal"]), elements.widths, elements.signed, cycles, fire)
        taps[name] = layout
    ii, latency = int(manifest["ii"]), int(manifest["latency_cycles"])
    pinout = Pinout(
        str(manifest["top"]),
        ports("inputs"),
        ports("outputs"),
        taps,
        ii,
        latency,
        _axis(manifest),
        tuple(Loadable.of_table(entry) for entry in manifest.get("weights", [])),
    )
    check_pinout(pinout)
    return pinout


def _axis(manifest: dict[str, Any]) -> AxisTop | None:
    axis = manifest.get("axi_stream")
    if axis is None:
        return None
    inputs, outputs = (
        tuple(
            Port(
                str(p["name"]),
                str(p["port"]),
                Elements.parse(str(p["elements"])),
                "axis",
                int(p["beats"]),
            )
            for p in axis[side]
        )
        for side in ("inputs", "outputs")
    )
    return AxisTop(str(axis["top"]), str(axis["core"]), inputs, outputs)


def host_from(manifest: dict[str, Any]) -> Host:
    """Return the host's share; raises as :func:`pinout_from` does."""
    texts = [str(manifest["host"][key]["text"]) for key in ("prologue", "view")]
    layouts = {str(k): str(v) for k, v in manifest["host"].get("layouts", {}).items()}
    try:
        prologue, view = (parse_network(text) for text in texts)
        return Host(Interface(prologue, view, parse_layouts(layouts, view)))
    except (ParseError, VerifyException) as error:
        raise ValueError(str(error).splitlines()[0]) from error
