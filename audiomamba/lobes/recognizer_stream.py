"""A speech recogniser on a stream, in memory of a fixed size."""

import torch

from audiomamba.lobes.audio_mamba import AudioMamba
from audiomamba.lobes.features import KaldiFbank
from audiomamba.lobes.normalization import SpectrogramNorm
from audiomamba.lobes.stream import Framer


class RecognizerStream:
    """Computes scores as sound arrives, as one pass over the whole would.

    Made by `audiomamba.lobes.Recognizer.stream`.

    Arguments
    ---------
    compute_features, mean_var_norm, classifier : torch.nn.Module
        Those of the `Recognizer`.
    encoder : AudioMamba
        That of its `CTCEncoder`, in evaluation mode.

    Raises
    ------
    ValueError
        If it needs more than the sound so far; the message says what to change.

    Example
    -------
    >>> from audiomamba.lobes import (
    ...     AudioMamba, CTCEncoder, KaldiFbank, Recognizer, SpectrogramNorm
    ... )
    >>> encoder = AudioMamba(
    ...     n_mels=80, n_frames=4, patch_size=(80, 4), stride=(80, 4),
    ...     embed_dim=32, depth=1, scan="fo_fo", cls_token=None,
    ... )
    >>> recognizer = Recognizer(
    ...     KaldiFbank(n_mels=80),
    ...     SpectrogramNorm(mean=-4.0, std=4.0),
    ...     CTCEncoder(encoder),
    ...     torch.nn.Linear(32, 29),
    ... ).eval()
    >>> wavs, stream = torch.randn(1, 16000), recognizer.stream()
    >>> parts = [stream.step(part) for part in wavs.split(3000, 1)]
    >>> whole, _ = recognizer(wavs, torch.ones(1))
    >>> torch.allclose(torch.cat(parts, 1), whole[:, :24], atol=1e-4)
    True
    """

    def __init__(
        self,
        compute_features: torch.nn.Module,
        mean_var_norm: torch.nn.Module,
        encoder: AudioMamba,
        classifier: torch.nn.Module,
    ):
        if not isinstance(compute_features, KaldiFbank):
            raise ValueError(
                f"compute_features is {type(compute_features).__name__}, but "
                "only the frames of KaldiFbank lie inside the sound so far."
            )
        if compute_features.n_frames is not None:
            raise ValueError(
                f"compute_features has {compute_features.n_frames} frames, "
                "however long a clip is: set its n_frames to None."
            )
        if not isinstance(mean_var_norm, SpectrogramNorm):
            raise ValueError(
                f"mean_var_norm is {type(mean_var_norm).__name__}, but only "
                "SpectrogramNorm does not depend on sound that is still to "
                "come."
            )
        patch, table = encoder.patch_size[1], encoder.pos_embed.grid
        if table[1] > 1:
            raise ValueError(
                f"the position table covers {encoder.n_frames} frames: for "
                f"streams of any duration, train with n_frames: {patch}."
            )
        self.features, self.norm = compute_features, mean_var_norm
        self.encoder, self.classifier = encoder.stream(), classifier
        self.framer = Framer(compute_features.size, compute_features.hop)

    @torch.no_grad()
    def step(self, wavs: torch.Tensor) -> torch.Tensor:
        """Go on with the streams.

        Arguments
        ---------
        wavs : torch.Tensor
            The next samples, any number of them, [B, N].

        Returns
        -------
        torch.Tensor
            Log-probabilities of the steps that are complete now, [B, T', C],
            float32. T' can be 0.
        """
        n_frames, wavs = self.framer.add(wavs)
        if n_frames:
            steps = self.encoder.step(self.norm(self.features(wavs)))
        else:
            width = self.encoder.encoder.embed_dim
            steps = wavs.new_zeros(len(wavs), 0, width)
        return self.classifier(steps).float().log_softmax(-1)
