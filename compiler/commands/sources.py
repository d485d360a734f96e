"""What a command is given to work on: a model, a project folder, or one IR file."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from fastml.compiler.options import from_arguments, given_options, usage_error

if TYPE_CHECKING:
    from fastml.compiler.design import Design


def add_source(parser: ArgumentParser) -> None:
    """Add the positional argument."""
    parser.add_argument(
        "source",
        metavar="MODEL|DIR|FILE.mlir",
        type=Path,
        help="an .onnx (QONNX) file, a folder made by compile, or one IR file",
    )


def open_source(args: Namespace) -> "Design":
    """Return the design; what was built already takes no build options."""
    source: Path = args.source
    options = from_arguments(args)
    from fastml.compiler.design import from_file, from_model
    from fastml.compiler.project import read_project

    if not source.exists():
        raise usage_error(str(source), "does not exist", code="FML-FILE")
    built = source.is_dir() or source.suffix == ".mlir"
    if not built:
        return from_model(source, options)
    spare = set(given_options(args)) - {"timing", "verify-each", "print-ir-after-all", "ap-types"}
    if not source.is_dir():  # C++ is printed from the IR
        spare -= {name for name in spare if name.startswith("hls")}
    if args.config is not None:
        spare.add("config")
    if spare:
        raise usage_error(f"--{min(spare)}", f"has no effect on '{source}', which is built already")
    return read_project(source, options) if source.is_dir() else from_file(source, options)
