"""Digit strings from recordings to the error rate, as a user runs it."""

import numpy as np
import pytest
import soundfile

from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.problems import PreparationError

TINY = {
    "embedding_model": "{encoder: {embed_dim: 32, depth: 1, drop_path: 0.0}}",
    "classifier": "{input_size: 32}",
    "number_of_epochs": 2,
    "rounds": 1,
    "num_workers": 0,
    "n_digits": "[1, 2]",
}
SPEAKERS, TAKES = ("ann", "bob"), 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Write tones under the corpus' file names, in ``recordings``."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "recordings").mkdir()
    generator = np.random.default_rng(0)
    times = np.arange(1600) / 8000
    for digit in range(10):
        for speaker in SPEAKERS:
            for take in range(TAKES):
                pitch = 200 + 150 * digit + generator.normal()
                wave = 0.3 * np.sin(2 * np.pi * pitch * times)
                name = f"{digit}_{speaker}_{take}.wav"
                soundfile.write(folder / "recordings" / name, wave, 8000)
    return folder


@pytest.fixture(scope="module")
def trained(corpus, run_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = {**TINY, "data_folder": corpus, "output_folder": folder}
    run_recipe("DigitStrings", "hparams/aum_tiny.yaml", **options)
    return folder


def takes(folder, split):
    table = read_manifest(folder / "manifests" / f"{split}.csv")
    names = [wav.split("/")[1][:-4].split("_") for wav in joined(table)]
    return {int(take) for _, _, take in names}, len(names)


def joined(table):
    return ";".join(table["wav"]).split(";")


def test_no_recording_is_in_two_splits(trained):
    assert takes(trained, "test") == (set(range(0, 5)), 100)
    assert takes(trained, "valid") == (set(range(5, 10)), 100)
    assert takes(trained, "train") == ({10, 11}, 40)


def test_a_string_is_labelled_with_its_recordings_digits(trained):
    table = read_manifest(trained / "manifests" / "train.csv")
    for row in table.itertuples():
        parts = [wav.split("/")[1].split("_") for wav in row.wav.split(";")]
        assert " ".join(part[0] for part in parts) == row.label
        assert {part[1] for part in parts} == {row.ID.split("-")[0]}
        assert 1 <= len(parts) <= 2
        assert row.duration == pytest.approx(0.2 * len(parts))


def test_results_come_from_the_best_validation_epoch(trained, read_results):
    results = read_results(trained)
    curve = {row["epoch"]: row["valid_WER"] for row in results["curve"]}
    assert len(curve) == 2 and curve[results["epoch"]] == min(curve.values())
    assert results["metric"]["name"] == "WER"
    assert results["metrics"]["num_scored_tokens"] == 100
    assert results["wall_time_s"] > 0
    errors = (trained / "wer.txt").read_text()
    assert f"%WER {results['metric']['value']:.2f}" in errors


def test_the_strings_depend_on_the_seed_alone(load_script, corpus, tmp_path):
    prepare = load_script("DigitStrings", "digit_strings_prepare")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare.prepare_digit_strings(corpus, tmp_path / name, seed=seed)
    first, same, other = (
        (tmp_path / name / "train.csv").read_text() for name in "abc"
    )
    assert first == same != other


def test_a_missing_corpus_is_explained(load_script, tmp_path):
    prepare = load_script("DigitStrings", "digit_strings_prepare")
    for folder in (tmp_path / "gone", tmp_path):
        with pytest.raises(PreparationError, match="git clone"):
            prepare.prepare_digit_strings(folder, tmp_path / "save")


def test_damaged_recordings_are_named(load_script, corpus, tmp_path):
    prepare = load_script("DigitStrings", "digit_strings_prepare")
    for path in (corpus / "recordings").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "0_ann_0.wav").unlink()
    (tmp_path / "0_ann_0.wav").write_bytes(b"RIFF")
    with pytest.raises(PreparationError, match="0_ann_0.wav"):
        prepare.prepare_digit_strings(tmp_path, tmp_path / "save")
    prepare.prepare_digit_strings(
        tmp_path, tmp_path / "save", allow_missing=True
    )
    assert len(joined(read_manifest(tmp_path / "save" / "test.csv"))) == 99
