"""Lower functions whose time is static: wiring, arithmetic, and calls of loops.

What separates the cycle of a value from the cycle in which it is used becomes registers, one
chain shared by all users of the value. The memrefs of a function without loops are bundles of
wires. Functions with loops are lowered by :mod:`fastml.lowering.loops_to_hw`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.dialects import affine, arith, hw, memref
from xdsl.dialects.builtin import (
    DenseArrayBase,
    DictionaryAttr,
    IndexType,
    IntegerAttr,
    StringAttr,
    i64,
)
from xdsl.dialects.func import CallOp, FuncOp, ReturnOp
from xdsl.ir import Attribute, BlockArgument, Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.elements import Elements
from fastml.lowering.arith_to_comb import build_arith, width_of_type
from fastml.lowering.constants import constant_words
from fastml.lowering.hw_builder import Instance, Netlist, Wire
from fastml.lowering.hw_hints import name_elements
from fastml.lowering.hw_materialise import (
    CLOCK,
    RESET,
    Output,
    input_names,
    materialise,
    output_ports,
)
from fastml.lowering.loops_to_hw import LoopLowering
from fastml.lowering.schedule_facts import (
    ANYTIME,
    Edge,
    FunctionSchedule,
    argument_edges,
    callee_of,
    edge_of,
)


def port_of(edge: Edge) -> str:
    """Return the identifier of an argument's wires."""
    assert edge.port is not None
    return edge.port


@dataclass
class Functions:
    """The modules of functions that others call, in the order in which they were lowered."""

    schedules: Mapping[FuncOp, FunctionSchedule]
    modules: dict[str, hw.HWModuleOp] = field(default_factory=dict[str, hw.HWModuleOp])
    looped: dict[str, LoopLowering] = field(default_factory=dict[str, LoopLowering])
    by_name: dict[str, FuncOp] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = {facts.name: facts.function for facts in self.schedules.values()}

    def lower(self, facts: FunctionSchedule) -> hw.HWModuleOp:
        """Lower one function, after those that it calls."""
        if facts.looped:
            loops = self.looped[facts.name] = LoopLowering(facts, Netlist())
            return self.add(loops.module(), facts)
        body = Body(facts, Netlist(), self)
        inputs = list[Wire]()
        for value, edge in argument_edges(facts.function):
            if not edge.output:
                inputs.append(body.receive(value, edge, port_of(edge)))
        body.run()
        outputs = [
            Output(port_of(edge), body.beat(value))
            for value, edge in argument_edges(facts.function)
            if edge.output
        ]
        at = facts.function.location
        return self.add(materialise(body.netlist, facts.name, inputs, outputs, location=at), facts)

    def add(self, module: hw.HWModuleOp, facts: FunctionSchedule) -> hw.HWModuleOp:
        """Keep a module; refuse two ports of one name, such as an edge called like the clock."""
        seen = set[str]()
        for port in module.module_type.ports:
            name = port.port_name.data
            if name in seen:
                raise FastmlError(
                    f"'{facts.name}' has two ports '{name}'",
                    facts.function,
                    hint=f"give the edge another '{directives.PORT}'",
                )
            seen.add(name)
        self.modules[facts.name] = module
        return module


class Body:
    """Lower the operations of a function without loops.

    Where loops are called there is a valid bit, and edges can be watched: by a subclass.
    """

    def __init__(self, facts: FunctionSchedule, netlist: Netlist, owner: Functions):
        self.facts = facts
        self.netlist = netlist
        self.owner = owner
        self.wires: dict[SSAValue, Wire] = {}
        self.memories: dict[SSAValue, list[Wire | None]] = {}
        self.edges: dict[SSAValue, Edge] = dict(argument_edges(facts.function))
        self.instances: dict[str, int] = {}
        self.load_wires: dict[str, tuple[Wire, Wire]] = {}
        """Valid bit and word of each port of weights."""
        self.handlers: Mapping[type[Operation], Callable[[Operation], None]] = {
            arith.ConstantOp: self.constant,
            affine.LoadOp: self.load,
            memref.LoadOp: self.load,
            affine.StoreOp: self.store,
            memref.StoreOp: self.store,
            memref.AllocOp: self.alloc,
            CallOp: self.call,
            memref.GetGlobalOp: lambda op: None,
            ReturnOp: lambda op: None,
        }

    def receive(self, value: SSAValue, edge: Edge, port: str) -> Wire:
        """Create the input port of a memref; return it."""
        beat = self.netlist.input(port, edge.elements.total_width)
        self.unpack(value, edge, beat)
        return beat

    def unpack(self, value: SSAValue, edge: Edge, beat: Wire) -> None:
        """Let the elements of a memref be those of a packed beat."""
        layout = zip(edge.elements.offsets, edge.elements.widths, strict=True)
        self.memories[value] = [
            self.netlist.element(beat, offset, width) for offset, width in layout
        ]
        name_elements(self.netlist, edge.port, self.memories[value])

    def beat(self, value: SSAValue, at: int | None = None) -> Wire:
        """Pack the elements of a memref, as they come or all in cycle ``at``."""
        wires = self.elements(value)
        name_elements(self.netlist, self.edges[value].port, wires)
        if at is not None:
            cycles, held = self.facts.elements[value], self.facts.held[value]
            wires = [
                self.netlist.delay(wire, 0 if cycle == ANYTIME else max(at - last, 0))
                for wire, cycle, last in zip(wires, cycles, held, strict=True)
            ]
        return self.netlist.concat(wires[::-1])

    def elements(self, value: SSAValue) -> list[Wire]:
        """Return the elements of a memref, all of which have been stored."""
        wires = self.memories.get(value)
        if wires is None:
            wires = [None] * len(self.edges[value].elements)
        stored = [wire for wire in wires if wire is not None]
        assert len(stored) == len(wires), "the schedule was checked"
        return stored

    def run(self) -> None:
        """Lower every operation, in order."""
        for op in self.facts.function.body.block.ops:
            self.visit(op)

    def visit(self, op: Operation) -> None:
        """Lower one operation."""
        self.netlist.location = op.location
        handler = self.handlers.get(type(op))
        if handler is not None:
            handler(op)
        elif not isinstance(op.results[0].type, IndexType):
            self.compute(op)

    def compute(self, op: Operation) -> None:
        """Lower arithmetic."""
        result = op.results[0]
        at = self.facts.cycles[result]
        operands = [self.wire_at(operand, at) for operand in op.operands]
        self.wires[result] = build_arith(self.netlist, op, operands)

    def wire_at(self, value: SSAValue, at: int) -> Wire:
        """Return ``value`` in cycle ``at``."""
        wire = self.wires[value]
        cycle = self.facts.cycles.get(value, ANYTIME)
        if cycle == ANYTIME:
            return wire
        return self.netlist.delay(wire, max(at - self.facts.until.get(value, cycle), 0))

    def constant(self, op: Operation) -> None:
        """Lower a constant; an index has no wire."""
        assert isinstance(op, arith.ConstantOp)
        match op.value:
            case IntegerAttr(value=value) if not isinstance(op.result.type, IndexType):
                width = width_of_type(op.result, op)
                self.wires[op.result] = self.netlist.constant(value.data, width)
            case _:
                pass

    def load(self, op: Operation) -> None:
        """Take an element of a beat or of a constant memory."""
        source, (result,) = op.operands[0], op.results
        width = width_of_type(result, op)
        element = self.facts.indices.address(op).constant
        if isinstance(source.owner, memref.GetGlobalOp):
            words = constant_words(source.owner)
            self.wires[result] = self.netlist.constant(words[element], width)
            return
        wire = self.memories[source][element]
        assert wire is not None
        cycle = self.facts.elements[source][element]
        if cycle != ANYTIME:
            gap = self.facts.cycles[result] - self.facts.held[source][element]
            wire = self.netlist.delay(wire, max(gap, 0))
        sign = self.edges[source].elements.signed[element]
        self.wires[result] = self.netlist.extend(wire, width, sign=sign)

    def store(self, op: Operation) -> None:
        """Put an element into a beat."""
        value, target = op.operands[:2]
        edge = self.edges[target]
        element = self.facts.indices.address(op).constant
        cycle = self.facts.elements[target][element]
        wire = self.wire_at(value, cycle)
        memory = self.memories.setdefault(target, [None] * len(edge.elements))
        memory[element] = self.netlist.extract(wire, 0, edge.elements.widths[element])

    def alloc(self, op: Operation) -> None:
        """Note a beat in which nothing is stored yet."""
        (value,) = op.results
        self.edges[value] = edge_of(value, op)

    def call(self, op: Operation) -> None:
        """Place the module of a function."""
        assert isinstance(op, CallOp)
        function = callee_of(op, self.owner.by_name)
        name = function.sym_name.data
        module = self.owner.modules[name]
        loops = self.owner.looped.get(name)
        data = dict[str, Wire]()
        for value, (_, edge) in zip(op.operands, argument_edges(function), strict=True):
            if not edge.output:
                at = self.facts.calls.get(op)
                data[port_of(edge)] = self.beat(value, at)
        if loops is not None:
            data[loops.start_port] = self.valid_at(self.facts.calls[op])
            for load in loops.loads:
                data[load.valid], data[load.word] = self.load_wires[load.loadable.port]
        results = self.place(name, module, data)
        for value, (_, edge) in zip(op.operands, argument_edges(function), strict=True):
            if edge.output:
                empty = self.netlist.constant(0, 0)
                beat = results.get(port_of(edge), empty)
                self.unpack(value, self.edges[value], self.watch(value, beat))
        if loops is not None:
            self.finished(self.facts.calls[op] + loops.facts.latency, results[loops.done_port])

    def place(self, name: str, module: hw.HWModuleOp, data: Mapping[str, Wire]) -> dict[str, Wire]:
        """Place a module; return its outputs by name."""
        count = self.instances[name] = self.instances.get(name, 0) + 1
        inputs, outputs = input_names(module), output_ports(module)
        instance = Instance(name if count == 1 else f"{name}_{count}", name, inputs, outputs)
        wires = [data[port] for port in inputs if port not in (CLOCK, RESET)]
        placed = self.netlist.instance(instance, wires)
        return {port: wire for (port, _), wire in zip(outputs, placed, strict=True)}

    def watch(self, value: SSAValue, beat: Wire) -> Wire:
        """Name a beat, where it may be watched."""
        return beat

    def valid_at(self, cycle: int) -> Wire:
        """Return the valid bit in ``cycle``."""
        raise AssertionError("only the top function calls functions with loops")

    def finished(self, cycle: int, done: Wire) -> None:
        """Note a signal that says that a frame is ``cycle`` cycles old."""
        raise AssertionError("only the top function calls functions with loops")


@dataclass(frozen=True)
class Tap:
    """Where and when an edge can be watched."""

    elements: Elements
    signal: str
    cycles: tuple[int, ...]
    """Cycle of each element, since the frame came or the process fired."""

    def attribute(self, fire: str | None = None, instance: str | None = None) -> DictionaryAttr:
        """Return the tap as hardware carries it; ``fire`` is set when its process fires.

        Both signals are in ``instance``, if there is one.
        """
        path = "" if instance is None else f"{instance}."
        signal = f"{path}{self.signal}" if self.elements.total_width else ""
        facts: dict[str, Attribute] = {
            "signal": StringAttr(signal),
            "elements": StringAttr(str(self.elements)),
            "cycles": DenseArrayBase.from_list(i64, self.cycles),
        }
        if fire is not None:
            facts["fire"] = StringAttr(f"{path}{fire}")
        return DictionaryAttr(facts)


class TimedBody(Body):
    """Lower a function that knows when a frame comes: with valid bits, and watched edges."""

    def __init__(self, facts: FunctionSchedule, netlist: Netlist, owner: Functions):
        super().__init__(facts, netlist, owner)
        self.valids: dict[int, Wire] = {}
        self.watched: list[Wire] = []
        self.taps: dict[str, Tap] = {}

    def tap(self, edge: Edge, signal: str, cycles: Sequence[int]) -> None:
        """Record where and when an edge can be watched."""
        name = directives.text(edge.attributes, directives.NAME)
        if name is not None:
            self.taps[name] = Tap(edge.elements, signal, tuple(max(cycle, 0) for cycle in cycles))

    def keep(self, beat: Wire, name: str) -> Wire:
        """Name a beat so that it exists whether or not anything uses it."""
        if not beat.width:
            return beat
        named = self.netlist.named(beat, name)
        self.watched.append(named)
        return named

    def watch(self, value: SSAValue, beat: Wire) -> Wire:
        """Name the beat of an edge of the source model, and record its tap."""
        edge = self.edges[value]
        if edge.output or edge.port is None:
            return beat
        self.tap(edge, edge.port, self.facts.elements[value])
        return self.keep(beat, edge.port)

    def watch_stored(self) -> None:
        """Watch the edges that the function fills element by element."""
        for value, edge in self.edges.items():
            name = directives.text(edge.attributes, directives.NAME)
            inside = value in self.memories and not isinstance(value, BlockArgument)
            if name not in self.taps and inside:
                self.watch(value, self.beat(value))

    def valid_at(self, cycle: int) -> Wire:
        """Return the valid bit in ``cycle``: the last known one, delayed."""
        known = max(at for at in self.valids if at <= cycle)
        return self.netlist.delay(self.valids[known], cycle - known, reset=True)

    def finished(self, cycle: int, done: Wire) -> None:
        """Take over from a function with loops, so that no long delay is needed."""
        self.valids[cycle] = done
