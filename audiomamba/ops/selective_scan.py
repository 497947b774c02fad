"""The selective scan of Mamba in one or both directions, as one operator."""

import torch

from audiomamba.ops.engines import engine_for
from audiomamba.ops.registry import blank, defined, present


@torch.library.custom_op("audiomamba::scan", mutates_args=())
def scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor | None,
    A_b: torch.Tensor | None,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None,
    z: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    delta_softplus: bool,
    lengths: torch.Tensor | None,
) -> torch.Tensor:
    """Scan forward where A is given, backward where A_b is, and sum both.

    Each direction has its own skip, so that with both D counts twice, as in
    the authors' ``bimamba_inner_fn``.
    """
    return engine_for(u).scan_forward(
        u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
    )


@torch.library.custom_op("audiomamba::scan_backward", mutates_args=())
def _scan_backward(
    grad_output: torch.Tensor,
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor | None,
    A_b: torch.Tensor | None,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None,
    z: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    delta_softplus: bool,
    lengths: torch.Tensor | None,
) -> list[torch.Tensor]:
    gradients = engine_for(u).scan_backward(
        grad_output,
        *(u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths),
    )
    return defined(gradients, u)


@scan.register_fake
def _(u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths):
    return u.new_empty(u.shape)


@_scan_backward.register_fake
def _(grad_output, *arguments):
    return [blank(t, grad_output) for t in arguments[:9]]


def _setup_context(ctx, inputs, output):
    *tensors, ctx.delta_softplus, lengths = inputs
    ctx.save_for_backward(*tensors, lengths)


def scan_gradients(grad_output, *arguments):
    """Return the gradients of the nine tensors, None where not given."""
    return present(_scan_backward(grad_output, *arguments), arguments[:9])


def _backward(ctx, grad_output):
    *tensors, lengths = ctx.saved_tensors
    gradients = scan_gradients(
        grad_output, *tensors, ctx.delta_softplus, lengths
    )
    return (*gradients, None, None)


scan.register_autograd(_backward, setup_context=_setup_context)


def _check(u, delta, A, B, C, z):
    """Refuse shapes that do not fit, with all of them in the message."""
    fits = (
        u.ndim == 3
        and delta.shape == u.shape
        and A.shape[:-1] == u.shape[2:]
        and B.shape == C.shape == (*u.shape[:2], A.shape[-1])
        and (z is None or z.shape == u.shape)
    )
    if not fits:
        shapes = dict(u=u, delta=delta, A=A, B=B, C=C, z=z)
        found = ", ".join(
            f"{name} {list(t.shape)}"
            for name, t in shapes.items()
            if t is not None
        )
        raise ValueError(
            "The scan takes u, delta, z [B, L, D], A [D, N] and B, C "
            f"[B, L, N]; it got {found}."
        )


def selective_scan(
    u,
    delta,
    A,
    B,
    C,
    D=None,
    z=None,
    delta_bias=None,
    delta_softplus=False,
    reverse=False,
    lengths=None,
):
    """Selective state-space scan (Mamba, arXiv 2312.00752), channel-last.

    h_l = exp(delta_l A) h_(l-1) + delta_l B_l u_l,
    y_l = (C_l . h_l + D u_l) SiLU(z_l).

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
        Steps of content per sequence, integers [B].  What lies behind them
        is not read, and the output there is zero.

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
    _check(u, delta, A, B, C, z)
    A, A_b = (None, A) if reverse else (A, None)
    return scan(
        u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
    )


def bidirectional_scan(
    u,
    delta,
    A,
    A_b,
    B,
    C,
    D=None,
    z=None,
    delta_bias=None,
    delta_softplus=False,
    lengths=None,
):
    """Scan both ways over the same input and sum (the Fo-Bi mixer of AuM).

    The same as ``selective_scan(A) + selective_scan(A_b, reverse=True)`` in
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
        Skip, [D], counted in both directions.
    z : torch.Tensor or None
        Gate, [B, L, D].
    delta_bias : torch.Tensor or None
        Added to ``delta``, [D].
    delta_softplus : bool
        Take the softplus of the step sizes.
    lengths : torch.Tensor or None
        Steps of content per sequence, integers [B].

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
    _check(u, delta, A, B, C, z)
    _check(u, delta, A_b, B, C, z)
    return scan(
        u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
    )
