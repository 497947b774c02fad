"""The selective scan of Mamba in one or both directions, as one operator."""

import torch

from audiomamba.ops.arguments import ScanArguments, check_shapes
from audiomamba.ops.engines import engine_for
from audiomamba.ops.operator import once_differentiable, operator
from audiomamba.ops.optional_gradients import blank, defined, present

_ARGUMENTS = (
    "Tensor u, Tensor delta, Tensor? A, Tensor? A_b, Tensor B, Tensor C, "
    "Tensor? D, Tensor? z, Tensor? delta_bias, bool delta_softplus, "
    "Tensor? lengths"
)


@operator("scan", f"({_ARGUMENTS}) -> Tensor")
def scan(*arguments):
    """Scan forward if A is given, backward if A_b is, and sum both.

    Each direction has its own skip, so that with both D counts twice, as in
    the authors' ``bimamba_inner_fn``.
    """
    arguments = ScanArguments(*arguments)
    y = engine_for(arguments.u).scan_forward(arguments.in_rows)
    return y.reshape(arguments.u.shape).contiguous()


@operator("scan_backward", f"(Tensor grad_output, {_ARGUMENTS}) -> Tensor[]")
def _scan_backward(grad_output, *arguments):
    arguments = ScanArguments(*arguments)
    engine = engine_for(arguments.u)
    grad_rows = grad_output.flatten(1, -2)
    gradients = engine.scan_backward(grad_rows, arguments.in_rows)
    gradients = [
        None if argument is None else gradient.reshape(argument.shape)
        for gradient, argument in zip(gradients, arguments.differentiable)
    ]
    return defined(gradients, arguments.u)


@torch.library.register_fake(scan)
def _(u, *others):
    return u.new_empty(u.shape)


@torch.library.register_fake(_scan_backward)
def _(grad_output, *arguments):
    tensors = ScanArguments(*arguments).differentiable
    return [blank(t, grad_output) for t in tensors]


def _setup_context(ctx, inputs, output):
    *tensors, ctx.delta_softplus, lengths = inputs
    ctx.save_for_backward(*tensors, lengths)


def _backward(ctx, grad_output):
    *tensors, lengths = ctx.saved_tensors
    gradients = _scan_backward(
        grad_output, *tensors, ctx.delta_softplus, lengths
    )
    return (*present(gradients, tensors), None, None)


torch.library.register_autograd(scan, _backward, setup_context=_setup_context)
once_differentiable(_scan_backward)


_AXES = {
    **dict.fromkeys(("u", "delta", "z"), "B ... D"),
    **dict.fromkeys(("B", "C"), "B ... N"),
    **dict.fromkeys(("A", "A_b"), "D N"),
    **dict.fromkeys(("D", "delta_bias"), "D"),
    "lengths": "B",
}
_TAKES = (
    "The scan takes u, delta, z [B, L, D], A [D, N], B, C [B, L, N], D, "
    "delta_bias [D] and lengths [B], with steps along any number of axes."
)


def _check(arguments):
    """Refuse shapes that do not fit, with all of them in the message."""
    tensors = {**arguments._asdict(), "delta_softplus": None}
    check_shapes(_TAKES, tensors, _AXES)


def selective_scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Selective state-space scan (Mamba, arXiv 2312.00752), channel-last.

    h_l = exp(delta_l A) h_(l-1) + delta_l B_l u_l,
    y_l = (C_l . h_l + D u_l) SiLU(z_l).

    The steps may lie along several axes, [B, X, Y, D] for example: they are
    taken row after row.

    Arguments
    ---------
    u : torch.Tensor
        Input, [B, L, D].
    delta : torch.Tensor
        Step sizes, [B, L, D], before bias and softplus.
    A : torch.Tensor
        Decay rates, negative, [D, N].
    B : torch.Tensor
        Input matrix per step, [B, L, N].
    C : torch.Tensor
        Output matrix per step, [B, L, N].
    D : torch.Tensor or None
        Skip, [D].
    z : torch.Tensor or None
        Gate, [B, L, D].
    delta_bias : torch.Tensor or None
        Added to ``delta``, [D].
    delta_softplus : bool
        Take the softplus of the step sizes.
    reverse : bool
        Scan from the last valid step to the first.
    lengths : torch.Tensor or None
        Valid steps per sequence, integers [B].  Steps past ``lengths`` are
        ignored, and the output there is zero.

    Returns
    -------
    torch.Tensor
        [B, L, D], in the dtype of ``u``; the state is float32 or wider.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Example
    -------
    >>> u = torch.ones(1, 3, 1)
    >>> one = torch.ones(1, 3, 1)
    >>> selective_scan(u, one, torch.zeros(1, 1), one, one).flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    forward, backward = (None, A) if reverse else (A, None)
    arguments = ScanArguments(
        u, delta, forward, backward, B, C, D, z, delta_bias, delta_softplus,
        lengths,
    )  # fmt: skip
    _check(arguments)
    return scan(*arguments)


def bidirectional_scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    A_b: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scan in both directions and sum (the Fo-Bi mixer of AuM).

    The same as ``selective_scan(A) + selective_scan(A_b, reverse=True)``, in
    one pass over the inputs.

    Arguments
    ---------
    u : torch.Tensor
        Input, [B, L, D].
    delta : torch.Tensor
        Step sizes, [B, L, D], before bias and softplus.
    A : torch.Tensor
        Decay rates of the forward direction, [D, N].
    A_b : torch.Tensor
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

    Returns
    -------
    torch.Tensor
        [B, L, D], in the dtype of ``u``.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Example
    -------
    >>> u = torch.ones(1, 3, 1)
    >>> one, A = torch.ones(1, 3, 1), torch.zeros(1, 1)
    >>> bidirectional_scan(u, one, A, A, one, one).flatten().tolist()
    [4.0, 4.0, 4.0]
    """
    arguments = ScanArguments(
        u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
    )
    _check(arguments)
    return scan(*arguments)
