from pathlib import Path

import numpy as np
import pytest

from fastml.compiler.stimulus_file import read_stimulus
from fastml.compiler.support.diagnostics import FastmlError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.json"


def test_without_a_file_all_is_back_to_back():
    given = read_stimulus(None, 3, "rv")
    assert not given.stalled
    assert given.gaps.tolist() == [0, 0, 0]


def test_inputs_idle_and_outputs_stall(file: Path):
    file.write_text(
        '{"gaps": [5, 0], "idle": {"in put": [0, 1, 2]}, "ready": {"y": [true, 0, 1]},'
        ' "stalls": {"z": [3, 1, 1], "v": []}}'
    )
    given = read_stimulus(file, 2, "rv")
    assert given.stalled
    assert given.gaps.tolist() == [5, 0]
    assert given.idle["in put"].tolist() == [0, 1, 2]
    ready = {edge: bits.tolist() for edge, bits in given.ready.items()}
    assert ready == {"y": [True, False, True], "z": [True, False, True, False], "v": []}


def test_gaps_are_for_every_protocol(file: Path):
    file.write_text('{"gaps": [1, 2]}')
    assert np.array_equal(read_stimulus(file, 2, "pulse").gaps, [1, 2])


@pytest.mark.parametrize(
    ("text", "protocol", "message"),
    [
        ('{"idles": 3}', "rv", "unknown key 'idles'; fix: the keys are"),
        ('{"gaps": [1]}', "rv", "'gaps' must be 2 numbers of cycles"),
        ('{"gaps": [1, -1]}', "rv", "'gaps' must be 2 numbers of cycles"),
        ('{"gaps": [1, true]}', "rv", "'gaps' must be 2 numbers of cycles"),
        ('{"gaps": [1, 1048577]}', "rv", "one before each frame, none above 1048576"),
        ('{"idle": {"x": [0.5]}}', "rv", "'idle' of 'x' must be a list of numbers of cycles"),
        ('{"ready": {"y": [2]}}', "rv", "'ready' of 'y' must be a list of 0 or 1, one a cycle"),
        ('{"stalls": {"y": [1048577]}}', "rv", "a list of cycles, none above 1048576"),
        ('{"stalls": {"y": 4}}', "rv", "'stalls' of 'y' must be a list of cycles"),
        ('{"stalls": {"y": [4]}, "ready": {"y": [1]}}', "rv", "'y' has both 'ready' and 'stalls'"),
        ('{"ready": {"y": [0]}}', "pulse", "cannot be stalled; fix: leave 'ready' out"),
        ('{"stalls": [1]}', "pulse", "cannot be stalled; fix: leave 'stalls' out"),
        ('{"idle": {"x": [0]}}', "pulse", "cannot be stalled; fix: leave 'idle' out"),
    ],
)
def test_what_fits_no_design_is_refused(file: Path, text: str, protocol: str, message: str):
    file.write_text(text)
    with pytest.raises(FastmlError, match="FML-STIMULUS") as caught:
        read_stimulus(file, 2, protocol)
    assert message in str(caught.value)


def test_what_a_level_cannot_predict_is_refused(file: Path):
    file.write_text('{"gaps": [7, 0], "ready": {"y": [1, 1]}}')
    assert not read_stimulus(file, 2, "rv", predicted=True).stalled
    file.write_text('{"gaps": [0, 1]}')
    assert read_stimulus(file, 2, "pulse", predicted=True).stalled
    with pytest.raises(FastmlError, match=r"FML-STIMULUS.*streams back-to-back only"):
        read_stimulus(file, 2, "rv", predicted=True)
