"""Stages for quantisers: the fp32 functions of single elements, as integer arithmetic.

Each piece of a chain (:mod:`fastml.lowering.chains`) is tabulated by its thresholds and then
built from the cheapest of: thresholds, shift and round, multiply and shift, a table.
"""

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, qflow, reference
from fastml.dialects.array import Integers, integer_array
from fastml.dialects.fastml import shape_of
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, ScaledType, to_float32
from fastml.dialects.qflow import channel_of
from fastml.lowering.chains import Piece
from fastml.lowering.corrected_scalings import (
    Corrected,
    compare_cost,
    fit_corrected,
    multiply_cost,
)
from fastml.lowering.integer_functions import (
    Function,
    Levels,
    NotMonotone,
    enumerate_function,
    levels_of,
)
from fastml.lowering.scalings import MAX_SHIFT, Scaling, fit_scaling, prove
from fastml.lowering.stage_builder import StageBuilder, grid_of

FEW_LEVELS = 3
"""Up to so many thresholds, comparing beats any arithmetic."""
MANY_LEVELS = 1024
"""Beyond so many thresholds, comparing is refused."""

Quantiser = fastml.QuantiseOp | fastml.ExactCastOp


def comparing_is_cheaper(levels: Levels, scaling: Scaling) -> bool:
    """Estimate whether comparators take fewer look-up tables than multiplying.

    The figures are fitted to synthesis for tables of six inputs, of accumulators of 9 to 16
    bits and quantisers of 2 to 6: comparing wins up to about 15 levels, or 30 of a narrow
    accumulator. A shift without a factor always wins.
    """
    if is_shift(scaling) or int(levels.counts.max(initial=0)) > MANY_LEVELS:
        return False
    return compare_cost(levels) < multiply_cost(levels, scaling.factor)


def is_shift(scaling: Scaling) -> bool:
    """Return whether a scaling multiplies by nothing but 1 or -1."""
    return bool(np.all(np.abs(scaling.factor) == 1))


class QuantiserLowering:
    """The stages of one piece of a quantiser's result."""

    def __init__(self, builder: StageBuilder, op: Quantiser, edge: str, shape: tuple[int, ...]):
        self.builder = builder
        self.op = op
        self.edge = edge
        self.shape = shape

    def lower(self, source: SSAValue, piece: Piece) -> SSAValue:
        """Build the cheapest stages that compute the piece, derived and proved."""
        channel = channel_of(source)
        function = raw_function(piece, self.op)
        levels = self._levels(function, source, piece)
        if levels is None:
            table = enumerate_function(function, channel.lows, channel.highs)
            assert table is not None, "a function that is not monotone was enumerated"
            return self._stage(qflow.LookupOp(self.edge, source, table, self.shape))
        count = int(levels.counts.max(initial=0))
        if count > FEW_LEVELS:
            scaling = fit_scaling(levels)
            corrected = self._corrected(levels, scaling)
            if corrected is not None:
                return self._correction(source, corrected)
            if scaling is not None and not comparing_is_cheaper(levels, scaling):
                prove(scaling, levels)
                return self._scaling(source, scaling)
            if scaling is None and count > MANY_LEVELS:
                raise self._error(
                    f"needs {count} thresholds and no multiply-and-shift up to 2**{MAX_SHIFT} "
                    "equals its fp32 definition",
                    "use a power-of-two scale, or fewer bits",
                )
        stage = qflow.ThresholdOp(
            self.edge, source, levels.thresholds, levels.base, levels.direction, self.shape
        )
        return self._stage(stage)

    def _levels(self, function: Function, source: SSAValue, piece: Piece) -> Levels | None:
        channel = channel_of(source)
        try:
            return levels_of(function, channel.lows, channel.highs, piece.direction)
        except NotMonotone:
            raise self._error(
                "follows a function that is not monotone, of too many values to tabulate",
                "quantise its input to 16 bits or fewer",
            ) from None
        except OverflowError as error:
            raise self._error(f"has {error}") from None
        except FloatingPointError as error:
            raise self._error(f"follows {error}") from None

    def _corrected(self, levels: Levels, scaling: Scaling | None) -> Corrected | None:
        """Return a corrected scaling that is cheaper than an exact one, and than comparing."""
        if scaling is not None and is_shift(scaling):
            return None
        corrected = fit_corrected(levels)
        if corrected is None or (corrected.is_exact and scaling is not None):
            return None
        others = [compare_cost(levels)] if levels.counts.max() <= MANY_LEVELS else []
        others += [] if scaling is None else [multiply_cost(levels, scaling.factor)]
        return corrected if corrected.cost < min(others, default=np.inf) else None

    def _correction(self, source: SSAValue, corrected: Corrected) -> SSAValue:
        """Add and take away steps before the shift, so that one clamp is enough."""
        form, count = corrected.scaling, len(channel_of(source))
        zero, one = np.zeros(count, np.int64), np.ones(count, np.int64)
        steps = [
            self._stage(
                qflow.ThresholdOp(
                    self.builder.fresh(f"{self.edge}:{what}"), source, rows, zero, one, (count,)
                )
            )
            for what, rows in (("add", corrected.add), ("drop", corrected.drop))
        ]
        unit = (one << form.shift) * np.sign(form.factor)
        weights = np.stack([form.factor, unit, -unit])
        name = self.builder.fresh(f"{self.edge}:scaled")
        scaled = qflow.CombineOp(name, [source, *steps], weights, form.offset, (count,))
        stage = qflow.RescaleOp(
            self.edge, self._stage(scaled), zero, form.shift, qflow.Rounding.FLOOR, form.low,
            form.high, self.shape,
        )  # fmt: skip
        return self._stage(stage)

    def _error(self, problem: str, hint: str | None = None) -> FastmlError:
        message = f"quantiser '{self.op.edge_name}' {problem}"
        return FastmlError(message, self.op, code="FML-RANGE", hint=hint)

    def _stage(self, stage: qflow.StageOp) -> SSAValue:
        return self.builder.stage(stage, self.op)

    def _scaling(self, source: SSAValue, scaling: Scaling) -> SSAValue:
        offset = scaling.offset
        if np.any(scaling.factor != 1):
            name = self.builder.fresh(f"{self.edge}:scaled")
            shape = (len(channel_of(source)),)
            source = self.builder.scale(name, source, scaling.factor, offset, shape, self.op)
            offset = np.zeros_like(offset)
        if not np.any(scaling.shift) and not np.any(offset):
            channel = channel_of(source)
            if np.all(channel.lows >= scaling.low) and np.all(channel.highs <= scaling.high):
                index = np.arange(len(channel))
                return self._stage(qflow.RearrangeOp(self.edge, [source], index, self.shape))
        rounding = qflow.Rounding.HALF_EVEN if scaling.half_even else qflow.Rounding.FLOOR
        stage = qflow.RescaleOp(
            self.edge, source, offset, scaling.shift, rounding, scaling.low, scaling.high,
            self.shape,
        )  # fmt: skip
        return self._stage(stage)


def raw_function(piece: Piece, op: Quantiser) -> Function:
    """Return the function from raw integers of the source to raw integers of the result.

    Raises ``FloatingPointError`` where an intermediate result is not finite.
    """
    grid = grid_of(op.result).reindex(shape_of(op.result), piece.positions)

    def function(raw: Integers) -> Integers:
        real = piece.real(raw)
        if isinstance(op, fastml.QuantiseOp):
            return quantise_raw(real, grid, op)
        encoded, exact = grid.encode(real)
        if not np.all(exact):
            raise FastmlError(
                f"'{op.edge_name}' has a value that is not on the grid of its type",
                op,
                code="FML-GRID",
            )
        return encoded

    return function


def quantise_raw(real: NDArray[np.float32], grid: QuantisedType, op: fastml.QuantiseOp) -> Integers:
    """Return the raw integers of a quantiser, by its fp32 definition."""
    low, high = op.low.data, op.high.data
    if isinstance(grid, BipolarType):
        return np.clip((real >= 0).astype(np.int64), low, high)
    scale, zero = fp32_scale(grid), to_float32(integer_array(-grid.shift))
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise FloatingPointError("a scale that fp32 does not have")
    with np.errstate(over="ignore"):
        found = reference.quantise(real, scale, zero, low, high, op.rounding.data)
    integers = found.astype(np.int64)
    if np.any((integers < low) | (integers > high)):
        raise FastmlError(
            f"the bounds {low}..{high} of '{op.edge_name}' are no float32 numbers",
            op,
            code="FML-RANGE",
            hint="quantise to 24 bits or fewer",
        )
    return integers


def fp32_scale(grid: QuantisedType) -> NDArray[np.float32]:
    """Return the step that a quantiser divides by, as float32; 0 or infinite out of range."""
    if isinstance(grid, FixedType):
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(np.ones((), np.float32), -grid.fraction.data)
    assert isinstance(grid, ScaledType)
    return np.asarray(grid.scale.array, np.float32)
