"""The settings that the CPU engine makes in its process."""

import os
import platform
import resource
import subprocess
import sys

import numpy as np
import pytest

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


RETURNED = """
import resource

import numpy as np
import torch

from audiomamba.ops.cpu.process import return_memory


def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(100 * 2**20, np.int8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


few = 100 * 2**20 / resource.getpagesize() / 1000
hour = torch.empty(1, 180_000, 1536, device="meta")
return_memory(hour)
new_pages()
assert new_pages() > few
return_memory(hour[:, :513])
new_pages()
assert new_pages() < few
"""


@glibc_only
def test_memory_of_very_long_clips_is_returned():
    """In a process of its own: others leave holes that a block fits in."""
    subprocess.run([sys.executable, "-c", RETURNED], check=True)


FORKED = """
import multiprocessing, torch
from audiomamba.ops import selective_scan

def scan():
    u = torch.ones(1, 4, 64)
    selective_scan(u, u, -torch.ones(64, 4), u[..., :4], u[..., :4])

def child():
    try:
        scan()
    except RuntimeError as error:
        print(error, flush=True)

scan()
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
print(process.exitcode)
"""


def test_a_forked_process_is_told_what_to_do():
    """OpenMP would end it without a word to Python."""
    command = [sys.executable, "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    explained, status = done.stdout.splitlines()
    assert 'get_context("spawn")' in explained and status == "0", done.stderr


CONCURRENT = """
import threading, torch
from audiomamba.ops import selective_scan

def scan():
    u = torch.ones(2, 50, 128)
    for _ in range(200):
        selective_scan(u, u, -torch.ones(128, 4), u[..., :4], u[..., :4])

threads = [threading.Thread(target=scan) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
import numba
print(numba.threading_layer())
"""


def test_threads_wait_for_each_other_where_numba_needs_it():
    """Its own pool, all that it has on many Macs, would end the process."""
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue"}
    done = subprocess.run(
        [sys.executable, "-c", CONCURRENT],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.stdout == "workqueue\n", done.stderr
