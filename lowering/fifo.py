"""Build first-in, first-out memories with credits.

Ports: ``reserve`` takes a slot for a beat that will come, ``push`` brings it, ``pop`` takes
the head away. ``ready`` says that a slot is free, ``valid`` that there is a head, and ``data``
is the head. All of them are registered inside: what is pushed or popped in a cycle is seen
from the next one on. Whoever reserves must have seen ``ready``, whoever pops ``valid``, and
nobody pushes what was not reserved; in a memory without ``reserve`` a push reserves too.

Reset clears the counters, not the data.
"""

from dataclasses import dataclass
from enum import Enum, auto

from xdsl.dialects import hw
from xdsl.dialects.builtin import LocationAttr

from fastml.lowering.hw_builder import Netlist, Wire, index_width
from fastml.lowering.hw_materialise import Output, materialise

REGISTER_DEPTH = 2
"""Deepest memory that is always made of registers."""
REGISTER_BITS = 64
"""Bits of a deeper one that is."""
BLOCK_DEPTH = 128
"""Shallowest memory for which block memory may be right."""
BLOCK_BITS = 8192
"""Fewest bits for which it is."""


class Storage(Enum):
    """Where the beats are."""

    REGISTERS = auto()
    """Registers that shift, and a choice among them."""
    DISTRIBUTED = auto()
    """A memory that is read within the cycle."""
    BLOCK = auto()
    """A memory whose read takes a cycle, hidden by reading ahead."""


@dataclass(frozen=True)
class Fifo:
    """A memory for ``depth`` beats of ``width`` bits."""

    depth: int
    width: int
    reserved: bool
    """Slots are taken before their beats come."""

    @property
    def storage(self) -> Storage:
        """The cheapest place for the beats."""
        bits = self.depth * self.width
        if self.depth <= REGISTER_DEPTH or bits <= REGISTER_BITS:
            return Storage.REGISTERS
        if self.depth >= BLOCK_DEPTH and bits >= BLOCK_BITS:
            return Storage.BLOCK
        return Storage.DISTRIBUTED

    @property
    def stem(self) -> str:
        """Name of the module."""
        kind = "credit_fifo" if self.reserved else "fifo"
        return f"{kind}_{self.depth}x{self.width}"


def build_fifo(
    fifo: Fifo, name: str, location: LocationAttr, storage: Storage | None = None
) -> hw.HWModuleOp:
    """Return the module of ``fifo``, called ``name``; ``storage`` overrides the choice."""
    netlist = Netlist()
    netlist.location = location
    reserve = netlist.input("reserve", 1)
    push, beat = netlist.input("push", 1), netlist.input("push_data", fifo.width)
    pop = netlist.input("pop", 1)
    count = _counter(netlist, fifo.depth, push, pop, "count")
    used = _counter(netlist, fifo.depth, reserve, pop, "used") if fifo.reserved else count
    ready = netlist.icmp("ne", used, netlist.constant(fifo.depth, used.width))
    valid = netlist.icmp("ne", count, netlist.constant(0, count.width))
    outputs = [Output("ready", ready), Output("valid", valid)]
    if fifo.width:
        build = _STORAGE[storage or fifo.storage]
        outputs.append(Output("data", build(netlist, fifo, count, (push, beat, pop))))
    inputs = [reserve, push, beat, pop] if fifo.reserved else [push, beat, pop]
    return materialise(netlist, name, inputs, outputs, clocked=True, location=location)


def _counter(netlist: Netlist, depth: int, up: Wire, down: Wire, name: str) -> Wire:
    """Count from 0 to ``depth``, up, down, or both at once."""
    count = netlist.state(depth.bit_length(), 0, name)
    one, minus = netlist.constant(1, count.width), netlist.constant(-1, count.width)
    step = netlist.mux(up, one, minus)
    netlist.connect(count, netlist.add(count, step), netlist.xor(up, down))
    return count


Ports = tuple[Wire, Wire, Wire]
"""Push, its data, and pop."""


def _registers(netlist: Netlist, fifo: Fifo, count: Wire, ports: Ports) -> Wire:
    """Shift the beats in; the head is as far back as there are beats."""
    push, beat, _ = ports
    slots, newest = list[Wire](), beat
    for number in range(fifo.depth):
        slot = netlist.state(fifo.width, None, f"slot_{number}")
        netlist.connect(slot, newest, push)
        slots.append(slot)
        newest = slot
    last = netlist.sub(count, netlist.constant(1, count.width))
    return netlist.select(slots, last)


def _pointer(netlist: Netlist, depth: int, step: Wire, name: str) -> tuple[Wire, Wire]:
    """Return a pointer that goes round, and what it is in the next cycle."""
    pointer = netlist.state(index_width(depth), 0, name)
    width = pointer.width
    following = netlist.add(pointer, netlist.constant(1, width))
    if depth & (depth - 1):
        last = netlist.icmp("eq", pointer, netlist.constant(depth - 1, width))
        following = netlist.mux(last, netlist.constant(0, width), following)
    following = netlist.mux(step, following, pointer)
    netlist.connect(pointer, following)
    return pointer, following


def _distributed(netlist: Netlist, fifo: Fifo, count: Wire, ports: Ports) -> Wire:
    """Read the head from a memory within the cycle."""
    push, beat, pop = ports
    head, _ = _pointer(netlist, fifo.depth, pop, "head")
    tail, _ = _pointer(netlist, fifo.depth, push, "tail")
    memory = netlist.memory(fifo.depth, fifo.width, "beats", clocked=False)
    netlist.write(memory, tail, beat, push)
    return netlist.read(memory, head)


def _block(netlist: Netlist, fifo: Fifo, count: Wire, ports: Ports) -> Wire:
    """Read ahead what the head will be; forward a beat that is just being written."""
    push, beat, pop = ports
    _, following = _pointer(netlist, fifo.depth, pop, "head")
    tail, _ = _pointer(netlist, fifo.depth, push, "tail")
    memory = netlist.memory(fifo.depth, fifo.width, "beats", clocked=True)
    netlist.write(memory, tail, beat, push)
    collides = netlist.and_(push, netlist.icmp("eq", tail, following))
    forwarded = netlist.state(1, None, "forward")
    netlist.connect(forwarded, collides)
    return netlist.mux(forwarded, netlist.delay(beat, 1), netlist.read(memory, following))


_STORAGE = {
    Storage.REGISTERS: _registers,
    Storage.DISTRIBUTED: _distributed,
    Storage.BLOCK: _block,
}
