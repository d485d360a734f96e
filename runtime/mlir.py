"""The upstream tools ``mlir-opt`` and ``mlir-cpu-runner``: a referee from outside.

They share nothing with us but the text of the IR. :func:`roundtrip` has them parse, verify
and print a module; :func:`run` lowers one to LLVM with upstream passes and executes it.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from xdsl.dialects import func, memref
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.runtime.affine import Port, check_beats, ports_of, top_function
from fastml.runtime.trace import Integers, pack, unpack

VERSIONS = range(22, 16, -1)
OPTIMISER = ("mlir-opt", *(f"mlir-opt-{n}" for n in VERSIONS))
RUNNER = (
    *("mlir-runner", "mlir-cpu-runner"),
    *(f"{name}-{n}" for n in VERSIONS for name in ("mlir-runner", "mlir-cpu-runner")),
)
TO_LLVM = (
    "--lower-affine",
    "--convert-scf-to-cf",
    "--expand-strided-metadata",
    "--finalize-memref-to-llvm",
    "--convert-arith-to-llvm",
    "--convert-index-to-llvm",
    "--convert-cf-to-llvm",
    "--convert-func-to-llvm=use-bare-ptr-memref-call-conv=1",
    "--reconcile-unrealized-casts",
)
"""Upstream passes from the affine level to the LLVM dialect."""

HARNESS = "fastml_main"
"""Name of the function that feeds the design, frame by frame."""


def find(names: Sequence[str]) -> str | None:
    """Return the first of the commands that is installed."""
    return next(filter(None, map(shutil.which, names)), None)


def is_available() -> bool:
    """Tell if both tools are installed."""
    return find(OPTIMISER) is not None and find(RUNNER) is not None


def roundtrip(text: str, *, generic: bool = False) -> str:
    """Have ``mlir-opt`` parse, verify and print ``text``, in its custom or generic form."""
    form = ["--mlir-print-op-generic"] if generic else []
    return _execute(OPTIMISER, form, text.encode()).decode()


def run(module: ModuleOp, beats: Mapping[str, Integers]) -> dict[str, Integers]:
    """Execute the top function on every frame of ``beats``; return its outputs, by port.

    The design is compiled by LLVM without optimisation and called in a loop over frames.
    """
    top = top_function(module)
    ports = ports_of(top)
    count = check_beats(ports, beats, top)
    text = with_harness(module, beats, count)
    with TemporaryDirectory() as folder:
        lowered = Path(folder) / "lowered.mlir"
        lowered.write_bytes(_execute(OPTIMISER, TO_LLVM, text.encode()))
        options = [str(lowered), "-O0", "-e", HARNESS, "--entry-point-result=void"]
        raw = _execute(RUNNER, options)
    outputs = [port for port in ports if port.is_output]
    if len(raw) != 8 * count * sum(_words_per_frame(port) for port in outputs):
        raise FastmlError(f"{len(raw)} bytes of output", in_file(RUNNER[0]), code="FML-TOOL")
    words = np.frombuffer(raw, "<u8")
    results: dict[str, Integers] = {}
    for port in outputs:
        size = count * _words_per_frame(port)
        results[port.port] = _elements(port, words[:size].reshape(count, -1))
        words = words[size:]
    return results


def _execute(names: Sequence[str], options: Sequence[str], text: bytes = b"") -> bytes:
    """Run a tool on ``text``; raise :class:`FastmlError` with what it says if it fails."""
    tool = find(names)
    if tool is None:
        raise FastmlError("is not installed", in_file(names[0]), code="FML-TOOL")
    done = subprocess.run([tool, *options], input=text, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[0] if said else f"exit status {done.returncode}"
        raise FastmlError(reason, in_file(Path(tool).name), code="FML-TOOL")
    return done.stdout


def _container(port: Port) -> int:
    """Return the width of the elements of a port's memref."""
    return max(1, port.elements.container[0])


def _words(port: Port) -> int:
    """Return how many words of 64 bits one element takes in the harness."""
    return -(-_container(port) // 64)


def _words_per_frame(port: Port) -> int:
    return len(port.elements) * _words(port)


def _elements(port: Port, words: Integers) -> Integers:
    """Return the elements of a port, of which each frame is a row of words."""
    count = len(port.elements)
    widths = [64 * _words(port)] * count
    frames = [int.from_bytes(row.tobytes(), "little") for row in words]
    containers = unpack(frames, widths, [False] * count)
    own: list[Integers] = []
    for k, (width, signed) in enumerate(
        zip(port.elements.widths, port.elements.signed, strict=True)
    ):
        own.append(unpack(pack(containers[:, k : k + 1], [width]), [width], [signed])[:, 0])
    return np.stack(own, axis=1) if own else containers


def _data(port: Port, values: Integers) -> str:
    """Return the beats of a port as the hexadecimal literal of a dense attribute."""
    width = 64 * _words(port)
    frames = pack(values, [width] * len(port.elements))
    size = width * len(port.elements) // 8
    return "0x" + b"".join(frame.to_bytes(size, "little") for frame in frames).hex()


def with_harness(module: ModuleOp, beats: Mapping[str, Integers], frames: int) -> str:
    """Return ``module`` as text, with a function that runs it on ``beats``.

    The harness writes the outputs to the standard output, as words of 64 bits.
    """
    top = top_function(module)
    ports = ports_of(top)
    design = [str(op) for op in module.ops if isinstance(op, func.FuncOp | memref.GlobalOp)]
    constants: list[str] = []
    before: list[str] = []
    feed: list[str] = []
    collect: list[str] = []
    after: list[str] = []
    for n, port in enumerate(ports):
        type_ = f"memref<{len(port.elements)}xi{_container(port)}>"
        words = f"memref<{frames}x{len(port.elements)}x{_words(port)}xi64>"
        before.append(f"%p{n} = memref.alloc() : {type_}")
        if port.is_output:
            before.append(f"%w{n} = memref.alloc() : {words}")
            collect += _loop(n, port, _unpacked(n, port, type_, words))
            after += _write(n, words, 8 * frames * _words_per_frame(port))
        else:
            constants.append(
                f'memref.global "private" constant @fastml_beats_{n} : {words} = '
                f'dense<"{_data(port, beats[port.port])}">'
            )
            before.append(f"%w{n} = memref.get_global @fastml_beats_{n} : {words}")
            feed += _loop(n, port, _packed(n, port, type_, words))
    arguments = ", ".join(f"%p{n}" for n in range(len(ports)))
    types = ", ".join(f"{argument.type}" for argument in top.args)
    call = f"func.call @{top.sym_name.data}({arguments}) : ({types}) -> ()"
    lines = [
        *design,
        *constants,
        "func.func private @write(i32, !llvm.ptr, i64) -> i64",
        f"func.func @{HARNESS}() {{",
        "%stdout = arith.constant 1 : i32",
        *before,
        f"affine.for %f = 0 to {frames} {{",
        *feed,
        call,
        *collect,
        "}",
        *after,
        "func.return",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _loop(n: int, port: Port, body: Sequence[str]) -> list[str]:
    return [f"affine.for %e{n} = 0 to {len(port.elements)} {{", *body, "}"]


def _packed(n: int, port: Port, type_: str, words: str) -> list[str]:
    """Build an element of an input from its words."""
    container, count = _container(port), _words(port)
    wide = f"i{64 * count}"
    lines: list[str] = []
    for k in range(count):
        lines.append(f"%l{n}_{k} = affine.load %w{n}[%f, %e{n}, {k}] : {words}")
    value = f"%l{n}_0"
    if count > 1:
        lines.append(f"%v{n}_0 = arith.extui %l{n}_0 : i64 to {wide}")
        for k in range(1, count):
            lines += [
                f"%x{n}_{k} = arith.extui %l{n}_{k} : i64 to {wide}",
                f"%s{n}_{k} = arith.constant {64 * k} : {wide}",
                f"%h{n}_{k} = arith.shli %x{n}_{k}, %s{n}_{k} : {wide}",
                f"%v{n}_{k} = arith.ori %v{n}_{k - 1}, %h{n}_{k} : {wide}",
            ]
        value = f"%v{n}_{count - 1}"
    if container < 64 * count:
        lines.append(f"%t{n} = arith.trunci {value} : {wide} to i{container}")
        value = f"%t{n}"
    return [*lines, f"affine.store {value}, %p{n}[%e{n}] : {type_}"]


def _unpacked(n: int, port: Port, type_: str, words: str) -> list[str]:
    """Split an element of an output into words."""
    container, count = _container(port), _words(port)
    wide = f"i{64 * count}"
    lines = [f"%l{n} = affine.load %p{n}[%e{n}] : {type_}"]
    value = f"%l{n}"
    if container < 64 * count:
        lines.append(f"%x{n} = arith.extsi {value} : i{container} to {wide}")
        value = f"%x{n}"
    for k in range(count):
        word = value
        if count > 1:
            lines += [
                f"%s{n}_{k} = arith.constant {64 * k} : {wide}",
                f"%h{n}_{k} = arith.shrui {value}, %s{n}_{k} : {wide}",
                f"%t{n}_{k} = arith.trunci %h{n}_{k} : {wide} to i64",
            ]
            word = f"%t{n}_{k}"
        lines.append(f"affine.store {word}, %w{n}[%f, %e{n}, {k}] : {words}")
    return lines


def _write(n: int, words: str, size: int) -> list[str]:
    """Write a memref's bytes to the standard output, through the C library."""
    return [
        f"%a{n} = memref.extract_aligned_pointer_as_index %w{n} : {words} -> index",
        f"%i{n} = arith.index_cast %a{n} : index to i64",
        f"%q{n} = llvm.inttoptr %i{n} : i64 to !llvm.ptr",
        f"%z{n} = arith.constant {size} : i64",
        f"%r{n} = func.call @write(%stdout, %q{n}, %z{n}) : (i32, !llvm.ptr, i64) -> i64",
    ]
