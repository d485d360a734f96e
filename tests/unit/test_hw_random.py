"""Random modules, with feedback and instances, against a naive evaluator of their text."""

import random
from dataclasses import dataclass, field

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fastml.compiler.pipelines import new_context
from fastml.runtime.hw import simulate

WIDTHS = (1, 1, 2, 5, 8, 13, 31, 32, 40, 62, 63, 64, 70, 128)
CYCLES = 25
BINARY = ("add", "sub", "mul", "and", "or", "xor", "shl", "shru", "shrs")
PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")


@dataclass
class Line:
    """One operation: its result, its name and operands, and a number that it may need."""

    result: str
    kind: str
    operands: tuple[str, ...]
    number: int = 0


@dataclass
class Design:
    """A module as a list of lines in an order in which combinational operands come first."""

    widths: dict[str, int] = field(default_factory=dict[str, int])
    inputs: list[str] = field(default_factory=list[str])
    lines: list[Line] = field(default_factory=list[Line])
    registers: list[Line] = field(default_factory=list[Line])

    def text(self, rng: random.Random) -> str:
        """Print the module, its operations in any order: it is a graph."""
        lines = [self.print_line(line) for line in (*self.lines, *self.registers)]
        rng.shuffle(lines)
        outs = [line.result for line in (*self.lines, *self.registers)]
        ports = [f"in %{name} : i{self.widths[name]}" for name in self.inputs]
        ports += [f"out o{name} : i{self.widths[name]}" for name in outs]
        values = ", ".join(f"%{name}" for name in outs)
        types = ", ".join(f"i{self.widths[name]}" for name in outs)
        head = f"hw.module @top(in %clk : !seq.clock, {', '.join(ports)}) {{"
        return "\n".join([head, *lines, f"hw.output {values} : {types}", "}"])

    def print_line(self, line: Line) -> str:
        names = ", ".join(f"%{name}" for name in line.operands)
        widths = [self.widths[name] for name in line.operands]
        types = ", ".join(f"i{width}" for width in widths)
        width, first = self.widths[line.result], (widths or [0])[0]
        match line.kind:
            case "const" if width == 1:
                return f"%{line.result} = hw.constant {'true' if line.number else 'false'}"
            case "const":
                value = line.number - (line.number >> (width - 1) << width)
                return f"%{line.result} = hw.constant {value} : i{width}"
            case "concat":
                return f"%{line.result} = comb.concat {names} : {types}"
            case "replicate":
                return f"%{line.result} = comb.replicate {names} : (i{first}) -> i{width}"
            case "extract":
                cut = f"{names} from {line.number}"
                return f"%{line.result} = comb.extract {cut} : (i{first}) -> i{width}"
            case "icmp":
                predicate = PREDICATES[line.number]
                return f"%{line.result} = comb.icmp {predicate} {names} : i{first}"
            case "parity":
                return f"%{line.result} = comb.parity {names} : i{first}"
            case "register":
                data, reset, value = line.operands
                ports = f"%{data}, %clk reset %{reset}, %{value}"
                return f"%{line.result} = seq.compreg {ports} : i{width}"
            case "delay":
                return f"%{line.result} = seq.compreg {names}, %clk : i{width}"
            case kind:
                return f"%{line.result} = comb.{kind} {names} : i{width}"

    def evaluate(self, line: Line, values: dict[str, int]) -> int:
        """Give one operation's result for one cycle."""
        operands = [values[name] for name in line.operands]
        widths = [self.widths[name] for name in line.operands]
        width = self.widths[line.result]
        signed = [v - (v >> (w - 1) << w) for v, w in zip(operands, widths, strict=True)]
        a, b = (*operands, 0, 0)[:2]
        match line.kind:
            case "const":
                result = line.number
            case "add":
                result = sum(operands)
            case "sub":
                result = a - b
            case "mul":
                result = a * b
            case "and":
                result = a & b
            case "or":
                result = a | b
            case "xor":
                result = a ^ b
            case "shl":
                result = a << min(b, width)
            case "shru":
                result = a >> b
            case "shrs":
                result = signed[0] >> b
            case "mux":
                result = operands[1] if a else operands[2]
            case "icmp":
                name = PREDICATES[line.number]
                x, y = signed if name[0] == "s" else operands
                order = {"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y}
                result = {**order, "ge": x >= y}[name[-2:]]
            case "parity":
                result = a.bit_count()
            case "extract":
                result = a >> line.number
            case _:  # concat, replicate
                result = 0
                pieces = operands * (width // widths[0]) if line.kind == "replicate" else operands
                sizes = widths * (width // widths[0]) if line.kind == "replicate" else widths
                for value, size in zip(pieces, sizes, strict=True):
                    result = (result << size) | value
        return result % (1 << width)


def random_design(rng: random.Random) -> Design:
    design = Design()

    def new(width: int) -> str:
        name = f"n{len(design.widths)}"
        design.widths[name] = width
        return name

    def pick(width: int | None = None) -> str:
        """Choose a value; make one of the wanted width where there is none."""
        names = [n for n, w in design.widths.items() if width in (None, w)]
        if names and (width is None or rng.random() < 0.9):
            return rng.choice(names[-12:] if rng.random() < 0.6 else names)
        assert width is not None
        name = new(width)
        design.lines.append(Line(name, "const", (), rng.getrandbits(width)))
        return name

    def add_line(kind: str) -> None:
        a = pick()
        width = design.widths[a]
        operands: tuple[str, ...]
        number = 0
        match kind:
            case "mux":
                operands, result = (pick(1), a, pick(width)), width
            case "icmp":
                operands, result, number = (a, pick(width)), 1, rng.randrange(10)
            case "parity":
                operands, result = (a,), 1
            case "extract":
                number = rng.randrange(width)
                operands, result = (a,), rng.randint(1, width - number)
            case "concat":
                operands = (a, *(pick() for _ in range(rng.randrange(3))))
                result = sum(design.widths[name] for name in operands)
            case "replicate":
                times = rng.randint(1, 4)
                operands, result = (a,), width * times
            case _:
                operands, result = (a, pick(width)), width
        if result <= 300:
            design.lines.append(Line(new(result), kind, operands, number))

    for _ in range(3):
        design.inputs.append(new(rng.choice(WIDTHS)))
    design.inputs.append(new(1))
    # Registers come first, so that everything can read them; their inputs are chosen last.
    states = [new(rng.choice(WIDTHS)) for _ in range(rng.randrange(5))]
    for _ in range(40):
        kinds = (*BINARY, "mux", "mux", "icmp", "parity", *["extract", "concat", "replicate"] * 2)
        add_line(rng.choice(kinds))
        if rng.random() < 0.15:
            source = pick()
            design.registers.append(Line(new(design.widths[source]), "delay", (source,)))
    for state in states:
        width = design.widths[state]
        ports = (pick(width), pick(1), pick(width))
        design.registers.append(Line(state, "register", ports))
    return design


def run(design: Design, inputs: dict[str, list[int]]) -> dict[str, list[int]]:
    state = {line.result: 0 for line in design.registers}
    seen: dict[str, list[int]] = {line.result: [] for line in (*design.lines, *design.registers)}
    for cycle in range(CYCLES):
        values = {**state, **{name: series[cycle] for name, series in inputs.items()}}
        for line in design.lines:
            values[line.result] = design.evaluate(line, values)
        for name, series in seen.items():
            series.append(values[name])
        for line in design.registers:
            data, *reset = (values[name] for name in line.operands)
            state[line.result] = reset[1] if reset and reset[0] else data
    return seen


def parse(text: str) -> ModuleOp:
    module = Parser(new_context(), text).parse_module()
    module.verify()
    return module


@pytest.mark.parametrize("seed", range(40))
def test_random_module(seed: int):
    rng = random.Random(seed)
    design = random_design(rng)
    inputs = {
        name: [rng.getrandbits(design.widths[name]) for _ in range(CYCLES)]
        for name in design.inputs
    }
    expected = run(design, inputs)
    seen = simulate(parse(design.text(rng)), "top", inputs, CYCLES)
    for name, values in expected.items():
        assert seen[f"o{name}"].tolist() == values, name
