"""Exact operators with the types that follow from their operands.

The invariants that every reader of an exact operator may rely on:

- ``matmul``: integer(result) = integer(left) @ integer(right);
- ``sum``: integer(result) = the signed sum of integer(operand) * factor, where the factor,
  step(operand) / step(result), is a whole number (:func:`sum_factors`);
- ``product``: integer(result) = integer(left) * integer(right).

Where steps differ along a contracted axis, the builder of ``matmul`` first puts that operand
on the greatest common step, exactly: a constant is rewritten, a varying operand goes through
``exact_cast`` (integer(result) = integer(operand) * step(operand) / step(result)). Widths are
those of the exact range of the result, given the operands' storage and a constant's values.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from math import gcd
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import Float32Type, f32
from xdsl.ir import BlockArgument, Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from fastml.dialects.array import Array, ArrayAttr, integer_array
from fastml.dialects.elements import range_of, width_of
from fastml.dialects.fastml import (
    ConstantOp,
    ExactCastOp,
    LayerOp,
    MatMulOp,
    NetworkOp,
    ProductOp,
    RearrangeOp,
    SumOp,
    constant_of,
    element_type,
    shape_of,
)
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, RatioType, ScaledType

MAX_EXTRA_BITS = 64
"""Integers may grow by this much to meet on a common step."""
MAX_CONSTANT_BITS = 16
"""Widest integers that constants, given as plain float32 numbers, are read as."""

Steps: TypeAlias = NDArray[np.object_]
"""Exact steps as ``Fraction``."""
Names: TypeAlias = Callable[[str], str]
"""Gives an unused edge name that resembles the one asked for."""


class GridError(ValueError):
    """Scales meet on no common step of a bounded width."""


# -- steps ---------------------------------------------------------------------------------


def nearest_float32(value: Fraction) -> np.float32:
    """Round an exact number to the nearest float32, ties to even."""
    guess = np.float32(float(value))
    if Fraction(float(guess)) == value:
        return guess
    below, above = (np.nextafter(guess, np.float32(end)) for end in (-np.inf, np.inf))

    def distance(candidate: np.float32) -> tuple[Fraction, int]:
        return abs(Fraction(float(candidate)) - value), int(candidate.view(np.int32)) & 1

    return min((guess, below, above), key=distance)


def common_step(steps: Steps) -> Fraction:
    """Return the greatest number of which every step is an integer multiple."""

    def meet(a: Fraction, b: Fraction) -> Fraction:
        return Fraction(
            gcd(a.numerator * b.denominator, b.numerator * a.denominator),
            a.denominator * b.denominator,
        )

    return reduce(meet, set(steps.ravel().tolist()))


def collapse(steps: Steps) -> Steps:
    """Return the one step as a scalar, if there is but one."""
    first = steps.ravel()[:1]
    return first.reshape(()) if steps.size and bool(np.all(steps == first)) else steps


def on_step(steps: Steps, low: int, high: int) -> FixedType | ScaledType:
    """Return the narrowest type of integers ``low..high`` on ``steps``.

    Fixed point where all steps are one power of two, else scaled by the nearest float32.
    """
    width, signed = width_of(low, high)
    steps = collapse(steps)
    if steps.ndim == 0:
        step: Fraction = steps.item()
        top, bottom = step.numerator, step.denominator
        if top & (top - 1) == 0 and bottom & (bottom - 1) == 0:
            return FixedType(int(signed), width, bottom.bit_length() - top.bit_length())
    scales = np.array([nearest_float32(s) for s in steps.ravel()], np.float32)
    try:
        return ScaledType(
            int(signed),
            width,
            ArrayAttr.get(scales.reshape(steps.shape)),
            ArrayAttr.get(np.zeros((), np.int64)),
        )
    except VerifyException:
        raise GridError("the product of the scales is not a normal float32") from None


def grid_of(values: NDArray[np.float32]) -> tuple[Fraction, NDArray[np.int64]] | None:
    """Return step and integers with ``values = integers * step`` exactly, if 62 bits do."""
    if not np.all(np.isfinite(values)):
        return None
    mantissas, exponents = np.frexp(values.astype(np.float64))
    integers = np.ldexp(mantissas, 24).astype(np.int64)
    nonzero = integers != 0
    if not nonzero.any():
        return Fraction(1), integers
    lowest = integers & -integers
    zeros = np.where(nonzero, np.frexp(lowest.astype(np.float64))[1] - 1, 0)
    exponents = exponents - 24 + zeros
    least = int(exponents[nonzero].min())
    if int(exponents[nonzero].max()) - least > 38:
        return None
    integers = (integers >> zeros) << np.where(nonzero, exponents - least, 0)
    divisor = int(np.gcd.reduce(np.abs(integers[nonzero])))
    return Fraction(divisor) * Fraction(2) ** least, integers // divisor


def integer_range(element: QuantisedType) -> tuple[Array, Array]:
    """Return the least and greatest integer that the storage allows, per element."""
    low, high = (element.integer(np.array(raw, object)) for raw in element.raw_range)
    return low, high


# -- putting operands on a common step -----------------------------------------------------


def _common_along(steps: Steps, axis: int) -> Steps:
    """Return the greatest common step of each line along an axis, which is kept as 1."""
    lines = np.moveaxis(steps, axis, -1)
    common = [common_step(line) for line in lines.reshape(-1, lines.shape[-1])]
    return np.expand_dims(np.array(common, object).reshape(lines.shape[:-1]), axis)


def step_factors(steps: Steps, common: Steps) -> Array:
    """Return the integers by which numbers on ``steps`` are multiplied to be on ``common``."""
    factors = np.asarray(steps / common, object)
    assert all(factor.denominator == 1 for factor in factors.ravel()), "not a common step"
    widest = max((int(factor).bit_length() for factor in factors.ravel()), default=1)
    if widest - 1 > MAX_EXTRA_BITS:
        raise GridError(
            f"the scales' common step needs {widest - 1} more bits, and at most"
            f" {MAX_EXTRA_BITS} are allowed"
        )
    return integer_array(np.array([int(f) for f in factors.ravel()], object).reshape(factors.shape))


def recast(value: SSAValue, steps: Steps, factors: Array, names: Names) -> Operation:
    """Put a quantised value on ``steps``: a new constant, or an ``exact_cast``."""
    element = quantised(value)
    shape = shape_of(value)
    constant = constant_of(value)
    if constant is not None:
        raw = element.integer(constant.value.array).astype(object) * factors.astype(object)
        raw = integer_array(np.broadcast_to(raw, shape))
        return ConstantOp(raw, on_step(steps, int(raw.min()), int(raw.max())))
    low, high = (bound.astype(object) * factors for bound in integer_range(element))
    to = on_step(steps, int(np.min(low)), int(np.max(high)))
    return ExactCastOp(names(f"{edge_of(value)}/grid"), value, to)


def edge_of(value: SSAValue) -> str:
    """Return the name of the edge that ``value`` is."""
    owner = value.owner
    if isinstance(owner, LayerOp):
        return owner.edge_name
    assert isinstance(value, BlockArgument)
    network = value.block.parent_op()
    assert isinstance(network, NetworkOp)
    return network.input_names.data[value.index].data


def quantised(value: SSAValue) -> QuantisedType:
    """Return the type of an edge that is known to be quantised."""
    element = element_type(value)
    assert isinstance(element, QuantisedType)
    return element


def _is_real(value: SSAValue) -> bool:
    return isinstance(element_type(value), Float32Type)


def integer_constant(constant: ConstantOp) -> ConstantOp | None:
    """Return a float32 constant as integers on the grid its values lie on, if narrow."""
    found = grid_of(constant.real)
    if found is None:
        return None
    step, integers = found
    low, high = int(integers.min(initial=0)), int(integers.max(initial=0))
    if width_of(low, high)[0] > MAX_CONSTANT_BITS:
        return None
    return ConstantOp(integers, on_step(np.array(step, object), low, high))


# -- operators -----------------------------------------------------------------------------


def matmul(edge: str, left: SSAValue, right: SSAValue, names: Names) -> list[Operation]:
    """Build an exact matrix product, last in the list after what it needs.

    One operand is a constant. With a float32 operand the result is float32, for the time
    being. Raises :class:`GridError`, and ``ValueError`` where the shapes do not fit.
    """
    if _is_real(left) or _is_real(right):
        return [MatMulOp(edge, left, right, f32)]
    operations: list[Operation] = []
    operands = [left, right]
    for position, axis in ((0, -1), (1, -2)):
        value = operands[position]
        shape = shape_of(value)
        axis = max(axis, -len(shape))
        steps = quantised(value).step
        if steps.size == 1:
            continue
        steps = np.broadcast_to(steps, shape)
        if np.all(steps == np.take(steps, [0], axis)):
            continue
        common = _common_along(steps, axis)
        cast = recast(value, common, step_factors(steps, common), names)
        operations.append(cast)
        operands[position] = cast.results[0]
    left, right = operands
    return [*operations, MatMulOp(edge, left, right, matmul_type(left, right))]


def matmul_type(left: SSAValue, right: SSAValue) -> FixedType | ScaledType:
    """Return the type of a product; ``GridError`` if steps differ along what is summed."""
    for value, axis in ((left, -1), (right, -2)):
        steps, axis = quantised(value).step, max(axis, -len(shape_of(value)))
        if steps.size > 1:
            steps = np.broadcast_to(steps, shape_of(value))
            if not np.all(steps == np.take(steps, [0], axis)):
                raise GridError("the steps of an operand differ along the axis that is summed")
    low, high = _matmul_range(left, right)
    return on_step(_matmul_steps(left, right), low, high)


def _matmul_steps(left: SSAValue, right: SSAValue) -> Steps:
    a, b = quantised(left).step, quantised(right).step
    rank_a, rank_b = len(shape_of(left)), len(shape_of(right))
    if a.size > 1:
        a = np.take(np.broadcast_to(a, shape_of(left)), [0], -1)
        a = a.reshape(1, 1) if rank_a == 1 else a
    if b.size > 1:
        b = np.broadcast_to(b, shape_of(right))
        b = b[:1].reshape(1, 1) if rank_b == 1 else np.take(b, [0], -2)
    steps = np.asarray(a.reshape(()) if a.size == 1 else a) * (b.reshape(()) if b.size == 1 else b)
    steps = np.asarray(steps, object)
    if steps.ndim >= 2:  # drop the axes that a vector operand does not have
        steps = steps[..., 0, :] if rank_a == 1 else steps
        steps = steps[..., 0] if rank_b == 1 else steps
    return steps


def _matmul_range(left: SSAValue, right: SSAValue) -> tuple[int, int]:
    """Return the exact range over all inputs that the storage of the varying side allows."""
    constant_left, constant_right = constant_of(left), constant_of(right)
    constant = constant_right if constant_left is None else constant_left
    assert constant is not None
    varying = left if constant_left is None else right
    weights = quantised(constant.result).integer(constant.value.array)
    bounds = [
        np.broadcast_to(bound, shape_of(varying)) for bound in integer_range(quantised(varying))
    ]
    if not weights.size:
        return 0, 0
    largest = max(int(np.abs(b).max()) for b in bounds) * int(np.abs(weights).max())
    kind = np.int64 if largest * weights.size < 1 << 62 else np.object_
    low, high = (cast(Array, bound.astype(kind)) for bound in bounds)
    rises: Array = np.maximum(weights, 0).astype(kind)
    falls: Array = np.minimum(weights, 0).astype(kind)
    if constant_left is None:
        least, most = low @ rises + high @ falls, high @ rises + low @ falls
    else:
        least, most = rises @ low + falls @ high, rises @ high + falls @ low
    return int(np.min(least)), int(np.max(most))


def add(edge: str, inputs: Sequence[SSAValue], signs: Sequence[int]) -> list[Operation]:
    """Build an exact signed sum on the greatest common step of its operands."""
    real = any(_is_real(value) for value in inputs)
    return [SumOp(edge, inputs, signs, f32 if real else sum_type(inputs, signs))]


def sum_type(
    inputs: Sequence[SSAValue], signs: Sequence[int]
) -> FixedType | ScaledType | RatioType:
    """Return the type of a signed sum, on the greatest common step.

    Raises :class:`GridError` where no type has that step.
    """
    shape = np.broadcast_shapes(*(shape_of(value) for value in inputs))
    steps = [collapse(quantised(value).step) for value in inputs]
    spread = [_spread_steps(step, shape) for step in steps]
    if all(step.shape == spread[0].shape and bool(np.all(step == spread[0])) for step in spread):
        common = spread[0]
    else:
        each = np.concatenate([step.ravel() for step in steps])
        common = np.array(common_step(each), object)
    low: Array = np.zeros((), object)
    high: Array = np.zeros((), object)
    for value, step, sign in zip(inputs, steps, signs, strict=True):
        factor = step_factors(step, common)
        least, most = (bound.astype(object) * factor for bound in integer_range(quantised(value)))
        low = low + (least if sign > 0 else -most)
        high = high + (most if sign > 0 else -least)
    bounds = int(np.min(low)), int(np.max(high))
    elements = [quantised(value) for value in inputs]
    first = elements[0]
    if isinstance(first, RatioType) and all(element.step == first.step for element in elements):
        width, signed = width_of(*bounds)
        return RatioType(int(signed), width, first.divisor)
    to = on_step(common, *bounds)
    if not np.all(to.step == common):  # of a fraction, such as 1/255, with another step
        raise GridError("the scales' common step is not a float32")
    return to


def sum_factors(op: SumOp) -> list[Array]:
    """Return, for each operand, how many steps of the result one step of its own is."""
    to = quantised(op.result).step
    return [step_factors(quantised(value).step, to) for value in op.inputs]


def _spread_steps(steps: Steps, shape: Sequence[int]) -> Steps:
    return np.asarray(np.broadcast_to(steps, shape), object) if steps.size > 1 else steps


def multiply(edge: str, left: SSAValue, right: SSAValue) -> list[Operation]:
    """Build an exact elementwise product."""
    real = _is_real(left) or _is_real(right)
    return [ProductOp(edge, left, right, f32 if real else product_type(left, right))]


def product_type(left: SSAValue, right: SSAValue) -> FixedType | ScaledType:
    """Return the type of an elementwise product."""
    a, b = quantised(left), quantised(right)
    shape = np.broadcast_shapes(shape_of(left), shape_of(right))
    corners = [
        np.asarray(x.astype(object) * y.astype(object))
        for x in integer_range(a)
        for y in integer_range(b)
    ]
    low = min(int(np.min(corner)) for corner in corners)
    high = max(int(np.max(corner)) for corner in corners)
    steps = np.asarray(collapse(a.step) * collapse(b.step), object)
    return on_step(_spread_steps(steps, shape), low, high)


# -- index maps ----------------------------------------------------------------------------


def rearrange(
    edge: str,
    inputs: Sequence[SSAValue],
    index: NDArray[np.int64] | None,
    shape: Sequence[int],
    names: Names,
) -> list[Operation]:
    """Build an index map, last in the list after what it needs.

    Raw integers move unchanged, so operands of several types meet in one whose scale and
    zero point vary by element; a bipolar operand among others is first cast to integers.
    """
    if all(_is_real(value) for value in inputs):
        return [RearrangeOp(edge, inputs, index, f32, shape)]
    if any(_is_real(value) for value in inputs):
        raise GridError("quantised and float32 operands do not meet in one tensor")
    operations: list[Operation] = []
    operands = list(inputs)
    kinds = {type(quantised(value)) for value in inputs}
    if BipolarType in kinds and len(kinds) > 1:
        for position, value in enumerate(inputs):
            element = quantised(value)
            if isinstance(element, BipolarType):
                unit = np.ones((), np.int64)
                cast = recast(value, np.asarray(element.step), unit, names)
                operations.append(cast)
                operands[position] = cast.results[0]
    element = _rearranged_type(operands, index, shape)
    return [*operations, RearrangeOp(edge, operands, index, element, shape)]


def _rearranged_type(
    inputs: Sequence[SSAValue], index: NDArray[np.int64] | None, shape: Sequence[int]
) -> QuantisedType:
    types = [quantised(value) for value in inputs]
    where = np.arange(int(np.prod(shape, dtype=np.int64))) if index is None else index
    where = where.reshape(tuple(shape))
    if len(types) == 1:
        return types[0].reindex(shape_of(inputs[0]), where)
    first = types[0]
    if all(t == first for t in types) and first.step.size == 1 and first.shift.size == 1:
        return first
    if any(isinstance(t, RatioType) for t in types):
        raise GridError("an integer divided by a constant meets operands of other types")

    def gathered(parameter: Callable[[QuantisedType], Array | Steps]) -> Array:
        parts = [
            np.broadcast_to(parameter(t), shape_of(v)).ravel()
            for t, v in zip(types, inputs, strict=True)
        ]
        moved = np.concatenate(parts)[where]
        return moved.ravel()[:1].reshape(()) if np.all(moved == moved.ravel()[0]) else moved

    steps = np.asarray(gathered(lambda t: t.step), object)
    scales = np.vectorize(float, otypes=[np.float32])(steps)
    if isinstance(first, BipolarType):
        return BipolarType(ArrayAttr.get(scales))
    bounds = [range_of(*t.storage) for t in types]
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    zero_points = integer_array(-gathered(lambda t: t.shift).astype(object))
    plain = on_step(steps, low, high)
    if isinstance(plain, FixedType) and not zero_points.any():
        return plain
    width, signed = width_of(low, high)
    return ScaledType(int(signed), width, ArrayAttr.get(scales), ArrayAttr.get(zero_points))
