"""Every message of the checks that upstream verifiers lack."""

import pytest
from xdsl.parser import Parser

from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError, LocatingParser
from fastml.dialects.hw_checks import check_hardware

HEAD = "hw.module @top(in %clk : !seq.clock, in %x : i8, in %c : i1, out y : i8) {\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%e = comb.extract %x from 1 : (i8) -> i8", "bits 8 to 1 are extracted from 8"),
        ("%e = comb.replicate %x : (i8) -> i13", "13 bits are no multiple of 8"),
        ("%e = comb.add %a, %x : i8  %a = comb.sub %e, %x : i8", "combinational loop"),
        ("%e = comb.add %e, %x : i8", "combinational loop"),
        ("%e = hw.constant 0 : i0", "a wire has type i0"),
        ('%e = "comb.icmp"(%x, %x) <{predicate = 11 : i64}> : (i8, i8) -> i1', "unknown predicate"),
        ("%e = seq.compreg %x, %clk powerOn %x : i8", "registers have no power-on value"),
        ("%e = seq.compreg %clk, %clk : !seq.clock", "a register has type !seq.clock"),
        ("%e = comb.mux %c, %clk, %clk : !seq.clock", "only integers can be selected"),
        ("%e = seq.const_clock low", "seq.const_clock is not supported"),
        ("%e = seq.clock_div %clk by 1", "seq.clock_div is not supported"),
        (
            "%t = hw.array_create %x, %x : i8  %e = hw.array_create %t, %t : !hw.array<2xi8>",
            "only arrays of integers are supported",
        ),
        (
            "%t = hw.bitcast %x : (i8) -> !hw.array<8xi1>",
            "hw.bitcast is not supported",
        ),
        ('%y = hw.instance "u" @absent() -> (y: i8)', "there is no hw.module @absent"),
        ('%y = hw.instance "u" @child(b: %c: i1, a: %x: i8) -> (y: i8)', "ports are not those"),
        ('%y = hw.instance "u" @child(a: %x: i8, b: %x: i8) -> (y: i8)', "ports are not those"),
        (
            '%y = hw.instance "u" @top(clk: %clk: !seq.clock, x: %x: i8, c: %c: i1) -> (y: i8)',
            "module @top contains itself",
        ),
        (
            '%y = hw.instance "u" @child(a: %x: i8, b: %c: i1) -> (y: i8)'
            ' %z = hw.instance "u" @child(a: %x: i8, b: %c: i1) -> (y: i8)',
            "two instances have the same name",
        ),
        (
            '%y = hw.instance "u" @child(a: %z: i8, b: %c: i1) -> (y: i8)'
            ' %z = hw.instance "v" @child(a: %y: i8, b: %c: i1) -> (y: i8)',
            "combinational loop",
        ),
        (
            "%m = seq.firmem 0, 1, old, undefined : <2 x 8>"
            " %e = seq.firmem.read_port %m[%b], clock %clk : <2 x 8>"
            " %b = comb.extract %e from 0 : (i8) -> i1",
            "combinational loop",
        ),
    ],
)
def test_operations(line: str, message: str):
    child = "hw.module @child(in %a : i8, in %b : i1, out y : i8) { hw.output %a : i8 }\n"
    text = f"{child}{HEAD}{line}\nhw.output %x : i8\n}}"
    module = LocatingParser(new_context(), text, "top.mlir").parse_module()
    with pytest.raises(FastmlError, match=message) as found:
        check_hardware(module)
    place = "2:1: 'hw.module'" if "itself" in message else "3:"
    assert found.value.args[0].startswith(f"error[FML-IR] top.mlir:{place}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hw.module @a() { hw.output } hw.module @a() { hw.output }", "two modules @a"),
        ("hw.module.extern @a()", "hw.module.extern is not hardware"),
        ("hw.module @a(in %x : i8, in %y x : i8) { hw.output }", "two ports are called 'x'"),
        ("hw.module @a(in %x : si8) { hw.output }", "port 'x' has type si8"),
        ("hw.module @a(in %x : i0) { hw.output }", "port 'x' has type i0"),
        ("hw.module @a(in %c : !seq.clock, in %d : !seq.clock) { hw.output }", "at most one clock"),
        ("hw.module @a<n: i8>() { hw.output }", "parameters of modules are not supported"),
        (
            "hw.module @a(in %t : !hw.array<2xi8>, in %i : i1, out y : i8) {"
            " %y = hw.array_get %t[%i] : !hw.array<2xi8>, i1 hw.output %y : i8 }",
            "port 't' has type",
        ),
    ],
)
def test_modules(text: str, message: str):
    with pytest.raises(FastmlError, match=message):
        check_hardware(Parser(new_context(), text).parse_module())


def test_only_what_is_asked_for_is_checked():
    text = (
        "hw.module @good(in %x : i8, out y : i8) { hw.output %x : i8 }"
        "hw.module @bad(in %x : i8) { %e = comb.add %e, %x : i8 hw.output }"
    )
    module = Parser(new_context(), text).parse_module()
    check_hardware(module, "good")
    with pytest.raises(FastmlError, match="combinational loop"):
        check_hardware(module, "bad")
    with pytest.raises(FastmlError, match="@absent"):
        check_hardware(module, "absent")


def test_loops_through_registers_are_fine():
    text = f"""{HEAD}
        %m = seq.firmem 1, 1, old, undefined : <2 x 8>
        %e = seq.firmem.read_port %m[%b], clock %clk : <2 x 8>
        %b = comb.extract %s from 0 : (i8) -> i1
        %s = comb.add %e, %r : i8
        %r = seq.compreg %s, %clk : i8
        hw.output %r : i8
    }}"""
    check_hardware(Parser(new_context(), text).parse_module())
