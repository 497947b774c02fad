"""Heads and losses of pre-training on hidden patches.

After SSAST (Gong, Lai, Chung and Glass, arXiv 2110.09784), with both heads on
one mask, and after masked autoencoders (He et al., arXiv 2111.06377) in that
each patch to reconstruct is normalised by itself.
"""

import math
from typing import NamedTuple

import torch

from audiomamba.nnet.parameters import ExemptsParameters
from audiomamba.nnet.patch_embed import Size, to_pair

# Under the root, as in masked autoencoders: a silent patch stays finite.
EPS = 1e-6


class Pretext(NamedTuple):
    """What heads make of a batch: tensors of one value per clip, [B].

    ``loss`` is the weighted sum of the losses of the heads that there are; the
    others are None.  ``mse`` is to be compared with ``variance``, the mean
    squared error of the targets' mean, and ``accuracy`` with ``chance``.
    """

    loss: torch.Tensor
    mse: torch.Tensor | None = None
    variance: torch.Tensor | None = None
    info_nce: torch.Tensor | None = None
    accuracy: torch.Tensor | None = None
    chance: torch.Tensor | None = None


class PretextHeads(ExemptsParameters):
    """A mask token, and two heads that tell hidden patches by their places.

    The generative head predicts the values of a patch.  The contrastive head
    makes a vector whose dot product with the patch itself is to be larger than
    with the other hidden patches of the clip (InfoNCE).

    Arguments
    ---------
    embed_dim : int
        Width of the encoder's output.
    patch_size : int or tuple of int
        Size of the patches in (bins, frames).
    generative, contrastive : float
        Weights of the losses; there is no head of a weight 0.
    normalise_targets : bool
        Whether each patch to predict is normalised by its own mean and
        deviation.  The contrastive head takes patches as they are.
    mask_dim : int, optional
        Width of the mask token; by default that of the encoder's output.

    Raises
    ------
    ValueError
        If a weight is negative, or both are 0.

    Example
    -------
    >>> heads = PretextHeads(embed_dim=32, patch_size=8, contrastive=0.1)
    >>> patches, targets = torch.randn(2, 4, 9, 32), torch.randn(2, 4, 9, 64)
    >>> mask = torch.rand(2, 4, 9) < 0.5
    >>> heads(patches, targets, mask).loss.shape
    torch.Size([2])
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: Size,
        generative: float = 1.0,
        contrastive: float = 0.0,
        normalise_targets: bool = True,
        mask_dim: int | None = None,
    ):
        super().__init__()
        if min(generative, contrastive) < 0 or not generative + contrastive:
            raise ValueError(
                f"the weights of the losses are generative {generative} and "
                f"contrastive {contrastive}; neither can be negative, nor both "
                "0."
            )
        self.weights = {"mse": generative, "info_nce": contrastive}
        self.normalise_targets = normalise_targets
        token = torch.nn.Parameter(torch.empty(mask_dim or embed_dim))
        torch.nn.init.trunc_normal_(token, std=0.02)
        self.exempt("mask_token", token)
        sizes = (embed_dim, math.prod(to_pair(patch_size)))
        self.generative = _head(*sizes) if generative else None
        self.contrastive = _head(*sizes) if contrastive else None

    def forward(
        self, patches: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor
    ) -> Pretext:
        """Compute the losses of a batch.

        Arguments
        ---------
        patches : torch.Tensor
            What the encoder says at each place, [B, F', T', D].
        targets : torch.Tensor
            The patches of the spectrogram, [B, F', T', P].
        mask : torch.Tensor
            True for hidden patches, [B, F', T']; at least one for each clip.

        Returns
        -------
        Pretext
        """
        patches, own = _pick(patches, mask)
        targets, _ = _pick(targets, mask)
        figures: dict[str, torch.Tensor] = {}
        if self.generative is not None:
            found = self.generative(patches)
            goal = _normalised(targets) if self.normalise_targets else targets
            figures |= _reconstruction(found.float(), goal.float(), own)
        if self.contrastive is not None:
            found = self.contrastive(patches)
            figures |= _contrast(found.float(), targets.float(), own)
        loss = sum(
            weight * figures[name]
            for name, weight in self.weights.items()
            if weight
        )
        return Pretext(loss, **figures)


def _head(embed_dim, n_values):
    """Return a layer of the encoder's width, and one to a patch's values."""
    return torch.nn.Sequential(
        torch.nn.Linear(embed_dim, embed_dim),
        torch.nn.ReLU(),
        torch.nn.Linear(embed_dim, n_values),
    )


def _pick(grid, mask):
    """Return the hidden places [B, M, D] of a grid, and which exist [B, M].

    M is the largest number in the batch.
    """
    mask = mask.flatten(1)
    n_most = int(mask.sum(1).max())
    own, index = mask.byte().sort(dim=1, descending=True, stable=True)
    own, index = own[:, :n_most].bool(), index[:, :n_most, None]
    grid = grid.flatten(1, 2)
    return grid.gather(1, index.expand(-1, -1, grid.shape[2])), own


def _normalised(patches):
    """Return patches [..., P] with mean 0 and deviation 1 each."""
    variance, mean = torch.var_mean(patches, -1, keepdim=True)
    return (patches - mean) / (variance + EPS).sqrt()


def _mean(values, own):
    """Return the mean [B] over the places [B, M] that exist."""
    return values.masked_fill(~own, 0.0).sum(1) / own.sum(1)


def _reconstruction(found, goal, own):
    """Return the squared errors, and the variance of what is predicted."""
    mean = _mean(goal.mean(-1), own)[:, None, None]
    return {
        "mse": _mean((found - goal).square().mean(-1), own),
        "variance": _mean((goal - mean).square().mean(-1), own),
    }


def _contrast(found, targets, own):
    """Return InfoNCE over the targets of a clip, and how often it is right.

    The softmax runs over the targets for a given prediction, as in SSAST's
    equation 1; the authors' code normalises over the predictions.
    """
    # Autocast would take the products of hundreds of values in half precision.
    with torch.autocast(found.device.type, enabled=False):
        scores = found @ targets.mT
    scores = scores.masked_fill(~own[:, None], torch.finfo(scores.dtype).min)
    right = scores.log_softmax(-1).diagonal(dim1=1, dim2=2)
    places = torch.arange(scores.shape[1], device=scores.device)
    hits = (scores.argmax(-1) == places).float()
    return {
        "info_nce": -_mean(right, own),
        "accuracy": _mean(hits, own),
        "chance": 1 / own.sum(1),
    }
