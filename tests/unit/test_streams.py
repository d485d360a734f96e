"""Valid/ready ports: the simulator of `hw` and Verilator against a model of tokens."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stream_modules import IN, OUT, TAP, WATCH, described, model, pairs, parse, same, stimulus

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel, pinout_of
from fastml.runtime.hw import HwSimulator
from fastml.runtime.hw_netlist import module_named, ports_of
from fastml.runtime.streams import StreamedDesign, simulate_streams
from fastml.runtime.trace import Stimulus, Trace
from fastml.runtime.verilator import VerilatedDesign

KINDS = ["back-to-back", "idle", "stalls", "idle stalls", "idle stalls restart"]


def simulator(text: str) -> HwSimulator:
    return HwSimulator(parse(text), "pairs", WATCH, ["x"])


def verilated(text: str) -> VerilatedDesign:
    module = parse(text)
    inputs, outputs = (
        {port.name: port.width for port in side} for side in ports_of(module_named(module, "pairs"))
    )
    return VerilatedDesign(emit_systemverilog(module), "pairs", inputs, outputs, WATCH)


def trace_of(design: StreamedDesign, given: Stimulus) -> Trace:
    return simulate_streams(design, [IN], [OUT], given, drain=12, taps=[TAP])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory", [False, True])
def test_the_simulator_follows_the_definition_of_time(kind: str, memory: bool):
    given = stimulus(kind, 1200)  # more than one chunk of cycles
    trace = trace_of(simulator(pairs(memory)), given)
    same(model(given, 20000), trace)
    assert len(trace.outputs["y"].values) == 1200
    if kind == "back-to-back":
        assert (trace.accepted["x"] == np.arange(2400)).all()
        assert (trace.cycles == 2 * np.arange(1200) + 4).all()


@pytest.mark.parametrize("memory", [False, True])
def test_verilator_gives_the_same_trace(memory: bool, require_tool: Callable[[str], str]):
    require_tool("verilator")
    design, ours = verilated(pairs(memory)), simulator(pairs(memory))
    for frames in (0, 1, 300):
        for kind in KINDS:
            given = stimulus(kind, frames, seed=frames)
            trace = trace_of(design, given)
            same(model(given, 6000), trace)
            same(trace_of(ours, given), trace)


def test_first_beats_count_from_the_earliest():
    given = stimulus("back-to-back", 3)
    late = replace(given, gaps=np.array([7, 0, 0]), idle={"x": np.array([5, 0, 0, 0, 0, 1])})
    trace = trace_of(simulator(pairs()), late)
    same(model(late, 100), trace)
    assert trace.accepted["x"].tolist() == [0, 1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "%fire = comb.and %some, %may",
            "%fire = comb.and %some, %first",
            r"FML-DEADLOCK.*no progress for 88 cycles after cycle 2: "
            r"input 'x' took 3 of 20 beats, output 'y' gave 0 of 10",
        ),
        (
            "%count = seq.compreg %nextCount, %clk reset %rst, %zero : i2",
            "%count = seq.compreg %nextCount, %clk : i2",
            r"FML-IR.*output 'y' depends on a register or memory without a value in cycle 3",
        ),
        (
            "%used = seq.compreg %nextUsed, %clk reset %rst, %zero : i2",
            "%used = seq.compreg %nextUsed, %clk : i2",
            "FML-DEADLOCK.*after cycle -1: input 'x' took 0 of 20",
        ),
        (
            "%keep = comb.mux %fire, %new, %kept : i22",
            "%keep = comb.mux %second, %both, %kept : i22",
            r"FML-IR.*output 'y' depends on a register or memory without a value in cycle 6",
        ),
        (
            "hw.output %x_ready, %y_valid, %y :",
            "%shown = comb.and %y_valid, %y_ready : i1 hw.output %x_ready, %shown, %y :",
            "",
        ),
        (
            "hw.output %x_ready, %y_valid, %y :",
            "%shown = comb.and %y_valid, %x_valid : i1 hw.output %x_ready, %shown, %y :",
            r"FML-IR.*output 'y' takes a beat back in cycle \d+, before it was taken",
        ),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, message: str):
    assert old in pairs()
    design, given = simulator(pairs().replace(old, new)), stimulus("idle stalls", 10)
    if not message:
        same(model(given, 500), trace_of(design, given))  # a sink cannot tell the difference
        return
    if "DEADLOCK" in message:
        given = stimulus("back-to-back", 10)
    with pytest.raises(FastmlError, match=message):
        trace_of(design, given)


def test_verilator_stops_where_nothing_moves(require_tool: Callable[[str], str]):
    require_tool("verilator")
    text = pairs().replace("%fire = comb.and %some, %may", "%fire = comb.and %some, %first")
    with pytest.raises(FastmlError, match="no progress for 88 cycles after cycle 2: input 'x'"):
        trace_of(verilated(text), stimulus("back-to-back", 10))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beats": {}}, "no beats for input 'x'"),
        ({"beats": {"x": np.zeros((6, 3))}}, r"input 'x' has \(6, 3\), not \(6, 2\)"),
        ({"beats": {"x": np.zeros((7, 2))}}, "'x' has 7 beats for 3 frames"),
        ({"beats": {"x": np.zeros((9, 2))}}, r"input 'x' has \(9, 2\), not \(6, 2\)"),
        ({"idle": {"x": np.zeros(5, np.int64)}}, "'idle' of 'x' must be 6 numbers of cycles"),
        ({"idle": {"x": np.full(6, -1)}}, "'idle' of 'x' must be 6 numbers of cycles"),
        ({"idle": {"y": np.zeros(6, np.int64)}}, "'y' is no port of that side"),
        ({"ready": {"x": np.zeros(6, np.bool_)}}, "'x' is no port of that side"),
    ],
)
def test_stimuli_are_checked(change: dict[str, dict[str, np.ndarray]], message: str):
    given = replace(stimulus("back-to-back", 3), **change)  # pyright: ignore[reportArgumentType]
    with pytest.raises(FastmlError, match=f"FML-STIMULUS.*{message}"):
        trace_of(simulator(pairs()), given)


def test_a_port_without_ready_is_no_stream():
    text = pairs().replace("out x_ready : i1, ", "").replace("hw.output %x_ready, ", "hw.output ")
    text = text.replace("%y : i1, i1, i22", "%y : i1, i22")
    with pytest.raises(FastmlError, match="there is no valid/ready port 'x'"):
        simulator(text)


def test_flow_may_depend_on_the_beats():
    """A process that takes its turn by a bit of the data: looked up inside the feedback."""
    text = pairs().replace(
        "%nextSecond = comb.xor %second, %fire : i1",
        "%odd = comb.extract %x from 3 : (i20) -> i1 %held = comb.and %odd, %accept : i1"
        " %same = comb.xor %held, %held : i1"
        " %turn = comb.xor %fire, %same : i1 %nextSecond = comb.xor %second, %turn : i1",
    )
    given = stimulus("idle stalls restart", 50)
    same(model(given, 1000), trace_of(simulator(text), given))


def by_edge(given: Stimulus) -> Stimulus:
    return replace(
        given,
        beats={"in put": given.beats["x"]},
        idle={"in put": given.idle["x"]},
        ready={"out put": given.ready["y"]},
    )


@pytest.mark.parametrize("name", ["hw", "rtl"])
def test_levels_go_by_edge(name: str, require_tool: Callable[[str], str]):
    module = parse(described())
    if name == "rtl":
        require_tool("verilator")
        level = RtlLevel(emit_systemverilog(module), pinout_of(module), None)
    else:
        level = HardwareLevel(module)
    assert (level.protocol, level.time) == ("rv", (2, 4))
    assert level.beat_shapes == {"in put": (2, 2)}
    given = stimulus("idle stalls restart", 100)
    trace = level.simulate(by_edge(given), ["sum", "in put"])
    expected = model(given, 2000)
    x = trace.taps["in put"]
    assert (x.values == given.beats["x"]).all()
    assert (x.cycles == expected.accepted["x"][:, None]).all()
    same(
        Trace({"out put": expected.outputs["y"]}, {"sum": expected.taps["sum"]}),
        Trace(trace.outputs, {"sum": trace.taps["sum"]}),
    )
    assert (trace.accepted["in put"] == expected.accepted["x"]).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('protocol = "rv",', 'protocol = "axi",', "port 'x' has the protocol 'axi'"),
        ('protocol = "rv",', "", "port 'x' has 2 beats a frame"),
        ("beats = 2", "beats = 0", "port 'x' has 0 beats a frame"),
        ("2 : i64}]", '"many"}]', "port 'x' has no number of beats"),
        (', fire = "fire"', "", "tap 'sum' does not say from which firing it counts"),
        ('"fire"', "7", "no text 'fire'"),
    ],
)
def test_malformed_ports_are_refused(old: str, new: str, message: str):
    assert old in described()
    with pytest.raises(FastmlError, match=f"FML-IR.*malformed port or tap: {message}"):
        pinout_of(parse(described().replace(old, new, 1)))
