"""Numbers of steps: what a counter gives is what a list says, and it is smaller."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, UnknownLoc

from fastml.lowering.hw_builder import Kind, Netlist
from fastml.lowering.hw_materialise import Output, live_wires, materialise
from fastml.lowering.step_counter import StepCounter, columns_of
from fastml.runtime.hw import simulate

WIDTH = 7


def numbers_of(counter: StepCounter, numbers: Sequence[int], fire: list[int]) -> list[int]:
    """Return the number that comes next in each cycle, after a reset in cycle 0."""
    netlist = counter.netlist
    enable = netlist.input("fire", 1)
    found = counter.table(np.array(numbers), WIDTH)
    last = counter.count(enable)
    outputs = [Output("number", found), Output("last", last)]
    module = materialise(netlist, "steps", [enable], outputs, clocked=True, location=UnknownLoc())
    top = ModuleOp([module])
    top.verify()
    reset = [1] + [0] * (len(fire) - 1)
    seen = simulate(top, "steps", {"rst": reset, "fire": fire}, len(fire))
    ends = [int(bit) for bit in seen["last"]]
    steps = np.cumsum([0, *fire[1:]])[:-1]
    count = len(numbers)
    pairs = zip(fire[1:], steps.tolist(), strict=True)
    assert ends[1:] == [int(f and step % count == count - 1) for f, step in pairs]
    return [int(number) for number in seen["number"]][1:]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.integers(1, 30),
    st.lists(st.integers(0, 1), min_size=40, max_size=80),
)
def test_numbers_follow_the_steps(numbers: list[int], columns: int, fire: list[int]):
    counter = StepCounter(Netlist(), len(numbers), min(columns, len(numbers)))
    found = numbers_of(counter, numbers, [0, *fire])
    steps = np.cumsum([0, *fire])[:-1] % len(numbers)
    assert found == [numbers[step] for step in steps]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 2), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_rows_of_few_kinds(kinds: list[list[int]], order: list[int], tail: int):
    """Also where the last row is not full."""
    rows = [kinds[k % len(kinds)] for k in order]
    numbers = [*np.array(rows).reshape(-1).tolist(), *kinds[0][:tail]]
    counter = StepCounter(Netlist(), len(numbers), 4)
    fire = [0] + [1] * (2 * len(numbers) + 3)
    found = numbers_of(counter, numbers, fire)
    assert found == [numbers[k % len(numbers)] for k in range(len(found))]


def test_the_shortest_row_is_found():
    rows = np.tile(np.arange(16), 20)
    assert columns_of([rows, np.zeros_like(rows)]) == 16
    assert columns_of([np.arange(7)]) == 7


@pytest.mark.parametrize("size", [64, 256])
def test_usual_numbers_take_no_table(size: int):
    """Few comparisons stand for a number of each pixel."""
    netlist = Netlist()
    counter = StepCounter(netlist, size * size + 1, size)
    rows = np.ones((size, size), np.int64)
    rows[0], rows[-1, -1] = 0, size
    found = counter.table(np.append(rows.reshape(-1), 5), 12)
    counter.count(netlist.input("fire", 1))
    wires = live_wires(netlist, [found])
    assert len(wires) < 60
    tables = [wire for wire in wires if wire.kind is Kind.LOOKUP]
    assert not tables
