"""Functions, arrays and loops within the limits of a tool: same values, same cycles."""

import sys
from pathlib import Path

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.func import FuncOp
from xdsl.dialects.memref import AllocOp

sys.path.insert(0, str(Path(__file__).parent))

from hls_modules import interpret, parse, port, random_beats, scalar_operations, top

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.lowering.check_schedule import CheckSchedule
from fastml.lowering.hls_tiling import HlsTiling
from fastml.runtime.affine import Program
from fastml.runtime.trace import Stimulus


def late(body: str) -> str:
    """Let every second binary operation start a cycle later than it could."""
    lines, count = list[str](), 0
    for line in body.splitlines():
        if "arith.addi" in line or "arith.subi" in line:
            count += 1
            text, _, kind = line.rpartition(" : ")
            line = f"{text} {{fastml.start = 3 : i64}} : {kind}" if count % 2 else line
        lines.append(line)
    return "\n".join(lines)


@pytest.mark.parametrize("limit", [1, 3, 20])
def test_parts_compute_the_same_in_the_same_cycles(limit: int):
    ports, body = scalar_operations(7)
    module = parse(top(ports, late(body), latency=3))
    tiled = module.clone()
    HlsTiling(operations=limit).apply(Context(), tiled)
    tiled.verify()
    CheckSchedule().apply(Context(), tiled)
    functions = [op for op in tiled.ops if isinstance(op, FuncOp)]
    assert len(functions) > 2
    for function in functions[:-1]:
        own = [op for op in function.body.block.ops if op.name.startswith("arith.")]
        wiring = ("arith.constant", "arith.extsi", "arith.extui", "arith.trunci")
        assert sum(op.name not in wiring for op in own) <= limit
    beats = random_beats(module, 60)
    expected, found = interpret(module, beats), interpret(tiled, beats)
    np.testing.assert_array_equal(found["y"], expected["y"])
    stimulus = Stimulus(beats, np.zeros(60, np.int64))
    traces = [Program(m).simulate(stimulus) for m in (module, tiled)]
    np.testing.assert_array_equal(traces[0].cycles, traces[1].cycles)


def test_small_functions_stay():
    module = parse(top(*scalar_operations(7)))
    HlsTiling(operations=1000).apply(Context(), module)
    assert len(list(module.ops)) == 1


def copied(count: int) -> str:
    lines = [
        f"%{k} = affine.load %x[{k}] : memref<{count}xi4>\n"
        f"affine.store %{k}, %y[{k}] : memref<{count}xi4>"
        for k in range(count)
    ]
    ports = [port("x", "in", "s4", count, "i4"), port("y", "out", "s4", count, "i4")]
    return top(ports, "\n".join(lines))


def test_arrays_of_parallel_functions_are_split_as_far_as_the_tool_does():
    HlsTiling(partition=8).apply(Context(), module := parse(copied(8)))
    assert str(module).count("fastml.partition") == 2
    with pytest.raises(FastmlError, match=r"FML-TARGET.*array 'x' has 9 elements.*splits 8"):
        HlsTiling(partition=8).apply(Context(), parse(copied(9)))
    HlsTiling(partition=0).apply(Context(), parse(copied(9)))


LOOP = """
  affine.for %i = 0 to 40 {
    %0 = affine.load %x[%i] : memref<40xi4>
    affine.store %0, %y[%i] : memref<40xi4>
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64, fastml.unroll DIRECTIVE}
"""


@pytest.mark.parametrize(("directive", "copies"), [("", 40), ("= 16 : i64", 16)])
def test_loops_are_unrolled_as_far_as_the_tool_does(directive: str, copies: int):
    ports = [port("x", "in", "s4", 40, "i4"), port("y", "out", "s4", 40, "i4")]
    text = top(ports, LOOP.replace("DIRECTIVE", directive), ii=40, latency=60)
    module = parse(text)
    HlsTiling(unroll=copies).apply(Context(), module)
    assert "fastml.partition" not in str(module)  # a memory that a loop walks stays one
    with pytest.raises(FastmlError, match=f"FML-TARGET.*unrolled {copies} times"):
        HlsTiling(unroll=copies - 1).apply(Context(), parse(text))


def test_memories_that_loops_walk_stay_whole():
    """Also where a function that has no loop hands them on; directives stay as they are."""
    inner = LOOP.replace("DIRECTIVE", "= 2 : i64")
    kind = "memref<40xi4>"
    elements = 'fastml.elements = "40 x s4"'
    body = f"""
      %t = memref.alloc() {{fastml.port = "t", {elements}}} : {kind}
      %u = memref.alloc() {{fastml.port = "u", {elements}, fastml.partition = 5 : i64}} : {kind}
      %v = memref.alloc() {{fastml.port = "v", {elements}}} : {kind}
      func.call @walk(%x, %t) {{fastml.start = 1 : i64}} : ({kind}, {kind}) -> ()
      %0 = memref.load %t[%c0] {{fastml.start = 60 : i64}} : {kind}
      memref.store %0, %u[%c0] {{fastml.start = 60 : i64}} : {kind}
      memref.store %0, %v[%c0] {{fastml.start = 60 : i64}} : {kind}
      memref.store %0, %y[%c0] {{fastml.start = 60 : i64}} : {kind}
    """
    walk = f"""func.func private @walk(
        %x : {kind} {{{elements}, fastml.direction = "in"}},
        %y : {kind} {{{elements}, fastml.direction = "out"}}
    ) attributes {{fastml.ii = 40 : i64, fastml.latency = 50 : i64}} {{{inner}
    func.return }}"""
    ports = [port("x", "in", "s4", 40, "i4"), port("y", "out", "s4", 40, "i4")]
    text = walk + top(ports, "%c0 = arith.constant 0 : index" + body, ii=40, latency=60)
    HlsTiling(partition=40).apply(Context(), module := parse(text))
    _, design = (op for op in module.ops if isinstance(op, FuncOp))
    assert ["fastml.partition" in str(a) for a in design.arg_attrs or ()] == [False, True]
    found = {
        directives.text(op.attributes, directives.PORT): str(op.attributes.get("fastml.partition"))
        for op in design.walk()
        if isinstance(op, AllocOp)
    }
    assert found == {"t": "None", "u": "5 : i64", "v": "unit"}
    with pytest.raises(FastmlError, match=r"array 'y' has 40 elements.*splits 39"):
        HlsTiling(partition=39).apply(Context(), parse(text))
