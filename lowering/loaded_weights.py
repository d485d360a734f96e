"""Memories of weights that a port loads at run time."""

from dataclasses import dataclass, field

from xdsl.dialects import memref
from xdsl.dialects.func import FuncOp

from fastml.dialects.loadable import Loadable, loadable_of
from fastml.lowering.constants import definition_of
from fastml.lowering.hw_builder import Netlist, Wire, index_width


@dataclass(frozen=True)
class LoadPorts:
    """The ports of a module by which a memory in it is loaded."""

    memory: str
    """Name of the memory in the program."""
    loadable: Loadable
    valid: str
    word: str


def load_ports(function: FuncOp, taken: set[str | None]) -> list[LoadPorts]:
    """Return the ports for all memories that a function reads and a port loads."""
    found = dict[str, LoadPorts]()
    for op in function.walk():
        if not isinstance(op, memref.GetGlobalOp):
            continue
        definition = definition_of(op)
        name, loadable = definition.sym_name.data, loadable_of(definition)
        if loadable is not None and name not in found:
            stem = "weights" if not found else f"weights_{len(found)}"
            while stem in taken or f"{stem}_valid" in taken:
                stem += "_"
            found[name] = LoadPorts(name, loadable, f"{stem}_valid", stem)
    return list(found.values())


@dataclass
class LoadedMemory:
    """The words of a stage: written in order, each read within the cycle.

    Reset begins with word 0 again and leaves what was loaded.
    """

    netlist: Netlist
    loadable: Loadable
    memory: Wire
    read_before: dict[Wire, Wire] = field(default_factory=dict[Wire, Wire])

    @classmethod
    def build(cls, netlist: Netlist, loadable: Loadable, valid: Wire, word: Wire) -> "LoadedMemory":
        """Build the memory and the counter of words."""
        count, name = loadable.words, "loaded_weights"
        if count == 1:
            only = netlist.state(word.width, None, name)
            netlist.connect(only, word, valid)
            return cls(netlist, loadable, only)
        place = netlist.state(index_width(count), 0, "weights_place")
        following = netlist.add(place, netlist.constant(1, place.width))
        if count & (count - 1):
            last = netlist.icmp("eq", place, netlist.constant(count - 1, place.width))
            following = netlist.mux(last, netlist.constant(0, place.width), following)
        netlist.connect(place, netlist.mux(valid, following, place))
        memory = netlist.memory(count, word.width, name, clocked=False)
        netlist.write(memory, place, word, valid)
        return cls(netlist, loadable, memory)

    def read(self, index: Wire, lane: int) -> Wire:
        """Return the weight of a lane in the word at ``index``."""
        whole = self.memory
        if self.loadable.words > 1:
            if index not in self.read_before:
                self.read_before[index] = self.netlist.read(self.memory, index)
            whole = self.read_before[index]
        self.netlist.delay(whole, 1)  # one register, from which the lanes are taken
        elements = self.loadable.elements
        return self.netlist.extract(whole, elements.offsets[lane], elements.widths[lane])
