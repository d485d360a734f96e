"""HLS C++ run as plain C++: emulation beside hls4ml's, on the same model.

    python benchmarks/hls.py [--model FILE.onnx] [--hls4ml PYTHON] [--repeats N] [--json FILE]

Prints one table in Markdown. Every contender runs in processes of its own, one at a time, from
the model file to its first prediction with nothing cached, then in batches. hls4ml needs an
environment of its own, made by

    python3 -m venv hls4ml && hls4ml/bin/pip install 'hls4ml[onnx]==1.3.0' 'qonnx==1.0.0'

and named by ``--hls4ml hls4ml/bin/python``; without it, its columns say so. The referee's
outputs are in the ``.npz`` beside the model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BATCHES = (1000, 100_000)
LIMIT_S = 900
CONTENDERS = {
    "predict": "fastml, `predict`",
    "csim": "fastml, `build_csim`",
    "hls4ml": "hls4ml",
    "hls4ml-logits": "hls4ml, softmax cut off",
}


@dataclass
class Figures:
    """What was measured of one contender; ``failure`` says why nothing was."""

    first_s: float = float("inf")
    first_cpu_s: float = float("inf")
    rates: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    frames: int = 0
    error: float = 0.0
    same_class: int = 0
    logits_equal: int | None = None
    failure: str = ""


def run_once(python: str, name: str, model: Path) -> tuple[float, dict[str, Any], dict[str, Any]]:
    """Return seconds from the start of a process to its first prediction, and what it says."""
    script = str(Path(__file__).with_name("hls_contender.py"))
    referee = str(model.with_suffix(".npz"))
    command = [python, script, name, str(model), referee, *map(str, BATCHES)]
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        seconds = time.perf_counter() - start
        rest, _ = process.communicate(timeout=LIMIT_S)
        complaints.seek(0)
        lines = complaints.read().strip().splitlines() or ["it says nothing"]
    if process.returncode or not rest:
        raise RuntimeError(lines[-1])
    return seconds, json.loads(first), json.loads(rest)


def measure(python: str | None, name: str, model: Path, repeats: int) -> Figures:
    """Measure a contender; times are those of the best run."""
    figures = Figures()
    if python is None:
        figures.failure = "not installed"
        return figures
    for _ in range(repeats):
        try:
            seconds, first, result = run_once(python, name, model)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            figures.failure = f"failed: {error}"
            return figures
        figures.first_s = min(figures.first_s, seconds)
        figures.first_cpu_s = min(figures.first_cpu_s, first["first_cpu_s"])
        for batch, rate in result.pop("rates").items():
            best = figures.rates.setdefault(batch, rate)
            best["per_second"] = max(best["per_second"], rate["per_second"])
            best["cpu_us"] = min(best["cpu_us"], rate["cpu_us"])
        for key, value in result.items():
            setattr(figures, key, value)
    return figures


def _logits(figures: Figures) -> str:
    if figures.logits_equal is None:
        return "-"
    return f"{figures.logits_equal} of {figures.frames}"


ROWS: dict[str, Callable[[Figures], str]] = {
    "model file to first prediction, cold, s": lambda f: f"{f.first_s:.1f}",
    "its processor time, s": lambda f: f"{f.first_cpu_s:.1f}",
    **{
        f"inferences/s, batch of {batch:,}": lambda f, batch=batch: (
            f"{f.rates[str(batch)]['per_second']:,.0f}"
        )
        for batch in BATCHES
    },
    **{
        f"processor time, us an inference, batch of {batch:,}": lambda f, batch=batch: (
            f"{f.rates[str(batch)]['cpu_us']:.1f}"
        )
        for batch in BATCHES
    },
    "largest error of an output": lambda f: f"{f.error:.2g}",
    "same class as the referee": lambda f: f"{f.same_class} of {f.frames}",
    "logits bit-equal to the referee": _logits,
}


def table(found: dict[str, Figures]) -> str:
    """Return the figures as a table in Markdown, a column for each contender."""
    heads = [CONTENDERS[name] for name in found]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(found) + 1) + "|"]
    for title, cell in ROWS.items():
        cells = [f.failure or cell(f) for f in found.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the figures."""
    shared = Path(os.environ.get("FASTML_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=shared / "models" / "jet_tagger.onnx")
    parser.add_argument("--hls4ml", metavar="PYTHON", help="interpreter that has hls4ml 1.3.0")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    found: dict[str, Figures] = {}
    for name in CONTENDERS:
        print(f"measuring {name}", file=sys.stderr)
        python = args.hls4ml if name.startswith("hls4ml") else sys.executable
        found[name] = measure(python, name, args.model, args.repeats)
    print(table(found))
    if args.json:
        record = {name: asdict(figures) for name, figures in found.items()}
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
