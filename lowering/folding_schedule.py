"""Place the parts of a folded layer in cycles: each as soon as it fits before a clock edge."""

from dataclasses import dataclass, field

import numpy as np

from fastml.dialects.qflow_folded import FoldedAttr, Order, Products, Storage
from fastml.lowering.delay import DelayModel
from fastml.lowering.folding import Layer
from fastml.lowering.folding_pipeline import Pipeline, parts_of
from fastml.lowering.folding_terms import Terms, terms_of
from fastml.lowering.scalars import storage_width


@dataclass
class _Front:
    """How far the pipeline has come: a cycle, and the ns since its clock edge."""

    slack: float
    cycle: int
    time: float = 0.0
    longest: float = 0.0
    cycles: list[int] = field(default_factory=list[int])

    def add(self, delay: float) -> None:
        """Add an operation: in the same cycle if it fits, else in the next."""
        self.longest = max(self.longest, delay)
        if self.time + delay > self.slack:
            self.cycle, self.time = self.cycle + 1, 0.0
        self.time += delay
        self.cycles.append(self.cycle)

    def register(self) -> None:
        """Let what follows begin in the next cycle."""
        self.cycle, self.time = self.cycle + 1, 0.0


def schedule_plan(
    layer: Layer, plan: FoldedAttr, delay: DelayModel, slack: float
) -> tuple[FoldedAttr, float]:
    """Return the plan with its pipeline, and the longest operation in ns."""
    terms = terms_of(layer, plan)
    parts = parts_of(terms)
    reads = _reads(terms, plan, delay)
    front = _Front(slack, parts.select + 1, longest=reads)
    front.add(_product(terms, plan, delay))
    if Products(plan.products.data) is Products.MULTIPLIER:
        front.register()
    for width in _tree_widths(terms)[1:]:
        front.add(float(delay.adder(width)))
    total = max(_width(terms, group) for group in range(terms.slots.shape.groups))
    choice = float(delay.mux(2)) if terms.slots.shape.slots > 1 else 0.0
    front.add(float(delay.adder(total)) + choice)
    for level in range(parts.joins):
        front.add(float(delay.adder(total + level + 1)))
    found = Pipeline.of(plan.with_pipeline([parts.select, *front.cycles], 0), terms)
    return plan.with_pipeline(found.cycles, found.latency), front.longest


def _reads(terms: Terms, plan: FoldedAttr, delay: DelayModel) -> float:
    """Return the time of the longest choice among inputs, or read of a constant."""
    shape = terms.slots.shape
    words = shape.depth if Storage(plan.storage.data) is Storage.LOGIC else 1
    table = float(delay.lookup((max(words, shape.trips) - 1).bit_length()))
    ways = shape.slots * terms.layer.positions
    if shape.order is not Order.IN_STEP:
        ways = len(np.unique(terms.index))
    elif words == 1:
        table = 0.0
    return max(table, float(delay.mux(ways)))


def _product(terms: Terms, plan: FoldedAttr, delay: DelayModel) -> float:
    """Return the time of the slowest product."""
    low, high = int(terms.low.min()), int(terms.high.max())
    width = storage_width(low, high)
    if Products(plan.products.data) is Products.SHIFT_ADD:
        kinds = len(np.unique(np.abs(terms.weight)))
        return float(delay.mux(kinds)) + float(delay.level)
    weights = storage_width(*terms.layer.weights)
    rows = int(np.ceil(np.log2(max(min(weights, width - weights), 2))))
    return rows * float(delay.adder(width))


def _tree_widths(terms: Terms) -> list[int]:
    """Return the widest sum of each level of the adder trees."""
    widths = [1] * (terms.depth + 1)
    for group in range(terms.slots.shape.groups):
        for level, (lows, highs) in enumerate(terms.levels(group)):
            width = storage_width(int(lows.min()), int(highs.max()))
            widths[level] = max(widths[level], width)
    return widths


def _width(terms: Terms, group: int) -> int:
    """Return the width of an accumulator."""
    low, high = terms.running
    return storage_width(int(low[:, group].min()), int(high[:, group].max()))
