"""The engines that compute the operators, and the choice between them.

An engine is a module with four functions: ``scan_forward``,
``scan_backward``, ``conv_forward`` and ``conv_backward``.  The best engine for
a device is chosen once; ``use_engine`` chooses another one for a block.
"""

import contextlib
import functools
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch

HALF_OR_SINGLE = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Engine:
    """What the choice has to know of an engine.

    Arguments
    ---------
    module : str
        Where its four functions live.
    device : str or None
        The device type it runs on; None for any.
    needs : tuple of str
        Packages that must be importable.
    install : str
        How a user gets it where it is missing.
    """

    module: str
    device: str | None
    needs: tuple
    install: str


# The best first.
ENGINES = {
    "cpu": Engine("audiomamba.ops.cpu", "cpu", ("numba",), "pip install numba"),
    "reference": Engine("audiomamba.ops.reference", None, (), ""),
}

_chosen = None


@functools.lru_cache(maxsize=None)
def _missing(name):
    """Return the packages that an engine needs and that are not installed."""
    return tuple(p for p in ENGINES[name].needs if find_spec(p) is None)


def available_engines(device="cpu"):
    """List the engines that can run on a device, the best first.

    Arguments
    ---------
    device : str or torch.device
        The device.

    Returns
    -------
    list of str

    Example
    -------
    >>> available_engines("cpu")
    ['cpu', 'reference']
    """
    kind = torch.device(device).type
    return [
        name
        for name, engine in ENGINES.items()
        if engine.device in (None, kind) and not _missing(name)
    ]


@contextlib.contextmanager
def use_engine(name):
    """Compute the operators with the named engine inside a ``with`` block.

    The choice holds for the whole process, backward passes included.

    Arguments
    ---------
    name : str
        One of ``audiomamba.ops.available_engines(device)``.

    Raises
    ------
    ValueError
        If there is no such engine, or its packages are not installed.

    Example
    -------
    >>> import torch
    >>> from audiomamba.ops import causal_conv1d
    >>> with use_engine("reference"):
    ...     y = causal_conv1d(torch.randn(1, 5, 3), torch.randn(3, 4))
    >>> y.shape
    torch.Size([1, 5, 3])
    """
    global _chosen
    if name not in ENGINES:
        raise ValueError(
            f"No engine is called {name!r}; there are {', '.join(ENGINES)}."
        )
    if _missing(name):
        raise ValueError(
            f"The engine {name!r} needs {', '.join(_missing(name))}, which is "
            f"not installed: {ENGINES[name].install}"
        )
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


@functools.lru_cache(maxsize=None)
def _best(kind, dtype):
    """Return the name of the best engine for a device type and a dtype.

    Only the reference computes in float64: the kernels keep a float32 state.
    """
    if dtype not in HALF_OR_SINGLE:
        return "reference"
    return available_engines(kind)[0]


@functools.lru_cache(maxsize=None)
def _load(name):
    return import_module(ENGINES[name].module)


def engine_for(tensor):
    """Return the module that computes operators on a tensor.

    Arguments
    ---------
    tensor : torch.Tensor
        The main input; its device and dtype decide.

    Returns
    -------
    module

    Raises
    ------
    ValueError
        If the engine chosen by ``use_engine`` cannot take the tensor.
    """
    kind, dtype = tensor.device.type, tensor.dtype
    if _chosen is None:
        return _load(_best(kind, dtype))
    if ENGINES[_chosen].device not in (None, kind):
        raise ValueError(
            f"The engine {_chosen!r} does not run on {kind}: choose one of "
            f"{', '.join(available_engines(kind))}."
        )
    if _chosen != "reference" and dtype not in HALF_OR_SINGLE:
        raise ValueError(
            f"The engine {_chosen!r} does not compute in {dtype}: use the "
            "engine 'reference' or float32."
        )
    return _load(_chosen)
