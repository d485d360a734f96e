"""Compare what levels say of the host's share: fp32 work before and after the integers.

Every level carries it (a network as its own first and last operations, a lower level as an
:class:`~fastml.dialects.interface.Interface`), so that each can be run from its file alone.
Nothing in the integers would tell if two of them disagreed.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.array import integer_array
from fastml.dialects.fastml import element_type, shape_of
from fastml.dialects.grid import QuantisedType
from fastml.dialects.interface import Interface
from fastml.runtime.host import Host, frame_shape, slice_network
from fastml.runtime.levels import Level, NetworkLevel
from fastml.runtime.trace import Integers, Trace
from fastml.runtime.verify import Divergence

SAMPLES = 64


def hosts_of(levels: Mapping[str, Level], host: Host) -> dict[str, Host]:
    """Return the host's share as each level has it; of a network, cut at ``host``'s edges."""
    found = dict[str, Host]()
    for name, level in levels.items():
        own = _host_of_network(level, host) if isinstance(level, NetworkLevel) else level.host
        if own is not None:
            found[name] = own
    return found


def _host_of_network(level: NetworkLevel, host: Host) -> Host:
    network = level.network
    names = {value: name for name, value in network.edges.items()}
    outputs = [names[value] for value in network.outputs.values()]
    starts = [name for name in host.hardware_edges if name in network.edges]
    view = slice_network(network, outputs, starts)
    view.output_names = network.output_names
    prologue = slice_network(network, host.input_edges)
    return Host(Interface(prologue, view, host.interface.layouts))


def random_inputs(host: Host, seed: int) -> dict[str, NDArray[Any]]:
    """Return random numbers for every input of the model, on its grid if it has one."""
    rng = np.random.default_rng(seed)
    found = dict[str, NDArray[Any]]()
    for name, value in host.interface.prologue.inputs.items():
        shape, element = (SAMPLES, *frame_shape(value)), element_type(value)
        if isinstance(element, QuantisedType):
            raw = _uniform(*element.raw_range, (SAMPLES, *shape_of(value)), rng)
            found[name] = np.asarray(element.decode(raw), np.float32).reshape(shape)
        else:
            spread = 2.0 ** rng.integers(-4, 5, (SAMPLES,) + (1,) * (len(shape) - 1))
            found[name] = (rng.standard_normal(shape) * spread).astype(np.float32)
    return found


def _uniform(low: int, high: int, shape: tuple[int, ...], rng: np.random.Generator) -> Integers:
    """Return integers of any width."""
    size = high.bit_length() + 8
    drawn = [int.from_bytes(rng.bytes(size)) for _ in range(int(np.prod(shape)))]
    return integer_array(
        np.array([low + n % (high - low + 1) for n in drawn], object).reshape(shape)
    )


def compare_prologues(hosts: Mapping[str, Host], inputs: Mapping[str, NDArray[Any]]) -> None:
    """Raise :class:`Divergence` where two levels encode the same inputs differently."""
    beats = {name: host.encode(inputs) for name, host in hosts.items()}
    _compare(beats, "input edge")


def compare_epilogues(
    levels: Mapping[str, Level],
    hosts: Mapping[str, Host],
    beats: Mapping[str, Integers],
    traces: Mapping[str, Trace],
) -> None:
    """Raise :class:`Divergence` where two levels make different outputs of their integers.

    A network computes them in one go, so that nothing between its integers and its outputs
    can escape; NaNs count as equal, zeros of different sign do not.
    """
    found = dict[str, Mapping[str, NDArray[Any]]]()
    for name, host in hosts.items():
        level = levels[name]
        if isinstance(level, NetworkLevel):
            found[name] = level.outputs(beats)
        else:
            seen = {edge: signal.values for edge, signal in traces[name].outputs.items()}
            found[name] = host.decode({**beats, **seen})
    _compare(found, "the model's output")


def _compare(found: Mapping[str, Mapping[str, NDArray[Any]]], what: str) -> None:
    for (first, one), (second, other) in pairwise(found.items()):
        if one.keys() != other.keys():
            odd = ", ".join(sorted(one.keys() ^ other.keys()))
            message = f"{first} and {second} do not both have {what} {odd}"
            raise Divergence(message, levels=(first, second))
        for name, array in one.items():
            same = (array == other[name]) | ((array != array) & (other[name] != other[name]))
            if array.dtype.kind == "f":
                same &= (np.signbit(array) == np.signbit(other[name])) | (array != array)
            if not np.all(same):
                at = tuple(int(i) for i in np.argwhere(~same)[0])
                raise Divergence(
                    f"{first} and {second} disagree on {what} '{name}' {list(at[1:])}, frame "
                    f"{at[0]}: {array[at]} and {other[name][at]}",
                    levels=(first, second),
                    edge=name,
                    frame=at[0],
                )
