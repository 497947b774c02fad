"""Relative lengths give back the steps that they were made from."""

import pytest
import torch
from speechbrain.processing.features import make_padding_mask

from audiomamba.nnet.lengths import (
    absolute_lengths,
    frame_counts,
    relative_lengths,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def draw(low, high, count, generator):
    return torch.randint(low, high, (count,), generator=generator)


@pytest.mark.parametrize("longest", [10, 1000, 100_000, 1_000_000])
def test_frames_survive_being_relative(longest, generator):
    for n_frames in draw(1, longest, 50, generator).tolist():
        own = draw(1, n_frames + 1, 200, generator)
        own[0] = n_frames
        lengths = relative_lengths(own, n_frames)
        assert lengths[0] == 1
        for given in (lengths, own / n_frames, own.double() / n_frames):
            assert torch.equal(frame_counts(given, n_frames), own)
            assert torch.equal(absolute_lengths(given, n_frames), own)


def test_speechbrains_masks_count_the_same_frames(generator):
    n_wrong = 0
    for n_frames in draw(100, 2000, 200, generator).tolist():
        own = draw(1, n_frames + 1, 100, generator)
        feats = torch.empty(100, n_frames, 1)
        mask = make_padding_mask(feats, relative_lengths(own, n_frames))
        assert torch.equal(mask.sum((1, 2)), own)
        plain = make_padding_mask(feats, own / n_frames).sum((1, 2))
        n_wrong += (plain != own).sum()
    assert n_wrong > 100  # of 20,000; so the rounding has its reason


def test_samples_of_long_clips_survive_being_relative(generator):
    n_samples = (1 << 24) - 1
    own = draw(1, n_samples, 10_000, generator)
    lengths = own.float() / torch.tensor(float(n_samples))
    assert torch.equal(absolute_lengths(lengths, n_samples), own)


def test_frames_of_relative_waveforms_are_the_likeliest(generator):
    """A share of n / N cannot be known; rounding would err on twice as many."""
    hop, n_pairs = 160, 20_000
    first, second = (draw(16000, 160000, n_pairs, generator) for _ in range(2))
    longer, shorter = torch.maximum(first, second), torch.minimum(first, second)
    n_frames, own = 1 + longer // hop, 1 + shorter // hop
    lengths = shorter.float() / longer.float()
    counts = torch.cat(
        [frame_counts(r[None], int(n)) for r, n in zip(lengths, n_frames)]
    )
    rounded = (lengths * n_frames).round()
    wrong = (counts != own).float().mean()
    assert wrong < 0.16 < 0.25 < (rounded != own).float().mean()
    assert (counts - own).abs().max() == 1
    # As often too many as too few
    assert abs((counts - own).float().mean()) < 0.01
