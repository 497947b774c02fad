"""The CPU engine's cache of compiled kernels."""

import os
import subprocess
import sys

PROGRAM = """
import logging
import numpy as np
from audiomamba.ops.cpu.vector_math import exp2, sigmoid
exp2(np.float32(1))
logging.basicConfig(level=logging.DEBUG)
sigmoid(np.float32(1))
"""

GRADIENTS = """
import hashlib
import torch
from audiomamba.ops import cpu
from audiomamba.ops.arguments import ConvArguments, ScanArguments

torch.manual_seed(0)
x, scale = torch.randn(50, 80), torch.randn(80)
u, delta, z, grad = torch.randn(4, 2, 70, 80)
B, C = torch.randn(2, 2, 70, 4)
A, A_b = -torch.rand(2, 80, 4)
scan = ScanArguments(u, delta, A, A_b, B, C, scale, z, scale, True, None)
conv = ConvArguments(u, torch.randn(80, 4), scale, True, False, None)
found = [
    cpu.norm_forward(x, scale, 1e-5),
    *cpu.norm_backward(x, x, scale, 1e-5),
    cpu.scan_forward(scan),
    *cpu.scan_backward(grad, scan),
    cpu.conv_forward(conv),
    *cpu.conv_backward(grad, conv),
]
digest = hashlib.sha256()
for tensor in found:
    digest.update(tensor.contiguous().numpy().tobytes())
print(digest.hexdigest())
"""


def run(program, cache):
    """Run a program with its own cache of kernels."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_compiling_is_announced_once_and_only_if_it_happens(tmp_path):
    (line,) = run(PROGRAM, tmp_path).stderr.splitlines()
    assert line.startswith("Compiling the CPU kernels for this machine, once")
    assert f"they are kept in {tmp_path}" in line
    assert run(PROGRAM, tmp_path).stderr == ""


def test_compiled_and_cached_kernels_give_the_same_bits(tmp_path):
    """A run that resumes with cached kernels equals one that compiled them."""
    cold, warm = (run(GRADIENTS, tmp_path) for _ in range(2))
    assert "Compiling" in cold.stderr and "Compiling" not in warm.stderr
    assert cold.stdout == warm.stdout
