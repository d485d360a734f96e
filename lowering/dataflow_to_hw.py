"""Lower a dataflow: a module for each process, a FIFO for each stream, and the wires between.

Ports of the design: an input ``x`` has ``x_valid`` and ``x``, and answers ``x_ready``; an
output ``y`` gives ``y_valid`` and ``y``, and is answered by ``y_ready``. A beat moves in the
cycle in which both are set.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects import hw
from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IntegerAttr,
    StringAttr,
    UnitAttr,
    i64,
)
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, SSAValue

from fastml.compiler.support.names import Namer
from fastml.dialects import directives
from fastml.dialects.affine_processes import Beats, Process, Stream
from fastml.lowering.check_dataflow import DataflowSchedule
from fastml.lowering.fifo import Fifo, build_fifo
from fastml.lowering.hw_builder import Instance, Netlist, Wire
from fastml.lowering.hw_materialise import (
    CLOCK,
    RESET,
    Output,
    input_names,
    materialise,
    output_ports,
)
from fastml.lowering.process_to_hw import ProcessModule, build_process
from fastml.lowering.static_to_hw import Functions, Tap


@dataclass(frozen=True)
class Design:
    """The modules of a dataflow, each after those that it places, and where to watch it."""

    modules: list[hw.HWModuleOp]
    taps: DictionaryAttr


def lower_dataflow(schedule: DataflowSchedule) -> Design:
    """Return the hardware of a checked dataflow."""
    functions = Functions(schedule.functions)
    for facts in schedule.functions.values():
        functions.lower(facts)
    processes = {
        function: build_process(process, functions)
        for function, process in schedule.processes.items()
    }
    top = _Top(schedule, processes)
    module = top.module()
    modules = [*functions.modules.values(), *top.fifos.values(), module]
    return Design(modules, DictionaryAttr(top.taps))


@dataclass(frozen=True)
class _Placed:
    """A FIFO in the design: its inputs, which are driven later, and its outputs."""

    inputs: Mapping[str, Wire]
    outputs: Mapping[str, Wire]


class _Top:
    """Builds the module of the design."""

    def __init__(self, schedule: DataflowSchedule, processes: Mapping[FuncOp, ProcessModule]):
        self.flow = schedule.flow
        self.processes = processes
        self.netlist = Netlist()
        self.fifos: dict[Fifo, hw.HWModuleOp] = {}
        self.taps: dict[str, Attribute] = {}
        names = [facts.name for facts in schedule.functions.values()]
        names += [p.process.function.sym_name.data for p in schedule.processes.values()]
        self.module_names = Namer([*names, self.flow.top.sym_name.data])
        ports = [argument.port for argument in self.flow.arguments]
        ends = ("", "_valid", "_ready")
        self.names = Namer([CLOCK, RESET, *(f"{p}{end}" for p in ports for end in ends)])

    def module(self) -> hw.HWModuleOp:
        """Place FIFOs and processes, and connect them."""
        netlist, flow = self.netlist, self.flow
        netlist.location = flow.top.location
        inputs, outputs = list[Wire](), list[Output]()
        placed = {value: self.fifo(stream) for value, stream in flow.streams.items()}
        for argument in flow.arguments:
            fifo, port = placed.get(argument.value), argument.port
            if argument.output:
                assert fifo is not None
                ready = netlist.input(f"{port}_ready", 1)
                inputs.append(ready)
                valid = fifo.outputs["valid"]
                netlist.drive(fifo.inputs["pop"], netlist.and_(valid, ready))
                outputs.append(Output(f"{port}_valid", valid))
                outputs.append(Output(port, fifo.outputs["data"]))
                continue
            valid = netlist.input(f"{port}_valid", 1)
            beat = netlist.input(port, argument.elements.total_width)
            inputs += [valid, beat]
            ready = netlist.constant(1, 1) if fifo is None else fifo.outputs["ready"]
            outputs.append(Output(f"{port}_ready", ready))
            if fifo is not None:
                netlist.drive(fifo.inputs["push"], netlist.and_(valid, ready))
                netlist.drive(fifo.inputs["push_data"], beat)
            self.tap_input(argument)
        for process in flow.processes:
            self.place(process, placed)
        module = materialise(
            netlist,
            flow.top.sym_name.data,
            inputs,
            outputs,
            clocked=True,
            location=flow.top.location,
        )
        module.attributes |= self.attributes()
        return module

    def fifo(self, stream: Stream) -> _Placed:
        """Place the FIFO of a stream; what goes into it is not there yet."""
        array, netlist = stream.array, self.netlist
        late = stream.writer is not None and stream.writer[1].latency > 0
        fifo = Fifo(stream.depth, array.elements.total_width, late)
        module = self.fifos.get(fifo)
        if module is None:
            name = self.module_names.unique(fifo.stem)
            module = self.fifos[fifo] = build_fifo(fifo, name, netlist.location)
        names = [name for name in input_names(module) if name not in (CLOCK, RESET)]
        widths = {"push_data": fifo.width}
        inputs = {name: netlist.forward(widths.get(name, 1)) for name in ("push_data", *names)}
        instance = Instance(
            self.names.unique(stream.name),
            module.sym_name.data,
            input_names(module),
            output_ports(module),
        )
        results = netlist.instance(instance, [inputs[name] for name in names])
        outputs = {name: wire for (name, _), wire in zip(instance.outputs, results, strict=True)}
        return _Placed(inputs, {"data": netlist.constant(0, 0), **outputs})

    def place(self, process: Process, placed: Mapping[SSAValue, _Placed]) -> None:
        """Place a process between its FIFOs."""
        built, netlist = self.processes[process.function], self.netlist
        netlist.location = process.call.location
        ends = list(zip(process.call.operands, process.arguments, strict=True))
        data = dict[str, Wire]()
        for operand, argument in ends:
            fifo, port = placed[operand], argument.port
            if argument.output:
                data[f"{port}_ready"] = fifo.outputs["ready"]
            else:
                data |= {f"{port}_valid": fifo.outputs["valid"], port: fifo.outputs["data"]}
        names = input_names(built.module)
        name = self.names.unique(process.name)
        instance = Instance(name, built.module.sym_name.data, names, output_ports(built.module))
        wires = [data[port] for port in names if port not in (CLOCK, RESET)]
        results = netlist.instance(instance, wires)
        given = {port: wire for (port, _), wire in zip(instance.outputs, results, strict=True)}
        for operand, argument in ends:
            inputs, port = placed[operand].inputs, argument.port
            if not argument.output:
                netlist.drive(inputs["pop"], given[f"{port}_ready"])
                continue
            netlist.drive(inputs["push"], given[f"{port}_valid"])
            netlist.drive(inputs["push_data"], given.get(port, netlist.constant(0, 0)))
            if "reserve" in inputs:
                netlist.drive(inputs["reserve"], given[f"{port}_reserve"])
        for edge, tap in built.taps.items():
            self.taps.setdefault(edge, tap.tap.attribute(tap.fire, name))

    def tap_input(self, argument: Beats) -> None:
        """Let an input be watched: where it comes in."""
        name = directives.text(argument.attributes, directives.NAME)
        if name is None or not argument.elements.total_width:
            return
        cycles = (0,) * len(argument.elements)
        self.taps[name] = Tap(argument.elements, argument.port, cycles).attribute()

    def attributes(self) -> dict[str, Attribute]:
        """Return what users of the module need to know of it."""

        def listed(output: bool) -> Attribute:
            return ArrayAttr(
                [
                    DictionaryAttr(
                        {
                            "name": StringAttr(argument.name),
                            "port": StringAttr(argument.port),
                            "elements": StringAttr(str(argument.elements)),
                            "protocol": StringAttr("rv"),
                            "beats": IntegerAttr(argument.beats, i64),
                        }
                    )
                    for argument in self.flow.arguments
                    if argument.output is output
                ]
            )

        own = self.flow.top.attributes
        ports = {"inputs": listed(False), "outputs": listed(True)}
        return {
            directives.TOP: UnitAttr(),
            directives.II: own[directives.II],
            directives.LATENCY: own[directives.LATENCY],
            directives.PORTS: DictionaryAttr(ports),
        }
