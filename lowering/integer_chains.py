"""Real edges rebuilt from exact operators, where counting bits proves that fp32 rounds nothing.

A sum of accumulators reads integers. Where a bias was added in fp32 and an activation taken,
and no result can need more bits than fp32 has, the same numbers come of exact operators on
integers: sums with a constant, products by one, clamps.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from xdsl.dialects.builtin import Float32Type
from xdsl.ir import Operation, SSAValue

from fastml.dialects import inference, inference_spatial
from fastml.dialects.array import integer_array
from fastml.dialects.fastml import (
    AddOp,
    ConstantOp,
    DivOp,
    LayerOp,
    MaxOp,
    MinOp,
    MulOp,
    PReluOp,
    RearrangeOp,
    Reduction,
    ReluOp,
    SubOp,
    constant_of,
    element_type,
    shape_of,
)
from fastml.lowering.dyadic_grids import Bounds, dyadic_grid

Names = Callable[[str], str]


def exact_chain(value: SSAValue, bounds: Bounds, names: Names) -> list[Operation] | None:
    """Return exact operators that give a real edge's numbers, the last one its integers.

    None where fp32 may round one of the numbers between, or they do not meet on one step.
    """
    if dyadic_grid(value, bounds) is None:
        return None
    made: list[Operation] = []
    try:
        _rebuild(value, names, made)
    except inference.GridError:
        return None
    return made


def _rebuild(value: SSAValue, names: Names, made: list[Operation]) -> SSAValue:
    """Append what computes ``value`` on integers; return it."""
    if not isinstance(element_type(value), Float32Type):
        return value
    op = value.owner
    assert isinstance(op, LayerOp)
    edge = names(f"{op.edge_name}/grid")

    def build(operations: Sequence[Operation]) -> SSAValue:
        made.extend(operations)
        return operations[-1].results[0]

    def constant(real: np.ndarray) -> SSAValue:
        return build([_integers(np.asarray(real, np.float32))])

    if isinstance(op, RearrangeOp):
        index = None if op.index is None else op.index_map
        operand = _rebuild(op.inputs[0], names, made)
        return build(inference.rearrange(edge, [operand], index, shape_of(value), names))
    assert isinstance(op, ReluOp | AddOp | SubOp | MulOp | DivOp | MaxOp | MinOp | PReluOp)
    constants = [constant_of(operand) for operand in op.inputs]
    operands = [
        constant(known.real) if known is not None else _rebuild(operand, names, made)
        for operand, known in zip(op.inputs, constants, strict=True)
    ]
    match op:
        case ReluOp():
            operands.append(constant(np.zeros(())))
            return build(inference_spatial.extremum(edge, operands, Reduction.MAX))
        case AddOp() | SubOp():
            signs = [1, 1 if isinstance(op, AddOp) else -1]
            return build(inference.add(edge, operands, signs))
        case MaxOp() | MinOp():
            kind = Reduction.MAX if isinstance(op, MaxOp) else Reduction.MIN
            return build(inference_spatial.extremum(edge, operands, kind))
        case MulOp():
            return build(inference.multiply(edge, *operands))
        case DivOp():
            divisor = constants[1]
            assert divisor is not None, "the grid of a quotient is that of a constant divisor"
            reciprocal = constant(1 / divisor.real)
            return build(inference.multiply(edge, operands[0], reciprocal))
        case PReluOp():
            zero = constant(np.zeros(()))
            x, factor = operands
            below = inference_spatial.extremum(names(f"{edge}/less"), [x, zero], Reduction.MIN)
            scaled = inference.multiply(names(f"{edge}/scaled"), build(below), factor)
            less = build(scaled)
            above = inference_spatial.extremum(names(f"{edge}/more"), [x, zero], Reduction.MAX)
            return build(inference.add(edge, [build(above), less], [1, 1]))


def _integers(real: np.ndarray) -> ConstantOp:
    """Return constants as integers on the greatest power of two that divides them all."""
    found = inference.grid_of(real)
    if found is None:
        raise inference.GridError("constants of very different size")
    step, integers = found
    odd = step.numerator >> ((step.numerator & -step.numerator).bit_length() - 1)
    raw = integer_array(integers.astype(object) * odd)
    steps = np.array(Fraction(step, odd), object)
    return ConstantOp(raw, inference.on_step(steps, int(raw.min()), int(raw.max())))
