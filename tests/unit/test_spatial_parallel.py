"""Images in one beat: convolutions, pools and reductions against their definitions, in loops."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.dialects.func import CallOp, FuncOp
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, inference_spatial, qflow
from fastml.dialects.array import ArrayAttr
from fastml.dialects.fastml import element_type, shape_of
from fastml.dialects.fastml_spatial import Reduction
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, ScaledType
from fastml.lowering.fastml_to_qflow import FastmlToQflow
from fastml.lowering.qflow_schedule import QflowSchedule
from fastml.lowering.qflow_solve import QflowSolve
from fastml.lowering.qflow_to_affine import QflowToAffine
from fastml.runtime.qflow import evaluate, graph_of

Array = NDArray[Any]
CONTEXT = Context()
BIPOLAR = BipolarType(ArrayAttr.get(np.array(0.5, np.float32)))
FRAMES = 3


def scaled(signed: bool, width: int, zero_point: Any) -> ScaledType:
    scale = ArrayAttr.get(np.array(0.25, np.float32))
    return ScaledType(int(signed), width, scale, ArrayAttr.get(np.array(zero_point)))


class Net:
    """A network of one operator on inputs of given types."""

    def __init__(self, *inputs: tuple[QuantisedType, tuple[int, ...]]):
        types = {f"x{k}": TensorType(t, s) for k, (t, s) in enumerate(inputs)}
        self.network = fastml.NetworkOp("net", types, ["y"])
        self.inputs = list(self.network.inputs.values())
        self.names = 0

    def fresh(self, wanted: str) -> str:
        self.names += 1
        return f"{wanted}.{self.names}"

    def constant(self, values: Array, element: QuantisedType) -> SSAValue:
        op = fastml.ConstantOp(values, element)
        self.network.body.block.add_op(op)
        return op.results[0]

    def finish(self, operations: Sequence[Operation]) -> fastml.LayerOp:
        """Append operations; the last of them makes the output."""
        self.network.body.block.add_ops(operations)
        last = operations[-1]
        assert isinstance(last, fastml.LayerOp)
        self.network.body.block.add_op(fastml.OutputOp([last.result]))
        self.module = ModuleOp([self.network])
        self.module.verify()
        return last

    def check(self, expected: Callable[..., Array], seed: int) -> ModuleOp:
        """Compare the graph with what the integers of the inputs should give."""
        rng = np.random.default_rng(seed)
        shapes = [shape_of(value) for value in self.inputs]
        grids = [grid(value) for value in self.inputs]
        raw = [
            rng.integers(*g.raw_range, (FRAMES, *s), endpoint=True)
            for g, s in zip(grids, shapes, strict=True)
        ]
        FastmlToQflow().apply(CONTEXT, self.module)
        self.module.verify()
        beats = {f"x{k}": x.reshape(FRAMES, -1) for k, x in enumerate(raw)}
        (found,) = evaluate(self.module, beats)[0].values()
        for frame in range(FRAMES):
            wanted = expected(*(x[frame] for x in raw))
            assert found[frame].tolist() == wanted.reshape(-1).tolist()
        QflowSolve().apply(CONTEXT, self.module)
        QflowSchedule(clock_ns=2.0).apply(CONTEXT, self.module)
        (solved,) = evaluate(self.module, beats)[0].values()
        assert np.array_equal(solved, found)
        return self.module


def grid(value: SSAValue) -> QuantisedType:
    element = element_type(value)
    assert isinstance(element, QuantisedType)
    return element


def integers(element: QuantisedType, raw: Array, shape: tuple[int, ...]) -> Array:
    """Return the integers that an exact operator sees."""
    return np.broadcast_to(element.integer(raw), shape)


def convolve(
    x: Array, w: Array, strides: Any, dilations: Any, pads: Any, group: int, last: bool
) -> Array:
    """Convolve integers by the definition: a sum of products for each element."""
    if last:
        x, w = np.moveaxis(x, -1, 1), np.moveaxis(w, -1, 1)
    rank, sizes, kernel = len(strides), x.shape[2:], w.shape[2:]
    counts = [
        (sizes[i] + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    ]
    result = np.zeros((1, len(w), *counts), object)
    for m, *at in product(*map(range, result.shape[1:])):
        total = 0
        for c, *k in product(*map(range, w.shape[1:])):
            place = [at[i] * strides[i] - pads[i] + k[i] * dilations[i] for i in range(rank)]
            if all(0 <= p < size for p, size in zip(place, sizes, strict=True)):
                channel = m // (len(w) // group) * w.shape[1] + c
                total += int(x[(0, channel, *place)]) * int(w[(m, c, *k)])
        result[(0, m, *at)] = total
    return np.moveaxis(result, 1, -1) if last else result


def some_type(rng: np.random.Generator, channels: int, last: bool, rank: int) -> QuantisedType:
    """Return a type: with a zero point, one for each channel, or bipolar, too."""
    match int(rng.integers(5)):
        case 0:
            return FixedType(1, 4, 2)
        case 1:
            return FixedType(0, 3, 0)
        case 2:
            return scaled(False, 3, int(rng.integers(0, 8)))
        case 3:
            each = rng.integers(-2, 5, channels)
            return scaled(True, 4, each if last else each.reshape(-1, *[1] * rank))
        case _:
            return BIPOLAR


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30))
def test_convolutions_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank, last = int(rng.integers(1, 3)), bool(rng.integers(2))
    group, inner, each = (int(n) for n in rng.integers(1, 4, 3))
    kernel = rng.integers(1, 4, rank)
    strides, dilations = rng.integers(1, 4, rank), rng.integers(1, 3, rank)
    pads = rng.integers(0, 3, 2 * rank)
    sizes = dilations * (kernel - 1) + 1 + rng.integers(0, 4, rank)
    channels = group * inner
    x_shape = (1, *sizes, channels) if last else (1, channels, *sizes)
    w_shape = (group * each, *kernel, inner) if last else (group * each, inner, *kernel)
    x_shape, w_shape = (tuple(map(int, s)) for s in (x_shape, w_shape))
    element = some_type(rng, channels, last, rank)
    net = Net((element, x_shape))
    weights = FixedType(1, 4, 1) if rng.integers(2) else BIPOLAR
    low, high = weights.raw_range
    raw = rng.integers(low, high, w_shape, endpoint=True)
    net.finish(
        inference_spatial.conv(
            "y",
            net.inputs[0],
            net.constant(raw, weights),
            net.fresh,
            strides=strides.tolist(),
            dilations=dilations.tolist(),
            pads=pads.tolist(),
            group=group,
            channels_last=last,
        )
    )
    w = integers(weights, raw, w_shape)

    def expected(x: Array) -> Array:
        return convolve(integers(element, x, x_shape), w, strides, dilations, pads, group, last)

    net.check(expected, seed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30))
def test_pads_never_win_a_pool(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank, last, channels = int(rng.integers(1, 3)), bool(rng.integers(2)), int(rng.integers(1, 4))
    kernel, strides = rng.integers(1, 4, rank), rng.integers(1, 4, rank)
    dilations = rng.integers(1, 3, rank)
    pads = rng.integers(0, np.tile(kernel, 2))
    sizes = dilations * (kernel - 1) + 1 + rng.integers(0, 4, rank)
    x_shape = tuple(map(int, (1, *sizes, channels) if last else (1, channels, *sizes)))
    element = some_type(rng, 1, last, rank)
    net = Net((element, x_shape))
    net.finish(
        inference_spatial.max_pool(
            "y",
            net.inputs[0],
            kernel.tolist(),
            net.fresh,
            strides=strides.tolist(),
            dilations=dilations.tolist(),
            pads=pads.tolist(),
            channels_last=last,
        )
    )

    def expected(x: Array) -> Array:
        x = np.moveaxis(x, -1, 1) if last else x
        counts = [
            (sizes[i] + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i]
            + 1
            for i in range(rank)
        ]
        result = np.zeros((1, channels, *counts), np.int64)
        for c, *at in product(*map(range, result.shape[1:])):
            seen = list[int]()
            for k in product(*map(range, kernel)):
                place = [at[i] * strides[i] - pads[i] + k[i] * dilations[i] for i in range(rank)]
                if all(0 <= p < size for p, size in zip(place, sizes, strict=True)):
                    seen.append(int(x[(0, c, *place)]))
            result[(0, c, *at)] = max(seen)
        return np.moveaxis(result, 1, -1) if last else result

    net.check(expected, seed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from(list(Reduction)))
def test_reductions_over_any_axes(seed: int, kind: Reduction) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    shape = tuple(rng.integers(1, 4, rank + 1).tolist())
    axes = rng.choice(rank + 1, int(rng.integers(1, rank + 2)), replace=False) - rank - 1
    element = some_type(rng, shape[-1], True, rank)
    net = Net((element, shape))
    made = net.finish(inference_spatial.reduce("y", net.inputs[0], kind, axes.tolist(), net.fresh))

    def expected(x: Array) -> Array:
        values = integers(element, x, shape).astype(object)
        best = {Reduction.SUM: np.sum, Reduction.MAX: np.max, Reduction.MIN: np.min}[kind]
        whole = best(values, axis=tuple(axes.tolist()), keepdims=True)
        to = grid(made.result)  # the result may have raw integers, or another zero point
        return (whole - to.shift.astype(object)) // to.weight

    net.check(expected, seed)


@pytest.mark.parametrize("kind", [Reduction.MAX, Reduction.MIN])
def test_extrema_meet_on_a_common_step(kind: Reduction) -> None:
    types = FixedType(1, 4, 2), scaled(False, 3, 2), FixedType(1, 3, 0)
    net = Net((types[0], (2, 3)), (types[1], (1, 3)))
    fixed = net.constant(np.array([[1], [-3]]), types[2])
    best: Callable[[list[Fraction]], Fraction] = max if kind is Reduction.MAX else min
    made = net.finish(inference_spatial.extremum("y", [*net.inputs, fixed], kind))

    def expected(x: Array, y: Array) -> Array:
        result = np.zeros((2, 3), object)
        for row, column in product(range(2), range(3)):
            numbers = [
                Fraction(int(x[row, column]), 4),
                Fraction(int(y[0, column]) - 2, 4),
                Fraction((1, -3)[row]),
            ]
            step: Fraction = grid(made.result).step.item()
            result[row, column] = best(numbers) / step
        return result

    net.check(expected, 3)


def _conv(net: Net, x: SSAValue, weights: Array, pads: Sequence[int], last: bool) -> None:
    rank = len(pads) // 2
    net.finish(
        inference_spatial.conv(
            "y",
            x,
            net.constant(weights, FixedType(1, 6, 0)),
            net.fresh,
            strides=[1] * rank,
            dilations=[1] * rank,
            pads=pads,
            channels_last=last,
        )
    )


def test_one_kernel_serves_every_position() -> None:
    rng = np.random.default_rng(4)
    net = Net((FixedType(1, 5, 0), (1, 50, 3)))
    weights = rng.integers(-20, 20, (4, 5, 3))
    _conv(net, net.inputs[0], weights, [2, 2], last=True)

    def expected(x: Array) -> Array:
        return convolve(x.astype(object), weights, [1], [1], [2, 2], 1, True)

    module = net.check(expected, 9)
    (dense,) = [op for op in graph_of(module).stages if isinstance(op, qflow.DenseOp)]
    assert dense.positions == 50
    QflowToAffine().apply(CONTEXT, module)
    calls = [op.callee.string_value() for op in module.walk() if isinstance(op, CallOp)]
    kernels = [
        op for op in module.walk() if isinstance(op, FuncOp) and "kernel" in str(op.sym_name)
    ]
    (kernel,) = [op.sym_name.data for op in kernels]
    assert calls.count(kernel) == 50


def test_an_image_that_is_too_large_for_one_beat_is_refused() -> None:
    net = Net((FixedType(0, 8, 8), (1, 3, 256, 256)))
    _conv(net, net.inputs[0], np.ones((16, 3, 3, 3), np.int64), [1] * 4, last=False)
    with pytest.raises(FastmlError, match=r"65536 windows of 27 elements.*--io stream"):
        FastmlToQflow().apply(CONTEXT, net.module)


def test_products_of_too_many_positions_are_refused() -> None:
    net = Net((FixedType(0, 8, 8), (1, 64, 64, 8)))
    _conv(net, net.inputs[0], np.ones((64, 1, 1, 8), np.int64), [0] * 4, last=True)
    FastmlToQflow().apply(CONTEXT, net.module)
    with pytest.raises(FastmlError, match=r"2097152 products at 4096 positions.*--io stream"):
        QflowSolve().apply(CONTEXT, net.module)
