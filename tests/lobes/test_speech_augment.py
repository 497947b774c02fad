"""Augmented copies of clips, with their targets."""

import pytest
import torch
from speechbrain.augment.time_domain import DropChunk, SpeedPerturb

from audiomamba.lobes.augment import AugmentedCopies

RATE = 16000


def test_copies_keep_their_targets_and_lengths():
    torch.manual_seed(0)
    augment = AugmentedCopies(
        [
            SpeedPerturb(orig_freq=RATE, speeds=[95]),
            DropChunk(drop_length_low=100, drop_length_high=200),
        ]
    )
    wavs = torch.randn(3, 9500) + 2
    lengths = torch.tensor([1.0, 0.5, 0.8])
    targets = torch.tensor([4, 1, 2])
    out, out_lengths, out_targets = augment(wavs, lengths, targets)
    assert out.shape == (9, 10000)
    assert out_targets.tolist() == [4, 1, 2] * 3
    own = (out_lengths * 10000).round()
    assert own.tolist() == [9500, 4750, 7600, 10000, 5000, 8000] + [
        9500,
        4750,
        7600,
    ]
    assert torch.equal(out[:3, :9500], wavs)
    assert (out[6:, :9500] == 0).any(dim=1).all()
    rows = torch.eye(5)[targets]
    assert augment(wavs, lengths, rows)[2].shape == (9, 5)


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match="wav_augment: null"):
        AugmentedCopies([None])
