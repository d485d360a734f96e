"""Networks of images lowered to streams of pixels: every edge equals the network's."""

import numpy as np
import pytest
from spatial_networks import Images, check_edges, fixed, lowered, places
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp, StringAttr
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, inference_spatial, qflow
from fastml.dialects.array import ArrayAttr
from fastml.dialects.fastml import Reduction, shape_of
from fastml.dialects.grid import BipolarType, QuantisedType, ScaledType
from fastml.dialects.interface import ATTRIBUTE, Interface
from fastml.lowering.image_layout import layouts_of


def test_a_convolution_and_its_quantiser() -> None:
    net = Images(x=(fixed(4), [1, 3, 6, 7]))
    c = net.conv(net.inputs[0], 4, (3, 3), pads=[1, 1, 1, 1])
    graph = check_edges(net.finish(net.relu(c, fixed(5, 0, 0))))
    (window,) = [op for op in graph.body.block.ops if isinstance(op, qflow.WindowOp)]
    assert window.kernel == (3, 3)
    assert qflow.channel_of(graph.inputs["x"]).beats.data == 42


LAYOUTS = pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])


def image(height: int, width: int, channels: int, last: bool) -> list[int]:
    return [1, height, width, channels] if last else [1, channels, height, width]


@LAYOUTS
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((1, 1), {}),
        ((1, 1), {"strides": [2, 2]}),
        ((3, 3), {"strides": [2, 1], "pads": [1, 0, 0, 2]}),
        ((2, 3), {"dilations": [2, 2], "pads": [0, 3, 2, 1]}),
        ((3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ((3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
        ((5, 6), {}),
    ],
)
def test_convolutions(kernel: tuple[int, int], options: dict[str, object], last: bool) -> None:
    net = Images(x=(fixed(4), image(5, 6, 4, last)))
    c = net.conv(net.inputs[0], 8, kernel, last=last, **options)  # pyright: ignore[reportArgumentType]
    check_edges(net.finish(net.relu(c, fixed(5, 0, 0), last=last)))


def test_pads_are_the_number_zero_of_any_type() -> None:
    scale = ArrayAttr.get(np.float32(0.3).reshape(()))
    kinds = [
        ScaledType(0, 4, scale, ArrayAttr.get(np.array(7))),
        BipolarType(scale),
        ScaledType(0, 4, scale, ArrayAttr.get(np.arange(3).reshape(1, 3, 1, 1))),
    ]
    for kind in kinds:
        net = Images(x=(kind, [1, 3, 4, 5]))
        c = net.conv(net.inputs[0], 2, (3, 3), pads=[1, 1, 1, 1])
        check_edges(net.finish(c))


@LAYOUTS
def test_pools_and_skips(last: bool) -> None:
    net = Images(x=(fixed(4), image(6, 6, 3, last)))
    a = net.relu(net.conv(net.inputs[0], 4, (3, 3), pads=[1] * 4, last=last), fixed(4), last=last)
    b = net.relu(net.conv(a, 4, (3, 3), pads=[1] * 4, last=last), fixed(4), last=last)
    p = net.max_pool(net.sum(a, b), (3, 3), strides=[2, 2], pads=[1] * 4, last=last)
    graph = check_edges(net.finish(p))
    assert any(isinstance(op, qflow.MaximumOp) for op in graph.body.block.ops)


@LAYOUTS
@pytest.mark.parametrize("kind", list(Reduction))
def test_global_pools_and_dense_layers(kind: Reduction, last: bool) -> None:
    net = Images(x=(fixed(4), image(4, 5, 3, last)))
    a = net.relu(net.conv(net.inputs[0], 6, (2, 2), last=last), fixed(4), last=last)
    r = net.quantise(net.reduce(a, kind, [-3, -2] if last else [-2, -1]), fixed(8))
    flat = net.rearrange([r], places(r).reshape(1, 6))
    check_edges(net.finish(net.matmul(flat, 3)))


@pytest.mark.parametrize("axes", [[-1], [-2], [-3, -1], [-3, -2], [-3, -2, -1]])
def test_reductions_over_some_axes(axes: list[int]) -> None:
    net = Images(x=(fixed(4), [1, 3, 4, 5]))
    a = net.relu(net.conv(net.inputs[0], 6, (2, 2)), fixed(4))
    check_edges(net.finish(net.quantise(net.reduce(a, Reduction.SUM, axes), fixed(6))))


@LAYOUTS
def test_a_flattened_image(last: bool) -> None:
    net = Images(x=(fixed(4), image(4, 4, 2, last)))
    a = net.relu(net.conv(net.inputs[0], 3, (3, 3), last=last), fixed(4), last=last)
    flat = net.rearrange([a], places(a).reshape(1, -1))
    graph = check_edges(net.finish(net.matmul(flat, 3)))
    assert qflow.channel_of(graph.outputs[graph.output_names.data[0].data]).beats.data == 1


def test_a_sequence() -> None:
    net = Images(x=(fixed(5), [1, 2, 12]))
    a = net.relu(net.conv(net.inputs[0], 4, (3,), pads=[1, 1]), fixed(4))
    b = net.relu(net.conv(net.max_pool(a, (2,)), 3, (2,), strides=[2]), fixed(4))
    check_edges(net.finish(b))


def test_images_that_are_transposed_for_their_port() -> None:
    net = Images(x=(fixed(4), [1, 5, 6, 3]))
    first = net.transpose(net.inputs[0], (0, 3, 1, 2))
    c = net.relu(net.conv(first, 4, (3, 3)), fixed(4))
    graph = check_edges(net.finish(net.transpose(c, (0, 2, 3, 1))))
    assert qflow.channel_of(graph.inputs["x"]).beats.data == 30
    kinds = (qflow.ReorderOp, qflow.SerialiseOp, qflow.DeserialiseOp)
    assert not any(isinstance(op, kinds) for op in graph.body.block.ops)


def test_wiring_of_channels() -> None:
    net = Images(x=(fixed(4), [1, 3, 4, 5]), y=(fixed(6), [1, 2, 4, 5]))
    c = net.quantise(net.conv(net.inputs[0], 4, (1, 1)), fixed(5))
    both = net.rearrange(
        [c, net.inputs[1]],
        np.concatenate([places(c), places(c, net.inputs[1])], 1)[:, [0, 4, 3, 5, 1]],
    )
    check_edges(net.finish(net.conv(both, 2, (3, 3))))


def test_images_of_other_sizes() -> None:
    """Resize, crop, pad with a constant, flip, and repeat one pixel."""
    net = Images(x=(fixed(4), [1, 2, 4, 5]))
    c = net.quantise(net.conv(net.inputs[0], 3, (1, 1)), fixed(5))
    at = places(c)
    big = net.rearrange([c], at.repeat(2, 2).repeat(3, 3))
    crop = net.rearrange([big], places(big)[:, :, 1:7, 2:11:2])
    two = net.constant([], fixed(5))
    padded = net.rearrange(
        [crop, two],
        np.pad(places(crop), [(0, 0), (0, 0), (1, 0), (2, 1)], constant_values=places(crop).size),
    )
    flipped = net.rearrange([padded], places(padded)[:, :, ::-1, ::-1])
    graph = check_edges(net.finish(net.conv(flipped, 2, (2, 2))))
    kinds = [type(op) for op in graph.body.block.ops]
    assert kinds.count(qflow.ReorderOp) == 1  # rows that rise are windows of one tap


def test_depth_and_space() -> None:
    net = Images(x=(fixed(4), [1, 8, 3, 4]))
    c = net.quantise(net.conv(net.inputs[0], 8, (1, 1)), fixed(5))
    wide = places(c).reshape(1, 2, 2, 2, 3, 4).transpose(0, 3, 4, 1, 5, 2).reshape(1, 2, 6, 8)
    big = net.rearrange([c], wide)
    d = net.quantise(net.conv(big, 2, (3, 3), pads=[1] * 4), fixed(5))
    deep = places(d).reshape(1, 2, 3, 2, 4, 2).transpose(0, 3, 5, 1, 2, 4).reshape(1, 8, 3, 4)
    graph = check_edges(net.finish(net.conv(net.rearrange([d], deep), 2, (1, 1))))
    kinds = [type(op) for op in graph.body.block.ops]
    assert kinds.count(qflow.SerialiseOp) == 1
    assert kinds.count(qflow.ReorderOp) == 1
    assert kinds.count(qflow.DeserialiseOp) == 0


def test_a_vector_becomes_an_image() -> None:
    net = Images(x=(fixed(4), [1, 6]))
    a = net.quantise(net.matmul(net.inputs[0], 24), fixed(5))
    first = net.rearrange([a], places(a).reshape(1, 2, 3, 4))
    check_edges(net.finish(net.conv(first, 2, (2, 2))))


def test_one_pixel_against_an_image() -> None:
    net = Images(x=(fixed(4), [1, 3, 4, 5]))
    a = net.quantise(net.conv(net.inputs[0], 4, (3, 3), pads=[1] * 4), fixed(5))
    pooled = net.quantise(net.reduce(a, Reduction.SUM, [-2, -1]), fixed(5))
    check_edges(net.finish(net.conv(net.sum(a, pooled), 2, (1, 1))))


def averaged(net: Images, x: SSAValue, bits: int) -> SSAValue:
    """Append an average of 3x3 that does not count pads, a bias and a quantiser."""
    height, width = shape_of(x)[2:]
    channels = shape_of(x)[1]
    ones = net.add(fastml.ConstantOp(np.ones((channels, 1, 3, 3), np.int64), fixed(2)))
    total = net.add(
        *inference_spatial.conv(
            net.fresh("total"), x, ones, net.fresh,
            strides=[1, 1], dilations=[1, 1], pads=[1] * 4, group=channels,
        )
    )  # fmt: skip
    rows, cols = (np.array([2, *[3] * (size - 2), 2], np.float32) for size in (height, width))
    count = net.add(fastml.ConstantOp((rows[:, None] * cols)[None, None]))
    real = net.add(fastml.DivOp(net.fresh("average"), [total, count]))
    real = net.add(fastml.AddOp(net.fresh("biased"), [real, net.constant([channels, 1, 1])]))
    return net.quantise(real, fixed(bits))


@pytest.mark.parametrize("pixels", [1, 2])
def test_averages_that_do_not_count_pads(pixels: int) -> None:
    net = Images(x=(fixed(5), [1, 2, 4, 6]))
    network = net.finish(net.conv(averaged(net, net.inputs[0], 4), 2, (1, 1)))
    graph = check_edges(network, pixels)
    masks = [op for op in graph.body.block.ops if isinstance(op, qflow.AccessOp)]
    assert len(masks) == 4 if pixels == 1 else len(masks) > 2  # one window, three counts


def test_parameters_that_vary_over_many_positions_are_refused() -> None:
    net = Images(x=(fixed(4), [1, 3, 4, 5]))
    a = net.conv(net.inputs[0], 4, (1, 1))
    varying = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
    real = net.add(fastml.AddOp("biased", [a, net.add(fastml.ConstantOp(varying))]))
    network = net.finish(net.quantise(real, fixed(4)))
    with pytest.raises(FastmlError, match="'biased' has constants that differ between") as error:
        check_edges(network)
    assert error.value.code == "FML-STREAM"


# --- several pixels a beat ---------------------------------------------------------------


@LAYOUTS
@pytest.mark.parametrize("pixels", [2, 4, 8])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((1, 1), {}),
        ((3, 3), {"pads": [1, 1, 1, 1]}),
        ((3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((2, 3), {"dilations": [2, 3], "pads": [0, 3, 2, 3]}),
        ((3, 5), {"group": 2, "pads": [1, 2, 1, 2]}),
        ((2, 2), {}),
        ((3, 3), {"strides": [1, 3], "pads": [1, 2, 1, 2]}),
    ],
)
def test_convolutions_of_several_pixels(
    kernel: tuple[int, int], options: dict[str, object], pixels: int, last: bool
) -> None:
    net = Images(x=(fixed(4), image(5, 8, 4, last)))
    c = net.conv(net.inputs[0], 6, kernel, last=last, **options)  # pyright: ignore[reportArgumentType]
    graph = check_edges(net.finish(net.relu(c, fixed(5, 0, 0), last=last)), pixels)
    assert qflow.channel_of(graph.inputs["x"]).beats.data == 40 // pixels


@LAYOUTS
@pytest.mark.parametrize("kind", list(Reduction))
def test_networks_of_several_pixels(kind: Reduction, last: bool) -> None:
    net = Images(x=(fixed(4), image(6, 8, 3, last)))
    a = net.relu(net.conv(net.inputs[0], 4, (3, 3), pads=[1] * 4, last=last), fixed(4), last=last)
    b = net.relu(net.conv(a, 4, (3, 3), pads=[1] * 4, last=last), fixed(4), last=last)
    p = net.max_pool(net.sum(a, b), (3, 3), strides=[2, 2], pads=[1] * 4, last=last)
    q = net.max_pool(p, (3, 2), strides=[1, 1], last=last)
    r = net.quantise(net.reduce(q, kind, [-3, -2] if last else [-2, -1]), fixed(8))
    for pixels in (2, 4):
        check_edges(net.network.clone() if pixels > 2 else net.finish(r), pixels)


@pytest.mark.parametrize("pixels", [2, 4])
def test_index_maps_of_several_pixels(pixels: int) -> None:
    net = Images(x=(fixed(4), [1, 2, 4, 8]))
    c = net.quantise(net.conv(net.inputs[0], 3, (1, 1)), fixed(5))
    big = net.rearrange([c], places(c).repeat(2, 2).repeat(2, 3))
    crop = net.rearrange([big], places(big)[:, :, 1:7, 3:15])
    last = net.transpose(net.conv(crop, 2, (2, 2)), (0, 2, 3, 1))
    check_edges(net.finish(last), pixels)


def test_branches_with_other_axes_as_positions() -> None:
    net = Images(x=(fixed(4), [1, 4, 4, 4]), y=(fixed(4), [1, 4, 4, 4]))
    x, y = net.inputs
    first = net.relu(net.conv(x, 4, (3, 3), pads=[1] * 4), fixed(4))
    last = net.relu(net.conv(y, 4, (3, 3), pads=[1] * 4, last=True), fixed(4), last=True)
    check_edges(net.finish(net.sum(first, last)))


def test_real_branches_with_other_axes_as_positions_are_refused() -> None:
    net = Images(x=(fixed(4), [1, 4, 4, 4]), y=(fixed(4), [1, 4, 4, 4]))
    x, y = (net.conv(x, 4, (1, 1), last=k > 0) for k, x in enumerate(net.inputs))
    halves = [net.add(fastml.MulOp(net.fresh("half"), [e, net.constant([1])])) for e in (x, y)]
    joined = net.add(fastml.AddOp(net.fresh("joined"), halves))
    with pytest.raises(FastmlError, match=r"FML-STREAM.*positions do not match"):
        lowered(net.finish(net.quantise(joined, fixed(4))))


# --- layouts --------------------------------------------------------------------------------


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
    given = ListAttr([StringAttr(text) for text in texts])
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


@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("kind", [fixed(4), fixed(4, 0, 0)])
def test_windows_that_see_pads_alone(kind: QuantisedType, pixels: int) -> None:
    """Their beats come at the image's pace, and are constants."""
    for shape, pads in (([1, 2, 4, 1], [0, 2, 0, 1]), ([1, 2, 1, 4], [2, 0, 1, 0])):
        net = Images(x=(kind, shape))
        c = net.conv(net.inputs[0], 3, (1, 1), pads=pads, strides=[3, 3])
        check_edges(net.finish(c), pixels=pixels)
