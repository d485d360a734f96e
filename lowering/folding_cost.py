"""What a folded layer costs, and the cheapest plan of a reuse factor.

All figures are estimates in 6-input look-up tables, multipliers and block memories. They
are compared with the weights of :mod:`fastml.lowering.contracts`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastml.dialects import qflow
from fastml.dialects.array import Integers
from fastml.dialects.channel import channel_of
from fastml.dialects.elements import width_of
from fastml.dialects.qflow_folded import FoldedAttr, Order, Products, Storage
from fastml.lowering.cmvm.csd import compact
from fastml.lowering.contracts import LUT_PER_BRAM, LUT_PER_DSP
from fastml.lowering.folding import Layer, Shape, ceil_div, shape_of
from fastml.lowering.folding_terms import digits_of

SMALL_PRODUCT = 16
"""Bits of one factor times bits of the other, up to which a product is made of tables."""
TABLE_WORDS = 64
"""Words that a look-up table holds of one bit."""
MUX_WAYS = 4
"""Inputs among which a look-up table chooses."""
BLOCKS = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of a word that a block memory can have."""
DSP_WIDTHS = (18, 27)
"""Widths of the factors of a multiplier."""


DSP_WEIGHT = 1.5 * LUT_PER_DSP
"""Look-up tables worth a multiplier: more than its share, as its wires are long."""
DEEP, DEEP_FACTOR = 256, 1.5
"""Words of a constant memory from which on its multiplexers cost too, and how much."""
ADDERS_A_DIGIT = 0.45
"""Adders of a solved matrix for each non-zero signed digit of its weights: 0.35 to 0.55 on
the jet tagger, TFC and UNSW."""
LUTS_A_BIT = 0.78
"""Look-up tables for each bit of an adder: bits that only one operand has are often wires."""


@dataclass(frozen=True)
class Cost:
    """Estimated resources of a folded layer, without the registers of its beats."""

    lut: float = 0.0
    dsp: int = 0
    bram: int = 0
    multipliers: int = 0
    """Of any kind: in a DSP or not."""

    @property
    def weight(self) -> float:
        """One figure to compare plans by."""
        return self.lut + DSP_WEIGHT * self.dsp + LUT_PER_BRAM * self.bram


def table_luts(words: int, bits: float) -> float:
    """Return the look-up tables of a constant memory."""
    if words <= 1:
        return 0.0
    tree = DEEP_FACTOR if words > DEEP else 1.0
    return bits * tree * max(words / TABLE_WORDS, min(words, 16) / 16)


def block_memories(words: int, bits: int) -> int:
    """Return the block memories of a constant memory."""
    return min(ceil_div(words, depth) * ceil_div(bits, width) for depth, width in BLOCKS)


def mux_luts(ways: int, bits: int) -> float:
    """Return the look-up tables that choose one of several words."""
    return bits * ways / MUX_WAYS if ways > 1 else 0.0


@dataclass(frozen=True)
class Estimator:
    """Prices the plans of one layer."""

    layer: Layer

    @cached_property
    def input_bits(self) -> int:
        """Width of the widest input."""
        lows, highs = self.layer.lows.tolist(), self.layer.highs.tolist()
        widths = [width_of(low, high)[0] for low, high in zip(lows, highs, strict=True)]
        return max(*widths, 1)

    @cached_property
    def weight_bits(self) -> int:
        """Width of a weight."""
        return max(width_of(*self.layer.weights)[0], 1)

    @cached_property
    def sum_bits(self) -> int:
        """Width of a sum."""
        layer = self.layer
        weights = np.abs(layer.matrix.astype(object)).sum(axis=0)
        if layer.loadable is not None:
            weights = np.full_like(weights, max(map(abs, layer.weights)) * len(layer.matrix))
        largest = max(abs(int(layer.lows.min())), abs(int(layer.highs.max())))
        reach = int((weights * largest + np.abs(layer.bias.astype(object))).max())
        return reach.bit_length() + 1

    @cached_property
    def digits(self) -> tuple[int, int, int]:
        """Most digits of a weight, kinds of shifts of a digit, and bits that say which."""
        digits = digits_of(self.layer.matrix)
        kinds = bits = 0
        for k in range(digits.shape[-1]):
            values = np.unique(digits[..., k])
            shifts = len(np.unique(np.abs(values)))
            kinds = max(kinds, shifts)
            bits += (shifts - 1).bit_length() + int(values[0] < 0 <= values[-1])
        return digits.shape[-1], kinds, bits

    def product(self, products: Products) -> tuple[Cost, float]:
        """Return the cost of one lane's product, and the bits of its constants."""
        x, w = self.input_bits, self.weight_bits
        if products is Products.MULTIPLIER:
            if x * w <= SMALL_PRODUCT:
                return Cost(lut=x * w, multipliers=1), w
            small, large = sorted((x, w))
            blocks = ceil_div(small, DSP_WIDTHS[0]) * ceil_div(large, DSP_WIDTHS[1])
            return Cost(dsp=blocks, multipliers=1), w
        count, kinds, bits = self.digits
        width = x + (self.weight_bits if kinds > 2 else 1)
        one = width * max(1.0, (kinds - 1) / 2)
        return Cost(lut=count * one + (count - 1) * width), bits

    def of(self, shape: Shape, products: Products) -> tuple[Cost, Storage]:
        """Return the cost of a plan, and where its weights are."""
        product, constant_bits = self.product(products)
        lanes = shape.groups * shape.lanes
        x, total = self.input_bits, self.sum_bits
        lut = lanes * product.lut + shape.groups * (shape.lanes - 1) * (total + x) / 2
        if shape.order is Order.IN_STEP:
            ways = shape.slots * self.layer.positions
            lut += shape.lanes * mux_luts(ways, x)
            lut += table_luts(shape.per_group, shape.groups * total)
        else:
            ways = min(shape.trips, len(self.layer.lows))
            lut += lanes * (mux_luts(ways, x) + table_luts(shape.trips, ways.bit_length()))
            lut += shape.groups * (table_luts(shape.trips, total + 4) + total)
        if shape.slots > 1:
            lut += shape.groups * total
        words, bits = shape.depth, lanes * constant_bits
        storage, bram, logic = Storage.LOGIC, 0, table_luts(words, bits)
        blocks = block_memories(words, int(bits))
        if words > TABLE_WORDS and blocks * LUT_PER_BRAM < logic:
            storage, bram, logic = Storage.BLOCK, blocks, 0.0
        dsp = lanes * product.dsp
        return Cost(lut + logic, dsp, bram, lanes * product.multipliers), storage

    def products(self) -> Products:
        """Return what takes fewer look-up tables where neither is a DSP."""
        if self.weight_bits > 16 or self.layer.loadable is not None:
            return Products.MULTIPLIER
        shifted = self.product(Products.SHIFT_ADD)[0].lut
        cheaper = shifted <= self.input_bits * self.weight_bits
        return Products.SHIFT_ADD if cheaper else Products.MULTIPLIER

    @cached_property
    def lanes(self) -> list[int]:
        """Numbers of lanes that are worth trying."""
        return lanes_of(len(self.layer.matrix))

    def cheapest(self, reuse: int, products: Products | None = None) -> tuple[FoldedAttr, Cost]:
        """Return the cheapest plan of a reuse factor; ``products`` forces what multiplies."""
        kind = self.products() if products is None else products
        best: tuple[float, FoldedAttr, Cost] | None = None
        loadable = self.layer.loadable is not None
        for order in (Order.IN_STEP, Order.END_TO_END) if loadable else Order:
            for lanes in self.lanes:
                shape = shape_of(self.layer.matrix, self.layer.positions, reuse, lanes, order)
                if shape is None:
                    continue
                cost, storage = self.of(shape, kind)
                if best is None or cost.weight < best[0]:
                    plan = FoldedAttr(reuse, shape.groups, lanes, order, kind, storage)
                    best = cost.weight, plan, cost
        assert best is not None, "one lane that works on every product in turn is a plan"
        return best[1:]


def lanes_of(rows: int) -> list[int]:
    """Return the numbers of lanes that differ in the slots of an output."""
    return sorted({ceil_div(rows, ceil_div(rows, lanes)) for lanes in range(1, rows + 1)})


def choose_plan(
    layer: Layer, reuse: int, products: Products | None = None
) -> tuple[FoldedAttr, Cost]:
    """Return the cheapest plan of a reuse factor; ``products`` forces what multiplies."""
    return Estimator(layer).cheapest(reuse, products)


def planned_cost(layer: Layer, plan: FoldedAttr) -> Cost:
    """Return the cost of the plan that a stage has."""
    lanes, order = plan.lanes.data, Order(plan.order.data)
    shape = shape_of(layer.matrix, layer.positions, plan.reuse.data, lanes, order)
    assert plan.planned
    assert shape is not None
    return Estimator(layer).of(shape, Products(plan.products.data))[0]


def digit_count(matrix: Integers) -> Integers:
    """Return the number of non-zero signed digits of each weight."""
    return np.count_nonzero(compact(matrix), axis=0)


def adder_graph_luts(stage: qflow.DenseOp) -> float:
    """Estimate the look-up tables of a stage as an adder graph, before one is made."""
    adders = ADDERS_A_DIGIT * int(digit_count(stage.matrix.integers).sum()) * stage.positions
    wide = max(stage.channel.elements.widths, default=0)
    narrow = max(channel_of(stage.input).elements.widths, default=0)
    return adders * LUTS_A_BIT * (wide + narrow) / 2
