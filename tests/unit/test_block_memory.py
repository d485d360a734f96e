"""Scratch memories in block memory: values, cycles, ports, and what becomes of them."""

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp

sys.path.insert(0, str(Path(__file__).parent))

from affine_designs import beats_of, both, described, lowered, parse, same, top

from fastml.compiler.emit.hls.flavours import flavour_of
from fastml.compiler.emit.hls.program import print_program
from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import hw_extra
from fastml.dialects.elements import Elements
from fastml.lowering.check_schedule import check_schedule
from fastml.runtime import mlir
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel
from fastml.runtime.trace import Integers, Stimulus
from fastml.runtime.yosys import synthesise

S8 = Elements((8,) * 4, (True,) * 4)


def scratch(words: int, width: int = 8, storage: str = "block") -> str:
    layout = Elements((width,) * words, (True,) * words)
    return (
        f'%t = memref.alloc() {{fastml.port = "t", fastml.elements = "{layout}", '
        f'fastml.storage = "{storage}"}} : memref<{words}xi{width}>\n'
    )


def design(body: str, ii: int, latency: int, x: Elements = S8, y: Elements = S8) -> ModuleOp:
    arguments = [described("%x", x, "in"), described("%y", y, "out")]
    return parse(top(arguments, body, ii, latency).replace("@design(", "@scratch("))


REVERSED = (
    scratch(4)
    + """
  affine.for %i = 0 to 4 {
    %0 = affine.load %x[%i] : memref<4xi8>
    affine.store %0, %t[%i] : memref<4xi8>
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
  affine.for %i = 0 to 4 {
    %0 = affine.load %t[-%i + 3] : memref<4xi8>
    affine.store %0, %y[%i] : memref<4xi8>
  } {fastml.pipeline = 1 : i64, fastml.start = 5 : i64}"""
)
"""In, out in reverse: the first word is read in the cycle after it was written."""

SHIFTED = (
    scratch(2)
    + """
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0 : i8
  affine.for %i = 0 to 2 {
    affine.store %zero, %t[%i] : memref<2xi8>
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
  affine.for %i = 0 to 4 {
    %0 = memref.load %t[%c0] {fastml.start = 0 : i64} : memref<2xi8>
    %1 = memref.load %t[%c1] {fastml.start = 1 : i64} : memref<2xi8>
    %2 = affine.load %x[%i] : memref<4xi8>
    memref.store %0, %t[%c1] {fastml.start = 1 : i64} : memref<2xi8>
    memref.store %2, %t[%c0] {fastml.start = 0 : i64} : memref<2xi8>
    %3 = arith.addi %0, %1 {fastml.start = 2 : i64} : i8
    affine.store %3, %y[%i] : memref<4xi8>
  } {fastml.pipeline = 2 : i64, fastml.start = 3 : i64}"""
)
"""A shift register of two words, each replaced in the cycle in which it is read."""

ROUNDS = (
    scratch(4)
    + """
  %zero = arith.constant 0 : i8
  affine.for %t0 = 0 to 3 {
    affine.for %i = 0 to 4 {
      %c0 = arith.constant 0 : index
      %first = arith.cmpi eq, %t0, %c0 : index
      %0 = affine.load %x[%i] : memref<4xi8>
      %1 = affine.load %t[%i] : memref<4xi8>
      %2 = arith.select %first, %zero, %1 : i8
      %3 = arith.addi %2, %0 : i8
      affine.store %3, %t[%i] : memref<4xi8>
    } {fastml.pipeline = 1 : i64}
  } {fastml.pipeline = 4 : i64, fastml.start = 1 : i64}
  affine.for %i = 0 to 4 {
    %0 = affine.load %t[%i] : memref<4xi8>
    affine.store %0, %y[%i] : memref<4xi8>
  } {fastml.pipeline = 1 : i64, fastml.start = 13 : i64}"""
)
"""Sums over three rounds; in the first one what the memory has does not matter."""

SHARED = (
    scratch(4)
    + """
  affine.for %i = 0 to 4 {
    %0 = affine.load %x[%i] : memref<4xi8>
    affine.store %0, %t[%i] : memref<4xi8>
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
  affine.for %i = 0 to 4 {
    %0 = affine.load %t[%i] : memref<4xi8>
    %1 = affine.load %t[%i] : memref<4xi8>
    %2 = arith.addi %0, %1 {fastml.start = 2 : i64} : i8
    affine.store %2, %y[%i] : memref<4xi8>
  } {fastml.pipeline = 1 : i64, fastml.start = 5 : i64}"""
)
"""Two loads of one word in one cycle."""


def added(x: Integers) -> Integers:
    before = np.pad(x, ((0, 0), (2, 0)))
    return before[:, 1:-1] + before[:, :-2]


def wrapped(values: Integers) -> Integers:
    return (values + 128) % 256 - 128


DESIGNS: dict[str, tuple[str, int, int, Callable[[Integers], Integers]]] = {
    "reversed": (REVERSED, 8, 11, lambda x: x[:, ::-1]),
    "shifted": (SHIFTED, 12, 14, added),
    "rounds": (ROUNDS, 17, 19, lambda x: 3 * x),
    "shared": (SHARED, 9, 12, lambda x: 2 * x),
}


@pytest.fixture(params=DESIGNS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def of(name: str) -> ModuleOp:
    body, ii, latency, _ = DESIGNS[name]
    return design(body, ii, latency)


def stimulus_of(frames: int = 12) -> Stimulus:
    rng = np.random.default_rng(frames)
    gaps = np.concatenate([np.zeros(6, np.int64), rng.integers(0, 9, frames - 6)])
    return Stimulus({"the x": beats_of(S8, frames, rng)}, gaps)


def test_values_and_cycles(name: str):
    stimulus = stimulus_of()
    trace = both(of(name), stimulus)
    expected = wrapped(DESIGNS[name][3](stimulus.beats["the x"]))
    np.testing.assert_array_equal(trace.outputs["the y"].values, expected)


def test_it_is_a_memory(name: str):
    hardware = lowered(of(name))
    (memory,) = [op for op in hardware.walk() if isinstance(op, hw_extra.FirMemOp)]
    assert memory.read_latency.value.data == 1
    reads = [op for op in hardware.walk() if isinstance(op, hw_extra.FirMemReadOp)]
    writes = [op for op in hardware.walk() if isinstance(op, hw_extra.FirMemWriteOp)]
    assert (len(reads), len(writes)) == (1, 1)


def test_verilator(require_tool: Callable[[str], str]):
    """Words are replaced while they are read, through ports that several loads share."""
    require_tool("verilator")
    module, stimulus = of("shifted"), stimulus_of()
    hardware = HardwareLevel(lowered(module))
    level = RtlLevel(emit_systemverilog(hardware.module), hardware.pinout, hardware.host)
    same(hardware.simulate(stimulus, []), level.simulate(stimulus, []))


def test_upstream_mlir_computes_the_same(name: str, require_tool: Callable[[str], str]):
    require_tool("mlir-opt")
    require_tool("mlir-cpu-runner")
    beats = beats_of(S8, 8, np.random.default_rng(1))
    (y,) = mlir.run(of(name), {"x": beats}).values()
    np.testing.assert_array_equal(wrapped(y), wrapped(DESIGNS[name][3](beats)))


# Schedules that the checker lets pass


def random_design(random: Random) -> tuple[ModuleOp, int]:
    """Fill a memory and use it, at random cycles that may or may not be legal."""
    words = random.choice((3, 4, 6))
    back, late = random.choice((True, False)), random.randrange(3)
    interval = random.choice((1, 2, 3))
    begin = 1 + random.randrange(words + 4)
    start = random.randrange(late + 3)
    at = f"-%i + {words - 1}" if random.random() < 0.5 else "%i"
    filled = f"-%i + {words - 1}" if back else "%i"
    ii = random.randrange(words, 6 * words)
    latency = random.randrange(2 * words, 7 * words)
    layout = Elements((8,) * words, (True,) * words)
    again = f"memref.store %2, %t[%k] {{fastml.start = {start} : i64}} : memref<{words}xi8>"
    body = f"""{scratch(words)}
      %last = arith.constant {words - 1} : index
      affine.for %i = 0 to {words} {{
        %0 = affine.load %x[%i] : memref<{words}xi8>
        affine.store %0, %t[{filled}] : memref<{words}xi8>
      }} {{fastml.pipeline = 1 : i64, fastml.start = 1 : i64}}
      affine.for %i = 0 to {words} {{
        %k = arith.subi %last, %i : index
        %0 = affine.load %t[{at}] : memref<{words}xi8>
        %1 = memref.load %t[%k] {{fastml.start = {late} : i64}} : memref<{words}xi8>
        %2 = arith.addi %0, %1 : i8
        {again if random.random() < 0.5 else ""}
        affine.store %2, %y[%i] : memref<{words}xi8>
      }} {{fastml.pipeline = {interval} : i64, fastml.start = {begin} : i64}}"""
    return design(body, ii, latency, layout, layout), words


def is_legal(module: ModuleOp) -> bool:
    try:
        check_schedule(module)
    except FastmlError as error:
        return "FML-SCHEDULE" not in str(error)
    return True


def test_what_the_checker_lets_pass_is_right():
    """Of many random schedules few are legal; those mean in hardware what the text says."""
    legal = 0
    for seed in range(300):
        module, words = random_design(Random(seed))
        if not is_legal(module):
            continue
        legal += 1
        rng = np.random.default_rng(seed)
        beats = rng.integers(-128, 128, (8, words))
        both(module, Stimulus({"the x": beats}, rng.integers(0, 3, 8)))
    assert legal > 4


# What is refused


def refusal(body: str, ii: int = 20, latency: int = 25) -> str:
    with pytest.raises(FastmlError) as caught:
        check_schedule(design(body, ii, latency))
    text = str(caught.value)
    assert text.count("\n") == 0
    return text


def test_an_early_use():
    early = SHARED.replace("fastml.start = 2", "fastml.start = 0")
    assert refusal(early).endswith(
        "'arith.addi': starts in cycle 0, but its operand ('affine.load') is there only in cycle 1"
    )


def test_two_reads_in_a_cycle():
    text = refusal(SHARED.replace("%1 = affine.load %t[%i]", "%1 = affine.load %t[-%i + 3]"))
    assert text.startswith("error[FML-SCHEDULE] test.mlir:10:5: 'affine.load': reads element 3 of")
    assert text.endswith(
        "'t' in cycle 5, when 'affine.load' at test.mlir:9:5 reads element 0: block memory has "
        "one port to read"
    )


def test_two_writes_in_a_cycle():
    both_halves = """affine.store %0, %t[%i] : memref<4xi8>
    affine.store %0, %t[%i + 2] : memref<4xi8>"""
    body = REVERSED.replace("affine.store %0, %t[%i] : memref<4xi8>", both_halves)
    text = refusal(body.replace("0 to 4", "0 to 2", 1))
    assert text.endswith(
        "'affine.store': writes element 2 of 't' in cycle 1, when 'affine.store' at test.mlir:6:5 "
        "writes element 0: block memory has one port to write"
    )


def test_a_port_that_the_next_frame_needs():
    """No word is in use for long, but the last one is read when the next frame reads too."""
    halves = [
        f"""affine.for %i = {2 * half} to {2 * half + 2} {{
          affine.store %zero, %t[%i] : memref<4xi8>
        }} {{fastml.pipeline = 1 : i64, fastml.start = {8 * half + 1} : i64}}
        affine.for %i = {2 * half} to {2 * half + 2} {{
          %0 = affine.load %t[%i] : memref<4xi8>
          affine.store %0, %y[%i] : memref<4xi8>
        }} {{fastml.pipeline = 1 : i64, fastml.start = {8 * half + 2} : i64}}"""
        for half in (0, 1)
    ]
    body = "\n".join([scratch(4), "%zero = arith.constant 0 : i8", *halves])
    check_schedule(design(body, 10, 13))
    text = refusal(body, 9, 13)
    assert "reads element 3 of 't' in cycle 11" in text
    assert text.endswith("reads element 0 of the next frame: block memory has one port to read")


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (scratch(4, storage="ultra"), '\'fastml.storage\' must be "logic" or "block"'),
        (scratch(1), "block memory needs two words of a bit, not 's8'"),
        (
            scratch(4).replace("fastml.storage", "fastml.stream = 2 : i64, fastml.storage"),
            "'fastml.storage' is for scratch memories, and 'fastml.stream' for FIFOs",
        ),
        (scratch(4), "'t' is wiring here: only a function with loops has block memory"),
    ],
)
def test_a_declaration(declared: str, message: str):
    assert message in refusal(declared)


def test_logic_is_registers():
    body = REVERSED.replace('"block"', '"logic"')
    hardware = lowered(design(body, 8, 11))
    assert not [op for op in hardware.walk() if isinstance(op, hw_extra.FirMemOp)]


# What becomes of it


@pytest.mark.parametrize(
    ("flavour", "pragma"),
    [
        ("vitis", "#pragma HLS bind_storage variable=t type=ram_s2p impl=bram"),
        ("vivado", "#pragma HLS resource variable=t core=RAM_S2P_BRAM"),
        ("oneapi", '[[intel::fpga_memory("BLOCK_RAM")]]'),
    ],
)
def test_hls(flavour: str, pragma: str):
    files = print_program(of("reversed"), flavour_of(flavour), "wires").files
    assert pragma in files["scratch.cpp"]


FILLED = """
  affine.for %j = 0 to {rows} {{
    affine.for %i = 0 to 4 {{
      %0 = affine.load %x[%i] : memref<4xi{width}>
      %1 = arith.index_cast %j : index to i{width}
      %2 = arith.addi %0, %1 : i{width}
      affine.store %2, %t[4 * %j + %i] : memref<{words}xi{width}>
    }} {{fastml.pipeline = 1 : i64}}
  }} {{fastml.pipeline = 4 : i64, fastml.start = 1 : i64}}
  %zero = arith.constant 0 : i{width}
  %sum = affine.for %i = 0 to {words} iter_args(%part = %zero) -> (i{width}) {{
    %0 = affine.load %t[-%i + {last}] : memref<{words}xi{width}>
    %1 = arith.xori %0, %part : i{width}
    affine.yield %1 : i{width}
  }} {{fastml.pipeline = 1 : i64, fastml.start = {after} : i64}}
  affine.store %sum, %y[0] : memref<1xi{width}>"""


def filled(words: int, width: int) -> ModuleOp:
    numbers = {"words": words, "width": width, "rows": words // 4, "last": words - 1}
    body = scratch(words, width) + FILLED.format(**numbers, after=words + 1)
    x, y = Elements((width,) * 4, (True,) * 4), Elements((width,), (True,))
    return design(body, 2 * words + 3, 2 * words + 4, x, y)


def test_yosys_takes_block_memory(require_tool: Callable[[str], str]):
    require_tool("yosys")
    cells = synthesise(emit_systemverilog(lowered(filled(1024, 16))), "scratch")
    assert cells.bram == 1
    assert cells.ff < 200
