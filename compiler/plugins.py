"""Plug-ins: modules that add operators, passes and targets without a fork.

A package names such a module in its entry-point group ``fastml.plugins``; importing it
registers what it brings (see ``docs/write-an-operator.md`` and ``docs/write-a-pass.md``).
"""

from functools import cache
from importlib.metadata import entry_points


@cache
def load_plugins() -> tuple[str, ...]:
    """Import every installed plug-in, once; return their names."""
    found = sorted(entry_points(group="fastml.plugins"), key=lambda entry: entry.name)
    for entry in found:
        entry.load()
    return tuple(entry.name for entry in found)
