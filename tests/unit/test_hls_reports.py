"""Reports of the vendors' tools, written here in their formats, read back into ours."""

import json
import shutil
from pathlib import Path

import pytest

from fastml.compiler.driver import main
from fastml.compiler.hls_reports import ToolReport, merge_reports, read_reports
from fastml.compiler.support.diagnostics import FastmlError

CSYNTH_XML = """<profile>
<ReportVersion><Version>2023.2</Version></ReportVersion>
<UserAssignments><Part>xcvu13p-flga2577-2-e</Part><TopModelName>net</TopModelName>
<TargetClockPeriod>5.00</TargetClockPeriod></UserAssignments>
<PerformanceEstimates>
<SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>3.648</EstimatedClockPeriod>
</SummaryOfTimingAnalysis>
<SummaryOfOverallLatency><unit>clock cycles</unit><Best-caseLatency>9</Best-caseLatency>
<Average-caseLatency>9</Average-caseLatency><Worst-caseLatency>11</Worst-caseLatency>
<Interval-min>1</Interval-min><Interval-max>2</Interval-max></SummaryOfOverallLatency>
</PerformanceEstimates>
<AreaEstimates><Resources><BRAM_18K>4</BRAM_18K><DSP>3</DSP><FF>5120</FF><LUT>13777</LUT>
<URAM>0</URAM></Resources>
<AvailableResources><LUT>1728000</LUT></AvailableResources></AreaEstimates>
</profile>
"""
CSYNTH_RPT = """
================================================================
== Vitis HLS Report for 'net'
================================================================
* Date:           Mon Jan  1 00:00:00 2024

================================================================
== Performance Estimates
================================================================
+ Timing:
    * Summary:
    +--------+---------+----------+------------+
    |  Clock |  Target | Estimated| Uncertainty|
    +--------+---------+----------+------------+
    |ap_clk  |  5.00 ns|  4.310 ns|     0.62 ns|
    +--------+---------+----------+------------+

+ Latency:
    * Summary:
    +---------+---------+-----------+-----------+-----+-----+---------+
    |  Latency (cycles) |   Latency (absolute)  |  Interval | Pipeline|
    |   min   |   max   |    min    |    max    | min | max |   Type  |
    +---------+---------+-----------+-----------+-----+-----+---------+
    |        6|        7|  30.000 ns|  35.000 ns|    1|    1|      yes|
    +---------+---------+-----------+-----------+-----+-----+---------+

================================================================
== Utilization Estimates
================================================================
* Summary:
+-----------------+---------+------+---------+---------+-----+
|       Name      | BRAM_18K|  DSP |    FF   |   LUT   | URAM|
+-----------------+---------+------+---------+---------+-----+
|Expression       |        -|     -|        0|     9912|    -|
|Register         |        -|     -|     4102|        -|    -|
+-----------------+---------+------+---------+---------+-----+
|Total            |        2|     5|     4102|     9999|    0|
+-----------------+---------+------+---------+---------+-----+
|Available SLR    |     1344|  3072|   864000|   432000|  320|
+-----------------+---------+------+---------+---------+-----+
"""
COSIM = """
Simulation tool used: xsim
+----------+----------+-----------------------------------------------+-----------------+
|          |          |             Latency(Clock Cycles)             |
+   RTL    +  Status  +-----------------------------------------------+
|          |          |      min      |      avg      |      max      |
+----------+----------+-----------------------------------------------+
|      VHDL|        NA|             NA|             NA|             NA|
|   Verilog|      Pass|  6|  6|  8|  1|  1|  3|  70|
+----------+----------+-----------------------------------------------+
"""
VIVADO = """
| Tool Version : Vivado v.2023.2
| Design       : net
| Device       : xcvu13p
| Design State : STATE
1. CLB Logic
+----------------------------+------+-------+------------+-----------+-------+
|          Site Type         | Used | Fixed | Prohibited | Available | Util% |
+----------------------------+------+-------+------------+-----------+-------+
| CLB LUTs*                  | 8123 |     0 |          0 |   1728000 |  0.47 |
|   LUT as Logic             | 8120 |     0 |          0 |   1728000 |  0.47 |
| CLB Registers              | 2456 |     0 |          0 |   3456000 |  0.07 |
| Block RAM Tile             |  1.5 |     0 |          0 |      2688 |  0.06 |
| URAM                       |    0 |     0 |          0 |      1280 |  0.00 |
| DSPs                       |    7 |     0 |          0 |     12288 |  0.06 |
+----------------------------+------+-------+------------+-----------+-------+
"""
SUMMARY = "\n".join(
    json.dumps({"name": n, "data": d})
    for n, d in [("Total", [101, 202, 3, 4, 5]), ("Available", [9, 9, 9, 9, 9])]
)
LOOPS = "\n".join(
    [
        json.dumps({"name": "kernel", "af": "480.0", "ii": "1", "lt": "17.0"}),
        json.dumps({"name": "loop", "af": "500.0", "ii": "n/a", "lt": "5.0"}),
        json.dumps({"name": "block"}),
    ]
)
QUARTUS = json.dumps(
    {
        "quartusFitClockSummary": {"nodes": [{"name": "fmax", "clock fmax": "250.0"}]},
        "quartusFitResourceUsageSummary": {
            "nodes": [{"alm": "55", "alut": "1,090", "reg": "77", "dsp": "2", "ram": "6"}]
        },
    }
)
CATAPULT = """
  Process      Real Operation(s) count Latency Throughput Reset Length II Comments
  Design Total:                   2311       4          1            0  0
  Total Area Score:                5312.5
"""

CASES = {
    "net_prj/solution1/syn/report/net_csynth.xml": (
        CSYNTH_XML,
        {"lut": 13777, "ff": 5120, "dsp": 3, "bram": 4, "uram": 0},
        ("vitis-csynth", 9, 11, 1, 2, 3.648),
    ),
    "net_prj/solution1/syn/report/csynth.xml": (
        CSYNTH_XML.replace("DSP>", "DSP48E>"),
        {"lut": 13777, "ff": 5120, "dsp": 3, "bram": 4, "uram": 0},
        ("vivado-csynth", 9, 11, 1, 2, 3.648),
    ),
    "net_prj/solution1/syn/report/net_csynth.rpt": (
        CSYNTH_RPT,
        {"lut": 9999, "ff": 4102, "dsp": 5, "bram": 2, "uram": 0},
        ("vitis-csynth", 6, 7, 1, 1, 4.31),
    ),
    "net_prj/solution1/sim/report/net_cosim.rpt": (COSIM, {}, ("cosim", 6, 8, 1, 3, None)),
    "vivado_synth.rpt": (
        VIVADO.replace("STATE", "Synthesized"),
        {"lut": 8123, "ff": 2456, "dsp": 7, "bram": 3, "uram": 0},
        ("vivado-synth", None, None, None, None, None),
    ),
    "impl/net_utilization_routed.rpt": (
        VIVADO.replace("STATE", "Routed"),
        {"lut": 8123, "ff": 2456, "dsp": 7, "bram": 3, "uram": 0},
        ("post-route", None, None, None, None, None),
    ),
    "build/net.report.prj/reports/resources/json/summary.ndjson": (
        SUMMARY,
        {"lut": 101, "ff": 202, "bram": 3, "dsp": 4, "mlab": 5},
        ("oneapi-estimate", None, None, None, None, None),
    ),
    "build/net.report.prj/reports/resources/json/loop_attr.ndjson": (
        LOOPS,
        {},
        ("oneapi-loops", 17, 17, 1, 1, 1000 / 480),
    ),
    "build/net.fpga.prj/reports/resources/json/quartus.ndjson": (
        QUARTUS,
        {"lut": 1090, "alm": 55, "ff": 77, "dsp": 2, "bram": 6},
        ("post-route", None, None, None, None, 4.0),
    ),
    "net_prj/net.v1/rtl.rpt": (CATAPULT, {"score": 5312.5}, ("catapult-rtl", 4, 4, 1, 1, None)),
}


def place(project: Path, name: str, text: str) -> None:
    path = project / "hls" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", CASES)
def test_a_report_alone(name: str, tmp_path: Path):
    text, area, (provenance, *figures) = CASES[name]
    place(tmp_path, name, text)
    (found,) = read_reports(tmp_path, "net")
    assert found.file == f"hls/{name}"
    assert found.area == area
    assert found.provenance == provenance
    ours = [found.latency_min, found.latency_max, found.ii_min, found.ii_max, found.clock_ns]
    assert ours == figures
    assert found.status == ("pass" if provenance == "cosim" else None)


def test_reports_of_other_functions_and_files_are_left_alone(tmp_path: Path):
    place(tmp_path, "net_prj/dense_1_csynth.xml", CSYNTH_XML)
    place(tmp_path, "net_prj/dense_1_csynth.rpt", CSYNTH_RPT)
    place(tmp_path, "net_prj/csynth.log", CSYNTH_RPT)
    assert read_reports(tmp_path, "net") == []


def test_the_best_area_replaces_the_estimate(tmp_path: Path):
    estimate = {"lut": 1, "ff": 2, "dsp": 0, "bram": 0, "provenance": "estimate"}
    report = {"area": estimate, "hls": {"flavour": "vitis", "status": "emitted"}}
    assert merge_reports(report, []) == report
    order = ["net_prj/net_csynth.rpt", "vivado_synth.rpt", "impl/utilization.rpt"]
    texts = [CSYNTH_RPT, *(VIVADO.replace("STATE", s) for s in ("Synthesized", "Fully Routed"))]
    for name, text, provenance in zip(
        order, texts, ["vitis-csynth", "vivado-synth", "post-route"], strict=True
    ):
        place(tmp_path, name, text)
        merged = merge_reports(report, read_reports(tmp_path, "net"))
        assert merged["area"]["provenance"] == provenance
        assert merged["hls"]["flavour"] == "vitis"
    assert len(merged["hls"]["reports"]) == 3
    assert report["area"] is estimate


def test_a_score_of_catapult_is_no_number_of_luts():
    report = {"area": None, "hls": {}}
    found = [ToolReport("rtl.rpt", "catapult-rtl", {"score": 12.0}, 4, 4, 1, 1)]
    assert merge_reports(report, found)["area"] is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("csynth.xml", "<profile><open>"),
        ("csynth.xml", '<!DOCTYPE a [<!ENTITY b "c">]><profile/>'),
        ("csynth.xml", CSYNTH_XML.replace("13777", "many")),
        ("summary.ndjson", "{"),
        ("quartus.ndjson", "{}"),
        ("vivado_synth.rpt", VIVADO.replace("8123", "lots")),
    ],
)
def test_a_report_that_is_not_one_is_named(name: str, text: str, tmp_path: Path):
    place(tmp_path, name, text)
    with pytest.raises(FastmlError, match=rf"FML-FILE.*{name}"):
        read_reports(tmp_path, "net")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hls")
    examples = Path(__file__).parents[2] / "examples"
    model = str(next(examples.glob("*.onnx")))
    assert main(["compile", model, "-o", str(folder / "out"), "--emit", "hls"]) == 0
    return folder / "out"


def test_the_command_picks_them_up(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    shutil.copytree(project, out)
    assert main(["report", str(out)]) == 0
    assert "vitis: emitted, not synthesised" in capsys.readouterr().out
    manifest = json.loads((out / "manifest.json").read_text())
    top = manifest["hls"]["top"]
    place(out, f"{top}_prj/solution1/syn/report/{top}_csynth.xml", CSYNTH_XML)
    assert main(["report", str(out)]) == 0
    said = capsys.readouterr().out
    assert "13777 LUT" in said
    assert "vitis-csynth" in said
    stored = json.loads((out / "report.json").read_text())
    assert stored["area"]["provenance"] == "vitis-csynth"
    assert stored["hls"]["reports"][0]["latency_max"] == 11
