"""The clocked levels: ``hw`` modules simulated, and SystemVerilog in Verilator.

Both have the same ports, named wires and protocol; what a testbench must know of them is a
:class:`Pinout`, which ``hw`` IR carries in attributes and a project in its manifest.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from xdsl.dialects import hw
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DictionaryAttr,
    IntegerAttr,
    IntegerType,
    ModuleOp,
    StringAttr,
)
from xdsl.ir import Attribute
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects import directives
from fastml.dialects.elements import Elements
from fastml.dialects.loadable import Loadable, listed_loadables
from fastml.runtime.clocked import RESET, ClockedDesign, simulate_frames
from fastml.runtime.host import Host, unknown_edge
from fastml.runtime.hw import HwSimulator
from fastml.runtime.hw_sources import READY, VALID
from fastml.runtime.levels import PULSE, RV, Level, by_edge, host_of
from fastml.runtime.streams import StreamedDesign, simulate_streams
from fastml.runtime.trace import PortLayout, Stimulus, TapLayout, Trace
from fastml.runtime.weights import segments_of

if TYPE_CHECKING:
    from fastml.runtime.verilator import Pin, VerilatedDesign

SLACK = 8
"""Cycles beyond the latency that are watched for late and superfluous beats."""


@dataclass(frozen=True)
class Port:
    """A tensor port: the edge that it carries, and how."""

    edge: str
    port: str
    elements: Elements
    """Of one beat."""
    protocol: str = "pulse"
    beats: int = 1
    """Beats a frame."""

    @property
    def layout(self) -> PortLayout:
        """The elements, for the simulator."""
        elements = self.elements
        return PortLayout(self.port, elements.widths, elements.signed, self.protocol, self.beats)


@dataclass(frozen=True)
class AxisTop:
    """A module with AXI4-Stream ports around a design of protocol ``rv``.

    Port ``s_axis_x`` of an input has ``s_axis_x_tvalid`` and so on; elements take whole bytes.
    """

    top: str
    core: str
    """Name of the instance of the design."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Pinout:
    """What a testbench must know of a clocked design."""

    top: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    taps: Mapping[str, TapLayout]
    ii: int
    latency: int
    axis: AxisTop | None = None
    """The module that is delivered instead, if the design was put into one."""
    weights: tuple[Loadable, ...] = ()
    """Weights that are loaded by ports of their own."""

    @property
    def protocol(self) -> str:
        """The protocol of all ports."""
        return next((port.protocol for port in (*self.inputs, *self.outputs)), PULSE)

    @property
    def input_widths(self) -> dict[str, int]:
        """Width of every input port but the clock."""
        words = dict[str, int]()
        for memory in self.weights:
            words |= {memory.port + VALID: 1, memory.port: memory.elements.total_width}
        return {RESET: 1} | _widths(self.inputs) | self._ready(self.outputs) | words

    @property
    def output_widths(self) -> dict[str, int]:
        """Width of every output port."""
        return _widths(self.outputs) | self._ready(self.inputs)

    def _ready(self, ports: Sequence[Port]) -> dict[str, int]:
        return {port.port + READY: 1 for port in ports if port.protocol == RV}

    @property
    def drain(self) -> int:
        """Cycles to watch after the last frame was offered."""
        return self.latency + self.ii + SLACK


def _widths(ports: Sequence[Port]) -> dict[str, int]:
    """Return the widths of the wires of ports; an element of width 0 takes no wire."""
    widths = dict[str, int]()
    for port in ports:
        widths[port.port + VALID] = 1
        if port.elements.total_width:
            widths[port.port] = port.elements.total_width
    return widths


def pinout_of(module: ModuleOp) -> Pinout:
    """Read the attributes of ``hw`` IR; ``FML-IR`` where one is missing or malformed."""
    tops = [
        op for op in module.ops if isinstance(op, hw.HWModuleOp) and directives.TOP in op.attributes
    ]
    if len(tops) != 1:
        raise FastmlError(f"needs one module with '{directives.TOP}', got {len(tops)}", module)
    (top,) = tops
    ports = top.attributes.get(directives.PORTS)
    ii = directives.integer(top.attributes, directives.II)
    latency = directives.integer(top.attributes, directives.LATENCY)
    if not isinstance(ports, DictionaryAttr) or ii is None or latency is None:
        wanted = ", ".join((directives.PORTS, directives.II, directives.LATENCY))
        raise FastmlError(f"needs the attributes {wanted}", top)
    if ii < 1 or latency < 0:
        raise FastmlError(f"no design has ii {ii} and latency {latency}", top)
    taps = module.attributes.get(directives.TAPS, DictionaryAttr({}))
    if not isinstance(taps, DictionaryAttr):
        raise FastmlError(f"'{directives.TAPS}' is not a dictionary", module)
    widths = {
        port.port_name.data: port.type.width.data
        for port in top.module_type.ports
        if isa(port.type, IntegerType)
    }
    try:
        pinout = Pinout(
            top.sym_name.data,
            tuple(_port(p, widths) for p in _listed(ports.data.get("inputs"))),
            tuple(_port(p, widths) for p in _listed(ports.data.get("outputs"))),
            {name: _tap(name, tap) for name, tap in taps.data.items()},
            ii,
            latency,
            _axis_of(module),
            listed_loadables(ports.data.get("weights")),
        )
        check_pinout(pinout)
    except (KeyError, TypeError, ValueError) as error:
        raise FastmlError(f"malformed port or tap: {error}", top) from error
    return pinout


def _axis_of(module: ModuleOp) -> AxisTop | None:
    """Find the module with AXI4-Stream ports: it has ports, but is not the design."""
    for op in module.ops:
        if not isinstance(op, hw.HWModuleOp) or directives.TOP in op.attributes:
            continue
        ports = op.attributes.get(directives.PORTS)
        places = [inner for inner in op.body.block.ops if isinstance(inner, hw.InstanceOp)]
        if not isinstance(ports, DictionaryAttr) or len(places) != 1:
            continue
        widths = {
            port.port_name.data.removesuffix("_tdata"): port.type.width.data
            for port in op.module_type.ports
            if isa(port.type, IntegerType)
        }
        sides = [
            tuple(_port(p, widths) for p in _listed(ports.data.get(side)))
            for side in ("inputs", "outputs")
        ]
        return AxisTop(op.sym_name.data, places[0].instance_name.data, sides[0], sides[1])
    return None


def check_pinout(pinout: Pinout) -> None:
    """Refuse protocols that no simulation knows, with a ``ValueError``."""
    inputs = {port.port for port in pinout.inputs}
    if pinout.weights and pinout.protocol != PULSE:
        raise ValueError("weights are loaded into designs of protocol 'pulse' alone")
    if pinout.axis is not None:
        for own, core in zip(
            (*pinout.axis.inputs, *pinout.axis.outputs),
            (*pinout.inputs, *pinout.outputs),
            strict=True,
        ):
            if own.edge != core.edge or not own.port.endswith(f"_axis_{core.port}"):
                raise ValueError(f"port '{own.port}' is not that of '{core.edge}'")
    for port in (*pinout.inputs, *pinout.outputs):
        if port.protocol not in (PULSE, RV) or port.protocol != pinout.protocol:
            raise ValueError(f"port '{port.port}' has the protocol '{port.protocol}'")
        if port.beats < 1 or (port.beats > 1 and port.protocol == PULSE):
            raise ValueError(f"port '{port.port}' has {port.beats} beats a frame")
    for name, tap in pinout.taps.items():
        if pinout.protocol == PULSE and tap.fire is not None:
            raise ValueError(f"tap '{name}' has a firing, but no process")
        if pinout.protocol == RV and tap.fire is None and tap.wire not in inputs:
            raise ValueError(f"tap '{name}' does not say from which firing it counts")


def _listed(attribute: Attribute | None) -> Sequence[Attribute]:
    if not isinstance(attribute, ArrayAttr):
        raise ValueError("not a list")
    return cast(ArrayAttr[Attribute], attribute).data


def _text(attribute: Attribute, key: str) -> str:
    if isinstance(attribute, DictionaryAttr):
        value = attribute.data.get(key)
        if isinstance(value, StringAttr):
            return value.data
    raise ValueError(f"no text '{key}'")


def _port(attribute: Attribute, widths: Mapping[str, int]) -> Port:
    elements = Elements.parse(_text(attribute, "elements"))
    name = _text(attribute, "port")
    if widths.get(name, 0) != elements.total_width:
        raise ValueError(f"port '{name}' of {widths.get(name, 0)} bits does not hold '{elements}'")
    assert isinstance(attribute, DictionaryAttr)
    protocol = _text(attribute, "protocol") if "protocol" in attribute.data else PULSE
    beats = attribute.data.get("beats", IntegerAttr(1, 64))
    if not isa(beats, IntegerAttr):
        raise ValueError(f"port '{name}' has no number of beats")
    return Port(_text(attribute, "name"), name, elements, protocol, beats.value.data)


def _tap(name: str, attribute: Attribute) -> TapLayout:
    elements = Elements.parse(_text(attribute, "elements"))
    assert isinstance(attribute, DictionaryAttr)
    cycles = attribute.data.get("cycles")
    if not isinstance(cycles, DenseArrayBase):
        raise ValueError(f"tap '{name}' has no cycles")
    offsets = tuple(int(cycle) for cycle in cycles.get_values())
    if len(offsets) != len(elements) or min(offsets, default=0) < 0:
        raise ValueError(f"tap '{name}' needs one cycle for each element")
    wire = _text(attribute, "signal")
    fire = _text(attribute, "fire") if "fire" in attribute.data else None
    return TapLayout(name, wire, elements.widths, elements.signed, offsets, fire)


AXI_CLOCK = "aclk"
AXI_RESET = "aresetn"


def axi_streams(pinout: Pinout) -> Pinout:
    """Return valid/ready ports that have the bits of AXI4-Streams, ``tlast`` on top."""
    assert pinout.axis is not None
    inputs, outputs = (
        [replace(core, elements=own.elements) for core, own in zip(ports, axis_ports, strict=True)]
        for ports, axis_ports in (
            (pinout.inputs, pinout.axis.inputs),
            (pinout.outputs, pinout.axis.outputs),
        )
    )
    marked = [
        replace(p, elements=Elements((*p.elements.widths, 1), (*p.elements.signed, False)))
        for p in outputs
    ]
    return replace(pinout, inputs=tuple(inputs), outputs=tuple(marked))


def axi_pins(axis: AxisTop, pinout: Pinout) -> "dict[str, list[Pin]]":
    """Return where the wires of valid/ready ports are on a module with AXI4-Streams.

    The ``tlast`` of an input gets some bit of its data: nobody is to look at it.
    """
    from fastml.runtime.verilator import Pin

    pins = {RESET: [Pin(AXI_RESET, 0, 1, inverted=True)]}
    sides = ((pinout.inputs, axis.inputs, False), (pinout.outputs, axis.outputs, True))
    for core, own, output in (
        (c, o, w) for cs, os, w in sides for c, o in zip(cs, os, strict=True)
    ):
        name, port, width = core.port, own.port, own.elements.total_width
        pins[name + VALID] = [Pin(f"{port}_tvalid", 0, 1)]
        pins[name + READY] = [Pin(f"{port}_tready", 0, 1)]
        pins[name] = [Pin(f"{port}_tdata", 0, width)] if width else []
        if output or width:
            pins[name].append(Pin(f"{port}_tlast", width if output else 0, 1))
    return pins


def without_last(trace: Trace, pinout: Pinout) -> Trace:
    """Check that ``tlast`` marks the last beat of each frame, and drop it."""
    outputs = dict(trace.outputs)
    for port in pinout.outputs:
        signal = outputs[port.edge]
        last = signal.values[:, -1].astype(np.int64)
        wanted = np.arange(1, len(last) + 1) % port.beats == 0
        if not np.array_equal(last, wanted):
            beat = int(np.flatnonzero(last != wanted)[0])
            raise FastmlError(
                f"'tlast' of output '{port.edge}' is {last[beat]} on beat {beat}",
                in_file("simulation"),
                code="FML-IR",
            )
        outputs[port.edge] = replace(signal, values=signal.values[:, :-1])
    return replace(trace, outputs=outputs)


class ClockedLevel(Level):
    """A design that is clocked; its cycles are measured, not predicted."""

    pinout: Pinout
    """Ports, taps, II and latency."""

    @abstractmethod
    def build(self, watch: Mapping[str, int]) -> ClockedDesign:
        """Make the design ready to run, with the wires ``watch`` (by width) visible."""

    @abstractmethod
    def build_streamed(self, watch: Mapping[str, int]) -> StreamedDesign:
        """Do the same for a design of protocol ``rv``."""

    @property
    def protocol(self) -> str:
        """The protocol of all ports."""
        return self.pinout.protocol

    @property
    def beat_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Beats a frame and elements a beat of the input edges."""
        return {port.edge: (port.beats, len(port.elements)) for port in self.pinout.inputs}

    @property
    def time(self) -> tuple[int, int] | None:
        """What the design states; what it does is measured."""
        return self.pinout.ii, self.pinout.latency

    @property
    def input_edges(self) -> list[str]:
        """The edges of the input ports."""
        return [port.edge for port in self.pinout.inputs]

    @property
    def driven(self) -> Pinout:
        """The ports as a simulation drives them."""
        return self.pinout

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Clock the design through reset and all frames."""
        pinout = self.driven
        for name in taps:
            if name not in pinout.taps:
                raise unknown_edge(name, pinout.taps)
        layouts = [pinout.taps[name] for name in taps]
        watch = {tap.wire: sum(tap.widths) for tap in layouts if sum(tap.widths)}
        watch |= {tap.fire: 1 for tap in layouts if tap.fire is not None}
        ports = (
            [port.layout for port in pinout.inputs],
            [port.layout for port in pinout.outputs],
        )
        inputs = {port.edge: port.port for port in pinout.inputs}
        outputs = {port.edge: port.port for port in pinout.outputs}

        segments_of(stimulus, pinout.weights, pinout.ii, pinout.latency)  # refuses what overlaps

        def run(given: Stimulus, _: Sequence[str]) -> Trace:
            if pinout.protocol == RV:
                design = self.build_streamed(watch)
                return simulate_streams(design, *ports, given, drain=pinout.drain, taps=layouts)
            return simulate_frames(
                self.build(watch),
                *ports,
                given,
                initiation_interval=pinout.ii,
                drain=pinout.drain,
                taps=layouts,
                memories=pinout.weights,
            )

        return by_edge(inputs, outputs, stimulus, taps, run)


class HardwareLevel(ClockedLevel):
    """The ``hw`` level: every bit in every cycle, from the IR alone."""

    name = "hw"

    def __init__(self, module: ModuleOp):
        self.module = module
        self.host = host_of(module)
        self.pinout = pinout_of(module)
        self._built: tuple[tuple[str, ...], HwSimulator] | None = None

    def build(self, watch: Mapping[str, int]) -> HwSimulator:
        """Compile the module, or take what was compiled last."""
        wires = tuple(watch)
        if self._built is None or self._built[0] != wires:
            pinout = self.pinout
            streams = [port.port for port in pinout.inputs if port.protocol == RV]
            self._built = wires, HwSimulator(self.module, pinout.top, wires, streams)
        return self._built[1]

    def build_streamed(self, watch: Mapping[str, int]) -> HwSimulator:
        """Do the same: sources are built in where there are streams."""
        return self.build(watch)


class RtlLevel(ClockedLevel):
    """SystemVerilog in Verilator, an outside referee of what is printed."""

    name = "rtl"

    def __init__(self, files: Mapping[str, str], pinout: Pinout, host: Host | None):
        self.files = files
        self.pinout = pinout
        self.host = host

    def build(self, watch: Mapping[str, int]) -> "VerilatedDesign":
        """Build with Verilator; the same files and wires are built once."""
        from fastml.runtime.verilator import VerilatedDesign

        if not self.files:
            raise FastmlError("there is no SystemVerilog", in_file("rtl"), code="FML-FILE")
        pinout, axis = self.driven, self.pinout.axis
        widths = pinout.input_widths, pinout.output_widths
        if axis is None:
            return VerilatedDesign(self.files, pinout.top, *widths, watch)
        return VerilatedDesign(
            self.files,
            axis.top,
            *widths,
            watch,
            clock=AXI_CLOCK,
            pins=axi_pins(axis, pinout),
            inside=axis.core,
        )

    @property
    def driven(self) -> Pinout:
        """The AXI4-Streams, if there are any: elements in bytes, then ``tlast``."""
        return self.pinout if self.pinout.axis is None else axi_streams(self.pinout)

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Clock what is delivered through reset and all frames."""
        trace = super().simulate(stimulus, taps)
        return trace if self.pinout.axis is None else without_last(trace, self.pinout)

    def build_streamed(self, watch: Mapping[str, int]) -> "VerilatedDesign":
        """Do the same: the program knows both protocols."""
        return self.build(watch)
