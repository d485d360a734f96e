"""Write the loops in which HLS C++ reads the tokens of a frame in order, and keeps some.

What is kept, and how, depends on the tables: rows of an image in line memories and columns in
registers, where a window slides along lines; a token or a row of them, where they are
repeated; as many tokens as are out of order; the whole frame, where nothing else fits.
"""

from collections.abc import Sequence

import numpy as np
from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    MemRefType,
    ModuleOp,
    StringAttr,
    TensorType,
    UnitAttr,
)
from xdsl.ir import Attribute, Block, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineExpr
from xdsl.utils.hints import isa

from fastml.compiler.support.names import Namer
from fastml.dialects import directives
from fastml.dialects.affine_processes import Beats, Process
from fastml.dialects.elements import width_of
from fastml.dialects.line_access import LineAccess
from fastml.dialects.qflow_windows import FILL, Table
from fastml.lowering.fifo import Fifo, Storage
from fastml.lowering.hls_axes import Repeat, Slide, at_least, at_most
from fastml.lowering.loop_writer import LoopWriter

_ROW, _COLUMN = AffineDimExpr(0), AffineDimExpr(1)


class TokenLoops:
    """Writes the body of a process that reads at random, for tokens that come in order."""

    def __init__(self, module: ModuleOp, process: Process, access: LineAccess):
        self.module, self.function, self.access = module, process.function, access
        self.namer = Namer()
        (self.input,) = process.inputs
        self.outputs = process.outputs
        self.result = self.outputs[0]
        self.elements = len(self.input.elements)
        self.width, self.signed = _container(self.input)
        self.out_width = _container(self.result)[0]
        self.names = Namer(argument.port for argument in (self.input, *self.outputs))
        self.fills: SSAValue | None = None
        """Memory of the constants of a token, unless they are all the same."""

    def clear(self) -> None:
        """Replace the body of the function by an empty one."""
        old = self.function.body.block
        new = Block(arg_types=[argument.type for argument in old.args])
        self.arguments = dict[SSAValue, SSAValue](zip(old.args, new.args, strict=True))
        for op in reversed(list(old.ops)):
            op.detach()
            op.erase(safe_erase=False)
        region = self.function.body
        region.detach_block(old)
        region.add_block(new)

    def write(self, namer: Namer) -> None:
        """Write the body; constants of the module get names of ``namer``."""
        self.namer = namer
        writer = LoopWriter(self.function.body.block, self.function.location)
        self._write(writer)
        writer.close()
        writer.add(func.ReturnOp())

    def _write(self, writer: LoopWriter) -> None:
        access = self.access
        fill = access.fill.array.tolist()
        if access.fills and len({*fill}) > 1:
            self.fills = self._constants(writer, "fill", fill)
        if not access.is_window:
            self._reorder(writer, access.index.array)
            return
        tables = (access.rows.array, access.height), (access.cols.array, access.width)
        rows, columns = (Slide.of(*table) for table in tables)
        down, right = (Repeat.of(*table) for table in tables)
        if rows is not None and columns is not None:
            self._slide(writer, rows, columns)
        elif down is not None and right is not None:
            self._repeat(writer, down, right)
        else:
            self._gather(writer)

    # --- a window along lines ----------------------------------------------------------

    def _slide(self, writer: LoopWriter, rows: Slide, columns: Slide) -> None:
        """Write the loop over an image with line memories and a shift register of columns."""
        taps, span = len(rows.ages), columns.ages[0] + 1
        lines = [
            self._memory(writer, columns.size, f"line{age}") for age in range(1, rows.ages[0] + 1)
        ]
        shape = [taps, span, self.elements]
        window = writer.memory(self.out_width, shape, self._registers("window"))
        token = self._token(writer, self.input, "token")
        result = self._token(writer, self.result, "result")
        if span > 1:
            inner, (n, k, j) = writer.nest(self.elements, taps, span)
            inner.store(self._fill(inner, n), window, k, j, n)
        step = writer.loop(rows.steps).loop(columns.steps, pipeline=1)
        if span > 1:
            inner, (n, k, j) = step.nest(self.elements, taps, span - 1)
            inner.store(inner.load(window, k, j + 1, n), window, k, j, n)
        self._enter_column(
            step.branch(columns.inside(_COLUMN)), rows, columns, lines, window, token
        )
        given = step.branch((*rows.completes(_ROW), *columns.completes(_COLUMN)))
        self._show_window(given, columns, window, result)
        self._give(given, result, rows.output(_ROW) * columns.outputs + columns.output(_COLUMN))

    def _enter_column(
        self,
        here: LoopWriter,
        rows: Slide,
        columns: Slide,
        lines: Sequence[SSAValue],
        window: SSAValue,
        token: SSAValue,
    ) -> None:
        """Write that a column enters the window, and goes one line up in the memories."""
        place, last = columns.position(_COLUMN), AffineConstantExpr(columns.ages[0])
        for age in range(len(lines), -1, -1):
            tap = rows.ages.index(age) if age in rows.ages else None
            inside = rows.inside(_ROW, age)
            fills = bool(inside) and tap is not None and rows.outside_ever(age)
            yes, no = here.branches(inside, otherwise=fills) if inside else (here, here)
            if age == 0:
                self._take(yes, rows.position(_ROW) * columns.size + place, token)
            inner, (n,) = yes.nest(self.elements)
            value = inner.load(lines[age - 1], place, n) if age else inner.load(token, n)
            if tap is not None:
                entering = inner.resize(value, self.out_width, self.signed)
                inner.store(entering, window, AffineConstantExpr(tap), last, n)
            if age < len(lines):
                inner.store(value, lines[age], place, n)
            if fills and tap is not None:
                inner, (n,) = no.nest(self.elements)
                inner.store(self._fill(inner, n), window, AffineConstantExpr(tap), last, n)

    def _show_window(
        self, writer: LoopWriter, columns: Slide, window: SSAValue, result: SSAValue
    ) -> None:
        """Write the result that is complete, with constants for columns outside of the image."""
        taps, span = len(columns.ages), columns.ages[0]
        height = self.access.kernel[0]

        def at(k: AffineExpr, tap: AffineExpr | int, n: AffineExpr) -> AffineExpr:
            return (k * taps + tap) * self.elements + n

        masked = [columns.outside_ever(age) for age in columns.ages]
        if not any(masked):
            inner, (n, k, j) = writer.nest(self.elements, height, taps)
            shown = inner.load(window, k, j * (span // max(taps - 1, 1)), n)
            inner.store(shown, result, at(k, j, n))
            return
        for tap, age in enumerate(columns.ages):
            yes, no = (writer, writer)
            if masked[tap]:
                yes, no = writer.branches(columns.inside(_COLUMN, age))
            inner, (n, k) = yes.nest(self.elements, height)
            shown = inner.load(window, k, AffineConstantExpr(span - age), n)
            inner.store(shown, result, at(k, tap, n))
            if masked[tap]:
                inner, (n, k) = no.nest(self.elements, height)
                inner.store(self._fill(inner, n), result, at(k, tap, n))

    # --- other windows -----------------------------------------------------------------

    def _repeat(self, writer: LoopWriter, down: Repeat, right: Repeat) -> None:
        """Write the loop that gives tokens and rows of them several times, or constants."""
        width = self.access.width
        again = not down.always_goes_on() and down.real is not None
        line = self._memory(writer, width, "line1") if again else None
        token = self._token(writer, self.input, "token")
        as_is = not self.access.fills and _container(self.input) == _container(self.result)
        result = token if as_is else self._token(writer, self.result, "result")
        step = writer.loop(down.steps).loop(right.steps, pipeline=1)
        moved = step.branch(right.goes_on(_COLUMN))
        column = right.moves.place(_COLUMN)
        place = down.moves.place(_ROW) * width + column
        if line is None:
            self._take(moved.branch(down.goes_on(_ROW)), place, token)
        else:
            yes, no = moved.branches(down.goes_on(_ROW))
            self._take(yes, place, token)
            inner, (n,) = yes.nest(self.elements)
            inner.store(inner.load(token, n), line, column, n)
            inner, (n,) = no.branch(down.is_real(_ROW)).nest(self.elements)
            inner.store(inner.load(line, column, n), token, n)
        given = step.branch((*down.completes(_ROW), *right.completes(_COLUMN)))
        output = down.output(_ROW) * len(self.access.cols.array) + right.output(_COLUMN)
        real = (*down.is_real(_ROW), *right.is_real(_COLUMN))
        if not as_is:
            yes, no = given.branches(real) if real else (given, given)
            inner, (n,) = yes.nest(self.elements)
            value = inner.resize(inner.load(token, n), self.out_width, self.signed)
            inner.store(value, result, n)
            if real:
                inner, (n,) = no.nest(self.elements)
                inner.store(self._fill(inner, n), result, n)
        self._give(given, result, output)

    def _gather(self, writer: LoopWriter) -> None:
        """Write the loops that read a whole frame, then give windows of any shape."""
        access, (height, width) = self.access, self.access.kernel
        tables = access.rows.array, access.cols.array
        rows, columns = (
            self._constants(writer, name, table.reshape(-1).tolist())
            for name, table in zip(("rows", "cols"), tables, strict=True)
        )
        frame = self._memory(writer, self.input.beats, "frame")
        result = self._token(writer, self.result, "result")
        reading = writer.loop(self.input.beats, pipeline=1)
        self._take(reading, _ROW, reading.token(frame, _ROW))
        given = writer.loop(len(tables[0])).loop(len(tables[1]), pipeline=height * width)
        inner, (ky, kx) = given.nest(height, width)
        row = _Position(inner, inner.load(rows, _ROW * height + ky), bool((tables[0] < 0).any()))
        column = _Position(
            inner, inner.load(columns, _COLUMN * width + kx), bool((tables[1] < 0).any())
        )
        size = inner.add(arith.ConstantOp(IntegerAttr(access.width, IndexType()))).results[0]
        start = inner.add(arith.MuliOp(row.index, size)).results[0]
        place = inner.add(arith.AddiOp(start, column.index)).results[0]
        inner, (n,) = inner.nest(self.elements)
        value = inner.resize(
            inner.load_at(frame, place, inner.index(n)), self.out_width, self.signed
        )
        for inside in (row.inside, column.inside):
            if inside is not None:
                value = inner.add(arith.SelectOp(inside, value, self._fill(inner, n))).results[0]
        inner.store(value, result, (ky * width + kx) * self.elements + n)
        self._give(given, result, _ROW * len(tables[1]) + _COLUMN)

    def _reorder(self, writer: LoopWriter, index: Table) -> None:
        """Write the loop over a memory that goes round, with a table of its places.

        A token is read in each step, and one is given so much later that all have come.
        """
        beats, results = self.input.beats, len(index)
        late, words = _round(index, beats)
        place = np.where(index == FILL, FILL, index % words)
        places = self._constants(writer, "places", place.tolist())
        memory = self._memory(writer, words, "tokens")
        result = self._token(writer, self.result, "result")
        steps = max(beats, results + late)
        step = writer.loop(steps, pipeline=1)
        here = _ROW % words if words < beats else _ROW
        taken = step.branch(() if steps == beats else (at_most(_ROW, beats - 1),))
        self._take(taken, _ROW, taken.token(memory, here))
        first = (at_least(_ROW, late),) if late else ()
        last = (at_most(_ROW, results - 1 + late),) if results + late < steps else ()
        given = step.branch((*first, *last))
        word = _Position(given, given.load(places, _ROW - late), self.access.fills)
        inner, (n,) = given.nest(self.elements)
        value = inner.load_at(memory, word.index, inner.index(n))
        value = inner.resize(value, self.out_width, self.signed)
        if word.inside is not None:
            value = inner.add(arith.SelectOp(word.inside, value, self._fill(inner, n))).results[0]
        inner.store(value, result, n)
        self._give(given, result, _ROW - late)

    # --- parts -------------------------------------------------------------------------

    def _registers(self, name: str) -> dict[str, Attribute]:
        port = StringAttr(self.names.unique(name))
        return {directives.PORT: port, directives.PARTITION: UnitAttr()}

    def _token(self, writer: LoopWriter, like: Beats, name: str) -> SSAValue:
        """Append registers for a token of an argument."""
        facts = self._registers(name)
        facts[directives.ELEMENTS] = StringAttr(str(like.elements))
        return writer.memory(_container(like)[0], [len(like.elements)], facts)

    def _memory(self, writer: LoopWriter, words: int, name: str) -> SSAValue:
        """Append a memory of tokens of the input."""
        facts: dict[str, Attribute] = {directives.PORT: StringAttr(self.names.unique(name))}
        storage = Fifo(words, self.elements * self.width, False).storage
        if storage is Storage.REGISTERS:
            facts[directives.PARTITION] = UnitAttr()
        else:
            kind = "block" if storage is Storage.BLOCK else "logic"
            facts[directives.STORAGE] = StringAttr(kind)
        return writer.memory(self.width, [words, self.elements], facts)

    def _take(self, writer: LoopWriter, place: AffineExpr, target: SSAValue) -> None:
        """Append that the next token is taken, which is number ``place``."""
        writer.copy(writer.token(self.arguments[self.input.value], place), target)

    def _give(self, writer: LoopWriter, source: SSAValue, place: AffineExpr) -> None:
        """Append that a token is given, which is number ``place``."""
        for output in self.outputs:
            writer.copy(source, writer.token(self.arguments[output.value], place))

    def _constants(self, writer: LoopWriter, name: str, words: Sequence[int]) -> SSAValue:
        """Append a constant memory."""
        width, signed = width_of(min(words), max(words))
        width += not signed  # words are read with their sign
        kind = MemRefType(IntegerType(width), [len(words)])
        name = self.namer.unique(f"{self.function.sym_name.data}_{name}")
        initial = DenseIntOrFPElementsAttr.from_list(
            TensorType(kind.element_type, [len(words)]), list(words)
        )
        made = memref.GlobalOp.get(StringAttr(name), kind, initial, constant=UnitAttr())
        made.location = self.function.location
        self.module.body.block.insert_op_before(made, self.function)
        got = memref.GetGlobalOp(name, kind)
        writer.add(got)
        return got.memref

    def _fill(self, writer: LoopWriter, element: AffineExpr) -> SSAValue:
        """Append the constant of an element."""
        if self.fills is None:
            return writer.constant(int(self.access.fill.array[0]), self.out_width)
        return writer.resize(writer.load(self.fills, element), self.out_width, signed=True)


class _Position:
    """A word of a table as an index, and whether it is one: 0 where it is negative."""

    def __init__(self, writer: LoopWriter, word: SSAValue, guarded: bool):
        self.inside: SSAValue | None = None
        if guarded:
            assert isa(word.type, IntegerType)
            zero = writer.constant(0, word.type.width.data)
            self.inside = writer.add(arith.CmpiOp(word, zero, "sge")).results[0]
            word = writer.add(arith.SelectOp(self.inside, word, zero)).results[0]
        self.index = writer.add(arith.IndexCastOp(word, IndexType())).results[0]


def _round(index: Table, beats: int) -> tuple[int, int]:
    """Return how many steps after its own number a result is given, and the words needed.

    Step ``s`` reads token ``s``, then gives result ``s - late``. Words are a power of two, so
    that a place in the memory is a part of the number of the step, or hold the whole frame.
    """
    numbers = np.arange(len(index))
    late = max(int((index - numbers).max()), 0)
    wanted = np.where(index == FILL, beats, index)
    oldest = np.minimum.accumulate(wanted[::-1])[::-1]
    steps = numbers + late
    held = int((np.minimum(steps, beats - 1) - oldest + 1).max())
    # Before the first result is given, everything since the oldest token is kept.
    held = max(held, min(late, beats) - int(oldest[0]), 1)
    words = 1 << (held - 1).bit_length()
    return late, words if words < beats else beats


def _container(argument: Beats) -> tuple[int, bool]:
    width, signed = argument.elements.container
    return max(width, 1), signed
