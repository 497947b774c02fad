"""Held-out clips: a fixed rule over groups that ignores order and seeds."""

import numpy as np
import pandas as pd
import pytest

from audiomamba.dataio.corpora.splits import hold_out, report_overlaps
from audiomamba.dataio.problems import Problems


@pytest.fixture
def rows():
    return pd.DataFrame(
        {
            "ID": [f"clip{index}" for index in range(600)],
            "video": [f"video{index // 6}" for index in range(600)],
            "label": ["a" if index < 420 else "b" for index in range(600)],
        }
    )


def test_whole_groups_are_held_out(rows):
    held = hold_out(rows, "video", 0.1)
    assert held.sum() == 60
    assert not set(rows["video"][held]) & set(rows["video"][~held])


def test_row_order_and_random_state_do_not_matter(rows):
    held = set(rows["ID"][hold_out(rows, "video", 0.1)])
    np.random.seed(3)
    shuffled = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    assert set(shuffled["ID"][hold_out(shuffled, "video", 0.1)]) == held


def test_a_share_of_every_class_is_held_out(rows):
    held = hold_out(rows, "video", 0.1, within="label")
    assert rows["label"][held].value_counts().to_dict() == {"a": 42, "b": 18}
    few = rows.groupby("label").head(6)
    # the only group of a class stays in training
    assert not hold_out(few, "video", 0.5, within="label").any()


def test_extreme_shares_keep_one_group_and_others_are_refused(rows):
    assert not hold_out(rows, "video", 0).any()
    assert hold_out(rows, "video", 1e-9).sum() == 6
    assert (~hold_out(rows, "video", 0.999)).sum() == 6
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match="share"):
            hold_out(rows, "video", share)


def overlaps(*parts):
    columns = ["wav", "split", "start", "stop"][: len(parts[0])]
    problems = Problems()
    report_overlaps(pd.DataFrame(parts, columns=columns), problems)
    return problems.messages


@pytest.mark.parametrize(
    "first, second",
    [("train", "valid"), ("train", "test"), ("valid", "test")],
)
def test_every_pair_of_splits_is_compared(first, second):
    assert not overlaps(("a.wav", first), ("a.wav", first), ("b.wav", second))
    (message,) = overlaps(("a.wav", first), ("a.wav", second))
    assert first in message and second in message and "a.wav" in message


def test_only_parts_that_share_samples_overlap():
    assert not overlaps(("a", "train", 0, 100), ("a", "test", 100, 200))
    assert not overlaps(("a", "train", 0, 100), ("b", "test", 50, 200))
    assert overlaps(("a", "train", 0, 101), ("a", "test", 100, 200))
    assert overlaps(("a", "train", 0, -1), ("a", "test", 100, 200))
    assert overlaps(("a", "train", 50, 60), ("a", "test", 0, -1))


def test_three_lists_with_one_recording_are_three_problems():
    parts = [("a", split, 0, 9) for split in ("train", "valid", "test")]
    assert len(overlaps(*parts, *parts)) == 3
