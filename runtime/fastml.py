"""Interpreter of the ``fastml`` dialect: whole batches at once, to the bit.

A frame is one sample. Arrays have the frames in front; a tensor of the network's shape
``1 x a x b`` is given and returned as ``(frames, a, b)``. Quantised edges hold raw integers,
``f32`` edges float32 numbers. Linear operators compute on integers, in the narrowest float of
BLAS that holds every partial sum exactly (float32 below 2**24, float64 below 2**53), else in
Python integers; everything else evaluates the definitions in
:mod:`fastml.dialects.reference`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.dialects.array import Array, integer_array
from fastml.dialects.boundary import boundary_of
from fastml.dialects.fastml import NetworkOp, element_type, shape_of
from fastml.dialects.grid import QuantisedType
from fastml.runtime.network_plan import frame_shape, run
from fastml.runtime.trace import Integers, Signal, Stimulus, Trace, narrow

FARTHEST = np.finfo(np.float32).max
_HINTS = {
    "grid": "--quantize-input rounds and saturates",
    "float32": "give the model's own numbers: convert the array to float32",
}
"""What helps, by a word of the problem."""


@dataclass(frozen=True)
class Edge:
    """What one edge carried: the numbers that the model sees, and the integers if it has any."""

    real: NDArray[np.float32]
    raw: Array | None


class Evaluation(NamedTuple):
    """Outputs and tapped edges by name."""

    outputs: dict[str, Edge]
    taps: dict[str, Edge]


# -- entry points --------------------------------------------------------------------------


def evaluate(
    network: NetworkOp | ModuleOp,
    inputs: Mapping[str, NDArray[Any]],
    taps: Sequence[str] = (),
    *,
    quantize_input: bool = False,
) -> Evaluation:
    """Evaluate real inputs of shape ``(frames, ...)``, by name.

    An element that is not on its input's grid, or outside its range, is an ``FML-INPUT``
    error, unless ``quantize_input`` asks to round and saturate.
    """
    network = network_of(network)
    raw = encode(network, inputs, quantize_input=quantize_input)
    edges, outputs = network.edges, network.outputs
    for name in taps:
        if name not in edges:
            raise _unknown_edge(network, name)
    wanted = [*outputs.values(), *(edges[name] for name in taps)]
    found = run(network, {network.inputs[n]: x for n, x in raw.items()}, wanted)

    def edge(value: SSAValue) -> Edge:
        element = element_type(value)
        if isinstance(element, QuantisedType):
            return Edge(_decode_public(value, element, found[value]), found[value])
        return Edge(found[value], None)

    return Evaluation(
        {name: edge(value) for name, value in outputs.items()},
        {name: edge(edges[name]) for name in taps},
    )


def evaluate_raw(network: NetworkOp, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what every output holds, given what every input holds: integers or float32."""
    given = {network.inputs[name]: array for name, array in inputs.items()}
    found = run(network, given, list(network.outputs.values()))
    return {name: found[value] for name, value in network.outputs.items()}


def simulate(network: NetworkOp | ModuleOp, stimulus: Stimulus, taps: Sequence[str] = ()) -> Trace:
    """Run beats of integers through the network, in the cycles that its schedule predicts.

    Beats enter and leave at the edges of the network's hardware, by their names. Tapped edges
    have values but no cycles of their own here. Without a schedule: ``FML-NO-SCHEDULE``.
    """
    network = network_of(network)
    if network.latency is None or network.ii is None:
        raise FastmlError(
            "it has values but no cycles: nothing has scheduled it",
            network,
            code="FML-NO-SCHEDULE",
            hint="compile the model first",
        )
    names = {value: name for name, value in network.edges.items()}
    boundary = boundary_of(network)
    given: dict[SSAValue, Array] = {}
    for value in boundary.inputs:
        beats = stimulus.beats.get(names[value])
        if beats is None or len(beats) != stimulus.frames:
            message = f"has no beat for every frame at input '{names[value]}'"
            raise FastmlError(message, in_file("stimulus"), code="FML-STIMULUS")
        given[value] = beats.reshape(stimulus.frames, *frame_shape(value))
    for name in taps:
        if name not in network.edges:
            raise _unknown_edge(network, name)
    edges = network.edges
    found = run(network, given, [*boundary.outputs, *(edges[name] for name in taps)])
    cycles = stimulus.offer_cycles(network.ii.data)[:, None] + network.latency.data
    timeless = np.zeros((stimulus.frames, 0), np.int64)
    return Trace(
        {names[value]: Signal(_beats(found[value]), cycles) for value in boundary.outputs},
        {name: Signal(_beats(found[edges[name]]), timeless) for name in taps},
    )


def network_of(module: NetworkOp | ModuleOp) -> NetworkOp:
    """Return the one network of a module."""
    if isinstance(module, NetworkOp):
        return module
    networks = [op for op in module.ops if isinstance(op, NetworkOp)]
    if len(networks) != 1:
        raise FastmlError(f"needs exactly one network, got {len(networks)}", module)
    return networks[0]


def encode(
    network: NetworkOp, inputs: Mapping[str, NDArray[Any]], *, quantize_input: bool = False
) -> dict[str, Array]:
    """Return what every input holds for real tensors: raw integers, or float32."""
    if unknown := [name for name in inputs if name not in network.inputs]:
        known = ", ".join(network.inputs)
        raise _input_error(unknown[0], f"is not an input of the network; they are {known}")
    encoded: dict[str, Array] = {}
    for name, value in network.inputs.items():
        if name not in inputs:
            raise _input_error(name, "is missing")
        given = inputs[name]
        shape = frame_shape(value)
        if given.ndim == 0 or given.shape[1:] != shape:
            wanted = ", ".join(map(str, ("frames", *shape)))
            raise _input_error(name, f"has shape {given.shape}, not ({wanted})")
        if given.dtype.kind not in "fiub":
            raise _input_error(name, f"holds elements of type {given.dtype}")
        encoded[name] = _encode(name, value, given, quantize_input)
    if len({len(array) for array in encoded.values()}) > 1:
        raise _input_error(next(iter(encoded)), "differs from another input in its frames")
    return encoded


def _encode(name: str, value: SSAValue, given: NDArray[Any], quantize_input: bool) -> Array:
    with np.errstate(over="ignore"):
        real = np.asarray(given, np.float32)
    if given.dtype != np.float32 and not quantize_input:
        _require(name, given, _is_float32(given, real), "is not a float32 number")
    element = element_type(value)
    quantised = isinstance(element, QuantisedType)
    finite = ~np.isnan(real) if quantize_input and quantised else np.isfinite(real)
    _require(name, given, finite, "is not finite")
    if not quantised:
        return real
    if quantize_input:
        real = np.clip(real, -FARTHEST, FARTHEST)  # an infinity saturates, too
    raw, exact = element.encode(real[:, None] if shape_of(value)[:1] == (1,) else real)
    if not quantize_input:
        problem = f"is not on the grid of {element}, or out of its range"
        _require(name, given, np.asarray(exact).reshape(given.shape), problem)
    return raw.reshape(given.shape)


def _is_float32(given: NDArray[Any], real: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where ``real`` is the number that was given, and not a rounded one."""
    if given.dtype.kind == "b":
        return np.ones(given.shape, np.bool_)
    if given.dtype.kind == "f":
        return np.asarray(real.astype(given.dtype) == given)
    inside = real < np.float32(2.0 ** (8 * given.dtype.itemsize - (given.dtype.kind == "i")))
    back = np.where(inside, real, np.float32(0)).astype(given.dtype)
    return np.asarray(inside & (back == given))


def _require(name: str, given: NDArray[Any], good: NDArray[np.bool_], problem: str) -> None:
    if good.all():
        return
    where = np.argwhere(~good)[0].tolist()
    index = "".join(f"[{i}]" for i in where)
    hint = next((hint for key, hint in _HINTS.items() if key in problem), None)
    message = f"element {index}, {given[tuple(where)]}, {problem}"
    raise FastmlError(message, in_file(f"input '{name}'"), code="FML-INPUT", hint=hint)


def _input_error(name: str, problem: str) -> FastmlError:
    return FastmlError(problem, in_file(f"input '{name}'"), code="FML-INPUT")


def _unknown_edge(network: NetworkOp, name: str) -> FastmlError:
    return FastmlError(f"no edge is called '{name}'", network, code="FML-USAGE")


def _beats(values: Array) -> Integers:
    return narrow(integer_array(values.reshape(len(values), -1)))


def _decode_public(value: SSAValue, element: QuantisedType, raw: Array) -> NDArray[np.float32]:
    inner = raw.reshape(len(raw), *shape_of(value))
    return np.asarray(element.decode(inner), np.float32).reshape(raw.shape)
