# pyright: basic, reportMissingTypeStubs=false
"""Every attribute, optional input and output of every operator: exact, or refused.

The schemas are walked, not a list of ours, so an attribute that a new version adds is met
here first.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from xdsl.context import Context

from fastml.compiler.reader import read_onnx, registry
from fastml.compiler.reader.node import Node
from fastml.compiler.reader.registry import Operator, load_operators
from fastml.compiler.reader.schema import QONNX_DOMAINS, find_schema
from fastml.compiler.reader.values import Value
from fastml.compiler.support.diagnostics import FastmlError
from fastml.lowering.infer_grids import InferGrids
from fastml.runtime.fastml import evaluate

OPERATORS = load_operators()
STANDARD = sorted(name for domain, name in OPERATORS if domain == "")
TYPES = {"x": "int5*0.25"}
SHAPE = (3, 4)
"""Shape of one sample."""
WORDS = [
    *("reflect", "edge", "wrap", "constant", "nearest", "linear", "CRD", "DCR", "floor", "ceil"),
    *("round_prefer_ceil", "asymmetric", "align_corners", "pytorch_half_pixel", "not_larger"),
    *("half_pixel_symmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize", "not_smaller"),
]
"""What operators have as modes."""
VALUES: Mapping[str, list[Any]] = {
    "INT": [0, 1, 2, 3, -1, -2, 7, 10],
    "INTS": [
        *([0], [1], [0, 1], [1, 0], [0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 2], [-1]),
        *([2, 1], [2, 2], [3, 4], [1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 2, 0], [-1, 0, 0, 0]),
    ],
    "FLOAT": [0.0, 1.0, 0.5, -2.0],
    "FLOATS": [[1.5], [1.0, -2.0]],
    "STRING": ["no such thing", "FLOOR", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"],
    "STRINGS": [["a"]],
    "TENSOR": [
        numpy_helper.from_array(np.array([0.5, 1, 2, 4], np.float32)),
        numpy_helper.from_array(np.array(3, np.int64)),
    ],
}


@dataclass
class Case:
    """A small model around one node: its inputs, and what makes of its result an output."""

    inputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    before: list[onnx.NodeProto] = field(default_factory=list)
    after: list[onnx.NodeProto] = field(default_factory=list)


def case_of(name: str, opset: int) -> Case:
    rng = np.random.default_rng(0)
    f, i = np.float32, np.int64
    constant = {"c": (rng.integers(-8, 8, (4,)) / 4).astype(f)}
    to_output = helper.make_node("Add", ["x", "y"], ["z"])
    match name:
        case "Add" | "Sub" | "Mul" | "Div":
            constant["c"][constant["c"] == 0] = 0.5
            return Case(["x", "c"], constants=constant)
        case "Pow":
            return Case(["x", "c"], constants={"c": np.array(2, f)})
        case "MatMul":
            return Case(["x", "w"], constants={"w": rng.integers(-4, 4, (4, 5)).astype(f)})
        case "Gemm":
            weights = rng.integers(-4, 4, (12, 12)).astype(f)
            flat = helper.make_node("Flatten", ["x"], ["flat"])
            constants = {"w": weights, "b": rng.integers(-4, 4, 12).astype(f)}
            return Case(["flat", "w", "b"], constants=constants, before=[flat])
        case "BatchNormalization":
            statistics = {n: rng.random(3).astype(f) + f(0.5) for n in "gbmv"}
            return Case(["x", *"gbmv"], constants=statistics)
        case "Reshape":
            return Case(["x", "s"], constants={"s": np.array([0, 2, 6], i)})
        case "Unsqueeze":
            if opset < 13:
                return Case(["x"], {"axes": [1]})
            return Case(["x", "a"], constants={"a": np.array([1], i)})
        case "Squeeze":
            node = helper.make_node("Reshape", ["x", "s"], ["wide"])
            constants = {"s": np.array([0, 1, 3, 1, 4], i)}
            if opset < 13:
                return Case(["wide"], {"axes": [1]}, constants, [node])
            return Case(["wide", "a"], {}, {**constants, "a": np.array([3], i)}, [node])
        case "Concat":
            return Case(["x", "x"], {"axis": 1})
        case "Cast":
            return Case(["n"], {"to": 1}, {"n": np.array([1, 2, 3, 4], i)}, after=[to_output])
        case "Constant":
            return Case([], {"value": VALUES["TENSOR"][0]}, after=[to_output])
        case "Gather":
            table = rng.integers(-8, 8, (4, 4)).astype(f)
            constants = {"t": table, "k": np.array([1, 3, 0], i)}
            return Case(["t", "k"], {}, constants, after=[to_output])
        case "Slice":
            table = rng.integers(-8, 8, (8, 4)).astype(f)
            if opset < 10:
                attributes = {"starts": [1, 0], "ends": [4, 4]}
                return Case(["t"], attributes, {"t": table}, after=[to_output])
            constants = {"t": table, "b": np.array([1, 0], i), "e": np.array([4, 4], i)}
            return Case(["t", "b", "e"], {}, constants, after=[to_output])
        case "Transpose":
            return Case(["x"], {"perm": [0, 2, 1]})
        case "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin":
            if opset < (13 if name == "ReduceSum" else 18):
                return Case(["x"], {"axes": [2]})
            return Case(["x", "a"], constants={"a": np.array([-1], i)})
        case "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool":
            image = helper.make_node("Reshape", ["x", "s"], ["image"])
            constants: dict[str, Any] = {"s": np.array([0, 2, 3, 2], i)}
            if name.endswith("Pool"):
                return Case(["image"], {"kernel_shape": [2, 1]}, constants, [image])
            shape = (4, 1, 2, 2) if name == "Conv" else (2, 2, 2, 2)
            constants["w"] = rng.integers(-4, 4, shape).astype(f)
            constants["b"] = constant["c"]
            return Case(["image", "w", "b"], {"group": 2}, constants, [image])
        case "DepthToSpace" | "SpaceToDepth":
            sizes = [0, 12, 1, 1] if name == "DepthToSpace" else [0, 3, 2, 2]
            image = helper.make_node("Reshape", ["x", "s"], ["image"])
            return Case(["image"], {"blocksize": 2}, {"s": np.array(sizes, i)}, [image])
        case "PRelu":
            return Case(["x", "c"], constants=constant)
        case "Expand":
            return Case(["x", "s"], constants={"s": np.array([1, 1, 1], i)})
        case "Tile":
            return Case(["x", "r"], constants={"r": np.array([1, 2, 3], i)})
        case "GatherND":
            table = rng.integers(-8, 8, (4, 4)).astype(f)
            constants = {"t": table, "k": np.array([[1], [3], [0]], i)}
            return Case(["t", "k"], {}, constants, after=[to_output])
        case "Split":
            if opset < 18:
                return Case(["x"], {"axis": 1})
            return Case(["x", "s"], {"axis": 1}, {"s": np.array([3], i)})
        case "Pad":
            if opset < 11:
                return Case(["x"], {"pads": [0, 1, 0, 0, -1, 2]})
            return Case(["x", "p"], constants={"p": np.array([0, 1, 0, 0, -1, 2], i)})
        case "Upsample":
            if opset < 9:
                return Case(["x"], {"scales": [1.0, 2.0, 3.0]})
            return Case(["x", "s"], constants={"s": np.array([1, 2, 3], f)})
        case "Resize":
            constants = {"s": np.array([1, 2, 0.5], f), "r": np.zeros(0, f)}
            return Case(["x", "s"] if opset < 11 else ["x", "r", "s"], constants=constants)
        case "Shape":
            cast = helper.make_node("Cast", ["y"], ["real"], to=1)
            total = helper.make_node("MatMul", ["real", "ones"], ["sum"])
            add = helper.make_node("Add", ["x", "sum"], ["z"])
            constants = {"ones": np.ones((3, 1), f)}
            return Case(["x"], {}, constants, after=[cast, total, add])
        case _:
            return Case(["x"])


def opsets(operator: Operator) -> Iterator[int]:
    """One operator set for each version of an operator, the last in which it is in force."""
    last = onnx.defs.onnx_opset_version()
    versions = sorted(operator.since)
    for version, following in itertools.zip_longest(versions, versions[1:]):
        until = (following or last + 1) - 1
        while (found := find_schema("", operator.name, until)) and found.since != version:
            until -= 1  # a version that we lack is in force
        yield until


def build(
    write: Callable[..., Path], name: str, opset: int, batch: int, case: Case, outputs: list[str]
) -> Path:
    node = helper.make_node(name, case.inputs, outputs, name="node", **case.attributes)
    nodes = [*case.before, node, *case.after]
    last = [case.after[-1].output[0]] if case.after else [o for o in outputs if o]
    read = {n for node in nodes for n in node.input}
    inputs = {"x": [batch, *SHAPE]}
    constants = {n: a for n, a in case.constants.items() if n in read}
    return write(nodes, inputs, last, constants, opset=opset)


def compare(path: Path, batch: int, run: Callable[..., list[np.ndarray]], name: str) -> str:
    """Return 'exact' or the code of the refusal; fail if the numbers differ."""
    rng = np.random.default_rng(1)
    x = (rng.integers(-16, 16, (batch, *SHAPE)) / 4).astype(np.float32)
    try:
        module = read_onnx(path, TYPES)
        InferGrids().apply(Context(), module)
        outputs = evaluate(module, {"x": x}).outputs
    except FastmlError as error:
        return error.code if "\n" not in str(error) else "more than a line"
    try:
        expected = run(path, {"x": x})
    except Exception as error:  # the referee refuses what we accept
        if "NOT_IMPLEMENTED" in str(error) or "opset" in str(error).lower():
            return "no referee"
        raise AssertionError(f"accepted, but the referee says: {error}") from error
    for wanted, got in zip(expected, outputs.values(), strict=True):
        assert got.real.size == wanted.size
        if name == "Softmax":
            np.testing.assert_allclose(got.real.reshape(wanted.shape), wanted, rtol=1e-6)
        else:
            np.testing.assert_array_equal(got.real.reshape(wanted.shape), wanted)
    return "exact"


REFUSALS = {
    *("FML-IMP-ATTR", "FML-IMP-SHAPE", "FML-IMP-BATCH", "FML-IMP-TYPE", "FML-IMP-GRAPH"),
    *("FML-IMP-OP", "FML-IMP-DYNAMIC", "FML-UNQUANTISED"),
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", STANDARD)
def test_every_attribute_is_exact_or_refused(
    name: str,
    batch: int,
    write: Callable[..., Path],
    onnxruntime_run: Callable[..., list[np.ndarray]],
):
    results: list[str] = []
    for opset in opsets(OPERATORS["", name]):
        schema = find_schema("", name, opset)
        assert schema is not None
        path = build(write, name, opset, batch, case_of(name, opset), ["y"])
        base = compare(path, batch, onnxruntime_run, name)
        if name == "Shape" and batch > 1:  # a number of samples is no data
            assert base == "FML-IMP-BATCH"
        else:
            assert base == "exact" or (base == "no referee" and opset < 7), (opset, base)
        flips: dict[str, list[Any]] = {
            attribute: VALUES[entry.kind] if entry.kind in VALUES else []
            for attribute, entry in schema.attributes.items()
        }
        flips["not_of_this_operator"] = [1]
        for attribute, values in flips.items():
            for value in values:
                case = case_of(name, opset)
                if name == "Constant":
                    case.attributes.clear()
                case.attributes[attribute] = value
                path = build(write, name, opset, batch, case, ["y"])
                result = compare(path, batch, onnxruntime_run, name)
                assert result in REFUSALS | {"exact", "no referee"}, (attribute, value, result)
                if attribute == "not_of_this_operator":
                    assert result == "FML-IMP-ATTR"
                results.append(result)
    assert "FML-IMP-ATTR" in results


@pytest.mark.parametrize("name", STANDARD)
def test_every_optional_input_and_output_is_exact_or_refused(
    name: str,
    write: Callable[..., Path],
    onnxruntime_run: Callable[..., list[np.ndarray]],
):
    for opset in opsets(OPERATORS["", name]):
        schema = find_schema("", name, opset)
        assert schema is not None
        for count in range(2, len(schema.outputs) + 1):
            outputs = ["y", *(f"y{k}" for k in range(1, count))]
            path = build(write, name, opset, 1, case_of(name, opset), outputs)
            assert compare(path, 1, onnxruntime_run, name) == "FML-IMP-ATTR", (opset, outputs)
        case = case_of(name, opset)
        if schema.variadic:
            continue
        for position in range(len(case.inputs), len(schema.inputs)):
            for value in (np.array([1], np.int64), np.array(True), np.array([0.5], np.float32)):
                case = case_of(name, opset)
                case.inputs += [""] * (position - len(case.inputs))
                case.inputs.append("extra")
                case.constants["extra"] = value
                path = build(write, name, opset, 1, case, ["y"])
                result = compare(path, 1, onnxruntime_run, name)
                assert result in REFUSALS | {"exact"}, (opset, position, value)
        too_many = case_of(name, opset)
        too_many.inputs += [*[""] * (len(schema.inputs) - len(too_many.inputs)), "x"]
        path = build(write, name, opset, 1, too_many, ["y"])
        assert compare(path, 1, onnxruntime_run, name) == "FML-IMP-ATTR"


QUANTISER_FLIPS = [
    *({"signed": s, "narrow": n} for s in (0, 1) for n in (0, 1)),
    *({"rounding_mode": m} for m in ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP")),
    *({"rounding_mode": m} for m in ("HALF_DOWN", "HALF_EVEN", "half_even", "STOCHASTIC", "")),
    *({name: 2} for name in ("signed", "narrow", "other")),
    {"signed": "yes"},
]


@pytest.mark.parametrize("domain", QONNX_DOMAINS)
@pytest.mark.parametrize("flip", QUANTISER_FLIPS, ids=str)
@pytest.mark.parametrize("bits", [1, 2, 5])
def test_every_attribute_of_quantisers_is_exact_or_refused(
    domain: str,
    flip: dict[str, Any],
    bits: int,
    write: Callable[..., Path],
    require_tool: Callable[[str], str],
):
    require_tool("qonnx")
    from qonnx.custom_op.general.quant import quant

    attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **flip}
    node = helper.make_node("Quant", ["x", "s", "z", "b"], ["y"], domain=domain, **attributes)
    scale = np.array([0.1, 0.25, 3.0, 0.7], np.float32)
    constants = {"s": scale, "z": np.array(0, np.float32), "b": np.array(bits, np.float32)}
    path = write([node], {"x": [1, 4]}, ["y"], constants)
    x = np.random.default_rng(0).normal(0, 2, (500, 4)).astype(np.float32)
    x[:50] = scale * (np.arange(50, dtype=np.float32)[:, None] / 2 - 12)
    if flip in QUANTISER_FLIPS[-6:]:
        with pytest.raises(FastmlError, match="FML-IMP-ATTR"):
            read_onnx(path)
        return
    got = evaluate(read_onnx(path), {"x": x}).outputs["y"].real
    bit_array = np.array(bits, np.float32)
    expected = quant(x, scale, np.float32(0), bit_array, *attributes.values())
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("missing", ["signed", "narrow"])
def test_required_attributes_have_no_default(missing: str, write: Callable[..., Path]):
    attributes: dict[str, Any] = {"signed": 1, "narrow": 0}
    del attributes[missing]
    node = helper.make_node("Quant", ["x", *"szb"], ["y"], domain=QONNX_DOMAINS[0], **attributes)
    constants = {"s": np.float32(1), "z": np.float32(0), "b": np.float32(3)}
    path = write([node], {"x": [1, 4]}, ["y"], constants)
    with pytest.raises(FastmlError, match=rf"FML-IMP-ATTR.*'{missing}' is missing"):
        read_onnx(path)


def test_an_input_that_a_builder_does_not_take_is_an_error(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    """Whoever writes the next operator cannot forget one."""
    gemm = OPERATORS["", "Gemm"]

    def forgetful(node: Node) -> Value:
        node.take(0)
        return node.take(1)

    monkeypatch.setitem(registry.OPERATORS, ("", "Gemm"), replace(gemm, build=forgetful))
    path = build(write, "Gemm", 13, 1, case_of("Gemm", 13), ["y"])
    with pytest.raises(FastmlError, match=r"FML-IMP-ATTR.*optional input 'C' is not implemented"):
        read_onnx(path, TYPES)
