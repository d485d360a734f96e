"""Move quantisers in front of extrema and joins of real numbers, so that integers meet.

A network may take a maximum of real numbers (a pool after an activation) and quantise what
comes out. Quantising never falls as its operand rises, nor do most activations; what never
falls may be applied before a maximum as well as after it, to the bit. So the quantiser, and
the fp32 operators between, are repeated in front of the maximum, which then compares the
integers. What never rises turns a maximum into a minimum. The real edges stay where they are
for the host to look at; hardware no longer needs them.

Where real edges are joined (concatenated) and then quantised, the same is done: whatever is
computed of single elements may be computed before they are moved.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import Float32Type
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import inference, inference_spatial, reference
from fastml.dialects.array import ArrayAttr, integer_array
from fastml.dialects.fastml import (
    ConstantOp,
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
from fastml.lowering.quantisers import quantise_raw

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


def is_join(op: object) -> bool:
    """Return whether an operation puts several tensors together."""
    return isinstance(op, RearrangeOp) and len(op.inputs) > 1


def meeting_before(op: QuantiseOp) -> tuple[Extremum | RearrangeOp, list[LayerOp]] | None:
    """Return the extremum or join of reals that a quantiser follows, and what is between."""
    between: list[LayerOp] = []
    value = op.input
    while _is_real(value):
        owner = value.owner
        if isinstance(owner, MaxPoolOp | ReduceOp | ExtremumOp):
            return (owner, between[::-1]) if is_extremum(owner) else None
        if not isinstance(owner, ElementwiseOp | RearrangeOp):
            return None
        if isinstance(owner, RearrangeOp) and is_join(owner):
            return owner, between[::-1]
        varying = [v for v in owner.inputs if constant_of(v) is None]
        if len(varying) != 1:
            return None
        between.append(owner)
        (value,) = varying
    return None


def sink(op: QuantiseOp, names: Names) -> tuple[list[Operation], list[QuantiseOp]]:
    """Return the operations that replace a quantiser after a meeting, and its copies.

    ``FML-UNQUANTISED`` where what is between does not commute with the meeting.
    """
    found = meeting_before(op)
    assert found is not None
    meeting, between = found
    falls = False
    if isinstance(meeting, RearrangeOp):
        _check_join(op, meeting, between)
    else:
        falls = _direction(op, meeting, between) < 0
    made: list[Operation] = []
    copies: list[QuantiseOp] = []
    values: list[SSAValue] = []
    for position, operand in enumerate(meeting.operands):
        steps, copy = _repeated(op, operand, between, names, meeting, position)
        constant = constant_of(operand)
        if constant is not None:
            made.append(_folded(steps, copy, constant))
        else:
            made += [*steps, copy]
            copies.append(copy)
        values.append(made[-1].results[0])
    moves = [o for o in between if isinstance(o, RearrangeOp)]
    edge = names(f"{op.edge_name}/{meeting.edge_name}") if moves else op.edge_name
    made += _met(op, meeting, edge, values, names, falls=falls)
    for position, move in enumerate(moves, 1):
        last = position == len(moves)
        edge = op.edge_name if last else names(f"{op.edge_name}/{move.edge_name}")
        made += _moved(move, edge, [made[-1].results[0]], names)
    if element_type(made[-1].results[0]) != op.to:
        raise _refused(op, meeting, "the quantiser has a zero point, or a scale by element")
    return made, copies


def _moved(op: RearrangeOp, edge: str, values: Sequence[SSAValue], names: Names) -> list[Operation]:
    index = None if op.index is None else op.index_map
    return inference.rearrange(edge, values, index, shape_of(op.result), names)


def _refused(op: QuantiseOp, meeting: Extremum | RearrangeOp, why: str) -> FastmlError:
    what = "join" if isinstance(meeting, RearrangeOp) else "extremum"
    message = f"it quantises the {what} '{meeting.edge_name}' of real numbers: {why}"
    hint = f"quantise the operands of '{meeting.edge_name}'"
    return FastmlError(message, op, code="FML-UNQUANTISED", hint=hint)


def _check_join(op: QuantiseOp, join: RearrangeOp, between: Sequence[LayerOp]) -> None:
    """Refuse parameters that would have to be taken apart."""
    if shape_of(op.input) != shape_of(op.result):
        raise _refused(op, join, "the quantiser's parameters have more axes")
    if any(p.array.size > 1 for p in op.to.parameters if isinstance(p, ArrayAttr)):
        raise _refused(op, join, "the scale differs between elements")
    moved = False
    for step in between:
        if isinstance(step, RearrangeOp):
            moved = True
            continue
        if shape_of(step.result) != shape_of(next(v for v in step.operands if not constant_of(v))):
            raise _refused(op, join, f"'{step.edge_name}' gives it more elements")
        constants = [c.real for v in step.operands if (c := constant_of(v)) is not None]
        if moved and any(constant.size > 1 for constant in constants):
            raise _refused(op, join, f"'{step.edge_name}' has constants for each element")


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


def _own(constant: ConstantOp, join: RearrangeOp, position: int) -> NDArray[np.float32] | None:
    """Return the part of a constant that meets one operand of a join; None if no one does."""
    sizes = [int(np.prod(shape_of(operand))) for operand in join.inputs]
    start = sum(sizes[:position])
    spread = np.broadcast_to(constant.real, shape_of(join.result)).ravel()
    index = join.index_map - start
    inside = (index >= 0) & (index < sizes[position])
    own = np.zeros(sizes[position], np.float32)
    own[index[inside]] = spread[inside]
    if np.any(own[index[inside]] != spread[inside]):
        return None
    own = own.reshape(shape_of(join.inputs[position]))
    for axis in range(own.ndim):  # one number for all is one number
        first = np.take(own, [0], axis)
        own = first if np.all(own == first) else own
    return own


def _repeated(
    op: QuantiseOp,
    operand: SSAValue,
    between: Sequence[LayerOp],
    names: Names,
    meeting: Extremum | RearrangeOp,
    position: int,
) -> tuple[list[Operation], QuantiseOp]:
    """Return the operators between, and the quantiser, applied to an operand instead."""
    made: list[Operation] = []
    value = operand
    for step in between:
        if not isinstance(step, ElementwiseOp):
            continue
        inputs: list[SSAValue] = []
        for given in step.inputs:
            constant = constant_of(given)
            if constant is None:
                inputs.append(value)
            elif isinstance(meeting, RearrangeOp) and constant.real.size > 1:
                own = _own(constant, meeting, position)
                if own is None:
                    why = f"'{step.edge_name}' has several constants for one element"
                    raise _refused(op, meeting, why)
                made.append(ConstantOp(own))
                inputs.append(made[-1].results[0])
            else:
                inputs.append(given)
        properties = {name: p for name, p in step.properties.items() if name != "edge"}
        copy = type(step)(names(f"{step.edge_name}/before"), inputs, properties)
        made.append(copy)
        value = copy.result
    name = names(f"{op.edge_name}/before")
    rounding, low, high = op.rounding.data, op.low.data, op.high.data
    return made, QuantiseOp(name, value, op.to, rounding, low, high)


def _folded(steps: Sequence[Operation], copy: QuantiseOp, constant: ConstantOp) -> ConstantOp:
    """Return what the operators between, and the quantiser, make of a constant."""
    value, real = constant.result, constant.real
    for step in steps:
        if isinstance(step, ElementwiseOp):
            fixed = ((v, constant_of(v)) for v in step.inputs)
            operands = [real if v is value or c is None else c.real for v, c in fixed]
            real = reference.evaluate(step.name, operands, step.reference_attributes)
            value = step.result
    raw = quantise_raw(real, copy.to, copy)
    return ConstantOp(integer_array(np.broadcast_to(raw, shape_of(copy.result))), copy.to)


def _met(
    op: QuantiseOp,
    meeting: Extremum | RearrangeOp,
    edge: str,
    values: Sequence[SSAValue],
    names: Names,
    *,
    falls: bool,
) -> list[Operation]:
    """Return the extremum or join of integers."""
    if isinstance(meeting, RearrangeOp):
        return _moved(meeting, edge, values, names)
    try:
        made = inference_spatial.again(meeting, edge, values, names)
    except inference.GridError as error:
        raise _refused(op, meeting, str(error)) from None
    last = made[-1]
    if falls:
        assert isinstance(last, ReduceOp | ExtremumOp)
        last.kind = ReductionAttr(OTHER[last.kind.data])
    return made
