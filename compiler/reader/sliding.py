"""Where the windows of convolutions and pools lie: their attributes, resolved to pads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastml.compiler.reader.node import Node
from fastml.compiler.reader.values import Constant, Value, Varying
from fastml.dialects.elements import MAX_ELEMENTS
from fastml.dialects.fastml_spatial import AxisWindows, spatial_axes_of

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


@dataclass(frozen=True)
class Sliding:
    """Windows along each spatial axis, and where the channels are."""

    axes: tuple[AxisWindows, ...]
    channels_last: bool

    @property
    def kernel(self) -> list[int]:
        """Size of a window along each axis."""
        return [axis.kernel for axis in self.axes]

    @property
    def strides(self) -> list[int]:
        """Stride along each axis."""
        return [axis.stride for axis in self.axes]

    @property
    def dilations(self) -> list[int]:
        """Dilation along each axis."""
        return [axis.dilation for axis in self.axes]

    @property
    def pads(self) -> list[int]:
        """Pads before each axis, then after each."""
        return [axis.begin for axis in self.axes] + [axis.end for axis in self.axes]

    def shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a result of ``channels``."""
        counts = [axis.count for axis in self.axes]
        return (1, *counts, channels) if self.channels_last else (1, channels, *counts)


def spatial_operand(node: Node, value: Value, channels_last: bool) -> tuple[Varying, list[int]]:
    """Return a tensor of one sample that windows slide over, and its spatial sizes."""
    name = node.schema.inputs[0]
    if isinstance(value, Constant):
        message = f"'{name}' is a constant, which is not implemented"
        raise node.error("FML-IMP-TYPE", message)
    rank = len(value.shape)
    if rank < 3:
        message = f"'{name}' of shape {node.show(node.full_shape(value))} has no spatial axes"
        raise node.error("FML-IMP-SHAPE", message)
    batch = value.batch
    if batch is not None and (batch.axis != -rank or batch.outer != 1):
        raise node.mixed("samples are taken for channels or positions")
    if value.shape[0] != 1:
        message = f"axis 0 of '{name}' has {value.shape[0]} elements a sample"
        raise node.error("FML-IMP-SHAPE", message, "keep axis 0 for the batch")
    return value, [value.shape[axis] for axis in spatial_axes_of(rank, channels_last)]


def sizes_of(node: Node, name: str, count: int, least: int, default: int) -> list[int]:
    """Return an INTS attribute of one number for each axis, or the default for each."""
    given = node.integers(name) if name in node.schema.attributes else None
    if given is None:
        return [default] * count
    if len(given) != count:
        message = f"attribute '{name}={given}' does not have {count} numbers"
        raise node.error("FML-IMP-ATTR", message)
    if min(given) < least or max(given) > MAX_ELEMENTS:
        message = f"attribute '{name}={given}' has numbers outside {least}..{MAX_ELEMENTS}"
        raise node.error("FML-IMP-ATTR", message)
    return given


def auto_pad_of(node: Node) -> str:
    """Return how pads are chosen; refuse pads that are given and chosen at once."""
    if "auto_pad" not in node.schema.attributes:
        return "NOTSET"
    how = node.text("auto_pad")
    if how not in AUTO_PADS:
        known = ", ".join(AUTO_PADS)
        raise node.error("FML-IMP-ATTR", f"attribute 'auto_pad={how}' is none of {known}")
    if how != "NOTSET" and node.integers("pads") is not None:
        message = f"attributes 'auto_pad={how}' and 'pads' exclude each other"
        raise node.error("FML-IMP-ATTR", message, "keep one of them")
    return how


def sliding_windows(
    node: Node, sizes: Sequence[int], kernel: Sequence[int], channels_last: bool
) -> Sliding:
    """Read strides, dilations and pads; resolve ``auto_pad``. :func:`checked` comes next."""
    count = len(sizes)
    strides = sizes_of(node, "strides", count, 1, 1)
    dilations = sizes_of(node, "dilations", count, 1, 1)
    how = auto_pad_of(node)
    pads = sizes_of(node, "pads", 2 * count, 0, 0)
    each = zip(sizes, kernel, strides, dilations, pads[:count], pads[count:], strict=True)
    axes = [AxisWindows(*of_axis) for of_axis in each]
    if how in ("SAME_UPPER", "SAME_LOWER"):
        if any(_same_total(axis) < -1 for axis in axes):
            message = f"attribute 'auto_pad={how}' leaves elements over; runtimes differ on which"
            raise node.error("FML-IMP-ATTR", message, "give 'pads' instead")
        axes = [_same(axis, upper=how == "SAME_UPPER") for axis in axes]
    return Sliding(tuple(axes), channels_last)


def _same_total(axis: AxisWindows) -> int:
    """Return the pads that a window for each stride takes; negative for elements left over."""
    windows = -(-axis.size // axis.stride)
    extent = axis.dilation * (axis.kernel - 1) + 1
    return (windows - 1) * axis.stride + extent - axis.size


def _same(axis: AxisWindows, *, upper: bool) -> AxisWindows:
    """Pad an axis so that it has a window for each stride, the odd pad after or before."""
    total = max(_same_total(axis), 0)
    less, more = total // 2, total - total // 2
    begin, end = (less, more) if upper else (more, less)
    return replace(axis, begin=begin, end=end)


def checked(node: Node, sliding: Sliding) -> Sliding:
    """Refuse windows larger than what they slide over, before anything is made of them."""
    for axis in sliding.axes:
        node.check_size([axis.size + axis.begin + axis.end])
        if axis.count < 1:
            message = f"a window of {axis.kernel} elements, {axis.dilation} apart, is larger than"
            message += f" {axis.size} elements and {axis.begin + axis.end} pads"
            raise node.error("FML-IMP-SHAPE", message)
        node.check_size([axis.count, axis.kernel])
    node.check_size([axis.size + axis.begin + axis.end for axis in sliding.axes])
    return sliding


def seen(axis: AxisWindows, *, end: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return how many elements each window sees of the axis and ``end`` pads after it.

    Pads before the axis count if those after it do; ``end`` is -1 to count none at all.
    """
    starts = np.arange(axis.count) * axis.stride - axis.begin
    at = starts[:, None] + np.arange(axis.kernel) * axis.dilation
    inside = (at >= 0) & (at < axis.size) if end < 0 else at < axis.size + end
    return inside.sum(axis=1)
