"""Causal depthwise convolution with SiLU, registered with PyTorch."""

import torch

from audiomamba.ops.engines import engine_for
from audiomamba.ops.registry import blank, defined, present


@torch.library.custom_op("audiomamba::causal_conv1d", mutates_args=())
def _conv(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    activation: bool,
    reverse: bool,
    lengths: torch.Tensor | None,
) -> torch.Tensor:
    return engine_for(x).conv_forward(
        x, weight, bias, activation, reverse, lengths
    )


@torch.library.custom_op("audiomamba::causal_conv1d_backward", mutates_args=())
def _conv_backward(
    grad_output: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    activation: bool,
    reverse: bool,
    lengths: torch.Tensor | None,
) -> list[torch.Tensor]:
    gradients = engine_for(x).conv_backward(
        grad_output, x, weight, bias, activation, reverse, lengths
    )
    return defined(gradients, x)


@_conv.register_fake
def _(x, weight, bias, activation, reverse, lengths):
    return x.new_empty(x.shape)


@_conv_backward.register_fake
def _(grad_output, x, weight, bias, activation, reverse, lengths):
    return [blank(t, x) for t in (x, weight, bias)]


def _setup_context(ctx, inputs, output):
    x, weight, bias, ctx.activation, ctx.reverse, lengths = inputs
    ctx.save_for_backward(x, weight, bias, lengths)


def conv_gradients(grad_output, x, weight, bias, *arguments):
    """Return the gradients of the three tensors, None for no bias."""
    gradients = _conv_backward(grad_output, x, weight, bias, *arguments)
    return present(gradients, (x, weight, bias))


def _backward(ctx, grad_output):
    x, weight, bias, lengths = ctx.saved_tensors
    gradients = conv_gradients(
        grad_output, x, weight, bias, ctx.activation, ctx.reverse, lengths
    )
    return (*gradients, None, None, None)


_conv.register_autograd(_backward, setup_context=_setup_context)


def causal_conv1d(
    x, weight, bias=None, activation="silu", reverse=False, lengths=None
):
    """Depthwise convolution over time that looks only one way.

    y_l = act(bias + sum_k weight[:, k] x_(l - K + 1 + k)); with ``reverse``
    y_l = act(bias + sum_k weight[:, k] x_(l + K - 1 - k)).

    Arguments
    ---------
    x : torch.Tensor
        Input, [B, L, D].
    weight : torch.Tensor
        One kernel per channel, [D, K].
    bias : torch.Tensor or None
        [D].
    activation : str or None
        "silu" or None.
    reverse : bool
        Look at the following instead of the preceding steps.
    lengths : torch.Tensor or None
        Steps of content per sequence, integers [B].  What lies behind them
        is not read, and the output there is zero.

    Returns
    -------
    torch.Tensor
        [B, L, D], in the dtype of ``x``.

    Raises
    ------
    ValueError
        If the shapes do not fit or the activation is unknown.

    Example
    -------
    >>> x = torch.ones(1, 3, 1)
    >>> causal_conv1d(x, torch.ones(1, 4), activation=None).flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    if activation not in ("silu", None):
        raise ValueError(
            f"activation is {activation!r}; it can be 'silu' or None."
        )
    if x.ndim != 3 or weight.ndim != 2 or weight.shape[0] != x.shape[2]:
        raise ValueError(
            "causal_conv1d takes x [B, L, D] and weight [D, K]; it got "
            f"{list(x.shape)} and {list(weight.shape)}."
        )
    return _conv(x, weight, bias, activation == "silu", reverse, lengths)
