"""State that is looked up along time, against the same design run clock by clock."""

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fastml.compiler.pipelines import new_context
from fastml.runtime.bits import from_integers
from fastml.runtime.hw import CHUNK, HwSimulator, Undefined
from fastml.runtime.hw_recall import StateBuilder

PORTS = {"rst": 1, "a": 1, "b": 1, "at": 3, "to": 3, "x": 20, "w": 150}
HOLD = """
    %c9 = hw.constant 9 : i20
    %s = comb.extract %x from 19 : (i20) -> i1
    %xs = comb.replicate %s : (i1) -> i100
    %wide = comb.concat %xs, %x : i100, i20
    %n1 = comb.mux %a, %x, %r1 : i20
    %r1 = seq.compreg %n1, %clk reset %rst, %c9 : i20
    %n2 = comb.mux %a, %r2, %wide : i120
    %k2 = hw.wire %n2 {sv.namehint = "kept"} : i120
    %r2 = seq.compreg %k2, %clk : i120
    %in = comb.mux %b, %w, %r3 : i150
    %n3 = comb.mux %a, %flipped, %in : i150
    %r3 = seq.compreg %n3, %clk : i150
    %high = comb.extract %w from 75 : (i150) -> i75
    %rest = comb.extract %w from 0 : (i150) -> i75
    %flipped = comb.concat %rest, %high : i75, i75
    hw.output %r1, %r2, %r3 : i20, i120, i150"""
MEMORY = """
    %m = seq.firmem 0, 1, undefined, undefined : <6 x 150>
    %n = seq.firmem 1, 1, {rule}, undefined : <8 x 120>
    %s = comb.extract %x from 19 : (i20) -> i1
    %xs = comb.replicate %s : (i1) -> i100
    %wide = comb.concat %xs, %x : i100, i20
    %one = seq.firmem.read_port %n[%at], clock %clk enable %b : <8 x 120>
    %now = seq.firmem.read_port %m[%at], clock %clk : <6 x 150>
    %two = seq.firmem.read_port %m[%to], clock %clk enable %b : <6 x 150>
    seq.firmem.write_port %m[%to] = %w, clock %clk enable %a : <6 x 150>
    seq.firmem.write_port %n[%to] = %wide, clock %clk enable %a : <8 x 120>
    %both = comb.xor %now, %two : i150
    %low = comb.extract %x from 0 : (i20) -> i20
    hw.output %low, %one, %both : i20, i120, i150"""
BODIES = {"hold": HOLD} | {
    rule: MEMORY.replace("{rule}", rule) for rule in ("old", "new", "undefined")
}


def design(body: str) -> ModuleOp:
    inputs = ", ".join(f"in %{name} : i{width}" for name, width in PORTS.items())
    text = f"""hw.module @top(in %clk : !seq.clock, {inputs},
        out p : i20, out q : i120, out r : i150) {{ {body} }}"""
    module = Parser(new_context(), text).parse_module()
    module.verify()
    return module


@pytest.mark.parametrize("name", BODIES)
def test_both_ways_agree(name: str, monkeypatch: pytest.MonkeyPatch):
    cycles = 2 * CHUNK + 100
    rng = np.random.default_rng(3)
    inputs = {
        port: from_integers([int.from_bytes(rng.bytes(19)) for _ in range(cycles)], width)
        for port, width in PORTS.items()
    }
    inputs["rst"][:] = rng.random((cycles, 1)) < 0.01
    inputs["a"][CHUNK - 50 : CHUNK + 50] = 0  # what is held goes from one chunk to the next
    watch = ["kept"] if name == "hold" else []
    looked_up = HwSimulator(design(BODIES[name]), "top", watch)
    names = {i.name for i in looked_up._program.code}  # pyright: ignore[reportPrivateUsage]
    assert "component" not in names
    for method in ("hold", "recall"):
        monkeypatch.setattr(StateBuilder, method, lambda *_: False)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    stepped = HwSimulator(design(BODIES[name]), "top", watch)
    names = {i.name for i in stepped._program.code}  # pyright: ignore[reportPrivateUsage]
    assert "component" in names
    ours, theirs = (s.run(inputs, cycles, Undefined.ZEROS) for s in (looked_up, stepped))
    for port, words in theirs.items():
        assert words.any()
        assert (ours[port] == words).all(), port


@pytest.mark.parametrize("name", ["old", "undefined"])
def test_undefined_words_differ_between_choices(name: str):
    cycles = 200
    rng = np.random.default_rng(3)
    inputs = {
        port: from_integers([int.from_bytes(rng.bytes(19)) for _ in range(cycles)], width)
        for port, width in PORTS.items()
    }
    simulator = HwSimulator(design(BODIES[name]), "top")
    assert simulator.settle is None
    first, second = (simulator.run(inputs, cycles, u) for u in list(Undefined)[1:])
    enable, write, at, to = (inputs[n][:-1, 0] for n in ("b", "a", "at", "to"))
    undefined = enable == 0  # not read
    if name == "undefined":
        undefined |= (write != 0) & (at == to)
    late = slice(100, None)  # by then every cell has been written
    differs = (first["q"][1:] != second["q"][1:]).any(axis=1)
    assert (differs[late] == undefined[late]).all()
    assert undefined[late].any()
