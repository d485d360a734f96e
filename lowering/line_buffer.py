"""Build processes that read tokens of a frame at random, together with their line buffer.

The line buffer takes the place of the FIFO in front of the process. Its write side is that of
any FIFO (:mod:`fastml.lowering.fifo`): ``reserve`` takes a slot, ``push`` brings the token,
``ready`` says that a slot is free. Its read side is a counter of steps: a step fires when all
tokens that it looks at have come, and, where it gives a token, every ``room`` is there. What
it looks at is read in the next cycle, in which ``send`` goes with ``data``; ``claim`` takes the
slots for them when it fires.

A window that is several rows high has a memory for each of so many rows as there are slots
for, and reads the same column of all of them; rows go round. Everything else has one memory
of as many words as slots, which goes round as a whole. What is read enters a shift register
of columns, so that each token is read once for all windows of a row.

Two registers say whether a step may fire, and a slot is free: how many tokens there are more
than the next step looks for, and how many slots are in use. Steps change both by numbers that
:class:`~fastml.lowering.step_counter.StepCounter` gives. Reset clears counters, not data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects import hw
from xdsl.dialects.builtin import LocationAttr

from fastml.dialects.elements import Elements, range_of, width_of
from fastml.dialects.line_access import LineAccess
from fastml.lowering.fifo import Fifo, Storage
from fastml.lowering.hw_builder import Netlist, Wire, index_width
from fastml.lowering.hw_materialise import Output, materialise
from fastml.lowering.step_counter import Numbers, StepCounter, columns_of

FIRE = "fire"
"""The wire that says that a token is on its way."""
TOKEN = "token"
"""The wire that it is on."""


@dataclass(frozen=True)
class LineBuffer:
    """A process with random access, and the memory that it reads."""

    access: LineAccess
    tokens: Elements
    """What is read."""
    result: Elements
    """What is given."""
    depth: int
    """Slots for tokens."""
    reserved: bool
    """Slots are taken before their tokens come."""
    readers: int
    """Into how many FIFOs a token goes."""

    @property
    def stem(self) -> str:
        """Name of the module."""
        access = self.access
        if access.shape is None:
            return f"reorder_{access.beats}x{self.tokens.total_width}"
        kernel = "x".join(map(str, access.kernel))
        return f"window_{kernel}_of_{access.height}x{access.width}x{self.tokens.total_width}"


def build_line_buffer(buffer: LineBuffer, name: str, location: LocationAttr) -> hw.HWModuleOp:
    """Return the module of ``buffer``, called ``name``."""
    return LineBufferBuilder(buffer, location).build(name)


class LineBufferBuilder:
    """Builds the module of one line buffer and the process that reads it."""

    def __init__(self, buffer: LineBuffer, location: LocationAttr):
        self.buffer, self.access = buffer, buffer.access
        self.netlist = Netlist()
        self.netlist.location = location
        self.location = location
        steps = self.access.steps
        self.reads = _Reads.of(self.access, buffer.depth)
        self.needed = needed_tokens(steps.needs, steps.consumes)
        if self.access.shape is None:
            tables = [steps.consumes, self.advance, self.reads.moves, self.reads.looks]
            columns = columns_of(tables)
        else:
            columns = self.access.shape.row_steps
        self.counter = StepCounter(self.netlist, len(steps), columns)

    @property
    def advance(self) -> Numbers:
        """How many more tokens the step after each looks for."""
        following = np.append(self.needed[1:], self.needed[0] + self.access.beats)
        return following - self.needed

    def build(self, name: str) -> hw.HWModuleOp:
        """Build ports, counters, memory and window."""
        netlist, buffer = self.netlist, self.buffer
        reserve = netlist.input("reserve", 1)
        push = netlist.input("push", 1)
        token = netlist.input("push_data", buffer.tokens.total_width)
        rooms = [netlist.input(f"room_{n}", 1) for n in range(buffer.readers)]
        produces = self.counter.table(self.access.steps.produces.astype(np.int64), 1)
        self.fire, ready = self.credits(push, reserve if buffer.reserved else push, rooms, produces)
        self.finished = self.counter.count(self.fire)
        claim = netlist.and_(self.fire, produces)
        found = self.window(self.read(push, token))
        fired = netlist.named(claim, FIRE)
        if found.width:
            found = netlist.named(found, TOKEN)
        outputs = [
            Output("ready", ready),
            Output("claim", fired),
            Output("send", netlist.delay(claim, 1, reset=True)),
            Output("data", found),
        ]
        inputs = [push, token, *rooms]
        return materialise(
            netlist,
            name,
            [reserve, *inputs] if buffer.reserved else inputs,
            outputs,
            clocked=True,
            keep=[fired, *([found] if found.width else [])],
            location=self.location,
        )

    def credits(
        self, push: Wire, reserve: Wire, rooms: Sequence[Wire], produces: Wire
    ) -> tuple[Wire, Wire]:
        """Return whether the next step fires, and whether a slot is free."""
        netlist, depth = self.netlist, self.buffer.depth
        advance, first = self.advance, int(self.needed[0])
        most = max(depth, first, int(advance.max()))
        width = most.bit_length() + 1
        spare = netlist.state(width, -first & ((1 << width) - 1), "spare")
        fire = netlist.not_(netlist.sign_bit(spare))
        for room in rooms:
            fire = netlist.and_(fire, netlist.or_(room, netlist.not_(produces)))
        zero = netlist.constant(0, width)
        more = netlist.extend(push, width, sign=False)
        less = netlist.mux(fire, self.counter.table(advance, width), zero)
        netlist.connect(spare, netlist.sub(netlist.add(spare, more), less))
        width = depth.bit_length()
        used = netlist.state(width, 0, "used")
        taken = netlist.add(used, netlist.extend(reserve, width, sign=False))
        freed = netlist.mux(fire, self.freed(width), netlist.constant(0, width))
        netlist.connect(used, netlist.sub(taken, freed))
        return fire, netlist.icmp("ne", used, netlist.constant(depth, width))

    def freed(self, width: int) -> Wire:
        """Return how many tokens the next step is the last to look at."""
        return self.counter.table(self.access.steps.consumes, width)

    # What a step looks at, in the cycle after it fired

    def read(self, push: Wire, token: Wire) -> list[Wire]:
        """Return the token of each row of the window."""
        kernel = self.access.kernel[0]
        if not token.width:
            return [token] * kernel
        if self.reads.banks == 1:
            return [self.round(push, token)] * kernel
        return self.banks(push, token)

    def round(self, push: Wire, token: Wire) -> Wire:
        """Read a memory that goes round as a whole."""
        netlist, depth = self.netlist, self.buffer.depth
        tail = self.pointer(depth, push, "tail")
        head = netlist.constant(0, index_width(depth))
        if depth > 1:
            start = int(self.reads.first) % depth
            head = netlist.state(index_width(depth), start, "head")
            moves = self.counter.table(self.reads.moves, head.width)
            netlist.connect(head, self.modulo_sum(head, moves, depth), self.fire)
        return self.memory(depth, "tokens", (push, tail, token), head)

    def banks(self, push: Wire, token: Wire) -> list[Wire]:
        """Read the same column of several rows, each from the memory that it is in."""
        netlist, access, count = self.netlist, self.access, self.reads.banks
        column = self.pointer(access.width, push, "write_column")
        ends = self.at(column, access.width - 1)
        bank = self.pointer(count, netlist.and_(push, ends), "write_row")
        address = self.counter.by_column(self.reads.columns, index_width(access.width))
        words = list[Wire]()
        for number in range(count):
            write = netlist.and_(push, self.at(bank, number)), column, token
            words.append(self.memory(access.width, f"row_{number}", write, address))
        origin = self.first_bank(index_width(count))
        found = list[Wire]()
        for number in range(access.kernel[0]):
            bank = netlist.delay(self.bank(origin, number), 1)
            found.append(netlist.select(words, bank))
        return found

    def first_bank(self, width: int) -> Wire:
        """Return the memory of the window's first row, or of the image's if rows are on no line.

        Rows outside of the image count too: what is read of them is masked.
        """
        netlist, access, count = self.netlist, self.access, self.reads.banks
        line = access.row_line
        start, step, turns = 0, 0, self.counter.rows - 1
        if line is not None:
            start, step = -line.pad % count, line.stride % count
        rest = (access.height - step * turns) % count
        if step == rest == 0:
            return netlist.constant(start, width)
        origin = netlist.state(width, start, "first_row")
        moved = netlist.mux(
            self.finished, netlist.constant(rest, width), netlist.constant(step, width)
        )
        netlist.connect(origin, self.modulo_sum(origin, moved, count), self.counter.turned)
        return origin

    def bank(self, origin: Wire, number: int) -> Wire:
        """Return the memory that a row of the window is in."""
        netlist, access, count = self.netlist, self.access, self.reads.banks
        line = access.row_line
        if line is not None:
            offset = netlist.constant(number * line.dilation % count, origin.width)
            return self.modulo_sum(origin, offset, count)
        rows = np.maximum(access.rows.array[:, number], 0) % count
        return self.modulo_sum(origin, self.counter.by_row(rows.tolist(), origin.width), count)

    def at(self, counter: Wire, number: int) -> Wire:
        """Return whether a pointer is at a number."""
        if counter.width == 0:
            return self.netlist.constant(1, 1)
        return self.netlist.icmp("eq", counter, self.netlist.constant(number, counter.width))

    def pointer(self, count: int, step: Wire, name: str) -> Wire:
        """Return a pointer that goes round."""
        netlist, width = self.netlist, index_width(count)
        if count == 1:
            return netlist.constant(0, 0)
        pointer = netlist.state(width, 0, name)
        netlist.connect(pointer, self.modulo_sum(pointer, netlist.constant(1, width), count), step)
        return pointer

    def modulo_sum(self, a: Wire, b: Wire, modulus: int) -> Wire:
        """Return the sum of two numbers below ``modulus``, below it."""
        netlist, width = self.netlist, a.width
        if a.value == 0 or b.value == 0:
            return b if a.value == 0 else a
        if modulus & (modulus - 1) == 0:
            return netlist.add(a, b)
        if b.value == 1:
            ends = self.at(a, modulus - 1)
            return netlist.mux(ends, netlist.constant(0, width), netlist.add(a, b))
        a, b = (netlist.extend(wire, width + 1, sign=False) for wire in (a, b))
        total, limit = netlist.add(a, b), netlist.constant(modulus, width + 1)
        less = netlist.sub(total, limit)
        found = netlist.mux(netlist.icmp("uge", total, limit), less, total)
        return netlist.extract(found, 0, width)

    def memory(self, depth: int, name: str, write: tuple[Wire, Wire, Wire], address: Wire) -> Wire:
        """Return what was at ``address`` in the cycle before.

        A slot is not written before the cycle after the one in which it was read last, so
        that a memory that is read within the cycle may be read a cycle later.
        """
        netlist = self.netlist
        enable, place, token = write
        storage = Fifo(depth, token.width, reserved=False).storage
        if storage is Storage.REGISTERS:
            slots = list[Wire]()
            for number in range(depth):
                slot = netlist.state(token.width, None, f"{name}_{number}")
                netlist.connect(slot, token, netlist.and_(enable, self.at(place, number)))
                slots.append(slot)
            return netlist.select(slots, netlist.delay(address, 1))
        clocked = storage is Storage.BLOCK
        memory = netlist.memory(depth, token.width, name, clocked=clocked)
        netlist.write(memory, place, token, enable)
        return netlist.read(memory, address if clocked else netlist.delay(address, 1))

    # The window

    def window(self, rows: Sequence[Wire]) -> Wire:
        """Return the token of the result."""
        netlist, shape = self.netlist, self.access.shape
        held, fill = self.held()
        seen = list[Wire]()
        for number, token in enumerate(rows):
            inside = netlist.delay(self.inside_row(number), 1)
            seen.append(netlist.mux(inside, self.widened(token, held), fill))
        taps = (0,) if shape is None else shape.taps
        columns = self.columns(seen, max(taps))
        parts, place = list[Wire](), 0
        for number in range(len(rows)):
            for k, tap in enumerate(taps):
                inside = netlist.delay(self.inside_column(k), 1)
                token = netlist.mux(inside, columns[tap][number], fill)
                parts.append(self.narrowed(token, held, place))
                place += len(held)
        return netlist.concat(parts[::-1])

    def held(self) -> tuple[Elements, Wire]:
        """Return types that hold the elements of a token and its constants, and the latter."""
        tokens, access = self.buffer.tokens, self.access
        kinds, words = list[tuple[int, bool]](), list[Wire]()
        for width, signed, fill in zip(
            tokens.widths, tokens.signed, access.fill.array.tolist(), strict=True
        ):
            low, high = range_of(width, signed)
            if access.fills:
                low, high = min(low, fill), max(high, fill)
            kind = width_of(low, high)
            kinds.append(kind)
            words.append(self.netlist.constant(fill, kind[0]))
        widths, signs = zip(*kinds, strict=True)
        return Elements(widths, signs), self.netlist.concat(words[::-1])

    def widened(self, token: Wire, held: Elements) -> Wire:
        """Bring the elements of a token into the types of those that are held."""
        tokens, netlist = self.buffer.tokens, self.netlist
        if held == tokens:
            return token
        parts = list[Wire]()
        for n, offset in enumerate(tokens.offsets):
            own = netlist.extract(token, offset, tokens.widths[n])
            parts.append(netlist.extend(own, held.widths[n], sign=tokens.signed[n]))
        return netlist.concat(parts[::-1])

    def narrowed(self, token: Wire, held: Elements, place: int) -> Wire:
        """Bring the elements of a token into the types of the result from ``place`` on."""
        netlist = self.netlist
        widths = self.buffer.result.widths[place : place + len(held)]
        if widths == held.widths:
            return token
        parts = list[Wire]()
        for n, offset in enumerate(held.offsets):
            own = netlist.extract(token, offset, held.widths[n])
            parts.append(netlist.fit(own, widths[n], sign=held.signed[n]))
        return netlist.concat(parts[::-1])

    def inside_row(self, number: int) -> Wire:
        """Return whether the next step looks at an image's row in a row of the window."""
        access = self.access
        if access.shape is None:
            return self.counter.table(self.reads.looks, 1)
        return self.counter.by_row((access.rows.array[:, number] >= 0).astype(int).tolist(), 1)

    def inside_column(self, tap: int) -> Wire:
        """Return whether a tap is in the image for what the next step gives."""
        access, shape = self.access, self.access.shape
        if shape is None:
            return self.netlist.constant(1, 1)
        valid = access.cols.array[:, tap] >= 0
        if valid.all():
            return self.netlist.constant(1, 1)
        steps = (shape.emit + np.arange(len(valid)) * shape.stride) % shape.row_steps
        inside = np.full(shape.row_steps, -1)
        inside[steps] = valid
        return self.counter.by_column(_settled(inside), 1)

    def columns(self, seen: list[Wire], depth: int) -> list[list[Wire]]:
        """Return what was seen so many steps before, from 0 to ``depth``."""
        netlist, columns = self.netlist, [seen]
        fired = netlist.delay(self.fire, 1, reset=True)
        for number in range(depth):
            before = list[Wire]()
            for row, token in enumerate(columns[-1]):
                held = netlist.state(token.width, None, f"seen_{row}_{number}")
                netlist.connect(held, token, fired)
                before.append(held)
            columns.append(before)
        return columns


def needed_tokens(needs: Numbers, consumes: Numbers) -> Numbers:
    """Return how many tokens of its frame must have come before each step."""
    gone = np.cumsum(consumes) - consumes
    return np.maximum.accumulate(np.where(needs > 0, gone + needs, 0))


def _settled(numbers: Numbers) -> list[int]:
    """Let entries that may be anything (-1) be as those before them."""
    found = list[int]()
    known = [number for number in numbers.tolist() if number >= 0]
    last = known[0]
    for number in numbers.tolist():
        last = number if number >= 0 else last
        found.append(last)
    return found


@dataclass(frozen=True, eq=False)
class _Reads:
    """Where the steps read."""

    banks: int
    """Memories, one for a row each; 1 for one that goes round as a whole."""
    columns: list[int]
    """Column that each step of a row reads, where there are banks."""
    first: int
    """Token that is read first."""
    moves: Numbers
    """By how much each step moves on, modulo the slots."""
    looks: Numbers
    """Whether it looks at a token at all (of those that look at one at most)."""

    @classmethod
    def of(cls, access: LineAccess, depth: int) -> "_Reads":
        """Derive where to read from the tables."""
        shape, count = access.shape, len(access.steps)
        none = np.zeros(count, np.int64)
        if shape is None:
            return cls._one(access.index.array, access.beats, depth)
        wide = access.kernel[1] > 1
        columns = access.cols.array[:, 0]
        if wide:
            columns = np.full(shape.row_steps, -1)
            columns[: access.width] = np.arange(access.width)
        rows = access.rows.array
        if ((rows >= 0).sum(axis=1) <= 1).all():
            row = rows.max(axis=1)
            tokens = np.where(
                (row[:, None] >= 0) & (columns >= 0), row[:, None] * access.width + columns, -1
            )
            every = np.append(tokens.reshape(-1), np.full(shape.tail, -1))
            return cls._one(every, access.beats, depth)
        banks = max(-(-depth // access.width), 2)
        return cls(banks, _settled(columns), 0, none, none)

    @classmethod
    def _one(cls, tokens: Numbers, total: int, depth: int) -> "_Reads":
        """Read one token in a step, or none (-1)."""
        place = np.array(_settled(tokens), np.int64)
        moves = np.append(place[1:], place[0] + total) - place
        return cls(1, [], int(place[0]), moves % depth, (tokens >= 0).astype(np.int64))
