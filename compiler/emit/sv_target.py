"""The target ``sv`` of ``fastml-opt``: hardware modules as text of SystemVerilog."""

from dataclasses import dataclass
from typing import IO

from xdsl.context import Context
from xdsl.dialects import hw
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.target import Target

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.compiler.support.diagnostics import FastmlError


@dataclass(frozen=True)
class SystemVerilogTarget(Target):
    """Print all modules, one after the other: a file that simulators and synthesis take."""

    name = "sv"

    def emit(self, ctx: Context, module: ModuleOp, output: IO[str]) -> None:
        """Print ``module``."""
        for op in module.ops:
            if not isinstance(op, hw.HWModuleOp):
                raise FastmlError("is no hardware module: lower it with 'affine-to-hw'", op)
        output.write("\n".join(emit_systemverilog(module).values()))
