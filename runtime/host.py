"""The host's share of a design: real tensors to beats of integers, and back.

The two networks of an :class:`~fastml.dialects.interface.Interface` say what the host
computes; they are evaluated as any network is, by :mod:`fastml.runtime.fastml`. Tensors have
shape ``(frames, ...)``; real ones are float32. Beats are integers of shape
``(frames, elements)``, by the name of the edge that they carry: row-major, or, of an edge
whose frames are several beats, beat after beat, each by the edge's layout.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute, Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.array import Array
from fastml.dialects.fastml import NetworkOp, OutputOp, element_type, shape_of
from fastml.dialects.grid import QuantisedType
from fastml.dialects.interface import Interface
from fastml.dialects.layout import Layout
from fastml.runtime.fastml import encode, evaluate_raw
from fastml.runtime.trace import Integers, narrow

Tensors: TypeAlias = Mapping[str, NDArray[np.generic]]
Reals: TypeAlias = dict[str, NDArray[np.float32]]


class Host:
    """What runs beside the hardware: encode inputs, decode outputs and tapped edges."""

    def __init__(self, interface: Interface):
        self.interface = interface
        self._slices: dict[tuple[int, tuple[str, ...]], NetworkOp] = {}

    @cached_property
    def input_names(self) -> list[str]:
        """The model's inputs, in order."""
        return list(self.interface.prologue.inputs)

    @cached_property
    def output_names(self) -> list[str]:
        """The model's outputs, in order."""
        return list(self.interface.view.outputs)

    @cached_property
    def input_edges(self) -> list[str]:
        """Edges at which beats enter the design, in order."""
        return list(self.interface.prologue.outputs)

    @cached_property
    def hardware_edges(self) -> dict[str, SSAValue]:
        """Every edge that the hardware carries, by name, inputs first."""
        return self.interface.view.inputs

    @cached_property
    def edges(self) -> list[str]:
        """Every edge of the model that can be tapped."""
        return list(dict.fromkeys([*self.interface.prologue.edges, *self._view_edges]))

    @cached_property
    def _view_edges(self) -> dict[str, SSAValue]:
        return self.interface.view.edges

    @cached_property
    def output_edges(self) -> list[str]:
        """Hardware edges from which the outputs are decoded, in the design's order."""
        return self.needed_edges(self._edge_of_output.values())

    @cached_property
    def _edge_of_output(self) -> dict[str, str]:
        view = self.interface.view
        names = {value: name for name, value in view.edges.items()}
        return {output: names[value] for output, value in view.outputs.items()}

    def encode(self, inputs: Tensors, *, quantise_input: bool = False) -> dict[str, Integers]:
        """Return the beats of every input edge for real tensors by the model's names.

        A number off its grid or out of its range is an ``FML-INPUT`` error, unless
        ``quantise_input`` asks to round and saturate it.
        """
        raw = encode(self.interface.prologue, inputs, quantize_input=quantise_input)
        results = evaluate_raw(self.interface.prologue, raw)
        return {name: self.to_beats(name, values) for name, values in results.items()}

    def to_beats(self, edge: str, values: Array) -> Integers:
        """Put the integers of a hardware edge ``(frames, ...)`` into the order of its beats."""
        return as_beats(values, self.interface.layouts.get(edge))

    def from_beats(self, edge: str, beats: Integers) -> Integers:
        """Return the tensors of a hardware edge, given its beats."""
        layout, value = self.interface.layouts.get(edge), self.hardware_edges[edge]
        return from_beats(beats, frame_shape(value), layout)

    def needed_edges(self, names: Iterable[str]) -> list[str]:
        """Return the hardware edges from which the edges ``names`` can be computed."""
        wanted = dict[str, None]()
        cone = set[SSAValue]()
        values = [self._view_edges[n] for n in names if n in self._view_edges]
        _collect_cone(values, cone)
        for name, value in self.hardware_edges.items():
            if value in cone:
                wanted[name] = None
        return list(wanted)

    def decode(self, beats: Mapping[str, Integers]) -> Reals:
        """Return the model's outputs, as float32, for the integers of ``output_edges``."""
        edges = self._edge_of_output
        raw = self._evaluate_view(beats, list(dict.fromkeys(edges.values())))
        return {
            output: decode_edge(self._view_edges[edge], raw[edge]) for output, edge in edges.items()
        }

    def decode_taps(
        self, beats: Mapping[str, Integers], names: Sequence[str], inputs: Tensors | None = None
    ) -> Reals:
        """Return the numbers on the edges ``names``, as float32.

        ``beats`` hold the integers of ``needed_edges(names)``; edges before the hardware are
        computed from the model's real ``inputs``.
        """
        raw = self.raw_taps(beats, names, inputs)
        return {
            name: decode_edge(
                self._view_edges.get(name) or self.interface.prologue.edges[name], values
            )
            for name, values in raw.items()
        }

    def raw_taps(
        self, beats: Mapping[str, Integers], names: Sequence[str], inputs: Tensors | None = None
    ) -> dict[str, Array]:
        """Return what the edges hold: integers, or float32 where they are not quantised."""
        seen = [n for n in names if n in self._view_edges]
        before = [n for n in names if n not in self._view_edges]
        found = self._evaluate_view(beats, seen) if seen else {}
        if before:
            prologue = self.interface.prologue
            for name in before:
                if name not in prologue.edges:
                    raise unknown_edge(name, self.edges)
            assert inputs is not None, "edges before the hardware need the real inputs"
            part = self._slice(prologue, before)
            raw = encode(prologue, inputs, quantize_input=True)
            found |= evaluate_raw(part, {n: raw[n] for n in part.inputs})
        return {name: found[name] for name in names}

    def _evaluate_view(
        self, beats: Mapping[str, Integers], names: Sequence[str]
    ) -> dict[str, Array]:
        part = self._slice(self.interface.view, names)
        raw = {name: self.from_beats(name, beats[name]) for name in part.inputs}
        return evaluate_raw(part, raw)

    def _slice(self, network: NetworkOp, names: Sequence[str]) -> NetworkOp:
        key = (id(network), tuple(names))
        if key not in self._slices:
            self._slices[key] = slice_network(network, names)
        return self._slices[key]


def unknown_edge(name: str, known: Iterable[str]) -> FastmlError:
    """Return the error of a tap that names no edge."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 3, 0.4)
    hint = f"similar are {', '.join(repr(n) for n in near)}" if near else None
    return FastmlError("no edge has this name", in_file(f"'{name}'"), code="FML-USAGE", hint=hint)


def as_beats(values: Array, layout: Layout | None = None) -> Integers:
    """Flatten the elements of each frame, in the order of a layout if there is one."""
    assert values.dtype != np.float32
    if layout is not None:
        return narrow(layout.to_rows(values))
    flat: NDArray[Any] = values.reshape(len(values), prod(values.shape[1:]))
    return narrow(flat)


def from_beats(beats: Integers, shape: tuple[int, ...], layout: Layout | None = None) -> Integers:
    """Give frames their shape, whether each is one beat or several.

    With a layout, the beats of a frame are in its order. Else, several hold as many elements
    as fit each; what fills up the last one is dropped.
    """
    if layout is not None:
        return layout.from_rows(beats.reshape(-1, layout.size)).reshape(-1, *shape)
    count, width = prod(shape), beats.shape[1]
    each = -(-count // width) if width < count else 1
    frames = len(beats) // each
    return beats.reshape(frames, each * width)[:, :count].reshape(frames, *shape)


def decode_edge(value: SSAValue, raw: Array) -> NDArray[np.float32]:
    """Return the float32 numbers that what an edge holds stands for."""
    element = element_type(value)
    if not isinstance(element, QuantisedType):
        return np.asarray(raw, np.float32)
    inner = raw.reshape(len(raw), *shape_of(value))
    return np.asarray(element.decode(inner), np.float32).reshape(raw.shape)


def frame_shape(value: SSAValue) -> tuple[int, ...]:
    """Return the shape of one frame of an edge: without its batch axis of 1."""
    shape = shape_of(value)
    return shape[1:] if shape[:1] == (1,) else shape


def slice_network(
    network: NetworkOp, names: Sequence[str], starts: Sequence[str] = ()
) -> NetworkOp:
    """Return the part of ``network`` that computes the edges ``names``, as its outputs.

    Edges ``starts`` become inputs beside those of the network that are needed.
    """
    edges = network.edges
    for name in (*names, *starts):
        if name not in edges:
            raise unknown_edge(name, edges)
    begun = {edges[name]: name for name in starts}
    cone = set[SSAValue]()
    _collect_cone([edges[name] for name in names], cone, frozenset(begun))
    own = {value: name for name, value in network.inputs.items()}
    entries = {v: n for v, n in (begun | own).items() if v in cone}
    inputs = {name: _tensor(value.type) for value, name in entries.items()}
    part = NetworkOp(network.sym_name.data, inputs, names)
    mapping = dict[SSAValue, SSAValue](zip(entries, part.body.block.args, strict=True))
    for op in network.body.block.ops:
        if any(r in cone and r not in mapping for r in op.results):
            copy = op.clone(mapping)
            copy.location = op.location
            part.body.block.add_op(copy)
    part.body.block.add_op(OutputOp([mapping[edges[name]] for name in names]))
    return part


def _tensor(type_: Attribute) -> TensorType[Attribute]:
    assert isinstance(type_, TensorType)
    return cast(TensorType[Attribute], type_)


def _collect_cone(
    values: Iterable[SSAValue], cone: set[SSAValue], stop: frozenset[SSAValue] = frozenset()
) -> None:
    """Add to ``cone`` everything that ``values`` are computed from, up to ``stop``."""
    pending = list(values)
    while pending:
        value = pending.pop()
        if value in cone:
            continue
        cone.add(value)
        if value in stop:
            continue
        if isinstance(value.owner, Operation):
            pending += value.owner.operands
