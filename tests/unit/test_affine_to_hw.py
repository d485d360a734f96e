"""affine-to-hw against the interpreters of both levels: values, cycles and taps."""

import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects import hw
from xdsl.dialects.builtin import ModuleOp

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

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.elements import Elements
from fastml.runtime.trace import Stimulus, back_to_back

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


# What the hardware looks like


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
