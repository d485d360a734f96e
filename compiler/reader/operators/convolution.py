"""Convolutions and their transposes: exact on integers, with constant weights."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from xdsl.ir import SSAValue

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.operators.arithmetic import elementwise
from fastml.compiler.reader.operators.index_maps import Picks
from fastml.compiler.reader.operators.padding import FILL, pick_or_fill
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.sliding import (
    Sliding,
    auto_pad_of,
    checked,
    sizes_of,
    sliding_windows,
    spatial_operand,
)
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects import inference, inference_spatial
from fastml.dialects.fastml import AddOp
from fastml.dialects.fastml_spatial import AxisWindows

CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@operator("Conv", since=(1, 11, 22), attributes=CONV)
def convolution(node: Node) -> Value:
    """Convolution of any rank: strides, dilations, pads, groups, bias."""
    return _convolution(node, channels_last=False)


@operator(
    "Conv",
    since=(1,),
    attributes=("dilations", "group", "kernel_shape", "pads", "strides"),
    channels_last=True,
)
def convolution_channels_last(node: Node) -> Value:
    """Convolution whose channels are the last axis, of operand, weights and result."""
    return _convolution(node, channels_last=True)


def _convolution(node: Node, *, channels_last: bool) -> Value:
    data, sizes = spatial_operand(node, node.take(0), channels_last)
    weights = node.take_constant(1)
    shape = weights.shape
    if len(shape) != len(data.shape) or 0 in shape:
        message = f"weights of shape {list(shape)} do not fit an operand of shape"
        raise node.error("FML-IMP-SHAPE", f"{message} {node.show(node.full_shape(data))}")
    kernel = list(shape[1:-1] if channels_last else shape[2:])
    _check_kernel(node, kernel)
    group = _groups(node)
    channels = data.shape[-1 if channels_last else 1]
    inner = shape[-1 if channels_last else 1]
    if group * inner != channels or shape[0] % group:
        message = f"{group} groups of {inner} channels, and {shape[0]} results, do not fit the"
        raise node.error("FML-IMP-SHAPE", f"{message} operand's {channels} channels")
    sliding = checked(node, sliding_windows(node, sizes, kernel, channels_last))
    return _build(node, data, weights, sliding, group)


def _check_kernel(node: Node, kernel: list[int]) -> None:
    given = node.integers("kernel_shape")
    if given is not None and given != kernel:
        message = f"attribute 'kernel_shape={given}' is not that of the weights, {kernel}"
        raise node.error("FML-IMP-ATTR", message)


def _groups(node: Node) -> int:
    group = node.integer("group")
    assert group is not None, "the schema has a default"
    if group < 1:
        raise node.error("FML-IMP-ATTR", f"attribute 'group={group}' is not positive")
    return group


def _build(
    node: Node, data: Varying, weights: Constant, sliding: Sliding, group: int
) -> Varying | Value:
    """Build a convolution, and the fp32 sum with a bias."""
    outputs = weights.shape[0]
    node.check_size(sliding.shape(outputs))
    bias = node.take_optional(2)
    edge = node.edge if bias is None else node.fresh(f"{node.edge}/conv")
    kernel = _integer_weights(node, data.value, node.materialise(weights))
    build = partial(
        inference_spatial.conv,
        edge,
        data.value,
        kernel,
        node.fresh,
        strides=sliding.strides,
        dilations=sliding.dilations,
        pads=sliding.pads,
        group=group,
        channels_last=sliding.channels_last,
    )
    result = Varying(node.exact(build), data.batch)
    if bias is None:
        return result
    reals = node.reals_of(node.constant(bias, "B"), "B")
    if reals.shape != (outputs,):
        message = f"'B' of shape {list(reals.shape)} is not one for each of {outputs} channels"
        raise node.error("FML-IMP-SHAPE", message)
    if not sliding.channels_last:
        reals = reals.reshape(outputs, *(1 for _ in sliding.axes))
    return elementwise(node, node.edge, AddOp, [result, Constant(reals)])


def _integer_weights(node: Node, data: SSAValue, weights: SSAValue) -> SSAValue:
    """Read float32 weights as integers where they lie on a narrow grid."""
    constant = inference.constant_of(weights)
    if constant is None or not node.is_real(weights) or node.is_real(data):
        return weights
    integers = inference.integer_constant(constant)
    if integers is None:
        message = "the weights are not quantised"
        raise node.error("FML-UNQUANTISED", message, "put a quantiser on the weights")
    constant.detach()
    constant.erase()
    return node.emit([integers])


# -- transposed ----------------------------------------------------------------------------


@operator("ConvTranspose", since=(1, 11, 22), attributes=(*CONV, "output_padding", "output_shape"))
def transposed_convolution(node: Node) -> Value:
    """Transposed convolution: zeros between the elements, then a convolution."""
    data, sizes = spatial_operand(node, node.take(0), False)
    weights = node.take_constant(1)
    shape = weights.shape
    if len(shape) != len(data.shape) or 0 in shape or shape[0] != data.shape[1]:
        message = f"weights of shape {list(shape)} do not fit an operand of shape"
        raise node.error("FML-IMP-SHAPE", f"{message} {node.show(node.full_shape(data))}")
    group = _groups(node)
    if shape[0] % group:
        message = f"{group} groups do not divide {shape[0]} channels"
        raise node.error("FML-IMP-SHAPE", message)
    kernel = list(shape[2:])
    _check_kernel(node, kernel)
    picks: dict[int, Picks] = {}
    axes: list[AxisWindows] = []
    for axis, (stride, windows) in enumerate(_backwards(node, sizes, kernel), 2):
        pick, kept = _stuffed(node, windows, stride)
        picks[axis] = pick
        axes.append(kept)
    edge = node.fresh(f"{node.edge}/stuffed")
    stuffed = pick_or_fill(node, edge, data, picks, np.zeros((), np.float32))
    assert isinstance(stuffed, Varying)
    sliding = checked(node, Sliding(tuple(axes), False))
    return _build(node, stuffed, _mirrored(weights, group), sliding, group)


def _backwards(
    node: Node, sizes: list[int], kernel: list[int]
) -> Iterator[tuple[int, AxisWindows]]:
    """Yield, for each axis, its stride, and the windows over the elements with zeros between.

    Their pads may be negative, where elements at the ends reach no result.
    """
    count = len(sizes)
    strides = sizes_of(node, "strides", count, 1, 1)
    dilations = sizes_of(node, "dilations", count, 1, 1)
    more = sizes_of(node, "output_padding", count, 0, 0)
    how = auto_pad_of(node)
    pads = sizes_of(node, "pads", 2 * count, 0, 0)
    wanted = sizes_of(node, "output_shape", count, 1, 0)
    for axis, size in enumerate(sizes):
        stride, extra = strides[axis], more[axis]
        if extra and extra >= max(stride, dilations[axis]):
            message = f"attribute 'output_padding={more}' is not less than stride or dilation"
            raise node.error("FML-IMP-ATTR", message)
        extent = dilations[axis] * (kernel[axis] - 1) + 1
        whole = stride * (size - 1) + extent + extra
        begin, result = pads[axis], whole - pads[axis] - pads[count + axis]
        if wanted[axis] or how.startswith("SAME"):
            result = wanted[axis] or size * stride
            begin = _chosen_pad(node, how, whole - result)
        if result < 1:
            message = f"pads leave nothing of the {whole} results along axis {axis + 2}"
            raise node.error("FML-IMP-SHAPE", message)
        node.check_size([whole])
        zeros_between = stride * (size - 1) + 1
        before = extent - 1 - begin
        after = result - 1 + extent - zeros_between - before
        yield (
            stride,
            AxisWindows(zeros_between, kernel[axis], 1, dilations[axis], before, after),
        )


def _chosen_pad(node: Node, how: str, total: int) -> int:
    """Return the pad before an axis of which ``total`` results are left out."""
    if total < 0:
        message = "the result is larger than what the operand reaches"
        raise node.error("FML-IMP-ATTR", message, "give 'output_padding' instead")
    if total % 2 and node.schema.since < 11:
        message = "an odd number of results is left out, at a side that version 1 does not tell"
        raise node.error("FML-IMP-ATTR", message, "give 'pads' instead")
    return total // 2 if how == "SAME_UPPER" else total - total // 2


def _stuffed(node: Node, windows: AxisWindows, stride: int) -> tuple[Picks, AxisWindows]:
    """Return where elements and zeros are taken from, and the windows over them."""
    first, last = max(-windows.begin, 0), windows.size - max(-windows.end, 0)
    if first >= last:
        message = "some results are of pads alone"
        raise node.error("FML-IMP-SHAPE", message, "give less 'output_padding'")
    at = np.arange(first, last)
    pick = np.where(at % stride == 0, at // stride, FILL)
    kept = replace(windows, size=last - first, begin=max(windows.begin, 0), end=max(windows.end, 0))
    return pick, kept


def _mirrored(weights: Constant, group: int) -> Constant:
    """Return the weights of the convolution: mirrored, input and output channels exchanged."""
    shape = weights.shape
    inputs, outputs, *kernel = shape
    index = np.arange(weights.array.size).reshape(group, inputs // group, outputs, *kernel)
    index = np.flip(index.swapaxes(1, 2), axis=tuple(range(3, index.ndim)))
    index = index.reshape(group * outputs, inputs // group, *kernel)
    array = weights.array.ravel()[index]
    if weights.raw is None or weights.element is None:
        return Constant(array)
    return Constant(array, weights.raw.ravel()[index], weights.element.reindex(shape, index))
