"""Selective scan, convolution and norm: one definition, several engines.

The operators are channel-last, ``[batch, length, channel]``, and registered
with PyTorch, so that autograd, autocast, ``torch.compile`` and DDP see
ordinary operators.  Nothing above this package knows which engine runs.

===========  ==========================================================
engine       what it is
===========  ==========================================================
reference    plain PyTorch: any device, float64, the oracle of the tests
cpu          Numba kernels for the CPU, compiled on first use and cached
triton       Triton kernels for the GPU, compiled on first use and cached
mamba_ssm    the stock packages mamba-ssm 2 and causal-conv1d, on the GPU
===========  ==========================================================

Where both GPU engines work, the first use tries them and keeps the faster.
"""

import torch

from audiomamba.ops.causal_conv1d import causal_conv1d
from audiomamba.ops.engines import available_engines, use_engine
from audiomamba.ops.mamba_inner import mamba_inner
from audiomamba.ops.rms_norm import rms_norm
from audiomamba.ops.selective_scan import bidirectional_scan, selective_scan

__all__ = [
    "available_engines",
    "bidirectional_scan",
    "causal_conv1d",
    "mamba_inner",
    "operators",
    "rms_norm",
    "selective_scan",
    "use_engine",
]

# The registered operators by name, for what asks about them: formulas of their
# cost, translations to other formats.
operators = torch.ops.audiomamba
