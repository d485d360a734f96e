"""Adder graphs of the ``qflow`` dialect: a constant matrix as shifted additions, in arrays."""

import numpy as np
from xdsl.ir import ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.utils.exceptions import VerifyException

from fastml.dialects.array import ArrayAttr

MAX_SHIFT = 4096
"""Largest shift of a well-formed graph."""


@irdl_attr_definition
class AdderGraphAttr(ParametrizedAttribute):
    """Shift-add network of a constant matrix, as arrays.

    Values ``0..n_in-1`` are the inputs, then one value per node. With ``L = left``,
    ``R = right`` (or ``constant`` where right is -1) and ``<<`` by ``shift`` (on the other
    operand where negative), operation 0 is ``L + (R << s)``, 1 is ``L - (R << s)``, 2 is
    ``(R << s) - L``. Output ``j`` is value ``out_id[j] << out_shift[j]``, or
    ``out_constant[j]`` where ``out_id[j]`` is -1.
    """

    name = "qflow.adder_graph"

    left: ArrayAttr
    right: ArrayAttr
    shift: ArrayAttr
    operation: ArrayAttr
    constant: ArrayAttr
    out_id: ArrayAttr
    out_shift: ArrayAttr
    out_constant: ArrayAttr

    @property
    def nodes(self) -> int:
        """Number of adders."""
        return len(self.left.array)

    def verify(self) -> None:
        """Check lengths, order and operation codes."""
        per_node = (self.left, self.right, self.shift, self.operation, self.constant)
        if len({p.array.shape for p in per_node}) != 1:
            raise VerifyException("node arrays differ in length")
        per_output = (self.out_id, self.out_shift, self.out_constant)
        if len({p.array.shape for p in per_output}) != 1:
            raise VerifyException("output arrays differ in length")
        if self.nodes and not np.all(np.isin(self.operation.array, (0, 1, 2))):
            raise VerifyException("an operation is 0 (L+R), 1 (L-R) or 2 (R-L)")
        arrays = (*per_node, *per_output)
        if any(p.array.ndim != 1 or p.data.dtype == "f32" for p in arrays):
            raise VerifyException("the arrays of an adder graph are rows of integers")
        shift, out = self.shift.integers, self.out_shift.integers
        if np.any(np.abs(shift) > MAX_SHIFT) or np.any((out < 0) | (out > MAX_SHIFT)):
            raise VerifyException(f"a shift is not within {MAX_SHIFT} bits")

    def verify_inputs(self, count: int) -> None:
        """Check that every operand is an input or an earlier node."""
        own = np.arange(self.nodes) + count
        left, right = self.left.integers, self.right.integers
        out = self.out_id.integers
        if np.any(left < 0) or np.any(left >= own) or np.any(right < -1) or np.any(right >= own):
            raise VerifyException("an operand is not an input or an earlier node")
        if np.any(out < -1) or np.any(out >= count + self.nodes):
            raise VerifyException("an output is not an input or a node")
