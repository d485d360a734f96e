"""Names of wires and registers say what they hold, in IR and in SystemVerilog."""

import re
from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

import fastml
from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.pipelines import new_context
from fastml.compiler.support.names import is_legal

PULSES = Path(__file__).parents[2] / "examples" / "pulses.onnx"


@pytest.fixture(scope="module")
def module() -> ModuleOp:
    return fastml.compile(PULSES).module("hw")


@pytest.fixture(scope="module")
def files(module: ModuleOp) -> dict[str, str]:
    return emit_systemverilog(module)


def test_elements_and_their_delayed_copies_are_called_after_the_edge(files: dict[str, str]):
    assert "logic [18:0] x_e0_d1;" in files["rescale_hidden.sv"]
    assert "    x_e0_d1 <= x[18:0];" in files["rescale_hidden.sv"]
    assert re.search(r"wire \[4:0\] y_e0 = x_e0_d1\[18\] \?", files["rescale_hidden.sv"])
    assert "    converter_valid_d2 <= converter_valid_d1;" in files["pulses.sv"]


def test_no_register_is_without_a_name(files: dict[str, str]):
    declared = re.compile(r"^  logic (?:\[\d+:0\] )?(\w+);$", re.MULTILINE)
    registers = [name for text in files.values() for name in declared.findall(text)]
    assert len(registers) > 40
    assert [name for name in registers if re.fullmatch(r"w(_\d+)?", name)] == []


def test_names_are_legal_and_unique(files: dict[str, str]):
    declared = re.compile(r"^  (?:logic|wire) (?:\[\d+:0\] )?(\w+)(?: = .*)?;?$", re.MULTILINE)
    for text in files.values():
        names = declared.findall(text)
        assert len({name.lower() for name in names}) == len(names)
        assert [name for name in names if not is_legal(name)] == []


def test_names_survive_printing_and_parsing(module: ModuleOp, files: dict[str, str]):
    read = Parser(new_context(), str(module)).parse_module()
    assert emit_systemverilog(read) == files


def test_no_hint_is_shortened_by_the_ir(module: ModuleOp):
    # xDSL takes a final "_7" off a hint; one that had it would be another after parsing.
    hints = {result.name_hint for op in module.walk() for result in op.results if result.name_hint}
    assert {"x_e0", "x_e0_d1", "add1"} <= hints


def test_an_instance_keeps_its_name_where_a_hint_is_alike():
    text = """
    hw.module @inner(in %x: i8, out y: i8) { hw.output %x : i8 }
    hw.module @top(in %a: i8, out y: i8) {
      %add1 = comb.add %a, %a : i8
      %z = hw.instance "add1" @inner(x: %add1: i8) -> (y: i8)
      %s = comb.mul %add1, %z : i8
      hw.output %s : i8
    }"""
    printed = emit_systemverilog(Parser(new_context(), text).parse_module())["top.sv"]
    assert "  wire [7:0] add1_2 = a + a;" in printed
    assert "  inner add1 (" in printed
