"""Let the tests of this folder import the modules beside them; add up what they counted."""

import sys
from pathlib import Path
from typing import cast

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sums of the tables that tests recorded under one name."""
    totals: dict[str, dict[str, int]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, table in cast(list[tuple[str, object]], report.user_properties):
            if report.when == "call" and isinstance(table, dict):
                total = totals.setdefault(name, {})
                for key, count in cast(dict[str, int], table).items():
                    total[key] = total.get(key, 0) + count
    for name, total in totals.items():
        terminalreporter.write_line(
            f"{name}: " + ", ".join(f"{count} {key}" for key, count in total.items())
        )
