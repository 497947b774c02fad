"""The inside of a Mamba mixer, between its two projections.

Convolution, selection and scan as one differentiable function, as
``mamba_inner_fn`` of mamba-ssm is: the backward pass computes the cheap parts
once more instead of keeping them, which halves what a layer holds in memory.
"""

import torch
import torch.nn.functional as F

from audiomamba.ops.causal_conv1d import causal_conv1d, conv_gradients
from audiomamba.ops.selective_scan import scan, scan_gradients


def _select(x, conv_weight, conv_bias, x_proj, dt_proj, A, A_b, lengths):
    """Return the convolved input, its low-rank and its step sizes, B and C."""
    u = causal_conv1d(
        x, conv_weight, conv_bias, reverse=A is None, lengths=lengths
    )
    n_state = (A_b if A is None else A).shape[1]
    rank = dt_proj.shape[1]
    dt, B, C = F.linear(u, x_proj).split([rank, n_state, n_state], dim=-1)
    return u, dt, F.linear(dt, dt_proj), B, C


def _select_and_scan(
    xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, A_b, D, lengths
):
    """Return the gated scan."""
    x, z = xz.chunk(2, dim=-1)
    u, _, delta, B, C = _select(
        x, conv_weight, conv_bias, x_proj, dt_proj, A, A_b, lengths
    )
    return scan(u, delta, A, A_b, B, C, D, z, dt_bias, True, lengths)


def _weight_gradient(grad_output, inputs):
    """Return the gradient of a projection's weight [out, in]."""
    return grad_output.flatten(0, 1).t() @ inputs.flatten(0, 1)


class _MambaInner(torch.autograd.Function):
    """`_select_and_scan`, keeping nothing but its inputs."""

    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        return _select_and_scan(*inputs)

    @staticmethod
    def backward(ctx, grad_output):
        xz, *weights, dt_bias, A, A_b, D, lengths = ctx.saved_tensors
        conv_weight, conv_bias, x_proj, dt_proj = weights
        x, z = xz.chunk(2, dim=-1)
        u, dt, delta, B, C = _select(x, *weights, A, A_b, lengths)
        du, d_delta, dA, dA_b, dB, dC, dD, dz, d_bias = scan_gradients(
            *(grad_output, u, delta, A, A_b, B, C, D, z, dt_bias),
            *(True, lengths),
        )
        d_selected = torch.cat((d_delta @ dt_proj, dB, dC), dim=-1)
        dx, d_conv_weight, d_conv_bias = conv_gradients(
            *(du + d_selected @ x_proj, x, conv_weight, conv_bias),
            *(True, A is None, lengths),
        )
        return (
            torch.cat((dx, dz), dim=-1),
            *(d_conv_weight, d_conv_bias),
            _weight_gradient(d_selected, u),
            _weight_gradient(d_delta, dt),
            *(d_bias, dA, dA_b, dD, None),
        )


def mamba_inner(
    xz,
    conv_weight,
    conv_bias,
    x_proj,
    dt_proj,
    dt_bias,
    A=None,
    A_b=None,
    D=None,
    lengths=None,
):
    """Convolve, select and scan, all but a mixer's outer projections.

    u = SiLU(conv(x)), (dt, B, C) = x_proj u, delta = dt_proj dt; then the
    scan of u, gated by z: forward with ``A``, backward with ``A_b``, the sum
    of both with both.  With ``A_b`` alone the convolution looks ahead.

    Arguments
    ---------
    xz : torch.Tensor
        Input and gate side by side, [B, L, 2 D].
    conv_weight : torch.Tensor
        [D, K].
    conv_bias : torch.Tensor or None
        [D].
    x_proj : torch.Tensor
        Weight that selects, [R + 2 N, D], in the dtype of ``xz``.
    dt_proj : torch.Tensor
        Weight that widens the step sizes, [D, R], in the dtype of ``xz``.
    dt_bias : torch.Tensor
        [D].
    A : torch.Tensor or None
        Decay rates of the forward direction, [D, N].
    A_b : torch.Tensor or None
        Decay rates of the backward direction, [D, N].
    D : torch.Tensor or None
        Skip, [D].
    lengths : torch.Tensor or None
        Steps of content per sequence, integers [B].

    Returns
    -------
    torch.Tensor
        [B, L, D], in the dtype of ``xz``.

    Example
    -------
    >>> D, N, R = 4, 16, 1
    >>> xz, conv = torch.randn(2, 9, 2 * D), torch.randn(D, 4)
    >>> x_proj, dt_proj = torch.randn(R + 2 * N, D), torch.randn(D, R)
    >>> A = -torch.rand(D, N)
    >>> y = mamba_inner(xz, conv, None, x_proj, dt_proj, torch.zeros(D), A)
    >>> y.shape
    torch.Size([2, 9, 4])
    """
    inputs = (
        *(xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias),
        *(A, A_b, D, lengths),
    )
    if torch.is_grad_enabled():
        return _MambaInner.apply(*inputs)
    return _select_and_scan(*inputs)
