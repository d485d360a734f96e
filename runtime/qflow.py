"""Interpreter of the ``qflow`` level: beats of exact integers, and their cycles.

A beat is a row of integers, a batch of frames an array ``(frames, elements)``. A dense stage
that has an adder graph runs the graph; the graph is compared with the matrix first (both are
linear, so the unit vectors prove it). Cycles are those of the schedule in the IR.
"""

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import Array, integer_array
from fastml.dialects.qflow import AdderGraphAttr, channel_of
from fastml.runtime.trace import Integers, Signal, Stimulus, Trace

EXACT_FLOAT = 1 << 53
"""Below this magnitude, a float64 matrix product of integers is exact."""
_CHUNK = 1024


def graph_of(module: ModuleOp) -> qflow.GraphOp:
    """Return the module's one graph."""
    graphs = [op for op in module.ops if isinstance(op, qflow.GraphOp)]
    if len(graphs) != 1:
        raise FastmlError(f"needs exactly one qflow.graph, got {len(graphs)}", module)
    return graphs[0]


def evaluate(
    module: ModuleOp, beats: dict[str, Integers], taps: Collection[str] = ()
) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """Run beats by edge name through the graph; return outputs and taps by edge name.

    Raises :class:`FastmlError` where a beat is missing, has the wrong size or holds a value
    outside its channel's range, or where a tap is no edge of the graph.
    """
    graph = graph_of(module)
    values = _run(graph, beats)
    edges = _edges(graph)
    unknown = [name for name in taps if name not in edges]
    if unknown:
        raise FastmlError(f"no edge '{unknown[0]}' in the graph", graph, code="FML-USAGE")
    outputs = {name: values[value] for name, value in graph.outputs.items()}
    return outputs, {name: values[edges[name]] for name in taps}


def simulate(module: ModuleOp, stimulus: Stimulus, taps: Collection[str] = ()) -> Trace:
    """Run a stimulus; cycles are predicted from the schedule in the IR.

    Raises :class:`FastmlError` (``FML-NO-SCHEDULE``) where the graph has no schedule, and
    ``FML-SCHEDULE`` where its parts contradict each other.
    """
    graph = graph_of(module)
    if graph.ii is None or graph.latency is None:
        raise FastmlError("the graph has no schedule", graph, code="FML-NO-SCHEDULE")
    check_schedule(graph)
    outputs, tapped = evaluate(module, dict(stimulus.beats), taps)
    offered = stimulus.offer_cycles(graph.ii.data)[:, None]
    edges = _edges(graph)
    signals = {
        name: Signal(values, offered + graph.latency.data) for name, values in outputs.items()
    }
    seen = {
        name: Signal(values, offered + cycles_of(edges[name])) for name, values in tapped.items()
    }
    return Trace(signals, seen)


def cycles_of(value: SSAValue) -> NDArray[np.int64]:
    """Return the cycle of each element of a channel, after its frame's input."""
    owner = value.owner
    if isinstance(owner, qflow.StageOp) and owner.cycles is not None:
        return np.asarray(owner.cycles.array, np.int64)
    if isinstance(owner, qflow.StageOp):
        raise FastmlError("the stage has no schedule", owner, code="FML-NO-SCHEDULE")
    return np.zeros(len(channel_of(value)), np.int64)


def _edges(graph: qflow.GraphOp) -> dict[str, SSAValue]:
    stages = {stage.edge.data: stage.result for stage in graph.stages}
    return dict(graph.inputs) | stages


def _run(graph: qflow.GraphOp, beats: dict[str, Integers]) -> dict[SSAValue, Integers]:
    values = dict[SSAValue, Integers]()
    for name, value in graph.inputs.items():
        if name not in beats:
            raise FastmlError(f"no beats for input '{name}'", graph, code="FML-STIMULUS")
        _check_beats(graph, name, beats[name], value)
        values[value] = beats[name]
    for stage in graph.stages:
        values[stage.result] = run_stage(stage, [values[source] for source in stage.sources])
    return values


def _check_beats(graph: qflow.GraphOp, name: str, beats: Integers, value: SSAValue) -> None:
    channel = channel_of(value)
    if beats.ndim != 2 or beats.shape[1] != len(channel):
        raise FastmlError(
            f"beats of '{name}' have shape {beats.shape}, not (frames, {len(channel)})",
            graph,
            code="FML-STIMULUS",
        )
    outside = (beats < channel.lows) | (beats > channel.highs)
    if np.any(outside):
        frame, element = np.argwhere(outside)[0]
        raise FastmlError(
            f"beat {frame} of '{name}', element {element}, is {beats[frame, element]}: outside "
            f"{channel.lows[element]}..{channel.highs[element]}",
            graph,
            code="FML-STIMULUS",
        )


def run_stage(stage: qflow.StageOp, operands: list[Integers]) -> Integers:
    """Return the beats of one stage, exactly."""
    match stage:
        case qflow.DenseOp():
            return _dense(stage, operands[0])
        case qflow.CombineOp():
            return _combine(stage, operands)
        case qflow.MultiplyOp():
            left, right = operands
            wide = _is_wide(stage.result) or object in (left.dtype, right.dtype)
            return left.astype(object) * right if wide else left * right
        case qflow.RearrangeOp():
            return np.concatenate(operands, axis=1)[:, stage.index.array]
        case qflow.ElementStageOp():
            return stage.evaluate(operands[0])
        case _:
            raise FastmlError("this stage has no interpretation", stage)


def _is_wide(value: SSAValue) -> bool:
    channel = channel_of(value)
    return object in (channel.lows.dtype, channel.highs.dtype)


def _dense(stage: qflow.DenseOp, x: Integers) -> Integers:
    matrix, bias = stage.matrix.array, stage.bias.array
    rows, columns = matrix.shape
    blocks = x.reshape(-1, rows)
    if stage.graph is None:
        result = matrix_product(blocks, matrix, bias)
    else:
        _check_graph(stage, stage.graph, matrix, bias)
        result = run_adder_graph(stage.graph, blocks)
    return result.reshape(len(x), stage.positions * columns)


def _combine(stage: qflow.CombineOp, operands: list[Integers]) -> Integers:
    coefficients, bias = stage.coefficients.array, stage.bias.array
    wide = object in (coefficients.dtype, bias.dtype, *(x.dtype for x in operands))
    if wide or _is_wide(stage.result):
        operands = [x.astype(object) for x in operands]
    total = sum(x * row for x, row in zip(operands, coefficients, strict=True)) + bias
    if stage.graph is not None:
        _check_combine(stage, stage.graph)
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
    expected = (probes * stage.coefficients.array).sum(axis=1) + stage.bias.array
    own = np.tile(np.arange(count), operands)
    if not np.array_equal(answers, expected) or not _elements_are_separate(graph, own):
        raise FastmlError("the adder graph does not equal the coefficients", stage)


def _bounds(value: SSAValue) -> tuple[Integers, Integers]:
    channel = channel_of(value)
    return channel.lows.astype(object), channel.highs.astype(object)


def _elements_are_separate(graph: AdderGraphAttr, owner: NDArray[np.int64]) -> bool:
    """Return whether every adder and output ``i`` use inputs of element ``i`` alone."""
    owners = owner.tolist()
    for left, right in zip(graph.left.array.tolist(), graph.right.array.tolist(), strict=True):
        if right >= 0 and owners[left] != owners[right]:
            return False
        owners.append(owners[left])
    out = graph.out_id.array.tolist()
    return all(value < 0 or owners[value] == element for element, value in enumerate(out))


def _check_graph(stage: qflow.DenseOp, graph: AdderGraphAttr, matrix: Array, bias: Array) -> None:
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


def matrix_product(x: Integers, matrix: Array, bias: Array) -> Integers:
    """Return ``x @ matrix + bias`` exactly, through BLAS where float64 is exact."""
    wide = object in (x.dtype, matrix.dtype, bias.dtype)
    largest = int(np.abs(x).max(initial=0)) * int(np.abs(matrix).max(initial=0)) * len(matrix)
    if not wide and largest < EXACT_FLOAT:
        product = x.astype(np.float64) @ matrix.astype(np.float64)
        return product.astype(np.int64) + bias
    return integer_array(x.astype(object) @ matrix.astype(object) + bias.astype(object))


_ADDERS: list[Callable[[Integers, Integers], Integers]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: b - a,
]


def run_adder_graph(graph: AdderGraphAttr, x: Integers) -> Integers:
    """Return the outputs of an adder graph for inputs ``(frames, inputs)``, exactly."""
    values: list[Integers] = list(_as_columns(graph, x))
    rows = zip(
        graph.left.array.tolist(),
        graph.right.array.tolist(),
        graph.shift.array.tolist(),
        graph.operation.array.tolist(),
        graph.constant.array.tolist(),
        strict=True,
    )
    for left, right, shift, operation, constant in rows:
        a = values[left]
        b = np.full_like(a, constant) if right < 0 else values[right]
        if shift < 0:
            a = a << -shift
        elif shift:
            b = b << shift
        values.append(_ADDERS[operation](a, b))
    columns = list[Integers]()
    outputs = zip(
        graph.out_id.array.tolist(),
        graph.out_shift.array.tolist(),
        graph.out_constant.array.tolist(),
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


def _as_columns(graph: AdderGraphAttr, x: Integers) -> Integers:
    """Return the inputs as rows, in Python integers if any value may pass 62 bits."""
    bits = [int(np.abs(x).max(initial=0)).bit_length()] * x.shape[1]
    shifts = graph.shift.array.tolist()
    constants = graph.constant.array.tolist()
    pairs = zip(graph.left.array.tolist(), graph.right.array.tolist(), strict=True)
    for (left, right), shift, constant in zip(pairs, shifts, constants, strict=True):
        b = int(constant).bit_length() if right < 0 else bits[right]
        bits.append(max(bits[left] + max(-shift, 0), b + max(shift, 0)) + 1)
    out = [
        bits[number] + shift
        for number, shift in zip(
            graph.out_id.array.tolist(), graph.out_shift.array.tolist(), strict=True
        )
        if number >= 0
    ]
    worst = max([*bits, *out], default=0)
    # bits bounds the magnitude of every partial sum from above, coarsely
    if x.dtype == object or worst > 62:
        return x.astype(object).T
    return np.ascontiguousarray(x.T)


def check_schedule(graph: qflow.GraphOp) -> None:
    """Check that cycles are those of the adders that make them, and that none runs early."""
    for stage in graph.stages:
        ready = [cycles_of(source) for source in stage.sources]
        own = cycles_of(stage.result)
        constant = stage.channel.lows == stage.channel.highs
        own = np.where(constant, np.iinfo(np.int64).max, own)
        if isinstance(stage, qflow.DenseOp | qflow.CombineOp) and stage.graph is not None:
            _check_adders(stage, stage.graph, np.concatenate(ready), own)
        elif isinstance(stage, qflow.RearrangeOp):
            if np.any(own < np.concatenate(ready)[stage.index.array]):
                raise _early(stage)
        elif isinstance(stage, qflow.ElementStageOp | qflow.MultiplyOp):
            if any(np.any(own < cycles) for cycles in ready):
                raise _early(stage)
    latest = max((int(cycles_of(v).max(initial=0)) for v in graph.outputs.values()), default=0)
    if graph.latency is not None and graph.latency.data < latest:
        raise FastmlError(
            f"latency {graph.latency.data} is before the last output, in cycle {latest}",
            graph,
            code="FML-SCHEDULE",
        )


def _early(stage: qflow.StageOp) -> FastmlError:
    message = f"edge '{stage.edge.data}' is ready before its operands"
    return FastmlError(message, stage, code="FML-SCHEDULE")


def _check_adders(
    stage: qflow.DenseOp | qflow.CombineOp,
    graph: AdderGraphAttr,
    ready: NDArray[np.int64],
    own: NDArray[np.int64],
) -> None:
    if stage.node_cycles is None:
        raise FastmlError("the adders have no schedule", stage, code="FML-NO-SCHEDULE")
    positions = stage.positions if isinstance(stage, qflow.DenseOp) else 1
    nodes = stage.node_cycles.array.reshape(positions, graph.nodes)
    cycles = np.concatenate([ready.reshape(positions, -1), nodes], axis=1)
    cycles = np.concatenate([cycles, np.zeros((positions, 1), np.int64)], axis=1)
    before = np.maximum(cycles[:, graph.left.array], cycles[:, graph.right.array])
    made = cycles[:, graph.out_id.array].reshape(-1)
    if np.any(nodes < before) or np.any(own < made):
        raise _early(stage)
