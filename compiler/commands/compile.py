"""``fastmlc compile``: a model into a project folder."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from fastml.compiler.options import (
    HLS_OPTIONS,
    add_build_options,
    from_arguments,
    given_options,
    usage_error,
)


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="an .onnx (QONNX) file")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--emit",
        metavar="KIND",
        default="sv",
        help="how far to go: fastml, qflow, affine, hls, hw or sv (the default)",
    )
    add_build_options(parser)


def run(args: Namespace) -> int:
    """Compile, write, and say what came out."""
    options = from_arguments(args)
    if args.emit == "hls" and options.axi_stream:
        raise usage_error("--axi-stream", "is for SystemVerilog", "give --hls-interface axis")
    if args.emit != "hls":
        for name in given_options(args):
            if name in HLS_OPTIONS:
                raise usage_error(f"--{name}", "is for HLS C++ alone", "give --emit hls too")
    from fastml.compiler.design import from_model
    from fastml.compiler.project import REPORT, check_target, read_json, write_project
    from fastml.lowering.contracts import GAP

    check_target(args.output)
    design = from_model(args.model, options)
    write_project(design, args.output, args.emit)
    design.runner.report()
    path = args.output / REPORT
    if path.is_file():
        report = read_json(path)
        for warning in report["warnings"]:
            print(warning["text"], file=sys.stderr)
        area = report["area"]
        estimate = f", about {area['lut']} LUT and {area['ff']} FF" if area else ""
        if area and (area["dsp"] or area["bram"]):
            estimate += f", {area['dsp']} DSP, {area['bram']:g} BRAM"
        gap = design.graph.gap
        if gap is not None:
            within = gap.value.data
            proved = "the best" if within <= GAP else f"within {within:.1%} of the best"
            estimate += f"; folding: {proved} by estimated costs"
        adders = sum(layer["adders"] for layer in report["layers"])
        print(
            f"{args.output}: latency {report['latency_cycles']} cycles of "
            f"{report['clock_ns']} ns, II {report['ii']}, {adders} adders{estimate}"
        )
    else:
        print(f"{args.output}: written")
    return 0
