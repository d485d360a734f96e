"""check-schedule: mutants of legal schedules, and every diagnostic."""

from collections.abc import Iterator

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.affine import Affine
from xdsl.dialects.builtin import Builtin, IntegerAttr, ModuleOp, i64
from xdsl.dialects.func import Func
from xdsl.dialects.memref import MemRef
from xdsl.ir import Operation

from fastml.compiler.support.diagnostics import FastmlError, LocatingParser
from fastml.dialects import directives
from fastml.dialects.upstream_assembly import ARITH
from fastml.lowering.affine_to_hw import lower_module
from fastml.lowering.check_schedule import check_schedule
from fastml.runtime.levels import open_level
from fastml.runtime.trace import Stimulus, Trace

X = (
    '%x : memref<4xi5> {fastml.name = "x", fastml.port = "x", '
    'fastml.elements = "4 x s5", fastml.direction = "in"}'
)
Y = (
    '%y : memref<2xi12> {fastml.name = "y", fastml.port = "y", '
    'fastml.elements = "2 x s12", fastml.direction = "out"}'
)
H = '%h = memref.alloc() {fastml.name = "h", fastml.port = "h", fastml.elements = "3 x s8"}'

PARALLEL = f"""
func.func @top({X}, {Y}) attributes {{fastml.top, fastml.ii = 1 : i64, fastml.latency = 6 : i64}} {{
  {H} : memref<3xi8>
  func.call @first(%x, %h) : (memref<4xi5>, memref<3xi8>) -> ()
  func.call @second(%h, %y) : (memref<3xi8>, memref<2xi12>) -> ()
  func.return
}}
func.func private @first(
    %x : memref<4xi5> {{fastml.elements = "4 x s5", fastml.direction = "in"}},
    %y : memref<3xi8> {{fastml.name = "h", fastml.elements = "3 x s8",
                        fastml.direction = "out"}}) {{
  %0 = affine.load %x[0] : memref<4xi5>
  %1 = affine.load %x[1] : memref<4xi5>
  %2 = affine.load %x[2] : memref<4xi5>
  %3 = arith.extsi %0 {{fastml.start = 0 : i64}} : i5 to i8
  %4 = arith.extsi %1 {{fastml.start = 1 : i64}} : i5 to i8
  %5 = arith.extsi %2 {{fastml.start = 0 : i64}} : i5 to i8
  %6 = arith.addi %3, %4 {{fastml.start = 1 : i64}} : i8
  %7 = arith.subi %6, %5 {{fastml.start = 2 : i64}} : i8
  %8 = arith.maxsi %7, %4 {{fastml.start = 3 : i64}} : i8
  affine.store %6, %y[0] : memref<3xi8>
  affine.store %7, %y[1] : memref<3xi8>
  affine.store %8, %y[2] : memref<3xi8>
  func.return
}}
func.func private @second(
    %x : memref<3xi8> {{fastml.elements = "3 x s8", fastml.direction = "in"}},
    %y : memref<2xi12> {{fastml.elements = "2 x s12", fastml.direction = "out"}}) {{
  %0 = affine.load %x[0] : memref<3xi8>
  %1 = affine.load %x[1] : memref<3xi8>
  %2 = affine.load %x[2] : memref<3xi8>
  %3 = arith.extsi %0 {{fastml.start = 2 : i64}} : i8 to i12
  %4 = arith.extsi %1 {{fastml.start = 2 : i64}} : i8 to i12
  %5 = arith.extsi %2 {{fastml.start = 3 : i64}} : i8 to i12
  %6 = arith.addi %3, %4 {{fastml.start = 3 : i64}} : i12
  %7 = arith.addi %6, %5 {{fastml.start = 4 : i64}} : i12
  %8 = arith.muli %7, %3 {{fastml.start = 5 : i64}} : i12
  affine.store %7, %y[0] : memref<2xi12>
  affine.store %8, %y[1] : memref<2xi12>
  func.return
}}
"""

LOOPS = f"""
func.func @top({X}, {Y})
    attributes {{fastml.top, fastml.ii = 8 : i64, fastml.latency = 13 : i64}} {{
  func.call @loops(%x, %y) {{fastml.start = 1 : i64}} : (memref<4xi5>, memref<2xi12>) -> ()
  func.return
}}
func.func private @loops(
    %x : memref<4xi5> {{fastml.elements = "4 x s5", fastml.direction = "in"}},
    %y : memref<2xi12> {{fastml.name = "y", fastml.elements = "2 x s12", fastml.direction = "out"}})
    attributes {{fastml.ii = 8 : i64, fastml.latency = 12 : i64}} {{
  %one = arith.constant 1 : i12
  affine.for %j = 0 to 2 {{
    %0 = arith.index_cast %j : index to i12
    %sum = affine.for %i = 0 to 4 iter_args(%part = %0) -> (i12) {{
      %1 = affine.load %x[%i] : memref<4xi5>
      %2 = arith.extsi %1 {{fastml.start = 0 : i64}} : i5 to i12
      %3 = arith.muli %2, %2 {{fastml.start = 1 : i64}} : i12
      %4 = arith.addi %part, %3 {{fastml.start = 2 : i64}} : i12
      affine.yield %4 : i12
    }} {{fastml.pipeline = 1 : i64, fastml.start = 0 : i64}}
    %5 = arith.addi %sum, %one {{fastml.start = 6 : i64}} : i12
    affine.store %5, %y[%j] : memref<2xi12>
  }} {{fastml.pipeline = 4 : i64, fastml.start = 1 : i64}}
  func.return
}}
"""

MEMORY = f"""
func.func @top({X}, {Y})
    attributes {{fastml.top, fastml.ii = 13 : i64, fastml.latency = 17 : i64}} {{
  %t = memref.alloc() {{fastml.name = "t", fastml.elements = "2 x s12"}} : memref<2xi12>
  %zero = arith.constant 0 : i12
  affine.for %j = 0 to 2 {{
    affine.store %zero, %t[%j] : memref<2xi12>
  }} {{fastml.pipeline = 1 : i64, fastml.start = 0 : i64}}
  affine.for %i = 0 to 2 {{
    affine.for %j = 0 to 2 {{
      %0 = affine.load %x[2 * %i + %j] : memref<4xi5>
      %1 = arith.extsi %0 {{fastml.start = 0 : i64}} : i5 to i12
      %2 = memref.load %t[%j] {{fastml.start = 1 : i64}} : memref<2xi12>
      %3 = arith.muli %1, %1 {{fastml.start = 1 : i64}} : i12
      %4 = arith.addi %2, %3 {{fastml.start = 2 : i64}} : i12
      memref.store %4, %t[%j] {{fastml.start = 3 : i64}} : memref<2xi12>
    }} {{fastml.pipeline = 2 : i64, fastml.start = 0 : i64}}
  }} {{fastml.pipeline = 4 : i64, fastml.start = 1 : i64}}
  affine.for %j = 0 to 2 {{
    %5 = affine.load %t[%j] : memref<2xi12>
    %6 = arith.addi %5, %5 {{fastml.start = 1 : i64}} : i12
    affine.store %6, %y[-%j + 1] : memref<2xi12>
  }} {{fastml.pipeline = 2 : i64, fastml.start = 12 : i64}}
  func.return
}}
"""
PROGRAMS = {"parallel": PARALLEL, "loops": LOOPS, "memory": MEMORY}
TIMES = (directives.START, directives.PIPELINE, directives.II, directives.LATENCY)


def parse(text: str) -> ModuleOp:
    context = Context()
    for dialect in (Affine, ARITH, Builtin, Func, MemRef):
        context.load_dialect(dialect)
    return LocatingParser(context, text, "test.mlir").parse_module()


def measure(module: ModuleOp, stimulus: Stimulus) -> tuple[Trace, Trace]:
    """Return the traces that the schedule predicts and that the hardware gives."""
    predicted = open_level("affine", module).simulate(stimulus, [])
    hardware = module.clone()
    lower_module(hardware)
    return predicted, open_level("hw", hardware).simulate(stimulus, [])


def stimulus_of(frames: int) -> Stimulus:
    rng = np.random.default_rng(frames)
    gaps = rng.integers(0, 3, frames) * rng.integers(0, 2, frames)
    return Stimulus({"x": rng.integers(-16, 16, (frames, 4))}, gaps)


def sites(module: ModuleOp) -> Iterator[tuple[Operation, str, int]]:
    for op in module.walk():
        for name in TIMES:
            value = directives.integer(op.attributes, name)
            if value is not None:
                yield op, name, value


def mutants(text: str) -> Iterator[tuple[ModuleOp, str]]:
    """Change every schedule attribute, one at a time; yield it with its change."""
    count = len(list(sites(parse(text))))
    for site in range(count):
        for change in (-2, -1, 1, 2, 5):
            module = parse(text)
            op, name, value = list(sites(module))[site]
            if value + change < 0:
                continue
            op.attributes[name] = IntegerAttr(value + change, i64)
            yield module, f"{op.name} {name} {value} {change:+}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_schedule_mutants_are_caught_or_harmless(program: str):
    """A mutant is refused, or the hardware does what it did, when its schedule says."""
    text, stimulus = PROGRAMS[program], stimulus_of(8)
    reference, measured = measure(parse(text), stimulus)
    ii, latency = time_of(parse(text))
    np.testing.assert_array_equal(reference.cycles, measured.cycles)
    np.testing.assert_array_equal(measured.cycles, stimulus.offer_cycles(ii) + latency)
    caught = harmless = 0
    for module, what in mutants(text):
        try:
            check_schedule(module)
        except FastmlError:
            caught += 1
            continue
        predicted, found = measure(module, stimulus)
        expected = reference.outputs["y"].values
        np.testing.assert_array_equal(found.outputs["y"].values, expected, what)
        np.testing.assert_array_equal(found.cycles, predicted.cycles, what)
        if time_of(module) == (ii, latency):  # only a declared time may move an output
            np.testing.assert_array_equal(found.cycles, reference.cycles, what)
        harmless += 1
    assert caught >= 25, (caught, harmless)
    assert harmless >= 10, (caught, harmless)
    assert caught + harmless >= 50, (caught, harmless)


def time_of(module: ModuleOp) -> tuple[int, int]:
    time = open_level("affine", module).time
    assert time is not None
    return time


FIRST = "func.call @first(%x, %h) : (memref<4xi5>, memref<3xi8>) -> ()"
SECOND = "func.call @second(%h, %y) : (memref<3xi8>, memref<2xi12>) -> ()"
LATER = """
  %i = memref.alloc() {fastml.elements = "4 x s5"} : memref<4xi5>
  %j = memref.alloc() {fastml.elements = "3 x s8"} : memref<3xi8>
  %0 = affine.load %x[0] : memref<4xi5>
  %1 = arith.addi %0, %0 {fastml.start = 1 : i64} : i5
  affine.store %1, %i[0] : memref<4xi5>
  affine.store %1, %i[1] : memref<4xi5>
  affine.store %1, %i[2] : memref<4xi5>
  affine.store %1, %i[3] : memref<4xi5>
  func.call @first(%i, %j) : (memref<4xi5>, memref<3xi8>) -> ()"""
"""The first layer once more, a cycle later."""
RECURSION = "func.call @first(%x, %y) : (memref<4xi5>, memref<3xi8>) -> ()\n  %8 = arith.maxsi"
LAYOUT = '@second(\n    %x : memref<3xi8> {fastml.elements = "3 x '
LAST_ARGUMENT = 'fastml.direction = "out"}) '
LOAD = "%0 = affine.load %x[0] : memref<4xi5>"
FACTS = "fastml.ii = 8 : i64, fastml.latency = 12"
OUTER = "{fastml.pipeline = 4 : i64, fastml.start = 1"
INNER = "{fastml.pipeline = 1 : i64, fastml.start = 0 : i64}\n    %5"
ADD = "%4 = arith.addi %part, %3"
INDEX = "%k = arith.addi %i, %j {fastml.start = 2 : i64} : index\n"
ZEROES = "%zero, %t[%j] : memref<2xi12>\n  } {fastml.pipeline = 1 : i64, fastml.start = "
DATA = "%k = arith.index_cast %zero : i12 to index\n"
STRAIGHT_CASES: list[tuple[str, str, str]] = [
    (LOAD, f"{LOAD}\naffine.store %0, %x[3] : memref<4xi5>", "stores to input 'x'"),
    ("%y[1] : memref<3xi8>", "%y[0] : memref<3xi8>", "element 0 of 'h' is stored twice"),
    ("affine.store %7, %y[1] : memref<3xi8>", "", "element 1 of output 'h' is never stored"),
    ("fastml.top, ", "", "one function must have 'fastml.top', 0 do"),
    (", fastml.latency = 6 : i64", "", "the top function needs 'fastml.ii' and"),
    (f"{LAYOUT}s8", f"{LAYOUT}u8", "'h' is '3 x s8', but the callee takes '3 x u8'"),
    ("%8 = arith.maxsi", RECURSION, "'first' calls itself"),
    (
        f"{LAST_ARGUMENT}{{",
        f"{LAST_ARGUMENT}attributes {{fastml.ii = 1 : i64}} {{",
        "have no meaning on a function without loops",
    ),
    (
        FIRST,
        FIRST.replace(" : (", " {fastml.start = 0 : i64} : ("),
        "a function without loops has the cycles of the design",
    ),
    (FIRST, f"{FIRST}\n{FIRST}", "'h' is stored twice"),
    (SECOND, SECOND + LATER, "'first' is called with 'x' arriving in different cycles"),
    ("%x[2] : memref<3xi8>", "%x[3] : memref<3xi8>", "index runs from 3 to 3, outside of"),
]
LOOP_CASES: list[tuple[str, str, str]] = [
    (
        "fastml.ii = 8 : i64, fastml.latency = 13",
        "fastml.ii = 7 : i64, fastml.latency = 13",
        "II of the design is 7, but 'loops' needs 8",
    ),
    (
        "attributes {fastml.ii = 8 : i64, ",
        "attributes {",
        "a function with loops needs 'fastml.ii'",
    ),
    (
        FACTS,
        FACTS.replace("12", "11"),
        "in cycle 11 element 1 of 'y' is stored, too late for the latency of 11",
    ),
    (
        FACTS,
        FACTS.replace("12", "16"),
        "in cycle 7 element 0 of 'y' of the next frame is stored before cycle 16",
    ),
    (INNER, INNER.replace("fastml.pipeline = 1 : i64, ", ""), "loop has no 'fastml.pipeline'"),
    (
        INNER,
        INNER.replace("1", "2"),
        "takes 8 cycles, but the iterations around it start every 4",
    ),
    (OUTER, OUTER.replace("= 4", "= 5"), "takes 10 cycles, but the frames start every 8"),
    (OUTER, OUTER.replace("= 1", "= 0"), "reads 'x' in cycle 0, but it is held from cycle 1 on"),
    (
        OUTER,
        OUTER.replace("= 1", "= 2"),
        "reads 'x' in cycle 9, but the next frame replaces it after cycle 8",
    ),
    (INNER, "{fastml.unroll, fastml.pipeline = 1 : i64}\n    %5", "unroll loops with"),
    ("affine.for %i = 0 to 4", "affine.for %i = 0 to %j", "only loops with constant bounds"),
    ("affine.for %i = 0 to 4", "affine.for %i = 4 to 4", "a loop without iterations"),
    ("affine.load %x[%i]", "affine.load %x[%i + %j]", "index runs from 0 to 4, outside of"),
    ("affine.load %x[%i]", "affine.load %x[%i mod 2]", "'mod' of loop counters"),
    ("affine.yield %4", "affine.yield %0", "carries .* a value of an outer loop"),
    ("%y[%j]", "%y[0]", "element 1 of output 'y' is never stored"),
    (ADD, INDEX + ADD, "an index is there at any time"),
]
MEMORY_CASES: list[tuple[str, str, str]] = [
    ("%0 = affine.load %x[2 * %i + %j]", f"{DATA}%0 = affine.load %x[%k]", "depends on data"),
    (
        f"{ZEROES}0",
        f"{ZEROES}2",
        "in cycle 2 element 0 of 't' is read, but it is stored only in cycle 2",
    ),
    (
        "affine.store %zero, %t[%j]",
        "affine.store %zero, %t[0]",
        "element 1 of 't' is read, but nothing was stored before",
    ),
    ("fastml.ii = 13", "fastml.ii = 12", "element 1 of 't' of the next frame is stored before"),
]
CASES = [
    (PROGRAMS[program], *case)
    for program, cases in (
        ("parallel", STRAIGHT_CASES),
        ("loops", LOOP_CASES),
        ("memory", MEMORY_CASES),
    )
    for case in cases
]


@pytest.mark.parametrize(("text", "old", "new", "message"), CASES)
def test_diagnostics(text: str, old: str, new: str, message: str):
    assert old in text
    with pytest.raises(FastmlError, match=message):
        check_schedule(parse(text.replace(old, new, 1)))
