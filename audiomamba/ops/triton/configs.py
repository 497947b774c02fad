"""Which shapes of a kernel are tried, and keeping the fastest."""

import inspect
import os

import triton

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

# Where Triton can, the choice is kept on disk beside the compiled kernels.
_KEPT = (
    {"cache_results": True}
    if "cache_results" in inspect.signature(triton.autotune).parameters
    else {}
)


def tuned(*configs, key):
    """Return a decorator that runs a kernel in its fastest configuration.

    The first call for every value of the key times them all.  Under the
    interpreter, which has nothing to time, the first one is taken.

    Arguments
    ---------
    configs : dict
        Compile-time arguments; ``num_warps`` among them goes to the compiler.
    key : list of str
        The kernel's arguments that a choice holds for; dtypes always are.

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
