"""Between the solver's graphs and the attribute that keeps them in the IR."""

import numpy as np

from fastml.dialects.array import Array, ArrayAttr, integer_array
from fastml.dialects.qflow import AdderGraphAttr
from fastml.lowering.cmvm.graph import Graph


def to_attribute(graph: Graph) -> AdderGraphAttr:
    """Store a graph."""
    arrays = (
        graph.left,
        graph.right,
        graph.shift,
        graph.op,
        graph.constant,
        graph.out_id,
        graph.out_shift,
        graph.out_constant,
    )
    return AdderGraphAttr(*(ArrayAttr.get(integer_array(array)) for array in arrays))


def from_attribute(attribute: AdderGraphAttr, inputs: int) -> Graph:
    """Read a graph back."""

    def small(array: Array) -> np.ndarray:
        return np.asarray(array, np.int32)

    return Graph(
        inputs,
        small(attribute.left.array),
        small(attribute.right.array),
        small(attribute.shift.array),
        np.asarray(attribute.operation.array, np.int8),
        attribute.constant.array,
        small(attribute.out_id.array),
        small(attribute.out_shift.array),
        attribute.out_constant.array,
    )
