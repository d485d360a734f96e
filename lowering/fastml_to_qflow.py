"""Lower networks to integers: fold constants, absorb scales, derive every width.

Linear operators become exact integer stages. Everything between an accumulator and the next
quantiser becomes one integer function of the accumulator, derived from the fp32 operations
on its whole grid (:mod:`fastml.lowering.quantisers`). What comes before the first integer
and after the last stays fp32, in two host networks (:mod:`fastml.dialects.interface`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import Float32Type, ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, qflow
from fastml.dialects.array import Integers, integer_array
from fastml.dialects.boundary import boundary_of
from fastml.dialects.fastml import constant_of, element_type, shape_of
from fastml.dialects.grid import QuantisedType
from fastml.dialects.inference import sum_factors
from fastml.dialects.interface import Interface
from fastml.dialects.layout import Layout
from fastml.dialects.loadable import LoadableAttr
from fastml.dialects.qflow import ChannelType
from fastml.lowering.chains import Piece, broadcast, trace
from fastml.lowering.conversions import lower_conversion
from fastml.lowering.host_networks import prologue_network, view_network
from fastml.lowering.matmul_layout import MatMulLayout
from fastml.lowering.quantisers import Quantiser, QuantiserLowering
from fastml.lowering.spatial_parallel import SpatialLowering, check_size
from fastml.lowering.stage_builder import StageBuilder, grid_of


@dataclass(frozen=True)
class FastmlToQflow(ModulePass):
    """Lower each network to a qflow graph of exact integer stages, and its host networks."""

    name = "fastml-to-qflow"

    weights: str = "rom"
    """``rom``: those of the model; ``ram``: others of their type may be loaded."""

    layout: str = "frame"
    """``frame``: each frame is one beat; ``pixels``: images are streams of pixels."""

    pixels: int = 1
    """Adjacent pixels in a beat of an image."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Replace the module's network by its graph."""
        networks = [n for n in op.ops if isinstance(n, fastml.NetworkOp)]
        if len(networks) != 1:
            raise FastmlError(f"needs exactly one network, got {len(networks)}", op)
        (network,) = networks
        if self.weights not in ("rom", "ram"):
            raise FastmlError(f"weights '{self.weights}' are neither rom nor ram", op)
        lowering = self._lowering(network)
        graph = lowering.build()
        interface = Interface(
            prologue_network(network, lowering.entries),
            view_network(network, lowering.edges),
            lowering.layouts_of_edges,
        )
        op.body.block.insert_op_before(graph, network)
        network.detach()
        network.erase()
        interface.attach(op)

    def _lowering(self, network: fastml.NetworkOp) -> "NetworkLowering":
        from fastml.lowering.spatial_streams import StreamLowering, has_images

        if self.layout not in ("frame", "pixels"):
            message = f"layout '{self.layout}' is neither frame nor pixels"
            raise FastmlError(message, network, code="FML-USAGE")
        loadable = self.weights == "ram"
        if self.layout == "pixels" and has_images(network):
            return StreamLowering(network, loadable=loadable, pixels=self.pixels)
        check_size(network)
        return NetworkLowering(network, loadable=loadable)


def flat(parameter: Integers, value: SSAValue) -> Integers:
    """Spread a parameter of an edge over its elements."""
    return np.broadcast_to(parameter, shape_of(value)).reshape(-1)


def size_of(value: SSAValue) -> int:
    """Return the number of elements of an edge."""
    return int(np.prod(shape_of(value), dtype=np.int64))


class NetworkLowering:
    """The lowering of one network: its channels so far, by the edges they carry.

    Raw integers of an edge are what its channel carries. Of exact operators, the *integer*
    of a raw value (``weight * raw + shift``, see :mod:`fastml.dialects.grid`) counts; their
    results have weight 1 and shift 0.
    """

    def __init__(self, network: fastml.NetworkOp, *, loadable: bool = False):
        self.network = network
        self.loadable = loadable
        boundary = boundary_of(network)
        self.entries = list(boundary.inputs)
        self.exits = list(boundary.outputs)
        if not self.entries or not self.exits:
            raise FastmlError("no edge is quantised", network, code="FML-UNQUANTISED")
        names = {value: name for name, value in network.edges.items()}
        graph = qflow.GraphOp(
            network.sym_name.data,
            {names[v]: self.entry_type(v) for v in self.entries},
            [names[v] for v in self.exits],
        )
        graph.location = network.location
        self.builder = StageBuilder(graph, network.edges)
        self.channels: dict[SSAValue, SSAValue] = dict(
            zip(self.entries, graph.body.block.args, strict=True)
        )
        self.spatial = SpatialLowering(
            self.builder, self.channels, self.integer, _loadable if loadable else None
        )

    def build(self) -> qflow.GraphOp:
        """Lower every live operation in order."""
        live = self.live()
        for op in self.network.body.block.ops:
            if isinstance(op, fastml.LayerOp) and op.result in live - self.channels.keys():
                self.lower(op)
        return self.builder.finish([self.channels[v] for v in self.exits])

    @property
    def edges(self) -> dict[str, SSAValue]:
        """Hardware edges by name: edges of the network that a channel carries."""
        return {n: v for n, v in self.network.edges.items() if v in self.channels}

    @property
    def layouts_of_edges(self) -> dict[str, Layout]:
        """How hardware edges lie in beats, by name, where a frame is not one row-major beat."""
        return {}

    def entry_type(self, value: SSAValue) -> ChannelType:
        """Return the channel at which an edge enters: its type's range, or its quantiser's."""
        shape, bounds = shape_of(value), entry_range(value)
        count = size_of(value)
        ends = (integer_array(np.full(count, bound, object)) for bound in bounds)
        return ChannelType.of(shape, *ends)

    def live(self) -> set[SSAValue]:
        """Return the edges between the graph's inputs and its outputs."""
        live = set[SSAValue]()
        pending = list(self.exits)
        while pending:
            value = pending.pop()
            if value not in live and value not in self.channels:
                live.add(value)
                if isinstance(value.owner, Operation):
                    pending += value.owner.operands
        return live

    def lower(self, op: fastml.LayerOp) -> None:
        """Lower one operation; real edges become part of a function, or of the host's view."""
        real = isinstance(element_type(op.result), Float32Type)
        match op:
            case fastml.MatMulOp() | fastml.SumOp() | fastml.ProductOp() | fastml.ConvOp() if real:
                raise FastmlError(
                    f"edge '{op.edge_name}' is computed from an edge that nobody quantised",
                    op,
                    code="FML-UNQUANTISED",
                    hint="quantise its operands, or run infer-grids first",
                )
            case fastml.MatMulOp():
                self.channels[op.result] = self._matmul(op)
            case fastml.SumOp():
                self.channels[op.result] = self._sum(op)
            case fastml.ProductOp():
                self.channels[op.result] = self._product(op)
            case fastml.QuantiseOp() | fastml.ExactCastOp():
                self.channels[op.result] = self._quantiser(op)
            case fastml.ConvertOp():
                source = self.channels[op.input]
                self.channels[op.result] = lower_conversion(self.builder, op, source)
            case fastml.ConvOp() | fastml.MaxPoolOp() | fastml.ReduceOp() | fastml.ExtremumOp() if (
                not real
            ):
                self.channels[op.result] = self.spatial.lower(op)
            case fastml.RearrangeOp() if not real:
                self.channels[op.result] = self._rearrange(op)
            case _:
                pass

    # --- exact operators ---------------------------------------------------------------

    def _matmul(self, op: fastml.MatMulOp) -> SSAValue:
        constant = constant_of(op.right)
        left_varies = constant is not None
        constant = constant or constant_of(op.left)
        assert constant is not None, "the verifier demands one"
        varying = op.left if left_varies else op.right
        weights = grid_of(constant.result).integer(constant.value.array)
        layout = MatMulLayout.of(op, left_varies)
        matrices = layout.matrices(weights)
        grid = grid_of(varying)
        shifts = flat(grid.shift, varying)[layout.gather].reshape(layout.blocks, layout.rows)
        weight, source = grid.weight, self.channels[varying]
        loadable = _loadable(grid_of(constant.result)) if self.loadable else None
        depends = loadable is not None and (weight != 1 or np.any(shifts))  # on what is loaded
        if depends or np.any(shifts != shifts[:1]):  # a bias would differ between rows
            source, weight = self.integer(varying, op), 1
            shifts = np.zeros_like(shifts)
        source = self.builder.select(source, layout.gather, f"{op.edge_name}:operand", op)
        parts = list[SSAValue]()
        each = layout.blocks // len(matrices)
        for number, matrix in enumerate(matrices):
            wide = matrix.astype(object)
            bias = integer_array(shifts[0].astype(object) @ wide)
            wired = len(matrices) > 1 or layout.scatters
            edge = self.builder.fresh(f"{op.edge_name}:{number}") if wired else op.edge_name
            shape = (each * matrix.shape[1],) if wired else shape_of(op.result)
            rows = np.arange(number * each * layout.rows, (number + 1) * each * layout.rows)
            part = self.builder.select(source, rows, f"{edge}:operand", op)
            stage = qflow.DenseOp(edge, part, integer_array(wide * weight), bias, shape, loadable)
            parts.append(self.builder.stage(stage, op))
        if len(parts) == 1 and not layout.scatters:
            return parts[0]
        wires = qflow.RearrangeOp(op.edge_name, parts, layout.scatter, shape_of(op.result))
        return self.builder.stage(wires, op)

    def integer(self, value: SSAValue, origin: fastml.LayerOp) -> SSAValue:
        """Return the channel of an edge's integers, which may not be its raw values."""
        grid, source = grid_of(value), self.channels[value]
        shift = flat(grid.shift, value)
        if grid.weight == 1 and not np.any(shift):
            return source
        edge = self.builder.fresh(f"{origin.edge_name}:integer")
        factor = np.full(size_of(value), grid.weight)
        return self.builder.scale(edge, source, factor, shift, shape_of(value), origin)

    def _broadcast(self, source: SSAValue, value: SSAValue, op: fastml.LayerOp) -> SSAValue:
        """Wire the channel of an operand up to the shape of the result."""
        index = _places(value, shape_of(op.result))
        return self.builder.select(source, index, f"{op.edge_name}:operand", op)

    def _sum(self, op: fastml.SumOp) -> SSAValue:
        shape = shape_of(op.result)
        bias: Integers = np.zeros(size_of(op.result), object)
        sources, rows = list[SSAValue](), list[Integers]()
        for operand, sign, factor in zip(op.inputs, op.signs, sum_factors(op), strict=True):
            grid = grid_of(operand)
            index = _places(operand, shape)
            steps = np.broadcast_to(factor, shape).reshape(-1).astype(object) * sign.data
            constant = constant_of(operand)
            if constant is not None:
                bias = bias + steps * grid.integer(constant.value.array).reshape(-1)[index]
                continue
            bias = bias + steps * flat(grid.shift, operand)[index]
            rows.append(steps * grid.weight)
            sources.append(self._broadcast(self.channels[operand], operand, op))
        stage = qflow.CombineOp(
            op.edge_name, sources, integer_array(np.stack(rows)), integer_array(bias), shape
        )
        return self.builder.stage(stage, op)

    def _product(self, op: fastml.ProductOp) -> SSAValue:
        shape = shape_of(op.result)
        for operand, other in ((op.left, op.right), (op.right, op.left)):
            constant = constant_of(operand)
            if constant is None:
                continue
            integers = grid_of(operand).integer(constant.value.array).reshape(-1)
            factor = integers[_places(operand, shape)].astype(object)
            grid = grid_of(other)
            source = self._broadcast(self.channels[other], other, op)
            shift = flat(grid.shift, other)[_places(other, shape)]
            return self.builder.scale(
                op.edge_name, source, factor * grid.weight, factor * shift, shape, op
            )
        left = self._broadcast(self.integer(op.left, op), op.left, op)
        right = left
        if op.right is not op.left:
            right = self._broadcast(self.integer(op.right, op), op.right, op)
        return self.builder.stage(qflow.MultiplyOp(op.edge_name, left, right, shape), op)

    def _rearrange(self, op: fastml.RearrangeOp) -> SSAValue:
        """Wire raw integers; elements of constant operands are added to wires of 0."""
        edge, shape, index = op.edge_name, shape_of(op.result), op.index_map
        constants = [constant_of(operand) for operand in op.inputs]
        varying = [x for x, c in zip(op.inputs, constants, strict=True) if c is None]
        sources = [self.channels[operand] for operand in varying]
        if len(varying) == len(constants):
            return self.builder.stage(qflow.RearrangeOp(edge, sources, index, shape), op)
        place, value, start = list[Integers](), list[Integers](), 0
        for operand, constant in zip(op.inputs, constants, strict=True):
            count = size_of(operand)
            fixed = constant is not None
            place.append(np.full(count, -1) if fixed else np.arange(start, start + count))
            value.append(constant.value.integers.reshape(-1) if fixed else np.zeros(count, int))
            start += 0 if fixed else count
        wire = np.concatenate(place)[index]
        wires = qflow.RearrangeOp(
            self.builder.fresh(f"{edge}:operand"), sources, np.maximum(wire, 0), (len(wire),)
        )
        summand = np.concatenate([v.astype(object) for v in value])[index]
        source = self.builder.stage(wires, op)
        return self.builder.scale(edge, source, np.where(wire < 0, 0, 1), summand, shape, op)

    # --- functions of one element --------------------------------------------------------

    def _quantiser(self, op: Quantiser) -> SSAValue:
        if isinstance(op, fastml.ExactCastOp) and op.input in self.channels:
            return self._recast(op)
        pieces = trace(op.input)
        if shape_of(op.input) != shape_of(op.result):  # parameters of more axes
            pieces = broadcast(pieces, shape_of(op.input), shape_of(op.result))
        if len(pieces) == 1 and np.all(np.diff(pieces[0].positions) > 0):
            return self._piece(op, pieces[0], op.edge_name, shape_of(op.result))
        parts = list[SSAValue]()
        for number, piece in enumerate(pieces):
            edge = self.builder.fresh(f"{op.edge_name}:{number}")
            parts.append(self._piece(op, piece, edge, (len(piece.positions),)))
        order = np.argsort(np.concatenate([piece.positions for piece in pieces]))
        wires = qflow.RearrangeOp(op.edge_name, parts, order, shape_of(op.result))
        return self.builder.stage(wires, op)

    def _piece(self, op: Quantiser, piece: Piece, edge: str, shape: tuple[int, ...]) -> SSAValue:
        source = self.builder.select(
            self.channels[piece.source], piece.elements, f"{edge}:operand", op
        )
        return QuantiserLowering(self.builder, op, edge, shape).lower(source, piece)

    def _recast(self, op: fastml.ExactCastOp) -> SSAValue:
        """Move integers to a finer step, exactly, without a detour through fp32."""
        source, target = grid_of(op.input), grid_of(op.result)
        assert target.weight == 1, "bipolar numbers are made by quantisers only"
        ratio = np.broadcast_to(source.step / target.step, shape_of(op.result)).reshape(-1)
        assert all(r.denominator == 1 for r in ratio), "the verifier demands a finer step"
        factor = np.array([int(r) for r in ratio], object)
        summand = factor * flat(source.shift, op.input) - flat(target.shift, op.result)
        return self.builder.scale(
            op.edge_name,
            self.channels[op.input],
            factor * source.weight,
            summand,
            shape_of(op.result),
            op,
        )


def entry_range(value: SSAValue) -> tuple[int, int]:
    """Return the raw range of an edge that enters: its type's, or its quantiser's."""
    if isinstance(value.owner, fastml.QuantiseOp):
        return value.owner.low.data, value.owner.high.data
    return grid_of(value).raw_range


def _loadable(grid: QuantisedType) -> LoadableAttr:
    """Return the range of the integers of a type."""
    low, high = (grid.weight * raw + grid.shift.astype(object) for raw in grid.raw_range)
    return LoadableAttr(int(np.min(low)), int(np.max(high)))


def _places(value: SSAValue, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the element of ``value`` at each element of the shape it is broadcast to."""
    places = np.arange(size_of(value)).reshape(shape_of(value))
    return np.asarray(np.broadcast_to(places, shape).reshape(-1), np.int64)
