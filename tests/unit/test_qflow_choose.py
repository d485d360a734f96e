"""Contracts on whole designs: kept, or refused with what binds."""

from pathlib import Path

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

import fastml
from fastml.compiler.contract import check_area, check_time
from fastml.compiler.driver import main
from fastml.compiler.options import BuildOptions
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.qflow import ChannelType, DenseOp, FoldedAttr, GraphOp, YieldOp
from fastml.dialects.qflow_folded import Products
from fastml.lowering.qflow_choose import QflowChoose, candidates

EXAMPLES = Path(__file__).parents[2] / "examples"
PULSES = EXAMPLES / "pulses.onnx"  # 16 x 24 and 24 x 3: 384 and 72 products
DIGITS = EXAMPLES / "digits.onnx"  # 784 x 16 and 16 x 10: 12,544 and 160 products


def folded(design: fastml.Design) -> list[FoldedAttr]:
    """Return the architectures of the folded stages."""
    stages = [stage for stage in design.graph.stages if isinstance(stage, DenseOp)]
    return [s.architecture for s in stages if isinstance(s.architecture, FoldedAttr)]


def lanes(design: fastml.Design) -> int:
    """Return the number of lanes of all folded stages."""
    return sum(plan.groups.data * plan.lanes.data for plan in folded(design))


@pytest.mark.parametrize("most", [1, 3, 20, 100])
def test_multipliers_are_limited_and_the_interval_is_the_shortest(most: int):
    if most == 1:
        with pytest.raises(FastmlError, match="at least 2 hardware multipliers"):
            fastml.compile(PULSES, multipliers="dsp", max_dsp=1).module("qflow")
        return
    design = fastml.compile(PULSES, multipliers="dsp", max_dsp=most)
    assert lanes(design) <= most
    assert all(plan.products.data == Products.MULTIPLIER for plan in folded(design))
    assert design.ii is not None
    at_least = -(-(384 + 72) // most)
    assert at_least <= design.ii <= 1.2 * at_least + 12
    # a tenth less would need more of them, for the plans that there are
    limits = {"multipliers": "dsp", "max_dsp": most, "ii": design.ii * 9 // 10}
    with pytest.raises(FastmlError, match="FML-TARGET"):
        fastml.compile(PULSES, **limits).module("qflow")


def test_an_interval_is_kept_with_less_area_than_without():
    parallel, slow = fastml.compile(PULSES, max_lut=10**7), fastml.compile(DIGITS, ii=200)
    assert slow.ii is not None
    assert 1 < slow.ii <= 200
    assert folded(slow)
    assert not folded(parallel)
    assert parallel.ii == 1


def test_few_tables_make_a_slow_design():
    design = fastml.compile(PULSES, max_lut=4500)
    assert design.ii is not None
    assert design.ii > 1
    assert folded(design)


def test_what_binds_is_named():
    with pytest.raises(FastmlError) as caught:
        fastml.compile(PULSES, multipliers="dsp", max_dsp=4, ii=8).module("qflow")
    text = str(caught.value)
    assert "[FML-TARGET]" in text
    assert "cycles between two frames <= 8" in text
    assert "hardware multipliers <= 4" in text
    assert "for edge 'hidden_sum'" in text


def test_a_latency_that_only_unfolded_stages_keep():
    design = fastml.compile(PULSES, max_dsp=10**6, latency_cycles=40)
    assert design.latency is not None
    assert design.latency <= 40
    limits = {"multipliers": "dsp", "ii": 400, "latency_cycles": 3}
    with pytest.raises(FastmlError, match=r"cycles of latency <= 3.*at least"):
        fastml.compile(PULSES, **limits).module("qflow")


def test_a_single_product_has_a_price_too():
    channel = ChannelType.of((1,), np.array([-8]), np.array([7]))
    graph = GraphOp("one", {"x": channel}, ["y"])
    weight, bias = np.array([[5]]), np.array([0])
    stage = DenseOp("y", graph.body.block.args[0], weight, bias, (1,))
    graph.body.block.add_ops([stage, YieldOp([stage.result])])
    module = ModuleOp([graph])
    with pytest.raises(FastmlError, match="at least 1 hardware multipliers"):
        QflowChoose(max_dsp=0, multipliers="dsp").apply(Context(), module)
    with pytest.raises(FastmlError, match="at least 2 cycles between two frames"):
        QflowChoose(ii=1, multipliers="dsp").apply(Context(), module)
    QflowChoose(max_dsp=1, multipliers="dsp").apply(Context(), module)
    assert isinstance(stage.architecture, FoldedAttr)


def test_reuse_factors_that_are_tried_are_within_bounds():
    assert candidates(1, None) == []
    assert candidates(12, None) == [2, 3, 4, 6, 12]
    assert candidates(12, 3) == [2, 3]
    assert max(candidates(50_176, None)) == 50_176
    assert len(candidates(50_176, None)) < 100
    assert all(2 <= reuse <= 77 for reuse in candidates(50_176, 77))


def test_hardware_above_a_limit_is_refused():
    design = fastml.compile(PULSES)
    area = {"lut": 5000, "ff": 900, "dsp": 3, "bram": 1.5, "provenance": "estimate"}
    check_area(design.graph, area, BuildOptions(max_lut=5000, max_dsp=3, max_bram=2))
    check_area(design.graph, None, BuildOptions(max_lut=1))
    for limit in (BuildOptions(max_lut=4999), BuildOptions(max_dsp=2), BuildOptions(max_bram=1)):
        with pytest.raises(FastmlError, match="the hardware has"):
            check_area(design.graph, area, limit)


def test_time_above_a_limit_is_refused():
    design = fastml.compile(PULSES, reuse=24)
    check_time(design.graph, BuildOptions(ii=24, latency_cycles=design.latency))
    with pytest.raises(FastmlError, match="24 cycles, above the 23 of 'ii'"):
        check_time(design.graph, BuildOptions(ii=23))
    with pytest.raises(FastmlError, match="smaller reuse factor"):
        fastml.compile(PULSES, reuse=24, latency_cycles=24).module("qflow")


def test_a_choice_says_how_near_to_the_best_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = str(tmp_path / "build")
    given = ["--multipliers", "dsp", "--max-dsp", "20"]
    assert main(["compile", str(PULSES), "-o", folder, *given]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("DSP, 0 BRAM; folding: the best by estimated costs\n")
    assert printed.err == ""
    assert main(["compile", str(PULSES), "-o", folder]) == 0
    assert "folding" not in capsys.readouterr().out
