"""Operators that normalise: batch normalisation (of inference) and softmax."""

from xdsl.dialects.builtin import FloatAttr, f32

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects import reference
from fastml.dialects.fastml import BatchNormOp, SoftmaxOp


@operator(
    "BatchNormalization",
    since=(7, 9, 14, 15),
    attributes=("epsilon", "spatial", "training_mode"),
    without_effect={"momentum": "only training uses it"},
)
def batch_normalization(node: Node) -> Value:
    """Normalisation by constant statistics, of inference."""
    if node.flag("training_mode"):
        raise node.error("FML-IMP-ATTR", "attribute 'training_mode=1' is not implemented")
    if "spatial" in node.schema.attributes and not node.flag("spatial"):
        raise node.error("FML-IMP-ATTR", "attribute 'spatial=0' is not implemented")
    data = node.take(0)
    rank = len(data.shape)
    if rank < 2:
        raise node.error("FML-IMP-SHAPE", "needs a batch and a channel axis")
    names = node.schema.inputs
    parameters: list[Value] = []
    for position in range(1, 5):
        array = node.reals_of(node.take_constant(position), names[position])
        if array.shape != data.shape[1:2]:
            message = f"'{names[position]}' of shape {list(array.shape)} is not one for each of"
            raise node.error("FML-IMP-SHAPE", f"{message} {data.shape[1]} channels")
        parameters.append(Constant(array.reshape(array.shape + (1,) * (rank - 2))))
    epsilon = node.real("epsilon")
    if isinstance(data, Varying) and data.batch is not None and data.batch.axis == 1 - rank:
        raise node.mixed("samples are normalised as channels")
    if isinstance(data, Constant):
        reals = [node.reals_of(v, "X") for v in (data, *parameters) if isinstance(v, Constant)]
        attributes = {"epsilon": float(epsilon)}
        return Constant(reference.evaluate(BatchNormOp.name, reals, attributes))
    operands = [node.materialise(value) for value in (data, *parameters)]
    properties = {"epsilon": FloatAttr(float(epsilon), f32)}
    return Varying(node.emit([BatchNormOp(node.edge, operands, properties)]), data.batch)


@operator("Softmax", since=(1, 11, 13), attributes=("axis",))
def softmax(node: Node) -> Value:
    """Softmax; before opset 13 over all axes from ``axis`` on, then over one."""
    data = node.take(0)
    rank = len(data.shape)
    axis = node.integer("axis")
    assert axis is not None, "the schema has a default"
    flattens = node.schema.since < 13
    lowest = 0 if node.schema.since == 1 else -rank
    if not lowest <= axis < rank:
        raise node.error("FML-IMP-ATTR", f"attribute 'axis={axis}' is not an axis of {rank}")
    axis %= rank
    axes = [a - rank for a in (range(axis, rank) if flattens else [axis])]
    if isinstance(data, Constant):
        reals = node.reals_of(data, "input")
        attributes = {"axes": tuple(axes)}
        return Constant(reference.evaluate(SoftmaxOp.name, [reals], attributes))
    if data.batch is not None and data.batch.axis in axes:
        raise node.mixed("softmax is taken over samples")
    return Varying(node.emit([SoftmaxOp(node.edge, data.value, axes)]), data.batch)
