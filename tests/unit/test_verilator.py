"""Printed hardware in Verilator, cycle by cycle against the simulator of `hw`."""

import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.emit.testbench import emit_testbench
from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.bits import Words
from fastml.runtime.clocked import drive, simulate_frames
from fastml.runtime.hw import HwSimulator, Undefined, words_of
from fastml.runtime.hw_netlist import module_named, ports_of
from fastml.runtime.trace import PortLayout, Signal, Stimulus, TapLayout, Trace
from fastml.runtime.verilator import VerilatedDesign, lint

MACHINE = (Path(__file__).parent / "hardware" / "counter_memory.mlir").read_text()
PIPELINE = """
    hw.module private @layer(in %clk : !seq.clock, in %x : i24, out sum : i13) {
      %a = comb.extract %x from 0 : (i24) -> i12
      %b = comb.extract %x from 12 : (i24) -> i12
      %as = comb.extract %a from 11 : (i24) -> i1
      %bs = comb.extract %b from 11 : (i24) -> i1
      %aw = comb.concat %as, %a : i1, i12
      %bw = comb.concat %bs, %b : i1, i12
      %sum = comb.add %aw, %bw {sv.namehint = "wide"} : i13
      %late = seq.compreg %sum, %clk : i13
      hw.output %late : i13
    }
    hw.module @top(in %clk : !seq.clock, in %rst : i1, in %x_valid : i1, in %x : i24,
                   in %k_valid : i1, in %k : i70, out y_valid : i1, out y : i83) {
      %c0 = hw.constant 0 : i1
      %v = seq.compreg %x_valid, %clk reset %rst, %c0 : i1
      %tap = hw.wire %x {sv.namehint = "first_layer"} : i24
      %sum = hw.instance "inner" @layer(clk: %clk: !seq.clock, x: %tap: i24) -> (sum: i13)
      %late = seq.compreg %k, %clk : i70
      %odd = comb.xor %late, %mask : i70
      %mask = hw.constant -590295810358705651712 : i70
      %y = comb.concat %odd, %sum {sv.namehint = "result"} : i70, i13
      hw.output %v, %y : i1, i83
    }""".replace("(i24) -> i1\n", "(i12) -> i1\n")


def parse(text: str) -> ModuleOp:
    module = Parser(new_context(), text).parse_module()
    module.verify()
    return module


def verilate(module: ModuleOp, top: str, watch: dict[str, int] | None = None) -> VerilatedDesign:
    inputs, outputs = (
        {port.name: port.width for port in side} for side in ports_of(module_named(module, top))
    )
    return VerilatedDesign(emit_systemverilog(module), top, inputs, outputs, watch)


def machine_inputs(cycles: int) -> dict[str, Words]:
    rng = random.Random(5)
    inputs = {
        "rst": [1, *(int(rng.random() < 0.02) for _ in range(cycles - 1))],
        "push": [int(rng.random() < 0.8) for _ in range(cycles)],
        "x": [rng.getrandbits(12) for _ in range(cycles)],
    }
    return words_of(inputs, {"rst": 1, "push": 1, "x": 12}, cycles)


def test_state_machine_with_resets_in_the_middle(require_tool: Callable[[str], str]):
    require_tool("verilator")
    module, cycles = parse(MACHINE), 2000
    watch = {"draining": 1, "product": 20, "sum": 20}
    simulator = HwSimulator(module, "machine", watch)
    design = verilate(module, "machine", watch)
    assert design.inputs == simulator.inputs
    assert design.watched == simulator.watched
    inputs = machine_inputs(cycles)
    ours, theirs = simulator.run(inputs, cycles), design.run(inputs, cycles)
    for name in simulator.watched:
        assert (ours[name] == theirs[name]).all(), name
    assert ours["done"].sum() > 20


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%one = hw.constant 1 : i4", "%one = hw.constant 2 : i4"),
        ("%last = hw.constant 8 : i4", "%last = hw.constant 7 : i4"),
        ("127 : i8", "126 : i8"),
        ("comb.replicate %xs : (i1)", "comb.replicate %push : (i1)"),
        ("%at = seq.compreg %out, %clk : i3", "%at = hw.wire %out : i3"),
        ("%grown = comb.add", "%grown = comb.sub"),
        ("clear: %clear: i1, step: %draining", "clear: %rst: i1, step: %draining"),
        ("enable %take", "enable %push"),
        ("firmem 1, 1, old", "firmem 0, 1, old"),
        ("reset %clear, %zero : i4", "reset %clear, %one : i4"),
    ],
)
def test_a_mutant_differs_from_the_printed_original(
    old: str, new: str, require_tool: Callable[[str], str]
):
    """The comparison can fail: one change in the IR, and the traces part."""
    require_tool("verilator")
    assert old in MACHINE
    cycles = 2000
    inputs = machine_inputs(cycles)
    mutant = HwSimulator(parse(MACHINE.replace(old, new)), "machine")
    theirs = verilate(parse(MACHINE), "machine").run(inputs, cycles)
    ours = mutant.run(inputs, cycles)
    assert any((ours[name] != theirs[name]).any() for name in ("busy", "total", "done"))


INPUTS = [
    PortLayout("x", (12, 12), (True, True)),
    PortLayout("k", (70,), (True,)),
]
OUTPUT = PortLayout("y", (13, 6, 0, 64), (True, False, False, True))
TAPS = [
    TapLayout("layer", "first_layer", (12, 12), (True, False), (0, 0)),
    TapLayout("edge", "result", (13,), (True,), (1,)),
    TapLayout("inside", "inner.wide", (13,), (True,), (0,)),
]


WATCH = {"first_layer": 24, "result": 83, "inner.wide": 13}


def frames(count: int) -> Stimulus:
    rng = np.random.default_rng(0)
    wide = [[int(rng.integers(-(2**62), 2**62)) * 100] for _ in range(count)]
    beats = {"x": rng.integers(-2048, 2048, (count, 2)), "k": np.array(wide, object)}
    return Stimulus(beats, rng.integers(0, 3, count))


def trace_of(design: HwSimulator | VerilatedDesign, stimulus: Stimulus) -> Trace:
    return simulate_frames(design, INPUTS, [OUTPUT], stimulus, drain=8, taps=TAPS)


def same(ours: Signal, theirs: Signal) -> bool:
    return bool((ours.values == theirs.values).all() and (ours.cycles == theirs.cycles).all())


def test_frames_and_taps(require_tool: Callable[[str], str]):
    require_tool("verilator")
    module, stimulus = parse(PIPELINE), frames(40)
    design = verilate(module, "top", WATCH)
    assert lint(emit_systemverilog(module), "top") == []
    ours = trace_of(HwSimulator(module, "top", WATCH), stimulus)
    theirs = trace_of(design, stimulus)
    assert same(ours.outputs["y"], theirs.outputs["y"])
    for tap in TAPS:
        assert same(ours.taps[tap.name], theirs.taps[tap.name]), tap.name
    x = stimulus.beats["x"]
    assert (theirs.taps["layer"].values[:, 0] == x[:, 0]).all()
    assert (theirs.taps["inside"].values[:, 0] == x.sum(axis=1)).all()
    assert (theirs.cycles == stimulus.offer_cycles(1) + 1).all()
    mask = (1 << 70) - 590295810358705651712
    for k, y in zip(stimulus.beats["k"][:, 0], theirs.outputs["y"].values, strict=True):
        odd = (int(k) % 2**70) ^ mask
        assert y[1] == odd % 64
        assert int(y[3]) % 2**64 == odd >> 6


def test_undefined_bits_are_not_always_the_same(require_tool: Callable[[str], str]):
    require_tool("verilator")
    design = verilate(parse(PIPELINE), "top", WATCH)
    plan = drive(design.inputs, INPUTS, frames(1), 1, 4)
    runs = {u: design.run(plan.words, plan.cycles, u)["result"] for u in Undefined}
    first, second = runs[Undefined.PATTERN], runs[Undefined.INVERSE]
    assert (first[0] != second[0]).any()
    assert (first[1:] == second[1:]).all()
    assert (first[0] != runs[Undefined.ZEROS][0]).any()


def test_an_undefined_output_is_refused(require_tool: Callable[[str], str]):
    require_tool("verilator")
    text = """
        hw.module @top(in %clk : !seq.clock, in %rst : i1, in %x_valid : i1, in %x : i8,
                       out y_valid : i1, out y : i8) {
          %y = seq.compreg %next, %clk : i8
          %next = comb.mux %x_valid, %y, %more : i8
          %more = comb.add %y, %x : i8
          hw.output %x_valid, %y : i1, i8
        }"""
    design = verilate(parse(text), "top")
    port = PortLayout("x", (8,), (True,))
    stimulus = Stimulus({"x": np.array([[1]])}, np.zeros(1, np.int64))
    with pytest.raises(FastmlError, match=r"output 'y' depends on a register .* cycle 0"):
        simulate_frames(design, [port], [replace(port, name="y")], stimulus, drain=3)


def test_broken_text_is_an_error(require_tool: Callable[[str], str]):
    require_tool("verilator")
    with pytest.raises(FastmlError, match=r"verilator failed: .*syntax"):
        VerilatedDesign({"top.sv": "module top(; endmodule"}, "top", {}, {})


def test_testbench(require_tool: Callable[[str], str], tmp_path: Path):
    require_tool("verilator")
    module, stimulus = parse(PIPELINE), frames(12)
    simulator = HwSimulator(module, "top", WATCH)
    trace = trace_of(simulator, stimulus)
    plan = drive(simulator.inputs, INPUTS, stimulus, 1, 8)
    good = emit_testbench("top", simulator.inputs, [OUTPUT], plan, trace)
    for name, text in {**emit_systemverilog(module), **good}.items():
        (tmp_path / name).write_text(text)
    command = "verilator --binary --timing -Wno-fatal --top-module testbench -CFLAGS -O0"
    subprocess.run(
        [*command.split(), "testbench.sv", "layer.sv", "top.sv"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )

    def run(expected: Trace) -> subprocess.CompletedProcess[str]:
        files = emit_testbench("top", simulator.inputs, [OUTPUT], plan, expected)
        (tmp_path / "testbench_y.hex").write_text(files["testbench_y.hex"])
        program = tmp_path / "obj_dir" / "Vtestbench"
        return subprocess.run([program], cwd=tmp_path, capture_output=True, text=True)

    passed = run(trace)
    assert (passed.returncode, passed.stdout.splitlines()[0]) == (0, "PASS")
    signal = trace.outputs["y"]
    wrong, late = signal.values.copy(), signal.cycles.copy()
    wrong[7, 0] ^= 1
    late[5] += 1
    for bad in (replace(signal, values=wrong), replace(signal, cycles=late)):
        failed = run(Trace({"y": bad}))
        assert failed.returncode != 0
        assert "FAIL: beat" in failed.stdout
        assert "PASS" not in failed.stdout
