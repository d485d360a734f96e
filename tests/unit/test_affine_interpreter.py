"""Values and cycles of the affine interpreter, against definitions on Python integers."""

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.affine import Affine
from xdsl.dialects.arith import Arith
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.dialects.memref import MemRef
from xdsl.dialects.scf import Scf

from fastml.compiler.support.diagnostics import FastmlError, LocatingParser
from fastml.runtime.affine import Program, evaluate, simulate
from fastml.runtime.trace import Integers, Stimulus, back_to_back


def parse(text: str) -> ModuleOp:
    context = Context()
    for dialect in (Affine, Arith, Builtin, Func, MemRef, Scf):
        context.load_dialect(dialect)
    module = LocatingParser(context, text, "test.mlir").parse_module()
    return module


def argument(name: str, direction: str, count: int, element: str) -> str:
    layout = f"{count} x {element}" if count > 1 else element
    facts = {"name": name, "port": name, "elements": layout, "direction": direction}
    listed = ", ".join(f'fastml.{key} = "{value}"' for key, value in facts.items())
    return f"%{name} : memref<{count}xi{element[1:]}> {{{listed}}}"


def top(arguments: Sequence[str], body: str, ii: int = 1, latency: int = 0) -> str:
    return (
        f"func.func @top({', '.join(arguments)}) attributes "
        f"{{fastml.top, fastml.ii = {ii} : i64, fastml.latency = {latency} : i64}} "
        f"{{\n{body}\nfunc.return\n}}\n"
    )


def run_one(program: Program, rows: Integers) -> list[int]:
    return program.evaluate({"x": rows}).outputs["y"][:, 0].tolist()


def test_select_and_index_casts():
    body = """
      %c0 = arith.constant 0 : index
      %big = arith.constant 4 : index
      %a = affine.load %x[0] : memref<3xi4>
      %b = affine.load %x[1] : memref<3xi4>
      %s = affine.load %x[2] : memref<3xi4>
      %z = arith.constant 0 : i4
      %c = arith.cmpi slt, %s, %z : i4
      %d = arith.select %c, %a, %b : i4
      %i = arith.index_cast %s : i4 to index
      %j = arith.addi %i, %big : index
      %k = arith.index_cast %j : index to i4
      %n = arith.cmpi sge, %i, %c0 : index
      %m = arith.extui %n : i1 to i4
      affine.store %d, %y[0] : memref<3xi4>
      affine.store %k, %y[1] : memref<3xi4>
      affine.store %m, %y[2] : memref<3xi4>"""
    arguments = [argument("x", "in", 3, "s4"), argument("y", "out", 3, "s4")]
    rows = np.array(list(product([-8, -1, 0, 7], [3, -4], range(-8, 8))))
    got = evaluate(parse(top(arguments, body)), {"x": rows}).outputs["y"]
    wanted = [[a if s < 0 else b, (s + 12) % 16 - 8, int(s >= 0)] for a, b, s in rows.tolist()]
    assert got.tolist() == wanted


def rom(name: str, shape: str, values: str) -> str:
    return (
        f'"memref.global"() <{{sym_name = "{name}", sym_visibility = "private", constant, '
        f"type = memref<{shape}>, initial_value = dense<{values}> : tensor<{shape}>}}> "
        ": () -> ()\n"
    )


SAMPLES = Path(__file__).parents[1] / "filecheck" / "affine"
DENSE = (SAMPLES / "dense-loops.mlir").read_text()
SCRATCH = (SAMPLES / "scratch-memory.mlir").read_text()
PARALLEL = (SAMPLES / "parallel.mlir").read_text()
WEIGHTS, BIAS = np.array([[1, -2], [3, 4], [-16, 15]]), np.array([100, -7])


def test_a_loop_nest_computes_a_dense_layer():
    x = np.random.default_rng(1).integers(-32, 32, (50, 3))
    x[0], x[1] = -32, 31
    trace = simulate(parse(DENSE), back_to_back({"x": x}, 50), ["y", "x"])
    assert trace.outputs["y"].values.tolist() == (x @ WEIGHTS + BIAS).tolist()
    assert trace.cycles.tolist() == [8 + 6 * frame for frame in range(50)]
    assert trace.taps["y"].cycles[0].tolist() == [8, 8]
    assert trace.taps["x"].cycles[1].tolist() == [6, 6, 6]


def test_a_memory_hands_a_beat_from_one_loop_to_the_next():
    x = np.random.default_rng(1).integers(-32, 32, (20, 4))
    stimulus = Stimulus({"x": x}, np.arange(20) % 3)
    trace = simulate(parse(SCRATCH), stimulus)
    assert trace.outputs["y"].values.tolist() == (2 * x[:, ::-1]).tolist()
    assert (trace.cycles == stimulus.offer_cycles(8) + 11).all()


def faulty(text: str, old: str, new: str) -> ModuleOp:
    assert text.count(old) == 1, f"{text.count(old)} times: {old}"
    return parse(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # the last product is added in cycle 1 + 5, and registered in cycle 7 of the call
        ("latency = 7 : i64} {", "latency = 6 : i64} {", "'fastml.latency' ends in cycle 7, but"),
        ("latency = 8 : i64} {", "latency = 7 : i64} {", "'fastml.latency' ends in cycle 7, but"),
        ("= 3 : i64, fastml", "= 2 : i64, fastml", "takes 3 cycles, but begins again every 2"),
        ("ii = 6 : i64, fastml.latency = 7", "ii = 5 : i64, fastml.latency = 7", "takes 6 cycles"),
        ("ii = 6 : i64, fastml.latency = 8", "ii = 5 : i64, fastml.latency = 8", "needs 6"),
        ("    } {fastml.pipeline = 1 : i64}", "}", "has no 'fastml.pipeline'"),
        ("{fastml.ii = 6 : i64, fastml.l", "{fastml.l", "has no 'fastml.ii': without a schedule"),
        (
            "muli %5, %6 {fastml.start = 0 : i64}",
            "muli %5, %6 {fastml.start = 1 : i64}",
            "'arith.addi': starts in cycle 2, but an operand is there only in cycle 3",
        ),
        (
            "fastml.pipeline = 3 : i64, fastml.start = 1",
            "fastml.pipeline = 3 : i64, fastml.start = 0",
            "'affine.load': starts in cycle 1, but an operand is there only in cycle 2",
        ),
        (
            "{fastml.start = 1 : i64} : (mem",
            "{fastml.start = 2 : i64} : (mem",
            "ends in cycle 8, but",
        ),
        (
            "fastml.pipeline = 3 : i64, fastml.start = 1",
            "fastml.pipeline = 3 : i64, fastml.start = 2",
            "'fastml.ii' is 6, but an input is read in cycle 7",
        ),
        ('sym_name = "w"', 'sym_name = "q"', "there is no global '@w'"),
        ("%x[%i]", "%x[%i + 1]", r"index 3 is out of range 0\.\.2"),
        ("store %2, %y[%j]", "store %2, %y[0]", "element 1 of 'y' is never written"),
    ],
)
def test_dense_loops_that_are_wrong(old: str, new: str, message: str):
    # In the file these lines are followed by CHECK lines that say the same.
    text = "\n".join(line for line in DENSE.splitlines() if "// CHECK" not in line)
    module = faulty(text, old, new)
    with pytest.raises(FastmlError, match=message):
        simulate(module, back_to_back({"x": np.zeros((1, 3), np.int64)}, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("start = 5", "start = 3", "'memref.load': starts in cycle 4, but an operand is there"),
        ("%t[%k]", "%t[%c4]", "out of range"),
        ("memref.store %2, %t[%i]", "memref.store %2, %t[%c4]", "which was never written"),
        (  # twice in one cycle
            "memref.store %2, %t[%i]",
            "memref.store %1, %t[%i] {fastml.start = 1 : i64} : memref<4xi7>\n"
            "memref.store %2, %t[%i]",
            r"stores element \[0\] in cycle 2, but it is in use until cycle 3",
        ),
        (  # before it is read
            "%0 = memref.load %t[%k] {fastml.start = 1 : i64} : memref<4xi7>",
            "%0 = memref.load %t[%k] {fastml.start = 2 : i64} : memref<4xi7>\n"
            "%1 = arith.constant 0 : i7\n"
            "memref.store %1, %t[%k] {fastml.start = 1 : i64} : memref<4xi7>",
            r"stores element \[3\] in cycle 6, but it is in use until cycle 7",
        ),
    ],
)
def test_memories_that_are_used_wrongly(old: str, new: str, message: str):
    text = "\n".join(line for line in SCRATCH.splitlines() if "// CHECK" not in line)
    value = 4 if "range" in message else 0
    text = text.replace(
        "  affine.for %i", f"  %c4 = arith.constant {value} : index\naffine.for %i", 1
    )
    module = faulty(text, old, new)
    with pytest.raises(FastmlError, match=message):
        simulate(module, back_to_back({"x": np.zeros((1, 4), np.int64)}, 1))


FILL = top(
    [argument("x", "in", 4, "s6"), argument("y", "out", 4, "s6")],
    """
  %seven = arith.constant 7 : i6
  affine.for %i = 0 to 4 {
    affine.store %seven, %y[%i] : memref<4xi6>
  } {DIRECTIVES, fastml.start = 1 : i64}""",
    ii=4,
    latency=5,
)


@pytest.mark.parametrize(
    ("directives", "latency"),
    [
        ("fastml.pipeline = 1 : i64", 5),  # in cycles 1, 2, 3, 4
        ("fastml.pipeline = 1 : i64, fastml.unroll = 2 : i64", 3),  # 1, 1, 2, 2
        ("fastml.pipeline = 1 : i64, fastml.unroll = 3 : i64", 3),  # 1, 1, 1, 2
        ("fastml.pipeline = 2 : i64, fastml.unroll = 2 : i64", 4),  # 1, 1, 3, 3
        ("fastml.unroll", 2),
    ],
)
def test_the_pace_of_a_loop(directives: str, latency: int):
    text = FILL.replace("DIRECTIVES", directives)
    beats = back_to_back({"x": np.zeros((2, 4), np.int64)}, 2)
    module = parse(text.replace("latency = 5", f"latency = {latency}"))
    trace = simulate(module, beats)
    assert trace.outputs["y"].values.tolist() == [[7] * 4] * 2
    assert trace.cycles.tolist() == [latency, latency + 4]
    with pytest.raises(FastmlError, match=f"is there only in cycle {latency}"):
        simulate(parse(text.replace("latency = 5", f"latency = {latency - 1}")), beats)


def test_a_call_without_a_start_waits_for_its_inputs():
    late = """%h = memref.alloc() {fastml.elements = "3 x s6", fastml.name = "h"} : memref<3xi6>
      %0 = affine.load %x[0] : memref<3xi6>
      %1 = arith.addi %0, %0 {fastml.start = 4 : i64} : i6
      affine.store %0, %h[0] : memref<3xi6>
      affine.store %1, %h[1] : memref<3xi6>
      affine.store %0, %h[2] : memref<3xi6>
      func.call @dense(%h, %y)"""
    text = DENSE.replace("func.call @dense(%x, %y) {fastml.start = 1 : i64}", late)
    text = text.replace("latency = 8", "latency = 12")
    trace = simulate(parse(text), back_to_back({"x": np.ones((1, 3), np.int64)}, 1), ["y", "h"])
    assert trace.outputs["y"].values.tolist() == (np.array([[1, 2, 1]]) @ WEIGHTS + BIAS).tolist()
    assert trace.taps["h"].cycles.tolist() == [[0, 4, 0]]
    assert trace.taps["y"].cycles.tolist() == [[11, 11]]


def test_operations_without_a_start_follow_their_latest_operand():
    body = """
      %h = memref.alloc() {fastml.elements = "5 x s6", fastml.name = "h"} : memref<5xi6>
      %a = affine.load %x[0] : memref<2xi6>
      %b = affine.load %x[1] : memref<2xi6>
      %late = arith.addi %a, %b {fastml.start = 2 : i64} : i6
      %early = arith.cmpi slt, %a, %b : i6
      %later = arith.cmpi slt, %a, %b {fastml.start = 3 : i64} : i6
      %0 = arith.select %later, %late, %b : i6
      %1 = arith.select %early, %late, %b : i6
      %2 = arith.select %early, %a, %late : i6
      %3 = arith.trunci %late : i6 to i3
      %4 = arith.extsi %3 : i3 to i6
      %5 = arith.constant 1 : i6
      affine.store %0, %h[0] : memref<5xi6>
      affine.store %1, %h[1] : memref<5xi6>
      affine.store %2, %h[2] : memref<5xi6>
      affine.store %4, %h[3] : memref<5xi6>
      affine.store %5, %h[4] : memref<5xi6>
      affine.store %a, %y[0] : memref<1xi6>"""
    module = parse(top([argument("x", "in", 2, "s6"), argument("y", "out", 1, "s6")], body))
    trace = simulate(module, back_to_back({"x": np.zeros((1, 2), np.int64)}, 1), ["h"])
    assert trace.taps["h"].cycles.tolist() == [[3, 2, 2, 2, 0]]


def test_constants_are_not_written():
    text = FILL.replace("DIRECTIVES", "fastml.pipeline = 1 : i64").replace("%y[%i]", "%t[%i]")
    text = text.replace("%seven", "%t = memref.get_global @t : memref<4xi6>\n%seven", 1)
    with pytest.raises(FastmlError, match=r"'affine\.store': writes to a constant"):
        evaluate(parse(rom("t", "4xi6", "0") + text), {"x": np.zeros((1, 4), np.int64)})


def test_a_choice_may_leave_out_what_was_never_written():
    body = """
      %t = memref.alloc() : memref<1xi4>
      %zero = arith.constant 0 : index
      affine.for %i = 0 to 2 {
        %first = arith.cmpi eq, %i, %zero : index
        %a = affine.load %x[%i] : memref<2xi4>
        %b = affine.load %t[0] : memref<1xi4>
        %c = arith.select %first, %a, %b : i4
        affine.store %c, %t[0] : memref<1xi4>
        affine.store %c, %y[%i] : memref<2xi4>
      }"""
    text = top([argument("x", "in", 2, "s4"), argument("y", "out", 2, "s4")], body)
    beats = {"x": np.array([[3, 5]])}
    assert evaluate(parse(text), beats).outputs["y"].tolist() == [[3, 3]]
    with pytest.raises(FastmlError, match=r"'arith\.select': chooses an element that was never"):
        evaluate(faulty(text, "cmpi eq", "cmpi ne"), beats)


@pytest.mark.parametrize("constant", ["1, -2", "100"])
def test_a_wrong_constant_changes_the_values(constant: str):
    changed = constant.replace("1", "2")
    x = np.ones((1, 3), np.int64)
    good = evaluate(parse(DENSE), {"x": x}).outputs["y"]
    bad = evaluate(faulty(DENSE, f"[{constant}", f"[{changed}"), {"x": x})
    assert (good != bad.outputs["y"]).any()


def test_loop_carried_values_bounds_conditions_and_maps():
    body = """
      %zero = arith.constant 0 : i12
      affine.for %i = 0 to 3 {
        %s = affine.for %j = max affine_map<(d) -> (d, 1)>(%i)
            to min affine_map<(d) -> (7, 2 * d + 4)>(%i) step 2 iter_args(%t = %zero) -> (i12) {
          %k = affine.apply affine_map<(d, e) -> ((d * 5 + e) mod 8)> (%i, %j)
          %a = memref.load %x[%k] : memref<8xi6>
          %b = arith.extsi %a : i6 to i12
          %u = arith.addi %t, %b : i12
          affine.yield %u : i12
        }
        "affine.if"(%i) ({
          affine.store %s, %y[%i] : memref<3xi12>
          "affine.yield"() : () -> ()
        }, {
          %n = arith.subi %zero, %s : i12
          affine.store %n, %y[%i floordiv 1] : memref<3xi12>
          "affine.yield"() : () -> ()
        }) {condition = affine_set<(d) : (d - 1 >= 0, 2 - d >= 0)>} : (index) -> ()
      }"""
    x = np.random.default_rng(2).integers(-32, 32, (9, 8))
    arguments = [argument("x", "in", 8, "s6"), argument("y", "out", 3, "s12")]
    got = evaluate(parse(top(arguments, body)), {"x": x}).outputs["y"]
    for i in range(3):
        columns = [(i * 5 + j) % 8 for j in range(max(i, 1), min(7, 2 * i + 4), 2)]
        total = x[:, columns].sum(axis=1)
        assert got[:, i].tolist() == (total if i else -total).tolist()


def test_a_table_is_read_at_an_address_from_the_data():
    table = rom("t", "4xi8", "[5, -6, 7, 8]")
    body = """
      %t = memref.get_global @t : memref<4xi8>
      %a = affine.load %x[0] : memref<1xi3>
      %i = arith.index_cast %a : i3 to index
      %v = memref.load %t[%i] : memref<4xi8>
      affine.store %v, %y[0] : memref<1xi8>"""
    arguments = [argument("x", "in", 1, "s3"), argument("y", "out", 1, "s8")]
    module = parse(table + top(arguments, body))
    rows = np.array([[3], [0], [1], [1]])
    assert run_one(Program(module, timed=False), rows) == [8, 5, -6, -6]
    with pytest.raises(FastmlError, match="out of range"):
        evaluate(module, {"x": np.array([[0], [-1]])})


def test_cycles_of_outputs_and_taps_with_gaps():
    x = np.array([[100, 27], [-128, 127], [1, -1]])
    stimulus = Stimulus({"x": x}, np.array([5, 0, 3]))
    trace = simulate(parse(PARALLEL), stimulus, ["sum; and difference"])
    assert trace.outputs["y"].values.tolist() == [[127], [-1], [2]]
    assert trace.outputs["y"].cycles.tolist() == [[4], [5], [9]]
    tap = trace.taps["sum; and difference"]
    assert tap.values.tolist() == [[127, 73], [-1, -255], [0, 2]]
    assert tap.cycles.tolist() == [[2, 0], [3, 1], [7, 5]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "start = 3",
            "start = 1",
            "'arith.maxsi': starts in cycle 1, but an operand is there only in cycle 2",
        ),
        ("latency = 4", "latency = 2", "'fastml.latency' ends in cycle 2, but element 0"),
        ("fastml.ii = 1 : i64, ", "", "has no 'fastml.ii': without a schedule"),
        ("start = 3", "begin = 3", "unknown directive 'fastml.begin'"),
        (
            "affine.store %5, %y[1]",
            "affine.store %5, %y[0]",
            r"'affine.load': reads element \[1\], which was never written",
        ),
        (
            "%1 = affine.load %h[1]",
            "%1 = affine.load %h[2]",
            "'affine.load': index 2 is out of range 0..1",
        ),
        (
            "arith.subi %2",
            "arith.divsi %2",
            "'arith.divsi': is not an operation of the affine level",
        ),
        ("arith.subi %2, %3 :", "arith.subi %2, %3 overflow<nsw> :", "overflow flags"),
        ('fastml.elements = "s9"', 'fastml.elements = "s8"', "layout"),
    ],
)
def test_mistakes_are_named_with_their_place(old: str, new: str, message: str):
    text = "\n".join(line for line in PARALLEL.splitlines() if "// CHECK" not in line)
    module = faulty(text, old, new)
    with pytest.raises(FastmlError, match=message) as caught:
        simulate(module, back_to_back({"x": np.zeros((1, 2), np.int64)}, 1))
    assert "test.mlir:" in str(caught.value)


@pytest.mark.parametrize(
    ("beats", "message"),
    [
        ({"x": np.array([[0, 128]])}, "'x' frame 0 element 1: 128 is not in -128..127"),
        ({"x": np.array([[0, 0], [-129, 0]])}, r"'x' frame 1 element 0: -129 is not in"),
        ({"x": np.zeros((1, 2))}, "are float64, not integers"),
        ({"x": np.zeros((1, 3))}, r"have shape \(1, 3\), not \(frames, 2\)"),
        ({"z": np.zeros((1, 2))}, "there is no input port 'z'"),
        ({}, "there are no beats of input port 'x'"),
    ],
)
def test_beats_that_do_not_fit(beats: dict[str, Integers], message: str):
    with pytest.raises(FastmlError, match=message):
        evaluate(parse(PARALLEL), beats)


def test_an_edge_can_be_tapped_by_its_port():
    text = PARALLEL.replace('name = "x"', 'name = "the input"')
    beats = {"x": np.array([[3, 4]])}
    taps = evaluate(parse(text), beats, ["the input", "x"]).taps
    assert taps["the input"].tolist() == taps["x"].tolist() == [[3, 4]]


def test_ports_are_distinct():
    with pytest.raises(FastmlError, match=r"two arguments have the same 'fastml\.port'"):
        Program(faulty(PARALLEL, '"y", fastml.port = "y"', '"y", fastml.port = "x"'))


def test_globals_are_constant():
    text = DENSE.replace("constant, type = memref<2xi9>", "type = memref<2xi9>")
    with pytest.raises(FastmlError, match="a global must be constant"):
        Program(parse(text))


def test_ports_with_different_numbers_of_beats():
    arguments = [argument(name, "in", 2, "s6") for name in ("x", "z")]
    beats = {"x": np.zeros((3, 2), np.int64), "z": np.zeros((4, 2), np.int64)}
    with pytest.raises(FastmlError, match="the ports have different numbers of beats"):
        evaluate(parse(top(arguments, "")), beats)
    with pytest.raises(FastmlError, match="the beats are not those of 4 frames"):
        simulate(parse(PARALLEL), back_to_back({"x": beats["x"]}, 4))


def test_values_need_no_schedule_and_do_not_look_at_one():
    text = PARALLEL.replace("fastml.ii = 1 : i64, fastml.latency = 4 : i64", "")
    text = text.replace("fastml.top, ", "fastml.top").replace("start = 3", "start = 0")
    x = np.array([[100, 27]])
    values = evaluate(parse(text), {"x": x}, ["sum; and difference"])
    assert values.outputs["y"].tolist() == [[127]]
    assert values.taps["sum; and difference"].tolist() == [[127, 73]]


def test_unknown_and_ambiguous_taps():
    x = {"x": np.zeros((1, 2), np.int64)}
    with pytest.raises(FastmlError, match=r"edge 'nothing' does not exist.*edges are 'x'"):
        evaluate(parse(PARALLEL), x, ["nothing"])
    with pytest.raises(FastmlError, match="edge 'x' is held by several"):
        evaluate(parse(PARALLEL.replace('name = "sum; and difference"', 'name = "x"')), x, ["x"])


def test_elements_of_mixed_types_keep_their_own():
    def port(name: str, direction: str) -> str:
        return (
            f'%{name} : memref<4xi8> {{fastml.name = "{name}", fastml.port = "{name}", '
            f'fastml.elements = "u7, s3, u0, s8", fastml.direction = "{direction}"}}'
        )

    body = "\n".join(
        f"%{k} = affine.load %x[{k}] : memref<4xi8>\naffine.store %{k}, %y[{k}] : memref<4xi8>"
        for k in range(4)
    )
    rows = np.array([[127, -4, 0, -128], [0, 3, 0, 127]])
    module = parse(top([port("x", "in"), port("y", "out")], body))
    assert evaluate(module, {"x": rows}).outputs["y"].tolist() == rows.tolist()
    with pytest.raises(FastmlError, match=r"128 is not in 0\.\.127"):
        evaluate(module, {"x": np.where(rows == 127, 128, rows)})
    swapped = parse(
        top([port("x", "in"), port("y", "out")], body.replace("%0, %y[0]", "%0, %y[1]"))
    )
    with pytest.raises(FastmlError, match="writes what element 1, s3, cannot hold"):
        evaluate(swapped, {"x": np.array([[5, 0, 0, 0]])})


def test_a_long_stimulus_is_run_in_batches(monkeypatch: pytest.MonkeyPatch):
    x = np.random.default_rng(3).integers(-128, 128, (200, 2))
    whole = simulate(parse(PARALLEL), back_to_back({"x": x}, 200), ["sum; and difference"])
    monkeypatch.setattr("fastml.runtime.affine.LIVE_VALUES", 1)
    parts = simulate(parse(PARALLEL), back_to_back({"x": x}, 200), ["sum; and difference"])
    for name in ("y", "sum; and difference"):
        a, b = ({**t.outputs, **t.taps}[name] for t in (whole, parts))
        assert (a.values == b.values).all()
        assert (a.cycles == b.cycles).all()


def test_the_example_of_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "dialects" / "affine.md").read_text()
    example = re.findall(r"```mlir\n(.*?)```", page, re.DOTALL)[0]
    trace = simulate(parse(example), back_to_back({"x": np.array([[100, 28], [-7, 5]])}, 2))
    assert trace.outputs["y"].values.tolist() == [[128], [-2]]
    assert trace.cycles.tolist() == [3, 4]


def test_a_module_without_a_top_function():
    module = parse(PARALLEL.replace("fastml.top, ", ""))
    with pytest.raises(FastmlError, match=r"needs one 'fastml\.top' function, has 0"):
        Program(module)


def test_a_function_that_calls_itself():
    module = parse(top([argument("x", "in", 3, "s6")], "func.call @top(%x) : (memref<3xi6>) -> ()"))
    with pytest.raises(FastmlError, match="'@top' calls itself"):
        evaluate(module, {"x": np.zeros((1, 3), np.int64)})
