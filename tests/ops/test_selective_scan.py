"""The scan: every engine against the float64 reference."""

import subprocess
import sys

import pytest
import torch

from audiomamba.ops import bidirectional_scan, selective_scan, use_engine
from audiomamba.ops.selective_scan import _scan_backward, scan

NAMES = ("u", "delta", "A", "A_b", "B", "C", "D", "z", "delta_bias")
pytestmark = pytest.mark.usefixtures("device")


def make_inputs(batch, length, width, n_state=16, step=1.0, seed=0):
    """Return the scan's nine tensors; u and z are halves of one tensor."""
    torch.manual_seed(seed)
    u, z = torch.randn(batch, length, 2 * width).chunk(2, -1)
    delta = torch.rand(batch, length, width) * step
    A, A_b = -0.5 - 4 * torch.rand(2, width, n_state)
    B, C = torch.randn(2, batch, length, n_state)
    D, bias = torch.randn(width), torch.rand(width) * step
    return [u, delta, A, A_b, B, C, D, z, bias]


def run(engine, dtype, tensors, softplus, lengths, grad):
    """Return the output and all gradients on one engine."""
    leaves = [
        None if t is None else t.to(dtype).clone().requires_grad_()
        for t in tensors
    ]
    with use_engine(engine):
        y = scan(*leaves, softplus, lengths)
        y.backward(grad.to(dtype))
    gradients = {
        name: leaf.grad for name, leaf in zip(NAMES, leaves) if leaf is not None
    }
    return y.detach(), gradients


def relative(found, wanted):
    """Return the largest difference over the largest magnitude."""
    largest = wanted.abs().max().clamp(min=1e-30)
    return ((found - wanted).abs().max() / largest).item()


def assert_rounded(found, wanted):
    """Check that a half is a single-precision result, rounded.

    To a half or its neighbour: an engine may sum in another order.
    """
    slack = torch.finfo(found.dtype).eps * wanted.abs()
    slack += 1e-6 * wanted.abs().max()
    assert ((found - wanted).abs() <= slack).all()


SHAPES = [
    # batch, length, width, lengths
    (1, 1, 3, None),
    (1, 513, 96, None),
    (2, 37, 64, [37, 5]),
    (7, 65, 130, None),
    (3, 33, 100, [1, 33, 16]),
]


@pytest.mark.parametrize("step", [1e-4, 1.0, 10.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("ways", ["forward", "backward", "both"])
@pytest.mark.parametrize("softplus", [True, False])
def test_kernels_match_the_float64_reference(
    kernels, step, shape, ways, softplus
):
    batch, length, width, lengths = shape
    tensors = make_inputs(batch, length, width, step=step)
    if ways == "forward":
        tensors[3] = None
    if ways == "backward":
        tensors[2] = None
    lengths = None if lengths is None else torch.tensor(lengths)
    torch.manual_seed(1)
    grad = torch.randn(batch, length, width)
    arguments = (tensors, softplus, lengths, grad)
    y, gradients = run(kernels, torch.float32, *arguments)
    wanted, wanted_gradients = run("reference", torch.float64, *arguments)
    assert relative(y, wanted) < 1e-5
    for name, gradient in gradients.items():
        assert relative(gradient, wanted_gradients[name]) < 1e-4, name


@pytest.mark.parametrize("lengths", [None, [5, 3]])
@pytest.mark.parametrize("softplus", [True, False])
def test_reference_passes_gradcheck(lengths, softplus):
    tensors = [
        t.double().requires_grad_() for t in make_inputs(2, 5, 3, n_state=4)
    ]
    lengths = None if lengths is None else torch.tensor(lengths)

    def both_directions(*inputs):
        return scan(*inputs, softplus, lengths)

    assert torch.autograd.gradcheck(both_directions, tensors)


def test_the_recurrence_of_the_paper():
    u, delta, A, _, B, C, D, z, _ = (
        t.double() for t in make_inputs(1, 4, 2, n_state=3)
    )
    state, wanted = torch.zeros(2, 3, dtype=torch.float64), []
    for step in range(4):
        d, x = delta[0, step, :, None], u[0, step, :, None]
        state = torch.exp(d * A) * state + d * x * B[0, step]
        y = state @ C[0, step] + D * u[0, step]
        wanted.append(y * torch.nn.functional.silu(z[0, step]))
    found = selective_scan(u, delta, A, B, C, D, z)
    assert relative(found[0], torch.stack(wanted)) < 1e-12


def test_reverse_is_the_scan_of_the_flipped_sequence(engine):
    u, delta, A, _, B, C, D, z, bias = make_inputs(2, 19, 20)
    with use_engine(engine):
        found = selective_scan(
            u, delta, A, B, C, D, z, bias, True, reverse=True
        )
        u, delta, B, C, z = (t.flip(1) for t in (u, delta, B, C, z))
        flipped = selective_scan(u, delta, A, B, C, D, z, bias, True)
    assert relative(found, flipped.flip(1)) < 1e-5


def test_both_directions_are_the_sum_of_each(engine):
    u, delta, A, A_b, B, C, D, z, bias = make_inputs(2, 19, 20)
    with use_engine(engine):
        both = bidirectional_scan(u, delta, A, A_b, B, C, D, z, bias, True)
        one = selective_scan(u, delta, A, B, C, D, z, bias, True)
        other = selective_scan(
            u, delta, A_b, B, C, D, z, bias, True, reverse=True
        )
    assert relative(both, one + other) < 1e-5


def test_padding_is_ignored_and_gives_zero(engine):
    tensors = make_inputs(2, 12, 20)
    lengths = torch.tensor([12, 7])
    padded = [t.clone() for t in tensors]
    for i in (0, 1, 4, 5, 7):
        padded[i][1, 7:] = float("nan")
    padded = [t.requires_grad_() for t in padded]
    with use_engine(engine):
        y = scan(*padded, True, lengths)
        alone = scan(
            *[t[1:, :7] if t.ndim == 3 else t for t in tensors], True, None
        )
        y.square().sum().backward()
    assert torch.equal(y[1, 7:], torch.zeros(5, 20))
    assert relative(y[1:, :7].detach(), alone) < 1e-6
    for name, t in zip(NAMES, padded):
        assert torch.isfinite(t.grad).all(), name


def test_gradients_do_not_depend_on_the_number_of_threads(kernels):
    tensors = make_inputs(3, 40, 200)
    grad = torch.ones(3, 40, 200)
    before = torch.get_num_threads()
    results = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        results.append(run(kernels, torch.float32, tensors, True, None, grad))
    torch.set_num_threads(before)
    (one, one_gradients), (two, two_gradients) = results
    assert torch.equal(one, two)
    for name in NAMES:
        assert torch.equal(one_gradients[name], two_gradients[name]), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_inputs_keep_a_float32_state(engine, dtype):
    u, delta, A, A_b, B, C, D, z, bias = make_inputs(1, 300, 16, step=0.1)
    u, delta, B, C, z = (t.to(dtype) for t in (u, delta, B, C, z))
    with use_engine(engine):
        y = bidirectional_scan(u, delta, A, A_b, B, C, D, z, bias, True)
        u, delta, B, C, z = (t.float() for t in (u, delta, B, C, z))
        wanted = bidirectional_scan(u, delta, A, A_b, B, C, D, z, bias, True)
    assert y.dtype == dtype
    assert_rounded(y, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_gradients_equal_those_of_single_precision(dtype):
    u, delta, A, A_b, B, C, D, z, bias = make_inputs(2, 40, 70, step=0.1)
    halves = [t.to(dtype) for t in (u, delta, B, C, z)]
    grad = torch.randn(2, 40, 70).to(dtype)
    found = []
    for kind in (dtype, torch.float32):
        leaves = [t.to(kind).requires_grad_() for t in halves]
        u, delta, B, C, z = leaves
        y = bidirectional_scan(u, delta, A, A_b, B, C, D, z, bias, True)
        found.append(torch.autograd.grad(y, leaves, grad.to(kind)))
    for gradient, wanted in zip(*found):
        assert gradient.dtype == dtype
        assert_rounded(gradient, wanted)


@pytest.mark.parametrize("turned", [False, True])
def test_the_steps_of_a_grid_are_taken_row_after_row(engine, turned):
    rows = make_inputs(2, 35, 20, n_state=2)
    on_grid = {"u", "delta", "B", "C", "z"}
    grids = [
        x.unflatten(1, (5, 7)) if name in on_grid else x
        for name, x in zip(NAMES, rows)
    ]
    if turned:  # The memory of the grid is in another order.
        grids = [x.mT.contiguous().mT if x.ndim == 4 else x for x in grids]
    grad = torch.randn(2, 35, 20)
    wanted, gradients = run(engine, torch.float32, rows, True, None, grad)
    grad = grad.unflatten(1, (5, 7))
    found, of_grids = run(engine, torch.float32, grids, True, None, grad)
    assert torch.equal(found, wanted.view(found.shape))
    for name, gradient in of_grids.items():
        assert torch.equal(gradient, gradients[name].view(gradient.shape))
    torch.library.opcheck(scan, (*grids, True, None))


def test_the_number_of_threads_is_kept():
    program = """
import torch
torch.set_num_threads(1)
from audiomamba.ops import causal_conv1d
causal_conv1d(torch.ones(1, 2, 3), torch.ones(3, 4))
print(torch.get_num_threads())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.stdout == "1\n", done.stderr


def test_pytorch_accepts_the_operator():
    tensors = [t.requires_grad_() for t in make_inputs(2, 5, 3, n_state=4)]
    arguments = (*tensors, True, torch.tensor([5, 3]))
    torch.library.opcheck(scan, arguments)
    backward = (torch.ones(2, 5, 3), *arguments)
    torch.library.opcheck(
        _scan_backward, backward, test_utils="test_faketensor"
    )
    # opcheck does not look at strides, code from torch.compile does.
    assert all(g.is_contiguous() for g in _scan_backward(*backward))


def test_compiles_without_a_graph_break():
    tensors = make_inputs(1, 9, 8)

    def both_directions(*inputs):
        return bidirectional_scan(*inputs, delta_softplus=True) * 2

    compiled = torch.compile(
        both_directions, fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(*tensors), both_directions(*tensors))


def test_shapes_that_do_not_fit_are_refused():
    u, delta, A, _, B, C, *_ = make_inputs(2, 5, 3)
    with pytest.raises(ValueError, match=r"B \[2, 4, 16\]"):
        selective_scan(u, delta, A, B[:, :4], C)


def test_engines_are_chosen_by_name():
    u = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match="there are triton, mamba_ssm, cpu"):
        with use_engine("cuda"):
            pass
    _, delta, A, _, B, C, *_ = (t.double() for t in make_inputs(1, 2, 3))
    with use_engine("cpu"), pytest.raises(ValueError, match="float64"):
        selective_scan(u.double(), delta, A, B, C)
