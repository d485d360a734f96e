"""The published networks: what compiling, executing and building them costs.

    python benchmarks/models.py [--models DIR] [--only NAME]... [--rtl] [--yosys]
                                [--da4ml PYTHON] [--json FILE]

Prints one table in Markdown, and writes the same figures as JSON. Compile time and peak
memory are those of a cold process, from model file to SystemVerilog. Throughput is of levels
that are open already, back to back. ``--yosys`` synthesises for a Xilinx device (minutes;
the result is kept by the hash of the text), ``--rtl`` measures Verilator. With ``--da4ml``,
the interpreter of an environment that has da4ml, the same matrices are solved there too,
within 300 s; without it the column says so.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastml
from fastml import Design
from fastml.dialects.qflow import DenseOp, channel_of

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "build" / "benchmarks"
LIMIT_S = 300
STOPWATCH = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""
"""Runs a command from a small process: a child begins with the peak memory of its parent."""


@dataclass(frozen=True)
class Case:
    """A model file, its input's type, and how many inferences to predict at a time."""

    name: str
    input_type: str
    batch: int
    frames: int

    def inputs(self, models: Path, count: int) -> NDArray[np.float32]:
        """Return recorded inputs, repeated to ``count``."""
        with np.load(models / f"{self.name}.npz") as arrays:
            x = np.asarray(arrays["input"], np.float32)
        return np.tile(x, (-(-count // len(x)),) + (1,) * (x.ndim - 1))[:count]

    def compile(self, models: Path) -> Design:
        """Compile the model."""
        return fastml.compile(models / f"{self.name}.onnx", input_type=self.input_type)


CASES = (
    Case("jet_tagger", "global_in=fixed<16,6>", 100_000, 1000),
    Case("TFC_2W2A", "0=uint8/255", 10_000, 1000),
    Case("TFC_1W1A", "0=uint8/255", 10_000, 1000),
    Case("unsw_nb15_mlp_w2a2", "onnx::Add_0=bipolar", 10_000, 1000),
)


@dataclass
class Figures:
    """What was measured of one network."""

    name: str
    compile_s: float = 0.0
    """Cold process, model file to SystemVerilog."""
    compile_mb: float = 0.0
    predict_us: float = 0.0
    """Per inference, in a batch."""
    per_second: dict[str, float] = field(default_factory=dict[str, float])
    """Frames that a level executes in a second, cycles included."""
    hw_cold_s: float = 0.0
    """Opening the `hw` level and 1,000 frames."""
    adders: int = 0
    latency: int = 0
    ii: int = 0
    area: dict[str, Any] = field(default_factory=dict[str, Any])
    yosys: dict[str, int] | None = None
    da4ml: dict[str, float] | str = "not installed"


def best(run: Callable[[], object], repeats: int = 3) -> float:
    """Return the seconds of the fastest of some runs."""
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def measure_compile(case: Case, models: Path) -> tuple[float, float]:
    """Return seconds (of the fastest of three) and megabytes of a fresh ``fastmlc compile``."""
    runs = [_compile_once(case, models) for _ in range(3)]
    return min(seconds for seconds, _ in runs), max(megabytes for _, megabytes in runs)


def _compile_once(case: Case, models: Path) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fastml", "compile", str(models / f"{case.name}.onnx")]
        command += ["--input-type", case.input_type, "-o", str(Path(folder) / "build")]
        stopwatch = [sys.executable, "-S", "-c", STOPWATCH, *command]
        done = subprocess.run(stopwatch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{case.name}: {done.stderr}")
        seconds, megabytes = map(float, done.stdout.split())
        return seconds, megabytes


def measure(case: Case, models: Path, levels: Sequence[str]) -> tuple[Figures, Design]:
    """Measure everything that needs no outside tool."""
    figures = Figures(case.name)
    figures.compile_s, figures.compile_mb = measure_compile(case, models)
    design = case.compile(models)
    report = design.report()
    figures.adders = sum(layer["adders"] for layer in report["layers"])
    figures.latency, figures.ii = report["latency_cycles"], report["ii"]
    figures.area = report["area"]
    batch = case.inputs(models, case.batch)
    design.predict(batch[:64])
    figures.predict_us = best(lambda: design.predict(batch)) / case.batch * 1e6
    x = case.inputs(models, case.frames)
    cold = case.compile(models)
    cold.module("hw")
    figures.hw_cold_s = best(lambda: cold.simulate(x, "hw"), 1)
    for level in levels:
        design.simulate(x, level)
        figures.per_second[level] = case.frames / best(
            lambda level=level: design.simulate(x, level)
        )
    return figures, design


def synthesise(design: Design) -> dict[str, int] | None:
    """Return LUTs and flip-flops that yosys makes of the design; None without yosys."""
    yosys = shutil.which("yosys")
    if yosys is None:
        return None
    level = design.rtl
    digest = hashlib.sha256(json.dumps(dict(level.files), sort_keys=True).encode()).hexdigest()
    kept = CACHE / f"yosys-{digest[:24]}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for name, text in level.files.items():
            (Path(folder) / name).write_text(text)
        top = level.pinout.top
        steps = f"read_verilog -sv {' '.join(level.files)}; "
        steps += f"synth_xilinx -family xcup -flatten -noiopad -top {top}; stat"
        start = time.perf_counter()
        done = subprocess.run(
            [yosys, "-p", steps], cwd=folder, capture_output=True, text=True, check=True
        )
    cells = {
        n: int(c) for n, c in re.findall(r"^\s+([A-Z]\w+)\s+(\d+)$", done.stdout, re.MULTILINE)
    }
    luts = sum(count for name, count in cells.items() if re.fullmatch(r"LUT[1-6]", name))
    if not luts:
        raise SystemExit("yosys printed no LUTs")
    ffs = sum(cells.get(name, 0) for name in ("FDRE", "FDSE", "FDCE", "FDPE"))
    found = {
        "lut": luts,
        "ff": ffs,
        "carry4": cells.get("CARRY4", 0),
        "seconds": round(time.perf_counter() - start),
    }
    CACHE.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    return found


def run_peer(python: str, design: Design) -> dict[str, float] | str:
    """Solve the network's matrices by da4ml; return seconds, adders and megabytes."""
    layers = [
        {"matrix": stage.matrix.array.tolist(), "intervals": _intervals(stage)}
        for stage in design.graph.stages
        if isinstance(stage, DenseOp)
    ]
    command = [python, str(Path(__file__).with_name("da4ml_peer.py"))]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        said, complaint = process.communicate(json.dumps(layers), timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"> {LIMIT_S} s"
    if process.returncode:
        return f"failed: {complaint.strip().splitlines()[-1]}"
    solved = [json.loads(line) for line in said.splitlines()]
    return {
        "seconds": sum(layer["seconds"] for layer in solved),
        "adders": sum(layer["adders"] for layer in solved),
        "peak_mb": max(layer["peak_mb"] for layer in solved),
    }


def _intervals(stage: DenseOp) -> list[tuple[int, int, int]]:
    """Return the range of each row's input, over all positions."""
    source, rows = channel_of(stage.input), len(stage.matrix.array)
    lows, highs = (bound.reshape(-1, rows) for bound in (source.lows, source.highs))
    ends = zip(lows.min(axis=0), highs.max(axis=0), strict=True)
    return [(int(low), int(high), 1) for low, high in ends]


ROWS: dict[str, Callable[[Figures], str]] = {
    "model file to SystemVerilog, cold, s": lambda f: f"{f.compile_s:.1f}",
    "its peak memory, MB": lambda f: f"{f.compile_mb:.0f}",
    "predict, us an inference": lambda f: f"{f.predict_us:.2f}",
    "qflow, frames/s": lambda f: _rate(f, "qflow"),
    "affine, frames/s": lambda f: _rate(f, "affine"),
    "hw, every bit of every cycle, frames/s": lambda f: _rate(f, "hw"),
    "hw, 1,000 frames from cold, s": lambda f: f"{f.hw_cold_s:.2f}",
    "Verilator, frames/s": lambda f: _rate(f, "rtl"),
    "adders": lambda f: str(f.adders),
    "latency (II), cycles of 5 ns": lambda f: f"{f.latency} ({f.ii})",
    "LUT / FF, estimate": lambda f: f"{f.area['lut']} / {f.area['ff']}",
    "LUT / FF, yosys": lambda f: "-" if f.yosys is None else f"{f.yosys['lut']} / {f.yosys['ff']}",
    "da4ml: adders": lambda f: _peer(f, "adders", "{:.0f}"),
    "da4ml: solving the matrices, s": lambda f: _peer(f, "seconds", "{:.1f}"),
    "da4ml: peak memory, MB": lambda f: _peer(f, "peak_mb", "{:.0f}"),
}


def _rate(figures: Figures, level: str) -> str:
    rate = figures.per_second.get(level)
    return "-" if rate is None else f"{rate:,.0f}"


def _peer(figures: Figures, key: str, form: str) -> str:
    found = figures.da4ml
    return found if isinstance(found, str) else form.format(found[key])


def table(found: Sequence[Figures]) -> str:
    """Return the figures as a table in Markdown, a column for each network."""
    lines = ["| | " + " | ".join(f.name for f in found) + " |", "|---" * (len(found) + 1) + "|"]
    for name, cell in ROWS.items():
        lines.append(f"| {name} | " + " | ".join(cell(f) for f in found) + " |")
    return "\n".join(lines)


def commit() -> str:
    """Return the commit that was measured."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def main() -> None:
    """Measure, print the table, write the figures."""
    shared = Path(os.environ.get("FASTML_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=shared / "models")
    parser.add_argument("--only", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--rtl", action="store_true", help="measure Verilator, too")
    parser.add_argument("--yosys", action="store_true", help="synthesise")
    parser.add_argument("--da4ml", metavar="PYTHON", help="interpreter that has da4ml 0.6.0")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    levels = ["qflow", "affine", "hw", *(["rtl"] if args.rtl else [])]
    found: list[Figures] = []
    for case in CASES:
        if args.only and case.name not in args.only:
            continue
        print(f"measuring {case.name}", file=sys.stderr)
        figures, design = measure(case, args.models, levels)
        if args.yosys:
            figures.yosys = synthesise(design)
        if args.da4ml:
            figures.da4ml = run_peer(args.da4ml, design)
        found.append(figures)
    print(table(found))
    if args.json:
        record = {"commit": commit(), "networks": [asdict(f) for f in found]}
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
