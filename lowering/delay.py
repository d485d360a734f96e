"""How long the hardware's building blocks take, for placing registers.

A delay is a number of nanoseconds from the last arriving input bit to the last output
bit, the wire to the next block included. The figures are estimates made before any
placement is known; whatever is derived from them carries the provenance ``estimate``.

Every method takes a width or an array of widths and returns nanoseconds of the same
shape, so that a whole adder graph is timed in one call.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Nanoseconds = NDArray[np.float64]

PROVENANCE = "estimate"
"""Label of every figure derived from a delay model."""


@dataclass(frozen=True)
class DelayModel:
    """Delays of one target: a look-up table level, a carry bit, a register.

    ``overhead`` is what a register takes out of every clock period: clock to output at
    the source, set-up time at the destination, and clock skew.
    """

    name: str
    level: float
    """One look-up table and the net behind it, in ns."""
    carry: float
    """One more bit of a carry chain, in ns."""
    overhead: float
    """Register clock-to-output, set-up and skew, in ns."""
    table_bits: int = field(default=6, kw_only=True)
    """Inputs of one look-up table."""

    def adder(self, width: ArrayLike) -> Nanoseconds:
        """Time an addition or subtraction whose carry crosses ``width`` bits."""
        bits = _widths(width)
        return np.where(bits > 0, self.level + self.carry * bits, 0.0)

    def comparator(self, width: ArrayLike) -> Nanoseconds:
        """Time a comparison with a constant: one table covers two bits of the chain."""
        bits = _widths(width)
        return np.where(bits > 0, self.level + self.carry * np.ceil(bits / 2), 0.0)

    def mux(self, ways: ArrayLike) -> Nanoseconds:
        """Time a choice of one among ``ways`` words: four to a table, then a tree."""
        choices = np.maximum(np.asarray(ways, np.float64), 1)
        levels = np.ceil(np.log(choices) / np.log(4) - 1e-9)
        return self.level * levels

    def lookup(self, bits: ArrayLike) -> Nanoseconds:
        """Time a table with an address of ``bits`` bits: leaves, then a mux tree."""
        address = _widths(bits)
        leaves = np.where(address > 0, self.level, 0.0)
        return leaves + self.mux(2.0 ** np.maximum(address - self.table_bits, 0))

    def round_clamp(self, width: ArrayLike) -> Nanoseconds:
        """Time a requantisation of a ``width``-bit word: an increment, then a clamp."""
        bits = _widths(width)
        return self.adder(bits) + np.where(bits > 0, self.level, 0.0)

    def slack(self, clock_ns: float) -> float:
        """Return the ns that logic may take between two registers; may be negative."""
        return clock_ns - self.overhead


TARGETS: dict[str, DelayModel] = {
    # A 16 nm FPGA at a middle speed grade: about 0.15 ns in a six-input table and 0.2
    # ns of net in a design of moderate density, carries in eights at 0.015 ns a bit.
    "generic": DelayModel("generic", level=0.35, carry=0.015, overhead=0.2),
    # No time passes: no register is ever needed and the design is combinational.
    "none": DelayModel("none", level=0.0, carry=0.0, overhead=0.0),
}
"""Delay models by the name that selects them."""


def _widths(width: ArrayLike) -> NDArray[Any]:
    return np.maximum(np.asarray(width, np.float64), 0.0)
