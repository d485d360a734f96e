"""Read value change dumps, ours and those of others, and compare them bit by bit.

Names are joined by dots, without ranges. Samples are taken each half cycle.
"""

from dataclasses import dataclass
from pathlib import Path

HALF = 5
"""Time that half a cycle takes."""


@dataclass
class Waves:
    """What a file shows: for each signal its width, and its bits at each time that changes."""

    widths: dict[str, int]
    samples: dict[str, list[str]]
    """By name, the bits in the first half of cycle 0, in its second half, and so on, the
    highest first."""
    cycles: int


def read_waves(path: Path) -> Waves:
    """Read a file."""
    widths: dict[str, int] = {}
    codes: dict[str, str] = {}
    scope: list[str] = []
    header, body = path.read_text().split("$enddefinitions $end")
    assert "$timescale" in header
    assert "1ns" in header.replace(" ", "")
    for line in header.splitlines():
        match line.split():
            case ["$scope", _, name, "$end"]:
                scope.append(name)
            case ["$upscope", "$end"]:
                scope.pop()
            case ["$var", "wire", width, code, name, *_]:
                full = ".".join([*scope, name.split("[")[0]])
                assert full not in widths
                widths[full], codes[full] = int(width), code
            case _:
                pass
    assert scope == []
    now: dict[str, str] = {}
    moments: list[dict[str, str]] = []
    time = -HALF
    words = iter(body.split())
    for word in words:
        if word[0] == "#":
            assert int(word[1:]) % HALF == 0
            while time < int(word[1:]):
                now, time = dict(now), time + HALF
                moments.append(now)
        elif word[0] == "b":
            now[next(words)] = word[1:]
        elif word[0] in "01xz":
            now[word[1:]] = word[0]
        else:
            assert word in ("$dumpvars", "$end")
    moments = moments[: len(moments) // 2 * 2]  # a last time may only tell the end
    samples = {
        name: [_extended(moment[code], widths[name]) for moment in moments]
        for name, code in codes.items()
    }
    return Waves(widths, samples, len(moments) // 2)


def _extended(bits: str, width: int) -> str:
    assert len(bits) <= width
    return bits.rjust(width, "x" if bits[0] == "x" else "0")


def differences(ours: Waves, theirs: Waves, since: int = 0) -> list[tuple[str, int]]:
    """Return the names and cycles where the files differ in a bit that ours says."""
    found: list[tuple[str, int]] = []
    for name in ours.widths.keys() & theirs.widths.keys():
        assert theirs.widths[name] == ours.widths[name]
        pairs = zip(ours.samples[name], theirs.samples[name], strict=False)
        for half, (mine, other) in enumerate(pairs):
            bits = zip(mine, other, strict=True)
            if half >= 2 * since and mine != other and any(a not in ("x", b) for a, b in bits):
                found.append((name, half // 2))
    return found
