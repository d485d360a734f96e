"""Find the integer grid of every edge that an exact operator reads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import Float32Type, ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import inference, inference_spatial, reference
from fastml.dialects.array import integer_array
from fastml.dialects.elements import width_of
from fastml.dialects.fastml import (
    AddOp,
    ConstantOp,
    ConvOp,
    ElementwiseOp,
    ExactCastOp,
    ExactOp,
    ExtremumOp,
    LayerOp,
    MatMulOp,
    MaxPoolOp,
    MulOp,
    NetworkOp,
    ProductOp,
    QuantiseOp,
    RearrangeOp,
    ReduceOp,
    SubOp,
    SumOp,
    constant_of,
    element_type,
    shape_of,
)
from fastml.dialects.grid import QuantisedType
from fastml.lowering.integer_chains import exact_chain
from fastml.lowering.sink_extrema import is_extremum, meeting_before, sink

Real = NDArray[np.float32]
MAX_EVALUATIONS = 1 << 26
"""Values of one edge, over its grid and its elements, that a proof may look at."""


@dataclass(frozen=True)
class InferGrids(ModulePass):
    """Prove that edges between exact operators lie on integer grids, or name the one that does not.

    An exact operator needs integers. Where nobody quantised its operand, the operand may still
    be an fp32 function of a quantised edge all of whose values lie on a narrow grid (a bipolar
    input, plus one, by two): it is evaluated on all of them, and an ``exact_cast`` records the
    grid. Types downstream follow. A sum or product that only the host computes, before the
    first or after the last integer, becomes the fp32 operator.
    """

    name = "infer-grids"

    max_width: int = 16
    """Widest integers that an edge which nobody quantised is read as."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Infer the grids of every network."""
        for network in op.ops:
            if isinstance(network, NetworkOp):
                _Inference(network, self.max_width).run()


def _is_real(value: SSAValue) -> bool:
    return isinstance(element_type(value), Float32Type)


class _Inference:
    """One network while it is retyped, in program order."""

    def __init__(self, network: NetworkOp, max_width: int):
        self.network = network
        self.max_width = max_width
        self.names = set(network.edges)
        self.on_host: set[SSAValue] = {
            value for value in network.body.block.args if _is_real(value)
        }
        self.casts: dict[SSAValue, SSAValue] = {}

    def run(self) -> None:
        """Visit the operations in order, so that operands are final when they are read."""
        for op in list(self.network.body.block.ops):
            if is_extremum(op):
                assert isinstance(op, MaxPoolOp | ReduceOp | ExtremumOp)
                self._extremum(op)
            elif isinstance(op, ExactOp):
                self._exact(op)
            elif isinstance(op, QuantiseOp):
                self._quantiser(op)
            elif isinstance(op, RearrangeOp) and _is_real(op.result):
                self._rearrange(op)
            elif isinstance(op, LayerOp) and not isinstance(op, ExactCastOp):
                self._follow_host(op)
        self._check_quantisers()

    def _follow_host(self, op: LayerOp) -> None:
        if all(constant_of(v) is not None or v in self.on_host for v in op.operands):
            self.on_host.add(op.result)

    def _fresh(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.names:
            count += 1
            name = f"{wanted}_{count}"
        self.names.add(name)
        return name

    # -- exact operators -------------------------------------------------------------------

    def _exact(self, op: ExactOp) -> None:
        if not any(_is_real(value) for value in (*op.operands, op.result)):
            return
        if isinstance(op, SumOp | ProductOp) and self._is_hosts(op):
            self._replace(op, _in_fp32(op, self._fresh))
            return
        operands = [self._on_grid(value, op) for value in op.operands]
        self._replace(op, self._rebuild(op, operands))

    def _rebuild(
        self, op: ExactOp | MaxPoolOp, operands: Sequence[SSAValue], edge: str | None = None
    ) -> list[Operation]:
        edge = op.edge_name if edge is None else edge
        try:
            match op:
                case MatMulOp():
                    return inference.matmul(edge, operands[0], operands[1], self._fresh)
                case SumOp(signs=signs):
                    return inference.add(edge, operands, [s.data for s in signs])
                case ConvOp() | MaxPoolOp() | ReduceOp() | ExtremumOp():
                    return inference_spatial.again(op, edge, operands, self._fresh)
                case _:
                    return inference.multiply(edge, operands[0], operands[1])
        except inference.GridError as error:
            raise FastmlError(
                str(error), op, code="FML-GRID", hint="quantise the operands with one scale"
            ) from None

    def _extremum(self, op: MaxPoolOp | ReduceOp | ExtremumOp) -> None:
        """Let an extremum follow operands that have become integers; of reals there is one, too."""
        if any(_is_real(value) for value in op.operands):
            self._follow_host(op)
        elif _is_real(op.result):
            self._replace(op, self._rebuild(op, op.operands))

    def _quantiser(self, op: QuantiseOp) -> None:
        """Quantise before an extremum or a join of reals, where integers come from inputs."""
        pending = [] if op.input in self.on_host else [op]
        repeated: list[Operation] = []
        while pending:
            current = pending.pop()
            found = meeting_before(current)
            if found is not None and (is_extremum(found[0]) or self._joins_several(*found)):
                made, copies = sink(current, self._fresh)
                self._replace(current, made)
                pending += [copy for copy in copies if copy.input not in self.on_host]
                repeated += [new for new in made if isinstance(new, ElementwiseOp)]
        for new in reversed(repeated):  # what was repeated further on is needed no more
            if not any(True for _ in new.results[0].uses):
                new.detach()
                new.erase()

    def _joins_several(self, join: LayerOp, _: object) -> bool:
        """Return whether a join is of several edges, of constants, or of an extremum."""
        sources = {source for operand in join.operands for source in _sources(operand)}
        return len(sources) > 1 or any(is_extremum(source.owner) for source in sources)

    def _rearrange(self, op: RearrangeOp) -> None:
        """Let an index map follow operands that have become integers."""
        if any(_is_real(value) for value in op.inputs):
            self._follow_host(op)
            return
        index = None if op.index is None else op.index_map
        shape = shape_of(op.result)
        made = inference.rearrange(op.edge_name, op.inputs, index, shape, self._fresh)
        self._replace(op, made)

    def _replace(self, op: LayerOp, made: Sequence[Operation]) -> None:
        block = self.network.body.block
        for new in made:
            new.location = op.location
        block.insert_ops_before(made, op)
        op.result.replace_all_uses_with(made[-1].results[0])
        block.detach_op(op)
        op.erase()
        result = made[-1]
        if isinstance(result, LayerOp) and _is_real(result.result):
            self._follow_host(result)

    def _is_hosts(self, op: ExactOp) -> bool:
        """Return whether the host computes ``op``: before all integers, or after the last."""
        if all(value in self.on_host for value in op.operands):
            return True
        pending: list[SSAValue] = [op.result]
        seen: set[SSAValue] = set()
        while pending:
            value = pending.pop()
            for use in value.uses:
                reader = use.operation
                if isinstance(reader, QuantiseOp | MatMulOp | ConvOp | ExactCastOp):
                    return False
                for result in reader.results:
                    if result not in seen:
                        seen.add(result)
                        pending.append(result)
        return True

    # -- edges that nobody quantised -------------------------------------------------------

    def _on_grid(self, value: SSAValue, reader: ExactOp) -> SSAValue:
        if not _is_real(value):
            return value
        if value in self.casts:
            return self.casts[value]
        if is_extremum(value.owner):
            return self._extremum_on_grid(value, reader)
        made = self._proved(value, reader)
        for operation in made:
            operation.location = reader.location
        self.network.body.block.insert_ops_before(made, reader)
        self.casts[value] = made[-1].results[0]
        return self.casts[value]

    def _proved(self, value: SSAValue, reader: ExactOp) -> Sequence[Operation]:
        """Return operations that give an edge's integers: all its values tried, or bits counted."""
        constant = constant_of(value)
        if constant is not None:
            integers = inference.integer_constant(constant)
            if integers is None:
                raise self._unquantised(value, reader, "its values lie on no narrow grid")
            return [integers]
        try:
            to = self._grid(value, reader)
        except FastmlError:
            chain = exact_chain(value, raw_range, self._fresh) if _only_adds(reader) else None
            if chain is None:
                raise
            return chain
        return [ExactCastOp(self._fresh(f"{inference.edge_of(value)}/grid"), value, to)]

    def _grid(self, value: SSAValue, reader: ExactOp) -> QuantisedType:
        """Return the type of a real edge, all whose values are looked at."""
        values = self._values(value, reader)
        found = inference.grid_of(values)
        if found is None:
            raise self._unquantised(value, reader, "its values lie on no narrow grid")
        step, integers = found
        low, high = int(integers.min(initial=0)), int(integers.max(initial=0))
        width, _ = width_of(low, high)
        if width > self.max_width:
            why = f"its values need {width} bits, and {self.max_width} is the most allowed"
            raise self._unquantised(value, reader, why)
        return inference.on_step(np.array(step, object), low, high)

    def _extremum_on_grid(self, value: SSAValue, reader: ExactOp) -> SSAValue:
        """Compare integers, where the real operands of an extremum are proved to be some."""
        extremum = value.owner
        assert isinstance(extremum, MaxPoolOp | ReduceOp | ExtremumOp)
        operands = [self._on_grid(operand, reader) for operand in extremum.operands]
        made = self._rebuild(extremum, operands, self._fresh(f"{extremum.edge_name}/grid"))
        for operation in made:
            operation.location = reader.location
        self.network.body.block.insert_ops_before(made, reader)
        self.casts[value] = made[-1].results[0]
        return self.casts[value]

    def _unquantised(self, value: SSAValue, reader: Operation, why: str) -> FastmlError:
        if constant_of(value) is not None:
            message = f"constant of {reader.name} is not quantised: {why}"
        else:
            message = f"edge '{inference.edge_of(value)}' is not quantised: {why}"
        hint = "quantise it in the model, or give the inputs before it a type with --input-type"
        at = value.owner if isinstance(value.owner, LayerOp) else reader
        return FastmlError(message, at.location, code="FML-UNQUANTISED", hint=hint)

    def _values(self, value: SSAValue, reader: ExactOp) -> Real:
        """Evaluate an edge on the whole grid of the quantised edge that it is a function of."""
        sources = set(_sources(value))
        if any(_is_real(source) for source in sources):
            name = next(inference.edge_of(s) for s in sources if _is_real(s))
            raise self._unquantised(value, reader, f"it is computed from '{name}', which is not")
        if len(sources) != 1:
            raise self._unquantised(value, reader, "it is computed from several edges")
        (source,) = sources
        element = element_type(source)
        assert isinstance(element, QuantisedType)
        low, high = raw_range(source)
        count = high - low + 1
        uniform = element.step.size == 1 and element.shift.size == 1
        if count * (1 if uniform else np.prod(shape_of(source))) > MAX_EVALUATIONS:
            why = f"edge '{inference.edge_of(source)}' has too many values to look at each"
            raise self._unquantised(value, reader, why)
        raw = integer_array(np.arange(low, high + 1))
        raw = raw.reshape(count, *(1 for _ in shape_of(source)))
        if not uniform:
            raw = np.broadcast_to(raw, (count, *shape_of(source)))
        done: dict[SSAValue, Real] = {source: element.decode(raw)}
        return self._evaluate(value, done, lambda why: self._unquantised(value, reader, why))

    def _evaluate(
        self, value: SSAValue, done: dict[SSAValue, Real], refuse: Callable[[str], FastmlError]
    ) -> Real:
        """Evaluate fp32 operators, the grid along a leading axis; axes that agree stay 1."""
        chain = [op for op in self.network.body.block.ops if op in _path(value)]
        for op in chain:
            if isinstance(op, RearrangeOp):
                result = _rearranged(op, [done[v] for v in op.inputs])
            else:
                assert isinstance(op, ElementwiseOp)
                rank = len(shape_of(op.result))
                operands = [_operand(v, done, rank) for v in op.inputs]
                size = np.prod(np.broadcast_shapes(*(o.shape for o in operands)), dtype=object)
                if size > MAX_EVALUATIONS:
                    raise refuse("it has too many values to look at each")
                result = reference.evaluate(op.name, operands, op.reference_attributes)
            done[op.results[0]] = result
        return done[value]

    # -- quantisers ------------------------------------------------------------------------

    def _check_quantisers(self) -> None:
        """Refuse quantisers of a function of several integer edges: no accumulator to look at."""
        for op in self.network.body.block.ops:
            if not isinstance(op, QuantiseOp) or op.input in self.on_host:
                continue
            sources = {s for s in _sources(op.input) if s not in self.on_host}
            if len(sources) > 1:
                names = " and ".join(sorted(inference.edge_of(s) for s in sources))
                raise FastmlError(
                    f"what it quantises is an fp32 function of several edges: {names}",
                    op,
                    code="FML-UNQUANTISED",
                    hint="quantise one of them first",
                )


def _only_adds(op: ExactOp) -> bool:
    """Return whether wide operands cost no multiplication."""
    if isinstance(op, ConvOp):
        constant = constant_of(op.weights)
        return constant is not None and not np.any(constant.real != 1)
    return isinstance(op, SumOp | ReduceOp | ExtremumOp)


def raw_range(value: SSAValue) -> tuple[int, int]:
    """Return the raw integers that a quantised edge can hold; a quantiser may clamp them."""
    if isinstance(value.owner, QuantiseOp):
        return value.owner.low.data, value.owner.high.data
    element = element_type(value)
    assert isinstance(element, QuantisedType)
    return element.raw_range


def _sources(value: SSAValue) -> Iterator[SSAValue]:
    """Yield the edges where fp32 arithmetic towards ``value`` starts."""
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        owner = current.owner
        if not _is_real(current) or not isinstance(owner, ElementwiseOp | RearrangeOp):
            yield current
            continue
        for operand in owner.inputs:
            if constant_of(operand) is None and operand not in seen:
                seen.add(operand)
                pending.append(operand)


def _path(value: SSAValue) -> set[Operation]:
    """Return the fp32 operators between the sources of ``value`` and itself."""
    pending, found = [value], set[Operation]()
    while pending:
        current = pending.pop()
        owner = current.owner
        if not _is_real(current) or not isinstance(owner, ElementwiseOp | RearrangeOp):
            continue
        if owner not in found:
            found.add(owner)
            pending += [v for v in owner.inputs if constant_of(v) is None]
    return found


def _operand(value: SSAValue, done: Mapping[SSAValue, Real], rank: int) -> Real:
    """Return a constant, or values with their grid axis in front of ``rank`` axes."""
    constant = constant_of(value)
    if constant is not None:
        return constant.real
    found = done[value]
    missing = rank + 1 - found.ndim
    return found.reshape(len(found), *(1,) * missing, *found.shape[1:])


def _rearranged(op: RearrangeOp, operands: Sequence[Real]) -> Real:
    shape = shape_of(op.result)
    if all(operand[0].size == 1 for operand in operands) and len(operands) == 1:
        return operands[0].reshape(-1, *(1 for _ in shape))
    flat = [
        np.broadcast_to(operand, (len(operand), *shape_of(value))).reshape(len(operand), -1)
        for operand, value in zip(operands, op.inputs, strict=True)
    ]
    return np.concatenate(flat, axis=1)[:, op.index_map].reshape(-1, *shape)


def _in_fp32(op: ExactOp, fresh: Callable[[str], str]) -> list[Operation]:
    """Return the fp32 operators that a host computes instead of an exact one."""
    if isinstance(op, ProductOp):
        return [MulOp(op.edge_name, [op.left, op.right])]
    assert isinstance(op, SumOp)
    made: list[Operation] = []
    first, *rest = op.inputs
    signs = [sign.data for sign in op.signs]
    total = first
    if signs[0] < 0:
        minus = ConstantOp(np.array(-1, np.float32))
        negated = MulOp(fresh(f"{op.edge_name}/negated"), [first, minus.result])
        made += [minus, negated]
        total = negated.result
    for position, (value, sign) in enumerate(zip(rest, signs[1:], strict=True), 2):
        last = position == len(signs)
        edge = op.edge_name if last else fresh(f"{op.edge_name}/sum")
        step = (AddOp if sign > 0 else SubOp)(edge, [total, value])
        made.append(step)
        total = step.result
    assert made, "a sum has several operands"
    return made
