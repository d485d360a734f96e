"""Print constant memories as arrays."""

from xdsl.dialects import memref
from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, IntegerType, MemRefType
from xdsl.utils.hints import isa

from fastml.compiler.emit.hls.values import plain
from fastml.compiler.support.diagnostics import FastmlError

_WORDS_A_LINE = 16


def print_rom(name: str, definition: memref.GlobalOp) -> list[str]:
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
    lines = [f"// {count} words of {width} bits", f"static const int{builtin}_t {name}{dims} = {{"]
    row = shape[-1] if len(shape) == 2 else count
    for first in range(0, count, row):
        inner = texts[first : first + row]
        chunks = [", ".join(inner[k : k + _WORDS_A_LINE]) for k in range(0, row, _WORDS_A_LINE)]
        body = ",\n     ".join(chunks)
        lines.append(f"    {'{' + body + '}' if len(shape) == 2 else body},")
    lines.append("};")
    return lines
