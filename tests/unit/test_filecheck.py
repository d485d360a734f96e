"""Every lit test as a pytest test, so that one command runs all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "filecheck"
FILES = sorted(
    path.relative_to(FOLDER).as_posix()
    for path in FOLDER.rglob("*.mlir")
    if not {"Inputs", "Output"} & set(path.parts)
)


def test_there_are_lit_tests():
    assert FILES


@pytest.mark.parametrize("name", FILES)
def test_lit(name: str, tmp_path: Path):
    lit = Path(sys.executable).with_name("lit")  # `-m lit.main` would run nothing
    report = tmp_path / "report.json"
    run = subprocess.run(
        [str(lit), "-v", "-o", str(report), str(FOLDER / name)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (test,) = json.loads(report.read_text())["tests"]  # it ran one test, not none
    if test["code"] == "UNSUPPORTED":
        pytest.skip(test["output"].strip().splitlines()[-1])
    assert test["code"] == "PASS"
