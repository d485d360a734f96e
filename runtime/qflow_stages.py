"""Stages of the ``qflow`` level, beat by beat, in exact integers.

A dense stage that has an adder graph runs the graph; the graph is compared with the matrix
first (both are linear, so the unit vectors prove it).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import ArrayAttr, Integers, integer_array
from fastml.dialects.qflow import AdderGraphAttr, channel_of

EXACT_FLOAT = 1 << 53
"""Below this magnitude, a float64 matrix product of integers is exact."""
_CHUNK = 1024


def run_stage(stage: qflow.StageOp, operands: list[Integers]) -> Integers:
    """Return the beats of one stage, exactly, after its adder graph was checked."""
    check_stage(stage)
    return compute_stage(stage, operands)


def check_stage(stage: qflow.StageOp, matrix: Integers | None = None) -> None:
    """Raise :class:`FastmlError` where an adder graph is not what its stage says.

    A dense stage may have another ``matrix`` than its own.
    """
    match stage:
        case qflow.DenseOp(graph=AdderGraphAttr() as graph):
            own = stage.matrix.integers if matrix is None else matrix
            _check_graph(stage, graph, own, stage.bias.integers)
        case qflow.CombineOp(graph=AdderGraphAttr() as graph):
            _check_combine(stage, graph)
        case _:
            pass


def compute_stage(
    stage: qflow.StageOp, operands: list[Integers], matrix: Integers | None = None
) -> Integers:
    """Return the beats of one stage, exactly; its adder graph is taken to be right."""
    match stage:
        case qflow.DenseOp():
            own = stage.matrix.integers if matrix is None else matrix
            return _dense(stage, operands[0], own)
        case qflow.CombineOp():
            return _combine(stage, operands)
        case qflow.MultiplyOp():
            left, right = operands
            wide = _is_wide(stage.result) or object in (left.dtype, right.dtype)
            return left.astype(object) * right if wide else left * right
        case qflow.RearrangeOp():
            return _rearrange(stage, operands)
        case qflow.MaximumOp():
            return stage.evaluate(np.concatenate(operands, axis=1))
        case qflow.ElementStageOp():
            return stage.evaluate(operands[0])
        case _:
            raise FastmlError("this stage has no interpretation", stage)


def _rearrange(stage: qflow.RearrangeOp, operands: list[Integers]) -> Integers:
    beat = np.concatenate(operands, axis=1)
    if stage.fill is not None:
        fill = np.broadcast_to(stage.constants, (len(beat), len(stage.constants)))
        beat = np.concatenate([beat, fill], axis=1)
    return beat[:, stage.index.integers]


def _is_wide(value: SSAValue) -> bool:
    channel = channel_of(value)
    return object in (channel.lows.dtype, channel.highs.dtype)


def _dense(stage: qflow.DenseOp, x: Integers, matrix: Integers) -> Integers:
    bias = stage.bias.integers
    rows, columns = matrix.shape
    blocks = x.reshape(-1, rows)
    if stage.graph is None:
        result = matrix_product(blocks, matrix, bias)
    else:
        result = run_adder_graph(stage.graph, blocks)
    return result.reshape(len(x), stage.positions * columns)


def _combine(stage: qflow.CombineOp, operands: list[Integers]) -> Integers:
    coefficients, bias = stage.coefficients.integers, stage.bias.integers
    wide = object in (coefficients.dtype, bias.dtype, *(x.dtype for x in operands))
    if wide or _is_wide(stage.result):
        operands = [x.astype(object) for x in operands]
    total = sum(x * row for x, row in zip(operands, coefficients, strict=True)) + bias
    if stage.graph is not None:
        total = run_adder_graph(stage.graph, np.concatenate(operands, axis=1))
    return integer_array(total)


def _check_combine(stage: qflow.CombineOp, graph: AdderGraphAttr) -> None:
    """Compare an elementwise adder graph with its coefficients, all elements at once.

    Elements share no adder, so one probe for each operand tells every coefficient, but for
    elements that are constant: those a graph may take as known.
    """
    operands, count = stage.coefficients.array.shape
    low, high = (np.stack(bounds) for bounds in zip(*map(_bounds, stage.inputs), strict=True))
    base = np.where(low == high, low, 0)
    steps = np.concatenate([np.zeros((1, operands), np.int64), np.eye(operands, dtype=np.int64)])
    probes = base + steps[:, :, None] * (low != high)
    probes = integer_array(probes)
    answers = run_adder_graph(graph, probes.reshape(operands + 1, -1)).astype(object)
    expected = (probes * stage.coefficients.integers).sum(axis=1) + stage.bias.integers
    own = np.tile(np.arange(int(count)), int(operands))
    if not np.array_equal(answers, expected) or not _elements_are_separate(graph, own):
        raise FastmlError("the adder graph does not equal the coefficients", stage)


def _bounds(value: SSAValue) -> tuple[Integers, Integers]:
    channel = channel_of(value)
    return channel.lows.astype(object), channel.highs.astype(object)


def _elements_are_separate(graph: AdderGraphAttr, owner: NDArray[np.int64]) -> bool:
    """Return whether every adder and output ``i`` use inputs of element ``i`` alone."""
    owners = owner.tolist()
    for left, right in zip(_numbers(graph.left), _numbers(graph.right), strict=True):
        if right >= 0 and owners[left] != owners[right]:
            return False
        owners.append(owners[left])
    out = _numbers(graph.out_id)
    return all(value < 0 or owners[value] == element for element, value in enumerate(out))


def _check_graph(
    stage: qflow.DenseOp, graph: AdderGraphAttr, matrix: Integers, bias: Integers
) -> None:
    """Compare an adder graph with its matrix, row by row.

    A row whose input is constant the graph may take as known.
    """
    rows = len(matrix)
    low, high = _bounds(stage.input)
    low, high = low.reshape(-1, rows).min(axis=0), high.reshape(-1, rows).max(axis=0)
    base = np.where(low == high, low, 0)[None, :]
    zero = run_adder_graph(graph, integer_array(base)).astype(object)[0]
    same = np.array_equal(zero, (base[0] @ matrix.astype(object)) + bias)
    varying = np.flatnonzero(low != high)
    for at in range(0, len(varying), _CHUNK):
        block = varying[at : at + _CHUNK]
        units = np.eye(rows, dtype=np.int64)[block] + base
        answers = run_adder_graph(graph, integer_array(units)).astype(object)
        same = same and np.array_equal(answers, matrix[block] + zero)
    if not same:
        raise FastmlError("the adder graph does not equal the matrix", stage)


def matrix_product(x: Integers, matrix: Integers, bias: Integers) -> Integers:
    """Return ``x @ matrix + bias`` exactly, through BLAS where float64 is exact."""
    largest = _magnitude(x) * _magnitude(matrix) * len(matrix)
    if largest < EXACT_FLOAT:
        product = (x.astype(np.float64) @ matrix.astype(np.float64)).astype(np.int64)
    elif largest < 1 << 62:
        product = x.astype(np.int64) @ matrix.astype(np.int64)
    else:
        product = x.astype(object) @ matrix.astype(object)
    wide = largest + _magnitude(bias) >= 1 << 62
    return integer_array(product.astype(object) + bias if wide else product + bias)


def _magnitude(values: Integers) -> int:
    return max(-int(values.min(initial=0)), int(values.max(initial=0)))


_ADDERS: list[Callable[[Integers, Integers], Integers]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: b - a,
]


def run_adder_graph(graph: AdderGraphAttr, x: Integers) -> Integers:
    """Return the outputs of an adder graph for inputs ``(frames, inputs)``, exactly."""
    values = list[Integers]()
    values.extend(_as_columns(graph, x))
    rows = zip(
        _numbers(graph.left),
        _numbers(graph.right),
        _numbers(graph.shift),
        _numbers(graph.operation),
        _numbers(graph.constant),
        strict=True,
    )
    for left, right, shift, operation, constant in rows:
        a: Integers = values[left]
        b: Integers = np.full_like(a, constant) if right < 0 else values[right]
        if shift < 0:
            a = a << -shift
        elif shift:
            b = b << shift
        values.append(_ADDERS[operation](a, b))
    columns = list[Integers]()
    outputs = zip(
        _numbers(graph.out_id),
        _numbers(graph.out_shift),
        _numbers(graph.out_constant),
        strict=True,
    )
    for number, shift, constant in outputs:
        if number < 0:
            kind = np.int64 if abs(constant) < 1 << 62 else object
            columns.append(np.full(len(x), constant, kind))
        else:
            columns.append(values[number] << shift)
    if not columns:
        return np.zeros((len(x), 0), np.int64)
    return integer_array(np.stack(columns, axis=1))


def _numbers(attribute: ArrayAttr) -> list[int]:
    return attribute.integers.tolist()


def _as_columns(graph: AdderGraphAttr, x: Integers) -> Integers:
    """Return the inputs as rows, in Python integers if any value may pass 62 bits."""
    bits = [_magnitude(x).bit_length()] * x.shape[1]
    shifts = _numbers(graph.shift)
    constants = _numbers(graph.constant)
    pairs = zip(_numbers(graph.left), _numbers(graph.right), strict=True)
    for (left, right), shift, constant in zip(pairs, shifts, constants, strict=True):
        b = int(constant).bit_length() if right < 0 else bits[right]
        bits.append(max(bits[left] + max(-shift, 0), b + max(shift, 0)) + 1)
    out = [
        bits[number] + shift
        for number, shift in zip(_numbers(graph.out_id), _numbers(graph.out_shift), strict=True)
        if number >= 0
    ]
    worst = max([*bits, *out], default=0)
    # bits bounds the magnitude of every partial sum from above, coarsely
    if x.dtype == object or worst > 62:
        return x.astype(object).T
    return np.ascontiguousarray(x.T)
