"""``fastmlc ops``: the operator matrix, from the registry."""

import json
from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--json", action="store_true", help="print a list of records")


def run(args: Namespace) -> int:
    """Print every operator that the readers know."""
    from fastml.compiler.reader.registry import load_operators

    known = {id(operator): operator for operator in load_operators().values()}
    operators = sorted(known.values(), key=lambda o: (o.name, o.domains))
    if args.json:
        records = [
            {
                "name": o.name,
                "domains": list(o.domains),
                "versions": sorted(o.since),
                "attributes": sorted(o.attributes),
                "without_effect": dict(o.without_effect),
                "summary": o.summary,
            }
            for o in operators
        ]
        print(json.dumps(records, indent=1))
        return 0
    from fastml.compiler.tables import print_table

    rows = [
        (
            o.name,
            ", ".join(domain or "ai.onnx" for domain in o.domains),
            ", ".join(map(str, sorted(o.since))),
            ", ".join(sorted(o.attributes)) or "-",
            o.summary,
        )
        for o in operators
    ]
    print_table(("operator", "domains", "versions", "attributes", "what it becomes"), rows)
    print(f"{len(rows)} operators")
    return 0
