"""Time, with the contenders taking turns, and peak memory of each."""

import gc
import multiprocessing
import os
import signal
import statistics
import time
from pathlib import Path

import torch

from .cells import new_step

STATUS = Path("/proc/self/status")
OUT_OF_MEMORY = "out of memory"
# What takes long to import: the process that starts those that measure memory
# imports it once. It does not find the modules of this folder, and must not
# import the CPU's engine, as a process that has used OpenMP cannot be forked.
PRELOADED = [
    "pandas",
    "audiomamba.dataio.files",
    "audiomamba.lobes.audio_mamba",
    "audiomamba.training.runs.environment",
    "transformers.models.audio_spectrogram_transformer."
    "modeling_audio_spectrogram_transformer",
]


def _synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def _release(device):
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def time_in_turn(cells, repeats, warmup):
    """Return the seconds of every round, per cell.

    The cells take turns, so that all meet the same disturbances.
    """
    device = cells[0].device
    steps = [new_step(cell) for cell in cells]
    times = [[] for _ in cells]
    for turn in range(warmup + repeats):
        for step, seconds in zip(steps, times):
            _synchronize(device)
            started = time.perf_counter()
            step()
            _synchronize(device)
            if turn >= warmup:
                seconds.append(time.perf_counter() - started)
    del steps
    _release(device)
    return times


def summarise(seconds):
    """Return the median and the range of some durations."""
    return {
        "seconds": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
        "repeats": len(seconds),
    }


def resident(field):
    """Return a size from this process' status in bytes."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no line {field}.")


def reset_peak():
    """Reset the peak of the resident size, VmHWM (Linux' proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def host_peak(cell):
    """Return the bytes by which two steps grow this process at most.

    Weights, activations, gradients and the optimiser's state count; Python
    and its packages do not.
    """
    new_step(cell.miniature())()
    gc.collect()
    before = resident("VmRSS")
    reset_peak()
    step = new_step(cell)
    step()
    step()
    return resident("VmHWM") - before


def _send_host_peak(cell, n_threads, answer):
    """Send a cell's peak; be the first to be killed if memory runs out."""
    Path("/proc/self/oom_score_adj").write_text("1000")
    torch.set_num_threads(n_threads)
    try:
        answer.send(host_peak(cell))
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        answer.send(OUT_OF_MEMORY)


def _host_peak_apart(cell):
    """Run `host_peak` in a separate process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(
        target=_send_host_peak, args=(cell, torch.get_num_threads(), sender)
    )
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError as error:
        child.join()
        if child.exitcode == -signal.SIGKILL:
            return OUT_OF_MEMORY
        raise RuntimeError(
            f"The process that measured {cell} ended with exit code "
            f"{child.exitcode}; its message is above."
        ) from error
    finally:
        child.join()


def _gpu_peak(cell):
    """Return the most memory that two steps hold on the GPU, in bytes."""
    _release(cell.device)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    try:
        step = new_step(cell)
        step()
        step()
        return torch.cuda.max_memory_allocated() - before
    except torch.cuda.OutOfMemoryError:
        return OUT_OF_MEMORY
    finally:
        step = None
        _release(cell.device)


def peak_memory(cell):
    """Return a cell's peak memory in bytes, or `OUT_OF_MEMORY`.

    None where the system does not tell: on the CPU outside Linux.
    """
    if cell.device == "cuda":
        return _gpu_peak(cell)
    if not STATUS.exists() or not os.access("/proc/self/clear_refs", os.W_OK):
        return None
    return _host_peak_apart(cell)


def profile(cell, repeats):
    """Return a cell's operators by their own time, the longest first."""
    step = new_step(cell)
    step()
    step()
    on_gpu = cell.device == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU]
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as recorded:
        for _ in range(repeats):
            step()
        _synchronize(cell.device)
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = [
        (e.key, getattr(e, own), e.count) for e in recorded.key_averages()
    ]
    whole = sum(microseconds for _, microseconds, _ in events)
    return [
        {
            "contender": cell.label,
            "mode": cell.mode,
            "tokens": cell.tokens,
            "operator": name,
            "ms_per_step": microseconds / repeats / 1e3,
            "share": microseconds / whole,
            "calls_per_step": count / repeats,
        }
        for name, microseconds, count in sorted(events, key=lambda e: -e[1])
        if microseconds > 0
    ]
