"""Projects of HLS C++: scripts in a real Tcl interpreter, the testbench in a real compiler."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hls_modules import interpret, parse, printed, random_beats, scalar_operations, top

from fastml.compiler.emit.hls.flavours import FLAVOURS
from fastml.compiler.emit.hls.project_files import Settings, project_files
from fastml.runtime.csim import find_headers

SANITISED = (
    "-O0 -Wall -Wextra -Werror -fsanitize=undefined,address -fno-sanitize-recover=all "
    "-fno-sanitize=shift-base"  # the headers shift negative numbers left, as C++20 lets them
)
SETTINGS = Settings(4.0, "0.3", "xcku060-ffva1156-2-e", "wires")
COMMANDS = {
    "vitis": """open_project set_top add_files open_solution set_part create_clock
        set_clock_uncertainty csim_design csynth_design cosim_design export_design
        close_project""",
    "catapult": "project options solution directive go flow",
}
STUB = """
proc record {args} {
    puts [join $args " "]
}
foreach name {NAMES} {
    proc $name args "record $name {*}\\$args"
}
set argv [list ARGUMENTS]
set argc [llength $argv]
source SCRIPT
"""


def project(flavour: str, folder: Path, width: int = 6, **fractions: int) -> Path:
    """Write a project of every scalar operation."""
    module = parse(top(*scalar_operations(width)))
    design = printed(module, flavour, **fractions)
    beats = random_beats(module, 25)
    values = {**beats, **interpret(module, beats)}
    for name, content in project_files(design, values, SETTINGS).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return folder


def recorded(
    tclsh: str, folder: Path, script: str, names: str, *arguments: str, **environment: str
) -> list[str]:
    """Run a script with the vendor's commands stubbed; return their calls."""
    stub = STUB.replace("NAMES", names).replace("ARGUMENTS", " ".join(arguments))
    (folder / "stub.tcl").write_text(stub.replace("SCRIPT", script))
    done = subprocess.run(
        [tclsh, "stub.tcl"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def is_complete(tclsh: str, folder: Path, script: str) -> bool:
    check = f"set f [open {script}]; puts [info complete [read $f]]"
    done = subprocess.run([tclsh], input=check, cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() == "1"


@pytest.mark.parametrize("flavour", ["vitis", "vivado"])
def test_the_script_of_xilinx(flavour: str, tmp_path: Path, require_tool: Callable[[str], str]):
    tclsh = require_tool("tclsh")
    project(flavour, tmp_path)
    assert is_complete(tclsh, tmp_path, "build_prj.tcl")
    names = COMMANDS["vitis"]
    calls = recorded(tclsh, tmp_path, "build_prj.tcl", names, "cosim=1", "export=1", "clock=2.5")
    assert calls[0] == "open_project -reset n_design_prj"
    assert calls[1] == "set_top n_design"
    standard = FLAVOURS[flavour].standard
    assert f"add_files n_design.cpp -cflags -std={standard}" in calls
    assert f"add_files -tb n_design_test.cpp -cflags -std={standard}" in calls
    assert any(c.startswith("open_solution -reset") for c in calls)
    assert ("open_solution -reset -flow_target vivado solution1" in calls) == (flavour == "vitis")
    assert "set_part xcku060-ffva1156-2-e" in calls
    assert "create_clock -period 2.5 -name default" in calls
    assert "set_clock_uncertainty 0.3 default" in calls
    steps = [c.split()[0] for c in calls if c.split()[0].endswith("_design")]
    assert steps == ["csim_design", "csynth_design", "cosim_design", "export_design"]
    assert calls[-1] == "close_project"
    brief = recorded(tclsh, tmp_path, "build_prj.tcl", names, "reset=0", "csim=0")
    assert brief[0] == "open_project n_design_prj"
    assert [c.split()[0] for c in brief if c.split()[0].endswith("_design")] == ["csynth_design"]


def test_the_script_of_logic_synthesis(tmp_path: Path, require_tool: Callable[[str], str]):
    tclsh = require_tool("tclsh")
    project("vitis", tmp_path)
    verilog = tmp_path / "n_design_prj" / "solution1" / "syn" / "verilog"
    verilog.mkdir(parents=True)
    (verilog / "n_design.v").write_text("")
    assert is_complete(tclsh, tmp_path, "vivado_synth.tcl")
    names = """add_files synth_design get_ports create_clock opt_design report_utilization
        report_timing_summary"""
    calls = recorded(tclsh, tmp_path, "vivado_synth.tcl", names, "somepart", "3.5")
    assert "synth_design -top n_design -part somepart -mode out_of_context" in calls
    assert "report_utilization -file vivado_synth.rpt" in calls


def test_the_directives_of_catapult(tmp_path: Path, require_tool: Callable[[str], str]):
    tclsh = require_tool("tclsh")
    project("catapult", tmp_path)
    assert is_complete(tclsh, tmp_path, "build_prj.tcl")
    calls = recorded(tclsh, tmp_path, "build_prj.tcl", COMMANDS["catapult"])
    assert "solution file add n_design.cpp -type C++" in calls
    assert "solution file add n_design_test.cpp -type C++ -exclude true" in calls
    assert "directive set -DESIGN_HIERARCHY n_design" in calls
    assert "directive set /n_design/x:rsc -MAP_TO_MODULE ccs_ioport.ccs_in_vld" in calls
    assert "directive set /n_design/y:rsc -MAP_TO_MODULE ccs_ioport.ccs_out_vld" in calls
    clock = "directive set -CLOCKS clk {-CLOCK_PERIOD 4 -CLOCK_UNCERTAINTY 0.3}"
    assert clock.replace("{", "").replace("}", "") in {re.sub("[{}]", "", c) for c in calls}
    given = {"CLOCK": "2.5", "UNCERTAINTY": "20%", "SYNTHESIS": "0"}
    brief = recorded(tclsh, tmp_path, "build_prj.tcl", COMMANDS["catapult"], **given)
    assert any("-CLOCK_PERIOD 2.5 -CLOCK_UNCERTAINTY 0.5" in c for c in brief)
    assert "go extract" not in brief
    assert calls.index("flow package require /SCVerify") < calls.index("go analyze")
    stages = [c.split()[1] for c in calls if c.startswith("go ")]
    assert (
        stages == "analyze compile libraries assembly architect allocate schedule extract".split()
    )


def test_the_script_of_xilinx_takes_no_unknown_setting(
    tmp_path: Path, require_tool: Callable[[str], str]
):
    tclsh = require_tool("tclsh")
    project("vitis", tmp_path)
    names = COMMANDS["vitis"]
    quoted = recorded(tclsh, tmp_path, "build_prj.tcl", names, '"csim=0 csynth=0 cosim=1"')
    assert [c.split()[0] for c in quoted if c.split()[0].endswith("_design")] == ["cosim_design"]
    with pytest.raises(AssertionError, match="'cosin' is not known; choose from clock cosim"):
        recorded(tclsh, tmp_path, "build_prj.tcl", names, "cosin=1")


def make(folder: Path, library: str, flags: str | None) -> subprocess.CompletedProcess[str]:
    variable = library.upper()
    own = [] if flags is None else [f"CXXFLAGS={flags}"]
    return subprocess.run(
        ["make", f"{variable}={find_headers(library)}", *own],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CXX": "g++"},
    )


@pytest.mark.parametrize(
    ("flavour", "width", "fractions"),
    [
        ("vitis", 6, {}),
        pytest.param("vivado", 6, {"x": 2, "y": -1}, marks=pytest.mark.full),
        ("oneapi", 6, {"x": 2, "y": 9}),
        ("catapult", 70, {}),
    ],
)
def test_the_testbench_passes_and_can_fail(
    flavour: str,
    width: int,
    fractions: dict[str, int],
    tmp_path: Path,
    require_tool: Callable[[str], str],
):
    for tool in ("g++", "make", "ap_types"):
        require_tool(tool)
    project(flavour, tmp_path, width, **fractions)
    library = FLAVOURS[flavour].types.library
    done = make(tmp_path, library, SANITISED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS: 25 frames, 0 errors" in done.stdout
    expected = tmp_path / "tb_data" / "y.txt"
    good = expected.read_text()
    rows = good.splitlines()
    first, *rest = rows[7].split()
    rows[7] = " ".join([str(int(first) ^ 1), *rest])
    expected.write_text("\n".join(rows) + "\n")
    done = make(tmp_path, library, "-O0")
    assert done.returncode != 0
    assert "frame 7: element 0 of 'y' differs" in done.stderr
    assert "FAIL: 25 frames, 1 errors" in done.stdout
    expected.write_text("\n".join(good.splitlines()[:-1]) + "\n")
    assert "'x' has more frames" in make(tmp_path, library, "-O0").stderr
    expected.write_text("9" * 30 + " " + good)
    assert "cannot hold" in make(tmp_path, library, "-O0").stderr


@pytest.mark.parametrize("flavour", ["vitis", "catapult"])
def test_the_makefile_as_it_is(flavour: str, tmp_path: Path, require_tool: Callable[[str], str]):
    """Without a warning, and only the first differences are told."""
    for tool in ("g++", "make", "ap_types"):
        require_tool(tool)
    project(flavour, tmp_path, x=2)
    library = FLAVOURS[flavour].types.library
    done = make(tmp_path, library, None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    expected = tmp_path / "tb_data" / "y.txt"
    rows = [row.split() for row in expected.read_text().splitlines()]
    flipped = [[str(int(word) ^ 1) for word in row] for row in rows]
    expected.write_text("\n".join(map(" ".join, flipped)) + "\n")
    done = make(tmp_path, library, None)
    told = [line for line in done.stderr.splitlines() if line.startswith("frame ")]
    assert len(told) == 10
    first = f"element 0 of 'y' differs: {rows[0][0]} instead of {flipped[0][0]}"
    assert told[0] == f"frame 0: {first}"
    assert f"FAIL: 25 frames, {sum(map(len, rows))} errors" in done.stdout


def test_the_testbench_reads_npy(tmp_path: Path, require_tool: Callable[[str], str]):
    for tool in ("g++", "make", "ap_types"):
        require_tool(tool)
    project("oneapi", tmp_path, x=2)
    text = tmp_path / "tb_data" / "x.txt"
    raw = np.loadtxt(text, dtype=np.int64)
    text.unlink()
    binary = text.with_suffix(".npy")
    for kind in ("<i2", "|i1", "<f4", "<f8"):
        values = raw / 4 if kind[1] == "f" else raw
        np.save(binary, values.astype(kind))
        done = make(tmp_path, "ac_types", "-O0")
        assert "PASS: 25 frames, 0 errors" in done.stdout, done.stdout + done.stderr
    np.save(binary, (raw / 4 + 0.1).astype(np.float32))
    assert "not on its grid" in make(tmp_path, "ac_types", "-O0").stderr
    np.save(binary, np.asfortranarray(raw))
    assert "wrong order" in make(tmp_path, "ac_types", "-O0").stderr
    np.save(binary, raw.astype(">i4"))
    assert "wrong element type" in make(tmp_path, "ac_types", "-O0").stderr


def test_cmake_builds_the_testbench(tmp_path: Path, require_tool: Callable[[str], str]):
    for tool in ("g++", "cmake", "make", "ap_types"):
        require_tool(tool)
    folder = project("oneapi", tmp_path)
    for command in (
        ["cmake", "-B", "build", f"-DAC_TYPES={find_headers('ac_types')}", "."],
        ["cmake", "--build", "build"],
        ["build/n_design_test", "tb_data"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    kernel = (folder / "n_design_kernel.cpp").read_text()
    chosen = "#ifdef FPGA_EMULATOR\n.*emulator_selector_v.*\n#else\n.*fpga_selector_v"
    assert re.search(chosen, kernel)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_nothing_is_claimed_of_a_tool_that_did_not_run(flavour: str, tmp_path: Path):
    text = (project(flavour, tmp_path) / "README.md").read_text()
    assert "Emitted, not synthesised" in text
    assert "xcku060-ffva1156-2-e" in text
