"""The Triton kernels against the float64 reference.

`test_triton.py` runs this file in a separate process: on the GPU if there is
one, else on the CPU in Triton's interpreter, which has to be chosen before
Triton is imported.
"""

import mmap

import pytest
import torch

from audiomamba.ops import reference, selective_scan, use_engine
from audiomamba.ops import triton as kernels
from audiomamba.ops.arguments import (
    ConvArguments,
    InnerArguments,
    ScanArguments,
)

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
SCAN_NAMES = ("u", "delta", "A", "A_b", "B", "C", "D", "z", "delta_bias")
CONV_NAMES = ("x", "weight", "bias")


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE)


def scan_inputs(batch, length, width, n_state, ways="both", plain=False):
    """Return the scan's nine tensors; u and z are halves of one tensor."""
    u, z = normal(batch, length, 2 * width).chunk(2, -1)
    delta, bias = normal(batch, length, width, seed=1), normal(width, seed=2)
    A, A_b = -normal(2, width, n_state, seed=3).exp()
    # Slices, as of a projection's output.
    B, C = normal(batch, length, 3 + 2 * n_state, seed=4)[..., 3:].chunk(2, -1)
    D = normal(width, seed=5)
    A = None if ways == "backward" else A
    A_b = None if ways == "forward" else A_b
    if plain:
        delta, D, z, bias = delta.abs(), None, None, None
    return [u, delta, A, A_b, B, C, D, z, bias]


def steps(lengths):
    return None if lengths is None else torch.tensor(lengths, device=DEVICE)


def double(arguments):
    """Return an operator's arguments in float64."""
    values = [
        t.double() if torch.is_tensor(t) and t.is_floating_point() else t
        for t in arguments
    ]
    return type(arguments)(*values)


def assert_close(found, wanted, limit, name):
    if wanted is None:
        assert found is None, name
        return
    assert found.shape == wanted.shape, name
    largest = wanted.abs().max().clamp(min=1e-30)
    assert (found - wanted).abs().max() < limit * largest, name


def check_scan(tensors, softplus, lengths):
    scan = ScanArguments(*tensors, softplus, steps(lengths))
    grad = normal(*tensors[0].shape, seed=6)
    y = kernels.scan_forward(scan)
    assert_close(y, reference.scan_forward(double(scan)), 1e-5, "y")
    found = kernels.scan_backward(grad, scan)
    wanted = reference.scan_backward(grad.double(), double(scan))
    for name, f, w in zip(SCAN_NAMES, found, wanted, strict=True):
        assert_close(f, w, 1e-4, name)


@pytest.mark.parametrize("ways", ["forward", "backward", "both"])
@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("plain", [True, False])
def test_scan_of_a_ragged_batch(ways, softplus, plain):
    tensors = scan_inputs(2, 5, 11, 5, ways, plain)
    if not softplus and tensors[8] is not None:
        tensors[1], tensors[8] = tensors[1].abs(), tensors[8].abs()
    check_scan(tensors, softplus, [5, 2])


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 3, 16), (2, 4, 8, 16), (1, 7, 40, 16)],
    ids=str,
)
def test_scan_of_full_sequences(shape):
    check_scan(scan_inputs(*shape), True, None)


def test_vectors_may_have_gaps():
    tensors = scan_inputs(1, 4, 8, 4, "both", False)
    for place in (6, 8):  # D and delta_bias
        tensors[place] = torch.stack([tensors[place]] * 3, 1)[:, 1]
    check_scan(tensors, True, None)


@pytest.mark.skipif(not GPU, reason="the interpreter would take minutes")
@pytest.mark.parametrize("lengths", [None, [513, 40, 1]])
@pytest.mark.parametrize("ways", ["forward", "backward", "both"])
def test_scan_of_long_sequences(ways, lengths):
    tensors = scan_inputs(3, 513, 200, 16, ways)
    check_scan(tensors, True, lengths)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_keep_a_float32_state(dtype):
    tensors = scan_inputs(1, 9, 8, 16)
    for i in (0, 1, 4, 5, 7):
        tensors[i] = tensors[i].to(dtype)
    grad = normal(1, 9, 8, seed=6).to(dtype)
    scan = ScanArguments(*tensors, True, None)
    y = kernels.scan_forward(scan)
    wanted = reference.scan_forward(double(scan))
    # Only the output is rounded, on a GPU to the nearest half; the
    # interpreter cuts bfloat16 off.
    rounding = torch.finfo(dtype).eps * (0.51 if GPU else 1.01)
    assert y.dtype == dtype
    assert ((y - wanted).abs() <= rounding * wanted.abs() + 1e-5).all()
    found = kernels.scan_backward(grad, scan)
    wanted = reference.scan_backward(grad.double(), double(scan))
    for name, f, w, t in zip(SCAN_NAMES, found, wanted, tensors, strict=True):
        assert f.dtype == t.dtype, name
        largest = w.abs().max()
        slack = rounding * w.abs() + 1e-4 * largest
        assert ((f - w).abs() <= slack).all(), name


def test_padding_is_ignored_and_gives_zero():
    tensors = scan_inputs(2, 6, 8, 4)
    wanted = kernels.scan_forward(ScanArguments(*tensors, True, steps([6, 3])))
    for i in (0, 1, 4, 5, 7):
        tensors[i] = tensors[i].clone()
        tensors[i][1, 3:] = float("nan")
    scan = ScanArguments(*tensors, True, steps([6, 3]))
    found = kernels.scan_forward(scan)
    assert torch.equal(found, wanted)
    assert torch.equal(found[1, 3:], torch.zeros_like(found[1, 3:]))
    grad = normal(2, 6, 8)
    grad[1, 3:] = float("nan")
    gradients = kernels.scan_backward(grad, scan)
    for name, gradient in zip(SCAN_NAMES, gradients, strict=True):
        assert torch.isfinite(gradient).all(), name


def test_gradients_are_reproducible():
    scan = ScanArguments(*scan_inputs(2, 3, 40, 4), True, None)
    grad = normal(2, 3, 40)
    first = kernels.scan_backward(grad, scan)
    second = kernels.scan_backward(grad, scan)
    for name, one, other in zip(SCAN_NAMES, first, second, strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("activation", [True, False])
@pytest.mark.parametrize(
    "shape",
    # batch, length, width, taps, lengths
    [(1, 1, 3, 4, None), (2, 21, 130, 3, None), (3, 18, 20, 4, [1, 18, 9])],
    ids=str,
)
def test_convolution(reverse, activation, shape):
    batch, length, width, taps, lengths = shape
    x = normal(batch, length, 2 * width)[..., width:]
    bias = None if taps == 3 else normal(width, seed=2)
    weight = normal(width, taps, seed=1)
    conv = ConvArguments(x, weight, bias, activation, reverse, steps(lengths))
    grad = normal(batch, length, width, seed=3)
    y = kernels.conv_forward(conv)
    assert_close(y, reference.conv_forward(double(conv)), 1e-5, "y")
    found = kernels.conv_backward(grad, conv)
    wanted = reference.conv_backward(grad.double(), double(conv))
    for name, f, w in zip(CONV_NAMES, found, wanted, strict=True):
        assert_close(f, w, 1e-4, name)


def test_convolution_ignores_padding():
    x, weight = normal(2, 6, 8), normal(8, 4, seed=1)
    grad = normal(2, 6, 8, seed=2)
    x[1, 3:] = grad[1, 3:] = float("nan")
    conv = ConvArguments(x, weight, None, True, True, steps([6, 3]))
    y = kernels.conv_forward(conv)
    assert torch.equal(y[1, 3:], torch.zeros_like(y[1, 3:]))
    gradients = kernels.conv_backward(grad, conv)
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)


def far_apart(tensor):
    """Return a copy with 2 ** 26 values from step to step, mostly untouched.

    The 33rd step is where an offset of 32 bits would have wrapped.
    """
    n_steps, width = tensor.shape[1:]
    if GPU:
        room = torch.empty(n_steps * 2**26, dtype=torch.half, device=DEVICE)
    else:
        # Memory that is never touched costs nothing here.
        room = torch.frombuffer(
            mmap.mmap(-1, n_steps * 2**27), dtype=torch.half
        )
    return room.as_strided((1, n_steps, width), (0, 2**26, 1)).copy_(tensor)


@pytest.mark.parametrize("reverse", [False, True])
def test_offsets_beyond_32_bits(reverse):
    x, weight = normal(1, 33, 8).half(), normal(8, 4, seed=1)
    near = ConvArguments(x, weight, None, True, reverse, None)
    far = near._replace(x=far_apart(x))
    assert torch.equal(kernels.conv_forward(far), kernels.conv_forward(near))
    grad = normal(1, 33, 8, seed=2).half()
    wanted = kernels.conv_backward(grad, near)[:2]
    for f, w in zip(kernels.conv_backward(grad, far)[:2], wanted):
        assert torch.equal(f, w)
    tensors = scan_inputs(1, 33, 8, 4, "backward" if reverse else "forward")
    near = ScanArguments(*tensors, True, None)
    near = near._replace(u=near.u.half())
    far = near._replace(u=far_apart(near.u))
    assert torch.equal(kernels.scan_forward(far), kernels.scan_forward(near))
    wanted = kernels.scan_backward(grad, near)
    found = kernels.scan_backward(far_apart(grad), far)
    for name, f, w in zip(SCAN_NAMES, found, wanted, strict=True):
        assert f is w is None or torch.equal(f, w), name


def test_a_mixers_inside():
    width, rank, n_state = 20, 2, 4
    tensors = [
        normal(2, 7, 2 * width),
        normal(width, 4, seed=1),
        normal(width, seed=2),
        normal(rank + 2 * n_state, width, seed=3) / 4,
        normal(width, rank, seed=4),
        normal(width, seed=5),
        *normal(2, width, n_state, seed=6),
        normal(width, seed=7),
    ]
    inner = InnerArguments(*tensors, steps([7, 4]))
    y = kernels.inner_forward(inner)
    assert_close(y, reference.inner_forward(double(inner)), 1e-5, "y")
    grad = normal(*y.shape, seed=8)
    found = kernels.inner_backward(grad, inner)
    wanted = reference.inner_backward(grad.double(), double(inner))
    for i, pair in enumerate(zip(found, wanted, strict=True)):
        assert_close(*pair, 1e-4, f"gradient {i}")


@pytest.mark.skipif(not GPU, reason="needs a GPU")
def test_the_operator_trains_on_the_gpu():
    u, delta, A, _, B, C, D, z, bias = scan_inputs(2, 33, 48, 16)
    u = u.clone().requires_grad_()
    gradients = []
    for engine in ("triton", "reference"):
        with use_engine(engine):
            y = selective_scan(
                u, delta, A, B, C, D, z, bias, True, reverse=True
            )
            gradients += torch.autograd.grad(y.square().sum(), u)
    assert_close(*gradients, 1e-4, "u")
