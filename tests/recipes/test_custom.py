"""A user's lists, from checks to results; the tutorial's test has the rest."""

import numpy as np
import pandas as pd
import pytest
import soundfile

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
def prepare(load_script, corpus, tmp_path):
    module = load_script("Custom", "custom_prepare")
    lists = {split: corpus / f"{split}.csv" for split in module.SPLITS}
    return lambda **options: module.prepare_custom(
        corpus, tmp_path / "save", lists, **options
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
    for part in ("01.wav", "02.wav", "test, 08: its label (unheard)"):
        assert part in message
    assert "clips/00.wav: is in the test list and in another" in message


def test_allow_missing_leaves_files_out(prepare, corpus, tmp_path):
    (corpus / "clips" / "01.wav").unlink()
    prepare(allow_missing=True)
    assert len(read_manifest(tmp_path / "save" / "train.csv")) == 5


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


def test_clips_with_several_labels_can_be_learned(
    corpus, make_start, read_results, tmp_path
):
    for split in ("train", "valid", "test"):

        def both(table):
            table.loc[0, "label"] = "low;high"
            table.loc[1, "label"] = "high"

        edit(corpus, split, both)
    start = make_start("Custom", corpus, batch_size=4, num_workers=0)
    start(
        tmp_path / "run",
        "aum_tiny",
        multi_label=True,
        compute_loss="!name:audiomamba.training.losses.binary_cross_entropy",
        metrics="{names: [mAP], activation: sigmoid}",
        dataset_name="Tones",
    )
    results = read_results(tmp_path / "run")
    assert results["dataset"] == "Tones" and results["n_classes"] == 2
    assert results["metric"]["name"] == "mAP"
    assert results["clips"] == {"train": 6, "valid": 2, "test": 4}
