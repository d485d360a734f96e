"""Print constant memories as arrays."""

from collections.abc import Sequence

from xdsl.dialects import affine, arith, memref
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    IntegerType,
    MemRefType,
    UnitAttr,
)
from xdsl.ir import Block, Operation, SSAValue
from xdsl.ir.affine import AffineDimExpr, AffineSymExpr
from xdsl.utils.hints import isa

from fastml.compiler.emit.hls.flavours import Pragmas
from fastml.compiler.emit.hls.values import plain
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives

_WORDS_A_LINE = 16


def _storage(definition: memref.GlobalOp) -> str:
    return directives.text(definition.attributes, directives.STORAGE) or "logic"


def constant_indices(op: Operation) -> Sequence[bool]:
    """Tell of each index of a load or store if it is constant, in each copy of a loop."""
    match op:
        case affine.LoadOp() | affine.StoreOp():
            map_, unrolled = op.map.data, [_is_unrolled(value) for value in op.indices]
            return [
                all(
                    unrolled[inner.position + map_.num_dims * isinstance(inner, AffineSymExpr)]
                    for inner in place.dfs()
                    if isinstance(inner, AffineDimExpr | AffineSymExpr)
                )
                for place in map_.results
            ]
        case memref.LoadOp() | memref.StoreOp():
            return [isinstance(value.owner, arith.ConstantOp) for value in op.indices]
        case _:
            return ()


def _is_unrolled(value: SSAValue) -> bool:
    """Whether an index counts the copies of a loop."""
    loop = value.owner.parent_op() if isinstance(value.owner, Block) else None
    return isinstance(loop, affine.ForOp) and isinstance(
        loop.attributes.get(directives.UNROLL), UnitAttr
    )


def rom_pragmas(
    pragmas: Pragmas, name: str, op: memref.GetGlobalOp, definition: memref.GlobalOp
) -> list[str]:
    """Return the directives of a constant memory where it is used.

    One that is read at constant indices alone is no memory, but wiring. Where every access
    says which row it is in, the rows are lanes: each is a memory of its own.
    """
    accesses = [constant_indices(use.operation) for use in op.memref.uses]
    if all(all(indices) for indices in accesses):
        return []
    lanes = all(len(indices) == 2 and indices[0] for indices in accesses)
    texts = [pragmas.lanes if lanes else "", pragmas.rom.get(_storage(definition), "")]
    return [text.format(name=name) for text in texts if text]


def print_rom(name: str, definition: memref.GlobalOp, pragmas: Pragmas) -> list[str]:
    """Declare a constant memory, in the smallest builtin type that has room.

    A compiler takes 100 000 words of an integer class for minutes, and of a builtin type
    at once; every word is read into its own type.
    """
    type_ = definition.type
    initial = definition.initial_value
    assert isa(type_, MemRefType)
    if not isinstance(initial, DenseIntOrFPElementsAttr) or definition.constant is None:
        raise FastmlError("a memory without constant contents cannot be printed", definition)
    if not isa(type_.element_type, IntegerType):
        raise FastmlError("is not a memory of integers", definition)
    width = type_.element_type.width.data
    half = 1 << (width - 1)
    shape = type_.get_shape()
    count = type_.element_count()
    numbers = [word for word in initial.get_values() if isinstance(word, int)]
    numbers = numbers * count if len(numbers) == 1 else numbers
    words = [((word + half) & (2 * half - 1)) - half for word in numbers]
    builtin = next(w for w in (8, 16, 32, 64) if w >= width)  # dense attributes end at 64
    lowest = f"INT{builtin}_MIN"
    texts = [lowest if word == -(1 << (builtin - 1)) else plain(word) or "" for word in words]
    dims = "".join(f"[{size}]" for size in shape)
    lines = [
        f"// {count} words of {width} bits",
        pragmas.rom_declared.get(_storage(definition), ""),
    ]
    lines = [*filter(None, lines), f"static const int{builtin}_t {name}{dims} = {{"]
    row = shape[-1] if len(shape) == 2 else count
    for first in range(0, count, row):
        inner = texts[first : first + row]
        chunks = [", ".join(inner[k : k + _WORDS_A_LINE]) for k in range(0, row, _WORDS_A_LINE)]
        body = ",\n     ".join(chunks)
        lines.append(f"    {'{' + body + '}' if len(shape) == 2 else body},")
    lines.append("};")
    return lines
