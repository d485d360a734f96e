"""The simulator of `hw` against independent models on Python integers."""

import random
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.bits import from_integers, pack_rows, to_integers, unpack_rows
from fastml.runtime.clocked import simulate_frames
from fastml.runtime.hw import CHUNK, HwSimulator, Undefined, simulate
from fastml.runtime.trace import PortLayout, Stimulus, TapLayout, back_to_back

MACHINE = Path(__file__).parent / "hardware" / "counter_memory.mlir"


def parse(text: str) -> ModuleOp:
    module = Parser(new_context(), text).parse_module()
    module.verify()
    return module


class Machine:
    """What ``counter_memory.mlir`` is meant to do, one call a cycle."""

    weights = (64, -1, 0, 1, -128, 127, -5, 3)

    def __init__(self):
        self.draining = self.reading = self.done = False
        self.filled = self.drained = self.total = self.at = self.word = 0
        self.store = [0] * 8

    def step(self, rst: int, push: int, x: int) -> tuple[int, int, int]:
        seen = int(self.draining), self.total % 2**20, int(self.done)
        take = bool(push) and not self.draining
        empty = self.drained == 8
        total = self.total
        if self.reading:
            total += (self.word - 4096 * (self.word >> 11)) * self.weights[self.at]
        elif not self.draining:
            total = 0
        self.total = 0 if rst else total
        self.reading = self.draining and not rst
        self.word, self.at = self.store[self.drained % 8], self.drained % 8
        if take:
            self.store[self.filled % 8] = x
        goes = self.draining or (take and self.filled == 7)
        clear = rst or empty
        self.drained = 0 if clear else (self.drained + self.draining) % 16
        self.filled = 0 if clear else (self.filled + take) % 16
        self.draining = goes and not empty and not rst
        self.done = empty and not rst
        return seen


def random_inputs(seed: int, cycles: int) -> dict[str, list[int]]:
    """Draw inputs with resets in the middle of everything."""
    rng = random.Random(seed)
    resets = [1, 1, *(int(rng.random() < 0.01) for _ in range(cycles - 2))]
    return {
        "rst": resets,
        "push": [int(rng.random() < 0.7) for _ in range(cycles)],
        "x": [rng.getrandbits(12) for _ in range(cycles)],
    }


@pytest.mark.parametrize("undefined", Undefined)
def test_state_machine(undefined: Undefined):
    cycles = CHUNK + 700  # state is carried from one chunk to the next
    inputs = random_inputs(0, cycles)
    model = Machine()
    rows = zip(*inputs.values(), strict=True)
    expected = np.array([model.step(*row) for row in rows])
    seen = simulate(parse(MACHINE.read_text()), "machine", inputs, cycles, undefined=undefined)
    assert expected[:, 2].sum() > 50
    for column, name in enumerate(("busy", "total", "done")):
        assert (seen[name][1:] == expected[1:, column]).all(), name


def test_wires_can_be_watched():
    inputs = random_inputs(1, 200)
    module = parse(MACHINE.read_text())
    seen = simulate(module, "machine", inputs, 200, watch=["draining", "sum", "x"])
    assert (seen["draining"] == seen["busy"]).all()
    assert (seen["sum"] == seen["total"]).all()
    assert seen["x"].tolist() == inputs["x"]
    with pytest.raises(FastmlError, match="there is no wire named 'nowhere'"):
        HwSimulator(module, "machine", ["nowhere"])


def test_no_cycles():
    empty: dict[str, list[int]] = {"rst": [], "push": [], "x": []}
    seen = simulate(parse(MACHINE.read_text()), "machine", empty, 0)
    assert {name: len(values) for name, values in seen.items()} == dict.fromkeys(seen, 0)


def test_inputs_are_checked():
    module = parse(MACHINE.read_text())
    with pytest.raises(ValueError, match="inputs and ports differ in: y"):
        simulate(module, "machine", {**random_inputs(0, 4), "y": [0] * 4}, 4)
    with pytest.raises(ValueError, match="fewer than 5 cycles given for: rst, push, x"):
        simulate(module, "machine", random_inputs(0, 4), 5)


def test_wide_registers_and_selections():
    module = parse("""
        hw.module @wide(in %clk : !seq.clock, in %c : i1, in %x : i200, in %z : i7,
                        out y : i200, out low : i70) {
          %high = comb.extract %x from 100 : (i200) -> i100
          %rest = comb.extract %x from 0 : (i200) -> i100
          %swapped = comb.concat %rest, %high : i100, i100
          %chosen = comb.mux %c, %swapped, %x : i200
          %y = seq.compreg %chosen, %clk : i200
          %s = comb.extract %z from 6 : (i7) -> i1
          %r = comb.replicate %s : (i1) -> i63
          %ext = comb.concat %r, %z : i63, i7
          %cut = comb.extract %x from 33 : (i200) -> i70
          %low = comb.mul %ext, %cut : i70
          hw.output %y, %low : i200, i70
        }""")
    rng = random.Random(0)
    cycles = 60
    x = [rng.getrandbits(200) for _ in range(cycles)]
    c = [rng.getrandbits(1) for _ in range(cycles)]
    z = [rng.getrandbits(7) for _ in range(cycles)]
    seen = simulate(module, "wide", {"c": c, "x": x, "z": z}, cycles)
    swapped = [
        (v >> 100) | ((v & (2**100 - 1)) << 100) if s else v for v, s in zip(x, c, strict=True)
    ]
    assert seen["y"].tolist() == [0, *swapped[:-1]]
    product = [((b - 128 * (b >> 6)) * (v >> 33)) % 2**70 for v, b in zip(x, z, strict=True)]
    assert seen["low"].tolist() == product


def test_a_bus_of_thousands_of_bits_is_never_one_number():
    count = 500
    elements = "\n".join(
        f"%e{i} = comb.extract %x from {16 * i} : (i{16 * count}) -> i16" for i in range(count)
    )
    names = ", ".join(f"%e{i}" for i in range(count))
    module = parse(f"""
        hw.module @bus(in %clk : !seq.clock, in %x : i{16 * count}, out y : i{16 * count}) {{
          {elements}
          %reversed = comb.concat {names} : {", ".join(["i16"] * count)}
          %y = seq.compreg %reversed, %clk : i{16 * count}
          hw.output %y : i{16 * count}
        }}""")
    simulator = HwSimulator(module, "bus")
    values = np.random.default_rng(0).integers(0, 1 << 16, (50, count))
    seen = simulator.run({"x": pack_rows(values, [16] * count)}, 50)["y"]
    rows = unpack_rows(seen, [16] * count, [False] * count)
    assert (rows[1:] == values[:-1, ::-1]).all()
    assert all(not slot.wide for slot in simulator._program.slots)  # pyright: ignore[reportPrivateUsage]


MEMORY = """
    hw.module @memory(in %clk : !seq.clock, in %a : i3, in %b : i3, in %x : i8, in %we : i1,
                      out now : i8, out late : i8) {{
      %m = seq.firmem 0, 1, undefined, port_order : <6 x 8>
      %n = seq.firmem 1, 1, {rule}, undefined : <8 x 8>
      %now = seq.firmem.read_port %m[%a], clock %clk : <6 x 8>
      %late = seq.firmem.read_port %n[%a], clock %clk : <8 x 8>
      seq.firmem.write_port %m[%b] = %x, clock %clk enable %we : <6 x 8>
      seq.firmem.write_port %n[%b] = %x, clock %clk enable %we : <8 x 8>
      hw.output %now, %late : i8, i8
    }}"""


@pytest.mark.parametrize("rule", ["old", "new"])
def test_memories(rule: str):
    rng = random.Random(0)
    cycles = 300
    ports = {
        n: [rng.getrandbits(w) for _ in range(cycles)]
        for n, w in (("a", 3), ("b", 3), ("x", 8), ("we", 1))
    }
    seen = simulate(parse(MEMORY.format(rule=rule)), "memory", ports, cycles)
    words: list[int] = [0] * 8
    late = 0
    for t in range(cycles):
        a, b, x, we = (ports[name][t] for name in ("a", "b", "x", "we"))
        assert seen["late"][t] == late
        if a < 6:
            assert seen["now"][t] == words[a]
        forwards = rule == "new" and we == 1 and a == b
        late = x if forwards else words[a]
        if we:
            words[b] = x


@pytest.mark.parametrize(
    ("body", "defined_from"),
    [
        ("%y = seq.compreg %x, %clk : i8", 1),
        ("%r = seq.compreg %x, %clk : i8  %y = seq.compreg %r, %clk : i8", 2),
        (
            "%m = seq.firmem 0, 1, old, undefined : <8 x 8>"
            " seq.firmem.write_port %m[%a] = %x, clock %clk : <8 x 8>"
            " %y = seq.firmem.read_port %m[%a], clock %clk : <8 x 8>",
            8,
        ),
        (
            "%t = hw.aggregate_constant [1 : i8, 2 : i8, 3 : i8] : !hw.array<3xi8>"
            " %i = comb.extract %a from 0 : (i3) -> i2"
            " %y = hw.array_get %t[%i] : !hw.array<3xi8>, i2",
            None,
        ),
        ("%z = hw.constant 0 : i8  %y = comb.divu %x, %z : i8", None),
        (
            "%m = seq.firmem 1, 1, undefined, undefined : <8 x 8>"
            " seq.firmem.write_port %m[%a] = %x, clock %clk : <8 x 8>"
            " %y = seq.firmem.read_port %m[%a], clock %clk : <8 x 8>",
            None,
        ),
    ],
)
def test_what_is_undefined_depends_on_the_choice(body: str, defined_from: int | None):
    module = parse(f"""
        hw.module @top(in %clk : !seq.clock, in %a : i3, in %x : i8, out y : i8) {{
          {body}
          hw.output %y : i8
        }}""")
    inputs = {"a": [t % 8 for t in range(40)], "x": list(range(40))}
    first, second = (
        simulate(module, "top", inputs, 40, undefined=u)["y"]
        for u in (Undefined.PATTERN, Undefined.INVERSE)
    )
    differs = np.flatnonzero(first != second).tolist()
    if defined_from is None:
        assert 39 in differs
        assert all((a ^ b) in (0, 255) for a, b in zip(first, second, strict=True))
    else:
        assert differs == list(range(defined_from))


PIPELINE = """
    hw.module @top(in %clk : !seq.clock, in %rst : i1, in %x_valid : i1, in %x : i24,
                   out y_valid : i1, out y : i13) {{
      %c0 = hw.constant 0 : i1
      %v1 = seq.compreg %x_valid, %clk reset %rst, %c0 : i1
      %v2 = seq.compreg %v1, %clk reset %rst, %c0 : i1
      %a = comb.extract %x from 0 : (i24) -> i12
      %b = comb.extract %x from 12 : (i24) -> i12
      %a1 = seq.compreg %a, %clk : i12
      %b1 = seq.compreg %b, %clk : i12
      %layer = comb.concat %b1, %a1 {{sv.namehint = "layer"}} : i12, i12
      %as = comb.extract %a1 from 11 : (i12) -> i1
      %bs = comb.extract %b1 from 11 : (i12) -> i1
      %aw = comb.concat %as, %a1 : i1, i12
      %bw = comb.concat %bs, %b1 : i1, i12
      %s = comb.add %aw, %bw : i13
      %y = seq.compreg %s, %clk : i13
      hw.output {valid}, {data} : i1, i13
    }}"""
IN = PortLayout("x", (12, 12), (True, True))
OUT = PortLayout("y", (13,), (True,))
TAP = TapLayout("layer", "layer", (12, 12), (True, True), (1, 1))


def test_frames_in_a_trace_out():
    rng = np.random.default_rng(0)
    beats = rng.integers(-2048, 2048, (50, 2))
    gaps = rng.integers(0, 4, 50)
    simulator = HwSimulator(parse(PIPELINE.format(valid="%v2", data="%y")), "top", ["layer"])
    assert simulator.settle == 2
    stimulus = Stimulus({"x": beats}, gaps)
    trace = simulate_frames(simulator, [IN], [OUT], stimulus, drain=10, taps=[TAP])
    offers = stimulus.offer_cycles(1)
    assert trace.outputs["y"].values[:, 0].tolist() == beats.sum(axis=1).tolist()
    assert trace.cycles.tolist() == (offers + 2).tolist()
    assert (trace.taps["layer"].values == beats).all()
    assert (trace.taps["layer"].cycles == offers[:, np.newaxis] + 1).all()


@pytest.mark.parametrize(
    ("valid", "data", "latency"), [("%x_valid", "%aw", 0), ("%v1", "%s", 1), ("%v2", "%y", 2)]
)
def test_latency_is_counted_from_the_first_beat(valid: str, data: str, latency: int):
    text = PIPELINE.format(valid=valid, data=data)
    if latency == 0:
        text = text.replace("%a1 = seq.compreg %a, %clk : i12", "%a1 = hw.wire %a : i12")
    stimulus = back_to_back({"x": np.array([[3, 4], [5, 6]])}, 2)
    trace = simulate_frames(HwSimulator(parse(text), "top"), [IN], [OUT], stimulus, drain=5)
    assert trace.cycles.tolist() == [latency, latency + 1]
    assert trace.outputs["y"].values[0, 0] == (3 if latency == 0 else 7)


def test_an_undefined_value_on_a_valid_output_is_refused():
    early = PIPELINE.format(valid="%v1", data="%y").replace(
        "%y = seq.compreg %s, %clk : i13",
        "%n = comb.add %y, %s : i13  %y = seq.compreg %n, %clk : i13",
    )
    stimulus = back_to_back({"x": np.array([[3, 4], [5, 6]])}, 2)
    with pytest.raises(FastmlError, match=r"output 'y' depends on a register .* in cycle 1$"):
        simulate_frames(HwSimulator(parse(early), "top"), [IN], [OUT], stimulus, drain=5)


def test_a_valid_that_is_not_reset_is_refused():
    wrong = PIPELINE.format(valid="%v6", data="%y").replace(
        "%v2 = seq.compreg %v1, %clk reset %rst, %c0 : i1",
        " ".join(f"%v{i} = seq.compreg %v{i - 1}, %clk : i1" for i in range(2, 7)),
    )
    stimulus = back_to_back({"x": np.array([[3, 4]])}, 1)
    with pytest.raises(FastmlError, match="output 'y' depends on a register"):
        simulate_frames(HwSimulator(parse(wrong), "top"), [IN], [OUT], stimulus, drain=9)


def test_stimuli_are_checked():
    simulator = HwSimulator(parse(PIPELINE.format(valid="%v2", data="%y")), "top", ["layer"])
    short = back_to_back({"x": np.array([[3]])}, 1)
    with pytest.raises(FastmlError, match=r"input 'x' has \(1, 1\), not \(1, 2\)"):
        simulate_frames(simulator, [IN], [OUT], short, drain=5)
    good = back_to_back({"x": np.array([[3, 4]])}, 1)
    with pytest.raises(FastmlError, match="ports are not those of its interface: x, x_valid"):
        simulate_frames(simulator, [], [OUT], good, drain=5)
    late = TapLayout("layer", "layer", (12, 12), (True, True), (1, 9))
    with pytest.raises(FastmlError, match="tap 'layer' is seen after"):
        simulate_frames(simulator, [IN], [OUT], good, drain=5, taps=[late])


def test_a_loop_through_an_instance_boundary_is_no_loop():
    module = parse("""
        hw.module @pass(in %clk : !seq.clock, in %a : i4, in %b : i4, out p : i4, out q : i4) {
          %p = seq.compreg %a, %clk : i4
          hw.output %p, %b : i4, i4
        }
        hw.module @top(in %clk : !seq.clock, in %x : i4, out y : i4) {
          %p, %q = hw.instance "inner" @pass(clk: %clk: !seq.clock, a: %x: i4, b: %p: i4)
              -> (p: i4, q: i4)
          hw.output %q : i4
        }""")
    assert simulate(module, "top", {"x": [1, 2, 3]}, 3)["y"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("width", [1, 31, 32, 33, 62, 63, 64, 65, 100])
def test_bit_vectors(width: int):
    rng = random.Random(width)
    values = [rng.getrandbits(width) for _ in range(20)] + [0, (1 << width) - 1]
    assert to_integers(from_integers(values, width), width).tolist() == values
    rows = np.array([[v, v >> 1, 1] for v in values], object)
    words = pack_rows(rows, [width, 0, 7])
    assert words.shape == (22, -(-(width + 7) // 32))
    back = unpack_rows(words, [width, 0, 7], [True, False, False])
    signed = [v - (v >> (width - 1) << width) for v in values]
    assert back.tolist() == [[v, 0, 1] for v in signed]
