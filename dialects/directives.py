"""Directives: the discardable attributes ``fastml.*`` on upstream operations.

Upstream operations cannot carry our facts as properties, so schedules, layouts and names
travel as attributes with plain builtin values (``i64``, string, unit, dictionary), which
upstream tools parse and keep. A discardable attribute is ignored by whoever does not know
it; therefore :func:`verify_directives` refuses every ``fastml.*`` attribute that is unknown,
of the wrong type or in the wrong place.

``affine.load`` and ``affine.store`` take no directive: their custom assembly in xDSL drops
attributes. ``memref.load`` and ``memref.store`` keep them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from xdsl.dialects.builtin import (
    DictionaryAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    ModuleOp,
    StringAttr,
    UnitAttr,
)
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import upstream_assembly as upstream_assembly  # keeps attributes
from fastml.dialects.elements import Elements
from fastml.dialects.loadable import LOAD

PREFIX = "fastml."
NAME = "fastml.name"
"""Name of the edge of the source model that a memref holds; arbitrary text."""
PORT = "fastml.port"
"""Legal identifier of that edge, or of an argument: the name of its wires."""
ELEMENTS = "fastml.elements"
"""Layout of a beat (:class:`~fastml.dialects.elements.Elements`)."""
DIRECTION = "fastml.direction"
"""``"in"`` or ``"out"``, on the arguments of functions."""
TOP = "fastml.top"
"""Marks the function that is the design."""
II = "fastml.ii"
"""Cycles between two frames: on the design, and on every function with loops."""
LATENCY = "fastml.latency"
"""Cycle in which the output beat appears, counted from the input beat: likewise.

Of a process it is counted from the firing that makes the beat; an output of a process that
comes earlier than the last one has its own."""
START = "fastml.start"
"""Cycle in which an operation executes, a loop begins, or a function with loops is called.

It is a cycle of the design outside of loops, of the enclosing iteration inside, and counted
from the call in a function with loops."""
PIPELINE = "fastml.pipeline"
"""Cycles between two iterations of a loop."""
UNROLL = "fastml.unroll"
"""Replicate the body of a loop; how often, or fully where it is a unit attribute."""
PARTITION = "fastml.partition"
"""Split an array into registers: into so many banks, or all where it is a unit attribute."""
STREAM = "fastml.stream"
"""The array is a first-in, first-out memory of so many beats."""
DATAFLOW = "fastml.dataflow"
"""The calls of a function run concurrently, each as soon as it has its inputs."""
PROCESS = "fastml.process"
"""Marks a function that a dataflow calls: its cycles are counted from its own firing."""
WINDOW = "fastml.window"
"""Tables of a process that slides a window over an image (:mod:`fastml.dialects.line_access`)."""
REORDER = "fastml.reorder"
"""Tables of a process that gives tokens in another order: likewise."""
STORAGE = "fastml.storage"
"""What a constant or a scratch memory is made of: ``"block"`` memory, or ``"logic"`` (the default).

A scratch memory in block memory has one port to write and one to read, and what is read is
there a cycle later."""
INTERFACE = "fastml.interface"
"""Names, types and host-side arithmetic of the model's inputs and outputs; opaque here."""
TAPS = "fastml.taps"
"""Where and when each named edge can be observed in a hardware module."""
PORTS = "fastml.ports"
"""Tensor ports of a hardware module: name, port and layout of each."""

Check: TypeAlias = Callable[[Attribute], str | None]
"""Return what was wanted if the attribute is not that."""


def _is_unit(value: Attribute) -> str | None:
    return None if isinstance(value, UnitAttr) else "a unit attribute"


def _is_text(value: Attribute) -> str | None:
    return None if isinstance(value, StringAttr) else "a string"


def _is_dictionary(value: Attribute) -> str | None:
    return None if isinstance(value, DictionaryAttr) else "a dictionary"


def _is_direction(value: Attribute) -> str | None:
    known = isinstance(value, StringAttr) and value.data in ("in", "out")
    return None if known else '"in" or "out"'


def _is_storage(value: Attribute) -> str | None:
    known = isinstance(value, StringAttr) and value.data in ("logic", "block")
    return None if known else '"logic" or "block"'


def _is_layout(value: Attribute) -> str | None:
    if not isinstance(value, StringAttr):
        return "a layout such as '16 x s8'"
    try:
        Elements.parse(value.data)
    except ValueError as error:
        return f"a layout such as '16 x s8' ({error})"
    return None


def _at_least(low: int) -> Check:
    def check(value: Attribute) -> str | None:
        match value:
            case IntegerAttr(value=number, type=IntegerType(width=width)) if (
                width.data == 64 and number.data >= low
            ):
                return None
            case _:
                return f"an i64 of at least {low}"

    return check


def _is_unroll(value: Attribute) -> str | None:
    return None if isinstance(value, UnitAttr) else _at_least(1)(value)


ARGUMENT = "argument"
"""Place of the directives on the arguments of functions."""

_COMPUTATIONS = (
    "arith.addi, arith.subi, arith.muli, arith.andi, arith.ori, arith.xori, "
    "arith.minsi, arith.maxsi, arith.minui, arith.maxui, arith.cmpi, arith.select, "
    "arith.extsi, arith.extui, arith.trunci, arith.shli, arith.shrsi, arith.shrui, "
    "arith.index_cast"
).split(", ")


@dataclass(frozen=True)
class Directive:
    """Where a directive may stand, and what its value must be."""

    places: frozenset[str]
    check: Check


def _on(check: Check, *places: str) -> Directive:
    return Directive(frozenset(places), check)


DIRECTIVES: Mapping[str, Directive] = {
    NAME: _on(_is_text, ARGUMENT, "memref.alloc"),
    PORT: _on(_is_text, ARGUMENT, "memref.alloc"),
    ELEMENTS: _on(_is_layout, ARGUMENT, "memref.alloc"),
    DIRECTION: _on(_is_direction, ARGUMENT),
    TOP: _on(_is_unit, "func.func", "hw.module"),
    II: _on(_at_least(1), "func.func", "hw.module"),
    LATENCY: _on(_at_least(0), ARGUMENT, "func.func", "hw.module"),
    START: _on(
        _at_least(0),
        "affine.for",
        "func.call",
        "memref.load",
        "memref.store",
        *_COMPUTATIONS,
    ),
    PIPELINE: _on(_at_least(1), "affine.for"),
    UNROLL: _on(_is_unroll, "affine.for"),
    PARTITION: _on(_is_unroll, ARGUMENT, "memref.alloc"),
    STREAM: _on(_at_least(1), ARGUMENT, "memref.alloc"),
    DATAFLOW: _on(_is_unit, "func.func"),
    PROCESS: _on(_is_unit, "func.func"),
    WINDOW: _on(_is_dictionary, "func.func"),
    REORDER: _on(_is_dictionary, "func.func"),
    STORAGE: _on(_is_storage, "memref.global", "memref.alloc"),
    LOAD: _on(_is_dictionary, "memref.global"),
    INTERFACE: _on(_is_dictionary, "builtin.module"),
    TAPS: _on(_is_dictionary, "builtin.module"),
    PORTS: _on(_is_dictionary, "hw.module"),
}
"""Every directive of the affine and hw levels."""


def _verify(attributes: Mapping[str, Attribute], place: str, op: Operation) -> None:
    for name, value in attributes.items():
        if not name.startswith(PREFIX):
            continue
        directive = DIRECTIVES.get(name)
        if directive is None:
            raise FastmlError(
                f"unknown directive '{name}'",
                op,
                hint=f"known are {', '.join(DIRECTIVES)}",
            )
        if place not in directive.places:
            raise FastmlError(
                f"directive '{name}' has no meaning on '{place}'",
                op,
                hint=f"it belongs on {', '.join(sorted(directive.places))}",
            )
        wanted = directive.check(value)
        if wanted is not None:
            raise FastmlError(f"'{name}' must be {wanted}, got {value}", op)


def verify_directives(module: ModuleOp) -> None:
    """Refuse unknown, misplaced and ill-typed directives; ``FastmlError`` names the op."""
    for op in module.walk():
        if op.attributes:
            _verify(op.attributes, op.name, op)
        if isinstance(op, FuncOp):
            for index, attributes in enumerate(argument_attributes(op)):
                _verify(attributes, ARGUMENT, op)
                _verify_layout(op, op.function_type.inputs.data[index], attributes, op)
        elif op.name == "memref.alloc":
            _verify_layout(op, op.results[0].type, op.attributes, op.parent_op())
            _verify_storage(op)


def _verify_layout(
    op: Operation,
    of: Attribute,
    attributes: Mapping[str, Attribute],
    function: Operation | None,
) -> None:
    """Compare the layout of a memref with its type: where beats flow, it may hold several."""
    text = attributes.get(ELEMENTS)
    if not isinstance(text, StringAttr) or not isa(of, MemRefType):
        return
    layout = Elements.parse(text.data)
    shape, flows = of.get_shape(), function is not None and is_dataflow(function)
    if shape[-1:] != (len(layout),) or len(shape) > 1 + flows or 1 in shape[:-1]:
        raise FastmlError(f"layout '{layout}' has {len(layout)} elements, not {of}", op)
    element_type = of.get_element_type()
    width = max(layout.container[0], 1)
    if element_type != IntegerType(width):
        raise FastmlError(f"layout '{layout}' needs elements of type i{width}, not {of}", op)


def _verify_storage(op: Operation) -> None:
    """Refuse block memory where nothing could be in it, or where its ports have no cycles."""
    if STORAGE not in op.attributes:
        return
    if STREAM in op.attributes:
        raise FastmlError(f"'{STORAGE}' is for scratch memories, and '{STREAM}' for FIFOs", op)
    elements = layout(op.attributes)
    if not in_block(op) or elements is None:
        return
    if len(elements) < 2 or not elements.container[0]:
        raise FastmlError(f"block memory needs two words of a bit, not '{elements}'", op)


def in_block(op: Operation) -> bool:
    """Whether the memory that ``op`` defines is to be in block memory."""
    return text(op.attributes, STORAGE) == "block"


def is_dataflow(function: Operation) -> bool:
    """Whether ``function`` is a network of processes, or one of the processes."""
    return DATAFLOW in function.attributes or PROCESS in function.attributes


def argument_attributes(function: FuncOp) -> tuple[Mapping[str, Attribute], ...]:
    """Attributes of each argument of ``function``."""
    if function.arg_attrs is None:
        return tuple({} for _ in function.function_type.inputs)
    return tuple(attributes.data for attributes in function.arg_attrs.data)


def integer(attributes: Mapping[str, Attribute], name: str) -> int | None:
    """Value of an integer directive, or ``None`` where it is absent."""
    match attributes.get(name):
        case IntegerAttr(value=value):
            return value.data
        case _:
            return None


def text(attributes: Mapping[str, Attribute], name: str) -> str | None:
    """Value of a string directive, or ``None`` where it is absent."""
    match attributes.get(name):
        case StringAttr(data=data):
            return data
        case _:
            return None


def layout(attributes: Mapping[str, Attribute]) -> Elements | None:
    """Layout of a beat, or ``None`` where it is absent."""
    found = text(attributes, ELEMENTS)
    return None if found is None else Elements.parse(found)
