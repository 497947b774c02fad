"""The residual block: norm, mixer, stochastic depth; encoders of blocks."""

import functools
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from audiomamba.nnet.lengths import check_rate
from audiomamba.nnet.mixer import PIECE, BidirectionalMamba
from audiomamba.ops import rms_norm
from audiomamba.ops.stepping import InnerState


class RMSNorm(torch.nn.RMSNorm):
    """`torch.nn.RMSNorm` over the last dimension by `audiomamba.ops.rms_norm`.

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

    def __init__(self, embed_dim: int, eps: float = 1e-5):
        super().__init__(embed_dim, eps=eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised x, [..., D]."""
        return rms_norm(x, self.weight, self.eps)


class DropPath(torch.nn.Module):
    """Drop a residual branch for whole samples, in training only.

    Stochastic depth (arXiv 1603.09382); the samples that are kept are scaled
    up, so that the expectation stays the same.

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

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [B, ...] with some samples set to zero."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = (len(x), *[1] * (x.ndim - 1))
        return x * x.new_empty(shape).bernoulli_(keep) / keep


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return each layer's rate, growing linearly from 0.

    Arguments
    ---------
    last : float
        Rate of the last layer.
    depth : int
        Number of layers.

    Returns
    -------
    list of float

    Raises
    ------
    ValueError
        If the rate is not in [0, 1).

    Example
    -------
    >>> drop_path_rates(0.5, 3)
    [0.0, 0.25, 0.5]
    """
    check_rate("drop_path", last)
    return [last * i / max(depth - 1, 1) for i in range(depth)]


def recomputed(tensor: torch.Tensor, compute: Callable[[], torch.Tensor]):
    """Let autograd recompute a tensor in the backward pass, not keep it.

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
    >>> with recomputed(h, lambda: 2 * x):
    ...     y = h * w
    >>> del h
    >>> y.sum().backward()
    >>> w.grad
    tensor([2., 2., 2.])
    """
    # Autograd holds on to the hooks, so they must not hold on to the tensor.
    spared, size = weakref.ref(tensor), tensor.numel()

    def pack(saved):
        origin = spared()
        # A function in Python saves an alias that is no view.
        same = origin is not None and (
            saved.untyped_storage() is origin.untyped_storage()
        )
        whole = saved.is_contiguous() and saved.numel() == size
        if same and whole:
            return saved.shape, saved.dtype
        return saved

    def unpack(kept):
        if isinstance(kept, torch.Tensor):
            return kept
        shape, dtype = kept
        with torch.no_grad():
            return compute().to(dtype).view(shape)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def computing_dtype(x: torch.Tensor) -> torch.dtype:
    """Return the dtype that a linear layer computes x in.

    Arguments
    ---------
    x : torch.Tensor
        The layer's input.

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
    # Autocast leaves float64 alone and does not know every device.
    if x.dtype == torch.float64 or not torch.amp.is_autocast_available(kind):
        return x.dtype
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


class MambaBlock(torch.nn.Module):
    """x + mixer(RMSNorm(x)), with the residual stream in float32.

    Arguments
    ---------
    embed_dim : int
        Width of the tokens.
    drop_path : float
        Rate at which the branch is dropped in training.
    **mixer
        Arguments of `audiomamba.nnet.mixer.BidirectionalMamba`.

    Example
    -------
    >>> block = MambaBlock(32, scan="bi_bi")
    >>> block(torch.randn(2, 10, 32)).shape
    torch.Size([2, 10, 32])
    """

    def __init__(self, embed_dim: int, drop_path: float = 0.0, **mixer):
        super().__init__()
        self.norm = RMSNorm(embed_dim)
        self.mixer = BidirectionalMamba(embed_dim, **mixer)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return [B, L, D] for tokens [B, L, D] and their number, [B]."""
        if self._is_long(x) and self.mixer.can_mix_long:
            y = self.mixer.mix_long(x, self.norm, lengths)
        else:
            y = self.mixer.mix(self._project(x), lengths)
        return x + self.drop_path(y)

    def step(
        self, x: torch.Tensor, state: InnerState | None
    ) -> tuple[torch.Tensor, InnerState]:
        """Go on with streams; see `BidirectionalMamba.step`."""
        y, state = self.mixer.step(self.norm(x), state)
        return x + y, state

    @staticmethod
    def _is_long(x):
        """Return whether memory counts: in inference on a long sequence."""
        # In this order: the length is unknown to a compiler.
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return False
        return x.shape[1] > PIECE

    def _project(self, x):
        """Return the input projection of the normalised tokens.

        The normalised tokens are cheap to compute and large to keep, so they
        are recomputed in the backward pass; a compiler decides for itself.
        """
        h = self.norm(x)
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return self.mixer.in_proj(h)
        h = h.to(computing_dtype(h))
        with recomputed(h, lambda: self.norm(x)):
            return self.mixer.in_proj(h)


class BlockEncoder(torch.nn.Module, ABC):
    """Base of the encoders that pass their input through residual blocks."""

    @property
    @abstractmethod
    def blocks(self) -> list[torch.nn.Module]:
        """The blocks, from the input to the output."""


def find_blocks(encoder: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the blocks of an encoder, or of the encoder that it wraps.

    Arguments
    ---------
    encoder : torch.nn.Module
        Any.

    Returns
    -------
    list of torch.nn.Module
        From the input to the output; empty without a `BlockEncoder`.

    Example
    -------
    >>> from audiomamba.lobes import AudioMamba
    >>> wrapped = torch.nn.Sequential(AudioMamba(embed_dim=16, depth=2))
    >>> len(find_blocks(wrapped)), find_blocks(torch.nn.Linear(1, 1))
    (2, [])
    """
    found = [m for m in encoder.modules() if isinstance(m, BlockEncoder)]
    return found[0].blocks if found else []


def recompute_in_backward(block: torch.nn.Module) -> None:
    """Let a block keep its inputs only, and compute again for gradients.

    The backward pass computes the block once more, with the same random
    draws (gradient checkpointing, arXiv 1604.06174).

    Arguments
    ---------
    block : torch.nn.Module
        From `find_blocks`.

    Example
    -------
    >>> block = MambaBlock(16, drop_path=0.5)
    >>> recompute_in_backward(block)
    >>> block(torch.randn(2, 10, 16)).sum().backward()
    >>> block.mixer.out_proj.weight.grad is None
    False
    """
    # A partial of a method, not a closure: a copy of the module keeps to its
    # own weights.
    block.forward = functools.partial(_forward_recomputed, block.forward)


def _forward_recomputed(forward, *inputs, **options):
    """Call a block, to be computed again if there are gradients."""
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, **options)
