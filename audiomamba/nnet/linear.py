"""The linear layer inside the blocks."""

import torch

from audiomamba.ops import linear


class Linear(torch.nn.Linear):
    """`torch.nn.Linear` by `audiomamba.ops.linear`.

    Arguments
    ---------
    in_features, out_features : int
        Widths of input and output.
    bias : bool
        Whether there is a bias.

    Example
    -------
    >>> Linear(3, 5)(torch.randn(2, 7, 3)).shape
    torch.Size([2, 7, 5])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x weight^T + bias, [..., out], for x [..., in]."""
        return linear(x, self.weight, self.bias)
