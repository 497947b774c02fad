"""Needles in hay: where they are, what is heard, what is refused."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from speechbrain.dataio.encoder import CategoricalEncoder

from audiomamba.inference import AudioTagger
from audiomamba.inference.programs.features import OwnFrames
from audiomamba.inference.waveforms import WaveformNormalizer
from audiomamba.lobes import (
    AudioMamba,
    KaldiFbank,
    LogMelSpectrogram,
    SpectrogramNorm,
)

N_MELS, LABELS = 32, ["hiss", "hum", "none"]


class Loudest(torch.nn.Module):
    """Stands for an encoder: the maximum of each band over time."""

    mask_padding = True

    def forward(self, feats, lengths=None):
        self.longest = max(getattr(self, "longest", 0), feats.shape[1])
        return feats.amax(dim=1)


def new_tagger(encoder=None, features=None, activation="softmax"):
    """Return a tagger of clips of up to 0.5 s: hiss is high, hum is low."""
    labels = CategoricalEncoder()
    labels.update_from_iterable(LABELS)
    classifier = torch.nn.Linear(N_MELS, len(LABELS))
    with torch.no_grad():
        classifier.bias.copy_(torch.tensor([0.0, 0.0, -5.0]))
        classifier.weight.zero_()[:2, -4:] = torch.tensor([[1.0], [-1.0]])
        classifier.weight[:2, :4] = torch.tensor([[-1.0], [1.0]])
    return AudioTagger(
        modules={
            "compute_features": features or KaldiFbank(n_mels=N_MELS),
            "mean_var_norm": SpectrogramNorm(mean=-12.0, std=4.0),
            "embedding_model": encoder or Loudest(),
            "classifier": classifier,
        },
        hparams={
            "label_encoder": labels,
            "activation": activation,
            "audio_normalizer": WaveformNormalizer(max_duration=0.5),
        },
        run_opts={"device": "cpu"},
    )


@pytest.fixture
def corpus(tmp_path):
    """Write six clips of hiss and hum and their manifest."""
    rng, rows = np.random.default_rng(0), ["ID,duration,wav,label"]
    for index in range(6):
        n_samples = int(rng.integers(3000, 7900))
        samples, label = rng.normal(scale=0.1, size=n_samples), "hiss"
        if index % 2:
            tone = 2 * np.pi * 120 / 16000 * np.arange(n_samples)
            samples, label = 0.3 * np.sin(tone) + 0.001 * samples, "hum"
        name = f"{index}.wav"
        soundfile.write(tmp_path / name, samples, 16000, "FLOAT")
        rows.append(f"{index},{n_samples / 16000},{name},{label}")
    (tmp_path / "test.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.fixture
def run(corpus, monkeypatch):
    """Run the tool on a tagger: arguments -> table and record."""
    import needle

    def run(tagger, *arguments):
        monkeypatch.setattr(
            needle.AudioTagger, "from_hparams", lambda *_, **__: tagger
        )
        out = corpus / "out"
        files = ["models/mine", corpus / "test.csv", out]
        command = [*files, "--data_folder", corpus, *arguments]
        monkeypatch.setattr(sys, "argv", ["tools/needle.py"])
        needle.main([str(argument) for argument in command])
        record = json.loads((out / "needle.json").read_text())
        return pd.read_csv(out / "needle.csv"), record

    return run


@pytest.fixture
def listen(tools_on_path):
    """Return a listener for a tagger."""
    from haystack.listener import Listener

    return Listener


def test_a_needle_lies_within_the_input(tools_on_path):
    from haystack.listener import hide, place

    assert [place(1000, 300, t) for t in (0, 0.25, 0.7, 0.9, 1)] == [
        0, 250, 700, 700, 700,
    ]  # fmt: skip
    row = hide(torch.ones(2, 1), torch.zeros(5, 1), 1.0)
    assert row[:, 0].tolist() == [0, 0, 0, 1, 1]


def test_table_record_and_picture(run, corpus):
    totals = ("--totals", "4", "1", "--positions", "0", "0.5", "1")
    table, record = run(new_tagger(), *totals)
    assert table["mode"].tolist() == ["alone"] + 2 * (
        3 * ["pass"] + 3 * ["mean"] + 3 * ["max"]
    )
    assert table["total"].tolist()[1:] == 9 * [1.0] + 9 * [4.0]
    assert table["position"].tolist()[1:] == 6 * [0.0, 0.5, 1.0]
    # The loudest frame is the needle's wherever that is.
    assert (table["accuracy"] == 100).all() and (table["mAP"] == 100).all()
    assert (table["clips"] == 6).all()
    assert (record["clips"], record["window_seconds"]) == (6, 0.48)
    assert {"versions", "commit", "command", "hardware"} <= set(record)
    assert (corpus / "out" / "needle.png").stat().st_size > 10_000


def test_a_mode_is_what_it_says(listen):
    listener = listen(new_tagger(), batch_frames=100)
    needle, total = 2 * torch.rand(30, N_MELS), 215
    hay = listener.zeros(total, N_MELS)
    found = listener.search(needle, hay, [0.3])
    row = torch.zeros(total, N_MELS)
    row[64:94] = needle
    starts = [*range(0, 215 - 48 + 1, 24), 215 - 48]
    windows = listener.score(torch.stack([row[s : s + 48] for s in starts]))
    torch.testing.assert_close(found[0.3, "pass"], listener.score(row[None])[0])
    torch.testing.assert_close(found[0.3, "mean"], windows.mean(0))
    torch.testing.assert_close(found[0.3, "max"], windows.amax(0))


def test_results_do_not_depend_on_the_batch(listen):
    torch.manual_seed(0)
    encoder = AudioMamba(N_MELS, 48, patch_size=16, embed_dim=N_MELS, depth=2)
    tagger, found = new_tagger(encoder), []
    needle = torch.randn(40, N_MELS)
    for batch_frames in (1, 400, 1 << 16):
        listener = listen(tagger, batch_frames=batch_frames)
        hay = listener.zeros(150, N_MELS)
        found.append(listener.search(needle, hay, [0.0, 0.4, 1.0]))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-6, rtol=0)


def test_hay_of_zeros_is_never_computed_nor_heard_in_full(listen, monkeypatch):
    encoder = Loudest()
    listener = listen(new_tagger(encoder), modes=["mean", "max"])
    needle = listener.needle(torch.randn(6000))
    monkeypatch.setattr(KaldiFbank, "forward", None)
    hay = listener.zeros(900_000, N_MELS)  # 2.5 h
    heard = []
    encoder.register_forward_hook(lambda _, args, __: heard.extend(args[0]))
    listener.search(needle, hay, [0.5])
    assert len(heard) <= 4 and encoder.longest == 48


@pytest.mark.parametrize(
    "features",
    [
        KaldiFbank(n_mels=N_MELS),
        KaldiFbank(n_mels=N_MELS, n_frames=50),
        OwnFrames(KaldiFbank(n_mels=N_MELS, n_frames=50)),
        LogMelSpectrogram(16000, N_MELS, 1024, 25.0, 10.0),
    ],
)
def test_noise_in_pieces_is_a_long_noise(features, listen, tmp_path):
    from haystack.noise import Noise

    soundfile.write(tmp_path / "hum.wav", np.random.randn(9000) / 9, 16000)
    listener = listen(new_tagger(features=features), modes=["pass"])
    noise = Noise(tmp_path / "hum.wav", 20.0, 16000, seed=3)
    clip = torch.randn(800)
    clip *= 0.5 / clip.square().mean().sqrt()
    feats, scores = listener.noise(noise, "clip", clip, 170)
    # 20 dB below 0.5
    whole = 0.05 * noise.samples("clip", 0, 16000 * 2)
    inner = listener.features
    inner.n_frames = None
    wanted = listener.tagger.mods.mean_var_norm(inner(whole[None]))[0]
    edge = -(-inner.margins[0] // inner.hop)
    torch.testing.assert_close(
        feats, wanted[edge : edge + 170], atol=2e-3, rtol=0
    )
    assert scores is None


def test_noise_is_repeatable_and_of_its_level(tools_on_path):
    from haystack.noise import Noise

    noise = Noise("white", 0.0, 16000, seed=1)
    one = noise.samples("a", 0, 20000)
    assert one.std().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(
        one, Noise("white", 0.0, 16000, 1).samples("a", 0, 20000)
    )
    others = (("b", 0, 1), ("a", 160, 1), ("a", 0, 2))
    for clip, start, seed in others:
        other = Noise("white", 0.0, 16000, seed).samples(clip, start, 20000)
        assert not torch.equal(one, other)


def test_padding_of_a_model_that_takes_it_for_content_is_kept(listen):
    features = KaldiFbank(n_mels=N_MELS, n_frames=50)
    wav = torch.randn(4000)  # 23 frames
    encoder = Loudest()
    listener = listen(new_tagger(encoder, features))
    assert len(listener.needle(wav)) == listener.needle_frames(0.25) == 23
    encoder.mask_padding = False
    listener = listen(new_tagger(encoder, features))
    assert len(listener.needle(wav)) == listener.needle_frames(0.25) == 50


def test_multi_label_clips_have_no_accuracy(run, corpus):
    manifest = corpus / "test.csv"
    manifest.write_text(manifest.read_text().replace("hum", "hum;none"))
    tagger = new_tagger(activation="sigmoid")
    noise = ("--hay", "white", "--snr", "60", "--totals", "1")
    table, record = run(tagger, *noise, "--modes", "max", "--max_clips", "4")
    assert "accuracy" not in table
    assert record["clips"] == 4 and record["snr"] == 60
    assert (table["mAP"] > 60).all()


def test_models_are_plotted_beside_each_other(run, corpus, monkeypatch):
    options = ("--totals", "1", "--positions", "0", "--modes", "pass")
    run(new_tagger(), *options)
    (corpus / "out").rename(corpus / "first")
    plotted = []
    monkeypatch.setattr("needle.plot_results", lambda t, _: plotted.append(t))
    run(new_tagger(), *options, "--beside", corpus / "first")
    # Both models have one name
    assert list(plotted[0])[1:] == [str(corpus / "first")]
    with pytest.raises(SystemExit, match="nothing has no needle.json"):
        run(new_tagger(), *options, "--beside", corpus / "nothing")


class Short(Loudest):
    """An encoder of short inputs only."""

    def forward(self, feats, lengths=None):
        if feats.shape[1] > 50:
            raise RuntimeError("the table has 50 positions")
        return super().forward(feats)


def test_what_cannot_be_measured_is_refused(run, corpus, capsys):
    def refused(message, tagger, *arguments):
        with pytest.raises(SystemExit) as caught:
            run(tagger, *arguments)
        assert message in f"{caught.value}{capsys.readouterr().err}"

    refused(
        "--totals 0.1 is 10 frames, and clip", new_tagger(), "--totals", 0.1
    )
    refused("take 100 frames in one pass (the table has 50 positions)",
            new_tagger(Short()), "--totals", 1)  # fmt: skip
    refused("--hop no longer", new_tagger(), "--window", 0.1, "--hop", 0.2)
    refused("--snr goes with noise", new_tagger(), "--hay", "white")
    refused("--snr goes with noise", new_tagger(), "--snr", 10)
    refused("--positions are from 0", new_tagger(), "--positions", 1.5)
    refused("is missing", new_tagger(), "--hay", corpus / "x.wav", "--snr", 0)
    soundfile.write(corpus / "still.wav", np.zeros(900), 16000)
    refused("still.wav is silent", new_tagger(), "--hay", corpus / "still.wav",
            "--snr", 0)  # fmt: skip
    foreign = torch.nn.Identity()
    refused("features are Identity", new_tagger(features=foreign))
    lost = new_tagger()
    lost.mods.classifier.bias.data[0] = torch.nan
    refused("is not finite", lost, "--totals", 1)
    manifest = corpus / "test.csv"
    text = manifest.read_text()
    manifest.write_text(text.replace("hum", "rain"))
    refused("'rain' is none of the 3 classes", new_tagger())
    manifest.write_text(text.replace("label", "class"))
    refused("has no column 'label'", new_tagger())
