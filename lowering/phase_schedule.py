"""Prove the schedule of a process that is a pipelined loop over phases.

Each phase is one firing of the process; the firings are at least the interval of the loop
apart. Time inside of the body is counted from the firing of its phase, and after the loop from
that of the last one. An input is there in the cycle of the firing (and nobody knows what is
there afterwards), so that what is needed later passes registers. An output is pushed, whole,
``fastml.latency`` cycles after the firing that completes it: elements of earlier phases wait in
registers of their own.

All of that is proved for firings that are as close as they may be. It then holds for any later
ones: what has been computed moves along by itself, and all that is kept from one phase to the
next (outputs that are not complete, carried values) is replaced by later phases only, which
come no earlier. Stalls delay; they cannot change a value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import IndexType, IntegerAttr, MemRefType
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import (
    AffineBinaryOpExpr,
    AffineBinaryOpKind,
    AffineConstantExpr,
    AffineDimExpr,
    AffineExpr,
    AffineMap,
    AffineSymExpr,
)
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.affine_processes import Beats, Process
from fastml.lowering.check_functions import FunctionChecker, StraightLine
from fastml.lowering.index_expressions import access_operands
from fastml.lowering.schedule_facts import ANYTIME, FunctionSchedule, describe, illegal, is_load

Numbers = NDArray[np.int64]
"""A number for each phase."""


class PhaseIndices:
    """The value of every index in every phase."""

    def __init__(self, loop: affine.ForOp, phases: int):
        self.phases = phases
        self.active: dict[Operation, NDArray[np.bool_]] = {}
        """Phases in which an operation executes, where that is not all."""
        self._of: dict[SSAValue, Numbers] = {loop.body.block.args[0]: np.arange(phases)}

    def of(self, value: SSAValue, user: Operation) -> Numbers:
        """Return ``value`` in every phase; ``user`` needs it."""
        found = self._of.get(value)
        if found is None:
            found = self._of[value] = np.broadcast_to(self._derive(value, user), self.phases)
        return found

    def _derive(self, value: SSAValue, user: Operation) -> Numbers:
        match value.owner:
            case arith.ConstantOp(value=IntegerAttr(value=number)):
                return np.array(number.data)
            case affine.ApplyOp() as op:
                (result,) = self.evaluate(op.map.data, op.mapOperands, op)
                return result
            case arith.AddiOp(lhs=lhs, rhs=rhs):
                return self.of(lhs, user) + self.of(rhs, user)
            case arith.SubiOp(lhs=lhs, rhs=rhs):
                return self.of(lhs, user) - self.of(rhs, user)
            case arith.MuliOp(lhs=lhs, rhs=rhs):
                return self.of(lhs, user) * self.of(rhs, user)
            case _:
                raise FastmlError("an index that depends on data is not supported", user)

    def evaluate(
        self, affine_map: AffineMap, operands: Sequence[SSAValue], op: Operation
    ) -> list[Numbers]:
        """Return the results of an affine map."""
        return [
            self.expression(result, operands, affine_map.num_dims, op)
            for result in affine_map.results
        ]

    def expression(
        self, expression: AffineExpr, operands: Sequence[SSAValue], dims: int, op: Operation
    ) -> Numbers:
        """Return an affine expression in every phase."""
        match expression:
            case AffineConstantExpr(value=number):
                found = np.array(number)
            case AffineDimExpr(position=position):
                found = self.of(operands[position], op)
            case AffineSymExpr(position=position):
                found = self.of(operands[dims + position], op)
            case AffineBinaryOpExpr(kind=kind, lhs=lhs, rhs=rhs):
                left, right = (self.expression(e, operands, dims, op) for e in (lhs, rhs))
                found = _binary(kind, left, right, op)
            case _:
                raise FastmlError(f"index '{expression}' is not supported", op)
        return np.broadcast_to(found, self.phases)

    def holds(self, op: affine.IfOp) -> NDArray[np.bool_]:
        """Return in which phases a condition holds."""
        condition = op.condition.data
        holds = np.ones(self.phases, np.bool_)
        for constraint in condition.constraints:
            difference = constraint.lhs - constraint.rhs
            value = self.expression(difference, op.args, condition.num_dims, op)
            match constraint.kind.value:
                case ">=":
                    holds &= value >= 0
                case "==":
                    holds &= value == 0
                case _:
                    holds &= value <= 0
        return holds

    def position(self, op: Operation) -> list[Numbers]:
        """Return the indices of a load or store, each inside of its memref.

        In phases in which it does not execute they are those of one in which it does.
        """
        of, indices = access_operands(op)
        if isinstance(op, affine.LoadOp | affine.StoreOp):
            found = self.evaluate(op.map.data, indices, op)
        else:
            found = [self.of(index, op) for index in indices]
        active = self.active.get(op)
        if active is not None:
            found = [np.where(active, index, index[active][0]) for index in found]
        for size, index in zip(_shape(of), found, strict=True):
            low, high = int(index.min()), int(index.max())
            if low < 0 or high >= size:
                raise FastmlError(f"index runs from {low} to {high}, outside of {of.type}", op)
        return found

    def flat(self, op: Operation) -> Numbers:
        """Return the row-major position that a load accesses."""
        total = np.zeros(self.phases, np.int64)
        for size, index in zip(_shape(op.operands[0]), self.position(op), strict=True):
            total = total * size + index
        return total


def _shape(memory: SSAValue) -> tuple[int, ...]:
    assert isa(memory.type, MemRefType)
    return memory.type.get_shape()


def _binary(kind: AffineBinaryOpKind, a: Numbers, b: Numbers, op: Operation) -> Numbers:
    match kind:
        case AffineBinaryOpKind.Add:
            return a + b
        case AffineBinaryOpKind.Mul:
            return a * b
        case _ if b.min() <= 0:
            raise FastmlError(f"'{kind.get_token()}' by {b.min()} in an index", op)
        case AffineBinaryOpKind.Mod:
            return a % b
        case AffineBinaryOpKind.FloorDiv:
            return a // b
        case _:
            return -(-a // b)


@dataclass(frozen=True, eq=False)
class PhaseStore:
    """One store to an output, over all phases in which it executes."""

    op: Operation
    value: SSAValue
    phases: Numbers
    elements: Numbers
    """The element that it stores in each of these phases, of the beat of that phase."""
    cycle: int
    """Since the firing of the phase."""


@dataclass
class PhaseSchedule:
    """What is known of the time of a process with phases."""

    process: Process
    loop: affine.ForOp
    facts: FunctionSchedule
    indices: PhaseIndices
    stores: dict[SSAValue, list[PhaseStore]] = field(
        default_factory=dict[SSAValue, list[PhaseStore]]
    )
    """Of each output."""


def check_phases(process: Process, checker: FunctionChecker) -> PhaseSchedule:
    """Check a process that is a loop over phases."""
    assert process.loop is not None
    facts = FunctionSchedule(process.function, looped=False, ii=process.interval)
    indices = PhaseIndices(process.loop, process.phases)
    schedule = PhaseSchedule(process, process.loop, facts, indices)
    _PhaseChecker(schedule, checker).run()
    for output in process.outputs:
        _check_output(output, schedule)
    return schedule


class _PhaseChecker(StraightLine):
    """Walk the body of the loop, and what is around it."""

    def __init__(self, schedule: PhaseSchedule, checker: FunctionChecker):
        super().__init__(schedule.facts, checker)
        self.schedule = schedule
        self.indices = schedule.indices
        self.arguments = {a.value: a for a in schedule.process.arguments}
        self.after = False
        self.active: NDArray[np.bool_] | None = None
        self.handlers = {
            **self.handlers,
            affine.IfOp: self.branch,
            affine.ApplyOp: lambda op: None,
        }

    def run(self) -> None:
        """Check all operations."""
        loop = self.schedule.loop
        before = True
        for op in self.facts.function.body.block.ops:
            if op is loop:
                self.loop(loop)
                before, self.after = False, True
            elif before and not isinstance(op, arith.ConstantOp | memref.GetGlobalOp):
                raise illegal("only constants come before the loop over phases", op)
            elif isinstance(op, memref.AllocOp):
                raise illegal("arrays of a process are those of one phase", op)
            else:
                self.visit(op)

    def loop(self, loop: affine.ForOp) -> None:
        """Check the loop, and what a phase hands to the next one."""
        block = loop.body.block
        for argument, init in zip(block.args[1:], loop.inits, strict=True):
            if self.cycles.get(init, ANYTIME) != ANYTIME:
                raise illegal(f"carries {describe(init)}, which is no constant at first", loop)
            self.cycles[argument] = 0
        for op in block.ops:
            if not isinstance(op, affine.YieldOp):
                self.visit(op)
        end = block.last_op
        assert isinstance(end, affine.YieldOp)
        for argument, yielded, result in zip(
            block.args[1:], end.arguments, loop.results, strict=True
        ):
            cycle = max(self.cycles.get(yielded, ANYTIME), 0)
            self.cycles[result] = cycle
            there = max(cycle + 1 - self.facts.ii, 0)
            self.carried(argument, there)

    def branch(self, op: Operation) -> None:
        """Check what is executed in some phases only."""
        assert isinstance(op, affine.IfOp)
        if op.results or any(block.ops for block in op.else_region.blocks):
            raise illegal("a condition on phases has neither results nor an else", op)
        before = self.active
        holds = self.indices.holds(op)
        self.active = holds if before is None else holds & before
        if not self.active.any():
            raise illegal("a condition on phases never holds", op)
        for inner in op.then_region.block.ops:
            if not isinstance(inner, affine.YieldOp):
                self.indices.active[inner] = self.active
                self.visit(inner)
        self.active = before

    def carried(self, argument: SSAValue, there: int) -> None:
        """Check that nothing uses what the phase before hands on before it is there."""
        for use in argument.uses:
            user = use.operation
            if user.results:
                time = self.cycles[user.results[0]]
            else:
                time = directives.integer(user.attributes, directives.START) or 0
            if time < there and not isinstance(user, affine.YieldOp):
                raise illegal(
                    f"uses {describe(argument)} in cycle {time}, but the phase before gives "
                    f"it only for cycle {there}",
                    user,
                )
        self.cycles[argument] = there

    def compute(self, op: Operation) -> None:
        """Let ``op`` execute; what depends on the phase is there when it fires."""
        if not isinstance(op.operands[0].type, IndexType):
            super().compute(op)
        elif not isinstance(op.results[0].type, IndexType):
            varies = any(np.ptp(self.indices.of(operand, op)) for operand in op.operands)
            ready = 0 if varies else ANYTIME
            self.cycles[op.results[0]] = self.start(op, ready)
        elif directives.START in op.attributes:
            raise illegal("an index is there at any time: it has no start", op)

    def load(self, op: Operation) -> None:
        """Check a read of an input, of a constant, or of an array of the phase."""
        source = op.operands[0]
        if isinstance(source.owner, memref.GetGlobalOp):
            varies = bool(np.ptp(self.indices.flat(op)))
            self.cycles[op.results[0]] = self.start(op, 0 if varies else ANYTIME)
            return
        argument = self.arguments.get(source)
        if argument is None:
            super().load(op)
            return
        if argument.output:
            raise illegal(f"reads output '{argument.name}'", op)
        if self.after:
            raise illegal(f"reads '{argument.name}', which has been popped", op)
        every = np.ones(self.indices.phases, np.bool_)
        self.check_beat(op, argument, np.flatnonzero(self.indices.active.get(op, every)))
        self.cycles[op.results[0]] = self.start(op, 0)

    def store(self, op: Operation) -> None:
        """Check a write to an output, or to an array of the phase."""
        value, target = op.operands[:2]
        argument = self.arguments.get(target)
        if argument is None:
            if self.active is not None:
                raise illegal("an array of a phase is stored in some phases only", op)
            super().store(op)
            return
        if not argument.output:
            raise illegal(f"stores to input '{argument.name}'", op)
        phases = np.arange(self.indices.phases - 1 if self.after else 0, self.indices.phases)
        if self.active is not None:
            phases = np.flatnonzero(self.active)
        self.check_beat(op, argument, phases)
        cycle = max(self.start(op, self.cycles.get(value, ANYTIME)), 0)
        elements = self.indices.position(op)[-1][phases]
        store = PhaseStore(op, value, phases, elements, cycle)
        self.schedule.stores.setdefault(target, []).append(store)

    def check_beat(self, op: Operation, argument: Beats, phases: Numbers) -> None:
        """Check that each phase accesses its own beat."""
        if argument.beats == 1:
            return
        beat = self.indices.position(op)[0][phases]
        own = phases * argument.beats // self.indices.phases
        wrong = np.flatnonzero(beat != own)
        if len(wrong):
            at = wrong[0]
            kind = "reads" if is_load(op) else "stores"
            raise illegal(
                f"phase {phases[at]} {kind} beat {beat[at]} of '{argument.name}', "
                f"its own is {own[at]}",
                op,
            )


def _check_output(output: Beats, schedule: PhaseSchedule) -> None:
    """Each element of each beat is stored once, early enough for the push."""
    process = schedule.process
    count = np.zeros((output.beats, len(output.elements)), np.int64)
    per_beat = process.phases // output.beats
    for store in schedule.stores.get(output.value, ()):
        beats = store.phases // per_beat
        np.add.at(count, (beats, store.elements), 1)
        wait = (per_beat - 1 - store.phases % per_beat) * process.interval
        there = np.where(wait > 0, store.cycle + 1 - wait, store.cycle)
        late = np.flatnonzero(there > output.latency)
        if len(late):
            at = late[0]
            raise illegal(
                f"latency of '{output.name}' is {output.latency}, but its element "
                f"{store.elements[at]} is there {there[at]} cycles after the last firing",
                store.op,
            )
    for wrong, what in ((count > 1, "stored twice"), (count == 0, "never stored")):
        if wrong.any():
            beat, element = np.argwhere(wrong)[0].tolist()
            raise illegal(
                f"element {element} of beat {beat} of '{output.name}' is {what}",
                process.function,
            )


def stores_by_element(
    schedule: PhaseSchedule, output: Beats
) -> Mapping[int, list[tuple[PhaseStore, Numbers]]]:
    """Return the stores of each element of an output, and the phases of each."""
    found: dict[int, list[tuple[PhaseStore, Numbers]]] = {}
    for store in schedule.stores.get(output.value, ()):
        for element in np.unique(store.elements).tolist():
            phases = store.phases[store.elements == element]
            found.setdefault(element, []).append((store, phases))
    return found
