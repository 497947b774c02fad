"""What the tests of all encoders share; they have 64 mel bins."""

import pytest
import torch


@pytest.fixture
def check_batch_invariance():
    """Check that an encoder's output for a clip ignores batch and padding."""

    @torch.no_grad()
    def check(encoder):
        n_frames = torch.tensor([250, 101, 100, 57, 16, 3])
        feats = torch.randn(6, 250, 64)
        for i, n in enumerate(n_frames):
            feats[i, n:] = 1e4
        together = encoder(feats, n_frames / 250)
        for i, n in enumerate(n_frames):
            alone = encoder(feats[i : i + 1, :n])
            found = together[i : i + 1, : alone.shape[1]]
            assert (found - alone).abs().max() <= 1e-5 * alone.abs().max()

    return check


@pytest.fixture
def check_gradient_of_padding():
    """Check that padding gets no gradient, and that all content does."""

    def check(encoder):
        feats = torch.randn(2, 80, 64, requires_grad=True)
        encoder(feats, torch.tensor([1.0, 0.5])).square().sum().backward()
        assert torch.equal(feats.grad[1, 40:], torch.zeros(40, 64))
        assert feats.grad[1, :36].abs().sum(1).min() > 0

    return check
