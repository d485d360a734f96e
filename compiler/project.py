"""The folder that a build leaves: written whole or not at all, and read back.

::

    manifest.json          ports, bit slices, protocol, II, latency, host programs
    report.json            latency, area, layers
    ir/LEVEL.mlir          the IR of every level, as it was executed
    ir/constants.npz       its large constants
    rtl/MODULE.sv          SystemVerilog
    tb/                    a self-checking testbench with vectors
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.contract import check_area
from fastml.compiler.hls import FOLDER as HLS
from fastml.compiler.hls import STATUS, describe_hls, read_hls
from fastml.compiler.manifest import build_manifest, host_from, pinout_from
from fastml.compiler.modules import SIDECAR, read_module, read_text, render_module
from fastml.compiler.options import BuildOptions
from fastml.compiler.pipelines import LEVELS
from fastml.compiler.report import build_report
from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.compiler.tensors import save_arrays
from fastml.compiler.testbenches import testbench_of
from fastml.runtime.clocked_levels import RtlLevel

if TYPE_CHECKING:
    from fastml.compiler.design import Design

MANIFEST = "manifest.json"
REPORT = "report.json"
MAX_JSON_BYTES = 1 << 28
EMIT = (*LEVELS, "sv", "hls")
"""What a build can go down to."""


def write_project(design: "Design", folder: Path, emit: str = "sv") -> None:
    """Write the project of ``design`` down to ``emit``; replace an earlier project.

    Everything is computed before the first file is written, and the folder takes its name
    when it is complete.
    """
    if emit not in EMIT:
        raise FastmlError(
            f"'{emit}' cannot be emitted",
            in_file("--emit"),
            code="FML-USAGE",
            hint=f"choose from {', '.join(EMIT)}",
        )
    check_target(folder)
    files = render_project(design, emit)
    design.runner.lap("(render)")
    place_folder(folder, files)
    design.runner.lap("(write)")


def render_project(design: "Design", emit: str) -> dict[str, bytes]:
    """Return the content of every file by its path in the project."""
    last = "affine" if emit == "hls" else emit
    levels = LEVELS[: EMIT.index(last) + 1]
    if len(levels) > 1:
        design.schedule()  # which the network's text tells
    blobs = dict[str, NDArray[np.generic]]()
    files = dict[str, bytes]()
    for level in levels:
        if level != LEVELS[0]:
            design.advance(level)
        module = design.module(level)
        files[f"ir/{level}.mlir"] = render_module(module, blobs).encode()
        design.runner.lap(f"(print {level})")
    if emit == "sv":
        for name, text in design.rtl.files.items():
            files[f"rtl/{name}"] = text.encode()
        files |= {f"tb/{name}": text.encode() for name, text in testbench_of(design).items()}
    if emit == "hls":
        from fastml.compiler.emit.hls.project_files import render_hls

        files |= {f"{HLS}/{name}": content for name, content in render_hls(design).items()}
    if blobs:
        archive = BytesIO()
        save_arrays(archive, dict(sorted(blobs.items())))
        files[f"ir/{SIDECAR}"] = archive.getvalue()
    if len(levels) > 1:
        pinout = design.rtl.pinout if emit == "sv" else None
        names = [name.removeprefix("rtl/") for name in files if name.startswith("rtl/")]
        manifest = build_manifest(design, pinout, names)
        report = build_report(design, area="hw" in levels)
        check_area(design.graph, report["area"], design.options)
        if emit == "hls":
            manifest["hls"] = describe_hls(design.csim.design)
            report["hls"] = {"flavour": design.options.hls, "status": STATUS}
        files[MANIFEST] = render_json(manifest)
        files[REPORT] = render_json(report)
    return files


def render_json(value: Mapping[str, Any]) -> bytes:
    """Return a JSON file of the project."""
    return (json.dumps(value, indent=1, ensure_ascii=True) + "\n").encode()


def check_target(folder: Path) -> None:
    """Refuse a folder that holds something else than an earlier project."""
    location = in_file(str(folder))
    if not folder.absolute().parent.is_dir():
        raise FastmlError("its parent folder does not exist", location, code="FML-USAGE")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FastmlError("exists and is not a folder", location, code="FML-USAGE")
    if folder.is_dir() and any(folder.iterdir()) and not is_project(folder):
        raise FastmlError(
            "is not empty and not a project",
            location,
            code="FML-USAGE",
            hint="choose a new folder",
        )


def is_project(folder: Path) -> bool:
    """Return whether a build wrote this folder."""
    return (folder / MANIFEST).is_file() or (folder / "ir" / f"{LEVELS[0]}.mlir").is_file()


def place_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Let ``folder`` appear with ``files`` in one step, in place of what was there."""
    target = folder.absolute()
    partial = target.with_name(f".{target.name}.{os.getpid()}.new")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        for name, content in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        reason = error.strerror or str(error)
        raise FastmlError(
            f"cannot be written: {reason}", in_file(str(folder)), code="FML-FILE"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def read_project(folder: Path, options: BuildOptions | None = None) -> "Design":
    """Return the design of a project; each level executes its own file and nothing else."""
    from fastml.compiler.design import Design

    if not is_project(folder):
        raise FastmlError(
            "is not a project",
            in_file(str(folder)),
            code="FML-FILE",
            hint="make one with: fastmlc compile MODEL -o DIR",
        )

    def reader(path: Path) -> Callable[[], ModuleOp]:
        return lambda: read_module(path)

    paths = {level: folder / "ir" / f"{level}.mlir" for level in LEVELS}
    sources = {level: reader(path) for level, path in paths.items() if path.is_file()}
    has_rtl = (folder / "rtl").is_dir()
    has_hls = (folder / HLS).is_dir()
    given = options or BuildOptions()
    return Design(
        folder.name,
        sources,
        given,
        csim=(lambda: read_hls(folder, given)) if has_hls else None,
        rtl=(lambda: read_rtl(folder)) if has_rtl else None,
        lower=False,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of the project."""
    text = read_text(path, MAX_JSON_BYTES)
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FastmlError(f"malformed: {error}", in_file(str(path)), code="FML-FILE") from error
    if not isinstance(value, dict):
        raise FastmlError("is not a table", in_file(str(path)), code="FML-FILE")
    return cast(dict[str, Any], value)


def read_rtl(folder: Path) -> RtlLevel:
    """Return the SystemVerilog of a project; what its testbench needs is in the manifest."""
    path = folder / MANIFEST
    manifest = read_json(path)
    try:
        pinout = pinout_from(manifest)
        host = host_from(manifest)
        names = [str(name) for name in manifest["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise FastmlError(f"malformed: {error!r}", in_file(str(path)), code="FML-FILE") from error
    files = dict[str, str]()
    for name in names:
        if Path(name).name != name:
            raise FastmlError(f"'{name}' is outside rtl/", in_file(str(path)), code="FML-FILE")
        files[name] = read_text(folder / "rtl" / name, MAX_JSON_BYTES)
    return RtlLevel(files, pinout, host)
