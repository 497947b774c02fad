"""Speaker embeddings from VoxCeleb's files to EER, as a user runs it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.manifest import read_manifest

TINY = {
    "embedding_model": "{embed_dim: 32, depth: 1, drop_path: 0.0}",
    "classifier": "{input_size: 32}",
    "number_of_epochs": 2,
    "batch_size": 8,
    "num_workers": 1,
    "lr": 0.003,
}
LISTS = {
    "VoxCeleb1-O": "veri_test2.txt",
    "VoxCeleb1-E": "list_test_all2.txt",
    "VoxCeleb1-H": "list_test_hard2.txt",
}


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("VoxCeleb", n_utterances=8, seconds=1.5).folder


@pytest.fixture(scope="module")
def trained(corpus, run_recipe, tmp_path_factory):
    """Output folder and log of a run with noise."""
    folder = tmp_path_factory.mktemp("run")
    noises = tmp_path_factory.mktemp("noises")
    hiss = np.random.default_rng(0).normal(size=8000) * 0.1
    soundfile.write(noises / "hiss.wav", hiss, 8000)
    run_recipe(
        "VoxCeleb",
        "hparams/aum_embeddings.yaml",
        script="train_embeddings.py",
        **TINY,
        data_folder=corpus,
        output_folder=folder,
        noise_folder=noises,
        precision="fp32",
    )
    return folder


@pytest.fixture(scope="module")
def verified(trained, corpus, run_recipe):
    run_recipe(
        "VoxCeleb",
        "hparams/verify.yaml",
        script="verify.py",
        data_folder=corpus,
        model_folder=trained,
        num_workers=1,
    )
    return trained / "verification"


def test_held_out_speakers_and_sessions(trained):
    tables = {
        split: read_manifest(trained / "manifests" / f"{split}.csv")
        for split in ("train", "valid", "test")
    }
    speakers = [f"id{10001 + index}" for index in range(4)]
    sessions = {}
    for split, table in tables.items():
        # the last two of six speakers are those of veri_test2.txt
        assert sorted(table["label"].unique()) == speakers
        sessions[split] = set(table["ID"].str.rsplit("/", n=1).str[0])
    assert not sessions["train"] & (sessions["valid"] | sessions["test"])
    assert not sessions["valid"] & sessions["test"]
    assert sum(map(len, tables.values())) == 4 * 8


def test_the_loss_falls(trained, read_results):
    results = read_results(trained)
    losses = [epoch["train_loss"] for epoch in results["curve"]]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert results["n_classes"] == 4
    assert list(results["protocols"]) == ["honest"]


def test_three_lists_with_and_without_normalisation(
    verified, corpus, read_results
):
    results = read_results(verified)
    assert results["metric"]["split"] == "VoxCeleb1-O"
    assert results["metric"]["name"] == "EER"
    assert list(results["trials"]) == list(LISTS)
    for name, figures in results["trials"].items():
        lines = (corpus / LISTS[name]).read_text().splitlines()
        assert figures["n_trials"] == len(lines)
        for kind in ("cosine", "s_norm"):
            assert 0 <= figures[kind]["EER"] <= 1
            assert 0 <= figures[kind]["minDCF"] <= 1
        scores = pd.read_csv(verified / f"scores_{name}.csv")
        trials = scores["label first second".split()].astype(str)
        assert [" ".join(row) for row in trials.values] == lines
        assert scores["cosine"].between(-1, 1).all()
    assert results["trials"]["VoxCeleb1-O"]["n_speakers_trained_on"] == 0
    assert results["trials"]["VoxCeleb1-E"]["n_speakers_trained_on"] == 4


def test_batches_have_no_say_and_embeddings_are_used_again(
    verified, trained, corpus, run_recipe, tmp_path, read_results
):
    again = run_recipe(
        "VoxCeleb",
        "hparams/verify.yaml",
        script="verify.py",
        data_folder=corpus,
        model_folder=trained,
        num_workers=1,
        score_norm=False,
        skip_prep=True,
    )
    assert "using the embeddings" in again
    assert "s_norm" not in read_results(verified)["trials"]["VoxCeleb1-O"]
    run_recipe(
        "VoxCeleb",
        "hparams/verify.yaml",
        script="verify.py",
        data_folder=corpus,
        model_folder=trained,
        output_folder=tmp_path,
        num_workers=0,
        batch_seconds=0,
        score_norm=False,
    )
    for name in LISTS:
        one, other = (
            pd.read_csv(folder / f"scores_{name}.csv")["cosine"]
            for folder in (verified, tmp_path)
        )
        assert (one - other).abs().max() < 1e-5


def test_a_second_start_reuses_and_another_seed_changes_nothing(
    trained, corpus, run_recipe, tmp_path
):
    output = run_recipe(
        "VoxCeleb",
        "hparams/aum_embeddings_tiny.yaml",
        script="train_embeddings.py",
        **{**TINY, "number_of_epochs": 1},
        data_folder=corpus,
        output_folder=tmp_path,
        seed=7,
    )
    assert "noise_folder: null, so no noise" in output
    for name in ("train", "valid", "test", "labels"):
        first = (trained / "manifests" / f"{name}.csv").read_bytes()
        assert (tmp_path / "manifests" / f"{name}.csv").read_bytes() == first
    output = run_recipe(
        "VoxCeleb",
        "hparams/aum_embeddings_tiny.yaml",
        "--test_only",
        script="train_embeddings.py",
        **{**TINY, "number_of_epochs": 1},
        data_folder=corpus,
        output_folder=tmp_path,
        seed=7,
    )
    assert "using the manifests" in output


def test_bad_entries_are_named(make_corpus, run_recipe, tmp_path, trained):
    corpus = make_corpus("VoxCeleb", n_utterances=6, seconds=1.0, broken=True)
    options = {"data_folder": corpus.folder, "output_folder": tmp_path}
    output = run_recipe(
        "VoxCeleb",
        "hparams/aum_embeddings_tiny.yaml",
        script="train_embeddings.py",
        **options,
        fails=True,
    )
    assert "Traceback" not in output
    files = [
        line.split(": ")[1]
        for line in corpus.output.splitlines()
        if line.startswith("broken: wav/")
    ]
    named = [name for name in files if name in output]
    assert len(files) > 5 and named == files

    trials = corpus.folder / "veri_test2.txt"
    with open(trials, "a") as file:
        file.write("1 id10001/nosuchvideo/00001.wav id10001/nosuch/00002.wav\n")
    output = run_recipe(
        "VoxCeleb",
        "hparams/verify.yaml",
        script="verify.py",
        **options,
        model_folder=trained,
        score_norm=False,
        fails=True,
    )
    assert "id10001/nosuchvideo/00001.wav" in output
    assert "Traceback" not in output
    run_recipe(
        "VoxCeleb",
        "hparams/verify.yaml",
        script="verify.py",
        **options,
        model_folder=trained,
        score_norm=False,
        allow_missing=True,
        num_workers=0,
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["trials"]["VoxCeleb1-O"]["n_trials_left_out"] == 1
    assert results["trials"]["VoxCeleb1-E"]["n_trials_left_out"] == 0


def test_what_is_not_there_is_named(corpus, run_recipe, tmp_path):
    output = run_recipe(
        "VoxCeleb",
        "hparams/verify.yaml",
        script="verify.py",
        data_folder=corpus,
        model_folder=tmp_path,
        fails=True,
    )
    assert "cohort_manifest" in output and "Traceback" not in output
    reduced = tmp_path / "corpus"
    shutil.copytree(corpus / "wav", reduced / "wav")
    output = run_recipe(
        "VoxCeleb",
        "hparams/aum_embeddings_tiny.yaml",
        script="train_embeddings.py",
        data_folder=reduced,
        output_folder=tmp_path / "run",
        fails=True,
    )
    assert "veri_test2.txt" in output and "Traceback" not in output
    output = run_recipe(
        "VoxCeleb",
        "hparams/aum_embeddings_tiny.yaml",
        script="train_embeddings.py",
        data_folder=corpus,
        output_folder=tmp_path / "run",
        noise_folder=tmp_path / "none",
        fails=True,
    )
    assert "noise_folder: there is no folder" in output
    assert "Traceback" not in output
