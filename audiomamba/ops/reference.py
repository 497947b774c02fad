"""The operators in plain PyTorch: any device, any float, the tests' oracle.

Written for reading, not for speed: the scan is the recurrence of the Mamba
paper (arXiv 2312.00752, equation 2 with the discretisation of section 3.2),
one step after the other, and its gradient is the adjoint recurrence, one step
before the other.  PyTorch's ``gradcheck`` holds the two together.
"""

import torch
import torch.nn.functional as F

from audiomamba.ops.composed import compose_inner


def _widen(*tensors):
    """Return tensors in float64 where the first is, else in float32."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return [None if t is None else t.to(dtype) for t in tensors]


def _valid(lengths, x):
    """Return which positions of x [B, L, D] hold content, [B, L, 1]."""
    steps = torch.arange(x.shape[1], device=x.device)
    if lengths is None:
        return steps[None, :, None] >= 0
    return (steps < lengths[:, None]).unsqueeze(-1)


def _silu_slope(x):
    """Return the derivative of SiLU."""
    sigmoid = torch.sigmoid(x)
    return sigmoid * (1 + x * (1 - sigmoid))


def _discretise(u, delta, B, C, delta_bias, delta_softplus, lengths):
    """Return u, step sizes, B and C as the recurrence reads them.

    Behind a sequence's end the step is zero: the state stays as it is.
    """
    if delta_bias is not None:
        delta = delta + delta_bias
    if delta_softplus:
        delta = F.softplus(delta)
    valid = _valid(lengths, u)
    return [torch.where(valid, t, t.new_zeros(())) for t in (u, delta, B, C)]


def _scan_states(u, delta, A, B, reverse):
    """Return the states h_l in scan order and that order of the steps."""
    order = range(u.shape[1])
    order = list(reversed(order)) if reverse else list(order)
    state = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    states = []
    for step in order:
        decay = torch.exp(delta[:, step, :, None] * A)
        drive = (delta * u)[:, step, :, None] * B[:, step, None, :]
        state = decay * state + drive
        states.append(state)
    return states, order


def _scan_output(u, delta, directions, B, C, D):
    """Return the ungated output, the sum over the given directions."""
    y = torch.zeros_like(u)
    for A, reverse in directions:
        states, order = _scan_states(u, delta, A, B, reverse)
        for step, state in zip(order, states):
            y[:, step] += (state * C[:, step, None, :]).sum(-1)
        if D is not None:
            y += D * u
    return y


def _directions(A, A_b):
    return [(m, r) for m, r in ((A, False), (A_b, True)) if m is not None]


def scan_forward(
    u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
):
    """Compute the scan; see `audiomamba.ops.selective_scan`."""
    out_dtype = u.dtype
    u, delta, A, A_b, B, C, D, z, delta_bias = _widen(
        u, delta, A, A_b, B, C, D, z, delta_bias
    )
    u, delta, B, C = _discretise(
        u, delta, B, C, delta_bias, delta_softplus, lengths
    )
    y = _scan_output(u, delta, _directions(A, A_b), B, C, D)
    if z is not None:
        z = torch.where(_valid(lengths, u), z, z.new_zeros(()))
        y = y * F.silu(z)
    return y.to(out_dtype)


def _adjoint(grad, u, delta, A, B, C, reverse):
    """Return the gradients of u, delta, A, B and C for one direction."""
    states, order = _scan_states(u, delta, A, B, reverse)
    du, ddelta, dA, dB, dC = (torch.zeros_like(t) for t in (u, delta, A, B, C))
    dstate = torch.zeros_like(states[0])
    for place in reversed(range(len(order))):
        step = order[place]
        d, x = delta[:, step, :, None], u[:, step, :, None]
        g, b = grad[:, step, :, None], B[:, step, None, :]
        before = states[place - 1] if place else torch.zeros_like(dstate)
        dC[:, step] = (g * states[place]).sum(1)
        dstate = dstate + g * C[:, step, None, :]
        dB[:, step] = (dstate * d * x).sum(1)
        du[:, step] = (dstate * d * b).sum(-1)
        decay = torch.exp(d * A)
        through_decay = dstate * before * decay
        ddelta[:, step] = (dstate * x * b + through_decay * A).sum(-1)
        dA += (through_decay * d).sum(0)
        dstate = dstate * decay
    return du, ddelta, dA, dB, dC


def scan_backward(
    grad, u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
):
    """Return the gradients of the nine tensors, None where not given."""
    given = (u, delta, A, A_b, B, C, D, z, delta_bias)
    grad, u, raw, A, A_b, B, C, D, z, delta_bias = _widen(grad, *given)
    valid = _valid(lengths, u)
    u, delta, B, C = _discretise(
        u, raw, B, C, delta_bias, delta_softplus, lengths
    )
    grad = torch.where(valid, grad, grad.new_zeros(()))
    directions = _directions(A, A_b)
    dz = dD = dbias = None
    if z is not None:
        z = torch.where(valid, z, z.new_zeros(()))
        dz = grad * _scan_output(u, delta, directions, B, C, D)
        dz = dz * _silu_slope(z)
        grad = grad * F.silu(z)
    du, ddelta, dB, dC = (torch.zeros_like(t) for t in (u, delta, B, C))
    dA = {False: None, True: None}
    for matrix, reverse in directions:
        parts = _adjoint(grad, u, delta, matrix, B, C, reverse)
        du, ddelta, dB, dC = (
            whole + part
            for whole, part in zip((du, ddelta, dB, dC), parts[:2] + parts[3:])
        )
        dA[reverse] = parts[2]
    if D is not None:
        du = du + len(directions) * grad * D
        dD = len(directions) * (grad * u).sum((0, 1))
    ddelta = torch.where(valid, ddelta, ddelta.new_zeros(()))
    if delta_softplus:
        shifted = raw if delta_bias is None else raw + delta_bias
        ddelta = ddelta * torch.sigmoid(shifted)
        ddelta = torch.where(valid, ddelta, ddelta.new_zeros(()))
    if delta_bias is not None:
        dbias = ddelta.sum((0, 1))
    gradients = (du, ddelta, dA[False], dA[True], dB, dC, dD, dz, dbias)
    return [
        None if g is None else g.to(t.dtype) for g, t in zip(gradients, given)
    ]


def _shift(x, steps):
    """Return x [B, L, D] with y_l = x_(l - steps), zeros where it ends."""
    if steps >= 0:
        return F.pad(x, (0, 0, steps, 0))[:, : x.shape[1]]
    return F.pad(x, (0, 0, 0, -steps))[:, -x.shape[1] :]


def _taps(weight, reverse):
    """Yield each tap's number and how far back (or ahead) it looks."""
    for tap in range(weight.shape[1]):
        distance = weight.shape[1] - 1 - tap
        yield tap, -distance if reverse else distance


def _convolve(x, weight, bias, reverse):
    y = torch.zeros_like(x) if bias is None else bias.expand_as(x).clone()
    for tap, distance in _taps(weight, reverse):
        y += weight[:, tap] * _shift(x, distance)
    return y


def conv_forward(x, weight, bias, activation, reverse, lengths):
    """Compute the convolution; see `audiomamba.ops.causal_conv1d`."""
    out_dtype = x.dtype
    x, weight, bias = _widen(x, weight, bias)
    valid = _valid(lengths, x)
    x = torch.where(valid, x, x.new_zeros(()))
    y = _convolve(x, weight, bias, reverse)
    if activation:
        y = F.silu(y)
    return torch.where(valid, y, y.new_zeros(())).to(out_dtype)


def conv_backward(grad, x, weight, bias, activation, reverse, lengths):
    """Return the gradients of input, weight and bias."""
    given = (x, weight, bias)
    grad, x, weight, bias = _widen(grad, *given)
    valid = _valid(lengths, x)
    x = torch.where(valid, x, x.new_zeros(()))
    if activation:
        grad = grad * _silu_slope(_convolve(x, weight, bias, reverse))
    grad = torch.where(valid, grad, grad.new_zeros(()))
    dx, dweight = torch.zeros_like(x), torch.zeros_like(weight)
    for tap, distance in _taps(weight, reverse):
        dx += weight[:, tap] * _shift(grad, -distance)
        dweight[:, tap] = (grad * _shift(x, distance)).sum((0, 1))
    dx = torch.where(valid, dx, dx.new_zeros(()))
    gradients = (dx, dweight, None if bias is None else grad.sum((0, 1)))
    return [
        None if g is None else g.to(t.dtype) for g, t in zip(gradients, given)
    ]


def norm_forward(x, weight, eps):
    """Compute the norm; see `audiomamba.ops.rms_norm`."""
    return F.rms_norm(x, weight.shape, weight, eps)


def norm_backward(grad_output, x, weight, eps):
    """Return the gradients of input and weight."""
    scale = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
    normalised = x * scale
    inner = grad_output * weight
    along = (inner * normalised).mean(-1, keepdim=True)
    dweight = (grad_output * normalised).reshape(-1, len(weight)).sum(0)
    return [(inner - normalised * along) * scale, dweight]


inner_forward, inner_backward = compose_inner(
    scan_forward, scan_backward, conv_forward, conv_backward
)
