"""The C++ as an extension of Python: the same numbers as ``predict``, or a clear refusal."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import fastml
from fastml import Design
from fastml.compiler.project import read_project
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime import csim
from fastml.runtime.csim_extension import Emulator
from fastml.runtime.trace import back_to_back
from fastml.runtime.vectors import hurting_vectors

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def tools(require_tool: Callable[[str], str]) -> None:
    require_tool("g++")
    require_tool("ap_types")


@pytest.fixture(scope="module")
def design() -> Design:
    return fastml.compile(EXAMPLES / "pulses.onnx")


@pytest.fixture(scope="module")
def pulses() -> np.ndarray:
    with np.load(EXAMPLES / "pulses.npz") as arrays:
        return arrays["input"]


@pytest.fixture(scope="module")
def emulator(design: Design) -> Emulator:
    return design.build_csim()


@pytest.mark.parametrize("flavour", ["vitis", "oneapi"])
def test_equal_to_predict(design: Design, pulses: np.ndarray, flavour: str):
    built = design.build_csim(flavour=flavour)
    assert built.design.flavour == flavour
    found = built(pulses)
    expected = design.predict(pulses)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    name = design.input_names[0]
    np.testing.assert_array_equal(built({name: pulses[:3]}), expected[:3])
    assert built(pulses[:0]).shape == expected[:0].shape


def test_raw_integers(design: Design, emulator: Emulator):
    beats = hurting_vectors(design.graph, 300, seed=7)
    found = emulator.raw(beats)
    (edge,) = (port.edge for port in emulator.design.outputs)
    (given,) = beats.values()
    expected = design.level("qflow").simulate(back_to_back(beats, 300), []).outputs[edge].values
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(emulator.raw(given.astype(object)), expected)
    assert len(np.unique(found)) > 100


CHANGES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: x[:, :-1], "has shape"),
    (lambda x: x[0], "has shape"),
    (lambda x: x.astype(float), "not integers"),
    (lambda x: x.astype(object) + 0.5, "not integers"),
    (lambda x: {"other": x}, "needs the edges"),
    (lambda x: x + 100_000, r"element 0 of frame 0 is 1?\d+, outside"),
    (lambda x: x.astype(object) - (1 << 70), "outside"),
    (lambda x: np.full(x.shape, 2**64 - 1, np.uint64), "is 18446744073709551615, outside"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_what_are_no_beats_is_refused(
    design: Design, emulator: Emulator, change: Callable[[Any], Any], reason: str
):
    (beats,) = hurting_vectors(design.graph, 5, seed=0).values()
    with pytest.raises(FastmlError, match=f"FML-INPUT.*{reason}"):
        emulator.raw(change(beats))


def test_threads_do_not_disturb_each_other(design: Design, emulator: Emulator, pulses: np.ndarray):
    parts = [np.tile(pulses[k : k + 50], (20, 1)) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(emulator, parts))
    for part, outputs in zip(parts, found, strict=True):
        np.testing.assert_array_equal(outputs, design.predict(part))


@pytest.fixture
def small(write: Callable[..., Path]) -> Design:
    """Return a design of two inputs and two outputs, which g++ compiles in a second."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Relu", ["a"], ["positive"]),
    ]
    path = write(nodes, {"a": [1, 3], "b": [1, 3]}, ["sum", "positive"])
    return fastml.compile(path, input_type={"a": "fixed<8,3>", "b": "fixed<5,5>"})


def test_several_inputs_and_outputs(small: Design):
    rng = np.random.default_rng(0)
    x = {
        "a": rng.integers(-128, 128, (50, 3)).astype(np.float32) / 32,
        "b": rng.integers(-16, 16, (50, 3)).astype(np.float32),
    }
    built = small.build_csim()
    found, expected = built(x), small.predict(x)
    assert set(found) == set(expected) == {"sum", "positive"}
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    with pytest.raises(FastmlError, match="FML-INPUT"):
        built(x["a"])
    off = {**x, "a": x["a"] * 1.1}
    with pytest.raises(FastmlError, match="FML-INPUT") as expected_error:
        small.predict(off)
    with pytest.raises(FastmlError, match="FML-INPUT") as found_error:
        built(off)
    assert str(found_error.value) == str(expected_error.value)
    rounded = small.predict(off, quantise_input=True)
    np.testing.assert_array_equal(built(off, quantise_input=True)["sum"], rounded["sum"])
    raw = {port.edge: np.zeros((k + 1, 3), int) for k, port in enumerate(built.design.inputs)}
    with pytest.raises(FastmlError, match=r"FML-INPUT.*different frames"):
        built.raw(raw)


def test_of_a_project(small: Design, tmp_path: Path):
    """A project is compiled as it stands: its C++, not one that is printed anew."""
    small.write(tmp_path / "out", emit="hls")
    x = {name: np.ones((4, 3), np.float32) for name in small.input_names}
    np.testing.assert_array_equal(small.predict(x)["sum"], np.full((4, 3), 2.0))
    changed = 0
    for source in (tmp_path / "out/hls").glob(f"{small.csim.design.top}*.cpp"):
        text = source.read_text()
        changed += text.count(" + ")
        source.write_text(text.replace(" + ", " - "))
    assert changed == 3
    found = read_project(tmp_path / "out").build_csim()(x)
    np.testing.assert_array_equal(found["sum"], np.zeros((4, 3)))


def test_without_a_compiler(design: Design, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    csim._compiler.cache_clear()  # pyright: ignore[reportPrivateUsage]
    try:
        with pytest.raises(FastmlError, match=r"FML-TOOL.*no-such-compiler.*install g\+\+"):
            design.build_csim()
    finally:
        csim._compiler.cache_clear()  # pyright: ignore[reportPrivateUsage]


def test_without_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def find_spec(_: str) -> None:
        return None

    fresh = fastml.compile(EXAMPLES / "pulses.onnx")
    monkeypatch.setattr(csim, "find_spec", find_spec)
    with pytest.raises(FastmlError, match=r"FML-TOOL.*ap_int\.h.*fastmlc\[hls\].*--ap-types"):
        fresh.build_csim()
    elsewhere = fastml.compile(EXAMPLES / "pulses.onnx", ap_types=str(tmp_path))
    with pytest.raises(FastmlError, match=r"FML-TOOL.*does not hold 'ap_int\.h'"):
        elsewhere.build_csim()


def test_a_flavour_that_is_none(design: Design):
    with pytest.raises(FastmlError, match=r"FML-USAGE.*choose from vitis"):
        design.build_csim(flavour="verilog")


def test_a_design_without_loops(tmp_path: Path, design: Design):
    design.write(tmp_path / "out", emit="fastml")
    shutil.rmtree(tmp_path / "out/hls", ignore_errors=True)
    with pytest.raises(FastmlError, match="there is no level 'csim'"):
        read_project(tmp_path / "out").build_csim()
