"""Hostile models and names, through the command line: one line, exit 2, nothing written."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastml import Design
from fastml.compiler.driver import main
from fastml.compiler.project import read_project

DOMAIN = "qonnx.custom_op.general"
MEMORY = 1 << 32
"""Bytes of address space that a command may take: a huge shape must not be allocated."""


def command(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m fastml`` in a folder, with little memory."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    return subprocess.run(
        [sys.executable, "-m", "fastml", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )


class Small:
    """A model of one quantised dense layer, with a change that makes it hostile."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {
            "scale": np.array(0.25, np.float32),
            "zero": np.array(0, np.float32),
            "bits": np.array(4, np.float32),
            "weight": np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32),
        }
        self.shape: list[int | str] = ["N", 4]
        self.output = "y"
        self.quant("weight", "w")
        self.node("MatMul", ["x", "w"], "sum")
        self.quant("sum", "y")

    def node(self, op: str, inputs: list[str], output: str, name: str = "", **more: Any) -> None:
        self.nodes.append(
            helper.make_node(op, inputs, [output], name=name or f"{op}_{output}", **more)
        )

    def quant(self, x: str, y: str, name: str = "", scale: str = "scale") -> None:
        inputs = [x, scale, "zero", "bits"]
        self.node(
            "Quant", inputs, y, name, domain=DOMAIN, signed=1, narrow=0, rounding_mode="ROUND"
        )

    def save(self, path: Path) -> None:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        outputs = [helper.make_tensor_value_info(self.output, TensorProto.FLOAT, ["N", 3])]
        constants = [numpy_helper.from_array(a, name) for name, a in self.constants.items()]
        graph = helper.make_graph(self.nodes, "small", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        path.write_bytes(model.SerializeToString())


def truncated(path: Path) -> None:
    Small().save(path)
    path.write_bytes(path.read_bytes()[:-100])


def one_byte(path: Path) -> None:
    path.write_bytes(b"\x08")


def huge_shape(path: Path) -> None:
    """Two gigabytes of input, and a constant that claims as much."""
    small = Small()
    small.shape = ["N", 1 << 29]
    small.save(path)


def huge_constant(path: Path) -> None:
    small = Small()
    small.save(path)
    model = onnx.load_model_from_string(path.read_bytes())
    tensor = next(t for t in model.graph.initializer if t.name == "weight")
    tensor.dims[:] = [1 << 15, 1 << 14]
    path.write_bytes(model.SerializeToString())


def cyclic(path: Path) -> None:
    small = Small()
    small.node("Add", ["sum", "back"], "loop", "in the loop")
    small.node("Relu", ["loop"], "back")
    small.nodes[2].input[0] = "back"
    small.save(path)


def unknown_operator(path: Path) -> None:
    small = Small()
    small.node("FlashAttention", ["sum"], "odd", "the odd one", domain="com.example")
    small.nodes[2].input[0] = "odd"
    small.save(path)


def unknown_standard_operator(path: Path) -> None:
    small = Small()
    small.node("Erf", ["sum"], "odd", "the odd one")
    small.nodes[2].input[0] = "odd"
    small.save(path)


def dynamic_scale(path: Path) -> None:
    small = Small()
    small.node("Relu", ["x"], "varying")
    small.nodes.pop(2)
    small.quant("sum", "y", "the quantiser", scale="varying")
    small.save(path)


def unquantised(path: Path) -> None:
    small = Small()
    small.constants["step"] = np.array(0.3, np.float32)
    small.node("Mul", ["sum", "step"], "scaled", "the scaling")
    small.node("MatMul", ["scaled", "again"], "twice", "the second layer")
    small.constants["again"] = np.eye(3, dtype=np.float32)
    small.nodes[2].input[0] = "twice"
    small.nodes.append(small.nodes.pop(2))
    small.save(path)


def odd_attribute(path: Path) -> None:
    small = Small()
    attribute = helper.make_attribute("saturation", "WRAP")
    small.nodes[2].name = "the quantiser"
    small.nodes[2].attribute.append(attribute)
    small.save(path)


def odd_rounding(path: Path) -> None:
    small = Small()
    small.nodes[2].name = "the quantiser"
    for attribute in small.nodes[2].attribute:
        if attribute.name == "rounding_mode":
            attribute.s = b"STOCHASTIC"
    small.save(path)


HOSTILE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a truncated file": (truncated, "FML-IMP-FILE|FML-FILE", "model.onnx"),
    "a file of one byte": (one_byte, "FML-IMP-FILE|FML-FILE", "model.onnx"),
    "an input of 2 GB": (huge_shape, "FML-IMP-SHAPE", "'x'"),
    "a constant of 2 GB": (huge_constant, "FML-IMP-.*", "weight"),
    "a cyclic graph": (cyclic, "FML-IMP-GRAPH", "node"),
    "an unknown operator": (unknown_operator, "FML-IMP-OP", "FlashAttention"),
    "an operator we lack": (unknown_standard_operator, "FML-IMP-OP", "the odd one"),
    "a dynamic scale": (dynamic_scale, "FML-IMP-DYNAMIC", "the quantiser"),
    "an unquantised edge": (unquantised, "FML-UNQUANTISED|FML-GRID", "the second layer|scaled"),
    "an unknown attribute": (odd_attribute, "FML-IMP-ATTR", "saturation"),
    "an unknown rounding": (odd_rounding, "FML-IMP-ATTR", "STOCHASTIC"),
}


def expect_one_line(
    done: "subprocess.CompletedProcess[str]", code: str, what: str, folder: Path, files: set[str]
) -> None:
    """Demand exit 2, one line that names code and culprit, and no new file."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.match(rf"error\[(?:{code})\] ", line), line
    assert re.search(what, line), line
    assert line.isprintable()
    assert {str(p.relative_to(folder)) for p in folder.rglob("*")} == files


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_models(name: str, tmp_path: Path) -> None:
    make, code, what = HOSTILE[name]
    make(tmp_path / "model.onnx")
    typed = ["--input-type", "x=int4"]
    done = command("compile", "model.onnx", *typed, "-o", "build", folder=tmp_path)
    expect_one_line(done, code, what, tmp_path, {"model.onnx"})


@pytest.mark.parametrize("name", HOSTILE)
def test_check_says_why(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` exits 2 too; where it can read the file it prints a table of nodes."""
    make, _, what = HOSTILE[name]
    path = tmp_path / "model.onnx"
    make(path)
    assert main(["check", str(path), "--input-type", "x=int4"]) == 2
    said = capsys.readouterr()
    assert re.search(what, said.out + said.err)
    assert "Traceback" not in said.out + said.err
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_an_unquantised_input_is_named(tmp_path: Path) -> None:
    Small().save(tmp_path / "model.onnx")
    done = command("compile", "model.onnx", "-o", "build", folder=tmp_path)
    expect_one_line(done, "FML-UNQUANTISED", "x", tmp_path, {"model.onnx"})


@pytest.mark.parametrize(("value", "why"), [(0.5, "grid"), (8.0, "range"), (np.nan, "finite")])
def test_an_input_off_its_grid_is_named(value: float, why: str, tmp_path: Path) -> None:
    Small().save(tmp_path / "model.onnx")
    x = np.zeros((5, 4), np.float32)
    x[2, 1] = value
    np.save(tmp_path / "x.npy", x)
    done = command(
        *["run", "model.onnx", "--input-type", "x=int4", "--level", "hw"],
        *["--input", "x.npy", "--output", "y.npy"],
        folder=tmp_path,
    )
    expect_one_line(
        done, "FML-INPUT", rf"'x'.*\[2\]\[1\].*{why}", tmp_path, {"model.onnx", "x.npy"}
    )


def test_an_input_off_its_grid_is_rounded_if_asked(tmp_path: Path) -> None:
    Small().save(tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.full((2, 4), 99.7, np.float32))
    np.save(tmp_path / "seven.npy", np.full((2, 4), 7, np.float32))
    outputs: list[np.ndarray] = []
    for name, more in (("x.npy", ["--quantize-input"]), ("seven.npy", [])):
        done = command(
            *["run", "model.onnx", "--input-type", "x=int4", "--level", "fastml", *more],
            *["--input", name, "--output", "y.npy"],
            folder=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(np.load(tmp_path / "y.npy"))
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_a_failed_build_leaves_an_older_one_alone(tmp_path: Path) -> None:
    Small().save(tmp_path / "model.onnx")
    build = ["compile", "model.onnx", "--input-type", "x=int4", "-o", "build"]
    assert command(*build, folder=tmp_path).returncode == 0
    before = {p: p.read_bytes() for p in (tmp_path / "build").rglob("*") if p.is_file()}
    unknown_operator(tmp_path / "model.onnx")
    assert command(*build, folder=tmp_path).returncode == 2
    assert {p: p.read_bytes() for p in (tmp_path / "build").rglob("*") if p.is_file()} == before


# -- names ------------------------------------------------------------------------------------

NAMES = {
    "sum": '"; $system("x"); //',
    "y": "module",
    "w": 'weights\n`include "/etc/passwd"',
    "same/1": "same.1",
}


def hostile_names(path: Path) -> dict[str, str]:
    """Name tensors and nodes as text that must never reach a file raw."""
    small = Small()
    small.nodes.clear()
    small.quant("weight", NAMES["w"], 'end"; endmodule')
    small.node("MatMul", ["x", NAMES["w"]], NAMES["sum"], '"; $system("x"); //')
    small.quant(NAMES["sum"], "same/1", "begin")
    small.quant(NAMES["sum"], "same.1", "always_ff @(posedge clk)")
    small.node("Add", ["same/1", "same.1"], "\u03b1\u202e", "\\escaped name ")
    small.quant("\u03b1\u202e", NAMES["y"], "module")
    small.output = NAMES["y"]
    small.save(path)
    return NAMES


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    hostile_names(folder / "end.onnx")
    done = command(*["compile", "end.onnx", "--input-type", "x=int4", "-o", "build"], folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "build"


def test_hostile_names_are_legal_and_unique(named: Path) -> None:
    sources = sorted((named / "rtl").glob("*.sv"))
    assert sources
    texts = [path.read_text() for path in sources]
    for path, text in zip(sources, texts, strict=True):
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", path.stem)
        for raw in ("$system", "`include", "passwd", "\u202e", "\u03b1"):
            assert raw not in text
        assert text.isascii()
        declared = re.findall(r"^\s*(?:wire|logic|reg)\b.*?(\w+)(?: =.*)?;$", text, re.MULTILINE)
        assert len(declared) == len(set(declared))
    modules = re.findall(r"^module (\w+)", "\n".join(texts), re.MULTILINE)
    assert len(modules) == len(set(modules)) == len(sources)


def test_hostile_names_keep_their_edges(named: Path) -> None:
    """The model's own names remain what users tap and feed."""
    design: Design = read_project(named)
    x = np.arange(-8, 8, dtype=np.float32).reshape(4, 4)
    taps = ["same/1", "same.1", NAMES["sum"]]
    runs = {level: design.simulate(x, level, taps=taps) for level in ("fastml", "affine", "hw")}
    for run in runs.values():
        for tap in taps:
            np.testing.assert_array_equal(run.tap[tap], runs["fastml"].tap[tap])


def test_hostile_names_verify(named: Path, require_tool: Callable[[str], str]) -> None:
    verilator = require_tool("verilator")
    done = command("verify", "build", "--vectors", "200", folder=named.parent)
    assert done.returncode == 0, done.stderr
    top = read_project(named).rtl.pinout.top
    files = [str(p) for p in sorted((named / "rtl").glob("*.sv"))]
    said = subprocess.run(
        [verilator, "--lint-only", "-Wall", "--top-module", top, *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_hostile_names_in_upstream_mlir(named: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("mlir-opt")
    from fastml.runtime import mlir

    assert mlir.roundtrip(str(read_project(named).module("affine")))
