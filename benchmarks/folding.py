"""Reuse factors: what folding a network costs and saves.

    python benchmarks/folding.py [--models DIR] [--only NAME]... [--reuse R]...
                                 [--no-yosys] [--no-rtl] [--json FILE]

Prints one table in Markdown: for each network and reuse factor the cycles between two frames
and the latency (predicted by the schedule, and measured in Verilator), the multipliers of
every layer (0: parallel, an adder graph), how many layers the compiler warns of because they
cost more than their adder graphs, our own estimate of look-up tables, and what yosys makes of
the SystemVerilog. Synthesis takes minutes and is kept by the hash of the text; with
``--no-yosys`` only what is kept is shown.
"""

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastml
from fastml import Design
from fastml.compiler.report import cost_warnings, describe_layers, hardware_area
from fastml.runtime.yosys import Cells, synthesise

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "build" / "benchmarks"
FRAMES = 4


@dataclass(frozen=True)
class Case:
    """A model file, its input's type, and the reuse factors to build it with."""

    name: str
    file: Path
    input_type: str | None
    reuse: tuple[int, ...]


def cases(models: Path) -> list[Case]:
    """Return the networks, as far as their files are there."""
    own = ROOT / "examples" / "digits.onnx"
    every = [
        Case("TFC_2W2A", models / "TFC_2W2A.onnx", "0=uint8/255", (1, 8, 64, 784)),
        Case(
            "unsw_nb15_mlp_w2a2",
            models / "unsw_nb15_mlp_w2a2.onnx",
            "onnx::Add_0=bipolar",
            (1, 6, 75, 600),
        ),
        Case("digits 784-16-10", own, None, (14, 56, 784, 12544)),
    ]
    return [case for case in every if case.file.is_file()]


@dataclass
class Row:
    """What was found for one network and one reuse factor."""

    name: str
    reuse: int
    ii: int | None
    latency: int | None
    measured_ii: int | None
    measured_latency: int | None
    multipliers: list[int]
    warned: int
    estimate: int
    cells: dict[str, int] | None
    compile_s: float


def vectors(design: Design) -> dict[str, NDArray[Any]]:
    """Return random integers for every input of the hardware."""
    from fastml.runtime.vectors import hurting_vectors

    return hurting_vectors(design.graph, FRAMES, seed=1)


def measure(design: Design) -> tuple[int, int]:
    """Return the distance of frames and the latency in Verilator; values must be right."""
    from fastml.runtime.trace import back_to_back

    stimulus = back_to_back(vectors(design), FRAMES)
    expected = design.level("qflow").simulate(stimulus, [])
    found = design.level("rtl").simulate(stimulus, [])
    for name, signal in expected.outputs.items():
        assert np.array_equal(found.outputs[name].values, signal.values), name
    cycles = found.cycles
    return int(np.diff(cycles).max()), int(cycles[0])


def synthesised(design: Design, *, anew: bool) -> dict[str, int] | None:
    """Return the cells that yosys makes, kept by the text of the design."""
    text = json.dumps(dict(sorted(design.rtl.files.items())))
    path = CACHE / f"{hashlib.sha256(text.encode()).hexdigest()}.folding.json"
    if not path.is_file():
        if not anew:
            return None
        cells: Cells = synthesise(design.rtl.files, design.rtl.pinout.top)
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = {"lut": cells.lut, "ff": cells.ff, "bram": cells.bram, "dsp": cells.dsp}
        path.write_text(json.dumps(figures))
    return json.loads(path.read_text())


def run(case: Case, reuse: int, *, rtl: bool, yosys: bool) -> Row:
    """Build one network with one reuse factor."""
    start = time.perf_counter()
    types = {} if case.input_type is None else {"input_type": [case.input_type]}
    design = fastml.compile(case.file, reuse=reuse, **types)
    design.level("rtl")
    seconds = time.perf_counter() - start
    ii, latency = measure(design) if rtl else (None, None)
    layers = describe_layers(design.graph)
    return Row(
        case.name,
        reuse,
        design.ii,
        design.latency,
        ii,
        latency,
        [layer["multipliers"] for layer in layers if layer["kind"] == "dense"],
        len(cost_warnings(design.graph)),
        round(hardware_area(design).lut),
        synthesised(design, anew=yosys),
        round(seconds, 1),
    )


def line(row: Row) -> str:
    """Return a row of the table."""
    cells = row.cells or {}
    figures = [
        row.name,
        row.reuse,
        row.ii,
        row.measured_ii,
        row.latency,
        row.measured_latency,
        " + ".join(map(str, row.multipliers)),
        row.warned,
        row.estimate,
        *[cells.get(kind) for kind in ("lut", "ff", "bram", "dsp")],
        row.compile_s,
    ]
    return "| " + " | ".join("-" if f is None else f"{f}" for f in figures) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", action="append")
    parser.add_argument("--reuse", action="append", type=int)
    parser.add_argument("--no-yosys", action="store_true")
    parser.add_argument("--no-rtl", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(
        "| network | reuse | II | measured | latency | measured | multipliers | warned "
        "| LUT, estimate | LUT | FF | BRAM | DSP | compile s |"
    )
    print("|" + "---|" * 14)
    rows = list[Row]()
    for case in cases(args.models):
        if args.only and case.name not in args.only:
            continue
        for reuse in args.reuse or case.reuse:
            rows.append(run(case, reuse, rtl=not args.no_rtl, yosys=not args.no_yosys))
            print(line(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
