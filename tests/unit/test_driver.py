import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastml.compiler.driver import COMMANDS, build_parser, main
from fastml.compiler.options import BuildOptions, from_keywords, resolve
from fastml.compiler.support.diagnostics import FastmlError

EXAMPLE = Path(__file__).parents[2] / "examples" / "pulses.onnx"
MODEL = str(EXAMPLE)
INPUT = str(EXAMPLE.with_suffix(".npz"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail as the user's error; return its one line."""
    before = set(Path().iterdir())
    assert main(arguments) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error[FML-")
    assert captured.out == ""
    assert set(Path().iterdir()) == before, "something was written"
    return line


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]):
    probe = f"""
import sys
from fastml.compiler.driver import main
try:
    main({[*arguments, "--help"]!r})
except SystemExit as stop:
    assert not stop.code
heavy = {{"onnx", "numba", "rich", "numpy.random", "networkx", "fastml.compiler.design"}}
found = heavy & set(sys.modules)
found |= {{m for m in sys.modules if m.startswith(("fastml.lowering.", "fastml.runtime."))}}
print(sorted(found))
sys.exit(bool(found))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert "usage: fastmlc" in done.stdout


def test_importing_the_package_is_light():
    probe = "import sys, fastml; sys.exit(bool({'numpy', 'xdsl', 'onnx'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_every_command_has_a_parser():
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            build_parser([name]).parse_args([name, "--help"])
        assert stop.value.code == 0


def test_compile_run_report(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compile", MODEL, "-o", "build", "--emit", "qflow"]) == 0
    assert capsys.readouterr().out.startswith("build: latency 2 cycles of 5.0 ns, II 1")
    assert main(["report", "build"]) == 0
    assert "hidden_sum" in capsys.readouterr().out
    assert main(["report", "build", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latency_cycles"] == 2
    arguments = ["--level", "qflow", "--input", INPUT, "--cycles", "t.csv"]
    assert main(["run", "build", *arguments, "--output", "y.npz", "--tap", "hidden"]) == 0
    with np.load("y.npz") as found:
        assert set(found.files) == {"logits", "hidden"}
        assert found["logits"].dtype == np.float32
        assert found["logits"].shape == (500, 3)
    lines = Path("t.csv").read_text().splitlines()
    assert lines[:2] == ["frame,beat,cycle", "0,0,2"]
    assert lines[-1] == "499,0,501"


def test_run_writes_taps_beside_an_array(here: Path):
    arguments = ["run", MODEL, "--level", "fastml", "--input", INPUT, "--output", "y.npy"]
    assert main([*arguments, "--tap", "hidden", "converter", "--tap", "hidden_relu"]) == 0
    outputs = np.load("y.npy")
    with np.load("y.npz") as found:
        assert set(found.files) == {"logits", "hidden", "converter", "hidden_relu"}
        np.testing.assert_array_equal(found["logits"], outputs)


def test_raw_outputs_and_gaps(here: Path):
    Path("s.json").write_text(json.dumps({"gaps": [3, 0, 2]}))
    with np.load(INPUT) as arrays:
        np.save("x.npy", arrays["input"][:3])
    arguments = ["run", MODEL, "--level", "qflow", "--input", "x.npy", "--output", "y.npz"]
    assert main([*arguments, "--raw", "--cycles", "t.csv", "--stimulus", "s.json"]) == 0
    with np.load("y.npz") as found:
        assert found["output_sum"].dtype == np.int64
    assert Path("t.csv").read_text().split() == ["frame,beat,cycle", "0,0,2", "1,0,3", "2,0,6"]


def test_cycles_of_the_network_come_from_its_schedule(here: Path):
    arguments = ["run", MODEL, "--level", "fastml", "--input", INPUT, "--cycles", "t.csv"]
    assert main(arguments) == 0
    assert Path("t.csv").read_text().splitlines()[1] == "0,0,2"


def test_a_network_without_a_schedule_has_no_cycles(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compile", MODEL, "-o", "build", "--emit", "fastml"]) == 0
    capsys.readouterr()
    line = refused(["run", "build/ir/fastml.mlir", "--input", INPUT, "--cycles", "t.csv"], capsys)
    assert "FML-NO-SCHEDULE" in line


def test_check_and_ops(capsys: pytest.CaptureFixture[str]):
    assert main(["check", MODEL]) == 0
    assert "9 of 9 nodes are supported" in capsys.readouterr().out
    assert main(["check", MODEL, "--json"]) == 0
    assert all(node["supported"] for node in json.loads(capsys.readouterr().out))
    assert main(["ops", "--json"]) == 0
    assert "Quant" in {operator["name"] for operator in json.loads(capsys.readouterr().out)}
    assert main(["ops"]) == 0
    assert "MatMul" in capsys.readouterr().out


def test_verify_says_what_it_compared(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["verify", MODEL, "--vectors", "64", "--levels", "fastml,qflow,affine,hw"]) == 0
    out = capsys.readouterr().out
    assert "fastml, qflow, affine, hw: 0 divergences in 64 frames" in out
    assert "of 7 edges" in out
    assert main(["verify", MODEL, "--input", INPUT, "--levels", "fastml,qflow"]) == 0
    assert "in 500 frames" in capsys.readouterr().out


def test_a_divergence_is_exit_1_and_one_line(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compile", MODEL, "-o", "build", "--emit", "affine"]) == 0
    capsys.readouterr()
    path = Path("build/ir/qflow.mlir")
    path.write_text(path.read_text().replace("latency 2 ii 1", "latency 3 ii 1"))
    assert main(["verify", "build", "--vectors", "9", "--levels", "qflow,affine"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error[FML-DIVERGENCE] qflow and affine: the cycle of output")


def test_zero_vectors_fail(here: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["verify", MODEL, "--vectors", "0", "--levels", "fastml,qflow"]
    assert main(arguments) == 1
    assert "no vectors" in capsys.readouterr().err


HOSTILE = [
    (["compile", "absent.onnx", "-o", "out"], "absent.onnx"),
    (["compile", "empty.onnx", "-o", "out"], "empty.onnx"),
    (["compile", "truncated.onnx", "-o", "out"], "truncated.onnx"),
    (["compile", MODEL, "-o", "no/such/out"], "parent folder"),
    (["compile", MODEL, "-o", "empty.onnx"], "not a folder"),
    (["compile", MODEL, "-o", "out", "--emit", "gds"], "--emit"),
    (["compile", MODEL, "-o", "out", "--io", "serial"], "FML-USAGE] --io"),
    (["compile", MODEL, "-o", "out", "--reuse", "0"], "--reuse: '0' is not within 1.."),
    (["compile", MODEL, "-o", "out", "--reuse-of", "fc"], "--reuse-of: 'fc' is not NAME=N"),
    (
        ["compile", MODEL, "-o", "out", "--reuse-of", "fc=2", "--reuse-of", "fc=4"],
        "--reuse-of: 'fc' is given two numbers, 2 and 4",
    ),
    (["compile", MODEL, "-o", "out", "--reuse", "4", "--ii", "4"], "nothing to choose"),
    (["compile", MODEL, "-o", "out", "--input-beats", "4"], "for streams alone"),
    (["compile", MODEL, "-o", "out", "--target", "asic"], "FML-OPTION] --target"),
    (["compile", MODEL, "-o", "out", "--hls", "maxeler"], "FML-USAGE] --hls"),
    (["compile", MODEL, "-o", "out", "--hls-part", "x; exec ls"], "FML-USAGE] --hls-part"),
    (
        ["compile", MODEL, "-o", "out", "--emit", "hls", "--reuse", "4", "--hls-interface", "axis"],
        "FML-OPTION] --hls-interface: folded layers read their inputs more than once",
    ),
    (["compile", MODEL, "-o", "out", "--multipliers", "dsp"], "have no multipliers"),
    (["compile", MODEL, "-o", "out", "--reuse", "1048577"], "1048576 at most"),
    (
        ["compile", MODEL, "-o", "out", "--emit", "hls", "--io", "stream", "--axi-stream"],
        "--axi-stream: is for SystemVerilog",
    ),
    (["compile", MODEL, "-o", "out", "--hls", "catapult"], "--hls: is for HLS C++ alone"),
    (["compile", MODEL, "-o", "out", "--clock-ns", "1e-9"], "FML-TARGET"),
    (["compile", MODEL, "-o", "out", "--clock-ns", "fast"], "--clock-ns: 'fast'"),
    (["compile", MODEL, "-o", "out", "-O7"], "optimise"),
    (["compile", MODEL, "-o", "out", "--input-type", "samples"], "NAME=TYPE"),
    (["compile", MODEL, "-o", "out", "--input-type", "nobody=int8"], "nobody"),
    (["compile", MODEL, "-o", "out", "--latency-cycles", "1"], "FML-TARGET"),
    (["compile", MODEL, "-o", "out", "--config", "odd.toml"], "odd.toml: clok-ns: unknown key"),
    (["run", MODEL, "--level", "csim", "--ap-types", ".", "--input", INPUT], "FML-TOOL] ."),
    (["run", MODEL, "--level", "gates", "--input", INPUT], "gates"),
    (["run", MODEL, "--input", INPUT], "--level"),
    (["run", MODEL, "--level", "fastml", "--input", "pickle.npy"], "pickle.npy"),
    (["run", MODEL, "--level", "fastml", "--input", "pickle.npz"], "pickle.npz"),
    (["run", MODEL, "--level", "fastml", "--input", "other.npz"], "no array 'input'"),
    (["run", MODEL, "--level", "fastml", "--input", "wide.npy"], "FML-INPUT"),
    (["run", MODEL, "--level", "fastml", "--input", INPUT, "--output", "y.txt"], "y.txt"),
    (["run", MODEL, "--level", "fastml", "--input", INPUT, "--output", "no/y.npy"], "no/y.npy"),
    (["run", MODEL, "--level", "fastml", "--input", INPUT, "--tap", "hiden"], "'hidden'"),
    (["run", MODEL, "--level", "qflow", "--input", INPUT, "--stimulus", "s.json"], "gaps"),
    (["run", MODEL, "--level", "qflow", "--input", INPUT, "--stimulus", "t.json"], "stall"),
    (["run", "loose.mlir", "--input", INPUT], "loose.mlir"),
    (["run", ".", "--level", "hw", "--input", INPUT], "not a project"),
    (["verify", MODEL, "--levels", "qflow"], "two levels"),
    (["verify", MODEL, "--levels", "qflow,gates"], "gates"),
    (["check", "truncated.onnx"], "truncated.onnx"),
    (["report", "."], "report.json"),
]


@pytest.mark.parametrize(("arguments", "message"), HOSTILE)
def test_a_users_error_is_one_line_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    (here / "empty.onnx").write_bytes(b"\x08")
    (here / "truncated.onnx").write_bytes(EXAMPLE.read_bytes()[:1000])
    (here / "odd.toml").write_text("clok-ns = 5.0\n")
    (here / "s.json").write_text('{"gaps": [1]}')
    (here / "t.json").write_text('{"stalls": [1]}')
    (here / "loose.mlir").write_text("builtin.module {")
    np.save(here / "pickle.npy", np.array([{}], object))
    np.savez(here / "pickle.npz", input=np.array([{}], object))
    np.savez(here / "other.npz", x=np.zeros((1, 16), np.float32))
    np.save(here / "wide.npy", np.zeros((1, 17), np.float32))
    assert message in refused(arguments, capsys)


def test_debug_gives_the_traceback(here: Path):
    with pytest.raises(FastmlError):
        main(["compile", MODEL, "-o", "out", "--io", "serial", "--debug"])


def test_build_options_do_not_apply_to_what_is_built(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["compile", MODEL, "-o", "build", "--emit", "qflow"]) == 0
    capsys.readouterr()
    line = refused(["run", "build", "--level", "qflow", "--input", INPUT, "--ii", "1"], capsys)
    assert "--ii" in line


def test_a_defect_of_the_compiler_is_exit_1(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from fastml.compiler import design

    def broken(*_: object) -> None:
        raise AssertionError("impossible")

    monkeypatch.setattr(design, "from_model", broken)
    assert main(["compile", MODEL, "-o", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error[FML-INTERNAL]")


def test_off_grid_inputs_are_quantised_on_request(here: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copy(MODEL, "m.onnx")
    assert main(["compile", "m.onnx", "-o", "build", "--emit", "qflow"]) == 0
    capsys.readouterr()
    np.save("nan.npy", np.full((1, 16), np.nan, np.float32))
    refused(["run", "build", "--level", "qflow", "--input", "nan.npy"], capsys)


# --- options ---------------------------------------------------------------------------


def test_flags_win_over_the_configuration(tmp_path: Path):
    path = tmp_path / "c.toml"
    path.write_text('clock-ns = 2.5\n[input-type]\na = "int8"\nb = "int4"\n')
    flags: dict[str, object] = {"input-type": ["a=uint8", "x=y=fixed<16,6>"], "clock-ns": "4"}
    found = resolve(flags, str(path), flags=True)
    assert found == BuildOptions(
        input_type={"a": "uint8", "b": "int4", "x=y": "fixed<16,6>"}, clock_ns=4.0
    )
    assert resolve({}, str(path)).clock_ns == 2.5


def test_configurations_of_hls4ml_are_understood_where_the_notion_exists(tmp_path: Path):
    path = tmp_path / "c.json"
    config = {
        "ClockPeriod": 3,
        "IOType": "io_stream",
        "HLSConfig": {
            "Model": {"ReuseFactor": 8, "Strategy": "Resource"},
            "LayerName": {
                "x": {"Precision": "ap_fixed<16,6>"},
                "fc1": {"Strategy": "resource", "ReuseFactor": 16},
            },
            "LayerType": {"Dense": {"ReuseFactor": 4}},
        },
    }
    path.write_text(json.dumps(config))
    assert resolve({}, str(path)) == BuildOptions(
        input_type={"x": "fixed<16,6>"},
        clock_ns=3.0,
        io="stream",
        reuse=8,
        reuse_of={"fc1": 16, "*": 4},
        multipliers="dsp",
    )


def test_precisions_of_hls4ml_are_those_of_a_model_of_real_numbers(tmp_path: Path):
    path = tmp_path / "c.json"
    layer = {"weight": "fixed<8,1,AP_RND,AP_SAT>", "result": "ap_ufixed<9,3>"}
    config = {
        "Model": {"Precision": {"default": "ap_fixed<24,8>"}},
        "LayerName": {"x": {"Precision": "fixed<16,6>"}, "fc1": {"Precision": layer}},
    }
    path.write_text(json.dumps(config))
    assert resolve({}, str(path)) == BuildOptions(
        precision="ap_fixed<24,8>",
        precision_of={
            "x": "fixed<16,6>",
            "fc1": "ap_ufixed<9,3>",
            "fc1.weight": "fixed<8,1,AP_RND,AP_SAT>",
        },
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"Backend": "Vitis"}, "Backend: unknown key"),
        ({"IOType": "io_serial"}, "neither 'parallel' nor 'stream'"),
        ({"Model": {"Precision": {"maximum": "ap_fixed<16,6>"}}}, "accumulators are exact"),
        ({"Model": {"Precision": "float"}}, "'float' is none of fixed<W,I>"),
        ({"Model": {"Precision": "fixed<16,6,UP>"}}, "a mode that is none of RND"),
        ({"Model": {"Precision": "fixed<16,6>"}, "precision": "fixed<8,2>"}, "given twice"),
        ({"precision-of": {"fc": "fixed<16,6>"}}, "give --precision too"),
        (
            {
                "Model": {"Precision": "fixed<16,6>"},
                "LayerName": {"fc": {"Precision": {"accum": "fixed<32,16>"}}},
            },
            "accum: is not the precision of a result, a weight or a bias",
        ),
        (
            {
                "Model": {"Precision": "fixed<16,6>"},
                "precision-of": {"fc": "fixed<8,2>"},
                "LayerName": {"fc": {"Precision": "fixed<16,6>"}},
            },
            "'fc' is given two precisions",
        ),
        (
            {"input-type": {"x": "fixed<8,2>"}, "LayerName": {"x": {"Precision": "fixed<16,6>"}}},
            "'x' is given two types",
        ),
        ({"Model": {"ReuseFactor": -4}}, "not a whole number"),
        ({"LayerType": {"Activation": {"ReuseFactor": 4}}}, "only dense layers are folded"),
        ({"Model": {"BramFactor": 4}}, "Model.BramFactor: unknown key"),
        ({"Model": {"Strategy": "Compressed"}}, "'Compressed' is no strategy"),
        ({"LayerName": {"fc": {"Strategy": "Resource"}}}, "'Resource' is not available yet"),
        (
            {"Model": {"Strategy": "Resource"}, "LayerName": {"fc": {"Strategy": "Latency"}}},
            "'Latency' is not available yet",
        ),
        ({"multipliers": "logic", "Model": {"Strategy": "Resource"}}, "says something else"),
        ({"reuse": 4, "Model": {"ReuseFactor": 8}}, "Model.ReuseFactor: given twice"),
        (
            {"LayerType": {"Dense": {"ReuseFactor": 4}, "Gemm": {"ReuseFactor": 8}}},
            "'*' is given two reuse factors",
        ),
        (
            {"reuse-of": {"fc": 4}, "LayerName": {"fc": {"ReuseFactor": 8}}},
            "'fc' is given two reuse factors",
        ),
        ({"reuse-of": ["fc=4"], "LayerName": {"fc": {"ReuseFactor": 8}}}, "in two places"),
        ({"LayerName": {"fc": {"Trace": True}}}, "LayerName.fc.Trace: unknown key"),
        ({"LayerName": {"fc": {"Precision": {"weight": "int8"}}}}, "FML-OPTION"),
        ({"LayerType": {"Dense": {"Precision": "int8"}}}, "FML-OPTION"),
        ({"LayerName": ["fc"]}, "not a table"),
        ({"clock-ns": True}, "clock period"),
        ({"timing": "yes"}, "true or false"),
    ],
)
def test_configurations_that_ask_for_something_else(
    tmp_path: Path, config: dict[str, object], message: str
):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config))
    with pytest.raises(FastmlError) as caught:
        resolve({}, str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("c.toml", "= 1"), ("c.json", "{"), ("c.json", "[" * 100_000), ("c.yaml", "a: 1")],
)
def test_configurations_that_cannot_be_read(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(FastmlError):
        resolve({}, str(tmp_path / name))


def test_keywords_are_the_flags_with_underscores():
    found = from_keywords({"clock_ns": 4, "input_type": {"x": "int8"}, "latency_cycles": 9})
    assert found == BuildOptions(input_type={"x": "int8"}, clock_ns=4.0, latency_cycles=9)
    with pytest.raises(FastmlError, match=r"clock-nss: unknown option.*'clock-ns'"):
        from_keywords({"clock_nss": 4})


def test_an_input_has_one_type():
    with pytest.raises(FastmlError, match="two types"):
        resolve({"input-type": ["x=int8", "x=int9"]})
