"""Sources inside the simulator of `hw`: input beats that wait until the design is ready.

A source answers to the design's ready, so that it is part of the feedback: two numbers of
state, the beat that is next and the cycle from which it is presented. What it presents on
the data wires is looked up along time, outside feedback.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.bits import Words
from fastml.runtime.hw_netlist import Netlist, Node

VALID = "_valid"
READY = "_ready"
NEVER = 1 << 60
"""The cycle in which a source that has nothing more presents its next beat."""


@dataclass(frozen=True)
class Source:
    """Beats for one input port; see :class:`~fastml.runtime.trace.Stimulus`."""

    beats: Words
    """Packed, one row a beat."""
    waits: NDArray[np.int64]
    """Idle cycles before each."""
    start: int
    """The cycle in which the first beat is presented if it need not wait."""

    @property
    def first(self) -> int:
        """The cycle from which the first beat is presented."""
        return self.start + int(self.waits[0]) if len(self.waits) else NEVER


def close_loops(netlist: Netlist, ports: Iterable[str]) -> None:
    """Let sources drive ``ports`` of a netlist, beside what its inputs are given.

    The input wires keep their names for whoever watches them; the netlist's inputs are what
    the wires carry while the source presents nothing.
    """
    nodes = netlist.nodes
    for port in ports:
        valid, ready = netlist.inputs.get(port + VALID), netlist.outputs.get(port + READY)
        if valid is None or ready is None:
            raise FastmlError(f"there is no valid/ready port '{port}'", nodes[0].op)
        early = _outside(netlist, port + VALID)
        source = nodes[valid]
        source.kind, source.param = "source", port
        source.operands = (early, ready, valid)  # itself, since it is always feedback
        netlist.outputs[port + VALID] = valid
        if (data := netlist.inputs.get(port)) is not None:
            other = _outside(netlist, port)
            nodes[data].kind, nodes[data].param = "beat", port
            nodes[data].operands = (other, valid)


def _outside(netlist: Netlist, name: str) -> int:
    """Make a new node of an input's name; the old one is to be driven inside."""
    old = netlist.inputs[name]
    node = netlist.nodes[old]
    netlist.names.setdefault(name, old)
    netlist.inputs[name] = len(netlist.nodes)
    netlist.nodes.append(Node("input", node.width, node.op, name))
    return netlist.inputs[name]
