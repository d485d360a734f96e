"""Scalings that miss some thresholds, mended: equal to the fp32 chain on every integer."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fastml.dialects.array import Integers
from fastml.lowering.corrected_scalings import (
    Corrected,
    compare_cost,
    fit_corrected,
    is_proved,
    multiply_cost,
)
from fastml.lowering.integer_functions import Function, Levels, levels_of
from fastml.lowering.scalings import fit_scaling

CHANNELS = 12


def chain(rng: np.random.Generator, reach: int, levels: int, sign: int) -> Function:
    """Return scales, a normalisation and a quantiser: a chain that rounds four times."""

    def reals(low: float, high: float) -> NDArray[np.float32]:
        return rng.uniform(low, high, CHANNELS).astype(np.float32)

    scale = reals(1e-5, 2e-5)
    mean, gain, shift = reals(-0.1, 0.1), sign * reals(0.5, 1.5), reals(-0.2, 0.2)
    step = np.float32(2 * reach * 1.5e-5 / levels)

    def function(raw: Integers) -> Integers:
        real = ((raw.astype(np.float32) * scale - mean) * gain + shift) / step
        return np.clip(np.rint(real), -levels // 2, levels // 2 - 1).astype(np.int64)

    return function


def levels_in(function: Function, reach: int, sign: int) -> Levels:
    reaches = np.full(CHANNELS, reach)
    found = levels_of(function, -reaches, reaches, np.full(CHANNELS, sign, np.int8))
    assert found is not None
    return found


def fitted(reach: int, levels: int, sign: int) -> tuple[Levels, Corrected, Function]:
    function = chain(np.random.default_rng(reach), reach, levels, sign)
    found = levels_in(function, reach, sign)
    corrected = fit_corrected(found)
    assert corrected is not None
    return found, corrected, function


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("reach", "levels"), [(900, 200), (60_000, 256), (400_000, 64)])
def test_every_integer_of_the_grid(reach: int, levels: int, sign: int):
    found, corrected, function = fitted(reach, levels, sign)
    grid = np.broadcast_to(np.arange(-reach, reach + 1)[:, None], (2 * reach + 1, CHANNELS))
    np.testing.assert_array_equal(corrected.evaluate(grid), function(grid))
    assert is_proved(corrected, found)
    assert np.all(np.sign(corrected.scaling.factor) == sign)


def test_wide_accumulators_have_no_exact_scaling_and_few_corrections():
    """Where a row of comparators was all there is, a few of them are enough."""
    found, corrected, _ = fitted(400_000, 256, 1)
    assert fit_scaling(found) is None
    assert not corrected.is_exact
    assert corrected.add.shape == corrected.drop.shape
    assert corrected.add.shape[1] < 60
    assert corrected.cost < compare_cost(found) / 4
    assert corrected.cost > multiply_cost(found, corrected.scaling.factor)


def test_proof_rejects_what_is_corrupt():
    found, corrected, _ = fitted(60_000, 256, 1)
    assert not corrected.is_exact
    element = int((corrected.add[:, 0] <= found.highs).argmax())
    for name in ("add", "drop"):
        rows = getattr(corrected, name).copy()
        rows[element, 0] += 1
        assert not is_proved(replace(corrected, **{name: rows}), found)
    form = corrected.scaling
    ones = np.ones(CHANNELS, np.int64)
    for name, by in {
        "factor": form.factor,
        "offset": form.factor,
        "shift": ones,
        "high": -ones,
    }.items():
        moved = replace(form, **{name: getattr(form, name) + by})
        assert not is_proved(replace(corrected, scaling=moved), found), name
    thresholds = found.thresholds.copy()
    thresholds[3, 7] += 1
    assert not is_proved(corrected, replace(found, thresholds=thresholds))


def test_an_exact_scaling_needs_no_correction():
    steps = np.arange(1, CHANNELS + 1)

    def function(raw: Integers) -> Integers:
        return np.clip(raw * steps // 8, -128, 127)

    corrected = fit_corrected(levels_in(function, 900, 1))
    assert corrected is not None
    assert corrected.is_exact
