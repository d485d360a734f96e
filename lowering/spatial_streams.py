"""Lower networks on images to streams of pixels: a token is all channels of a position.

Each edge has a layout (:mod:`fastml.lowering.image_layout`). What an operator does to every
position alike is lowered once, for the tensor of one token: the axes of positions have size 1
there, so that chains, quantisers and elementwise operators are those of any network. Windows,
reductions and index maps are processes that pass tokens, and stages on what they pass.
"""

from typing import NoReturn

import numpy as np
from xdsl.dialects.builtin import Float32Type, StringAttr, TensorType
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import fastml, fastml_spatial, qflow
from fastml.dialects.array import Array, Integers, integer_array
from fastml.dialects.fastml import constant_of, element_type, shape_of
from fastml.dialects.grid import QuantisedType
from fastml.dialects.layout import Layout
from fastml.dialects.qflow import ChannelType, channel_of
from fastml.lowering.fastml_to_qflow import NetworkLowering, entry_range
from fastml.lowering.image_layout import has_windows, layouts_of
from fastml.lowering.position_classes import MOST_CLASSES, Classes, classes_of, constant_rows
from fastml.lowering.stage_builder import grid_of
from fastml.lowering.token_maps import Origins, Source
from fastml.lowering.token_windows import TokenWindow, by_pixel, common_pixels, token_window
from fastml.lowering.token_wiring import TokenWiring


def has_images(network: fastml.NetworkOp) -> bool:
    """Return whether a network slides windows over images or sequences."""
    return has_windows(op for op in network.body.block.ops if isinstance(op, fastml.LayerOp))


class StreamLowering(NetworkLowering):
    """The lowering of a network of images; ``channels`` are those of the tensors of a token."""

    def __init__(self, network: fastml.NetworkOp, *, loadable: bool = False, pixels: int = 1):
        self.scratch = fastml.NetworkOp("tokens", {}, [])
        self.scratch.location = network.location
        self.tokens = dict[SSAValue, SSAValue]()
        """The tensor of a token, by the edge of the network."""
        self.variants = dict[SSAValue, tuple[Classes, list[SSAValue]]]()
        """Of a real edge that is another function in some positions: those of each class."""
        layers = [op for op in network.body.block.ops if isinstance(op, fastml.LayerOp)]
        self.layouts = layouts_of(layers, network.edges.values(), pixels)
        super().__init__(network, loadable=loadable)
        channels = dict(self.channels)
        self.channels.clear()
        for value, channel in channels.items():
            self._adopt(value, channel)
        self.wiring = TokenWiring(self.builder)

    def build(self) -> qflow.GraphOp:
        """Lower every live operation in order."""
        live = self.live()
        for op in self.network.body.block.ops:
            if isinstance(op, fastml.LayerOp) and op.result in live - self.tokens.keys():
                self._lower_edge(op)
        return self.builder.finish([self.channels[self.tokens[v]] for v in self.exits])

    def live(self) -> set[SSAValue]:
        """Return the edges between the graph's inputs and its outputs."""
        live = set[SSAValue]()
        pending = list(self.exits)
        while pending:
            value = pending.pop()
            if value not in live and value not in self.tokens:
                live.add(value)
                if isinstance(value.owner, Operation):
                    pending += value.owner.operands
        return live

    @property
    def edges(self) -> dict[str, SSAValue]:
        """Hardware edges by name: edges of the network that a channel carries."""
        edges = self.network.edges.items()
        return {n: v for n, v in edges if self.tokens.get(v) in self.channels}

    @property
    def layouts_of_edges(self) -> dict[str, Layout]:
        """How hardware edges lie in beats, by name, where a frame is not one row-major beat."""
        layouts = {name: self.layouts[value] for name, value in self.edges.items()}
        return {n: lay for n, lay in layouts.items() if lay.beats > 1 or not lay.is_row_major}

    def entry_type(self, value: SSAValue) -> ChannelType:
        """Return the channel at which an edge enters, a token a beat."""
        layout = self.layouts[value]
        low, high = (np.full(layout.elements, end, object) for end in entry_range(value))
        ends = integer_array(low), integer_array(high)
        return ChannelType.of(layout.token, *ends, beats=layout.beats)

    def _lower_edge(self, op: fastml.LayerOp) -> None:
        real = isinstance(element_type(op.result), Float32Type)
        match op:
            case fastml_spatial.ConvOp() if not real:
                self._adopt(op.result, self._conv(op))
            case fastml_spatial.MaxPoolOp() if not real:
                self._adopt(op.result, self._max_pool(op))
            case fastml_spatial.ReduceOp() if not real and self._beats_fall(op):
                self._adopt(op.result, self._reduce(op))
            case fastml.RearrangeOp():
                self._rearrange_tokens(op)
            case fastml_spatial.WindowOp() | fastml_spatial.ReduceOp() if real:
                raise FastmlError(
                    f"edge '{op.edge_name}' is computed from an edge that nobody quantised",
                    op,
                    code="FML-UNQUANTISED",
                    hint="quantise its operand",
                )
            case _:
                self._beat_by_beat(op)

    # --- tensors of a token ------------------------------------------------------------------

    def _adopt(self, value: SSAValue, channel: SSAValue, layout: Layout | None = None) -> SSAValue:
        """Let a channel be the tokens of an edge; return their tensor."""
        layout = layout or self.layouts[value]
        assert channel_of(channel).beats.data == layout.beats
        assert len(channel_of(channel)) == layout.elements
        block = self.scratch.body.block
        kind = TensorType(self._token_type(value, layout), layout.token)
        token = block.insert_arg(kind, len(block.args))
        self.tokens.setdefault(value, token)
        self.channels[token] = channel
        return token

    def _token_type(self, value: SSAValue, layout: Layout) -> QuantisedType | Float32Type:
        """Return what a token of an edge holds; refuse scales that differ between positions."""
        element = element_type(value)
        if isinstance(element, Float32Type):
            return element
        for parameter in (element.step, element.shift):
            if self._one_position(parameter, layout) is None:
                self._refuse(value.owner, "has scales that differ between positions")
        places = np.arange(layout.size).reshape(layout.shape)
        for axis in layout.positions:
            places = places.take(range(layout.token[axis]), axis)
        return element.reindex(layout.shape, places)

    @staticmethod
    def _one_position(array: Array, layout: Layout) -> Array | None:
        """Return what broadcasts to a tensor, for one position; None if they differ."""
        for axis in layout.positions:
            own = axis - (len(layout.shape) - array.ndim)
            if own >= 0 and array.shape[own] > 1:
                first = array.take([0], own)
                if not np.array_equal(np.broadcast_to(first, array.shape), array):
                    return None
                array = first
        return array

    def _refuse(self, at: object, problem: str) -> NoReturn:
        place = at if isinstance(at, Operation) else self.network
        names = {value: name for name, value in self.network.edges.items()}
        edge = next((names[r] for r in getattr(place, "results", ()) if r in names), "")
        raise FastmlError(
            f"edge '{edge}' {problem}",
            place,
            code="FML-STREAM",
            hint="use --io parallel, which has whole frames",
        )

    def _beat_by_beat(self, op: fastml.LayerOp) -> None:
        """Lower what is done to each position alike: the same operator on tokens."""
        layout = self.layouts[op.result]
        classes = self._classes(op, layout)
        if classes is not None:
            self._class_by_class(op, layout, classes)
            return
        mapping = dict[SSAValue, SSAValue]()
        for operand in op.operands:
            if constant_of(operand) is not None:
                if not isinstance(op, fastml.MatMulOp):
                    mapping[operand] = self._constant(op, operand, layout)
            elif isinstance(op, fastml.MatMulOp):
                mapping[operand] = self._rows_of(op, operand)
            else:
                mapping[operand] = self._spread(op, operand, layout)
        self.tokens[op.result] = self._on_tokens(op, mapping, layout, op.edge_name)

    def _on_tokens(
        self,
        op: fastml.LayerOp,
        mapping: dict[SSAValue, SSAValue],
        layout: Layout,
        edge: str,
    ) -> SSAValue:
        """Append an operator on tokens as edge ``edge``, and lower it."""
        copy = op.clone(mapping)
        copy.location = op.location
        copy.edge = StringAttr(edge)
        kind = TensorType(self._token_type(op.result, layout), layout.token)
        Rewriter.replace_value_with_new_type(copy.result, kind)
        self.scratch.body.block.add_op(copy)
        self.lower(copy)
        channel = self.channels.get(copy.result)
        if channel is not None and channel_of(channel).beats.data != layout.beats:
            self._refuse(op, "is made of fewer positions than it has")
        return copy.result

    def _constant(self, op: fastml.LayerOp, operand: SSAValue, layout: Layout) -> SSAValue:
        constant = constant_of(operand)
        assert constant is not None
        array, element = constant.value.array, element_type(operand)
        one = self._one_position(array, layout)
        if one is None:
            self._refuse(op, "has constants that differ between positions")
        if isinstance(element, QuantisedType):
            rank = len(layout.shape) - array.ndim
            axes = tuple(axis - rank for axis in layout.positions if axis >= rank)
            element = self._token_type(operand, Layout(array.shape, axes))
        return self._append_constant(op, one, element)

    def _append_constant(
        self, op: fastml.LayerOp, array: Array, element: QuantisedType | Float32Type
    ) -> SSAValue:
        made = fastml.ConstantOp(array, element)
        made.location = op.location
        self.scratch.body.block.add_op(made)
        return made.result

    # --- constants that differ between positions ---------------------------------------------

    def _classes(self, op: fastml.LayerOp, layout: Layout) -> Classes | None:
        """Return classes of positions, in each of which an elementwise operator is one function.

        None where there is one class of all.
        """
        if not isinstance(op, fastml.ElementwiseOp | fastml.QuantiseOp | fastml.ExactCastOp):
            return None
        tables = list[Array]()
        for operand in op.operands:
            constant = constant_of(operand)
            if operand in self.variants:
                tables.append(self.variants[operand][0])
            elif constant is not None and isinstance(element_type(operand), Float32Type):
                if self._one_position(constant.value.array, layout) is None:
                    tables.append(constant_rows(constant.value.array, layout)[0])
        if not tables:
            return None
        classes = classes_of(tables)
        if int(classes.max()) >= MOST_CLASSES:
            self._refuse(op, "has constants that differ between positions")
        return classes

    def _class_by_class(self, op: fastml.LayerOp, layout: Layout, classes: Classes) -> None:
        """Lower an operator once for each class; quantised, choose by position."""
        made = list[SSAValue]()
        for number in range(int(classes.max()) + 1):
            beat = int(np.argmax(classes == number))
            mapping = dict[SSAValue, SSAValue]()
            for operand in op.operands:
                constant = constant_of(operand)
                if operand in self.variants:
                    own, tokens = self.variants[operand]
                    mapping[operand] = tokens[int(own[beat])]
                elif constant is None:
                    mapping[operand] = self._spread(op, operand, layout)
                elif isinstance(element_type(operand), Float32Type):
                    rows, shape = constant_rows(constant.value.array, layout)
                    array = rows[beat].reshape(shape)
                    mapping[operand] = self._append_constant(op, array, Float32Type())
                else:
                    mapping[operand] = self._constant(op, operand, layout)
            edge = self.builder.fresh(f"{op.edge_name}:class{number}")
            made.append(self._on_tokens(op, mapping, layout, edge))
        if isinstance(element_type(op.result), Float32Type):
            self.variants[op.result] = classes, made
            self.tokens[op.result] = made[0]
            return
        channels = [self.channels[token] for token in made]
        channel = self.wiring.choose(op.edge_name, channels, classes, layout, op)
        self._adopt(op.result, channel)

    def _spread(self, op: fastml.LayerOp, operand: SSAValue, layout: Layout) -> SSAValue:
        """Return the token of an operand, repeated where the result has more positions."""
        token, own = self.tokens[operand], self.layouts[operand]
        rank = len(layout.shape)
        held = (1,) * (rank - len(own.shape)) + own.token
        joins = sum(constant_of(value) is None for value in op.operands) > 1
        fits = not joins or all(
            size in (1, most) for size, most in zip(held, layout.token, strict=True)
        )
        real = token not in self.channels
        if fits and (real or own.beats == layout.beats):
            return token
        if real:
            self._refuse(op, "joins streams whose positions do not match")
        aligned = (1,) * (rank - len(own.shape)) + own.shape
        wanted = tuple(
            layout.shape[axis] if axis in layout.positions else size
            for axis, size in enumerate(aligned)
        )
        places = np.arange(own.size).reshape(own.shape)
        target = Layout(wanted, layout.positions, layout.pixels)
        origins = Origins.of(np.broadcast_to(places, wanted), [Source(own)], target)
        edge = self.builder.fresh(f"{op.edge_name}:operand")
        channel = self.wiring.lower(edge, origins, [self.channels[token]], [own], target, op)
        if channel is None:
            self._refuse(op, "joins streams whose positions do not match")
        return self._adopt(operand, channel, target)

    def _rows_of(self, op: fastml.MatMulOp, operand: SSAValue) -> SSAValue:
        """Return the operand of a matrix product: a row a token, or the frame in one beat."""
        own, result = self.layouts[operand], self.layouts[op.result]
        if own.beats == result.beats and (own.beats == 1 or own.positions == result.positions):
            return self.tokens[operand]
        if result.beats > 1:
            self._refuse(op, "is a matrix product over positions")
        whole = Layout(own.shape)
        origins = Origins.of(np.arange(own.size), [Source(own)], whole)
        edge = self.builder.fresh(f"{op.edge_name}:operand")
        source = self.channels[self.tokens[operand]]
        channel = self.wiring.lower(edge, origins, [source], [own], whole, op)
        assert channel is not None, "anything can be gathered into one beat"
        return self._adopt(operand, channel, whole)

    # --- windows -----------------------------------------------------------------------------

    def _windows_of(
        self, op: fastml_spatial.WindowOp, source: SSAValue
    ) -> tuple[SSAValue, Layout, TokenWindow]:
        """Return tokens that windows can step over, their layout, and the windows."""
        layout, result = self.layouts[op.data], self.layouts[op.result]
        if layout.positions != op.spatial_axes or len(op.spatial_axes) > 2:
            self._refuse(op, "slides over axes that are not passed as positions")
        pixels = common_pixels(layout, result, op.windows[-1].stride)
        if pixels != layout.pixels:
            edge = self.builder.fresh(f"{op.edge_name}:operand")
            source, layout = self.wiring.regroup(edge, source, layout, pixels, op)
        return source, layout, token_window(op.windows, layout, result)

    def _window(
        self,
        op: fastml_spatial.WindowOp,
        source: SSAValue,
        window: TokenWindow,
        fill: Integers,
    ) -> SSAValue:
        """Return the tokens that each window sees, (ky, kx, element); ``fill`` for pads."""
        if window.is_identity:
            return source
        edge = self.builder.fresh(f"{op.edge_name}:window")
        if np.all(window.rows < 0) or np.all(window.cols < 0):  # pads, whatever the image is
            rows, cols = np.zeros_like(window.rows[:, :1]), np.zeros_like(window.cols[:, :1])
            made = qflow.WindowOp(self.builder.fresh(edge), source, window.size, rows, cols)
            beat = self.builder.process(made, op)
            taps = window.rows.shape[1] * window.cols.shape[1]
            index = len(fill) + np.tile(np.arange(len(fill)), taps)
            stage = qflow.RearrangeOp(edge, [beat], index, (len(index),), fill=fill)
            return self.builder.stage(stage, op)
        pads = bool(np.any(window.rows < 0) or np.any(window.cols < 0))
        tables = window.rows, window.cols
        made = qflow.WindowOp(edge, source, window.size, *tables, fill if pads else None)
        return self.builder.process(made, op)

    def _conv(self, op: fastml_spatial.ConvOp) -> SSAValue:
        token = self.tokens[op.data]
        grid, source = grid_of(token), self.channels[token]
        weight, shift = (
            grid.weight,
            self._flat(grid.shift, op.data)[by_pixel(self.layouts[op.data])],
        )
        if weight != 1 and np.any(shift):  # no raw value stands for the number 0
            source, weight = self.integer(token, op), 1
            shift = np.zeros_like(shift)
        source, layout, window = self._windows_of(op, source)
        fill = np.empty(layout.elements, object)
        fill[by_pixel(layout)] = -shift[0].astype(object)
        tokens = self._window(op, source, window, integer_array(fill))
        matrix = _conv_matrix(op)
        places = np.tile(shift[0].astype(object), len(matrix) // shift.shape[1])
        bias = integer_array(places @ matrix)
        result = self.layouts[op.result]
        operand = self.builder.select(
            tokens, window.index.reshape(-1), f"{op.edge_name}:operand", op
        )
        order = np.argsort(by_pixel(result).reshape(-1))
        wired = not np.array_equal(order, np.arange(len(order)))
        edge = self.builder.fresh(f"{op.edge_name}:pixels") if wired else op.edge_name
        shape = (len(order),) if wired else result.token
        made = qflow.DenseOp(edge, operand, integer_array(matrix * weight), bias, shape)
        channel = self.builder.stage(made, op)
        if not wired:
            return channel
        return self.builder.stage(
            qflow.RearrangeOp(op.edge_name, [channel], order, result.token), op
        )

    def _flat(self, parameter: Array, edge: SSAValue) -> Array:
        """Spread a parameter of a token's type over its elements."""
        return np.broadcast_to(parameter, self.layouts[edge].token).reshape(-1)

    def _max_pool(self, op: fastml_spatial.MaxPoolOp) -> SSAValue:
        source, _, window = self._windows_of(op, self.channels[self.tokens[op.data]])
        tokens = self._window(op, source, window, channel_of(source).lows)
        result = self.layouts[op.result]
        pixels, _, _, channels = window.index.shape
        seen = np.moveaxis(window.index, -1, 1).reshape(pixels * channels, -1)
        order = np.argsort(by_pixel(result).reshape(-1))
        stage = qflow.MaximumOp(op.edge_name, [tokens], seen[order], result.token)
        return self.builder.stage(stage, op)

    # --- reductions --------------------------------------------------------------------------

    def _beats_fall(self, op: fastml_spatial.ReduceOp) -> bool:
        return self.layouts[op.result].beats < self.layouts[op.operands[0]].beats

    def _reduce(self, op: fastml_spatial.ReduceOp) -> SSAValue:
        """Reduce over positions, then over the elements of what is left."""
        edge, kind = op.operands[0], str(op.kind.data)
        layout, result = self.layouts[edge], self.layouts[op.result]
        token = self.tokens[edge]
        source = self.channels[token]
        if kind == "sum":
            source = self.integer(token, op)
        axes = {axis.data % len(layout.shape) for axis in op.axes}
        source = self._reduced_last(op, source, layout, axes)
        within = [a for a in sorted(axes) if layout.token[a] > 1]
        name = self.builder.fresh(f"{op.edge_name}:positions")
        count = layout.beats // result.beats
        source = self.builder.process(qflow.ReduceOp(name, source, kind, count), op)
        if not within:
            index = np.arange(len(channel_of(source)))
            wires = qflow.RearrangeOp(op.edge_name, [source], index, result.token)
            return self.builder.stage(wires, op)
        return self._reduce_within(op, source, layout, result, within)

    def _reduced_last(
        self, op: fastml_spatial.ReduceOp, source: SSAValue, layout: Layout, axes: set[int]
    ) -> SSAValue:
        """Order tokens so that those which become one follow each other."""
        numbers = range(len(layout.positions))
        kept = [n for n in numbers if layout.positions[n] not in axes]
        order = [*kept, *(n for n in numbers if n not in kept)]
        index = np.arange(layout.beats).reshape(layout.grid).transpose(order).reshape(-1)
        if np.array_equal(index, np.arange(layout.beats)):
            return source
        name = self.builder.fresh(f"{op.edge_name}:order")
        return self.builder.process(qflow.ReorderOp(name, source, index), op)

    def _reduce_within(
        self,
        op: fastml_spatial.ReduceOp,
        source: SSAValue,
        layout: Layout,
        result: Layout,
        axes: list[int],
    ) -> SSAValue:
        places = np.arange(layout.elements).reshape(layout.token)
        index = np.moveaxis(places, axes, range(-len(axes), 0)).reshape(result.elements, -1)
        if op.kind.data is fastml_spatial.Reduction.SUM:
            matrix = np.zeros((layout.elements, result.elements), np.int64)
            matrix[index, np.arange(result.elements)[:, None]] = 1
            bias = np.zeros(result.elements, np.int64)
            stage = qflow.DenseOp(op.edge_name, source, matrix, bias, result.token)
        else:
            kind = qflow.Extremum(str(op.kind.data))
            stage = qflow.MaximumOp(op.edge_name, [source], index, result.token, kind)
        return self.builder.stage(stage, op)

    # --- index maps --------------------------------------------------------------------------

    def _rearrange_tokens(self, op: fastml.RearrangeOp) -> None:
        layout = self.layouts[op.result]
        constants = [constant_of(operand) for operand in op.inputs]
        varying = [x for x, c in zip(op.inputs, constants, strict=True) if c is None]
        sources = [
            Source(self.layouts[x] if c is None else Layout(shape_of(x)), c and c.value.array)
            for x, c in zip(op.inputs, constants, strict=True)
        ]
        if all(s.layout.beats == 1 and not s.layout.positions for s in sources) and (
            layout.beats == 1
        ):
            self._beat_by_beat(op)
            return
        origins = Origins.of(op.index_map, sources, layout)
        numbers = {n: k for k, n in enumerate(n for n, c in enumerate(constants) if c is None)}
        origins = origins.renumbered(numbers)
        layouts = [self.layouts[x] for x in varying]
        if isinstance(element_type(op.result), Float32Type):
            self._wire_real(op, origins, varying, layouts)
            return
        channels = [self.channels[self.tokens[x]] for x in varying]
        channel = self.wiring.lower(op.edge_name, origins, channels, layouts, layout, op)
        if channel is None and any(x.pixels > 1 for x in (layout, *layouts)):
            channel = self._pixel_by_pixel(op, sources, numbers, channels, layouts)
        if channel is None:
            self._refuse(op, "is an order of elements that streams of pixels cannot have")
        self._adopt(op.result, channel)

    def _pixel_by_pixel(
        self,
        op: fastml.RearrangeOp,
        sources: list[Source],
        numbers: dict[int, int],
        channels: list[SSAValue],
        layouts: list[Layout],
    ) -> SSAValue | None:
        """Wire an index map with one pixel a beat, and put several into one again."""
        layout = self.layouts[op.result]
        single = Layout(layout.shape, layout.positions)
        apart = list[SSAValue]()
        for channel, own in zip(channels, layouts, strict=True):
            edge = self.builder.fresh(f"{op.edge_name}:pixels")
            apart.append(self.wiring.regroup(edge, channel, own, 1, op)[0])
        ones = [Layout(own.shape, own.positions) for own in layouts]
        given = [Source(Layout(s.layout.shape, s.layout.positions), s.constant) for s in sources]
        origins = Origins.of(op.index_map, given, single).renumbered(numbers)
        edge = self.builder.fresh(f"{op.edge_name}:moved")
        made = self.wiring.lower(edge, origins, apart, ones, single, op)
        if made is None:
            return None
        return self.wiring.regroup(op.edge_name, made, single, layout.pixels, op)[0]

    def _wire_real(
        self,
        op: fastml.RearrangeOp,
        origins: Origins,
        varying: list[SSAValue],
        layouts: list[Layout],
    ) -> None:
        """Wire real tokens, which become part of a function; their order must stay."""
        layout = self.layouts[op.result]
        index = self.wiring.wires_alone(origins, layouts, layout)
        if index is None or any(x in self.variants for x in varying):
            self._refuse(op, "moves numbers between positions before they are quantised")
        tokens = [self.tokens[x] for x in varying]
        kind = self._token_type(op.result, layout)
        copy = fastml.RearrangeOp(op.edge_name, tokens, index, kind, layout.token)
        copy.location = op.location
        self.scratch.body.block.add_op(copy)
        self.tokens[op.result] = copy.result


def _conv_matrix(op: fastml_spatial.ConvOp) -> Integers:
    """Return the matrix of a convolution: (ky, kx, channel) rows, a column a channel made."""
    weights = integer_array(np.asarray(op.matrices))
    made, inner = weights.shape[:2]
    taps = weights.reshape(made, inner, -1)
    groups = op.group.data
    each = made // groups
    matrix = np.zeros((taps.shape[2], groups, inner, made), object)
    for group in range(groups):
        own = slice(group * each, (group + 1) * each)
        matrix[:, group, :, own] = np.moveaxis(taps[own], 0, -1).swapaxes(0, 1)
    return matrix.reshape(-1, made)
