import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import IntegerType, ModuleOp, UnregisteredOp
from xdsl.passes import ModulePass
from xdsl.transforms.canonicalize import CanonicalizePass
from xdsl.universe import Universe

from fastml.compiler import opt
from fastml.compiler.modules import SIDECAR, read_module, render_module
from fastml.compiler.opt import CLOSED_PIPE, REPRODUCER, describe, main
from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.universe import FASTML_UNIVERSE
from fastml.dialects import DIALECTS
from fastml.dialects.fastml import ConstantOp
from fastml.lowering import PASSES

SOURCE = """\
func.func @f(%x: i8) -> i8 {
  func.return %x : i8
}
"""


@dataclass(frozen=True)
class Broken(ModulePass):
    """Fail in one of four ways."""

    name = "broken"

    how: str = "assert"
    """Who is to blame: `assert`, `invalid`, `verify` (us) or `user`."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        (function,) = op.ops
        if self.how == "user":
            raise FastmlError("cannot be lowered", function)
        if self.how == "invalid":  # `func.return` does not end the block any more
            block = function.regions[0].block
            stray = UnregisteredOp.with_name("x.y").create(result_types=[])
            block.insert_op_after(stray, block.ops.last)  # pyright: ignore[reportArgumentType]
            return
        if self.how == "verify":
            IntegerType(-1)
        raise AssertionError("impossible")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(PASSES, "broken", lambda: Broken)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "f.mlir"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize("how", ["assert", "invalid", "verify"])
def test_a_defect_leaves_a_reproducer(source: Path, how: str, capsys: pytest.CaptureFixture[str]):
    passes = f"cse,broken{{how={how}}},canonicalize"
    assert main([str(source), "-p", passes, "-o", "out.mlir"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("internal error in 'broken': ")
    assert "Traceback" not in message
    assert not Path("out.mlir").exists()
    first, rest = Path(REPRODUCER).read_text().split("\n", 1)
    expected = "cse,broken" + ("" if how == "assert" else f'{{how="{how}"}}')
    assert first == f"// RUN: fastml-opt %s -p '{expected}'"
    assert rest == SOURCE
    assert main([REPRODUCER, "-p", expected]) == 1


def test_verify_each_blames_the_pass_and_not_a_later_one(
    source: Path, capsys: pytest.CaptureFixture[str]
):
    passes = "broken{how=invalid},canonicalize"
    assert main([str(source), "-p", passes]) == 1
    assert "in 'broken'" in capsys.readouterr().err
    assert main([str(source), "-p", passes, "--no-verify-each"]) == 1
    assert "in 'canonicalize'" in capsys.readouterr().err


def test_a_user_error_leaves_a_reproducer_only_if_asked(
    source: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([str(source), "-p", "broken{how=user}"]) == 2
    assert "f.mlir:1:1: 'func.func': cannot be lowered" in (capsys.readouterr().err)
    assert not Path(REPRODUCER).exists()
    assert main([str(source), "-p", "broken{how=user}", "--reproducer", "r"]) == 2
    assert Path("r").exists()


def test_debug_shows_the_traceback(source: Path):
    with pytest.raises(FastmlError):
        main([str(source), "-p", "broken{how=user}", "--debug"])


def test_the_output_file_appears_whole(source: Path):
    assert main([str(source), "-o", "out.mlir"]) == 0
    assert "func.func @f" in Path("out.mlir").read_text()
    assert sorted(p.name for p in Path().iterdir()) == ["f.mlir", "out.mlir"]


def test_passes_are_described_with_their_options():
    assert describe(Broken) == (
        "broken\n"
        "    Fail in one of four ways.\n"
        "    {how: str = assert}\n"
        "        Who is to blame: `assert`, `invalid`, `verify` (us) or `user`.\n"
    )


def test_every_pass_is_listed_ours_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def register(tool: opt.FastmlOpt) -> None:
        tool.register_pass("canonicalize", lambda: CanonicalizePass)
        tool.register_pass("broken", lambda: Broken)

    monkeypatch.setattr(opt, "PASSES", {"broken": lambda: Broken})
    monkeypatch.setattr(opt.FastmlOpt, "register_all_passes", register)
    assert main(["--list-passes"]) == 0
    listed = capsys.readouterr().out
    assert listed == describe(Broken) + "\n" + describe(CanonicalizePass) + "\n"


def test_large_constants_are_found_beside_the_ir(tmp_path: Path):
    """A folder's IR is read as it lies there; what is printed needs no file beside it."""
    folder = tmp_path / "built"
    matrix = np.arange(64, dtype=np.float32).reshape(8, 8)
    module = ModuleOp([ConstantOp(matrix)])
    blobs = dict[str, Any]()
    folder.mkdir()
    inside, outside = folder / "a.mlir", tmp_path / "b.mlir"
    inside.write_text(render_module(module, blobs))
    np.savez(folder / SIDECAR, **blobs)
    assert " @ " in inside.read_text()
    assert main([str(inside), "-o", str(outside)]) == 0
    (constant,) = read_module(outside).ops
    assert isinstance(constant, ConstantOp)
    assert constant.real.tolist() == matrix.tolist()


def test_constants_that_are_not_beside_the_ir(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "a.mlir"
    path.write_text(render_module(ModuleOp([ConstantOp(np.ones(64, np.float32))]), {}))
    assert main([str(path)]) == 2
    assert "is in a binary file; fastml-opt finds it beside the IR" in capsys.readouterr().err
    np.savez(tmp_path / SIDECAR, other=np.ones(3))
    assert main([str(path)]) == 2
    assert "is not in the binary file beside this one" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(source: Path):
    command = '"$0" -m fastml.compiler.opt "$1" | true; exit ${PIPESTATUS[0]}'
    arguments = ["bash", "-c", command, sys.executable, str(source)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (CLOSED_PIPE, "")


def test_plain_xdsl_opt_knows_our_dialects_and_passes():
    if "fastml" not in entry_points(group="xdsl.universe").names:
        pytest.skip("needs an installed fastml")
    everything = Universe.get_multiverse()
    assert set(DIALECTS) <= set(everything.all_dialects)
    assert set(PASSES) <= set(everything.all_passes)
    assert set(FASTML_UNIVERSE.all_passes) == set(PASSES)


def test_the_driver_loads_no_pass_until_one_is_named():
    probe = """
import sys
from fastml.compiler.opt import FastmlOpt
FastmlOpt("", [])
ours = ("fastml.lowering.", "fastml.runtime")
loaded = [m for m in sys.modules if m.startswith(ours)]
sys.exit(bool(loaded) or not {"onnx", "numba", "rich"}.isdisjoint(sys.modules))
"""
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_a_device_is_not_replaced(tmp_path: Path):
    """Output to what is no regular file, such as ``/dev/null``, goes into it."""
    pipe, file = tmp_path / "pipe", tmp_path / "module.mlir"
    os.mkfifo(pipe)
    file.write_text("builtin.module {}")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert main([str(file), "-o", str(pipe)]) == 0
        assert b"builtin.module" in os.read(reader, 1000)
    finally:
        os.close(reader)
    assert pipe.is_fifo()
