"""IR that the tests of HLS C++ print, compile and hold against the interpreter."""

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.emit.hls.build import build_program, design_of
from fastml.compiler.emit.hls.flavours import FLAVOURS
from fastml.compiler.modules import parse_module
from fastml.runtime.affine import Program
from fastml.runtime.csim import CompiledDesign, CppDesign, build_library, find_headers
from fastml.runtime.trace import Integers, Stimulus

BINARY = "addi subi muli andi ori xori minsi maxsi minui maxui".split()
PREDICATES = "eq ne slt sle sgt sge ult ule ugt uge".split()


def port(name: str, direction: str, elements: str, count: int, container: str) -> str:
    """Declare an argument of the top function."""
    layout = f"{count} x {elements}" if count > 1 else elements
    return (
        f'%{name} : memref<{count}x{container}> {{fastml.name = "{name}", fastml.port = "{name}", '
        f'fastml.elements = "{layout}", fastml.direction = "{direction}"}}'
    )


def top(arguments: Sequence[str], body: str, ii: int = 1, latency: int = 0) -> str:
    """Return the text of a top function."""
    return (
        f"func.func @design({', '.join(arguments)}) attributes {{fastml.top, "
        f"fastml.ii = {ii} : i64, fastml.latency = {latency} : i64}} {{\n{body}\nfunc.return\n}}\n"
    )


def scalar_operations(width: int, tag: str = "") -> tuple[list[str], str]:
    """Return ports and body of every scalar operation on integers of ``width`` bits.

    Port ``x`` holds two operands; ``y`` holds results, a few bits wider than they are.
    """
    n, wide = f"i{width}", f"i{width + 3}"
    body = [
        f"%{tag}{name} = affine.load %x{tag}[{k}] : memref<2x{n}>" for k, name in enumerate("ab")
    ]
    a, b = f"%{tag}a", f"%{tag}b"
    results = list[str]()

    def add(text: str, kind: str, signed: bool = True) -> None:
        name = f"%{tag}r{len(results)}"
        body.append(f"{name}n = {text}")
        extend = "extsi" if signed else "extui"
        body.append(f"{name} = arith.{extend} {name}n : {kind} to {wide}")
        results.append(name)

    for op in BINARY:
        add(f"arith.{op} {a}, {b} : {n}", n, signed=op not in ("ori", "minui", "maxui"))
    for predicate in PREDICATES:
        add(f"arith.cmpi {predicate}, {a}, {b} : {n}", "i1", signed=predicate != "ult")
        body.append(f"{results[-1]}c = arith.select {results[-1]}n, {a}, {b} : {n}")
        add(f"arith.xori {results[-1]}c, {a} : {n}", n)
    for amount in sorted({0, 1, width // 2, width - 1} & set(range(width))):
        literal = f"%{tag}s{amount}"
        body.append(
            f"{literal} = arith.constant {amount if width > amount.bit_length() else -1} : {n}"
        )
        for op in ("shli", "shrsi", "shrui"):
            add(f"arith.{op} {a}, {literal} : {n}", n, signed=op != "shrui")
    if width > 1:
        body.append(f"%{tag}t = arith.trunci {b} : {n} to i{width - 1}")
        add(f"arith.addi %{tag}t, %{tag}t : i{width - 1}", f"i{width - 1}")
        limit = min(width, (1 << (width - 1)) - 1)
        body.append(f"%{tag}limit = arith.constant {limit} : {n}")
        body.append(f"%{tag}below = arith.cmpi ult, {b}, %{tag}limit : {n}")
        body.append(f"%{tag}zero = arith.constant 0 : {n}")
        body.append(f"%{tag}by = arith.select %{tag}below, {b}, %{tag}zero : {n}")
        for op in ("shli", "shrsi", "shrui"):
            add(f"arith.{op} {a}, %{tag}by : {n}", n)
        value = -(1 << (width - 1)) + 1
        body.append(f"%{tag}low = arith.constant {value} : {n}")
        add(f"arith.addi {a}, %{tag}low : {n}", n)
        add(f"arith.cmpi sge, {a}, %{tag}low : {n}", "i1", signed=False)
        add(f"arith.cmpi ult, {a}, %{tag}low : {n}", "i1", signed=False)
        body.append(f"%{tag}k = arith.select %{tag}below, %{tag}low, {a} : {n}")
        add(f"arith.subi %{tag}k, {b} : {n}", n)
    count = len(results)
    for k, name in enumerate(results):
        body.append(f"affine.store {name}, %y{tag}[{k}] : memref<{count}x{wide}>")
    ports = [
        port(f"x{tag}", "in", f"s{width}", 2, n),
        port(f"y{tag}", "out", f"s{width + 3}", count, wide),
    ]
    return ports, "\n".join(body)


def parse(text: str) -> ModuleOp:
    """Parse IR."""
    return parse_module(text, "test.mlir")


def printed(module: ModuleOp, flavour: str, **fractions: int) -> CppDesign:
    """Print a module as C++."""
    return design_of(build_program(module, FLAVOURS[flavour], fractions=fractions), module)


def compiled(design: CppDesign) -> CompiledDesign:
    """Compile C++, without a warning."""
    headers = find_headers(design.library)
    flags = ("-O0", "-fno-exceptions", "-Werror")
    return CompiledDesign(design, build_library(design, headers, flags))


def random_beats(module: ModuleOp, frames: int, seed: int = 0) -> dict[str, Integers]:
    """Draw beats for every input, its extremes among them."""
    rng = np.random.default_rng(seed)
    beats = dict[str, Integers]()
    for p in Program(module).inputs:
        columns = list[list[int]]()
        for width, signed in zip(p.elements.widths, p.elements.signed, strict=True):
            low, high = (
                (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
            )
            if width == 0:
                low = high = 0
            chosen = [low, high, 0, min(1, high), max(-1, low)]
            words = [int.from_bytes(rng.bytes(width // 8 + 1), "little") for _ in range(frames)]
            drawn = [low + word % (high - low + 1) for word in words]
            picks = rng.integers(0, len(chosen) * 3, frames)
            columns.append(
                [chosen[k] if k < len(chosen) else d for k, d in zip(picks, drawn, strict=True)]
            )
        exact = np.array(columns, object).T.reshape(frames, len(p.elements))
        beats[p.name] = exact if max(p.elements.widths, default=0) > 63 else exact.astype(np.int64)
    return beats


def interpret(
    module: ModuleOp, beats: dict[str, Integers], taps: Sequence[str] = ()
) -> dict[str, Integers]:
    """Return outputs and taps of the interpreter, by edge."""
    program = Program(module, timed=False)
    names = {p.name: p.port for p in program.ports}
    found = program.evaluate({names[edge]: values for edge, values in beats.items()}, taps)
    edges = {p.port: p.name for p in program.outputs}
    return {edges[p]: v for p, v in found.outputs.items()} | dict(found.taps)


def hold_against_interpreter(
    module: ModuleOp, flavour: str, frames: int = 100, **fractions: int
) -> None:
    """Compile, run, and compare every output and every edge between."""
    design = printed(module, flavour, **fractions)
    beats = random_beats(module, frames)
    taps = list(design.taps)
    outputs, tapped = compiled(design)(beats, taps)
    expected = interpret(module, beats, taps)
    for edge, values in {**outputs, **tapped}.items():
        np.testing.assert_array_equal(values, expected[edge], edge)


def stimulus(beats: dict[str, Integers]) -> Stimulus:
    """Offer beats back to back."""
    frames = len(next(iter(beats.values())))
    return Stimulus(beats, np.zeros(frames, np.int64))
