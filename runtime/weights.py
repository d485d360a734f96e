"""Weights that a stimulus loads: checked, and laid out over its frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.array import Integers, integer_array
from fastml.runtime.trace import Stimulus


class Loaded(Protocol):
    """What must be known of the weights of a stage."""

    @property
    def edge(self) -> str:
        """Edge that the stage makes."""
        ...

    @property
    def low(self) -> int:
        """Least weight."""
        ...

    @property
    def high(self) -> int:
        """Greatest weight."""
        ...

    @property
    def contents(self) -> Integers:
        """The weights of the model, of shape (inputs, outputs)."""
        ...

    @property
    def words(self) -> int:
        """Cycles that loading takes."""
        ...


@dataclass(frozen=True)
class Memory:
    """The weights of a stage, where nothing is known of their order."""

    edge: str
    low: int
    high: int
    contents: Integers
    words: int


@dataclass(frozen=True)
class Segment:
    """Frames that use the same weights."""

    first: int
    stop: int
    loads: Mapping[str, Integers]
    """What is loaded before the first of them; before frame 0, the weights of every stage."""


def segments_of(
    stimulus: Stimulus, memories: Sequence[Loaded], ii: int, latency: int
) -> list[Segment]:
    """Return the frames between loads; what is not loaded before frame 0 is the model's own.

    Raises ``FML-STIMULUS`` for weights that do not fit, or that are loaded while a frame is in
    flight: the words of a load take the cycles just before its frame, one each.
    """
    own = {memory.edge: memory for memory in memories}
    loads = dict[int, dict[str, Integers]]()
    for frame, given in sorted(stimulus.loads.items()):
        if not 0 <= frame < max(stimulus.frames, 1):
            raise _odd(f"weights are loaded before frame {frame} of {stimulus.frames}")
        loads[frame] = {edge: _fitting(own, edge, matrix) for edge, matrix in given.items()}
    if own:
        loads[0] = {edge: m.contents for edge, m in own.items()} | loads.get(0, {})
    offers = stimulus.offer_cycles(ii)
    for frame in sorted(loads):
        if frame == 0 or not loads[frame]:
            continue
        words = max(own[edge].words for edge in loads[frame])
        room = int(offers[frame] - offers[frame - 1])
        if room <= latency + words:
            needed = latency + words + 1 - ii
            raise _odd(
                f"weights are loaded before frame {frame} while frame {frame - 1} is in flight",
                f"{words} words after a latency of {latency} need a gap of {needed} cycles",
            )
    starts = sorted({0, *loads})
    ends = [*starts[1:], stimulus.frames]
    return [
        Segment(first, stop, loads.get(first, {})) for first, stop in zip(starts, ends, strict=True)
    ]


def refuse_loads(stimulus: Stimulus, what: str) -> None:
    """Refuse to load weights into what takes none."""
    if any(stimulus.loads.values()):
        raise _odd(f"{what} has the model's weights: none can be loaded")


def _fitting(own: Mapping[str, Loaded], edge: str, matrix: Integers) -> Integers:
    if edge not in own:
        known = ", ".join(f"'{name}'" for name in own)
        raise _odd(
            f"the weights of '{edge}' cannot be loaded",
            f"those of {known} can" if own else "build with '--weights ram'",
        )
    memory, given = own[edge], np.asarray(matrix)
    if given.shape != memory.contents.shape or given.dtype.kind not in "iuO":
        wanted = " x ".join(map(str, memory.contents.shape))
        raise _odd(f"the weights of '{edge}' must be {wanted} integers (inputs x outputs)")
    exact = integer_array(given)
    outside = (exact < memory.low) | (exact > memory.high)
    if np.any(outside):
        row, column = np.argwhere(outside)[0].tolist()
        raise _odd(
            f"weight [{row}, {column}] of '{edge}' is {exact[row, column]}: outside "
            f"{memory.low}..{memory.high}"
        )
    return exact


def _odd(message: str, hint: str | None = None) -> FastmlError:
    return FastmlError(message, in_file("stimulus"), code="FML-STIMULUS", hint=hint)
