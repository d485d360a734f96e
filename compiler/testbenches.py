"""The testbench of a design: hurting vectors, and what the dataflow level predicts of them."""

from typing import TYPE_CHECKING

from fastml.compiler.emit.stream_testbench import emit_stream_testbench
from fastml.compiler.emit.testbench import emit_testbench
from fastml.compiler.verification import stimuli_of
from fastml.runtime.clocked import drive
from fastml.runtime.levels import RV
from fastml.runtime.streams import stream_drive
from fastml.runtime.trace import Stimulus, Trace
from fastml.runtime.vectors import hurting_vectors

if TYPE_CHECKING:
    from fastml.compiler.design import Design

FRAMES = 64
"""Frames of a testbench, unless they are long."""
FEWEST = 4
STIMULUS_BITS = 1 << 26
"""Bits of the stimulus from which on it has fewer frames: ports of protocol ``pulse`` are
driven cycle by cycle, idle ones too."""
STREAM_CYCLES = 1 << 13
"""Cycles from which on a stream has fewer frames: the first few already meet in the design."""
FEWEST_STREAMED = 2


def frame_count(cycles: int, width: int) -> int:
    """Return the frames for a design that takes one of ``width`` bits every ``cycles``."""
    return max(FEWEST, min(FRAMES, STIMULUS_BITS // max(cycles * width, 1)))


def testbench_of(design: "Design") -> dict[str, str]:
    """Return the files of a testbench with gaps, stalls where there may be, and a restart."""
    pinout = design.rtl.pinout
    width = sum(pinout.input_widths.values())
    frames = frame_count(pinout.ii, width)
    if pinout.protocol == RV:
        frames = max(FEWEST_STREAMED, min(FRAMES, STREAM_CYCLES // pinout.ii))
    beats = hurting_vectors(design.graph, frames, seed=0)
    *_, stimulus = stimuli_of(design.graph, beats, seed=0).values()
    predicted = design.level("qflow").simulate(stimulus, [])
    entries, exits = (
        {port.edge: port.port for port in side} for side in (pinout.inputs, pinout.outputs)
    )
    given = Stimulus(
        {entries[edge]: rows for edge, rows in stimulus.beats.items()},
        stimulus.gaps,
        stimulus.restart,
        {entries[edge]: idle for edge, idle in stimulus.idle.items()},
        {exits[edge]: ready for edge, ready in stimulus.ready.items()},
    )
    expected = Trace(
        {exits[edge]: signal for edge, signal in predicted.outputs.items()},
        accepted={entries[edge]: cycles for edge, cycles in predicted.accepted.items()},
    )
    inputs, outputs = ([p.layout for p in side] for side in (pinout.inputs, pinout.outputs))
    if pinout.protocol == RV:
        streams = stream_drive(pinout.input_widths, inputs, outputs, given, pinout.drain)
        return emit_stream_testbench(pinout.top, inputs, outputs, streams, expected)
    plan = drive(pinout.input_widths, inputs, given, pinout.ii, pinout.drain, pinout.weights)
    return emit_testbench(pinout.top, pinout.input_widths, outputs, plan, expected)
