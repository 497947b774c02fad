"""Putting patches and class tokens in a row, and finding them again.

The row of a clip holds its own patches side by side and its class token at
its own middle, so that a clip in a padded batch has the same row as alone,
followed by padding.
"""

import torch

CLS_TOKENS = {"front": 1, "middle": 1, "end": 1, "both": 2, None: 0}
TOKEN_ORDERS = ("frequency", "time")


class TokenRow:
    """Where every patch and class token of a batch stands in its row.

    Arguments
    ---------
    cls_token : str or None
        "front", "middle", "end", "both" or None.
    token_order : str
        "frequency" (time runs fastest) or "time" (frequency does).
    grid : tuple of int
        Patches of the batch along frequency and time.
    n_columns : torch.Tensor or None
        Columns of every clip, integers [B]; None if all fill the grid.
    device : torch.device
        Where the indices live.

    Example
    -------
    >>> row = TokenRow("middle", "frequency", (2, 3), None, "cpu")
    >>> row.source.tolist()  # 6 is the class token, behind the patches
    [[0, 1, 2, 6, 3, 4, 5]]
    >>> row = TokenRow("end", "time", (2, 3), torch.tensor([3, 1]), "cpu")
    >>> row.source.tolist(), row.lengths.tolist()
    ([[0, 3, 1, 4, 2, 5, 6], [0, 3, 6, 0, 0, 0, 0]], [7, 3])
    """

    def __init__(self, cls_token, token_order, grid, n_columns, device):
        self.n_rows, self.width = grid
        self.n_cls = CLS_TOKENS[cls_token]
        self.token_order = token_order
        if n_columns is None:
            self.columns = torch.full((1, 1), self.width, device=device)
        else:
            self.columns = n_columns[:, None]
        n_patches = self.n_rows * self.columns
        self.lengths = None
        if n_columns is not None:
            self.lengths = n_patches[:, 0] + self.n_cls
        self.cls_places = {
            "front": lambda: torch.zeros_like(n_patches),
            "middle": lambda: n_patches // 2,
            "end": lambda: n_patches,
            "both": lambda: torch.cat(
                [torch.zeros_like(n_patches), n_patches + 1], 1
            ),
            None: lambda: n_patches[:, :0],
        }[cls_token]()
        # One column per class token; what is exported holds no empty unbind
        self._cls_columns = self.cls_places.unbind(1) if self.n_cls else ()
        self.source = self._source(n_patches, device)

    def _source(self, n_patches, device):
        """Return what stands at each place: a patch's or class token's index.

        Patches are numbered as in the batch's grid, class tokens behind them.
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

    def arrange(self, patches, cls_tokens):
        """Return the row.

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
        # Row by row: one copy, where flatten and cat make two
        bank = torch.cat([*patches.unbind(1), cls_tokens], dim=1)
        return self._take(bank, self.source)

    def pool_clip(self, tokens):
        """Return one vector per clip: the class tokens' mean, or all tokens'.

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

    def pool_frames(self, tokens):
        """Return one vector per time step: the mean of its patches.

        Arguments
        ---------
        tokens : torch.Tensor
            [B, L, D].

        Returns
        -------
        torch.Tensor
            [B, T', D], zero behind a clip's last step.
        """
        picked = self._take(tokens, self._patch_places().flatten(1))
        frames = picked.unflatten(1, (self.n_rows, self.width)).mean(1)
        steps = torch.arange(self.width, device=tokens.device)
        valid = (steps < self.columns)[..., None]
        return frames.masked_fill(~valid, 0.0)
