"""``fastmlc report``: what a build said of itself."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("project", metavar="DIR", type=Path, help="a folder made by compile")
    parser.add_argument("--json", action="store_true", help="print report.json")


def run(args: Namespace) -> int:
    """Print the report of a project."""
    report = _read(args.project)
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    from fastml.compiler.tables import print_table

    print(f"latency   {report['latency_cycles']} cycles of {report['clock_ns']} ns (exact)")
    print(f"II        {report['ii']} (exact)")
    if area := report["area"]:
        band = f", ±{area['error_band']:.0%} on LUTs" if "error_band" in area else ""
        band = f" (provenance: {area['provenance']}{band})"
        figures = ", ".join(f"{area[k]} {k.upper()}" for k in ("lut", "ff", "dsp", "bram"))
        print(f"area      {figures}{band}")
    if hls := report.get("hls"):
        print(f"HLS C++   {hls['flavour']}: {hls['status']}")
        for tool in hls.get("reports", []):
            print(f"          {_tool(tool)}")
    columns = ("name", "kind", "elements", "adders", "depth", "start_cycle", "end_cycle", "widths")
    rows = [tuple(_short(layer[column]) for column in columns) for layer in report["layers"]]
    print_table([column.replace("_", " ") for column in columns], rows)
    return 0


def _read(project: Path) -> dict[str, Any]:
    """Read the report of a project, with what tools have said of its C++ since."""
    from fastml.compiler.hls_reports import merge_reports, read_reports
    from fastml.compiler.project import MANIFEST, REPORT, read_json, render_json
    from fastml.compiler.tensors import write_atomically

    report = read_json(project / REPORT)
    if not report.get("hls"):
        return report
    top = str(read_json(project / MANIFEST)["hls"]["top"])
    merged = merge_reports(report, read_reports(project, top))
    if merged != report:
        write_atomically(project / REPORT, render_json(merged))
    return merged


def _tool(report: dict[str, Any]) -> str:
    """Describe what a tool said, in a line."""
    parts = [str(report["provenance"])]
    if "status" in report:
        parts.append(str(report["status"]))
    if "latency_max" in report:
        parts.append(f"latency {report['latency_min']}..{report['latency_max']}")
    if "ii_max" in report:
        parts.append(f"II {report['ii_max']}")
    if "clock_ns" in report:
        parts.append(f"{report['clock_ns']:.3g} ns")
    parts += [f"{value:g} {name.upper()}" for name, value in report.get("area", {}).items()]
    return f"{', '.join(parts)} ({report['file']})"


def _short(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 48 else f"{text[:45]}..."
