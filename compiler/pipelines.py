"""Named pipelines: which passes lead from each level to the next, in order.

This table is the whole compiler in one view; everything else only runs it.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import PassPipeline

from fastml.compiler.instrumentation import Instrumentation
from fastml.compiler.options import BuildOptions
from fastml.compiler.plugins import load_plugins
from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import DIALECTS, EXTENDED
from fastml.lowering import PASSES

PIPELINES: dict[str, str] = {
    # level:  passes that make it from the level before it (the first from what is imported)
    "fastml": "infer-grids",
    "qflow": "fastml-to-qflow, qflow-solve{{budget={budget}}}, "
    "qflow-schedule{{clock-ns={clock_ns}}}",
    "affine": "qflow-to-affine, check-schedule",
    "hw": "affine-to-hw",
}
"""Level to the passes that reach it; options of the build stand in braces."""

BUDGETS = (0, 1, 2, 8)
"""What each optimisation level, -O0 to -O3, lets a solver spend on a matrix."""
LEVELS = tuple(PIPELINES)
"""The levels of the IR, in order of lowering."""
LARGE = ("affine", "hw")
"""Levels that have an operation for each adder."""


def passes_to(level: str, options: BuildOptions) -> str:
    """Return the textual pipeline to ``level`` from the level before it."""
    text = PIPELINES[level].format(clock_ns=options.clock_ns, budget=BUDGETS[options.optimise])
    return ",".join(part.strip() for part in text.split(", "))


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
