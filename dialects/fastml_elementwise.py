"""Operations of the ``fastml`` dialect that compute in fp32, and quantisers."""

from abc import ABC
from collections.abc import Mapping, Sequence
from enum import auto
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import (
    ArrayAttr as ListAttr,
)
from xdsl.dialects.builtin import (
    Float32Type,
    FloatAttr,
    IntAttr,
    StringAttr,
    TensorType,
    f32,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import (
    Attribute,
    SpacedOpaqueSyntaxAttribute,
    SSAValue,
)
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    prop_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import (
    Pure,
)
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from fastml.dialects.array import ArrayAttr
from fastml.dialects.assembly import Integer, Integers
from fastml.dialects.fastml_layer import (
    LayerOp,
    check_tensor,
    element_type,
    require,
    shape_of,
)
from fastml.dialects.grid import (
    BipolarType,
    FixedType,
    QuantisedType,
    ScaledType,
)
from fastml.dialects.reference import ELEMENTWISE, WHOLE_TENSOR


class Rounding(StrEnum):
    """How a quantiser rounds; the names of QONNX (ties: even, away from 0, towards 0)."""

    HALF_EVEN = auto()
    HALF_UP = auto()
    HALF_DOWN = auto()
    CEIL = auto()
    FLOOR = auto()
    UP = auto()
    DOWN = auto()


@irdl_attr_definition
class RoundingAttr(EnumAttribute[Rounding], SpacedOpaqueSyntaxAttribute):
    """A rounding mode."""

    name = "fastml.rounding"


class ElementwiseOp(LayerOp, ABC):
    """An fp32 operator on broadcast operands; see ``reference.ELEMENTWISE``."""

    inputs = var_operand_def(TensorType)

    irdl_options = (ParsePropInAttrDict(),)
    traits = traits_def(Pure())
    assembly_format = "$edge `(` $inputs `)` attr-dict `:` functional-type($inputs, $result)"

    def __init__(
        self,
        edge: str,
        inputs: Sequence[SSAValue],
        properties: Mapping[str, Attribute] | None = None,
    ):
        shape = np.broadcast_shapes(*(shape_of(value) for value in inputs))
        super().__init__(
            operands=[inputs],
            properties={"edge": StringAttr(edge), **(properties or {})},
            result_types=[TensorType(f32, shape)],
        )

    @property
    def reference_attributes(self) -> dict[str, object]:
        """Attributes as ``reference.evaluate`` takes them."""
        return {}

    ARITY: ClassVar[int] = 2

    def __init_subclass__(cls) -> None:
        """Refuse, at import, an operator that nothing defines."""
        super().__init_subclass__()
        assert cls.name in ELEMENTWISE, f"'{cls.name}' has no definition in reference"

    def verify_(self) -> None:
        """Check that the operands broadcast to the result."""
        require(len(self.inputs) == self.ARITY, f"needs {self.ARITY} operands")
        for value in (*self.inputs, self.result):
            check_tensor(value, "each operand and result")
        require(isinstance(element_type(self.result), Float32Type), "the result must be f32")
        try:
            shape = np.broadcast_shapes(*(shape_of(value) for value in self.inputs))
        except ValueError:
            raise VerifyException("operands do not broadcast") from None
        require(shape == shape_of(self.result), f"the result must have shape {shape}")


@irdl_op_definition
class AddOp(ElementwiseOp):
    """Add in fp32."""

    name = "fastml.add"


@irdl_op_definition
class SubOp(ElementwiseOp):
    """Subtract in fp32."""

    name = "fastml.sub"


@irdl_op_definition
class MulOp(ElementwiseOp):
    """Multiply in fp32."""

    name = "fastml.mul"


@irdl_op_definition
class DivOp(ElementwiseOp):
    """Divide in fp32."""

    name = "fastml.div"


@irdl_op_definition
class PowOp(ElementwiseOp):
    """Raise to a power in fp32."""

    name = "fastml.pow"


@irdl_op_definition
class ReluOp(ElementwiseOp):
    """Clamp at zero from below."""

    name = "fastml.relu"
    ARITY: ClassVar[int] = 1


@irdl_op_definition
class PReluOp(ElementwiseOp):
    """Multiply what is below zero by a slope, the second operand."""

    name = "fastml.prelu"


@irdl_op_definition
class MaxOp(ElementwiseOp):
    """The greater of two numbers, in fp32; of integers it is ``extremum``."""

    name = "fastml.max"


@irdl_op_definition
class MinOp(ElementwiseOp):
    """The lesser of two numbers, in fp32; of integers it is ``extremum``."""

    name = "fastml.min"


@irdl_op_definition
class RoundOp(ElementwiseOp):
    """Round to the nearest whole number, ties to even."""

    name = "fastml.round"
    ARITY: ClassVar[int] = 1


@irdl_op_definition
class BatchNormOp(ElementwiseOp):
    """Normalise by constant statistics: x, gamma, beta, mean, variance."""

    name = "fastml.batch_norm"
    ARITY: ClassVar[int] = 5

    epsilon = prop_def(FloatAttr[Float32Type])

    @property
    def reference_attributes(self) -> dict[str, object]:
        """The epsilon."""
        return {"epsilon": float(self.epsilon.value.data)}


@irdl_op_definition
class SoftmaxOp(LayerOp):
    """Softmax in fp32 over ``axes`` (negative numbers, counted from the last)."""

    name = "fastml.softmax"

    input = operand_def(TensorType)
    axes = prop_def(ListAttr[IntAttr])

    traits = traits_def(Pure())
    custom_directives = (Integers,)
    assembly_format = (
        "$edge `(` $input `)` `over` custom<Integers>($axes) attr-dict"
        " `:` type($input) `->` type($result)"
    )

    def __init__(self, edge: str, input: SSAValue, axes: Sequence[int]):
        super().__init__(
            operands=[input],
            properties={
                "edge": StringAttr(edge),
                "axes": ListAttr([IntAttr(axis) for axis in axes]),
            },
            result_types=[TensorType(f32, shape_of(input))],
        )

    @property
    def reference_attributes(self) -> dict[str, object]:
        """The axes."""
        return {"axes": tuple(axis.data for axis in self.axes)}

    assert name in WHOLE_TENSOR, "the interpreter needs a definition"

    def verify_(self) -> None:
        """Check axes and shape."""
        check_tensor(self.input, "the operand")
        rank = len(shape_of(self.input))
        for axis in self.axes:
            require(-rank <= axis.data < 0, f"axis {axis.data} is not in {-rank}..-1")
        require(shape_of(self.input) == shape_of(self.result), "shapes differ")
        require(isinstance(element_type(self.result), Float32Type), "the result must be f32")


@irdl_op_definition
class QuantiseOp(LayerOp):
    """Put real numbers on the grid of the result type, as QONNX ``Quant`` defines.

    ``low``/``high`` clamp the raw integer (a narrow range is a tighter one than the type's).
    With a bipolar result: the sign, where zero counts as positive.
    """

    name = "fastml.quantise"

    input = operand_def(TensorType)
    rounding = prop_def(RoundingAttr)
    low = prop_def(IntAttr)
    high = prop_def(IntAttr)

    traits = traits_def(Pure())
    custom_directives = (Integer,)
    assembly_format = (
        "$edge `(` $input `)` $rounding custom<Integer>($low) `to` custom<Integer>($high) attr-dict"
        " `:` type($input) `->` type($result)"
    )

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        to: QuantisedType,
        rounding: Rounding = Rounding.HALF_EVEN,
        low: int | None = None,
        high: int | None = None,
    ):
        default_low, default_high = to.raw_range
        parameters = [p.array.shape for p in to.parameters if isinstance(p, ArrayAttr)]
        super().__init__(
            operands=[input],
            properties={
                "edge": StringAttr(edge),
                "rounding": RoundingAttr(rounding),
                "low": IntAttr(default_low if low is None else low),
                "high": IntAttr(default_high if high is None else high),
            },
            result_types=[TensorType(to, np.broadcast_shapes(shape_of(input), *parameters))],
        )

    @property
    def to(self) -> QuantisedType:
        """The type quantised to."""
        element = element_type(self.result)
        assert isinstance(element, QuantisedType)
        return element

    def verify_(self) -> None:
        """Check the clamp against the type."""
        check_tensor(self.input, "the operand")
        check_tensor(self.result, "the result")
        element = element_type(self.result)
        if not isinstance(element, FixedType | ScaledType | BipolarType):
            raise VerifyException("the result must be of a fixed, scaled or bipolar type")
        shapes = [p.array.shape for p in element.parameters if isinstance(p, ArrayAttr)]
        shape = np.broadcast_shapes(shape_of(self.input), *shapes)
        require(shape == shape_of(self.result), f"the result must have shape {shape}")
        low, high = element.raw_range
        require(
            low <= self.low.data <= self.high.data <= high,
            f"clamp {self.low.data} to {self.high.data} is not within {low}..{high}",
        )


@irdl_op_definition
class ExactCastOp(LayerOp):
    """Assert that every number that can occur lies on the grid of the result type.

    It computes nothing: whoever inserts it has proved it over all inputs.
    """

    name = "fastml.exact_cast"

    input = operand_def(TensorType)

    traits = traits_def(Pure())
    assembly_format = "$edge `(` $input `)` attr-dict `:` type($input) `->` type($result)"

    def __init__(self, edge: str, input: SSAValue, to: QuantisedType):
        super().__init__(
            operands=[input],
            properties={"edge": StringAttr(edge)},
            result_types=[TensorType(to, shape_of(input))],
        )

    def verify_(self) -> None:
        """Check the kinds of operand and result."""
        check_tensor(self.input, "the operand")
        check_tensor(self.result, "the result")
        result, source = element_type(self.result), element_type(self.input)
        if not isinstance(result, QuantisedType):
            raise VerifyException("the result must be quantised")
        require(shape_of(self.input) == shape_of(self.result), "shapes differ")
        if not isinstance(source, QuantisedType):
            return
        shape = shape_of(self.result)
        ratio = np.broadcast_to(source.step, shape) / np.broadcast_to(result.step, shape)
        whole = all(factor.denominator == 1 for factor in ratio.ravel())
        require(whole, "the step of the result must divide that of the operand")
        for bound in source.raw_range:
            raw = source.integer(np.array(bound, object)) * ratio - result.shift
            low, high = (r * result.weight for r in result.raw_range)
            require(np.all((low <= raw) & (raw <= high)), f"{source} does not fit {result}")
