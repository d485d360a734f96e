"""AXI4-Stream around a design with valid/ready ports."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp

sys.path.insert(0, str(Path(__file__).parent))

from stream_modules import described, model, parse, stimulus

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.directives import verify_directives
from fastml.lowering.axi_top import HwAxiStream
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel, pinout_of
from fastml.runtime.trace import Signal, Stimulus, Trace
from fastml.runtime.verilator import lint

FRAMES = 60


def wrapped(text: str) -> ModuleOp:
    module = parse(text)
    HwAxiStream().apply(new_context(), module)
    module.verify()
    verify_directives(module)
    return parse(str(module))


def in_beats(outputs: int) -> str:
    """The design, whose frames are now as many sums as given."""
    ports = described().replace("beats = 2", f"beats = {2 * outputs}")
    return ports.replace('s11", protocol = "rv"', f's11", protocol = "rv", beats = {outputs}')


def given(outputs: int) -> tuple[Stimulus, Trace]:
    stalled = stimulus("idle stalls restart", FRAMES)
    stalled = replace(stalled, gaps=np.zeros(FRAMES, np.int64))
    edges = replace(
        stalled,
        gaps=np.zeros(FRAMES // outputs, np.int64),
        beats={"in put": stalled.beats["x"]},
        idle={"in put": stalled.idle["x"]},
        ready={"out put": stalled.ready["y"]},
    )
    return edges, model(stalled, 2000)


def same(ours: Signal, theirs: Signal) -> bool:
    return np.array_equal(ours.values, theirs.values) and np.array_equal(ours.cycles, theirs.cycles)


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_streams_carry_the_same_beats(outputs: int, require_tool: Callable[[str], str]):
    require_tool("verilator")
    module = wrapped(in_beats(outputs))
    files = emit_systemverilog(module)
    assert lint(files, "pairs_axis") == []
    pinout = pinout_of(module)
    assert pinout.axis is not None
    assert [str(port.elements) for port in pinout.axis.inputs] == ["2 x s16"]
    edges, expected = given(outputs)
    levels = HardwareLevel(module), RtlLevel(files, pinout, None)
    for trace in (level.simulate(edges, ["sum", "in put"]) for level in levels):
        assert same(trace.outputs["out put"], expected.outputs["y"])
        assert same(trace.taps["sum"], expected.taps["sum"])
        assert np.array_equal(trace.accepted["in put"], expected.accepted["x"])
        assert np.array_equal(trace.taps["in put"].values, edges.beats["in put"])


def test_a_wrong_last_is_seen(require_tool: Callable[[str], str]):
    require_tool("verilator")
    module = wrapped(in_beats(3))
    files = emit_systemverilog(module)
    text = files["pairs_axis.sv"]
    assert "2'd2" in text
    files["pairs_axis.sv"] = text.replace("2'd2", "2'd1")
    edges, _ = given(3)
    with pytest.raises(FastmlError, match=r"FML-IR.*'tlast' of output 'out put' is 1 on beat 1"):
        RtlLevel(files, pinout_of(module), None).simulate(edges, [])


def test_only_streams_can_be_wrapped():
    pulse = described().replace('protocol = "rv"', 'protocol = "pulse"')
    with pytest.raises(FastmlError, match=r"FML-TARGET.*port 'x' has no valid and ready"):
        wrapped(pulse)
    with pytest.raises(FastmlError, match=r"needs one module with 'fastml.top', got 0"):
        wrapped("hw.module @top() { hw.output }")
