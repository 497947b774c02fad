"""EPIC-Sounds from its files to results and submission, as a user runs it."""

import csv
import json
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest

from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.problems import PreparationError


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("EPIC-Sounds", n_train=4, n_valid=1, n_test=1).folder


@pytest.fixture(scope="module")
def start(make_start, corpus):
    return make_start("EPIC-Sounds", corpus, n_frames=128, precision="fp32")


def listed(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_manifests_hold_the_owners_lists(trained, corpus):
    manifests = {
        name: read_manifest(trained[0] / "manifests" / f"{name}.csv")
        for name in ("train", "valid", "test", "challenge")
    }
    for lists, names in (
        ("train", ("train", "valid")),
        ("validation", ("test",)),
        ("recognition_test_timestamps", ("challenge",)),
    ):
        rows = listed(corpus / f"EPIC_Sounds_{lists}.csv")
        found = pd.concat([manifests[name] for name in names])
        found = found.set_index("ID")
        assert sorted(found.index) == sorted(r["annotation_id"] for r in rows)
        for row in rows:
            entry = found.loc[row["annotation_id"]]
            assert entry["start"] == int(row["start_sample"])
            assert entry["stop"] == int(row["stop_sample"])
            assert entry["recording"] == row["video_id"]
            if lists != "recognition_test_timestamps":
                assert entry["label"] == row["class"]
    assert "label" not in manifests["challenge"]
    videos = {
        name: set(table["recording"]) for name, table in manifests.items()
    }
    assert not videos["train"] & videos["valid"]


def test_the_loss_falls_and_both_protocols_are_recorded(trained, read_results):
    results = read_results(trained[0])
    losses = [epoch["train_loss"] for epoch in results["curve"]]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert list(results["protocols"]) == ["paper", "honest"]
    assert results["dataset"] == "EPIC-Sounds"
    assert results["n_classes"] == 44
    assert 0 <= results["metric"]["value"] <= 1


def test_the_submission_has_the_form_of_the_challenge(trained, corpus):
    with ZipFile(trained[0] / "submission.zip") as archive:
        assert archive.namelist() == ["test.json"]
        content = json.loads(archive.read("test.json"))
    results = content.pop("results")
    assert content == {
        "version": "0.1",
        "challenge": "audio_based_interaction_recognition",
        "sls_pt": 0,
        "sls_tl": 3,
        "sls_td": 3,
        "t_mod": 0,
    }
    rows = listed(corpus / "EPIC_Sounds_recognition_test_timestamps.csv")
    assert sorted(results) == sorted(row["annotation_id"] for row in rows)
    for entry in results.values():
        assert list(entry) == ["interaction"]
        assert list(entry["interaction"]) == [str(i) for i in range(44)]
        assert all(isinstance(s, float) for s in entry["interaction"].values())
    distinct = {json.dumps(entry) for entry in results.values()}
    assert len(distinct) == len(results)


def test_manifests_are_reused_and_independent_of_the_seed(check_second_start):
    check_second_start("aum_tiny", "train", "valid", "test", "challenge")


def test_bad_entries_are_named(make_corpus, start, tmp_path):
    corpus = make_corpus(
        "EPIC-Sounds", n_train=3, n_valid=1, n_test=1, broken=True
    )
    folder = corpus.folder
    output = start(tmp_path, "aum_tiny", data_folder=folder, fails=True)
    assert "Traceback" not in output
    assert len(corpus.broken) == 12
    for entry in corpus.broken:
        # a missing video is reported once for all its segments
        name = entry.split(": ")[1].replace("P99_999_0", "P99_999")
        assert name in output
    for words in ("NaN", "stops before it starts", "of the 44 classes"):
        assert words in output


@pytest.mark.parametrize(
    "damage, complaint",
    [
        (lambda whole: whole + b"\xe4\n", "iconv"),
        (lambda whole: b"", "is empty"),
        (
            lambda whole: whole + b"1,2,3,4,5,6,7,8,9,10,11,12\n",
            "has 12 fields",
        ),
        (lambda whole: whole.replace(b"class_id", b"klass"), "owners' list"),
    ],
)
def test_a_list_that_cannot_be_read_is_named(
    load_script, corpus, tmp_path, damage, complaint
):
    module = load_script("EPIC-Sounds", "epic_sounds_prepare")
    for source in corpus.iterdir():
        (tmp_path / source.name).symlink_to(source)
    path = tmp_path / "EPIC_Sounds_train.csv"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(whole))
    labels = Path(module.__file__).with_name("labels.csv")
    complaint = f"EPIC_Sounds_train.csv.*{complaint}"
    with pytest.raises(PreparationError, match=complaint):
        module.prepare_epic_sounds(tmp_path, tmp_path / "save", labels)


def test_a_missing_corpus_is_explained(run_without_corpus, tmp_path):
    output = run_without_corpus("EPIC-Sounds", tmp_path / "none", "aum_base")
    assert "EPIC_audio.hdf5" in output
