"""Counters that run a loop nest: who starts when, and the indices that follow from it.

A loop whose body is nothing but another loop that fills its interval shares that one's
timing: such a chain is one odometer. All registers here are cleared by reset.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastml.lowering.hw_builder import Netlist, Wire
from fastml.lowering.index_expressions import Linear, Loop


@dataclass(eq=False)
class Control:
    """The signals of one loop."""

    loop: Loop
    pulse: Wire
    """Set in the first cycle of every iteration."""
    count: Wire
    """Number of the iteration, throughout its interval."""
    advance: Wire
    """Set in the last cycle of every interval."""
    first: Wire
    """Set throughout the first iteration."""
    last: Wire
    """Set throughout the last iteration."""
    inner: "Control | None"
    """The next faster wheel of the same odometer."""
    scaled: dict[tuple[int, int, int, int], Wire] = field(
        default_factory=dict[tuple[int, int, int, int], Wire]
    )
    """Counters that start with this loop, by how many loops, factor, offset, width."""


def build_control(netlist: Netlist, loops: Sequence[Loop], begin: Wire) -> list[Control]:
    """Build one odometer for a chain of loops, outermost first, that ``begin`` starts."""
    one = netlist.constant(1, 1)
    running = loops[0].span > 1
    busy = netlist.hint(netlist.state(1, 0), "busy") if running else netlist.constant(0, 1)
    active = netlist.or_(begin, busy)
    advance, pulse = active, active
    interval = loops[-1].interval
    if interval > 1:
        phase = netlist.hint(netlist.state((interval - 1).bit_length(), 0), "phase")
        end = netlist.icmp("eq", phase, netlist.constant(interval - 1, phase.width))
        _count(netlist, phase, end, active)
        advance = netlist.and_(active, end)
        begins = netlist.icmp("eq", phase, netlist.constant(0, phase.width))
        pulse = netlist.and_(active, begins)
    controls, inner = list[Control](), None
    for loop in reversed(loops):
        if loop.trips > 1:
            count = netlist.hint(netlist.state((loop.trips - 1).bit_length(), 0), "count")
            first = netlist.icmp("eq", count, netlist.constant(0, count.width))
            last = netlist.icmp("eq", count, netlist.constant(loop.trips - 1, count.width))
            _count(netlist, count, last, advance)
        else:
            count, first, last = netlist.constant(0, 1), one, one
        inner = Control(loop, pulse, count, advance, first, last, inner)
        controls.append(inner)
        advance = netlist.and_(advance, last)
        pulse = netlist.and_(pulse, first)
    if running:
        netlist.connect(busy, netlist.and_(active, netlist.not_(advance)))
    return controls[::-1]


def _count(netlist: Netlist, count: Wire, last: Wire, enable: Wire) -> None:
    """Let a register count up to ``last`` and begin again."""
    zero, one = netlist.constant(0, count.width), netlist.constant(1, count.width)
    following = netlist.mux(last, zero, netlist.add(count, one))
    netlist.connect(count, following, enable)


def scaled_count(
    netlist: Netlist, chain: Sequence[Control], factor: int, offset: int, width: int
) -> Wire:
    """Return ``offset + factor * n`` modulo ``2**width``; ``n`` counts along ``chain``.

    The chain is a part of one odometer, outermost first: ``n`` is the number of the
    iteration of its innermost loop since its outermost one began. It is a counter of its
    own, so that no multiplier is needed.
    """
    fastest = chain[-1]
    if len(chain) == 1 and factor & (factor - 1) == 0 and factor > 0 and offset == 0:
        count = netlist.fit(fastest.count, width, sign=False)
        return netlist.shift_left(count, factor.bit_length() - 1)
    key = len(chain), factor, offset, width
    known = chain[0].scaled.get(key)
    if known is None:
        start = netlist.constant(offset, width)
        known = netlist.hint(netlist.state(width, offset & ((1 << width) - 1)), "index")
        last = netlist.constant(1, 1)
        for control in chain:
            last = netlist.and_(last, control.last)
        further = netlist.add(known, netlist.constant(factor, width))
        netlist.connect(known, netlist.mux(last, start, further), fastest.advance)
        chain[0].scaled[key] = known
    return known


@dataclass(frozen=True)
class Term:
    """A part of an index: ``factor`` times the iterations counted along ``chain``."""

    chain: tuple[Control, ...]
    factor: int


def terms_of(linear: Linear, controls: dict[Loop, Control]) -> list[Term]:
    """Split an index into as few counters as possible.

    Neighbouring wheels of an odometer are one counter where the outer one's factor is what
    a full turn of the inner one adds.
    """
    by_depth = sorted(linear.factors.items(), key=lambda item: len(item[0].chain))
    terms = list[Term]()
    for loop, factor in by_depth:
        control = controls[loop]
        outer = terms[-1] if terms else None
        if (
            outer is not None
            and outer.chain[-1].inner is control
            and outer.factor == factor * loop.trips
        ):
            terms[-1] = Term((*outer.chain, control), factor)
        elif loop.trips > 1:
            terms.append(Term((control,), factor))
    return terms
