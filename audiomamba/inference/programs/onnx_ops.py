"""The operators in ONNX, following `audiomamba.ops.reference`.

Needs onnxscript (extra ``onnx``), so import this module only where it is used.
Only standard operators are used: runtimes need no custom ones.
"""

from collections.abc import Callable

from onnxscript import opset18 as op

from audiomamba.inference.programs.onnx_scan import recurrence
from audiomamba.ops import operators


def _silu(x):
    return op.Mul(x, op.Sigmoid(x))


def _masked(lengths, *tensors):
    """Set tensors [B, L, ...] to zero past their lengths."""
    if lengths is None:
        return tensors
    n_steps = op.Squeeze(op.Shape(tensors[0], start=1, end=2))
    steps = op.Range(
        op.Constant(value_int=0), n_steps, op.Constant(value_int=1)
    )
    valid = op.Unsqueeze(op.Less(steps, op.Unsqueeze(lengths, [1])), [2])
    zero = op.Constant(value_float=0.0)
    return [op.Where(valid, tensor, zero) for tensor in tensors]


def _scan(
    sizes, u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
):
    """Scan u [B, L, D] with N states, of sizes (D, N); see `audiomamba.ops`."""
    if delta_bias is not None:
        delta = op.Add(delta, delta_bias)
    if delta_softplus:
        delta = op.Softplus(delta)
    # A step of size zero leaves the state unchanged
    (delta,) = _masked(lengths, delta)
    drive = op.Mul(delta, u)
    skip = None if D is None else op.Mul(D, u)
    y = None
    for rate, reverse in ((A, False), (A_b, True)):
        if rate is None:
            continue
        one_way = recurrence(delta, drive, rate, B, C, sizes, reverse)
        one_way = one_way if skip is None else op.Add(one_way, skip)
        y = one_way if y is None else op.Add(y, one_way)
    if z is not None:
        y = op.Mul(y, _silu(z))
    (y,) = _masked(lengths, y)
    return y


def scan(
    u,
    delta,
    A=None,
    A_b=None,
    B=None,
    C=None,
    D=None,
    z=None,
    delta_bias=None,
    delta_softplus=False,
    lengths=None,
):
    """Translate ``audiomamba::scan``, whose steps lie along several axes."""
    channels, n_state = sizes = tuple((A_b if A is None else A).shape)
    widths = (channels, channels, n_state, n_state, channels)
    u_rows, delta, B, C, z = (
        None if x is None else op.Reshape(x, [0, -1, width])
        for x, width in zip((u, delta, B, C, z), widths)
    )
    y = _scan(
        sizes, u_rows, delta, A, A_b, B, C, D, z,
        delta_bias, delta_softplus, lengths,
    )  # fmt: skip
    return op.Reshape(y, op.Shape(u))


def causal_conv1d(
    x, weight, bias=None, activation=False, reverse=False, lengths=None
):
    """Translate ``audiomamba::causal_conv1d``; see `audiomamba.ops`."""
    channels, taps = weight.shape
    (x,) = _masked(lengths, x)
    kernel = op.Unsqueeze(weight, [1])
    pads = [taps - 1, 0]
    if reverse:
        kernel = op.Slice(kernel, [-1], [-taps - 1], [2], [-1])
        pads = [0, taps - 1]
    inputs = [op.Transpose(x, perm=[0, 2, 1]), kernel]
    inputs += [] if bias is None else [bias]
    y = op.Conv(*inputs, group=channels, pads=pads)
    y = op.Transpose(y, perm=[0, 2, 1])
    y = _silu(y) if activation else y
    (y,) = _masked(lengths, y)
    return y


def _split(x, *widths):
    """Split x [B, L, ...] into tensors of the given widths."""
    edges = [sum(widths[:i]) for i in range(len(widths) + 1)]
    return [op.Slice(x, [a], [b], [2]) for a, b in zip(edges, edges[1:])]


def mamba_inner(
    xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias,
    A_log=None, A_b_log=None, D=None, lengths=None,
):  # fmt: skip
    """Translate ``audiomamba::mamba_inner``; see `audiomamba.ops`."""
    channels, rank = dt_proj.shape
    n_state = (x_proj.shape[0] - rank) // 2
    x, z = _split(xz, channels, channels)
    u = causal_conv1d(x, conv_weight, conv_bias, True, A_log is None, lengths)
    selected = op.MatMul(u, op.Transpose(x_proj, perm=[1, 0]))
    dt, B, C = _split(selected, rank, n_state, n_state)
    delta = op.MatMul(dt, op.Transpose(dt_proj, perm=[1, 0]))
    A, A_b = (
        None if a is None else op.Neg(op.Exp(a)) for a in (A_log, A_b_log)
    )
    return _scan(
        (channels, n_state),
        u, delta, A, A_b, B, C, D, z, dt_bias, True, lengths,
    )  # fmt: skip


TRANSLATIONS: dict[Callable, Callable] = {
    operators.scan.default: scan,
    operators.causal_conv1d.default: causal_conv1d,
    operators.mamba_inner.default: mamba_inner,
}
