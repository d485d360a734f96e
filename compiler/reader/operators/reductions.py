"""Sums, means and extrema over axes."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.operators.arithmetic import elementwise
from fastml.compiler.reader.operators.index_maps import (
    normalise_axes,
    reshape_value,
    same_value,
)
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects import inference_spatial
from fastml.dialects.fastml import DivOp, Reduction

ATTRIBUTES = ("axes", "keepdims", "noop_with_empty_axes")


@operator("ReduceSum", since=(1, 11, 13), attributes=ATTRIBUTES)
def reduce_sum(node: Node) -> Value:
    """Exact sum over axes."""
    return _over_axes(node, Reduction.SUM, mean=False)


@operator("ReduceMean", since=(1, 11, 13, 18), attributes=ATTRIBUTES)
def reduce_mean(node: Node) -> Value:
    """Mean over axes: an exact sum, divided in fp32 by the number of elements."""
    return _over_axes(node, Reduction.SUM, mean=True)


@operator("ReduceMax", since=(1, 11, 12, 13, 18, 20), attributes=ATTRIBUTES)
def reduce_max(node: Node) -> Value:
    """Maximum over axes."""
    return _over_axes(node, Reduction.MAX, mean=False)


@operator("ReduceMin", since=(1, 11, 12, 13, 18, 20), attributes=ATTRIBUTES)
def reduce_min(node: Node) -> Value:
    """Minimum over axes."""
    return _over_axes(node, Reduction.MIN, mean=False)


def reduced(node: Node, edge: str, data: Varying, kind: Reduction, axes: Sequence[int]) -> Varying:
    """Build a reduction over negative axes, which stay with size 1."""
    batch = data.batch
    if batch is not None and batch.axis in axes:
        raise node.mixed("samples are reduced to one")
    build = partial(inference_spatial.reduce, edge, data.value, kind, axes, node.fresh)
    return Varying(node.exact(build), batch)


def mean_over(node: Node, edge: str, data: Varying, axes: Sequence[int]) -> Value:
    """Build a mean over negative axes, which stay with size 1."""
    total = reduced(node, node.fresh(f"{edge}/sum"), data, Reduction.SUM, axes)
    count = int(np.prod([data.shape[axis] for axis in axes]))
    return elementwise(node, edge, DivOp, [total, Constant(np.asarray(count, np.float32))])


def _over_axes(node: Node, kind: Reduction, *, mean: bool) -> Value:
    data = node.take(0)
    if isinstance(data, Constant):
        raise node.error("FML-IMP-TYPE", "a reduction of a constant is not implemented")
    rank = len(data.shape)
    keeps = node.flag("keepdims")
    by_attribute = "axes" in node.schema.attributes
    given = node.integers("axes") if by_attribute else node.take_integers(1)
    idle = not by_attribute and node.flag("noop_with_empty_axes")
    if not given and (idle or not rank):
        return same_value(node, data)
    if given and node.schema.since < 11 and min(given) < 0:
        message = f"attribute 'axes={given}' counts from the last axis, which came with 11"
        raise node.error("FML-IMP-ATTR", message)
    axes = normalise_axes(node, given, rank) if given else list(range(rank))
    counted = [axis - rank for axis in sorted(axes)]
    edge = node.edge if keeps else node.fresh(f"{node.edge}/kept")
    result: Value
    if mean:
        result = mean_over(node, edge, data, counted)
    else:
        result = reduced(node, edge, data, kind, counted)
    if keeps:
        return result
    full = node.full_shape(result)
    return reshape_value(node, result, [s for axis, s in enumerate(full) if axis not in axes])
