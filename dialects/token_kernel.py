"""The recurrence of token flow over flat arrays: as it stands, or compiled for long runs.

One text for both: :func:`settle` runs on lists, which Python reads fastest, or, compiled by
numba, on arrays.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

COMPILED = 1 << 18
"""Firings from which on compiled code is worth the time that it takes to load."""

Numbers: TypeAlias = Any
"""A list, or an ``int64`` array."""


class Layout(NamedTuple):
    """Who reads and writes what, phase by phase; actors and FIFOs are numbers."""

    intervals: Numbers
    phases: Numbers
    limits: Numbers
    """Most firings of each actor."""
    fired_at: Numbers
    """Where the firings of each actor begin in ``State.fired``."""
    waits_at: Numbers
    """Where the waits of a source begin; -1 for all others."""
    ready_at: Numbers
    """Where the next ready cycles of a sink begin; -1 for all others."""
    ready_until: Numbers
    """The cycle from which on a sink is always ready."""
    waits: Numbers
    ready: Numbers
    reads_at: Numbers
    """The reads of actor ``a`` are those from ``reads_at[a]`` to ``reads_at[a + 1]``."""
    read_fifo: Numbers
    read_pattern: Numbers
    needs: Numbers
    consumes: Numbers
    writes_at: Numbers
    write_fifo: Numbers
    write_pattern: Numbers
    produces: Numbers
    fifo_at: Numbers
    """Where the tokens of each FIFO begin in ``State.reserved`` and ``State.popped``."""
    latency: Numbers
    """Cycles from reservation to push."""
    writer: Numbers
    reader: Numbers


class State(NamedTuple):
    """What has happened; changes in place."""

    depth: Numbers
    """Slots of each FIFO; -1 for as many as it takes."""
    dirty: Numbers
    """1 for actors that may be able to fire."""
    counts: Numbers
    """Firings of each actor so far."""
    come: Numbers
    """Tokens that each FIFO has been given so far."""
    gone: Numbers
    """Tokens that left it."""
    fired: Numbers
    reserved: Numbers
    popped: Numbers


def earliest(net: Layout, run: State, actor: int, phase: int, time: int) -> int:
    """Return the first cycle from ``time`` on with tokens and slots for a phase; -1: none yet."""
    for read in range(net.reads_at[actor], net.reads_at[actor + 1]):
        need = net.needs[net.read_pattern[read] + phase]
        if need:
            fifo = net.read_fifo[read]
            last = run.gone[fifo] + need - 1
            if last >= run.come[fifo]:
                return -1
            pushed = run.reserved[net.fifo_at[fifo] + last] + net.latency[fifo]
            if pushed >= time:
                time = pushed + 1
    for write in range(net.writes_at[actor], net.writes_at[actor + 1]):
        fifo = net.write_fifo[write]
        if run.depth[fifo] >= 0 and net.produces[net.write_pattern[write] + phase]:
            freed = run.come[fifo] - run.depth[fifo]
            if freed >= run.gone[fifo]:
                return -1
            if freed >= 0 and run.popped[net.fifo_at[fifo] + freed] >= time:
                time = run.popped[net.fifo_at[fifo] + freed] + 1
    return time


def move(net: Layout, run: State, actor: int, phase: int, time: int) -> None:
    """Pop and reserve what a firing in cycle ``time`` does."""
    for read in range(net.reads_at[actor], net.reads_at[actor + 1]):
        count = net.consumes[net.read_pattern[read] + phase]
        fifo = net.read_fifo[read]
        start = net.fifo_at[fifo] + run.gone[fifo]
        for token in range(start, start + count):
            run.popped[token] = time
        run.gone[fifo] += count
    for write in range(net.writes_at[actor], net.writes_at[actor + 1]):
        if net.produces[net.write_pattern[write] + phase]:
            fifo = net.write_fifo[write]
            run.reserved[net.fifo_at[fifo] + run.come[fifo]] = time
            run.come[fifo] += 1


def fire(net: Layout, run: State, actor: int) -> bool:
    """Fire an actor as often as tokens and slots allow; return whether it did at all."""
    first = count = run.counts[actor]
    interval, phases, limit = net.intervals[actor], net.phases[actor], net.limits[actor]
    fired_at, waits_at, ready_at = net.fired_at[actor], net.waits_at[actor], net.ready_at[actor]
    phase = count % phases
    since = run.fired[fired_at + count - 1] + interval if count else 0
    while count < limit:
        if waits_at >= 0:
            since += net.waits[waits_at + count]
        time = earliest(net, run, actor, phase, since)
        if time < 0:
            break
        if ready_at >= 0 and time < net.ready_until[actor]:
            time = net.ready[ready_at + time]
        move(net, run, actor, phase, time)
        run.fired[fired_at + count] = time
        count += 1
        phase = phase + 1 if phase + 1 < phases else 0
        since = time + interval
    run.counts[actor] = count
    return count > first


def settle(net: Layout, run: State) -> None:
    """Fire until nothing can."""
    actors = len(run.dirty)
    actor = quiet = 0
    while quiet < actors:
        quiet += 1
        if run.dirty[actor]:
            run.dirty[actor] = 0
            if fire(net, run, actor):
                quiet = 0
                for read in range(net.reads_at[actor], net.reads_at[actor + 1]):
                    run.dirty[net.writer[net.read_fifo[read]]] = 1
                for write in range(net.writes_at[actor], net.writes_at[actor + 1]):
                    run.dirty[net.reader[net.write_fifo[write]]] = 1
        actor = actor + 1 if actor + 1 < actors else 0


@cache
def compiled() -> Callable[[Layout, State], None]:
    """Return :func:`settle` compiled, for arrays."""
    import numba  # here, since it takes longer to load than most designs to compile
    from numba import extending

    for part in (earliest, move, fire):
        extending.register_jitable(inline="always")(part)
    # nothing is allocated, so that no array needs to be counted: that is most of the time
    options: dict[str, Any] = {"_nrt": False}
    try:
        made = numba.njit(cache=True, **options)(settle)
    except RuntimeError:  # there is no folder to keep the code in
        made = numba.njit(**options)(settle)
    return cast(Callable[[Layout, State], None], made)


def prepared(net: Layout, run: State, *, arrays: bool) -> tuple[Layout, State]:
    """Return both in new arrays, for compiled code, or in lists."""
    if arrays:
        whole = (np.ascontiguousarray(part, np.int64) for part in (*net, *run))
        return Layout(*(next(whole) for _ in net)), State(*whole)
    lists = (np.asarray(part).tolist() for part in (*net, *run))
    return Layout(*(next(lists) for _ in net)), State(*lists)
