"""The engines that compute the operators, and the choice between them.

An engine is a module with six functions: ``scan_forward``, ``conv_forward``
and ``inner_forward``, each with its ``..._backward``; those that run on the
CPU have ``norm_forward`` and ``norm_backward`` as well.  The best engine for a
device is chosen once; ``use_engine`` chooses another one for a block.

Engines are listed by preference.  Where both ``triton`` and ``mamba_ssm``
work, their first use tries them on one layer and keeps the faster one: which
one that is depends on the GPU and on the versions.
"""

import contextlib
import functools
import logging
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch

from audiomamba.ops.trial import fastest

logger = logging.getLogger(__name__)

HALF_OR_SINGLE = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Engine:
    """What the choice has to know of an engine.

    Arguments
    ---------
    module : str
        Where its functions live.
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
    "triton": Engine(
        "audiomamba.ops.triton", "cuda", ("triton",), "pip install triton"
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
    """Return why an engine cannot be used, None where it can."""
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
    """Return whether an engine can be used, and log once why it cannot."""
    problem = _problem(name)
    if problem is not None:
        logger.warning("The engine %r is left out: %s", name, problem)
    return problem is None


def available_engines(device=None):
    """List the engines that can run on a device, the preferred one first.

    Arguments
    ---------
    device : str or torch.device or None
        The device; None for the GPU where there is one, else the CPU.

    Returns
    -------
    list of str

    Example
    -------
    >>> available_engines("cpu")
    ['cpu', 'reference']
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.device(device).type
    return [
        name
        for name, engine in ENGINES.items()
        if engine.device in (None, kind) and _usable(name)
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
def _best(kind, dtype):
    """Return the name of the best engine for a device type and a dtype.

    Only the reference computes in float64: the kernels keep a float32 state.
    """
    if dtype not in HALF_OR_SINGLE:
        return "reference"
    return _fastest(kind)


@functools.cache
def _fastest(kind):
    """Return the fastest engine for a device type, by trying if need be."""
    names = available_engines(kind)
    rivals = [name for name in names if ENGINES[name].device == kind]
    if len(rivals) < 2:
        return names[0]
    return fastest({name: _load(name) for name in rivals}, kind)


@functools.cache
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
