"""Dialects of the stack; nothing is imported until a dialect is first used."""

from functools import partial
from pkgutil import resolve_name

DIALECTS = {
    "fastml": partial(resolve_name, "fastml.dialects.fastml:Fastml"),
    "qflow": partial(resolve_name, "fastml.dialects.qflow:Qflow"),
}
"""Dialect name to loader."""
