"""affine-to-hw against the interpreters of both levels: values, cycles and taps."""

from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.context import Context
from xdsl.dialects import hw, seq
from xdsl.dialects.affine import Affine
from xdsl.dialects.builtin import Builtin, IntegerAttr, ModuleOp, UnknownLoc
from xdsl.dialects.func import Func
from xdsl.dialects.memref import MemRef
from xdsl.ir import Operation

from fastml.compiler.support.diagnostics import FastmlError, LocatingParser
from fastml.dialects import hw_extra
from fastml.dialects.directives import verify_directives
from fastml.dialects.elements import Elements, ranges_of
from fastml.dialects.qflow_folded import FoldedAttr
from fastml.dialects.upstream_assembly import ARITH
from fastml.lowering.affine_to_hw import lower_module
from fastml.lowering.dense_loops import build_dense_loop
from fastml.lowering.folding import Layer
from fastml.runtime.hw import simulate as simulate_wires
from fastml.runtime.levels import open_level
from fastml.runtime.trace import Integers, Stimulus, Trace, back_to_back


def context() -> Context:
    found = Context()
    for dialect in (Affine, ARITH, Builtin, Func, MemRef):
        found.load_dialect(dialect)
    hw_extra.register(found)
    return found


def parse(text: str) -> ModuleOp:
    return LocatingParser(context(), text, "test.mlir").parse_module()


def lowered(module: ModuleOp) -> ModuleOp:
    """The hardware, by way of its text."""
    copy = module.clone()
    lower_module(copy)
    copy.verify()
    verify_directives(copy)
    return parse(str(copy))


def memref_type(layout: Elements) -> str:
    return f"memref<{len(layout)}xi{max(layout.container[0], 1)}>"


def described(value: str, layout: Elements, direction: str = "") -> str:
    """A function argument, or the attributes of an allocation where there is no direction."""
    name = value.removeprefix("%")
    facts = f'fastml.name = "the {name}", fastml.port = "{name}", fastml.elements = "{layout}"'
    if not direction:
        return f"{{{facts}}}"
    return f'{value} : {memref_type(layout)} {{{facts}, fastml.direction = "{direction}"}}'


def top(arguments: Sequence[str], body: str, ii: int, latency: int) -> str:
    return (
        f"func.func @design({', '.join(arguments)}) attributes {{fastml.top, "
        f"fastml.ii = {ii} : i64, fastml.latency = {latency} : i64}} {{\n{body}\nfunc.return\n}}\n"
    )


def beats_of(layout: Elements, frames: int, rng: np.random.Generator) -> Integers:
    lows, highs = ranges_of(layout)
    return rng.integers(lows, np.array(highs) + 1, (frames, len(layout)))


def gaps_of(frames: int, rng: np.random.Generator) -> Integers:
    return rng.integers(0, 4, frames) * rng.integers(0, 2, frames)


def same(a: Trace, b: Trace) -> None:
    assert a.outputs.keys() == b.outputs.keys()
    assert a.taps.keys() == b.taps.keys()
    for before, after in ((a.outputs, b.outputs), (a.taps, b.taps)):
        for name, signal in before.items():
            np.testing.assert_array_equal(signal.values, after[name].values, name)
            expected, found = np.broadcast_arrays(signal.cycles, after[name].cycles)
            np.testing.assert_array_equal(expected, found, name)


def both(module: ModuleOp, stimulus: Stimulus, taps: Sequence[str] = ()) -> Trace:
    """The trace that the schedule predicts, which the hardware also gives."""
    predicted = open_level("affine", module).simulate(stimulus, taps)
    measured = open_level("hw", lowered(module)).simulate(stimulus, taps)
    same(predicted, measured)
    return measured


# Straight-line functions


class RandomFunction:
    """The text of a function of random operations at random legal cycles."""

    def __init__(self, random: Random, name: str, inputs: list[tuple[Elements, list[int]]]):
        self.random = random
        self.name = name
        self.lines = list[str]()
        self.values = list[tuple[str, int, int]]()  # name, width, cycle
        self.arguments = list[str]()
        for k, (layout, cycles) in enumerate(inputs):
            self.arguments.append(described(f"%x{k}", layout, "in"))
            container = max(layout.container[0], 1)
            for element, cycle in enumerate(cycles):
                if random.random() < 0.8:
                    load = f"affine.load %x{k}[{element}] : {memref_type(layout)}"
                    self.add(load, container, cycle)
        self.constant(random.randrange(1, 9))

    def add(self, text: str, width: int, cycle: int) -> str:
        value = f"%v{len(self.values)}"
        self.lines.append(f"{value} = {text}")
        self.values.append((value, width, cycle))
        return value

    def constant(self, width: int) -> str:
        number = self.random.randrange(-(1 << (width - 1)), 1 << (width - 1))
        if width == 1:
            return self.add(f"arith.constant {str(number != 0).lower()}", 1, 0)
        return self.add(f"arith.constant {number} : i{width}", width, 0)

    def start(self, *cycles: int) -> tuple[str, int]:
        """The attribute of a start, if there is one, and the cycle of the result."""
        cycle = max(cycles)
        if self.random.random() < 0.5:
            return "", cycle
        cycle += self.random.choice((0, 0, 1, 2))
        return f" {{fastml.start = {cycle} : i64}}", cycle

    def resized(self, value: tuple[str, int, int], width: int, *, sign: bool) -> str:
        name, own, cycle = value
        if own == width:
            return name
        kind = "trunci" if own > width else "extsi" if sign else "extui"
        start, late = self.start(cycle)
        return self.add(f"arith.{kind} {name}{start} : i{own} to i{width}", width, late)

    def cycle(self, name: str) -> int:
        return next(cycle for value, _, cycle in self.values if value == name)

    def operation(self) -> None:
        random = self.random
        chosen = random.sample(self.values, min(3, len(self.values)))
        a, b, c = (chosen * 3)[:3]
        width = min(max(a[1], b[1]) + random.randrange(3), 40)
        lhs = self.resized(a, width, sign=random.random() < 0.5)
        rhs = self.resized(b, width, sign=random.random() < 0.5)
        cycles = [self.cycle(lhs), self.cycle(rhs)]
        kind = random.choice(
            "addi subi muli minsi maxsi minui maxui andi ori xori cmpi select shift".split()
        )
        if kind == "shift":
            rhs = self.add(f"arith.constant {random.randrange(width)} : i{width}", width, 0)
            if width == 1:
                return
            kind, cycles = random.choice(["shli", "shrsi", "shrui"]), cycles[:1]
        start, cycle = self.start(*cycles)
        if kind == "cmpi":
            predicate = random.choice("eq ne slt sle sgt sge ult ule ugt uge".split())
            self.add(f"arith.cmpi {predicate}, {lhs}, {rhs}{start} : i{width}", 1, cycle)
        elif kind == "select":
            condition = self.resized(c, 1, sign=False)
            start, cycle = self.start(*cycles, self.cycle(condition))
            self.add(f"arith.select {condition}, {lhs}, {rhs}{start} : i{width}", width, cycle)
        else:
            self.add(f"arith.{kind} {lhs}, {rhs}{start} : i{width}", width, cycle)

    def finish(self) -> tuple[str, Elements, list[int]]:
        """Store some values; return the text, the layout and the cycles of the output."""
        random = self.random
        chosen = [random.choice(self.values) for _ in range(random.randrange(1, 5))]
        widths = tuple(
            random.choice((0, width, width, random.randint(1, width))) for _, width, _ in chosen
        )
        layout = Elements(widths, tuple(w > 0 and random.random() < 0.5 for w in widths))
        container = max(layout.container[0], 1)
        cycles = list[int]()
        for element, (value, width, sign) in enumerate(
            zip(chosen, widths, layout.signed, strict=True)
        ):
            if width == 0:
                stored = self.add(f"arith.constant {zero_of(container)}", container, 0)
            else:
                own = self.resized(value, width, sign=False)
                stored = self.resized((own, width, self.cycle(own)), container, sign=sign)
            self.lines.append(f"affine.store {stored}, %y[{element}] : {memref_type(layout)}")
            cycles.append(self.cycle(stored))
        arguments = ", ".join([*self.arguments, described("%y", layout, "out")])
        body = "\n".join(self.lines)
        text = f"func.func private @{self.name}({arguments}) {{\n{body}\nfunc.return\n}}\n"
        return text, layout, cycles


def zero_of(width: int) -> str:
    return "false" if width == 1 else f"0 : i{width}"


def random_design(random: Random) -> tuple[ModuleOp, dict[str, Elements], list[str]]:
    """A design of random layers, what its inputs take, and the edges to watch."""
    edges = dict[str, tuple[Elements, list[int]]]()
    inputs = dict[str, Elements]()
    for name in ["in0", "in1"][: random.randint(1, 2)]:
        widths = tuple(random.randint(1, 9) for _ in range(random.randint(1, 4)))
        inputs[name] = Elements(widths, tuple(random.random() < 0.5 for _ in widths))
        edges[name] = inputs[name], [0] * len(widths)
    functions, body, outputs = list[str](), list[str](), list[str]()
    layers = random.randint(1, 3)
    for layer in range(layers):
        sources = random.sample(sorted(edges), min(random.randint(1, 2), len(edges)))
        function = RandomFunction(random, f"layer{layer}", [edges[name] for name in sources])
        for _ in range(random.randint(1, 12)):
            function.operation()
        text, layout, cycles = function.finish()
        functions.append(text)
        name = f"edge{layer}"
        edges[name] = layout, cycles
        if layer == layers - 1 or random.random() < 0.3:
            outputs.append(name)
        else:
            body.append(
                f"%{name} = memref.alloc() {described(name, layout)} : {memref_type(layout)}"
            )
        operands = ", ".join(f"%{edge}" for edge in [*sources, name])
        types = ", ".join(memref_type(edges[edge][0]) for edge in [*sources, name])
        body.append(f"func.call @layer{layer}({operands}) : ({types}) -> ()")
    arguments = [described(f"%{name}", layout, "in") for name, layout in inputs.items()]
    arguments += [described(f"%{name}", edges[name][0], "out") for name in outputs]
    latency = max(max(edges[name][1]) for name in outputs) + random.choice((0, 0, 1))
    text = top(arguments, "\n".join(body), 1, latency) + "".join(functions)
    return parse(text), inputs, [f"the {name}" for name in edges]


@settings(max_examples=120, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 1 << 30))
def test_random_layers(random: Random, seed: int):
    module, inputs, edges = random_design(random)
    rng = np.random.default_rng(seed)
    beats = {f"the {name}": beats_of(layout, 9, rng) for name, layout in inputs.items()}
    both(module, Stimulus(beats, gaps_of(9, rng)), edges)


ARITHMETIC = "addi subi muli minsi maxsi minui maxui andi ori xori shli shrsi shrui".split()
PREDICATES = "eq ne slt sle sgt sge ult ule ugt uge".split()


def every_operation(width: int) -> tuple[list[str], list[int]]:
    """Each operation on two variables, and on a variable and each constant, either side."""
    lines = [f"%v{k} = affine.load %x[{k}] : memref<2xi{width}>" for k in range(2)]
    constants = range(-(1 << (width - 1)), 1 << (width - 1))
    for number in constants:
        value = f"{number} : i{width}" if width > 1 else str(number != 0).lower()
        lines.append(f"%c{number & ((1 << width) - 1)} = arith.constant {value}")
    known = [f"%c{number}" for number in range(1 << width)]
    pairs = [("%v0", "%v1"), ("%v0", "%v0")]
    pairs += [pair for c in known for pair in (("%v0", c), (c, "%v1"), (c, known[-1]))]
    widths = list[int]()
    for a, b in pairs:
        for name in [*ARITHMETIC, *(f"cmpi {p}," for p in PREDICATES), "select"]:
            if name.startswith("sh") and b not in known[:width]:
                continue
            if name == "select":
                lines.append(f"%r{len(widths)} = arith.select %bit, {a}, {b} : i{width}")
            else:
                lines.append(f"%r{len(widths)} = arith.{name} {a}, {b} : i{width}")
            widths.append(1 if name.startswith("cmpi") else width)
    lines.insert(2, "%bit = arith.cmpi slt, %v0, %v1 : i" + str(width))
    return lines, widths


@pytest.mark.parametrize("width", [1, 2, 3])
def test_every_operation_with_every_constant(width: int):
    lines, widths = every_operation(width)
    x = Elements((width, width), (False, False))
    y = Elements(tuple(widths), (False,) * len(widths))
    for k, own in enumerate(widths):
        stored = f"%r{k}"
        if own < width:
            lines.append(f"%s{k} = arith.extui %r{k} : i{own} to i{width}")
            stored = f"%s{k}"
        lines.append(f"affine.store {stored}, %y[{k}] : {memref_type(y)}")
    text = top([described("%x", x, "in"), described("%y", y, "out")], "\n".join(lines), 1, 0)
    values = np.arange(1 << width)
    beats = np.stack(np.meshgrid(values, values), axis=-1).reshape(-1, 2)
    both(parse(text), back_to_back({"the x": beats}, len(beats)))


# Functions with loops


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


# What the hardware looks like


def registers(module: ModuleOp) -> list[int]:
    """Widths of all registers."""
    found = [op for op in module.walk() if isinstance(op, seq.CompRegOp)]
    return sorted(int(str(op.data.type).removeprefix("i")) for op in found)


def layer(body: str, latency: int, result: int = 9) -> ModuleOp:
    x, y = Elements((8, 8), (True, True)), Elements((result,), (True,))
    text = top([described("%x", x, "in"), described("%y", y, "out")], body, 1, latency)
    return lowered(parse(text))


LOADS = """
  %0 = affine.load %x[0] : memref<2xi8>
  %1 = affine.load %x[1] : memref<2xi8>
  %a = arith.extsi %0 : i8 to i9
  %b = arith.extsi %1 : i8 to i9"""


def test_one_chain_of_registers_for_all_users():
    body = f"""{LOADS}
      %2 = arith.addi %a, %b {{fastml.start = 1 : i64}} : i9
      %3 = arith.subi %a, %2 {{fastml.start = 3 : i64}} : i9
      affine.store %3, %y[0] : memref<1xi9>"""
    # three cycles of %0 (not of its extension), one of %1, two of %2, three of valid
    assert registers(layer(body, 3)) == [1] * 3 + [8] * 4 + [9] * 2


def test_valid_and_data_arrive_together_at_the_latency():
    body = f"{LOADS}\n %2 = arith.addi %a, %b : i9\n affine.store %2, %y[0] : memref<1xi9>"
    assert registers(layer(body, 0)) == []
    assert registers(layer(body, 2)) == [1, 1, 9, 9]


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


def test_equal_operations_are_one_and_wiring_is_free():
    body = f"""{LOADS}
      %c2 = arith.constant 2 : i9
      %2 = arith.addi %a, %b : i9
      %3 = arith.addi %b, %a : i9
      %4 = arith.shli %2, %c2 : i9
      %5 = arith.shrsi %4, %c2 : i9
      %6 = arith.trunci %5 : i9 to i7
      %7 = arith.trunci %3 : i9 to i7
      %8 = arith.xori %6, %7 : i7
      %9 = arith.extsi %8 : i7 to i9
      affine.store %9, %y[0] : memref<1xi9>"""
    # (s << 2 >> 2) and s agree in their low bits: the difference is the constant 0
    names = {op.name for op in layer(body, 0).walk()} - {"builtin.module"}
    assert names == {"hw.module", "hw.constant", "hw.output"}


def test_every_operation_has_the_location_of_its_source():
    module, _ = loop_design("convolution")
    lower_module(module)
    assert not [op for op in module.walk() if isinstance(op.location, UnknownLoc)][1:]


def test_width_0_takes_no_wires():
    x, y = Elements((0, 3), (False, False)), Elements((0,), (False,))
    body = """
      %0 = affine.load %x[0] : memref<2xi3>
      %1 = arith.trunci %0 : i3 to i1
      affine.store %1, %y[0] : memref<1xi1>"""
    text = top([described("%x", x, "in"), described("%y", y, "out")], body, 1, 0)
    module = lowered(parse(text))
    (hardware,) = [op for op in module.ops if isinstance(op, hw.HWModuleOp)]
    ports = [port.port_name.data for port in hardware.module_type.ports]
    assert ports == ["clk", "rst", "x_valid", "x", "y_valid"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("%2 = arith.divsi %a, %b : i9", "operation is not supported at the affine level"),
        ("%c = arith.constant 9 : i9\n %2 = arith.shli %a, %c : i9", "shift of i9 by 9"),
    ],
)
def test_what_has_no_hardware_form_is_refused(body: str, message: str):
    with pytest.raises(FastmlError, match=message):
        layer(f"{LOADS}\n {body}\n affine.store %2, %y[0] : memref<1xi9>", 0)
