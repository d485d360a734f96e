"""Every combinational operation over many widths: three judges of one module.

The judges are formulas on Python integers, written down here; the simulator, once along time
and once clock by clock inside a loop through a register; and Verilator on what we print.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.runtime.bits import from_integers, to_integers
from fastml.runtime.hw import simulate
from fastml.runtime.hw_compile import compile_netlist
from fastml.runtime.hw_netlist import flatten
from fastml.runtime.hw_ops import ELEMENTARY
from fastml.runtime.hw_slots import Component
from fastml.runtime.verilator import VerilatedDesign, lint

WIDTHS = (1, 2, 7, 31, 32, 33, 62, 63, 64, 65, 80)
CYCLES = 80


@dataclass(frozen=True)
class Case:
    """An operation on `%a`, `%b` (as wide), `%c` (one bit), and what it means."""

    name: str
    text: str
    width: Callable[[int], int]
    meaning: Callable[[int, int, int, int], int]
    """From a, b, c and the width; the result is taken modulo its width."""


def signed(value: int, width: int) -> int:
    return value - (value >> (width - 1) << width)


def quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def same(width: int) -> int:
    return width


def one(width: int) -> int:
    return 1


def arithmetic(name: str, meaning: Callable[[int, int, int], int]) -> Case:
    text = f"comb.{name} %a, %b : iW"
    return Case(name, text, same, lambda a, b, c, w: meaning(a, b, w))


def near(name: str, meaning: Callable[[int, int, int], int]) -> Case:
    """Shift by less than eight."""
    text = f"comb.{name} %a, %near : iW"
    return Case(f"{name}_near", text, same, lambda a, b, c, w: meaning(a, b % 8, w))


def division(name: str, meaning: Callable[[int, int], int], is_signed: bool) -> Case:
    """Divide by something odd: what division by zero gives is not defined."""

    def whole(a: int, b: int, c: int, w: int) -> int:
        return meaning(signed(a, w), signed(b | 1, w)) if is_signed else meaning(a, b | 1)

    return Case(name, f"comb.{name} %a, %odd : iW", same, whole)


def comparison(name: str, meaning: Callable[[int, int], bool]) -> Case:
    def whole(a: int, b: int, c: int, w: int) -> int:
        return meaning(signed(a, w), signed(b, w)) if name[0] == "s" else meaning(a, b)

    return Case(f"icmp_{name}", f"comb.icmp {name} %a, %b : iW", one, whole)


CASES = [
    Case("add3", "comb.add %a, %b, %a : iW", same, lambda a, b, c, w: a + b + a),
    Case("mul3", "comb.mul %a, %b, %a : iW", same, lambda a, b, c, w: a * b * a),
    arithmetic("sub", lambda a, b, w: a - b),
    arithmetic("and", lambda a, b, w: a & b),
    arithmetic("or", lambda a, b, w: a | b),
    arithmetic("xor", lambda a, b, w: a ^ b),
    Case("not", "comb.xor %a, %ones : iW", same, lambda a, b, c, w: ~a),
    arithmetic("shl", lambda a, b, w: a << b if b < w else 0),
    arithmetic("shru", lambda a, b, w: a >> b if b < w else 0),
    arithmetic("shrs", lambda a, b, w: signed(a, w) >> min(b, w)),
    near("shl", lambda a, by, w: a << by if by < w else 0),
    near("shru", lambda a, by, w: a >> by),
    near("shrs", lambda a, by, w: signed(a, w) >> by),
    division("divu", lambda a, b: a // b, False),
    division("modu", lambda a, b: a % b, False),
    division("divs", quotient, True),
    division("mods", lambda a, b: a - b * quotient(a, b), True),
    comparison("eq", lambda a, b: a == b),
    comparison("ne", lambda a, b: a != b),
    comparison("slt", lambda a, b: a < b),
    comparison("sle", lambda a, b: a <= b),
    comparison("sgt", lambda a, b: a > b),
    comparison("sge", lambda a, b: a >= b),
    comparison("ult", lambda a, b: a < b),
    comparison("ule", lambda a, b: a <= b),
    comparison("ugt", lambda a, b: a > b),
    comparison("uge", lambda a, b: a >= b),
    Case("sge_ones", "comb.icmp sge %a, %ones : iW", one, lambda a, b, c, w: signed(a, w) >= -1),
    Case(
        "sgt_least",
        "comb.icmp sgt %a, %least : iW",
        one,
        lambda a, b, c, w: signed(a, w) > -(1 << (w - 1)),
    ),
    Case("parity", "comb.parity %a : iW", one, lambda a, b, c, w: a.bit_count()),
    Case("mux", "comb.mux %c, %a, %b : iW", same, lambda a, b, c, w: a if c else b),
    Case("wire", "hw.wire %b : iW", same, lambda a, b, c, w: b),
    Case(
        "concat",
        "comb.concat %a, %c, %b : iW, i1, iW",
        lambda w: 2 * w + 1,
        lambda a, b, c, w: (a << (w + 1)) | (c << w) | b,
    ),
    Case(
        "replicate",
        "comb.replicate %a : (iW) -> iR",
        lambda w: 3 * w,
        lambda a, b, c, w: a | (a << w) | (a << 2 * w),
    ),
    Case(
        "high",
        "comb.extract %a from LOW : (iW) -> iR",
        lambda w: w - w // 3,
        lambda a, b, c, w: a >> (w // 3),
    ),
    Case(
        "extend", "comb.concat %sign, %a : i5, iW", lambda w: w + 5, lambda a, b, c, w: signed(a, w)
    ),
    Case(
        "inner",
        "comb.extract %extended from LOW : (iE) -> iR",
        lambda w: w - w // 3 + 2,
        lambda a, b, c, w: signed(a, w) >> (w // 3),
    ),
    Case(
        "table",
        "hw.array_get %table[%index] : !hw.array<4xiW>, i2",
        same,
        lambda a, b, c, w: (1, -1, 3, 2**w // 3)[2 * (a & 1) + c],
    ),
    Case(
        "choice",
        "hw.array_get %signals[%index] : !hw.array<4xiW>, i2",
        same,
        lambda a, b, c, w: (a, b, a, ~0)[2 * (a & 1) + c],
    ),
]


def helper_lines(width: int) -> list[str]:
    table = ", ".join(str(signed(v % 2**width, width)) + " : iW" for v in (2**width // 3, 3, -1, 1))
    return [
        "%one = hw.constant 1 : iW" if width > 1 else "%one = hw.constant true",
        "%ones = hw.constant -1 : iW" if width > 1 else "%ones = hw.constant true",
        f"%least = hw.constant {-1 << (width - 1)} : iW"
        if width > 1
        else "%least = hw.constant true",
        "%odd = comb.or %b, %one : iW",
        "%seven = hw.constant 7 : iW" if width > 3 else "%seven = comb.or %one, %ones : iW",
        "%near = comb.and %b, %seven : iW",
        f"%msb = comb.extract %a from {width - 1} : (iW) -> i1",
        "%sign = comb.replicate %msb : (i1) -> i5",
        "%extended = comb.concat %sign, %a : i5, iW",
        "%low = comb.extract %a from 0 : (iW) -> i1",
        "%index = comb.concat %low, %c : i1, i1",
        f"%table = hw.aggregate_constant [{table}] : !hw.array<4xiW>",
        "%signals = hw.array_create %ones, %a, %b, %a : iW",
    ]


def substitute(text: str, width: int, result: int) -> str:
    return (
        text.replace("iW", f"i{width}")
        .replace("iR", f"i{result}")
        .replace("iE", f"i{width + 5}")
        .replace("LOW", str(width // 3))
    )


def module_text(width: int, looped: bool) -> str:
    """Print one module with all operations; ``looped`` puts each into a feedback loop."""
    names = [(f"y{i}", case.width(width)) for i, case in enumerate(CASES)]
    outs = ", ".join(f"out {name} : i{w}" for name, w in names)
    lines = [f"hw.module @w{width}(in %clk : !seq.clock, in %rst : i1, in %p : i{width},"]
    lines.append(f"in %q : i{width}, in %s : i1, {outs}) {{")
    if looped:
        # %z is always zero after reset, but depends on every result.
        lines += [
            "%zero = hw.constant 0 : i1",
            "%z = seq.compreg %zn, %clk reset %rst, %zero : i1",
            f"%zw = comb.replicate %z : (i1) -> i{width}",
            f"%a = comb.xor %p, %zw : i{width}",
            f"%b = comb.xor %q, %zw : i{width}",
            "%c = comb.xor %s, %z : i1",
        ]
        bits: list[str] = []
        for index, (name, result) in enumerate(names):
            lines.append(f"%bit{index} = comb.extract %{name} from 0 : (i{result}) -> i1")
            bits.append(f"%bit{index}")
        lines.append(f"%any = comb.or {', '.join(bits)} : i1")
        lines.append("%zn = comb.and %any, %zero : i1")
    else:
        lines += [f"%a = hw.wire %p : i{width}", f"%b = hw.wire %q : i{width}"]
        lines.append("%c = hw.wire %s : i1")
    lines += [substitute(line, width, 0) for line in helper_lines(width)]
    for (name, result), case in zip(names, CASES, strict=True):
        lines.append(f"%{name} = {substitute(case.text, width, result)}")
    values = ", ".join(f"%{name}" for name, _ in names)
    lines.append(f"hw.output {values} : {', '.join(f'i{w}' for _, w in names)}\n}}")
    return "\n".join(lines)


def parse(text: str) -> ModuleOp:
    module = Parser(new_context(), text).parse_module()
    module.verify()
    return module


@cache
def vectors(width: int) -> dict[str, list[int]]:
    """Corners in every combination, then random values of random magnitude."""
    rng = random.Random(width)
    top = (1 << width) - 1
    corners = sorted({0, 1, top, top >> 1, (top >> 1) + 1, top - 1, 3 & top})
    pairs = [(a, b) for a in corners for b in corners]
    while len(pairs) < CYCLES:
        pairs.append((rng.getrandbits(width), rng.getrandbits(rng.randint(1, width))))
    pairs = pairs[:CYCLES]
    return {
        "rst": [int(t < 2) for t in range(CYCLES)],
        "p": [a for a, _ in pairs],
        "q": [b for _, b in pairs],
        "s": [rng.getrandbits(1) for _ in pairs],
    }


@cache
def expected(width: int) -> list[list[int]]:
    inputs = vectors(width)
    rows = list(zip(inputs["p"], inputs["q"], inputs["s"], strict=True))
    return [
        [case.meaning(a, b, c, width) % (1 << case.width(width)) for a, b, c in rows]
        for case in CASES
    ]


@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_simulator(width: int, looped: bool):
    module = parse(module_text(width, looped))
    seen = simulate(module, f"w{width}", vectors(width), CYCLES)
    for index, (case, values) in enumerate(zip(CASES, expected(width), strict=True)):
        assert seen[f"y{index}"][2:].tolist() == values[2:], case.name


@pytest.mark.parametrize("looped", [False, True])
def test_loops_are_run_clock_by_clock(looped: bool):
    """The looped variant would test nothing if its operations were outside the loop."""
    netlist = flatten(parse(module_text(7, looped)), "w7")
    program = compile_netlist(netlist, [])
    inside = [i.param.code for i in program.code if isinstance(i.param, Component)]
    used = {instruction.name for code in inside for instruction in code}
    assert used >= set(ELEMENTARY) | {"table"} if looped else not inside


def together(looped: bool) -> tuple[str, dict[str, int], dict[str, int]]:
    """Put the modules of all widths under one top."""
    parts = [module_text(width, looped) for width in WIDTHS]
    inputs = {"rst": 1}
    outputs: dict[str, int] = {}
    body: list[str] = []
    for width in WIDTHS:
        ports = {f"p{width}": width, f"q{width}": width, f"s{width}": 1}
        inputs |= ports
        args = ", ".join(f"{p[0]}: %{p}: i{w}" for p, w in ports.items())
        outs = {f"y{i}": case.width(width) for i, case in enumerate(CASES)}
        outputs |= {f"{name}_{width}": w for name, w in outs.items()}
        results = ", ".join(f"%{name}_{width}" for name in outs)
        types = ", ".join(f"{name}: i{w}" for name, w in outs.items())
        body.append(
            f'{results} = hw.instance "u{width}" @w{width}'
            f"(clk: %clk: !seq.clock, rst: %rst: i1, {args}) -> ({types})"
        )
    ins = ", ".join(f"in %{name} : i{w}" for name, w in inputs.items())
    outs_text = ", ".join(f"out {name} : i{w}" for name, w in outputs.items())
    values = ", ".join(f"%{name}" for name in outputs)
    types = ", ".join(f"i{w}" for w in outputs.values())
    top = f"hw.module @top(in %clk : !seq.clock, {ins}, {outs_text}) {{"
    return (
        "\n".join([*parts, top, *body, f"hw.output {values} : {types}\n}}"]),
        inputs,
        outputs,
    )


def overflows(width: int) -> set[int]:
    """Cycles that divide the least number by -1, where Verilator gives 0."""
    pairs = zip(vectors(width)["p"], vectors(width)["q"], strict=True)
    least, minus_one = 1 << (width - 1), (1 << width) - 1
    return {t for t, (a, b) in enumerate(pairs) if a == least and b | 1 == minus_one}


def test_verilator(require_tool: Callable[[str], str]):
    require_tool("verilator")
    text, inputs, outputs = together(looped=False)
    files = emit_systemverilog(parse(text))
    assert lint(files, "top") == []
    design = VerilatedDesign(files, "top", inputs, outputs)
    words = {"rst": from_integers(vectors(1)["rst"], 1)}
    for width in WIDTHS:
        for name, values in vectors(width).items():
            if name != "rst":
                words[f"{name}{width}"] = from_integers(values, inputs[f"{name}{width}"])
    seen = design.run(words, CYCLES)
    for width in WIDTHS:
        for index, (case, values) in enumerate(zip(CASES, expected(width), strict=True)):
            name = f"y{index}_{width}"
            found = to_integers(seen[name], outputs[name]).tolist()
            wraps = overflows(width) if case.name in ("divs", "mods") else set[int]()
            for cycle, (one_value, other) in enumerate(zip(found, values, strict=True)):
                assert one_value == other or cycle in wraps, (case.name, width, cycle)
