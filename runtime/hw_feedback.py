"""Generate the code of components in feedback: one Python function, clock by clock."""

from collections.abc import Callable, Iterator
from typing import TypeAlias, cast

from fastml.runtime.hw_ops import ELEMENTARY
from fastml.runtime.hw_slots import Beat, Component, Instruction, MemoryState, Slot

Step: TypeAlias = Callable[
    [int, int, list[int], list[list[int]], list[list[int]], list[list[int]], list[list[int]]],
    tuple[list[int], list[list[int]]],
]
"""From the first cycle, the number of cycles, registers, memories, imported series, the
states of sources (next beat, and when it is due) and their tables (waits before the beats of
each, then the bits that are read of beats) to registers and exported series.

Memories and states of sources change in place.
"""


def imports_of(component: Component) -> list[Slot]:
    """Return the slots that the component reads from outside."""
    used: dict[int, Slot] = {}
    for slot in _used(component):
        if slot.owner is not component and slot.const is None:
            used[slot.index] = slot
    return [used[index] for index in sorted(used)]


def _used(component: Component) -> Iterator[Slot]:
    for instruction in component.code:
        yield from instruction.operands
        if isinstance(instruction.param, MemoryState):
            yield instruction.param.fill
    for state in component.states:
        if state.following is not None:
            yield state.following
    for source in component.sources:
        if source.ready is not None:
            yield source.ready
    for memory in component.memories:
        yield memory.fill
        for write in memory.writes:
            yield from (slot for slot in write if slot is not None)
        for _, address, enable in memory.reads:
            yield address
            if enable is not None:
                yield enable


def generate(component: Component) -> Step:
    """Compile a component into a Python function."""
    lines, tables = _Generator(component).lines()
    scope: dict[str, object] = {f"t{i}": words for i, words in enumerate(tables)}
    exec(compile("\n".join(lines), "<feedback>", "exec"), scope)
    return cast(Step, scope["step"])


def _name(slot: Slot) -> str:
    if slot.const is None:
        return f"v{slot.index}"
    return str(slot.const) if slot.const >= 0 else f"({slot.const})"


class _Generator:
    def __init__(self, component: Component):
        self.component = component
        self.tables: list[list[int]] = []
        self.body: list[str] = []

    def lines(self) -> tuple[list[str], list[list[int]]]:
        """Return the function's text, and the tables it refers to."""
        component = self.component
        imports = imports_of(component)
        exports = [component.exports[index] for index in sorted(component.exports)]
        states = [_name(state.current) for state in component.states]
        for slot in imports:
            self.body.append(f"{_name(slot)} = i{slot.index}[cycle]")
        for instruction in component.code:
            self.body.append(f"{_name(instruction.result)} = {self.text(instruction)}")
        for slot in exports:
            self.body.append(f"o{slot.index}[cycle] = {_name(slot)}")
        self.clock_edge()
        head = [
            "def step(first, cycles, states, memories, imports, sources, tables):",
            *_unpack(states, "states"),
            *_unpack(self.source_states(), "sources"),
            *_unpack(self.source_tables(), "tables"),
            *_unpack([f"m{i}" for i in range(len(component.memories))], "memories"),
            *_unpack([f"i{slot.index}" for slot in imports], "imports"),
            *(f"    o{slot.index} = [0] * cycles" for slot in exports),
            "    for cycle in range(cycles):",
            *(["        now = first + cycle"] if component.sources else []),
        ]
        outs = ", ".join(f"o{slot.index}" for slot in exports)
        tail = [f"    sources[:] = [{', '.join(self.source_states())}]"]
        tail.append(f"    return [{', '.join(states)}], [{outs}]")
        return [*head, *(f"        {line}" for line in self.body), *tail], self.tables

    def source_states(self) -> list[str]:
        """Name the state of each source, as a pattern."""
        sources = self.component.sources
        return [f"[{_name(source.index)}, {_name(source.due)}]" for source in sources]

    def source_tables(self) -> list[str]:
        """Name what sources give: waits, then the bits of beats that are read here."""
        component = self.component
        waits = [f"w{number}" for number in range(len(component.sources))]
        return waits + [f"b{number}" for number in range(len(component.beats))]

    def text(self, instruction: Instruction) -> str:
        operands = [_name(slot) for slot in instruction.operands]
        match instruction.name:
            case "widen" | "narrow":
                return operands[0]
            case "table":
                self.tables.append(cast(list[int], instruction.param))
                return f"t{len(self.tables) - 1}[{operands[0]}]"
            case "present":
                return f"1 if now >= {operands[0]} else 0"
            case "beat":
                number = self.component.beats.index(cast(Beat, instruction.param))
                return f"b{number}[{operands[1]}] if {operands[0]} else {operands[2]}"
            case "read":
                memory = cast(MemoryState, instruction.param)
                return self.read(memory, operands[0], operands[1:])
            case name:
                return ELEMENTARY[name].text.format(*operands)

    def read(self, memory: MemoryState, address: str, enable: list[str]) -> str:
        """Read a word; undefined beyond the end, or while not enabled."""
        number = self.component.memories.index(memory)
        conditions = list(enable)
        if memory.memory.depth & (memory.memory.depth - 1) or memory.memory.depth == 1:
            conditions.append(f"{address} < {memory.memory.depth}")
        word = f"m{number}[{address}]"
        if not conditions:
            return word
        return f"({word} if {' and '.join(conditions)} else {_name(memory.fill)})"

    def clock_edge(self) -> None:
        """Read what clocked ports will show, then write, then move the registers."""
        following: dict[int, str] = {
            id(state): _name(state.following)
            for state in self.component.states
            if state.following is not None
        }
        for number, memory in enumerate(self.component.memories):
            for port, (state, address, enable) in enumerate(memory.reads):
                name = following[id(state)] = f"r{number}_{port}"
                gate = [] if enable is None else [_name(enable)]
                self.body.append(f"{name} = {self.read(memory, _name(address), gate)}")
                self.collide(memory, name, _name(address), gate)
        for number, memory in enumerate(self.component.memories):
            self.write(number, memory)
        for number, source in enumerate(self.component.sources):
            assert source.ready is not None
            index, due = _name(source.index), _name(source.due)
            self.body += [
                f"if {_name(source.present)} and {_name(source.ready)}:",
                f"    {index} += 1",
                f"    {due} = now + 1 + w{number}[{index}]",
            ]
        states = self.component.states
        if states:
            targets = ", ".join(_name(state.current) for state in states)
            values = ", ".join(following[id(state)] for state in states)
            self.body.append(f"{targets} = {values}")

    def collide(self, memory: MemoryState, name: str, address: str, gate: list[str]) -> None:
        """Apply the rule for a word that is read and written at one edge."""
        if memory.memory.read_under_write == "old":
            return
        for target, data, enable in memory.writes:
            new = memory.memory.read_under_write == "new"
            conditions = [*gate, f"{_name(target)} == {address}"]
            conditions += [] if enable is None else [_name(enable)]
            value = _name(data) if new else _name(memory.fill)
            self.body.append(f"if {' and '.join(conditions)}: {name} = {value}")

    def write(self, number: int, memory: MemoryState) -> None:
        depth = memory.memory.depth
        for port, (address, data, enable) in enumerate(memory.writes):
            conditions = [] if enable is None else [_name(enable)]
            if depth & (depth - 1) or depth == 1:
                conditions.append(f"{_name(address)} < {depth}")
            gate = f"if {' and '.join(conditions)}: " if conditions else ""
            target = f"m{number}[{_name(address)}]"
            self.body.append(f"{gate}{target} = {_name(data)}")
            if memory.memory.write_under_write == "undefined":
                for earlier, _, other in memory.writes[:port]:
                    both = [*conditions, f"{_name(earlier)} == {_name(address)}"]
                    both += [] if other is None else [_name(other)]
                    fill = _name(memory.fill)
                    self.body.append(f"if {' and '.join(both)}: {target} = {fill}")


def _unpack(names: list[str], source: str) -> list[str]:
    return [f"    [{', '.join(names)}] = {source}"] if names else []
