"""State that needs no feedback although it holds: registers with enables, and memories.

A register that keeps its value or takes another shows what it took last; a memory shows what
was written last to the address. Where neither depends on what it holds, both are looked up
along time, however wide the data are: first *when* the value was taken, once for all bits;
then the value, piece by piece.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from fastml.runtime.bits import NARROW
from fastml.runtime.hw_netlist import Memory, Netlist, Node
from fastml.runtime.hw_slots import (
    NEVER,
    Atom,
    Builder,
    Piece,
    Recall,
    Slot,
    Value,
    cut,
    join_pieces,
    offsets_of,
)

Cycles: TypeAlias = NDArray[np.int64]


class StateBuilder(Builder):
    """Builds state outside feedback, and what selects between values."""

    def __init__(self, netlist: Netlist):
        super().__init__()
        self.netlist = netlist
        self.nodes = netlist.nodes
        self.values: dict[int, Value] = {}

    def operand(self, node: Node, index: int) -> Value:
        """Return the value of an operand."""
        return self.values[node.operands[index]]

    def result(self, slot: Slot, width: int) -> Value:
        """Return the value that a slot holds."""
        return ((Atom(slot, width), 0, width, 0),)

    def choose(self, select: Slot, choices: Sequence[Value], width: int) -> Value:
        """Return the first value where ``select`` is set, else the second."""

        def mux(parts: Sequence[Value]) -> Slot:
            return self.emit("mux", select, *[self.congruent(part) for part in parts])

        if choices[0] == choices[1]:
            return choices[0]
        return self.by_chunks(choices, width, mux)

    def by_chunks(
        self,
        operands: Sequence[Value],
        width: int,
        function: Callable[[Sequence[Value]], Slot],
    ) -> Value:
        """Apply a bitwise function, to a wide bus piece by piece."""
        if width <= NARROW:
            return self.result(function(operands), width)
        cuts = {0, width}
        for value in operands:
            if len(value) > 1:
                cuts.update(offsets_of(value))
        pieces: list[Piece] = []
        ordered = sorted(cuts)
        for low, high in pairwise(ordered):
            parts = [cut(value, low, high - low) for value in operands]
            pieces += self.result(function(parts), high - low)
        return join_pieces(pieces)

    def shift(self, node: Node) -> Value:
        """Give a register outside feedback: its input one cycle later."""
        value = self.operand(node, 0)
        if len(node.operands) == 3:
            reset = self.unsigned(self.atom(self.operand(node, 1)))
            choices = [self.operand(node, 2), value]
            value = self.choose(reset, choices, node.width)
        return tuple(
            (self.late(self.part(atom, low, width), "delay"), 0, width, copies)
            for atom, low, width, copies in value
        )

    def late(self, atom: Atom, name: str, *operands: Slot) -> Atom:
        """Return an atom in a later cycle, in the representation that it has."""
        half = 1 << (atom.width - 1)
        slot = atom.slot
        is_signed = slot.lo >= -half and slot.hi < half and slot.lo < 0
        if not is_signed:
            slot = self.unsigned(atom)
        low, high = (-half, half - 1) if is_signed else (0, 2 * half - 1)
        late = self.slot(low, high)
        self.append(name, late, [slot, *operands])
        late.settle = slot.settle + 1 if name == "delay" else NEVER
        return Atom(late, atom.width)

    # Registers that hold

    def hold(self, component: Sequence[int]) -> bool:
        """Compile a register that keeps its value or takes another; return False if it is more."""
        members = set(component)
        registers = [n for n in component if self.nodes[n].kind == "register"]
        if len(registers) != 1 or not all(self._may_hold(n, members) for n in component):
            return False
        (register,) = registers
        node = self.nodes[register]
        load, value = self._taken(node.operands[0], register, members)
        if len(node.operands) == 3:
            reset = self.unsigned(self.atom(self.operand(node, 1)))
            initial = self.operand(node, 2)
            load = self.emit("or", reset, load)
            value = initial if value is None else self.choose(reset, [initial, value], node.width)
        if value is None:
            return False
        when = self.slot(0, NEVER, NEVER)
        self.append("last", when, [load])
        self.values[register] = tuple(
            (self.late(self.part(atom, low, width), "hold", when), 0, width, copies)
            for atom, low, width, copies in value
        )
        for number in self._in_order(members - {register}):
            self.values[number] = self._kept(self.nodes[number])
        return True

    def _may_hold(self, number: int, members: set[int]) -> bool:
        node = self.nodes[number]
        match node.kind:
            case "register":
                return not members.intersection(node.operands[1:])
            case "mux":
                return node.operands[0] not in members and node.width > 0
            case kind:
                return kind == "alias"

    def _taken(self, number: int, register: int, members: set[int]) -> tuple[Slot, Value | None]:
        """Return whether a register takes a value from a node, and which."""
        if number == register:
            return self.constant(0), None
        if number not in members:
            return self.constant(1), self.values[number]
        node = self.nodes[number]
        if node.kind == "alias":
            return self._taken(node.operands[0], register, members)
        select = self.unsigned(self.atom(self.operand(node, 0)))
        sides = [self._taken(n, register, members) for n in node.operands[1:]]
        load = self.emit("mux", select, sides[0][0], sides[1][0])
        values = [value for _, value in sides if value is not None]
        if len(values) < 2:
            return load, values[0] if values else None
        return load, self.choose(select, values, node.width)

    def _in_order(self, members: set[int]) -> list[int]:
        """Order what lies between a register and itself."""
        order: list[int] = []

        def visit(number: int) -> None:
            if number in members and number not in order:
                for operand in self.nodes[number].operands:
                    visit(operand)
                order.append(number)

        for number in sorted(members):
            visit(number)
        return order

    def _kept(self, node: Node) -> Value:
        if node.kind == "alias":
            return self.operand(node, 0)
        select = self.unsigned(self.atom(self.operand(node, 0)))
        choices = [self.operand(node, 1), self.operand(node, 2)]
        return self.choose(select, choices, node.width)

    # Memories

    def recall(self, component: Sequence[int]) -> bool:
        """Compile a memory that nothing leads back to; return False if it is another thing."""
        stores = [number for number in component if self.nodes[number].kind == "memory"]
        reads = [number for number in component if self.nodes[number].kind == "read"]
        if len(stores) != 1 or 1 + len(reads) != len(component):
            return False
        memory = cast(Memory, self.nodes[stores[0]].param)
        if len(memory.writes) != 1:
            return False
        ((address, data, enable),) = memory.writes
        store = Recall(memory, self.fill(memory.width), 0)
        gate = self.constant(1) if enable is None else self._number(enable)
        writes = self.slot(0, NEVER, NEVER)
        self.append("writes", writes, [self._number(address), gate], store)
        pieces = self._pieces(self.values[data])
        self.values[stores[0]] = ()
        for number in reads:
            _, at, *more = self.nodes[number].operands
            gate = self._number(more[0]) if more else self.constant(1)
            when = self.slot(0, NEVER, NEVER)
            self.append("read_cells", when, [writes, self._number(at), gate], store)
            found: list[Piece] = []
            for slot, low, width in pieces:
                piece = Recall(memory, store.fill, low)
                cell = self.slot(0, (1 << width) - 1)
                self.append("cells", cell, [writes, when, slot], piece)
                cell.settle = NEVER
                atom = Atom(cell, width)
                if memory.read_latency:
                    atom = self.late(atom, "delay")
                found.append((atom, 0, width, 0))
            self.values[number] = tuple(found)
        return True

    def _number(self, number: int) -> Slot:
        return self.unsigned(self.atom(self.values[number]))

    def _pieces(self, value: Value) -> list[tuple[Slot, int, int]]:
        """Return unsigned numbers of bounded width, their lowest bits and widths."""
        found: list[tuple[Slot, int, int]] = []
        low = 0
        for piece in value:
            width = piece[2] + piece[3]
            step = width if piece[3] == 0 and piece[0].slot.wide else NARROW - 1
            for start in range(0, width, step):
                taken = min(step, width - start)
                slot = self.unsigned(self.atom(cut((piece,), start, taken)))
                found.append((slot, low + start, taken))
            low += width
        return found


# At run time. Times and cells are indices into what a run strings together: for a register
# the value before the first cycle, then those of all cycles; for a memory its cells, then
# the data of all cycles, then an undefined word.


def last_taken(load: NDArray[np.int64] | int, count: int) -> Cycles:
    """Return for each cycle, and the one after all, the index of what was taken last."""
    taken = np.zeros(count + 1, np.int64)
    taken[1:] = np.arange(1, count + 1) * (np.asarray(load) != 0)
    return np.maximum.accumulate(taken)


class Writes:
    """The writes to a memory during some cycles."""

    def __init__(self, address: NDArray[np.int64] | int, gate: object, depth: int, count: int):
        addresses = np.broadcast_to(address, count)
        cycles = np.flatnonzero(np.broadcast_to(np.asarray(gate) != 0, count) & (addresses < depth))
        cells = addresses[cycles]
        self.depth = depth
        self.count = count
        self.keys = np.sort(cells * (count + 1) + cycles)
        self.final = np.arange(depth)
        """Where the word of each cell is after the last cycle."""
        self.final[cells] = depth + cycles

    def find(self, address: NDArray[np.int64] | int, gate: object, rule: str | None) -> Cycles:
        """Return where the word is that is read in each cycle.

        ``rule`` says what a read sees of a write in the same cycle; None: it comes too early.
        """
        span, now = self.count + 1, np.arange(self.count)
        cells = np.broadcast_to(address, self.count)
        seen = now + 1 if rule in ("new", "undefined") else now
        place = np.searchsorted(self.keys, cells * span + seen) - 1
        if len(self.keys):
            key = self.keys[place]
            hit = (place >= 0) & (key // span == cells)
            found = np.where(hit, self.depth + key % span, cells)
        else:
            found = cells.copy()
        nothing = self.depth + self.count
        if rule == "undefined":
            found[found == self.depth + now] = nothing
        found[(cells >= self.depth) | ~np.broadcast_to(np.asarray(gate) != 0, self.count)] = nothing
        return found
