"""The printed testbench of valid/ready ports: it passes, and it can fail."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stream_modules import IN, OUT, described, model, parse, stimulus

from fastml.compiler.emit.stream_testbench import emit_stream_testbench
from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.runtime.clocked_levels import pinout_of
from fastml.runtime.streams import stream_drive
from fastml.runtime.trace import Signal, Stimulus, Trace

COMMAND = "verilator --binary --timing -Wno-fatal --top-module testbench -CFLAGS -O0"


def files_of(given: Stimulus, expected: Trace) -> dict[str, str]:
    widths = pinout_of(parse(described())).input_widths
    plan = stream_drive(widths, [IN], [OUT], given, 12)
    return emit_stream_testbench("pairs", [IN], [OUT], plan, expected)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def build(folder: Path, design: str, bench: dict[str, str]) -> None:
    files = emit_systemverilog(parse(design))
    write(folder, {**files, **bench})
    command = [*COMMAND.split(), "testbench.sv", *files]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "obj_dir" / "Vtestbench"
    return subprocess.run([program], cwd=folder, capture_output=True, text=True)


def damage(signal: Signal, row: int, value: int, cycle: int) -> Signal:
    values, cycles = signal.values.copy(), signal.cycles.copy()
    values[row, 0] ^= value
    cycles[row] += cycle
    return Signal(values, cycles)


def test_it_passes_and_sees_what_is_wrong(require_tool: Callable[[str], str], tmp_path: Path):
    require_tool("verilator")
    given = stimulus("idle stalls restart", 30)
    expected = model(given, 1000)
    build(tmp_path, described(), files_of(given, expected))
    passed = run(tmp_path)
    assert (passed.returncode, passed.stdout.splitlines()[0]) == (0, "PASS")
    y, x = expected.outputs["y"], expected.accepted["x"].copy()
    x[8] += 1
    for wrong, message in (
        ({"outputs": {"y": damage(y, 7, 1, 0)}}, "FAIL: beat 7 of y in cycle"),
        ({"outputs": {"y": damage(y, 5, 0, 1)}}, "FAIL: beat 5 of y in cycle"),
        ({"accepted": {"x": x}}, "FAIL: beat 8 of x accepted in cycle"),
    ):
        files = files_of(given, replace(expected, **wrong))
        write(tmp_path, {name: text for name, text in files.items() if name != "testbench.sv"})
        failed = run(tmp_path)
        assert failed.returncode != 0
        assert message in failed.stdout
        assert "PASS" not in failed.stdout


DEPTH = "%depth = hw.constant 2 : i2", "%depth = hw.constant 1 : i2"
PHASE = "seq.compreg %nextSecond, %clk reset %rst, %no : i1", "seq.compreg %nextSecond, %clk : i1"
TAKE = "%take = comb.and %y_valid, %y_ready : i1", "%take = hw.wire %y_valid : i1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        TAKE,
        pytest.param(*DEPTH, marks=pytest.mark.full),
        pytest.param(*PHASE, marks=pytest.mark.full),
    ],
)
def test_it_fails_on_a_design_that_is_wrong(
    old: str, new: str, require_tool: Callable[[str], str], tmp_path: Path
):
    require_tool("verilator")
    given = stimulus("idle stalls restart", 30)
    assert old in described()
    build(tmp_path, described().replace(old, new), files_of(given, model(given, 1000)))
    failed = run(tmp_path)
    assert failed.returncode != 0
    assert "FAIL: beat " in failed.stdout
    if (old, new) == TAKE:  # what it takes by itself does not come
        assert "beats of y, not 30" in failed.stdout
