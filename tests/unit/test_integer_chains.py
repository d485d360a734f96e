"""Grids that are proved by counting bits hold every number that fp32 gives, and are tight."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import inference_spatial
from fastml.dialects.fastml import (
    AddOp,
    ConstantOp,
    DivOp,
    ElementwiseOp,
    ExtremumOp,
    MaxOp,
    MinOp,
    MulOp,
    NetworkOp,
    OutputOp,
    PReluOp,
    RearrangeOp,
    Reduction,
    ReluOp,
    SubOp,
    SumOp,
    element_type,
)
from fastml.dialects.grid import FixedType
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate

Array = NDArray[Any]
KINDS = (AddOp, SubOp, MulOp, DivOp, MaxOp, MinOp, PReluOp, ReluOp)
WIDE = FixedType(1, 19, 6)


def chain(rng: np.random.Generator, x: SSAValue, length: int) -> list[Operation]:
    """Draw fp32 operators by constants of few bits: one for all, or one a channel."""
    made: list[Operation] = []
    value = x
    for position in range(length):
        kind: type[ElementwiseOp] = KINDS[int(rng.integers(len(KINDS)))]
        shape = [(), (2, 1)][int(rng.integers(2))]
        numbers = rng.integers(-7, 8, shape) * 2.0 ** rng.integers(-4, 2)
        if kind is DivOp:
            numbers = rng.choice([-1, 1], shape) * 2.0 ** rng.integers(-2, 3, shape)
        elif kind in (AddOp, SubOp, MaxOp, MinOp):
            numbers = numbers * 37
        constant = ConstantOp(np.asarray(numbers, np.float32))
        operands = [value] if kind is ReluOp else [value, constant.result]
        if kind in (SubOp, MulOp, MaxOp) and rng.random() < 0.3:
            operands.reverse()
        step = kind(f"e{position}", operands)
        made += [step] if kind is ReluOp else [constant, step]
        value = step.result
    return made


def network(rng: np.random.Generator, length: int, *, flat: bool) -> ModuleOp:
    made = NetworkOp("n", {"x": TensorType(WIDE, [1, 2, 3])}, ["s"])
    block = made.body.block
    operations = chain(rng, block.args[0], length)
    if flat:
        last = operations[-1].results[0]
        index = np.array([4, 0, 2, 5, 1, 3])
        operations.append(RearrangeOp("flat", [last], index, element_type(last), (1, 6)))
    last = operations[-1].results[0]
    operations += inference_spatial.reduce("s", last, Reduction.SUM, [-1], str)
    block.add_ops([*operations, OutputOp([operations[-1].results[0]])])
    return ModuleOp([made])


@pytest.mark.parametrize("seed", range(24))
def test_grids_hold_what_fp32_gives(seed: int):
    """The sum of integers is that of the real edge, which stays for the host."""
    rng = np.random.default_rng(seed)
    module = network(rng, 1 + seed % 3, flat=seed % 3 == 0)
    InferGrids().apply(Context(), module)
    module.verify()
    (made,) = module.ops
    assert isinstance(made, NetworkOp)
    low, high = WIDE.raw_range
    raw = rng.integers(low, high, (200, 2, 3), endpoint=True)
    raw[0], raw[1] = low, high
    last = "flat" if seed % 3 == 0 else f"e{seed % 3}"
    found = evaluate(made, {"x": WIDE.decode(raw)}, [last])
    expected = found.taps[last].real.astype(np.float64).sum(axis=-1, keepdims=True)
    np.testing.assert_array_equal(found.outputs["s"].real, expected.astype(np.float32))


def inferred(build: list[Operation], x: SSAValue) -> NetworkOp:
    """Return a network that sums the result of ``build``, with grids."""
    block = x.owner
    assert not isinstance(block, Operation)
    last = build[-1].results[0]
    sums = inference_spatial.reduce("s", last, Reduction.SUM, [-1], str)
    block.add_ops([*build, *sums, OutputOp([sums[-1].results[0]])])
    made = block.parent_op()
    assert isinstance(made, NetworkOp)
    InferGrids().apply(Context(), ModuleOp([made]))
    return made


def test_a_bias_and_an_activation_become_exact_operators():
    made = NetworkOp("n", {"x": TensorType(WIDE, [1, 2, 3])}, ["s"])
    (x,) = made.body.block.args
    bias = ConstantOp(np.array([[0.25], [-1.5]], np.float32))
    add = AddOp("b", [x, bias.result])
    relu = ReluOp("r", [add.result])
    edges = inferred([bias, add, relu], x).edges
    assert list(edges) == ["x", "b", "r", "b/grid", "r/grid", "s"]
    assert isinstance(edges["b/grid"].owner, SumOp)
    assert isinstance(edges["r/grid"].owner, ExtremumOp)
    assert element_type(edges["s"]) == FixedType(0, 21, 6)


@pytest.mark.parametrize("constant", [0.1, 1e-30, 2.0**20])
def test_numbers_that_fp32_rounds_are_refused(constant: float):
    made = NetworkOp("n", {"x": TensorType(WIDE, [1, 2, 3])}, ["s"])
    (x,) = made.body.block.args
    bias = ConstantOp(np.asarray(constant, np.float32))
    add = AddOp("b", [x, bias.result])
    with pytest.raises(FastmlError, match=r"FML-UNQUANTISED.*edge 'b'"):
        inferred([bias, add], x)
