"""The inside of a mixer: gradients and saved tensors."""

import pytest
import torch
import torch.nn.functional as F

from audiomamba.ops import (
    bidirectional_scan,
    causal_conv1d,
    linear,
    mamba_inner,
    selective_scan,
    use_engine,
)
from audiomamba.ops.mamba_inner import _inner, _inner_backward

pytestmark = pytest.mark.usefixtures("device")

CHANNELS, STATES, RANK = 5, 4, 2
DIRECTIONS = [("A_log",), ("A_b_log",), ("A_log", "A_b_log")]


def make_inputs(dtype, *directions, n_steps=6, n_channels=CHANNELS):
    torch.manual_seed(1)

    def leaf(*shape):
        return torch.randn(shape, dtype=dtype, requires_grad=True)

    inputs = dict(
        xz=leaf(2, n_steps, 2 * n_channels),
        conv_weight=leaf(n_channels, 4),
        conv_bias=leaf(n_channels),
        x_proj=leaf(RANK + 2 * STATES, n_channels),
        dt_proj=leaf(n_channels, RANK),
        dt_bias=leaf(n_channels),
        D=leaf(n_channels),
    )
    for name in directions:
        inputs[name] = leaf(n_channels, STATES)
    return inputs


def in_parts(
    xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A_log=None,
    A_b_log=None, D=None, lengths=None,
):  # fmt: skip
    """Compute the same from the other operators, with autograd."""
    x, z = xz.chunk(2, -1)
    A, A_b = (None if a is None else -a.exp() for a in (A_log, A_b_log))
    u = causal_conv1d(
        x, conv_weight, conv_bias, reverse=A is None, lengths=lengths
    )
    dt, B, C = linear(u, x_proj).split([RANK, STATES, STATES], -1)
    inputs = (u, linear(dt, dt_proj))
    options = dict(
        D=D, z=z, delta_bias=dt_bias, delta_softplus=True, lengths=lengths
    )
    if A is not None and A_b is not None:
        return bidirectional_scan(*inputs, A, A_b, B, C, **options)
    A, reverse = (A_b, True) if A is None else (A, False)
    return selective_scan(*inputs, A, B, C, reverse=reverse, **options)


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_gradcheck(directions):
    inputs = make_inputs(torch.float64, *directions)
    names = list(inputs)
    lengths = torch.tensor([6, 4])

    def inner(*tensors):
        return mamba_inner(**dict(zip(names, tensors)), lengths=lengths)

    assert torch.autograd.gradcheck(inner, tuple(inputs.values()))


@pytest.mark.parametrize("lengths", [None, [6, 4]])
@pytest.mark.parametrize("directions", DIRECTIONS)
def test_it_equals_its_parts(directions, lengths):
    inputs = make_inputs(torch.float32, *directions)
    lengths = None if lengths is None else torch.tensor(lengths)
    found = mamba_inner(**inputs, lengths=lengths)
    wanted = in_parts(**inputs, lengths=lengths)
    torch.testing.assert_close(found, wanted)
    # Sums of float32 in another order, which depends on the processor
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), inputs.values()),
        torch.autograd.grad(wanted.square().sum(), inputs.values()),
        rtol=1e-5,
        atol=1e-4,
    )


@pytest.mark.parametrize("lengths", [None, [4, 1]])
@pytest.mark.parametrize("n_steps, n_channels", [(5, 70), (33, 8), (1, 3)])
@pytest.mark.parametrize("directions", DIRECTIONS)
def test_kernels_against_the_reference(
    kernels, directions, n_steps, n_channels, lengths
):
    shape = dict(n_steps=n_steps, n_channels=n_channels)
    inputs = make_inputs(torch.float32, *directions, **shape)
    if lengths is not None:
        lengths = torch.tensor(lengths).clamp(max=n_steps)
        # Padding must be ignored.
        with torch.no_grad():
            for i, n in enumerate(lengths):
                inputs["xz"][i, n:] = torch.nan
    found = {}
    for name in (kernels, "reference"):
        with use_engine(name):
            y = mamba_inner(**inputs, lengths=lengths)
            loss = y.square().sum()
            found[name] = (y, *torch.autograd.grad(loss, inputs.values()))
    for result, wanted in zip(found[kernels], found["reference"]):
        error = (result - wanted).abs().max()
        assert error <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_a_gate_can_be_applied_later(directions, engine):
    inputs = make_inputs(torch.float32, *directions)
    lengths = torch.tensor([6, 4])
    with use_engine(engine):
        wanted = mamba_inner(**inputs, lengths=lengths)
        x, z = inputs["xz"].chunk(2, -1)
        y = mamba_inner(**{**inputs, "xz": x}, lengths=lengths)
        found = y * F.silu(z)
        torch.testing.assert_close(found, wanted)
        for result, expected in zip(
            torch.autograd.grad(found.square().sum(), inputs.values()),
            torch.autograd.grad(wanted.square().sum(), inputs.values()),
        ):
            error = (result - expected).abs().max()
            assert error <= 1e-5 * expected.abs().max()


def test_only_inputs_are_saved_for_backward():
    inputs = make_inputs(torch.float32, "A_log", "A_b_log")
    given = {t.data_ptr() for t in inputs.values()}
    saved = set()

    def save(tensor):
        saved.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda t: t):
        mamba_inner(**inputs)
    assert saved == given


def test_half_inputs_give_half_gradients():
    inputs = make_inputs(torch.float32, "A_log")
    for name in ("xz", "x_proj", "dt_proj"):
        inputs[name] = inputs[name].detach().bfloat16().requires_grad_()
    y = mamba_inner(**inputs)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    for tensor in inputs.values():
        assert tensor.grad.dtype == tensor.dtype
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_pytorch_accepts_the_operator(directions):
    inputs = make_inputs(torch.float32, *directions)
    names = "xz conv_weight conv_bias x_proj dt_proj dt_bias A_log A_b_log D"
    arguments = [inputs.get(name) for name in names.split()]
    arguments.append(torch.tensor([6, 4]))
    torch.library.opcheck(_inner, arguments)
    backward = (torch.ones(2, 6, CHANNELS), *arguments)
    torch.library.opcheck(
        _inner_backward, backward, test_utils="test_faketensor"
    )
    assert all(g.is_contiguous() for g in _inner_backward(*backward))
