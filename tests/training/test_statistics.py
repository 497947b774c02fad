"""Statistics that a recipe computes are those of its training clips."""

import json

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.utils.run_opts import RunOptions

from audiomamba.dataio.manifest import write_labels
from audiomamba.dataio.pipeline import clip_datasets
from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.features import KaldiFbank
from audiomamba.training.runs import statistics
from audiomamba.training.runs.run import Run, RunError

YAML = """\
seed: 1
data_folder: {folder}
output_folder: {folder}/out
manifest_folder: {folder}
save_folder: {folder}/save
sample_rate: 16000
max_duration: 0.2
balanced_sampling: False
valid_share: 0
crop: !new:audiomamba.dataio.pipeline.RandomCrop [!ref <seed>]
lr: 0.1
feature_mean: auto
feature_std: auto
compute_features: !new:audiomamba.lobes.features.KaldiFbank {{n_mels: 40}}
mean_var_norm: !new:audiomamba.lobes.normalization.SpectrogramNorm
    mean: !ref <feature_mean>
    std: !ref <feature_std>
"""
LABELS = ["noise"]


@pytest.fixture
def clips(tmp_path):
    """Write five clips of noise, one of them in the test."""
    rng = np.random.default_rng(0)
    waves = []
    for index in range(5):
        wave = rng.uniform(-0.5, 0.5, 4000).astype("float32")
        soundfile.write(tmp_path / f"{index}.wav", wave, 16000, "FLOAT")
        waves.append(wave[:3200])
    rows = [f"{index},0.25,{index}.wav,noise" for index in range(5)]
    for split, part in (("train", rows[:4]), ("test", rows[4:])):
        lines = ["ID,duration,wav,label", *part]
        (tmp_path / f"{split}.csv").write_text("\n".join(lines))
    write_labels(tmp_path / "labels.csv", LABELS)
    return waves[:4]


@pytest.fixture
def start(tmp_path, clips):
    """Start a run; ``trains`` makes it leave a checkpoint."""
    path = tmp_path / "a.yaml"
    path.write_text(YAML.format(folder=tmp_path))

    def start(trains=False, **overrides):
        run = Run(path, overrides, RunOptions.from_dictionary({}))
        run.folder.mkdir(parents=True, exist_ok=True)
        run.fill_statistics(clip_datasets, LABELS, progress=False)
        run.bind(LABELS, "cpu", "fp32")
        if trains:
            (tmp_path / "save" / "CKPT+1").mkdir(parents=True)
            (tmp_path / "save" / "CKPT+1" / "CKPT.yaml").touch()
        return json.loads((run.folder / "run.json").read_text())["settings"]

    return start


def test_the_numbers_are_those_of_the_clips_as_the_run_reads_them(
    start, clips, tmp_path
):
    features = KaldiFbank(n_mels=40)
    waves = torch.from_numpy(np.stack(clips))
    feats = features(waves - waves.mean(dim=1, keepdim=True)).numpy()
    settings = start()
    found = [settings["feature_mean"], settings["feature_std"]]
    exact = [feats.mean(dtype="float64"), feats.std(dtype="float64")]
    assert found == pytest.approx(exact, abs=2e-6)
    (norm,) = settings["mean_var_norm"].values()
    assert [norm["mean"], norm["std"]] == found
    text = (tmp_path / "out" / "hyperparams.yaml").read_text()
    assert f"feature_mean: {found[0]:.7f}" in text and "auto" not in text


def test_a_logger_does_not_start_its_record(start, tmp_path):
    expected = start()["feature_mean"]
    (tmp_path / "statistics.json").unlink()
    with open(tmp_path / "a.yaml", "a") as file:
        file.write("train_logger: !apply:no_such_package.init []\n")
    assert start()["feature_mean"] == expected


def count_runs(monkeypatch):
    """Count how often clips are read for statistics."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return inner(*arguments)

    inner = statistics.feature_statistics
    monkeypatch.setattr(statistics, "feature_statistics", counted)
    return calls


def test_they_are_computed_once_for_the_same_clips_and_features(
    start, tmp_path, monkeypatch
):
    calls = count_runs(monkeypatch)
    first = start()
    assert start(lr="0.2")["feature_mean"] == first["feature_mean"]
    assert len(calls) == 1
    start(max_duration="0.1")
    assert len(calls) == 2
    path = tmp_path / "train.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    assert start(max_duration="0.1")["feature_mean"] != first["feature_mean"]
    assert len(calls) == 3


def test_a_resumed_run_keeps_its_numbers(start, tmp_path, monkeypatch):
    first = start(trains=True)
    (tmp_path / "statistics.json").unlink()
    calls = count_runs(monkeypatch)
    assert start() == first == start() and not calls
    numbers = {key: str(first[key]) for key in ("feature_mean", "feature_std")}
    assert start(**numbers) == first == start()
    with pytest.raises(RunError, match="feature_std: .* -> 5"):
        start(feature_mean=numbers["feature_mean"], feature_std="5")


def test_auto_is_no_other_name_for_numbers_that_were_given(start):
    start(trains=True, feature_mean="-4.0", feature_std="4.0")
    with pytest.raises(RunError, match="feature_mean: -4.0 -> auto"):
        start()


@pytest.mark.parametrize(
    "values", [("auto", "4.5"), ("-4.5", "auto"), ("Auto", "auto")]
)
def test_both_are_auto_or_none(start, values):
    mean, std = values
    with pytest.raises(PreparationError, match="number.*, or auto"):
        start(feature_mean=mean, feature_std=std)


def test_all_clips_that_cannot_be_read_are_named(start, tmp_path):
    (tmp_path / "1.wav").write_text("no sound")
    (tmp_path / "3.wav").unlink()
    with pytest.raises(PreparationError) as caught:
        start()
    message = str(caught.value)
    assert message.startswith("2 of 4 clips of") and "train.csv" in message
    assert "1.wav: is not an audio file" in message
    assert "3.wav: is missing" in message
