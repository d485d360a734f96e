"""A model whose weights are loaded at run time: load, run, load others, run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastml
from fastml import Design
from fastml.compiler.design import Run
from fastml.compiler.driver import main
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.qflow import CombineOp, DenseOp, ElementStageOp
from fastml.runtime.verilator import find_verilator

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = EXAMPLES / "pulses.onnx"
FRAMES, FIRST, SECOND = 16, 6, 11
REUSE = 8
ROW = 7
"""Input whose weight is changed."""


@pytest.fixture(scope="module")
def design() -> Design:
    return fastml.compile(MODEL, reuse=REUSE, weights="ram")


@pytest.fixture(scope="module")
def inputs() -> NDArray[Any]:
    with np.load(EXAMPLES / "pulses.npz") as file:
        return file["input"][:FRAMES]


def own_weights(design: Design) -> dict[str, NDArray[Any]]:
    """Return the weights of the model by the edge of their layer."""
    stages = [stage for stage in design.graph.stages if isinstance(stage, DenseOp)]
    return {stage.edge.data: stage.matrix.integers for stage in stages}


def expected(design: Design, beats: NDArray[Any], weights: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Compute the accumulators of the last layer with NumPy."""
    (entry,) = design.graph.inputs.values()
    found = {entry: beats}
    for stage in design.graph.stages:
        operands = [found[source] for source in stage.sources]
        match stage:
            case DenseOp():
                result = operands[0] @ weights[stage.edge.data] + stage.bias.integers
            case CombineOp():
                products = np.stack(operands) * stage.coefficients.integers[:, None]
                result = products.sum(axis=0) + stage.bias.integers
            case ElementStageOp():
                result = stage.evaluate(operands[0])
            case _:
                pytest.fail(f"the model has a stage '{stage.name}'")
        found[stage.result] = result
    return found[design.graph.stages[-1].result]


def test_load_run_load_run(design: Design, inputs: NDArray[Any]) -> None:
    rng = np.random.default_rng(8)
    own = own_weights(design)
    one = {edge: rng.integers(-16, 16, matrix.shape) for edge, matrix in own.items()}
    last = {"output_sum": rng.integers(-16, 16, own["output_sum"].shape)}
    beats = design.simulate(inputs, "qflow", taps=["converter"]).details.raw_tap["converter"]
    rows = beats.reshape(FRAMES, -1)
    parts = [(0, FIRST, own), (FIRST, SECOND, one), (SECOND, FRAMES, one | last)]
    answer = np.concatenate([expected(design, rows[a:b], weights) for a, b, weights in parts])
    assert design.latency is not None
    gaps = np.random.default_rng(2).integers(0, 3, FRAMES)
    gaps[[FIRST, SECOND]] = design.latency + max(matrix.size for matrix in own.values())
    cycles = np.concatenate([[0], np.cumsum(gaps[1:] + REUSE)]) + design.latency
    levels = ["qflow", "affine", "hw", *(["rtl"] if find_verilator() else [])]
    hidden = rows[FIRST:] @ one["hidden_sum"]

    def simulate(level: str, weights: dict[int, dict[str, NDArray[Any]]]) -> Run:
        return design.simulate(inputs, level, gaps=gaps, weights=weights, taps=["hidden_sum"])

    for level in levels:
        run = simulate(level, {FIRST: one, SECOND: last})
        np.testing.assert_array_equal(run.details.raw["output_sum"], answer)
        np.testing.assert_array_equal(run.cycles, cycles)
        sums = run.details.raw_tap["hidden_sum"].reshape(FRAMES, -1)
        np.testing.assert_array_equal(sums[FIRST:], hidden)
        other = {edge: matrix.copy() for edge, matrix in one.items()}
        other["hidden_sum"][ROW, 5] ^= 1
        run = simulate(level, {FIRST: other, SECOND: last})
        sums = run.details.raw_tap["hidden_sum"].reshape(FRAMES, -1)
        differs = sums[FIRST:] != hidden
        np.testing.assert_array_equal(differs[:, 5], rows[FIRST:, ROW] != 0)
        assert differs[:, 5].any()
        assert not np.delete(differs, 5, axis=1).any()


def test_it_is_the_model_until_others_are_loaded(design: Design) -> None:
    levels = ["fastml", "qflow", "affine", "hw", *(["rtl"] if find_verilator() else [])]
    found = design.verify(vectors=100, levels=levels)
    assert found.levels == tuple(levels)
    assert design.ii == REUSE


def test_a_project_says_how_to_load(design: Design, inputs: NDArray[Any], tmp_path: Path) -> None:
    import json

    design.write(tmp_path / "project")
    manifest = json.loads((tmp_path / "project" / "manifest.json").read_text())
    ports = {entry["name"]: entry for entry in manifest["weights"]}
    assert ports["hidden_sum"]["valid"] == "hidden_sum_weights_valid"
    assert ports["hidden_sum"]["words"] == REUSE
    assert sorted(set(ports["hidden_sum"]["order"])) == list(range(16 * 24))
    weights = {"hidden_sum": -own_weights(design)["hidden_sum"]}
    np.savez(tmp_path / "weights.npz", hidden_sum=weights["hidden_sum"])
    np.save(tmp_path / "x.npy", inputs)
    wanted = design.simulate(inputs, "qflow", weights=weights).outputs
    files = [str(tmp_path / name) for name in ("x.npy", "weights.npz", "y.npy")]
    arguments = ["run", str(tmp_path / "project"), "--level", "hw", "--input", files[0]]
    assert main([*arguments, "--load", files[1], "--output", files[2]]) == 0
    np.testing.assert_array_equal(np.load(files[2]), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "'ram' is for folded layers"),
        ({"reuse": 1}, "is not folded"),
        ({"reuse": 4, "io": "stream"}, "not available yet"),
        ({"reuse": 4, "multipliers": "logic"}, "only multipliers"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FastmlError, match=message):
        fastml.compile(MODEL, weights="ram", **options).module("qflow")


def test_who_knows_no_load_refuses_it(design: Design, inputs: NDArray[Any]) -> None:
    weights = own_weights(design)
    with pytest.raises(FastmlError, match="has the model's weights"):
        design.simulate(inputs, "fastml", weights=weights)
    with pytest.raises(FastmlError, match="without constant contents"):
        design.simulate(inputs, "csim")
    constant = fastml.compile(MODEL, reuse=REUSE)
    with pytest.raises(FastmlError, match="cannot be loaded"):
        constant.simulate(inputs, "hw", weights=weights)
