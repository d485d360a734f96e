"""The page on hand-written loop nests: its program, its commands, and what it says is refused."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler import driver, opt
from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError, LocatingParser
from fastml.lowering.check_schedule import check_schedule
from fastml.runtime import mlir

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/write-a-loop-nest.md").read_text()
PROGRAM = (ROOT / "examples/moving_sum.mlir").read_text()


def parse(text: str) -> ModuleOp:
    return LocatingParser(new_context(), text, "moving_sum.mlir").parse_module()


def test_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_tool: Callable[[str], str]
):
    require_tool("verilator")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    commands = 0
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL):
        if language == "python":
            exec(compile(block, "page", "exec"), namespace)
            continue
        for line in block.splitlines():
            tool, *arguments = shlex.split(line)
            run = {"fastml-opt": opt.main, "fastmlc": driver.main}[tool]
            assert run(arguments) == 0, line
            commands += 1
    assert commands == 6
    hardware = Path("moving_sum.sv").read_text()
    (shown,) = re.findall(r"```systemverilog\n(.*?)```", PAGE, re.DOTALL)
    for line in shown.splitlines():
        assert line in hardware


def test_the_page_shows_the_example():
    (shown,) = re.findall(r"```mlir\n(.*?)```", PAGE, re.DOTALL)
    assert PROGRAM.endswith(shown)


def test_upstream_mlir_computes_the_same(require_tool: Callable[[str], str]):
    require_tool("mlir-opt")
    require_tool("mlir-cpu-runner")
    x = np.random.default_rng(1).integers(-128, 128, (20, 32))
    (y,) = mlir.run(parse(PROGRAM), {"x": x}).values()
    padded = np.pad(x, ((0, 0), (8, 0))).cumsum(axis=1)
    np.testing.assert_array_equal(y, padded[:, 8:] - padded[:, :-8])


CHANGES = [
    ("%zero, %word {fastml.start = 1", "%zero, %word {fastml.start = 0"),
    ("latency = 35", "latency = 34"),
    ("ii = 32", "ii = 31"),
    ("fastml.start = 1 : i64}\n  func.return", "fastml.start = 0 : i64}\n  func.return"),
    ("%out =", "%more = affine.load %ring[-%i + 7] : memref<8xi8>\n      %out ="),
    ("%new, %ring[%i]", "%new, %ring[%i + 1]"),
    ("%new, %ring[%i]", "%new, %ring[%i mod 4]"),
    ("%i = 0 to 8 ", "%i = 0 to %turn "),
]


def test_what_the_page_says_is_refused():
    (table,) = re.findall(r"\n\| change .*?\n\|---\|---\|\n(.*)\Z", PAGE, re.DOTALL)
    messages = [row.split(" | ")[1].removesuffix(" |") for row in table.strip().splitlines()]
    for (before, after), message in zip(CHANGES, messages, strict=True):
        assert before in PROGRAM
        with pytest.raises(FastmlError, match=re.escape(message)):
            check_schedule(parse(PROGRAM.replace(before, after, 1)))
