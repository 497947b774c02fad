"""What the engine sets in its process: threads and the C library's memory."""

import ctypes
import functools
import os
import platform
import threading

import numba
import torch

IS_GLIBC = platform.libc_ver()[0] == "glibc"
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
KEPT_BYTES = 2**29
# Mapped blocks are larger than this, which is the most that glibc accepts.
MAPPED_BYTES, MAX_MAPPED = 2**25, 2**16
# Of one sequence in float32: seven minutes of audio in AuM-Base.
LONG_BYTES = 2**27


def launch_threads():
    """Start Numba's threads and keep PyTorch's number of threads.

    Both use the same OpenMP runtime, whose number Numba sets when it starts.
    """
    global _started_in
    _started_in = os.getpid()
    n_threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(n_threads)


def one_at_a_time(function):
    """Let one thread at a time call a function, if Numba's threads need that.

    Its own pool, `workqueue`, ends the process otherwise.  It is what Numba has
    where it finds neither OpenMP nor TBB.
    """

    @functools.wraps(function)
    def call(*arguments):
        if numba.threading_layer() != "workqueue":
            return function(*arguments)
        with _in_use:
            return function(*arguments)

    return call


def keep_memory():
    """Let the C library keep freed memory for the next layer.

    By default glibc returns a layer's freed tensors to the system, and every
    layer faults and clears new pages: a tenth to a fifth of AuM-Base's time.
    Blocks that are mapped, all above 32 MiB, are returned in any case, so
    mapping is turned off.
    """
    if IS_GLIBC:
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_TRIM_THRESHOLD, KEPT_BYTES)
        set_option(M_MMAP_THRESHOLD, MAPPED_BYTES)
        set_option(M_MMAP_MAX, 0)


def return_memory(rows):
    """Return freed memory after all if sequences [B, L, D] are very long.

    Kept memory has gaps that the next block does not fit in.  With an hour of
    audio they would be gigabytes.
    """
    global _returns
    is_long = 4 * rows.shape[1] * rows.shape[2] > LONG_BYTES
    if IS_GLIBC and is_long != _returns:
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, MAX_MAPPED if is_long else 0)
        library.malloc_trim(0)
    _returns = is_long


_returns = False
_started_in = None
_in_use = threading.RLock()


def n_threads():
    """Return how many threads to use: as many as PyTorch, if Numba has them.

    A forked process has none of its parent's threads: GNU's OpenMP would end
    it, and PyTorch would wait for them for ever.
    """
    if os.getpid() != _started_in and numba.threading_layer() == "omp":
        raise RuntimeError(
            "a forked process cannot compute, as the threads are its parent's: "
            'start it with multiprocessing.get_context("spawn").'
        )
    number = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(number)
    return number
