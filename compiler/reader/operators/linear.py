"""Matrix products: exact on integers, one operand constant."""

from typing import TypeAlias

import numpy as np
from xdsl.ir import Operation, SSAValue

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.operators.arithmetic import elementwise, signed_sum
from fastml.compiler.reader.operators.index_maps import transpose_value
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Batch, Constant, Value, Varying
from fastml.dialects import inference
from fastml.dialects.fastml import AddOp, MulOp, matmul_shape

Shape: TypeAlias = tuple[int, ...]


@operator("MatMul", since=(1, 9, 13))
def matmul(node: Node) -> Value:
    """Matrix product by NumPy's rules with one constant operand, on either side."""
    return build_matmul(node, node.edge, node.take(0), node.take(1))


@operator("Gemm", since=(7, 9, 11, 13), attributes=("alpha", "beta", "transA", "transB"))
def gemm(node: Node) -> Value:
    """Matrix product, scaled, plus a bias that broadcasts."""
    alpha, beta = node.real("alpha"), node.real("beta")
    a, b, c = node.take(0), node.take(1), node.take_optional(2)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise node.error("FML-IMP-SHAPE", "both matrices must have two axes")
    if node.integer("transA"):
        a = transpose_value(node, node.fresh(f"{node.edge}/A"), a, [1, 0])
    if node.integer("transB"):
        b = transpose_value(node, node.fresh(f"{node.edge}/B"), b, [1, 0])
    steps = 1 + (alpha != 1) + (c is not None)

    def edge(part: str) -> str:
        nonlocal steps
        steps -= 1
        return node.fresh(f"{node.edge}/{part}") if steps else node.edge

    result = build_matmul(node, edge("product"), a, b)
    if alpha != 1:
        result = elementwise(node, edge("alpha"), MulOp, [result, Constant(np.asarray(alpha))])
    if c is None:
        return result
    full = node.full_shape(result)
    try:
        fits = np.broadcast_shapes(node.full_shape(c), full) == full
    except ValueError:
        fits = False
    if not fits:
        shape = node.show(node.full_shape(c))
        message = f"C of shape {shape} does not broadcast to {node.show(full)}"
        raise node.error("FML-IMP-SHAPE", message)
    if beta != 1:
        name = node.fresh(f"{node.edge}/beta")
        c = elementwise(node, name, MulOp, [c, Constant(np.asarray(beta))])
    if isinstance(result, Varying) and isinstance(c, Varying):
        return signed_sum(node, edge("sum"), [result, c], [1, 1])
    return elementwise(node, edge("sum"), AddOp, [result, c])


def build_matmul(node: Node, edge: str, left: Value, right: Value) -> Value:
    """Build an exact product; two constants are folded where float32 holds the result."""
    full = node.full_shape(left), node.full_shape(right)
    try:
        product = matmul_shape(*full)
    except ValueError:
        message = f"there is no matrix product of shapes {node.show(full[0])} and"
        message += f" {node.show(full[1])}"
        raise node.shape_error(message, fits_1=_multiplies_at_1(left, right, full)) from None
    varies = isinstance(left, Varying) or isinstance(right, Varying)
    node.check_size(product, node.samples if varies else 1)
    if isinstance(left, Constant) and isinstance(right, Constant):
        return _fold(node, left, right)
    if isinstance(left, Varying) and isinstance(right, Varying):
        message = "both operands are computed from inputs of the network"
        raise node.error("FML-IMP-DYNAMIC", f"{message}; only a constant one is implemented")
    varying = left if isinstance(left, Varying) else right
    assert isinstance(varying, Varying)
    ranks = len(full[0]), len(full[1])
    batch = _batch_of_product(node, varying, ranks, varying is left)
    if batch is not None:
        constant = right if varying is left else left
        assert isinstance(constant, Constant)
        rank = len(constant.shape)
        if batch.axis < -2 and rank >= -batch.axis and constant.shape[batch.axis] != 1:
            raise node.mixed("the matrix differs from sample to sample")
    a, b = node.materialise(left), node.materialise(right)
    return Varying(node.exact(lambda: _exact_product(node, edge, a, b)), batch)


def _multiplies_at_1(left: Value, right: Value, full: tuple[Shape, Shape]) -> bool:
    """Return whether two shapes without a product have one at batch 1, and at no other.

    Where the contracted axes differ one of them holds samples, and just one N makes it fit.
    """
    try:
        matmul_shape(left.shape, right.shape)
    except ValueError:
        return False
    a, b = full
    return a[-1] != b[-2 if len(b) > 1 else 0]


def _exact_product(node: Node, edge: str, a: SSAValue, b: SSAValue) -> list[Operation]:
    """Read float32 constants as integers where they lie on a narrow grid."""
    operands: list[SSAValue] = [a, b]
    for position, (value, other) in enumerate(((a, b), (b, a))):
        constant = inference.constant_of(value)
        if constant is None or not node.is_real(value) or node.is_real(other):
            continue
        integers = inference.integer_constant(constant)
        if integers is None:
            raise node.error(
                "FML-UNQUANTISED",
                "the constant matrix is not quantised",
                "put a quantiser on the weights",
            )
        operands[position] = node.emit([integers])
        constant.detach()
        constant.erase()
    return inference.matmul(edge, operands[0], operands[1], node.fresh)


def _batch_of_product(
    node: Node, varying: Varying, ranks: tuple[int, int], on_left: bool
) -> Batch | None:
    """Return where the samples are in the product; refuse to contract over them."""
    batch = varying.batch
    if batch is None:
        return None
    contracted = -1 if on_left or ranks[1] == 1 else -2
    if batch.axis == contracted:
        raise node.mixed("the matrix product sums over samples")
    other = ranks[1] if on_left else ranks[0]
    lost = other == 1 and batch.axis < contracted
    return Batch(batch.axis + lost, batch.outer)


def _fold(node: Node, left: Constant, right: Constant) -> Constant:
    a, b = (node.reals_of(v, "constant matrix").astype(np.float64) for v in (left, right))
    product = a @ b
    exact = np.abs(a).max(initial=0) * np.abs(b).max(initial=0) * a.shape[-1] < 1 << 24
    whole = np.all(a == np.rint(a)) and np.all(b == np.rint(b))
    if not (exact and whole):  # the order of a float32 sum is not defined
        message = "the product of two constant matrices is not exact in float32"
        raise node.error("FML-IMP-TYPE", message)
    return Constant(np.asarray(product, np.float32))
