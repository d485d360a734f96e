"""What is known of the time of a function: the result of checking its schedule."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import (
    IndexType,
    IntegerType,
    MemRefType,
    StringAttr,
    SymbolRefAttr,
)
from xdsl.dialects.func import CallOp, FuncOp
from xdsl.ir import Attribute, BlockArgument, Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.elements import Elements
from fastml.lowering.index_expressions import IndexExpressions, Loop

ANYTIME = -1
"""Cycle of a constant, which is there at any time."""
FOREVER = 1 << 62
"""Last cycle of a constant."""
NEVER = -2
"""Cycle of an element that nothing has stored."""


def illegal(message: str, at: Operation, hint: str | None = None) -> FastmlError:
    """Return the error for a schedule that is not legal."""
    return FastmlError(message, at, code="FML-SCHEDULE", hint=hint)


@dataclass(frozen=True)
class Edge:
    """A memref: its layout and its names."""

    value: SSAValue
    attributes: Mapping[str, Attribute]
    elements: Elements
    output: bool = False

    @property
    def name(self) -> str:
        """Name for messages."""
        found = directives.text(self.attributes, directives.NAME) or directives.text(
            self.attributes, directives.PORT
        )
        return found or self.value.name_hint or "?"

    @property
    def port(self) -> str | None:
        """Identifier of its wires; an argument without one goes by its number."""
        port = directives.text(self.attributes, directives.PORT)
        if port is None and isinstance(self.value, BlockArgument):
            return f"arg{self.value.index}"
        return port


@dataclass
class FunctionSchedule:
    """Cycles of the values and of the elements of one function.

    In a function without loops cycles are those of the design. In one with loops they are
    those since the call, and inside of a loop, since the start of the iteration.
    """

    function: FuncOp
    looped: bool
    """The function has loops: it is executed over time, and holds state."""
    ii: int
    """Cycles between two frames."""
    latency: int = 0
    """Cycle in which the outputs of a function with loops appear."""
    cycles: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])
    times: dict[Operation, int] = field(default_factory=dict[Operation, int])
    """Cycle in which each operation of a function with loops executes."""
    elements: dict[SSAValue, list[int]] = field(default_factory=dict[SSAValue, list[int]])
    """Cycle of each element of each memref."""
    held: dict[SSAValue, list[int]] = field(default_factory=dict[SSAValue, list[int]])
    """Last cycle in which each element of a memref is still there."""
    until: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])
    """Last cycle in which a value is still there, where that is later than its cycle."""
    loops: dict[Operation, Loop] = field(default_factory=dict[Operation, Loop])
    indices: IndexExpressions = field(default_factory=IndexExpressions)
    calls: dict[Operation, int] = field(default_factory=dict[Operation, int])
    """Cycle of the design in which each call of a function with loops starts."""

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.function.sym_name.data


def argument_edges(function: FuncOp) -> Iterator[tuple[BlockArgument, Edge]]:
    """Yield the arguments of a function; refuse what is not a described memref."""
    for value, attributes in zip(
        function.body.block.args, directives.argument_attributes(function), strict=True
    ):
        layout = directives.layout(attributes)
        direction = directives.text(attributes, directives.DIRECTION)
        if layout is None or direction is None or not isinstance(value.type, MemRefType):
            raise FastmlError(
                f"argument {value.index} of '{function.sym_name.data}' needs "
                f"'{directives.ELEMENTS}' and '{directives.DIRECTION}' on a memref",
                function,
            )
        yield value, Edge(value, attributes, layout, direction == "out")


def edge_of(value: SSAValue, user: Operation) -> Edge:
    """Return the edge that a memref is; refuse an allocation without a layout."""
    if isinstance(value, BlockArgument):
        function = value.block.parent_op()
        assert isinstance(function, FuncOp)
        return dict(argument_edges(function))[value]
    op = value.owner
    layout = directives.layout(op.attributes) if isinstance(op, Operation) else None
    if layout is None or not isinstance(op, Operation):
        raise FastmlError(f"memref has no '{directives.ELEMENTS}'", user)
    return Edge(value, op.attributes, layout)


def callee_of(op: CallOp, functions: Mapping[str, FuncOp]) -> FuncOp:
    """Return the function that ``op`` calls."""
    match op.callee:
        case SymbolRefAttr(root_reference=StringAttr(data=name)) if name in functions:
            return functions[name]
        case _:
            raise FastmlError(f"calls unknown function {op.callee}", op)


def has_loops(function: FuncOp) -> bool:
    """Whether a function is executed over time, not unrolled in space."""
    return any(isinstance(op, affine.ForOp) for op in function.body.block.ops)


def is_access(op: Operation) -> bool:
    """Whether ``op`` is a load or a store."""
    return isinstance(op, affine.LoadOp | affine.StoreOp | memref.LoadOp | memref.StoreOp)


def is_load(op: Operation) -> bool:
    """Whether ``op`` is a load."""
    return isinstance(op, affine.LoadOp | memref.LoadOp)


def check_wrapping(op: Operation) -> None:
    """Refuse what says that it does not wrap: nobody has proved that."""
    flags = getattr(op, "overflow_flags", None)
    if isinstance(flags, arith.IntegerOverflowAttr) and flags.data:
        raise FastmlError("overflow flags are not supported", op)


def check_constant(op: Operation) -> None:
    """Refuse a constant that is no integer."""
    if not isinstance(op.results[0].type, IntegerType | IndexType):
        raise FastmlError("only integers are supported", op)


def in_block(memory: SSAValue) -> bool:
    """Whether a scratch memory is clocked: what is read is there a cycle later."""
    op = memory.owner
    return isinstance(op, memref.AllocOp) and directives.in_block(op)


def describe(value: SSAValue) -> str:
    """Name a value for a message."""
    hint = f"%{value.name_hint} " if value.name_hint else ""
    owner = value.owner
    kind = f"'{owner.name}'" if isinstance(owner, Operation) else "a loop's argument"
    return f"{hint}({kind})"
