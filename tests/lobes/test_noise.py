"""Noise from files: segments, signal-to-noise ratio, and bad files."""

import numpy as np
import pytest
import soundfile
import torch

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.augment import FolderNoise, noise_augmentation

RATE = 16000


@pytest.fixture
def noises(tmp_path):
    """A ramp at the clips' rate, and a constant in stereo at another."""
    folder = tmp_path / "noises"
    (folder / "deep").mkdir(parents=True)
    ramp = np.arange(20000) / 32768
    soundfile.write(folder / "ramp.wav", ramp, RATE)
    soundfile.write(folder / "deep" / "b.FLAC", np.full((500, 2), 0.25), 8000)
    return folder


def test_noise_is_a_segment_of_a_file_or_a_repeated_file(noises):
    torch.manual_seed(1)
    noise = FolderNoise(noises, RATE)(torch.zeros(40, 4000))
    assert noise.shape == (40, 4000) and noise.dtype == torch.float32
    steps = noise.diff(dim=1) * 32768
    pieces = (steps - 1).abs().max(dim=1).values < 0.01
    assert 5 < pieces.sum() < 35
    starts = (noise[pieces, 0] * 32768).round()
    assert len(starts.unique()) > 3 and starts.max() <= 16000
    # 1000 samples after resampling; compared away from the edges
    repeated = noise[~pieces][:, 450:550]
    assert (repeated - 0.25).abs().max() < 0.01
    assert torch.equal(noise[~pieces][:, :1000], noise[~pieces][:, 1000:2000])


def test_noise_depends_on_torchs_seed_alone(noises):
    draw = FolderNoise(noises, RATE)
    wavs = torch.zeros(4, 800)
    torch.manual_seed(3)
    first = draw(wavs)
    np.random.seed(9)
    assert not torch.equal(first, draw(wavs))
    torch.manual_seed(3)
    assert torch.equal(first, draw(wavs))


@pytest.mark.parametrize("snr", [0, 20])
def test_the_signal_to_noise_ratio_is_as_requested(noises, snr):
    torch.manual_seed(0)
    add = noise_augmentation(noises, RATE, snr_low=snr, snr_high=snr)
    speech = torch.sin(torch.arange(16000.0) * 0.3)[None].repeat(4, 1)
    noisy = add(speech, torch.ones(4))
    # these noises do not contain the sine: its share is its amplitude
    sine = speech[0] / speech[0].norm()
    share = (noisy @ sine)[:, None] * sine
    rest = noisy - share
    ratio = 20 * torch.log10(share.norm(dim=1) / rest.norm(dim=1))
    assert (ratio - snr).abs().max() < 0.5


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(PreparationError, match="no folder"):
        noise_augmentation(tmp_path / "none", RATE)
    with pytest.raises(PreparationError, match="no wav or flac"):
        noise_augmentation(tmp_path, RATE)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(PreparationError, match="bad.wav"):
        FolderNoise(tmp_path, RATE)
