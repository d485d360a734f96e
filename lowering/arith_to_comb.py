"""Integer arithmetic of the affine level, as logic."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Operation, SSAValue
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.lowering.hw_builder import Kind, Netlist, Wire

Build: TypeAlias = Callable[[Netlist, Operation, Sequence[Wire]], Wire]

PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
"""Predicates of ``arith.cmpi`` and ``comb.icmp``, which agree, in order."""


def width_of_type(value: SSAValue, op: Operation) -> int:
    """Width of an integer value; anything else is refused."""
    value_type = value.type
    if not isa(value_type, IntegerType):
        raise FastmlError(f"only integers become hardware, not {value_type}", op)
    return value_type.width.data


def _extreme(predicate: str) -> Build:
    def build(netlist: Netlist, op: Operation, operands: Sequence[Wire]) -> Wire:
        a, b = operands
        return netlist.mux(netlist.icmp(predicate, a, b), a, b)

    return build


def _compare(netlist: Netlist, op: Operation, operands: Sequence[Wire]) -> Wire:
    assert isinstance(op, arith.CmpiOp)
    return netlist.icmp(PREDICATES[op.predicate.value.data], operands[0], operands[1])


def _resize(*, sign: bool) -> Build:
    def build(netlist: Netlist, op: Operation, operands: Sequence[Wire]) -> Wire:
        width = width_of_type(op.results[0], op)
        return netlist.fit(operands[0], width, sign=sign)

    return build


def _shift(kind: Kind) -> Build:
    def build(netlist: Netlist, op: Operation, operands: Sequence[Wire]) -> Wire:
        a, b = operands
        if b.value is not None and b.value >= a.width:
            raise FastmlError(f"shift of i{a.width} by {b.value} has no value", op)
        return netlist.shift(kind, a, b)

    return build


BUILDERS: Mapping[type[Operation], Build] = {
    arith.AddiOp: lambda netlist, op, ab: netlist.add(ab[0], ab[1]),
    arith.SubiOp: lambda netlist, op, ab: netlist.sub(ab[0], ab[1]),
    arith.MuliOp: lambda netlist, op, ab: netlist.mul(ab[0], ab[1]),
    arith.AndIOp: lambda netlist, op, ab: netlist.and_(ab[0], ab[1]),
    arith.OrIOp: lambda netlist, op, ab: netlist.or_(ab[0], ab[1]),
    arith.XOrIOp: lambda netlist, op, ab: netlist.xor(ab[0], ab[1]),
    arith.MinSIOp: _extreme("slt"),
    arith.MaxSIOp: _extreme("sgt"),
    arith.MinUIOp: _extreme("ult"),
    arith.MaxUIOp: _extreme("ugt"),
    arith.CmpiOp: _compare,
    arith.SelectOp: lambda netlist, op, cab: netlist.mux(cab[0], cab[1], cab[2]),
    arith.ExtSIOp: _resize(sign=True),
    arith.ExtUIOp: _resize(sign=False),
    arith.TruncIOp: _resize(sign=False),
    arith.ShLIOp: _shift(Kind.SHL),
    arith.ShRSIOp: _shift(Kind.SHRS),
    arith.ShRUIOp: _shift(Kind.SHRU),
}
"""How each arithmetic operation becomes logic; operands have the widths of their types."""


def build_arith(netlist: Netlist, op: Operation, operands: Sequence[Wire]) -> Wire:
    """Build the logic of ``op``; refuse operations that have none."""
    build = BUILDERS.get(type(op))
    if build is None:
        raise FastmlError("operation has no hardware form", op)
    return build(netlist, op, operands)
