"""Read back what the vendors' tools say of a project: area, latency, interval, clock.

Every figure goes with the file that it comes from and with a provenance that says how much it
is worth. :mod:`fastml.compiler.hls_report_formats` knows the formats.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from xml.etree.ElementTree import ParseError

from fastml.compiler.hls_report_formats import READERS, Reader, ToolReport
from fastml.compiler.modules import unreadable
from fastml.compiler.support.diagnostics import FastmlError, in_file

FOLDER = "hls"
"""Folder of a project in which the tools work."""
EMITTED = "emitted, not synthesised"
"""What is claimed of C++ that no vendor's tool has run on."""
SYNTHESISED = "synthesised, by the reports below"
MAX_BYTES = 1 << 26
"""Largest report that is read."""
RANKING = (
    "post-route",
    "post-place",
    "vivado-synth",
    "vitis-csynth",
    "vivado-csynth",
    "oneapi-estimate",
    "quartus-estimate",
)
"""Provenances of an area, the best first."""


@dataclass(frozen=True)
class FoundReport:
    """A report, and where it was found."""

    file: str
    """Path in the project."""
    said: ToolReport

    @property
    def figures(self) -> dict[str, Any]:
        """What is known, as data."""
        return {"file": self.file, **self.said.figures}

    @property
    def rank(self) -> int:
        """Return how good the area is, 0 the best."""
        known = self.said.provenance in RANKING and "ff" in self.said.area
        return RANKING.index(self.said.provenance) if known else len(RANKING)


def read_reports(project: Path, top: str) -> list[FoundReport]:
    """Read every report in ``project`` on the function ``top``, the best area first.

    Tools write the same figures into several files: they are reported once. A file that has
    the name of a report and cannot be read as one is an ``FML-FILE`` error.
    """
    found = dict[str, FoundReport]()
    for _, path, reader in sorted(_candidates(project / FOLDER, top), key=lambda c: c[:2]):
        said = _read(path, reader, top)
        if said is not None:
            report = FoundReport(path.relative_to(project).as_posix(), said)
            found.setdefault(str(said.figures), report)
    return sorted(found.values(), key=lambda report: report.rank)


def _candidates(folder: Path, top: str) -> Iterator[tuple[int, Path, Reader]]:
    """Yield the files that have the name of a report; links and hidden folders are left out."""
    patterns = [
        (re.compile(pattern.replace("TOP", re.escape(top))), reader) for pattern, reader in READERS
    ]
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            for order, (pattern, reader) in enumerate(patterns):
                if pattern.fullmatch(name) and path.is_file() and not path.is_symlink():
                    yield order, path, reader


def _read(path: Path, reader: Reader, top: str) -> ToolReport | None:
    try:
        size = path.stat().st_size
        text = path.read_text("utf-8", errors="replace") if size <= MAX_BYTES else ""
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        if size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        return reader(text, top)
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        ParseError,
    ) as error:
        raise FastmlError(
            f"is not a report that can be read: {error or type(error).__name__}",
            in_file(str(path)),
            code="FML-FILE",
            hint="let the tool finish or remove the file; if it is whole, its format is unknown",
        ) from error


def merge_reports(report: Mapping[str, Any], found: Sequence[FoundReport]) -> dict[str, Any]:
    """Return ``report.json`` with what the tools say; the best area replaces the estimate.

    The estimate stays beside it, and comes back when there are no reports any more.
    """
    entry: dict[str, Any] = dict(cast(Mapping[str, Any], report.get("hls") or {}))
    estimate = entry.pop("estimate", report["area"])
    entry.pop("reports", None)
    entry["status"] = SYNTHESISED if found else EMITTED
    area = estimate
    if found:
        entry["reports"] = [tool.figures for tool in found]
        best = found[0]
        if best.rank < len(RANKING):
            entry["estimate"] = estimate
            blank = dict.fromkeys(("lut", "ff", "dsp", "bram"))
            area = {**blank, **best.said.area, "provenance": best.said.provenance}
    return {**report, "area": area, "hls": entry}
