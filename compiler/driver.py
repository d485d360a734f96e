"""``fastmlc``: parse the command line, call a command, turn errors into one line.

Exit status: 0 for success, 1 where levels diverge (or the compiler itself fails), 2 for
whatever the user can mend. Nothing heavy is imported before a command needs it.
"""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from pkgutil import resolve_name

from fastml import __version__

COMMANDS: dict[str, str] = {
    "compile": "compile a model into a project folder",
    "check": "say of each node of a model how it is supported, or why not",
    "run": "execute a model, a project or one IR file at a level",
    "verify": "compare all levels with each other, values and cycles",
    "report": "print latency, II, widths and area of a project",
    "ops": "print the operators that are supported",
}
"""Command to what it does; each lives in ``compiler/commands/`` under its name."""


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the command that ``argv`` names gets its options."""
    parser = argparse.ArgumentParser(
        prog="fastmlc",
        description="Compile trained neural networks to hardware that computes the same numbers.",
        epilog="fastmlc COMMAND --help explains a command; fastml-opt runs single passes.",
    )
    parser.add_argument("--version", action="version", version=f"fastmlc {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            allow_abbrev=False,
        )
        command.add_argument("--debug", action="store_true", help="print the traceback of an error")
        if name in argv:
            resolve_name(f"fastml.compiler.commands.{name}:add_arguments")(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fastmlc``; return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    args = build_parser(given).parse_args(given)
    run: Callable[[argparse.Namespace], int] = resolve_name(
        f"fastml.compiler.commands.{args.command}:run"
    )
    gc.set_threshold(200_000, 20, 100)  # IR is many objects, and most of them stay
    try:
        status = run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # such as `fastmlc ops | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if args.debug:
            raise
        return report_error(error)


def report_error(error: Exception) -> int:
    """Print an error as one line; return the exit status that it deserves."""
    from xdsl.utils.exceptions import DiagnosticException, VerifyException

    from fastml.compiler.support.diagnostics import printable
    from fastml.runtime.verify import Divergence

    if isinstance(error, Divergence):
        print(printable(f"error[FML-DIVERGENCE] {error}"), file=sys.stderr)
        return 1
    if isinstance(error, DiagnosticException) and not isinstance(error, VerifyException):
        print(printable(str(error)), file=sys.stderr)
        return 2
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        text = f"error[FML-FILE] {where}{error.strerror or error}"
        print(printable(text), file=sys.stderr)
        return 2
    if isinstance(error, MemoryError):
        print("error[FML-WIDTH] out of memory: the design is too large here", file=sys.stderr)
        return 2
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    print(
        printable(
            f"error[FML-INTERNAL] a defect of the compiler: {reason}; fix: report it, with "
            "the traceback that --debug prints"
        ),
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
