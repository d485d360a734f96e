"""Compile a flat netlist into a program of elementary operations on integers.

Nodes outside feedback become operations on whole vectors along time, a register being a
shift. Each cycle of nodes becomes a component that runs clock by clock.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.bits import NARROW, WORD
from fastml.runtime.hw_netlist import Memory, Netlist, Node, components
from fastml.runtime.hw_recall import StateBuilder
from fastml.runtime.hw_slots import (
    NEVER,
    Atom,
    Beat,
    Component,
    Fields,
    Instruction,
    MemoryState,
    Piece,
    Program,
    Slot,
    SourceState,
    State,
    Value,
    cut,
    join_pieces,
    offsets_of,
    slice_piece,
)


def compile_netlist(netlist: Netlist, watch: Iterable[str]) -> Program:
    """Compile all outputs and the named wires in ``watch``."""
    targets = dict(netlist.outputs)
    for name in watch:
        node = netlist.names.get(name, netlist.inputs.get(name))
        if node is None and name not in targets:
            raise FastmlError(f"there is no wire named '{name}'", netlist.nodes[0].op)
        if node is not None:
            targets[name] = node
    return _Compiler(netlist).run(targets)


_COMPARE = {
    "eq": ("eq", False),
    "ne": ("eq", True),
    "lt": ("lt", False),
    "le": ("le", False),
    "gt": ("le", True),
    "ge": ("lt", True),
}


class _Compiler(StateBuilder):
    """Gives every node its value, in an order in which operands come first."""

    def __init__(self, netlist: Netlist):
        super().__init__(netlist)
        self.offsets: dict[int, list[int]] = {}
        self.inputs: dict[str, Fields] = {}
        self.memories: dict[int, MemoryState] = {}
        self.states: dict[int, State] = {}
        self.sources: dict[int, SourceState] = {}

    def run(self, targets: dict[str, int]) -> Program:
        for component in components(self.nodes, targets.values()):
            first = self.nodes[component[0]]
            if len(component) > 1 or component[0] in first.operands:
                if not self.hold(component) and not self.recall(component):
                    self.feedback(component)
            elif first.kind == "register":
                self.values[component[0]] = self.shift(first)
            else:
                self.visit(component[0])
        watched = {name: self.watch(node) for name, node in targets.items()}
        seen = [slot for fields in watched.values() for slot, _, _ in fields.slots]
        settle = max((slot.settle for slot in seen), default=0)
        return Program(self.slots, self.code, self.inputs, watched, self.fills, settle)

    def watch(self, node: int) -> Fields:
        """Make a value readable from outside, as unsigned numbers of bounded width."""
        value = self.values[node]
        found: list[tuple[Slot, int, int]] = []
        offset = 0
        for piece in value:
            width = piece[2] + piece[3]
            step = width if piece[3] == 0 and piece[0].slot.wide else NARROW - 1
            for low in range(0, width, step):
                taken = min(step, width - low)
                slot = self.unsigned(self.atom(cut((piece,), low, taken)))
                found.append((self.use(slot), offset + low, taken))
            offset += width
        return Fields(offset, tuple(found))

    def visit(self, number: int) -> None:
        node = self.nodes[number]
        self.values[number] = _HANDLERS[node.kind](self, node)

    # Wiring

    def visit_input(self, node: Node) -> Value:
        name = cast(str, node.param)
        step = node.width if node.width <= NARROW else WORD
        pieces: list[Piece] = []
        fields: list[tuple[Slot, int, int]] = []
        for low in range(0, node.width, step):
            width = min(step, node.width - low)
            slot = self.slot(0, (1 << width) - 1)
            fields.append((slot, low, width))
            pieces.append((Atom(slot, width), 0, width, 0))
        self.inputs[name] = Fields(node.width, tuple(fields))
        return tuple(pieces)

    def visit_const(self, node: Node) -> Value:
        slot = self.constant(cast(int, node.param))
        return ((Atom(slot, node.width), 0, node.width, 0),)

    def visit_alias(self, node: Node) -> Value:
        return self.operand(node, 0)

    def visit_concat(self, node: Node) -> Value:
        values = self.values
        return join_pieces(
            [piece for number in reversed(node.operands) for piece in values[number]]
        )

    def visit_extract(self, node: Node) -> Value:
        (number,) = node.operands
        value, low = self.values[number], cast(int, node.param)
        if len(value) == 1:
            return (slice_piece(value[0], low, low + node.width),)
        if (offsets := self.offsets.get(number)) is None:
            offsets = self.offsets[number] = offsets_of(value)
        return cut(value, low, node.width, offsets)

    def visit_replicate(self, node: Node) -> Value:
        value, times = self.operand(node, 0), cast(int, node.param)
        atom, low, width, copies = value[0]
        if len(value) == 1 and width == 1 and copies == 0:
            return ((atom, low, 1, times - 1),)
        return join_pieces(value * times)

    # Arithmetic

    def visit_ring(self, node: Node) -> Value:
        first, *others = [self.congruent(self.values[n]) for n in node.operands]
        for other in others:
            first = self.emit(node.kind, first, other, width=node.width)
        return self.result(first, node.width)

    def visit_bitwise(self, node: Node) -> Value:
        operands = [self.values[n] for n in node.operands]

        def bitwise(parts: Sequence[Value]) -> Slot:
            first, *others = [self.congruent(part) for part in parts]
            for other in others:
                first = self.emit(node.kind, first, other)
            return first

        return self.by_chunks(operands, node.width, bitwise)

    def visit_mux(self, node: Node) -> Value:
        condition, *choices = [self.values[n] for n in node.operands]
        if node.width == 0:
            raise FastmlError("arrays cannot be selected", node.op)
        return self.choose(self.unsigned(self.atom(condition)), choices, node.width)

    def visit_icmp(self, node: Node) -> Value:
        predicate = cast(str, node.param)
        a, b = (self.atom(self.values[n]) for n in node.operands)
        if predicate in ("eq", "ne"):
            view, base = self.common_view(a, b), predicate
        else:
            view = self.signed if predicate[0] == "s" else self.unsigned
            base = predicate[1:]
        name, negate = _COMPARE[base]
        truth = self.emit(name, view(a), view(b))
        if negate:
            truth = self.emit("xor", truth, self.constant(1))
        return self.result(truth, 1)

    def common_view(self, a: Atom, b: Atom) -> Callable[[Atom], Slot]:
        """Choose the representation that costs nothing, if there is one."""
        half = 1 << (a.width - 1)
        slots = [s for s in (a.slot, b.slot) if s.const is None]
        is_signed = all(s.lo >= -half and s.hi < half for s in slots)
        return self.signed if is_signed else self.unsigned

    def visit_shift(self, node: Node) -> Value:
        value, amount = (self.atom(self.values[n]) for n in node.operands)
        width = node.width
        by = self.emit("min", self.unsigned(amount), self.constant(width))
        if node.kind == "shl":
            # Shifted before it is cut: bits above the width go, so none may be junk.
            whole = self.unsigned(value)
            shifted = self.emit("shl", whole, by, width=width)
            return self.result(shifted, width)
        whole = self.signed(value) if node.kind == "shrs" else self.unsigned(value)
        return self.result(self.emit("shr", whole, by), width)

    def visit_divide(self, node: Node) -> Value:
        view = self.signed if node.kind[-1] == "s" else self.unsigned
        a, b = (view(self.atom(self.values[n])) for n in node.operands)
        zero = self.emit("eq", b, self.constant(0))
        divisor = self.emit("mux", zero, self.constant(1), b)
        quotient = self.emit(node.kind[:3], a, divisor)
        arbitrary = self.fill(node.width)
        return self.result(self.emit("mux", zero, arbitrary, quotient), node.width)

    def visit_parity(self, node: Node) -> Value:
        whole = self.unsigned(self.atom(self.operand(node, 0)))
        return self.result(self.emit("parity", whole), 1)

    def visit_get(self, node: Node) -> Value:
        """Read an array; what lies beyond its end is undefined."""
        source = self.nodes[node.operands[0]]
        index = self.unsigned(self.atom(self.operand(node, 1)))
        if source.kind == "array":
            result = self.values[source.operands[-1]]
            for position, number in enumerate(reversed(source.operands[:-1]), 1):
                chosen = self.emit("eq", index, self.constant(position))
                choices = [self.values[number], result]
                result = self.choose(chosen, choices, node.width)
            count = len(source.operands)
        elif source.kind == "table":
            words = cast(list[int], source.param)
            last, count = self.constant(len(words) - 1), len(words)
            slot = self.slot(min(words), max(words))
            if index.const is not None:
                slot = self.constant(words[min(index.const, count - 1)])
            else:
                self.append("table", slot, [self.emit("min", index, last)], words)
            result = self.result(slot, node.width)
        else:
            raise FastmlError("only constants and array_create can be indexed", node.op)
        if index.hi < count:
            return result
        beyond = self.emit("le", self.constant(count), index)
        arbitrary = self.result(self.fill(node.width), node.width)
        return self.choose(beyond, [arbitrary, result], node.width)

    def visit_array(self, node: Node) -> Value:
        return ()

    # State

    def feedback(self, component: Sequence[int]) -> None:
        """Compile a cycle of nodes, to be executed clock by clock."""
        self.component = Component()
        members = set(component)
        for number in sorted(members):
            self.open_state(number)
        for number in self.combinational_order(members):
            self.visit(number)
        for number in sorted(members):
            self.close_state(number)
        position = Instruction("component", self.slot(0, 0), (), self.component)
        self.code.append(position)
        self.component = None

    def state(self, width: int) -> State:
        assert self.component is not None
        slot = self.slot(0, (1 << width) - 1, NEVER)
        slot.owner = self.component
        state = State(slot, width)
        self.component.states.append(state)
        return state

    def open_state(self, number: int) -> None:
        """Give what a clock edge made: registers, memories, clocked read ports."""
        node = self.nodes[number]
        assert self.component is not None
        if node.kind == "register" or self.is_clocked_read(node):
            state = self.states[number] = self.state(node.width)
            self.values[number] = self.result(state.current, node.width)
        elif node.kind == "memory":
            memory = cast(Memory, node.param)
            self.memories[number] = MemoryState(memory, self.fill(memory.width))
            self.component.memories.append(self.memories[number])
            self.values[number] = ()
        elif node.kind == "source":
            self.open_source(number)

    def open_source(self, number: int) -> None:
        """Present a beat, or what the input carries besides."""
        node = self.nodes[number]
        assert self.component is not None
        index, due = (self.slot(0, NEVER, NEVER) for _ in range(2))
        index.owner = due.owner = self.component
        present = self.slot(0, 1)
        source = self.sources[number] = SourceState(cast(str, node.param), index, due, present)
        self.component.sources.append(source)
        self.append("present", present, [due])
        early = self.unsigned(self.atom(self.operand(node, 0)))
        self.values[number] = self.result(self.emit("or", early, present), 1)

    def visit_beat(self, node: Node) -> Value:
        """Look up the data of the beat that is presented."""
        source = self.sources[node.operands[1]]
        pieces: list[Piece] = []
        low = 0
        for atom, _, width, _ in self.operand(node, 0):
            slot = self.slot(0, (1 << width) - 1)
            beat = Beat(source.port, low, width)
            self.append("beat", slot, [source.present, source.index, atom.slot], beat)
            if slot.owner is not None:
                slot.owner.beats.append(beat)
            pieces.append((Atom(slot, width), 0, width, 0))
            low += width
        return tuple(pieces)

    def is_clocked_read(self, node: Node) -> bool:
        if node.kind != "read":
            return False
        memory = cast(Memory, self.nodes[node.operands[0]].param)
        return memory.read_latency == 1

    def combinational_order(self, members: set[int]) -> list[int]:
        """Order the nodes between clock edges, or name the loop."""
        order: list[int] = []
        pending = {number for number in members if number not in self.values}
        for root in sorted(pending):
            if root not in pending:
                continue
            active = {root}
            work = [(root, iter(self.nodes[root].operands))]
            while work:
                number, operands = work[-1]
                for operand in operands:
                    if operand in active:
                        raise FastmlError("combinational loop", self.nodes[operand].op)
                    if operand in pending:
                        active.add(operand)
                        work.append((operand, iter(self.nodes[operand].operands)))
                        break
                else:
                    work.pop()
                    active.discard(number)
                    pending.discard(number)
                    order.append(number)
        return order

    def use(self, slot: Slot) -> Slot:
        """Make sure that a slot reaches the component that is being compiled."""
        if slot.owner is not None and slot.owner is not self.component:
            slot.owner.exports[slot.index] = slot
        return slot

    def port(self, number: int) -> Slot:
        return self.use(self.unsigned(self.atom(self.values[number])))

    def visit_read(self, node: Node) -> Value:
        """Read a memory within the cycle."""
        memory = self.memories[node.operands[0]]
        operands = [self.port(number) for number in node.operands[1:]]
        slot = self.slot(0, (1 << node.width) - 1)
        self.append("read", slot, operands, memory)
        return self.result(slot, node.width)

    def close_state(self, number: int) -> None:
        """Give what the next clock edge makes."""
        node = self.nodes[number]
        if node.kind == "memory":
            for address, data, enable in cast(Memory, node.param).writes:
                gate = None if enable is None else self.port(enable)
                ports = (self.port(address), self.port(data), gate)
                self.memories[number].writes.append(ports)
        elif self.is_clocked_read(node):
            memory, address, *enable = node.operands
            gate = self.port(enable[0]) if enable else None
            read = (self.states[number], self.port(address), gate)
            self.memories[memory].reads.append(read)
        elif node.kind == "source":
            self.sources[number].ready = self.port(node.operands[1])
        elif node.kind == "register":
            value = self.operand(node, 0)
            if len(node.operands) == 3:
                reset = self.unsigned(self.atom(self.operand(node, 1)))
                choices = [self.operand(node, 2), value]
                value = self.choose(reset, choices, node.width)
            following = self.unsigned(self.atom(value))
            self.states[number].following = self.use(following)


_HANDLERS: dict[str, Callable[[_Compiler, Node], Value]] = {
    "input": _Compiler.visit_input,
    "const": _Compiler.visit_const,
    "alias": _Compiler.visit_alias,
    "concat": _Compiler.visit_concat,
    "extract": _Compiler.visit_extract,
    "replicate": _Compiler.visit_replicate,
    **dict.fromkeys(("add", "sub", "mul"), _Compiler.visit_ring),
    **dict.fromkeys(("and", "or", "xor"), _Compiler.visit_bitwise),
    **dict.fromkeys(("shl", "shru", "shrs"), _Compiler.visit_shift),
    **dict.fromkeys(("divu", "divs", "modu", "mods"), _Compiler.visit_divide),
    "mux": _Compiler.visit_mux,
    "icmp": _Compiler.visit_icmp,
    "parity": _Compiler.visit_parity,
    "get": _Compiler.visit_get,
    "array": _Compiler.visit_array,
    "table": _Compiler.visit_array,
    "read": _Compiler.visit_read,
    "beat": _Compiler.visit_beat,
}
