"""Print a self-checking testbench: vectors in hex files, PASS or FAIL, values and cycles.

The text is plain SystemVerilog, so that it runs in Verilator (``--binary --timing``) as in
any other simulator, in the folder that holds the hex files. A failure ends the simulation
by ``$fatal``, which gives a non-zero exit status.
"""

from collections.abc import Iterable, Mapping, Sequence

from fastml.runtime.bits import Words, from_integers, pack_rows
from fastml.runtime.clocked import VALID, Drive
from fastml.runtime.trace import PortLayout, Trace

CYCLE_BITS = 32


def emit_testbench(
    top: str,
    widths: Mapping[str, int],
    outputs: Sequence[PortLayout],
    plan: Drive,
    expected: Trace,
    *,
    clock: str = "clk",
    name: str = "testbench",
) -> dict[str, str]:
    """Return the files of a testbench that drives ``plan`` and expects a trace.

    ``widths`` gives the input ports of ``top`` but the clock, as ``plan`` drives them.
    """
    files = {f"{name}_stimulus.hex": _lines(plan, widths)}
    for port in outputs:
        rows = expected_rows(port, plan.origin, expected)
        files[f"{name}_{port.name}.hex"] = hex_lines(rows)
    beats = {port.name: len(expected.outputs[port.name].values) for port in outputs}
    text = _module(top, widths, outputs, plan, beats, clock, name)
    return {f"{name}.sv": text, **files}


def number(words: Words, row: int) -> int:
    """Return one row as an unsigned number."""
    return int.from_bytes(words[row].astype("<u4").tobytes(), "little")


def hex_lines(rows: Iterable[int]) -> str:
    """Return the text that ``$readmemh`` reads."""
    return "".join(f"{row:x}\n" for row in rows)


def _lines(plan: Drive, widths: Mapping[str, int]) -> str:
    """Give all inputs of a cycle on one line, the first port in the low bits."""
    rows = [0] * plan.cycles
    offset = 0
    for name, width in widths.items():
        for row in range(plan.cycles):
            rows[row] |= number(plan.words[name], row) << offset
        offset += width
    return hex_lines(rows)


def expected_rows(port: PortLayout, origin: int, expected: Trace) -> list[int]:
    """Give cycle (high) and data (low) of each beat, cycles counted from the first reset."""
    signal = expected.outputs[port.name]
    width = sum(port.widths)
    cycles = from_integers(signal.cycles[:, 0] + origin, CYCLE_BITS)
    data = pack_rows(signal.values, port.widths) if width else cycles
    rows = [
        (number(cycles, row) << width) | (number(data, row) if width else 0)
        for row in range(len(cycles))
    ]
    return rows or [0]


def span(width: int) -> str:
    """Return the packed dimension of so many bits."""
    return f"[{width - 1}:0] "


def _module(
    top: str,
    widths: Mapping[str, int],
    outputs: Sequence[PortLayout],
    plan: Drive,
    beats: Mapping[str, int],
    clock: str,
    name: str,
) -> str:
    total = sum(widths.values())
    lines = [
        "`timescale 1ns / 1ps",
        f"module {name};",
        f"  localparam int Cycles = {plan.cycles};",
        "  logic clk = 1'b0;",
        "  int cycle = 0;",
        "  int errors = 0;",
        f"  logic {span(total)}stimulus [0:Cycles-1];",
        f"  wire {span(total)}given = stimulus[cycle];",
    ]
    ports = [f"    .{clock}(clk)"]
    offset = 0
    for port, width in widths.items():
        ports.append(f"    .{port}(given[{offset} +: {width}])")
        offset += width
    loads = [f'    $readmemh("{name}_stimulus.hex", stimulus);']
    checks: list[str] = []
    counts: list[str] = []
    for number, port in enumerate(outputs):
        width, count = sum(port.widths), beats[port.name]
        lines += [
            f"  logic {span(width + CYCLE_BITS)}expected{number} [0:{max(count, 1) - 1}];",
            f"  int beat{number} = 0;",
            f"  wire valid{number};",
        ]
        ports.append(f"    .{port.name}{VALID}(valid{number})")
        seen = "cycle"
        if width:
            lines.append(f"  wire {span(width)}data{number};")
            ports.append(f"    .{port.name}(data{number})")
            seen = f"{{cycle, data{number}}}"
        loads.append(f'    $readmemh("{name}_{port.name}.hex", expected{number});')
        checks += _check(number, port.name, count, seen, plan)
        counts += [
            f"      if (beat{number} != {count}) begin",
            f'        $display("FAIL: %0d beats of {port.name}, not {count}", beat{number});',
            "        errors = errors + 1;",
            "      end",
        ]
    return bench(lines, top, ports, loads, checks, counts)


def bench(
    declared: Sequence[str],
    top: str,
    connections: Sequence[str],
    loads: Sequence[str],
    clocked: Sequence[str],
    counts: Sequence[str],
) -> str:
    """Return a testbench: what it declares, the design, what it does each cycle and at the end."""
    return "\n".join(
        [
            *declared,
            f"  {top} dut (",
            ",\n".join(connections),
            "  );",
            "  initial begin",
            *loads,
            "  end",
            "  always #1 clk = ~clk;",
            "  always @(posedge clk) begin",
            *clocked,
            "    if (cycle == Cycles - 1) begin",
            *counts,
            '      if (errors != 0) $fatal(1, "FAIL: %0d errors", errors);',
            '      $display("PASS");',
            "      $finish;",
            "    end",
            "    cycle <= cycle + 1;",
            "  end",
            "endmodule",
            "",
        ]
    )


def _check(number: int, port: str, count: int, seen: str, plan: Drive) -> list[str]:
    """Compare one output with what is expected next."""
    return [
        f"    if (cycle >= {plan.ready} && valid{number} !== 1'b0) begin",
        f"      if (beat{number} >= {count} || {seen} !== expected{number}[beat{number}]) begin",
        f'        $display("FAIL: beat %0d of {port} in cycle %0d", beat{number},'
        f" cycle - {plan.origin});",
        "        errors = errors + 1;",
        "      end",
        f"      beat{number} = beat{number} + 1;",
        "    end",
    ]
