"""Print the C++ testbench: vectors from text or .npy files, compared bit for bit.

It is plain C++ that g++ and the vendors' C simulation take alike, and needs no library but
that of the integers.
"""

from collections.abc import Sequence
from pathlib import Path

from fastml.compiler.emit.hls.flavours import AP_TYPES
from fastml.runtime.csim import CppDesign, declare_port
from fastml.runtime.trace import Integers

SUPPORT = Path(__file__).with_name("vectors.h")
"""Reader of vectors, copied beside every testbench."""
DATA = "tb_data"


def testbench_name(design: CppDesign) -> str:
    """Return the name of the testbench's file."""
    return f"{design.top}_test.cpp"


def print_testbench(design: CppDesign) -> dict[str, str]:
    """Return the testbench's files by name."""
    lines = [
        f'#include "{design.top}.h"',
        f'#include "{design.top}_vectors.h"',
        "",
        "// Reads DIR/PORT.txt or DIR/PORT.npy of every port, and compares the outputs.",
        "int main(int argc, char **argv) {",
        f'  const std::string folder = argc > 1 ? argv[1] : "{DATA}";',
        "  long errors = 0, frames = 0;",
    ]
    for k, port in enumerate(design.ports):
        width, signed = port.container
        name = f"fastml::Vectors<{width}, {'true' if signed else 'false'}>"
        lines.append(
            f'  {name} file{k}(folder, "{port.name}", {len(port.elements)}, {port.fraction or 0});'
        )
        lines.append(f"  {declare_port(design, k)}")
    reads = " && ".join(f"file{k}.next()" for k in range(len(design.ports)))
    lines.append(f"  for (; {reads}; ++frames) {{")
    for k, port in enumerate(design.ports):
        if not port.is_output:
            lines += _beats(design, k, f"file{k}.put({{beat}});")
    arguments = ", ".join(f"port{k}" for k in range(len(design.ports)))
    lines.append(f"    {design.top}({arguments});")
    for k, port in enumerate(design.ports):
        if port.is_output:
            lines += _beats(design, k, f"errors += file{k}.compare({{beat}}, frames);")
    lines += [
        "  }",
        *(f"  errors += file{k}.unread();" for k in range(len(design.ports))),
        "  if (frames == 0) ++errors;",
        r'  std::printf("%s: %ld frames, %ld errors\n", errors ? "FAIL" : "PASS", frames, errors);',
        "  return errors != 0;",
        "}",
        "",
    ]
    library = "ap" if design.library == AP_TYPES else "ac"
    support = SUPPORT.read_text(encoding="utf-8")
    support = support.replace("FASTML_LIBRARY_IS_AP", "1" if library == "ap" else "0")
    return {
        testbench_name(design): "\n".join(lines),
        f"{design.top}_vectors.h": support,
    }


def _beats(design: CppDesign, number: int, text: str) -> list[str]:
    """Print what happens to every beat of a port; the first of a frame is read already."""
    port, name = design.ports[number], f"port{number}"
    beat = f"{name}_beat.element" if design.streams else f"{name}[b]" if port.beats > 1 else name
    lines = [text.format(beat=beat)]
    if design.streams and port.is_output:
        lines.insert(0, f"{name}_beat = {name}.read();")
    elif design.streams:
        lines.append(f"{name}.write({name}_beat);")
    if port.beats == 1:
        return [f"    {line}" for line in lines]
    return [
        f"    for (int b = 0; b < {port.beats}; ++b) {{",
        f"      if (b > 0 && !file{number}.next()) ++errors;",
        *(f"      {line}" for line in lines),
        "    }",
    ]


def print_vectors(values: Integers) -> str:
    """Return beats as text: a beat a line, integers as the hardware holds them."""
    return "".join(" ".join(map(str, row)) + "\n" for row in _rows(values))


def _rows(values: Integers) -> Sequence[Sequence[int]]:
    return values.tolist()
