"""The statistics equal those of all features in one array."""

import numpy as np
import pytest
import soundfile
import torch

from audiomamba.lobes.features import KaldiFbank, LogMelSpectrogram


@pytest.fixture
def corpus(tmp_path):
    """Write 18 clips of unequal length and level, one with start and stop."""
    rng = np.random.default_rng(0)
    rows, clips = ["ID,duration,wav,start,stop"], []
    for index in range(18):
        n = int(rng.integers(300, 20000))
        samples = rng.normal(scale=10.0 ** -rng.integers(1, 4), size=n)
        samples = samples.clip(-1, 1)
        soundfile.write(tmp_path / f"{index}.wav", samples, 16000, "FLOAT")
        start, stop = (100, n - 50) if index == 3 else (0, -1)
        rows.append(f"{index},{n / 16000},{index}.wav,{start},{stop}")
        clips.append(samples[start : stop if stop > 0 else n])
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    return tmp_path, clips


@pytest.fixture
def run(capsys):
    """Run the tool: arguments -> (mean, std) of the printed lines."""

    def run(folder, *more):
        from compute_statistics import main

        arguments = ["--manifest", folder / "train.csv"]
        arguments += ["--data_folder", folder, *more]
        main([str(argument) for argument in arguments])
        lines = capsys.readouterr().out.splitlines()
        names, values = zip(*(line.split(": ") for line in lines), strict=True)
        assert names == ("feature_mean", "feature_std")
        return [float(value) for value in values]

    return run


def moments(clips, features):
    """Return mean and std of the features of all clips, in float64."""
    feats = []
    for clip in clips:
        clip = torch.tensor(clip, dtype=torch.float32)
        feats.append(features(clip[None] - clip.mean()).flatten())
    feats = torch.cat(feats).double().numpy()
    return pytest.approx([feats.mean(), feats.std()], abs=1e-6)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_is_exact_over_all_frames(corpus, run, num_workers):
    folder, clips = corpus
    got = run(folder, "--num_workers", num_workers)
    assert got == moments(clips, KaldiFbank())


def test_padding_counts_with_n_frames(corpus, run):
    folder, clips = corpus
    got = run(folder, "--n_mels", 40, "--n_frames", 50)
    assert got == moments(clips, KaldiFbank(n_mels=40, n_frames=50))


def test_the_first_seconds_and_other_features_can_be_chosen(corpus, run):
    folder, clips = corpus
    settings = ["--features", "log_mel", "--sample_rate", 16000]
    got = run(folder, *settings, "--max_duration", 0.25)
    features = LogMelSpectrogram(sample_rate=16000)
    assert got == moments([clip[:4000] for clip in clips], features)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_names_all_bad_files(corpus, run, num_workers):
    folder, _ = corpus
    (folder / "7.wav").write_text("no sound")
    (folder / "17.wav").unlink()
    with pytest.raises(SystemExit) as caught:
        run(folder, "--num_workers", num_workers)
    message = str(caught.value)
    assert "2 of 18 clips" in message and "take them out of" in message
    assert "7.wav: is not an audio file" in message
    assert "17.wav: is missing" in message


def test_refuses_silence_and_missing_manifests(tmp_path, run):
    with pytest.raises(SystemExit, match=r"train\.csv is missing"):
        run(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    (tmp_path / "train.csv").write_text("ID,duration,wav\na,1.0,a.wav\n")
    with pytest.raises(SystemExit, match="silence"):
        run(tmp_path)
