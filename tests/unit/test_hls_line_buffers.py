"""Windows and orders of tokens as loops that take them in order: plans, bodies, FIFOs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects import affine, memref, test
from xdsl.dialects.builtin import AffineMapAttr, ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue
from xdsl.ir.affine import AffineDimExpr, AffineMap

sys.path.insert(0, str(Path(__file__).parent))

from token_loops import TokenRun

from fastml.compiler.emit.hls.flavours import FLAVOURS
from fastml.compiler.emit.hls.program import print_program
from fastml.compiler.modules import parse_module
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.array import integer_array
from fastml.dialects.channel import ChannelType, Protocol, channel_of
from fastml.dialects.elements import Elements
from fastml.dialects.line_access import access_attributes
from fastml.dialects.qflow_windows import (
    AccessOp,
    Columns,
    ReorderOp,
    WindowOp,
    steps_of,
)
from fastml.lowering.hls_line_buffers import HlsLineBuffers

Table = NDArray[np.int64]
Make: TypeAlias = Callable[[SSAValue], AccessOp]

WINDOWED = Columns(1, 1, 1).table(6, 3, 6)
"""An axis of six positions under a window of three, with a pad on both sides."""


def channel(beats: int, elements: int = 1, low: int = -8, high: int = 7) -> ChannelType:
    lows, highs = (np.full(elements, bound) for bound in (low, high))
    plain = ChannelType.of((elements,), integer_array(lows), integer_array(highs), beats=beats)
    return plain.with_protocol(Protocol.RV)


def argument(beats: int, elements: str, port: str, way: str, extra: str = "") -> str:
    layout = Elements.parse(elements)
    shape = f"{beats}x{len(layout)}" if beats > 1 else str(len(layout))
    return (
        f"%{port} : memref<{shape}xi{max(layout.container[0], 1)}> {{fastml.port = "
        f'"{port}", fastml.elements = "{elements}", fastml.direction = "{way}"{extra}}}'
    )


def lowered(make: Make, source: ChannelType, depth: int = 100) -> ModuleOp:
    """Return a design of one process at the affine level, whose body is still empty."""
    op = make(test.TestOp(result_types=[source]).res[0])
    result = channel_of(op.result)
    ends = [(source, "x", "in", depth), (result, "y", "out", 2)]

    def arguments(extra: str) -> str:
        return ", ".join(
            argument(kind.beats.data, str(kind.elements), port, way, extra.format(fifo=fifo))
            for kind, port, way, fifo in ends
        )

    types = ", ".join(
        argument(kind.beats.data, str(kind.elements), "x", "in").split(" : ")[1].split(" {")[0]
        for kind, *_ in ends
    )
    cycles = "fastml.latency = 1 : i64, fastml.ii"
    module = parse_module(
        f"""
        func.func @design({arguments(", fastml.stream = {fifo} : i64")})
            attributes {{fastml.top, fastml.dataflow, {cycles} = 1 : i64}} {{
          func.call @process(%x, %y) : ({types}) -> ()
          func.return
        }}
        func.func private @process({arguments("")})
            attributes {{fastml.process, {cycles} = {len(steps_of(op))} : i64}} {{
          func.return
        }}
        """,
        "test.mlir",
    )
    (process,) = functions(module, directives.PROCESS)
    process.attributes |= access_attributes(op)
    return module


def functions(module: ModuleOp, mark: str) -> list[FuncOp]:
    return [op for op in module.ops if isinstance(op, FuncOp) and mark in op.attributes]


def rewritten(make: Make, source: ChannelType, depth: int = 100) -> tuple[ModuleOp, FuncOp]:
    """Return the design after the pass, and its process."""
    module = lowered(make, source, depth)
    HlsLineBuffers().apply(Context(), module)
    module.verify()
    (process,) = functions(module, directives.PROCESS)
    return module, process


def memories(process: FuncOp) -> dict[str, tuple[tuple[int, ...], str | None]]:
    """Return shape and storage of each memory, by its name."""
    return {
        directives.text(op.attributes, directives.PORT) or "": (
            op.memref.type.get_shape(),  # pyright: ignore[reportAttributeAccessIssue]
            directives.text(op.attributes, directives.STORAGE),
        )
        for op in process.body.block.ops
        if isinstance(op, memref.AllocOp)
    }


def window(size: tuple[int, int], rows: Table, cols: Table, fill: Table | None = None) -> Make:
    def make(value: SSAValue) -> AccessOp:
        return WindowOp("w", value, size, rows, cols, fill)

    return make


def order(index: Table, fill: Table | None = None) -> Make:
    def make(value: SSAValue) -> AccessOp:
        return ReorderOp("o", value, index, fill)

    return make


def check(make: Make, source: ChannelType, wanted: Callable[[Table], Table]) -> FuncOp:
    """Run the loops of a process on a frame of numbers, all different."""
    module, process = rewritten(make, source)
    count, elements = source.beats.data, len(source)
    frame = np.arange(100, 100 + count * elements).reshape(count, elements)
    run = TokenRun(module, process, frame, signed=bool(source.lows.min() < 0))
    (given_,) = run.given
    assert np.array_equal(np.array(given_), wanted(frame))
    return process


def check_window(size: tuple[int, int], rows: Table, cols: Table, fill: Table) -> FuncOp:
    source = channel(size[0] * size[1], len(fill))

    def wanted(frame: Table) -> Table:
        tokens = [
            [
                frame[row * size[1] + column] if row >= 0 and column >= 0 else fill
                for row in rows[y]
                for column in cols[x]
            ]
            for y in range(len(rows))
            for x in range(len(cols))
        ]
        return np.array(tokens).reshape(len(tokens), -1)

    return check(window(size, rows, cols, fill), source, wanted)


@st.composite
def axes(draw: st.DrawFn, *, wide: bool, order: bool) -> tuple[int, Table]:
    """The size of an axis and its table: a kernel that slides, or places again and again."""
    size = draw(st.integers(1, 7))
    kind = "slide" if wide else draw(st.sampled_from(["slide", "any", "resized"]))
    if kind == "resized":
        count = draw(st.integers(1, 9))
        return size, (np.arange(count) * size // count)[:, None]
    if kind == "any":
        places = draw(st.lists(st.integers(-1, size - 1), min_size=1, max_size=9))
        if order:
            places = np.maximum.accumulate(places).tolist()
            holes = draw(st.lists(st.booleans(), min_size=len(places), max_size=len(places)))
            places = [-1 if hole else place for place, hole in zip(places, holes, strict=True)]
        places[draw(st.integers(0, len(places) - 1))] = size - 1 if not order else -1
        if max(places) < 0:
            places = list(range(size))
        return size, np.array(places)[:, None]
    kernel, stride = draw(st.integers(1, 4 if wide else 1)), draw(st.integers(1, 4))
    line = Columns(stride, draw(st.integers(1, 3)), draw(st.integers(-2, 5)))
    table = line.table(draw(st.integers(1, 8)), kernel, size)
    return size, table if np.any(table >= 0) else np.arange(size)[:, None]


@settings(max_examples=40, deadline=None)
@given(
    rows=axes(wide=True, order=True),
    cols=axes(wide=True, order=False),
    fill=st.lists(st.integers(-9, 9), min_size=1, max_size=3),
)
def test_windows_on_lines(rows: Any, cols: Any, fill: list[int]) -> None:
    process = check_window((rows[0], cols[0]), rows[1], cols[1], np.array(fill))
    assert "frame" not in memories(process)


@settings(max_examples=60, deadline=None)
@given(
    rows=axes(wide=False, order=True),
    cols=axes(wide=False, order=False),
    fill=st.lists(st.integers(-9, 9), min_size=1, max_size=3),
)
def test_windows_of_one_place(rows: Any, cols: Any, fill: list[int]) -> None:
    check_window((rows[0], cols[0]), rows[1], cols[1], np.array(fill))


@settings(max_examples=60, deadline=None)
@given(
    beats=st.integers(1, 12),
    data=st.data(),
    fill=st.lists(st.integers(-9, 9), min_size=1, max_size=3),
)
def test_orders(beats: int, data: st.DataObject, fill: list[int]) -> None:
    places = st.one_of(
        st.permutations(range(beats)),
        st.lists(st.integers(-1, beats - 1), min_size=1, max_size=15),
    )
    index = np.array(data.draw(places))
    index[0] = max(index[0], 0)
    constant = np.array(fill)

    def wanted(frame: Table) -> Table:
        return np.where(index[:, None] >= 0, frame[index], constant)

    check(order(index, constant), channel(beats, len(fill)), wanted)


@pytest.mark.parametrize(
    ("places", "size"),
    [
        ([0, 0, 1, 1, 2, 2], 3),
        ([0, 0, 1, 2, 2, 3, 4], 5),
        ([0, 1, 1, 2, 2], 3),
        ([0, 2, 3, 5, 6], 8),
        ([-1, 0, -1, -1, 1, -1, -1, 2, -1], 3),
        ([-1, -1, 0, 0, 1, 1, -1], 2),
    ],
    ids=["repeated", "unevenly", "but for the first", "left out", "stuffed", "repeated and padded"],
)
def test_no_frame_is_kept_for_what_is_repeated_or_stuffed(places: list[int], size: int) -> None:
    table = np.array(places)[:, None]
    process = check_window((size, size), table, table, np.array([3]))
    repeats = max(np.bincount(table[table >= 0])) > 1
    given_ = {"result"} if -1 in places else set[str]()
    assert memories(process).keys() == {"token"} | given_ | ({"line1"} if repeats else set())


def test_memories_of_a_window() -> None:
    rows = Columns(1, 2, 2).table(20, 3, 20)
    cols = Columns(1, 1, 1).table(200, 3, 200)
    _, process = rewritten(window((20, 200), rows, cols), channel(4000, 16))
    found = memories(process)
    lines = {name: found.pop(name) for name in sorted(found) if name.startswith("line")}
    assert lines == {f"line{k}": ((200, 16), "block") for k in range(1, 5)}
    assert {name: shape for name, (shape, _) in found.items()} == {
        "window": (3, 3, 16),
        "token": (16,),
        "result": (144,),
    }
    loops = [op for op in process.body.block.ops if isinstance(op, affine.ForOp)]
    steps, columns = loops[-1], loops[-1].body.block.first_op
    assert isinstance(columns, affine.ForOp)
    counts = [str(loop.upperBoundMap.data.results[0]) for loop in (steps, columns)]
    assert counts == ["22", "201"]
    assert directives.integer(columns.attributes, directives.PIPELINE) == 1


@pytest.mark.parametrize("width", [6, 40])
def test_small_memories_are_none_of_block_memory(width: int) -> None:
    cols = Columns(1, 1, 1).table(width, 3, width)
    _, process = rewritten(window((6, width), WINDOWED, cols), channel(6 * width))
    assert memories(process)["line2"] == ((width, 1), "logic" if width > 16 else None)


@pytest.mark.parametrize(
    ("index", "words"),
    [([1, 0, 3, 2, 5, 4], 4), ([5, 4, 3, 2, 1, 0], 6), ([0, 1, 2, 3, 4, 5], 1)],
)
def test_an_order_keeps_what_is_out_of_it(index: list[int], words: int) -> None:
    _, process = rewritten(order(np.array(index)), channel(6))
    shape, _ = memories(process)["tokens"]
    assert shape == (words, 1)


@pytest.mark.parametrize(("depth", "left"), [(13, 2), (15, 3), (20, 8)])
def test_the_fifo_in_front_loses_what_the_memories_hold(depth: int, left: int) -> None:
    """A column of three rows spans 13 tokens, of which the newest is still to come."""
    make = window((6, 6), Columns(1, 1, 0).table(4, 3, 6), Columns(1, 1, 0).table(4, 3, 6))
    module, _ = rewritten(make, channel(36), depth)
    (top,) = functions(module, directives.TOP)
    before, after = directives.argument_attributes(top)
    assert directives.integer(before, directives.STREAM) == left
    assert directives.integer(after, directives.STREAM) == 2


def test_constants_may_be_wider_than_tokens() -> None:
    rows = Columns(1, 1, 1).table(3, 2, 3)
    source = channel(9, 2, 0, 1)
    _, process = rewritten(window((3, 3), rows, rows, np.array([-5, 9])), source)
    widths = {
        directives.text(op.attributes, directives.PORT): str(op.memref.type)
        for op in process.body.block.ops
        if isinstance(op, memref.AllocOp)
    }
    assert widths["line1"] == "memref<3x2xi1>"
    assert widths["window"] == "memref<2x2x2xi5>"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (AffineDimExpr(0) * 6 + AffineDimExpr(1) * 2, "are not copied in order"),
        (AffineDimExpr(0) + AffineDimExpr(1) * 6, "are not copied in order"),
        (None, "in 2 places"),
    ],
)
def test_printing_refuses_another_order_than_that_of_the_stream(place: Any, message: str) -> None:
    make = window((6, 6), np.arange(6)[:, None], np.arange(6)[:, None])
    module, process = rewritten(make, channel(36))
    print_program(module, FLAVOURS["vitis"])
    views = [op for op in process.walk() if isinstance(op, memref.SubviewOp)]
    apply = views[0].offsets[0].owner
    assert isinstance(apply, affine.ApplyOp)
    if place is None:
        copy = next(op for op in process.walk() if isinstance(op, memref.CopyOp))
        block = copy.parent_block()
        assert block is not None
        block.insert_op_after(copy.clone(), copy)
    else:
        apply.properties["map"] = AffineMapAttr(AffineMap(2, 0, (place,)))
    with pytest.raises(FastmlError, match=f"tokens of 'x' {message}|tokens of 'x' .*{message}"):
        print_program(module, FLAVOURS["vitis"])
    print_program(module, FLAVOURS["oneapi"])  # which has all of them at hand


def test_printing_sees_under_which_conditions_tokens_are_copied() -> None:
    module, _ = rewritten(window((6, 6), WINDOWED, WINDOWED), channel(36))
    text = "".join(print_program(module, FLAVOURS["vitis"]).files.values())
    assert text.count("fastml::take(x_stream") == 1
