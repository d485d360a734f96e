"""Whole images through a network: fastml's interpreter beside the QONNX executor and hls4ml.

    python benchmarks/images.py [--models FOLDER] [--hls4ml PYTHON] [--repeats N]

Prints one table in Markdown: a row for each model and contender. Each runs in a process of its
own, one at a time: from the start of the process to the first image, then more images. hls4ml
(its C++ emulation of streams) needs an environment of its own, made by

    python3 -m venv hls4ml && hls4ml/bin/pip install 'hls4ml[onnx]==1.3.0' 'qonnx==1.0.0'

and named by ``--hls4ml hls4ml/bin/python``. The referee's image is in the ``.npz`` beside each
model.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Predict: TypeAlias = Callable[[Array], Array]
ROOT = Path(__file__).parents[1]
MODELS = ("separable_conv_ch_last", "branched_ch_last")
INPUT = "global_in"
LIMIT_S = 600
"""Seconds after which a contender is given up."""


# -- contenders ----------------------------------------------------------------------------


def by_interpreter(model: Path) -> Predict:
    """Return fastml's interpreter of the ``fastml`` level."""
    reader: Any = import_module("fastml.compiler.reader")
    infer: Any = import_module("fastml.lowering.infer_grids").InferGrids
    runtime: Any = import_module("fastml.runtime.fastml")
    context: Any = import_module("xdsl.context").Context
    module = reader.read_onnx(model, {INPUT: "uint8*0.00390625"})
    infer().apply(context(), module)

    def predict(x: Array) -> Array:
        (output,) = runtime.evaluate(module, {INPUT: x}).outputs.values()
        return output.real

    return predict


def by_design(model: Path) -> Predict:
    """Return ``predict`` of a design that streams pixels."""
    fastml: Any = import_module("fastml")
    types = {INPUT: "uint8*0.00390625"}
    return fastml.compile(model, input_type=types, io="stream").predict


def by_executor(model: Path) -> Predict:
    """Return the QONNX executor, which runs each node in ONNX Runtime or NumPy."""
    wrapper: Any = import_module("qonnx.core.modelwrapper").ModelWrapper(str(model))
    execute: Any = import_module("qonnx.core.onnx_exec").execute_onnx
    (opset,) = [entry.version for entry in wrapper.model.opset_import if not entry.domain]
    # it runs what wraps a standard operator in the set that this domain has
    wrapper.set_opset_import("qonnx.custom_op.channels_last", opset)
    (name,) = [output.name for output in wrapper.graph.output]
    return lambda x: execute(wrapper, {INPUT: x})[name]


def by_hls4ml(model: Path) -> Predict:
    """Return hls4ml's emulation of streams, compiled by g++, wide enough to be exact."""
    wrapper: Any = import_module("qonnx.core.modelwrapper").ModelWrapper(str(model))
    hls4ml: Any = import_module("hls4ml")
    config = hls4ml.utils.config_from_onnx_model(
        wrapper, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
    )
    made = hls4ml.converters.convert_from_onnx_model(
        wrapper,
        hls_config=config,
        output_dir=tempfile.mkdtemp(),
        backend="Vitis",
        io_type="io_stream",
    )
    made.compile()
    return lambda x: made.predict(np.ascontiguousarray(x))


CONTENDERS: dict[str, tuple[str, Callable[[Path], Predict]]] = {
    "interpreter": ("fastml, level `fastml`", by_interpreter),
    "design": ("fastml, `predict`", by_design),
    "executor": ("QONNX executor", by_executor),
    "hls4ml": ("hls4ml, `io_stream`", by_hls4ml),
}


def contend(name: str, model: Path, repeats: int) -> None:
    """Run a contender; print what was measured as JSON, apart from what it prints itself."""
    referee = np.load(model.with_suffix(".npz"))
    x = referee["input"].astype(np.float32) * referee["input_scale"]
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        predict = CONTENDERS[name][1](model)
        got = predict(x)
        first = time.perf_counter() - start
        seconds: list[float] = []
        cpu: list[float] = []
        for _ in range(repeats):
            begin, busy = time.perf_counter(), time.process_time()
            predict(x)
            seconds.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - busy)
    wanted = referee["output"]
    wrong = int(np.sum(np.asarray(got).reshape(wanted.shape) != wanted))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"first_s": first, "seconds": min(seconds), "cpu_s": min(cpu)}
    print(json.dumps({**figures, "wrong": wrong, "elements": wanted.size, "peak_mib": peak}))


# -- the table -----------------------------------------------------------------------------


def measure(python: str | None, name: str, model: Path, repeats: int) -> dict[str, Any] | str:
    """Return the figures of a contender in a process of its own, or why there are none."""
    if python is None:
        return "not installed"
    command = [python, __file__, "--contender", name, "--models", str(model)]
    try:
        found = subprocess.run(
            [*command, "--repeats", str(repeats)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done in {LIMIT_S} s"
    if found.returncode:
        lines = found.stderr.strip().splitlines() or ["it says nothing"]
        return f"failed: {lines[-1]}"
    return json.loads(found.stdout.strip().splitlines()[-1])


def row(model: str, title: str, figures: dict[str, Any] | str) -> str:
    """Return a row of the table."""
    if isinstance(figures, str):
        return f"| {model} | {title} | {figures} | | | | | |"
    exact = f"{figures['elements'] - figures['wrong']:,} of {figures['elements']:,}"
    rate = 1 / figures["seconds"]
    cells = [f"{rate:.3g}", f"{figures['seconds']:.2f}", f"{figures['cpu_s']:.2f}"]
    cells += [f"{figures['first_s']:.1f}", f"{figures['peak_mib']:,.0f}", exact]
    return f"| {model} | {title} | " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    shared = Path(os.environ.get("FASTML_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=shared / "models", metavar="FOLDER")
    parser.add_argument("--hls4ml", metavar="PYTHON", help="interpreter that has hls4ml 1.3.0")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.contender:
        contend(args.contender, args.models, args.repeats)
        return
    heads = ["model", "", "images/s", "s an image", "processor s", "first image, s"]
    heads += ["peak MiB", "elements equal to the referee"]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for model in MODELS:
        for name, (title, _) in CONTENDERS.items():
            print(f"measuring {name} on {model}", file=sys.stderr)
            python = args.hls4ml if name == "hls4ml" else sys.executable
            figures = measure(python, name, args.models / f"{model}.onnx", args.repeats)
            print(row(model, title, figures), flush=True)


if __name__ == "__main__":
    main()
