"""The operators in ONNX, following `audiomamba.ops.reference`.

Needs onnxscript (extra ``onnx``), so import this module only where it is used.
The recurrence is ONNX's ``Scan``: runtimes need no custom operator.
"""

from collections.abc import Callable, Sequence

from onnxscript import FLOAT, graph, script
from onnxscript import opset18 as op
from onnxscript.values import Opset

from audiomamba.ops import operators

_DOMAIN = Opset("audiomamba", 1)


@script(_DOMAIN, default_opset=op)
def _recurrence(
    start: FLOAT,
    rate: FLOAT,
    step: FLOAT,
    drive: FLOAT,
    b: FLOAT,
    c: FLOAT,
    input_directions: Sequence[int],
    output_directions: Sequence[int],
) -> FLOAT:
    # onnxscript translates this source; 0 is forward, 1 backward
    @graph()
    def one_step(before, step_l, drive_l, b_l, c_l):
        decay = op.Exp(op.Unsqueeze(step_l, [2]) * rate)
        added = op.Unsqueeze(drive_l, [2]) * op.Unsqueeze(b_l, [1])
        state = decay * before + added
        seen = state * op.Unsqueeze(c_l, [1])
        return state, op.ReduceSum(seen, [2], keepdims=0)

    last, y = op.Scan(
        start,
        step,
        drive,
        b,
        c,
        body=one_step,
        num_scan_inputs=4,
        scan_input_axes=[1, 1, 1, 1],
        scan_output_axes=[1],
        scan_input_directions=input_directions,
        scan_output_directions=output_directions,
    )
    return y


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
    """Scan [B, L, D]; see `audiomamba.ops.bidirectional_scan`."""
    if delta_bias is not None:
        delta = op.Add(delta, delta_bias)
    if delta_softplus:
        delta = op.Softplus(delta)
    # A step of size zero leaves the state unchanged
    u, delta, B, C = _masked(lengths, u, delta, B, C)
    drive = op.Mul(delta, u)
    skip = None if D is None else op.Mul(D, u)
    y = None
    for rate, direction in ((A, 0), (A_b, 1)):
        if rate is None:
            continue
        shape = op.Concat(op.Shape(u, start=0, end=1), op.Shape(rate), axis=0)
        start = op.Expand(op.Constant(value_float=0.0), shape)
        one_way = _recurrence(
            start,
            rate,
            delta,
            drive,
            B,
            C,
            input_directions=[direction] * 4,
            output_directions=[direction],
        )
        one_way = one_way if skip is None else op.Add(one_way, skip)
        y = one_way if y is None else op.Add(y, one_way)
    if z is not None:
        (z,) = _masked(lengths, z)
        y = op.Mul(y, _silu(z))
    return y


def scan_grid(
    u, delta, A=None, A_b=None, B=None, C=None, D=None, z=None, *rest
):
    """Translate ``audiomamba::scan``, whose steps lie along several axes."""
    channels, n_state = (A_b if A is None else A).shape
    widths = (channels, channels, n_state, n_state, channels)
    u_rows, delta, B, C, z = (
        None if x is None else op.Reshape(x, [0, -1, width])
        for x, width in zip((u, delta, B, C, z), widths)
    )
    y = scan(u_rows, delta, A, A_b, B, C, D, z, *rest)
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
    return scan(u, delta, A, A_b, B, C, D, z, dt_bias, True, lengths)


TRANSLATIONS: dict[Callable, Callable] = {
    operators.scan.default: scan_grid,
    operators.causal_conv1d.default: causal_conv1d,
    operators.mamba_inner.default: mamba_inner,
}
