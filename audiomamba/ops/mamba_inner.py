"""The inside of a Mamba mixer, between its two projections.

Convolution, selection and scan as one operator, as ``mamba_inner_fn`` of
mamba-ssm is: the backward pass computes the cheap parts once more instead of
keeping them, which halves what a layer holds in memory.
"""

import torch

from audiomamba.ops.engines import engine_for
from audiomamba.ops.registry import blank, defined, present


@torch.library.custom_op("audiomamba::mamba_inner", mutates_args=())
def _inner(
    xz: torch.Tensor,
    conv_weight: torch.Tensor,
    conv_bias: torch.Tensor | None,
    x_proj: torch.Tensor,
    dt_proj: torch.Tensor,
    dt_bias: torch.Tensor,
    A_log: torch.Tensor | None,
    A_b_log: torch.Tensor | None,
    D: torch.Tensor | None,
    lengths: torch.Tensor | None,
) -> torch.Tensor:
    return engine_for(xz).inner_forward(
        *(xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias),
        *(A_log, A_b_log, D, lengths),
    )


@torch.library.custom_op("audiomamba::mamba_inner_backward", mutates_args=())
def _inner_backward(
    grad_output: torch.Tensor,
    xz: torch.Tensor,
    conv_weight: torch.Tensor,
    conv_bias: torch.Tensor | None,
    x_proj: torch.Tensor,
    dt_proj: torch.Tensor,
    dt_bias: torch.Tensor,
    A_log: torch.Tensor | None,
    A_b_log: torch.Tensor | None,
    D: torch.Tensor | None,
    lengths: torch.Tensor | None,
) -> list[torch.Tensor]:
    gradients = engine_for(xz).inner_backward(
        *(grad_output, xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias),
        *(A_log, A_b_log, D, lengths),
    )
    return defined(gradients, xz)


@_inner.register_fake
def _(xz, *arguments):
    n_batch, n_steps, width = xz.shape
    return xz.new_empty(n_batch, n_steps, width // 2)


@_inner_backward.register_fake
def _(grad_output, *arguments):
    return [blank(t, grad_output) for t in arguments[:-1]]


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad_output):
    arguments = ctx.saved_tensors
    gradients = _inner_backward(grad_output, *arguments)
    return (*present(gradients, arguments[:-1]), None)


_inner.register_autograd(_backward, setup_context=_setup_context)


def mamba_inner(
    xz,
    conv_weight,
    conv_bias,
    x_proj,
    dt_proj,
    dt_bias,
    A_log=None,
    A_b_log=None,
    D=None,
    lengths=None,
):
    """Convolve, select and scan, all but a mixer's outer projections.

    u = SiLU(conv(x)), (dt, B, C) = x_proj u, delta = dt_proj dt; then the
    scan of u with A = -exp(A_log), gated by z: forward with ``A_log``,
    backward with ``A_b_log``, the sum of both with both.  With ``A_b_log``
    alone the convolution looks ahead.

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
    A_log : torch.Tensor or None
        Logarithms of the forward direction's decay rates, [D, N].
    A_b_log : torch.Tensor or None
        Those of the backward direction, [D, N].
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
    >>> A_log = torch.rand(D, N)
    >>> y = mamba_inner(xz, conv, None, x_proj, dt_proj, torch.zeros(D), A_log)
    >>> y.shape
    torch.Size([2, 9, 4])
    """
    return _inner(
        *(xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias),
        *(A_log, A_b_log, D, lengths),
    )
