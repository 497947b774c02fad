"""VGGSound from its files to results, as a user runs it."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.manifest import read_labels, read_manifest
from audiomamba.dataio.problems import PreparationError

LABELS = Path(__file__).parents[2] / "recipes" / "VGGSound" / "labels.csv"


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("VGGSound", n_train=4, n_test=2, seconds=1.0).folder


@pytest.fixture(scope="module")
def start(make_start, corpus):
    return make_start(
        "VGGSound",
        corpus,
        lr_schedule="{warmup_steps: 0}",
        n_frames=128,
        precision="fp32",
        valid_share=0.2,
    )


def test_manifests_hold_the_list(trained, corpus):
    with open(corpus / "vggsound.csv", newline="") as file:
        listed = {
            f"{video}_{int(start):06d}": (label, split)
            for video, start, label, split in csv.reader(file)
        }
    tables = {
        split: read_manifest(trained[0] / "manifests" / f"{split}.csv")
        for split in ("train", "valid", "test")
    }
    assert {name: len(table) for name, table in tables.items()} == {
        "train": 26, "valid": 6, "test": 16,
    }  # fmt: skip
    for split, table in tables.items():
        wanted = "test" if split == "test" else "train"
        for row in table.itertuples():
            assert listed.pop(row.ID) == (row.label, wanted)
            assert Path(row.wav).stem == row.ID
            assert (corpus / row.wav).is_file()
    assert not listed


def test_the_loss_falls_and_both_protocols_are_recorded(trained, read_results):
    results = read_results(trained[0])
    losses = [row["train_loss"] for row in results["curve"]]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert results["dataset"] == "VGGSound"
    assert results["metric"]["name"] == "accuracy"
    assert results["n_classes"] == 309
    assert list(results["protocols"]) == ["paper", "honest"]
    for record in results["protocols"].values():
        metrics = record["test"]
        assert {"top5", "mAP", "mAUC", "d_prime", "loss"} <= set(metrics)
        assert metrics["n_classes_scored"] == 8
    table = pd.read_csv(trained[0] / "classes.csv")
    assert table["label"].tolist() == read_labels(LABELS)
    assert table["clips"].sum() == 16
    recall = (table["recall"] * table["clips"]).sum() / 16
    assert recall == pytest.approx(results["metric"]["value"])


def test_manifests_are_reused_and_independent_of_the_seed(check_second_start):
    check_second_start("aum_tiny", "train", "valid", "test", lr_schedule="{}")


def test_bad_entries_are_named(make_corpus, start, tmp_path):
    made = make_corpus(
        "VGGSound", n_train=2, n_test=1, seconds=1.0, broken=True
    )
    options = {"data_folder": made.folder}
    output = start(tmp_path, "aum_base", **options, fails=True)
    assert "Traceback" not in output
    assert "train lacks 27.3% of its rows, more than max_missing" in output
    options |= {"number_of_epochs": 1, "max_missing": 0.5}
    output = start(tmp_path, "aum_base", **options)
    assert "7 problems, left out: 1 of 9 test, 6 of 22 train" in output
    assert "test: 8 of 9 (88.9 %) clips usable; by class from" in output
    named = (tmp_path / "manifests" / "problems.txt").read_text()
    complaints = [
        where.removeprefix("audio/") if "audio/" in where else what
        for where, what, *_ in (entry.split(": ") for entry in made.broken)
    ]
    assert len(complaints) == len(named.splitlines()) == 7
    assert [name for name in complaints if name not in named] == []


def test_a_missing_corpus_is_explained(run_without_corpus, tmp_path):
    output = run_without_corpus("VGGSound", tmp_path)
    assert "VGGSound was not found: there is no file" in output


# ---------------------------------------------------------------------- lists


@pytest.fixture(scope="module")
def prepare(load_script):
    return load_script("VGGSound", "vggsound_prepare").prepare_vggsound


@pytest.fixture
def small(tmp_path):
    """Four clips, two of one video, in two forms and folders."""
    clips = [
        ("-abcdefg_10", 3, "playing piano", "train"),
        ("-abcdefg_10", 40, "bird chirping, tweeting", "train"),
        ("_bcdefgh-12", 0, "dog barking", "train"),
        ("0bcdefgh_13", 123456, "dog barking", "test"),
    ]
    folder = tmp_path / "corpus"
    (folder / "a").mkdir(parents=True)
    for index, (video, start, _, _) in enumerate(clips):
        place = folder / ("a", "")[index % 2]
        name = f"{video}_{start:06d}.{('wav', 'flac')[index % 2]}"
        soundfile.write(place / name, np.zeros(160), 16000)
    write(folder / "vggsound.csv", clips)
    return folder


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def labels_by_id(save):
    return {
        split: dict(zip(table["ID"], table["label"]))
        for split in ("train", "valid", "test")
        if (save / f"{split}.csv").is_file()
        for table in [read_manifest(save / f"{split}.csv")]
    }


def test_clips_of_one_video_are_in_one_split(prepare, small, tmp_path):
    save = tmp_path / "save"
    prepare(small, save, LABELS, valid_share=0.5)
    found = labels_by_id(save)
    assert found["test"] == {"0bcdefgh_13_123456": "dog barking"}
    video = {
        "-abcdefg_10_000003": "playing piano",
        "-abcdefg_10_000040": "bird chirping, tweeting",
    }
    other = {"_bcdefgh-12_000000": "dog barking"}
    assert [found["train"], found["valid"]] in ([video, other], [other, video])


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus"])
def test_compressed_clips_are_found_and_checked(
    prepare, small, tmp_path, suffix
):
    path = small / "a" / "-abcdefg_10_000003.wav"
    path.unlink()
    path = path.with_suffix(suffix)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 96000)
    form = {".mp3": "MP3"}.get(suffix, "OGG")
    subtype = {".opus": "OPUS"}.get(suffix)
    soundfile.write(path, noise, 48000, format=form, subtype=subtype)
    save = tmp_path / "save"
    prepare(small, save, LABELS, valid_share=0)
    table = read_manifest(save / "train.csv")
    assert f"a/{path.name}" in table["wav"].tolist()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    prepare(small, save, LABELS, valid_share=0, max_missing=0.5)
    assert path.name in (save / "problems.txt").read_text()


def test_the_test_list_decides_which_clips_are_tested(
    prepare, small, tmp_path, caplog
):
    write(small / "test.csv", [("_bcdefgh-12_000000.mp4", "dog barking")])
    prepare(small, tmp_path / "save", LABELS, valid_share=0)
    found = labels_by_id(tmp_path / "save")
    assert list(found["test"]) == ["_bcdefgh-12_000000"]
    assert "0bcdefgh_13_123456" not in found["train"]
    assert "disagree on which split 2 clips are in" in caplog.text


def test_bad_lines_of_the_lists_are_named(prepare, small, tmp_path):
    with open(small / "vggsound.csv", "a") as file:
        file.write(
            "short,1,dog barking,train\n"
            "0bcdefgh_14,one,dog barking,train\n"
            "0bcdefgh_15,1,dog barking,validation\n"
            "0bcdefgh_16,1,bird chirping, tweeting,train\n"
            "_bcdefgh-12,0,dog barking,train\n"
        )
    write(
        small / "test.csv",
        [
            ("0bcdefgh_13_123456.mp4", "dog barking"),
            ("_bcdefgh-12_000000.mp4", "playing piano"),
            ("0bcdefgh_17.mp4", "dog barking"),
        ],
    )
    prepare(small, tmp_path / "save", LABELS, valid_share=0, max_missing=1.0)
    named = (tmp_path / "save" / "problems.txt").read_text()
    expected = [
        "vggsound.csv, line 5: ['short'",
        "vggsound.csv, line 6: ['0bcdefgh_14'",
        "vggsound.csv, line 7: ['0bcdefgh_15'",
        "vggsound.csv, line 8: ['0bcdefgh_16'",
        "vggsound.csv, line 9: _bcdefgh-12_000000 is listed in another line",
        "_bcdefgh-12_000000: is 'playing piano' in",
        "test.csv, line 3: ['0bcdefgh_17.mp4'",
    ]
    assert [text for text in expected if text not in named] == []
    assert len(named.splitlines()) == len(expected)


def test_a_file_that_is_not_a_list_is_refused(prepare, small, tmp_path):
    (small / "vggsound.csv").write_text("<html>not found</html>\n")
    with pytest.raises(PreparationError, match="not a list of VGGSound"):
        prepare(small, tmp_path / "save", LABELS)
    (small / "vggsound.csv").write_bytes(b"\xe4,1,dog barking,train\n")
    with pytest.raises(PreparationError, match="vggsound.csv, line 1.*iconv"):
        prepare(small, tmp_path / "save", LABELS)
