"""Reports of the vendors' tools, written here in their formats, read back into ours."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fastml.compiler.driver import main
from fastml.compiler.hls_report_formats import ToolReport
from fastml.compiler.hls_reports import EMITTED, FoundReport, merge_reports, read_reports
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
OLD_CSYNTH_RPT = """
== Vivado HLS Report for 'net'
+ Timing (ns):
    * Summary:
    +--------+-------+----------+------------+
    |  Clock | Target| Estimated| Uncertainty|
    +--------+-------+----------+------------+
    |ap_clk  |   5.00|     4.375|        0.62|
    +--------+-------+----------+------------+

+ Latency (clock cycles):
    * Summary:
    +-----+-----+-----+-----+----------+
    |  Latency  |  Interval | Pipeline |
    | min | max | min | max |   Type   |
    +-----+-----+-----+-----+----------+
    |   10|    ?|    1|    ?| function |
    +-----+-----+-----+-----+----------+

    + Detail:
        * Instance:
        |   99|   99|   99|   99| function |

== Utilization Estimates
* Summary:
+-----------------+---------+-------+--------+-------+
|       Name      | BRAM_18K| DSP48E|   FF   |  LUT  |
+-----------------+---------+-------+--------+-------+
|DSP              |        -|      -|       -|      -|
|Total            |        0|      7|      35|    198|
+-----------------+---------+-------+--------+-------+
"""
SUMMARY_RPT = """
== Synthesis Summary Report of 'net'
+ Performance & Resource Estimates:

    PS: '+' for module; 'o' for loop; '*' for dataflow
    +---------------+------+------+---------+--------+----------+---------+------+---------+
    |    Modules    | Issue|      | Latency | Latency| Iteration|         | Trip |         |\
      |          |             |            |     |
    |    & Loops    | Type | Slack| (cycles)|  (ns)  |  Latency | Interval| Count| Pipelined|\
 BRAM |    DSP   |      FF     |     LUT    | URAM|
    +---------------+------+------+---------+--------+----------+---------+------+---------+
    |+ net*         |     -|  0.10|        4|  20.000|         -|        1|     -|  dataflow|\
     -|   9 (~0%)|   1234 (~0%)|   5678 (1%)|    -|
    | + dense_1     |     -|  0.10|        2|  10.000|         -|        1|     -|       yes|\
     -|   9 (~0%)|    234 (~0%)|    678 (1%)|    -|
"""
COSIM = """
Simulation tool   : xsim.

+----------+----------+-----------------------------+-----------------------------+------+
|          |          |    Latency(Clock Cycles)    |    Interval(Clock Cycles)   | Total|
+   RTL    +  Status  +-----------------------------+-----------------------------+ Time +
|          |          |    min  |   avg   |   max   |   min   |   avg   |   max   |      |
+----------+----------+-----------------------------+-----------------------------+------+
|      VHDL|        NA|       NA|       NA|       NA|       NA|       NA|       NA|    NA|
|   Verilog|      Pass|        6|        6|        8|        1|        1|        3|    70|
+----------+----------+-----------------------------+-----------------------------+------+
"""
EXPORT = """<profile>
<RunData><RUN_TYPE>impl</RUN_TYPE><VIVADO_VERSION>2023.2</VIVADO_VERSION></RunData>
<TimingReport><TargetClockPeriod>5.000</TargetClockPeriod>
<AchievedClockPeriod>4.862</AchievedClockPeriod><TIMING_MET>TRUE</TIMING_MET></TimingReport>
<AreaReport><Resources><BRAM>2</BRAM><CLB>900</CLB><DSP>0</DSP><FF>8675</FF><LUT>10321</LUT>
<URAM>0</URAM></Resources><AvailableResources><LUT>1728000</LUT></AvailableResources></AreaReport>
</profile>
"""
TIMING = """
| Design       : net
| Design State : Routed
------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)
    -------      -------  ---------------------  -------------------      -------
     -0.125       -3.500                     30                  723        0.022

Clock   Waveform(ns)       Period(ns)      Frequency(MHz)
-----   ------------       ----------      --------------
ap_clk  {0.000 2.500}      5.000           200.000
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
    json.dumps(row)
    for row in [
        {"name": "compileInfo", "data": ["x"]},
        {"name": "Total", "data": [101, 202, 3, 4, 5]},
        {"name": "Available", "data": [9, 9, 9, 9, 9]},
    ]
)
NEW_SUMMARY = "\n".join(
    json.dumps(row)
    for row in [
        {"summary_type": "estimatedResources", "columns": ["", "FFs ", "ALUTs", "RAMs"]},
        {"parent": "performanceSummary", "name": "Total", "data": ["?"]},
        {"parent": "estimatedResources", "name": "Total", "data": ["1,202", "101", "3"]},
    ]
)
LOOPS = "\n".join(
    [
        json.dumps({"name": "kernel", "af": "480.0", "ii": "1", "lt": "17.0"}),
        json.dumps({"name": "loop", "af": "500.0", "ii": "n/a", "lt": "5.0"}),
        json.dumps({"name": "block"}),
    ]
)
FITTER = {
    "quartusFitClockSummary": {"nodes": [{"name": "fmax", "clock fmax": "250.0"}]},
    "quartusFitResourceUsageSummary": {
        "nodes": [
            {"type": "system", "alm": "55", "alut": "1,090", "reg": "77", "dsp": "2", "ram": "6"},
            {"type": "kernel", "alm": "5", "alut": "9", "reg": "7", "dsp": "0", "ram": "0"},
        ]
    },
}
EARLY = {
    "quartusFitClockSummary": {"nodes": [{"name": "fmax", "clock": "TBD"}]},
    "quartusFitResourceUsageSummary": {"nodes": [{"name": "net", "alm": "TBD", "reg": "TBD"}]},
}
TOTAL = {"name": "net", "total": [11, 22, 3, 4, 5], "total_percent": [0.1] * 5}
AREA_JS = f"var loopsJSON={{\n}};var areaJSON={json.dumps(TOTAL)};var fileJSON=[];"
CALLS = {"functions": [{"name": "net", "data": ["64", "9,12,10", "1,2,1"]}]}
VERIFICATION_JS = f"var verifJSON={json.dumps(CALLS)};"
CATAPULT = """
Processes/Blocks in Design
  Process      Real Operation(s) count Latency Throughput Reset Length II Comments
  ------------ ----------------------- ------- ---------- ------------ -- --------
  /net/core                       2311       3          1            0  1
  Design Total:                   2311       4          1            0  1

Area Scores
                    Post-Scheduling     Post-DP & FSM   Post-Assignment
  ----------------- ----------------- ----------------- -----------------
  Total Area Score:   5812.5            5500.0            5312.5

Timing Report
  Critical Path
    Max Delay:  1.735
"""

SYN = "net_prj/solution1/syn/report"
OLD = CSYNTH_XML.replace("DSP>", "DSP48E>")
INTEL = "build/net.fpga.prj/reports/resources/json"
CASES: dict[str, tuple[str, dict[str, float], tuple[Any, ...]]] = {
    f"{SYN}/net_csynth.xml": (
        CSYNTH_XML,
        {"lut": 13777, "ff": 5120, "dsp": 3, "bram": 4, "uram": 0},
        ("vitis-csynth", 9, 11, 1, 2, 3.648),
    ),
    f"{SYN}/csynth.xml": (
        OLD,
        {"lut": 13777, "ff": 5120, "dsp": 3, "bram": 4, "uram": 0},
        ("vivado-csynth", 9, 11, 1, 2, 3.648),
    ),
    f"{SYN}/net_csynth.rpt": (
        CSYNTH_RPT,
        {"lut": 9999, "ff": 4102, "dsp": 5, "bram": 2, "uram": 0},
        ("vitis-csynth", 6, 7, 1, 1, 4.31),
    ),
    "old/net_csynth.rpt": (
        OLD_CSYNTH_RPT,
        {"lut": 198, "ff": 35, "dsp": 7, "bram": 0},
        ("vivado-csynth", 10, None, 1, None, 4.375),
    ),
    f"{SYN}/csynth.rpt": (
        SUMMARY_RPT,
        {"lut": 5678, "ff": 1234, "dsp": 9, "bram": 0, "uram": 0},
        ("vitis-csynth", None, 4, None, 1, None),
    ),
    "net_prj/solution1/sim/report/net_cosim.rpt": (COSIM, {}, ("cosim", 6, 8, 1, 3, None)),
    "net_prj/solution1/impl/report/verilog/export_impl.xml": (
        EXPORT,
        {"lut": 10321, "ff": 8675, "dsp": 0, "bram": 2, "uram": 0},
        ("post-route", None, None, None, None, 4.862),
    ),
    "net_prj/solution1/impl/report/verilog/export_syn.xml": (
        EXPORT.replace(">impl<", ">syn<").replace("4.862", "NA"),
        {"lut": 10321, "ff": 8675, "dsp": 0, "bram": 2, "uram": 0},
        ("vivado-synth", None, None, None, None, None),
    ),
    "vivado_synth.rpt": (
        VIVADO.replace("STATE", "Synthesized"),
        {"lut": 8123, "ff": 2456, "dsp": 7, "bram": 3, "uram": 0},
        ("vivado-synth", None, None, None, None, None),
    ),
    "impl/net_utilization_placed.rpt": (
        VIVADO.replace("STATE", "Fully Placed").replace("CLB", "Slice"),
        {"lut": 8123, "ff": 2456, "dsp": 7, "bram": 3, "uram": 0},
        ("post-place", None, None, None, None, None),
    ),
    "impl/net_utilization_routed.rpt": (
        VIVADO.replace("STATE", "Fully Routed").replace("DSPs", "DSP Slices"),
        {"lut": 8123, "ff": 2456, "dsp": 7, "bram": 3, "uram": 0},
        ("post-route", None, None, None, None, None),
    ),
    "vivado_timing.rpt": (TIMING, {}, ("post-route", None, None, None, None, 5.125)),
    "build/net.report.prj/reports/resources/json/summary.ndjson": (
        SUMMARY,
        {"lut": 101, "ff": 202, "bram": 3, "dsp": 4, "mlab": 5},
        ("oneapi-estimate", None, None, None, None, None),
    ),
    f"{INTEL}/summary.ndjson": (
        NEW_SUMMARY,
        {"lut": 101, "ff": 1202, "bram": 3},
        ("oneapi-estimate", None, None, None, None, None),
    ),
    f"{INTEL}/loop_attr.ndjson": (LOOPS, {}, ("oneapi-loops", 17, 17, 1, 1, 1000 / 480)),
    f"{INTEL}/quartus.ndjson": (
        "\n".join(json.dumps({key: value}) for key, value in FITTER.items()),
        {"lut": 1090, "alm": 55, "ff": 77, "dsp": 2, "bram": 6},
        ("post-route", None, None, None, None, 4.0),
    ),
    "net-fpga.prj/reports/lib/json/quartus.json": (
        json.dumps(FITTER, indent=1),
        {"lut": 1090, "alm": 55, "ff": 77, "dsp": 2, "bram": 6},
        ("post-route", None, None, None, None, 4.0),
    ),
    "net-fpga.prj/reports/lib/quartus_data.js": (
        f"var quartusJSON={json.dumps(FITTER)};\n",
        {"lut": 1090, "alm": 55, "ff": 77, "dsp": 2, "bram": 6},
        ("post-route", None, None, None, None, 4.0),
    ),
    "net-fpga.prj/reports/lib/report_data.js": (
        AREA_JS,
        {"lut": 11, "ff": 22, "bram": 3, "dsp": 4, "mlab": 5},
        ("quartus-estimate", None, None, None, None, None),
    ),
    "net-fpga.prj/reports/lib/verification_data.js": (
        VERIFICATION_JS,
        {},
        ("cosim", 9, 12, 1, 2, None),
    ),
    "net_prj/net.v1/rtl.rpt": (
        CATAPULT,
        {"score": 5312.5},
        ("catapult-rtl", 4, 4, 1, 1, 1.735),
    ),
    "net_prj/net.v1/cycle.rpt": (
        CATAPULT.split("Area")[0].replace(" 4 ", "-1 "),
        {},
        ("catapult-rtl", None, None, 1, 1, None),
    ),
}
"""File, what it holds, the area that it says, and provenance, latency, interval and clock."""


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
    said = found.said
    assert said.area == area
    assert said.provenance == provenance
    ours = [said.latency_min, said.latency_max, said.ii_min, said.ii_max, said.clock_ns]
    assert ours == figures
    assert said.status == ("pass" if name.endswith("cosim.rpt") else None)
    json.dumps(found.figures)


def test_reports_of_other_functions_and_files_are_left_alone(tmp_path: Path):
    place(tmp_path, "net_prj/dense_1_csynth.xml", CSYNTH_XML)
    place(tmp_path, "net_prj/dense_1_csynth.rpt", CSYNTH_RPT)
    place(tmp_path, "net_prj/csynth.xml", CSYNTH_XML.replace(">net<", ">dense_1<"))
    place(tmp_path, "net_prj/csynth.rpt", SUMMARY_RPT.replace("net*", "else"))
    place(tmp_path, "net_prj/csynth.log", CSYNTH_RPT)
    place(tmp_path, "net_prj/.autopilot/db/csynth.xml", CSYNTH_XML)
    (tmp_path / "hls/vivado_synth.rpt").symlink_to(tmp_path / "hls/net_prj/csynth.log")
    assert read_reports(tmp_path, "net") == []


def test_files_that_tell_of_nothing_yet(tmp_path: Path):
    place(tmp_path, "a/quartus.ndjson", json.dumps(EARLY))
    place(tmp_path, "a/net_cosim.rpt", COSIM.replace("Pass", "NA"))
    place(tmp_path, "a/loop_attr.ndjson", "")
    place(tmp_path, "a/net_timing_routed.rpt", "Slack (MET) : 0.1ns")
    place(tmp_path, "a/vivado_timing.rpt", TIMING.replace("-0.125", "NA"))
    place(tmp_path, "a/net_utilization_hierarchical_routed.rpt", "| Instance | Module | LUTs |")
    assert read_reports(tmp_path, "net") == []


def test_the_same_figures_are_reported_once(tmp_path: Path):
    place(tmp_path, f"{SYN}/csynth.xml", CSYNTH_XML)
    place(tmp_path, f"{SYN}/net_csynth.xml", CSYNTH_XML)
    assert len(read_reports(tmp_path, "net")) == 1


def test_the_best_area_replaces_the_estimate_while_it_is_there(tmp_path: Path):
    estimate = {"lut": 1, "ff": 2, "dsp": 0, "bram": 0, "provenance": "estimate"}
    before: dict[str, Any] = {"area": estimate, "hls": {"flavour": "vitis", "status": EMITTED}}
    report = before
    assert merge_reports(report, []) == report
    states = ["Synthesized", "Fully Placed", "Fully Routed"]
    texts = [CSYNTH_RPT, *(VIVADO.replace("STATE", state) for state in states)]
    names = ["net_csynth.rpt", "vivado_synth.rpt", "b/utilization.rpt", "a/utilization.rpt"]
    ranks = ["vitis-csynth", "vivado-synth", "post-place", "post-route"]
    for name, text, provenance in zip(names, texts, ranks, strict=True):
        place(tmp_path, name, text)
        report = merge_reports(report, read_reports(tmp_path, "net"))
        assert report["area"]["provenance"] == provenance
        assert report["area"]["lut"] == (9999 if name == names[0] else 8123)
        assert report["hls"]["estimate"] is estimate
        assert report["hls"]["status"] != EMITTED
        assert report["hls"]["flavour"] == "vitis"
    assert len(report["hls"]["reports"]) == 4
    assert merge_reports(report, []) == before


def test_a_score_of_catapult_is_no_number_of_luts():
    report: dict[str, Any] = {"area": None, "hls": {}}
    found = [FoundReport("rtl.rpt", ToolReport("catapult-rtl", {"score": 12.0}, 4, 4, 1, 1))]
    assert merge_reports(report, found)["area"] is None


def test_what_the_fitter_does_not_say_is_unknown(tmp_path: Path):
    """Quartus counts ALMs; without its ALUTs there is no number of LUTs."""
    place(tmp_path, "quartus.ndjson", json.dumps(FITTER).replace('"alut"', '"other"'))
    area = merge_reports({"area": None, "hls": {}}, read_reports(tmp_path, "net"))["area"]
    assert area["lut"] is None
    assert area["alm"] == 55
    assert area["provenance"] == "post-route"


BOMB = """<?xml version="1.0"?>
<!DOCTYPE profile [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<profile><UserAssignments>&b;</UserAssignments></profile>
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("csynth.xml", "<profile><open>"),
        ("csynth.xml", BOMB),
        ("csynth.xml", '<!ENTITY b SYSTEM "file:///etc/passwd"><profile>&b;</profile>'),
        ("csynth.xml", CSYNTH_XML.replace("13777", "many")),
        ("csynth.xml", CSYNTH_XML.replace("13777", "nan")),
        ("csynth.xml", CSYNTH_XML.replace("SummaryOfOverallLatency", "Nothing")),
        ("csynth.rpt", CSYNTH_RPT),
        ("net_csynth.rpt", CSYNTH_RPT[: CSYNTH_RPT.index("|Total")]),
        ("net_csynth.rpt", CSYNTH_RPT.replace("|     5|     4102|", "|     5|")),
        ("export_impl.xml", "<profile/>"),
        ("summary.ndjson", "{"),
        ("summary.ndjson", "[" * 100_000),
        ("summary.ndjson", SUMMARY.replace("202, 3", "3")),
        ("loop_attr.ndjson", LOOPS.replace("480.0", "0")),
        ("quartus.ndjson", "{}"),
        ("quartus.ndjson", "[1]"),
        ("vivado_synth.rpt", VIVADO.replace("8123", "lots")),
        ("rtl.rpt", "Total Area Score:"),
    ],
)
def test_a_report_that_is_not_one_is_named(name: str, text: str, tmp_path: Path):
    place(tmp_path, name, text)
    with pytest.raises(FastmlError, match=rf"FML-FILE.*{name}"):
        read_reports(tmp_path, "net")


def test_a_report_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place(tmp_path, "vivado_synth.rpt", VIVADO)
    monkeypatch.setattr("fastml.compiler.hls_reports.MAX_BYTES", 100)
    with pytest.raises(FastmlError, match="more than 100 bytes"):
        read_reports(tmp_path, "net")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hls")
    examples = Path(__file__).parents[2] / "examples"
    model = str(examples / "pulses.onnx")
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
    text = CSYNTH_XML.replace(">net<", f">{top}<")
    place(out, f"{top}_prj/solution1/syn/report/{top}_csynth.xml", text)
    assert main(["report", str(out)]) == 0
    said = capsys.readouterr().out
    assert "area      13777 LUT, 5120 FF, 3 DSP, 4 BRAM (provenance: vitis-csynth)" in said
    assert "vitis-csynth, latency 9..11, II 1..2, 3.65 ns" in said
    assert "vitis-csynth" in said
    stored = json.loads((out / "report.json").read_text())
    assert stored["area"]["provenance"] == "vitis-csynth"
    assert stored["hls"]["reports"][0]["latency_max"] == 11
    assert main(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == stored
    shutil.rmtree(out / "hls" / f"{top}_prj")
    assert main(["report", str(out)]) == 0
    assert "emitted, not synthesised" in capsys.readouterr().out
