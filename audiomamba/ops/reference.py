"""The operators in plain PyTorch: any device, any float, the tests' oracle.

Written for reading, not for speed: the scan is the recurrence of the Mamba
paper (arXiv 2312.00752, equation 2 with the discretisation of section 3.2),
step by step, and its gradient is the adjoint recurrence.  PyTorch's
``gradcheck`` verifies one against the other.
"""

import torch
import torch.nn.functional as F

from audiomamba.ops.inner_from_parts import compose_inner
from audiomamba.ops.optional_gradients import cast_like


def _widen(*tensors):
    """Return tensors in float64 where the first is, else in float32."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return [None if t is None else t.to(dtype) for t in tensors]


def _valid(lengths, x):
    """Return which steps of x [B, L, D] are valid, [B, L, 1]."""
    steps = torch.arange(x.shape[1], device=x.device)
    if lengths is None:
        return steps[None, :, None] >= 0
    return (steps < lengths[:, None]).unsqueeze(-1)


def _silu_slope(x):
    """Return the derivative of SiLU."""
    sigmoid = torch.sigmoid(x)
    return sigmoid * (1 + x * (1 - sigmoid))


def _zero_padding(valid, *tensors):
    """Return tensors [B, L, D] with zeros past the end of a sequence."""
    return [torch.where(valid, t, t.new_zeros(())) for t in tensors]


def _discretise(scan):
    """Return u, step sizes, B and C as the recurrence reads them.

    Past the end of a sequence the step size is zero: the state stays as it is.
    """
    delta = scan.delta
    if scan.delta_bias is not None:
        delta = delta + scan.delta_bias
    if scan.delta_softplus:
        delta = F.softplus(delta)
    valid = _valid(scan.lengths, scan.u)
    return _zero_padding(valid, scan.u, delta, scan.B, scan.C)


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


def _directions(scan):
    """Return the given decay rates, each with whether it scans backward."""
    both = ((scan.A, False), (scan.A_b, True))
    return [(A, reverse) for A, reverse in both if A is not None]


def _widen_scan(scan):
    """Return the arguments in float32 or wider."""
    return scan._replace(**dict(zip(scan._fields, _widen(*scan[:9]))))


def scan_forward(scan):
    """Compute the scan; see `audiomamba.ops.selective_scan`."""
    out_dtype = scan.u.dtype
    scan = _widen_scan(scan)
    u, delta, B, C = _discretise(scan)
    y = _scan_output(u, delta, _directions(scan), B, C, scan.D)
    if scan.z is not None:
        (z,) = _zero_padding(_valid(scan.lengths, u), scan.z)
        y = y * F.silu(z)
    return y.to(out_dtype)


def _adjoint(grad, u, delta, A, B, C, reverse):
    """Return the gradients of u, delta, A, B and C for one direction."""
    states, order = _scan_states(u, delta, A, B, reverse)
    du, ddelta, dA, dB, dC = (torch.zeros_like(t) for t in (u, delta, A, B, C))
    dstate = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
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


def scan_backward(grad, scan):
    """Return the gradients of the nine tensors, None where not given."""
    given = scan.differentiable
    (grad,), scan = _widen(grad), _widen_scan(scan)
    D, directions = scan.D, _directions(scan)
    valid = _valid(scan.lengths, scan.u)
    u, delta, B, C = _discretise(scan)
    (grad,) = _zero_padding(valid, grad)
    dz = dD = dbias = None
    if scan.z is not None:
        (z,) = _zero_padding(valid, scan.z)
        dz = grad * _scan_output(u, delta, directions, B, C, D)
        dz = dz * _silu_slope(z)
        grad = grad * F.silu(z)
    du, ddelta, dB, dC = (torch.zeros_like(t) for t in (u, delta, B, C))
    dA = {False: None, True: None}
    for A, reverse in directions:
        parts = _adjoint(grad, u, delta, A, B, C, reverse)
        du, ddelta, dB, dC = (
            whole + part
            for whole, part in zip((du, ddelta, dB, dC), parts[:2] + parts[3:])
        )
        dA[reverse] = parts[2]
    if D is not None:
        du = du + len(directions) * grad * D
        dD = len(directions) * (grad * u).sum((0, 1))
    if scan.delta_softplus:
        raw, bias = scan.delta, scan.delta_bias
        ddelta = ddelta * torch.sigmoid(raw if bias is None else raw + bias)
    (ddelta,) = _zero_padding(valid, ddelta)
    if scan.delta_bias is not None:
        dbias = ddelta.sum((0, 1))
    gradients = (du, ddelta, dA[False], dA[True], dB, dC, dD, dz, dbias)
    return cast_like(gradients, given)


def _shift(x, steps):
    """Return x [B, L, D] with y_l = x_(l - steps), zeros where it ends."""
    if steps >= 0:
        return F.pad(x, (0, 0, steps, 0))[:, : x.shape[1]]
    return F.pad(x, (0, 0, 0, -steps))[:, -steps:]


def _taps(weight, reverse):
    """Yield each tap's index and how many steps back it looks."""
    for tap in range(weight.shape[1]):
        distance = weight.shape[1] - 1 - tap
        yield tap, -distance if reverse else distance


def _convolve(x, weight, bias, reverse):
    y = torch.zeros_like(x) if bias is None else bias.expand_as(x).clone()
    for tap, distance in _taps(weight, reverse):
        y += weight[:, tap] * _shift(x, distance)
    return y


def conv_forward(conv):
    """Compute the convolution; see `audiomamba.ops.causal_conv1d`."""
    x, weight, bias = _widen(*conv.differentiable)
    valid = _valid(conv.lengths, x)
    (x,) = _zero_padding(valid, x)
    y = _convolve(x, weight, bias, conv.reverse)
    if conv.activation:
        y = F.silu(y)
    (y,) = _zero_padding(valid, y)
    return y.to(conv.x.dtype)


def conv_backward(grad, conv):
    """Return the gradients of input, weight and bias."""
    grad, x, weight, bias = _widen(grad, *conv.differentiable)
    valid = _valid(conv.lengths, x)
    (x,) = _zero_padding(valid, x)
    if conv.activation:
        grad = grad * _silu_slope(_convolve(x, weight, bias, conv.reverse))
    (grad,) = _zero_padding(valid, grad)
    dx, dweight = torch.zeros_like(x), torch.zeros_like(weight)
    for tap, distance in _taps(weight, conv.reverse):
        dx += weight[:, tap] * _shift(grad, -distance)
        dweight[:, tap] = (grad * _shift(x, distance)).sum((0, 1))
    (dx,) = _zero_padding(valid, dx)
    gradients = (dx, dweight, None if bias is None else grad.sum((0, 1)))
    return cast_like(gradients, conv.differentiable)


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
