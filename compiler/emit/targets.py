"""Targets of ``fastml-opt`` and ``xdsl-opt``; nothing is imported until one is first used."""

from functools import partial
from pkgutil import resolve_name

TARGETS = {
    "hls": partial(resolve_name, "fastml.compiler.emit.hls.target:HlsTarget"),
    "sv": partial(resolve_name, "fastml.compiler.emit.sv_target:SystemVerilogTarget"),
}
"""Target name to loader."""
