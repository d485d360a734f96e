"""Execute processes that copy tokens: as one permutation, however many elements there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.affine_processes import Process
from fastml.dialects.token_copies import Stored, copies_of
from fastml.runtime.arith import Array, function_of, hold
from fastml.runtime.memory import Memory


@dataclass(frozen=True, eq=False)
class CopyProgram:
    """The function of a process that reads tokens at random."""

    process: Process

    @cached_property
    def stores(self) -> Sequence[Stored]:
        """What its stores do, by ranges of its loops."""
        (source,) = self.process.inputs
        return list(copies_of(self.process.function, source.value))

    def execute(self, memories: Mapping[SSAValue, Memory]) -> None:
        """Copy from the array of the input into those of the outputs, by argument."""
        (source,) = self.process.inputs
        for stored in self.stores:
            _copy(stored, memories[source.value], memories[stored.target])
        for output in self.process.outputs:
            _check(memories[output.value], self.process)


def _copy(stored: Stored, source: Memory, target: Memory) -> None:
    values = source.values
    if (stored.source >= 0).any():
        for cast in stored.casts:
            function = function_of(cast)
            values = [None if found is None else function(found) for found in values]
    constants = dict[int, Array]()
    places: list[int] = stored.places.tolist()
    sources: list[int] = stored.source.tolist()
    numbers: list[int] = stored.constant.tolist()
    for place, at, number in zip(places, sources, numbers, strict=True):
        if at < 0 and number not in constants:
            constants[number] = hold(np.array([number], object), target.width)
        value = values[at] if at >= 0 else constants[number]
        if value is None:
            token = f"element [{source.place(at)}]"
            raise FastmlError(f"reads {token}, which was never written", stored.op)
        target.values[place] = value


def _check(memory: Memory, process: Process) -> None:
    """Refuse what an element cannot hold: many tokens at a time."""
    layout = memory.elements
    assert layout is not None
    for element, width in enumerate(layout.widths):
        if width >= memory.width:
            continue
        column = [value for value in memory.values[element :: len(layout)] if value is not None]
        different = {id(value): value for value in column}.values()
        if different and not memory.fits(element, np.concatenate(list(different))):
            own = f"{'s' if layout.signed[element] else 'u'}{width}"
            at = process.function
            raise FastmlError(f"writes what element {element}, {own}, cannot hold", at)
