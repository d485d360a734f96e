"""The meaning of scalar operations, against definitions on Python integers."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType, i64
from xdsl.ir import Operation
from xdsl.utils.test_value import create_ssa_value

from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.arith import SEMANTICS, WORD, function_of, hold


def signed(value: int, width: int) -> int:
    return (value & ((1 << width) - 1)) - ((value >> (width - 1) & 1) << width)


def low(value: int, width: int) -> int:
    return value & ((1 << width) - 1)


# Each operation by its definition, on bit patterns read as unsigned; the width is that of
# the operands. ``None``: the result is undefined.
Definition = Callable[[int, int, int], int | None]
BINARY: dict[str, Definition] = {
    "addi": lambda a, b, w: low(a + b, w),
    "subi": lambda a, b, w: low(a - b, w),
    "muli": lambda a, b, w: low(a * b, w),
    "andi": lambda a, b, w: a & b,
    "ori": lambda a, b, w: a | b,
    "xori": lambda a, b, w: a ^ b,
    "minsi": lambda a, b, w: low(min(signed(a, w), signed(b, w)), w),
    "maxsi": lambda a, b, w: low(max(signed(a, w), signed(b, w)), w),
    "minui": lambda a, b, w: min(a, b),
    "maxui": lambda a, b, w: max(a, b),
    "shli": lambda a, b, w: low(a << b, w) if b < w else None,
    "shrsi": lambda a, b, w: low(signed(a, w) >> b, w) if b < w else None,
    "shrui": lambda a, b, w: a >> b if b < w else None,
}
COMPARE: dict[str, Definition] = {
    "eq": lambda a, b, w: int(a == b),
    "ne": lambda a, b, w: int(a != b),
    "slt": lambda a, b, w: int(signed(a, w) < signed(b, w)),
    "sle": lambda a, b, w: int(signed(a, w) <= signed(b, w)),
    "sgt": lambda a, b, w: int(signed(a, w) > signed(b, w)),
    "sge": lambda a, b, w: int(signed(a, w) >= signed(b, w)),
    "ult": lambda a, b, w: int(a < b),
    "ule": lambda a, b, w: int(a <= b),
    "ugt": lambda a, b, w: int(a > b),
    "uge": lambda a, b, w: int(a >= b),
}


OPERATIONS = {operation.name.removeprefix("arith."): operation for operation in SEMANTICS}


def operation_of(name: str, operands: int, source: int, target: int) -> Operation:
    predicates = [*COMPARE]
    properties = (
        {"predicate": IntegerAttr(predicates.index(name), i64)} if name in predicates else {}
    )
    return OPERATIONS["cmpi" if name in predicates else name].create(
        operands=[create_ssa_value(IntegerType(source)) for _ in range(operands)],
        result_types=[IntegerType(target)],
        properties={**properties},
    )


def apply(name: str, source: int, target: int, *columns: Sequence[int]) -> list[int]:
    """Apply an operation to unsigned values; return its results as they are held."""
    held = [hold(np.array(column, dtype=object), source) for column in columns]
    result = function_of(operation_of(name, len(columns), source, target))(*held)
    assert result.dtype == (np.int64 if target <= WORD else object)
    return result.tolist()


def binary(name: str, width: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    target = 1 if name in COMPARE else width
    return apply(name, width, target, *zip(*pairs, strict=True))


def defined_as(name: str, a: int, b: int, width: int) -> int | None:
    """Return the result as it is held, by definition."""
    value = {**BINARY, **COMPARE}[name](a, b, width)
    return None if value is None else signed(value, 1 if name in COMPARE else width)


def test_every_operation_is_defined_here():
    others = {"extsi", "extui", "trunci", "cmpi", "select", "index_cast"}
    assert set(OPERATIONS) == {*BINARY, *others}


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("name", [*BINARY, *COMPARE])
def test_binary_operations_exhaustively(name: str, width: int):
    values = range(1 << width)
    pairs = [(a, b) for a in values for b in values]
    wanted = {pair: defined_as(name, *pair, width) for pair in pairs}
    defined = {pair: value for pair, value in wanted.items() if value is not None}
    assert binary(name, width, list(defined)) == list(defined.values())
    for pair in wanted.keys() - defined.keys():
        with pytest.raises(FastmlError, match=f"shifts i{width} by {pair[1]} bits"):
            binary(name, width, [pair])


@settings(deadline=None)
@given(
    st.sampled_from([*BINARY, *COMPARE]),
    st.sampled_from([31, 62, 63, 64, 65, 100]),
    st.data(),
)
def test_binary_operations_at_any_width(name: str, width: int, data: st.DataObject):
    edge = [0, 1, (1 << (width - 1)) - 1, 1 << (width - 1), (1 << width) - 1]
    value = st.sampled_from(edge) | st.integers(0, (1 << width) - 1)
    amount = st.integers(0, width - 1) if name.startswith("sh") else value
    pairs = data.draw(st.lists(st.tuples(value, amount), min_size=1, max_size=5))
    assert binary(name, width, pairs) == [defined_as(name, a, b, width) for a, b in pairs]


CASTS = [
    ("extsi", 1, 2, signed),
    ("extsi", 5, 64, signed),
    ("extsi", 5, 90, signed),
    ("extsi", 64, 65, signed),
    ("extsi", 70, 90, signed),
    ("extui", 1, 2, low),
    ("extui", 5, 64, low),
    ("extui", 63, 64, low),
    ("extui", 64, 65, low),
    ("extui", 5, 90, low),
    ("extui", 70, 90, low),
    ("trunci", 6, 5, low),
    ("trunci", 64, 1, low),
    ("trunci", 65, 64, low),
    ("trunci", 90, 5, low),
    ("trunci", 90, 70, low),
]


@pytest.mark.parametrize(("name", "source", "target", "define"), CASTS)
def test_width_changes(name: str, source: int, target: int, define: Callable[[int, int], int]):
    generator = np.random.default_rng(0)
    values = [0, 1, (1 << source) - 1, 1 << (source - 1), (1 << (source - 1)) - 1]
    values += [int.from_bytes(generator.bytes(12), "little") % (1 << source) for _ in range(50)]
    wanted = [
        signed(define(v, source if name.startswith("ext") else target), target) for v in values
    ]
    assert apply(name, source, target, values) == wanted


def test_what_has_no_meaning_here():
    a = create_ssa_value(IntegerType(8))
    wide = arith.AddiOp(a, a)
    wide.overflow_flags = arith.IntegerOverflowAttr([arith.IntegerOverflowFlag.NSW])
    with pytest.raises(FastmlError, match="overflow flags are not supported"):
        function_of(wide)
    with pytest.raises(FastmlError, match="integers of at least one bit"):
        function_of(operation_of("addi", 2, 0, 0))
    bad = operation_of("eq", 2, 8, 1)
    bad.properties["predicate"] = IntegerAttr(10, i64)
    with pytest.raises(FastmlError, match="unknown predicate 10"):
        function_of(bad)
