"""Append stages to a qflow graph: unique edge names, locations, wiring, alignment."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation, SSAValue

from fastml.dialects import qflow
from fastml.dialects.array import Integers, integer_array
from fastml.dialects.fastml import element_type
from fastml.dialects.grid import QuantisedType
from fastml.dialects.qflow import channel_of


def grid_of(value: SSAValue) -> QuantisedType:
    """Return the element type of a quantised edge of a network."""
    element = element_type(value)
    assert isinstance(element, QuantisedType)
    return element


class StageBuilder:
    """Appends stages to a graph; edges of its own making get names that no edge has."""

    def __init__(self, graph: qflow.GraphOp, taken: Iterable[str]):
        self.graph = graph
        self._taken = set(taken)

    def fresh(self, wanted: str) -> str:
        """Return an unused edge name that resembles the one asked for."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}#{count}"
        self._taken.add(name)
        return name

    def finish(self, outputs: Sequence[SSAValue]) -> qflow.GraphOp:
        """End the graph with its outputs."""
        end = qflow.YieldOp(outputs)
        end.location = self.graph.location
        self.graph.body.block.add_op(end)
        return self.graph

    def stage(self, stage: qflow.StageOp, origin: Operation) -> SSAValue:
        """Append a stage made from an operation of the network."""
        stage.location = origin.location
        self.graph.body.block.add_op(stage)
        return stage.result

    def process(self, op: qflow.BeatsOp, origin: Operation) -> SSAValue:
        """Append a change of beats or of their order, made from an operation of the network."""
        op.location = origin.location
        self.graph.body.block.add_op(op)
        return op.result

    def select(
        self, source: SSAValue, index: NDArray[np.int64], name: str, origin: Operation
    ) -> SSAValue:
        """Return ``source[index]``: the channel itself where that changes nothing."""
        if len(index) == len(channel_of(source)) and np.array_equal(index, np.arange(len(index))):
            return source
        stage = qflow.RearrangeOp(self.fresh(name), [source], index, (len(index),))
        return self.stage(stage, origin)

    def scale(
        self,
        edge: str,
        source: SSAValue,
        factor: Integers,
        summand: Integers,
        shape: Sequence[int],
        origin: Operation,
    ) -> SSAValue:
        """Return ``factor * source + summand`` as edge ``edge``."""
        if np.all(factor == 1) and not np.any(summand):
            index = np.arange(len(channel_of(source)))
            return self.stage(qflow.RearrangeOp(edge, [source], index, shape), origin)
        row = integer_array(factor).reshape(1, -1)
        return self.stage(
            qflow.CombineOp(edge, [source], row, integer_array(summand), shape), origin
        )
