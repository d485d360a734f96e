"""Interpreter of the ``qflow`` level: beats of exact integers, and their cycles.

A beat is a row of integers, a batch of frames an array ``(frames, elements)``. A dense stage
that has an adder graph runs the graph; the graph is compared with the matrix first (both are
linear, so the unit vectors prove it). Cycles are those of the schedule in the IR; in a graph
with FIFOs they count from the firings of processes, which depend on the stimulus.
"""

from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import ArrayAttr, Integers, integer_array
from fastml.dialects.qflow import AdderGraphAttr, channel_of
from fastml.dialects.qflow_cycles import Cycles, check_cycles, cycles_of
from fastml.dialects.qflow_network import giving_phases, latency_of, network_of
from fastml.dialects.qflow_processes import processes_of
from fastml.dialects.token_flow import Times
from fastml.dialects.token_flow import simulate as simulate_tokens
from fastml.runtime.trace import Signal, Stimulus, Trace
from fastml.runtime.weights import Memory, refuse_loads, segments_of

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

    Beats have shape ``(frames * beats, elements)``, by the beats a frame of each channel.
    Raises :class:`FastmlError` where a beat is missing, has the wrong size or holds a value
    outside its channel's range, or where a tap is no edge of the graph.
    """
    return _evaluate(graph_of(module), beats, taps, {})


def _evaluate(
    graph: qflow.GraphOp,
    beats: Mapping[str, Integers],
    taps: Collection[str],
    loaded: Mapping[str, Integers],
) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """Evaluate with weights that were loaded, by the edge of their stage."""
    values = _run(graph, beats, loaded)
    edges = _edges(graph)
    unknown = [name for name in taps if name not in edges]
    if unknown:
        raise FastmlError(f"no edge '{unknown[0]}' in the graph", graph, code="FML-USAGE")
    outputs = {name: values[value] for name, value in graph.outputs.items()}
    return outputs, {name: values[edges[name]] for name in taps}


def simulate(module: ModuleOp, stimulus: Stimulus, taps: Collection[str] = ()) -> Trace:
    """Run a stimulus; cycles are predicted from the schedule in the IR.

    Raises :class:`FastmlError` (``FML-NO-SCHEDULE``) where the graph has no schedule,
    ``FML-SCHEDULE`` where its parts contradict each other, and ``FML-DEADLOCK`` where its
    FIFOs are too shallow.
    """
    graph = graph_of(module)
    if graph.ii is None or graph.latency is None:
        raise FastmlError("the graph has no schedule", graph, code="FML-NO-SCHEDULE")
    check_cycles(graph)
    outputs, tapped = _evaluate_loaded(graph, stimulus, taps)
    if graph.is_streaming:
        times = simulate_tokens(network_of(graph), stimulus.waits, stimulus.ready, graph)
        return Trace(
            {name: Signal(beats, times.taken[name][:, None]) for name, beats in outputs.items()},
            {name: Signal(beats, _tapped(graph, times, name)) for name, beats in tapped.items()},
            times.accepted,
            times.fifos,
        )
    offered = stimulus.offer_cycles(graph.ii.data)[:, None]
    edges = _edges(graph)
    signals = {
        name: Signal(values, offered + graph.latency.data) for name, values in outputs.items()
    }
    seen = {
        name: Signal(values, offered + cycles_of(edges[name])) for name, values in tapped.items()
    }
    return Trace(signals, seen)


def loaded_memories(graph: qflow.GraphOp) -> list[Memory]:
    """Return the weights that can be loaded."""
    return [
        Memory(stage.edge.data, *stage.loadable.bounds, stage.matrix.integers, stage.words)
        for stage in graph.stages
        if isinstance(stage, qflow.DenseOp) and stage.loadable is not None
    ]


def _evaluate_loaded(
    graph: qflow.GraphOp, stimulus: Stimulus, taps: Collection[str]
) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """Evaluate frames between loads of weights, one segment after the other."""
    assert graph.ii is not None
    assert graph.latency is not None
    if graph.is_streaming:
        refuse_loads(stimulus, "a network of processes")
        return _evaluate(graph, stimulus.beats, taps, {})
    memories = loaded_memories(graph)
    segments = segments_of(stimulus, memories, graph.ii.data, graph.latency.data)
    if len(segments) == 1:
        return _evaluate(graph, stimulus.beats, taps, segments[0].loads)
    loaded, parts = dict[str, Integers](), list[tuple[dict[str, Integers], ...]]()
    for segment in segments:
        loaded |= segment.loads
        rows = slice(segment.first, segment.stop)
        beats = {name: values[rows] for name, values in stimulus.beats.items()}
        parts.append(_evaluate(graph, beats, taps, loaded))
    outputs, tapped = (
        {name: np.concatenate([part[name] for part in side]) for name in side[0]}
        for side in zip(*parts, strict=True)
    )
    return outputs, tapped


def _tapped(graph: qflow.GraphOp, times: Times, edge: str) -> Cycles:
    """Return the cycle of each element of an edge of a streaming graph."""
    value = _edges(graph)[edge]
    if edge in graph.inputs:
        return times.accepted[edge][:, None] + cycles_of(value)
    process = next(
        process
        for process in processes_of(graph.body.block).processes
        if any(op.result is value for op in process.ops)
    )
    fired = times.fired[process.name].reshape(-1, process.phases)[:, giving_phases(process)]
    own = latency_of(value) if isinstance(value.owner, qflow.BeatsOp) else cycles_of(value)
    return fired.reshape(-1, 1) + np.broadcast_to(own, len(channel_of(value)))


def _edges(graph: qflow.GraphOp) -> dict[str, SSAValue]:
    kinds = (qflow.StageOp, qflow.BeatsOp)
    made = {op.edge.data: op.result for op in graph.body.block.ops if isinstance(op, kinds)}
    return dict(graph.inputs) | made


def _run(
    graph: qflow.GraphOp, beats: Mapping[str, Integers], loaded: Mapping[str, Integers]
) -> dict[SSAValue, Integers]:
    values = dict[SSAValue, Integers]()
    for name, value in graph.inputs.items():
        if name not in beats:
            raise FastmlError(f"no beats for input '{name}'", graph, code="FML-STIMULUS")
        _check_beats(graph, name, beats[name], value)
        values[value] = beats[name]
    _check_frames(graph, beats)
    for op in graph.body.block.ops:
        match op:
            case qflow.DenseOp() if op.edge.data in loaded:
                values[op.result] = _dense(op, values[op.input], loaded[op.edge.data])
            case qflow.StageOp():
                values[op.result] = run_stage(op, [values[source] for source in op.sources])
            case qflow.FifoOp():
                values[op.result] = values[op.input]
            case qflow.BeatsOp():
                values[op.result] = op.convert(values[op.input])
                _check_beats(graph, op.edge.data, values[op.result], op.result)
            case _:
                pass
    return values


def _check_frames(graph: qflow.GraphOp, beats: Mapping[str, Integers]) -> None:
    """Check that all inputs have beats for the same number of whole frames."""
    sizes = {name: channel_of(value).beats.data for name, value in graph.inputs.items()}
    counts = {name: divmod(len(beats[name]), size) for name, size in sizes.items()}
    for name, (_, rest) in counts.items():
        if rest:
            message = f"'{name}' has {len(beats[name])} beats, but a frame has {sizes[name]}"
            raise FastmlError(message, graph, code="FML-STIMULUS")
    if len(set(counts.values())) > 1:
        frames = ", ".join(f"'{name}' {count}" for name, (count, _) in counts.items())
        raise FastmlError(f"inputs differ in frames: {frames}", graph, code="FML-STIMULUS")


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
            return _dense(stage, operands[0], stage.matrix.integers)
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
        _check_graph(stage, stage.graph, matrix, bias)
        result = run_adder_graph(stage.graph, blocks)
    return result.reshape(len(x), stage.positions * columns)


def _combine(stage: qflow.CombineOp, operands: list[Integers]) -> Integers:
    coefficients, bias = stage.coefficients.integers, stage.bias.integers
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
