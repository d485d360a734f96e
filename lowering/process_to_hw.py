"""Lower a process of a dataflow: a static design that fires when it may.

The shell fires the process: when every input has a beat, every output that the phase gives has
a free slot, and the interval since the last firing is over. The design inside, the pearl, never
stalls: a valid bit travels with the data from the firing on, and pushes what comes out into
the slot that the firing reserved. A pearl is a static function (calls of wiring and of loops,
or one loop nest), or a loop over phases whose body is such a function; :mod:`fastml.lowering.
phase_schedule` says why stalls cannot change its values.

Ports, for an input ``x``: ``x_valid``, ``x``, and ``x_ready``, which pops; for an output
``y``: ``y_ready``, a free slot, ``y_reserve``, which takes it (where the beat comes in a later
cycle), ``y_valid``, which pushes, and ``y``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import affine, arith, hw, memref
from xdsl.dialects.builtin import IndexType
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.affine_processes import Beats, Process
from fastml.lowering.arith_to_comb import PREDICATES, width_of_type
from fastml.lowering.check_dataflow import ProcessSchedule
from fastml.lowering.constants import constant_words
from fastml.lowering.hw_builder import Netlist, Wire, index_width
from fastml.lowering.hw_materialise import Output, materialise
from fastml.lowering.loops_to_hw import LoopLowering, unused
from fastml.lowering.phase_schedule import (
    Numbers,
    PhaseSchedule,
    PhaseStore,
    stores_by_element,
)
from fastml.lowering.schedule_facts import Edge, argument_edges
from fastml.lowering.static_to_hw import Functions, Tap, TimedBody


@dataclass(frozen=True)
class ProcessTap:
    """Where an edge of a process can be watched, and what says that it fires."""

    tap: Tap
    fire: str


@dataclass(frozen=True)
class ProcessModule:
    """The module of a process."""

    module: hw.HWModuleOp
    taps: dict[str, ProcessTap]


def build_process(schedule: ProcessSchedule, functions: Functions) -> ProcessModule:
    """Return the module of a process, whose callees have been lowered."""
    return _Shell(schedule, functions).build()


@dataclass
class Firing:
    """The firings of a process, and the phases that they are.

    Most of what depends on the phase repeats within a frame, as soon as all inputs and outputs
    are at the first phase of a beat. Then phases are counted up to there.
    """

    netlist: Netlist
    process: Process
    taken: set[str | None]
    counters: dict[int, Wire] = field(default_factory=dict[int, Wire])
    """Number of the phase that fires next, modulo some period."""
    fire: Wire = field(init=False)

    @property
    def period(self) -> int:
        """Phases after which all arguments begin a beat."""
        return self.process.phases // gcd(*(a.beats for a in self.process.arguments))

    def build(self, conditions: Sequence[Wire]) -> None:
        """Fire where all conditions hold, and the interval is over."""
        netlist, process = self.netlist, self.process
        fire = netlist.constant(1, 1)
        for condition in conditions:
            fire = netlist.and_(fire, condition)
        if (interval := process.interval) > 1:
            width = (interval - 1).bit_length()
            zero, one = netlist.constant(0, width), netlist.constant(1, width)
            rest = netlist.state(width, 0, unused("rest", self.taken))
            idle = netlist.icmp("eq", rest, zero)
            fire = netlist.and_(fire, idle)
            less = netlist.mux(idle, zero, netlist.sub(rest, one))
            netlist.connect(rest, netlist.mux(fire, netlist.constant(interval - 1, width), less))
        self.fire = fire

    def close(self) -> None:
        """Let the phases go on with the firings."""
        netlist = self.netlist
        for period, phase in self.counters.items():
            if period > 1:
                last = netlist.constant(period - 1, phase.width)
                zero, one = (netlist.constant(n, phase.width) for n in (0, 1))
                ends = netlist.icmp("eq", phase, last)
                further = netlist.mux(ends, zero, netlist.add(phase, one))
                netlist.connect(phase, further, self.fire)

    def _repeated(self, numbers: NDArray[Any]) -> tuple[Wire, NDArray[Any]]:
        """Return a counter of phases, and the numbers of those that it counts."""
        period = self.period
        rows = numbers.reshape(-1, period)
        if not np.array_equal(rows, np.broadcast_to(rows[0], rows.shape)):
            period = len(numbers)
        if period not in self.counters:
            phase = self.netlist.constant(0, 0)
            if period > 1:
                name = unused("phase" if not self.counters else f"phase_{period}", self.taken)
                phase = self.netlist.state(index_width(period), 0, name)
            self.counters[period] = phase
        return self.counters[period], numbers[:period]

    def flag(self, phases: Sequence[bool] | NDArray[Any], cycle: int = 0) -> Wire:
        """Return whether the phase that fired ``cycle`` cycles ago is one of ``phases``."""
        netlist = self.netlist
        phase, mask = self._repeated(np.asarray(phases, np.bool_))
        (places,) = np.nonzero(mask)
        first = int(places[0]) if len(places) else 0
        count = len(mask)
        edge = netlist.constant(first, phase.width)
        if len(places) in (0, count):
            return netlist.constant(bool(len(places)), 1)
        if len(places) == 1:
            found = netlist.icmp("eq", phase, edge)
        elif mask[first:].all():
            found = netlist.icmp("uge", phase, edge)
        elif mask[: len(places)].all():
            stop = netlist.constant(len(places), phase.width)
            found = netlist.icmp("ult", phase, stop)
        else:
            found = netlist.lookup(mask.astype(int).tolist(), phase, 1)
        return netlist.delay(found, cycle)

    def mask(self, phases: Numbers) -> NDArray[np.bool_]:
        """Return whether each phase is among ``phases``."""
        found = np.zeros(self.process.phases, np.bool_)
        found[phases] = True
        return found

    def choose(self, numbers: Numbers, wires: Mapping[int, Wire]) -> Wire:
        """Return the wire of the number of the phase that fires."""
        phase, mine = self._repeated(numbers)
        return self.netlist.select([wires[number] for number in mine.tolist()], phase)

    def lookup(self, words: NDArray[Any], width: int) -> Wire:
        """Return the word of the phase that fires."""
        phase, mine = self._repeated(words)
        return self.netlist.lookup([int(word) for word in mine.tolist()], phase, width)


class _Shell:
    """Builds the module of one process."""

    def __init__(self, schedule: ProcessSchedule, functions: Functions):
        self.schedule = schedule
        self.process = schedule.process
        self.functions = functions
        self.netlist = Netlist()
        self.netlist.location = self.process.function.location
        self.edges: dict[SSAValue, Edge] = dict(argument_edges(self.process.function))
        stems = {edge.port for edge in self.edges.values()}
        ends = ("_valid", "_ready", "_reserve")
        self.taken = stems | {f"{stem}{end}" for stem in stems for end in ends}
        self.firing = Firing(self.netlist, self.process, self.taken)

    def build(self) -> ProcessModule:
        """Build the shell, and the pearl in it."""
        netlist, process, firing = self.netlist, self.process, self.firing
        inputs, beats, conditions = list[Wire](), dict[SSAValue, Wire](), list[Wire]()
        for argument in process.arguments:
            port = argument.port
            if argument.output:
                ready = netlist.input(f"{port}_ready", 1)
                gives = firing.flag(process.last(argument))
                inputs.append(ready)
                conditions.append(netlist.or_(ready, netlist.not_(gives)))
            else:
                valid = netlist.input(f"{port}_valid", 1)
                beat = netlist.input(port, argument.elements.total_width)
                beats[argument.value] = beat
                inputs += [valid, beat]
                conditions.append(valid)
        firing.build(conditions)
        pearl: _StaticPearl | _PhasePearl
        if self.schedule.phases is None:
            pearl = _StaticPearl(self.schedule, self.functions, firing)
        else:
            pearl = _PhasePearl(self.schedule.phases, self.functions, firing)
        fire = unused("fire", self.taken)
        pearl.valids[0] = pearl.keep(firing.fire, fire)
        pearl.build(beats)
        netlist.location = process.function.location
        taps = {name: ProcessTap(tap, fire) for name, tap in pearl.taps.items()}
        outputs = list(self.outputs(pearl, taps))
        firing.close()
        module = materialise(
            netlist,
            process.function.sym_name.data,
            inputs,
            outputs,
            clocked=True,
            keep=pearl.watched,
            location=process.function.location,
        )
        self.functions.add(module, self.schedule.facts)
        return ProcessModule(module, taps)

    def outputs(
        self, pearl: "_StaticPearl | _PhasePearl", taps: dict[str, ProcessTap]
    ) -> Iterator[Output]:
        """Yield the output ports."""
        netlist, process, firing = self.netlist, self.process, self.firing
        fire = pearl.valids[0]
        for argument in process.arguments:
            port, ends = argument.port, process.last(argument)
            moves = netlist.and_(fire, firing.flag(ends))
            if not argument.output:
                yield Output(f"{port}_ready", moves)
                continue
            beat = pearl.pushed(argument)
            self.watch(pearl, argument, moves, beat, taps)
            push = netlist.delay(moves, argument.latency, reset=True)
            if all(ends):
                push = pearl.valid_at(argument.latency)
            if argument.latency:
                yield Output(f"{port}_reserve", moves)
            yield Output(f"{port}_valid", push)
            yield Output(port, beat)

    def watch(
        self,
        pearl: "_StaticPearl | _PhasePearl",
        argument: Beats,
        moves: Wire,
        beat: Wire,
        taps: dict[str, ProcessTap],
    ) -> None:
        """Let an output be watched: its elements when they come, or the beat that is pushed."""
        edge = self.edges[argument.value]
        name = edge.name
        if directives.NAME not in edge.attributes or name in taps:
            return
        signal = unused(f"{argument.port}_early", self.taken)
        if isinstance(pearl, _StaticPearl):
            cycles = [max(cycle, 0) for cycle in pearl.facts.elements[argument.value]]
            pearl.keep(pearl.beat(argument.value), signal)
            taps[name] = ProcessTap(
                Tap(edge.elements, signal, tuple(cycles)), unused("fire", self.taken)
            )
            return
        fire = unused(f"{argument.port}_fire", self.taken)
        pearl.keep(moves, fire)
        pearl.keep(beat, signal)
        cycles = (argument.latency,) * len(argument.elements)
        taps[name] = ProcessTap(Tap(edge.elements, signal, cycles), fire)


class _StaticPearl(TimedBody):
    """A static function, one firing a beat."""

    def __init__(self, schedule: ProcessSchedule, owner: Functions, firing: Firing):
        super().__init__(schedule.facts, firing.netlist, owner)

    def build(self, beats: dict[SSAValue, Wire]) -> None:
        """Build the logic from the beats that the inputs bring."""
        if not self.facts.looped:
            for value, beat in beats.items():
                self.unpack(value, self.edges[value], beat)
            self.run()
            self.watch_stored()
            return
        loops = LoopLowering(self.facts, self.netlist)
        for value, elements in loops.build(self.valids[0], list(beats.values())).items():
            self.memories[value] = list(elements)
        self.finished(self.facts.latency, loops.done)

    def pushed(self, argument: Beats) -> Wire:
        """Return the beat of an output, whole."""
        return self.beat(argument.value, argument.latency)


class _PhasePearl(TimedBody):
    """The body of a loop over phases."""

    def __init__(self, schedule: PhaseSchedule, owner: Functions, firing: Firing):
        super().__init__(schedule.facts, firing.netlist, owner)
        self.schedule = schedule
        self.firing = firing
        self.arguments = {a.value: a for a in schedule.process.arguments}
        self.stored: dict[PhaseStore, Wire] = {}
        self.handlers = {
            **self.handlers,
            affine.IfOp: self.branch,
            affine.ApplyOp: lambda op: None,
        }
        self.store_of = {s.op: s for stores in schedule.stores.values() for s in stores}

    def build(self, beats: dict[SSAValue, Wire]) -> None:
        """Build the logic from the beats that the inputs bring."""
        for value, beat in beats.items():
            self.unpack(value, self.edges[value], beat)
        for op in self.schedule.process.function.body.block.ops:
            if op is self.schedule.loop:
                self.loop()
            else:
                self.visit(op)
        self.watch_stored()

    def loop(self) -> None:
        """Lower a phase, and the registers of what it hands to the next one."""
        netlist, cycles, loop = self.netlist, self.facts.cycles, self.schedule.loop
        block, registers = loop.body.block, list[Wire]()
        phases = np.arange(self.schedule.process.phases)
        for argument, init in zip(block.args[1:], loop.inits, strict=True):
            start = self.wires[init]
            register = netlist.state(start.width, None)
            first = self.firing.flag(phases == 0, cycles[argument])
            self.wires[argument] = netlist.mux(first, start, register)
            registers.append(register)
        *body, end = block.ops
        for op in body:
            self.visit(op)
        for register, yielded, result in zip(registers, end.operands, loop.results, strict=True):
            wire = self.wire_at(yielded, cycles[result])
            netlist.connect(register, wire, self.valid_at(cycles[result]))
            self.wires[result] = wire

    def branch(self, op: Operation) -> None:
        """Lower what is executed in some phases only: stores know in which."""
        assert isinstance(op, affine.IfOp)
        for inner in op.then_region.block.ops:
            if not isinstance(inner, affine.YieldOp):
                self.visit(inner)

    def load(self, op: Operation) -> None:
        """Take an element of a beat, or of a constant: for each phase its own."""
        source, (result,) = op.operands[0], op.results
        width = width_of_type(result, op)
        cycle = max(self.facts.cycles[result], 0)
        indices = self.schedule.indices
        if isinstance(source.owner, memref.GetGlobalOp):
            words = constant_words(source.owner)
            mine = np.array(words, object)[indices.flat(op)]
            wire = self.firing.lookup(mine, width)
        elif source in self.arguments:
            layout = self.edges[source].elements
            own, sign = layout.container
            elements = indices.position(op)[-1]
            beat = self.elements(source)
            used: list[int] = np.unique(elements).tolist()
            wires = {e: self.netlist.extend(beat[e], own, sign=layout.signed[e]) for e in used}
            wire = self.firing.choose(elements, wires)
            wire = self.netlist.extend(wire, width, sign=sign)
        else:
            super().load(op)
            return
        self.wires[result] = self.netlist.delay(wire, cycle)

    def store(self, op: Operation) -> None:
        """Keep what is stored to an output."""
        store = self.store_of.get(op)
        if store is None:
            super().store(op)
        else:
            self.stored[store] = self.wire_at(store.value, store.cycle)

    def compute(self, op: Operation) -> None:
        """Lower arithmetic; what is computed from the phase is a table."""
        if not isinstance(op.operands[0].type, IndexType):
            super().compute(op)
            return
        (result,) = op.results
        sides = [self.schedule.indices.of(operand, op) for operand in op.operands]
        cycle = max(self.facts.cycles[result], 0)
        match op:
            case arith.IndexCastOp():
                width = width_of_type(result, op)
                wire = self.firing.lookup(sides[0], width)
                self.wires[result] = self.netlist.delay(wire, cycle)
            case arith.CmpiOp():
                predicate = PREDICATES[op.predicate.value.data]
                holds = _compare(predicate, sides[0], sides[1])
                self.wires[result] = self.firing.flag(holds, cycle)
            case _:
                raise FastmlError("the number of a phase can be compared or cast, not this", op)

    # Outputs

    def pushed(self, argument: Beats) -> Wire:
        """Return the beat of an output, ``latency`` cycles after the firing that ends it."""
        netlist, elements = self.netlist, list[Wire]()
        stores = stores_by_element(self.schedule, argument)
        for element, width in enumerate(argument.elements.widths):
            sources = list[tuple[Wire, Numbers]]()
            for store, phases in stores[element] if width else ():
                wire = netlist.extract(self.stored[store], 0, width)
                sources += self.sources(argument, store, phases, wire)
            found = sources[0][0] if sources else netlist.constant(0, 0)
            for wire, ends in sources[1:]:
                here = self.firing.flag(self.firing.mask(ends), argument.latency)
                found = netlist.mux(here, wire, found)
            elements.append(found)
        return netlist.concat(elements[::-1])

    def sources(
        self, argument: Beats, store: PhaseStore, phases: Numbers, wire: Wire
    ) -> Iterator[tuple[Wire, Numbers]]:
        """Yield what a store gives to the push, and the phases whose pushes these are."""
        netlist, process = self.netlist, self.schedule.process
        per_beat, latency = process.phases // argument.beats, argument.latency
        ends = phases - phases % per_beat + per_beat - 1
        now, early = phases == ends, phases != ends
        if wire.value is not None:
            yield wire, ends
            return
        if now.any():
            yield netlist.delay(wire, latency - store.cycle), ends[now]
        if early.any():
            writes = self.firing.flag(self.firing.mask(phases[early]), store.cycle)
            register = netlist.state(wire.width, None)
            netlist.connect(register, wire, netlist.and_(self.valid_at(store.cycle), writes))
            # It is read as late as it can be, before a later phase may replace it.
            distance = (phases[early][:, None] - ends[early] - 1) % process.phases + 1
            replaced = int(distance.min()) * process.interval + store.cycle
            yield netlist.delay(register, max(latency - replaced, 0)), ends[early]


def _compare(predicate: str, a: Numbers, b: Numbers) -> Numbers:
    """Compare as ``arith.cmpi`` does; indices have 64 bits."""
    kind = np.uint64 if predicate[0] == "u" else np.int64
    functions = {
        "eq": np.equal,
        "ne": np.not_equal,
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
    }
    return functions[predicate[-2:]](a.view(kind), b.view(kind))
