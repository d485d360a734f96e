"""``fastmlc report``: what a build said of itself."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("project", metavar="DIR", type=Path, help="a folder made by compile")
    parser.add_argument("--json", action="store_true", help="print report.json")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw the timeline of stages")


def run(args: Namespace) -> int:
    """Print the report of a project."""
    from fastml.compiler.timeline import draw_svg, draw_text

    report = _read(args.project)
    if args.svg is not None:
        from fastml.compiler.tensors import write_atomically

        write_atomically(args.svg, draw_svg(report).encode())
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    from fastml.compiler.tables import print_table

    print(f"latency   {report['latency_cycles']} cycles of {report['clock_ns']} ns (exact)")
    print(f"II        {report['ii']} (exact)")
    if area := report["area"]:
        band = f", ±{area['error_band']:.0%} on LUTs" if "error_band" in area else ""
        band = f" (provenance: {area['provenance']}{band})"
        known = [(k, area[k]) for k in ("lut", "ff", "dsp", "bram") if area[k] is not None]
        figures = ", ".join(f"{count} {name.upper()}" for name, count in known)
        print(f"area      {figures}{band}")
    if hls := report.get("hls"):
        print(f"HLS C++   {hls['flavour']}: {hls['status']}")
        for tool in hls.get("reports", []):
            print(f"          {_tool(tool)}")
    for warning in report.get("warnings", []):
        print(warning["text"])
    columns = ("name", "kind", "elements", "adders", "depth", "start_cycle", "end_cycle", "widths")
    folding = ("reuse", "multipliers", "architecture")
    if any(layer.get("reuse", 1) > 1 for layer in report["layers"]):
        columns = (*columns[:5], *folding, *columns[5:])
    rows = [tuple(_short(layer.get(column)) for column in columns) for layer in report["layers"]]
    print_table([column.replace("_", " ") for column in columns], rows)
    for line in draw_text(report):
        print(line)
    return 0


def _read(project: Path) -> dict[str, Any]:
    """Read the report of a project, with what tools have said of its C++ since."""
    from fastml.compiler.hls_reports import merge_reports, read_reports
    from fastml.compiler.project import MANIFEST, REPORT, read_json, render_json
    from fastml.compiler.support.diagnostics import FastmlError, in_file
    from fastml.compiler.tensors import write_atomically

    report = read_json(project / REPORT)
    if not report.get("hls"):
        return report
    manifest = read_json(project / MANIFEST)
    try:
        top = str(manifest["hls"]["top"])
    except (KeyError, TypeError) as error:
        place = in_file(str(project / MANIFEST))
        raise FastmlError("names no top function", place, code="FML-FILE") from error
    merged = merge_reports(report, read_reports(project, top))
    if merged != report:
        write_atomically(project / REPORT, render_json(merged))
    return merged


def _tool(report: dict[str, Any]) -> str:
    """Describe what a tool said, in a line."""
    parts = [str(report["provenance"])]
    if "status" in report:
        parts.append(str(report["status"]))
    parts += [
        f"{title} {_range(report.get(f'{key}_min'), report.get(f'{key}_max'))}"
        for title, key in (("latency", "latency"), ("II", "ii"))
        if f"{key}_max" in report
    ]
    if "clock_ns" in report:
        parts.append(f"{report['clock_ns']:.3g} ns")
    parts += [f"{value} {name.upper()}" for name, value in report.get("area", {}).items()]
    return f"{', '.join(parts)} ({report['file']})"


def _range(low: object, high: object) -> str:
    return str(high) if low in (None, high) else f"{low}..{high}"


def _short(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 48 else f"{text[:45]}..."
