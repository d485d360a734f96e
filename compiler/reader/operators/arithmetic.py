"""Elementwise arithmetic: fp32 by constants, exact between varying tensors."""

from collections.abc import Callable
from functools import reduce

import numpy as np

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.onnx_file import Plain
from fastml.compiler.reader.operators.index_maps import same_value
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects import inference, reference
from fastml.dialects.fastml import (
    AddOp,
    DivOp,
    ElementwiseOp,
    MaxOp,
    MinOp,
    MulOp,
    PowOp,
    SubOp,
)

ARITHMETIC = (7, 13, 14)
"""Versions with ONNX's multidirectional broadcast."""


def _integer_divide(a: Plain, b: Plain) -> Plain:
    if np.any(b == 0):
        raise ZeroDivisionError
    quotient = np.abs(a) // np.abs(b)  # ONNX truncates towards zero
    return np.asarray(np.where((a < 0) != (b < 0), -quotient, quotient), a.dtype)


_INTEGER: dict[type[ElementwiseOp], Callable[[Plain, Plain], Plain]] = {
    AddOp: np.add,
    SubOp: np.subtract,
    MulOp: np.multiply,
    DivOp: _integer_divide,
    MaxOp: np.maximum,
    MinOp: np.minimum,
}


def elementwise(node: Node, edge: str, kind: type[ElementwiseOp], values: list[Value]) -> Value:
    """Build an fp32 operator, or evaluate it if all operands are constants."""
    values, batch = node.broadcast(values)
    if all(isinstance(value, Constant) for value in values):
        return fold(node, kind, [v for v in values if isinstance(v, Constant)])
    operands = [node.materialise(value) for value in values]
    return Varying(node.emit([kind(edge, operands)]), batch)


def fold(node: Node, kind: type[ElementwiseOp], values: list[Constant]) -> Constant:
    """Evaluate an operator on constants: float32, or integers of a shape computation."""
    arrays = [value.array for value in values]
    result = _fold(node, kind, arrays)
    marks = [np.zeros(v.shape, np.bool_) if v.of_batch is None else v.of_batch for v in values]
    return result.marked(reduce(np.logical_or, marks))


def _fold(node: Node, kind: type[ElementwiseOp], arrays: list[Plain]) -> Constant:
    if all(a.dtype == np.float32 for a in arrays):
        reals = [np.asarray(a, np.float32) for a in arrays]
        return Constant(reference.evaluate(kind.name, reals, {}))
    if kind in _INTEGER and len({a.dtype for a in arrays}) == 1 and arrays[0].dtype.kind == "i":
        try:
            return Constant(np.asarray(_INTEGER[kind](*arrays)))
        except ZeroDivisionError:
            raise node.error("FML-IMP-TYPE", "an integer constant is divided by zero") from None
    kinds = " and ".join(str(a.dtype) for a in arrays)
    raise node.error("FML-IMP-TYPE", f"is not implemented for constants of type {kinds}")


def signed_sum(node: Node, edge: str, values: list[Value], signs: list[int]) -> Value:
    """Build an exact sum of varying tensors."""
    values, batch = node.broadcast(values)
    operands = [node.materialise(value) for value in values]
    return Varying(node.exact(lambda: inference.add(edge, operands, signs)), batch)


def _varying(values: list[Value]) -> bool:
    return all(isinstance(value, Varying) for value in values)


@operator("Add", since=ARITHMETIC)
def add(node: Node) -> Value:
    """Sum: fp32 with a constant, exact of two varying tensors."""
    values = node.take_all(shapes=True)
    if _varying(values):
        return signed_sum(node, node.edge, values, [1, 1])
    return elementwise(node, node.edge, AddOp, values)


@operator("Sub", since=ARITHMETIC)
def subtract(node: Node) -> Value:
    """Difference: fp32 with a constant, exact of two varying tensors."""
    values = node.take_all(shapes=True)
    if _varying(values):
        return signed_sum(node, node.edge, values, [1, -1])
    return elementwise(node, node.edge, SubOp, values)


@operator("Mul", since=ARITHMETIC)
def multiply(node: Node) -> Value:
    """Product: fp32 with a constant, exact of two varying tensors."""
    values = node.take_all(shapes=True)
    if not _varying(values):
        return elementwise(node, node.edge, MulOp, values)
    values, batch = node.broadcast(values)
    left, right = (node.materialise(value) for value in values)
    return Varying(node.exact(lambda: inference.multiply(node.edge, left, right)), batch)


@operator("Div", since=ARITHMETIC)
def divide(node: Node) -> Value:
    """Quotient in fp32."""
    return elementwise(node, node.edge, DivOp, node.take_all(shapes=True))


@operator("Pow", since=(7, 12, 13, 15))
def power(node: Node) -> Value:
    """Power in fp32 with a constant exponent."""
    base, exponent = node.take(0), node.take_constant(1)
    whole = exponent.array
    if whole.dtype.kind == "i" and node.schema.since >= 12:  # before, both had one type
        real = whole.astype(np.float32)
        if np.any(np.abs(whole) > 1 << 24):
            raise node.error("FML-IMP-TYPE", "'Y' holds integers beyond those of float32")
        exponent = Constant(real)
    node.reals_of(exponent, "Y")
    return elementwise(node, node.edge, PowOp, [base, exponent])


@operator("Sum", since=(6, 8, 13))
def total(node: Node) -> Value:
    """Sum of any number of tensors, from the left: fp32 with a constant, else exact."""
    values = same_shapes_before_broadcast(node, node.take_all(shapes=True))
    if len(values) == 1:
        return same_value(node, values[0])
    leading = next((k for k, v in enumerate(values) if isinstance(v, Constant)), len(values))
    last = len(values) - 1
    if leading > 1:
        edge = node.edge if leading > last else node.fresh(f"{node.edge}/sum")
        values[:leading] = [signed_sum(node, edge, values[:leading], [1] * leading)]
    result, *rest = values
    for position, value in enumerate(rest, 1):
        edge = node.edge if position == len(rest) else node.fresh(f"{node.edge}/sum")
        if _varying([result, value]):
            result = signed_sum(node, edge, [result, value], [1, 1])
        else:
            result = elementwise(node, edge, AddOp, [result, value])
    return result


def same_shapes_before_broadcast(node: Node, values: list[Value]) -> list[Value]:
    """Refuse different shapes in the versions of variadic operators without a broadcast."""
    if node.schema.since < 8 and len({node.full_shape(value) for value in values}) > 1:
        shapes = " and ".join(node.show(node.full_shape(value)) for value in values)
        message = f"shapes {shapes} differ, and this version does not broadcast"
        raise node.error("FML-IMP-SHAPE", message)
    return values
