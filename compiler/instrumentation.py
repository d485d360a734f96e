"""What a driver does between two passes: verify, print, time, prepare for failure."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from time import perf_counter
from typing import TextIO

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.printer import Printer
from xdsl.utils.exceptions import DiagnosticException, VerifyException

from fastml.compiler.support.diagnostics import FastmlError, locate


class InvalidOutput(Exception):
    """A pass left IR that does not verify: a defect in the compiler."""


@dataclass
class Instrumentation:
    """The callback of a ``PassPipeline``; dumps and tables go to ``stream``.

    The input of the first pass is always verified: it is the user's.
    """

    verify_each: bool = True
    print_after_all: bool = False
    print_after_change: bool = False
    timing: bool = False
    disable_verify: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    finished: list[ModulePass] = field(default_factory=list[ModulePass], init=False)
    running: ModulePass | None = field(default=None, init=False)
    _seconds: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]], init=False)
    _since: float = field(default_factory=perf_counter, init=False)
    _before: str = field(default="", init=False)

    @property
    def pipeline(self) -> Sequence[ModulePass]:
        """The passes that ran, and the one that is running."""
        return [*self.finished, *([self.running] if self.running else [])]

    def __call__(
        self,
        previous: ModulePass | None,
        module: ModuleOp,
        following: ModulePass | None,
    ) -> None:
        """Look at ``module`` after ``previous`` and before ``following``."""
        self.lap(previous.name if previous else "(parse)")
        # Until it is verified, the output is still the responsibility of `previous`.
        if previous is None or self.verify_each or following is None:
            self.verify(module, previous)
        if previous is not None:
            self.finished.append(previous)
        self.running = following
        self.show(previous, module)
        self.lap("(verify, print)")

    def lap(self, what: str) -> None:
        """Book the time since the last call on ``what``."""
        now = perf_counter()
        self._seconds.append((what, now - self._since))
        self._since = now

    def verify(self, module: ModuleOp, origin: ModulePass | None) -> None:
        """Verify what the user (no ``origin``) or a pass wrote."""
        if self.disable_verify:
            return
        try:
            module.verify()
        except VerifyException as error:
            found = locate(error, module)
            if origin is None:
                if isinstance(found, VerifyException):  # not found: name the module
                    found = FastmlError(str(found), module)
                raise found from error
            raise InvalidOutput(f"output does not verify: {found}") from error

    def show(self, origin: ModulePass | None, module: ModuleOp) -> None:
        """Print ``module`` if asked to."""
        if not (self.print_after_all or self.print_after_change):
            return
        text = print_module(module)
        if origin and (self.print_after_all or text != self._before):
            self.stream.write(f"// -----// IR Dump After {origin.name} //----- //\n")
            self.stream.write(text + "\n")
        self._before = text

    def report(self) -> None:
        """Print the time table if asked to."""
        if not self.timing:
            return
        total = sum(seconds for _, seconds in self._seconds) or 1.0
        for what, seconds in [*self._seconds, ("(total)", total)]:
            self.stream.write(f"{seconds:9.4f} s {seconds / total:5.1%}  {what}\n")


def print_module(module: ModuleOp) -> str:
    """Return ``module`` in its custom form."""
    text = StringIO()
    Printer(text).print_op(module)
    return text.getvalue()


def is_user_error(error: BaseException) -> bool:
    """Tell what the user can act on from what only we can repair.

    A pass that builds what its own dialect rejects is a defect of the pass.
    """
    diagnosed = isinstance(error, DiagnosticException | OSError)
    return diagnosed and not isinstance(error, VerifyException)
