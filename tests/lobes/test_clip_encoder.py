"""From waveforms to embeddings, with any encoder and in any batch."""

import pytest
import torch
from speechbrain.processing.features import InputNormalization
from speechbrain.utils.data_utils import batch_pad_right
from torch.nn.utils.rnn import pad_sequence

from audiomamba import AudioMamba
from audiomamba.lobes import KaldiFbank, LogMelSpectrogram, SpectrogramNorm
from audiomamba.lobes.clip_encoder import ClipEncoder, encode


class Maps(torch.nn.Module):
    """Like Cnn14, take one argument and return maps [B, C, T, F] and more."""

    def forward(self, x):
        return x[:, None, :, :8].transpose(1, 3), "more"


class Flat(torch.nn.Module):
    """Return [B, D], and require lengths."""

    def forward(self, x, lengths=None):
        assert lengths is not None
        return x.mean(1)


def clips(*n_samples):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=generator) for n in n_samples]


def padded(waves):
    n_own = torch.tensor([len(wave) for wave in waves], dtype=torch.float64)
    wavs = pad_sequence(waves, batch_first=True)
    return wavs, n_own / wavs.shape[1]


def make(features=None, **options):
    torch.manual_seed(0)
    encoder = AudioMamba(n_frames=64, embed_dim=16, depth=2, **options)
    norm = SpectrogramNorm(mean=-6.0, std=4.0)
    return ClipEncoder(features or KaldiFbank(), norm, encoder).eval()


@pytest.mark.parametrize("features", [KaldiFbank, LogMelSpectrogram])
@pytest.mark.parametrize("n_frames", [None, 80])
def test_the_embedding_of_a_clip_does_not_depend_on_its_batch(
    features, n_frames
):
    model = make(features(sample_rate=16000, n_frames=n_frames))
    assert model.batch_invariant
    waves = clips(399, 400, 8000, 12345, 15999, 16000)
    with torch.no_grad():
        together = model(*padded(waves))
        for wave, row in zip(waves, together):
            alone = model(*padded([wave]))[0]
            torch.testing.assert_close(row, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pad", [padded, batch_pad_right])
@pytest.mark.parametrize("features", [KaldiFbank, LogMelSpectrogram])
@pytest.mark.parametrize("norm", ["corpus", "sentence"])
def test_the_batch_does_not_matter_whatever_the_lengths(pad, features, norm):
    """For some lengths, rounding would be one frame off."""
    model = make(features(sample_rate=16000))
    if norm == "sentence":
        # SpeechBrain's, which counts every frame that has begun
        model.mean_var_norm = InputNormalization(norm_type="sentence")
    generator = torch.Generator().manual_seed(1)
    sizes = torch.randint(400, 16000, (60,), generator=generator)
    waves = clips(*sizes.tolist())
    with torch.no_grad():
        together = model(*pad(waves))
        alone = torch.cat([model(*pad([wave])) for wave in waves])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_models_that_depend_on_the_batch_say_so():
    assert not make(mask_padding=False).batch_invariant
    assert make(KaldiFbank(n_frames=64), mask_padding=False).batch_invariant
    assert not ClipEncoder(KaldiFbank(), None, Flat()).batch_invariant
    compiled = make()
    compiled.embedding_model = torch.compile(compiled.embedding_model)
    assert compiled.batch_invariant


def test_a_norm_over_the_whole_batch_is_refused():
    norm = InputNormalization(norm_type="batch")
    with pytest.raises(ValueError, match="norm_type is 'batch'.*sentence"):
        ClipEncoder(KaldiFbank(), norm, Flat())


@pytest.mark.parametrize("wrap", [lambda e: e, torch.compile])
@pytest.mark.parametrize("encoder, width", [(Maps(), 8), (Flat(), 16)])
def test_any_output_becomes_one_vector_per_clip(encoder, width, wrap):
    feats = torch.randn(2, 50, 16)
    emb = encode(wrap(encoder), feats, torch.tensor([1.0, 0.5]))
    assert emb.shape == (2, 1, width)


def test_augmentation_runs_before_and_after_the_norm():
    seen = {}

    def spec_augment(feats, lengths):
        seen["spec"], seen["lengths"] = feats, lengths
        return feats + 1

    def norm_augment(feats, lengths):
        seen["norm"] = feats
        assert torch.equal(lengths, seen["lengths"])
        return feats * 2

    model = make()
    wavs, lengths = padded(clips(8000, 4000))
    feats, _ = model.features(wavs, lengths, spec_augment, norm_augment)
    raw, _ = model.compute_features(wavs, lengths)
    assert torch.equal(seen["spec"], raw)
    assert torch.equal(seen["norm"], model.mean_var_norm(raw + 1))
    assert torch.equal(feats, 2 * seen["norm"])
