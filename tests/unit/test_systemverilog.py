"""The printed text: its form, its determinism, and what outside tools say of it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fastml.compiler.emit.sv_expressions import LINE, literal, wrap
from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.verilator import lint
from fastml.runtime.yosys import synthesise

MACHINE = (Path(__file__).parent / "hardware" / "counter_memory.mlir").read_text()


def parse(text: str) -> ModuleOp:
    module = Parser(new_context(), text).parse_module()
    module.verify()
    return module


def body(lines: str, ports: str = "in %a : i8, in %b : i8, out y : i8") -> str:
    """Print a module; return what stands between its header and its end."""
    files = emit_systemverilog(parse(f"hw.module @top({ports}) {{ {lines} }}"))
    return files["top.sv"].split(");\n", 1)[1].removesuffix("endmodule\n")


def test_expressions_are_nested():
    lines = """
        %s = comb.add %a, %b : i8
        %t = comb.sub %s, %a : i8
        %u = comb.and %t, %b : i8
        hw.output %u : i8"""
    assert body(lines) == "  assign y = ((a + b) - a) & b;\n"


def test_sign_extension_reads_as_such():
    lines = """
        %s = comb.extract %a from 7 : (i8) -> i1
        %r = comb.replicate %s : (i1) -> i4
        %w = comb.concat %r, %a : i4, i8
        hw.output %w : i12"""
    ports = "in %a : i8, out y : i12"
    assert body(lines, ports) == "  assign y = {{4{a[7]}}, a};\n"


def test_what_is_used_twice_has_a_name():
    lines = """
        %sum = comb.add %a, %b : i8
        %0 = comb.mul %sum, %sum : i8
        %1 = comb.xor %0, %sum {sv.namehint = "mixed"} : i8
        hw.output %1 : i8"""
    assert body(lines) == (
        "  wire [7:0] sum = a + b;\n  wire [7:0] mixed = (sum * sum) ^ sum;\n  assign y = mixed;\n"
    )


def test_what_is_signed_by_context_is_not_nested():
    lines = """
        %0 = comb.shrs %a, %b : i8
        %1 = comb.add %0, %a : i8
        hw.output %1 : i8"""
    assert body(lines) == "  wire [7:0] w = $signed(a) >>> b;\n  assign y = w + a;\n"


def test_signed_numbers_are_printed_as_such():
    lines = """
        %low = hw.constant -128 : i8
        %five = hw.constant 5 : i8
        %0 = comb.icmp slt %a, %low : i8
        %1 = comb.icmp sge %a, %five : i8
        %2 = comb.and %0, %1 : i1
        hw.output %2 : i1"""
    ports = "in %a : i8, out y : i1"
    expected = "  assign y = ($signed(a) < -8'sd128) & ($signed(a) >= 8'sd5);\n"
    assert body(lines, ports) == expected


def test_a_long_list_is_a_list_of_names():
    names = [f"%s{i}" for i in range(5)]
    lines = "\n".join(f"{name} = comb.add %a, %b : i8" for name in names)
    lines += f"%y = comb.concat {', '.join(names)} : {', '.join(['i8'] * 5)} hw.output %y : i40"
    text = body(lines, "in %a : i8, in %b : i8, out y : i40")
    assert text.splitlines()[-2:] == [
        "  wire [7:0] s4 = a + b;",
        "  assign y = {s0, s1, s2, s3, s4};",
    ]


def test_unread_bits_are_named():
    lines = """
        %tap = comb.add %a, %b {sv.namehint = "tap"} : i8
        %high = comb.extract %a from 2 : (i8) -> i3
        %y = comb.concat %high, %high : i3, i3
        hw.output %y : i6"""
    ports = "in %a : i8, in %b : i8, in %c : i1, out y : i6"
    assert body(lines, ports) == (
        "  wire [7:0] tap = a + b;\n"
        "  assign y = {a[4:2], a[4:2]};\n"
        "  wire unused = &{1'b0, c, tap};\n"
    )
    lines = lines.replace(' {sv.namehint = "tap"}', "")
    assert "wire unused = &{1'b0, a[1:0], a[7:5], b, c};" in body(lines, ports)


def test_registers_are_grouped_by_reset():
    lines = """
        %zero = hw.constant 0 : i8
        %r = seq.compreg %n, %clk reset %rst, %zero : i8
        %n = comb.add %r, %d : i8
        %d = seq.compreg %a, %clk : i8
        hw.output %r : i8"""
    ports = "in %clk : !seq.clock, in %rst : i1, in %a : i8, out y : i8"
    assert body(lines, ports) == (
        "  logic [7:0] r;\n"
        "  logic [7:0] d;\n"
        "  assign y = r;\n"
        "  always_ff @(posedge clk) begin\n"
        "    d <= a;\n"
        "  end\n"
        "  always_ff @(posedge clk) begin\n"
        "    if (rst) begin\n"
        "      r <= 8'd0;\n"
        "    end else begin\n"
        "      r <= r + d;\n"
        "    end\n"
        "  end\n"
    )


def test_names_are_declared_before_they_are_used():
    lines = """
        %0 = comb.add %late, %a : i8
        %late = comb.mul %b, %b {sv.namehint = "late"} : i8
        hw.output %0 : i8"""
    # The first use is nested into the output, which follows.
    assert body(lines) == "  wire [7:0] late = b * b;\n  assign y = late + a;\n"
    lines = lines.replace("%late, %a : i8", '%late, %a {sv.namehint = "early"} : i8')
    assert body(lines) == (
        "  wire [7:0] late;\n"
        "  wire [7:0] early = late + a;\n"
        "  assign late = b * b;\n"
        "  assign y = early;\n"
    )


def test_memories_and_tables():
    text = emit_systemverilog(parse(MACHINE))["machine.sv"]
    assert "  logic [11:0] store [0:7];\n" in text
    assert "    if (take) store[fill_value[2:0]] <= x;\n" in text
    assert "    word <= store[drain_value[2:0]];\n" in text
    assert "      3'd4: weight = 8'd128;\n" in text
    assert "      default: weight = 8'd3;\n" in text


def test_a_table_that_is_not_full_is_undefined_beyond():
    lines = """
        %t = hw.aggregate_constant [1 : i8, 2 : i8, 3 : i8] : !hw.array<3xi8>
        %i = comb.extract %a from 0 : (i8) -> i2
        %y = hw.array_get %t[%i] : !hw.array<3xi8>, i2
        hw.output %y : i8"""
    text = body(lines, "in %a : i8, out y : i8")
    assert "      2'd2: y_2 = 8'd1;\n      default: y_2 = 8'bx;\n" in text


@pytest.mark.parametrize(
    ("value", "width", "text"),
    [
        (0, 1, "1'd0"),
        (-1, 8, "8'd255"),
        (65536, 17, "17'h10000"),
        (3, 200, "200'd3"),
        (2**64 + 5, 70, "{6'h1, 64'h5}"),
    ],
)
def test_literals(value: int, width: int, text: str):
    assert literal(value, width) == text


def test_lines_and_depth_are_bounded():
    lines = ["%s0 = comb.add %a, %b : i8"]
    lines += [f"%s{i} = comb.sub %s{i - 1}, %b : i8" for i in range(1, 200)]
    names = ", ".join(["%s199"] * 300)
    lines += [f"%y = comb.concat {names} : {', '.join(['i8'] * 300)}", "hw.output %y : i2400"]
    text = body("\n".join(lines), "in %a : i8, in %b : i8, out y : i2400")
    assert max(map(len, text.splitlines())) <= LINE
    assert max(line.count("(") for line in text.splitlines()) <= 4
    for line in text.splitlines():
        assert wrap(line) == [line]


@pytest.mark.parametrize("name", ["module", "1st", "a b", '"; $system(1); //', "x" * 65, "é"])
@pytest.mark.parametrize("place", ["port", "wire", "module", "instance"])
def test_illegal_names_are_refused(name: str, place: str):
    quoted = name.replace('"', '\\"')
    names = {p: quoted if p == place else p + "s" for p in ("port", "wire", "module", "instance")}
    text = f"""
        hw.module private @"{names["module"]}"(in %a : i8, out y : i8) {{ hw.output %a : i8 }}
        hw.module @top(in %a "{names["port"]}" : i8, out y : i8) {{
          %w = hw.wire %a {{sv.namehint = "{names["wire"]}"}} : i8
          %y = hw.instance "{names["instance"]}" @"{names["module"]}"(a: %w: i8) -> (y: i8)
          hw.output %y : i8
        }}"""
    with pytest.raises(FastmlError, match="is not a legal, unique name for hardware"):
        emit_systemverilog(parse(text))


def test_names_that_differ_in_case_only_are_refused():
    lines = '%0 = hw.wire %a {sv.namehint = "A"} : i8  hw.output %0 : i8'
    with pytest.raises(FastmlError, match="'A' is not a legal, unique name"):
        body(lines)


def test_reading_what_is_written_is_refused():
    lines = """
        %m = seq.firmem 1, 1, new, undefined : <8 x 8>
        %i = comb.extract %a from 0 : (i8) -> i3
        %r = seq.firmem.read_port %m[%i], clock %clk : <8 x 8>
        seq.firmem.write_port %m[%i] = %a, clock %clk : <8 x 8>
        hw.output %r : i8"""
    with pytest.raises(FastmlError, match="a clocked port that reads what is being written"):
        body(lines, "in %clk : !seq.clock, in %a : i8, out y : i8")


def test_same_input_same_bytes():
    first, second = (emit_systemverilog(parse(MACHINE)) for _ in range(2))
    assert list(first.items()) == list(second.items())
    again = emit_systemverilog(parse(str(parse(MACHINE))))
    assert again == first


def test_verilator_has_no_warning(require_tool: Callable[[str], str]):
    require_tool("verilator")
    files = emit_systemverilog(parse(MACHINE))
    assert lint(files, "machine") == []
    files["count.sv"] = files["count.sv"].replace("4'd1", "5'd1")
    assert lint(files, "machine")


def test_yosys_accepts_the_text(require_tool: Callable[[str], str]):
    require_tool("yosys")
    cells = synthesise(emit_systemverilog(parse(MACHINE)), "machine")
    assert 20 < cells.lut < 200
    assert 40 < cells.ff < 70
    with pytest.raises(FastmlError, match=r"yosys failed: .*ERROR"):
        synthesise({"bad.sv": "module bad(; endmodule"}, "bad")


EVERYTHING = (
    MACHINE
    + """
    hw.module @more(in %clk : !seq.clock, in %a : i8, in %c : i1, out y : i8, out z : i1) {
      %t = hw.array_create %a, %k : i8
      %g = hw.array_get %t[%c] : !hw.array<2xi8>, i1
      %k = hw.constant -3 : i8
      %true = hw.constant true
      %w = hw.wire %g {sv.namehint = "seen"} : i8
      %p = comb.parity %w : i8
      %big = hw.constant 748288838313422294120286634350736906063837462003711 : i200
      %eq = comb.icmp bin eq %big, %big : i200
      %z = comb.and %eq, %true, %p : i1
      %m = seq.firmem 0, 1, undefined, port_order {sv.namehint = "stored"} : <5 x 8>
      %i = comb.extract %a from 0 : (i8) -> i3
      %q = seq.firmem.read_port %m[%i], clock %clk enable %c : <5 x 8>
      seq.firmem.write_port %m[%i] = %a, clock %clk : <5 x 8>
      %s = comb.divs %q, %w : i8
      hw.output %s, %z : i8, i1
    }"""
)


def test_circt_takes_our_text_and_we_take_theirs(require_tool: Callable[[str], str]):
    require_tool("circt")
    circt, ir = import_module("circt"), import_module("circt.ir")

    def through_circt(text: str) -> str:
        with ir.Context() as context:
            circt.register_dialects(context)
            module = ir.Module.parse(text)
            assert module.operation.verify()
            return str(module)

    ours = parse(EVERYTHING)
    theirs = parse(through_circt(str(ours)))
    assert [op.name for op in theirs.walk()] == [op.name for op in ours.walk()]
    # Their names of unnamed values differ; their hardware does not.
    for module in (ours, theirs):
        for op in module.walk():
            for result in op.results:
                result.name_hint = None
    assert emit_systemverilog(theirs) == emit_systemverilog(ours)
    assert through_circt(str(theirs)) == through_circt(str(ours))
