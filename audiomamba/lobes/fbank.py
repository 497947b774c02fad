"""SpeechBrain's filter banks, with the lengths of their frames."""

import torch
from speechbrain.lobes.features import Fbank
from speechbrain.processing.features import spectral_magnitude
from speechbrain.utils.autocast import fwd_default_precision

from audiomamba.nnet.lengths import (
    absolute_lengths,
    padding_mask,
    relative_lengths,
)
from audiomamba.nnet.patch_embed import Steps


class SpeechBrainFbank(Fbank):
    """SpeechBrain's ``Fbank`` as the recipes here call features.

    With ``lengths``, every clip of the batch has the frames that it has alone,
    1 + n // hop for n samples. The arguments are those of ``Fbank``; deltas and
    context, which reach into the padding, have no lengths.

    Example
    -------
    >>> features = SpeechBrainFbank(n_mels=80)
    >>> wavs, lengths = torch.randn(2, 16000), torch.tensor([1.0, 0.5])
    >>> features(wavs).shape
    torch.Size([2, 101, 80])
    >>> feats, lengths = features(wavs, lengths)
    >>> feats.shape, (lengths * 101).round()
    (torch.Size([2, 101, 80]), tensor([101.,  51.]))
    """

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.compute_STFT.hop_length

    def count_frames(self, n_samples: Steps) -> Steps:
        """Return the frames of clips.

        Arguments
        ---------
        n_samples : int or torch.Tensor
            Samples of each clip.

        Returns
        -------
        int or torch.Tensor
        """
        return 1 + n_samples // self.hop

    @fwd_default_precision(cast_inputs=torch.float32)
    def forward(
        self, wav: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Compute the features.

        Arguments
        ---------
        wav : torch.Tensor
            Waveforms, [B, N].
        lengths : torch.Tensor, optional
            Relative lengths in (0, 1], [B].

        Returns
        -------
        feats : torch.Tensor
            [B, T, n_mels].
        lengths : torch.Tensor
            Relative lengths of ``feats``, [B]; only with ``lengths``.

        Raises
        ------
        ValueError
            If lengths are given and the features have deltas or context.
        """
        if lengths is None:
            return super().forward(wav)
        if self.deltas or self.context:
            raise ValueError(
                "features with deltas or context depend on the padding of the "
                "batch: set deltas and context to False."
            )
        n_samples = absolute_lengths(lengths.to(wav.device), wav.shape[1])
        # The last frames reach past a clip's end, where alone it has zeros
        wav = wav.masked_fill(padding_mask(n_samples, wav.shape[1]), 0.0)
        n_own = self.count_frames(n_samples)
        magnitude = spectral_magnitude(self.compute_STFT(wav))
        n_frames = magnitude.shape[1]
        padding = padding_mask(n_own, n_frames)[..., None]
        feats = self.compute_fbanks(magnitude.masked_fill(padding, 0.0))
        return feats, relative_lengths(n_own, n_frames)
