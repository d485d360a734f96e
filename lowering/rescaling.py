"""Rounding shifts in ``arith``: add an offset, drop bits to nearest or below, clamp."""

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import SSAValue

from fastml.dialects.qflow import Rounding, round_one
from fastml.lowering.scalars import Scalar, ScalarBuilder, constant, storage_width


def rescale(
    builder: ScalarBuilder,
    x: Scalar,
    offset: int,
    whole: int,
    shift: int,
    rounding: Rounding,
    low: int,
    high: int,
    start: int,
) -> Scalar:
    """Return ``clamp(round((x + offset) / 2**shift), low, high)``, made in cycle ``start``.

    ``whole`` is the offset in steps of the result if it may be added after rounding, with
    fewer bits, else 0.
    """
    if x.value is None:
        exact = round_one(x.low + offset, shift, rounding)
        return constant(min(max(exact, low), high))
    if not whole:
        x = builder.offset(x, offset, start)
    if shift and rounding is not Rounding.FLOOR:
        y = _nearest(builder, x, shift, rounding, whole, start)
    else:
        y = builder.offset(builder.floor_shift(x, shift, start), whole, start)
    return builder.clamp(y, low, high, start)


def _nearest(
    builder: ScalarBuilder, x: Scalar, shift: int, rounding: Rounding, whole: int, start: int
) -> Scalar:
    """Return ``round(x / 2**shift) + whole`` with one adder.

    The half bit stays on as the lowest one: what is added to it carries into the result if it
    is set, so that the carry needs no adder of its own.
    """
    low, high = (round_one(end, shift, rounding) + whole for end in (x.low, x.high))
    if low == high:
        return constant(low)
    width = storage_width(low, high)
    halves = builder.resized(builder.floor_shift(x, shift - 1, start), width + 1, start)
    if rounding is Rounding.HALF_UP:
        summand = builder.literal(2 * whole + 1, width + 1)
    else:
        summand = builder.resized(
            Scalar(_above_or_odd(builder, x, shift, start), 0, 1, start), width + 1, start
        )
        if whole:
            steps = builder.literal(2 * whole, width + 1)
            summand = builder.add(arith.OrIOp(summand, steps), start)
    total = builder.add(arith.AddiOp(halves, summand), start)
    shifted = builder.add(arith.ShRUIOp(total, builder.literal(1, width + 1)), start)
    bits = builder.add(arith.TruncIOp(shifted, IntegerType(width)), start)
    return Scalar(bits, low, high, start)


def _above_or_odd(builder: ScalarBuilder, x: Scalar, shift: int, start: int) -> SSAValue:
    """Return the bit that says that a half rounds up: more follows it, or the result is odd."""
    width = max(x.width, shift + 1)
    whole = builder.resized(x, width, start)
    moved = builder.add(arith.ShRUIOp(whole, builder.literal(shift, width)), start)
    odd = builder.add(arith.TruncIOp(moved, IntegerType(1)), start)
    if shift == 1:
        return odd
    dropped = builder.add(arith.TruncIOp(whole, IntegerType(shift - 1)), start)
    more = builder.add(arith.CmpiOp(dropped, builder.literal(0, shift - 1), "ne"), start)
    return builder.add(arith.OrIOp(odd, more), start)
