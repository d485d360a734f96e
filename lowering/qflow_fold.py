"""Decide how each dense stage is built: parallel, or folded by a reuse factor."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.qflow import FoldedAttr, ParallelAttr
from fastml.dialects.qflow_folded import Products
from fastml.lowering.folding import Layer
from fastml.lowering.folding_body import WORD
from fastml.lowering.folding_cost import choose_plan

MULTIPLIERS = {"auto": None, "dsp": Products.MULTIPLIER, "logic": Products.SHIFT_ADD}
"""What multiplies, by what an option says."""


@dataclass(frozen=True)
class QflowFold(ModulePass):
    """Fold every dense stage; each takes a beat every ``reuse`` cycles, at 1 it is parallel.

    A stage that has a plan keeps it; one that has only a reuse factor gets a plan.
    """

    name = "qflow-fold"

    reuse: int | None = None
    """Reuse factor of the dense stages that nothing else is said of; parallel by default."""

    reuse_of: tuple[str, ...] = ()
    """Reuse factors by edge: ``"edge=8", "other=64"``."""

    multipliers: str = "auto"
    """``auto``: whatever costs less; ``dsp``: multipliers; ``logic``: shifts and additions."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Decide for every dense stage."""
        if self.multipliers not in MULTIPLIERS:
            raise FastmlError(
                f"unknown multipliers '{self.multipliers}'",
                op,
                code="FML-OPTION",
                hint=f"one of {', '.join(MULTIPLIERS)}",
            )
        stages = [stage for stage in op.walk() if isinstance(stage, qflow.DenseOp)]
        given = self._given(op, {stage.edge.data for stage in stages})
        for stage in stages:
            self._decide(stage, given.get(stage.edge.data))

    def _given(self, op: ModuleOp, edges: set[str]) -> Mapping[str, int]:
        """Read the reuse factors by edge."""
        factors = dict[str, int]()
        for entry in self.reuse_of:
            edge, sign, number = entry.rpartition("=")
            if not sign or not number.isdecimal():
                raise FastmlError(
                    f"'{entry}' is not an edge and a reuse factor", op, code="FML-OPTION"
                )
            if edge not in edges:
                raise FastmlError(
                    f"no dense stage makes edge '{edge}'",
                    op,
                    code="FML-OPTION",
                    hint=f"they make {', '.join(sorted(edges))}",
                )
            factors[edge] = int(number)
        if min(1 if self.reuse is None else self.reuse, *factors.values(), 1) < 1:
            raise FastmlError("a reuse factor is 1 or more", op, code="FML-OPTION")
        return factors

    def _decide(self, stage: qflow.DenseOp, given: int | None) -> None:
        own = stage.architecture
        if given is None and isinstance(own, FoldedAttr) and own.planned:
            return
        reuse = given
        if reuse is None:
            reuse = own.reuse.data if isinstance(own, FoldedAttr) else self.reuse or 1
            reuse = 1 if isinstance(own, ParallelAttr) else reuse
        if reuse == 1 or not len(stage.channel):
            stage.architecture = ParallelAttr()
            return
        fold_stage(stage, reuse, MULTIPLIERS[self.multipliers])


def fold_stage(stage: qflow.DenseOp, reuse: int, products: Products | None = None) -> None:
    """Give a dense stage the cheapest plan of a reuse factor."""
    layer = Layer.of(stage)
    for what, values in (("weight", layer.matrix), ("bias", layer.bias)):
        limit = 1 << (WORD - 2)
        if np.any(values >= limit) or np.any(values <= -limit):
            raise FastmlError(
                f"edge '{stage.edge.data}' has a {what} of more than {WORD - 2} bits, which a "
                "constant memory does not hold",
                stage,
                code="FML-WIDTH",
                hint="leave the stage parallel",
            )
    stage.architecture, _ = choose_plan(layer, reuse, products)
    stage.graph = stage.node_cycles = stage.cycles = None
