"""The settings that the CPU engine makes in its process."""

import platform
import resource

import numpy as np
import pytest
import torch

from audiomamba.ops import available_engines

PAGE = resource.getpagesize()


glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library"
)


def new_pages(n_bytes):
    """Return how many pages a new block of memory needs."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(n_bytes, np.int8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@glibc_only
@pytest.mark.parametrize("mebibytes", (16, 100))
def test_freed_memory_is_reused(mebibytes):
    """A block as large as a freed one needs no new pages."""
    assert "cpu" in available_engines("cpu")  # loads the engine
    n_bytes = mebibytes * 2**20
    new_pages(n_bytes)
    # NumPy may have been given huge pages, some 500 times as few.
    assert new_pages(n_bytes) < n_bytes / PAGE / 1000


@glibc_only
def test_memory_of_very_long_clips_is_returned():
    from audiomamba.ops.cpu.process import return_memory

    n_bytes = 100 * 2**20
    hour = torch.empty(1, 180_000, 1536, device="meta")
    return_memory(hour)
    try:
        new_pages(n_bytes)
        assert new_pages(n_bytes) > n_bytes / PAGE / 1000
    finally:
        return_memory(hour[:, :513])
    new_pages(n_bytes)
    assert new_pages(n_bytes) < n_bytes / PAGE / 1000
