"""Encoders that give frames, SpeechBrain's and those of transformers."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from audiomamba.lobes import MeanOverTime, SpeechBrainFbank, Waveforms
from audiomamba.lobes.clip_encoder import ClipEncoder, encode, lengths_name

from .foreign import ENCODERS

SIZES = [100, 37, 64, 99, 9]


def clips(*shape):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, *shape, generator=generator) for n in SIZES]


@pytest.mark.parametrize("name", ENCODERS)
def test_the_mean_is_that_of_the_clip_alone(name):
    torch.manual_seed(0)
    encoder = ENCODERS[name]().eval()
    waves = clips() if "w" in name.lower() else clips(16)
    batch = pad_sequence(waves, batch_first=True)
    # whatever is in the padding
    for row, n in zip(batch, SIZES):
        row[n:] = 7.0
    lengths = torch.tensor(SIZES) / 100
    with torch.no_grad():
        together = encode(encoder, batch, lengths)
        alone = torch.cat([encode(encoder, wave[None]) for wave in waves])
        frames = encoder.encoder(waves[0][None])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    if not isinstance(frames, torch.Tensor):
        frames = frames[0]
    torch.testing.assert_close(alone[0], frames.mean(1), atol=1e-5, rtol=0)


class Counting(torch.nn.Module):
    """Gives each frame the number of steps that it takes for a clip's own."""

    def forward(self, x, lengths):
        own = torch.arange(x.shape[1]) < (lengths * x.shape[1])[:, None]
        return own.sum(1).float()[:, None, None].expand(-1, x.shape[1], 1)


def test_lengths_are_never_rounded_up():
    """Encoders that count every step that has begun would count one more."""
    encoder = MeanOverTime(Counting(), masks_padding=True)
    n_own = torch.tensor([3, 21])
    found = encoder(torch.zeros(2, 21, 4), n_own / 21)
    assert found.flatten().tolist() == [3.0, 21.0]


def test_another_number_of_frames_is_refused():
    encoder = ENCODERS["WavLM"]()
    encoder.hop = 5
    with pytest.raises(ValueError, match=r"WavLMModel gives \[1, 23, 16\] for"):
        encoder(torch.randn(1, 100))


def test_blocks_are_found_by_their_path():
    encoder = ENCODERS["WavLM"]()
    assert encoder.blocks == list(encoder.encoder.encoder.layers)
    assert ENCODERS["CRDNN"]().blocks == []


class Masked(torch.nn.Module):
    """Its second parameter is a mask, not lengths."""

    def forward(self, src, src_mask=None):
        assert src_mask is None
        return src


@pytest.mark.parametrize("make", [Masked, lambda: torch.nn.GRU(16, 4)])
def test_only_parameters_of_that_name_are_lengths(make):
    encoder = make()
    assert lengths_name(encoder) is None
    output = encode(encoder, torch.randn(2, 5, 16), torch.tensor([1.0, 0.5]))
    assert output.shape[:2] == (2, 5)


def test_speechbrains_features_and_waveforms_pass():
    from speechbrain.lobes.features import Fbank

    norm, pool = torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d((1, 8))
    wavs, lengths = torch.randn(2, 1600), torch.tensor([1.0, 0.5])
    for features in (Fbank(n_mels=20), SpeechBrainFbank(n_mels=20)):
        feats, n_frames = ClipEncoder(features, norm, pool).features(
            wavs, lengths
        )
        assert feats.shape == (2, 11, 20) and n_frames.shape == (2,)
    # its frames do not know the clip's length exactly, so clips go alone
    masking = ENCODERS["WavLM"]()
    assert not ClipEncoder(Fbank(), norm, masking).batch_invariant
    assert ClipEncoder(SpeechBrainFbank(), norm, masking).batch_invariant
    assert ClipEncoder(Waveforms(), Waveforms(), masking).batch_invariant
    assert isinstance(masking, MeanOverTime)
