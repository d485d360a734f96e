"""Random small QONNX graphs, from a seed: what exporters can write, in odd combinations."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import onnx
from qonnx_builder import DOMAINS, ROUNDINGS, Array, Builder, Edge, InputSpec, checked

Steps: TypeAlias = tuple[Fraction, ...]


@dataclass(frozen=True)
class RandomGraph:
    """A model and what a test must know of it."""

    seed: int
    model: onnx.ModelProto
    inputs: tuple[InputSpec, ...]
    quantisers: tuple[str, ...]
    """Edges of the activation quantisers, sources first."""
    shapes: dict[str, tuple[int, ...]]
    """Shape of every edge, the batch excluded; weights have none."""
    features: frozenset[str]
    batch: int | None

    @property
    def input_types(self) -> dict[str, str]:
        """The types that the user must give."""
        return {i.name: i.type for i in self.inputs if i.type is not None}

    def sample(self, frames: int, seed: int) -> dict[str, Array]:
        """Return random inputs on their grids, by name."""
        rng = np.random.default_rng([self.seed, seed])
        return {i.name: i.sample(frames, rng) for i in self.inputs}


def random_graph(seed: int) -> RandomGraph:
    """Return the graph of a seed; the same seed gives the same graph."""
    return _Program(seed).run()


class _Program:
    """The random decisions, block by block, over a pool of quantised edges."""

    def __init__(self, seed: int):
        self.seed = seed
        self.rng = rng = np.random.default_rng(seed)
        self.b = Builder(
            rng,
            opset=int(rng.choice([9, 11, 13, 14, 15])),
            domain=DOMAINS[seed % 3],
            batch=1 if rng.random() < 0.15 else None,
            style=str(rng.choice(["plain", "path", "number"])),
        )
        self.pool: list[Edge] = []
        self.used: set[str] = set()

    def run(self) -> RandomGraph:
        """Make inputs, blocks and outputs."""
        b, rng = self.b, self.rng
        for _ in range(1 + (rng.random() < 0.25)):
            self.pool.append(self._source())
        blocks: list[Callable[[], None]] = [self._dense, self._join, self._concat, self._maps]
        blocks += [self._elementwise, self._product, self._skip]
        weights = [0.5, 0.12, 0.08, 0.1, 0.1, 0.04, 0.06]
        self._dense()
        for _ in range(int(rng.integers(0, 4))):
            blocks[int(rng.choice(len(blocks), p=weights))]()
        if rng.random() < 0.5:
            self._head()
        made = {name for node in b.nodes for name in node.output}
        outputs = [e for e in self.pool if e.name in made and e.name not in self.used]
        if rng.random() < 0.2:
            extra = [e for e in self.pool if e.name in made and e.name in self.used]
            outputs += extra[-1:]
            b.features |= {"output that is also read"} if extra else set()
        if len(outputs) > 1:
            b.features.add("several outputs")
        if b.batch is not None:
            b.features.add("fixed batch")
        b.features |= {f"domain {b.domain}", f"opset {b.opset}"}
        reads = [name for node in b.nodes for name in node.input]
        if any(reads.count(name) > 1 for name in made):
            b.features.add("fork")
        if len(b.inputs) > 1:
            b.features.add("several inputs")
        model = checked(b.model(outputs))
        return RandomGraph(
            self.seed,
            model,
            tuple(b.inputs),
            tuple(b.quantisers),
            dict(b.shapes),
            frozenset(b.features),
            b.batch,
        )

    # -- sources -----------------------------------------------------------------------

    def _source(self) -> Edge:
        b, rng = self.b, self.rng
        width = int(rng.integers(3, 11))
        shape = (
            (width,) if rng.random() < 0.8 else (int(rng.integers(2, 4)), int(rng.integers(2, 4)))
        )
        bits = int(rng.integers(2, 9))
        kind = str(rng.choice(["fixed", "int", "scaled", "bipolar", "ratio", "real", "real"]))
        if kind == "real":
            x = b.input(None, shape)
            if rng.random() < 0.4:  # a prologue that the host computes
                x = self._affine(x, "Mul", np.array(rng.uniform(0.5, 2), np.float32))
                x = self._affine(x, "Sub", np.array(rng.uniform(-1, 1), np.float32))
                b.features.add("host prologue")
            return self._flat(self._quantise(x))
        sign = "u" if rng.random() < 0.4 else ""
        text = {
            "fixed": f"{sign}fixed<{bits},{int(rng.integers(-1, bits + 2))}>",
            "int": f"{sign}int{bits}",
            "scaled": f"{sign}int{bits}*{float(np.round(rng.uniform(0.01, 0.4), 4))}",
            "bipolar": "bipolar",
            "ratio": f"uint{bits}/{2**bits - 1}",
        }[kind]
        x = self._flat(b.input(text, shape))
        # A grid k/N is not k times one float32, so only a quantiser may read it.
        return self._quantise(x) if kind == "ratio" else x

    def _flat(self, x: Edge) -> Edge:
        if len(x.shape) == 1:
            return x
        rng = self.rng
        size = int(np.prod(x.shape))
        if rng.random() < 0.4:
            name = self.b.node("Flatten", [x.name], (size,), axis=1)
        elif rng.random() < 0.5:
            order = [0, 2, 1]
            name = self.b.node("Transpose", [x.name], (x.shape[1], x.shape[0]), perm=order)
            turned = x.sketch.transpose(order)
            x = Edge(name, (x.shape[1], x.shape[0]), turned, x.steps)
            return self._flat(x)
        elif self.b.batch is None and rng.random() < 0.5:
            name = self._shape_subgraph(x)
        else:
            target = self.b.constant(np.array([0, -1], np.int64), "shape")
            name = self.b.node("Reshape", [x.name, target], (size,))
        return Edge(name, (size,), x.sketch.reshape(len(x.sketch), size), x.steps)

    def _shape_subgraph(self, x: Edge) -> str:
        """Flatten as exporters of old did: Shape, Gather, Unsqueeze, Concat, Reshape."""
        b = self.b
        shape = b.node("Shape", [x.name], (1 + len(x.shape),))
        zero = b.constant(np.array(0, np.int64), "index")
        batch = b.node("Gather", [shape, zero], (), axis=0)
        if b.opset < 13:
            row = b.node("Unsqueeze", [batch], (1,), axes=[0])
        else:
            row = b.node("Unsqueeze", [batch, b.constant(np.array([0], np.int64))], (1,))
        rest = b.constant(np.array([-1], np.int64), "rest")
        target = b.node("Concat", [row, rest], (2,), axis=0)
        for name in (shape, batch, row, target):
            del b.shapes[name]
        b.features.add("shape sub-graph")
        return b.node("Reshape", [x.name, target], (int(np.prod(x.shape)),))

    # -- choosing from the pool ---------------------------------------------------------

    def _pick(self, coarse: bool = False) -> Edge:
        """Pick a flat quantised edge, often one that nobody has read yet."""
        fits = [e for e in self.pool if e.steps is not None and len(e.shape) == 1]
        fits = [e for e in fits if self._reads(e) and (e.is_coarse or not coarse)]
        if not fits:
            fits = [self._requantise_coarse(self._pick())]
        new = [e for e in fits if e.name not in self.used]
        x = new[-1] if new and self.rng.random() < 0.7 else fits[int(self.rng.integers(len(fits)))]
        self.used.add(x.name)
        return x

    @staticmethod
    def _reads(x: Edge) -> bool:
        """Whether an exact operator may read it: its steps share a divisor."""
        return x.steps is not None and (len(x.steps) == 1 or x.is_coarse)

    def _requantise_coarse(self, x: Edge) -> Edge:
        y = self._quantise(x, kind=str(self.rng.choice(["pow2", "coarse"])))
        self.pool.append(y)
        return y

    # -- blocks ------------------------------------------------------------------------

    def _dense(self) -> None:
        x = self._pick()
        y = self._product_with_weights(x, int(self.rng.integers(2, 9)))
        self.pool.append(self._quantise(self._after(y)))

    def _product_with_weights(self, x: Edge, out: int) -> Edge:
        b, rng = self.b, self.rng
        size = x.shape[-1]
        mixed = x.steps is None or len(x.steps) > 1
        if rng.random() < 0.6 or x.sketch.ndim != 2:
            name, values, steps = b.weights((size, out), False, mixed)
            if rng.random() < 0.15:  # exporters store the transposed matrix
                name, values, steps = b.weights((out, size), True, mixed)
                turned = b.node("Transpose", [name], (size, out), perm=[1, 0])
                del b.shapes[turned], b.shapes[name]
                name, values = turned, values.T
            else:
                del b.shapes[name]
            product = b.node("MatMul", [x.name, name], (*x.shape[:-1], out))
        else:
            turn = bool(rng.random() < 0.7)
            name, values, steps = b.weights((out, size) if turn else (size, out), turn, mixed)
            del b.shapes[name]
            values = values.T if turn else values
            inputs, attributes = [x.name, name], dict[str, Any](transB=int(turn))
            if rng.random() < 0.3:
                attributes["alpha"] = float(np.float32(rng.choice([0.5, 1.7, -0.9])))
                b.features.add("Gemm alpha")
            if rng.random() < 0.6 or b.opset < 11:
                shape = (out,) if rng.random() < 0.6 else (1, out)
                bias = (rng.standard_normal(shape) * np.abs(x.sketch @ values).mean()).astype(
                    np.float32
                )
                inputs.append(b.constant(bias, "bias"))
                if rng.random() < 0.3:
                    attributes["beta"] = float(np.float32(rng.choice([0.3, -1.1])))
                    b.features.add("Gemm beta")
            product = b.node("Gemm", inputs, (out,), **attributes)
            sketch = attributes.get("alpha", 1) * (x.sketch @ values)
            if len(inputs) > 2:
                c = b.constants[inputs[2]].astype(np.float64)
                sketch = sketch + attributes.get("beta", 1) * c
            # what an fp32 step of Gemm follows is a real number
            exact = len(inputs) < 3 and "alpha" not in attributes
            return Edge(product, (out,), sketch, self._times(x, steps) if exact else None)
        return Edge(product, (*x.shape[:-1], out), x.sketch @ values, self._times(x, steps))

    @staticmethod
    def _times(x: Edge, steps: Steps) -> Steps:
        assert x.steps is not None
        return tuple(sorted({a * b for a in x.steps for b in steps}))

    def _after(self, x: Edge) -> Edge:
        """Add bias, normalisation, scaling, activation: fp32 work before a quantiser."""
        b, rng = self.b, self.rng
        if rng.random() < 0.35:
            x = self._bias(x)
        if rng.random() < 0.3:
            x = self._batch_norm(x)
        if rng.random() < 0.15:
            shape = () if rng.random() < 0.5 else (x.shape[-1],)
            factor = rng.uniform(0.3, 2, shape) * rng.choice([-1, 1], shape)
            x = self._affine(x, "Mul", factor.astype(np.float32))
        if rng.random() < 0.1:
            x = self._affine(x, "Div", np.array(rng.choice([3, -1.7, 4]), np.float32))
        if rng.random() < 0.1:
            x = self._affine(x, "Sub", np.array(rng.standard_normal(), np.float32), swap=True)
            b.features.add("constant minus tensor")
        if rng.random() < 0.4:
            name = b.node("Relu", [x.name], x.shape)
            x = Edge(name, x.shape, np.maximum(x.sketch, 0), None)
        if rng.random() < 0.05 and b.opset >= 10:
            x = Edge(b.node("Dropout", [x.name], x.shape), x.shape, x.sketch, x.steps)
        return x

    def _bias(self, x: Edge) -> Edge:
        b, rng = self.b, self.rng
        shape = (x.shape[-1],) if rng.random() < 0.8 else (1,) * (len(x.shape)) + (x.shape[-1],)
        about = float(np.abs(x.sketch).mean()) + 1e-3
        bias = (rng.standard_normal(shape) * about).astype(np.float32)
        name = b.constant(bias, "bias")
        values: Array = bias.astype(np.float64)
        if rng.random() < 0.5:  # with a scale of its own
            scale = np.array(b.scale(about / 4, str(rng.choice(["pow2", "coarse", "any"]))))
            bits = int(rng.integers(3, 9))
            names = [name, b.constant(scale, "scale"), b.constant(np.zeros((), np.float32), "zp")]
            names.append(b.constant(np.array(bits, np.float32), "bitwidth"))
            name = b.node("Quant", names, bias.shape, b.domain, signed=1, narrow=0)
            del b.shapes[name]
            b.features.add("quantised bias")
            wide = scale.astype(np.float64)
            values = np.clip(np.rint(values / wide), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * wide
        inputs = [x.name, name] if rng.random() < 0.8 else [name, x.name]
        return Edge(b.node("Add", inputs, x.shape), x.shape, x.sketch + values, None)

    def _batch_norm(self, x: Edge) -> Edge:
        b, rng = self.b, self.rng
        channels = x.shape[0]
        gamma = (rng.uniform(0.4, 1.6, channels) * rng.choice([1, 1, 1, -1], channels)).astype(
            np.float32
        )
        beta = rng.standard_normal(channels).astype(np.float32) * np.float32(0.3)
        mean = (rng.standard_normal(channels) * np.abs(x.sketch).mean()).astype(np.float32)
        variance = (rng.uniform(0.5, 1.5, channels) * (x.sketch.var() + 0.01)).astype(np.float32)
        epsilon = float(np.float32(rng.choice([1e-5, 1e-3])))
        names = [
            b.constant(a, n) for a, n in ((gamma, "g"), (beta, "b"), (mean, "m"), (variance, "v"))
        ]
        name = b.node("BatchNormalization", [x.name, *names], x.shape, epsilon=epsilon)
        if np.any(gamma < 0):
            b.features.add("negative gamma")
        column = (-1,) + (1,) * (len(x.shape) - 1)
        g, bt, m, v = (a.astype(np.float64).reshape(column) for a in (gamma, beta, mean, variance))
        return Edge(name, x.shape, (x.sketch - m) / np.sqrt(v + epsilon) * g + bt, None)

    def _affine(self, x: Edge, op: str, by: Array, swap: bool = False) -> Edge:
        constant = self.b.constant(by, "constant")
        name = self.b.node(op, [constant, x.name] if swap else [x.name, constant], x.shape)
        self.b.features.add(f"{op} by a constant")
        wide = by.astype(np.float64)
        a, c = (wide, x.sketch) if swap else (x.sketch, wide)
        ufunc = {"Mul": np.multiply, "Sub": np.subtract, "Div": np.divide}[op]
        return Edge(name, x.shape, ufunc(a, c), None)

    def _quantise(self, x: Edge, kind: str | None = None) -> Edge:
        b, rng = self.b, self.rng
        if kind is None and rng.random() < 0.15:
            scale = np.array(b.scale(2.0 ** rng.uniform(-3, 1), str(rng.choice(["pow2", "any"]))))
            return b.bipolar(x, scale)
        bits = int(rng.choice([1, 2, 2, 3, 4, 4, 5, 6, 8], p=[0.06, *[0.13] * 6, 0.13, 0.03]))
        signed = bool(rng.random() < (0.3 if np.all(x.sketch >= 0) else 0.7)) and bits > 1
        narrow = bool(rng.random() < 0.3) and bits > 1
        kind = kind or str(rng.choice(["pow2", "coarse", "any", "any"]))
        reach = float(np.quantile(np.abs(x.sketch), 0.9)) + 1e-6
        about = reach / 2 ** (bits - signed)
        scale: Array = np.array(b.scale(about, kind))
        channels = x.shape[-1]
        if rng.random() < 0.12 and len(x.shape) == 1:
            each = [
                b.scale(float(scale) * 2.0 ** rng.uniform(-1, 1), "coarse") for _ in range(channels)
            ]
            scale = np.array(each, np.float32).reshape(1, channels)
        elif rng.random() < 0.3:
            scale = scale.reshape((1,) * int(rng.integers(1, 3)))
        zero_point: Array = np.zeros((), np.float32)
        if rng.random() < 0.2 and bits > 1:
            high = 2 ** (bits - signed) - 1
            zero_point = np.array(rng.integers(-high // 2, high + 1), np.float32)
        return b.quant(x, bits, scale, zero_point, signed, narrow, str(rng.choice(ROUNDINGS)))

    def _same_size(self, count: int, same_scale: bool) -> list[Edge]:
        """Make edges of one size from dense layers, each on a coarse grid, or all on one."""
        b, rng = self.b, self.rng
        size = int(rng.integers(2, 7))
        made: list[Edge] = []
        shared = np.array(b.scale(2.0 ** rng.uniform(-3, 0), "any"))
        for _ in range(count):
            y = self._after(self._product_with_weights(self._pick(), size))
            if same_scale:
                zero = np.zeros((), np.float32)
                made.append(b.quant(y, 4, shared, zero, True, False, str(rng.choice(ROUNDINGS))))
            else:
                made.append(self._quantise(y, kind=str(rng.choice(["pow2", "coarse"]))))
        return made

    def _join(self) -> None:
        """Add or subtract two quantised tensors."""
        b, rng = self.b, self.rng
        same = bool(rng.random() < 0.4)
        left, right = self._same_size(2, same)
        if rng.random() < 0.15:
            right = left
            b.features.add("tensor joined with itself")
        op = "Add" if rng.random() < 0.6 else "Sub"
        name = b.node(op, [left.name, right.name], left.shape)
        b.features |= {f"{op} of two tensors", "join on one arbitrary scale" if same else "join"}
        sketch = left.sketch + right.sketch if op == "Add" else left.sketch - right.sketch
        assert left.steps is not None
        assert right.steps is not None
        sum_ = Edge(name, left.shape, sketch, tuple(sorted({*left.steps, *right.steps})))
        self.used |= {left.name, right.name}
        self.pool += [left, right]
        if rng.random() < 0.35:  # a dense layer reads the exact sum itself
            self.pool.append(self._quantise(self._after(self._product_with_weights(sum_, 3))))
            b.features.add("dense on an exact sum")
        else:
            self.pool.append(self._quantise(self._after(sum_)))

    def _skip(self) -> None:
        """Add the accumulators of a dense layer to a quantised tensor."""
        b = self.b
        x = self._pick(coarse=True)
        name, values, _ = b.weights((x.shape[-1], x.shape[-1]), False, True)
        del b.shapes[name]
        product = b.node("MatMul", [x.name, name], x.shape)
        total = b.node("Add", [product, x.name], x.shape)
        b.features.add("skip around a dense layer")
        sketch = x.sketch @ values + x.sketch
        self.pool.append(self._quantise(self._after(Edge(total, x.shape, sketch, None))))

    def _product(self) -> None:
        """Multiply two quantised tensors."""
        b = self.b
        left, right = self._same_size(2, same_scale=False)
        name = b.node("Mul", [left.name, right.name], left.shape)
        b.features.add("Mul of two tensors")
        self.used |= {left.name, right.name}
        self.pool += [left, right]
        y = Edge(name, left.shape, left.sketch * right.sketch, None)
        self.pool.append(self._quantise(self._after(y)))

    def _concat(self) -> None:
        b, rng = self.b, self.rng
        parts = [self._pick(coarse=True) for _ in range(int(rng.integers(2, 4)))]
        size = sum(p.shape[0] for p in parts)
        name = b.node(
            "Concat", [p.name for p in parts], (size,), axis=1 if rng.random() < 0.5 else -1
        )
        steps = tuple(sorted({s for p in parts for s in p.steps or ()}))
        joined = Edge(name, (size,), np.concatenate([p.sketch for p in parts], -1), steps)
        y = self._product_with_weights(joined, int(rng.integers(2, 6)))
        self.pool.append(self._quantise(self._after(y)))

    def _maps(self) -> None:
        """Reshape to a matrix, transpose, perhaps multiply along the last axis, flatten."""
        b, rng = self.b, self.rng
        x = self._pick()
        if x.shape[0] % 2 or len(x.steps or ()) > 1:
            y = self._quantise(self._after(self._product_with_weights(x, 6)), kind="pow2")
            if len(y.steps or ()) > 1:
                self.pool.append(y)
                return
            x = y
            self.used.add(x.name)
        half = x.shape[0] // 2
        first = -1 if b.batch is None else 1
        target = b.constant(np.array([first, 2, half], np.int64), "shape")
        name = b.node("Reshape", [x.name, target], (2, half))
        grid = Edge(name, (2, half), x.sketch.reshape(-1, 2, half), x.steps)
        if rng.random() < 0.5:
            name = b.node("Transpose", [grid.name], (half, 2), perm=[0, 2, 1])
            grid = Edge(name, (half, 2), grid.sketch.transpose(0, 2, 1), grid.steps)
        if rng.random() < 0.5:
            grid = self._quantise(self._after(self._product_with_weights(grid, 3)))
            b.features.add("dense on a matrix")
        self.pool.append(self._flat(grid))

    def _elementwise(self) -> None:
        """Requantise: fp32 work on a quantised tensor, without any dense layer."""
        x = self._pick()
        self.pool.append(self._quantise(self._after(x)))
        self.b.features.add("requantise")

    def _head(self) -> None:
        """End in real numbers: accumulators, or what the host makes of them."""
        b, rng = self.b, self.rng
        y = self._product_with_weights(self._pick(), int(rng.integers(1, 5)))
        kind = rng.random()
        if kind < 0.35:
            y = self._after(y)
        elif kind < 0.6:
            y = self._affine(self._bias(y), "Mul", np.array(rng.uniform(-2, 2), np.float32))
        b.features.add("real output")
        self.pool.append(Edge(y.name, y.shape, y.sketch, None))
