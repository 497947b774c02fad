"""The operators' arguments, as every engine takes them."""

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
