"""``fastmlc check``: account for every node of a model."""

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from fastml.compiler.options import OPTIONS


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
    from fastml.compiler.reader import check

    given = {} if args.input_type is None else {"input-type": args.input_type}
    statuses = check(args.model, resolve(given, flags=True).input_type)
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
    return 2 if missing else 0
