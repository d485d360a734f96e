"""Random graphs of every stage: one meaning and one timing at both levels, legal in both."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.array import ArrayAttr, integer_array
from fastml.dialects.qflow import ChannelType, Rounding, channel_of
from fastml.dialects.qflow_cycles import check_cycles
from fastml.lowering.check_schedule import CheckSchedule
from fastml.lowering.qflow_schedule import QflowSchedule
from fastml.lowering.qflow_solve import QflowSolve
from fastml.lowering.qflow_to_affine import QflowToAffine
from fastml.runtime import affine as affine_level
from fastml.runtime import qflow as qflow_level
from fastml.runtime.trace import Stimulus

Array = NDArray[Any]
CONTEXT = Context()
MAX_BITS = 150


def channel(lows: Any, highs: Any) -> ChannelType:
    low, high = integer_array(np.array(lows, object)), integer_array(np.array(highs, object))
    return ChannelType.of((len(low),), low, high)


class Random:
    """A random graph, grown stage by stage."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.count = int(self.rng.integers(1, 5))
        inputs = {f"in{k}": self.input() for k in range(int(self.rng.integers(1, 3)))}
        self.graph = qflow.GraphOp("random", inputs, [])
        self.values: list[SSAValue] = list(self.graph.body.block.args)
        makers = [
            *[self.dense, self.combine, self.multiply, self.rearrange],
            *[self.rescale, self.threshold, self.lookup, self.extremum, self.wrap],
        ]
        for number in range(int(self.rng.integers(1, 8))):
            maker = makers[int(self.rng.integers(len(makers)))]
            stage = maker(f"edge{number}")
            if max(stage.channel.elements.widths) <= MAX_BITS:
                self.graph.body.block.add_op(stage)
                self.values.append(stage.result)
        chosen = self.rng.choice(len(self.values), int(self.rng.integers(1, 4)))
        outputs = [self.values[k] for k in dict.fromkeys([*chosen.tolist(), -1 % len(self.values)])]
        self.graph.body.block.add_op(qflow.YieldOp(outputs))
        names = [f"out{k}" for k in range(len(outputs))]
        self.graph.output_names = type(self.graph.output_names)([StringAttr(n) for n in names])
        self.module = ModuleOp([self.graph])
        self.module.verify()

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def input(self) -> ChannelType:
        lows, highs = list[int](), list[int]()
        for _ in range(self.count):
            bits = int(self.rng.choice([0, 1, 3, 6, 12, 30, 64]))
            wide = self.integer(0, (1 << min(bits, 62)) - 1) << max(bits - 62, 0)
            lows.append(-(wide >> self.integer(0, 2)) if self.rng.random() < 0.6 else 0)
            highs.append(wide)
        return channel(lows, highs)

    def pick(self) -> SSAValue:
        return self.values[self.integer(0, len(self.values) - 1)]

    def sized(self, count: int, edge: str) -> SSAValue:
        source = self.pick()
        if len(channel_of(source)) == count:
            return source
        index = self.rng.integers(0, len(channel_of(source)), count)
        stage = qflow.RearrangeOp(edge, [source], index, (count,))
        self.graph.body.block.add_op(stage)
        return stage.result

    def dense(self, edge: str) -> qflow.StageOp:
        source = self.pick()
        count = len(channel_of(source))
        rows = int(self.rng.choice([d for d in range(1, count + 1) if count % d == 0]))
        columns = self.integer(1, 4)
        matrix = self.rng.integers(-9, 10, (rows, columns)) * (
            self.rng.random((rows, columns)) < 0.8
        )
        bias = self.rng.integers(-30, 30, columns) * self.integer(0, 1)
        return qflow.DenseOp(edge, source, matrix, bias, (count // rows * columns,))

    def combine(self, edge: str) -> qflow.StageOp:
        first = self.pick()
        count = len(channel_of(first))
        sources = [first] + [self.sized(count, f"{edge}:{k}") for k in range(self.integer(0, 2))]
        coefficients = self.rng.integers(-3, 4, (len(sources), count))
        return qflow.CombineOp(
            edge, sources, coefficients, self.rng.integers(-9, 9, count), (count,)
        )

    def multiply(self, edge: str) -> qflow.StageOp:
        left = self.pick()
        count = len(channel_of(left))
        right = left if self.rng.random() < 0.3 else self.sized(count, f"{edge}:right")
        return qflow.MultiplyOp(edge, left, right, (count,))

    def rearrange(self, edge: str) -> qflow.StageOp:
        sources = [self.pick() for _ in range(self.integer(1, 3))]
        total = sum(len(channel_of(x)) for x in sources)
        fill = self.rng.integers(-9, 9, self.integer(0, 2))
        index = self.rng.integers(0, total + len(fill), self.integer(1, 9))
        return qflow.RearrangeOp(edge, sources, index, (len(index),), fill)

    def extremum(self, edge: str) -> qflow.StageOp:
        sources = [self.pick() for _ in range(self.integer(1, 3))]
        total = sum(len(channel_of(x)) for x in sources)
        index = self.rng.integers(0, total, (self.integer(1, 4), self.integer(1, 6)))
        kind = list(qflow.Extremum)[self.integer(0, 1)]
        return qflow.MaximumOp(edge, sources, index, (len(index),), kind)

    def rescale(self, edge: str) -> qflow.StageOp:
        source = self.pick()
        count = len(channel_of(source))
        low = self.rng.integers(-40, 4, count)
        if self.rng.random() < 0.2:
            low = low << 40
        return qflow.RescaleOp(
            edge, source, self.rng.integers(-20, 20, count) * self.integer(0, 1),
            self.rng.integers(0, 7, count), list(Rounding)[self.integer(0, 2)],
            low, low + self.rng.integers(0, 90, count), (count,),
        )  # fmt: skip

    def wrap(self, edge: str) -> qflow.StageOp:
        source = self.pick()
        count = len(channel_of(source))
        width, signed = self.rng.integers(1, 9, count), self.rng.integers(0, 2, count)
        return qflow.WrapOp(edge, source, width, signed, (count,))

    def within(self, source: ChannelType, element: int) -> int:
        low, high = int(source.lows[element]), int(source.highs[element])
        return low - 1 + int(self.rng.random() * (high - low + 3))

    def threshold(self, edge: str) -> qflow.StageOp:
        source = self.pick()
        count = len(channel_of(source))
        width = self.integer(0, 12)
        rows = [
            sorted(self.within(channel_of(source), e) for _ in range(width)) for e in range(count)
        ]
        thresholds = integer_array(np.array(rows, object).reshape(count, width))
        base, direction = self.rng.integers(-9, 9, count), self.rng.choice([-1, 1], count)
        return qflow.ThresholdOp(edge, source, thresholds, base, direction, (count,))

    def lookup(self, edge: str) -> qflow.StageOp:
        source = self.pick()
        spans = channel_of(source).highs.astype(object) - channel_of(source).lows
        if int(spans.max()) > 60:
            return self.threshold(edge)
        table = self.rng.integers(-20, 20, (len(spans), int(spans.max()) + self.integer(1, 3)))
        return qflow.LookupOp(edge, source, table, (len(spans),))


# --- what stages mean, one element of one frame at a time ------------------------------

ROUND: dict[Rounding, Callable[[Fraction], int]] = {
    Rounding.FLOOR: lambda v: v // 1,
    Rounding.HALF_UP: lambda v: (v + Fraction(1, 2)) // 1,
    Rounding.HALF_EVEN: round,
}


def meaning(stage: qflow.StageOp, operands: list[list[int]]) -> list[int]:
    """Return the beat that a stage makes of its operands' beats, by its definition."""
    x = operands[0]
    match stage:
        case qflow.DenseOp():
            matrix, bias = stage.matrix.array.tolist(), stage.bias.array.tolist()
            blocks = [x[at : at + len(matrix)] for at in range(0, len(x), len(matrix))]
            return [
                sum(v * row[j] for v, row in zip(block, matrix, strict=True)) + b
                for block in blocks
                for j, b in enumerate(bias)
            ]
        case qflow.CombineOp():
            rows = zip(operands, stage.coefficients.array.tolist(), strict=True)
            parts = [[v * c for v, c in zip(beat, row, strict=True)] for beat, row in rows]
            return [sum(column) for column in zip(stage.bias.array.tolist(), *parts, strict=True)]
        case qflow.MultiplyOp():
            return [a * b for a, b in zip(*operands, strict=True)]
        case qflow.RearrangeOp():
            joined = [v for beat in operands for v in beat]
            joined += [int(v) for v in stage.constants]
            return [joined[k] for k in stage.index.array.tolist()]
        case qflow.MaximumOp():
            joined = [v for beat in operands for v in beat]
            chosen: list[list[int]] = stage.index.array.tolist()
            if stage.kind.data is qflow.Extremum.MAX:
                return [max(joined[k] for k in row) for row in chosen]
            return [min(joined[k] for k in row) for row in chosen]
        case qflow.RescaleOp():
            names = ("offset", "shift", "low", "high")
            columns = [getattr(stage, name).array.tolist() for name in names]
            return [
                min(max(ROUND[stage.rounding.data](Fraction(v + o, 1 << s)), low), high)
                for v, o, s, low, high in zip(x, *columns, strict=True)
            ]
        case qflow.WrapOp():
            rows = zip(x, stage.width.array.tolist(), stage.signed.array.tolist(), strict=True)
            return [
                v % (1 << w) - (signed << w if v % (1 << w) >> (w - 1) else 0)
                for v, w, signed in rows
            ]
        case qflow.ThresholdOp():
            thresholds = stage.thresholds.array.tolist()
            columns = (thresholds, stage.base.array.tolist(), stage.direction.array.tolist())
            rows = zip(x, *columns, strict=True)
            return [base + sign * sum(v >= t for t in row) for v, row, base, sign in rows]
        case _:
            assert isinstance(stage, qflow.LookupOp)
            lows = channel_of(stage.input).lows.tolist()
            rows = zip(x, lows, stage.table.array.tolist(), strict=True)
            return [row[v - low] for v, low, row in rows]


def random_beats(graph: qflow.GraphOp, frames: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    beats = dict[str, Array]()
    for name, value in graph.inputs.items():
        lows, highs = channel_of(value).lows.tolist(), channel_of(value).highs.tolist()
        rows = [
            [
                low if rng.random() < 0.15 else high if rng.random() < 0.15
                else low + int(rng.random() * (high - low))
                for low, high in zip(lows, highs, strict=True)
            ]
            for _ in range(frames)
        ]  # fmt: skip
        beats[name] = integer_array(np.array(rows, object))
    return beats


def expected_edges(graph: qflow.GraphOp, beats: dict[str, Array]) -> dict[SSAValue, Array]:
    held = {value: beats[name].astype(object) for name, value in graph.inputs.items()}
    for stage in graph.stages:
        frames = zip(*(held[source].tolist() for source in stage.sources), strict=True)
        held[stage.result] = np.array([meaning(stage, list(frame)) for frame in frames], object)
    return held


def scheduled(module: ModuleOp, clock: float) -> None:
    """Solve and schedule, slower where an operation alone needs longer than the clock."""
    QflowSolve().apply(CONTEXT, module)
    if not fits(module, clock):
        assert fits(module, clock + 60)
    module.verify()


def fits(module: ModuleOp, clock: float) -> bool:
    """Schedule if every operation is shorter than the clock period."""
    try:
        QflowSchedule(clock_ns=clock).apply(CONTEXT, module)
    except FastmlError as error:
        if error.code != "FML-TARGET":
            raise
        return False
    return True


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([0.0, 0.9, 1.3, 2.0, 5.0]))
def test_values_and_cycles_are_those_of_the_definition(seed: int, clock: float):
    module, frames = Random(seed).module, 6
    (graph,) = [op for op in module.ops if isinstance(op, qflow.GraphOp)]
    scheduled(module, clock)
    check_cycles(graph)
    beats = random_beats(graph, frames, seed)
    held = expected_edges(graph, beats)
    edges = {stage.edge.data: stage.result for stage in graph.stages}
    stimulus = Stimulus(beats, np.array([0, 0, 2, 0, 1, 3]))
    trace = qflow_level.simulate(module, stimulus, list(edges))
    for name, value in graph.outputs.items():
        assert np.array_equal(trace.outputs[name].values, held[value]), name
    for name, value in edges.items():
        assert np.array_equal(trace.taps[name].values, held[value]), name
        lows, highs = channel_of(value).lows, channel_of(value).highs
        assert np.all((held[value] >= lows) & (held[value] <= highs))

    QflowToAffine().apply(CONTEXT, module)
    module.verify()
    CheckSchedule().apply(CONTEXT, module)
    program = affine_level.Program(module)
    ports = {port.name: port.port for port in (*program.inputs, *program.outputs)}
    again = program.simulate(
        Stimulus({ports[name]: x for name, x in beats.items()}, stimulus.gaps), list(edges)
    )
    for name, signal in trace.outputs.items():
        assert np.array_equal(again.outputs[ports[name]].values, signal.values), name
        assert np.array_equal(again.outputs[ports[name]].cycles, signal.cycles), name
    for name, signal in trace.taps.items():
        assert np.array_equal(again.taps[name].values, signal.values), name
        assert np.array_equal(again.taps[name].cycles, signal.cycles), name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30))
def test_latency_never_grows_with_the_clock_period(seed: int):
    module = Random(seed).module
    (graph,) = [op for op in module.ops if isinstance(op, qflow.GraphOp)]
    QflowSolve().apply(CONTEXT, module)
    latencies = list[int]()
    for clock in (0.0, 200.0, 20.0, 5.0, 3.0, 2.0, 1.5, 1.0, 0.7):
        if not fits(module, clock):
            break
        check_cycles(graph)
        assert graph.latency is not None
        latencies.append(graph.latency.data)
    assert latencies[0] == 0
    assert latencies == sorted(latencies)


# --- one behaviour at a time ----------------------------------------------------------


def one_stage(make: Callable[[SSAValue], qflow.StageOp], lows: Any, highs: Any) -> ModuleOp:
    graph = qflow.GraphOp("g", {"x": channel(lows, highs)}, ["y"])
    stage = make(graph.body.block.args[0])
    graph.body.block.add_ops([stage, qflow.YieldOp([stage.result])])
    module = ModuleOp([graph])
    scheduled(module, 5.0)
    return module


def ops(module: ModuleOp) -> list[str]:
    skipped = ("builtin", "func", "memref")
    names = [op.name for op in module.walk() if not op.name.startswith(skipped)]
    return [name for name in names if not name.startswith("affine")]


def test_wiring_costs_nothing():
    module = one_stage(
        lambda x: qflow.RearrangeOp("y", [x], np.array([1, 0]), (2,)), [0, 0], [7, 7]
    )
    QflowToAffine().apply(CONTEXT, module)
    assert ops(module) == []


def test_a_clamp_that_nothing_exceeds_costs_nothing():
    one = np.ones(1, np.int64)
    module = one_stage(
        lambda x: qflow.RescaleOp(
            "y", x, 0 * one, 0 * one, Rounding.FLOOR, -9 * one, 9 * one, (1,)
        ),
        [-9],
        [9],
    )
    QflowToAffine().apply(CONTEXT, module)
    assert ops(module) == []


def test_a_table_of_too_many_entries_is_refused():
    table = np.arange(1 << 12)[None, :]
    module = one_stage(lambda x: qflow.LookupOp("y", x, table, (1,)), [0], [(1 << 12) - 1])
    with pytest.raises(FastmlError, match=r"FML-RANGE.*table of 4096 entries"):
        QflowToAffine().apply(CONTEXT, module)


def test_an_unscheduled_graph_is_refused():
    graph = Random(1).module
    with pytest.raises(FastmlError, match="FML-NO-SCHEDULE"):
        QflowToAffine().apply(CONTEXT, graph)


def test_an_early_stage_is_refused():
    module = one_stage(
        lambda x: qflow.DenseOp("y", x, np.array([[3], [5]]), np.zeros(1, int), (1,)),
        [-999, -999],
        [999, 999],
    )
    (stage,) = [op for op in module.walk() if isinstance(op, qflow.DenseOp)]
    assert stage.node_cycles is not None
    stage.node_cycles = ArrayAttr.get(stage.node_cycles.integers + 1)
    with pytest.raises(FastmlError, match=r"FML-SCHEDULE.*'y' is ready before its operands"):
        QflowToAffine().apply(CONTEXT, module)


@pytest.mark.parametrize("late", [1, -1])
def test_wires_take_no_time(late: int):
    module = one_stage(lambda x: qflow.RearrangeOp("y", [x], np.array([0]), (1,)), [0], [7])
    (stage,) = [op for op in module.walk() if isinstance(op, qflow.RearrangeOp)]
    assert stage.cycles is not None
    stage.cycles = ArrayAttr.get(stage.cycles.integers + late)
    with pytest.raises(FastmlError, match=r"FML-SCHEDULE.*'y' is ready"):
        QflowToAffine().apply(CONTEXT, module)


# --- every value of small ranges ------------------------------------------------------


def all_values(stage: Callable[[SSAValue], qflow.StageOp], count: int, low: int, high: int) -> None:
    """Compare ``count`` elements, each a function of one input, on every value it can have."""
    graph = qflow.GraphOp("g", {"x": channel([low], [high])}, ["y"])
    spread = qflow.RearrangeOp("s", [graph.body.block.args[0]], np.zeros(count, np.int64), (count,))
    made = stage(spread.result)
    graph.body.block.add_ops([spread, made, qflow.YieldOp([made.result])])
    module = ModuleOp([graph])
    scheduled(module, 0.0)
    beats = np.arange(low, high + 1)[:, None]
    expected = np.array([meaning(made, [[int(x)] * count]) for (x,) in beats])
    outputs, _ = qflow_level.evaluate(module, {"x": beats})
    assert np.array_equal(outputs["y"], expected)
    QflowToAffine().apply(CONTEXT, module)
    found = affine_level.evaluate(module, {"x": beats})
    assert np.array_equal(found.outputs["y"], expected)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize(("low", "high"), [(-37, 40), (0, 70), (-64, -30)])
def test_every_rescaling_of_every_value(rounding: Rounding, low: int, high: int):
    choices = [
        (offset, shift, *clamp)
        for offset in (-64, -7, -4, 0, 2, 12)
        for shift in (0, 1, 2, 3, 5, 8)
        for clamp in ((-200, 200), (0, 15), (-8, 7), (-3, 2))
    ]
    offset, shift, least, most = (np.array(column) for column in zip(*choices, strict=True))
    all_values(
        lambda x: qflow.RescaleOp("y", x, offset, shift, rounding, least, most, (len(choices),)),
        len(choices),
        low,
        high,
    )


@pytest.mark.parametrize(("low", "high"), [(-37, 40), (0, 70), (-64, -1), (0, 1)])
def test_every_threshold_of_every_value(low: int, high: int):
    rng = np.random.default_rng(5)
    count = 24
    rows = np.sort(rng.integers(low - 3, high + 4, (count, 7)), axis=1)
    rows[:9] &= ~7  # few low bits, which are not compared
    rows = np.sort(rows, axis=1)
    base, direction = rng.integers(-5, 5, count), rng.choice([-1, 1], count)
    all_values(
        lambda x: qflow.ThresholdOp("y", x, rows, base, direction, (count,)), count, low, high
    )
    table = rng.integers(-9, 9, (count, high - low + 1))
    table[:, 1::2] = table[:, : (high - low + 1) // 2 * 2 : 2]  # neighbours that are equal
    all_values(lambda x: qflow.LookupOp("y", x, table, (count,)), count, low, high)
