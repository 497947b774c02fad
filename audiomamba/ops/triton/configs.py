"""The configurations that a kernel is autotuned over."""

import inspect

import triton

from audiomamba.ops.engines import INTERPRETED

# Newer versions of Triton keep the choice on disk beside the compiled kernels.
_KEPT = (
    {"cache_results": True}
    if "cache_results" in inspect.signature(triton.autotune).parameters
    else {}
)


def tuned(*configs, key):
    """Return a decorator that runs a kernel in its fastest configuration.

    The first call for every value of the key times all configurations.  The
    interpreter takes the first one.

    Arguments
    ---------
    configs : dict
        Compile-time arguments, and optionally ``num_warps``.
    key : list of str
        The arguments on which the choice depends, besides the dtypes.

    Returns
    -------
    callable
    """
    if INTERPRETED:
        configs = configs[:1]
    choices = []
    for config in configs:
        config = dict(config)
        warps = config.pop("num_warps", 1)
        choices.append(triton.Config(config, num_warps=warps, num_stages=1))
    return triton.autotune(choices, key=key, **_KEPT)
