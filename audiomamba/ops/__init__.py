"""Selective scan, convolution and norm: one definition, several engines.

The operators are channel-last, ``[batch, length, channel]``, and registered
with PyTorch, so that autograd, autocast, ``torch.compile`` and DDP see
ordinary operators.  Nothing above this package knows which engine runs.

===========  ==========================================================
engine       what it is
===========  ==========================================================
triton       Triton kernels for the GPU, compiled on first use and cached
mamba_ssm    the stock packages mamba-ssm 2 and causal-conv1d, on the GPU
cpu          Numba kernels for the CPU, compiled on first use and cached
reference    plain PyTorch: any device, float64, the oracle of the tests
===========  ==========================================================

The first one that is usable on the device computes.  With the variable
``TRITON_INTERPRET=1``, which Triton itself reads, the engine triton runs on the
CPU as well, for tests: thousands of times slower.
"""

import torch

from audiomamba.ops.causal_conv1d import causal_conv1d
from audiomamba.ops.engines import (
    available_engines,
    current_engine,
    use_engine,
)
from audiomamba.ops.mamba_inner import mamba_inner
from audiomamba.ops.products import linear
from audiomamba.ops.rms_norm import rms_norm
from audiomamba.ops.selective_scan import bidirectional_scan, selective_scan

__all__ = [
    "available_engines",
    "bidirectional_scan",
    "causal_conv1d",
    "current_engine",
    "linear",
    "mamba_inner",
    "operators",
    "rms_norm",
    "selective_scan",
    "use_engine",
]

# The registered operators by name, for formulas of their cost and for
# translations to other formats.
operators = torch.ops.audiomamba
