"""Streams in HLS C++: processes of several phases, held against the interpreter."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hls_modules import parse

from fastml.compiler.emit.hls.build import build_program, design_of
from fastml.compiler.emit.hls.flavours import FLAVOURS
from fastml.compiler.emit.hls.project_files import Settings, project_files
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.affine import evaluate
from fastml.runtime.csim import CompiledDesign, build_library, find_headers

TEXT = (Path(__file__).parents[1] / "filecheck" / "hls" / "streams.mlir").read_text()
FRAMES = 30


@pytest.mark.parametrize("flavour", ["vitis", "catapult", "oneapi"])
def test_phases_take_and_give_the_beats_of_the_interpreter(
    flavour: str, require_tool: Callable[[str], str]
) -> None:
    """Beats that are gathered, kept over phases, given to two streams; an input unread."""
    require_tool("g++")
    require_tool("ap_types")
    module = parse(TEXT)
    design = design_of(build_program(module, FLAVOURS[flavour]), module)
    flags = ("-O0", "-Werror", "-Wno-unused-parameter")
    library = build_library(design, find_headers(design.library), flags)
    random = np.random.default_rng(1)
    beats = {
        "x": random.integers(-256, 256, (FRAMES * 3, 2)),
        "none": random.integers(0, 16, (FRAMES * 3, 1)),
    }
    edges = ["whole", "kept"]
    outputs, taps = CompiledDesign(design, library)(beats, edges)
    wanted = evaluate(module, beats, edges)
    for name, values in wanted.outputs.items():
        assert np.array_equal(outputs[name], values)
    for name in edges:
        assert np.array_equal(taps[name], wanted.taps[name])


def test_a_project_of_streams_tests_itself(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """Where the tool's own header is missing the stand-in is found; a changed line fails."""
    for tool in ("g++", "make", "ap_types"):
        require_tool(tool)
    module = parse(TEXT)
    design = design_of(build_program(module, FLAVOURS["vitis"]), module)
    beats = {"x": np.arange(24).reshape(12, 2) - 9, "none": np.ones((12, 1), np.int64)}
    values = {**beats, **evaluate(module, beats).outputs}
    settings = Settings(5.0, "12.5%", "none", "wires")
    for name, content in project_files(design, values, settings).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert "PASS: 4 frames, 0 errors" in make(tmp_path)
    source = tmp_path / "n_design_1.cpp"
    text = source.read_text()
    assert text.count("y[0] = v3;") == 1
    source.write_text(text.replace("y[0] = v3;", "y[0] = v3 + 1;"))
    assert "FAIL: 4 frames, 12 errors" in make(tmp_path)


def make(folder: Path) -> str:
    """Return what the project's Makefile prints."""
    command = ["make", f"AP_TYPES={find_headers('ap_types')}", "CXXFLAGS=-O0 -Wall -Werror"]
    environment = {**os.environ, "CXX": "g++"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    return done.stdout + done.stderr


def test_a_process_sees_only_the_beat_of_its_phase() -> None:
    text = TEXT.replace("affine.load %x[%k, 0]", "affine.load %x[0, 0]")
    with pytest.raises(FastmlError, match="accesses another beat than that of the phase"):
        build_program(parse(text), FLAVOURS["vitis"])
    build_program(parse(text), FLAVOURS["oneapi"])  # which has all of them at hand


def test_of_a_process_that_is_called_twice_no_edge_is_seen() -> None:
    call = "func.call @gather(%x, %whole) : (memref<3x2xi9>, memref<5xi9>) -> ()"
    assert call in TEXT
    design = build_program(parse(TEXT), FLAVOURS["vitis"])
    assert [(tap.edge, tap.beats) for tap in design.taps] == [
        ("whole", 1),
        ("kept", 3),
        ("sent", 3),
    ]
    twice = TEXT.replace("%none : memref<3x1xi4>", "%none : memref<3x2xi9>")
    twice = twice.replace('fastml.elements = "u4"', 'fastml.elements = "2 x s9"')
    twice = twice.replace(
        call,
        call
        + """
  %other = memref.alloc()
    {fastml.port = "o", fastml.elements = "5 x s9", fastml.stream = 1 : i64} : memref<5xi9>
  func.call @gather(%none, %other) : (memref<3x2xi9>, memref<5xi9>) -> ()
  func.call @swallow(%other) : (memref<5xi9>) -> ()""",
    )
    twice += """
func.func private @swallow(
    %x : memref<5xi9> {fastml.port = "x", fastml.elements = "5 x s9", fastml.direction = "in"})
    attributes {fastml.process, fastml.ii = 1 : i64, fastml.latency = 0 : i64} {
  func.return
}
"""
    design = build_program(parse(twice), FLAVOURS["vitis"])
    assert [tap.edge for tap in design.taps] == ["kept", "sent"]
