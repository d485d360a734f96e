"""Published networks and the project's digits, folded: exact, as fast and as small as asked."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from zoo import JET_TAGGER, TFC_2W2A, UNSW, Network, hold_against_record

import fastml
from fastml import Design
from fastml.compiler.driver import main
from fastml.compiler.report import describe_layers
from fastml.compiler.support.diagnostics import FastmlError

LEVELS = ("fastml", "qflow", "affine", "hw")
DIGITS = Path(__file__).parents[2] / "examples" / "digits.onnx"


@pytest.fixture(scope="module")
def models(shared: Path) -> Path:
    return shared / "models"


@cache
def digits(reuse: int) -> Design:
    return fastml.compile(DIGITS, reuse=reuse)


@cache
def folded(network: Network, models: Path, reuse: int) -> Design:
    return network.compile(models, reuse=reuse)


def dense_layers(design: Design) -> list[dict[str, Any]]:
    return [layer for layer in describe_layers(design.graph) if layer["kind"] == "dense"]


def quantised(values: NDArray[Any], scale: float, low: int, high: int) -> NDArray[np.float64]:
    return np.clip(np.rint(values / scale), low, high) * scale


def digits_by_numpy(images: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Compute the network in double precision, which is exact: every scale is a power of two."""
    graph = onnx.ModelProto.FromString(DIGITS.read_bytes()).graph
    known = {t.name: np.asarray(numpy_helper.to_array(t), np.float64) for t in graph.initializer}

    def weights(layer: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scales = (float(known[f"{layer}_{kind}_scale"]) for kind in ("weights", "offset"))
        weight_scale, offset_scale = scales
        kernel = quantised(known[f"{layer}_kernel"], weight_scale, -127, 127)
        return kernel, quantised(known[f"{layer}_b"], offset_scale, -(1 << 15), (1 << 15) - 1)

    kernel, offset = weights("hidden")
    hidden = np.maximum(images @ kernel + offset, 0)
    hidden = quantised(hidden, float(known["hidden_scale"]), 0, 255)
    kernel, offset = weights("output")
    scale = float(known["logits_scale"])
    return {"hidden": hidden, "logits": quantised(hidden @ kernel + offset, scale, -2048, 2047)}


def hold_digits(reuse: int, level: str, frames: int) -> None:
    """Compare the hidden layer and the logits with NumPy, and the cycles with the schedule."""
    design = digits(reuse)
    images = np.random.default_rng(reuse).integers(0, 256, (frames, 784)) / np.float32(256)
    images[-1] *= np.arange(784) % 2  # half of it dark
    run = design.simulate(images, level, taps=["hidden"])
    expected = digits_by_numpy(images)
    np.testing.assert_array_equal(run.tap["hidden"], expected["hidden"])
    np.testing.assert_array_equal(run.outputs, expected["logits"])
    assert len(np.unique(expected["logits"])) > 5
    assert design.ii == reuse
    assert design.latency is not None
    np.testing.assert_array_equal(run.cycles, design.latency + reuse * np.arange(frames))


@pytest.mark.parametrize("level", [*LEVELS, "rtl"])
def test_digits(level: str, require_tool: Callable[[str], str]) -> None:
    if level == "rtl":
        require_tool("verilator")
    hold_digits(784, level, 2)


@pytest.mark.parametrize(
    ("reuse", "multipliers"),
    [(14, [896, 12]), (56, [224, 3]), (784, [16, 1]), (12544, [1, 1])],
)
def test_digits_have_no_multiplier_too_many(reuse: int, multipliers: list[int]) -> None:
    layers = dense_layers(digits(reuse))
    assert [layer["products"] for layer in layers] == [784 * 16, 16 * 10]
    assert [layer["reuse"] for layer in layers] == [reuse] * 2
    assert [layer["multipliers"] for layer in layers] == multipliers
    assert multipliers == [-(-layer["products"] // reuse) for layer in layers]


@pytest.mark.full
@pytest.mark.parametrize("level", [*LEVELS, "rtl"])
@pytest.mark.parametrize("reuse", [14, 56, 784, 12544])
def test_digits_at_every_reuse(reuse: int, level: str, require_tool: Callable[[str], str]) -> None:
    if level == "rtl":
        require_tool("verilator")
    hold_digits(reuse, level, 2 if reuse > 1000 else 16)


@pytest.mark.parametrize("level", LEVELS)
def test_jet_tagger(level: str, models: Path) -> None:
    hold_against_record(folded(JET_TAGGER, models, 8), JET_TAGGER, models, level, 40, 8)


@pytest.mark.full
@pytest.mark.parametrize("level", [*LEVELS, "rtl"])
@pytest.mark.parametrize(
    ("network", "reuse"),
    [*((TFC_2W2A, r) for r in (1, 8, 64, 784)), *((UNSW, r) for r in (1, 6, 75, 600))],
    ids=lambda value: value.name if isinstance(value, Network) else str(value),
)
def test_recorded_numbers(
    network: Network, reuse: int, level: str, models: Path, require_tool: Callable[[str], str]
) -> None:
    if level == "rtl":
        require_tool("verilator")
    frames = 256 if reuse < 10 else 32
    hold_against_record(folded(network, models, reuse), network, models, level, frames, reuse)


# What a layer costs


def test_a_fold_that_costs_more_is_said_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hundreds of multipliers weigh more than adders; at R = 784 there are few."""
    output = tmp_path / "out"
    command = ["compile", str(DIGITS), "-o", str(output), "--emit", "qflow", "--reuse"]
    assert main([*command, "14"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "hidden_sum" in line]
    assert line.startswith("warning[FML-COST] ")
    assert "edge 'hidden_sum' folded by 14 takes about " in line
    assert main(["report", str(output)]) == 0
    printed = capsys.readouterr().out
    assert line in printed
    assert "reuse  multipliers  architecture" in printed
    (row,) = [row for row in printed.splitlines() if row.split()[:2] == ["hidden_sum", "dense"]]
    assert row.split()[5:7] == ["14", "896"]
    assert main([*command, "784"]) == 0
    assert "hidden_sum" not in capsys.readouterr().err


# Contracts

CONTRACTS: dict[str, dict[str, Any]] = {
    "dsp": {"max_dsp": 32},
    "ii": {"ii": 8},
    "latency": {"latency_cycles": 40},
    "multipliers": {"multipliers": "dsp", "max_dsp": 32},
}
MOST = {"dsp": 32, "ii": 8, "latency": 40, "multipliers": 32}


@cache
def contracted(figure: str, models: Path) -> Design:
    return JET_TAGGER.compile(models, **CONTRACTS[figure])


@pytest.mark.parametrize("figure", CONTRACTS)
def test_contracts_are_kept(figure: str, models: Path) -> None:
    design = contracted(figure, models)
    assert design.ii is not None
    assert design.latency is not None
    hold_against_record(design, JET_TAGGER, models, "hw", 40, design.ii)
    layers = dense_layers(design)
    if figure == "multipliers":
        assert all(layer["reuse"] > 1 for layer in layers)
    found = {
        "dsp": design.report()["area"]["dsp"],
        "ii": design.ii,
        "latency": design.latency,
        "multipliers": sum(layer["multipliers"] for layer in layers),
    }
    assert found[figure] <= MOST[figure]


@pytest.mark.full
@pytest.mark.parametrize("figure", CONTRACTS)
def test_contracts_verify(figure: str, models: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    verification = contracted(figure, models).verify(vectors=200)
    assert verification.levels == (*LEVELS, "rtl")
    assert verification.counts.cycles > 0


def test_what_cannot_be_is_refused_with_what_binds(models: Path) -> None:
    with pytest.raises(FastmlError) as caught:
        JET_TAGGER.compile(models, multipliers="dsp", max_dsp=4, ii=8).module("qflow")
    text = str(caught.value)
    assert text.startswith("error[FML-TARGET] ")
    assert "with cycles between two frames <= 8 takes at least " in text
    assert "hardware multipliers <= 4" in text
    assert "for edge 'MatMul_1_out0'" in text
