"""Pad: places around a tensor that hold a number, or elements of the tensor itself."""

from collections.abc import Mapping

import numpy as np

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.onnx_file import Plain
from fastml.compiler.reader.operators.index_maps import (
    Picks,
    normalise_axes,
    own_picks,
    pick_along,
)
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects import inference, inference_joins
from fastml.dialects.fastml import shape_of

FILL = -1
"""Where a pick takes no element, but the number that fills."""


def pick_or_fill(
    node: Node, edge: str, value: Value, picks: Mapping[int, Picks], fill: Plain
) -> Value:
    """Select elements along axes; those where a pick is ``FILL`` are the scalar ``fill``."""
    picks = own_picks(node, value, picks)
    if all(np.all(pick != FILL) for pick in picks.values()):
        return pick_along(node, edge, value, picks)
    sizes = [len(picks[a]) if a in picks else s for a, s in enumerate(value.shape)]
    node.check_size(sizes)
    inside = np.ones((), np.bool_)
    for axis, pick in picks.items():
        along = [1] * axis + [-1] + [1] * (len(sizes) - axis - 1)
        inside = inside & (pick != FILL).reshape(along)
    inside = np.broadcast_to(inside, sizes)
    if isinstance(value, Constant):
        array = np.where(inside, _taken(value.array, picks), fill)
        marks = None if value.of_batch is None else inside & _taken(value.of_batch, picks)
        return Constant(np.asarray(array, value.array.dtype)).marked(marks)
    operand, batch = value.value, value.batch
    try:
        made, operand, constant = inference_joins.with_number(operand, np.float32(fill), node.fresh)
    except inference.GridError as error:
        message = f"the padding {fill} meets no grid of the tensor: {error}"
        raise node.error("FML-GRID", message, "pad with 0, or with a number on its grid") from None
    node.emit([*made, constant])
    shape, places = shape_of(operand), shape_of(constant.result)
    count = int(np.prod(shape, dtype=np.int64))
    own = np.arange(count).reshape(shape)
    numbers = np.arange(count, count + int(np.prod(places))).reshape(places)
    index = _taken(own, picks)
    filled = _taken(np.broadcast_to(numbers, shape), picks)
    index = np.where(inside, index, filled)
    operands = [operand, constant.result]
    result = node.exact(
        lambda: inference.rearrange(edge, operands, index.ravel(), index.shape, node.fresh)
    )
    return Varying(result, batch)


def _taken(array: Plain, picks: Mapping[int, Picks]) -> Plain:
    for axis, pick in picks.items():
        array = np.take(array, np.maximum(pick, 0), axis)
    return array


@operator("Pad", since=(2, 11, 13, 18, 19, 21, 23, 24, 25), attributes=("mode", "pads", "value"))
def pad(node: Node) -> Value:
    """Constant, edge, reflect and wrap padding; negative pads crop."""
    data = node.take(0, shapes=True)
    full = node.full_shape(data)
    mode = node.text("mode")
    fill = _fill(node, data)
    by_attribute = node.schema.since < 11
    pads = node.integers("pads") if by_attribute else node.take_integers(1)
    assert pads is not None, "the schema requires them"
    axes = node.take_integers(3) if "axes" in node.schema.inputs else None
    axes = normalise_axes(node, range(len(full)) if axes is None else axes, len(full))
    if len(pads) != 2 * len(axes):
        message = f"pads {pads} are not two for each of {len(axes)} axes"
        raise node.error("FML-IMP-SHAPE", message)
    picks: dict[int, Picks] = {}
    for axis, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if begin or end:
            picks[axis] = _padded(node, mode, full[axis], begin, end)
    if mode == "constant":
        return pick_or_fill(node, node.edge, data, picks, fill)
    return pick_along(node, node.edge, data, picks)


def _fill(node: Node, data: Value) -> Plain:
    if node.schema.since < 11:
        value = node.real("value")
        if not np.isfinite(value):
            raise node.error("FML-IMP-ATTR", f"attribute 'value={value}' is not finite")
        return np.asarray(value)
    given = node.take_optional(2)
    kind = data.array.dtype if isinstance(data, Constant) else np.dtype(np.float32)
    if given is None:
        return np.zeros((), kind)
    array = node.constant(given, "constant_value").array
    if array.dtype != kind or array.size != 1 or array.ndim > 1:
        message = f"'constant_value' of shape {list(array.shape)} is not one {kind}"
        raise node.error("FML-IMP-TYPE", message)
    if kind.kind == "f" and not np.isfinite(array).all():
        raise node.error("FML-IMP-TYPE", f"'constant_value' is {array.item()}, which is not finite")
    return array.reshape(())


def _padded(node: Node, mode: str, size: int, begin: int, end: int) -> Picks:
    """Return the source of each position; negative pads have cropped it before."""
    first, last = max(-begin, 0), size - max(-end, 0)
    kept, length = last - first, size + begin + end
    if kept < 1 or length < 1:
        message = f"pads {begin} and {end} leave nothing of {size} elements"
        raise node.error("FML-IMP-SHAPE", message)
    node.check_size([length])
    at = np.arange(length) - max(begin, 0)
    match mode:
        case "constant":
            return np.where((at >= 0) & (at < kept), at + first, FILL)
        case "edge":
            return np.clip(at, 0, kept - 1) + first
        case "wrap" if "axes" in node.schema.inputs and node.schema.since >= 19:
            return at % kept + first
        case "reflect":
            if max(begin, end) >= kept:
                message = f"pads {begin} and {end} reflect more than {kept} elements hold"
                raise node.error("FML-IMP-SHAPE", message)
            return kept - 1 - np.abs(kept - 1 - np.abs(at)) + first
        case _:
            raise node.error("FML-IMP-ATTR", f"attribute 'mode={mode}' is not implemented")
