"""Processes of the affine level that read tokens of a frame at random, as attributes say it.

``fastml.window`` and ``fastml.reorder`` on the function of a process hold the tables of the
``qflow`` operation that it stands for. Time and hardware follow the tables, values the body;
:mod:`fastml.lowering.check_access` proves that both say the same.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    DictionaryAttr,
    TensorType,
    i64,
)
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Block, Operation
from xdsl.utils.exceptions import VerifyException

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.array import ConstantArray, Integers
from fastml.dialects.channel import ChannelType
from fastml.dialects.elements import Elements, ranges_of
from fastml.dialects.qflow_windows import (
    AccessOp,
    Columns,
    ReorderOp,
    Steps,
    Table,
    WindowOp,
    WindowShape,
    columns_of,
    steps_of,
    window_shape,
)

_KEYS = {directives.WINDOW: ("size", "rows", "cols", "fill"), directives.REORDER: ("index", "fill")}
_NONE = ConstantArray(np.zeros((0, 0), np.int64))


@dataclass(frozen=True)
class LineAccess:
    """What the steps of a process read: a window's rows and columns, or an index."""

    elements: Elements
    """Of a token."""
    beats: int
    """Tokens of a frame."""
    fill: ConstantArray
    """What each element is where nothing is read."""
    height: int = 0
    width: int = 0
    rows: ConstantArray = _NONE
    cols: ConstantArray = _NONE
    index: ConstantArray = _NONE

    @cached_property
    def op(self) -> AccessOp:
        """The operation of ``qflow`` that the process stands for."""
        lows, highs = (np.array(bound, object) for bound in ranges_of(self.elements))
        channel = ChannelType.of((len(self.elements),), lows, highs, beats=self.beats)
        (source,) = Block(arg_types=[channel]).args
        if not self.is_window:
            return ReorderOp("", source, self.index.array, self.fill.array)
        tables = self.rows.array, self.cols.array, self.fill.array
        return WindowOp("", source, (self.height, self.width), *tables)

    @property
    def is_window(self) -> bool:
        """Whether it is a window that slides over an image."""
        return self.height > 0

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the window; 1 by 1 of a reordering."""
        if not self.is_window:
            return 1, 1
        return self.rows.array.shape[1], self.cols.array.shape[1]

    @cached_property
    def steps(self) -> Steps:
        """What each step needs, consumes and produces."""
        return steps_of(self.op)

    @cached_property
    def shape(self) -> WindowShape | None:
        """How the steps of a window are arranged."""
        return window_shape(self.op) if isinstance(self.op, WindowOp) else None

    @cached_property
    def row_line(self) -> Columns | None:
        """The line that the rows of a window lie on, if they do."""
        return columns_of(self.rows, self.height) if self.is_window else None

    @property
    def results(self) -> int:
        """Tokens that a frame gives."""
        if not self.is_window:
            return len(self.index.array)
        return len(self.rows.array) * len(self.cols.array)

    @property
    def fills(self) -> bool:
        """Whether the constant is anywhere in the result."""
        return any(np.any(t.array < 0) for t in (self.rows, self.cols, self.index))

    def tokens(self, start: int, stop: int) -> Table:
        """Return the input token of each tap of some result tokens, or -1."""
        return self.op.tokens(start, stop)


def access_attributes(op: AccessOp) -> dict[str, Attribute]:
    """Return the attribute of the function that an operation becomes."""
    match op:
        case WindowOp():
            tables = (op.size, op.rows, op.cols, op.fill)
            key = directives.WINDOW
        case ReorderOp():
            tables, key = (op.index, op.fill), directives.REORDER
        case _:
            raise AssertionError(op.name)
    entries = (_dense(table.integers, op) for table in tables)
    return {key: DictionaryAttr(dict(zip(_KEYS[key], entries, strict=True)))}


def access_of(function: FuncOp, elements: Elements, beats: int) -> LineAccess | None:
    """Return the access of a process to its input of ``beats`` tokens a frame, if it has one.

    Raise ``FML-SCHEDULE`` where the attribute makes no sense.
    """
    found = [key for key in _KEYS if key in function.attributes]
    if not found:
        return None
    key, *others = found
    attribute = function.attributes[key]
    assert isinstance(attribute, DictionaryAttr)
    if others or set(attribute.data) != set(_KEYS[key]):
        raise _refuse(f"'{key}' alone holds {', '.join(_KEYS[key])}", function)
    tables = {name: _table(name, table, function) for name, table in attribute.data.items()}
    sizes = tables.pop("size").array.reshape(-1).tolist() if key == directives.WINDOW else [0, 0]
    if len(sizes) != 2 or (key == directives.WINDOW and min(sizes) < 1):
        raise _refuse("'size' holds a height and a width", function)
    access = LineAccess(elements, beats, height=sizes[0], width=sizes[1], **tables)
    try:
        access.op.verify()
    except (VerifyException, IndexError, ValueError) as error:
        raise _refuse(f"'{key}': {error}", function) from error
    return access


def _refuse(message: str, at: Operation) -> FastmlError:
    return FastmlError(message, at, code="FML-SCHEDULE")


def _dense(table: Integers, op: Operation) -> DenseIntOrFPElementsAttr:
    if table.dtype == object:
        message = "constants beyond 64 bits cannot be filled in"
        raise FastmlError(message, op, code="FML-RANGE")
    kind = TensorType(i64, table.shape)
    return DenseIntOrFPElementsAttr.from_list(kind, table.reshape(-1).tolist())


def _table(name: str, attribute: Attribute, at: Operation) -> ConstantArray:
    if not isinstance(attribute, DenseIntOrFPElementsAttr) or attribute.get_element_type() != i64:
        raise _refuse(f"'{name}' is a dense tensor of i64", at)
    shape = attribute.get_shape()
    values = np.array(list(attribute.get_values()), np.int64)
    return ConstantArray(np.broadcast_to(values, (prod(shape),)).reshape(shape))
