"""Windows, orders and reductions of tokens: every level gives the same in the same cycles.

Each condition on which the hardware of a line buffer rests is broken once, which must show.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from line_buffer_graphs import (
    EDGE,
    Case,
    assert_same,
    changes,
    levels_of,
    line,
    lowered,
    orders,
    windows,
)
from xdsl.dialects.builtin import IntAttr
from xdsl.ir import Operation, SSAValue

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.qflow_windows import ReorderOp, WindowOp
from fastml.dialects.token_flow import DeadlockError
from fastml.lowering.hw_builder import Wire
from fastml.lowering.line_buffer import LineBufferBuilder
from fastml.runtime.verilator import lint
from fastml.runtime.yosys import synthesise

FRAMES = 3


def check(case: Case) -> None:
    """Compare the levels back to back, under stalls, and after a reset amid frames."""
    levels = levels_of(case.module())
    assert_same(levels, case.stimulus(FRAMES, 1, busy=False))
    assert_same(levels, case.stimulus(FRAMES, 2, busy=True, restart=True))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows())
def test_windows(case: Case):
    check(case)


@settings(max_examples=25, deadline=None)
@given(orders())
def test_orders(case: Case):
    check(case)


@settings(max_examples=25, deadline=None)
@given(changes())
def test_reductions_and_changes_of_beats(case: Case):
    check(case)


@pytest.mark.full
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(windows() | orders() | changes())
def test_many(case: Case):
    check(case)


Axis: TypeAlias = tuple[int, int, int, int, int]
"""Outputs, kernel, stride, dilation and pad."""


def window(
    size: tuple[int, int],
    rows: Axis,
    cols: Axis,
    *,
    elements: int = 2,
    fill: int = 3,
    forks: int = 1,
    deeper: int = 0,
) -> Case:
    """Return a window."""
    tables = [line(*numbers, limit) for numbers, limit in zip((rows, cols), size, strict=True)]
    constant = np.full(elements, fill)

    def make(value: SSAValue) -> Operation:
        return WindowOp(EDGE, value, size, tables[0], tables[1], constant)

    return Case(size, elements, -8, make, "window", deeper, forks)


def order(size: tuple[int, int], index: Sequence[int]) -> Case:
    def make(value: SSAValue) -> Operation:
        return ReorderOp(EDGE, value, np.array(index))

    return Case(size, 2, -8, make, "order")


SAME = window((5, 6), (5, 3, 1, 1, 1), (6, 3, 1, 1, 1))
"""The usual window of three by three with pads of one."""
PADDED = window((3, 4), (7, 2, 1, 2, 4), (9, 3, 1, 1, 5), forks=2)
"""Pads that are wider than the window."""
STRIDED = window((7, 9), (3, 3, 2, 1, 0), (4, 2, 2, 3, 1), deeper=11)
LINE = window((1, 12), (1, 1, 1, 1, 0), (6, 5, 2, 1, 2))
NEAREST = window((4, 1), (4, 1, 1, 1, 0), (4, 1, 1, 1, 0))
TRANSPOSED = order((4, 6), np.arange(24).reshape(4, 6).T.reshape(-1).tolist())
FIXED = {"same": SAME, "padded": PADDED, "strided": STRIDED, "line": LINE, "order": TRANSPOSED}


SLOW = pytest.mark.full


@pytest.mark.parametrize(
    "name", ["same", "padded", "order", *(pytest.param(n, marks=SLOW) for n in ("strided", "line"))]
)
def test_verilator(name: str, require_tool: Callable[[str], str]):
    require_tool("verilator")
    case = FIXED[name]
    levels = levels_of(case.module(), rtl=True)
    assert_same(levels, case.stimulus(FRAMES, 3, busy=True, restart=True))
    assert_same(levels, case.stimulus(FRAMES, 4, busy=False))


@pytest.mark.full
@settings(max_examples=25, deadline=None)
@given(windows() | orders() | changes())
def test_many_in_verilator(case: Case):
    assert_same(levels_of(case.module(), rtl=True), case.stimulus(FRAMES, 5, busy=True))


# -- what is checked can fail ----------------------------------------------------------------


def _less_needed(builder: LineBufferBuilder) -> None:
    """Look for one token less in the first row that is not the first of all."""
    needed = builder.needed.copy()
    needed[len(needed) // 2 :] -= 1
    builder.needed = np.maximum.accumulate(needed)


def _no_mask(builder: LineBufferBuilder, number: int) -> Wire:
    return builder.netlist.constant(1, 1)


def _no_rotation(builder: LineBufferBuilder, origin: Wire, number: int) -> Wire:
    rows = np.maximum(builder.access.rows.array[:, number], 0) % builder.reads.banks
    return builder.counter.by_row(rows.tolist(), origin.width)


def _frees_late(builder: LineBufferBuilder, width: int) -> Wire:
    return builder.counter.table(np.roll(builder.access.steps.consumes, 1), width)


def _comes_late(builder: LineBufferBuilder, rows: Sequence[Wire]) -> Wire:
    return builder.netlist.delay(WINDOW(builder, rows), 1)


WINDOW = LineBufferBuilder.window
MUTANTS: dict[str, tuple[str, Callable[..., object]]] = {
    "mask of columns": ("inside_column", _no_mask),
    "mask of rows": ("inside_row", _no_mask),
    "rotation of banks": ("bank", _no_rotation),
    "free slots": ("freed", _frees_late),
    "latency": ("window", _comes_late),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_broken_conditions_show(what: str, monkeypatch: pytest.MonkeyPatch):
    case = window((5, 6), (5, 3, 1, 1, 1), (6, 3, 1, 1, 1), deeper=1)
    monkeypatch.setattr(LineBufferBuilder, *MUTANTS[what])
    levels = levels_of(case.module())
    with pytest.raises((AssertionError, FastmlError)):
        assert_same(levels, case.stimulus(FRAMES, 6, busy=True))


def test_steps_that_fire_too_early_show(monkeypatch: pytest.MonkeyPatch):
    build = LineBufferBuilder.build

    def hasty(builder: LineBufferBuilder, name: str) -> object:
        _less_needed(builder)
        return build(builder, name)

    monkeypatch.setattr(LineBufferBuilder, "build", hasty)
    levels = levels_of(SAME.module())
    with pytest.raises((AssertionError, FastmlError)):
        assert_same(levels, SAME.stimulus(FRAMES, 7, busy=True))


@pytest.mark.parametrize("name", FIXED)
def test_one_slot_less_stops_or_slows_it(name: str):
    """A FIFO that is too shallow stops the prediction and the hardware in the same cycle."""
    case = FIXED[name]
    module = case.module()
    (graph,) = (op for op in module.ops if isinstance(op, qflow.GraphOp))
    fifo, *_ = (op for op in graph.body.block.ops if isinstance(op, qflow.FifoOp))
    fifo.depth = IntAttr(fifo.depth.data - 1 - case.deeper)
    levels = levels_of(module)
    stimulus = case.stimulus(FRAMES, 8, busy=False)
    try:
        levels["qflow"].simulate(stimulus, [])
    except DeadlockError as error:
        with pytest.raises(FastmlError, match=f"after cycle {error.cycle}:") as caught:
            levels["hw"].simulate(stimulus, [])
        assert caught.value.code == "FML-DEADLOCK"
    else:
        assert_same(levels, stimulus)


# -- what tools make of it -------------------------------------------------------------------


@pytest.mark.parametrize("name", FIXED)
def test_lint(name: str, require_tool: Callable[[str], str]):
    require_tool("verilator")
    _, hardware = lowered(FIXED[name].module())
    lint(emit_systemverilog(hardware), "flow")


@pytest.mark.parametrize(
    ("width", "elements", "blocks"),
    [(256, 16, True), pytest.param(32, 4, False, marks=SLOW)],
    ids=["block", "LUT"],
)
def test_memories_are_memories(
    width: int, elements: int, blocks: bool, require_tool: Callable[[str], str]
):
    require_tool("yosys")
    case = window((4, width), (4, 3, 1, 1, 1), (width, 3, 1, 1, 1), elements=elements, fill=0)
    _, hardware = lowered(case.module())
    cells = synthesise(emit_systemverilog(hardware), "flow")
    token = elements * 4
    assert (cells.bram > 0) == blocks
    # registers: windows that slide, their mask, counters; no line
    assert cells.ff < 3 * 3 * token * 2 + 200
