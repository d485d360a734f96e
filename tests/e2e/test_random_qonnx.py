"""Random QONNX graphs, judged by the QONNX executor, at every level."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from qonnx_builder import write_model
from qonnx_graphs import RandomGraph, random_graph
from qonnx_referee import Array, Judge, Verdict

import fastml
from fastml import Design

Tensors: TypeAlias = Mapping[str, Array]
FRAMES = 48
LEVELS = ("fastml", "qflow", "hw")
ALL = range(200)
QUICK = range(0, 200, 8)
RTL = range(5, 200, 10)
QUICK_RTL = range(5, 200, 75)
REQUIRED = (
    *["domain finn.custom_op.general", "domain onnx.brevitas", "domain qonnx.custom_op.general"],
    *["opset 9", "opset 11", "opset 13", "opset 14", "opset 15", "fixed batch"],
    *["Quant", "IntQuant", "BipolarQuant", "MatMul", "Gemm", "Gemm alpha", "Gemm beta", "Dropout"],
    *["rounding ROUND", "rounding HALF_EVEN", "rounding CEIL", "rounding FLOOR", "rounding UP"],
    *["rounding DOWN", "rounding HALF_UP", "rounding HALF_DOWN", "signed", "unsigned", "narrow"],
    *["1 bit", "2 bit", "3 bit", "4 bit", "5 bit", "6 bit", "8 bit", "weights 1 bit"],
    *["bipolar weights", "weight zero point", "activation zero point", "quantised bias"],
    *["weight scale per channel", "activation scale per channel", "weight scale any"],
    *["BatchNormalization", "negative gamma", "Relu", "Mul by a constant", "Div by a constant"],
    *["constant minus tensor", "fork", "join", "Add of two tensors", "Sub of two tensors"],
    *["join on one arbitrary scale", "tensor joined with itself", "skip around a dense layer"],
    *["Mul of two tensors", "Concat", "Reshape", "Transpose", "Flatten", "shape sub-graph"],
    *["several inputs", "several outputs", "output that is also read", "real output"],
    *["input real", "host prologue", "input bipola", "requantise", "dense on a matrix"],
    *["dense on an exact sum"],
)


@pytest.fixture(scope="module", autouse=True)
def _tools(require_tool: Callable[[str], str]) -> None:
    require_tool("qonnx")
    require_tool("onnxruntime")


def test_the_graphs_hold_what_exporters_write() -> None:
    found = Counter(feature for seed in ALL for feature in random_graph(seed).features)
    assert [feature for feature in REQUIRED if found[feature] < 3] == []


def judge(graph: RandomGraph, taps: Tensors, outputs: Tensors) -> Verdict:
    """Judge values of ours at the batch that the graph has."""
    frames = 1 if graph.batch == 1 else FRAMES
    judge = Judge(graph.model, graph.shapes, frames)
    inputs = graph.sample(FRAMES, seed=0)
    verdict = Verdict()
    # One sample at a time is slow: a third of them will do where the batch is fixed.
    for start in range(0, FRAMES if frames > 1 else FRAMES // 3, frames):
        part = slice(start, start + frames)
        tables = [{n: a[part] for n, a in table.items()} for table in (inputs, taps, outputs)]
        verdict.add(judge.judge(*tables))
    return verdict


def compiled(graph: RandomGraph, folder: Path) -> Design:
    path = write_model(graph.model, folder / "graph.onnx")
    return fastml.compile(path, input_type=graph.input_types)


def execute(graph: RandomGraph, design: Design, level: str) -> tuple[Tensors, Tensors]:
    """Return the quantisers' and the model's outputs; the cycles must be as predicted."""
    result = design.simulate(graph.sample(FRAMES, seed=0), level, taps=graph.quantisers)
    names = [info.name for info in graph.model.graph.output]
    found: Any = result.outputs
    outputs: dict[str, Array] = found if len(names) > 1 else {names[0]: found}
    assert list(outputs) == names
    assert design.latency is not None
    np.testing.assert_array_equal(result.cycles, design.latency + np.arange(FRAMES))
    return {name: result.tap[name] for name in graph.quantisers}, outputs


def run(graph: RandomGraph, folder: Path, levels: Sequence[str]) -> Verdict:
    """Judge a graph at the first level; the others must give the same numbers."""
    design = compiled(graph, folder)
    first = execute(graph, design, levels[0])
    verdict = judge(graph, *first)
    for level in levels[1:]:
        for same, ours in zip(first, execute(graph, design, level), strict=True):
            for name, array in ours.items():
                np.testing.assert_array_equal(array, same[name], f"{level} {name}")
    assert verdict.wrong == [], f"seed {graph.seed}"
    return verdict


def check(seed: int, folder: Path, levels: Sequence[str], note: Callable[[str, object], None]):
    verdict = run(random_graph(seed), folder, levels)
    assert verdict.compared + verdict.real_compared > 0
    note(
        "qonnx graphs",
        {
            "graphs": 1,
            "quantiser outputs": verdict.compared,
            "admitted ties": verdict.admitted,
            "real outputs": verdict.real_compared,
            "rounded otherwise": verdict.real_rounded,
        },
    )


@pytest.mark.parametrize("seed", QUICK)
def test_levels(seed: int, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(seed, tmp_path, LEVELS, record_property)


@pytest.mark.full
@pytest.mark.parametrize("seed", [seed for seed in ALL if seed not in QUICK])
def test_levels_of_all(
    seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    check(seed, tmp_path, LEVELS, record_property)


@pytest.mark.parametrize("seed", QUICK_RTL)
def test_rtl(
    seed: int,
    tmp_path: Path,
    require_tool: Callable[[str], str],
    record_property: Callable[[str, object], None],
) -> None:
    require_tool("verilator")
    check(seed, tmp_path, ("rtl", "hw"), record_property)


@pytest.mark.full
@pytest.mark.parametrize("seed", [seed for seed in RTL if seed not in QUICK_RTL])
def test_rtl_of_more(
    seed: int,
    tmp_path: Path,
    require_tool: Callable[[str], str],
    record_property: Callable[[str, object], None],
) -> None:
    require_tool("verilator")
    check(seed, tmp_path, ("rtl", "hw"), record_property)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[RandomGraph, Tensors, Tensors]:
    """A graph, and what we make of it."""
    graph = random_graph(0)
    design = compiled(graph, tmp_path_factory.mktemp("judge"))
    taps, outputs = execute(graph, design, "fastml")
    assert judge(graph, taps, outputs).wrong == []
    return graph, taps, outputs


def test_the_judge_watches_every_quantiser(sound: tuple[RandomGraph, Tensors, Tensors]) -> None:
    graph, taps, outputs = sound
    for name, array in taps.items():
        changed = array.copy()
        other = np.unique(array[array != changed.flat[7]])[:1]
        changed.flat[7] = other[0] if other.size else changed.flat[7] + 1
        verdict = judge(graph, {**taps, name: changed}, outputs)
        assert any(name in text for text in verdict.wrong), name


def test_the_judge_watches_the_outputs(sound: tuple[RandomGraph, Tensors, Tensors]) -> None:
    graph, taps, outputs = sound
    for name, array in outputs.items():
        changed = array.copy()
        changed.flat[3] += 1
        verdict = judge(graph, taps, {**outputs, name: changed})
        assert any(name in text for text in verdict.wrong), name
