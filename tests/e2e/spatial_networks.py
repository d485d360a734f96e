"""Networks of images for tests: built by hand, lowered to streams, compared edge by edge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Attribute, Operation, SSAValue

from fastml.dialects import fastml, inference, inference_spatial, qflow
from fastml.dialects.fastml import Reduction, element_type, shape_of
from fastml.dialects.grid import FixedType, QuantisedType
from fastml.dialects.interface import Interface
from fastml.lowering.fastml_to_qflow import FastmlToQflow
from fastml.lowering.qflow_stream import QflowStream
from fastml.runtime.fastml import evaluate_raw
from fastml.runtime.host import Host, slice_network
from fastml.runtime.qflow import evaluate, graph_of

Array = NDArray[Any]


def fixed(width: int, fraction: int = 0, signed: int = 1) -> FixedType:
    """Return a fixed-point type."""
    return FixedType(signed, width, fraction)


class Images:
    """Builds a network; every method appends one layer and returns its edge."""

    def __init__(self, seed: int = 0, **inputs: tuple[Attribute, Sequence[int]]):
        types = {name: TensorType(element, shape) for name, (element, shape) in inputs.items()}
        self.network = fastml.NetworkOp("net", types, [])
        self.inputs = list(self.network.body.block.args)
        self.rng = np.random.default_rng(seed)
        self._count = 0

    def fresh(self, name: str) -> str:
        """Return a name that no edge has."""
        self._count += 1
        return f"{name}{self._count}"

    def add(self, *operations: Operation) -> SSAValue:
        """Append operations; return the last one's result."""
        for op in operations:
            self.network.body.block.add_op(op)
        return operations[-1].results[0]

    def constant(self, shape: Sequence[int], kind: QuantisedType | None = None) -> SSAValue:
        """Append a random constant of a type, float32 numbers without one."""
        if kind is None:
            values = (self.rng.integers(-8, 9, shape) / 4).astype(np.float32)
            return self.add(fastml.ConstantOp(values))
        low, high = kind.raw_range
        return self.add(fastml.ConstantOp(self.rng.integers(low, high + 1, shape), kind))

    def conv(
        self,
        x: SSAValue,
        made: int,
        kernel: Sequence[int],
        *,
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        group: int = 1,
        last: bool = False,
        kind: QuantisedType | None = None,
    ) -> SSAValue:
        """Append a convolution with random weights."""
        shape, rank = shape_of(x), len(kernel)
        inner = shape[-1 if last else 1] // group
        size = (made, *kernel, inner) if last else (made, inner, *kernel)
        weights = self.constant(size, kind or fixed(3, 1))
        operations = inference_spatial.conv(
            self.fresh("conv"),
            x,
            weights,
            self.fresh,
            strides=strides or [1] * rank,
            dilations=dilations or [1] * rank,
            pads=pads or [0] * (2 * rank),
            group=group,
            channels_last=last,
        )
        return self.add(*operations)

    def relu(self, x: SSAValue, kind: QuantisedType, *, last: bool = False) -> SSAValue:
        """Append a bias for each channel, a ReLU and a quantiser."""
        shape = shape_of(x)
        own = [1] * len(shape)
        axis = len(shape) - 1 if last else 1
        own[axis] = shape[axis]
        bias = self.constant(own)
        real = self.add(fastml.AddOp(self.fresh("biased"), [x, bias]))
        real = self.add(fastml.ReluOp(self.fresh("relu"), [real]))
        return self.quantise(real, kind)

    def quantise(self, x: SSAValue, kind: QuantisedType) -> SSAValue:
        """Append a quantiser."""
        return self.add(fastml.QuantiseOp(self.fresh("q"), x, kind))

    def max_pool(
        self,
        x: SSAValue,
        kernel: Sequence[int],
        *,
        strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        last: bool = False,
    ) -> SSAValue:
        """Append a maximum over windows."""
        rank = len(kernel)
        operations = inference_spatial.max_pool(
            self.fresh("pool"),
            x,
            kernel,
            self.fresh,
            strides=strides or kernel,
            dilations=[1] * rank,
            pads=pads or [0] * (2 * rank),
            channels_last=last,
        )
        return self.add(*operations)

    def reduce(self, x: SSAValue, kind: Reduction, axes: Sequence[int]) -> SSAValue:
        """Append a reduction."""
        return self.add(*inference_spatial.reduce(self.fresh("reduced"), x, kind, axes, self.fresh))

    def sum(self, *inputs: SSAValue) -> SSAValue:
        """Append a sum."""
        return self.add(*inference.add(self.fresh("sum"), inputs, [1] * len(inputs)))

    def rearrange(self, inputs: Sequence[SSAValue], index: Array) -> SSAValue:
        """Append an index map; ``index`` has the shape of the result."""
        edge = self.fresh("moved")
        made = inference.rearrange(edge, inputs, index.reshape(-1), index.shape, self.fresh)
        return self.add(*made)

    def transpose(self, x: SSAValue, axes: Sequence[int]) -> SSAValue:
        """Append a transposition."""
        return self.rearrange([x], places(x).transpose(axes))

    def matmul(self, x: SSAValue, columns: int) -> SSAValue:
        """Append a product with a random matrix."""
        weights = self.constant((shape_of(x)[-1], columns), fixed(3, 1))
        return self.add(*inference.matmul(self.fresh("dense"), x, weights, self.fresh))

    def finish(self, *outputs: SSAValue) -> fastml.NetworkOp:
        """End the network and verify it."""
        names = {value: name for name, value in self.network.edges.items()}
        self.network.body.block.add_op(fastml.OutputOp(outputs))
        listed = [names[value] for value in outputs]
        made = fastml.NetworkOp("net", {}, listed)
        self.network.output_names = made.output_names
        self.network.verify()
        return self.network


def places(*values: SSAValue) -> Array:
    """Return the numbers of the elements of the last of some operands, in its shape."""
    *others, last = values
    start = sum(int(np.prod(shape_of(v))) for v in others)
    shape = shape_of(last)
    return start + np.arange(int(np.prod(shape))).reshape(shape)


def lowered(network: fastml.NetworkOp, pixels: int = 1) -> ModuleOp:
    """Return the module of a network, lowered to streams of pixels and verified."""
    module = ModuleOp([network.clone()])
    FastmlToQflow(layout="pixels", pixels=pixels).apply(Context(), module)
    module.verify()
    QflowStream().apply(Context(), module)
    module.verify()
    return module


def random_raw(network: fastml.NetworkOp, frames: int, seed: int = 1) -> dict[str, Array]:
    """Return random integers for every input."""
    rng = np.random.default_rng(seed)
    found = dict[str, Array]()
    for name, value in network.inputs.items():
        kind = element_type(value)
        assert isinstance(kind, QuantisedType)
        low, high = kind.raw_range
        found[name] = rng.integers(low, high + 1, (frames, *shape_of(value)[1:]))
    return found


def check_edges(network: fastml.NetworkOp, pixels: int = 1, frames: int = 3) -> qflow.GraphOp:
    """Compare every edge of the hardware with the network's, all elements; return the graph."""
    module = lowered(network, pixels)
    host = Host(Interface.of(module))
    raw = random_raw(network, frames)
    beats = dict[str, Array]()
    graph = graph_of(module)
    for name, value in graph.inputs.items():
        rows = host.to_beats(name, raw[name])
        channel = qflow.channel_of(value)
        beats[name] = rows.reshape(frames * channel.beats.data, len(channel))
    names = [name for name in host.hardware_edges if name not in graph.inputs]
    expected = evaluate_raw(slice_network(network, names), raw)
    outputs, taps = evaluate(module, beats, names)
    assert names, "nothing was compared"
    for name in names:
        found = host.from_beats(name, taps[name])
        assert np.array_equal(found, expected[name].reshape(found.shape)), name
    for name in graph.outputs:
        if name in names:
            assert np.array_equal(outputs[name], taps[name])
    return graph
