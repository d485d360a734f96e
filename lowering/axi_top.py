"""Pass ``hw-axi-stream``: a top module whose ports are AXI4-Streams.

It holds the design with its valid/ready ports, which stay as they are. Each input ``x``
becomes ``s_axis_x_*``, each output ``y`` becomes ``m_axis_y_*``; elements are widened to whole
bytes, element 0 lowest, signed ones by their sign. ``tlast`` is set on the last beat of a
frame of an output; that of an input is ignored, since the length of a frame is known. Clock
``aclk``, synchronous reset ``aresetn``, active low.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import comb, hw
from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IntegerAttr,
    ModuleOp,
    StringAttr,
    i1,
    i64,
)
from xdsl.ir import Attribute
from xdsl.passes import ModulePass
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.elements import Elements
from fastml.lowering.hw_builder import Instance, Netlist, Wire
from fastml.lowering.hw_materialise import (
    CLOCK,
    RESET,
    Output,
    input_names,
    materialise,
    output_ports,
)

CORE = "core"
"""Name of the instance of the design."""
PROTOCOL = "axis"
_RENAMED = {CLOCK: "aclk", RESET: "aresetn"}


class HwAxiStream(ModulePass):
    """Put the design into a top module with AXI4-Stream ports."""

    name = "hw-axi-stream"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Add the module beside the others."""
        op.body.block.add_op(build_axi_top(op))


@dataclass(frozen=True)
class _Port:
    """A valid/ready port of the design."""

    name: str
    port: str
    elements: Elements
    beats: int

    @property
    def padded(self) -> Elements:
        """The elements in whole bytes."""
        elements = self.elements
        return Elements(tuple(-(-width // 8) * 8 for width in elements.widths), elements.signed)

    def described(self, prefix: str) -> Attribute:
        """Return what the new port is."""
        return DictionaryAttr(
            {
                "name": StringAttr(self.name),
                "port": StringAttr(f"{prefix}_{self.port}"),
                "elements": StringAttr(str(self.padded)),
                "protocol": StringAttr(PROTOCOL),
                "beats": IntegerAttr(self.beats, i64),
            }
        )


def build_axi_top(module: ModuleOp) -> hw.HWModuleOp:
    """Return a top around the design in ``module``; ``FML-TARGET`` if it is no stream."""
    modules = [op for op in module.ops if isinstance(op, hw.HWModuleOp)]
    tops = [op for op in modules if directives.TOP in op.attributes]
    if len(tops) != 1:
        raise FastmlError(f"needs one module with '{directives.TOP}', got {len(tops)}", module)
    (top,) = tops
    inputs, outputs = (_ports(top, side) for side in ("inputs", "outputs"))
    taken = {op.sym_name.data for op in modules}
    name = f"{top.sym_name.data}_axis"
    while name in taken:
        name += "x"
    wrapper = _Wrapper(top, inputs, outputs).module(name)
    ports = {
        "inputs": ArrayAttr([port.described("s_axis") for port in inputs]),
        "outputs": ArrayAttr([port.described("m_axis") for port in outputs]),
    }
    wrapper.attributes[directives.PORTS] = DictionaryAttr(ports)
    return wrapper


def _ports(top: hw.HWModuleOp, side: str) -> list[_Port]:
    ports = top.attributes.get(directives.PORTS)
    listed = ports.data.get(side) if isinstance(ports, DictionaryAttr) else None
    if not isa(listed, ArrayAttr[DictionaryAttr]):
        raise FastmlError(f"needs '{directives.PORTS}' with {side}", top)
    return [_port(top, entry) for entry in listed]


def _port(top: hw.HWModuleOp, entry: DictionaryAttr) -> _Port:
    texts = {key: a.data for key, a in entry.data.items() if isinstance(a, StringAttr)}
    if texts.get("protocol") != "rv":
        raise FastmlError(
            f"port '{texts.get('port')}' has no valid and ready",
            top,
            code="FML-TARGET",
            hint="AXI4-Stream needs a design built with '--io stream'",
        )
    beats = entry.data.get("beats", IntegerAttr(1, i64))
    assert isa(beats, IntegerAttr)
    elements = Elements.parse(texts["elements"])
    return _Port(texts["name"], texts["port"], elements, beats.value.data)


class _Wrapper:
    """The logic around the design."""

    def __init__(self, top: hw.HWModuleOp, inputs: Sequence[_Port], outputs: Sequence[_Port]):
        self.top = top
        self.ports = inputs, outputs
        self.netlist = Netlist()
        self.netlist.location = top.location
        self.inputs: list[Wire] = []

    def module(self, name: str) -> hw.HWModuleOp:
        """Build the module."""
        inputs, outputs = self.ports
        given = dict[str, Wire]()
        for port in inputs:
            given |= self.receive(port)
        for port in outputs:
            given[f"{port.port}_ready"] = self.input(f"m_axis_{port.port}_tready", 1)
        names = input_names(self.top)
        place = Instance(CORE, self.top.sym_name.data, names, output_ports(self.top))
        wires = [given[port] for port in names if port not in _RENAMED]
        results = self.netlist.instance(place, wires)
        found = {port: wire for (port, _), wire in zip(place.outputs, results, strict=True)}
        driven = [Output(f"s_axis_{p.port}_tready", found[f"{p.port}_ready"]) for p in inputs]
        for port in outputs:
            driven += self.send(port, found, given[f"{port.port}_ready"])
        module = materialise(
            self.netlist, name, self.inputs, driven, clocked=True, location=self.top.location
        )
        _rename_clock(module)
        return module

    def input(self, name: str, width: int) -> Wire:
        wire = self.netlist.input(name, width)
        self.inputs.append(wire)
        return wire

    def receive(self, port: _Port) -> dict[str, Wire]:
        """Take the elements out of their bytes."""
        prefix, padded = f"s_axis_{port.port}", port.padded
        valid = self.input(f"{prefix}_tvalid", 1)
        data = self.input(f"{prefix}_tdata", padded.total_width)
        self.input(f"{prefix}_tlast", 1)
        elements = zip(padded.offsets, port.elements.widths, strict=True)
        parts = [self.netlist.extract(data, low, width) for low, width in elements]
        return {
            f"{port.port}_valid": valid,
            port.port: self.netlist.concat(list(reversed(parts))),
        }

    def send(self, port: _Port, found: dict[str, Wire], ready: Wire) -> list[Output]:
        """Put the elements into bytes, and mark the last beat of a frame."""
        netlist, elements, padded = self.netlist, port.elements, port.padded
        data = found.get(port.port, netlist.constant(0, 0))
        parts = [
            netlist.extend(netlist.extract(data, low, width), size, sign=signed)
            for low, width, size, signed in zip(
                elements.offsets, elements.widths, padded.widths, elements.signed, strict=True
            )
        ]
        valid = found[f"{port.port}_valid"]
        prefix = f"m_axis_{port.port}"
        return [
            Output(f"{prefix}_tvalid", valid),
            Output(f"{prefix}_tdata", netlist.concat(list(reversed(parts)))),
            Output(f"{prefix}_tlast", self.last(port, netlist.and_(valid, ready))),
        ]

    def last(self, port: _Port, take: Wire) -> Wire:
        """Count the beats that are taken."""
        netlist = self.netlist
        if port.beats == 1:
            return netlist.constant(1, 1)
        count = netlist.state((port.beats - 1).bit_length(), 0, f"{port.port}_beat")
        last = netlist.icmp("eq", count, netlist.constant(port.beats - 1, count.width))
        following = netlist.add(count, netlist.constant(1, count.width))
        following = netlist.mux(last, netlist.constant(0, count.width), following)
        netlist.connect(count, netlist.mux(take, following, count))
        return last


def _rename_clock(module: hw.HWModuleOp) -> None:
    """Call clock and reset what AXI calls them; its reset is active low."""
    block = module.body.block
    ports = [
        hw.ModulePort(
            StringAttr(_RENAMED.get(port.port_name.data, port.port_name.data)), port.type, port.dir
        )
        for port in module.module_type.ports
    ]
    names = input_names(module)
    module.module_type = hw.ModuleType(ArrayAttr(ports))
    for name, argument in zip(names, block.args, strict=True):
        argument.name_hint = _RENAMED.get(name, name)
        if name == RESET:
            one = hw.ConstantOp.create(properties={"value": IntegerAttr(-1, i1)}, result_types=[i1])
            reset = comb.XorOp.create(operands=[argument, one.results[0]], result_types=[i1])
            for op in (one, reset):
                op.location = module.location
            argument.replace_all_uses_with(reset.results[0])
            reset.operands[0] = argument
            first = block.first_op
            assert first is not None
            block.insert_ops_before([one, reset], first)
