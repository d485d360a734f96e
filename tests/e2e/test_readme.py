"""Every command and every block of Python in the pages for users works as written."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fastml.compiler.driver import main

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/usage.md")
LINKED = (
    *PAGES,
    *(f"docs/{page}.md" for page in ("hls", "folding", "streams", "images", "image-streams")),
    "CONTRIBUTING.md",
)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def commands_of(page: str) -> list[list[str]]:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if "fastmlc " in line]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that holds what the pages speak of, and work there."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_python(page: str, clone: Path):
    found = blocks(page, "python")
    assert found
    for block in found:
        exec(compile(block, page, "exec"), {})


def test_commands(
    clone: Path, capsys: pytest.CaptureFixture[str], require_tool: Callable[[str], str]
):
    require_tool("verilator")
    commands = [c for c in commands_of("README.md") if "build-hls" not in c]
    assert [c[1] for c in commands] == [
        *["compile", "report", "run", "verify"],
        *["compile", "report", "verify"],  # folded
        *["compile", "report", "verify"],  # images
    ]
    for command in commands:
        assert main(command[1:]) == 0
    printed = capsys.readouterr().out
    shown = re.findall(
        r"```\n((?:build|fastml,).*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert len(shown) == 4
    for line in "".join(shown).splitlines():
        assert line.split(", about")[0] in printed  # the estimate of area may move a little
    assert Path("build/logits.npy").exists()
    assert Path("build/tb/testbench.sv").exists()


@pytest.mark.parametrize("page", ["README.md", "docs/hls.md"])
def test_hls_commands(
    page: str,
    clone: Path,
    capsys: pytest.CaptureFixture[str],
    require_tool: Callable[[str], str],
):
    require_tool("g++")
    require_tool("ap_types")
    commands = [c for c in commands_of(page) if "build-hls" in c or page != "README.md"]
    assert {"compile", "verify"} <= {c[1] for c in commands}
    for command in commands:
        assert main(command[1:]) == 0
    printed = capsys.readouterr().out
    assert "fastml, affine, csim: 0 divergences in 1000 frames" in printed
    for block in blocks(page, "python") if page != "README.md" else []:
        exec(compile(block, page, "exec"), {})


def test_links_lead_somewhere():
    for page in LINKED:
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
        for anchor in re.findall(r"\]\(#([^)]+)\)", text):
            titles = re.findall(r"^#{2,3} (.+)$", text, re.MULTILINE)
            assert anchor in {t.lower().replace(" ", "-") for t in titles}, f"{page}: #{anchor}"
