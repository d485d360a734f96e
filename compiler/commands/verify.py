"""``fastmlc verify``: all levels against each other, values and cycles."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fastml.compiler.commands.sources import add_source, open_source
from fastml.compiler.options import add_build_options

SHOWN = 20
"""Bits without a transition that are listed unless all are asked for."""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    add_source(parser)
    parser.add_argument("--input", metavar="X", type=Path, help="real inputs, .npy or .npz")
    parser.add_argument(
        "--vectors", metavar="N", type=int, default=1000, help="frames to make up (1000)"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the frames (0)")
    parser.add_argument("--levels", metavar="A,B,...", help="levels to compare (all)")
    parser.add_argument("--all-bits", action="store_true", help="list every bit that never toggled")
    add_build_options(parser)


def run(args: Namespace) -> int:
    """Verify; exit with 1 and the first divergence if there is one."""
    design = open_source(args)
    from fastml.compiler.tensors import read_tensors

    inputs = None if args.input is None else read_tensors(args.input, design.input_names)
    levels = None if args.levels is None else [name.strip() for name in args.levels.split(",")]
    found = design.verify(inputs, vectors=args.vectors, seed=args.seed, levels=levels)
    design.runner.report()
    counts, coverage = found.counts, found.coverage
    *others, last = found.stimuli
    print(
        f"{', '.join(found.levels)}: 0 divergences in {found.frames} frames, "
        f"{', '.join(others)} and {last}"
    )
    if found.untimed:
        print(f"cycles of {' and '.join(found.untimed)}: compared back-to-back only")
    print(
        f"compared {counts.values} values and {counts.cycles} cycles on {len(counts.edges)} edges"
    )
    print(f"toggled {coverage.toggled} of {coverage.bits} bits of {coverage.edges} edges")
    for note in found.notes:
        print(note)
    shown = coverage.never if args.all_bits else coverage.never[:SHOWN]
    for bit in shown:
        from fastml.compiler.support.diagnostics import printable

        print(printable(f"  never toggled: {bit}"))
    if len(shown) < len(coverage.never):
        print(f"  and {len(coverage.never) - len(shown)} more (--all-bits)")
    return 0
