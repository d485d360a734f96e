"""Windows over images of several pixels a beat: which tokens they see, and where in them.

Of an output token of Q pixels, tap ``kx`` of pixel ``q`` sees the input pixel
``(t * Q + q) * stride + kx * dilation - pad``. Where Q * stride is a multiple of the P pixels
of an input token, that is a fixed pixel of a token at a fixed distance from token
``t * Q * stride / P``: a window over tokens, and wiring.
"""

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from fastml.dialects.fastml_spatial import AxisWindows
from fastml.dialects.layout import Layout

Table = NDArray[np.int64]


@dataclass(frozen=True)
class TokenWindow:
    """A window over tokens, and the elements that each pixel of a result sees in it."""

    size: tuple[int, int]
    """Rows and columns of the tokens of the operand."""
    rows: Table
    cols: Table
    """Tokens, as ``qflow.window`` has them."""
    index: NDArray[np.int64]
    """``[pixel, ky, kx, channel]``: elements of the window."""

    @property
    def is_identity(self) -> bool:
        """Whether every window sees its own token alone."""
        height, width = self.size
        if self.rows.shape != (height, 1) or self.cols.shape != (width, 1):
            return False
        own = np.array_equal(self.rows[:, 0], np.arange(height))
        return own and np.array_equal(self.cols[:, 0], np.arange(width))


def common_pixels(source: Layout, result: Layout, stride: int) -> int:
    """Return how many pixels a token of the operand of a window may have."""
    return gcd(source.pixels, result.pixels * stride)


def by_pixel(layout: Layout) -> NDArray[np.int64]:
    """Return the elements of a token as ``[pixel, channel]``."""
    places = np.arange(layout.elements).reshape(layout.token)
    if not layout.positions:
        return places.reshape(1, -1)
    return np.moveaxis(places, layout.positions[-1], 0).reshape(layout.pixels, -1)


def token_window(windows: tuple[AxisWindows, ...], source: Layout, result: Layout) -> TokenWindow:
    """Plan windows along the one or two positions of an image."""
    *above, last = windows
    rows = above[0].table if above else np.zeros((1, 1), np.int64)
    pixels = source.pixels
    step, rest = divmod(result.pixels * last.stride, pixels)
    assert rest == 0, "tokens of the operand have too many pixels"
    taps = np.arange(last.kernel) * last.dilation - last.begin
    offsets = np.arange(result.pixels)[:, None] * last.stride + taps
    token, pixel = np.divmod(offsets, pixels)
    seen: Table = np.unique(token)
    if len(set(np.diff(seen).tolist())) > 1:  # columns of a window lie on a line
        seen = np.arange(int(seen[0]), int(seen[-1]) + 1)
    width = source.grid[-1]
    cols = np.arange(result.grid[-1])[:, None] * step + seen
    cols = np.where((cols >= 0) & (cols < width), cols, -1)
    slot = np.searchsorted(seen, token)
    kernel_rows = np.arange(rows.shape[1])[None, :, None, None]
    places = by_pixel(source)[pixel][:, None]
    index = (kernel_rows * len(seen) + slot[:, None, :, None]) * source.elements + places
    height = source.grid[0] if above else 1
    return TokenWindow((height, width), rows, cols, np.asarray(index, np.int64))
