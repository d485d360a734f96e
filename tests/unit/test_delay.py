"""The delay model's figures are ordered as hardware is."""

import numpy as np

from fastml.lowering.delay import TARGETS


def test_delays_grow_with_width_and_keep_shape() -> None:
    model = TARGETS["generic"]
    width = np.arange(1, 65).reshape(8, 8)
    for method in (model.adder, model.comparator, model.round_clamp, model.lookup):
        delays = method(width)
        assert delays.shape == width.shape
        assert np.all(np.diff(delays.ravel()) >= 0)
    assert np.all(model.comparator(width) <= model.adder(width))
    assert np.all(model.adder(width) < model.round_clamp(width))


def test_nothing_takes_no_time() -> None:
    model = TARGETS["generic"]
    for method in (model.adder, model.comparator, model.round_clamp, model.lookup):
        assert method(0) == 0
    assert model.mux(1) == 0
    assert model.mux([4, 5, 16]).tolist() == [0.35, 0.7, 0.7]
    assert model.lookup([1, 6]).tolist() == [0.35, 0.35]


def test_without_delay_a_design_is_combinational() -> None:
    model = TARGETS["none"]
    assert not np.any(model.adder(np.arange(100)))
    assert model.slack(0.0) == 0.0
    assert TARGETS["generic"].slack(5.0) == 4.8
