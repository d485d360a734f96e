"""The timeline of a report: as text, as a drawing, of stages and of processes with FIFOs."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from xdsl.parser import Parser

import fastml
from fastml.compiler.driver import main
from fastml.compiler.flow_report import describe_flow
from fastml.compiler.pipelines import new_context
from fastml.compiler.timeline import draw_svg, draw_text
from fastml.runtime.qflow import graph_of

PULSES = Path(__file__).parents[2] / "examples" / "pulses.onnx"
FLOW = """
qflow.graph @net ["x"] -> ["y"] latency 12 ii 4 {
^bb0(%x: !qflow.channel<rv, 1, "0..3", 4>):
  %f = qflow.fifo "x.fifo"(%x) depth 2
      : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<rv, 1, "0..3", 4>
  %d = qflow.deserialise "d"(%f)
      : !qflow.channel<rv, 1, "0..3", 4> -> !qflow.channel<pulse, 4, "4 x 0..3">
  %g = qflow.fifo "d.fifo"(%d) depth DEPTH
      : !qflow.channel<pulse, 4, "4 x 0..3"> -> !qflow.channel<rv, 4, "4 x 0..3">
  %m = qflow.multiply "m"(%g, %g) {cycles = #fastml.array<"i64 4 : 3 3 3 3">,
          architecture = #qflow.folded<4>}
      : !qflow.channel<rv, 4, "4 x 0..3">, !qflow.channel<rv, 4, "4 x 0..3">
        -> !qflow.channel<pulse, 4, "4 x 0..9">
  %y = qflow.fifo "m.fifo"(%m) depth 3
      : !qflow.channel<pulse, 4, "4 x 0..9"> -> !qflow.channel<rv, 4, "4 x 0..9">
  qflow.yield %y : !qflow.channel<rv, 4, "4 x 0..9">
}"""


def flow(depth: int = 2) -> dict[str, Any]:
    text = FLOW.replace("DEPTH", str(depth))
    module = Parser(new_context(), text).parse_module()
    return describe_flow(graph_of(module))


def test_processes_fire_and_fifos_fill():
    report = flow()
    gather, multiply = report["processes"]
    assert gather["name"] == "d"
    assert (gather["firings"], gather["start_cycle"], gather["end_cycle"]) == (4, 1, 4)
    assert (gather["next_start_cycle"], gather["ii"]) == (5, 4)
    # The last beat of a frame comes in cycle 4; it is there in the next one.
    assert multiply["stages"] == ["m"]
    assert (multiply["start_cycle"], multiply["latency"], multiply["end_cycle"]) == (5, 3, 8)
    assert multiply["interval"] == 4
    assert [fifo["name"] for fifo in report["fifos"]] == ["x.fifo", "d.fifo", "m.fifo"]
    high = {fifo["name"]: (fifo["high_water"], fifo["depth"]) for fifo in report["fifos"]}
    assert high == {"x.fifo": (1, 2), "d.fifo": (1, 2), "m.fifo": (1, 3)}


def test_a_search_that_was_cut_short_is_told():
    report = flow()
    lines = draw_text({"name": "net", **report})
    told = "  the search for least depths was cut short: some may have slots to spare"
    assert told not in lines
    assert draw_text({"name": "net", **report, "spare_slots": True}) == [*lines, told]


def test_a_design_without_fifos_has_no_processes():
    assert describe_flow(fastml.compile(PULSES).graph) == {}


def report_of(layers: list[tuple[str, int | None, int | None]], ii: int | None) -> dict[str, Any]:
    return {
        "name": "net",
        "latency_cycles": 5,
        "ii": ii,
        "layers": [
            {"name": name, "kind": "dense", "start_cycle": start, "end_cycle": end}
            for name, start, end in layers
        ],
    }


def test_text_has_a_row_for_each_stage():
    lines = draw_text(report_of([("first", 0, 0), ("second one", 1, 3)], 2))
    assert lines == [
        "timeline  cycles 0 to 3 of the first frame",
        "  first       0..0  |######                  |",
        "  second one  1..3  |      ##################|",
    ]


def test_long_timelines_are_scaled():
    first, *rows = draw_text(report_of([("a", 0, 59), ("b", 60, 239)], 60))
    assert first.endswith("a character is 4 cycles")
    assert rows[0] == f"  a    0..59   |{'#' * 15}{' ' * 45}|"
    assert rows[1] == f"  b   60..239  |{' ' * 15}{'#' * 45}|"


def test_text_shows_processes_and_fifos_instead():
    report = report_of([("m", 0, 3)], 4) | flow()
    lines = draw_text(report)
    assert [line.split()[0] for line in lines[1:3]] == ["d", "m"]
    assert lines[1].endswith("II 4")
    assert lines[3].startswith("FIFOs")
    assert lines[-1] == "  m.fifo  1 of 3  |#..|"


def test_what_has_no_schedule_has_no_timeline():
    report = report_of([("a", None, None)], None)
    assert draw_text(report) == []
    ElementTree.fromstring(draw_svg(report))


def bars(svg: str) -> list[dict[str, str]]:
    root = ElementTree.fromstring(svg)
    return [dict(e.attrib) for e in root if e.tag.endswith("rect") and "rx" in e.attrib]


def test_drawing_is_to_scale():
    svg = draw_svg(report_of([("a", 0, 1), ("b", 2, 5)], 3))
    drawn = bars(svg)
    assert len(drawn) == 4  # two frames of two stages
    later = [bar for bar in drawn if bar.get("class") == "later"]
    first = [bar for bar in drawn if bar not in later]
    step = float(first[0]["width"]) / 2
    assert float(first[1]["width"]) == pytest.approx(4 * step, abs=0.2)
    assert float(first[1]["x"]) - float(first[0]["x"]) == pytest.approx(2 * step, abs=0.2)
    assert float(later[1]["x"]) - float(first[1]["x"]) == pytest.approx(3 * step, abs=0.2)
    assert len({bar["y"] for bar in drawn}) == 2


def test_drawing_shows_slots():
    svg = draw_svg(report_of([], 4) | flow())
    kinds = [bar.get("class") for bar in bars(svg)]
    assert kinds.count("taken") == 3
    assert kinds.count("slot") == 4
    assert svg == draw_svg(report_of([], 4) | flow())


def test_names_are_text_in_a_drawing():
    svg = draw_svg(report_of([("<b onload='x'>&\x1b[2J", 0, 0)], 1))
    texts = [e.text or "" for e in ElementTree.fromstring(svg) if e.tag.endswith("text")]
    assert any("<b onload='x'>&" in text for text in texts)
    assert "\x1b" not in svg


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    project, drawing = tmp_path / "p", tmp_path / "t.svg"
    fastml.compile(PULSES).write(project, "qflow")
    assert main(["report", str(project), "--svg", str(drawing)]) == 0
    said = capsys.readouterr().out
    assert "  output_sum     1..2  |      ############|\n" in said
    report = json.loads((project / "report.json").read_text())
    assert drawing.read_text() == draw_svg(report)
    assert main(["report", str(project), "--svg", str(tmp_path / "no" / "t.svg")]) == 2
