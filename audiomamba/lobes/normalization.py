"""Normalisation of spectrograms with the statistics of a corpus."""

import math

import torch


class SpectrogramNorm(torch.nn.Module):
    """(x - mean) / (2 std), with one mean and one std per corpus.

    The factor 2 is the paper's, from AST: normalised features have a standard
    deviation of 0.5. Padding is normalised as well. Compute mean and std of a
    corpus with `tools/compute_statistics.py`; ``mean=0.0, std=0.5`` leaves
    features unchanged, as for EPIC-Sounds.

    Both values come from the YAML. They move with the module's device, but are
    not saved in checkpoints.

    Arguments
    ---------
    mean : float
        Mean of the features over all frames and bins of the training data.
    std : float
        Standard deviation of the same.

    Raises
    ------
    ValueError
        If the mean is not finite, or the std is not finite and positive.

    Example
    -------
    >>> norm = SpectrogramNorm(mean=-4.0, std=2.0)
    >>> norm(torch.tensor([[[-4.0, 0.0]]]))
    tensor([[[0., 1.]]])
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: float, std: float):
        super().__init__()
        for name, value in (("mean", mean), ("std", std)):
            if isinstance(value, str):
                raise ValueError(
                    f"{name} is {value!r}; it must be a number. Only a "
                    "recipe's train.py puts the corpus' own in place of auto."
                )
        if not math.isfinite(mean):
            raise ValueError(f"mean is {mean}; it must be finite.")
        if not (math.isfinite(std) and std > 0):
            raise ValueError(
                f"std is {std}; it must be finite and positive. "
                "tools/compute_statistics.py computes that of a corpus."
            )
        for name, value in (("mean", mean), ("std", std)):
            buffer = torch.tensor(float(value))
            self.register_buffer(name, buffer, persistent=False)

    def forward(
        self, feats: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Normalise features.

        Arguments
        ---------
        feats : torch.Tensor
            Features of any shape.
        lengths : torch.Tensor, optional
            Ignored; accepted like SpeechBrain's normalisations do.

        Returns
        -------
        torch.Tensor
            The same shape as ``feats``.
        """
        return (feats - self.mean) / (2 * self.std)
