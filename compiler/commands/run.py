"""``fastmlc run``: execute one level."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastml.compiler.commands.sources import add_source, open_source
from fastml.compiler.options import add_build_options, as_list, as_table, usage_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastml.compiler.design import Design
    from fastml.runtime.execute import Run


MAX_GAP = 1 << 20
"""Longest gap, so that a stimulus cannot exhaust memory."""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    add_source(parser)
    parser.add_argument(
        "--level",
        metavar="LEVEL",
        help="fastml, qflow, affine, hw, rtl or csim (an IR file: its own)",
    )
    parser.add_argument("--input", metavar="X", type=Path, required=True, help=".npy or .npz")
    parser.add_argument("--output", metavar="Y", type=Path, help=".npy or .npz")
    parser.add_argument("--raw", action="store_true", help="write the hardware's integers")
    parser.add_argument(
        "--tap", metavar="NAME", action="extend", nargs="+", default=[], help="also write this edge"
    )
    parser.add_argument("--cycles", metavar="T.csv", type=Path, help="write frame,beat,cycle")
    parser.add_argument(
        "--stimulus", metavar="S.json", type=Path, help='such as {"gaps": [0, 3, ...]}'
    )
    parser.add_argument(
        "--quantize-input",
        "--quantise-input",
        action="store_true",
        help="round and saturate inputs that are not on their grid",
    )
    add_build_options(parser)


def run(args: Namespace) -> int:
    """Execute, write what was asked for, and say what happened."""
    design = open_source(args)
    from fastml.compiler.support.diagnostics import printable
    from fastml.compiler.tensors import check_output, write_atomically, write_tensors

    if args.output is not None:
        check_output(args.output)
    level = _level(args, design)
    found = _execute(args, design, level)
    design.runner.report()
    if args.output is not None:
        for path, tensors in _outputs(args, found).items():
            write_tensors(path, tensors)
            print(printable(f"{path}: {', '.join(f'{n} {t.shape}' for n, t in tensors.items())}"))
    if args.cycles is not None:
        lines = [f"{frame},0,{cycle}\n" for frame, cycle in enumerate(found.cycles.tolist())]
        write_atomically(args.cycles, "".join(["frame,beat,cycle\n", *lines]).encode())
    frames = len(next(iter((*found.outputs.values(), *found.raw.values()))))
    time = "" if found.latency is None else f", latency {found.latency} cycles, II {found.ii}"
    print(f"{level}: {frames} frames{time}")
    return 0


def _level(args: Namespace, design: "Design") -> str:
    if args.level is not None:
        return str(args.level)
    if len(design.levels) == 1:
        return design.levels[0]
    raise usage_error("--level", "is missing", f"choose from {', '.join(design.levels)}")


def _execute(args: Namespace, design: "Design", level: str) -> "Run":
    from fastml.compiler.tensors import read_tensors
    from fastml.runtime.execute import execute, execute_raw

    opened = design.level(level)
    taps = list(dict.fromkeys(args.tap))
    if level == "fastml" and args.cycles is not None and opened.time is None:
        design.schedule()
    if level != "fastml" and opened.host is None:
        if not args.raw:
            raise usage_error(
                str(args.source),
                "carries no 'fastml.interface', so its integers stand for no real numbers",
                "use --raw, which then takes and gives integers",
            )
        beats = _raw_beats(read_tensors(args.input, _input_edges(design, level)))
        frames = len(next(iter(beats.values())))
        return execute_raw(opened, beats, _gaps(args, frames), taps)
    inputs = read_tensors(args.input, design.input_names_of(level))
    frames = len(next(iter(inputs.values()))) if inputs else 0
    return execute(
        opened,
        inputs,
        gaps=_gaps(args, frames),
        taps=taps,
        quantise_input=args.quantize_input,
    )


def _input_edges(design: "Design", level: str) -> list[str]:
    return design.level(level).input_edges


def _raw_beats(tensors: "dict[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
    from fastml.runtime.trace import narrow

    beats = dict[str, Any]()
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "iu" or tensor.ndim < 1:
            raise usage_error(f"input '{name}'", "must hold integers, a row for each frame")
        beats[name] = narrow(tensor.astype(object).reshape(len(tensor), -1))
    return beats


def _gaps(args: Namespace, frames: int) -> "NDArray[np.int64]":
    """Return the idle cycles before each frame that a stimulus file asks for."""
    import numpy as np

    if args.stimulus is None:
        return np.zeros(frames, np.int64)
    from fastml.compiler.project import read_json

    table = as_table(read_json(args.stimulus), str(args.stimulus))
    unknown = [key for key in table if key not in ("gaps", "stalls")]
    if unknown:
        raise usage_error(str(args.stimulus), f"unknown key '{unknown[0]}'", code="FML-STIMULUS")
    if table.get("stalls"):
        raise usage_error(
            str(args.stimulus),
            "a port of protocol 'pulse' cannot be stalled",
            "leave 'stalls' out",
            "FML-STIMULUS",
        )
    gaps = as_list(table.get("gaps", [0] * frames))
    good = all(type(gap) is int and 0 <= gap <= MAX_GAP for gap in gaps)
    if not good or len(gaps) != frames:
        raise usage_error(
            str(args.stimulus),
            f"'gaps' must be {frames} numbers of cycles, one before each frame",
            code="FML-STIMULUS",
        )
    return np.array(gaps, dtype=np.int64)


def _outputs(args: Namespace, found: "Run") -> "dict[Path, dict[str, NDArray[Any]]]":
    """Return the tensors of each file: taps go with the outputs, into an .npz."""
    path: Path = args.output
    values = found.raw if args.raw else found.outputs
    taps = found.raw_tap if args.raw else found.tap
    if args.raw and not values:
        raise usage_error(
            "--raw",
            "the network's outputs are real numbers: the host computes them",
            "tap the edge before, or run a lower level",
        )
    if not taps:
        return {path: values}
    everything = {**values, **taps}
    if path.suffix == ".npz":
        return {path: everything}
    return {path: values, path.with_suffix(".npz"): everything}
