"""Speaker embeddings from VoxCeleb's files to EER, as a user runs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.problems import PreparationError

RECIPE = Path(__file__).parents[2] / "recipes" / "VoxCeleb"

LISTS = {
    "VoxCeleb1-O": "veri_test2.txt",
    "VoxCeleb1-E": "list_test_all2.txt",
    "VoxCeleb1-H": "list_test_hard2.txt",
}


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("VoxCeleb", n_utterances=8, seconds=1.5).folder


@pytest.fixture(scope="module")
def start(make_start, corpus):
    return make_start("VoxCeleb", corpus, script="train_embeddings.py")


@pytest.fixture(scope="module")
def verify(corpus, run_recipe):
    """Score the trial lists: options -> output."""
    arguments = ("VoxCeleb", "hparams/verify.yaml")
    settings = {"script": "verify.py", "data_folder": corpus, "num_workers": 1}
    return lambda **options: run_recipe(*arguments, **{**settings, **options})


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    """Output folder of a run with noise."""
    folder = tmp_path_factory.mktemp("run")
    noises = tmp_path_factory.mktemp("noises")
    hiss = np.random.default_rng(0).normal(size=8000) * 0.1
    soundfile.write(noises / "hiss.wav", hiss, 8000)
    options = {"noise_folder": noises, "precision": "fp32"}
    start(folder, "aum_embeddings", **options)
    return folder


@pytest.fixture(scope="module")
def verified(trained, verify):
    verify(model_folder=trained)
    return trained / "verification"


def test_speakers_and_sessions_are_held_out(trained):
    tables = {
        split: read_manifest(trained / "manifests" / f"{split}.csv")
        for split in ("train", "valid", "test")
    }
    speakers = [f"id{10001 + index}" for index in range(4)]
    sessions = {}
    for split, table in tables.items():
        # veri_test2.txt has the last two of the six speakers
        assert sorted(table["label"].unique()) == speakers
        sessions[split] = set(table["ID"].str.rsplit("/", n=1).str[0])
    assert not sessions["train"] & (sessions["valid"] | sessions["test"])
    assert not sessions["valid"] & sessions["test"]
    assert sum(map(len, tables.values())) == 4 * 8


def test_trial_lists_of_another_form_are_reported_outside_the_corpus(
    load_script, corpus, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(RECIPE)
    prepare = load_script("VoxCeleb", "verification_prepare").prepare_speakers
    trials = tmp_path / "trials.txt"
    trials.write_text("id1-enroll test/id1-01-001.wav 1\n" * 30)
    before = sorted(corpus.iterdir())
    with pytest.raises(PreparationError) as caught:
        prepare(corpus, tmp_path / "save", held_out=[trials])
    message = str(caught.value)
    assert "has no trials" in message and "30 problems" in message
    report = tmp_path / "save" / "problems.txt"
    assert f"listed in {report}" in message
    assert len(report.read_text().splitlines()) == 30
    assert sorted(corpus.iterdir()) == before


def test_m4a_of_voxceleb2_is_named_with_the_command(
    load_script, corpus, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(RECIPE)
    prepare = load_script("VoxCeleb", "verification_prepare").prepare_speakers
    data = tmp_path / "data"
    shutil.copytree(corpus / "wav" / "id10005", data / "wav" / "id10005")
    clip = data / "vox2_dev_wav" / "id00012" / "session" / "00001.m4a"
    clip.parent.mkdir(parents=True)
    clip.touch()
    (data / "trials.txt").write_text("1 id10005/a/1.wav id10005/b/1.wav\n")
    complaint = "add VoxCeleb2 as wav.*1 .m4a files.*ffmpeg"
    with pytest.raises(PreparationError, match=complaint):
        prepare(data, tmp_path / "save", held_out=["trials.txt"])


def test_the_loss_falls(trained, read_results):
    results = read_results(trained)
    losses = [epoch["train_loss"] for epoch in results["curve"]]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert results["n_classes"] == 4
    assert list(results["protocols"]) == ["honest"]


def test_three_lists_are_scored_with_and_without_normalisation(
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


def test_embeddings_are_reused_and_independent_of_the_batch(
    verified, trained, verify, tmp_path, read_results
):
    again = verify(model_folder=trained, score_norm=False, skip_prep=True)
    assert "using the embeddings" in again
    assert "s_norm" not in read_results(verified)["trials"]["VoxCeleb1-O"]
    verify(
        model_folder=trained,
        output_folder=tmp_path,
        num_workers=0,
        batch_seconds=0.01,
        score_norm=False,
    )
    for name in LISTS:
        one, other = (
            pd.read_csv(folder / f"scores_{name}.csv")["cosine"]
            for folder in (verified, tmp_path)
        )
        assert (one - other).abs().max() < 1e-5


def test_manifests_are_reused_and_independent_of_the_seed(
    trained, start, tmp_path
):
    options = {"number_of_epochs": 1, "seed": 7}
    output = start(tmp_path, "aum_embeddings_tiny", **options)
    assert "noise_folder: null, so no noise" in output
    for name in ("train", "valid", "test", "labels"):
        first = (trained / "manifests" / f"{name}.csv").read_bytes()
        assert (tmp_path / "manifests" / f"{name}.csv").read_bytes() == first
    output = start(tmp_path, "aum_embeddings_tiny", "--test_only", **options)
    assert "using the manifests" in output


def test_bad_entries_are_named(
    make_corpus, start, verify, tmp_path, trained, read_results
):
    corpus = make_corpus("VoxCeleb", n_utterances=6, seconds=1.0, broken=True)
    options = {"data_folder": corpus.folder}
    output = start(tmp_path, "aum_embeddings_tiny", **options, fails=True)
    assert "Traceback" not in output
    files = [
        entry.split(": ")[0]
        for entry in corpus.broken
        if entry.startswith("wav/")
    ]
    named = [name for name in files if name in output]
    assert len(files) > 5 and named == files

    trials = corpus.folder / "veri_test2.txt"
    with open(trials, "a") as file:
        file.write("1 id10001/nosuchvideo/00001.wav id10001/nosuch/00002.wav\n")
    options |= {"output_folder": tmp_path, "model_folder": trained}
    options["score_norm"] = False
    output = verify(**options, fails=True)
    assert "id10001/nosuchvideo/00001.wav" in output
    assert "Traceback" not in output
    verify(**options, allow_missing=True, num_workers=0)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["trials"]["VoxCeleb1-O"]["n_trials_left_out"] == 1
    assert results["trials"]["VoxCeleb1-E"]["n_trials_left_out"] == 0
    assert results["protocols"]["cosine"]["test"] == results["metrics"]
    training = read_results(trained)
    for key in ("hparams_file", "command", "curve"):
        assert results["training"][key] == training[key], key
    assert results["n_classes"] == training["n_classes"]


@pytest.fixture
def two_sessions(corpus, tmp_path):
    """A corpus of two sessions per speaker."""
    folder = tmp_path / "two"
    for speaker in (corpus / "wav").iterdir():
        for session in sorted(speaker.iterdir())[:2]:
            name = session.relative_to(corpus)
            shutil.copytree(session, folder / name)
    shutil.copy(corpus / "veri_test2.txt", folder)
    return folder


def test_two_sessions_are_too_few_for_validation(
    two_sessions, load_script, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(RECIPE)
    prepare = load_script("VoxCeleb", "verification_prepare").prepare_speakers
    with pytest.raises(PreparationError, match="valid_share is 0.05.*3 sess"):
        prepare(two_sessions, tmp_path / "save")
    prepare(two_sessions, tmp_path / "save", valid_share=0.0)
    names = {path.name for path in (tmp_path / "save").glob("*.csv")}
    assert names == {"train.csv", "test.csv", "labels.csv"}
    for name in ("train", "test"):
        table = read_manifest(tmp_path / "save" / f"{name}.csv")
        assert len(table["label"].unique()) == 4


def test_without_validation_the_last_epoch_is_tested_and_verified(
    two_sessions, start, verify, tmp_path, read_results, corpus
):
    folder = tmp_path / "run"
    options = {"valid_share": 0, "protocols": "[last]", "number_of_epochs": 1}
    start(folder, "aum_embeddings_tiny", data_folder=two_sessions, **options)
    assert list(read_results(folder)["protocols"]) == ["last"]
    # One of the three lists, and no other, is enough
    shutil.copytree(corpus / "wav", tmp_path / "one" / "wav")
    options = {"data_folder": tmp_path / "one", "model_folder": folder}
    options["score_norm"] = False
    output = verify(**options, fails=True)
    assert f"not found: {tmp_path / 'one' / 'veri_test2.txt'}" in output
    assert "list_test_hard2.txt\n        (trial lists" in output
    shutil.copy(corpus / "list_test_hard2.txt", tmp_path / "one")
    output = verify(**options)
    assert "VoxCeleb1-O is not scored" in output
    results = read_results(folder / "verification")
    assert list(results["trials"]) == ["VoxCeleb1-H"]
    assert results["rule"].startswith("last epoch")


def test_a_list_of_ones_own_replaces_the_three(
    verify, trained, corpus, tmp_path, read_results
):
    """Recordings of any format and place, named from data_folder on."""
    data, lines = tmp_path / "own", []
    (data / "wav").mkdir(parents=True)
    speakers = sorted((corpus / "wav").iterdir())[:2]
    for index, speaker in enumerate(speakers):
        for take, path in enumerate(sorted(speaker.rglob("*.wav"))[:2]):
            samples, _ = soundfile.read(path)
            name = f"wav/{index}-{take}.flac"
            soundfile.write(data / name, np.stack([samples] * 2, 1), 44100)
        lines.append(f"1 wav/{index}-0.flac ./wav/{index}-1.flac\n")
    lines.append("0 wav/0-0.flac wav/1-0.flac\n")
    (data / "mine.txt").write_text("".join(lines))
    options = {"model_folder": trained, "data_folder": data}
    options |= {"trials": "mine.txt", "output_folder": tmp_path / "out"}
    verify(score_norm=False, num_workers=0, **options)
    results = read_results(tmp_path / "out")
    assert list(results["trials"]) == ["mine"]
    assert results["trials"]["mine"]["n_trials"] == 3
    assert results["dataset"] == "own"
    assert len(pd.read_csv(tmp_path / "out" / "scores_mine.csv")) == 3
    (data / "other.txt").write_text("".join(lines))
    options |= {"trials": "other.txt", "cohort_manifest": None}
    output = verify(score_norm=False, **options, fails=True)
    assert "results of mine, which would be lost" in output
    (data / "other.txt").write_text(lines[0])
    options["output_folder"] = tmp_path / "other"
    output = verify(score_norm=False, **options, fails=True)
    assert "its 1 trials are all of one kind" in output


def test_files_that_own_lists_miss_are_named(
    load_script, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(RECIPE)
    module = load_script("VoxCeleb", "verification_prepare")
    (tmp_path / "mine.txt").write_text("1 a.wav b.wav\n2 a.wav c.wav\n")
    with pytest.raises(PreparationError) as caught:
        module.prepare_trials(tmp_path, tmp_path / "s", ["mine.txt"], None)
    message = str(caught.value)
    assert message.startswith("3 problems")
    for part in ("line 2", f"a.wav: in a trial list, but not in {tmp_path}"):
        assert part in message


def test_a_list_of_ones_own_that_is_not_there_is_named(
    load_script, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(RECIPE)
    module = load_script("VoxCeleb", "verification_prepare")
    complaint = (
        f"not found: {tmp_path}/mine.txt; give its path from data_folder"
    )
    with pytest.raises(PreparationError, match=complaint):
        module.prepare_trials(tmp_path, tmp_path / "s", ["mine.txt"], None)


def test_own_lists_may_name_the_files_of_voxceleb(
    load_script, corpus, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(RECIPE)
    module = load_script("VoxCeleb", "verification_prepare")
    mine = [str(shutil.copy(corpus / "veri_test2.txt", tmp_path / "mine.txt"))]
    assert not module.has_own_files(corpus, mine)
    module.prepare_trials(corpus, tmp_path / "save", mine, None)
    files = read_manifest(tmp_path / "save" / "files.csv")
    assert len(files) > 1 and files["wav"].str.startswith("wav/id1000").all()


def test_options_without_meaning_in_verification_are_refused(verify, trained):
    output = verify(model_folder=trained, precision="bf16", fails=True)
    assert "verify.py does not use --precision" in output


def test_missing_models_lists_and_noises_are_named(
    corpus, start, verify, tmp_path
):
    output = verify(model_folder=tmp_path, fails=True)
    assert "cohort_manifest" in output and "Traceback" not in output
    reduced = tmp_path / "corpus"
    shutil.copytree(corpus / "wav", reduced / "wav")
    run = (tmp_path / "run", "aum_embeddings_tiny")
    output = start(*run, data_folder=reduced, fails=True)
    lost = reduced / "veri_test2.txt"
    assert f"trial list not found: {lost}" in output
    assert "    veri_test2.txt\n" in output and "Traceback" not in output
    output = start(*run, noise_folder=tmp_path / "none", fails=True)
    assert "noise_folder: there is no folder" in output
    assert "Traceback" not in output
