"""Small hardware with valid/ready ports, and what it is meant to do, clock by clock."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fastml.compiler.pipelines import new_context
from fastml.runtime.trace import Integers, PortLayout, Signal, Stimulus, TapLayout, Trace

IN = PortLayout("x", (10, 10), (True, True), "rv", 2)
OUT = PortLayout("y", (11, 11), (True, True), "rv")
TAP = TapLayout("sum", "sum", (11, 11), (True, True), (1, 1), "fire")
WATCH = {"sum": 22, "fire": 1}


def parse(text: str) -> ModuleOp:
    """Parse and verify a module."""
    module = Parser(new_context(), text).parse_module()
    module.verify()
    return module


def fifo(name: str, width: int, memory: bool) -> str:
    """Print a FIFO of depth 2 whose slots are reserved before beats are pushed."""
    registers = f"""
        %at0 = comb.icmp eq %write, %no : i1
        %at1 = comb.icmp eq %write, %yes : i1
        %load0 = comb.and %push, %at0 : i1
        %load1 = comb.and %push, %at1 : i1
        %next0 = comb.mux %load0, %data, %slot0 : i{width}
        %next1 = comb.mux %load1, %data, %slot1 : i{width}
        %slot0 = seq.compreg %next0, %clk : i{width}
        %slot1 = seq.compreg %next1, %clk : i{width}
        %head = comb.mux %read, %slot1, %slot0 : i{width}"""
    cells = f"""
        %cells = seq.firmem 0, 1, undefined, undefined : <2 x {width}>
        seq.firmem.write_port %cells[%write] = %data, clock %clk enable %push : <2 x {width}>
        %head = seq.firmem.read_port %cells[%read], clock %clk : <2 x {width}>"""
    return f"""
      hw.module private @{name}(in %clk : !seq.clock, in %rst : i1, in %reserve : i1,
          in %push : i1, in %data : i{width}, in %pop : i1,
          out valid : i1, out head : i{width}, out room : i1) {{
        %no = hw.constant 0 : i1
        %yes = hw.constant 1 : i1
        %zero = hw.constant 0 : i2
        %depth = hw.constant 2 : i2
        %down = comb.concat %no, %pop : i1, i1
        %filled = comb.concat %no, %push : i1, i1
        %taken = comb.concat %no, %reserve : i1, i1
        %more = comb.add %count, %filled : i2
        %nextCount = comb.sub %more, %down : i2
        %count = seq.compreg %nextCount, %clk reset %rst, %zero : i2
        %most = comb.add %used, %taken : i2
        %nextUsed = comb.sub %most, %down : i2
        %used = seq.compreg %nextUsed, %clk reset %rst, %zero : i2
        %nextWrite = comb.xor %write, %push : i1
        %write = seq.compreg %nextWrite, %clk reset %rst, %no : i1
        %nextRead = comb.xor %read, %pop : i1
        %read = seq.compreg %nextRead, %clk reset %rst, %no : i1
        {cells if memory else registers}
        %valid = comb.icmp ne %count, %zero : i2
        %room = comb.icmp ne %used, %depth : i2
        hw.output %valid, %head, %room : i1, i{width}, i1
      }}"""


PAIRS = """
      hw.module @pairs(in %clk : !seq.clock, in %rst : i1, in %x_valid : i1, in %x : i20,
          in %y_ready : i1, out x_ready : i1, out y_valid : i1, out y : i22)
          ATTRIBUTES {
        %no = hw.constant 0 : i1
        %accept = comb.and %x_valid, %x_ready : i1
        %some, %head, %x_ready = hw.instance "front" @front_fifo(clk: %clk: !seq.clock,
            rst: %rst: i1, reserve: %accept: i1, push: %accept: i1, data: %x: i20, pop: %fire: i1)
            -> (valid: i1, head: i20, room: i1)
        %first = comb.icmp eq %second, %no : i1
        %may = comb.or %first, %room : i1
        %fire = comb.and %some, %may {sv.namehint = "fire"} : i1
        %nextSecond = comb.xor %second, %fire : i1
        %second = seq.compreg %nextSecond, %clk reset %rst, %no : i1
        %a = comb.extract %head from 0 : (i20) -> i10
        %b = comb.extract %head from 10 : (i20) -> i10
        %as = comb.extract %head from 9 : (i20) -> i1
        %bs = comb.extract %head from 19 : (i20) -> i1
        %wide = comb.concat %bs, %b, %as, %a : i1, i10, i1, i10
        %w0 = comb.extract %wide from 0 : (i22) -> i11
        %w1 = comb.extract %wide from 11 : (i22) -> i11
        %k0 = comb.extract %kept from 0 : (i22) -> i11
        %k1 = comb.extract %kept from 11 : (i22) -> i11
        %s0 = comb.add %w0, %k0 : i11
        %s1 = comb.add %w1, %k1 : i11
        %both = comb.concat %s1, %s0 : i11, i11
        %new = comb.mux %second, %both, %wide : i22
        %keep = comb.mux %fire, %new, %kept : i22
        %kept = seq.compreg %keep, %clk : i22
        %sum = hw.wire %kept {sv.namehint = "sum"} : i22
        %done = comb.and %fire, %second : i1
        %late = seq.compreg %done, %clk reset %rst, %no : i1
        %y_valid, %y, %room = hw.instance "back" @back_fifo(clk: %clk: !seq.clock, rst: %rst: i1,
            reserve: %done: i1, push: %late: i1, data: %sum: i22, pop: %take: i1)
            -> (valid: i1, head: i22, room: i1)
        %take = comb.and %y_valid, %y_ready : i1
        hw.output %x_ready, %y_valid, %y : i1, i1, i22
      }"""


ATTRIBUTES = """attributes {fastml.top, fastml.ii = 2 : i64, fastml.latency = 4 : i64,
            fastml.ports = {
              inputs = [{name = "in put", port = "x", elements = "2 x s10", protocol = "rv",
                         beats = 2 : i64}],
              outputs = [{name = "out put", port = "y", elements = "2 x s11", protocol = "rv"}]}}"""
TAPS = """{"in put" = {signal = "x", elements = "2 x s10", cycles = array<i64: 0, 0>},
        sum = {signal = "sum", elements = "2 x s11", cycles = array<i64: 1, 1>, fire = "fire"}}"""


def pairs(memory: bool = False) -> str:
    """Print a design that adds two beats: FIFO, a process with two phases, FIFO."""
    parts = fifo("front_fifo", 20, memory) + fifo("back_fifo", 22, memory) + PAIRS
    return parts.replace("ATTRIBUTES", "")


def described() -> str:
    """Print the same with all that a level must know of it."""
    parts = fifo("front_fifo", 20, False) + fifo("back_fifo", 22, False) + PAIRS
    body = parts.replace("ATTRIBUTES", ATTRIBUTES)
    return f"builtin.module attributes {{fastml.taps = {TAPS}}} {{ {body} }}"


@dataclass
class Queue:
    """A FIFO of the token flow: what is pushed in a cycle is there in the next."""

    depth: int = 2
    used: int = 0
    tokens: deque[list[int]] = field(default_factory=deque[list[int]])


def model(stimulus: Stimulus, cycles: int) -> Trace:
    """Run ``pairs`` token by token, straight from the definition of time."""
    x, waits = stimulus.beats["x"].tolist(), stimulus.waits["x"].tolist()
    ready = stimulus.ready.get("y", np.zeros(0, np.bool_)).tolist()
    before, after = Queue(), Queue()
    second, number = False, 0
    kept = [0, 0]
    due = waits[0] if waits else cycles
    late: list[int] | None = None
    accepted: list[int] = []
    answers: list[tuple[int, list[int]]] = []
    sums: list[tuple[int, list[int]]] = []
    for t in range(cycles):
        accept = t >= due and before.used < before.depth
        fire = bool(before.tokens) and (not second or after.used < after.depth)
        take = bool(after.tokens) and (t >= len(ready) or ready[t])
        pushed, late = late, None
        if take:
            answers.append((t, after.tokens.popleft()))
        if fire:
            head = before.tokens.popleft()
            kept = [a + b for a, b in zip(head, kept if second else [0, 0], strict=True)]
            sums.append((t + 1, kept))
            late = kept if second else None
            second = not second
        after.used += (late is not None) - take
        before.used += accept - fire
        if pushed is not None:
            after.tokens.append(pushed)
        if accept:
            before.tokens.append(x[number])
            accepted.append(t)
            number += 1
            due = t + 1 + waits[number] if number < len(waits) else cycles
    return Trace(
        {"y": _signal(answers, 1)}, {"sum": _signal(sums, 2)}, {"x": np.array(accepted, np.int64)}
    )


def _signal(found: list[tuple[int, list[int]]], columns: int) -> Signal:
    values = np.array([row for _, row in found], np.int64).reshape(-1, 2)
    cycles = np.array([t for t, _ in found], np.int64)[:, None]
    return Signal(values, np.tile(cycles, columns))


def stimulus(kind: str, frames: int, seed: int = 0) -> Stimulus:
    """Make beats; ``kind`` names what is random: idle, stalls, restart, in any combination."""
    rng = np.random.default_rng(seed)
    beats: Mapping[str, Integers] = {"x": rng.integers(-512, 512, (2 * frames, 2))}
    gaps = np.zeros(frames, np.int64)
    idle = dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]()
    ready = dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]()
    if "idle" in kind:
        gaps = rng.integers(0, 3, frames) * rng.integers(0, 2, frames)
        idle = {"x": rng.integers(0, 3, 2 * frames) * rng.integers(0, 2, 2 * frames)}
    if "stalls" in kind:
        ready = {"y": rng.random(6 * frames) < rng.choice([0.2, 0.8], 6 * frames)}
    return Stimulus(beats, gaps, "restart" in kind, idle, ready)


def same(ours: Trace, theirs: Trace) -> None:
    """See that two traces are equal: values and cycles of outputs and taps, acceptances."""
    for name in ("outputs", "taps"):
        pairs = getattr(ours, name), getattr(theirs, name)
        assert pairs[0].keys() == pairs[1].keys()
        for edge, signal in pairs[0].items():
            assert np.array_equal(signal.values, pairs[1][edge].values), edge
            assert np.array_equal(signal.cycles, pairs[1][edge].cycles), edge
    assert ours.accepted.keys() == theirs.accepted.keys()
    for port, cycles in ours.accepted.items():
        assert np.array_equal(cycles, theirs.accepted[port]), port
