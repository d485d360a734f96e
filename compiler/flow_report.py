"""What a network of processes and FIFOs does: firings, depths, high-water marks."""

from typing import Any

import numpy as np

from fastml.dialects.qflow import GraphOp
from fastml.dialects.qflow_network import network_of
from fastml.dialects.qflow_processes import processes_of
from fastml.dialects.token_flow import Process, Times, simulate

FRAMES = 32
"""Frames, back-to-back, after which levels of FIFOs are taken to repeat."""
LONG_FRAMES = 4
"""The same for frames of many firings: they fill FIFOs sooner."""
FIRINGS = 1 << 22
"""Firings in all frames that are worth the time."""


def describe_flow(graph: GraphOp) -> dict[str, Any]:
    """Return the processes and the FIFOs of a streaming graph; nothing for another one.

    Times are those of frames that are offered back-to-back to the empty design, with every
    output taken at once.
    """
    if not graph.is_streaming or graph.ii is None:
        return {}
    network = network_of(graph)
    _, firings = network.capacities({source.name: source.beats for source in network.sources})
    frames = FRAMES if sum(firings.values()) * FRAMES <= FIRINGS else LONG_FRAMES
    waits = {s.name: np.zeros(s.beats * frames, np.int64) for s in network.sources}
    times = simulate(network, waits, at=graph)
    stages = {
        process.name: [op.edge.data for op in process.ops]
        for process in processes_of(graph.body.block).processes
    }
    return {
        "processes": [
            _process(process, times, frames, stages[process.name]) for process in network.processes
        ],
        **({"spare_slots": True} if graph.spare_slots is not None else {}),
        "fifos": [
            {
                "name": fifo.name,
                "depth": fifo.depth,
                "high_water": times.fifos[fifo.name].most_used,
                "most_held": times.fifos[fifo.name].most_held,
            }
            for fifo in network.fifos
        ],
    }


def _process(process: Process, times: Times, frames: int, stages: list[str]) -> dict[str, Any]:
    fired = times.fired[process.name]
    firings = len(fired) // frames
    latency = max((write.latency for write in process.writes), default=0)
    middle = frames // 2
    return {
        "name": process.name,
        "stages": stages,
        "firings": firings,
        "interval": process.interval,
        "latency": latency,
        "ii": int(fired[(middle + 1) * firings] - fired[middle * firings]),
        "start_cycle": int(fired[0]),
        "end_cycle": int(fired[firings - 1]) + latency,
        "next_start_cycle": int(fired[firings]),
        "reads": [read.fifo for read in process.reads],
        "writes": [write.fifo for write in process.writes],
    }
