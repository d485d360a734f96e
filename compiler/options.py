"""Build options: one record, from the command line, a configuration file or Python.

Every source of options ends in :func:`resolve`, so that none of them can mean something
else, and whatever is not known or not built yet is an error.
"""

import difflib
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from fastml.compiler.support.diagnostics import FastmlError, in_file


@dataclass(frozen=True)
class BuildOptions:
    """What a build may be told; the defaults ask for a parallel design."""

    input_type: Mapping[str, str] = field(default_factory=dict[str, str])
    """Type of a model input by name, where the model does not say it itself."""
    precision: str | None = None
    """Fixed-point type of every input, weight and layer of a model of real numbers."""
    precision_of: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other such types, by edge; of a layer's constants by ``edge.weight``, ``edge.bias``."""
    clock_ns: float = 5.0
    """Clock period that registers are placed for; 0 makes a combinational design."""
    io: str = "parallel"
    """``parallel``: one static pipeline; ``stream``: processes between valid/ready FIFOs."""
    reuse: int | None = None
    """How often each multiplier of a layer is used: the cycles between two frames."""
    reuse_of: Mapping[str, int] = field(default_factory=dict[str, int])
    """Reuse factor of single layers, by edge or node; ``*`` stands for every dense layer."""
    multipliers: str = "auto"
    """``auto``: whatever is cheaper; ``dsp``: hardware multipliers; ``logic``: none of them."""
    weights: str = "rom"
    """``rom``: constants; ``ram``: folded layers have ports by which others are loaded."""
    latency_cycles: int | None = None
    """Contract: most cycles from a frame's input to its output."""
    ii: int | None = None
    """Contract: most cycles between two frames."""
    max_dsp: int | None = None
    """Contract: most hardware multipliers."""
    max_bram: int | None = None
    """Contract: most block memories of 18 kbit."""
    max_lut: int | None = None
    """Contract: most look-up tables, as estimated."""
    input_beats: int = 1
    """Beats that a frame of each input is split into (``io`` stream)."""
    output_beats: int = 1
    """Beats that a frame of each output is split into (``io`` stream)."""
    pixels: int = 1
    """Adjacent pixels of a row in one beat of an image (``io`` stream)."""
    fifo_depth: Mapping[str, int] = field(default_factory=dict[str, int])
    """Depths of FIFOs by name, where the computed ones are not wanted."""
    axi_stream: bool = False
    """Put a design of ``io`` stream into a top module with AXI4-Stream ports."""
    optimise: int = 1
    """Optimisation level: how long to search for fewer adders."""
    hls: str = "vitis"
    """Flavour of HLS C++."""
    hls_ports: str = "int"
    """Types of the ports of the C++: ``int``, or ``fixed`` for fixed-point numbers."""
    hls_interface: str = "wires"
    """Interface of the C++: ``wires``, ``axis`` or ``axilite``."""
    hls_part: str | None = None
    """Device that the scripts name."""
    hls_uncertainty: str = "12.5%"
    """Clock uncertainty in the scripts: a share of the period, or ns."""
    ap_types: str | None = None
    """Folder of the integer headers, where no installed package has them."""
    print_ir_after_all: bool = False
    timing: bool = False
    verify_each: bool = False


@dataclass(frozen=True)
class Option:
    """An option of the command line: its flag, how to read it, what it says in the help."""

    metavar: str | None
    help: str
    read: Callable[[object, str], object]


MAX_CYCLES = 1 << 30
"""Largest number of cycles, beats or places that an option may ask for."""
MAX_REUSE = 1 << 20
"""Largest reuse factor: testbenches have a line for each cycle of a frame."""


def usage_error(
    where: str, message: str, hint: str | None = None, code: str = "FML-USAGE"
) -> FastmlError:
    """Return the error of an option or key, which ``where`` names."""
    return FastmlError(message, in_file(where), code=code, hint=hint)


def unavailable(where: str, value: object, instead: str) -> FastmlError:
    """Return the error of a value that a later release will accept."""
    return usage_error(where, f"'{value}' is not available yet", instead, "FML-OPTION")


def as_table(value: object, where: str) -> dict[str, object]:
    """Return ``value`` as a table with text keys, or raise."""
    if not isinstance(value, Mapping):
        raise usage_error(where, "is not a table")
    entries = cast(Mapping[object, object], value)
    return {str(key): item for key, item in entries.items()}


def as_list(value: object) -> list[object]:
    """Return ``value`` as a list; anything that is no list as a list of it."""
    return cast(list[object], value) if isinstance(value, list) else [value]


def _read_clock(value: object, where: str) -> object:
    try:
        period = float(str(value))
    except ValueError:
        period = -1.0
    if isinstance(value, bool) or not 0 <= period < 1e6:
        raise usage_error(where, f"'{value}' is not a clock period in ns", "such as 5.0")
    return period


def _read_count(value: object, where: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal():
        raise usage_error(where, f"'{value}' is not a whole number")
    return int(text)


def _read_positive(value: object, where: str) -> int:
    count = _read_count(value, where)
    if not 1 <= count <= MAX_CYCLES:
        raise usage_error(where, f"'{value}' is not within 1..{MAX_CYCLES}")
    return count


def _read_io(value: object, where: str) -> object:
    kind = str(value).removeprefix("io_")
    if kind not in ("parallel", "stream"):
        raise usage_error(where, f"'{value}' is neither 'parallel' nor 'stream'")
    return kind


def _read_never(value: object, where: str) -> object:
    raise unavailable(where, value, "leave the option out")


def _read_optimise(value: object, where: str) -> object:
    if str(value) not in ("0", "1", "2", "3"):
        raise usage_error(where, f"'{value}' is not an optimisation level", "0, 1, 2 or 3")
    return int(str(value))


def _read_flavour(value: object, where: str) -> object:
    from fastml.compiler.emit.hls.flavours import FLAVOURS

    if value not in FLAVOURS:
        raise usage_error(where, f"'{value}' is no flavour", f"choose from {', '.join(FLAVOURS)}")
    return value


def _one_of(*known: str) -> Callable[[object, str], object]:
    def read(value: object, where: str) -> object:
        if value not in known:
            raise usage_error(where, f"'{value}' is not known", f"choose from {', '.join(known)}")
        return value

    return read


def _matching(pattern: str, what: str) -> Callable[[object, str], object]:
    def read(value: object, where: str) -> object:
        if re.fullmatch(pattern, str(value), re.ASCII) is None:
            raise usage_error(where, f"'{value}' is not {what}")
        return str(value)

    return read


def _read_path(value: object, where: str) -> object:
    if not isinstance(value, str) or not value:
        raise usage_error(where, "is not a folder")
    return value


def _read_flag(value: object, where: str) -> object:
    if not isinstance(value, bool):
        raise usage_error(where, f"'{value}' is not true or false")
    return value


def _pairs(value: object, where: str, form: str) -> list[tuple[str, object]]:
    """Read ``{name: value}`` or texts ``NAME=VALUE``, split at the last '='."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return list(as_table(value, where).items())
    pairs = list[tuple[str, object]]()
    for item in cast(Sequence[object], value):
        name, equals, text = str(item).rpartition("=")
        if not equals or not name:
            raise usage_error(where, f"'{item}' is not {form}")
        pairs.append((name, text))
    return pairs


def _read_counts(value: object, where: str) -> object:
    """Read numbers by name."""
    counts = dict[str, int]()
    for name, given in _pairs(value, where, "NAME=N"):
        count = _read_positive(given, f"{where} {name}")
        if counts.setdefault(name, count) != count:
            raise usage_error(where, f"'{name}' is given two numbers, {counts[name]} and {count}")
    return counts


def _read_format(value: object, where: str) -> object:
    """Read a fixed-point type with its modes."""
    from fastml.dialects.fastml_convert import Format

    if not isinstance(value, str):
        raise usage_error(where, "is not a text such as 'fixed<24,8>'")
    try:
        Format.parse(value)
    except ValueError as error:
        raise usage_error(where, str(error)) from None
    return value


def _read_formats(value: object, where: str) -> object:
    """Read fixed-point types by the name of what has them."""
    types = cast(dict[str, str], _read_input_types(value, where))
    for name, given in types.items():
        _read_format(given, f"{where} {name}")
    return types


def _read_input_types(value: object, where: str) -> object:
    """Read types by the name of the input."""
    types = dict[str, str]()
    for name, given in _pairs(value, where, "NAME=TYPE, such as x=fixed<16,6>"):
        if not isinstance(given, str):
            raise usage_error(where, f"type of '{name}' is not a text such as 'fixed<16,6>'")
        if types.setdefault(name, given) != given:
            raise usage_error(where, f"'{name}' is given two types, {types[name]} and {given}")
    return types


OPTIONS: dict[str, Option] = {
    "input-type": Option(
        "NAME=TYPE",
        "type of a model input: fixed<W,I>, ufixed<W,I>, intW, uintW, intW*SCALE, uintW/N, "
        "bipolar (repeatable)",
        _read_input_types,
    ),
    "precision": Option(
        "TYPE",
        "fixed-point type of every input, weight and layer of a model of real numbers: "
        "fixed<W,I>, ufixed<W,I>, fixed<W,I,RND,SAT> (default modes TRN, WRAP)",
        _read_format,
    ),
    "precision-of": Option(
        "NAME=TYPE",
        "another type of one input or edge, or of EDGE.weight or EDGE.bias (repeatable)",
        _read_formats,
    ),
    "clock-ns": Option(
        "T", "clock period to place registers for (default 5.0; 0: none)", _read_clock
    ),
    "io": Option(
        "KIND",
        "parallel (default): one static pipeline; stream: valid/ready ports and FIFOs",
        _read_io,
    ),
    "reuse": Option(
        "N", "use each multiplier N times: a frame every N cycles (default 1)", _read_positive
    ),
    "reuse-of": Option(
        "NAME=N", "reuse factor of one layer, by its edge or node (repeatable)", _read_counts
    ),
    "multipliers": Option(
        "KIND",
        "auto (default: what is cheaper), dsp or logic",
        _one_of("auto", "dsp", "logic"),
    ),
    "weights": Option(
        "KIND",
        "rom (default): constants; ram: loaded at run time (--reuse)",
        _one_of("rom", "ram"),
    ),
    "ii": Option("N", "contract: at most N cycles between two frames", _read_positive),
    "latency-cycles": Option("N", "contract: a latency of at most N cycles", _read_count),
    "max-dsp": Option("N", "contract: at most N hardware multipliers", _read_count),
    "max-bram": Option("N", "contract: at most N block memories of 18 kbit", _read_count),
    "max-lut": Option("N", "contract: at most N look-up tables (estimated)", _read_count),
    "input-beats": Option(
        "N", "split a frame of each input into N beats (--io stream)", _read_positive
    ),
    "output-beats": Option(
        "N", "split a frame of each output into N beats (--io stream)", _read_positive
    ),
    "pixels": Option(
        "P", "adjacent pixels in one beat of an image (--io stream, default 1)", _read_positive
    ),
    "fifo-depth": Option(
        "NAME=N", "depth of a FIFO instead of the computed one (repeatable)", _read_counts
    ),
    "axi-stream": Option(
        None, "give the SystemVerilog a top with AXI4-Stream ports (--io stream)", _read_flag
    ),
    "target": Option("NAME", "not available yet", _read_never),
    "hls": Option(
        "FLAVOUR", "HLS C++ for vitis (default), vivado, oneapi, catapult", _read_flavour
    ),
    "hls-ports": Option(
        "KIND", "types of its ports: int (default) or fixed", _one_of("int", "fixed")
    ),
    "hls-interface": Option(
        "KIND", "wires (default), axis or axilite", _one_of("wires", "axis", "axilite")
    ),
    "hls-part": Option(
        "PART", "device that its scripts name", _matching(r"[A-Za-z0-9._-]{1,64}", "a device")
    ),
    "hls-uncertainty": Option(
        "U",
        "clock uncertainty in its scripts: 12.5%% (default), or ns such as 0.6",
        _matching(r"[0-9]{1,3}(\.[0-9]{1,6})?%?", "a clock uncertainty"),
    ),
    "ap-types": Option("DIR", "folder of ap_int.h or ac_int.h, for level csim", _read_path),
    "optimise": Option(
        "LEVEL", "-O0 to -O3: how long to search for fewer adders (default -O1)", _read_optimise
    ),
    "print-ir-after-all": Option(None, "print the IR after every pass (to stderr)", _read_flag),
    "timing": Option(None, "print a time table (to stderr)", _read_flag),
    "verify-each": Option(None, "verify the IR after every pass", _read_flag),
}
"""Every build option by its name; without a metavar it is a flag."""


HLS_OPTIONS = tuple(name for name in OPTIONS if name == "ap-types" or name.startswith("hls"))
"""Options that nothing but HLS C++ follows."""


def add_build_options(parser: ArgumentParser) -> None:
    """Add every build option to the parser of a command."""
    group = parser.add_argument_group("build options")
    for name, option in OPTIONS.items():
        if option.metavar is None:
            group.add_argument(f"--{name}", action="store_true", help=option.help)
        elif name == "optimise":
            group.add_argument("-O", dest=name, metavar=option.metavar, help=option.help)
        else:
            action = "append" if (option.metavar or "").startswith("NAME=") else "store"
            group.add_argument(f"--{name}", action=action, metavar=option.metavar, help=option.help)
    group.add_argument(
        "--config", metavar="FILE", help="read options from a .toml or .json file (flags win)"
    )


def given_options(args: Namespace) -> dict[str, object]:
    """Return the options that a command line sets, by name."""
    found = dict[str, object]()
    for name in OPTIONS:
        value: object = getattr(args, name if name == "optimise" else name.replace("-", "_"))
        if value is not None and value is not False:
            found[name] = value
    return found


def from_arguments(args: Namespace) -> BuildOptions:
    """Return the options of a command line, over those of its configuration file."""
    return resolve(given_options(args), args.config, flags=True)


def from_keywords(keywords: Mapping[str, object]) -> BuildOptions:
    """Return the options of a Python call: the names of the flags, with underscores."""
    given = {name.replace("_", "-"): value for name, value in keywords.items()}
    config = given.pop("config", None)
    return resolve(given, None if config is None else str(config))


def resolve(
    given: Mapping[str, object], config: str | None = None, *, flags: bool = False
) -> BuildOptions:
    """Check and merge options; ``FastmlError`` names what is unknown or not available."""
    merged = dict[str, object]()
    if config is not None:
        from fastml.compiler.configuration import read_configuration

        merged = _read_all(read_configuration(Path(config)), f"{config}: ")
    own = _read_all(given, "--" if flags else "")
    values: dict[str, Any] = {**merged, **own}
    for name in _TABLES:
        tables = [as_table(given.get(name, {}), name) for given in (merged, own)]
        values[name] = {**tables[0], **tables[1]}
    options = BuildOptions(**values)
    _check_together(options)
    return options


_TABLES = ("input_type", "precision_of", "reuse_of", "fifo_depth")
"""Options whose entries add up."""


def _check_together(options: BuildOptions) -> None:
    """Refuse options that exclude each other, or that nothing would follow."""
    if options.precision_of and options.precision is None:
        raise usage_error(
            "precision-of", "types of single edges need one for the others", "give --precision too"
        )
    contracts = {"ii": options.ii, "max-dsp": options.max_dsp, "max-bram": options.max_bram}
    contracts["max-lut"] = options.max_lut
    asked = [name for name, value in contracts.items() if value is not None]
    folded = options.reuse is not None or options.reuse_of
    if folded and asked:
        raise usage_error(
            asked[0], "a reuse factor leaves nothing to choose", "give either of the two"
        )
    if options.weights == "ram":
        if not folded:
            raise usage_error("weights", "'ram' is for folded layers", "give --reuse too")
        if options.io != "parallel":
            raise unavailable("weights", "ram --io stream", "use --io parallel")
    folds = any(reuse > 1 for reuse in (options.reuse or 1, *options.reuse_of.values()))
    if options.multipliers == "dsp" and not folds and not asked:
        raise usage_error(
            "multipliers",
            "without a reuse factor layers are adder graphs, which have no multipliers",
            "give --reuse, or a contract such as --max-dsp",
        )
    if max(options.reuse or 1, *options.reuse_of.values(), 1) > MAX_REUSE:
        raise usage_error("reuse", f"a reuse factor is {MAX_REUSE} at most")
    if options.io == "parallel":
        streams = {"input-beats": options.input_beats > 1, "output-beats": options.output_beats > 1}
        streams["pixels"] = options.pixels > 1
        streams["fifo-depth"] = bool(options.fifo_depth)
        streams["axi-stream"] = options.axi_stream
        for name, given in streams.items():
            if given:
                raise usage_error(name, "is for streams alone", "give --io stream too")


def _read_all(given: Mapping[str, object], before: str) -> dict[str, object]:
    values = dict[str, object]()
    for name, value in given.items():
        option = OPTIONS.get(name)
        if option is None:
            near = difflib.get_close_matches(name, OPTIONS, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(OPTIONS)}"
            raise usage_error(f"{before}{name}", "unknown option", hint)
        read = option.read(value, f"{before}{name}")
        if name in _FIELDS:
            values[_FIELDS[name]] = read
    return values


_FIELDS = {
    name: name.replace("-", "_")
    for name in OPTIONS
    if name.replace("-", "_") in BuildOptions.__dataclass_fields__
}
