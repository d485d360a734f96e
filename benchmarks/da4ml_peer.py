"""Solve the matrices of a network by da4ml: run by an interpreter that has it.

    PYTHON benchmarks/da4ml_peer.py < layers.json

Reads a list of ``{"matrix": rows, "intervals": [[low, high, step], ...]}`` and prints, for
each, one line of JSON when it is solved, so that a time limit loses only what it cuts off.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def solve_layer(layer: dict[str, Any]) -> dict[str, float | int]:
    """Return seconds, adders and the peer's own cost of one matrix."""
    solve = import_module("da4ml.cmvm").solve
    matrix = np.array(layer["matrix"], np.float32)
    intervals = [tuple(map(float, interval)) for interval in layer["intervals"]]
    start = time.perf_counter()
    found: Any = solve(matrix, hard_dc=2, qintervals=intervals)
    seconds = time.perf_counter() - start
    kinds = [int(op[2]) for stage in found.solutions for op in stage.ops]
    return {
        "seconds": seconds,
        "adders": sum(kind in (0, 1) for kind in kinds),
        "cost": float(found.cost),
        "peak_mb": peak_megabytes(),
    }


def peak_megabytes() -> float:
    """Return this program's peak memory; ``getrusage`` begins with that of the parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no peak memory in /proc/self/status")


def main() -> None:
    """Solve all layers that come in."""
    for layer in json.load(sys.stdin):
        print(json.dumps(solve_layer(layer)), flush=True)


if __name__ == "__main__":
    main()
