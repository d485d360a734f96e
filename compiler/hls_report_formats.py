"""Formats of the reports that the vendors' tools write: a reader for each kind of file.

A reader takes what a file says of the whole design, and nothing else: no module below it, no
estimate of its own. It returns None where the file is not (yet) a report on it, and raises a
``ValueError``, ``LookupError``, ``TypeError``, ``AttributeError`` or ``ParseError`` where the
file is not in its format. Cycles that a tool does not know are left out.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias
from xml.etree import ElementTree


@dataclass(frozen=True)
class ToolReport:
    """What one report says; what it does not say is absent."""

    provenance: str
    area: Mapping[str, float] = field(default_factory=dict[str, float])
    """Resources by the names of ``report.json``; ``bram`` in blocks of 18 kbit (Intel: M20K)."""
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


Reader: TypeAlias = Callable[[str, str], ToolReport | None]
"""From the text of a file, and the name of the top function."""


def _number(text: object) -> float:
    """Return a finite number, an ``int`` where it is whole."""
    value = float(str(text).replace(",", ""))
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is no number")
    return int(value) if value.is_integer() else value


def _count(text: object) -> int | None:
    """Return a number of cycles; tools print ``?``, ``-``, ``NA`` or -1 where they know none."""
    found = re.fullmatch(r"\s*(\d{1,18})\s*", str(text))
    return None if found is None else int(found[1])


def _period(megahertz: object) -> float:
    """Return the period in ns of a clock of so many MHz."""
    frequency = _number(megahertz)
    if frequency <= 0:
        raise ValueError(f"'{megahertz}' is no frequency")
    return 1000 / frequency


def _rows(text: str) -> Iterable[list[str]]:
    """Yield the cells of every line of a text table."""
    for line in text.splitlines():
        stripped = line.strip()
        if len(stripped) > 1 and stripped.startswith("|") and stripped.endswith("|"):
            yield [cell.strip() for cell in stripped[1:-1].split("|")]


# --- Vitis and Vivado HLS --------------------------------------------------------------

_RESOURCES = {
    "BRAM_18K": "bram",
    "BRAM": "bram",
    "DSP": "dsp",
    "DSP48E": "dsp",
    "FF": "ff",
    "LUT": "lut",
    "URAM": "uram",
}


def _parse_xml(text: str) -> ElementTree.Element:
    """Parse XML that declares nothing: a report needs no entity, and none is expanded."""
    if re.search(r"<!(?!--|\[CDATA\[)", text):
        raise ValueError("it declares a document type")
    return ElementTree.fromstring(text)


def _resources(root: ElementTree.Element, path: str) -> dict[str, float]:
    return {
        _RESOURCES[child.tag]: _number(child.text)
        for child in root.findall(f"{path}/*")
        if child.tag in _RESOURCES
    }


def read_csynth_xml(text: str, top: str) -> ToolReport | None:
    """Read ``csynth.xml``, the estimate of the C synthesis."""
    root = _parse_xml(text)
    if root.findtext("UserAssignments/TopModelName", top).strip() != top:
        return None
    latency = root.find("PerformanceEstimates/SummaryOfOverallLatency")
    clock = root.findtext("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod")
    area = _resources(root, "AreaEstimates/Resources")
    if root.tag != "profile" or latency is None or "lut" not in area:
        raise ValueError("it has no latency or no resources")
    # Vitis HLS calls them DSP.
    old = root.find("AreaEstimates/Resources/DSP48E") is not None
    return ToolReport(
        "vivado-csynth" if old else "vitis-csynth",
        area,
        _count(latency.findtext("Best-caseLatency")),
        _count(latency.findtext("Worst-caseLatency")),
        _count(latency.findtext("Interval-min")),
        _count(latency.findtext("Interval-max")),
        None if clock is None else _number(clock),
    )


_TITLE = re.compile(r"^[ \t]*(?:\+|==) (Timing|Latency|Utilization Estimates|Detail)\b", re.M)


def read_csynth_rpt(text: str, top: str) -> ToolReport | None:
    """Read ``TOP_csynth.rpt``: the summary tables of timing, latency and utilisation."""
    sections = re.split(_TITLE, text)
    parts: dict[str, str] = {}
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        parts.setdefault(title, body)
    low, high, ii_low, ii_high = (None,) * 4
    for cells in _rows(parts.get("Latency", "")):
        if re.fullmatch(r"\d+|\?|-", cells[0]):  # before 2019, without absolute times
            low, high, ii_low, ii_high = (_count(cells[k]) for k in (0, 1, -3, -2))
            break
    clock = None
    for cells in _rows(parts.get("Timing", "")):
        estimate = cells[2].removesuffix("ns").strip()
        if re.fullmatch(r"[\d.]+", estimate):
            clock = _number(estimate)
            break
    header: list[str] = []
    for cells in _rows(parts.get("Utilization Estimates", "")):
        if cells[0] == "Name":
            header = cells
        elif cells[0] == "Total":
            named = zip(header, cells, strict=True)
            area = {_RESOURCES[name]: _used(cell) for name, cell in named if name in _RESOURCES}
            old = "DSP48E" in header
            provenance = "vivado-csynth" if old else "vitis-csynth"
            return ToolReport(provenance, area, low, high, ii_low, ii_high, clock)
    raise ValueError("it has no utilisation")


def _used(cell: str) -> float:
    """Return a resource of a cell, such as ``12``, ``6 (~0%)`` or ``-`` for none."""
    return 0 if cell == "-" else _number(cell.split("(")[0])


def read_csynth_summary(text: str, top: str) -> ToolReport | None:
    """Read ``csynth.rpt`` of Vitis HLS: one table of all modules, the top function first."""
    header: list[str] = []
    for cells in _rows(text):
        if cells[0] == "Modules":
            header = cells
        elif cells[0] == "& Loops":
            header = [f"{a} {b}".strip() for a, b in zip(header, cells, strict=True)]
        elif re.match(r"\+\s*\S", cells[0]) and "LUT" in header:
            if cells[0].lstrip("+ ").rstrip("*") != top:
                return None
            row = dict(zip(header, cells, strict=True))
            area = {_RESOURCES[name]: _used(row[name]) for name in row if name in _RESOURCES}
            latency, interval = _count(row["Latency (cycles)"]), _count(row["Interval"])
            return ToolReport("vitis-csynth", area, None, latency, None, interval)
    raise ValueError("it has no table of modules")


def read_cosim(text: str, top: str) -> ToolReport | None:
    """Read ``TOP_cosim.rpt``: status, latency and interval of the simulated RTL."""
    for cells in _rows(text):
        if cells[0] in ("VHDL", "Verilog") and cells[1].lower() in ("pass", "fail"):
            numbers = [_count(cell) for cell in cells[2:8]]
            numbers += [None] * (6 - len(numbers))
            low, _, high, ii_low, _, ii_high = numbers
            return ToolReport("cosim", {}, low, high, ii_low, ii_high, status=cells[1].lower())
    return None


def read_export_xml(text: str, top: str) -> ToolReport | None:
    """Read ``export_syn.xml`` or ``export_impl.xml``: what ``export_design`` had Vivado do."""
    root = _parse_xml(text)
    area = _resources(root, "AreaReport/Resources")
    if root.tag != "profile" or "lut" not in area:
        raise ValueError("it has no resources")
    routed = root.findtext("RunData/RUN_TYPE", "").strip().lower() == "impl"
    clock = root.findtext("TimingReport/AchievedClockPeriod", "NA").strip()
    return ToolReport(
        "post-route" if routed else "vivado-synth",
        area,
        clock_ns=None if clock == "NA" else _number(clock),
    )


# --- Vivado ----------------------------------------------------------------------------

_UTILISATION = (
    (r"(CLB|Slice) LUTs\*?", "lut", 1),
    (r"((CLB|Slice) )?Registers", "ff", 1),
    (r"Block RAM Tile", "bram", 2),
    (r"DSPs|DSP Slices", "dsp", 1),
    (r"URAM", "uram", 1),
)
"""Rows of ``report_utilization``; a tile of block memory is two of 18 kbit."""


def _vivado_provenance(text: str) -> str:
    """Return how far a design is, by the line ``Design State`` of every report of Vivado."""
    state = re.search(r"^\| Design State\s*:\s*(.*?)\s*$", text, re.M)
    words = "" if state is None else state[1].lower()
    if "routed" in words:
        return "post-route"
    return "post-place" if "placed" in words else "vivado-synth"


def read_utilisation(text: str, top: str) -> ToolReport | None:
    """Read ``report_utilization`` of Vivado, after synthesis, placing or routing."""
    area: dict[str, float] = {}
    for cells in _rows(text):
        for pattern, resource, factor in _UTILISATION:
            if len(cells) > 1 and re.fullmatch(pattern, cells[0]) and resource not in area:
                area[resource] = _number(factor * _number(cells[1]))
    if "lut" not in area:  # a table by modules, or one of other things
        return None
    return ToolReport(_vivado_provenance(text), area)


def read_timing(text: str, top: str) -> ToolReport | None:
    """Read ``report_timing_summary`` of Vivado: the period less the worst slack."""
    slack = re.search(r"^\s*WNS\(ns\).*\n[\s-]*\n\s*(\S+)", text, re.M)
    period = re.search(r"^\S+\s+\{[\d. -]+\}\s+([\d.]+)\s", text, re.M)
    if slack is None or period is None or slack[1] == "NA":  # nothing is constrained
        return None
    reached = round(_number(period[1]) - _number(slack[1]), 6)
    return ToolReport(_vivado_provenance(text), clock_ns=reached)


# --- Quartus and oneAPI ----------------------------------------------------------------

_INTEL = ("ALUTs", "FFs", "RAMs", "DSPs", "MLABs")
_INTEL_NAMES = {"ALUTs": "lut", "FFs": "ff", "RAMs": "bram", "DSPs": "dsp", "MLABs": "mlab"}
_FITTER = (
    ("lut", "alut"),
    ("alm", "alm"),
    ("ff", "reg"),
    ("dsp", "dsp"),
    ("bram", "ram"),
    ("mlab", "mlab"),
)


def _records(text: str) -> list[dict[str, Any]]:
    """Return the objects of ``.ndjson``: one after another, on a line each or laid out."""
    found: list[dict[str, Any]] = []
    decoder, place = json.JSONDecoder(), _skip_blanks(text, 0)
    while place < len(text):
        record, place = decoder.raw_decode(text, place)
        found.append(dict(record))
        place = _skip_blanks(text, place)
    return found


def _skip_blanks(text: str, place: int) -> int:
    found = re.compile(r"\s*").match(text, place)
    return place if found is None else found.end()


def read_oneapi_summary(text: str, top: str) -> ToolReport | None:
    """Read ``summary.ndjson``: the estimate of the oneAPI compiler."""
    columns: Sequence[str] = _INTEL
    for row in _records(text):
        if row.get("summary_type") == "estimatedResources":
            columns = [str(name).strip() for name in row["columns"][1:]]
        if row.get("name") == "Total" and row.get("parent", "estimatedResources").startswith(
            "estimated"
        ):
            named = zip(columns, row["data"], strict=True)
            area = {_INTEL_NAMES[n]: _number(v) for n, v in named if n in _INTEL_NAMES}
            return ToolReport("oneapi-estimate", area)
    return None


def read_oneapi_loops(text: str, top: str) -> ToolReport | None:
    """Read ``loop_attr.ndjson``: interval, latency and clock of the slowest loop."""
    loops = [row for row in _records(text) if {"af", "ii", "lt"} <= set(row)]
    if not loops:
        return None
    intervals = [count for row in loops if (count := _count(row["ii"])) is not None]
    latency = max(math.ceil(_number(row["lt"])) for row in loops)
    clock = max(_period(row["af"]) for row in loops)
    ii = max(intervals, default=None)
    return ToolReport("oneapi-loops", {}, latency, latency, ii, ii, clock)


def read_fitter(text: str, top: str) -> ToolReport | None:
    """Read ``quartus.ndjson`` or ``quartus_data.js``: what Quartus placed and routed."""
    data: dict[str, Any] = {}
    for record in _records(_json_of(text, "quartusJSON")):
        data |= record
    nodes: list[dict[str, Any]] = data["quartusFitResourceUsageSummary"]["nodes"]
    whole = [node for node in nodes if node.get("type") == "system"]
    node = (whole or nodes)[-1]
    if str(node["alm"]) in ("TBD", "N/A"):  # there before the fitter has run
        return None
    area = {name: _number(str(node[key]).split("(")[0]) for name, key in _FITTER if key in node}
    clocks: list[dict[str, Any]] = data["quartusFitClockSummary"]["nodes"]
    fmax = [clocks[0][key] for key in ("clock fmax", "kernel clock", "clock") if key in clocks[0]]
    return ToolReport("post-route", area, clock_ns=_period(fmax[0]) if fmax else None)


def _json_of(text: str, name: str) -> str:
    """Return the JSON that a script of JavaScript gives the variable ``name``."""
    found = re.search(rf"\bvar {name}\s*=\s*", text)
    return text if found is None else text[found.end() :].rstrip().removesuffix(";")


def read_quartus_area(text: str, top: str) -> ToolReport | None:
    """Read ``report_data.js`` of Intel's HLS compiler: its estimate of the area."""
    found = re.search(r"\bvar areaJSON\s*=\s*", text)
    if found is None:
        return None
    data, _ = json.JSONDecoder().raw_decode(text, found.end())
    area = dict(zip(_INTEL_NAMES.values(), map(_number, data["total"]), strict=True))
    return ToolReport("quartus-estimate", area)


def read_quartus_verification(text: str, top: str) -> ToolReport | None:
    """Read ``verification_data.js`` of Intel's HLS compiler: latency and interval, simulated."""
    found = re.search(r"\bvar verifJSON\s*=\s*", text)
    if found is None:
        return None
    data, _ = json.JSONDecoder().raw_decode(text, found.end())
    if not data["functions"]:
        return None
    _, latency, interval, *_ = data["functions"][0]["data"]
    low, high = (_count(value) for value in str(latency).split(",")[:2])
    ii_low, ii_high = (_count(value) for value in str(interval).split(",")[:2])
    return ToolReport("cosim", {}, low, high, ii_low, ii_high)


# --- Catapult --------------------------------------------------------------------------


def read_catapult(text: str, top: str) -> ToolReport | None:
    """Read ``rtl.rpt`` or ``cycle.rpt`` of Catapult: score of area, latency, throughput."""
    total = re.search(r"^\s*Design Total:((?:\s+-?\d+)+)", text, re.M)
    score = re.search(r"^\s*Total Area Score:(.*)$", text, re.M)
    delay = re.search(r"Critical Path\s*\n\s*Max Delay:\s+([\d.]+)", text)
    if total is None and score is None:
        return None
    # Scores come after scheduling, after the data path and after assignment, which counts.
    area = {} if score is None else {"score": _number(score[1].split()[-1])}
    latency, throughput = None, None
    if total is not None:
        latency, throughput = map(_count, total[1].split()[1:3])
    clock = None if delay is None else _number(delay[1])
    return ToolReport("catapult-rtl", area, latency, latency, throughput, throughput, clock)


READERS: Sequence[tuple[str, Reader]] = (
    (r"(TOP_)?csynth\.xml", read_csynth_xml),
    (r"TOP_csynth\.rpt", read_csynth_rpt),
    (r"csynth\.rpt", read_csynth_summary),
    (r"TOP_cosim\.rpt", read_cosim),
    (r"(TOP_)?export(_syn|_impl)?\.xml", read_export_xml),
    (r"vivado_synth\.rpt|\w*utilization\w*\.rpt", read_utilisation),
    (r"\w*timing\w*\.rpt", read_timing),
    (r"summary\.ndjson", read_oneapi_summary),
    (r"loop_attr\.ndjson", read_oneapi_loops),
    (r"quartus\.(nd)?json|quartus_data\.js", read_fitter),
    (r"report_data\.js", read_quartus_area),
    (r"verification_data\.js", read_quartus_verification),
    (r"(rtl|cycle)\.rpt", read_catapult),
)
"""Name of a file, with the function that it is on as ``TOP``, to what reads it."""
