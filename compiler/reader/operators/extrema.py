"""Maximum and minimum of several tensors: fp32 by constants, exact between varying ones."""

from functools import partial

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.operators.arithmetic import (
    elementwise,
    fold,
    same_shapes_before_broadcast,
)
from fastml.compiler.reader.operators.index_maps import same_value
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects import inference_spatial
from fastml.dialects.fastml import MaxOp, MinOp, Reduction

VERSIONS = (6, 8, 12, 13)


@operator("Max", since=VERSIONS)
def maximum(node: Node) -> Value:
    """Greatest of any number of tensors: fp32 with a constant, else exact."""
    return _extremum(node, MaxOp, Reduction.MAX)


@operator("Min", since=VERSIONS)
def minimum(node: Node) -> Value:
    """Least of any number of tensors: fp32 with a constant, else exact."""
    return _extremum(node, MinOp, Reduction.MIN)


def _extremum(node: Node, by_constant: type[MaxOp | MinOp], kind: Reduction) -> Value:
    """Join the varying tensors first: the order does not matter, not even in fp32."""
    values = same_shapes_before_broadcast(node, node.take_all(shapes=True))
    if len(values) == 1:
        return same_value(node, values[0])
    varying = [value for value in values if isinstance(value, Varying)]
    constants = [value for value in values if isinstance(value, Constant)]
    bound = _folded(node, by_constant, constants)
    if not varying:
        assert bound is not None
        return bound
    result: Value = varying[0]
    if len(varying) > 1:
        edge = node.edge if bound is None else node.fresh(f"{node.edge}/{kind.value}")
        spread, batch = node.broadcast(list(varying))
        operands = [node.materialise(value) for value in spread]
        build = partial(inference_spatial.extremum, edge, operands, kind)
        result = Varying(node.exact(build), batch)
    return result if bound is None else elementwise(node, node.edge, by_constant, [result, bound])


def _folded(node: Node, kind: type[MaxOp | MinOp], constants: list[Constant]) -> Constant | None:
    """Return the extremum of constants; None of none."""
    if not constants:
        return None
    result, *rest = constants
    for constant in rest:
        operands, _ = node.broadcast([result, constant])
        result = fold(node, kind, [v for v in operands if isinstance(v, Constant)])
    return result
