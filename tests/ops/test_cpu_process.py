"""The settings that the CPU engine makes in its process."""

import platform
import resource

import numpy as np
import pytest

from audiomamba.ops import available_engines

PAGE = resource.getpagesize()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library"
)
@pytest.mark.parametrize("mebibytes", (16, 100))
def test_freed_memory_is_reused(mebibytes):
    """A block as large as a freed one needs no new pages."""
    assert "cpu" in available_engines("cpu")  # loads the engine
    n_bytes = mebibytes * 2**20

    def new_pages():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(n_bytes, np.int8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    new_pages()
    # NumPy may have been given huge pages, some 500 times as few.
    assert new_pages() < n_bytes / PAGE / 1000
