"""HLS C++ of whole models: compiled, held against every level, tested by its own testbench."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from own_network import small_network
from qonnx_builder import Array, write_model
from test_dense_loop import Layer, folded, lower
from zoo import JET_TAGGER, TFC_2W2A, UNSW, Network

import fastml
from fastml import Design
from fastml.compiler.emit.hls.build import build_program, design_of
from fastml.compiler.emit.hls.flavours import FLAVOURS
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.csim import CompiledDesign, CppDesign, build_library, find_headers

LEVELS = ("fastml", "affine", "hw", "csim")
DOMAIN = "qonnx.custom_op.general"
QUICK = ("-O0", "-fno-exceptions", "-Werror")
SANITISED = (
    "-O0 -Wall -Wextra -Werror -fsanitize=undefined,address -fno-sanitize-recover=all "
    "-fno-sanitize=shift-base"  # the headers shift negative numbers left, as C++20 lets them
)


@pytest.fixture(autouse=True)
def tools(require_tool: Callable[[str], str]) -> None:
    require_tool("g++")
    require_tool("ap_types")


def compiled(design: CppDesign) -> CompiledDesign:
    """Compile without a warning."""
    headers = find_headers(design.library)
    return CompiledDesign(design, build_library(design, headers, QUICK))


# --- published networks ----------------------------------------------------------------

FULL = pytest.mark.full


@pytest.mark.parametrize(
    ("network", "flavour", "frames"),
    [
        pytest.param(JET_TAGGER, "catapult", 64, id="jet_tagger"),
        *(
            pytest.param(network, flavour, frames, id=f"{network.name}-{flavour}", marks=FULL)
            for network, frames in ((JET_TAGGER, 2000), (UNSW, 256), (TFC_2W2A, 256))
            for flavour in ("vitis", "oneapi", "catapult")
        ),
    ],
)
def test_published_networks(
    network: Network,
    flavour: str,
    frames: int,
    shared: Path,
    record_property: Callable[[str, object], None],
) -> None:
    design = network.compile(shared / "models", hls=flavour)
    found = design.verify(vectors=frames, levels=LEVELS)
    assert found.frames == frames
    assert len(found.counts.edges) > 5
    assert found.notes[0].startswith("csim: g++ took ")
    cost = design.csim.build().cost
    assert cost.peak_bytes < 2e9
    record_property(f"g++, {network.name}, {flavour}", str(cost))


# --- projects --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Write the project of the tests' own network for a flavour, with ports of a kind."""

    def write(flavour: str, ports: str) -> Path:
        folder = tmp_path_factory.mktemp("own")
        graph = small_network()
        path = write_model(graph.model, folder / "own.onnx")
        design = fastml.compile(path, input_type=graph.input_types, hls=flavour, hls_ports=ports)
        design.write(folder / "build", "hls")
        return folder / "build" / "hls"

    return write


def make(folder: Path, library: str, flags: str) -> "subprocess.CompletedProcess[str]":
    """Run the project's Makefile."""
    return subprocess.run(
        ["make", f"{library.upper()}={find_headers(library)}", f"CXXFLAGS={flags}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CXX": "g++"},
    )


@pytest.mark.parametrize(
    ("flavour", "ports"),
    [("catapult", "fixed"), pytest.param("vitis", "int", marks=FULL)],
)
def test_a_project_tests_itself(
    flavour: str, ports: str, project: Callable[[str, str], Path], require_tool: Callable[..., str]
) -> None:
    """It passes, sanitised and without a warning; a changed constant makes it fail."""
    require_tool("make")
    folder = project(flavour, ports)
    library = FLAVOURS[flavour].types.library
    done = make(folder, library, SANITISED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS: 64 frames, 0 errors" in done.stdout
    assert not [line for line in done.stderr.splitlines() if "fastml" in line or "arning" in line]
    source = folder / "own_1.cpp"
    good = source.read_text()
    source.write_text(re.sub(CONSTANT, lambda m: f"{m[1]}{int(m[2]) + 1};", good, count=1))
    done = make(folder, library, SANITISED)
    assert done.returncode != 0
    assert re.search(r"FAIL: 64 frames, [1-9]\d* errors", done.stdout), done.stdout + done.stderr


CONSTANT = re.compile(r"( = [^;]*(?:<<|<|>|>=|<=|==) )(\d+);")
"""The constant at the end of a statement: a shift, or what is compared with."""


def test_a_design_without_a_project_says_so(tmp_path: Path) -> None:
    graph = small_network()
    path = write_model(graph.model, tmp_path / "own.onnx")
    with pytest.raises(FastmlError, match=r"FML-OPTION.*oneAPI has no interface 'axis'"):
        fastml.compile(
            path, input_type=graph.input_types, hls="oneapi", hls_interface="axis"
        ).write(tmp_path / "build", "hls")
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(("text", "refused"), [("100%", True), ("4.0", True), ("99.9%", False)])
def test_an_uncertainty_leaves_something_of_the_period(
    text: str, refused: bool, tmp_path: Path
) -> None:
    graph = small_network()
    path = write_model(graph.model, tmp_path / "own.onnx")
    given = graph.input_types
    design = fastml.compile(path, input_type=given, clock_ns=4.0, hls_uncertainty=text)
    if not refused:
        design.write(tmp_path / "build", "hls")
        return
    with pytest.raises(FastmlError, match=r"FML-OPTION.*leaves nothing of a clock period of 4 ns"):
        design.write(tmp_path / "build", "hls")
    assert not (tmp_path / "build").exists()


# --- odd types and names ---------------------------------------------------------------


def dense_model(weights: Array, path: Path, name: str = "x") -> Path:
    """Write a model of one dense layer of integers of 6 bits."""
    rows, columns = weights.shape
    given = {"w": weights, "one": np.array(1), "zero": np.array(0), "bits": np.array(6)}
    quantiser = helper.make_node(
        "Quant", [*given], ["quantised"], domain=DOMAIN, signed=1, narrow=0, rounding_mode="ROUND"
    )
    graph = helper.make_graph(
        [
            quantiser,
            helper.make_node("MatMul", [name, "quantised"], [f"{name}'s sum"]),
        ],
        "dense",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", rows])],
        [helper.make_tensor_value_info(f"{name}'s sum", TensorProto.FLOAT, ["N", columns])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in given.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
    return write_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


SMALL = np.array([[1, -2, 3], [2, 1, -1], [-1, 3, 2], [0, 0, 1]])


@pytest.mark.parametrize(
    ("kind", "name", "flavour"),
    [
        ("fixed<70,10>", 'a"; #include <x>', "vitis"),
        ("ufixed<8,12>", "$(rm)[0]", "catapult"),
        ("fixed<4,-3>", "ap_int<4> v1", "vitis"),
        pytest.param("int100", "int", "catapult", marks=FULL),
        pytest.param("ufixed<3,-2>", "design", "oneapi", marks=FULL),
        pytest.param("int1", "\N{GREEK SMALL LETTER PHI}", "vivado", marks=FULL),
    ],
)
def test_odd_types_and_names(
    kind: str, name: str, flavour: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every level agrees, and the headers of the integers have nothing to say."""
    path = dense_model(SMALL, tmp_path / "odd.onnx", name)
    design = fastml.compile(path, input_type={name: kind}, hls=flavour, hls_ports="fixed")
    assert design.verify(vectors=40, levels=LEVELS).frames == 40
    assert capfd.readouterr() == ("", "")


def test_inputs_without_bits_are_refused(tmp_path: Path) -> None:
    path = dense_model(SMALL, tmp_path / "odd.onnx")
    with pytest.raises(FastmlError, match=r"FML-INPUT-TYPE.*width must be in 1\.\.1024, got 0"):
        fastml.compile(path, input_type={"x": "fixed<0,3>"})


# --- a large layer ---------------------------------------------------------------------


def large_weights(rows: int, columns: int) -> Array:
    return np.random.default_rng(1).integers(-32, 32, (rows, columns))


SIZES = [
    pytest.param(98, 8, "catapult", id="small"),
    pytest.param(784, 128, "vitis", id="784x128-vitis", marks=FULL),
    pytest.param(784, 128, "oneapi", id="784x128-oneapi", marks=FULL),
]


def check_large(design: CppDesign, x: Array, expected: Array, edges: tuple[str, str]) -> None:
    """Compile in time and memory, and run."""
    built = compiled(design)
    outputs, _ = built({edges[0]: x})
    np.testing.assert_array_equal(outputs[edges[1]], expected)
    assert built.cost.cpu_seconds < 2 * 120  # of two cores
    assert built.cost.peak_bytes < 2e9


@pytest.mark.parametrize(("rows", "columns", "flavour"), SIZES)
def test_a_large_layer_as_adder_graphs(
    rows: int, columns: int, flavour: str, tmp_path: Path
) -> None:
    """Functions and files are capped, so that a compiler can take them."""
    weights = large_weights(rows, columns)
    path = dense_model(weights, tmp_path / "large.onnx")
    design: Design = fastml.compile(path, input_type={"x": "uint6"}, hls=flavour, optimise=0)
    printed = design.csim.design
    functions = [f for text in printed.files.values() for f in re.split(r"\nvoid ", text)[1:]]
    assert len(functions) > rows * columns / 2000 + 2
    assert max(f.count(" = ") for f in functions) < 3000
    assert max(text.count("\n") for text in printed.files.values()) < 15000
    x = np.random.default_rng(2).integers(0, 64, (20, rows))
    (y,) = printed.outputs
    check_large(printed, x, x @ weights, ("x", y.edge))


@pytest.mark.parametrize(("rows", "columns", "flavour"), SIZES)
def test_a_large_layer_as_loops(rows: int, columns: int, flavour: str) -> None:
    bias = np.random.default_rng(3).integers(-99, 99, columns)
    layer = Layer(large_weights(rows, columns), bias, 0, 63)
    module, _ = lower(folded(layer))
    printed = design_of(build_program(module, FLAVOURS[flavour]), module)
    (function,) = re.findall(r"void dense_y\([^{]*{.*?\n}", printed.files["layer_1.cpp"], re.S)
    assert function.count("for (") == 2
    if flavour == "vitis":
        assert function.count("#pragma HLS pipeline II=1\n") == 1
    x = np.random.default_rng(2).integers(0, 64, (20, rows))
    check_large(printed, x, x @ layer.matrix + layer.bias, ("x", "y"))
