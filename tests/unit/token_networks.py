"""Networks of tokens as convolutional networks make them: windows, pools, skips, joins."""

from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects import test

from fastml.dialects.channel import ChannelType, Protocol
from fastml.dialects.qflow_windows import Columns, Steps, WindowOp, window_steps
from fastml.dialects.token_flow import Fifo, Network, Process, Read, Sink, Source, Write


def steps_of_window(size: int, kernel: int, stride: int, pad: int) -> Steps:
    """Return the steps of a square window over a square image."""
    count = (size + 2 * pad - kernel) // stride + 1
    return _steps(size, Columns(stride, 1, pad).table(count, kernel, size))


def steps_of_repeats(size: int, times: int) -> Steps:
    """Return the steps of an up-sampling to the nearest pixel."""
    return _steps(size, np.repeat(np.arange(size), times)[:, None])


def _steps(size: int, table: np.ndarray) -> Steps:
    zero = np.zeros(1, np.int64)
    kind = ChannelType.of((1,), zero, zero, beats=size * size, protocol=Protocol.RV)
    (source,) = test.TestOp(result_types=[kind]).res
    return window_steps(WindowOp("w", source, (size, size), table, table))


@dataclass
class ImageNetwork:
    """Grows process by process; values are FIFOs, each read by the next process."""

    size: int
    processes: list[Process] = field(default_factory=list[Process])
    fifos: list[str] = field(default_factory=list[str])
    sources: list[Source] = field(default_factory=list[Source])

    def fifo(self) -> str:
        self.fifos.append(f"f{len(self.fifos)}")
        return self.fifos[-1]

    def input(self) -> str:
        name = self.fifo()
        self.sources.append(Source("x", (name,), self.size * self.size))
        return name

    def stage(self, *reads: str, latency: int = 3, interval: int = 1, copies: int = 1) -> list[str]:
        """A parallel stage, its result for ``copies`` readers."""
        made = [self.fifo() for _ in range(copies)]
        name = f"p{len(self.processes)}"
        writes = dict.fromkeys(made, latency)
        self.processes.append(Process.cluster(name, interval, reads, writes))
        return made

    def access(self, read: str, steps: Steps) -> str:
        made = self.fifo()
        looks = (Read(read, steps.needs, steps.consumes),)
        gives = (Write(made, steps.produces, 1),)
        name = f"p{len(self.processes)}"
        self.processes.append(Process(name, 1, looks, gives, len(steps)))
        return made

    def convolution(self, read: str, size: int, *, copies: int = 1) -> list[str]:
        """A 3x3 window and its stage."""
        return self.stage(self.access(read, steps_of_window(size, 3, 1, 1)), copies=copies)

    def level(self, value: str, size: int, depth: int, convolutions: int) -> str:
        """A U: convolutions, the same at half the size ``depth`` times, and a skip around it."""
        for _ in range(convolutions - 1):
            (value,) = self.convolution(value, size)
        if depth == 0:
            return self.convolution(value, size)[0]
        value, skip = self.convolution(value, size, copies=2)
        (value,) = self.stage(self.access(value, steps_of_window(size, 2, 2, 0)))
        value = self.level(value, size // 2, depth - 1, convolutions)
        value = self.access(value, steps_of_repeats(size // 2, 2))
        (value,) = self.stage(value, skip)
        for _ in range(convolutions - 1):
            (value,) = self.convolution(value, size)
        return value

    def finish(self, value: str) -> Network:
        fifos = tuple(Fifo(name) for name in self.fifos)
        sinks = (Sink("y", value),)
        return Network(fifos, tuple(self.processes), tuple(self.sources), sinks)


def unet(size: int, depth: int, convolutions: int) -> Network:
    """A U-shaped network of ``depth`` levels below the first."""
    network = ImageNetwork(size)
    return network.finish(network.level(network.input(), size, depth, convolutions))
