"""Ten minutes of audio in one pass."""

import pytest
import torch

from audiomamba import AudioMamba
from audiomamba.lobes.flops import count_flops

MINUTE = 6000  # frames


@torch.no_grad()
def test_the_first_minute_is_the_same_within_ten_minutes():
    """The state of a forward scan stays finite over 30,000 tokens."""
    torch.manual_seed(0)
    encoder = AudioMamba(
        n_frames=10 * MINUTE,
        embed_dim=32,
        depth=2,
        scan="fo_fo",
        cls_token=None,
        token_order="time",
        output="frames",
    ).eval()
    feats = 0.5 * torch.randn(1, 10 * MINUTE, 128)
    frames = encoder(feats)
    assert frames.shape == (1, 3750, 32) and torch.isfinite(frames).all()
    minute = encoder(feats[:, :MINUTE])
    torch.testing.assert_close(frames[:, :375], minute, atol=1e-5, rtol=0)


def test_operations_grow_linearly_with_duration():
    counts = []
    for minutes in (1, 2, 4):
        with torch.device("meta"):
            encoder = AudioMamba(128, minutes * MINUTE, embed_dim=32, depth=2)
        counts.append(count_flops(encoder, (1, minutes * MINUTE, 128)))
    assert counts[1] / counts[0] == pytest.approx(2.0, rel=0.01)
    assert counts[2] / counts[1] == pytest.approx(2.0, rel=0.01)
