"""Waves: our files against Verilator's, predicted ones against measured ones."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects import hw
from xdsl.dialects.builtin import IntegerAttr

sys.path.insert(0, str(Path(__file__).parent))

from dataflow_designs import DESIGNS, network_of
from stream_modules import described, parse, stimulus
from test_dataflow_to_hw import lowered, stimulus_of
from wave_files import Waves, differences, read_waves

import fastml
from fastml.compiler.design import Design
from fastml.compiler.driver import main
from fastml.compiler.emit.systemverilog import emit_systemverilog, name_signals
from fastml.compiler.waves import record
from fastml.dialects.token_flow import simulate
from fastml.runtime import waves as waves_module
from fastml.runtime.clocked import RESET_CYCLES
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel, pinout_of
from fastml.runtime.execute import execute
from fastml.runtime.levels import DataflowLevel, Level
from fastml.runtime.predicted_waves import PredictedLevel, predict, write_predicted
from fastml.runtime.trace import Stimulus, Trace
from fastml.runtime.vcd import WaveWriter
from fastml.runtime.verilator_waves import trace_waves
from fastml.runtime.waves import Driven, RecordedLevel, recorded_hardware, recorded_rtl

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMES = 24
GAPS = np.array([2, 0, 0, 3, *[0] * (FRAMES - 4)])


@dataclass
class Pulses:
    """A compiled network, and the waves of its levels."""

    design: Design
    folder: Path

    def waves(self, level: str) -> Waves:
        """Return the waves of a level, for the same frames each time."""
        path = self.folder / f"{level}.vcd"
        if not path.exists():
            x = np.load(EXAMPLES / "pulses.npz")["input"][:FRAMES]
            execute(self.recorded(level, path), {"samples": x}, gaps=GAPS)
        return read_waves(path)

    def recorded(self, level: str, path: Path) -> Level:
        """Return a level that writes waves; Verilator's without a build for the values."""
        if level != "rtl":
            return record(self.design, level, path)
        rtl, hardware = self.design.rtl, self.design.level("hw")
        assert isinstance(hardware, HardwareLevel)

        def write(driven: Driven) -> None:
            with path.open("w") as file:
                trace_waves(rtl.files, rtl.pinout, driven, file)

        return RecordedLevel(hardware, write)


@pytest.fixture(scope="module")
def pulses(tmp_path_factory: pytest.TempPathFactory) -> Pulses:
    return Pulses(fastml.compile(EXAMPLES / "pulses.onnx"), tmp_path_factory.mktemp("waves"))


def test_every_wire_of_the_rtl_lines_up_with_verilator(
    pulses: Pulses, require_tool: Callable[[str], str]
):
    require_tool("verilator")
    ours, theirs = pulses.waves("hw"), pulses.waves("rtl")
    names = ours.widths.keys()
    assert len(names) > 400
    assert names == theirs.widths.keys() - {n for n in theirs.widths if n.endswith(".unused")}
    assert {"pulses.clk", "pulses.hidden", "pulses.rescale_hidden.x_e0_d1"} <= names
    assert ours.cycles == theirs.cycles
    assert differences(ours, theirs, RESET_CYCLES) == []
    unknown = [any("x" in s[2 * t] for s in ours.samples.values()) for t in range(ours.cycles)]
    assert unknown == [True] * 2 + [False] * (ours.cycles - 2)  # no value beyond the latency


def test_a_changed_constant_shows(pulses: Pulses, require_tool: Callable[[str], str]):
    require_tool("verilator")
    module = pulses.design.module("hw").clone()
    constants = [op for op in module.walk() if isinstance(op, hw.ConstantOp)]
    wide = next(op for op in constants if op.result.name_hint is None and _bits(op) > 8)
    wide.properties["value"] = IntegerAttr(wide.value.value.data ^ 1, wide.value.type)
    path = pulses.folder / "mutant.vcd"
    level = recorded_hardware(HardwareLevel(module), name_signals(module), path)
    x = np.load(EXAMPLES / "pulses.npz")["input"][:FRAMES]
    execute(level, {"samples": x}, gaps=GAPS)
    wrong = differences(read_waves(path), pulses.waves("rtl"))
    assert wrong
    assert all(name.startswith("pulses.") for name, _ in wrong)


def _bits(op: hw.ConstantOp) -> int:
    kind = op.value.type
    return int(str(kind).removeprefix("i"))


def test_predicted_waves_are_measured(pulses: Pulses):
    measured = pulses.waves("hw")
    for level in ("qflow", "affine"):
        predicted = pulses.waves(level)
        assert predicted.widths.keys() <= measured.widths.keys()
        assert {"pulses.hidden_sum", "pulses.output_sum", "pulses.converter"} <= set(
            predicted.widths
        )
        assert differences(predicted, measured) == []
        valid = predicted.samples["pulses.output_sum_valid"]
        assert valid.count("1") == 2 * FRAMES
        known = [bits for bits in predicted.samples["pulses.hidden"] if "x" not in bits]
        assert len(known) > FRAMES  # two moments a cycle; beats overlap over two cycles


def test_a_wrong_prediction_shows(pulses: Pulses, tmp_path: Path):
    class Late(DataflowLevel):
        def simulate(self, stimulus: Stimulus, taps: Sequence[str]) -> Trace:
            trace = super().simulate(stimulus, taps)
            hidden = trace.taps["hidden"]
            late = replace(hidden, cycles=hidden.cycles + 1)
            return replace(trace, taps={**trace.taps, "hidden": late})

    level = Late(pulses.design.module("qflow"))
    predicted = PredictedLevel(level, pulses.design.rtl.pinout, tmp_path / "late.vcd")
    x = np.load(EXAMPLES / "pulses.npz")["input"][:FRAMES]
    execute(predicted, {"samples": x}, gaps=GAPS)
    wrong = differences(read_waves(tmp_path / "late.vcd"), pulses.waves("hw"))
    assert {name for name, _ in wrong} == {"pulses.hidden"}


def test_long_runs_are_written_in_stretches(
    pulses: Pulses, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    pulses.waves("hw")
    monkeypatch.setattr(waves_module, "_WORDS", 6000)  # some cycles at a time
    again = Pulses(pulses.design, tmp_path)
    again.waves("hw")
    assert (tmp_path / "hw.vcd").read_bytes() == (pulses.folder / "hw.vcd").read_bytes()


def test_valid_ready_waves_line_up_with_verilator(
    tmp_path: Path, require_tool: Callable[[str], str]
):
    require_tool("verilator")
    module = parse(described())
    given = stimulus("idle stalls", 40)
    given = Stimulus(
        {"in put": given.beats["x"]},
        given.gaps,
        idle={"in put": given.idle["x"]},
        ready={"out put": given.ready["y"]},
    )
    hardware = HardwareLevel(module)
    rtl = RtlLevel(emit_systemverilog(module), pinout_of(module), None)
    traces = [
        recorded_hardware(hardware, name_signals(module), tmp_path / "hw.vcd"),
        recorded_rtl(rtl, tmp_path / "rtl.vcd"),
    ]
    first, second = (level.simulate(given, []) for level in traces)
    assert (first.cycles == second.cycles).all()
    ours, theirs = read_waves(tmp_path / "hw.vcd"), read_waves(tmp_path / "rtl.vcd")
    assert {"pairs.x", "pairs.x_ready", "pairs.fire", "pairs.front.count"} <= ours.widths.keys()
    inputs = [name for name in ours.widths if name.split(".")[1] in ("x", "x_valid", "y_ready")]
    assert all("x" not in bits for name in inputs for bits in ours.samples[name])
    assert ours.cycles == theirs.cycles
    assert differences(ours, theirs, RESET_CYCLES + 8) == []
    accepted = [
        valid == ready == "1"
        for valid, ready in zip(
            ours.samples["pairs.x_valid"], ours.samples["pairs.x_ready"], strict=True
        )
    ]
    assert sum(accepted[8:]) == 2 * 80  # two moments a cycle, after four cycles of reset


@pytest.mark.parametrize("name", ["chain", "fork", "serial", "folded"])
def test_levels_of_fifos_are_measured(name: str, tmp_path: Path):
    design = DESIGNS[name]
    module = design.module()
    stimulus = stimulus_of(design, 12, np.random.default_rng(3), 0.3, 0.6)
    stimulus = replace(stimulus, restart=False)
    hardware = lowered(module)
    level = HardwareLevel(hardware)
    taps = list(level.pinout.taps)
    path = tmp_path / "hw.vcd"
    trace = recorded_hardware(level, name_signals(hardware), path).simulate(stimulus, taps)
    network = network_of(module)
    times = simulate(network, stimulus.waits, stimulus.ready)
    with (tmp_path / "predicted.vcd").open("w") as file:
        wires, cycles = predict(level.pinout, stimulus, replace(trace, fifos=times.fifos))
        write_predicted(file, level.pinout, wires, cycles)
    predicted, measured = read_waves(tmp_path / "predicted.vcd"), read_waves(path)
    missing = predicted.widths.keys() - measured.widths.keys()
    assert {name.rsplit(".", 1)[1] for name in missing} <= {"used"}
    levels = {name for name in predicted.widths if name.endswith((".count", ".used"))} - missing
    assert len(levels) >= len(network.fifos)
    assert all(len(set(measured.samples[name])) > 1 for name in levels)
    assert differences(predicted, measured) == []


def test_what_has_no_value_yet_is_x(tmp_path: Path):
    text = """
    builtin.module attributes {fastml.taps = {}} {
      hw.module @top(in %clk: !seq.clock, in %rst: i1, in %x_valid: i1, in %x: i70,
                     out y_valid: i1, out y: i70) attributes {fastml.top, fastml.ii = 1 : i64,
          fastml.latency = 1 : i64, fastml.ports = {
            inputs = [{name = "x", port = "x", elements = "u70"}],
            outputs = [{name = "y", port = "y", elements = "u70"}]}} {
        %x_d1 = seq.compreg %x, %clk : i70
        %zero = hw.constant 0 : i1
        %v = seq.compreg %x_valid, %clk reset %rst, %zero : i1
        hw.output %v, %x_d1 : i1, i70
      }
    }"""
    module = parse(text)
    level = recorded_hardware(HardwareLevel(module), name_signals(module), tmp_path / "x.vcd")
    beats = np.array([[(1 << 69) + 5], [7]], object)
    level.simulate(Stimulus({"x": beats}, np.zeros(2, np.int64)), [])
    waves = read_waves(tmp_path / "x.vcd")
    held, given = waves.samples["top.x_d1"], waves.samples["top.x"]
    assert held[:2] == ["x" * 70] * 2
    assert held[2:] == given[:-2]
    assert waves.samples["top.y"] == held
    assert given[8] == f"{(1 << 69) + 5:b}"
    assert waves.samples["top.clk"][:6] == list("001010")


def test_signals_may_be_partly_unknown(tmp_path: Path):
    path = tmp_path / "part.vcd"
    word = np.array([[0b1010], [0b1010], [0b0001]], np.uint32)
    odd = np.array([[0b0011], [0b0000], [0b0000]], np.uint32)
    with path.open("w") as file, WaveWriter(file) as waves:
        waves.clock([("a", "clk")])
        waves.declare([("a", "s"), ("a", "b", "t")], 4)
        waves.write([word], [odd], 3)
        waves.write([word[2:]], [None], 1)
    read = read_waves(path)
    assert read.samples["a.s"][:-1:2] == ["10xx", "1010", "0001", "0001"]
    assert read.samples["a.b.t"] == read.samples["a.s"]
    assert read.cycles == 4


@pytest.fixture(scope="module")
def project(pulses: Pulses) -> Path:
    pulses.design.write(pulses.folder / "project")
    return pulses.folder / "project"


def test_the_command_writes_waves(project: Path, tmp_path: Path):
    given = ["--input", str(EXAMPLES / "pulses.npz"), "--vcd", str(tmp_path / "w.vcd")]
    assert main(["run", str(project), "--level", "qflow", *given]) == 0
    assert "pulses.hidden" in read_waves(tmp_path / "w.vcd").widths


@pytest.mark.parametrize(
    ("target", "level", "reason"),
    [
        ("w.vcd", "fastml", "level 'fastml' has no waves"),
        ("w.vcd", "qflow", "does not say what its wires are called"),
        ("no/w.vcd", "hw", "cannot be written"),
    ],
)
def test_what_has_no_waves_says_so(
    target: str,
    level: str,
    reason: str,
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    file = project / "ir" / f"{level}.mlir"
    given = ["--input", str(EXAMPLES / "pulses.npz"), "--vcd", str(tmp_path / target)]
    assert main(["run", str(file), "--level", level, *given]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / target).exists()
