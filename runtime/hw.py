"""Execute a hierarchy of `hw` modules, clock by clock and bit by bit.

The module is compiled once. What is outside feedback runs as whole vectors along time;
what is in feedback runs clock by clock in generated code.

Registers without a value, memory cells that nothing wrote, and whatever else the design
leaves undefined (division by zero, an index beyond the end) take an *arbitrary* value that
the caller chooses by :class:`Undefined`. A result that is the same for two complementary
choices does not depend on undefined bits; :mod:`fastml.runtime.clocked` checks that of
every valid output.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.support.collection import no_collection
from fastml.dialects.hw_checks import check_hardware
from fastml.runtime.bits import Packer, Words, field, from_integers, to_integers
from fastml.runtime.hw_compile import compile_netlist
from fastml.runtime.hw_feedback import Step, generate, imports_of
from fastml.runtime.hw_netlist import Names, flatten
from fastml.runtime.hw_ops import ELEMENTARY, Operand, Vector
from fastml.runtime.hw_recall import Cycles, Writes, last_taken
from fastml.runtime.hw_slots import (
    NEVER,
    Beat,
    Component,
    Fields,
    Instruction,
    Program,
    Recall,
    Slot,
)
from fastml.runtime.hw_sources import Source, close_loops
from fastml.runtime.trace import Integers

if TYPE_CHECKING:
    from fastml.runtime.streams import StreamDrive

CHUNK = 2048
"""Cycles that are computed at once: vectors that stay in the cache."""


class Undefined(Enum):
    """What undefined bits are taken to be."""

    ZEROS = "zeros"
    PATTERN = "pattern"
    """Pseudo-random bits, the same in every run."""
    INVERSE = "inverse"
    """The complement of ``PATTERN``."""


def arbitrary(choice: Undefined, key: int, width: int) -> int:
    """Return ``width`` undefined bits for the state with number ``key``."""
    if choice is Undefined.ZEROS:
        return 0
    word, bits = 0, 0
    while bits < width:
        word |= _mix((key << 20) + bits) << bits
        bits += 64
    if choice is Undefined.INVERSE:
        word = ~word
    return word & ((1 << width) - 1)


def _mix(value: int) -> int:
    """Scramble 64 bits (the finaliser of SplitMix64)."""
    mask = (1 << 64) - 1
    value = (value * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)


class HwSimulator:
    """A compiled design: run it as often as wanted, from an undefined state each time."""

    def __init__(
        self,
        module: ModuleOp,
        top: str,
        watch: Iterable[str] = (),
        streams: Iterable[str] = (),
        names: Names | None = None,
    ):
        """Compile ``top``, to see the wires ``watch``, or all that ``names`` gives.

        The valid/ready input ports ``streams`` are fed by sources, by :meth:`stream` alone.
        """
        with no_collection():
            check_hardware(module, top)
            netlist = flatten(module, top, names)
            close_loops(netlist, streams)
            if names is not None:
                watch = [n for n, node in netlist.names.items() if netlist.nodes[node].width]
            self._program = compile_netlist(netlist, watch)
            self._code = _bind(self._program)
        self.inputs = {n: netlist.nodes[i].width for n, i in netlist.inputs.items()}
        """Width of each input port but the clock."""
        self.watched = {n: f.width for n, f in self._program.watched.items()}
        """Width of each output port and watched wire."""

    @property
    def settle(self) -> int | None:
        """Cycles after which no output depends on an undefined state; None: unknown."""
        settle = self._program.settle
        return settle if settle < NEVER else None

    def run(
        self,
        inputs: Mapping[str, Words],
        cycles: int,
        undefined: Undefined = Undefined.ZEROS,
    ) -> dict[str, Words]:
        """Return the bits of every output and watched wire in each cycle.

        A value in cycle ``t`` is the one just before the rising edge that ends the cycle.
        """
        return self._join(list(self.stretches(inputs, cycles, undefined)))

    def stretches(
        self,
        inputs: Mapping[str, Words],
        cycles: int,
        undefined: Undefined = Undefined.ZEROS,
        length: int = CHUNK,
    ) -> Iterator[dict[str, Words]]:
        """Run as :meth:`run` does; give ``length`` cycles at a time."""
        run = _Run(self._program, undefined)
        for start in range(0, cycles, length):
            count = min(length, cycles - start)
            chunk = {n: words[start : start + count] for n, words in inputs.items()}
            yield self._watch(run.chunk(self._code, chunk, count), count)

    def parts(self, name: str) -> list[tuple[int, int]]:
        """Return lowest bit and width of each number that a watched wire is made of."""
        fields = self._program.watched[name]
        return [(offset, width) for _, offset, width in fields.slots]

    def aliases(self) -> list[list[str]]:
        """Group the names of what is watched by the bits that they stand for."""
        groups = dict[Fields, list[str]]()
        for name, fields in self._program.watched.items():
            groups.setdefault(fields, []).append(name)
        return list(groups.values())

    def stream(
        self, plan: "StreamDrive", undefined: Undefined = Undefined.PATTERN
    ) -> dict[str, Words]:
        """Let the sources and sinks of ``plan`` drive the design; see ``StreamedDesign``."""
        from fastml.runtime.streams import Progress

        run = _Run(self._program, undefined, plan.sources)
        progress = Progress(plan)
        parts: list[dict[str, Words]] = []
        start = 0
        while progress.end is None or start < progress.end:
            inputs = plan.open_loop(start, CHUNK)
            seen = self._watch(run.chunk(self._code, inputs, CHUNK), CHUNK)
            parts.append(seen | {n: inputs[n] for n in inputs if n not in seen})
            progress.see(start, parts[-1])
            start += CHUNK
        return {name: words[: progress.end] for name, words in self._join(parts).items()}

    def _watch(self, env: Sequence[Operand], count: int) -> dict[str, Words]:
        watched = self._program.watched
        return {name: _collect(fields, env, count) for name, fields in watched.items()}

    def _join(self, parts: Sequence[dict[str, Words]]) -> dict[str, Words]:
        if not parts:
            return self._watch([], 0)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def simulate(
    module: ModuleOp,
    top: str,
    inputs: Mapping[str, Sequence[int] | Integers],
    cycles: int,
    watch: Iterable[str] = (),
    undefined: Undefined = Undefined.ZEROS,
) -> dict[str, Integers]:
    """Run a design once: unsigned integers a cycle in, the same for all outputs out."""
    simulator = HwSimulator(module, top, watch)
    words = words_of(inputs, simulator.inputs, cycles)
    seen = simulator.run(words, cycles, undefined)
    return {n: to_integers(w, simulator.watched[n]) for n, w in seen.items()}


def words_of(
    inputs: Mapping[str, Sequence[int] | Integers],
    widths: Mapping[str, int],
    cycles: int,
) -> dict[str, Words]:
    """Pack one integer a cycle for each port, and see that none is missing."""
    if inputs.keys() != widths.keys():
        odd = ", ".join(sorted(inputs.keys() ^ widths.keys()))
        raise ValueError(f"inputs and ports differ in: {odd}")
    if short := [name for name, values in inputs.items() if len(values) < cycles]:
        raise ValueError(f"fewer than {cycles} cycles given for: {', '.join(short)}")
    return {n: from_integers(v[:cycles], widths[n]) for n, v in inputs.items()}


def _collect(fields: Fields, env: Sequence[Operand], count: int) -> Words:
    packer = Packer(count, fields.width)
    for slot, offset, width in fields.slots if count else ():
        packer.put(env[slot.index], offset, width)
    return packer.words()


# Binding: instructions to functions on an environment of vectors


@dataclass(frozen=True, slots=True)
class _Bound:
    """One instruction as a function on the environment."""

    function: Callable[..., Operand] | None
    special: Callable[["_Run"], None] | None
    """For what has state: called with the run instead of ``function``."""
    result: int
    operands: tuple[int, ...]
    dead: tuple[int, ...]
    """Slots that nothing reads any more."""


class _Run:
    """The state of one run."""

    def __init__(
        self, program: Program, undefined: Undefined, sources: Mapping[str, Source] | None = None
    ):
        self.program = program
        self.sources = sources or {}
        self.source_states = {port: [0, source.first] for port, source in self.sources.items()}
        self.beats: dict[Beat, Vector] = {}
        self.first = 0
        self.undefined = undefined
        self.count = 0
        self.env: list[Operand] = [slot.const or 0 for slot in program.slots]
        self.late: dict[int, int] = {}
        """What a register outside feedback shows next, by its slot."""
        self.found: dict[int, Cycles] = {}
        self.written: dict[int, Writes] = {}
        self.stored: dict[int, Vector] = {}
        """Cells of memories outside feedback, by the slot that shows them."""
        self.states: dict[int, tuple[list[int], list[list[int]]]] = {}
        """Registers and memories of a component, by its number."""

    def chunk(
        self, code: Sequence[_Bound], inputs: Mapping[str, Words], count: int
    ) -> Sequence[Operand]:
        """Compute some cycles, on from where the last call stopped."""
        env, self.count = self.env, count
        for slot, width in self.program.fills:
            value = arbitrary(self.undefined, slot.index, width)
            env[slot.index] = np.full(count, value, object if slot.wide else np.int64)
        for name, fields in self.program.inputs.items():
            for slot, offset, width in fields.slots:
                env[slot.index] = field(inputs[name], offset, width)
        for bound in code:
            if bound.function is not None:
                env[bound.result] = bound.function(*[env[i] for i in bound.operands])
            else:
                assert bound.special is not None
                bound.special(self)
            for index in bound.dead:
                env[index] = 0
        self.first += count
        return env

    def before(self, slot: Slot) -> int:
        """Return what a register outside feedback shows first."""
        if (first := self.late.get(slot.index)) is None:
            width = (slot.hi - slot.lo).bit_length()
            first = arbitrary(self.undefined, slot.index, width)
            if first > slot.hi:  # the same bits as a two's complement number
                first -= 1 << width
        return first

    def last(self, instruction: Instruction) -> None:
        """Find when a register that holds took what it shows."""
        load = cast(NDArray[np.int64], self.env[instruction.operands[0].index])
        self.found[instruction.result.index] = last_taken(load, self.count)

    def hold(self, instruction: Instruction) -> None:
        """Show what a register took last."""
        slot, (value, when) = instruction.result, instruction.operands
        given = np.empty(self.count + 1, object if slot.wide else np.int64)
        given[0] = self.before(slot)
        given[1:] = self.env[value.index]
        shown = given[self.found[when.index]]
        self.late[slot.index] = int(shown[-1])
        self.env[slot.index] = shown[:-1]

    def writes(self, instruction: Instruction) -> None:
        """Note when which cells of a memory are written."""
        store = cast(Recall, instruction.param)
        address, gate = (self.env[slot.index] for slot in instruction.operands)
        depth = store.memory.depth
        self.written[instruction.result.index] = Writes(
            cast(NDArray[np.int64], address), gate, depth, self.count
        )

    def read_cells(self, instruction: Instruction) -> None:
        """Find where the words are that a port reads."""
        memory = cast(Recall, instruction.param).memory
        writes, address, gate = instruction.operands
        rule = memory.read_under_write if memory.read_latency else None
        at = cast(NDArray[np.int64], self.env[address.index])
        found = self.written[writes.index].find(at, self.env[gate.index], rule)
        self.found[instruction.result.index] = found

    def cells(self, instruction: Instruction) -> None:
        """Show some bits of the words that a port reads."""
        slot, (writes, when, data) = instruction.result, instruction.operands
        store, written = cast(Recall, instruction.param), self.written[writes.index]
        depth, width = store.memory.depth, slot.hi.bit_length()
        words = np.empty(depth + self.count + 1, object if slot.wide else np.int64)
        if slot.index in self.stored:
            words[:depth] = self.stored[slot.index]
        else:
            keys = [(store.fill.index << 32) + cell for cell in range(depth)]
            words[:depth] = [self.word(store, key, width) for key in keys]
        words[depth:-1] = self.env[data.index]
        words[-1] = self.word(store, store.fill.index, width)
        self.stored[slot.index] = words[written.final]
        self.env[slot.index] = words[self.found[when.index]]

    def word(self, store: Recall, key: int, width: int) -> int:
        """Return some bits of an undefined word."""
        whole = arbitrary(self.undefined, key, store.memory.width)
        return (whole >> store.low) & ((1 << width) - 1)

    def delay(self, instruction: Instruction) -> None:
        """Show a register's input one cycle later."""
        slot = instruction.result
        first = self.before(slot)
        value = self.env[instruction.operands[0].index]
        late = np.empty(self.count, object if slot.wide else np.int64)
        late[0] = first
        if isinstance(value, int):
            late[1:] = value
            self.late[slot.index] = value
        else:
            late[1:] = value[:-1]
            self.late[slot.index] = int(value[-1])
        self.env[slot.index] = late

    def feedback(self, component: Component, step: Step, imports: Sequence[int]) -> None:
        """Run a component clock by clock."""
        key = id(component)
        state = self.states.get(key) or self.first_state(component)
        series = [cast(Vector, self.env[index]).tolist() for index in imports]
        ports = [source.port for source in component.sources]
        sources = [self.source_states[port] for port in ports]
        tables = [[*self.sources[port].waits.tolist(), NEVER] for port in ports]
        tables += [self.bits(beat).tolist() for beat in component.beats]
        registers, exported = step(
            self.first, self.count, state[0], state[1], series, sources, tables
        )
        self.states[key] = registers, state[1]
        self.source_states |= zip(ports, sources, strict=True)
        for index, values in zip(sorted(component.exports), exported, strict=True):
            wide = component.exports[index].wide
            self.env[index] = np.array(values, object if wide else np.int64)

    def bits(self, beat: Beat) -> Vector:
        """Return some bits of all beats of a source, and of one more that never comes."""
        if beat not in self.beats:
            words = self.sources[beat.port].beats
            self.beats[beat] = np.append(field(words, beat.low, beat.width), 0)
        return self.beats[beat]

    def beat(self, instruction: Instruction) -> None:
        """Show the beat that a source presents, or what its input carries besides."""
        present, index, other = (self.env[slot.index] for slot in instruction.operands)
        beats = self.bits(cast(Beat, instruction.param))[cast(NDArray[np.int64], index)]
        self.env[instruction.result.index] = np.where(present, beats, other)

    def first_state(self, component: Component) -> tuple[list[int], list[list[int]]]:
        registers = [
            arbitrary(self.undefined, state.current.index, state.width)
            for state in component.states
        ]
        memories = [
            [
                arbitrary(self.undefined, (memory.fill.index << 32) + cell, width)
                for cell in range(memory.memory.depth)
            ]
            for memory in component.memories
            for width in (memory.memory.width,)
        ]
        return registers, memories


def _bind(program: Program) -> list[_Bound]:
    """Turn instructions into functions, and note after which one each slot is dead."""
    kept = {s.index for f in program.watched.values() for s, _, _ in f.slots}
    last: dict[int, int] = {}
    uses: list[tuple[int, ...]] = []
    for number, instruction in enumerate(program.code):
        operands = instruction.operands
        if isinstance(instruction.param, Component):
            operands = imports_of(instruction.param)
        used = tuple([slot.index for slot in operands])
        uses.append(used)
        last.update(dict.fromkeys(used, number))
    dead: dict[int, list[int]] = {}
    for index, number in last.items():
        if index not in kept and program.slots[index].const is None:
            dead.setdefault(number, []).append(index)
    return [
        _bind_one(instruction, uses[number], tuple(dead.get(number, ())))
        for number, instruction in enumerate(program.code)
    ]


def _bind_one(instruction: Instruction, used: tuple[int, ...], dead: tuple[int, ...]) -> _Bound:
    result = instruction.result
    function: Callable[..., Operand] | None = None
    special: Callable[[_Run], None] | None = None
    match instruction.name, instruction.param:
        case name, _ if name in _SPECIAL:
            special = partial(_SPECIAL[name], instruction=instruction)
        case "component", Component() as component:
            special = _feedback(component, used)
        case "table", words:
            dtype = object if result.wide else np.int64
            function = np.array(cast(list[int], words), dtype).take
        case "widen", _:
            function = _widen
        case "narrow", _:
            function = _narrow
        case "mux", _ if result.wide:
            function = _wide_mux
        case name, _:
            function = ELEMENTARY[name].vector
    return _Bound(function, special, result.index, used, dead)


_SPECIAL: dict[str, Callable[..., None]] = {
    "delay": _Run.delay,
    "last": _Run.last,
    "hold": _Run.hold,
    "writes": _Run.writes,
    "read_cells": _Run.read_cells,
    "cells": _Run.cells,
    "beat": _Run.beat,
}


def _feedback(component: Component, used: Sequence[int]) -> Callable[[_Run], None]:
    step = generate(component)
    return lambda run: run.feedback(component, step, used)


def _widen(values: Vector) -> Vector:
    return values.astype(object)


def _narrow(values: Vector) -> Vector:
    return values.astype(np.int64)


def _wide_mux(condition: Vector, a: Operand, b: Operand) -> Vector:
    return np.where(condition, np.asarray(a, object), np.asarray(b, object))
