"""Rounding and overflow against the real ``ap_fixed`` and ``ac_fixed``, on every input."""

import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fastml.dialects.fixed_modes import Overflow, Quantisation, drop_bits, requantise
from fastml.dialects.qflow_functions import Rounding, rescale
from fastml.runtime.csim import find_headers

SHAPES: dict[str, Callable[[int], tuple[int, int]]] = {
    "some": lambda width: (2, 1),
    "one": lambda width: (1, 0),
    "none": lambda width: (0, 3),
    "appended": lambda width: (-1, 2),
    "all": lambda width: (width, -width),
    "more": lambda width: (width + 2, -width - 2),
}
"""Low bits that are dropped and high bits that are lost, for a width of the result."""
WIDTHS = range(1, 13)

AP = """
#include <ap_fixed.h>
#include <cstdio>
template <class S, class D, int W, int V> void table() {
  for (int k = 0; k < (1 << W); ++k) {
    S x;
    x.range() = ap_uint<W>(k);
    D y = x;
    const unsigned bits = y.range(V - 1, 0).to_uint();
    std::putchar(bits & 255);
    std::putchar(bits >> 8);
  }
}
"""
AC = """
#include <ac_fixed.h>
#include <cstdio>
template <class S, class D, int W, int V> void table() {
  for (int k = 0; k < (1 << W); ++k) {
    S x;
    x.set_slc(0, ac_int<W, false>(k));
    D y = x;
    const unsigned bits = y.template slc<V>(0).to_uint() & ((1u << V) - 1);
    std::putchar(bits & 255);
    std::putchar(bits >> 8);
  }
}
"""


def ap(width: int, integer: int, signed: bool, *modes: str) -> str:
    given = "".join(f", AP_{mode}" for mode in modes)
    return f"ap_{'' if signed else 'u'}fixed<{width}, {integer}{given}>"


def ac(width: int, integer: int, signed: bool, *modes: str) -> str:
    given = "".join(f", AC_{mode}" for mode in modes)
    return f"ac_fixed<{width}, {integer}, {str(signed).lower()}{given}>"


HEADERS: dict[str, tuple[str, Callable[..., str], str]] = {
    "ap_fixed": (AP, ap, "ap_types"),
    "ac_fixed": (AC, ac, "ac_types"),
}
CASES = [
    *(pytest.param(name, "some", (3,), id=f"{name}-some") for name in HEADERS),
    *(
        pytest.param(name, shape, tuple(WIDTHS), id=f"{name}-{shape}-all", marks=pytest.mark.full)
        for name in HEADERS
        for shape in SHAPES
        if (name, shape) != ("ap_fixed", "more")  # its own assertion fails
    ),
]


@pytest.mark.parametrize(("name", "shape", "widths"), CASES)
def test_every_mode_on_every_input(
    name: str,
    shape: str,
    widths: tuple[int, ...],
    tmp_path: Path,
    require_tool: Callable[[str], str],
):
    compiler = require_tool("g++")
    require_tool("ap_types")
    head, kind, library = HEADERS[name]
    plan = list(product(widths, (False, True), (False, True), Quantisation, Overflow))
    lines = list[str]()
    for width, signed, target_signed, rounding, overflow in plan:
        drop, lost = SHAPES[shape](width)
        given = width + drop + lost
        source = kind(given, width - 2 + lost, signed)
        target = kind(width, width - 2, target_signed, rounding.name, overflow.name)
        lines.append(f"  table<{source}, {target}, {given}, {width}>();")
    (tmp_path / "tables.cpp").write_text("\n".join([head, "int main() {", *lines, "}"]))
    flags = ["-std=c++14", "-O0", "-fno-exceptions", "-w", "-isystem", str(find_headers(library))]
    subprocess.run([compiler, *flags, "tables.cpp", "-o", "tables"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "tables"], capture_output=True, check=True).stdout
    tables = np.frombuffer(said, "<u2").astype(np.int64)
    at = 0
    for width, signed, target_signed, rounding, overflow in plan:
        drop, lost = SHAPES[shape](width)
        count = 1 << (width + drop + lost)
        raw = np.arange(count)
        if signed:
            raw = np.where(raw >= count // 2, raw - count, raw)
        ours = requantise(raw, drop, width, target_signed, rounding, overflow)
        what = f"{width} bits, {signed} to {target_signed}, {rounding}, {overflow}"
        np.testing.assert_array_equal(ours & ((1 << width) - 1), tables[at : at + count], what)
        at += count
    assert at == len(tables)


@pytest.mark.parametrize(
    ("rounding", "mode"),
    [(Rounding.FLOOR, Quantisation.TRN), (Rounding.HALF_EVEN, Quantisation.RND_CONV)],
)
@pytest.mark.parametrize("count", [0, 1, 2, 5, 70])
def test_stages_round_as_the_types_do(rounding: Rounding, mode: Quantisation, count: int):
    raw = np.arange(-300, 300)
    zero = np.zeros_like(raw)
    ours = rescale(raw, zero, np.full_like(raw, count), rounding)
    np.testing.assert_array_equal(ours, drop_bits(raw, count, mode))


def test_bits_can_be_appended():
    np.testing.assert_array_equal(drop_bits(np.array([-3, 5]), -2, Quantisation.RND), [-12, 20])
