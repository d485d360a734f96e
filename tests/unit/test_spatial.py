"""Convolutions, pools, reductions and extrema: the interpreter against plain loops."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from xdsl.dialects.builtin import TensorType, f32
from xdsl.ir import Attribute, Operation, SSAValue

from fastml.dialects import inference_spatial as spatial
from fastml.dialects.array import ArrayAttr, integer_array
from fastml.dialects.fastml import (
    ConstantOp,
    ConvOp,
    LayerOp,
    MaxPoolOp,
    NetworkOp,
    OutputOp,
    Reduction,
    element_type,
)
from fastml.dialects.fastml_spatial import windows_over
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, RatioType, ScaledType
from fastml.dialects.inference import GridError
from fastml.runtime.fastml import evaluate_raw

Array = NDArray[Any]
Build = Callable[..., list[Operation]]


def scaled(signed: int, width: int, scale: ArrayLike, zero_point: ArrayLike = 0) -> ScaledType:
    scales, zeros = np.asarray(scale, np.float32), np.asarray(zero_point, np.int64)
    return ScaledType(signed, width, ArrayAttr.get(scales), ArrayAttr.get(zeros))


def network(
    inputs: dict[str, tuple[Attribute, tuple[int, ...]]], build: Build
) -> tuple[NetworkOp, list[Operation]]:
    """Return a verified network of what ``build`` makes of inputs, and its operations."""
    types = {name: TensorType(element, shape) for name, (element, shape) in inputs.items()}
    made = NetworkOp("n", types, ["out"])
    block = made.body.block
    operations = build(*block.args)
    used = [v.owner for o in operations for v in o.operands if isinstance(v.owner, ConstantOp)]
    constants = [owner for owner in dict.fromkeys(used) if owner not in operations]
    block.add_ops([*constants, *operations, OutputOp([operations[-1].results[0]])])
    made.verify()
    return made, operations


def raw_values(element: QuantisedType, shape: Sequence[int], rng: np.random.Generator) -> Array:
    low, high = element.raw_range
    if high >= 1 << 62:
        shifts = rng.integers(0, 40, shape).astype(object)
        return integer_array(low + (high - low >> 1) + (rng.integers(-9, 9, shape) << shifts))
    values = rng.integers(low, high, shape, endpoint=True)
    values[:1] = low
    values[1:2] = high
    return values


def integers(value: SSAValue, raw: Array) -> Array:
    """Return exact integers of raw ones, frames in front of one sample's shape."""
    element = element_type(value)
    assert isinstance(element, QuantisedType)
    return element.integer(raw[:, None])[:, 0].astype(object)


def plain_convolution(images: Array, op: ConvOp) -> Array:
    """Convolve ``[F, C, *spatial]`` by loops over everything."""
    weights, windows = op.matrices.astype(object), op.windows
    outputs, inner = weights.shape[:2]
    of_group = outputs // op.group.data
    counts = [window.count for window in windows]
    made = np.zeros((len(images), outputs, *counts), object)
    for output, channel in itertools.product(range(outputs), range(inner)):
        source = output // of_group * inner + channel
        for place in np.ndindex(*counts):
            for tap in np.ndindex(*(window.kernel for window in windows)):
                read = [w.table[p, k] for w, p, k in zip(windows, place, tap, strict=True)]
                if min(read) >= 0:
                    pixel = images[(slice(None), source, *read)]
                    made[(slice(None), output, *place)] += pixel * weights[(output, channel, *tap)]
    return made


class Geometry(TypedDict):
    strides: list[int]
    dilations: list[int]
    pads: list[int]


def geometry(rng: np.random.Generator, rank: int) -> Geometry:
    return Geometry(
        strides=rng.integers(1, 4, rank).tolist(),
        dilations=rng.integers(1, 3, rank).tolist(),
        pads=rng.integers(0, 3, 2 * rank).tolist(),
    )


ELEMENTS: list[QuantisedType] = [
    FixedType(1, 5, 2),
    FixedType(0, 20, -3),
    FixedType(1, 70, 0),
    scaled(0, 4, 0.1, 3),
    scaled(1, 3, 0.7),
    RatioType(0, 8, 255),
    BipolarType(ArrayAttr.get(np.float32(0.5))),
]


@pytest.mark.parametrize("seed", range(40))
def test_convolutions_equal_plain_loops(seed: int):
    rng = np.random.default_rng(seed)
    rank, last = 1 + seed % 2, bool(rng.integers(2))
    group, inner, per_group = (int(n) for n in rng.integers(1, 4, 3))
    kernel = tuple(rng.integers(1, 4, rank).tolist())
    sizes = tuple(rng.integers(7, 10, rank).tolist())
    element = ELEMENTS[seed % len(ELEMENTS)]
    bits = 40 if seed % 10 == 9 else 4
    weights = integer_array(rng.integers(-(1 << bits - 1), 1 << bits - 1, 10**4))
    filters = (group * per_group, inner, *kernel)
    matrix = weights[: np.prod(filters)].reshape(filters)
    matrix = np.moveaxis(matrix, 1, -1) if last else matrix
    constant = ConstantOp(np.ascontiguousarray(matrix), FixedType(1, bits, 1))
    shape = (1, *sizes, group * inner) if last else (1, group * inner, *sizes)

    def build(x: SSAValue) -> list[Operation]:
        at = geometry(rng, rank)
        return spatial.conv("c", x, constant.result, str, group=group, channels_last=last, **at)

    made, (op,) = network({"x": (element, shape)}, build)
    assert isinstance(op, ConvOp)
    raw = raw_values(element, (5, *shape[1:]), rng)
    got = evaluate_raw(made, {"x": raw})["out"]
    images = integers(op.input, raw)
    expected = plain_convolution(np.moveaxis(images, -1, 1) if last else images, op)
    expected = np.moveaxis(expected, 1, -1) if last else expected
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("last", [False, True])
def test_the_type_of_a_convolution_is_the_narrowest(last: bool):
    """Near the edges only part of the weights act, which may reach further than all."""
    element = scaled(0, 2, 1.0, -4)  # integers 4..7, so that no pad is among them
    weights = np.array([[[5, -5]]])
    constant = ConstantOp(np.moveaxis(weights, 1, -1) if last else weights, FixedType(1, 4, 0))
    shape = (1, 3, 1) if last else (1, 1, 3)

    def build(pads: list[int]) -> Callable[[SSAValue], list[Operation]]:
        def conv(x: SSAValue) -> list[Operation]:
            weights = ConstantOp(constant.value.array, FixedType(1, 4, 0)).result
            at = Geometry(strides=[1], dilations=[1], pads=pads)
            return spatial.conv("c", x, weights, str, channels_last=last, **at)

        return conv

    for pads, bounds in (([0, 0], (-15, 15)), ([1, 0], (-35, 15)), ([0, 1], (-15, 35))):
        _, (op,) = network({"x": (element, shape)}, build(pads))
        width = max(bounds[1], -bounds[0] - 1).bit_length() + 1
        assert element_type(op.results[0]) == FixedType(1, width, 0)


def test_steps_that_differ_within_a_sum_meet_on_their_common_one():
    channels = scaled(1, 4, [[[0.5]], [[0.75]]])
    filters = np.array([[[[0.5, 1.0]], [[2.0, 3.0]]]], np.float32)  # for M, C, H and W
    weights = np.array([[[1, -2], [3, 1]], [[2, 2], [-3, 1]]])
    constant = ConstantOp(weights[:, :, None], scaled(1, 4, filters))

    def build(x: SSAValue) -> list[Operation]:
        at = Geometry(strides=[1, 1], dilations=[1, 1], pads=[0, 1, 0, 0])
        return spatial.conv("c", x, constant.result, str, **at)

    made, operations = network({"x": (channels, (1, 2, 3, 4))}, build)
    assert len(operations) == 3
    raw = raw_values(channels, (6, 2, 3, 4), np.random.default_rng(0))
    real = raw * channels.scale.array.astype(np.float64)
    reals = weights[:, :, None] * filters.astype(np.float64)
    padded = np.pad(real, ((0, 0), (0, 0), (0, 0), (1, 0)))
    expected = np.zeros((6, 2, 3, 4))
    for tap in range(2):
        expected += np.einsum("fchw,mc->fmhw", padded[..., tap : tap + 4], reals[:, :, 0, tap])
    result = element_type(operations[-1].results[0])
    assert isinstance(result, QuantisedType)
    got = result.decode(evaluate_raw(made, {"x": raw})["out"])
    np.testing.assert_array_equal(got, expected.astype(np.float32))


def test_a_depthwise_convolution_keeps_the_scale_of_each_channel():
    element = scaled(1, 4, [[0.1], [0.3]])
    constant = ConstantOp(np.ones((2, 1, 3), np.int64), FixedType(0, 1, 0))

    def build(x: SSAValue) -> list[Operation]:
        at = Geometry(strides=[1], dilations=[1], pads=[0, 0])
        return spatial.conv("c", x, constant.result, str, group=2, **at)

    _, (op,) = network({"x": (element, (1, 2, 5))}, build)
    assert element_type(op.results[0]) == scaled(1, 6, [[[0.1], [0.3]]])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("real", [False, True])
def test_maximum_pools_equal_plain_loops(seed: int, real: bool):
    rng = np.random.default_rng(seed)
    rank, last = 1 + seed % 2, bool(rng.integers(2))
    sizes, kernel = rng.integers(5, 9, rank), rng.integers(1, 4, rank)
    at = geometry(rng, rank)
    at["pads"] = np.minimum(at["pads"], np.tile(kernel - 1, 2)).tolist()
    at["dilations"] = [1] * rank if seed % 3 else at["dilations"]
    element = f32 if real else ELEMENTS[seed % len(ELEMENTS)]
    shape = (1, *sizes.tolist(), 3) if last else (1, 3, *sizes.tolist())

    def build(x: SSAValue) -> list[Operation]:
        return spatial.max_pool("m", x, kernel.tolist(), str, channels_last=last, **at)

    windows = windows_over(
        sizes.tolist(), kernel.tolist(), at["strides"], at["dilations"], at["pads"]
    )
    if any((window.table < 0).all(axis=1).any() for window in windows):
        at["pads"] = [0] * (2 * rank)
    made, (op,) = network({"x": (element, shape)}, build)
    if isinstance(element, QuantisedType):
        images = raw_values(element, (4, *shape[1:]), rng)
    else:
        images = -rng.random((4, *shape[1:]), np.float32)
    got = evaluate_raw(made, {"x": images})["out"]
    assert isinstance(op, MaxPoolOp)
    windows = op.windows
    front = np.moveaxis(images, -1, 1) if last else images
    expected = np.empty((4, 3, *(w.count for w in windows)), images.dtype)
    for place in np.ndindex(*expected.shape[2:]):
        reads = [w.table[p][w.table[p] >= 0] for w, p in zip(windows, place, strict=True)]
        part = front[(slice(None), slice(None), *np.ix_(*reads))]
        expected[(slice(None), slice(None), *place)] = part.reshape(4, 3, -1).max(axis=2)
    np.testing.assert_array_equal(got, np.moveaxis(expected, 1, -1) if last else expected)


@pytest.mark.parametrize("kind", list(Reduction))
@pytest.mark.parametrize("axes", [[-1], [-2, -1], [-3, -1]])
@pytest.mark.parametrize("element", ELEMENTS, ids=str)
def test_reductions_equal_numpy(kind: Reduction, axes: list[int], element: QuantisedType):
    def build(x: SSAValue) -> list[Operation]:
        return spatial.reduce("r", x, kind, axes, str)

    made, (op,) = network({"x": (element, (1, 2, 3, 4))}, build)
    raw = raw_values(element, (6, 2, 3, 4), np.random.default_rng(0))
    got = evaluate_raw(made, {"x": raw})["out"]
    values = integers(op.operands[0], raw) if kind is Reduction.SUM else raw
    function = {"sum": np.sum, "max": np.max, "min": np.min}[str(kind)]
    np.testing.assert_array_equal(got, function(values, axis=tuple(axes), keepdims=True))


@pytest.mark.parametrize("kind", [Reduction.MAX, Reduction.MIN])
def test_extrema_of_scales_that_differ_compare_as_numbers(kind: Reduction):
    a, b = scaled(1, 5, 0.75, 1), FixedType(1, 4, 2)

    def build(x: SSAValue, y: SSAValue) -> list[Operation]:
        return spatial.extremum("e", [x, y], kind)

    made, (op,) = network({"x": (a, (1, 3, 4)), "y": (b, (1, 4))}, build)
    rng = np.random.default_rng(0)
    x, y = raw_values(a, (50, 3, 4), rng), raw_values(b, (50, 4), rng)
    got = evaluate_raw(made, {"x": x, "y": y})["out"]
    result = element_type(op.results[0])
    assert isinstance(result, QuantisedType)
    best = np.maximum if kind is Reduction.MAX else np.minimum
    np.testing.assert_array_equal(result.decode(got), best(a.decode(x), b.decode(y)[:, None]))


def test_an_extremum_of_real_numbers_is_one_of_them():
    def build(x: SSAValue, y: SSAValue) -> list[Operation]:
        return spatial.extremum("e", [x, y], Reduction.MIN)

    made, _ = network({"x": (f32, (1, 3)), "y": (FixedType(1, 4, 1), (1, 3))}, build)
    x = np.array([[0.25, -3, 9]], np.float32)
    got = evaluate_raw(made, {"x": x, "y": np.array([[1, -7, 7]])})["out"]
    np.testing.assert_array_equal(got, np.array([[0.25, -3.5, 3.5]], np.float32))


def test_raw_integers_of_other_scales_are_not_compared():
    element = scaled(1, 4, [0.5, 0.75], [0, 1])

    def build(x: SSAValue) -> list[Operation]:
        return spatial.reduce("r", x, Reduction.MAX, [-1], str)

    made, (cast, op) = network({"x": (element, (1, 2))}, build)
    assert isinstance(cast, LayerOp)
    raw = raw_values(element, (60, 2), np.random.default_rng(0))
    got = evaluate_raw(made, {"x": raw})["out"]
    result = element_type(op.results[0])
    assert isinstance(result, QuantisedType)
    np.testing.assert_array_equal(result.decode(got)[:, 0], element.decode(raw).max(axis=1))


def test_steps_without_a_common_one_of_few_bits_are_refused():
    element = scaled(1, 4, [2.0**-60, 2.0**60])

    def build(x: SSAValue) -> list[Operation]:
        return spatial.reduce("r", x, Reduction.SUM, [-1], str)

    with pytest.raises(GridError, match="common step needs 120 more bits"):
        network({"x": (element, (1, 2))}, build)
