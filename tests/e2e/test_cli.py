"""The commands of the README and of the contract, as a user types them."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from fastml.compiler.driver import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "pulses.onnx"
LEVELS = ("fastml", "qflow", "affine", "hw", "rtl")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "build"
    assert main(["compile", str(EXAMPLE), "-o", str(folder)]) == 0
    return folder


def run_levels(
    source: list[str], levels: tuple[str, ...], taps: list[str], folder: Path
) -> dict[str, dict[str, np.ndarray]]:
    """Run every level with gaps; demand equal cycles; return the arrays of each."""
    found = dict[str, dict[str, np.ndarray]]()
    cycles = dict[str, list[list[str]]]()
    for level in levels:
        output, table = folder / f"{level}.npz", folder / f"{level}.csv"
        arguments = ["run", *source, "--level", level, "--output", str(output)]
        if taps:
            arguments += ["--tap", *taps]
        assert main([*arguments, "--cycles", str(table)]) == 0
        with np.load(output) as arrays:
            found[level] = {name: np.asarray(arrays[name]) for name in arrays.files}
        with table.open() as file:
            cycles[level] = list(csv.reader(file))
    first = cycles[levels[0]]
    assert first[0] == ["frame", "beat", "cycle"]
    assert len(first) > 1
    assert all(table == first for table in cycles.values())
    return found


def test_all_levels_agree_on_a_project(
    built: Path, tmp_path: Path, require_tool: Callable[[str], str]
):
    require_tool("verilator")
    inputs = np.load(EXAMPLE.with_suffix(".npz"))["input"][:100]
    np.save(tmp_path / "x.npy", inputs)
    gaps = np.random.default_rng(1).integers(0, 4, len(inputs)).tolist()
    (tmp_path / "s.json").write_text(f'{{"gaps": {gaps}}}')
    source = [str(built), "--input", str(tmp_path / "x.npy"), "--stimulus"]
    taps = ["samples", "converter", "hidden_sum", "hidden_bias", "hidden_relu", "hidden"]
    found = run_levels([*source, str(tmp_path / "s.json")], LEVELS, taps, tmp_path)
    for level, arrays in found.items():
        assert set(arrays) == {"logits", *taps}
        for name, array in arrays.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, found["fastml"][name], f"{level}, {name}")
    accuracy = found["rtl"]["logits"].argmax(axis=1)
    labels = np.load(EXAMPLE.with_suffix(".npz"))["label"][:100]
    assert np.mean(accuracy == labels) > 0.9


def test_verify_a_project(
    built: Path, capsys: pytest.CaptureFixture[str], require_tool: Callable[[str], str]
):
    require_tool("verilator")
    assert main(["verify", str(built), "--vectors", "300"]) == 0
    out = capsys.readouterr().out
    assert "fastml, qflow, affine, hw, rtl: 0 divergences in 300 frames" in out
    assert "back-to-back and random gaps" in out


def test_the_testbench_passes_and_can_fail(
    built: Path, tmp_path: Path, require_tool: Callable[[str], str]
):
    verilator = require_tool("verilator")
    bench = Path(shutil.copytree(built / "tb", tmp_path / "tb"))
    sources = sorted(str(path) for path in (built / "rtl").glob("*.sv"))
    command = [verilator, "--binary", "--timing", "-Wno-fatal", "-O0", "-CFLAGS", "-O0"]
    command += ["--top-module", "testbench", "testbench.sv", *sources]
    build = subprocess.run(command, cwd=bench, capture_output=True, text=True)
    if build.returncode and "--timing" in build.stderr:
        pytest.skip("needs Verilator with --timing")
    assert build.returncode == 0, build.stderr[-2000:]
    program = str(bench / "obj_dir" / "Vtestbench")
    done = subprocess.run([program], cwd=bench, capture_output=True, text=True)
    assert (done.returncode, "PASS" in done.stdout) == (0, True), done.stdout
    expected = next(path for path in bench.glob("*.hex") if "stimulus" not in path.name)
    lines = expected.read_text().splitlines()
    lines[7] = f"{int(lines[7], 16) ^ 1:x}"
    expected.write_text("\n".join(lines) + "\n")
    done = subprocess.run([program], cwd=bench, capture_output=True, text=True)
    assert done.returncode != 0
    assert "FAIL" in done.stdout
    assert "PASS" not in done.stdout


def test_the_console_script(tmp_path: Path):
    """Start a fresh process, as users do, from another folder."""
    command = [sys.executable, "-m", "fastml", "run", str(EXAMPLE), "--level", "fastml"]
    command += ["--input", str(EXAMPLE.with_suffix(".npz")), "--output", "y.npy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "y.npy").shape == (500, 3)


HOSTILE = {
    "samples": "clk",
    "converter": "rst",
    "hidden_sum": "module",
    "hidden_relu": "a_b_valid",
    "hidden": '"; $system("x"); //',
    "output_sum": "a.b",
    "logits": "../a_b\n",
}
CLASHING = {"converter": "y_valid", "hidden_sum": "y", "hidden": "Y", "output_sum": "y "}


@pytest.mark.parametrize("names", [HOSTILE, CLASHING])
def test_hostile_names(names: dict[str, str], tmp_path: Path, require_tool: Callable[[str], str]):
    require_tool("verilator")
    model = onnx.ModelProto.FromString(EXAMPLE.read_bytes())
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.name = names.get(node.name, node.name)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    build = tmp_path / "build"
    assert main(["compile", str(tmp_path / "m.onnx"), "-o", str(build)]) == 0
    for path in (build / "rtl").iterdir():
        assert "system(" not in path.read_text()
    assert main(["verify", str(build), "--vectors", "40", "--levels", "qflow,hw,rtl"]) == 0
    source = [str(build), "--input", str(EXAMPLE.with_suffix(".npz"))]
    found = run_levels(source, ("fastml", "hw"), list(names.values()), tmp_path)
    assert set(names.values()) <= set(found["hw"])


def test_the_jet_tagger_as_the_contract_has_it(shared: Path, tmp_path: Path):
    models = shared / "models"
    model = [str(models / "jet_tagger.onnx"), "--input-type", "global_in=fixed<16,6>"]
    source = [*model, "--input", str(models / "jet_tagger.npz")]
    found = run_levels(source, ("fastml", "qflow"), ["Add_3_out0"], tmp_path)
    recorded = np.load(models / "jet_tagger.npz")
    for arrays in found.values():
        np.testing.assert_array_equal(arrays["Add_3_out0"], recorded["logits"])
        np.testing.assert_allclose(arrays["global_out"], recorded["output"], rtol=1e-6, atol=0)


def test_check_tells_which_inputs_need_a_type(shared: Path, capsys: pytest.CaptureFixture[str]):
    model = str(shared / "models" / "jet_tagger.onnx")
    assert main(["check", model]) == 0
    out = capsys.readouterr().out
    assert "23 of 23 nodes are supported" in out
    assert "--input-type global_in=TYPE" in out
    assert main(["check", model, "--input-type", "global_in=fixed<16,6>"]) == 0
    assert "to compile" not in capsys.readouterr().out
    assert main(["compile", model, "-o", "never"]) == 2
    assert "error[FML-UNQUANTISED]" in capsys.readouterr().err
    assert not Path("never").exists()
