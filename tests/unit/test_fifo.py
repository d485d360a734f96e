"""First-in, first-out memories against a deque, and how they map."""

from collections import deque
from collections.abc import Callable, Mapping
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import IntegerType, ModuleOp, UnknownLoc
from xdsl.utils.hints import isa

from fastml.compiler.emit.systemverilog import emit_systemverilog
from fastml.lowering.fifo import Fifo, Storage, build_fifo
from fastml.lowering.hw_builder import Instance, Netlist, Wire
from fastml.lowering.hw_materialise import Output, input_names, materialise, output_ports
from fastml.runtime.hw import HwSimulator, Undefined, words_of
from fastml.runtime.hw import simulate as simulate_wires
from fastml.runtime.trace import Integers
from fastml.runtime.verilator import VerilatedDesign, lint
from fastml.runtime.yosys import synthesise

Wires = Mapping[str, list[int]]


def module_of(fifo: Fifo, storage: Storage | None = None) -> ModuleOp:
    module = ModuleOp([build_fifo(fifo, "fifo", UnknownLoc(), storage)])
    module.verify()
    return module


def drive(fifo: Fifo, random: Random, cycles: int) -> tuple[Wires, Wires]:
    """Legal random traffic, with resets; and what a deque answers to it."""
    beats: deque[int] = deque()
    coming: list[int] = []  # cycles in which reserved slots are pushed
    given: dict[str, list[int]] = {n: [] for n in ("rst", "reserve", "push", "push_data", "pop")}
    seen: dict[str, list[int]] = {n: [] for n in ("ready", "valid", "data")}
    eager = random.choice([0.1, 0.5, 0.9])
    for t in range(cycles):
        reset = t == 0 or random.random() < 0.01
        used = len(beats) + len(coming)
        reserve = used < fifo.depth and random.random() < eager
        pop = len(beats) > 0 and random.random() < 1.1 - eager
        seen["ready"].append(used < fifo.depth)
        seen["valid"].append(len(beats) > 0)
        seen["data"].append(beats[0] if beats else -1)
        if reserve:
            late = random.randrange(4) if fifo.reserved else 0
            coming.append(max([t + late, *(c + 1 for c in coming[-1:])]))
        push = coming[:1] == [t]
        beat = random.getrandbits(fifo.width) if fifo.width else 0
        values = (reset, reserve, push, beat, pop)
        for name, value in zip(given, values, strict=True):
            given[name].append(int(value))
        if pop:
            beats.popleft()
        if push:
            coming.pop(0)
            beats.append(beat)
        if reset:
            beats.clear()
            coming.clear()
    if not fifo.reserved:
        del given["reserve"]
    if not fifo.width:
        del given["push_data"]
    return given, seen


def agree(seen: Wires, found: Mapping[str, Integers]) -> None:
    """After the first reset; data count while they are valid."""
    for name in ("ready", "valid"):
        np.testing.assert_array_equal(seen[name][1:], found[name][1:], name)
    if "data" in found:
        valid = np.array(seen["valid"], bool)
        valid[0] = False
        expected = np.array(seen["data"], object)[valid]
        np.testing.assert_array_equal(expected, found["data"][valid].astype(object))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(0, 70),
    st.booleans(),
    st.sampled_from(Storage),
    st.randoms(use_true_random=False),
    st.sampled_from([Undefined.PATTERN, Undefined.INVERSE]),
)
def test_a_deque(
    depth: int,
    width: int,
    reserved: bool,
    storage: Storage,
    random: Random,
    undefined: Undefined,
):
    fifo = Fifo(depth, width, reserved)
    module = module_of(fifo, storage if depth > 1 else None)
    given, seen = drive(fifo, random, 200)
    agree(seen, simulate_wires(module, "fifo", given, 200, undefined=undefined))


@pytest.mark.parametrize("storage", Storage)
def test_verilator(storage: Storage, require_tool: Callable[[str], str]):
    require_tool("verilator")
    fifo, cycles = Fifo(5, 12, True), 2000
    module = module_of(fifo, storage)
    files = emit_systemverilog(module)
    assert not lint(files, "fifo")
    widths = {"rst": 1, "reserve": 1, "push": 1, "push_data": 12, "pop": 1}
    outputs = {"ready": 1, "valid": 1, "data": 12}
    assert HwSimulator(module, "fifo").inputs == widths
    design = VerilatedDesign(files, "fifo", widths, outputs)
    given, seen = drive(fifo, Random(1), cycles)
    words = design.run(words_of(given, widths, cycles), cycles)
    agree(seen, {name: words[name][:, 0].astype(np.int64) for name in outputs})


FIFOS = {
    Fifo(2, 200, True): Storage.REGISTERS,
    Fifo(16, 4, False): Storage.REGISTERS,
    Fifo(32, 16, True): Storage.DISTRIBUTED,
    Fifo(128, 64, True): Storage.BLOCK,
    Fifo(1000, 18, False): Storage.BLOCK,
}


def test_cells(require_tool: Callable[[str], str]):
    """Deep memories become the memories of the target, and no registers."""
    require_tool("yosys")
    assert all(fifo.storage is storage for fifo, storage in FIFOS.items())
    netlist, modules = Netlist(), [build_fifo(f, f.stem, UnknownLoc()) for f in FIFOS]
    inputs, outputs = list[Wire](), list[Output]()
    for module in modules:
        name = module.sym_name.data
        widths = {
            port.port_name.data: port.type.width.data
            for port in module.module_type.ports
            if isa(port.type, IntegerType)
        }
        names = [port for port in input_names(module) if port not in ("clk", "rst")]
        inputs += [netlist.input(f"{name}_{port}", widths[port]) for port in names]
        place = Instance(f"the_{name}", name, input_names(module), output_ports(module))
        results = netlist.instance(place, inputs[-len(names) :])
        for (port, _), wire in zip(output_ports(module), results, strict=True):
            outputs.append(Output(f"{name}_{port}", wire))
    top = materialise(netlist, "top", inputs, outputs, clocked=True, location=UnknownLoc())
    found = synthesise(emit_systemverilog(ModuleOp([*modules, top])), "top")
    registers = sum(f.depth * f.width for f, s in FIFOS.items() if s is Storage.REGISTERS)
    forwarded = sum(f.width + 1 for f, s in FIFOS.items() if s is Storage.BLOCK)
    counters = sum(4 * f.depth.bit_length() for f in FIFOS)
    assert registers <= found.ff <= registers + forwarded + counters
    assert found.bram == 3
    assert any(cell.startswith("RAM32") for cell in found.by_type)
