"""Operations of the ``fastml`` dialect that are exact on integers, and index maps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import (
    ArrayAttr as ListAttr,
)
from xdsl.dialects.builtin import (
    Float32Type,
    IntAttr,
    StringAttr,
    TensorType,
)
from xdsl.ir import (
    Attribute,
    SSAValue,
)
from xdsl.irdl import (
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

from fastml.dialects.array import Array, ArrayAttr
from fastml.dialects.assembly import Integers
from fastml.dialects.fastml_layer import (
    LayerOp,
    check_tensor,
    constant_of,
    element_type,
    require,
    shape_of,
)
from fastml.dialects.grid import (
    FixedType,
    QuantisedType,
    RatioType,
    ScaledType,
)


class ExactOp(LayerOp, ABC):
    """A linear operator: exact on integers where its operands are quantised.

    With an operand of type ``f32`` (an edge that nobody quantised) the result is ``f32`` and
    only a proof that the edge lies on a grid, or an error, can follow.
    """

    def _verify_exact(self, operands: Sequence[SSAValue], shape: Sequence[int]) -> None:
        for value in (*operands, self.result):
            check_tensor(value, "each operand and result")
        quantised = all(isinstance(element_type(v), QuantisedType) for v in operands)
        require(
            quantised == isinstance(element_type(self.result), FixedType | ScaledType | RatioType),
            "the result is fixed, scaled or a ratio if and only if all operands are quantised",
        )
        require(tuple(shape) == shape_of(self.result), f"the result must have shape {shape}")
        result = element_type(self.result)
        if isinstance(result, QuantisedType):
            self._verify_grid(result)

    @abstractmethod
    def _infer(self) -> QuantisedType:
        """Return the narrowest type of the result; ``ValueError`` if there is none."""

    def _verify_grid(self, result: QuantisedType) -> None:
        """Check that the result's step is exact and that no integer can overflow."""
        try:
            exact = self._infer()
        except ValueError as error:
            raise VerifyException(str(error)) from None
        same_steps = np.all(exact.step == result.step)  # both broadcast to the result's shape
        require(same_steps and not result.shift.any(), f"the result must be {exact}")
        (low, high), (least, most) = result.raw_range, exact.raw_range
        require(low <= least and most <= high, f"the result needs the width of {exact}")


def matmul_shape(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a matrix product by NumPy's rules; ``ValueError`` if none."""
    a, b = tuple(left), tuple(right)
    if not a or not b or a[-1] != b[-2 if len(b) > 1 else 0]:
        raise ValueError(f"there is no matrix product of shapes {list(a)} and {list(b)}")
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


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
        require(
            (constant_of(self.left) is None) != (constant_of(self.right) is None),
            "exactly one operand must be a constant",
        )
        self._verify_exact([self.left, self.right], shape)

    def _infer(self) -> QuantisedType:
        from fastml.dialects import inference

        return inference.matmul_type(self.left, self.right)


@irdl_op_definition
class SumOp(ExactOp):
    """Exact sum of varying tensors: ``signs`` is +1 or -1 for each."""

    name = "fastml.sum"

    inputs = var_operand_def(TensorType)
    signs = prop_def(ListAttr[IntAttr])

    traits = traits_def(Pure())
    custom_directives = (Integers,)
    assembly_format = (
        "$edge `(` $inputs `)` custom<Integers>($signs) attr-dict"
        " `:` functional-type($inputs, $result)"
    )

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
        require(len(self.inputs) >= 1, "needs an operand")
        try:
            shape = np.broadcast_shapes(*(shape_of(value) for value in self.inputs))
        except ValueError:
            raise VerifyException("operands do not broadcast") from None
        require(len(self.signs) == len(self.inputs), "needs one sign for each operand")
        require(all(sign.data in (-1, 1) for sign in self.signs), "a sign is 1 or -1")
        self._verify_exact(self.inputs, shape)

    def _infer(self) -> QuantisedType:
        from fastml.dialects import inference

        return inference.sum_type(self.inputs, [sign.data for sign in self.signs])


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

    def _infer(self) -> QuantisedType:
        from fastml.dialects import inference

        return inference.product_type(self.left, self.right)


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
        require(len(self.inputs) >= 1, "needs an operand")
        for value in (*self.inputs, self.result):
            check_tensor(value, "each operand and result")
        sizes = [int(np.prod(shape_of(v), dtype=np.int64)) for v in self.inputs]
        count = int(np.prod(shape_of(self.result), dtype=np.int64))
        if self.index is None:
            require(sum(sizes) == count, "without an index, sizes must agree")
        else:
            index = self.index.array
            require(
                index.dtype == np.int64 and index.shape == (count,),
                f"index must be {count} integers",
            )
            inside = not count or (index.min() >= 0 and index.max() < sum(sizes))
            require(bool(inside), f"index must be within 0..{sum(sizes) - 1}")
        kinds = {isinstance(element_type(v), Float32Type) for v in self.inputs}
        kinds.add(isinstance(element_type(self.result), Float32Type))
        require(len(kinds) == 1, "operands and result must all be f32 or all quantised")
        result = element_type(self.result)
        if isinstance(result, QuantisedType):
            self._verify_grid(result)

    def _verify_grid(self, result: QuantisedType) -> None:
        """Check that every raw integer still stands for the same number."""
        types = [element_type(value) for value in self.inputs]
        uniform = result.step.size == 1 and result.shift.size == 1
        if uniform and all(element == result for element in types):
            return
        gathered: list[tuple[Array, Array]] = []
        for element, value in zip(types, self.inputs, strict=True):
            assert isinstance(element, QuantisedType)
            require(element.weight == result.weight, f"{element} does not fit {result}")
            (low, high), (least, most) = result.raw_range, element.raw_range
            require(low <= least and most <= high, f"{element} does not fit {result}")
            shape = shape_of(value)
            gathered.append(
                (
                    np.broadcast_to(element.step, shape).ravel(),
                    np.broadcast_to(element.shift, shape).ravel(),
                )
            )
        steps, shifts = (
            np.concatenate(parts)[self.index_map] for parts in zip(*gathered, strict=True)
        )
        shape = shape_of(self.result)
        same = np.all(np.broadcast_to(result.step, shape).ravel() == steps)
        same = same and np.all(np.broadcast_to(result.shift, shape).ravel() == shifts)
        require(same, "scales and zero points must move with their elements")
