"""Features equal torchaudio's, and librosa's formulas in NumPy."""

import math

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi

from audiomamba.lobes.features import KaldiFbank, LogMelSpectrogram

RATE = 16000
# Unequal lengths, at the edges of a frame (559, 560) and a window (400)
LENGTHS = [32000, 400, 401, 559, 560, 31999, 16000, 20011, 8160]


def kaldi_alone(wav, **options):
    """Compute features of one clip as the authors do."""
    settings = {"num_mel_bins": 128, "frame_shift": 10, **options}
    return kaldi.fbank(
        wav[None],
        htk_compat=True,
        use_energy=False,
        window_type="hanning",
        dither=0.0,
        **settings,
    )


def sounds():
    """Return clips that are easy, loud, quiet, silent, offset and sparse."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(max(LENGTHS)) / RATE
    noise = torch.randn(max(LENGTHS), generator=generator)
    tone = torch.sin(2 * torch.pi * 440 * time)
    clicks = (noise > 3.5).float()
    return [
        noise * 0.1,
        tone,
        0.5 * tone + 0.5,
        noise * 1e-4,
        torch.zeros_like(noise),
        torch.ones_like(noise),
        (noise * 3000).round() / 32768,
        clicks,
        noise * 1e3,
    ]


def batch_of(clips):
    """Padded waveforms and their relative lengths."""
    lengths = torch.tensor([len(clip) for clip in clips])
    wavs = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return wavs, lengths / wavs.shape[1]


@pytest.fixture(params=range(3))
def clips(request):
    """Every kind of sound at three different lengths."""
    lengths = np.roll(LENGTHS, 3 * request.param)
    return [wav[:n] for wav, n in zip(sounds(), lengths, strict=True)]


class TestKaldiFbank:
    def test_equals_torchaudio_for_every_clip(self, clips):
        wavs, lengths = batch_of(clips)
        features = KaldiFbank()
        feats, n_frames = features(wavs, lengths)
        n_frames = (n_frames * feats.shape[1]).round().long()
        for clip, feat, n in zip(clips, feats, n_frames, strict=True):
            wanted = kaldi_alone(clip)
            assert n == len(wanted) == 1 + (len(clip) - 400) // 160
            assert (feat[:n] - wanted).abs().max() < 1e-4
            assert not feat[n:].any()

    def test_padding_does_not_matter(self, clips):
        wavs, lengths = batch_of(clips)
        clean, _ = KaldiFbank()(wavs, lengths)
        for wav, clip in zip(wavs, clips, strict=True):
            wav[len(clip) :] = float("nan")
        assert torch.equal(KaldiFbank()(wavs, lengths)[0], clean)

    def test_without_lengths_all_samples_are_content(self):
        wavs = torch.stack([sounds()[0], torch.zeros(32000)])
        feats = KaldiFbank()(wavs)
        silence = torch.tensor(torch.finfo(torch.float32).eps).log()
        assert torch.equal(feats[1], silence.expand(198, 128))
        assert (feats[0] - kaldi_alone(wavs[0])).abs().max() < 1e-4

    @pytest.mark.parametrize("n_frames", [1, 50, 198, 256])
    def test_pads_or_cuts_to_n_frames(self, clips, n_frames):
        wavs, lengths = batch_of(clips)
        features = KaldiFbank(n_frames=n_frames)
        free, _ = KaldiFbank()(wavs, lengths)
        feats, got = features(wavs, lengths)
        assert feats.shape == (len(clips), n_frames, 128)
        shared = min(n_frames, free.shape[1])
        torch.testing.assert_close(feats[:, :shared], free[:, :shared])
        assert not feats[:, shared:].any()
        own = torch.tensor([1 + (len(clip) - 400) // 160 for clip in clips])
        got = got * n_frames
        assert torch.equal(got.round().long(), own.clamp(max=n_frames))

    @pytest.mark.parametrize("n", [1, 160, 399])
    def test_a_clip_shorter_than_a_window_gives_one_frame(self, n):
        """The clip is padded with zeros, alone and in a batch."""
        clip = sounds()[0][:n]
        wanted = kaldi_alone(torch.nn.functional.pad(clip, (0, 400 - n)))
        wavs, lengths = batch_of([sounds()[1], clip])
        wavs[1, n:] = 7.0
        feats, _ = KaldiFbank()(wavs, lengths)
        assert (feats[1, :1] - wanted).abs().max() < 1e-4
        assert not feats[1, 1:].any()
        alone = KaldiFbank()(clip[None])
        assert alone.shape == (1, 1, 128)
        assert (alone[0] - wanted).abs().max() < 1e-4

    def test_equals_torchaudio_with_other_settings(self):
        wav = sounds()[0]
        features = KaldiFbank(
            sample_rate=22050,
            n_mels=40,
            frame_length=32.0,
            frame_shift=12.5,
            low_freq=50.0,
            high_freq=-200.0,
            preemphasis=0.9,
        )
        wanted = kaldi_alone(
            wav,
            sample_frequency=22050,
            num_mel_bins=40,
            frame_length=32.0,
            frame_shift=12.5,
            low_freq=50.0,
            high_freq=-200.0,
            preemphasis_coefficient=0.9,
        )
        assert features(wav[None])[0].shape == wanted.shape
        assert (features(wav[None])[0] - wanted).abs().max() < 1e-4

    def test_computes_in_float32_under_autocast(self, clips):
        wavs, lengths = batch_of(clips)
        features = KaldiFbank()
        wanted, _ = features(wavs, lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            feats, _ = features(wavs, lengths)
        assert feats.dtype == torch.float32
        assert torch.equal(feats, wanted)

    def test_splitting_into_blocks_makes_no_difference(self, monkeypatch):
        wavs = torch.stack(sounds())
        wanted = KaldiFbank()(wavs)
        for block in (1, 100, 10**6):
            monkeypatch.setattr("audiomamba.lobes.features._CPU_BLOCK", block)
            feats = KaldiFbank()(wavs)
            assert (feats - wanted).abs().max() < 1e-5

    def test_gradient_reaches_the_waveform(self):
        wavs = sounds()[0][None, :4000].clone().requires_grad_()
        KaldiFbank()(wavs).sum().backward()
        assert wavs.grad.isfinite().all() and wavs.grad.abs().sum() > 0

    def test_stays_out_of_checkpoints(self):
        assert not KaldiFbank().state_dict()


@pytest.mark.parametrize("make", [KaldiFbank, LogMelSpectrogram])
class TestBoth:
    @pytest.mark.parametrize("n_frames", [None, 40])
    def test_exports_with_any_batch_and_length(self, make, n_frames):
        features = make(n_frames=n_frames)
        clips = torch.export.Dim("clips", max=64)
        samples = torch.export.Dim("samples", min=600)
        program = torch.export.export(
            features,
            (torch.randn(2, 8000), torch.tensor([1.0, 0.5])),
            dynamic_shapes=({0: clips, 1: samples}, {0: clips}),
        )
        exported = program.module()
        for n_clips, n_samples in ((3, 20011), (1, 700)):
            wavs = torch.randn(n_clips, n_samples)
            lengths = torch.linspace(1.0, 0.3, n_clips)
            feats, relative = exported(wavs, lengths)
            wanted, wanted_relative = features(wavs, lengths)
            assert torch.equal(relative, wanted_relative)
            # The program transforms by a product, which is the more exact; the
            # logarithms of bins that are nearly empty show it
            difference = (feats - wanted).abs()
            assert difference.mean() < 1e-5 and difference.max() < 2e-3

    @pytest.mark.parametrize("shape", [(100,), (2, 0), (0, 5), (1, 2, 800)])
    def test_refuses_anything_but_a_batch(self, make, shape):
        with pytest.raises(ValueError, match="batch, samples"):
            make()(torch.zeros(shape))

    def test_refuses_meaningless_settings(self, make):
        with pytest.raises(ValueError, match="n_frames is 0"):
            make(n_frames=0)

    @pytest.mark.parametrize("settings", [{"length": 0.05}, {"step": 0.01}])
    def test_refuses_windows_without_samples(self, make, settings):
        names = {
            KaldiFbank: {"length": "frame_length", "step": "frame_shift"},
            LogMelSpectrogram: {
                "length": "window_length",
                "step": "hop_length",
            },
        }[make]
        settings = {names[key]: value for key, value in settings.items()}
        with pytest.raises(ValueError, match="window of"):
            make(**settings)


def librosa_log_mel(wav, rate=24000, n_fft=2048, size=240, hop=120):
    """Compute librosa's stft and filters.mel in float64."""
    wav = np.pad(wav.astype(np.float64), n_fft // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window = np.pad(window, (n_fft - size) // 2)
    starts = range(0, len(wav) - n_fft + 1, hop)
    frames = np.stack([wav[start : start + n_fft] for start in starts])
    magnitude = np.abs(np.fft.rfft(frames * window))
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), 130)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    ramps = edges[:, None] - bins
    widths = np.diff(edges)[:, None]
    lower, upper = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    weights = np.maximum(0, np.minimum(lower, upper))
    return np.log(magnitude @ weights.T + 1e-6)


class TestLogMelSpectrogram:
    @pytest.mark.parametrize("n", [1, 119, 120, 6000, 24001])
    def test_equals_librosa(self, n):
        clip = sounds()[0][:n]
        wavs, lengths = batch_of([sounds()[2], clip])
        wavs[1, n:] = 3.0
        features = LogMelSpectrogram()
        feats, n_frames = features(wavs, lengths)
        wanted = torch.from_numpy(librosa_log_mel(clip.numpy()))
        own = 1 + n // 120
        assert len(wanted) == own
        assert (feats[1, :own] - wanted).abs().max() < 1e-4
        assert not feats[1, own:].any()
        assert round(n_frames[1].item() * feats.shape[1]) == own

    def test_equals_librosa_for_every_sound(self):
        for wav in sounds():
            feats = LogMelSpectrogram()(wav[None])[0]
            wanted = torch.from_numpy(librosa_log_mel(wav.numpy()))
            assert (feats - wanted).abs().max() < 1e-4

    @pytest.mark.parametrize("n_frames", [10, 51, 200, 400])
    def test_repeats_the_last_frame_or_cuts(self, n_frames):
        wavs, lengths = batch_of([sounds()[0][:24000], sounds()[1][:6000]])
        free, _ = LogMelSpectrogram()(wavs, lengths)
        features = LogMelSpectrogram(n_frames=n_frames)
        feats, got = features(wavs, lengths)
        assert feats.shape == (2, n_frames, 128)
        for row, own in enumerate((201, 51)):
            wanted = np.pad(
                free[row, :own].numpy(), ((0, n_frames), (0, 0)), "edge"
            )[:n_frames]
            assert np.array_equal(feats[row].numpy(), wanted)
        got = got * n_frames
        wanted = [min(201, n_frames), min(51, n_frames)]
        assert got.round().long().tolist() == wanted


@pytest.mark.parametrize("kind", [KaldiFbank, LogMelSpectrogram])
def test_max_samples_fill_the_frames_exactly(kind):
    assert kind().max_samples is None
    full = kind(n_frames=37).max_samples
    counted = kind()
    assert counted(torch.zeros(1, full)).shape[1] == 37
    assert counted(torch.zeros(1, full - 1)).shape[1] == 36


@pytest.mark.parametrize("kind", [KaldiFbank, LogMelSpectrogram])
@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"sample_rate": math.nan}, "sample_rate is nan"),
        ({"n_mels": 0}, "n_mels is 0"),
        ({"n_mels": 12.5}, "n_mels is 12.5"),
        ({"n_frames": 0}, "n_frames is 0"),
    ],
)
def test_arguments_without_meaning_are_refused(kind, arguments, words):
    with pytest.raises(ValueError, match=words):
        kind(**arguments)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"n_mels": 2}, "at least 3"),
        ({"low_freq": 9000.0}, "low_freq 9000 Hz to 8000 Hz"),
        ({"high_freq": 9000.0}, "20 Hz to 9000 Hz.*8000"),
        ({"low_freq": math.nan}, "low_freq nan"),
        ({"preemphasis": math.nan}, "preemphasis is nan"),
        ({"frame_shift": 0.0}, "frame_shift is 0"),
    ],
)
def test_kaldis_bins_lie_below_half_the_rate(arguments, words):
    with pytest.raises(ValueError, match=words):
        KaldiFbank(**arguments)


def test_bins_that_stay_empty_are_warned_of(caplog):
    KaldiFbank()
    assert not caplog.text
    KaldiFbank(sample_rate=8000)
    assert "4 of 128 mel bins are empty at 8000 Hz" in caplog.text


@pytest.mark.parametrize("kind", [KaldiFbank, LogMelSpectrogram])
def test_waveforms_without_meaning_are_refused(kind):
    features, wavs = kind(), torch.randn(2, 8000) * 0.1
    integers = (wavs * 32768).round().to(torch.int16)
    scaled = features(integers / 32768)
    torch.testing.assert_close(features(integers), scaled)
    with pytest.raises(ValueError, match="int64"):
        features(integers.long())
    wavs[1, 5000:] = torch.nan
    with pytest.raises(ValueError, match="wavs has samples that are NaN"):
        features(wavs)
    # what is past the end of a clip does not count
    features(wavs, torch.tensor([1.0, 0.5]))
    with pytest.raises(ValueError, match="length is 8000"):
        features(wavs, torch.tensor([8000.0, 4000.0]))
