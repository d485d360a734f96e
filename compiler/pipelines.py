"""Named pipelines: which passes lead from each level to the next, in order.

This table is the whole compiler in one view; everything else only runs it.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import PassPipeline

from fastml.compiler.instrumentation import Instrumentation
from fastml.compiler.options import BuildOptions
from fastml.compiler.plugins import load_plugins
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import DIALECTS, EXTENDED
from fastml.lowering import PASSES

PIPELINES: dict[str, tuple[str, ...]] = {
    # level: passes that make it from the level before it (the first from what is imported)
    "fastml": ("set-precision", "infer-grids"),
    "qflow": (
        "fastml-to-qflow",
        "qflow-choose",
        "qflow-fold",
        "qflow-solve",
        "qflow-stream",
        "qflow-schedule",
        "qflow-size-fifos",
    ),
    "affine": ("qflow-to-affine", "check-schedule"),
    "hw": ("affine-to-hw", "hw-axi-stream"),
}
"""Level to the passes that reach it; which of them a build needs, its options say."""

BUDGETS = (0, 1, 2, 8)
"""What each optimisation level, -O0 to -O3, lets a solver spend on a matrix."""
LEVELS = tuple(PIPELINES)
"""The levels of the IR, in order of lowering."""
LARGE = ("affine", "hw")
"""Levels that have an operation for each adder."""


def passes_to(level: str, options: BuildOptions) -> str:
    """Return the textual pipeline to ``level`` from the level before it."""
    needed = {name: _arguments(name, options) for name in PIPELINES[level]}
    return ",".join(
        name + (f"{{{arguments}}}" if arguments else "")
        for name, arguments in needed.items()
        if arguments is not None
    )


def _arguments(name: str, options: BuildOptions) -> str | None:
    """Return the options of a pass as text; None where the build does not need the pass."""
    values: dict[str, object]
    contract = {
        "ii": options.ii,
        "max-dsp": options.max_dsp,
        "max-bram": options.max_bram,
        "max-lut": options.max_lut,
    }
    bound = any(limit is not None for limit in contract.values())
    match name:
        case "set-precision" if options.precision is not None:
            own = {**options.input_type, **options.precision_of}
            values = {
                "default": options.precision,
                "of": [f"{name}={kind}" for name, kind in own.items()],
            }
        case "set-precision":
            return None
        case "fastml-to-qflow":
            streams = options.io == "stream"
            values = {
                "weights": options.weights if options.weights != "rom" else None,
                "layout": "pixels" if streams else None,
                "pixels": options.pixels if options.pixels > 1 else None,
            }
        case "qflow-choose" if bound:
            latency = options.latency_cycles
            values = {**contract, "latency": latency, "multipliers": options.multipliers}
            values["clock-ns"] = options.clock_ns
        case "qflow-choose":
            return None
        case "qflow-fold" if _folds(options):
            own = [f"{layer}={reuse}" for layer, reuse in options.reuse_of.items()]
            values = {"reuse": options.reuse, "reuse-of": own}
            values["multipliers"] = options.multipliers
        case "qflow-solve":
            values = {"budget": BUDGETS[options.optimise]}
        case "qflow-schedule":
            values = {"clock-ns": options.clock_ns}
        case "qflow-stream" if options.io == "stream":
            values = {"input-beats": options.input_beats, "output-beats": options.output_beats}
        case "qflow-size-fifos" if options.io == "stream":
            depths = [f"{fifo}={depth}" for fifo, depth in options.fifo_depth.items()]
            values = {"depths": depths}
        case "qflow-fold" | "qflow-stream" | "qflow-size-fifos":
            return None
        case "hw-axi-stream" if not options.axi_stream:
            return None
        case _:
            values = {}
    return " ".join(f"{key}={_text(value)}" for key, value in values.items() if _given(value))


def _folds(options: BuildOptions) -> bool:
    return options.reuse is not None or bool(options.reuse_of)


def _given(value: object) -> bool:
    return value is not None and value != []


def _text(value: object) -> str:
    """Return an option of a pass as a pipeline has it; texts are escaped."""
    if isinstance(value, list):
        return ",".join(_text(item) for item in cast(list[object], value))
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")  # pipelines know no exponents
    if not isinstance(value, str):
        return str(value)
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in value) + '"'


_ESCAPES = {
    '"': r"\"",
    "\\": r"\\",
    "\n": r"\n",
    "\t": r"\t",
    "\r": r"\r",
    "\f": r"\f",
    "\v": r"\v",
}


@dataclass
class PassRunner:
    """Runs pipelines under one set of options, and keeps the time they took."""

    options: BuildOptions

    def __post_init__(self) -> None:
        self.context = new_context()
        self.watch = Instrumentation(
            verify_each=self.options.verify_each,
            print_after_all=self.options.print_ir_after_all,
            timing=self.options.timing,
        )

    def run(self, module: ModuleOp, level: str) -> None:
        """Lower ``module`` in place to ``level`` from the level before it."""
        spec = passes_to(level, self.options)
        # Verifying costs as much as lowering where there are as many operations as adders;
        # files are verified when they are read, and emitters check what they print.
        self.watch.disable_verify = level in LARGE and not self.options.verify_each
        PassPipeline.parse_spec(PASSES, spec, self.watch).apply(self.context, module)
        self.watch.finished, self.watch.running = [], None

    def lap(self, what: str) -> None:
        """Book the time since the last pass on ``what``."""
        self.watch.lap(what)

    def report(self) -> None:
        """Print the time table, if the options ask for it."""
        self.watch.report()


def new_context() -> Context:
    """Return a context that knows every dialect of the stack, each loaded on first use."""
    from xdsl.dialects import get_all_dialects

    load_plugins()
    context = Context()
    for name, load in {**get_all_dialects(), **DIALECTS, **EXTENDED}.items():
        context.register_dialect(name, load)
    context.load_registered_dialect("builtin")
    return context


def level_of(module: ModuleOp) -> str:
    """Return the level that the operations of ``module`` belong to."""
    kinds = {"fastml.network": "fastml", "qflow.graph": "qflow", "func.func": "affine"}
    kinds["hw.module"] = "hw"
    found = {kinds[op.name] for op in module.ops if op.name in kinds}
    if len(found) != 1:
        what = "operations of several levels" if found else "no network, graph, function or module"
        raise FastmlError(f"{what} in one file", module, hint="one level a file")
    return found.pop()
