"""Random networks of processes: every level gives the same values in the same cycles.

25 graphs by default, 500 in the ``full`` set; each back-to-back, and under idle inputs and
stalled outputs. FIFOs that are one slot too shallow must stop a design, or slow it down, in
the prediction and in the hardware alike.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from stream_graphs import StreamGraph
from xdsl.dialects.builtin import IntAttr, ModuleOp
from xdsl.passes import PassPipeline

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.qflow import GraphOp
from fastml.dialects.token_flow import DeadlockError, Shortage
from fastml.lowering import PASSES
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel
from fastml.runtime.levels import Level, open_level
from fastml.runtime.trace import Stimulus, Trace

CONTEXT = new_context()
CHOSEN = "qflow-fold, qflow-solve, qflow-schedule{clock-ns=4}, qflow-size-fifos"
FRAMES = 8
QUICK = range(25)
ALL = range(500)
PLANTED = range(100, 112)
DEADLOCKED = (100, 112, 118, 122, 125)
FEATURES = (
    "fork",
    "join",
    "serialise",
    "deserialise",
    "folded",
    "folded beats",
    "parallel",
    "input in beats",
    "detour of a frame",
    "windows",
    "extremum",
)


def build(seed: int) -> tuple[StreamGraph, ModuleOp]:
    """Return a graph of 1 to 12 operations, and its module with depths chosen."""
    graph = StreamGraph(seed, 1 + seed % 12)
    module = ModuleOp([graph.graph])
    run(module, CHOSEN)
    return graph, module


def run(module: ModuleOp, passes: str) -> None:
    PassPipeline.parse_spec(PASSES, passes.replace(", ", ",")).apply(CONTEXT, module)


def levels_of(module: ModuleOp, *, rtl: bool) -> dict[str, Level]:
    """Return the levels of a design whose depths are chosen."""
    dataflow, affine = module.clone(), module.clone()
    run(affine, "qflow-to-affine, check-schedule")
    hardware = affine.clone()
    run(hardware, "affine-to-hw")
    found = {
        "qflow": open_level("qflow", dataflow),
        "affine": open_level("affine", affine),
        "hw": open_level("hw", hardware),
    }
    if rtl:
        pinout = found["hw"]
        assert isinstance(pinout, HardwareLevel)
        found["rtl"] = RtlLevel(emit_systemverilog(hardware), pinout.pinout, None)
    return found


def assert_same(expected: Trace, found: Trace, what: str) -> None:
    assert expected.outputs.keys() == found.outputs.keys()
    for name, signal in expected.outputs.items():
        other = found.outputs[name]
        assert np.array_equal(signal.values, other.values), f"{what}: values of {name}"
        assert np.array_equal(signal.cycles, other.cycles), f"{what}: cycles of {name}"
    for name, cycles in expected.accepted.items():
        assert np.array_equal(cycles, found.accepted[name]), f"{what}: acceptance at {name}"


def check(seed: int, *, rtl: bool) -> None:
    graph, module = build(seed)
    stimuli = [graph.stimulus(FRAMES, stalls=stalls) for stalls in (False, True)]
    levels = levels_of(module, rtl=rtl)
    for stimulus in stimuli:
        expected = levels["qflow"].simulate(stimulus, [])
        assert all(len(signal.values) for signal in expected.outputs.values())
        for name, level in levels.items():
            assert_same(expected, level.simulate(stimulus, []), f"seed {seed}, {name}")


def test_the_graphs_hold_what_is_to_be_tested() -> None:
    found = Counter(
        feature for seed in QUICK for feature in StreamGraph(seed, 1 + seed % 12).features
    )
    assert [feature for feature in FEATURES if found[feature] < 3] == []


@pytest.mark.parametrize("seed", QUICK)
def test_all_levels_and_verilator_agree(seed: int, require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    check(seed, rtl=True)


@pytest.mark.full
@pytest.mark.parametrize("seed", [seed for seed in ALL if seed not in QUICK])
def test_all_levels_and_verilator_agree_on_many(
    seed: int, require_tool: Callable[[str], str]
) -> None:
    require_tool("verilator")
    check(seed, rtl=True)


# --- FIFOs that are too shallow --------------------------------------------------------


def outcome(level: Level, stimulus: Stimulus) -> Trace | None:
    """Return the trace; None where nothing moves any more though beats are left."""
    try:
        return level.simulate(stimulus, [])
    except FastmlError as error:
        if error.code != "FML-DEADLOCK":
            raise
        return None


def end_of(trace: Trace) -> Sequence[int]:
    return [int(signal.cycles.max()) for signal in trace.outputs.values()]


def planted(seed: int, *, rtl: bool) -> Counter[str]:
    """Take one slot from each FIFO in turn; return what came of it."""
    graph, module = build(seed)
    stimulus = graph.stimulus(3 * FRAMES, stalls=False)
    before = end_of(open_level("qflow", module.clone()).simulate(stimulus, []))
    found = Counter[str]()
    (design,) = [op for op in module.ops if isinstance(op, GraphOp)]
    for fifo in design.fifos:
        depth = fifo.depth.data
        if depth == 1:
            continue
        fifo.depth = IntAttr(depth - 1)
        levels = levels_of(module, rtl=rtl and not found)
        expected = outcome(levels.pop("qflow"), stimulus)
        kind = "deadlock" if expected is None else "slower"
        if expected is not None:
            after = end_of(expected)
            later = [a - b for a, b in zip(after, before, strict=True)]
            assert max(later) > 0, f"seed {seed}: '{fifo.edge.data}' need not be {depth} deep"
        for name, level in levels.items():
            seen = outcome(level, stimulus)
            assert (seen is None) == (expected is None), f"seed {seed}, {name}: {kind}"
            if expected is not None and seen is not None:
                assert_same(expected, seen, f"seed {seed}, {name}")
        found[kind] += 1
        fifo.depth = IntAttr(depth)
    return found


def test_one_slot_less_slows_or_stops_prediction_and_hardware_alike() -> None:
    found = Counter[str]()
    for seed in PLANTED:
        found += planted(seed, rtl=False)
    assert found["deadlock"] >= 1
    assert found["slower"] >= 20


def deadlocks(seed: int, *, rtl: bool) -> int:
    """Make each deep FIFO a single slot; where that stops the design, find the least depth.

    The prediction says how deep the FIFO must be: at one slot less the prediction and the
    hardware stop, at that depth neither does. Returns how many such FIFOs there are.
    """
    graph, module = build(seed)
    stimulus = graph.stimulus(FRAMES, stalls=False)
    (design,) = [op for op in module.ops if isinstance(op, GraphOp)]
    found = 0
    for fifo in design.fifos:
        deep, fifo.depth = fifo.depth, IntAttr(1)
        needed = shortage(module, stimulus)
        if needed is not None:
            assert (needed.fifo, needed.has) == (fifo.edge.data, 1)
            assert 1 < needed.needs <= deep.data
            found += 1
            for depth in (needed.needs - 1, needed.needs):
                fifo.depth = IntAttr(depth)
                for name, level in levels_of(module, rtl=rtl).items():
                    stopped = outcome(level, stimulus) is None
                    assert stopped == (depth < needed.needs), f"seed {seed}, {name}, depth {depth}"
        fifo.depth = deep
    return found


def shortage(module: ModuleOp, stimulus: Stimulus) -> Shortage | None:
    """Return the FIFO that stops a design, and what it needs."""
    try:
        open_level("qflow", module.clone()).simulate(stimulus, [])
    except DeadlockError as error:
        return error.shortages[0]
    return None


def test_deadlocks_are_found_and_their_cure_is_right() -> None:
    assert sum(deadlocks(seed, rtl=False) for seed in DEADLOCKED) >= 4


@pytest.mark.full
@pytest.mark.parametrize("seed", range(200, 240))
def test_one_slot_less_in_verilator(seed: int, require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    planted(seed, rtl=True)
    deadlocks(seed, rtl=True)
