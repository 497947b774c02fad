"""The residual block around the mixer, and dropping it at random."""

import weakref

import torch

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


def computed_again(tensor, compute):
    """Let autograd compute a tensor once more instead of keeping it.

    Arguments
    ---------
    tensor : torch.Tensor
        What operations within the context would save for their gradients.
    compute : callable
        Returns its values, before a change of shape or dtype.

    Returns
    -------
    context manager

    Example
    -------
    >>> x, w = torch.ones(3), torch.ones(3, requires_grad=True)
    >>> h = 2 * x
    >>> with computed_again(h, lambda: 2 * x):
    ...     y = h * w
    >>> del h
    >>> y.sum().backward()
    >>> w.grad
    tensor([2., 2., 2.])
    """
    # autograd holds on to the hooks, and they must not hold on to the tensor
    spared, size = weakref.ref(tensor), tensor.numel()

    def pack(saved):
        origin = saved if saved._base is None else saved._base
        whole = saved.is_contiguous() and saved.numel() == size
        if origin is spared() and whole:
            return saved.shape, saved.dtype
        return saved

    def unpack(kept):
        if isinstance(kept, torch.Tensor):
            return kept
        shape, dtype = kept
        with torch.no_grad():
            return compute().to(dtype).view(shape)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def computing_dtype(x):
    """Return the dtype that a projection of x computes in.

    Arguments
    ---------
    x : torch.Tensor

    Returns
    -------
    torch.dtype

    Example
    -------
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     computing_dtype(torch.ones(1))
    torch.bfloat16
    """
    kind = x.device.type
    # autocast leaves float64 alone and does not know every device
    if x.dtype == torch.float64 or not torch.amp.is_autocast_available(kind):
        return x.dtype
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


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
        xz = self._project(x)
        return x + self.drop_path(self.mixer.mix(xz, lengths))

    def _project(self, x):
        """Return the mixer's projected input of the normalised tokens.

        Those are cheap to compute, large to keep and needed again in the
        backward pass only; a compiler finds that out by itself.
        """
        h = self.norm(x)
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return self.mixer.in_proj(h)
        h = h.to(computing_dtype(h))
        with computed_again(h, lambda: self.norm(x)):
            return self.mixer.in_proj(h)
