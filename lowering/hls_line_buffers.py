"""Turn processes that look at tokens anywhere in a frame into loops that read them in order.

C++ has streams, whose tokens come one after the other, and no memory between two processes
but that. So a window becomes a loop over the positions of its image, which takes the token
there, keeps rows in line memories and columns in registers, and gives a result where one is
complete. An order of tokens becomes a loop with a memory that goes round. Values are the same;
the FIFO in front, which was the line buffer, only has to hold what is beyond it.

A function that was rewritten takes tokens and gives them by copies between one row of an
argument and an array of its own, each row once and in order.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import memref
from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IntegerAttr,
    ModuleOp,
    StringAttr,
    i64,
)
from xdsl.dialects.func import FuncOp
from xdsl.passes import ModulePass

from fastml.compiler.support.names import Namer
from fastml.dialects import directives
from fastml.dialects.affine_processes import Dataflow, Process, dataflow_of
from fastml.dialects.line_access import LineAccess
from fastml.lowering.hls_beat_copies import copy_beats
from fastml.lowering.hls_token_loops import TokenLoops

DEPTH = 2
"""Least depth of a FIFO in front of a process that has a memory of its own."""


@dataclass(frozen=True)
class HlsLineBuffers(ModulePass):
    """Give every process that reads at random a memory of its own, for HLS."""

    name = "hls-line-buffers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the processes of ``op``, and make the FIFOs in front of them shallow."""
        tops = [f for f in op.ops if isinstance(f, FuncOp) and directives.TOP in f.attributes]
        processes = [
            f for f in op.ops if isinstance(f, FuncOp) and directives.PROCESS in f.attributes
        ]
        if len(tops) != 1 or not processes:
            return
        flow = dataflow_of(op, tops[0])
        for process in flow.processes:
            if process.access is not None:
                _shorten(flow, process, process.access)
        found = {p.function: p for p in flow.processes if p.access is not None}
        loops = [
            TokenLoops(op, process, process.access)
            for process in found.values()
            if process.access is not None
        ]
        for body in loops:
            body.clear()
        _drop_unread(op)
        namer = Namer(_symbols(op))
        for body in loops:
            body.write(namer)
        for function in processes:
            if function not in found:
                copy_beats(function)


def _symbols(module: ModuleOp) -> list[str]:
    names = (op.properties.get("sym_name") for op in module.ops)
    return [name.data for name in names if isinstance(name, StringAttr)]


def _drop_unread(module: ModuleOp) -> None:
    """Erase the constants that nothing reads any more."""
    read = {op.name_.string_value() for op in module.walk() if isinstance(op, memref.GetGlobalOp)}
    for op in list(module.ops):
        if isinstance(op, memref.GlobalOp) and op.sym_name.data not in read:
            op.detach()
            op.erase()


def _shorten(flow: Dataflow, process: Process, access: LineAccess) -> None:
    """Take from the FIFO in front of ``process`` what its own memory will hold."""
    (argument,) = process.inputs
    (operand,) = (
        operand
        for operand, given in zip(process.call.operands, process.arguments, strict=True)
        if given is argument
    )
    stream = flow.streams[operand]
    held = int(access.steps.needs.max()) - 1
    depth = IntegerAttr(max(stream.depth - held, DEPTH), i64)
    if isinstance(operand.owner, memref.AllocOp):
        operand.owner.attributes[directives.STREAM] = depth
        return
    described = list(directives.argument_attributes(flow.top))
    position = [given is operand for given in flow.top.args].index(True)
    described[position] = {**described[position], directives.STREAM: depth}
    flow.top.arg_attrs = ArrayAttr([DictionaryAttr(facts) for facts in described])
