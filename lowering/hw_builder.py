"""Build combinational and clocked logic with sharing and folding at construction.

A value is a :class:`Wire`: a vector of bits without a sign, possibly of width 0. Asking a
:class:`Netlist` for the same operation on the same wires twice returns the same wire;
constants fold; extension, truncation and constant shifts are nothing but wiring
(``concat``/``extract``), which folds through itself. Nothing becomes an IR operation before
:mod:`fastml.lowering.hw_materialise` prints what the outputs need, so that what is asked
for in vain costs next to nothing.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from xdsl.dialects.builtin import LocationAttr, UnknownLoc


class Kind(Enum):
    """What drives a wire."""

    INPUT = auto()
    CONSTANT = auto()
    ELEMENT = auto()  # bits of a packed beat: kept whole, as the element they are
    EXTRACT = auto()
    CONCAT = auto()
    REPLICATE = auto()
    ADD = auto()
    SUB = auto()
    MUL = auto()
    AND = auto()
    OR = auto()
    XOR = auto()
    SHL = auto()
    SHRU = auto()
    SHRS = auto()
    ICMP = auto()
    MUX = auto()
    REGISTER = auto()
    STATE = auto()  # a register whose next value is connected later: feedback
    LOOKUP = auto()  # word of a constant array
    SELECT = auto()  # one of several wires
    MEMORY = auto()
    READ = auto()  # word of a memory
    INSTANCE = auto()
    RESULT = auto()
    FORWARD = auto()  # input of an instance, or address of a read, whose driver comes later
    NAMED = auto()


@dataclass(eq=False, slots=True)
class Wire:
    """A vector of bits and what drives it."""

    kind: Kind
    width: int
    operands: tuple["Wire", ...]
    payload: Hashable
    order: int
    location: LocationAttr
    value: int | None = None
    """The unsigned value of a constant."""

    @property
    def low(self) -> int:
        """Lowest bit that an extraction takes."""
        assert isinstance(self.payload, int)
        return self.payload


@dataclass(frozen=True)
class Instance:
    """A module placed in another one: its names, its ports."""

    name: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class StateInit:
    """Value that a state register takes at reset (``None``: not reset), and its name."""

    reset: int | None
    name: str | None
    serial: int


@dataclass(frozen=True)
class Ram:
    """A memory: its words, their width, and its name.

    What a clocked one is asked for comes a cycle later. If it was being written then, it is
    undefined, unless ``old`` says that it is what was there before.
    """

    depth: int
    width: int
    clocked: bool
    name: str
    serial: int
    old: bool = False


@dataclass(frozen=True)
class Write:
    """A write port of a memory, in use where ``enable`` holds."""

    address: "Wire"
    data: "Wire"
    enable: "Wire"


@dataclass(frozen=True)
class Table:
    """The words of a constant array, as unsigned numbers."""

    words: tuple[int, ...]


_SWAPPED = {
    "eq": "eq",
    "ne": "ne",
    "slt": "sgt",
    "sle": "sge",
    "sgt": "slt",
    "sge": "sle",
    "ult": "ugt",
    "ule": "uge",
    "ugt": "ult",
    "uge": "ule",
}

_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def signed(value: int, width: int) -> int:
    """Read ``width`` bits as two's complement."""
    half = (1 << width) >> 1
    return (value ^ half) - half


def index_width(count: int) -> int:
    """Bits of the index of an array of ``count`` words, as CIRCT counts them."""
    return (count - 1).bit_length()


class Netlist:
    """Logic of one module, built operation by operation."""

    def __init__(self) -> None:
        self.location: LocationAttr = UnknownLoc()
        self._shared: dict[Hashable, Wire] = {}
        self._count = 0
        self.next_of: dict[Wire, Wire] = {}
        """Next value of each state register, driver of each forward wire."""
        self.writes_of: dict[Wire, list[Write]] = {}
        """Write ports of each memory."""
        self.hints: dict[Wire, str] = {}
        """What wires may be called; see :mod:`fastml.lowering.hw_hints`."""

    def _new(
        self, kind: Kind, width: int, operands: tuple[Wire, ...], payload: Hashable = None
    ) -> Wire:
        key = (kind, width, operands, payload)
        wire = self._shared.get(key)
        if wire is None:
            wire = Wire(kind, width, operands, payload, self._count, self.location)
            self._count += 1
            self._shared[key] = wire
        return wire

    # Sources

    def input(self, name: str, width: int) -> Wire:
        """Return the input port ``name``."""
        return self._new(Kind.INPUT, width, (), name)

    def constant(self, value: int, width: int) -> Wire:
        """Return the low ``width`` bits of ``value``."""
        word = value & ((1 << width) - 1)
        wire = self._new(Kind.CONSTANT, width, (), word)
        wire.value = word
        return wire

    def named(self, wire: Wire, name: str) -> Wire:
        """Give ``wire`` a name of its own, under which it can be watched."""
        return self._new(Kind.NAMED, wire.width, (wire,), name)

    def hint(self, wire: Wire, name: str) -> Wire:
        """Suggest a name for ``wire``, unless it has one; return it."""
        self.hints.setdefault(wire, name)
        return wire

    def instance(self, instance: Instance, inputs: Sequence[Wire]) -> list[Wire]:
        """Place a module; return its outputs."""
        place = self._new(Kind.INSTANCE, 0, tuple(inputs), instance)
        return [
            self._new(Kind.RESULT, width, (place,), index)
            for index, (_, width) in enumerate(instance.outputs)
        ]

    def forward(self, width: int) -> Wire:
        """Return an input of an instance or a memory, that :meth:`drive` will drive."""
        return self._new(Kind.FORWARD, width, (), self._count)

    def drive(self, forward: Wire, wire: Wire) -> None:
        """Connect a wire that was asked for before there was a driver."""
        assert forward.kind is Kind.FORWARD
        assert forward not in self.next_of
        assert forward.width == wire.width
        self.next_of[forward] = wire

    # Wiring

    def element(self, beat: Wire, low: int, width: int) -> Wire:
        """Take an element of a packed beat; it stays one wire of its own."""
        if width in (0, beat.width) or beat.kind in (Kind.CONSTANT, Kind.CONCAT):
            return self.extract(beat, low, width)
        return self._new(Kind.ELEMENT, width, (beat,), low)

    def extract(self, wire: Wire, low: int, width: int) -> Wire:
        """Take ``width`` bits from bit ``low`` on."""
        assert 0 <= low <= low + width <= wire.width
        if width == wire.width:
            return wire
        if width == 0:
            return self.constant(0, 0)
        match wire.kind:
            case Kind.CONSTANT:
                return self.constant((wire.value or 0) >> low, width)
            case Kind.EXTRACT:
                return self.extract(wire.operands[0], low + wire.low, width)
            case Kind.REPLICATE:
                return self.replicate(wire.operands[0], width)
            case Kind.CONCAT:
                parts, high = list[Wire](), low + width
                offset = wire.width
                for part in wire.operands:
                    offset -= part.width
                    start = max(low, offset)
                    stop = min(high, offset + part.width)
                    if start < stop:
                        parts.append(self.extract(part, start - offset, stop - start))
                return self.concat(parts)
            case _:
                return self._new(Kind.EXTRACT, width, (wire,), low)

    def replicate(self, bit: Wire, count: int) -> Wire:
        """Repeat one bit ``count`` times."""
        assert bit.width == 1
        if count == 0:
            return self.constant(0, 0)
        if bit.value is not None:
            return self.constant(-bit.value, count)
        return bit if count == 1 else self._new(Kind.REPLICATE, count, (bit,))

    def concat(self, parts: Sequence[Wire]) -> Wire:
        """Join wires, the most significant first."""
        merged = list[Wire]()
        for part in _flat(parts):
            joined = self._join(merged[-1], part) if merged else None
            if joined is None:
                merged.append(part)
            else:
                merged[-1] = joined
        if not merged:
            return self.constant(0, 0)
        if len(merged) == 1:
            return merged[0]
        width = sum(part.width for part in merged)
        return self._new(Kind.CONCAT, width, tuple(merged))

    def _join(self, high: Wire, low: Wire) -> Wire | None:
        """Return one wire for two adjacent ones, where there is one."""
        if high.value is not None and low.value is not None:
            joined = high.value << low.width | low.value
            return self.constant(joined, high.width + low.width)
        slices = (Kind.EXTRACT, Kind.ELEMENT)
        if high.kind in slices and low.kind in slices:
            (source,) = low.operands
            if high.operands[0] is source and high.low == low.low + low.width:
                return self.extract(source, low.low, low.width + high.width)
        bit = high.operands[0] if high.kind is Kind.REPLICATE else high
        other = low.operands[0] if low.kind is Kind.REPLICATE else low
        if bit is other and bit.width == 1:
            return self.replicate(bit, high.width + low.width)
        return None

    def sign_bit(self, wire: Wire) -> Wire:
        """Return the most significant bit."""
        return self.extract(wire, wire.width - 1, 1)

    def extend(self, wire: Wire, width: int, *, sign: bool) -> Wire:
        """Widen by the sign bit or by zeros; width 0 is the number 0."""
        extra = width - wire.width
        assert extra >= 0
        if extra == 0:
            return wire
        if wire.width == 0 or not sign:
            return self.concat([self.constant(0, extra), wire])
        return self.concat([self.replicate(self.sign_bit(wire), extra), wire])

    def fit(self, wire: Wire, width: int, *, sign: bool) -> Wire:
        """Extend or truncate to ``width``."""
        if width <= wire.width:
            return self.extract(wire, 0, width)
        return self.extend(wire, width, sign=sign)

    # Arithmetic: operands and result have one width

    def add(self, a: Wire, b: Wire) -> Wire:
        """Return ``a + b``, wrapped."""
        a, b = _ordered(a, b)
        if b.value is not None:
            if a.value is not None:
                return self.constant(a.value + b.value, a.width)
            if b.value == 0:
                return a
        return self._new(Kind.ADD, a.width, (a, b))

    def sub(self, a: Wire, b: Wire) -> Wire:
        """Return ``a - b``, wrapped."""
        assert a.width == b.width
        if a is b:
            return self.constant(0, a.width)
        if b.value is not None:
            if a.value is not None:
                return self.constant(a.value - b.value, a.width)
            if b.value == 0:
                return a
        return self._new(Kind.SUB, a.width, (a, b))

    def mul(self, a: Wire, b: Wire) -> Wire:
        """Return ``a * b``, wrapped."""
        a, b = _ordered(a, b)
        if b.value is not None:
            if a.value is not None:
                return self.constant(a.value * b.value, a.width)
            if b.value & (b.value - 1) == 0:
                return self.shift_left(a, b.value.bit_length() - 1) if b.value else b
            if b.value == (1 << b.width) - 1:
                return self.sub(self.constant(0, a.width), a)
        return self._new(Kind.MUL, a.width, (a, b))

    def shift_left(self, wire: Wire, amount: int) -> Wire:
        """Shift left by a constant: wiring; all out gives zero."""
        amount = min(amount, wire.width)
        kept = self.extract(wire, 0, wire.width - amount)
        return self.concat([kept, self.constant(0, amount)])

    def shift_right(self, wire: Wire, amount: int, *, sign: bool) -> Wire:
        """Shift right by a constant: wiring; all out gives zero or the sign."""
        amount = min(amount, wire.width - 1 if sign else wire.width)
        kept = self.extract(wire, amount, wire.width - amount)
        return self.extend(kept, wire.width, sign=sign)

    def shift(self, kind: Kind, a: Wire, b: Wire) -> Wire:
        """Shift ``a`` by ``b``; ``kind`` is ``SHL``, ``SHRU`` or ``SHRS``."""
        if b.value is None:
            return self._new(kind, a.width, (a, b))
        if kind is Kind.SHL:
            return self.shift_left(a, b.value)
        return self.shift_right(a, b.value, sign=kind is Kind.SHRS)

    def and_(self, a: Wire, b: Wire) -> Wire:
        """Return the bitwise and."""
        a, b = _ordered(a, b)
        ones = (1 << a.width) - 1
        if b.value is not None:
            if a.value is not None:
                return self.constant(a.value & b.value, a.width)
            if b.value in (0, ones):
                return a if b.value else b
        return a if a is b else self._new(Kind.AND, a.width, (a, b))

    def or_(self, a: Wire, b: Wire) -> Wire:
        """Return the bitwise or."""
        a, b = _ordered(a, b)
        ones = (1 << a.width) - 1
        if b.value is not None:
            if a.value is not None:
                return self.constant(a.value | b.value, a.width)
            if b.value in (0, ones):
                return b if b.value else a
        return a if a is b else self._new(Kind.OR, a.width, (a, b))

    def xor(self, a: Wire, b: Wire) -> Wire:
        """Return the bitwise exclusive or."""
        a, b = _ordered(a, b)
        if a is b:
            return self.constant(0, a.width)
        if b.value is not None:
            if a.value is not None:
                return self.constant(a.value ^ b.value, a.width)
            if b.value == 0:
                return a
            if a.kind is Kind.XOR and a.operands[1].value is not None:
                mask = self.constant(b.value ^ a.operands[1].value, a.width)
                return self.xor(a.operands[0], mask)
        return self._new(Kind.XOR, a.width, (a, b))

    def not_(self, wire: Wire) -> Wire:
        """Return the bitwise complement."""
        return self.xor(wire, self.constant(-1, wire.width))

    def icmp(self, predicate: str, a: Wire, b: Wire) -> Wire:
        """Compare; ``predicate`` is a mnemonic of ``comb.icmp``."""
        assert a.width == b.width
        if a.value is not None and b.value is None:
            return self.icmp(_SWAPPED[predicate], b, a)
        if a is b:
            return self.constant(predicate in ("eq", "sle", "sge", "ule", "uge"), 1)
        if b.value is not None:
            folded = self._compare_constant(predicate, a, b.value)
            if folded is not None:
                return folded
        return self._new(Kind.ICMP, 1, (a, b), predicate)

    def _compare_constant(self, predicate: str, a: Wire, b: int) -> Wire | None:
        """Fold a comparison with a constant where it is constant or a bit of ``a``."""
        if a.value is not None:
            left, right = a.value, b
            if predicate[0] == "s":
                left, right = signed(left, a.width), signed(right, a.width)
            holds = _COMPARE[predicate[-2:]](left, right)
            return self.constant(holds, 1)
        ones = (1 << a.width) - 1
        match predicate, b:
            case ("slt", 0):
                return self.sign_bit(a)
            case ("sge", 0):
                return self.not_(self.sign_bit(a))
            case ("sgt", _) if b == ones:
                return self.not_(self.sign_bit(a))
            case ("sle", _) if b == ones:
                return self.sign_bit(a)
            case ("ult", 0):
                return self.constant(0, 1)
            case ("uge", 0):
                return self.constant(1, 1)
            case ("eq" | "ne", _) if a.width == 1:
                return a if b == (predicate == "eq") else self.not_(a)
            case _:
                return None

    def mux(self, condition: Wire, a: Wire, b: Wire) -> Wire:
        """Return ``a`` where the condition holds, else ``b``."""
        assert condition.width == 1
        assert a.width == b.width
        if condition.value is not None:
            return a if condition.value else b
        if a is b:
            return a
        if condition.kind is Kind.XOR and condition.operands[1].value == 1:
            return self.mux(condition.operands[0], b, a)
        if a.width == 1:
            if a.value is not None:
                return self.or_(condition, b) if a.value else self.and_(self.not_(condition), b)
            if b.value is not None:
                return self.or_(self.not_(condition), a) if b.value else self.and_(condition, a)
        return self._new(Kind.MUX, a.width, (condition, a, b))

    # Arrays

    def lookup(self, words: Sequence[int], index: Wire, width: int) -> Wire:
        """Return the word of a constant array at ``index``."""
        mask = (1 << width) - 1
        table = tuple(word & mask for word in words)
        if width == 0 or all(word == table[0] for word in table):
            return self.constant(table[0], width)
        index = self.fit(index, index_width(len(table)), sign=False)
        if index.value is not None:
            return self.constant(table[index.value], width)
        return self._new(Kind.LOOKUP, width, (index,), Table(table))

    def select(self, wires: Sequence[Wire], index: Wire) -> Wire:
        """Return one of several wires of one width."""
        index = self.fit(index, index_width(len(wires)), sign=False)
        if index.value is not None:
            return wires[index.value]
        if all(wire is wires[0] for wire in wires):
            return wires[0]
        return self._new(Kind.SELECT, wires[0].width, (index, *wires))

    def memory(
        self, depth: int, width: int, name: str, *, clocked: bool, old: bool = False
    ) -> Wire:
        """Return a memory, to be read and written by :meth:`read` and :meth:`write`."""
        assert depth > 1
        assert width
        wire = self._new(Kind.MEMORY, 0, (), Ram(depth, width, clocked, name, self._count, old))
        self.writes_of[wire] = []
        return wire

    def read(self, memory: Wire, address: Wire) -> Wire:
        """Return the word of a memory at ``address``; a cycle later if it is clocked."""
        ram = memory.payload
        assert isinstance(ram, Ram)
        assert address.width == index_width(ram.depth)
        return self._new(Kind.READ, ram.width, (memory, address))

    def write(self, memory: Wire, address: Wire, data: Wire, enable: Wire) -> None:
        """Let a memory take ``data`` at the end of the cycles in which ``enable`` holds."""
        ram = memory.payload
        assert isinstance(ram, Ram)
        assert (address.width, data.width) == (index_width(ram.depth), ram.width)
        self.writes_of[memory].append(Write(address, data, enable))

    # Registers

    def delay(self, wire: Wire, cycles: int, *, reset: bool = False) -> Wire:
        """Return ``wire`` as it was ``cycles`` cycles ago; one chain is shared by all.

        Data need no reset; with ``reset`` the registers are cleared by it.
        """
        for _ in range(cycles):
            wire = self._register(wire, reset)
        return wire

    def _register(self, wire: Wire, reset: bool) -> Wire:
        if wire.width == 0 or (wire.value is not None and not (reset and wire.value)):
            return wire
        if not reset:
            match wire.kind:
                case Kind.REPLICATE:
                    bit = self._register(wire.operands[0], reset)
                    return self.replicate(bit, wire.width)
                case Kind.CONCAT:
                    return self._register_parts(wire)
                case Kind.EXTRACT:
                    source = self._registered(wire.operands[0])
                    if source is not None:
                        return self.extract(source, wire.low, wire.width)
                case _:
                    pass
        return self._new(Kind.REGISTER, wire.width, (wire,), reset)

    def _registered(self, wire: Wire) -> Wire | None:
        """Return the register behind ``wire`` if there is one already."""
        return self._shared.get((Kind.REGISTER, wire.width, (wire,), False))

    def _register_parts(self, wire: Wire) -> Wire:
        """Delay what is joined: first the whole values, then the bits taken from them."""
        bits = (Kind.REPLICATE, Kind.EXTRACT)
        later = {
            part: self._register(part, False)
            for part in sorted(wire.operands, key=lambda part: part.kind in bits)
        }
        return self.concat([later[part] for part in wire.operands])

    def state(self, width: int, reset: int | None, name: str | None = None) -> Wire:
        """Return a register whose next value :meth:`connect` gives."""
        init = StateInit(reset, name, self._count)
        return self._new(Kind.STATE, width, (), init)

    def connect(self, state: Wire, value: Wire, enable: Wire | None = None) -> None:
        """Let ``state`` take ``value`` in every cycle, or only where ``enable`` holds."""
        assert state.kind is Kind.STATE
        assert state not in self.next_of
        assert state.width == value.width
        held = value if enable is None else self.mux(enable, value, state)
        self.next_of[state] = held


def _ordered(a: Wire, b: Wire) -> tuple[Wire, Wire]:
    """Order the operands of a commutative operation: a constant last."""
    assert a.width == b.width
    if a.value is not None:
        return (a, b) if b.value is not None else (b, a)
    return (a, b) if b.value is not None or a.order <= b.order else (b, a)


def _flat(parts: Sequence[Wire]) -> Iterator[Wire]:
    for part in parts:
        if part.kind is Kind.CONCAT:
            yield from part.operands
        elif part.width:
            yield part
