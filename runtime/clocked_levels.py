"""The clocked levels: ``hw`` modules simulated, and SystemVerilog in Verilator.

Both have the same ports, named wires and protocol; what a testbench must know of them is a
:class:`Pinout`, which ``hw`` IR carries in attributes and a project in its manifest.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from xdsl.dialects import hw
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DictionaryAttr,
    IntegerType,
    ModuleOp,
    StringAttr,
)
from xdsl.ir import Attribute
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects import directives
from fastml.dialects.elements import Elements
from fastml.runtime.clocked import RESET, VALID, ClockedDesign, simulate_frames
from fastml.runtime.host import Host, unknown_edge
from fastml.runtime.hw import HwSimulator
from fastml.runtime.levels import Level, by_edge, host_of
from fastml.runtime.trace import PortLayout, Stimulus, TapLayout, Trace

SLACK = 8
"""Cycles beyond the latency that are watched for late and superfluous beats."""


@dataclass(frozen=True)
class Port:
    """A tensor port: the edge that it carries, and how."""

    edge: str
    port: str
    elements: Elements

    @property
    def layout(self) -> PortLayout:
        """The elements, for the simulator."""
        return PortLayout(self.port, self.elements.widths, self.elements.signed)


@dataclass(frozen=True)
class Pinout:
    """What a testbench must know of a clocked design."""

    top: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    taps: Mapping[str, TapLayout]
    ii: int
    latency: int

    @property
    def input_widths(self) -> dict[str, int]:
        """Width of every input port but the clock."""
        return {RESET: 1} | _widths(self.inputs)

    @property
    def output_widths(self) -> dict[str, int]:
        """Width of every output port."""
        return _widths(self.outputs)

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
        return Pinout(
            top.sym_name.data,
            tuple(_port(p, widths) for p in _listed(ports.data.get("inputs"))),
            tuple(_port(p, widths) for p in _listed(ports.data.get("outputs"))),
            {name: _tap(name, tap) for name, tap in taps.data.items()},
            ii,
            latency,
        )
    except ValueError as error:
        raise FastmlError(f"malformed port or tap: {error}", top) from error


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
    return Port(_text(attribute, "name"), name, elements)


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
    return TapLayout(name, wire, elements.widths, elements.signed, offsets)


class ClockedLevel(Level):
    """A design that is clocked; its cycles are measured, not predicted."""

    pinout: Pinout
    """Ports, taps, II and latency."""

    @abstractmethod
    def build(self, watch: Mapping[str, int]) -> ClockedDesign:
        """Make the design ready to run, with the wires ``watch`` (by width) visible."""

    @property
    def time(self) -> tuple[int, int] | None:
        """What the design states; what it does is measured."""
        return self.pinout.ii, self.pinout.latency

    @property
    def input_edges(self) -> list[str]:
        """The edges of the input ports."""
        return [port.edge for port in self.pinout.inputs]

    def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
        """Clock the design through reset and all frames."""
        pinout = self.pinout
        for name in taps:
            if name not in pinout.taps:
                raise unknown_edge(name, pinout.taps)
        layouts = [pinout.taps[name] for name in taps]
        watch = {tap.wire: sum(tap.widths) for tap in layouts if sum(tap.widths)}
        design = self.build(watch)
        inputs = {port.edge: port.port for port in pinout.inputs}
        outputs = {port.edge: port.port for port in pinout.outputs}

        def run(given: Stimulus, _: Sequence[str]) -> Trace:
            return simulate_frames(
                design,
                [port.layout for port in pinout.inputs],
                [port.layout for port in pinout.outputs],
                given,
                initiation_interval=pinout.ii,
                drain=pinout.drain,
                taps=layouts,
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

    def build(self, watch: Mapping[str, int]) -> ClockedDesign:
        """Compile the module, or take what was compiled last."""
        wires = tuple(watch)
        if self._built is None or self._built[0] != wires:
            self._built = wires, HwSimulator(self.module, self.pinout.top, wires)
        return self._built[1]


class RtlLevel(ClockedLevel):
    """SystemVerilog in Verilator, an outside referee of what is printed."""

    name = "rtl"

    def __init__(self, files: Mapping[str, str], pinout: Pinout, host: Host | None):
        self.files = files
        self.pinout = pinout
        self.host = host

    def build(self, watch: Mapping[str, int]) -> ClockedDesign:
        """Build with Verilator; the same files and wires are built once."""
        from fastml.runtime.verilator import VerilatedDesign

        if not self.files:
            raise FastmlError("there is no SystemVerilog", in_file("rtl"), code="FML-FILE")
        pinout = self.pinout
        return VerilatedDesign(
            self.files, pinout.top, pinout.input_widths, pinout.output_widths, watch
        )
