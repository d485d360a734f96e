"""Lower networks to integers: fold constants, absorb scales, derive every width.

Linear operators become exact integer stages. Everything between an accumulator and the next
quantiser becomes one integer function of the accumulator, derived from the fp32 operations
on its whole grid (:mod:`fastml.lowering.integer_functions`). What comes before the first
integer and after the last stays fp32, in two host networks
(:mod:`fastml.dialects.interface`).
"""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import Float32Type, ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, qflow, reference
from fastml.dialects.array import Array, integer_array
from fastml.dialects.fastml import element_type, shape_of
from fastml.dialects.grid import BipolarType, FixedType, QuantisedType, to_float32
from fastml.dialects.interface import Interface
from fastml.dialects.qflow import ChannelType, channel_of
from fastml.lowering.chains import Piece, trace
from fastml.lowering.host_networks import prologue_network, view_network
from fastml.lowering.integer_functions import (
    Levels,
    NotMonotone,
    enumerate_function,
    levels_of,
)
from fastml.lowering.scalings import Scaling, fit_scaling, prove

FEW_LEVELS = 3
"""Up to so many thresholds, comparing beats any arithmetic."""
MANY_LEVELS = 1024
"""Beyond so many thresholds, comparing is refused."""


@dataclass(frozen=True)
class FastmlToQflow(ModulePass):
    """Lower each network to a qflow graph of exact integer stages, and its host networks."""

    name = "fastml-to-qflow"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Replace the module's network by its graph."""
        networks = [n for n in op.ops if isinstance(n, fastml.NetworkOp)]
        if len(networks) != 1:
            raise FastmlError(f"needs exactly one network, got {len(networks)}", op)
        (network,) = networks
        lowering = NetworkLowering(network)
        graph = lowering.build()
        interface = Interface(
            prologue_network(network, lowering.entries),
            view_network(network, lowering.edges, lowering.absorbed),
        )
        op.body.block.insert_op_before(graph, network)
        network.detach()
        network.erase()
        interface.attach(op)


def host_only(network: fastml.NetworkOp) -> set[SSAValue]:
    """Return the real edges that depend on unquantised inputs alone: the host's prologue."""
    found = {
        argument
        for argument in network.body.block.args
        if isinstance(element_type(argument), Float32Type)
    }
    for op in network.body.block.ops:
        if isinstance(op, fastml.LayerOp) and isinstance(element_type(op.result), Float32Type):
            varying = [x for x in op.operands if fastml.constant_of(x) is None]
            if varying and all(x in found for x in varying):
                found.add(op.result)
    return found


def step_ratio(numerator: NDArray[np.object_], denominator: NDArray[np.object_]) -> Array:
    """Return the integer ratios of exact steps, forgiving one fp32 rounding of the result.

    A result's scale is fl32 of the exact product of its operands' steps, so a ratio of 1 may
    be off by 2**-24; anything farther from an integer is a bug of type inference.
    """
    ratio = np.asarray(numerator / denominator, object)

    def nearest(value: Fraction) -> int:
        whole = round(value)
        assert abs(value - whole) * (1 << 22) <= abs(whole), f"{value} is not an integer"
        return whole

    return integer_array(np.vectorize(nearest, otypes=[object])(ratio))


def _grid(value: SSAValue) -> QuantisedType:
    element = element_type(value)
    assert isinstance(element, QuantisedType)
    return element


def _flat(parameter: Array, value: SSAValue) -> Array:
    return np.broadcast_to(parameter, shape_of(value)).reshape(-1)


@dataclass
class NetworkLowering:
    """The lowering of one network: its channels so far, by the edges they carry."""

    network: fastml.NetworkOp
    channels: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    entries: list[SSAValue] = field(default_factory=list[SSAValue])
    """Edges at which integers enter, in order: the graph's inputs."""
    absorbed: dict[SSAValue, FixedType] = field(default_factory=dict[SSAValue, FixedType])
    """Real edges that are exact integers after all, with their grids."""

    def build(self) -> qflow.GraphOp:
        """Lower every live operation in order."""
        host = host_only(self.network)
        live = self._live(host)
        self.entries = [v for v in self._entry_candidates(host) if v in live]
        if not self.entries:
            raise FastmlError(
                "no edge of the network is quantised", self.network, code="FML-UNQUANTISED"
            )
        names = {value: name for name, value in self.network.edges.items()}
        outputs = self._frontier()
        self.graph = qflow.GraphOp(
            self.network.sym_name.data,
            {names[v]: self._entry_type(v) for v in self.entries},
            [names[v] for v in outputs],
        )
        self.graph.location = self.network.location
        for value, argument in zip(self.entries, self.graph.body.block.args, strict=True):
            self.channels[value] = argument
        for op in self.network.body.block.ops:
            results = [r for r in op.results if r in live and r not in self.channels]
            if results and not isinstance(op, fastml.ConstantOp):
                self._lower(op)
        self._add(qflow.YieldOp([self.channels[v] for v in outputs]), self.network)
        return self.graph

    @property
    def edges(self) -> dict[str, SSAValue]:
        """Hardware edges by name: edges of the network that a channel carries."""
        return {n: v for n, v in self.network.edges.items() if v in self.channels}

    def _entry_candidates(self, host: set[SSAValue]) -> list[SSAValue]:
        inputs = [
            a for a in self.network.body.block.args if isinstance(element_type(a), QuantisedType)
        ]
        first = [
            op.result
            for op in self.network.body.block.ops
            if isinstance(op, fastml.QuantiseOp | fastml.ExactCastOp) and op.input in host
        ]
        return inputs + first

    def _entry_type(self, value: SSAValue) -> ChannelType:
        low, high = _grid(value).raw_range
        if isinstance(value.owner, fastml.QuantiseOp):
            low, high = value.owner.low.data, value.owner.high.data
        count = int(np.prod(shape_of(value), dtype=np.int64))
        bounds = (integer_array(np.full(count, bound, object)) for bound in (low, high))
        return ChannelType.of(shape_of(value), *bounds)

    def _frontier(self) -> list[SSAValue]:
        """Return the integer edges that the outputs need, in order; absorb exact tails."""
        found = list[SSAValue]()

        def visit(value: SSAValue) -> None:
            if isinstance(element_type(value), QuantisedType) or self._absorb(value):
                if value not in found:
                    found.append(value)
            elif isinstance(value.owner, Operation):
                for operand in value.owner.operands:
                    if fastml.constant_of(operand) is None:
                        visit(operand)

        for name, value in self.network.outputs.items():
            before = len(found)
            visit(value)
            if len(found) == before and not found:
                raise FastmlError(
                    f"output '{name}' depends on no quantised edge",
                    self.network,
                    code="FML-UNQUANTISED",
                )
        return found

    def _absorb(self, value: SSAValue) -> bool:
        """Take a bias on the accumulator's own grid into hardware: the sum stays exact."""
        op = value.owner
        if value in self.absorbed:
            return True
        if not isinstance(op, fastml.AddOp):
            return False
        constants = [fastml.constant_of(x) for x in op.inputs]
        varying = [x for x, c in zip(op.inputs, constants, strict=True) if c is None]
        known = [c for c in constants if c is not None]
        if len(varying) != 1 or len(known) != 1 or shape_of(varying[0]) != shape_of(value):
            return False
        grid = element_type(varying[0])
        if not isinstance(grid, FixedType):
            return False
        scaled = np.ldexp(known[0].real.astype(np.float64), grid.fraction.data)
        largest = max(abs(bound) for bound in grid.raw_range) + np.abs(scaled).max(initial=0)
        if np.any(scaled != np.rint(scaled)) or largest >= 1 << 24:
            return False
        width = int(largest).bit_length() + 1
        self.absorbed[value] = FixedType(1, width, grid.fraction.data)
        return True

    def _live(self, host: set[SSAValue]) -> set[SSAValue]:
        """Return the edges that an output depends on, stopping at the host's prologue."""
        live = set[SSAValue]()
        pending = list(self.network.outputs.values())
        while pending:
            value = pending.pop()
            if value in live or value in host:
                continue
            live.add(value)
            if isinstance(value.owner, Operation):
                pending += value.owner.operands
        return live

    def _add(self, stage: Operation, origin: Operation) -> None:
        stage.location = origin.location
        self.graph.body.block.add_op(stage)

    def _stage(self, stage: qflow.StageOp, origin: Operation) -> SSAValue:
        self._add(stage, origin)
        return stage.result

    def _lower(self, op: Operation) -> None:
        match op:
            case fastml.MatMulOp():
                self.channels[op.result] = self._lower_matmul(op)
            case fastml.SumOp():
                self.channels[op.result] = self._lower_sum(op)
            case fastml.ProductOp():
                self.channels[op.result] = self._lower_product(op)
            case fastml.ExactCastOp() if isinstance(element_type(op.input), QuantisedType):
                self.channels[op.result] = self._lower_regrid(op)
            case fastml.QuantiseOp() | fastml.ExactCastOp():
                self.channels[op.result] = self._lower_quantiser(op)
            case fastml.RearrangeOp() if isinstance(element_type(op.result), QuantisedType):
                self.channels[op.result] = self._lower_rearrange(op)
            case fastml.AddOp() if op.result in self.absorbed:
                self.channels[op.result] = self._lower_absorbed(op)
            case _:
                pass  # real edges become part of a function, or of the host's view

    # --- linear operators --------------------------------------------------------------

    def _lower_matmul(self, op: fastml.MatMulOp) -> SSAValue:
        weight = fastml.constant_of(op.right)
        left_is_varying = weight is not None
        weight = weight or fastml.constant_of(op.left)
        assert weight is not None
        varying = op.left if left_is_varying else op.right
        if isinstance(element_type(varying), Float32Type):
            raise FastmlError(
                f"operand of '{op.edge_name}' is not quantised", op, code="FML-UNQUANTISED"
            )
        weights = _grid(weight.result).integer(weight.value.array)
        layout = MatMulLayout.of(op, left_is_varying)
        factor = self._matmul_factors(op, varying, weight, left_is_varying)
        matrices = layout.matrices(weights, factor)
        grid = _grid(varying)
        shifts = _flat(grid.shift, varying)[layout.gather].reshape(layout.blocks, layout.rows)
        source = self.channels[varying]
        source = self._rearranged(source, layout.gather, f"{op.edge_name}:operand", op)
        per_matrix = layout.blocks // len(matrices)
        parts = list[SSAValue]()
        for number, matrix in enumerate(matrices):
            block = slice(number * per_matrix, (number + 1) * per_matrix)
            own = shifts[block]
            bias = _dot(own[0], matrix)
            assert np.all(own == own[:1]), "zero points differ between positions"
            scaled = integer_array(matrix.astype(object) * grid.weight)
            part = source
            name = op.edge_name
            if len(matrices) > 1:
                name = f"{op.edge_name}:{number}"
                index = np.arange(block.start * layout.rows, block.stop * layout.rows)
                part = self._rearranged(source, index, f"{name}:operand", op)
            shape: tuple[int, ...] = (per_matrix * matrix.shape[1],)
            if len(matrices) == 1 and layout.scatter_is_identity:
                shape = shape_of(op.result)
            elif len(matrices) == 1:
                name = f"{op.edge_name}:blocks"
            parts.append(self._stage(qflow.DenseOp(name, part, scaled, bias, shape), op))
        if len(parts) == 1 and layout.scatter_is_identity:
            return parts[0]
        wires = qflow.RearrangeOp(op.edge_name, parts, layout.scatter, shape_of(op.result))
        return self._stage(wires, op)

    def _matmul_factors(
        self, op: fastml.MatMulOp, varying: SSAValue, weight: fastml.ConstantOp, left: bool
    ) -> Array:
        """Return, for each weight, how many result steps one unit of product is."""
        x, w, y = _grid(varying).step, _grid(weight.result).step, _grid(op.result).step
        if x.size == 1 and w.size == 1 and y.size == 1:
            return np.ones(shape_of(weight.result), np.int64)
        weight_shape = shape_of(weight.result)
        w = np.broadcast_to(w, weight_shape)
        inner = weight_shape[-1] if not left else weight_shape[0 if len(weight_shape) == 1 else -2]
        x_full = np.broadcast_to(x, shape_of(varying))
        y_full = np.broadcast_to(y, shape_of(op.result))
        if left:  # contracted: last axis of x, second last of w
            along = x_full.reshape(-1, inner)
            assert np.all(along == along[:1]), "steps differ between rows"
            column = along[0].reshape((-1, 1) if len(weight_shape) > 1 else (-1,))
            if len(weight_shape) > 1:
                out = y_full.reshape(-1, weight_shape[-1])
                assert np.all(out == out[:1]), "result steps differ between rows"
                return step_ratio(column * w, np.broadcast_to(out[0], weight_shape))
            return step_ratio(column * w, np.broadcast_to(y_full.reshape(-1)[0], weight_shape))
        assert x.size == 1, "steps of a right operand must not differ"
        if len(weight_shape) == 1:
            return step_ratio(
                w * x.reshape(()), np.broadcast_to(y_full.reshape(-1)[0], weight_shape)
            )
        rows = np.moveaxis(y_full, -2, -1) if len(shape_of(varying)) > 1 else y_full
        out = rows.reshape(-1, weight_shape[-2])
        assert np.all(out == out[:1]), "result steps differ between columns"
        return step_ratio(w * x.reshape(()), np.broadcast_to(out[0][:, None], weight_shape))

    def _integer_parameters(
        self, value: SSAValue, step: NDArray[np.object_]
    ) -> tuple[Array, Array]:
        """Return (a, b) with real = (a * raw + b) * step, for each element."""
        grid = _grid(value)
        ratio = step_ratio(np.broadcast_to(grid.step, shape_of(value)), step)
        ratio = ratio.astype(object).reshape(-1)
        return (
            integer_array(ratio * grid.weight),
            integer_array(ratio * _flat(grid.shift, value).astype(object)),
        )

    def _spread(
        self, value: SSAValue, op: fastml.LayerOp, number: int
    ) -> tuple[SSAValue, NDArray[np.int64]]:
        """Broadcast an operand's channel to the result's shape by wiring."""
        places = np.arange(int(np.prod(shape_of(value), dtype=np.int64))).reshape(shape_of(value))
        index = np.broadcast_to(places, shape_of(op.result)).ravel()
        name = f"{op.edge_name}:operand{number}"
        return self._rearranged(self.channels[value], index, name, op), index

    def _lower_sum(self, op: fastml.SumOp) -> SSAValue:
        step = _grid(op.result).step
        sources, coefficients = list[SSAValue](), list[Array]()
        bias: NDArray[np.object_] = np.zeros(int(np.prod(shape_of(op.result))), object)
        for number, (operand, sign) in enumerate(zip(op.inputs, op.signs, strict=True)):
            source, index = self._spread(operand, op, number)
            own = np.broadcast_to(step, shape_of(op.result)).reshape(-1)
            grid = _grid(operand)
            ratio = step_ratio(_flat(grid.step, operand)[index], own).astype(object) * sign.data
            sources.append(source)
            coefficients.append(integer_array(ratio * grid.weight))
            bias = bias + ratio * _flat(grid.shift, operand)[index].astype(object)
        matrix = integer_array(np.stack([c.astype(object) for c in coefficients]))
        stage = qflow.CombineOp(
            op.edge_name, sources, matrix, integer_array(bias), shape_of(op.result)
        )
        return self._stage(stage, op)

    def _lower_regrid(self, op: fastml.ExactCastOp) -> SSAValue:
        """Put integers on a finer step: each is multiplied by a constant."""
        step = np.broadcast_to(_grid(op.result).step, shape_of(op.result))
        factor, bias = self._integer_parameters(op.input, step)
        bias = integer_array(bias.astype(object) - _flat(_grid(op.result).shift, op.result))
        row = factor.reshape(1, -1)
        source = self.channels[op.input]
        shape = shape_of(op.result)
        return self._stage(qflow.CombineOp(op.edge_name, [source], row, bias, shape), op)

    def _lower_product(self, op: fastml.ProductOp) -> SSAValue:
        factors = list[SSAValue]()
        for number, operand in enumerate((op.left, op.right)):
            source, index = self._spread(operand, op, number)
            grid = _grid(operand)
            shift = _flat(grid.shift, operand)[index]
            if grid.weight != 1 or np.any(shift != 0):
                row = np.full((1, len(index)), grid.weight, np.int64)
                name = f"{op.edge_name}:integer{number}"
                stage = qflow.CombineOp(name, [source], row, shift, shape_of(op.result))
                source = self._stage(stage, op)
            factors.append(source)
        left, right = factors
        shape = shape_of(op.result)
        steps = np.broadcast_to(_grid(op.left).step, shape) * np.broadcast_to(
            _grid(op.right).step, shape
        )
        ratio = step_ratio(steps, np.broadcast_to(_grid(op.result).step, shape)).reshape(-1)
        plain = bool(np.all(ratio == 1))
        name = op.edge_name if plain else f"{op.edge_name}:product"
        product = self._stage(qflow.MultiplyOp(name, left, right, shape), op)
        if plain:
            return product
        zeros = np.zeros(len(ratio), np.int64)
        scaled = qflow.CombineOp(op.edge_name, [product], ratio.reshape(1, -1), zeros, shape)
        return self._stage(scaled, op)

    # --- wiring ------------------------------------------------------------------------

    def _rearranged(
        self, source: SSAValue, index: NDArray[np.int64], name: str, origin: Operation
    ) -> SSAValue:
        """Return the channel itself where the index map changes nothing."""
        if len(index) == len(channel_of(source)) and np.array_equal(index, np.arange(len(index))):
            return source
        return self._stage(qflow.RearrangeOp(name, [source], index, (len(index),)), origin)

    def _lower_rearrange(self, op: fastml.RearrangeOp) -> SSAValue:
        index = op.index_map
        sources = list[SSAValue]()
        target = _grid(op.result)
        start = 0
        flat_step = np.broadcast_to(target.step, shape_of(op.result)).reshape(-1)
        flat_shift = _flat(target.shift, op.result)
        for number, operand in enumerate(op.inputs):
            count = int(np.prod(shape_of(operand), dtype=np.int64))
            used = (index >= start) & (index < start + count)
            place = np.zeros(count, np.int64)
            place[index[used] - start] = np.flatnonzero(used)  # any result element it feeds
            source = self.channels[operand]
            grid = _grid(operand)
            if type(grid) is not type(target) or grid != target:
                ratio = step_ratio(_flat(grid.step, operand), flat_step[place]).astype(object)
                factor = integer_array(ratio * grid.weight)
                bias = ratio * _flat(grid.shift, operand).astype(object)
                bias = integer_array(bias - flat_shift[place].astype(object))
                assert target.weight == 1 or np.all(factor == target.weight)
                if target.weight == 1 and (np.any(factor != 1) or np.any(bias != 0)):
                    name = f"{op.edge_name}:aligned{number}"
                    stage = qflow.CombineOp(
                        name, [source], factor.reshape(1, -1), bias, shape_of(operand)
                    )
                    source = self._stage(stage, op)
            sources.append(source)
            start += count
        return self._stage(qflow.RearrangeOp(op.edge_name, sources, index, shape_of(op.result)), op)

    def _lower_absorbed(self, op: fastml.AddOp) -> SSAValue:
        (varying,) = [x for x in op.inputs if fastml.constant_of(x) is None]
        (constant,) = [c for x in op.inputs if (c := fastml.constant_of(x)) is not None]
        grid = self.absorbed[op.result]
        scaled = np.ldexp(constant.real.astype(np.float64), grid.fraction.data)
        bias = _flat(scaled.astype(np.int64), op.result)
        row = np.ones((1, len(bias)), np.int64)
        source = self.channels[varying]
        return self._stage(
            qflow.CombineOp(op.edge_name, [source], row, bias, shape_of(op.result)), op
        )

    # --- functions of one element --------------------------------------------------------

    def _lower_quantiser(self, op: fastml.QuantiseOp | fastml.ExactCastOp) -> SSAValue:
        pieces = _spread_pieces(trace(op.input), op)
        parts = list[SSAValue]()
        for number, piece in enumerate(pieces):
            alone = len(pieces) == 1
            name = op.edge_name if alone else f"{op.edge_name}:{number}"
            source = self._rearranged(
                self.channels[piece.source], piece.elements, f"{name}:operand", op
            )
            shape = shape_of(op.result) if alone else (len(piece.positions),)
            parts.append(self._function(name, source, piece, op, shape))
        if len(pieces) == 1:
            return parts[0]
        order = np.argsort(np.concatenate([piece.positions for piece in pieces]))
        return self._stage(qflow.RearrangeOp(op.edge_name, parts, order, shape_of(op.result)), op)

    def _function(
        self,
        name: str,
        source: SSAValue,
        piece: Piece,
        op: fastml.QuantiseOp | fastml.ExactCastOp,
        shape: tuple[int, ...],
    ) -> SSAValue:
        """Build the cheapest stages that compute one piece, derived and proved."""
        channel = channel_of(source)
        function = _raw_function(piece, op)
        try:
            levels = levels_of(function, channel.lows, channel.highs, piece.direction)
        except NotMonotone:
            raise FastmlError(
                f"the function before '{op.edge_name}' is not monotone, and its input has too "
                "many values to tabulate",
                op,
                code="FML-RANGE",
                hint="quantise its input to 16 bits or fewer",
            ) from None
        except OverflowError as error:
            raise FastmlError(
                f"quantiser '{op.edge_name}' has {error}", op, code="FML-RANGE"
            ) from None
        if levels is None:
            table = enumerate_function(function, channel.lows, channel.highs)
            assert table is not None, "a function that is not monotone was enumerated"
            return self._stage(qflow.LookupOp(name, source, table, shape), op)
        if int(levels.counts.max(initial=0)) <= FEW_LEVELS:
            return self._thresholds(name, source, levels, op, shape)
        scaling = fit_scaling(levels)
        if scaling is not None:
            prove(scaling, levels)
            return self._scaling(name, source, scaling, op, shape)
        if levels.counts.max() > MANY_LEVELS:
            raise FastmlError(
                f"'{op.edge_name}' needs {levels.counts.max()} thresholds and no multiply-and-"
                f"shift up to 2**{40} equals its fp32 definition",
                op,
                code="FML-RANGE",
                hint="use a power-of-two scale, or fewer bits",
            )
        return self._thresholds(name, source, levels, op, shape)

    def _thresholds(
        self, name: str, source: SSAValue, levels: Levels, op: Operation, shape: tuple[int, ...]
    ) -> SSAValue:
        stage = qflow.ThresholdOp(
            name, source, levels.thresholds, levels.base, levels.direction, shape
        )
        return self._stage(stage, op)

    def _scaling(
        self, name: str, source: SSAValue, scaling: Scaling, op: Operation, shape: tuple[int, ...]
    ) -> SSAValue:
        offset = scaling.offset
        if np.any(scaling.factor != 1):
            row = scaling.factor.reshape(1, -1)
            combined = qflow.CombineOp(f"{name}:scaled", [source], row, offset, shape)
            source = self._stage(combined, op)
            offset = np.zeros_like(offset)
        if not np.any(scaling.shift) and not np.any(offset):
            channel = channel_of(source)
            inside = np.all(channel.lows >= scaling.low) and np.all(channel.highs <= scaling.high)
            if inside:
                index = np.arange(len(channel))
                return self._stage(qflow.RearrangeOp(name, [source], index, shape), op)
        rounding = qflow.Rounding.HALF_EVEN if scaling.half_even else qflow.Rounding.FLOOR
        stage = qflow.RescaleOp(
            name, source, offset, scaling.shift, rounding, scaling.low, scaling.high, shape
        )
        return self._stage(stage, op)


def _dot(shift: Array, matrix: Array) -> Array:
    return integer_array(shift.astype(object) @ matrix.astype(object))


def _spread_pieces(pieces: list[Piece], op: fastml.QuantiseOp | fastml.ExactCastOp) -> list[Piece]:
    """Broadcast the traced operand to the quantiser's result (per-channel parameters)."""
    if shape_of(op.input) == shape_of(op.result):
        return pieces
    from fastml.lowering.chains import broadcast

    return broadcast(pieces, shape_of(op.input), shape_of(op.result))


def _raw_function(piece: Piece, op: fastml.QuantiseOp | fastml.ExactCastOp):
    """Return the function from raw integers of the source to raw integers of the result."""
    grid = _grid(op.result).reindex(shape_of(op.result), piece.positions)

    def function(raw: Array) -> Array:
        real = piece.real(raw)
        if isinstance(op, fastml.ExactCastOp):
            encoded, exact = grid.encode(real)
            if not np.all(exact):
                raise FastmlError(
                    f"'{op.edge_name}' has a value that is not on the grid of its type",
                    op,
                    code="FML-GRID",
                )
            return encoded
        return quantise_raw(real, grid, op)

    return function


def quantise_raw(real: NDArray[np.float32], grid: QuantisedType, op: fastml.QuantiseOp) -> Array:
    """Return the raw integers of a quantiser, by its fp32 definition."""
    if np.any(np.isnan(real)):
        raise FastmlError(
            f"the fp32 function before '{op.edge_name}' gives NaN", op, code="FML-RANGE"
        )
    if isinstance(grid, BipolarType):
        return (real >= 0).astype(np.int64)
    scale = np.array(to_scale(grid), np.float32)
    zero = to_float32(integer_array(-grid.shift))
    integers = reference.quantise(real, scale, zero, op.low.data, op.high.data, op.rounding.data)
    return integers.astype(np.int64)


def to_scale(grid: QuantisedType) -> NDArray[np.float32]:
    """Return the step as float32, exact for every type that a quantiser can have."""
    return np.vectorize(float, otypes=[np.float64])(grid.step).astype(np.float32)


@dataclass(frozen=True)
class MatMulLayout:
    """A matrix product as blocks of rows times constant matrices.

    ``gather[b * rows + k]`` is the operand element of row ``k`` in block ``b``; result element
    ``e`` is element ``scatter[e]`` of the blocks' results, end to end. Block ``b`` uses matrix
    ``b * n_matrices // blocks``.
    """

    gather: NDArray[np.int64]
    scatter: NDArray[np.int64]
    blocks: int
    rows: int
    left_is_varying: bool
    batch: tuple[int, ...]

    @classmethod
    def of(cls, op: fastml.MatMulOp, left_is_varying: bool) -> "MatMulLayout":
        """Lay out a product by NumPy's rules for ranks 1, 2 and more."""
        varying, weight = (op.left, op.right) if left_is_varying else (op.right, op.left)
        shape, weight_shape = shape_of(varying), shape_of(weight)
        places = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
        if not left_is_varying and len(shape) > 1:
            places = np.moveaxis(places, -2, -1)
        if len(shape) == 1:
            places = places[None, :]
        batch = weight_shape[:-2]
        places = np.broadcast_to(
            places, (*np.broadcast_shapes(places.shape[:-2], batch), *places.shape[-2:])
        )
        rows = places.shape[-1]
        columns = 1 if len(weight_shape) == 1 else weight_shape[-1 if left_is_varying else -2]
        blocks = places.size // rows
        made = np.arange(blocks * columns).reshape(*places.shape[:-1], columns)
        if not left_is_varying and len(shape) > 1 and len(weight_shape) > 1:
            made = np.moveaxis(made, -1, -2)
        scatter = made.reshape(-1)
        full_batch = places.shape[:-2]
        return cls(
            places.reshape(-1).astype(np.int64),
            scatter.astype(np.int64),
            blocks,
            rows,
            left_is_varying,
            full_batch if batch else (),
        )

    @property
    def scatter_is_identity(self) -> bool:
        """Whether the blocks' results already are in the result's order."""
        return np.array_equal(self.scatter, np.arange(len(self.scatter)))

    def matrices(self, weights: Array, factor: Array) -> list[Array]:
        """Return each block's (rows, columns) matrix; one for all where there is no batch."""
        scaled = integer_array(weights.astype(object) * factor.astype(object))
        if scaled.ndim == 1:
            return [scaled[:, None]]
        if not self.left_is_varying:
            scaled = np.moveaxis(scaled, -1, -2)
        if scaled.ndim == 2:
            return [scaled]
        spread = np.broadcast_to(scaled, (*self.batch, *scaled.shape[-2:]))
        return list(spread.reshape(-1, *scaled.shape[-2:]))
