"""Upstream MLIR as a referee: it takes our text, keeps it, and computes the same values."""

import os
from collections.abc import Callable
from io import StringIO
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.affine import Affine, LoadOp, StoreOp
from xdsl.dialects.arith import Arith
from xdsl.dialects.builtin import AffineMapAttr, Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.dialects.memref import MemRef
from xdsl.ir.affine import AffineExpr, AffineMap
from xdsl.parser import Parser
from xdsl.printer import Printer

from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime import mlir
from fastml.runtime.affine import evaluate
from fastml.runtime.trace import Integers

FOLDER = Path(__file__).parents[1] / "filecheck" / "affine"
SAMPLES = ["parallel.mlir", "dense-loops.mlir", "scratch-memory.mlir"]

type_of = "memref<{}xi{}>".format


def parse(text: str) -> ModuleOp:
    context = Context()
    for dialect in (Affine, Arith, Builtin, Func, MemRef):
        context.load_dialect(dialect)
    module = Parser(context, text).parse_module()
    module.verify()
    return module


def with_dimensions(module: ModuleOp) -> ModuleOp:
    """Call every index a dimension, as MLIR does when it parses a custom form."""
    for op in module.walk():
        if isinstance(op, LoadOp | StoreOp) and not op.map.data.num_dims:
            inputs = op.map.data.num_symbols
            dims = [AffineExpr.dimension(i) for i in range(inputs)]
            results = tuple(e.replace_dims_and_symbols([], dims) for e in op.map.data.results)
            op.map = AffineMapAttr(AffineMap(inputs, 0, results))
    return module


def printed(module: ModuleOp, generic: bool) -> str:
    text = StringIO()
    Printer(text, print_generic_format=generic).print_op(module)
    return text.getvalue()


def random_beats(elements: list[tuple[int, int]], frames: int, seed: int) -> Integers:
    """Corners and random values, each in its inclusive range."""
    generator = np.random.default_rng(seed)
    columns: list[list[int]] = []
    for low, high in elements:
        span = high - low + 1
        corners = [low, high, max(low, min(high, 0)), low + span // 2, max(low, high - 1)]
        drawn = [low + int.from_bytes(generator.bytes(24), "little") % span for _ in range(frames)]
        picks = generator.integers(0, 3 * len(corners), frames).tolist()
        columns.append(
            [corners[p] if p < len(corners) else v for p, v in zip(picks, drawn, strict=True)]
        )
    return np.array(columns, dtype=object).T


@pytest.mark.parametrize("generic", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_text_survives_mlir_opt(name: str, generic: bool, require_tool: Callable[[str], str]):
    require_tool("mlir-opt")
    module = parse((FOLDER / name).read_text())
    # xDSL cannot read the custom form of `memref.global`.
    returns_generic = generic or "memref.global" in printed(module, True)
    text = mlir.roundtrip(printed(module, generic), generic=returns_generic)
    again = parse(text)
    assert with_dimensions(again).is_structurally_equivalent(with_dimensions(module))
    assert "fastml.latency" in text


@pytest.mark.parametrize("name", SAMPLES)
def test_values_of_the_samples(name: str, require_tool: Callable[[str], str]):
    require_tool("mlir-cpu-runner")
    module = parse((FOLDER / name).read_text())
    size, low = {"parallel": (2, -128), "dense-loops": (3, -32), "scratch-memory": (4, -32)}[
        name.removesuffix(".mlir")
    ]
    x = np.random.default_rng(0).integers(low, -low, (40, size))
    x[0], x[1] = low, -low - 1
    assert (mlir.run(module, {"x": x})["y"] == evaluate(module, {"x": x}).outputs["y"]).all()


def port(name: str, direction: str, elements: int, width: int, sign: str) -> str:
    layout = f"{elements} x {sign}{width}" if elements > 1 else f"{sign}{width}"
    facts = {"name": name, "port": name, "elements": layout, "direction": direction}
    listed = ", ".join(f'fastml.{key} = "{value}"' for key, value in facts.items())
    return f"%{name} : {type_of(elements, width)} {{{listed}}}"


BINARY = "addi subi muli andi ori xori minsi maxsi minui maxui shli shrsi shrui".split()
COMPARE = "eq ne slt sle sgt sge ult ule ugt uge".split()
WIDTHS = [1, 3, 8, 21, 33, 63, 64, 65, 100]


def every_operation() -> tuple[ModuleOp, dict[str, Integers]]:
    """Every operation of the table at every width, in one function, and beats for it."""
    fresh = (f"%v{n}" for n in count())
    arguments: list[str] = []
    lines: list[str] = []
    beats: dict[str, Integers] = {}

    def emit(expression: str) -> str:
        lines.append(f"{(name := next(fresh))} = {expression}")
        return name

    for width in WIDTHS:
        results: list[str] = []
        x, y, type_ = f"x{width}", f"y{width}", f"i{width}"
        load = f"affine.load %{x}[{{}}] : {type_of(3, width)}".format
        a, b, amount = emit(load(0)), emit(load(1)), emit(load(2))
        for operation in BINARY:
            second = amount if operation.startswith("sh") else b
            result = emit(f"arith.{operation} {a}, {second} : {type_}")
            results.append(emit(f"arith.maxsi {result}, {b} : {type_}"))  # the sign counts
            results.append(result)
        for predicate in COMPARE:
            relation = emit(f"arith.cmpi {predicate}, {a}, {b} : {type_}")
            results.append(emit(f"arith.select {relation}, {a}, {b} : {type_}"))
        for other in WIDTHS:
            casts = ["trunci"] if other < width else ["extsi", "extui"] if other > width else []
            back = ["trunci"] if other > width else ["extsi", "extui"]
            for cast, again in ((c, g) for c in casts for g in back):
                there = emit(f"arith.{cast} {a} : {type_} to i{other}")
                results.append(emit(f"arith.{again} {there} : i{other} to {type_}"))
                if other > width:  # what the trunci would hide
                    shift = emit(f"arith.constant {min(width, other - 1)} : i{other}")
                    upper = emit(f"arith.shrui {there}, {shift} : i{other}")
                    results.append(emit(f"arith.trunci {upper} : i{other} to {type_}"))
        index = emit(f"arith.index_cast {a} : {type_} to index")
        results.append(emit(f"arith.index_cast {index} : index to {type_}"))
        for k, result in enumerate(results):
            lines.append(f"affine.store {result}, %{y}[{k}] : {type_of(len(results), width)}")
        arguments += [port(x, "in", 3, width, "u"), port(y, "out", len(results), width, "s")]
        high = (1 << width) - 1
        beats[x] = random_beats([(0, high), (0, high), (0, width - 1)], 120, width)
    body = "\n".join([*lines, "func.return"])
    text = f"func.func @top({', '.join(arguments)}) attributes {{fastml.top}} {{\n{body}\n}}"
    return parse(text), beats


def test_every_operation_at_every_width(require_tool: Callable[[str], str]):
    require_tool("mlir-cpu-runner")
    module, beats = every_operation()
    ours, theirs = evaluate(module, beats).outputs, mlir.run(module, beats)
    assert list(ours) == list(theirs) == [f"y{width}" for width in WIDTHS]
    for name, values in ours.items():
        wrong = np.argwhere(values != theirs[name]).tolist()
        assert not wrong, f"{name}: frame and element {wrong[0]}"
        assert len(np.unique(values)) > 1


def test_the_referee_disagrees_with_a_mutant(require_tool: Callable[[str], str]):
    require_tool("mlir-cpu-runner")
    text = (FOLDER / "parallel.mlir").read_text()
    x = np.random.default_rng(0).integers(-128, 128, (40, 2))
    theirs = mlir.run(parse(text), {"x": x})["y"]
    for old, new in [("arith.maxsi", "arith.minsi"), ("extsi %0", "extui %0")]:
        assert old in text
        mutant = parse(text.replace(old, new))
        assert (evaluate(mutant, {"x": x}).outputs["y"] != theirs).any()


def test_mixed_elements_and_several_ports(require_tool: Callable[[str], str]):
    require_tool("mlir-cpu-runner")
    facts = 'fastml.name = "{0}", fastml.port = "{0}", fastml.direction = "{1}"'.format
    text = f"""
    func.func @top(
        %x : memref<3xi90> {{{facts("x", "in")}, fastml.elements = "u7, u0, s90"}},
        %z : memref<1xi1> {{{facts("z", "in")}, fastml.elements = "u0"}},
        %p : memref<3xi90> {{{facts("p", "out")}, fastml.elements = "u7, u0, s90"}},
        %q : memref<1xi1> {{{facts("q", "out")}, fastml.elements = "u1"}})
        attributes {{fastml.top}} {{
      affine.for %i = 0 to 3 {{
        %0 = affine.load %x[%i] : memref<3xi90>
        affine.store %0, %p[%i] : memref<3xi90>
      }}
      %1 = affine.load %z[0] : memref<1xi1>
      %2 = arith.constant 1 : i1
      %3 = arith.xori %1, %2 : i1
      affine.store %3, %q[0] : memref<1xi1>
      func.return
    }}"""
    x = random_beats([(0, 127), (0, 0), (-(1 << 89), (1 << 89) - 1)], 30, 0)
    beats: dict[str, Integers] = {"x": x, "z": np.zeros((30, 1), np.int64)}
    theirs = mlir.run(parse(text), beats)
    assert (theirs["p"] == x).all()
    assert theirs["q"].tolist() == [[1]] * 30
    assert (evaluate(parse(text), beats).outputs["p"] == x).all()


def test_what_a_tool_says_is_reported(require_tool: Callable[[str], str]):
    require_tool("mlir-opt")
    with pytest.raises(FastmlError, match=r"error\[FML-TOOL\] mlir-opt.*undeclared SSA value"):
        mlir.roundtrip("func.func @f() { func.return %x : i8 }")


def test_an_absent_tool_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(os.environ, "PATH", "")
    assert not mlir.is_available()
    with pytest.raises(FastmlError, match="mlir-opt: is not installed"):
        mlir.roundtrip("")
