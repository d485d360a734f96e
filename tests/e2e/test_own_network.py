"""A network with a fork, a join of unequal branches, two inputs and outputs; values and cycles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from own_network import CLASSES, DECISION, OwnNetwork, own_network
from qonnx_builder import write_model
from qonnx_referee import Judge

import fastml
from fastml import Design

LEVELS = ("fastml", "qflow", "affine", "hw")
FRAMES = 200
CLOCKS = (5.0, 1.5)


@pytest.fixture(scope="module")
def network() -> OwnNetwork:
    return own_network()


@pytest.fixture(scope="module", params=CLOCKS, ids=lambda c: f"{c} ns")
def design(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Design:
    clock: float = request.param
    graph = own_network()
    path = tmp_path_factory.mktemp("own") / "own.onnx"
    write_model(graph.model, path)
    return fastml.compile(path, input_type=graph.input_types, clock_ns=clock)


def gaps_of(kind: str) -> np.ndarray:
    if kind == "back to back":
        return np.zeros(FRAMES, np.int64)
    return np.random.default_rng(4).integers(0, 6, FRAMES)


@pytest.mark.parametrize("gaps", ["back to back", "random gaps"])
@pytest.mark.parametrize("level", [*LEVELS, "rtl"])
def test_values_and_cycles(
    design: Design,
    network: OwnNetwork,
    level: str,
    gaps: str,
    require_tool: Callable[[str], str],
) -> None:
    require_tool("qonnx")
    if level == "rtl":
        require_tool("verilator")
    inputs, idle = network.sample(FRAMES, 1), gaps_of(gaps)
    run = design.simulate(inputs, level, gaps=idle, taps=network.quantisers)
    verdict = Judge(network.model, network.shapes, FRAMES).judge(inputs, run.tap, run.outputs)
    assert verdict.wrong == []
    assert verdict.admitted + verdict.real_rounded == 0, "every scale is a power of two"
    assert verdict.compared == FRAMES * sum(network.shapes[q][0] for q in network.quantisers)
    assert design.latency is not None
    offered = np.concatenate([[0], np.cumsum(idle[1:] + 1)])
    np.testing.assert_array_equal(run.cycles, offered + design.latency)


def test_the_branches_take_unequal_time(design: Design, network: OwnNetwork) -> None:
    """Else there would be nothing to balance."""
    trace = design.simulate(network.sample(4, 0), "hw", taps=[network.deep, network.shallow])
    timing = trace.details.timing
    assert timing is not None
    deep, shallow = (timing.taps[name].cycles[0].max() for name in (network.deep, network.shallow))
    assert deep >= shallow + (2 if design.options.clock_ns < 2 else 1)
    assert design.latency is not None
    assert design.latency >= deep
    assert list(trace.outputs) == [CLASSES, DECISION]


def test_verify(design: Design, require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    verification = design.verify(vectors=400, seed=3)
    assert verification.levels == (*LEVELS, "rtl")
    assert verification.coverage.toggled > 0.95 * verification.coverage.bits


def test_a_shorter_clock_takes_more_cycles(network: OwnNetwork, tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    write_model(network.model, path)
    latency: list[int] = []
    for clock in (1.5, 5.0, 1000.0):
        design = fastml.compile(path, input_type=network.input_types, clock_ns=clock)
        latency.append(design.latency or 0)
    assert latency[0] > latency[1] > latency[2] == 0
