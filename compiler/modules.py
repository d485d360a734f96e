"""Modules as text: parse with source locations, print with large constants beside it."""

import zipfile
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.printer import Printer
from xdsl.utils.exceptions import DiagnosticException, ParseError, VerifyException

from fastml.compiler.pipelines import new_context
from fastml.compiler.support.diagnostics import (
    FastmlError,
    LocatingParser,
    in_file,
    locate,
)
from fastml.dialects.array import MAX_BYTES, sidecar

SIDECAR = "constants.npz"
"""Name of the file beside ``.mlir`` files that holds their large constants."""
MAX_TEXT_BYTES = 1 << 30
"""Largest IR file that is read."""


class _Printer(Printer):
    """xDSL's printer with a short way for text without a newline, which is nearly all of it."""

    def print_string(self, text: str, *, indent: int | None = None) -> None:
        """Write ``text``."""
        if "\n" in text or self.stream is None:
            super().print_string(text, indent=indent)
        else:
            self._current_column += len(text)
            self.stream.write(text)


def render_module(module: ModuleOp, blobs: dict[str, NDArray[np.generic]]) -> str:
    """Return ``module`` as text; large constants go to ``blobs``."""
    text = StringIO()
    with sidecar(blobs):
        _Printer(text).print_op(module)
    return text.getvalue() + "\n"


def read_module(path: Path) -> ModuleOp:
    """Parse and verify an ``.mlir`` file, with the sidecar beside it if there is one."""
    text = read_text(path, MAX_TEXT_BYTES)
    beside = path.with_name(SIDECAR)
    blobs = dict[str, NDArray[np.generic]]()
    if beside.is_file():
        blobs |= read_arrays(beside)
    with sidecar(blobs):
        return parse_module(text, str(path))


def parse_module(text: str, name: str) -> ModuleOp:
    """Parse and verify IR; every defect of the text is a ``FastmlError`` in one line."""
    try:
        module = LocatingParser(new_context(), text, name).parse_module()
    except ParseError as error:
        place = error.span.get_location()
        where = f"{place[0]}:{place[1]}:{place[2]}"
        raise FastmlError(error.msg.splitlines()[0], in_file(where)) from error
    except VerifyException as error:
        raise FastmlError(str(error).splitlines()[0], in_file(name)) from error
    except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        # xDSL's parsers of builtin attributes do not refuse all that they cannot build.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FastmlError(f"cannot be parsed: {reason}", in_file(name)) from error
    try:
        module.verify()
    except VerifyException as error:
        found: DiagnosticException = locate(error, module)
        if isinstance(found, VerifyException):
            found = FastmlError(str(found), module)
        raise found from error
    return module


def read_text(path: Path, limit: int) -> str:
    """Read a text file of at most ``limit`` bytes."""
    location = in_file(str(path))
    try:
        if path.stat().st_size > limit:
            raise FastmlError(f"has more than {limit} bytes", location, code="FML-FILE")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> FastmlError:
    """Return the error of a file that cannot be read, with the system's reason."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return FastmlError(f"cannot be read: {reason}", in_file(str(path)), code="FML-FILE")


def read_arrays(path: Path, limit: int = 4 * MAX_BYTES) -> Mapping[str, NDArray[np.generic]]:
    """Read every array of an ``.npz`` file; never a pickle, never more than ``limit`` bytes."""
    location = in_file(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > limit:
                raise FastmlError("holds too much", location, code="FML-FILE")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from error
