"""Seeded faults in IR text: one constant, width, register or schedule attribute changed.

A mutator looks at the text of one level and lists *sites*: places, and ways to change each.
Some faults are a single token, which most verifiers should refuse; others are written so
that the text stays well-formed (a value cut by a bit and extended again, a register left
out), and only execution can tell.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

LEVELS = ("fastml", "qflow", "affine", "hw")
KINDS = ("constant", "width", "register", "schedule")


@dataclass(frozen=True)
class Mutant:
    """One changed text of a level."""

    level: str
    kind: str
    what: str
    text: str


@dataclass(frozen=True)
class Site:
    """A span of the text, and what may stand there instead."""

    start: int
    end: int
    others: tuple[str, ...]


Sites = Iterator[Site]
Mutator = Callable[[str], Sites]


def mutants(level: str, kind: str, text: str, count: int, seed: int) -> list[Mutant]:
    """Return up to ``count`` distinct mutants, drawn by a seed from each mutator in turn."""
    rng = np.random.default_rng([seed, *map(ord, level + kind)])
    drawn: list[list[tuple[Site, str]]] = []
    for mutate in MUTATORS[level, kind]:
        choices = [(site, other) for site in mutate(text) for other in site.others]
        drawn.append([choices[index] for index in rng.permutation(len(choices)).tolist()])
    found: dict[str, Mutant] = {}
    for turn in zip_longest(*drawn):
        for choice in turn:
            if choice is None or len(found) == count:
                continue
            site, other = choice
            new = text[: site.start] + other + text[site.end :]
            if new != text and new not in found:
                old = text[site.start : site.end]
                line = text.count("\n", 0, site.start) + 1
                what = f"line {line}: {_short(old)} -> {_short(other)}"
                found[new] = Mutant(level, kind, what, new)
    return list(found.values())


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) < 90 else flat[:87] + "..."


# -- numbers -------------------------------------------------------------------------------


def _integers(value: int) -> tuple[str, ...]:
    """Return integers near another in one of several senses."""
    near = {value + 1, value - 1, -value, 2 * value, 0, value + 4} - {value}
    return tuple(str(v) for v in sorted(near))


def numbers(pattern: str, group: int = 1) -> Mutator:
    """Change any number in a group of a pattern: integers, and floats by an eighth."""

    def sites(text: str) -> Sites:
        for match in re.finditer(pattern, text):
            start = match.start(group)
            for number in re.finditer(r"-?\d+\.\d+(?:e-?\d+)?|-?\d+", match.group(group)):
                token = number.group()
                others = (
                    (f"{float(token) + 0.125}", f"{-float(token)}")
                    if "." in token
                    else _integers(int(token))
                )
                yield Site(start + number.start(), start + number.end(), others)

    return sites


def natural(pattern: str, group: int = 1) -> Mutator:
    """Change numbers in a group that stay natural."""

    def sites(text: str) -> Sites:
        for site in numbers(pattern, group)(text):
            value = int(text[site.start : site.end])
            others = {value + 1, value + 2, value + 3, max(value - 1, 0), 0, 2 * value} - {value}
            yield Site(site.start, site.end, tuple(map(str, sorted(others))))

    return sites


def words(pattern: str, group: int, choices: tuple[str, ...]) -> Mutator:
    """Replace a word by another of its kind."""

    def sites(text: str) -> Sites:
        for match in re.finditer(pattern, text):
            others = tuple(c for c in choices if c != match.group(group))
            yield Site(match.start(group), match.end(group), others)

    return sites


def deleted(pattern: str) -> Mutator:
    """Leave a piece of text out."""

    def sites(text: str) -> Sites:
        for match in re.finditer(pattern, text):
            yield Site(match.start(), match.end(), ("",))

    return sites


def arrays(*names: str) -> Mutator:
    """Change an entry of the named array properties of ``qflow``."""
    return numbers(rf'\b(?:{"|".join(names)}) = #fastml\.array<"i64 [\dx ]+: ([^"]*)">')


def _graph_entries(text: str) -> Sites:
    """Change an entry of an adder graph."""
    for match in re.finditer(r"#qflow\.adder_graph<(.*?)>>", text):
        for array in re.finditer(r'"i64 [\dx ]+: ([^"]*)"', match.group(1)):
            for site in numbers(r"(-?\d+)")(array.group(1)):
                shift = match.start(1) + array.start(1)
                yield Site(site.start + shift, site.end + shift, site.others)


# -- widths that stay well-formed -------------------------------------------------------------


def _scopes(text: str, opening: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of functions or modules, within which value names are unique."""
    starts = [match.start() for match in re.finditer(rf"^  {opening}", text, re.MULTILINE)]
    yield from zip(starts, [*starts[1:], len(text)], strict=True)


def _cut_affine(text: str) -> Sites:
    """Cut the top bit of a result, and extend it again by sign or by zero."""
    pattern = r"^( +)%(\d+) = (arith\.(?:addi|subi|shli|extsi|extui|select|muli) .*i(\d+))$"
    for match in re.finditer(pattern, text, re.MULTILINE):
        indent, name, operation, width = *match.group(1, 2, 3), int(match.group(4))
        if width < 2:
            continue
        for extend in ("extsi", "extui"):
            lines = [
                f"{indent}%wide{name} = {operation}",
                f"{indent}%cut{name} = arith.trunci %wide{name} : i{width} to i{width - 1}",
                f"{indent}%{name} = arith.{extend} %cut{name} : i{width - 1} to i{width}",
            ]
            yield Site(match.start(), match.end(), ("\n".join(lines),))


def _cut_hw(text: str) -> Sites:
    """Cut the top bit of a result, and extend it again by sign or by zero."""
    pattern = r"^( +)%(\d+) = ((?:comb\.(?:add|sub|mux)|seq\.compreg) .*i(\d+))$"
    for match in re.finditer(pattern, text, re.MULTILINE):
        indent, name, operation, width = *match.group(1, 2, 3), int(match.group(4))
        if width < 2:
            continue
        low = f"i{width - 1}"
        for top in (
            f"comb.extract %cut{name} from {width - 2} : ({low}) -> i1",
            "hw.constant false",
        ):
            lines = [
                f"{indent}%wide{name} = {operation}",
                f"{indent}%cut{name} = comb.extract %wide{name} from 0 : (i{width}) -> {low}",
                f"{indent}%top{name} = {top}",
                f"{indent}%{name} = comb.concat %top{name}, %cut{name} : i1, {low}",
            ]
            yield Site(match.start(), match.end(), ("\n".join(lines),))


# -- registers --------------------------------------------------------------------------------

_REGISTER = re.compile(r"^( +)(%\d+) = seq\.compreg (%\w+), (%\w+)(.*) : (i\d+)$", re.MULTILINE)


def _registers(text: str) -> Sites:
    """Leave a register out, add one, take another input, or drop its reset."""
    for start, end in _scopes(text, r"hw\.module"):
        body = text[start:end]
        found = list(_REGISTER.finditer(body))
        for match in found:
            indent, name, source, clock, reset, width = match.groups()
            span = start + match.start(), start + match.end()
            later = body[match.end() :]
            # A wire: uses of the result become uses of the input.
            bypassed = re.sub(rf"{re.escape(name)}\b", source, later)
            earlier = re.sub(rf"{re.escape(name)}\b", source, body[: match.start()])
            yield Site(start, end, (earlier + bypassed.lstrip("\n"),))
            double = (
                f"{indent}%first{name[1:]} = seq.compreg {source}, {clock}{reset} : {width}\n"
                f"{indent}{name} = seq.compreg %first{name[1:]}, {clock}{reset} : {width}"
            )
            yield Site(*span, (double,))
            inputs = {m.group(3) for m in found if m.group(6) == width} - {source}
            inputs |= {m.group(2) for m in found if m.group(6) == width} - {source, name}
            plain = f"{indent}{name} = seq.compreg "
            for other in sorted(inputs)[:3]:
                yield Site(*span, (f"{plain}{other}, {clock}{reset} : {width}",))
            if reset:
                yield Site(*span, (f"{plain}{source}, {clock} : {width}",))


def _cells(text: str) -> Sites:
    """Read or write another cell of a memory."""
    yield from natural(r"affine\.(?:load|store) [^\[\n]*\[(\d+)\]")(text)


# -- the table --------------------------------------------------------------------------------

ROUNDINGS = ("half_even", "half_up", "half_down", "ceil", "floor", "up", "down")
SOME_TIMES = tuple(map(str, range(60)))
_TIME = (
    words(r"\blatency (\d+)", 1, SOME_TIMES),
    words(r"\bii (\d+)", 1, SOME_TIMES),
)
_ATTRIBUTES = (natural(r"fastml\.latency = (\d+)"), natural(r"fastml\.ii = (\d+)"))

MUTATORS: dict[tuple[str, str], tuple[Mutator, ...]] = {
    ("fastml", "constant"): (
        numbers(r'fastml\.constant <"(?:i64|f32) [\dx]+ : ([^"]*)">'),
        numbers(r"fastml\.quantise .* (-?\d+ to -?\d+) :"),
        words(r"fastml\.quantise .*\) (\w+) -?\d+ to", 1, ROUNDINGS),
        numbers(r"fastml\.sum .*\[([-\d, ]+)\]"),
    ),
    ("fastml", "width"): (
        natural(r"!fastml\.fixed<[su](\d+), -?\d+>"),
        numbers(r"!fastml\.fixed<[su]\d+, (-?\d+)>"),
        words(r"!fastml\.fixed<([su])\d+, -?\d+>", 1, ("s", "u")),
    ),
    ("fastml", "schedule"): _TIME,
    ("qflow", "constant"): (
        arrays("matrix", "bias", "thresholds", "base", "direction", "offset", "shift"),
        arrays("low", "high", "coefficients", "index", "table", "factor"),
        _graph_entries,
        words(r"#qflow<rounding (\w+)>", 1, ("half_even", "floor")),
    ),
    ("qflow", "width"): (numbers(r'!qflow\.channel<pulse, [\dx]+, "([^"]*)">'),),
    ("qflow", "register"): (arrays("node_cycles"),),
    ("qflow", "schedule"): (arrays("cycles"), *_TIME),
    ("affine", "constant"): (
        numbers(r"arith\.constant (-?\d+) :"),
        words(r"arith\.constant (true|false)", 1, ("true", "false")),
        words(r"arith\.cmpi (\w+),", 1, ("sge", "sgt", "sle", "slt", "eq", "uge")),
    ),
    ("affine", "width"): (
        _cut_affine,
        natural(r"(?<!\d : )\bi(\d+)\b"),
        natural(r'fastml\.elements = "([^"]*)"'),
        words(r'fastml\.elements = "(?:\d+ x )?([su])\d+', 1, ("s", "u")),
    ),
    ("affine", "register"): (_cells, natural(r"memref<(\d+)xi\d+>")),
    ("affine", "schedule"): (
        natural(r"fastml\.start = (\d+)"),
        deleted(r" \{fastml\.start = \d+ : i64\}"),
        *_ATTRIBUTES,
    ),
    ("hw", "constant"): (
        numbers(r"hw\.constant (-?\d+) :"),
        words(r"hw\.constant (true|false)", 1, ("true", "false")),
        natural(r"comb\.extract %\w+ from (\d+)"),
        words(r"comb\.icmp (\w+) ", 1, ("sge", "sgt", "sle", "slt", "eq", "uge")),
    ),
    ("hw", "width"): (
        _cut_hw,
        natural(r"(?<!array<)(?<!\d : )\bi(\d+)\b"),
        natural(r'elements = "([^"]*)"'),
    ),
    ("hw", "register"): (_registers,),
    ("hw", "schedule"): (*_ATTRIBUTES, natural(r"cycles = array<i64: ([^>]*)>")),
}
"""Mutators by level and kind. A network has no registers: nothing stands for ``register`` there."""
