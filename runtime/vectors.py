"""Stimuli that are chosen to hurt: where arithmetic breaks if it is a bit too narrow.

Uniform noise is a poor test of a network: it saturates the first layer and never comes near
most thresholds. These vectors hold corners of the input box, the inputs that take each
accumulator of the first layers to its bounds, inputs whose accumulators lie on and just
below a threshold, normals of many sigmas, and uniform noise. The same seed gives the same
vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.dialects.qflow import (
    ChannelType,
    DenseOp,
    ElementStageOp,
    GraphOp,
    RearrangeOp,
    channel_of,
)
from fastml.runtime.trace import Integers, narrow

_Rows: TypeAlias = NDArray[Any]
"""Vectors of all input elements, one input after the other; exact integers."""
_Row: TypeAlias = NDArray[Any]
"""One of them."""

TRIES = 4
"""Random starts from which an accumulator is led to a threshold."""


@dataclass(frozen=True)
class _Box:
    """The inputs of a design as one long row, with its bounds."""

    names: Sequence[str]
    sizes: Sequence[int]
    """Elements of a beat."""
    beats: Sequence[int]
    """Beats of a frame."""
    lows: _Row
    highs: _Row

    @classmethod
    def of(cls, graph: GraphOp) -> "_Box":
        channels = [channel_of(value) for value in graph.inputs.values()]
        lows: _Row = np.concatenate([c.lows.astype(object) for c in channels])
        highs: _Row = np.concatenate([c.highs.astype(object) for c in channels])
        if np.all(np.abs(np.concatenate([lows, highs])) < 1 << 52):
            lows, highs = lows.astype(np.int64), highs.astype(np.int64)
        beats = [channel.beats.data for channel in channels]
        return cls(list(graph.inputs), [len(c) for c in channels], beats, lows, highs)

    @property
    def middle(self) -> _Row:
        """Zero, where the range has it."""
        return np.clip(np.zeros_like(self.lows), self.lows, self.highs)

    def split(self, rows: _Rows) -> dict[str, Integers]:
        """Return the beats of each input."""
        ends = np.cumsum(self.sizes)[:-1]
        parts = np.split(rows, ends, axis=1)
        return {
            name: narrow(part[: len(part) * beats // max(self.beats)])
            for name, part, beats in zip(self.names, parts, self.beats, strict=True)
        }


def hurting_vectors(graph: GraphOp, count: int, seed: int) -> dict[str, Integers]:
    """Return ``count`` frames of beats for every input of ``graph``, by edge name."""
    assert count >= 1
    box = _Box.of(graph)
    count *= max(box.beats, default=1)
    rng = np.random.default_rng(seed)
    layers = _first_layers(graph)
    parts = [
        _corners(box, max(1, count // 8), rng),
        _bounds(layers, box, count // 4, rng),
        _beside_thresholds(layers, box, count // 4, rng),
    ]
    left = count - sum(len(part) for part in parts)
    parts += [_normals(box, (left + 1) // 2, rng), _uniform(box, left // 2, rng)]
    rows = np.concatenate(parts)
    assert len(rows) == count
    # Mixed, so that neighbours in time differ in kind and every bit sees transitions.
    return box.split(rows[rng.permutation(len(rows))])


def _choose(rows: _Rows, room: int, rng: np.random.Generator) -> _Rows:
    """Return at most ``room`` of the rows."""
    if len(rows) <= room:
        return rows
    return rows[np.sort(rng.choice(len(rows), room, replace=False))]


def _corners(box: _Box, room: int, rng: np.random.Generator) -> _Rows:
    """Return the two extreme corners, zero, alternations, and single elements at an end."""
    even = np.arange(len(box.lows)) % 2 == 0
    fixed = [box.lows, box.highs, box.middle]
    fixed += [np.where(even, box.lows, box.highs), np.where(even, box.highs, box.lows)]
    rows: _Rows = np.stack(fixed)[:room]
    left = room - len(rows)
    if left <= 0:
        return rows
    singles = min(left // 2, 2 * len(box.lows))
    alone = np.tile(box.middle, (singles, 1))
    chosen = rng.choice(2 * len(box.lows), singles, replace=False)
    for row, number in enumerate(chosen.tolist()):
        element, high = divmod(number, 2)
        alone[row, element] = (box.highs if high else box.lows)[element]
    coins = rng.random((left - singles, len(box.lows))) < 0.5
    return np.concatenate([rows, alone, np.where(coins, box.lows, box.highs)])


def _normals(box: _Box, room: int, rng: np.random.Generator) -> _Rows:
    """Return normals around zero, each row of its own sigma, from one step to the range."""
    span = np.array([float(v) for v in np.maximum(box.highs, -box.lows)])
    top = np.maximum(span, 1.0)
    exponent = rng.random((room, 1))
    sigma = top**exponent
    noise = np.rint(rng.standard_normal((room, len(span))) * sigma)
    noise = np.clip(noise, -top, top)
    if box.lows.dtype != object:
        return np.clip(noise.astype(np.int64), box.lows, box.highs)
    exact = np.array([int(v) for v in noise.flat], object).reshape(noise.shape)
    return np.clip(exact, box.lows, box.highs)


def _uniform(box: _Box, room: int, rng: np.random.Generator) -> _Rows:
    """Return rows that take every value of the box alike."""
    if box.lows.dtype != object:
        return rng.integers(box.lows, box.highs, (room, len(box.lows)), endpoint=True)
    widest = max(int(v).bit_length() for v in box.highs - box.lows)
    wide = np.zeros((room, len(box.lows)), object)
    for _ in range(widest // 32 + 2):
        wide = (wide << 32) | rng.integers(0, 1 << 32, wide.shape).astype(object)
    return box.lows + wide % (box.highs - box.lows + 1)


# First layers: stages whose operand is wiring and elementwise functions of the inputs


@dataclass(frozen=True)
class _FirstLayer:
    """A stage and, for each element of its operand, the input that it comes from."""

    stage: DenseOp | ElementStageOp
    source: NDArray[np.int64]
    """-1 for a constant."""
    low_image: _Row
    """Value of the operand's element where its input is at its low end."""
    high_image: _Row


def _first_layers(graph: GraphOp) -> list[_FirstLayer]:
    known = dict[SSAValue, tuple[_Row, _Row, _Row]]()
    start = 0
    for value in graph.inputs.values():
        channel = channel_of(value)
        index = np.arange(start, start + len(channel))
        known[value] = (index, channel.lows, channel.highs)
        start += len(channel)
    found = list[_FirstLayer]()
    for stage in graph.stages:
        sources = [known.get(value) for value in stage.sources]
        if any(source is None for source in sources):
            continue
        parts = [source for source in sources if source is not None]
        if isinstance(stage, RearrangeOp):
            wires, fill = np.asarray(stage.index.array, np.int64), stage.constants
            tail = (np.full(len(fill), -1), fill, fill)
            joined = [np.concatenate([*(part[k] for part in parts), tail[k]]) for k in range(3)]
            known[stage.result] = (joined[0][wires], joined[1][wires], joined[2][wires])
        elif isinstance(stage, ElementStageOp):
            found.append(_FirstLayer(stage, *parts[0]))
            ends: _Rows = np.stack(parts[0][1:])
            images = stage.evaluate(ends)
            known[stage.result] = (parts[0][0], images[0], images[1])
        elif isinstance(stage, DenseOp):
            found.append(_FirstLayer(stage, *parts[0]))
    return found


def _bounds(layers: Sequence[_FirstLayer], box: _Box, room: int, rng: np.random.Generator) -> _Rows:
    """Return the inputs that take each accumulator of the first layers to its two bounds."""
    rows = [np.empty((0, len(box.lows)), box.lows.dtype)]
    for layer in layers:
        if not isinstance(layer.stage, DenseOp):
            continue
        matrix = layer.stage.matrix.array
        size = len(matrix)
        targets = layer.stage.positions * matrix.shape[1] * 2
        for number in rng.permutation(targets)[:room].tolist():
            rest, least = divmod(number, 2)
            position, column = divmod(rest, matrix.shape[1])
            block = slice(position * size, (position + 1) * size)
            weights = matrix[:, column].astype(object) * (-1 if least else 1)
            gain = weights * (layer.high_image[block] - layer.low_image[block])
            row, varies = box.middle, layer.source[block] >= 0
            inputs = layer.source[block][varies]
            row[inputs] = np.where(gain[varies] > 0, box.highs[inputs], box.lows[inputs])
            rows.append(row[None, :])
    return _choose(np.concatenate(rows), room, rng)


def _beside_thresholds(
    layers: Sequence[_FirstLayer], box: _Box, room: int, rng: np.random.Generator
) -> _Rows:
    """Return inputs whose accumulators lie on a step of the next function, and just below."""
    rows = [np.empty((0, len(box.lows)), box.lows.dtype)]
    for layer in layers:
        varies = layer.source >= 0
        if not np.array_equal(layer.low_image[varies], box.lows[layer.source[varies]]):
            continue  # a function lies between: there is no inverse at hand
        if isinstance(layer.stage, DenseOp):
            rows += _near_accumulators(layer, layer.stage, box, room, rng)
        else:
            steps = steps_of(layer.stage, room, rng)
            rows += [_near_inputs(layer, steps, box, rng) for _ in range(room if steps else 0)]
    return _choose(np.concatenate(rows), room, rng)


def _near_inputs(
    layer: _FirstLayer, steps: Sequence[tuple[int, int]], box: _Box, rng: np.random.Generator
) -> _Rows:
    """Return a row whose inputs lie on steps of the function on them, or just below."""
    row = _uniform(box, 1, rng)
    order: list[int] = rng.permutation(len(steps)).tolist()
    for element, threshold in (steps[number] for number in order):
        if layer.source[element] >= 0:
            row[0, layer.source[element]] = threshold - int(rng.integers(2))
    return row


def _near_accumulators(
    layer: _FirstLayer, stage: DenseOp, box: _Box, room: int, rng: np.random.Generator
) -> list[_Rows]:
    """Return rows whose accumulators lie on a step of the function on them, and just below."""
    found = _function_on(stage)
    if found is None:
        return []
    function, places = found
    rows = list[_Rows]()
    matrix, bias = stage.matrix.array, stage.bias.array
    size, columns = matrix.shape
    for element, threshold in steps_of(function, (room + 1) // 2, rng):
        position, column = divmod(int(places[element]), columns)
        block = slice(position * size, (position + 1) * size)
        varies = layer.source[block] >= 0
        inputs, column_of = layer.source[block][varies], matrix[:, column].astype(object)
        weights: _Row = column_of[varies]
        fixed = int(column_of[~varies] @ layer.low_image[block][~varies].astype(object))
        fixed += int(bias[column])
        for target in (threshold - fixed, threshold - fixed - 1):
            row = box.middle[None, :]
            for _ in range(TRIES):
                row = (_uniform if rng.random() < 0.5 else _normals)(box, 1, rng)
                if _approach(row[0], inputs, weights, target, box):
                    break
            rows.append(row)
    return rows


def _function_on(stage: DenseOp) -> tuple[ElementStageOp, NDArray[np.int64]] | None:
    """Return a function of a stage's result, and the element that each of its own is."""
    for use in stage.result.uses:
        match use.operation:
            case ElementStageOp() as function:
                return function, np.arange(len(stage.channel))
            case RearrangeOp() as wires if len(wires.inputs) == 1 and wires.fill is None:
                readers = [use.operation for use in wires.result.uses]
                functions = [op for op in readers if isinstance(op, ElementStageOp)]
                if functions:
                    return functions[0], np.asarray(wires.index.array, np.int64)
            case _:
                pass
    return None


def _approach(
    row: _Row,
    inputs: NDArray[np.int64],
    weights: NDArray[np.object_],
    target: int,
    box: _Box,
) -> bool:
    """Move ``row`` until its product with ``weights`` is ``target``; return whether it is."""
    if len(set(inputs.tolist())) < len(inputs):
        return False
    missing = target - int(row[inputs].astype(object) @ weights)
    for k in np.argsort(-np.abs(weights.astype(float)), kind="stable").tolist():
        weight, place = int(weights[k]), int(inputs[k])
        if weight == 0 or missing == 0:
            break
        sign = 1 if (missing > 0) == (weight > 0) else -1
        wanted = int(row[place]) + sign * (abs(missing) // abs(weight))
        moved = min(max(wanted, int(box.lows[place])), int(box.highs[place]))
        missing -= (moved - int(row[place])) * weight
        row[place] = moved
    return missing == 0


def steps_of(
    function: ElementStageOp, count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return up to ``count`` pairs (element, x) where the function differs at x and x - 1.

    Found by bisection, from the low end upwards or from random points.
    """
    channel = channel_of(function.input)
    lows: _Row = channel.lows.astype(object)
    highs: _Row = channel.highs.astype(object)
    if not len(lows) or int((highs - lows).max()) == 0:
        return []
    found = dict[tuple[int, int], None]()
    start = lows
    for _ in range(4 + 2 * count // len(lows)):
        step = _next_step(function, start, highs, channel)
        differs = np.flatnonzero([value is not None for value in step])
        order: list[int] = rng.permutation(differs).tolist()
        found |= {(element, step[element]): None for element in order}
        if len(found) >= count:
            break
        random = lows + np.array([int(float(w) * rng.random()) for w in highs - lows], object)
        jumps = rng.random(len(lows)) < 0.25
        start = np.array(
            [r if s is None or j else s for s, r, j in zip(step, random, jumps, strict=True)],
            object,
        )
    return list(found)[:count]


def _next_step(
    function: ElementStageOp, start: _Row, highs: _Row, channel: ChannelType
) -> list[Any]:
    """Return for each element some x above ``start`` with f(x) != f(x - 1), or None."""
    a, b = start, highs
    for _ in range(int((b - a).max()).bit_length() + 1):
        middle = (a + b) // 2
        ends: _Rows = np.stack([_like(x, channel) for x in (a, middle)])
        images = function.evaluate(ends)
        same = np.asarray(images[0] == images[1], bool) & (b - a > 1).astype(bool)
        a, b = np.where(same, middle, a), np.where(same | (b - a <= 1), b, middle)
    ends = np.stack([_like(x, channel) for x in (np.maximum(b - 1, start), b)])
    images = function.evaluate(ends)
    differs = np.asarray(images[0] != images[1], bool)
    return [int(x) if d else None for x, d in zip(b, differs, strict=True)]


def _like(values: _Row, channel: ChannelType) -> _Row:
    """Return values in the number format that the channel's own bounds have."""
    return values if channel.lows.dtype == object else values.astype(np.int64)


def random_gaps(frames: int, seed: int, most: int = 5) -> NDArray[np.int64]:
    """Return idle cycles before each frame: often none, sometimes up to ``most``."""
    rng = np.random.default_rng(seed)
    gaps = rng.integers(0, most, frames, endpoint=True)
    return np.where(rng.random(frames) < 0.5, 0, gaps).astype(np.int64)


def random_idle(beats: int, seed: int, most: int = 3) -> NDArray[np.int64]:
    """Return idle cycles before each beat of a port: often none, sometimes up to ``most``."""
    return random_gaps(beats, seed, most)


def random_ready(cycles: int, seed: int, longest: int) -> NDArray[np.bool_]:
    """Return whether an output is taken in each of some cycles.

    Spells in which it is taken always, often, seldom, or not at all; one of these lasts as
    long as ``longest``, so that whatever can fill up does.
    """
    rng = np.random.default_rng(seed)
    ready = np.empty(0, np.bool_)
    spells = [(0.0, longest)]
    while len(ready) < cycles:
        share, length = (
            spells.pop()
            if len(ready) > cycles // 3 and spells
            else (
                float(rng.choice([0.0, 0.2, 0.5, 0.8, 1.0])),
                int(rng.integers(1, 16)),
            )
        )
        ready = np.concatenate([ready, rng.random(length) < share])
    return ready
