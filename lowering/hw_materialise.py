"""Turn a netlist into one ``hw.module``: what the outputs need, in the order it was built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import comb, hw, seq
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    IntegerAttr,
    IntegerType,
    LocationAttr,
    StringAttr,
    SymbolRefAttr,
    i32,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue, TypeAttribute
from xdsl.utils.hints import isa

from fastml.dialects.hw_extra import (
    NAME_HINT,
    AggregateConstantOp,
    FirMemOp,
    FirMemReadOp,
    FirMemType,
    FirMemWriteOp,
    WireOp,
)
from fastml.lowering.hw_builder import (
    Instance,
    Kind,
    Netlist,
    Ram,
    StateInit,
    Table,
    Wire,
    index_width,
    signed,
)
from fastml.lowering.hw_hints import Hints

CLOCK = "clk"
RESET = "rst"

_BINARY: Mapping[Kind, type[Operation]] = {
    Kind.ADD: comb.AddOp,
    Kind.SUB: comb.SubOp,
    Kind.MUL: comb.MulOp,
    Kind.AND: comb.AndOp,
    Kind.OR: comb.OrOp,
    Kind.XOR: comb.XorOp,
    Kind.SHL: comb.ShlOp,
    Kind.SHRU: comb.ShrUOp,
    Kind.SHRS: comb.ShrSOp,
}
_PLAIN_REGISTER = DenseArrayBase.from_list(i32, [1, 1, 0, 0, 0])
_RESET_REGISTER = DenseArrayBase.from_list(i32, [1, 1, 1, 1, 0])
_SEGMENTS = "operandSegmentSizes"


@dataclass(frozen=True)
class Output:
    """An output port and what drives it."""

    name: str
    wire: Wire


def live_wires(netlist: Netlist, roots: Sequence[Wire]) -> list[Wire]:
    """Return what the roots need, in the order in which it was built."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        wire = stack.pop()
        needed = wire.operands
        if wire.kind in (Kind.STATE, Kind.FORWARD):
            needed = (netlist.next_of[wire],)
        elif wire.kind is Kind.MEMORY:
            ports = netlist.writes_of[wire]
            needed = tuple(w for port in ports for w in (port.address, port.data, port.enable))
        for operand in needed:
            if operand not in seen:
                seen.add(operand)
                stack.append(operand)
    return sorted(seen, key=lambda wire: wire.order)


def needs_clock(wires: Sequence[Wire]) -> bool:
    """Whether any of the wires is a register, or comes from a module that has one."""
    return any(wire.kind in (Kind.REGISTER, Kind.STATE, Kind.MEMORY) for wire in wires) or any(
        isinstance(wire.payload, Instance) and CLOCK in wire.payload.inputs for wire in wires
    )


def needs_reset(wires: Sequence[Wire]) -> bool:
    """Whether any of the wires is reset, or comes from a module that has a reset."""
    for wire in wires:
        match wire.payload:
            case bool() if wire.kind is Kind.REGISTER and wire.payload:
                return True
            case StateInit(reset=int()):
                return True
            case Instance(inputs=inputs) if RESET in inputs:
                return True
            case _:
                pass
    return False


class _Materialiser:
    """Create the operations of one module."""

    def __init__(self, netlist: Netlist, block: Block, values: dict[Wire, SSAValue]):
        self.netlist = netlist
        self.block = block
        self.values = values
        self.types: dict[int, IntegerType] = {}
        self.clock: SSAValue | None = None
        self.reset: SSAValue | None = None
        self.constants: dict[tuple[int, int], SSAValue] = {}
        self.late: list[tuple[Operation, int, Wire]] = []
        """Operands that do not exist yet: by operation and number."""
        self.special: dict[Kind, Callable[[Wire], SSAValue]] = {
            Kind.CONSTANT: lambda wire: self.constant(wire.value or 0, wire.width),
            Kind.ELEMENT: self.extract,
            Kind.EXTRACT: self.extract,
            Kind.ICMP: self.compare,
            Kind.REGISTER: self.register,
            Kind.STATE: self.state,
            Kind.LOOKUP: self.lookup,
            Kind.SELECT: self.select,
            Kind.MEMORY: self.memory,
            Kind.READ: self.read,
            Kind.NAMED: self.named,
            Kind.RESULT: lambda wire: self.instances[wire.operands[0]][_index(wire)],
        }
        self.instances: dict[Wire, Sequence[SSAValue]] = {}
        self.hints = Hints(netlist)

    def type_of(self, width: int) -> IntegerType:
        found = self.types.get(width)
        if found is None:
            found = self.types[width] = IntegerType(width)
        return found

    def append(self, op: Operation, location: LocationAttr) -> SSAValue:
        op.location = location
        self.block.add_op(op)
        return op.results[0]

    def emit(self, wire: Wire) -> None:
        """Create the operation that drives ``wire``."""
        if wire.kind is Kind.INSTANCE:
            self.instances[wire] = self.instance(wire)
            return
        special = self.special.get(wire.kind)
        value = self.values[wire] = self.plain(wire) if special is None else special(wire)
        if (name := self.hints.of(wire)) is not None:
            value.name_hint = name

    def plain(self, wire: Wire) -> SSAValue:
        kinds = {
            Kind.CONCAT: comb.ConcatOp,
            Kind.REPLICATE: comb.ReplicateOp,
            Kind.MUX: comb.MuxOp,
        }
        op_type = _BINARY.get(wire.kind) or kinds[wire.kind]
        op = op_type.create(
            operands=[self.values[operand] for operand in wire.operands],
            result_types=[self.type_of(wire.width)],
        )
        return self.append(op, wire.location)

    def constant(self, value: int, width: int) -> SSAValue:
        found = self.constants.get((value, width))
        if found is None:
            number = IntegerAttr(signed(value, width), self.type_of(width))
            op = hw.ConstantOp.create(
                properties={"value": number}, result_types=[self.type_of(width)]
            )
            found = self.constants[value, width] = self.append(op, self.netlist.location)
        return found

    def extract(self, wire: Wire) -> SSAValue:
        op = comb.ExtractOp.create(
            operands=[self.values[wire.operands[0]]],
            properties={"lowBit": IntegerAttr(wire.low, i32)},
            result_types=[self.type_of(wire.width)],
        )
        return self.append(op, wire.location)

    def compare(self, wire: Wire) -> SSAValue:
        predicate = comb.ICMP_COMPARISON_OPERATIONS.index(str(wire.payload))
        op = comb.ICmpOp.create(
            operands=[self.values[operand] for operand in wire.operands],
            properties={"predicate": IntegerAttr(predicate, i64)},
            result_types=[self.type_of(1)],
        )
        return self.append(op, wire.location)

    def register(self, wire: Wire) -> SSAValue:
        value = self.values[wire.operands[0]]
        return self._register(wire, value, 0 if wire.payload else None)

    def state(self, wire: Wire) -> SSAValue:
        assert isinstance(wire.payload, StateInit)
        init = wire.payload
        # The clock stands in for the next value, which does not exist yet.
        assert self.clock is not None
        result = self._register(wire, self.clock, init.reset)
        op = result.owner
        assert isinstance(op, Operation)
        if init.name is not None:
            op.attributes[NAME_HINT] = StringAttr(init.name)
        self.late.append((op, 0, self.netlist.next_of[wire]))
        return result

    def _register(self, wire: Wire, value: SSAValue, reset: int | None) -> SSAValue:
        assert self.clock is not None
        operands, segments = [value, self.clock], _PLAIN_REGISTER
        if reset is not None:
            assert self.reset is not None
            operands += [self.reset, self.constant(reset, wire.width)]
            segments = _RESET_REGISTER
        op = seq.CompRegOp.create(
            operands=operands,
            result_types=[self.type_of(wire.width)],
            attributes={_SEGMENTS: segments},
        )
        return self.append(op, wire.location)

    def lookup(self, wire: Wire) -> SSAValue:
        (index,) = wire.operands
        assert isinstance(wire.payload, Table)
        words = list(wire.payload.words)
        array = self.append(AggregateConstantOp(words, wire.width), wire.location)
        return self.append(hw.ArrayGetOp(array, self.values[index]), wire.location)

    def select(self, wire: Wire) -> SSAValue:
        index, *wires = wire.operands
        assert index.width == index_width(len(wires))
        listed = [self.values[one] for one in reversed(wires)]  # index 0 is the last one
        array = self.append(hw.ArrayCreateOp(*listed), wire.location)
        return self.append(hw.ArrayGetOp(array, self.values[index]), wire.location)

    def memory(self, wire: Wire) -> SSAValue:
        ram = wire.payload
        assert isinstance(ram, Ram)
        op = FirMemOp(
            FirMemType(ram.depth, ram.width),
            int(ram.clocked),
            ruw="undefined" if ram.clocked and not ram.old else "old",
            attr_dict={NAME_HINT: StringAttr(ram.name)},
        )
        return self.append(op, wire.location)

    def read(self, wire: Wire) -> SSAValue:
        memory, address = wire.operands
        assert self.clock is not None
        # The clock stands in for an address that comes later, as for states.
        at = self.clock if address.kind is Kind.FORWARD else self.values[address]
        op = FirMemReadOp(self.values[memory], at, self.clock)
        if address.kind is Kind.FORWARD:
            self.late.append((op, 1, self.netlist.next_of[address]))
        return self.append(op, wire.location)

    def writes(self, wire: Wire) -> None:
        """Create the write ports of a memory, once all that they need is there."""
        for port in self.netlist.writes_of[wire]:
            address, data, enable = (self.values[w] for w in (port.address, port.data, port.enable))
            assert self.clock is not None
            op = FirMemWriteOp(self.values[wire], address, data, self.clock, enable)
            op.location = wire.location
            self.block.add_op(op)

    def named(self, wire: Wire) -> SSAValue:
        value = self.values[wire.operands[0]]
        return self.append(WireOp(value, str(wire.payload)), wire.location)

    def instance(self, wire: Wire) -> Sequence[SSAValue]:
        place = wire.payload
        assert isinstance(place, Instance)
        clocks = {CLOCK: self.clock, RESET: self.reset}
        data = iter(wire.operands)
        operands, late = list[SSAValue](), list[tuple[int, Wire]]()
        for name in place.inputs:
            value = clocks[name] if name in clocks else None
            if name not in clocks:
                driver = next(data)
                if driver.kind is Kind.FORWARD:  # the clock stands in, as for states
                    late.append((len(operands), self.netlist.next_of[driver]))
                value = self.values.get(driver, self.clock)
            assert value is not None
            operands.append(value)
        op = hw.InstanceOp.create(
            operands=operands,
            result_types=[self.type_of(width) for _, width in place.outputs],
            attributes={
                "instanceName": StringAttr(place.name),
                "moduleName": SymbolRefAttr(place.module),
                "argNames": ArrayAttr([StringAttr(name) for name in place.inputs]),
                "resultNames": ArrayAttr([StringAttr(name) for name, _ in place.outputs]),
            },
        )
        self.late += [(op, number, driver) for number, driver in late]
        op.location = wire.location
        self.block.add_op(op)
        return op.results


def _index(wire: Wire) -> int:
    assert isinstance(wire.payload, int)
    return wire.payload


def materialise(
    netlist: Netlist,
    name: str,
    inputs: Sequence[Wire],
    outputs: Sequence[Output],
    *,
    clocked: bool = False,
    keep: Sequence[Wire] = (),
    location: LocationAttr,
) -> hw.HWModuleOp:
    """Create the module ``name`` with the given data ports, in order.

    Ports ``clk`` and ``rst`` come first, where registers need them; ``clocked`` forces
    both. Ports of width 0 do not exist. What drives no output is left out, but for ``keep``.
    """
    outputs = [output for output in outputs if output.wire.width]
    inputs = [wire for wire in inputs if wire.width]
    live = live_wires(netlist, [*keep, *(output.wire for output in outputs)])
    ports = list[hw.ModulePort]()
    block = Block()

    def add_input(port: str, port_type: TypeAttribute) -> SSAValue:
        ports.append(_port(port, port_type, hw.Direction.INPUT))
        value = block.insert_arg(port_type, len(block.args))
        value.name_hint = port
        return value

    values = dict[Wire, SSAValue]()
    state = _Materialiser(netlist, block, values)
    if needs_clock(live) or clocked:
        state.clock = add_input(CLOCK, seq.clock)
    if needs_reset(live) or clocked:
        state.reset = add_input(RESET, state.type_of(1))
    for wire in inputs:
        values[wire] = add_input(str(wire.payload), state.type_of(wire.width))
    for wire in live:
        if wire.kind not in (Kind.INPUT, Kind.FORWARD):
            state.emit(wire)
    for op, number, wire in state.late:
        op.operands[number] = values[wire]
    for wire in live:
        if wire.kind is Kind.MEMORY:
            state.writes(wire)
    for output in outputs:
        port_type = state.type_of(output.wire.width)
        ports.append(_port(output.name, port_type, hw.Direction.OUTPUT))
    terminator = hw.OutputOp([values[output.wire] for output in outputs])
    terminator.location = location
    block.add_op(terminator)
    module_type = hw.ModuleType(ArrayAttr(ports))
    module = hw.HWModuleOp(StringAttr(name), module_type, Region(block))
    module.location = location
    return module


def _port(name: str, port_type: Attribute, direction: hw.Direction) -> hw.ModulePort:
    assert isinstance(port_type, TypeAttribute)
    return hw.ModulePort(StringAttr(name), port_type, hw.DirectionAttr(direction))


def input_names(module: hw.HWModuleOp) -> tuple[str, ...]:
    """Names of the input ports of ``module``."""
    return tuple(
        port.port_name.data
        for port in module.module_type.ports
        if port.dir.data is hw.Direction.INPUT
    )


def output_ports(module: hw.HWModuleOp) -> tuple[tuple[str, int], ...]:
    """Names and widths of the output ports of ``module``."""
    ports = list[tuple[str, int]]()
    for port in module.module_type.ports:
        if port.dir.data is hw.Direction.OUTPUT:
            assert isa(port.type, IntegerType)
            ports.append((port.port_name.data, port.type.width.data))
    return tuple(ports)
