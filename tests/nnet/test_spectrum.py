"""The power spectrum, as computed here and in exported programs."""

import pytest
import torch

from audiomamba.lobes import KaldiFbank
from audiomamba.nnet.spectrum import power_spectrum


def test_an_exported_spectrum_is_that_of_a_double_precision_transform(
    monkeypatch,
):
    frames = torch.randn(3, 50, 240, dtype=torch.float64)
    wanted = power_spectrum(frames, 512)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(
        power_spectrum(frames, 512), wanted, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("kind, above", [("noise", 0.0), ("voice", 0.01)])
def test_exported_features_are_kaldis_up_to_rounding(kind, above, monkeypatch):
    torch.manual_seed(0)
    wav = 0.01 * torch.randn(16000)
    if kind == "voice":
        # Between loud harmonics, either transform has rounding errors
        times = 6.28 * torch.arange(16000) / 16000
        wav += 0.2 * sum(torch.sin(140 * k * times) / k for k in range(1, 40))
    wanted = KaldiFbank()(wav[None])
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    difference = (KaldiFbank()(wav[None]) - wanted).abs()
    assert difference.max() < 5e-3
    assert (difference > 1e-4).float().mean() <= above
