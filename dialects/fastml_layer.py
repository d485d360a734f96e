"""What all operations of the ``fastml`` dialect share: tensors, edges, constants."""

from abc import ABC
from typing import cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import (
    Float32Type,
    StringAttr,
    TensorType,
    f32,
)
from xdsl.ir import (
    Attribute,
    SSAValue,
)
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import (
    Pure,
)
from xdsl.utils.exceptions import VerifyException

from fastml.dialects.array import Array, ArrayAttr
from fastml.dialects.grid import (
    BipolarType,
    QuantisedType,
    ScaledType,
)


def _tensor(value: SSAValue) -> TensorType[Attribute]:
    kind: Attribute = value.type
    assert isinstance(kind, TensorType)
    return cast(TensorType[Attribute], kind)


def element_type(value: SSAValue) -> QuantisedType | Float32Type:
    """Return what the elements of a tensor are."""
    element = _tensor(value).element_type
    assert isinstance(element, QuantisedType | Float32Type)
    return element


def shape_of(value: SSAValue) -> tuple[int, ...]:
    """Return the shape of a tensor, its batch axis of 1 included."""
    return _tensor(value).get_shape()


def constant_of(value: SSAValue) -> "ConstantOp | None":
    """Return the constant that defines ``value``, if one does."""
    return value.owner if isinstance(value.owner, ConstantOp) else None


def check_tensor(value: SSAValue, what: str) -> None:
    """Raise ``VerifyException`` unless ``value`` is a tensor of what the dialect computes on."""
    if not isinstance(value.type, TensorType):
        raise VerifyException(f"{what} must be a tensor, got {value.type}")
    element, shape = _tensor(value).element_type, _tensor(value).get_shape()
    if not isinstance(element, QuantisedType | Float32Type):
        raise VerifyException(f"{what} must have quantised or f32 elements, got {element}")
    if any(size < 0 for size in shape):
        raise VerifyException(f"{what} must have a static shape, got {_tensor(value)}")
    if isinstance(element, ScaledType | BipolarType):
        try:
            element.to_shape(shape)
        except ValueError:
            raise VerifyException(
                f"scale and zero point of {what} do not broadcast to {shape}"
            ) from None


def require(condition: object, message: str) -> None:
    """Raise ``VerifyException`` unless the condition holds."""
    if not condition:
        raise VerifyException(message)


class LayerOp(IRDLOperation, ABC):
    """An operation that computes one tensor: an *edge* of the model, known by its name."""

    edge = prop_def(StringAttr)
    """Name of the tensor in the model; the handle for taps and reports."""
    result = result_def(TensorType)

    @property
    def edge_name(self) -> str:
        """The edge's name as text."""
        return self.edge.data


@irdl_op_definition
class ConstantOp(IRDLOperation):
    """A constant tensor: raw integers of a quantised type, or float32 numbers."""

    name = "fastml.constant"

    value = prop_def(ArrayAttr)
    result = result_def(TensorType)

    traits = traits_def(Pure())
    assembly_format = "$value attr-dict `:` type($result)"

    def __init__(self, value: Array, element: QuantisedType | Float32Type = f32):
        super().__init__(
            properties={"value": ArrayAttr.get(value)},
            result_types=[TensorType(element, value.shape)],
        )

    def verify_(self) -> None:
        """Check shape, kind and range of the elements."""
        check_tensor(self.result, "the constant")
        array, element = self.value.array, element_type(self.result)
        require(array.shape == shape_of(self.result), "value and type differ in shape")
        is_real = array.dtype == np.float32
        require(
            is_real == isinstance(element, Float32Type),
            "real numbers need element type f32, integers a quantised one",
        )
        if isinstance(element, QuantisedType) and array.size:
            low, high = element.raw_range
            require(
                low <= array.min() and array.max() <= high,
                f"raw values {array.min()}..{array.max()} do not fit {low}..{high}",
            )

    @property
    def real(self) -> NDArray[np.float32]:
        """The float32 numbers that the model's arithmetic sees."""
        element = element_type(self.result)
        array = self.value.array
        if isinstance(element, QuantisedType):
            return element.decode(array)
        return np.asarray(array, np.float32)
