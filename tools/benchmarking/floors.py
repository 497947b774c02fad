"""What a device can do at most: bytes and exponentials per second."""

import statistics
import time

import torch

from audiomamba.ops.engines import INTERPRETED

from .cells import scan_work

# Values per program and exponentials per value of the kernel that counts them
BLOCK, ROUNDS = 1024, 256
ROUNDS_OF_TIMING = 5


def _median_seconds(device, function):
    """Return the median time of a function, after one call."""
    times = []
    for turn in range(1 + ROUNDS_OF_TIMING):
        started = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        if turn:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def copied_bytes_per_s(device, n_bytes):
    """Return the rate of a copy that is too large for any cache."""
    source = torch.zeros(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2 * n_bytes / _median_seconds(device, lambda: target.copy_(source))


def exponentials_per_s(device, n_programs):
    """Return the rate of ``exp2`` in registers, in a Triton kernel."""
    import triton
    import triton.language as tl

    @triton.jit
    def repeat(out, ROUNDS: tl.constexpr, BLOCK: tl.constexpr):
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        x = at.to(tl.float32) * 1e-6
        for _ in range(ROUNDS):
            x = tl.exp2(-x)
        tl.store(out + at, x)

    out = torch.empty(n_programs * BLOCK, device=device)
    seconds = _median_seconds(
        device, lambda: repeat[(n_programs,)](out, ROUNDS, BLOCK)
    )
    return out.numel() * ROUNDS / seconds


def measure_floors(device):
    """Return the device's rates; no exponentials where Triton cannot run."""
    gpu = device == "cuda"
    moved = copied_bytes_per_s(device, 2**30 if gpu else 2**26)
    exponentials = None
    if gpu or INTERPRETED:
        exponentials = exponentials_per_s(device, 2**14 if gpu else 1) / 1e9
    return {"gbytes_per_s": moved / 1e9, "gexp_per_s": exponentials}


def floor_seconds(cell, floors):
    """Return the least time of a scan on a device with these rates."""
    moved, exponentials = scan_work(cell)
    seconds = moved / 1e9 / floors["gbytes_per_s"]
    if floors["gexp_per_s"]:
        slowest = exponentials / 1e9 / floors["gexp_per_s"]
        seconds = max(seconds, slowest)
    return seconds
