"""Prove that a process that reads tokens at random copies what its tables say.

Time and hardware follow the tables of :mod:`fastml.dialects.line_access`; the body of the
function is what the interpreter executes and other tools read. Every element that the body
stores is compared with the one that the tables name.
"""

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Operation

from fastml.dialects.affine_processes import Beats, Process
from fastml.dialects.array import Integers
from fastml.dialects.line_access import LineAccess
from fastml.dialects.token_copies import Stored, copies_of
from fastml.lowering.schedule_facts import illegal


def check_access(process: Process) -> None:
    """Raise ``FML-SCHEDULE`` where the body of a process is not what its tables say."""
    access = process.access
    assert access is not None
    outputs = {output.value: _Stored(output) for output in process.outputs}
    (source,) = process.inputs
    for stored in copies_of(process.function, source.value):
        output = outputs.get(stored.target)
        if output is None:
            raise illegal(f"stores to input '{source.name}'", stored.op)
        output.add(stored)
        _check_values(stored, access, source, output.output)
        _check_casts(stored, source, output.output)
    for output in outputs.values():
        missing = np.flatnonzero(~output.seen)
        if len(missing):
            raise illegal(f"{output.place(int(missing[0]))} is never stored", process.function)


class _Stored:
    """Which elements of an output have been stored."""

    def __init__(self, output: Beats):
        self.output = output
        self.seen = np.zeros(output.beats * len(output.elements), np.bool_)

    def add(self, stored: Stored) -> None:
        """Note what a store has stored, each element once."""
        places = np.sort(stored.places)
        again = places[self.seen[places]]
        if not len(again):
            again = places[1:][places[1:] == places[:-1]]
        if len(again):
            raise illegal(f"{self.place(int(again[0]))} is stored twice", stored.op)
        self.seen[places] = True

    def place(self, place: int) -> str:
        """Name an element."""
        beat, element = divmod(place, len(self.output.elements))
        return f"element {element} of beat {beat} of '{self.output.name}'"


def _check_values(stored: Stored, access: LineAccess, source: Beats, output: Beats) -> None:
    """Compare what is stored with the tables."""
    size, elements = len(output.elements), len(access.elements)
    beats, places = stored.places // size, stored.places % size
    first, stop = int(beats.min()), int(beats.max()) + 1
    tokens = access.tokens(first, stop)[beats - first, places // elements]
    expected = np.where(tokens < 0, -1, tokens * elements + places % elements)
    wrong = stored.source != expected
    fills: Integers = access.fill.array[places % elements]
    here = tokens < 0
    wrong |= here & (_unsigned(stored.constant, output) != _unsigned(fills, output))
    if wrong.any():
        at = int(np.argmax(wrong))
        beat, element = int(beats[at]), int(places[at])
        wanted = (
            f"the constant {fills[at]}"
            if here[at]
            else f"element {expected[at] % elements} of beat {expected[at] // elements} "
            f"of '{source.name}'"
        )
        raise illegal(
            f"element {element} of beat {beat} of '{output.name}' is not {wanted}, as the "
            "tables of the process say",
            stored.op,
        )


def _unsigned(numbers: Integers, output: Beats) -> Integers:
    """Return constants as the bits of the container of an output."""
    width = max(output.elements.container[0], 1)
    if width >= 63:
        return numbers.astype(object) & ((1 << width) - 1)
    return numbers.astype(np.int64) & ((1 << width) - 1)


def _check_casts(stored: Stored, source: Beats, output: Beats) -> None:
    """Check that elements keep their values from one container to the other."""
    (own, signed), (target, _) = source.elements.container, output.elements.container
    wanted: tuple[type[Operation], ...] = ()
    if max(own, 1) != max(target, 1):
        wanted = (arith.TruncIOp,)
        if target > own:
            wanted = (arith.ExtSIOp if signed else arith.ExtUIOp,)
    if (stored.source >= 0).any() and tuple(map(type, stored.casts)) != wanted:
        found = ", ".join(cast.name for cast in stored.casts) or "nothing"
        kind = IntegerType(max(target, 1))
        raise illegal(f"elements become {kind} by {found}, which is not their value", stored.op)
