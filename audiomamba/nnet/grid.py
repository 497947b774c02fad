"""Layers on a channel-last grid [B, F, T, D] of frequencies and frames.

``n_columns`` [B] counts each clip's own frames on the grid.  What is past them
is padding, which no layer lets into a clip's own columns.
"""

import torch
import torch.nn.functional as F

from audiomamba.nnet.lengths import padding_mask


def clear_columns(
    grid: torch.Tensor, n_columns: torch.Tensor | None
) -> torch.Tensor:
    """Set the columns past the end of each clip to zero.

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

    Example
    -------
    >>> clear_columns(torch.ones(2, 1, 3, 1), torch.tensor([3, 1]))[:, 0, :, 0]
    tensor([[1., 1., 1.],
            [1., 0., 0.]])
    """
    if n_columns is None:
        return grid
    padding = padding_mask(n_columns, grid.shape[2])
    return grid.masked_fill(padding[:, None, :, None], 0.0)


class GridNorm(torch.nn.LayerNorm):
    """LayerNorm over channels, in float32 or wider under any autocast.

    Arguments
    ---------
    width : int
        Channels D.

    Example
    -------
    >>> GridNorm(2)(torch.tensor([[1.0, 3.0]]).bfloat16()).dtype
    torch.float32
    """

    def __init__(self, width: int):
        super().__init__(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised x, [..., D]."""
        return super().forward(x.to(self.weight.dtype))


class GridConv(torch.nn.Conv2d):
    """A 3 x 3 convolution with one position of zeros around the grid.

    Arguments
    ---------
    width : int
        Channels D.
    new_width : int
        Channels D' of the output.
    stride : int
        1, or 2 to halve both axes.
    groups : int
        1, or D for a depthwise convolution.
    bias : bool
        Whether there is a bias.

    Example
    -------
    >>> GridConv(2, 4, stride=2)(torch.randn(1, 8, 5, 2)).shape
    torch.Size([1, 4, 3, 4])
    """

    def __init__(
        self,
        width: int,
        new_width: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__(
            width, new_width, 3, stride, padding=1, groups=groups, bias=bias
        )

    def forward(
        self, grid: torch.Tensor, n_columns: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return [B, F', T', D'] for a grid [B, F, T, D]."""
        grid = clear_columns(grid, n_columns)
        # A view that PyTorch knows as channels_last: nothing is copied.
        moved = self._conv_forward(
            grid.permute(0, 3, 1, 2), self.weight, self.bias
        )
        return moved.permute(0, 2, 3, 1)


class Downsample(torch.nn.Module):
    """Halve both axes of a grid: a convolution of stride 2 and a norm.

    Arguments
    ---------
    width : int
        Channels D.
    new_width : int
        Channels D' of the output.

    Example
    -------
    >>> grid, n_columns = Downsample(2, 4)(
    ...     torch.randn(1, 8, 5, 2), torch.tensor([3])
    ... )
    >>> grid.shape, n_columns
    (torch.Size([1, 4, 3, 4]), tensor([2]))
    """

    def __init__(self, width: int, new_width: int):
        super().__init__()
        self.conv = GridConv(width, new_width, stride=2)
        self.norm = GridNorm(new_width)

    def forward(
        self, grid: torch.Tensor, n_columns: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Halve a batch of grids; halves are rounded up.

        Arguments
        ---------
        grid : torch.Tensor
            [B, F, T, D].
        n_columns : torch.Tensor or None
            Columns of each clip, [B]; None if all are content.

        Returns
        -------
        grid : torch.Tensor
            [B, F', T', D'].
        n_columns : torch.Tensor or None
            Columns of each clip, [B].
        """
        grid = self.norm(self.conv(grid, n_columns))
        return grid, None if n_columns is None else (n_columns + 1) // 2


class GridStem(torch.nn.Module):
    """Turn a spectrogram into a grid of a quarter of its size on both axes.

    Arguments
    ---------
    width : int
        Channels D; the first convolution has half of them.

    Example
    -------
    >>> grid, _ = GridStem(8)(torch.randn(1, 10, 128))
    >>> grid.shape
    torch.Size([1, 32, 3, 8])
    """

    def __init__(self, width: int):
        super().__init__()
        self.first = Downsample(1, width // 2)
        self.second = Downsample(width // 2, width)

    def forward(
        self, feats: torch.Tensor, n_frames: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Embed a batch of spectrograms.

        Arguments
        ---------
        feats : torch.Tensor
            [B, T, F].
        n_frames : torch.Tensor or None
            Frames of each clip, [B]; None if all are content.

        Returns
        -------
        grid : torch.Tensor
            [B, F', T', D].
        n_columns : torch.Tensor or None
            Columns of each clip, [B].
        """
        grid, n_columns = self.first(feats.mT[..., None], n_frames)
        return self.second(F.gelu(grid), n_columns)
