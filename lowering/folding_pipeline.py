"""In which cycle of an iteration each part of a folded layer executes."""

from dataclasses import dataclass

from fastml.dialects.qflow_folded import FoldedAttr, Order
from fastml.lowering.folding_terms import Terms


@dataclass(frozen=True)
class Pipeline:
    """Cycles, counted from the one in which an iteration reads its constants."""

    trips: int
    select: int
    """The inputs are selected."""
    product: int
    levels: tuple[int, ...]
    """Levels of the adder tree."""
    accumulate: int
    joins: tuple[int, ...]
    """Levels of the adders of outputs that several groups share, after the last iteration."""
    kept: bool
    """Sums wait in a memory for the end."""

    @classmethod
    def of(cls, plan: FoldedAttr, terms: Terms) -> "Pipeline":
        """Read the pipeline of an architecture, or the shortest one where it has none."""
        parts = parts_of(terms)
        if plan.scheduled:
            cycles = plan.cycles
        else:
            product = parts.select + 1
            tree = [product + 1 + k for k in range(parts.levels)]
            cycles = [parts.select, product, *tree, product + parts.levels + 1]
            cycles += [cycles[-1] + k for k in range(parts.joins)]
        if len(cycles) != 3 + parts.levels + parts.joins or cycles[0] != parts.select:
            raise ValueError("the pipeline does not fit the plan")
        return cls(
            terms.slots.shape.trips,
            cycles[0],
            cycles[1],
            tuple(cycles[2 : 2 + parts.levels]),
            cycles[2 + parts.levels],
            tuple(cycles[3 + parts.levels :]),
            parts.kept,
        )

    @property
    def cycles(self) -> list[int]:
        """All of them, as an architecture has them."""
        return [self.select, self.product, *self.levels, self.accumulate, *self.joins]

    @property
    def first(self) -> int:
        """Cycle of the first iteration; the inputs are held from cycle 1 on."""
        return 1 - self.select

    @property
    def end(self) -> int:
        """Cycle of the first iteration's accumulation, in the last iteration."""
        return self.first + self.trips - 1 + self.accumulate

    @property
    def finish(self) -> int:
        """Cycle in which the last output is stored."""
        after = [self.first + self.trips - 1 + cycle for cycle in self.joins]
        return max([self.end + self.kept, *after])

    @property
    def latency(self) -> int:
        """Cycle in which the outputs are there."""
        return self.finish + 1


@dataclass(frozen=True)
class Parts:
    """How many parts a pipeline has."""

    select: int
    levels: int
    joins: int
    kept: bool


def parts_of(terms: Terms) -> Parts:
    """Return the parts that the pipeline of a layer needs."""
    slots = terms.slots
    if slots.shape.order is Order.IN_STEP:
        return Parts(0, terms.depth, 0, False)
    most = max((len(runs) for runs in slots.split.values()), default=1)
    kept = any(run.whole and run.stop < slots.shape.trips for run in slots.runs)
    return Parts(1, terms.depth, (most - 1).bit_length(), kept)
