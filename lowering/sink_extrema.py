"""Move quantisers in front of extrema of real numbers, so that integers are compared.

A network may take a maximum of real numbers (a pool after an activation) and quantise what
comes out. Quantising never falls as its operand rises, nor do most activations; what never
falls may be applied before a maximum as well as after it, to the bit. So the quantiser, and
the fp32 operators between, are repeated in front of the maximum, which then compares the
integers. What never rises turns a maximum into a minimum. The real edges stay where they are
for the host to look at; hardware no longer needs them.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from xdsl.dialects.builtin import Float32Type
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import inference, inference_spatial, reference
from fastml.dialects.array import ArrayAttr
from fastml.dialects.fastml import (
    ElementwiseOp,
    ExtremumOp,
    LayerOp,
    MaxPoolOp,
    QuantiseOp,
    RearrangeOp,
    ReduceOp,
    Reduction,
    ReductionAttr,
    constant_of,
    element_type,
    shape_of,
)

Names: TypeAlias = Callable[[str], str]
Extremum: TypeAlias = MaxPoolOp | ReduceOp | ExtremumOp
OTHER = {Reduction.MAX: Reduction.MIN, Reduction.MIN: Reduction.MAX}


def is_extremum(op: object) -> bool:
    """Return whether an operation gives one of the numbers it is given."""
    if isinstance(op, ReduceOp):
        return op.kind.data is not Reduction.SUM
    return isinstance(op, MaxPoolOp | ExtremumOp)


def _is_real(value: SSAValue) -> bool:
    return isinstance(element_type(value), Float32Type)


def extremum_before(op: QuantiseOp) -> tuple[Extremum, list[LayerOp]] | None:
    """Return the extremum of reals that a quantiser is a function of, and what is between."""
    between: list[LayerOp] = []
    value = op.input
    while _is_real(value):
        owner = value.owner
        if isinstance(owner, MaxPoolOp | ReduceOp | ExtremumOp):
            return (owner, between[::-1]) if is_extremum(owner) else None
        if not isinstance(owner, ElementwiseOp | RearrangeOp):
            return None
        varying = [v for v in owner.inputs if constant_of(v) is None]
        if len(varying) != 1 or (isinstance(owner, RearrangeOp) and len(owner.inputs) != 1):
            return None
        between.append(owner)
        (value,) = varying
    return None


def sink(op: QuantiseOp, names: Names) -> tuple[list[Operation], list[QuantiseOp]]:
    """Return the operations that replace a quantiser after an extremum, and its copies.

    ``FML-UNQUANTISED`` where what is between does not commute with the extremum.
    """
    found = extremum_before(op)
    assert found is not None
    extremum, between = found
    direction = _direction(op, extremum, between)
    made: list[Operation] = []
    copies: list[QuantiseOp] = []
    for operand in extremum.operands:
        steps, copy = _repeated(op, operand, between, names)
        made += [*steps, copy]
        copies.append(copy)
    values = [copy.result for copy in copies]
    moves = [o for o in between if isinstance(o, RearrangeOp)]
    edge = names(f"{op.edge_name}/{extremum.edge_name}") if moves else op.edge_name
    made += _compared(op, extremum, edge, values, names, falls=direction < 0)
    for position, move in enumerate(moves, 1):
        last = position == len(moves)
        edge = op.edge_name if last else names(f"{op.edge_name}/{move.edge_name}")
        index = None if move.index is None else move.index_map
        shape = shape_of(move.result)
        value = made[-1].results[0]
        made += inference.rearrange(edge, [value], index, shape, names)
    if element_type(made[-1].results[0]) != op.to:
        raise _refused(op, extremum, "the quantiser has a zero point, or a scale by element")
    return made, copies


def _refused(op: QuantiseOp, extremum: Extremum, why: str) -> FastmlError:
    message = f"it quantises the extremum '{extremum.edge_name}' of real numbers: {why}"
    hint = f"quantise the operands of '{extremum.edge_name}'"
    return FastmlError(message, op, code="FML-UNQUANTISED", hint=hint)


def _direction(op: QuantiseOp, extremum: Extremum, between: Sequence[LayerOp]) -> int:
    """Return +1 where what is between never falls as it is applied, -1 where it never rises.

    It must be the same for all elements that are compared.
    """
    if shape_of(op.input) != shape_of(op.result):
        raise _refused(op, extremum, "the quantiser's parameters have more axes")
    total = np.ones((), np.int8)
    moved = False
    parameters = [p.array for p in op.to.parameters if isinstance(p, ArrayAttr)]
    for step in between:
        if isinstance(step, RearrangeOp):
            moved = True
            continue
        assert isinstance(step, ElementwiseOp)
        constants = [None if (c := constant_of(v)) is None else c.real for v in step.inputs]
        if shape_of(step.result) != shape_of(next(v for v in step.inputs if not constant_of(v))):
            raise _refused(op, extremum, f"'{step.edge_name}' gives it more elements")
        if not all(c is None or _same(c, extremum, moved=moved) for c in constants):
            why = f"'{step.edge_name}' differs between the elements that are compared"
            raise _refused(op, extremum, why)
        own = reference.ELEMENTWISE[step.name].direction(constants)
        if not np.all(own):
            raise _refused(op, extremum, f"'{step.edge_name}' may rise and fall")
        total = np.asarray(np.multiply(total, own), np.int8)
    if not all(_same(parameter, extremum, moved=moved) for parameter in parameters):
        raise _refused(op, extremum, "the scale differs between the elements that are compared")
    if np.all(total == 1):
        return 1
    if not np.all(total == -1):
        raise _refused(op, extremum, "what is between rises for some numbers and falls for others")
    if isinstance(extremum, MaxPoolOp):
        raise _refused(op, extremum, "what is between falls, and there are no pools of minima")
    return -1


def _same(parameter: np.ndarray, extremum: Extremum, *, moved: bool) -> bool:
    """Return whether a parameter is the same for all elements that are compared."""
    if parameter.size == 1:
        return True
    if moved:
        return False
    shape = shape_of(extremum.results[0])
    aligned = (1,) * (len(shape) - parameter.ndim) + parameter.shape
    match extremum:
        case MaxPoolOp():
            axes: Sequence[int] = extremum.spatial_axes
        case ReduceOp():
            axes = [axis.data for axis in extremum.axes]
        case _:
            return True
    return len(aligned) == len(shape) and all(aligned[axis] == 1 for axis in axes)


def _repeated(
    op: QuantiseOp, operand: SSAValue, between: Sequence[LayerOp], names: Names
) -> tuple[list[Operation], QuantiseOp]:
    """Return the operators between, and the quantiser, applied to an operand instead."""
    made: list[Operation] = []
    value = operand
    for step in between:
        if not isinstance(step, ElementwiseOp):
            continue
        inputs = [v if constant_of(v) is not None else value for v in step.inputs]
        properties = {name: p for name, p in step.properties.items() if name != "edge"}
        copy = type(step)(names(f"{step.edge_name}/before"), inputs, properties)
        made.append(copy)
        value = copy.result
    name = names(f"{op.edge_name}/before")
    rounding, low, high = op.rounding.data, op.low.data, op.high.data
    return made, QuantiseOp(name, value, op.to, rounding, low, high)


def _compared(
    op: QuantiseOp,
    extremum: Extremum,
    edge: str,
    values: Sequence[SSAValue],
    names: Names,
    *,
    falls: bool,
) -> list[Operation]:
    """Return the extremum of integers."""
    try:
        made = inference_spatial.again(extremum, edge, values, names)
    except inference.GridError as error:
        raise _refused(op, extremum, str(error)) from None
    last = made[-1]
    if falls:
        assert isinstance(last, ReduceOp | ExtremumOp)
        last.kind = ReductionAttr(OTHER[last.kind.data])
    return made
