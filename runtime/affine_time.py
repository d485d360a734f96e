"""Cycles of the affine level, as its schedule attributes predict them.

In a function without loops time is that of the design, counted from the frame's input
beat, and a value is a wire: it is there in the cycle in which its operation executes. A
function with loops runs over time from the cycle of its call on: it holds its inputs, its
memories are clocked (what is stored in a cycle can be read from the next one on), and its
outputs appear, whole, in the cycle that its latency says. A process of a dataflow that is a
loop over phases is wiring again, in each phase: its time is that of firings as close as they
may be, and what follows the loop counts from the last one.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from xdsl.dialects import affine, func, memref
from xdsl.dialects.builtin import MemRefType, UnitAttr
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.runtime.memory import Memory

Timing: TypeAlias = Callable[[int, int], int]
"""From the iteration's first cycle, and that of the last operand, to the operation's."""


def illegal(message: str, op: Operation) -> FastmlError:
    """Return the error of a schedule that contradicts itself."""
    return FastmlError(message, op, code="FML-SCHEDULE")


def schedule_of(function: func.FuncOp, name: str) -> int:
    """Return the interval or the latency of a function."""
    value = directives.integer(function.attributes, name)
    if value is None:
        raise FastmlError(
            f"has no '{name}': without a schedule there are values, but no cycles",
            function,
            code="FML-NO-SCHEDULE",
        )
    return value


def has_phases(function: func.FuncOp) -> bool:
    """Whether a function is a process that fires several times a frame."""
    if directives.PROCESS not in function.attributes:
        return False
    types = [argument.type for argument in function.args]
    return any(isa(type_, MemRefType) and len(type_.get_shape()) > 1 for type_ in types)


def last_phase(op: affine.ForOp) -> int:
    """Return the cycle of the last phase of a process, from the first one on."""
    match op.upperBoundMap.data.results:
        case (AffineConstantExpr(value=phases),):
            return (phases - 1) * (directives.integer(op.attributes, directives.PIPELINE) or 0)
        case _:
            raise illegal("the number of phases is no constant", op)


def as_ready(base: int, ready: int) -> int:
    """Time an operation without a start: as soon as its operands are there."""
    return ready


def timing_of(op: Operation, default: int | None = None) -> Timing:
    """Return when ``op`` executes; ``default`` is its start if it does not say one."""
    start = directives.integer(op.attributes, directives.START) if op.attributes else None
    if start is None:
        start = default
    if start is None:
        return as_ready

    def at(base: int, ready: int) -> int:
        if ready > base + start:
            raise illegal(
                f"starts in cycle {base + start}, but an operand is there only in cycle {ready}",
                op,
            )
        return base + start

    return at


def is_clocked(source: SSAValue) -> bool:
    """Tell if what is read of a memory is there a cycle later."""
    op = source.owner
    return isinstance(op, memref.AllocOp) and directives.in_block(op)


def store_over_time(op: Operation, memory: Memory, k: int, cycle: int) -> None:
    """Note a store to a clocked memory, which may not overtake earlier accesses."""
    busy = max(memory.reads[k], memory.cycles[k])
    if cycle < busy:
        raise illegal(
            f"stores element [{memory.place(k)}] in cycle {cycle}, but it is in use "
            f"until cycle {busy}",
            op,
        )
    memory.cycles[k] = cycle + 1


def hold_arguments(memories: Sequence[Memory], inputs: Sequence[bool], base: int) -> list[Memory]:
    """Return the arguments as a function sees them that runs over time from ``base`` on."""
    held: list[Memory] = []
    for memory, is_input in zip(memories, inputs, strict=True):
        size = len(memory.values)
        there = base + 1 if is_input else base
        held.append(replace(memory, cycles=[there] * size, reads=[base] * size))
    return held


def release_arguments(
    function: func.FuncOp,
    memories: Sequence[Memory],
    held: Sequence[Memory],
    inputs: Sequence[bool],
    base: int,
) -> None:
    """Let the outputs of a function that ran over time appear."""
    latency = schedule_of(function, directives.LATENCY)
    interval = schedule_of(function, directives.II)
    for memory, own, is_input in zip(memories, held, inputs, strict=True):
        if is_input and max(own.reads, default=base) > base + interval:
            raise illegal(
                f"'{directives.II}' is {interval}, but an input is read in cycle "
                f"{max(own.reads) - base}",
                function,
            )
        if not is_input:
            check_latency(function, own.cycles, base + latency)
            memory.cycles[:] = [base + latency] * len(memory.cycles)


def check_latency(function: func.FuncOp, cycles: Sequence[int], latency: int) -> None:
    """Refuse an output of which an element comes after the function's latency."""
    last = max(cycles, default=0)
    if last > latency:
        raise illegal(
            f"'{directives.LATENCY}' ends in cycle {latency}, but element "
            f"{list(cycles).index(last)} of an output is there only in cycle {last}",
            function,
        )


@dataclass(frozen=True)
class Pace:
    """When the iterations of a loop begin."""

    op: affine.ForOp
    start: int = 0
    interval: int = 0
    unroll: int = sys.maxsize
    """Iterations that begin together."""
    room: int | None = None
    """Cycles after which the loop begins again; ``None`` where that is unknown."""

    @classmethod
    def of(cls, op: affine.ForOp) -> "Pace":
        """Read the directives of a loop."""
        interval = directives.integer(op.attributes, directives.PIPELINE)
        whole = isinstance(op.attributes.get(directives.UNROLL), UnitAttr)
        factor = directives.integer(op.attributes, directives.UNROLL) or 1
        if interval is None and not whole:
            raise FastmlError(
                f"has no '{directives.PIPELINE}', the cycles between its iterations",
                op,
                code="FML-NO-SCHEDULE",
            )
        match op.parent_op():
            case affine.ForOp() as outer:
                room = directives.integer(outer.attributes, directives.PIPELINE)
            case func.FuncOp() as function:
                room = schedule_of(function, directives.II)
            case _:
                room = None
        start = directives.integer(op.attributes, directives.START) or 0
        return cls(op, start, interval or 0, sys.maxsize if whole else factor, room)

    def begin(self, base: int, trips: int) -> int:
        """Return when the first of ``trips`` iterations begins."""
        span = -(-trips // self.unroll) * self.interval
        if self.room is not None and span > self.room:
            raise illegal(f"takes {span} cycles, but begins again every {self.room}", self.op)
        return base + self.start
