"""Functions of the affine level, compiled to flat lists of closures.

xDSL's interpreter dispatches in 25 us an operation, a hundred times what the arithmetic
on a batch costs; a closure that knows its operands' slots takes a fraction of one.

A scalar is an array over the batch (see :mod:`fastml.runtime.arith`), a memref a
:class:`Memory`. Beside each value runs the cycle in which it is there, predicted from
the schedule attributes (:mod:`fastml.runtime.affine_time`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    AffineMapAttr,
    ModuleOp,
    StringAttr,
)
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.ir.affine import (
    AffineBinaryOpExpr,
    AffineBinaryOpKind,
    AffineConstantExpr,
    AffineDimExpr,
    AffineExpr,
    AffineMap,
    AffineSymExpr,
)

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.array import Integers
from fastml.dialects.loadable import loadable_of
from fastml.runtime.affine_time import (
    Pace,
    Timing,
    as_ready,
    has_phases,
    hold_arguments,
    illegal,
    is_clocked,
    last_phase,
    release_arguments,
    schedule_of,
    store_over_time,
    timing_of,
)
from fastml.runtime.arith import SEMANTICS, constant_of, function_of
from fastml.runtime.memory import (
    Memory,
    check_memref,
    constant_memory,
    elements_attribute,
    in_range,
)

Index: TypeAlias = Any
"""An ``int``, or an array where it depends on the data."""

Step: TypeAlias = Callable[[list[Any], list[int], int], None]
"""Execute one operation: on values, on their cycles, from the iteration's first cycle."""

Returned: TypeAlias = tuple[list[Any], list[int]]
"""Results of a function, and their cycles."""

RUN = 0
"""Slot of the :class:`Run` among the values of a function."""


@dataclass
class Run:
    """What one execution leaves behind."""

    edges: dict[str, list[Memory]] = field(default_factory=dict[str, list[Memory]])
    """Memories by the name of the source edge that they hold."""
    interval: int = 1
    """Cycles between two frames that the slowest function needs."""


@dataclass
class Code:
    """A compiled function."""

    function: func.FuncOp
    over_time: bool
    """It has loops, and cycles are asked for."""
    inputs: list[bool]
    arguments: list[int]
    results: list[int]
    template: list[Any]
    steps: list[Step]

    def call(self, run: Run, values: list[Any], cycles: list[int], base: int) -> Returned:
        """Run on arguments from cycle ``base`` on; return results and their cycles."""
        if not self.over_time:
            return self.execute(run, values, cycles, base)
        held = hold_arguments(values, self.inputs, base)
        returned = self.execute(run, held, cycles, base)
        release_arguments(self.function, values, held, self.inputs, base)
        run.interval = max(run.interval, schedule_of(self.function, directives.II))
        return returned

    def execute(self, run: Run, values: list[Any], cycles: list[int], base: int) -> Returned:
        """Run the steps."""
        v, c = self.template.copy(), [0] * len(self.template)
        v[RUN] = run
        for slot, value, cycle in zip(self.arguments, values, cycles, strict=True):
            v[slot], c[slot] = value, cycle
        for step in self.steps:
            step(v, c, base)
        return [v[slot] for slot in self.results], [c[slot] for slot in self.results]


class Library:
    """The functions and constants of a module, compiled when first called."""

    def __init__(self, module: ModuleOp, timed: bool):
        self.timed = timed
        directives.verify_directives(module)
        self.functions = {op.sym_name.data: op for op in module.ops if isinstance(op, func.FuncOp)}
        self.globals = {
            op.sym_name.data: op for op in module.ops if isinstance(op, memref.GlobalOp)
        }
        loadables = {name: loadable_of(op) for name, op in self.globals.items()}
        self.loadables = {n: found for n, found in loadables.items() if found is not None}
        """What ports load, by the memory."""
        self._codes: dict[str, Code | None] = {}
        self._memories: dict[str, Memory] = {}

    def function(self, name: str, at: Operation) -> Code:
        """Return a compiled function; ``at`` is where it is called."""
        if name not in self._codes:
            function = self.functions.get(name)
            if function is None or function.is_declaration:
                raise FastmlError(f"there is no function '@{name}' to execute", at)
            self._codes[name] = None
            self._codes[name] = _Builder(self).build(function)
        code = self._codes[name]
        if code is None:
            raise FastmlError(f"'@{name}' calls itself", at)
        return code

    def memory(self, op: memref.GetGlobalOp) -> Memory:
        """Return the contents of a constant of the module."""
        name = op.name_.string_value()
        if name not in self._memories:
            definition = self.globals.get(name)
            if definition is None:
                raise FastmlError(f"there is no global '@{name}'", op)
            self._memories[name] = constant_memory(definition)
        return self._memories[name]

    def load(self, matrices: Mapping[str, Integers]) -> None:
        """Load weights, by the edge that their stage makes."""
        for name, loadable in self.loadables.items():
            if loadable.edge in matrices:
                if name not in self._memories:
                    self._memories[name] = constant_memory(self.globals[name])
                words = loadable.words_of(matrices[loadable.edge])
                self._memories[name].fill(words.T.reshape(-1).astype(object))


def _undefined(op: Operation, memory: Memory, flat: int | None) -> FastmlError:
    place = "an element" if flat is None else f"element [{memory.place(flat)}]"
    return FastmlError(f"reads {place}, which was never written", op)


class _Builder:
    """Compiles one function."""

    def __init__(self, library: Library):
        self.library = library
        self.timed = library.timed
        self.over_time = False
        self.phased = False
        self.slots: dict[SSAValue, int] = {}
        self.template: list[Any] = [None]

    def build(self, function: func.FuncOp) -> Code:
        """Compile the body of ``function``."""
        if len(function.body.blocks) != 1:
            raise FastmlError("a function must be one block", function)
        block = function.body.block
        arguments = [self.slot(argument) for argument in block.args]
        inputs = [
            directives.text(attributes, directives.DIRECTION) != "out"
            for attributes in directives.argument_attributes(function)
        ]
        looped = any(isinstance(op, affine.ForOp) for op in block.ops)
        self.phased = has_phases(function)
        self.over_time = looped and self.timed and not self.phased
        steps, results = self.block(block)
        return Code(function, self.over_time, inputs, arguments, results, self.template, steps)

    def slot(self, value: SSAValue) -> int:
        """Return the place of an SSA value."""
        slot = self.slots.get(value)
        if slot is None:
            slot = self.slots[value] = len(self.template)
            self.template.append(None)
        return slot

    def block(self, block: Block) -> tuple[list[Step], list[int]]:
        """Compile a block; return its steps and the slots that its end passes on."""
        steps: list[Step] = []
        after = 0
        for op in block.ops:
            if isinstance(op, affine.YieldOp | func.ReturnOp):
                return steps, [self.slot(value) for value in op.operands]
            if (step := self.operation(op)) is not None:
                steps.append(step if after == 0 else _later(step, after))
            if isinstance(op, affine.ForOp) and self.phased and self.timed:
                after = last_phase(op)
        return steps, []

    def operation(self, op: Operation) -> Step | None:
        """Compile one operation; ``None`` if there is nothing to do at run time."""
        if isinstance(op, arith.SelectOp):
            return self.select(op)
        if type(op) in SEMANTICS:
            return self.scalar(op)
        match op:
            case affine.LoadOp():
                return self.load(op, op.memref, op.map.data, op.indices)
            case affine.StoreOp():
                return self.store(op, op.value, op.memref, op.map.data, op.indices)
            case affine.ForOp():
                return self.loop(op)
            case memref.LoadOp():
                identity = AffineMap.identity(len(op.indices))
                return self.load(op, op.memref, identity, op.indices)
            case memref.StoreOp():
                identity = AffineMap.identity(len(op.indices))
                return self.store(op, op.value, op.memref, identity, op.indices)
            case _:
                return self.untimed(op)

    def untimed(self, op: Operation) -> Step | None:
        """Compile one of the operations that take no time of their own."""
        match op:
            case arith.ConstantOp():
                self.template[self.slot(op.result)] = constant_of(op)
                return None
            case memref.AllocOp():
                return self.alloc(op)
            case memref.GetGlobalOp():
                self.template[self.slot(op.memref)] = self.library.memory(op)
                return None
            case memref.DeallocOp():
                return None
            case func.CallOp():
                return self.call(op)
            case affine.IfOp():
                return self.branch(op)
            case affine.ApplyOp():
                return self.apply(op)
            case _:
                raise FastmlError("is not an operation of the affine level", op)

    def timing(self, op: Operation) -> Timing:
        """Return when ``op`` executes."""
        return timing_of(op) if self.timed else as_ready

    def scalar(self, op: Operation) -> Step:
        """Compile an operation on one or two integers."""
        function, at = function_of(op), self.timing(op)
        (result,) = op.results
        d = self.slot(result)
        if len(op.operands) == 1:
            a = self.slot(op.operands[0])

            def unary(v: list[Any], c: list[int], base: int) -> None:
                v[d] = function(v[a])
                c[d] = at(base, c[a])

            return unary
        a, b = (self.slot(operand) for operand in op.operands)

        def binary(v: list[Any], c: list[int], base: int) -> None:
            v[d] = function(v[a], v[b])
            c[d] = at(base, max(c[a], c[b]))

        return binary

    def select(self, op: arith.SelectOp) -> Step:
        """Compile a choice; what is not chosen in any frame may be undefined."""
        function, at, d = function_of(op), self.timing(op), self.slot(op.result)
        s, a, b = (self.slot(operand) for operand in op.operands)

        def step(v: list[Any], c: list[int], base: int) -> None:
            condition, yes, no = v[s], v[a], v[b]
            if condition.all():
                chosen = yes
            elif not condition.any():
                chosen = no
            elif yes is None or no is None:
                chosen = None
            else:
                chosen = function(condition, yes, no)
            if chosen is None:
                raise FastmlError("chooses an element that was never written", op)
            v[d] = chosen
            c[d] = at(base, max(c[s], c[a], c[b]))

        return step

    def load(
        self,
        op: Operation,
        source: SSAValue,
        map_: AffineMap,
        indices: Sequence[SSAValue],
    ) -> Step:
        """Compile a read; only a select may take an undefined value, and not choose it."""
        m = self.slot(source)
        at = timing_of(op, 0) if self.over_time else self.timing(op)
        if self.timed and self.phased and isinstance(source.owner, Block):
            at = timing_of(op, 0)  # an input, there when the phase fires
        (result,) = op.results
        d = self.slot(result)
        uses = result.uses
        lazy = uses.get_length() > 0 and all(
            isinstance(use.operation, arith.SelectOp) and use.index for use in uses
        )
        flat = self.flat_index(op, source, map_, indices)
        over_time = self.over_time
        wait = int(over_time and is_clocked(source))

        def step(v: list[Any], c: list[int], base: int) -> None:
            memory: Memory = v[m]
            k = flat if isinstance(flat, int) else flat(v)
            if isinstance(k, int):
                value, there = memory.values[k], memory.cycles[k]
            else:
                value, there, k = memory.gather(k), max(memory.cycles), None
            if value is None and not lazy:
                raise _undefined(op, memory, k)
            v[d] = value
            cycle = at(base, there)
            c[d] = cycle + wait
            if over_time and k is not None:
                memory.reads[k] = max(memory.reads[k], cycle)

        return step

    def store(
        self,
        op: Operation,
        value: SSAValue,
        target: SSAValue,
        map_: AffineMap,
        indices: Sequence[SSAValue],
    ) -> Step:
        """Compile a write."""
        s, m, at = self.slot(value), self.slot(target), self.timing(op)
        flat = self.flat_index(op, target, map_, indices)
        over_time = self.over_time

        def step(v: list[Any], c: list[int], base: int) -> None:
            memory: Memory = v[m]
            k = flat if isinstance(flat, int) else flat(v)
            if not isinstance(k, int):
                raise FastmlError("writes to a place that depends on the data", op)
            if memory.constant:
                raise FastmlError("writes to a constant", op)
            if not memory.fits(k, v[s]):
                assert memory.elements is not None
                layout, e = memory.elements, k % len(memory.elements)
                own = f"{'s' if layout.signed[e] else 'u'}{layout.widths[e]}"
                raise FastmlError(f"writes what element {e}, {own}, cannot hold", op)
            memory.values[k] = v[s]
            cycle = at(base, max(base, c[s]))
            if over_time:
                store_over_time(op, memory, k, cycle)
            else:
                memory.cycles[k] = cycle

        return step

    def flat_index(
        self,
        op: Operation,
        source: SSAValue,
        map_: AffineMap,
        indices: Sequence[SSAValue],
    ) -> int | Callable[[list[Any]], Index]:
        """Return the row-major place of an element, as a number if it is constant."""
        shape = check_memref(source.type, op).get_shape()
        if len(map_.results) != len(shape):
            raise FastmlError(f"has {len(map_.results)} indices for {source.type}", op)
        places = self.evaluators(op, map_, indices)

        def flat(v: list[Any]) -> Index:
            place: Index = 0
            for size, evaluate in zip(shape, places, strict=True):
                i = evaluate(v)
                inside = 0 <= i < size if isinstance(i, int) else in_range(i, size)
                if not inside:
                    raise FastmlError(f"index {i} is out of range 0..{size - 1}", op)
                place = place * size + i
            return place

        static = all(isinstance(expr, AffineConstantExpr) for expr in map_.results)
        return flat([]) if static else flat

    def evaluators(
        self, op: Operation, map_: AffineMap, operands: Sequence[SSAValue]
    ) -> list[Callable[[list[Any]], Index]]:
        """Return a function of the values for each result of ``map_``."""
        slots = [self.slot(operand) for operand in operands]
        if len(slots) != map_.num_dims + map_.num_symbols:
            raise FastmlError("operands do not match the dimensions of the map", op)
        return [_evaluator(expr, slots, map_.num_dims, op) for expr in map_.results]

    def alloc(self, op: memref.AllocOp) -> Step:
        """Compile an allocation; a named one can be tapped."""
        type_ = check_memref(op.memref.type, op)
        d = self.slot(op.memref)
        layout = op.attributes.get(directives.ELEMENTS)
        elements = elements_attribute(layout, type_, op) if layout else None
        name = op.attributes.get(directives.NAME)
        if self.timed and not self.over_time and directives.in_block(op):
            raise illegal("only a function with loops has block memory", op)

        def step(v: list[Any], c: list[int], base: int) -> None:
            v[d] = memory = Memory.blank(type_, elements)
            if isinstance(name, StringAttr):
                v[RUN].edges.setdefault(name.data, []).append(memory)

        return step

    def call(self, op: func.CallOp) -> Step:
        """Compile a call: in place, or over time if the callee has loops."""
        code = self.library.function(op.callee.string_value(), op)
        if len(code.arguments) != len(op.operands) or len(code.results) != len(op.results):
            raise FastmlError(f"does not match '{op.callee}'", op)
        operands = [self.slot(operand) for operand in op.operands]
        results = [self.slot(result) for result in op.results]
        at = self.timing(op)
        if code.over_time and (self.over_time or results):
            raise illegal("a function with loops is called neither in a loop nor for a result", op)
        if not code.over_time and at is not as_ready:
            raise illegal("a function without loops starts when the design does", op)

        def step(v: list[Any], c: list[int], base: int) -> None:
            values, cycles = [v[s] for s in operands], [c[s] for s in operands]
            if code.over_time:
                pairs = zip(values, code.inputs, strict=True)
                ready = [max(m.cycles) for m, is_input in pairs if is_input and m.cycles]
                base = at(base, max([base, *ready]))
            returned = code.call(v[RUN], values, cycles, base)
            for d, value, cycle in zip(results, *returned, strict=True):
                v[d], c[d] = value, cycle

        return step

    def apply(self, op: affine.ApplyOp) -> Step:
        """Compile index arithmetic, which takes no time."""
        (evaluate,) = self.evaluators(op, op.map.data, op.mapOperands)
        d = self.slot(op.result)

        def step(v: list[Any], c: list[int], base: int) -> None:
            v[d] = evaluate(v)

        return step

    def branch(self, op: affine.IfOp) -> Step:
        """Compile a condition on indices."""
        condition = op.condition.data
        slots = [self.slot(operand) for operand in op.args]
        tests: list[tuple[Callable[[list[Any]], Index], str]] = []
        for constraint in condition.constraints:
            expr = constraint.lhs - constraint.rhs
            evaluate = _evaluator(expr, slots, condition.num_dims, op)
            tests.append((evaluate, constraint.kind.value))
        results = [self.slot(result) for result in op.results]
        regions = [self.region(r) for r in (op.then_region, op.else_region)]

        def step(v: list[Any], c: list[int], base: int) -> None:
            holds = all(
                value >= 0 if kind == ">=" else value == 0 if kind == "==" else value <= 0
                for evaluate, kind in tests
                for value in [evaluate(v)]
            )
            steps, yields = regions[0 if holds else 1]
            for inner in steps:
                inner(v, c, base)
            for d, s in zip(results, yields, strict=True):
                v[d], c[d] = v[s], c[s]

        return step

    def region(self, region: Region) -> tuple[list[Step], list[int]]:
        """Compile a region of at most one block."""
        return self.block(region.block) if region.blocks else ([], [])

    def loop(self, op: affine.ForOp) -> Step:
        """Compile a loop, which runs iteration by iteration."""
        lower = self.bound(op, op.lowerBoundMap, op.lowerBoundOperands, max)
        upper = self.bound(op, op.upperBoundMap, op.upperBoundOperands, min)
        stride = op.step.value.data
        if stride <= 0:
            raise FastmlError("needs a positive step", op)
        pace = Pace.of(op) if self.timed else Pace(op)
        iv, *carried = (self.slot(argument) for argument in op.body.block.args)
        inits = [self.slot(value) for value in op.inits]
        results = [self.slot(result) for result in op.results]
        body, yields = self.block(op.body.block)

        def hand(v: list[Any], c: list[int], of: list[int], to: list[int]) -> None:
            handed = [(v[s], c[s]) for s in of]
            for d, (value, cycle) in zip(to, handed, strict=True):
                v[d], c[d] = value, cycle

        def step(v: list[Any], c: list[int], base: int) -> None:
            trips = range(lower(v), upper(v), stride)
            first = pace.begin(base, len(trips))
            passed = inits
            for n, i in enumerate(trips):
                begin = first + n // pace.unroll * pace.interval
                hand(v, c, passed, carried)
                v[iv], passed = i, yields
                for inner in body:
                    inner(v, c, begin)
            hand(v, c, passed, results)

        return step

    def bound(
        self,
        op: affine.ForOp,
        map_: AffineMapAttr,
        operands: Sequence[SSAValue],
        among: Callable[[list[int]], int],
    ) -> Callable[[list[Any]], int]:
        """Return a loop bound as a function of the values."""
        evaluators = self.evaluators(op, map_.data, operands)
        return lambda v: among([evaluate(v) for evaluate in evaluators])


def _later(step: Step, cycles: int) -> Step:
    """Count the time of a step from a later cycle."""
    return lambda v, c, base: step(v, c, base + cycles)


def _evaluator(
    expr: AffineExpr, slots: Sequence[int], dims: int, op: Operation
) -> Callable[[list[Any]], Index]:
    """Return an affine expression as a function of the values of a function."""
    match expr:
        case AffineConstantExpr(value=constant):
            return lambda v: constant
        case AffineDimExpr(position=position):
            slot = slots[position]
            return lambda v: v[slot]
        case AffineSymExpr(position=position):
            slot = slots[dims + position]
            return lambda v: v[slot]
        case AffineBinaryOpExpr(kind=kind, lhs=lhs, rhs=rhs):
            a = _evaluator(lhs, slots, dims, op)
            b = _evaluator(rhs, slots, dims, op)
        case _:
            raise FastmlError(f"unknown affine expression {expr}", op)
    if kind == AffineBinaryOpKind.Add:
        return lambda v: a(v) + b(v)
    if kind == AffineBinaryOpKind.Mul:
        return lambda v: a(v) * b(v)
    if not isinstance(rhs, AffineConstantExpr) or rhs.value <= 0:
        raise FastmlError(f"{expr} does not divide by a positive constant", op)
    if kind == AffineBinaryOpKind.Mod:
        return lambda v: a(v) % b(v)
    if kind == AffineBinaryOpKind.FloorDiv:
        return lambda v: a(v) // b(v)
    return lambda v: -(-a(v) // b(v))
