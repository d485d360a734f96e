"""Dataflow designs written by hand at the affine level, and what they are meant to do.

:func:`step_by_step` is the definition of time, one clock cycle after the other.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import LocatingParser
from fastml.dialects import directives
from fastml.dialects.affine_processes import dataflow_of
from fastml.dialects.token_flow import Network
from fastml.runtime.trace import Integers

Beats = Mapping[str, Integers]


@dataclass(frozen=True)
class Design:
    """A program, the values of its outputs, and the beats a frame and layouts of its ports."""

    text: str
    reference: Callable[[Beats], dict[str, Integers]]
    inputs: Mapping[str, tuple[int, str]]
    outputs: Mapping[str, int]
    edges: Mapping[str, Callable[[Beats], Integers]]

    @property
    def fifos(self) -> list[str]:
        """Names of all streams."""
        return re.findall(r'fastml\.name = "(\w+)"[^{}]*fastml\.stream', self.text)

    def module(self, depths: Mapping[str, int] | None = None) -> ModuleOp:
        """Parse the program, with other depths of some FIFOs."""
        text = self.text
        for name, depth in (depths or {}).items():
            stream = rf'(fastml\.name = "{name}"[^{{}}]*fastml\.stream = )\d+'
            text, count = re.subn(stream, rf"\g<1>{depth}", text)
            assert count == 1, name
        return parse(text)


def parse(text: str) -> ModuleOp:
    """Parse a module."""
    return LocatingParser(new_context(), text, "test.mlir").parse_module()


def network_of(module: ModuleOp) -> Network:
    """Return the processes and FIFOs of a program."""
    (top,) = (op for op in module.ops if isinstance(op, FuncOp) and directives.TOP in op.attributes)
    return dataflow_of(module, top).network()


@dataclass(frozen=True)
class Seen:
    """Cycles of what happened, and whether all of it did."""

    accepted: dict[str, list[int]]
    taken: dict[str, list[int]]
    fired: dict[str, list[int]]
    done: bool


def step_by_step(
    network: Network,
    idle: Mapping[str, NDArray[np.int64]],
    ready: Mapping[str, NDArray[np.bool_]],
    cycles: int,
) -> Seen:
    """Run a network clock by clock: decide from the registered state, then move tokens."""
    depth = {fifo.name: fifo.depth for fifo in network.fifos}
    used, count = dict.fromkeys(depth, 0), dict.fromkeys(depth, 0)
    coming: list[tuple[int, str]] = []
    seen = Seen(
        {s.name: [] for s in network.sources},
        {s.name: [] for s in network.sinks},
        {p.name: [] for p in network.processes},
        True,
    )
    for t in range(cycles):
        free = {name for name, slots in depth.items() if slots is None or used[name] < slots}
        head = {name for name in depth if count[name] > 0}
        reserved: list[str] = []
        popped: list[str] = []
        for source in network.sources:
            gone = seen.accepted[source.name]
            if len(gone) == len(idle[source.name]):
                continue
            first = gone[-1] + 1 if gone else 0
            if t >= first + idle[source.name][len(gone)] and free.issuperset(source.fifos):
                gone.append(t)
                reserved += source.fifos
                coming += [(t, name) for name in source.fifos]
        for process in network.processes:
            fired = seen.fired[process.name]
            phase = len(fired) % process.phases
            needs = {r.fifo for r in process.reads if r.needs[phase]}
            gives = [w for w in process.writes if w.produces[phase]]
            rested = not fired or t >= fired[-1] + process.interval
            if rested and needs <= head and free.issuperset(w.fifo for w in gives):
                fired.append(t)
                popped += [r.fifo for r in process.reads if r.consumes[phase]]
                reserved += [w.fifo for w in gives]
                coming += [(t + w.latency, w.fifo) for w in gives]
        for sink in network.sinks:
            row = ready.get(sink.name, ())
            if sink.fifo in head and (t >= len(row) or row[t]):
                seen.taken[sink.name].append(t)
                popped.append(sink.fifo)
        for name in reserved:
            used[name] += 1
        for name in popped:
            used[name] -= 1
            count[name] -= 1
        for when, name in coming:
            count[name] += when == t
        coming = [(when, name) for when, name in coming if when > t]
    accepted = all(len(seen.accepted[n]) == len(waits) for n, waits in idle.items())
    done = accepted and not any(used.values())
    return Seen(seen.accepted, seen.taken, seen.fired, done)


def _port(name: str, shape: str, elements: str, way: str, depth: int = 2, more: str = "") -> str:
    return (
        f'%{name} : memref<{shape}> {{fastml.name = "{name}", fastml.port = "{name}", '
        f'fastml.elements = "{elements}", fastml.direction = "{way}", '
        f"fastml.stream = {depth} : i64{more}}}"
    )


def _alloc(name: str, shape: str, elements: str, depth: int) -> str:
    return (
        f'%{name} = memref.alloc() {{fastml.name = "{name}", fastml.port = "{name}", '
        f'fastml.elements = "{elements}", fastml.stream = {depth} : i64 }} : memref<{shape}>'
    )


def _argument(port: str, shape: str, elements: str, way: str, more: str = "") -> str:
    return (
        f'%{port} : memref<{shape}> {{fastml.port = "{port}", fastml.elements = "{elements}", '
        f'fastml.direction = "{way}"{more}}}'
    )


def _function(name: str, arguments: list[str], ii: int, latency: int, body: str) -> str:
    return (
        f"func.func private @{name}({', '.join(arguments)}) attributes {{fastml.process, "
        f"fastml.ii = {ii} : i64, fastml.latency = {latency} : i64}} {{\n{body}\nfunc.return\n}}\n"
    )


def _top(arguments: list[str], ii: int, latency: int, body: str) -> str:
    return (
        f"func.func @network({', '.join(arguments)}) attributes {{fastml.top, fastml.dataflow, "
        f"fastml.ii = {ii} : i64, fastml.latency = {latency} : i64}} {{\n{body}\nfunc.return\n}}\n"
    )


SUM = _function(
    "sum",
    [
        _argument("x", "2xi8", "2 x s8", "in"),
        _argument("y", "2xi9", "2 x s9", "out", ', fastml.name = "sums"'),
    ],
    1,
    2,
    """
  %0 = affine.load %x[0] : memref<2xi8>
  %1 = affine.load %x[1] : memref<2xi8>
  %2 = arith.extsi %0 : i8 to i9
  %3 = arith.extsi %1 : i8 to i9
  %4 = arith.addi %2, %3 {fastml.start = 1 : i64} : i9
  %5 = arith.subi %4, %3 {fastml.start = 2 : i64} : i9
  affine.store %4, %y[0] : memref<2xi9>
  affine.store %5, %y[1] : memref<2xi9>""",
)
PRODUCT = _function(
    "product",
    [_argument("x", "2xi9", "2 x s9", "in"), _argument("y", "1xi18", "s18", "out")],
    3,
    1,
    """
  %0 = affine.load %x[0] : memref<2xi9>
  %1 = affine.load %x[1] : memref<2xi9>
  %2 = arith.extsi %0 : i9 to i18
  %3 = arith.extsi %1 : i9 to i18
  %4 = arith.muli %2, %3 {fastml.start = 1 : i64} : i18
  affine.store %4, %y[0] : memref<1xi18>""",
)


def _sums(beats: Beats) -> Integers:
    x = beats["x"]
    return np.stack([x[:, 0] + x[:, 1], x[:, 0]], axis=1)


CHAIN = Design(
    _top(
        [_port("x", "2xi8", "2 x s8", "in"), _port("y", "1xi18", "s18", "out")],
        3,
        6,
        f"""
  {_alloc("h", "2xi9", "2 x s9", 2)}
  func.call @sum(%x, %h) : (memref<2xi8>, memref<2xi9>) -> ()
  func.call @product(%h, %y) : (memref<2xi9>, memref<1xi18>) -> ()""",
    )
    + SUM
    + PRODUCT,
    lambda beats: {"y": _sums(beats).prod(axis=1, keepdims=True)},
    {"x": (1, "2 x s8")},
    {"y": 1},
    {"sums": _sums},
)
"""Two parallel processes, one of which takes a beat in three cycles."""

FORK = Design(
    _top(
        [
            _port("x", "2xi8", "2 x s8", "in"),
            _port("k", "1xi3", "u3", "in", 3),
            _port("y", "2xi11", "2 x s11", "out", 3),
        ],
        1,
        11,
        f"""
  {_alloc("a", "2xi9", "2 x s9", 3)}
  {_alloc("b", "1xi8", "s8", 10)}
  {_alloc("c", "2xi9", "2 x s9", 7)}
  func.call @split(%x, %a, %b) : (memref<2xi8>, memref<2xi9>, memref<1xi8>) -> ()
  func.call @slow(%a, %c) : (memref<2xi9>, memref<2xi9>) -> ()
  func.call @merge(%c, %b, %k, %y)
    : (memref<2xi9>, memref<1xi8>, memref<1xi3>, memref<2xi11>) -> ()""",
    )
    + _function(
        "split",
        [
            _argument("x", "2xi8", "2 x s8", "in"),
            _argument("a", "2xi9", "2 x s9", "out"),
            _argument("b", "1xi8", "s8", "out", ", fastml.latency = 0 : i64"),
        ],
        1,
        1,
        """
  %0 = affine.load %x[0] : memref<2xi8>
  %1 = affine.load %x[1] : memref<2xi8>
  %2 = arith.extsi %0 : i8 to i9
  %3 = arith.extsi %1 : i8 to i9
  %4 = arith.addi %2, %3 {fastml.start = 1 : i64} : i9
  affine.store %4, %a[0] : memref<2xi9>
  affine.store %2, %a[1] : memref<2xi9>
  affine.store %1, %b[0] : memref<1xi8>""",
    )
    + _function(
        "slow",
        [_argument("x", "2xi9", "2 x s9", "in"), _argument("y", "2xi9", "2 x s9", "out")],
        1,
        5,
        """
  %0 = affine.load %x[0] : memref<2xi9>
  %1 = affine.load %x[1] : memref<2xi9>
  %2 = arith.minsi %0, %1 {fastml.start = 2 : i64} : i9
  %3 = arith.maxsi %2, %1 {fastml.start = 5 : i64} : i9
  affine.store %2, %y[0] : memref<2xi9>
  affine.store %3, %y[1] : memref<2xi9>""",
    )
    + _function(
        "merge",
        [
            _argument("p", "2xi9", "2 x s9", "in"),
            _argument("q", "1xi8", "s8", "in"),
            _argument("k", "1xi3", "u3", "in"),
            _argument("y", "2xi11", "2 x s11", "out"),
        ],
        1,
        1,
        """
  %0 = affine.load %p[0] : memref<2xi9>
  %1 = affine.load %p[1] : memref<2xi9>
  %2 = affine.load %q[0] : memref<1xi8>
  %9 = affine.load %k[0] : memref<1xi3>
  %3 = arith.extsi %0 : i9 to i11
  %4 = arith.extsi %1 : i9 to i11
  %5 = arith.extsi %2 : i8 to i11
  %6 = arith.extui %9 : i3 to i11
  %7 = arith.addi %3, %5 {fastml.start = 1 : i64} : i11
  %8 = arith.addi %4, %6 : i11
  affine.store %7, %y[0] : memref<2xi11>
  affine.store %8, %y[1] : memref<2xi11>""",
    ),
    lambda beats: {"y": _joined(beats)},
    {"x": (1, "2 x s8"), "k": (1, "u3")},
    {"y": 1},
    {},
)
"""A fork of one output with two latencies, a join behind paths of different length."""


def _joined(beats: Beats) -> Integers:
    x, k = beats["x"], beats["k"]
    a, b = x.sum(axis=1), x[:, 0]
    low = np.minimum(a, b)
    return np.stack([low + x[:, 1], np.maximum(low, b) + k[:, 0]], axis=1)


SERIAL = Design(
    _top(
        [
            _port("x", "5xi8", "5 x s8", "in"),
            _port("y", "5xi9", "5 x s9", "out"),
            _port("z", "3x2xi9", "2 x s9", "out", 3),
        ],
        3,
        7,
        f"""
  {_alloc("s", "3x2xi8", "2 x s8", 2)}
  {_alloc("h", "3x2xi9", "2 x s9", 4)}
  func.call @serialise(%x, %s) : (memref<5xi8>, memref<3x2xi8>) -> ()
  func.call @rotate(%s, %h, %z) : (memref<3x2xi8>, memref<3x2xi9>, memref<3x2xi9>) -> ()
  func.call @deserialise(%h, %y) : (memref<3x2xi9>, memref<5xi9>) -> ()""",
    )
    + _function(
        "serialise",
        [_argument("x", "5xi8", "5 x s8", "in"), _argument("y", "3x2xi8", "2 x s8", "out")],
        3,
        0,
        """
  %zero = arith.constant 0 : i8
  %end = arith.constant 2 : index
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k * 2] : memref<5xi8>
    affine.store %0, %y[%k, 0] : memref<3x2xi8>
    %more = arith.cmpi ult, %k, %end : index
    %1 = affine.load %x[(%k * 2 + 1) mod 5] : memref<5xi8>
    %2 = arith.select %more, %1, %zero : i8
    affine.store %2, %y[%k, 1] : memref<3x2xi8>
  } {fastml.pipeline = 1 : i64}""",
    )
    + """
func.func private @twice(
    %x : memref<2xi8> {fastml.port = "x", fastml.elements = "2 x s8", fastml.direction = "in"},
    %y : memref<2xi9> {fastml.port = "y", fastml.elements = "2 x s9", fastml.direction = "out"}) {
  %0 = affine.load %x[0] : memref<2xi8>
  %1 = affine.load %x[1] : memref<2xi8>
  %2 = arith.extsi %0 : i8 to i9
  %3 = arith.extsi %1 : i8 to i9
  %4 = arith.addi %2, %3 {fastml.start = 1 : i64} : i9
  affine.store %4, %y[0] : memref<2xi9>
  affine.store %2, %y[1] : memref<2xi9>
  func.return
}
"""
    + _function(
        "rotate",
        [
            _argument("x", "3x2xi8", "2 x s8", "in"),
            _argument("y", "3x2xi9", "2 x s9", "out"),
            _argument("z", "3x2xi9", "2 x s9", "out"),
        ],
        3,
        1,
        """
  affine.for %k = 0 to 3 {
    %a = memref.alloc() {fastml.elements = "2 x s8"} : memref<2xi8>
    %b = memref.alloc() {fastml.name = "doubled", fastml.port = "doubled",
                         fastml.elements = "2 x s9"} : memref<2xi9>
    %0 = affine.load %x[%k, 0] : memref<3x2xi8>
    %1 = affine.load %x[%k, 1] : memref<3x2xi8>
    affine.store %0, %a[0] : memref<2xi8>
    affine.store %1, %a[1] : memref<2xi8>
    func.call @twice(%a, %b) : (memref<2xi8>, memref<2xi9>) -> ()
    %2 = affine.load %b[0] : memref<2xi9>
    %3 = affine.load %b[1] : memref<2xi9>
    affine.store %2, %y[%k, 0] : memref<3x2xi9>
    affine.store %3, %y[%k, 1] : memref<3x2xi9>
    affine.store %3, %z[%k, 0] : memref<3x2xi9>
    affine.store %2, %z[%k, 1] : memref<3x2xi9>
  } {fastml.pipeline = 1 : i64}""",
    )
    + _function(
        "deserialise",
        [
            _argument("x", "3x2xi9", "2 x s9", "in"),
            _argument("y", "5xi9", "5 x s9", "out", ', fastml.name = "whole"'),
        ],
        3,
        0,
        """
  affine.for %k = 0 to 3 {
    %0 = affine.load %x[%k, 0] : memref<3x2xi9>
    affine.store %0, %y[%k * 2] : memref<5xi9>
    affine.if affine_set<(d0) : (1 - d0 >= 0)>(%k) {
      %1 = affine.load %x[%k, 1] : memref<3x2xi9>
      affine.store %1, %y[%k * 2 + 1] : memref<5xi9>
    }
  } {fastml.pipeline = 1 : i64}""",
    ),
    lambda beats: {"y": _doubled(beats)[:, :5], "z": _swapped(beats)},
    {"x": (1, "5 x s8")},
    {"y": 1, "z": 3},
    {
        "doubled": lambda beats: _doubled(beats).reshape(-1, 2),
        "whole": lambda beats: _doubled(beats)[:, :5],
    },
)
"""One beat sent in three, a function on each of them, and gathered again; a fork after it."""


def _doubled(beats: Beats) -> Integers:
    padded = np.zeros((len(beats["x"]), 6), np.int64)
    padded[:, :5] = beats["x"]
    pairs = padded.reshape(-1, 3, 2)
    return np.stack([pairs.sum(axis=2), pairs[:, :, 0]], axis=2).reshape(-1, 6)


def _swapped(beats: Beats) -> Integers:
    return _doubled(beats).reshape(-1, 2)[:, ::-1]


DOT = Design(
    """
"memref.global"() <{sym_name = "w", sym_visibility = "private", constant, type = memref<4xi4>,
  initial_value = dense<[3, -5, 7, -8]> : tensor<4xi4>}> : () -> ()
"""
    + _top(
        [_port("x", "4x1xi8", "s8", "in"), _port("y", "2xi13", "2 x s13", "out")],
        4,
        9,
        """
  func.call @dot(%x, %y) : (memref<4x1xi8>, memref<2xi13>) -> ()""",
    )
    + _function(
        "dot",
        [_argument("x", "4x1xi8", "s8", "in"), _argument("y", "2xi13", "2 x s13", "out")],
        4,
        4,
        """
  %w = memref.get_global @w : memref<4xi4>
  %zero = arith.constant 0 : i13
  %total = affine.for %k = 0 to 4 iter_args(%part = %zero) -> (i13) {
    %0 = affine.load %x[%k, 0] : memref<4x1xi8>
    %1 = affine.load %w[%k] : memref<4xi4>
    %2 = arith.extsi %0 : i8 to i13
    %3 = arith.extsi %1 : i4 to i13
    %4 = arith.muli %2, %3 {fastml.start = 1 : i64} : i13
    %5 = arith.addi %part, %4 {fastml.start = 2 : i64} : i13
    affine.if affine_set<(d0) : (d0 == 1)>(%k) {
      affine.store %5, %y[0] : memref<2xi13>
    }
    affine.yield %5 : i13
  } {fastml.pipeline = 1 : i64}
  %6 = arith.addi %total, %total {fastml.start = 3 : i64} : i13
  %7 = arith.subi %6, %total {fastml.start = 4 : i64} : i13
  affine.store %7, %y[1] : memref<2xi13>""",
    ),
    lambda beats: {"y": _dots(beats)},
    {"x": (4, "s8")},
    {"y": 1},
    {},
)
"""A dot product of beats with constants; its first half, and the whole at the end."""


def _dots(beats: Beats) -> Integers:
    sums = np.cumsum(beats["x"].reshape(-1, 4) * np.array([3, -5, 7, -8]), axis=1)
    return sums[:, [1, 3]]


MATRIX = np.array([[1, 4], [-2, -13], [3, 13]])

DENSE = """
"memref.global"() <{sym_name = "weights", sym_visibility = "private", constant,
  type = memref<2x3xi5>,
  initial_value = dense<[[1, -2, 3], [4, -13, 13]]> : tensor<2x3xi5>}> : () -> ()
""" + _function(
    "dense",
    [_argument("x", "3xi6", "3 x s6", "in"), _argument("y", "2xi11", "2 x s11", "out")],
    6,
    9,
    """
  %w = memref.get_global @weights : memref<2x3xi5>
  %zero = arith.constant 0 : i11
  affine.for %j = 0 to 2 {
    %sum = affine.for %i = 0 to 3 iter_args(%part = %zero) -> (i11) {
      %0 = affine.load %x[%i] : memref<3xi6>
      %1 = affine.load %w[%j, %i] : memref<2x3xi5>
      %2 = arith.extsi %0 : i6 to i11
      %3 = arith.extsi %1 : i5 to i11
      %4 = arith.muli %2, %3 {fastml.start = 1 : i64} : i11
      %5 = arith.addi %part, %4 {fastml.start = 2 : i64} : i11
      affine.yield %5 : i11
    } {fastml.pipeline = 1 : i64}
    affine.store %sum, %y[%j] : memref<2xi11>
  } {fastml.pipeline = 3 : i64, fastml.start = 1 : i64}""",
)
"""Six products, one a cycle."""


def _folded() -> Design:
    """A dense layer with one product a cycle, behind and before others."""
    text = _top(
        [_port("x", "3xi6", "3 x s6", "in"), _port("y", "2xi11", "2 x s11", "out", 1)],
        6,
        14,
        f"""
  {_alloc("h", "3xi6", "3 x s6", 2)}
  {_alloc("d", "2xi11", "2 x s11", 2)}
  func.call @copy(%x, %h) : (memref<3xi6>, memref<3xi6>) -> ()
  func.call @dense(%h, %d) : (memref<3xi6>, memref<2xi11>) -> ()
  func.call @relu(%d, %y) : (memref<2xi11>, memref<2xi11>) -> ()""",
    )
    copy = [_argument("x", "3xi6", "3 x s6", "in"), _argument("y", "3xi6", "3 x s6", "out")]
    body = "\n".join(
        f"%{n} = affine.load %x[{n}] : memref<3xi6>\naffine.store %{n}, %y[{n}] : memref<3xi6>"
        for n in range(3)
    )
    text += _function("copy", copy, 1, 0, body)
    relu = [_argument("x", "2xi11", "2 x s11", "in"), _argument("y", "2xi11", "2 x s11", "out")]
    body = "%zero = arith.constant 0 : i11\n" + "\n".join(
        f"%{n} = affine.load %x[{n}] : memref<2xi11>\n"
        f"%m{n} = arith.maxsi %{n}, %zero {{fastml.start = 1 : i64}} : i11\n"
        f"affine.store %m{n}, %y[{n}] : memref<2xi11>"
        for n in range(2)
    )
    text += _function("relu", relu, 1, 1, body)
    text += DENSE

    def reference(beats: Beats) -> dict[str, Integers]:
        return {"y": np.maximum(beats["x"] @ MATRIX, 0)}

    return Design(text, reference, {"x": (1, "3 x s6")}, {"y": 1}, {})


FOLDED = _folded()


def _plus_first() -> Design:
    """Add the first beat of a frame to each: a path that needs the whole frame, one that waits."""
    port = _argument("x", "4x1xi8", "s8", "in")
    text = _top(
        [_port("x", "4x1xi8", "s8", "in"), _port("y", "4x1xi9", "s9", "out", 3)],
        4,
        11,
        f"""
  {_alloc("a", "4x1xi8", "s8", 2)}
  {_alloc("b", "4x1xi8", "s8", 6)}
  {_alloc("f", "4xi8", "4 x s8", 2)}
  func.call @both(%x, %a, %b) : (memref<4x1xi8>, memref<4x1xi8>, memref<4x1xi8>) -> ()
  func.call @gather(%a, %f) : (memref<4x1xi8>, memref<4xi8>) -> ()
  func.call @plus(%b, %f, %y) : (memref<4x1xi8>, memref<4xi8>, memref<4x1xi9>) -> ()""",
    )

    def loop(body: str) -> str:
        return f"affine.for %k = 0 to 4 {{\n{body}\n}} {{fastml.pipeline = 1 : i64}}"

    load = "%0 = affine.load %x[%k, 0] : memref<4x1xi8>\n"
    store = "affine.store %0, %{}[%k, 0] : memref<4x1xi8>\n"
    ways = [_argument(name, "4x1xi8", "s8", "out") for name in "ab"]
    text += _function(
        "both", [port, *ways], 4, 0, loop(load + store.format("a") + store.format("b"))
    )
    whole = _argument("f", "4xi8", "4 x s8", "out")
    text += _function(
        "gather", [port, whole], 4, 0, loop(load + "affine.store %0, %f[%k] : memref<4xi8>")
    )
    ways = [_argument("f", "4xi8", "4 x s8", "in"), _argument("y", "4x1xi9", "s9", "out")]
    body = (
        load
        + """
  %1 = affine.load %f[0] : memref<4xi8>
  %2 = arith.extsi %0 : i8 to i9
  %3 = arith.extsi %1 : i8 to i9
  %4 = arith.addi %2, %3 {fastml.start = 1 : i64} : i9
  affine.store %4, %y[%k, 0] : memref<4x1xi9>"""
    )
    text += _function("plus", [port, *ways], 4, 1, loop(body))

    def reference(beats: Beats) -> dict[str, Integers]:
        frames = beats["x"].reshape(-1, 4)
        return {"y": (frames + frames[:, :1]).reshape(-1, 1)}

    return Design(text, reference, {"x": (4, "s8")}, {"y": 4}, {})


SKIP = _plus_first()
DESIGNS = {
    "chain": CHAIN,
    "fork": FORK,
    "serial": SERIAL,
    "dot": DOT,
    "folded": FOLDED,
    "skip": SKIP,
}
