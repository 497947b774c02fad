"""The norm against PyTorch's own, with its gradients."""

import pytest
import torch
import torch.nn.functional as F

from audiomamba.ops import rms_norm, use_engine
from audiomamba.ops.rms_norm import _norm, _norm_backward

pytestmark = pytest.mark.usefixtures("device")
EPS = 1e-5


def make_inputs(*shape, dtype=torch.float32):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    weight = torch.rand(shape[-1:], dtype=torch.float64)
    return [t.to(dtype).requires_grad_() for t in (x, weight)]


@pytest.mark.parametrize("shape", [(2, 37, 70), (1, 1, 3), (5,)])
def test_it_equals_pytorch_s(engine, shape):
    x, weight = make_inputs(*shape)
    wanted = F.rms_norm(x, weight.shape, weight, EPS)
    with use_engine(engine):
        found = rms_norm(x, weight, EPS)
        grad = torch.autograd.grad(found.sin().sum(), (x, weight))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        grad, torch.autograd.grad(wanted.sin().sum(), (x, weight))
    )


def test_gradcheck():
    inputs = make_inputs(2, 3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, EPS), inputs)


def test_rows_need_not_be_contiguous():
    x, weight = make_inputs(4, 6, 8)
    torch.testing.assert_close(
        rms_norm(x.transpose(0, 1)[::2], weight, EPS),
        F.rms_norm(x.transpose(0, 1)[::2], weight.shape, weight, EPS),
    )


def test_half_precision_is_computed_in_float32():
    x, weight = make_inputs(2, 9, 64)
    y = rms_norm(x.bfloat16(), weight, EPS)
    assert y.dtype == torch.bfloat16
    wanted = rms_norm(x.bfloat16().float(), weight, EPS)
    assert torch.equal(y, wanted.bfloat16())
    y.float().sum().backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32


def test_pytorch_accepts_the_operator(device):
    if device != "cpu":
        pytest.skip("elsewhere the norm is PyTorch's own")
    arguments = (*make_inputs(2, 3, 5), EPS)
    torch.library.opcheck(_norm, arguments)
    backward = (torch.ones(2, 3, 5), *arguments)
    torch.library.opcheck(
        _norm_backward, backward, test_utils="test_faketensor"
    )
