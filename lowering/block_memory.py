"""Build a scratch memory with one port to write and one to read, both clocked.

What is asked for in a cycle is there in the next one. Loads and stores of different cycles
share a port; that there is one in a cycle is for the schedule to say.
"""

from dataclasses import dataclass, field

from fastml.lowering.hw_builder import Netlist, Wire, index_width


@dataclass
class Request:
    """An address, and when it is meant; to write, what is written."""

    enable: Wire
    address: Wire
    data: Wire | None = None


@dataclass
class BlockMemory:
    """A memory to which loads and stores are added one by one."""

    netlist: Netlist
    memory: Wire
    address: Wire
    """Of the port to read: what it is comes when all loads are known."""
    word: Wire
    """What was asked for in the cycle before."""
    loads: list[Request] = field(default_factory=list[Request])
    stores: list[Request] = field(default_factory=list[Request])

    @classmethod
    def of(cls, netlist: Netlist, depth: int, width: int, name: str) -> "BlockMemory":
        """Create a memory of ``depth`` words, each of ``width`` bits."""
        memory = netlist.memory(depth, width, name, clocked=True, old=True)
        address = netlist.forward(index_width(depth))
        word = netlist.hint(netlist.read(memory, address), f"{name}_word")
        return cls(netlist, memory, address, word)

    @property
    def address_width(self) -> int:
        """Bits of an address."""
        return self.address.width

    def load(self, enable: Wire, address: Wire) -> Wire:
        """Ask for the word at ``address`` where ``enable`` holds; it is there a cycle later."""
        self.loads.append(Request(enable, address))
        return self.word

    def store(self, enable: Wire, address: Wire, data: Wire) -> None:
        """Write where ``enable`` holds."""
        self.stores.append(Request(enable, address, data))

    def close(self) -> None:
        """Connect both ports."""
        netlist = self.netlist
        read = self.choose(self.loads)
        netlist.drive(self.address, read.address if read else self.zero())
        write = self.choose(self.stores)
        if write is not None:
            assert write.data is not None
            netlist.write(self.memory, write.address, write.data, write.enable)

    def zero(self) -> Wire:
        """Return the address of a port that nothing uses."""
        return self.netlist.constant(0, self.address_width)

    def choose(self, requests: list[Request]) -> Request | None:
        """Return the request that is enabled; the last one needs no condition."""
        if not requests:
            return None
        chosen = requests[-1]
        for request in requests[-2::-1]:
            address = self.netlist.mux(request.enable, request.address, chosen.address)
            data = chosen.data
            if request.data is not None and data is not None:
                data = self.netlist.mux(request.enable, request.data, data)
            chosen = Request(self.netlist.or_(request.enable, chosen.enable), address, data)
        return chosen
