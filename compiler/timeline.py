"""A timeline of stages, as text and as a drawing: when each works on the first two frames."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from fastml.compiler.support.diagnostics import printable

COLUMNS = 60
"""Characters of the longest bar."""
WIDE = 6
"""Characters of a cycle, at most."""
NAME = 36
"""Characters of a name that are shown."""


@dataclass(frozen=True)
class Row:
    """One stage, or one process of a dataflow: cycles are counted from the first input."""

    name: str
    kind: str
    start: int
    end: int
    again: int | None
    """The cycle in which the second frame starts here, back-to-back."""
    note: str = ""


@dataclass(frozen=True)
class Queue:
    """A FIFO: slots, and the most that are taken at once."""

    name: str
    depth: int
    high: int


def rows_of(report: Mapping[str, Any]) -> list[Row]:
    """Return the processes of a report, or its layers where it has none; in order."""
    if processes := report.get("processes"):
        return [
            Row(
                str(p["name"]),
                "process",
                p["start_cycle"],
                p["end_cycle"],
                p["next_start_cycle"],
                f"II {p['ii']}",
            )
            for p in processes
        ]
    ii = report.get("ii")
    return [
        Row(
            str(layer["name"]),
            str(layer["kind"]),
            layer["start_cycle"],
            layer["end_cycle"],
            None if ii is None else layer["start_cycle"] + ii,
        )
        for layer in report["layers"]
        if layer["start_cycle"] is not None
    ]


def queues_of(report: Mapping[str, Any]) -> list[Queue]:
    """Return the FIFOs of a report."""
    return [Queue(str(f["name"]), f["depth"], f["high_water"]) for f in report.get("fifos", [])]


# Text


def draw_text(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of a timeline: a row a stage; none where nothing is scheduled."""
    rows = rows_of(report)
    if not rows:
        return []
    last = max(row.end for row in rows)
    scale = last // COLUMNS + 1
    repeat = max(1, min(WIDE, COLUMNS // (last + 1)))
    unit = "" if scale == 1 else f", a character is {scale} cycles"
    names = [_cut(row.name) for row in rows]
    width = max(map(len, names))
    digits = len(str(last))
    lines = [f"timeline  cycles 0 to {last} of the first frame{unit}"]
    for name, row in zip(names, rows, strict=True):
        first, end = row.start // scale, row.end // scale
        bar = (" " * first + "#" * (end - first + 1)).ljust(last // scale + 1)
        bar = "".join(mark * repeat for mark in bar)
        span = f"{row.start:>{digits}}..{row.end:<{digits}}"
        lines.append(f"  {name:<{width}}  {span}  |{bar}|  {row.note}".rstrip())
    lines += _queue_lines(queues_of(report))
    if report.get("spare_slots"):
        lines.append("  the search for least depths was cut short: some may have slots to spare")
    return lines


def _queue_lines(queues: Sequence[Queue]) -> list[str]:
    if not queues:
        return []
    names = [_cut(queue.name) for queue in queues]
    width = max(map(len, names))
    lines = ["FIFOs     slots taken at most, of all (# taken, . never)"]
    for name, queue in zip(names, queues, strict=True):
        scale = queue.depth // COLUMNS + 1
        taken, slots = -(-queue.high // scale), -(-queue.depth // scale)
        bar = "#" * taken + "." * (slots - taken)
        lines.append(f"  {name:<{width}}  {queue.high} of {queue.depth}  |{bar}|")
    return lines


def _cut(name: str) -> str:
    text = printable(name)
    return text if len(text) <= NAME else f"{text[: NAME - 3]}..."


# Drawing: sizes in pixels

_ROW = 26
_BAR = 16
_MARGIN = 16
_CHARACTER = 7.3
"""Width of a character of the font, about."""
_PLOT = 720
_TICKS = 12
"""Ticks of the axis, at most."""
_COLOURS = {
    "dense": "#33658a",
    "combine": "#5b8e7d",
    "rescale": "#bc4b51",
    "threshold": "#bc4b51",
    "lookup": "#bc4b51",
    "multiply": "#8a5a83",
    "rearrange": "#8d99ae",
    "process": "#33658a",
}
_OTHER = "#6c757d"
_STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#22303c}"
    ".title{font-weight:bold;font-size:14px}.axis{fill:#5a6b78;font-size:11px}"
    ".grid{stroke:#dfe5ea}.later{fill-opacity:.3}"
    ".slot{fill:#fff;stroke:#8d99ae}.taken{fill:#f2a541;stroke:#8d99ae}"
)


def draw_svg(report: Mapping[str, Any]) -> str:
    """Return a drawing of the timeline, and of the FIFOs: the same report, the same bytes."""
    rows, queues = rows_of(report), queues_of(report)
    last = max((max(row.end, _later(row)) for row in rows), default=0)
    names = [_cut(name) for name in (*(r.name for r in rows), *(q.name for q in queues))]
    left = _MARGIN + round(max((len(name) for name in names), default=0) * _CHARACTER) + 12
    step = _PLOT / (last + 1)
    parts = [_text(_MARGIN, 26, _title(report), "title")]
    top = 64
    bottom = top + _ROW * len(rows)
    parts += _axis(last, left, step, top, bottom)
    for number, row in enumerate(rows):
        parts += _bars(row, left, step, top + _ROW * number)
    height = bottom + _MARGIN
    if queues:
        parts.append(_text(_MARGIN, bottom + 34, "FIFOs: slots taken at most", "title"))
        start = bottom + 48
        most = max(queue.depth for queue in queues)
        for number, queue in enumerate(queues):
            parts += _slots(queue, most, left, start + _ROW * number)
        height = start + _ROW * len(queues) + _MARGIN
    width = left + _PLOT + 110
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", ground, *parts, "</svg>", ""])


def _later(row: Row) -> int:
    return row.end if row.again is None else row.again + row.end - row.start


def _title(report: Mapping[str, Any]) -> str:
    ii, latency = report.get("ii"), report.get("latency_cycles")
    name = printable(str(report.get("name", "")))
    return f"{name}: latency {latency} cycles, II {ii} (pale: the second frame)"


def _axis(last: int, left: int, step: float, top: int, bottom: int) -> Iterator[str]:
    """Draw the cycles above the rows, and a line down from some of them."""
    distance = _round_up(-(-(last + 1) // _TICKS))
    yield _text(_MARGIN, top - 10, "cycle", "axis")
    for cycle in range(0, last + 2, distance):
        x = left + cycle * step
        yield f'<line class="grid" x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x + 2, top - 10, str(cycle), "axis")


def _round_up(distance: int) -> int:
    """Return a round number that is at least ``distance``."""
    power = 10 ** (len(str(distance)) - 1)
    return next(m * power for m in (1, 2, 5, 10) if m * power >= distance)


def _bars(row: Row, left: int, step: float, y: int) -> Iterator[str]:
    """Draw one stage: its name, the first frame, the second one paler, and its cycles."""
    colour = _COLOURS.get(row.kind, _OTHER)
    yield _text(_MARGIN, y + 17, _cut(row.name))
    width = (row.end - row.start + 1) * step
    if row.again is not None:
        x = left + row.again * step
        yield _rectangle(x, y + 5, width, _BAR, f'class="later" fill="{colour}"')
    yield _rectangle(left + row.start * step, y + 5, width, _BAR, f'fill="{colour}"')
    end = left + (max(row.end, _later(row)) + 1) * step
    note = f"  {row.note}" if row.note else ""
    yield _text(end + 6, y + 17, f"{row.start}..{row.end}{note}", "axis")


def _slots(queue: Queue, most: int, left: int, y: int) -> Iterator[str]:
    """Draw one FIFO: as a bar of slots, those that are ever taken filled."""
    slot = min(14.0, _PLOT / most)
    yield _text(_MARGIN, y + 17, _cut(queue.name))
    if slot >= 4:
        for number in range(queue.depth):
            kind = "taken" if number < queue.high else "slot"
            yield _rectangle(left + number * slot, y + 5, slot, _BAR, f'class="{kind}"')
    else:
        yield _rectangle(left, y + 5, queue.depth * slot, _BAR, 'class="slot"')
        yield _rectangle(left, y + 5, queue.high * slot, _BAR, 'class="taken"')
    yield _text(left + queue.depth * slot + 6, y + 17, f"{queue.high} of {queue.depth}", "axis")


def _rectangle(x: float, y: int, width: float, height: int, rest: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" rx="2" {rest}/>'


def _text(x: float, y: int, text: str, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.1f}" y="{y}">{escape(text)}</text>'
