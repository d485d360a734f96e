"""Read what the vendors' tools say of a project back: area, latency, interval, clock.

Formats: ``csynth.xml`` and ``*_csynth.rpt`` of Vitis and Vivado HLS, ``*_cosim.rpt``,
``report_utilization`` of Vivado, the ``.ndjson`` tables of oneAPI (Quartus behind it), and
``rtl.rpt`` of Catapult. Every figure goes with the file that it comes from, and with a
provenance that says how much it is worth.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

from fastml.compiler.modules import read_text
from fastml.compiler.support.diagnostics import FastmlError, in_file

MAX_BYTES = 1 << 26
"""Largest report that is read."""
MAX_FILES = 10_000
"""Files of a project that are looked at."""
RANKING = (
    "post-route",
    "vivado-synth",
    "vitis-csynth",
    "vivado-csynth",
    "oneapi-estimate",
)
"""Provenances of an area, the best first."""


@dataclass(frozen=True)
class ToolReport:
    """What one report says; what it does not say is absent."""

    file: str
    """Path in the project."""
    provenance: str
    area: dict[str, float] = field(default_factory=dict[str, float])
    """Resources by the names of ``report.json``; ``bram`` in blocks of 18 kbit."""
    latency_min: int | None = None
    latency_max: int | None = None
    ii_min: int | None = None
    ii_max: int | None = None
    clock_ns: float | None = None
    """Period that the tool says is reached."""
    status: str | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """What is known, as data."""
        return {key: value for key, value in asdict(self).items() if value not in (None, {})}


def read_reports(project: Path, top: str) -> list[ToolReport]:
    """Read every report below ``project`` on the function ``top``, the best area first."""
    found = list[ToolReport]()
    for number, path in enumerate(sorted((project / "hls").rglob("*"))):
        if number >= MAX_FILES:
            break
        reader = _reader_of(path.name, top)
        if reader is None or not path.is_file() or path.is_symlink():
            continue
        name = path.relative_to(project).as_posix()
        text = read_text(path, MAX_BYTES)
        try:
            report = reader(name, text)
        except (KeyError, ValueError, IndexError, TypeError, ElementTree.ParseError) as error:
            raise FastmlError(
                f"is not a report that can be read: {error!r}",
                in_file(str(path)),
                code="FML-FILE",
                hint="remove it, or report the version of the tool that wrote it",
            ) from error
        if report is not None:
            found.append(report)
    return sorted(found, key=_rank)


def _rank(report: ToolReport) -> int:
    known = report.provenance in RANKING and "lut" in report.area
    return RANKING.index(report.provenance) if known else len(RANKING)


def merge_reports(report: dict[str, Any], found: Sequence[ToolReport]) -> dict[str, Any]:
    """Return ``report.json`` with what the tools said; the best area replaces the estimate."""
    if not found:
        return report
    merged = dict(report)
    entry: dict[str, Any] = dict(cast(Mapping[str, Any], report.get("hls") or {}))
    entry["reports"] = [tool.figures for tool in found]
    entry["status"] = "synthesised by a user's tool"
    merged["hls"] = entry
    best = found[0]
    if "lut" in best.area:
        blank = {"lut": 0, "ff": 0, "dsp": 0, "bram": 0}
        merged["area"] = {**blank, **best.area, "provenance": best.provenance}
    return merged


Reader = Callable[[str, str], ToolReport | None]


def _reader_of(name: str, top: str) -> Reader | None:
    for pattern, reader in _READERS:
        if re.fullmatch(pattern.replace("TOP", re.escape(top)), name):
            return reader
    return None


# --- Vitis and Vivado HLS --------------------------------------------------------------


def _parse_xml(text: str) -> ElementTree.Element:
    if "<!" in text.replace("<!--", ""):  # no entities: a report needs none
        raise ValueError("declarations in XML")
    return ElementTree.fromstring(text)


def _count(text: str | None) -> int | None:
    """Return a number of cycles; tools print ``?`` or ``undef`` where they know none."""
    return int(text) if text is not None and re.fullmatch(r"\d+", text.strip()) else None


_XILINX_RESOURCES = {
    "BRAM_18K": "bram",
    "DSP": "dsp",
    "DSP48E": "dsp",
    "FF": "ff",
    "LUT": "lut",
    "URAM": "uram",
}


def read_csynth_xml(name: str, text: str) -> ToolReport | None:
    """Read ``csynth.xml`` of the top function."""
    root = _parse_xml(text)
    if root.tag != "profile":
        return None
    latency = root.find("PerformanceEstimates/SummaryOfOverallLatency")
    clock = root.findtext("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod")
    resources = root.find("AreaEstimates/Resources")
    if latency is None or resources is None:
        return None
    old = resources.find("DSP48E") is not None  # Vitis HLS calls them DSP
    return ToolReport(
        name,
        "vivado-csynth" if old else "vitis-csynth",
        {
            _XILINX_RESOURCES[child.tag]: float(int(child.text or "0"))
            for child in resources
            if child.tag in _XILINX_RESOURCES
        },
        _count(latency.findtext("Best-caseLatency")),
        _count(latency.findtext("Worst-caseLatency")),
        _count(latency.findtext("Interval-min")),
        _count(latency.findtext("Interval-max")),
        None if clock is None else float(clock),
    )


def _rows(text: str) -> Iterable[list[str]]:
    """Yield the cells of every line of a text table."""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("|") and stripped.endswith("|"):
            yield [cell.strip() for cell in stripped[1:-1].split("|")]


def read_csynth_rpt(name: str, text: str) -> ToolReport | None:
    """Read ``*_csynth.rpt``: the summary tables of timing, latency and utilisation."""
    old = "vivado hls" in text[:2000].lower()
    summary: dict[str, Any] = {}
    header: list[str] = []
    area: dict[str, float] = {}
    for cells in _rows(text):
        if cells[0] == "Name" and "LUT" in cells:
            header = cells
        elif cells[0] == "Total" and header and not area:
            for column, cell in zip(header, cells, strict=True):
                if column in _XILINX_RESOURCES:
                    area[_XILINX_RESOURCES[column]] = float(_count(cell) or 0)
        elif len(cells) == 4 and cells[1].endswith(" ns") and "clock" not in summary:
            summary["clock"] = float(cells[2].removesuffix("ns"))
        elif len(cells) == 7 and "cycles" not in summary and all(map(str.strip, cells)):
            numbers = [_count(cells[k]) for k in (0, 1, 4, 5)]
            if cells[2].endswith("s") and numbers[0] is not None:
                summary["cycles"] = numbers
    if not area:
        return None
    cycles = summary.get("cycles", [None] * 4)
    provenance = "vivado-csynth" if old else "vitis-csynth"
    return ToolReport(name, provenance, area, *cycles, summary.get("clock"))


def read_cosim(name: str, text: str) -> ToolReport | None:
    """Read ``*_cosim.rpt``: status, latency and interval of the simulated RTL."""
    for cells in _rows(text):
        if cells[0] in ("VHDL", "Verilog") and cells[1].lower() in ("pass", "fail"):
            numbers = [_count(cell) for cell in cells[2:8]]
            numbers += [None] * (6 - len(numbers))
            return ToolReport(
                name,
                "cosim",
                {},
                numbers[0],
                numbers[2],
                numbers[3],
                numbers[5],
                None,
                cells[1].lower(),
            )
    return None


_UTILISATION = (
    (r"(CLB|Slice) LUTs\*?", "lut", 1.0),
    (r"(CLB|Slice) Registers", "ff", 1.0),
    (r"Block RAM Tile", "bram", 2.0),
    (r"DSPs", "dsp", 1.0),
    (r"URAM", "uram", 1.0),
)
"""Rows of ``report_utilization``; a tile of block memory is two of 18 kbit."""


def read_utilisation(name: str, text: str) -> ToolReport | None:
    """Read ``report_utilization`` of Vivado, after synthesis or after routing."""
    area: dict[str, float] = {}
    for cells in _rows(text):
        for pattern, resource, factor in _UTILISATION:
            if len(cells) > 1 and re.fullmatch(pattern, cells[0]) and resource not in area:
                area[resource] = factor * float(cells[1])
    if "lut" not in area:
        return None
    state = re.search(r"Design State\s*:\s*(.*)", text)
    routed = state is not None and "rout" in state[1].lower()
    return ToolReport(name, "post-route" if routed else "vivado-synth", area)


# --- oneAPI and Catapult ---------------------------------------------------------------

_INTEL = ("alut", "ff", "ram", "dsp", "mlab")
"""Columns of the oneAPI summary."""


def read_oneapi_summary(name: str, text: str) -> ToolReport | None:
    """Read ``summary.ndjson``: the estimate of the oneAPI compiler."""
    for line in text.splitlines():
        row: Any = json.loads(line) if line.strip() else {}
        if row.get("name") == "Total":
            cells = dict(zip(_INTEL, map(float, row["data"]), strict=False))
            area = {"lut": cells.pop("alut"), "bram": cells.pop("ram"), **cells}
            return ToolReport(name, "oneapi-estimate", area)
    return None


def read_oneapi_loops(name: str, text: str) -> ToolReport | None:
    """Read ``loop_attr.ndjson``: interval, latency and clock of the slowest loop."""
    loops = [
        row
        for row in (json.loads(line) for line in text.splitlines() if line.strip())
        if {"af", "ii", "lt"} <= set(row)
    ]
    intervals = [count for row in loops if (count := _count(str(row["ii"]))) is not None]
    if not loops:
        return None
    latency = max(int(float(row["lt"])) for row in loops)
    clock = 1000 / min(float(row["af"]) for row in loops)
    ii = max(intervals, default=None)
    return ToolReport(name, "oneapi-loops", {}, latency, latency, ii, ii, clock)


def read_quartus(name: str, text: str) -> ToolReport | None:
    """Read ``quartus.ndjson``: what the fitter placed and routed."""
    data = json.loads(text)
    nodes = data["quartusFitResourceUsageSummary"]["nodes"]
    node = nodes[-1]
    area = {
        key: float(str(node[column]).split("(")[0].replace(",", ""))
        for key, column in (
            ("lut", "alut"),
            ("alm", "alm"),
            ("ff", "reg"),
            ("dsp", "dsp"),
            ("bram", "ram"),
            ("mlab", "mlab"),
        )
        if column in node
    }
    clocks = data.get("quartusFitClockSummary", {}).get("nodes", [])
    clock = 1000 / float(clocks[0]["clock fmax"]) if clocks else None
    return ToolReport(name, "post-route", area, clock_ns=clock)


def read_catapult(name: str, text: str) -> ToolReport | None:
    """Read ``rtl.rpt`` of Catapult: area score, latency, throughput and slack."""
    score = re.search(r"Total Area Score\s*:?\s+([\d.]+)", text)
    design = re.search(r"Design Total:\s+(\d+)\s+(\d+)\s+(\d+)", text)
    if score is None and design is None:
        return None
    area = {} if score is None else {"score": float(score[1])}
    cycles: list[int | None] = [None, None]
    if design is not None:
        cycles = [int(design[2]), int(design[3])]
    return ToolReport(name, "catapult-rtl", area, cycles[0], cycles[0], cycles[1], cycles[1])


_READERS: Sequence[tuple[str, Reader]] = (
    (r"(TOP_)?csynth\.xml", read_csynth_xml),
    (r"TOP_csynth\.rpt", read_csynth_rpt),
    (r"TOP_cosim\.rpt", read_cosim),
    (r"vivado_synth\.rpt|\w*utilization\w*\.rpt", read_utilisation),
    (r"summary\.ndjson", read_oneapi_summary),
    (r"loop_attr\.ndjson", read_oneapi_loops),
    (r"quartus\.ndjson", read_quartus),
    (r"rtl\.rpt", read_catapult),
)
"""Name of a file, with the function that it is on, to what reads it."""
