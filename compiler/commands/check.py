"""``fastmlc check``: account for every node of a model."""

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from fastml.compiler.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastml.compiler.reader import NodeStatus

STAND_IN = "fixed<16,6>"
"""Type that an input without one is checked with; the real one is the user's to give."""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="an .onnx (QONNX) file")
    parser.add_argument("--json", action="store_true", help="print a list of records")
    parser.add_argument(
        "--input-type", action="append", metavar="NAME=TYPE", help=OPTIONS["input-type"].help
    )


def run(args: Namespace) -> int:
    """Print the table; exit with 0 only if every node is supported."""
    from fastml.compiler.options import resolve

    given = {} if args.input_type is None else {"input-type": args.input_type}
    statuses, untyped = _check(args.model, resolve(given, flags=True).input_type)
    missing = [status for status in statuses if not status.supported]
    if args.json:
        print(json.dumps([asdict(status) for status in statuses], indent=1))
        return 2 if missing else 0
    from fastml.compiler.tables import print_table

    rows = [
        (
            str(status.index),
            status.name,
            status.op,
            "yes" if status.supported else "NO",
            status.how if status.supported else status.reason,
        )
        for status in statuses
    ]
    print_table(("#", "node", "operator", "supported", "how, or why not"), rows)
    good = len(statuses) - len(missing)
    print(f"{good} of {len(statuses)} nodes are supported")
    for name in untyped if not missing else []:
        print(f"to compile, give a type: --input-type {quote(f'{name}=TYPE')}, as {STAND_IN}")
    return 2 if missing else 0


def _check(model: Path, types: "Mapping[str, str]") -> "tuple[list[NodeStatus], list[str]]":
    """Account for every node; return also the inputs that a compilation needs types for.

    Whether a node is supported does not depend on the type of an input that nobody has
    typed yet, so it is looked at with a stand-in.
    """
    from fastml.compiler.reader import check, read_onnx
    from fastml.dialects.fastml import element_type
    from fastml.dialects.grid import QuantisedType
    from fastml.runtime.fastml import network_of

    statuses = check(model, types)
    if not any(status.reason.startswith("[FML-UNQUANTISED]") for status in statuses):
        return statuses, []
    inputs = network_of(read_onnx(model, types)).inputs
    untyped = [
        n for n, value in inputs.items() if not isinstance(element_type(value), QuantisedType)
    ]
    if not untyped:
        return statuses, []
    return check(model, {**types, **dict.fromkeys(untyped, STAND_IN)}), untyped
