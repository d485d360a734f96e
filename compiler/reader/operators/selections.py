"""Operators that select or repeat elements by constants: slices, splits, gathers, tiles."""

from collections.abc import Sequence

import numpy as np

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.onnx_file import Plain
from fastml.compiler.reader.operators.index_maps import (
    Picks,
    move_value,
    normalise_axes,
    pick_along,
)
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Batch, Constant, Value, Varying


@operator("Gather", since=(1, 11, 13), attributes=("axis",))
def gather(node: Node) -> Value:
    """Pick along an axis by constant indices, which may count from the end."""
    data, indices = node.take(0, shapes=True), node.take_constant(1)
    axis = node.integer("axis")
    assert axis is not None, "the schema has a default"
    rank = len(data.shape)
    if not -rank <= axis < rank:
        raise node.error("FML-IMP-ATTR", f"attribute 'axis={axis}' is not within {rank} axes")
    axis %= rank
    size, picks = node.full_shape(data)[axis], _indices(node, indices)
    if np.any((picks < -size) | (picks >= size)):
        raise node.error("FML-IMP-SHAPE", f"indices are not integers within {size} elements")
    rest = [s for position, s in enumerate(data.shape) if position != axis]
    node.check_size([picks.size, *rest])
    batch = data.batch if isinstance(data, Varying) else None
    if batch is not None:
        at = rank + batch.axis
        if at == axis:
            raise node.mixed("samples are selected")
        batch = Batch(batch.axis if at > axis else batch.axis + 1 - picks.ndim, batch.outer)
    return move_value(node, node.edge, data, lambda array: np.take(array, picks, axis), batch)


@operator("GatherND", since=(11, 12, 13), attributes=("batch_dims",))
def gather_nd(node: Node) -> Value:
    """Pick elements or blocks by constant tuples of indices."""
    data, indices = node.take(0, shapes=True), node.take_constant(1)
    if isinstance(data, Varying) and data.batch is not None:
        raise node.mixed("elements are picked by their place in a batch")
    picks, shape = _indices(node, indices), data.shape
    shared = node.integer("batch_dims") or 0 if "batch_dims" in node.schema.attributes else 0
    depth = picks.shape[-1] if picks.ndim else 0
    rank = min(len(shape), picks.ndim)
    fits = 0 <= shared < rank and 1 <= depth <= len(shape) - shared
    if not fits or picks.shape[:shared] != shape[:shared]:
        message = f"indices of shape {list(picks.shape)} do not fit data of shape {list(shape)}"
        raise node.error("FML-IMP-SHAPE", message)
    sizes = np.array(shape[shared : shared + depth])
    if np.any((picks < -sizes) | (picks >= sizes)):
        raise node.error("FML-IMP-SHAPE", f"indices are not within axes of sizes {sizes}")
    node.check_size([*picks.shape[:-1], *shape[shared + depth :]])
    lead = np.indices(picks.shape[:-1])[:shared]
    places = (*lead, *np.moveaxis(picks, -1, 0))
    return move_value(node, node.edge, data, lambda array: np.asarray(array[places]))


def _indices(node: Node, indices: Constant) -> Picks:
    if indices.array.dtype.kind not in "iu":
        raise node.error("FML-IMP-TYPE", f"indices are {indices.array.dtype}, not integers")
    return indices.array.astype(np.int64)


@operator("Slice", since=(1, 10, 11, 13), attributes=("starts", "ends", "axes"))
def slice_along(node: Node) -> Value:
    """A range along each of some axes, by constant bounds."""
    data = node.take(0, shapes=True)
    steps: list[int] | None = None
    if node.schema.since == 1:
        starts, ends, axes = (node.integers(name) for name in ("starts", "ends", "axes"))
    else:
        starts, ends, axes, steps = (node.take_integers(i) for i in range(1, 5))
    assert starts is not None, "the schema requires them"
    assert ends is not None, "the schema requires them"
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if len({len(starts), len(ends), len(axes), len(steps)}) > 1 or 0 in steps:
        raise node.error("FML-IMP-SHAPE", "starts, ends, axes and steps do not agree")
    full = node.full_shape(data)
    axes = normalise_axes(node, axes, len(full))
    picks = {
        axis: _range(start, end, step, full[axis])
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    }
    return pick_along(node, node.edge, data, picks)


def _range(start: int, end: int, step: int, size: int) -> Picks:
    """Return the positions of a slice, its bounds clamped as ONNX does."""
    start, end = (bound + size if bound < 0 else bound for bound in (start, end))
    if step > 0:
        return np.arange(min(max(start, 0), size), min(max(end, 0), size), step)
    return np.arange(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)


@operator("Split", since=(2, 11, 13, 18), attributes=("axis", "split", "num_outputs"))
def split(node: Node) -> Sequence[Value]:
    """Consecutive parts along an axis, each an output of its own."""
    data = node.take(0, shapes=True)
    full, count = node.full_shape(data), len(node.edges)
    axis = node.integer("axis")
    assert axis is not None, "the schema has a default"
    (axis,) = normalise_axes(node, [axis], len(full))
    sizes = _split_sizes(node, full[axis], count)
    if len(sizes) != count or sum(sizes) != full[axis] or min(sizes) < 0:
        message = f"parts of {sizes} do not make {count} outputs of {full[axis]} elements"
        raise node.error("FML-IMP-SHAPE", message)
    parts = np.split(np.arange(full[axis]), np.cumsum(sizes)[:-1])
    edges = [edge or node.fresh(f"{node.edge}/unnamed") for edge in node.edges]
    each = zip(edges, parts, strict=True)
    return [pick_along(node, edge, data, {axis: part}) for edge, part in each]


def _split_sizes(node: Node, size: int, count: int) -> list[int]:
    """Return the sizes of the parts; where none are given, equal ones but for the last."""
    by_attribute = "split" in node.schema.attributes
    given = node.integers("split") if by_attribute else node.take_integers(1)
    if "num_outputs" not in node.schema.attributes:
        if given is None and size % count:
            raise node.error("FML-IMP-SHAPE", f"{size} elements do not split into {count} parts")
        return given if given is not None else [size // count] * count
    number = node.integer("num_outputs")
    if (given is None) == (number is None):
        message = "needs one of input 'split' and attribute 'num_outputs'"
        raise node.error("FML-IMP-ATTR", message)
    if given is not None:
        return given
    assert number is not None
    if number < 1:
        raise node.error("FML-IMP-ATTR", f"attribute 'num_outputs={number}' is not positive")
    part = -(-size // number)
    if number != count:
        message = f"attribute 'num_outputs={number}' is not that of the {count} outputs"
        raise node.error("FML-IMP-ATTR", message)
    return [*[part] * (number - 1), size - part * (number - 1)]


@operator("Expand", since=(8, 13))
def expand(node: Node) -> Value:
    """Broadcast to a constant shape."""
    data, shape = node.take(0, shapes=True), node.take_constant(1, shapes=True)
    wanted = node.take_integers(1, shapes=True)
    assert wanted is not None, "the schema requires it"
    full = node.full_shape(data)
    node.check_rank(len(wanted), "the result")
    try:
        target = np.broadcast_shapes(full, tuple(wanted))
    except ValueError:
        message = f"{node.show(full)} does not broadcast to {node.show(wanted)}"
        raise node.error("FML-IMP-SHAPE", message) from None
    batch = data.batch if isinstance(data, Varying) else None
    small = list(target)
    if batch is not None:
        if target[batch.axis] != full[batch.axis]:
            raise node.mixed("samples are repeated")
        small[batch.axis] = data.shape[batch.axis]
    if shape.of_batch is not None:
        sized = np.flatnonzero(shape.of_batch.ravel()) - len(wanted)
        if any(batch is None or axis != batch.axis for axis in sized):
            raise node.mixed("the number of samples sizes another axis than theirs")
    node.check_size(small)
    spread = tuple(small)
    return move_value(node, node.edge, data, lambda array: np.broadcast_to(array, spread), batch)


@operator("Tile", since=(6, 13))
def tile(node: Node) -> Value:
    """Repeat the whole tensor along each axis."""
    data = node.take(0, shapes=True)
    repeats = node.take_integers(1)
    assert repeats is not None, "the schema requires them"
    full = node.full_shape(data)
    if len(repeats) != len(full) or min(repeats, default=1) < 1:
        message = f"repeats {repeats} are not positive, one for each of {len(full)} axes"
        raise node.error("FML-IMP-SHAPE", message)
    node.check_size([s * r for s, r in zip(data.shape, repeats, strict=True)])
    times = enumerate(repeats)
    picks = {axis: np.tile(np.arange(full[axis]), r) for axis, r in times if r > 1}
    return pick_along(node, node.edge, data, picks)


# -- blocks of pixels and channels ---------------------------------------------------------


@operator("DepthToSpace", since=(1, 11, 13, 28), attributes=("blocksize", "mode"))
def depth_to_space(node: Node) -> Value:
    """Channels become blocks of pixels, block first (DCR) or channel first (CRD)."""
    data, block, mode = _block(node)
    samples, channels, height, width = data.shape
    if channels % block**2:
        message = f"{channels} channels do not make blocks of {block} by {block}"
        raise node.error("FML-IMP-SHAPE", message)
    depth = channels // block**2

    def move(array: Plain) -> Plain:
        if mode == "DCR":
            parts = array.reshape(samples, block, block, depth, height, width)
            parts = parts.transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = array.reshape(samples, depth, block, block, height, width)
            parts = parts.transpose(0, 1, 4, 2, 5, 3)
        return parts.reshape(samples, depth, height * block, width * block)

    return move_value(node, node.edge, data, move, _batch_of(data))


@operator("SpaceToDepth", since=(1, 13, 28), attributes=("blocksize", "mode"))
def space_to_depth(node: Node) -> Value:
    """Blocks of pixels become channels, block first (DCR) or channel first (CRD)."""
    data, block, mode = _block(node)
    samples, channels, height, width = data.shape
    if height % block or width % block:
        message = f"{height} by {width} pixels are not whole blocks of {block} by {block}"
        raise node.error("FML-IMP-SHAPE", message)

    def move(array: Plain) -> Plain:
        parts = array.reshape(samples, channels, height // block, block, width // block, block)
        parts = parts.transpose(*((0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)))
        return parts.reshape(samples, -1, height // block, width // block)

    return move_value(node, node.edge, data, move, _batch_of(data))


def _block(node: Node) -> tuple[Value, int, str]:
    """Return the tensor, of four axes, the size of a block, and the order of its elements."""
    data, block = node.take(0), node.integer("blocksize")
    assert block is not None, "the schema requires it"
    if block < 1:
        raise node.error("FML-IMP-ATTR", f"attribute 'blocksize={block}' is not positive")
    if len(data.shape) != 4:
        message = f"needs samples, channels, rows and columns, got {node.show(data.shape)}"
        raise node.error("FML-IMP-SHAPE", message)
    batch = _batch_of(data)
    if batch is not None and batch != Batch(-4):
        raise node.mixed("pixels or channels are samples")
    mode = node.text("mode") if "mode" in node.schema.attributes else "DCR"
    if mode not in ("DCR", "CRD"):
        raise node.error("FML-IMP-ATTR", f"attribute 'mode={mode}' is neither DCR nor CRD")
    return data, block, mode


def _batch_of(value: Value) -> Batch | None:
    return value.batch if isinstance(value, Varying) else None
