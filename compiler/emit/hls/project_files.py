"""What a project holds beside the C++: testbench with vectors, scripts, Makefile, README.

Names come from the identifier legaliser and options are checked, so that nothing in a script
is quoted. No tool of a vendor has run on any of it; the README says so.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastml.compiler.emit.hls.flavours import AP_TYPES, CLOCK_NS, Flavour, flavour_of
from fastml.compiler.emit.hls.testbench_cpp import (
    DATA,
    print_testbench,
    print_vectors,
    testbench_name,
)
from fastml.runtime.csim import STANDIN, CppDesign, CppPort
from fastml.runtime.trace import Integers, Stimulus
from fastml.runtime.vectors import hurting_vectors

if TYPE_CHECKING:
    from fastml.compiler.design import Design

FRAMES = 64
"""Frames of the vectors that come with the testbench."""
TEMPLATES = Path(__file__).with_name("templates")
SCRIPT = "build_prj.tcl"


@dataclass(frozen=True)
class Settings:
    """What the scripts are told."""

    clock_ns: float
    uncertainty: str
    part: str
    interface: str


def render_hls(design: "Design") -> dict[str, bytes]:
    """Return every file of the folder ``hls/``."""
    printed = design.csim.design
    flavour = flavour_of(printed.flavour)
    options = design.options
    settings = Settings(
        options.clock_ns or CLOCK_NS,
        options.hls_uncertainty,
        options.hls_part or flavour.part,
        options.hls_interface,
    )
    beats = hurting_vectors(design.graph, FRAMES, seed=0)
    stimulus = Stimulus(beats, np.zeros(FRAMES, np.int64))
    outputs = design.level("qflow").simulate(stimulus, []).outputs
    values = {**beats, **{edge: signal.values for edge, signal in outputs.items()}}
    return project_files(printed, values, settings)


def project_files(
    printed: CppDesign, values: Mapping[str, Integers], settings: Settings
) -> dict[str, bytes]:
    """Return the files of a project; ``values`` are integers of all ports, by edge."""
    flavour = flavour_of(printed.flavour)
    files = {**printed.files, **print_testbench(printed)}
    for port in printed.ports:
        files[f"{DATA}/{port.name}.txt"] = print_vectors(values[port.edge])
    words = _words(printed, flavour, settings)
    files["Makefile"] = _filled("Makefile", words)
    for name, template in _SCRIPTS[flavour.name].items():
        files[name.format(top=printed.top)] = _filled(template, words)
    if printed.streams and flavour.types.library == AP_TYPES:
        for path in sorted(STANDIN.iterdir()):
            files[f"{STANDIN.name}/{path.name}"] = path.read_text(encoding="utf-8")
    if flavour.name == "oneapi":
        files[f"{printed.top}_kernel.cpp"] = print_kernel(printed)
    files["README.md"] = _filled("README.md", words)
    return {name: text.encode() for name, text in files.items()}


_SCRIPTS: Mapping[str, Mapping[str, str]] = {
    "vitis": {SCRIPT: "xilinx.tcl", "vivado_synth.tcl": "vivado_synth.tcl"},
    "vivado": {SCRIPT: "xilinx.tcl", "vivado_synth.tcl": "vivado_synth.tcl"},
    "catapult": {SCRIPT: "catapult.tcl"},
    "oneapi": {"CMakeLists.txt": "CMakeLists.txt"},
}
_HOW = {
    "vitis": "vitis_hls -f build_prj.tcl",
    "vivado": "vivado_hls -f build_prj.tcl",
    "catapult": "catapult -shell -file build_prj.tcl",
    "oneapi": "cmake -B build . && cmake --build build --target report",
}


def _filled(template: str, words: Mapping[str, str]) -> str:
    """Fill in a template, whose words stand as ``@WORD@``."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    assert not re.search("@[A-Z]+@", text), f"{template} has a word that nobody fills in"
    return text


def _words(printed: CppDesign, flavour: Flavour, settings: Settings) -> dict[str, str]:
    wires = "axis" if printed.streams else settings.interface
    sources = [name for name in printed.files if name.endswith(".cpp")]
    library = "AP_TYPES" if printed.library == AP_TYPES else "AC_TYPES"
    mapping: dict[str, Callable[[bool], str]] = {
        "wires": lambda out: "ccs_ioport.ccs_out_vld" if out else "ccs_ioport.ccs_in_vld",
        "axis": lambda out: "ccs_ioport.ccs_out_wait" if out else "ccs_ioport.ccs_in_wait",
        "axilite": lambda out: "",
    }
    return {
        "TOP": printed.top,
        "SOURCES": " ".join(sources),
        "TESTBENCH": testbench_name(printed),
        "VECTORS": f"{printed.top}_vectors.h",
        "STANDARD": printed.standard,
        "FLAGS": " ".join(printed.flags),
        "STANDIN": f"-idirafter {STANDIN.name}" if printed.streams else "",
        "LIBRARY": library,
        "TYPES": printed.library,
        "DATA": DATA,
        "TOOL": flavour.tool,
        "RUN": _HOW[flavour.name],
        "FLOW": " -flow_target vivado" if flavour.name == "vitis" else "",
        "PART": settings.part,
        "CLOCK": f"{settings.clock_ns:g}",
        "UNCERTAINTY": settings.uncertainty,
        "II": str(printed.ii),
        "LATENCY": str(printed.latency),
        "PORTS": "\n".join(
            f"| `{port.name}` | {'out' if port.is_output else 'in'} | {port.elements} |"
            f" {port.beats} |"
            for port in printed.ports
        ),
        "RESOURCES": "\n".join(
            f"directive set /{printed.top}/{port.name}:rsc -MAP_TO_MODULE "
            f"{mapping[wires](port.is_output)}"
            for port in printed.ports
        )
        + "".join(
            f"\ndirective set /{printed.top}/{name}:cns -FIFO_DEPTH {depth}"
            for name, depth in printed.fifos.items()
        ),
    }


def print_kernel(printed: CppDesign) -> str:
    """Print the SYCL kernel around the top function: a pipe of beats for every port."""
    lines = [
        "// The kernel for the oneAPI compiler; g++ takes the other files alone.",
        "#include <sycl/sycl.hpp>",
        "#include <sycl/ext/intel/fpga_extensions.hpp>",
        "",
        f'#include "{printed.top}.h"',
        "",
    ]
    body, given = list[str](), list[str]()
    for port in printed.ports:
        beat, size = f"{port.name}_beat", len(port.elements)
        lines += [
            f"struct {beat} {{ {port.type_name} element[{size}]; }};",
            f"class {port.name}_id;",
            f"using {port.name}_pipe = sycl::ext::intel::experimental::pipe<{port.name}_id, "
            f"{beat}, {port.depth}>;",
        ]
        body.append(f"    {beat} {port.name};")
        if port.beats > 1:
            body.append(f"    {port.type_name} {port.name}_frame[{port.beats}][{size}];")
        given.append(f"{port.name}_frame" if port.beats > 1 else f"{port.name}.element")
    for p in printed.inputs:
        body += _through_pipe(p, f"{p.name} = {p.name}_pipe::read();")
    body.append(f"    {printed.top}({', '.join(given)});")
    for p in printed.outputs:
        body += _through_pipe(p, f"{p.name}_pipe::write({p.name});")
    lines += [
        "",
        f"struct {printed.top}_kernel {{",
        "  void operator()() const {",
        *(["    [[intel::initiation_interval(1)]]"] if printed.ii == 1 else []),
        "    while (1) {",
        *(f"  {line}" for line in body),
        "    }",
        "  }",
        "};",
        "",
        "int main() {",
        "#ifdef FPGA_EMULATOR",
        "  sycl::queue queue{sycl::ext::intel::fpga_emulator_selector_v};",
        "#else",
        "  sycl::queue queue{sycl::ext::intel::fpga_selector_v};",
        "#endif",
        f"  queue.single_task<{printed.top}_kernel>({printed.top}_kernel{{}}).wait();",
        "  return 0;",
        "}",
        "",
    ]
    return "\n".join(lines)


def _through_pipe(port: CppPort, text: str) -> list[str]:
    """Print the transfer of a frame, which may have several beats."""
    if port.beats == 1:
        return [f"    {text}"]
    element, held = f"{port.name}.element[k]", f"{port.name}_frame[b][k]"
    copied = f"{held} = {element};" if not port.is_output else f"{element} = {held};"
    copy = [
        "      #pragma unroll",
        f"      for (int k = 0; k < {len(port.elements)}; ++k) {copied}",
    ]
    first, last = (copy, [f"      {text}"]) if port.is_output else ([f"      {text}"], copy)
    return [f"    for (int b = 0; b < {port.beats}; ++b) {{", *first, *last, "    }"]
