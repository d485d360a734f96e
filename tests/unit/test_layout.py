"""Layouts of edges: how tensors lie in beats."""

import numpy as np
import pytest

from fastml.dialects.layout import Layout


@pytest.mark.parametrize(
    ("shape", "positions", "pixels"),
    [
        ((1, 3, 4, 6), (2, 3), 1),
        ((1, 3, 4, 6), (2, 3), 2),
        ((1, 4, 6, 3), (1, 2), 3),
        ((1, 5, 8), (2,), 4),
        ((1, 7), (), 1),
        ((1, 3, 4, 6), (1, 3), 1),
    ],
)
def test_rows_of_beats(shape: tuple[int, ...], positions: tuple[int, ...], pixels: int) -> None:
    layout = Layout(shape, positions, pixels)
    size = int(np.prod(shape))
    frames = np.arange(3 * size).reshape(3, *shape)
    rows = layout.to_rows(frames)
    assert np.array_equal(layout.from_rows(rows), frames)
    assert layout.beats * layout.elements == size
    # the first beat is the tensor at the first places of its positions
    first = frames[0]
    for axis in positions:
        first = first.take(range(layout.token[axis]), axis)
    assert np.array_equal(rows[0, : layout.elements], first.reshape(-1))
    assert np.array_equal(rows[0].reshape(layout.beats, -1), layout.places)
    assert Layout.parse(str(layout), shape) == layout


@pytest.mark.parametrize("text", ["2,1", "4", "x", "2,3*5", "*2", "2,2", "-1"])
def test_malformed_layouts(text: str) -> None:
    with pytest.raises(ValueError, match=r"positions|pixels|invalid literal"):
        Layout.parse(text, (1, 3, 4, 6))
