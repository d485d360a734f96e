"""Random networks of processes on images: windows, reorderings, reductions among all others.

As :mod:`stream_graphs`, with frames of more beats, each seen as an image of some height and
width where a window slides over it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from stream_graphs import StreamGraph
from xdsl.ir import SSAValue

from fastml.dialects import qflow
from fastml.dialects.array import integer_array
from fastml.dialects.qflow import ChannelType, Protocol, channel_of
from fastml.dialects.qflow_windows import Columns

MAX_BEATS = 40
MAX_ELEMENTS = 12

Table = NDArray[np.int64]


class ImageStreamGraph(StreamGraph):
    """A graph that grows process by process, most of which change beats."""

    def _input(self) -> ChannelType:
        elements, beats = self._integer(1, 3), self._integer(1, 5) * self._integer(1, 5)
        highs = (1 << self.rng.integers(0, 5, elements)) - 1
        lows = np.where(self.rng.random(elements) < 0.5, -highs - 1, 0)
        plain = ChannelType.of((elements,), integer_array(lows), integer_array(highs), beats=beats)
        return plain.with_protocol(Protocol.RV)

    def _process(self) -> None:
        """Add a process: a change of beats or their order, or what networks without images do."""
        source = self._pick()
        assert source is not None
        kinds: list[Callable[[SSAValue], SSAValue | None]] = [
            self._window,
            self._window,
            self._window,
            self._reorder,
            self._reduce,
            self._regroup,
        ]
        made = None
        if self.rng.random() < 0.7:
            made = kinds[self._integer(0, len(kinds) - 1)](source)
        if made is None:
            super()._process()
        else:
            self.channels.append(made)

    def _factors(self, value: SSAValue) -> list[int]:
        beats = channel_of(value).beats.data
        return [count for count in range(1, beats + 1) if beats % count == 0]

    def _size(self, value: SSAValue) -> tuple[int, int]:
        """Return a height and a width that make a frame."""
        height = int(self.rng.choice(self._factors(value)))
        return height, channel_of(value).beats.data // height

    def _axis(self, size: int, kernel: int) -> Table:
        """Return the table of an axis under a kernel that moves by strides, over pads."""
        stride, dilation = int(self.rng.choice([1, 1, 2, 3])), int(self.rng.choice([1, 1, 2]))
        reach = (kernel - 1) * dilation
        before, after = (self._integer(0, reach + self._integer(0, 2)) for _ in range(2))
        count = max((size + before + after - reach - 1) // stride + 1, 1)
        table = Columns(stride, dilation, before).table(count, kernel, size)
        if np.any(table >= 0):
            return table
        return Columns(1, 1, 0).table(size, kernel, size)

    def _repeated(self, size: int, *, order: bool) -> Table:
        """Return the table of one tap that repeats places, or leaves holes between them."""
        table = np.repeat(np.arange(size), self._integer(1, 3))
        if not order:
            table = self.rng.permutation(table)
        holes = self.rng.random(len(table)) < self.rng.choice([0, 0.3])
        holes[self._integer(0, len(table) - 1)] = False
        return np.where(holes, -1, table)[:, None]

    def _window(self, value: SSAValue) -> SSAValue | None:
        (height, width), count = self._size(value), len(channel_of(value))
        kernel = self._integer(1, 3), self._integer(1, 3)
        rows, cols = self._axis(height, kernel[0]), self._axis(width, kernel[1])
        kind = "window"
        if self.rng.random() < 0.25:
            kind = "repeated"
            rows, cols = self._repeated(height, order=True), self._repeated(width, order=True)
        elif kernel[1] == 1 and self.rng.random() < 0.5:
            kind = "shuffled columns"
            cols = self._repeated(width, order=False)
        places = rows.shape[1] * cols.shape[1] * count
        if len(rows) * len(cols) > MAX_BEATS or places > MAX_ELEMENTS:
            return None
        self.features.add(kind)
        fill = self.rng.integers(-4, 5, count) * self._integer(0, 1)
        op = qflow.WindowOp(
            self._name(), self._fifo(value), (height, width), rows, cols, integer_array(fill)
        )
        return self._add(op)

    def _reorder(self, value: SSAValue) -> SSAValue | None:
        channel = channel_of(value)
        beats = channel.beats.data
        if self.rng.random() < 0.5:
            index = self.rng.permutation(beats)
        else:
            index = self.rng.integers(-1, beats, self._integer(1, min(2 * beats, MAX_BEATS)))
        index[self._integer(0, len(index) - 1)] = self._integer(0, beats - 1)
        self.features.add("reorder")
        fill = self.rng.integers(-4, 5, len(channel))
        return self._add(qflow.ReorderOp(self._name(), self._fifo(value), index, fill))

    def _reduce(self, value: SSAValue) -> SSAValue | None:
        count = int(self.rng.choice(self._factors(value)))
        kind = list(qflow.ReduceKind)[self._integer(0, 2)]
        if max(channel_of(value).elements.widths, default=0) > 12:
            return None
        self.features.add("reduce")
        return self._add(qflow.ReduceOp(self._name(), self._fifo(value), kind, count))

    def _regroup(self, value: SSAValue) -> SSAValue | None:
        """Send each beat in parts, or gather some beats into one."""
        channel = channel_of(value)
        beats, count = channel.beats.data, len(channel)
        if self.rng.random() < 0.5 and count > 1:
            parts = self._integer(2, count)
            if beats * parts > MAX_BEATS:
                return None
            self.features.add("serialise beats")
            return self._add(qflow.SerialiseOp(self._name(), self._fifo(value), parts))
        parts = int(self.rng.choice(self._factors(value)))
        if parts * count > MAX_ELEMENTS or parts == 1:
            return None
        lows, highs = (integer_array(np.tile(b, parts)) for b in (channel.lows, channel.highs))
        self.features.add("gather beats")
        op = qflow.DeserialiseOp(
            self._name(), self._fifo(value), (count * parts,), lows, highs, beats // parts
        )
        return self._add(op)
