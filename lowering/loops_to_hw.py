"""Lower a function with loops to counters, memories and a pipelined datapath.

Time inside of the body of a loop is counted from the start of the iteration. A value lives
in free-running registers from its cycle on, so that iterations overlap; what one iteration
hands to the next passes registers likewise. A value of an outer loop is held in a register
of its own while the inner ones run. The input beat is held from its cycle on until the next
one; elements of outputs and of local memories are registers that a store enables, unless
they are words of block memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

from xdsl.dialects import affine, arith, hw, memref
from xdsl.dialects.builtin import IndexType, IntegerAttr, MemRefType
from xdsl.ir import Block, Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.elements import width_of
from fastml.lowering.arith_to_comb import PREDICATES, build_arith, width_of_type
from fastml.lowering.block_memory import BlockMemory
from fastml.lowering.constants import definition_of
from fastml.lowering.hw_builder import Netlist, Wire, index_width, signed
from fastml.lowering.hw_hints import name_elements
from fastml.lowering.hw_materialise import Output, materialise
from fastml.lowering.index_expressions import Linear, Loop, Table, reachable
from fastml.lowering.loaded_weights import LoadedMemory, load_ports
from fastml.lowering.loop_control import (
    Control,
    build_control,
    scaled_count,
    terms_of,
)
from fastml.lowering.schedule_facts import (
    ANYTIME,
    Edge,
    FunctionSchedule,
    argument_edges,
    edge_of,
    in_block,
    is_access,
    is_load,
)


@dataclass(eq=False)
class _Scope:
    """The body of a loop, or of the function."""

    loop: Loop | None
    parent: "_Scope | None"
    anchors: dict[int, Wire]
    """Signals that are set in a known cycle of every iteration."""

    def offset_from(self, outer: Loop) -> tuple[int, int]:
        """Return the first and the last cycle of ``outer``'s iteration that is cycle 0 here."""
        first = last = 0
        loop = self.loop
        while loop is not outer:
            assert loop is not None
            first += loop.start
            last += loop.start + (loop.trips - 1) * loop.interval
            loop = loop.parent
        return first, last


@dataclass
class _Memory:
    """Registers of a memref's elements, and what is stored to them."""

    edge: Edge
    registers: list[Wire]
    writes: list[list[tuple[Wire, Wire]]]
    """For each element, enables and data."""
    state: bool = True


class LoopLowering:
    """Lower one function."""

    def __init__(self, facts: FunctionSchedule, netlist: Netlist):
        self.facts = facts
        self.netlist = netlist
        self.values: dict[SSAValue, tuple[Wire, _Scope]] = {}
        self.controls: dict[Loop, Control] = {}
        self.memories: dict[SSAValue, _Memory] = {}
        self.blocks: dict[SSAValue, BlockMemory] = {}
        self.carried: dict[SSAValue, Wire] = {}
        self.rows: dict[Operation, Wire] = {}
        """Words of block memories, by the load that reads them."""
        self.held: dict[SSAValue, Wire] = {}
        ports = {edge.port for _, edge in argument_edges(facts.function)}
        self.start_port = unused("valid", ports)
        self.done_port = unused("done", ports)
        self.done = netlist.constant(0, 1)
        self.loads = load_ports(facts.function, {*ports, self.start_port, self.done_port})
        self.loaded: dict[str, LoadedMemory] = {}

    def module(self) -> hw.HWModuleOp:
        """Lower the function to a module of its own."""
        function, netlist = self.facts.function, self.netlist
        netlist.location = function.location
        start = netlist.input(self.start_port, 1)
        beats = [
            netlist.input(edge.port or "", edge.elements.total_width)
            for _, edge in argument_edges(function)
            if not edge.output
        ]
        words = list[Wire]()
        for load in self.loads:
            width = load.loadable.elements.total_width
            pair = netlist.input(load.valid, 1), netlist.input(load.word, width)
            self.loaded[load.memory] = LoadedMemory.build(netlist, load.loadable, *pair)
            words += pair
        memories = self.build(start, beats)
        outputs = [
            Output(edge.port or "", netlist.concat(memories[value][::-1]))
            for value, edge in argument_edges(function)
            if edge.output
        ]
        return materialise(
            netlist,
            self.facts.name,
            [start, *beats, *words],
            [Output(self.done_port, self.done), *outputs],
            clocked=True,
            location=function.location,
        )

    def build(self, start: Wire, beats: list[Wire]) -> dict[SSAValue, list[Wire]]:
        """Build the logic; return the elements of the outputs."""
        inputs = iter(beats)
        for value, edge in argument_edges(self.facts.function):
            if edge.output:
                self.memories[value] = self.memory(edge)
            else:
                self.capture(value, edge, next(inputs), start)
        top = _Scope(None, None, {0: start})
        self.body(self.facts.function.body.block, top)
        for memory in self.memories.values():
            if memory.state:
                self.close(memory)
        for block in self.blocks.values():
            block.close()
        self.netlist.location = self.facts.function.location
        self.done = self.pulse_at(top, self.facts.latency)
        return {
            value: self.memories[value].registers
            for value, edge in argument_edges(self.facts.function)
            if edge.output
        }

    # Memories

    def memory(self, edge: Edge) -> _Memory:
        """Create the registers of a memref."""
        registers = [self.register(width) for width in edge.elements.widths]
        name_elements(self.netlist, edge.port, registers)
        return _Memory(edge, registers, [[] for _ in registers])

    def alloc(self, op: memref.AllocOp) -> None:
        """Create a scratch memory."""
        edge = edge_of(op.memref, op)
        if not in_block(op.memref):
            self.memories[op.memref] = self.memory(edge)
            return
        width, _ = edge.elements.container
        depth, name = len(edge.elements), edge.port or "scratch"
        self.blocks[op.memref] = BlockMemory.of(self.netlist, depth, width, name)

    def register(self, width: int) -> Wire:
        """Return a data register; width 0 needs none."""
        return self.netlist.state(width, None) if width else self.netlist.constant(0, 0)

    def close(self, memory: _Memory) -> None:
        """Let the registers take what is stored."""
        for register, writes in zip(memory.registers, memory.writes, strict=True):
            following = register
            for enable, data in writes:
                following = self.netlist.mux(enable, data, following)
            if register.width:
                self.netlist.connect(register, following)

    def capture(self, value: SSAValue, edge: Edge, beat: Wire, start: Wire) -> None:
        """Hold an input beat until the next one."""
        layout = zip(edge.elements.offsets, edge.elements.widths, strict=True)
        held = self.register(beat.width)
        if held.width:
            self.netlist.connect(self.netlist.hint(held, f"{edge.port}_held"), beat, start)
        elements = [self.netlist.element(held, low, width) for low, width in layout]
        name_elements(self.netlist, edge.port, elements)
        self.memories[value] = _Memory(edge, elements, [], state=False)

    # Time

    def pulse_at(self, scope: _Scope, time: int) -> Wire:
        """Return a signal that is set in cycle ``time`` of every iteration."""
        known = max(at for at in scope.anchors if at <= time)
        return self.netlist.delay(scope.anchors[known], time - known, reset=True)

    def flag_at(self, flag: Wire, loop: Loop, time: int) -> Wire:
        """Return what holds throughout an iteration's interval, in cycle ``time`` of it."""
        return self.netlist.delay(flag, max(time - loop.interval + 1, 0))

    def index_at(self, linear: Linear, width: int, scope: _Scope, time: int) -> Wire:
        """Return an index modulo ``2**width`` in cycle ``time`` of ``scope``'s iteration."""
        if linear.table is not None:
            return self.looked_up(linear.table, linear.constant, width, scope, time)
        netlist, offset = self.netlist, linear.constant
        total: Wire | None = None
        for term in terms_of(linear, self.controls):
            fastest = term.chain[-1].loop
            wire = scaled_count(netlist, term.chain, term.factor, offset, width)
            _, last = scope.offset_from(fastest)
            wire = self.flag_at(wire, fastest, last + time)
            total, offset = wire if total is None else netlist.add(total, wire), 0
        return netlist.constant(offset, width) if total is None else total

    def looked_up(self, table: Table, constant: int, width: int, scope: _Scope, time: int) -> Wire:
        """Return an index from a constant memory, which is read when the program says."""
        words = [word + constant for word in table.words]
        read = self.facts.cycles[table.word] if self.values[table.word][1] is scope else time
        index = self.index_at(table.at, index_width(len(words)), scope, read)
        return self.netlist.delay(self.netlist.lookup(words, index, width), time - read)

    def value_at(self, value: SSAValue, scope: _Scope, time: int) -> Wire:
        """Return ``value`` in cycle ``time`` of ``scope``'s iteration."""
        if value in self.carried:
            return self.carried_at(value, scope, time)
        wire, home = self.values[value]
        cycle = self.facts.cycles.get(value, ANYTIME)
        if cycle == ANYTIME:
            return wire
        if home is scope:
            return self.netlist.delay(wire, time - cycle)
        held = self.held.get(value)
        if held is None:
            held = self.held[value] = self.netlist.state(wire.width, None)
            self.netlist.connect(held, wire, self.pulse_at(home, cycle))
        return held

    def carried_at(self, value: SSAValue, scope: _Scope, time: int) -> Wire:
        """Return what the iteration before handed on, or the initial value."""
        loop, parent = scope.loop, scope.parent
        assert loop is not None
        assert parent is not None
        position = loop.op.body.block.args.index(value) - 1
        init = self.value_at(loop.op.inits[position], parent, loop.start + time)
        if loop.trips == 1:
            return init
        distance = loop.interval + time - self.yield_cycle(loop, position)
        assert distance >= 1, "the schedule was checked"
        before = self.netlist.delay(self.carried[value], distance - 1)
        first = self.flag_at(self.controls[loop].first, loop, time)
        return self.netlist.mux(first, init, before)

    def yield_cycle(self, loop: Loop, position: int) -> int:
        """Return the cycle of an iteration in which what it hands on is there."""
        end = loop.start + (loop.trips - 1) * loop.interval
        return self.facts.cycles[loop.op.results[position]] - end

    # Operations

    def body(self, block: Block, scope: _Scope) -> None:
        """Lower the operations of a block."""
        for op in block.ops:
            self.netlist.location = op.location
            if isinstance(op, affine.ForOp):
                self.loop(op, scope)
            elif is_access(op):
                self.access(op, scope)
            elif isinstance(op, memref.AllocOp):
                self.alloc(op)
            elif isinstance(op, arith.ConstantOp):
                self.constant(op, scope)
            elif op.results and not isinstance(op.results[0].type, IndexType | MemRefType):
                self.compute(op, scope)

    def constant(self, op: arith.ConstantOp, scope: _Scope) -> None:
        """Lower a constant; an index has no wire."""
        if not isinstance(op.result.type, IndexType):
            assert isinstance(op.value, IntegerAttr)
            width = width_of_type(op.result, op)
            wire = self.netlist.constant(op.value.value.data, width)
            self.values[op.result] = wire, scope

    def compute(self, op: Operation, scope: _Scope) -> None:
        """Lower arithmetic."""
        (result,) = op.results
        time = self.facts.cycles.get(result, 0)
        if isinstance(op.operands[0].type, IndexType):
            wire = self.of_index(op, scope, time)
        else:
            operands = [self.value_at(operand, scope, time) for operand in op.operands]
            wire = build_arith(self.netlist, op, operands)
        self.values[result] = wire, scope

    def of_index(self, op: Operation, scope: _Scope, time: int) -> Wire:
        """Build what computes a number from loop counters."""
        indices = [self.facts.indices.of(operand, op) for operand in op.operands]
        match op:
            case arith.IndexCastOp():
                width = width_of_type(op.result, op)
                return self.index_at(indices[0], width, scope, time)
            case arith.CmpiOp():
                bounds = [bound for index in indices for bound in index.bounds]
                width = width_of(min(bounds), max(bounds))[0] + 1
                a, b = (self.index_at(index, width, scope, time) for index in indices)
                return self.netlist.icmp(PREDICATES[op.predicate.value.data], a, b)
            case _:
                raise FastmlError("loop counters can be compared or cast, not this", op)

    def access(self, op: Operation, scope: _Scope) -> None:
        """Lower a load or a store."""
        time = self.facts.times[op]
        address = self.facts.indices.address(op)
        if is_load(op):
            self.values[op.results[0]] = self.load(op, address, scope, time), scope
        else:
            self.store(op, address, scope, time)

    def load(self, op: Operation, address: Linear, scope: _Scope, time: int) -> Wire:
        """Read an element; one that varies is selected among all."""
        source = op.operands[0]
        width = width_of_type(op.results[0], op)
        if isinstance(source.owner, memref.GetGlobalOp):
            return self.look_up(op, address, scope, time)
        if source in self.blocks:
            block = self.blocks[source]
            at = self.index_at(address, block.address_width, scope, time)
            return block.load(self.pulse_at(scope, time), at)
        memory = self.memories[source]
        elements = memory.registers
        layout = memory.edge.elements
        if not address.varies:
            at = address.constant
            return self.netlist.extend(elements[at], width, sign=layout.signed[at])
        stored, sign = layout.container
        if stored == 0:
            return self.netlist.constant(0, width)
        places, address = candidates(address)
        wide = [
            self.netlist.extend(elements[place], stored, sign=layout.signed[place])
            for place in places
        ]
        index = self.index_at(address, index_width(len(wide)), scope, time)
        return self.netlist.extend(self.netlist.select(wide, index), width, sign=sign)

    def look_up(self, op: Operation, address: Linear, scope: _Scope, time: int) -> Wire:
        """Read what is reached of a constant memory, no wider than its contents."""
        source = op.operands[0].owner
        assert isinstance(source, memref.GetGlobalOp)
        width = width_of_type(op.results[0], op)
        loaded = self.loaded.get(source.name_.string_value())
        if loaded is not None:
            return self.loaded_word(loaded, op, address, scope, time)
        words, narrow, sign = self.row(op, address)
        if address.factors and self.in_block(op):
            word = self.block_word(op, address, scope, time)
        else:
            _, place = reachable((), address)
            index = self.index_at(place, index_width(len(words)), scope, time)
            word = self.netlist.lookup(words, index, narrow)
        return self.netlist.extend(word, width, sign=sign)

    def loaded_word(
        self, loaded: LoadedMemory, op: Operation, address: Linear, scope: _Scope, time: int
    ) -> Wire:
        """Read a weight that was loaded."""
        loadable, (low, high) = loaded.loadable, address.bounds
        lane = low // loadable.words
        if high // loadable.words != lane:
            raise FastmlError("reads several lanes of a memory that is loaded", op)
        place = replace(address, constant=address.constant - lane * loadable.words)
        index = self.index_at(place, index_width(loadable.words), scope, time)
        word, sign = loaded.read(index, lane), loadable.elements.signed[lane]
        return self.netlist.extend(word, width_of_type(op.results[0], op), sign=sign)

    def row(self, op: Operation, address: Linear) -> tuple[list[int], int, bool]:
        """Return the words that a load reaches, their width and whether they have a sign."""
        source = op.operands[0].owner
        assert isinstance(source, memref.GetGlobalOp)
        width = width_of_type(op.results[0], op)
        words, _ = reachable(self.facts.indices.words(source), address)
        words = [signed(word & ((1 << width) - 1), width) for word in words]
        return words, *width_of(min(words), max(words))

    def in_block(self, op: Operation) -> bool:
        """Whether a constant is to be in block memory."""
        source = op.operands[0].owner
        assert isinstance(source, memref.GetGlobalOp)
        return directives.text(definition_of(source).attributes, directives.STORAGE) == "block"

    def block_word(self, op: Operation, address: Linear, scope: _Scope, time: int) -> Wire:
        """Read one of the rows that a memory has side by side, with an address in common.

        The words of one address are one long word, which the memory itself registers.
        """
        if op not in self.rows:
            offset, offsets = 0, dict[Operation, int]()
            packed = [0] * len(self.row(op, address)[0])
            for load in self.rows_beside(op, address, time):
                words, width, _ = self.row(load, self.facts.indices.address(load))
                mask = (1 << width) - 1
                packed = [a | (b & mask) << offset for a, b in zip(packed, words, strict=True)]
                offsets[load] = offset
                offset += width
            _, place = reachable((), address)
            index = self.index_at(place, index_width(len(packed)), scope, time)
            whole = self.netlist.lookup(packed, index, offset)
            self.netlist.delay(whole, 1)  # one register, from which the words are taken
            for load, low in offsets.items():
                _, width, _ = self.row(load, self.facts.indices.address(load))
                self.rows[load] = self.netlist.extract(whole, low, width)
        return self.rows[op]

    def rows_beside(self, op: Operation, address: Linear, time: int) -> list[Operation]:
        """Return the loads that read other rows of a memory when ``op`` does."""
        source = op.operands[0].owner
        assert isinstance(source, memref.GetGlobalOp)
        assert op.parent is not None
        found = list[Operation]()
        for load in op.parent.ops:
            other = load.operands[0].owner if is_load(load) else None
            if isinstance(other, memref.GetGlobalOp) and other.name_ == source.name_:
                at = self.facts.indices.address(load)
                same = at.table is None and at.factors == address.factors
                if same and self.facts.times[load] == time:
                    found.append(load)
        return found

    def store(self, op: Operation, address: Linear, scope: _Scope, time: int) -> None:
        """Enable the registers of the elements that may be meant."""
        target = op.operands[1]
        value = self.value_at(op.operands[0], scope, time)
        pulse = self.pulse_at(scope, time)
        if target in self.blocks:
            block = self.blocks[target]
            block.store(pulse, self.index_at(address, block.address_width, scope, time), value)
            return
        memory = self.memories[target]
        places, address = candidates(address)
        width = index_width(len(places))
        at = self.index_at(address, width, scope, time) if address.varies else None
        for number, element in enumerate(places):
            register = memory.registers[element]
            enable = pulse
            if at is not None:
                here = self.netlist.icmp("eq", at, self.netlist.constant(number, width))
                enable = self.netlist.and_(pulse, here)
            data = self.netlist.extract(value, 0, register.width)
            memory.writes[element].append((enable, data))

    def loop(self, op: affine.ForOp, scope: _Scope) -> None:
        """Lower a loop: its counters, unless they are part of an outer odometer; its body."""
        loop = self.facts.loops[op]
        if loop not in self.controls:
            begin = self.pulse_at(scope, loop.start)
            chain = _odometer(loop, self.facts)
            for control in build_control(self.netlist, chain, begin):
                self.controls[control.loop] = control
        control = self.controls[loop]
        inner = _Scope(loop, scope, {0: control.pulse})
        arguments, results = op.body.block.args[1:], list(op.results)
        for argument, init in zip(arguments, op.inits, strict=True):
            width = width_of_type(init, op)
            self.carried[argument] = self.netlist.state(width, None)
        self.body(op.body.block, inner)
        self.netlist.location = op.location
        last = op.body.block.last_op
        assert isinstance(last, affine.YieldOp)
        end = loop.start + (loop.trips - 1) * loop.interval
        for position, yielded in enumerate(last.arguments):
            wire = self.value_at(yielded, inner, self.yield_cycle(loop, position))
            self.netlist.connect(self.carried[arguments[position]], wire)
            self.values[results[position]] = wire, scope
        for time, anchor in inner.anchors.items():
            final = self.flag_at(control.last, loop, time)
            scope.anchors[end + time] = self.netlist.and_(anchor, final)


def candidates(address: Linear) -> tuple[Sequence[int], Linear]:
    """Return the places that an address can be, and which of them it is."""
    if address.table is None:
        low, high = address.bounds
        return range(low, high + 1), replace(address, constant=address.constant - low)
    table, offset = address.table, address.constant
    places = sorted(set(table.words))
    numbers = {place: number for number, place in enumerate(places)}
    words = tuple(numbers[word] for word in table.words)
    return [place + offset for place in places], Linear(0, table=replace(table, words=words))


def _odometer(loop: Loop, facts: FunctionSchedule) -> list[Loop]:
    """Return the chain of loops that share one timing, from ``loop`` inwards."""
    chain = [loop]
    while True:
        nested = [op for op in chain[-1].op.body.block.ops if isinstance(op, affine.ForOp)]
        if len(nested) != 1:
            return chain
        inner = facts.loops[nested[0]]
        if inner.start != 0 or inner.span != chain[-1].interval:
            return chain
        chain.append(inner)


def unused(name: str, taken: set[str | None]) -> str:
    """Return ``name``, or the first numbered one that no port has."""
    candidates = (name if n == 0 else f"{name}_{n}" for n in count())
    return next(candidate for candidate in candidates if candidate not in taken)
