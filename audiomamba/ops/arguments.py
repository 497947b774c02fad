"""The operators' arguments, as every engine takes them."""

from collections.abc import Callable
from typing import NamedTuple

import torch


class ScanArguments(NamedTuple):
    """The arguments of the scan; see `audiomamba.ops.bidirectional_scan`.

    ``A`` is None for the backward direction alone, ``A_b`` for the forward
    direction alone.
    """

    u: torch.Tensor
    delta: torch.Tensor
    A: torch.Tensor | None
    A_b: torch.Tensor | None
    B: torch.Tensor
    C: torch.Tensor
    D: torch.Tensor | None
    z: torch.Tensor | None
    delta_bias: torch.Tensor | None
    delta_softplus: bool
    lengths: torch.Tensor | None

    @property
    def differentiable(self):
        """The nine tensors that have a gradient."""
        return self[:9]

    @property
    def in_rows(self):
        """The same with all steps along one axis, which engines expect."""
        rows = {
            name: value.flatten(1, -2)
            for name, value in zip(self._fields, self)
            if name in ("u", "delta", "B", "C", "z") and value is not None
        }
        return self._replace(**rows)


class ConvArguments(NamedTuple):
    """The arguments of the convolution; see `audiomamba.ops.causal_conv1d`."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: bool  # SiLU or none
    reverse: bool
    lengths: torch.Tensor | None

    @property
    def differentiable(self):
        """The three tensors that have a gradient."""
        return self[:3]


class InnerArguments(NamedTuple):
    """The arguments of a mixer's inside; see `audiomamba.ops.mamba_inner`."""

    xz: torch.Tensor
    conv_weight: torch.Tensor
    conv_bias: torch.Tensor | None
    x_proj: torch.Tensor
    dt_proj: torch.Tensor
    dt_bias: torch.Tensor
    A_log: torch.Tensor | None
    A_b_log: torch.Tensor | None
    D: torch.Tensor | None
    lengths: torch.Tensor | None

    @property
    def differentiable(self):
        """The nine tensors that have a gradient."""
        return self[:9]


def check_shapes(
    takes: str,
    tensors: dict[str, torch.Tensor | None],
    axes: dict[str, str],
    fit: Callable[[dict], bool] = lambda sizes: True,
) -> None:
    """Refuse tensors that do not fit: the kernels do not look where they read.

    Arguments
    ---------
    takes : str
        What the operator takes, for the message.
    tensors : dict
        Name -> argument, None if it was not given.
    axes : dict
        Name -> a word for each axis; an axis of one word has one size in all
        tensors. ``...`` is any number of axes, at least one.
    fit : callable, optional
        Takes word -> size, and returns whether the sizes fit.

    Raises
    ------
    ValueError
        If one has another shape, or ``lengths`` are no integers.

    Example
    -------
    >>> x, w = torch.ones(2, 5, 3), torch.ones(4)
    >>> axes = {"x": "B ... D", "w": "D"}
    >>> check_shapes("It takes x [B, ..., D], w [D].", {"x": x, "w": w}, axes)
    Traceback (most recent call last):
        ...
    ValueError: It takes x [B, ..., D], w [D]. It got x [2, 5, 3], w [4].
    """
    given = {name: t for name, t in tensors.items() if t is not None}
    sizes: dict = {}
    fits = all(
        _take_sizes(tuple(t.shape), axes[name].split(), sizes)
        for name, t in given.items()
    )
    if not (fits and fit(sizes)):
        found = [f"{name} {list(t.shape)}" for name, t in given.items()]
        raise ValueError(f"{takes} It got {', '.join(found)}.")
    lengths = given.get("lengths")
    if lengths is not None and lengths.is_floating_point():
        raise ValueError(
            f"lengths are {lengths.dtype}; the operators take numbers of "
            "steps, integers [B]: audiomamba.nnet.lengths.absolute_lengths "
            "turns relative lengths into them."
        )


def _take_sizes(shape, words, sizes):
    """Note the sizes of a tensor's axes; return whether all are as noted."""
    if "..." in words:
        start = words.index("...")
        stop = start + 1 + len(shape) - len(words)
        if stop <= start:
            return False
        shape = (*shape[:start], shape[start:stop], *shape[stop:])
    return len(shape) == len(words) and all(
        sizes.setdefault(word, size) == size for word, size in zip(words, shape)
    )
