"""The inside of a Mamba mixer, between its two projections.

Convolution, selection and scan are one operator, like ``mamba_inner_fn`` of
mamba-ssm.  The backward pass recomputes the cheap parts instead of keeping
them, which halves the memory that a layer holds.
"""

import torch

from audiomamba.ops.arguments import InnerArguments, check_shapes
from audiomamba.ops.engines import engine_for
from audiomamba.ops.operator import once_differentiable, operator
from audiomamba.ops.optional_gradients import blank, defined, present

_ARGUMENTS = (
    "Tensor xz, Tensor conv_weight, Tensor? conv_bias, Tensor x_proj, "
    "Tensor dt_proj, Tensor dt_bias, Tensor? A_log, Tensor? A_b_log, "
    "Tensor? D, Tensor? lengths"
)


@operator("mamba_inner", f"({_ARGUMENTS}) -> Tensor")
def _inner(*arguments):
    arguments = InnerArguments(*arguments)
    return engine_for(arguments.xz).inner_forward(arguments).contiguous()


@operator(
    "mamba_inner_backward", f"(Tensor grad_output, {_ARGUMENTS}) -> Tensor[]"
)
def _inner_backward(grad_output, *arguments):
    arguments = InnerArguments(*arguments)
    engine = engine_for(arguments.xz)
    gradients = engine.inner_backward(grad_output, arguments)
    return defined(gradients, arguments.xz)


@torch.library.register_fake(_inner)
def _(xz, conv_weight, *others):
    return xz.new_empty(*xz.shape[:2], conv_weight.shape[0])


@torch.library.register_fake(_inner_backward)
def _(grad_output, *arguments):
    tensors = InnerArguments(*arguments).differentiable
    return [blank(t, grad_output) for t in tensors]


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad_output):
    *tensors, lengths = ctx.saved_tensors
    gradients = _inner_backward(grad_output, *tensors, lengths)
    return (*present(gradients, tensors), None)


torch.library.register_autograd(_inner, _backward, setup_context=_setup_context)
once_differentiable(_inner_backward)


_AXES = {
    "xz": "B L XZ",
    "conv_weight": "D K",
    "x_proj": "P D",
    "dt_proj": "D R",
    **dict.fromkeys(("A_log", "A_b_log"), "D N"),
    **dict.fromkeys(("conv_bias", "dt_bias", "D"), "D"),
    "lengths": "B",
}
_TAKES = (
    "mamba_inner takes xz [B, L, 2 D] or [B, L, D], conv_weight [D, K], x_proj "
    "[R + 2 N, D], dt_proj [D, R], A_log, A_b_log [D, N], conv_bias, dt_bias, "
    "D [D] and lengths [B]."
)


def _fit(sizes):
    """Return whether the projections' sizes fit."""
    gated = sizes["XZ"] == 2 * sizes["D"]
    selected = sizes["R"] + 2 * sizes["N"]
    return (gated or sizes["XZ"] == sizes["D"]) and sizes["P"] == selected


def mamba_inner(
    xz: torch.Tensor,
    conv_weight: torch.Tensor,
    conv_bias: torch.Tensor | None,
    x_proj: torch.Tensor,
    dt_proj: torch.Tensor,
    dt_bias: torch.Tensor,
    A_log: torch.Tensor | None = None,
    A_b_log: torch.Tensor | None = None,
    D: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Convolve, select and scan: a mixer without its outer projections.

    u = SiLU(conv(x)), (dt, B, C) = x_proj u, delta = dt_proj dt; then the
    scan of u with A = -exp(A_log), gated by z: forward with ``A_log``,
    backward with ``A_b_log``, the sum of both with both.  With ``A_b_log``
    alone the convolution looks ahead.

    Arguments
    ---------
    xz : torch.Tensor
        Input and gate side by side, [B, L, 2 D], or the input alone,
        [B, L, D]; then nothing is gated.
    conv_weight : torch.Tensor
        [D, K].
    conv_bias : torch.Tensor or None
        [D].
    x_proj : torch.Tensor
        Projects to dt, B and C, [R + 2 N, D], in the dtype of ``xz``.
    dt_proj : torch.Tensor
        Projects dt to step sizes, [D, R], in the dtype of ``xz``.
    dt_bias : torch.Tensor
        [D].
    A_log : torch.Tensor or None
        Logarithms of the forward direction's decay rates, [D, N].
    A_b_log : torch.Tensor or None
        Those of the backward direction, [D, N].
    D : torch.Tensor or None
        Skip, [D].
    lengths : torch.Tensor or None
        Valid steps per sequence, integers [B].

    Returns
    -------
    torch.Tensor
        [B, L, D], in the dtype of ``xz``.

    Raises
    ------
    ValueError
        If the shapes do not fit, or neither direction is given.

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
    arguments = InnerArguments(
        xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A_log, A_b_log, D,
        lengths,
    )  # fmt: skip
    if A_log is None and A_b_log is None:
        raise ValueError("mamba_inner needs A_log, A_b_log or both.")
    check_shapes(_TAKES, arguments._asdict(), _AXES, _fit)
    return _inner(*arguments)
