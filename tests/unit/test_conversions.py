"""Conversions between fixed-point types: every value, every mode, as stages and as a network."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import ceil, floor

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml
from fastml.dialects.fastml_convert import Format
from fastml.dialects.fixed_modes import Overflow, Quantisation
from fastml.dialects.grid import FixedType
from fastml.lowering.fastml_to_qflow import FastmlToQflow
from fastml.lowering.qflow_schedule import QflowSchedule
from fastml.lowering.qflow_solve import QflowSolve
from fastml.lowering.qflow_to_affine import QflowToAffine
from fastml.lowering.set_precision import quantised_constant
from fastml.runtime import affine as affine_level
from fastml.runtime.fastml import evaluate as run_network
from fastml.runtime.qflow import evaluate

CONTEXT = Context()
HALF = Fraction(1, 2)

ROUND: dict[Quantisation, Callable[[Fraction], int]] = {
    Quantisation.TRN: floor,
    Quantisation.TRN_ZERO: lambda v: floor(v) if v >= 0 else ceil(v),
    Quantisation.RND: lambda v: floor(v + HALF),
    Quantisation.RND_MIN_INF: lambda v: ceil(v - HALF),
    Quantisation.RND_INF: lambda v: floor(v + HALF) if v >= 0 else ceil(v - HALF),
    Quantisation.RND_ZERO: lambda v: ceil(v - HALF) if v >= 0 else floor(v + HALF),
    Quantisation.RND_CONV: round,
}


def wanted(raw: int, source: FixedType, to: Format) -> int:
    """Convert one number by the definition of the modes."""
    value = Fraction(raw) / Fraction(2) ** (source.fraction.data - to.type.fraction.data)
    steps = ROUND[to.rounding](value)
    low, high = to.type.raw_range
    if low <= steps <= high and not (to.overflow is Overflow.SAT_SYM and steps < -high < 0):
        return steps
    match to.overflow:
        case Overflow.WRAP:
            return (steps - low) % (high - low + 1) + low
        case Overflow.SAT_ZERO:
            return 0
        case Overflow.SAT_SYM if low < -high:
            return min(max(steps, -high), high)
        case _:
            return min(max(steps, low), high)


def network(source: FixedType, to: Format) -> ModuleOp:
    net = fastml.NetworkOp("net", {"x": TensorType(source, (1, 1))}, ["y"])
    made = fastml.ConvertOp("y", net.inputs["x"], to)
    net.body.block.add_ops([made, fastml.OutputOp([made.result])])
    module = ModuleOp([net])
    module.verify()
    return module


SOURCES = [FixedType(1, 7, 3), FixedType(0, 6, 2), FixedType(1, 3, -1)]
TARGETS = [FixedType(1, 4, 1), FixedType(0, 3, 0), FixedType(1, 9, 3), FixedType(1, 12, 5)]


@pytest.mark.parametrize("rounding", list(Quantisation))
@pytest.mark.parametrize("overflow", list(Overflow))
def test_every_value_of_every_mode(rounding: Quantisation, overflow: Overflow) -> None:
    lowered = 0
    for source, target in product(SOURCES, TARGETS):
        to = Format(target, rounding, overflow)
        module = network(source, to)
        low, high = source.raw_range
        raw = np.arange(low, high + 1)[:, None]
        expected = [[wanted(int(v), source, to)] for (v,) in raw]
        held = run_network(module, {"x": source.decode(raw)}).outputs["y"].raw
        assert held is not None
        assert held.tolist() == expected
        try:
            FastmlToQflow().apply(CONTEXT, module)
        except FastmlError as error:
            if error.code != "FML-OPTION":
                raise
            continue
        module.verify()
        assert evaluate(module, {"x": raw})[0]["y"].tolist() == expected
        QflowSolve().apply(CONTEXT, module)
        QflowSchedule(clock_ns=0).apply(CONTEXT, module)
        QflowToAffine().apply(CONTEXT, module)
        found = affine_level.evaluate(module, {"x": raw}).outputs["y"]
        assert found.tolist() == expected
        lowered += 1
    modes = (Quantisation.TRN, Quantisation.RND, Quantisation.RND_CONV, Quantisation.RND_MIN_INF)
    if rounding in modes and overflow is not Overflow.SAT_ZERO:
        assert lowered == len(SOURCES) * len(TARGETS)


def test_formats_are_read_with_the_defaults_of_ap_fixed() -> None:
    found = Format.parse("ap_ufixed<8, -1>")
    assert found == Format(FixedType(0, 8, 9), Quantisation.TRN, Overflow.WRAP)
    found = Format.parse("fixed<8,3,AP_RND_CONV,SAT_SYM>")
    assert found == Format(FixedType(1, 8, 5), Quantisation.RND_CONV, Overflow.SAT_SYM)
    assert Format.parse(str(found)) == found


@pytest.mark.parametrize("rounding", list(Quantisation))
def test_constants_are_rounded_from_the_float_itself(rounding: Quantisation) -> None:
    to = Format(FixedType(1, 8, 3), rounding, Overflow.SAT)
    rng = np.random.default_rng(3)
    ties = np.arange(-40, 40) / 16
    tiny = np.array([1e-40, -1e-40, 2.0**-149, 3.1e38])
    real = np.concatenate([ties, rng.normal(0, 8, 100), tiny]).astype(np.float32)
    expected = [min(max(ROUND[rounding](Fraction(float(v)) * 8), -128), 127) for v in real]
    assert quantised_constant(real, to).tolist() == expected


def test_a_constant_that_would_wrap_is_refused() -> None:
    to = Format(FixedType(1, 8, 3))
    with pytest.raises(OverflowError, match=r"16\.0 is beyond fixed<8,5,trn,wrap>"):
        quantised_constant(np.array([15.9, 16.0], np.float32), to)
