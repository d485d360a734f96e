"""Prove that the start cycles of an affine program are legal.

Time is counted from the cycle of the frame's input beat. A value is there in the cycle in
which its operation executes, and at any time if it is a constant; an operation may execute
when all its operands are there; an element of a memref is there when it has been stored.
Functions without loops are wiring and arithmetic of one design-wide time; functions with
loops (:mod:`fastml.lowering.loop_schedule`) have memories and count from their call.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.affine_processes import dataflow_of
from fastml.lowering.check_dataflow import DataflowSchedule, check_dataflow
from fastml.lowering.check_functions import Arrival, FunctionChecker
from fastml.lowering.schedule_facts import (
    Edge,
    FunctionSchedule,
    argument_edges,
    has_loops,
    illegal,
)

_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class CheckSchedule(ModulePass):
    """Prove the start cycles, latencies and intervals of an affine program legal."""

    name = "check-schedule"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Check ``op``; raise ``FastmlError`` at the first violation."""
        check_schedule(op)


@dataclass
class ModuleSchedule:
    """Schedules of all functions that the design uses."""

    top: FunctionSchedule
    latency: int
    """Cycle in which the output beats appear."""
    functions: Mapping[FuncOp, FunctionSchedule]
    """Every function after those that it calls."""
    dataflow: DataflowSchedule | None = None
    """For a network of processes."""


def check_schedule(module: ModuleOp) -> ModuleSchedule:
    """Check the whole program and return what is known of its time."""
    directives.verify_directives(module)
    functions = {op.sym_name.data: op for op in module.ops if isinstance(op, FuncOp)}
    for function in functions.values():
        if len(function.body.blocks) != 1:
            raise FastmlError("a function must be one block", function)
        for attributes in directives.argument_attributes(function):
            port = directives.text(attributes, directives.PORT)
            if port is not None and not _IDENTIFIER.fullmatch(port):
                raise FastmlError(f"'{directives.PORT}' must be an identifier: '{port}'", function)
    tops = [op for op in functions.values() if directives.TOP in op.attributes]
    if len(tops) != 1:
        raise illegal(f"one function must have '{directives.TOP}', {len(tops)} do", module)
    ii = directives.integer(tops[0].attributes, directives.II)
    latency = directives.integer(tops[0].attributes, directives.LATENCY)
    if ii is None or latency is None:
        raise illegal(
            f"the top function needs '{directives.II}' and '{directives.LATENCY}'", tops[0]
        )
    if directives.DATAFLOW in tops[0].attributes:
        dataflow = check_dataflow(dataflow_of(module, tops[0]), functions)
        top = FunctionSchedule(tops[0], looped=False, ii=ii, latency=latency)
        return ModuleSchedule(top, latency, dataflow.functions, dataflow)
    arriving = [
        Arrival([0] * len(edge.elements), [0] * len(edge.elements))
        for _, edge in argument_edges(tops[0])
        if not edge.output
    ]
    checked = dict[FuncOp, FunctionSchedule]()
    looped = {function for function in functions.values() if has_loops(function)}
    top = FunctionChecker(functions, looped, ii, checked).check(tops[0], arriving)
    for value, edge in argument_edges(tops[0]):
        if edge.output:
            _check_deadline(edge, top.elements[value], latency, top)
    return ModuleSchedule(top, latency, checked)


def _check_deadline(edge: Edge, cycles: list[int], latency: int, top: FunctionSchedule) -> None:
    for element, cycle in enumerate(cycles):
        if cycle > latency:
            raise illegal(
                f"latency is {latency}, but element {element} of '{edge.name}' is "
                f"stored in cycle {cycle}",
                top.function,
            )
