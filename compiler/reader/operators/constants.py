"""Constants, and operators that are implemented on constants only: shape computations."""

from typing import Any

import numpy as np
import onnx

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.operators.index_maps import same_value
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Constant, Value, Varying


@operator("Shape", since=(1, 13, 15, 19, 21, 23, 24, 25), attributes=("start", "end"))
def shape(node: Node) -> Value:
    """The shape of a tensor, known at import."""
    value = node.take(0, shapes=True)
    full = node.full_shape(value)
    start, end = 0, len(full)
    if "start" in node.schema.attributes:
        first, last = node.integer("start"), node.integer("end")
        start, end = first or 0, end if last is None else last
    of_batch = np.zeros(len(full), np.bool_)
    if isinstance(value, Varying) and value.batch is not None:
        of_batch[value.batch.axis] = True
    part = slice(start, end)
    return Constant(np.asarray(full[part], np.int64)).marked(of_batch[part])


@operator("Cast", since=(6, 9, 13, 19, 21, 23, 24, 25, 28), attributes=("to",))
def cast(node: Node) -> Value:
    """Conversion of a constant between float32 and integers; float32 to float32."""
    data = node.take(0, shapes=True)
    to = node.integer("to")
    kinds = {
        int(onnx.TensorProto.FLOAT): np.dtype(np.float32),
        int(onnx.TensorProto.INT64): np.dtype(np.int64),
        int(onnx.TensorProto.INT32): np.dtype(np.int32),
    }
    if to is None or to not in kinds:
        raise node.error("FML-IMP-ATTR", f"attribute 'to={to}' is not implemented")
    if isinstance(data, Varying):
        if to != onnx.TensorProto.FLOAT:
            message = "a tensor that depends on inputs is cast to integers"
            raise node.error("FML-IMP-TYPE", message)
        return same_value(node, data)
    array = data.array
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise node.error("FML-IMP-TYPE", f"a constant of type {array.dtype} is cast")
    target: np.dtype[Any] = kinds[to]
    if target.kind == "i":
        limits = np.iinfo(target)
        inside = np.isfinite(array) & (array >= limits.min) & (array <= limits.max)
        if array.dtype.kind == "f" and target == np.int64:
            inside &= np.abs(array) < 2.0**63
        if not np.all(inside):
            raise node.error("FML-IMP-TYPE", f"a constant does not fit {target}")
    return data if array.dtype == target else Constant(array.astype(target)).marked(data.of_batch)


@operator(
    "Constant",
    since=(1, 9, 11, 12, 13, 19, 21, 23, 24, 25),
    attributes=("value", "value_float", "value_floats", "value_int", "value_ints"),
)
def constant(node: Node) -> Value:
    """A constant tensor."""
    if len(node.proto.attribute) != 1:
        raise node.error("FML-IMP-ATTR", "needs exactly one of its attributes")
    tensor = node.tensor("value")
    if tensor is not None:
        return Constant(node.read_tensor(tensor))
    name = node.proto.attribute[0].name
    if name in ("value_float", "value_floats"):
        scalar = name == "value_float"
        return Constant(np.asarray(node.real(name)) if scalar else np.asarray(node.reals(name)))
    if name == "value_int":
        return Constant(np.asarray(node.integer(name), np.int64))
    return Constant(np.asarray(node.integers(name), np.int64))
