"""Accumulators that float32 does not hold, and words over 64 bits, judged from outside."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from qonnx_builder import Array, Builder, Edge, checked, write_model
from qonnx_referee import Judge

import fastml

LEVELS = ("fastml", "qflow", "affine", "hw")
FRAMES = 64


@dataclass(frozen=True)
class Wide:
    """A dense layer of wide integers, whose result is read as it is and quantised."""

    kind: str
    step: int
    """Binary logarithm of the input's step."""
    input_bits: int
    weight_bits: int
    accumulator_bits: int
    """More than which an accumulator has in one of the frames."""

    def sample(self, rng: np.random.Generator) -> Array:
        """Return float32 numbers of 17 bits at random places of the range."""
        exponent = rng.integers(0, self.input_bits - 17, (FRAMES, 5))
        exponent[:8] = self.input_bits - 18
        digits = rng.integers(-(1 << 17) + 1, 1 << 17, (FRAMES, 5))
        return np.ldexp(digits.astype(np.float32), exponent + self.step)

    def build(self, bits: int) -> tuple[Builder, Edge, Edge, Array]:
        """Return the graph, its two outputs, and the integers of the weights."""
        b = Builder(np.random.default_rng(3), 13, "qonnx.custom_op.general", None, "plain")
        x = b.input(self.kind, (5,))
        spread = 2 ** (self.weight_bits - 2) / 64
        reals = (b.rng.standard_normal((5, 3)) * spread).astype(np.float32)
        zero, width = np.zeros((), np.float32), np.array(self.weight_bits, np.float32)
        names = [b.constant(value) for value in (reals, np.array(1 / 64, np.float32), zero, width)]
        weights = b.node("Quant", names, reals.shape, b.domain, signed=1, narrow=0)
        del b.shapes[weights]
        high = 1 << (self.weight_bits - 1)
        integers = np.clip(np.rint(reals * 64), -high, high - 1).astype(np.int64)
        sketch = x.sketch @ (integers / 64)
        product = b.node("MatMul", [x.name, weights], (3,))
        about = np.abs(sketch).mean()
        bias = b.constant((b.rng.standard_normal(3) * about).astype(np.float32))
        total = Edge(b.node("Add", [product, bias], (3,)), (3,), sketch, None)
        scale = np.array(np.abs(sketch).max() / 2 ** (bits - 1), np.float32)
        return b, total, b.quant(total, bits, scale, zero, True, False, "ROUND"), integers


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    "wide",
    [
        Wide("fixed<18,4>", -14, 18, 14, 24),
        Wide("int24", 0, 24, 12, 30),
        Wide("fixed<60,30>", -30, 60, 10, 64),
    ],
    ids=lambda w: w.kind,
)
def test_wide_accumulators(
    wide: Wide, bits: int, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """Integers are exact at every level; what float32 rounds after them is as defined."""
    require_tool("qonnx")
    b, total, quantised, weights = wide.build(bits)
    model = checked(b.model([total, quantised]))
    path = write_model(model, tmp_path / "wide.onnx")
    design = fastml.compile(path, input_type={b.inputs[0].name: wide.kind})
    x = wide.sample(np.random.default_rng(0))
    digits = np.ldexp(x.astype(np.float64), -wide.step)
    exact = np.array([int(v) for v in digits.flat], object).reshape(x.shape) @ weights.astype(
        object
    )
    assert max(abs(value) for value in exact.flat).bit_length() > wide.accumulator_bits
    judge = Judge(model, b.shapes, FRAMES)
    inputs, first = {b.inputs[0].name: x}, dict[str, Array]()
    for level in LEVELS:
        run = design.simulate(inputs, level, taps=b.quantisers)
        taps = {name: run.tap[name] for name in b.quantisers}
        assert judge.judge(inputs, taps, run.outputs).wrong == []
        first = first or run.outputs
        for name, array in first.items():
            np.testing.assert_array_equal(run.outputs[name], array, f"{level} {name}")
        if level != "fastml":
            (edge,) = [name for name in run.details.raw if name.startswith("MatMul")]
            np.testing.assert_array_equal(run.details.raw[edge], exact, level)
