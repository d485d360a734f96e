"""Tables on a terminal, and as plain aligned text everywhere else."""

import sys
from collections.abc import Sequence

from fastml.compiler.support.diagnostics import printable


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None
) -> None:
    """Print rows under a head; text of a model is escaped, never interpreted."""
    clean = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*head, title=title)
        for row in clean:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    if title is not None:
        print(title)
    columns = [[h, *cells] for h, *cells in zip(head, *clean, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    for line in (head, *clean):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
