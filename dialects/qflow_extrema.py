"""The stage of the ``qflow`` dialect that compares elements: a tree of comparators for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import auto
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import SpacedOpaqueSyntaxAttribute, SSAValue
from xdsl.irdl import (
    irdl_attr_definition,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    var_operand_def,
)
from xdsl.utils.str_enum import StrEnum

from fastml.dialects.array import ArrayAttr, Integers, integer_array
from fastml.dialects.channel import ChannelType, channel_of, stage_channel
from fastml.dialects.qflow_stage import StageOp, properties_of, require, verify_cycles


class Extremum(StrEnum):
    """Which end counts."""

    MAX = auto()
    MIN = auto()


@irdl_attr_definition
class ExtremumAttr(EnumAttribute[Extremum], SpacedOpaqueSyntaxAttribute):
    """``max`` or ``min``."""

    name = "qflow.extremum"


def joined_ranges(
    inputs: Sequence[SSAValue], constants: Integers | None = None
) -> tuple[Integers, Integers]:
    """Return the ranges of the elements of channels, end to end, and of constants after them."""
    channels = [channel_of(x) for x in inputs]
    tail = [] if constants is None else [constants]
    lows = np.concatenate([*(c.lows for c in channels), *tail])
    highs = np.concatenate([*(c.highs for c in channels), *tail])
    return lows, highs


class Round(NamedTuple):
    """One round of the trees of all rows: who meets whom.

    Contenders ``2 k`` and ``2 k + 1`` of row ``rows[i]`` meet in node ``nodes[i]``, where ``k``
    is ``places[i]``, the winner's place in the next round. Contender ``2 k`` of row ``byes[i]``
    meets nobody, and goes on to place ``k``, which is ``bye_places[i]``.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    nodes: NDArray[np.int64]
    byes: NDArray[np.int64]
    bye_places: NDArray[np.int64]


@dataclass(frozen=True)
class Trees:
    """Balanced trees of comparators over the distinct elements of rows.

    ``entries[r, :counts[r]]`` are the distinct elements of row ``r`` in order of appearance.
    Nodes are numbered row by row, in a row round by round.
    """

    entries: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, index: NDArray[np.int64]) -> "Trees":
        """Leave out what a row has twice."""
        again = np.zeros(index.shape, np.bool_)
        for k in range(1, index.shape[1]):
            again[:, k] = np.any(index[:, :k] == index[:, k : k + 1], axis=1)
        order = np.argsort(again, axis=1, kind="stable")
        counts = np.asarray(index.shape[1] - again.sum(axis=1), np.int64)
        return cls(np.take_along_axis(index, order, axis=1), counts)

    @property
    def nodes(self) -> int:
        """Comparators of all rows."""
        return int((self.counts - 1).sum())

    def rounds(self) -> Iterator[Round]:
        """Yield the rounds, first to last."""
        left, every = self.counts, np.arange(len(self.counts))
        done = np.cumsum(left - 1) - (left - 1)
        while np.any(left > 1):
            pairs = left // 2
            rows = np.repeat(every, pairs)
            places = np.arange(len(rows)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
            byes = every[left % 2 == 1]
            yield Round(rows, places, done[rows] + places, byes, pairs[byes])
            left, done = left - pairs, done + pairs


@irdl_op_definition
class MaximumOp(StageOp):
    """Result element ``e`` is the largest (or least) of the elements ``index[e, :]``.

    Elements of the operands are counted end to end. A row may name an element again, which
    changes nothing. ``node_cycles`` are the cycles of the comparators, as :class:`Trees`
    numbers them.
    """

    name = "qflow.maximum"

    inputs = var_operand_def(ChannelType)
    kind = prop_def(ExtremumAttr)
    index = prop_def(ArrayAttr)
    node_cycles = opt_prop_def(ArrayAttr)

    assembly_format = "$edge `(` $inputs `)` $kind attr-dict `:` functional-type($inputs, $result)"

    def __init__(
        self,
        edge: str,
        inputs: Sequence[SSAValue],
        index: NDArray[np.int64],
        shape: Sequence[int],
        kind: Extremum = Extremum.MAX,
    ):
        parameters = {"kind": ExtremumAttr(kind), "index": ArrayAttr.get(index)}
        lows, highs = extreme_ranges(*joined_ranges(inputs), index, kind)
        super().__init__(
            operands=[inputs],
            properties=properties_of(edge, parameters),
            result_types=[stage_channel(inputs, shape, lows, highs)],
        )

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channels."""
        return list(self.inputs)

    @property
    def trees(self) -> Trees:
        """The comparators."""
        return Trees.of(np.asarray(self.index.array, np.int64))

    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return the extremes of the ends of the operands' ranges."""
        lows, highs = joined_ranges(self.inputs)
        return extreme_ranges(lows, highs, self.index.integers, self.kind.data)

    def of_two(self, left: Integers, right: Integers) -> Integers:
        """Return the extremes of pairs."""
        choose = np.maximum if self.kind.data is Extremum.MAX else np.minimum
        return choose(left, right)

    def evaluate(self, x: Integers) -> Integers:
        """Map beats ``(frames, elements of all operands)``."""
        index = self.index.integers
        best = x[:, index[:, 0]]
        for column in range(1, index.shape[1]):
            best = self.of_two(best, x[:, index[:, column]])
        return integer_array(best)

    def verify_parameters(self) -> None:
        """Check the index map and the cycles of comparators."""
        require(len(self.inputs) >= 1, "needs an operand")
        count = sum(len(channel_of(x)) for x in self.inputs)
        index = self.index.array
        whole = index.ndim == 2 and index.dtype == np.int64
        require(whole and index.shape[1] >= 1, "index must be rows of integers")
        inside = np.all((index >= 0) & (index < count))
        require(inside, f"index must be within 0..{count - 1}")
        if self.node_cycles is not None:
            nodes = self.trees.nodes
            message = f"node cycles must be one for each of {nodes} comparators"
            verify_cycles(self.node_cycles, nodes, message)


def extreme_ranges(
    lows: Integers, highs: Integers, index: NDArray[np.int64], kind: Extremum
) -> tuple[Integers, Integers]:
    """Return the ranges of the extremes of the elements that rows name."""
    choose = np.max if kind is Extremum.MAX else np.min
    return integer_array(choose(lows[index], axis=1)), integer_array(choose(highs[index], axis=1))
