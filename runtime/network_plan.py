"""Networks made ready for evaluation: one closure an operation, on whole chunks of frames.

Between steps every edge is an array with the frames in front of the network's own shape.
Integers travel in their *carrier* (:mod:`fastml.runtime.carriers`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import inference, reference
from fastml.dialects.array import Array, integer_array
from fastml.dialects.fastml import (
    ConstantOp,
    ConvertOp,
    ConvOp,
    ElementwiseOp,
    ExactCastOp,
    ExactOp,
    ExtremumOp,
    LayerOp,
    MatMulOp,
    MaxPoolOp,
    NetworkOp,
    ProductOp,
    QuantiseOp,
    RearrangeOp,
    ReduceOp,
    Reduction,
    SoftmaxOp,
    SumOp,
    constant_of,
    element_type,
    shape_of,
)
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, ScaledType
from fastml.runtime import spatial
from fastml.runtime.carriers import (
    Environment,
    Number,
    Step,
    carrier_of,
    decoder,
    integer_reader,
    integers_of,
    is_quantised,
    largest_of,
    quantised_type,
    to_carrier,
)

ONE_THREAD = 1 << 18
"""A product of so many multiplications OpenBLAS still computes in one thread."""
CHUNK = 1 << 16
"""Elements of the widest edge that are computed at a time, so that they stay in a cache."""


def frame_shape(value: SSAValue) -> tuple[int, ...]:
    """Return the shape of one frame as users see it: without the batch axis of 1."""
    shape = shape_of(value)
    return shape[1:] if shape[:1] == (1,) else shape


# -- plans ---------------------------------------------------------------------------------


class _Plan:
    """A network made ready: one step for each operation.

    It is valid for as long as the very objects that it was made from are in place.
    """

    def __init__(self, network: NetworkOp):
        self.parts = _parts(network)
        self.steps: dict[Operation, Step] = {}
        self.decoders: dict[SSAValue, Callable[[Number], NDArray[np.float32]]] = {}
        self.widest = 1
        for value in network.body.block.args:
            self._note(value)
        for op in network.body.block.ops:
            if isinstance(op, LayerOp):
                _require_grids(op)
                self._note(op.result)
                self.steps[op] = self._step(op)

    def _note(self, value: SSAValue) -> None:
        self.widest = max(self.widest, int(np.prod(shape_of(value))))
        element = element_type(value)
        if isinstance(element, QuantisedType):
            self.decoders[value] = decoder(element)

    def _step(self, op: LayerOp) -> Step:
        match op:
            case MatMulOp():
                return _matmul(op)
            case SumOp() | ProductOp():
                return _combination(op)
            case RearrangeOp():
                return _rearrangement(op)
            case ConvOp():
                return spatial.convolution(op)
            case MaxPoolOp():
                return spatial.maximum(op)
            case ReduceOp():
                return spatial.reduction(op)
            case ExtremumOp():
                readers = [self._reader(value, len(shape_of(op.result))) for value in op.inputs]
                return spatial.extremum(op, readers)
            case QuantiseOp():
                return self._quantiser(op)
            case ExactCastOp():
                return self._cast(op)
            case ConvertOp():
                return _conversion(op)
            case ElementwiseOp():
                return self._elementwise(op)
            case SoftmaxOp():
                return self._softmax(op)
            case _:
                raise AssertionError(f"no semantics for '{op.name}'")

    def _reader(self, value: SSAValue, rank: int) -> Callable[[Environment], NDArray[np.float32]]:
        """Return a function that gives the real numbers of an operand, aligned to ``rank``."""
        constant = constant_of(value)
        if constant is not None:
            fixed = constant.real
            return lambda _: fixed
        decode = self.decoders.get(value)
        missing = (1,) * (rank - len(shape_of(value)))

        def read(environment: Environment) -> NDArray[np.float32]:
            found = environment[value]
            real = found if decode is None else decode(found)
            return real.reshape(len(real), *missing, *real.shape[1:]) if missing else real

        return read

    def _elementwise(self, op: ElementwiseOp) -> Step:
        rank = len(shape_of(op.result))
        readers = [self._reader(value, rank) for value in op.inputs]
        name, attributes, result = op.name, op.reference_attributes, op.result

        def step(environment: Environment) -> None:
            operands = [read(environment) for read in readers]
            environment[result] = reference.evaluate(name, operands, attributes)

        return step

    def _softmax(self, op: SoftmaxOp) -> Step:
        read = self._reader(op.input, len(shape_of(op.input)))
        name, attributes, result = op.name, op.reference_attributes, op.result

        def step(environment: Environment) -> None:
            environment[result] = reference.evaluate(name, [read(environment)], attributes)

        return step

    def _quantiser(self, op: QuantiseOp) -> Step:
        read = self._reader(op.input, len(shape_of(op.result)))
        to, result = op.to, op.result
        low, high = op.low.data, op.high.data
        dtype = carrier_of(largest_of(to))
        if isinstance(to, BipolarType):

            def sign(environment: Environment) -> None:
                bits = (read(environment) >= 0).astype(dtype)
                environment[result] = np.clip(bits, low, high) if (low, high) != (0, 1) else bits

            return sign
        scale, zero_point = _quantiser_parameters(to)
        rounding = str(op.rounding.data)

        def step(environment: Environment) -> None:
            raw = reference.quantise(read(environment), scale, zero_point, low, high, rounding)
            environment[result] = to_carrier(raw, dtype)

        return step

    def _cast(self, op: ExactCastOp) -> Step:
        to, value, result = quantised_type(op.result), op.input, op.result
        dtype = carrier_of(largest_of(to))
        element = element_type(value)
        if isinstance(element, QuantisedType):
            assert to.weight == 1, "bipolar numbers are made by quantisers only"
            factors = integer_array(np.vectorize(int, otypes=[object])(element.step / to.step))
            largest = largest_of(element) * int(np.max(factors)) + int(np.max(np.abs(to.shift)))
            wide = carrier_of(largest)
            integers, factors, shift = (
                integers_of(element),
                to_carrier(factors, wide),
                to_carrier(to.shift, wide),
            )

            def regrid(environment: Environment) -> None:
                raw = to_carrier(integers(environment[value]), wide) * factors - shift
                environment[result] = to_carrier(raw, dtype)

            return regrid
        read = self._reader(value, len(shape_of(value)))

        def step(environment: Environment) -> None:
            raw, exact = to.encode(read(environment))
            assert exact.all(), f"'{op.edge_name}' was proved to lie on its grid"
            environment[result] = to_carrier(raw, dtype)

        return step


def _conversion(op: ConvertOp) -> Step:
    """Convert fixed-point numbers, on integers."""
    value, result = op.input, op.result
    narrow, wide = (carrier_of(largest_of(kind)) for kind in (op.to.type, op.source))

    def step(environment: Environment) -> None:
        raw = to_carrier(environment[value], wide)
        exact = raw if wide.kind == "O" else raw.astype(np.int64)
        environment[result] = to_carrier(op.convert(exact), narrow)

    return step


def _require_grids(op: LayerOp) -> None:
    """Refuse exact operators whose operands are not integers, or not proved to be."""
    of_reals = isinstance(op, ExtremumOp) or (
        isinstance(op, ReduceOp) and op.kind.data is not Reduction.SUM
    )
    if isinstance(op, ExactOp) and not of_reals and not is_quantised(op.result):
        raise FastmlError(
            "an operand is not quantised",
            op,
            code="FML-UNQUANTISED",
            hint="run the pass infer-grids, which finds its grid or says why there is none",
        )


def _parts(network: NetworkOp) -> list[object]:
    """Return every object that a plan depends on, to be compared by identity."""
    parts: list[object] = [*(value.type for value in network.body.block.args)]
    for op in network.body.block.ops:
        parts += [op, *op.operands, *op.properties.values(), *(r.type for r in op.results)]
    return parts


def _quantiser_parameters(to: QuantisedType) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    zero = np.zeros((), np.float32)
    if isinstance(to, FixedType):
        return np.ldexp(np.ones((), np.float32), -to.fraction.data), zero
    assert isinstance(to, ScaledType)
    return np.asarray(to.scale.array, np.float32), np.asarray(to.zero_point.array, np.float32)


def _matmul(op: MatMulOp) -> Step:
    """Multiply in the narrowest float that holds every partial sum exactly."""
    left, right, result = op.left, op.right, op.result
    constant = constant_of(right)
    on_right = constant is not None
    constant = constant or constant_of(left)
    assert constant is not None, "the verifier demands one"
    varying = left if on_right else right
    weights = quantised_type(constant.result).integer(constant.value.array)
    axis = (-2 if weights.ndim > 1 else -1) if on_right else -1
    magnitude = np.abs(weights).sum(axis=axis, dtype=object if weights.dtype.kind == "O" else None)
    element = quantised_type(varying)
    largest = largest_of(element) * max(int(np.max(magnitude, initial=0)), 1)
    dtype, out = carrier_of(largest), carrier_of(largest_of(quantised_type(result)))
    integers, matrix = integers_of(element), to_carrier(weights, dtype)
    rank, shape = len(shape_of(varying)), shape_of(result)
    flat = on_right and matrix.ndim == 2

    def step(environment: Environment) -> None:
        operand = to_carrier(integers(environment[varying]), dtype)
        frames = len(operand)
        if flat:  # one large product instead of one small one a frame
            product = _product(operand.reshape(-1, matrix.shape[0]), matrix)
        elif on_right:
            product = (operand[..., None, :] if rank == 1 else operand) @ matrix
        else:
            product = matrix @ (operand[..., :, None] if rank == 1 else operand)
        environment[result] = to_carrier(product.reshape(frames, *shape), out)

    return step


def _product(rows: Number, matrix: Number) -> Number:
    """Multiply in blocks that BLAS gives to one thread.

    On a machine that is shared, starting threads for a small product costs far more than it
    saves.
    """
    block = ONE_THREAD // max(matrix.size, 1)
    if rows.dtype.kind == "O" or not 4 <= block < len(rows):
        return rows @ matrix
    product = np.empty((len(rows), matrix.shape[1]), rows.dtype)
    for at in range(0, len(rows), block):
        np.matmul(rows[at : at + block], matrix, out=product[at : at + block])
    return product


def _combination(op: SumOp | ProductOp) -> Step:
    """Add or multiply integers of varying tensors."""
    result, rank = op.result, len(shape_of(op.result))
    out = carrier_of(largest_of(quantised_type(result)))
    if isinstance(op, ProductOp):
        bounds = [largest_of(quantised_type(value)) for value in (op.left, op.right)]
        wide = carrier_of(max(bounds[0] * bounds[1], *bounds))
        left, right = (integer_reader(value, wide, rank) for value in (op.left, op.right))

        def multiply(environment: Environment) -> None:
            environment[result] = to_carrier(left(environment) * right(environment), out)

        return multiply
    factors = [
        np.asarray(factor.astype(object) * sign.data, object)
        for factor, sign in zip(inference.sum_factors(op), op.signs, strict=True)
    ]
    bounds = [
        largest_of(quantised_type(value)) * max(int(np.max(np.abs(factor))), 1)
        for value, factor in zip(op.inputs, factors, strict=True)
    ]
    wide = carrier_of(sum(bounds))
    readers = [integer_reader(value, wide, rank) for value in op.inputs]
    scaled = [
        (read, to_carrier(factor, wide)) for read, factor in zip(readers, factors, strict=True)
    ]

    def add(environment: Environment) -> None:
        terms = [
            read(environment) if np.all(factor == 1) else read(environment) * factor
            for read, factor in scaled
        ]
        environment[result] = to_carrier(sum(terms[1:], terms[0]), out)

    return add


def _rearrangement(op: RearrangeOp) -> Step:
    result, shape = op.result, shape_of(op.result)
    index = None if op.index is None else op.index_map
    quantised = is_quantised(result)
    dtype = carrier_of(largest_of(quantised_type(result))) if quantised else np.dtype(np.float32)

    def flat(value: SSAValue, environment: Environment, frames: int) -> Number:
        constant = constant_of(value)
        if constant is None:
            return to_carrier(environment[value].reshape(frames, -1), dtype)
        row = to_carrier(constant.value.array.reshape(1, -1), dtype)
        return np.broadcast_to(row, (frames, row.shape[1]))

    varying = next(value for value in op.inputs if constant_of(value) is None)

    def step(environment: Environment) -> None:
        frames = len(environment[varying])
        parts = [flat(value, environment, frames) for value in op.inputs]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        moved = joined if index is None else joined[:, index]
        environment[result] = moved.reshape(frames, *shape)

    return step


# -- execution -----------------------------------------------------------------------------

_plans: WeakKeyDictionary[NetworkOp, _Plan] = WeakKeyDictionary()


def _plan(network: NetworkOp) -> _Plan:
    plan = _plans.get(network)
    if plan is not None:
        parts = _parts(network)
        same = len(parts) == len(plan.parts)
        if same and all(a is b for a, b in zip(parts, plan.parts, strict=True)):
            return plan
    plan = _plans[network] = _Plan(network)
    return plan


def run(
    network: NetworkOp, given: Mapping[SSAValue, Array], wanted: Sequence[SSAValue]
) -> dict[SSAValue, Array]:
    """Return what the wanted edges hold, computed from the given ones."""
    plan = _plan(network)
    steps = [plan.steps[op] for op in _needed(network, given, wanted)]
    frames = next((len(array) for array in given.values()), 0)
    size = max(1, CHUNK // plan.widest)
    found: dict[SSAValue, list[Number]] = {value: [] for value in wanted}
    for start in range(0, max(frames, 1), size):
        environment: Environment = {}
        for value, array in given.items():
            part = array[start : start + size]
            part = part.reshape(len(part), *shape_of(value))
            carrier = (
                carrier_of(largest_of(quantised_type(value)))
                if is_quantised(value)
                else np.dtype(np.float32)
            )
            environment[value] = to_carrier(part, carrier)
        for step in steps:
            step(environment)
        for value in found:
            found[value].append(environment[value])
    return {value: _collect(value, parts) for value, parts in found.items()}


def _collect(value: SSAValue, parts: Sequence[Number]) -> Array:
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    whole = whole.reshape(len(whole), *frame_shape(value))
    if not is_quantised(value):
        return np.asarray(whole, np.float32)
    return integer_array(whole if whole.dtype.kind == "O" else whole.astype(np.int64))


def _needed(
    network: NetworkOp, given: Iterable[SSAValue], wanted: Sequence[SSAValue]
) -> list[LayerOp]:
    """Return, in order, the operations on the way from the given edges to the wanted ones."""
    known = set(given)
    pending, needed = list(wanted), set[Operation]()
    while pending:
        value = pending.pop()
        owner = value.owner
        if value in known or isinstance(owner, ConstantOp):
            continue
        assert isinstance(owner, LayerOp), "an input of the network was not given"
        if owner not in needed:
            needed.add(owner)
            pending += owner.operands
    return [op for op in network.body.block.ops if op in needed and isinstance(op, LayerOp)]
