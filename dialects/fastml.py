"""The ``fastml`` dialect: networks of layers on tensors of quantised or real numbers.

A value is a tensor of one sample, in the model's own shape with its batch axis of 1. Its
element type says what it holds: a quantised type (:mod:`fastml.dialects.grid`) holds raw
integers; ``f32`` holds real numbers that the model computes in fp32 and that no quantiser
has put on a grid yet. Elementwise operators read a quantised operand as its decoded float32
numbers and give ``f32`` (their definitions are in :mod:`fastml.dialects.reference`); linear
operators read integers and give the exact integer result with its scale.
"""

from abc import ABC
from collections.abc import Mapping, Sequence
from enum import auto
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import (
    ArrayAttr as ListAttr,
)
from xdsl.dialects.builtin import (
    Float32Type,
    FloatAttr,
    IntAttr,
    StringAttr,
    SymbolNameConstraint,
    TensorType,
    f32,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import (
    Attribute,
    Block,
    Dialect,
    Operation,
    Region,
    SpacedOpaqueSyntaxAttribute,
    SSAValue,
)
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_attr_definition,
    irdl_op_definition,
    lazy_traits_def,
    operand_def,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import (
    HasParent,
    IsolatedFromAbove,
    IsTerminator,
    Pure,
    SymbolOpInterface,
)
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from fastml.dialects.array import Array, ArrayAttr
from fastml.dialects.grid import (
    BipolarType,
    FixedType,
    QuantisedType,
    RatioType,
    ScaledType,
)
from fastml.dialects.reference import ELEMENTWISE, WHOLE_TENSOR


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


def _check_tensor(value: SSAValue, what: str) -> None:
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


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise VerifyException(message)


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
        _check_tensor(self.result, "the constant")
        array, element = self.value.array, element_type(self.result)
        _require(array.shape == shape_of(self.result), "value and type differ in shape")
        is_real = array.dtype == np.float32
        _require(
            is_real == isinstance(element, Float32Type),
            "real numbers need element type f32, integers a quantised one",
        )
        if isinstance(element, QuantisedType) and array.size:
            low, high = element.raw_range
            _require(
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

    def verify_(self) -> None:
        """Check that the operands broadcast to the result and that semantics exist."""
        _require(self.name in ELEMENTWISE, f"'{self.name}' has no definition in reference")
        _require(len(self.inputs) == self.ARITY, f"needs {self.ARITY} operands")
        for value in (*self.inputs, self.result):
            _check_tensor(value, "each operand and result")
        _require(isinstance(element_type(self.result), Float32Type), "the result must be f32")
        try:
            shape = np.broadcast_shapes(*(shape_of(value) for value in self.inputs))
        except ValueError:
            raise VerifyException("operands do not broadcast") from None
        _require(shape == shape_of(self.result), f"the result must have shape {shape}")


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

    irdl_options = (ParsePropInAttrDict(),)
    traits = traits_def(Pure())
    assembly_format = "$edge `(` $input `)` attr-dict `:` type($input) `->` type($result)"

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

    def verify_(self) -> None:
        """Check axes and shape."""
        _check_tensor(self.input, "the operand")
        _require(self.name in WHOLE_TENSOR, f"'{self.name}' has no definition in reference")
        rank = len(shape_of(self.input))
        for axis in self.axes:
            _require(-rank <= axis.data < 0, f"axis {axis.data} is not in {-rank}..-1")
        _require(shape_of(self.input) == shape_of(self.result), "shapes differ")
        _require(isinstance(element_type(self.result), Float32Type), "the result must be f32")


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
    assembly_format = (
        "$edge `(` $input `)` $rounding $low `to` $high attr-dict"
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
        _check_tensor(self.input, "the operand")
        _check_tensor(self.result, "the result")
        element = element_type(self.result)
        if not isinstance(element, FixedType | ScaledType | BipolarType):
            raise VerifyException("the result must be of a fixed, scaled or bipolar type")
        low, high = element.raw_range
        _require(
            low <= self.low.data <= self.high.data <= high,
            f"clamp {self.low.data}..{self.high.data} is not within {low}..{high}",
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
        _check_tensor(self.input, "the operand")
        _check_tensor(self.result, "the result")
        _require(isinstance(element_type(self.result), QuantisedType), "needs a grid")
        _require(shape_of(self.input) == shape_of(self.result), "shapes differ")


class ExactOp(LayerOp, ABC):
    """A linear operator: exact on integers where its operands are quantised.

    With an operand of type ``f32`` (an edge that nobody quantised) the result is ``f32`` and
    only a proof that the edge lies on a grid, or an error, can follow.
    """

    def _verify_exact(self, operands: Sequence[SSAValue], shape: Sequence[int]) -> None:
        for value in (*operands, self.result):
            _check_tensor(value, "each operand and result")
        quantised = all(isinstance(element_type(v), QuantisedType) for v in operands)
        _require(
            quantised == isinstance(element_type(self.result), FixedType | ScaledType),
            "the result is fixed or scaled if and only if all operands are quantised",
        )
        _require(tuple(shape) == shape_of(self.result), f"the result must have shape {shape}")


def matmul_shape(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a matrix product by NumPy's rules; ``ValueError`` if none."""
    probes = (np.broadcast_to(np.int8(0), shape) for shape in (left, right))
    a, b = (np.lib.stride_tricks.as_strided(p, strides=(0,) * p.ndim) for p in probes)
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != (b.shape[-2] if b.ndim > 1 else b.shape[0]):
        raise ValueError(f"matrix product of shapes {tuple(left)} and {tuple(right)}")
    rows = a.shape[:-1] if a.ndim > 1 else ()
    batch = np.broadcast_shapes(rows[:-1], b.shape[:-2])
    return (*batch, *rows[-1:], *(b.shape[-1:] if b.ndim > 1 else ()))


@irdl_op_definition
class MatMulOp(ExactOp):
    """Matrix product by NumPy's rules; one operand is a constant."""

    name = "fastml.matmul"

    left = operand_def(TensorType)
    right = operand_def(TensorType)

    traits = traits_def(Pure())
    assembly_format = (
        "$edge `(` $left `,` $right `)` attr-dict"
        " `:` type($left) `,` type($right) `->` type($result)"
    )

    def __init__(self, edge: str, left: SSAValue, right: SSAValue, to: Attribute):
        shape = matmul_shape(shape_of(left), shape_of(right))
        super().__init__(
            operands=[left, right],
            properties={"edge": StringAttr(edge)},
            result_types=[TensorType(to, shape)],
        )

    def verify_(self) -> None:
        """Check shapes, and that one operand is constant."""
        try:
            shape = matmul_shape(shape_of(self.left), shape_of(self.right))
        except ValueError as error:
            raise VerifyException(str(error)) from None
        self._verify_exact([self.left, self.right], shape)
        _require(
            (constant_of(self.left) is None) != (constant_of(self.right) is None),
            "exactly one operand must be a constant",
        )


@irdl_op_definition
class SumOp(ExactOp):
    """Exact sum of varying tensors: ``signs`` is +1 or -1 for each."""

    name = "fastml.sum"

    inputs = var_operand_def(TensorType)
    signs = prop_def(ListAttr[IntAttr])

    traits = traits_def(Pure())
    assembly_format = "$edge `(` $inputs `)` $signs attr-dict `:` functional-type($inputs, $result)"

    def __init__(self, edge: str, inputs: Sequence[SSAValue], signs: Sequence[int], to: Attribute):
        shape = np.broadcast_shapes(*(shape_of(value) for value in inputs))
        super().__init__(
            operands=[inputs],
            properties={
                "edge": StringAttr(edge),
                "signs": ListAttr([IntAttr(sign) for sign in signs]),
            },
            result_types=[TensorType(to, shape)],
        )

    def verify_(self) -> None:
        """Check shapes and signs."""
        _require(len(self.inputs) >= 1, "needs an operand")
        try:
            shape = np.broadcast_shapes(*(shape_of(value) for value in self.inputs))
        except ValueError:
            raise VerifyException("operands do not broadcast") from None
        self._verify_exact(self.inputs, shape)
        _require(len(self.signs) == len(self.inputs), "needs one sign for each operand")
        _require(all(sign.data in (-1, 1) for sign in self.signs), "a sign is 1 or -1")


@irdl_op_definition
class ProductOp(ExactOp):
    """Exact elementwise product of two varying tensors."""

    name = "fastml.product"

    left = operand_def(TensorType)
    right = operand_def(TensorType)

    traits = traits_def(Pure())
    assembly_format = (
        "$edge `(` $left `,` $right `)` attr-dict"
        " `:` type($left) `,` type($right) `->` type($result)"
    )

    def __init__(self, edge: str, left: SSAValue, right: SSAValue, to: Attribute):
        shape = np.broadcast_shapes(shape_of(left), shape_of(right))
        super().__init__(
            operands=[left, right],
            properties={"edge": StringAttr(edge)},
            result_types=[TensorType(to, shape)],
        )

    def verify_(self) -> None:
        """Check shapes."""
        try:
            shape = np.broadcast_shapes(shape_of(self.left), shape_of(self.right))
        except ValueError:
            raise VerifyException("operands do not broadcast") from None
        self._verify_exact([self.left, self.right], shape)


@irdl_op_definition
class RearrangeOp(LayerOp):
    """Static index map: result element ``k`` is element ``index[k]`` of the operands.

    The operands' elements are numbered row-major, one operand after the other. Reshape,
    transpose, slice, gather and concatenation are all this one operator; a missing ``index``
    means the identity, a pure change of shape.
    """

    name = "fastml.rearrange"

    inputs = var_operand_def(TensorType)
    index = opt_prop_def(ArrayAttr)

    traits = traits_def(Pure())
    assembly_format = (
        "$edge `(` $inputs `)` (`by` $index^)? attr-dict `:` functional-type($inputs, $result)"
    )

    def __init__(
        self,
        edge: str,
        inputs: Sequence[SSAValue],
        index: NDArray[np.int64] | None,
        to: Attribute,
        shape: Sequence[int],
    ):
        properties: dict[str, Attribute] = {"edge": StringAttr(edge)}
        if index is not None:
            properties["index"] = ArrayAttr.get(index.reshape(-1))
        super().__init__(
            operands=[inputs],
            properties=properties,
            result_types=[TensorType(to, shape)],
        )

    @property
    def index_map(self) -> NDArray[np.int64]:
        """Source element of each result element, both flat."""
        if self.index is not None:
            return np.asarray(self.index.array, np.int64)
        return np.arange(int(np.prod(shape_of(self.result), dtype=np.int64)))

    def verify_(self) -> None:
        """Check the index map and that the element kinds agree."""
        _require(len(self.inputs) >= 1, "needs an operand")
        for value in (*self.inputs, self.result):
            _check_tensor(value, "each operand and result")
        sizes = [int(np.prod(shape_of(v), dtype=np.int64)) for v in self.inputs]
        count = int(np.prod(shape_of(self.result), dtype=np.int64))
        if self.index is None:
            _require(sum(sizes) == count, "without an index, sizes must agree")
        else:
            index = self.index.array
            _require(
                index.dtype == np.int64 and index.shape == (count,),
                f"index must be {count} integers",
            )
            inside = not count or (index.min() >= 0 and index.max() < sum(sizes))
            _require(bool(inside), f"index must be within 0..{sum(sizes) - 1}")
        kinds = {isinstance(element_type(v), Float32Type) for v in self.inputs}
        kinds.add(isinstance(element_type(self.result), Float32Type))
        _require(len(kinds) == 1, "operands and result must all be f32 or all quantised")


@irdl_op_definition
class OutputOp(IRDLOperation):
    """Name the network's outputs, in their order."""

    name = "fastml.output"

    outputs = var_operand_def(TensorType)

    traits = lazy_traits_def(lambda: (IsTerminator(), HasParent(NetworkOp), Pure()))
    assembly_format = "($outputs^ `:` type($outputs))? attr-dict"

    def __init__(self, outputs: Sequence[SSAValue] = ()):
        super().__init__(operands=[outputs])


@irdl_op_definition
class NetworkOp(IRDLOperation):
    """A network: tensors in, tensors out, by name and in order.

    ``latency`` and ``ii`` (clock cycles) are written back by the schedule; without them the
    network has values but no time.
    """

    name = "fastml.network"

    sym_name = prop_def(SymbolNameConstraint())
    input_names = prop_def(ListAttr[StringAttr])
    output_names = prop_def(ListAttr[StringAttr])
    latency = opt_prop_def(IntAttr)
    ii = opt_prop_def(IntAttr)
    body = region_def("single_block")

    traits = traits_def(
        IsolatedFromAbove(),
        SymbolOpInterface(),
    )
    assembly_format = (
        "$sym_name $input_names `->` $output_names"
        " (`latency` $latency^)? (`ii` $ii^)? attr-dict-with-keyword $body"
    )

    def __init__(
        self,
        name: str,
        inputs: Mapping[str, TensorType[Attribute]],
        output_names: Sequence[str],
        body: Region | None = None,
    ):
        if body is None:
            body = Region(Block(arg_types=list(inputs.values())))
        super().__init__(
            properties={
                "sym_name": StringAttr(name),
                "input_names": ListAttr([StringAttr(n) for n in inputs]),
                "output_names": ListAttr([StringAttr(n) for n in output_names]),
            },
            regions=[body],
        )

    @property
    def inputs(self) -> dict[str, SSAValue]:
        """The network's inputs by name, in order."""
        names = (name.data for name in self.input_names)
        return dict(zip(names, self.body.block.args, strict=True))

    @property
    def outputs(self) -> dict[str, SSAValue]:
        """The network's outputs by name, in order."""
        terminator = self.body.block.last_op
        assert isinstance(terminator, OutputOp)
        names = (name.data for name in self.output_names)
        return dict(zip(names, terminator.outputs, strict=True))

    @property
    def edges(self) -> dict[str, SSAValue]:
        """Every edge by name: inputs, then layers in order."""
        layers = (op for op in self.body.block.ops if isinstance(op, LayerOp))
        return self.inputs | {op.edge_name: op.result for op in layers}

    def verify_(self) -> None:
        """Check names, their number and their uniqueness."""
        terminator = self.body.block.last_op
        if not isinstance(terminator, OutputOp):
            raise VerifyException("must end in fastml.output")
        arguments = self.body.block.args
        for value in arguments:
            _check_tensor(value, "each input")
        _require(len(self.input_names) == len(arguments), "needs one name for each input")
        _require(
            len(self.output_names) == len(terminator.outputs),
            "needs one name for each output",
        )
        names = [name.data for name in self.input_names]
        names += [op.edge_name for op in self.body.block.ops if isinstance(op, LayerOp)]
        duplicates = {name for name in names if names.count(name) > 1}
        _require(not duplicates, f"edge names must be unique: {sorted(duplicates)}")


Fastml = Dialect(
    "fastml",
    [
        AddOp,
        BatchNormOp,
        ConstantOp,
        DivOp,
        ExactCastOp,
        MatMulOp,
        MulOp,
        NetworkOp,
        OutputOp,
        PowOp,
        ProductOp,
        QuantiseOp,
        RearrangeOp,
        ReluOp,
        SoftmaxOp,
        SubOp,
        SumOp,
    ],
    [ArrayAttr, BipolarType, FixedType, RatioType, RoundingAttr, ScaledType],
)


def is_operation(op: Operation) -> bool:
    """Return whether ``op`` belongs to this dialect."""
    return op.name.startswith("fastml.")
