"""Operations of the ``fastml`` dialect on images and sequences: windows, reductions, extrema.

Axis 0 is the batch of 1. Channels come next, as ONNX has them, or last (``channels_last``);
the other one or more axes are spatial. What a window sees beyond an edge is the number 0 in a
convolution and nothing in a maximum.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import auto
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import (
    ArrayAttr as ListAttr,
)
from xdsl.dialects.builtin import (
    IntAttr,
    StringAttr,
    TensorType,
    UnitAttr,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import (
    Attribute,
    SpacedOpaqueSyntaxAttribute,
    SSAValue,
)
from xdsl.irdl import (
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import (
    Pure,
)
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from fastml.dialects.assembly import Integer, Integers
from fastml.dialects.fastml_exact import ExactOp
from fastml.dialects.fastml_layer import (
    LayerOp,
    check_tensor,
    constant_of,
    element_type,
    require,
    shape_of,
)
from fastml.dialects.grid import QuantisedType


class Reduction(StrEnum):
    """What several numbers become."""

    SUM = auto()
    MAX = auto()
    MIN = auto()


@irdl_attr_definition
class ReductionAttr(EnumAttribute[Reduction], SpacedOpaqueSyntaxAttribute):
    """A reduction."""

    name = "fastml.reduction"


# -- windows -------------------------------------------------------------------------------


@dataclass(frozen=True)
class AxisWindows:
    """The windows along one spatial axis: ``count`` of them, of ``kernel`` elements each."""

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    """Pads before the first element."""
    end: int
    """Pads after the last one."""

    @property
    def count(self) -> int:
        """Number of windows; not positive where the axis is shorter than one."""
        extent = self.dilation * (self.kernel - 1) + 1
        return (self.size + self.begin + self.end - extent) // self.stride + 1

    @property
    def table(self) -> NDArray[np.int64]:
        """Position that window ``i`` reads at ``k``, as ``[i, k]``; -1 where that is a pad."""
        starts = np.arange(self.count) * self.stride - self.begin
        positions = starts[:, None] + np.arange(self.kernel) * self.dilation
        return np.where((positions >= 0) & (positions < self.size), positions, -1)


def windows_over(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
) -> tuple[AxisWindows, ...]:
    """Return the windows along each axis; ``pads`` are those before each, then after each."""
    rank = len(kernel)
    each = zip(sizes, kernel, strides, dilations, pads[:rank], pads[rank:], strict=True)
    return tuple(AxisWindows(*of_axis) for of_axis in each)


def spatial_axes_of(rank: int, channels_last: bool) -> tuple[int, ...]:
    """Return the spatial axes of a tensor of ``rank``, counted from the first."""
    return tuple(range(1, rank - 1)) if channels_last else tuple(range(2, rank))


def _list(numbers: Sequence[int]) -> ListAttr[IntAttr]:
    return ListAttr([IntAttr(number) for number in numbers])


class Geometry(TypedDict):
    """Where windows lie, as the builders of operations take it."""

    strides: list[int]
    dilations: list[int]
    pads: list[int]
    channels_last: bool


class WindowOp(LayerOp, ABC):
    """An operator on windows that slide along the spatial axes."""

    strides = prop_def(ListAttr[IntAttr])
    dilations = prop_def(ListAttr[IntAttr])
    pads = prop_def(ListAttr[IntAttr])
    """Pads before each spatial axis, then after each."""
    channels_last = opt_prop_def(UnitAttr)

    @property
    def data(self) -> SSAValue:
        """What the windows slide over."""
        return self.operands[0]

    @property
    @abstractmethod
    def kernel_shape(self) -> tuple[int, ...]:
        """Size of a window along each spatial axis."""

    @property
    def channel_axis(self) -> int:
        """The axis of the channels, counted from the first."""
        return 1 if self.channels_last is None else len(shape_of(self.result)) - 1

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The spatial axes, counted from the first."""
        return spatial_axes_of(len(shape_of(self.result)), self.channels_last is not None)

    @property
    def geometry(self) -> Geometry:
        """Strides, dilations, pads and layout as plain numbers."""
        return Geometry(
            strides=[stride.data for stride in self.strides],
            dilations=[dilation.data for dilation in self.dilations],
            pads=[pad.data for pad in self.pads],
            channels_last=self.channels_last is not None,
        )

    @property
    def windows(self) -> tuple[AxisWindows, ...]:
        """The windows along each spatial axis."""
        shape, at = shape_of(self.data), self.geometry
        sizes = [shape[axis] for axis in self.spatial_axes]
        return windows_over(sizes, self.kernel_shape, at["strides"], at["dilations"], at["pads"])

    def result_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a result of ``channels``."""
        counts = [window.count for window in self.windows]
        if self.channels_last is None:
            return (1, channels, *counts)
        return (1, *counts, channels)

    def verify_windows(self) -> None:
        """Check the sizes of all attributes, and that each axis has room for a window."""
        for value in (self.data, self.result):
            check_tensor(value, "each operand and result")
        shape, rank = shape_of(self.data), len(self.kernel_shape)
        require(rank >= 1, "needs a spatial axis")
        require(
            len(shape) == rank + 2 and shape[0] == 1,
            f"the operand must have a batch of 1, channels and {rank} spatial axes",
        )
        require(
            len(self.strides) == len(self.dilations) == rank and len(self.pads) == 2 * rank,
            f"needs {rank} strides, {rank} dilations and {2 * rank} pads",
        )
        positive = (*self.strides, *self.dilations)
        require(all(n.data >= 1 for n in positive), "strides and dilations must be positive")
        require(all(n >= 1 for n in self.kernel_shape), "a window must not be empty")
        require(all(pad.data >= 0 for pad in self.pads), "pads must not be negative")
        require(all(w.count >= 1 for w in self.windows), "a window is larger than the operand")


@irdl_op_definition
class ConvOp(WindowOp, ExactOp):
    """Convolution, as machine learning has it (the kernel is not mirrored).

    The weights are constant: ``[M, C / group, *kernel]``, or ``[M, *kernel, C / group]`` where
    channels come last. Output channel ``m`` reads the channels of group ``m // (M / group)``.
    """

    name = "fastml.conv"

    input = operand_def(TensorType)
    weights = operand_def(TensorType)
    group = prop_def(IntAttr)

    traits = traits_def(Pure())
    custom_directives = (Integer, Integers)
    assembly_format = (
        "$edge `(` $input `,` $weights `)` `strides` custom<Integers>($strides)"
        " `dilations` custom<Integers>($dilations) `pads` custom<Integers>($pads)"
        " `group` custom<Integer>($group) (`channels_last` $channels_last^)? attr-dict"
        " `:` type($input) `,` type($weights) `->` type($result)"
    )

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        weights: SSAValue,
        to: Attribute,
        *,
        strides: Sequence[int],
        dilations: Sequence[int],
        pads: Sequence[int],
        group: int = 1,
        channels_last: bool = False,
    ):
        shape, kernel = shape_of(input), shape_of(weights)
        spatial = shape[1:-1] if channels_last else shape[2:]
        sizes = kernel[1:-1] if channels_last else kernel[2:]
        windows = windows_over(spatial, sizes, strides, dilations, pads)
        counts = [window.count for window in windows]
        result = (1, *counts, kernel[0]) if channels_last else (1, kernel[0], *counts)
        super().__init__(
            operands=[input, weights],
            properties={
                "edge": StringAttr(edge),
                "strides": _list(strides),
                "dilations": _list(dilations),
                "pads": _list(pads),
                "group": IntAttr(group),
                "channels_last": UnitAttr() if channels_last else None,
            },
            result_types=[TensorType(to, result)],
        )

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Size of a window along each spatial axis."""
        shape = shape_of(self.weights)
        return shape[2:] if self.channels_last is None else shape[1:-1]

    @property
    def matrices(self) -> NDArray[np.object_] | NDArray[np.int64]:
        """Integers of the weights as ``[M, C / group, *kernel]``, whatever the layout."""
        constant = constant_of(self.weights)
        assert constant is not None, "the verifier demands one"
        element = element_type(self.weights)
        assert isinstance(element, QuantisedType)
        integers = np.broadcast_to(element.integer(constant.value.array), shape_of(self.weights))
        return integers if self.channels_last is None else np.moveaxis(integers, -1, 1)

    def verify_(self) -> None:
        """Check shapes, groups, and that the weights are constant."""
        check_tensor(self.weights, "each operand and result")
        weights = shape_of(self.weights)
        require(len(weights) >= 3, "the weights need output channels, channels and a window")
        self.verify_windows()
        require(constant_of(self.weights) is not None, "the weights must be a constant")
        group = self.group.data
        channels = shape_of(self.input)[self.channel_axis]
        inner = weights[1] if self.channels_last is None else weights[-1]
        require(group >= 1, "the number of groups must be positive")
        require(
            channels == group * inner,
            f"{group} groups of {inner} channels are not the operand's {channels}",
        )
        require(weights[0] % group == 0, f"{group} groups do not divide {weights[0]} channels")
        self._verify_exact([self.input, self.weights], self.result_shape(weights[0]))

    def _infer(self) -> QuantisedType:
        from fastml.dialects import inference_spatial

        return inference_spatial.conv_type(
            self.input,
            self.weights,
            self.windows,
            self.group.data,
            self.channels_last is not None,
        )


@irdl_op_definition
class MaxPoolOp(WindowOp):
    """Maximum over windows; a pad never wins."""

    name = "fastml.max_pool"

    input = operand_def(TensorType)
    kernel = prop_def(ListAttr[IntAttr])

    traits = traits_def(Pure())
    custom_directives = (Integers,)
    assembly_format = (
        "$edge `(` $input `)` `kernel` custom<Integers>($kernel)"
        " `strides` custom<Integers>($strides) `dilations` custom<Integers>($dilations)"
        " `pads` custom<Integers>($pads) (`channels_last` $channels_last^)? attr-dict"
        " `:` type($input) `->` type($result)"
    )

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        kernel: Sequence[int],
        *,
        strides: Sequence[int],
        dilations: Sequence[int],
        pads: Sequence[int],
        channels_last: bool = False,
    ):
        from fastml.dialects import inference_spatial

        shape = shape_of(input)
        axes = spatial_axes_of(len(shape), channels_last)
        sizes = [shape[axis] for axis in axes]
        windows = windows_over(sizes, kernel, strides, dilations, pads)
        counts = [window.count for window in windows]
        result = (1, *counts, shape[-1]) if channels_last else (1, shape[1], *counts)
        super().__init__(
            operands=[input],
            properties={
                "edge": StringAttr(edge),
                "kernel": _list(kernel),
                "strides": _list(strides),
                "dilations": _list(dilations),
                "pads": _list(pads),
                "channels_last": UnitAttr() if channels_last else None,
            },
            result_types=[TensorType(inference_spatial.extremum_over(input, axes), result)],
        )

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Size of a window along each spatial axis."""
        return tuple(size.data for size in self.kernel)

    def verify_(self) -> None:
        """Check shapes, the type, and that every window sees an element."""
        self.verify_windows()
        for window in self.windows:
            require((window.table >= 0).any(axis=1).all(), "a window sees pads alone")
        shape = self.result_shape(shape_of(self.input)[self.channel_axis])
        require(shape == shape_of(self.result), f"the result must have shape {shape}")
        _verify_extremum(self.input, self.spatial_axes, self.result)


def _verify_extremum(input: SSAValue, axes: Sequence[int], result: SSAValue) -> None:
    """Check that the result has the operand's type, which must not vary along ``axes``."""
    from fastml.dialects import inference_spatial

    try:
        expected = inference_spatial.extremum_over(input, axes)
    except ValueError as error:
        raise VerifyException(str(error)) from None
    require(element_type(result) == expected, f"the result must be of type {expected}")


# -- reductions ----------------------------------------------------------------------------


@irdl_op_definition
class ReduceOp(ExactOp):
    """Sum, maximum or minimum over ``axes`` (negative numbers), which stay with size 1.

    A sum is exact; an extremum has the operand's type, and may be of ``f32``.
    """

    name = "fastml.reduce"

    input = operand_def(TensorType)
    kind = prop_def(ReductionAttr)
    axes = prop_def(ListAttr[IntAttr])

    traits = traits_def(Pure())
    custom_directives = (Integers,)
    assembly_format = (
        "$edge `(` $input `)` $kind `over` custom<Integers>($axes) attr-dict"
        " `:` type($input) `->` type($result)"
    )

    def __init__(
        self, edge: str, input: SSAValue, kind: Reduction, axes: Sequence[int], to: Attribute
    ):
        shape = list(shape_of(input))
        for axis in axes:
            shape[axis] = 1
        super().__init__(
            operands=[input],
            properties={
                "edge": StringAttr(edge),
                "kind": ReductionAttr(kind),
                "axes": _list(axes),
            },
            result_types=[TensorType(to, shape)],
        )

    def verify_(self) -> None:
        """Check axes, shape and type."""
        for value in (self.input, self.result):
            check_tensor(value, "each operand and result")
        shape = list(shape_of(self.input))
        axes = [axis.data for axis in self.axes]
        require(bool(axes), "needs an axis")
        require(len(set(axes)) == len(axes), f"axes {axes} repeat one")
        for axis in axes:
            require(-len(shape) <= axis < 0, f"axis {axis} is not in {-len(shape)}..-1")
            require(shape[axis] >= 1, f"axis {axis} has no elements")
        for axis in axes:
            shape[axis] = 1
        if self.kind.data is Reduction.SUM:
            self._verify_exact([self.input], shape)
            return
        require(tuple(shape) == shape_of(self.result), f"the result must have shape {shape}")
        _verify_extremum(self.input, axes, self.result)

    def _infer(self) -> QuantisedType:
        from fastml.dialects import inference_spatial

        return inference_spatial.sum_over_type(self.input, [axis.data for axis in self.axes])


@irdl_op_definition
class ExtremumOp(ExactOp):
    """Elementwise maximum or minimum of varying tensors, on their greatest common step."""

    name = "fastml.extremum"

    inputs = var_operand_def(TensorType)
    kind = prop_def(ReductionAttr)

    traits = traits_def(Pure())
    assembly_format = "$edge `(` $inputs `)` $kind attr-dict `:` functional-type($inputs, $result)"

    def __init__(self, edge: str, inputs: Sequence[SSAValue], kind: Reduction, to: Attribute):
        shape = np.broadcast_shapes(*(shape_of(value) for value in inputs))
        super().__init__(
            operands=[inputs],
            properties={"edge": StringAttr(edge), "kind": ReductionAttr(kind)},
            result_types=[TensorType(to, shape)],
        )

    def verify_(self) -> None:
        """Check shapes and the kind."""
        require(len(self.inputs) >= 1, "needs an operand")
        require(self.kind.data is not Reduction.SUM, "an extremum is a max or a min")
        try:
            shape = np.broadcast_shapes(*(shape_of(value) for value in self.inputs))
        except ValueError:
            raise VerifyException("operands do not broadcast") from None
        self._verify_exact(self.inputs, shape)

    def _infer(self) -> QuantisedType:
        from fastml.dialects import inference_spatial

        return inference_spatial.extremum_type(self.inputs, self.kind.data)
