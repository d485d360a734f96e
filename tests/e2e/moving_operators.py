"""Operators that move, repeat and drop elements, for random graphs."""

from typing import Any

import numpy as np
from onnx import helper
from operator_graphs import Draft, Edge, Unfit, execute, random_operator

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _moved(draft: Draft, op: str, inputs: list[Any], edge: Edge, **attributes: Any) -> Edge:
    """Add a node that keeps what its first input is."""
    return draft.node(
        op, inputs, quantised=edge.quantised, channels_last=edge.channels_last, **attributes
    )


def _axis(draft: Draft, edge: Edge) -> int:
    return draft.integer(1, len(edge.shape))


@random_operator("Pad")
def pad(draft: Draft, edge: Edge) -> Edge:
    """Draw pads of any sign, on any axis but the batch."""
    rank = len(edge.shape) + 1
    mode = draft.choose(["constant", "constant", "edge", "reflect", "wrap"])
    if mode == "wrap" and draft.opset < 19:
        raise Unfit("no such mode yet")
    pads = [draft.integer(-1, 2) if draft.chance(0.6) else 0 for _ in range(2 * rank)]
    pads[0] = pads[rank] = 0
    inputs: list[Any] = [edge, draft.constant(np.array(pads, np.int64))]
    if mode == "constant" and draft.chance(0.4):
        values = [0.0, float(edge.sketch.flat[0]), -0.5, 1.0]
        inputs.append(draft.constant(np.array(draft.choose(values), np.float32)))
    draft.features.add(f"pad {mode}")
    return _moved(draft, "Pad", inputs, edge, mode=mode)


@random_operator("Resize")
def resize(draft: Draft, edge: Edge) -> Edge:
    """Draw nearest resampling by scales or sizes."""
    first = 1 if edge.channels_last else 2
    spatial = range(first, first + len(edge.shape) - 1)
    if not len(spatial):
        raise Unfit("no image")
    attributes: dict[str, Any] = {"mode": "nearest"}
    if draft.chance(0.8):
        attributes["coordinate_transformation_mode"] = draft.choose(COORDINATES)
    if draft.chance(0.8):
        attributes["nearest_mode"] = draft.choose(NEAREST)
    full = edge.sketch.shape
    scales = np.ones(len(full), np.float32)
    scales[list(spatial)] = [draft.choose([0.5, 1, 1.5, 2, 3]) for _ in spatial]
    empty = draft.constant(np.zeros(0, np.float32))
    if draft.chance(0.5):
        inputs = [edge, empty, draft.constant(scales)]
    else:
        sizes = [max(1, int(s * k)) for s, k in zip(full, scales, strict=True)]
        if draft.batch is None or draft.opset >= 18:
            if draft.opset < 18:
                raise Unfit("sizes would fix the batch")
            attributes["axes"] = list(spatial)
            sizes = [sizes[axis] for axis in spatial]
        sizes[0] = sizes[0] if "axes" in attributes else 1
        inputs = [edge, empty, empty, draft.constant(np.array(sizes, np.int64))]
        if "axes" not in attributes:
            raise Unfit("the referee runs several samples at once")
    return _moved(draft, "Resize", inputs, edge, **attributes)


@random_operator("Slice")
def slice_along(draft: Draft, edge: Edge) -> Edge:
    """Draw a range along one axis, forwards or backwards."""
    axis = _axis(draft, edge)
    bounds = [draft.integer(-6, 8), draft.choose([-100, -3, -1, 2, 4, 100])]
    values = [*bounds, axis - draft.choose([0, edge.sketch.ndim]), draft.choose([-2, -1, 1, 1, 2])]
    constants = [draft.constant(np.array([value], np.int64)) for value in values]
    return _moved(draft, "Slice", [edge, *constants], edge)


@random_operator("Split")
def split(draft: Draft, edge: Edge) -> Edge:
    """Draw two parts, joined again the other way round."""
    axis = _axis(draft, edge)
    size = edge.sketch.shape[axis]
    if size < 2:
        raise Unfit("nothing to split")
    first = draft.integer(1, size - 1)
    inputs, attributes = [edge.name], dict[str, Any](axis=axis)
    if draft.opset < 13:
        attributes["split"] = [first, size - first]
    else:
        inputs.append(draft.constant(np.array([first, size - first], np.int64)))
    names = [f"part{k}_{len(draft.nodes)}" for k in range(2)]
    node = helper.make_node("Split", inputs, names, name=f"n_{names[0]}", **attributes)
    known = {**draft.samples, **draft.constants, **draft.values}
    parts = execute(node, known, draft.opset)
    draft.nodes.append(node)
    draft.values.update(zip(names, parts, strict=True))
    draft.features.add("Split")
    edges = [
        Edge(name, part, edge.quantised, edge.channels_last)
        for name, part in zip(names, parts, strict=True)
    ]
    return _moved(draft, "Concat", edges[::-1], edge, axis=axis)


@random_operator("Gather")
def gather(draft: Draft, edge: Edge) -> Edge:
    """Draw constant indices, some from the end."""
    axis = _axis(draft, edge)
    size = edge.sketch.shape[axis]
    picks = np.array(draft.integers(draft.integer(1, 4), -size, size - 1), np.int64)
    return _moved(draft, "Gather", [edge, draft.constant(picks)], edge, axis=axis)


@random_operator("Tile")
def tile(draft: Draft, edge: Edge) -> Edge:
    """Draw repetitions of some axes."""
    repeats = [1, *draft.integers(len(edge.shape), 1, 2)]
    return _moved(draft, "Tile", [edge, draft.constant(np.array(repeats, np.int64))], edge)


@random_operator("Expand")
def expand(draft: Draft, edge: Edge) -> Edge:
    """Draw a shape for the axes of size 1."""
    wanted = [draft.integer(1, 3) if size == 1 else 1 for size in edge.shape]
    return _moved(draft, "Expand", [edge, draft.constant(np.array([1, *wanted], np.int64))], edge)


@random_operator("Transpose")
def transpose(draft: Draft, edge: Edge) -> Edge:
    """Draw an order of the axes behind the batch."""
    order = [0, *(int(a) + 1 for a in draft.rng.permutation(len(edge.shape)))]
    return _moved(draft, "Transpose", [edge], edge, perm=order)


@random_operator("DepthToSpace")
def depth_to_space(draft: Draft, edge: Edge) -> Edge:
    """Draw a block and an order."""
    if len(edge.shape) != 3 or edge.channels_last:
        raise Unfit("no image of rows and columns")
    attributes: dict[str, Any] = {"blocksize": 2 if edge.shape[0] % 4 == 0 else 1}
    if draft.chance(0.7):
        attributes["mode"] = draft.choose(["DCR", "CRD"])
    return _moved(draft, "DepthToSpace", [edge], edge, **attributes)


@random_operator("SpaceToDepth")
def space_to_depth(draft: Draft, edge: Edge) -> Edge:
    """Draw a block that fits."""
    if len(edge.shape) != 3 or edge.channels_last:
        raise Unfit("no image of rows and columns")
    blocks = [b for b in (1, 2, 3) if not edge.shape[1] % b and not edge.shape[2] % b]
    return _moved(draft, "SpaceToDepth", [edge], edge, blocksize=draft.choose(blocks))
