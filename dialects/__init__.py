"""Dialects of the stack; nothing is imported until a dialect is first used."""

from functools import partial
from pkgutil import resolve_name

DIALECTS = {
    "fastml": partial(resolve_name, "fastml.dialects.fastml:Fastml"),
    "qflow": partial(resolve_name, "fastml.dialects.qflow:Qflow"),
}
"""Dialect name to loader."""

EXTENDED = {
    name: partial(resolve_name, f"fastml.dialects.hw_extra:{name.upper()}")
    for name in ("hw", "comb", "seq")
} | {"arith": partial(resolve_name, "fastml.dialects.upstream_assembly:ARITH")}
"""Upstream dialects with what xDSL lacks: register them in place of xDSL's."""
