"""A network folded by any reuse factor: exact and on time at every level."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from own_network import OwnNetwork, own_network
from qonnx_builder import write_model

import fastml
from fastml import Design

LEVELS = ("qflow", "affine", "hw")
FRAMES = 24


@pytest.fixture(scope="module")
def network() -> OwnNetwork:
    return own_network()


@pytest.fixture(scope="module")
def model(network: OwnNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folded") / "own.onnx"
    write_model(network.model, path)
    return path


def check(design: Design, network: OwnNetwork, level: str, interval: int) -> None:
    """Compare outputs and every quantised edge with the network, cycles with the schedule."""
    inputs = network.sample(FRAMES, 3)
    idle = np.random.default_rng(5).integers(0, 4, FRAMES)
    idle[:4] = 0
    run = design.simulate(inputs, level, gaps=idle, taps=network.quantisers)
    network_run = design.simulate(inputs, "fastml", taps=network.quantisers)
    for name, expected in network_run.outputs.items():
        np.testing.assert_array_equal(run.outputs[name], expected)
    for name in network.quantisers:
        np.testing.assert_array_equal(run.tap[name], network_run.tap[name])
    assert design.ii == interval
    offered = np.concatenate([[0], np.cumsum(idle[1:] + interval)])
    np.testing.assert_array_equal(run.cycles, offered + design.latency)


@pytest.mark.parametrize("reuse", [1, 2, 3, 7, 64])
def test_every_level(model: Path, network: OwnNetwork, reuse: int) -> None:
    design = fastml.compile(model, input_type=network.input_types, reuse=reuse)
    for level in LEVELS:
        check(design, network, level, reuse)


@pytest.mark.parametrize("clock", [0, 1.5])
def test_other_clocks(model: Path, network: OwnNetwork, clock: float) -> None:
    """Without a clock period a fold takes a cycle, with a short one its parts take some."""
    types = network.input_types
    design = fastml.compile(model, input_type=types, reuse=5, clock_ns=clock)
    check(design, network, "hw", 5)


def test_mixed(model: Path, network: OwnNetwork) -> None:
    """Parallel and folded stages, skips around them with several frames in flight."""
    plain = fastml.compile(model, input_type=network.input_types)
    dense = [stage.edge.data for stage in plain.graph.stages if stage.name == "qflow.dense"]
    given = {dense[1]: 4, dense[2]: 9}
    design = fastml.compile(model, input_type=network.input_types, reuse_of=given)
    assert design.latency is not None
    assert design.latency > 2 * 9
    check(design, network, "affine", 9)
    check(design, network, "hw", 9)


def test_rtl(model: Path, network: OwnNetwork, require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    design = fastml.compile(model, input_type=network.input_types, reuse=7)
    check(design, network, "rtl", 7)
