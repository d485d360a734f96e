"""Random networks of processes: forks, joins, rates, folded and parallel stages mixed.

Built directly as ``qflow`` graphs in stream form, FIFO by FIFO, so that shapes are met that
no reader of models makes.
"""

from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Operation, SSAValue

from fastml.dialects import qflow
from fastml.dialects.array import Integers, integer_array
from fastml.dialects.qflow import ChannelType, FoldedAttr, Protocol, Rounding, channel_of
from fastml.runtime.trace import Stimulus

MAX_BITS = 14
"""Wider values are narrowed before anything else is made of them."""


@dataclass
class StreamGraph:
    """A graph that grows process by process."""

    seed: int
    stages: int
    rng: np.random.Generator = field(init=False)
    features: set[str] = field(default_factory=set[str])
    made: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        inputs = {f"in{k}": self._input() for k in range(self._integer(1, 2))}
        self.graph = qflow.GraphOp("streams", inputs, [])
        self.block = self.graph.body.block
        self.fifos = 0
        self.read = set[SSAValue]()
        self.channels = [self._received(value) for value in self.block.args]
        while self.made < self.stages:
            self._process()
        self._outputs()
        self.graph.verify()

    def _integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def _input(self) -> ChannelType:
        elements, beats = self._integer(1, 6), int(self.rng.choice([1, 1, 2, 3]))
        highs = (1 << self.rng.integers(0, 6, elements)) - 1
        lows = np.where(self.rng.random(elements) < 0.5, -highs - 1, 0)
        if beats > 1:
            self.features.add("input in beats")
        plain = ChannelType.of((elements,), integer_array(lows), integer_array(highs), beats=beats)
        return plain.with_protocol(Protocol.RV)

    # -- wiring ------------------------------------------------------------------------

    def _pick(self, beats: int | None = None, size: int | None = None) -> SSAValue | None:
        """Return a channel, one that nobody has read yet more often than not."""

        def fits(value: SSAValue) -> bool:
            channel = channel_of(value)
            return (beats is None or channel.beats.data == beats) and (
                size is None or len(channel) == size
            )

        found = [value for value in self.channels if fits(value)]
        fresh = [value for value in found if value not in self.read]
        if fresh and self.rng.random() < 0.6:
            found = fresh
        if not found:
            return None
        value = found[self._integer(0, len(found) - 1)]
        if value in self.read:
            self.features.add("fork")
        return value

    def _fifo(self, value: SSAValue) -> SSAValue:
        self.read.add(value)
        self.fifos += 1
        op = qflow.FifoOp(f"fifo{self.fifos}", value, 2)
        self.block.add_op(op)
        return op.result

    def _add(self, op: Operation) -> SSAValue:
        self.block.add_op(op)
        return op.results[0]

    def _name(self) -> str:
        self.made += 1
        return f"edge{self.made}"

    def _received(self, value: SSAValue) -> SSAValue:
        """Return an input behind its FIFO, as a channel that any number may read."""
        count = len(channel_of(value))
        index = self.rng.permutation(count)
        return self._add(qflow.RearrangeOp(self._name(), [self._fifo(value)], index, (count,)))

    # -- processes ---------------------------------------------------------------------

    def _process(self) -> None:
        """Add a process: a change of beats, a join, or a chain of stages."""
        source = self._pick()
        assert source is not None
        channel = channel_of(source)
        kind = self.rng.random()
        if channel.beats.data > 1 and kind < 0.15:
            self.channels.append(self._detour(source))
        elif channel.beats.data > 1 and kind < 0.4:
            self.channels.append(self._deserialise(self._fifo(source)))
        elif channel.beats.data == 1 and len(channel) > 1 and kind < 0.2:
            beats = self._integer(2, min(len(channel), 5))
            self.features.add("serialise")
            op = qflow.SerialiseOp(self._name(), self._fifo(source), beats)
            self.channels.append(self._add(op))
        elif kind < 0.5:
            self.channels.append(self._join(source))
        else:
            value = self._fifo(source)
            for _ in range(self._integer(1, 2)):
                value = self._stage(value)
            self.channels.append(self._narrow(value))

    def _deserialise(self, value: SSAValue) -> SSAValue:
        channel = channel_of(value)
        beats = channel.beats.data
        padded = bool(np.all((channel.lows <= 0) & (channel.highs >= 0)))
        elements = len(channel) * beats - self._integer(0, (beats - 1) * padded)
        lows, highs = (np.tile(bound, beats)[:elements] for bound in (channel.lows, channel.highs))
        self.features.add("deserialise")
        low, high = integer_array(lows), integer_array(highs)
        return self._add(qflow.DeserialiseOp(self._name(), value, (elements,), low, high))

    def _detour(self, source: SSAValue) -> SSAValue:
        """Join beats with what was made of their whole frame: one FIFO must hold that frame."""
        channel = channel_of(source)
        beats, lanes = channel.beats.data, len(channel)
        lows, highs = (integer_array(np.tile(b, beats)) for b in (channel.lows, channel.highs))
        shape = (lanes * beats,)
        frame = self._add(qflow.DeserialiseOp(self._name(), self._fifo(source), shape, lows, highs))
        again = self._add(qflow.SerialiseOp(self._name(), self._fifo(frame), beats))
        weights = self.rng.integers(-3, 4, (2, lanes))
        values = [self._fifo(source), self._fifo(again)]
        self.features |= {"detour of a frame", "fork", "join"}
        bias = self.rng.integers(-9, 9, lanes)
        return self._narrow(
            self._add(qflow.CombineOp(self._name(), values, weights, bias, (lanes,)))
        )

    def _join(self, source: SSAValue) -> SSAValue:
        """Combine two channels of one size, or put channels together."""
        channel = channel_of(source)
        other = self._pick(channel.beats.data, len(channel)) if self.rng.random() < 0.7 else None
        if other is None:
            other = self._pick(channel.beats.data)
        assert other is not None
        values = [self._fifo(source), self._fifo(other)]
        self.features.add("join")
        if len(channel_of(other)) == len(channel):
            if self.rng.random() < 0.3:
                left, right = values
                value = self._add(qflow.MultiplyOp(self._name(), left, right, (len(channel),)))
            else:
                weights = self.rng.integers(-3, 4, (2, len(channel)))
                bias = self.rng.integers(-9, 9, len(channel))
                op = qflow.CombineOp(self._name(), values, weights, bias, (len(channel),))
                value = self._add(op)
        else:
            total = len(channel) + len(channel_of(other))
            index = self.rng.permutation(total)[: self._integer(1, min(total, 8))]
            value = self._add(qflow.RearrangeOp(self._name(), values, index, (len(index),)))
        return self._narrow(value)

    def _stage(self, value: SSAValue) -> SSAValue:
        kind = self.rng.random()
        if kind < 0.5:
            return self._narrow(self._dense(value))
        if kind < 0.6:
            return self._narrow(self._windows(value))
        if kind < 0.7:
            return self._extremum(value)
        if kind < 0.85:
            return self._rescale(value, self._integer(0, 3), 20)
        return self._threshold(value)

    def _windows(self, value: SSAValue) -> SSAValue:
        """Apply one small matrix at several places, partly to constants."""
        rows, columns, positions = (self._integer(1, 3) for _ in range(3))
        fill = self.rng.integers(-9, 10, self._integer(0, 2))
        count = len(channel_of(value)) + len(fill)
        index = self.rng.integers(0, count, rows * positions)
        op = qflow.RearrangeOp(self._name(), [value], index, (len(index),), fill)
        matrix, bias = self.rng.integers(-9, 10, (rows, columns)), self.rng.integers(-9, 9, columns)
        windows = self._add(op)
        stage = qflow.DenseOp(self._name(), windows, matrix, bias, (positions * columns,))
        self.features.add("windows")
        return self._add(stage)

    def _extremum(self, value: SSAValue) -> SSAValue:
        count = len(channel_of(value))
        index = self.rng.integers(0, count, (self._integer(1, 6), self._integer(1, 5)))
        kind = list(qflow.Extremum)[self._integer(0, 1)]
        self.features.add("extremum")
        return self._add(qflow.MaximumOp(self._name(), [value], index, (len(index),), kind))

    def _dense(self, value: SSAValue) -> SSAValue:
        channel = channel_of(value)
        rows, columns = len(channel), self._integer(1, 6)
        matrix = self.rng.integers(-9, 10, (rows, columns))
        matrix *= self.rng.random((rows, columns)) < 0.8
        bias = self.rng.integers(-30, 30, columns)
        stage = qflow.DenseOp(self._name(), value, matrix, bias, (columns,))
        if self.rng.random() < 0.6:
            stage.architecture = FoldedAttr(self._integer(2, 14))
            self.features.add("folded" if channel.beats.data == 1 else "folded beats")
        else:
            self.features.add("parallel")
        return self._add(stage)

    def _narrow(self, value: SSAValue) -> SSAValue:
        """Bring a value down to a few bits, in the same process."""
        width = max(channel_of(value).elements.widths, default=0)
        if width <= MAX_BITS:
            return value
        return self._rescale(value, width - 8, 100)

    def _rescale(self, value: SSAValue, shift: int, span: int) -> SSAValue:
        count = len(channel_of(value))
        low = self.rng.integers(-span, 4, count)
        op = qflow.RescaleOp(
            self._name(),
            value,
            self.rng.integers(-20, 20, count) * self._integer(0, 1),
            np.full(count, shift),
            list(Rounding)[self._integer(0, 2)],
            low,
            low + self.rng.integers(0, 2 * span, count),
            (count,),
        )
        return self._add(op)

    def _threshold(self, value: SSAValue) -> SSAValue:
        channel = channel_of(value)
        steps = self._integer(1, 4)
        rows = [
            np.sort(self.rng.integers(int(low), int(high) + 2, steps))
            for low, high in zip(channel.lows, channel.highs, strict=True)
        ]
        count = len(channel)
        base, direction = self.rng.integers(-9, 9, count), self.rng.choice([-1, 1], count)
        thresholds = integer_array(np.stack(rows))
        op = qflow.ThresholdOp(self._name(), value, thresholds, base, direction, (count,))
        return self._add(op)

    def _outputs(self) -> None:
        """Let everything leave that nobody reads, and perhaps one that somebody does."""
        left = [value for value in self.channels if value not in self.read]
        again = [value for value in self.channels if value in self.read]
        if again and self.rng.random() < 0.3:
            left.append(again[self._integer(0, len(again) - 1)])
            self.features.add("output that is read too")
        outputs = [self._fifo(value) for value in left]
        self.block.add_op(qflow.YieldOp(outputs))
        names = [StringAttr(f"out{k}") for k in range(len(outputs))]
        self.graph.output_names = type(self.graph.output_names)(names)

    # -- stimuli -----------------------------------------------------------------------

    def beats(self, frames: int) -> dict[str, Integers]:
        """Return random beats of every input."""
        found = dict[str, Integers]()
        for name, value in self.graph.inputs.items():
            channel = channel_of(value)
            shape = (frames * channel.beats.data, len(channel))
            found[name] = self.rng.integers(channel.lows, channel.highs, shape, endpoint=True)
        return found

    def stimulus(self, frames: int, *, stalls: bool) -> Stimulus:
        """Return random frames: back-to-back, or with gaps, idle beats and stalled outputs."""
        beats = self.beats(frames)
        gaps = np.zeros(frames, np.int64)
        if not stalls:
            return Stimulus(beats, gaps)
        rare = self.rng.random(frames) < 0.4
        gaps = np.where(rare, self.rng.integers(0, 20, frames), 0)
        idle = {
            name: self.rng.integers(0, 4, len(rows)) * (self.rng.random(len(rows)) < 0.3)
            for name, rows in beats.items()
        }
        ready = {
            name: self.rng.random(400) < self.rng.choice([0.2, 0.6, 0.95])
            for name in self.graph.outputs
        }
        return Stimulus(beats, gaps, idle=idle, ready=ready)
