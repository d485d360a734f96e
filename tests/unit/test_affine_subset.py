"""Which affine programs become hardware: what is outside is refused in one line."""

from pathlib import Path

import pytest

from fastml.compiler import opt

PROGRAM = (Path(__file__).parents[2] / "examples/moving_sum.mlir").read_text()
LOAD = "%empty = arith"
READ = f"%n = memref.load %x[%m] : memref<32xi8>\n{LOAD}"
END = "  func.return"
LAST = "    affine.yield %total"
TABLE = """"memref.global"() <{{sym_name = "w", sym_visibility = "private"{constant},
  type = memref<4xi8>, initial_value = dense<[9, 1, 2, 3]> : tensor<4xi8>}}> : () -> ()
func.func @mov"""
WORD = """%w = memref.get_global @w : memref<4xi8>
      %entry = affine.load %w[%turn] : memref<4xi8>
      %at = arith.index_cast %entry : i8 to index
      """

REFUSED: dict[str, tuple[list[tuple[str, str]], str]] = {
    "dynamic bound": ([("0 to 8 ", "0 to %turn ")], "only loops with constant bounds"),
    "minimum as bound": (
        [("0 to 8 ", "0 to min affine_map<() -> (8, 9)>() ")],
        "only loops with constant bounds",
    ),
    "no iterations": ([("0 to 8 ", "8 to 8 ")], "a loop without iterations"),
    "no interval": ([("{fastml.pipeline = 1 : i64}", "")], "loop has no 'fastml.pipeline'"),
    "unrolled": ([("{fastml.pipeline = 1 : i64}", "{fastml.unroll}")], "unroll loops with"),
    "modulo": ([("%new, %ring[%i]", "%new, %ring[%i mod 4]")], "'mod' of loop counters"),
    "quotient": (
        [("%new, %ring[%i]", "%new, %ring[%i floordiv 2]")],
        "'floordiv' of loop counters",
    ),
    "product of counters": (
        [(LOAD, f"%m = arith.muli %i, %turn : index\n{READ}")],
        "a product of loop counters is not an affine index",
    ),
    "index from data": (
        [(LOAD, f"%m = arith.index_cast %new : i8 to index\n{READ}")],
        "an index that depends on data",
    ),
    "index outside": ([("%new, %ring[%i]", "%new, %ring[%i + 1]")], "index runs from 1 to 8"),
    "table outside": (
        [
            ("func.func @mov", TABLE.format(constant=", constant")),
            (LOAD, f"{WORD}memref.store %new, %ring[%at] : memref<8xi8>\n{LOAD}"),
        ],
        "index runs from 1 to 9",
    ),
    "table that is no constant": (
        [
            ("func.func @mov", TABLE.format(constant="")),
            (LOAD, f"{WORD}memref.store %new, %ring[%at] : memref<8xi8>\n{LOAD}"),
        ],
        "constant",
    ),
    "two writers": (
        [("%old =", "affine.store %zero, %ring[-%i + 7] : memref<8xi8>\n%old =")],
        "block memory has one port to write",
    ),
    "condition": (
        [(LAST, f"affine.if affine_set<(d0) : (d0 - 1 >= 0)>(%turn) {{\n}}\n{LAST}")],
        "operation is not supported in a function with loops",
    ),
    "call in a loop": (
        [(LAST, f"func.call @moving_sum(%x, %y) : (memref<32xi8>, memref<32xi11>) -> ()\n{LAST}")],
        "operation is not supported in a function with loops",
    ),
    "division": (
        [("arith.addi %sum, %change {fastml.start = 2 : i64}", "arith.divsi %sum, %change")],
        "operation is not supported in a function with loops",
    ),
    "overflow flags": (
        [("arith.addi %sum, %change {", "arith.addi %sum, %change overflow<nsw> {")],
        "overflow flags are not supported",
    ),
    "real numbers": (
        [("%none = arith", "%f = arith.constant 0.0 : f32\n  %none = arith")],
        "only integers are supported",
    ),
    "vectors": (
        [("%none = arith", "%f = arith.constant dense<0> : vector<4xi8>\n  %none = arith")],
        "only integers are supported",
    ),
    "memory in a loop": (
        [(LOAD, f'%m = memref.alloc() {{fastml.elements = "2 x s8"}} : memref<2xi8>\n{LOAD}')],
        "a memory is made outside of loops",
    ),
    "memory without a layout": ([(', fastml.elements = "8 x s8"', "")], "memref has no"),
    "store to the input": (
        [(LOAD, f"affine.store %new, %x[%i] : memref<32xi8>\n{LOAD}")],
        "stores to input 'x'",
    ),
    "partial output": ([("0 to 8 ", "0 to 7 ")], "element 7 of output 'y' is never stored"),
    "start on an index": (
        [(LOAD, f"%m = arith.addi %i, %c0 {{fastml.start = 1 : i64}} : index\n{LOAD}")],
        "an index is there at any time",
    ),
    "several blocks": ([(END, f"  cf.br ^end\n^end:\n{END}")], "a function must be one block"),
    "no body": (
        [("func.func @mov", "func.func private @other(memref<4xi8>) -> ()\nfunc.func @mov")],
        "a function must be one block",
    ),
    "no name for a port": (
        [('fastml.port = "x"', 'fastml.port = "x y"')],
        "'fastml.port' must be an identifier",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("step", ["check-schedule", "affine-to-hw"])
def test_refused(case: str, step: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    changes, message = REFUSED[case]
    text = PROGRAM
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    file = tmp_path / "program.mlir"
    file.write_text(text)
    assert opt.main([str(file), "-p", step, "-o", str(tmp_path / "out.mlir")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error[FML-")
    assert "program.mlir:" in line
    assert message in line
    assert not (tmp_path / "out.mlir").exists()


def test_a_product_in_a_map_is_an_error_of_the_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "program.mlir"
    file.write_text(PROGRAM.replace("%turn * 8 + %i", "%turn * %i", 1))
    assert opt.main([str(file), "-p", "check-schedule"]) == 2
    assert "semi-affine" in capsys.readouterr().err
