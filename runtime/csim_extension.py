"""HLS C++ as an extension of Python: compiled once, called on whole arrays.

The library is that of level ``csim``, compiled for speed; one call runs all frames. Inputs and
outputs are those of the model, through the same host program as at every other level.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.runtime.csim import (
    CompiledDesign,
    CppPort,
    CsimLevel,
    build_library,
    find_headers,
)
from fastml.runtime.trace import Integers, as_beats_of

FLAGS = ("-Og", "-fno-exceptions")
"""Of a network of 2,351 adders, ``-O1`` is a quarter faster and takes g++ half as long again;
``-O2`` takes longer still, and is no faster than ``-O1``."""
_LOCK = threading.Lock()
"""The functions keep their beats in static arrays: one call at a time in a process."""


class Emulator:
    """The C++ of a design as a function on real inputs; :meth:`raw` is one on integers."""

    def __init__(self, level: CsimLevel, by_name: Callable[[Any], dict[str, NDArray[Any]]]):
        if level.host is None:
            raise FastmlError("carries no 'fastml.interface'", in_file("csim"), code="FML-USAGE")
        self.host = level.host
        self.design = level.design
        headers = find_headers(level.design.library, level.headers)
        self._compiled = CompiledDesign(level.design, build_library(level.design, headers, FLAGS))
        self._by_name = by_name

    def __call__(self, x: Any, *, quantise_input: bool = False) -> Any:
        """Return the model's outputs, bit for bit: one array, or several by name."""
        frames = self.host.encode(self._by_name(x), quantise_input=quantise_input)
        ports = {port.edge: port for port in self.design.inputs}
        beats = {
            edge: as_beats_of(rows, ports[edge].beats, len(ports[edge].elements))
            for edge, rows in frames.items()
        }
        return _only(self.host.decode(self._run(beats)))

    def raw(self, beats: Integers | Mapping[str, Integers]) -> Any:
        """Return the integers that leave the hardware for those that enter, (frames, elements).

        Both go by the name of their edge; a single one may be given, and is returned, alone.
        """
        ports = self.design.inputs
        if not isinstance(beats, Mapping):
            beats = {port.edge: beats for port in ports[:1]}
        if set(beats) != {port.edge for port in ports}:
            names = ", ".join(f"'{port.edge}'" for port in ports)
            raise FastmlError(f"needs the edges {names}", in_file("input"), code="FML-INPUT")
        checked = {port.edge: _checked(port, np.asarray(beats[port.edge])) for port in ports}
        if len({len(checked[port.edge]) / port.beats for port in ports}) > 1:
            raise FastmlError("have different frames", in_file("inputs"), code="FML-INPUT")
        return _only(self._run(checked))

    def _run(self, beats: Mapping[str, Integers]) -> dict[str, Integers]:
        with _LOCK:
            return self._compiled(beats)[0]


def _checked(port: CppPort, values: NDArray[Any]) -> Integers:
    """Return ``values`` if they are beats of a port: C++ would cut off what does not fit."""
    place = in_file(f"'{port.edge}'")
    elements = port.elements
    if values.ndim != 2 or values.shape[1] != len(elements):
        wanted = f"(frames, {len(elements)})"
        raise FastmlError(f"has shape {values.shape}, not {wanted}", place, code="FML-INPUT")
    if values.dtype == object:
        whole = all(isinstance(value, int) for value in values.flat)
    else:
        whole = np.issubdtype(values.dtype, np.integer)
    if not whole:
        raise FastmlError(f"holds {values.dtype}, not integers", place, code="FML-INPUT")
    if len(values) % port.beats:
        raise FastmlError(
            f"has {len(values)} beats, but a frame has {port.beats}", place, code="FML-INPUT"
        )
    wide = max(elements.widths, default=0) > 62 or values.dtype.str[1:] in ("O", "u8")

    exact = values.astype(object if wide else np.int64)
    powers = np.array([1 << width for width in elements.widths], object)
    halves = np.array(elements.signed, object) * (powers // 2)
    lows, highs = (bound.astype(exact.dtype) for bound in (-halves, powers - halves - 1))
    outside = (exact < lows) | (exact > highs)
    if outside.any():
        frame, element = (int(k[0]) for k in np.nonzero(outside))
        found, low, high = values[frame, element], lows[element], highs[element]
        raise FastmlError(
            f"element {element} of frame {frame} is {found}, outside {low}..{high}",
            place,
            code="FML-INPUT",
        )
    return exact


def _only(outputs: Mapping[str, Any]) -> Any:
    return next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs)
