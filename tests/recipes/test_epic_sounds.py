"""EPIC-Sounds from its files to results and submission, as a user runs it."""

import csv
import json
from zipfile import ZipFile

import pandas as pd
import pytest

from audiomamba.dataio.manifest import read_manifest

TINY = {
    "embedding_model": "{embed_dim: 32, depth: 1, drop_path: 0.0}",
    "classifier": "{input_size: 32}",
    "number_of_epochs": 2,
    "batch_size": 8,
    "num_workers": 1,
    "n_frames": 128,
    "lr": 0.003,
}


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("EPIC-Sounds", n_train=4, n_valid=1, n_test=1).folder


@pytest.fixture(scope="module")
def trained(corpus, run_recipe, tmp_path_factory):
    """Output folder of a run with the paper's recipe, but a small model."""
    folder = tmp_path_factory.mktemp("run")
    run_recipe(
        "EPIC-Sounds",
        "hparams/aum_base.yaml",
        **TINY,
        data_folder=corpus,
        output_folder=folder,
        precision="fp32",
    )
    return folder


def listed(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_manifests_hold_the_owners_lists(trained, corpus):
    manifests = {
        name: read_manifest(trained / "manifests" / f"{name}.csv")
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
    results = read_results(trained)
    losses = [epoch["train_loss"] for epoch in results["curve"]]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert list(results["protocols"]) == ["paper", "honest"]
    assert results["dataset"] == "EPIC-Sounds"
    assert results["n_classes"] == 44
    assert 0 <= results["metric"]["value"] <= 1


def test_the_submission_is_what_the_challenge_takes(trained, corpus):
    with ZipFile(trained / "submission.zip") as archive:
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


def test_a_second_start_reuses_and_another_seed_changes_nothing(
    trained, corpus, run_recipe, tmp_path
):
    same = run_recipe(
        "EPIC-Sounds",
        "hparams/aum_base.yaml",
        "--test_only",
        **TINY,
        data_folder=corpus,
        output_folder=trained,
        precision="fp32",
    )
    assert "using the manifests" in same
    run_recipe(
        "EPIC-Sounds",
        "hparams/aum_tiny.yaml",
        **{**TINY, "number_of_epochs": 1},
        data_folder=corpus,
        output_folder=tmp_path,
        seed=7,
    )
    for name in ("train", "valid", "test", "challenge"):
        first = (trained / "manifests" / f"{name}.csv").read_bytes()
        assert (tmp_path / "manifests" / f"{name}.csv").read_bytes() == first


def test_bad_entries_are_named(make_corpus, run_recipe, tmp_path):
    corpus = make_corpus(
        "EPIC-Sounds", n_train=3, n_valid=1, n_test=1, broken=True
    )
    output = run_recipe(
        "EPIC-Sounds",
        "hparams/aum_tiny.yaml",
        data_folder=corpus.folder,
        output_folder=tmp_path,
        fails=True,
    )
    assert "Traceback" not in output
    complaints = [
        line.split(": ", 2)[2]
        for line in corpus.output.splitlines()
        if line.startswith("broken: ")
    ]
    assert len(complaints) == 12
    for complaint in complaints:
        # a video that is not there is reported once for all its segments
        name = complaint.split(": ")[0].replace("P99_999_0", "P99_999")
        assert name in output
    for words in ("NaN", "stops before it starts", "of the 44 classes"):
        assert words in output


def test_a_corpus_that_is_not_there(run_recipe, tmp_path):
    output = run_recipe(
        "EPIC-Sounds",
        "hparams/aum_base.yaml",
        data_folder=tmp_path / "none",
        output_folder=tmp_path,
        fails=True,
    )
    assert "Traceback" not in output
    assert "EPIC_audio.hdf5" in output and "make_mini_corpus.py" in output
