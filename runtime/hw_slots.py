"""Integers along time that carry bits: slots, the atoms they hold, and pieces of atoms.

Every value is a list of pieces of *atoms*, so that concatenation, extraction, replication
and sign extension cost nothing and a bus of thousands of bits is never one number. An atom
is a slot: an integer congruent to its bits, within a known interval; it is brought into
range only where an operation looks at more than the low bits.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

from fastml.runtime.bits import NARROW
from fastml.runtime.hw_netlist import Memory
from fastml.runtime.hw_ops import ELEMENTARY, INT64

NEVER = 1 << 60
"""Cycles until a value in feedback stops depending on the undefined first state."""


class Component:
    """Nodes in feedback: executed for one clock after the other."""

    def __init__(self) -> None:
        self.code: list[Instruction] = []
        self.states: list[State] = []
        self.memories: list[MemoryState] = []
        self.sources: list[SourceState] = []
        self.beats: list[Beat] = []
        """What the component itself reads from the beats of sources."""
        self.exports: dict[int, Slot] = {}


class Slot:
    """One integer a cycle."""

    __slots__ = ("const", "hi", "index", "lo", "owner", "settle", "wide")

    def __init__(self, index: int, lo: int, hi: int):
        self.index = index
        self.lo = lo
        self.hi = hi
        self.wide = lo < INT64[0] or hi > INT64[1]
        """Whether it takes Python integers."""
        self.const: int | None = None
        self.settle = 0
        """Cycles after which it no longer depends on the undefined first state."""
        self.owner: Component | None = None


class Atom:
    """Bits held by a slot, which is congruent to them modulo two to the width."""

    __slots__ = ("signed", "slot", "unsigned", "width")

    def __init__(self, slot: Slot, width: int):
        self.slot = slot
        self.width = width
        self.unsigned: Slot | None = None
        self.signed: Slot | None = None


Piece: TypeAlias = tuple[Atom, int, int, int]
"""Atom, lowest bit, width, and how many copies of the top bit follow above."""
Value: TypeAlias = tuple[Piece, ...]
"""Pieces from the low end."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """Name (of :data:`ELEMENTARY`, or special), result, operands, parameter."""

    name: str
    result: Slot
    operands: tuple[Slot, ...]
    param: object = None


@dataclass(eq=False)
class State:
    """A register in feedback."""

    current: Slot
    width: int
    following: Slot | None = None


@dataclass(eq=False)
class MemoryState:
    """A memory in feedback, its ports resolved to slots."""

    memory: Memory
    fill: Slot
    writes: list[tuple[Slot, Slot, Slot | None]] = field(
        default_factory=list["tuple[Slot, Slot, Slot | None]"]
    )
    reads: list[tuple[State, Slot, Slot | None]] = field(
        default_factory=list["tuple[State, Slot, Slot | None]"]
    )
    """Ports that answer one cycle later: register, address, enable."""


@dataclass(eq=False)
class SourceState:
    """A source of beats, which answers to the design's ready."""

    port: str
    index: Slot
    """The beat that is next."""
    due: Slot
    """The cycle from which it is presented."""
    present: Slot
    ready: Slot | None = None


@dataclass(frozen=True)
class Recall:
    """Some bits of the words of a memory outside feedback."""

    memory: Memory
    fill: Slot
    low: int
    """Lowest of them."""


@dataclass(frozen=True)
class Beat:
    """Some bits of a port's beats, to be looked up."""

    port: str
    low: int
    width: int


@dataclass(frozen=True)
class Fields:
    """Where the slots of a port or a watched wire lie in its bit vector."""

    width: int
    slots: tuple[tuple[Slot, int, int], ...]
    """Slot, lowest bit, width."""


@dataclass(eq=False)
class Program:
    """What the simulator executes."""

    slots: list[Slot]
    code: list[Instruction]
    inputs: dict[str, Fields]
    watched: dict[str, Fields]
    fills: list[tuple[Slot, int]]
    """Slots with an arbitrary value, constant in time, and their widths."""
    settle: int
    """Cycles after which no watched value depends on an undefined state."""


def slice_piece(piece: Piece, start: int, stop: int) -> Piece:
    """Take bits ``start`` to ``stop`` of a piece, copies of its top bit included."""
    atom, low, width = piece[:3]
    if stop <= width:
        return atom, low + start, stop - start, 0
    if start < width:
        return atom, low + start, width - start, stop - width
    return atom, low + width - 1, 1, stop - start - 1


def join_pieces(pieces: Iterable[Piece]) -> Value:
    """Concatenate from the low end, merging what is adjacent in one atom."""
    joined: list[Piece] = []
    for piece in pieces:
        merged = _merge(joined[-1], piece) if joined else None
        if merged is None:
            joined.append(piece)
        else:
            joined[-1] = merged
    return tuple(joined)


def _merge(below: Piece, above: Piece) -> Piece | None:
    """Make one piece of two that continue each other, or repeat the top bit."""
    atom, low, width, copies = below
    other, other_low, other_width, more = above
    if atom is not other:
        return None
    if other_width == 1 and other_low == low + width - 1:
        return atom, low, width, copies + 1 + more
    if not copies and other_low == low + width:
        return atom, low, width + other_width, more
    return None


def offsets_of(value: Value) -> list[int]:
    """Lowest bit of each piece, and the width at the end."""
    return list(accumulate((w + copies for _, _, w, copies in value), initial=0))


def cut(value: Value, low: int, width: int, offsets: list[int] | None = None) -> Value:
    """Take ``width`` bits from ``low``."""
    offsets = offsets or offsets_of(value)
    first = bisect_right(offsets, low) - 1
    pieces: list[Piece] = []
    while width:
        start, stop = low - offsets[first], offsets[first + 1] - offsets[first]
        taken = min(width, stop - start)
        pieces.append(slice_piece(value[first], start, start + taken))
        low, width, first = low + taken, width - taken, first + 1
    return join_pieces(pieces)


class Builder:
    """Emits elementary operations, each where it belongs: along time, or in feedback."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.code: list[Instruction] = []
        self.fills: list[tuple[Slot, int]] = []
        self.component: Component | None = None
        self.constants: dict[int, Slot] = {}
        self.parts: dict[tuple[Atom, int, int], Atom] = {}
        self.joins: dict[Value, Slot] = {}

    def slot(self, lo: int, hi: int, settle: int = 0) -> Slot:
        """Make a slot for integers in an interval."""
        slot = Slot(len(self.slots), lo, hi)
        slot.settle = settle
        self.slots.append(slot)
        return slot

    def constant(self, value: int) -> Slot:
        """Return the slot of a constant."""
        if (slot := self.constants.get(value)) is None:
            slot = self.constants[value] = self.slot(value, value)
            slot.const = value
        return slot

    def fill(self, width: int) -> Slot:
        """Return an arbitrary value that is not defined by the design."""
        slot = self.slot(0, (1 << width) - 1, NEVER)
        self.fills.append((slot, width))
        return slot

    def append(
        self, name: str, result: Slot, operands: Sequence[Slot], param: object = None
    ) -> None:
        """Put an instruction into the feedback it belongs to, or along time."""
        component = self.component
        inside = component is not None and (
            name == "read" or any(s.owner is component for s in operands)
        )
        target = component if inside else None
        for operand in operands:
            if operand.owner is not None and operand.owner is not target:
                operand.owner.exports[operand.index] = operand
        result.owner = target
        result.settle = max((s.settle for s in operands), default=0)
        code = self.code if target is None else target.code
        code.append(Instruction(name, result, tuple(operands), param))

    def emit(self, name: str, *operands: Slot, width: int = 0) -> Slot:
        """Compute; up to ``NARROW`` bits the result may be taken modulo the width."""
        op = ELEMENTARY[name]
        values = [s.const for s in operands if s.const is not None]
        if len(values) == len(operands):
            return self.constant(op.scalar(*values))
        if name == "mux" and (select := operands[0].const) is not None:
            return operands[1] if select else operands[2]
        lo, hi = op.interval(*[(s.lo, s.hi) for s in operands])
        fits = INT64[0] <= lo and hi <= INT64[1]
        if not any(s.wide for s in operands):
            if fits:
                result = self.slot(lo, hi)
                self.append(name, result, operands)
                return result
            if 0 < width <= NARROW:  # exact modulo 2**64, hence modulo the width
                wrapped = self.slot(*INT64)
                self.append(name, wrapped, operands)
                return self.emit("and", wrapped, self.constant((1 << width) - 1))
        result = self.slot(*((0, 1) if op.boolean else (lo, hi)))
        if fits and not op.boolean:
            exact = self.slot(lo, hi)
            exact.wide = True
            self.append(name, exact, [self.widen(s) for s in operands])
            self.append("narrow", result, [exact])
        else:
            self.append(name, result, [self.widen(s) for s in operands])
        return result

    def widen(self, slot: Slot) -> Slot:
        """Hold the same integer as a Python integer."""
        if slot.wide or slot.const is not None:
            return slot
        wide = self.slot(slot.lo, slot.hi)
        wide.wide = True
        self.append("widen", wide, [slot])
        return wide

    # Views of atoms and values

    def unsigned(self, atom: Atom) -> Slot:
        """Hold the bits as an unsigned number."""
        if atom.unsigned is None:
            slot, mask = atom.slot, (1 << atom.width) - 1
            if slot.lo < 0 or slot.hi > mask:
                slot = self.emit("and", slot, self.constant(mask))
            atom.unsigned = slot
        return atom.unsigned

    def signed(self, atom: Atom) -> Slot:
        """Hold the bits as a two's complement number."""
        if atom.signed is None:
            slot, sign = atom.slot, 1 << (atom.width - 1)
            if slot.lo < -sign or slot.hi >= sign:
                flipped = self.emit("xor", self.unsigned(atom), self.constant(sign))
                slot = self.emit("sub", flipped, self.constant(sign))
            atom.signed = slot
        return atom.signed

    def part(self, atom: Atom, low: int, width: int) -> Atom:
        """Return some bits of an atom as an atom."""
        if low == 0 and width == atom.width:
            return atom
        key = (atom, low, width)
        if (part := self.parts.get(key)) is None:
            slot = atom.slot
            if low:
                right = low if slot.wide else min(low, NARROW)
                slot = self.emit("shr", slot, self.constant(right))
            part = self.parts[key] = Atom(slot, width)
        return part

    def congruent(self, value: Value) -> Slot:
        """Hold a value modulo two to its width."""
        if len(value) == 1:
            return self._piece(value[0])
        if (slot := self.joins.get(value)) is None:
            slot = self.joins[value] = self._join(value)
        return slot

    def _piece(self, piece: Piece) -> Slot:
        atom, low, width, copies = piece
        part = self.part(atom, low, width)
        return self.signed(part) if copies else part.slot

    def _join(self, value: Value) -> Slot:
        *offsets, total = offsets_of(value)
        result: Slot | None = None
        for piece, offset in zip(reversed(value), reversed(offsets), strict=True):
            if result is None:  # the top piece: what lies above the width is free
                slot = self._piece(piece)
            else:
                slot = self.unsigned(self.atom((piece,)))
            if slot.const == 0:
                slot = self.constant(0)
            elif offset:
                slot = self.emit("shl", slot, self.constant(offset), width=total)
            if result is None or result.const == 0:
                result = slot
            elif slot.const != 0:
                result = self.emit("add", result, slot, width=total)
        assert result is not None
        return result

    def atom(self, value: Value) -> Atom:
        """Return a value as one atom."""
        if len(value) == 1:
            atom, low, width, copies = value[0]
            if not copies:
                return self.part(atom, low, width)
        return Atom(self.congruent(value), offsets_of(value)[-1])
