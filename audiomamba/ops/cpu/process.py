"""What the engine sets in its process: threads and the C library's memory."""

import ctypes
import platform

import numba
import torch

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT_BYTES = 2**29


def launch_threads():
    """Start Numba's threads without touching PyTorch's number of threads.

    Both use the same OpenMP runtime, and Numba sets its number at the start.
    """
    n_threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(n_threads)


def keep_memory():
    """Let the C library keep freed memory for the next layer.

    A layer's tensors come and go.  As it is set, glibc hands them back to the
    system, and their pages are fetched and cleared anew in every layer: a
    tenth to a fifth of AuM-Base's time.  Blocks with a mapping of their own,
    all beyond 32 MiB, are handed back whatever is kept: hence none is mapped.
    """
    if platform.libc_ver()[0] == "glibc":
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_TRIM_THRESHOLD, KEPT_BYTES)
        set_option(M_MMAP_MAX, 0)


def n_threads():
    """Return how many threads to use: as many as PyTorch, if there are."""
    number = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(number)
    return number
