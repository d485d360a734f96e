"""Two-term sharing: give a sum of two terms that recurs in several columns one adder.

A *term* is a signed, shifted value, ``+-(v << p)``; a column is a set of terms, at
first the signed digits of its weights. A *pattern* ``(u, v, s, negate)`` is the sum ``u
+- (v << s)`` up to a common shift and sign. Replacing a pattern that occurs ``n`` times
by a new value saves ``n - 1`` adders; the new value takes part in later patterns.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastml.lowering.cmvm.csd import Digits

Codes = NDArray[np.int64]
IntOrCodes = TypeVar("IntOrCodes", int, Codes)

# A term is packed as  value << 9 | (127 - shift) << 1 | negative,
# a pattern as  u << 40 | v << 16 | (s + 127) << 1 | negate,  with u <= v.
MIDDLE = 127
_TERM, _FIRST, _SECOND = 9, 40, 16
_SHIFT_MASK, _SECOND_MASK = 0xFF, 0xFFFFFF
_CHUNK = 1024
_PAIRS = 1 << 19
"""Words of pairs of values that are counted together at first."""
_TERM_PAIRS = 1 << 19
"""Pairs of terms that are listed one by one."""
_FEW_WORDS = 1 << 14
"""Words of masks that are counted in one go."""
_ZERO = np.zeros(1, np.int64)
"""Patterns whose stale counts are brought up to date together."""


def pack(u: IntOrCodes, v: IntOrCodes, shift: IntOrCodes, negate: int) -> IntOrCodes:
    """Pack a pattern, ``u <= v``."""
    return u << _FIRST | v << _SECOND | (shift + MIDDLE) << 1 | negate


def unpack(code: IntOrCodes) -> tuple[IntOrCodes, IntOrCodes, IntOrCodes, IntOrCodes]:
    """Return the two values of a pattern, the second one's shift, and its sign."""
    shift = (code >> 1 & _SHIFT_MASK) - MIDDLE
    return code >> _FIRST, code >> _SECOND & _SECOND_MASK, shift, code & 1


@dataclass(frozen=True)
class Policy:
    """Which pattern goes first: the greatest score, then the least rank.

    The score of a pattern that occurs ``n`` times is ``n * (base + overlap)``, with the
    overlap of its two terms in bits if that counts and else 0; its rank is the weighted
    sum of its depth in adders, the distance of its terms and its width in bits.
    """

    base: int = 1
    overlap: bool = False
    depth: int = 0
    apart: int = 0
    width: int = 0
    noise: int = 0
    """Seed that breaks ties in a pseudo-random order, 0 for the order of values."""


class Shared(NamedTuple):
    """A value that sharing created: ``u +- (v << s)``, or ``(u << -s) +- v``."""

    u: int
    v: int
    shift: int
    negate: bool


class Sharing:
    """The columns of one matrix while patterns are being shared.

    ``level`` is the depth at which each value is ready, in adders. ``room`` is, for
    each column, what is left of ``2**limit - sum(2**level)`` over its terms: a tree of
    depth ``limit`` over them exists exactly while it is not negative.
    """

    def __init__(
        self,
        digits: Digits,
        levels: list[int],
        limits: list[int],
        widths: list[int],
        policy: Policy,
    ):
        self.planes, n_in, self.n_columns = digits.shape
        self.policy = policy
        self.level = list(levels)
        self.width = list(widths)
        self.nodes: list[Shared] = []
        self.columns: list[set[int]] = [set() for _ in range(self.n_columns)]
        self.masks: list[dict[int, list[int]]] = [{} for _ in range(n_in)]
        words = -(-self.n_columns // 64)
        self._depths = np.array(levels, np.int64)
        self._widths = np.array(widths, np.int64)
        # One plane more than there are, always empty, stands for all those outside.
        self._words = np.zeros((n_in, self.planes + 1, 2, words), np.uint64)
        for p, value, column in np.argwhere(digits).tolist():
            negative = int(digits[p, value, column] < 0)
            self.columns[column].add(value << _TERM | (MIDDLE - p) << 1 | negative)
            self.masks[value].setdefault(p, [0, 0])[negative] |= 1 << column
        for value in range(n_in):
            self._store(value, list(self.masks[value]))
        self.room = [
            (1 << limit) - sum(1 << self.level[t >> _TERM] for t in terms)
            for limit, terms in zip(limits, self.columns, strict=True)
        ]
        self._open: dict[int, int] = {}
        self._queue: dict[int, list[Codes]] = {}
        self._scores: list[int] = []
        self._fresh: list[tuple[int, int, int, int]] = []
        self._current = 0
        terms = np.array([len(terms) for terms in self.columns], np.int64)
        if int((terms * terms).sum()) <= _TERM_PAIRS:
            self._first_by_terms(digits)
        else:
            self._first()

    # --- queue -----------------------------------------------------------------

    def _first_by_terms(self, digits: Digits) -> None:
        """Do as :meth:`_first` by listing all pairs of terms, where there are few."""
        found = list[Codes]()
        for column in range(self.n_columns):
            plane, value = np.nonzero(digits[:, :, column])
            a, b = np.triu_indices(len(plane), 1)
            swap = (value[a] > value[b]) | ((value[a] == value[b]) & (plane[a] > plane[b]))
            a, b = np.where(swap, b, a), np.where(swap, a, b)
            differ = digits[plane[a], value[a], column] != digits[plane[b], value[b], column]
            codes = pack(value[a], value[b], plane[b] - plane[a], 0) | differ
            found.append(codes)
        codes, counts = np.unique(np.concatenate(found or [_ZERO[:0]]), return_counts=True)
        codes, counts = codes[counts >= 2], counts[counts >= 2]
        self._enqueue(codes, counts * self._weigh(codes))

    def _first(self) -> None:
        """Queue every pattern of the digits that occurs at least twice."""
        n_in = len(self.masks)
        rows = max(1, _PAIRS // max(1, n_in * self._words.shape[-1]))
        for s in range(self.planes):
            for start in range(0, n_in, rows):
                low = self._words[start : start + rows, None]
                high = self._words[None, :n_in]
                for negate in (0, 1):
                    count = np.zeros((low.shape[0], n_in), np.int64)
                    for p in range(self.planes - s):
                        for sign in (0, 1):
                            both = low[:, :, p, sign] & high[:, :, p + s, sign ^ negate]
                            count += np.bitwise_count(both).sum(axis=-1, dtype=np.int64)
                    # A pattern of one shift is met twice, from either value.
                    if s == 0:
                        count = np.triu(count, 1 + start)
                    u, v = np.nonzero(count >= 2)
                    counts = count[u, v]
                    u = u + start
                    shift = np.where(u <= v, s, -s)
                    first, second = np.minimum(u, v), np.maximum(u, v)
                    codes = pack(first, second, shift, negate)
                    self._enqueue(codes, counts * self._weigh(codes))

    def _enqueue(self, codes: Codes, scores: Codes) -> None:
        """File patterns under their scores."""
        if not len(codes):
            return
        order = np.argsort(scores, kind="stable")
        scores, codes = scores[order], codes[order]
        starts = [0, *(np.flatnonzero(scores[1:] != scores[:-1]) + 1).tolist()]
        for start, stop in pairwise([*starts, len(codes)]):
            self._file(int(scores[start]), codes[start:stop])

    def _file(self, score: int, codes: Codes) -> None:
        filed = self._queue.get(score)
        if filed is None:
            self._queue[score] = [codes]
            heapq.heappush(self._scores, -score)
        else:
            filed.append(codes)

    def _weigh(self, codes: Codes) -> Codes:
        """Return the score of one occurrence of each pattern."""
        if not self.policy.overlap:
            return np.full(len(codes), self.policy.base)
        u, v, s, _ = unpack(codes)
        top = np.minimum(self._widths[u], self._widths[v] + s)
        return np.maximum(self.policy.base + top - np.maximum(s, 0), 1)

    def _rank(self, codes: Codes) -> Codes:
        """Return what orders patterns of equal score, least first."""
        policy = self.policy
        u, v, s, _ = unpack(codes)
        rank = policy.depth * np.maximum(self._depths[u], self._depths[v])
        rank = rank + policy.apart * np.abs(s)
        first = self._widths[u] + np.maximum(-s, 0)
        second = self._widths[v] + np.maximum(s, 0)
        rank = rank + policy.width * np.maximum(first, second)
        if policy.noise:
            noise = policy.noise * 0x9E3779B97F4A7C1 & 0x7FFFFFFFFFFFFFFF
            mixed = (codes ^ noise).astype(np.uint64)
            mixed = mixed * np.uint64(0xBF58476D1CE4E5B9)
            rank = (rank << 24) + (mixed >> np.uint64(40)).astype(np.int64)
        return rank

    def _store(self, value: int, planes: Iterable[int]) -> None:
        """Copy masks of a value to the array that bulk counting reads; drop empty ones."""
        if value >= len(self._words):
            self._words, self._depths, self._widths = (
                np.concatenate([array, np.zeros_like(array)])
                for array in (self._words, self._depths, self._widths)
            )
        self._depths[value], self._widths[value] = self.level[value], self.width[value]
        size = self._words.shape[-1] * 8
        for p in planes:
            plus, minus = self.masks[value][p]
            both = plus.to_bytes(size, "little") + minus.to_bytes(size, "little")
            self._words[value, p] = np.frombuffer(both, np.uint64).reshape(2, -1)
            if not (plus or minus):
                del self.masks[value][p]

    def _counts(self, codes: Codes) -> Codes:
        """Bound the occurrences of each pattern from above (chains count twice)."""
        u, v, s, negate = unpack(codes)
        if len(codes) * self.planes * self._words.shape[-1] <= _FEW_WORDS:
            q = s[:, None] + np.arange(int(self.planes))
            q = np.where((q >= 0) & (q < self.planes), q, self.planes)
            here = self._words[u, : self.planes]
            sign = np.stack([negate, 1 - negate], axis=1)
            there = self._words[v[:, None, None], q[:, :, None], sign[:, None, :]]
            return np.bitwise_count(here & there).sum(axis=(1, 2, 3), dtype=np.int64)
        total = np.zeros(len(codes), np.int64)
        for p in range(self.planes):
            q = np.where((p + s >= 0) & (p + s < self.planes), p + s, self.planes)
            plus = self._words[u, p, 0] & self._words[v, q, negate]
            minus = self._words[u, p, 1] & self._words[v, q, 1 - negate]
            total += np.bitwise_count(plus).sum(axis=-1, dtype=np.int64)
            total += np.bitwise_count(minus).sum(axis=-1, dtype=np.int64)
        return total

    def _patterns(self) -> Iterator[tuple[int, int]]:
        """Yield patterns with a bound of their occurrences, best first.

        Counts only ever fall, except those of patterns with a new value, so that a
        stale count is a bound; it is brought up to date when the pattern's turn comes.
        """
        while self._scores:
            self._current = score = -heapq.heappop(self._scores)
            codes = np.concatenate(self._queue.pop(score))
            ranks = self._rank(codes)
            order = np.lexsort((codes, ranks))
            codes, ranks = codes[order], ranks[order]
            self._fresh = []
            for start in range(0, len(codes), _CHUNK):
                chunk = codes[start : start + _CHUNK]
                weights = self._weigh(chunk)
                counts = np.minimum(self._counts(chunk), score // weights)
                stale = counts * weights < score
                alive = stale & (counts >= 2)
                self._enqueue(chunk[alive], (counts * weights)[alive])
                good = ~stale
                entries = zip(
                    ranks[start : start + _CHUNK][good].tolist(),
                    chunk[good].tolist(),
                    counts[good].tolist(),
                    strict=True,
                )
                for rank, code, count in entries:
                    while self._fresh and self._fresh[0][:3] < (-score, rank, code):
                        yield heapq.heappop(self._fresh)[2:]
                    yield code, count
            while self._fresh:
                yield heapq.heappop(self._fresh)[2:]

    # --- occurrences -----------------------------------------------------------

    def _occurrences(self, code: int) -> tuple[list[tuple[int, int, int]], int]:
        """Return ``(p, plus, minus)`` masks where the pattern occurs, and how often.

        ``p`` is the shift of the pattern's first term.
        """
        u, v, s, negate = unpack(code)
        first, second = self.masks[u], self.masks[v]
        penalty = abs((1 << self.level[u]) - (1 << self.level[v]))
        allowed = self._allowed(penalty) if penalty else -1
        found: list[tuple[int, int, int]] = []
        taken: dict[int, int] = {}
        total = 0
        for p in sorted(first) if u == v else first:
            other = second.get(p + s)
            if other is None:
                continue
            plus = first[p][0] & other[negate] & allowed
            minus = first[p][1] & other[1 - negate] & allowed
            if u == v:
                plus &= ~taken.get(p, 0)
                minus &= ~taken.get(p, 0)
                taken[p + s] = plus | minus
            if plus or minus:
                found.append((p, plus, minus))
                total += plus.bit_count() + minus.bit_count()
        if penalty and total >= 2 and len(found) > 1:
            found, total = self._within_room(found, penalty)
        return found, total

    def _allowed(self, penalty: int) -> int:
        """Return the mask of columns that have room for ``penalty``."""
        mask = self._open.get(penalty)
        if mask is None:
            mask = sum(1 << c for c, room in enumerate(self.room) if room >= penalty)
            self._open[penalty] = mask
        return mask

    def _within_room(
        self, found: list[tuple[int, int, int]], penalty: int
    ) -> tuple[list[tuple[int, int, int]], int]:
        """Drop occurrences of columns that have room for some of theirs only."""
        left: dict[int, int] = {}
        kept: list[tuple[int, int, int]] = []
        total = 0
        for p, plus, minus in found:
            for column in _bits(plus | minus):
                room = left.get(column, self.room[column])
                if room < penalty:
                    plus &= ~(1 << column)
                    minus &= ~(1 << column)
                else:
                    left[column] = room - penalty
                    total += 1
            if plus or minus:
                kept.append((p, plus, minus))
        return kept, total

    # --- replacement -----------------------------------------------------------

    def run(self) -> None:
        """Share patterns until none occurs twice."""
        for code, count in self._patterns():
            found, total = self._occurrences(code)
            if total == count:
                self._replace(code, found)
            elif total >= 2:
                codes = np.array([code])
                self._file(int(self._weigh(codes)[0]) * total, codes)

    def remaining(self) -> list[list[tuple[int, int, bool]]]:
        """Return the terms of each column, as ``(value, shift, negative)``, in order."""
        return [
            [(t >> _TERM, MIDDLE - (t >> 1 & _SHIFT_MASK), bool(t & 1)) for t in sorted(terms)]
            for terms in self.columns
        ]

    def _replace(self, code: int, found: list[tuple[int, int, int]]) -> None:
        u, v, s, negate = unpack(code)
        new = len(self.masks)
        penalty = abs((1 << self.level[u]) - (1 << self.level[v]))
        self.nodes.append(Shared(u, v, s, bool(negate)))
        self.level.append(1 + max(self.level[u], self.level[v]))
        ends = self.width[u] + max(-s, 0), self.width[v] + max(s, 0)
        self.width.append(1 + max(ends))
        self.masks.append({})
        placed: list[tuple[int, int]] = []
        for p, plus, minus in found:
            low = min(p, p + s)
            self.masks[new][low] = [plus, minus]
            taken = ~(plus | minus)
            for sign, mask in enumerate((plus, minus)):
                self.masks[u][p][sign] &= taken
                self.masks[v][p + s][sign ^ negate] &= taken
                for column in _bits(mask):
                    terms = self.columns[column]
                    terms.remove(u << _TERM | (MIDDLE - p) << 1 | sign)
                    terms.remove(v << _TERM | (MIDDLE - p - s) << 1 | sign ^ negate)
                    placed.append((column, low << 1 | sign))
                    if penalty:
                        self._spend(column, penalty)
        first, second = {p for p, _, _ in found}, {p + s for p, _, _ in found}
        if u == v:
            self._store(u, first | second)
        else:
            self._store(u, first)
            self._store(v, second)
        self._store(new, list(self.masks[new]))
        self._count_new(new, placed)
        for column, at in placed:
            shift, sign = at >> 1, at & 1
            self.columns[column].add(new << _TERM | (MIDDLE - shift) << 1 | sign)

    def _spend(self, column: int, penalty: int) -> None:
        self.room[column] -= penalty
        for threshold, mask in self._open.items():
            if self.room[column] < threshold:
                self._open[threshold] = mask & ~(1 << column)

    def _count_new(self, new: int, placed: list[tuple[int, int]]) -> None:
        """Queue the patterns of the new value with every other, and with itself."""
        parts: list[Codes] = []
        for column, at in placed:
            terms = self.columns[column]
            # Adding the shift turns 127 - q into the pattern's (p - q) + 127.
            part = np.fromiter(terms, np.int64, len(terms))
            parts.append((part + (at & ~1)) ^ (at & 1))
        keys = np.concatenate(parts)
        keys.sort()
        # A run of equal keys is as long as the pattern is frequent.
        bounds = np.flatnonzero(keys[1:] != keys[:-1]) + 1
        starts = np.concatenate((_ZERO, bounds))[: len(keys)]
        counts = np.concatenate((bounds, [len(keys)]))[: len(keys)] - starts
        often = counts >= 2
        keys, counts = keys[starts[often]], counts[often]
        codes = (keys >> _TERM) << _FIRST | new << _SECOND | keys & 0x1FF
        own = self.masks[new]
        if len(own) > 1:
            places = sorted(own)
            pairs = {q - p for p in places for q in places if q > p}
            again = [
                new << _FIRST | new << _SECOND | (s + MIDDLE) << 1 | negate
                for s in sorted(pairs)
                for negate in (0, 1)
            ]
            found = [(c, n) for c in again if (n := self._occurrences(c)[1]) >= 2]
            codes = np.concatenate((codes, np.array([c for c, _ in found], np.int64)))
            counts = np.concatenate((counts, np.array([n for _, n in found], np.int64)))
        if not len(codes):
            return
        scores = counts * self._weigh(codes)
        now = scores >= self._current
        if now.any():
            ready = (-scores[now], self._rank(codes[now]), codes[now], counts[now])
            for entry in zip(*(part.tolist() for part in ready), strict=True):
                heapq.heappush(self._fresh, entry)
        self._enqueue(codes[~now], scores[~now])


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
