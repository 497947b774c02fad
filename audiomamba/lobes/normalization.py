"""Normalisation of spectrograms by the statistics of a corpus."""

import math

import torch


class SpectrogramNorm(torch.nn.Module):
    """(x - mean) / (2 std), with one mean and one std per corpus.

    The factor 2 is the paper's (after AST): normalised features have a
    standard deviation of one half. Padding is normalised like everything
    else; `tools/compute_statistics.py` finds mean and std of a corpus. No
    normalisation, as for EPIC-Sounds, is ``mean=0.0, std=0.5``.

    The two figures come from the YAML. They follow the module's device, but
    stay out of checkpoints.

    Arguments
    ---------
    mean : float
        Mean of the features over all frames and bins of the training data.
    std : float
        Their standard deviation.

    Raises
    ------
    ValueError
        If the mean is not finite, or the std not finite and positive.

    Example
    -------
    >>> norm = SpectrogramNorm(mean=-4.0, std=2.0)
    >>> norm(torch.tensor([[[-4.0, 0.0]]]))
    tensor([[[0., 1.]]])
    """

    def __init__(self, mean, std):
        super().__init__()
        if not math.isfinite(mean):
            raise ValueError(f"mean is {mean}; it must be a finite number.")
        if not (math.isfinite(std) and std > 0):
            raise ValueError(
                f"std is {std}; it must be positive. "
                "tools/compute_statistics.py finds that of a corpus."
            )
        for name, value in (("mean", mean), ("std", std)):
            value = torch.tensor(float(value))
            self.register_buffer(name, value, persistent=False)

    def forward(self, feats, lengths=None):
        """Normalise.

        Arguments
        ---------
        feats : torch.Tensor
            Of any shape.
        lengths : torch.Tensor, optional
            Not used; SpeechBrain's normalisations are called with it.

        Returns
        -------
        torch.Tensor
            As ``feats``.
        """
        return (feats - self.mean) / (2 * self.std)
