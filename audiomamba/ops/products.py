"""Matrix products in float32 by the faster of PyTorch's two libraries.

On the CPU PyTorch multiplies by MKL, which has half the speed of oneDNN on
AMD's processors with AVX-512.  PyTorch ships both, and its compiler calls
oneDNN through the operator that is called here.
"""

import functools

import torch
import torch.nn.functional as F


@functools.cache
def _slow_mkl() -> bool:
    """Return whether MKL wastes this processor, and oneDNN is there."""
    try:
        from llvmlite.binding import get_host_cpu_name
    except ImportError:  # it comes with Numba, which one engine needs
        return False

    amd = get_host_cpu_name().startswith("znver")
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return amd and wide and torch.backends.mkldnn.is_available()


def _by_onednn(*tensors):
    """Return whether oneDNN multiplies these tensors, all but None."""
    return (
        not torch.compiler.is_compiling()  # a compiler decides for itself
        and not torch.jit.is_tracing()
        and _slow_mkl()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and all(
            t.device.type == "cpu" and t.dtype == torch.float32 and t.numel()
            for t in tensors
            if t is not None
        )
    )


def _onednn(x, weight, bias=None):
    """Return x weight^T + bias, in any strides."""
    operator = torch.ops.mkldnn._linear_pointwise
    return operator(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """The linear layer with its gradients, each product by oneDNN."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        dx = dweight = dbias = None
        if wants_x:
            dx = _onednn(grad, weight.t())
        if wants_weight:
            rows = grad.flatten(0, -2)
            dweight = _onednn(rows.t(), x.flatten(0, -2).t())
        if wants_bias:
            dbias = grad.flatten(0, -2).sum(0)
        return dx, dweight, dbias


def linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute x weight^T + bias, as `torch.nn.functional.linear` does.

    Arguments
    ---------
    x : torch.Tensor
        [..., in].
    weight : torch.Tensor
        [out, in].
    bias : torch.Tensor or None
        [out].

    Returns
    -------
    torch.Tensor
        [..., out].

    Example
    -------
    >>> linear(torch.ones(1, 2), torch.tensor([[1.0, 2.0]]), torch.ones(1))
    tensor([[4.]])
    """
    if x.ndim > 1 and _by_onednn(x, weight, bias):
        return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply matrices, left @ right, where no gradient is wanted.

    Arguments
    ---------
    left : torch.Tensor
        [..., in].
    right : torch.Tensor
        [in, out].

    Returns
    -------
    torch.Tensor
        [..., out].

    Example
    -------
    >>> multiply(torch.ones(1, 2), torch.tensor([[1.0], [2.0]]))
    tensor([[3.]])
    """
    if _by_onednn(left, right):
        return _onednn(left, right.t())
    return left @ right
