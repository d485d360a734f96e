# pyright: basic, reportMissingTypeStubs=false
"""Files that nobody vouches for: one line each, nothing allocated, nothing read elsewhere."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fastml.compiler.reader import read_onnx
from fastml.compiler.reader.input_types import parse_input_type, split_input_type
from fastml.compiler.support.diagnostics import ERROR_CODES, FastmlError, in_file
from fastml.dialects.fastml import NetworkOp

Write = Callable[..., Path]


def refusal(path: Path, code: str) -> str:
    """Return the one-line error of reading ``path``."""
    tracemalloc.start()
    try:
        with pytest.raises(FastmlError) as caught:
            read_onnx(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20, "refused only after allocating"
    line = str(caught.value)
    assert caught.value.code == code, line
    assert line.startswith(f"error[{code}] {path.name}: ")
    assert line.isprintable(), "a control character reached the terminal"
    return line


def relu(write: Write, **changes: Any) -> Path:
    return write(
        [helper.make_node("Relu", ["x"], ["y"], name="act")], {"x": (1, 4)}, ["y"], **changes
    )


def edit(path: Path, change: Callable[[onnx.ModelProto], Any]) -> Path:
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_absent_file(tmp_path: Path):
    assert "no such file" in refusal(tmp_path / "absent.onnx", "FML-FILE")
    assert "is a folder" in refusal(tmp_path, "FML-FILE")


def test_every_truncation_is_refused(write: Write):
    path = relu(write)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FastmlError) as caught:
            read_onnx(path)
        assert caught.value.code in ("FML-IMP-FILE", "FML-IMP-GRAPH", "FML-IMP-SHAPE")


@pytest.mark.parametrize("contents", [b"", b"\x08", b"\n", b"PK\x03\x04", b"\x00" * 100, b"{}"])
def test_what_is_no_model(contents: bytes, tmp_path: Path):
    path = tmp_path / "m.onnx"
    path.write_bytes(contents)
    refusal(path, "FML-IMP-FILE")


def test_corrupted_bytes_never_crash(write: Write):
    path = write(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (1, 4)},
        ["y"],
        {"w": np.eye(4, dtype=np.float32)},
    )
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_onnx(path)
        except FastmlError as error:
            assert str(error).isprintable(), error  # noqa: PT017


def test_a_huge_input(write: Write):
    path = write([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 1 << 31)}, ["y"])
    assert "[1, 2147483648]" in refusal(path, "FML-IMP-SHAPE")


@pytest.mark.parametrize("size", [1 << 31, 1 << 40, -1])
def test_a_huge_constant_that_the_file_does_not_hold(size: int, write: Write):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[size], raw_data=b"1234")
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    path = edit(
        write(nodes, {"x": (1, 4)}, ["y"], {"w": np.zeros(4, np.float32)}),
        lambda m: m.graph.initializer[0].CopyFrom(tensor),
    )
    refusal(path, "FML-IMP-SHAPE")


def test_a_constant_whose_shape_lies(write: Write):
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    path = write(nodes, {"x": (1, 4)}, ["y"], {"w": np.zeros(4, np.float32)})
    edit(path, lambda m: m.graph.initializer[0].dims.__setitem__(0, 1000))
    assert "corrupt" in refusal(path, "FML-IMP-FILE")


@pytest.mark.parametrize(
    "operator", [("Add", (1, 1, 1 << 16)), ("MatMul", (1, 1 << 16))], ids=lambda o: o[0]
)
def test_a_result_that_is_huge(operator: tuple[str, tuple[int, ...]], write: Write):
    name, shape = operator
    nodes = [helper.make_node(name, ["x", "w"], ["y"])]
    constants = {"w": np.zeros(shape, np.float32)}
    path = write(nodes, {"x": (1, 1 << 16, 1)}, ["y"], constants)
    refusal(path, "FML-IMP-SHAPE")


BILLION = 10**9
LARGE: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "MaxPool": ({}, {"kernel_shape": [1000] * 2, "pads": [998] * 4, "strides": [1, 1]}, 13),
    "AveragePool": ({}, {"kernel_shape": [4000] * 2, "pads": [3999] * 4}, 13),
    "Conv": ({"w": np.ones((1, 2, 1, 1), np.float32)}, {"pads": [3000] * 4}, 13),
    "Resize": ({"r": np.zeros(0, "f4"), "s": np.array([1, 1, 1e9, 1e9], "f4")}, {}, 13),
    "Upsample": ({}, {"scales": [1.0, 1.0, 1e9, 1e9]}, 7),
    "Split": ({}, {"axis": 2, "num_outputs": BILLION}, 18),
    "Unsqueeze": ({"axes": np.arange(4, 80)}, {}, 13),
    "Reshape": ({"shape": np.array([0, 2, 5, 5] + [1] * 80)}, {}, 13),
}


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("op", LARGE)
def test_sizes_that_make_much_of_a_small_image(op: str, batch: int | str, write: Write):
    constants, attributes, opset = LARGE[op]
    node = helper.make_node(op, ["x", *constants], ["y"], **attributes)
    path = write([node], {"x": (batch, 2, 5, 5)}, ["y"], constants, opset=opset)
    shape = op not in ("MaxPool", "Split")
    refusal(path, "FML-IMP-SHAPE" if shape else "FML-IMP-ATTR")


def test_more_axes_than_arrays_have(write: Write):
    node = helper.make_node("Relu", ["x"], ["y"])
    for rank in (40, 70):
        refusal(write([node], {"x": (1,) * rank}, ["y"]), "FML-IMP-SHAPE")
        constants = {"w": np.ones((1,) * min(rank, 64), np.float32)}
        add = helper.make_node("Add", ["x", "w"], ["y"])
        refusal(write([add], {"x": (1, 4)}, ["y"], constants), "FML-IMP-SHAPE")
        expand = helper.make_node("Expand", ["x", "s"], ["y"])
        shape = {"s": np.ones(rank, np.int64)}
        refusal(write([expand], {"x": (1, 4)}, ["y"], shape), "FML-IMP-SHAPE")


@pytest.mark.parametrize("op", ["Max", "Add"])
def test_constants_that_are_no_numbers(op: str, write: Write):
    node = helper.make_node(op, ["x", "w"], ["y"])
    constants = {"w": np.array([1, np.nan], np.float32)}
    refusal(write([node], {"x": (1, 2)}, ["y"], constants), "FML-IMP-TYPE")


def test_windows_of_a_volume(write: Write):
    """Each axis alone is small."""
    at: dict[str, Any] = {"kernel_shape": [1000] * 3, "pads": [998] * 6, "strides": [900] * 3}
    for op in ("MaxPool", "AveragePool"):
        node = helper.make_node(op, ["x"], ["y"], **at)
        refusal(write([node], {"x": (1, 2, 5, 5, 5)}, ["y"]), "FML-IMP-SHAPE")


def test_scales_beyond_float32(write: Write):
    constants = {"r": np.zeros(0, "f4"), "s": np.array([1, 1, 3e38], "f4")}
    node = helper.make_node("Resize", ["x", *constants], ["y"])
    refusal(write([node], {"x": ("N", 2, 5)}, ["y"], constants), "FML-IMP-SHAPE")
    crop = {"r": np.array([0, 0, -3e38, 1, 1, 3e38], "f4"), "s": np.zeros(0, "f4")}
    crop["z"] = np.array([1, 2, 4])
    at = {"coordinate_transformation_mode": "tf_crop_and_resize"}
    node = helper.make_node("Resize", ["x", *crop], ["y"], **at)
    refusal(write([node], {"x": (1, 2, 5)}, ["y"], crop), "FML-IMP-ATTR")


def test_a_long_axis_is_resized_quickly(write: Write):
    constants = {"r": np.zeros(0, "f4"), "s": np.array([1, 1, 1.5], "f4")}
    node = helper.make_node("Resize", ["x", *constants], ["y"], mode="nearest")
    module = read_onnx(write([node], {"x": (1, 1, 1 << 18)}, ["y"], constants), {"x": "int4"})
    module.verify()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_attributes_that_are_no_numbers(value: float, write: Write):
    node = helper.make_node("Pad", ["x"], ["y"], pads=[0, 1, 0, 0], value=value)
    refusal(write([node], {"x": (1, 4)}, ["y"], opset=9), "FML-IMP-ATTR")
    if np.isnan(value):
        node = helper.make_node("Clip", ["x"], ["y"], min=value)
        refusal(write([node], {"x": (1, 4)}, ["y"], opset=9), "FML-IMP-ATTR")


def test_a_cycle(write: Write):
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    assert "node 'first'" in refusal(write(nodes, {"x": (1, 4)}, ["y"]), "FML-IMP-GRAPH")


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([("Relu", ["x"], ["y"]), ("Relu", ["x"], ["y"])], "defined already"),
        ([("Relu", ["x"], ["x"])], "defined already"),
        ([("Relu", ["nowhere"], ["y"])], "nothing defines"),
        ([("Relu", ["x"], ["z"])], "output 'y' is not defined"),
        ([("Relu", ["x"], [])], "has no output"),
        ([("Relu", ["w"], ["y"])], "depends on no input"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_that_do_not_fit(nodes: list[Any], why: str, write: Write):
    protos = [helper.make_node(*node) for node in nodes]
    path = write(protos, {"x": (1, 4)}, ["y"], {"w": np.zeros(4, np.float32)})
    assert why in refusal(path, "FML-IMP-GRAPH")


def test_constants_defined_twice(write: Write):
    path = edit(
        relu(write, constants={"w": np.zeros(4)}),
        lambda m: m.graph.initializer.append(m.graph.initializer[0]),
    )
    refusal(path, "FML-IMP-GRAPH")


def test_inputs_defined_twice(write: Write):
    path = edit(relu(write), lambda m: m.graph.input.append(m.graph.input[0]))
    refusal(path, "FML-IMP-GRAPH")


@pytest.mark.parametrize("opset", [0, 999])
def test_an_unknown_opset(opset: int, write: Write):
    path = edit(relu(write), lambda m: setattr(m.opset_import[0], "version", opset))
    assert "node 'act'" in refusal(path, "FML-IMP-OPSET")


def test_versions_that_are_not_implemented(write: Write):
    nodes = [helper.make_node("Add", ["x", "x"], ["y"], name="sum", broadcast=1)]
    line = refusal(write(nodes, {"x": (1, 4)}, ["y"], opset=6), "FML-IMP-OPSET")
    assert "node 'sum' (Add, opset 6): version 6 is not implemented; fix: " in line


@pytest.mark.parametrize("domain", ["", "com.example", "qonnx.custom_op.general"])
def test_an_unknown_operator(domain: str, write: Write):
    nodes = [helper.make_node("Hyper", ["x"], ["y"], name="h", domain=domain)]
    assert "operator 'Hyper'" in refusal(write(nodes, {"x": (1, 4)}, ["y"]), "FML-IMP-OP")


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.DOUBLE, TensorProto.STRING])
def test_inputs_that_are_not_float32(kind: int, write: Write):
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = kind

    refusal(edit(relu(write), change), "FML-IMP-TYPE")


@pytest.mark.parametrize("size", [None, "length", 0])
def test_inputs_without_a_size(size: int | str | None, write: Write):
    path = write([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, size)}, ["y"])
    assert "axis 1" in refusal(path, "FML-IMP-SHAPE")


def external(write: Write, location: str, **entries: str) -> Path:
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    path = write(nodes, {"x": (1, 4)}, ["y"], {"w": np.zeros(4, np.float32)})

    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)

    return edit(path, change)


def test_external_data_of_the_models_folder(write: Write):
    path = external(write, "w.bin", offset="4", length="16")
    (path.parent / "w.bin").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    module = read_onnx(path)
    assert '"f32 4 : 1.0 2.0 3.0 4.0"' in str(module)


@pytest.mark.parametrize(
    ("location", "entries"),
    [
        ("../secret.bin", {}),
        ("/etc/passwd", {}),
        ("link.bin", {}),
        ("absent.bin", {}),
        (".", {}),
        ("w.bin", {"offset": "-4"}),
        ("w.bin", {"offset": "8", "length": "16"}),
        ("w.bin", {"length": "99999999999"}),
        ("w.bin", {"offset": "x"}),
        ("w\0.bin", {}),
    ],
)
def test_external_data_elsewhere(location: str, entries: dict[str, str], write: Write):
    path = external(write, location, **entries)
    (path.parent / "w.bin").write_bytes(bytes(16))
    secret = path.parent.parent / "secret.bin"
    secret.write_bytes(bytes(16))
    (path.parent / "link.bin").symlink_to(secret)
    refusal(path, "FML-IMP-EXTERNAL")


HOSTILE = '"; $system("x"); //\n\x1b[31m\u202e' + "n" * 4000


def test_hostile_names_stay_in_one_printable_line(write: Write):
    nodes = [helper.make_node("Relu", [HOSTILE], [HOSTILE + "y"], name=HOSTILE, alpha=1.0)]
    line = refusal(write(nodes, {HOSTILE: (1, 4)}, [HOSTILE + "y"]), "FML-IMP-ATTR")
    assert len(line) < 600
    assert r"\x1b" in line
    nodes = [helper.make_node("Relu", [HOSTILE], ["y"], name=HOSTILE)]
    module = read_onnx(write(nodes, {HOSTILE: (1, 4)}, ["y"]))
    (network,) = module.ops
    assert isinstance(network, NetworkOp)
    assert network.inputs == {HOSTILE: network.body.block.args[0]}


def test_the_error_line_is_as_documented(write: Write):
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="conv1", dilations=[2])]
    line = refusal(write(nodes, {"x": (1, 4)}, ["y"]), "FML-IMP-ATTR")
    assert line == (
        "error[FML-IMP-ATTR] model.onnx: node 'conv1' (Relu, opset 13): "
        "attribute 'dilations=[2]' is not one that this operator has"
    )


def test_codes_are_documented():
    with pytest.raises(AssertionError):
        FastmlError("x", in_file("f"), code="FML-NONE")
    assert all(meaning and meaning[0].islower() for meaning in ERROR_CODES.values())


# -- input types ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("fixed<16,6>", "fixed<s16, 10>"),
        ("ufixed<8,0>", "fixed<u8, 8>"),
        ("fixed<4,-2>", "fixed<s4, 6>"),
        ("fixed<4,9>", "fixed<s4, -5>"),
        ("int8", "fixed<s8, 0>"),
        ("uint1", "fixed<u1, 0>"),
        ("uint8*0.00390625", "fixed<u8, 8>"),
        ("int8*4", "fixed<s8, -2>"),
        ("uint8/255", "ratio<u8, 255>"),
        ("uint8/256", "fixed<u8, 8>"),
    ],
)
def test_types_of_the_command_line(text: str, printed: str):
    assert str(parse_input_type(text)) == f"!fastml.{printed}"


def test_scales_are_float32():
    assert '"f32 scalar : 0.1"' in str(parse_input_type("int8*1e-1"))
    assert '"f32 scalar : 1.0"' in str(parse_input_type("bipolar"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "int", "int0", "fixed<8>", "fixed<8,2", "float", "int8*0", "int8*-1", "int8*1e99"),
        *("int8*1e-60", "uint8/0", "int8/255", "uint8/99999999", "int99999", "uint8*nan"),
        *("int8*1e", "INT8", "fixed<0,0>", "int8 *", "uint8/2.5", "int\u0668"),
    ],
)
def test_types_that_are_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        parse_input_type(text)


def test_the_last_equals_sign_splits():
    assert split_input_type("a=b=int8") == ("a=b", "int8")
    with pytest.raises(ValueError, match="NAME=TYPE"):
        split_input_type("int8")
