"""Augmentation of speech as in SpeechBrain's speaker recipes.

SpeechBrain's own augmentations do the work; here targets are copied along with
the clips. Noise from files: `audiomamba.dataio.noise`.
"""

import torch
from speechbrain.augment.augmenter import Augmenter


class AugmentedCopies(torch.nn.Module):
    """Every clip as it is, and a copy of it per augmentation.

    SpeechBrain's ``Augmenter`` with ``parallel_augment`` and
    ``concat_original``: a batch of B clips becomes one of B (1 + n).

    Arguments
    ---------
    augmentations : list
        Modules of ``speechbrain.augment.time_domain``; ``None`` is left out.

    Example
    -------
    >>> from speechbrain.augment.time_domain import SpeedPerturb
    >>> speed = SpeedPerturb(orig_freq=16000, speeds=[80])
    >>> augment = AugmentedCopies([speed, None])
    >>> wavs, lengths = torch.randn(2, 8000), torch.tensor([1.0, 0.5])
    >>> wavs, lengths, targets = augment(wavs, lengths, torch.tensor([3, 5]))
    >>> wavs.shape, targets.tolist()
    (torch.Size([4, 10000]), [3, 5, 3, 5])
    >>> (lengths * wavs.shape[1]).tolist()
    [8000.0, 4000.0, 10000.0, 5000.0]
    """

    def __init__(self, augmentations):
        super().__init__()
        kept = [augment for augment in augmentations if augment is not None]
        if not kept:
            raise ValueError("augmentations is empty; set wav_augment: null.")
        self.augmenter = Augmenter(
            parallel_augment=True,
            concat_original=True,
            min_augmentations=len(kept),
            max_augmentations=len(kept),
            augmentations=kept,
        )

    def forward(self, wavs, lengths, targets):
        """Augment a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, N].
        lengths : torch.Tensor
            Relative lengths [B].
        targets : torch.Tensor
            [B] or [B, C].

        Returns
        -------
        tuple
            wavs [B (1 + n), N'], lengths and targets of as many clips.
        """
        # filters in half precision would add noise of their own
        with torch.autocast(wavs.device.type, enabled=False):
            wavs, lengths = self.augmenter(wavs, lengths)
        return wavs, lengths, self.augmenter.replicate_labels(targets)
