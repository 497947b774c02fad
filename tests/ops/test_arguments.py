"""What every operator refuses, and empty input."""

import pytest
import torch

from audiomamba.ops import (
    causal_conv1d,
    mamba_inner,
    rms_norm,
    selective_scan,
    use_engine,
)

B, L, D, N, K, R = 2, 5, 8, 4, 4, 2
SHAPES = {
    selective_scan: {
        "u": (B, L, D), "delta": (B, L, D), "A": (D, N), "B": (B, L, N),
        "C": (B, L, N), "D": (D,), "z": (B, L, D), "delta_bias": (D,),
    },
    causal_conv1d: {"x": (B, L, D), "weight": (D, K), "bias": (D,)},
    mamba_inner: {
        "xz": (B, L, 2 * D), "conv_weight": (D, K), "conv_bias": (D,),
        "x_proj": (R + 2 * N, D), "dt_proj": (D, R), "dt_bias": (D,),
        "A_log": (D, N), "A_b_log": (D, N), "D": (D,),
    },
    rms_norm: {"x": (B, L, D), "weight": (D,)},
}  # fmt: skip
CASES = [(operator, name) for operator, s in SHAPES.items() for name in s]


def arguments_of(operator, **others):
    torch.manual_seed(0)
    found = {
        name: torch.randn(others.get(name, shape)).mul(0.1).requires_grad_()
        for name, shape in SHAPES[operator].items()
    }
    return found | ({"eps": 1e-5} if operator is rms_norm else {})


@pytest.mark.parametrize("operator, name", CASES)
@pytest.mark.parametrize("change", ["shorter", "flat"])
def test_an_argument_of_the_wrong_size_never_reaches_a_kernel(
    operator, name, change
):
    shape = SHAPES[operator][name]
    # The last axis of a convolution's kernels may have any size
    axis = 0 if "weight" in name else -1
    wrong = list(shape) if change == "shorter" else []
    if wrong:
        wrong[axis] -= 1
    with pytest.raises(ValueError, match=rf" takes .*It got .*\b{name} \["):
        operator(**arguments_of(operator, **{name: wrong}))


@pytest.mark.parametrize(
    "operator", [selective_scan, causal_conv1d, mamba_inner]
)
def test_lengths_are_integers_one_for_each_sequence(operator):
    arguments = arguments_of(operator)
    with pytest.raises(ValueError, match=r"It got .*lengths \[1\]"):
        operator(**arguments, lengths=torch.tensor([3]))
    with pytest.raises(ValueError, match="torch.float32.*absolute_lengths"):
        operator(**arguments, lengths=torch.tensor([0.5, 1.0]))


def test_a_mixer_has_a_direction():
    arguments = arguments_of(mamba_inner) | {"A_log": None, "A_b_log": None}
    with pytest.raises(ValueError, match="A_log, A_b_log or both"):
        mamba_inner(**arguments)


@pytest.mark.parametrize("operator", SHAPES)
def test_second_derivatives_are_refused_not_zero(operator, engine):
    arguments = arguments_of(operator)
    leaf = next(iter(arguments.values()))
    with use_engine(engine):
        total = operator(**arguments).square().sum()
        (gradient,) = torch.autograd.grad(total, leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiated once"):
            gradient.square().sum().backward()


@pytest.mark.parametrize("operator", SHAPES)
@pytest.mark.parametrize("empty", [{0: 0}, {1: 0}], ids=["batch", "steps"])
def test_nothing_gives_nothing(operator, empty, engine):
    shapes = {
        name: tuple(empty.get(i, n) for i, n in enumerate(shape))
        for name, shape in SHAPES[operator].items()
        if len(shape) == 3
    }
    arguments = arguments_of(operator, **shapes)
    with use_engine(engine):
        out = operator(**arguments)
        out.sum().backward()
    assert out.numel() == 0
    for argument in arguments.values():
        assert isinstance(argument, float) or not argument.grad.any()


@pytest.mark.parametrize(
    "operator", [selective_scan, causal_conv1d, mamba_inner]
)
def test_strides_are_those_that_a_compiler_is_promised(operator):
    arguments = arguments_of(operator)
    first = next(iter(arguments))
    turned = arguments[first].detach().transpose(0, 1).contiguous()
    arguments[first] = turned.transpose(0, 1)
    with use_engine("reference"):
        assert operator(**arguments).is_contiguous()
