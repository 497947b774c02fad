"""A mixer's inside on a stream: a few steps at a time, with a state between.

In plain PyTorch, on any device: a step of a stream is a handful of tokens,
which no kernel would make faster.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from audiomamba.ops.arguments import InnerArguments
from audiomamba.ops.inner_from_parts import decay_rates, split_gate


class InnerState(NamedTuple):
    """What a mixer's inside keeps of the past of a stream.

    ``inputs`` are the last inputs of the convolution, [B, K - 1, D], and
    ``hidden`` is the state of the scan, [B, D, N], in float32 or wider.
    """

    inputs: torch.Tensor
    hidden: torch.Tensor


def first_state(n_streams: int, inner: InnerArguments) -> InnerState:
    """Return the state before the first step.

    Arguments
    ---------
    n_streams : int
        Streams B.
    inner : InnerArguments
        With the weights; ``xz`` is not read.

    Returns
    -------
    InnerState
    """
    n_channels, kernel = inner.conv_weight.shape
    rates = decay_rates(inner.A_log)
    return InnerState(
        inner.conv_weight.new_zeros(n_streams, kernel - 1, n_channels),
        rates.new_zeros(n_streams, *rates.shape),
    )


def inner_steps(
    inner: InnerArguments, state: InnerState
) -> tuple[torch.Tensor, InnerState]:
    """Go on with the forward direction of `audiomamba.ops.mamba_inner`.

    Arguments
    ---------
    inner : InnerArguments
        The next steps ``xz`` [B, L, 2 D], and the weights.
    state : InnerState
        Of the steps before.

    Returns
    -------
    torch.Tensor
        [B, L, D].
    InnerState
        After these steps.
    """
    x, z = split_gate(inner.xz, inner.x_proj)
    inputs = torch.cat([state.inputs.to(x.dtype), x], dim=1)
    n_kept = state.inputs.shape[1]
    weight = inner.conv_weight[:, None]
    u = F.silu(
        F.conv1d(inputs.mT, weight, inner.conv_bias, groups=len(weight)).mT
    )
    rank = inner.dt_proj.shape[1]
    dt, *selected = F.linear(u, inner.x_proj).tensor_split(
        [rank, (rank + inner.x_proj.shape[0]) // 2], dim=-1
    )
    rates, hidden = decay_rates(inner.A_log), state.hidden
    B, C = (part.to(hidden.dtype) for part in selected)
    delta = F.linear(dt, inner.dt_proj).to(hidden.dtype) + inner.dt_bias
    delta = F.softplus(delta)
    outputs = []
    for step in range(u.shape[1]):
        decay = torch.exp(delta[:, step, :, None] * rates)
        drive = (delta * u)[:, step, :, None] * B[:, step, None]
        hidden = decay * hidden + drive
        outputs.append((hidden * C[:, step, None]).sum(-1))
    y = torch.stack(outputs, dim=1)
    if inner.D is not None:
        y = y + inner.D * u
    y = y if z is None else y * F.silu(z)
    kept = inputs[:, inputs.shape[1] - n_kept :]
    return y.to(x.dtype), InnerState(kept, hidden)
