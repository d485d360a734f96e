"""Files that say when beats are offered and taken: ``fastmlc run --stimulus S.json``.

A table of ``gaps`` (idle cycles before each frame), ``idle`` (for each input, by its edge:
idle cycles before each beat) and ``ready`` (for each output, by its edge: 0 or 1 in each
cycle, taken in all that follow); or, in place of ``ready``, ``stalls`` (for each output: the
cycles in which it is not taken). What they mean is said where
:class:`~fastml.runtime.trace.Stimulus` is defined.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.options import as_table, usage_error
from fastml.compiler.project import read_json
from fastml.runtime.trace import Stimulus

LONGEST = 1 << 20
"""Longest gap and longest list, so that a stimulus cannot exhaust memory."""


_WANTED = {
    "idle": f"numbers of cycles, one a beat, none above {LONGEST}",
    "ready": "0 or 1, one a cycle",
    "stalls": f"cycles, none above {LONGEST}",
}


def read_stimulus(
    path: Path | None, frames: int, protocol: str, *, predicted: bool = False
) -> Stimulus:
    """Return a stimulus without beats for so many frames; all is back-to-back without a file.

    Raises ``FML-STIMULUS`` where the file fits no design of that protocol, or asks a level
    for what it cannot predict: the time of a stream that has to wait.
    """
    if path is None:
        return Stimulus({}, np.zeros(frames, np.int64))
    table = as_table(read_json(path), str(path))
    if unknown := [key for key in table if key not in ("gaps", "idle", "ready", "stalls")]:
        hint = "the keys are 'gaps', 'idle', 'ready' and 'stalls'"
        raise _odd(path, f"unknown key '{unknown[0]}'", hint)
    for key in ("idle", "ready", "stalls"):
        if table.get(key) and protocol == "pulse":
            hint = f"leave '{key}' out, or build with '--io stream'"
            raise _odd(path, "ports of protocol 'pulse' cannot be stalled", hint)
    gaps = _numbers(table.get("gaps", [0] * frames), LONGEST)
    if gaps is None or len(gaps) != frames:
        wanted = f"{frames} numbers of cycles, one before each frame, none above {LONGEST}"
        raise _odd(path, f"'gaps' must be {wanted}")
    idle = _by_edge(path, table, "idle", LONGEST)
    ready = {
        edge: bits.astype(np.bool_) for edge, bits in _by_edge(path, table, "ready", 1).items()
    }
    for edge, cycles in _by_edge(path, table, "stalls", LONGEST).items():
        if edge in ready:
            raise _odd(path, f"'{edge}' has both 'ready' and 'stalls'")
        ready[edge] = np.ones(cycles.max(initial=-1) + 1, np.bool_)
        ready[edge][cycles] = False
    given = Stimulus({}, gaps, idle=idle, ready=ready)
    if predicted and protocol == "rv" and given.stalled:
        hint = "run the level qflow, hw or rtl"
        raise _odd(path, "this level knows the time of streams back-to-back only", hint)
    return given


def _by_edge(
    path: Path, table: dict[str, object], key: str, most: int
) -> dict[str, NDArray[np.int64]]:
    found = dict[str, NDArray[np.int64]]()
    for edge, value in as_table(table.get(key, {}), f"{path}: '{key}'").items():
        numbers = _numbers(value, most)
        if numbers is None:
            raise _odd(path, f"'{key}' of '{edge}' must be a list of {_WANTED[key]}")
        found[edge] = numbers
    return found


def _numbers(value: object, most: int) -> NDArray[np.int64] | None:
    """Return whole numbers from 0 to ``most``; None if they are anything else."""
    if not isinstance(value, list):
        return None
    items = cast(list[Any], value)
    if len(items) > LONGEST:
        return None
    kinds = (int, bool) if most == 1 else (int,)
    good = all(type(item) in kinds and 0 <= item <= most for item in items)
    return np.array(items, np.int64) if good else None


def _odd(path: Path, message: str, hint: str | None = None) -> Exception:
    return usage_error(str(path), message, hint, "FML-STIMULUS")
