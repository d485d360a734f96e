"""Prove the schedule of a dataflow: of each process on its own, from its firing.

What happens between processes needs no proof: FIFOs and credits take care of it, and only how
fast the network is depends on their depths (:mod:`fastml.dialects.token_flow`). A process is a
static design, a loop over phases (:mod:`fastml.lowering.phase_schedule`), or copies of tokens
that are read at random (:mod:`fastml.lowering.check_access`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.func import FuncOp

from fastml.dialects.affine_processes import Dataflow, Process
from fastml.lowering.check_access import check_access
from fastml.lowering.check_functions import Arrival, FunctionChecker
from fastml.lowering.phase_schedule import PhaseSchedule, check_phases
from fastml.lowering.schedule_facts import FunctionSchedule, has_loops, illegal


@dataclass(frozen=True)
class ProcessSchedule:
    """What is known of the time of a process."""

    process: Process
    facts: FunctionSchedule
    phases: PhaseSchedule | None
    """For one that is a loop over phases."""


@dataclass(frozen=True)
class DataflowSchedule:
    """Schedules of all processes, and of the functions that they call."""

    flow: Dataflow
    processes: Mapping[FuncOp, ProcessSchedule]
    functions: Mapping[FuncOp, FunctionSchedule]
    """Every function after those that it calls, without the processes."""


def check_dataflow(flow: Dataflow, functions: Mapping[str, FuncOp]) -> DataflowSchedule:
    """Check every process of ``flow``."""
    looped = {function for function in functions.values() if has_loops(function)}
    checked = dict[FuncOp, FunctionSchedule]()
    processes = dict[FuncOp, ProcessSchedule]()
    for process in flow.processes:
        if process.function not in processes:
            checker = FunctionChecker(functions, looped, process.interval, checked)
            processes[process.function] = _check_process(process, checker)
    own = {function: facts for function, facts in checked.items() if function not in processes}
    return DataflowSchedule(flow, processes, own)


def _check_process(process: Process, checker: FunctionChecker) -> ProcessSchedule:
    if process.access is not None:
        check_access(process)
        facts = FunctionSchedule(process.function, looped=False, ii=1)
        return ProcessSchedule(process, facts, None)
    if process.loop is not None:
        phases = check_phases(process, checker)
        return ProcessSchedule(process, phases.facts, phases)
    arriving = [
        Arrival([0] * len(argument.elements), [0] * len(argument.elements))
        for argument in process.inputs
    ]
    facts = checker.check(process.function, arriving)
    for output in process.outputs:
        for element, cycle in enumerate(facts.elements[output.value]):
            if cycle > output.latency:
                raise illegal(
                    f"latency is {output.latency}, but element {element} of "
                    f"'{output.name}' is stored in cycle {cycle}",
                    process.function,
                )
    return ProcessSchedule(process, facts, None)
