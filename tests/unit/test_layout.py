"""Layouts of edges: how tensors lie in beats, and how layouts spread through a network."""

import sys
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr
from xdsl.utils.exceptions import VerifyException

sys.path.insert(0, str(Path(__file__).parent))

from spatial_networks import Images, fixed, lowered, places

from fastml.dialects import fastml
from fastml.dialects.interface import ATTRIBUTE, Interface
from fastml.dialects.layout import Layout
from fastml.lowering.image_layout import layouts_of


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


def test_layouts_travel_with_the_module() -> None:
    net = Images(x=(fixed(4), [1, 2, 4, 4]))
    module = lowered(net.finish(net.conv(net.inputs[0], 2, (3, 3))))
    layouts = Interface.of(module).layouts
    assert {name: str(layout) for name, layout in layouts.items()} == {"x": "2,3", "conv1": "2,3"}
    assert Interface.of(module).layout_of("x").beats == 16
    for texts in (["x"], ["z", "2"], ["x", "9"], []):
        _replace_layouts(module, texts)
        with pytest.raises(VerifyException, match="layout"):
            Interface.of(module)


def _replace_layouts(module: ModuleOp, texts: list[str]) -> None:
    held = module.attributes[ATTRIBUTE]
    assert isinstance(held, DictionaryAttr)
    given = ArrayAttr([StringAttr(text) for text in texts])
    module.attributes[ATTRIBUTE] = DictionaryAttr({**held.data, "layouts": given})


def spread(network: fastml.NetworkOp) -> list[str]:
    """Return the layouts of all edges, in order."""
    ops = [op for op in network.body.block.ops if isinstance(op, fastml.LayerOp)]
    layouts = layouts_of(ops, network.edges.values())
    return [str(layouts[value]) for value in network.edges.values()]


def test_positions_spread_through_maps() -> None:
    net = Images(x=(fixed(4), [1, 4, 5, 3]), v=(fixed(4), [1, 24]))
    image, vector = net.inputs
    turned = net.transpose(image, (0, 3, 1, 2))
    made = net.conv(turned, 6, (1, 1))
    lines = net.rearrange([made], places(made).reshape(1, 6, 20))
    flat = net.rearrange([made], places(made).reshape(1, -1))
    other = net.rearrange([vector], places(vector).reshape(1, 6, 2, 2))
    second = net.conv(other, 2, (2, 2))
    network = net.finish(lines, flat, second)
    assert spread(network) == ["1,2", "", "2,3", "2,3", "2", "", "2,3", "2,3"]


def test_networks_without_windows_are_one_beat() -> None:
    net = Images(x=(fixed(4), [1, 4, 5, 3]))
    network = net.finish(net.matmul(net.transpose(net.inputs[0], (0, 2, 1, 3)), 2))
    assert spread(network) == ["", "", ""]
    assert not Interface.of(lowered(network)).layouts
