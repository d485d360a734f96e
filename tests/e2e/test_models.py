"""Published networks, at every level, against numbers that others' programs recorded."""

import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from zoo import JET_TAGGER, NETWORKS, TFC_1W1A, TFC_2W2A, UNSW, Network, hold_against_record

from fastml import Design
from fastml.compiler.driver import main
from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.runtime import mlir
from fastml.runtime.trace import Stimulus

LEVELS = ("fastml", "qflow", "affine", "hw")


class Designs:
    """Compiled networks, each made once."""

    def __init__(self, models: Path):
        self.models = models
        self.made: dict[str, Design] = {}

    def __call__(self, network: Network) -> Design:
        if network.name not in self.made:
            self.made[network.name] = network.compile(self.models)
        return self.made[network.name]


@pytest.fixture(scope="module")
def models(shared: Path) -> Path:
    return shared / "models"


@pytest.fixture(scope="module")
def designs(models: Path) -> Designs:
    return Designs(models)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_check_accounts_for_every_node(
    network: Network, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = models / network.file
    assert main(["check", str(path), "--input-type", "=".join(network.input_type)]) == 0
    nodes = len(onnx.ModelProto.FromString(path.read_bytes()).graph.node)
    assert f"{nodes} of {nodes} nodes are supported" in capsys.readouterr().out


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_recorded_numbers(network: Network, level: str, designs: Designs) -> None:
    hold_against_record(designs(network), network, designs.models, level)


def test_jet_tagger_in_verilator(designs: Designs, require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    hold_against_record(designs(JET_TAGGER), JET_TAGGER, designs.models, "rtl")


@pytest.mark.full
def test_unsw_in_verilator(designs: Designs, require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    hold_against_record(designs(UNSW), UNSW, designs.models, "rtl")


def test_jet_tagger_by_upstream_mlir(designs: Designs, require_tool: Callable[[str], str]) -> None:
    """Lowered and executed by upstream tools, our affine level gives the recorded logits."""
    require_tool("mlir-opt")
    require_tool("mlir-cpu-runner")
    design = designs(JET_TAGGER)
    recorded = JET_TAGGER.recorded(designs.models)
    host = design.level("affine").host
    assert host is not None
    beats = host.encode({"global_in": recorded["input"]})
    stimulus = Stimulus(beats, np.zeros(256, np.int64))
    ours = design.level("qflow").simulate(stimulus, [])
    (beat,) = beats.values()
    (signal,) = ours.outputs.values()
    results = mlir.run(design.module("affine"), _by_port(design, beat))
    (raw,) = results.values()
    np.testing.assert_array_equal(raw, signal.values)
    assert JET_TAGGER.logits is not None
    (edge,) = ours.outputs
    logits = host.decode_taps({edge: raw}, [JET_TAGGER.logits], {"global_in": recorded["input"]})
    np.testing.assert_array_equal(logits[JET_TAGGER.logits], recorded["logits"])


def _by_port(design: Design, beat: Any) -> dict[str, Any]:
    from fastml.runtime.affine import Program

    (port,) = [port for port in Program(design.module("affine")).ports if not port.is_output]
    return {port.port: beat}


def test_jet_tagger_parses_in_mlir_both_ways(
    designs: Designs, require_tool: Callable[[str], str]
) -> None:
    require_tool("mlir-opt")
    from xdsl.parser import Parser

    from fastml.compiler.pipelines import new_context

    module = designs(JET_TAGGER).module("affine")
    back = Parser(new_context(), mlir.roundtrip(str(module))).parse_module()
    back.verify()
    assert mlir.roundtrip(str(back)) == mlir.roundtrip(str(module))


@pytest.mark.parametrize("network", [JET_TAGGER, UNSW], ids=lambda n: n.name)
def test_circt_parses_the_hardware(
    network: Network, designs: Designs, require_tool: Callable[[str], str]
) -> None:
    require_tool("circt")
    parse_in_circt(str(designs(network).module("hw")))


def parse_in_circt(text: str) -> None:
    """Parse and verify ``hw``, ``comb`` and ``seq`` text in CIRCT, which raises if it fails."""
    circt, ir = (import_module(name) for name in ("circt", "circt.ir"))
    with ir.Context() as context, ir.Location.unknown():
        circt.register_dialects(context)
        module = ir.Module.parse(text)
        assert module.operation.verify()


def write_sources(design: Design, folder: Path) -> tuple[str, list[str]]:
    """Write the SystemVerilog; return the top module and the files' names."""
    files = emit_systemverilog(design.module("hw"))
    for name, text in files.items():
        (folder / name).write_text(text)
    return design.rtl.pinout.top, list(files)


def run_tool(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stderr or done.stdout)[-2000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("network", [JET_TAGGER, UNSW], ids=lambda n: n.name)
def test_verilator_has_nothing_to_say(
    network: Network, designs: Designs, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    verilator = require_tool("verilator")
    top, files = write_sources(designs(network), tmp_path)
    said = run_tool([verilator, "--lint-only", "-Wall", "--top-module", top, *files], tmp_path)
    assert said.strip() == ""


def yosys(tool: str, steps: str, top: str, files: list[str], folder: Path) -> str:
    script = f"read_verilog -sv {' '.join(files)}; hierarchy -check -top {top}; {steps}"
    said = run_tool([tool, "-p", script], folder)
    # those of ABC, which carry its name, are about its own script
    assert [line for line in said.splitlines() if line.startswith("Warning")] == []
    return said


@pytest.mark.parametrize("network", [JET_TAGGER, UNSW], ids=lambda n: n.name)
def test_yosys_takes_the_hardware(
    network: Network, designs: Designs, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    tool = require_tool("yosys")
    top, files = write_sources(designs(network), tmp_path)
    said = yosys(tool, "proc; check -assert", top, files, tmp_path)
    assert "Found and reported 0 problems" in said


@pytest.mark.full
@pytest.mark.parametrize("network", [JET_TAGGER, UNSW], ids=lambda n: n.name)
def test_yosys_synthesises(
    network: Network, designs: Designs, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    tool = require_tool("yosys")
    top, files = write_sources(designs(network), tmp_path)
    steps = f"synth_xilinx -family xcup -flatten -noiopad -top {top}; stat"
    said = yosys(tool, steps, top, files, tmp_path)
    assert "Number of cells" in said
    assert "LUT6" in said


@pytest.mark.parametrize(
    ("network", "percent"), [(TFC_2W2A, 96.60), (TFC_1W1A, 92.96)], ids=["TFC_2W2A", "TFC_1W1A"]
)
def test_accuracy_on_all_test_images(
    network: Network, percent: float, designs: Designs, shared: Path
) -> None:
    with np.load(shared / "data" / "mnist.npz") as data:
        images, labels = data["test_image"], data["test_label"]
    x: NDArray[np.float32] = images.reshape(-1, 1, 28, 28) / np.float32(255)
    outputs: NDArray[np.float32] = designs(network).predict(x)
    assert len(labels) == 10_000
    right = int(np.count_nonzero(outputs.argmax(axis=1) == labels))
    assert f"{right / 100:.2f}" == f"{percent:.2f}"


def test_jet_tagger_verifies(designs: Designs, require_tool: Callable[[str], str]) -> None:
    """All levels and Verilator agree on vectors chosen to hurt, values and cycles."""
    require_tool("verilator")
    verification = designs(JET_TAGGER).verify(vectors=2000)
    assert verification.frames == 2000
    assert verification.levels == (*LEVELS, "rtl")
    assert verification.counts.values > 2000 * 4 * 128
    assert verification.counts.cycles > 0
    assert verification.coverage.toggled > 0.95 * verification.coverage.bits
