"""Designs of the affine level as text, and their traces at both of the levels below."""

from collections.abc import Sequence

import numpy as np
from xdsl.context import Context
from xdsl.dialects import seq
from xdsl.dialects.affine import Affine
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.dialects.memref import MemRef

from fastml.compiler.support.diagnostics import LocatingParser
from fastml.dialects import hw_extra
from fastml.dialects.directives import verify_directives
from fastml.dialects.elements import Elements, ranges_of
from fastml.dialects.upstream_assembly import ARITH
from fastml.lowering.affine_to_hw import lower_module
from fastml.runtime.levels import open_level
from fastml.runtime.trace import Integers, Stimulus, Trace


def context() -> Context:
    found = Context()
    for dialect in (Affine, ARITH, Builtin, Func, MemRef):
        found.load_dialect(dialect)
    hw_extra.register(found)
    return found


def parse(text: str) -> ModuleOp:
    return LocatingParser(context(), text, "test.mlir").parse_module()


def lowered(module: ModuleOp) -> ModuleOp:
    """The hardware, by way of its text."""
    copy = module.clone()
    lower_module(copy)
    copy.verify()
    verify_directives(copy)
    return parse(str(copy))


def memref_type(layout: Elements) -> str:
    return f"memref<{len(layout)}xi{max(layout.container[0], 1)}>"


def described(value: str, layout: Elements, direction: str = "") -> str:
    """A function argument, or the attributes of an allocation where there is no direction."""
    name = value.removeprefix("%")
    facts = f'fastml.name = "the {name}", fastml.port = "{name}", fastml.elements = "{layout}"'
    if not direction:
        return f"{{{facts}}}"
    return f'{value} : {memref_type(layout)} {{{facts}, fastml.direction = "{direction}"}}'


def top(arguments: Sequence[str], body: str, ii: int, latency: int) -> str:
    return (
        f"func.func @design({', '.join(arguments)}) attributes {{fastml.top, "
        f"fastml.ii = {ii} : i64, fastml.latency = {latency} : i64}} {{\n{body}\nfunc.return\n}}\n"
    )


def beats_of(layout: Elements, frames: int, rng: np.random.Generator) -> Integers:
    lows, highs = ranges_of(layout)
    return rng.integers(lows, np.array(highs) + 1, (frames, len(layout)))


def gaps_of(frames: int, rng: np.random.Generator) -> Integers:
    return rng.integers(0, 4, frames) * rng.integers(0, 2, frames)


def same(a: Trace, b: Trace) -> None:
    assert a.outputs.keys() == b.outputs.keys()
    assert a.taps.keys() == b.taps.keys()
    for before, after in ((a.outputs, b.outputs), (a.taps, b.taps)):
        for name, signal in before.items():
            np.testing.assert_array_equal(signal.values, after[name].values, name)
            expected, found = np.broadcast_arrays(signal.cycles, after[name].cycles)
            np.testing.assert_array_equal(expected, found, name)


def both(module: ModuleOp, stimulus: Stimulus, taps: Sequence[str] = ()) -> Trace:
    """The trace that the schedule predicts, which the hardware also gives."""
    predicted = open_level("affine", module).simulate(stimulus, taps)
    measured = open_level("hw", lowered(module)).simulate(stimulus, taps)
    same(predicted, measured)
    return measured


def registers(module: ModuleOp) -> list[int]:
    """Widths of all registers."""
    found = [op for op in module.walk() if isinstance(op, seq.CompRegOp)]
    return sorted(int(str(op.data.type).removeprefix("i")) for op in found)
