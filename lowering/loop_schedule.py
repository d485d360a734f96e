"""Prove the schedule of a function with loops.

All bounds are constants, so the time of every instance of every operation is known:
``start + iteration * interval``, summed over the loops around it. Values between
operations are checked symbolically; memories by enumerating every access in program order
and comparing the order of the cycles with it, within a frame and against the next frame.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import IndexType, IntegerAttr
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr

from fastml.compiler.support.diagnostics import FastmlError, render
from fastml.dialects import directives
from fastml.lowering.index_expressions import (
    IndexExpressions,
    Linear,
    Loop,
    is_constant_load,
)
from fastml.lowering.schedule_facts import (
    ANYTIME,
    Edge,
    FunctionSchedule,
    argument_edges,
    check_constant,
    check_wrapping,
    describe,
    edge_of,
    illegal,
    in_block,
    is_access,
    is_load,
)

MAX_ACCESSES = 1 << 24
"""Largest number of accesses to one memory that is enumerated."""

Cycles: TypeAlias = NDArray[np.int64]


@dataclass
class _Access:
    """One load or store, over all its iterations."""

    op: Operation
    loops: tuple[Loop, ...]
    address: Linear
    time: int
    """Cycle of the first instance, since the call."""
    order: int
    """Position of the first instance in the program."""
    extents: tuple[int, ...]
    """Operations in one iteration of each loop around it."""

    @property
    def count(self) -> int:
        total = 1
        for loop in self.loops:
            total *= loop.trips
        return total

    def evaluate(self, linear: Linear) -> Cycles:
        """Return the value of an index in every instance."""
        if linear.table is not None:
            words = np.array(linear.table.words, np.int64)
            return words[self.evaluate(linear.table.at)] + linear.constant
        return self.spread(linear.constant, [linear.factors.get(loop, 0) for loop in self.loops])

    def spread(self, first: int, factors: list[int]) -> Cycles:
        """Return ``first + sum(factor * iteration)`` of every instance."""
        total = np.array([first], np.int64)
        for loop, factor in zip(self.loops, factors, strict=True):
            steps = np.arange(loop.trips, dtype=np.int64) * factor
            total = (total[:, None] + steps).ravel()
        return total


@dataclass
class _Scope:
    """A block, the loop whose body it is, and where it stands in time and in the text."""

    block: Block
    loop: Loop | None
    offset: int = 0
    """Cycle of its first iteration, since the call."""
    order: int = 0
    extents: tuple[int, ...] = ()

    @property
    def loops(self) -> tuple[Loop, ...]:
        return () if self.loop is None else self.loop.chain


@dataclass
class _LoopChecker:
    facts: FunctionSchedule
    accesses: dict[SSAValue, list[_Access]] = field(default_factory=dict[SSAValue, list[_Access]])
    scope_of: dict[Block, Loop | None] = field(default_factory=dict[Block, Loop | None])

    def visit(self, scope: _Scope) -> int:
        """Walk a block; return the number of operations that it executes."""
        self.scope_of[scope.block] = scope.loop
        order = 0
        for op in scope.block.ops:
            if isinstance(op, affine.ForOp):
                order += self.loop(op, scope, order)
                continue
            if is_access(op):
                self.access(op, scope, order)
            elif op.results and op.name in directives.DIRECTIVES[directives.START].places:
                self.compute(op, scope)
            elif isinstance(op, arith.ConstantOp):
                check_constant(op)
            elif isinstance(op, memref.AllocOp) and scope.loop is not None:
                raise FastmlError("a memory is made outside of loops: it has no iterations", op)
            elif not isinstance(op, _PASSIVE):
                raise FastmlError("operation is not supported in a function with loops", op)
            order += 1
        return order

    def compute(self, op: Operation, scope: _Scope) -> None:
        check_wrapping(op)
        result = op.results[0]
        scheduled = directives.START in op.attributes
        if isinstance(result.type, IndexType):
            if scheduled:
                raise illegal("an index is there at any time: it has no start", op)
            if is_constant_load(op.operands[0]):  # read in a cycle of its own
                self.facts.cycles[result] = self.facts.cycles[op.operands[0]]
            return
        constant = all(
            not isinstance(operand.type, IndexType)
            and self.facts.cycles.get(operand, ANYTIME) == ANYTIME
            for operand in op.operands
        )
        if scheduled or not constant:
            self.facts.cycles[result] = self.time(op, scope)

    def time(self, op: Operation, scope: _Scope) -> int:
        """Return the cycle of ``op`` in its iteration; check it against its operands."""
        start = directives.integer(op.attributes, directives.START)
        ready, late = ANYTIME, None
        for operand in op.operands:
            cycle = self.ready(operand, scope)
            if cycle > ready:
                ready, late = cycle, operand
        time = max(ready, 0) if start is None else start
        if late is not None and time < ready:
            raise illegal(
                f"starts in cycle {time}, but its operand {describe(late)} is there "
                f"only in cycle {ready}",
                op,
            )
        for operand in op.operands:
            self.check_held(operand, op, scope, time)
        self.facts.times[op] = time
        return time

    def ready(self, value: SSAValue, scope: _Scope) -> int:
        """Return the earliest cycle of ``scope``'s iteration that may use ``value``."""
        cycle = self.facts.cycles.get(value, ANYTIME)
        home = self.home(value)
        if cycle == ANYTIME or home is scope.loop:
            return cycle
        return max(cycle + 1 - _starts_between(home, scope.loop), 0)

    def home(self, value: SSAValue) -> Loop | None:
        block = value.owner if isinstance(value.owner, Block) else value.owner.parent
        assert block is not None
        return self.scope_of.get(block)

    def check_held(self, value: SSAValue, op: Operation, scope: _Scope, time: int) -> None:
        """Check that a value of an outer loop is not replaced before its last use."""
        cycle = self.facts.cycles.get(value, ANYTIME)
        home = self.home(value)
        if cycle == ANYTIME or home is scope.loop:
            return
        inner = scope.loops[len(home.chain) if home is not None else 0 :]
        last = time + sum(loop.start + (loop.trips - 1) * loop.interval for loop in inner)
        interval = self.facts.ii if home is None else home.interval
        if last > cycle + interval:
            raise illegal(
                f"uses {describe(value)} until cycle {last} of the outer iteration, but "
                f"the next one replaces it in cycle {cycle + interval}",
                op,
            )

    def access(self, op: Operation, scope: _Scope, order: int) -> None:
        time = self.time(op, scope)
        load = is_load(op)
        memory = op.operands[0 if load else 1]
        if load:
            self.facts.cycles[op.results[0]] = time + in_block(memory)
        found = _Access(
            op,
            scope.loops,
            self.facts.indices.address(op),
            scope.offset + time,
            scope.order + order,
            scope.extents,
        )
        self.accesses.setdefault(memory, []).append(found)

    def loop(self, op: affine.ForOp, scope: _Scope, order: int) -> int:
        """Walk a loop; return the number of operations that it executes."""
        loop = _loop_of(op, scope.loop)
        self.facts.loops[op] = loop
        self.facts.indices.enter(loop)
        room = self.facts.ii if scope.loop is None else scope.loop.interval
        if loop.span > room:
            unit = "frames" if scope.loop is None else "iterations around it"
            raise illegal(f"takes {loop.span} cycles, but the {unit} start every {room}", op)
        block = op.body.block
        for argument, init in zip(block.args[1:], op.inits, strict=True):
            self.check_own(init, op, scope)
            self.facts.cycles[argument] = max(self.ready(init, scope) - loop.start, 0)
        extent = _extent(block)
        inner = _Scope(
            block,
            loop,
            scope.offset + loop.start,
            scope.order + order,
            (*scope.extents, extent),
        )
        self.visit(inner)
        self.carried(op, loop, inner)
        return loop.trips * extent

    def check_own(self, value: SSAValue, op: Operation, scope: _Scope) -> None:
        """Refuse to carry a value of an outer loop."""
        constant = self.facts.cycles.get(value, ANYTIME) == ANYTIME
        if not constant and self.home(value) is not scope.loop:
            raise illegal(f"carries {describe(value)}, a value of an outer loop", op)

    def use_time(self, argument: SSAValue, user: Operation, operand: int) -> int:
        """Return the cycle of an iteration in which a carried value is used."""
        if isinstance(user, affine.ForOp):
            carried = operand - len(user.lowerBoundOperands) - len(user.upperBoundOperands)
            inner = user.body.block.args[1 + carried]
            first = min(
                (self.use_time(inner, use.operation, use.index) for use in inner.uses),
                default=self.facts.cycles[inner],
            )
            return self.facts.loops[user].start + first
        if user.parent is not argument.owner:
            raise illegal(
                f"uses {describe(argument)}, which an outer loop carries; hand it in as "
                "an initial value",
                user,
            )
        return self.facts.times.get(user, self.facts.cycles[argument])

    def carried(self, op: affine.ForOp, loop: Loop, inner: _Scope) -> None:
        """Check what one iteration hands to the next, and note when the results come."""
        block = op.body.block
        last = block.last_op
        assert isinstance(last, affine.YieldOp)
        for argument, yielded, result in zip(
            block.args[1:], last.arguments, op.results, strict=True
        ):
            self.check_own(yielded, last, inner)
            cycle = max(self.ready(yielded, inner), 0)
            for use in argument.uses:
                user = use.operation
                time = self.use_time(argument, user, use.index)
                if loop.trips > 1 and time + loop.interval <= cycle:
                    raise illegal(
                        f"the next iteration reads {describe(argument)} in cycle "
                        f"{time + loop.interval} of this one, which gives it for use "
                        f"from cycle {cycle + 1} on: the interval {loop.interval} of the "
                        "loop is too short",
                        user,
                    )
            end = loop.start + (loop.trips - 1) * loop.interval
            self.facts.cycles[result] = end + cycle


_PASSIVE = (
    memref.GetGlobalOp,
    memref.AllocOp,
    affine.ApplyOp,
    affine.YieldOp,
    ReturnOp,
)


def _starts_between(outer: Loop | None, inner: Loop | None) -> int:
    total = 0
    while inner is not outer:
        assert inner is not None
        total += inner.start
        inner = inner.parent
    return total


def _extent(block: Block) -> int:
    """Number of operations that one execution of a block executes."""
    total = 0
    for op in block.ops:
        if isinstance(op, affine.ForOp):
            total += _bounds(op)[2] * _extent(op.body.block)
        else:
            total += 1
    return total


def _bounds(op: affine.ForOp) -> tuple[int, int, int]:
    """Return lower bound, step and trip count of a loop with constant bounds."""
    limits = list[int]()
    for bound in (op.lowerBoundMap.data, op.upperBoundMap.data):
        match bound.results:
            case (AffineConstantExpr(value=value),):
                limits.append(value)
            case _:
                raise illegal("only loops with constant bounds are supported", op)
    step = op.step
    assert isinstance(step, IntegerAttr)
    width = step.value.data
    trips = -(-(limits[1] - limits[0]) // width) if width > 0 else 0
    if trips < 1:
        raise FastmlError("a loop without iterations is not supported", op)
    return limits[0], width, trips


def _loop_of(op: affine.ForOp, parent: Loop | None) -> Loop:
    if directives.UNROLL in op.attributes:
        raise illegal(f"unroll loops with '{directives.UNROLL}' before this", op)
    lower, step, trips = _bounds(op)
    interval = directives.integer(op.attributes, directives.PIPELINE)
    if interval is None:
        raise illegal(f"loop has no '{directives.PIPELINE}', the cycles between its iterations", op)
    start = directives.integer(op.attributes, directives.START) or 0
    return Loop(op, parent, lower, step, trips, interval, start)


def check_loops(facts: FunctionSchedule) -> None:
    """Check a function with loops and fill in what is known of its time."""
    edges: dict[SSAValue, Edge] = dict(argument_edges(facts.function))
    checker = _LoopChecker(facts)
    checker.visit(_Scope(facts.function.body.block, None))
    for memory, accesses in checker.accesses.items():
        if isinstance(memory.owner, memref.GetGlobalOp):
            _check_constant(accesses)
            continue
        edge = edges.get(memory) or edge_of(memory, accesses[0].op)
        if memory in edges and not edge.output:
            _check_input(edge, accesses, facts)
        else:
            _check_memory(edge, accesses, facts)
        if in_block(memory):
            _check_ports(edge, accesses, facts)


def _check_constant(accesses: list[_Access]) -> None:
    for access in accesses:
        if not is_load(access.op):
            raise illegal("stores to a constant", access.op)


def _check_input(edge: Edge, accesses: list[_Access], facts: FunctionSchedule) -> None:
    """The beat is held from the cycle after the call until the next beat is."""
    for access in accesses:
        if not is_load(access.op):
            raise illegal(f"stores to input '{edge.name}'", access.op)
        if access.time < 1:
            raise illegal(
                f"reads '{edge.name}' in cycle {access.time}, but it is held from cycle 1 on",
                access.op,
                hint=f"'{directives.START}' of the outermost loop says when it begins",
            )
        last = access.time + sum((loop.trips - 1) * loop.interval for loop in access.loops)
        if last > facts.ii:
            raise illegal(
                f"reads '{edge.name}' in cycle {last}, but the next frame replaces it after "
                f"cycle {facts.ii}",
                access.op,
            )


def _needed(access: _Access, indices: IndexExpressions) -> Cycles:
    """Say of every instance of an access whether what it reads matters: 0 or 1.

    It does not where all that uses it are selections, by loop counters, of something else.
    """
    result = access.op.results[0] if access.op.results else None
    needed = np.zeros(access.count, np.int64)
    for use in result.uses if result is not None else ():
        user = use.operation
        condition = user.operands[0].owner if isinstance(user, arith.SelectOp) else None
        if (
            isinstance(condition, arith.CmpiOp)
            and isinstance(condition.lhs.type, IndexType)
            and user.parent is condition.parent is access.op.parent
        ):
            sides = [indices.of(side, condition) for side in condition.operands]
            predicate = condition.predicate.value.data
            kind = np.uint64 if predicate >= _UNSIGNED else np.int64
            left, right = (access.evaluate(side).view(kind) for side in sides)
            holds = _COMPARE[predicate](left, right)
            needed |= holds == (use.index == 1)
        else:
            needed[:] = 1
    return needed


_ORDER = (np.less, np.less_equal, np.greater, np.greater_equal)
_COMPARE = (np.equal, np.not_equal, *_ORDER, *_ORDER)
"""Predicates of ``arith.cmpi``, in order: signed, then unsigned."""
_UNSIGNED = 6


@dataclass
class _Log:
    """Every access to one memory: by element, then in program order."""

    accesses: list[_Access]
    address: Cycles
    time: Cycles
    writes: NDArray[np.bool_]
    site: Cycles
    first: Cycles
    """Where the accesses of each element begin."""
    group: Cycles
    needed: NDArray[np.bool_]
    """What is read matters."""

    @classmethod
    def of(cls, accesses: list[_Access], indices: IndexExpressions) -> "_Log":
        columns = [
            np.stack(
                [
                    access.evaluate(access.address),
                    access.spread(access.order, list(access.extents)),
                    access.spread(access.time, [loop.interval for loop in access.loops]),
                    np.full(access.count, site),
                    _needed(access, indices),
                ]
            )
            for site, access in enumerate(accesses)
        ]
        rows = np.concatenate(columns, axis=1)
        address, _, time, site, needed = rows[:, np.lexsort((rows[1], rows[0]))]
        stores = np.array([not is_load(access.op) for access in accesses])
        starts = np.flatnonzero(np.diff(address, prepend=address[:1] - 1))
        group = np.zeros(len(address), np.int64)
        group[starts] = 1
        group = group.cumsum() - 1
        return cls(accesses, address, time, stores[site], site, starts, group, needed > 0)

    def running_max(self, values: Cycles) -> Cycles:
        """Maximum over the earlier accesses of the same element; -1 if there are none."""
        span = int(values.max(initial=0)) + 2
        shifted = values + 1 + self.group * span
        upto = np.maximum.accumulate(shifted)
        before = np.concatenate([[0], upto[:-1]])
        return np.maximum(before - self.group * span, 0) - 1


def _check_memory(edge: Edge, accesses: list[_Access], facts: FunctionSchedule) -> None:
    """Compare the order of the cycles with the order of the program, element by element.

    What is stored in a cycle can be read from the next one on; a store may replace a value
    in the cycle in which it is read for the last time.
    """
    if sum(access.count for access in accesses) > MAX_ACCESSES:
        raise illegal(f"'{edge.name}' is accessed more than {MAX_ACCESSES} times", accesses[0].op)
    log = _Log.of(accesses, facts.indices)
    written = log.running_max(np.where(log.writes, log.time, -1))
    needed = np.where(log.writes, log.time + 1, log.time)
    busy = log.running_max(needed)
    unset = ~log.writes & (written < 0) & log.needed
    _refuse(log, edge, unset, written, "is read, but nothing was stored before")
    early = ~log.writes & (log.time <= written)
    _refuse(log, edge, early, written, "is read, but it is stored only in cycle {other}")
    clash = log.writes & (log.time < busy)
    _refuse(log, edge, clash, busy, "is stored, but it is in use until cycle {other}")
    last = np.maximum.reduceat(needed, log.first)
    opening = log.time[log.first]
    again = np.zeros(len(log.time), bool)
    again[log.first] = opening + facts.ii < last
    until = last[log.group] - facts.ii
    _refuse(log, edge, again, until, "of the next frame is stored before cycle {other}")
    if edge.output:
        _check_output(log, edge, facts)


def _check_output(log: _Log, edge: Edge, facts: FunctionSchedule) -> None:
    """The whole beat appears in the cycle of the latency, and stays until it is replaced."""
    late = log.writes & (log.time + 1 > facts.latency)
    latency = np.full(len(log.time), facts.latency)
    _refuse(log, edge, late, latency, "is stored, too late for the latency of {other}")
    replaced = log.time[log.first] + facts.ii
    early = np.zeros(len(log.time), np.bool_)
    early[log.first] = replaced < facts.latency
    _refuse(log, edge, early, latency, "of the next frame is stored before cycle {other}")
    cycles, held = facts.elements[edge.value], facts.held[edge.value]
    for element, last in zip(log.address[log.first].tolist(), replaced.tolist(), strict=True):
        cycles[element], held[element] = facts.latency, last


def _check_ports(edge: Edge, accesses: list[_Access], facts: FunctionSchedule) -> None:
    """Check that block memory is read at one address and written once in any cycle."""
    for reads in (True, False):
        own = [access for access in accesses if is_load(access.op) is reads]
        if not own:
            continue
        columns = [
            np.stack(
                [
                    access.evaluate(access.address),
                    access.spread(access.time, [loop.interval for loop in access.loops]),
                    np.full(access.count, site),
                ]
            )
            for site, access in enumerate(own)
        ]
        rows = np.concatenate(columns, axis=1)
        address, time, site = rows[:, np.lexsort((rows[0], rows[1]))]
        clash = np.diff(time) == 0
        if reads:  # one word for all who ask for it
            clash &= np.diff(address) != 0
        found = np.flatnonzero(clash)
        pair, frame = (0, -1), " of the next frame"
        if len(found):
            pair, frame = (int(found[0]), int(found[0]) + 1), ""
        elif int(time[-1] - time[0]) < facts.ii:
            continue
        first, second = (own[int(site[at])].op for at in pair)
        raise illegal(
            f"{'reads' if reads else 'writes'} element {int(address[pair[1]])} of '{edge.name}' "
            f"in cycle {int(time[pair[1]])}, when '{first.name}' at {render(first.location)} "
            f"{'reads' if reads else 'writes'} element {int(address[pair[0]])}{frame}: block "
            f"memory has one port to {'read' if reads else 'write'}",
            second,
        )


def _refuse(
    log: _Log,
    edge: Edge,
    wrong: NDArray[np.bool_],
    other: Cycles,
    what: str,
) -> None:
    """Raise for the first access that is ``wrong``."""
    if not wrong.any():
        return
    at = int(np.flatnonzero(wrong)[0])
    access = log.accesses[int(log.site[at])]
    raise illegal(
        f"in cycle {int(log.time[at])} element {int(log.address[at])} of "
        f"'{edge.name}' {what.format(other=int(other[at]))}",
        access.op,
    )
