"""The root-mean-square norm (RMSNorm, arXiv 1910.07467)."""

import torch
import torch.nn.functional as F

from audiomamba.ops.engines import engine_for
from audiomamba.ops.operator import once_differentiable, operator


@operator("rms_norm", "(Tensor x, Tensor weight, float eps) -> Tensor")
def _norm(x, weight, eps):
    return engine_for(x).norm_forward(x, weight, eps)


@operator(
    "rms_norm_backward",
    "(Tensor grad_output, Tensor x, Tensor weight, float eps) -> Tensor[]",
)
def _norm_backward(grad_output, x, weight, eps):
    return engine_for(x).norm_backward(grad_output, x, weight, eps)


@torch.library.register_fake(_norm)
def _(x, weight, eps):
    return x.new_empty(x.shape)


@torch.library.register_fake(_norm_backward)
def _(grad_output, x, weight, eps):
    return [x.new_empty(x.shape), weight.new_empty(weight.shape)]


def _setup_context(ctx, inputs, output):
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad_output):
    return (*_norm_backward(grad_output, *ctx.saved_tensors, ctx.eps), None)


torch.library.register_autograd(_norm, _backward, setup_context=_setup_context)
once_differentiable(_norm_backward)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Divide by the root mean square over the last dimension.

    y = x / sqrt(mean(x^2) + eps) weight.

    On a GPU, and under ``torch.compile``, this is PyTorch's own.  On the CPU
    PyTorch's takes six passes with a tensor each, so there it is an operator.

    Arguments
    ---------
    x : torch.Tensor
        [..., D].
    weight : torch.Tensor
        [D].
    eps : float
        Added to the mean square.

    Returns
    -------
    torch.Tensor
        [..., D], in the dtype of ``x``.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Example
    -------
    >>> rms_norm(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]), 0.0)
    tensor([0.8485, 2.2627])
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.rms_norm(x, weight.shape, weight, eps)
    if weight.shape != x.shape[-1:]:
        raise ValueError(
            "rms_norm takes x [..., D] and weight [D]. It got x "
            f"{list(x.shape)}, weight {list(weight.shape)}."
        )
    return _norm(x, weight, eps)
