"""What is heard when: lists of events, and targets of frames."""

import json

import pandas as pd
import pytest
import torch

from audiomamba.dataio.corpora.strong_labels import (
    EventRows,
    add_events,
    learn_events,
)
from audiomamba.dataio.pipeline import RandomCrop
from audiomamba.dataio.problems import PreparationError, Problems


@pytest.fixture
def rows():
    columns = ["ID", "split", "duration", "label"]
    table = [
        ("a", "train", 4.0, "dog;rain"),
        ("b", "train", 2.0, "dog"),
        ("c", "test", 2.0, "dog"),
    ]
    return pd.DataFrame(table, columns=columns)


def write(path, *lines):
    path.write_text("\n".join(["ID,start,stop,label", *lines]) + "\n")
    return path


def test_events_are_kept_with_their_clips(rows, tmp_path):
    lines = ["a,0.5,1.5,dog", "a,1,4,rain"]
    problems = Problems()
    found = add_events(rows, write(tmp_path / "e.csv", *lines), problems)
    assert json.loads(found["events"][0]) == [
        [0.5, 1.5, "dog"],
        [1.0, 4.0, "rain"],
    ]
    assert found["events"][1:].tolist() == ["", ""] and not problems.messages


def test_one_list_of_events_does_for_all_folds(rows, tmp_path):
    """Once events of the clips that are held out were errors."""
    path = write(tmp_path / "e.csv", "b,0,1,dog", "c,0,1,dog", "x,0,1,dog")
    problems = Problems()
    found = add_events(rows, path, problems, {"c"})
    assert found["events"].tolist() == ["", '[[0.0, 1.0, "dog"]]', ""]
    (message,) = problems.messages
    assert "line 4: x is no clip" in message


@pytest.mark.parametrize("start", [0.25, 0.75])
def test_a_half_covered_frame_has_the_event(start):
    """Once only frames of an even number had, by Python's rounding."""
    event = json.dumps([[start, start + 0.5, "dog"]])
    found = EventRows(["dog"], step=0.5)("a", 2.0, event)[:, 0]
    first = int(start / 0.5)
    assert found.nonzero()[:, 0].tolist() == [first, first + 1]


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("x,0,1,dog", "line 2: x is no clip of the training list"),
        ("c,0,1,dog", "line 2: c is no clip of the training list"),
        ("b,0,3,dog", "from 0 to 3 s and lasts 2 s"),
        ("b,1,1,dog", "from 1 to 1 s"),
        ("b,0,1,rain", "an event 'rain', which is none of its labels"),
    ],
)
def test_events_outside_of_a_clip_are_named(rows, tmp_path, line, complaint):
    problems = Problems()
    add_events(rows, write(tmp_path / "e.csv", line), problems)
    (message,) = problems.messages
    assert complaint in message


def test_times_that_are_no_numbers_are_refused(rows, tmp_path):
    path = write(tmp_path / "e.csv", "a,0,1,dog", "a,-1,1,dog")
    with pytest.raises(PreparationError, match="line 3: start is '-1'"):
        add_events(rows, path, Problems())


def test_frames_are_marked_by_halves():
    item = EventRows(["dog", "rain"], 0.5, max_duration=2.0)
    events = json.dumps([[0.3, 1.2, "dog"], [1.6, 1.7, "rain"]])
    rows = item("a", 4.0, events)
    assert rows[:, 0].tolist() == [0, 1, 0, 0]
    # Shorter than half a frame, but not lost
    assert rows[:, 1].tolist() == [0, 0, 0, 1]
    assert torch.isnan(item("b", 0.7, "")).all()
    assert item("b", 0.7, "").shape == (2, 2)


@pytest.mark.parametrize("name", ["crop", "wav_augment"])
def test_augmentation_that_moves_sounds_is_refused(name):
    with pytest.raises(PreparationError, match=f"set {name} to null"):
        learn_events(None, {name: RandomCrop(1)}, ["dog"])
