"""Operators that only move elements: wiring in hardware."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.onnx_file import Plain
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Batch, Constant, Value, Varying
from fastml.dialects import inference, inference_joins
from fastml.dialects.fastml import ConstantOp, MulOp

Picks: TypeAlias = NDArray[np.int64]
"""Source position of each element along an axis."""

LAYOUT = (1, 13, 21, 23, 24, 25)
"""Versions that differ only in the element types they take."""


def reshape_value(node: Node, value: Value, target: Sequence[int]) -> Value:
    """Change the shape to ``target``, given at the model's own batch."""
    node.check_size(target, node.samples)
    if isinstance(value, Constant):
        array = value.array.reshape(tuple(target))
        if value.raw is None or value.element is None:
            return value.moved(lambda plain: plain.reshape(tuple(target)))
        index = np.arange(array.size).reshape(array.shape)
        element = value.element.reindex(value.shape, index)
        return Constant(array, value.raw.reshape(array.shape), element)
    shape, batch = node.keep_batch(value, target)
    return Varying(_rearrange(node, node.edge, [value], None, shape), batch)


def transpose_value(node: Node, edge: str, value: Value, order: Sequence[int]) -> Value:
    """Permute the axes."""
    index = np.arange(int(np.prod(value.shape, dtype=np.int64))).reshape(value.shape)
    index = index.transpose(order)
    if isinstance(value, Constant):
        array = np.ascontiguousarray(value.array.transpose(order))
        if value.raw is None or value.element is None:
            return value.moved(lambda plain: np.ascontiguousarray(plain.transpose(order)))
        element = value.element.reindex(value.shape, index)
        return Constant(array, value.raw.transpose(order).copy(), element)
    batch = value.batch
    if batch is not None:
        rank = len(order)
        axis = list(order).index(rank + batch.axis)
        if batch.outer > 1 and axis != rank + batch.axis:
            raise node.mixed("a transposition moves an axis that is merged with the batch")
        batch = Batch(axis - rank, batch.outer)
    return Varying(_rearrange(node, edge, [value], index.ravel(), index.shape), batch)


def move_value(
    node: Node, edge: str, value: Value, move: Callable[[Plain], Plain], batch: Batch | None = None
) -> Value:
    """Apply a function that only moves elements, or repeats or drops some.

    It is applied to arrays of the value's own shape; ``batch`` is where its samples then are.
    """
    if isinstance(value, Constant) and value.raw is None:
        return value.moved(lambda plain: np.array(move(plain), order="C"))
    index = move(np.arange(int(np.prod(value.shape, dtype=np.int64))).reshape(value.shape))
    if isinstance(value, Varying):
        return Varying(_rearrange(node, edge, [value], index.ravel(), index.shape), batch)
    assert value.raw is not None
    assert value.element is not None
    raw = np.array(move(value.raw), order="C")
    return Constant.quantised(raw, value.element.reindex(value.shape, index))


def pick_along(node: Node, edge: str, value: Value, picks: Mapping[int, Picks]) -> Value:
    """Select, along each of some axes (counted from the first), elements of the model's own.

    Samples may only be selected all, in their order.
    """
    picks = own_picks(node, value, picks)
    batch = value.batch if isinstance(value, Varying) else None
    sizes = [len(picks[a]) if a in picks else s for a, s in enumerate(value.shape)]
    node.check_size(sizes)

    def move(array: Plain) -> Plain:
        for axis, pick in picks.items():
            array = np.take(array, pick, axis)
        return array

    return move_value(node, edge, value, move, batch)


def own_picks(node: Node, value: Value, picks: Mapping[int, Picks]) -> dict[int, Picks]:
    """Return the picks that do something, at batch 1; refuse to pick among samples."""
    full = node.full_shape(value)
    kept = {a: p for a, p in picks.items() if not np.array_equal(p, np.arange(full[a]))}
    batch = value.batch if isinstance(value, Varying) else None
    if batch is not None and len(full) + batch.axis in kept:
        raise node.mixed("samples are selected, repeated or moved")
    return kept


def _rearrange(
    node: Node,
    edge: str,
    values: Sequence[Varying],
    index: NDArray[np.int64] | None,
    shape: Sequence[int],
) -> SSAValue:
    operands = [value.value for value in values]
    size = sum(int(np.prod(value.shape, dtype=np.int64)) for value in values)
    if index is not None and np.array_equal(index, np.arange(size)):
        index = None
    return node.exact(lambda: inference.rearrange(edge, operands, index, shape, node.fresh))


def same_value(node: Node, value: Value) -> Value:
    """Pass a tensor on under the node's own name."""
    if isinstance(value, Constant):
        return value
    return Varying(_rearrange(node, node.edge, [value], None, value.shape), value.batch)


def normalise_axes(node: Node, axes: Sequence[int], rank: int) -> list[int]:
    """Count axes from the first; refuse those outside, and repetitions."""
    if any(not -rank <= axis < rank for axis in axes):
        raise node.error("FML-IMP-SHAPE", f"axes {list(axes)} are not within {rank} axes")
    counted = [axis % rank for axis in axes]
    if len(set(counted)) != len(counted):
        raise node.error("FML-IMP-SHAPE", f"axes {list(axes)} repeat one")
    return counted


@operator("Identity", since=(1, 13, 14, 16, 19, 21, 23, 24, 25))
def identity(node: Node) -> Value:
    """The same tensor."""
    return same_value(node, node.take(0, shapes=True))


@operator(
    "Dropout",
    since=(7, 10, 12, 13, 22),
    without_effect={"ratio": "only training uses it", "seed": "only training uses it"},
    spare_outputs=(1,),
)
def dropout(node: Node) -> Value:
    """The same tensor: nothing is dropped in inference."""
    data = node.take(0)
    if node.schema.since >= 12:
        ratio, training = node.take_optional(1), node.take_optional(2)
        if isinstance(ratio, Constant) and (ratio.array.dtype.kind != "f" or ratio.shape):
            raise node.error("FML-IMP-TYPE", "'ratio', which only training uses, is no number")
        if training is not None:
            flag = node.constant(training, "training_mode").array
            if flag.dtype != np.bool_ or flag.shape:
                raise node.error("FML-IMP-TYPE", "'training_mode' is not one truth value")
            if flag:
                raise node.error("FML-IMP-ATTR", "input 'training_mode=1' is not implemented")
    return same_value(node, data)


@operator("Flatten", since=(1, 9, 11, 13, 21, 23, 24, 25), attributes=("axis",))
def flatten(node: Node) -> Value:
    """Reshape to two axes."""
    data = node.take(0, shapes=True)
    full = node.full_shape(data)
    axis = node.integer("axis")
    assert axis is not None, "the schema has a default"
    lowest = 0 if node.schema.since < 11 else -len(full)
    if not lowest <= axis <= len(full):
        raise node.error("FML-IMP-ATTR", f"attribute 'axis={axis}' is not within {len(full)} axes")
    axis = axis + len(full) if axis < 0 else axis
    target = [int(np.prod(part, dtype=np.int64)) for part in (full[:axis], full[axis:])]
    return reshape_value(node, data, target)


@operator("Reshape", since=(5, 13, 14, 19, 21, 23, 24, 25), attributes=("allowzero",))
def reshape(node: Node) -> Value:
    """Reshape; 0 keeps an axis, -1 takes what is left."""
    data = node.take(0, shapes=True)
    full = node.full_shape(data)
    shape = node.take_constant(1, shapes=True)
    wanted = node.take_integers(1, shapes=True)
    assert wanted is not None, "the schema requires it"
    keeps = "allowzero" not in node.schema.attributes or not node.flag("allowzero")
    target: list[int] = []
    for position, size in enumerate(wanted):
        if size == 0 and keeps:
            if position >= len(full):
                message = f"shape {node.show(wanted)} keeps an axis that is not there"
                raise node.error("FML-IMP-SHAPE", message)
            size = full[position]
        target.append(size)
    count = int(np.prod(full, dtype=object))
    problem = f"{node.show(full)} cannot be reshaped to {node.show(wanted)}"
    if min(target, default=0) < -1 or target.count(-1) > 1:
        raise node.error("FML-IMP-SHAPE", f"{node.show(wanted)} is not a shape")
    if -1 in target:
        rest = -int(np.prod(target, dtype=object))
        if rest == 0 or count % rest:
            raise node.error("FML-IMP-SHAPE", problem)
        target[target.index(-1)] = count // rest
    size = int(np.prod(target, dtype=object))
    if size != count:  # a size without N fits one N alone
        fits_1 = shape.of_batch is None and size == int(np.prod(data.shape, dtype=object))
        raise node.shape_error(problem, fits_1=fits_1)
    result = reshape_value(node, data, target)
    if shape.of_batch is not None:
        _check_batch_axis(node, result, shape.of_batch.ravel())
    return result


def _check_batch_axis(node: Node, result: Value, of_batch: NDArray[np.bool_]) -> None:
    """Refuse a shape in which the number of samples sizes another axis than the batch."""
    sized = np.flatnonzero(of_batch) - len(of_batch)
    batch = result.batch if isinstance(result, Varying) else None
    if any(batch is None or axis != batch.axis for axis in sized):
        raise node.mixed("the number of samples sizes another axis than theirs")


@operator("Transpose", since=LAYOUT, attributes=("perm",))
def transpose(node: Node) -> Value:
    """Permute the axes; all reversed by default."""
    data = node.take(0, shapes=True)
    rank = len(data.shape)
    order = node.integers("perm")
    order = list(reversed(range(rank))) if order is None else order
    if sorted(order) != list(range(rank)):
        message = f"attribute 'perm={order}' does not permute {rank} axes"
        raise node.error("FML-IMP-ATTR", message)
    return transpose_value(node, node.edge, data, order)


def _axes(node: Node) -> list[int] | None:
    """Return the axes, an attribute before opset 13 and an input since."""
    return node.integers("axes") if node.schema.since < 13 else node.take_integers(1)


@operator("Squeeze", since=(1, 11, 13, 21, 23, 24, 25), attributes=("axes",))
def squeeze(node: Node) -> Value:
    """Drop axes of size 1."""
    data = node.take(0, shapes=True)
    full = node.full_shape(data)
    axes = _axes(node)
    if axes is None:
        axes = [axis for axis, size in enumerate(full) if size == 1]
    axes = normalise_axes(node, axes, len(full))
    if any(full[axis] != 1 for axis in axes):
        message = f"axes {axes} of {node.show(full)} are not all of size 1"
        fits_1 = all(data.shape[axis] == 1 for axis in axes)
        raise node.shape_error(message, fits_1=fits_1)
    return reshape_value(node, data, [s for axis, s in enumerate(full) if axis not in axes])


@operator("Unsqueeze", since=(1, 11, 13, 21, 23, 24, 25), attributes=("axes",))
def unsqueeze(node: Node) -> Value:
    """Insert axes of size 1."""
    data = node.take(0, shapes=True)
    axes = _axes(node)
    assert axes is not None, "the schema requires them"
    rank = len(data.shape) + len(axes)
    axes = normalise_axes(node, axes, rank)
    sizes = iter(node.full_shape(data))
    return reshape_value(node, data, [1 if a in axes else next(sizes) for a in range(rank)])


@operator("Concat", since=(4, 11, 13), attributes=("axis",))
def concat(node: Node) -> Value:
    """Join tensors along an axis."""
    values = node.take_all(shapes=True)
    rank = len(values[0].shape)
    axis = node.integer("axis")
    assert axis is not None, "the schema requires it"
    (axis,) = normalise_axes(node, [axis], rank)
    fulls = [node.full_shape(value) for value in values]
    if len({(*full[:axis], *full[axis + 1 :]) for full in fulls}) > 1:
        shapes = ", ".join(map(node.show, fulls))
        rests = {(*v.shape[:axis], *v.shape[axis + 1 :]) for v in values}
        message = f"shapes {shapes} do not join along axis {axis}"
        raise node.shape_error(message, fits_1=len(rests) == 1)
    constants = [value for value in values if isinstance(value, Constant)]
    if len(constants) == len(values):
        arrays = [value.array for value in constants]
        if len({array.dtype for array in arrays}) > 1:
            raise node.error("FML-IMP-TYPE", "operands have several element types")
        node.check_size(node.full_shape(values[0]))
        marks = [
            np.zeros(v.shape, np.bool_) if v.of_batch is None else v.of_batch for v in constants
        ]
        return Constant(np.concatenate(arrays, axis)).marked(np.concatenate(marks, axis))
    node.refuse_batch_sizes(values)
    batches = {value.batch for value in values if isinstance(value, Varying)}
    batch = next(iter(batches))
    if len(batches) > 1 or (batch is not None and batch.axis == axis - rank):
        raise node.mixed("samples are concatenated")
    return _join(node, values, axis, batch)


def _join(node: Node, values: Sequence[Value], axis: int, batch: Batch | None) -> Value:
    parts: list[NDArray[np.int64]] = []
    operands: list[SSAValue] = []
    start = 0
    for value in values:
        small = value
        if isinstance(value, Constant) and batch is not None:
            first = np.take(value.array, [0], batch.axis)
            if not np.array_equal(np.broadcast_to(first, value.shape), value.array):
                raise node.mixed("a constant differs from sample to sample")
            small = Constant(first)
        size = int(np.prod(small.shape, dtype=np.int64))
        parts.append(np.arange(start, start + size).reshape(small.shape))
        start += size
        operands.append(node.materialise(small))
    index = np.concatenate(parts, axis)
    node.check_size(index.shape)
    if any(node.is_real(operand) for operand in operands):
        operands = [_as_real(node, operand) for operand in operands]
    elif 1 < axis < index.ndim - 1:  # of positions, never of channels: one step for all
        operands = _on_one_step(node, operands)
    flat = index.ravel()
    result = node.exact(
        lambda: inference.rearrange(node.edge, operands, flat, index.shape, node.fresh)
    )
    return Varying(result, batch)


def _on_one_step(node: Node, operands: list[SSAValue]) -> list[SSAValue]:
    """Put quantised operands on a common step, if one of a bounded width holds them."""
    try:
        made, operands = inference_joins.on_one_step(operands, node.fresh)
    except inference.GridError:  # then the scale varies over positions
        return operands
    if made:
        node.emit(made)
    return operands


def _as_real(node: Node, operand: SSAValue) -> SSAValue:
    """Read a quantised operand as its float32 numbers: times one, which changes none."""
    if node.is_real(operand):
        return operand
    one = ConstantOp(np.ones((), np.float32))
    edge = node.fresh(f"{inference.edge_of(operand)}/real")
    return node.emit([one, MulOp(edge, [operand, one.result])])
