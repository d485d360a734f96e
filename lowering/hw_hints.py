"""What to call the wires of a module: after what they hold.

``x_e3`` is element 3 of ``x``, ``x_e3_d1`` the same one cycle later, ``add57`` the 57th adder
of its module. A name ends in a letter and a number, never in ``_3``: printers of IR number
equal names that way, and readers take such a number off again. Names are hints: whoever
prints a language makes them legal and unique.
"""

from collections.abc import Sequence

from fastml.lowering.hw_builder import Kind, Netlist, Wire

_STEMS = {
    Kind.ADD: "add",
    Kind.SUB: "sub",
    Kind.MUL: "mul",
    Kind.MUX: "mux",
    Kind.LOOKUP: "table",
    Kind.SELECT: "select",
    Kind.STATE: "state",
}
_PORTS = (Kind.INPUT, Kind.NAMED)
_NAMED = (*_PORTS, Kind.CONSTANT)
_PARTS = (Kind.ELEMENT, Kind.EXTRACT, Kind.REPLICATE)


class Hints:
    """Names for the wires of one module, asked for in the order in which it was built."""

    def __init__(self, netlist: Netlist):
        self._given = netlist.hints
        self._known: dict[Wire, tuple[str, int]] = {}
        """Name of what a wire holds, and by how many cycles it is late."""
        self._count: dict[str, int] = {}

    def of(self, wire: Wire) -> str | None:
        """Return the hint for a wire; ``None`` for wiring that is best read in place."""
        kind = wire.kind
        if (given := self._given.get(wire)) is not None:
            self._known[wire] = given, 0
        elif (stem := _STEMS.get(kind)) is not None:
            number = self._count[stem] = self._count.get(stem, 0) + 1
            given = f"{stem}{number}"
            self._known[wire] = given, 0
        elif kind is Kind.REGISTER:
            source = self._known.get(wire.operands[0]) or self._port(wire.operands[0])
            if source is not None:
                name, late = source
                self._known[wire] = name, late + 1
                given = f"{name}_d{late + 1}"
        elif kind in _PARTS and (source := self._known.get(wire.operands[0])) is not None:
            self._known[wire] = source  # for what is delayed; bits are read in place
        return given

    def _port(self, wire: Wire) -> tuple[str, int] | None:
        return (str(wire.payload), 0) if wire.kind in _PORTS else None


def name_elements(netlist: Netlist, port: str | None, wires: Sequence[Wire | None]) -> None:
    """Call the elements of an edge after it, but for those that are called otherwise."""
    if port is None:
        return
    for number, wire in enumerate(wires):
        if wire is not None and wire.kind not in _NAMED:
            netlist.hint(wire, f"{port}_e{number}")
