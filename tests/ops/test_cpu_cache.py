"""The CPU engine's kernels are compiled once, and the user is told."""

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


def test_compiling_is_announced_once_and_only_if_it_happens(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def errors():
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr.splitlines()

    (line,) = errors()
    assert line.startswith("Compiling the CPU kernels for this machine, once")
    assert f"they are kept in {tmp_path}" in line
    assert errors() == []
