"""Causal depthwise convolution with SiLU, registered with PyTorch."""

import torch

from audiomamba.ops.arguments import ConvArguments, check_shapes
from audiomamba.ops.engines import engine_for
from audiomamba.ops.operator import once_differentiable, operator
from audiomamba.ops.optional_gradients import blank, defined, present

_ARGUMENTS = (
    "Tensor x, Tensor weight, Tensor? bias, bool activation, bool reverse, "
    "Tensor? lengths"
)


@operator("causal_conv1d", f"({_ARGUMENTS}) -> Tensor")
def _conv(*arguments):
    arguments = ConvArguments(*arguments)
    return engine_for(arguments.x).conv_forward(arguments).contiguous()


@operator(
    "causal_conv1d_backward", f"(Tensor grad_output, {_ARGUMENTS}) -> Tensor[]"
)
def _conv_backward(grad_output, *arguments):
    arguments = ConvArguments(*arguments)
    engine = engine_for(arguments.x)
    gradients = engine.conv_backward(grad_output, arguments)
    return defined(gradients, arguments.x)


@torch.library.register_fake(_conv)
def _(x, *others):
    return x.new_empty(x.shape)


@torch.library.register_fake(_conv_backward)
def _(grad_output, *arguments):
    tensors = ConvArguments(*arguments).differentiable
    return [blank(t, grad_output) for t in tensors]


def _setup_context(ctx, inputs, output):
    x, weight, bias, ctx.activation, ctx.reverse, lengths = inputs
    ctx.save_for_backward(x, weight, bias, lengths)


def _backward(ctx, grad_output):
    *tensors, lengths = ctx.saved_tensors
    gradients = _conv_backward(
        grad_output, *tensors, ctx.activation, ctx.reverse, lengths
    )
    return (*present(gradients, tensors), None, None, None)


torch.library.register_autograd(_conv, _backward, setup_context=_setup_context)
once_differentiable(_conv_backward)


def causal_conv1d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str | None = "silu",
    reverse: bool = False,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
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
        Look at the following steps instead of the preceding ones.
    lengths : torch.Tensor or None
        Valid steps per sequence, integers [B].  Steps past ``lengths`` are
        ignored, and the output there is zero.

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
    tensors = {"x": x, "weight": weight, "bias": bias, "lengths": lengths}
    check_shapes(
        "causal_conv1d takes x [B, L, D], weight [D, K], bias [D] and lengths "
        "[B].",
        tensors,
        {"x": "B L D", "weight": "D K", "bias": "D", "lengths": "B"},
    )
    return _conv(x, weight, bias, activation == "silu", reverse, lengths)
