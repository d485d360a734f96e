"""What windows, reductions and extrema of the ``fastml`` dialect compute, in arrays.

A convolution copies windows side by side, a bounded part of an image at a time, and multiplies
them by BLAS in the narrowest float that holds every partial sum exactly; one with a single
channel a group adds up its taps instead. Maxima take one axis after the other.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from fastml.dialects import inference_spatial
from fastml.dialects.fastml import (
    ConvOp,
    ExtremumOp,
    MaxPoolOp,
    ReduceOp,
    Reduction,
    shape_of,
)
from fastml.dialects.fastml_spatial import AxisWindows
from fastml.runtime.carriers import (
    Environment,
    Number,
    Step,
    carrier_of,
    integer_reader,
    integers_of,
    is_quantised,
    largest_of,
    quantised_type,
    to_carrier,
)

WINDOWS_AT_ONCE = 1 << 21
"""Elements of windows that are copied side by side at a time."""
TAPS_AT_ONCE = 1 << 16
"""Elements that a tap is multiplied with at a time, so that they stay in a cache."""

Reader: TypeAlias = Callable[[Environment], NDArray[np.float32]]


# -- windows -------------------------------------------------------------------------------


def _padded(images: Number, windows: Sequence[AxisWindows], first: int, pad: object) -> Number:
    """Surround images, whose spatial axes start at ``first``, by what all windows read."""
    widths = [(0, 0)] * images.ndim
    for axis, window in enumerate(windows, first):
        widths[axis] = (window.begin, window.end)
    if not any(sum(width) for width in widths):
        return images
    shape = [size + sum(width) for size, width in zip(images.shape, widths, strict=True)]
    wide = np.full(shape, pad, images.dtype)
    inner = tuple(slice(b, b + size) for size, (b, _) in zip(images.shape, widths, strict=True))
    wide[inner] = images
    return wide


def _tap(window: AxisWindows, position: int, start: int = 0, stop: int | None = None) -> slice:
    """Return where windows ``start..stop`` of a padded axis read at ``position``."""
    stop = window.count if stop is None else stop
    first = position * window.dilation + start * window.stride
    return slice(first, first + (stop - start - 1) * window.stride + 1, window.stride)


def _side_by_side(
    padded: Number, windows: Sequence[AxisWindows], first: int, start: int, stop: int
) -> Number:
    """Return a view ``[..., *windows, ..., *taps]`` of windows ``start..stop`` of an axis."""
    front, *rest = windows
    part = padded[(slice(None),) * first + (slice(start * front.stride, None),)]
    counts = [stop - start, *(window.count for window in rest)]
    shape = [*part.shape[:first], *counts, *part.shape[first + len(windows) :]]
    strides = list(part.strides)
    taps: list[int] = []
    for axis, window in enumerate(windows, first):
        taps.append(part.strides[axis] * window.dilation)
        strides[axis] *= window.stride
    kernel = [window.kernel for window in windows]
    return as_strided(part, [*shape, *kernel], [*strides, *taps], writeable=False)


def _parts(count: int, cost: int, limit: int) -> Iterator[tuple[int, int]]:
    """Split ``count`` rows of windows of ``cost`` elements each into parts within a limit."""
    rows = max(1, limit // max(cost, 1))
    for start in range(0, count, rows):
        yield start, min(start + rows, count)


# -- convolution ---------------------------------------------------------------------------


def convolution(op: ConvOp) -> Step:
    """Return the step of a convolution."""
    input, result = op.input, op.result
    element = quantised_type(input)
    weights = op.matrices
    kind = object if weights.dtype.kind == "O" else None
    magnitudes = np.abs(weights).reshape(len(weights), -1).sum(axis=1, dtype=kind)
    largest = largest_of(element) * max(int(np.max(magnitudes, initial=0)), 1)
    dtype, out = carrier_of(largest), carrier_of(largest_of(quantised_type(result)))
    integers, matrix = integers_of(element), to_carrier(weights, dtype)
    windows, group = op.windows, op.group.data
    shape = shape_of(result)[1:]
    last = op.channels_last is not None
    convolve = _columns_last if last and group == 1 else _columns_first
    if matrix.shape[1] == 1 and group > 1:
        convolve = _taps
    matrix = matrix.reshape(group, -1, *matrix.shape[1:])

    def step(environment: Environment) -> None:
        found = environment[input]
        images = to_carrier(integers(found), dtype)
        images = images.reshape(len(found), *images.shape[2:])
        padded = _padded(images, windows, 1 if last else 2, 0)
        made = np.empty((len(found), *shape), dtype)
        if last and group > 1:  # rows of few channels are costly to copy
            first = np.ascontiguousarray(np.moveaxis(padded, -1, 1))
            convolve(first, matrix, windows, np.moveaxis(made, -1, 1))
        else:
            convolve(padded, matrix, windows, made)
        environment[result] = to_carrier(made.reshape(len(found), 1, *shape), out)

    return step


def _columns_first(
    padded: Number, weights: Number, windows: Sequence[AxisWindows], made: Number
) -> None:
    """Convolve ``[F, C, *spatial]``: ``weights[g, M, C, *kernel]`` times columns of windows."""
    frames, (group, outputs, channels) = len(padded), weights.shape[:3]
    rank = len(windows)
    matrix = weights.reshape(group, outputs, -1)
    target = made.reshape(frames, group, outputs, *made.shape[2:])
    grouped = padded.reshape(frames, group, channels, *padded.shape[2:])
    cost = frames * group * matrix.shape[2] * int(np.prod(made.shape[3:]))
    order = (1, 2, *range(3 + rank, 3 + 2 * rank), 0, *range(3, 3 + rank))
    for start, stop in _parts(windows[0].count, cost, WINDOWS_AT_ONCE):
        view = _side_by_side(grouped, windows, 3, start, stop).transpose(order)
        product = matrix @ view.reshape(group, matrix.shape[2], -1)
        sizes = (group, outputs, frames, stop - start, *target.shape[4:])
        target[:, :, :, start:stop] = np.moveaxis(product.reshape(sizes), 2, 0)


def _columns_last(
    padded: Number, weights: Number, windows: Sequence[AxisWindows], made: Number
) -> None:
    """Convolve ``[F, *spatial, C]``: rows of windows times ``weights[1, M, C, *kernel]``."""
    frames, outputs, rank = len(padded), weights.shape[1], len(windows)
    matrix = np.moveaxis(weights[0], 1, -1).reshape(outputs, -1).T
    cost = frames * len(matrix) * int(np.prod(made.shape[2:-1]))
    taps = tuple(range(2 + rank, 2 + 2 * rank))
    order = (*range(1 + rank), *taps, 1 + rank)
    for start, stop in _parts(windows[0].count, cost, WINDOWS_AT_ONCE):
        view = _side_by_side(padded, windows, 1, start, stop).transpose(order)
        product = view.reshape(-1, len(matrix)) @ matrix
        made[:, start:stop] = product.reshape(frames, stop - start, *made.shape[2:])


def _taps(padded: Number, weights: Number, windows: Sequence[AxisWindows], made: Number) -> None:
    """Convolve ``[F, C, *spatial]`` channel by channel: ``weights[C, M, 1, *kernel]``."""
    front, *rest = windows
    group, outputs = weights.shape[:2]
    shape = (group, outputs, *(1 for _ in windows))
    cost = int(np.prod(made.shape)) // front.count
    kernels = list(np.ndindex(*(window.kernel for window in windows)))
    for start, stop in _parts(front.count, cost, TAPS_AT_ONCE):
        total: Number | None = None
        for kernel in kernels:
            at = [_tap(front, kernel[0], start, stop)]
            at += [_tap(window, k) for window, k in zip(rest, kernel[1:], strict=True)]
            seen = padded[(slice(None), slice(None), None, *at)]
            term = seen * weights[(slice(None), slice(None), 0, *kernel)].reshape(shape)
            total = term if total is None else np.add(total, term, out=total)
        assert total is not None, "a window is not empty"
        sizes = (len(made), group * outputs, *total.shape[3:])
        made[:, :, start:stop] = total.reshape(sizes)


# -- extrema and sums ----------------------------------------------------------------------


def maximum(op: MaxPoolOp) -> Step:
    """Return the step of a maximum over windows, of raw integers or real numbers."""
    input, result = op.input, op.result
    windows, axes = op.windows, op.spatial_axes
    pad: Any = -np.inf
    if is_quantised(input):  # every window sees an element, and none is less
        pad = quantised_type(input).raw_range[0]

    def step(environment: Environment) -> None:
        found = environment[input]
        for axis, window in zip(axes, windows, strict=True):
            padded = _padded(found, [window], axis + 1, pad)
            front = (slice(None),) * (axis + 1)
            best = padded[(*front, _tap(window, 0))].copy()
            for position in range(1, window.kernel):
                np.maximum(best, padded[(*front, _tap(window, position))], out=best)
            found = best
        environment[result] = found

    return step


def reduction(op: ReduceOp) -> Step:
    """Return the step of a sum, maximum or minimum over axes."""
    input, result = op.input, op.result
    axes = tuple(axis.data for axis in op.axes)
    if op.kind.data is not Reduction.SUM:
        best = np.max if op.kind.data is Reduction.MAX else np.min

        def compare(environment: Environment) -> None:
            environment[result] = best(environment[input], axis=axes, keepdims=True)

        return compare
    element = quantised_type(input)
    count = int(np.prod([shape_of(input)[axis] for axis in axes]))
    wide = carrier_of(largest_of(element) * count)
    out = carrier_of(largest_of(quantised_type(result)))
    integers = integers_of(element)

    def add(environment: Environment) -> None:
        total = to_carrier(integers(environment[input]), wide).sum(axis=axes, keepdims=True)
        environment[result] = to_carrier(total, out)

    return add


def extremum(op: ExtremumOp, readers: Sequence[Reader]) -> Step:
    """Return the step of an elementwise extremum; ``readers`` give operands as real numbers."""
    result, rank = op.result, len(shape_of(op.result))
    best = np.maximum if op.kind.data is Reduction.MAX else np.minimum
    if not is_quantised(result):

        def compare(environment: Environment) -> None:
            first, *rest = [read(environment) for read in readers]
            for operand in rest:
                first = best(first, operand)
            environment[result] = first

        return compare
    factors = inference_spatial.extremum_factors(op)
    bounds = [
        largest_of(quantised_type(value)) * max(int(np.max(np.abs(factor))), 1)
        for value, factor in zip(op.inputs, factors, strict=True)
    ]
    wide, out = carrier_of(max(bounds)), carrier_of(largest_of(quantised_type(result)))
    operands = [
        (integer_reader(value, wide, rank), to_carrier(factor, wide))
        for value, factor in zip(op.inputs, factors, strict=True)
    ]

    def step(environment: Environment) -> None:
        (read, factor), *rest = operands
        found = read(environment) * factor
        for read, factor in rest:
            found = best(found, read(environment) * factor)
        environment[result] = to_carrier(found, out)

    return step
