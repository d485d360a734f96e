"""Waves of any level that has or predicts them, under the names that the RTL has."""

from pathlib import Path
from typing import TYPE_CHECKING

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.runtime.clocked_levels import ClockedLevel, HardwareLevel, Pinout, RtlLevel
from fastml.runtime.levels import Level

if TYPE_CHECKING:
    from fastml.compiler.design import Design

PREDICTING = ("qflow", "affine")
"""Levels that know edges and cycles, but no wires."""


def record(design: "Design", level: str, path: Path) -> Level:
    """Return a level of ``design`` that writes the waves of its next simulation to ``path``."""
    opened = design.level(level)
    if isinstance(opened, HardwareLevel):
        from fastml.compiler.emit.systemverilog import name_signals
        from fastml.runtime.waves import recorded_hardware

        return recorded_hardware(opened, name_signals(opened.module), path)
    if isinstance(opened, RtlLevel):
        from fastml.runtime.waves import recorded_rtl

        return recorded_rtl(opened, path)
    if level not in PREDICTING:
        raise FastmlError(
            f"level '{level}' has no waves",
            in_file("--vcd"),
            code="FML-USAGE",
            hint=f"use {', '.join((*PREDICTING, 'hw', 'rtl'))}",
        )
    from fastml.runtime.predicted_waves import PredictedLevel

    return PredictedLevel(opened, _pinout(design, level), path)


def _pinout(design: "Design", level: str) -> Pinout:
    """Return the names that wires have in the hardware."""
    for name in ("rtl", "hw"):
        if name in design.levels:
            opened = design.level(name)
            assert isinstance(opened, ClockedLevel)
            return opened.pinout
    raise FastmlError(
        f"level '{level}' alone does not say what its wires are called",
        in_file("--vcd"),
        code="FML-USAGE",
        hint="run the model, or a project that was built down to hw",
    )
