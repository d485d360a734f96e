"""Waves as a file: values along time to a value change dump, a stretch of cycles at a time.

Cycle ``t`` lasts from time ``10 t`` to ``10 t + 10``, whatever the clock period is, so that
waves of every level and of Verilator line up: the clock rises where a cycle begins (but for
the first, before which there was none) and falls in the middle of it.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from vcd import VCDWriter
from vcd.writer import Variable

from fastml.runtime.bits import WORD, Words, word_count

PERIOD = 10
"""Units of time that a cycle lasts."""
Path: TypeAlias = tuple[str, ...]
"""Names of the instances around a signal, the top module first, and its own name."""


class WaveWriter:
    """Writes signals and a clock; :meth:`declare` all of them before the first cycles."""

    def __init__(self, file: IO[str], comment: str = ""):
        self._vcd = VCDWriter(file, "1 ns", date="", comment=comment, check_values=False)
        self._clock: Variable[Any] | None = None
        self._signals: list[_Signal] = []
        self._cycle = 0

    def __enter__(self) -> "WaveWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._vcd.close(PERIOD * self._cycle)

    def clock(self, paths: Sequence[Path]) -> None:
        """Declare the clock under all its names."""
        if paths:
            self._clock = self._declare(paths, 1)
            self._vcd.change(self._clock, 0, 0)

    def declare(self, paths: Sequence[Path], width: int) -> None:
        """Declare one signal under all its names."""
        variable = self._declare(paths, width)
        nothing = np.zeros((1, word_count(width)), np.uint32)
        self._signals.append(_Signal(variable, width, nothing, nothing))

    def _declare(self, paths: Sequence[Path], width: int) -> Variable[Any]:
        # The range is a part of the name: aliases of one signal have the same.
        part = f"[{width - 1}:0]" if width > 1 else ""
        *scope, name = paths[0]
        variable = self._vcd.register_var(scope, name + part, "wire", width)
        for *scope, name in paths[1:]:
            self._vcd.register_alias(scope, name + part, variable)
        return variable

    def write(self, values: Sequence[Words], unknown: Sequence[Words | None], count: int) -> None:
        """Write the next ``count`` cycles of every signal, in the order of declaration.

        ``unknown`` are the bits that are shown as x; ``None`` stands for no bit at all.
        """
        found = [
            signal.changes(words, odd, first=self._cycle == 0)
            for signal, words, odd in zip(self._signals, values, unknown, strict=True)
        ]
        places = [np.empty(0, np.int64), *(where for where, _ in found)]
        rows = np.concatenate(places)
        owners = np.repeat(np.arange(len(found)), [len(where) for where, _ in found])
        texts = [text for _, some in found for text in some]
        order = np.argsort(rows, kind="stable")
        events = zip(rows[order].tolist(), owners[order].tolist(), order.tolist(), strict=True)
        row, owner, number = next(events, (count, 0, 0))
        change = self._vcd.change
        for cycle in range(count):
            time = PERIOD * (self._cycle + cycle)
            if self._clock is not None and time:
                change(self._clock, time, 1)
            while row == cycle:
                change(self._signals[owner].variable, time, texts[number])
                row, owner, number = next(events, (count, 0, 0))
            if self._clock is not None:
                change(self._clock, time + PERIOD // 2, 0)
        self._cycle += count


class _Signal:
    """A declared signal, and what it showed last."""

    def __init__(self, variable: Variable[Any], width: int, value: Words, unknown: Words):
        self.variable = variable
        self.width = width
        self.value = value
        self.unknown = unknown

    def changes(
        self, words: Words, unknown: Words | None, *, first: bool
    ) -> tuple[NDArray[np.int64], list[int | str]]:
        """Return the rows in which the signal changes, and what it changes to."""
        odd = np.zeros_like(words) if unknown is None else unknown
        words = words & ~odd
        before = np.concatenate([self.value, words[:-1]])
        differs = (words != before).any(axis=1)
        if unknown is not None or self.unknown.any():
            differs |= (odd != np.concatenate([self.unknown, odd[:-1]])).any(axis=1)
        if first:
            differs[:1] = True
        self.value, self.unknown = words[-1:], odd[-1:]
        rows = np.flatnonzero(differs)
        values = integers(words[rows])
        if unknown is None:
            return rows, [*values]
        masks = integers(odd[rows])
        return rows, [
            _text(value, mask, self.width) if mask else value
            for value, mask in zip(values, masks, strict=True)
        ]


def integers(words: Words) -> list[int]:
    """Return each row as an unsigned number."""
    if words.shape[1] == 1:
        return words[:, 0].tolist()
    if words.shape[1] == 2:
        wide = words.astype(np.uint64)
        return (wide[:, 0] | wide[:, 1] << np.uint64(WORD)).tolist()
    little = np.ascontiguousarray(words.astype("<u4"))
    return [int.from_bytes(row.tobytes(), "little") for row in little]


def _text(value: int, unknown: int, width: int) -> str:
    """Return bits as text, those that are unknown as x."""
    if unknown == (1 << width) - 1:
        return "x"
    bits, masks = f"{value:0{width}b}", f"{unknown:0{width}b}"
    return "".join("x" if mask == "1" else bit for bit, mask in zip(bits, masks, strict=True))
