"""The simulator's two ways to compute agree, operation by operation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastml.runtime.hw_ops import ELEMENTARY, INT64, Interval, Vector

FEW = settings(max_examples=20, deadline=None)
ARITY = {"parity": 1, "mux": 3}
SHIFTS = {"shl", "shr"}
DIVISIONS = {"div", "mod"}


def operands_of(name: str, data: st.DataObject, bits: int) -> list[list[int]]:
    """Draw columns of operands that the compiler could pass to an operation."""
    number = st.integers(-(1 << bits), (1 << bits) - 1)
    columns = [[data.draw(number) for _ in range(4)] for _ in range(ARITY.get(name, 2))]
    if name in SHIFTS:
        columns[1] = [data.draw(st.integers(0, 20)) for _ in range(4)]
    if name in DIVISIONS:
        columns[1] = [value or 1 for value in columns[1]]
    if name == "parity":
        columns[0] = [abs(value) for value in columns[0]]
    if name == "mux":
        columns[0] = [value & 1 for value in columns[0]]
    return columns


def vectors(columns: list[list[int]], dtype: type) -> list[Vector]:
    return [np.array(column, dtype) for column in columns]


@pytest.mark.parametrize("name", ELEMENTARY)
@FEW
@given(data=st.data(), bits=st.sampled_from([1, 5, 30]))
def test_vectors_equal_scalars(name: str, data: st.DataObject, bits: int):
    op = ELEMENTARY[name]
    columns = operands_of(name, data, bits)
    expected = [op.scalar(*row) for row in zip(*columns, strict=True)]
    assert op.vector(*vectors(columns, np.int64)).tolist() == expected
    assert op.vector(*vectors(columns, object)).tolist() == expected


@pytest.mark.parametrize("name", ELEMENTARY)
@FEW
@given(data=st.data())
def test_wide_vectors_equal_scalars(name: str, data: st.DataObject):
    op = ELEMENTARY[name]
    columns = operands_of(name, data, 100)
    expected = [op.scalar(*row) for row in zip(*columns, strict=True)]
    assert op.vector(*vectors(columns, object)).tolist() == expected


@pytest.mark.parametrize("name", ELEMENTARY)
@FEW
@given(data=st.data(), bits=st.sampled_from([1, 6, 63, 100]))
def test_results_lie_in_the_interval(name: str, data: st.DataObject, bits: int):
    op = ELEMENTARY[name]
    columns = operands_of(name, data, bits)
    intervals: list[Interval] = [(min(column), max(column)) for column in columns]
    low, high = op.interval(*intervals)
    for row in zip(*columns, strict=True):
        assert low <= op.scalar(*row) <= high


@pytest.mark.parametrize("name", ["add", "sub", "mul", "shl"])
@FEW
@given(data=st.data())
def test_sums_and_products_are_exact_modulo_the_word(name: str, data: st.DataObject):
    op = ELEMENTARY[name]
    columns = operands_of(name, data, 63)
    if name == "shl":
        columns[1] = [value * 3 for value in columns[1]]
    exact = [op.scalar(*row) for row in zip(*columns, strict=True)]
    found = op.vector(*vectors(columns, np.int64)).tolist()
    assert [value & (2**64 - 1) for value in found] == [v & (2**64 - 1) for v in exact]
    assert all(INT64[0] <= value <= INT64[1] for value in found)
