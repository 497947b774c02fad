"""Normalisation by the statistics of a corpus."""

import pytest
import torch

from audiomamba.lobes.normalization import SpectrogramNorm


def test_divides_by_twice_the_deviation():
    feats = torch.randn(4, 50, 8) * 3.0 - 5.0
    normed = SpectrogramNorm(-5.0, 3.0)(feats, torch.rand(4))
    assert torch.allclose(normed, (feats + 5.0) / 6.0, atol=1e-6)


def test_mean_0_and_std_half_change_nothing():
    feats = torch.randn(2, 5, 8)
    assert torch.equal(SpectrogramNorm(0.0, 0.5)(feats), feats)


def test_stays_out_of_checkpoints_and_follows_the_dtype():
    norm = SpectrogramNorm(-5, 3)
    assert not norm.state_dict()
    feats = torch.zeros(1, 1, 1, dtype=torch.float64)
    assert norm.double()(feats).item() == pytest.approx(5 / 6, abs=1e-12)


@pytest.mark.parametrize("std", [0, -1.0, float("nan"), float("inf")])
def test_refuses_a_meaningless_std(std):
    with pytest.raises(ValueError, match="compute_statistics"):
        SpectrogramNorm(0.0, std)


def test_refuses_a_meaningless_mean():
    with pytest.raises(ValueError, match="mean is nan"):
        SpectrogramNorm(float("nan"), 1.0)
