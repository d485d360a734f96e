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
from fastml.lowering.line_buffer import FIRE, TOKEN, LineBuffer, build_line_buffer
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
        if process.process.access is None
    }
    top = _Top(schedule, processes)
    module = top.module()
    modules = [*functions.modules.values(), *top.fifos.values(), *top.buffers.values(), module]
    return Design(modules, DictionaryAttr(top.taps))


@dataclass(frozen=True)
class _Placed:
    """A FIFO in the design: its inputs, which are driven later, and its outputs.

    Or a line buffer with the process that reads it.
    """

    name: str
    inputs: Mapping[str, Wire]
    outputs: Mapping[str, Wire]


class _Top:
    """Builds the module of the design."""

    def __init__(self, schedule: DataflowSchedule, processes: Mapping[FuncOp, ProcessModule]):
        self.flow = schedule.flow
        self.processes = processes
        self.netlist = Netlist()
        self.fifos: dict[Fifo, hw.HWModuleOp] = {}
        self.buffers: dict[LineBuffer, hw.HWModuleOp] = {}
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
        placed = {value: self.stream(stream) for value, stream in flow.streams.items()}
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
            if process.access is None:
                self.place(process, placed)
            else:
                self.join(process, placed)
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

    def stream(self, stream: Stream) -> _Placed:
        """Place what is behind a stream: a FIFO, or a line buffer and the process with it."""
        array = stream.array
        late = stream.writer is not None and stream.writer[1].latency > 0
        if stream.reader is None or stream.reader[0].access is None:
            fifo = Fifo(stream.depth, array.elements.total_width, late)
            module = self.fifos.get(fifo)
            if module is None:
                name = self.module_names.unique(fifo.stem)
                module = self.fifos[fifo] = build_fifo(fifo, name, self.netlist.location)
            return self.instance(self.names.unique(stream.name), module, fifo.width)
        process, argument = stream.reader
        assert process.access is not None
        outputs = process.outputs
        elements = outputs[0].elements
        buffer = LineBuffer(
            process.access, argument.elements, elements, stream.depth, late, len(outputs)
        )
        module = self.buffers.get(buffer)
        if module is None:
            name = self.module_names.unique(buffer.stem)
            module = build_line_buffer(buffer, name, process.function.location)
            self.buffers[buffer] = module
        name = self.names.unique(process.name)
        return self.instance(name, module, argument.elements.total_width)

    def instance(self, name: str, module: hw.HWModuleOp, width: int) -> _Placed:
        """Place a module; what goes into it is not there yet."""
        netlist = self.netlist
        names = [port for port in input_names(module) if port not in (CLOCK, RESET)]
        widths = {"push_data": width}
        inputs = {port: netlist.forward(widths.get(port, 1)) for port in ("push_data", *names)}
        instance = Instance(name, module.sym_name.data, input_names(module), output_ports(module))
        results = netlist.instance(instance, [inputs[port] for port in names])
        outputs = {port: wire for (port, _), wire in zip(instance.outputs, results, strict=True)}
        return _Placed(name, inputs, {"data": netlist.constant(0, 0), **outputs})

    def join(self, process: Process, placed: Mapping[SSAValue, _Placed]) -> None:
        """Connect a process that is placed with its line buffer to what it writes."""
        netlist = self.netlist
        netlist.location = process.call.location
        ends = list(zip(process.call.operands, process.arguments, strict=True))
        (own,) = (placed[operand] for operand, argument in ends if not argument.output)
        targets = [(placed[operand], argument) for operand, argument in ends if argument.output]
        for number, (target, argument) in enumerate(targets):
            if f"room_{number}" in own.inputs:
                netlist.drive(own.inputs[f"room_{number}"], target.outputs["ready"])
            netlist.drive(target.inputs["push"], own.outputs["send"])
            netlist.drive(target.inputs["push_data"], own.outputs["data"])
            netlist.drive(target.inputs["reserve"], own.outputs["claim"])
            edge = directives.text(argument.attributes, directives.NAME)
            if edge is not None:
                cycles = (argument.latency,) * len(argument.elements)
                tap = Tap(argument.elements, TOKEN, cycles)
                self.taps.setdefault(edge, tap.attribute(FIRE, own.name))

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
