"""Summing a column: terms in, one term out, through adders that exist only once."""

from bisect import insort
from typing import NamedTuple

import numpy as np

from fastml.lowering.cmvm.graph import ADD, RSUB, SUB, Graph
from fastml.lowering.cmvm.integers import exact

_WINDOW = 12
"""Terms among which the pair to add next is searched."""


class Term(NamedTuple):
    """The integer ``+-(value << shift)``."""

    value: int
    shift: int
    negative: bool


class _Item(NamedTuple):
    """A term of a sum under construction, or the constant; ordered by magnitude."""

    extent: int
    """Bits below which the term's magnitude lies."""
    shift: int
    low: int
    high: int
    weight: int
    """What the term takes of a tree's room: ``2**level``, 1 for the constant."""
    term: Term


_CONSTANT = Term(-1, 0, False)


class Builder:
    """A graph under construction; equal nodes are made once.

    ``level`` is the depth of each value in adders, that of the inputs included, and
    ``span`` a range that holds it.
    """

    def __init__(self, levels: list[int], spans: list[tuple[int, int]]):
        self.n_in = len(levels)
        self.level = list(levels)
        self.span = list(spans)
        self.nodes: list[tuple[int, int, int, int, int]] = []
        self._made: dict[tuple[int, int, int, int, int], int] = {}

    def node(self, left: int, right: int, shift: int, op: int, constant: int = 0) -> int:
        """Return the value of a node, which is made if it does not exist."""
        key = (left, right, shift, op, constant)
        value = self._made.get(key)
        if value is None:
            value = self._made[key] = self.n_in + len(self.nodes)
            self.nodes.append(key)
            level, (low, high) = self.level[left], self.span[left]
            least = most = constant
            if right >= 0:
                level = max(level, self.level[right])
                least, most = self.span[right]
            up, over = max(-shift, 0), max(shift, 0)
            low, high, least, most = low << up, high << up, least << over, most << over
            self.level.append(level + 1)
            self.span.append(
                (low + least, high + most)
                if op == ADD
                else (low - most, high - least)
                if op == SUB
                else (least - high, most - low)
            )
        return value

    def add(self, a: Term, b: Term) -> Term:
        """Add two terms; the sum is negative only if both are."""
        if b.value < a.value:
            a, b = b, a
        op = ADD if a.negative == b.negative else RSUB if a.negative else SUB
        value = self.node(a.value, b.value, b.shift - a.shift, op)
        return Term(value, min(a.shift, b.shift), a.negative and b.negative)

    def add_constant(self, term: Term, constant: int) -> Term:
        """Add a constant to a term, or subtract the term from it."""
        zeros = (constant & -constant).bit_length() - 1 if constant else term.shift
        base = min(zeros, term.shift)
        op = RSUB if term.negative else ADD
        value = self.node(term.value, -1, base - term.shift, op, constant >> base)
        return Term(value, base, False)

    def room_for(self, terms: list[Term], constant: int, signed: bool) -> int:
        """Return the least depth of a tree that sums up the terms and the constant."""
        weight = sum(1 << self.level[t.value] for t in terms)
        return (weight + self._enters(terms, constant, signed) - 1).bit_length()

    def _enters(self, terms: list[Term], constant: int, signed: bool) -> bool:
        """Return whether a constant is to be added: for its value or for a sign."""
        return bool(constant) or (not signed and all(t.negative for t in terms))

    def total(
        self, terms: list[Term], constant: int, limit: int, signed: bool = False
    ) -> Term | int:
        """Sum up terms and a constant in at most ``limit`` levels, or as few as can be.

        The two least terms whose sum leaves a tree of that depth possible are added
        first: narrow adders, and a constant where it widens nothing. The result can be
        negative only if ``signed``.
        """
        if not terms:
            return constant
        limit = max(limit, self.room_for(terms, constant, signed))
        items = sorted(self._item(t) for t in terms)
        if self._enters(terms, constant, signed):
            zeros = (constant & -constant).bit_length() - 1 if constant else 0
            bits = abs(constant).bit_length()
            insort(items, _Item(bits, zeros, constant, constant, 1, _CONSTANT))
        room = (1 << limit) - sum(i.weight for i in items)
        while len(items) > 1:
            a, b = _pair(items, room)
            room -= abs(a.weight - b.weight)
            items.remove(a)
            items.remove(b)
            if a.term is _CONSTANT:
                summed = self.add_constant(b.term, constant)
            elif b.term is _CONSTANT:
                summed = self.add_constant(a.term, constant)
            else:
                summed = self.add(a.term, b.term)
            insort(items, self._item(summed))
        return items[0].term

    def _item(self, term: Term) -> _Item:
        low, high = (bound << term.shift for bound in self.span[term.value])
        if term.negative:
            low, high = -high, -low
        extent = max(high, -low).bit_length()
        return _Item(extent, term.shift, low, high, 1 << self.level[term.value], term)

    def graph(self, outputs: list[Term | int]) -> Graph:
        """Finish: every output is a positive term or a constant."""
        nodes = self.nodes
        terms = [t if isinstance(t, Term) else Term(-1, 0, False) for t in outputs]
        assert not any(t.negative for t in terms)
        constants = [0 if isinstance(t, Term) else t for t in outputs]
        return Graph(
            self.n_in,
            np.array([n[0] for n in nodes], np.int32),
            np.array([n[1] for n in nodes], np.int32),
            np.array([n[2] for n in nodes], np.int32),
            np.array([n[3] for n in nodes], np.int8),
            exact([n[4] for n in nodes]),
            np.array([t.value for t in terms], np.int32),
            np.array([t.shift for t in terms], np.int32),
            exact(constants),
        )


def _pair(items: list[_Item], room: int) -> tuple[_Item, _Item]:
    """Choose two items whose sum is narrow and cheap and does not exceed the room.

    Items come in order. Compares, in turn, where a sum's highest bit lies, how many full
    adders it takes, how far apart its operands are, and what room it takes.
    """
    best, chosen = (1 << 62, 0, 0, 0), None
    window = items[:_WINDOW]
    for i, a in enumerate(window):
        _, shift, least, most, weight, _ = a
        for b in window[i + 1 :]:
            if b.extent > best[0]:
                break
            penalty = abs(weight - b.weight)
            if penalty > room:
                continue
            low, high = least + b.low, most + b.high
            if low < 0 < high:
                top = (high if high > ~low else ~low).bit_length() + 1
                adders = top
            else:
                top = (high if high > -low else -low).bit_length()
                # Two operands of one sign leave the carry for nothing.
                alike = (least >= 0) == (b.low >= 0)
                adders = top - (alike and top > b.extent)
            apart = shift - b.shift
            key = (top, adders - max(shift, b.shift), abs(apart), penalty)
            if key < best:
                best, chosen = key, (a, b)
    if chosen is not None:
        return chosen
    # The two earliest always fit, if anything does.
    first, second, *_ = sorted(items, key=lambda item: (item.weight, item))
    return first, second
