"""Build index maps between streams: wiring inside tokens, and processes that order tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation, SSAValue

from fastml.dialects import qflow
from fastml.dialects.array import Integers, integer_array
from fastml.dialects.layout import Layout
from fastml.dialects.qflow import channel_of
from fastml.lowering.stage_builder import StageBuilder
from fastml.lowering.token_maps import (
    Group,
    Origins,
    Parts,
    Source,
    columns_of,
    never_falls,
    parts_of,
    plane,
    separable,
)

FEW_ORDERS = 4
"""Up to so many orders of tokens are joined rather than a frame is gathered into one beat."""
MOST_GATHERED = 4096
"""Elements of the largest frame that is gathered into one beat to be put in another order."""


@dataclass(frozen=True)
class _Map:
    """One map under way."""

    edge: str
    origins: Origins
    channels: Sequence[SSAValue]
    layouts: Sequence[Layout]
    result: Layout
    at: Operation


class TokenWiring:
    """Appends the stages and processes of index maps to a graph."""

    def __init__(self, builder: StageBuilder):
        self.builder = builder

    def lower(
        self,
        edge: str,
        origins: Origins,
        channels: Sequence[SSAValue],
        layouts: Sequence[Layout],
        result: Layout,
        at: Operation,
    ) -> SSAValue | None:
        """Return the channel of a map of streams; None where no way is known."""
        task = _Map(edge, origins, channels, layouts, result, at)
        groups = columns_of(origins)
        most = FEW_ORDERS if result.beats == 1 else max(result.elements, FEW_ORDERS)
        if groups is not None and len(groups) <= most:
            found = self._by_columns(task, groups)
            if found is not None:
                return found
        if result.beats == 1 or all(layout.beats == 1 for layout in layouts):
            return self._through_frames(task)
        parts = parts_of(origins)
        if parts is not None:
            return self._by_parts(task, parts)
        if max([result.size, *(layout.size for layout in layouts)]) <= MOST_GATHERED:
            return self._through_frames(task)
        return None

    def choose(
        self,
        edge: str,
        channels: Sequence[SSAValue],
        classes: NDArray[np.int64],
        layout: Layout,
        at: Operation,
    ) -> SSAValue:
        """Return of each beat the channel of its class: the others are the least there."""
        kinds = [channel_of(channel) for channel in channels]
        least = integer_array(np.stack([kind.lows for kind in kinds]).min(axis=0))
        beats = np.arange(layout.beats)
        masked = list[SSAValue]()
        for number, channel in enumerate(channels):
            tokens = np.where(classes == number, beats, -1)
            name = self.builder.fresh(f"{edge}:masked{number}")
            masked.append(self._tokens(name, channel, tokens, layout, layout, least, at))
        elements = np.arange(layout.elements)[:, None]
        index = elements + np.arange(len(channels)) * layout.elements
        return self.builder.stage(qflow.MaximumOp(edge, masked, index, layout.token), at)

    def regroup(
        self, edge: str, channel: SSAValue, layout: Layout, pixels: int, at: Operation
    ) -> tuple[SSAValue, Layout]:
        """Return the same stream with another number of pixels a beat, and its layout."""
        result = Layout(layout.shape, layout.positions, pixels if layout.positions else 1)
        if result == layout:
            return channel, layout
        origins = Origins.of(np.arange(layout.size), [Source(layout)], result)
        made = self.lower(edge, origins, [channel], [layout], result, at)
        assert made is not None, "tokens can always be sent in parts, or joined"
        return made, result

    @staticmethod
    def wires_alone(
        origins: Origins, layouts: Sequence[Layout], result: Layout
    ) -> NDArray[np.int64] | None:
        """Return the index of a map that leaves the order of tokens alone, of one token."""
        groups = columns_of(origins)
        if groups is None:
            return None
        starts = np.cumsum([0, *(layout.elements for layout in layouts)])
        index = np.zeros(result.elements, np.int64)
        for group in groups:
            same = group.operand >= 0 and layouts[group.operand].beats == result.beats
            if not same or not np.array_equal(group.tokens, np.arange(result.beats)):
                return None
            index[group.columns] = starts[group.operand] + group.elements
        return index

    # --- whole frames ------------------------------------------------------------------------

    def _through_frames(self, task: _Map) -> SSAValue:
        """Gather every operand into one beat, wire, and send the result in its beats."""
        origins, result = task.origins, task.result
        frames = [
            self._gather(task, channel, layout)
            for channel, layout in zip(task.channels, task.layouts, strict=True)
        ]
        starts = np.cumsum([0, *(layout.size for layout in task.layouts)])
        sizes = np.array([layout.elements for layout in task.layouts])
        place = starts[origins.operand] + origins.token * sizes[origins.operand]
        place = place + origins.element
        constant = origins.is_constant
        values, number = np.unique(origins.value[constant], return_inverse=True)
        index = place.copy()
        index[constant] = int(starts[-1]) + number.reshape(-1)
        sends = result.beats > 1
        name = self.builder.fresh(f"{task.edge}:frame") if sends else task.edge
        shape = (result.size,) if sends else result.token
        wires = qflow.RearrangeOp(name, frames, index.reshape(-1), shape, integer_array(values))
        frame = self.builder.stage(wires, task.at)
        if not sends:
            return frame
        return self._named(task, qflow.SerialiseOp, frame, result.beats)

    def _gather(self, task: _Map, channel: SSAValue, layout: Layout) -> SSAValue:
        if layout.beats == 1:
            return channel
        source = channel_of(channel)
        lows, highs = (np.tile(bound, layout.beats) for bound in (source.lows, source.highs))
        edge = self.builder.fresh(f"{task.edge}:gathered")
        gather = qflow.DeserialiseOp(edge, channel, (layout.size,), lows, highs)
        return self.builder.process(gather, task.at)

    def _named(
        self, task: _Map, kind: type[qflow.SerialiseOp], channel: SSAValue, parts: int
    ) -> SSAValue:
        """Send beats in parts, and give the edge its name and shape."""
        name = self.builder.fresh(f"{task.edge}:sent")
        sent = self.builder.process(kind(name, channel, parts), task.at)
        return self._wire(task.edge, [sent], np.arange(len(channel_of(sent))), task)

    def _wire(
        self,
        edge: str,
        channels: Sequence[SSAValue],
        index: NDArray[np.int64],
        task: _Map,
        fill: Integers | None = None,
    ) -> SSAValue:
        shape = task.result.token if edge == task.edge else (len(index),)
        return self.builder.stage(qflow.RearrangeOp(edge, channels, index, shape, fill), task.at)

    # --- tokens ------------------------------------------------------------------------------

    def _by_columns(self, task: _Map, groups: Sequence[Group]) -> SSAValue | None:
        """Order tokens for each group of elements, and join them by wiring."""
        made, starts = list[SSAValue](), dict[int, int]()
        index = np.zeros(task.result.elements, np.int64)
        fills, constants = list[int](), list[Group]()
        start = 0
        for group in self._windowed(task, groups, made, index):
            if group.operand < 0:
                constants.append(group)
                continue
            channel, slots = self._ordered(task, group)
            made.append(channel)
            start = sum(len(channel_of(c)) for c in made[:-1])
            index[group.columns] = start + slots
        total = sum(len(channel_of(c)) for c in made)
        if not made:
            return None
        for group in constants:
            index[group.columns] = total + len(fills) + np.arange(len(group.columns))
            fills += group.fill.tolist()
        del starts, start
        return self._wire(task.edge, made, index, task, integer_array(np.array(fills, object)))

    def _windowed(
        self,
        task: _Map,
        groups: Sequence[Group],
        made: list[SSAValue],
        index: NDArray[np.int64],
    ) -> list[Group]:
        """Build windows where the groups of an operand are one; return the other groups."""
        left = list[Group]()
        for operand in dict.fromkeys(group.operand for group in groups):
            own = [group for group in groups if group.operand == operand]
            tables = self._window_tables(task, own) if operand >= 0 and len(own) > 1 else None
            if tables is None:
                left += own
                continue
            rows, cols, taps = tables
            size = plane(task.layouts[operand].grid)
            name = self.builder.fresh(f"{task.edge}:window")
            window = qflow.WindowOp(name, task.channels[operand], size, rows, cols)
            start = sum(len(channel_of(c)) for c in made)
            made.append(self.builder.process(window, task.at))
            elements = task.layouts[operand].elements
            for group, tap in zip(own, taps, strict=True):
                index[group.columns] = start + tap * elements + group.elements
        return left

    @staticmethod
    def _window_tables(
        task: _Map, groups: Sequence[Group]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]] | None:
        """Return the tables of a window without pads, and the tap of each group."""
        source = task.layouts[groups[0].operand].grid
        found = [separable(group.tokens, source, task.result.grid) for group in groups]
        orders = [order for order in found if order is not None]
        if len(orders) < len(found) or any((g.tokens < 0).any() for g in groups):
            return None
        rows = sorted({tuple(order.rows.tolist()) for order in orders})
        cols = sorted({tuple(order.cols.tolist()) for order in orders})
        if len(rows) * len(cols) > 2 * len(groups):
            return None
        taps = [
            rows.index(tuple(order.rows.tolist())) * len(cols)
            + cols.index(tuple(order.cols.tolist()))
            for order in orders
        ]
        row_table, col_table = np.array(rows).T, np.array(cols).T
        rises = np.all(np.diff(row_table, axis=1) > 0) and np.all(np.diff(row_table, axis=0) >= 0)
        lines = len(np.unique(np.diff(col_table, axis=1))) == 1
        lines = lines and len(np.unique(np.diff(col_table, axis=0))) <= 1
        if not rises or (len(cols) > 1 and not (lines and np.all(np.diff(col_table) > 0))):
            return None
        return row_table, col_table, taps

    def _ordered(self, task: _Map, group: Group) -> tuple[SSAValue, NDArray[np.int64]]:
        """Return a channel of tokens in a group's order, and the slot of each element in it."""
        channel, layout = task.channels[group.operand], task.layouts[group.operand]
        whole = layout.beats == task.result.beats
        if whole and np.array_equal(group.tokens, np.arange(layout.beats)):
            return channel, group.elements
        pairs = np.array(list(zip(group.elements.tolist(), group.fill.tolist(), strict=True)))
        padded = bool(np.any(group.tokens < 0))
        keys, slots = np.unique(pairs if padded else pairs[:, :1], axis=0, return_inverse=True)
        elements = keys[:, 0].astype(np.int64)
        name = self.builder.fresh(f"{task.edge}:operand")
        if not np.array_equal(elements, np.arange(layout.elements)):
            wires = qflow.RearrangeOp(name, [channel], elements, (len(elements),))
            channel = self.builder.stage(wires, task.at)
            name = self.builder.fresh(f"{task.edge}:tokens")
        fill = integer_array(keys[:, 1]) if padded else None
        made = self._tokens(name, channel, group.tokens, layout, task.result, fill, task.at)
        return made, slots.reshape(-1)

    def _tokens(
        self,
        name: str,
        channel: SSAValue,
        tokens: NDArray[np.int64],
        layout: Layout,
        result: Layout,
        fill: Integers | None,
        at: Operation,
    ) -> SSAValue:
        """Return tokens in another order: rows and columns apart where they can be."""
        split = separable(tokens, layout.grid, result.grid)
        if split is not None and never_falls(split.rows):
            size = plane(layout.grid)
            rows, cols = split.rows[:, None], split.cols[:, None]
            return self.builder.process(qflow.WindowOp(name, channel, size, rows, cols, fill), at)
        return self.builder.process(qflow.ReorderOp(name, channel, tokens, fill), at)

    def _by_parts(self, task: _Map, parts: Parts) -> SSAValue:
        """Send each token in parts of other wiring, and order those."""
        channel, layout = task.channels[parts.operand], task.layouts[parts.operand]
        count, lanes = (int(size) for size in parts.wirings.shape)
        name = self.builder.fresh(f"{task.edge}:parts")
        wires = qflow.RearrangeOp(name, [channel], parts.wirings.reshape(-1), (count * lanes,))
        channel = self.builder.stage(wires, task.at)
        if count > 1:
            name = self.builder.fresh(f"{task.edge}:sent")
            channel = self.builder.process(qflow.SerialiseOp(name, channel, count), task.at)
        same = len(parts.tokens) == count * layout.beats
        if not same or not np.array_equal(parts.tokens, np.arange(len(parts.tokens))):
            name = self.builder.fresh(f"{task.edge}:order")
            order = qflow.ReorderOp(name, channel, parts.tokens)
            channel = self.builder.process(order, task.at)
        return self._wire(task.edge, [channel], np.arange(lanes), task)
