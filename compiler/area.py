"""Estimate the area of ``hw`` IR before any synthesis: 6-input LUTs, registers, memories.

The figures are a count of bits with one factor per kind of operation, fitted to yosys
(``synth_xilinx``); they say what a change does, and how large a design roughly is. Whoever
has synthesised the design has better ones: the report states where each comes from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects import comb, hw, seq
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.utils.hints import isa

from fastml.dialects.hw_extra import AggregateConstantOp
from fastml.lowering.folding_cost import (
    DSP_WIDTHS,
    SMALL_PRODUCT,
    block_memories,
    mux_luts,
    table_luts,
)

PROVENANCE = "estimate"
ERROR_BAND = 0.25
"""Relative error of LUTs to reckon with; on the models that the factors were fitted to, the
jet tagger and the project's example, it is below 0.05."""
ADDER = 0.78
"""LUTs for each bit of an adder: bits that only one operand has are often wires."""
BLOCK_BITS = 18_432
"""Bits of a block memory."""
BLOCK_LEAST = 8192
"""Bits of a constant memory from which on Yosys puts it into block memories."""
SMALL_MEMORY = 1024
"""Memories of at most so many bits are made of LUTs."""


@dataclass(frozen=True)
class Area:
    """Resources of a design or of one module."""

    lut: float = 0.0
    ff: int = 0
    dsp: int = 0
    bram: float = 0.0

    def __add__(self, other: "Area") -> "Area":
        return Area(
            self.lut + other.lut,
            self.ff + other.ff,
            self.dsp + other.dsp,
            self.bram + other.bram,
        )

    @property
    def figures(self) -> dict[str, object]:
        """The figures as a report has them."""
        return {
            "lut": round(self.lut),
            "ff": self.ff,
            "dsp": self.dsp,
            "bram": round(self.bram, 1),
            "provenance": PROVENANCE,
            "error_band": ERROR_BAND,
        }


def estimate_area(module: ModuleOp, top: str) -> Area:
    """Estimate the module ``top`` with all that it instantiates."""
    modules = {op.sym_name.data: op for op in module.ops if isinstance(op, hw.HWModuleOp)}
    return _module_area(top, modules, {})


def _module_area(name: str, modules: Mapping[str, hw.HWModuleOp], known: dict[str, Area]) -> Area:
    if name not in known:
        total = Area()
        for op in modules[name].body.block.ops:
            if isinstance(op, hw.InstanceOp):
                total += _module_area(op.module_name.string_value(), modules, known)
            else:
                total += operation_area(op)
        known[name] = total
    return known[name]


def _width(value: SSAValue) -> int:
    return value.type.width.data if isa(value.type, IntegerType) else 0


def operation_area(op: Operation) -> Area:
    """Estimate one operation; wiring is free."""
    width = _width(op.results[0]) if op.results else 0
    operands = len(op.operands)
    match op:
        case comb.AddOp() | comb.SubOp():
            return Area(lut=ADDER * width * max(operands - 1, 1))
        case comb.MulOp():
            return _product_area(op)
        case comb.ICmpOp():
            return Area(lut=0.5 * _width(op.operands[0]))
        case comb.MuxOp():
            return Area() if _enables(op) else Area(lut=0.5 * width)
        case comb.AndOp() | comb.OrOp() | comb.XorOp():
            return Area(lut=0.2 * width * max(operands - 1, 1))
        case comb.ShlOp() | comb.ShrUOp() | comb.ShrSOp():
            return Area(lut=float(width * max(width, 1).bit_length()) / 2)
        case seq.CompRegOp():
            return Area() if _in_memory(op) else Area(ff=width)
        case hw.ArrayGetOp():
            return _choice_area(op)
        case _:
            return _memory_area(op)


def _product_area(op: comb.MulOp) -> Area:
    """Estimate a multiplier by the widths that its factors have before they are extended."""
    a, b = (_own_width(operand) for operand in op.operands)
    if a * b <= SMALL_PRODUCT:
        return Area(lut=float(a * b))
    small, large = sorted((a, b))
    return Area(dsp=-(-small // DSP_WIDTHS[0]) * -(-large // DSP_WIDTHS[1]))


def _own_width(value: SSAValue) -> int:
    """Return the width of a number without the bits that only extend it."""
    owner = value.owner
    if isinstance(owner, comb.ConcatOp):
        first = owner.operands[0].owner
        if isinstance(first, comb.ReplicateOp | hw.ConstantOp):
            sign = isinstance(first, comb.ReplicateOp)
            rest = sum(_width(part) for part in owner.operands[1:])
            return rest if sign else rest + 1
    return _width(value)


def _enables(op: comb.MuxOp) -> bool:
    """Whether a choice is the enable of a register, between a new value and its own."""
    users = [use.operation for use in op.results[0].uses]
    return (
        len(users) == 1
        and isinstance(users[0], seq.CompRegOp)
        and users[0].results[0] in op.operands[1:]
    )


def _choice_area(op: hw.ArrayGetOp) -> Area:
    """Estimate a constant memory, or a choice among words."""
    width, source = _width(op.results[0]), op.input.owner
    if isinstance(source, AggregateConstantOp):
        words = len(source.words())
        return Area(bram=_blocks(op)) if _blocks(op) else Area(lut=table_luts(words, width))
    assert isinstance(source, hw.ArrayCreateOp)
    return Area(lut=mux_luts(len(source.operands), width))


def _blocks(op: hw.ArrayGetOp) -> int:
    """Return the block memories of a constant memory; 0 where it is made of LUTs."""
    source, width = op.input.owner, _width(op.results[0])
    users = [use.operation for use in op.results[0].uses]
    if not isinstance(source, AggregateConstantOp) or len(users) != 1:
        return 0
    words = len(source.words())
    fits = isinstance(users[0], seq.CompRegOp) and words * width >= BLOCK_LEAST
    return block_memories(words, width) if fits else 0


def _in_memory(op: seq.CompRegOp) -> bool:
    """Whether a register is that of a block memory."""
    owner = op.operands[0].owner
    return isinstance(owner, hw.ArrayGetOp) and _blocks(owner) > 0


def _memory_area(op: Operation) -> Area:
    if op.name not in ("seq.firmem", "seq.hlmem"):
        return Area()
    bits = 1
    for number in str(op.results[0].type).replace("<", " ").replace(">", " ").split():
        for part in number.replace(",", " ").split("x"):
            bits *= int(part) if part.strip().isdecimal() else 1
    if bits <= SMALL_MEMORY:
        return Area(lut=bits / 32)
    return Area(bram=max(0.5, bits / BLOCK_BITS))
