"""Choose one implementation for every stage so that the whole design keeps a contract.

An integer program: each stage takes exactly one of its choices; multipliers, memories and
look-up tables add up; latencies add up along every path; the slowest stage gives the
interval of the design. Solved by HiGHS. First the interval is made as short as the limits
allow (unless a limit on it is given), then the area, then the latency.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

LUT_PER_DSP = 173
LUT_PER_BRAM = 273
"""Look-up tables that weigh as much as one of these: their shares of a large FPGA, the
VU9P (1,182k LUT, 6,840 DSP, 4,320 memories of 18 kbit)."""
GAP = 1e-4
"""Relative distance from the optimum at which the search ends."""
TIME_LIMIT = 20.0
"""Seconds of search for each objective; what is left of the gap then is reported."""
BALANCE = 1e-3
"""Weight of a cycle of latency against a look-up table: it only breaks ties."""


@dataclass(frozen=True)
class Choice:
    """One way to build a stage, and what it costs."""

    ii: int = 1
    latency: int = 0
    dsp: int = 0
    bram: int = 0
    lut: int = 0


@dataclass(frozen=True)
class Limits:
    """At most so much; None: no limit."""

    ii: int | None = None
    latency: int | None = None
    dsp: int | None = None
    bram: int | None = None
    lut: int | None = None

    def given(self) -> dict[str, int]:
        """Return the limits that are set, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass
class Problem:
    """Stages in topological order, each with its choices and the stages before it."""

    choices: list[Sequence[Choice]] = field(default_factory=list[Sequence[Choice]])
    sources: list[Sequence[int]] = field(default_factory=list[Sequence[int]])
    starts: list[int] = field(default_factory=list[int])
    """When each stage would have all of a frame if no stage took any time."""

    def add(self, choices: Sequence[Choice], sources: Iterable[int] = (), start: int = 0) -> int:
        """Add a stage; return its number."""
        assert choices
        self.choices.append(choices)
        self.sources.append(tuple(sources))
        self.starts.append(start)
        assert all(source < len(self.choices) - 1 for source in self.sources[-1])
        return len(self.choices) - 1


@dataclass(frozen=True)
class Selection:
    """What was chosen for each stage, and what it comes to."""

    picks: tuple[int, ...]
    total: Choice
    gap: float
    """Relative distance from the optimum that is not excluded."""


def choose(problem: Problem, limits: Limits) -> Selection | None:
    """Return the best selection within ``limits``; None if there is none."""
    gap = 0.0
    if limits.ii is None:
        program = _Program(problem, limits)
        if not program.minimise({"ii": 1.0}):
            return None
        gap, limits = program.gap, replace(limits, ii=program.total().ii)
    program = _Program(problem, limits)
    weights = {"lut": 1.0, "dsp": LUT_PER_DSP, "bram": LUT_PER_BRAM, "latency": BALANCE}
    if not program.minimise(weights):
        return None
    return Selection(program.picks(), program.total(), max(gap, program.gap))


def least(problem: Problem, limits: Limits, what: str) -> int | None:
    """Return the least of one figure that the other limits allow; None: not even so."""
    program = _Program(problem, replace(limits, **{what: None}))
    return getattr(program.total(), what) if program.minimise({what: 1.0}) else None


class _Program:
    """The integer program of a problem."""

    def __init__(self, problem: Problem, limits: Limits):
        import highspy

        self.problem = problem
        self.solver: Any = highspy.Highs()
        self.solver.silent()
        self.solver.setOptionValue("threads", 1)
        self.solver.setOptionValue("random_seed", 0)
        self.solver.setOptionValue("mip_rel_gap", GAP)
        self.solver.setOptionValue("time_limit", TIME_LIMIT)
        self.optimal: Any = highspy.HighsModelStatus.kOptimal
        self.limited: Any = highspy.HighsModelStatus.kTimeLimit
        self.gap = 0.0
        self.takes = [[self.solver.addBinary() for _ in choices] for choices in problem.choices]
        for takes in self.takes:
            self.solver.addConstr(sum(takes) == 1)
        self.figures: Mapping[str, Any] = {
            "ii": self._largest(),
            "latency": self._longest(),
            **{name: self._sum(name) for name in ("dsp", "bram", "lut")},
        }
        for name, value in limits.given().items():
            self.solver.addConstr(self.figures[name] <= value)

    def _variable(self) -> Any:
        return self.solver.addVariable(lb=0)

    def _of(self, stage: int, name: str) -> Any:
        pairs = zip(self.problem.choices[stage], self.takes[stage], strict=True)
        return sum(float(getattr(choice, name)) * take for choice, take in pairs)

    def _sum(self, name: str) -> Any:
        total = self._variable()
        parts = [self._of(stage, name) for stage in range(len(self.takes))]
        self.solver.addConstr(total == sum(parts))
        return total

    def _largest(self) -> Any:
        largest = self._variable()
        for stage in range(len(self.takes)):
            self.solver.addConstr(largest >= self._of(stage, "ii"))
        return largest

    def _longest(self) -> Any:
        longest, arrivals = self._variable(), list[Any]()
        for stage, sources in enumerate(self.problem.sources):
            arrival = self._variable()
            own = self._of(stage, "latency")
            self.solver.addConstr(arrival >= own)
            for source in sources:
                self.solver.addConstr(arrival >= arrivals[source] + own)
            self.solver.addConstr(longest >= arrival + float(self.problem.starts[stage]))
            arrivals.append(arrival)
        return longest

    def minimise(self, weights: Mapping[str, float]) -> bool:
        """Minimise a weighted sum of figures; return whether there is a solution."""
        if not self.takes:
            return True
        self.solver.minimize(sum(w * self.figures[name] for name, w in weights.items()))
        status = self.solver.getModelStatus()
        info = self.solver.getInfo()
        found = status == self.optimal or (
            status == self.limited and info.primal_solution_status == 2
        )
        if found:
            self.gap = max(0.0, float(info.mip_gap)) if info.mip_gap < 1e20 else 0.0
        return found

    def picks(self) -> tuple[int, ...]:
        """Return the number of each stage's choice."""
        return tuple(
            max(range(len(takes)), key=lambda at: self.solver.val(takes[at]))
            for takes in self.takes
        )

    def total(self) -> Choice:
        """Return what the choices come to, in whole numbers."""
        taken = [c[pick] for c, pick in zip(self.problem.choices, self.picks(), strict=True)]
        arrivals = list[int]()
        for choice, sources in zip(taken, self.problem.sources, strict=True):
            before = max((arrivals[source] for source in sources), default=0)
            arrivals.append(before + choice.latency)
        ends = [end + start for end, start in zip(arrivals, self.problem.starts, strict=True)]
        return Choice(
            ii=max((choice.ii for choice in taken), default=1),
            latency=max(ends, default=0),
            dsp=sum(choice.dsp for choice in taken),
            bram=sum(choice.bram for choice in taken),
            lut=sum(choice.lut for choice in taken),
        )
