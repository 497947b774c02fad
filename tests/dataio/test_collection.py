"""Folders of classes and lists as people have them, and their splits."""

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.corpora.collection import read_collection, write_lists
from audiomamba.dataio.corpora.splits import complete_splits
from audiomamba.dataio.problems import PreparationError


def write(path, seed=0, seconds=0.1):
    """Write noise that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(round(8000 * seconds))
    soundfile.write(path, 0.1 * noise, 8000)


@pytest.fixture
def sounds(tmp_path):
    """Write clips of two classes by four speakers, three each."""
    for index in range(24):
        label, speaker = ("dog", "cat")[index % 2], "abcd"[index // 6]
        write(tmp_path / "sounds" / label / f"{index}_{speaker}.wav", index)
    return tmp_path / "sounds"


def split_of(rows, column):
    """Value of a column -> the splits that it is in."""
    return rows.groupby(column)["split"].agg(set).to_dict()


def test_folders_are_classes_and_groups_stay_together(sounds, tmp_path):
    folder, rows = read_collection(sounds, group=r"_(\w)\.")
    assert folder == sounds and set(rows["label"]) == {"cat", "dog"}
    assert set(rows["group"]) == set("abcd")
    lists = write_lists(rows, tmp_path / "lists")
    together = pd.concat(lists.values())
    assert all(
        len(found) == 1 for found in split_of(together, "group").values()
    )
    for split, part in lists.items():
        assert set(part["label"]) == {"cat", "dog"}, split
        written = pd.read_csv(tmp_path / "lists" / f"{split}.csv", dtype=str)
        assert written["ID"].tolist() == part["ID"].tolist()
        assert set(written["duration"]) == {"0.1"}


def test_copies_of_a_recording_are_in_one_split(sounds):
    for index in range(6):
        (sounds / "dog" / f"copy{index}.wav").write_bytes(
            (sounds / "dog" / f"{2 * index}_{'aaabbb'[index]}.wav").read_bytes()
        )
    _, rows = read_collection(sounds)
    assert len(rows) == 30 and rows["group"].nunique() == 24
    splits = split_of(complete_splits(rows), "group")
    assert all(len(found) == 1 for found in splits.values())


def test_folders_named_as_splits_are_splits(sounds, tmp_path):
    for split in ("train", "Val", "test"):
        write(tmp_path / "made" / split / "dog" / "x" / "a.wav", len(split))
        write(tmp_path / "made" / split / "cat" / "b.wav", 7 + len(split))
    _, rows = read_collection(tmp_path / "made")
    assert split_of(rows, "label") == dict.fromkeys(
        ("cat", "dog"), {"train", "valid", "test"}
    )


def test_a_list_may_name_splits_groups_and_parts(sounds, tmp_path):
    names = sorted(
        p.relative_to(sounds).as_posix() for p in sounds.rglob("*.wav")
    )
    table = pd.DataFrame({"path": names})
    table["label"] = ["loud; dog" if "dog" in name else "cat" for name in names]
    table["split"] = "train"
    table.loc[::4, "split"] = "eval"
    table["start"], table["stop"] = 80, -1
    table.to_csv(sounds / "list.csv", index=False)
    folder, rows = read_collection(sounds / "list.csv")
    assert folder == sounds and set(rows["split"]) == {"train", "test"}
    assert set(rows["duration"]) == {0.09}
    assert rows["ID"][0] == f"{names[0]}:80--1"
    lists = write_lists(rows, tmp_path)
    assert [len(part) for part in lists.values()] == [14, 4, 6]
    assert "valid" not in set(lists["test"]["split"])


def test_a_class_of_one_recording_is_trained_and_not_tested():
    rows = pd.DataFrame({"label": ["a", "b"] * 6 + ["rare"], "split": ""})
    rows["group"] = [str(index) for index in range(13)]
    for seed in range(12):
        # wherever it comes in the order
        turned = pd.concat([rows[seed:], rows[:seed]], ignore_index=True)
        splits = split_of(complete_splits(turned), "label")
        assert splits["rare"] == {"train"}
        assert splits["a"] == {"train", "valid", "test"}


def test_splits_of_several_labels_keep_every_class_in_training():
    generator = np.random.default_rng(0)
    labels = [
        ";".join(generator.choice(list("abcdefgh"), size=2, replace=False))
        for _ in range(40)
    ]
    rows = pd.DataFrame({"label": labels, "split": ""})
    rows["group"] = [str(index // 2) for index in range(40)]
    found = complete_splits(rows)
    trained = ";".join(found["label"][found["split"] == "train"])
    assert set(trained.split(";")) == set("abcdefgh")
    assert (found["split"] == "test").sum() in range(6, 11)


def change(column, value):
    """A change of one row of a list."""

    def apply(table):
        table.loc[3, column] = value

    return apply


@pytest.mark.parametrize(
    "edit, message",
    [
        (change("label", ""), "line 5: has no label"),
        (change("split", "tset"), "line 5: the split is 'tset'"),
        (change("split", ""), "1 of 24 clips have no split"),
        (change("path", "dog/lost.wav"), "lost.wav: is missing"),
        (lambda t: t.pop("path"), "no column \\['path'\\]"),
        (lambda t: t.insert(0, "start", "0"), "give start and stop"),
        (lambda t: t.update(t[:1].rename({0: 1})), "in an earlier line"),
        (lambda t: t.__setitem__("label", "dog"), "one class \\(dog\\)"),
        (lambda t: None, "too few"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(sounds, tmp_path, edit, message):
    names = sorted(
        p.relative_to(sounds).as_posix() for p in sounds.rglob("*.wav")
    )
    table = pd.DataFrame({"path": names[::-1]})
    table["label"] = [name.split("/")[0] for name in table["path"]]
    table["split"] = "train"
    if message == "too few":
        table = table.iloc[11:13]
    edit(table)
    table.to_csv(sounds / "list.csv", index=False)
    with pytest.raises(PreparationError, match=message):
        write_lists(read_collection(sounds / "list.csv")[1], tmp_path)


def test_a_test_split_alone_leaves_nothing_to_train_on(sounds, tmp_path):
    """Once an IndexError."""
    sounds.rename(tmp_path / "test")
    (tmp_path / "data").mkdir()
    (tmp_path / "test").rename(tmp_path / "data" / "test")
    with pytest.raises(PreparationError, match="no clip is left for train"):
        write_lists(read_collection(tmp_path / "data")[1], tmp_path)


def test_files_outside_of_classes_and_empty_folders_are_named(tmp_path, caplog):
    with pytest.raises(PreparationError, match="(?s)no sound.*<class>/"):
        read_collection(tmp_path)
    for name in ("dog/a.wav", "cat/b.wav", "stray.wav"):
        write(tmp_path / name)
    with pytest.raises(PreparationError, match="stray.wav: is in no folder"):
        read_collection(tmp_path)
    assert len(read_collection(tmp_path, allow_missing=True)[1]) == 2
    assert "1 problem with the data:\n" in caplog.text
    assert f"{tmp_path / 'stray.wav'}: is in no folder" in caplog.text


@pytest.mark.parametrize(
    "pattern, message",
    [("(", "no regular expression"), ("a", "parentheses"), ("(x)", "0 of 24")],
)
def test_a_pattern_without_groups_is_refused(sounds, pattern, message):
    with pytest.raises(PreparationError, match=message):
        read_collection(sounds, group=pattern)
