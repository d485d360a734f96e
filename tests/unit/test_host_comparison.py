# pyright: basic, reportMissingTypeStubs=false
"""All levels give the same float32 outputs, to the sign of a zero, and verifying looks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import fastml
from fastml.runtime import carriers
from fastml.runtime.verify import Divergence

Write = Callable[..., Path]
LEVELS = ["fastml", "qflow", "affine", "hw"]
SMALL = {"scale": np.float32(0.3), "zero": np.float32(0), "bits": np.float32(4)}
SIGN_OF_ZERO = {
    "divisor": ("Div", ["c", "q"], np.float32(2)),
    "negated": ("Mul", ["q", "c"], np.float32(-4)),
    "divided": ("Div", ["q", "c"], np.float32(-4)),
}


def compiled(write: Write, case: str) -> fastml.Design:
    """A quantiser that rounds -1/16 to zero, and an epilogue that sees the zero's sign."""
    op, inputs, c = SIGN_OF_ZERO[case]
    domain = "qonnx.custom_op.general"
    flags = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [
        helper.make_node("Quant", ["x", "scale", "zero", "bits"], ["q"], domain=domain, **flags),
        helper.make_node(op, inputs, ["y"]),
    ]
    path = write(nodes, {"x": (1, 3)}, ["y"], SMALL | {"c": c})
    return fastml.compile(path, input_type={"x": "fixed<10,6>"})


@pytest.mark.parametrize("case", SIGN_OF_ZERO)
def test_a_quantised_zero_has_no_sign(case: str, write: Write):
    design = compiled(write, case)
    x = np.array([[-1 / 16, 0, -2], [1 / 16, 3, 1]], np.float32)
    expected = np.asarray(design.predict(x))
    assert expected.dtype == np.float32
    zero = {"divisor": np.inf, "negated": -0.0, "divided": -0.0}[case]
    assert expected[0, 0].tobytes() == np.float32(zero).tobytes()
    for level in LEVELS:
        got = np.asarray(design.simulate(x, level=level).outputs)
        assert got.tobytes() == expected.tobytes(), level


@pytest.mark.parametrize("case", SIGN_OF_ZERO)
def test_a_sign_of_zero_that_one_level_sees_is_a_divergence(
    case: str, write: Write, monkeypatch: pytest.MonkeyPatch
):
    compiled(write, case).verify(vectors=200, levels=LEVELS)
    monkeypatch.setattr(carriers, "_unsigned_zero", lambda real: real)
    with pytest.raises(Divergence, match="the model's output 'y'"):
        compiled(write, case).verify(vectors=200, levels=LEVELS)


def test_levels_agree_on_sums_of_an_integer_divided_by_a_constant(write: Write):
    sub = helper.make_node("Sub", ["x", "z"], ["y"])
    path = write([sub], {"x": (1, 2), "z": (1, 2)}, ["y"])
    types = {"x": "uint8/255", "z": "uint4/255"}
    fastml.compile(path, input_type=types).verify(vectors=100, levels=LEVELS)
