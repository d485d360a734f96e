"""The ``fastml`` dialect: networks of layers on tensors of quantised or real numbers.

A value is a tensor of one sample, in the model's own shape with its batch axis of 1. Its
element type says what it holds: a quantised type (:mod:`fastml.dialects.grid`) holds raw
integers; ``f32`` holds real numbers that the model computes in fp32 and that no quantiser
has put on a grid yet. Elementwise operators read a quantised operand as its decoded float32
numbers and give ``f32`` (their definitions are in :mod:`fastml.dialects.reference`); linear
operators read integers and give the exact integer result with its scale.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from xdsl.dialects.builtin import (
    ArrayAttr as ListAttr,
)
from xdsl.dialects.builtin import (
    IntAttr,
    StringAttr,
    SymbolNameConstraint,
    TensorType,
)
from xdsl.ir import (
    Attribute,
    Block,
    Dialect,
    Region,
    SSAValue,
)
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    lazy_traits_def,
    opt_prop_def,
    prop_def,
    region_def,
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

from fastml.dialects.array import ArrayAttr
from fastml.dialects.assembly import Integer
from fastml.dialects.fastml_convert import ConvertOp
from fastml.dialects.fastml_elementwise import (
    AddOp,
    BatchNormOp,
    DivOp,
    ElementwiseOp,
    ExactCastOp,
    MaxOp,
    MinOp,
    MulOp,
    PowOp,
    PReluOp,
    QuantiseOp,
    ReluOp,
    Rounding,
    RoundingAttr,
    RoundOp,
    SoftmaxOp,
    SubOp,
)
from fastml.dialects.fastml_exact import (
    ExactOp,
    MatMulOp,
    ProductOp,
    RearrangeOp,
    SumOp,
    matmul_shape,
)
from fastml.dialects.fastml_layer import (
    ConstantOp,
    LayerOp,
    check_tensor,
    constant_of,
    element_type,
    require,
    shape_of,
)
from fastml.dialects.fastml_spatial import (
    ConvOp,
    ExtremumOp,
    MaxPoolOp,
    ReduceOp,
    Reduction,
    ReductionAttr,
    WindowOp,
)
from fastml.dialects.grid import (
    BipolarType,
    FixedType,
    RatioType,
    ScaledType,
)

__all__ = [
    "AddOp",
    "BatchNormOp",
    "ConstantOp",
    "ConvOp",
    "ConvertOp",
    "DivOp",
    "ElementwiseOp",
    "ExactCastOp",
    "ExactOp",
    "ExtremumOp",
    "Fastml",
    "LayerOp",
    "MatMulOp",
    "MaxOp",
    "MaxPoolOp",
    "MinOp",
    "MulOp",
    "NetworkOp",
    "OutputOp",
    "PReluOp",
    "PowOp",
    "ProductOp",
    "QuantiseOp",
    "RearrangeOp",
    "ReduceOp",
    "Reduction",
    "ReductionAttr",
    "ReluOp",
    "RoundOp",
    "Rounding",
    "RoundingAttr",
    "SoftmaxOp",
    "SubOp",
    "SumOp",
    "WindowOp",
    "constant_of",
    "element_type",
    "matmul_shape",
    "shape_of",
]


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

    traits = traits_def(IsolatedFromAbove(), SymbolOpInterface())
    custom_directives = (Integer,)
    assembly_format = (
        "$sym_name $input_names `->` $output_names (`latency` custom<Integer>($latency)^)?"
        " (`ii` custom<Integer>($ii)^)? attr-dict-with-keyword $body"
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
            check_tensor(value, "each input")
        require(len(self.input_names) == len(arguments), "needs one name for each input")
        require(
            len(self.output_names) == len(terminator.outputs),
            "needs one name for each output",
        )
        names = [name.data for name in self.input_names]
        names += [op.edge_name for op in self.body.block.ops if isinstance(op, LayerOp)]
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        require(not twice, f"edge names must be unique: {twice}")
        if self.ii is not None:
            require(self.ii.data >= 1, "the initiation interval must be at least 1")
        if self.latency is not None:
            require(self.latency.data >= 0, "the latency must not be negative")


Fastml = Dialect(
    "fastml",
    [
        AddOp,
        BatchNormOp,
        ConstantOp,
        ConvOp,
        ConvertOp,
        DivOp,
        ExactCastOp,
        ExtremumOp,
        MatMulOp,
        MaxOp,
        MaxPoolOp,
        MinOp,
        MulOp,
        NetworkOp,
        OutputOp,
        PReluOp,
        PowOp,
        ProductOp,
        QuantiseOp,
        RearrangeOp,
        ReduceOp,
        ReluOp,
        RoundOp,
        SoftmaxOp,
        SubOp,
        SumOp,
    ],
    [ArrayAttr, BipolarType, FixedType, RatioType, ReductionAttr, RoundingAttr, ScaledType],
)


def register_operation(operation: type[IRDLOperation]) -> type[IRDLOperation]:
    """Add an operation of a plug-in to the dialect; a class decorator.

    Its name starts with ``fastml.``; an elementwise one needs its definition in
    ``reference.ELEMENTWISE`` first, which the class checks.
    """
    assert operation.name.startswith("fastml."), operation.name
    assert all(known.name != operation.name for known in Fastml.operations), operation.name
    # a dialect's list of operations is fixed only by convention
    Fastml._operations.append(operation)  # pyright: ignore[reportPrivateUsage]
    return operation
