"""The parts of `audiomamba.lite` that need no model."""

import numpy as np
import pytest
import torch
from torchaudio.transforms import Resample

pytest.importorskip("onnxruntime")
from audiomamba.lite import resample  # noqa: E402


@pytest.mark.parametrize("old, new", [(441, 160), (1, 2), (160, 441), (3, 1)])
@pytest.mark.parametrize("n_samples", [1, 5000])
def test_resampling_is_torchaudios(old, new, n_samples):
    wav = np.random.default_rng(0).normal(0, 0.1, n_samples)
    wav = wav.astype(np.float32)
    wanted = Resample(old, new)(torch.from_numpy(wav))
    np.testing.assert_allclose(resample(wav, old, new), wanted, atol=1e-5)
