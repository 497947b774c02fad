"""LibriSpeech from flac files to transcripts, as a user runs it."""

import json
import os
import re
import shutil

import pandas as pd
import pytest
import torch

from audiomamba.dataio.manifest import read_labels, read_manifest
from audiomamba.dataio.problems import PreparationError

from .conftest import TORCHRUN

TINY = {
    "embedding_model": "{encoder: {embed_dim: 32, depth: 1, drop_path: 0.0}}",
    "classifier": "{input_size: 32}",
    "lr_schedule": "{warmup_epochs: 0}",
    "lr": 0.01,
    "number_of_epochs": 2,
    "num_workers": 0,
    "vocab_size": 20,
}
SPLITS = {
    "train": ["train-clean-5"],
    "valid": ["dev-clean-2"],
    "test": ["test-clean"],
}


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("LibriSpeech", n_speakers=2, n_utterances=6).folder


@pytest.fixture(scope="module")
def start(run_recipe, corpus):
    def start(folder, *flags, **options):
        folders = {"data_folder": corpus, "output_folder": folder}
        return run_recipe(
            "LibriSpeech",
            "hparams/aum_tiny_ctc.yaml",
            *flags,
            **{**TINY, **folders, **options},
        )

    return start


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    start(
        folder,
        valid_splits="[dev-clean-2]",
        test_splits="[test-clean]",
        protocols="[honest, average]",
        average_from=1,
    )
    return folder


@pytest.fixture
def prepare(load_script, corpus, tmp_path):
    def prepare(data_folder=corpus, splits=None, **options):
        module = load_script("LibriSpeech", "librispeech_prepare")
        folder = tmp_path / "manifests"
        module.prepare_librispeech(
            data_folder, folder, splits or SPLITS, **options
        )
        return folder

    return prepare


def test_manifests_hold_every_utterance_with_its_words(trained, corpus):
    words = {}
    for path in corpus.rglob("*.trans.txt"):
        for line in path.read_text().splitlines():
            name, _, text = line.partition(" ")
            words[name] = text
    found = {}
    for split, (subset,) in SPLITS.items():
        table = read_manifest(trained / "manifests" / f"{split}.csv")
        assert set(table["subset"]) == {subset}
        assert (table["wav"].str.split("/").str[0] == subset).all()
        found.update(zip(table["ID"], table["label"]))
        assert all((corpus / wav).is_file() for wav in table["wav"])
    assert found == words and len(words) == 36


def test_the_tokens_are_those_of_the_training_transcripts(trained):
    from audiomamba.dataio.tokenizer import read_tokenizer

    tokenizer = read_tokenizer(trained / "manifests" / "tokenizer.model")
    tokens = read_labels(trained / "manifests" / "labels.csv")
    assert len(tokens) == 20 and tokens[0] == "<blank>"
    texts = read_manifest(trained / "manifests" / "train.csv")["label"]
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert 0 not in tokenizer.encode(text)


def test_error_rates_are_those_of_the_transcripts(trained, read_results):
    results = read_results(trained)
    table = pd.read_csv(trained / "utterances.csv", keep_default_na=False)
    assert len(table) == results["clips"]["test"] == 12
    reference = read_manifest(trained / "manifests" / "test.csv")
    assert table["reference"].tolist() == reference["label"].tolist()
    assert (table["words"] == table["reference"].str.split().str.len()).all()
    rate = table["errors"].sum() / table["words"].sum()
    assert results["metric"] == {
        "name": "WER",
        "value": pytest.approx(rate),
        "split": "test",
    }
    curve = {row["epoch"]: row["valid_WER"] for row in results["curve"]}
    assert curve[results["epoch"]] == min(curve.values())
    errors = (trained / "wer.txt").read_text()
    assert f"%WER {100 * rate:.2f}" in errors
    assert all(name in errors for name in table["ID"])


def test_speechbrain_loads_the_export_and_writes_the_same(trained, corpus):
    from speechbrain.inference.ASR import EncoderASR

    from audiomamba.inference import Transcriber, export_run

    folder = export_run(trained, trained / "exported")
    transcriber = Transcriber.from_hparams(folder)
    foreign = EncoderASR.from_hparams(folder, savedir=trained / "links")
    table = pd.read_csv(trained / "utterances.csv", keep_default_na=False)
    assert table["transcript"].str.len().sum() > 0
    paths = read_manifest(trained / "manifests" / "test.csv")["wav"]
    paths = [corpus / wav for wav in paths]
    for path, text in zip(paths, table["transcript"]):
        assert transcriber.transcribe_file(path) == text
        assert foreign.transcribe_file(str(path)) == text
    # and together, with SpeechBrain's lengths of waveforms
    wavs = [transcriber.hparams.audio_normalizer.read(path) for path in paths]
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    lengths = torch.tensor([len(wav) for wav in wavs]) / padded.shape[1]
    texts, _ = foreign.transcribe_batch(padded, lengths)
    assert texts == table["transcript"].tolist()


def test_the_command_writes_the_same(trained, corpus, tmp_path, capsys):
    from audiomamba.cli.transcribe import main

    table = pd.read_csv(trained / "utterances.csv", keep_default_na=False)
    wavs = read_manifest(trained / "manifests" / "test.csv")["wav"][:2]
    files = [str(corpus / wav) for wav in wavs]
    model = ["--model", str(trained), "--device", "cpu"]
    assert main([*files, *model, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        {"file": file, "text": text}
        for file, text in zip(files, table["transcript"])
    ]
    (tmp_path / "bad.wav").write_text("no sound")
    assert main([str(tmp_path / "bad.wav"), *model, "--beam", "3"]) == 1
    assert "1 of 1 files failed" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="give a beam_size as well"):
        main([*files, *model, "--lm", "words.arpa"])
    with pytest.raises(SystemExit, match="no checkpoint .*gone"):
        main([*files, "--model", str(tmp_path / "gone")])


def test_a_beam_is_tested_in_a_folder_of_its_own(trained, start):
    before = (trained / "results.json").read_bytes()
    start(
        trained,
        "--test_only",
        beam_size=5,
        valid_splits="[dev-clean-2]",
        test_splits="[test-clean]",
        protocols="[honest, average]",
        average_from=1,
    )
    assert (trained / "results.json").read_bytes() == before
    beam = json.loads((trained / "test_only/results.json").read_text())
    assert beam["metric"]["name"] == "WER" and beam["epoch"] > 0


def test_a_recogniser_starts_from_another_one(
    trained, start, tmp_path, read_results
):
    splits = {
        "valid_splits": "[dev-clean-2]",
        "test_splits": "[test-clean]",
        "protocols": "[honest]",
        "average_from": "null",
    }
    start(tmp_path, "--test_only", init_from=trained, **splits)
    found = read_results(tmp_path)
    assert found["protocol"] == "init_from"
    assert found["metric"] == read_results(trained)["metric"]
    first = (trained / "wer.txt").read_text()
    assert (tmp_path / "wer.txt").read_text() == first


def test_two_processes_share_mini_librispeech(
    run_recipe, corpus, tmp_path, read_results
):
    """The defaults of the YAML have no split of its own for validation."""
    options = {"data_folder": corpus, "output_folder": tmp_path}
    run_recipe(
        "LibriSpeech",
        *("--standalone", "--nproc_per_node=2"),
        *("train.py", "hparams/aum_tiny_ctc.yaml"),
        script=TORCHRUN,
        **{**TINY, **options, "number_of_epochs": 1, "average_from": 1},
    )
    results = read_results(tmp_path)
    assert results["hardware"]["processes"] == 2
    assert results["clips"] == {"train": 12, "test": 12}
    assert "test_WER" in results["curve"][0]
    # one epoch: its mean is itself
    tested = {name: r["test"] for name, r in results["protocols"].items()}
    assert tested["average"] == pytest.approx(tested["last"], rel=1e-5)
    table = pd.read_csv(tmp_path / "utterances.csv", keep_default_na=False)
    listed = read_manifest(tmp_path / "manifests" / "test.csv")
    assert table["ID"].tolist() == listed["ID"].tolist()
    rate = table["errors"].sum() / table["words"].sum()
    assert results["metric"]["value"] == pytest.approx(rate)


def test_an_utterance_of_too_few_steps_is_named_or_left_out(
    start, corpus, tmp_path, read_results
):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(corpus, data)
    path = sorted((data / "train-clean-5").rglob("*.trans.txt"))[0]
    first, *others = path.read_text().splitlines()
    name = first.split()[0]
    long = f"{name} {'SEVEN ' * 200}".strip()
    path.write_text("\n".join([long, *others]))
    options = {"data_folder": data, "number_of_epochs": 1, "average_from": 1}
    output = start(run, fails=True, **options)
    assert "1 utterances have at 110 % of their speed fewer" in output
    assert f"{name}: " in output and "--allow_missing True" in output
    assert "Traceback" not in output
    output = start(run, allow_missing=True, **options)
    assert f"{name}: " in output and "They are left out." in output
    assert read_results(run)["clips"]["train"] == 11


def test_manifests_are_reused(prepare):
    path = prepare() / "train.csv"
    before = os.stat(path).st_ino
    prepare()
    assert os.stat(path).st_ino == before
    prepare(splits={**SPLITS, "valid": []})
    assert os.stat(path).st_ino != before


def test_the_archives_folder_is_found(prepare, corpus, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copytree(corpus, tmp_path / "data" / "LibriSpeech")
    table = read_manifest(prepare(tmp_path / "data") / "test.csv")
    assert table["wav"].str.startswith("LibriSpeech/test-clean/").all()


def test_bad_entries_are_named(make_corpus, prepare):
    made = make_corpus("LibriSpeech", n_speakers=1, n_utterances=2, broken=True)
    with pytest.raises(PreparationError) as caught:
        prepare(made.folder)
    message = str(caught.value)
    assert "9 problems with the data" in message and len(made.broken) == 9
    for entry in made.broken:
        # A path, or a line of a transcript, which begins with a name
        name = re.sub(r"^[\d-]+\.trans\.txt: ", "", entry).split(": ")[0]
        assert name.split()[0] in message, entry
    folder = prepare(made.folder, allow_missing=True)
    assert len(read_manifest(folder / "train.csv")) == 2
    assert len((folder / "problems.txt").read_text().splitlines()) == 9


def test_subsets_are_refused_that_are_missing_or_named_twice(prepare, corpus):
    with pytest.raises(PreparationError, match="no folder train-clean-100"):
        prepare(splits={**SPLITS, "train": ["train-clean-100"]})
    with pytest.raises(PreparationError, match="named twice"):
        prepare(splits={**SPLITS, "test": ["train-clean-5"]})
    with pytest.raises(PreparationError, match="make_mini_corpus.py Libri"):
        prepare(corpus / "nowhere")
