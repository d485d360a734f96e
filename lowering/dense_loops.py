"""A dense layer as a loop nest: one product a cycle.

::

    for j in outputs:
        sum = bias[j]
        for i in inputs:
            sum += weights[j, i] * x[i]     # read | multiply | accumulate
        y[j] = sum

The nest is one pipeline: a product enters it in every cycle, so that the II of the layer is
the number of its products, and the latency that number plus the depth of the pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseIntElementsAttr,
    DictionaryAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    MemRefType,
    StringAttr,
    TensorType,
    UnitAttr,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.utils.hints import isa

from fastml.dialects import directives
from fastml.dialects.elements import Elements, ranges_of, width_of

READ, MULTIPLY, ACCUMULATE = 0, 1, 2
"""Cycles of an iteration in which its operations execute."""
FIRST = 1
"""Cycle in which the first product is read: the input beat is held from then on."""
DRAIN = 3
"""Cycles from the last read to the beat: multiply, accumulate, store."""
WORD = 64
"""Widest word of a constant memory."""


@dataclass(frozen=True)
class _Ranges:
    """Smallest and largest value of each intermediate result."""

    x: tuple[int, int]
    weight: tuple[int, int]
    bias: tuple[int, int]
    product: tuple[int, int]
    total: tuple[int, int]


def _ranges(matrix: NDArray[np.object_], bias: NDArray[np.object_], inputs: Elements) -> _Ranges:
    """Derive the ranges of products and of all partial sums from those of the inputs."""
    lows, highs = (np.array(bounds, object)[:, None] for bounds in ranges_of(inputs))
    small = np.minimum(matrix * lows, matrix * highs)
    large = np.maximum(matrix * lows, matrix * highs)
    floor = np.concatenate([bias[None], bias + np.cumsum(small, axis=0)])
    ceiling = np.concatenate([bias[None], bias + np.cumsum(large, axis=0)])
    return _Ranges(
        (int(lows.min()), int(highs.max())),
        (int(matrix.min()), int(matrix.max())),
        (int(bias.min()), int(bias.max())),
        (int(small.min()), int(large.max())),
        (int(floor.min()), int(ceiling.max())),
    )


def _type_of(*ranges: tuple[int, int]) -> IntegerType:
    """Return the narrowest two's complement type that holds all ranges."""
    low = min(low for low, _ in ranges)
    high = max(high for _, high in ranges)
    width, signed = width_of(low, high)
    return IntegerType(max(width + (not signed), 1))


def build_dense_loop(
    matrix: NDArray[np.integer] | NDArray[np.object_],
    bias: NDArray[np.integer] | NDArray[np.object_],
    inputs: Elements,
    outputs: Elements,
    name: str,
) -> list[Operation]:
    """Return the function ``y = x @ matrix + bias`` as a scheduled loop nest, and its memories.

    ``matrix`` has the shape (inputs, outputs). The function ``name`` takes one beat of
    ``inputs`` and gives one of ``outputs``, which must hold every sum; its ``fastml.ii`` is
    the number of products, its ``fastml.latency`` counts from the call.
    """
    weights = np.asarray(matrix).astype(object)
    offsets = np.asarray(bias).astype(object)
    rows, columns = weights.shape
    assert weights.size
    assert (len(inputs), len(outputs)) == (rows, columns)
    assert offsets.shape == (columns,)
    ranges = _ranges(weights, offsets, inputs)
    weights_type, bias_type = _type_of(ranges.weight), _type_of(ranges.bias)
    assert max(weights_type.width.data, bias_type.width.data) <= WORD
    memories = [
        _constant(f"{name}_weights", weights.T, weights_type),
        _constant(f"{name}_bias", offsets, bias_type),
    ]
    types = [_memref(len(layout), layout) for layout in (inputs, outputs)]
    block = Block(arg_types=types)
    x, y = block.args
    x.name_hint, y.name_hint = "x", "y"
    w = _add(block, _get(memories[0]), "weights")
    b = _add(block, _get(memories[1]), "bias")
    _nest(block, (x, w, b, y), (rows, columns), ranges, outputs)
    block.add_op(func.ReturnOp())
    function = func.FuncOp(name, (types, []), Region(block), visibility="private")
    function.arg_attrs = ArrayAttr([_described("x", inputs, "in"), _described("y", outputs, "out")])
    products = rows * columns
    function.attributes[directives.II] = IntegerAttr(products, i64)
    latency = FIRST + (products - 1) + DRAIN + 1
    function.attributes[directives.LATENCY] = IntegerAttr(latency, i64)
    return [*memories, function]


def _nest(
    block: Block,
    memories: tuple[SSAValue, SSAValue, SSAValue, SSAValue],
    size: tuple[int, int],
    ranges: _Ranges,
    outputs: Elements,
) -> None:
    """Build the two loops."""
    x, w, b, y = memories
    rows, columns = size
    total = _type_of(ranges.total, ranges.bias)
    outer = Block(arg_types=[IndexType()])
    (j,) = outer.args
    j.name_hint = "j"
    start = _add(outer, affine.LoadOp(b, [j]), "start")
    start = _resize(outer, start, total, sign=True)
    inner = Block(arg_types=[IndexType(), total])
    i, partial = inner.args
    i.name_hint, partial.name_hint = "i", "partial"
    product = _product(inner, x, w, (j, i), ranges)
    product = _resize(inner, product, total, sign=True)
    accumulate = arith.AddiOp(partial, product)
    _add(inner, _at(accumulate, ACCUMULATE), "sum")
    inner.add_op(affine.YieldOp.get(accumulate.result))
    done = _loop(inner, rows, interval=1, inits=[start], results=[total])
    finished = _add(outer, done, "total")
    container = max(outputs.container[0], 1)
    last = rows - 1 + DRAIN
    stored = _stored(outer, finished, IntegerType(container), last)
    outer.add_op(affine.StoreOp(stored, y, [j]))
    outer.add_op(affine.YieldOp.get())
    nest = _loop(outer, columns, interval=rows, inits=[], results=[])
    block.add_op(_at(nest, FIRST))


def _product(
    block: Block, x: SSAValue, w: SSAValue, at: tuple[SSAValue, SSAValue], ranges: _Ranges
) -> SSAValue:
    """Read both factors and multiply them, one cycle later, without loss."""
    j, i = at
    product = _type_of(ranges.product, ranges.x, ranges.weight)
    value = _add(block, affine.LoadOp(x, [i]), "value")
    weight = _add(block, affine.LoadOp(w, [j, i]), "weight")
    value = _resize(block, value, product, sign=ranges.x[0] < 0)
    weight = _resize(block, weight, product, sign=True)
    return _add(block, _at(arith.MuliOp(value, weight), MULTIPLY), "product")


def _stored(block: Block, value: SSAValue, target: IntegerType, cycle: int) -> SSAValue:
    """Bring a sum into the type of the memory, behind a register of its own."""
    source = _width(value)
    if source > target.width.data:
        op: Operation = arith.TruncIOp(value, target)
    elif source < target.width.data:
        op = arith.ExtSIOp(value, target)
    else:
        zero = _add(block, arith.ConstantOp(IntegerAttr(0, target)), "zero")
        op = arith.OrIOp(value, zero)
    return _add(block, _at(op, cycle), "stored")


def _resize(block: Block, value: SSAValue, target: IntegerType, *, sign: bool) -> SSAValue:
    """Extend ``value`` to ``target``, or wrap it where the sum that it is part of fits."""
    source = _width(value)
    if source == target.width.data:
        return value
    if source > target.width.data:
        return _add(block, arith.TruncIOp(value, target), None)
    extended = arith.ExtSIOp(value, target) if sign else arith.ExtUIOp(value, target)
    return _add(block, extended, None)


def _width(value: SSAValue) -> int:
    value_type = value.type
    assert isa(value_type, IntegerType)
    return value_type.width.data


def _loop(
    body: Block,
    trips: int,
    *,
    interval: int,
    inits: Sequence[SSAValue],
    results: Sequence[Attribute],
) -> affine.ForOp:
    loop = affine.ForOp.from_region([], [], inits, results, 0, trips, Region(body))
    loop.attributes[directives.PIPELINE] = IntegerAttr(interval, i64)
    return loop


def _at(op: Operation, cycle: int) -> Operation:
    op.attributes[directives.START] = IntegerAttr(cycle, i64)
    return op


def _add(block: Block, op: Operation, name: str | None) -> SSAValue:
    block.add_op(op)
    op.results[0].name_hint = name
    return op.results[0]


def _get(memory: memref.GlobalOp) -> memref.GetGlobalOp:
    return memref.GetGlobalOp(memory.sym_name.data, memory.type)


def _constant(name: str, words: NDArray[np.object_], word: IntegerType) -> memref.GlobalOp:
    shape = list(words.shape)
    contents = DenseIntElementsAttr.from_list(TensorType(word, shape), words.ravel().tolist())
    return memref.GlobalOp.get(
        StringAttr(name), MemRefType(word, shape), contents, constant=UnitAttr()
    )


def _memref(size: int, layout: Elements) -> MemRefType[IntegerType]:
    return MemRefType(IntegerType(max(layout.container[0], 1)), [size])


def _described(port: str, layout: Elements, direction: str) -> DictionaryAttr:
    return DictionaryAttr(
        {
            directives.PORT: StringAttr(port),
            directives.ELEMENTS: StringAttr(str(layout)),
            directives.DIRECTION: StringAttr(direction),
        }
    )
