"""One node of a graph while it is read: every attribute, input and output accounted for."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from xdsl.dialects.builtin import Float32Type
from xdsl.ir import Block, Operation, SSAValue

from fastml.compiler.reader.onnx_file import Plain
from fastml.compiler.reader.registry import Operator
from fastml.compiler.reader.schema import Schema
from fastml.compiler.reader.values import SYMBOLIC_SAMPLES, Batch, Constant, Value, Varying
from fastml.compiler.support.diagnostics import FastmlError, SourceNode, shorten
from fastml.dialects import inference
from fastml.dialects.elements import MAX_ELEMENTS
from fastml.dialects.fastml import ConstantOp, element_type

MAX_RANK = 32
"""Most axes of a tensor: what every array library holds."""

_KINDS = {kind: name for name, kind in onnx.AttributeProto.AttributeType.items()}


class OnlyBatchOfOne(FastmlError):
    """Shapes that fit at batch 1 and at no other, though the batch is declared symbolic."""


class Node:
    """A node and the place where its operations go.

    What :meth:`take` and the attribute readers were not asked for is an error in the end.
    """

    def __init__(
        self,
        proto: onnx.NodeProto,
        source: SourceNode,
        schema: Schema,
        operator: Operator,
        inputs: Sequence[Value | None],
        block: Block,
        samples: int,
        fresh: Callable[[str], str],
        read_tensor: Callable[[onnx.TensorProto], Plain],
    ):
        self.proto = proto
        self.source = source
        self.schema = schema
        self.operator = operator
        self.block = block
        self.samples = samples
        self.fresh = fresh
        self.read_tensor = read_tensor
        self.edge = proto.output[0]
        self.edges = list(proto.output)
        self.opset = source.opset
        self._inputs = list(inputs)
        self._untaken = {i for i, value in enumerate(inputs) if value is not None}
        self._present = {entry.name: entry for entry in proto.attribute}
        self._check_declarations()

    # -- accounting ------------------------------------------------------------------------

    def error(self, code: str, message: str, hint: str | None = None) -> FastmlError:
        """Return an error about this node."""
        return FastmlError(message, self.source, code=code, hint=hint)

    def _check_declarations(self) -> None:
        """Refuse attributes that the schema lacks or that nobody implements."""
        if len(self._present) != len(self.proto.attribute):
            raise self.error("FML-IMP-ATTR", "an attribute is given twice")
        for name, entry in self._present.items():
            shown = f"attribute '{shorten(name)}={_show(entry)}'"
            declared = self.schema.attributes.get(name)
            if declared is None:
                message = f"{shown} is not one that this operator has"
                raise self.error("FML-IMP-ATTR", message)
            if entry.ref_attr_name or _KINDS[entry.type] != declared.kind:
                raise self.error("FML-IMP-ATTR", f"{shown} is not of type {declared.kind}")
            if name not in self.operator.attributes | self.operator.without_effect.keys():
                raise self.error("FML-IMP-ATTR", f"{shown} is not implemented")
        for name, declared in self.schema.attributes.items():
            if declared.required and name not in self._present:
                raise self.error("FML-IMP-ATTR", f"the required attribute '{name}' is missing")
        for value in self._inputs:
            if value is not None:
                self.check_rank(len(value.shape), "an input")
        count = len(self._inputs)
        if count > len(self.schema.inputs) and not self.schema.variadic:
            message = f"has {count} inputs, but the operator takes {len(self.schema.inputs)}"
            raise self.error("FML-IMP-ATTR", message)
        for position in range(self.schema.required_inputs):
            if position >= count or self._inputs[position] is None:
                name = self.schema.inputs[position]
                raise self.error("FML-IMP-ATTR", f"the required input '{name}' is missing")

    def finish(self, built: int, read_outputs: Callable[[str], bool]) -> None:
        """Refuse inputs that were not taken, and outputs beyond those that were built."""
        for position in sorted(self._untaken):
            names = self.schema.inputs
            name = names[min(position, len(names) - 1)]
            raise self.error("FML-IMP-ATTR", f"optional input '{name}' is not implemented")
        for position, output in enumerate(self.proto.output):
            spare = position in self.operator.spare_outputs and not read_outputs(output)
            if position >= built and output and not spare:
                names = self.schema.outputs
                name = names[min(position, len(names) - 1)]
                raise self.error("FML-IMP-ATTR", f"optional output '{name}' is not implemented")

    def _attribute(self, name: str) -> object:
        assert name in self.operator.attributes, f"{self.schema.name} does not declare {name}"
        declared = self.schema.attributes.get(name)
        if name in self._present:
            return onnx.helper.get_attribute_value(self._present[name])
        return declared.default if declared is not None else None

    def integer(self, name: str) -> int | None:
        """Return an INT attribute, or the schema's default."""
        value = self._attribute(name)
        assert value is None or isinstance(value, int)
        return value

    def flag(self, name: str) -> bool:
        """Return an INT attribute that is 0 or 1; False if this version does not have it."""
        value = self.integer(name) or 0
        if value not in (0, 1):
            raise self.error("FML-IMP-ATTR", f"attribute '{name}={value}' is neither 0 nor 1")
        return bool(value)

    def real(self, name: str) -> np.float32:
        """Return a FLOAT attribute, or the schema's default."""
        value = self._attribute(name)
        assert isinstance(value, float | int)
        return np.float32(value)

    def integers(self, name: str) -> list[int] | None:
        """Return an INTS attribute, or None if it is absent."""
        value = self._attribute(name)
        return None if value is None else [int(v) for v in np.asarray(value).ravel()]

    def reals(self, name: str) -> NDArray[np.float32] | None:
        """Return a FLOATS attribute, or None if it is absent."""
        value = self._attribute(name)
        return None if value is None else np.asarray(value, np.float32)

    def text(self, name: str) -> str:
        """Return a STRING attribute, or the schema's default."""
        value = self._attribute(name)
        assert isinstance(value, bytes | str)
        return value if isinstance(value, str) else value.decode(errors="replace")

    def tensor(self, name: str) -> onnx.TensorProto | None:
        """Return a TENSOR attribute, or None if it is absent."""
        value = self._attribute(name)
        assert value is None or isinstance(value, onnx.TensorProto)
        return value

    # -- inputs ----------------------------------------------------------------------------

    def take(self, position: int, *, shapes: bool = False) -> Value:
        """Return an input that must be there."""
        value = self.take_optional(position, shapes=shapes)
        assert value is not None, "the schema requires this input"
        return value

    def take_optional(self, position: int, *, shapes: bool = False) -> Value | None:
        """Return an input, or None where it is left out.

        Numbers computed from the number of samples are refused, unless ``shapes`` says that
        the operator keeps track of them.
        """
        self._untaken.discard(position)
        value = self._inputs[position] if position < len(self._inputs) else None
        if value is not None and not shapes:
            self.refuse_batch_sizes([value])
        return value

    def take_all(self, *, shapes: bool = False) -> list[Value]:
        """Return every input of a variadic operator."""
        return [self.take(position, shapes=shapes) for position in range(len(self._inputs))]

    def take_constant(self, position: int, *, shapes: bool = False) -> Constant:
        """Return an input that must not depend on the network's inputs."""
        return self.constant(self.take(position, shapes=shapes), self.schema.inputs[position])

    def refuse_batch_sizes(self, values: Sequence[Value]) -> None:
        """Refuse constants that were computed from the number of samples."""
        if any(isinstance(value, Constant) and value.of_batch is not None for value in values):
            raise self.error(
                "FML-IMP-BATCH",
                "the number of samples in a batch is used as a number",
                "export the model with batch 1",
            )

    def constant(self, value: Value, what: str) -> Constant:
        """Refuse a value that depends on the network's inputs."""
        if isinstance(value, Constant):
            return value
        message = (
            f"'{what}' is computed from an input of the network; only a constant is implemented"
        )
        raise self.error("FML-IMP-DYNAMIC", message)

    def take_integers(self, position: int, *, shapes: bool = False) -> list[int] | None:
        """Return an optional constant list of integers, such as a shape or axes."""
        value = self.take_optional(position, shapes=shapes)
        if value is None:
            return None
        name = self.schema.inputs[position]
        array = self.constant(value, name).array
        if array.dtype.kind not in "iu":
            raise self.error("FML-IMP-TYPE", f"'{name}' must hold integers, got {array.dtype}")
        return [int(v) for v in array.ravel()]

    def reals_of(self, value: Constant, what: str) -> NDArray[np.float32]:
        """Refuse a constant that is not float32."""
        if value.array.dtype != np.float32:
            message = f"'{what}' is {value.array.dtype}; only float32 is implemented"
            raise self.error("FML-IMP-TYPE", message)
        return value.array

    # -- operations ------------------------------------------------------------------------

    def emit(self, operations: Sequence[Operation]) -> SSAValue:
        """Append operations, located at this node; return the last one's result."""
        for operation in operations:
            operation.location = self.source.location
            self.block.add_op(operation)
        return operations[-1].results[0]

    def materialise(self, value: Value) -> SSAValue:
        """Return a value as an operand: constants become ``fastml.constant``."""
        self.refuse_batch_sizes([value])
        if isinstance(value, Varying):
            return value.value
        if value.raw is not None and value.element is not None:
            return self.emit([ConstantOp(value.raw, value.element)])
        reals = self.reals_of(value, "constant operand")
        if np.isnan(reals).any():
            raise self.error("FML-IMP-TYPE", "a constant operand holds what is not a number")
        return self.emit([ConstantOp(reals)])

    def is_real(self, value: SSAValue) -> bool:
        """Return whether nobody has quantised ``value``."""
        return isinstance(element_type(value), Float32Type)

    def exact(self, build: Callable[[], list[Operation]]) -> SSAValue:
        """Emit what a builder of exact operators gives; its refusals become errors."""
        try:
            return self.emit(build())
        except inference.GridError as error:
            hint = "quantise with scales that are powers of two of each other, or with one scale"
            raise self.error("FML-GRID", str(error), hint) from None

    # -- shapes ----------------------------------------------------------------------------

    def check_size(self, shape: Sequence[int], samples: int = 1) -> tuple[int, ...]:
        """Refuse a result that is too large, before anything of its size is made."""
        self.check_rank(len(shape), "the result")
        if int(np.prod([int(s) for s in shape], dtype=object)) > MAX_ELEMENTS * samples:
            message = (
                f"the result of shape {self.show(shape)} has more than {MAX_ELEMENTS} elements"
            )
            raise self.error("FML-IMP-SHAPE", message)
        return tuple(shape)

    def check_rank(self, rank: int, what: str) -> None:
        """Refuse more axes than arrays have."""
        if rank > MAX_RANK:
            message = f"{what} has {rank} axes; at most {MAX_RANK} are implemented"
            raise self.error("FML-IMP-SHAPE", message)

    def full_shape(self, value: Value) -> tuple[int, ...]:
        """Return the shape as the model has it, at its own batch."""
        return value.shape if isinstance(value, Constant) else value.full_shape(self.samples)

    def show(self, shape: Sequence[int]) -> str:
        """Spell a shape of the model for its user, to whom a symbolic batch is ``N``."""
        if self.samples != SYMBOLIC_SAMPLES:
            return str([int(size) for size in shape])
        sizes = [divmod(int(size), self.samples) for size in shape]
        texts = [
            f"{'' if count == 1 else count}N"
            if count and not rest
            else str(count * self.samples + rest)
            for count, rest in sizes
        ]
        return f"[{', '.join(texts)}]"

    def shape_error(self, message: str, *, fits_1: bool) -> FastmlError:
        """Return the error of shapes that do not fit; ``fits_1``: they do at batch 1 only."""
        kind = OnlyBatchOfOne if fits_1 and self.samples == SYMBOLIC_SAMPLES else FastmlError
        return kind(message, self.source, code="FML-IMP-SHAPE")

    def broadcasts_at_1(self, values: Sequence[Value]) -> bool:
        """Return whether shapes that do not broadcast do so at batch 1, and at no other.

        An axis of N samples meets d others at N = 1 and at N = d, one of k * N at one N only.
        """
        smalls = [value.shape for value in values]
        try:
            np.broadcast_shapes(*smalls)
        except ValueError:
            return False
        fulls = [self.full_shape(value) for value in values]
        for axis in range(1, 1 + max(map(len, smalls))):
            sizes = [
                (full[-axis], small[-axis])
                for full, small in zip(fulls, smalls, strict=True)
                if axis <= len(small)
            ]
            if len({full for full, _ in sizes} - {1}) > 1:
                return min(small for full, small in sizes if full != small) > 1
        return False

    def broadcast(self, values: Sequence[Value]) -> tuple[list[Value], Batch | None]:
        """Prepare operands that broadcast against each other, at batch 1.

        A constant that spans the batch must be the same for every sample.
        """
        if any(isinstance(value, Varying) for value in values):
            self.refuse_batch_sizes(values)
        try:
            full = np.broadcast_shapes(*(self.full_shape(value) for value in values))
        except ValueError:
            shapes = " and ".join(self.show(self.full_shape(v)) for v in values)
            message = f"shapes {shapes} do not broadcast"
            raise self.shape_error(message, fits_1=self.broadcasts_at_1(values)) from None
        batches = {v.batch for v in values if isinstance(v, Varying)}
        if len(batches) > 1:
            raise self.mixed("elements of different samples meet")
        batch = next(iter(batches), None)
        values = [self._at_batch_1(value, batch) for value in values]
        self.check_size(np.broadcast_shapes(*(value.shape for value in values)))
        assert batch is None or len(full) >= -batch.axis
        return values, batch

    def _at_batch_1(self, value: Value, batch: Batch | None) -> Value:
        if batch is None or isinstance(value, Varying) or len(value.shape) < -batch.axis:
            return value
        if value.shape[batch.axis] == 1:
            return value
        first = np.take(value.array, [0], batch.axis)
        if batch.outer > 1 or not np.array_equal(np.broadcast_to(first, value.shape), value.array):
            raise self.mixed("a constant differs from sample to sample")
        return Constant(first)

    def mixed(self, how: str) -> FastmlError:
        """Return the error of an operator that looks across samples."""
        return self.error(
            "FML-IMP-BATCH",
            f"{how}: axis 0 of every input is the batch",
            "export the model with batch 1",
        )

    def keep_batch(
        self, value: Varying, target: Sequence[int]
    ) -> tuple[tuple[int, ...], Batch | None]:
        """Return shape and batch, at batch 1, of a reshape to ``target``, the model's own."""
        batch = value.batch
        if batch is None:
            return tuple(target), None
        shape, axis = value.shape, len(value.shape) + batch.axis
        outer = int(np.prod(shape[:axis], dtype=object)) * batch.outer
        inner = int(np.prod(shape[axis:], dtype=object)) // batch.outer
        for position, size in enumerate(target):
            before = int(np.prod(list(target[:position]), dtype=object))
            after = int(np.prod(list(target[position + 1 :]), dtype=object))
            if outer % before or inner % after:
                continue
            if size == (outer // before) * self.samples * (inner // after):
                small = [*target[:position], size // self.samples, *target[position + 1 :]]
                return tuple(small), Batch(position - len(target), outer // before)
        raise self.mixed("a reshape regroups samples")


def _show(entry: onnx.AttributeProto) -> str:
    if entry.type in (onnx.AttributeProto.TENSOR, onnx.AttributeProto.GRAPH):
        return _KINDS[entry.type].lower()
    try:
        value = onnx.helper.get_attribute_value(entry)
    except ValueError:
        return "?"
    return shorten(value.decode(errors="replace") if isinstance(value, bytes) else str(value), 60)
