"""Networks of images as streaming hardware: time, and what synthesis makes of them.

    python benchmarks/images_rtl.py [--only NAME]... [--no-yosys] [--no-rtl] [--json FILE]

Prints one table in Markdown: for each network and contract the cycles between two images and
the latency (predicted, and measured in Verilator on images whose outputs are compared with the
network's), the reuse factor of every layer (1: an adder graph), the bits of line buffers and
FIFOs, our own estimate of look-up tables, what yosys makes of the SystemVerilog, and the time
and memory that compiling took. Synthesis takes minutes and is kept by the hash of the text;
with ``--no-yosys`` only what is kept is shown.
"""

import argparse
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import fastml
from fastml import Design
from fastml.compiler.report import hardware_area
from fastml.dialects.channel import channel_of
from fastml.dialects.qflow import DenseOp, FoldedAttr
from fastml.runtime.yosys import synthesise

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "build" / "benchmarks"
MODELS = ROOT / "tests" / "e2e"
"""Where the networks are made."""


@dataclass(frozen=True)
class Case:
    """A network, and what it is compiled with."""

    network: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    images: int = 3

    @property
    def name(self) -> str:
        """Network and options in one word."""
        options = (f"{name}={value}" for name, value in self.options.items())
        return ", ".join([self.network, *options])

    def model(self) -> Any:
        """Build the model: a file's content, the input's type, and samples."""
        sys.path[:0] = [] if str(MODELS) in sys.path else [str(MODELS)]
        return getattr(import_module("image_models"), self.network)()


CASES = (
    Case("svhn", {"ii": 1100, "latency_cycles": 1200}),
    Case("svhn", {"ii": 1100}),
    Case("svhn", {"ii": 16384}),
    Case("resnet8", {"ii": 16384}, images=2),
    Case("resnet8", {"ii": 65536}, images=2),
    Case("unet"),
    Case("unet", {"ii": 4096}),
    Case("separable"),
    Case("waveform"),
)


@dataclass
class Row:
    """What was found for one case."""

    name: str
    ii: int | None
    latency: int | None
    measured_ii: int | None
    measured_latency: int | None
    reuse: list[int]
    buffers: int
    estimate: int
    cells: dict[str, int] | None
    compile_s: float
    memory_mb: int


def measure(design: Design, model: Any, images: int) -> tuple[int, int]:
    """Return the distance of images and the latency in Verilator; outputs must be right."""
    x = model.sample(images, seed=1)
    expected, found = design.simulate(x, "fastml"), design.simulate(x, "rtl")
    np.testing.assert_array_equal(found.outputs, expected.outputs)
    return int(np.diff(found.cycles).max()), int(found.cycles[0])


def synthesised(design: Design, *, anew: bool) -> dict[str, int] | None:
    """Return the cells that yosys makes, kept by the text of the design."""
    text = json.dumps(dict(sorted(design.rtl.files.items())))
    path = CACHE / f"{hashlib.sha256(text.encode()).hexdigest()}.images.json"
    if not path.is_file():
        if not anew:
            return None
        cells = synthesise(design.rtl.files, design.rtl.pinout.top)
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = {"lut": cells.lut, "ff": cells.ff, "bram": cells.bram, "dsp": cells.dsp}
        path.write_text(json.dumps(figures))
    return json.loads(path.read_text())


def buffers_of(design: Design) -> int:
    """Return the bits of all FIFOs, line buffers among them."""
    fifos = ((fifo.depth.data, channel_of(fifo.result)) for fifo in design.graph.fifos)
    return sum(depth * sum(channel.elements.widths) for depth, channel in fifos)


def reuse_of(design: Design) -> list[int]:
    """Return the reuse factors of the layers."""
    layers = [stage for stage in design.graph.stages if isinstance(stage, DenseOp)]
    kinds = [layer.architecture for layer in layers]
    return [kind.reuse.data if isinstance(kind, FoldedAttr) else 1 for kind in kinds]


def run(case: Case, *, rtl: bool, yosys: bool) -> Row:
    """Build one network."""
    model = case.model()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{case.network}.onnx"
        path.write_bytes(model.model.SerializeToString())
        start = time.process_time()
        design = fastml.compile(path, input_type=model.input_types, io="stream", **case.options)
        design.level("rtl")
        seconds = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    ii, latency = measure(design, model, case.images) if rtl else (None, None)
    return Row(
        case.name,
        design.ii,
        design.latency,
        ii,
        latency,
        reuse_of(design),
        buffers_of(design),
        round(hardware_area(design).lut),
        synthesised(design, anew=yosys),
        round(seconds, 1),
        memory,
    )


def line(row: Row) -> str:
    """Return a row of the table."""
    cells = row.cells or {}
    figures = [
        row.name,
        row.ii,
        row.measured_ii,
        row.latency,
        row.measured_latency,
        " ".join(map(str, row.reuse)),
        row.buffers,
        row.estimate,
        *[cells.get(kind) for kind in ("lut", "ff", "bram", "dsp")],
        row.compile_s,
        row.memory_mb,
    ]
    return "| " + " | ".join("-" if f is None else f"{f}" for f in figures) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append")
    parser.add_argument("--no-yosys", action="store_true")
    parser.add_argument("--no-rtl", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(
        "| network | II | measured | latency | measured | reuse | buffer bits "
        "| LUT, estimate | LUT | FF | BRAM | DSP | compile s | MB |"
    )
    print("|" + "---|" * 14)
    rows = list[Row]()
    for case in CASES:
        if args.only and case.network not in args.only and case.name not in args.only:
            continue
        rows.append(run(case, rtl=not args.no_rtl, yosys=not args.no_yosys))
        print(line(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
