import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import fastml
import fastml.compiler.design
import fastml.runtime.verify
from fastml import Design
from fastml.compiler.project import (
    place_folder,
    read_project,
    render_project,
    write_project,
)
from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.testbenches import frame_count

EXAMPLE = Path(__file__).parents[2] / "examples" / "pulses.onnx"


@pytest.fixture(scope="module")
def design() -> Design:
    return fastml.compile(EXAMPLE)


@pytest.fixture(scope="module")
def built(design: Design, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "pulses"
    design.write(folder)
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "pulses"))


@pytest.fixture(scope="module")
def waveforms() -> np.ndarray:
    with np.load(EXAMPLE.with_suffix(".npz")) as arrays:
        return np.asarray(arrays["input"])


def paths(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_the_folder_holds_what_it_promises(project: Path):
    found = paths(project)
    levels = {f"ir/{level}.mlir" for level in ("fastml", "qflow", "affine", "hw")}
    assert {"manifest.json", "report.json", "ir/constants.npz", "rtl/pulses.sv"} <= found
    assert levels <= found
    assert "tb/testbench.sv" in found
    manifest = json.loads((project / "manifest.json").read_text())
    assert {f"rtl/{name}" for name in manifest["files"]} == {
        path for path in found if path.startswith("rtl/")
    }


def test_the_manifest_describes_every_bit(project: Path, design: Design):
    manifest = json.loads((project / "manifest.json").read_text())
    assert (manifest["protocol"], manifest["top"]) == ("pulse", "pulses")
    assert manifest["ii"] == 1
    assert manifest["latency_cycles"] == design.latency
    (port,) = manifest["inputs"]
    assert port["name"] == "converter"
    assert port["shape"] == [16]
    assert port["fraction_bits"] == 4
    assert port["slices"][3] == {"lsb": 24, "width": 8, "signed": False}
    assert port["width"] == sum(s["width"] for s in port["slices"]) == 128
    assert f"{port['valid']}" in (project / "rtl" / "pulses.sv").read_text()
    prologue = manifest["host"]["prologue"]
    assert [(o["operation"], o["edge"]) for o in prologue["operations"]] == [
        ("quantise", "converter")
    ]
    assert [o["operation"] for o in manifest["host"]["view"]["operations"]][-1] == "add"


def test_the_report_adds_up(project: Path, design: Design):
    report = json.loads((project / "report.json").read_text())
    assert report["latency_cycles"] == report["latency_first"] == design.latency
    assert (report["ii"], report["clock_ns"]) == (1, 5.0)
    assert report["area"]["provenance"] == "estimate"
    assert report["area"]["lut"] > 0
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert layers["hidden_sum"]["kind"] == "dense"
    assert layers["hidden_sum"]["adders"] > 0
    assert "u5" in layers["hidden"]["widths"]
    ends = [layer["end_cycle"] for layer in report["layers"]]
    assert max(ends) == report["latency_cycles"]
    assert all(layer["start_cycle"] <= layer["end_cycle"] for layer in report["layers"])


@pytest.mark.parametrize("level", ["fastml", "qflow", "affine", "hw"])
def test_each_level_runs_from_its_own_file_alone(
    project: Path, design: Design, waveforms: np.ndarray, level: str
):
    for path in (project / "ir").glob("*.mlir"):
        if path.stem != level:
            path.unlink()
    for name in ("manifest.json", "report.json"):
        (project / name).unlink()
    run = fastml.compiler.design.from_file(project / "ir" / f"{level}.mlir").simulate(
        waveforms, level, taps=["hidden"]
    )
    expected = design.simulate(waveforms, "qflow", taps=["hidden"])
    np.testing.assert_array_equal(run.outputs, expected.outputs)
    np.testing.assert_array_equal(run.outputs, design.predict(waveforms))
    np.testing.assert_array_equal(run.tap["hidden"], expected.tap["hidden"])
    np.testing.assert_array_equal(run.cycles, expected.cycles)
    assert (run.latency, run.ii) == (design.latency, 1)


def test_a_project_lowers_nothing(project: Path):
    (project / "ir" / "affine.mlir").unlink()
    read = read_project(project)
    assert read.levels == ("fastml", "qflow", "hw", "rtl")
    with pytest.raises(FastmlError, match="there is no level 'affine'"):
        read.level("affine")


def test_the_same_design_gives_the_same_bytes(design: Design):
    again = fastml.compile(EXAMPLE)
    assert render_project(design, "sv") == render_project(again, "sv")


def test_testbenches_of_long_frames_have_fewer():
    assert frame_count(1, 128) == frame_count(784, 128) == 64
    assert 4 < frame_count(784, 6272) < 64
    assert frame_count(12544, 6272) == 4


def test_nothing_names_the_machine(built: Path):
    here = str(Path.home()).encode(), str(EXAMPLE.parent.parent).encode(), b"/tmp"
    for path in built.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(place in content for place in here), path


@pytest.mark.parametrize(
    ("emit", "levels"),
    [("fastml", 1), ("qflow", 2), ("affine", 3), ("hw", 4), ("sv", 4), ("hls", 3)],
)
def test_emit_stops_where_it_is_told(design: Design, tmp_path: Path, emit: str, levels: int):
    write_project(design, tmp_path / "out", emit)
    found = paths(tmp_path / "out")
    assert len([p for p in found if p.endswith(".mlir")]) == levels
    assert any(p.endswith(".sv") for p in found) == (emit == "sv")


@pytest.mark.parametrize(("emit", "code"), [("vhdl", "FML-USAGE")])
def test_what_cannot_be_emitted(design: Design, tmp_path: Path, emit: str, code: str):
    with pytest.raises(FastmlError, match=code):
        write_project(design, tmp_path / "out", emit)
    assert not list(tmp_path.iterdir())


def test_only_a_project_is_replaced(design: Design, tmp_path: Path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("precious")
    with pytest.raises(FastmlError, match="not empty and not a project"):
        design.write(mine, "fastml")
    assert (mine / "thesis.tex").read_text() == "precious"
    (mine / "thesis.tex").unlink()
    design.write(mine, "hw")  # an empty folder is taken
    design.write(mine, "fastml")
    assert paths(mine) == {"ir/fastml.mlir", "ir/constants.npz"}
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place_folder(tmp_path / "p", {"ir/fastml.mlir": b"old"})
    write_bytes = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        if path.name == "b":
            raise OSError(28, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(FastmlError, match="No space left"):
        place_folder(tmp_path / "p", {"a": b"1", "b": b"2"})
    monkeypatch.undo()
    assert paths(tmp_path) == {"p/ir/fastml.mlir"}
    assert (tmp_path / "p" / "ir" / "fastml.mlir").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.json", "{", "malformed"),
        ("manifest.json", "[]", "not a table"),
        ("manifest.json", "{}", "malformed"),
        ("ir/qflow.mlir", "module {", "error[FML-IR]"),
        ("ir/constants.npz", "PK", "cannot be read"),
    ],
)
def test_a_damaged_project_is_one_line(project: Path, name: str, content: str, message: str):
    (project / name).write_text(content)
    read = read_project(project)
    with pytest.raises(FastmlError) as caught:
        read.level("rtl" if name == "manifest.json" else "qflow")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_cannot_reach_outside(project: Path):
    manifest = json.loads((project / "manifest.json").read_text())
    manifest["files"].append("../report.json")
    (project / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(FastmlError, match="outside rtl"):
        read_project(project).level("rtl")


def test_damage_in_one_level_is_caught_and_stays_there(project: Path, waveforms: np.ndarray):
    """Change one constant of one level: that level changes, and verify tells."""
    path = project / "ir" / "hw.mlir"
    text = path.read_text()
    old = next(line for line in text.splitlines() if "comb.icmp slt" in line or "comb.sub" in line)
    new = old.replace("icmp slt", "icmp sgt").replace("comb.sub", "comb.add")
    path.write_text(text.replace(old, new, 1))
    read = read_project(project)
    with pytest.raises(fastml.runtime.verify.Divergence) as caught:
        read.verify(vectors=200, levels=["qflow", "affine", "hw"])
    assert caught.value.levels == ("qflow", "hw")
    read.verify(vectors=50, levels=["qflow", "affine"])


def test_a_wrong_schedule_is_caught(project: Path):
    path = project / "ir" / "qflow.mlir"
    text = path.read_text()
    assert "latency 2 ii 1" in text
    path.write_text(text.replace("latency 2 ii 1", "latency 3 ii 1"))
    with pytest.raises(fastml.runtime.verify.Divergence, match="the cycle of output"):
        read_project(project).verify(vectors=20, levels=["qflow", "hw"])


def test_every_edge_can_be_looked_at_after_a_run(design: Design, waveforms: np.ndarray):
    network, hardware = (design.simulate(waveforms[:20], level) for level in ("fastml", "hw"))
    assert set(network.tap) == set(hardware.tap)
    assert {"samples", "hidden_relu", "logits"} <= set(hardware.tap)
    for name, values in hardware.tap.items():
        np.testing.assert_array_equal(values, network.tap[name], name)
    assert "absent" not in hardware.tap
