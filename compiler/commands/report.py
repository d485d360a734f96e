"""``fastmlc report``: what a build said of itself."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("project", metavar="DIR", type=Path, help="a folder made by compile")
    parser.add_argument("--json", action="store_true", help="print report.json")


def run(args: Namespace) -> int:
    """Print the report of a project."""
    from fastml.compiler.project import REPORT, read_json

    report = read_json(args.project / REPORT)
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    from fastml.compiler.tables import print_table

    print(f"latency   {report['latency_cycles']} cycles of {report['clock_ns']} ns (exact)")
    print(f"II        {report['ii']} (exact)")
    if area := report["area"]:
        band = f" (provenance: {area['provenance']}, ±{area['error_band']:.0%} on LUTs)"
        figures = ", ".join(f"{area[k]} {k.upper()}" for k in ("lut", "ff", "dsp", "bram"))
        print(f"area      {figures}{band}")
    columns = ("name", "kind", "elements", "adders", "depth", "start_cycle", "end_cycle", "widths")
    rows = [tuple(_short(layer[column]) for column in columns) for layer in report["layers"]]
    print_table([column.replace("_", " ") for column in columns], rows)
    return 0


def _short(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 48 else f"{text[:45]}..."
