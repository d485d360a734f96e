# pyright: basic, reportMissingTypeStubs=false
"""Models of any batch are read at batch 1, and refused where samples would meet."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.reader import check, read_onnx
from fastml.compiler.support.diagnostics import FastmlError
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate, network_of

Write = Callable[..., Path]
F = np.float32
GRID = {"scale": F(0.25), "zero": F(0), "bits": F(4)}
INT5 = "int5*0.25"
RNG = np.random.default_rng(7)
WHOLE = RNG.integers(-5, 5, (6, 6)).astype(F)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}", **attributes)


def quant(x: str, y: str, scale: str = "scale") -> Any:
    flags = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    domain = "qonnx.custom_op.general"
    return node("Quant", [x, scale, "zero", "bits"], [y], domain=domain, **flags)


def read(path: Path) -> ModuleOp:
    module = read_onnx(path, {"x": INT5})
    InferGrids().apply(Context(), module)
    module.verify()
    return module


def samples(shape: Sequence[int]) -> Any:
    return RNG.integers(-16, 16, (20, *shape)).astype(F) / 4


@pytest.mark.parametrize("batch", [1, 5, None, "N"])
@pytest.mark.parametrize("target", [[0, -1], [-1, 6], [5, 6], [1, 6]], ids=str)
def test_batches_become_one(batch: int | str | None, target: list[int], write: Write):
    nodes = [node("Reshape", ["x", "t"], ["f"]), node("MatMul", ["f", "w"], ["y"])]
    constants = {"t": np.array(target), "w": WHOLE}
    path = write(nodes, {"x": (batch, 2, 3)}, ["y"], constants)
    fits = target[0] in (0, -1) or target[0] == batch or (target[0] == 1 and batch in (None, "N"))
    if not fits:
        with pytest.raises(FastmlError, match="FML-IMP-SHAPE"):
            read_onnx(path, {"x": INT5})
        return
    x = samples((2, 3))
    got = evaluate(read(path), {"x": x}).outputs["y"].real
    np.testing.assert_array_equal(got, x.reshape(-1, 6) @ WHOLE)


@pytest.mark.parametrize("batch", [1, 5, "N"])
def test_flatten_into_the_batch_mixes_nothing(batch: int | str, write: Write):
    nodes = [node("Flatten", ["x"], ["f"], axis=0), quant("f", "y")]
    path = write(nodes, {"x": (batch, 2, 3)}, ["y"], GRID)
    network = network_of(read(path))
    (output,) = network.outputs.values()
    assert str(output.type) == "tensor<1x6x!fastml.fixed<s4, 2>>"


MIXERS = {
    "softmax": ([node("Softmax", ["x"], ["y"], axis=0)], {}),
    "softmax after flatten": (
        [node("Flatten", ["x"], ["f"], axis=0), node("Softmax", ["f"], ["y"], axis=1)],
        {},
    ),
    "concat": ([node("Concat", ["x", "x"], ["y"], axis=0)], {}),
    "transposed product": (
        [node("Transpose", ["x"], ["t"], perm=[1, 0]), node("MatMul", ["t", "w"], ["y"])],
        {"w": WHOLE[:5]},
    ),
    "product from the left": ([node("MatMul", ["w", "x"], ["y"])], {"w": WHOLE[:, :5]}),
    "a matrix for each sample": (
        [node("Unsqueeze", ["x", "one"], ["u"]), node("MatMul", ["u", "w"], ["y"])],
        {"w": np.stack([WHOLE[:5]] * 5)[:, :, :5], "one": np.array([1])},
    ),
    "transposed output": ([node("Transpose", ["x"], ["y"], perm=[1, 0])], {}),
    "with its transpose": (
        [node("Transpose", ["x"], ["t"], perm=[1, 0]), node("Add", ["x", "t"], ["y"])],
        {},
    ),
    "a constant for each sample": ([node("Add", ["x", "c"], ["y"])], {"c": WHOLE[:5, :5]}),
    "regrouped": ([node("Reshape", ["x", "s"], ["y"])], {"s": np.array([-1])}),
}


@pytest.mark.parametrize("case", MIXERS)
def test_mixing_samples_is_refused(case: str, write: Write):
    nodes, constants = MIXERS[case]
    path = write(nodes, {"x": (5, 5)}, ["y"], constants)
    if case == "regrouped":  # one axis: what was batch and feature is merged, and stays first
        assert read_onnx(path, {"x": INT5})
        return
    with pytest.raises(FastmlError, match="FML-IMP-BATCH"):
        read_onnx(path, {"x": INT5})


def test_a_constant_that_is_the_same_for_all_samples(write: Write):
    constants = {"c": np.broadcast_to(WHOLE[0], (5, 6)).copy()}
    path = write([node("Add", ["x", "c"], ["y"])], {"x": (5, 6)}, ["y"], constants)
    x = samples((6,))
    got = evaluate(read(path), {"x": x}).outputs["y"].real
    np.testing.assert_array_equal(got, x + WHOLE[0])


def shape_data(*tail: Any) -> list[Any]:
    """Nodes that make the number ``n`` of samples from the shape of ``x``, and use it."""
    shape = [node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "first"], ["n"], axis=0)]
    return [*shape, *tail]


COUNTS = {
    "a factor": [node("Cast", ["n"], ["f"], to=1), node("Mul", ["x", "f"], ["y"])],
    "an addend": [
        node("Slice", ["shape", "first1", "one"], ["s"]),
        node("Cast", ["s"], ["f"], to=1),
        node("Div", ["f", "two"], ["h"]),
        node("Add", ["x", "h"], ["y"]),
    ],
    "a matrix": [
        node("Cast", ["n"], ["f"], to=1),
        node("Mul", ["f", "w"], ["v"]),
        node("MatMul", ["x", "v"], ["y"]),
    ],
    "a bias": [
        node("Cast", ["n"], ["f"], to=1),
        node("Gemm", ["x", "w", "f"], ["y"]),
    ],
    "a scale": [
        node("Cast", ["n"], ["f"], to=1),
        quant("x", "y", scale="f"),
    ],
    "a power": [node("Cast", ["n"], ["f"], to=1), node("Pow", ["x", "f"], ["y"])],
    "another axis": [
        node("Unsqueeze", ["n", "first1"], ["s"]),
        node("Concat", ["rest", "s"], ["t"], axis=0),
        node("Reshape", ["x", "t"], ["y"]),
    ],
}


@pytest.mark.parametrize("batch", [6, "N"])
@pytest.mark.parametrize("case", COUNTS)
def test_a_number_of_samples_is_no_data(case: str, batch: int | str, write: Write):
    constants = GRID | {
        "first": np.int64(0),
        "first1": np.array([0]),
        "one": np.array([1]),
        "two": F(2),
        "rest": np.array([-1]),
        "w": WHOLE,
    }
    path = write(shape_data(*COUNTS[case]), {"x": (batch, 6)}, ["y"], constants)
    with pytest.raises(FastmlError, match=r"FML-IMP-BATCH.*samples"):
        read_onnx(path, {"x": INT5})


@pytest.mark.parametrize("batch", [1, 5, "N"])
def test_sizes_of_a_shape_are_data_and_the_batch_shapes(batch: int | str, write: Write):
    """The second size scales; the first, after arithmetic, only says where the samples are."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"], axis=0),
        node("Gather", ["shape", "one"], ["six"], axis=0),
        node("Mul", ["n", "two"], ["twice"]),
        node("Unsqueeze", ["twice", "axes"], ["t"]),
        node("Concat", ["t", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["halves"]),
        node("Shape", ["x"], ["again"]),
        node("Reshape", ["halves", "again"], ["whole"]),
        node("Cast", ["six"], ["factor"], to=1),
        node("Mul", ["whole", "factor"], ["y"]),
    ]
    constants = {
        "zero": np.int64(0),
        "one": np.int64(1),
        "two": np.int64(2),
        "axes": np.array([0]),
        "rest": np.array([3]),
    }
    path = write(nodes, {"x": (batch, 6)}, ["y"], constants)
    x = samples((6,))
    got = evaluate(read(path), {"x": x}).outputs["y"].real
    np.testing.assert_array_equal(got, x * 6)


ONLY_AT_1 = {
    "reshape": ([node("Reshape", ["x", "t"], ["y"])], {"t": np.array([1, 6])}, True),
    "reshape elsewhere": ([node("Reshape", ["x", "t"], ["y"])], {"t": np.array([5, 6])}, False),
    "squeeze": ([node("Squeeze", ["x", "t"], ["y"])], {"t": np.array([0])}, True),
    "reshaped factor": (
        [node("Reshape", ["x", "t"], ["f"]), node("MatMul", ["f", "w"], ["y"])],
        {"t": np.array([1, -1]), "w": WHOLE},
        True,
    ),
    "reshaped sum": (
        [node("Reshape", ["x", "t"], ["f"]), node("Add", ["f", "w"], ["y"])],
        {"t": np.array([1, -1]), "w": WHOLE[0]},
        True,
    ),
    "matrices": ([node("MatMul", ["x", "w"], ["y"])], {"w": np.stack([WHOLE[:3]] * 5)}, False),
    "addends": ([node("Add", ["x", "c"], ["y"])], {"c": np.ones((5, 2, 3), F)}, False),
    "concat": ([node("Concat", ["x", "c"], ["y"], axis=1)], {"c": np.ones((1, 1, 3), F)}, True),
    "concat of 5": (
        [node("Concat", ["x", "c"], ["y"], axis=1)],
        {"c": np.ones((5, 1, 3), F)},
        False,
    ),
}


@pytest.mark.parametrize("case", ONLY_AT_1)
def test_a_symbolic_batch_is_1_only_where_it_can_be_nothing_else(case: str, write: Write):
    nodes, constants, fits = ONLY_AT_1[case]
    path = write(nodes, {"x": ("N", 2, 3)}, ["y"], constants)
    if fits:
        assert read_onnx(path, {"x": INT5})
        assert all(status.supported for status in check(path, {"x": INT5}))
        return
    with pytest.raises(FastmlError, match=r"FML-IMP-SHAPE.*\[N, 2, 3\]"):
        read_onnx(path, {"x": INT5})
    assert not all(status.supported for status in check(path, {"x": INT5}))


def test_inputs_of_several_batches_are_refused(write: Write):
    path = write([node("Add", ["a", "b"], ["y"])], {"a": (2, 6), "b": (3, 6)}, ["y"])
    with pytest.raises(FastmlError, match="FML-IMP-BATCH"):
        read_onnx(path)
