"""Random graphs of one or two operators: exact at `fastml`, or refused with a code."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from operator_graphs import Array, OperatorGraph, judge, operator_graph, operators
from xdsl.context import Context

import fastml
from fastml.compiler.reader import read_onnx
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.fastml import NetworkOp
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate

QUICK = range(40)
ALL = range(2000)
STREAMS = range(200)
QUICK_STREAMS = range(3, 200, 40)
QUICK_PARALLEL = range(7, 200, 60)
RTL = range(200, 240)
QUICK_RTL = (202,)
REFUSALS = ("FML-IMP-ATTR", "FML-IMP-SHAPE", "FML-IMP-TYPE", "FML-GRID", "FML-UNQUANTISED")
Note = Callable[[str, object], None]


@pytest.fixture(scope="module", autouse=True)
def _tools(require_tool: Callable[[str], str]) -> None:
    require_tool("qonnx")
    require_tool("onnxruntime")


def run(graph: OperatorGraph, folder: Path) -> dict[str, Array]:
    """Return the real numbers of every edge of a graph at `fastml`."""
    module = read_onnx(graph.write(folder), dict(graph.input_types))
    InferGrids().apply(Context(), module)
    module.verify()
    (network,) = module.ops
    assert isinstance(network, NetworkOp)
    names = [name for node in graph.model.graph.node for name in node.output]
    taps = [name for name in names if name in network.edges]
    found = evaluate(network, graph.samples, taps)
    return {name: edge.real for name, edge in found.taps.items()}


def check(graph: OperatorGraph, folder: Path) -> dict[str, int]:
    """Judge a graph at `fastml`; return what was counted."""
    try:
        ours = run(graph, folder)
    except FastmlError as refusal:
        found = refusal
    else:
        verdict = judge(graph, ours)
        assert verdict.wrong == [], f"seed {graph.seed}: {graph.operators}"
        return {"graphs": 1, "elements": verdict.compared, "admitted": verdict.admitted}
    assert found.code in REFUSALS, str(found)
    assert "\n" not in str(found)
    return {"graphs": 1, f"refused {found.code}": 1}


@pytest.mark.parametrize("seed", QUICK)
def test_random_operators(seed: int, tmp_path: Path, record_property: Note) -> None:
    record_property("operator graphs", check(operator_graph(seed), tmp_path))


@pytest.mark.full
@pytest.mark.parametrize("block", range(0, len(ALL), 50))
def test_random_operators_of_all(block: int, tmp_path: Path, record_property: Note) -> None:
    for seed in ALL[block : block + 50]:
        record_property("operator graphs", check(operator_graph(seed), tmp_path))


def check_levels(
    graph: OperatorGraph, folder: Path, io: str, levels: Sequence[str]
) -> dict[str, int]:
    """Hold levels of hardware equal to `fastml`, which the referee has judged."""
    try:
        design = fastml.compile(graph.write(folder), input_type=graph.input_types, io=io)
        expected = design.simulate(graph.samples, "fastml").outputs
    except FastmlError as refusal:
        found = refusal
    else:
        for level in levels:
            outputs = design.simulate(graph.samples, level).outputs
            np.testing.assert_array_equal(outputs, expected, f"{level} of {graph.operators}")
        return {"graphs": 1}
    assert found.code in (*REFUSALS, "FML-STREAM"), str(found)
    return {"graphs": 1, f"refused {found.code}": 1}


@pytest.mark.parametrize("seed", QUICK_STREAMS)
def test_streams(seed: int, tmp_path: Path, record_property: Note) -> None:
    result = check_levels(operator_graph(seed), tmp_path, "stream", ("qflow", "hw"))
    record_property("operator graphs, streaming", result)


@pytest.mark.full
@pytest.mark.parametrize("block", range(0, len(STREAMS), 20))
def test_streams_of_all(block: int, tmp_path: Path, record_property: Note) -> None:
    for seed in STREAMS[block : block + 20]:
        result = check_levels(operator_graph(seed), tmp_path, "stream", ("hw",))
        record_property("operator graphs, streaming", result)


@pytest.mark.parametrize("seed", QUICK_PARALLEL)
def test_parallel(seed: int, tmp_path: Path, record_property: Note) -> None:
    result = check_levels(operator_graph(seed), tmp_path, "parallel", ("qflow", "hw"))
    record_property("operator graphs, in one beat", result)


def check_rtl(
    seed: int, folder: Path, require: Callable[[str], str], record_property: Note
) -> None:
    require("verilator")
    result = check_levels(operator_graph(seed), folder, "stream", ("rtl",))
    record_property("operator graphs, RTL", result)


@pytest.mark.parametrize("seed", QUICK_RTL)
def test_rtl(
    seed: int, tmp_path: Path, require_tool: Callable[[str], str], record_property: Note
) -> None:
    check_rtl(seed, tmp_path, require_tool, record_property)


@pytest.mark.full
@pytest.mark.parametrize("seed", RTL)
def test_rtl_of_all(
    seed: int, tmp_path: Path, require_tool: Callable[[str], str], record_property: Note
) -> None:
    check_rtl(seed, tmp_path, require_tool, record_property)


@pytest.mark.parametrize("name", sorted(operators()))
def test_every_operator_occurs(name: str, tmp_path: Path, record_property: Note) -> None:
    """A graph of each operator alone is read, not refused."""
    results = [check(operator_graph(10_000 + k, [name]), tmp_path) for k in range(6)]
    assert any("elements" in result for result in results), results
    for result in results:
        record_property("graphs of one operator", result)


def test_the_judge_watches_every_edge(tmp_path: Path) -> None:
    graph = operator_graph(2)
    ours = run(graph, tmp_path)
    assert judge(graph, ours).wrong == []
    for name in ours:
        changed = ours[name].copy()
        changed.flat[changed.size // 2] += np.float32(0.5)
        assert judge(graph, {**ours, name: changed}).wrong, name
