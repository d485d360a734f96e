# pyright: basic, reportMissingTypeStubs=false
"""Small graphs, read and evaluated, give the numbers of ONNX Runtime or the QONNX functions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.reader import check, read_onnx
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.fastml import NetworkOp
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate

Write = Callable[..., Path]
Run = Callable[..., list[np.ndarray]]
QONNX = "qonnx.custom_op.general"
F = np.float32


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}", **attributes)


def quant(x: str, y: str, bits: str = "bits", scale: str = "scale", **attributes: Any) -> Any:
    flags = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes}
    inputs = [x, scale, "zero", bits]
    return helper.make_node("Quant", inputs, [y], name=f"Quant_{y}", domain=QONNX, **flags)


GRID = {"scale": F(0.25), "zero": F(0), "bits": F(4)}


def network_of(module: ModuleOp) -> NetworkOp:
    (network,) = module.ops
    assert isinstance(network, NetworkOp)
    return network


def read(path: Path, types: dict[str, str] | None = None) -> ModuleOp:
    module = read_onnx(path, types or {})
    InferGrids().apply(Context(), module)
    module.verify()
    return module


def samples(shape: Sequence[int], frames: int = 20, step: float = 0.25, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.integers(-16, 16, (frames, *shape)) * step).astype(np.float32)


def same_as_referee(path: Path, run: Run, inputs: dict[str, Any], types: dict[str, str]) -> None:
    """Compare frame by frame with the referee, which runs the model's batch of 1."""
    outputs = evaluate(read(path, types), inputs).outputs
    frames = len(next(iter(inputs.values())))
    for frame in range(frames):
        expected = run(path, {name: x[frame : frame + 1] for name, x in inputs.items()})
        for wanted, got in zip(expected, outputs.values(), strict=True):
            np.testing.assert_array_equal(got.real[frame].reshape(wanted.shape), wanted)


INT5 = "int5*0.25"
RNG = np.random.default_rng(7)
WHOLE = RNG.integers(-5, 5, (6, 6)).astype(F)

MATRICES = {
    "right 2-D": ((1, 6), WHOLE, "xw"),
    "right 2-D, batched rows": ((1, 3, 6), WHOLE, "xw"),
    "right 1-D": ((1, 6), WHOLE[0], "xw"),
    "right 3-D": ((1, 2, 6), np.stack([WHOLE, -WHOLE]), "xw"),
    "left 2-D": ((1, 6, 4), WHOLE, "wx"),
    "left 1-D": ((1, 6, 4), WHOLE[0], "wx"),
    "left 3-D": ((1, 2, 6, 4), np.stack([WHOLE, WHOLE.T]), "wx"),
    "halves": ((1, 6), WHOLE / 8, "xw"),
}


@pytest.mark.parametrize("case", MATRICES)
def test_matrix_products(case: str, write: Write, onnxruntime_run: Run):
    shape, weights, order = MATRICES[case]
    path = write([node("MatMul", list(order), ["y"])], {"x": shape}, ["y"], {"w": weights})
    same_as_referee(path, onnxruntime_run, {"x": samples(shape[1:])}, {"x": INT5})


@pytest.mark.parametrize("flags", [{}, {"transA": 1}, {"transB": 1}, {"alpha": 0.3}])
@pytest.mark.parametrize("beta", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("bias", [None, (), (6,), (1, 6), (6, 6), (6, 1)])
@pytest.mark.parametrize("swap", [False, True])
def test_gemm(
    flags: dict[str, Any],
    beta: float,
    bias: tuple[int, ...] | None,
    swap: bool,
    write: Write,
    onnxruntime_run: Run,
):
    constants = {"w": WHOLE, "shape": np.array([6, 6])}
    operands = ["w", "m"] if swap else ["m", "w"]
    if bias is not None:
        constants["c"] = np.random.default_rng(1).integers(-8, 8, bias).astype(F) / 2
        operands.append("c")
    nodes = [
        node("Reshape", ["x", "shape"], ["m"]),
        node("Gemm", operands, ["y"], beta=beta, **flags),
    ]
    path = write(nodes, {"x": (1, 36)}, ["y"], constants)
    x = samples((36,), 3)
    if "alpha" not in flags or bias is None:
        same_as_referee(path, onnxruntime_run, {"x": x}, {"x": INT5})
        return
    # the referee fuses alpha and C, where the processor can, and so rounds once less
    (got,) = evaluate(read(path, {"x": INT5}), {"x": x}).outputs.values()
    m = x.reshape(3, 6, 6)
    exact = (WHOLE @ m if swap else m @ WHOLE) * F(0.3) + constants["c"] * F(beta)
    np.testing.assert_array_equal(got.real, exact)
    expected = onnxruntime_run(path, {"x": x[:1]})[0]
    np.testing.assert_allclose(got.real[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("order", ["xc", "cx", "xx", "xb"])
def test_arithmetic(op: str, order: str, write: Write, onnxruntime_run: Run):
    constants = {"c": np.array([[0.5], [-1.3], [3.0]], F)}
    names = ["y2" if name == "b" else name for name in order]
    nodes = [node("Transpose", ["x"], ["y2"], perm=[0, 2, 1]), node(op, names, ["y"])]
    path = write(nodes, {"x": (1, 3, 3)}, ["y"], constants)
    x = samples((3, 3))
    x[x == 0] = 0.25
    same_as_referee(path, onnxruntime_run, {"x": x}, {"x": INT5})


@pytest.mark.parametrize("op", ["Add", "Sub"])
def test_sums_of_an_integer_divided_by_a_constant(op: str, write: Write, onnxruntime_run: Run):
    nodes = [node("Reshape", ["x", "rows"], ["r"]), node(op, ["x", "r"], ["y"])]
    path = write(nodes, {"x": (1, 4)}, ["y"], {"rows": np.array([0, -1])})
    x = (np.random.default_rng(3).integers(0, 256, (64, 4)) / F(255)).astype(F)
    same_as_referee(path, onnxruntime_run, {"x": x}, {"x": "uint8/255"})


def test_a_sum_of_steps_without_a_common_float32_is_refused(write: Write):
    path = write([node("Add", ["x", "z"], ["y"])], {"x": (1, 4), "z": (1, 4)}, ["y"])
    with pytest.raises(FastmlError, match=r"FML-GRID.*common step is not a float32"):
        read_onnx(path, {"x": "uint8/255", "z": INT5})


@pytest.mark.parametrize("exponent", [2, 3, 0, -1])
def test_a_power_may_be_an_integer(exponent: int, write: Write):
    nodes = [node("Pow", ["x", "real"], ["a"]), node("Pow", ["x", "whole"], ["b"])]
    constants = {"real": F(exponent), "whole": np.int64(exponent)}
    x = samples((4,))
    path = write(nodes, {"x": (1, 4)}, ["a", "b"], constants)
    outputs = evaluate(read(path, {"x": INT5}), {"x": x}).outputs
    assert outputs["a"].real.tobytes() == outputs["b"].real.tobytes()


def test_powers_that_are_refused(write: Write):
    power = [node("Pow", ["x", "e"], ["y"])]
    path = write(power, {"x": (1, 4)}, ["y"], {"e": np.int64(1 << 30)})
    with pytest.raises(FastmlError, match=r"FML-IMP-TYPE.*beyond those of float32"):
        read_onnx(path)
    path = write(power, {"x": (1, 4)}, ["y"], {"e": np.int64(2)}, opset=11)
    with pytest.raises(FastmlError, match=r"FML-IMP-TYPE.*only float32"):
        read_onnx(path)


def test_a_result_without_elements_is_refused(write: Write):
    path = write([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 6)}, ["y"], {"w": WHOLE[:, :0]})
    with pytest.raises(FastmlError, match=r"FML-IMP-SHAPE.*'MatMul_y'.*\[1, 0\] has no elements"):
        read_onnx(path, {"x": INT5})


def test_constants_of_a_higher_rank(write: Write, onnxruntime_run: Run):
    constants = {"c": samples((2, 3), 1)}
    nodes = [node("Add", ["x", "c"], ["a"]), node("Relu", ["a"], ["y"])]
    path = write(nodes, {"x": (1, 3)}, ["y"], constants)
    same_as_referee(path, onnxruntime_run, {"x": samples((3,))}, {"x": INT5})


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat_of_several_grids(axis: int, write: Write, onnxruntime_run: Run):
    shape = (1, 2, 2)
    nodes = [node("Concat", ["a", "b", "c", "s"], ["y"], axis=axis)]
    path = write(nodes, dict.fromkeys("abs", shape), ["y"], {"c": samples((2, 2), 1)})
    types = {"a": INT5, "b": "uint5*0.75", "s": "bipolar"}
    inputs = {
        "a": samples((2, 2), seed=1),
        "b": np.abs(samples((2, 2), step=0.75, seed=2)),
        "s": np.where(samples((2, 2), seed=3) < 0, F(-1), F(1)),
    }
    if axis == 1:
        path = write(
            [node("Concat", ["a", "b", "s", "a"], ["y"], axis=1)],
            dict.fromkeys("abs", shape),
            ["y"],
        )
    same_as_referee(path, onnxruntime_run, inputs, types)


def test_a_concatenation_feeds_a_product(write: Write, onnxruntime_run: Run):
    nodes = [
        node("Concat", ["a", "b", "s"], ["ab"], axis=1),
        node("MatMul", ["ab", "w"], ["y"]),
    ]
    path = write(nodes, dict.fromkeys("abs", (1, 2)), ["y"], {"w": WHOLE})
    types = {"a": INT5, "b": "uint5*0.75", "s": "bipolar"}
    inputs = {
        "a": samples((2,), seed=1),
        "b": np.abs(samples((2,), step=0.75, seed=2)),
        "s": np.where(samples((2,), seed=3) < 0, F(-1), F(1)),
    }
    same_as_referee(path, onnxruntime_run, inputs, types)


def test_shape_computations_are_folded(write: Write, onnxruntime_run: Run):
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "first"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Slice", ["s", "one", "end"], ["rest"]),
        node("Mul", ["rest", "two"], ["twice"]),
        node("Div", ["twice", "two"], ["once"]),
        node("Concat", ["n1", "once"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {
        **{
            "first": np.int64(0),
            "axes": np.array([0]),
            "one": np.array([1]),
            "end": np.array([99]),
        },
        "two": np.array([2]),
    }
    path = write(nodes, {"x": (1, 2, 3)}, ["y"], constants)
    same_as_referee(path, onnxruntime_run, {"x": samples((2, 3))}, {"x": INT5})
    statuses = check(path, {"x": INT5})
    assert [s.how for s in statuses[:-1]] == ["constant, folded"] * 7
    assert statuses[-1].how == "fastml.rearrange"


def test_old_files_list_their_constants_as_inputs(write: Write, onnxruntime_run: Run):
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    path = write(nodes, {"x": (1, 6), "w": (6, 6)}, ["y"], {"w": WHOLE}, ir_version=3)
    same_as_referee(path, onnxruntime_run, {"x": samples((6,))}, {"x": INT5})


def test_nodes_may_come_in_any_order(write: Write):
    nodes = [node("Relu", ["a"], ["y"]), node("Add", ["x", "c"], ["a"])]
    module = read(write(nodes, {"x": (1, 2)}, ["y"], {"c": F(1)}), {"x": INT5})
    got = evaluate(module, {"x": np.array([[-3, 2]], F)}).outputs["y"].real
    np.testing.assert_array_equal(got, [[0, 3]])


def test_outputs_that_have_no_name(write: Write):
    split = helper.make_node("Split", ["x", "s"], ["a", "", "", "d"], axis=1)
    path = write([split], {"x": ("N", 6)}, ["a", "d"], {"s": np.array([1, 1, 1, 3])})
    module = read_onnx(path, {"x": "int4"})
    module.verify()


def test_names_and_order_of_several_outputs(write: Write):
    nodes = [node("Relu", ["b"], ["r"]), node("Add", ["a", "b"], ["sum"])]
    path = write(nodes, {"b": (1, 2), "a": (1, 2)}, ["sum", "a", "r"])
    module = read(path, {"a": INT5, "b": INT5})
    network = network_of(module)
    assert list(network.inputs) == ["b", "a"]
    assert [name.data for name in network.output_names] == ["sum", "a", "r"]
    a, b = samples((2,), seed=1), samples((2,), seed=2)
    outputs = evaluate(module, {"a": a, "b": b}).outputs
    np.testing.assert_array_equal(outputs["sum"].real, a + b)
    np.testing.assert_array_equal(outputs["a"].real, a)
    np.testing.assert_array_equal(outputs["r"].real, np.maximum(b, 0))


# -- quantisers ----------------------------------------------------------------------------


@pytest.mark.parametrize("on_constant", [False, True])
@pytest.mark.parametrize("scale", [F(0.1), F(4), np.array([0.1, 0.2, 3.0], F)], ids=str)
@pytest.mark.parametrize("zero", [F(0), F(3), np.array([0, 1, -2], F)], ids=str)
@pytest.mark.parametrize("bits", [1, 2, 3, 8, 24])
@pytest.mark.parametrize("signed", [0, 1])
def test_quantisers(
    on_constant: bool,
    scale: Any,
    zero: Any,
    bits: int,
    signed: int,
    write: Write,
    require_tool: Callable[[str], str],
):
    require_tool("qonnx")
    from qonnx.custom_op.general.quant import quant as referee

    if signed and bits == 1 and np.any(zero):
        path = write([quant("x", "y")], {"x": (1, 3)}, ["y"], GRID | {"bits": F(1), "zero": zero})
        with pytest.raises(FastmlError, match="FML-IMP-QUANT"):
            read_onnx(path)
        return
    x = np.random.default_rng(0).normal(0, 3, (60, 3)).astype(F)
    x[:20] = (np.arange(20, dtype=F)[:, None] / 2 - 5) * scale
    expected = referee(x, scale, zero, np.array(bits, F), signed, 1, "ROUND").astype(F)
    nodes = [quant("x", "y", signed=signed, narrow=1)]
    constants = {"scale": scale, "zero": zero, "bits": F(bits)}
    if not on_constant:
        got = evaluate(read(write(nodes, {"x": (1, 3)}, ["y"], constants)), {"x": x})
        np.testing.assert_array_equal(got.outputs["y"].real, expected)
        return
    nodes.append(node("Add", ["in", "y"], ["out"]))
    path = write(nodes, {"in": (1, 60, 3)}, ["out"], constants | {"x": x})
    got = evaluate(read(path, {"in": "int2"}), {"in": np.zeros((1, 60, 3), F)})
    np.testing.assert_array_equal(got.outputs["out"].real[0], expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bits": F(25)}, "bit width of 25"),
        ({"bits": F(0)}, "bit width of 0"),
        ({"bits": F(3.5)}, "bit width of 3.5"),
        ({"bits": np.array([2, 3], F)}, "one number for all channels"),
        ({"scale": F(0)}, "finite and positive"),
        ({"scale": F(-1)}, "finite and positive"),
        ({"scale": F(np.nan)}, "finite and positive"),
        ({"scale": np.float64(1)}, "must be float32"),
        ({"zero": F(0.5)}, "must be an integer"),
        ({"bits": F(1), "zero": F(1)}, "signed 1-bit"),
    ],
    ids=str,
)
def test_quantisers_that_are_refused(change: dict[str, Any], reason: str, write: Write):
    path = write([quant("x", "y")], {"x": (1, 2)}, ["y"], GRID | change)
    with pytest.raises(FastmlError, match=f"FML-IMP-QUANT.*{reason}"):
        read_onnx(path)


def test_a_bipolar_quantiser_counts_an_underflow_as_positive(write: Write):
    path = write([quant("x", "y")], {"x": (1, 3)}, ["y"], GRID | {"bits": F(1), "scale": F(1e9)})
    x = np.array([[-1e-40, -1, 0]], F)
    got = evaluate(read(path), {"x": x}).outputs["y"].real
    np.testing.assert_array_equal(got, np.array([[1e9, -1e9, 1e9]], F))


def test_a_scale_that_is_computed_is_refused(write: Write):
    nodes = [node("Relu", ["x"], ["scale"]), quant("x", "y")]
    constants = {"zero": F(0), "bits": F(4)}
    path = write(nodes, {"x": (1, 2)}, ["y"], constants)
    with pytest.raises(FastmlError, match=r"FML-IMP-DYNAMIC.*'scale' is computed from an input"):
        read_onnx(path)


# -- outputs -------------------------------------------------------------------------------


def declared(write: Write, batch: int | str, kind: int, shape: Sequence[int | str] | None) -> Path:
    """A model whose output of shape ``batch x 3`` is declared otherwise."""
    path = write([node("Relu", ["x"], ["y"])], {"x": (batch, 3)}, ["y"])
    model = onnx.load(path)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", kind, shape))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, 5, "N"])
def test_outputs_are_what_the_model_says(batch: int | str, write: Write):
    real = onnx.TensorProto.FLOAT
    for shape in (None, [batch, 3], ["M", "K"], [batch, "K"]):
        assert read_onnx(declared(write, batch, real, shape))
    for shape in ([], [3], [batch, 4], [batch, 3, 1], *([[7, 3]] if batch != "N" else [])):
        with pytest.raises(FastmlError, match=r"FML-IMP-SHAPE.*'y' is declared \["):
            read_onnx(declared(write, batch, real, shape))
    with pytest.raises(FastmlError, match=r"FML-IMP-TYPE.*'y' is float32"):
        read_onnx(declared(write, batch, onnx.TensorProto.INT64, [batch, 3]))


def test_an_output_that_is_listed_twice_is_refused(write: Write):
    path = write([node("Relu", ["x"], ["y"])], {"x": (1, 3)}, ["y", "y"])
    with pytest.raises(FastmlError, match=r"FML-IMP-GRAPH.*'y' is listed twice"):
        read_onnx(path)


# -- input types ---------------------------------------------------------------------------


def annotate(path: Path, tensor: str, datatype: str) -> None:
    model = onnx.load(path)
    note = model.graph.quantization_annotation.add()
    note.tensor_name = tensor
    note.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("datatype", "element"),
    [
        ("BIPOLAR", "bipolar"),
        ("INT4", "fixed<s4, 0>"),
        ("UINT8", "fixed<u8, 0>"),
        ("BINARY", "fixed<u1, 0>"),
        ("FIXED<8,3>", "fixed<s8, 5>"),
        ("FLOAT32", "f32"),
    ],
)
def test_annotations_type_inputs(datatype: str, element: str, write: Write):
    path = write([node("Relu", ["x"], ["y"])], {"x": (1, 2)}, ["y"])
    annotate(path, "x", datatype)
    network = network_of(read_onnx(path))
    assert element in str(network.inputs["x"].type)
    if datatype == "FLOAT32":
        assert read_onnx(path, {"x": "int8"})
    else:
        with pytest.raises(FastmlError, match=r"FML-INPUT-TYPE.*but the model says"):
            read_onnx(path, {"x": "uint7"})


def test_an_annotation_that_nobody_understands_is_refused(write: Write):
    path = write([node("Relu", ["x"], ["y"])], {"x": (1, 2)}, ["y"])
    annotate(path, "x", "SCALEDINT<8>")
    with pytest.raises(FastmlError, match=r"FML-INPUT-TYPE.*SCALEDINT<8>"):
        read_onnx(path)


def test_a_type_for_what_is_no_input_is_refused(write: Write):
    path = write([node("Relu", ["x"], ["y"])], {"x": (1, 2)}, ["y"])
    with pytest.raises(FastmlError, match=r"FML-INPUT-TYPE.*'z' is not an input.*fix: .*x"):
        read_onnx(path, {"z": "int8"})


def test_a_product_of_an_unquantised_input_is_refused(write: Write):
    path = write([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 6)}, ["y"], {"w": WHOLE})
    module = read_onnx(path)
    with pytest.raises(FastmlError, match=r"FML-UNQUANTISED.*'x' is not quantised.*--input-type"):
        InferGrids().apply(Context(), module)
    (status,) = check(path)
    assert not status.supported
    assert "FML-UNQUANTISED" in status.reason


def test_a_matrix_that_nobody_quantised_is_refused(write: Write):
    weights = {"w": np.random.default_rng(0).normal(size=(6, 6)).astype(F)}
    path = write([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 6)}, ["y"], weights)
    with pytest.raises(FastmlError, match=r"FML-UNQUANTISED.*constant matrix"):
        read_onnx(path, {"x": INT5})


def test_check_accounts_for_every_node(write: Write):
    nodes = [
        quant("w", "wq"),
        quant("x", "xq"),
        node("MatMul", ["xq", "wq"], ["a"]),
        node("Celu", ["a"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("Softmax", ["a"], ["y"], axis=-1),
    ]
    path = write(nodes, {"x": (1, 6)}, ["y", "c"], GRID | {"w": WHOLE})
    statuses = check(path)
    assert [s.index for s in statuses] == list(range(6))
    assert [s.supported for s in statuses] == [True, True, True, False, False, True]
    assert statuses[3].reason.startswith("[FML-IMP-OP] operator 'Celu'")
    assert "Celu_b" in statuses[4].reason
    path = write(
        [n for n in nodes if n.op_type not in ("Celu", "Relu")],
        {"x": (1, 6)},
        ["y"],
        GRID | {"w": WHOLE},
    )
    hows = [
        "constant, folded",
        "host prologue: fastml.quantise",
        "fastml.matmul",
        "host epilogue: fastml.softmax",
    ]
    assert [s.how for s in check(path)] == hows
