"""Convolutions, reductions and extrema with the types that follow from their operands.

The invariants that every reader may rely on:

- ``conv``: integer(result) = the sum of integer(element) * integer(weight) over the window,
  where a pad is the integer 0;
- ``reduce sum``: integer(result) = the sum of integer(operand);
- ``max_pool`` and the other reductions: raw(result) is the raw integer of an operand's element;
- ``extremum``: integer(result) = the extremum of integer(operand) * factor, with the whole
  factors of :func:`extremum_factors`.

As for ``matmul``, builders first put an operand whose steps differ along what is combined on
the greatest common step.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from xdsl.dialects.builtin import Float32Type, f32
from xdsl.ir import Operation, SSAValue

from fastml.dialects.array import Array, ArrayAttr
from fastml.dialects.elements import width_of
from fastml.dialects.fastml import constant_of, element_type, shape_of
from fastml.dialects.fastml_spatial import (
    AxisWindows,
    ConvOp,
    ExtremumOp,
    MaxPoolOp,
    ReduceOp,
    Reduction,
    spatial_axes_of,
    windows_over,
)
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, RatioType, ScaledType
from fastml.dialects.inference import (
    GridError,
    Names,
    Steps,
    collapse,
    common_step,
    integer_range,
    on_step,
    quantised,
    recast,
    step_factors,
    sum_type,
)


def _is_real(value: SSAValue) -> bool:
    return isinstance(element_type(value), Float32Type)


# -- parameters along axes -----------------------------------------------------------------


def _aligned(parameter: Array, rank: int) -> Array:
    """Return a parameter with ``rank`` axes, those along which it is the same of size 1."""
    missing = rank - parameter.ndim
    found = parameter.reshape((1,) * missing + parameter.shape)
    for axis in range(rank):
        if found.shape[axis] > 1:
            first = np.take(found, [0], axis)
            if np.all(found == first):
                found = first
    return found


def _trimmed(parameter: Array) -> Array:
    return parameter.reshape(()) if parameter.size == 1 else parameter


def _uniform(parameter: Array, axes: Sequence[int]) -> bool:
    return all(parameter.shape[axis] == 1 for axis in axes)


def _common_over(steps: Steps, axes: Sequence[int]) -> Steps:
    """Return the greatest common step over ``axes``, which are kept with size 1."""
    kept = [size if axis not in axes else 1 for axis, size in enumerate(steps.shape)]
    lines = np.moveaxis(steps, axes, range(-len(axes), 0)).reshape(int(np.prod(kept)), -1)
    return np.array([common_step(line) for line in lines], object).reshape(kept)


def _on_common_step(
    value: SSAValue, axes: Sequence[int], names: Names, group: tuple[int, int] | None = None
) -> tuple[list[Operation], SSAValue]:
    """Put ``value`` on one step along ``axes``, and along groups of an axis."""
    rank = len(shape_of(value))
    steps = _aligned(quantised(value).step, rank)
    common = steps
    counted = [axis % rank for axis in axes]
    if not _uniform(steps, counted):
        common = _common_over(steps, counted)
    if group is not None and common.shape[group[0]] > 1:
        axis, groups = group
        size = common.shape[axis]
        split = [*common.shape[:axis], groups, size // groups, *common.shape[axis + 1 :]]
        within = _common_over(common.reshape(split), [axis + 1])
        common = np.broadcast_to(within, split).reshape(common.shape)
    if common.shape == steps.shape and np.all(common == steps):
        return [], value
    factors = step_factors(steps, common)
    spread = np.asarray(collapse(np.asarray(common, object)), object)
    regrid = recast(value, spread, factors, names)
    return [regrid], regrid.results[0]


# -- convolution ---------------------------------------------------------------------------


def conv(
    edge: str,
    input: SSAValue,
    weights: SSAValue,
    names: Names,
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    group: int = 1,
    channels_last: bool = False,
) -> list[Operation]:
    """Build an exact convolution, last in the list after what it needs.

    Raises :class:`GridError` where steps do not meet. With a float32 operand the result is
    float32, for the time being.
    """
    operations: list[Operation] = []
    to: QuantisedType | Float32Type = f32
    if not _is_real(input) and not _is_real(weights):
        rank = len(shape_of(input))
        channel = rank - 1 if channels_last else 1
        spatial = spatial_axes_of(rank, channels_last)
        first, input = _on_common_step(input, spatial, names, (channel, group))
        second, weights = _on_common_step(weights, range(1, rank), names)
        operations = [*first, *second]
        shape, kernel = shape_of(input), shape_of(weights)
        sizes = [shape[axis] for axis in spatial]
        windows = windows_over(sizes, [kernel[a] for a in spatial], strides, dilations, pads)
        to = conv_type(input, weights, windows, group, channels_last)
    made = ConvOp(
        edge,
        input,
        weights,
        to,
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=group,
        channels_last=channels_last,
    )
    return [*operations, made]


def conv_type(
    input: SSAValue,
    weights: SSAValue,
    windows: Sequence[AxisWindows],
    group: int,
    channels_last: bool,
) -> FixedType | ScaledType:
    """Return the type of a convolution; ``GridError`` if steps differ within a sum."""
    rank = len(shape_of(input))
    channel = rank - 1 if channels_last else 1
    steps = _aligned(quantised(input).step, rank)
    kernel_steps = _aligned(quantised(weights).step, rank)
    same = _uniform(steps, spatial_axes_of(rank, channels_last))
    each = steps.ravel()
    if same and each.size > 1:
        grouped = each.reshape(group, -1)
        same = bool(np.all(grouped == grouped[:, :1]))
        each = grouped[:, 0]
    if not same or not _uniform(kernel_steps, range(1, rank)):
        raise GridError("the steps of an operand differ along what is summed")
    outputs = shape_of(weights)[0]
    if each.size > 1:
        each = np.repeat(each, outputs // group)
    products = np.asarray(each * kernel_steps.ravel(), object)
    if products.size > 1:
        products = products.reshape([-1 if axis == channel else 1 for axis in range(rank)])
    low, high = _conv_range(input, weights, windows, group, channels_last)
    return on_step(_trimmed(products), low, high)


def _channel_bounds(input: SSAValue, channel: int) -> tuple[Array, Array]:
    """Return the least and the greatest integer of each channel, over all positions."""
    shape = shape_of(input)
    bounds: list[Array] = []
    for bound, least in zip(integer_range(quantised(input)), (np.min, np.max), strict=True):
        aligned = _aligned(bound, len(shape))
        others = tuple(axis for axis in range(len(shape)) if axis != channel)
        bounds.append(np.broadcast_to(least(aligned, axis=others), (shape[channel],)))
    return bounds[0], bounds[1]


def _conv_range(
    input: SSAValue,
    weights: SSAValue,
    windows: Sequence[AxisWindows],
    group: int,
    channels_last: bool,
) -> tuple[int, int]:
    """Return the range over all inputs and positions: near an edge, part of the weights act."""
    constant = constant_of(weights)
    assert constant is not None
    shape = shape_of(weights)
    integers = quantised(weights).integer(constant.value.array)
    matrix = np.broadcast_to(integers, shape)
    if channels_last:
        matrix = np.moveaxis(matrix, -1, 1)
    if not matrix.size:
        return 0, 0
    rank = len(shape_of(input))
    low, high = _channel_bounds(input, rank - 1 if channels_last else 1)
    largest = max(int(np.abs(b).max()) for b in (low, high)) * int(np.abs(matrix).max())
    kind = np.int64 if largest * matrix.size < 1 << 62 else np.object_
    rises: Array = np.maximum(matrix, 0).astype(kind)
    falls: Array = np.minimum(matrix, 0).astype(kind)
    owner = np.arange(len(matrix)) // (len(matrix) // group)
    spread = (len(matrix), -1, *(1 for _ in windows))
    low, high = (
        cast(Array, b.astype(kind).reshape(group, -1)[owner].reshape(spread)) for b in (low, high)
    )
    least: Array = (rises * low + falls * high).sum(axis=1)
    most: Array = (rises * high + falls * low).sum(axis=1)
    for window in reversed(windows):  # the last axis is contracted, patterns come in front
        seen: Array = np.unique(window.table >= 0, axis=0).astype(kind)
        least, most = np.moveaxis(least @ seen.T, -1, 0), np.moveaxis(most @ seen.T, -1, 0)
    return int(np.min(least)), int(np.max(most))


# -- extrema and sums along axes -----------------------------------------------------------


def extremum_over(value: SSAValue, axes: Sequence[int]) -> QuantisedType | Float32Type:
    """Return the type of an extremum over ``axes``, or over windows along them.

    ``GridError`` if scale or zero point differ along an axis: raw integers do not compare.
    """
    element = element_type(value)
    if not isinstance(element, ScaledType | BipolarType):
        return element
    rank = len(shape_of(value))
    parameters = [p.array for p in element.parameters if isinstance(p, ArrayAttr)]
    aligned = [_aligned(parameter, rank) for parameter in parameters]
    if not all(_uniform(parameter, [axis % rank for axis in axes]) for parameter in aligned):
        raise GridError("scales or zero points differ along what is compared")
    scale, *rest = (ArrayAttr.get(_trimmed(parameter)) for parameter in aligned)
    if isinstance(element, BipolarType):
        return BipolarType(scale)
    return ScaledType(element.signed, element.width, scale, rest[0])


def comparable(
    value: SSAValue, axes: Sequence[int], names: Names
) -> tuple[list[Operation], SSAValue]:
    """Put a value whose scale or zero point differs along ``axes`` on one step there."""
    try:
        extremum_over(value, axes)
    except GridError:
        rank = len(shape_of(value))
        shifts = _aligned(quantised(value).shift, rank)
        made, regridded = _on_common_step(value, axes, names)
        if not made and not _uniform(shifts, [axis % rank for axis in axes]):
            steps = collapse(quantised(value).step)
            made = [recast(value, steps, np.ones(steps.shape, np.int64), names)]
            regridded = made[0].results[0]
        return made, regridded
    return [], value


def max_pool(
    edge: str,
    input: SSAValue,
    kernel: Sequence[int],
    names: Names,
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    channels_last: bool = False,
) -> list[Operation]:
    """Build a maximum over windows, last in the list after what it needs."""
    axes = spatial_axes_of(len(shape_of(input)), channels_last)
    before, input = comparable(input, axes, names)
    made = MaxPoolOp(
        edge,
        input,
        kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        channels_last=channels_last,
    )
    return [*before, made]


def reduce(
    edge: str, input: SSAValue, kind: Reduction, axes: Sequence[int], names: Names
) -> list[Operation]:
    """Build a reduction over negative ``axes``, last in the list after what it needs."""
    before: list[Operation] = []
    if kind is not Reduction.SUM:
        before, input = comparable(input, axes, names)
        return [*before, ReduceOp(edge, input, kind, axes, extremum_over(input, axes))]
    if _is_real(input):
        return [ReduceOp(edge, input, kind, axes, f32)]
    before, input = _on_common_step(input, axes, names)
    return [*before, ReduceOp(edge, input, kind, axes, sum_over_type(input, axes))]


def sum_over_type(value: SSAValue, axes: Sequence[int]) -> FixedType | ScaledType | RatioType:
    """Return the type of a sum over ``axes``; ``GridError`` if steps differ along them."""
    shape = shape_of(value)
    rank = len(shape)
    element = quantised(value)
    counted = [axis % rank for axis in axes]
    steps = _aligned(element.step, rank)
    if not _uniform(steps, counted):
        raise GridError("the steps of the operand differ along what is summed")
    totals: list[Array] = []
    for bound in integer_range(element):
        total = _aligned(bound, rank).astype(object)
        for axis in counted:
            times = shape[axis] if total.shape[axis] == 1 else 1
            total = total.sum(axis=axis, keepdims=True) * times
        totals.append(total)
    low, high = int(np.min(totals[0])), int(np.max(totals[1]))
    if isinstance(element, RatioType):
        width, signed = width_of(low, high)
        return RatioType(int(signed), width, element.divisor)
    return on_step(np.asarray(_trimmed(steps), object), low, high)


# -- extrema of several tensors ------------------------------------------------------------


def extremum(edge: str, inputs: Sequence[SSAValue], kind: Reduction) -> list[Operation]:
    """Build an elementwise extremum on the greatest common step of its operands."""
    real = any(_is_real(value) for value in inputs)
    return [ExtremumOp(edge, inputs, kind, f32 if real else extremum_type(inputs, kind))]


def extremum_type(
    inputs: Sequence[SSAValue], kind: Reduction
) -> FixedType | ScaledType | RatioType:
    """Return the type of an elementwise extremum, on the step that a sum would have."""
    total = sum_type(inputs, [1] * len(inputs))
    shape = np.broadcast_shapes(*(shape_of(value) for value in inputs))
    best = np.maximum if kind is Reduction.MAX else np.minimum
    bounds: list[Array] = []
    for position in range(2):
        parts: list[Array] = []
        for value in inputs:
            factor = step_factors(quantised(value).step, total.step).astype(object)
            bound = integer_range(quantised(value))[position].astype(object)
            parts.append(np.asarray(bound * factor, object))
        found = parts[0]
        for part in parts[1:]:
            found = np.asarray(best(found, part), object)
        bounds.append(found)
    low, high = int(np.min(bounds[0])), int(np.max(bounds[1]))
    if isinstance(total, RatioType):
        width, signed = width_of(low, high)
        return RatioType(int(signed), width, total.divisor)
    steps = collapse(total.step)
    return on_step(np.broadcast_to(steps, shape) if steps.size > 1 else steps, low, high)


def extremum_factors(op: ExtremumOp) -> list[Array]:
    """Return, for each operand, how many steps of the result one step of its own is."""
    to = quantised(op.result).step
    return [step_factors(quantised(value).step, to) for value in op.inputs]


# -- the same operation on other operands --------------------------------------------------


def again(
    op: ConvOp | MaxPoolOp | ReduceOp | ExtremumOp,
    edge: str,
    operands: Sequence[SSAValue],
    names: Names,
) -> list[Operation]:
    """Build what ``op`` does with other operands of its shapes, under another name."""
    match op:
        case ConvOp():
            group = op.group.data
            return conv(edge, operands[0], operands[1], names, group=group, **op.geometry)
        case MaxPoolOp():
            return max_pool(edge, operands[0], op.kernel_shape, names, **op.geometry)
        case ReduceOp():
            axes = [axis.data for axis in op.axes]
            return reduce(edge, operands[0], op.kind.data, axes, names)
        case ExtremumOp():
            return extremum(edge, operands, op.kind.data)
