"""Loop nests in hardware against the interpreters of both levels: dense layers, and by hand."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, UnknownLoc
from xdsl.ir import Operation

sys.path.insert(0, str(Path(__file__).parent))

from affine_designs import (
    beats_of,
    both,
    described,
    gaps_of,
    lowered,
    memref_type,
    parse,
    registers,
    top,
)

from fastml.dialects.elements import Elements, ranges_of
from fastml.dialects.qflow_folded import FoldedAttr
from fastml.lowering.affine_to_hw import lower_module
from fastml.lowering.dense_loops import build_dense_loop
from fastml.lowering.folding import Layer
from fastml.runtime.hw import simulate as simulate_wires
from fastml.runtime.trace import Integers, Stimulus, back_to_back


def one_product_a_cycle(
    matrix: Integers, bias: Integers, inputs: Elements, outputs: Elements, name: str
) -> list[Operation]:
    """Return the function of a dense layer with one multiplier, and its memories."""
    lows, highs = (np.array(bounds, np.int64) for bounds in ranges_of(inputs))
    layer = Layer(matrix, bias, 1, lows, highs)
    return build_dense_loop(layer, FoldedAttr(matrix.size, 1, 1), inputs, outputs, name)


def latency_of(operations: Sequence[Operation]) -> int:
    """Return the latency of a function that comes after its memories."""
    latency = operations[-1].attributes["fastml.latency"]
    assert isinstance(latency, IntegerAttr)
    return latency.value.data


def dense_design(
    layers: Sequence[tuple[Integers, Integers, Elements, Elements]],
) -> tuple[ModuleOp, int]:
    """Dense layers as loop nests, one after the other; return the design and its latency."""
    ii = max(matrix.size for matrix, *_ in layers)
    names = ["x", *(f"h{k}" for k in range(1, len(layers))), "y"]
    body, functions, latency = list[str](), list[Operation](), 0
    for k, (matrix, bias, inputs, outputs) in enumerate(layers):
        layer = one_product_a_cycle(matrix, bias, inputs, outputs, f"layer{k}")
        functions += layer
        types = f"{memref_type(inputs)}, {memref_type(outputs)}"
        if k + 1 < len(layers):
            facts = described(names[k + 1], outputs)
            body.append(f"%{names[k + 1]} = memref.alloc() {facts} : {memref_type(outputs)}")
        body.append(f"func.call @layer{k}(%{names[k]}, %{names[k + 1]}) : ({types}) -> ()")
        latency += latency_of(layer)
    arguments = [described("%x", layers[0][2], "in"), described("%y", layers[-1][3], "out")]
    design = top(arguments, "\n".join(body), ii, latency)
    return parse(design + "\n".join(map(str, functions))), latency


def random_elements(count: int, rng: np.random.Generator) -> Elements:
    signed = tuple(bool(flag) for flag in rng.integers(0, 2, count))
    return Elements(tuple(int(w) for w in rng.integers(0, 7, count)), signed)


def sums(matrix: Integers, bias: Integers, inputs: Elements) -> Elements:
    lows, highs = (np.array(bounds)[:, None] for bounds in ranges_of(inputs))
    return Elements.of_ranges(
        (bias + np.minimum(matrix * lows, matrix * highs).sum(axis=0)).tolist(),
        (bias + np.maximum(matrix * lows, matrix * highs).sum(axis=0)).tolist(),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1 << 30))
def test_dense_loops_match_numpy(rows: int, columns: int, seed: int):
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.integers(-9, 9, 2).tolist())
    matrix = rng.integers(low, high + 1, (rows, columns))
    bias = rng.integers(-40, 40, columns)
    inputs = random_elements(rows, rng)
    module, latency = dense_design([(matrix, bias, inputs, sums(matrix, bias, inputs))])
    assert latency == rows * columns + 3
    beats = beats_of(inputs, 12, rng)
    stimulus = Stimulus({"the x": beats}, gaps_of(12, rng))
    signal = both(module, stimulus, ["the x", "the y"]).outputs["the y"]
    np.testing.assert_array_equal(signal.values, beats @ matrix + bias)
    offers = stimulus.offer_cycles(rows * columns)
    np.testing.assert_array_equal(signal.cycles[:, 0], offers + latency)


def test_dense_loops_in_sequence_overlap():
    rng = np.random.default_rng(3)
    x = Elements((4,) * 5, (True,) * 5)
    first, second = rng.integers(-4, 4, (5, 3)), rng.integers(-4, 4, (3, 4))
    biases = rng.integers(-9, 9, 3), rng.integers(-9, 9, 4)
    h = sums(first, biases[0], x)
    y = sums(second, biases[1], h)
    module, latency = dense_design([(first, biases[0], x, h), (second, biases[1], h, y)])
    beats = beats_of(x, 10, rng)
    stimulus = Stimulus({"the x": beats}, np.zeros(10, np.int64))
    trace = both(module, stimulus, ["the h1"])
    hidden = beats @ first + biases[0]
    np.testing.assert_array_equal(trace.taps["the h1"].values, hidden)
    np.testing.assert_array_equal(trace.outputs["the y"].values, hidden @ second + biases[1])
    # A frame enters every 15 cycles, before the one in front of it has left.
    assert np.diff(trace.cycles).tolist() == [15] * 9
    assert latency > 15


X4, X6 = Elements((5,) * 4, (True,) * 4), Elements((5,) * 6, (True,) * 6)
GLOBAL = """"memref.global"() <{sym_name = "k", sym_visibility = "private", constant,
  type = memref<3xi3>, initial_value = dense<[1, -2, 3]> : tensor<3xi3>}> : () -> ()\n"""

CONVOLUTION = """
  %k = memref.get_global @k : memref<3xi3>
  affine.for %o = 0 to 4 {
    %zero = arith.constant 0 : i10
    %sum = affine.for %t = 0 to 3 iter_args(%part = %zero) -> (i10) {
      %0 = affine.load %x[%o + %t] : memref<6xi5>
      %1 = affine.load %k[%t] : memref<3xi3>
      %2 = arith.extsi %0 : i5 to i10
      %3 = arith.extsi %1 : i3 to i10
      %4 = arith.muli %2, %3 {fastml.start = 1 : i64} : i10
      %5 = arith.addi %part, %4 {fastml.start = 3 : i64} : i10
      affine.yield %5 : i10
    } {fastml.pipeline = 2 : i64, fastml.start = 1 : i64}
    affine.store %sum, %y[-%o + 3] : memref<4xi10>
  } {fastml.pipeline = 7 : i64, fastml.start = 1 : i64}"""
"""Windows, backwards: products every second cycle, a cycle without any between the windows."""

HELD = """
  affine.for %i = 0 to 4 {
    %0 = affine.load %x[%i] : memref<4xi5>
    %1 = arith.extsi %0 : i5 to i10
    %2 = arith.muli %1, %1 {fastml.start = 2 : i64} : i10
    %zero = arith.constant 0 : i10
    %3 = affine.for %t = 0 to 3 step 2 iter_args(%part = %zero) -> (i10) {
      %4 = arith.index_cast %t : index to i10
      %5 = arith.addi %2, %4 {fastml.start = 1 : i64} : i10
      %6 = arith.addi %part, %5 {fastml.start = 1 : i64} : i10
      affine.yield %6 : i10
    } {fastml.pipeline = 1 : i64, fastml.start = 3 : i64}
    affine.store %3, %y[%i] : memref<4xi10>
  } {fastml.pipeline = 3 : i64, fastml.start = 1 : i64}"""
"""A value of the outer loop that the inner one uses in every iteration; a step of 2."""

MEMORY = """
  %sum = memref.alloc() {fastml.elements = "4 x s10"} : memref<4xi10>
  %zero = arith.constant 0 : i10
  affine.for %t = 0 to 3 {
    affine.for %i = 0 to 4 {
      %0 = affine.load %x[%i] : memref<4xi5>
      %1 = arith.extsi %0 : i5 to i10
      %c0 = arith.constant 0 : index
      %first = arith.cmpi eq, %t, %c0 : index
      %2 = affine.load %sum[%i] : memref<4xi10>
      %3 = arith.select %first, %zero, %2 : i10
      %4 = arith.index_cast %i : index to i10
      %5 = arith.addi %3, %4 : i10
      %6 = arith.addi %5, %1 {fastml.start = 1 : i64} : i10
      affine.store %6, %sum[%i] : memref<4xi10>
    } {fastml.pipeline = 1 : i64}
  } {fastml.pipeline = 5 : i64, fastml.start = 1 : i64}
  affine.for %i = 0 to 4 {
    %0 = affine.load %sum[-%i + 3] : memref<4xi10>
    affine.store %0, %y[%i] : memref<4xi10>
  } {fastml.pipeline = 1 : i64, fastml.start = 16 : i64}"""
"""Sums kept in a memory, with a cycle of rest after each round; then read backwards."""

CLEARED = MEMORY.replace(
    "  affine.for %t",
    """  affine.for %i = 0 to 4 {
    affine.store %zero, %sum[%i] : memref<4xi10>
  } {fastml.pipeline = 1 : i64, fastml.start = 0 : i64}
  affine.for %t""",
)
"""The same, with a first loop that clears the memory."""

SEVERAL = """
  %three = arith.constant 3 : i10
  %c1 = arith.constant 1 : index
  %0 = memref.load %x[%c1] {fastml.start = 2 : i64} : memref<4xi5>
  %1 = arith.extsi %0 : i5 to i10
  affine.for %i = 0 to 2 {
    affine.for %j = 0 to 2 {
      %2 = affine.load %x[2 * %i + %j] : memref<4xi5>
      %3 = arith.extsi %2 : i5 to i10
      %4 = arith.addi %3, %1 {fastml.start = 5 : i64} : i10
      affine.store %4, %y[2 * %j + %i] : memref<4xi10>
    } {fastml.pipeline = 2 : i64}
  } {fastml.pipeline = 4 : i64, fastml.start = 2 : i64}"""
"""A value of the function, held while a loop transposes."""

CHAIN = """
  %c0 = arith.constant 0 : index
  %last = memref.alloc() {fastml.elements = "s10"} : memref<1xi10>
  %zero = arith.constant 0 : i10
  affine.store %zero, %last[0] : memref<1xi10>
  affine.for %i = 0 to 4 {
    %0 = affine.load %last[0] : memref<1xi10>
    affine.for %k = 0 to 2 {
      %1 = affine.load %x[%k] : memref<4xi5>
      %2 = arith.extsi %1 : i5 to i10
      %3 = arith.addi %0, %2 {fastml.start = 1 : i64} : i10
      affine.store %3, %last[0] : memref<1xi10>
    } {fastml.pipeline = 2 : i64}
    %4 = memref.load %last[%c0] {fastml.start = 4 : i64} : memref<1xi10>
    affine.store %4, %y[%i] : memref<4xi10>
  } {fastml.pipeline = 4 : i64, fastml.start = 1 : i64}"""
"""What an outer iteration reads once, the inner ones use while they overwrite it."""


def window(x: Integers) -> Integers:
    kernel = np.array([1, -2, 3])
    found = [(x[:, o : o + 3] * kernel).sum(axis=1) for o in (3, 2, 1, 0)]
    return np.stack(found, axis=1)


LOOPS: dict[str, tuple[str, Elements, int, int, Callable[[Integers], Integers]]] = {
    "convolution": (CONVOLUTION, X6, 28, 32, window),
    "held": (HELD, X4, 12, 17, lambda x: 2 * x * x + 2),
    "memory": (MEMORY, X4, 20, 21, lambda x: (3 * (x + np.arange(4)))[:, ::-1]),
    "cleared": (CLEARED, X4, 20, 21, lambda x: (3 * (x + np.arange(4)))[:, ::-1]),
    "chain": (CHAIN, X4, 17, 18, lambda x: x[:, 1:2] * np.arange(1, 5)),
    "several": (SEVERAL, X4, 12, 14, lambda x: (x + x[:, 1:2])[:, [0, 2, 1, 3]]),
}


def loop_design(name: str) -> tuple[ModuleOp, Elements]:
    body, x, ii, latency, _ = LOOPS[name]
    arguments = [
        described("%x", x, "in"),
        described("%y", Elements((10,) * 4, (True,) * 4), "out"),
    ]
    return parse(GLOBAL + top(arguments, body, ii, latency)), x


@pytest.mark.parametrize("name", LOOPS)
def test_hand_written_loops(name: str):
    rng = np.random.default_rng(len(name))
    module, x = loop_design(name)
    beats = beats_of(x, 12, rng)
    gaps = np.concatenate([np.zeros(6, np.int64), rng.integers(0, 9, 6)])
    trace = both(module, Stimulus({"the x": beats}, gaps), ["the y"])
    np.testing.assert_array_equal(trace.outputs["the y"].values, LOOPS[name][4](beats))


@pytest.mark.parametrize("name", LOOPS)
def test_loops_restart_after_reset(name: str):
    """A frame that is in flight at reset is dropped, and leaves nothing behind."""
    module, x = loop_design(name)
    hardware = lowered(module)
    rng = np.random.default_rng(1)
    latency = LOOPS[name][3]
    one = beats_of(x, 1, rng)
    packed = sum(int(v) % 32 << 5 * k for k, v in enumerate(one[0]))
    expected = [int(v) % 1024 for v in LOOPS[name][4](one)[0]]
    for interrupted in range(1, latency, 3):
        cycles = interrupted + latency + 4
        drive = {port: np.zeros(cycles, object) for port in ("rst", "x_valid", "x")}
        drive["x"][:] = packed
        drive["x_valid"][[1, interrupted + 2]] = 1
        drive["rst"][[0, interrupted + 1]] = 1
        seen = simulate_wires(hardware, "design", drive, cycles)
        answers = np.flatnonzero(seen["y_valid"][1:]) + 1
        assert answers.tolist() == [interrupted + 2 + latency]
        word = int(seen["y"][answers[0]])
        assert [word >> 10 * k & 1023 for k in range(4)] == expected


def doubled_after(start: int) -> list[int]:
    """Registers of a dense loop whose sums a second layer doubles in cycle ``start``."""
    x, h, y = (Elements((width,) * 2, (True,) * 2) for width in (4, 8, 9))
    ones = np.ones((2, 2), np.int64)
    loop = one_product_a_cycle(ones, np.zeros(2, np.int64), x, h, "layer0")
    body = f"""
      %h = memref.alloc() {described("h", h)} : {memref_type(h)}
      func.call @layer0(%x, %h) : ({memref_type(x)}, {memref_type(h)}) -> ()
      func.call @double(%h, %y) : ({memref_type(h)}, {memref_type(y)}) -> ()"""
    lines = [
        f"""%{k} = affine.load %h[{k}] : {memref_type(h)}
        %a{k} = arith.extsi %{k} : i8 to i9
        %b{k} = arith.addi %a{k}, %a{k} {{fastml.start = {start} : i64}} : i9
        affine.store %b{k}, %y[{k}] : {memref_type(y)}"""
        for k in range(2)
    ]
    layer = f"func.func private @double({described('%h', h, 'in')}, {described('%y', y, 'out')})"
    arguments = [described("%x", x, "in"), described("%y", y, "out")]
    text = top(arguments, body, 4, start) + f"{layer} {{\n" + "\n".join(lines) + "\nfunc.return\n}"
    module = parse("\n".join([text, *map(str, loop)]))
    beats = beats_of(x, 6, np.random.default_rng(start))
    trace = both(module, back_to_back({"the x": beats}, 6))
    np.testing.assert_array_equal(trace.outputs["the y"].values, 2 * beats @ ones)
    return registers(lowered(module))


def test_outputs_of_loops_are_held_without_registers():
    """The sums are stored in cycles 4 and 6, those of the next frame in 8 and 10."""
    plain = len(doubled_after(7))
    # one register more a cycle for the valid bit; for each sum, from the cycle on in which
    # the next one replaces it
    more = [len(doubled_after(start)) - plain for start in (8, 9, 10, 11)]
    assert more == [1, 2 + 1, 3 + 2, 4 + 3 + 1]


def test_every_operation_has_the_location_of_its_source():
    module, _ = loop_design("convolution")
    lower_module(module)
    assert not [op for op in module.walk() if isinstance(op.location, UnknownLoc)][1:]
