"""Resize and Upsample to the nearest element: index maps, one for each axis.

Coordinates are computed twice, exactly and in the float32 arithmetic of runtimes. Where the two
do not pick the same elements the meaning of the model is a matter of rounding: it is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.operators.index_maps import Picks, normalise_axes
from fastml.compiler.reader.operators.padding import FILL, pick_or_fill
from fastml.compiler.reader.registry import operator
from fastml.compiler.reader.values import Value

Number: TypeAlias = Any
"""``Fraction`` or ``np.float32``."""
Coordinates: TypeAlias = NDArray[Any]
"""Of the source, for each position of the result: objects ``Fraction``, or float32."""


@dataclass(frozen=True)
class Axis:
    """How one axis is resized; ``roi`` is the part of it that is read, 0 to 1 the whole."""

    size: int
    length: int
    scale: Fraction
    roi: tuple[Fraction, Fraction] = (Fraction(0), Fraction(1))


Convert: TypeAlias = Callable[[Fraction | int | float], Number]
Transformation: TypeAlias = Callable[[Coordinates, Axis, Number, Convert], Coordinates]
"""From coordinates of the result, whose axis is so long, to those of the source."""


def _asymmetric(x: Coordinates, axis: Axis, length: Number, number: Convert) -> Coordinates:
    return x / number(axis.scale)


def _half_pixel_for_nn(x: Coordinates, axis: Axis, length: Number, number: Convert) -> Coordinates:
    return (x + number(0.5)) / number(axis.scale)


def _half_pixel(x: Coordinates, axis: Axis, length: Number, number: Convert) -> Coordinates:
    return (x + number(0.5)) / number(axis.scale) - number(0.5)


def _half_pixel_symmetric(
    x: Coordinates, axis: Axis, length: Number, number: Convert
) -> Coordinates:
    resized = number(axis.scale) * number(axis.size)
    adjustment = number(axis.length) / resized
    offset = number(axis.size) / number(2) * (number(1) - adjustment)
    return offset + _half_pixel(x, axis, length, number)


def _pytorch_half_pixel(x: Coordinates, axis: Axis, length: Number, number: Convert) -> Coordinates:
    return _half_pixel(x, axis, length, number) if length > 1 else x * number(0)


def _align_corners(x: Coordinates, axis: Axis, length: Number, number: Convert) -> Coordinates:
    if length == 1:
        return x * number(0)
    return x * number(axis.size - 1) / (length - number(1))


def _crop(x: Coordinates, axis: Axis, length: Number, number: Convert) -> Coordinates:
    start, end = (number(bound) for bound in axis.roi)
    last = number(axis.size - 1)
    if length > 1:
        return start * last + x * (end - start) * last / (length - number(1))
    return x * number(0) + number(0.5) * (start + end) * last


def _exact(value: Fraction | int | float) -> Fraction:
    return Fraction(value)


def _single(value: Fraction | int | float) -> np.float32:
    return np.float32(float(value))


TRANSFORMATIONS: dict[str, tuple[Transformation, frozenset[int]]] = {
    "half_pixel": (_half_pixel, frozenset({11, 13, 18, 19})),
    "half_pixel_symmetric": (_half_pixel_symmetric, frozenset({19})),
    "pytorch_half_pixel": (_pytorch_half_pixel, frozenset({11, 13, 18, 19})),
    "align_corners": (_align_corners, frozenset({11, 13, 18, 19})),
    "asymmetric": (_asymmetric, frozenset({11, 13, 18, 19})),
    "tf_half_pixel_for_nn": (_half_pixel_for_nn, frozenset({11})),
    "tf_crop_and_resize": (_crop, frozenset({11, 13, 18, 19})),
}
"""Coordinate of the source, and the versions of Resize that have the mode."""

ROUNDINGS: dict[str, Callable[[Coordinates, int], Coordinates]] = {
    "round_prefer_floor": lambda n, d: -((d - 2 * n) // (2 * d)),
    "round_prefer_ceil": lambda n, d: (2 * n + d) // (2 * d),
    "floor": lambda n, d: n // d,
    "ceil": lambda n, d: -(-n // d),
}
"""The whole number of a quotient of integers, for each ``nearest_mode``."""


@operator(
    "Resize",
    since=(10, 11, 13, 18, 19),
    attributes=(
        "mode",
        "coordinate_transformation_mode",
        "nearest_mode",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "axes",
        "exclude_outside",
        "antialias",
    ),
    without_effect={"cubic_coeff_a": "only cubic interpolation uses it"},
)
def resize(node: Node) -> Value:
    """Nearest-neighbour resampling in every coordinate mode, by sizes or scales."""
    _require_nearest(node)
    data = node.take(0, shapes=True)
    if node.schema.since == 10:
        return _sampled(node, data, _reals(node, 1, len(data.shape)))
    mode = node.text("coordinate_transformation_mode")
    if mode not in TRANSFORMATIONS or node.schema.since not in TRANSFORMATIONS[mode][1]:
        message = f"attribute 'coordinate_transformation_mode={mode}' is not implemented"
        raise node.error("FML-IMP-ATTR", message)
    rounding = node.text("nearest_mode")
    if rounding not in ROUNDINGS:
        raise node.error("FML-IMP-ATTR", f"attribute 'nearest_mode={rounding}' is not known")
    for name in ("exclude_outside", "antialias"):  # of interpolation between elements
        if node.flag(name):
            raise node.error("FML-IMP-ATTR", f"attribute '{name}=1' is not implemented")
    full = node.full_shape(data)
    given = node.integers("axes") if "axes" in node.schema.attributes else None
    axes = normalise_axes(node, range(len(full)) if given is None else given, len(full))
    crops = mode == "tf_crop_and_resize"
    plans = dict(zip(axes, _axes(node, [full[axis] for axis in axes], crops), strict=True))
    _check_lengths(node, data, {axis: plan.length for axis, plan in plans.items()})
    picks = {axis: _picks(node, plan, mode, rounding) for axis, plan in plans.items()}
    fill = np.asarray(node.real("extrapolation_value"))
    if crops and not np.isfinite(fill):
        raise node.error("FML-IMP-ATTR", f"attribute 'extrapolation_value={fill}' is not finite")
    return pick_or_fill(node, node.edge, data, picks, fill)


@operator("Upsample", since=(7, 9), attributes=("mode", "scales"))
def upsample(node: Node) -> Value:
    """Nearest-neighbour upsampling by constant scales."""
    _require_nearest(node)
    data = node.take(0)
    if node.schema.since == 7:
        given = node.reals("scales")
        assert given is not None, "the schema requires them"
        scales = _checked(node, given, len(data.shape))
    else:
        scales = _reals(node, 1, len(data.shape))
    if any(scale < 1 for scale in scales):
        raise node.error("FML-IMP-ATTR", "'scales' holds one below 1, which is no upsampling")
    return _sampled(node, data, scales)


def _require_nearest(node: Node) -> None:
    mode = node.text("mode")
    if mode != "nearest":
        message = f"attribute 'mode={mode}' is not implemented; only nearest is"
        raise node.error("FML-IMP-ATTR", message)


def _sampled(node: Node, data: Value, scales: Sequence[Fraction]) -> Value:
    """Resize as before version 11, whose text leaves open how coordinates are rounded."""
    full = node.full_shape(data)
    plans = [Axis(s, _length(node, s, k), k) for s, k in zip(full, scales, strict=True)]
    _check_lengths(node, data, {axis: plan.length for axis, plan in enumerate(plans)})
    picks = {a: _picks(node, plan, "asymmetric", "floor") for a, plan in enumerate(plans)}
    doubts = [
        float(plan.scale)
        for axis, plan in enumerate(plans)
        if plan.scale < 1
        and not np.array_equal(picks[axis], _picks(node, plan, "asymmetric", "ceil"))
    ]
    if all(plan.length == plan.size for plan in plans):  # may be taken for no resizing at all
        doubts += [
            float(plan.scale)
            for axis, plan in enumerate(plans)
            if not np.array_equal(picks[axis], np.arange(plan.size))
        ]
    if doubts:
        message = f"the scale {doubts[0]:g} reads between elements, which this version leaves open"
        hint = "export the model with operator set 11 or later"
        raise node.error("FML-IMP-ATTR", message, hint)
    return pick_or_fill(node, node.edge, data, picks, np.zeros((), np.float32))


def _check_lengths(node: Node, data: Value, lengths: Mapping[int, int]) -> None:
    """Refuse a result that is too large, or has other samples, before it is computed."""
    sizes, full = list(data.shape), node.full_shape(data)
    for axis, length in lengths.items():
        if length != full[axis]:
            if sizes[axis] != full[axis]:
                raise node.mixed("samples are selected, repeated or moved")
            sizes[axis] = length
    node.check_size(sizes)


# -- sizes and scales ----------------------------------------------------------------------


def _reals(node: Node, position: int, count: int) -> list[Fraction]:
    value = node.take_constant(position)
    return _checked(node, node.reals_of(value, node.schema.inputs[position]).ravel(), count)


def _checked(node: Node, scales: NDArray[np.float32], count: int) -> list[Fraction]:
    if len(scales) != count or not np.all(np.isfinite(scales) & (scales > 0)):
        message = f"'scales' {scales} are not positive, one for each of {count} axes"
        raise node.error("FML-IMP-SHAPE", message)
    return [Fraction(float(scale)) for scale in scales]


def _given(node: Node, name: str) -> int | None:
    """Return the position of an optional input that is there and not empty."""
    if name not in node.schema.inputs:
        return None
    position = node.schema.inputs.index(name)
    value = node.take_optional(position, shapes=True)
    if value is None:
        return None
    return position if node.constant(value, name).array.size else None


def _axes(node: Node, sizes: Sequence[int], crops: bool) -> list[Axis]:
    """Return how each of the axes that are resized is."""
    by_scale, by_size, roi = (_given(node, name) for name in ("scales", "sizes", "roi"))
    if (by_scale is None) == (by_size is None):
        raise node.error("FML-IMP-ATTR", "needs one of the inputs 'scales' and 'sizes'")
    parts = _regions(node, roi, len(sizes)) if crops else [(Fraction(0), Fraction(1))] * len(sizes)
    policy = "stretch"
    if "keep_aspect_ratio_policy" in node.schema.attributes:
        policy = node.text("keep_aspect_ratio_policy")
    if policy not in ("stretch", "not_larger", "not_smaller"):
        message = f"attribute 'keep_aspect_ratio_policy={policy}' is not known"
        raise node.error("FML-IMP-ATTR", message)
    if by_scale is not None:
        scales = _reals(node, by_scale, len(sizes))
        if any(end - start != 1 for start, end in parts):
            message = "runtimes differ in the size of a part that 'scales' resize"
            raise node.error("FML-IMP-ATTR", message, "give the input 'sizes' instead")
        lengths = [_length(node, size, scale) for size, scale in zip(sizes, scales, strict=True)]
    else:
        assert by_size is not None
        lengths = node.take_integers(by_size, shapes=True)
        assert lengths is not None
        if len(lengths) != len(sizes) or min(lengths) < 1:
            message = f"'sizes' {node.show(lengths)} are not positive, one for each axis"
            raise node.error("FML-IMP-SHAPE", message)
        scales = [Fraction(int(o), i) for o, i in zip(lengths, sizes, strict=True)]
        if policy != "stretch":
            common = min(scales) if policy == "not_larger" else max(scales)
            scales = [common] * len(sizes)
            lengths = [_nearest_length(node, common, size) for size in sizes]
    return [Axis(*plan) for plan in zip(sizes, lengths, scales, parts, strict=True)]


def _regions(node: Node, position: int | None, count: int) -> list[tuple[Fraction, Fraction]]:
    if position is None:
        raise node.error("FML-IMP-ATTR", "tf_crop_and_resize needs the input 'roi'")
    roi = node.reals_of(node.take_constant(position), "roi").ravel()
    if len(roi) != 2 * count or not np.all(np.isfinite(roi)):
        message = f"'roi' {roi} is not a start and an end for each of {count} axes"
        raise node.error("FML-IMP-SHAPE", message)
    exact = [Fraction(float(bound)) for bound in roi]
    return list(zip(exact[:count], exact[count:], strict=True))


def _length(node: Node, size: int, scale: Fraction) -> int:
    exact = int(size * scale)
    with np.errstate(over="ignore"):
        rounded = np.float32(size) * np.float32(float(scale))
    if not np.isfinite(rounded) or exact != int(rounded) or exact < 1:
        message = f"scale {float(scale):g} of {size} elements gives no certain number of them"
        raise node.error("FML-IMP-SHAPE", message, "give the input 'sizes' instead")
    return exact


def _nearest_length(node: Node, scale: Fraction, size: int) -> int:
    exact = int(scale * size + Fraction(1, 2))
    rounded = int(np.float32(float(scale)) * np.float32(size) + np.float32(0.5))
    if exact != rounded or exact < 1:
        message = f"the aspect ratio makes no certain number of {size} elements"
        raise node.error("FML-IMP-SHAPE", message, "give sizes of that ratio")
    return exact


# -- coordinates ---------------------------------------------------------------------------


def _picks(node: Node, axis: Axis, mode: str, rounding: str) -> Picks:
    """Return the source of each position; ``FILL`` outside of a crop's source."""
    if axis.scale == 1 and axis.length == axis.size and mode != "tf_crop_and_resize":
        return np.arange(axis.size)
    transform, _ = TRANSFORMATIONS[mode]
    lengths = [Fraction(axis.length)]
    if mode in ("align_corners", "tf_crop_and_resize"):  # the length may be meant unrounded
        lengths.append(axis.size * axis.scale)
    found = [_quotients(transform, axis, length) for length in lengths]
    steps = np.arange(axis.length, dtype=np.float32)
    with np.errstate(all="ignore"):
        rounded = transform(steps, axis, np.float32(axis.length), _single)
    if not np.isfinite(rounded).all():
        raise node.error("FML-IMP-ATTR", "coordinates are too large for float32")
    found.append(_of_singles(rounded))
    several: list[Picks] = []
    for values, unit in found:
        picks = np.clip(ROUNDINGS[rounding](values, unit), 0, axis.size - 1)
        if mode == "tf_crop_and_resize":
            picks = np.where((values >= 0) & (values <= (axis.size - 1) * unit), picks, FILL)
        several.append(np.asarray(picks, np.int64))
    if mode == "tf_crop_and_resize" and axis.length == axis.size:
        several.append(np.arange(axis.size))  # some take it for no resizing at all
    if any(not np.array_equal(picks, several[0]) for picks in several):
        message = f"which of {axis.size} elements is nearest to one of {axis.length} is a matter"
        hint = "choose another scale, coordinate_transformation_mode or nearest_mode"
        raise node.error("FML-IMP-ATTR", f"{message} of rounding", hint)
    return several[0]


def _quotients(transform: Transformation, axis: Axis, length: Fraction) -> tuple[Coordinates, int]:
    """Return all coordinates exactly, as integers over one; they are evenly spaced."""
    ends = transform(np.array([Fraction(0), Fraction(1)], object), axis, length, _exact)
    first, second = map(Fraction, ends)
    unit = lcm(first.denominator, second.denominator)
    start, step = int(first * unit), int((second - first) * unit)
    bound = 4 * (abs(start) + abs(step) * axis.length + (axis.size + 1) * unit)
    steps = np.arange(axis.length)
    return (steps if bound < 1 << 62 else steps.astype(object)) * step + start, unit


def _of_singles(coordinates: Coordinates) -> tuple[Coordinates, int]:
    """Return float32 coordinates as integers over one."""
    mantissas, exponents = np.frexp(coordinates.astype(np.float64))
    whole = np.ldexp(mantissas, 24).astype(np.int64)
    shifts = exponents.astype(np.int64) - 24
    lowest = min(int(shifts[whole != 0].min(initial=0)), 0)
    highest = int(shifts[whole != 0].max(initial=0))
    shifts = np.where(whole != 0, shifts - lowest, 0)
    small = highest - lowest + 26 < 60 and -lowest < 36
    values = whole << shifts if small else whole.astype(object) << shifts.astype(object)
    return values, 1 << -lowest
