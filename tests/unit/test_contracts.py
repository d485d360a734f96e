"""Contracts: the chosen implementations against all possible ones."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from fastml.lowering.contracts import (
    LUT_PER_BRAM,
    LUT_PER_DSP,
    Choice,
    Limits,
    Problem,
    choose,
    least,
)

SMALL = st.integers(0, 6)
CHOICES = st.lists(
    st.builds(Choice, ii=st.integers(1, 8), latency=SMALL, dsp=SMALL, bram=SMALL, lut=SMALL),
    min_size=1,
    max_size=3,
)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    problem = Problem()
    for stage in range(draw(st.integers(1, 4))):
        sources = draw(st.sets(st.integers(0, stage - 1))) if stage else set[int]()
        problem.add(draw(CHOICES), sources)
    return problem


LIMITS = st.builds(
    Limits,
    ii=st.none() | st.integers(1, 8),
    latency=st.none() | st.integers(0, 12),
    dsp=st.none() | st.integers(0, 15),
    bram=st.none() | st.integers(0, 15),
    lut=st.none() | st.integers(0, 15),
)


def total_of(problem: Problem, picks: tuple[int, ...]) -> Choice:
    taken = [choices[pick] for choices, pick in zip(problem.choices, picks, strict=True)]
    ends = list[int]()
    for choice, sources in zip(taken, problem.sources, strict=True):
        ends.append(choice.latency + max([ends[source] for source in sources], default=0))
    sums = {name: sum(getattr(c, name) for c in taken) for name in ("dsp", "bram", "lut")}
    return Choice(ii=max(c.ii for c in taken), latency=max(ends), **sums)


def every(problem: Problem, limits: Limits) -> list[Choice]:
    """Return what all selections within the limits come to."""
    ranges = [range(len(choices)) for choices in problem.choices]
    totals = [total_of(problem, picks) for picks in product(*ranges)]
    bounds = limits.given().items()
    return [t for t in totals if all(getattr(t, name) <= bound for name, bound in bounds)]


def area(choice: Choice) -> int:
    return choice.lut + LUT_PER_DSP * choice.dsp + LUT_PER_BRAM * choice.bram


@given(problems(), LIMITS)
@settings(max_examples=150, deadline=None)
def test_the_best_selection_is_found(problem: Problem, limits: Limits):
    within = every(problem, limits)
    found = choose(problem, limits)
    if not within:
        assert found is None
        return
    assert found is not None
    assert found.total == total_of(problem, found.picks)
    assert found.total in within
    if limits.ii is None:
        fastest = min(total.ii for total in within)
        assert found.total.ii == fastest
        within = [total for total in within if total.ii == fastest]
    best = min((area(total), total.latency) for total in within)
    assert area(found.total) <= best[0] * (1 + 2e-4) + 1e-3 * 12
    assert found.gap <= 1e-3


@given(problems(), LIMITS, st.sampled_from(["ii", "latency", "dsp", "bram", "lut"]))
@settings(max_examples=100, deadline=None)
def test_the_least_of_one_figure(problem: Problem, limits: Limits, what: str):
    others = Limits(**{name: v for name, v in limits.given().items() if name != what})
    within = every(problem, others)
    expected = min((getattr(total, what) for total in within), default=None)
    assert least(problem, limits, what) == expected
