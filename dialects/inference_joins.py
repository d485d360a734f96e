"""Tensors that meet in one: put on a common step, or joined by a number that fills places."""

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import Float32Type
from xdsl.ir import Operation, SSAValue

from fastml.dialects.array import ArrayAttr, integer_array
from fastml.dialects.fastml import ConstantOp, element_type, shape_of
from fastml.dialects.grid import QuantisedType
from fastml.dialects.inference import (
    GridError,
    Names,
    collapse,
    common_step,
    grid_of,
    on_step,
    quantised,
    recast,
    step_factors,
)


def on_one_step(values: Sequence[SSAValue], names: Names) -> tuple[list[Operation], list[SSAValue]]:
    """Put quantised values on their greatest common step, without zero points.

    Nothing is done where they have one already. Raises :class:`GridError` where no type has
    that step, or integers would become too wide.
    """
    types = [quantised(value) for value in values]
    first = types[0]
    uniform = first.step.size == 1 and first.shift.size == 1
    if uniform and all(element == first for element in types):
        return [], list(values)
    steps = [collapse(element.step) for element in types]
    common = np.array(common_step(np.concatenate([step.ravel() for step in steps])), object)
    made: list[Operation] = []
    operands: list[SSAValue] = []
    for value, element, step in zip(values, types, steps, strict=True):
        factors = step_factors(step, common)
        plain = element.weight == 1 and not element.shift.any()
        if plain and step.size == 1 and np.all(factors == 1):
            operands.append(value)
            continue
        made.append(recast(value, common, factors, names))
        operands.append(made[-1].results[0])
        if not np.all(quantised(operands[-1]).step == common):
            raise GridError("the scales' common step is not a float32")
    return made, operands


def with_number(
    value: SSAValue, number: np.float32, names: Names
) -> tuple[list[Operation], SSAValue, ConstantOp]:
    """Return operations, a value and a constant of ``number`` that fit in one tensor.

    The constant has an axis for each of the value's, of size 1 or the value's own: where
    parameters differ by element, it is the number on each element's own grid. A number that is
    on none of them (0 among bipolar ones) moves the value to a common step.
    """
    element = element_type(value)
    if isinstance(element, Float32Type):
        shape = (1,) * len(shape_of(value))
        return [], value, ConstantOp(np.full(shape, number, np.float32))
    parameters = [p.array.shape for p in element.parameters if isinstance(p, ArrayAttr)]
    spread = np.broadcast_shapes((1,) * len(shape_of(value)), *parameters)
    raw, exact = element.encode(np.full(spread, number, np.float32))
    if np.all(exact):
        return [], value, ConstantOp(integer_array(raw), element)
    constant = _on_own_grid(number, element, len(spread))
    made, (value, constant_value) = on_one_step([value, constant.result], names)
    if constant_value is not constant.result:
        constant = made.pop()
        assert isinstance(constant, ConstantOp)
    return made, value, constant


def _on_own_grid(number: np.float32, element: QuantisedType, rank: int) -> ConstantOp:
    """Return a number as an integer; zero is one on the step of ``element``."""
    found = grid_of(np.full((1,) * rank, number, np.float32))
    if found is None:
        raise GridError(f"{number} lies on no grid")
    step, integers = found
    if number == 0:
        step = common_step(collapse(element.step))
    low = high = int(integers.item())
    return ConstantOp(integers, on_step(np.array(step, object), low, high))
