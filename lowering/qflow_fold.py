"""Decide how each dense stage is built: parallel, or folded by a reuse factor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, NameLoc
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import qflow
from fastml.dialects.qflow import FoldedAttr, ParallelAttr
from fastml.dialects.qflow_folded import Products
from fastml.lowering.folding import Layer
from fastml.lowering.folding_body import WORD
from fastml.lowering.folding_cost import choose_plan

_MULTIPLIERS = {"auto": None, "dsp": Products.MULTIPLIER, "logic": Products.SHIFT_ADD}
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
    """Reuse factors by edge, or node of the model, or ``*`` for all: ``"edge=8", "*=64"``."""

    multipliers: str = "auto"
    """``auto``: whatever costs less; ``dsp``: multipliers; ``logic``: shifts and additions."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Decide for every dense stage."""
        products = products_of(self.multipliers, op)
        stages = [stage for stage in op.walk() if isinstance(stage, qflow.DenseOp)]
        graphs = [graph for graph in op.walk() if isinstance(graph, qflow.GraphOp)]
        given = self._given(graphs[0] if graphs else op, stages)
        for stage in stages:
            self._decide(stage, given.get(stage), products)

    def _given(self, op: Operation, stages: Sequence[qflow.DenseOp]) -> Mapping[qflow.DenseOp, int]:
        """Read the reuse factors of single stages: of the edge, else of the node, else of all."""
        factors = dict[str, int]()
        known = {name for stage in stages for name in _names(stage)}
        for entry in self.reuse_of:
            name, sign, number = entry.rpartition("=")
            if not sign or not number.isdecimal():
                raise FastmlError(
                    f"'{entry}' is not a name and a reuse factor", op, code="FML-OPTION"
                )
            if name not in known:
                layers = (" of node ".join(f"'{n}'" for n in _names(s)[:-1]) for s in stages)
                raise FastmlError(
                    f"no dense layer has an edge or node '{name}'",
                    op,
                    code="FML-OPTION",
                    hint=f"there are {', '.join(layers)}" if stages else "there is none",
                )
            factors[name] = int(number)
        if min(1 if self.reuse is None else self.reuse, *factors.values(), 1) < 1:
            raise FastmlError("a reuse factor is 1 or more", op, code="FML-OPTION")
        found = {stage: [n for n in _names(stage) if n in factors] for stage in stages}
        return {stage: factors[names[0]] for stage, names in found.items() if names}

    def _check_loadable(self, stage: qflow.DenseOp, reuse: int) -> None:
        edge = stage.edge.data
        if reuse == 1:
            raise FastmlError(
                f"the weights of '{edge}' are to be loaded, but it is not folded",
                stage,
                code="FML-OPTION",
                hint="give a reuse factor of 2 or more",
            )
        if self.multipliers == "logic":
            raise FastmlError(
                f"the weights of '{edge}' are to be loaded: only multipliers can do that",
                stage,
                code="FML-OPTION",
                hint="leave out '--multipliers logic'",
            )

    def _decide(self, stage: qflow.DenseOp, given: int | None, products: Products | None) -> None:
        own = stage.architecture
        if given is None and isinstance(own, FoldedAttr) and own.planned:
            return
        reuse = given
        if reuse is None:
            reuse = own.reuse.data if isinstance(own, FoldedAttr) else self.reuse or 1
            reuse = 1 if isinstance(own, ParallelAttr) else reuse
        if stage.loadable is not None:
            self._check_loadable(stage, reuse)
        if reuse == 1 or not len(stage.channel):
            stage.architecture = ParallelAttr()
            return
        fold_stage(stage, reuse, products)


def _names(stage: qflow.DenseOp) -> list[str]:
    """Return what a stage is called in options: its edge, the node it is from, and ``*``."""
    location, node = stage.location, list[str]()
    if isinstance(location, NameLoc):
        node = [location.desc.data]
    return [stage.edge.data, *node, "*"]


def products_of(multipliers: str, at: Operation) -> Products | None:
    """Return what an option lets multiply, ``None`` for whatever is cheaper; refuse others."""
    if multipliers not in _MULTIPLIERS:
        raise FastmlError(
            f"unknown multipliers '{multipliers}'",
            at,
            code="FML-OPTION",
            hint=f"one of {', '.join(_MULTIPLIERS)}",
        )
    return _MULTIPLIERS[multipliers]


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
