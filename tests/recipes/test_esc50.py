"""ESC-50 from its files to the average of the folds, as a user runs it."""

import os
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.manifest import read_labels, read_manifest
from audiomamba.dataio.problems import PreparationError

# in the order of the owners' targets
ESC10 = ["dog", "rooster", "rain", "sea_waves", "crackling_fire", "clock_tick"]
CLASSES = [*ESC10[:5], "keyboard_typing", "clock_tick", "church_bells"]


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("ESC50", n_clips=1, seconds=1.0).folder


@pytest.fixture(scope="module")
def start(make_start, corpus):
    return make_start(
        "ESC50", corpus, n_frames=96, max_duration=1.0, precision="fp32"
    )


@pytest.fixture(scope="module")
def start_folds(start):
    """Run two of the folds: output folder, flags -> output."""
    folds = ("--folds", 1, 3)
    return lambda folder, *flags: start(
        folder, "aum_base", *folds, *flags, script="run_folds.py"
    )


@pytest.fixture(scope="module")
def trained(start_folds, tmp_path_factory):
    """Output folder and log of the paper's recipe with a small model."""
    folder = tmp_path_factory.mktemp("run")
    return folder, start_folds(folder)


def meta(corpus):
    return pd.read_csv(corpus / "meta" / "esc50.csv", dtype=str)


def test_manifests_hold_the_folds(trained, corpus):
    listed = meta(corpus).set_index("filename")
    for fold in ("1", "3"):
        folder = trained[0] / f"fold{fold}" / "manifests"
        tables = {
            s: read_manifest(folder / f"{s}.csv") for s in ("train", "test")
        }
        assert {s: len(t) for s, t in tables.items()} == {
            "train": 32,
            "test": 8,
        }
        for split, table in tables.items():
            for row in table.itertuples():
                entry = listed.loc[f"{row.ID}.wav"]
                assert (entry["fold"] == fold) == (split == "test")
                assert row.label == entry["category"]
                assert row.wav == f"audio/{row.ID}.wav"


def test_the_loss_falls_and_classes_keep_their_order(trained, read_results):
    for fold in (1, 3):
        folder = trained[0] / f"fold{fold}"
        results = read_results(folder)
        losses = [row["train_loss"] for row in results["curve"]]
        assert len(losses) == 2 and losses[1] < losses[0]
        assert results["dataset"] == "ESC50" and results["n_classes"] == 8
        assert list(results["protocols"]) == ["paper", "last"]
        assert results["protocols"]["last"]["epoch"] == 2
        assert read_labels(folder / "manifests" / "labels.csv") == CLASSES


def test_the_record_averages_the_folds(trained, read_results):
    folds = [read_results(trained[0] / f"fold{fold}") for fold in (1, 3)]
    results = read_results(trained[0])
    last = [r["protocols"]["last"]["test"]["accuracy"] for r in folds]
    average = results["protocols"]["last"]
    assert average["test"]["accuracy"] == pytest.approx(np.mean(last))
    assert average["std"]["accuracy"] == pytest.approx(np.std(last, ddof=1))
    assert average["folds"] == {"1": last[0], "3": last[1]}
    assert results["protocol"] == "paper"
    paper = results["protocols"]["paper"]["test"]["accuracy"]
    assert results["metric"]["value"] == paper >= average["test"]["accuracy"]
    assert results["metric"]["split"] == "test, mean of folds 1, 3"
    assert results["command"].startswith("python run_folds.py hparams/")
    assert "standard deviation over 2 folds" in trained[1]


def test_manifests_are_reused_and_independent_of_the_seed(
    trained, start, start_folds, tmp_path
):
    folder, output = trained
    assert output.count("Wrote manifests") == 2
    before = os.stat(folder / "fold1" / "manifests" / "train.csv").st_ino
    again = start(folder / "fold1", "aum_base", "--test_only", fold=1)
    assert again.count("Nothing has changed") == 1
    after = os.stat(folder / "fold1" / "manifests" / "train.csv").st_ino
    assert after == before
    start(tmp_path, "aum_tiny", number_of_epochs=1, seed=7, fold=3)
    for name in ("train.csv", "test.csv", "labels.csv"):
        first = (folder / "fold3" / "manifests" / name).read_bytes()
        assert (tmp_path / "manifests" / name).read_bytes() == first


def test_bad_entries_are_named(make_corpus, start, tmp_path):
    made = make_corpus("ESC50", n_clips=1, seconds=1.0, broken=True)
    options = {"data_folder": made.folder}
    output = start(tmp_path, "aum_base", **options, fails=True)
    assert "Traceback" not in output and "7 problems with the data" in output
    assert len(made.broken) == 7
    for entry in made.broken:
        name = entry.removeprefix("meta/esc50.csv: ").split(": ")[0]
        assert name in output, entry
    options |= {"number_of_epochs": 1, "allow_missing": True}
    output = start(tmp_path, "aum_tiny", **options)
    assert "7 problems, left out: 4 of 12 test, 1 of 33 train" in output


def test_a_missing_corpus_is_explained(run_without_corpus, tmp_path):
    output = run_without_corpus(
        "ESC50", tmp_path, "aum_base", script="run_folds.py"
    )
    assert "ESC50 was not found" in output
    assert "fold 1 ended with status 1" in output


# ---------------------------------------------------------------- preparation


@pytest.fixture(scope="module")
def prepare(load_script):
    return load_script("ESC50", "esc50_prepare").prepare_esc50


@pytest.fixture
def small(tmp_path):
    """One clip of two classes in each of three folds; rain is in ESC-10."""
    folder = tmp_path / "corpus"
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in (2, 3, 5):
        for target, name in ((10, "rain"), (49, "hand_saw")):
            clip = f"{fold}-100{target}-A-{target}.wav"
            soundfile.write(folder / "audio" / clip, np.zeros(4410), 44100)
            esc10 = name == "rain"
            lines.append(f"{clip},{fold},{target},{name},{esc10},100{target},A")
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_esc10_has_the_clips_marked_as_such(prepare, corpus, tmp_path):
    prepare(corpus, tmp_path, fold=2, subset="esc10")
    assert read_labels(tmp_path / "labels.csv") == ESC10
    listed = meta(corpus).query("esc10 == 'True'")
    found = pd.concat(
        read_manifest(tmp_path / f"{split}.csv") for split in ("train", "test")
    )
    assert sorted(found["ID"] + ".wav") == sorted(listed["filename"])


def test_the_unpacked_folder_of_the_archive_works(prepare, small, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(small, home / "ESC-50-master")
    prepare(home, tmp_path / "save", fold=3)
    table = read_manifest(tmp_path / "save" / "test.csv")
    assert table["wav"].tolist() == [
        "ESC-50-master/audio/3-10010-A-10.wav",
        "ESC-50-master/audio/3-10049-A-49.wav",
    ]


def test_missing_folds_are_named(prepare, small, tmp_path, caplog):
    with pytest.raises(
        PreparationError, match="only has clips of folds 2, 3, 5"
    ):
        prepare(small, tmp_path / "save", fold=1)
    prepare(small, tmp_path / "save", fold=5)
    assert "no clips of folds 1, 4" in caplog.text


def test_a_custom_list_of_clips_is_used(prepare, small, tmp_path):
    table = meta(small)
    table["fold"] = ["1", "1", "2", "2", "1", "1"]
    table.to_csv(tmp_path / "mine.csv", index=False)
    prepare(small, tmp_path / "save", 2, meta_file=tmp_path / "mine.csv")
    found = read_manifest(tmp_path / "save" / "test.csv")
    assert found["ID"].tolist() == ["3-10010-A-10", "3-10049-A-49"]


def test_recordings_in_two_splits_are_noticed(prepare, small, tmp_path, caplog):
    prepare(small, tmp_path / "save", fold=2)
    assert "2 recordings have clips in the test fold and in others" in (
        caplog.text
    )
    caplog.clear()
    path = small / "meta" / "esc50.csv"
    for clip in sorted((small / "audio").glob("2-*")):
        name = clip.name.replace("-100", "-200")
        clip.rename(clip.with_name(name))
        path.write_text(path.read_text().replace(clip.name, name))
    prepare(small, tmp_path / "save", fold=2)
    assert "recordings have clips" not in caplog.text


def test_classes_that_cannot_be_learned_are_named(
    prepare, small, tmp_path, caplog
):
    path = small / "meta" / "esc50.csv"
    kept = [
        line
        for line in path.read_text().splitlines()
        if "hand_saw" not in line or line.startswith("5")
    ]
    path.write_text("\n".join(kept) + "\n")
    prepare(small, tmp_path / "save", fold=5)
    assert "fold 5 has clips of hand_saw, but the other folds have none" in (
        caplog.text
    )


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        (",49,hand_saw", ",48,hand_saw", "its target is not that of"),
        (",10,rain", ",10,Rain", "its category is none of.*recipes/Custom"),
        ("2-10049-A-49.wav,2", "../2-10049-A-49.wav,2", "not that of a wav"),
        ("2-10049-A-49.wav,2", "3-10049-A-49.wav,2", "an earlier line too"),
        ("3,49,hand_saw,False", "3,49,hand_saw,no", "neither True nor False"),
        ("esc10", "esc_10", "has no column"),
    ],
)
def test_a_damaged_list_is_refused(
    prepare, small, tmp_path, old, new, complaint
):
    path = small / "meta" / "esc50.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(PreparationError, match=complaint):
        prepare(small, tmp_path / "save", fold=2)


@pytest.mark.parametrize(
    "damage, complaint",
    [
        (lambda whole: whole + b"\xe4,1,1,dog,True,1,A\n", "iconv"),
        (lambda whole: b"", "is empty"),
        (lambda whole: whole + b"1,2,3,4,5,6,7,8,9\n", "line 8: has 9 fields"),
    ],
)
def test_a_list_that_cannot_be_read_is_named(
    prepare, small, tmp_path, damage, complaint
):
    path = small / "meta" / "esc50.csv"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PreparationError, match=f"esc50.csv.*{complaint}"):
        prepare(small, tmp_path / "save", fold=2)


def test_a_list_from_a_spreadsheet_is_read(prepare, small, tmp_path):
    path = small / "meta" / "esc50.csv"
    text = path.read_text().replace("True", "TRUE").replace("False", "FALSE")
    path.write_text(text.replace("\n", "\r\n"), encoding="utf-8-sig")
    prepare(small, tmp_path / "save", fold=2, subset="esc10")
    assert read_labels(tmp_path / "save" / "labels.csv") == ["rain"]


def test_faults_of_all_lines_are_shown_though_no_clip_is_left(
    prepare, small, tmp_path
):
    path = small / "meta" / "esc50.csv"
    text = path.read_text()
    for word in ("rain", "hand_saw"):
        text = text.replace(f",{word},", f",my_{word},")
    path.write_text(text)
    with pytest.raises(PreparationError) as caught:
        prepare(small, tmp_path / "save", fold=2)
    message = str(caught.value)
    assert "no line of it can be used" in message and "6 problems" in message
    assert message.count("recipes/Custom") == 7


def test_copies_of_another_rate_are_used_if_all_have_it(
    prepare, small, tmp_path, caplog
):
    clips = sorted((small / "audio").iterdir())
    for path in clips[1:]:
        soundfile.write(path, np.zeros(1600), 16000)
    with pytest.raises(PreparationError, match="5 problems"):
        prepare(small, tmp_path / "save", fold=2)
    soundfile.write(clips[0], np.zeros(1600), 16000)
    prepare(small, tmp_path / "save", fold=2)
    assert "have 16000 Hz, and 44100 Hz as distributed" in caplog.text
    table = read_manifest(tmp_path / "save" / "train.csv")
    assert table["duration"].tolist() == [0.1] * 4


@pytest.mark.parametrize("fold, subset", [(6, "esc50"), (1, "esc20")])
def test_unknown_folds_and_subsets_are_refused(
    prepare, small, tmp_path, fold, subset
):
    with pytest.raises(PreparationError, match="the fold one of 1, 2, 3"):
        prepare(small, tmp_path / "save", fold=fold, subset=subset)


def test_the_download_is_unpacked_once_and_used(
    load_script, corpus, tmp_path, monkeypatch
):
    """From a local file here; GitHub's archive has one folder as well."""
    script = load_script("ESC50", "esc50_prepare")
    packed = tmp_path / "served.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(corpus, arcname="ESC-50-0a1b2c")
    monkeypatch.setattr(script, "SOURCE", packed.as_uri())
    home = tmp_path / "home"
    with pytest.raises(PreparationError, match="--download True"):
        script.prepare_esc50(home, tmp_path / "save", fold=1)
    # left by a start that was killed
    (home / "ESC-50-master.unpacked" / "half").mkdir(parents=True)
    script.prepare_esc50(home, tmp_path / "save", fold=1, download=True)
    test = read_manifest(tmp_path / "save" / "test.csv")
    assert len(test) == 8
    assert test["wav"][0].startswith("ESC-50-master/audio/1-")
    assert [path.name for path in home.iterdir()] == ["ESC-50-master"]
    packed.unlink()
    script.prepare_esc50(home, tmp_path / "save", fold=2, download=True)
