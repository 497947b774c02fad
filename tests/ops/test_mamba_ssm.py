"""What the engine `mamba_ssm` does around the packages' functions.

The packages need a GPU.  Here two functions with their documented behaviour
(one direction, [B, D, L], no lengths) replace them, and refuse what the
packages refuse.
"""

import dataclasses
import importlib
import sys
import types

import pytest
import torch

from audiomamba.ops import causal_conv1d, engines, reference, use_engine
from audiomamba.ops.arguments import ConvArguments, ScanArguments
from audiomamba.ops.selective_scan import scan


def _last(tensor):
    return None if tensor is None else tensor.mT


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, z, bias, softplus):
        rows = [t for t in (u, delta, B, C, z) if t is not None]
        assert all(t.stride(2) == 1 and t.dtype == u.dtype for t in rows)
        vectors = [t for t in (A, D, bias) if t is not None]
        assert all(t.dtype == torch.float32 for t in vectors)
        u, delta, B, C, z = (_last(t) for t in (u, delta, B, C, z))
        scan = ScanArguments(
            u, delta, A, None, B, C, D, z, bias, softplus, None
        )
        ctx.save_for_backward(*scan.differentiable)
        ctx.softplus = softplus
        return reference.scan_forward(scan).mT.contiguous()

    @staticmethod
    def backward(ctx, grad):
        scan = ScanArguments(*ctx.saved_tensors, ctx.softplus, None)
        du, ddelta, dA, _, dB, dC, dD, dz, dbias = reference.scan_backward(
            grad.mT, scan
        )
        du, ddelta, dB, dC, dz = (_last(t) for t in (du, ddelta, dB, dC, dz))
        return du, ddelta, dA, dB, dC, dD, dz, dbias, None


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False
):
    return _Scan.apply(u, delta, A, B, C, D, z, delta_bias, delta_softplus)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, activation):
        assert 2 <= weight.shape[1] <= 4 and x.stride(2) == 1
        ctx.save_for_backward(x, weight, bias)
        ctx.rest = (activation == "silu", False, None)
        conv = ConvArguments(x.mT, weight, bias, *ctx.rest)
        return reference.conv_forward(conv).mT.contiguous()

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias = ctx.saved_tensors
        conv = ConvArguments(x.mT, weight, bias, *ctx.rest)
        dx, dweight, dbias = reference.conv_backward(grad.mT, conv)
        return dx.mT, dweight, dbias, None


def causal_conv1d_fn(x, weight, bias=None, activation=None):
    return _Convolution.apply(x, weight, bias, activation)


@pytest.fixture
def package(monkeypatch):
    """Make the engine importable and let it run on the CPU."""
    name = "mamba_ssm.ops.selective_scan_interface"
    for package in ("mamba_ssm", "mamba_ssm.ops", name, "causal_conv1d"):
        module = types.ModuleType(package)
        module.__spec__ = importlib.machinery.ModuleSpec(package, None)
        monkeypatch.setitem(sys.modules, package, module)
    sys.modules[name].selective_scan_fn = selective_scan_fn
    sys.modules["causal_conv1d"].causal_conv1d_fn = causal_conv1d_fn
    entry = dataclasses.replace(engines.ENGINES["mamba_ssm"], device="cpu")
    monkeypatch.setitem(engines.ENGINES, "mamba_ssm", entry)
    caches = (
        engines._problem,
        engines._usable,
        engines._preferred,
        engines._load,
    )
    for cache in caches:
        cache.cache_clear()
    yield "mamba_ssm"
    sys.modules.pop("audiomamba.ops.mamba_ssm", None)
    for cache in caches:
        cache.cache_clear()


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


def run(engine, function, tensors, grad):
    """Return the output and the gradients of the given tensors."""
    leaves = [
        None if t is None else t.detach().clone().requires_grad_()
        for t in tensors
    ]
    with use_engine(engine):
        y = function(*leaves)
        y.backward(grad)
    return [y.detach(), *(t.grad for t in leaves if t is not None)]


def scan_inputs(ways, plain):
    u, z = normal(3, 9, 12).chunk(2, -1)
    delta, bias = normal(3, 9, 6, seed=1), normal(6, seed=2)
    A, A_b = -normal(2, 6, 4, seed=3).exp()
    B, C = normal(2, 3, 9, 4, seed=4)
    D = normal(6, seed=5)
    A = None if ways == "backward" else A
    A_b = None if ways == "forward" else A_b
    D, z, bias = (None,) * 3 if plain else (D, z, bias)
    return [u, delta, A, A_b, B, C, D, z, bias]


@pytest.mark.parametrize("lengths", [None, [9, 1, 5]])
@pytest.mark.parametrize("ways", ["forward", "backward", "both"])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("softplus", [False, True])
def test_the_scan_equals_the_reference(package, lengths, ways, plain, softplus):
    tensors = scan_inputs(ways, plain)
    grad = normal(3, 9, 6, seed=6)
    lengths = None if lengths is None else torch.tensor(lengths)

    def both_ways(*inputs):
        return scan(*inputs, softplus, lengths)

    wanted = run("reference", both_ways, tensors, grad)
    if lengths is not None:
        padding = torch.arange(9) >= lengths[:, None]
        for i in (0, 1, 4, 5, 7):
            if tensors[i] is not None:
                tensors[i] = tensors[i].clone()
                tensors[i][padding] = float("nan")
    found = run(package, both_ways, tensors, grad)
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [None, [9, 1, 5]])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("activation", ["silu", None])
def test_the_convolution_equals_the_reference(
    package, lengths, reverse, activation
):
    tensors = [normal(3, 9, 6), normal(6, 4, seed=1), normal(6, seed=2)]
    lengths = None if lengths is None else torch.tensor(lengths)

    def convolve(*inputs):
        return causal_conv1d(
            *inputs, activation=activation, reverse=reverse, lengths=lengths
        )

    grad = normal(3, 9, 6, seed=3)
    wanted = run("reference", convolve, tensors, grad)
    if lengths is not None:
        padding = torch.arange(9) >= lengths[:, None]
        tensors[0][padding] = float("nan")
    found = run(package, convolve, tensors, grad)
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-4, atol=1e-5)


def test_half_inputs_reach_the_package_in_half_precision(package):
    tensors = scan_inputs("both", plain=False)
    for i in (0, 4, 5, 7):
        tensors[i] = tensors[i].bfloat16()
    with use_engine(package):
        y = scan(*tensors, True, None)
    assert y.dtype == torch.bfloat16
