"""Faults in the IR file of one level: every one is found, or is shown to change nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mutation import LEVELS, MUTATORS, Mutant, mutants
from own_network import all_inputs, small_network
from qonnx_builder import write_model

import fastml
from fastml import Design
from fastml.compiler.modules import parse_module
from fastml.compiler.project import read_project
from fastml.compiler.support.diagnostics import FastmlError
from fastml.runtime.verify import Divergence

Note = Callable[[str, object], None]
CELLS = list(MUTATORS)
AGAINST = {"fastml": "qflow", "qflow": "hw", "affine": "qflow", "hw": "qflow"}
"""The sound level that a mutated one is verified against: one that knows its cycles, too."""
QUICK, ALL = 10, 110


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, whose inputs are few enough to try them all, built and written."""
    folder = tmp_path_factory.mktemp("mutants")
    network = small_network()
    write_model(network.model, folder / "small.onnx")
    design = fastml.compile(folder / "small.onnx", input_type=network.input_types, clock_ns=1.5)
    design.write(folder / "build")
    return folder / "build"


class Judge:
    """Verifies a mutated level against a sound one on every input there is."""

    def __init__(self, project: Path):
        self.texts = {level: (project / "ir" / f"{level}.mlir").read_text() for level in LEVELS}
        self.modules = {level: parse_module(self.texts[level], level) for level in LEVELS}
        self.inputs = all_inputs()

    def design(self, level: str, text: str) -> Design:
        """Return a design of which one level is other text."""
        modules = {**self.modules, level: parse_module(text, level)}
        sources = {name: lambda name=name: modules[name] for name in modules}
        return Design("mutant", sources, lower=False)

    def outcome(self, mutant: Mutant) -> str:
        """Return how the fault is found; `equivalent` if it has no effect at all.

        Equivalence is shown by exhaustion: on each of the 4,096 inputs, back to back and with
        gaps after a reset, every edge carries the same integers in the same cycles, and
        the stated times and the model's outputs are the same.
        """
        try:
            design = self.design(mutant.level, mutant.text)
            levels = sorted((mutant.level, AGAINST[mutant.level]), key=LEVELS.index)
            found = design.verify(self.inputs, levels=levels)
        except FastmlError:
            return "refused"
        except Divergence:
            return "diverging"
        assert found.frames == 1 << 12
        return "equivalent"


@pytest.fixture(scope="module")
def judge(project: Path) -> Judge:
    return Judge(project)


def check_cell(judge: Judge, level: str, kind: str, count: int, note: Note) -> None:
    drawn = mutants(level, kind, judge.texts[level], count, seed=0)
    assert len(drawn) == count
    outcomes = [judge.outcome(mutant) for mutant in drawn]
    counts = {name: outcomes.count(name) for name in ("refused", "diverging", "equivalent")}
    note(f"mutants {level} {kind}", {"mutants": count, **counts})
    assert sum(counts.values()) == count
    alike = [m.what for m, outcome in zip(drawn, outcomes, strict=True) if outcome == "equivalent"]
    assert len(alike) <= count // 2, alike


def test_every_kind_has_mutants_at_every_level() -> None:
    missing = {(level, kind) for level in LEVELS for kind in ("constant", "width", "schedule")}
    missing |= {(level, "register") for level in LEVELS if level != "fastml"}
    assert missing == set(CELLS)


def test_without_a_fault_all_levels_agree(judge: Judge) -> None:
    design = judge.design("hw", judge.texts["hw"])
    verification = design.verify(judge.inputs, levels=LEVELS)
    assert verification.frames == 1 << 12
    assert verification.coverage.toggled > 0.95 * verification.coverage.bits


@pytest.mark.parametrize(("level", "kind"), CELLS)
def test_some_mutants(judge: Judge, level: str, kind: str, record_property: Note) -> None:
    check_cell(judge, level, kind, QUICK, record_property)


@pytest.mark.full
@pytest.mark.parametrize(("level", "kind"), CELLS)
def test_all_mutants(judge: Judge, level: str, kind: str, record_property: Note) -> None:
    check_cell(judge, level, kind, ALL, record_property)


@pytest.mark.parametrize("level", LEVELS)
def test_a_fault_in_one_file_is_seen_at_that_level_only(
    level: str, project: Path, judge: Judge, tmp_path: Path
) -> None:
    """Each level executes its own file and nothing else."""
    sound = read_project(project)
    before = {name: sound.simulate(judge.inputs, name) for name in LEVELS}
    drawn = mutants(level, "constant", judge.texts[level], 60, seed=1)
    found = 0
    for mutant in drawn:
        if judge.outcome(mutant) != "diverging":
            continue
        folder = tmp_path / f"mutant{found}"
        shutil.copytree(project, folder)
        (folder / "ir" / f"{level}.mlir").write_text(mutant.text)
        design = read_project(folder)
        for name in LEVELS:
            if name != level:
                run = design.simulate(judge.inputs, name)
                for output, values in before[name].outputs.items():
                    np.testing.assert_array_equal(run.outputs[output], values)
                np.testing.assert_array_equal(run.cycles, before[name].cycles)
        with pytest.raises(Divergence, match=level):
            design.verify(judge.inputs, levels=LEVELS)
        found += 1
        if found == 3:
            return
    pytest.fail("too few of the mutants change what is computed")
