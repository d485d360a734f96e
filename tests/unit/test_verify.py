from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fastml.dialects.elements import width_of
from fastml.runtime.trace import Signal, Trace
from fastml.runtime.verify import Divergence, Toggles, compare, varying_bits

FRAMES = 5
EDGES = ["x", "hidden", "y"]


def trace(latency: int = 3) -> Trace:
    """Return a fresh trace: three taps, one output, II = 1."""
    rows = np.arange(FRAMES)[:, None]
    offers = rows.astype(np.int64)
    taps = {
        "x": Signal(rows * 3 - 7, offers),
        "hidden": Signal(np.concatenate([rows, -rows], axis=1), offers + np.array([1, 2])),
        "y": Signal(rows * 11, offers + latency),
    }
    return Trace({"y": taps["y"]}, taps)


def timeless(given: Trace) -> Trace:
    """Return the same values, with taps that have no time (as a network's)."""
    none = np.zeros((FRAMES, 0), np.int64)
    return replace(given, taps={n: replace(s, cycles=none) for n, s in given.taps.items()})


def check(*traces: Trace, **keywords: object) -> None:
    named = dict(zip("abc", traces, strict=False))
    compare(named, EDGES, frames=FRAMES, stimulus="test", **keywords)  # pyright: ignore[reportArgumentType]


def test_equal_traces_are_counted():
    counts = compare(
        {"a": trace(), "b": trace(), "c": trace()}, EDGES, frames=FRAMES, stimulus="test"
    )
    elements = FRAMES * (1 + 2 + 1 + 1)
    assert counts.values == counts.cycles == 2 * elements
    assert counts.edges == set(EDGES)


def streamed(beats: int, late: int = 0) -> Trace:
    """Return a trace whose frames are several beats of two elements, the last one half empty."""
    count = FRAMES * beats
    rows = np.arange(2 * count).reshape(count, 2)
    at = np.arange(count)[:, None]
    values = rows.copy()
    values[beats - 1 :: beats, 1] = 99
    taps = {"x": Signal(values, at), "hidden": Signal(values, np.tile(at, 2))}
    taps["y"] = taps["x"]
    accepted = np.arange(count)
    accepted[-1] += late
    return Trace({"y": Signal(values, at + 3)}, taps, {"x": accepted})


def whole(beats: int) -> Trace:
    """Return the same frames as whole rows, as a level without beats has them."""
    rows = np.arange(FRAMES * beats * 2).reshape(FRAMES, 2 * beats)[:, :-1]
    signal = Signal(rows, np.arange(FRAMES)[:, None])
    return Trace({"y": signal}, {name: signal for name in EDGES})


def test_beats_are_compared_as_frames():
    check(streamed(3), streamed(3), streamed(3))
    check(streamed(3), whole(3), untimed=["b"])
    check(whole(3), streamed(3), streamed(3), untimed=["a"])
    with pytest.raises(Divergence, match="a and b: the cycle of edge 'x': 3 and 1 elements"):
        check(streamed(3), whole(3))
    wrong = whole(3)
    wrong.outputs["y"].values[2, 4] += 1
    with pytest.raises(Divergence, match="edge 'x', element 4, frame 2, is 16 and 17"):
        check(streamed(3), wrong, untimed=["b"])
    with pytest.raises(Divergence, match="has 12 beats for 5 frames"):
        check(
            streamed(3),
            replace(streamed(3), outputs={"y": Signal(*[np.zeros((12, 2), np.int64)] * 2)}),
        )


def test_acceptance_is_compared():
    message = r"a and c: the cycle of input 'x', element 2, frame 4, is 14 and 18 \(test"
    with pytest.raises(Divergence, match=message):
        check(streamed(3), whole(3), streamed(3, late=4), untimed=["b"])
    with pytest.raises(Divergence, match="b: input 'x' took 14 beats for 5 frames"):
        check(streamed(3), replace(streamed(3), accepted={"x": np.arange(14)}))


def damage_value(t: Trace) -> None:
    t.taps["hidden"].values[3, 1] += 1


def damage_cycle(t: Trace) -> None:
    t.taps["hidden"].cycles[3, 1] += 1


@pytest.mark.parametrize("damage", [damage_value, damage_cycle])
@pytest.mark.parametrize("level", ["a", "b", "c"])
def test_one_wrong_integer_is_named(damage: Callable[[Trace], None], level: str):
    traces = {name: trace() for name in "abc"}
    damage(traces[level])
    with pytest.raises(Divergence) as caught:
        compare(traces, EDGES, frames=FRAMES, stimulus="test")
    found = caught.value
    assert level in found.levels
    assert (found.edge, found.frame, found.element) == ("hidden", 3, 1)
    assert "edge 'hidden', element 1, frame 3" in str(found)
    assert ("cycle" in str(found)) == (damage is damage_cycle)


def test_the_first_edge_in_order_is_blamed():
    broken = trace()
    broken.taps["y"].values[0, 0] += 1
    damage_value(broken)
    with pytest.raises(Divergence, match="edge 'hidden'"):
        check(trace(), broken)


def test_a_level_without_time_does_not_hide_a_wrong_cycle():
    late = trace()
    damage_cycle(late)
    check(timeless(trace()), trace(), trace())
    with pytest.raises(Divergence, match="b and c: the cycle of edge 'hidden'"):
        check(timeless(trace()), trace(), late)


def test_an_excused_level_does_not_hide_a_wrong_value():
    short = trace()
    taps = {name: signal for name, signal in short.taps.items() if name != "hidden"}
    short = replace(short, taps=taps)
    broken = trace()
    damage_value(broken)
    check(short, trace(), trace(), optional={"a": ["hidden"]})
    with pytest.raises(Divergence, match="b and c: edge 'hidden'"):
        check(short, trace(), broken, optional={"a": ["hidden"]})
    with pytest.raises(Divergence, match="a: edge 'hidden' is not shown"):
        check(short, trace())


@pytest.mark.parametrize("size", [FRAMES - 1, FRAMES + 1])
def test_short_and_long_outputs_are_divergences(size: int):
    whole = trace()
    output = whole.outputs["y"]
    rows = np.resize(np.arange(FRAMES), size)
    odd = replace(whole, outputs={"y": Signal(output.values[rows], output.cycles[rows])})
    with pytest.raises(Divergence, match=f"b: output 'y' has {size} beats for {FRAMES} frames"):
        check(trace(), odd)


def test_an_output_that_one_level_lacks_is_a_divergence():
    with pytest.raises(Divergence, match="b: output 'y' is not shown"):
        check(trace(), replace(trace(), outputs={}))


def test_outputs_need_cycles():
    mute = Signal(trace().outputs["y"].values, np.zeros((FRAMES, 0), np.int64))
    with pytest.raises(Divergence, match="b: output 'y' has no cycles"):
        check(trace(), replace(trace(), outputs={"y": mute}))


def test_nothing_compared_is_a_failure():
    with pytest.raises(Divergence, match="no vectors"):
        compare({"a": trace(), "b": trace()}, EDGES, frames=0, stimulus="test")
    with pytest.raises(Divergence, match="two levels"):
        compare({"a": trace()}, EDGES, frames=FRAMES, stimulus="test")
    empty = Trace({})
    with pytest.raises(Divergence, match="no edge"):
        compare({"a": empty, "b": empty}, [], frames=FRAMES, stimulus="test")


@pytest.mark.parametrize(
    ("low", "high", "mask"),
    [(0, 0, 0), (0, 1, 1), (-1, 0, 1), (-8, 7, 15), (4, 7, 3), (4, 8, 15), (-4, -3, 1)],
)
def test_varying_bits(low: int, high: int, mask: int):
    assert varying_bits(low, high) == mask
    width, _ = width_of(low, high)
    for bit in range(width):
        seen = {(value >> bit) & 1 for value in range(low, high + 1)}
        assert (len(seen) == 2) == bool(mask >> bit & 1)


def test_toggles_name_the_bits_that_never_moved():
    toggles = Toggles({"e": np.array([0, -2])}, {"e": np.array([7, 1])})
    toggles.add({"e": Signal(np.array([[1, -2], [3, -2]]), np.zeros((2, 1), np.int64))})
    found = toggles.count()
    assert (found.edges, found.bits, found.toggled) == (1, 5, 1)
    assert found.never == ("e[0] bit 0", "e[0] bit 2", "e[1] bit 0", "e[1] bit 1")
    toggles.add({"e": Signal(np.array([[4, 1]]), np.zeros((1, 1), np.int64))})
    assert toggles.count().toggled == 5
