"""Memories of the affine level: what a memref holds, over a batch of frames."""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from xdsl.dialects import memref
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    MemRefType,
    NoneAttr,
    StringAttr,
)
from xdsl.ir import Attribute, Operation
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.elements import Elements
from fastml.dialects.loadable import loadable_of
from fastml.runtime.arith import Array, hold, unsigned, width_of_type, wrap


@dataclass(slots=True)
class Memory:
    """Contents of a memref: for each element its values over the batch, and a cycle."""

    shape: tuple[int, ...]
    values: list[Array | None]
    cycles: list[int]
    width: int
    elements: Elements | None = None
    reads: list[int] = field(default_factory=list[int])
    """Last cycle in which each element was read; kept in functions with loops only."""
    constant: bool = False

    @classmethod
    def blank(cls, type_: MemRefType[Attribute], elements: Elements | None) -> "Memory":
        """Return a memory in which nothing has been written."""
        shape = type_.get_shape()
        size = prod(shape)
        width = width_of_type(type_.element_type)
        assert width is not None
        return cls(shape, [None] * size, [0] * size, width, elements, [0] * size)

    def place(self, flat: int) -> str:
        """Return an element's indices, as text."""
        return ", ".join(str(i) for i in np.unravel_index(flat, self.shape))

    def gather(self, flat: Array) -> Array | None:
        """Read another element in every frame; ``None`` if one may be undefined."""
        known = [column for column in self.values if column is not None]
        if len(known) < len(self.values):
            return None
        table = np.stack(np.broadcast_arrays(*known))
        return table[flat, np.arange(table.shape[1])]

    def fill(self, words: Array) -> None:
        """Let the memory hold words, row-major, the same in every frame."""
        flat = np.broadcast_to(words, (len(self.values),))
        self.values = list(hold(flat, self.width)[:, np.newaxis])

    def fits(self, flat: int, values: Array) -> bool:
        """Tell if the values are in the range of the element's own type."""
        if self.elements is None:
            return True
        element = flat % len(self.elements)  # of a beat, where there are several
        if self.elements.widths[element] >= self.width:
            return True
        width, signed = self.elements.widths[element], self.elements.signed[element]
        own = wrap(width)(values) if signed and width else unsigned(values, width)
        return bool((own == values).all())


def constant_memory(op: memref.GlobalOp) -> Memory:
    """Return the contents of a constant, one value for every frame."""
    type_ = check_memref(op.type, op)
    if op.constant is None and loadable_of(op) is None:
        raise FastmlError("a global must be constant: frames share no state", op)
    if not isinstance(op.initial_value, DenseIntOrFPElementsAttr):
        raise FastmlError("has no dense initial value", op)
    memory = Memory.blank(type_, None)
    memory.fill(np.array(list(op.initial_value.get_values()), dtype=object))
    memory.constant = True
    return memory


def check_memref(type_: Attribute, op: Operation) -> MemRefType[Attribute]:
    """Return ``type_``, a static, contiguous memref of integers."""
    if (
        not isa(type_, MemRefType)
        or not type_.has_static_shape()
        or not isinstance(type_.layout, NoneAttr)
        or not width_of_type(type_.element_type)
    ):
        raise FastmlError(f"'{type_}' is not a static, contiguous integer memref", op)
    return type_


def elements_attribute(
    attribute: Attribute | None, type_: MemRefType[Attribute], at: Operation
) -> Elements:
    """Return the layout that ``fastml.elements`` gives to a memref, or to each beat of it."""
    if not isinstance(attribute, StringAttr):
        raise FastmlError("needs 'fastml.elements', a string", at)
    try:
        elements = Elements.parse(attribute.data)
    except ValueError as error:
        raise FastmlError(f"'fastml.elements': {error}", at) from error
    width = max(1, elements.container[0])
    if (len(elements),) != type_.get_shape()[-1:] or width_of_type(type_.element_type) != width:
        raise FastmlError(
            f"'fastml.elements' describes memref<{len(elements)}xi{width}>, not {type_}",
            at,
        )
    return elements


def in_range(index: Array, size: int) -> bool:
    """Tell if every element of ``index`` is in ``0..size-1``."""
    return bool(((index >= 0) & (index < size)).all())
