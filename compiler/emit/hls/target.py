"""The target ``hls`` of ``fastml-opt``: affine functions as text of C++."""

from dataclasses import dataclass
from typing import IO

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.target import Target

from fastml.compiler.emit.hls.flavours import flavour_of
from fastml.compiler.emit.hls.program import print_program
from fastml.compiler.support.diagnostics import FastmlError, in_file


@dataclass(frozen=True)
class HlsTarget(Target):
    """Print every file of C++ after a line ``//--- NAME``.

    The passes ``hls-line-buffers`` and ``hls-tiling`` may come before.
    """

    name = "hls"

    flavour: str = "vitis"
    """Tool to print for."""
    interface: str = "wires"
    """Interface of the top function."""

    def emit(self, ctx: Context, module: ModuleOp, output: IO[str]) -> None:
        """Print ``module``."""
        flavour = flavour_of(self.flavour)
        if self.interface not in flavour.interfaces:
            raise FastmlError(
                f"{flavour.tool} has no interface '{self.interface}' here",
                in_file("-t"),
                code="FML-OPTION",
                hint=f"choose from {', '.join(flavour.interfaces)}",
            )
        for name, text in print_program(module, flavour, self.interface).files.items():
            output.write(f"//--- {name}\n{text}\n")
