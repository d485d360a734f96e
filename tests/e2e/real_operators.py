"""Elementwise operators for random graphs: activations, sums, extrema."""

from typing import Any

import numpy as np
from operator_graphs import Draft, Edge, random_operator


def _real(draft: Draft, op: str, inputs: list[Any], edge: Edge, **attributes: Any) -> Edge:
    return draft.node(op, inputs, channels_last=edge.channels_last, **attributes)


def _number(draft: Draft, spread: float = 1.0) -> float:
    """Draw a float32 number of few digits, mostly."""
    value = draft.rng.normal(0, spread)
    return float(np.float32(value if draft.chance(0.3) else np.rint(value * 8) / 8))


def _operand(draft: Draft, edge: Edge) -> str:
    """Draw a constant that broadcasts to the edge: one number, or one a channel."""
    shape = [1] * edge.sketch.ndim
    if draft.chance(0.6):
        shape[edge.channel_axis] = edge.sketch.shape[edge.channel_axis]
    while len(shape) > 1 and shape[0] == 1 and draft.chance(0.5):
        shape = shape[1:]
    values = [_number(draft) for _ in range(int(np.prod(shape)))]
    return draft.constant(np.array(values, np.float32).reshape(shape))


@random_operator("Relu")
def relu(draft: Draft, edge: Edge) -> Edge:
    """Draw nothing."""
    return _real(draft, "Relu", [edge], edge)


@random_operator("LeakyRelu")
def leaky_relu(draft: Draft, edge: Edge) -> Edge:
    """Draw a slope, or take the default."""
    attributes = {"alpha": _number(draft, 0.3)} if draft.chance(0.8) else {}
    return _real(draft, "LeakyRelu", [edge], edge, **attributes)


@random_operator("PRelu")
def prelu(draft: Draft, edge: Edge) -> Edge:
    """Draw slopes."""
    return _real(draft, "PRelu", [edge, _operand(draft, edge)], edge)


@random_operator("Clip")
def clip(draft: Draft, edge: Edge) -> Edge:
    """Draw bounds; each may be left out."""
    low, high = sorted((_number(draft), _number(draft)))
    inputs: list[Any] = [edge, "", ""]
    if draft.chance(0.8):
        inputs[1] = draft.constant(np.array(low, np.float32))
    if draft.chance(0.8):
        inputs[2] = draft.constant(np.array(high, np.float32))
    while inputs[-1] == "":
        inputs.pop()
    return _real(draft, "Clip", inputs, edge)


@random_operator("HardSigmoid")
def hard_sigmoid(draft: Draft, edge: Edge) -> Edge:
    """Draw slope and offset, or take the defaults."""
    attributes: dict[str, Any] = {}
    for name in ("alpha", "beta"):
        if draft.chance(0.5):
            attributes[name] = abs(_number(draft, 0.5))
    return _real(draft, "HardSigmoid", [edge], edge, **attributes)


@random_operator("arithmetic by a constant")
def by_constant(draft: Draft, edge: Edge) -> Edge:
    """Draw one of the operators of two tensors, on either side."""
    op = draft.choose(["Add", "Sub", "Mul", "Max", "Min", "Sum"])
    inputs: list[Any] = [edge, _operand(draft, edge)]
    return _real(draft, op, inputs if draft.chance(0.7) else inputs[::-1], edge)


@random_operator("join with a moved self")
def join(draft: Draft, edge: Edge) -> Edge:
    """Draw an exact operator of a quantised tensor and its own reflection."""
    edge = draft.as_quantised(edge)
    flip = [draft.constant(np.array([value], np.int64)) for value in (-1, -100, 1, -1)]
    other = draft.node("Slice", [edge, *flip], quantised=True, channels_last=edge.channels_last)
    op = draft.choose(["Add", "Sub", "Mul", "Max", "Min", "Sum"])
    operands = [edge, other]
    if op in ("Max", "Min", "Sum") and draft.chance(0.3):
        operands.append(edge)
    return _real(draft, op, operands, edge)
