"""Flatten a hierarchy of `hw` modules into one list of nodes.

A node is one value: an operation's result in one instance. Names, clocks and module
boundaries are gone; registers and memories are nodes like others, so that a cycle of nodes
is either feedback through state or a defect.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from xdsl.dialects import comb, hw, seq
from xdsl.dialects.builtin import IntegerType, ModuleOp, StringAttr
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import hw_extra


class Node:
    """One value: what computes it, from which nodes, and how wide it is."""

    __slots__ = ("kind", "op", "operands", "param", "width")

    def __init__(self, kind: str, width: int, op: Operation, param: object = None):
        self.kind = kind
        self.width = width
        self.op = op
        self.param = param
        self.operands: tuple[int, ...] = ()


@dataclass
class Memory:
    """A memory and its ports. Operands of its node: the write ports, then its reads."""

    depth: int
    width: int
    read_latency: int
    read_under_write: str
    write_under_write: str
    writes: list[tuple[int, int, int | None]] = field(
        default_factory=list[tuple[int, int, int | None]]
    )
    """Nodes of address, data and enable of each write port, in order."""
    reads: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Port:
    """A port of a module and its width in bits."""

    name: str
    width: int


@dataclass
class Netlist:
    """A flat design."""

    nodes: list[Node]
    inputs: dict[str, int]
    """Node of each input port but the clock."""
    outputs: dict[str, int]
    names: dict[str, int]
    """Node of each named wire; inside an instance, the instance's name and a dot first."""


@dataclass(frozen=True, slots=True)
class _Record:
    """One operation of a module, its values numbered locally."""

    kind: str
    results: tuple[int, ...]
    operands: tuple[int, ...]
    param: object
    op: Operation


@dataclass
class _Template:
    """A module's body with values numbered, to be instantiated many times."""

    arguments: list[tuple[str, int]]
    """Name and width of each input; 0 for a clock."""
    results: list[tuple[str, int]]
    """Name and local number of each output."""
    widths: list[int]
    """Width of each local value."""
    records: list[_Record]
    names: list[tuple[str, int]]


def module_named(module: ModuleOp, name: str) -> hw.HWModuleOp:
    """Find a hardware module by its symbol."""
    for op in module.ops:
        if isinstance(op, hw.HWModuleOp) and op.sym_name.data == name:
            return op
    raise FastmlError(f"there is no hw.module @{name}", module)


def ports_of(op: hw.HWModuleOp) -> tuple[list[Port], list[Port]]:
    """Return inputs and outputs of a module, without clocks."""
    inputs: list[Port] = []
    outputs: list[Port] = []
    for port in op.module_type.ports.data:
        if width := hw_extra.bits(port.type):
            side = inputs if port.dir.data.is_input_like() else outputs
            side.append(Port(port.port_name.data, width))
    return inputs, outputs


Names: TypeAlias = Mapping[str, Sequence[tuple[str, SSAValue]]]
"""What values of a module are called, by the name of the module."""


def flatten(module: ModuleOp, top: str, names: Names | None = None) -> Netlist:
    """Flatten the hierarchy under ``top``, which the caller has checked.

    Wires are found under the names that the IR says they must have, and under ``names``.
    """
    return _Flattener(module, names or {}).run(top)


def width_of(value: SSAValue) -> int:
    """Bits of an integer value; 0 for clocks, arrays and memories."""
    return hw_extra.bits(value.type)


_BINARY: dict[type[Operation], str] = {
    comb.AddOp: "add",
    comb.MulOp: "mul",
    comb.SubOp: "sub",
    comb.AndOp: "and",
    comb.OrOp: "or",
    comb.XorOp: "xor",
    comb.DivUOp: "divu",
    comb.DivSOp: "divs",
    comb.ModUOp: "modu",
    comb.ModSOp: "mods",
    comb.ShlOp: "shl",
    comb.ShrUOp: "shru",
    comb.ShrSOp: "shrs",
    comb.ConcatOp: "concat",
    comb.MuxOp: "mux",
    hw_extra.ParityOp: "parity",
    comb.ParityOp: "parity",
    hw_extra.WireOp: "alias",
    hw.ArrayCreateOp: "array",
}


def _simple(kind: str) -> Callable[[Operation], tuple[str, object]]:
    return lambda op: (kind, None)


def _describe_extract(op: Operation) -> tuple[str, object]:
    return "extract", cast(comb.ExtractOp, op).low_bit.value.data


def _describe_icmp(op: Operation) -> tuple[str, object]:
    code = cast(comb.ICmpOp, op).predicate.value.data
    return "icmp", comb.ICMP_COMPARISON_OPERATIONS[code]


def _describe_replicate(op: Operation) -> tuple[str, object]:
    (operand,), (result,) = op.operands, op.results
    return "replicate", width_of(result) // width_of(operand)


def _describe_constant(op: Operation) -> tuple[str, object]:
    value = cast(hw.ConstantOp, op).value
    width = cast(IntegerType, value.type).width.data
    return "const", value.value.data & ((1 << width) - 1)


def _describe_table(op: Operation) -> tuple[str, object]:
    return "table", cast(hw_extra.AggregateConstantOp, op).words()


_DESCRIBE: dict[type[Operation], Callable[[Operation], tuple[str, object]]] = {
    **{op: _simple(kind) for op, kind in _BINARY.items()},
    comb.ExtractOp: _describe_extract,
    comb.ICmpOp: _describe_icmp,
    comb.ReplicateOp: _describe_replicate,
    hw.ConstantOp: _describe_constant,
    hw_extra.AggregateConstantOp: _describe_table,
    hw.ArrayGetOp: _simple("get"),
}


class _Numbering:
    """Turn the body of one module into a template."""

    def __init__(self, op: hw.HWModuleOp):
        self.op = op
        self.number: dict[SSAValue, int] = {}
        self.template = _Template([], [], [], [], [])

    def run(self) -> _Template:
        template, block = self.template, self.op.body.block
        ports = self.op.module_type.ports.data
        inputs = [port for port in ports if port.dir.data.is_input_like()]
        for port, argument in zip(inputs, block.args, strict=True):
            template.arguments.append((port.port_name.data, width_of(argument)))
            self.define(argument)
        for op in block.ops:
            for result in op.results:
                self.define(result)
        for op in block.ops:
            self.visit(op)
        return template

    def define(self, value: SSAValue) -> None:
        self.number[value] = len(self.number)
        self.template.widths.append(width_of(value))

    def record(
        self,
        op: Operation,
        kind: str,
        operands: Iterable[SSAValue],
        param: object = None,
    ) -> None:
        number = self.number
        self.template.records.append(
            _Record(
                kind,
                tuple([number[result] for result in op.results]),
                tuple([number[operand] for operand in operands]),
                param,
                op,
            )
        )

    def visit(self, op: Operation) -> None:
        hint = op.attributes.get(hw_extra.NAME_HINT)
        if isinstance(hint, StringAttr) and op.results:
            self.template.names.append((hint.data, self.number[op.results[0]]))
        if describe := _DESCRIBE.get(type(op)):
            kind, param = describe(op)
            self.record(op, kind, op.operands, param)
            return
        match op:
            case seq.CompRegOp(reset=None):
                self.record(op, "register", [op.input])
            case seq.CompRegOp(reset=SSAValue() as reset):
                assert op.reset_value is not None
                self.record(op, "register", [op.input, reset, op.reset_value])
            case hw.InstanceOp():
                self.record(op, "instance", op.operands)
            case hw_extra.FirMemOp():
                self.record(op, "memory", ())
            case hw_extra.FirMemReadOp():
                ports = [op.memory, op.address, *_optional(op.enable)]
                self.record(op, "read", ports)
            case hw_extra.FirMemWriteOp():
                ports = [op.memory, op.address, op.data, *_optional(op.enable)]
                self.record(op, "write", ports)
            case hw.OutputOp():
                ports = self.op.module_type.ports.data
                outputs = [p for p in ports if p.dir.data.is_output_like()]
                self.template.results = [
                    (port.port_name.data, self.number[value])
                    for port, value in zip(outputs, op.operands, strict=True)
                ]
            case _:
                raise FastmlError(f"{op.name} cannot be simulated", op)


def _optional(value: SSAValue | None) -> list[SSAValue]:
    return [] if value is None else [value]


def _memory(op: hw_extra.FirMemOp) -> Memory:
    memory_type = op.memory.type
    assert isinstance(memory_type, hw_extra.FirMemType)
    return Memory(
        memory_type.depth.data,
        memory_type.width.data,
        op.read_latency.value.data,
        op.read_under_write,
        op.write_under_write,
    )


class _Flattener:
    def __init__(self, module: ModuleOp, given: Names):
        self.module = module
        self.given = given
        self.modules = {op.sym_name.data: op for op in module.ops if isinstance(op, hw.HWModuleOp)}
        self.templates: dict[str, _Template] = {}
        self.nodes: list[Node] = []
        self.names: dict[str, int] = {}

    def run(self, top: str) -> Netlist:
        op = module_named(self.module, top)
        template = self.template(top)
        inputs: dict[str, int] = {}
        for number, (name, width) in enumerate(template.arguments):
            self.nodes.append(Node("input", width, op, name))
            if width:
                inputs[name] = number
        results = self.expand(template, range(len(self.nodes)), "")
        names = [name for name, _ in template.results]
        outputs = dict(zip(names, results, strict=True))
        return Netlist(self.nodes, inputs, outputs, self.names)

    def template(self, name: str) -> _Template:
        if name not in self.templates:
            numbering = _Numbering(self.modules[name])
            template = self.templates[name] = numbering.run()
            for wire, value in self.given.get(name, ()):
                template.names.append((wire, numbering.number[value]))
        return self.templates[name]

    def expand(self, template: _Template, arguments: Sequence[int], path: str) -> list[int]:
        """Add one instance; return the nodes of its outputs."""
        nodes, widths = self.nodes, template.widths
        local = [*arguments, *([-1] * (len(widths) - len(arguments)))]
        for record in template.records:
            # What an instance gives is an alias of what drives it inside.
            kind = "alias" if record.kind == "instance" else record.kind
            for number in record.results:
                local[number] = len(nodes)
                nodes.append(Node(kind, widths[number], record.op, record.param))
        for name, number in template.names:
            self.names[path + name] = local[number]
        memories: list[Node] = []
        for record in template.records:
            operands = [local[number] for number in record.operands]
            match record.kind:
                case "instance":
                    op = cast(hw.InstanceOp, record.op)
                    child = self.template(op.module_name.root_reference.data)
                    inner = f"{path}{op.instance_name.data}."
                    driven = self.expand(child, operands, inner)
                    for number, driver in zip(record.results, driven, strict=True):
                        nodes[local[number]].operands = (driver,)
                case "memory":
                    node = nodes[local[record.results[0]]]
                    node.param = _memory(cast(hw_extra.FirMemOp, record.op))
                    memories.append(node)
                case _:
                    if record.results:
                        nodes[local[record.results[0]]].operands = tuple(operands)
        for record in template.records:
            self.connect(record, local)
        for node in memories:
            memory = cast(Memory, node.param)
            ports = [n for port in memory.writes for n in port if n is not None]
            node.operands = (*ports, *memory.reads)
        return [local[number] for _, number in template.results]

    def connect(self, record: _Record, local: Sequence[int]) -> None:
        """Make a port known to its memory."""
        if record.kind not in ("read", "write"):
            return
        memory = cast(Memory, self.nodes[local[record.operands[0]]].param)
        if record.kind == "read":
            memory.reads.append(local[record.results[0]])
        else:
            address, data, *enable = [local[n] for n in record.operands[1:]]
            memory.writes.append((address, data, enable[0] if enable else None))


def components(nodes: Sequence[Node], roots: Iterable[int]) -> list[list[int]]:
    """Order what the roots need: operands first, each cycle of nodes as one component."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    done: set[int] = set()
    found: list[list[int]] = []
    for root in roots:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        open_nodes.append(root)
        work = [(root, iter(nodes[root].operands))]
        while work:
            node, operands = work[-1]
            for operand in operands:
                if operand not in index:
                    index[operand] = low[operand] = len(index)
                    open_nodes.append(operand)
                    work.append((operand, iter(nodes[operand].operands)))
                    break
                if operand not in done and index[operand] < low[node]:
                    low[node] = index[operand]
            else:
                work.pop()
                if work and low[node] < low[work[-1][0]]:
                    low[work[-1][0]] = low[node]
                if low[node] == index[node]:
                    component = [open_nodes.pop()]
                    while component[-1] != node:
                        component.append(open_nodes.pop())
                    found.append(component)
                    done.update(component)
    return found
