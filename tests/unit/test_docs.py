"""The pages for developers run, block after block."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastml.compiler.options import OPTIONS
from fastml.compiler.reader.registry import OPERATORS, load_operators
from fastml.compiler.support.diagnostics import ERROR_CODES, WARNING_CODES
from fastml.dialects.fastml import Fastml
from fastml.dialects.reference import ELEMENTWISE
from fastml.lowering import PASSES

ROOT = Path(__file__).parents[2]
PAGES = ("docs/write-an-operator.md", "docs/write-a-pass.md")


@pytest.fixture
def registries() -> Iterator[None]:
    """Take back what a page registers."""
    load_operators()  # what is loaded while a page runs would be taken back
    tables = (OPERATORS, ELEMENTWISE, PASSES)
    before = [dict(table) for table in tables]
    operations = list(Fastml.operations)
    yield
    for table, kept in zip(tables, before, strict=True):
        for key in set(table) - set(kept):
            del table[key]  # pyright: ignore[reportArgumentType]
    Fastml._operations[:] = operations  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(ROOT / page, tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(blocks) >= 4
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)


def test_architecture_names_what_exists():
    """The map speaks of real files and folders."""
    text = (ROOT / "docs/ARCHITECTURE.md").read_text()
    named = re.findall(
        r"`((?:compiler|dialects|lowering|runtime|tests|benchmarks|docs)/[^`]*)`", text
    )
    assert len(named) > 40
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_usage_names_every_option():
    text = "".join((ROOT / "docs" / page).read_text() for page in ("usage.md", "hls.md"))
    flags = {"-O" if name == "optimise" else f"--{name}" for name in OPTIONS}
    assert not [flag for flag in flags if not re.search(rf"{flag}(?![a-z-])", text)]


def test_usage_lists_every_code():
    rows = re.findall(
        r"^\| `(FML-[A-Z-]+)` \| (.*) \|$", (ROOT / "docs/usage.md").read_text(), re.M
    )
    assert dict(rows) == ERROR_CODES | WARNING_CODES
