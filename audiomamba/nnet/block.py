"""The residual block around the mixer, and dropping it at random."""

import torch
from torch.utils.checkpoint import checkpoint

from audiomamba.nnet.mixer import BidirectionalMamba
from audiomamba.nnet.norm import RMSNorm


class DropPath(torch.nn.Module):
    """Drop a residual branch for whole samples, in training only.

    Stochastic depth (arXiv 1603.09382); kept samples are scaled up so that
    the expectation stays.

    Arguments
    ---------
    rate : float
        Probability to drop a sample's branch.

    Example
    -------
    >>> drop = DropPath(0.5).eval()
    >>> drop(torch.ones(1, 2)).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        """Return x [B, ...] with some samples set to zero."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = (len(x), *[1] * (x.ndim - 1))
        return x * x.new_empty(shape).bernoulli_(keep) / keep


class MambaBlock(torch.nn.Module):
    """x + mixer(RMSNorm(x)), the residual stream in float32.

    Arguments
    ---------
    embed_dim : int
        Width of the tokens.
    drop_path : float
        Rate at which the branch is dropped in training.
    norm_eps : float
        Added to the mean square under the norm's root.
    **mixer
        Arguments of `BidirectionalMamba`.

    Example
    -------
    >>> block = MambaBlock(32, scan="bi_bi")
    >>> block(torch.randn(2, 10, 32)).shape
    torch.Size([2, 10, 32])
    """

    def __init__(self, embed_dim, drop_path=0.0, norm_eps=1e-5, **mixer):
        super().__init__()
        self.norm = RMSNorm(embed_dim, eps=norm_eps)
        self.mixer = BidirectionalMamba(embed_dim, **mixer)
        self.drop_path = DropPath(drop_path)

    def forward(self, x, lengths=None):
        """Return [B, L, D] from tokens [B, L, D] and their number [B]."""
        if torch.is_grad_enabled():
            # What lies between x and xz is cheap to compute and large to keep.
            xz = checkpoint(
                self._project, x, use_reentrant=False, preserve_rng_state=False
            )
        else:
            xz = self._project(x)
        return x + self.drop_path(self.mixer.mix(xz, lengths))

    def _project(self, x):
        """Return the mixer's projected input of the normalised tokens."""
        return self.mixer.in_proj(self.norm(x))
