"""The ``qflow`` dialect: quantised dataflow, integers only.

A value is a *channel*: it carries beats, and a beat is a row of integers, each with its own
exact range. Operations are *stages*: each takes a beat of every operand and gives one beat.
Here widths, architectures, adder graphs and clock cycles are decided; what follows only
realises them. Time: cycle 0 is the one in which the frame's input beat is accepted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.dialects.builtin import (
    Float64Type,
    FloatAttr,
    IntAttr,
    StringAttr,
    SymbolNameConstraint,
    UnitAttr,
)
from xdsl.ir import Block, Dialect, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    lazy_traits_def,
    opt_prop_def,
    prop_def,
    region_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import HasParent, IsolatedFromAbove, IsTerminator, Pure, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.adder_graph import AdderGraphAttr
from fastml.dialects.array import ArrayAttr, Integers, integer_array
from fastml.dialects.assembly import Integer
from fastml.dialects.channel import (
    ChannelType,
    Protocol,
    Ranges,
    RangesAttr,
    channel_of,
    stage_channel,
)
from fastml.dialects.loadable import LoadableAttr
from fastml.dialects.qflow_extrema import Extremum, ExtremumAttr, MaximumOp, joined_ranges
from fastml.dialects.qflow_functions import (
    ElementStageOp,
    LookupOp,
    RescaleOp,
    Rounding,
    RoundingAttr,
    ThresholdOp,
    WrapOp,
    round_one,
)
from fastml.dialects.qflow_linear import CombineOp, DenseOp, MultiplyOp, linear_ranges
from fastml.dialects.qflow_processes import is_streaming, verify_streams
from fastml.dialects.qflow_stage import FoldedAttr, ParallelAttr, StageOp, properties_of, require
from fastml.dialects.qflow_streams import BeatsOp, DeserialiseOp, FifoOp, RegroupOp, SerialiseOp
from fastml.dialects.qflow_windows import AccessOp, ReduceKind, ReduceOp, ReorderOp, WindowOp

__all__ = [
    "AccessOp",
    "AdderGraphAttr",
    "BeatsOp",
    "ChannelType",
    "CombineOp",
    "DenseOp",
    "DeserialiseOp",
    "ElementStageOp",
    "Extremum",
    "ExtremumAttr",
    "FifoOp",
    "FoldedAttr",
    "GraphOp",
    "LookupOp",
    "MaximumOp",
    "MultiplyOp",
    "ParallelAttr",
    "Protocol",
    "Qflow",
    "Ranges",
    "RangesAttr",
    "RearrangeOp",
    "ReduceKind",
    "ReduceOp",
    "RegroupOp",
    "ReorderOp",
    "RescaleOp",
    "Rounding",
    "RoundingAttr",
    "SerialiseOp",
    "StageOp",
    "ThresholdOp",
    "WindowOp",
    "WrapOp",
    "YieldOp",
    "channel_of",
    "linear_ranges",
    "round_one",
]


@irdl_op_definition
class RearrangeOp(StageOp):
    """Wiring: result element ``k`` is element ``index[k]`` of the operands, end to end.

    Past the operands' elements come the constants of ``fill``: what pads an image is one.
    """

    name = "qflow.rearrange"

    inputs = var_operand_def(ChannelType)
    index = prop_def(ArrayAttr)
    fill = opt_prop_def(ArrayAttr)

    assembly_format = "$edge `(` $inputs `)` attr-dict `:` functional-type($inputs, $result)"

    def __init__(
        self,
        edge: str,
        inputs: Sequence[SSAValue],
        index: NDArray[np.int64],
        shape: Sequence[int],
        fill: Integers | None = None,
    ):
        parameters = {"index": ArrayAttr.get(index)}
        if fill is not None and len(fill):
            parameters["fill"] = ArrayAttr.get(fill)
        lows, highs = joined_ranges(inputs, fill)
        super().__init__(
            operands=[inputs],
            properties=properties_of(edge, parameters),
            result_types=[stage_channel(inputs, shape, lows[index], highs[index])],
        )

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channels."""
        return list(self.inputs)

    @property
    def constants(self) -> Integers:
        """The constants that follow the operands' elements."""
        return np.zeros(0, np.int64) if self.fill is None else self.fill.integers

    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return the ranges of the chosen elements."""
        lows, highs = joined_ranges(self.inputs, self.constants)
        index = self.index.integers
        return integer_array(lows[index]), integer_array(highs[index])

    def verify_parameters(self) -> None:
        """Check the index map and the constants."""
        require(len(self.inputs) >= 1, "needs an operand")
        if self.fill is not None:
            row = self.fill.array.ndim == 1 and self.fill.data.dtype != "f32"
            require(row, "fill must be a row of integers")
        count = sum(len(channel_of(x)) for x in self.inputs) + len(self.constants)
        index = self.index.array
        require(index.ndim == 1 and index.dtype == np.int64, "index must be integers")
        inside = np.all((index >= 0) & (index < count))
        require(inside, f"index must be within 0..{count - 1}")


@irdl_op_definition
class YieldOp(IRDLOperation):
    """Name the channels that leave the graph, in the order of its outputs."""

    name = "qflow.yield"

    outputs = var_operand_def(ChannelType)

    traits = lazy_traits_def(lambda: (IsTerminator(), HasParent(GraphOp), Pure()))
    assembly_format = "($outputs^ `:` type($outputs))? attr-dict"

    def __init__(self, outputs: Sequence[SSAValue] = ()):
        super().__init__(operands=[outputs])


@irdl_op_definition
class GraphOp(IRDLOperation):
    """A design: channels in, stages, channels out.

    One static design, whose inputs all arrive in cycle 0; or, with FIFOs, a network of
    processes, each of which counts cycles from its own firing.

    ``ii`` and ``latency`` (cycles: of the last output beat) are set by the schedule. ``gap``,
    where a contract chose the architectures, is the relative distance of their estimated
    cost from the optimum that the search does not exclude. ``spare_slots`` is set where the
    search for the least depths of FIFOs was cut short, so that some may have slots to spare.
    """

    name = "qflow.graph"

    sym_name = prop_def(SymbolNameConstraint())
    input_names = prop_def(ListAttr[StringAttr])
    output_names = prop_def(ListAttr[StringAttr])
    ii = opt_prop_def(IntAttr)
    latency = opt_prop_def(IntAttr)
    gap = opt_prop_def(FloatAttr[Float64Type])
    spare_slots = opt_prop_def(UnitAttr)
    body = region_def("single_block")

    irdl_options = (ParsePropInAttrDict(),)
    traits = traits_def(IsolatedFromAbove(), SymbolOpInterface())
    custom_directives = (Integer,)
    assembly_format = (
        "$sym_name $input_names `->` $output_names (`latency` custom<Integer>($latency)^)?"
        " (`ii` custom<Integer>($ii)^)? attr-dict-with-keyword $body"
    )

    def __init__(self, name: str, inputs: Mapping[str, ChannelType], output_names: Sequence[str]):
        super().__init__(
            properties={
                "sym_name": StringAttr(name),
                "input_names": ListAttr([StringAttr(n) for n in inputs]),
                "output_names": ListAttr([StringAttr(n) for n in output_names]),
            },
            regions=[Region(Block(arg_types=list(inputs.values())))],
        )

    @property
    def inputs(self) -> dict[str, SSAValue]:
        """The graph's inputs by edge name, in order."""
        names = (name.data for name in self.input_names)
        return dict(zip(names, self.body.block.args, strict=True))

    @property
    def outputs(self) -> dict[str, SSAValue]:
        """The graph's outputs by edge name, in order."""
        terminator = self.body.block.last_op
        assert isinstance(terminator, YieldOp)
        names = (name.data for name in self.output_names)
        return dict(zip(names, terminator.outputs, strict=True))

    @property
    def stages(self) -> list[StageOp]:
        """The stages in order."""
        return [op for op in self.body.block.ops if isinstance(op, StageOp)]

    @property
    def fifos(self) -> list[FifoOp]:
        """The FIFOs in order."""
        return [op for op in self.body.block.ops if isinstance(op, FifoOp)]

    @property
    def is_streaming(self) -> bool:
        """Whether the graph is a network of processes."""
        return is_streaming(self.body.block)

    def require_fifos(self) -> None:
        """Refuse frames of several beats that have no FIFOs yet."""
        ports = [channel_of(value).beats.data for value in self.body.block.args]
        changes = [op for op in self.body.block.ops if isinstance(op, BeatsOp)]
        if not self.is_streaming and (changes or max(ports, default=1) > 1):
            raise FastmlError(
                "frames of several beats need FIFOs between processes",
                changes[0] if changes else self,
                hint="run qflow-stream first",
            )

    def verify_(self) -> None:
        """Check terminator, names and their number."""
        terminator = self.body.block.last_op
        if not isinstance(terminator, YieldOp):
            raise VerifyException("must end in qflow.yield")
        arguments = self.body.block.args
        require(all(isinstance(a.type, ChannelType) for a in arguments), "each input is a channel")
        require(len(self.input_names) == len(arguments), "needs one name for each input")
        require(len(self.output_names) == len(terminator.outputs), "needs one name for each output")
        names = [name.data for name in self.input_names]
        named = (StageOp, FifoOp, BeatsOp)
        names += [op.edge.data for op in self.body.block.ops if isinstance(op, named)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        require(not twice, f"edge names must be unique: {twice}")
        verify_streams(self.body.block)
        if self.ii is not None:
            require(self.ii.data >= 1, "the initiation interval must be >= 1")
        if self.latency is not None:
            require(self.latency.data >= 0, "the latency must not be negative")


Qflow = Dialect(
    "qflow",
    [
        CombineOp,
        DenseOp,
        DeserialiseOp,
        FifoOp,
        GraphOp,
        LookupOp,
        MaximumOp,
        MultiplyOp,
        RearrangeOp,
        ReduceOp,
        ReorderOp,
        RescaleOp,
        SerialiseOp,
        ThresholdOp,
        WindowOp,
        WrapOp,
        YieldOp,
    ],
    [
        AdderGraphAttr,
        ChannelType,
        ExtremumAttr,
        FoldedAttr,
        LoadableAttr,
        ParallelAttr,
        RangesAttr,
        RoundingAttr,
    ],
)
