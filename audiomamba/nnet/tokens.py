"""A patch grid as a row of tokens: positions, class tokens, scan order.

In a padded batch, the row of each clip holds the clip's own patches, with the
class token at its own middle, and then padding: the same row as when the clip
is alone.
"""

import torch
import torch.nn.functional as F

from audiomamba.nnet.parameters import ExemptsParameters

# Place of the class tokens -> their number.
CLS_TOKENS = {"front": 1, "middle": 1, "end": 1, "both": 2, None: 0}
TOKEN_ORDERS = ("frequency", "time")


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
    if not torch.compiler.is_exporting() and width <= covered:
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


class PositionEmbedding(ExemptsParameters):
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
        table = torch.nn.Parameter(torch.empty(1, n_positions, embed_dim))
        torch.nn.init.trunc_normal_(table, std=0.02)
        self.exempt("pos_embed", table)

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


class TokenRow:
    """The place of every patch and class token in the rows of a batch.

    Arguments
    ---------
    cls_place : str or None
        "front", "middle", "end", "both" or None.
    n_cls : int
        Number of class tokens.
    token_order : str
        "frequency" (time runs fastest) or "time" (frequency runs fastest).
    grid : tuple of int
        Patches of the batch along frequency and time.
    n_columns : torch.Tensor or None
        Columns of each clip, integers [B]; None if all fill the grid.
    device : torch.device or str
        Device of the indices.

    Example
    -------
    >>> row = TokenRow("middle", 1, "frequency", (2, 3), None, "cpu")
    >>> row.source.tolist()  # 6 is the class token: it comes after the patches
    [[0, 1, 2, 6, 3, 4, 5]]
    >>> row = TokenRow("end", 1, "time", (2, 3), torch.tensor([3, 1]), "cpu")
    >>> row.source.tolist(), row.lengths.tolist()
    ([[0, 3, 1, 4, 2, 5, 6], [0, 3, 6, 0, 0, 0, 0]], [7, 3])
    """

    def __init__(
        self,
        cls_place: str | None,
        n_cls: int,
        token_order: str,
        grid: tuple[int, int],
        n_columns: torch.Tensor | None,
        device: torch.device | str,
    ):
        self.n_rows, self.width = grid
        self.n_cls, self.token_order = n_cls, token_order
        if n_columns is None:
            self.columns = torch.full((1, 1), self.width, device=device)
        else:
            self.columns = n_columns[:, None]
        n_patches = self.n_rows * self.columns
        self.lengths = None
        if n_columns is not None:
            self.lengths = n_patches[:, 0] + n_cls
        first = torch.zeros_like(n_patches)
        if cls_place == "both":
            self.cls_places = torch.cat([first, n_patches + 1], 1)
        else:
            start = {
                "front": first,
                "middle": n_patches // 2,
                "end": n_patches,
                None: first,
            }[cls_place]
            self.cls_places = start + torch.arange(n_cls, device=device)
        # torch.export refuses to unbind a dimension of size 0.
        self._cls_columns = self.cls_places.unbind(1) if n_cls else ()
        self.source = self._source(n_patches, device)

    def _source(self, n_patches, device):
        """Return the index of the token at each place, [B or 1, L].

        Patches are numbered as in the batch's grid, then the class tokens.
        """
        n_all = self.n_rows * self.width
        places = torch.arange(n_all + self.n_cls, device=device)[None]
        number = places
        for cls_place in self._cls_columns:
            number = number - (places > cls_place[:, None]).long()
        if self.token_order == "frequency":
            row, column = number // self.columns, number % self.columns
        else:
            row, column = number % self.n_rows, number // self.n_rows
        source = row * self.width + column
        source = source.masked_fill(number >= n_patches, 0)
        for i, cls_place in enumerate(self._cls_columns):
            at = places == cls_place[:, None]
            source = source.masked_fill(at, n_all + i)
        return source

    def _patch_places(self):
        """Return each patch's place in the row, [B or 1, F', T']."""
        device = self.columns.device
        row = torch.arange(self.n_rows, device=device)[None, :, None]
        column = torch.arange(self.width, device=device)[None, None]
        if self.token_order == "frequency":
            place = row * self.columns[..., None] + column
        else:
            place = column * self.n_rows + row
        for cls_place in self._cls_columns:
            place = place + (place >= cls_place[:, None, None]).long()
        last = self.n_rows * self.width + self.n_cls - 1
        return place.clamp(max=last)

    @staticmethod
    def _take(tokens, places):
        """Pick tokens [B, L, D] at places [B or 1, P]."""
        index = places[..., None].expand(tokens.shape[0], -1, tokens.shape[2])
        return tokens.gather(1, index)

    def arrange(
        self, patches: torch.Tensor, cls_tokens: torch.Tensor
    ) -> torch.Tensor:
        """Put patches and class tokens in a row.

        Arguments
        ---------
        patches : torch.Tensor
            [B, F', T', D].
        cls_tokens : torch.Tensor
            [n_cls, D].

        Returns
        -------
        torch.Tensor
            [B, L, D].
        """
        cls_tokens = cls_tokens.expand(patches.shape[0], -1, -1)
        # Unbound rows need one copy, where flatten and cat make two.
        bank = torch.cat([*patches.unbind(1), cls_tokens], dim=1)
        return self._take(bank, self.source)

    def pool_clip(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the mean of the class tokens, or of all without any.

        Arguments
        ---------
        tokens : torch.Tensor
            [B, L, D].

        Returns
        -------
        torch.Tensor
            [B, 1, D].
        """
        if self.n_cls:
            return self._take(tokens, self.cls_places).mean(1, keepdim=True)
        if self.lengths is None:
            return tokens.mean(1, keepdim=True)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        valid = (places < self.lengths[:, None])[..., None]
        total = tokens.masked_fill(~valid, 0.0).sum(1, keepdim=True)
        return total / self.lengths[:, None, None]

    def pool_grid(self, tokens: torch.Tensor, output: str) -> torch.Tensor:
        """Return the patches, or their mean over one axis of the grid.

        Arguments
        ---------
        tokens : torch.Tensor
            [B, L, D].
        output : str
            "patches": the grid itself; "frames": the mean over frequency;
            "rows": the mean over a clip's own time.

        Returns
        -------
        torch.Tensor
            [B, F', T', D] or [B, T', D], zero past a clip's last step, or
            [B, F', D].
        """
        picked = self._take(tokens, self._patch_places().flatten(1))
        patches = picked.unflatten(1, (self.n_rows, self.width))
        steps = torch.arange(self.width, device=tokens.device)
        valid = (steps < self.columns)[:, None, :, None]
        patches = patches.masked_fill(~valid, 0.0)
        if output == "rows":
            return patches.sum(2) / self.columns[..., None]
        return patches.mean(1) if output == "frames" else patches
