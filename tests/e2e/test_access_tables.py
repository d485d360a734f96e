"""The tables of a window and the loops of its function: neither can change without the other."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from line_buffer_graphs import CONTEXT, Case, line, lowered, orders, run, windows
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    DictionaryAttr,
    ModuleOp,
    TensorType,
    i64,
)
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.parser import Parser

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.qflow_windows import WindowOp

TABLES = (directives.WINDOW, directives.REORDER)


def changed(module: ModuleOp, table: int, entry: int, by: int) -> str:
    """Change one number of one table; return which."""
    (function,) = (
        op
        for op in module.ops
        if isinstance(op, FuncOp) and any(t in op.attributes for t in TABLES)
    )
    key = next(t for t in TABLES if t in function.attributes)
    tables = function.attributes[key]
    assert isinstance(tables, DictionaryAttr)
    names = [name for name in tables.data if name != "fill"]
    name = names[table % len(names)]
    dense = tables.data[name]
    assert isinstance(dense, DenseIntOrFPElementsAttr)
    values = np.broadcast_to(np.array(list(dense.get_values())), (int(np.prod(dense.get_shape())),))
    values = values.copy()
    values[entry % len(values)] += by
    new = DenseIntOrFPElementsAttr.from_list(TensorType(i64, dense.get_shape()), values.tolist())
    function.attributes[key] = DictionaryAttr(dict(tables.data) | {name: new})
    return f"{name}[{entry % len(values)}] + {by}"


@settings(max_examples=50, deadline=None)
@given(windows() | orders(), st.integers(0, 2), st.integers(0, 99), st.sampled_from([-1, 1, 2]))
def test_a_table_that_is_changed_is_refused(case: Case, table: int, entry: int, by: int):
    module, _ = lowered(case.module())
    changed(module, table, entry, by)
    with pytest.raises(FastmlError) as caught:
        run(module, "check-schedule")
    assert caught.value.code == "FML-SCHEDULE"


def _window(value: SSAValue) -> Operation:
    rows, cols = line(4, 3, 1, 1, 1, 4), line(5, 2, 1, 2, 1, 5)
    return WindowOp("window", value, (4, 5), rows, cols, np.array([7, -9]))


BODY: dict[str, Callable[[str], str]] = {
    "a row further": lambda text: text.replace("(d0 + d1) + -1", "(d0 + d1) + 0", 1),
    "another order of columns": lambda text: re.sub(r"d1 \* 2", "d1 * 1", text, count=1),
    "one column fewer": lambda text: text.replace("= 0 to 5 {", "= 0 to 4 {", 1),
    "both conditions or one": lambda text: re.sub(
        r"arith.select %(\d+), %(\d+), %(\d+) : index", r"arith.select %\1, %\2, %\2 : index", text
    ),
    "another constant": lambda text: text.replace(
        "dense<[7, -9]> : tensor<2xi5>", "dense<7> : tensor<2xi5>"
    ),
    "another extension": lambda text: text.replace("arith.extsi", "arith.extui"),
}


@pytest.mark.parametrize("what", BODY)
def test_a_body_that_is_changed_is_refused(what: str):
    module, _ = lowered(Case((4, 5), 2, -8, _window, "window").module())
    text = str(module)
    mutant = BODY[what](text)
    assert mutant != text
    with pytest.raises(FastmlError) as caught:
        run(Parser(CONTEXT, mutant).parse_module(), "check-schedule")
    assert caught.value.code == "FML-SCHEDULE"
