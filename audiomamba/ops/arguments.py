"""The operators' arguments, as every engine takes them."""

from typing import NamedTuple

import torch


class ScanArguments(NamedTuple):
    """The arguments of the scan.

    Arguments
    ---------
    u : torch.Tensor
        Input, [B, L, D].
    delta : torch.Tensor
        Step sizes, [B, L, D], before bias and softplus.
    A : torch.Tensor or None
        Decay rates of the forward direction, [D, N]; None to leave it out.
    A_b : torch.Tensor or None
        Decay rates of the backward direction, [D, N].
    B : torch.Tensor
        Input matrix per step, [B, L, N].
    C : torch.Tensor
        Output matrix per step, [B, L, N].
    D : torch.Tensor or None
        Skip, [D], added by each direction.
    z : torch.Tensor or None
        Gate, [B, L, D].
    delta_bias : torch.Tensor or None
        Added to ``delta``, [D].
    delta_softplus : bool
        Take the softplus of the step sizes.
    lengths : torch.Tensor or None
        Valid steps per sequence, integers [B].
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


class ConvArguments(NamedTuple):
    """The arguments of the convolution.

    Arguments
    ---------
    x : torch.Tensor
        Input, [B, L, D].
    weight : torch.Tensor
        One kernel per channel, [D, K].
    bias : torch.Tensor or None
        [D].
    activation : bool
        Apply SiLU.
    reverse : bool
        Look at the following steps instead of the preceding ones.
    lengths : torch.Tensor or None
        Valid steps per sequence, integers [B].
    """

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: bool
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
