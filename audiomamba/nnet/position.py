"""A learned position table over the patch grid, for clips of any length."""

import torch
import torch.nn.functional as F


def resample_table(table, grid):
    """Resample a position table to another patch grid.

    Bilinear with antialiasing, as the authors' code (after FlexiViT).

    Arguments
    ---------
    table : torch.Tensor
        [F', T', D].
    grid : tuple of int
        The new (F', T').

    Returns
    -------
    torch.Tensor
        [*grid, D].

    Example
    -------
    >>> resample_table(torch.randn(8, 64, 32), (8, 16)).shape
    torch.Size([8, 16, 32])
    """
    if tuple(table.shape[:2]) == tuple(grid):
        return table
    resampled = F.interpolate(
        table.permute(2, 0, 1)[None].float(),
        size=tuple(grid),
        mode="bilinear",
        antialias=True,
    )
    return resampled[0].permute(1, 2, 0).to(table.dtype)


# Where PyTorch cannot tell exporting from compiling (before 2.7), both are
_exporting = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)


def columns_of(table, n_columns, width):
    """Return the table's columns for clips of given lengths.

    A clip that the table covers takes its first columns; for a longer one
    the table is resampled linearly to the clip's own length (never to the
    batch's), so that a clip's positions do not depend on its batch.

    Arguments
    ---------
    table : torch.Tensor
        [F', T0, D].
    n_columns : torch.Tensor or None
        Columns of every clip, integers [B]; None if all have ``width``.
    width : int
        Columns of the batch.

    Returns
    -------
    torch.Tensor
        [B or 1, F', width, D].

    Example
    -------
    >>> table = torch.arange(4.0).reshape(1, 4, 1)
    >>> columns_of(table, torch.tensor([3, 8]), 8)[:, 0, :3, 0].tolist()
    [[0.0, 1.0, 2.0], [0.0, 0.25, 0.75]]
    """
    covered = table.shape[1]
    # An exported program takes the general way, which is the same for short
    # clips, so that one program holds for clips of any length
    if not _exporting() and width <= covered:
        return table[None, :, :width]
    steps = torch.arange(width, device=table.device, dtype=torch.float32)
    if n_columns is None:
        n_columns = steps.new_full((1,), width)
    stretch = covered / n_columns[:, None].clamp(min=covered)
    source = ((steps + 0.5) * stretch - 0.5).clamp(0, covered - 1)
    lower = source.floor()
    share = (source - lower)[..., None].to(table.dtype)
    lower = lower.long()
    upper = (lower + 1).clamp(max=covered - 1)
    columns = torch.lerp(table[:, lower], table[:, upper], share)
    return columns.transpose(0, 1)


class PositionEmbedding(torch.nn.Module):
    """Learned positions of the class tokens and of a patch grid.

    Arguments
    ---------
    grid : tuple of int
        Patches along frequency and time that the table covers.
    n_cls : int
        Number of class tokens, whose positions come first.
    embed_dim : int
        Width of the tokens.

    Example
    -------
    >>> positions = PositionEmbedding((8, 64), 1, 32)
    >>> cls, patches = positions((8, 64), None, 10)
    >>> cls.shape, patches.shape
    (torch.Size([1, 32]), torch.Size([1, 8, 10, 32]))
    """

    def __init__(self, grid, n_cls, embed_dim):
        super().__init__()
        self.grid, self.n_cls = tuple(grid), n_cls
        n_positions = n_cls + grid[0] * grid[1]
        self.pos_embed = torch.nn.Parameter(
            torch.empty(1, n_positions, embed_dim)
        )
        torch.nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.pos_embed._no_weight_decay = True

    def forward(self, grid, n_columns, width):
        """Return the positions of the class tokens and of the patches.

        Arguments
        ---------
        grid : tuple of int
            The grid that the table would cover at this patch size and
            stride; where it is not the table's own, the table is resampled.
        n_columns : torch.Tensor or None
            Columns of every clip, see `columns_of`.
        width : int
            Columns of the batch.

        Returns
        -------
        tuple of torch.Tensor
            [n_cls, D] and [B or 1, F', width, D].
        """
        cls, table = self.pos_embed[0].tensor_split([self.n_cls])
        table = resample_table(table.unflatten(0, self.grid), grid)
        return cls, columns_of(table, n_columns, width)
