"""``fastmlc run``: execute one level."""

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastml.compiler.commands.sources import add_source, open_source
from fastml.compiler.options import add_build_options, usage_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastml.compiler.design import Design
    from fastml.runtime.execute import Run
    from fastml.runtime.levels import Level


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
    parser.add_argument("--vcd", metavar="OUT.vcd", type=Path, help="write waves")
    parser.add_argument("--cycles", metavar="T.csv", type=Path, help="write frame,beat,cycle")
    parser.add_argument(
        "--stimulus",
        metavar="S.json",
        type=Path,
        help='such as {"gaps": [0, 3, ...], "idle": {"x": [0, 1, ...]}, "ready": {"y": [1, 0]}}',
    )
    parser.add_argument(
        "--load",
        metavar="W.npz",
        type=Path,
        help="load these weights first (--weights ram): integers, inputs x outputs, by edge",
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
    frames = len(next(iter((*found.outputs.values(), *found.raw.values()))))
    if args.cycles is not None:
        beats = max(len(found.cycles) // frames, 1)
        rows = [(*divmod(row, beats), cycle) for row, cycle in enumerate(found.cycles.tolist())]
        lines = ["{},{},{}\n".format(*row) for row in rows]
        write_atomically(args.cycles, "".join(["frame,beat,cycle\n", *lines]).encode())
    time = "" if found.latency is None else f", latency {found.latency} cycles, II {found.ii}"
    print(f"{level}: {frames} frames{time}")
    return 0


def _level(args: Namespace, design: "Design") -> str:
    if args.level is not None:
        return str(args.level)
    if len(design.levels) == 1 or args.source.suffix == ".mlir":
        return design.levels[0]
    raise usage_error("--level", "is missing", f"choose from {', '.join(design.levels)}")


def _execute(args: Namespace, design: "Design", level: str) -> "Run":
    from fastml.compiler.stimulus_file import read_stimulus
    from fastml.compiler.tensors import read_tensors
    from fastml.compiler.verification import PREDICTING
    from fastml.runtime.execute import execute, execute_raw

    opened = _open(args, design, level)
    protocol, predicted = opened.protocol, level in PREDICTING
    if args.stimulus is not None and predicted and "qflow" in design.levels:
        protocol = design.level("qflow").protocol
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
        given = read_stimulus(args.stimulus, frames, protocol, predicted=predicted)
        return execute_raw(opened, replace(given, beats=beats, loads=_loads(args)), taps)
    inputs = read_tensors(args.input, design.input_names_of(level))
    frames = len(next(iter(inputs.values()))) if inputs else 0
    given = read_stimulus(args.stimulus, frames, protocol, predicted=predicted)
    return execute(
        opened,
        inputs,
        gaps=given.gaps,
        idle=given.idle,
        ready=given.ready,
        loads=_loads(args),
        taps=taps,
        quantise_input=args.quantize_input,
    )


def _loads(args: Namespace) -> "dict[int, dict[str, NDArray[Any]]]":
    """Return the weights that are loaded before the first frame."""
    if args.load is None:
        return {}
    from fastml.compiler.tensors import read_arrays

    return {0: dict(read_arrays(args.load))}


def _open(args: Namespace, design: "Design", level: str) -> "Level":
    if args.vcd is None:
        return design.level(level)
    from fastml.compiler.waves import record

    return record(design, level, args.vcd)


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
