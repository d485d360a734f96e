"""Convolutions, pools and reductions for random graphs."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from operator_graphs import (
    CHANNELS_LAST,
    Array,
    Draft,
    Edge,
    Unfit,
    random_operator,
    sums_terms,
)

AUTO_PADS = ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")


def _image(edge: Edge, *, last: bool = False) -> int:
    """Return the number of spatial axes; channels must be where they are needed."""
    rank = len(edge.shape) - 1
    if rank not in (1, 2) or edge.channels_last != last:
        raise Unfit("no image")
    return rank


def _kernel(draft: Draft, edge: Edge, rank: int) -> list[int]:
    sizes = edge.shape[:-1] if edge.channels_last else edge.shape[1:]
    return [draft.integer(1, min(3 + (rank == 1), size)) for size in sizes]


def _window_attributes(
    draft: Draft, kernel: list[int], *, dilates: bool = True, auto: bool = True
) -> dict[str, Any]:
    """Draw what a window's attributes may be; each may be left out."""
    rank = len(kernel)
    attributes: dict[str, Any] = {}
    if draft.chance(0.7):
        attributes["strides"] = draft.integers(rank, 1, 3)
    if dilates and draft.chance(0.3):
        attributes["dilations"] = draft.integers(rank, 1, 2)
    if auto and draft.chance(0.25):
        attributes["auto_pad"] = draft.choose(AUTO_PADS)
        draft.features.add(f"auto_pad {attributes['auto_pad']}")
    elif draft.chance(0.6):
        attributes["pads"] = [draft.integer(0, max(k - 1, 0)) for k in (*kernel, *kernel)]
    return attributes


def _grouped(draft: Draft, channels: int) -> tuple[int, int]:
    """Draw a number of groups and of results."""
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    group = channels if draft.chance(0.3) else draft.choose(divisors)
    if group == channels > 1:
        draft.features.add("depthwise")
    return group, group * draft.integer(1, 3)


def _bias(draft: Draft, count: int) -> list[str]:
    if draft.chance(0.5):
        return []
    return [draft.constant((draft.rng.integers(-64, 64, count) / 16).astype(np.float32), "B")]


@random_operator("Conv")
def conv(draft: Draft, x: Edge) -> Edge:
    rank = _image(x)
    x = draft.as_quantised(x)
    kernel = _kernel(draft, x, rank)
    group, results = _grouped(draft, x.shape[0])
    weights = draft.weights([results, x.shape[0] // group, *kernel], 0)
    attributes = _window_attributes(draft, kernel)
    if group > 1 or draft.chance(0.3):
        attributes["group"] = group
    if draft.chance(0.6):
        attributes["kernel_shape"] = kernel
    return draft.node("Conv", [x, weights, *_bias(draft, results)], **attributes)


@random_operator("Conv channels last")
def conv_channels_last(draft: Draft, x: Edge) -> Edge:
    rank = _image(x, last=True)
    x = draft.as_quantised(x)
    kernel = _kernel(draft, x, rank)
    group, results = _grouped(draft, x.shape[-1])
    weights = draft.weights([results, *kernel, x.shape[-1] // group], 0)
    attributes = _window_attributes(draft, kernel, auto=False)
    inputs = [x, weights, *_bias(draft, results)]
    return draft.node(
        "Conv",
        inputs,
        CHANNELS_LAST,
        channels_last=True,
        kernel_shape=kernel,
        group=group,
        **attributes,
    )


@random_operator("ConvTranspose")
def conv_transpose(draft: Draft, x: Edge) -> Edge:
    rank = _image(x)
    x = draft.as_quantised(x)
    kernel = _kernel(draft, x, rank)
    group, results = _grouped(draft, x.shape[0])
    weights = draft.weights([x.shape[0], results // group, *kernel], 1)
    attributes = _window_attributes(draft, kernel, auto=draft.chance(0.5))
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    if draft.chance(0.3):
        attributes["output_padding"] = [
            draft.integer(0, max(s, d) - 1) for s, d in zip(strides, dilations, strict=True)
        ]
    elif draft.chance(0.2):
        attributes.pop("pads", None)
        attributes["output_shape"] = [
            (size - 1) * s + (k - 1) * d + 1 - draft.integer(0, 2)
            for size, s, k, d in zip(x.shape[1:], strides, kernel, dilations, strict=True)
        ]
    if group > 1 or draft.chance(0.3):
        attributes["group"] = group
    return draft.node("ConvTranspose", [x, weights, *_bias(draft, results)], **attributes)


@random_operator("MaxPool")
def max_pool(draft: Draft, x: Edge) -> Edge:
    rank = _image(x)
    kernel = _kernel(draft, x, rank)
    attributes = _window_attributes(draft, kernel)
    if draft.chance(0.4):
        attributes["ceil_mode"] = draft.integer(0, 1)
    if draft.chance(0.1):
        attributes["storage_order"] = draft.integer(0, 1)
    return draft.node("MaxPool", [x], quantised=x.quantised, kernel_shape=kernel, **attributes)


@random_operator("MaxPool channels last")
def max_pool_channels_last(draft: Draft, x: Edge) -> Edge:
    rank = _image(x, last=True)
    kernel = _kernel(draft, x, rank)
    attributes = _window_attributes(draft, kernel, auto=False)
    return draft.node(
        "MaxPool",
        [x],
        CHANNELS_LAST,
        quantised=x.quantised,
        channels_last=True,
        kernel_shape=kernel,
        ceil_mode=draft.integer(0, 1),
        **attributes,
    )


@random_operator("AveragePool")
def average_pool(draft: Draft, x: Edge) -> Edge:
    rank = _image(x)
    x = draft.as_quantised(x)
    kernel = _kernel(draft, x, rank)
    attributes = _window_attributes(draft, kernel, dilates=draft.opset >= 19)
    if draft.chance(0.4):
        attributes["ceil_mode"] = draft.integer(0, 1)
    if draft.chance(0.5):
        attributes["count_include_pad"] = draft.integer(0, 1)
    return draft.node("AveragePool", [x], kernel_shape=kernel, **attributes)


@random_operator("GlobalAveragePool")
def global_average_pool(draft: Draft, x: Edge) -> Edge:
    _image(x)
    return draft.node("GlobalAveragePool", [draft.as_quantised(x)])


@random_operator("GlobalMaxPool")
def global_max_pool(draft: Draft, x: Edge) -> Edge:
    _image(x)
    return draft.node("GlobalMaxPool", [x], quantised=x.quantised)


@random_operator("Concat of two branches")
def two_branches(draft: Draft, x: Edge) -> Edge:
    """Two branches meet as real numbers, where nobody has quantised either of them."""
    rank = _image(x)
    x = draft.as_quantised(x)
    branches: list[Edge | str] = []
    for _ in range(2):
        results = draft.integer(1, 3)
        weights = draft.weights([results, x.shape[0], *[1] * rank], 0)
        branch = draft.node("Conv", [x, weights, *_bias(draft, results)])
        if draft.chance(0.5):
            branch = draft.node("Relu", [branch])
        if draft.chance(0.5):
            kernel, pads = [3] * rank, [1] * (2 * rank)
            branch = draft.node("MaxPool", [branch], kernel_shape=kernel, pads=pads)
        branches.append(branch)
    joined = draft.node("Concat", branches, axis=1)
    if draft.chance(0.5):
        joined = draft.node("Relu", [joined])
    return joined if draft.chance(0.3) else draft.quant(joined, plain=True)


def _reduction(draft: Draft, x: Edge, op: str, *, since: int) -> Edge:
    rank = x.sketch.ndim
    if rank < 3:
        raise Unfit("no axes to spare")
    order: Array = draft.rng.permutation(np.arange(1, rank))
    chosen = sorted(int(axis) for axis in order[: draft.integer(1, rank - 1)])
    axes = [axis - rank * draft.chance(0.5) for axis in chosen]
    attributes: dict[str, Any] = {}
    inputs: list[Edge | str] = [x]
    if draft.opset >= since:
        inputs.append(draft.constant(np.array(axes, np.int64), "a"))
        if draft.chance(0.3):
            attributes["noop_with_empty_axes"] = draft.integer(0, 1)
    else:
        attributes["axes"] = axes
    keeps = draft.chance(0.6)
    if not keeps or draft.chance(0.5):
        attributes["keepdims"] = int(keeps)
    last = x.channels_last and keeps
    return draft.node(
        op,
        inputs,
        quantised=op in ("ReduceMax", "ReduceMin") and x.quantised,
        channels_last=last,
        **attributes,
    )


@random_operator("ReduceMean")
def reduce_mean(draft: Draft, x: Edge) -> Edge:
    return _reduction(draft, draft.as_quantised(x), "ReduceMean", since=18)


@random_operator("ReduceSum")
def reduce_sum(draft: Draft, x: Edge) -> Edge:
    return _reduction(draft, draft.as_quantised(x), "ReduceSum", since=13)


@random_operator("ReduceMax")
def reduce_max(draft: Draft, x: Edge) -> Edge:
    return _reduction(draft, x, "ReduceMax", since=18)


@random_operator("ReduceMin")
def reduce_min(draft: Draft, x: Edge) -> Edge:
    return _reduction(draft, x, "ReduceMin", since=18)


# -- how many terms a sum has --------------------------------------------------------------


@sums_terms("Conv", "ConvTranspose")
def _of_weights(node: onnx.NodeProto, wanted: Array, tensors: Mapping[str, Array]) -> int:
    channels = wanted.shape[-1 if node.domain else 1]
    return tensors[node.input[1]].size // channels * len(wanted.shape)


@sums_terms("AveragePool")
def _of_window(node: onnx.NodeProto, wanted: Array, tensors: Mapping[str, Array]) -> int:
    sizes = next(a for a in node.attribute if a.name == "kernel_shape")
    return math.prod(sizes.ints)


@sums_terms("GlobalAveragePool", "ReduceMean", "ReduceSum")
def _of_axes(node: onnx.NodeProto, wanted: Array, tensors: Mapping[str, Array]) -> int:
    return tensors[node.input[0]].size // wanted.size
