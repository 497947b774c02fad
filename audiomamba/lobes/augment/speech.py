"""Augmentation of speech as in SpeechBrain's speaker recipes."""

from collections.abc import Iterable

import torch
from speechbrain.augment.augmenter import Augmenter


class WithTargets(torch.nn.Module):
    """SpeechBrain's ``Augmenter`` as recipes call it, with the clips' targets.

    Arguments
    ---------
    augmenter : speechbrain.augment.augmenter.Augmenter
        May drop, concatenate and repeat clips.

    Example
    -------
    >>> from speechbrain.augment.time_domain import DropFreq
    >>> augmenter = Augmenter(augmentations=[DropFreq()], concat_original=True)
    >>> augment = WithTargets(augmenter)
    >>> wavs, lengths = torch.randn(2, 8000), torch.tensor([1.0, 0.5])
    >>> wavs, lengths, targets = augment(wavs, lengths, torch.tensor([3, 5]))
    >>> wavs.shape, targets.tolist()
    (torch.Size([4, 8000]), [3, 5, 3, 5])
    """

    def __init__(self, augmenter: Augmenter):
        super().__init__()
        self.augmenter = augmenter

    def forward(
        self,
        wavs: torch.Tensor,
        lengths: torch.Tensor,
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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
            wavs [B', N'], lengths [B'] and targets of the same clips.
        """
        # filtering in half precision would add rounding noise
        with torch.autocast(wavs.device.type, enabled=False):
            wavs, lengths = self.augmenter(wavs, lengths)
        return wavs, lengths, self.augmenter.replicate_labels(targets)


class AugmentedCopies(WithTargets):
    """The original clips and a copy of them per augmentation, with targets.

    SpeechBrain's ``Augmenter`` with ``parallel_augment`` and
    ``concat_original``: n augmentations turn a batch of B clips into one of
    B (1 + n).

    Arguments
    ---------
    augmentations : iterable of torch.nn.Module or None
        From ``speechbrain.augment.time_domain``; None is skipped.

    Raises
    ------
    ValueError
        If there is no augmentation.

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

    def __init__(self, augmentations: Iterable[torch.nn.Module | None]):
        kept = [augment for augment in augmentations if augment is not None]
        if not kept:
            raise ValueError(
                "augmentations is empty; give some, or set wav_augment: null"
            )
        super().__init__(
            Augmenter(
                parallel_augment=True,
                concat_original=True,
                min_augmentations=len(kept),
                max_augmentations=len(kept),
                augmentations=kept,
            )
        )
