"""Features without padding, for encoders that mask it."""

import torch

from audiomamba.nnet.lengths import absolute_lengths, relative_lengths


class OwnFrames(torch.nn.Module):
    """Features without the frames that are padding in every clip of a batch.

    Recipes pad clips to a fixed number of frames.  For an encoder that masks
    padding (``mask_padding=True``), it only costs time.

    Arguments
    ---------
    features : torch.nn.Module
        Features with ``n_frames``, for example
        `audiomamba.lobes.features.KaldiFbank`.

    Example
    -------
    >>> from audiomamba.lobes import KaldiFbank
    >>> features = OwnFrames(KaldiFbank(n_frames=1024))
    >>> wavs, lengths = torch.randn(2, 16000), torch.tensor([0.25, 0.5])
    >>> feats, lengths = features(wavs, lengths)
    >>> feats.shape, (lengths * 48).round()
    (torch.Size([2, 48, 128]), tensor([23., 48.]))
    """

    def __init__(self, features: torch.nn.Module):
        super().__init__()
        self.features = features
        # None: as many as the batch has; the inner features limit long clips
        self.n_frames, self.max_samples = None, features.max_samples
        self.hop, self.count_frames = features.hop, features.count_frames

    def forward(
        self, wavs: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Compute the features.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, N].
        lengths : torch.Tensor, optional
            Relative lengths [B]; None: every clip has N samples.

        Returns
        -------
        feats : torch.Tensor
            [B, T, n_mels], where T is the number of frames of the longest
            clip.
        lengths : torch.Tensor
            Relative lengths of ``feats``, [B]; only with ``lengths``.
        """
        full = torch.ones(len(wavs), device=wavs.device)
        feats, relative = self.features(
            wavs, full if lengths is None else lengths
        )
        n_own = absolute_lengths(relative, feats.shape[1])
        feats = feats[:, : n_own.max()]
        if lengths is None:
            return feats
        return feats, relative_lengths(n_own, feats.shape[1])
