"""Activations: fp32 functions of single elements, made of elementwise operators."""

from collections.abc import Sequence

import numpy as np

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.operators.arithmetic import elementwise
from fastml.compiler.reader.operators.index_maps import same_value
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value
from fastml.dialects.fastml import (
    AddOp,
    ElementwiseOp,
    MaxOp,
    MinOp,
    MulOp,
    PReluOp,
    ReluOp,
    RoundOp,
)


def composed(
    node: Node, value: Value, steps: Sequence[tuple[type[ElementwiseOp], Constant]]
) -> Value:
    """Apply fp32 operators by constants one after the other; the last has the node's name."""
    for left, (kind, constant) in zip(reversed(range(len(steps))), steps, strict=True):
        part = kind.name.removeprefix("fastml.")
        edge = node.fresh(f"{node.edge}/{part}") if left else node.edge
        value = elementwise(node, edge, kind, [value, constant])
    return value


@operator("Relu", since=(6, 13, 14))
def relu(node: Node) -> Value:
    """Rectified linear unit."""
    return elementwise(node, node.edge, ReluOp, [node.take(0)])


@operator("LeakyRelu", since=(6, 16), attributes=("alpha",))
def leaky_relu(node: Node) -> Value:
    """Rectified linear unit that leaks: one slope below zero."""
    slope = Constant(np.asarray(_finite(node, "alpha")))
    return elementwise(node, node.edge, PReluOp, [node.take(0), slope])


@operator("PRelu", since=(7, 9, 16))
def prelu(node: Node) -> Value:
    """Rectified linear unit that leaks: constant slopes that broadcast to the tensor."""
    data, slope = node.take(0), node.take_constant(1)
    if not np.all(np.isfinite(node.reals_of(slope, "slope"))):
        raise node.error("FML-IMP-TYPE", "'slope' is not finite")
    full = node.full_shape(data)
    try:
        fits = np.broadcast_shapes(full, slope.shape) == full
    except ValueError:
        fits = False
    if not fits:
        message = f"'slope' of shape {list(slope.shape)} does not broadcast to {node.show(full)}"
        raise node.error("FML-IMP-SHAPE", message)
    return elementwise(node, node.edge, PReluOp, [data, slope])


@operator("Clip", since=(6, 11, 12, 13), attributes=("min", "max"))
def clip(node: Node) -> Value:
    """Clamp between constant bounds; one that is left out does not bind."""
    data = node.take(0, shapes=True)
    bounds: list[Constant | None]
    if node.schema.since < 11:
        for name in ("min", "max"):
            if np.isnan(node.real(name)):
                raise node.error("FML-IMP-ATTR", f"attribute '{name}' is not a number")
        bounds = [Constant(np.asarray(node.real(name))) for name in ("min", "max")]
    else:
        bounds = [_bound(node, position) for position in (1, 2)]
    steps = [(k, b) for k, b in zip((MaxOp, MinOp), bounds, strict=True) if b is not None]
    return composed(node, data, steps) if steps else same_value(node, data)


def _bound(node: Node, position: int) -> Constant | None:
    value = node.take_optional(position)
    if value is None:
        return None
    name = node.schema.inputs[position]
    array = node.constant(value, name).array
    if array.size != 1 or array.ndim > 1:
        raise node.error("FML-IMP-SHAPE", f"'{name}' of shape {list(array.shape)} is no scalar")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise node.error("FML-IMP-TYPE", f"'{name}' is not a number")
    return Constant(array.reshape(()))


@operator("HardSigmoid", since=(6, 22), attributes=("alpha", "beta"))
def hard_sigmoid(node: Node) -> Value:
    """A line between 0 and 1, in fp32."""
    parts = [_finite(node, "alpha"), _finite(node, "beta"), np.float32(1), np.float32(0)]
    kinds = (MulOp, AddOp, MinOp, MaxOp)
    steps = [(kind, Constant(np.asarray(p))) for kind, p in zip(kinds, parts, strict=True)]
    return composed(node, node.take(0), steps)


@operator("Round", since=(11, 22))
def round_half_even(node: Node) -> Value:
    """The nearest whole number, ties to even."""
    return elementwise(node, node.edge, RoundOp, [node.take(0)])


def _finite(node: Node, name: str) -> np.float32:
    value = node.real(name)
    if not np.isfinite(value):
        raise node.error("FML-IMP-ATTR", f"attribute '{name}={value}' is not finite")
    return value
