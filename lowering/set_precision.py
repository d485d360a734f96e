"""Give a model of real numbers fixed-point types: each weight, and what each layer makes.

A product with a constant and the sum with a bias after it are one layer, exact on integers;
its result is converted once, as ``ap_fixed`` would. Whatever has no exact form on fixed-point
numbers, such as a softmax, stays real. Nothing is guessed: every type is the default or one
that was given by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import Float32Type, ModuleOp, TensorType
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, inference, inference_spatial
from fastml.dialects.array import Array, integer_array
from fastml.dialects.fastml import constant_of, element_type, shape_of
from fastml.dialects.fastml_convert import Format
from fastml.dialects.fixed_modes import Overflow, drop_bits, fit
from fastml.dialects.grid import FixedType

_MANTISSA = 149
"""Every finite float32 number is a whole number of steps of 2 to the minus this."""


@dataclass(frozen=True)
class SetPrecision(ModulePass):
    """Quantise the inputs, weights and layers of a float network to fixed-point types."""

    name = "set-precision"

    default: str
    """Type of everything that has no own one: ``fixed<W,I>``, also with ``ap_fixed``'s modes."""
    of: tuple[str, ...] = ()
    """Own types: ``EDGE=TYPE``, or ``EDGE.weight=TYPE`` and ``EDGE.bias=TYPE`` of a layer."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Retype every network."""
        try:
            default = Format.parse(self.default)
            given = {name: Format.parse(text) for name, text in map(_split, self.of)}
        except ValueError as error:
            raise FastmlError(str(error), op, code="FML-USAGE") from None
        for network in op.ops:
            if isinstance(network, fastml.NetworkOp):
                _Typing(network, default, given).run()


def _split(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise ValueError(f"'{text}' is not EDGE=TYPE")
    return name, kind


def _is_real(value: SSAValue) -> bool:
    return isinstance(element_type(value), Float32Type)


class _Typing:
    """One network while it is retyped, in program order."""

    def __init__(self, network: fastml.NetworkOp, default: Format, given: dict[str, Format]):
        self.network = network
        self.default = default
        self.given = given
        self.used = set[str]()
        self.names = set(network.edges)

    def run(self) -> None:
        """Visit inputs, then the operations in order."""
        for op in self.network.body.block.ops:
            if isinstance(op, fastml.QuantiseOp):
                raise FastmlError(
                    f"the model quantises edge '{op.edge_name}' itself",
                    op,
                    code="FML-OPTION",
                    hint="leave the precision out: it is for models of real numbers",
                )
        for name, value in self.network.inputs.items():
            if _is_real(value):
                to = TensorType(self._format(name).type, shape_of(value))
                Rewriter.replace_value_with_new_type(value, to)
        for op in list(self.network.body.block.ops):
            if isinstance(op, fastml.LayerOp):
                self._visit(op)
        unknown = sorted(self.given.keys() - self.used)
        if unknown:
            raise FastmlError(
                f"'{unknown[0]}' is no input, layer, weight or bias that a type can be given",
                self.network,
                code="FML-USAGE",
                hint="name an input or an edge; EDGE.weight and EDGE.bias are those of a layer",
            )

    def _format(self, name: str) -> Format:
        self.used.add(name)
        return self.given.get(name, self.default)

    def _fresh(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.names:
            count += 1
            name = f"{wanted}_{count}"
        self.names.add(name)
        return name

    # --- operations ----------------------------------------------------------------------

    def _visit(self, op: fastml.LayerOp) -> None:
        """Rebuild an operation on its operands' new types, and convert what it makes."""
        varying = [value for value in op.operands if constant_of(value) is None]
        if not _is_real(op.result) or any(_is_real(value) for value in varying):
            return
        biased = _bias_of(op)
        layer = op.edge_name if biased is None else biased.edge_name
        try:
            made = self._rebuilt(op, layer)
        except inference.GridError as error:
            raise FastmlError(str(error), op, code="FML-GRID") from None
        if made is None:
            return
        moves = isinstance(op, fastml.RearrangeOp | fastml.MaxPoolOp)
        if biased is None and (not moves or op.edge_name in self.given):
            made = self._converted(op.edge_name, made)
        self._replace(op, made)

    def _rebuilt(self, op: fastml.LayerOp, layer: str) -> list[Operation] | None:
        """Return the operations of an exact form; ``None`` if there is none."""
        edge, names = op.edge_name, self._fresh
        match op:
            case fastml.MatMulOp():
                left, right = (self._operand(v, f"{layer}.weight", op) for v in op.operands)
                return inference.matmul(edge, left, right, names)
            case fastml.ConvOp():
                return inference_spatial.conv(
                    edge,
                    op.input,
                    self._operand(op.weights, f"{layer}.weight", op),
                    names,
                    strides=[n.data for n in op.strides],
                    dilations=[n.data for n in op.dilations],
                    pads=[n.data for n in op.pads],
                    group=op.group.data,
                    channels_last=op.channels_last is not None,
                )
            case fastml.AddOp() | fastml.SubOp():
                operands = [self._operand(v, f"{layer}.bias", op) for v in op.operands]
                return inference.add(edge, operands, [1, -1 if isinstance(op, fastml.SubOp) else 1])
            case fastml.MulOp():
                left, right = (self._operand(v, f"{layer}.weight", op) for v in op.operands)
                return inference.multiply(edge, left, right)
            case fastml.ReluOp():
                zero = fastml.ConstantOp(np.zeros((), np.int64), FixedType(0, 1, 0))
                self._insert([zero], op)
                operands = [op.operands[0], zero.result]
                return inference_spatial.extremum(edge, operands, fastml.Reduction.MAX)
            case _:
                return self._moved(op, layer)

    def _moved(self, op: fastml.LayerOp, layer: str) -> list[Operation] | None:
        """Rebuild what sums, compares or moves tensors."""
        edge, names = op.edge_name, self._fresh
        match op:
            case fastml.SumOp():
                return inference.add(edge, op.inputs, [sign.data for sign in op.signs])
            case fastml.ProductOp():
                return inference.multiply(edge, op.left, op.right)
            case fastml.ExtremumOp():
                return inference_spatial.extremum(edge, op.inputs, op.kind.data)
            case fastml.ReduceOp():
                axes = [axis.data for axis in op.axes]
                return inference_spatial.reduce(edge, op.input, op.kind.data, axes, names)
            case fastml.MaxPoolOp():
                return inference_spatial.max_pool(
                    edge,
                    op.input,
                    op.kernel_shape,
                    names,
                    strides=[n.data for n in op.strides],
                    dilations=[n.data for n in op.dilations],
                    pads=[n.data for n in op.pads],
                    channels_last=op.channels_last is not None,
                )
            case fastml.RearrangeOp():
                operands = [self._operand(v, f"{layer}.weight", op) for v in op.inputs]
                index = None if op.index is None else op.index_map
                return inference.rearrange(edge, operands, index, shape_of(op.result), names)
            case _:
                return None

    def _operand(self, value: SSAValue, name: str, user: fastml.LayerOp) -> SSAValue:
        """Return an operand; a constant of real numbers in the type that it is given."""
        constant = constant_of(value)
        if constant is None or not _is_real(value):
            return value
        to = self._format(name)
        try:
            raw = quantised_constant(constant.real, to)
        except OverflowError as error:
            raise FastmlError(
                f"'{name}' does not fit: {error}",
                user,
                code="FML-RANGE",
                hint=f"give '{name}' more integer bits, or saturation: {to.type}",
            ) from None
        made = fastml.ConstantOp(raw, to.type)
        self._insert([made], user)
        return made.result

    def _converted(self, edge: str, made: list[Operation]) -> list[Operation]:
        """Convert a result to the type of its edge, unless that has all its numbers."""
        result, to = made[-1].results[0], self._format(edge)
        source = element_type(result)
        if not isinstance(source, FixedType):
            raise inference.GridError(f"edge '{edge}' is {source}, which is not fixed-point")
        if source == to.type or _holds(to.type, source):
            return made
        layer = made[-1]
        assert isinstance(layer, fastml.LayerOp)
        layer.edge = type(layer.edge)(self._fresh(f"{edge}/exact"))
        return [*made, fastml.ConvertOp(edge, result, to)]

    def _insert(self, made: Sequence[Operation], before: Operation) -> None:
        for new in made:
            new.location = before.location
        self.network.body.block.insert_ops_before(made, before)

    def _replace(self, op: fastml.LayerOp, made: Sequence[Operation]) -> None:
        self._insert(made, op)
        op.result.replace_all_uses_with(made[-1].results[0])
        constants = [constant_of(value) for value in op.operands]
        op.detach()
        op.erase()
        for constant in constants:
            if constant is not None and not constant.result.uses.get_length():
                constant.detach()
                constant.erase()


def _bias_of(op: fastml.LayerOp) -> fastml.LayerOp | None:
    """Return the sum with a constant that belongs to a product; ``None`` if there is none."""
    uses = [use.operation for use in op.result.uses]
    if not isinstance(op, fastml.MatMulOp | fastml.ConvOp) or len(uses) != 1:
        return None
    (user,) = uses
    if not isinstance(user, fastml.AddOp):
        return None
    fixed = any(constant_of(value) is not None for value in user.operands)
    return user if fixed else None


def _holds(to: FixedType, source: FixedType) -> bool:
    """Whether every number of a type is one of another."""
    if source.fraction.data > to.fraction.data:
        return False
    factor = 1 << (to.fraction.data - source.fraction.data)
    (low, high), (least, most) = to.raw_range, source.raw_range
    return low <= least * factor and most * factor <= high


def quantised_constant(real: Array, to: Format) -> Array:
    """Return the raw integers of numbers converted to a fixed-point type, exactly.

    Raises ``OverflowError`` where a number would wrap.
    """
    steps = [int(Fraction(float(value)) * (1 << _MANTISSA)) for value in real.ravel()]
    whole = np.array(steps, object).reshape(real.shape)
    rounded = drop_bits(whole, _MANTISSA - to.type.fraction.data, to.rounding)
    raw = fit(rounded, *to.type.storage, to.overflow)
    differs = np.flatnonzero((raw != rounded).ravel())
    if to.overflow is Overflow.WRAP and len(differs):
        raise OverflowError(f"{real.ravel()[differs[0]]} is beyond {to}")
    return integer_array(raw)
