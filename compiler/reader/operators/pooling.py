"""Maximum and average over windows, and over whole images."""

from dataclasses import replace
from functools import partial, reduce
from math import prod

import numpy as np

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.operators.arithmetic import elementwise
from fastml.compiler.reader.operators.reductions import mean_over, reduced
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.sliding import (
    Sliding,
    auto_pad_of,
    checked,
    seen,
    sliding_windows,
    spatial_operand,
)
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects import inference_spatial
from fastml.dialects.elements import MAX_ELEMENTS
from fastml.dialects.fastml import ConstantOp, DivOp, Reduction
from fastml.dialects.fastml_spatial import AxisWindows
from fastml.dialects.grid import FixedType

MOST_SEEN = 64 * MAX_ELEMENTS
"""Most elements that the windows of one channel may see together."""
WINDOWS_WITHIN = 22
"""From this operator set on, a window that starts in the pads after an axis does not count."""


@operator(
    "MaxPool",
    since=(1, 8, 10, 11, 12, 22),
    attributes=(
        *("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order"),
        "strides",
    ),
    spare_outputs=(1,),
)
def max_pool(node: Node) -> Value:
    """Maximum over windows; its second output, the indices, must not be read."""
    if "storage_order" in node.schema.attributes:
        node.flag("storage_order")  # an order of the indices alone
    return _max_pool(node, channels_last=False)


@operator(
    "MaxPool",
    since=(1,),
    attributes=("ceil_mode", "dilations", "kernel_shape", "pads", "strides"),
    channels_last=True,
)
def max_pool_channels_last(node: Node) -> Value:
    """Maximum over windows of a tensor whose channels are the last axis."""
    return _max_pool(node, channels_last=True)


def _max_pool(node: Node, *, channels_last: bool) -> Value:
    data, sizes = spatial_operand(node, node.take(0), channels_last)
    sliding, _ = _pool_windows(node, data, sizes, channels_last)
    if any(not seen(axis, end=-1).all() for axis in sliding.axes):
        raise node.error("FML-IMP-ATTR", "a window sees pads alone")
    build = partial(
        inference_spatial.max_pool,
        node.edge,
        data.value,
        sliding.kernel,
        node.fresh,
        strides=sliding.strides,
        dilations=sliding.dilations,
        pads=sliding.pads,
        channels_last=channels_last,
    )
    return Varying(node.exact(build), data.batch)


@operator(
    "AveragePool",
    since=(1, 7, 10, 11, 19, 22),
    attributes=(
        *("auto_pad", "ceil_mode", "count_include_pad", "dilations"),
        *("kernel_shape", "pads", "strides"),
    ),
)
def average_pool(node: Node) -> Value:
    """Average over windows: an exact sum, divided in fp32 by the number of elements."""
    data, sizes = spatial_operand(node, node.take(0), False)
    counts_pads = node.flag("count_include_pad") if node.schema.since >= 7 else False
    sliding, pads = _pool_windows(node, data, sizes, False)
    counts = [
        seen(axis, end=end if counts_pads else -1)
        for axis, end in zip(sliding.axes, pads, strict=True)
    ]
    elements = reduce(np.multiply.outer, counts)
    if not elements.all():
        raise node.error("FML-IMP-ATTR", "a window sees pads alone")
    channels = data.shape[1]
    node.check_size([channels, *sliding.kernel])
    ones = np.ones((channels, 1, *sliding.kernel), np.int64)
    weights = node.emit([ConstantOp(ones, FixedType(0, 1, 0))])
    build = partial(
        inference_spatial.conv,
        node.fresh(f"{node.edge}/sum"),
        data.value,
        weights,
        node.fresh,
        strides=sliding.strides,
        dilations=sliding.dilations,
        pads=sliding.pads,
        group=channels,
    )
    total = Varying(node.exact(build), data.batch)
    same = np.all(elements == elements.ravel()[0])
    divisor = elements.ravel()[:1].reshape(()) if same else elements
    return elementwise(node, node.edge, DivOp, [total, Constant(divisor.astype(np.float32))])


@operator("GlobalAveragePool", since=(1, 22))
def global_average_pool(node: Node) -> Value:
    """Average over all positions of each channel."""
    data, sizes = spatial_operand(node, node.take(0), False)
    return mean_over(node, node.edge, data, list(range(-len(sizes), 0)))


@operator("GlobalMaxPool", since=(1, 22))
def global_max_pool(node: Node) -> Value:
    """Maximum over all positions of each channel."""
    data, sizes = spatial_operand(node, node.take(0), False)
    return reduced(node, node.edge, data, Reduction.MAX, list(range(-len(sizes), 0)))


def _pool_windows(
    node: Node, data: Varying, sizes: list[int], channels_last: bool
) -> tuple[Sliding, list[int]]:
    """Read the attributes of a pool; return its windows, and the pads after each axis.

    What a window that ``ceil_mode`` adds has beyond those is a pad of the windows, too, but
    never counts.
    """
    kernel = node.integers("kernel_shape")
    assert kernel is not None, "the schema requires it"
    if len(kernel) != len(sizes) or min(kernel) < 1:
        message = f"attribute 'kernel_shape={kernel}' is not a size for each of {len(sizes)} axes"
        raise node.error("FML-IMP-ATTR", message)
    sliding = sliding_windows(node, sizes, kernel, channels_last)
    how = auto_pad_of(node)
    for axis in sliding.axes:
        if max(axis.begin, axis.end) >= axis.kernel:
            message = f"a pad of {max(axis.begin, axis.end)} is not smaller than the window"
            raise node.error("FML-IMP-ATTR", message)
        if how.startswith("SAME") and axis.dilation > 1:
            message = f"attributes 'auto_pad={how}' and 'dilations' are not implemented together"
            raise node.error("FML-IMP-ATTR", message, "give 'pads' instead")
    pads = [axis.end for axis in sliding.axes]
    channels = data.shape[-1 if channels_last else 1]
    if "ceil_mode" in node.schema.attributes and node.flag("ceil_mode"):
        axes = tuple(_with_last(node, axis, how) for axis in sliding.axes)
        sliding = Sliding(axes, channels_last)
    sliding = checked(node, sliding)
    node.check_size([channels, *(axis.size + axis.begin + axis.end for axis in sliding.axes)])
    node.check_size(sliding.shape(channels))
    if prod(axis.count * axis.kernel for axis in sliding.axes) > MOST_SEEN:
        message = f"attribute 'kernel_shape={kernel}' makes windows that see more than"
        raise node.error("FML-IMP-ATTR", f"{message} {MOST_SEEN} elements together")
    return sliding, pads


def _with_last(node: Node, axis: AxisWindows, how: str) -> AxisWindows:
    """Add a last window for what strides leave over, if there is one and it counts."""
    extent = axis.dilation * (axis.kernel - 1) + 1
    left = (axis.size + axis.begin + axis.end - extent) % axis.stride
    if not left or how.startswith("SAME"):
        return axis
    if how == "VALID":
        message = "attribute 'ceil_mode=1' is ambiguous with 'auto_pad=VALID'"
        raise node.error("FML-IMP-ATTR", message, "give 'pads' instead")
    if axis.count * axis.stride >= axis.size + axis.begin:
        if node.opset >= WINDOWS_WITHIN:
            return axis
        message = "attribute 'ceil_mode=1' adds a window that starts in the pads after the last"
        message += f" element; it counts only before operator set {WINDOWS_WITHIN}"
        raise node.error("FML-IMP-ATTR", message, "set 'ceil_mode' to 0")
    return replace(axis, end=axis.end + axis.stride - left)
