"""Let Verilator write its own waves, so that ours can be compared with them."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from fastml.runtime.bits import Words
from fastml.runtime.clocked_levels import Pinout
from fastml.runtime.verilator import (
    BENCH,
    INSTANCE,
    bench_module,
    build_program,
    places,
    run_program,
    total,
)

_MAIN = Path(__file__).with_name("verilator_waves.cpp")


def trace_waves(
    files: Mapping[str, str], pinout: Pinout, driven: Mapping[str, Words], file: IO[str]
) -> None:
    """Run ``files`` on the given bits of every input; write every wire that Verilator has.

    The scopes are those of the design: what stands around it for the simulation is left out.
    """
    top, inputs = pinout.top, pinout.input_widths
    around = bench_module(top, inputs, pinout.output_widths, {}, "clk")
    program = build_program({**files, f"{BENCH}.sv": around}, "-O0", main=_MAIN, waves=True)
    cycles = len(next(iter(driven.values())))
    given = np.zeros((cycles, total(inputs)), np.uint32)
    for name, at in places(inputs).items():
        given[:, at : at + driven[name].shape[1]] = driven[name]
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / "given", Path(name) / "waves.vcd"]
        given.tofile(paths[0])
        run_program(program, [*map(str, paths), str(cycles)])
        with paths[1].open(encoding="ascii") as lines:
            file.writelines(_of_design(lines, top))


def _of_design(lines: Iterable[str], top: str) -> Iterator[str]:
    """Drop the scopes of the program and of the bench, which have no signals of their own."""
    depth, header = 0, True
    for line in lines:
        words = line.split() if header else []
        word = words[0] if words else ""
        header = header and word != "$enddefinitions"
        depth += word == "$scope"
        outer = word in ("$scope", "$upscope") and depth <= 2
        if word == "$scope" and depth == 3:
            assert words[2] == INSTANCE, "the bench has one instance"
            line = f"  $scope module {top} $end\n"
        depth -= word == "$upscope"
        if not outer:
            yield line
