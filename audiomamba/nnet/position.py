"""Learned positional embedding of a patch grid, for clips of any length."""

import torch
import torch.nn.functional as F


def resample_table(table: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Resample a position table to another patch grid.

    Bilinear with antialiasing, as in the authors' code (after FlexiViT).

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


# PyTorch before 2.7 cannot tell exporting from compiling.
_exporting = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)


def columns_of(
    table: torch.Tensor, n_columns: torch.Tensor | None, width: int
) -> torch.Tensor:
    """Return the table's columns for clips of given lengths.

    A clip that the table covers takes its first columns.  For a longer clip
    the table is resampled linearly to the clip's own length, never to the
    batch's, so that a clip's positions do not depend on its batch.

    Arguments
    ---------
    table : torch.Tensor
        [F', T0, D].
    n_columns : torch.Tensor or None
        Columns of each clip, integers [B]; None if all have ``width``.
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
    # The general path gives short clips the same; an exported program takes it
    # for all, so that it holds for clips of any length.
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
    """Learned positional embedding of class tokens and a patch grid.

    Arguments
    ---------
    grid : tuple of int
        Patches along frequency and time that the table covers.
    n_cls : int
        Number of class tokens; their positions come first.
    embed_dim : int
        Width of the tokens.

    Example
    -------
    >>> positions = PositionEmbedding((8, 64), 1, 32)
    >>> cls, patches = positions((8, 64), None, 10)
    >>> cls.shape, patches.shape
    (torch.Size([1, 32]), torch.Size([1, 8, 10, 32]))
    """

    def __init__(self, grid: tuple[int, int], n_cls: int, embed_dim: int):
        super().__init__()
        self.grid, self.n_cls = (grid[0], grid[1]), n_cls
        n_positions = n_cls + grid[0] * grid[1]
        self.pos_embed = torch.nn.Parameter(
            torch.empty(1, n_positions, embed_dim)
        )
        torch.nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.pos_embed._no_weight_decay = True  # type: ignore[attr-defined]

    def forward(
        self,
        grid: tuple[int, int],
        n_columns: torch.Tensor | None,
        width: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the positions of class tokens and patches.

        Arguments
        ---------
        grid : tuple of int
            Patches that the table covers at the present patch size and
            stride.  If it is not the table's own grid, the table is resampled.
        n_columns : torch.Tensor or None
            Columns of each clip, see `columns_of`.
        width : int
            Columns of the batch.

        Returns
        -------
        cls : torch.Tensor
            [n_cls, D].
        patches : torch.Tensor
            [B or 1, F', width, D].
        """
        cls, table = self.pos_embed[0].tensor_split([self.n_cls])
        table = resample_table(table.unflatten(0, self.grid), grid)
        return cls, columns_of(table, n_columns, width)
