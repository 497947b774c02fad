"""The row of tokens: patches and class tokens in scan order.

In a padded batch, the row of each clip holds the clip's own patches, with the
class token at its own middle, and then padding: the same row as when the clip
is alone.
"""

import torch

# Place of the class tokens -> their number.
CLS_TOKENS = {"front": 1, "middle": 1, "end": 1, "both": 2, None: 0}
TOKEN_ORDERS = ("frequency", "time")


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

    def pool_frames(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return one vector per time step, the mean of its patches.

        Arguments
        ---------
        tokens : torch.Tensor
            [B, L, D].

        Returns
        -------
        torch.Tensor
            [B, T', D], zero past a clip's last step.
        """
        picked = self._take(tokens, self._patch_places().flatten(1))
        frames = picked.unflatten(1, (self.n_rows, self.width)).mean(1)
        steps = torch.arange(self.width, device=tokens.device)
        valid = (steps < self.columns)[..., None]
        return frames.masked_fill(~valid, 0.0)
