"""Small images and sequences in one beat: every level, RTL and C++, a frame in every cycle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Operation, SSAValue

from fastml.compiler.design import Design
from fastml.compiler.options import BuildOptions
from fastml.dialects import fastml, inference_spatial
from fastml.dialects.array import ArrayAttr
from fastml.dialects.fastml_spatial import Reduction
from fastml.dialects.grid import FixedType, QuantisedType, ScaledType


@dataclass
class Network:
    """A network that grows layer by layer."""

    shape: tuple[int, ...]
    element: QuantisedType
    last: bool
    """Channels come last."""
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    names: int = 0

    def __post_init__(self) -> None:
        types = {"x": TensorType(self.element, self.shape)}
        self.network = fastml.NetworkOp("images", types, ["y"])
        self.value: SSAValue = self.network.inputs["x"]

    def _fresh(self, wanted: str) -> str:
        self.names += 1
        return f"{wanted}.{self.names}"

    def _add(self, operations: Sequence[Operation]) -> None:
        self.network.body.block.add_ops(operations)
        self.value = operations[-1].results[0]

    def conv(
        self, edge: str, outputs: int, kernel: Sequence[int], pads: Sequence[int], *,
        stride: int = 1, group: int = 1,
    ) -> None:  # fmt: skip
        channels = fastml.shape_of(self.value)[-1 if self.last else 1] // group
        shape = (outputs, *kernel, channels) if self.last else (outputs, channels, *kernel)
        raw = np.clip(np.rint(self.rng.normal(0, 3, shape)), -7, 7).astype(np.int64)
        weights = fastml.ConstantOp(raw, FixedType(1, 4, 3))
        self.network.body.block.add_op(weights)
        rank = len(kernel)
        self._add(
            inference_spatial.conv(
                edge,
                self.value,
                weights.result,
                self._fresh,
                strides=[stride] * rank,
                dilations=[1] * rank,
                pads=pads,
                group=group,
                channels_last=self.last,
            )
        )

    def quantise(self, edge: str, to: QuantisedType) -> None:
        self._add([fastml.QuantiseOp(edge, self.value, to)])

    def pool(self, edge: str, kernel: Sequence[int], stride: int, pads: Sequence[int]) -> None:
        rank = len(kernel)
        self._add(
            inference_spatial.max_pool(
                edge,
                self.value,
                kernel,
                self._fresh,
                strides=[stride] * rank,
                dilations=[1] * rank,
                pads=pads,
                channels_last=self.last,
            )
        )

    def reduce(self, edge: str, kind: Reduction, axes: Sequence[int]) -> None:
        self._add(inference_spatial.reduce(edge, self.value, kind, axes, self._fresh))

    def design(self, options: BuildOptions) -> Design:
        self.network.body.block.add_op(fastml.OutputOp([self.value]))
        module = ModuleOp([self.network])
        module.verify()
        return Design("images", {"fastml": lambda: module}, options)


def image() -> Network:
    """Return a network with more elements of windows than Vitis splits an array into."""
    net = Network((1, 2, 8, 9), ScaledType(
        0, 4, ArrayAttr.get(np.array(0.3, np.float32)), ArrayAttr.get(np.array(3))
    ), last=False)  # fmt: skip
    net.conv("first", 2, [3, 3], [1, 1, 1, 1])
    net.quantise("narrow", scaled(0, 2, 4.7))
    net.pool("pooled", [3, 3], 2, [1, 1, 0, 1])
    net.conv("grouped", 4, [2, 2], [0, 0, 1, 0], stride=2, group=2)
    net.quantise("again", scaled(1, 3, 2.9))
    net.reduce("y", Reduction.SUM, [-1, -2])
    return net


def sequence() -> Network:
    """Return a one-dimensional convolution over 50 samples."""
    net = Network((1, 50, 2), FixedType(1, 6, 2), last=True)
    net.conv("c", 3, [5], [2, 2])
    net.quantise("q", FixedType(0, 4, 1))
    net.reduce("y", Reduction.MAX, [-2])
    return net


def scaled(signed: int, width: int, scale: float) -> ScaledType:
    """Return a type of a scale that is no power of two."""
    zero = ArrayAttr.get(np.array(0))
    return ScaledType(signed, width, ArrayAttr.get(np.array(scale, np.float32)), zero)


@pytest.mark.parametrize("build", [image, sequence])
def test_all_levels_agree(build: Callable[[], Network], require_tool: Callable[[str], str]) -> None:
    require_tool("verilator")
    require_tool("g++")
    design = build().design(BuildOptions(clock_ns=3.0))
    found = design.verify(vectors=60, levels=[*design.levels, "csim"])
    assert found.frames == 60
    assert design.ii == 1
    kernels = [name for name in design.rtl.files if "kernel" in name]
    assert len(kernels) == (3 if build is image else 1)  # of convolutions, and of the sum
