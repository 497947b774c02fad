"""The engines that compute the operators, and the choice between them.

An engine is a module with ``scan_forward``, ``conv_forward`` and
``inner_forward``, which take the arguments of `audiomamba.ops.arguments`, and
a ``..._backward`` for each, which takes the gradient of the output first.
Engines that run on the CPU also have ``norm_forward`` and ``norm_backward``.

The first engine of `ENGINES` that is usable on a device computes there: the
same one in every process and every run.  ``use_engine`` chooses another one
for a block of code; ``tools/benchmark.py --engines`` compares their speed.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch

logger = logging.getLogger(__name__)

HALF_OR_SINGLE = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Engine:
    """Where an engine is and what it needs.

    Arguments
    ---------
    module : str
        The module with its functions.
    device : str or None
        The device type it runs on; None for any.
    needs : tuple of str
        Packages that must be importable.
    install : str
        The command that installs them.
    """

    module: str
    device: str | None
    needs: tuple[str, ...]
    install: str


# Triton's interpreter, chosen by its own variable, runs anywhere.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

# In order of preference.
ENGINES = {
    "triton": Engine(
        "audiomamba.ops.triton",
        None if INTERPRETED else "cuda",
        ("triton",),
        "pip install triton",
    ),
    "mamba_ssm": Engine(
        "audiomamba.ops.mamba_ssm",
        "cuda",
        ("mamba_ssm", "causal_conv1d"),
        'pip install ninja packaging wheel "setuptools<82", then '
        "pip install --no-build-isolation mamba-ssm causal-conv1d",
    ),
    "cpu": Engine("audiomamba.ops.cpu", "cpu", ("numba",), "pip install numba"),
    "reference": Engine("audiomamba.ops.reference", None, (), ""),
}

_chosen = None


@functools.cache
def _problem(name):
    """Return why an engine cannot be used, or None if it can."""
    engine = ENGINES[name]
    missing = [p for p in engine.needs if find_spec(p) is None]
    if missing:
        return (
            f"it needs {', '.join(missing)}, which is not installed: "
            f"{engine.install}"
        )
    try:
        for module in (*engine.needs, engine.module):
            import_module(module)
    # A broken build of a package raises anything: undefined symbols come as
    # ImportError or OSError, missing names as NameError or AttributeError.
    except Exception as error:
        return f"it does not load ({type(error).__name__}: {error})"
    return None


@functools.cache
def _usable(name):
    """Return whether an engine can be used; warn once if it cannot."""
    problem = _problem(name)
    if problem is not None:
        logger.warning("The engine %r is left out: %s", name, problem)
    return problem is None


def _device_type(device):
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device).type


def available_engines(device: str | torch.device | None = None) -> list[str]:
    """List the engines that can run on a device, in order of preference.

    Arguments
    ---------
    device : str or torch.device or None
        The device; None for the GPU if there is one, else the CPU.

    Returns
    -------
    list of str

    Example
    -------
    >>> available_engines("cpu")
    ['cpu', 'reference']
    """
    kind = _device_type(device)
    return [
        name
        for name, engine in ENGINES.items()
        if engine.device in (None, kind) and _usable(name)
    ]


@contextlib.contextmanager
def use_engine(name: str) -> Iterator[None]:
    """Compute the operators with the named engine inside a ``with`` block.

    The choice holds for the whole process, backward passes included.

    Arguments
    ---------
    name : str
        One of ``audiomamba.ops.available_engines(device)``.

    Raises
    ------
    ValueError
        If there is no such engine, or its packages are missing or broken.

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
    if _problem(name) is not None:
        raise ValueError(
            f"The engine {name!r} cannot be used: {_problem(name)}"
        )
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


@functools.cache
def _preferred(kind, dtype):
    """Return the engine for a device type and a dtype without `use_engine`."""
    # The kernels keep a float32 state, so float64 is left to the reference.
    if dtype not in HALF_OR_SINGLE:
        return "reference"
    return available_engines(kind)[0]


def current_engine(
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> str:
    """Return the name of the engine that operators on a device use now.

    Arguments
    ---------
    device : str or torch.device or None
        The device; None for the GPU if there is one, else the CPU.
    dtype : torch.dtype
        Of the operators' main input.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the engine chosen by ``use_engine`` does not run on the device or
        does not compute in the dtype.

    Example
    -------
    >>> current_engine("cpu")
    'cpu'
    >>> with use_engine("reference"):
    ...     current_engine("cpu")
    'reference'
    """
    kind = _device_type(device)
    if _chosen is None:
        return _preferred(kind, dtype)
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
    return _chosen


@functools.cache
def _load(name):
    return import_module(ENGINES[name].module)


def engine_for(tensor: torch.Tensor) -> ModuleType:
    """Return the module that computes operators on a tensor.

    Arguments
    ---------
    tensor : torch.Tensor
        The operator's main input.

    Returns
    -------
    module

    Raises
    ------
    ValueError
        As `current_engine`.
    """
    return _load(current_engine(tensor.device, tensor.dtype))
