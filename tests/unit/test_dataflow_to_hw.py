"""Dataflow designs in hardware, against the definition of their time clock by clock."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

sys.path.insert(0, str(Path(__file__).parent))

from dataflow_designs import DESIGNS, Design, Seen, network_of, parse, step_by_step

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.directives import verify_directives
from fastml.dialects.elements import Elements, ranges_of
from fastml.dialects.token_flow import DeadlockError
from fastml.lowering.affine_to_hw import lower_module
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel, pinout_of
from fastml.runtime.levels import Level, open_level
from fastml.runtime.trace import Integers, Stimulus, Trace
from fastml.runtime.verilator import lint

CYCLES = 1500
"""More than any run takes that ends at all."""


def lowered(module: ModuleOp) -> ModuleOp:
    """The hardware, by way of its text."""
    copy = module.clone()
    lower_module(copy)
    copy.verify()
    verify_directives(copy)
    return parse(str(copy))


def stimulus_of(
    design: Design, frames: int, rng: np.random.Generator, idle: float, ready: float
) -> Stimulus:
    beats = dict[str, Integers]()
    waits = dict[str, Integers]()
    for name, (count, text) in design.inputs.items():
        layout = Elements.parse(text)
        lows, highs = ranges_of(layout)
        shape = frames * count, len(layout)
        beats[name] = rng.integers(lows, np.array(highs) + 1, shape)
        waits[name] = rng.integers(0, 7, shape[0]) * (rng.random(shape[0]) < idle)
        waits[name][:1] = 0
    rows = {name: rng.random(int(rng.integers(0, 120))) < ready for name in design.outputs}
    gaps = np.zeros(frames, np.int64)
    return Stimulus(beats, gaps, restart=bool(rng.integers(2)), idle=waits, ready=rows)


def expected(module: ModuleOp, stimulus: Stimulus) -> Seen:
    return step_by_step(network_of(module), stimulus.idle, stimulus.ready, CYCLES)


def agree(design: Design, stimulus: Stimulus, seen: Seen, trace: Trace) -> None:
    for name, values in design.reference(stimulus.beats).items():
        np.testing.assert_array_equal(
            trace.outputs[name].values, values.reshape(-1, values.shape[-1])
        )
        np.testing.assert_array_equal(trace.outputs[name].cycles[:, 0], seen.taken[name], name)
    for name, cycles in seen.accepted.items():
        np.testing.assert_array_equal(trace.accepted[name], cycles, name)
    for name, reference in design.edges.items():
        np.testing.assert_array_equal(trace.taps[name].values, reference(stimulus.beats), name)


def level_taps(level: Level) -> list[str]:
    assert isinstance(level, HardwareLevel)
    return list(level.pinout.taps)


def same(predicted: Trace, measured: Trace) -> None:
    """The affine interpreter says the same, of every edge that the hardware shows."""
    for ours, theirs in (
        (predicted.outputs, measured.outputs),
        (predicted.taps, measured.taps),
    ):
        assert ours.keys() == theirs.keys()
        for name, signal in ours.items():
            np.testing.assert_array_equal(signal.values, theirs[name].values, name)
            ours_at, theirs_at = np.broadcast_arrays(signal.cycles, theirs[name].cycles)
            np.testing.assert_array_equal(ours_at, theirs_at, name)


@pytest.mark.parametrize("name", DESIGNS)
def test_unstalled(name: str):
    """Beats as fast as they are taken; the design states its true latency and interval."""
    design = DESIGNS[name]
    module = design.module()
    level = open_level("hw", lowered(module))
    stimulus = stimulus_of(design, 12, np.random.default_rng(1), 0, 1)
    seen = expected(module, stimulus)
    trace = level.simulate(stimulus, level_taps(level))
    agree(design, stimulus, seen, trace)
    same(open_level("affine", module).simulate(stimulus, list(trace.taps)), trace)
    assert level.time is not None
    ii, latency = level.time
    last = {n: seen.taken[n][count - 1 :: count] for n, count in design.outputs.items()}
    assert max(cycles[0] for cycles in last.values()) == latency
    assert all(cycles[-1] - cycles[-2] == ii for cycles in last.values())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(DESIGNS)),
    st.integers(0, 1 << 30),
    st.lists(st.integers(1, 5), min_size=5, max_size=5),
    st.sampled_from([0.0, 0.2, 0.8]),
    st.sampled_from([0.1, 0.5, 1.0]),
)
def test_gaps_and_stalls(name: str, seed: int, depths: list[int], idle: float, ready: float):
    """Values and cycles at any depths, also after a reset in the middle of a stream."""
    design = DESIGNS[name]
    module = design.module(dict(zip(design.fifos, depths, strict=False)))
    stimulus = stimulus_of(design, 9, np.random.default_rng(seed), idle, ready)
    seen = expected(module, stimulus)
    level, program = open_level("hw", lowered(module)), open_level("affine", module)
    if seen.done:
        trace = level.simulate(stimulus, level_taps(level))
        agree(design, stimulus, seen, trace)
        same(program.simulate(stimulus, list(trace.taps)), trace)
        return
    with pytest.raises(DeadlockError):
        program.simulate(stimulus, [])
    last = max(
        cycle for cycles in [*seen.accepted.values(), *seen.taken.values()] for cycle in cycles[-1:]
    )
    with pytest.raises(FastmlError, match=f"after cycle {last}:") as caught:
        level.simulate(stimulus, [])
    assert caught.value.code == "FML-DEADLOCK"


def test_a_fifo_that_is_too_shallow():
    """One slot fewer costs throughput, or stops the design in the cycle that was predicted."""
    design = DESIGNS["skip"]
    stimulus = stimulus_of(design, 5, np.random.default_rng(0), 0, 1)
    ends = dict[int, int]()
    for depth in (6, 5, 4):
        module = design.module({"b": depth})
        seen = expected(module, stimulus)
        agree(design, stimulus, seen, open_level("hw", lowered(module)).simulate(stimulus, []))
        ends[depth] = seen.taken["y"][-1]
    assert ends[6] < ends[5] < ends[4]
    module = design.module({"b": 3})
    seen = expected(module, stimulus)
    assert not seen.done
    assert seen.accepted["x"][-1] == 4
    with pytest.raises(FastmlError, match=r"after cycle 4: .* took 5 of 20 beats") as caught:
        open_level("hw", lowered(module)).simulate(stimulus, [])
    assert caught.value.code == "FML-DEADLOCK"


@pytest.mark.parametrize("name", ["serial", "folded"])
def test_verilator(name: str, require_tool: Callable[[str], str]):
    """The printed design is clean, and does the same in the same cycles, taps included."""
    require_tool("verilator")
    design = DESIGNS[name]
    module = design.module()
    hardware = lowered(module)
    pinout = pinout_of(hardware)
    files = emit_systemverilog(hardware)
    assert not lint(files, pinout.top)
    stimulus = stimulus_of(design, 40, np.random.default_rng(3), 0.3, 0.5)
    trace = RtlLevel(files, pinout, None).simulate(stimulus, list(design.edges))
    agree(design, stimulus, expected(module, stimulus), trace)


def test_each_design_is_clean(require_tool: Callable[[str], str]):
    """No design has a warning when it is printed."""
    require_tool("verilator")
    for design in DESIGNS.values():
        hardware = lowered(design.module())
        assert not lint(emit_systemverilog(hardware), "network")


MUTANTS = [
    ("chain", "comb.xor %push, %pop", "comb.and %push, %pop"),  # a count that forgets
    ("chain", "%5 = hw.constant -2 : i2", "%5 = hw.constant 1 : i2"),  # two cycles for three
    ("chain", "comb.and %x_valid, %y_ready", "comb.or %x_valid, %y_ready"),
    ("fork", "comb.mux %reserve, %1, %2", "comb.mux %push, %1, %2"),  # late credits
    ("serial", "%5 = hw.constant -2 : i2", "%5 = hw.constant 1 : i2"),  # two phases for three
    ("serial", "%12 = comb.icmp eq %state1, %11", "%12 = comb.icmp eq %state1, %0"),
    ("dot", "comb.mux %fire_d2, %add1, ", "comb.mux %fire_d1, %add1, "),  # enabled too early
]


@pytest.mark.parametrize(("name", "old", "new"), MUTANTS)
def test_a_mutant_differs(name: str, old: str, new: str):
    """The comparison can fail: one operation changed."""
    design = DESIGNS[name]
    module = design.module()
    text = str(lowered(module))
    assert old in text
    stimulus = stimulus_of(design, 30, np.random.default_rng(4), 0.3, 0.6)
    seen = expected(module, stimulus)
    level = open_level("hw", parse(text.replace(old, new, 1)))
    with pytest.raises((AssertionError, FastmlError)):
        agree(design, stimulus, seen, level.simulate(stimulus, []))
