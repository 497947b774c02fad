"""What the engine sets in its process: threads and the C library's memory."""

import ctypes
import platform

import numba
import torch

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT_BYTES = 2**29


def launch_threads():
    """Start Numba's threads and keep PyTorch's number of threads.

    Both use the same OpenMP runtime, whose number Numba sets when it starts.
    """
    n_threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(n_threads)


def keep_memory():
    """Let the C library keep freed memory for the next layer.

    By default glibc returns a layer's freed tensors to the system, and every
    layer faults and clears new pages: a tenth to a fifth of AuM-Base's time.
    Blocks that are mapped, all above 32 MiB, are returned in any case, so
    mapping is turned off.
    """
    if platform.libc_ver()[0] == "glibc":
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_TRIM_THRESHOLD, KEPT_BYTES)
        set_option(M_MMAP_MAX, 0)


def n_threads():
    """Return how many threads to use: as many as PyTorch, if Numba has them."""
    number = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(number)
    return number
