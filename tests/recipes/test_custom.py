"""A user's lists and what is wrong with them."""

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.corpora.custom import prepare as prepare_lists
from audiomamba.dataio.corpora.custom import prepare_custom
from audiomamba.dataio.corpora.splits import SPLITS
from audiomamba.dataio.manifest import read_labels, read_manifest
from audiomamba.dataio.problems import PreparationError


@pytest.fixture
def corpus(tmp_path):
    """Write twelve clips of two tones, and the three lists."""
    folder = tmp_path / "sounds"
    (folder / "clips").mkdir(parents=True)
    rows = []
    for index in range(12):
        label = ("low", "high")[index % 2]
        pitch = {"low": 300, "high": 2500}[label]
        times = np.arange(8000 + 400 * index) / 16000
        wave = 0.3 * np.sin(2 * np.pi * pitch * times)
        path = f"clips/{index:02}.wav"
        soundfile.write(folder / path, wave, 16000)
        # wrong on purpose, as durations are measured
        rows.append((f"{index:02}", 9.0, path, label))
    table = pd.DataFrame(rows, columns=["ID", "duration", "wav", "label"])
    for split, part in (("train", slice(0, 6)), ("valid", slice(6, 8))):
        table[part].to_csv(folder / f"{split}.csv", index=False)
    table[8:].to_csv(folder / "test.csv", index=False)
    return folder


@pytest.fixture
def prepare(corpus, tmp_path):
    lists = {split: corpus / f"{split}.csv" for split in SPLITS}
    return lambda **options: prepare_custom(
        corpus, tmp_path / "save", lists, **options
    )


@pytest.fixture
def prepare_folds(corpus, tmp_path):
    """Join the lists to one, and prepare one of its three folds."""
    parts = [pd.read_csv(corpus / f"{s}.csv", dtype=str) for s in SPLITS]
    path = tmp_path / "clips.csv"
    pd.concat(parts).to_csv(path, index=False)
    return lambda fold: prepare_lists(
        {
            "data_folder": corpus,
            "manifest_folder": tmp_path / "save",
            **{f"{split}_csv": None for split in SPLITS},
            "clips_csv": path,
            "fold": fold,
            "n_folds": 3,
            "seed": 1,
            "multi_label": False,
            "allow_missing": False,
            "check_audio": "headers",
            "skip_prep": False,
        }
    )


def edit(corpus, split, change):
    """Change a list as a user's editor would."""
    path = corpus / f"{split}.csv"
    table = pd.read_csv(path, dtype=str)
    change(table)
    table.to_csv(path, index=False)


def test_lists_are_checked_measured_and_reused(
    prepare, corpus, tmp_path, caplog
):
    caplog.set_level("INFO")
    prepare()
    assert read_labels(tmp_path / "save" / "labels.csv") == ["high", "low"]
    test = read_manifest(tmp_path / "save" / "test.csv")
    assert test["duration"].tolist() == [0.7, 0.725, 0.75, 0.775]
    prepare()
    assert "Nothing has changed" in caplog.text
    edit(corpus, "train", lambda table: table.loc.__setitem__((0, "ID"), "x"))
    prepare()
    assert "preparing again" in caplog.text


def test_all_problems_are_named_at_once(prepare, corpus):
    (corpus / "clips" / "01.wav").unlink()
    (corpus / "clips" / "02.wav").write_bytes(b"no sound")

    def change(table):
        table.loc[0, "label"] = "unheard"
        table.loc[1, "wav"] = "clips/00.wav"

    edit(corpus, "test", change)
    with pytest.raises(PreparationError) as raised:
        prepare()
    message = str(raised.value)
    assert message.startswith("4 problems")
    for part in ("01.wav", "02.wav", "test.csv, 08: its label (unheard)"):
        assert part in message
    assert "clips/00.wav: is in the test list and in the train list" in message


def test_allow_missing_leaves_files_out(prepare, corpus, tmp_path):
    (corpus / "clips" / "01.wav").unlink()
    prepare(allow_missing=True)
    assert len(read_manifest(tmp_path / "save" / "train.csv")) == 5


def test_a_clip_in_two_lists_is_left_out_of_training(
    prepare, corpus, tmp_path, caplog
):
    """Once it stayed in both, and was tested on."""

    def name(table):
        table["wav"] = table["wav"].replace(same, "clips/08.wav")

    same = ["clips/00.wav", "clips/03.wav", "clips/07.wav"]
    edit(corpus, "train", name)
    edit(corpus, "valid", name)
    prepare(allow_missing=True)
    assert "left out: 2 of 6 train, 1 of 2 valid" in caplog.text
    tables = {
        split: read_manifest(tmp_path / "save" / f"{split}.csv")["wav"].tolist()
        for split in SPLITS
    }
    assert tables["test"].count("clips/08.wav") == 1
    assert "clips/08.wav" not in tables["train"] + tables["valid"]


def test_events_of_a_clip_that_is_left_out_are_no_problem(
    prepare, corpus, tmp_path, caplog
):
    """Once each was one more, and said that the ID was wrong."""
    (corpus / "clips" / "01.wav").unlink()
    events = tmp_path / "events.csv"
    events.write_text("ID,start,stop,label\n01,0,0.1,high\n03,0,0.1,high\n")
    prepare(allow_missing=True, strong_csv=events)
    assert "1 problem, left out: 1 of 6 train" in caplog.text


def test_a_missing_list_is_named(prepare, corpus):
    (corpus / "valid.csv").unlink()
    with pytest.raises(PreparationError, match=r"(?s)valid\.csv.*--valid_csv"):
        prepare()


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda t: t.pop("wav"), "no column.*wav"),
        (lambda t: t.pop("label"), "no column 'label'"),
        (lambda t: t.loc.__setitem__((1, "ID"), t.loc[0, "ID"]), "ID 00"),
        (lambda t: t.insert(4, "start", "0"), "start and stop"),
    ],
)
def test_invalid_lists_are_refused(prepare, corpus, change, complaint):
    edit(corpus, "train", change)
    with pytest.raises(PreparationError, match=complaint):
        prepare()


def test_segments_of_a_file_count_as_clips(prepare, corpus, tmp_path):
    """A file may be in two lists if its segments differ."""
    for index, split in enumerate(("train", "valid", "test")):

        def cut(table, first=2000 * index):
            table["wav"] = "clips/00.wav"
            table["start"] = first + np.arange(len(table))
            table["stop"] = table["start"] + 1000
            table["duration"] = 0.0625

        edit(corpus, split, cut)
    prepare()
    test = read_manifest(tmp_path / "save" / "test.csv")
    assert test["start"].tolist() == [4000, 4001, 4002, 4003]
    assert set(test["duration"]) == {0.0625}


def save_lists(corpus, **changes):
    """Write the lists with one column changed: name -> value by split."""
    for split in ("train", "valid", "test"):

        def change(table, split=split):
            for name, value in changes.items():
                table[name] = value(table, split)

        edit(corpus, split, change)


@pytest.mark.parametrize("separator", ["; ", " ;", ";;", ";"])
def test_blanks_make_no_class_of_their_own(
    prepare, corpus, tmp_path, separator
):
    labels = [f"dog{separator}rain", "rain "]
    save_lists(corpus, label=lambda t, _: [labels[i % 2] for i in t.index])
    prepare(multi_label=True)
    assert read_labels(tmp_path / "save" / "labels.csv") == ["dog", "rain"]
    table = read_manifest(tmp_path / "save" / "train.csv")
    assert set(table["label"]) == {"dog;rain", "rain"}


def test_a_separator_in_a_single_label_is_a_question(prepare, corpus):
    save_lists(corpus, label=lambda t, _: [f"dog;rain{i}" for i in t.index])
    complaint = (
        "train.csv, 00 and 5 more: is its label 'dog;rain0' one class or "
        "several.*--multi_label True.*rename it"
    )
    with pytest.raises(PreparationError, match=complaint) as caught:
        prepare()
    # once per list
    assert str(caught.value).startswith("3 problems")


@pytest.mark.parametrize("other", ["Dog bark", "dog_bark", "Dog-Bark"])
def test_labels_that_differ_in_case_or_blanks_are_noticed(
    prepare, corpus, caplog, other
):
    labels = [other, "dog bark"]
    save_lists(corpus, label=lambda t, _: [labels[i % 2] for i in t.index])
    prepare()
    first, second = sorted(labels)
    assert f"{first} and {second} are different classes" in caplog.text


def test_a_class_that_was_meant_is_named(prepare, corpus):
    edit(corpus, "test", lambda t: t.loc.__setitem__((0, "label"), "LO_W"))
    complaint = r"test.csv, 08: its label \(LO_W, is it 'low'\?\) is not in"
    with pytest.raises(PreparationError, match=complaint):
        prepare()


def test_classes_too_rare_to_learn_or_test_are_named(prepare, corpus, caplog):
    edit(corpus, "train", lambda t: t.loc.__setitem__((0, "label"), "once"))
    prepare()
    assert "1 of 3 classes have a single training clip" in caplog.text
    assert "1 of 3 classes have no test clip, so they have no score: once" in (
        caplog.text
    )


def test_several_labels_that_are_never_several_are_noticed(
    prepare, corpus, caplog
):
    prepare(multi_label=True)
    assert "multi_label is True, but no clip has two labels" in caplog.text


def test_a_list_is_cut_into_folds_before_it_is_checked(
    prepare_folds, corpus, tmp_path
):
    prepare_folds(2)
    tables = {
        split: read_manifest(tmp_path / "save" / f"{split}.csv")
        for split in ("train", "valid", "test")
    }
    assert {split: len(table) for split, table in tables.items()} == {
        "train": 4, "valid": 4, "test": 4,
    }  # fmt: skip
    assert set(tables["test"]["fold"]) == {"2"}
    assert read_labels(tmp_path / "save" / "labels.csv") == ["high", "low"]
    (corpus / "clips" / "03.wav").unlink()
    with pytest.raises(PreparationError, match="03.wav: is missing"):
        prepare_folds(2)


def test_a_path_is_one_file_however_it_is_written(prepare, corpus, tmp_path):
    forms = {
        "train": "./{}", "valid": str(corpus) + "/{}", "test": "clips//../{}",
    }  # fmt: skip
    save_lists(
        corpus, wav=lambda t, split: [forms[split].format(w) for w in t["wav"]]
    )
    prepare()
    table = read_manifest(tmp_path / "save" / "valid.csv")
    assert table["wav"].tolist() == ["clips/06.wav", "clips/07.wav"]
    edit(
        corpus, "test", lambda t: t.loc.__setitem__((0, "wav"), r"clips\06.wav")
    )
    complaint = "clips/06.wav: is in the test list and in the valid list"
    with pytest.raises(PreparationError, match=complaint):
        prepare()


def test_a_changed_clip_is_noticed_wherever_it_is(prepare, corpus):
    for path in (corpus / "clips").iterdir():
        path.rename(corpus / path.name)
    save_lists(corpus, wav=lambda t, _: t["wav"].str.removeprefix("clips/"))
    prepare()
    (corpus / "00.wav").write_bytes(b"no sound any more")
    with pytest.raises(PreparationError, match="00.wav: is not an audio file"):
        prepare()


def test_a_missing_file_is_compared_with_those_no_row_names(prepare, corpus):
    (corpus / "clips" / "01.wav").rename(corpus / "clips" / "01.WAV")
    with pytest.raises(PreparationError, match="01.wav: .*clips/01.WAV"):
        prepare()


def test_faults_of_all_lists_are_shown_at_once(prepare, corpus):
    (corpus / "train.csv").write_bytes(b"ID,duration,wav,label\n\xe4,1,a,b\n")
    (corpus / "valid.csv").write_bytes(b"")
    with (corpus / "test.csv").open("a") as file:
        file.write("x,1,a.wav,b,c,d\n")
    with pytest.raises(PreparationError) as caught:
        prepare()
    message = str(caught.value)
    for part in (
        "train.csv, line 2: is not UTF-8",
        "valid.csv: is empty",
        "test.csv, line 6: has 6 fields",
    ):
        assert part in message


def test_segments_are_checked_and_measured(prepare, corpus, tmp_path):
    def parts(split, start, stop):
        save_lists(
            corpus,
            start=lambda t, s: start if s == split else 0,
            stop=lambda t, s: stop if s == split else -1,
        )

    parts("valid", 100, 4100)
    prepare()
    table = read_manifest(tmp_path / "save" / "valid.csv")
    assert table["duration"].tolist() == [0.25, 0.25]
    for start, stop in ((0, 99999), (5000, 1000), (100, 100)):
        parts("valid", start, stop)
        with pytest.raises(
            PreparationError, match="(?s)2 problems.*06 in valid"
        ):
            prepare()
    parts("valid", -5, 1000)
    with pytest.raises(PreparationError, match="valid.csv, line 2: start"):
        prepare()


def test_a_recording_may_not_be_validated_on_as_well(prepare, corpus):
    edit(
        corpus,
        "valid",
        lambda table: table.loc.__setitem__((0, "wav"), "clips/00.wav"),
    )
    complaint = "clips/00.wav: is in the train list and in the valid list"
    with pytest.raises(PreparationError, match=complaint):
        prepare()
