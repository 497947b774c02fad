"""Noise as hay: as long as wanted, and any part of it without the others."""

from hashlib import blake2b
from pathlib import Path

import torch

from audiomamba.dataio.audio import read_audio


class Noise:
    """Noise with a root mean square of 1.

    Arguments
    ---------
    source : str or Path
        "white", or an audio file, which is repeated.
    snr : float
        Level of a clip over its noise, in dB.
    sample_rate : int
        In Hz.
    seed : int
        With the clip's ID it decides on the noise.

    Raises
    ------
    AudioError
        If the file cannot be read.
    ValueError
        If the file is silent.

    Example
    -------
    >>> noise = Noise("white", 10.0, 16000, seed=1)
    >>> noise.samples("clip", 0, 16000).square().mean().round(decimals=1)
    tensor(1.)
    """

    def __init__(
        self, source: str | Path, snr: float, sample_rate: int, seed: int
    ):
        self.snr, self.seed = snr, seed
        self.recording = None
        if str(source) != "white":
            recording = read_audio(source, sample_rate)
            recording -= recording.mean()
            level = recording.square().mean().sqrt()
            if not level > 0:
                raise ValueError(f"{source} is silent: give a file of noise.")
            self.recording = recording / level

    def samples(self, clip: str, start: int, n_samples: int) -> torch.Tensor:
        """Return a part of a clip's noise.

        Arguments
        ---------
        clip : str
            The clip's ID.
        start : int
            The first sample.
        n_samples : int
            How many.  White noise is drawn again for every start.

        Returns
        -------
        torch.Tensor
            [n_samples].
        """
        if self.recording is None:
            generator = torch.Generator().manual_seed(self._draw(clip, start))
            return torch.randn(n_samples, generator=generator)
        length = len(self.recording)
        first = (self._draw(clip) + start) % length
        return self.recording[(first + torch.arange(n_samples)) % length]

    def _draw(self, *names):
        """Return an integer of 63 bits that depends on seed and names."""
        source = "|".join(map(str, (self.seed, *names))).encode()
        digest = blake2b(source, digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1
