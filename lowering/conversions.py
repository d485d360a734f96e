"""Conversions between fixed-point types as stages: shift with rounding, then clamp or wrap."""

import numpy as np
from xdsl.ir import SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, qflow
from fastml.dialects.array import integer_array
from fastml.dialects.fastml import shape_of
from fastml.dialects.fixed_modes import Overflow, Quantisation
from fastml.dialects.qflow import channel_of
from fastml.dialects.qflow_functions import rescale
from fastml.lowering.stage_builder import StageBuilder


def lower_conversion(builder: StageBuilder, op: fastml.ConvertOp, source: SSAValue) -> SSAValue:
    """Append the stages of a conversion of ``source``; the last of them is its edge."""
    to, channel = op.to, channel_of(source)
    drop = op.source.fraction.data - to.type.fraction.data
    shape, count = shape_of(op.result), len(channel)
    if drop < 0:
        factor = np.full(count, 1 << -drop, object)
        name = builder.fresh(f"{op.edge_name}:aligned")
        source = builder.scale(name, source, factor, np.zeros(count, object), (count,), op)
    rounding, offset = _rounding(op, max(drop, 0), int(channel.lows.min(initial=0)) < 0)
    offsets, shifts = np.full(count, offset, object), np.full(count, max(drop, 0))
    offsets = integer_array(offsets)
    ends = np.stack([channel_of(source).lows, channel_of(source).highs])
    images = rescale(ends, offsets, shifts, rounding)
    low, high = to.type.raw_range
    fits = bool(np.all((images >= low) & (images <= high)))
    wraps = to.overflow is Overflow.WRAP and not fits
    if to.overflow is Overflow.SAT_SYM and to.type.signed.data and to.type.width.data > 1:
        low = -high
    elif to.overflow is Overflow.SAT_ZERO and not fits:
        raise _unavailable(op, "numbers that do not fit become zero")
    edge = builder.fresh(f"{op.edge_name}:rounded") if wraps else op.edge_name
    lows, highs = images if wraps else (np.full(count, low), np.full(count, high))
    if np.any(offsets) or drop > 0 or not (fits or wraps):
        stage = qflow.RescaleOp(
            edge, source, offsets, shifts, rounding, integer_array(lows), integer_array(highs),
            shape,
        )  # fmt: skip
        source = builder.stage(stage, op)
    elif not wraps:
        return builder.stage(qflow.RearrangeOp(edge, [source], np.arange(count), shape), op)
    if not wraps:
        return source
    width, signed = (np.full(count, v, np.int64) for v in to.type.storage)
    return builder.stage(qflow.WrapOp(op.edge_name, source, width, signed, shape), op)


def _rounding(op: fastml.ConvertOp, drop: int, negative: bool) -> tuple[qflow.Rounding, int]:
    """Return how a stage rounds, and what is added before."""
    half = (1 << drop) >> 1
    match op.to.rounding:
        case _ if drop == 0:
            return qflow.Rounding.FLOOR, 0
        case Quantisation.TRN:
            return qflow.Rounding.FLOOR, 0
        case Quantisation.RND:
            return qflow.Rounding.HALF_UP, 0
        case Quantisation.RND_CONV:
            return qflow.Rounding.HALF_EVEN, 0
        case Quantisation.RND_MIN_INF:
            return qflow.Rounding.FLOOR, half - 1
        case Quantisation.TRN_ZERO if not negative:
            return qflow.Rounding.FLOOR, 0
        case Quantisation.RND_INF if not negative:
            return qflow.Rounding.HALF_UP, 0
        case Quantisation.RND_ZERO if not negative:
            return qflow.Rounding.FLOOR, half - 1
        case _:
            raise _unavailable(op, f"the rounding '{op.to.rounding}' of negative numbers")


def _unavailable(op: fastml.ConvertOp, what: str) -> FastmlError:
    return FastmlError(
        f"conversion to edge '{op.edge_name}': {what} is not available yet",
        op,
        code="FML-OPTION",
        hint="use TRN, RND, RND_CONV or RND_MIN_INF, and WRAP, SAT or SAT_SYM",
    )
