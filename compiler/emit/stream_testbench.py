"""Print a self-checking testbench of valid/ready ports: sources that wait, sinks that stall.

Like :mod:`fastml.compiler.emit.testbench`, in plain SystemVerilog. Each input has a hex file
with a row for each beat: the cycle in which it is to be accepted, the idle cycles before it,
its data; each output one with a row for each beat, cycle and data, and one that says in which
cycles it is taken. What carries no beat carries noise.
"""

from collections.abc import Sequence

from fastml.compiler.emit.testbench import (
    CYCLE_BITS,
    bench,
    expected_rows,
    hex_lines,
    number,
    span,
)
from fastml.runtime.bits import word_count
from fastml.runtime.clocked import RESET, RESET_CYCLES
from fastml.runtime.hw_sources import READY, VALID, Source
from fastml.runtime.streams import StreamDrive
from fastml.runtime.trace import PortLayout, Trace

_MASK = (1 << CYCLE_BITS) - 1


def emit_stream_testbench(
    top: str,
    inputs: Sequence[PortLayout],
    outputs: Sequence[PortLayout],
    plan: StreamDrive,
    expected: Trace,
    *,
    clock: str = "clk",
    name: str = "testbench",
) -> dict[str, str]:
    """Return the files of a testbench that drives ``plan`` and expects a trace.

    It expects every acceptance and every output beat in its cycle.
    """
    files = dict[str, str]()
    for port in inputs:
        accepted = expected.accepted[port.name] + plan.origin
        rows = _source_rows(plan.sources[port.name], accepted.tolist(), sum(port.widths))
        files[f"{name}_{port.name}.hex"] = hex_lines(rows)
    for port in outputs:
        rows = expected_rows(port, plan.origin, expected)
        files[f"{name}_{port.name}.hex"] = hex_lines(rows)
        ready = plan.sinks[port.name].astype(int).tolist()
        files[f"{name}_{port.name}{READY}.hex"] = hex_lines(ready or [1])
    moves = [s.cycles[:, 0] for s in expected.outputs.values()]
    last = max((int(cycles[-1]) for cycles in moves if len(cycles)), default=-1)
    cycles = plan.origin + last + 1 + plan.drain
    text = _Bench(top, plan, expected, cycles, clock, name).text(inputs, outputs)
    return {f"{name}.sv": text, **files}


def _source_rows(source: Source, accepted: Sequence[int], width: int) -> list[int]:
    waits = [source.first, *source.waits.tolist()[1:]]
    return [
        (cycle << (CYCLE_BITS + width))
        | ((wait & _MASK) << width)
        | (number(source.beats, row) if width else 0)
        for row, (cycle, wait) in enumerate(zip(accepted, waits, strict=True))
    ] or [0]


class _Bench:
    """The text of one testbench, port by port."""

    def __init__(
        self, top: str, plan: StreamDrive, expected: Trace, cycles: int, clock: str, name: str
    ):
        self.top = top
        self.plan = plan
        self.expected = expected
        self.cycles = cycles
        self.name = name
        self.connections = [f"    .{clock}(clk)"]
        self.declared: list[str] = []
        self.loads: list[str] = []
        self.clocked: list[str] = []
        self.counts: list[str] = []
        if RESET in plan.widths:
            self.connections.append(f"    .{RESET}(reset)")

    def text(self, inputs: Sequence[PortLayout], outputs: Sequence[PortLayout]) -> str:
        """Return the module."""
        plan = self.plan
        for index, port in enumerate(inputs):
            self.source(index, port, plan.sources[port.name])
        for index, port in enumerate(outputs):
            self.sink(index, port)
        declared = [
            "`timescale 1ns / 1ps",
            f"module {self.name};",
            f"  localparam int Cycles = {self.cycles};",
            f"  localparam int Ready = {plan.ready};",
            f"  localparam int Origin = {plan.origin};",
            "  logic clk = 1'b0;",
            "  int cycle = 0;",
            "  int errors = 0;",
            f"  wire reset = cycle < {RESET_CYCLES} || cycle == Ready - 1;",
            *self.declared,
        ]
        return bench(declared, self.top, self.connections, self.loads, self.clocked, self.counts)

    def source(self, index: int, port: PortLayout, source: Source) -> None:
        """Present beats until they are accepted."""
        width, count = sum(port.widths), len(source.beats)
        row = f"beats{index}[at{index} < {count} ? at{index} : 0]"
        following = f"beats{index}[at{index} + 1 < {count} ? at{index} + 1 : 0]"
        self.declared += [
            f"  logic {span(width + 2 * CYCLE_BITS)}beats{index} [0:{max(count, 1) - 1}];",
            f"  int at{index} = 0;",
            f"  int due{index} = {source.first if count else 0};",
            f"  logic early{index} = 1'b0;",
            f"  wire present{index} = cycle >= due{index} && at{index} < {count};",
            f"  wire offer{index} = cycle < Ready ? early{index} : present{index};",
            f"  wire accept{index};",
        ]
        self.connections += [
            f"    .{port.name}{VALID}(offer{index})",
            f"    .{port.name}{READY}(accept{index})",
        ]
        self.clocked.append(f"    early{index} <= 1'($urandom);")
        if width:
            words = word_count(width)
            self.declared += [
                f"  logic {span(32 * words)}noise{index} = '0;",
                f"  wire {span(width)}given{index} = present{index} ? {row}{span(width).rstrip()}"
                f" : noise{index}{span(width).rstrip()};",
            ]
            self.connections.append(f"    .{port.name}(given{index})")
            self.clocked.append(
                f"    for (int i = 0; i < {words}; i++) noise{index}[32*i +: 32] <= $urandom;"
            )
        due = f"{row}[{width + CYCLE_BITS} +: {CYCLE_BITS}]"
        self.loads.append(f'    $readmemh("{self.name}_{port.name}.hex", beats{index});')
        self.clocked += [
            f"    if (cycle >= Ready && present{index} && accept{index} !== 1'b0) begin",
            f"      if (cycle !== {due}) begin",
            f'        $display("FAIL: beat %0d of {port.name} accepted in cycle %0d", at{index},'
            " cycle - Origin);",
            "        errors = errors + 1;",
            "      end",
            f"      at{index} <= at{index} + 1;",
            f"      due{index} <= cycle + 1 + {following}[{width} +: {CYCLE_BITS}];",
            "    end",
        ]
        self.count(f"at{index}", count, port.name)

    def sink(self, index: int, port: PortLayout) -> None:
        """Take beats in some cycles, and compare them."""
        width, count = sum(port.widths), len(self.expected.outputs[port.name].values)
        length = max(len(self.plan.sinks[port.name]), 1)
        self.declared += [
            f"  logic {span(width + CYCLE_BITS)}expected{index} [0:{max(count, 1) - 1}];",
            f"  logic taken{index} [0:{length - 1}];",
            f"  int beat{index} = 0;",
            f"  logic any{index} = 1'b0;",
            f"  wire valid{index};",
            f"  wire take{index} = cycle < Origin ? any{index} :"
            f" cycle - Origin >= {length} ? 1'b1 : taken{index}[cycle - Origin];",
        ]
        self.connections += [
            f"    .{port.name}{VALID}(valid{index})",
            f"    .{port.name}{READY}(take{index})",
        ]
        seen = "cycle"
        if width:
            self.declared.append(f"  wire {span(width)}data{index};")
            self.connections.append(f"    .{port.name}(data{index})")
            seen = f"{{cycle, data{index}}}"
        self.loads += [
            f'    $readmemh("{self.name}_{port.name}.hex", expected{index});',
            f'    $readmemh("{self.name}_{port.name}{READY}.hex", taken{index});',
        ]
        expected = f"expected{index}[beat{index}]"
        self.clocked += [
            f"    any{index} <= 1'($urandom);",
            f"    if (cycle >= Ready && valid{index} !== 1'b0 && take{index}) begin",
            f"      if (beat{index} >= {count} || {seen} !== {expected}) begin",
            f'        $display("FAIL: beat %0d of {port.name} in cycle %0d", beat{index},'
            " cycle - Origin);",
            "        errors = errors + 1;",
            "      end",
            f"      beat{index} = beat{index} + 1;",
            "    end",
        ]
        self.count(f"beat{index}", count, port.name)

    def count(self, counter: str, count: int, port: str) -> None:
        """See at the end that no beat is missing."""
        self.counts += [
            f"      if ({counter} != {count}) begin",
            f'        $display("FAIL: %0d beats of {port}, not {count}", {counter});',
            "        errors = errors + 1;",
            "      end",
        ]
