"""Registers operators with PyTorch, for every device."""

import functools
import sys
from collections.abc import Callable

import torch


def operator(name: str, schema: str) -> Callable:
    """Make a function an operator of the namespace ``audiomamba``.

    `torch.library.custom_op` does the same, but its first call imports
    PyTorch's compiler, which takes longer than everything else that it takes to
    tag a clip.

    Arguments
    ---------
    name : str
        Of the operator.
    schema : str
        Arguments and result, as in ``(Tensor x) -> Tensor``.  Neither is the
        result a view of an argument, nor is an argument written to.

    Returns
    -------
    callable
        A decorator, which returns the operator as `torch.ops` has it.

    Example
    -------
    >>> @operator("example_double", "(Tensor x) -> Tensor")
    ... def double(x):
    ...     return 2 * x
    >>> double(torch.ones(2))
    tensor([2., 2.])
    >>> torch.ops.audiomamba.example_double(torch.ones(2))
    tensor([2., 2.])
    """
    qualified = f"audiomamba::{name}"

    def register(function):
        tag = torch.Tag.pt2_compliant_tag
        torch.library.define(qualified, schema, tags=tag)
        torch.library.impl(qualified, "default", _opaque(function))
        return getattr(torch.ops.audiomamba, name).default

    return register


def once_differentiable(backward) -> None:
    """Refuse the derivative of an operator that computes gradients.

    Without this, PyTorch would take it for zero.

    Arguments
    ---------
    backward : torch._ops.OpOverload
        The operator, from `operator`.

    Example
    -------
    >>> @operator("example_slope", "(Tensor x) -> Tensor")
    ... def slope(x):
    ...     return 2 * x
    >>> once_differentiable(slope)
    >>> slope(torch.ones(1, requires_grad=True)).backward()
    Traceback (most recent call last):
        ...
    RuntimeError: audiomamba.example_slope.default has no derivative: ...
    """

    def refuse(ctx, *gradients):
        raise RuntimeError(
            f"{backward} has no derivative: the operators of audiomamba can be "
            "differentiated once, so no loss can contain a gradient "
            "(create_graph=True)."
        )

    torch.library.register_autograd(backward, refuse)


def _opaque(function):
    """Keep the compiler from looking into a function, once it is loaded."""

    @functools.cache
    def disabled():
        return torch.compiler.disable(function)

    def call(*arguments):
        loaded = "torch._dynamo" in sys.modules
        return (disabled() if loaded else function)(*arguments)

    return call
