"""Adder graphs of known matrices: adders, full adders, depth and seconds.

    python benchmarks/cmvm.py [--models DIR] [--only NAME]... [--budget N] [--da4ml PYTHON]

The layers come from the model files; random matrices are drawn from fixed seeds. Beside
ours stand the figures of da4ml 0.6.0 with ``hard_dc=2``, measured elsewhere. With
``--da4ml``, the interpreter of an environment that has it, it is run here too and its
graphs are proved, and priced by the same full-adder count as ours.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from rich.console import Console
from rich.table import Table

from fastml.lowering.cmvm import solve
from fastml.lowering.cmvm.problem import Problem
from fastml.lowering.cmvm.trees import Builder, Term

PUBLISHED = {  # adders, depth, seconds
    "jet_0": (700, 6, 0.109),
    "jet_1": (950, 8, 0.188),
    "jet_2": (583, 8, 0.075),
    "jet_3": (158, 7, 0.008),
    "random_16x16_4": (218, 6, 0.016),
    "random_16x16_8": (361, 8, 0.049),
    "random_32x32_4": (771, 7, 0.152),
    "random_32x32_8": (1350, 8, 0.438),
    "random_64x64_4": (2720, 8, 2.484),
    "random_64x64_8": (4904, 9, 6.370),
}
"""da4ml 0.6.0, hard_dc=2, one thread; the sign of an output is free there."""

PEER = """
import json, sys, time
import numpy as np
from da4ml.cmvm import solve
given = json.load(sys.stdin)
start = time.perf_counter()
found = solve(np.array(given["matrix"], np.float32), hard_dc=2,
              qintervals=[tuple(map(float, q)) for q in given["intervals"]])
seconds = time.perf_counter() - start
stages = [
    {name: [int(v) for v in getattr(s, name)]
     for name in ("inp_shifts", "out_idxs", "out_shifts", "out_negs")}
    | {"ops": [[int(v) for v in op[:4]] for op in s.ops]}
    for s in found.solutions
]
json.dump({"seconds": seconds, "stages": stages}, sys.stdout)
"""

Matrix = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """A matrix and the range of its inputs."""

    name: str
    matrix: Matrix
    low: int
    high: int
    step: int = 1


def constants(path: Path) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """Read a model and its constants by name."""
    model = onnx.ModelProto.FromString(path.read_bytes())
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return model, found


def weights(path: Path) -> Iterator[Matrix]:
    """Yield the integer weights of each layer of a model, in the model's order."""
    model, constant = constants(path)
    quantised: dict[str, Matrix] = {}
    for node in model.graph.node:
        source = constant.get(node.input[0]) if node.input else None
        if source is not None and source.ndim != 2:
            continue
        if source is not None and node.op_type == "BipolarQuant":
            quantised[node.output[0]] = np.where(source >= 0, 1, -1)
        elif source is not None and node.op_type == "Quant":
            flags = {a.name: a.i for a in node.attribute}
            half = 2 ** (int(constant[node.input[3]].item()) - 1)
            codes = np.round(source / constant[node.input[1]])
            low = -half + flags["narrow"]
            quantised[node.output[0]] = np.clip(codes, low, half - 1).astype(np.int64)
        elif node.op_type == "Transpose" and node.input[0] in quantised:
            quantised[node.output[0]] = quantised[node.input[0]].T
        elif node.op_type in ("MatMul", "Gemm"):
            matrix = quantised[node.input[1]]
            yield matrix.T if node.op_type == "Gemm" else matrix


def cases(models: Path) -> Iterator[Case]:
    """Yield the layers of the models that are there, then the random matrices."""
    files = {
        "jet": ("jet_tagger", (-128, 127, 1), (0, 63, 1)),
        "unsw": ("unsw_nb15_mlp_w2a2", (0, 1, 1), (0, 3, 1)),
        "tfc2": ("TFC_2W2A", (-1, 1, 1), (-1, 1, 1)),
        "tfc1": ("TFC_1W1A", (-1, 1, 2), (-1, 1, 2)),
    }
    for short, (file, first, later) in files.items():
        path = models / f"{file}.onnx"
        if not path.exists():
            print(f"no {path}: skipped", file=sys.stderr)
            continue
        for layer, matrix in enumerate(weights(path)):
            yield Case(f"{short}_{layer}", matrix, *(later if layer else first))
    for size in (16, 32, 64):
        for bits in (4, 8):
            rng = np.random.default_rng(1000 * size + 10 * bits)
            matrix = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (size, size))
            yield Case(f"random_{size}x{size}_{bits}", matrix, -128, 127)


def run_peer(python: str, case: Case) -> tuple[list[str], float]:
    """Solve by da4ml; return adders, full adders and depth, and seconds."""
    interval = (case.low, case.high, case.step)
    given = {"matrix": case.matrix.tolist(), "intervals": [interval] * len(case.matrix)}
    # Its arithmetic knows multiples of a step only.
    if case.low % case.step:
        given["intervals"] = [(case.low, case.high, 1)] * len(case.matrix)
    answer = json.loads(
        subprocess.run(
            [python, "-c", PEER],
            input=json.dumps(given),
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
            check=True,
        ).stdout
    )
    n_in = len(case.matrix)
    builder = Builder([0] * n_in, [(case.low, case.high)] * n_in)
    inputs: list[Term | int] = [Term(i, 0, False) for i in range(n_in)]
    for stage in answer["stages"]:
        inputs = replay(builder, inputs, stage)
    outputs = [
        builder.add_constant(t, 0) if isinstance(t, Term) and t.negative else t for t in inputs
    ]
    problem = problem_of(case, 0)
    graph = builder.graph(outputs)
    problem.prove(graph)
    cost = graph.cost(problem.grid(graph))
    return [str(cost.adders), str(cost.bits), str(cost.depth)], answer["seconds"]


def replay(builder: Builder, inputs: list[Term | int], stage: dict[str, Any]) -> list[Term | int]:
    """Build one stage of da4ml's answer."""

    def scaled(term: Term | int, shift: int, negate: int) -> Term | int:
        if isinstance(term, int):
            assert term == 0
            return 0
        return Term(term.value, term.shift + shift, term.negative ^ bool(negate))

    values: list[Term | int] = []
    operations: list[list[int]] = stage["ops"]
    shifts: list[int] = stage["inp_shifts"]
    for first, second, opcode, data in operations:
        if opcode == -1:
            values.append(scaled(inputs[first], shifts[first], 0))
            continue
        assert opcode in (0, 1)
        left, right = values[first], scaled(values[second], data, opcode)
        if isinstance(left, int) or isinstance(right, int):
            values.append(right if isinstance(left, int) else left)
        else:
            values.append(builder.add(left, right))
    ids: list[int] = stage["out_idxs"]
    ends: list[tuple[int, int]] = list(zip(stage["out_shifts"], stage["out_negs"], strict=True))
    return [0 if i < 0 else scaled(values[i], *end) for i, end in zip(ids, ends, strict=True)]


def problem_of(case: Case, budget: int) -> Problem:
    """State a case as a problem."""
    return Problem.of(case.matrix, case.low, case.high, step=case.step, budget=budget)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    shared = Path(os.environ.get("FASTML_SHARED", Path(__file__).parents[2] / "shared"))
    parser.add_argument("--models", type=Path, default=shared / "models")
    parser.add_argument("--only", action="append", help="a matrix or the start of its name")
    parser.add_argument("--budget", type=int, default=1, help="effort, in units of work")
    parser.add_argument("--da4ml", metavar="PYTHON", help="interpreter that has da4ml")
    arguments = parser.parse_args()
    table = Table(title="constant matrices as adder graphs (s: single process, this machine)")
    for column in ("matrix", "shape", "adders", "bits", "depth", "s", "proof s"):
        table.add_column(column, justify="right" if table.columns else "left")
    for column in ("adders", "depth", "s"):
        table.add_column(f"da4ml 0.6\n{column}", justify="right")
    if arguments.da4ml:
        for column in ("adders", "bits", "depth", "s"):
            table.add_column(f"da4ml here\n{column}", justify="right")
    for case in cases(arguments.models):
        if arguments.only and not any(case.name.startswith(o) for o in arguments.only):
            continue
        problem = problem_of(case, arguments.budget)
        start = time.perf_counter()
        graph = solve(problem)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        problem.prove(graph)
        proof = time.perf_counter() - start
        cost = graph.cost(problem.grid(graph))
        row = [
            case.name,
            "x".join(map(str, case.matrix.shape)),
            *map(str, (cost.adders, cost.bits, cost.depth)),
            f"{seconds:.2f}",
            f"{proof:.3f}",
            *(str(v) for v in PUBLISHED.get(case.name, ("", "", ""))),
        ]
        if arguments.da4ml:
            try:
                figures, taken = run_peer(arguments.da4ml, case)
                row += [*figures, f"{taken:.2f}"]
            except subprocess.CalledProcessError as error:
                row += ["failed", "", "", str(error.returncode)]
        table.add_row(*row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
