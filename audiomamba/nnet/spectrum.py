"""The power spectrum of frames."""

import numpy as np
import torch


def power_spectrum(frames: torch.Tensor, n_fft: int) -> torch.Tensor:
    """Return the squared magnitude of the Fourier transform of frames.

    Arguments
    ---------
    frames : torch.Tensor
        [..., size], padded with zeros to ``n_fft`` samples.
    n_fft : int
        Size of the transform.

    Returns
    -------
    torch.Tensor
        [..., n_fft // 2 + 1].

    Example
    -------
    >>> wave = torch.cos(torch.arange(8) * torch.pi / 2)
    >>> power_spectrum(wave[None], 8).round().tolist()
    [[0.0, 0.0, 16.0, 0.0, 0.0]]
    """
    if torch.compiler.is_exporting():
        # Few runtimes have a fast transform of any size, all have products
        real, imag = (frames @ part for part in _transform(frames, n_fft))
    else:
        spectrum = torch.fft.rfft(frames, n_fft)
        real, imag = spectrum.real, spectrum.imag
    # Three times as fast as squaring abs()
    return torch.addcmul(real.square(), imag, imag)


def _transform(frames, n_fft):
    """Return the cosines and sines of the transform, [size, bins] each."""
    # In NumPy, so that an exported program has them as constants; modulo n_fft
    # while they are still exact
    turns = np.outer(np.arange(frames.shape[-1]), np.arange(n_fft // 2 + 1))
    angles = 2 * np.pi / n_fft * (turns % n_fft)
    parts = (np.cos(angles), np.sin(angles))
    return (torch.from_numpy(part).to(frames.dtype) for part in parts)
