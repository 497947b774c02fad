"""Tagging: any file, any batch, any length."""

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.encoder import CategoricalEncoder

from audiomamba.dataio.audio import AudioError, read_audio
from audiomamba.inference import AudioTagger
from audiomamba.inference.programs.features import OwnFrames
from audiomamba.inference.waveforms import WaveformNormalizer, windows
from audiomamba.lobes import AudioMamba, KaldiFbank, SpectrogramNorm


def make_tagger(
    n_frames=None, mask_padding=True, activation="softmax", **normalizer
):
    torch.manual_seed(0)
    labels = CategoricalEncoder()
    labels.update_from_iterable(["a", "b", "c"])
    features = KaldiFbank(n_mels=32, n_frames=n_frames)
    encoder = AudioMamba(
        32, 60, [8, 10], [8, 10], 16, 2, mask_padding=mask_padding
    )
    return AudioTagger(
        modules={
            "compute_features": features,
            "mean_var_norm": SpectrogramNorm(-6.0, 4.0),
            "embedding_model": encoder,
            "classifier": torch.nn.Linear(16, 3),
        },
        hparams={
            "label_encoder": labels,
            "activation": activation,
            "audio_normalizer": WaveformNormalizer(**normalizer),
        },
        run_opts={"device": "cpu"},
    )


def noise(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(size, generator=generator) for size in sizes]


@pytest.mark.parametrize("n_frames", [None, 60])
@pytest.mark.parametrize("mask_padding", [True, False])
def test_results_do_not_depend_on_the_batch(n_frames, mask_padding):
    tagger = make_tagger(n_frames, mask_padding)
    # Shorter than a window, shorter than a patch, odd, equal, and long
    clips = noise(100, 1000, 7777, 16000, 7777, 20001)
    together = tagger.score_batch(clips)
    alone = torch.cat([tagger.score_batch([clip]) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert together.std(dim=0).min() > 1e-4


def test_lengths_of_long_clips_are_exact():
    tagger = make_tagger(n_frames=60)
    # float32 cannot tell 5 minutes from 5 minutes and one sample
    n_samples = 5 * 60 * 16000 + 1
    short, long = noise(n_samples - 7, n_samples)
    together = tagger.score_batch([short, long])
    torch.testing.assert_close(
        together[0], tagger.score_batch([short])[0], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 96000])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff"])
def test_any_rate_and_format_is_read(tmp_path, rate, name):
    (wav,) = noise(rate)
    soundfile.write(tmp_path / name, torch.stack([wav, wav], 1).numpy(), rate)
    tags = make_tagger().tag_file(tmp_path / name)
    assert sorted(label for label, _ in tags) == ["a", "b", "c"]
    assert sum(p for _, p in tags) == pytest.approx(1.0)
    assert tags == sorted(tags, key=lambda tag: -tag[1])


def test_waveforms_and_files_give_the_same_scores(tmp_path):
    tagger = make_tagger(max_duration=0.5)
    (wav,) = noise(12000)
    path = tmp_path / "a.wav"
    soundfile.write(path, wav.numpy() + 0.1, 16000, subtype="FLOAT")
    of_file, of_wave = tagger.score_batch([path, wav])
    torch.testing.assert_close(of_file, of_wave, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        tagger.embed_file(path), tagger.embed_batch([wav[:8000]])[0]
    )


@pytest.mark.parametrize("keep, first", [("start", 0), ("centre", 1600)])
def test_a_longer_clip_is_cut_as_in_the_recipe(tmp_path, keep, first):
    (wav,) = noise(4800)
    soundfile.write(tmp_path / "a.wav", wav.numpy(), 16000, subtype="FLOAT")
    normalize = WaveformNormalizer(16000, 0.1, False, keep)
    for kept in (normalize.read(tmp_path / "a.wav"), normalize(wav, 16000)):
        assert torch.equal(kept, wav[first : first + 1600])


@pytest.mark.parametrize("keep", ["start", "centre"])
def test_speechbrains_reader_and_ours_give_the_same_samples(tmp_path, keep):
    normalize = WaveformNormalizer(max_duration=0.2, keep=keep)
    soundfile.write(
        tmp_path / "a.wav", np.random.default_rng(0).random((8000, 2)), 22050
    )
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    ours = normalize.read(tmp_path / "a.wav")
    theirs = normalize(torch.from_numpy(samples), rate)
    assert ours.shape == theirs.shape == (3200,)
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)


def test_multi_label_probabilities_are_independent():
    tagger = make_tagger(activation="sigmoid")
    (row,) = tagger.score_batch(noise(8000))
    assert row.sum().item() != pytest.approx(1.0, abs=1e-3)
    assert ((row > 0) & (row < 1)).all()


def test_decisions_are_by_thresholds_of_scaled_probabilities():
    tagger = make_tagger(activation="sigmoid")
    (wav,) = noise(8000)
    with pytest.raises(ValueError, match="no thresholds"):
        tagger.decide_batch([wav])
    p = tagger.score_batch([wav])[0]
    calibrated = torch.sigmoid(torch.logit(p) / 2.0).tolist()
    # Of the second class just reached, of the others just missed
    thresholds = [t + d for t, d in zip(calibrated, (1e-4, -1e-4, 1e-4))]
    tagger.hparams.decisions = {"temperature": 2.0, "thresholds": thresholds}
    (found,) = tagger.decide_batch([wav])
    assert [d.label for d in found if d.yes] == ["b"] == [found[0].label]
    assert found[0].probability == pytest.approx(calibrated[1], abs=1e-6)
    assert found[1].probability >= found[2].probability


def test_top_k_never_exceeds_the_number_of_classes():
    tagger = make_tagger()
    clips = noise(8000)
    assert len(tagger.tag_batch(clips, top_k=1)[0]) == 1
    assert len(tagger.tag_batch(clips, top_k=50)[0]) == 3
    assert len(tagger.tag_batch(clips, top_k=None)[0]) == 3


def test_unreadable_files_and_shapes_are_refused(tmp_path):
    tagger = make_tagger()
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match="text.wav"):
        tagger.tag_file(tmp_path / "text.wav")
    for bad in (torch.zeros(2, 100), torch.zeros(0)):
        with pytest.raises(ValueError, match="samples"):
            tagger.tag_batch([bad])


def test_integers_are_scaled_wherever_samples_enter():
    tagger = make_tagger()
    (wav,) = noise(16000)
    integers = (wav * 32768).round().to(torch.int16)
    scaled = integers / 32768
    wanted = tagger.score_batch([scaled])
    torch.testing.assert_close(tagger.score_batch([integers.numpy()]), wanted)
    torch.testing.assert_close(
        tagger.embed_batch([integers]), tagger.embed_batch([scaled])
    )
    (window,) = tagger.tag_stream([integers])
    torch.testing.assert_close(window.probabilities, wanted[0])
    torch.testing.assert_close(tagger(integers[None]), tagger(scaled[None]))
    with pytest.raises(ValueError, match="int64"):
        tagger.score_batch([integers.long()])


def test_samples_that_are_not_finite_are_refused_wherever_they_enter():
    tagger = make_tagger()
    (wav,) = noise(16000)
    wav[77] = torch.nan
    for refuse in (
        lambda: tagger.score_batch([wav]),
        lambda: list(tagger.tag_stream([wav])),
        lambda: tagger(wav[None]),
    ):
        with pytest.raises(ValueError, match="NaN"):
            refuse()


@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_with_the_channels_first_are_heard_whole(channels):
    """As torchaudio.load gives them."""
    tagger = make_tagger()
    wav = noise(16000 * channels)[0].reshape(channels, 16000)
    (first,) = tagger.tag_stream([wav])
    (last,) = tagger.tag_stream([wav.T])
    assert first.stop == last.stop == 1.0
    assert torch.equal(first.probabilities, last.probabilities)
    normalize = tagger.hparams.audio_normalizer
    assert torch.equal(normalize(wav, 16000), normalize(wav.T, 16000))


def test_batches_are_bounded_and_do_not_change_results(monkeypatch):
    tagger = make_tagger()
    clips = noise(100, 16000, 300, *[8000] * 5)
    wanted = tagger.score_batch(clips)
    monkeypatch.setattr("audiomamba.inference.model._BATCH_SECONDS", 2)
    sizes, forward = [], tagger.forward

    def counted(wavs, lengths):
        sizes.append(wavs.numel())
        return forward(wavs, lengths)

    monkeypatch.setattr(tagger, "forward", counted)
    found = tagger.score_batch(clips)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert len(sizes) > 2 and max(sizes) <= 2 * 16000


def test_calls_without_meaning_are_explained():
    tagger = make_tagger()
    with pytest.raises(ValueError, match="clips is empty"):
        tagger.score_batch([])
    with pytest.raises(ValueError, match="give a list"):
        tagger.tag_batch("a.wav")
    for top_k in (0, -1):
        with pytest.raises(ValueError, match=f"top_k is {top_k}"):
            tagger.tag_batch(noise(8000), top_k)
    with pytest.raises(ValueError, match="window is nan"):
        next(tagger.tag_stream(noise(8000), window=float("nan")))


def test_a_missing_module_is_named():
    with pytest.raises(ValueError, match="classifier"):
        AudioTagger(
            modules={"compute_features": KaldiFbank()},
            hparams=vars(make_tagger().hparams),
            run_opts={"device": "cpu"},
        )


def test_own_frames_drops_padding_only():
    padded = KaldiFbank(n_mels=32, n_frames=60)
    own = OwnFrames(padded)
    wavs = torch.nn.utils.rnn.pad_sequence(noise(4000, 9000, 20000), True)
    lengths = torch.tensor([4000, 9000, 20000]) / 20000
    feats, relative = own(wavs[:2], lengths[:2])
    assert feats.shape == (2, 54, 32)
    torch.testing.assert_close(feats, padded(wavs, lengths)[0][:2, :54])
    torch.testing.assert_close(relative * 54, torch.tensor([23.0, 54.0]))
    assert own(wavs, lengths)[0].shape == own(wavs).shape == (3, 60, 32)


# ------------------------------------------------------------------- streams


@pytest.mark.parametrize("n_samples", [1, 9, 10, 11, 14, 25, 100, 103])
@pytest.mark.parametrize("size, hop", [(10, 10), (10, 4), (10, 1)])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_windows_cover_the_whole_stream(n_samples, size, hop, block):
    stream = torch.arange(n_samples)
    cut = list(windows(stream.split(block), size, hop))
    for start, window in cut:
        assert len(window) == min(size, n_samples)
        assert torch.equal(window, stream[start : start + size])
    starts = [start for start, _ in cut]
    assert starts[0] == 0 and starts == sorted(set(starts))
    assert starts[-1] + len(cut[-1][1]) == n_samples
    assert max(np.diff(starts), default=0) <= hop


@pytest.mark.parametrize("n_samples", [9, 11, 25, 100, 103])
def test_windows_on_a_grid_cover_the_whole_stream(n_samples):
    stream = torch.arange(n_samples)
    cut = list(windows(stream.split(7), 10, 6, grid=3))
    assert all(start % 3 == 0 and len(part) > 7 for start, part in cut)
    assert all(torch.equal(x, stream[n : n + len(x)]) for n, x in cut)
    assert max(np.diff([start for start, _ in cut]), default=0) <= 6
    assert cut[-1][0] + len(cut[-1][1]) == n_samples


def test_a_stream_equals_its_windows_tagged_as_clips(tmp_path):
    tagger = make_tagger(n_frames=60)
    (wav,) = noise(3 * 22050)
    path = tmp_path / "a.flac"
    soundfile.write(path, torch.stack([wav, -0.5 * wav], 1).numpy(), 22050)
    found = list(tagger.tag_stream(path, window=0.5, hop=0.2))
    assert len(found) == 14 and found[-1].stop == pytest.approx(3.0)
    for window in (found[0], found[5], found[-1]):
        part = read_audio(
            path,
            start=round(window.start * 22050),
            stop=round(window.stop * 22050),
        )
        (wanted,) = tagger.score_batch([part])
        torch.testing.assert_close(
            window.probabilities, wanted, atol=1e-6, rtol=0
        )


def test_blocks_and_a_file_give_the_same_stream(tmp_path):
    tagger = make_tagger(n_frames=60)
    (wav,) = noise(20000)
    path = tmp_path / "a.wav"
    soundfile.write(path, wav.numpy(), 8000, subtype="FLOAT")
    of_file = list(tagger.tag_stream(path, 0.5, 0.25))
    blocks = wav[:, None].split(999)
    of_blocks = list(tagger.tag_stream(blocks, 0.5, 0.25, sample_rate=8000))
    assert [w.start for w in of_blocks] == [w.start for w in of_file]
    torch.testing.assert_close(
        torch.stack([w.probabilities for w in of_blocks]),
        torch.stack([w.probabilities for w in of_file]),
    )


def test_a_stream_is_lazy():
    """An endless stream is tagged as it arrives."""

    def endless():
        while True:
            yield 0.1 * torch.ones(16000)

    stream = make_tagger().tag_stream(endless(), window=1.0, hop=1.0)
    assert [next(stream).start for _ in range(20)] == list(range(20))


def test_the_default_window_is_as_long_as_the_models_input(tmp_path):
    clips = noise(16000)
    (heard, *_) = make_tagger(n_frames=60).tag_stream(clips)
    assert heard.stop == pytest.approx(0.615)
    (whole,) = make_tagger().tag_stream(clips)
    assert (whole.start, whole.stop) == (0.0, 1.0)


@pytest.mark.parametrize(
    "window, hop, message",
    [
        (0.5, 0.6, "hop"),
        (0.5, 0.0, "positive"),
        (-1.0, None, "positive"),
        (0.7, 0.1, "hears 0.615"),
    ],
)
def test_windows_that_would_ignore_samples_are_refused(window, hop, message):
    tagger = make_tagger(n_frames=60)
    with pytest.raises(ValueError, match=message):
        next(tagger.tag_stream(noise(16000), window, hop))
