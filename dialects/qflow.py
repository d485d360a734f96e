"""The ``qflow`` dialect: quantised dataflow, integers only.

A value is a *channel*: it carries beats, and a beat is a row of integers, each with its own
exact range. Operations are *stages*: each takes a beat of every operand and gives one beat.
Here widths, architectures, adder graphs and clock cycles are decided; what follows only
realises them. Time: cycle 0 is the one in which the frame's input beat is accepted.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import auto
from itertools import groupby
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.dialects.builtin import IntAttr, StringAttr, SymbolNameConstraint
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import (
    Attribute,
    Block,
    Data,
    Dialect,
    ParametrizedAttribute,
    Region,
    SpacedOpaqueSyntaxAttribute,
    SSAValue,
    TypeAttribute,
)
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_attr_definition,
    irdl_op_definition,
    lazy_traits_def,
    operand_def,
    opt_prop_def,
    param_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.traits import HasParent, IsolatedFromAbove, IsTerminator, Pure, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from fastml.dialects.array import Array, ArrayAttr, integer_array
from fastml.dialects.elements import MAX_ELEMENTS, Elements


class Protocol(StrEnum):
    """How a channel signals: ``pulse`` is valid only; ``rv`` adds ready (not built yet)."""

    PULSE = auto()
    RV = auto()


class Ranges:
    """Inclusive integer range of each element of a beat."""

    __slots__ = ("_key", "highs", "lows")

    def __init__(self, lows: Array, highs: Array):
        self.lows = integer_array(lows).reshape(-1)
        self.highs = integer_array(highs).reshape(-1)
        self._key = (tuple(self.lows.tolist()), tuple(self.highs.tolist()))

    def __len__(self) -> int:
        return len(self.lows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        runs: list[str] = []
        for (low, high), run in groupby(zip(*self._key, strict=True)):
            count = len(list(run))
            runs.append(f"{count} x {low}..{high}" if count > 1 else f"{low}..{high}")
        return ", ".join(runs)

    __repr__ = __str__

    @classmethod
    def parse(cls, text: str) -> "Ranges":
        """Parse what ``str`` prints; raise ``ValueError`` on anything else."""
        lows, highs = list[int](), list[int]()
        for run in text.split(", ") if text else []:
            count_text, times, bounds = run.rpartition(" x ")
            count = int(count_text) if times else 1
            low, dots, high = bounds.partition("..")
            if not dots or count < 1 or len(lows) + count > MAX_ELEMENTS:
                raise ValueError(f"'{run}' is not a run of ranges such as '16 x -8..7'")
            lows += [int(low)] * count
            highs += [int(high)] * count
        return cls(np.array(lows, object), np.array(highs, object))

    @property
    def elements(self) -> Elements:
        """Narrowest layout that holds every element."""
        return Elements.of_ranges(self.lows.tolist(), self.highs.tolist())


@irdl_attr_definition
class RangesAttr(Data[Ranges]):
    """``#qflow.ranges<"16 x -8..7">``."""

    name = "qflow.ranges"

    def print_parameter(self, printer: Printer) -> None:
        """Print the runs in one string."""
        with printer.in_angle_brackets():
            printer.print_string_literal(str(self.data))

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Ranges:
        """Parse the runs."""
        with parser.in_angle_brackets():
            return _parse_ranges(parser)


def _parse_ranges(parser: AttrParser) -> Ranges:
    start = parser.pos
    try:
        return Ranges.parse(parser.parse_str_literal())
    except ValueError as error:
        parser.raise_error(str(error), start, parser.pos)


@irdl_attr_definition
class ChannelType(ParametrizedAttribute, TypeAttribute):
    """``!qflow.channel<pulse, 1x16, "16 x -32768..32767">``: protocol, shape, ranges."""

    name = "qflow.channel"

    protocol: StringAttr = param_def(
        converter=lambda p: p if isinstance(p, StringAttr) else StringAttr(p)
    )
    shape: ListAttr[IntAttr]
    ranges: RangesAttr

    @classmethod
    def of(cls, shape: Sequence[int], lows: Array, highs: Array) -> "ChannelType":
        """Build a ``pulse`` channel from the shape of a beat and its ranges."""
        return cls(
            StringAttr(Protocol.PULSE),
            ListAttr([IntAttr(int(size)) for size in shape]),
            RangesAttr(Ranges(lows, highs)),
        )

    @property
    def lows(self) -> Array:
        """Smallest value of each element, flat."""
        return self.ranges.data.lows

    @property
    def highs(self) -> Array:
        """Largest value of each element, flat."""
        return self.ranges.data.highs

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Shape of a beat."""
        return tuple(size.data for size in self.shape)

    @property
    def elements(self) -> Elements:
        """Layout of a beat."""
        return self.ranges.data.elements

    def __len__(self) -> int:
        return len(self.ranges.data)

    def verify(self) -> None:
        """Check protocol, size and that no range is empty."""
        if self.protocol.data == Protocol.RV:
            raise VerifyException("protocol 'rv' (valid/ready) is not supported yet")
        if self.protocol.data != Protocol.PULSE:
            raise VerifyException(f"unknown protocol '{self.protocol.data}'")
        if int(np.prod(self.dimensions, dtype=object)) != len(self):
            raise VerifyException(f"{len(self)} ranges for a beat of shape {self.dimensions}")
        if len(self) and np.any(self.lows > self.highs):
            raise VerifyException("a range is empty: its low is above its high")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse ``<pulse, 1x16, "ranges">``; a scalar beat has shape ``scalar``."""
        with parser.in_angle_brackets():
            protocol = parser.parse_identifier("a protocol")
            parser.parse_punctuation(",")
            dimensions = list[IntAttr]()
            if parser.parse_optional_keyword("scalar") is None:
                dimensions = [IntAttr(d) for d in parser.parse_dimension_list()]
            parser.parse_punctuation(",")
            ranges = _parse_ranges(parser)
        return StringAttr(protocol), ListAttr(dimensions), RangesAttr(ranges)

    def print_parameters(self, printer: Printer) -> None:
        """Print ``<pulse, 1x16, "ranges">``."""
        shape = "x".join(str(d) for d in self.dimensions) or "scalar"
        with printer.in_angle_brackets():
            printer.print_string(f"{self.protocol.data}, {shape}, ")
            printer.print_string_literal(str(self.ranges.data))


def channel_of(value: SSAValue) -> ChannelType:
    """Return the type of a channel."""
    assert isinstance(value.type, ChannelType)
    return value.type


@irdl_attr_definition
class ParallelAttr(ParametrizedAttribute):
    """Architecture: fully unrolled, a beat every cycle."""

    name = "qflow.parallel"


@irdl_attr_definition
class FoldedAttr(ParametrizedAttribute):
    """Architecture: each multiplier is used ``reuse`` times, a beat every ``reuse`` cycles."""

    name = "qflow.folded"

    reuse: IntAttr = param_def(converter=IntAttr.get)

    def verify(self) -> None:
        """Check the reuse factor."""
        if self.reuse.data < 1:
            raise VerifyException(f"reuse factor must be >= 1, got {self.reuse.data}")


@irdl_attr_definition
class AdderGraphAttr(ParametrizedAttribute):
    """Shift-add network of a constant matrix, as arrays.

    Values ``0..n_in-1`` are the inputs, then one value per node. With ``L = left``,
    ``R = right`` (or ``constant`` where right is -1) and ``<<`` by ``shift`` (on the other
    operand where negative), operation 0 is ``L + (R << s)``, 1 is ``L - (R << s)``, 2 is
    ``(R << s) - L``. Output ``j`` is value ``out_id[j] << out_shift[j]``, or
    ``out_constant[j]`` where ``out_id[j]`` is -1.
    """

    name = "qflow.adder_graph"

    left: ArrayAttr
    right: ArrayAttr
    shift: ArrayAttr
    operation: ArrayAttr
    constant: ArrayAttr
    out_id: ArrayAttr
    out_shift: ArrayAttr
    out_constant: ArrayAttr

    @property
    def nodes(self) -> int:
        """Number of adders."""
        return len(self.left.array)

    def verify(self) -> None:
        """Check lengths, order and operation codes."""
        per_node = (self.left, self.right, self.shift, self.operation, self.constant)
        if len({p.array.shape for p in per_node}) != 1:
            raise VerifyException("node arrays differ in length")
        per_output = (self.out_id, self.out_shift, self.out_constant)
        if len({p.array.shape for p in per_output}) != 1:
            raise VerifyException("output arrays differ in length")
        if self.nodes and not np.isin(self.operation.array, (0, 1, 2)).all():
            raise VerifyException("an operation is 0 (L+R), 1 (L-R) or 2 (R-L)")
        if np.any(np.abs(self.shift.array) > 4096) or np.any(self.out_shift.array < 0):
            raise VerifyException("a shift is out of bounds")

    def verify_inputs(self, count: int) -> None:
        """Check that every operand is an input or an earlier node."""
        own = np.arange(self.nodes) + count
        left, right, out = self.left.array, self.right.array, self.out_id.array
        if np.any(left < 0) or np.any(left >= own) or np.any(right < -1) or np.any(right >= own):
            raise VerifyException("an operand is not an input or an earlier node")
        if np.any(out < -1) or np.any(out >= count + self.nodes):
            raise VerifyException("an output is not an input or a node")


class Rounding(StrEnum):
    """What :class:`RescaleOp` does with the bits it drops."""

    FLOOR = auto()
    HALF_UP = auto()
    HALF_EVEN = auto()


@irdl_attr_definition
class RoundingAttr(EnumAttribute[Rounding], SpacedOpaqueSyntaxAttribute):
    """A rounding mode (ties towards +infinity, or to even)."""

    name = "qflow.rounding"


def _require(condition: object, message: str) -> None:
    if not condition:
        raise VerifyException(message)


class StageOp(IRDLOperation, ABC):
    """A stage: one beat of every operand in, one beat out.

    ``cycles[e]`` is the cycle in which result element ``e`` is ready, counted from the
    frame's input; the scheduling pass sets it.
    """

    edge = prop_def(StringAttr)
    """Name of the tensor in the model that this channel carries."""
    architecture = opt_prop_def(ParallelAttr | FoldedAttr)
    cycles = opt_prop_def(ArrayAttr)
    result = result_def(ChannelType)

    irdl_options = (ParsePropInAttrDict(),)
    traits = traits_def(Pure())

    @property
    def channel(self) -> ChannelType:
        """Type of the result."""
        return channel_of(self.result)

    @property
    @abstractmethod
    def sources(self) -> Sequence[SSAValue]:
        """The operand channels."""

    @abstractmethod
    def exact_ranges(self) -> tuple[Array, Array]:
        """Return the exact range of each result element, from the operands' ranges."""

    def verify_(self) -> None:
        """Check the parameters, then that the result type is the exact range."""
        self.verify_parameters()
        lows, highs = self.exact_ranges()
        actual = self.channel
        same = np.array_equal(lows, actual.lows) and np.array_equal(highs, actual.highs)
        if not same:
            where = np.flatnonzero((lows != actual.lows) | (highs != actual.highs))
            element = int(where[0]) if len(where) else 0
            _require(
                len(lows) == len(actual),
                f"the result has {len(actual)} elements, not {len(lows)}",
            )
            raise VerifyException(
                f"element {element} of the result ranges over {lows[element]}..{highs[element]}, "
                f"its type says {actual.lows[element]}..{actual.highs[element]}"
            )
        if self.cycles is not None:
            _require(
                self.cycles.array.shape == (len(actual),) and self.cycles.array.min(initial=0) >= 0,
                "cycles must be one non-negative integer for each element",
            )

    @abstractmethod
    def verify_parameters(self) -> None:
        """Check the stage's own parameters."""


def _properties(edge: str, parameters: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {"edge": StringAttr(edge), **parameters}


def linear_ranges(matrix: Array, bias: Array, lows: Array, highs: Array) -> tuple[Array, Array]:
    """Return the exact ranges of ``x @ matrix + bias`` over ``lows <= x <= highs``."""
    exact = matrix.astype(object) if _needs_object(matrix, lows, highs) else matrix
    positive, negative = np.maximum(exact, 0), np.minimum(exact, 0)
    kind = exact.dtype
    lows, highs = lows.astype(kind), highs.astype(kind)
    wide = bias.astype(object)
    low = (lows @ positive + highs @ negative).astype(object) + wide
    high = (highs @ positive + lows @ negative).astype(object) + wide
    return integer_array(low), integer_array(high)


def _needs_object(matrix: Array, lows: Array, highs: Array) -> bool:
    if object in (matrix.dtype, lows.dtype, highs.dtype):
        return True
    weight = int(np.abs(matrix).max(initial=0))
    value = max(abs(int(lows.min(initial=0))), abs(int(highs.max(initial=0))))
    return weight * value * max(len(lows), 1) >= 1 << 62


@irdl_op_definition
class DenseOp(StageOp):
    """Constant matrix: ``y = x @ matrix + bias`` for each of ``positions`` blocks of x."""

    name = "qflow.dense"

    input = operand_def(ChannelType)
    matrix = prop_def(ArrayAttr)
    bias = prop_def(ArrayAttr)
    graph = opt_prop_def(AdderGraphAttr)
    node_cycles = opt_prop_def(ArrayAttr)

    assembly_format = "$edge `(` $input `)` attr-dict `:` type($input) `->` type($result)"

    def __init__(
        self, edge: str, input: SSAValue, matrix: Array, bias: Array, shape: Sequence[int]
    ):
        parameters = {"matrix": ArrayAttr.get(matrix), "bias": ArrayAttr.get(bias)}
        lows, highs = self._block_ranges(channel_of(input), matrix, bias)
        super().__init__(
            operands=[input],
            properties=_properties(edge, parameters),
            result_types=[ChannelType.of(shape, lows, highs)],
        )

    @staticmethod
    def _block_ranges(source: ChannelType, matrix: Array, bias: Array) -> tuple[Array, Array]:
        rows = matrix.shape[0]
        blocks = [
            linear_ranges(matrix, bias, source.lows[at : at + rows], source.highs[at : at + rows])
            for at in range(0, len(source), rows)
        ]
        lows, highs = zip(*blocks, strict=True)
        return integer_array(np.concatenate(lows)), integer_array(np.concatenate(highs))

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channel."""
        return [self.input]

    @property
    def positions(self) -> int:
        """How many blocks of the operand the matrix is applied to."""
        return len(channel_of(self.input)) // self.matrix.array.shape[0]

    def exact_ranges(self) -> tuple[Array, Array]:
        """Return sums of products at the worst ends of the operand's ranges."""
        return self._block_ranges(channel_of(self.input), self.matrix.array, self.bias.array)

    def verify_parameters(self) -> None:
        """Check matrix, bias, adder graph and node cycles."""
        matrix, bias = self.matrix.array, self.bias.array
        _require(matrix.ndim == 2 and matrix.dtype != np.float32, "needs an integer matrix")
        _require(matrix.shape[0] > 0, "the matrix needs a row")
        _require(
            bias.shape == (matrix.shape[1],) and bias.dtype != np.float32,
            f"bias must be {matrix.shape[1]} integers",
        )
        count = len(channel_of(self.input))
        _require(
            count > 0 and count % matrix.shape[0] == 0,
            f"{count} elements are not blocks of {matrix.shape[0]} matrix rows",
        )
        if self.graph is not None:
            self.graph.verify_inputs(matrix.shape[0])
            _require(
                len(self.graph.out_id.array) == matrix.shape[1],
                "the adder graph needs one output for each matrix column",
            )
            if self.node_cycles is not None:
                _require(
                    self.node_cycles.array.shape == (self.positions * self.graph.nodes,),
                    "node cycles must be one for each adder and position",
                )


@irdl_op_definition
class CombineOp(StageOp):
    """Elementwise linear join: ``y[i] = sum_k coefficients[k, i] * x_k[i] + bias[i]``."""

    name = "qflow.combine"

    inputs = var_operand_def(ChannelType)
    coefficients = prop_def(ArrayAttr)
    bias = prop_def(ArrayAttr)
    graph = opt_prop_def(AdderGraphAttr)
    node_cycles = opt_prop_def(ArrayAttr)

    assembly_format = "$edge `(` $inputs `)` attr-dict `:` functional-type($inputs, $result)"

    def __init__(
        self,
        edge: str,
        inputs: Sequence[SSAValue],
        coefficients: Array,
        bias: Array,
        shape: Sequence[int],
    ):
        parameters = {"coefficients": ArrayAttr.get(coefficients), "bias": ArrayAttr.get(bias)}
        lows, highs = self._join([channel_of(x) for x in inputs], coefficients, bias)
        super().__init__(
            operands=[inputs],
            properties=_properties(edge, parameters),
            result_types=[ChannelType.of(shape, lows, highs)],
        )

    @staticmethod
    def _join(
        channels: Sequence[ChannelType], coefficients: Array, bias: Array
    ) -> tuple[Array, Array]:
        low = high = bias.astype(object)
        for channel, row in zip(channels, coefficients.astype(object), strict=True):
            ends = np.stack([row * channel.lows.astype(object), row * channel.highs.astype(object)])
            low, high = low + ends.min(axis=0), high + ends.max(axis=0)
        return integer_array(low), integer_array(high)

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channels."""
        return list(self.inputs)

    def exact_ranges(self) -> tuple[Array, Array]:
        """Return sums of products at the worst ends of the operands' ranges."""
        channels = [channel_of(x) for x in self.inputs]
        return self._join(channels, self.coefficients.array, self.bias.array)

    def verify_parameters(self) -> None:
        """Check coefficients and bias against the operands."""
        _require(len(self.inputs) >= 1, "needs an operand")
        count = len(channel_of(self.inputs[0]))
        _require(all(len(channel_of(x)) == count for x in self.inputs), "operands differ in size")
        coefficients, bias = self.coefficients.array, self.bias.array
        _require(
            coefficients.shape == (len(self.inputs), count) and coefficients.dtype != np.float32,
            "needs one integer coefficient for each operand and element",
        )
        _require(
            bias.shape == (count,) and bias.dtype != np.float32, f"bias must be {count} integers"
        )
        if self.graph is not None:
            self.graph.verify_inputs(len(self.inputs) * count)
            _require(len(self.graph.out_id.array) == count, "the adder graph needs one output each")
            if self.node_cycles is not None:
                _require(
                    self.node_cycles.array.shape == (self.graph.nodes,),
                    "node cycles must be one for each adder",
                )


@irdl_op_definition
class MultiplyOp(StageOp):
    """Elementwise product of two channels."""

    name = "qflow.multiply"

    left = operand_def(ChannelType)
    right = operand_def(ChannelType)

    assembly_format = (
        "$edge `(` $left `,` $right `)` attr-dict"
        " `:` type($left) `,` type($right) `->` type($result)"
    )

    def __init__(self, edge: str, left: SSAValue, right: SSAValue, shape: Sequence[int]):
        lows, highs = self._corners(left, right)
        super().__init__(
            operands=[left, right],
            properties=_properties(edge, {}),
            result_types=[ChannelType.of(shape, lows, highs)],
        )

    @staticmethod
    def _corners(left: SSAValue, right: SSAValue) -> tuple[Array, Array]:
        a, b = channel_of(left), channel_of(right)
        ends = [
            x.astype(object) * y.astype(object)
            for x in (a.lows, a.highs)
            for y in (b.lows, b.highs)
        ]
        if left is right:  # a square: its least is 0 where the range spans 0
            squares = np.stack([ends[0], ends[3]])
            spans = (a.lows <= 0) & (a.highs >= 0)
            low = np.where(spans, 0, squares.min(axis=0))
            return integer_array(low), integer_array(squares.max(axis=0))
        corners = np.stack(ends)
        return integer_array(corners.min(axis=0)), integer_array(corners.max(axis=0))

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The two operand channels."""
        return [self.left, self.right]

    def exact_ranges(self) -> tuple[Array, Array]:
        """Return the extremes among the corners."""
        return self._corners(self.left, self.right)

    def verify_parameters(self) -> None:
        """Check that the operands agree in size."""
        sizes = len(channel_of(self.left)), len(channel_of(self.right))
        _require(sizes[0] == sizes[1], "operands differ in size")


class ElementStageOp(StageOp, ABC):
    """A stage that maps each element of its one operand by itself; monotone or a table."""

    input = operand_def(ChannelType)

    assembly_format = "$edge `(` $input `)` attr-dict `:` type($input) `->` type($result)"

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channel."""
        return [self.input]

    @abstractmethod
    def evaluate(self, x: Array) -> Array:
        """Map beats of shape ``(frames, elements)``."""

    def exact_ranges(self) -> tuple[Array, Array]:
        """Return the images of the ends of the operand's ranges (monotone stages)."""
        source = channel_of(self.input)
        ends = np.stack([source.lows, source.highs])
        images = self.evaluate(ends)
        return integer_array(images.min(axis=0)), integer_array(images.max(axis=0))


def rescale(x: Array, offset: Array, shift: Array, rounding: Rounding) -> Array:
    """Return ``round((x + offset) / 2**shift)`` on exact integers."""
    moved = x + offset
    half = np.where(shift > 0, np.left_shift(np.ones_like(shift), np.maximum(shift - 1, 0)), 0)
    if moved.dtype == object:
        half = half.astype(object)
    match rounding:
        case Rounding.FLOOR:
            return moved >> shift
        case Rounding.HALF_UP:
            return (moved + half) >> shift
        case Rounding.HALF_EVEN:
            odd = np.where(shift > 0, (moved >> shift) & 1, 0)
            return (moved + np.where(shift > 0, half - 1 + odd, 0)) >> shift


@irdl_op_definition
class RescaleOp(ElementStageOp):
    """``y[i] = clamp(round((x[i] + offset[i]) / 2**shift[i]), low[i], high[i])``."""

    name = "qflow.rescale"

    offset = prop_def(ArrayAttr)
    shift = prop_def(ArrayAttr)
    rounding = prop_def(RoundingAttr)
    low = prop_def(ArrayAttr)
    high = prop_def(ArrayAttr)

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        offset: Array,
        shift: Array,
        rounding: Rounding,
        low: Array,
        high: Array,
        shape: Sequence[int],
    ):
        source = channel_of(input)
        parameters: dict[str, Attribute] = {
            "offset": ArrayAttr.get(offset),
            "shift": ArrayAttr.get(shift),
            "rounding": RoundingAttr(rounding),
            "low": ArrayAttr.get(low),
            "high": ArrayAttr.get(high),
        }
        ends = np.stack([source.lows, source.highs])
        images = np.clip(_wide_rescale(ends, offset, shift, rounding), low, high)
        super().__init__(
            operands=[input],
            properties=_properties(edge, parameters),
            result_types=[ChannelType.of(shape, images[0], images[1])],
        )

    def evaluate(self, x: Array) -> Array:
        """Add, shift with rounding, clamp."""
        rounded = _wide_rescale(
            x, self.offset.array, np.asarray(self.shift.array, np.int64), self.rounding.data
        )
        return integer_array(np.clip(rounded, self.low.array, self.high.array))

    def verify_parameters(self) -> None:
        """Check that there is one of each parameter for each element."""
        count = len(channel_of(self.input))
        for name in ("offset", "shift", "low", "high"):
            array = getattr(self, name).array
            _require(
                array.shape == (count,) and array.dtype != np.float32,
                f"{name} must be {count} integers",
            )
        _require(np.all(self.shift.array >= 0), "a shift must not be negative")
        _require(np.all(self.low.array <= self.high.array), "a clamp is empty")


def _wide_rescale(x: Array, offset: Array, shift: Array, rounding: Rounding) -> Array:
    """Rescale in ``int64`` where nothing can overflow, else in Python integers."""
    largest = max(
        [abs(int(v)) for v in (x.min(initial=0), x.max(initial=0))]
        + [abs(int(v)) for v in (offset.min(initial=0), offset.max(initial=0))]
    )
    if x.dtype == object or offset.dtype == object or largest >= 1 << 60 or np.any(shift > 60):
        wide = np.asarray(shift).astype(object)
        x, offset = x.astype(object), offset.astype(object)
        rounder = np.frompyfunc(lambda v, s: round_one(v, s, rounding), 2, 1)
        return rounder(x + offset, wide)
    return rescale(x, offset, shift, rounding)


def round_one(value: int, shift: int, rounding: Rounding) -> int:
    """Return ``round(value / 2**shift)``, exactly."""
    if shift == 0 or rounding is Rounding.FLOOR:
        return value >> shift
    half = 1 << (shift - 1)
    if rounding is Rounding.HALF_EVEN:
        half += ((value >> shift) & 1) - 1
    return (value + half) >> shift


@irdl_op_definition
class ThresholdOp(ElementStageOp):
    """``y[i] = base[i] + direction[i] * #{k: x[i] >= thresholds[i, k]}``, rows sorted.

    Rows shorter than others are padded by one past the largest value of the element, which
    never fires.
    """

    name = "qflow.threshold"

    thresholds = prop_def(ArrayAttr)
    base = prop_def(ArrayAttr)
    direction = prop_def(ArrayAttr)

    def __init__(
        self,
        edge: str,
        input: SSAValue,
        thresholds: Array,
        base: Array,
        direction: Array,
        shape: Sequence[int],
    ):
        source = channel_of(input)
        parameters = {
            "thresholds": ArrayAttr.get(thresholds),
            "base": ArrayAttr.get(base),
            "direction": ArrayAttr.get(direction),
        }
        ends = np.stack([source.lows, source.highs])
        images = count_thresholds(ends, thresholds, base, direction)
        super().__init__(
            operands=[input],
            properties=_properties(edge, parameters),
            result_types=[ChannelType.of(shape, images.min(axis=0), images.max(axis=0))],
        )

    def evaluate(self, x: Array) -> Array:
        """Count the thresholds that each element reaches."""
        return count_thresholds(x, self.thresholds.array, self.base.array, self.direction.array)

    def verify_parameters(self) -> None:
        """Check shapes, order and direction."""
        count = len(channel_of(self.input))
        thresholds, base, direction = (
            self.thresholds.array,
            self.base.array,
            self.direction.array,
        )
        _require(
            thresholds.ndim == 2 and len(thresholds) == count and thresholds.dtype != np.float32,
            f"thresholds must be {count} rows of integers",
        )
        _require(base.shape == (count,), f"base must be {count} integers")
        _require(direction.shape == (count,), f"direction must be {count} integers")
        _require(np.all(np.isin(direction, (-1, 1))), "a direction is 1 or -1")
        _require(np.all(thresholds[:, 1:] >= thresholds[:, :-1]), "thresholds must be sorted")


def count_thresholds(x: Array, thresholds: Array, base: Array, direction: Array) -> Array:
    """Return ``base + direction * #{k: x >= thresholds[k]}`` for beats ``(frames, n)``."""
    count = np.zeros(x.shape, np.int64)
    for column in range(thresholds.shape[1]):
        count += (x >= thresholds[:, column]).astype(np.int64)
    return integer_array(base + direction * count)


@irdl_op_definition
class LookupOp(ElementStageOp):
    """``y[i] = table[i, x[i] - low]``, where ``low`` is the least value of the element."""

    name = "qflow.lookup"

    table = prop_def(ArrayAttr)

    MAX_ENTRIES: ClassVar[int] = 1 << 16

    def __init__(self, edge: str, input: SSAValue, table: Array, shape: Sequence[int]):
        source = channel_of(input)
        lows, highs = _table_ranges(source, table)
        super().__init__(
            operands=[input],
            properties=_properties(edge, {"table": ArrayAttr.get(table)}),
            result_types=[ChannelType.of(shape, lows, highs)],
        )

    def evaluate(self, x: Array) -> Array:
        """Look each element up in its row."""
        source = channel_of(self.input)
        index = (x - source.lows).astype(np.int64)
        return self.table.array[np.arange(len(source)), index]

    def exact_ranges(self) -> tuple[Array, Array]:
        """Return the extremes of the reachable entries."""
        return _table_ranges(channel_of(self.input), self.table.array)

    def verify_parameters(self) -> None:
        """Check that every value of every element has an entry."""
        source, table = channel_of(self.input), self.table.array
        _require(
            table.ndim == 2 and len(table) == len(source) and table.dtype != np.float32,
            f"table must be {len(source)} rows of integers",
        )
        sizes = (source.highs - source.lows + 1).max(initial=0)
        _require(sizes <= table.shape[1], f"rows need {sizes} entries")
        _require(table.shape[1] <= self.MAX_ENTRIES, f"a row has over {self.MAX_ENTRIES} entries")


def _table_ranges(source: ChannelType, table: Array) -> tuple[Array, Array]:
    reachable = np.arange(table.shape[1]) <= (source.highs - source.lows)[:, None]
    low = np.where(reachable, table, table[:, :1]).min(axis=1)
    high = np.where(reachable, table, table[:, :1]).max(axis=1)
    return integer_array(low), integer_array(high)


@irdl_op_definition
class RearrangeOp(StageOp):
    """Wiring: result element ``k`` is element ``index[k]`` of the operands, end to end."""

    name = "qflow.rearrange"

    inputs = var_operand_def(ChannelType)
    index = prop_def(ArrayAttr)

    assembly_format = "$edge `(` $inputs `)` attr-dict `:` functional-type($inputs, $result)"

    def __init__(
        self,
        edge: str,
        inputs: Sequence[SSAValue],
        index: NDArray[np.int64],
        shape: Sequence[int],
    ):
        lows, highs = _joined_ranges(inputs)
        super().__init__(
            operands=[inputs],
            properties=_properties(edge, {"index": ArrayAttr.get(index)}),
            result_types=[ChannelType.of(shape, lows[index], highs[index])],
        )

    @property
    def sources(self) -> Sequence[SSAValue]:
        """The operand channels."""
        return list(self.inputs)

    def exact_ranges(self) -> tuple[Array, Array]:
        """Return the ranges of the chosen elements."""
        lows, highs = _joined_ranges(self.inputs)
        index = self.index.array
        return integer_array(lows[index]), integer_array(highs[index])

    def verify_parameters(self) -> None:
        """Check the index map."""
        _require(len(self.inputs) >= 1, "needs an operand")
        count = sum(len(channel_of(x)) for x in self.inputs)
        index = self.index.array
        _require(index.ndim == 1 and index.dtype == np.int64, "index must be integers")
        inside = not index.size or (index.min() >= 0 and index.max() < count)
        _require(inside, f"index must be within 0..{count - 1}")


def _joined_ranges(inputs: Sequence[SSAValue]) -> tuple[Array, Array]:
    channels = [channel_of(x) for x in inputs]
    lows = np.concatenate([c.lows.astype(object) for c in channels])
    highs = np.concatenate([c.highs.astype(object) for c in channels])
    return lows, highs


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

    ``ii`` and ``latency`` (cycles: of the last output beat) are set by the schedule.
    """

    name = "qflow.graph"

    sym_name = prop_def(SymbolNameConstraint())
    input_names = prop_def(ListAttr[StringAttr])
    output_names = prop_def(ListAttr[StringAttr])
    ii = opt_prop_def(IntAttr)
    latency = opt_prop_def(IntAttr)
    body = region_def("single_block")

    irdl_options = (ParsePropInAttrDict(),)
    traits = traits_def(IsolatedFromAbove(), SymbolOpInterface())
    assembly_format = "$sym_name $input_names `->` $output_names attr-dict-with-keyword $body"

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

    def verify_(self) -> None:
        """Check terminator, names and their number."""
        terminator = self.body.block.last_op
        if not isinstance(terminator, YieldOp):
            raise VerifyException("must end in qflow.yield")
        arguments = self.body.block.args
        _require(all(isinstance(a.type, ChannelType) for a in arguments), "each input is a channel")
        _require(len(self.input_names) == len(arguments), "needs one name for each input")
        _require(
            len(self.output_names) == len(terminator.outputs), "needs one name for each output"
        )
        names = [name.data for name in self.input_names]
        names += [stage.edge.data for stage in self.stages]
        _require(len(names) == len(set(names)), "edge names must be unique")
        if self.ii is not None:
            _require(self.ii.data >= 1, "the initiation interval must be >= 1")
        if self.latency is not None:
            _require(self.latency.data >= 0, "the latency must not be negative")


Qflow = Dialect(
    "qflow",
    [
        CombineOp,
        DenseOp,
        GraphOp,
        LookupOp,
        MultiplyOp,
        RearrangeOp,
        RescaleOp,
        ThresholdOp,
        YieldOp,
    ],
    [AdderGraphAttr, ChannelType, FoldedAttr, ParallelAttr, RangesAttr, RoundingAttr],
)
