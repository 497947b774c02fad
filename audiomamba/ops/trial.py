"""Which of several engines is the faster one, by trying them once."""

import logging
import time

import torch

logger = logging.getLogger(__name__)

# A layer of the base model over four clips of ten seconds.
SIZES = dict(n_batch=4, n_steps=512, n_channels=1536, n_state=16, n_taps=4)
REPETITIONS = 5


def _inputs(device, dtype, n_batch, n_steps, n_channels, n_state, n_taps):
    """Return arguments of a convolution and of a scan in both directions."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, to=dtype):
        values = torch.randn(*shape, generator=generator)
        return values.to(device, to)

    u, delta, z = (normal(n_batch, n_steps, n_channels) for _ in range(3))
    B, C = (normal(n_batch, n_steps, n_state) for _ in range(2))
    single = torch.float32
    A, A_b = (-normal(n_channels, n_state, to=single).exp() for _ in range(2))
    D, bias = (normal(n_channels, to=single) for _ in range(2))
    weight = normal(n_channels, n_taps, to=single)
    conv = (u, weight, bias, True, False, None)
    return u, conv, (u, delta, A, A_b, B, C, D, z, bias, True, None)


def _seconds(engine, device, dtype):
    """Return the median time of both operators, forward and backward."""
    grad, conv, scan = _inputs(device, dtype, **SIZES)
    times = []
    for _ in range(2 + REPETITIONS):
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        engine.conv_forward(*conv)
        engine.conv_backward(grad, *conv)
        engine.scan_forward(*scan)
        engine.scan_backward(grad, *scan)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times[2:])[REPETITIONS // 2]


def fastest(engines, device, dtype=torch.bfloat16):
    """Return the name of the fastest engine, and log all times.

    Arguments
    ---------
    engines : dict
        Modules by name.
    device : str or torch.device
        Where to try them.
    dtype : torch.dtype
        Of the inputs.

    Returns
    -------
    str
    """
    seconds = {
        name: _seconds(engine, device, dtype)
        for name, engine in engines.items()
    }
    best = min(seconds, key=seconds.get)
    found = ", ".join(f"{n} {1e3 * s:.2f} ms" for n, s in seconds.items())
    logger.info("Operators of one layer: %s; %s is used.", found, best)
    return best
