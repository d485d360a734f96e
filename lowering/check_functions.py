"""Prove that the start cycles of one function after the other are legal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.func import CallOp, FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.lowering.loop_schedule import check_loops
from fastml.lowering.schedule_facts import (
    ANYTIME,
    FOREVER,
    NEVER,
    Edge,
    FunctionSchedule,
    argument_edges,
    callee_of,
    check_constant,
    check_wrapping,
    describe,
    edge_of,
    illegal,
)


@dataclass(frozen=True)
class Arrival:
    """When the elements of an input come, and until when they are there."""

    cycles: list[int]
    held: list[int]


@dataclass
class FunctionChecker:
    """Checks each function after those that it calls."""

    functions: Mapping[str, FuncOp]
    looped: set[FuncOp]
    ii: int
    checked: dict[FuncOp, FunctionSchedule]
    active: list[FuncOp] = field(default_factory=list[FuncOp])

    def check(self, function: FuncOp, arriving: list[Arrival]) -> FunctionSchedule:
        """Check ``function``, whose inputs have the given cycles, once."""
        if function in self.active:
            raise illegal(f"'{function.sym_name.data}' calls itself", function)
        facts = self.facts_of(function)
        inputs = iter(arriving)
        for value, edge in argument_edges(function):
            never = [NEVER] * len(edge.elements)
            source = Arrival(never, list(never)) if edge.output else next(inputs)
            facts.elements[value], facts.held[value] = source.cycles, source.held
        known = self.checked.get(function)
        if known is not None:
            if not facts.looped:
                _check_again(known, facts)
            return known
        self.active.append(function)
        if facts.looped:
            check_loops(facts)
        else:
            StraightLine(facts, self).run()
        self.active.pop()
        for value, edge in argument_edges(function):
            if edge.output and NEVER in facts.elements[value]:
                raise illegal(
                    f"element {facts.elements[value].index(NEVER)} of output "
                    f"'{edge.name}' is never stored",
                    function,
                )
        self.checked[function] = facts
        return facts

    def facts_of(self, function: FuncOp) -> FunctionSchedule:
        """Return what the attributes of ``function`` say of its time."""
        facts = FunctionSchedule(function, function in self.looped, self.ii)
        ii = directives.integer(function.attributes, directives.II)
        latency = directives.integer(function.attributes, directives.LATENCY)
        if facts.looped:
            if ii is None or latency is None:
                raise illegal(
                    f"a function with loops needs '{directives.II}' and '{directives.LATENCY}'",
                    function,
                )
            facts.ii, facts.latency = ii, latency
        elif not _is_design(function) and (ii or latency) is not None:
            raise illegal(
                f"'{directives.II}' and '{directives.LATENCY}' have no meaning on a function "
                "without loops that is not the design",
                function,
            )
        if facts.ii > self.ii:
            raise illegal(
                f"II of the design is {self.ii}, but '{facts.name}' needs {facts.ii}", function
            )
        return facts


def _is_design(function: FuncOp) -> bool:
    """Whether the time of ``function`` begins with itself: the design, or a process of it."""
    return directives.TOP in function.attributes or directives.PROCESS in function.attributes


def _check_again(known: FunctionSchedule, now: FunctionSchedule) -> None:
    """Let a function be used again if it is used at the same time."""
    for value, edge in argument_edges(known.function):
        if edge.output:
            continue
        before = known.elements[value], known.held[value]
        if before != (now.elements[value], now.held[value]):
            raise illegal(
                f"'{known.name}' is called with '{edge.name}' arriving in different cycles",
                known.function,
            )


class StraightLine:
    """Walk a function without loops."""

    def __init__(self, facts: FunctionSchedule, checker: FunctionChecker):
        self.facts = facts
        self.checker = checker
        self.cycles = facts.cycles
        self.until = facts.until
        self.edges: dict[SSAValue, Edge] = dict(argument_edges(facts.function))
        self.handlers: Mapping[type[Operation], Callable[[Operation], None]] = {
            arith.ConstantOp: check_constant,
            memref.GetGlobalOp: lambda op: None,
            affine.LoadOp: self.load,
            memref.LoadOp: self.load,
            affine.StoreOp: self.store,
            memref.StoreOp: self.store,
            memref.AllocOp: self.alloc,
            CallOp: self.call,
            ReturnOp: lambda op: None,
        }

    def run(self) -> None:
        """Check every operation, in order."""
        for op in self.facts.function.body.block.ops:
            self.visit(op)

    def visit(self, op: Operation) -> None:
        """Check one operation."""
        handler = self.handlers.get(type(op))
        if handler is not None:
            handler(op)
        elif op.name in directives.DIRECTIVES[directives.START].places:
            self.compute(op)
        else:
            raise FastmlError("operation is not supported at the affine level", op)

    def compute(self, op: Operation) -> None:
        """Let ``op`` execute at its start, or as soon as its operands are there."""
        check_wrapping(op)
        cycles, result = self.cycles, op.results[0]
        ready = max([cycles.get(operand, ANYTIME) for operand in op.operands])
        cycle = cycles[result] = self.start(op, ready)
        if self.until:
            held = [self.last(operand) for operand in op.operands if operand in cycles]
            if held and min(held) > cycle > ANYTIME:
                self.until[result] = min(held)

    def last(self, value: SSAValue) -> int:
        """Return the last cycle in which ``value`` is there."""
        cycle = self.cycles[value]
        return self.until.get(value, FOREVER if cycle == ANYTIME else cycle)

    def start(self, op: Operation, ready: int) -> int:
        """Return the cycle of ``op``, whose operands are there in cycle ``ready``."""
        start = directives.integer(op.attributes, directives.START)
        if start is None:
            return ready
        if start < ready:
            for operand in op.operands:
                cycle = self.cycles.get(operand, ANYTIME)
                if cycle > start:
                    raise illegal(
                        f"starts in cycle {start}, but its operand {describe(operand)} "
                        f"is there only in cycle {cycle}",
                        op,
                    )
        return max(start, ready)

    def position(self, op: Operation) -> int:
        """Return the element that a load or store accesses."""
        if isinstance(op, affine.LoadOp | affine.StoreOp):
            results = op.map.data.results
            if len(results) == 1 and isinstance(results[0], AffineConstantExpr):
                memref_type = op.memref.type
                assert isinstance(memref_type, MemRefType)
                index = results[0].value
                if 0 <= index < memref_type.get_shape()[0]:
                    return index
        address = self.facts.indices.address(op)
        assert not address.varies
        return address.constant

    def edge(self, value: SSAValue, op: Operation) -> Edge:
        """Return the edge that a memref is."""
        found = self.edges.get(value)
        if found is None:
            found = self.edges[value] = edge_of(value, op)
        return found

    def load(self, op: Operation) -> None:
        """Check a read: the element is there."""
        source = op.operands[0]
        if isinstance(source.owner, memref.GetGlobalOp):
            self.cycles[op.results[0]] = ANYTIME
            return
        element = self.position(op)
        cycles = self.facts.elements.get(source)
        if cycles is None:
            cycles = self.alloc_of(source, op)
        cycle = cycles[element]
        if cycle == NEVER:
            raise illegal(
                f"element {element} of '{self.edge(source, op).name}' is read before it is stored",
                op,
            )
        start = directives.integer(op.attributes, directives.START)
        if start is not None and start < cycle:
            raise illegal(
                f"starts in cycle {start}, but element {element} of "
                f"'{self.edge(source, op).name}' is there only in cycle {cycle}",
                op,
            )
        result = op.results[0]
        self.cycles[result] = cycle if start is None else start
        last = self.facts.held[source][element]
        if last > self.cycles[result] > ANYTIME:
            self.until[result] = last

    def store(self, op: Operation) -> None:
        """Check a write: it is the only one of its element."""
        value, target = op.operands[:2]
        element = self.position(op)
        edge = self.edge(target, op)
        cycles = self.facts.elements[target]
        if target in self.facts.function.body.block.args and not edge.output:
            raise illegal(f"stores to input '{edge.name}'", op)
        if cycles[element] != NEVER:
            raise illegal(f"element {element} of '{edge.name}' is stored twice", op)
        cycle = cycles[element] = self.start(op, self.cycles.get(value, ANYTIME))
        self.facts.held[target][element] = max(self.until.get(value, cycle), cycle)

    def alloc(self, op: Operation) -> None:
        """Note a memref in which nothing is stored yet."""
        edge = self.edge(op.results[0], op)
        if directives.in_block(op):
            raise illegal(
                f"'{edge.name}' is wiring here: only a function with loops has block memory", op
            )
        self.facts.elements[op.results[0]] = [NEVER] * len(edge.elements)
        self.facts.held[op.results[0]] = [NEVER] * len(edge.elements)

    def alloc_of(self, source: SSAValue, op: Operation) -> list[int]:
        """Refuse to read what no function may read."""
        raise illegal(f"reads {describe(source)}, which is no memory of its own", op)

    def call(self, op: Operation) -> None:
        """Check a call, and the function that it calls."""
        assert isinstance(op, CallOp)
        callee = callee_of(op, self.checker.functions)
        edges = [edge for _, edge in argument_edges(callee)]
        arriving = list[Arrival]()
        for value, edge in zip(op.operands, edges, strict=True):
            mine = self.edge(value, op)
            if mine.elements != edge.elements:
                raise illegal(
                    f"'{mine.name}' is '{mine.elements}', but the callee takes '{edge.elements}'",
                    op,
                )
            if not edge.output:
                arriving.append(self.arriving(value, op))
        start = self.origin(op, callee, arriving)
        facts = self.checker.check(callee, arriving)
        for value, edge in zip(op.operands, edges, strict=True):
            if not edge.output:
                continue
            if any(cycle != NEVER for cycle in self.facts.elements[value]):
                raise illegal(f"'{self.edge(value, op).name}' is stored twice", op)
            self.facts.elements[value] = [start + c for c in facts.elements[edge.value]]
            self.facts.held[value] = [start + c for c in facts.held[edge.value]]

    def origin(self, op: CallOp, callee: FuncOp, arriving: list[Arrival]) -> int:
        """Return the cycle in which the callee's time begins."""
        start = directives.integer(op.attributes, directives.START)
        if callee not in self.checker.looped:
            if start is not None:
                raise illegal("a function without loops has the cycles of the design", op)
            return 0
        if not _is_design(self.facts.function):
            raise illegal("only the top function may call functions with loops", op)
        ready = max((max(source.cycles, default=0) for source in arriving), default=0)
        ready = max(ready, 0)
        if start is not None and start < ready:
            raise illegal(
                f"starts in cycle {start}, but an input is there only in cycle {ready}", op
            )
        self.facts.calls[op] = ready if start is None else start
        return self.facts.calls[op]

    def arriving(self, value: SSAValue, op: Operation) -> Arrival:
        """Return when the elements of an argument come."""
        cycles = self.facts.elements[value]
        if NEVER in cycles:
            raise illegal(
                f"element {cycles.index(NEVER)} of '{self.edge(value, op).name}' is "
                "read before it is stored",
                op,
            )
        return Arrival(list(cycles), list(self.facts.held[value]))
