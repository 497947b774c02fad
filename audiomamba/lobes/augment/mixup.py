"""Augmentation of waveforms: mixup."""

import torch
import torch.nn.functional as F

from audiomamba.nnet.lengths import absolute_lengths, padding_mask


class Mixup(torch.nn.Module):
    """Mixup of waveforms as in the paper, within a batch.

    With ``probability``, a clip becomes lambda * clip + (1 - lambda) *
    partner, lambda ~ Beta(alpha, alpha), and its target is mixed likewise.
    The mean is removed from both waveforms before mixing and from the result.
    The partner is zero-padded or cut to the length of the clip.

    The authors draw the partner from the whole training set. Here it is drawn
    uniformly from the other, unmixed clips of the batch: partners follow the
    weighted sampler, if there is one, and a batch of one clip is not mixed.

    Arguments
    ---------
    probability : float
        Probability that a clip is mixed.
    alpha : float
        Parameter of the Beta distribution.
    n_classes : int, optional
        Number of classes, for targets that are class indices.

    Raises
    ------
    ValueError
        If ``probability`` is not in [0, 1] or ``alpha`` is not positive.

    Example
    -------
    >>> _ = torch.manual_seed(0)
    >>> mixup = Mixup(probability=1.0, n_classes=2)
    >>> wavs, lengths = torch.randn(2, 800), torch.tensor([1.0, 0.5])
    >>> wavs, lengths, targets = mixup(wavs, lengths, torch.tensor([0, 1]))
    >>> wavs.shape, targets.shape, targets.sum(dim=1)
    (torch.Size([2, 800]), torch.Size([2, 2]), tensor([1., 1.]))
    """

    def __init__(
        self,
        probability: float = 0.5,
        alpha: float = 10.0,
        n_classes: int | None = None,
    ):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(
                f"probability is {probability}; give one in [0, 1]"
            )
        if not alpha > 0:
            raise ValueError(f"alpha is {alpha}; give a positive one")
        self.probability, self.alpha = probability, alpha
        self.n_classes = n_classes

    def forward(
        self,
        wavs: torch.Tensor,
        lengths: torch.Tensor,
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mix a batch; in evaluation mode, return it unchanged.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, N].
        lengths : torch.Tensor
            Relative lengths [B].
        targets : torch.Tensor
            Soft targets [B, C], or class indices [B] if ``n_classes`` is set.

        Returns
        -------
        tuple
            wavs [B, N], the same lengths, and soft targets [B, C].

        Raises
        ------
        ValueError
            If targets have another form.
        """
        if not self.training:
            return wavs, lengths, targets
        targets = self._rows(targets)
        n_clips, n_samples = wavs.shape
        if n_clips < 2:
            return wavs, lengths, targets
        n_own = absolute_lengths(lengths.to(wavs.device), n_samples)
        padding = padding_mask(n_own, n_samples)
        weight, partner = self._draw(n_clips, wavs.device)
        mixed = weight[:, None] < 1
        weight = weight[:, None].to(wavs)
        clips = _without_mean(wavs, n_own, padding)
        mixture = torch.lerp(clips[partner], clips, weight)
        mixture = _without_mean(mixture, n_own, padding)
        wavs = torch.where(mixed, mixture, wavs)
        weight = weight.to(targets)
        return wavs, lengths, torch.lerp(targets[partner], targets, weight)

    def _rows(self, targets):
        """Targets as [B, C] floats."""
        if targets.ndim == 2 and targets.is_floating_point():
            return targets
        if targets.ndim != 1 or self.n_classes is None:
            raise ValueError(
                f"targets are {targets.dtype} of shape {list(targets.shape)}; "
                "Mixup takes floats [batch, classes], or class indices "
                "[batch] if it is given n_classes"
            )
        return F.one_hot(targets, self.n_classes).float()

    def _draw(self, n_clips, device):
        """Own weight (1: not mixed) and partner of every clip."""
        mixed = torch.rand(n_clips, device=device) < self.probability
        alphas = torch.full((n_clips,), float(self.alpha), device=device)
        weight = torch.distributions.Beta(
            alphas, alphas, validate_args=False
        ).sample()
        step = torch.randint(1, n_clips, (n_clips,), device=device)
        partner = (torch.arange(n_clips, device=device) + step) % n_clips
        return weight.masked_fill(~mixed, 1.0), partner


def _without_mean(wavs, n_own, padding):
    """Waveforms minus the mean of their samples; 0 in the padding."""
    wavs = wavs.masked_fill(padding, 0.0)
    mean = wavs.sum(dim=1) / n_own
    return (wavs - mean[:, None]).masked_fill(padding, 0.0)
