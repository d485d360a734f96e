"""Solve constant matrices greedily: signed digits, two-term sharing, flat trees.

A few variants of the search, which differ in the order in which patterns are shared and
in whether columns are first written as differences, are solved and the cheapest answer
is kept. How many is a matter of the problem's size and budget, never of the clock.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastml.lowering.cmvm.blocks import blocks_of, gathered, joined
from fastml.lowering.cmvm.csd import Digits, compact, csd
from fastml.lowering.cmvm.differences import differences
from fastml.lowering.cmvm.graph import Graph
from fastml.lowering.cmvm.integers import Integers, narrowed, trailing_zeros, widths
from fastml.lowering.cmvm.problem import Problem
from fastml.lowering.cmvm.sharing import Policy, Sharing
from fastml.lowering.cmvm.trees import Builder, Term

EXTRA_DEPTH = 2
"""Levels by which sharing may make a graph deeper than the flattest trees."""

_DIGITS = 100_000
"""Signed digits that one unit of budget recodes into adders."""
_FEW = 8
"""Digits up to which one variant finds what any does."""
_DISTANCES = 20_000_000
"""Matrix entries times columns up to which column differences are searched."""
_DIFFERENCE_BITS = 40
"""Bits of weights up to which they are."""
_ROWS = 128
"""Inputs of a part of a matrix that falls apart; blocks of fewer are solved together."""
_LATEST = 64
"""Levels by which inputs are told apart; later ones count as that late."""


@dataclass(frozen=True)
class Variant:
    """One way to search."""

    policy: Policy
    differences: int = 1
    """Edges on the longest path of the tree of column differences, 1 for no tree."""
    recode: Callable[[Integers], Digits] = compact
    """Which of the recodings with the fewest digits is used."""


VARIANTS = (
    Variant(Policy(base=0, overlap=True, depth=-1)),
    Variant(Policy(base=4, overlap=True, noise=1), differences=2),
    Variant(Policy(base=16, overlap=True, depth=-1)),
    Variant(Policy(base=8, overlap=True, noise=2), differences=3),
    Variant(Policy(base=4, overlap=True, noise=1), recode=csd),
)
"""What one unit of budget pays for, in this order, for a small matrix."""


@dataclass(frozen=True)
class _Columns:
    """The distinct columns of a matrix, up to sign and shift, and their use.

    Output ``j`` is ``+-(distinct column of[j] << shift[j]) + bias[j]``.
    """

    matrix: Integers
    of: list[int]
    shift: list[int]
    negative: list[bool]
    bias: list[int]


def solve(problem: Problem) -> Graph:
    """Fill the solver's seam; see the module.

    Honours ranges, steps, arrival times, cost model, budget and seed. Ignores demanded
    bits, quantisers and deadlines: all bits are computed, as early as this search can.
    """
    matrix, bias = problem.fold(problem.matrix, problem.bias)
    digits = int(np.count_nonzero(csd(_distinct(matrix, bias).matrix)))
    variants = list(_variants(problem.budget, digits, problem.seed))
    blocks = gathered(blocks_of(matrix), _ROWS)
    if len(blocks) < 2:
        return _solve_block(problem, matrix, bias, variants)
    parts = [block.problem(problem, matrix, bias) for block in blocks]
    graphs = [_solve_block(part, part.matrix, part.bias, variants) for part in parts]
    return joined(problem, bias, blocks, graphs)


def _solve_block(
    problem: Problem, matrix: Integers, bias: Integers, variants: Sequence[Variant]
) -> Graph:
    """Solve a matrix whose fixed inputs have been moved to its bias."""
    columns = _distinct(matrix, bias)
    levels = _levels(problem)
    best: tuple[tuple[bool, float, int], Graph] | None = None
    small = columns.matrix.size * columns.matrix.shape[1] <= _DISTANCES
    narrow = bool(np.all(np.abs(matrix) < 1 << _DIFFERENCE_BITS))
    for variant in variants:
        if variant.differences > 1 and not (small and narrow):
            variant = replace(variant, differences=1)
        spans = list(zip(problem.low.tolist(), problem.high.tolist(), strict=True))
        builder = Builder(levels, spans)
        limit, outputs = _solve(builder, columns, variant)
        graph = builder.graph(outputs)
        used = [t.value for t in outputs if isinstance(t, Term)]
        depth = max((builder.level[v] for v in used), default=0)
        key = (depth > limit, _cost(problem, graph), depth)
        if best is None or key < best[0]:
            best = key, graph
    assert best is not None
    return best[1]


def _cost(problem: Problem, graph: Graph) -> float:
    cost, model = graph.cost(problem.grid(graph)), problem.cost
    return model.adder * cost.adders + model.bit * cost.bits


def _variants(budget: int, digits: int, seed: int) -> Iterator[Variant]:
    """Choose the variants that a budget pays for: at most all of them a unit.

    A budget of zero, and a matrix with next to nothing to share, get one.
    """
    if budget == 0 or digits <= _FEW:
        count = 1
    else:
        count = max(2, min(budget * _DIGITS // digits, budget * len(VARIANTS)))
    for i in range(count):
        variant = VARIANTS[i % len(VARIANTS)]
        noise = variant.policy.noise + (i // len(VARIANTS) and i) + seed
        yield replace(variant, policy=replace(variant.policy, noise=noise))


def _levels(problem: Problem) -> list[int]:
    """Return how many adders later than the earliest input each one arrives."""
    bits = widths(problem.low, problem.high)
    typical = int(np.median(bits)) + 2 if len(bits) else 1
    unit = float(problem.cost.delay.adder(typical))
    if unit == 0 or not len(bits):
        return [0] * len(bits)
    late = np.ceil((problem.arrival - problem.arrival.min()) / unit - 1e-9)
    return [int(v) for v in np.minimum(late, _LATEST)]


def _distinct(matrix: Integers, bias: Integers) -> _Columns:
    """Find the columns that are equal up to sign and a power of two."""
    joint = np.bitwise_or.reduce(matrix, axis=0, initial=0)
    shifts = np.where(joint == 0, 0, trailing_zeros(joint))
    odd = matrix >> shifts
    leading = np.vstack([odd, np.ones_like(joint)])
    first = np.argmax(leading != 0, axis=0)
    negative = leading[first, np.arange(len(joint))] < 0
    known: dict[bytes, int] = {}
    plain = np.where(negative, -odd, odd)
    of = [known.setdefault(column.tobytes(), len(known)) for column in plain.T]
    chosen = [of.index(k) for k in range(len(known))]
    # The first of several equal columns keeps its sign, the others are relative to it.
    negative = negative != negative[chosen][of] if of else negative
    return _Columns(odd[:, chosen], of, shifts.tolist(), negative.tolist(), bias.tolist())


def _solve(builder: Builder, columns: _Columns, variant: Variant) -> tuple[int, list[Term | int]]:
    """Solve one variant; return the depth that is wanted, and the outputs."""
    matrix, values = columns.matrix, list(range(builder.n_in))
    weight = _weight(builder, matrix, values).max(initial=1)
    constant = any(columns.bias)
    limit = int(weight - 1 + constant).bit_length() + EXTRA_DEPTH
    if variant.differences > 1 and matrix.shape[1] > 1:
        edges, paths = differences(matrix, variant.differences)
        lengths = np.count_nonzero(paths, axis=0) - 1 + constant
        above = [int(n).bit_length() for n in np.where(paths, lengths, 0).max(axis=1)]
        limits = [limit - levels for levels in above]
        sums = _share(builder, edges, values, variant, limits)
        terms = [builder.total(s, 0, 0, signed=True) for s in sums]
        matrix, values = _as_inputs(terms, paths)
    sums = _share(builder, matrix, values, variant, [limit] * matrix.shape[1])
    return limit, _outputs(builder, columns, sums)


def _weight(builder: Builder, matrix: Integers, values: list[int]) -> NDArray[np.int64]:
    """Return ``sum(2**level)`` over each column's digits: the room that it takes."""
    digits = np.count_nonzero(csd(matrix), axis=0).astype(object)
    ready = np.array([1 << builder.level[v] for v in values], object)
    return np.asarray((digits * ready[:, None]).sum(axis=0), object)


def _as_inputs(terms: list[Term | int], paths: Integers) -> tuple[Integers, list[int]]:
    """Turn a matrix over signed and shifted terms into one over their values."""
    rows: dict[int, Integers] = {}
    for term, path in zip(terms, paths, strict=True):
        if isinstance(term, Term):
            row = path << term.shift
            row = -row if term.negative else row
            rows[term.value] = rows.get(term.value, 0) + row
    if not rows:
        return np.zeros((0, paths.shape[1]), np.int64), []
    return np.stack(list(rows.values())), list(rows)


def _share(
    builder: Builder,
    matrix: Integers,
    values: list[int],
    variant: Variant,
    limits: list[int],
) -> list[list[Term]]:
    """Share patterns of the columns; return the terms that each one still sums.

    ``limits`` bounds the depth of each column's sum, where that is possible.
    """
    least = [int(w - 1).bit_length() if w else 0 for w in _weight(builder, matrix, values)]
    spans = [builder.span[v] for v in values]
    lows, highs = (np.array([s[k] for s in spans], object) for k in (0, 1))
    sharing = Sharing(
        variant.recode(matrix),
        [builder.level[v] for v in values],
        [max(pair) for pair in zip(least, limits, strict=True)],
        widths(narrowed(lows), narrowed(highs)).tolist(),
        variant.policy,
    )
    sharing.run()
    ids = list(values)
    for u, v, shift, negate in sharing.nodes:
        ids.append(builder.node(ids[u], ids[v], shift, int(negate)))
    return [
        [Term(ids[v], shift, negative) for v, shift, negative in terms]
        for terms in sharing.remaining()
    ]


def _outputs(builder: Builder, columns: _Columns, sums: list[list[Term]]) -> list[Term | int]:
    """Sum up every column, a bias with it where the column has one use."""
    alone = [columns.of.count(k) == 1 for k in range(len(sums))]
    jobs: list[tuple[list[Term], int]] = []
    for j, k in enumerate(columns.of):
        if alone[k]:
            terms = [
                Term(t.value, t.shift + columns.shift[j], t.negative ^ columns.negative[j])
                for t in sums[k]
            ]
            jobs.append((terms, columns.bias[j]))
        else:
            jobs.append((sums[k], 0))
    depth = max((builder.room_for(*job, signed=False) for job in jobs), default=0)
    outputs: list[Term | int] = []
    for j, (terms, constant) in enumerate(jobs):
        signed = not alone[columns.of[j]]
        total = builder.total(terms, constant, depth, signed)
        if signed and isinstance(total, Term):
            shift, flip = total.shift + columns.shift[j], columns.negative[j]
            total = Term(total.value, shift, total.negative ^ flip)
            if columns.bias[j] or total.negative:
                total = builder.add_constant(total, columns.bias[j])
        elif signed:
            total = columns.bias[j]
        outputs.append(total)
    return outputs
