"""Count the steps of a process, and give numbers that depend on the step.

Steps are counted row by row: a number of each step, such as how many tokens it pops, is a
table of a row for each kind of row. Rows of images are of few kinds, and within one most
numbers change in few places, so that two short counters and comparisons stand for tables of
an entry a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastml.lowering.hw_builder import Netlist, Wire, index_width

Numbers = NDArray[np.int64]

COMPARISONS = 3
"""Changes in a table up to which comparisons are smaller than the table."""


def columns_of(tables: Sequence[Numbers]) -> int:
    """Return the length of a row for which the numbers of all steps take the least space."""
    count = len(tables[0])
    whole = np.stack([np.asarray(table, np.int64) for table in tables])
    best, found = count, count
    for columns in range(1, count):
        if count % columns or columns + count // columns >= best:
            continue
        rows = whole.reshape(len(tables), -1, columns).transpose(1, 0, 2)
        kinds = len(np.unique(rows.reshape(len(rows), -1), axis=0))
        cost = kinds * columns + count // columns
        if cost < best:
            best, found = cost, columns
    return found


@dataclass
class StepCounter:
    """The step that comes next, as a row and a column; rows but the last are full."""

    netlist: Netlist
    steps: int
    columns: int
    row: Wire = field(init=False)
    column: Wire = field(init=False)
    turned: Wire = field(init=False)
    """Whether the step that fires is the last of its row."""

    def __post_init__(self) -> None:
        self.row = self._state(self.rows, "row")
        self.column = self._state(self.columns, "column")

    @property
    def rows(self) -> int:
        """Rows, of which the last may be shorter."""
        return -(-self.steps // self.columns)

    def _state(self, count: int, name: str) -> Wire:
        if count == 1:
            return self.netlist.constant(0, 0)
        return self.netlist.state(index_width(count), 0, name)

    def count(self, fire: Wire) -> Wire:
        """Go on where ``fire`` holds; return whether it does in the last step."""
        netlist = self.netlist
        tail = self.steps - (self.rows - 1) * self.columns
        ends = self._at(self.column, self.columns - 1)
        last = self._at(self.row, self.rows - 1)
        finished = netlist.and_(last, self._at(self.column, tail - 1))
        turns = netlist.or_(ends, finished)
        if self.columns > 1:
            netlist.connect(self.column, self._next(self.column, turns), fire)
        if self.rows > 1:
            netlist.connect(self.row, self._next(self.row, finished), netlist.and_(fire, turns))
        self.turned = netlist.and_(fire, turns)
        return netlist.and_(fire, finished)

    def _at(self, counter: Wire, number: int) -> Wire:
        if counter.width == 0:
            return self.netlist.constant(1, 1)
        return self.netlist.icmp("eq", counter, self.netlist.constant(number, counter.width))

    def _next(self, counter: Wire, turns: Wire) -> Wire:
        zero, one = (self.netlist.constant(n, counter.width) for n in (0, 1))
        return self.netlist.mux(turns, zero, self.netlist.add(counter, one))

    def table(self, numbers: Numbers, width: int) -> Wire:
        """Return the number of the next step."""
        kinds, kind_of = self._kinds(np.asarray(numbers, np.int64))
        wires = [self._choose(kind, self.column, width) for kind in kinds]
        if len(wires) == 1:
            return wires[0]
        if self.columns == 1:
            return self._choose([int(kinds[k][0]) for k in kind_of], self.row, width)
        kind = self._choose(kind_of, self.row, index_width(len(kinds)))
        return self.netlist.select(wires, kind)

    def by_row(self, numbers: Sequence[int], width: int) -> Wire:
        """Return the number of the row; rows without one may have any."""
        missing = [numbers[-1]] * (self.rows - len(numbers))
        return self._choose([*numbers, *missing], self.row, width)

    def by_column(self, numbers: Sequence[int], width: int) -> Wire:
        """Return the number of the column."""
        return self._choose(numbers, self.column, width)

    def _kinds(self, numbers: Numbers) -> tuple[list[list[int]], list[int]]:
        """Return the rows that differ, and for each row which of them it is."""
        full = self.steps // self.columns
        whole = numbers[: full * self.columns].reshape(full, self.columns)
        kinds, kind_of = np.unique(whole, axis=0, return_inverse=True)
        found, which = kinds.tolist(), kind_of.reshape(-1).tolist()
        if rest := numbers[full * self.columns :].tolist():
            like = [k for k, kind in enumerate(found) if kind[: len(rest)] == rest]
            if not like:
                found.append(rest + rest[-1:] * (self.columns - len(rest)))
            which.append(like[0] if like else len(found) - 1)
        return found, which

    def _choose(self, numbers: Sequence[int], index: Wire, width: int) -> Wire:
        """Return the number at ``index``: computed, by few comparisons, or from a table."""
        netlist = self.netlist
        changes = [n for n in range(1, len(numbers)) if numbers[n] != numbers[n - 1]]
        if list(numbers) == list(range(len(numbers))):
            return netlist.fit(index, width, sign=False)
        if len(changes) > COMPARISONS:
            return netlist.lookup(numbers, index, width)
        found = netlist.constant(numbers[0], width)
        if len(changes) == 2 and changes[1] == changes[0] + 1 and numbers[-1] == numbers[0]:
            there = self._at(index, changes[0])
            return netlist.mux(there, netlist.constant(numbers[changes[0]], width), found)
        for start in changes:
            after = netlist.icmp("uge", index, netlist.constant(start, index.width))
            found = netlist.mux(after, netlist.constant(numbers[start], width), found)
        return found
