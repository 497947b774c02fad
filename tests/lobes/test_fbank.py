"""SpeechBrain's filter banks with lengths: a clip's frames are its own."""

import pytest
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.utils.data_utils import batch_pad_right

from audiomamba.lobes import SpeechBrainFbank


def test_a_clip_has_the_same_frames_in_any_batch():
    features, theirs = SpeechBrainFbank(n_mels=40), Fbank(n_mels=40)
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(400, 9000, (30,), generator=generator).tolist()
    waves = [torch.randn(size, generator=generator) for size in sizes]
    for wave in waves:
        # The loudest sample is the last: the floor of the decibels is its
        wave[-1] = 1000.0
    feats, lengths = features(*batch_pad_right(waves))
    for row, length, wave in zip(feats, lengths, waves):
        alone = theirs(wave[None])[0]
        assert round(length.item() * len(row)) == len(alone)
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-4, rtol=0)


def test_it_hears_nothing_past_a_clips_end():
    """Augmentation can leave sound in the padding."""
    features, wav = SpeechBrainFbank(n_mels=40), torch.randn(2, 8000)
    lengths = torch.tensor([0.5, 1.0])
    found, found_lengths = features(wav, lengths)
    alone = features(wav[:1, :4000], torch.ones(1))[0][0]
    n_own = round(found_lengths[0].item() * found.shape[1])
    assert n_own == len(alone)
    torch.testing.assert_close(found[0, :n_own], alone, atol=1e-4, rtol=0)


def test_without_lengths_it_is_speechbrains():
    wavs = torch.randn(2, 8000)
    torch.testing.assert_close(
        SpeechBrainFbank(n_mels=40)(wavs), Fbank(n_mels=40)(wavs)
    )


@pytest.mark.parametrize("option", ["deltas", "context"])
def test_features_that_reach_into_the_padding_are_refused(option):
    features = SpeechBrainFbank(**{option: True})
    with pytest.raises(ValueError, match="deltas and context to False"):
        features(torch.randn(1, 8000), torch.ones(1))
