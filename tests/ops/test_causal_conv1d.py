"""The convolution: every engine against the float64 reference."""

import pytest
import torch
import torch.nn.functional as F

from audiomamba.ops import causal_conv1d, use_engine
from audiomamba.ops.causal_conv1d import _conv, _conv_backward

pytestmark = pytest.mark.usefixtures("device")


def make_inputs(batch, length, width, taps=4):
    """Return x (half of a wider tensor), weight and bias."""
    torch.manual_seed(0)
    x = torch.randn(batch, length, 2 * width)
    weight, bias = torch.randn(width, taps), torch.randn(width)
    return x[..., :width], weight, bias


def run(engine, dtype, tensors, grad, **options):
    leaves = [t.to(dtype).clone().requires_grad_() for t in tensors]
    with use_engine(engine):
        y = causal_conv1d(*leaves, **options)
        y.backward(grad.to(dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 3, None), (2, 37, 96, [37, 5]), (7, 65, 130, None)],
    ids=str,
)
def test_kernels_match_the_float64_reference(
    kernels, reverse, activation, shape
):
    *sizes, lengths = shape
    tensors = make_inputs(*sizes)
    options = dict(
        reverse=reverse,
        activation=activation,
        lengths=None if lengths is None else torch.tensor(lengths),
    )
    torch.manual_seed(1)
    grad = torch.randn(*sizes)
    found = run(kernels, torch.float32, tensors, grad, **options)
    wanted = run("reference", torch.float64, tensors, grad, **options)
    limits = (1e-5, 1e-4, 1e-4, 1e-4)
    for f, w, limit in zip(found, wanted, limits):
        assert (f - w).abs().max() < limit * w.abs().max()


def test_equals_a_padded_pytorch_convolution(engine):
    x, weight, bias = make_inputs(2, 9, 5)
    wanted = F.silu(
        F.conv1d(F.pad(x.mT, (3, 0)), weight[:, None], bias, groups=5).mT
    )
    with use_engine(engine):
        found = causal_conv1d(x, weight, bias)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 2]])
def test_reference_passes_gradcheck(reverse, lengths):
    x, weight, bias = (t.double() for t in make_inputs(2, 5, 3))
    lengths = None if lengths is None else torch.tensor(lengths)

    def convolve(*inputs):
        return causal_conv1d(*inputs, reverse=reverse, lengths=lengths)

    inputs = [t.requires_grad_() for t in (x.clone(), weight, bias)]
    assert torch.autograd.gradcheck(convolve, inputs)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_ignored_and_gives_zero(engine, reverse):
    x, weight, bias = make_inputs(2, 8, 5)
    padded = x.clone()
    padded[1, 3:] = float("nan")
    lengths = torch.tensor([8, 3])
    with use_engine(engine):
        found = causal_conv1d(
            padded, weight, bias, reverse=reverse, lengths=lengths
        )
        alone = causal_conv1d(x[1:, :3], weight, bias, reverse=reverse)
    assert torch.equal(found[1, 3:], torch.zeros(5, 5))
    torch.testing.assert_close(found[1:, :3], alone)


def test_pytorch_accepts_the_operator():
    tensors = [t.clone().requires_grad_() for t in make_inputs(2, 5, 3)]
    arguments = (*tensors, True, True, torch.tensor([5, 3]))
    torch.library.opcheck(_conv, arguments)
    backward = (torch.ones(2, 5, 3), *arguments)
    torch.library.opcheck(
        _conv_backward, backward, test_utils="test_faketensor"
    )
    # opcheck does not look at strides, code from torch.compile does.
    assert all(g.is_contiguous() for g in _conv_backward(*backward))


def test_arguments_that_do_not_fit_are_refused():
    x, weight, bias = make_inputs(2, 5, 3)
    with pytest.raises(ValueError, match=r"x \[2, 5, 3\], weight \[2, 4\]"):
        causal_conv1d(x, weight[:2], bias)
    with pytest.raises(ValueError, match="'relu'"):
        causal_conv1d(x, weight, bias, activation="relu")
