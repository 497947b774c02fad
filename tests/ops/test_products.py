"""Matrix products by oneDNN against PyTorch's own."""

from importlib import import_module

import pytest
import torch
import torch.nn.functional as F

from audiomamba.ops import linear
from audiomamba.ops.products import multiply

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN"
)


@pytest.fixture(autouse=True)
def processor(monkeypatch):
    """Make this machine one on which oneDNN is used."""
    module = import_module("audiomamba.ops.products")
    monkeypatch.setattr(module, "_slow_mkl", lambda: True)


def make_inputs(*shape, width=48, bias=True):
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(width, shape[-1], requires_grad=True)
    return [x, weight, torch.randn(width, requires_grad=bias)]


def operators(function, *arguments):
    """Return a function's result, and the operators that it called."""
    with torch.profiler.profile() as recorded:
        result = function(*arguments)
    return result, {event.key for event in recorded.key_averages()}


def relative(found, wanted):
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("shape", [(1, 3), (2, 37, 70), (2, 3, 5, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_pytorch(shape, bias):
    leaves = make_inputs(*shape, bias=bias)
    leaves = leaves if bias else leaves[:2]
    found, called = operators(linear, *leaves)
    assert "mkldnn::_linear_pointwise" in called
    wanted = F.linear(*leaves)
    assert relative(found, wanted) < 2e-6
    gradients, called = operators(
        torch.autograd.grad, found.sin().sum(), leaves
    )
    assert "mkldnn::_linear_pointwise" in called
    for one, other in zip(
        gradients, torch.autograd.grad(wanted.sin().sum(), leaves)
    ):
        assert one.shape == other.shape
        assert relative(one, other) < 2e-5


def test_tensors_may_have_any_strides():
    x, weight, _ = make_inputs(6, 4, 32)
    x, weight = x.transpose(0, 1)[::2], weight[:, 16:]
    found = linear(x[..., :16], weight)
    assert relative(found, F.linear(x[..., :16], weight)) < 2e-6
    left, right = torch.randn(20, 7).t(), torch.randn(9, 20).t()
    found, called = operators(multiply, left, right)
    assert "mkldnn::_linear_pointwise" in called
    assert relative(found, left @ right) < 2e-6


def test_a_clip_does_not_depend_on_its_batch():
    x, weight, bias = (t.detach() for t in make_inputs(5, 129, 192))
    together = linear(x, weight, bias)
    for clip in range(5):
        alone = linear(x[clip : clip + 1], weight, bias)
        assert relative(together[clip], alone[0]) < 1e-6


def test_gradients_that_nobody_wants_are_not_computed():
    x, weight, bias = make_inputs(4, 8)
    frozen = linear(x, weight.detach(), bias.detach())
    assert torch.autograd.grad(frozen.sum(), x)[0].shape == x.shape
    first = linear(x.detach(), weight, bias.detach())
    assert torch.autograd.grad(first.sum(), weight)[0].shape == weight.shape


@pytest.mark.parametrize("case", ["double", "half", "empty", "vector", "off"])
def test_pytorch_multiplies_all_else(case):
    x, weight, bias = (t.detach() for t in make_inputs(4, 8))
    if case in ("double", "half"):
        dtype = torch.float64 if case == "double" else torch.bfloat16
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    x = {"empty": x[:0], "vector": x[0]}.get(case, x)
    enabled = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = case != "off"
    try:
        found, called = operators(linear, x, weight, bias)
    finally:
        torch.backends.mkldnn.enabled = enabled
    assert "mkldnn::_linear_pointwise" not in called
    assert torch.equal(found, F.linear(x, weight, bias))


def test_under_autocast_it_computes_in_half_precision():
    x, weight, bias = make_inputs(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear(x, weight, bias)
        assert torch.equal(found, F.linear(x, weight, bias))
    assert found.dtype == torch.bfloat16


def test_compiles_without_a_graph_break():
    inputs = make_inputs(4, 8)
    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*inputs), F.linear(*inputs))
