"""Index maps between streams: which token, and which of its elements, each element comes from.

A map between edges whose frames are several beats is wiring inside a beat, an order of beats,
or both. What it takes is found by looking at the whole map at once, as an array of a row for
each beat and a column for each element of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import Integers
from fastml.dialects.layout import Layout

Index = NDArray[np.int64]

MOST_PARTS = 256
"""Most different wirings of one token."""


@dataclass(frozen=True)
class Source:
    """An operand of a map: a stream, or a constant."""

    layout: Layout
    constant: Integers | None = None
    """Its elements, row-major."""


@dataclass(frozen=True)
class Origins:
    """Where each element ``[beat, element]`` of a result comes from."""

    operand: Index
    """The operand's number; -1 for a constant."""
    token: Index
    """The beat of the operand; -1 for a constant."""
    element: Index
    """The element of that beat; -1 for a constant."""
    value: Integers
    """The constant; 0 elsewhere."""

    @classmethod
    def of(cls, index: Index, sources: Sequence[Source], result: Layout) -> "Origins":
        """Analyse a map whose operands' elements are numbered row-major, end to end."""
        flat = index.reshape(-1)[result.places]
        starts = np.cumsum([0, *(source.layout.size for source in sources)])
        number = np.searchsorted(starts, flat, "right") - 1
        operand, token, element = (np.full(flat.shape, -1, np.int64) for _ in range(3))
        wide = any(s.constant is not None and s.constant.dtype == object for s in sources)
        value: Integers = np.zeros(flat.shape, object if wide else np.int64)
        for own, source in enumerate(sources):
            chosen = number == own
            place = flat[chosen] - starts[own]
            if source.constant is not None:
                value[chosen] = source.constant.reshape(-1)[place]
                continue
            order = np.empty(source.layout.size, np.int64)
            order[source.layout.places.reshape(-1)] = np.arange(source.layout.size)
            operand[chosen] = own
            token[chosen], element[chosen] = np.divmod(order[place], source.layout.elements)
        return cls(operand, token, element, value)

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """Where a constant stands."""
        return self.operand < 0

    def renumbered(self, numbers: Mapping[int, int]) -> "Origins":
        """Return the same map with other numbers for its operands."""
        operand = self.operand.copy()
        for old, new in numbers.items():
            operand[self.operand == old] = new
        return replace(self, operand=operand)


@dataclass(frozen=True)
class Group:
    """Elements of a result that come from the same token of an operand, in every beat."""

    operand: int
    """The operand's number; -1 for constants alone."""
    tokens: Index
    """The beat of the operand for each beat of the result; -1 where constants stand."""
    columns: Index
    """Elements of the result."""
    elements: Index
    """The element of the token for each of them; -1 for constants alone."""
    fill: Integers
    """The constant of each column, where it has one in some beat; 0 elsewhere."""


def columns_of(origins: Origins) -> list[Group] | None:
    """Split a map into orders of tokens, each with wiring that is the same for all beats.

    None where the wiring differs between beats.
    """
    constant = origins.is_constant
    for array in (origins.element, origins.operand):
        if not _same_along_beats(array, ~constant):
            return None
    if not _same_along_beats(origins.value, constant):
        return None
    operand = origins.operand.max(axis=0)
    element = origins.element.max(axis=0)
    fill = _where_first(origins.value, constant)
    with np.errstate(over="ignore"):
        key: Index = (origins.token * _random(len(constant))[:, None]).sum(axis=0)
    groups = list[Group]()
    for own, hashed in sorted(set(zip(operand.tolist(), key.tolist(), strict=True))):
        columns = np.flatnonzero((operand == own) & (key == hashed))
        tokens = origins.token[:, columns[0]]
        if not np.all(origins.token[:, columns] == tokens[:, None]):  # two keys agree by chance
            return None
        groups.append(Group(own, tokens, columns, element[columns], fill[columns]))
    groups.sort(key=lambda group: int(group.columns[0]))
    return groups


def _random(count: int) -> Index:
    """Return weights with which sums of different tables differ, but for bad luck."""
    return np.random.default_rng(0).integers(1, 1 << 62, count, np.int64)


def _same_along_beats(array: Integers, where: NDArray[np.bool_]) -> bool:
    """Return whether each column has one value where it counts."""
    first = _where_first(array, where)
    return bool(np.all((array == first) | ~where))


def _where_first(array: Integers, where: NDArray[np.bool_]) -> Integers:
    """Return of each column the first entry that counts."""
    rows = np.argmax(where, axis=0)
    found = array[rows, np.arange(array.shape[1])]
    return np.where(where.any(axis=0), found, 0)


@dataclass(frozen=True)
class Parts:
    """Every beat of the result is one of several wirings of one token of the only operand."""

    operand: int
    wirings: Index
    """``[part, element]``: elements of the token."""
    tokens: Index
    """For each beat of the result, the beat of the operand times the parts, plus the part."""


def parts_of(origins: Origins) -> Parts | None:
    """Split a map into parts of tokens and their order; None where it is not of this kind."""
    operand, token = int(origins.operand[0, 0]), origins.token[:, :1]
    if operand < 0 or np.any(origins.operand != operand) or np.any(origins.token != token):
        return None
    with np.errstate(over="ignore"):
        key: Index = (origins.element * _random(origins.element.shape[1])).sum(axis=1)
    _, first, part = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.argsort(order)[part.reshape(-1)]
    wirings = origins.element[first[order]]
    if len(wirings) > MOST_PARTS or not np.array_equal(wirings[place], origins.element):
        return None
    return Parts(operand, wirings, token[:, 0] * len(wirings) + place)


@dataclass(frozen=True)
class Separable:
    """An order of tokens that treats rows and columns apart; -1 where constants stand."""

    rows: Index
    cols: Index


def separable(tokens: Index, source: tuple[int, ...], result: tuple[int, ...]) -> Separable | None:
    """Split an order of tokens into rows and columns of two grids; None where it mixes them."""
    height, width = plane(source)
    table = tokens.reshape(plane(result))
    valid: NDArray[np.bool_] = np.asarray(table >= 0)
    row, col = np.divmod(table, width)
    assert int(tokens.max(initial=0)) < height * width
    by_row, by_col = np.any(valid, axis=1), np.any(valid, axis=0)
    rows = np.where(by_row, np.where(valid, row, -1).max(axis=1), -1)
    cols = np.where(by_col, np.where(valid, col, -1).max(axis=0), -1)
    made = np.where(np.logical_and.outer(by_row, by_col), rows[:, None] * width + cols, -1)
    return Separable(rows, cols) if np.array_equal(made, table) else None


def plane(grid: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns of the beats of a frame; all axes but the last are rows."""
    return (int(np.prod(grid[:-1], dtype=np.int64)), grid[-1]) if grid else (1, 1)


def never_falls(table: Index) -> bool:
    """Return whether the entries that are not -1 never fall."""
    seen = table[table >= 0]
    return bool(np.all(np.diff(seen) >= 0))
