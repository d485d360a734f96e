"""HLS C++ compiled by g++ with the real headers, against the interpreter of the same IR."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hls_modules import (
    hold_against_interpreter,
    parse,
    port,
    printed,
    scalar_operations,
    top,
)

from fastml.compiler.emit.hls.flavours import FLAVOURS
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.csim import integers_of, limbs_of

LIBRARIES = ["vitis", "catapult"]
WIDTHS = (1, 2, 6, 33, 63, 64, 65, 130, 1100)


@pytest.fixture(autouse=True)
def tools(require_tool: Callable[[str], str]) -> None:
    require_tool("g++")
    require_tool("ap_types")


@pytest.mark.parametrize("flavour", LIBRARIES)
def test_every_operation_at_many_widths(flavour: str):
    parts = [scalar_operations(width, f"w{width}") for width in WIDTHS]
    text = top([p for ports, _ in parts for p in ports], "\n".join(body for _, body in parts))
    hold_against_interpreter(parse(text), flavour, 200)


DENSE = """
"memref.global"() <{sym_name = "w", sym_visibility = "private", constant, type = memref<3x2xi5>,
  initial_value = dense<[[1, -2], [3, 4], [-16, 15]]> : tensor<3x2xi5>}> : () -> ()
"memref.global"() <{sym_name = "b", sym_visibility = "private", constant, type = memref<2xi9>,
  initial_value = dense<[100, -7]> : tensor<2xi9>}> : () -> ()
func.func private @dense(
    %x : memref<3xi6> {fastml.elements = "3 x s6", fastml.direction = "in"},
    %y : memref<2xi11> {fastml.elements = "2 x s11", fastml.direction = "out"})
    attributes {fastml.ii = 6 : i64, fastml.latency = 7 : i64} {
  %w = memref.get_global @w : memref<3x2xi5>
  %b = memref.get_global @b : memref<2xi9>
  affine.for %j = 0 to 2 {
    %0 = memref.load %b[%j] : memref<2xi9>
    %1 = arith.extsi %0 : i9 to i11
    %2 = affine.for %i = 0 to 3 iter_args(%sum = %1) -> (i11) {
      %3 = affine.load %x[%i] : memref<3xi6>
      %4 = affine.load %w[%i, %j] : memref<3x2xi5>
      %5 = arith.extsi %3 : i6 to i11
      %6 = arith.extsi %4 : i5 to i11
      %7 = arith.muli %5, %6 {fastml.start = 0 : i64} : i11
      %8 = arith.addi %sum, %7 {fastml.start = 0 : i64} : i11
      affine.yield %8 : i11
    } {fastml.pipeline = 1 : i64}
    affine.store %2, %y[%j] : memref<2xi11>
  } {fastml.pipeline = 3 : i64, fastml.start = 1 : i64}
  func.return
}
""" + top(
    [port("x", "in", "s6", 3, "i6"), port("y", "out", "s11", 2, "i11")],
    "func.call @dense(%x, %y) {fastml.start = 1 : i64} : (memref<3xi6>, memref<2xi11>) -> ()",
    ii=6,
    latency=8,
)

CONTROL = (
    """
"memref.global"() <{sym_name = "table", sym_visibility = "private", constant,
  type = memref<2x3x2xi70>, initial_value = dense<5> : tensor<2x3x2xi70>}> : () -> ()
""".replace("i70", "i7")
    + top(
        [port("x", "in", "s6", 4, "i6"), port("y", "out", "s9", 4, "i9")],
        """
  %table = memref.get_global @table : memref<2x3x2xi7>
  %t = memref.alloc() {fastml.elements = "4 x s7", fastml.partition = 2 : i64} : memref<4xi7>
  affine.for %i = 0 to 4 {
    %0 = affine.load %x[%i] : memref<4xi6>
    %1 = arith.extsi %0 : i6 to i7
    %2 = arith.addi %1, %1 {fastml.start = 1 : i64} : i7
    memref.store %2, %t[%i] {fastml.start = 1 : i64} : memref<4xi7>
  } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64, fastml.unroll = 2 : i64}
  %c3 = arith.constant 3 : index
  %c9 = arith.constant 9 : i9
  affine.for %i = 0 to 4 {
    %k = arith.subi %c3, %i : index
    %0 = memref.load %t[%k] {fastml.start = 1 : i64} : memref<4xi7>
    %h = affine.apply affine_map<(i) -> (i floordiv 2)> (%i)
    %1 = affine.load %table[%h, (%i + 1) mod 3, 1] : memref<2x3x2xi7>
    %2 = arith.extsi %0 : i7 to i9
    %3 = arith.extsi %1 : i7 to i9
    %4, %5 = affine.for %n = 0 to 3 iter_args(%p = %2, %q = %3) -> (i9, i9) {
      %s = arith.addi %p, %q : i9
      affine.yield %q, %s : i9, i9
    } {fastml.pipeline = 1 : i64, fastml.start = 1 : i64}
    %6 = arith.subi %4, %5 : i9
    affine.store %6, %y[%i] : memref<4xi9>
  } {fastml.pipeline = 3 : i64, fastml.start = 5 : i64}
""",
        ii=40,
        latency=40,
    )
)


@pytest.mark.parametrize("flavour", LIBRARIES)
@pytest.mark.parametrize("text", [DENSE, CONTROL], ids=["dense", "control"])
def test_loops_memories_and_carried_values(text: str, flavour: str):
    hold_against_interpreter(parse(text), flavour)


def test_directives_become_the_pragmas_of_each_flavour():
    texts = {name: "".join(printed(parse(DENSE), name).files.values()) for name in FLAVOURS}
    assert "#pragma HLS pipeline II=1" in texts["vitis"]
    assert texts["vitis"].count("#pragma HLS pipeline") == 1  # what surrounds a loop is not one
    assert "#pragma HLS interface ap_ctrl_none port=return" in texts["vitis"]
    assert "[[intel::initiation_interval(1)]]" in texts["oneapi"]
    assert "#pragma hls_pipeline_init_interval 1" in texts["catapult"]
    control = printed(parse(CONTROL), "vitis").files["n_design.cpp"]
    assert "#pragma HLS unroll factor=2" in control
    assert "#pragma HLS array_partition variable=scratch cyclic factor=2 dim=1" in control


def test_a_parallel_function_is_pipelined_and_its_arrays_are_registers():
    ports, body = scalar_operations(4)
    text = printed(parse(top(ports, body)), "vitis").files["n_design.cpp"]
    assert "#pragma HLS pipeline II=1" in text
    assert "#pragma HLS array_partition variable=x complete dim=0" in text


@pytest.mark.parametrize("flavour", LIBRARIES)
def test_hostile_names(flavour: str):
    names = ["int", "design", "v1", "V1", "ap_int", 'a"; #pragma HLS', "x/y:0", "design_t", "main"]
    count = len(names)
    ports, body = list[str](), list[str]()
    for k, name in enumerate(names):
        escaped = name.replace('"', '\\"')
        described = f'fastml.name = "{escaped}", fastml.port = "{escaped}"'
        ports.append(
            f'%p{k} : memref<1xi5> {{{described}, fastml.elements = "s5", fastml.direction = "in"}}'
        )
        body.append(f"%l{k} = affine.load %p{k}[0] : memref<1xi5>")
        body.append(f"%s{k} = arith.extsi %l{k} : i5 to i8")
        body.append(f"affine.store %s{k}, %y[{k}] : memref<{count}xi8>")
    ports.append(port("y", "out", "s8", count, "i8"))
    hold_against_interpreter(parse(top(ports, "\n".join(body))), flavour, 20)


@pytest.mark.parametrize("flavour", LIBRARIES)
def test_elements_of_width_zero_and_mixed_signs(flavour: str):
    x = (
        '%x : memref<4xi8> {fastml.name = "x", fastml.port = "x", '
        'fastml.elements = "u0, s3, u7, u0", fastml.direction = "in"}'
    )
    y = x.replace("%x", "%y").replace('"x"', '"y"').replace('"in"', '"out"')
    z = (
        '%z : memref<2xi1> {fastml.name = "z", fastml.port = "z", '
        'fastml.elements = "2 x u0", fastml.direction = "out"}'
    )
    body = "\n".join(
        f"%{k} = affine.load %x[{k}] : memref<4xi8>\naffine.store %{k}, %y[{k}] : memref<4xi8>"
        for k in range(4)
    )
    body += "\n%zero = arith.constant 0 : i1"
    body += "".join(f"\naffine.store %zero, %z[{k}] : memref<2xi1>" for k in range(2))
    hold_against_interpreter(parse(top([x, y, z], body)), flavour, 30)


@pytest.mark.parametrize("flavour", LIBRARIES)
@pytest.mark.parametrize("fractions", [(3, -4), (9, 0)])
def test_fixed_point_ports_carry_the_same_bits(flavour: str, fractions: tuple[int, int]):
    x, y = fractions
    module = parse(top(*scalar_operations(6)))
    hold_against_interpreter(module, flavour, 50, x=x, y=y)


@pytest.mark.parametrize("flavour", LIBRARIES)
def test_names_that_the_headers_know(flavour: str):
    """Ports get types of their names, and fixed-point ports are copied in a loop."""
    names = ["key", "mode", "id", "off", "i", "AP_INT_MAX_W", "FASTML_TAP_HEADER", "INT64_MAX"]
    ports = [port(f"a{k}", "in", "s6", 2, "i6") for k in range(len(names))]
    ports = [p.replace(f'port = "a{k}"', f'port = "{names[k]}"') for k, p in enumerate(ports)]
    body = list[str]()
    for k in range(len(names)):
        body.append(f"%v{k} = affine.load %a{k}[1] : memref<2xi6>")
        body.append(f"affine.store %v{k}, %y[{k}] : memref<{len(names)}xi6>")
    module = parse(top([*ports, port("y", "out", "s6", len(names), "i6")], "\n".join(body)))
    hold_against_interpreter(module, flavour, 20, a0=2, a4=2, y=3)


def test_integers_wider_than_the_tool_takes_are_refused():
    module = parse(top(*scalar_operations(5000)))
    with pytest.raises(FastmlError, match=r"FML-WIDTH.*Vitis HLS takes 4096"):
        printed(module, "vitis")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DENSE.replace("affine.store %2, %y[%j]", "affine.store %2, %y[4]"), "out of range"),
        (DENSE.replace("fastml.top, ", ""), "needs one 'fastml.top'"),
    ],
)
def test_what_cannot_be_printed(text: str, message: str):
    with pytest.raises(FastmlError, match=message):
        printed(parse(text), "vitis")


@pytest.mark.parametrize("width", [1, 5, 63, 64, 65, 128, 130])
@pytest.mark.parametrize("signed", [True, False])
def test_words_of_64_bits(width: int, signed: bool):
    low = -(1 << (width - 1)) if signed else 0
    high = low + (1 << width) - 1
    values = np.array([[low, high], [0, high // 3]], object)
    np.testing.assert_array_equal(integers_of(limbs_of(values, width), width, signed), values)
