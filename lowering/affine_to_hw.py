"""Lower scheduled affine programs to hardware modules.

Every function becomes one ``hw.module``. The top function of a static program becomes the
design: its inputs arrive together with their valid bits, and its outputs appear
``fastml.latency`` cycles later with theirs. Functions of static time are lowered by
:mod:`fastml.lowering.static_to_hw`, networks of processes by
:mod:`fastml.lowering.dataflow_to_hw`.
"""

from collections.abc import Sequence

from xdsl.context import Context
from xdsl.dialects import hw, memref
from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IntegerAttr,
    ModuleOp,
    StringAttr,
    UnitAttr,
    i64,
)
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, SSAValue
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import directives
from fastml.dialects.loadable import Loadable, loadables_of
from fastml.lowering.check_schedule import ModuleSchedule, check_schedule
from fastml.lowering.dataflow_to_hw import Design, lower_dataflow
from fastml.lowering.hw_builder import Netlist, Wire
from fastml.lowering.hw_materialise import Output, materialise
from fastml.lowering.loops_to_hw import LoopLowering, unused
from fastml.lowering.schedule_facts import Edge, argument_edges
from fastml.lowering.static_to_hw import Functions, TimedBody, port_of


class AffineToHw(ModulePass):
    """Turn scheduled affine functions into hw, comb and seq; check the schedule first."""

    name = "affine-to-hw"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Replace the functions of ``op`` by hardware modules."""
        lower_module(op)


def lower_module(module: ModuleOp) -> None:
    """Check the schedule of ``module`` and replace its functions by hardware modules."""
    schedule = check_schedule(module)
    if schedule.dataflow is None:
        design = _lower_static(schedule)
    else:
        if loadables_of(module):
            raise FastmlError(
                "weights are loaded into static designs alone", module, code="FML-OPTION"
            )
        design = lower_dataflow(schedule.dataflow)
    for op in list(module.ops):
        if isinstance(op, FuncOp | memref.GlobalOp):
            op.detach()
            op.erase(safe_erase=False)
    module.body.block.add_ops(design.modules)
    module.attributes[directives.TAPS] = design.taps


def _lower_static(schedule: ModuleSchedule) -> Design:
    """Lower a program whose cycles are all known."""
    functions = Functions(schedule.functions)
    for facts in schedule.functions.values():
        if facts is not schedule.top:
            functions.lower(facts)
    design = _Top(schedule, functions)
    functions.add(design.module(), schedule.top)
    taps = {name: tap.attribute() for name, tap in design.taps.items()}
    return Design(list(functions.modules.values()), DictionaryAttr(taps))


class _Top(TimedBody):
    """Lower the top function: valid bits, tensor ports, watched edges."""

    def __init__(self, schedule: ModuleSchedule, owner: Functions):
        super().__init__(schedule.top, Netlist(), owner)
        self.latency = schedule.latency

    def module(self) -> hw.HWModuleOp:
        """Lower the function."""
        facts, netlist = self.facts, self.netlist
        netlist.location = facts.function.location
        arguments = [(v, e, port_of(e)) for v, e in argument_edges(facts.function)]
        inputs = list[Wire]()
        for value, edge, port in arguments:
            if not edge.output:
                inputs += [netlist.input(f"{port}_valid", 1), self.receive(value, edge, port)]
                self.tap(edge, port, [0] * len(edge.elements))
        if not inputs:
            raise FastmlError("the top function has no inputs", facts.function)
        words = self.weight_ports()
        valid = inputs[0]
        for wire in inputs[2::2]:
            valid = netlist.and_(valid, wire)
        self.valids[0] = valid
        loops = None
        if facts.looped:
            loops = LoopLowering(facts, netlist)
            beats = inputs[1::2]
            for value, elements in loops.build(valid, beats).items():
                self.memories[value] = list(elements)
            self.finished(facts.latency, loops.done)
        else:
            self.run()
            self.watch_stored()
        netlist.location = facts.function.location
        outputs = self.outputs([argument for argument in arguments if argument[1].output])
        module = materialise(
            netlist,
            facts.name,
            [*inputs, *words],
            outputs,
            clocked=True,
            keep=self.watched,
            location=facts.function.location,
        )
        module.attributes |= self.attributes(arguments)
        return module

    @property
    def loadables(self) -> list[Loadable]:
        """The weights that ports load, in the functions that are called."""
        return [load.loadable for loops in self.owner.looped.values() for load in loops.loads]

    def weight_ports(self) -> list[Wire]:
        """Create the ports of weights that are loaded."""
        for loadable in self.loadables:
            valid = self.netlist.input(f"{loadable.port}_valid", 1)
            word = self.netlist.input(loadable.port, loadable.elements.total_width)
            self.load_wires[loadable.port] = valid, word
        return [wire for pair in self.load_wires.values() for wire in pair]

    def outputs(self, arguments: Sequence[tuple[SSAValue, Edge, str]]) -> list[Output]:
        """Return the output ports: every element of a beat in the cycle of the latency."""
        latency, outputs = self.latency, list[Output]()
        for value, edge, port in arguments:
            cycles = [max(cycle, 0) for cycle in self.facts.elements[value]]
            if all(cycle == latency for cycle in cycles):
                self.tap(edge, port, cycles)
            else:
                early = unused(f"{port}_early", {edge.port for edge in self.edges.values()})
                self.tap(edge, early, cycles)
                self.unpack(value, edge, self.keep(self.beat(value), early))
            outputs.append(Output(f"{port}_valid", self.valid_at(latency)))
            outputs.append(Output(port, self.beat(value, latency)))
        return outputs

    def attributes(self, arguments: Sequence[tuple[SSAValue, Edge, str]]) -> dict[str, Attribute]:
        """Return what users of the module need to know of it."""

        def listed(output: bool) -> Attribute:
            return ArrayAttr(
                [
                    DictionaryAttr(
                        {
                            "name": StringAttr(edge.name),
                            "port": StringAttr(port),
                            "elements": StringAttr(str(edge.elements)),
                        }
                    )
                    for _, edge, port in arguments
                    if edge.output is output
                ]
            )

        ports = {"inputs": listed(False), "outputs": listed(True)}
        if loadables := self.loadables:
            ports["weights"] = ArrayAttr([loadable.attribute() for loadable in loadables])
        return {
            directives.TOP: UnitAttr(),
            directives.II: IntegerAttr(self.facts.ii, i64),
            directives.LATENCY: IntegerAttr(self.latency, i64),
            directives.PORTS: DictionaryAttr(ports),
        }
