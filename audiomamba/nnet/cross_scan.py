"""The cross scan of VMamba: a grid read in two orders, in both directions.

Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166, in the form
that DASS uses (arXiv 2407.04082): without a gate.  Parameters have the authors'
names; in those with four directions they are, in this order: frame after frame
within a frequency, frequency after frequency within a frame, and both
backwards.
"""

import math

import torch
import torch.nn.functional as F

from audiomamba.nnet.block import DropPath
from audiomamba.nnet.grid import GridConv, GridNorm
from audiomamba.nnet.lengths import padding_mask
from audiomamba.nnet.linear import Linear
from audiomamba.nnet.mixer import STEP_FLOOR, STEP_MAX, STEP_MIN
from audiomamba.ops import linear, selective_scan

# Softplus makes no step of it: the state passes padding unchanged.
NO_STEP = -1e4


class CrossScan(torch.nn.Module):
    """Convolve a grid, scan it in four directions and sum the results.

    Arguments
    ---------
    width : int
        Channels D.
    state_size : int
        States per channel and direction.

    Example
    -------
    >>> CrossScan(16)(torch.randn(2, 4, 10, 16)).shape
    torch.Size([2, 4, 10, 16])
    """

    def __init__(self, width: int, state_size: int = 1):
        super().__init__()
        self.step_rank, self.state_size = math.ceil(width / 16), state_size
        selected = self.step_rank + 2 * state_size
        self.in_proj = Linear(width, width, bias=False)
        self.conv2d = GridConv(width, width, groups=width, bias=False)
        self.x_proj_weight = self._new_weight(4, selected, width)
        self.dt_projs_weight = self._new_weight(4, width, self.step_rank)
        self.dt_projs_bias = torch.nn.Parameter(self._step_bias(4, width))
        rates = torch.arange(1, state_size + 1, dtype=torch.float32)
        self.A_logs = torch.nn.Parameter(rates.log().repeat(4 * width, 1))
        self.Ds = torch.nn.Parameter(torch.ones(4 * width))
        self.out_norm = GridNorm(width)
        self.out_proj = Linear(width, width, bias=False)

    @staticmethod
    def _new_weight(*shape):
        """Return the weight of four linear layers, as PyTorch draws one."""
        bound = shape[-1] ** -0.5
        weight = torch.empty(shape).uniform_(-bound, bound)
        return torch.nn.Parameter(weight)

    @staticmethod
    def _step_bias(*shape):
        """Return biases whose softplus is log-uniform in its range."""
        low, high = math.log(STEP_MIN), math.log(STEP_MAX)
        step = torch.empty(shape).uniform_(low, high).exp()
        step = step.clamp(min=STEP_FLOOR)
        return step + torch.log(-torch.expm1(-step))

    def forward(
        self, grid: torch.Tensor, n_columns: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix a batch of grids.

        Arguments
        ---------
        grid : torch.Tensor
            [B, F, T, D].
        n_columns : torch.Tensor or None
            Columns of each clip, [B]; None if all are content.

        Returns
        -------
        torch.Tensor
            [B, F, T, D].
        """
        u = F.silu(self.conv2d(self.in_proj(grid), n_columns))
        padding = None
        if n_columns is not None:
            padding = padding_mask(n_columns, grid.shape[2])[:, None, :, None]
        selected = linear(u, self.x_proj_weight.flatten(0, 1)).chunk(4, -1)
        y = self._scan(u, selected[0], padding, 0)
        y = y.to(self.Ds.dtype)  # the sum in float32, even if u is not
        for direction in (1, 2, 3):
            y = y + self._scan(u, selected[direction], padding, direction)
        return self.out_proj(self.out_norm(y))

    def _scan(self, u, selected, padding, direction):
        """Scan u [B, F, T, D] in one direction."""
        sizes = (self.step_rank, self.state_size, self.state_size)
        dt, B, C = selected.split(sizes, dim=-1)
        delta = linear(dt, self.dt_projs_weight[direction])
        if padding is not None:
            delta = delta.masked_fill(padding, NO_STEP)
        # The scan takes row after row: bins of a frame, or frames of a bin.
        within_frames = direction % 2 == 1
        if within_frames:
            u, delta, B, C = (x.transpose(1, 2) for x in (u, delta, B, C))
        y = selective_scan(
            u,
            delta,
            -self.A_logs.chunk(4)[direction].exp(),
            B,
            C,
            self.Ds.chunk(4)[direction],
            delta_bias=self.dt_projs_bias[direction],
            delta_softplus=True,
            reverse=direction >= 2,
        )
        return y.transpose(1, 2) if within_frames else y


class Perceptron(torch.nn.Module):
    """Two linear layers with a GELU between them.

    Arguments
    ---------
    width : int
        Channels D; four times as many between the layers.

    Example
    -------
    >>> Perceptron(8)(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = Linear(width, 4 * width)
        self.fc2 = Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., D] for x [..., D]."""
        return self.fc2(F.gelu(self.fc1(x)))


class CrossScanBlock(torch.nn.Module):
    """x + CrossScan(norm(x)), then x + Perceptron(norm(x)), x in float32.

    Arguments
    ---------
    width : int
        Channels D.
    drop_path : float
        Rate at which each branch is dropped in training.
    state_size : int
        States per channel and direction.

    Example
    -------
    >>> CrossScanBlock(16)(torch.randn(2, 4, 10, 16)).shape
    torch.Size([2, 4, 10, 16])
    """

    def __init__(self, width: int, drop_path: float = 0.0, state_size: int = 1):
        super().__init__()
        self.norm = GridNorm(width)
        self.op = CrossScan(width, state_size)
        self.norm2 = GridNorm(width)
        self.mlp = Perceptron(width)
        self.drop_path = DropPath(drop_path)
        for module in self.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    torch.nn.init.zeros_(module.bias)

    def forward(
        self, grid: torch.Tensor, n_columns: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return [B, F, T, D] for grids [B, F, T, D] and their columns [B]."""
        mixed = self.op(self.norm(grid), n_columns)
        grid = grid + self.drop_path(mixed)
        return grid + self.drop_path(self.mlp(self.norm2(grid)))
