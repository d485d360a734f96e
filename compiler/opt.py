"""``fastml-opt``: run passes on IR, as ``mlir-opt`` does.

``xdsl-opt`` with our dialects and passes, source locations, one-line errors, and files
that appear whole or not at all.
"""

import argparse
import ast
import inspect
import os
import sys
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import MISSING, fields
from difflib import get_close_matches
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import IO

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass, PassPipeline
from xdsl.universe import Universe
from xdsl.utils.exceptions import (
    ArgSpecParseError,
    DiagnosticException,
    ParseError,
)
from xdsl.utils.hints import type_repr
from xdsl.xdsl_opt_main import xDSLOptMain

from fastml.compiler.emit.targets import TARGETS
from fastml.compiler.instrumentation import Instrumentation, is_user_error
from fastml.compiler.support.diagnostics import LocatingParser
from fastml.dialects import DIALECTS, EXTENDED
from fastml.dialects.array import sidecar
from fastml.lowering import PASSES

REPRODUCER = "fastml-opt-reproducer.mlir"
CLOSED_PIPE = 141
"""Exit status, as of a program that the signal of a closed pipe ends."""


class UsageError(DiagnosticException):
    """The command line asks for something that does not exist."""


class CompilerFailure(Exception):
    """A pass failed in a way that is not the user's fault."""


class _Held(StringIO):
    """Text that outlives ``close``, so that it is written only after success."""

    def close(self) -> None:
        """Do nothing."""


class FastmlOpt(xDSLOptMain):
    """``xdsl-opt`` with our dialects and passes, and with source locations."""

    source: bytes = b""
    held: _Held | None = None
    instrumentation: Instrumentation

    def register_all_dialects(self) -> None:
        """Register xDSL's dialects, then ours; loading stays lazy."""
        everything = Universe.get_multiverse().all_dialects
        for name, load in {**everything, **DIALECTS, **EXTENDED}.items():
            self.ctx.register_dialect(name, load)

    def register_all_passes(self) -> None:
        """Register xDSL's passes, then ours; loading stays lazy."""
        super().register_all_passes()
        for name, load in PASSES.items():
            self.register_pass(name, load)

    def register_all_targets(self) -> None:
        """Register xDSL's targets, then ours."""
        super().register_all_targets()
        self.available_targets.update(TARGETS)

    def register_all_frontends(self) -> None:
        """Parse ``.mlir`` with locations."""
        super().register_all_frontends()

        def parse(stream: IO[bytes]) -> ModuleOp:
            self.source = stream.read()
            text = self.source.decode()
            parser = LocatingParser(self.ctx, text, self.get_input_name())
            with self.constants_beside():
                return parser.parse_module(not self.args.no_implicit_module)

        self.available_frontends["mlir"] = parse

    def constants_beside(self) -> AbstractContextManager[None]:
        """Find large constants in the file beside the input, if there is one.

        What is printed holds them itself, so that it can go anywhere.
        """
        from fastml.compiler.modules import SIDECAR, read_arrays

        path = self.args.input_file and Path(self.args.input_file).with_name(SIDECAR)
        if not path or not path.is_file():
            return nullcontext()
        return sidecar(dict(read_arrays(path)))

    def register_all_arguments(self, arg_parser: argparse.ArgumentParser) -> None:
        """Add what a pass developer needs to xDSL's options."""
        super().register_all_arguments(arg_parser)
        add = arg_parser.add_argument
        add(
            "--print-ir-after-all",
            action="store_true",
            help="print the IR after every pass (to stderr)",
        )
        add(
            "--print-ir-after-change",
            action="store_true",
            help="print the IR after every pass that changed it (to stderr)",
        )
        add(
            "--verify-each",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="verify after every pass, not only the input and the result",
        )
        add("--timing", action="store_true", help="print a time table (to stderr)")
        add(
            "--reproducer",
            metavar="FILE",
            help="on a failure write the input and the passes that lead to it to FILE; "
            f"a failure that is not the user's fault always does ({REPRODUCER})",
        )
        add("--debug", action="store_true", help="print the traceback of an error")
        add(
            "--list-passes",
            action="store_true",
            help="describe every pass and its options, then exit",
        )

    def setup_pipeline(self) -> None:
        """Build the pipeline with our instrumentation around each pass."""
        args = self.args
        self.instrumentation = Instrumentation(
            verify_each=args.verify_each,
            print_after_all=args.print_ir_after_all or args.print_between_passes,
            print_after_change=args.print_ir_after_change,
            timing=args.timing or args.time_passes,
            disable_verify=args.disable_verify,
        )
        try:
            self.pipeline = PassPipeline.parse_spec(
                self.available_passes, args.passes, self.instrumentation
            )
        except (ValueError, ArgSpecParseError) as error:
            raise UsageError(f"error[FML-USAGE] -p: {error}{self.near_misses()}") from error

    def near_misses(self) -> str:
        """Suggest passes whose names resemble those that do not exist."""
        words = "".join(c if c.isalnum() or c == "-" else " " for c in self.args.passes)
        lost = [w for w in words.split() if w not in self.available_passes]
        near = [n for w in lost for n in get_close_matches(w, self.available_passes, 1)]
        return f"; fix: did you mean {', '.join(near)}?" if near else ""

    def apply_passes(self, prog: ModuleOp) -> None:
        """Run the pipeline; leave a reproducer of what fails."""
        watch = self.instrumentation
        watch.finished, watch.running = [], None
        try:
            super().apply_passes(prog)
        except Exception as error:
            where = watch.pipeline[-1].name if watch.pipeline else "input"
            blameless = not is_user_error(error)
            if path := self.args.reproducer or (blameless and REPRODUCER):
                self.write_reproducer(Path(path))
            if not blameless:
                raise
            reason = f"{type(error).__name__}: {error}"
            raise CompilerFailure(
                f"internal error in '{where}': {reason}\n  reproducer: {path}"
            ) from error

    def write_reproducer(self, path: Path) -> None:
        """Write the input under a line that says how to make it fail again."""
        passes = ",".join(str(p) for p in self.instrumentation.pipeline)
        header = f"// RUN: fastml-opt %s -p '{passes}'\n"
        path.write_bytes(header.encode() + self.source)

    def prepare_output(self) -> IO[str]:
        """Hold text that goes to a file until everything has succeeded."""
        if self.args.output_file is None:
            return sys.stdout
        self.held = _Held()
        return self.held

    def run(self) -> None:
        """Parse, transform and print, then write the output file in one step."""
        if self.args.list_passes:
            self.list_passes()
            return
        super().run()
        self.instrumentation.report()
        if self.held is not None:
            target = Path(self.args.output_file)
            if target.exists() and not target.is_file():  # a device, such as /dev/null
                target.write_text(self.held.getvalue())
                return
            partial = target.with_name(f".{target.name}.{os.getpid()}")
            partial.write_text(self.held.getvalue())
            partial.replace(target)

    def prepare_input(self) -> tuple[list[tuple[IO[bytes], int]], str]:
        """Open the input; a suffix that nobody reads is the user's error."""
        try:
            return super().prepare_input()
        except ValueError as error:
            raise UsageError(f"error[FML-USAGE] {error}") from error

    def list_passes(self) -> None:
        """Describe every pass, ours first."""
        foreign = [name for name in self.available_passes if name not in PASSES]
        for name in [*PASSES, *foreign]:
            try:
                text = describe(self.available_passes[name]())
            except ImportError as error:  # an optional dependency of xDSL
                text = f"{name}\n    (not available: {error})\n"
            print(text)


def describe(pass_class: type[ModulePass]) -> str:
    """Return name, docstring and options of a pass, as text."""
    documented = pass_class.__doc__ if "__doc__" in vars(pass_class) else None
    doc = inspect.cleandoc(documented or "")
    lines = [pass_class.name]
    if not doc.startswith(f"{pass_class.__name__}("):  # what `dataclass` makes up
        lines.append(textwrap.indent(doc, "    "))
    comments = option_docs(pass_class)
    for option in fields(pass_class):
        known = option.default is not MISSING
        default = f" = {option.default}" if known else ""
        flag = option.name.replace("_", "-")
        lines.append(f"    {{{flag}: {type_repr(option.type)}{default}}}")
        if option.name in comments:
            lines.append(textwrap.indent(comments[option.name], "        "))
    return "\n".join(lines) + "\n"


def option_docs(pass_class: type[ModulePass]) -> dict[str, str]:
    """Return the docstrings under the fields of a class, which Python does not keep."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(pass_class)))
    docs: dict[str, str] = {}
    (definition,) = tree.body
    assert isinstance(definition, ast.ClassDef)
    for statement, following in pairwise(definition.body):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = inspect.cleandoc(text)
            case _:
                pass
    return docs


def main(args: Sequence[str] | None = None) -> int:
    """Run the driver; return 0, 2 on a user's error, 1 on a defect of the compiler.

    Where what it prints goes to a pipe that is closed it says nothing (``CLOSED_PIPE``).
    """
    debug = "--debug" in (sys.argv[1:] if args is None else args)
    try:
        FastmlOpt("Run passes on fastml's IR.", args).run()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except (DiagnosticException, ParseError, OSError, UnicodeDecodeError) as error:
        if debug:
            raise
        code = "" if isinstance(error, DiagnosticException) else "error[FML-FILE] "
        print(f"{code}{error}", file=sys.stderr)
        return 2
    except CompilerFailure as error:
        if debug:
            raise
        print(f"{error}\n  hint: --debug prints the traceback", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
