"""The norm in front of every mixer."""

import torch

from audiomamba.ops import rms_norm


class RMSNorm(torch.nn.RMSNorm):
    """`torch.nn.RMSNorm` over one dimension, by `audiomamba.ops.rms_norm`.

    Arguments
    ---------
    embed_dim : int
        Width of the tokens.
    eps : float
        Added to the mean square under the root.

    Example
    -------
    >>> RMSNorm(4, eps=0.0)(torch.full((1, 4), 2.0)).tolist()
    [[1.0, 1.0, 1.0, 1.0]]
    """

    def __init__(self, embed_dim, eps):
        super().__init__(embed_dim, eps=eps)

    def forward(self, x):
        """Return the normalised x, [..., D]."""
        return rms_norm(x, self.weight, self.eps)
